//! `sync`: make the cache know every file below some paths as the store has it now, and prove it.
//!
//! ```text
//! syncing (each path) -> verifying -> succeeded
//!    ^------------------------'  the engine has forgotten files: another attempt
//! ```
//!
//! Lock: shared, scope = the paths. Effect: class (d) on Alluxio; a repeat finds nothing new. Undo: none is needed, what
//! is known harms nobody; a cancel stops the search. Irreversible point: none. Progress: entries, without a total.

use super::Called;
use super::arm::{Act, Arm, Next, View};
use crate::decision::{Progress, WaitingOn};
use crate::effect::{Answer, Effect, Intent, MetadataView, Query};
use crate::lifecycle::cut;
use crate::machine::{Edge, Illegal, edge};
use crate::spec::OperationSpec;
use serde::{Deserialize, Serialize};

/// The steps of a sync.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Sync {
    /// The engine looks for the files below a path.
    Syncing {
        /// Index of the path.
        path: usize,
        /// An intent for it was recorded.
        started: bool,
        /// The engine has accepted.
        requested: bool,
        /// The engine's task group, where it gave one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        task: Option<i64>,
        /// Files below the paths that are done.
        files: i64,
        /// Their bytes.
        bytes: i64,
    },
    /// Reads back what is known.
    Verifying {
        /// Files that were found.
        files: i64,
        /// Their bytes.
        bytes: i64,
    },
}

/// The facts that move a sync.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all_fields = "camelCase")]
pub enum SyncEvent {
    /// The engine looks for files.
    Requested {
        /// Its task group.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        task: Option<i64>,
    },
    /// Every file below the path is known.
    Synced {
        /// Files.
        files: i64,
        /// Bytes.
        bytes: i64,
        /// More paths follow.
        more: bool,
    },
    /// The engine still knows all of them.
    Known {
        /// Files.
        files: i64,
        /// Bytes.
        bytes: i64,
    },
}

pub(super) const fn event_name(event: &SyncEvent) -> &'static str {
    match event {
        SyncEvent::Requested { .. } => "Requested",
        SyncEvent::Synced { .. } => "Synced",
        SyncEvent::Known { .. } => "Known",
    }
}

const fn begin(path: usize, files: i64, bytes: i64) -> Sync {
    Sync::Syncing { path, started: false, requested: false, task: None, files, bytes }
}

impl Arm for Sync {
    type Event = SyncEvent;

    const KIND: &'static str = "sync";
    const STEPS: &'static [&'static str] = &["syncing", "verifying"];
    const EDGES: &'static [Edge] = &[
        edge("queued", "HoldGranted", "syncing"),
        edge("syncing", "Requested", "syncing"),
        edge("syncing", "Synced", "syncing"),
        edge("syncing", "Synced", "verifying"),
        edge("syncing", "AttemptFailed", "syncing"),
        edge("verifying", "Known", "succeeded"),
        edge("verifying", "AttemptFailed", "syncing"),
        edge("paused", "Resumed", "syncing"),
        edge("paused", "Resumed", "verifying"),
    ];

    fn first() -> Self {
        begin(0, 0, 0)
    }

    fn name(&self) -> &'static str {
        match self {
            Self::Syncing { .. } => "syncing",
            Self::Verifying { .. } => "verifying",
        }
    }

    fn event_name(event: &SyncEvent) -> &'static str {
        event_name(event)
    }

    fn step(self, event: SyncEvent) -> Result<Next<Self>, Illegal> {
        let illegal = Illegal::new(self.name(), event_name(&event));
        match self {
            Self::Syncing { path, started, files, bytes, .. } => match event {
                SyncEvent::Requested { task } => {
                    Ok(Next::Step(Self::Syncing { path, started, requested: true, task, files, bytes }))
                }
                SyncEvent::Synced { files: f, bytes: b, more } => {
                    let (files, bytes) = (files.saturating_add(f), bytes.saturating_add(b));
                    Ok(Next::Step(if more {
                        begin(path.saturating_add(1), files, bytes)
                    } else {
                        Self::Verifying { files, bytes }
                    }))
                }
                SyncEvent::Known { .. } => Err(illegal),
            },
            Self::Verifying { .. } => match event {
                SyncEvent::Known { .. } => Ok(Next::Succeeded),
                SyncEvent::Requested { .. } | SyncEvent::Synced { .. } => Err(illegal),
            },
        }
    }

    fn intended(self, _effect: &Effect) -> Self {
        match self {
            Self::Syncing { path, files, bytes, .. } => {
                Self::Syncing { path, started: true, requested: false, task: None, files, bytes }
            }
            other @ Self::Verifying { .. } => other,
        }
    }

    fn resumed(self) -> Self {
        match self {
            Self::Syncing { path, files, bytes, .. } => begin(path, files, bytes),
            other @ Self::Verifying { .. } => other,
        }
    }

    fn retried(self) -> Self {
        match self {
            Self::Syncing { path, files, bytes, .. } => begin(path, files, bytes),
            // What was forgotten may be of any path.
            Self::Verifying { .. } => begin(0, 0, 0),
        }
    }

    fn quiet(&self) -> bool {
        match self {
            Self::Syncing { started, .. } => !started,
            Self::Verifying { .. } => true,
        }
    }

    fn irreversible(&self, _intent: Option<&Intent>) -> bool {
        false
    }

    fn query(&self, spec: &OperationSpec, _intent: Option<&Intent>) -> Option<Query> {
        match self {
            Self::Syncing { path, requested: true, task, .. } => Some(Query::Metadata {
                path: spec.operation.paths().get(*path).cloned().unwrap_or_default(),
                task: *task,
                then: None,
            }),
            Self::Syncing { requested: false, .. } => None,
            Self::Verifying { .. } => Some(Query::Tree { paths: spec.operation.paths().to_vec() }),
        }
    }

    fn decide(&self, view: &View<'_>) -> Act<SyncEvent> {
        if let Some(Err(trouble)) = view.answer {
            return super::trouble(trouble);
        }
        let answer = view.answer.and_then(Result::ok);
        match self {
            Self::Syncing { path, requested: false, .. } => ask(*path, view),
            Self::Syncing { path, requested: true, .. } => syncing(*path, answer, view),
            Self::Verifying { files, .. } => verify(*files, answer),
        }
    }

    fn halt_query(&self, _spec: &OperationSpec) -> Option<Query> {
        None
    }

    fn halt(&self, _answer: Option<&Answer>) -> Option<Effect> {
        match self {
            Self::Syncing { path, task: Some(task), .. } => {
                Some(Effect::CancelMetadata { path: *path, task: *task })
            }
            Self::Syncing { task: None, .. } | Self::Verifying { .. } => None,
        }
    }

    fn samples() -> Vec<Self> {
        let (files, bytes) = (i64::MAX, i64::MAX);
        let syncing =
            |path, started, requested, task| Self::Syncing { path, started, requested, task, files, bytes };
        vec![
            begin(0, 0, 0),
            syncing(0, true, false, None),
            syncing(1, true, true, None),
            syncing(1, true, true, Some(i64::MAX)),
            Self::Verifying { files, bytes },
        ]
    }

    fn event_samples() -> Vec<SyncEvent> {
        let (files, bytes) = (i64::MAX, i64::MAX);
        vec![
            SyncEvent::Requested { task: None },
            SyncEvent::Requested { task: Some(i64::MAX) },
            SyncEvent::Synced { files, bytes, more: true },
            SyncEvent::Synced { files, bytes, more: false },
            SyncEvent::Known { files, bytes },
        ]
    }
}

