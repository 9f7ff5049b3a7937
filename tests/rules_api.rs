//! Does the API server enforce what a spec may say and how it may change?

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that cannot go on fails")]

mod cluster;

use cluster::legal::{birth, judge, shared, store, try_create};
use cluster::stage::Stage;
use cluster::{create, operation};
use kube::api::{Api, Patch, PatchParams};
use kube::{Client, Error};
use ratchet::api::{DataLoad, DataOperation};
use ratchet_state_machine::lifecycle::step::Shared;
use serde_json::{Value, json};

/// A spec of a DataOperation with one load arm, merged with `more`.
fn spec(arm: Value, more: Value) -> Value {
    let mut spec = json!({"target": "cache", "operation": {"load": arm}});
    merge(&mut spec, more);
    spec
}

fn merge(into: &mut Value, more: Value) {
    match (into, more) {
        (Value::Object(into), Value::Object(more)) => {
            for (key, value) in more {
                if value.is_null() {
                    into.remove(&key);
                } else {
                    merge(into.entry(key).or_insert(Value::Null), value);
                }
            }
        }
        (into, more) => *into = more,
    }
}

/// Paths, and what the server says to each; `None`: it accepts.
fn paths() -> Vec<(String, Option<&'static str>)> {
    let long = |n: usize| format!("/{}", "x".repeat(n - 1));
    let good = ["/", "/data", "/a/b c/ü", "/..a/b..", "/...", "/a.b/.c"];
    let mut all: Vec<_> = good.iter().map(|p| ((*p).to_owned(), None)).collect();
    all.push((long(1024), None));
    let bad = [
        ("", "at least 1 chars long"),
        ("data", "a path has to be absolute"),
        ("./data", "a path has to be absolute"),
        ("/a/../b", "must not contain '.' or '..'"),
        ("/..", "must not contain '.' or '..'"),
        ("/a/./b", "must not contain '.' or '..'"),
        ("/.", "must not contain '.' or '..'"),
        ("//a", "must not end with '/' or contain '//'"),
        ("/a//b", "must not end with '/' or contain '//'"),
        ("/a/", "must not end with '/' or contain '//'"),
        ("/a\nb", "must not contain control characters"),
        ("/a\u{0}b", "must not contain control characters"),
        ("/a\u{7f}b", "must not contain control characters"),
    ];
    all.extend(bad.iter().map(|(p, why)| ((*p).to_owned(), Some(*why))));
    all.push((long(1025), Some("Too long")));
    all.push((long(10_000), Some("Too long")));
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn every_path_rule_holds_for_load_free_and_dataload() {
    let Some(stage) = Stage::empty("rules-paths").await else { return };
    let (ns, admin) = (&stage.ns, &stage.admin);
    for (path, why) in paths() {
        let shown: String = path.chars().take(30).collect();
        let (one, second) = (json!([path.clone()]), json!(["/first", path]));
        let tried =
            try_create::<DataOperation>(admin, &ns.name, spec(json!({"paths": one}), json!({}))).await;
        judge(&format!("load {shown:?}"), tried, why);
        let free = json!({"target": "cache", "operation": {"free": {"paths": second}}});
        judge(&format!("free {shown:?}"), try_create::<DataOperation>(admin, &ns.name, free).await, why);
        let tried = try_create::<DataLoad>(admin, &ns.name, json!({"target": "cache", "paths": one})).await;
        judge(&format!("dataload {shown:?}"), tried, why);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operation_is_one_arm_with_numbers_in_their_bounds() {
    let Some(stage) = Stage::empty("rules-spec").await else { return };
    let (ns, admin) = (&stage.ns, &stage.admin);
    let data = || json!({"paths": ["/data"]});
    let one = "set exactly one operation: load or free";
    let with = |more: Value| spec(data(), more);
    let arm = |more: Value| {
        let mut arm = data();
        merge(&mut arm, more);
        spec(arm, json!({}))
    };
    let many = |n: usize| (0..n).map(|i| format!("/d{i}")).collect::<Vec<_>>();
    let after = |n: usize| (0..n).map(|i| json!({"name": format!("a{i}")})).collect::<Vec<_>>();
    let rows: Vec<(&str, Value, Option<&str>)> = vec![
        ("a load", with(json!({})), None),
        ("both arms", with(json!({"operation": {"free": data()}})), Some("spec.operation: Too many: 2")),
        (
            "one arm and an unknown one",
            with(json!({"operation": {"zap": {}}})),
            Some("spec.operation: Too many: 2"),
        ),
        ("no arm", json!({"target": "cache", "operation": {}}), Some(one)),
        ("an arm from the future", json!({"target": "cache", "operation": {"zap": {}}}), Some(one)),
        ("no operation", json!({"target": "cache"}), Some("spec.operation: Required value")),
        ("no target", with(json!({"target": null})), Some("spec.target: Required value")),
        ("an empty target", with(json!({"target": ""})), Some("at least 1 chars long")),
        ("no paths", spec(json!({}), json!({})), Some("paths: Required value")),
        ("an empty list of paths", spec(json!({"paths": []}), json!({})), Some("at least 1 items")),
        ("32 paths", spec(json!({"paths": many(32)}), json!({})), None),
        ("33 paths", spec(json!({"paths": many(33)}), json!({})), Some("Too many")),
        ("bandwidth 1", arm(json!({"bandwidthBytesPerSecond": 1})), None),
        ("bandwidth 0", arm(json!({"bandwidthBytesPerSecond": 0})), Some("greater than or equal to 1")),
        ("bandwidth -1", arm(json!({"bandwidthBytesPerSecond": -1})), Some("greater than or equal to 1")),
        ("replicas 0", arm(json!({"replicas": 0})), Some("greater than or equal to 1")),
        ("replicas 65", arm(json!({"replicas": 65})), Some("less than or equal to 64")),
        ("minCachedPercent 0", arm(json!({"minCachedPercent": 0})), None),
        ("minCachedPercent 101", arm(json!({"minCachedPercent": 101})), Some("less than or equal to 100")),
        ("minCachedPercent -1", arm(json!({"minCachedPercent": -1})), Some("greater than or equal to 0")),
        ("maxFailedFiles -1", arm(json!({"maxFailedFiles": -1})), Some("greater than or equal to 0")),
        ("retries 1000", with(json!({"retryPolicy": {"limit": 1000}})), None),
        ("retries -1", with(json!({"retryPolicy": {"limit": -1}})), Some("greater than or equal to 0")),
        ("retries 1001", with(json!({"retryPolicy": {"limit": 1001}})), Some("less than or equal to 1000")),
        (
            "backoff -1",
            with(json!({"retryPolicy": {"backoffSeconds": -1}})),
            Some("greater than or equal to 0"),
        ),
        ("priority 1000", with(json!({"priority": 1000})), None),
        ("priority 1001", with(json!({"priority": 1001})), Some("less than or equal to 1000")),
        ("priority -1001", with(json!({"priority": -1001})), Some("greater than or equal to -1000")),
        ("deadline 1", with(json!({"deadlineSeconds": 1})), None),
        ("deadline 0", with(json!({"deadlineSeconds": 0})), Some("greater than or equal to 1")),
        ("deadline 10m", with(json!({"deadlineSeconds": "10m"})), Some("must be of type integer")),
        ("stall deadline 0", with(json!({"stallDeadlineSeconds": 0})), Some("greater than or equal to 1")),
        ("stall deadline 5m", with(json!({"stallDeadlineSeconds": "5m"})), Some("must be of type integer")),
        ("ttl -1", with(json!({"ttlAfterFinishedSeconds": -1})), Some("greater than or equal to 0")),
        ("retry -1", with(json!({"control": {"retry": -1}})), Some("greater than or equal to 0")),
        ("approval by vote", with(json!({"approval": "Vote"})), Some("Unsupported value")),
        ("16 predecessors", with(json!({"runAfter": after(16)})), None),
        ("17 predecessors", with(json!({"runAfter": after(17)})), Some("Too many")),
        (
            "an end that is none",
            with(json!({"runAfter": [{"name": "a", "ended": "Maybe"}]})),
            Some("Unsupported value"),
        ),
    ];
    for (what, spec, why) in rows {
        judge(what, try_create::<DataOperation>(admin, &ns.name, spec).await, why);
    }
}

/// Tries a merge patch of an operation's spec, without keeping it.
async fn try_edit(client: &Client, op: &DataOperation, spec: Value) -> Result<DataOperation, Error> {
    let api: Api<DataOperation> = Api::namespaced(client.clone(), op.metadata.namespace.as_deref().unwrap());
    let params = PatchParams { dry_run: true, ..PatchParams::default() };
    api.patch(op.metadata.name.as_deref().unwrap(), &params, &Patch::Merge(json!({"spec": spec}))).await
}

#[tokio::test(flavor = "multi_thread")]
async fn row_48_an_operation_changes_only_by_its_controls() {
    let Some(stage) = Stage::empty("rules-edit").await else { return };
    let (ns, admin) = (&stage.ns, &stage.admin);
    let controller = stage.bench.client("controller").await;
    let more = json!({"deadlineSeconds": 100, "ttlAfterFinishedSeconds": 100, "runAfter": [{"name": "a"}],
        "control": {"cancel": true, "suspend": true, "retry": 2}});
    let op = create(
        admin,
        &ns.name,
        &operation(&ns.name, "op", "cache", json!({"load": {"paths": ["/d"]}}), more),
    )
    .await;
    let bare = create(
        admin,
        &ns.name,
        &operation(&ns.name, "bare", "cache", json!({"load": {"paths": ["/d"]}}), json!({})),
    )
    .await;
    let rows: Vec<(&str, &DataOperation, Value, Option<&str>)> = vec![
        ("target", &op, json!({"target": "other"}), Some("target cannot be changed")),
        (
            "paths",
            &op,
            json!({"operation": {"load": {"paths": ["/e"]}}}),
            Some("the operation cannot be changed"),
        ),
        (
            "another arm",
            &op,
            json!({"operation": {"load": null, "free": {"paths": ["/d"]}}}),
            Some("the operation cannot be changed"),
        ),
        ("runAfter", &op, json!({"runAfter": [{"name": "b"}]}), Some("runAfter cannot be changed")),
        ("runAfter removed", &op, json!({"runAfter": null}), Some("cannot be added or removed")),
        ("runAfter added", &bare, json!({"runAfter": [{"name": "b"}]}), Some("cannot be added or removed")),
        ("retryPolicy", &op, json!({"retryPolicy": {"limit": 9}}), Some("retryPolicy cannot be changed")),
        ("retryPolicy removed", &op, json!({"retryPolicy": null}), Some("retryPolicy cannot be changed")),
        ("approval", &op, json!({"approval": "Manual"}), Some("approval cannot be changed")),
        (
            "stall deadline",
            &op,
            json!({"stallDeadlineSeconds": 5}),
            Some("stallDeadlineSeconds cannot be changed"),
        ),
        (
            "ttl",
            &op,
            json!({"ttlAfterFinishedSeconds": 200}),
            Some("ttlAfterFinishedSeconds cannot be changed"),
        ),
        ("ttl removed", &op, json!({"ttlAfterFinishedSeconds": null}), Some("cannot be added or removed")),
        ("ttl added", &bare, json!({"ttlAfterFinishedSeconds": 1}), Some("cannot be added or removed")),
        ("deadline raised", &op, json!({"deadlineSeconds": 101}), None),
        ("deadline lowered", &op, json!({"deadlineSeconds": 99}), Some("deadlineSeconds can only be raised")),
        ("deadline removed", &op, json!({"deadlineSeconds": null}), Some("cannot be added or removed")),
        ("cancel", &bare, json!({"control": {"cancel": true}}), None),
        (
            "cancel taken back",
            &op,
            json!({"control": {"cancel": false}}),
            Some("a cancel cannot be taken back"),
        ),
        ("control removed", &op, json!({"control": null}), Some("a cancel cannot be taken back")),
        ("suspend", &bare, json!({"control": {"suspend": true}}), None),
        ("suspend taken back", &op, json!({"control": {"suspend": false}}), None),
        ("retry raised", &op, json!({"control": {"retry": 3}}), None),
        ("retry lowered", &op, json!({"control": {"retry": 1}}), Some("control.retry only grows")),
        ("priority before the first status", &op, json!({"priority": 5}), None),
    ];
    for (what, op, edit, why) in rows {
        judge(what, try_edit(admin, op, edit).await, why);
    }
    let queued = birth(&bare);
    store(&controller, &bare, &queued).await;
    judge("priority while queued", try_edit(admin, &bare, json!({"priority": 5})).await, None);
    store(&controller, &bare, &shared(&queued, Shared::HoldGranted { epoch: 1 })).await;
    let late = try_edit(admin, &bare, json!({"priority": 5})).await;
    judge("priority while running", late, Some("priority can only be changed while the operation waits"));
}
