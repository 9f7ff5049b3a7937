//! What a dataset shows: how the operations of its mounts stand, what the live table says of them, and how much of it is
//! cached. Nothing is written when nothing moved.

use super::{Blocked, CREATING, api, look, moved, operation, operations, volumes};
use crate::api::conditions::{self, CACHE_POLICY_APPLIED, READY, SPEC_NOT_APPLIED, SYNCED, Wanted};
use crate::api::dataset::MountStatus;
use crate::api::{CacheCluster, Dataset, DatasetStatus};
use crate::cache::Key;
use crate::controller::Ctx;
use crate::controller::cluster::size as readable;
use crate::controller::reply::Reply;
use crate::controller::write::{self, Part, get};
use ratchet_state_machine::machine::Phase;
use serde_json::json;
use std::time::Duration;

/// The mounts follow their operations; what was to go and is gone is dropped.
pub fn mirror(ctx: &Ctx, dataset: &Dataset, status: &mut DatasetStatus) {
    for mount in &mut status.mounts {
        // One whose time to live is over has ended before.
        let Some(op) = operation(ctx, dataset, &mount.operation) else { continue };
        let why = op.status.as_ref().and_then(|s| s.waiting_on.clone());
        let (reason, message) = why.map_or_else(Default::default, |w| (w.reason, w.message));
        match op.phase() {
            Some(Phase::Succeeded) => {
                mount.phase = if mount.handled.is_empty() { GONE } else { MOUNTED }.into();
                (mount.reason, mount.message) = (String::new(), String::new());
            }
            Some(phase) if phase.terminal() => {
                mount.phase = "Failed".into();
                let ended = || format!("{} ended {phase}; edit the mount to try again", mount.operation);
                mount.message = if message.is_empty() { ended() } else { message };
                mount.reason = if reason.is_empty() { phase.name().into() } else { reason };
            }
            Some(_) | None => {
                mount.phase = if mount.handled.is_empty() { "Unmounting" } else { "Mounting" }.into();
                (mount.reason, mount.message) = (reason, message);
            }
        }
    }
    status.mounts.retain(|m| m.phase != GONE);
    if let Some(phase) = operation(ctx, dataset, &status.sync.operation).and_then(|o| o.phase()) {
        phase.name().clone_into(&mut status.sync.phase);
    }
}

/// An operation that somebody deleted leaves its mount as nobody knows how: a consistent read tells.
async fn deleted(ctx: &Ctx, dataset: &Dataset, status: &mut DatasetStatus) {
    let api = operations(ctx, dataset);
    let waits = |m: &&mut MountStatus| matches!(m.phase.as_str(), "Mounting" | "Unmounting");
    for mount in status.mounts.iter_mut().filter(waits) {
        if operation(ctx, dataset, &mount.operation).is_some() {
            continue;
        }
        match get(ctx, &api, &mount.operation).await {
            Ok(None) => {
                mount.phase = "Failed".into();
                mount.reason = "OperationDeleted".into();
                mount.message = format!("{} was deleted; edit the mount to try again", mount.operation);
            }
            Ok(Some(op)) => ctx.changed_operation(&ctx.operations.replace(op)),
            // The next look asks again.
            Err(_) => {}
        }
    }
}

const MOUNTED: &str = "Mounted";
const GONE: &str = "Gone";
const MISSING: &str = "Missing";

/// Whether a mount is as its operation left it, as far as the table tells.
fn compare(mount: &mut MountStatus, table: &ratchet_state_machine::mounts::MountTable) {
    if mount.phase != MOUNTED && mount.phase != MISSING {
        return;
    }
    if table.at(&mount.path).is_some() {
        mount.phase = MOUNTED.into();
        (mount.reason, mount.message) = (String::new(), String::new());
    } else {
        mount.phase = MISSING.into();
        mount.reason = "ChangedOutside".into();
        mount.message =
            format!("{} was unmounted by somebody else; edit the mount to have it back", mount.path);
    }
}

