//! Canonical JSON: object keys sorted by their bytes, no white space, numbers and strings as `serde_json` writes
//! them. What is hashed is written by this module only, because `serde_json::Value` keeps insertion order as soon
//! as any crate in the build turns on its `preserve_order` feature.

use serde::Serialize;
use serde_json::Value;

/// The canonical text of any serialisable value.
///
/// # Errors
/// When the value does not serialise to JSON (a map with keys that are not strings, for example).
pub fn to_string<T: Serialize + ?Sized>(value: &T) -> Result<String, serde_json::Error> {
    serde_json::to_string(&to_value(value)?)
}

/// The value whose text `serde_json` writes canonically.
///
/// # Errors
/// As [`to_string`].
pub fn to_value<T: Serialize + ?Sized>(value: &T) -> Result<Value, serde_json::Error> {
    let mut value = serde_json::to_value(value)?;
    value.sort_all_objects();
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_sorted_at_every_level() {
        let v: Value = serde_json::from_str(r#"{"b":1,"a":{"d":[{"z":1,"y":"ü\n"}],"c":null}}"#).unwrap();
        assert_eq!(to_string(&v).unwrap(), r#"{"a":{"c":null,"d":[{"y":"ü\n","z":1}]},"b":1}"#);
    }
}
