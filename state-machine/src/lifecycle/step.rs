//! The steps and events that every operation shares, and their law.
//!
//! ```text
//!  (born) -> pending -> awaitingApproval -> queued -> [ the arm's own steps ] -> succeeded
//!                \____________\_______________\            |   ^   ^
//!                              cancelled / failed          v   |   |  resumed, retried
//!                                                 pausing -> paused |
//!                                              cancelling -> cancelled
//!                                                aborting -> failed
//!                                             rollingBack -> rolledBack / cancelled
//!                                                     \--> stuck
//! ```
//!
//! Pausing, cancelling and aborting are one thing: the work in the engine is brought to rest, and then the
//! operation goes where it was meant to go. `at` is the arm's step in which it was interrupted. Where that is not enough,
//! because what was done has to be taken back (an upgrade), it rolls back instead of cancelling or aborting.

pub use super::event::{During, Failure, Shared, cut};
use crate::machine::{Edge, Illegal, Phase, edge};
use crate::operation::arm::{Arm, Next};
use serde::{Deserialize, Serialize};

/// A typed state: a shared step, or one of the arm's own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Step<A> {
    /// Waits for its predecessors.
    Pending {},
    /// Waits for a person to approve the plan.
    AwaitingApproval {},
    /// Waits for the lock of the engine.
    Queued {},
    /// Brings the engine to rest before a pause.
    Pausing {
        /// Where it was.
        at: A,
    },
    /// At rest on request; keeps its hold.
    Paused {
        /// Where it goes on.
        at: A,
    },
    /// Brings the engine to rest before it ends on request.
    Cancelling {
        /// Where it was.
        at: A,
    },
    /// Brings the engine to rest before it fails.
    Aborting {
        /// Where it was.
        at: A,
        /// Why it fails.
        why: Failure,
    },
    /// Takes back what was done before it ends.
    RollingBack {
        /// Where it was.
        at: A,
        /// Why it does not succeed; none where that was asked for.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        why: Option<Failure>,
    },
    /// Cannot bring the engine to rest; needs a person.
    Stuck {
        /// Where it was.
        at: A,
        /// What it was doing.
        during: During,
        /// What is wrong.
        why: Failure,
    },
    /// Over, and read back from the engine.
    Succeeded {},
    /// Over without success.
    Failed {
        /// Why.
        why: Failure,
    },
    /// Over on request.
    Cancelled {},
    /// Over, and what was done is taken back.
    RolledBack {
        /// Why.
        why: Failure,
    },
    /// A step of the arm itself.
    #[serde(untagged)]
    Arm(A),
}

/// Names of the shared steps, with the phase of each.
pub const STEPS: [(&str, Phase); 11] = [
    ("pending", Phase::Pending),
    ("awaitingApproval", Phase::AwaitingApproval),
    ("queued", Phase::Queued),
    ("pausing", Phase::Paused),
    ("paused", Phase::Paused),
    ("cancelling", Phase::Cancelling),
    ("aborting", Phase::Running),
    ("stuck", Phase::Stuck),
    ("succeeded", Phase::Succeeded),
    ("failed", Phase::Failed),
    ("cancelled", Phase::Cancelled),
];

/// The steps of the way back, which only operations have that take back what they did.
pub const BACK_STEPS: [(&str, Phase); 2] =
    [("rollingBack", Phase::RollingBack), ("rolledBack", Phase::RolledBack)];

/// The moves of those.
pub const BACK_EDGES: &[Edge] = &[
    edge("pausing", "CancelRequested", "rollingBack"),
    edge("pausing", "Aborted", "rollingBack"),
    edge("paused", "CancelRequested", "rollingBack"),
    edge("paused", "Aborted", "rollingBack"),
    edge("rollingBack", "Intended", "rollingBack"),
    edge("rollingBack", "Halted", "rolledBack"),
    edge("rollingBack", "Halted", "cancelled"),
    edge("rollingBack", "GotStuck", "stuck"),
    edge("stuck", "RetryRequested", "rollingBack"),
    edge("stuck", "CancelRequested", "rollingBack"),
    edge("rolledBack", "Sealed", "rolledBack"),
];

/// The shared moves out of each step that is always taken back, instead of those of [`ARM_EDGES`] to an end.
pub const TAKEN_BACK_EDGES: &[Edge] =
    &[edge("*", "CancelRequested", "rollingBack"), edge("*", "Aborted", "rollingBack")];

