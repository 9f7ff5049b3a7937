//! Puts a finalizer on an object, or takes it off: one patch, of the very object that was read.

use super::Ctx;
use super::reply::Reply;
use super::write::{self, Part};
use kube::{Api, ResourceExt};
use serde::de::DeserializeOwned;
use serde_json::json;
use std::time::Duration;

/// Whether an object has a finalizer.
pub fn has<K: ResourceExt>(object: &K, finalizer: &str) -> bool {
    object.finalizers().iter().any(|f| f == finalizer)
}

/// Makes an object have a finalizer, or not.
///
/// # Errors
/// What the reply means.
pub async fn set<K>(ctx: &Ctx, api: &Api<K>, object: &K, finalizer: &str, on: bool) -> Result<K, Reply>
where
    K: kube::Resource + Clone + DeserializeOwned + std::fmt::Debug,
{
    let mut all: Vec<&str> =
        object.finalizers().iter().map(String::as_str).filter(|f| *f != finalizer).collect();
    if on {
        all.push(finalizer);
    }
    let ops = json!([
        {"op": "test", "path": "/metadata/uid", "value": object.uid()},
        {"op": "replace", "path": "/metadata/resourceVersion", "value": object.resource_version()},
        {"op": "add", "path": "/metadata/finalizers", "value": all},
    ]);
    write::patch(ctx, api, Part::Main, &object.name_any(), &ops).await
}

/// When to look at an object again whose finalizer could not be written; none: it is gone.
#[must_use]
pub fn again(reply: &Reply) -> Option<Duration> {
    match reply {
        Reply::Gone => None,
        Reply::Busy(after) => Some(after.unwrap_or(Duration::from_secs(1))),
        Reply::Lost
        | Reply::Ambiguous(_)
        | Reply::Rule(_)
        | Reply::Denied(_)
        | Reply::Terminating
        | Reply::Conflict
        | Reply::TooLarge(_) => Some(Duration::from_millis(500)),
    }
}
