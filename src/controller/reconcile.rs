//! One operation, one step at a time: observe, decide, and do the one thing that was decided. Nothing is chosen
//! here that `decide` has not chosen.

use super::commit::{self, CommitError, Committed};
use super::hold::{self, Held};
use super::memory::{Memory, OwnIntent, Sent};
use super::observe::{self, Surroundings};
use super::teeth::Mutation;
use super::{Ctx, finish, publish, seal, secrets};
use crate::api::{DataOperation, FINALIZER};
use crate::cache::Key;
use crate::cluster;
use crate::engine::{Call, Secrets, WINDOW_CLOSED};
use ratchet_state_machine::decision::{Decision, WaitingOn};
use ratchet_state_machine::effect::{Effect, Intent, Outcome, Trouble};
use ratchet_state_machine::ids::{Fence, Token};
use ratchet_state_machine::journal::Record;
use ratchet_state_machine::lifecycle::{decide, query};
use ratchet_state_machine::observation::{LockView, Observation};
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

/// Steps in one turn before others get theirs.
const STEPS_A_TURN: usize = 24;

/// What a turn ends with: look again after this long, or when something changes.
type Turn = Option<Duration>;

/// Works on one operation until there is nothing to do now.
pub async fn reconcile(ctx: &Ctx, key: &Key) -> Turn {
    let op = ctx.operations.get(key)?;
    let uid = op.uid().to_owned();
    if op.status.as_ref().is_some_and(crate::api::DataOperationStatus::settled) {
        ctx.memory.forget(&uid);
        return finish::settled(ctx, &op).await;
    }
    let mut memory = ctx.memory.take(&uid);
    let turn = turn(ctx, op, &mut memory).await;
    // An object that went meanwhile leaves no memory behind.
    if ctx.operations.get(key).is_some_and(|o| o.uid() == uid) {
        ctx.memory.put(&uid, memory);
    }
    turn
}

async fn turn(ctx: &Ctx, mut op: Arc<DataOperation>, memory: &mut Memory) -> Turn {
    if let Some(wait) = finish::let_go(ctx, &op).await {
        return wait;
    }
    for _ in 0..STEPS_A_TURN {
        if ctx.stopping() {
            return Some(Duration::from_millis(100));
        }
        if memory.is_parked(&op, ctx.clock.instant(), ctx.config.parked_retry) {
            return Some(ctx.config.parked_retry);
        }
        match step(ctx, &op, memory).await {
            ControlFlow::Break(turn) => return turn,
            ControlFlow::Continue(next) => op = next,
        }
    }
    Some(Duration::ZERO)
}

type Step = ControlFlow<Turn, Arc<DataOperation>>;

async fn step(ctx: &Ctx, op: &Arc<DataOperation>, memory: &mut Memory) -> Step {
    let now = ctx.clock.instant();
    let wall = ctx.clock.now();
    let age =
        op.metadata.creation_timestamp.as_ref().map_or(0, |t| (wall.timestamp() - t.0.as_second()) * 1000);
    let Some(status) = &op.status else {
        memory.see(op.seq(), true, now, age, 0);
        return begin(ctx, op, memory).await;
    };
    if status.settled() {
        return ControlFlow::Break(finish::settled(ctx, op).await);
    }
    let record = match status.record() {
        Ok(record) => record,
        Err(why) => {
            tracing::error!(operation = %Key::of(&**op), %why, "the status contradicts itself; the operation is left alone");
            memory.park(op, now);
            ctx.metrics.parked();
            return ControlFlow::Break(Some(ctx.config.parked_retry));
        }
    };
    let entry_age = record.last().and_then(|e| e.time()).map_or(0, |t| (wall - t).num_milliseconds());
    let got_on = record.last().is_none_or(|e| !STANDSTILL.contains(&e.event.as_str()));
    memory.see(op.seq(), got_on, now, age, entry_age);
    let around = observe::surroundings(ctx, op);
    if record.folded.state.holds() && around.lock.is_some() && !hold::confirmed(op, &around) {
        match hold::restore(ctx, op, &around, memory).await {
            Some(Held::Changed) => return ControlFlow::Continue(Arc::clone(op)),
            Some(Held::Later(wait)) => return ControlFlow::Break(Some(wait)),
            // Somebody else works on the paths: nothing is begun, but a cancel or a deadline is still heard.
            None => {}
        }
    }
    let mut place = None;
    if query(&op.spec, &record.folded).is_some() {
        // A slow cache gets half of the workers; the others go on with other caches.
        let target = format!("{}/{}", op.metadata.namespace.as_deref().unwrap_or_default(), op.spec.target);
        place = ctx.places.take(&target, ctx.config.concurrency / 2).await;
        if place.is_none() {
            return ControlFlow::Break(Some(Duration::from_millis(500)));
        }
    }
    let seen = observe::observe(ctx, op, &record, &around, memory).await;
    drop(place);
    let decision = decide(&op.spec, &record.folded, &seen);
    carry_out(ctx, op, &record, &around, &seen, decision, memory).await
}

