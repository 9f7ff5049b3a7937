//! Reading and writing `metadata`, without a copy.

use chrono::{DateTime, SecondsFormat, Utc};
use serde_json::{Map, Value};

/// A text of the metadata; empty when it is not there.
pub(crate) fn text<'a>(object: &'a Value, field: &str) -> &'a str {
    object.get("metadata").and_then(|m| m.get(field)).and_then(Value::as_str).unwrap_or_default()
}

/// Its name.
pub(crate) fn name(object: &Value) -> &str {
    text(object, "name")
}

/// Its namespace; empty for cluster-scoped ones.
pub(crate) fn namespace(object: &Value) -> &str {
    text(object, "namespace")
}

/// Its uid.
pub(crate) fn uid(object: &Value) -> &str {
    text(object, "uid")
}

/// Its resourceVersion.
pub(crate) fn version(object: &Value) -> &str {
    text(object, "resourceVersion")
}

/// Whether it is being deleted.
pub(crate) fn deleting(object: &Value) -> bool {
    !text(object, "deletionTimestamp").is_empty()
}

/// Its finalizers.
pub(crate) fn finalizers(object: &Value) -> impl Iterator<Item = &str> {
    list(object, "finalizers").iter().filter_map(Value::as_str)
}

/// A list of the metadata; empty when it is not there.
pub(crate) fn list<'a>(object: &'a Value, field: &str) -> &'a [Value] {
    object.get("metadata").and_then(|m| m.get(field)).and_then(Value::as_array).map_or(&[][..], Vec::as_slice)
}

/// The metadata, made if it is not there.
pub(crate) fn metadata(object: &mut Value) -> Option<&mut Map<String, Value>> {
    object.as_object_mut()?.entry("metadata").or_insert_with(|| Map::new().into()).as_object_mut()
}

/// Sets a field of the metadata.
pub(crate) fn set(object: &mut Value, field: &str, value: impl Into<Value>) {
    if let Some(metadata) = metadata(object) {
        metadata.insert(field.to_owned(), value.into());
    }
}

/// Removes a field of the metadata.
pub(crate) fn remove(object: &mut Value, field: &str) {
    if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.remove(field);
    }
}

/// Replaces the finalizers; an empty list is none.
pub(crate) fn set_list(object: &mut Value, field: &str, list: Vec<Value>) {
    if list.is_empty() { remove(object, field) } else { set(object, field, list) }
}

/// Takes a field of `from`'s metadata over, also its absence.
pub(crate) fn copy(object: &mut Value, from: &Value, field: &str) {
    match from.get("metadata").and_then(|m| m.get(field)) {
        Some(value) => set(object, field, value.clone()),
        None => remove(object, field),
    }
}

/// The generation; 0 when none is counted.
pub(crate) fn generation(object: &Value) -> i64 {
    object.get("metadata").and_then(|m| m.get("generation")).and_then(Value::as_i64).unwrap_or_default()
}

/// A time as the metadata has it.
pub(crate) fn time(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Secs, true)
}

/// The key under which an object is stored.
pub(crate) fn key(namespace: &str, name: &str) -> String {
    if namespace.is_empty() { name.to_owned() } else { format!("{namespace}/{name}") }
}
