use super::*;
use crate::drain::{DrainView, Files, LeavingView};
use crate::effect::{Outcome, Receipt};
use crate::lifecycle::Failure;
use crate::lifecycle::step::Step;
use crate::members::{Known, WorkerView};
use crate::observation::{IntentView, Observation};
use crate::operation::State;
use crate::operation::take_out::When;
use crate::testing::engine::serving;
use crate::testing::{calm, decommission, decommissioning, folded, intending, says};

fn numbers(all: &[i32]) -> Numbers {
    all.iter().copied().collect()
}

/// Four workers, some of them marked.
fn cache(out: &[i32]) -> MembersView {
    MembersView {
        revision: 4,
        out: numbers(out),
        workers: (0..4).map(serving).collect(),
        ..MembersView::default()
    }
}

fn sees(answer: Answer, since_entry_ms: i64) -> Observation {
    Observation { answer: Some(Ok(answer)), since_entry_ms, watched_entry_ms: since_entry_ms, ..calm() }
}

/// Worker 1 as the engine knows it.
fn leaving(marked: &[i32], known: Known, drain: DrainView) -> Answer {
    let worker = WorkerView { known, ..serving(1) };
    let view = LeavingView { workers: vec![worker], drain, refresh_ms: 120_000 };
    Answer::Leaving(cache(marked), Box::new(view))
}

fn verifying(returned: bool) -> Decommission {
    Decommission::Verifying { leave: numbers(&[1]), returned, copied: false }
}

fn disabled() -> Known {
    Known::As("Disabled".into())
}

#[test]
fn workers_are_named_and_one_stays_in_use() {
    let asks = |named: &[i32], marked: &[i32]| {
        let spec = decommission(named);
        let op = decommissioning(&spec, Decommission::first());
        says(&spec, &op, &sees(Answer::Members(cache(marked)), 0))
    };
    assert_eq!(asks(&[1, 2], &[]), "Chosen + persistFiles");
    assert_eq!(asks(&[1, 7], &[]), "fails NoSuchWorker");
    assert_eq!(asks(&[1, 2], &[0, 3]), "fails NoWorkerLeft", "the others are out of use already");
    assert_eq!(asks(&[1], &[1]), "Chosen + persistFiles", "the engine may have forgotten it");
    let again = |marked: &[i32]| {
        let mut spec = decommission(&[1, 7]);
        if let ArmSpec::Decommission(d) = &mut spec.operation {
            d.only_if_out_of_use = true;
        }
        let op = decommissioning(&spec, Decommission::first());
        says(&spec, &op, &sees(Answer::Members(cache(marked)), 0))
    };
    assert_eq!(again(&[1]), "Chosen + persistFiles");
    assert_eq!(again(&[2]), "Chosen", "somebody has brought it back");
    let spec = decommission(&[1]);
    let attached = MembersView { foreign: Some("attached".into()), ..MembersView::default() };
    let op = decommissioning(&spec, Decommission::first());
    assert_eq!(says(&spec, &op, &sees(Answer::Members(attached), 0)), "fails NotManaged");
}

#[test]
fn the_revision_is_marked_when_nothing_would_be_lost_and_not_before() {
    let spec = decommission(&[1]);
    let at = |at| {
        let checking = TakeOut::Checking { leave: numbers(&[1]), at, again: false };
        decommissioning(&spec, Decommission::Out(checking))
    };
    let clear = || sees(leaving(&[], disabled(), DrainView::default()), 0);
    assert_eq!(says(&spec, &at(When::Told), &clear()), "Clear", "clients may write still");
    assert_eq!(says(&spec, &at(When::Drained), &clear()), "Clear + markWorkers");
    let files = Files { count: 1, example: Some("/new".into()) };
    let stranded = DrainView { stranded: files, rescuable: 1, ..DrainView::default() };
    let seen = sees(leaving(&[], disabled(), stranded), 0);
    assert_eq!(says(&spec, &at(When::Drained), &seen), "Stranded + rescueBlocks");
}

#[test]
fn it_is_proven_by_the_revision_and_the_engine_and_one_that_serves_again_is_told_again() {
    let spec = decommission(&[1]);
    let op = decommissioning(&spec, verifying(false));
    let looks = |marked: &[i32], known, since| {
        says(&spec, &op, &sees(leaving(marked, known, DrainView::default()), since))
    };
    assert_eq!(looks(&[1], disabled(), 0), "Proven");
    assert!(looks(&[1], Known::No, 0).starts_with("NotDecommissioned"), "it may be about to register");
    assert_eq!(looks(&[], disabled(), 0), "again NotMarked");
    assert!(looks(&[1], Known::Serves, 0).starts_with("NotDecommissioned"));
    assert_eq!(looks(&[1], Known::Serves, 10_000), "Returned + decommissionWorkers");
    // After that, clients are waited for once more, and what they wrote is looked for.
    let again = |known, drain, since| {
        let op = decommissioning(&spec, verifying(true));
        says(&spec, &op, &sees(leaving(&[1], known, drain), since))
    };
    assert!(again(disabled(), DrainView::default(), 119_999).starts_with("WaitingForMembers: every client"));
    assert_eq!(again(disabled(), DrainView::default(), 120_000), "Proven");
    let files = Files { count: 1, example: Some("/new".into()) };
    let stranded = DrainView { stranded: files, rescuable: 1, ..DrainView::default() };
    assert_eq!(again(disabled(), stranded, 0), "Stranded + rescueBlocks");
}

#[test]
fn a_cancel_brings_them_back_unless_they_are_marked() {
    let spec = decommission(&[1]);
    let failing = |at| {
        let why = Failure::new("Stalled", "for ever");
        folded(&spec, State::Decommission(Step::Aborting { at, why }))
    };
    let looks =
        |op, marked: &[i32]| says(&spec, &op, &sees(leaving(marked, disabled(), DrainView::default()), 0));
    let draining = failing(Decommission::Out(TakeOut::Draining { leave: numbers(&[1]) }));
    assert_eq!(looks(draining, &[]), "Intended + admitWorkers");
    let marking = |at| failing(Decommission::Marking { leave: numbers(&[1]), at, started: true });
    assert_eq!(looks(marking(4), &[]), "Intended + fenceMembers", "its write may be on its way");
    assert_eq!(looks(marking(3), &[]), "Intended + admitWorkers");
    assert_eq!(looks(marking(3), &[1]), "Halted", "marked: recommission is the way back");
    let mut cancelled = decommission(&[1]);
    cancelled.control.cancel = true;
    let op = decommissioning(&cancelled, verifying(true));
    let seen = sees(leaving(&[1], disabled(), DrainView::default()), 0);
    assert_eq!(says(&cancelled, &op, &seen), "CancelTooLate");
}

#[test]
fn a_refused_mark_raises_the_fence_before_anything_else_is_tried() {
    let spec = decommission(&[1]);
    let marking = Decommission::Marking { leave: numbers(&[1]), at: 4, started: false };
    let op = intending(decommissioning(&spec, marking), mark(&numbers(&[1]), 4));
    let outcome = |o| Observation { outcome: Some(o), intent: IntentView::Expired, ..calm() };
    let moved = Outcome::Refused { reason: "RevisionMoved".into(), message: String::new(), retryable: true };
    assert_eq!(says(&spec, &op, &outcome(moved)), "NotMarked + fenceMembers");
    assert_eq!(says(&spec, &op, &outcome(Outcome::Done(Receipt::default()))), "Marked");
}
