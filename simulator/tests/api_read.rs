//! What lists, watches and reads of the past show.
#![allow(clippy::unwrap_used, reason = "a test stops where it fails")]

mod api_help;

use api_help::*;
use futures::StreamExt as _;
use ratchet_simulator::api::{Reply, Watch};
use serde_json::{Value, json};
use tokio::time::{Duration, Instant};

fn set(server: &ratchet_simulator::api::Server, name: &str, n: i64) {
    let (code, _) = patch(server, &format!("{WIDGETS}/{name}"), MERGE, &json!({"spec": {"n": n}}));
    assert_eq!(code, 200);
}

#[test]
fn pages_show_one_revision_whatever_happens_in_between() {
    let server = server();
    for name in ["a", "b", "c"] {
        post(&server, WIDGETS, &widget(name));
    }
    let (_, first) = get(&server, &format!("{WIDGETS}?limit=2"));
    assert_eq!(names(&first), ["a", "b"]);
    assert_eq!(first["metadata"]["remainingItemCount"], 1);
    post(&server, WIDGETS, &widget("d"));
    delete(&server, &format!("{WIDGETS}/c"), None);
    let token = first["metadata"]["continue"].as_str().unwrap();
    let (_, second) = get(&server, &format!("{WIDGETS}?limit=2&continue={token}"));
    assert_eq!(names(&second), ["c"]);
    assert_eq!(second["metadata"]["resourceVersion"], first["metadata"]["resourceVersion"]);
    let (_, now) = get(&server, &format!("{WIDGETS}?limit=2&resourceVersion=0"));
    assert_eq!(names(&now), ["a", "b", "d"], "a list of any age comes whole");
}

#[test]
fn a_page_that_history_has_forgotten_is_expired() {
    let server = with(options(3));
    for name in ["a", "b"] {
        post(&server, WIDGETS, &widget(name));
    }
    let (_, first) = get(&server, &format!("{WIDGETS}?limit=1"));
    for n in 5..9 {
        set(&server, "a", n);
    }
    let token = first["metadata"]["continue"].as_str().unwrap();
    let (code, status) = get(&server, &format!("{WIDGETS}?limit=1&continue={token}"));
    assert_eq!((code, &status["reason"]), (410, &json!("Expired")));
    let inexact = status["metadata"]["continue"].as_str().unwrap();
    let (code, rest) = get(&server, &format!("{WIDGETS}?continue={inexact}"));
    assert_eq!((code, names(&rest)), (200, vec!["b"]));
}

#[test]
fn selectors_select() {
    let server = server();
    for (name, labels) in [("a", json!({"x": "1"})), ("b", json!({"x": "2", "y": "1"})), ("c", json!({}))] {
        let mut body = widget(name);
        body["metadata"]["labels"] = labels;
        body["spec"]["mode"] = json!(name);
        post(&server, WIDGETS, &body);
    }
    let chosen = |query: &str| {
        let (code, list) = get(&server, &format!("{WIDGETS}?{query}"));
        assert_eq!(code, 200, "{query}: {list}");
        names(&list).join("")
    };
    for (query, expected) in [
        ("labelSelector=x%3D1", "a"),
        ("labelSelector=x%21%3D1", "bc"),
        ("labelSelector=x+in+(1,2)", "ab"),
        ("labelSelector=x+notin+(1),x", "b"),
        ("labelSelector=%21x", "c"),
        ("labelSelector=x,%21y", "a"),
        ("fieldSelector=metadata.name%3Db", "b"),
        ("fieldSelector=metadata.namespace%3Ddefault", "abc"),
        ("fieldSelector=spec.mode%3Dc", "c"),
        ("fieldSelector=spec.mode%21%3Dc", "ab"),
    ] {
        assert_eq!(chosen(query), expected, "{query}");
    }
    let (code, status) = get(&server, &format!("{WIDGETS}?fieldSelector=spec.n%3D1"));
    assert_eq!((code, &status["message"]), (400, &json!("field label not supported: spec.n")));
}

#[test]
fn the_future_is_not_shown() {
    let server = server();
    let (code, status) = get(&server, &format!("{WIDGETS}?resourceVersion=999"));
    assert_eq!(code, 504);
    let expected = format!("Timeout: Too large resource version: 999, current: {}", server.revision());
    assert_eq!(status["message"], expected);
}

