//! Rows for `kubectl get`.

use super::Kind;
use chrono::{DateTime, Utc};
use serde_json::{Value, json};
use std::sync::Arc;

/// A `meta.k8s.io/v1` Table of `objects`, with `list_meta` as its metadata.
pub(crate) fn of(_kind: &Kind, _objects: &[Arc<Value>], list_meta: Value, _now: DateTime<Utc>) -> Value {
    json!({
        "kind": "Table", "apiVersion": "meta.k8s.io/v1", "metadata": list_meta,
        "columnDefinitions": [], "rows": [],
    })
}
