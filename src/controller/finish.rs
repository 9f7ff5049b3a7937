//! Everything about the object itself: its finalizer, its deletion, its time to live.

use super::observe::{deleting_for_ms, surroundings};
use super::reply::{Reply, classify};
use super::write::{self, Part};
use super::{Ctx, commit, request, seal};
use crate::api::conditions::{self, UNFINISHED_OPERATION, Wanted};
use crate::api::{CacheCluster, DataLoad, DataOperation, DataOperationStatus, FINALIZER, Upgrade};
use crate::cache::Key;
use crate::cache::kinds::BY_PREDECESSOR;
use kube::Api;
use kube::api::{DeleteParams, Preconditions};
use ratchet_state_machine::machine::Phase;
use serde_json::json;
use std::sync::Arc;
use std::time::Duration;

/// Puts the finalizer on an operation that somebody else created.
///
/// # Errors
/// How long to wait before another try.
pub async fn add_finalizer(ctx: &Ctx, op: &Arc<DataOperation>) -> Result<Arc<DataOperation>, Duration> {
    let first = op.metadata.finalizers.as_ref().is_none_or(Vec::is_empty);
    let add = if first {
        json!({"op": "add", "path": "/metadata/finalizers", "value": [FINALIZER]})
    } else {
        json!({"op": "add", "path": "/metadata/finalizers/-", "value": FINALIZER})
    };
    let ops = json!([
        {"op": "test", "path": "/metadata/uid", "value": op.uid()},
        {"op": "test", "path": "/metadata/finalizers", "value": op.metadata.finalizers},
        add,
    ]);
    match patch_metadata(ctx, op, ops).await {
        Ok(object) => {
            let full = Arc::new(object.clone());
            ctx.operations.replace(object);
            Ok(full)
        }
        Err(Reply::Busy(after)) => Err(after.unwrap_or(Duration::from_secs(1))),
        Err(Reply::Denied(why) | Reply::Rule(why)) => {
            tracing::error!(operation = %Key::of(&**op), %why, "the finalizer cannot be added");
            Err(Duration::from_secs(30))
        }
        Err(_) => Err(Duration::from_millis(500)),
    }
}

async fn patch_metadata(
    ctx: &Ctx,
    op: &DataOperation,
    ops: serde_json::Value,
) -> Result<DataOperation, Reply> {
    let name = op.metadata.name.as_deref().unwrap_or_default();
    write::patch(ctx, &commit::api(ctx, op), Part::Main, name, &ops).await
}

/// Takes the finalizer off an object that is being deleted.
pub async fn drop_finalizer(ctx: &Ctx, op: &Arc<DataOperation>) -> Option<Duration> {
    let at = op.metadata.finalizers.iter().flatten().position(|f| f == FINALIZER)?;
    let path = format!("/metadata/finalizers/{at}");
    let ops = json!([
        {"op": "test", "path": "/metadata/uid", "value": op.uid()},
        {"op": "test", "path": path, "value": FINALIZER},
        {"op": "remove", "path": path},
    ]);
    match patch_metadata(ctx, op, ops).await {
        // The watch tells when the object is gone; nothing is left to do here.
        Ok(_) | Err(Reply::Gone) => None,
        Err(_) => Some(Duration::from_millis(500)),
    }
}

/// An operation that is terminal and sealed: let it go when it is being deleted or its time to live is over.
pub async fn settled(ctx: &Ctx, op: &Arc<DataOperation>) -> Option<Duration> {
    if op.metadata.deletion_timestamp.is_some() {
        return drop_finalizer(ctx, op).await;
    }
    let ttl = op.spec.ttl_after_finished_seconds?;
    let finished = op.status.as_ref()?.finished_at.as_deref()?;
    let finished = chrono::DateTime::parse_from_rfc3339(finished).ok()?;
    let left = ttl.saturating_sub((ctx.clock.now() - finished.to_utc()).num_seconds());
    if left > 0 {
        return Some(Duration::from_secs(u64::try_from(left).unwrap_or(60).min(3600)));
    }
    if awaited(ctx, op) {
        return Some(Duration::from_secs(1));
    }
    let preconditions = Preconditions { uid: Some(op.uid().to_owned()), ..Preconditions::default() };
    let params = DeleteParams { preconditions: Some(preconditions), ..DeleteParams::background() };
    let name = op.metadata.name.as_deref().unwrap_or_default();
    let api = commit::api(ctx, op);
    match tokio::time::timeout(ctx.config.api_timeout, api.delete(name, &params)).await {
        Ok(Ok(_)) => None,
        Ok(Err(error)) if classify(Some(&error)) == Reply::Gone => None,
        Ok(Err(_)) | Err(_) => Some(Duration::from_secs(5)),
    }
}