/// The first look at an operation: the finalizer that keeps it in place, then entry 1.
async fn begin(ctx: &Ctx, op: &Arc<DataOperation>, memory: &mut Memory) -> Step {
    if op.metadata.deletion_timestamp.is_some() {
        return ControlFlow::Break(finish::drop_finalizer(ctx, op).await);
    }
    if !op.metadata.finalizers.iter().flatten().any(|f| f == FINALIZER) {
        return match finish::add_finalizer(ctx, op).await {
            Ok(op) => ControlFlow::Continue(op),
            Err(wait) => ControlFlow::Break(Some(wait)),
        };
    }
    after_commit(ctx, op, commit::birth(ctx, op, memory).await, memory)
}

async fn carry_out(
    ctx: &Ctx,
    op: &Arc<DataOperation>,
    record: &Record,
    around: &Surroundings,
    seen: &Observation,
    decision: Decision,
    memory: &mut Memory,
) -> Step {
    match decision {
        Decision::Rest => ControlFlow::Break(finish::settled(ctx, op).await),
        Decision::Await(reason) => ControlFlow::Break(wait(ctx, op, around, seen, &reason, memory).await),
        Decision::Record { event, because, intend } => {
            if let Some(effect) = intend.as_ref().filter(|_| ctx.broken(Mutation::ActBeforeIntent)) {
                act_first(ctx, op, around, effect).await;
            }
            let done = commit::transition(ctx, op, record, event, &because, intend, memory).await;
            after_commit(ctx, op, done, memory)
        }
        Decision::Perform(intent) => {
            perform(ctx, op, around, &intent, memory).await;
            ControlFlow::Continue(Arc::clone(op))
        }
        Decision::TakeHold => after_hold(hold::take(ctx, op, around, memory).await, op),
        Decision::Release => after_hold(hold::release(ctx, op, record, around, memory).await, op),
        Decision::Seal => match seal::rest(ctx, op, record).await {
            seal::Sealed::Through(through, segment) => {
                let done = commit::seal_off(ctx, op, record, through, segment, memory).await;
                after_commit(ctx, op, done, memory)
            }
            seal::Sealed::Later(wait) => ControlFlow::Break(Some(wait)),
        },
    }
}

fn after_commit(
    ctx: &Ctx,
    op: &Arc<DataOperation>,
    done: Result<Committed, CommitError>,
    memory: &mut Memory,
) -> Step {
    match done {
        Ok(Committed::Done(next)) => ControlFlow::Continue(next),
        // The cache has the newer state, and its change has put the operation back into the queue.
        Ok(Committed::Lost) => ControlFlow::Break(Some(Duration::from_millis(50))),
        Ok(Committed::Gone) => ControlFlow::Break(None),
        Ok(Committed::Later(wait) | Committed::Unsure(wait)) => ControlFlow::Break(Some(wait)),
        Err(why) => {
            tracing::error!(operation = %Key::of(&**op), %why, "a transition is impossible: a bug; the operation is parked");
            memory.park(op, ctx.clock.instant());
            ctx.metrics.parked();
            ControlFlow::Break(Some(ctx.config.parked_retry))
        }
    }
}

fn after_hold(held: Held, op: &Arc<DataOperation>) -> Step {
    match held {
        Held::Changed => ControlFlow::Continue(Arc::clone(op)),
        Held::Later(wait) => ControlFlow::Break(Some(wait)),
    }
}

/// Events that are no progress: what they are about can happen over and over.
const STANDSTILL: [&str; 7] =
    ["Intended", "AttemptFailed", "Asked", "Stranded", "Rescued", "Returned", "Decommissioned"];

/// Sends an effect that nobody has written down.
async fn act_first(ctx: &Ctx, op: &DataOperation, around: &Surroundings, effect: &Effect) {
    let Some(engine) = &around.engine else { return };
    let fence = op.status.as_ref().map_or(Fence::default(), |s| s.fence);
    let send_before = ctx.clock.instant() + Duration::from_secs(1);
    let token = Token("unwritten".into());
    let secrets = &Secrets::default();
    let workers = &cluster::members::of_call(ctx, op, around, effect).await.unwrap_or_default();
    engine
        .perform(Call { effect, spec: &op.spec, token: &token, fence, send_before, secrets, workers })
        .await;
}

