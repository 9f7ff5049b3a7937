//! What a decision may look at: plain data, read before the decision and possibly stale. Nothing here is a
//! promise about the present; the writes that follow carry their own preconditions. Ages are measured by the
//! observing process on its monotonic clock, so that a jump of the wall clock ends nothing early.

use crate::effect::{Answer, Outcome, Query, Trouble};

/// Everything that was seen for one decision.
#[derive(Debug, Clone, Default)]
pub struct Observation {
    /// Milliseconds since the operation was created.
    pub age_ms: i64,
    /// Milliseconds since the last entry.
    pub since_entry_ms: i64,
    /// The same, as far as this process has seen it stand.
    pub watched_entry_ms: i64,
    /// Milliseconds since the present step was entered (or since the oldest entry that is still in the tail).
    pub since_step_ms: i64,
    /// The last entry was a failed attempt.
    pub last_was_failure: bool,
    /// Milliseconds without any progress in waits that count.
    pub stalled_ms: i64,
    /// Milliseconds since the deletion was asked for, when it was.
    pub deleting_for_ms: Option<i64>,
    /// The predecessors named in the spec, in that order.
    pub predecessors: Vec<Predecessor>,
    /// The cache that the operation works on.
    pub target: Target,
    /// The lock as this operation sees it.
    pub lock: LockView,
    /// The writer of the persisted intent, as far as this process can tell.
    pub intent: IntentView,
    /// Outcome of the persisted intent's effect, when this very process has just tried it.
    pub outcome: Option<Outcome>,
    /// The engine's answer to the question that the state asks, where it was asked.
    pub answer: Option<Result<Answer, Trouble>>,
}

/// A predecessor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Predecessor {
    /// Its name.
    pub name: String,
    /// How it is.
    pub state: PredecessorState,
}

/// How a predecessor is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PredecessorState {
    /// There is no such operation.
    Missing,
    /// It has not ended.
    Unfinished,
    /// It ended well.
    Succeeded,
    /// It ended otherwise.
    Failed,
}

/// The target of an operation.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Target {
    /// Not looked at.
    #[default]
    Unknown,
    /// Known, claimed by its CacheCluster, reachable through an engine.
    Ready,
    /// Not usable.
    NotReady {
        /// Condition reason.
        reason: &'static str,
        /// A sentence.
        message: String,
    },
}

/// The lock of the engine as one operation sees it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum LockView {
    /// Not looked at.
    #[default]
    Unknown,
    /// This operation has the hold with this id.
    Held {
        /// Id of the hold.
        epoch: i64,
    },
    /// It could be granted now.
    Available,
    /// Somebody else comes first.
    Blocked {
        /// Who, and why.
        by: String,
        /// Whether that is an operation which uses the same paths.
        in_use: bool,
    },
}

/// The persisted intent as this process sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum IntentView {
    /// There is none.
    #[default]
    None,
    /// This process wrote it, has not sent the effect and may still do so.
    Sendable,
    /// It may have been sent, by whomever, and may still land.
    Landing {
        /// Milliseconds until it cannot land any more.
        remaining_ms: i64,
    },
    /// Whatever was sent has landed or never will.
    Expired,
}

impl Observation {
    /// Whether the answer belongs to the question `query`.
    #[must_use]
    pub fn answers(&self, query: &Query) -> bool {
        match &self.answer {
            None => false,
            Some(Err(_)) => true,
            Some(Ok(answer)) => matches!(
                (query, answer),
                (Query::Health, Answer::Health(_))
                    | (Query::Metadata { .. }, Answer::Metadata(..))
                    | (Query::LoadJob { .. }, Answer::Job(_))
                    | (Query::Tree { .. }, Answer::Tree(_))
                    | (Query::Mounts { .. }, Answer::Mounts(_))
                    | (Query::Members, Answer::Members(_))
                    | (Query::Leaving { .. }, Answer::Leaving(..))
                    | (Query::Rollout { .. }, Answer::Rollout(_))
                    | (Query::Drain { .. }, Answer::Drain(_))
                    | (Query::Backups { .. }, Answer::Backups(_))
            ),
        }
    }
}
