//! Creating, replacing, names, versions and generations.

use super::*;

#[test]
fn a_name_can_be_taken_once() {
    Case::new("a_name_can_be_taken_once")
        .create("widgets/a")
        .gives(201)
        .create("widgets/a")
        .refused(409, "AlreadyExists")
        .create("targetlocks/a")
        .gives(201)
        .create("targetlocks/a")
        .refused(409, "AlreadyExists")
        .create("configmaps/a")
        .gives(201)
        .create("configmaps/a")
        .refused(409, "AlreadyExists")
        .hold();
}

#[test]
fn what_is_not_there_is_not_found() {
    Case::new("what_is_not_there_is_not_found")
        .get("widgets/a")
        .refused(404, "NotFound")
        .merge("widgets/a", json!({"metadata": {"labels": {"l": "1"}}}))
        .refused(404, "NotFound")
        .patch("widgets/a/status", json!([test("/metadata/uid", json!("$uid"))]))
        .refused(404, "NotFound")
        .delete("widgets/a", json!({}))
        .refused(404, "NotFound")
        .put("configmaps/a", 0, &[])
        .get("/apis/GROUP/v1/namespaces/nowhere/widgets/a")
        .refused(404, "NotFound")
        .send(
            "POST",
            "/apis/GROUP/v1/namespaces/nowhere/widgets",
            "application/json",
            Body::Json(minimal("configmaps")),
        )
        .get("/apis/GROUP/v1/namespaces/NAMESPACE/nothing")
        .gives(404)
        .get("/apis/nowhere.example.com/v1/things")
        .gives(404)
        .hold();
}

#[test]
fn a_status_sent_with_a_create_is_dropped() {
    Case::new("a_status_sent_with_a_create_is_dropped")
        .create_with("widgets/a", &[("/status", json!({"seq": 7, "step": "seven"}))])
        .gives(201)
        .shows("/status", Value::Null)
        .shows("/metadata/generation", json!(1))
        .create_with("gadgets/a", &[("/status", json!({"seq": 7}))])
        .gives(201)
        .shows("/status/seq", json!(7))
        .hold();
}

#[test]
fn a_create_with_a_version_is_refused_and_a_uid_is_replaced() {
    Case::new("a_create_with_a_version_is_refused_and_a_uid_is_replaced")
        .create_with("widgets/a", &[("/metadata/resourceVersion", json!("5"))])
        .create_with(
            "widgets/b",
            &[
                ("/metadata/uid", json!("33333333-2222-4333-8444-555555555555")),
                ("/metadata/generation", json!(7)),
            ],
        )
        .gives(201)
        .shows("/metadata/generation", json!(1))
        .create_with(
            "widgets/c",
            &[
                ("/metadata/finalizers", json!(["ratchet.dev/hold"])),
                ("/metadata/deletionTimestamp", json!("2020-01-01T00:00:00Z")),
            ],
        )
        .gives(201)
        .shows("/metadata/deletionTimestamp", Value::Null)
        .hold();
}

#[test]
fn generated_names_differ() {
    let body = |stem: &str| {
        let mut body = minimal("widgets");
        body["metadata"] = json!({"generateName": stem});
        Body::Json(body)
    };
    Case::new("generated_names_differ")
        .send("POST", "widgets/a", "application/json", body("g0-"))
        .gives(201)
        .shows("/metadata/name", json!("g0-#"))
        .send("POST", "widgets/a", "application/json", body("g1-"))
        .gives(201)
        .hold();
}

#[test]
fn a_replacement_needs_the_version_it_replaces() {
    Case::new("a_replacement_needs_the_version_it_replaces")
        .create("widgets/a")
        .put("widgets/a", 0, &[("/spec/size", json!(4))])
        .gives(200)
        .shows("/metadata/generation", json!(2))
        .put("widgets/a", 1, &[("/spec/size", json!(5))])
        .refused(409, "Conflict")
        .put("widgets/a", 0, &[("/metadata/resourceVersion", Value::Null), ("/spec/size", json!(5))])
        .refused(422, "Invalid")
        .causes(1)
        .put("widgets/a", 0, &[("/metadata/uid", json!("33333333-2222-4333-8444-555555555555"))])
        .refused(409, "Conflict")
        .put("widgets/a", 0, &[("/metadata/name", json!("b"))])
        .refused(400, "BadRequest")
        .create("configmaps/a")
        .put("configmaps/a", 0, &[("/metadata/resourceVersion", Value::Null), ("/data/k", json!("w"))])
        .gives(200)
        .hold();
}

#[test]
fn labels_leave_the_generation_and_the_spec_raises_it() {
    Case::new("labels_leave_the_generation_and_the_spec_raises_it")
        .create("widgets/a")
        .merge("widgets/a", json!({"metadata": {"labels": {"l": "1"}, "annotations": {"n": "1"}}}))
        .gives(200)
        .shows("/metadata/generation", json!(1))
        .merge("widgets/a", json!({"spec": {"size": 4}}))
        .shows("/metadata/generation", json!(2))
        .put(
            "widgets/a",
            0,
            &[
                ("/metadata/generation", json!(9)),
                ("/metadata/creationTimestamp", json!("2020-01-01T00:00:00Z")),
            ],
        )
        .gives(200)
        .shows("/metadata/generation", json!(2))
        .merge("widgets/a/status", json!({"status": {"seq": 1, "step": "one"}}))
        .gives(200)
        .shows("/metadata/generation", json!(2))
        .create("gadgets/a")
        .merge("gadgets/a", json!({"status": {"seq": 1}}))
        .shows("/metadata/generation", json!(2))
        .hold();
}

#[test]
fn a_write_that_changes_nothing_makes_no_version_and_no_event() {
    Case::new("a_write_that_changes_nothing_makes_no_version_and_no_event")
        .watching("widgets", &[])
        .create("widgets/a")
        .merge("widgets/a", json!({"spec": {"size": 3}}))
        .gives(200)
        .shows("/metadata/resourceVersion", json!("rv#1"))
        .patch("widgets/a", json!([replace("/spec/size", json!(3))]))
        .shows("/metadata/resourceVersion", json!("rv#1"))
        .put("widgets/a", 0, &[])
        .shows("/metadata/resourceVersion", json!("rv#1"))
        .merge("widgets/a", json!({"spec": {"size": 4}}))
        .shows("/metadata/resourceVersion", json!("rv#2"))
        .hold();
}

#[test]
fn a_dry_run_changes_nothing() {
    Case::new("a_dry_run_changes_nothing")
        .watching("widgets", &[])
        .create("widgets/a?dryRun=All")
        .gives(201)
        .create("widgets/a")
        .gives(201)
        .merge("widgets/a?dryRun=All", json!({"spec": {"size": 9}}))
        .gives(200)
        .shows("/spec/size", json!(9))
        .delete("widgets/a?dryRun=All", json!({}))
        .gives(200)
        .get("widgets/a")
        .shows("/spec/size", json!(3))
        .hold();
}
