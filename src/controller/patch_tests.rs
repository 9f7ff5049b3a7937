use super::*;
use crate::api::DataOperationStatus;
use chrono::DateTime;
use ratchet_state_machine::ids::{Seq, WriterId};
use ratchet_state_machine::journal::{Record, Signature, plan_hash};
use ratchet_state_machine::lifecycle::Change;
use ratchet_state_machine::lifecycle::step::Shared;
use ratchet_state_machine::operation::Event;
use ratchet_state_machine::spec::OperationSpec;
use serde_json::{Value, json};

fn records(n: usize) -> Vec<Record> {
    let spec: OperationSpec =
        serde_json::from_value(json!({"target": "c", "operation": {"load": {"paths": ["/d"]}}})).unwrap();
    let writer = WriterId("w".into());
    let sign = Signature { by: &writer, at: DateTime::UNIX_EPOCH, because: "test" };
    let change = |event| Change { event: Event::Shared(event), intent: None, sealed_through: None };
    let plan = plan_hash(&spec).unwrap();
    let mut all = vec![
        Record::birth(
            "u",
            &spec,
            &change(Shared::Created {
                machine: ratchet_state_machine::MACHINE_VERSION,
                after: false,
                approval: false,
                plan,
            }),
            &sign,
        )
        .unwrap(),
    ];
    all.push(all[0].append(&change(Shared::HoldGranted { epoch: 1 }), &sign).unwrap());
    while all.len() < n {
        let next = all[all.len() - 1].append(&change(Shared::CancelTooLate {}), &sign).unwrap();
        all.push(next);
    }
    all
}

/// Applies a patch to an object as the API server does.
fn applied(object: &Value, ops: Ops) -> Result<Value, json_patch::PatchError> {
    let mut object = object.clone();
    let patch: json_patch::Patch = serde_json::from_value(serde_json::to_value(ops).unwrap()).unwrap();
    json_patch::patch(&mut object, &patch).map(|()| object)
}

fn object(status: Option<&DataOperationStatus>) -> Value {
    let mut object = json!({"metadata": {"uid": "u", "generation": 4}, "status": null});
    if let Some(status) = status {
        object["status"] = serde_json::to_value(status).unwrap();
    }
    object
}

#[test]
fn a_transition_turns_exactly_the_old_status_into_the_new_one() {
    let all: Vec<_> = records(5).iter().map(DataOperationStatus::from_record).collect();
    let born = applied(&object(None), birth("u", &all[0]).unwrap()).unwrap();
    assert_eq!(born, object(Some(&all[0])));
    for pair in all.windows(2) {
        let ops = transition("u", Some(4), &pair[0], &pair[1]).unwrap();
        assert_eq!(applied(&object(Some(&pair[0])), ops).unwrap(), object(Some(&pair[1])));
    }
}

#[test]
fn whoever_comes_late_changes_nothing() {
    let all: Vec<_> = records(3).iter().map(DataOperationStatus::from_record).collect();
    let ops = || transition("u", Some(4), &all[0], &all[1]).unwrap();
    assert!(applied(&object(Some(&all[1])), ops()).is_err(), "seq moved on");
    let mut other = object(Some(&all[0]));
    other["metadata"]["uid"] = json!("v");
    assert!(applied(&other, ops()).is_err(), "another object of the same name");
    let mut edited = object(Some(&all[0]));
    edited["metadata"]["generation"] = json!(5);
    assert!(applied(&edited, ops()).is_err(), "the spec was edited since");
    assert!(applied(&object(Some(&all[0])), birth("u", &all[0]).unwrap()).is_err(), "born twice");
}

#[test]
fn entries_that_leave_the_tail_leave_it_in_the_same_write() {
    let all = records(20);
    let old = DataOperationStatus::from_record(&all[19]);
    for keep in [1, 10, 17, 20] {
        let mut trimmed = all[19].clone();
        let from = trimmed.tail.len() - keep;
        trimmed.tail.drain(..from);
        trimmed.folded.sealed_through = Seq(from as i64);
        let new = DataOperationStatus::from_record(&trimmed);
        let got = applied(&object(Some(&old)), transition("u", None, &old, &new).unwrap()).unwrap();
        assert_eq!(got, object(Some(&new)), "keeping {keep}");
    }
}

#[test]
fn a_display_without_a_change_is_no_write() {
    let status = DataOperationStatus::from_record(&records(2)[1]);
    assert!(display("u", &status, &status).unwrap().is_empty());
    let shown = DataOperationStatus { finished_at: Some("x".into()), ..status.clone() };
    let got = applied(&object(Some(&status)), display("u", &status, &shown).unwrap()).unwrap();
    assert_eq!(got, object(Some(&shown)));
}

#[test]
fn every_field_that_differs_is_written_under_its_name() {
    let old = DataOperationStatus::from_record(&records(2)[0]);
    let mut whole = serde_json::to_value(DataOperationStatus::from_record(&records(2)[1])).unwrap();
    for (name, value) in [
        ("phase", json!("Stuck")),
        ("step", json!("else")),
        ("kind", json!("else")),
        ("machineVersion", json!(70)),
        ("round", json!(71)),
        ("handledRetry", json!(72)),
        ("failures", json!(73)),
        ("cancelNoted", json!(true)),
        ("plan", json!({"hash": "else"})),
        ("sealedThrough", json!(1)),
        ("progress", json!({"done": 1, "total": 2, "unit": "b", "percent": "50%", "rate": 0, "eta": ""})),
        ("waitingOn", json!({"reason": "r", "message": "m"})),
        ("startedAt", json!("s")),
        ("finishedAt", json!("f")),
    ] {
        whole[name] = value;
    }
    whole["intent"] = json!({"effect": {"stopLoad": {"path": 0}}, "token": "t", "writer": "w", "nonce": "n",
        "fence": {"epoch": 1, "attempt": 1}, "sendForMs": 1});
    whole["conditions"] = json!([{"type": "Finished", "status": "True", "reason": "r", "message": "m",
        "lastTransitionTime": "2026-01-01T00:00:00Z", "observedGeneration": 1}]);
    let new: DataOperationStatus = serde_json::from_value(whole.clone()).unwrap();
    assert_eq!(serde_json::to_value(&new).unwrap(), whole, "nothing is left out");
    let differing = whole
        .as_object()
        .unwrap()
        .iter()
        .filter(|(name, value)| object(Some(&old))["status"][*name] != **value);
    assert_eq!(differing.count(), whole.as_object().unwrap().len(), "every field differs");
    for (from, to) in [(&old, &new), (&new, &old)] {
        let mut shown = object(Some(to));
        shown["status"]["tail"] = object(Some(from))["status"]["tail"].clone();
        let ops = display("u", from, to).unwrap();
        assert_eq!(applied(&object(Some(from)), ops).unwrap(), shown);
    }
}
