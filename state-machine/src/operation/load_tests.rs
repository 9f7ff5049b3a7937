use super::*;
use crate::decision::{Decision, WaitingOn};
use crate::effect::{Health, JobView, MetadataView, Outcome, Receipt, TreeView, Trouble, TroubleKind};
use crate::lifecycle::step::Shared;
use crate::lifecycle::{Folded, decide, query};
use crate::observation::{IntentView, Observation};
use crate::operation::Event;
use crate::spec::ArmSpec;
use crate::testing::{calm, intending, load, loading};

const KNOWN: Known = Known { files: 2, bytes: 200, capacity: 1_000 };

fn listing(path: usize, requested: bool) -> Load {
    let task = requested.then_some(4);
    Load::LoadingMetadata { path, started: requested, requested, task, known: KNOWN }
}

fn data(path: usize, started: bool, submitted: bool) -> Load {
    Load::LoadingData { path, started, submitted, failed: 0, attributed: true, known: KNOWN }
}

fn view(state: JobState) -> JobView {
    JobView { total_bytes: Some(100), ..crate::testing::job(state, 40) }
}

fn sees(answer: Answer) -> Observation {
    Observation { answer: Some(Ok(answer)), since_entry_ms: 60_000, ..calm() }
}

fn job(state: JobState) -> Observation {
    sees(Answer::Job(view(state)))
}

fn tree(bytes: i64, cached_bytes: i64) -> TreeView {
    TreeView { files: 2, bytes, cached_bytes, missing: None }
}

/// Name of the event or reason of the wait; a failure with its reason; the effect that rides along.
fn says(spec: &OperationSpec, op: &Folded, seen: &Observation) -> String {
    match decide(spec, op, seen) {
        Decision::Await(w) => w.reason().into(),
        Decision::Record { event, intend, .. } => {
            let ride = intend.map_or_else(String::new, |e| format!(" + {}", e.name()));
            let why = if let Event::Shared(Shared::Aborted { why } | Shared::AttemptFailed { why }) = &event {
                format!(" {}", why.reason)
            } else {
                String::new()
            };
            format!("{}{why}{ride}", event.name())
        }
        other @ (Decision::Perform(_)
        | Decision::TakeHold
        | Decision::Release
        | Decision::Seal
        | Decision::Rest) => panic!("{other:?}"),
    }
}

fn step(at: Load, seen: &Observation) -> String {
    let spec = load(&["/a", "/b"]);
    says(&spec, &loading(&spec, at), seen)
}

#[test]
fn preflight_wants_workers_and_what_the_engine_can_do() {
    let health = |live_workers, load_replicas| {
        sees(Answer::Health(Health { live_workers, capacity_bytes: 100, load_replicas }))
    };
    let mut spec = load(&["/a"]);
    let op = loading(&spec, Load::Preflight {});
    assert_eq!(says(&spec, &op, &health(3, false)), "Checked + loadMetadata");
    assert_eq!(says(&spec, &op, &health(0, false)), "NoLiveWorkers");
    assert_eq!(says(&spec, &op, &calm()), "EngineNotAsked");
    for (replicas, able, wanted) in [
        (Some(1), false, "Checked + loadMetadata"),
        (Some(2), true, "Checked + loadMetadata"),
        (Some(2), false, "Aborted Unsupported"),
    ] {
        if let ArmSpec::Load(l) = &mut spec.operation {
            l.replicas = replicas;
        }
        assert_eq!(says(&spec, &op, &health(1, able)), wanted);
    }
}

#[test]
fn each_step_asks_the_question_that_it_needs() {
    let spec = load(&["/a", "/b"]);
    let asks = |at: Load| query(&spec, &loading(&spec, at));
    assert_eq!(asks(Load::Preflight {}), Some(Query::Health));
    assert_eq!(asks(listing(0, false)), None);
    let metadata = |path: &str, then: Option<&str>| {
        Some(Query::Metadata { path: path.into(), task: Some(4), then: then.map(str::to_owned) })
    };
    assert_eq!(asks(listing(0, true)), metadata("/a", None));
    assert_eq!(
        asks(listing(1, true)),
        metadata("/b", Some("/a")),
        "the job of the first path shares the question"
    );
    assert_eq!(asks(data(1, false, false)), Some(Query::LoadJob { path: "/b".into() }));
    assert_eq!(asks(listing(9, true)), None, "an index that the spec does not have asks nothing");
}

