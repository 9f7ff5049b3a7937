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

use super::arm::{Act, Arm, Next, View};
use crate::decision::{Progress, WaitingOn};
use crate::effect::{Answer, Effect, Health, Intent, JobState, JobView, MetadataView, Outcome, Query, TreeView};
use crate::machine::{Edge, Illegal, edge};
use crate::observation::IntentView;
use crate::spec::{ArmSpec, LoadSpec, OperationSpec};
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
        LoadEvent::Verified { .. } => "Verified",
    }
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
        edge("loadingData", "AttemptFailed", "loadingData"),
        edge("verifying", "NotOurs", "loadingData"),
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

    fn step(self, event: LoadEvent) -> Result<Next<Self>, Illegal> {
        let illegal = Illegal::new(self.name(), event_name(&event));
        let next = match self {
            Self::Preflight {} => match event {
                LoadEvent::Checked { capacity, .. } => Self::LoadingMetadata {
                    path: 0,
                    started: false,
                    requested: false,
                    task: None,
                    known: Known { capacity, ..Known::default() },
                },
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
                        Self::LoadingMetadata { path: path + 1, started: false, requested: false, task: None, known }
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
                        let (path, started, submitted) = (path + 1, false, false);
                        Self::LoadingData { path, started, submitted, failed, attributed, known }
                    } else {
                        Self::Verifying { failed, attributed, known }
                    }
                }
                _ => return Err(illegal),
            },
            Self::Verifying { known, .. } => match event {
                LoadEvent::NotOurs { .. } => first_path(known),
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
        let ArmSpec::Load(spec) = &view.spec.operation else {
            return Act::Fail { reason: "WrongArm".into(), message: "the state is a load's, the spec is not".into() };
        };
        if let Some(Err(trouble)) = view.answer {
            return super::trouble(trouble);
        }
        let answer = view.answer.and_then(Result::ok);
        match self {
            Self::Preflight {} => preflight(spec, answer),
            Self::LoadingMetadata { path, requested, known, .. } => {
                if *requested { metadata(spec, *path, *known, answer) } else { ask_metadata(*path, view) }
            }
            Self::LoadingData { path, started, submitted, .. } => match answer {
                Some(Answer::Job(job)) => data(spec, *path, *started, *submitted, job, view),
                _ => submitting(*path, view, None),
            },
            Self::Verifying { failed, attributed, known } => verify(spec, *failed, *attributed, *known, answer),
        }
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
                Some(Answer::Job(job)) if job.state == JobState::Running => Some(Effect::StopLoad { path: *path }),
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
            all.push(Self::LoadingData { path: 0, started, submitted, failed: i64::MAX, attributed: false, known });
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
            LoadEvent::Verified { files: big, bytes: big, cached_bytes: big },
        ]
    }
}

/// The engine can do what is asked, or it says why not.
fn preflight(spec: &LoadSpec, answer: Option<&Answer>) -> Act<LoadEvent> {
    let Some(Answer::Health(Health { live_workers, capacity_bytes, load_replicas })) = answer else {
        return super::unanswered();
    };
    if let Some(replicas) = spec.replicas
        && replicas > 1
        && !load_replicas
    {
        return Act::Fail {
            reason: "Unsupported".into(),
            message: format!("this engine's load keeps no replica count; remove replicas: {replicas}"),
        };
    }
    if *live_workers == 0 {
        return Act::Await(WaitingOn::NoWorkers);
    }
    Act::Record {
        event: LoadEvent::Checked { workers: *live_workers, capacity: *capacity_bytes },
        because: format!("{live_workers} workers live, {capacity_bytes} bytes"),
        intend: Some(Effect::LoadMetadata { path: 0 }),
    }
}

/// The metadata of a path is to be asked for, or was, and the reply is not recorded yet.
fn ask_metadata(path: usize, view: &View<'_>) -> Act<LoadEvent> {
    match (view.outcome, view.intent_view) {
        (Some(Outcome::Done(receipt)), _) => Act::Record {
            event: LoadEvent::MetadataRequested { task: receipt.task },
            because: "accepted".into(),
            intend: None,
        },
        (Some(Outcome::Refused { reason, message, retryable }), _) => super::refused(reason, message, *retryable),
        (Some(Outcome::Unknown { .. }) | None, IntentView::Landing { remaining_ms }) => {
            Act::Await(WaitingOn::Settling { remaining_ms })
        }
        (Some(Outcome::Unknown { .. }) | None, IntentView::None | IntentView::Sendable | IntentView::Expired) => {
            Act::Intend { effect: Effect::LoadMetadata { path }, because: "metadata not asked for".into() }
        }
    }
}

