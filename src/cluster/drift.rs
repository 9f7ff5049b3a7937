//! Is an object as it was rendered, and what has to be written if not?
//!
//! ```text
//!   rendered + live --differences--> JSON patch of just what differs; empty: nothing is written
//! ```
//!
//! The API server fills in defaults and others may add what is theirs, so that a live object says more than was sent:
//! what was sent has to be in it. Lists have to be as long as they were sent; in their items, again, there may be more.

use serde_json::{Value, json};

/// The operations that make `live` say what `wanted` says, with paths below `at`.
#[must_use]
pub fn differences(wanted: &Value, live: &Value, at: &str) -> Vec<Value> {
    let mut all = Vec::new();
    compare(wanted, live, at, &mut all);
    all
}

fn compare(wanted: &Value, live: &Value, at: &str, into: &mut Vec<Value>) {
    match (wanted, live) {
        (Value::Object(wanted), Value::Object(live)) => {
            for (name, value) in wanted {
                let at = format!("{at}/{}", name.replace('~', "~0").replace('/', "~1"));
                match live.get(name) {
                    Some(live) => compare(value, live, &at, into),
                    None if says_nothing(value) => {}
                    None => into.push(json!({"op": "add", "path": at, "value": value})),
                }
            }
        }
        (wanted, live) if covers(wanted, live) => {}
        (wanted, _) => into.push(json!({"op": "replace", "path": at, "value": wanted})),
    }
}

/// Whether what is wanted is in what is there.
fn covers(wanted: &Value, live: &Value) -> bool {
    match (wanted, live) {
        (Value::Object(wanted), Value::Object(live)) => wanted.iter().all(|(name, value)| {
            live.get(name).map_or_else(|| says_nothing(value), |live| covers(value, live))
        }),
        (Value::Array(wanted), Value::Array(live)) => {
            wanted.len() == live.len() && wanted.iter().zip(live).all(|(w, l)| covers(w, l))
        }
        (Value::String(wanted), Value::String(live)) => wanted == live || same_quantity(wanted, live),
        (wanted, live) => wanted == live,
    }
}

/// The API server leaves out what is empty.
fn says_nothing(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(all) => all.is_empty(),
        Value::Object(all) => all.values().all(says_nothing),
        Value::Bool(b) => !b,
        Value::String(s) => s.is_empty(),
        Value::Number(_) => false,
    }
}

/// Whether two texts are the same amount: the API server rewrites `1000m` as `1`.
fn same_quantity(a: &str, b: &str) -> bool {
    matches!((quantity(a), quantity(b)), (Some(a), Some(b)) if a == b)
}

/// An amount in thousandths, where it is a number of them.
fn quantity(text: &str) -> Option<i128> {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, suffix) = text.split_at(end);
    let scale: i128 = match suffix {
        "m" => 1,
        "" => 1000,
        "k" => 1_000_000,
        "M" => 1_000_000_000,
        "G" => 1_000_000_000_000,
        "T" => 1_000_000_000_000_000,
        "Ki" => 1000 << 10,
        "Mi" => 1000 << 20,
        "Gi" => 1000 << 30,
        "Ti" => 1000 << 40,
        _ => return None,
    };
    let (whole, part) = number.split_once('.').unwrap_or((number, ""));
    if number.is_empty() || part.len() > 9 || whole.len() > 18 {
        return None;
    }
    let digits: i128 = format!("{whole}{part}").parse().ok()?;
    let by = 10_i128.pow(u32::try_from(part.len()).ok()?);
    let all = digits.checked_mul(scale)?;
    (all % by == 0).then_some(all / by)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_and_what_others_add_are_no_differences() {
        let wanted = json!({"metadata": {"labels": {"a": "1"}}, "spec": {
            "replicas": 1,
            "empty": {}, "none": [], "off": false,
            "containers": [{"name": "c", "resources": {"limits": {"cpu": "1000m", "memory": "1.5Gi"}}}],
        }});
        let live = json!({"metadata": {"labels": {"a": "1", "theirs": "2"}, "uid": "u"}, "spec": {
            "replicas": 1, "filled": "in",
            "containers": [{"name": "c", "policy": "Always",
                "resources": {"limits": {"cpu": "1", "memory": "1536Mi"}}}],
        }});
        assert_eq!(differences(&wanted, &live, ""), Vec::<Value>::new());
    }

    #[test]
    fn what_differs_is_patched_where_it_differs() {
        let wanted =
            json!({"metadata": {"labels": {"x/y": "1"}}, "spec": {"replicas": 3, "list": [{"a": 1}]}});
        let live = json!({"metadata": {"labels": {"z": "1"}}, "spec": {"replicas": 2, "list": [{"a": 1}, {"b": 2}]}});
        let all = differences(&wanted, &live, "");
        let paths: Vec<String> =
            all.iter().map(|o| format!("{} {}", o["op"], o["path"]).replace('"', "")).collect();
        assert_eq!(paths, ["add /metadata/labels/x~1y", "replace /spec/list", "replace /spec/replicas"]);
    }

    #[test]
    fn amounts_are_compared_by_value() {
        for (a, b, same) in [
            ("1000m", "1", true),
            ("0.5", "500m", true),
            ("1Gi", "1024Mi", true),
            ("1G", "1Gi", false),
            ("1k", "1000", true),
            ("always", "never", false),
            ("", "0", false),
        ] {
            assert_eq!(same_quantity(a, b), same, "{a} {b}");
        }
    }
}
