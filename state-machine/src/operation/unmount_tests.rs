use super::*;
use crate::decision::Decision;
use crate::effect::Outcome;
use crate::effect::Receipt;
use crate::lifecycle::step::Shared;
use crate::lifecycle::{Folded, decide};
use crate::mounts::MountView;
use crate::observation::IntentView;
use crate::observation::{LockView, Observation};
use crate::operation::{Event, State};
use crate::spec::{ArmSpec, Force, WhenInUse};
use crate::testing::{calm, folded, intending, unmount, unmounting};

fn table(mounts: &[&str], unpersisted: i64) -> Observation {
    let view =
        |path: &&str| MountView { path: (*path).into(), uri: format!("s3:/{path}"), ..MountView::default() };
    let table = MountTable { mounts: mounts.iter().map(view).collect(), unpersisted };
    Observation { answer: Some(Ok(Answer::Mounts(table))), ..calm() }
}

fn says(spec: &OperationSpec, op: &Folded, seen: &Observation) -> String {
    match decide(spec, op, seen) {
        Decision::Await(w) => w.reason().into(),
        Decision::TakeHold => "(take the hold)".into(),
        Decision::Record { event: Event::Shared(Shared::Aborted { why }), .. } => {
            format!("fails {}", why.reason)
        }
        Decision::Record { event: Event::Shared(Shared::AttemptFailed { why }), .. } => {
            format!("again {}", why.reason)
        }
        Decision::Record { event: Event::Unmount(event), intend, .. } => {
            format!("{event:?}{}", intend.map(|e| format!(" + {}", e.name())).unwrap_or_default())
        }
        other @ (Decision::Record { .. }
        | Decision::Perform(_)
        | Decision::Release
        | Decision::Seal
        | Decision::Rest) => panic!("{other:?}"),
    }
}

#[test]
fn mounts_go_one_by_one_until_the_table_shows_none() {
    let spec = unmount("/a", true);
    let check = |at, mounts: &[&str]| says(&spec, &unmounting(&spec, at), &table(mounts, 0));
    let after = |done, left| Unmount::Verifying { done, left };
    assert_eq!(
        check(Unmount::Preflight { done: 0 }, &["/", "/a", "/a/b", "/ab"]),
        "Found { mounts: 2 } + unmount"
    );
    assert_eq!(check(after(1, 2), &["/", "/a", "/ab"]), "Found { mounts: 1 } + unmount");
    assert_eq!(check(after(2, 1), &["/", "/ab"]), "Gone { removed: 2 }");
    assert_eq!(check(after(1, 2), &["/a", "/a/b"]), "again StillMounted");
    assert_eq!(
        check(Unmount::Preflight { done: 0 }, &["/"]),
        "Found { mounts: 0 }",
        "a repeat finds it gone"
    );
    let at = Unmount::Unmounting { done: 0, left: 1, started: false };
    let op = intending(unmounting(&spec, at), Effect::Unmount { path: 0 });
    let outcome = |o| Observation { outcome: Some(o), intent: IntentView::Expired, ..calm() };
    assert_eq!(says(&spec, &op, &outcome(Outcome::Done(Receipt::default()))), "Unmounted");
    let gone = Outcome::Refused { reason: "NotFound".into(), message: String::new(), retryable: false };
    assert_eq!(says(&spec, &op, &outcome(gone)), "Unmounted");
}

#[test]
fn nothing_that_only_the_cache_has_is_dropped_unless_somebody_accepts_it() {
    let mut spec = unmount("/a", false);
    let op = unmounting(&spec, Unmount::Preflight { done: 0 });
    assert_eq!(says(&spec, &op, &table(&["/a"], 2)), "NotPersisted");
    spec.control.force = Some(Force { by: "ann".into() });
    assert_eq!(says(&spec, &op, &table(&["/a"], 2)), "Found { mounts: 1 } + unmount");
}

#[test]
fn other_mounts_below_the_path_are_a_reason_to_refuse() {
    let spec = unmount("/a", false);
    let op = unmounting(&spec, Unmount::Preflight { done: 0 });
    assert_eq!(says(&spec, &op, &table(&["/a", "/a/b"], 0)), "fails NestedMount");
    assert_eq!(says(&unmount("/a/x", false), &op, &table(&["/a"], 0)), "fails NotAMount");
}

#[test]
fn a_path_in_use_is_refused_or_waited_for_as_the_spec_says() {
    let mut spec = unmount("/a", false);
    let queued = folded(&spec, State::Unmount(crate::lifecycle::step::Step::Queued {}));
    let blocked =
        |in_use| Observation { lock: LockView::Blocked { by: "load ns/x".into(), in_use }, ..calm() };
    assert_eq!(says(&spec, &queued, &blocked(true)), "WaitingForLock");
    if let ArmSpec::Unmount(u) = &mut spec.operation {
        u.when_in_use = WhenInUse::Refuse;
    }
    assert_eq!(says(&spec, &queued, &blocked(true)), "fails PathInUse");
    assert_eq!(says(&spec, &queued, &blocked(false)), "WaitingForLock", "a full lock is no use of the path");
    let free = Observation { lock: LockView::Available, ..calm() };
    assert_eq!(says(&spec, &queued, &free), "(take the hold)");
}
