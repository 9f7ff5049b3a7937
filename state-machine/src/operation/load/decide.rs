//! What a load does next, seen from each of its own steps. The order inside a step: the outcome of the last effect,
//! then the wait until nothing can land any more, then what the engine shows.

use super::{Known, Load, LoadEvent};
use crate::decision::{Progress, WaitingOn};
use crate::effect::{Answer, Effect, Health, JobState, JobView, MetadataView, Outcome, TreeView};
use crate::observation::IntentView;
use crate::operation::arm::{Act, View};
use crate::operation::{Called, again, called, refused, trouble, unanswered};
use crate::spec::{ArmSpec, LoadSpec};

/// What to do in this step.
pub(super) fn decide(state: &Load, view: &View<'_>) -> Act<LoadEvent> {
    let ArmSpec::Load(spec) = &view.spec.operation else {
        return Act::Fail {
            reason: "WrongArm".into(),
            message: "the state is a load's, the spec is not".into(),
        };
    };
    if let Some(Err(problem)) = view.answer {
        return trouble(problem);
    }
    let answer = view.answer.and_then(Result::ok);
    match state {
        Load::Preflight {} => preflight(spec, answer),
        Load::LoadingMetadata { path, requested, known, .. } => {
            if *requested {
                metadata(spec, *path, *known, view)
            } else {
                ask_metadata(*path, view)
            }
        }
        Load::LoadingData { path, started, submitted, known, .. } => match answer {
            Some(Answer::Job(job)) => data(spec, *path, *started, *submitted, *known, job, view),
            _ => submitting(*path, view, None),
        },
        Load::Verifying { failed, attributed, known } => verify(spec, *failed, *attributed, *known, answer),
    }
}

