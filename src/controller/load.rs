//! DataLoad: one DataOperation for each, under a deterministic name, and a mirror of where it is.

use super::Ctx;
use super::reply::Reply;
use super::write::{self, Part};
use crate::api::{DataLoad, DataLoadStatus, DataOperation, FINALIZER};
use crate::cache::Key;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kube::Api;
use serde_json::json;
use std::sync::Arc;
use std::time::Duration;

/// A load older than this, in seconds, has had its operation for long: that it is not in the cache proves nothing.
const YOUNG_S: i64 = 10;

/// Brings one DataLoad up to date.
pub async fn reconcile(ctx: &Ctx, key: &Key) -> Option<Duration> {
    let load = ctx.loads.get(key)?;
    let name = load.operation_name();
    let run = Key::new(key.namespace.as_str(), name.as_str());
    let Some(op) = ctx.operations.get(&run) else {
        if ctx.operations.undecodable(&run).is_some() {
            // It is there, written by a newer controller; that one looks after it.
            return None;
        }
        return absent(ctx, load, &name).await;
    };
    let owner = load.metadata.uid.as_deref().unwrap_or_default();
    if !op.metadata.owner_references.iter().flatten().any(|o| o.uid == owner) {
        tracing::warn!(load = %key, operation = %run, "the name of the load's operation is taken by another object");
        return Some(Duration::from_secs(30));
    }
    mirror(ctx, &load, &op).await
}

/// The cache has no run of this load: it was never started, or it is gone.
async fn absent(ctx: &Ctx, load: Arc<DataLoad>, name: &str) -> Option<Duration> {
    let mut load = load;
    let created = load.metadata.creation_timestamp.as_ref().map_or(0, |t| t.0.as_second());
    let started = |l: &DataLoad| l.status.as_ref().is_some_and(|s| s.operation == name);
    if started(&load) || ctx.clock.now().timestamp() - created > YOUNG_S {
        // Caches lag, each on its own: what is decided for good is decided on what the server says.
        let namespace = load.metadata.namespace.as_deref().unwrap_or_default();
        let operations: Api<DataOperation> = Api::namespaced(ctx.client.clone(), namespace);
        match write::get(ctx, &operations, name).await {
            Ok(None) => {}
            Ok(Some(op)) => {
                ctx.changed_operation(&ctx.operations.replace(op));
                return Some(Duration::from_secs(1));
            }
            Err(_) => return Some(Duration::from_secs(1)),
        }
        match write::get(ctx, &api(ctx, &load), load.metadata.name.as_deref().unwrap_or_default()).await {
            Ok(Some(fresh)) if fresh.metadata.uid == load.metadata.uid => load = Arc::new(fresh),
            Ok(_) => return None,
            Err(_) => return Some(Duration::from_secs(1)),
        }
    }
    // A run that was there and is not any more (deleted, or its time to live is over) is not started again.
    if started(&load) || load.metadata.deletion_timestamp.is_some() {
        return forgotten(ctx, &load).await;
    }
    create(ctx, &load, name).await
}

fn api(ctx: &Ctx, load: &DataLoad) -> Api<DataLoad> {
    Api::namespaced(ctx.client.clone(), load.metadata.namespace.as_deref().unwrap_or_default())
}

async fn create(ctx: &Ctx, load: &DataLoad, name: &str) -> Option<Duration> {
    let owner = OwnerReference {
        api_version: crate::api::API_VERSION.into(),
        kind: "DataLoad".into(),
        name: load.metadata.name.clone().unwrap_or_default(),
        uid: load.metadata.uid.clone().unwrap_or_default(),
        controller: Some(true),
        block_owner_deletion: Some(true),
    };
    let metadata = ObjectMeta {
        name: Some(name.to_owned()),
        namespace: load.metadata.namespace.clone(),
        finalizers: Some(vec![FINALIZER.to_owned()]),
        owner_references: Some(vec![owner]),
        ..ObjectMeta::default()
    };
    let operation = DataOperation::new(metadata, load.spec.operation(), None);
    let api: Api<DataOperation> =
        Api::namespaced(ctx.client.clone(), load.metadata.namespace.as_deref().unwrap_or_default());
    match write::create(ctx, &api, &operation).await {
        Ok(created) => {
            ctx.changed_operation(&ctx.operations.replace(created));
            None
        }
        Err(Reply::Terminating) => None,
        // The namespace is gone, and the load with it; or the kind is missing for a moment.
        Err(Reply::Gone) => Some(Duration::from_secs(5)),
        Err(Reply::Busy(after)) => Some(after.unwrap_or(Duration::from_secs(1))),
        Err(Reply::Rule(why) | Reply::Denied(why)) => {
            tracing::error!(load = %Key::of(load), %why, "the operation of a load cannot be created");
            refused(ctx, load, name, &why).await
        }
        // It is there already (the watch will show it), or it may be.
        Err(_) => Some(Duration::from_secs(1)),
    }
}