/// Whether somebody has yet to read how the operation ended: the request that mirrors it, or a successor.
fn awaited(ctx: &Ctx, op: &DataOperation) -> bool {
    let namespace = op.metadata.namespace.as_deref().unwrap_or_default();
    let unread = |owner| {
        request::unread::<DataLoad>(ctx, op, owner)
            .or_else(|| request::unread::<Upgrade>(ctx, op, owner))
            .unwrap_or(false)
    };
    if op.metadata.owner_references.iter().flatten().any(unread) {
        return true;
    }
    let name = op.metadata.name.as_deref().unwrap_or_default();
    let after = ctx.operations.by_index(&(BY_PREDECESSOR, format!("{namespace}/{name}")));
    after.iter().any(|o| o.phase().is_none_or(|p| p == Phase::Pending))
}

/// A deletion whose clean-up takes longer than its bound: the finalizer goes, and the cluster says what was left.
pub async fn let_go(ctx: &Ctx, op: &Arc<DataOperation>) -> Option<Option<Duration>> {
    let waited = deleting_for_ms(ctx, op)?;
    let late = waited.saturating_sub(ctx.config.cleanup_bound_ms);
    if late < 0 || gets_on(ctx, op, waited) {
        return None;
    }
    op.metadata.finalizers.iter().flatten().find(|f| *f == FINALIZER)?;
    tracing::warn!(operation = %Key::of(&**op), "the clean-up of a deleted operation took too long; it is let go");
    // Both are favours: the object goes in any case, a minute later at most.
    let patient = late < 60_000;
    if let Some(cluster) = surroundings(ctx, op).cluster
        && !mark_unfinished(ctx, &cluster, op).await
        && patient
    {
        return Some(Some(Duration::from_secs(2)));
    }
    if let Some(Ok(record)) = op.status.as_ref().map(DataOperationStatus::record)
        && let seal::Sealed::Later(wait) = seal::rest(ctx, op, &record).await
        && patient
    {
        return Some(Some(wait));
    }
    Some(drop_finalizer(ctx, op).await)
}

/// Taking an upgrade back takes its time with each member. As long as it gets on it is not given up, for an hour at most.
fn gets_on(ctx: &Ctx, op: &DataOperation, waited_ms: i64) -> bool {
    let bound = ctx.config.cleanup_bound_ms;
    let record = op.status.as_ref().and_then(|s| s.record().ok());
    let last = record.and_then(|r| r.last().and_then(|e| e.time()));
    let still = last.is_some_and(|at| (ctx.clock.now() - at).num_milliseconds() < bound);
    op.phase() == Some(Phase::RollingBack) && still && waited_ms < bound.saturating_mul(6)
}

/// The condition on the cluster that tells of work that may still go on in the engine.
async fn mark_unfinished(ctx: &Ctx, cluster: &CacheCluster, op: &DataOperation) -> bool {
    let Some(status) = &cluster.status else { return true };
    let name = op.metadata.name.as_deref().unwrap_or_default();
    let message = format!(
        "{name} was deleted before its work in the engine could be stopped; look at the engine's jobs"
    );
    let wanted = Wanted::new(UNFINISHED_OPERATION, true, "CleanupTimedOut", message);
    let generation = cluster.metadata.generation.unwrap_or(0);
    let all = conditions::apply(&status.conditions, &[wanted], generation, ctx.clock.now());
    let ops = json!([
        {"op": "test", "path": "/metadata/uid", "value": cluster.metadata.uid},
        {"op": "test", "path": "/status/conditions", "value": status.conditions},
        {"op": "replace", "path": "/status/conditions", "value": all},
    ]);
    let namespace = cluster.metadata.namespace.as_deref().unwrap_or_default();
    let api: Api<CacheCluster> = Api::namespaced(ctx.client.clone(), namespace);
    let target = cluster.metadata.name.as_deref().unwrap_or_default();
    match write::patch(ctx, &api, Part::Status, target, &ops).await {
        Ok(_) => true,
        Err(reply) => reply == Reply::Gone,
    }
}