/// Brings the status up to date and writes it where something moved.
pub async fn write(
    ctx: &Ctx,
    dataset: &Dataset,
    mut status: DatasetStatus,
    cluster: Option<&CacheCluster>,
    blocked: Option<Blocked>,
) -> Option<Duration> {
    let before: Vec<String> = status.mounts.iter().map(|m| m.phase.clone()).collect();
    let synced = status.sync.phase.clone();
    mirror(ctx, dataset, &mut status);
    deleted(ctx, dataset, &mut status).await;
    if status.sync.phase != synced {
        // What it found is looked at now.
        ctx.looks.forget(dataset.metadata.uid.as_deref().unwrap_or_default());
    }
    if let Some(cluster) = cluster {
        if before != status.mounts.iter().map(|m| m.phase.clone()).collect::<Vec<_>>() {
            look::stale(ctx, cluster);
        }
        if let Some(table) = look::table(ctx, cluster).await {
            status.mounts.iter_mut().for_each(|m| compare(m, &table));
        }
        measure(ctx, dataset, cluster, &mut status).await;
        status.hit_ratio = cluster.status.as_ref().map(|s| s.hit_ratio.clone()).unwrap_or_default();
    }
    describe(ctx, dataset, &mut status, blocked.as_ref());
    if dataset.status.as_ref() != Some(&status)
        && let Err(wait) = put(ctx, dataset, status).await
    {
        return wait;
    }
    Some(ctx.config.probe_every)
}

/// Phase and conditions, by how the mounts stand.
pub fn describe(ctx: &Ctx, dataset: &Dataset, status: &mut DatasetStatus, blocked: Option<&Blocked>) {
    let generation = dataset.metadata.generation.unwrap_or(0);
    let deleting = dataset.metadata.deletion_timestamp.is_some();
    let (phase, reason, message) = verdict(status, blocked, deleting);
    status.phase = phase.into();
    status.observed_generation = generation;
    let odd = status.mounts.iter().find(|m| matches!(m.phase.as_str(), "Failed" | MISSING));
    let odd = odd.map(|m| (m.reason.clone(), format!("{}: {}", m.path, m.message)));
    let (why, what) = odd.clone().unwrap_or_else(|| {
        let settled = blocked.is_none() && status.mounts.iter().all(|m| m.phase == MOUNTED);
        ((if settled { "Applied" } else { "InProgress" }).into(), String::new())
    });
    let wanted = [
        synced_as(ctx, dataset, status),
        Wanted::new(READY, phase == "Bound", &reason, message),
        Wanted::new(SPEC_NOT_APPLIED, odd.is_some(), &why, what),
    ];
    let more = volumes::condition(dataset, status).into_iter().chain(policy(dataset));
    let wanted: Vec<Wanted> = wanted.into_iter().chain(more).collect();
    status.conditions = conditions::apply(&status.conditions, &wanted, generation, ctx.clock.now());
}

/// What is asked of the cache that no engine here can do.
fn policy(dataset: &Dataset) -> Option<Wanted> {
    let asked = dataset.spec.cache_policy.as_ref()?;
    let quota = asked.quota.as_ref().map(|_| "a quota of a path");
    // Alluxio's time to live is one of the file: when it ends, the file goes, in the store too.
    let ttl = asked.ttl_seconds.map(|_| "a time to live of what is cached alone");
    let what: Vec<&str> = quota.into_iter().chain(ttl).collect();
    let message = format!("Alluxio 2.9 does not have {}; remove it from cachePolicy", what.join(" or "));
    (!what.is_empty()).then(|| Wanted::new(CACHE_POLICY_APPLIED, false, "Unsupported", message))
}

/// Whether the cache has looked for all files since the mounts are as they are.
fn synced_as(ctx: &Ctx, dataset: &Dataset, status: &DatasetStatus) -> Wanted {
    let done = status.sync.phase == Phase::Succeeded.name() && status.sync.handled == status.handled;
    let why =
        operation(ctx, dataset, &status.sync.operation).and_then(|o| o.status.as_ref()?.waiting_on.clone());
    match (done, why) {
        (true, _) => Wanted::new(SYNCED, true, "Synced", status.sync.operation.clone()),
        (false, Some(why)) => Wanted::new(SYNCED, false, &why.reason, why.message),
        (false, None) if status.sync.phase.is_empty() => Wanted::new(SYNCED, false, "NotYet", String::new()),
        (false, None) => Wanted::new(SYNCED, false, &status.sync.phase, status.sync.operation.clone()),
    }
}