/// The search is to be asked for, or was, and the reply is not recorded yet.
fn ask(path: usize, view: &View<'_>) -> Act<SyncEvent> {
    match super::called(view) {
        Called::Accepted(receipt) => Act::Record {
            event: SyncEvent::Requested { task: receipt.task },
            because: "accepted".into(),
            intend: None,
        },
        Called::Refused { reason, message, retryable } => super::refused(reason, message, retryable),
        Called::Landing(waiting) => Act::Await(waiting),
        Called::Open => {
            Act::Intend { effect: Effect::LoadMetadata { path }, because: "not asked for yet".into() }
        }
    }
}

/// How far the engine is.
fn syncing(path: usize, answer: Option<&Answer>, view: &View<'_>) -> Act<SyncEvent> {
    let Some(Answer::Metadata(seen, _)) = answer else { return super::unanswered() };
    let paths = view.spec.operation.paths();
    match seen {
        MetadataView::Running { done } => {
            Act::Await(WaitingOn::Work(Progress { done: *done, total: 0, unit: "entries" }))
        }
        MetadataView::Missing => {
            let name = paths.get(path).map_or("", String::as_str);
            Act::Fail {
                reason: "PathNotFound".into(),
                message: format!(
                    "{} exists in neither the cache nor its under-storage; correct the path",
                    cut(name, 120)
                ),
            }
        }
        MetadataView::Forgotten => {
            super::again(view, Effect::LoadMetadata { path }, "the engine forgot the task")
        }
        MetadataView::Failed { message } => Act::Retry { reason: "MetadataFailed", message: message.clone() },
        MetadataView::Loaded(tree) => {
            let more = path + 1 < paths.len();
            Act::Record {
                event: SyncEvent::Synced { files: tree.files, bytes: tree.bytes, more },
                because: format!("{} files, {} bytes", tree.files, tree.bytes),
                intend: more.then_some(Effect::LoadMetadata { path: path + 1 }),
            }
        }
    }
}

fn verify(found: i64, answer: Option<&Answer>) -> Act<SyncEvent> {
    let Some(Answer::Tree(tree)) = answer else { return super::unanswered() };
    if tree.missing.is_none() && tree.files >= found {
        return Act::Record {
            event: SyncEvent::Known { files: tree.files, bytes: tree.bytes },
            because: format!("{} files, {} bytes", tree.files, tree.bytes),
            intend: None,
        };
    }
    Act::Retry {
        reason: "MetadataLost",
        message: format!("{found} files were found, and the cache knows {} now", tree.files),
    }
}

#[cfg(test)]
#[path = "sync_tests.rs"]
mod tests;
