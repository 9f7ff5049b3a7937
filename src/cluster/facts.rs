//! What is seen of a managed cache: its pods, and what it says itself.

use super::apply::Trouble;
use super::render::{self, MASTER_RPC, Owner};
use super::workloads::BY_INSTANCE;
use super::{Stage, members, pods};
use crate::api::CacheCluster;
use crate::api::cluster::CacheClusterStatus;
use crate::api::managed::{Managed, Revision};
use crate::controller::Ctx;
use crate::controller::cluster::{self, Verdict};
use crate::controller::teeth::Mutation;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt as _;
use ratchet_state_machine::effect::{Answer, Query};
use ratchet_state_machine::setup::{Engine, Facts, Part, Root};
use ratchet_state_machine::spec::same_uri;
use std::sync::Arc;

/// Reasons of a verdict that say that the cache is not this object's, or not yet.
const UNCLAIMED: [&str; 3] = ["AlreadyClaimed", "IdentityChanged", "LockUnavailable"];

/// What is seen.
pub struct Seen {
    /// For the decision.
    pub facts: Facts,
    /// The status, with what was measured.
    pub status: CacheClusterStatus,
    /// The cache is another's: a person has to change something.
    pub failed: bool,
}

/// Looks at the pods, and asks the cache as far as the stage wants to know.
pub async fn gather(
    ctx: &Ctx,
    cluster: &CacheCluster,
    owner: &Owner,
    revision: &Revision,
    stage: Stage,
    trouble: Option<Trouble>,
) -> Seen {
    let managed = &revision.managed;
    let names = |what: &str, count: i32| render::numbered(owner, what, count);
    let workers = render::workers(owner, revision);
    // One that is out of use for maintenance is not waited for.
    let out = |pod: &&String| revision.out_of_use.iter().any(|n| render::worker_pod(owner, *n) == **pod);
    let used: Vec<String> = workers.iter().filter(|w| !out(w)).cloned().collect();
    let masters = names("master", managed.masters.replicas);
    let master_pods = pods::of(ctx, owner, &masters);
    let worker_pods = pods::of(ctx, owner, &workers);
    let mut status = cluster.status.clone().unwrap_or_default();
    status.endpoints = pods::endpoints(&master_pods, MASTER_RPC);
    status.replicas = i32::try_from(worker_pods.len()).unwrap_or(i32::MAX);
    // The addresses of a pod that came back are new, and nobody else is told of them before this status is written.
    let mut now = cluster.clone();
    now.status = Some(status.clone());
    let (mut unclaimed, mut failed) = (None, false);
    let engine = if stage == Stage::SetupMaster || status.endpoints.is_empty() {
        silent("NoMaster", "no master has an address yet")
    } else {
        let (seen, verdict) = cluster::look(ctx, &now, &status).await;
        status = seen;
        if UNCLAIMED.contains(&verdict.reason) {
            failed = verdict.phase == "Failed";
            unclaimed = Some((verdict.reason.to_owned(), verdict.message.clone()));
        }
        told(&verdict, &status, owner, &used)
    };
    let root = match stage {
        Stage::CheckUnderStorage | Stage::PrepareUnderStorage => root(ctx, &now, managed).await,
        Stage::SetupMaster
        | Stage::MasterReady
        | Stage::SetupWorkers
        | Stage::WorkersReady
        | Stage::Ready => Root::Unknown("not asked for".into()),
    };
    // Until the cache was ready once, pods that were made before an edit are made anew: they do not count. Those of one
    // that serves stay until an operation replaces them.
    let outdated = |pod: &Pod| match pods::up_to_date(ctx, pod) {
        Some(true) => None,
        _ if stage == Stage::Ready || ctx.broken(Mutation::CountOutdated) => None,
        Some(false) => Some("was made before the spec was edited, and is made anew"),
        None => Some("may have been made before the spec was edited"),
    };
    let part = |pods: &[Arc<Pod>], names: &[String]| pods::part(pods, names, outdated);
    let named = |what: &str, count: i32| {
        let names = names(what, count);
        part(&pods::of(ctx, owner, &names), &names)
    };
    let jobs = match managed.jobs.workers {
        0 => Part::default(),
        workers => both(named("job-master", 1), named("job-worker", workers)),
    };
    let facts = Facts {
        objects: trouble.map(|t| (t.reason.to_owned(), t.message)),
        masters: part(&master_pods, &masters),
        workers: without_others(ctx, owner, stage, &status, &workers, part(&worker_pods, &used)),
        jobs,
        proxies: named("proxy", managed.proxies.replicas),
        engine,
        root,
        unclaimed,
    };
    Seen { facts, status, failed }
}

/// Until the cache was ready once, a worker from before an edit is on its way out: nobody shall use the cache, and so that
/// worker, before it is gone.
fn without_others(
    ctx: &Ctx,
    owner: &Owner,
    stage: Stage,
    status: &CacheClusterStatus,
    names: &[String],
    part: Part,
) -> Part {
    let all = ctx.workloads.pods.by_index(&(BY_INSTANCE, format!("{}/{}", owner.namespace, owner.name)));
    let worker = |p: &&Arc<Pod>| p.labels().get(render::COMPONENT).is_some_and(|c| c == "worker");
    // One that the cache does not count on any more is in nobody's way.
    let serves = |name: &String| members::serves(owner, status, name);
    let others = all.iter().filter(worker).map(|p| p.name_any()).filter(|n| !names.contains(n));
    let other = others.into_iter().find(serves);
    match other.filter(|_| stage != Stage::Ready) {
        None => part,
        Some(other) => Part {
            ready: part.ready.min(part.wanted.saturating_sub(1)),
            trouble: Some(format!("pod {other} is from before the spec was edited, and ends")),
            ..part
        },
    }
}

fn silent(reason: &str, message: impl Into<String>) -> Engine {
    Engine::Silent { reason: reason.into(), message: message.into() }
}

fn both(a: Part, b: Part) -> Part {
    Part { wanted: a.wanted + b.wanted, ready: a.ready + b.ready, trouble: a.trouble.or(b.trouble) }
}

/// What the cache says of itself, and how many of the workers that shall be there serve.
fn told(verdict: &Verdict, status: &CacheClusterStatus, owner: &Owner, workers: &[String]) -> Engine {
    if !verdict.ready {
        return silent(verdict.reason, verdict.message.as_str());
    }
    let serves = |pod: &&String| members::serves(owner, status, pod);
    Engine::Serves { workers_live: workers.iter().filter(serves).count() }
}

/// What is mounted at the root.
async fn root(ctx: &Ctx, cluster: &CacheCluster, managed: &Managed) -> Root {
    let Ok(engine) = ctx.engines.engine(cluster) else { return Root::Unknown("no master answers".into()) };
    let table = match engine.inspect(&Query::Mounts { count: None, secrets: false }).await {
        Ok(Answer::Mounts(table)) => table,
        Ok(_) => return Root::Unknown("the cache gave another answer".into()),
        Err(trouble) => return Root::Unknown(trouble.message),
    };
    let wanted = render::root_uri(managed);
    match table.at("/") {
        None => return Root::Unknown("the cache names no root".into()),
        Some(found) if !same_uri(&found.uri, &wanted) => {
            return Root::Other { found: found.uri.clone(), wanted };
        }
        Some(_) => {}
    }
    match engine.read_store("/").await {
        Ok(()) => Root::AsWanted,
        Err(trouble) => Root::Unreadable(trouble.message),
    }
}
