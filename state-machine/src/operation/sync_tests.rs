use super::*;
use crate::decision::Decision;
use crate::effect::Outcome;
use crate::effect::{Receipt, TreeView};
use crate::lifecycle::step::Shared;
use crate::lifecycle::{Folded, decide};
use crate::observation::IntentView;
use crate::observation::Observation;
use crate::operation::Event;
use crate::testing::{calm, intending, sync, syncing};

fn spec() -> OperationSpec {
    sync(&["/a", "/b"])
}

fn at(path: usize, requested: bool) -> Sync {
    Sync::Syncing { path, started: true, requested, task: Some(7), files: 5, bytes: 50 }
}

fn says(op: &Folded, seen: &Observation) -> String {
    match decide(&spec(), op, seen) {
        Decision::Await(w) => w.reason().into(),
        Decision::Record { event: Event::Shared(Shared::Aborted { why }), .. } => {
            format!("fails {}", why.reason)
        }
        Decision::Record { event: Event::Shared(Shared::AttemptFailed { why }), .. } => {
            format!("again {}", why.reason)
        }
        Decision::Record { event, intend, .. } => {
            let ride = intend.and_then(|e| e.path(&spec()).map(|p| format!(" + {} {p}", e.name())));
            format!("{}{}", event.name(), ride.unwrap_or_default())
        }
        other @ (Decision::Perform(_)
        | Decision::TakeHold
        | Decision::Release
        | Decision::Seal
        | Decision::Rest) => panic!("{other:?}"),
    }
}

fn metadata(view: MetadataView) -> Observation {
    Observation { answer: Some(Ok(Answer::Metadata(view, None))), ..calm() }
}

fn tree(files: i64) -> TreeView {
    TreeView { files, bytes: 10 * files, ..TreeView::default() }
}

#[test]
fn each_path_is_asked_for_until_everything_below_it_is_known() {
    let fresh = syncing(&spec(), Sync::first());
    assert_eq!(says(&fresh, &calm()), "Intended + loadMetadata /a");
    let asked = intending(fresh, Effect::LoadMetadata { path: 0 });
    let outcome = |o| Observation { outcome: Some(o), intent: IntentView::Expired, ..calm() };
    assert_eq!(
        says(&asked, &outcome(Outcome::Done(Receipt { task: Some(1), ..Receipt::default() }))),
        "Requested"
    );
    let refused = Outcome::Refused { reason: "EngineRefused".into(), message: "no".into(), retryable: true };
    assert_eq!(says(&asked, &outcome(refused)), "again EngineRefused");
    for (view, wanted) in [
        (MetadataView::Running { done: 3 }, "Working"),
        (MetadataView::Missing, "fails PathNotFound"),
        (MetadataView::Failed { message: "x".into() }, "again MetadataFailed"),
        (MetadataView::Forgotten, "again WorkLost"),
        (MetadataView::Loaded(tree(3)), "Synced + loadMetadata /b"),
    ] {
        assert_eq!(says(&syncing(&spec(), at(0, true)), &metadata(view)), wanted);
    }
    let later = Observation { since_entry_ms: 60_000, ..metadata(MetadataView::Forgotten) };
    assert_eq!(says(&syncing(&spec(), at(1, true)), &later), "Intended + loadMetadata /b");
    assert_eq!(says(&syncing(&spec(), at(1, true)), &metadata(MetadataView::Loaded(tree(3)))), "Synced");
}

#[test]
fn success_is_read_back() {
    let op = syncing(&spec(), Sync::Verifying { files: 5, bytes: 50 });
    let seen = |tree| Observation { answer: Some(Ok(Answer::Tree(tree))), ..calm() };
    assert_eq!(says(&op, &seen(tree(5))), "Known");
    assert_eq!(says(&op, &seen(tree(6))), "Known");
    assert_eq!(says(&op, &seen(tree(4))), "again MetadataLost");
    let gone = TreeView { missing: Some("/b".into()), ..tree(9) };
    assert_eq!(says(&op, &seen(gone)), "again MetadataLost");
    assert_eq!(Sync::Verifying { files: 5, bytes: 50 }.retried(), Sync::first());
}

#[test]
fn a_cancel_stops_the_search() {
    assert_eq!(at(1, true).halt(None), Some(Effect::CancelMetadata { path: 1, task: 7 }));
    assert_eq!(Sync::first().halt(None), None);
    assert!(Sync::first().quiet() && !at(0, true).quiet());
    assert_eq!(at(1, true).resumed(), begin(1, 5, 50));
}
