use super::*;
use crate::effect::{Answer, JobState, Trouble, TroubleKind};
use crate::ids::{PlanHash, Seq};
use crate::lifecycle::CLEANUP_BOUND_MS;
use crate::observation::{Predecessor, Target};
use crate::operation::State;
use crate::operation::free::Free;
use crate::operation::load::{Known as Bytes, Load};
use crate::spec::{Approve, RetryPolicy, RunAfter, Skip};
use crate::testing::{
    EPOCH, calm, failure, folded, free, freeing, intending, load, loading, run_after, samples,
};

/// What a decision amounts to: the event's name, or the reason of a wait, or the kind.
fn said(d: &Decision) -> &'static str {
    match d {
        Decision::Record { event, .. } => event.name(),
        Decision::Perform(_) => "(perform)",
        Decision::TakeHold => "(take)",
        Decision::Release => "(release)",
        Decision::Seal => "(seal)",
        Decision::Await(w) => w.reason(),
        Decision::Rest => "(rest)",
    }
}

fn says(spec: &OperationSpec, op: &Folded, seen: &Observation) -> &'static str {
    said(&decide(spec, op, seen))
}

/// The failure that a decision records.
fn fails(spec: &OperationSpec, op: &Folded, seen: &Observation) -> Failure {
    let decision = decide(spec, op, seen);
    if let Decision::Record {
        event: Event::Shared(Shared::Aborted { why } | Shared::AttemptFailed { why }),
        ..
    } = decision
    {
        return why;
    }
    panic!("{decision:?}")
}

fn with(spec: &OperationSpec, edit: impl FnOnce(&mut OperationSpec)) -> OperationSpec {
    let mut spec = spec.clone();
    edit(&mut spec);
    spec
}

fn step(spec: &OperationSpec, step: Step<Load>) -> Folded {
    folded(spec, State::Load(step))
}

/// A load whose job was submitted.
fn submitted() -> Load {
    let known = Bytes { files: 1, bytes: 10, capacity: 100 };
    Load::LoadingData { path: 0, started: true, submitted: true, failed: 0, attributed: true, known }
}

fn job(state: JobState) -> Option<Result<Answer, Trouble>> {
    Some(Ok(Answer::Job(crate::testing::job(state, 1))))
}

fn unlocked() -> Observation {
    Observation { lock: LockView::Available, ..calm() }
}

#[test]
fn what_a_newer_controller_wrote_is_left_alone_before_anything_else() {
    for s in samples() {
        let spec = with(&s.spec, |s| s.control.cancel = true);
        for state in &s.states {
            let mut op = folded(&s.spec, state.clone());
            op.machine_version = MACHINE_VERSION + 1;
            assert_eq!(says(&spec, &op, &calm()), "WaitingForNewerController");
        }
    }
}

#[test]
fn every_state_and_a_blank_observation_give_a_decision_and_never_an_effect() {
    for s in samples() {
        for state in &s.states {
            let d = decide(&s.spec, &folded(&s.spec, state.clone()), &Observation::default());
            assert!(!matches!(d, Decision::Perform(_) | Decision::TakeHold | Decision::Release), "{d:?}");
        }
    }
}

#[test]
fn the_end_gives_the_lock_back_then_seals_then_rests() {
    let spec = with(&load(&["/a"]), |s| s.control.cancel = true);
    for end in [Step::Succeeded {}, Step::Cancelled {}, Step::Failed { why: failure() }] {
        let mut op = step(&spec, end);
        assert_eq!(says(&spec, &op, &calm()), "(release)");
        assert_eq!(says(&spec, &op, &unlocked()), "(seal)");
        assert_eq!(says(&spec, &op, &Observation { lock: LockView::Unknown, ..calm() }), "TargetUnknown");
        let gone = Target::NotReady { reason: "NotFound", message: String::new() };
        assert_eq!(says(&spec, &op, &Observation { target: gone, ..Observation::default() }), "(seal)");
        op.sealed_through = Seq(op.seq.0 - 1);
        assert!(op.settled());
        for seen in
            [unlocked(), calm(), Observation::default(), Observation { deleting_for_ms: Some(1), ..calm() }]
        {
            assert_eq!(says(&spec, &op, &seen), "(rest)");
        }
    }
}

