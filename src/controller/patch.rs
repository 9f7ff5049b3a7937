//! JSON patches for the status of an operation: preconditions first, then only what changed. Pure.

use crate::api::DataOperationStatus;
use serde_json::{Map, Value, json};

/// Above this many entries that leave the tail, the tail is replaced as a whole.
const TRIM_ONE_BY_ONE: usize = 4;

/// A patch under construction.
pub type Ops = Vec<Value>;

fn test(path: &str, value: impl Into<Value>) -> Value {
    json!({"op": "test", "path": path, "value": value.into()})
}

fn fields(status: &DataOperationStatus) -> Result<Map<String, Value>, serde_json::Error> {
    let Value::Object(map) = serde_json::to_value(status)? else {
        return Err(serde::de::Error::custom("a status serialises to an object"));
    };
    Ok(map)
}

/// The first write: the object is this one, and nobody has written a status.
///
/// # Errors
/// When the status does not serialise.
pub fn birth(uid: &str, new: &DataOperationStatus) -> Result<Ops, serde_json::Error> {
    Ok(vec![
        test("/metadata/uid", uid),
        test("/status", Value::Null),
        json!({"op": "add", "path": "/status", "value": Value::Object(fields(new)?)}),
    ])
}

/// A transition from `old` to `new`. With a generation: only if nobody has changed the spec since (a cancel, a pause
/// or a deletion wins against an intent that is not committed).
///
/// # Errors
/// When a status does not serialise.
pub fn transition(
    uid: &str,
    generation: Option<i64>,
    old: &DataOperationStatus,
    new: &DataOperationStatus,
) -> Result<Ops, serde_json::Error> {
    let mut ops = vec![test("/metadata/uid", uid), test("/status/seq", old.seq.0)];
    ops.extend(generation.map(|g| test("/metadata/generation", g)));
    let (before, mut after) = (fields(old)?, fields(new)?);
    after.remove("tail");
    changed(&before, &after, &mut ops);
    tail(old, new, &mut ops)?;
    Ok(ops)
}

/// A write that changes only what is for display.
///
/// # Errors
/// When a status does not serialise.
pub fn display(
    uid: &str,
    old: &DataOperationStatus,
    new: &DataOperationStatus,
) -> Result<Ops, serde_json::Error> {
    let mut ops = vec![test("/metadata/uid", uid), test("/status/seq", old.seq.0)];
    let kept = ops.len();
    let (before, mut after) = (fields(old)?, fields(new)?);
    after.remove("tail");
    changed(&before, &after, &mut ops);
    if ops.len() == kept {
        ops.clear();
    }
    Ok(ops)
}

fn changed(before: &Map<String, Value>, after: &Map<String, Value>, ops: &mut Ops) {
    for (key, value) in after {
        if before.get(key) != Some(value) {
            ops.push(json!({"op": "add", "path": format!("/status/{key}"), "value": value}));
        }
    }
    for key in before.keys().filter(|k| *k != "tail" && !after.contains_key(*k)) {
        ops.push(json!({"op": "remove", "path": format!("/status/{key}")}));
    }
}

fn tail(
    old: &DataOperationStatus,
    new: &DataOperationStatus,
    ops: &mut Ops,
) -> Result<(), serde_json::Error> {
    let first = new.tail.first().map(|e| e.seq);
    let gone = old.tail.iter().take_while(|e| first.is_none_or(|f| e.seq < f)).count();
    if gone > TRIM_ONE_BY_ONE {
        ops.push(json!({"op": "add", "path": "/status/tail", "value": serde_json::to_value(&new.tail)?}));
        return Ok(());
    }
    let last = old.tail.last().map(|e| e.seq);
    for entry in new.tail.iter().filter(|e| last.is_none_or(|l| e.seq > l)) {
        ops.push(json!({"op": "add", "path": "/status/tail/-", "value": serde_json::to_value(entry)?}));
    }
    ops.extend((0..gone).map(|_| json!({"op": "remove", "path": "/status/tail/0"})));
    Ok(())
}

#[cfg(test)]
#[path = "patch_tests.rs"]
mod tests;
