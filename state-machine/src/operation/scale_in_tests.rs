use super::*;
use crate::decision::Decision;
use crate::drain::{DrainView, Files, LeavingView, MASTER_KNOWS_MS};
use crate::effect::Outcome;
use crate::lifecycle::step::Step;
use crate::lifecycle::{Failure, decide};
use crate::members::{Known, MembersView, WorkerView};
use crate::observation::{IntentView, Observation};
use crate::operation::{Event, State};
use crate::spec::Force;
use crate::testing::engine::serving;
use crate::testing::{calm, folded, intending, says, scale_in, scaling_in};

const REFRESH_MS: i64 = 120_000;

fn numbers(all: &[i32]) -> Numbers {
    all.iter().copied().collect()
}

/// Worker 3 of four leaves.
fn three() -> Numbers {
    numbers(&[3])
}

fn cache() -> MembersView {
    MembersView { revision: 4, workers: (0..4).map(serving).collect(), ..MembersView::default() }
}

fn files(count: i64) -> Files {
    Files { count, example: (count > 0).then(|| "/new".into()) }
}

/// The worker that leaves as the engine knows it, and what would be lost with it.
fn leaving(known: Known, drain: DrainView) -> Answer {
    let worker = WorkerView { known, ..serving(3) };
    let view = LeavingView { workers: vec![worker], drain, refresh_ms: REFRESH_MS };
    Answer::Leaving(cache(), Box::new(view))
}

fn out() -> Known {
    Known::As("Disabled".into())
}

fn sees(answer: Answer, since_entry_ms: i64) -> Observation {
    Observation { answer: Some(Ok(answer)), since_entry_ms, watched_entry_ms: since_entry_ms, ..calm() }
}

#[test]
fn who_leaves_is_chosen_by_number_or_by_name_and_never_everybody() {
    let chosen = |spec: &OperationSpec| {
        let (op, seen) = (scaling_in(spec, ScaleIn::first()), sees(Answer::Members(cache()), 0));
        let decision = decide(spec, &op, &seen);
        if let Decision::Record { event: Event::ScaleIn(ScaleInEvent::Chosen { leave, .. }), .. } = decision {
            return leave.to_string();
        }
        says(spec, &op, &seen)
    };
    let named = |all: &[i32]| {
        let mut spec = scale_in(1);
        spec.operation = ArmSpec::ScaleIn(crate::spec::ScaleInSpec {
            workers: None,
            numbers: all.to_vec(),
            ..crate::spec::ScaleInSpec::to(1)
        });
        spec
    };
    let mut aside = cache();
    aside.out = numbers(&[1]);
    let (spec, seen) = (scale_in(2), sees(Answer::Members(aside), 0));
    let decision = decide(&spec, &scaling_in(&spec, ScaleIn::first()), &seen);
    let first = ScaleInEvent::Chosen { leave: numbers(&[1, 3]), gone: false };
    assert!(
        matches!(&decision, Decision::Record { event: Event::ScaleIn(e), .. } if *e == first),
        "whoever is out of use goes first: {decision:?}"
    );
    assert_eq!(chosen(&scale_in(2)), "2-3");
    assert_eq!(chosen(&scale_in(4)), "");
    assert_eq!(chosen(&scale_in(5)), "fails MoreWanted");
    assert_eq!(chosen(&named(&[1, 9])), "1", "one that is not there has left");
    assert_eq!(chosen(&named(&[0, 1, 2, 3])), "fails NoWorkerLeft");
}

#[test]
fn nothing_is_decommissioned_before_what_only_the_worker_has_is_in_its_store() {
    let spec = scale_in(3);
    let op =
        scaling_in(&spec, ScaleIn::Out(TakeOut::Persisting { leave: three(), touched: false, upto: 500 }));
    let written = |unpersisted, unasked, oldest_ms| {
        let unpersisted = files(unpersisted);
        leaving(Known::Serves, DrainView { unpersisted, unasked, oldest_ms, ..DrainView::default() })
    };
    let has = |unpersisted, unasked| written(unpersisted, unasked, 500);
    let since = written(1, 1, 501);
    assert_eq!(
        says(&spec, &op, &sees(since, 0)),
        "Persisted + decommissionWorkers",
        "what was asked for is there"
    );
    assert_eq!(says(&spec, &op, &sees(has(0, 0), 0)), "Persisted + decommissionWorkers");
    let waits = "NotPersisted: the file /new have bytes";
    assert!(says(&spec, &op, &sees(has(1, 0), 1_000_000)).starts_with(waits), "it is on its way");
    assert!(says(&spec, &op, &sees(has(1, 1), 1_000)).starts_with(waits), "somebody was asked a moment ago");
    assert_eq!(says(&spec, &op, &sees(has(1, 1), 30_000)), "Intended + persistFiles");
    let mut forced = spec.clone();
    forced.control.force = Some(Force { by: "ann".into() });
    assert_eq!(says(&forced, &op, &sees(has(1, 0), 0)), "Persisted + decommissionWorkers");
}

