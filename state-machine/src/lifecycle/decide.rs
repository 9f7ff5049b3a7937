//! The shared part of the decision, in the order in which things take precedence:
//!
//! ```text
//!   newer controller? -> over? -> (cancel, deadline, pause, stall) -> the step's own business
//! ```
//!
//! Total and pure: every state and every observation gives exactly one [`Decision`].

use super::fold::Folded;
use super::step::{During, Failure, Shared, Step};
use crate::MACHINE_VERSION;
use crate::decision::{Decision, WaitingOn};
use crate::effect::{Answer, Effect, Query};
use crate::observation::{IntentView, LockView, Observation, PredecessorState, Target};
use crate::operation::arm::{Act, View};
use crate::operation::{Event, Known, dispatch};
use crate::spec::{Approval, Ended, OperationSpec};

/// How long an operation tries to bring the engine to rest before it is Stuck (or, when the object is being
/// deleted, lets it go), in milliseconds.
pub const CLEANUP_BOUND_MS: i64 = 600_000;

/// Pause between two stopping calls, in milliseconds.
const STOP_PAUSE_MS: i64 = 2_000;

/// What has to be asked of the engine before [`decide`] can say anything but "not yet".
#[must_use]
pub fn query(spec: &OperationSpec, op: &Folded) -> Option<Query> {
    fn go<A: Known>(step: &Step<A>, spec: &OperationSpec, op: &Folded) -> Option<Query> {
        match step {
            Step::Arm(a) => a.query(spec, op.intent.as_ref()),
            Step::Pausing { at } | Step::Cancelling { at } | Step::Aborting { at, .. } => at.halt_query(spec),
            Step::Pending {}
            | Step::AwaitingApproval {}
            | Step::Queued {}
            | Step::Paused { .. }
            | Step::Stuck { .. }
            | Step::Succeeded {}
            | Step::Failed { .. }
            | Step::Cancelled {} => None,
        }
    }
    dispatch!(&op.state, s => go(s, spec, op))
}

/// Whether the operation is bringing its engine to rest.
#[must_use]
pub fn halt_is_due(op: &Folded) -> bool {
    matches!(op.state.step(), "pausing" | "cancelling" | "aborting")
}

/// What to do next.
#[must_use]
pub fn decide(spec: &OperationSpec, op: &Folded, seen: &Observation) -> Decision {
    if op.machine_version > MACHINE_VERSION {
        return Decision::Await(WaitingOn::NewerController { version: op.machine_version });
    }
    if op.state.phase().terminal() {
        return over(op, seen);
    }
    // The intent that this process has just written: send it, whatever else was seen meanwhile.
    if let (Some(intent), IntentView::Sendable) = (&op.intent, seen.intent) {
        return Decision::Perform(intent.clone());
    }
    let cx = Cx { spec, op, seen };
    dispatch!(&op.state, s => cx.step(s))
}

/// What is left after the end: give the lock back, seal, rest.
fn over(op: &Folded, seen: &Observation) -> Decision {
    match (&seen.lock, op.settled()) {
        (_, true) => Decision::Rest,
        (LockView::Held { .. }, false) => Decision::Release,
        (LockView::Unknown | LockView::Available | LockView::Blocked { .. }, false) => Decision::Seal,
    }
}

struct Cx<'a> {
    spec: &'a OperationSpec,
    op: &'a Folded,
    seen: &'a Observation,
}

fn record(event: Shared, because: impl AsRef<str>) -> Decision {
    Decision::Record {
        event: Event::Shared(event),
        because: super::cut(because.as_ref(), crate::journal::MAX_BECAUSE),
        intend: None,
    }
}

