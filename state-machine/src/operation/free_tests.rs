use super::*;
use crate::decision::Decision;
use crate::effect::Outcome;
use crate::effect::{Receipt, TreeView};
use crate::lifecycle::step::Shared;
use crate::lifecycle::{Folded, decide, query};
use crate::observation::IntentView;
use crate::observation::Observation;
use crate::operation::Event;
use crate::testing::{calm, free, freeing, intending};

fn spec() -> OperationSpec {
    free(&["/a", "/b"])
}

fn at(path: usize, started: bool) -> Free {
    Free::Freeing { path, started, cached: 100 }
}

fn sees(cached_bytes: i64) -> Observation {
    let tree = TreeView { files: 3, bytes: 100, cached_bytes, missing: None };
    Observation { answer: Some(Ok(Answer::Tree(tree))), ..calm() }
}

/// Name of the event or reason of the wait; a failure with its reason; the effect that rides along.
fn says(op: &Folded, seen: &Observation) -> String {
    match decide(&spec(), op, seen) {
        Decision::Await(w) => w.reason().into(),
        Decision::Record { event, intend, .. } => {
            let ride = intend.and_then(|e| e.path(&spec()).map(|p| format!(" + {} {p}", e.name())));
            let why = if let Event::Shared(Shared::Aborted { why } | Shared::AttemptFailed { why }) = &event {
                format!(" {}", why.reason)
            } else {
                String::new()
            };
            format!("{}{why}{}", event.name(), ride.unwrap_or_default())
        }
        other @ (Decision::Perform(_)
        | Decision::TakeHold
        | Decision::Release
        | Decision::Seal
        | Decision::Rest) => panic!("{other:?}"),
    }
}

#[test]
fn preflight_measures_and_begins_with_the_first_path() {
    let op = freeing(&spec(), Free::Preflight {});
    assert_eq!(says(&op, &sees(40)), "Measured + free /a");
    assert_eq!(says(&op, &calm()), "EngineNotAsked");
    let tree = TreeView { missing: Some("/b".into()), ..TreeView::default() };
    let gone = Observation { answer: Some(Ok(Answer::Tree(tree))), ..calm() };
    assert_eq!(says(&op, &gone), "Aborted PathNotFound");
    assert_eq!(query(&spec(), &op), Some(Query::Tree { paths: vec!["/a".into(), "/b".into()] }));
}

#[test]
fn each_path_is_freed_and_the_next_one_shares_the_write() {
    let first = intending(freeing(&spec(), at(0, false)), Effect::Free { path: 0 });
    let second = intending(freeing(&spec(), at(1, false)), Effect::Free { path: 1 });
    let outcome = |o| Observation { outcome: Some(o), intent: IntentView::Expired, ..calm() };
    let done = outcome(Outcome::Done(Receipt::default()));
    assert_eq!(says(&first, &done), "Freed + free /b");
    assert_eq!(says(&second, &done), "Freed");
    for (retryable, wanted) in [(true, "AttemptFailed EngineRefused"), (false, "Aborted Pinned")] {
        let no = Outcome::Refused { reason: "Pinned".into(), message: "m".into(), retryable };
        assert_eq!(says(&first, &outcome(no)), wanted);
    }
    let landing = Observation { intent: IntentView::Landing { remaining_ms: 1 }, ..calm() };
    assert_eq!(says(&first, &landing), "Settling");
    let unknown = Observation { outcome: Some(Outcome::Unknown { detail: "d".into() }), ..landing };
    assert_eq!(says(&first, &unknown), "Settling");
    assert_eq!(says(&first, &Observation { intent: IntentView::Expired, ..calm() }), "Intended + free /a");
    assert_eq!(says(&freeing(&spec(), at(1, true)), &calm()), "Intended + free /b");
}

#[test]
fn success_is_an_empty_cache_and_what_stays_is_tried_again() {
    let op = freeing(&spec(), Free::Verifying { cached: 100 });
    let after = |ms, cached| Observation { since_entry_ms: ms, ..sees(cached) };
    assert_eq!(says(&op, &after(0, 0)), "Empty");
    assert_eq!(says(&op, &after(FREE_TAKES_MS - 1, 1)), "Working");
    assert_eq!(says(&op, &after(FREE_TAKES_MS, 1)), "AttemptFailed StillCached");
    let last = Folded { failures: 3, ..op };
    assert_eq!(says(&last, &after(FREE_TAKES_MS, 1)), "Aborted StillCached");
    assert_eq!(Free::Verifying { cached: 7 }.retried(), Free::Freeing { path: 0, started: true, cached: 7 });
}

#[test]
fn it_can_be_taken_back_until_the_first_intent() {
    let effect = crate::testing::intent(Effect::Free { path: 0 }, crate::ids::Fence::default());
    for (state, intent, wanted) in [
        (Free::Preflight {}, None, false),
        (Free::Preflight {}, Some(&effect), true),
        (at(0, false), None, false),
        (at(0, true), None, true),
        (at(1, false), None, true),
        (Free::Verifying { cached: 0 }, None, true),
    ] {
        assert_eq!(state.irreversible(intent), wanted, "{state:?}");
    }
}

#[test]
fn counters_at_their_end_do_not_panic() {
    let state = Free::Freeing { path: usize::MAX, started: true, cached: i64::MIN };
    let next = state.step(FreeEvent::Freed { more: true }).unwrap();
    assert_eq!(next, Next::Step(Free::Freeing { path: usize::MAX, started: false, cached: i64::MIN }));
    let seen = Observation { since_entry_ms: 0, ..sees(i64::MAX) };
    assert_eq!(says(&freeing(&spec(), Free::Verifying { cached: i64::MIN }), &seen), "Working");
}
