use super::*;
use crate::decision::Decision;
use crate::effect::{Outcome, Receipt};
use crate::lifecycle::step::{Shared, Step};
use crate::lifecycle::{Folded, decide};
use crate::observation::{IntentView, Observation};
use crate::operation::{Event, State};
use crate::testing::{calm, folded, intending, scale_out, scaling_out};

fn numbers(all: &[i32]) -> Numbers {
    all.iter().copied().collect()
}

fn worker(number: i32, known: Known) -> WorkerView {
    let serves = known == Known::Serves;
    let capacity_bytes = i64::from(serves) * 100;
    WorkerView { number, ready: serves, known, capacity_bytes, ..WorkerView::default() }
}

/// Two workers that serve, and these.
fn cache(more: Vec<WorkerView>) -> MembersView {
    let mut workers = vec![worker(0, Known::Serves), worker(1, Known::Serves)];
    workers.extend(more);
    MembersView { revision: 4, workers, ..MembersView::default() }
}

fn sees(members: MembersView) -> Observation {
    Observation { answer: Some(Ok(Answer::Members(members))), ..calm() }
}

fn says(spec: &OperationSpec, op: &Folded, seen: &Observation) -> String {
    let ride = |e: Option<Effect>| e.map(|e| format!(" + {e:?}")).unwrap_or_default();
    match decide(spec, op, seen) {
        Decision::Await(w) => format!("{}: {}", w.reason(), w.message()),
        Decision::Record { event: Event::Shared(Shared::Aborted { why }), .. } => {
            format!("fails {}", why.reason)
        }
        Decision::Record { event: Event::Shared(Shared::AttemptFailed { why }), .. } => {
            format!("again {}", why.reason)
        }
        Decision::Record { event: Event::Shared(e), intend, .. } => format!("{}{}", e.name(), ride(intend)),
        Decision::Record { event: Event::ScaleOut(event), intend, .. } => {
            format!("{}{}", event_name(&event), ride(intend))
        }
        other @ (Decision::Record { .. }
        | Decision::Perform(_)
        | Decision::TakeHold
        | Decision::Release
        | Decision::Seal
        | Decision::Rest) => panic!("{other:?}"),
    }
}

#[test]
fn the_lowest_free_numbers_are_added_to_the_revision_that_was_seen() {
    let spec = scale_out(4);
    let op = scaling_out(&spec, ScaleOut::first());
    let add = |numbers| format!("Planned + {:?}", Effect::AddWorkers { add: numbers, at: 4 });
    assert_eq!(says(&spec, &op, &sees(cache(vec![]))), add(numbers(&[2, 3])));
    assert_eq!(says(&spec, &op, &sees(cache(vec![worker(3, Known::Serves)]))), add(numbers(&[2])));
    let enough = sees(cache(vec![worker(5, Known::No), worker(6, Known::Serves)]));
    assert_eq!(says(&spec, &op, &enough), "Planned", "nothing is to be added");
    assert_eq!(says(&scale_out(1), &op, &sees(cache(vec![]))), "fails FewerWanted");
    // Another attempt keeps account of what the first one has added, and of what is there of it.
    let again = scaling_out(&spec, ScaleOut::Preflight { add: numbers(&[2, 9]) });
    assert_eq!(says(&spec, &again, &sees(cache(vec![worker(2, Known::No)]))), add(numbers(&[2, 3])));
}

#[test]
fn a_cache_that_others_run_is_refused_and_one_that_is_set_up_waited_for() {
    let spec = scale_out(4);
    let op = scaling_out(&spec, ScaleOut::first());
    let foreign = MembersView { foreign: Some("it is attached".into()), ..cache(vec![]) };
    assert_eq!(says(&spec, &op, &sees(foreign)), "fails NotManaged");
    let young = MembersView { set_up: Some("WorkersReady".into()), ..cache(vec![]) };
    assert!(says(&spec, &op, &sees(young)).starts_with("ClusterNotReady: "));
}

