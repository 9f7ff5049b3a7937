//! Revisions of a StatefulSet: a template has a name of its own, derived from what it says, so that a template that
//! comes back gets its old name.

use super::act::{Act, Table};
use super::look::{self, World};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

/// The name of the revision that a template is.
pub(super) fn name(set: &str, template: &Value) -> String {
    let mut sha = Sha256::new();
    feed(template, &mut sha);
    let mut hash = String::new();
    for byte in sha.finalize().iter().take(5) {
        hash.push_str(&format!("{byte:02x}"));
    }
    format!("{set}-{hash}")
}

/// Feeds a value in an order that does not depend on how it was written.
fn feed(value: &Value, sha: &mut Sha256) {
    match value {
        Value::Object(map) => {
            let mut fields: Vec<_> = map.iter().collect();
            fields.sort_by_key(|(name, _)| *name);
            sha.update(b"{");
            for (name, value) in fields {
                sha.update(json!(name).to_string());
                feed(value, sha);
            }
            sha.update(b"}");
        }
        Value::Array(items) => {
            sha.update(b"[");
            items.iter().for_each(|item| feed(item, sha));
            sha.update(b"]");
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {
            sha.update(value.to_string());
            sha.update(b",");
        }
    }
}

/// The template of a revision that was written down.
pub(super) fn template<'a>(world: &'a World, set: &Value, revision: &str) -> Option<&'a Value> {
    let found = World::find(&world.revisions, look::namespace(set), revision)?;
    let template = &found["data"]["spec"]["template"];
    (look::controller(found) == Some(look::uid(set)) && template.is_object()).then_some(template)
}

/// Writes a revision down.
pub(super) fn record(world: &World, set: &Value, revision: &str, template: &Value) -> Act {
    let own = world.revisions.iter().filter(|r| look::controller(r) == Some(look::uid(set)));
    let number = own.filter_map(|r| r["revision"].as_i64()).max().unwrap_or(0) + 1;
    let namespace = look::namespace(set);
    let mut metadata = json!({
        "name": revision,
        "namespace": namespace,
        "ownerReferences": look::reference(set, "apps/v1", "StatefulSet"),
    });
    if set["spec"]["selector"]["matchLabels"].is_object() {
        look::set(&mut metadata, &["labels"], set["spec"]["selector"]["matchLabels"].clone());
    }
    let object = json!({
        "apiVersion": "apps/v1",
        "kind": "ControllerRevision",
        "metadata": metadata,
        "data": {"spec": {"template": template}},
        "revision": number,
    });
    Act::Create { table: Table::Revisions, namespace: namespace.into(), object }
}
