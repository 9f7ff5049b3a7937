//! `backup`: write what a cache knows of its namespace into a file of its root store, prove that it is there, and keep so many.
//!
//! ```text
//! preflight -> writing -> (pruning) -> verifying -> succeeded
//!                 ^-----------------------'  it is gone again: another attempt
//! ```
//!
//! Lock: shared, scope = the path. Effect: class (d) on Alluxio; every intent has a folder of its own, so a repeat writes another
//! whole file beside the first, which the retention deletes with it. Undo: none; a backup cannot be stopped in the engine
//! (2.9), so whoever cancels waits until it is through and its file stays. Irreversible point: none. Progress: entries,
//! without a total.

use super::Called;
use super::arm::{Act, Arm, Next, View};
use crate::backups::{self, BackupsView, MAX_FILE, MAX_FINGERPRINT, Made, Progress};
use crate::decision::{self, WaitingOn};
use crate::effect::{Answer, Effect, Intent, Query};
use crate::lifecycle::cut;
use crate::machine::{Edge, Illegal, edge};
use crate::observation::IntentView;
use crate::spec::{ArmSpec, OperationSpec};
use serde::{Deserialize, Serialize};

/// The steps of a backup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Backup {
    /// Finds out where it goes.
    Preflight {},
    /// The engine writes.
    Writing {
        /// An intent for it was recorded.
        started: bool,
        /// The folder that the engine has accepted to write to.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        folder: Option<String>,
        /// The engine's id of that backup, where its reply arrived.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        id: Option<String>,
    },
    /// Older ones go.
    Pruning {
        /// The one that was made.
        made: Made,
    },
    /// Reads it back.
    Verifying {
        /// The one that was made.
        made: Made,
    },
}

/// The facts that move a backup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all_fields = "camelCase")]
pub enum BackupEvent {
    /// It can go where it is to go.
    Checked {},
    /// The engine writes.
    Requested {
        /// To this folder.
        folder: String,
        /// Its own id of it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        id: Option<String>,
    },
    /// The file is whole.
    Written {
        /// Which.
        made: Made,
        /// Older ones are to go.
        prune: bool,
    },
    /// No more than are to be kept are there.
    Pruned {},
    /// It is there as it was written.
    Proven {
        /// Bytes.
        bytes: i64,
    },
}

pub(super) const fn event_name(event: &BackupEvent) -> &'static str {
    match event {
        BackupEvent::Checked {} => "Checked",
        BackupEvent::Requested { .. } => "Requested",
        BackupEvent::Written { .. } => "Written",
        BackupEvent::Pruned {} => "Pruned",
        BackupEvent::Proven { .. } => "Proven",
    }
}

const fn begin() -> Backup {
    Backup::Writing { started: false, folder: None, id: None }
}

fn target(spec: &OperationSpec) -> (String, Option<i32>) {
    let keep = if let ArmSpec::Backup(b) = &spec.operation { b.keep } else { None };
    (spec.operation.paths().first().cloned().unwrap_or_default(), keep)
}

/// Whether nobody deletes it: an upgrade keeps the one that it makes for itself.
const fn lasting(spec: &OperationSpec) -> bool {
    matches!(spec.operation, ArmSpec::Upgrade(_))
}

/// The call that makes one.
pub(super) const fn call(spec: &OperationSpec) -> Effect {
    Effect::Backup { path: 0, lasting: lasting(spec) }
}

impl Arm for Backup {
    type Event = BackupEvent;

