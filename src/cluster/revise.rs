//! What operations write of the members of a managed cache.
//!
//! ```text
//!   intent --> read the CacheCluster: a higher fence? another revision? --> one patch guarded by that read --> render
//! ```
//!
//! The revision is all that is written: objects are made from it by whoever looks after the cluster. Each write carries
//! the operation, its token and its fence, so that a repeat finds itself, and a late one finds a higher fence or another
//! resourceVersion. Pods are made anew by `replace`.

use super::members::{Found, api, read};
use super::{Stage, owned, replace, rollout, stage_of};
use crate::api::managed::{Managed, Revision, WrittenBy};
use crate::api::{CacheCluster, DataOperation};
use crate::controller::Ctx;
use crate::controller::observe::Surroundings;
use crate::controller::reply::Reply;
use crate::controller::teeth::Mutation;
use crate::controller::write::{self, Part};
use crate::engine::window_closed;
use ratchet_state_machine::effect::{Effect, Intent, Outcome, Receipt};
use ratchet_state_machine::members::{MAX_WORKERS, Numbers};
use ratchet_state_machine::operation::upgrade::release_before;
use ratchet_state_machine::rollout::Release;
use ratchet_state_machine::spec::ArmSpec;
use serde_json::json;
use tokio::time::Instant;

/// How often a write is tried that others were faster than.
const TRIES: usize = 4;

pub(super) fn refused(reason: &str, message: impl Into<String>) -> Outcome {
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
    if let Effect::ReplaceWorker { worker, uid } = &intent.effect {
        return replace::worker(ctx, op, around, intent, *worker, uid, send_before).await;
    }
    if let Effect::ReplaceMember { .. } = &intent.effect {
        return replace::member(ctx, op, around, intent, send_before).await;
    }
    if let Effect::RemoveWorkers { remove, .. } = &intent.effect
        && let Err(outcome) = nothing_is_lost(ctx, op, around, remove).await
    {
        return outcome;
    }
    // One that has left with this number may not have been let in again.
    if let Effect::AddWorkers { add, .. } = &intent.effect {
        replace::admit(ctx, op, around, intent, add, send_before).await;
    }
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
    if let Some(to) = owned::reference(&cluster) {
        return match owned::attempt(ctx, op, &cluster, to, intent, send_before).await {
            Ok(()) => Tried::Done(Receipt::default()),
            Err(Ok(Outcome::Done(receipt))) => Tried::Done(receipt),
            Err(Ok(outcome)) => Tried::Not(outcome),
            Err(Err(reply)) => tried(reply),
        };
    }
    let next = match next(op, &cluster, intent) {
        Ok(next) => next,
        Err(Outcome::Done(receipt)) => return Tried::Done(receipt),
        Err(outcome) => return Tried::Not(outcome),
    };
    // What guards these is the revision that they were decided on; what comes first may take longer than the window.
    let guarded = matches!(
        intent.effect,
        Effect::RemoveWorkers { .. }
            | Effect::AddWorkers { .. }
            | Effect::MarkWorkers { .. }
            | Effect::SetRelease { .. }
    );
    if ctx.clock.instant() >= send_before && !guarded {
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
        Err(reply) => tried(reply),
    }
}

/// What a reply that is no success makes of a try.
fn tried(reply: Reply) -> Tried {
    match reply {
        Reply::Conflict | Reply::Lost | Reply::Gone => Tried::Again,
        Reply::Ambiguous(why) => Tried::Unsure(why),
        Reply::Busy(_) => Tried::Not(refused("ApiServerBusy", "the API server asks for patience")),
        reply @ (Reply::Denied(_) | Reply::Rule(_) | Reply::TooLarge(_) | Reply::Terminating) => {
            Tried::Not(refused("WriteRefused", reply.name()))
        }
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
    let decided_on = |at: i64| match revision.number {
        number if number == at => Ok(()),
        number => {
            let message = format!("it was decided on revision {at}, and {number} is there");
            Err(refused("RevisionMoved", message))
        }
    };
    let there: Numbers = revision.workers.iter().copied().collect();
    let mut out: Numbers = revision.out_of_use.iter().copied().collect();
    let mut managed: Managed = revision.managed.clone();
    let workers = match &intent.effect {
        Effect::AddWorkers { add, at } => {
            if stage_of(&status) != Stage::Ready {
                return Err(refused("ClusterNotReady", "the cache is being set up anew"));
            }
            decided_on(*at)?;
            there.with(add)
        }
        Effect::RemoveWorkers { remove, at } => {
            decided_on(*at)?;
            there.without(remove)
        }
        Effect::MarkWorkers { workers, out: true, at } => {
            decided_on(*at)?;
            out = out.with(workers);
            there
        }
        Effect::MarkWorkers { workers, out: false, at } => {
            decided_on(*at)?;
            out = out.without(workers);
            there
        }
        Effect::SetRelease { back, at } => {
            decided_on(*at)?;
            let now = rollout::release(&managed);
            rollout::set(&mut managed, release(op, *back, &now)?);
            there
        }
        Effect::FenceMembers {} => there,
        Effect::ReplaceWorker { .. }
        | Effect::ReplaceMember { .. }
        | Effect::OnWorkers { .. }
        | Effect::TransferLeadership { .. }
        | Effect::ResetPriorities {}
        | Effect::LoadMetadata { .. }
        | Effect::SubmitLoad { .. }
        | Effect::StopLoad { .. }
        | Effect::CancelMetadata { .. }
        | Effect::Free { .. }
        | Effect::Mount { .. }
        | Effect::UpdateMount { .. }
        | Effect::Backup { .. }
        | Effect::PruneBackups { .. }
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
    managed.workers.replicas = i32::try_from(workers.len()).unwrap_or(MAX_WORKERS);
    let out_of_use = out.among(&workers).iter().collect();
    let (number, by) = (revision.number + 1, Some(by));
    Ok(Revision { number, workers: workers.iter().collect(), out_of_use, managed, by })
}

/// The release that an upgrade wants to be there.
fn release(op: &DataOperation, back: bool, now: &Release) -> Result<Release, Outcome> {
    if let ArmSpec::Upgrade(spec) = &op.spec.operation
        && !back
    {
        return Ok(spec.release(now));
    }
    let record = op.status.as_ref().and_then(|s| s.record().ok());
    let before = record.and_then(|r| release_before(&r.folded.state).cloned());
    before.ok_or_else(|| refused("InvalidEffect", "the operation names no release of before"))
}

/// The last look before workers are taken out: none of them serves, and nobody would miss what they have.
async fn nothing_is_lost(
    ctx: &Ctx,
    op: &DataOperation,
    around: &Surroundings,
    remove: &Numbers,
) -> Result<(), Outcome> {
    if ctx.broken(Mutation::LowerBeforeDrain) {
        return Ok(());
    }
    let (members, leaving) = replace::last_look(ctx, op, around, remove).await?;
    if let Some(why) = members.foreign {
        return Err(refused("NotDrained", why));
    }
    if let Some((why, _)) = leaving.in_use() {
        return Err(refused("NotDrained", why));
    }
    let stranded = &leaving.drain.stranded;
    if !stranded.none() && op.spec.control.force.is_none() {
        return Err(refused("NotDrained", format!("{} would be lost", stranded.named())));
    }
    Ok(())
}
