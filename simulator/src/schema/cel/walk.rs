//! Which rules run where. Each rule of each node, top down; what needs an old value runs where one can be found;
//! of an unchanged part only what compares with the old value counts.

use super::super::Cause;
use super::super::node::{Additional, Node};
use super::super::path::Path;
use serde_json::Value;

/// Adds what the rules find wrong.
pub fn check(root: &Node, new: &Value, old: Option<&Value>, causes: &mut Vec<Cause>) {
    node(root, new, old, false, &Path::Root, causes);
}

/// `kept`: this, or something around it, is as it was.
fn node(node: &Node, new: &Value, old: Option<&Value>, kept: bool, path: &Path<'_>, causes: &mut Vec<Cause>) {
    if !node.any_rules || (new.is_null() && node.nullable) {
        return;
    }
    let kept = kept || old.is_some_and(|o| o == new);
    if kept && !node.any_transitions {
        return;
    }
    for rule in &node.rules {
        if rule.applies(old) && (!kept || rule.transition) {
            causes.extend(rule.check(node, new, old, path));
        }
    }
    below(node, new, old, kept, path, causes);
}

fn below(of: &Node, new: &Value, old: Option<&Value>, kept: bool, path: &Path<'_>, causes: &mut Vec<Cause>) {
    match new {
        Value::Object(fields) => {
            for (name, field) in fields {
                let before = of.old_field(name, old);
                if let Some(child) = of.properties.get(name) {
                    node(child, field, before, kept, &Path::Field(path, name), causes);
                } else if let Additional::Schema(child) = &of.additional {
                    node(child, field, before, kept, &Path::Key(path, name), causes);
                }
            }
        }
        Value::Array(items) => {
            let Some(child) = of.items.as_deref().filter(|c| c.any_rules) else { return };
            for (index, item) in items.iter().enumerate() {
                let before = of.old_item(item, old);
                node(child, item, before, kept, &Path::Item(path, index), causes);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}
