//! What operations see of the members of a managed cache, and what they write of them.
//!
//! ```text
//!   revision (a consistent read) + pods (watched) + the engine's report --> MembersView --> a decision of an operation
//!   intent --> read the CacheCluster: a higher fence? another revision? --> one patch guarded by that read --> render
//! ```
//!
//! The revision is all that is written here: objects are made from it by whoever looks after the cluster. Each write
//! carries the operation, its token and its fence, so that a repeat finds itself, and a late one finds a higher fence or
//! another resourceVersion.

use super::render::{self, Owner};
use super::{owner, pods, stage_of};
use crate::api::managed::{Managed, Revision, WrittenBy};
use crate::api::{CacheCluster, DataOperation};
use crate::cluster::Stage;
use crate::controller::Ctx;
use crate::controller::observe::Surroundings;
use crate::controller::reply::Reply;
use crate::controller::teeth::Mutation;
use crate::controller::write::{self, Part};
use crate::engine::{EngineInfo, window_closed};
use kube::Api;
use ratchet_state_machine::effect::{Answer, Effect, Intent, Outcome, Receipt, Trouble, TroubleKind};
use ratchet_state_machine::members::{Known, MAX_WORKERS, MembersView, Numbers, WorkerView, Written};
use serde_json::json;
use std::sync::Arc;
use tokio::time::Instant;

/// How often a write is tried that others were faster than.
const TRIES: usize = 4;

fn api(ctx: &Ctx, op: &DataOperation) -> Api<CacheCluster> {
    Api::namespaced(ctx.client.clone(), op.metadata.namespace.as_deref().unwrap_or_default())
}

fn trouble(kind: TroubleKind, message: impl Into<String>) -> Trouble {
    Trouble { kind, message: message.into() }
}

/// The CacheCluster that an operation works on, by a consistent read.
enum Found {
    /// It is there.
    Here(Box<CacheCluster>),
    /// That one is gone: there is nothing to change any more, and nothing of it can land.
    Gone,
    /// It is there and not known here yet.
    Unknown,
}

async fn read(ctx: &Ctx, op: &DataOperation, around: &Surroundings) -> Result<Found, Reply> {
    let found = write::get(ctx, &api(ctx, op), &op.spec.target).await?;
    Ok(match (found, &around.cluster) {
        (None, _) => Found::Gone,
        (Some(_), None) => Found::Unknown,
        (Some(now), Some(known)) if now.metadata.uid == known.metadata.uid => Found::Here(Box::new(now)),
        (Some(_), Some(_)) => Found::Gone,
    })
}

/// How the members of the operation's cache are.
///
/// # Errors
/// [`Trouble`] when the API server or the cache does not answer.
pub async fn answer(ctx: &Ctx, op: &DataOperation, around: &Surroundings) -> Result<Answer, Trouble> {
    let cluster = match read(ctx, op, around).await {
        Ok(Found::Here(cluster)) => *cluster,
        Ok(Found::Gone) => {
            let foreign = Some(format!("the CacheCluster {} is gone", op.spec.target));
            return Ok(Answer::Members(MembersView {
                foreign,
                written: Written::Fenced,
                ..MembersView::default()
            }));
        }
        Ok(Found::Unknown) => {
            return Err(trouble(TroubleKind::NotReady, "the CacheCluster has not been looked at yet"));
        }
        Err(reply) => {
            let message = format!("the CacheCluster cannot be read: {}", reply.name());
            return Err(trouble(TroubleKind::Unknown, message));
        }
    };
    let foreign = |why: &str| {
        Ok(Answer::Members(MembersView { foreign: Some(why.to_owned()), ..MembersView::default() }))
    };
    if cluster.spec.managed.is_none() {
        return foreign("the cache is attached: whoever runs its pods gives it more workers");
    }
    if !ctx.config.managed {
        return foreign("this controller was started without the part that runs pods");
    }
    let status = cluster.status.clone().unwrap_or_default();
    let stage = stage_of(&status);
    let Some(revision) = status.revision else {
        let set_up = Some(stage.name().to_owned());
        return Ok(Answer::Members(MembersView { set_up, ..MembersView::default() }));
    };
    let Some(engine) = &around.engine else {
        return Err(trouble(TroubleKind::Unreachable, "the CacheCluster has not been looked at yet"));
    };
    let info = engine.probe().await?;
    let owner = owner(&cluster);
    let workers = revision.workers.iter().map(|n| worker(ctx, &owner, &info, *n)).collect();
    Ok(Answer::Members(MembersView {
        foreign: None,
        set_up: (stage != Stage::Ready).then(|| stage.name().to_owned()),
        revision: revision.number,
        written: if ctx.broken(Mutation::EndWithoutFence) {
            Written::Fenced
        } else {
            written(&revision, op.uid())
        },
        workers,
    }))
}

