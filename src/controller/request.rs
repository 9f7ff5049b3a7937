//! DataLoad and Upgrade: one DataOperation for each, under a deterministic name, and a mirror of where it is.

use super::Ctx;
use super::reply::Reply;
use super::write::{self, Part};
use crate::api::{API_VERSION, DataLoad, DataOperation, FINALIZER, Request, RunStatus, Upgrade, conditions};
use crate::cache::{Cached, Key, Store};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kube::Api;
use kube::core::NamespaceResourceScope;
use serde::de::DeserializeOwned;
use serde_json::json;
use std::sync::Arc;
use std::time::Duration;

/// A request older than this, in seconds, has had its operation for long: that it is not in the cache proves nothing.
const YOUNG_S: i64 = 10;

/// A kind of requests, and where its objects are cached.
pub trait Kept:
    Request<Scope = NamespaceResourceScope> + Cached + Clone + DeserializeOwned + std::fmt::Debug
{
    /// Its objects.
    fn kept(ctx: &Ctx) -> &Store<Self>;
}

impl Kept for DataLoad {
    fn kept(ctx: &Ctx) -> &Store<Self> {
        &ctx.loads
    }
}

impl Kept for Upgrade {
    fn kept(ctx: &Ctx) -> &Store<Self> {
        &ctx.upgrades
    }
}

/// Whether the owner of an operation has yet to show how it ended; `None`: the owner is not of this kind.
pub fn unread<T: Kept>(ctx: &Ctx, op: &DataOperation, owner: &OwnerReference) -> Option<bool> {
    if owner.kind != T::kind(&()) {
        return None;
    }
    let namespace = op.metadata.namespace.as_deref().unwrap_or_default();
    let phase = op.phase().map_or("", |p| p.name());
    let asked = T::kept(ctx).get(&Key::new(namespace, owner.name.as_str()))?;
    Some(asked.meta().uid.as_deref() == Some(&owner.uid) && asked.run().is_none_or(|s| s.phase != phase))
}

/// Brings one request up to date.
pub async fn reconcile<T: Kept>(ctx: &Ctx, key: &Key) -> Option<Duration> {
    let asked = T::kept(ctx).get(key)?;
    let name = asked.operation_name();
    let run = Key::new(key.namespace.as_str(), name.as_str());
    let Some(op) = ctx.operations.get(&run) else {
        if ctx.operations.undecodable(&run).is_some() {
            // It is there, written by a newer controller; that one looks after it.
            return None;
        }
        return absent(ctx, asked, &name).await;
    };
    let owner = asked.meta().uid.as_deref().unwrap_or_default();
    if !op.metadata.owner_references.iter().flatten().any(|o| o.uid == owner) {
        tracing::warn!(request = %key, operation = %run, "the name of the request's operation is taken by another object");
        return Some(Duration::from_secs(30));
    }
    mirror(ctx, &*asked, &op).await
}

/// The cache has no run of this request: it was never started, or it is gone.
async fn absent<T: Kept>(ctx: &Ctx, asked: Arc<T>, name: &str) -> Option<Duration> {
    let mut asked = asked;
    let created = asked.meta().creation_timestamp.as_ref().map_or(0, |t| t.0.as_second());
    let started = |l: &T| l.run().is_some_and(|s| s.operation == name);
    if started(&asked) || ctx.clock.now().timestamp() - created > YOUNG_S {
        // Caches lag, each on its own: what is decided for good is decided on what the server says.
        let namespace = asked.meta().namespace.as_deref().unwrap_or_default();
        let operations: Api<DataOperation> = Api::namespaced(ctx.client.clone(), namespace);
        match write::get(ctx, &operations, name).await {
            Ok(None) => {}
            Ok(Some(op)) => {
                ctx.changed_operation(&ctx.operations.replace(op));
                return Some(Duration::from_secs(1));
            }
            Err(_) => return Some(Duration::from_secs(1)),
        }
        match write::get(ctx, &api(ctx, &*asked), asked.meta().name.as_deref().unwrap_or_default()).await {
            Ok(Some(fresh)) if fresh.meta().uid == asked.meta().uid => asked = Arc::new(fresh),
            Ok(_) => return None,
            Err(_) => return Some(Duration::from_secs(1)),
        }
    }
    // A run that was there and is not any more (deleted, or its time to live is over) is not started again.
    if started(&asked) || asked.meta().deletion_timestamp.is_some() {
        return forgotten(ctx, &*asked).await;
    }
    create(ctx, &*asked, name).await
}

fn api<T: Kept>(ctx: &Ctx, asked: &T) -> Api<T> {
    Api::namespaced(ctx.client.clone(), asked.meta().namespace.as_deref().unwrap_or_default())
}