#[test]
fn an_own_intent_that_is_not_sent_yet_is_sent_first() {
    let spec = with(&load(&["/a"]), |s| {
        s.control.cancel = true;
        s.deadline_seconds = Some(1);
    });
    let op = intending(loading(&spec, submitted()), Effect::SubmitLoad { path: 0 });
    let seen = Observation { intent: IntentView::Sendable, age_ms: 5_000, ..calm() };
    assert_eq!(decide(&spec, &op, &seen), Decision::Perform(op.intent.clone().unwrap()));
    for intent in [IntentView::Landing { remaining_ms: 5 }, IntentView::Expired] {
        assert_eq!(says(&spec, &op, &Observation { intent, ..seen.clone() }), "CancelRequested");
    }
}

#[test]
fn nothing_new_begins_once_the_operation_comes_to_rest() {
    let spec = load(&["/a"]);
    let op = intending(loading(&spec, submitted()), Effect::SubmitLoad { path: 0 });
    let cancelling = Folded { state: State::Load(Step::Cancelling { at: submitted() }), ..op };
    let seen = Observation { intent: IntentView::Sendable, answer: job(JobState::Absent), ..calm() };
    assert_eq!(says(&spec, &cancelling, &seen), "Halted");
    let stop = intending(step(&spec, Step::Cancelling { at: submitted() }), Effect::StopLoad { path: 0 });
    assert_eq!(says(&spec, &stop, &seen), "(perform)");
}

#[test]
fn who_lost_its_hold_neither_sends_nor_begins_nor_stops_anything() {
    let spec = load(&["/a"]);
    let op = intending(loading(&spec, submitted()), Effect::SubmitLoad { path: 0 });
    let stuck = Step::Cancelling { at: submitted() };
    for lock in [
        LockView::Available,
        LockView::Blocked { by: "x".into(), in_use: true },
        LockView::Held { epoch: EPOCH + 1 },
    ] {
        let seen = Observation { lock, answer: job(JobState::Running), ..calm() };
        assert_eq!(
            says(&spec, &op, &Observation { intent: IntentView::Sendable, ..seen.clone() }),
            "HoldLost"
        );
        assert_eq!(
            says(&spec, &op, &Observation { intent: IntentView::Expired, ..seen.clone() }),
            "HoldLost"
        );
        assert_eq!(says(&spec, &step(&spec, stuck.clone()), &seen), "HoldLost");
        let late = Observation { since_step_ms: CLEANUP_BOUND_MS, ..seen.clone() };
        assert_eq!(says(&spec, &step(&spec, stuck.clone()), &late), "GotStuck");
        let stalled = Observation { stalled_ms: 600_000, ..seen };
        assert_eq!(fails(&spec, &op, &stalled).reason, "Stalled");
    }
}

#[test]
fn deletion_goes_before_cancel_and_cancel_before_the_deadline() {
    let spec = with(&load(&["/a"]), |s| s.deadline_seconds = Some(10));
    let cancelled = with(&spec, |s| s.control.cancel = true);
    let late = Observation { age_ms: 10_000, ..unlocked() };
    for waiting in
        [Step::Pending {}, Step::AwaitingApproval {}, Step::Queued {}, Step::Paused { at: submitted() }]
    {
        let op = step(&spec, waiting);
        let deleted = Observation { deleting_for_ms: Some(0), ..late.clone() };
        let Decision::Record { event, .. } = decide(&cancelled, &op, &deleted) else { panic!() };
        assert_eq!(event, Event::Shared(Shared::CancelRequested { deleted: true }));
        assert_eq!(says(&cancelled, &op, &late), "CancelRequested");
        assert_eq!(fails(&spec, &op, &late).reason, "DeadlineExceeded");
        assert_ne!(says(&spec, &op, &Observation { age_ms: 9_999, ..late.clone() }), "Aborted");
    }
    for working in [Step::Arm(submitted()), Step::Pausing { at: submitted() }] {
        let op = step(&spec, working);
        let late = Observation { age_ms: i64::MAX, ..calm() };
        assert_eq!(says(&cancelled, &op, &late), "CancelRequested");
        assert_eq!(fails(&spec, &op, &late).reason, "DeadlineExceeded");
    }
}

