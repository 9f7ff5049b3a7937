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
    let value = serde_json::to_value(value)?;
    let mut out = String::new();
    write(&value, &mut out);
    Ok(out)
}

/// Appends the canonical text of `value` to `out`.
fn write(value: &Value, out: &mut String) {
    match value {
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {
            out.push_str(&value.to_string())
        }
        Value::Array(items) => {
            out.push('[');
            for (i, item) in items.iter().enumerate() {
                if i > 0 {
                    out.push(',');
                }
                write(item, out);
            }
            out.push(']');
        }
        Value::Object(map) => {
            let mut keys: Vec<&String> = map.keys().collect();
            keys.sort_unstable();
            out.push('{');
            for (i, key) in keys.into_iter().enumerate() {
                if i > 0 {
                    out.push(',');
                }
                out.push_str(&Value::String(key.clone()).to_string());
                out.push(':');
                write(&map[key], out);
            }
            out.push('}');
        }
    }
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
