//! The words of a refusal. Each constructor makes one cause as kube-apiserver 1.36 words it; the path is rendered
//! only here, so that an object without faults costs no strings.

use super::Cause;
use serde_json::Value;

/// The value is not of the right form.
pub const INVALID: &str = "FieldValueInvalid";
/// The value is missing.
pub const REQUIRED: &str = "FieldValueRequired";
/// The value is none of the allowed ones.
pub const NOT_SUPPORTED: &str = "FieldValueNotSupported";
/// The string is too long.
pub const TOO_LONG: &str = "FieldValueTooLong";
/// There are too many items.
pub const TOO_MANY: &str = "FieldValueTooMany";
/// The item is there twice.
pub const DUPLICATE: &str = "FieldValueDuplicate";
/// The value is of the wrong type.
pub const TYPE_INVALID: &str = "FieldValueTypeInvalid";
/// The value is forbidden.
pub const FORBIDDEN: &str = "FieldValueForbidden";

/// How the root is called.
pub const ROOT: &str = "<nil>";

/// Whether this fault keeps the rules from being evaluated.
pub fn blocks_rules(cause: &Cause) -> bool {
    [NOT_SUPPORTED, REQUIRED, TOO_LONG, TOO_MANY, TYPE_INVALID].contains(&cause.reason)
}

/// Told when rules were not evaluated.
pub fn unchecked() -> Cause {
    let message = "Invalid value: null: some validation rules were not checked because the object was invalid; \
                   correct the existing errors to complete validation";
    Cause { reason: INVALID, message: message.into(), field: ROOT.into() }
}

/// `Required value`.
pub fn required(field: String) -> Cause {
    Cause { reason: REQUIRED, message: "Required value".into(), field }
}

/// `spec.x in body must be of type integer`; `seen` is the name of the type, or the text for a format.
pub fn type_invalid(field: String, want: &str, seen: &str) -> Cause {
    let message = format!("Invalid value: {0}: {field} in body must be of type {want}: {0}", quoted(seen));
    Cause { reason: TYPE_INVALID, message, field }
}

/// `spec.x in body should ...`.
pub fn should(field: String, value: &Value, rest: &str) -> Cause {
    let message = format!("Invalid value: {}: {field} in body should {rest}", shown(value));
    Cause { reason: INVALID, message, field }
}

/// A fault of a whole schema: the real server reports it at the root, with the path in the text.
pub fn at_root(detail: &str) -> Cause {
    Cause { reason: INVALID, message: format!("Invalid value: \"\": {detail}"), field: ROOT.into() }
}

/// `Unsupported value`.
pub fn not_supported(field: String, value: &Value, allowed: &[Value]) -> Cause {
    let names: Vec<String> = allowed
        .iter()
        .map(|v| match v.as_str() {
            Some(s) => quoted(s),
            None => quoted(&v.to_string()),
        })
        .collect();
    let message = format!("Unsupported value: {}: supported values: {}", shown(value), names.join(", "));
    Cause { reason: NOT_SUPPORTED, message, field }
}

/// `Too long`.
pub fn too_long(field: String, most: u64) -> Cause {
    let unit = if most == 1 { "byte" } else { "bytes" };
    Cause { reason: TOO_LONG, message: format!("Too long: may not be more than {most} {unit}"), field }
}

/// `Too many`.
pub fn too_many(field: String, seen: usize, most: u64) -> Cause {
    let unit = if most == 1 { "item" } else { "items" };
    Cause { reason: TOO_MANY, message: format!("Too many: {seen}: must have at most {most} {unit}"), field }
}

/// `Duplicate value`.
pub fn duplicate(field: String, value: &Value) -> Cause {
    Cause { reason: DUPLICATE, message: format!("Duplicate value: {}", shown(value)), field }
}

/// A value as messages show it: JSON, but for texts.
pub fn shown(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), quoted)
}

/// A text as messages show it: quoted as Go quotes.
pub fn quoted(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for c in text.chars() {
        match c {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\u{7}' => quoted.push_str("\\a"),
            '\u{8}' => quoted.push_str("\\b"),
            '\u{b}' => quoted.push_str("\\v"),
            '\u{c}' => quoted.push_str("\\f"),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            '\0'..'\u{20}' | '\u{7f}' => quoted.push_str(&format!("\\x{:02x}", u32::from(c))),
            c if c.is_control() => quoted.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}
