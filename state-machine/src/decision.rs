//! What `decide` may answer. Doing nothing has a type: `Await` carries the reason, and the reason carries a
//! sentence for `kubectl` and the time after which to look again. There is no other way to do nothing, except
//! `Rest`, which means that the operation is over.

use crate::effect::{Effect, Intent};
use crate::operation::Event;

/// The one thing to do next.
#[derive(Debug, Clone, PartialEq)]
pub enum Decision {
    /// Write this transition (and the intent of the next effect in the same write).
    Record {
        /// What happened.
        event: Event,
        /// The few facts that decided, at most [`crate::journal::MAX_BECAUSE`] bytes.
        because: String,
        /// The effect to be tried next, persisted by the same write.
        intend: Option<Effect>,
    },
    /// Try the effect of the intent that is already persisted by this writer.
    Perform(Intent),
    /// Take the lock: the transition follows when the hold is seen.
    TakeHold,
    /// Give the lock back.
    Release,
    /// Move the journal into segments; the `Sealed` entry follows.
    Seal,
    /// Do nothing now.
    Await(WaitingOn),
    /// Do nothing ever again.
    Rest,
}

/// How far a piece of work is.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Progress {
    /// Units done.
    pub done: i64,
    /// Units in all, 0 while unknown.
    pub total: i64,
    /// `bytes`, `files` or `entries`.
    pub unit: &'static str,
}

/// Every reason to do nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WaitingOn {
    /// `control.suspend` is true.
    Suspended,
    /// Operations that have to finish first.
    Predecessors {
        /// Their names, comma separated.
        names: String,
    },
    /// A person has to approve the plan.
    Approval {
        /// Hash to approve.
        plan: String,
        /// Hash that was approved instead, if any.
        given: Option<String>,
    },
    /// The target is not usable.
    Target {
        /// Condition reason.
        reason: &'static str,
        /// Sentence.
        message: String,
    },
    /// Another operation comes first.
    Lock {
        /// Which one, and why.
        blocker: String,
    },
    /// The engine does not answer.
    Engine {
        /// Condition reason.
        reason: &'static str,
        /// Sentence.
        message: String,
    },
    /// No worker serves.
    NoWorkers,
    /// Somebody else's job works on the path.
    ForeignJob {
        /// The path.
        path: String,
    },
    /// An effect of an earlier process or of a lost call may still land.
    Settling {
        /// Milliseconds until it cannot any more.
        remaining_ms: i64,
    },
    /// The pause before the next attempt.
    Backoff {
        /// Milliseconds left.
        remaining_ms: i64,
        /// What failed.
        reason: String,
    },
    /// The engine is at work.
    Work(Progress),
    /// Members of the cache have to get ready.
    Members {
        /// How many are.
        progress: Progress,
        /// What is wrong with the first that is not.
        message: String,
    },
    /// Something has to become less.
    Counted {
        /// Condition reason.
        reason: &'static str,
        /// Sentence.
        message: String,
        /// How much is left.
        progress: Progress,
    },
    /// A person has to look.
    Stuck {
        /// What is wrong and what to do.
        message: String,
    },
    /// The status was written by a newer controller.
    NewerController {
        /// Its machine version.
        version: i64,
    },
}

impl WaitingOn {
    /// The condition reason, in CamelCase.
    #[must_use]
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::Suspended => "Suspended",
            Self::Predecessors { .. } => "WaitingForPredecessors",
            Self::Approval { .. } => "WaitingForApproval",
            Self::Target { reason, .. } | Self::Engine { reason, .. } | Self::Counted { reason, .. } => {
                reason
            }
            Self::Lock { .. } => "WaitingForLock",
            Self::NoWorkers => "NoLiveWorkers",
            Self::ForeignJob { .. } => "ForeignJob",
            Self::Settling { .. } => "Settling",
            Self::Backoff { .. } => "Backoff",
            Self::Work(_) => "Working",
            Self::Members { .. } => "WaitingForMembers",
            Self::Stuck { .. } => "Stuck",
            Self::NewerController { .. } => "WaitingForNewerController",
        }
    }

    /// What is waited for, in a sentence that stays the same while the reason does.
    #[must_use]
    pub fn message(&self) -> String {
        match self {
            Self::Suspended => "paused by control.suspend; set it to false to go on".into(),
            Self::Predecessors { names } => format!("waits for {names} to finish"),
            Self::Approval { plan, given: None } => {
                format!("waits for approval: set control.approve.planHash to {plan}")
            }
            Self::Approval { plan, given: Some(given) } => {
                format!("the approved plan {given} is not this one; approve {plan}")
            }
            Self::Target { message, .. }
            | Self::Engine { message, .. }
            | Self::Members { message, .. }
            | Self::Counted { message, .. }
            | Self::Stuck { message } => message.clone(),
            Self::Lock { blocker } => format!("waits for {blocker}"),
            Self::NoWorkers => "no worker of the cache is live; start one".into(),
            Self::ForeignJob { path } => {
                format!("a load of {path} that Ratchet did not start is running; wait for it or stop it")
            }
            Self::Settling { .. } => {
                "an earlier call to the engine may still take effect; waits until it cannot".into()
            }
            Self::Backoff { reason, .. } => format!("tries again after a pause: {reason}"),
            Self::Work(_) => "the engine is at work".into(),
            Self::NewerController { version } => {
                format!(
                    "written by a controller with machine version {version}; this one knows {}; upgrade it",
                    crate::MACHINE_VERSION
                )
            }
        }
    }

    /// How far the work is, where that is known.
    #[must_use]
    pub const fn progress(&self) -> Option<&Progress> {
        if let Self::Work(p) | Self::Members { progress: p, .. } | Self::Counted { progress: p, .. } = self {
            Some(p)
        } else {
            None
        }
    }

    /// Milliseconds after which to look again; `None` when only a watch event can change the answer.
    #[must_use]
    pub const fn recheck_ms(&self) -> Option<i64> {
        match self {
            Self::Suspended | Self::NewerController { .. } => None,
            // An upgrade that halts for somebody's word has members that may not stay well.
            Self::Approval { .. }
            | Self::Predecessors { .. }
            | Self::Lock { .. }
            | Self::Target { .. }
            | Self::Stuck { .. } => Some(30_000),
            Self::Engine { .. }
            | Self::NoWorkers
            | Self::ForeignJob { .. }
            | Self::Members { .. }
            | Self::Counted { .. } => Some(3_000),
            Self::Settling { remaining_ms } => {
                Some(if *remaining_ms < 1_000 { *remaining_ms } else { 1_000 })
            }
            Self::Backoff { remaining_ms, .. } => Some(*remaining_ms),
            Self::Work(_) => Some(1_000),
        }
    }

    /// Whether time spent in this wait counts towards the stall deadline. A wait for a person or for a turn
    /// does not.
    #[must_use]
    pub const fn may_stall(&self) -> bool {
        match self {
            Self::Predecessors { .. }
            | Self::Engine { .. }
            | Self::NoWorkers
            | Self::ForeignJob { .. }
            | Self::Settling { .. }
            | Self::Members { .. }
            | Self::Counted { .. }
            | Self::Work(_) => true,
            Self::Suspended
            | Self::Approval { .. }
            | Self::Target { .. }
            | Self::Lock { .. }
            | Self::Backoff { .. }
            | Self::Stuck { .. }
            | Self::NewerController { .. } => false,
        }
    }
}