/// How far the engine is with the metadata of a path.
fn metadata(spec: &LoadSpec, path: usize, known: Known, answer: Option<&Answer>) -> Act<LoadEvent> {
    let Some(Answer::Metadata(seen, job)) = answer else { return super::unanswered() };
    let name = spec.paths.get(path).map_or("", String::as_str);
    match seen {
        MetadataView::Running { done } => {
            Act::Await(WaitingOn::Work(Progress { done: *done, total: 0, unit: "entries" }))
        }
        MetadataView::Missing => Act::Fail {
            reason: "PathNotFound".into(),
            message: format!("{} exists in neither the cache nor its under-storage; correct the path", short(name)),
        },
        MetadataView::Forgotten => {
            Act::Intend { effect: Effect::LoadMetadata { path }, because: "the engine forgot the task".into() }
        }
        MetadataView::Failed { message } => Act::Retry { reason: "MetadataFailed", message: message.clone() },
        MetadataView::Loaded(tree) => metadata_loaded(spec, path, known, tree, job.as_ref()),
    }
}

/// Everything under a path is known: on to the next path, or to the data if the cache can hold it.
fn metadata_loaded(
    spec: &LoadSpec,
    path: usize,
    known: Known,
    tree: &TreeView,
    job: Option<&JobView>,
) -> Act<LoadEvent> {
    let more = path + 1 < spec.paths.len();
    let wanted = known.bytes.saturating_add(tree.bytes);
    if let Some(fail) = too_large(spec, wanted, known.capacity) {
        return fail;
    }
    let intend = if more {
        Some(Effect::LoadMetadata { path: path + 1 })
    } else {
        // The job of the first path is known not to run: the submit may share this write.
        job.is_some_and(|j| j.state != JobState::Running).then_some(Effect::SubmitLoad { path: 0 })
    };
    Act::Record {
        event: LoadEvent::MetadataLoaded { files: tree.files, bytes: tree.bytes, more },
        because: format!("{} files, {} bytes", tree.files, tree.bytes),
        intend,
    }
}

/// A load that cannot fit fails before it evicts what is cached now.
fn too_large(spec: &LoadSpec, bytes: i64, capacity: i64) -> Option<Act<LoadEvent>> {
    let needed = i128::from(bytes) * i128::from(spec.min_cached_percent) / 100;
    (capacity > 0 && needed > i128::from(capacity)).then(|| Act::Fail {
        reason: "ExceedsCapacity".into(),
        message: format!(
            "{needed} bytes have to be cached and the live workers hold {capacity}; \
             lower minCachedPercent, load less, or add workers"
        ),
    })
}

/// The job of a path, as the engine shows it.
fn data(
    spec: &LoadSpec,
    path: usize,
    started: bool,
    submitted: bool,
    job: &JobView,
    view: &View<'_>,
) -> Act<LoadEvent> {
    if !started && job.state == JobState::Running {
        let path = spec.paths.get(path).map_or("", String::as_str);
        return Act::Await(WaitingOn::ForeignJob { path: short(path) });
    }
    if !submitted {
        return submitting(path, view, Some((spec, job)));
    }
    let more = path + 1 < spec.paths.len();
    match &job.state {
        JobState::Running => Act::Await(WaitingOn::Work(Progress {
            done: job.loaded_bytes,
            total: job.total_bytes.unwrap_or(0),
            unit: "bytes",
        })),
        JobState::Succeeded => loaded(job, true, more),
        JobState::Absent | JobState::Stopped => {
            let why = if job.state == JobState::Absent { "the engine forgot the job" } else { "somebody stopped the job" };
            Act::Intend { effect: Effect::SubmitLoad { path }, because: why.into() }
        }
        JobState::Failed { missing: true, message } => {
            Act::Fail { reason: "PathNotFound".into(), message: message.clone() }
        }
        JobState::Failed { missing: false, message } => Act::Retry { reason: "LoadFailed", message: message.clone() },
    }
}