#[test]
fn what_was_written_meanwhile_is_found_and_copied_before_and_after_the_drain() {
    let spec = scale_in(3);
    let stranded = |silent: Option<&str>| {
        let (rescuable, silent) = (if silent.is_some() { 0 } else { 2 }, silent.map(str::to_owned));
        leaving(out(), DrainView { stranded: files(2), rescuable, silent, ..DrainView::default() })
    };
    for at in [When::Told, When::Drained] {
        let op = scaling_in(&spec, ScaleIn::Out(TakeOut::Checking { leave: three(), at, again: false }));
        assert_eq!(says(&spec, &op, &sees(stranded(None), 0)), "Stranded + rescueBlocks");
        let silent = says(&spec, &op, &sees(stranded(Some("worker-3 refuses")), 0));
        assert!(silent.starts_with("WorkerSilent: 2 files, /new among them, may be on a worker"), "{silent}");
    }
    let clear = || leaving(out(), DrainView::default());
    let first =
        scaling_in(&spec, ScaleIn::Out(TakeOut::Checking { leave: three(), at: When::Told, again: false }));
    assert_eq!(says(&spec, &first, &sees(clear(), 0)), "Clear", "clients may write still");
    let second = scaling_in(
        &spec,
        ScaleIn::Out(TakeOut::Checking { leave: three(), at: When::Drained, again: false }),
    );
    assert_eq!(says(&spec, &second, &sees(clear(), 0)), "Clear + removeWorkers");
}

#[test]
fn it_drains_until_every_client_has_heard_and_none_is_at_it() {
    let spec = scale_in(3);
    let op = scaling_in(&spec, ScaleIn::Out(TakeOut::Draining { leave: three() }));
    let busy = |busy| leaving(out(), DrainView { busy, ..DrainView::default() });
    assert!(says(&spec, &op, &sees(busy(0), REFRESH_MS - 1)).starts_with("WaitingForMembers: every client"));
    assert!(says(&spec, &op, &sees(busy(1), REFRESH_MS)).starts_with("StillUsed"));
    assert_eq!(says(&spec, &op, &sees(busy(0), REFRESH_MS)), "Drained");
}

#[test]
fn a_worker_that_serves_again_is_decommissioned_again_and_one_that_nobody_knows_is_not_gone_at_once() {
    let spec = scale_in(3);
    for at in [
        ScaleIn::Out(TakeOut::Checking { leave: three(), at: When::Told, again: false }),
        ScaleIn::Out(TakeOut::Checking { leave: three(), at: When::Drained, again: false }),
        ScaleIn::Out(TakeOut::Draining { leave: three() }),
    ] {
        let op = scaling_in(&spec, at);
        let known = |known, master_up_ms| leaving(known, DrainView { master_up_ms, ..DrainView::default() });
        let says = |answer, since| says(&spec, &op, &sees(answer, since));
        assert_eq!(says(known(Known::Serves, 0), 20_000), "Returned + decommissionWorkers");
        assert_eq!(says(known(Known::As("LOST".into()), 0), 20_000), "Returned + decommissionWorkers");
        assert!(says(known(Known::Serves, 0), 0).starts_with("NotDecommissioned"));
        let young = says(known(Known::No, MASTER_KNOWS_MS - 1), 1_000_000);
        assert!(young.starts_with("NotDecommissioned"), "{young}");
        assert!(!says(known(Known::No, MASTER_KNOWS_MS), 0).starts_with("NotDecommissioned"));
    }
}

#[test]
fn a_refused_removal_raises_the_fence_before_anything_else_is_tried() {
    let spec = scale_in(3);
    let remove = Effect::RemoveWorkers { remove: three(), at: 4 };
    let op =
        intending(scaling_in(&spec, ScaleIn::Removing { leave: three(), at: 4, started: false }), remove);
    let refused = Outcome::Refused { reason: "NotDrained".into(), message: String::new(), retryable: true };
    let outcome = |o| Observation { outcome: Some(o), intent: IntentView::Expired, ..calm() };
    assert_eq!(says(&spec, &op, &outcome(refused)), "NotRemoved + fenceMembers");
    let op = intending(
        scaling_in(&spec, ScaleIn::Fencing { leave: three(), at: 4, why: String::new() }),
        Effect::FenceMembers {},
    );
    assert_eq!(
        says(&spec, &op, &outcome(Outcome::Done(crate::effect::Receipt::default()))),
        "again NotRemoved"
    );
}