async fn measure(ctx: &Ctx, dataset: &Dataset, cluster: &CacheCluster, status: &mut DatasetStatus) {
    let paths: Vec<String> =
        status.mounts.iter().filter(|m| m.phase == MOUNTED).map(|m| m.path.clone()).collect();
    if paths.is_empty() {
        return;
    }
    let Some(tree) = look::size(ctx, cluster, dataset, paths).await else { return };
    (status.files, status.ufs_bytes, status.cached_bytes) = (tree.files, tree.bytes, tree.cached_bytes);
    (status.ufs_size, status.cached) = (readable(tree.bytes), readable(tree.cached_bytes));
    status.cached_percent =
        if tree.bytes > 0 { format!("{}%", tree.cached_percent()) } else { String::new() };
}

/// Phase, and why.
fn verdict(
    status: &DatasetStatus,
    blocked: Option<&Blocked>,
    deleting: bool,
) -> (&'static str, String, String) {
    let is = |phase: &str| status.mounts.iter().find(|m| m.phase == phase);
    let of = |m: &MountStatus| (m.reason.clone(), format!("{}: {}", m.path, m.message));
    if deleting && let Some(v) = status.volumes.iter().find(|v| v.phase == "InUse") {
        return (
            "Deleting",
            "VolumeInUse".into(),
            format!("claim in namespace {}: {}", v.namespace, v.message),
        );
    }
    if deleting {
        return ("Deleting", "Deleting".into(), "its mounts are being removed".into());
    }
    if let Some(b) = blocked {
        let held = if is(MOUNTED).is_some() { "NotBound" } else { "Pending" };
        return (if b.failed { "Failed" } else { held }, b.reason.into(), b.message.clone());
    }
    if let Some(m) = is("Failed") {
        let (reason, message) = of(m);
        return ("Failed", reason, message);
    }
    if let Some(m) = is(MISSING) {
        let (reason, message) = of(m);
        return ("NotBound", reason, message);
    }
    if let Some(m) = is(CREATING).or_else(|| is("Mounting")).or_else(|| is("Unmounting")) {
        let phase = if is(MOUNTED).is_some() { "Updating" } else { "Pending" };
        let reason = if m.reason.is_empty() { m.phase.clone() } else { m.reason.clone() };
        return (phase, reason, format!("{} by {}", m.path, m.operation));
    }
    ("Bound", "Bound".into(), format!("{} mounts", status.mounts.len()))
}

/// Writes the status, guarded by the resourceVersion that it was decided on.
///
/// # Errors
/// When to look again; `None` when there is nothing to look at any more.
pub async fn put(ctx: &Ctx, dataset: &Dataset, status: DatasetStatus) -> Result<(), Option<Duration>> {
    let ops = json!([
        {"op": "test", "path": "/metadata/uid", "value": dataset.metadata.uid},
        {"op": "replace", "path": "/metadata/resourceVersion", "value": dataset.metadata.resource_version},
        {"op": "add", "path": "/status", "value": status},
    ]);
    let name = dataset.metadata.name.as_deref().unwrap_or_default();
    match write::patch(ctx, &api(ctx, dataset), Part::Status, name, &ops).await {
        Ok(written) => {
            ctx.metrics.mirror_write();
            // The watch will not see a difference any more.
            let change = ctx.datasets.replace(written);
            if moved(Some(dataset), change.new.as_deref()) {
                ctx.wake_loads(change.new.as_ref());
            }
            Ok(())
        }
        Err(Reply::Gone) => Err(None),
        Err(Reply::Busy(after)) => Err(Some(after.unwrap_or(Duration::from_secs(1)))),
        Err(reply @ (Reply::Rule(_) | Reply::Denied(_) | Reply::TooLarge(_))) => {
            tracing::error!(dataset = %Key::of(dataset), ?reply, "the status of a Dataset cannot be written");
            Err(Some(Duration::from_secs(30)))
        }
        Err(_) => Err(Some(Duration::from_millis(500))),
    }
}