/// The shared moves that do not touch the arm's own steps.
pub const EDGES: &[Edge] = &[
    edge("", "Created", "pending"),
    edge("", "Created", "awaitingApproval"),
    edge("", "Created", "queued"),
    edge("pending", "PredecessorsDone", "awaitingApproval"),
    edge("pending", "PredecessorsDone", "queued"),
    edge("pending", "CancelRequested", "cancelled"),
    edge("pending", "Aborted", "failed"),
    edge("awaitingApproval", "Approved", "queued"),
    edge("awaitingApproval", "CancelRequested", "cancelled"),
    edge("awaitingApproval", "Aborted", "failed"),
    edge("queued", "CancelRequested", "cancelled"),
    edge("queued", "Aborted", "failed"),
    edge("pausing", "Intended", "pausing"),
    edge("pausing", "CancelRequested", "cancelling"),
    edge("pausing", "Aborted", "aborting"),
    edge("pausing", "Halted", "paused"),
    edge("pausing", "GotStuck", "stuck"),
    edge("paused", "CancelRequested", "cancelled"),
    edge("paused", "Aborted", "failed"),
    edge("cancelling", "Intended", "cancelling"),
    edge("cancelling", "Halted", "cancelled"),
    edge("cancelling", "GotStuck", "stuck"),
    edge("aborting", "Intended", "aborting"),
    edge("aborting", "Halted", "failed"),
    edge("aborting", "GotStuck", "stuck"),
    edge("stuck", "RetryRequested", "pausing"),
    edge("stuck", "RetryRequested", "cancelling"),
    edge("stuck", "RetryRequested", "aborting"),
    edge("stuck", "CancelRequested", "cancelling"),
    edge("stuck", "StepSkipped", "paused"),
    edge("stuck", "StepSkipped", "cancelled"),
    edge("stuck", "StepSkipped", "failed"),
    edge("succeeded", "Sealed", "succeeded"),
    edge("failed", "Sealed", "failed"),
    edge("cancelled", "Sealed", "cancelled"),
];

/// The shared moves out of each of the arm's own steps; their `from` stands for every such step.
pub const ARM_EDGES: &[Edge] = &[
    edge("*", "Intended", "*"),
    edge("*", "CancelTooLate", "*"),
    edge("*", "Suspended", "pausing"),
    edge("*", "Suspended", "paused"),
    edge("*", "CancelRequested", "cancelling"),
    edge("*", "CancelRequested", "cancelled"),
    edge("*", "Aborted", "aborting"),
    edge("*", "Aborted", "failed"),
];

impl<A: Arm> Step<A> {
    /// Name of the typed state: `status.step`.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Pending {} => "pending",
            Self::AwaitingApproval {} => "awaitingApproval",
            Self::Queued {} => "queued",
            Self::Pausing { .. } => "pausing",
            Self::Paused { .. } => "paused",
            Self::Cancelling { .. } => "cancelling",
            Self::Aborting { .. } => "aborting",
            Self::Stuck { .. } => "stuck",
            Self::Succeeded {} => "succeeded",
            Self::Failed { .. } => "failed",
            Self::Cancelled {} => "cancelled",
            Self::RollingBack { .. } => "rollingBack",
            Self::RolledBack { .. } => "rolledBack",
            Self::Arm(a) => a.name(),
        }
    }

    /// The coarse public word.
    pub fn phase(&self) -> Phase {
        crate::legality::phase(self.name())
    }

    /// The law for shared events. `busy` says that an effect may still be under way.
    ///
    /// # Errors
    /// [`Illegal`] when the step does not know the event.
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "an event that is not listed is illegal; the tests compare this with the table, pair by pair"
    )]
    pub fn on_shared(self, event: &Shared, busy: bool) -> Result<Self, Illegal> {
        let illegal = Illegal::new(self.name(), event.name());
        match self {
            Self::Pending {} => match event {
                Shared::PredecessorsDone { approval: true } => Ok(Self::AwaitingApproval {}),
                Shared::PredecessorsDone { approval: false } => Ok(Self::Queued {}),
                other => ended_early(other).ok_or(illegal),
            },
            Self::AwaitingApproval {} => match event {
                Shared::Approved { .. } => Ok(Self::Queued {}),
                other => ended_early(other).ok_or(illegal),
            },
            Self::Queued {} => match event {
                Shared::HoldGranted { .. } => Ok(Self::Arm(A::first())),
                other => ended_early(other).ok_or(illegal),
            },
            Self::Arm(at) => Self::arm_on_shared(at, event, busy).ok_or(illegal),
            Self::Pausing { at } => match event {
                Shared::Halted {} => Ok(Self::Paused { at }),
                Shared::CancelRequested { .. } => Ok(ending(at, false)),
                Shared::Aborted { why } => Ok(failing(at, why, false)),
                other => halting(at, During::Pausing {}, other).ok_or(illegal),
            },
            Self::Paused { at } => match event {
                Shared::Resumed {} => Ok(Self::Arm(at.resumed())),
                Shared::CancelRequested { .. } => Ok(ending(at, true)),
                Shared::Aborted { why } => Ok(failing(at, why, true)),
                _ => Err(illegal),
            },
            Self::Cancelling { at } => match event {
                Shared::Halted {} => Ok(Self::Cancelled {}),
                other => halting(at, During::Cancelling {}, other).ok_or(illegal),
            },
            Self::Aborting { at, why } => match event {
                Shared::Halted {} => Ok(Self::Failed { why }),
                other => halting(at, During::Aborting { why }, other).ok_or(illegal),
            },
            Self::RollingBack { at, why } => match event {
                Shared::Halted {} => Ok(taken_back(why)),
                other => halting(at, During::RollingBack { why }, other).ok_or(illegal),
            },
            Self::Stuck { at, during, why: _ } => out_of_stuck(at, during, event).ok_or(illegal),
            Self::Succeeded {} | Self::Failed { .. } | Self::Cancelled {} | Self::RolledBack { .. } => {
                match event {
                    Shared::Sealed { .. } => Ok(self),
                    _ => Err(illegal),
                }
            }
        }
    }

    /// Shared events in one of the arm's own steps.
    fn arm_on_shared(at: A, event: &Shared, busy: bool) -> Option<Self> {
        let rest = at.quiet() && !busy;
        match event {
            Shared::Intended {} | Shared::CancelTooLate {} => Some(Self::Arm(at)),
            Shared::AttemptFailed { .. } => Some(Self::Arm(at.retried())),
            Shared::Suspended {} if rest => Some(Self::Paused { at }),
            Shared::Suspended {} => Some(Self::Pausing { at }),
            Shared::CancelRequested { .. } => Some(ending(at, rest)),
            Shared::Aborted { why } => Some(failing(at, why, rest)),
            Shared::Created { .. }
            | Shared::PredecessorsDone { .. }
            | Shared::Approved { .. }
            | Shared::HoldGranted { .. }
            | Shared::Resumed {}
            | Shared::Halted {}
            | Shared::GotStuck { .. }
            | Shared::RetryRequested { .. }
            | Shared::StepSkipped { .. }
            | Shared::Sealed { .. } => None,
        }
    }

    /// The law for the arm's own events.
    ///
    /// # Errors
    /// [`Illegal`] when the step does not know the event.
    pub fn on_arm(self, event: A::Event) -> Result<Self, Illegal> {
        let illegal = Illegal::new(self.name(), A::event_name(&event));
        let Self::Arm(a) = self else { return Err(illegal) };
        match a.step(event)? {
            Next::Step(a) => Ok(Self::Arm(a)),
            Next::Succeeded => Ok(Self::Succeeded {}),
        }
    }

    /// What an operation is born as.
    #[must_use]
    pub const fn born(after: bool, approval: bool) -> Self {
        match (after, approval) {
            (true, _) => Self::Pending {},
            (false, true) => Self::AwaitingApproval {},
            (false, false) => Self::Queued {},
        }
    }
}