    const KIND: &'static str = "backup";
    const STEPS: &'static [&'static str] = &["preflight", "writing", "pruning", "verifying"];
    const EDGES: &'static [Edge] = &[
        edge("queued", "HoldGranted", "preflight"),
        edge("preflight", "Checked", "writing"),
        edge("preflight", "AttemptFailed", "preflight"),
        edge("writing", "Requested", "writing"),
        edge("writing", "Written", "pruning"),
        edge("writing", "Written", "verifying"),
        edge("writing", "AttemptFailed", "writing"),
        edge("pruning", "Pruned", "verifying"),
        edge("pruning", "AttemptFailed", "pruning"),
        edge("verifying", "Proven", "succeeded"),
        edge("verifying", "AttemptFailed", "writing"),
        edge("paused", "Resumed", "preflight"),
        edge("paused", "Resumed", "writing"),
        edge("paused", "Resumed", "pruning"),
        edge("paused", "Resumed", "verifying"),
    ];

    fn first() -> Self {
        Self::Preflight {}
    }

    fn name(&self) -> &'static str {
        match self {
            Self::Preflight {} => "preflight",
            Self::Writing { .. } => "writing",
            Self::Pruning { .. } => "pruning",
            Self::Verifying { .. } => "verifying",
        }
    }

    fn event_name(event: &BackupEvent) -> &'static str {
        event_name(event)
    }

    fn step(self, event: BackupEvent) -> Result<Next<Self>, Illegal> {
        let illegal = Illegal::new(self.name(), event_name(&event));
        match (self, event) {
            (Self::Preflight {}, BackupEvent::Checked {}) => Ok(Next::Step(begin())),
            (Self::Writing { started, .. }, BackupEvent::Requested { folder, id }) => {
                Ok(Next::Step(Self::Writing { started, folder: Some(folder), id }))
            }
            (Self::Writing { .. }, BackupEvent::Written { made, prune: true }) => {
                Ok(Next::Step(Self::Pruning { made }))
            }
            (Self::Writing { .. }, BackupEvent::Written { made, prune: false })
            | (Self::Pruning { made }, BackupEvent::Pruned {}) => Ok(Next::Step(Self::Verifying { made })),
            (Self::Verifying { .. }, BackupEvent::Proven { .. }) => Ok(Next::Succeeded),
            (
                Self::Preflight {} | Self::Writing { .. } | Self::Pruning { .. } | Self::Verifying { .. },
                BackupEvent::Checked {}
                | BackupEvent::Requested { .. }
                | BackupEvent::Written { .. }
                | BackupEvent::Pruned {}
                | BackupEvent::Proven { .. },
            ) => Err(illegal),
        }
    }

    fn intended(self, _effect: &Effect) -> Self {
        match self {
            Self::Writing { .. } => Self::Writing { started: true, folder: None, id: None },
            other @ (Self::Preflight {} | Self::Pruning { .. } | Self::Verifying { .. }) => other,
        }
    }

    fn resumed(self) -> Self {
        match self {
            Self::Writing { .. } => begin(),
            other @ (Self::Preflight {} | Self::Pruning { .. } | Self::Verifying { .. }) => other,
        }
    }

    fn retried(self) -> Self {
        match self {
            // A file that is gone again is written anew.
            Self::Writing { .. } | Self::Verifying { .. } => begin(),
            other @ (Self::Preflight {} | Self::Pruning { .. }) => other,
        }
    }

    fn quiet(&self) -> bool {
        match self {
            Self::Writing { started, .. } => !started,
            Self::Preflight {} | Self::Pruning { .. } | Self::Verifying { .. } => true,
        }
    }

    fn irreversible(&self, _intent: Option<&Intent>) -> bool {
        false
    }

    fn query(&self, spec: &OperationSpec, intent: Option<&Intent>) -> Option<Query> {
        let (path, keep) = target(spec);
        let keep = keep.filter(|_| matches!(self, Self::Pruning { .. }));
        let (folder, id) = match self {
            Self::Preflight {} => (None, None),
            Self::Writing { folder: Some(folder), id, .. } => (Some(folder.clone()), id.clone()),
            // Whether a call whose reply was lost has written shows in the folder that it had.
            Self::Writing { folder: None, .. } => {
                (Some(backups::folder(lasting(spec), &intent?.token)), None)
            }
            Self::Pruning { made } | Self::Verifying { made } => (Some(made.folder.clone()), None),
        };
        Some(Query::Backups { path, folder, id, keep })
    }

    fn decide(&self, view: &View<'_>) -> Act<BackupEvent> {
        let seen = match view.answer {
            Some(Ok(Answer::Backups(seen))) => Some(Ok(seen)),
            Some(Err(trouble)) => Some(Err(trouble)),
            Some(Ok(_)) | None => None,
        };
        match (self, seen) {
            // Whether an earlier call has written is seen before another one is made.
            (Self::Writing { folder: None, .. }, Some(Err(trouble)))
                if view.intent.is_some()
                    && view.outcome.is_none()
                    && !matches!(view.intent_view, IntentView::Landing { .. }) =>
            {
                super::trouble(trouble)
            }
            (Self::Writing { folder: None, .. }, seen) => ask(seen.and_then(Result::ok), view),
            (_, Some(Err(trouble))) => super::trouble(trouble),
            (_, None) => super::unanswered(),
            (Self::Preflight {}, Some(Ok(seen))) => preflight(seen, view),
            (Self::Writing { folder: Some(_), .. }, Some(Ok(seen))) => writing(seen, view),
            (Self::Pruning { .. }, Some(Ok(seen))) => prune(seen, view),
            (Self::Verifying { made }, Some(Ok(seen))) => verify(made, seen),
        }
    }

    fn looks_on(&self) -> bool {
        matches!(self, Self::Pruning { .. })
    }

    /// One whose reply was lost has no id: nobody can ask the engine what it does, and it may go on for a while.
    fn halt_query(&self, spec: &OperationSpec) -> Option<Query> {
        let Self::Writing { folder: Some(folder), id: id @ Some(_), .. } = self else { return None };
        let (path, _) = target(spec);
        Some(Query::Backups { path, folder: Some(folder.clone()), id: id.clone(), keep: None })
    }

    fn halt(&self, _answer: Option<&Answer>) -> Option<Effect> {
        None
    }

    fn unstoppable(&self, answer: Option<&Answer>) -> Option<decision::Progress> {
        let Some(Answer::Backups(seen)) = answer else { return None };
        let Progress::Running { entries } = seen.progress else { return None };
        Some(entries_written(entries))
    }

    fn samples() -> Vec<Self> {
        let made = made_sample;
        vec![
            Self::Preflight {},
            begin(),
            Self::Writing { started: true, folder: None, id: None },
            Self::Writing { started: true, folder: Some(made().folder), id: None },
            Self::Writing { started: true, folder: Some(made().folder), id: Some("b".repeat(MAX_ID)) },
            Self::Pruning { made: made() },
            Self::Verifying { made: made() },
        ]
    }

    fn event_samples() -> Vec<BackupEvent> {
        let made = made_sample;
        vec![
            BackupEvent::Checked {},
            BackupEvent::Requested { folder: made().folder, id: None },
            BackupEvent::Requested { folder: made().folder, id: Some("b".repeat(MAX_ID)) },
            BackupEvent::Written { made: made(), prune: true },
            BackupEvent::Written { made: made(), prune: false },
            BackupEvent::Pruned {},
            BackupEvent::Proven { bytes: i64::MAX },
        ]
    }
}