impl Cx<'_> {
    fn step<A: Known>(&self, step: &Step<A>) -> Decision {
        match step {
            Step::Pending {} => self.before_lock().unwrap_or_else(|| self.pending()),
            Step::AwaitingApproval {} => self.before_lock().unwrap_or_else(|| self.approval()),
            Step::Queued {} => self.before_lock().unwrap_or_else(|| self.queued()),
            Step::Arm(a) => self.arm(a),
            Step::Pausing { at } => match self.ending() {
                Some((event, because)) => record(event, because),
                None => self.halt(at, "pausing"),
            },
            Step::Paused { .. } => self.paused(),
            Step::Cancelling { at } => self.halt(at, "cancelling"),
            Step::Aborting { at, .. } => self.halt(at, "aborting"),
            Step::Stuck { during, why, .. } => self.stuck(during, why),
            Step::Succeeded {} | Step::Failed { .. } | Step::Cancelled {} => Decision::Rest,
        }
    }

    /// A cancel, a deletion or a deadline.
    fn ending(&self) -> Option<(Shared, String)> {
        if self.seen.deleting_for_ms.is_some() {
            return Some((Shared::CancelRequested { deleted: true }, "the object is being deleted".into()));
        }
        if self.spec.control.cancel {
            return Some((Shared::CancelRequested { deleted: false }, "control.cancel".into()));
        }
        self.late().map(|why| {
            let because = why.message.clone();
            (Shared::Aborted { why }, because)
        })
    }

    fn late(&self) -> Option<Failure> {
        let deadline = self.spec.deadline_seconds?;
        (self.seen.age_ms >= deadline.saturating_mul(1000)).then(|| {
            Failure::new("DeadlineExceeded", format!("not finished {deadline} s after its creation (deadlineSeconds)"))
        })
    }

    fn stalled(&self, waiting: &WaitingOn) -> Option<Failure> {
        let limit = self.spec.stall_deadline_seconds;
        (waiting.may_stall() && self.seen.stalled_ms >= limit.saturating_mul(1000)).then(|| {
            let message = format!("no progress for {limit} s (stallDeadlineSeconds): {}", waiting.message());
            Failure::new("Stalled", message)
        })
    }

    /// Waits, unless the wait has become too long.
    fn wait(&self, waiting: WaitingOn) -> Decision {
        match self.stalled(&waiting) {
            Some(why) => record(Shared::Aborted { why }, waiting.message()),
            None => Decision::Await(waiting),
        }
    }

    /// What can happen to every operation that does not hold the lock yet.
    fn before_lock(&self) -> Option<Decision> {
        if let Some((event, because)) = self.ending() {
            return Some(record(event, because));
        }
        if let Some(problem) = self.spec.problems().into_iter().next() {
            let why = Failure::new("InvalidSpec", problem);
            return Some(record(Shared::Aborted { why }, "spec"));
        }
        self.spec.control.suspend.then_some(Decision::Await(WaitingOn::Suspended))
    }

    fn pending(&self) -> Decision {
        let mut open: Vec<&str> = Vec::new();
        for (wanted, seen) in self.spec.run_after.iter().zip(&self.seen.predecessors) {
            let met = match (seen.state, wanted.on) {
                (PredecessorState::Missing | PredecessorState::Unfinished, _) => None,
                (PredecessorState::Succeeded, Ended::Succeeded | Ended::Finished)
                | (PredecessorState::Failed, Ended::Failed | Ended::Finished) => Some(true),
                (PredecessorState::Succeeded, Ended::Failed) | (PredecessorState::Failed, Ended::Succeeded) => Some(false),
            };
            match met {
                None => open.push(&seen.name),
                Some(true) => {}
                Some(false) => {
                    let why = Failure::new(
                        "PredecessorUnmet",
                        format!("runAfter wants {} to end in {:?}; it did not", seen.name, wanted.on),
                    );
                    return record(Shared::Aborted { why }, format!("{} ended", seen.name));
                }
            }
        }
        if open.is_empty() && self.seen.predecessors.len() == self.spec.run_after.len() {
            let approval = self.spec.approval == Approval::Manual;
            return record(Shared::PredecessorsDone { approval }, "all predecessors ended as required");
        }
        let missing = self.seen.predecessors.iter().any(|p| p.state == PredecessorState::Missing);
        let waiting = WaitingOn::Predecessors { names: super::cut(&open.join(", "), 200) };
        // An existing predecessor has deadlines of its own; only one that never appears can be waited for in vain.
        if missing { self.wait(waiting) } else { Decision::Await(waiting) }
    }

    fn approval(&self) -> Decision {
        let plan = &self.op.plan.hash;
        match &self.spec.control.approve {
            Some(a) if a.plan_hash == *plan => {
                let by = super::cut(&a.by, 253);
                record(Shared::Approved { by, plan: plan.clone() }, "control.approve")
            }
            other => Decision::Await(WaitingOn::Approval {
                plan: plan.0.clone(),
                given: other.as_ref().map(|a| super::cut(&a.plan_hash.0, 64)),
            }),
        }
    }

    fn queued(&self) -> Decision {
        match (&self.seen.lock, &self.seen.target) {
            (LockView::Held { epoch }, _) => {
                record(Shared::HoldGranted { epoch: *epoch }, format!("hold {epoch} stands in the lock"))
            }
            (_, Target::NotReady { reason, message }) => {
                Decision::Await(WaitingOn::Target { reason, message: message.clone() })
            }
            (_, Target::Unknown) | (LockView::Unknown, Target::Ready) => Decision::Await(WaitingOn::Target {
                reason: "TargetUnknown",
                message: format!("the CacheCluster {} has not been looked at yet", self.spec.target),
            }),
            (LockView::Available, Target::Ready) => Decision::TakeHold,
            (LockView::Blocked { by }, Target::Ready) => Decision::Await(WaitingOn::Lock { blocker: by.clone() }),
        }
    }

    fn arm<A: Known>(&self, arm: &A) -> Decision {
        let irreversible = arm.irreversible(self.op.intent.as_ref());
        match self.ending() {
            Some((Shared::CancelRequested { .. }, because)) if irreversible => {
                if !self.op.cancel_noted {
                    return record(Shared::CancelTooLate {}, because);
                }
            }
            Some((event, because)) => return record(event, because),
            None => {}
        }
        if self.spec.control.suspend && !irreversible {
            return record(Shared::Suspended {}, "control.suspend");
        }
        if let Some(left) = self.backoff_left() {
            let reason = "the last attempt failed".into();
            return Decision::Await(WaitingOn::Backoff { remaining_ms: left, reason });
        }
        let view = View {
            spec: self.spec,
            intent: self.op.intent.as_ref(),
            intent_view: self.seen.intent,
            outcome: self.seen.outcome.as_ref(),
            answer: self.seen.answer.as_ref().map(Result::as_ref),
            since_entry_ms: self.seen.since_entry_ms,
        };
        match arm.decide(&view) {
            Act::Record { event, because, intend } => {
                let because = super::cut(&because, crate::journal::MAX_BECAUSE);
                Decision::Record { event: A::event(event), because, intend }
            }
            Act::Intend { effect, because } => intend(effect, &because),
            Act::Await(waiting) => self.wait(waiting),
            Act::Retry { reason, message } => self.retry(reason, &message),
            Act::Fail { reason, message } => {
                let why = Failure::new(&reason, message);
                let because = why.reason.clone();
                record(Shared::Aborted { why }, because)
            }
        }
    }

    /// Milliseconds until the next attempt is due, when the last entry was a failed one.
    fn backoff_left(&self) -> Option<i64> {
        if self.op.failures == 0 || self.op.intent.is_some() {
            return None;
        }
        let left = self.spec.retry_policy.backoff_ms(self.op.failures) - self.seen.since_entry_ms;
        (left > 0 && self.seen.last_was_failure).then_some(left)
    }

    fn retry(&self, reason: &str, message: &str) -> Decision {
        let limit = i64::from(self.spec.retry_policy.limit);
        if self.op.failures < limit {
            let why = Failure::new(reason, message);
            return record(Shared::AttemptFailed { why }, format!("attempt {} of {}", self.op.failures + 1, limit + 1));
        }
        let message = if limit == 0 { message.to_owned() } else { format!("{message} (after {} attempts)", limit + 1) };
        record(Shared::Aborted { why: Failure::new(reason, message) }, "no attempt is left")
    }

    /// Brings the engine to rest: wait until nothing forward can land, then stop, then read back.
    fn halt<A: Known>(&self, at: &A, step: &str) -> Decision {
        let stop = |e: &Effect| matches!(e, Effect::StopLoad { .. } | Effect::CancelMetadata { .. });
        let forward = self.op.intent.as_ref().is_some_and(|i| !stop(&i.effect));
        let answer = match &self.seen.answer {
            Some(Ok(answer)) => Some(answer),
            Some(Err(t)) => return self.cannot_halt(step, t.kind.reason(), &t.message),
            None => None,
        };
        if at.halt_query(self.spec).is_some() && answer.is_none() {
            return self.cannot_halt(step, "EngineNotAsked", "the engine has not been asked yet");
        }
        if let Some(crate::effect::Outcome::Refused { message, .. }) = &self.seen.outcome {
            return self.cannot_halt(step, "EngineRefused", message);
        }
        if forward && let IntentView::Landing { remaining_ms } = self.seen.intent {
            return Decision::Await(WaitingOn::Settling { remaining_ms });
        }
        self.halted(at, answer, forward, step)
    }

    fn halted<A: Known>(&self, at: &A, answer: Option<&Answer>, forward: bool, step: &str) -> Decision {
        let stopped = !forward && self.op.intent.is_some();
        let told = matches!(self.seen.outcome, Some(crate::effect::Outcome::Done(_)));
        match at.halt(answer) {
            // Without a question there is nothing to read back: one accepted call is enough.
            Some(effect) if at.halt_query(self.spec).is_none() && !(stopped && told) => self.stop(effect, step),
            Some(effect) if at.halt_query(self.spec).is_some() => self.stop(effect, step),
            Some(_) | None => record(Shared::Halted {}, "nothing of this operation runs in the engine"),
        }
    }

    /// Sends the stopping effect; again only when the last one cannot land any more or was answered.
    fn stop(&self, effect: Effect, step: &str) -> Decision {
        if self.op.intent.as_ref().is_some_and(|i| i.effect == effect) {
            if let IntentView::Landing { remaining_ms } = self.seen.intent {
                return Decision::Await(WaitingOn::Settling { remaining_ms });
            }
            if self.seen.since_step_ms >= CLEANUP_BOUND_MS || self.seen.since_entry_ms < STOP_PAUSE_MS {
                return self.cannot_halt(step, "NotAtRest", "the engine has not come to rest yet");
            }
        }
        intend(effect, "the engine is to come to rest")
    }

    /// The engine does not let itself be brought to rest: wait, but not for ever.
    fn cannot_halt(&self, step: &str, reason: &'static str, message: &str) -> Decision {
        if self.seen.since_step_ms < CLEANUP_BOUND_MS {
            return Decision::Await(WaitingOn::Engine { reason, message: message.into() });
        }
        let message = format!(
            "{step} could not be finished in {} s: {}; mend the engine and raise control.retry, or skip the clean-up \
             with control.skip.step: {step}",
            CLEANUP_BOUND_MS / 1000,
            super::cut(message, 120)
        );
        record(Shared::GotStuck { why: Failure::new(reason, message) }, "clean-up bound")
    }

    fn paused(&self) -> Decision {
        if let Some((event, because)) = self.ending() {
            return record(event, because);
        }
        if self.spec.control.suspend {
            return Decision::Await(WaitingOn::Suspended);
        }
        record(Shared::Resumed {}, "control.suspend is false")
    }

    fn stuck(&self, during: &During, why: &Failure) -> Decision {
        let control = &self.spec.control;
        if let Some(skip) = &control.skip
            && skip.step == during.name()
        {
            let (step, by) = (skip.step.clone(), super::cut(&skip.by, 253));
            return record(Shared::StepSkipped { step, by }, "control.skip");
        }
        if control.retry > self.op.handled_retry {
            return record(Shared::RetryRequested { count: control.retry }, "control.retry");
        }
        let cancelling = matches!(during, During::Cancelling {});
        if let Some((event @ Shared::CancelRequested { .. }, because)) = self.ending()
            && !cancelling
        {
            return record(event, because);
        }
        Decision::Await(WaitingOn::Stuck { message: why.message.clone() })
    }
}

/// The transition that records an intent and nothing else.
fn intend(effect: Effect, because: &str) -> Decision {
    Decision::Record {
        event: Event::Shared(Shared::Intended {}),
        because: super::cut(because, crate::journal::MAX_BECAUSE),
        intend: Some(effect),
    }
}
