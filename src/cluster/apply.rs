//! Makes the objects of a managed cache what they were rendered as.
//!
//! ```text
//!   rendered --not there--> create      --differs--> patch guarded by uid and resourceVersion      --equal--> nothing
//! ```
//!
//! Every object carries the number of the revision that it was written from. Who knows an older one than that has not
//! heard of an operation yet, and leaves the object alone.

use super::drift::differences;
use super::render::{Kind, Object, Owner, RENDERER};
use super::workloads::Live;
use crate::cache::{Cached, Key, Store};
use crate::controller::Ctx;
use crate::controller::reply::Reply;
use crate::controller::teeth::Mutation;
use crate::controller::write::{self, Part};
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{ConfigMap, Service};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::Api;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

/// Why an object is not as it shall be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trouble {
    /// In CamelCase.
    pub reason: &'static str,
    /// In a sentence.
    pub message: String,
}

fn trouble(reason: &'static str, message: String) -> Trouble {
    Trouble { reason, message }
}

/// What the objects are made from.
#[derive(Debug, Clone, Copy)]
pub struct At {
    /// Number of the revision.
    pub revision: i64,
    /// The cache was ready once.
    pub serves: bool,
}

/// What became of an object.
pub enum Applied {
    /// It is as it shall be.
    Same,
    /// It was written; this is what is there now.
    Written,
}

/// Makes one object what it was rendered as.
///
/// # Errors
/// [`Trouble`] when it cannot be, yet or at all.
pub async fn apply(ctx: &Ctx, owner: &Owner, object: &Object, at: At) -> Result<Applied, Trouble> {
    match object.kind {
        Kind::ConfigMap => one::<ConfigMap>(ctx, &ctx.workloads.configs, owner, object, at).await,
        Kind::Service => one::<Service>(ctx, &ctx.workloads.services, owner, object, at).await,
        Kind::PodDisruptionBudget => {
            one::<PodDisruptionBudget>(ctx, &ctx.workloads.budgets, owner, object, at).await
        }
        Kind::StatefulSet => one::<StatefulSet>(ctx, &ctx.workloads.sets, owner, object, at).await,
    }
}

/// Asks the API server whether it would take a StatefulSet, without making it.
///
/// # Errors
/// [`Trouble`] with what it says.
pub async fn try_out(ctx: &Ctx, owner: &Owner, object: &Object) -> Result<(), Trouble> {
    let api: Api<StatefulSet> = Api::namespaced(ctx.client.clone(), &owner.namespace);
    match write::create_raw(ctx, &api, &object.body, true).await {
        // It is there: somebody was faster.
        Ok(_) | Err(Reply::Conflict) => Ok(()),
        Err(reply) => Err(refused(object, reply)),
    }
}

async fn one<K>(
    ctx: &Ctx,
    store: &Store<K>,
    owner: &Owner,
    object: &Object,
    at: At,
) -> Result<Applied, Trouble>
where
    K: Cached<Scope = kube::core::NamespaceResourceScope> + DeserializeOwned + Serialize + std::fmt::Debug,
{
    let api: Api<K> = Api::namespaced(ctx.client.clone(), &owner.namespace);
    let key = Key::new(owner.namespace.as_str(), object.name.as_str());
    let live = match ctx.workloads.get(object.kind, &key) {
        Some(live) => live,
        None => match create(ctx, &api, store, object).await? {
            None => return Ok(Applied::Written),
            // It is there and was not seen: it may have lost its label.
            Some(found) => Live::of(&found),
        },
    };
    check(owner, object, &live)?;
    if live.renderer < RENDERER.1 && at.serves && object.kind == Kind::StatefulSet {
        // Made by an earlier version of Ratchet: what this one makes otherwise comes with an operation, not by itself.
        return Ok(Applied::Same);
    }
    let newer = live.revision > at.revision && !ctx.broken(Mutation::OlderRevision);
    if newer || live.renderer > RENDERER.1 {
        let message = format!("{} was written by an operation that is not known here yet", object.name);
        return Err(trouble("NotUpToDate", message));
    }
    let changes = changes::<K>(object, &live)?;
    if changes.is_empty() {
        return Ok(Applied::Same);
    }
    let mut ops = vec![
        json!({"op": "test", "path": "/metadata/uid", "value": live.uid}),
        json!({"op": "replace", "path": "/metadata/resourceVersion", "value": live.resource_version}),
    ];
    ops.extend(changes);
    tracing::info!(object = object.name, changes = %json!(&ops[2..]), "an object is made as it shall be");
    match write::patch(ctx, &api, Part::Main, &object.name, &ops).await {
        Ok(written) => {
            let settled = changes_of(object, &written)?.is_empty();
            store.replace(written);
            if settled {
                return Ok(Applied::Written);
            }
            let message = format!("{} is changed on its way, by an admission webhook perhaps", object.name);
            Err(trouble("ChangedOnTheWay", message))
        }
        Err(Reply::Gone) => {
            store.remove(&key, Some(&live.uid));
            Err(trouble("ObjectChanging", format!("{} was removed just now", object.name)))
        }
        Err(reply) => Err(refused(object, reply)),
    }
}

