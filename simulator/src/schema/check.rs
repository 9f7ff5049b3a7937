//! The structure: types, limits, formats, what is required and what is allowed.
//!
//! ```text
//!   node x value (x old value) -> causes; an unchanged part is not looked at: whatever is wrong with it was
//!   wrong before, and the real server lets it be
//! ```

use super::Cause;
use super::cause;
use super::format::Format;
use super::node::{Additional, Bound, Kind, Node, whole};
use super::path::Path;
use serde_json::{Map, Value};
use std::borrow::Cow;

/// What is wrong with the structure of `new`.
pub fn check(root: &Node, new: &Value, old: Option<&Value>) -> Vec<Cause> {
    let mut walk = Walk::default();
    walk.value(root, new, old, &Path::Root);
    walk.causes
}

#[derive(Default)]
struct Walk {
    causes: Vec<Cause>,
    /// Nodes seen: of branches that fail, the one that got furthest is told of.
    seen: usize,
}

impl Walk {
    fn value(&mut self, node: &Node, new: &Value, old: Option<&Value>, path: &Path<'_>) {
        if old.is_some_and(|o| o == new) {
            return;
        }
        self.inside(node, new, old, path);
    }

    fn inside(&mut self, node: &Node, new: &Value, old: Option<&Value>, path: &Path<'_>) {
        self.seen += 1;
        if new.is_null() {
            if node.kind != Kind::Any && !node.nullable {
                self.causes.push(cause::type_invalid(path.field(), node.kind.name(), "null"));
            }
            self.allowed(node, new, path);
            return;
        }
        if !node.kind.admits(new) && !node.overlooks(new) {
            let (want, seen) = match node.format {
                // Where there is a format, it is named in the place of the type.
                Some(format) if !new.is_string() && !new.is_array() => (format.name(), width(new)),
                Some(_) | None => (node.kind.name(), type_name(new)),
            };
            self.causes.push(cause::type_invalid(path.field(), want, seen));
        }
        self.branches(node, new, old, path);
        match new {
            Value::String(text) => self.string(node, new, text, path),
            Value::Number(_) => self.number(node, new, path),
            Value::Array(items) => self.array(node, items, old, path),
            Value::Object(_) | Value::Bool(_) | Value::Null => {}
        }
        self.allowed(node, new, path);
        if let Value::Object(fields) = new {
            self.object(node, fields, old, path);
        }
    }

    fn allowed(&mut self, node: &Node, new: &Value, path: &Path<'_>) {
        if !node.allowed.is_empty() && !node.allowed.contains(new) {
            self.causes.push(cause::not_supported(path.field(), new, &node.allowed));
        }
    }

    fn string(&mut self, node: &Node, new: &Value, text: &str, path: &Path<'_>) {
        if self.length(node, new, text, path)
            && let Some((source, pattern)) = &node.pattern
            && !pattern.is_match(text)
        {
            self.causes.push(cause::should(path.field(), new, &format!("match '{source}'")));
        }
        if let Some(format) = node.format
            && node.kind != Kind::IntOrString
            && !format.admits(text)
        {
            self.causes.push(cause::type_invalid(path.field(), format.name(), text));
        }
    }

    /// Whether a string is neither too long nor too short: of one that is, the pattern is not looked at.
    fn length(&mut self, node: &Node, new: &Value, text: &str, path: &Path<'_>) -> bool {
        if node.limits.max_length.is_some() || node.limits.min_length.is_some() {
            let most = node.limits.max_length.unwrap_or(u64::MAX);
            let least = node.limits.min_length.unwrap_or(0);
            // A character has from one to four bytes: most strings need no count.
            let bytes = text.len() as u64;
            if bytes <= most && bytes.div_ceil(4) >= least {
                return true;
            }
            let length = if text.is_ascii() { text.len() } else { text.chars().count() } as u64;
            if length > most {
                self.causes.push(cause::too_long(path.field(), most));
                return false;
            }
            if length < least {
                let rest = format!("be at least {least} chars long");
                self.causes.push(cause::should(path.field(), new, &rest));
                return false;
            }
        }
        true
    }

    fn number(&mut self, node: &Node, new: &Value, path: &Path<'_>) {
        if node.kind == Kind::Integer {
            self.integer(node, new, path);
        }
        let limits = &node.limits;
        if limits.maximum.is_none() && limits.minimum.is_none() && limits.multiple_of.is_none() {
            return;
        }
        let Some(number) = new.as_f64() else { return };
        if let Some(step) = limits.multiple_of
            && (number / step).fract() != 0.0
        {
            self.causes.push(cause::should(path.field(), new, &format!("be a multiple of {step}")));
        }
        if let Some(bound) = &limits.maximum {
            let (at, text) = end(bound, new);
            if number > at || (bound.exclusive && number >= at) {
                let than = if bound.exclusive { "less than" } else { "less than or equal to" };
                self.causes.push(cause::should(path.field(), new, &format!("be {than} {text}")));
            }
        }
        if let Some(bound) = &limits.minimum {
            let (at, text) = end(bound, new);
            if number < at || (bound.exclusive && number <= at) {
                let than = if bound.exclusive { "greater than" } else { "greater than or equal to" };
                self.causes.push(cause::should(path.field(), new, &format!("be {than} {text}")));
            }
        }
    }

