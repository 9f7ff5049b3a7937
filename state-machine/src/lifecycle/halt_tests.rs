use super::*;
use crate::effect::{Answer, Health, JobState, Receipt, Trouble, TroubleKind};
use crate::lifecycle::decide;
use crate::lifecycle::step::Step;
use crate::observation::Observation;
use crate::operation::Event;
use crate::operation::load::{Known as Bytes, Load};
use crate::spec::OperationSpec;
use crate::testing::{calm, folded, intending, job, load};

fn at() -> Load {
    let known = Bytes { files: 1, bytes: 10, capacity: 100 };
    Load::LoadingData { path: 0, started: true, submitted: true, failed: 0, attributed: true, known }
}

fn cancelling(spec: &OperationSpec, at: Load) -> Folded {
    folded(spec, State::Load(Step::Cancelling { at }))
}

fn sees(state: JobState) -> Observation {
    Observation { answer: Some(Ok(Answer::Job(job(state, 1)))), ..calm() }
}

fn down() -> Observation {
    let trouble = Trouble { kind: TroubleKind::Unreachable, message: "no address answers".into() };
    Observation { answer: Some(Err(trouble)), ..calm() }
}

/// The reason of a wait, the name of an event, or the effect that is intended.
fn says(spec: &OperationSpec, op: &Folded, seen: &Observation) -> String {
    match decide(spec, op, seen) {
        Decision::Await(w) => w.reason().into(),
        Decision::Record { intend: Some(effect), .. } => effect.name().into(),
        Decision::Record { event, .. } => event.name().into(),
        other @ (Decision::Perform(_)
        | Decision::TakeHold
        | Decision::Release
        | Decision::Seal
        | Decision::Rest) => panic!("{other:?}"),
    }
}

#[test]
fn a_running_job_is_stopped_and_read_back_before_anything_ends() {
    let spec = load(&["/a"]);
    let op = cancelling(&spec, at());
    assert_eq!(says(&spec, &op, &sees(JobState::Running)), "stopLoad");
    for rest in [JobState::Absent, JobState::Stopped, JobState::Succeeded] {
        assert_eq!(says(&spec, &op, &sees(rest)), "Halted");
    }
    assert_eq!(says(&spec, &op, &calm()), "EngineNotAsked");
}

#[test]
fn an_answer_to_another_question_proves_no_rest() {
    let spec = load(&["/a"]);
    let seen = Observation { answer: Some(Ok(Answer::Health(Health::default()))), ..calm() };
    assert_eq!(says(&spec, &cancelling(&spec, at()), &seen), "EngineNotAsked");
}

#[test]
fn nothing_ends_while_any_call_may_still_land() {
    let spec = load(&["/a"]);
    let landing = IntentView::Landing { remaining_ms: 500 };
    for op in [
        Folded {
            state: State::Load(Step::Cancelling { at: at() }),
            ..intending(folded(&spec, State::Load(Step::Arm(at()))), Effect::SubmitLoad { path: 0 })
        },
        intending(cancelling(&spec, at()), Effect::StopLoad { path: 0 }),
    ] {
        for job in [JobState::Running, JobState::Absent] {
            let seen = Observation { intent: landing, ..sees(job) };
            assert_eq!(says(&spec, &op, &seen), "Settling");
        }
        let seen = Observation { intent: IntentView::Expired, ..sees(JobState::Absent) };
        assert_eq!(says(&spec, &op, &seen), "Halted");
    }
    let stop = intending(cancelling(&spec, at()), Effect::StopLoad { path: 0 });
    let done = Some(Outcome::Done(Receipt::default()));
    let told = Observation { intent: landing, outcome: done, ..sees(JobState::Stopped) };
    assert_eq!(says(&spec, &stop, &told), "Halted", "a stop that was answered has landed");
}

#[test]
fn a_refused_forward_effect_keeps_nothing_from_coming_to_rest() {
    let spec = load(&["/a"]);
    let op = intending(folded(&spec, State::Load(Step::Arm(at()))), Effect::SubmitLoad { path: 0 });
    let op = Folded { state: State::Load(Step::Cancelling { at: at() }), ..op };
    let outcome = Some(Outcome::Refused { reason: "R".into(), message: "m".into(), retryable: true });
    let seen = Observation { intent: IntentView::Expired, outcome, ..sees(JobState::Absent) };
    assert_eq!(says(&spec, &op, &seen), "Halted");
}