/// Sends the effect of an intent that this process wrote, if its window is still open.
async fn perform(ctx: &Ctx, op: &DataOperation, around: &Surroundings, intent: &Intent, memory: &mut Memory) {
    let Some(own) = memory.own.as_mut().filter(|o| o.nonce == intent.nonce) else { return };
    let at = ctx.clock.instant();
    let late = crate::clock::ms_between(own.patched_at, at) >= intent.send_for_ms;
    if late && !ctx.broken(Mutation::SendLate) {
        return;
    }
    if intent.effect.of_kubernetes() {
        own.sent = Sent::At(at);
        let window = Duration::from_millis(u64::try_from(intent.send_for_ms).unwrap_or(0));
        let send_before = own.patched_at + window;
        let outcome = cluster::revise::perform(ctx, op, around, intent, send_before).await;
        answered(ctx, op, intent, own, outcome);
        return;
    }
    let Some(engine) = &around.engine else {
        let message = "the CacheCluster is gone".into();
        own.sent =
            Sent::Answered(Outcome::Refused { reason: "TargetNotFound".into(), message, retryable: true });
        return;
    };
    let secrets = match secrets::of(ctx, op, &intent.effect).await {
        Ok(secrets) => secrets,
        // Nothing was sent.
        Err(outcome) => {
            own.sent = Sent::Answered(outcome);
            return;
        }
    };
    own.sent = Sent::At(at);
    let window = Duration::from_millis(u64::try_from(intent.send_for_ms).unwrap_or(0));
    let send_before = if ctx.broken(Mutation::SendLate) { at + window } else { own.patched_at + window };
    let workers = match cluster::members::of_call(ctx, op, around, &intent.effect).await {
        Ok(workers) => workers,
        Err(Trouble { kind, message }) => {
            let outcome = Outcome::Refused { reason: kind.reason().into(), message, retryable: true };
            return answered(ctx, op, intent, own, outcome);
        }
    };
    let call = Call {
        effect: &intent.effect,
        spec: &op.spec,
        token: &intent.token,
        fence: intent.fence,
        send_before,
        secrets: &secrets,
        workers: &workers,
    };
    let outcome = engine.perform(call).await;
    answered(ctx, op, intent, own, outcome);
}

/// Notes what became of an effect.
fn answered(ctx: &Ctx, op: &DataOperation, intent: &Intent, own: &mut OwnIntent, outcome: Outcome) {
    ctx.metrics.effect(intent.effect.name(), &outcome);
    own.sent = match outcome {
        Outcome::Unknown { detail } if ctx.broken(Mutation::TimeoutIsFailure) => {
            Sent::Answered(Outcome::Refused { reason: "TimedOut".into(), message: detail, retryable: true })
        }
        Outcome::Unknown { detail } => {
            tracing::warn!(operation = %Key::of(op), effect = intent.effect.name(), %detail, "the outcome of an effect is unknown");
            // The call may have left as late as now.
            Sent::At(ctx.clock.instant())
        }
        // Nothing was sent: the intent has expired without an attempt.
        Outcome::Refused { reason, .. } if reason == WINDOW_CLOSED => Sent::No,
        answered @ (Outcome::Done(_) | Outcome::Refused { .. }) => Sent::Answered(answered),
    };
}

/// Shows the reason, keeps account of progress, and says when to look again.
async fn wait(
    ctx: &Ctx,
    op: &Arc<DataOperation>,
    around: &Surroundings,
    seen: &Observation,
    reason: &WaitingOn,
    memory: &mut Memory,
) -> Turn {
    let now = ctx.clock.instant();
    match reason.progress() {
        Some(p) => memory.note_progress(p.done, now),
        None if reason.may_stall() => memory.note_progress(memory.progress.map_or(-1, |(m, _)| m), now),
        None => memory.not_stalling(now),
    }
    if matches!(seen.lock, LockView::Blocked { .. })
        && let Held::Later(_) = hold::steal(ctx, around, memory).await
    {
        publish::waiting(ctx, op, reason, memory).await;
        return Some(Duration::from_secs(1));
    }
    let owed = publish::waiting(ctx, op, reason, memory).await;
    let own = reason.recheck_ms();
    // A deadline that has passed and changed nothing is no reason to look again.
    let ahead = |left: i64| (left > 0).then_some(left);
    let deadline = op.spec.deadline_seconds.and_then(|d| ahead(d.saturating_mul(1000) - seen.age_ms));
    let stall_ms = op.spec.stall_deadline_seconds.saturating_mul(1000);
    let stall = if reason.may_stall() { ahead(stall_ms - memory.stalled_ms(now)) } else { None };
    let next = [own, owed, deadline, stall].into_iter().flatten().min()?;
    Some(Duration::from_millis(u64::try_from(next.max(10)).unwrap_or(1_000)))
}
