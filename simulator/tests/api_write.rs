//! What becomes of a write.
#![allow(clippy::unwrap_used, reason = "a test stops where it fails")]

mod api_help;

use api_help::*;
use serde_json::{Value, json};

#[test]
fn a_new_object_gets_uid_time_and_generation_and_loses_its_status() {
    let server = server();
    let mut body = widget("a");
    body["status"] = json!({"seq": 9});
    let (code, object) = post(&server, WIDGETS, &body);
    assert_eq!(code, 201);
    assert_eq!(object["metadata"]["generation"], 1);
    assert_eq!(object["metadata"]["creationTimestamp"], "2027-01-15T08:00:00Z");
    assert!(object["metadata"]["uid"].as_str().unwrap().starts_with("u-"));
    assert!(object.get("status").is_none());
    assert_eq!(get(&server, &format!("{WIDGETS}/a")).1, object);
}

#[test]
fn a_name_that_is_taken_is_refused_and_a_generated_one_is_not() {
    let server = server();
    post(&server, WIDGETS, &widget("a"));
    let (code, status) = post(&server, WIDGETS, &widget("a"));
    assert_eq!((code, &status["reason"]), (409, &json!("AlreadyExists")));
    assert_eq!(status["details"], json!({"name": "a", "group": "test.dev", "kind": "widgets"}));
    let mut body = widget("");
    body["metadata"] = json!({"generateName": "run-"});
    let (_, one) = post(&server, WIDGETS, &body);
    let (_, two) = post(&server, WIDGETS, &body);
    let name = |object: &Value| object["metadata"]["name"].as_str().unwrap().to_owned();
    assert!(name(&one).starts_with("run-") && name(&one).len() == 9);
    assert_ne!(name(&one), name(&two));
}

#[test]
fn a_namespace_that_is_not_there_or_is_going_takes_nothing() {
    let server = server();
    let elsewhere = WIDGETS.replace("default", "nowhere");
    let (code, status) = post(&server, &elsewhere, &widget("a"));
    assert_eq!((code, &status["message"]), (404, &json!("namespaces \"nowhere\" not found")));
    post(&server, "/api/v1/namespaces", &json!({"metadata": {"name": "going"}}));
    let (_, namespace) = delete(&server, "/api/v1/namespaces/going", None);
    assert_eq!(namespace["status"]["phase"], "Terminating");
    let (code, status) = post(&server, &WIDGETS.replace("default", "going"), &widget("a"));
    assert_eq!((code, &status["details"]["causes"][0]["reason"]), (403, &json!("NamespaceTerminating")));
}

#[test]
fn main_writes_leave_the_status_and_status_writes_leave_the_rest() {
    let server = server();
    post(&server, WIDGETS, &widget("a"));
    let all = json!({"metadata": {"labels": {"x": "y"}}, "spec": {"n": 2}, "status": {"seq": 1}});
    let (_, object) = patch(&server, &format!("{WIDGETS}/a/status"), MERGE, &all);
    assert_eq!((&object["status"], &object["spec"]["n"]), (&json!({"seq": 1}), &json!(1)));
    assert_eq!(object["metadata"]["generation"], 1);
    assert!(object["metadata"].get("labels").is_none());
    let all = json!({"metadata": {"labels": {"x": "y"}}, "spec": {"n": 2}, "status": {"seq": 7}});
    let (_, object) = patch(&server, &format!("{WIDGETS}/a"), MERGE, &all);
    assert_eq!((&object["status"], &object["spec"]["n"]), (&json!({"seq": 1}), &json!(2)));
    assert_eq!(object["metadata"]["generation"], 2);
    assert_eq!(object["metadata"]["labels"], json!({"x": "y"}));
}

#[test]
fn a_write_that_changes_nothing_makes_no_revision() {
    let server = server();
    let (_, object) = post(&server, WIDGETS, &widget("a"));
    let before = server.revision();
    let (code, same) = patch(&server, &format!("{WIDGETS}/a"), MERGE, &json!({"spec": {"n": 1}}));
    assert_eq!((code, same), (200, object));
    assert_eq!(server.revision(), before);
}