/// What the operation has written last.
fn written(revision: &Revision, uid: &str) -> Written {
    match revision.by.as_ref().filter(|by| by.operation == uid) {
        None => Written::Nothing,
        Some(by) if by.what == FENCE => Written::Fenced,
        Some(_) => Written::Added,
    }
}

/// Name of the effect that raises the fence alone.
const FENCE: &str = "fenceMembers";

fn worker(ctx: &Ctx, owner: &Owner, info: &EngineInfo, number: i32) -> WorkerView {
    let name = [render::worker_pod(owner, number)];
    let pods = pods::of(ctx, owner, &name);
    let outdated = |pod: &_| match pods::up_to_date(ctx, pod) {
        Some(true) => None,
        Some(false) | None => Some("is not known to be made from the template of its StatefulSet"),
    };
    let part = pods::part(&pods, &name, outdated);
    let (known, capacity_bytes) = known(owner, info, number);
    WorkerView { number, ready: part.ready == 1, known, capacity_bytes, trouble: part.trouble }
}

/// What the engine says of the worker of this number.
fn known(owner: &Owner, info: &EngineInfo, number: i32) -> (Known, i64) {
    let host = format!("{}:", render::worker_host(owner, &render::worker_pod(owner, number)));
    let mut entries = info.members.iter().filter(|m| m.name.starts_with(&host)).peekable();
    let Some(first) = entries.peek().map(|m| m.state.clone()) else { return (Known::No, 0) };
    match entries.find(|m| m.state == "ACTIVE") {
        Some(active) => (Known::Serves, active.capacity_bytes),
        None => (Known::As(first), 0),
    }
}

fn refused(reason: &str, message: impl Into<String>) -> Outcome {
    Outcome::Refused { reason: reason.into(), message: message.into(), retryable: true }
}

/// Writes what an intent is about. Nothing is written after `send_before`. Once one of the tries may have been carried out,
/// nothing but a read says how it stands.
pub async fn perform(
    ctx: &Ctx,
    op: &DataOperation,
    around: &Surroundings,
    intent: &Intent,
    send_before: Instant,
) -> Outcome {
    let mut unsure: Option<String> = None;
    for _ in 0..TRIES {
        let tried = attempt(ctx, op, around, intent, send_before).await;
        match tried {
            Tried::Done(receipt) => return Outcome::Done(receipt),
            Tried::Again => {}
            Tried::Unsure(why) => unsure = Some(why),
            Tried::Not(outcome) => return unsure.map_or(outcome, |detail| Outcome::Unknown { detail }),
        }
    }
    let outcome = refused("ObjectChanging", "others write the CacheCluster all the time");
    unsure.map_or(outcome, |detail| Outcome::Unknown { detail })
}

/// What became of one try.
enum Tried {
    /// It stands.
    Done(Receipt),
    /// Somebody was faster: what is there now decides.
    Again,
    /// Nobody knows; the next read tells.
    Unsure(String),
    /// This try changed nothing, and another one will not either.
    Not(Outcome),
}

