//! A managed cache that is being deleted.
//!
//! ```text
//!   operations end or are cancelled > what is cached on nodes is freed > workers go > the rest goes > finalizer
//! ```
//!
//! The first two are given a limit of time, and only they talk to the cache: one whose pods never came up, or that does
//! not answer, is deleted as well. Under-storage is never touched.

use super::render::{self, INSTANCE, Kind, MASTER_RPC, Object, Owner};
use super::{pods, set_finalizer, tidy};
use crate::api::cluster::CacheClusterStatus;
use crate::api::conditions::{self, READY, Wanted};
use crate::api::lock::TargetLock;
use crate::api::managed::{Leaving, Managed, OnDeletion};
use crate::api::{CacheCluster, DataOperation};
use crate::cache::Key;
use crate::cache::kinds::{BY_CLAIM, BY_TARGET};
use crate::clock::ms_between;
use crate::controller::reply::Reply;
use crate::controller::write;
use crate::controller::{Ctx, cluster, finalizers};
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::{Api, ResourceExt};
use ratchet_state_machine::machine::Phase;
use ratchet_state_machine::spec::{ArmSpec, FreeSpec, OperationSpec};
use std::sync::Arc;
use std::time::Duration;

/// How long pods may take to go, beyond the limit, in milliseconds.
const PODS_LIMIT_MS: i64 = 120_000;
const SOON: Duration = Duration::from_secs(1);
/// How often the cache is asked to free what it has on nodes.
const FREE_ATTEMPTS: i32 = 3;
/// How long one of them may take, in seconds.
const FREE_LIMIT_S: i64 = 60;

/// Takes the next step towards the end.
pub async fn leave(ctx: &Ctx, cluster: &Arc<CacheCluster>, managed: &Managed) -> Option<Duration> {
    if !finalizers::has(&**cluster, super::FINALIZER) {
        return None;
    }
    let owner = super::owner(cluster);
    let limit_ms = managed.deletion.limit_seconds.saturating_mul(1000);
    if !past(ctx, cluster, limit_ms) {
        if let Some(waits) = operations(ctx, &owner, managed.deletion.operations, &free_name(cluster)).await {
            return say(ctx, cluster, "OperationsAtWork", waits).await;
        }
        if let Some(waits) = free(ctx, cluster, &owner, managed).await {
            return say(ctx, cluster, "Freeing", waits).await;
        }
    }
    if let Some(waits) = members(ctx, cluster, &owner).await {
        // A node that is gone keeps its pods for ever.
        if !past(ctx, cluster, limit_ms.saturating_add(PODS_LIMIT_MS)) {
            return say(ctx, cluster, "RemovingPods", waits).await;
        }
        tracing::warn!(cluster = owner.name, waits, "a managed cache goes and leaves pods behind");
    }
    if let Err(why) = drop_claims(ctx, cluster, &owner).await {
        return say(ctx, cluster, "RemovingClaims", why).await;
    }
    if let Err(why) = drop_lock(ctx, &owner).await {
        return say(ctx, cluster, "RemovingLock", why).await;
    }
    ctx.gone.forget(&owner.uid);
    set_finalizer(ctx, cluster, false).await
}

/// Whether so much time has passed since the deletion. Clocks differ: by the server's, a tenth of it has to pass by this
/// process' own as well; by its own alone, all of it.
fn past(ctx: &Ctx, cluster: &CacheCluster, limit_ms: i64) -> bool {
    let at = cluster.metadata.deletion_timestamp.as_ref();
    let for_ms = at.map_or(0, |t| (ctx.clock.now().timestamp() - t.0.as_second()).max(0) * 1000);
    let now = ctx.clock.instant();
    let uid = cluster.metadata.uid.as_deref().unwrap_or_default();
    let seen_ms = ms_between(ctx.gone.first_seen(uid, now), now);
    seen_ms >= limit_ms || (for_ms >= limit_ms && seen_ms >= limit_ms / 10)
}

/// What the operations on the cache do; none: there is none at work.
async fn operations(ctx: &Ctx, owner: &Owner, policy: OnDeletion, ours: &str) -> Option<String> {
    let all = ctx.operations.by_index(&(BY_TARGET, format!("{}/{}", owner.namespace, owner.name)));
    let at_work: Vec<_> = all
        .iter()
        .filter(|o| !o.phase().is_some_and(Phase::terminal) && !o.name_any().starts_with(ours))
        .collect();
    let first = at_work.first()?;
    if policy == OnDeletion::Cancel {
        for op in at_work.iter().filter(|o| !o.spec.control.cancel && o.metadata.deletion_timestamp.is_none())
        {
            write::cancel(ctx, op).await;
        }
    }
    let what = if policy == OnDeletion::Cancel { "are cancelled" } else { "are waited for" };
    Some(format!("{} operations {what}, {} among them", at_work.len(), first.name_any()))
}