#[test]
fn a_predecessor_has_to_end_as_wanted() {
    use PredecessorState::{Failed, Missing, Succeeded, Unfinished};
    let open = "WaitingForPredecessors";
    for (on, state, wanted) in [
        (Ended::Succeeded, Succeeded, "PredecessorsDone"),
        (Ended::Succeeded, Failed, "Aborted"),
        (Ended::Failed, Succeeded, "Aborted"),
        (Ended::Failed, Failed, "PredecessorsDone"),
        (Ended::Finished, Succeeded, "PredecessorsDone"),
        (Ended::Finished, Failed, "PredecessorsDone"),
        (Ended::Succeeded, Unfinished, open),
        (Ended::Failed, Unfinished, open),
        (Ended::Finished, Unfinished, open),
        (Ended::Succeeded, Missing, open),
        (Ended::Failed, Missing, open),
        (Ended::Finished, Missing, open),
    ] {
        let spec = with(&load(&["/a"]), |s| s.run_after = vec![RunAfter { name: "p".into(), on }]);
        let predecessors = vec![Predecessor { name: "p".into(), state }];
        let seen = Observation { predecessors, stalled_ms: 599_999, ..unlocked() };
        assert_eq!(says(&spec, &step(&spec, Step::Pending {}), &seen), wanted, "{on:?} and {state:?}");
        let stalled = Observation { stalled_ms: 600_000, ..seen };
        let then = if state == Missing { "Aborted" } else { wanted };
        assert_eq!(says(&spec, &step(&spec, Step::Pending {}), &stalled), then, "{on:?} and {state:?}");
    }
}

#[test]
fn predecessors_that_were_not_looked_at_are_waited_for() {
    let spec = with(&load(&["/a"]), |s| s.run_after = vec![run_after("p"), run_after("q")]);
    let done = Predecessor { name: "p".into(), state: PredecessorState::Succeeded };
    for predecessors in [vec![], vec![done]] {
        let seen = Observation { predecessors, stalled_ms: i64::MAX, ..unlocked() };
        assert_eq!(says(&spec, &step(&spec, Step::Pending {}), &seen), "WaitingForPredecessors");
    }
}

#[test]
fn only_the_hash_of_this_plan_approves_it() {
    let spec = with(&load(&["/a"]), |s| s.approval = Approval::Manual);
    let op = step(&spec, Step::AwaitingApproval {});
    assert_eq!(says(&spec, &op, &unlocked()), "WaitingForApproval");
    let approve = |hash: &str| Some(Approve { plan_hash: PlanHash(hash.into()), by: "ann".into() });
    let wrong = with(&spec, |s| s.control.approve = approve("other"));
    let Decision::Await(waiting) = decide(&wrong, &op, &unlocked()) else { panic!() };
    assert!(waiting.message().contains("other") && waiting.message().contains(&op.plan.hash.0));
    let right = with(&spec, |s| s.control.approve = approve(&op.plan.hash.0));
    assert_eq!(says(&right, &op, &unlocked()), "Approved");
    let forged = Event::Shared(Shared::Approved { by: "eve".into(), plan: PlanHash("other".into()) });
    assert!(op.apply(&crate::testing::change(forged)).is_err(), "the law takes no other plan either");
}

