//! What a CRD says of its objects: pruning, defaults, validation, rules.
//!
//! ```text
//!   openAPIV3Schema --compile--> Node (once: regexes, constants and rules are ready)
//!   object --shape--> known fields, no nulls, defaults --validate--> causes
//!                                    structure (check, lists), then rules (cel)
//! ```
//!
//! The words follow kube-apiserver 1.36.3: `tests/schema_golden.json` and `tests/schema_law.json` hold what it
//! answered. On an update an unchanged part is not held to its schema or to rules without `oldSelf` (ratcheting).
//!
//! What is **not** done: cost budgets and the static type check of rules (the real server refuses such a CRD; here
//! a rule that is wrong in its types fails when it runs), warnings for what ratcheting let through, the form of
//! names inside embedded resources, rules inside `allOf`, `anyOf`, `oneOf` and `not`, and turning `1.0` into `1`
//! (the server's JSON reader does that before it looks). `\d`, `\w` and `\s` of patterns know all of Unicode here and
//! ASCII there. Faults of library functions (quantities, semver) are worded as `kube-cel` words them. Where the
//! real server walks a Go map, and so answers in a random order, fields come in the order of their names.

mod cause;
mod cel;
mod check;
mod compile;
mod format;
mod lists;
mod node;
mod path;
mod prune;

use node::Node;
use serde_json::Value;

/// One thing that is wrong with an object, as `details.causes` has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cause {
    /// For example `FieldValueInvalid`.
    pub reason: &'static str,
    /// As the real server words it, without the field.
    pub message: String,
    /// Dotted path, `spec.paths[0]`; `<nil>` for the root.
    pub field: String,
}

/// Which rules are applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Rules {
    /// Structure and CEL.
    #[default]
    All,
    /// Structure only: for runs in which something else checks the law.
    Structure,
}

/// A compiled structural schema.
#[derive(Debug)]
pub struct Schema {
    source: Value,
    root: Node,
}

/// Why a schema cannot be compiled.
#[derive(Debug, thiserror::Error)]
#[error("{field}: {message}")]
pub struct SchemaError {
    /// Where in the schema.
    pub field: String,
    /// What is wrong.
    pub message: String,
}

impl Schema {
    /// Compiles an `openAPIV3Schema` with its `x-kubernetes-*` extensions.
    ///
    /// # Errors
    /// [`SchemaError`]: an unknown type, a broken pattern, a rule that does not parse or that uses `oldSelf` where
    /// there is none to compare with.
    pub fn compile(schema: &Value) -> Result<Self, SchemaError> {
        Ok(Self { source: schema.clone(), root: compile::root(schema)? })
    }

    /// What it was compiled from.
    #[must_use]
    pub const fn source(&self) -> &Value {
        &self.source
    }

    /// Removes what the schema does not know and nulls that may not be there, and fills in defaults; gives back the
    /// paths of what is not known (for `fieldValidation`), sorted. `apiVersion`, `kind` and `metadata` of the root are
    /// left alone.
    pub fn shape(&self, object: &mut Value) -> Vec<String> {
        prune::shape(&self.root, object)
    }

    /// Everything that is wrong with `new`, given what is stored. Both are expected to be in shape.
    #[must_use]
    pub fn validate(&self, new: &Value, old: Option<&Value>, rules: Rules) -> Vec<Cause> {
        self.validate_after(&[], new, old, rules)
    }

    /// The same where other checks have found something `already`, which may keep the rules from being evaluated.
    #[must_use]
    pub fn validate_after(
        &self,
        already: &[Cause],
        new: &Value,
        old: Option<&Value>,
        rules: Rules,
    ) -> Vec<Cause> {
        let mut causes = check::check(&self.root, new, old);
        let blocked = |c: &[Cause]| already.iter().chain(c).any(cause::blocks_rules);
        causes.extend(lists::check(&self.root, new, old));
        if rules == Rules::All && self.root.any_rules && blocked(&causes) {
            causes.push(cause::unchecked());
        } else if rules == Rules::All {
            cel::check(&self.root, new, old, &mut causes);
        }
        causes
    }

    /// What lists and rules say alone: they are asked even of an object whose structure nobody looks at, because it
    /// names another kind.
    #[must_use]
    pub fn law(&self, new: &Value, old: Option<&Value>, rules: Rules) -> Vec<Cause> {
        let mut causes = lists::check(&self.root, new, old);
        if rules == Rules::All {
            cel::check(&self.root, new, old, &mut causes);
        }
        causes
    }
}
