//! What a deletion waits for, and what goes with it.
#![allow(clippy::unwrap_used, reason = "a test stops where it fails")]

mod api_help;

use api_help::*;
use ratchet_simulator::api::Server;
use serde_json::{Value, json};

fn owned(name: &str, owner: &Value) -> Value {
    let mut object = widget(name);
    object["metadata"]["ownerReferences"] = json!([{
        "apiVersion": "test.dev/v1", "kind": "Widget", "name": owner["metadata"]["name"],
        "uid": owner["metadata"]["uid"], "blockOwnerDeletion": true,
    }]);
    object
}

fn settle(server: &Server) {
    while server.collect() {}
}

fn there(server: &Server, plural: &str) -> Vec<String> {
    let name = |o: &std::sync::Arc<Value>| o["metadata"]["name"].as_str().unwrap().to_owned();
    server.objects(plural).iter().map(name).collect()
}

#[test]
fn without_finalizers_it_is_gone_at_once() {
    let server = server();
    let (_, object) = post(&server, WIDGETS, &widget("a"));
    let (code, status) = delete(&server, &format!("{WIDGETS}/a"), None);
    assert_eq!((code, &status["status"]), (200, &json!("Success")));
    assert_eq!(status["details"]["uid"], object["metadata"]["uid"]);
    assert_eq!(get(&server, &format!("{WIDGETS}/a")).0, 404);
}

#[test]
fn a_finalizer_keeps_it_until_the_last_is_taken_off() {
    let server = server();
    let mut body = widget("a");
    body["metadata"]["finalizers"] = json!(["test.dev/x"]);
    post(&server, WIDGETS, &body);
    let uri = format!("{WIDGETS}/a");
    let (code, object) = delete(&server, &uri, None);
    assert_eq!((code, &object["metadata"]["generation"]), (200, &json!(2)));
    assert_eq!(object["metadata"]["deletionGracePeriodSeconds"], 0);
    assert_eq!(delete(&server, &uri, None).1, object, "a second deletion changes nothing");
    let (code, status) =
        patch(&server, &uri, MERGE, &json!({"metadata": {"finalizers": ["test.dev/x", "test.dev/y"]}}));
    assert_eq!(code, 422);
    assert!(status["message"].as_str().unwrap().contains("no new finalizers can be added"));
    assert_eq!(patch(&server, &format!("{uri}/status"), MERGE, &json!({"status": {"seq": 1}})).0, 200);
    assert_eq!(patch(&server, &uri, MERGE, &json!({"metadata": {"finalizers": null}})).0, 200);
    assert_eq!(get(&server, &uri).0, 404);
}

#[test]
fn preconditions_are_kept() {
    let server = server();
    let (_, object) = post(&server, WIDGETS, &widget("a"));
    let uri = format!("{WIDGETS}/a");
    assert_eq!(delete(&server, &uri, Some(&json!({"preconditions": {"uid": "x"}}))).0, 409);
    assert_eq!(delete(&server, &uri, Some(&json!({"preconditions": {"resourceVersion": "1"}}))).0, 409);
    let right =
        json!({"preconditions": {"uid": object["metadata"]["uid"], "resourceVersion": version(&object)}});
    assert_eq!(delete(&server, &uri, Some(&right)).0, 200);
}

#[test]
fn dependents_follow_their_owner_unless_they_are_left_behind() {
    let server = server();
    let (_, owner) = post(&server, WIDGETS, &widget("a"));
    post(&server, WIDGETS, &owned("b", &owner));
    delete(&server, &format!("{WIDGETS}/a"), None);
    assert_eq!(there(&server, "widgets"), ["b"]);
    settle(&server);
    assert!(there(&server, "widgets").is_empty());

    let (_, owner) = post(&server, WIDGETS, &widget("a"));
    post(&server, WIDGETS, &owned("b", &owner));
    delete(&server, &format!("{WIDGETS}/a?propagationPolicy=Orphan"), None);
    settle(&server);
    assert_eq!(there(&server, "widgets"), ["b"]);
    assert!(get(&server, &format!("{WIDGETS}/b")).1["metadata"].get("ownerReferences").is_none());
}

#[test]
fn in_the_foreground_dependents_go_first() {
    let server = server();
    let (_, owner) = post(&server, WIDGETS, &widget("a"));
    let mut dependent = owned("b", &owner);
    dependent["metadata"]["finalizers"] = json!(["test.dev/x"]);
    post(&server, WIDGETS, &dependent);
    delete(&server, &format!("{WIDGETS}/a"), Some(&json!({"propagationPolicy": "Foreground"})));
    settle(&server);
    assert_eq!(there(&server, "widgets"), ["a", "b"]);
    patch(&server, &format!("{WIDGETS}/b"), MERGE, &json!({"metadata": {"finalizers": null}}));
    settle(&server);
    assert!(there(&server, "widgets").is_empty());
}

