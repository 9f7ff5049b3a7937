//! A dataset that is being deleted: its volumes go when no pod uses them, its mounts are unmounted, then it goes.

use super::{FINALIZER, act, create_noted, plan, set_finalizer, show, volumes};
use crate::api::dataset::DatasetSpec;
use crate::api::{CacheCluster, Dataset};
use crate::clock::ms_between;
use crate::controller::{Ctx, finalizers};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// A dataset that is being deleted: what it has mounted is unmounted, then it goes. Bounded: a cache that is gone or does
/// not answer keeps nobody. The stores are never touched.
pub async fn leave(ctx: &Ctx, dataset: &Dataset, cluster: Option<Arc<CacheCluster>>) -> Option<Duration> {
    if !finalizers::has(dataset, FINALIZER) {
        return None;
    }
    let at = dataset.metadata.deletion_timestamp.as_ref();
    let for_ms = at.map_or(0, |t| (ctx.clock.now().timestamp() - t.0.as_second()).max(0) * 1000);
    let mut status = dataset.status.clone().unwrap_or_default();
    if !volumes::release(ctx, dataset, &mut status).await {
        // A pod that uses a volume is not cut off: however long it takes.
        let wait = show::write(ctx, dataset, status, None, None).await;
        return wait.map(|w| w.min(Duration::from_secs(5)));
    }
    show::mirror(ctx, dataset, &mut status);
    let nothing = DatasetSpec { mounts: Vec::new(), ..dataset.spec.clone() };
    let due = plan::next(&nothing, &BTreeMap::new(), &status);
    // Clocks differ: whatever the time of the server means here, a while has to pass by this process' own clock too.
    let (uid, now) = (dataset.metadata.uid.as_deref().unwrap_or_default(), ctx.clock.instant());
    let seen_ms = ms_between(ctx.gone.first_seen(uid, now), now);
    let late = for_ms >= ctx.config.cleanup_bound_ms && seen_ms >= ctx.config.cleanup_bound_ms / 10;
    if cluster.is_none() || late || (due.is_none() && status.mounts.is_empty()) {
        if !status.mounts.is_empty() {
            let name = dataset.metadata.name.as_deref().unwrap_or_default();
            tracing::warn!(dataset = name, late, "a Dataset goes and leaves mounts behind");
        }
        return drop_finalizer(ctx, dataset).await;
    }
    let left = Duration::from_millis((ctx.config.cleanup_bound_ms - for_ms).max(1_000).unsigned_abs());
    if let Some(wait) = create_noted(ctx, dataset, &status, due.as_ref()).await {
        return Some(wait.min(left));
    }
    let wait = match due {
        Some(due) => act(ctx, dataset, status, due).await,
        None => show::write(ctx, dataset, status, cluster.as_deref(), None).await,
    };
    Some(wait.map_or(left, |w| w.min(left)))
}

async fn drop_finalizer(ctx: &Ctx, dataset: &Dataset) -> Option<Duration> {
    let uid = dataset.metadata.uid.as_deref().unwrap_or_default();
    ctx.looks.forget(uid);
    ctx.gone.forget(uid);
    set_finalizer(ctx, dataset, false).await
}
