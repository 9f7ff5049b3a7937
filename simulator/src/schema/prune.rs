//! What the server changes in an object before it looks at it: unknown fields go, nulls that may not be there go,
//! defaults come in. The three walks have the shape of kube-apiserver's.

use super::node::{Additional, Node};
use super::path::Path;
use serde_json::{Map, Value};

/// Removes unknown fields; the paths of what went, sorted.
pub fn prune(root: &Node, object: &mut Value) -> Vec<String> {
    let mut gone = Vec::new();
    walk(Some(root), object, &Path::Root, &mut gone);
    gone.sort();
    gone
}

fn walk(node: Option<&Node>, value: &mut Value, path: &Path<'_>, gone: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            drop_unknown(node, fields, path, gone);
            for (name, field) in fields.iter_mut() {
                let child = node.and_then(|n| n.child(name));
                if child.is_some() || !node.is_some_and(|n| n.preserve) {
                    walk(child, field, &Path::Field(path, name), gone);
                }
            }
        }
        Value::Array(items) => {
            let child = node.and_then(|n| n.items.as_deref());
            if child.is_some() || !node.is_some_and(|n| n.preserve) {
                for (index, item) in items.iter_mut().enumerate() {
                    walk(child, item, &Path::Item(path, index), gone);
                }
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn drop_unknown(
    node: Option<&Node>,
    fields: &mut Map<String, Value>,
    path: &Path<'_>,
    gone: &mut Vec<String>,
) {
    let known = |name: &str| match node {
        None => false,
        Some(n) => n.preserve || !matches!(n.additional, Additional::None) || n.properties.contains_key(name),
    };
    fields.retain(|name, _| {
        let keep = known(name);
        if !keep {
            gone.push(Path::Field(path, name).plain());
        }
        keep
    });
}

/// Removes nulls of fields that are not nullable and have no default.
pub fn drop_nulls(node: &Node, value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.retain(|name, field| match node.child(name) {
                Some(child) => !field.is_null() || child.nullable || child.default.is_some(),
                None => true,
            });
            for (name, field) in fields.iter_mut() {
                if let Some(child) = node.child(name) {
                    drop_nulls(child, field);
                }
            }
        }
        Value::Array(items) => {
            if let Some(child) = node.items.as_deref() {
                items.iter_mut().for_each(|i| drop_nulls(child, i));
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// Fills in defaults.
pub fn default(node: &Node, value: &mut Value) {
    if !node.any_defaults {
        return;
    }
    match value {
        Value::Object(fields) => {
            for (name, child) in &node.properties {
                if let Some(default) = &child.default
                    && fields.get(name).is_none_or(|f| f.is_null() && !child.nullable)
                {
                    fields.insert(name.clone(), default.clone());
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
