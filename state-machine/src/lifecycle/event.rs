//! The events that every operation shares, and what they carry.

use serde::{Deserialize, Serialize};

/// Why an operation fails or is stuck.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Failure {
    /// A condition reason in CamelCase, at most 64 bytes.
    pub reason: String,
    /// A sentence that says what to change, at most [`Failure::MAX_MESSAGE`] bytes.
    pub message: String,
}

impl Failure {
    /// Longest message in bytes; it is part of a journal entry.
    pub const MAX_MESSAGE: usize = 300;

    /// A failure, with both texts cut to their bounds.
    #[must_use]
    pub fn new(reason: &str, message: impl AsRef<str>) -> Self {
        Self { reason: cut(reason, 64), message: cut(message.as_ref(), Self::MAX_MESSAGE) }
    }
}

/// The longest prefix of `text` that has at most `max` bytes, control characters replaced (a control character
/// would take six bytes in JSON), quotes and backslashes too.
#[must_use]
pub fn cut(text: &str, max: usize) -> String {
    let mut out = String::with_capacity(text.len().min(max));
    for c in text.chars() {
        let c = match c {
            '"' => '\'',
            '\\' => '/',
            c if c.is_control() => ' ',
            c => c,
        };
        if out.len() + c.len_utf8() > max {
            break;
        }
        out.push(c);
    }
    out
}

/// What a stuck operation was doing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum During {
    /// Going to pause.
    Pausing {},
    /// Going to end on request.
    Cancelling {},
    /// Going to fail.
    Aborting {
        /// Why.
        why: Failure,
    },
    /// Taking back what was done.
    RollingBack {
        /// Why it does not succeed; none where that was asked for.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        why: Option<Failure>,
    },
}

impl During {
    /// The step's name: what `control.skip.step` has to say.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Pausing {} => "pausing",
            Self::Cancelling {} => "cancelling",
            Self::Aborting { .. } => "aborting",
            Self::RollingBack { .. } => "rollingBack",
        }
    }
}

/// A fact that moves any operation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all_fields = "camelCase")]
pub enum Shared {
    /// The operation was seen for the first time. Enters pending, awaitingApproval or queued.
    Created {
        /// Version of the machine that begins it.
        machine: i64,
        /// It has predecessors.
        after: bool,
        /// It needs an approval.
        approval: bool,
        /// Digest of what it will do.
        plan: crate::ids::PlanHash,
    },
    /// Every predecessor ended as required.
    PredecessorsDone {
        /// It needs an approval.
        approval: bool,
    },
    /// The plan was approved.
    Approved {
        /// By whom.
        by: String,
        /// Which plan.
        plan: crate::ids::PlanHash,
    },
    /// The lock was granted.
    HoldGranted {
        /// Id of the hold.
        epoch: i64,
    },
    /// An effect is about to be tried (again, or by another process).
    Intended {},
    /// An attempt failed; the step is tried again after a pause.
    AttemptFailed {
        /// Why.
        why: Failure,
    },
    /// A pause was asked for.
    Suspended {},
    /// The pause is over.
    Resumed {},
    /// The end was asked for, by `control.cancel` or by deleting the object.
    CancelRequested {
        /// The object is being deleted.
        deleted: bool,
    },
    /// The end was asked for when it could not be had any more.
    CancelTooLate {},
    /// It will fail.
    Aborted {
        /// Why.
        why: Failure,
    },
    /// The engine is at rest.
    Halted {},
    /// The engine could not be brought to rest in time.
    GotStuck {
        /// Why.
        why: Failure,
    },
    /// A person asked a stuck operation to try again.
    RetryRequested {
        /// Value of `control.retry`.
        count: i64,
    },
    /// A person told a stuck operation to leave the engine as it is.
    StepSkipped {
        /// Which step.
        step: String,
        /// Who.
        by: String,
    },
    /// The journal up to `through` is in segments; the operation is settled.
    Sealed {
        /// Whether the segments were written; false in a namespace that is terminating.
        segment: bool,
    },
}

impl Shared {
    /// The event's name, as it is stored.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Created { .. } => "Created",
            Self::PredecessorsDone { .. } => "PredecessorsDone",
            Self::Approved { .. } => "Approved",
            Self::HoldGranted { .. } => "HoldGranted",
            Self::Intended {} => "Intended",
            Self::AttemptFailed { .. } => "AttemptFailed",
            Self::Suspended {} => "Suspended",
            Self::Resumed {} => "Resumed",
            Self::CancelRequested { .. } => "CancelRequested",
            Self::CancelTooLate {} => "CancelTooLate",
            Self::Aborted { .. } => "Aborted",
            Self::Halted {} => "Halted",
            Self::GotStuck { .. } => "GotStuck",
            Self::RetryRequested { .. } => "RetryRequested",
            Self::StepSkipped { .. } => "StepSkipped",
            Self::Sealed { .. } => "Sealed",
        }
    }
}
