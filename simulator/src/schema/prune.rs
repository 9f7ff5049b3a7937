//! What the server changes in an object before it looks at it: unknown fields go, nulls that may not be there go,
//! defaults come in. kube-apiserver walks three times; one walk comes to the same, because each of the three looks at
//! nothing but a field and its schema.

use super::node::{Additional, Node};
use super::path::Path;
use serde_json::Value;

/// Brings an object into the form of its schema; the paths of the unknown fields that went, sorted.
pub fn shape(root: &Node, object: &mut Value) -> Vec<String> {
    let mut gone = Vec::new();
    walk(Some(root), object, &Path::Root, &mut gone);
    gone.sort();
    gone
}

fn walk(node: Option<&Node>, value: &mut Value, path: &Path<'_>, gone: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            fields.retain(|name, field| keep(node, name, field, path, gone));
            if let Some(node) = node.filter(|n| n.any_defaults) {
                for (name, child) in &node.properties {
                    if let Some(given) = child.default.as_ref().filter(|_| !fields.contains_key(name)) {
                        default(child, fields.entry(name.clone()).or_insert_with(|| given.clone()));
                    }
                }
            }
        }
        Value::Array(items) => {
            let child = node.and_then(|n| n.items.as_deref());
            if child.is_some() || !node.is_some_and(|n| n.preserve) {
                for (index, item) in items.iter_mut().enumerate() {
                    inside(child, item, &Path::Item(path, index), gone);
                }
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// Whether a field stays; one that does is brought into its form.
fn keep(node: Option<&Node>, name: &str, field: &mut Value, path: &Path<'_>, gone: &mut Vec<String>) -> bool {
    let child = node.and_then(|n| n.child(name));
    let preserved = node.is_some_and(|n| n.preserve);
    let free = node.is_some_and(|n| !matches!(n.additional, Additional::None));
    let path = Path::Field(path, name);
    if child.is_none() && !preserved && !free {
        gone.push(path.plain());
        return false;
    }
    if field.is_null() && child.is_some_and(|c| !c.nullable && c.default.is_none()) {
        return false;
    }
    if child.is_some() || !preserved {
        inside(child, field, &path, gone);
    }
    true
}

/// A null where there may be none becomes the default.
fn inside(node: Option<&Node>, value: &mut Value, path: &Path<'_>, gone: &mut Vec<String>) {
    match node.and_then(|n| n.default.as_ref().map(|given| (n, given))) {
        Some((node, given)) if value.is_null() && !node.nullable => {
            *value = given.clone();
            default(node, value);
        }
        _ => walk(node, value, path, gone),
    }
}

/// Fills in defaults below a default, which is not pruned.
fn default(node: &Node, value: &mut Value) {
    if !node.any_defaults {
        return;
    }
    match value {
        Value::Object(fields) => {
            for (name, child) in &node.properties {
                if let Some(given) = &child.default
                    && fields.get(name).is_none_or(|f| f.is_null() && !child.nullable)
                {
                    fields.insert(name.clone(), given.clone());
                }
            }
            for (name, field) in fields.iter_mut() {
                if let Some(child) = node.child(name) {
                    fill(child, field);
                }
            }
        }
        Value::Array(items) => {
            if let Some(child) = node.items.as_deref() {
                items.iter_mut().for_each(|i| fill(child, i));
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn fill(node: &Node, value: &mut Value) {
    if value.is_null()
        && !node.nullable
        && let Some(given) = &node.default
    {
        *value = given.clone();
    }
    default(node, value);
}