#[test]
fn a_cancel_brings_the_workers_back_and_loses_nothing_on_the_way() {
    let spec = scale_in(3);
    let why = Failure::new("Stalled", "for ever");
    let failing = |at| folded(&spec, State::ScaleIn(Step::Aborting { at, why: why.clone() }));
    let draining = failing(ScaleIn::Out(TakeOut::Draining { leave: three() }));
    let stranded = DrainView { stranded: files(1), rescuable: 1, ..DrainView::default() };
    assert_eq!(says(&spec, &draining, &sees(leaving(out(), stranded), 0)), "Intended + rescueBlocks");
    let known = |known| sees(leaving(known, DrainView::default()), 0);
    assert_eq!(says(&spec, &draining, &known(out())), "Intended + admitWorkers");
    let decommissioned = || leaving(Known::As("Decommissioned".into()), DrainView::default());
    let waits = "NotAtRest: the pod of worker 3 is made anew when no client uses it any more";
    assert_eq!(says(&spec, &draining, &sees(decommissioned(), REFRESH_MS - 1)), waits);
    assert_eq!(says(&spec, &draining, &sees(decommissioned(), REFRESH_MS)), "Intended + replaceWorker");
    assert_eq!(says(&spec, &draining, &known(Known::Serves)), "Halted");
    // Its write may be on its way as long as the revision is the one that it was decided on.
    let removing = failing(ScaleIn::Removing { leave: three(), at: 4, started: true });
    assert_eq!(says(&spec, &removing, &known(Known::Serves)), "Intended + fenceMembers");
    let earlier = failing(ScaleIn::Removing { leave: three(), at: 3, started: true });
    assert_eq!(says(&spec, &earlier, &known(Known::Serves)), "Halted");
    // A pod that has just been made anew registers by itself.
    let mut young = serving(3);
    (young.known, young.settled) = (Known::As("Decommissioned".into()), false);
    let view = LeavingView { workers: vec![young], refresh_ms: REFRESH_MS, ..LeavingView::default() };
    let waits = "NotAtRest: worker 3 does not serve again: its pod is ready and has not registered yet";
    assert_eq!(says(&spec, &draining, &sees(Answer::Leaving(cache(), Box::new(view)), 0)), waits);
}

#[test]
fn a_cancel_comes_too_late_once_the_workers_may_be_removed() {
    let mut spec = scale_in(3);
    spec.control.cancel = true;
    let answer = || sees(leaving(out(), DrainView::default()), 0);
    let draining = scaling_in(&spec, ScaleIn::Out(TakeOut::Draining { leave: three() }));
    assert!(says(&spec, &draining, &answer()).starts_with("CancelRequested"));
    for at in [
        ScaleIn::Removing { leave: three(), at: 4, started: true },
        ScaleIn::Leaving { leave: three(), again: false },
        ScaleIn::Admitting { leave: three() },
        ScaleIn::Preflight { leave: three(), removed: true },
    ] {
        assert_eq!(says(&spec, &scaling_in(&spec, at), &answer()), "CancelTooLate");
    }
}

#[test]
fn it_is_over_when_the_pods_are_gone_and_their_names_are_free() {
    let spec = scale_in(3);
    let gone = |pod, known| {
        let worker = WorkerView { pod, known, ..serving(3) };
        let mut members = cache();
        members.workers.truncate(3);
        let view = LeavingView { workers: vec![worker], refresh_ms: REFRESH_MS, ..LeavingView::default() };
        sees(Answer::Leaving(members, Box::new(view)), 0)
    };
    let leaves = scaling_in(&spec, ScaleIn::Leaving { leave: three(), again: false });
    assert_eq!(says(&spec, &leaves, &gone(true, out())), "WaitingForMembers: the pod of worker 3 ends");
    assert_eq!(says(&spec, &leaves, &gone(false, out())), "Left + admitWorkers");
    let verifying = scaling_in(&spec, ScaleIn::Verifying { leave: three() });
    assert!(says(&spec, &verifying, &gone(false, Known::Serves)).starts_with("StillServing"));
    assert_eq!(says(&spec, &verifying, &gone(false, Known::As("Decommissioned".into()))), "Proven");
}

#[test]
fn a_master_that_forgets_while_the_pods_end_is_told_again_and_what_was_written_meanwhile_is_saved() {
    let spec = scale_in(3);
    let leaves = |again| scaling_in(&spec, ScaleIn::Leaving { leave: three(), again });
    let sees_out = |known, drain, since| {
        let mut members = cache();
        members.workers.truncate(3);
        let worker = WorkerView { known, ..serving(3) };
        let view = LeavingView { workers: vec![worker], drain, refresh_ms: REFRESH_MS };
        sees(Answer::Leaving(members, Box::new(view)), since)
    };
    let stranded = || DrainView { stranded: files(1), rescuable: 1, ..DrainView::default() };
    let serves = sees_out(Known::Serves, DrainView::default(), 2_000);
    assert_eq!(says(&spec, &leaves(false), &serves), "Returned + decommissionWorkers");
    assert_eq!(says(&spec, &leaves(false), &sees_out(out(), stranded(), 0)), "Stranded + rescueBlocks");
    assert!(says(&spec, &leaves(true), &sees_out(out(), stranded(), 0)).starts_with("StillStranded"));
    assert_eq!(says(&spec, &leaves(true), &sees_out(out(), stranded(), 2_000)), "Stranded + rescueBlocks");
    let dead = DrainView { rescuable: 0, silent: Some("nobody answers".into()), ..stranded() };
    assert!(says(&spec, &leaves(false), &sees_out(out(), dead, 0)).starts_with("WaitingForMembers"));
}
