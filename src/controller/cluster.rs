//! CacheCluster: who is it, how is it, and is it ours? A managed one is made first ([`crate::cluster`]).
//!
//! The identity is recorded once; the lock of that identity is claimed by one CacheCluster. An engine that cannot be
//! reached keeps its identity: its operations wait instead of being forgotten.

use super::rebuild::rebuilt;
use super::reply::Reply;
use super::teeth::Mutation;
use super::write::{self, Part};
use super::{Ctx, hold};
use crate::api::cluster::{CacheCluster, CacheClusterStatus, Reference};
use crate::api::conditions::{self, READY, Wanted};
use crate::api::lock::{Claim, TargetLock, TargetLockSpec, lock_name};
use crate::api::managed::Capability;
use crate::cache::Key;
use crate::engine::EngineInfo;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Api;
use kube::api::{ApiResource, DynamicObject, ListParams};
use ratchet_state_machine::effect::percent;
use ratchet_state_machine::lock::Lock;
use serde_json::json;
use std::sync::Arc;
use std::time::Duration;

/// Most members that a status lists.
const MAX_MEMBERS: usize = 256;

/// What is true of a cluster.
pub struct Verdict {
    /// Phase.
    pub phase: &'static str,
    /// It can be worked with.
    pub ready: bool,
    /// Why, in CamelCase.
    pub reason: &'static str,
    /// Why, in a sentence.
    pub message: String,
}

/// Brings one CacheCluster up to date.
pub async fn reconcile(ctx: &Ctx, key: &Key) -> Option<Duration> {
    let cluster = ctx.clusters.get(key)?;
    if let Some(managed) = &cluster.spec.managed {
        return crate::cluster::reconcile(ctx, &cluster, managed).await;
    }
    if cluster.metadata.deletion_timestamp.is_some() {
        return None;
    }
    let old = cluster.status.clone().unwrap_or_default();
    let (mut status, verdict) = match &cluster.spec.attached.reference {
        None => look(ctx, &cluster, &old).await,
        Some(to) => look_by(ctx, &cluster, to, &old).await,
    };
    status.phase = verdict.phase.into();
    status.capabilities = match &cluster.spec.attached.reference {
        None => Capability::data_only(ATTACHED),
        Some(_) => Capability::with_workers(ATTACHED),
    };
    status.observed_generation = cluster.metadata.generation.unwrap_or(0);
    let wanted = Wanted::new(READY, verdict.ready, verdict.reason, verdict.message);
    status.conditions =
        conditions::apply(&old.conditions, &[wanted], status.observed_generation, ctx.clock.now());
    if worth_writing(cluster.status.as_ref(), &status) && !show(ctx, &cluster, &status).await {
        return Some(Duration::from_secs(1));
    }
    Some(if verdict.ready {
        ctx.config.probe_every
    } else {
        Duration::from_secs(3).min(ctx.config.probe_every)
    })
}

/// The same for a cache that is found by what it was declared by.
async fn look_by(
    ctx: &Ctx,
    cluster: &CacheCluster,
    to: &Reference,
    old: &CacheClusterStatus,
) -> (CacheClusterStatus, Verdict) {
    match crate::cluster::reference::endpoints(ctx, cluster, to).await {
        Ok(endpoints) => {
            let mut now = cluster.clone();
            let status = CacheClusterStatus { endpoints, ..old.clone() };
            now.status = Some(status.clone());
            look(ctx, &now, &status).await
        }
        Err(why) => {
            let phase = if old.identity.is_some() { "Degraded" } else { "Pending" };
            (old.clone(), Verdict { phase, ready: false, reason: why.reason, message: why.message })
        }
    }
}

/// Asks the cache who and how it is, and claims it.
pub async fn look(
    ctx: &Ctx,
    cluster: &CacheCluster,
    old: &CacheClusterStatus,
) -> (CacheClusterStatus, Verdict) {
    let failed = |reason, message| Verdict { phase: "Failed", ready: false, reason, message };
    let engine = match ctx.engines.engine(cluster) {
        Ok(engine) => engine,
        Err(why) => return (old.clone(), failed("InvalidSpec", why.to_string())),
    };
    let info = match engine.probe().await {
        Ok(info) => info,
        Err(trouble) => {
            let phase = if old.identity.is_some() { "Degraded" } else { "Pending" };
            let verdict =
                Verdict { phase, ready: false, reason: trouble.kind.reason(), message: trouble.message };
            return (old.clone(), verdict);
        }
    };
    if let Some(known) = old.identity.as_ref().filter(|known| **known != info.identity) {
        let message = format!(
            "the engine behind these addresses is {} and was {known}; create another CacheCluster for it",
            info.identity
        );
        return (old.clone(), failed("IdentityChanged", message));
    }
    let lock = lock_name("alluxio", &info.identity);
    let status = describe(old, &info, &lock);
    match claim(ctx, cluster, &info.identity, &lock).await {
        Ok(()) => {}
        Err(why) => {
            return (CacheClusterStatus { lock: None, identity: old.identity.clone(), ..status }, why);
        }
    }
    let (phase, reason, message) = if info.workers_live == 0 {
        ("Degraded", "NoLiveWorkers", "no worker is live".to_owned())
    } else {
        ("Ready", "Ready", format!("{} workers live", info.workers_live))
    };
    (status, Verdict { phase, ready: true, reason, message })
}

