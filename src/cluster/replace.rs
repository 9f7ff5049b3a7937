//! Pods of members are made anew: the one whose uid stands in the intent is evicted.
//!
//! ```text
//!   let it in (a worker) -> last look: it does not serve, nothing is only there -> evict by uid -> (no budget: delete, or wait)
//! ```
//!
//! Budgets are asked: they protect whoever serves. The template is read right before: a pod that goes too early comes back as
//! it was. Takeovers copy the uid; nobody observes it anew.

use super::members::{self, Found};
use super::render::{self, Owner};
use super::revise::refused;
use super::{owned, owner, pods, rollout};
use crate::api::DataOperation;
use crate::api::managed::Revision;
use crate::controller::Ctx;
use crate::controller::observe::Surroundings;
use crate::controller::reply::Reply;
use crate::controller::teeth::Mutation;
use crate::controller::write;
use crate::engine::{Call as EngineCall, Secrets, window_closed};
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use ratchet_state_machine::drain::{Call, LeavingView, MASTER_KNOWS_MS};
use ratchet_state_machine::effect::{Answer, Effect, Intent, Outcome, Receipt};
use ratchet_state_machine::members::{Known, MembersView, Numbers, WorkerView};
use ratchet_state_machine::rollout::Role;
use ratchet_state_machine::spec::ArmSpec;
use tokio::time::Instant;

/// The last look at workers before something happens to them.
///
/// # Errors
/// The outcome, where they cannot be seen.
pub(super) async fn last_look(
    ctx: &Ctx,
    op: &DataOperation,
    around: &Surroundings,
    workers: &Numbers,
) -> Result<(MembersView, LeavingView), Outcome> {
    match members::leaving(ctx, op, around, workers, true).await {
        Ok(Answer::Leaving(members, leaving)) => Ok((members, *leaving)),
        Ok(_) => Err(refused("NotDrained", "whether anything would be lost is not known")),
        Err(trouble) => Err(refused("NotDrained", trouble.message)),
    }
}

/// Lets workers of these numbers register, whatever was said of the ones before. A repeat is harmless.
pub(super) async fn admit(
    ctx: &Ctx,
    op: &DataOperation,
    around: &Surroundings,
    intent: &Intent,
    numbers: &Numbers,
    send_before: Instant,
) {
    let Some(engine) = &around.engine else { return };
    let effect = Effect::OnWorkers { call: Call::Admit, workers: numbers.clone() };
    let workers = match members::of_call(ctx, op, around, &effect).await {
        Ok(workers) => workers,
        Err(trouble) => {
            tracing::debug!(?trouble, "workers could not be let in yet");
            return;
        }
    };
    let call = EngineCall {
        effect: &effect,
        spec: &op.spec,
        token: &intent.token,
        fence: intent.fence,
        send_before,
        secrets: &Secrets::default(),
        workers: &workers,
    };
    match engine.perform(call).await {
        Outcome::Done(_) => {}
        // Where it was needed, the worker says that it is not let in.
        outcome @ (Outcome::Refused { .. } | Outcome::Unknown { .. }) => {
            tracing::debug!(?outcome, "workers could not be let in yet");
        }
    }
}

/// Has a worker's pod made anew, if it is the one with this uid still. Budgets are asked; they protect whoever serves, and this
/// one does not: where another pod has used the budget up, it goes all the same.
pub(super) async fn worker(
    ctx: &Ctx,
    op: &DataOperation,
    around: &Surroundings,
    intent: &Intent,
    worker: i32,
    uid: &str,
    send_before: Instant,
) -> Outcome {
    let Some(cluster) = &around.cluster else {
        return refused("TargetNotFound", "the CacheCluster is gone");
    };
    if ctx.clock.instant() >= send_before {
        return window_closed();
    }
    let one: Numbers = [worker].into_iter().collect();
    admit(ctx, op, around, intent, &one, send_before).await;
    if let Err(outcome) = needed_by_nobody(ctx, op, around, worker, false).await {
        return outcome;
    }
    let pod = match owned::reference(cluster) {
        Some(to) => owned::pod(&to.name, worker),
        None => render::worker_pod(&owner(cluster), worker),
    };
    evict(ctx, op, &pod, uid, true).await
}

/// It may take longer than the window; the uid and this look guard what follows at once.
async fn needed_by_nobody(
    ctx: &Ctx,
    op: &DataOperation,
    around: &Surroundings,
    worker: i32,
    forced: bool,
) -> Result<(), Outcome> {
    let one: Numbers = [worker].into_iter().collect();
    let (_, leaving) = last_look(ctx, op, around, &one).await?;
    let (young, drain) = (leaving.drain.master_up_ms < MASTER_KNOWS_MS, &leaving.drain);
    let may_serve = |w: &WorkerView| w.known == Known::Serves || (w.known == Known::No && young);
    if leaving.workers.iter().any(may_serve) || !(drain.stranded.none() || forced) {
        return Err(refused(
            "NeededStill",
            format!("worker {worker} may serve, or has what nobody else has"),
        ));
    }
    Ok(())
}