fn free_name(cluster: &CacheCluster) -> String {
    let uid: String = cluster.metadata.uid.iter().flat_map(|u| u.chars()).take(8).collect();
    format!("{}-leave-{uid}-", cluster.name_any())
}

/// Has the cache free what it has on nodes, where the pods would leave it behind. Each try is an operation, noted in the
/// status before it is created. None: nothing is left to free, or it was tried often enough.
async fn free(ctx: &Ctx, cluster: &CacheCluster, owner: &Owner, managed: &Managed) -> Option<String> {
    let status = cluster.status.clone().unwrap_or_default();
    let on_nodes = managed.workers.tiers.iter().any(|t| t.volume.host_path.is_some());
    if !on_nodes || status.identity.is_none() {
        return None;
    }
    let leaving = status.leaving.clone().unwrap_or_default();
    let key = Key::new(owner.namespace.as_str(), leaving.operation.as_str());
    let last = ctx.operations.get(&key);
    let phase = last.as_ref().and_then(|o| o.phase());
    if leaving.freed {
        return None;
    }
    if phase == Some(Phase::Succeeded) {
        let leaving = Leaving { freed: true, ..leaving };
        note(ctx, cluster, CacheClusterStatus { leaving: Some(leaving), ..status }).await;
        return Some("what was cached on nodes is freed".into());
    }
    let begun = !leaving.operation.is_empty();
    if begun && !phase.is_some_and(Phase::terminal) {
        if last.is_none() && !create(ctx, cluster, owner, &leaving.operation).await {
            return None;
        }
        return Some(format!("{} frees what is cached on nodes", leaving.operation));
    }
    if leaving.free_attempts >= FREE_ATTEMPTS {
        tracing::warn!(cluster = owner.name, "what is cached on nodes could not be freed; it stays there");
        return None;
    }
    let attempt = leaving.free_attempts + 1;
    let name = format!("{}{attempt}", free_name(cluster));
    let leaving = Leaving { free_attempts: attempt, operation: name.clone(), freed: false };
    let noted = note(ctx, cluster, CacheClusterStatus { leaving: Some(leaving), ..status }).await;
    if noted && !create(ctx, cluster, owner, &name).await {
        return None;
    }
    Some(format!("{name} frees what is cached on nodes"))
}

/// Writes what is noted, with what operations need to know of a cache that is being deleted.
async fn note(ctx: &Ctx, cluster: &CacheCluster, mut status: CacheClusterStatus) -> bool {
    status.observed_generation = cluster.metadata.generation.unwrap_or(0);
    cluster::show(ctx, cluster, &status).await
}

/// False: nothing can be created any more.
async fn create(ctx: &Ctx, cluster: &CacheCluster, owner: &Owner, name: &str) -> bool {
    let arm = ArmSpec::Free(FreeSpec { paths: vec!["/".into()] });
    let spec = OperationSpec {
        priority: 100,
        deadline_seconds: Some(FREE_LIMIT_S),
        stall_deadline_seconds: FREE_LIMIT_S,
        ..OperationSpec::on(&owner.name, arm)
    };
    let metadata = ObjectMeta {
        name: Some(name.to_owned()),
        namespace: Some(owner.namespace.clone()),
        finalizers: Some(vec![crate::api::FINALIZER.to_owned()]),
        owner_references: Some(vec![super::reference_to(cluster)]),
        ..ObjectMeta::default()
    };
    let api: Api<DataOperation> = Api::namespaced(ctx.client.clone(), &owner.namespace);
    match write::create(ctx, &api, &DataOperation::new(metadata, spec, None)).await {
        Ok(made) => ctx.changed_operation(&ctx.operations.replace(made)),
        Err(Reply::Terminating) => return false,
        // It is there, or the next look tries again.
        Err(reply) => tracing::info!(operation = name, ?reply, "it could not be created yet"),
    }
    true
}

/// The StatefulSets of a cache, by what was rendered: also one that has lost its label is found.
fn sets(cluster: &CacheCluster, owner: &Owner) -> Vec<Object> {
    let revision = cluster.status.as_ref().and_then(|s| s.revision.as_ref());
    let all = revision.and_then(|r| render::render(owner, r).ok()).unwrap_or_default();
    all.into_iter().filter(|o| o.kind == Kind::StatefulSet).collect()
}

/// Names of the pods of a StatefulSet.
fn pods_of(set: &Object) -> Vec<String> {
    let replicas = set.body["spec"]["replicas"].as_i64().unwrap_or(0);
    (0..replicas).map(|i| format!("{}-{i}", set.name)).collect()
}