#[test]
fn a_failed_test_is_told_from_a_stale_version() {
    let server = server();
    let (_, old) = post(&server, WIDGETS, &widget("a"));
    let uri = format!("{WIDGETS}/a");
    patch(&server, &uri, MERGE, &json!({"spec": {"n": 2}}));
    let (code, status) = patch(&server, &uri, JSON, &json!([{"op": "test", "path": "/spec/n", "value": 1}]));
    assert_eq!((code, &status["details"]), (422, &json!({})));
    let stale = json!([{"op": "replace", "path": "/metadata/resourceVersion", "value": version(&old)}]);
    let (code, status) = patch(&server, &uri, JSON, &stale);
    assert_eq!((code, &status["reason"]), (409, &json!("Conflict")));
    let (code, _) = patch(&server, &uri, MERGE, &json!({"metadata": {"resourceVersion": version(&old)}}));
    assert_eq!(code, 409);
}

#[test]
fn a_test_for_null_holds_where_nothing_is() {
    let server = server();
    post(&server, WIDGETS, &widget("a"));
    let once = json!([
        {"op": "test", "path": "/status", "value": null}, {"op": "add", "path": "/status", "value": {"seq": 1}},
    ]);
    let uri = format!("{WIDGETS}/a/status");
    assert_eq!(patch(&server, &uri, JSON, &once).0, 200);
    assert_eq!(patch(&server, &uri, JSON, &once).0, 422);
}

#[test]
fn patches_that_are_no_patches_are_bad_requests() {
    let server = server();
    post(&server, WIDGETS, &widget("a"));
    let uri = format!("{WIDGETS}/a");
    let (code, status) = patch(&server, &uri, JSON, &json!({"op": "add"}));
    assert_eq!(code, 400);
    let message =
        "error decoding patch: json: cannot unmarshal object into Go value of type []handlers.jsonPatchOp";
    assert_eq!(status["message"], message);
    assert_eq!(patch(&server, &uri, MERGE, &json!([])).0, 400);
    assert_eq!(patch(&server, &uri, "text/plain", &json!({})).0, 415);
    assert_eq!(patch(&server, &uri, "application/strategic-merge-patch+json", &json!({})).0, 415);
    let many = vec![json!({"op": "test", "path": "/spec/n", "value": 1}); 10_001];
    assert_eq!(patch(&server, &uri, JSON, &json!(many)).0, 413);
}

#[test]
fn a_replacement_of_a_custom_object_names_its_version() {
    let server = server();
    let (_, mut object) = post(&server, WIDGETS, &widget("a"));
    let uri = format!("{WIDGETS}/a");
    let (code, status) = put(&server, &uri, &widget("a"));
    assert_eq!((code, &status["details"]["causes"][0]["field"]), (422, &json!("metadata.resourceVersion")));
    object["spec"]["n"] = json!(5);
    assert_eq!(put(&server, &uri, &object).0, 200);
    assert_eq!(put(&server, &uri, &object).0, 409);
}

#[test]
fn the_uid_is_the_objects_own() {
    let server = server();
    let (_, mut object) = post(&server, WIDGETS, &widget("a"));
    let uri = format!("{WIDGETS}/a");
    let (code, status) = patch(&server, &uri, MERGE, &json!({"metadata": {"uid": "other"}}));
    assert_eq!((code, &status["details"]["causes"][0]["field"]), (422, &json!("metadata.uid")));
    let (code, _) = patch(&server, &format!("{uri}/status"), MERGE, &json!({"metadata": {"uid": "other"}}));
    assert_eq!(code, 200, "a status write does not look at it");
    object["metadata"]["uid"] = json!("other");
    let (code, status) = put(&server, &uri, &object);
    assert_eq!(code, 409);
    assert!(status["message"].as_str().unwrap().contains("Precondition failed: UID in precondition: other"));
}

