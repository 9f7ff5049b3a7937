//! Taking back what an operation did, before a cancel or a failure ends it:
//!
//! ```text
//!   nothing forward can land -> the arm's next step back -> ... -> all is as it was: rolledBack, or cancelled
//!                                  \--> nothing got on for the clean-up bound: stuck
//! ```
//!
//! Each step back is an effect of its own, persisted before it is tried; what is next follows from what is seen alone, so that
//! whoever takes over goes on.

use super::decide::{Cx, HOLD_LOST, intend, record};
use super::halt::CLEANUP_BOUND_MS;
use super::step::{Failure, Shared};
use crate::decision::{Decision, WaitingOn};
use crate::effect::Outcome;
use crate::observation::IntentView;
use crate::operation::Known;
use crate::operation::arm::Back;

/// Shortest and longest pause before the same effect is tried again, in milliseconds; it grows with the time that was spent.
const PAUSE_MS: (i64, i64) = (2_000, 60_000);
/// So long the way back may take at most while the same effect is tried over and over, in milliseconds.
const OVER_AND_OVER_MS: i64 = 6 * CLEANUP_BOUND_MS;

impl Cx<'_> {
    pub(super) fn roll_back<A: Known>(&self, at: &A) -> Decision {
        if let Some(waiting) = self.without_hold() {
            return self.bounded(HOLD_LOST, waiting);
        }
        if let IntentView::Landing { remaining_ms } = self.seen.intent {
            return Decision::Await(WaitingOn::Settling { remaining_ms });
        }
        match at.back(&self.view()) {
            Back::Done(because) => record(Shared::Halted {}, because),
            Back::Wait(waiting) => self.bounded(waiting.reason(), waiting),
            Back::Do { effect, because } => {
                let again = self.op.intent.as_ref().is_some_and(|i| i.effect == effect);
                let spent = self.seen.since_step_ms;
                let pause = (spent / 4).clamp(PAUSE_MS.0, PAUSE_MS.1);
                let no = match &self.seen.outcome {
                    Some(Outcome::Refused { message, .. }) => message,
                    Some(Outcome::Done(_) | Outcome::Unknown { .. }) | None => &because,
                };
                let message = format!("{} is tried again: {no}", effect.name());
                let waiting = WaitingOn::Engine { reason: "NotBackYet", message };
                if again && spent >= OVER_AND_OVER_MS {
                    return self.stuck_back("NotBackYet", &waiting.message());
                }
                if again && self.seen.since_entry_ms < pause {
                    return self.bounded("NotBackYet", waiting);
                }
                intend(effect, &because)
            }
        }
    }

    /// Waits, but not for ever.
    fn bounded(&self, reason: &str, waiting: WaitingOn) -> Decision {
        if self.seen.watched_entry_ms < CLEANUP_BOUND_MS {
            return Decision::Await(waiting);
        }
        self.stuck_back(reason, &waiting.message())
    }

    fn stuck_back(&self, reason: &str, message: &str) -> Decision {
        let message = format!(
            "the way back does not get on: {}; mend that and raise control.retry, or leave the cache as it is with \
             control.skip.step: rollingBack",
            super::cut(message, 150)
        );
        record(Shared::GotStuck { why: Failure::new(reason, message) }, "clean-up bound")
    }
}
