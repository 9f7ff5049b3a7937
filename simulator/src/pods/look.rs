//! Looking at objects without copying them.

use super::act::{Cluster, Table};
use chrono::{DateTime, SecondsFormat};
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Everything that a step looks at.
pub(super) struct World {
    pub now: i64,
    pub pods: Vec<Arc<Value>>,
    pub claims: Vec<Arc<Value>>,
    pub sets: Vec<Arc<Value>>,
    pub revisions: Vec<Arc<Value>>,
    pub jobs: Vec<Arc<Value>>,
    pub budgets: Vec<Arc<Value>>,
    /// Pods by the uid of their controller, as indexes.
    owned: BTreeMap<String, Vec<usize>>,
}

impl World {
    pub fn see(cluster: &dyn Cluster, now: i64) -> Self {
        let pods = cluster.objects(Table::Pods);
        let mut owned: BTreeMap<String, Vec<usize>> = BTreeMap::new();
        for (i, pod) in pods.iter().enumerate() {
            if let Some(owner) = controller(pod) {
                owned.entry(owner.to_owned()).or_default().push(i);
            }
        }
        Self {
            now,
            pods,
            claims: cluster.objects(Table::Claims),
            sets: cluster.objects(Table::Sets),
            revisions: cluster.objects(Table::Revisions),
            jobs: cluster.objects(Table::Jobs),
            budgets: cluster.objects(Table::Budgets),
            owned,
        }
    }

    /// The pods that an object controls.
    pub fn pods_of<'a>(&'a self, owner: &str) -> impl Iterator<Item = &'a Value> + use<'a> {
        self.owned.get(owner).into_iter().flatten().filter_map(|i| self.pods.get(*i)).map(AsRef::as_ref)
    }

    /// An object of a list by namespace and name.
    pub fn find<'a>(objects: &'a [Arc<Value>], space: &str, wanted: &str) -> Option<&'a Value> {
        objects.iter().map(AsRef::as_ref).find(|o| name(o) == wanted && namespace(o) == space)
    }
}

pub(super) fn name(object: &Value) -> &str {
    object["metadata"]["name"].as_str().unwrap_or_default()
}

pub(super) fn namespace(object: &Value) -> &str {
    object["metadata"]["namespace"].as_str().unwrap_or_default()
}

pub(super) fn uid(object: &Value) -> &str {
    object["metadata"]["uid"].as_str().unwrap_or_default()
}

pub(super) fn terminating(object: &Value) -> bool {
    object["metadata"]["deletionTimestamp"].is_string()
}

/// The uid of the object that controls this one.
pub(super) fn controller(object: &Value) -> Option<&str> {
    let owners = object["metadata"]["ownerReferences"].as_array()?;
    owners.iter().find(|o| o["controller"] == true)?["uid"].as_str()
}

pub(super) fn phase(pod: &Value) -> &str {
    pod["status"]["phase"].as_str().unwrap_or("Pending")
}

/// Whether a pod runs and says that it is ready.
pub(super) fn ready(pod: &Value) -> bool {
    phase(pod) == "Running" && condition(pod, "Ready")
}

pub(super) fn condition(object: &Value, kind: &str) -> bool {
    let all = object["status"]["conditions"].as_array();
    all.is_some_and(|all| all.iter().any(|c| c["type"] == kind && c["status"] == "True"))
}

/// A time as objects have it.
pub(super) fn time(ms: i64) -> String {
    DateTime::from_timestamp_millis(ms).unwrap_or_default().to_rfc3339_opts(SecondsFormat::Secs, true)
}

/// Whether each field of `wanted` is in `have` already.
pub(super) fn holds(have: &Value, wanted: &Value) -> bool {
    let Value::Object(fields) = wanted else { return have == wanted };
    fields.iter().all(|(name, value)| have.get(name).is_some_and(|have| holds(have, value)))
}

/// Sets a field at a path of objects, making them where they are missing.
pub(super) fn set(object: &mut Value, path: &[&str], value: impl Into<Value>) {
    let mut at = object;
    for part in path {
        if !at.is_object() {
            *at = Value::Object(serde_json::Map::new());
        }
        let Some(map) = at.as_object_mut() else { return };
        at = map.entry(*part).or_insert(Value::Null);
    }
    *at = value.into();
}

/// A reference to the object that controls another.
pub(super) fn reference(owner: &Value, version: &str, kind: &str) -> Value {
    serde_json::json!([{
        "apiVersion": version, "kind": kind, "name": name(owner), "uid": uid(owner),
        "controller": true, "blockOwnerDeletion": true,
    }])
}