/// The API server refuses the operation: the load says why.
async fn refused(ctx: &Ctx, load: &DataLoad, name: &str, why: &str) -> Option<Duration> {
    let status = DataLoadStatus {
        operation: String::new(),
        phase: "Pending".into(),
        reason: "OperationRefused".into(),
        observed_generation: load.metadata.generation.unwrap_or(0),
        conditions: crate::api::conditions::apply(
            &[],
            &[crate::api::conditions::Wanted::new(
                "Stalled",
                true,
                "OperationRefused",
                format!("{name}: {why}"),
            )],
            load.metadata.generation.unwrap_or(0),
            ctx.clock.now(),
        ),
        ..DataLoadStatus::default()
    };
    show(ctx, load, status).await;
    Some(Duration::from_secs(60))
}

/// The run is gone. If the load never saw its end, it says so.
async fn forgotten(ctx: &Ctx, load: &DataLoad) -> Option<Duration> {
    let status = load.status.clone()?;
    if status.finished_at.is_some() || load.metadata.deletion_timestamp.is_some() {
        return None;
    }
    let now = ctx.clock.now();
    let generation = load.metadata.generation.unwrap_or(0);
    let message = format!("{} was deleted; create another DataLoad to load again", status.operation);
    let wanted = ["Finished", "Succeeded", "Progressing"].map(|t| {
        crate::api::conditions::Wanted::new(t, t == "Finished", "OperationDeleted", message.clone())
    });
    let gone = DataLoadStatus {
        phase: "Cancelled".into(),
        reason: "OperationDeleted".into(),
        finished_at: Some(crate::api::conditions::time(now)),
        conditions: crate::api::conditions::apply(&status.conditions, &wanted, generation, now),
        ..status
    };
    show(ctx, load, gone).await
}

/// The load shows what its run shows.
async fn mirror(ctx: &Ctx, load: &DataLoad, op: &DataOperation) -> Option<Duration> {
    let seen = op.status.as_ref();
    let status = DataLoadStatus {
        observed_seq: op.seq().0,
        operation: op.metadata.name.clone().unwrap_or_default(),
        phase: seen.map_or_else(|| "Pending".to_owned(), |s| s.phase.name().to_owned()),
        step: seen.map(|s| s.step.clone()).unwrap_or_default(),
        progress: seen.and_then(|s| s.progress.as_ref()).map(|p| p.percent.clone()).unwrap_or_default(),
        reason: seen.and_then(|s| s.waiting_on.as_ref()).map(|w| w.reason.clone()).unwrap_or_default(),
        started_at: seen.and_then(|s| s.started_at.clone()),
        finished_at: seen.and_then(|s| s.finished_at.clone()),
        conditions: seen.map(|s| s.conditions.clone()).unwrap_or_default(),
        observed_generation: load.metadata.generation.unwrap_or(0),
    };
    show(ctx, load, status).await
}

async fn show(ctx: &Ctx, load: &DataLoad, status: DataLoadStatus) -> Option<Duration> {
    // A cache that lags behind another replica's must not turn the mirror back.
    let ahead = load
        .status
        .as_ref()
        .is_some_and(|s| s.operation == status.operation && s.observed_seq > status.observed_seq);
    if ahead || load.status.as_ref() == Some(&status) {
        return None;
    }
    let name = load.metadata.name.as_deref().unwrap_or_default();
    let ops = json!([
        {"op": "test", "path": "/metadata/uid", "value": load.metadata.uid},
        {"op": "replace", "path": "/metadata/resourceVersion", "value": load.metadata.resource_version},
        {"op": "add", "path": "/status", "value": status},
    ]);
    match write::patch(ctx, &api(ctx, load), Part::Status, name, ops).await {
        Ok(written) => {
            ctx.metrics.mirror_write();
            ctx.loads.replace(written);
            None
        }
        Err(Reply::Gone) => None,
        Err(Reply::Busy(after)) => Some(after.unwrap_or(Duration::from_secs(1))),
        Err(_) => Some(Duration::from_secs(1)),
    }
}