#[test]
fn metadata_is_asked_for_once_and_again_only_when_nothing_can_land() {
    let spec = load(&["/a", "/b"]);
    let op = intending(loading(&spec, listing(0, false)), Effect::LoadMetadata { path: 0 });
    let outcome = |o| Observation { outcome: Some(o), intent: IntentView::Expired, ..calm() };
    let done = Outcome::Done(Receipt { task: Some(8), ..Receipt::default() });
    assert_eq!(says(&spec, &op, &outcome(done)), "MetadataRequested");
    let refused = |retryable| Outcome::Refused { reason: "Denied".into(), message: "m".into(), retryable };
    assert_eq!(says(&spec, &op, &outcome(refused(true))), "AttemptFailed EngineRefused");
    assert_eq!(says(&spec, &op, &outcome(refused(false))), "Aborted Denied");
    let landing = Observation { intent: IntentView::Landing { remaining_ms: 1 }, ..calm() };
    assert_eq!(says(&spec, &op, &landing), "Settling");
    assert_eq!(
        says(&spec, &op, &Observation { intent: IntentView::Expired, ..calm() }),
        "Intended + loadMetadata"
    );
}

#[test]
fn a_listing_ends_in_the_next_path_or_in_the_first_submit() {
    let known = |bytes, job: Option<JobState>| {
        sees(Answer::Metadata(MetadataView::Loaded(tree(bytes, 0)), job.map(view)))
    };
    assert_eq!(step(listing(0, true), &known(100, None)), "MetadataLoaded + loadMetadata");
    assert_eq!(step(listing(1, true), &known(100, Some(JobState::Absent))), "MetadataLoaded + submitLoad");
    assert_eq!(step(listing(1, true), &known(100, Some(JobState::Stopped))), "MetadataLoaded + submitLoad");
    let foreign = known(100, Some(JobState::Running));
    assert_eq!(
        step(listing(1, true), &foreign),
        "MetadataLoaded",
        "a job that runs already is not ours to submit"
    );
    assert_eq!(step(listing(1, true), &known(100, None)), "MetadataLoaded");
    assert_eq!(step(listing(1, true), &known(801, None)), "Aborted ExceedsCapacity");
    assert_eq!(step(listing(1, true), &known(800, None)), "MetadataLoaded");
    assert_eq!(step(listing(0, true), &known(i64::MAX, None)), "Aborted ExceedsCapacity");
}

#[test]
fn what_the_engine_says_of_a_listing_is_waited_for_retried_or_final() {
    let says = |m: MetadataView| step(listing(0, true), &sees(Answer::Metadata(m, None)));
    assert_eq!(says(MetadataView::Running { done: 7 }), "Working");
    assert_eq!(says(MetadataView::Missing), "Aborted PathNotFound");
    assert_eq!(says(MetadataView::Failed { message: "m".into() }), "AttemptFailed MetadataFailed");
    assert_eq!(says(MetadataView::Forgotten), "Intended + loadMetadata");
    let at_once =
        Observation { since_entry_ms: 9_999, ..sees(Answer::Metadata(MetadataView::Forgotten, None)) };
    assert_eq!(step(listing(0, true), &at_once), "AttemptFailed WorkLost");
}