#[test]
fn a_stop_that_did_not_help_is_repeated_ever_more_rarely() {
    let spec = load(&["/a"]);
    let op = intending(cancelling(&spec, at()), Effect::StopLoad { path: 0 });
    let refused = Outcome::Refused { reason: "R".into(), message: "m".into(), retryable: true };
    for outcome in [None, Some(Outcome::Done(Receipt::default())), Some(refused)] {
        let reason =
            if matches!(outcome, Some(Outcome::Refused { .. })) { "EngineRefused" } else { "NotAtRest" };
        for (step, entry, wanted) in [
            (1_999, 1_999, reason),
            (2_000, 2_000, "stopLoad"),
            (60_000, 29_999, reason),
            (60_000, 30_000, "stopLoad"),
            (CLEANUP_BOUND_MS, CLEANUP_BOUND_MS, "GotStuck"),
        ] {
            let base = Observation {
                intent: IntentView::Expired,
                outcome: outcome.clone(),
                ..sees(JobState::Running)
            };
            let seen = Observation { since_step_ms: step, since_entry_ms: entry, ..base };
            assert_eq!(says(&spec, &op, &seen), wanted, "{outcome:?} after {step} ms");
        }
    }
    let late = Observation { since_step_ms: i64::MAX, ..sees(JobState::Running) };
    assert_eq!(
        says(&spec, &cancelling(&spec, at()), &late),
        "stopLoad",
        "even after a long absence it tries once"
    );
}

#[test]
fn an_engine_that_is_away_makes_it_stuck_after_the_bound_with_a_sentence_that_helps() {
    let spec = load(&["/a"]);
    let op = cancelling(&spec, at());
    assert_eq!(says(&spec, &op, &down()), "EngineUnreachable");
    let seen = Observation { since_step_ms: CLEANUP_BOUND_MS, ..down() };
    let Decision::Record { event: Event::Shared(Shared::GotStuck { why }), .. } = decide(&spec, &op, &seen)
    else {
        panic!()
    };
    assert_eq!(why.reason, "EngineUnreachable");
    for part in ["600 s", "no address answers", "control.retry", "control.skip.step: cancelling"] {
        assert!(why.message.contains(part), "{}", why.message);
    }
}

#[test]
fn the_whole_help_fits_a_failure_in_every_step() {
    let spec = load(&["/a"]);
    let trouble = Trouble { kind: TroubleKind::Unreachable, message: "ü".repeat(300) };
    let answer = Some(Err(trouble));
    let seen = Observation { answer, since_step_ms: CLEANUP_BOUND_MS, ..calm() };
    let why = Failure::new("R", "m");
    for step in [Step::Pausing { at: at() }, Step::Cancelling { at: at() }, Step::Aborting { at: at(), why }]
    {
        let name = step.name();
        let op = folded(&spec, State::Load(step));
        let Decision::Record { event: Event::Shared(Shared::GotStuck { why }), .. } =
            decide(&spec, &op, &seen)
        else {
            panic!()
        };
        assert!(why.message.ends_with(&format!("control.skip.step: {name}")), "{}", why.message);
    }
}

#[test]
fn a_listing_is_cancelled_by_one_accepted_call() {
    let spec = load(&["/a"]);
    let known = Bytes::default();
    let listing = Load::LoadingMetadata { path: 0, started: true, requested: true, task: Some(4), known };
    let op = cancelling(&spec, listing.clone());
    assert_eq!(says(&spec, &op, &calm()), "cancelMetadata");
    let sent = intending(op, Effect::CancelMetadata { path: 0, task: 4 });
    let done = Observation {
        outcome: Some(Outcome::Done(Receipt::default())),
        intent: IntentView::Expired,
        ..calm()
    };
    assert_eq!(says(&spec, &sent, &done), "Halted");
    let lost =
        Observation { intent: IntentView::Expired, since_entry_ms: 5_000, since_step_ms: 5_000, ..calm() };
    assert_eq!(says(&spec, &sent, &lost), "cancelMetadata");
    let unnamed = Load::LoadingMetadata { path: 0, started: true, requested: true, task: None, known };
    assert_eq!(says(&spec, &cancelling(&spec, unnamed), &calm()), "Halted");
}

#[test]
fn the_law_lets_no_forward_effect_begin_while_the_engine_is_brought_to_rest() {
    let spec = load(&["/a"]);
    for effect in crate::testing::effects() {
        let op = cancelling(&spec, at());
        let ride = Some(crate::testing::intent(effect.clone(), op.fence));
        let event = Event::Shared(Shared::Intended {});
        let change = crate::lifecycle::Change { event, intent: ride, sealed_through: None };
        assert_eq!(op.apply(&change).is_ok(), effect.stops(), "{effect:?}");
    }
}