#[test]
fn an_object_with_one_owner_left_stays() {
    let server = server();
    let (_, a) = post(&server, WIDGETS, &widget("a"));
    let (_, b) = post(&server, WIDGETS, &widget("b"));
    let mut both = owned("c", &a);
    let second = owned("c", &b)["metadata"]["ownerReferences"][0].clone();
    both["metadata"]["ownerReferences"].as_array_mut().unwrap().push(second);
    post(&server, WIDGETS, &both);
    delete(&server, &format!("{WIDGETS}/a"), None);
    settle(&server);
    let (_, c) = get(&server, &format!("{WIDGETS}/c"));
    assert_eq!(c["metadata"]["ownerReferences"].as_array().unwrap().len(), 1);
    // The same name under another uid is another owner.
    delete(&server, &format!("{WIDGETS}/b"), None);
    post(&server, WIDGETS, &widget("b"));
    settle(&server);
    assert_eq!(there(&server, "widgets"), ["b"]);
}

#[test]
fn a_namespace_goes_when_all_in_it_is_gone() {
    let server = server();
    post(&server, "/api/v1/namespaces", &json!({"metadata": {"name": "n"}}));
    let mut held = widget("a");
    held["metadata"]["finalizers"] = json!(["test.dev/x"]);
    let uri = WIDGETS.replace("default", "n");
    post(&server, &uri, &held);
    post(&server, "/api/v1/namespaces/n/configmaps", &json!({"metadata": {"name": "c"}}));
    delete(&server, "/api/v1/namespaces/n", None);
    settle(&server);
    assert!(there(&server, "configmaps").is_empty());
    assert_eq!(get(&server, "/api/v1/namespaces/n").1["status"]["phase"], "Terminating");
    patch(&server, &format!("{uri}/a"), MERGE, &json!({"metadata": {"finalizers": null}}));
    settle(&server);
    assert_eq!(get(&server, "/api/v1/namespaces/n").0, 404);
}

#[test]
fn nothing_to_collect_is_said() {
    let server = server();
    settle(&server);
    let before = server.revision();
    assert!(!server.collect());
    assert_eq!(server.revision(), before);
}

fn pod(name: &str) -> Value {
    json!({"metadata": {"name": name, "labels": {"app": "x"}}, "spec": {"nodeName": "n"}})
}

#[test]
fn a_pod_is_given_its_time() {
    let server = server();
    let pods = "/api/v1/namespaces/default/pods";
    post(&server, pods, &pod("p"));
    let (_, object) = delete(&server, &format!("{pods}/p"), None);
    assert_eq!(object["metadata"]["deletionGracePeriodSeconds"], 30);
    assert_eq!(object["metadata"]["deletionTimestamp"], "2027-01-15T08:00:30Z");
    let (_, object) = delete(&server, &format!("{pods}/p"), Some(&json!({"gracePeriodSeconds": 0})));
    assert_eq!(object["kind"], "Pod");
    assert_eq!(get(&server, &format!("{pods}/p")).0, 404);
}

#[test]
fn an_eviction_asks_the_budget() {
    let server = server();
    let pods = "/api/v1/namespaces/default/pods";
    for name in ["p", "q"] {
        post(&server, pods, &pod(name));
        let running =
            json!({"status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}});
        patch(&server, &format!("{pods}/{name}/status"), MERGE, &running);
    }
    let budgets = "/apis/policy/v1/namespaces/default/poddisruptionbudgets";
    let budget = json!({
        "metadata": {"name": "b"}, "spec": {"minAvailable": 1, "selector": {"matchLabels": {"app": "x"}}},
    });
    post(&server, budgets, &budget);
    let eviction =
        |name: &str| json!({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": name}});
    let (code, status) = post(&server, &format!("{pods}/p/eviction"), &eviction("p"));
    assert_eq!((code, &status["status"]), (201, &json!("Success")));
    let (code, status) = post(&server, &format!("{pods}/q/eviction"), &eviction("q"));
    assert_eq!((code, &status["reason"]), (429, &json!("TooManyRequests")));
    let cause = "The disruption budget b needs 1 healthy pods and has 1 currently";
    assert_eq!(status["details"]["causes"][0]["message"], cause);
}

#[test]
fn a_definition_takes_its_objects_with_it() {
    let server = server();
    post(&server, WIDGETS, &widget("a"));
    let mut open = watch(&server, &format!("{WIDGETS}?watch=true"));
    let uri = format!("/apis/apiextensions.k8s.io/v1/{}/widgets.test.dev", CRD.split('.').next().unwrap());
    let (_, definition) = get(&server, &uri);
    assert_eq!(definition["status"]["conditions"][1]["type"], "Established");
    assert_eq!(definition["status"]["acceptedNames"]["listKind"], "WidgetList");
    assert_eq!(delete(&server, &uri, None).0, 200);
    assert_eq!(told(&ready(&mut open)), ["ADDED a", "DELETED a"]);
    assert_eq!(get(&server, WIDGETS), (404, json!("404 page not found\n")));
}
