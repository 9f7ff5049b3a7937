//! Deletion: finalizers, preconditions, garbage collection, namespaces.

use super::*;

const HOLD: &str = "ratchet.dev/hold";

#[test]
fn a_finalizer_holds_and_its_removal_lets_go() {
    Case::new("a_finalizer_holds_and_its_removal_lets_go")
        .watching("widgets", &[])
        .create_with("widgets/a", &[("/metadata/finalizers", json!([HOLD]))])
        .delete("widgets/a", json!({}))
        .gives(200)
        .shows("/metadata/deletionTimestamp", json!("time"))
        .shows("/metadata/generation", json!(2))
        .merge("widgets/a/status", json!({"status": {"seq": 1, "step": "one"}}))
        .gives(200)
        .merge("widgets/a", json!({"metadata": {"labels": {"l": "1"}}, "spec": {"size": 4}}))
        .gives(200)
        .delete("widgets/a", json!({}))
        .gives(200)
        .create("widgets/a")
        .refused(409, "AlreadyExists")
        .patch(
            "widgets/a",
            json!([test("/metadata/finalizers/0", json!(HOLD)), remove("/metadata/finalizers/0")]),
        )
        .gives(200)
        .get("widgets/a")
        .refused(404, "NotFound")
        .hold();
}

#[test]
fn no_finalizer_is_added_to_what_is_being_deleted() {
    Case::new("no_finalizer_is_added_to_what_is_being_deleted")
        .create_with("widgets/a", &[("/metadata/finalizers", json!([HOLD]))])
        .delete("widgets/a", json!({}))
        .merge("widgets/a", json!({"metadata": {"finalizers": [HOLD, "ratchet.dev/two"]}}))
        .refused(422, "Invalid")
        .merge("widgets/a", json!({"metadata": {"finalizers": null}}))
        .gives(200)
        .get("widgets/a")
        .gives(404)
        .hold();
}

#[test]
fn a_deletion_can_have_preconditions() {
    Case::new("a_deletion_can_have_preconditions")
        .create("widgets/a")
        .merge("widgets/a", json!({"spec": {"size": 4}}))
        .delete("widgets/a", json!({"preconditions": {"resourceVersion": "$rv-1"}}))
        .refused(409, "Conflict")
        .delete("widgets/a", json!({"preconditions": {"uid": "33333333-2222-4333-8444-555555555555"}}))
        .refused(409, "Conflict")
        .delete("widgets/a", json!({"preconditions": {"uid": "$uid", "resourceVersion": "$rv"}}))
        .gives(200)
        .shows("/status", json!("Success"))
        .get("widgets/a")
        .gives(404)
        .create("configmaps/a")
        .delete("configmaps/a", json!({"preconditions": {"uid": "33333333-2222-4333-8444-555555555555"}}))
        .refused(409, "Conflict")
        .hold();
}

fn owned(by: &str, uid: &str) -> Value {
    json!([{"apiVersion": "v1", "kind": "ConfigMap", "name": by, "uid": uid}])
}

#[test]
fn dependents_go_with_their_owner() {
    Case::new("dependents_go_with_their_owner")
        .create("configmaps/a")
        .create_with("widgets/b", &[("/metadata/ownerReferences", owned("a", "$uid:configmaps/a"))])
        .create_with("configmaps/c", &[("/metadata/ownerReferences", owned("a", "$uid:configmaps/a"))])
        .delete("configmaps/a", json!({"propagationPolicy": "Background"}))
        .gives(200)
        .settles()
        .get("widgets/b")
        .gives(404)
        .get("configmaps/c")
        .gives(404)
        .hold();
}

#[test]
fn an_owner_waits_for_its_dependents_in_the_foreground() {
    let mut blocking = owned("a", "$uid:configmaps/a");
    blocking[0]["blockOwnerDeletion"] = json!(true);
    Case::new("an_owner_waits_for_its_dependents_in_the_foreground")
        .create("configmaps/a")
        .create_with(
            "configmaps/b",
            &[("/metadata/ownerReferences", blocking), ("/metadata/finalizers", json!([HOLD]))],
        )
        .delete("configmaps/a", json!({"propagationPolicy": "Foreground"}))
        .gives(200)
        .shows("/metadata/finalizers", json!(["foregroundDeletion"]))
        .settles()
        .get("configmaps/a")
        .gives(200)
        .merge("configmaps/b", json!({"metadata": {"finalizers": null}}))
        .settles()
        .get("configmaps/a")
        .gives(404)
        .hold();
}

#[test]
fn orphans_stay() {
    Case::new("orphans_stay")
        .create("configmaps/a")
        .create_with("configmaps/b", &[("/metadata/ownerReferences", owned("a", "$uid:configmaps/a"))])
        .delete("configmaps/a", json!({"propagationPolicy": "Orphan"}))
        .gives(200)
        .settles()
        .get("configmaps/b")
        .gives(200)
        .shows("/metadata/ownerReferences", Value::Null)
        .hold();
}

#[test]
fn an_owner_that_is_not_there_or_another_has_no_dependents() {
    Case::new("an_owner_that_is_not_there_or_another_has_no_dependents")
        .create("configmaps/a")
        .create_with(
            "widgets/b",
            &[("/metadata/ownerReferences", owned("a", "33333333-2222-4333-8444-555555555555"))],
        )
        .settles()
        .get("widgets/b")
        .gives(404)
        .hold();
}

#[test]
fn nothing_is_created_in_a_namespace_that_is_terminating() {
    let ns = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "$me", "labels": {"conformance": "$run"}}});
    let map = |name: &str, finalizers: Value| {
        Body::Json(
            json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "finalizers": finalizers}}),
        )
    };
    let maps = "/api/v1/namespaces/TAG-n/configmaps";
    let widgets = "/apis/GROUP/v1/namespaces/TAG-n/widgets";
    let mut widget = minimal("widgets");
    widget["apiVersion"] = json!("$api:widgets/a");
    widget["metadata"] = json!({"name": "w"});
    Case::new("nothing_is_created_in_a_namespace_that_is_terminating")
        .send("POST", "namespaces/n", "application/json", Body::Json(ns))
        .gives(201)
        .send("POST", maps, "application/json", map("held", json!([HOLD])))
        .gives(201)
        .send("DELETE", "namespaces/n", "application/json", Body::Json(json!({})))
        .gives(200)
        .send("POST", widgets, "application/json", Body::Json(widget))
        .refused(403, "Forbidden")
        .causes(1)
        .shows("/details/causes/0/reason", json!("NamespaceTerminating"))
        .send("POST", maps, "application/json", map("late", json!([])))
        .refused(403, "Forbidden")
        .send(
            "PATCH",
            "/api/v1/namespaces/TAG-n/configmaps/held",
            "application/merge-patch+json",
            Body::Json(json!({"metadata": {"finalizers": null}})),
        )
        .gives(200)
        .get("namespaces/n")
        .gives(404)
        .settles()
        .send("POST", maps, "application/json", map("after", json!([])))
        .refused(404, "NotFound")
        .hold();
}