#[test]
fn a_queued_operation_takes_the_lock_when_its_turn_has_come() {
    let spec = load(&["/a"]);
    let op = step(&spec, Step::Queued {});
    let bad = Target::NotReady { reason: "AlreadyClaimed", message: "m".into() };
    for (lock, target, wanted) in [
        (LockView::Available, Target::Ready, "(take)"),
        (LockView::Held { epoch: 4 }, Target::Ready, "HoldGranted"),
        (LockView::Held { epoch: 4 }, bad.clone(), "HoldGranted"),
        (LockView::Blocked { by: "x".into(), in_use: true }, Target::Ready, "WaitingForLock"),
        (LockView::Unknown, Target::Ready, "TargetUnknown"),
        (LockView::Available, Target::Unknown, "TargetUnknown"),
        (LockView::Available, bad, "AlreadyClaimed"),
    ] {
        let seen = Observation { lock, target, ..calm() };
        assert_eq!(says(&spec, &op, &seen), wanted);
    }
    let bad = load(&["relative"]);
    assert_eq!(fails(&bad, &step(&bad, Step::Queued {}), &unlocked()).reason, "InvalidSpec");
}

#[test]
fn a_suspended_operation_takes_no_lock_but_owns_up_to_one_that_it_has() {
    let spec = with(&load(&["/a"]), |s| s.control.suspend = true);
    for waiting in
        [Step::Pending {}, Step::AwaitingApproval {}, Step::Queued {}, Step::Paused { at: submitted() }]
    {
        assert_eq!(says(&spec, &step(&spec, waiting), &unlocked()), "Suspended");
    }
    assert_eq!(says(&spec, &step(&spec, Step::Queued {}), &calm()), "HoldGranted");
    assert_eq!(says(&spec, &step(&spec, Step::Arm(submitted())), &calm()), "Suspended");
    let resumed = load(&["/a"]);
    assert_eq!(says(&resumed, &step(&resumed, Step::Paused { at: submitted() }), &calm()), "Resumed");
}

#[test]
fn past_its_irreversible_point_a_free_notes_a_cancel_once_and_keeps_its_deadline() {
    let spec = with(&free(&["/a"]), |s| {
        (s.control.cancel, s.control.suspend, s.deadline_seconds) = (true, true, Some(10));
    });
    let before = freeing(&spec, Free::Freeing { path: 0, started: false, cached: 1 });
    assert_eq!(says(&spec, &before, &calm()), "CancelRequested");
    let op = freeing(&spec, Free::Freeing { path: 0, started: true, cached: 1 });
    assert_eq!(says(&spec, &op, &calm()), "CancelTooLate");
    let noted = Folded { cancel_noted: true, ..op };
    assert_eq!(says(&spec, &noted, &calm()), "Intended");
    assert_eq!(fails(&spec, &noted, &Observation { age_ms: 10_000, ..calm() }).reason, "DeadlineExceeded");
}

#[test]
fn failed_attempts_are_limited_and_paced() {
    let policy = |limit| RetryPolicy { limit, backoff_seconds: 10, max_backoff_seconds: 15 };
    let seen =
        Observation { answer: job(JobState::Failed { missing: false, message: "disk".into() }), ..calm() };
    for limit in [0, 1, 3] {
        let spec = with(&load(&["/a"]), |s| s.retry_policy = policy(limit));
        for failures in 0..=i64::from(limit) {
            let op = Folded { failures, ..loading(&spec, submitted()) };
            let last = failures == i64::from(limit);
            assert_eq!(says(&spec, &op, &seen), if last { "Aborted" } else { "AttemptFailed" });
            assert!(fails(&spec, &op, &seen).message.contains(if last && limit > 0 {
                "after"
            } else {
                "disk"
            }));
        }
        for (failures, since, waits) in
            [(1, 9_999, true), (1, 10_000, false), (2, 14_999, true), (2, 15_000, false)]
        {
            let op = Folded { failures, ..loading(&spec, submitted()) };
            let paused = Observation { last_was_failure: true, since_entry_ms: since, ..seen.clone() };
            assert_eq!(says(&spec, &op, &paused) == "Backoff", waits, "{failures} failures, {since} ms");
        }
    }
    let spec = load(&["/a"]);
    let op = Folded { failures: 1, ..loading(&spec, submitted()) };
    let back = Observation { last_was_failure: true, since_entry_ms: -86_400_000, ..seen };
    let Decision::Await(WaitingOn::Backoff { remaining_ms, .. }) = decide(&spec, &op, &back) else {
        panic!()
    };
    assert_eq!(remaining_ms, 10_000, "a clock that jumped back makes no pause longer");
}