async fn attempt(
    ctx: &Ctx,
    op: &DataOperation,
    around: &Surroundings,
    intent: &Intent,
    send_before: Instant,
) -> Tried {
    let cluster = match read(ctx, op, around).await {
        Ok(Found::Here(cluster)) => *cluster,
        Ok(Found::Gone) => return Tried::Not(refused("TargetNotFound", "the CacheCluster is gone")),
        Ok(Found::Unknown) => {
            return Tried::Not(refused("TargetUnknown", "the CacheCluster has not been looked at yet"));
        }
        Err(reply) => return Tried::Not(refused("ApiServerUnavailable", reply.name())),
    };
    let next = match next(op, &cluster, intent) {
        Ok(next) => next,
        Err(Outcome::Done(receipt)) => return Tried::Done(receipt),
        Err(outcome) => return Tried::Not(outcome),
    };
    if ctx.clock.instant() >= send_before {
        return Tried::Not(window_closed());
    }
    let ops = json!([
        {"op": "test", "path": "/metadata/uid", "value": cluster.metadata.uid},
        {"op": "replace", "path": "/metadata/resourceVersion", "value": cluster.metadata.resource_version},
        {"op": "add", "path": "/status/revision", "value": next},
    ]);
    match write::patch(ctx, &api(ctx, op), Part::Status, &op.spec.target, &ops).await {
        Ok(written) => {
            let key = crate::cache::Key::of(&written);
            ctx.changed_cluster(&ctx.clusters.replace(written));
            ctx.cluster_queue.add(key);
            Tried::Done(Receipt::default())
        }
        Err(Reply::Conflict | Reply::Lost | Reply::Gone) => Tried::Again,
        Err(Reply::Ambiguous(why)) => Tried::Unsure(why),
        Err(Reply::Busy(_)) => Tried::Not(refused("ApiServerBusy", "the API server asks for patience")),
        Err(reply) => Tried::Not(refused("WriteRefused", reply.name())),
    }
}

/// The revision as the effect wants it, or what there is to say without a write.
fn next(op: &DataOperation, cluster: &CacheCluster, intent: &Intent) -> Result<Revision, Outcome> {
    let status = cluster.status.clone().unwrap_or_default();
    let Some(revision) = status.revision.clone() else {
        return Err(refused("ClusterNotReady", "the set-up of the cache has not begun"));
    };
    if let Some(by) = &revision.by {
        if by.token == intent.token {
            return Err(Outcome::Done(Receipt { attached: true, ..Receipt::default() }));
        }
        if by.fence > intent.fence {
            let message = format!("the revision carries the fence {}, this write {}", by.fence, intent.fence);
            return Err(refused("Superseded", message));
        }
    }
    let there: Numbers = revision.workers.iter().copied().collect();
    let workers = match &intent.effect {
        Effect::AddWorkers { add, at } => {
            if stage_of(&status) != Stage::Ready {
                return Err(refused("ClusterNotReady", "the cache is being set up anew"));
            }
            if revision.number != *at {
                let message = format!("it was decided on revision {at}, and {} is there", revision.number);
                return Err(refused("RevisionMoved", message));
            }
            there.with(add)
        }
        Effect::FenceMembers {} => there,
        Effect::LoadMetadata { .. }
        | Effect::SubmitLoad { .. }
        | Effect::StopLoad { .. }
        | Effect::CancelMetadata { .. }
        | Effect::Free { .. }
        | Effect::Mount { .. }
        | Effect::UpdateMount { .. }
        | Effect::Unmount { .. } => {
            let message = format!("{} is not for members", intent.effect.name());
            return Err(refused("InvalidEffect", message));
        }
    };
    if workers.is_empty() || workers.len() > usize::try_from(MAX_WORKERS).unwrap_or(0) {
        return Err(refused("InvalidEffect", format!("a cache of {} workers", workers.len())));
    }
    let by = WrittenBy {
        operation: op.uid().to_owned(),
        what: intent.effect.name().to_owned(),
        token: intent.token.clone(),
        fence: intent.fence,
    };
    let mut managed: Managed = revision.managed.clone();
    managed.workers.replicas = i32::try_from(workers.len()).unwrap_or(MAX_WORKERS);
    Ok(Revision { number: revision.number + 1, workers: workers.iter().collect(), managed, by: Some(by) })
}

/// Whether a set that is not there may be made: whoever knows an older revision would bring back what an operation has
/// taken out.
pub async fn still_newest(ctx: &Ctx, cluster: &Arc<CacheCluster>, number: i64) -> bool {
    let api: Api<CacheCluster> =
        Api::namespaced(ctx.client.clone(), cluster.metadata.namespace.as_deref().unwrap_or_default());
    let name = cluster.metadata.name.as_deref().unwrap_or_default();
    match write::get(ctx, &api, name).await {
        Ok(Some(now)) => {
            let newest =
                now.status.as_ref().and_then(|s| s.revision.as_ref()).is_some_and(|r| r.number == number);
            newest && now.metadata.uid == cluster.metadata.uid
        }
        Ok(None) | Err(_) => false,
    }
}