/// Removes the members, the workers first; none: all pods are gone.
async fn members(ctx: &Ctx, cluster: &CacheCluster, owner: &Owner) -> Option<String> {
    let all = sets(cluster, owner);
    let api: Api<StatefulSet> = Api::namespaced(ctx.client.clone(), &owner.namespace);
    for late in [true, false] {
        let mut left = Vec::new();
        for set in all.iter().filter(|s| s.late == late) {
            match write::get(ctx, &api, &set.name).await {
                Ok(Some(found)) if found.owner_references().iter().any(|o| o.uid == owner.uid) => {
                    if found.metadata.deletion_timestamp.is_none() {
                        tidy::remove_set(ctx, owner, &found).await;
                    }
                    left.push(set.name.clone());
                }
                // Gone, or somebody else's.
                Ok(_) => {}
                Err(reply) => return Some(format!("StatefulSet {}: {}", set.name, reply.name())),
            }
            left.extend(pods_of(set).into_iter().filter(|pod| {
                let known = ctx.workloads.pods.get(&Key::new(owner.namespace.as_str(), pod.as_str()));
                known.is_some_and(|p| p.owner_references().iter().any(|o| o.name == set.name))
            }));
        }
        if let Some(last) = left.last() {
            return Some(format!("members are still there, {last} among them"));
        }
    }
    None
}

/// Removes the claims that the StatefulSets made for their members: nobody will ask for what is on them again.
async fn drop_claims(ctx: &Ctx, cluster: &CacheCluster, owner: &Owner) -> Result<(), String> {
    let api: Api<PersistentVolumeClaim> = Api::namespaced(ctx.client.clone(), &owner.namespace);
    for set in sets(cluster, owner) {
        let templates = set.body["spec"]["volumeClaimTemplates"].as_array().cloned().unwrap_or_default();
        for template in templates.iter().filter_map(|t| t["metadata"]["name"].as_str()) {
            for pod in pods_of(&set) {
                let name = format!("{template}-{pod}");
                let found =
                    write::get(ctx, &api, &name).await.map_err(|r| format!("claim {name}: {}", r.name()))?;
                let Some(claim) = found.filter(|c| c.metadata.deletion_timestamp.is_none()) else { continue };
                if claim.labels().get(INSTANCE) != Some(&owner.name) {
                    continue;
                }
                let uid = claim.uid().unwrap_or_default();
                write::delete(ctx, &api, &name, &uid, None)
                    .await
                    .map_err(|r| format!("claim {name}: {}", r.name()))?;
            }
        }
    }
    Ok(())
}

/// The cache is no more, and nobody will ever claim it again: its lock goes with it.
async fn drop_lock(ctx: &Ctx, owner: &Owner) -> Result<(), String> {
    let locks: Api<TargetLock> = Api::all(ctx.client.clone());
    for lock in ctx.locks.by_index(&(BY_CLAIM, format!("{}/{}", owner.namespace, owner.name))) {
        if lock.spec.claim.uid != owner.uid {
            continue;
        }
        let uid = lock.metadata.uid.clone().unwrap_or_default();
        match write::delete(ctx, &locks, &lock.name_any(), &uid, None).await {
            Ok(()) | Err(Reply::Gone) => {}
            Err(reply) => return Err(format!("the lock {}: {}", lock.name_any(), reply.name())),
        }
    }
    Ok(())
}

/// Writes why it takes time.
async fn say(ctx: &Ctx, cluster: &Arc<CacheCluster>, reason: &str, message: String) -> Option<Duration> {
    // Another step may have written the status just now.
    let cluster = ctx.clusters.get(&Key::of(&**cluster))?;
    let mut status = cluster.status.clone().unwrap_or_default();
    status.phase = "Deleting".into();
    // Operations that are at work go on to use the cache: its generation has changed by the deletion alone.
    let generation = cluster.metadata.generation.unwrap_or(0);
    status.observed_generation = generation;
    if let Some(revision) = &status.revision {
        let owner = super::owner(&cluster);
        let masters = render::numbered(&owner, "master", revision.managed.masters.replicas);
        status.endpoints = pods::endpoints(&pods::of(ctx, &owner, &masters), MASTER_RPC);
    }
    let wanted = Wanted::new(READY, false, reason, message);
    status.conditions = conditions::apply(&status.conditions, &[wanted], generation, ctx.clock.now());
    if cluster::worth_writing(cluster.status.as_ref(), &status) {
        cluster::show(ctx, &cluster, &status).await;
    }
    Some(SOON)
}
