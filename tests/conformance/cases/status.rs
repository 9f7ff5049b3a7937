//! The status subresource: who writes what where.

use super::*;

#[test]
fn status_writes_leave_the_rest_alone() {
    let all = json!({"metadata": {"labels": {"l": "1"}, "finalizers": ["ratchet.dev/hold"]}, "spec": {"size": 9}, "status": {"seq": 1, "step": "one"}});
    Case::new("status_writes_leave_the_rest_alone")
        .create("widgets/a")
        .merge("widgets/a/status", all)
        .gives(200)
        .shows("/spec/size", json!(3))
        .shows("/metadata/labels", Value::Null)
        .shows("/metadata/finalizers", Value::Null)
        .shows("/status/seq", json!(1))
        .put(
            "widgets/a/status",
            0,
            &[
                ("/spec/size", json!(9)),
                ("/metadata/labels", json!({"l": "1"})),
                ("/status/note", json!("n")),
            ],
        )
        .gives(200)
        .shows("/spec/size", json!(3))
        .shows("/status/note", json!("n"))
        .put("widgets/a/status", 1, &[("/status/note", json!("m"))])
        .refused(409, "Conflict")
        .hold();
}

#[test]
fn other_writes_leave_status_alone() {
    Case::new("other_writes_leave_status_alone")
        .create("widgets/a")
        .merge("widgets/a", json!({"status": {"seq": 1, "step": "one"}}))
        .gives(200)
        .shows("/status", Value::Null)
        .merge("widgets/a/status", json!({"status": {"seq": 1, "step": "one"}}))
        .patch("widgets/a", json!([remove("/status"), replace("/spec/size", json!(4))]))
        .gives(200)
        .shows("/status/seq", json!(1))
        .put("widgets/a", 0, &[("/status/seq", json!(5))])
        .gives(200)
        .shows("/status/seq", json!(1))
        .get("gadgets/a/status")
        .gives(404)
        .hold();
}

#[test]
fn a_status_cannot_be_removed() {
    Case::new("a_status_cannot_be_removed")
        .create("widgets/a")
        .merge("widgets/a/status", json!({"status": {"seq": 1, "step": "one"}}))
        .merge("widgets/a/status", json!({"status": null}))
        .refused(422, "Invalid")
        .causes(1)
        .patch("widgets/a/status", json!([remove("/status")]))
        .refused(422, "Invalid")
        .causes(1)
        .merge("widgets/a/status", json!({"status": {"seq": null}}))
        .refused(422, "Invalid")
        .put("widgets/a/status", 0, &[("/status", json!({}))])
        .refused(422, "Invalid")
        .hold();
}

#[test]
fn an_operation_lives_by_the_shipped_rules() {
    let birth = crate::generate::birth();
    let second = crate::generate::second();
    let ops = |test_: Value, status: &Value| {
        json!([test("/metadata/uid", json!("$uid")), test_, add("/status", status.clone())])
    };
    Case::new("an_operation_lives_by_the_shipped_rules")
        .watching("dataoperations", &[])
        .create("dataoperations/a")
        .gives(201)
        .patch("dataoperations/a/status", ops(test("/status", json!(null)), &second))
        .refused(422, "Invalid")
        .patch("dataoperations/a/status", ops(test("/status", json!(null)), &birth))
        .gives(200)
        .patch("dataoperations/a/status", ops(test("/status", json!(null)), &birth))
        .refused(422, "Invalid")
        .causes(0)
        .merge("dataoperations/a/status", json!({"status": {"step": "preflight"}}))
        .refused(422, "Invalid")
        .patch("dataoperations/a/status", ops(test("/status/seq", json!(1)), &second))
        .gives(200)
        .merge("dataoperations/a", json!({"spec": {"control": {"cancel": true}}}))
        .gives(200)
        .merge("dataoperations/a", json!({"spec": {"control": {"cancel": false}}}))
        .refused(422, "Invalid")
        .causes(1)
        .merge("dataoperations/a", json!({"spec": {"target": "other"}}))
        .refused(422, "Invalid")
        .merge("dataoperations/a/status", json!({"status": null}))
        .refused(422, "Invalid")
        .get("dataoperations?fieldSelector=status.phase=Running,spec.target=t")
        .gives(200)
        .hold();
}

#[test]
fn only_the_controller_writes_status_where_the_policies_are() {
    let at = "/apis/ratchet.dev/v1alpha1/namespaces/NAMESPACE/dataoperations";
    let mut operation = minimal("dataoperations");
    operation["apiVersion"] = json!("ratchet.dev/v1alpha1");
    operation["metadata"] = json!({"name": "a"});
    let status = json!({"status": crate::generate::birth()});
    Case::new("only_the_controller_writes_status_where_the_policies_are")
        .only_real()
        .send("POST", at, "application/json", Body::Json(operation))
        .gives(201)
        .merge(&format!("{at}/a/status"), status)
        .refused(422, "Invalid")
        .says("only the Ratchet controller writes status")
        .delete(&format!("{at}/a"), json!({}))
        .gives(200)
        .hold();
}