#[test]
fn a_job_that_runs_before_the_first_intent_is_foreign() {
    let seen = job(JobState::Running);
    assert_eq!(step(data(0, false, false), &seen), "ForeignJob");
    let Decision::Await(WaitingOn::ForeignJob { path }) =
        decide(&load(&["/a", "/b"]), &loading(&load(&["/a", "/b"]), data(1, false, false)), &seen)
    else {
        panic!()
    };
    assert_eq!(path, "/b");
    for state in [JobState::Absent, JobState::Stopped, JobState::Succeeded] {
        assert_eq!(step(data(0, false, false), &job(state)), "Intended + submitLoad");
    }
    assert_eq!(step(data(0, true, false), &seen), "LoadSubmitted", "after an intent it is ours");
    assert_eq!(step(data(0, false, false), &calm()), "EngineNotAsked");
}

#[test]
fn the_outcome_of_a_submit_is_recorded_or_found_out() {
    let spec = load(&["/a", "/b"]);
    let op = intending(loading(&spec, data(0, false, false)), Effect::SubmitLoad { path: 0 });
    let at = |intent, seen: Observation| says(&spec, &op, &Observation { intent, ..seen });
    let landing = IntentView::Landing { remaining_ms: 1 };
    for state in [JobState::Running, JobState::Absent, JobState::Succeeded] {
        assert_eq!(at(landing, job(state)), "Settling", "what was sent may land once more");
    }
    assert_eq!(at(IntentView::Expired, job(JobState::Running)), "LoadSubmitted");
    assert_eq!(at(IntentView::Expired, job(JobState::Absent)), "Intended + submitLoad");
    assert_eq!(at(IntentView::Expired, job(JobState::Succeeded)), "DataLoaded");
    let unclear = Observation { intent: IntentView::Expired, ..job(JobState::Succeeded) };
    let Decision::Record { event, .. } = decide(&spec, &op, &unclear) else { panic!() };
    assert!(
        matches!(event, Event::Load(LoadEvent::DataLoaded { attributed: false, more: true, .. })),
        "{event:?}"
    );
    let done = Outcome::Done(Receipt { job: Some("j".repeat(500)), ..Receipt::default() });
    let seen = Observation { outcome: Some(done), ..job(JobState::Running) };
    let Decision::Record { event: Event::Load(LoadEvent::LoadSubmitted { job, .. }), .. } =
        decide(&spec, &op, &Observation { intent: IntentView::Expired, ..seen })
    else {
        panic!()
    };
    assert_eq!(job.unwrap().len(), 64);
}

#[test]
fn a_submitted_job_is_followed_to_its_end() {
    let says = |state| step(data(1, true, true), &job(state));
    let failed = |missing| JobState::Failed { missing, message: "m".into() };
    assert_eq!(says(JobState::Running), "Working");
    assert_eq!(says(JobState::Succeeded), "DataLoaded");
    assert_eq!(says(failed(false)), "AttemptFailed LoadFailed");
    assert_eq!(says(failed(true)), "AttemptFailed PathNotFound");
    for lost in [JobState::Absent, JobState::Stopped] {
        assert_eq!(says(lost.clone()), "Intended + submitLoad");
        let at_once = Observation { since_entry_ms: 0, ..job(lost) };
        assert_eq!(step(data(1, true, true), &at_once), "AttemptFailed WorkLost");
    }
}

#[test]
fn files_that_the_engine_forgot_are_looked_for_again_once_the_attempt_is_counted() {
    let missing = || job(JobState::Failed { missing: true, message: "m".into() });
    assert_eq!(step(data(1, true, true), &missing()), "AttemptFailed PathNotFound");
    assert_eq!(step(data(1, true, false), &missing()), "MetadataLost");
    // What is left of an older job says nothing about a path that was not asked for yet.
    assert_eq!(step(data(1, false, false), &missing()), "Intended + submitLoad");
    let fewer = sees(Answer::Tree(TreeView { files: KNOWN.files - 1, ..tree(200, 200) }));
    assert_eq!(step(Load::Verifying { failed: 0, attributed: true, known: KNOWN }, &fewer), "MetadataLost");
}

