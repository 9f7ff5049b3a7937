//! The shared part of the decision, in the order in which things take precedence:
//!
//! ```text
//!   newer controller? -> over? -> own unsent intent -> (cancel, deadline, pause) -> hold, back-off, the step itself
//! ```
//!
//! Total and pure: every state and every observation gives exactly one [`Decision`].

use super::fold::Folded;
use super::halt::{allows, halt_is_due};
use super::step::{During, Failure, Shared, Step};
use crate::MACHINE_VERSION;
use crate::decision::{Decision, WaitingOn};
use crate::effect::{Effect, Query};
use crate::observation::{IntentView, LockView, Observation, PredecessorState, Target};
use crate::operation::arm::{Act, Arm, View};
use crate::operation::{Event, Known, dispatch};
use crate::spec::{Approval, Ended, OperationSpec};

/// Condition reason: the lock was looked at and does not show the hold.
pub(super) const HOLD_LOST: &str = "HoldLost";

/// What has to be asked of the engine before [`decide`] can say anything but "not yet".
#[must_use]
pub fn query(spec: &OperationSpec, op: &Folded) -> Option<Query> {
    fn go<A: Known>(step: &Step<A>, spec: &OperationSpec, op: &Folded) -> Option<Query> {
        match step {
            Step::Arm(a) => a.query(spec, op.intent.as_ref()),
            Step::Pausing { at } | Step::Cancelling { at } | Step::Aborting { at, .. } => at.halt_query(spec),
            Step::RollingBack { at, .. } => at.back_query(op.intent.as_ref()),
            Step::Pending {}
            | Step::AwaitingApproval {}
            | Step::Queued {}
            | Step::Paused { .. }
            | Step::Stuck { .. }
            | Step::Succeeded {}
            | Step::Failed { .. }
            | Step::RolledBack { .. }
            | Step::Cancelled {} => None,
        }
    }
    dispatch!(&op.state, s => go(s, spec, op))
}

/// Whether the question of [`query`] is asked, when an effect was just answered or not: mostly that answer decides.
#[must_use]
pub fn asks(op: &Folded, answered: bool) -> bool {
    const fn own<A>(step: &Step<A>) -> Option<&A> {
        if let Step::Arm(a) = step { Some(a) } else { None }
    }
    !answered || halt_is_due(op) || dispatch!(&op.state, s => own(s).is_some_and(Arm::looks_on))
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
    let cx = Cx { spec, op, seen };
    // The intent that this process has just written: send it, whatever else was seen meanwhile. But what was asked
    // to come to rest after it was written is not begun, and who lost its hold does nothing.
    if let (Some(intent), IntentView::Sendable) = (&op.intent, seen.intent)
        && allows(&op.state, &intent.effect)
    {
        return cx.without_hold().map_or_else(|| Decision::Perform(intent.clone()), Decision::Await);
    }
    dispatch!(&op.state, s => cx.step(s))
}

/// What is left after the end: give the lock back, seal, rest. A hold that nobody looked for may be there still;
/// where the target names no lock, there is none to give back. A hold that a lagging replica took in the name of a
/// settled operation is void; whoever needs it frees it.
fn over(op: &Folded, seen: &Observation) -> Decision {
    match (&seen.lock, &seen.target) {
        _ if op.settled() => Decision::Rest,
        (LockView::Held { .. }, _) => Decision::Release,
        (LockView::Available | LockView::Blocked { .. }, _)
        | (LockView::Unknown, Target::NotReady { .. }) => Decision::Seal,
        (LockView::Unknown, Target::Unknown | Target::Ready) => Decision::Await(WaitingOn::Target {
            reason: "TargetUnknown",
            message: "the lock of the cache has not been looked at yet".into(),
        }),
    }
}

pub(super) struct Cx<'a> {
    pub(super) spec: &'a OperationSpec,
    pub(super) op: &'a Folded,
    pub(super) seen: &'a Observation,
}