fn describe(old: &CacheClusterStatus, info: &EngineInfo, lock: &str) -> CacheClusterStatus {
    let mut members = info.members.clone();
    members.sort_by(|a, b| a.name.cmp(&b.name));
    members.truncate(MAX_MEMBERS);
    CacheClusterStatus {
        identity: Some(info.identity.clone()),
        lock: Some(lock.to_owned()),
        version: ratchet_state_machine::lifecycle::cut(&info.version, 64),
        masters: format!("{}/{}", info.masters_ready, info.masters),
        workers: format!("{}/{}", info.workers_live, info.members.len()),
        capacity_bytes: info.capacity_bytes,
        used_bytes: info.used_bytes,
        capacity: size(info.capacity_bytes),
        used: size(info.used_bytes),
        hit_ratio: info.hit_percent.map_or_else(|| old.hit_ratio.clone(), |p| format!("{p}%")),
        members,
        ..old.clone()
    }
}

/// Bytes as people write them, binary units.
#[must_use]
pub fn size(bytes: i64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut unit = 0;
    let mut rest = bytes.max(0);
    let mut value = rest.saturating_mul(10);
    while rest >= 1024 && unit + 1 < UNITS.len() {
        value = rest.saturating_mul(10) / 1024;
        rest /= 1024;
        unit += 1;
    }
    if value % 10 == 0 || unit == 0 {
        format!("{}{}", value / 10, UNITS[unit])
    } else {
        format!("{}.{}{}", value / 10, value % 10, UNITS[unit])
    }
}

/// Why nothing but its data is touched.
const ATTACHED: &str = "the cache is attached: this is up to whoever runs its pods";

/// Whether the difference is worth a write: everything but small changes of what is used.
pub fn worth_writing(old: Option<&CacheClusterStatus>, new: &CacheClusterStatus) -> bool {
    let Some(old) = old else { return true };
    let blur = |s: &CacheClusterStatus| {
        let mut s = s.clone();
        s.used_bytes = percent(s.used_bytes, s.capacity_bytes);
        s.used = String::new();
        for m in &mut s.members {
            m.used_bytes = percent(m.used_bytes, m.capacity_bytes);
        }
        s
    };
    blur(old) != blur(new)
}

/// Writes the status, over the very one that was read.
pub async fn show(ctx: &Ctx, cluster: &CacheCluster, status: &CacheClusterStatus) -> bool {
    let name = cluster.metadata.name.as_deref().unwrap_or_default();
    let ops = json!([
        {"op": "test", "path": "/metadata/uid", "value": cluster.metadata.uid},
        {"op": "replace", "path": "/metadata/resourceVersion", "value": cluster.metadata.resource_version},
        {"op": "add", "path": "/status", "value": status},
    ]);
    let api: Api<CacheCluster> =
        Api::namespaced(ctx.client.clone(), cluster.metadata.namespace.as_deref().unwrap_or_default());
    match write::patch(ctx, &api, Part::Status, name, &ops).await {
        Ok(written) => {
            ctx.changed_cluster(&ctx.clusters.replace(written));
            true
        }
        Err(reply) => {
            if !matches!(reply, Reply::Conflict | Reply::Gone) {
                tracing::warn!(cluster = name, ?reply, "the status of a CacheCluster cannot be written");
            }
            false
        }
    }
}

/// Makes sure that the lock exists and is this cluster's.
async fn claim(ctx: &Ctx, cluster: &CacheCluster, identity: &str, lock: &str) -> Result<(), Verdict> {
    let not_yet =
        |message: String| Verdict { phase: "Pending", ready: false, reason: "LockUnavailable", message };
    let own = Claim {
        namespace: cluster.metadata.namespace.clone().unwrap_or_default(),
        name: cluster.metadata.name.clone().unwrap_or_default(),
        uid: cluster.metadata.uid.clone().unwrap_or_default(),
    };
    let found = match ctx.locks.get(&Key::new("", lock)) {
        Some(found) => found.as_ref().clone(),
        None => match create(ctx, &own, identity, lock).await {
            Ok(made) => {
                ctx.locks.replace(made.clone());
                made
            }
            Err(why) => return Err(not_yet(why)),
        },
    };
    if found.spec.claim.uid == own.uid {
        // Holds that nobody will give back are freed here too: somebody may need them only next week.
        if let Some(after) = hold::free_void(ctx, &Arc::new(found)).await {
            ctx.cluster_queue.add_after(Key::of(cluster), after);
        }
        return Ok(());
    }
    let other = found.spec.claim.clone();
    let clusters: Api<CacheCluster> = Api::namespaced(ctx.client.clone(), &other.namespace);
    let owner = write::get(ctx, &clusters, &other.name).await;
    let gone = owner.is_ok_and(|o| o.is_none_or(|o| o.metadata.uid.as_deref() != Some(&other.uid)));
    if !gone {
        let message = format!(
            "this engine belongs to CacheCluster {} in namespace {}; delete one of the two",
            other.name, other.namespace
        );
        return Err(Verdict { phase: "Failed", ready: false, reason: "AlreadyClaimed", message });
    }
    take_over(ctx, &found, &own).await.map_err(not_yet)
}

