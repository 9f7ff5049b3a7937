//! `load`: bring paths into the cache, and prove it.
//!
//! ```text
//! preflight -> loadingMetadata -> loadingData -> verifying -> succeeded
//!                 (each path)      (each path)       |
//!                                       ^------------'  not enough is cached: another attempt
//! ```
//!
//! Lock: shared, scope = the paths. Effects: all of class (d) on Alluxio; each is a set-to-value whose repeat is
//! harmless. Undo: the engine's job is stopped; what is cached stays. Irreversible point: none. Progress: bytes.
//! Alluxio keeps one job a path and its progress names no id: a job that runs before our first intent is foreign,
//! after it a running one is ours, and a success that cannot be attributed is decided by what is cached.

mod decide;

use super::arm::{Act, Arm, Next, View};
use crate::effect::{Answer, Effect, Intent, JobState, Query};
use crate::machine::{Edge, Illegal, edge};
use crate::spec::OperationSpec;
use serde::{Deserialize, Serialize};

/// The steps of a load.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Load {
    /// Checks that the engine can do what is asked.
    Preflight {},
    /// Makes the engine know every file; without that it loads nothing and says SUCCEEDED.
    LoadingMetadata {
        /// Index of the path.
        path: usize,
        /// An intent for this path was recorded.
        started: bool,
        /// The engine accepted; its task group where it has one.
        requested: bool,
        /// The engine's task group.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        task: Option<i64>,
        /// What is known so far.
        known: Known,
    },
    /// Lets the engine's job cache the bytes.
    LoadingData {
        /// Index of the path.
        path: usize,
        /// An intent for this path was recorded: a job that runs is ours.
        started: bool,
        /// The engine accepted: a job that ended is ours.
        submitted: bool,
        /// Files that failed on earlier paths.
        failed: i64,
        /// No success so far has an unknown author.
        attributed: bool,
        /// What is known.
        known: Known,
    },
    /// Reads back what is cached.
    Verifying {
        /// Files that failed.
        failed: i64,
        /// Every success was this operation's own.
        attributed: bool,
        /// What is known.
        known: Known,
    },
}

/// What a load knows about its data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Known {
    /// Files under the paths.
    pub files: i64,
    /// Their bytes.
    pub bytes: i64,
    /// Bytes that the live workers could hold when the load began.
    pub capacity: i64,
}

/// The facts that move a load.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all_fields = "camelCase")]
pub enum LoadEvent {
    /// The engine can do what is asked.
    Checked {
        /// Live workers.
        workers: i64,
        /// Bytes that they can hold.
        capacity: i64,
    },
    /// The engine looks for files.
    MetadataRequested {
        /// Its task group.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        task: Option<i64>,
    },
    /// Every file under the path is known.
    MetadataLoaded {
        /// Files.
        files: i64,
        /// Bytes.
        bytes: i64,
        /// More paths follow.
        more: bool,
    },
    /// The engine's job is at work.
    LoadSubmitted {
        /// It was already there.
        attached: bool,
        /// The engine's id of it, where it gave one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        job: Option<String>,
    },
    /// The job of a path ended.
    DataLoaded {
        /// Bytes that it loaded.
        bytes: i64,
        /// Files that failed.
        failed: i64,
        /// It was this operation's own.
        attributed: bool,
        /// More paths follow.
        more: bool,
    },
    /// Not enough is cached after a job that may have been another's: one more submit, not counted as a failure.
    NotOurs {
        /// Percentage that is cached.
        cached_percent: i64,
    },
    /// The engine has forgotten files that it knew (a master that failed over may have lost its last entries): they are
    /// looked for once more.
    MetadataLost {},
    /// What was wanted is cached.
    Verified {
        /// Files.
        files: i64,
        /// Bytes.
        bytes: i64,
        /// Bytes that are cached.
        cached_bytes: i64,
    },
}

/// Names of the events in the order of the enum.
pub(super) const fn event_name(event: &LoadEvent) -> &'static str {
    match event {
        LoadEvent::Checked { .. } => "Checked",
        LoadEvent::MetadataRequested { .. } => "MetadataRequested",
        LoadEvent::MetadataLoaded { .. } => "MetadataLoaded",
        LoadEvent::LoadSubmitted { .. } => "LoadSubmitted",
        LoadEvent::DataLoaded { .. } => "DataLoaded",
        LoadEvent::NotOurs { .. } => "NotOurs",
        LoadEvent::MetadataLost {} => "MetadataLost",
        LoadEvent::Verified { .. } => "Verified",
    }
}

/// Everything from the metadata on, with nothing known but what the cache can hold.
fn from_the_metadata(known: Known) -> Load {
    let known = Known { capacity: known.capacity, ..Known::default() };
    Load::LoadingMetadata { path: 0, started: false, requested: false, task: None, known }
}

