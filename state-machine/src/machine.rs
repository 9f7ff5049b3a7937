//! Edges: the legal moves, readable in one place.
//!
//! A table of edges and a `match` in `step` are two statements of one law. The tests cross every state with every
//! event and demand that both agree; the admission rules, the diagrams and the README are made from the tables.

use std::fmt;

/// One legal move.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Edge {
    /// Name of the step that is left; empty for the birth of an operation.
    pub from: &'static str,
    /// Name of the event.
    pub on: &'static str,
    /// Name of the step that is entered.
    pub to: &'static str,
}

/// Shorthand for the tables.
#[must_use]
pub const fn edge(from: &'static str, on: &'static str, to: &'static str) -> Edge {
    Edge { from, on, to }
}

/// An event that the state does not know: a bug in a decision, or a tampered journal. Never a user's mistake.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Illegal {
    /// Name of the step.
    pub step: String,
    /// Name of the event.
    pub event: String,
    /// What forbids it.
    pub why: String,
}

impl Illegal {
    /// An event that has no edge from this step.
    #[must_use]
    pub fn new(step: &str, event: &str) -> Self {
        Self { step: step.into(), event: event.into(), why: "no such edge".into() }
    }

    /// The same with a reason of its own.
    #[must_use]
    pub fn because(step: &str, event: &str, why: impl Into<String>) -> Self {
        Self { step: step.into(), event: event.into(), why: why.into() }
    }
}

impl fmt::Display for Illegal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "event {} is illegal in step {}: {}", self.event, self.step, self.why)
    }
}

impl std::error::Error for Illegal {}

/// The coarse public word for a state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum Phase {
    /// Waits for its predecessors.
    Pending,
    /// Waits for its turn on the cache.
    Queued,
    /// Waits for a person.
    AwaitingApproval,
    /// At work.
    Running,
    /// Stopped on request; goes on when asked.
    Paused,
    /// Taking an upgrade back.
    RollingBack,
    /// Ending on request.
    Cancelling,
    /// Needs a person.
    Stuck,
    /// Over: what was wanted is so, read back from the engine.
    Succeeded,
    /// Over: it is not so.
    Failed,
    /// Over: ended on request.
    Cancelled,
    /// Over: taken back.
    RolledBack,
}

impl Phase {
    /// Every phase.
    pub const ALL: [Self; 12] = [
        Self::Pending,
        Self::Queued,
        Self::AwaitingApproval,
        Self::Running,
        Self::Paused,
        Self::RollingBack,
        Self::Cancelling,
        Self::Stuck,
        Self::Succeeded,
        Self::Failed,
        Self::Cancelled,
        Self::RolledBack,
    ];

    /// Whether an operation in this phase is over.
    #[must_use]
    pub const fn terminal(self) -> bool {
        match self {
            Self::Succeeded | Self::Failed | Self::Cancelled | Self::RolledBack => true,
            Self::Pending
            | Self::Queued
            | Self::AwaitingApproval
            | Self::Running
            | Self::Paused
            | Self::RollingBack
            | Self::Cancelling
            | Self::Stuck => false,
        }
    }

    /// The word as it is stored.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pending => "Pending",
            Self::Queued => "Queued",
            Self::AwaitingApproval => "AwaitingApproval",
            Self::Running => "Running",
            Self::Paused => "Paused",
            Self::RollingBack => "RollingBack",
            Self::Cancelling => "Cancelling",
            Self::Stuck => "Stuck",
            Self::Succeeded => "Succeeded",
            Self::Failed => "Failed",
            Self::Cancelled => "Cancelled",
            Self::RolledBack => "RolledBack",
        }
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}