/// Where an end that was asked for leads. `rest`: nothing is at work in the engine.
fn ending<A: Arm>(at: A, rest: bool) -> Step<A> {
    match (at.rolls_back(), rest) {
        (true, _) => Step::RollingBack { at, why: None },
        (false, true) => Step::Cancelled {},
        (false, false) => Step::Cancelling { at },
    }
}

/// Where a failure leads.
fn failing<A: Arm>(at: A, why: &Failure, rest: bool) -> Step<A> {
    let why = why.clone();
    match (at.rolls_back(), rest) {
        (true, _) => Step::RollingBack { at, why: Some(why) },
        (false, true) => Step::Failed { why },
        (false, false) => Step::Aborting { at, why },
    }
}

/// The end after everything was taken back.
fn taken_back<A>(why: Option<Failure>) -> Step<A> {
    match why {
        Some(why) => Step::RolledBack { why },
        None => Step::Cancelled {},
    }
}

/// Before the lock is held, nothing has to be brought to rest.
fn ended_early<A>(event: &Shared) -> Option<Step<A>> {
    if let Shared::CancelRequested { .. } = event {
        Some(Step::Cancelled {})
    } else if let Shared::Aborted { why } = event {
        Some(Step::Failed { why: why.clone() })
    } else {
        None
    }
}

/// What pausing, cancelling and aborting have in common.
fn halting<A>(at: A, during: During, event: &Shared) -> Option<Step<A>> {
    if let Shared::GotStuck { why } = event {
        return Some(Step::Stuck { at, during, why: why.clone() });
    }
    matches!(event, Shared::Intended {}).then(|| back_to(at, during))
}

/// The step that `during` names.
fn back_to<A>(at: A, during: During) -> Step<A> {
    match during {
        During::Pausing {} => Step::Pausing { at },
        During::Cancelling {} => Step::Cancelling { at },
        During::Aborting { why } => Step::Aborting { at, why },
        During::RollingBack { why } => Step::RollingBack { at, why },
    }
}

/// The ways out of Stuck.
fn out_of_stuck<A: Arm>(at: A, during: During, event: &Shared) -> Option<Step<A>> {
    if let Shared::CancelRequested { .. } = event {
        return Some(ending(at, false));
    }
    if let Shared::RetryRequested { .. } = event {
        return Some(back_to(at, during));
    }
    if !matches!(event, Shared::StepSkipped { .. }) {
        return None;
    }
    Some(match during {
        During::Pausing {} => Step::Paused { at },
        During::Cancelling {} => Step::Cancelled {},
        During::Aborting { why } | During::RollingBack { why: Some(why) } => Step::Failed { why },
        During::RollingBack { why: None } => Step::Cancelled {},
    })
}