#[test]
fn only_waits_for_the_world_can_stall() {
    let spec = load(&["/a"]);
    let stalled = |seen: Observation| Observation { stalled_ms: 600_000, ..seen };
    let seen = Observation { answer: job(JobState::Running), ..calm() };
    assert_eq!(fails(&spec, &loading(&spec, submitted()), &stalled(seen)).reason, "Stalled");
    let failing = Folded { failures: 1, ..loading(&spec, submitted()) };
    let pause = Observation { last_was_failure: true, ..calm() };
    assert_eq!(says(&spec, &failing, &stalled(pause)), "Backoff");
    let op = step(&spec, Step::Queued {});
    let seen = Observation { lock: LockView::Blocked { by: "x".into(), in_use: true }, ..calm() };
    assert_eq!(says(&spec, &op, &stalled(seen)), "WaitingForLock");
    let down = Trouble { kind: TroubleKind::Unreachable, message: "m".into() };
    let seen = Observation { answer: Some(Err(down)), ..calm() };
    assert_eq!(says(&spec, &loading(&spec, submitted()), &seen), "EngineUnreachable");
    assert_eq!(fails(&spec, &loading(&spec, submitted()), &stalled(seen)).reason, "Stalled");
}

#[test]
fn a_stuck_operation_waits_for_a_person_and_has_four_ways_out() {
    let spec = load(&["/a"]);
    let skip = |step: &str| Some(Skip { step: step.into(), by: "ann".into() });
    for during in [During::Pausing {}, During::Cancelling {}, During::Aborting { why: failure() }] {
        let op = step(&spec, Step::Stuck { at: submitted(), during: during.clone(), why: failure() });
        let name = during.name();
        assert_eq!(
            says(&spec, &op, &Observation { stalled_ms: i64::MAX, age_ms: i64::MAX, ..calm() }),
            "Stuck"
        );
        let late = with(&spec, |s| s.deadline_seconds = Some(1));
        assert_eq!(says(&late, &op, &Observation { age_ms: i64::MAX, ..calm() }), "Stuck");
        for other in ["pausing", "cancelling", "aborting", "preflight", ""] {
            let skipped = with(&spec, |s| s.control.skip = skip(other));
            assert_eq!(says(&skipped, &op, &calm()), if other == name { "StepSkipped" } else { "Stuck" });
        }
        let retry = with(&spec, |s| s.control.retry = 1);
        assert_eq!(says(&retry, &op, &calm()), "RetryRequested");
        assert_eq!(says(&retry, &Folded { handled_retry: 1, ..op.clone() }, &calm()), "Stuck");
        let way_out = if name == "cancelling" { "Stuck" } else { "CancelRequested" };
        assert_eq!(says(&with(&spec, |s| s.control.cancel = true), &op, &calm()), way_out);
        assert_eq!(says(&spec, &op, &Observation { deleting_for_ms: Some(1), ..calm() }), way_out);
        let landing = Observation { intent: IntentView::Landing { remaining_ms: 9 }, ..calm() };
        assert_eq!(says(&with(&spec, |s| s.control.skip = skip(name)), &op, &landing), "Settling");
    }
}
