//! Lists of kind set and map hold each item once. As on the real server this is a walk of its own, after the
//! structure, and an update is not held to it when the stored object fails it already.

use super::Cause;
use super::cause;
use super::node::{Additional, List, Node};
use super::path::Path;
use serde_json::{Map, Value};

/// The items that are there twice.
pub fn check(root: &Node, new: &Value, old: Option<&Value>) -> Vec<Cause> {
    let mut causes = Vec::new();
    if !root.any_lists {
        return causes;
    }
    walk(root, new, &Path::Root, &mut causes);
    if let (false, Some(old)) = (causes.is_empty(), old) {
        let mut before = Vec::new();
        walk(root, old, &Path::Root, &mut before);
        if !before.is_empty() {
            causes.clear();
        }
    }
    causes
}

fn walk(node: &Node, value: &Value, path: &Path<'_>, causes: &mut Vec<Cause>) {
    if !node.any_lists {
        return;
    }
    match value {
        Value::Object(fields) => {
            for (name, field) in fields {
                if let Some(child) = node.properties.get(name) {
                    walk(child, field, &Path::Field(path, name), causes);
                } else if let Additional::Schema(child) = &node.additional {
                    walk(child, field, &Path::Key(path, name), causes);
                }
            }
        }
        Value::Array(items) => {
            unique(node, items, path, causes);
            if let Some(child) = node.items.as_deref() {
                for (index, item) in items.iter().enumerate() {
                    walk(child, item, &Path::Item(path, index), causes);
                }
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// Tells of the second of equal items, not of the third.
fn unique(node: &Node, items: &[Value], path: &Path<'_>, causes: &mut Vec<Cause>) {
    if node.list == List::Atomic {
        return;
    }
    let same = |a: &Value, b: &Value| match &node.list {
        List::Atomic => false,
        List::Set => a == b,
        List::Map(keys) => keys.iter().all(|k| a.get(k) == b.get(k)),
    };
    for (index, item) in items.iter().enumerate() {
        if items[..index].iter().filter(|i| same(i, item)).count() == 1 {
            let mark = if let List::Map(keys) = &node.list { &mark(item, keys) } else { item };
            causes.push(cause::duplicate(Path::Item(path, index).field(), mark));
        }
    }
}

fn mark(item: &Value, keys: &[String]) -> Value {
    let of = |k: &String| item.get(k).map(|v| (k.clone(), v.clone()));
    Value::Object(keys.iter().filter_map(of).collect::<Map<String, Value>>())
}