/// A lock that is missing is rebuilt from what its operations say; a missing lock is never a free lock.
async fn create(ctx: &Ctx, own: &Claim, identity: &str, name: &str) -> Result<TargetLock, String> {
    let locks: Api<TargetLock> = Api::all(ctx.client.clone());
    if let Ok(Some(found)) = write::get(ctx, &locks, name).await {
        return Ok(found);
    }
    let mut content = told_by_operations(ctx, own).await?;
    if !ctx.broken(Mutation::MissingLockIsFree) && had_lock(ctx, own).await? {
        // Operations that are gone tell nothing of the holds that they had. No lock grants one a second, so the time is
        // above whatever the lost one has granted.
        content.epoch = content.epoch.max(ctx.clock.now().timestamp());
        content.remade = true;
    }
    let metadata = ObjectMeta { name: Some(name.to_owned()), ..ObjectMeta::default() };
    let spec = TargetLockSpec { identity: identity.to_owned(), claim: own.clone(), lock: content };
    let lock = TargetLock::new(metadata, spec);
    write::create(ctx, &locks, &lock)
        .await
        .map_err(|reply| format!("the lock cannot be created yet: {}", reply.name()))
}

/// Whether the cluster had its lock once: the identity of its engine is recorded only with that.
async fn had_lock(ctx: &Ctx, own: &Claim) -> Result<bool, String> {
    let clusters: Api<CacheCluster> = Api::namespaced(ctx.client.clone(), &own.namespace);
    match write::get(ctx, &clusters, &own.name).await {
        Ok(found) => Ok(found.and_then(|c| c.status).is_some_and(|s| s.identity.is_some())),
        Err(reply) => Err(format!("the CacheCluster cannot be read: {}", reply.name())),
    }
}

/// The content of a cluster's lock, as a consistent list of its operations tells it.
pub async fn told_by_operations(ctx: &Ctx, claim: &Claim) -> Result<Lock, String> {
    if ctx.broken(Mutation::MissingLockIsFree) {
        return Ok(Lock::default());
    }
    // Untyped: one operation that cannot be read must not keep the lock from all others.
    let kind = ApiResource::erase::<crate::api::DataOperation>(&());
    let operations: Api<DynamicObject> = Api::namespaced_with(ctx.client.clone(), &claim.namespace, &kind);
    let all = tokio::time::timeout(ctx.config.api_timeout, operations.list(&ListParams::default()))
        .await
        .map_err(|_| "the API server does not answer".to_owned())?
        .map_err(|e| format!("the operations cannot be listed: {e}"))?;
    Ok(rebuilt(all.items, &claim.name))
}

/// The cluster that claimed the engine is gone: the claim passes on, the epoch stays.
async fn take_over(ctx: &Ctx, lock: &TargetLock, own: &Claim) -> Result<(), String> {
    let name = lock.metadata.name.as_deref().unwrap_or_default();
    let former = &lock.spec.claim;
    // A cluster that was created anew under its name finds its own operations at work, on the same engine.
    let successor = (&former.namespace, &former.name) == (&own.namespace, &own.name);
    if !successor && !lock.spec.lock.holders.is_empty() {
        // Holders that are gone as well will never give their holds back.
        let _ = hold::free_void(ctx, &Arc::new(lock.clone())).await;
        return Err("operations of the engine's former CacheCluster still hold its lock; delete them".into());
    }
    let ops = json!([
        {"op": "test", "path": "/metadata/uid", "value": lock.metadata.uid},
        {"op": "replace", "path": "/metadata/resourceVersion", "value": lock.metadata.resource_version},
        {"op": "replace", "path": "/spec/claim", "value": own},
    ]);
    let locks: Api<TargetLock> = Api::all(ctx.client.clone());
    match write::patch(ctx, &locks, Part::Main, name, &ops).await {
        Ok(written) => {
            ctx.locks.replace(written);
            Ok(())
        }
        Err(reply) => {
            if let Ok(Some(fresh)) = write::get(ctx, &locks, name).await {
                ctx.locks.replace(fresh);
            }
            Err(format!("the claim could not be taken over yet: {}", reply.name()))
        }
    }
}
