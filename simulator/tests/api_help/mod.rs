//! A server whose clock and uids are fixed, and short ways to call it.
#![allow(dead_code, reason = "each test file uses another part")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test stops where it fails")]

use bytes::Bytes;
use chrono::{DateTime, TimeDelta};
use futures::{FutureExt as _, StreamExt as _};
use ratchet_simulator::api::{Options, Reply, Request, Response, Server, User, Watch};
use ratchet_simulator::schema::Rules;
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

pub const CRD: &str = "customresourcedefinitions.apiextensions.k8s.io";
pub const WIDGETS: &str = "/apis/test.dev/v1/namespaces/default/widgets";
pub const JSON: &str = "application/json-patch+json";
pub const MERGE: &str = "application/merge-patch+json";

pub fn options(history: usize) -> Options {
    let next = AtomicU64::new(1);
    Options {
        now: Arc::new(|| DateTime::UNIX_EPOCH + TimeDelta::seconds(1_800_000_000)),
        uids: Arc::new(move || format!("u-{}", next.fetch_add(1, Ordering::SeqCst))),
        rules: Rules::All,
        history,
        sink: None,
        admit: None,
    }
}

/// A server with the kind Widget in it.
pub fn server() -> Server {
    with(options(1000))
}

pub fn with(options: Options) -> Server {
    let server = Server::new(options);
    server.install(&crd("widgets", "Widget", true)).unwrap();
    server
}

pub fn crd(plural: &str, kind: &str, status: bool) -> Value {
    let open = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
    let subresources = if status { json!({"status": {}}) } else { json!({}) };
    json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": format!("{plural}.test.dev")},
        "spec": {
            "group": "test.dev", "scope": "Namespaced", "names": {"kind": kind, "plural": plural},
            "versions": [{
                "name": "v1", "served": true, "storage": true, "subresources": subresources,
                "selectableFields": [{"jsonPath": ".spec.mode"}],
                "schema": {"openAPIV3Schema": {"type": "object", "properties": {"spec": open, "status": open}}},
            }],
        },
    })
}

pub fn widget(name: &str) -> Value {
    json!({
        "apiVersion": "test.dev/v1", "kind": "Widget", "metadata": {"name": name}, "spec": {"mode": "a", "n": 1},
    })
}

pub fn request(method: &str, uri: &str, content_type: &str, body: Option<&Value>) -> Request {
    Request {
        method: method.parse().unwrap(),
        uri: uri.into(),
        content_type: content_type.into(),
        accept: "application/json".into(),
        body: body.map_or_else(Bytes::new, |b| b.to_string().into()),
        user: User { name: "alice".into(), groups: vec!["system:authenticated".into()] },
    }
}

pub fn whole(reply: Reply) -> Response {
    match reply {
        Reply::Whole(response) => response,
        Reply::Watch(_) => panic!("a watch"),
    }
}

fn parsed(response: &Response) -> (u16, Value) {
    let text = String::from_utf8_lossy(&response.body).into_owned();
    (response.code, serde_json::from_slice(&response.body).unwrap_or(Value::String(text)))
}

pub fn get(server: &Server, uri: &str) -> (u16, Value) {
    parsed(&whole(server.call(&request("GET", uri, "", None))))
}

pub fn get_at(server: &Server, uri: &str, revision: u64) -> (u16, Value) {
    parsed(&whole(server.call_at(&request("GET", uri, "", None), revision)))
}

pub fn post(server: &Server, uri: &str, body: &Value) -> (u16, Value) {
    parsed(&whole(server.call(&request("POST", uri, "application/json", Some(body)))))
}

pub fn put(server: &Server, uri: &str, body: &Value) -> (u16, Value) {
    parsed(&whole(server.call(&request("PUT", uri, "application/json", Some(body)))))
}

pub fn patch(server: &Server, uri: &str, type_: &str, body: &Value) -> (u16, Value) {
    parsed(&whole(server.call(&request("PATCH", uri, type_, Some(body)))))
}

pub fn delete(server: &Server, uri: &str, body: Option<&Value>) -> (u16, Value) {
    parsed(&whole(server.call(&request("DELETE", uri, "application/json", body))))
}

pub fn watch(server: &Server, uri: &str) -> Watch {
    match server.call(&request("GET", uri, "", None)) {
        Reply::Watch(watch) => watch,
        Reply::Whole(response) => panic!("no watch: {response:?}"),
    }
}

/// What waits in a watch.
pub fn ready(watch: &mut Watch) -> Vec<Value> {
    let mut out = Vec::new();
    while let Some(Some(line)) = watch.next().now_or_never() {
        out.push(serde_json::from_slice(&line).unwrap());
    }
    out
}

/// Types and names of events.
pub fn told(events: &[Value]) -> Vec<String> {
    events
        .iter()
        .map(|e| {
            let name = e["object"]["metadata"]["name"].as_str().unwrap_or_default();
            format!("{} {name}", e["type"].as_str().unwrap()).trim().to_owned()
        })
        .collect()
}

pub fn names(list: &Value) -> Vec<&str> {
    list["items"].as_array().unwrap().iter().map(|i| i["metadata"]["name"].as_str().unwrap()).collect()
}

pub fn version(object: &Value) -> &str {
    object["metadata"]["resourceVersion"].as_str().unwrap()
}