const fn first_path(known: Known) -> Load {
    Load::LoadingData { path: 0, started: false, submitted: false, failed: 0, attributed: true, known }
}

impl Arm for Load {
    type Event = LoadEvent;

    const KIND: &'static str = "load";
    const STEPS: &'static [&'static str] = &["preflight", "loadingMetadata", "loadingData", "verifying"];
    const EDGES: &'static [Edge] = &[
        edge("queued", "HoldGranted", "preflight"),
        edge("preflight", "Checked", "loadingMetadata"),
        edge("preflight", "AttemptFailed", "preflight"),
        edge("loadingMetadata", "MetadataRequested", "loadingMetadata"),
        edge("loadingMetadata", "MetadataLoaded", "loadingMetadata"),
        edge("loadingMetadata", "MetadataLoaded", "loadingData"),
        edge("loadingMetadata", "AttemptFailed", "loadingMetadata"),
        edge("loadingData", "LoadSubmitted", "loadingData"),
        edge("loadingData", "DataLoaded", "loadingData"),
        edge("loadingData", "DataLoaded", "verifying"),
        edge("loadingData", "MetadataLost", "loadingMetadata"),
        edge("loadingData", "AttemptFailed", "loadingData"),
        edge("verifying", "NotOurs", "loadingData"),
        edge("verifying", "MetadataLost", "loadingMetadata"),
        edge("verifying", "AttemptFailed", "loadingData"),
        edge("verifying", "Verified", "succeeded"),
        edge("paused", "Resumed", "preflight"),
        edge("paused", "Resumed", "loadingMetadata"),
        edge("paused", "Resumed", "loadingData"),
        edge("paused", "Resumed", "verifying"),
    ];

    fn first() -> Self {
        Self::Preflight {}
    }

    fn name(&self) -> &'static str {
        match self {
            Self::Preflight {} => "preflight",
            Self::LoadingMetadata { .. } => "loadingMetadata",
            Self::LoadingData { .. } => "loadingData",
            Self::Verifying { .. } => "verifying",
        }
    }

    fn event_name(event: &LoadEvent) -> &'static str {
        event_name(event)
    }

    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "an event that is not listed is illegal; the tests compare this with the table, pair by pair"
    )]
    fn step(self, event: LoadEvent) -> Result<Next<Self>, Illegal> {
        let illegal = Illegal::new(self.name(), event_name(&event));
        let next = match self {
            Self::Preflight {} => match event {
                LoadEvent::Checked { capacity, .. } => {
                    from_the_metadata(Known { capacity, ..Known::default() })
                }
                _ => return Err(illegal),
            },
            Self::LoadingMetadata { path, started, known, .. } => match event {
                LoadEvent::MetadataRequested { task } => {
                    Self::LoadingMetadata { path, started, requested: true, task, known }
                }
                LoadEvent::MetadataLoaded { files, bytes, more } => {
                    let known = Known {
                        files: known.files.saturating_add(files),
                        bytes: known.bytes.saturating_add(bytes),
                        ..known
                    };
                    if more {
                        Self::LoadingMetadata {
                            path: path.saturating_add(1),
                            started: false,
                            requested: false,
                            task: None,
                            known,
                        }
                    } else {
                        first_path(known)
                    }
                }
                _ => return Err(illegal),
            },
            Self::LoadingData { path, started, failed, attributed, known, .. } => match event {
                LoadEvent::LoadSubmitted { .. } => {
                    Self::LoadingData { path, started, submitted: true, failed, attributed, known }
                }
                LoadEvent::DataLoaded { failed: f, attributed: a, more, .. } => {
                    let (failed, attributed) = (failed.saturating_add(f), attributed && a);
                    if more {
                        let (path, started, submitted) = (path.saturating_add(1), false, false);
                        Self::LoadingData { path, started, submitted, failed, attributed, known }
                    } else {
                        Self::Verifying { failed, attributed, known }
                    }
                }
                LoadEvent::MetadataLost {} => from_the_metadata(known),
                _ => return Err(illegal),
            },
            Self::Verifying { known, .. } => match event {
                LoadEvent::NotOurs { .. } => first_path(known),
                LoadEvent::MetadataLost {} => from_the_metadata(known),
                LoadEvent::Verified { .. } => return Ok(Next::Succeeded),
                _ => return Err(illegal),
            },
        };
        Ok(Next::Step(next))
    }

    fn intended(self, effect: &Effect) -> Self {
        match (self, effect) {
            (Self::LoadingMetadata { path, known, .. }, Effect::LoadMetadata { .. }) => {
                Self::LoadingMetadata { path, started: true, requested: false, task: None, known }
            }
            (Self::LoadingData { path, failed, attributed, known, .. }, Effect::SubmitLoad { .. }) => {
                Self::LoadingData { path, started: true, submitted: false, failed, attributed, known }
            }
            (other, _) => other,
        }
    }

    fn resumed(self) -> Self {
        match self {
            Self::LoadingMetadata { path, known, .. } => {
                Self::LoadingMetadata { path, started: false, requested: false, task: None, known }
            }
            // A stopped job of ours is resumed by a new submit; whatever runs meanwhile is not ours.
            Self::LoadingData { path, failed, attributed, known, .. } => {
                Self::LoadingData { path, started: false, submitted: false, failed, attributed, known }
            }
            other @ (Self::Preflight {} | Self::Verifying { .. }) => other,
        }
    }

    fn retried(self) -> Self {
        match self {
            Self::Preflight {} => Self::Preflight {},
            Self::LoadingMetadata { path, known, .. } => {
                Self::LoadingMetadata { path, started: false, requested: false, task: None, known }
            }
            // `started` stays: a job that runs on this path is still ours.
            Self::LoadingData { path, started, failed, attributed, known, .. } => {
                Self::LoadingData { path, started, submitted: false, failed, attributed, known }
            }
            Self::Verifying { known, .. } => first_path(known),
        }
    }

    fn quiet(&self) -> bool {
        match self {
            Self::Preflight {} | Self::Verifying { .. } => true,
            Self::LoadingMetadata { started, .. } | Self::LoadingData { started, .. } => !started,
        }
    }

    fn irreversible(&self, _intent: Option<&Intent>) -> bool {
        false
    }

    fn query(&self, spec: &OperationSpec, _intent: Option<&Intent>) -> Option<Query> {
        let paths = spec.operation.paths();
        match self {
            Self::Preflight {} => Some(Query::Health),
            Self::LoadingMetadata { path, requested: true, task, .. } => Some(Query::Metadata {
                path: paths.get(*path)?.clone(),
                task: *task,
                then: (path + 1 == paths.len()).then(|| paths.first().cloned()).flatten(),
            }),
            Self::LoadingMetadata { requested: false, .. } => None,
            Self::LoadingData { path, .. } => Some(Query::LoadJob { path: paths.get(*path)?.clone() }),
            Self::Verifying { .. } => Some(Query::Tree { paths: paths.to_vec() }),
        }
    }

    fn decide(&self, view: &View<'_>) -> Act<LoadEvent> {
        decide::decide(self, view)
    }

    fn halt_query(&self, spec: &OperationSpec) -> Option<Query> {
        match self {
            Self::LoadingData { path, started: true, .. } => {
                Some(Query::LoadJob { path: spec.operation.paths().get(*path)?.clone() })
            }
            Self::LoadingData { .. }
            | Self::Preflight {}
            | Self::LoadingMetadata { .. }
            | Self::Verifying { .. } => None,
        }
    }

    fn halt(&self, answer: Option<&Answer>) -> Option<Effect> {
        match self {
            Self::LoadingData { path, started: true, .. } => match answer {
                Some(Answer::Job(job)) if job.state == JobState::Running => {
                    Some(Effect::StopLoad { path: *path })
                }
                _ => None,
            },
            Self::LoadingMetadata { path, task: Some(task), .. } => {
                Some(Effect::CancelMetadata { path: *path, task: *task })
            }
            Self::LoadingMetadata { .. }
            | Self::LoadingData { .. }
            | Self::Preflight {}
            | Self::Verifying { .. } => None,
        }
    }

    fn samples() -> Vec<Self> {
        let known = Known { files: i64::MAX, bytes: i64::MAX, capacity: i64::MAX };
        let mut all = vec![Self::Preflight {}];
        for (started, requested) in [(false, false), (true, false), (true, true)] {
            let task = requested.then_some(i64::MAX);
            all.push(Self::LoadingMetadata { path: 0, started, requested, task, known });
        }
        for (started, submitted) in [(false, false), (true, false), (true, true)] {
            all.push(Self::LoadingData {
                path: 0,
                started,
                submitted,
                failed: i64::MAX,
                attributed: false,
                known,
            });
        }
        all.push(Self::Verifying { failed: 0, attributed: true, known });
        all
    }

    fn event_samples() -> Vec<LoadEvent> {
        let big = i64::MAX;
        vec![
            LoadEvent::Checked { workers: big, capacity: big },
            LoadEvent::MetadataRequested { task: Some(big) },
            LoadEvent::MetadataLoaded { files: big, bytes: big, more: true },
            LoadEvent::MetadataLoaded { files: big, bytes: big, more: false },
            LoadEvent::LoadSubmitted { attached: false, job: Some("x".repeat(64)) },
            LoadEvent::DataLoaded { bytes: big, failed: big, attributed: false, more: true },
            LoadEvent::DataLoaded { bytes: big, failed: big, attributed: false, more: false },
            LoadEvent::NotOurs { cached_percent: 100 },
            LoadEvent::MetadataLost {},
            LoadEvent::Verified { files: big, bytes: big, cached_bytes: big },
        ]
    }
}

#[cfg(test)]
#[path = "load_tests.rs"]
mod tests;