/// Makes an object; gives back the one that is there already.
async fn create<K>(ctx: &Ctx, api: &Api<K>, store: &Store<K>, object: &Object) -> Result<Option<K>, Trouble>
where
    K: Cached + DeserializeOwned + Serialize + std::fmt::Debug,
{
    match write::create_raw(ctx, api, &object.body, false).await {
        Ok(made) => {
            store.replace(made);
            Ok(None)
        }
        Err(Reply::Conflict | Reply::Ambiguous(_)) => match write::get(ctx, api, &object.name).await {
            // Nobody watches what does not carry the label: it is not kept.
            Ok(Some(found)) => Ok(Some(found)),
            Ok(None) => Err(trouble("ObjectChanging", format!("{} was removed just now", object.name))),
            Err(reply) => Err(refused(object, reply)),
        },
        Err(reply) => Err(refused(object, reply)),
    }
}

/// Whether an object that is there is this cache's.
fn check(owner: &Owner, object: &Object, live: &Live) -> Result<(), Trouble> {
    let what = format!("{:?} {}", object.kind, object.name);
    if live.owner.as_deref() != Some(&owner.uid) {
        let message = format!(
            "{what} is there already and belongs to somebody else; remove it, or give the CacheCluster another name"
        );
        return Err(trouble("NameTaken", message));
    }
    if live.going {
        return Err(trouble(
            "ObjectChanging",
            format!("{what} is being removed; it is made anew when it is gone"),
        ));
    }
    Ok(())
}

/// What has to be written, where the object is compared as its kind reads it on both sides.
fn changes<K: DeserializeOwned + Serialize>(object: &Object, live: &Live) -> Result<Vec<Value>, Trouble> {
    let read: Result<K, _> = serde_json::from_value(object.body.clone());
    let wanted = read.and_then(|o| serde_json::to_value(o));
    let wanted =
        wanted.map_err(|e| trouble("InvalidSpec", format!("{} cannot be read: {e}", object.name)))?;
    let mut all = differences(&wanted, &live.value, "");
    // Nobody adds anything to whom a budget protects: an exception that is not wanted any more goes.
    let selector = |o: &Value| o["spec"]["selector"].clone();
    if object.kind == Kind::PodDisruptionBudget && selector(&wanted) != selector(&live.value) {
        all.push(json!({"op": "replace", "path": "/spec/selector", "value": selector(&wanted)}));
    }
    // The number of the revision alone is no reason to write.
    let numbered = |o: &Value| o["path"].as_str().is_some_and(|p| p.starts_with("/metadata/annotations"));
    Ok(if all.iter().all(numbered) { Vec::new() } else { all })
}

fn changes_of<K>(object: &Object, written: &K) -> Result<Vec<Value>, Trouble>
where
    K: Cached + DeserializeOwned + Serialize,
{
    changes::<K>(object, &Live::of(written))
}

fn refused(object: &Object, reply: Reply) -> Trouble {
    let what = format!("{:?} {}", object.kind, object.name);
    match reply {
        Reply::Rule(why) | Reply::Denied(why) | Reply::TooLarge(why) => {
            trouble("ObjectRefused", format!("{what}: {why}"))
        }
        Reply::Terminating => trouble("NamespaceTerminating", "the namespace is being deleted".into()),
        Reply::Ambiguous(why) => trouble("ApiServerUnavailable", format!("{what}: {why}")),
        Reply::Lost | Reply::Conflict | Reply::Gone | Reply::Busy(_) => {
            trouble("ObjectChanging", format!("{what} could not be written yet: {}", reply.name()))
        }
    }
}
