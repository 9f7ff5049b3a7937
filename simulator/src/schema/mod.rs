//! What a CRD says of its objects: pruning, defaults, validation, rules.

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
    /// [`SchemaError`].
    pub fn compile(schema: &Value) -> Result<Self, SchemaError> {
        Ok(Self { source: schema.clone() })
    }

    /// What it was compiled from.
    #[must_use]
    pub const fn source(&self) -> &Value {
        &self.source
    }

    /// Removes what the schema does not know; gives back the paths that went (for `fieldValidation`).
    pub fn prune(&self, _object: &mut Value) -> Vec<String> {
        Vec::new()
    }

    /// Fills in defaults.
    pub fn default(&self, _object: &mut Value) {}

    /// Everything that is wrong with `new`, given what is stored.
    #[must_use]
    pub fn validate(&self, _new: &Value, _old: Option<&Value>, _rules: Rules) -> Vec<Cause> {
        Vec::new()
    }
}