/// Reason of a refusal: the engine makes one backup at a time.
pub const IN_PROGRESS: &str = "BackupInProgress";
/// After that it is asked again, in milliseconds.
const AGAIN_MS: i64 = 30_000;

const fn entries_written(done: i64) -> decision::Progress {
    decision::Progress { done, total: 0, unit: "entries" }
}

/// Longest id of an engine, in characters.
const MAX_ID: usize = 40;

pub(super) fn made_sample() -> Made {
    Made {
        folder: format!("{}/{}{}", "e".repeat(8), backups::PREFIX, "f".repeat(20)),
        file: "f".repeat(MAX_FILE),
        bytes: i64::MAX,
        fingerprint: "h".repeat(MAX_FINGERPRINT),
    }
}

fn preflight(seen: &BackupsView, view: &View<'_>) -> Act<BackupEvent> {
    match &seen.place {
        Ok(place) => Act::Record {
            event: BackupEvent::Checked {},
            because: format!("to {}", cut(place, 150)),
            intend: Some(call(view.spec)),
        },
        Err(why) => Act::Fail { reason: "NoPlaceForBackup".into(), message: why.clone() },
    }
}

/// The backup is to be asked for, or was, and the reply is not recorded yet.
fn ask(seen: Option<&BackupsView>, view: &View<'_>) -> Act<BackupEvent> {
    let folder = view.intent.map(|i| backups::folder(lasting(view.spec), &i.token));
    match (super::called(view), folder) {
        (Called::Accepted(receipt), Some(folder)) => Act::Record {
            event: BackupEvent::Requested { folder, id: receipt.job.as_deref().map(|id| cut(id, MAX_ID)) },
            because: "accepted".into(),
            intend: None,
        },
        // One at a time: somebody else's is waited for.
        (Called::Refused { reason: IN_PROGRESS, message, .. }, _) => {
            if view.since_entry_ms < AGAIN_MS {
                return Act::Await(WaitingOn::Engine { reason: IN_PROGRESS, message: cut(message, 200) });
            }
            Act::Intend { effect: call(view.spec), because: "another one was in progress".into() }
        }
        (Called::Refused { reason, message, retryable }, _) => super::refused(reason, message, retryable),
        (Called::Landing(waiting), _) => Act::Await(waiting),
        (Called::Open, Some(folder)) if seen.is_some_and(|s| s.made.is_some()) => Act::Record {
            event: BackupEvent::Requested { folder, id: None },
            because: "its file is there".into(),
            intend: None,
        },
        (Called::Open | Called::Accepted(_), _) => {
            Act::Intend { effect: call(view.spec), because: "not asked for yet".into() }
        }
    }
}