    /// The real server looks at the width of an integer a second time and then forgets the path.
    fn integer(&mut self, node: &Node, new: &Value, path: &Path<'_>) {
        let fits = match node.format {
            Some(Format::Int32) => new.as_i64().is_none_or(|n| i32::try_from(n).is_ok()) && whole(new),
            Some(Format::Int64) => new.is_i64() || (whole(new) && !new.is_u64()),
            _ => whole(new),
        };
        if fits {
            return;
        }
        let width = match node.format {
            Some(Format::Int32) => "with format int32",
            Some(Format::Int64) => "with format int64",
            _ => "(default format)",
        };
        if new.is_u64() && !new.is_i64() && node.format == Some(Format::Int64) {
            self.causes.push(cause::type_invalid(path.field(), "int64", "float64"));
        }
        let detail = format!("Checked value must be of type integer {width} in {}", path.plain());
        self.causes.push(cause::at_root(&detail));
    }

    fn array(&mut self, node: &Node, items: &[Value], old: Option<&Value>, path: &Path<'_>) {
        if let Some(child) = node.items.as_deref() {
            for (index, item) in items.iter().enumerate() {
                self.value(child, item, node.old_item(item, old), &Path::Item(path, index));
            }
        }
        let count = items.len() as u64;
        if let Some(least) = node.limits.min_items.filter(|l| count < *l) {
            let rest = format!("have at least {least} items");
            self.causes.push(cause::should(path.field(), &count.into(), &rest));
        }
        if let Some(most) = node.limits.max_items.filter(|m| count > *m) {
            self.causes.push(cause::too_many(path.field(), items.len(), most));
        }
    }

    fn object(&mut self, node: &Node, fields: &Map<String, Value>, old: Option<&Value>, path: &Path<'_>) {
        let count = fields.len() as u64;
        if let Some(least) = node.limits.min_properties.filter(|l| count < *l) {
            let rest = format!("have at least {least} properties");
            self.causes.push(cause::should(path.field(), &count.into(), &rest));
        }
        if let Some(most) = node.limits.max_properties.filter(|m| count > *m) {
            self.causes.push(cause::too_many(path.field(), fields.len(), most));
        }
        for (name, field) in fields {
            let child = match (node.properties.get(name), &node.additional) {
                (Some(child), _) => child,
                (None, Additional::Schema(child)) => child,
                (None, Additional::None | Additional::Any) => continue,
            };
            self.value(child, field, node.old_field(name, old), &Path::Field(path, name));
        }
        for name in node.required.iter().filter(|n| !fields.contains_key(*n)) {
            self.causes.push(cause::required(Path::Field(path, name).field()));
        }
    }

    fn branches(&mut self, node: &Node, new: &Value, old: Option<&Value>, path: &Path<'_>) {
        if !node.any_of.is_empty() {
            let (good, best) = self.try_all(&node.any_of, new, old, path);
            if good == 0 {
                self.whole(path, "must validate at least one schema (anyOf)");
                self.causes.extend(best);
            }
        }
        if !node.one_of.is_empty() {
            let (good, best) = self.try_all(&node.one_of, new, old, path);
            if good == 0 {
                self.whole(path, "must validate one and only one schema (oneOf). Found none valid");
                self.causes.extend(best);
            } else if good > 1 {
                let text =
                    format!("must validate one and only one schema (oneOf). Found {good} valid alternatives");
                self.whole(path, &text);
            }
        }
        let mut good = 0;
        for branch in &node.all_of {
            let (causes, _) = apart(branch, new, old, path);
            good += usize::from(causes.is_empty());
            self.causes.extend(causes);
        }
        if good < node.all_of.len() {
            let none = if good == 0 { ". None validated" } else { "" };
            self.whole(path, &format!("must validate all the schemas (allOf){none}"));
        }
        if let Some(not) = &node.not
            && apart(not, new, old, path).0.is_empty()
        {
            self.whole(path, "must not validate the schema (not)");
        }
    }

    fn whole(&mut self, path: &Path<'_>, what: &str) {
        self.causes.push(cause::at_root(&format!("{} {what}", cause::quoted(&path.plain()))));
    }

    /// How many branches hold, and what is wrong with the one that got furthest.
    fn try_all(
        &self,
        nodes: &[Node],
        new: &Value,
        old: Option<&Value>,
        path: &Path<'_>,
    ) -> (usize, Vec<Cause>) {
        let mut good = 0;
        let mut best: Option<(usize, Vec<Cause>)> = None;
        for node in nodes {
            let (causes, seen) = apart(node, new, old, path);
            if causes.is_empty() {
                good += 1;
            } else if best.as_ref().is_none_or(|(most, _)| seen > *most) {
                best = Some((seen, causes));
            }
        }
        (good, best.map(|(_, causes)| causes).unwrap_or_default())
    }
}

/// A branch on its own. Its root is known to have changed.
fn apart(node: &Node, new: &Value, old: Option<&Value>, path: &Path<'_>) -> (Vec<Cause>, usize) {
    let mut walk = Walk::default();
    walk.inside(node, new, old, path);
    (walk.causes, walk.seen)
}

/// The end of a range and its text. For a whole number the real server cuts the end down to a whole one.
fn end<'b>(bound: &'b Bound, value: &Value) -> (f64, Cow<'b, str>) {
    if value.is_i64() && bound.at.fract() != 0.0 {
        return (bound.at.trunc(), Cow::Owned(bound.at.trunc().to_string()));
    }
    (bound.at, Cow::Borrowed(bound.text.as_str()))
}

/// The format that a value is said to have.
fn width(value: &Value) -> &'static str {
    match value {
        Value::Number(n) if n.is_i64() => "int64",
        Value::Number(_) => "float64",
        Value::Null | Value::Bool(_) | Value::String(_) | Value::Array(_) | Value::Object(_) => "",
    }
}

fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(_) if whole(value) => "integer",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}