#[test]
fn it_waits_until_each_new_worker_serves_and_reads_back() {
    let spec = scale_out(4);
    let add = numbers(&[2, 3]);
    let waiting = scaling_out(&spec, ScaleOut::Waiting { add: add.clone() });
    let one = |known| sees(cache(vec![worker(2, Known::Serves), worker(3, known)]));
    assert_eq!(says(&spec, &waiting, &one(Known::No)), "WaitingForMembers: worker 3 has not registered yet");
    assert_eq!(says(&spec, &waiting, &one(Known::As("LOST".into()))), "WaitingForMembers: worker 3 is LOST");
    assert_eq!(says(&spec, &waiting, &one(Known::Serves)), "Serving");
    let mut terminating = cache(vec![worker(2, Known::Serves), worker(3, Known::Serves)]);
    terminating.workers[3].ready = false;
    assert!(says(&spec, &waiting, &sees(terminating.clone())).starts_with("WaitingForMembers"));
    let verifying = scaling_out(&spec, ScaleOut::Verifying { add });
    assert_eq!(says(&spec, &verifying, &sees(terminating)), "again NotServing");
    assert_eq!(says(&spec, &verifying, &sees(cache(vec![worker(2, Known::Serves)]))), "again WorkersLost");
    assert_eq!(says(&spec, &verifying, &one(Known::Serves)), "Proven");
}

#[test]
fn the_write_is_made_again_until_it_is_known_to_stand() {
    let spec = scale_out(3);
    let add = numbers(&[2]);
    let at = ScaleOut::Adding { add: add.clone(), at: 4, started: false };
    let op = intending(scaling_out(&spec, at), Effect::AddWorkers { add, at: 4 });
    let outcome = |o| Observation { outcome: Some(o), intent: IntentView::Expired, ..calm() };
    assert_eq!(says(&spec, &op, &outcome(Outcome::Done(Receipt::default()))), "Added");
    let unknown = outcome(Outcome::Unknown { detail: "no reply".into() });
    assert!(says(&spec, &op, &unknown).starts_with("Intended + AddWorkers"));
    let other = Outcome::Refused { reason: "RevisionMoved".into(), message: String::new(), retryable: true };
    assert_eq!(says(&spec, &op, &outcome(other)), "again EngineRefused");
}

#[test]
fn a_cancel_comes_too_late_once_a_worker_may_serve() {
    let mut spec = scale_out(4);
    spec.control.cancel = true;
    let add = numbers(&[2, 3]);
    let first = scaling_out(&spec, ScaleOut::first());
    assert!(says(&spec, &first, &sees(cache(vec![]))).starts_with("CancelRequested"));
    for at in [
        ScaleOut::Preflight { add: add.clone() },
        ScaleOut::Waiting { add: add.clone() },
        ScaleOut::Verifying { add: add.clone() },
    ] {
        assert_eq!(says(&spec, &scaling_out(&spec, at), &sees(cache(vec![]))), "CancelTooLate");
    }
}

#[test]
fn one_that_fails_leaves_its_workers_and_no_write_of_its_own_comes_after_its_end() {
    let spec = scale_out(4);
    let add = numbers(&[2, 3]);
    let why = crate::lifecycle::Failure::new("Stalled", "nobody came");
    let failing = |at| folded(&spec, State::ScaleOut(Step::Aborting { at, why: why.clone() }));
    let half = || cache(vec![worker(2, Known::Serves), worker(3, Known::No)]);
    let waiting = failing(ScaleOut::Waiting { add: add.clone() });
    assert_eq!(says(&spec, &waiting, &sees(half())), "Halted");
    for at in [ScaleOut::Adding { add: add.clone(), at: 4, started: true }, ScaleOut::Preflight { add }] {
        let op = failing(at);
        assert_eq!(says(&spec, &op, &sees(cache(vec![]))), "Intended + FenceMembers", "it may be on its way");
        let fenced = MembersView { written: Written::Fenced, ..half() };
        assert_eq!(says(&spec, &op, &sees(fenced)), "Halted");
    }
}