#[tokio::test]
async fn a_watch_is_told_of_everything_after_its_revision() {
    let server = server();
    let (_, a) = post(&server, WIDGETS, &widget("a"));
    post(&server, WIDGETS, &widget("b"));
    let mut late = watch(&server, &format!("{WIDGETS}?watch=true&resourceVersion={}", version(&a)));
    let mut fresh = watch(&server, &format!("{WIDGETS}?watch=true"));
    set(&server, "a", 2);
    delete(&server, &format!("{WIDGETS}/b"), None);
    let elsewhere = json!({"metadata": {"name": "c"}});
    post(&server, "/api/v1/namespaces/default/configmaps", &elsewhere);
    assert_eq!(told(&ready(&mut late)), ["ADDED b", "MODIFIED a", "DELETED b"]);
    assert_eq!(told(&ready(&mut fresh)), ["ADDED a", "ADDED b", "MODIFIED a", "DELETED b"]);
}

#[tokio::test]
async fn what_leaves_a_selection_is_deleted_and_what_enters_is_added() {
    let server = server();
    let mut on = watch(&server, &format!("{WIDGETS}?watch=true&fieldSelector=spec.mode%3Don"));
    let mode = |mode: &str| {
        patch(&server, &format!("{WIDGETS}/a"), MERGE, &json!({"spec": {"mode": mode}}));
    };
    post(&server, WIDGETS, &widget("a"));
    mode("on");
    mode("off");
    let events = ready(&mut on);
    assert_eq!(told(&events), ["ADDED a", "DELETED a"]);
    assert_eq!(events[1]["object"]["spec"]["mode"], "on", "the last that matched");
    assert_eq!(version(&events[1]["object"]), server.revision().to_string());
}

#[test]
fn a_watch_from_before_history_is_one_error() {
    let server = with(options(2));
    for name in ["a", "b", "c", "d"] {
        post(&server, WIDGETS, &widget(name));
    }
    let mut old = watch(&server, &format!("{WIDGETS}?watch=true&resourceVersion=3"));
    let events = ready(&mut old);
    assert_eq!(events.len(), 1);
    assert_eq!((&events[0]["type"], &events[0]["object"]["code"]), (&json!("ERROR"), &json!(410)));
    assert_eq!(events[0]["object"]["reason"], "Expired");
}

async fn all(watch: Watch) -> Vec<Value> {
    watch.map(|line| serde_json::from_slice(&line).unwrap()).collect().await
}

#[tokio::test(start_paused = true)]
async fn a_streamed_list_ends_with_a_marked_bookmark() {
    let server = server();
    post(&server, WIDGETS, &widget("a"));
    let query = "watch=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true\
                 &timeoutSeconds=90";
    let start = Instant::now();
    let events = all(watch(&server, &format!("{WIDGETS}?{query}"))).await;
    assert_eq!(start.elapsed().as_secs(), 90);
    assert_eq!(told(&events), ["ADDED a", "BOOKMARK", "BOOKMARK", "BOOKMARK"]);
    let marks = json!({"k8s.io/initial-events-end": "true"});
    assert_eq!(events[1]["object"]["metadata"]["annotations"], marks);
    assert!(events[2]["object"]["metadata"].get("annotations").is_none());
}

#[tokio::test(start_paused = true)]
async fn a_waiting_watch_is_woken_by_a_write() {
    let server = server();
    let mut open = watch(&server, &format!("{WIDGETS}?watch=true&timeoutSeconds=50"));
    let writer = server.clone();
    let write = async move {
        tokio::time::sleep(Duration::from_secs(7)).await;
        post(&writer, WIDGETS, &widget("a"));
    };
    let (line, ()) = tokio::join!(open.next(), write);
    let event: Value = serde_json::from_slice(&line.unwrap()).unwrap();
    assert_eq!(told(&[event]), ["ADDED a"]);
    assert_eq!(
        open.next().await,
        None,
        "it ends when its time is over, without a bookmark that nobody asked for"
    );
}

