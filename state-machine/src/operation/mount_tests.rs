use super::*;
use crate::decision::Decision;
use crate::effect::Outcome;
use crate::effect::{Receipt, Trouble, TroubleKind};
use crate::lifecycle::step::Shared;
use crate::lifecycle::{Folded, decide, query};
use crate::mounts::MountView;
use crate::observation::IntentView;
use crate::observation::Observation;
use crate::operation::Event;
use crate::spec::{Force, MountOption, SecretKey, ValueFrom};
use crate::testing::{calm, intending, mount, mounting};

fn view(path: &str, uri: &str) -> MountView {
    MountView { path: path.into(), uri: uri.into(), ..MountView::default() }
}

fn sees(mounts: &[MountView], unpersisted: i64) -> Observation {
    let table = MountTable { mounts: mounts.to_vec(), unpersisted };
    Observation { answer: Some(Ok(Answer::Mounts(table))), ..calm() }
}

fn spec(edit: impl FnOnce(&mut MountSpec)) -> OperationSpec {
    let mut spec = mount("/a", "s3://b/a");
    if let ArmSpec::Mount(m) = &mut spec.operation {
        edit(m);
    }
    spec
}

/// Name of the event or reason of the wait; a failure with its reason; the effect that rides along.
fn says(spec: &OperationSpec, at: Mount, seen: &Observation) -> String {
    said(spec, &mounting(spec, at), seen)
}

fn said(spec: &OperationSpec, op: &Folded, seen: &Observation) -> String {
    match decide(spec, op, seen) {
        Decision::Await(w) => w.reason().into(),
        Decision::Record { event: Event::Shared(Shared::Aborted { why }), .. } => {
            format!("fails {}", why.reason)
        }
        Decision::Record { event: Event::Shared(Shared::AttemptFailed { why }), .. } => {
            format!("again {}", why.reason)
        }
        Decision::Record { event, intend, .. } => {
            format!("{}{}", event.name(), intend.map(|e| format!(" + {}", e.name())).unwrap_or_default())
        }
        other @ (Decision::Perform(_)
        | Decision::TakeHold
        | Decision::Release
        | Decision::Seal
        | Decision::Rest) => panic!("{other:?}"),
    }
}

#[test]
fn the_live_table_says_what_is_due() {
    let plain = spec(|_| {});
    let flags = spec(|m| m.read_only = true);
    let replacing = spec(|m| m.replace = true);
    let root = view("/", "/root");
    for (spec, mounts, wanted) in [
        (&plain, vec![root.clone()], "Compared + mount"),
        (&plain, vec![view("/a", "s3://b/a/")], "Compared"),
        (&flags, vec![view("/a", "s3://b/a")], "Compared + updateMount"),
        (&plain, vec![view("/a", "s3://other")], "fails MountedElsewhere"),
        (&replacing, vec![view("/a", "s3://other")], "Compared + unmount"),
        (&replacing, vec![view("/a", "s3://other"), view("/a/b", "s3://x")], "fails NestedMount"),
        (&replacing, vec![view("/a", "s3://other"), view("/z", "s3://b")], "fails NestedUnderStorage"),
        (&plain, vec![view("/a/b", "s3://x")], "fails NestedMount"),
        (&plain, vec![root, view("/z", "s3://b")], "fails NestedUnderStorage"),
    ] {
        assert_eq!(says(spec, Mount::Preflight {}, &sees(&mounts, 0)), wanted, "{mounts:?}");
    }
    assert_eq!(says(&plain, Mount::Preflight {}, &calm()), "EngineNotAsked");
}

#[test]
fn credentials_are_set_once_because_nobody_can_see_them() {
    let secret_key_ref = SecretKey { name: "s3".into(), key: "id".into() };
    let value_from = Some(ValueFrom { secret_key_ref });
    let option = MountOption { name: "aws.accessKeyId".into(), value: None, value_from };
    let spec = spec(|m| m.options = vec![option]);
    let there = sees(&[view("/a", "s3://b/a")], 0);
    assert_eq!(says(&spec, Mount::Preflight {}, &there), "Compared + updateMount");
    assert_eq!(says(&spec, Mount::Verifying {}, &there), "AsWanted");
    let trouble = Trouble { kind: TroubleKind::NoSecret, message: "no Secret s3".into() };
    let missing = Observation { answer: Some(Err(trouble)), ..calm() };
    assert_eq!(says(&spec, Mount::Preflight {}, &missing), "fails SecretNotFound");
    let asked = query(&spec, &mounting(&spec, Mount::Preflight {}));
    assert_eq!(asked, Some(Query::Mounts { count: None, secrets: true }));
}

#[test]
fn what_only_the_cache_has_is_not_replaced_unless_somebody_accepts_it() {
    let mut spec = spec(|m| m.replace = true);
    let seen = sees(&[view("/a", "s3://other")], 3);
    assert_eq!(says(&spec, Mount::Preflight {}, &seen), "NotPersisted");
    let asked = query(&spec, &mounting(&spec, Mount::Preflight {}));
    assert_eq!(asked, Some(Query::Mounts { count: Some("/a".into()), secrets: true }));
    spec.control.force = Some(Force { by: "ann".into() });
    let Decision::Record { because, .. } = decide(&spec, &mounting(&spec, Mount::Preflight {}), &seen) else {
        panic!("nothing is recorded")
    };
    assert_eq!(because, "3 files are lost, as ann accepts");
}

#[test]
fn a_call_is_made_until_it_is_answered_and_then_read_back() {
    let spec = spec(|_| {});
    let op = intending(mounting(&spec, Mount::Mounting { started: false }), Effect::Mount { path: 0 });
    let outcome = |o| Observation { outcome: Some(o), intent: IntentView::Expired, ..calm() };
    let refused = |retryable| {
        outcome(Outcome::Refused { reason: "EngineRefused".into(), message: "no".into(), retryable })
    };
    assert_eq!(said(&spec, &op, &outcome(Outcome::Done(Receipt::default()))), "Accepted");
    assert_eq!(said(&spec, &op, &refused(true)), "again EngineRefused");
    assert_eq!(said(&spec, &op, &refused(false)), "fails EngineRefused");
    let landing = Observation { intent: IntentView::Landing { remaining_ms: 5 }, ..calm() };
    assert_eq!(said(&spec, &op, &landing), "Settling");
    let expired = Observation { intent: IntentView::Expired, ..calm() };
    assert_eq!(said(&spec, &op, &expired), "Intended + mount");
    for (mounts, wanted) in [
        (vec![view("/a", "s3://b/a")], "AsWanted"),
        (vec![], "again NotAsWanted"),
        (vec![view("/a", "s3://other")], "again NotAsWanted"),
        (vec![MountView { shared: true, ..view("/a", "s3://b/a") }], "again NotAsWanted"),
    ] {
        assert_eq!(says(&spec, Mount::Verifying {}, &sees(&mounts, 0)), wanted);
    }
}

#[test]
fn a_cancel_is_too_late_after_the_first_intent() {
    for (at, wanted) in [
        (Mount::Preflight {}, "CancelRequested"),
        (Mount::Mounting { started: false }, "CancelRequested"),
        (Mount::Mounting { started: true }, "CancelTooLate"),
        (Mount::Verifying {}, "CancelTooLate"),
    ] {
        let mut spec = spec(|_| {});
        spec.control.cancel = true;
        assert_eq!(says(&spec, at, &calm()), wanted);
    }
}