/// Evicts the pod of this uid. `spare`: nobody misses it, so that it goes also where another one has used the budget up.
async fn evict(ctx: &Ctx, op: &DataOperation, pod: &str, uid: &str, spare: bool) -> Outcome {
    let api: Api<Pod> =
        Api::namespaced(ctx.client.clone(), op.metadata.namespace.as_deref().unwrap_or_default());
    let gone = match write::evict(ctx, &api, pod, uid).await {
        Err(Reply::Busy(_)) if spare => write::delete(ctx, &api, pod, uid, None).await,
        other => other,
    };
    match gone {
        Ok(()) => Outcome::Done(Receipt::default()),
        Err(Reply::Conflict | Reply::Gone) => Outcome::Done(Receipt { attached: true, ..Receipt::default() }),
        Err(Reply::Ambiguous(detail)) => Outcome::Unknown { detail },
        Err(Reply::Busy(_)) => refused("DisruptionBudget", format!("pod {pod} may not be evicted now")),
        Err(reply) => refused("WriteRefused", reply.name()),
    }
}

/// The revision and whose it is, by a consistent read.
async fn revision(
    ctx: &Ctx,
    op: &DataOperation,
    around: &Surroundings,
) -> Result<(Owner, Revision), Outcome> {
    let cluster = match members::read(ctx, op, around).await {
        Ok(Found::Here(cluster)) => cluster,
        Ok(Found::Gone) => return Err(refused("TargetNotFound", "the CacheCluster is gone")),
        Ok(Found::Unknown) => {
            return Err(refused("TargetUnknown", "the CacheCluster has not been looked at yet"));
        }
        Err(reply) => return Err(refused("ApiServerUnavailable", reply.name())),
    };
    let of = owner(&cluster);
    let found = cluster.status.and_then(|s| s.revision);
    found.map(|r| (of, r)).ok_or_else(|| refused("ClusterNotReady", "the set-up of the cache has not begun"))
}

/// Whether the StatefulSet of a pod makes what the revision says, by a consistent read.
async fn template_seen(ctx: &Ctx, of: &Owner, pod: &str, revision: &Revision) -> Result<(), Outcome> {
    let set = rollout::set_of(pod);
    let api: Api<StatefulSet> = Api::namespaced(ctx.client.clone(), &of.namespace);
    let message = || format!("StatefulSet {set} does not make what revision {} says yet", revision.number);
    match write::get(ctx, &api, set).await {
        Ok(Some(found)) if rollout::makes(&found, &rollout::release(&revision.managed).image()) => Ok(()),
        Ok(Some(_) | None) => Err(refused("TemplateNotSeen", message())),
        Err(reply) => Err(refused("ApiServerUnavailable", reply.name())),
    }
}

/// Has a member's pod made anew, if it is the one with this uid still.
pub(super) async fn member(
    ctx: &Ctx,
    op: &DataOperation,
    around: &Surroundings,
    intent: &Intent,
    send_before: Instant,
) -> Outcome {
    let Effect::ReplaceMember { role, number, uid } = &intent.effect else {
        return refused("InvalidEffect", "no member is named");
    };
    let (of, revision) = match revision(ctx, op, around).await {
        Ok(found) => found,
        Err(outcome) => return outcome,
    };
    let pod = rollout::pod(&of, *role, *number);
    if !ctx.broken(Mutation::EvictUnseen)
        && let Err(outcome) = template_seen(ctx, &of, &pod, &revision).await
    {
        return outcome;
    }
    if ctx.clock.instant() >= send_before {
        return window_closed();
    }
    let aside = revision.out_of_use.contains(number);
    if *role == Role::Worker && !aside {
        let one: Numbers = [*number].into_iter().collect();
        admit(ctx, op, around, intent, &one, send_before).await;
    }
    let empties = *role == Role::Worker && !aside && !rollout::survives(&revision.managed);
    if empties
        && revision.workers.len() > 1
        && let Err(outcome) =
            needed_by_nobody(ctx, op, around, *number, op.spec.control.force.is_some()).await
    {
        return outcome;
    }
    let several = matches!(&op.spec.operation, ArmSpec::Upgrade(u) if u.max_unavailable > 1);
    // By a consistent read: one that serves again may be what a quorum needs.
    let pods: Api<Pod> = Api::namespaced(ctx.client.clone(), &of.namespace);
    let ready = match write::get(ctx, &pods, &pod).await {
        Ok(found) => found.is_some_and(|p| pods::ready(&p)),
        Err(reply) => return refused("ApiServerUnavailable", reply.name()),
    };
    let spare = empties || (*role == Role::Worker && several) || !ready;
    evict(ctx, op, &pod, uid, spare).await
}