fn loaded(job: &JobView, attributed: bool, more: bool) -> Act<LoadEvent> {
    Act::Record {
        event: LoadEvent::DataLoaded { bytes: job.loaded_bytes, failed: job.failed_files, attributed, more },
        because: format!("{} files, {} bytes, {} failed", job.files, job.loaded_bytes, job.failed_files),
        intend: None,
    }
}

/// The submit of a path is to be tried, or was, and its reply is not recorded yet.
fn submitting(path: usize, view: &View<'_>, seen: Option<(&LoadSpec, &JobView)>) -> Act<LoadEvent> {
    match view.outcome {
        Some(Outcome::Done(receipt)) => {
            return Act::Record {
                event: LoadEvent::LoadSubmitted {
                    attached: receipt.attached,
                    job: receipt.job.as_deref().map(|j| crate::lifecycle::cut(j, 64)),
                },
                because: if receipt.attached { "joined a job of the path".into() } else { "accepted".into() },
                intend: None,
            };
        }
        Some(Outcome::Refused { reason, message, retryable }) => return super::refused(reason, message, *retryable),
        Some(Outcome::Unknown { .. }) | None => {}
    }
    let submit = |why: &str| Act::Intend { effect: Effect::SubmitLoad { path }, because: why.into() };
    let Some((spec, job)) = seen else { return super::unanswered() };
    let running = job.state == JobState::Running;
    match view.intent_view {
        // We have recorded an intent, nothing foreign ran before it: what runs is ours.
        IntentView::Landing { .. } | IntentView::Expired if running => Act::Record {
            event: LoadEvent::LoadSubmitted { attached: true, job: None },
            because: "found running after the intent".into(),
            intend: None,
        },
        IntentView::Landing { remaining_ms } => Act::Await(WaitingOn::Settling { remaining_ms }),
        IntentView::Expired if job.state == JobState::Succeeded => {
            // An older job of the path leaves the same trace, so what is cached decides.
            loaded(job, false, path + 1 < spec.paths.len())
        }
        IntentView::Expired => submit("no job of ours after the last attempt"),
        IntentView::None | IntentView::Sendable if running => Act::Record {
            event: LoadEvent::LoadSubmitted { attached: true, job: None },
            because: "our job still runs".into(),
            intend: None,
        },
        IntentView::None | IntentView::Sendable => submit("no job runs on the path"),
    }
}

/// Success is what the engine holds, not what its job says.
fn verify(
    spec: &LoadSpec,
    failed: i64,
    attributed: bool,
    known: Known,
    answer: Option<&Answer>,
) -> Act<LoadEvent> {
    let Some(Answer::Tree(tree)) = answer else { return super::unanswered() };
    if let Some(missing) = &tree.missing {
        return Act::Fail {
            reason: "PathNotFound".into(),
            message: format!("{} vanished while it was loaded", short(missing)),
        };
    }
    let percent = tree.cached_percent();
    if failed > spec.max_failed_files {
        let message = format!("{failed} files failed, maxFailedFiles allows {}", spec.max_failed_files);
        return Act::Retry { reason: "FilesFailed", message };
    }
    if percent >= i64::from(spec.min_cached_percent) {
        return Act::Record {
            event: LoadEvent::Verified { files: tree.files, bytes: tree.bytes, cached_bytes: tree.cached_bytes },
            because: format!("{} of {} bytes cached", tree.cached_bytes, tree.bytes),
            intend: None,
        };
    }
    if !attributed {
        return Act::Record {
            event: LoadEvent::NotOurs { cached_percent: percent },
            because: format!("{percent} % cached by a job of unknown author"),
            intend: None,
        };
    }
    // The under-storage may have grown since the plan.
    too_large(spec, tree.bytes, known.capacity).unwrap_or_else(|| Act::Retry {
        reason: "NotCached",
        message: format!(
            "{percent} % of {} bytes is cached and minCachedPercent asks for {}; the cache holds {} bytes in all",
            tree.bytes, spec.min_cached_percent, known.capacity
        ),
    })
}

/// A path for a sentence.
fn short(path: &str) -> String {
    crate::lifecycle::cut(path, 120)
}

#[cfg(test)]
#[path = "load_tests.rs"]
mod tests;
