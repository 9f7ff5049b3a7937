//! Bringing the engine to rest, before a pause, a cancel or a failure:
//!
//! ```text
//!   nothing forward can land -> stop -> (again, ever more rarely) -> read back: at rest
//!                                          \--> the clean-up bound is over: stuck
//! ```

use super::decide::{Cx, HOLD_LOST, intend, record};
use super::fold::Folded;
use super::step::{Failure, Shared};
use crate::decision::{Decision, WaitingOn};
use crate::drain::Call;
use crate::effect::{Effect, Outcome};
use crate::observation::IntentView;
use crate::operation::arm::Unrest;
use crate::operation::{Known, State};

/// How long an operation tries to bring the engine to rest before it is Stuck (or, when the object is being
/// deleted, lets it go), in milliseconds.
pub const CLEANUP_BOUND_MS: i64 = 600_000;

/// Shortest pause between two stopping calls, in milliseconds; it grows with the time that has been spent.
const STOP_PAUSE_MS: i64 = 2_000;

/// Whether the operation is bringing its engine to rest.
#[must_use]
pub fn halt_is_due(op: &Folded) -> bool {
    resting(&op.state)
}

/// The same of a state. Taking back is part of it.
pub(super) fn resting(state: &State) -> bool {
    matches!(state.step(), "pausing" | "cancelling" | "aborting" | ROLLING_BACK)
}

/// The step in which an operation takes back what it did.
const ROLLING_BACK: &str = "rollingBack";

/// Whether an effect may be begun in a state: while the engine is brought to rest nothing works forward. Who takes back an
/// upgrade takes workers out of use once more before their pods go.
pub(super) fn allows(state: &State, effect: &Effect) -> bool {
    let again = matches!(effect, Effect::OnWorkers { call: Call::Decommission, .. });
    !resting(state) || effect.stops() || (again && state.step() == ROLLING_BACK)
}

impl Cx<'_> {
    /// Brings the engine to rest: wait until nothing can land, then stop, then read back.
    pub(super) fn halt<A: Known>(&self, at: &A, step: &str) -> Decision {
        if let Some(waiting) = self.without_hold() {
            return self.cannot_halt(step, HOLD_LOST, &waiting.message());
        }
        let query = at.halt_query(self.spec);
        let answer = match (&query, &self.seen.answer) {
            (Some(_), Some(Err(t))) => return self.cannot_halt(step, t.kind.reason(), &t.message),
            (Some(q), Some(Ok(answer))) if self.seen.answers(q) => Some(answer),
            (Some(_), _) => {
                return self.cannot_halt(step, "EngineNotAsked", "the engine has not been asked yet");
            }
            (None, _) => None,
        };
        // A stopping call that was answered has landed; what works forward waits for the engine's delay as well.
        let stopping = self.op.intent.as_ref().is_some_and(|i| i.effect.stops());
        let told = stopping && matches!(self.seen.outcome, Some(Outcome::Done(_)));
        let refused = stopping && matches!(self.seen.outcome, Some(Outcome::Refused { .. }));
        if let IntentView::Landing { remaining_ms } = self.seen.intent
            && !told
            && !refused
        {
            return Decision::Await(WaitingOn::Settling { remaining_ms });
        }
        if let Some(progress) = at.unstoppable(answer) {
            return Decision::Await(WaitingOn::Work(progress));
        }
        let next = at.halt(answer);
        let last = self.op.intent.as_ref().map(|i| &i.effect);
        let watched_ms = self.seen.watched_entry_ms;
        if let Some(message) = at.unrest(&Unrest { answer, next: next.as_ref(), last, watched_ms }) {
            return self.cannot_halt(step, "NotAtRest", &message);
        }
        match next {
            // Without a question there is nothing to read back: one accepted call is enough.
            Some(effect) if query.is_some() || !told => self.stop(effect, step),
            Some(_) | None => record(Shared::Halted {}, "nothing of this operation runs in the engine"),
        }
    }

    /// Sends the stopping effect, and again after a pause.
    fn stop(&self, effect: Effect, step: &str) -> Decision {
        if self.op.intent.as_ref().is_some_and(|i| i.effect == effect) {
            let (spent, pause) = (self.seen.since_step_ms, (self.seen.since_step_ms / 2).max(STOP_PAUSE_MS));
            if spent >= CLEANUP_BOUND_MS || self.seen.since_entry_ms < pause {
                return match &self.seen.outcome {
                    Some(Outcome::Refused { message, .. }) => {
                        self.cannot_halt(step, "EngineRefused", message)
                    }
                    Some(Outcome::Done(_) | Outcome::Unknown { .. }) | None => {
                        self.cannot_halt(step, "NotAtRest", "the engine has not come to rest yet")
                    }
                };
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
}

#[cfg(test)]
#[path = "halt_tests.rs"]
mod tests;