/// How far the engine is.
fn writing(seen: &BackupsView, view: &View<'_>) -> Act<BackupEvent> {
    let (path, keep) = target(view.spec);
    match (&seen.progress, &seen.made) {
        (Progress::Running { entries }, _) => {
            Act::Await(WaitingOn::Work(decision::Progress { done: *entries, total: 0, unit: "entries" }))
        }
        (Progress::Failed { message }, _) => Act::Retry { reason: "BackupFailed", message: message.clone() },
        (Progress::Completed | Progress::Unknown, Some(made)) if made.bytes <= 0 => {
            Act::Retry { reason: "BackupEmpty", message: format!("{} is empty", made.file) }
        }
        (Progress::Completed | Progress::Unknown, Some(made)) => Act::Record {
            event: BackupEvent::Written { made: made.clone(), prune: keep.is_some() },
            because: format!("{} bytes in {}", made.bytes, place_of(&path, made)),
            intend: None,
        },
        (Progress::Completed | Progress::Unknown, None) => {
            super::again(view, call(view.spec), "the engine knows of no such backup")
        }
    }
}

fn place_of(path: &str, made: &Made) -> String {
    format!("{}/{}/{}", cut(path, 100), made.folder, made.file)
}

/// The oldest go, some at a time, each named before.
fn prune(seen: &BackupsView, view: &View<'_>) -> Act<BackupEvent> {
    if seen.surplus.is_empty() {
        return Act::Record {
            event: BackupEvent::Pruned {},
            because: "no more than are to be kept are there".into(),
            intend: None,
        };
    }
    let effect = Effect::PruneBackups { path: 0, folders: seen.surplus.clone() };
    match super::called(view) {
        Called::Refused { reason, message, retryable } => super::refused(reason, message, retryable),
        Called::Landing(waiting) => Act::Await(waiting),
        Called::Accepted(_) | Called::Open if view.intent.is_some_and(|i| i.effect == effect) => {
            super::again(view, effect, "they are there still")
        }
        Called::Accepted(_) | Called::Open => Act::Intend { effect, because: "older ones are to go".into() },
    }
}

fn verify(made: &Made, seen: &BackupsView) -> Act<BackupEvent> {
    match &seen.made {
        // An earlier call of the same intent may have written a later file beside it: that one is whole, too.
        Some(now) if now.bytes > 0 => Act::Record {
            event: BackupEvent::Proven { bytes: now.bytes },
            because: format!("{} bytes in {}/{}", now.bytes, now.folder, now.file),
            intend: None,
        },
        Some(now) => Act::Retry { reason: "BackupEmpty", message: format!("{} is empty", now.file) },
        None => Act::Retry {
            reason: "BackupLost",
            message: format!("{}/{} is not there any more", made.folder, made.file),
        },
    }
}

#[cfg(test)]
#[path = "backup_tests.rs"]
mod tests;