pub(super) fn record(event: Shared, because: impl AsRef<str>) -> Decision {
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
            Step::RollingBack { at, .. } => self.roll_back(at),
            Step::Stuck { during, why, .. } => self.stuck(during, why),
            Step::Succeeded {} | Step::Failed { .. } | Step::Cancelled {} | Step::RolledBack { .. } => {
                Decision::Rest
            }
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
        self.late()
    }

    fn late(&self) -> Option<(Shared, String)> {
        let deadline = self.spec.deadline_seconds?;
        (self.seen.age_ms >= deadline.saturating_mul(1000)).then(|| {
            let because = format!("not finished {deadline} s after its creation (deadlineSeconds)");
            (Shared::Aborted { why: Failure::new("DeadlineExceeded", &because) }, because)
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
        // Who stands in the lock is not queued any more: it says so first, and then pauses with its hold.
        let held = matches!(self.seen.lock, LockView::Held { .. });
        (self.spec.control.suspend && !held).then_some(Decision::Await(WaitingOn::Suspended))
    }

    /// Somebody else may work on the paths when the lock, looked at, does not show the hold that was recorded.
    pub(super) fn without_hold(&self) -> Option<WaitingOn> {
        let recorded = self.op.fence.epoch;
        let stands = match self.seen.lock {
            LockView::Unknown => true,
            LockView::Held { epoch } => epoch == recorded,
            LockView::Available | LockView::Blocked { .. } => false,
        };
        let message =
            format!("hold {recorded} of this operation does not stand in the lock of the cache any more");
        (!stands).then_some(WaitingOn::Engine { reason: HOLD_LOST, message })
    }

    fn pending(&self) -> Decision {
        let mut open: Vec<&str> = Vec::new();
        for (wanted, seen) in self.spec.run_after.iter().zip(&self.seen.predecessors) {
            let met = match (seen.state, wanted.on) {
                (PredecessorState::Missing | PredecessorState::Unfinished, _) => None,
                (PredecessorState::Succeeded, Ended::Succeeded | Ended::Finished)
                | (PredecessorState::Failed, Ended::Failed | Ended::Finished) => Some(true),
                (PredecessorState::Succeeded, Ended::Failed)
                | (PredecessorState::Failed, Ended::Succeeded) => Some(false),
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
            (LockView::Blocked { by, in_use }, Target::Ready) => {
                if *in_use && !self.spec.operation.waits_its_turn() {
                    let message =
                        format!("the path is in use by {by}; try again later, or set whenInUse to Wait");
                    return record(Shared::Aborted { why: Failure::new("PathInUse", message) }, by);
                }
                Decision::Await(WaitingOn::Lock { blocker: by.clone() })
            }
        }
    }

    fn arm<A: Known>(&self, arm: &A) -> Decision {
        let irreversible = arm.irreversible(self.op.intent.as_ref());
        let ending = match self.ending() {
            Some((Shared::CancelRequested { .. }, because)) if irreversible => {
                if !self.op.cancel_noted {
                    return record(Shared::CancelTooLate {}, because);
                }
                self.late()
            }
            other => other,
        };
        if let Some((event, because)) = ending {
            return record(event, because);
        }
        if self.spec.control.suspend && !irreversible && arm.pauses(self.op.intent.as_ref()) {
            return record(Shared::Suspended {}, "control.suspend");
        }
        if let Some(waiting) = self.without_hold() {
            return self.wait(waiting);
        }
        if let Some(left) = self.backoff_left() {
            let reason = "the last attempt failed".into();
            return Decision::Await(WaitingOn::Backoff { remaining_ms: left, reason });
        }
        match arm.decide(&self.view()) {
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

    pub(super) fn view(&self) -> View<'_> {
        View {
            spec: self.spec,
            intent: self.op.intent.as_ref(),
            intent_view: self.seen.intent,
            outcome: self.seen.outcome.as_ref(),
            answer: self.seen.answer.as_ref().map(Result::as_ref),
            since_entry_ms: self.seen.since_entry_ms,
            watched_ms: self.seen.watched_entry_ms,
        }
    }

    /// Milliseconds until the next attempt is due, when the last entry was a failed one.
    fn backoff_left(&self) -> Option<i64> {
        if self.op.failures == 0 || self.op.intent.is_some() {
            return None;
        }
        let left = self.spec.retry_policy.backoff_ms(self.op.failures) - self.seen.since_entry_ms.max(0);
        (left > 0 && self.seen.last_was_failure).then_some(left)
    }

    fn retry(&self, reason: &str, message: &str) -> Decision {
        let limit = i64::from(self.spec.retry_policy.limit);
        if self.op.failures < limit {
            let why = Failure::new(reason, message);
            return record(
                Shared::AttemptFailed { why },
                format!("attempt {} of {}", self.op.failures + 1, limit + 1),
            );
        }
        let message =
            if limit == 0 { message.to_owned() } else { format!("{message} (after {} attempts)", limit + 1) };
        record(Shared::Aborted { why: Failure::new(reason, message) }, "no attempt is left")
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
        // Whatever the way out is, it is not taken while a call may still land.
        if let IntentView::Landing { remaining_ms } = self.seen.intent {
            return Decision::Await(WaitingOn::Settling { remaining_ms });
        }
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
        let cancelling = matches!(during, During::Cancelling {} | During::RollingBack { .. });
        if let Some((event @ Shared::CancelRequested { .. }, because)) = self.ending()
            && !cancelling
        {
            return record(event, because);
        }
        Decision::Await(WaitingOn::Stuck { message: why.message.clone() })
    }
}

/// The transition that records an intent and nothing else.
pub(super) fn intend(effect: Effect, because: &str) -> Decision {
    Decision::Record {
        event: Event::Shared(Shared::Intended {}),
        because: super::cut(because, crate::journal::MAX_BECAUSE),
        intend: Some(effect),
    }
}

#[cfg(test)]
#[path = "decide_tests.rs"]
mod tests;