#[test]
fn dry_runs_show_and_do_not_store() {
    let server = server();
    post(&server, WIDGETS, &widget("a"));
    let before = server.revision();
    assert_eq!(post(&server, &format!("{WIDGETS}?dryRun=All"), &widget("b")).0, 201);
    let (_, shown) = patch(&server, &format!("{WIDGETS}/a?dryRun=All"), MERGE, &json!({"spec": {"n": 2}}));
    assert_eq!((&shown["spec"]["n"], &shown["metadata"]["generation"]), (&json!(2), &json!(2)));
    assert_eq!(delete(&server, &format!("{WIDGETS}/a?dryRun=All"), None).0, 200);
    assert_eq!(server.revision(), before);
    assert_eq!(server.objects("widgets").len(), 1);
}

#[test]
fn what_is_too_large_is_refused_by_the_one_who_refuses_it() {
    let server = server();
    let mut body = widget("a");
    body["spec"]["text"] = json!("x".repeat(3 * 1024 * 1024));
    assert_eq!(post(&server, WIDGETS, &body).0, 413);
    body["spec"]["text"] = json!("x".repeat(2_000_000));
    let (code, status) = post(&server, WIDGETS, &body);
    assert_eq!((code, &status["message"]), (500, &json!("etcdserver: request is too large")));
}

#[test]
fn a_policy_refuses_in_the_words_of_the_real_one() {
    let mut options = options(100);
    options.admit = Some(std::sync::Arc::new(|a| {
        if a.operation == "CREATE" || a.user.name == "bob" {
            return Ok(());
        }
        Err("ValidatingAdmissionPolicy 'p' with binding 'b' denied request: only bob".into())
    }));
    let server = with(options);
    post(&server, WIDGETS, &widget("a"));
    let (code, status) = patch(&server, &format!("{WIDGETS}/a"), MERGE, &json!({"spec": {"n": 2}}));
    assert_eq!(code, 403);
    let message = "widgets.test.dev \"a\" is forbidden: ValidatingAdmissionPolicy 'p' with binding 'b' denied request: \
                   only bob";
    assert_eq!(status["message"], message);
    assert_eq!(delete(&server, &format!("{WIDGETS}/a"), None).0, 403);
}

#[test]
fn a_sink_that_fails_keeps_the_change_from_happening() {
    let mut options = options(100);
    options.sink = Some(std::sync::Arc::new(|change| {
        if change.object["spec"]["n"] == 2 { Err("the disk is full".into()) } else { Ok(()) }
    }));
    let server = with(options);
    post(&server, WIDGETS, &widget("a"));
    let before = server.revision();
    let (code, _) = patch(&server, &format!("{WIDGETS}/a"), MERGE, &json!({"spec": {"n": 2}}));
    assert_eq!((code, server.revision()), (500, before));
    assert_eq!(get(&server, &format!("{WIDGETS}/a")).1["spec"]["n"], 1);
}

#[test]
fn generations_count_what_they_count_in_reality() {
    let server = server();
    server.install(&crd("plains", "Plain", false)).unwrap();
    let uri = "/apis/test.dev/v1/namespaces/default/plains";
    let mut body = widget("a");
    body["kind"] = json!("Plain");
    body["status"] = json!({"seq": 1});
    let (_, object) = post(&server, uri, &body);
    assert_eq!(object["status"], json!({"seq": 1}), "without the subresource the status is like any field");
    let (_, object) = patch(&server, &format!("{uri}/a"), MERGE, &json!({"status": {"seq": 2}}));
    assert_eq!(object["metadata"]["generation"], 2);
    let configs = "/api/v1/namespaces/default/configmaps";
    let (_, object) = post(&server, configs, &json!({"metadata": {"name": "c"}, "data": {"a": "b"}}));
    assert!(object["metadata"].get("generation").is_none());
}

#[test]
fn a_lease_may_be_put_where_none_is() {
    let server = server();
    let uri = "/apis/coordination.k8s.io/v1/namespaces/default/leases/l";
    let lease = json!({"metadata": {"name": "l"}, "spec": {"holderIdentity": "me"}});
    assert_eq!(put(&server, uri, &lease).0, 201);
    assert_eq!(put(&server, uri, &lease).0, 422, "and then only over the version that one has seen");
}