#[tokio::test]
async fn a_stale_replica_shows_the_past_and_then_catches_up() {
    let server = server();
    post(&server, WIDGETS, &widget("a"));
    post(&server, WIDGETS, &widget("b"));
    let then = server.revision();
    set(&server, "a", 2);
    delete(&server, &format!("{WIDGETS}/b"), None);
    post(&server, WIDGETS, &widget("c"));
    assert_eq!(get_at(&server, &format!("{WIDGETS}/a"), then).1["spec"]["n"], 1);
    assert_eq!(get_at(&server, &format!("{WIDGETS}/b"), then).0, 200);
    assert_eq!(get_at(&server, &format!("{WIDGETS}/c"), then).0, 404);
    let (_, list) = get_at(&server, WIDGETS, then);
    assert_eq!(names(&list), ["a", "b"]);
    assert_eq!(version(&list), then.to_string());
    let request = request("GET", &format!("{WIDGETS}?watch=true"), "", None);
    let Reply::Watch(mut watch) = server.call_at(&request, then) else { panic!("a watch") };
    assert_eq!(told(&ready(&mut watch)), ["ADDED a", "ADDED b", "MODIFIED a", "DELETED b", "ADDED c"]);
}

#[test]
fn unknown_paths_are_answered_as_their_owners_would() {
    let server = server();
    assert_eq!(get(&server, "/apis/nobody.dev/v1/things"), (404, json!("404 page not found\n")));
    let (code, status) = get(&server, "/api/v1/namespaces/default/things");
    assert_eq!((code, &status["message"]), (404, &json!("the server could not find the requested resource")));
    let (code, status) = get(&server, &format!("{WIDGETS}/none"));
    assert_eq!((code, &status["message"]), (404, &json!("widgets.test.dev \"none\" not found")));
    assert_eq!(post(&server, "/api/v1/namespaces/default/configmaps/c", &json!({})).0, 405);
}

#[test]
fn lists_of_built_in_kinds_leave_the_kind_of_their_items_out() {
    let server = server();
    post(
        &server,
        "/api/v1/namespaces/default/configmaps",
        &json!({"metadata": {"name": "c"}, "data": {"a": "b"}}),
    );
    let (_, list) = get(&server, "/api/v1/configmaps");
    assert_eq!(list["kind"], "ConfigMapList");
    assert_eq!((list["items"][0].get("kind"), &list["items"][0]["data"]["a"]), (None, &json!("b")));
}

#[test]
fn both_groups_show_the_same_events() {
    let server = server();
    let event = json!({
        "metadata": {"name": "e"}, "regarding": {"kind": "Widget", "name": "a"}, "note": "went well",
        "reportingController": "ratchet", "type": "Normal", "reason": "Done",
    });
    let (code, made) = post(&server, "/apis/events.k8s.io/v1/namespaces/default/events", &event);
    assert_eq!(
        (code, &made["note"], &made["apiVersion"]),
        (201, &json!("went well"), &json!("events.k8s.io/v1"))
    );
    let (_, list) = get(&server, "/api/v1/events?fieldSelector=involvedObject.name%3Da");
    assert_eq!(list["items"][0]["message"], "went well");
}

#[test]
fn the_same_calls_give_the_same_bytes() {
    let run = || {
        let server = server();
        let mut body = widget("");
        body["metadata"] = json!({"generateName": "g-", "labels": {"b": "1", "a": "2"}});
        for _ in 0..20 {
            post(&server, WIDGETS, &body);
        }
        whole(server.call(&request("GET", WIDGETS, "", None))).body
    };
    assert_eq!(run(), run());
}

#[test]
fn a_server_starts_from_what_another_one_kept() {
    let server = server();
    post(&server, WIDGETS, &widget("a"));
    let other = ratchet_simulator::api::Server::new(options(10));
    let restore = |plural: &str| {
        for object in server.objects(plural) {
            other.restore((*object).clone(), server.revision()).unwrap();
        }
    };
    assert!(other.restore(widget("a"), 1).is_err(), "its kind is not known yet");
    restore("customresourcedefinitions");
    restore("widgets");
    assert_eq!(other.revision(), server.revision());
    assert_eq!(get(&other, WIDGETS), get(&server, WIDGETS));
    assert_eq!(patch(&other, &format!("{WIDGETS}/a"), MERGE, &json!({"spec": {"n": 2}})).0, 200);
}
