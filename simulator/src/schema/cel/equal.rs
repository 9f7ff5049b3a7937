//! When two values are equal, as kube-apiserver has it: numbers across types, set and map lists in any order.

use super::super::node::{List, Node};
use super::value::{Fault, Val};
use serde_json::{Map, Value};

/// `a == b`
pub fn equal(a: &Val<'_>, b: &Val<'_>) -> Result<bool, Fault> {
    if a.is_overlooked() || b.is_overlooked() {
        return Err(Fault::no_text());
    }
    Ok(match (a, b) {
        (Val::Text(x), Val::Text(y)) => x == y,
        (Val::Int(x), Val::Int(y)) => x == y,
        (Val::Bool(x), Val::Bool(y)) => x == y,
        (Val::Json(x, nx), Val::Json(y, ny)) => return json(x, *nx, y, *ny),
        (Val::Null, Val::Null) => true,
        (Val::Uint(x), Val::Uint(y)) => x == y,
        (Val::Int(x), Val::Uint(y)) | (Val::Uint(y), Val::Int(x)) => u64::try_from(*x) == Ok(*y),
        (Val::Double(x), Val::Double(y)) => x == y,
        (Val::Double(x), Val::Int(y)) | (Val::Int(y), Val::Double(x)) => *x == *y as f64,
        (Val::Double(x), Val::Uint(y)) | (Val::Uint(y), Val::Double(x)) => *x == *y as f64,
        (Val::Bytes(x), Val::Bytes(y)) => x == y,
        (Val::Time(x), Val::Time(y)) => x == y,
        (Val::Span(x), Val::Span(y)) => x == y,
        (Val::Type(x), Val::Type(y)) => x == y,
        (Val::Foreign(x), Val::Foreign(y)) => x == y,
        (Val::Optional(x), Val::Optional(y)) => match (x, y) {
            (Some(x), Some(y)) => return equal(x, y),
            (x, y) => x.is_none() && y.is_none(),
        },
        _ => return collections(a, b),
    })
}

fn collections(a: &Val<'_>, b: &Val<'_>) -> Result<bool, Fault> {
    if let (Some(x), Some(y)) = (a.items(), b.items()) {
        if x.len() != y.len() {
            return Ok(false);
        }
        for (x, y) in x.iter().zip(&y) {
            if !equal(x, y)? {
                return Ok(false);
            }
        }
        return Ok(true);
    }
    let (Some(x), Some(y)) = (a.entries(), b.entries()) else { return Ok(false) };
    if x.len() != y.len() {
        return Ok(false);
    }
    for (key, value) in &x {
        let Some((_, other)) = y.iter().find(|(k, _)| equal(k, key) == Ok(true)) else { return Ok(false) };
        if !equal(value, other)? {
            return Ok(false);
        }
    }
    Ok(true)
}

fn json(a: &Value, na: Option<&Node>, b: &Value, nb: Option<&Node>) -> Result<bool, Fault> {
    let same_node = match (na, nb) {
        (Some(x), Some(y)) => std::ptr::eq(x, y),
        (x, y) => x.is_none() && y.is_none(),
    };
    if same_node {
        if a == b {
            return all_sound(a, na).map(|()| true);
        }
        if na.is_some_and(|n| n.plain) {
            return Ok(false);
        }
    }
    match (a, b) {
        (Value::Array(x), Value::Array(y)) => lists(x, na, y, nb),
        (Value::Object(x), Value::Object(y)) => objects(x, na, y, nb),
        _ => Ok(false),
    }
}

/// Looks for what the check of types overlooked, at any depth.
fn all_sound(value: &Value, node: Option<&Node>) -> Result<(), Fault> {
    let Some(node) = node.filter(|n| !n.plain) else { return Ok(()) };
    if node.overlooks(value) {
        return Err(Fault::no_text());
    }
    match value {
        Value::Array(items) => items.iter().try_for_each(|item| all_sound(item, node.items.as_deref())),
        Value::Object(fields) => fields.iter().try_for_each(|(name, f)| all_sound(f, node.child(name))),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => Ok(()),
    }
}

fn lists(x: &[Value], nx: Option<&Node>, y: &[Value], ny: Option<&Node>) -> Result<bool, Fault> {
    if x.len() != y.len() {
        return Ok(false);
    }
    let (ix, iy) = (nx.and_then(|n| n.items.as_deref()), ny.and_then(|n| n.items.as_deref()));
    let same = |a: &Value, b: &Value| equal(&Val::lift(a, ix), &Val::lift(b, iy));
    match nx.map(|n| &n.list) {
        Some(List::Set) => Ok(x.iter().all(|a| y.iter().any(|b| same(a, b) == Ok(true)))),
        Some(List::Map(keys)) => {
            for item in x {
                let twin = y.iter().find(|o| keys.iter().all(|k| o.get(k) == item.get(k)));
                match twin {
                    Some(twin) if same(item, twin)? => {}
                    Some(_) | None => return Ok(false),
                }
            }
            Ok(true)
        }
        Some(List::Atomic) | None => {
            for (a, b) in x.iter().zip(y) {
                if !same(a, b)? {
                    return Ok(false);
                }
            }
            Ok(true)
        }
    }
}

fn objects(
    x: &Map<String, Value>,
    nx: Option<&Node>,
    y: &Map<String, Value>,
    ny: Option<&Node>,
) -> Result<bool, Fault> {
    if x.len() != y.len() {
        return Ok(false);
    }
    for (key, value) in x {
        let other = y.get(key);
        let Some(node) = nx else {
            // Without a schema on the left, both are plain JSON.
            match other {
                Some(other) if equal(&Val::lift(value, None), &Val::lift(other, None))? => continue,
                Some(_) | None => return Ok(false),
            }
        };
        match (node.child(key), other) {
            (Some(child), Some(other)) => {
                let twin = ny.and_then(|n| n.child(key));
                if !equal(&Val::lift(value, Some(child)), &Val::lift(other, twin))? {
                    return Ok(false);
                }
            }
            (Some(_), None) => return Ok(false),
            // A field that the schema does not know: the real server compares it as it is, cannot compare it with
            // an old value that has lost its schema, and does not mind when only the left side has it.
            (None, _) if ny.is_none() => return Err(Fault::overload()),
            (None, Some(other)) if other != value => return Ok(false),
            (None, _) => {}
        }
    }
    Ok(true)
}