#[test]
fn success_is_what_is_cached_not_what_the_job_says() {
    let spec = |percent, files| {
        let mut spec = load(&["/a"]);
        if let ArmSpec::Load(l) = &mut spec.operation {
            (l.min_cached_percent, l.max_failed_files) = (percent, files);
        }
        spec
    };
    for (percent, allowed, failed, attributed, cached, wanted) in [
        (100, 0, 0, true, 200, "Verified"),
        (100, 0, 0, true, 199, "AttemptFailed NotCached"),
        (99, 0, 0, true, 199, "Verified"),
        (0, 0, 0, true, 0, "Verified"),
        (100, 0, 1, true, 200, "AttemptFailed FilesFailed"),
        (100, 1, 1, true, 200, "Verified"),
        (100, 0, 0, false, 200, "Verified"),
        (100, 0, 0, false, 199, "NotOurs"),
        (100, 0, 1, false, 200, "NotOurs"),
    ] {
        let spec = spec(percent, allowed);
        let op = loading(&spec, Load::Verifying { failed, attributed, known: KNOWN });
        let seen = sees(Answer::Tree(tree(200, cached)));
        assert_eq!(says(&spec, &op, &seen), wanted, "{percent} % {failed}/{allowed} {attributed} {cached}");
    }
    let op = loading(&spec(100, 0), Load::Verifying { failed: 0, attributed: true, known: KNOWN });
    let grown = sees(Answer::Tree(tree(1_001, 500)));
    assert_eq!(says(&spec(100, 0), &op, &grown), "Aborted ExceedsCapacity");
    let gone = sees(Answer::Tree(TreeView { missing: Some("/a".into()), ..tree(0, 0) }));
    assert_eq!(says(&spec(100, 0), &op, &gone), "Aborted PathNotFound");
    let empty = sees(Answer::Tree(tree(0, 0)));
    assert_eq!(says(&spec(100, 0), &op, &empty), "Verified", "nothing at all is cached completely");
}

#[test]
fn trouble_that_passes_is_waited_for_and_other_trouble_is_final() {
    for (kind, wanted) in [
        (TroubleKind::Unreachable, "EngineUnreachable"),
        (TroubleKind::NotReady, "EngineNotReady"),
        (TroubleKind::Unknown, "EngineError"),
        (TroubleKind::Refused, "Aborted EngineRefused"),
        (TroubleKind::NotFound, "Aborted NotFound"),
        (TroubleKind::Unsupported, "Aborted Unsupported"),
    ] {
        let seen = Observation { answer: Some(Err(Trouble { kind, message: "m".into() })), ..calm() };
        for at in [Load::Preflight {}, listing(0, true), data(0, true, true)] {
            assert_eq!(step(at, &seen), wanted);
        }
    }
}

#[test]
fn a_pause_forgets_what_was_sent_and_a_retry_does_not() {
    assert_eq!(data(1, true, true).resumed(), data(1, false, false));
    assert_eq!(data(1, true, true).retried(), data(1, true, false));
    assert_eq!(listing(1, true).resumed(), listing(1, false));
    assert_eq!(listing(1, true).retried(), listing(1, false));
    let verifying = Load::Verifying { failed: 3, attributed: false, known: KNOWN };
    assert_eq!(verifying.clone().resumed(), verifying);
    assert_eq!(verifying.retried(), data(0, false, false), "the count begins anew");
}

#[test]
fn counters_at_their_end_do_not_panic() {
    for at in Load::samples() {
        for event in Load::event_samples() {
            for path in [0, usize::MAX] {
                let at = match at.clone() {
                    Load::LoadingMetadata { started, requested, task, known, .. } => {
                        Load::LoadingMetadata { path, started, requested, task, known }
                    }
                    Load::LoadingData { started, submitted, failed, attributed, known, .. } => {
                        Load::LoadingData { path, started, submitted, failed, attributed, known }
                    }
                    other @ (Load::Preflight {} | Load::Verifying { .. }) => other,
                };
                let legal = Load::EDGES.iter().any(|e| e.from == at.name() && e.on == event_name(&event));
                assert_eq!(at.step(event.clone()).is_ok(), legal);
            }
        }
    }
}