/// The engine can do what is asked, or it says why not.
fn preflight(spec: &LoadSpec, answer: Option<&Answer>) -> Act<LoadEvent> {
    let Some(Answer::Health(Health { live_workers, capacity_bytes, load_replicas })) = answer else {
        return unanswered();
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
    match called(view) {
        Called::Accepted(receipt) => Act::Record {
            event: LoadEvent::MetadataRequested { task: receipt.task },
            because: "accepted".into(),
            intend: None,
        },
        Called::Refused { reason, message, retryable } => refused(reason, message, retryable),
        Called::Landing(waiting) => Act::Await(waiting),
        Called::Open => {
            Act::Intend { effect: Effect::LoadMetadata { path }, because: "metadata not asked for".into() }
        }
    }
}

/// How far the engine is with the metadata of a path.
fn metadata(spec: &LoadSpec, path: usize, known: Known, view: &View<'_>) -> Act<LoadEvent> {
    let Some(Ok(Answer::Metadata(seen, job))) = view.answer else { return unanswered() };
    let name = spec.paths.get(path).map_or("", String::as_str);
    match seen {
        MetadataView::Running { done } => {
            Act::Await(WaitingOn::Work(Progress { done: *done, total: 0, unit: "entries" }))
        }
        MetadataView::Missing => Act::Fail {
            reason: "PathNotFound".into(),
            message: format!(
                "{} exists in neither the cache nor its under-storage; correct the path",
                short(name)
            ),
        },
        MetadataView::Forgotten => again(view, Effect::LoadMetadata { path }, "the engine forgot the task"),
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

/// How far the job is. Alluxio's own total grows as files are handed out (measured on 2.9.6), so the plan's bytes are
/// the measure wherever the job is the only one.
fn working(spec: &LoadSpec, known: Known, job: &JobView) -> Act<LoadEvent> {
    let total = if spec.paths.len() == 1 { known.bytes } else { job.total_bytes.unwrap_or(0) };
    Act::Await(WaitingOn::Work(Progress { done: job.loaded_bytes, total, unit: "bytes" }))
}

/// The job of a path, as the engine shows it.
fn data(
    spec: &LoadSpec,
    path: usize,
    started: bool,
    submitted: bool,
    known: Known,
    job: &JobView,
    view: &View<'_>,
) -> Act<LoadEvent> {
    if !started && job.state == JobState::Running {
        let path = spec.paths.get(path).map_or("", String::as_str);
        return Act::Await(WaitingOn::ForeignJob { path: short(path) });
    }
    let forgotten = started && matches!(job.state, JobState::Failed { missing: true, .. });
    if !submitted && forgotten && view.intent.is_none() {
        return metadata_lost("the engine does not find the path any more");
    }
    if !submitted {
        return submitting(path, view, Some((spec, job)));
    }
    let more = path + 1 < spec.paths.len();
    match &job.state {
        JobState::Running => working(spec, known, job),
        JobState::Succeeded => loaded(job, true, more),
        JobState::Absent => again(view, Effect::SubmitLoad { path }, "the engine forgot the job"),
        JobState::Stopped => again(view, Effect::SubmitLoad { path }, "somebody stopped the job"),
        // It was there when the metadata was loaded. The next look at the metadata tells whether it went or the engine
        // forgot it.
        JobState::Failed { missing: true, message } => {
            Act::Retry { reason: "PathNotFound", message: message.clone() }
        }
        JobState::Failed { missing: false, message } => {
            Act::Retry { reason: "LoadFailed", message: message.clone() }
        }
    }
}

fn metadata_lost(because: &str) -> Act<LoadEvent> {
    Act::Record { event: LoadEvent::MetadataLost {}, because: because.into(), intend: None }
}

fn loaded(job: &JobView, attributed: bool, more: bool) -> Act<LoadEvent> {
    let which = job.failed_example.as_ref().map_or_else(String::new, |file| format!(", such as {file}"));
    Act::Record {
        event: LoadEvent::DataLoaded { bytes: job.loaded_bytes, failed: job.failed_files, attributed, more },
        because: format!(
            "{} files, {} bytes, {} failed{which}",
            job.files, job.loaded_bytes, job.failed_files
        ),
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
        Some(Outcome::Refused { reason, message, retryable }) => {
            return refused(reason, message, *retryable);
        }
        Some(Outcome::Unknown { .. }) | None => {}
    }
    let submit = |why: &str| Act::Intend { effect: Effect::SubmitLoad { path }, because: why.into() };
    let Some((spec, job)) = seen else { return unanswered() };
    let running = job.state == JobState::Running;
    match view.intent_view {
        // Even if a job runs: what was sent may land once more, after a cancel has stopped that job.
        IntentView::Landing { remaining_ms } => Act::Await(WaitingOn::Settling { remaining_ms }),
        // We have recorded an intent, nothing foreign ran before it: what runs is ours.
        IntentView::Expired if running => Act::Record {
            event: LoadEvent::LoadSubmitted { attached: true, job: None },
            because: "found running after the intent".into(),
            intend: None,
        },
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
    let Some(Answer::Tree(tree)) = answer else { return unanswered() };
    if let Some(missing) = &tree.missing {
        return Act::Fail {
            reason: "PathNotFound".into(),
            message: format!("{} vanished while it was loaded", short(missing)),
        };
    }
    if tree.files < known.files {
        return metadata_lost(&format!("{} of {} files are known", tree.files, known.files));
    }
    let percent = tree.cached_percent();
    let enough = percent >= i64::from(spec.min_cached_percent);
    if !attributed && (!enough || failed > spec.max_failed_files) {
        return Act::Record {
            event: LoadEvent::NotOurs { cached_percent: percent },
            because: format!("{percent} % cached and {failed} files failed by a job of unknown author"),
            intend: None,
        };
    }
    if failed > spec.max_failed_files {
        let message = format!("{failed} files failed, maxFailedFiles allows {}", spec.max_failed_files);
        return Act::Retry { reason: "FilesFailed", message };
    }
    if enough {
        return Act::Record {
            event: LoadEvent::Verified {
                files: tree.files,
                bytes: tree.bytes,
                cached_bytes: tree.cached_bytes,
            },
            because: format!("{} of {} bytes cached", tree.cached_bytes, tree.bytes),
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