async fn create<T: Kept>(ctx: &Ctx, asked: &T, name: &str) -> Option<Duration> {
    let owner = OwnerReference {
        api_version: API_VERSION.into(),
        kind: T::kind(&()).into_owned(),
        name: asked.meta().name.clone().unwrap_or_default(),
        uid: asked.meta().uid.clone().unwrap_or_default(),
        controller: Some(true),
        block_owner_deletion: Some(true),
    };
    let metadata = ObjectMeta {
        name: Some(name.to_owned()),
        namespace: asked.meta().namespace.clone(),
        finalizers: Some(vec![FINALIZER.to_owned()]),
        owner_references: Some(vec![owner]),
        ..ObjectMeta::default()
    };
    let operation = DataOperation::new(metadata, asked.operation(), None);
    let api: Api<DataOperation> =
        Api::namespaced(ctx.client.clone(), asked.meta().namespace.as_deref().unwrap_or_default());
    match write::create(ctx, &api, &operation).await {
        Ok(created) => {
            ctx.changed_operation(&ctx.operations.replace(created));
            None
        }
        Err(Reply::Terminating) => None,
        // The namespace is gone, and the request with it; or the kind is missing for a moment.
        Err(Reply::Gone) => Some(Duration::from_secs(5)),
        Err(Reply::Busy(after)) => Some(after.unwrap_or(Duration::from_secs(1))),
        Err(Reply::Rule(why) | Reply::Denied(why)) => {
            tracing::error!(request = %Key::of(asked), %why, "the operation of a request cannot be created");
            refused(ctx, asked, name, &why).await
        }
        // It is there already (the watch will show it), or it may be.
        Err(_) => Some(Duration::from_secs(1)),
    }
}

/// The API server refuses the operation: the request says why.
async fn refused<T: Kept>(ctx: &Ctx, asked: &T, name: &str, why: &str) -> Option<Duration> {
    let status = RunStatus {
        operation: String::new(),
        phase: "Pending".into(),
        reason: "OperationRefused".into(),
        observed_generation: asked.meta().generation.unwrap_or(0),
        conditions: conditions::apply(
            &[],
            &[conditions::Wanted::new("Stalled", true, "OperationRefused", format!("{name}: {why}"))],
            asked.meta().generation.unwrap_or(0),
            ctx.clock.now(),
        ),
        ..RunStatus::default()
    };
    show(ctx, asked, status).await;
    Some(Duration::from_secs(60))
}

/// The run is gone. If the request never saw its end, it says so.
async fn forgotten<T: Kept>(ctx: &Ctx, asked: &T) -> Option<Duration> {
    let status = asked.run().cloned()?;
    if status.finished_at.is_some() || asked.meta().deletion_timestamp.is_some() {
        return None;
    }
    let now = ctx.clock.now();
    let generation = asked.meta().generation.unwrap_or(0);
    let message =
        format!("{} was deleted; create another {} to run it again", status.operation, T::kind(&()));
    let wanted = ["Finished", "Succeeded", "Progressing"]
        .map(|t| conditions::Wanted::new(t, t == "Finished", "OperationDeleted", message.clone()));
    let gone = RunStatus {
        phase: "Cancelled".into(),
        reason: "OperationDeleted".into(),
        finished_at: Some(conditions::time(now)),
        conditions: conditions::apply(&status.conditions, &wanted, generation, now),
        ..status
    };
    show(ctx, asked, gone).await
}

/// The request shows what its run shows.
async fn mirror<T: Kept>(ctx: &Ctx, asked: &T, op: &DataOperation) -> Option<Duration> {
    let seen = op.status.as_ref();
    let status = RunStatus {
        observed_seq: op.seq().0,
        operation: op.metadata.name.clone().unwrap_or_default(),
        phase: seen.map_or_else(|| "Pending".to_owned(), |s| s.phase.name().to_owned()),
        step: seen.map(|s| s.step.clone()).unwrap_or_default(),
        progress: seen.and_then(|s| s.progress.as_ref()).map(|p| p.percent.clone()).unwrap_or_default(),
        reason: seen.and_then(|s| s.waiting_on.as_ref()).map(|w| w.reason.clone()).unwrap_or_default(),
        started_at: seen.and_then(|s| s.started_at.clone()),
        finished_at: seen.and_then(|s| s.finished_at.clone()),
        conditions: seen.map(|s| s.conditions.clone()).unwrap_or_default(),
        observed_generation: asked.meta().generation.unwrap_or(0),
    };
    show(ctx, asked, status).await
}

async fn show<T: Kept>(ctx: &Ctx, asked: &T, status: RunStatus) -> Option<Duration> {
    // A cache that lags behind another replica's must not turn the mirror back.
    let ahead =
        asked.run().is_some_and(|s| s.operation == status.operation && s.observed_seq > status.observed_seq);
    if ahead || asked.run() == Some(&status) {
        return None;
    }
    let name = asked.meta().name.as_deref().unwrap_or_default();
    let ops = json!([
        {"op": "test", "path": "/metadata/uid", "value": asked.meta().uid},
        {"op": "replace", "path": "/metadata/resourceVersion", "value": asked.meta().resource_version},
        {"op": "add", "path": "/status", "value": status},
    ]);
    match write::patch(ctx, &api(ctx, asked), Part::Status, name, &ops).await {
        Ok(written) => {
            ctx.metrics.mirror_write();
            T::kept(ctx).replace(written);
            None
        }
        Err(Reply::Gone) => None,
        Err(Reply::Busy(after)) => Some(after.unwrap_or(Duration::from_secs(1))),
        Err(_) => Some(Duration::from_secs(1)),
    }
}
