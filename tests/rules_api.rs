//! Does the API server enforce what a spec may say and how it may change?

mod cluster;

use cluster::legal::{assert_accepted, assert_refused, birth, shared, store, try_create};
use cluster::{Bench, TestNamespace, create, load, operation};
use kube::api::{Api, ApiResource, DynamicObject, Patch, PatchParams, PostParams};
use kube::{Client, Error};
use ratchet::api::{CacheCluster, DataLoad, DataOperation, OperationJournal, TargetLock};
use ratchet_state_machine::lifecycle::step::Shared;
use serde_json::{Value, json};
use std::path::Path;

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

fn judge<T: std::fmt::Debug>(what: &str, reply: Result<T, Error>, why: Option<&str>) {
    match why {
        Some(why) => assert_refused(what, reply, why),
        None => drop(assert_accepted(what, reply)),
    }
}

async fn set_up(stem: &str) -> Option<(Bench, TestNamespace, Client, Client)> {
    let bench = Bench::api()?;
    let ns = bench.namespace(stem);
    let (admin, controller) = (bench.client("admin").await, bench.client("controller").await);
    Some((bench, ns, admin, controller))
}

#[tokio::test(flavor = "multi_thread")]
async fn every_path_rule_holds_for_load_free_and_dataload() {
    let Some((_bench, ns, admin, _)) = set_up("rules-paths").await else { return };
    for (path, why) in paths() {
        let shown: String = path.chars().take(30).collect();
        let (one, second) = (json!([path.clone()]), json!(["/first", path]));
        let tried = try_create::<DataOperation>(&admin, &ns.name, spec(json!({"paths": one}), json!({}))).await;
        judge(&format!("load {shown:?}"), tried, why);
        let free = json!({"target": "cache", "operation": {"free": {"paths": second}}});
        judge(&format!("free {shown:?}"), try_create::<DataOperation>(&admin, &ns.name, free).await, why);
        let tried = try_create::<DataLoad>(&admin, &ns.name, json!({"target": "cache", "paths": one})).await;
        judge(&format!("dataload {shown:?}"), tried, why);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operation_is_one_arm_with_numbers_in_their_bounds() {
    let Some((_bench, ns, admin, _)) = set_up("rules-spec").await else { return };
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
        ("both arms", with(json!({"operation": {"free": data()}})), Some(one)),
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
        ("backoff -1", with(json!({"retryPolicy": {"backoffSeconds": -1}})), Some("greater than or equal to 0")),
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
        ("an end that is none", with(json!({"runAfter": [{"name": "a", "ended": "Maybe"}]})), Some("Unsupported value")),
    ];
    for (what, spec, why) in rows {
        judge(what, try_create::<DataOperation>(&admin, &ns.name, spec).await, why);
    }
}

/// Tries a merge patch of an operation's spec, without keeping it.
async fn try_edit(client: &Client, op: &DataOperation, spec: Value) -> Result<DataOperation, Error> {
    let api: Api<DataOperation> = Api::namespaced(client.clone(), op.metadata.namespace.as_deref().unwrap());
    let params = PatchParams { dry_run: true, ..PatchParams::default() };
    api.patch(op.metadata.name.as_deref().unwrap(), &params, &Patch::Merge(json!({"spec": spec}))).await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operation_changes_only_by_its_controls() {
    let Some((_bench, ns, admin, controller)) = set_up("rules-edit").await else { return };
    let more = json!({"deadlineSeconds": 100, "ttlAfterFinishedSeconds": 100, "runAfter": [{"name": "a"}],
        "control": {"cancel": true, "suspend": true, "retry": 2}});
    let op = create(&admin, &ns.name, &operation(&ns.name, "op", "cache", json!({"load": {"paths": ["/d"]}}), more)).await;
    let bare = create(&admin, &ns.name, &operation(&ns.name, "bare", "cache", json!({"load": {"paths": ["/d"]}}), json!({}))).await;
    let rows: Vec<(&str, &DataOperation, Value, Option<&str>)> = vec![
        ("target", &op, json!({"target": "other"}), Some("target cannot be changed")),
        ("paths", &op, json!({"operation": {"load": {"paths": ["/e"]}}}), Some("the operation cannot be changed")),
        ("another arm", &op, json!({"operation": {"load": null, "free": {"paths": ["/d"]}}}), Some("the operation cannot be changed")),
        ("runAfter", &op, json!({"runAfter": [{"name": "b"}]}), Some("runAfter cannot be changed")),
        ("runAfter removed", &op, json!({"runAfter": null}), Some("cannot be added or removed")),
        ("runAfter added", &bare, json!({"runAfter": [{"name": "b"}]}), Some("cannot be added or removed")),
        ("retryPolicy", &op, json!({"retryPolicy": {"limit": 9}}), Some("retryPolicy cannot be changed")),
        ("retryPolicy removed", &op, json!({"retryPolicy": null}), Some("retryPolicy cannot be changed")),
        ("approval", &op, json!({"approval": "Manual"}), Some("approval cannot be changed")),
        ("stall deadline", &op, json!({"stallDeadlineSeconds": 5}), Some("stallDeadlineSeconds cannot be changed")),
        ("ttl", &op, json!({"ttlAfterFinishedSeconds": 200}), Some("ttlAfterFinishedSeconds cannot be changed")),
        ("ttl removed", &op, json!({"ttlAfterFinishedSeconds": null}), Some("cannot be added or removed")),
        ("ttl added", &bare, json!({"ttlAfterFinishedSeconds": 1}), Some("cannot be added or removed")),
        ("deadline raised", &op, json!({"deadlineSeconds": 101}), None),
        ("deadline lowered", &op, json!({"deadlineSeconds": 99}), Some("deadlineSeconds can only be raised")),
        ("deadline removed", &op, json!({"deadlineSeconds": null}), Some("cannot be added or removed")),
        ("cancel", &bare, json!({"control": {"cancel": true}}), None),
        ("cancel taken back", &op, json!({"control": {"cancel": false}}), Some("a cancel cannot be taken back")),
        ("control removed", &op, json!({"control": null}), Some("a cancel cannot be taken back")),
        ("suspend", &bare, json!({"control": {"suspend": true}}), None),
        ("suspend taken back", &op, json!({"control": {"suspend": false}}), None),
        ("retry raised", &op, json!({"control": {"retry": 3}}), None),
        ("retry lowered", &op, json!({"control": {"retry": 1}}), Some("control.retry only grows")),
        ("priority before the first status", &op, json!({"priority": 5}), None),
    ];
    for (what, op, edit, why) in rows {
        judge(what, try_edit(&admin, op, edit).await, why);
    }
    let queued = birth(&bare);
    store(&controller, &bare, &queued).await;
    judge("priority while queued", try_edit(&admin, &bare, json!({"priority": 5})).await, None);
    store(&controller, &bare, &shared(&queued, Shared::HoldGranted { epoch: 1 })).await;
    let late = try_edit(&admin, &bare, json!({"priority": 5})).await;
    judge("priority while running", late, Some("priority can only be changed while the operation waits"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dataload_and_a_cachecluster_say_what_is_wrong_with_them() {
    let Some((_bench, ns, admin, _)) = set_up("rules-kinds").await else { return };
    let rows: Vec<(&str, Value, Option<&str>)> = vec![
        ("a load", json!({"target": "c", "paths": ["/d"], "minCachedPercent": 50}), None),
        ("no target", json!({"paths": ["/d"]}), Some("spec.target: Required value")),
        ("no paths", json!({"target": "c"}), Some("paths: Required value")),
        ("paths empty", json!({"target": "c", "paths": []}), Some("at least 1 items")),
        ("policy", json!({"target": "c", "paths": ["/d"], "policy": "Sometimes"}), Some("Unsupported value")),
        ("priority", json!({"target": "c", "paths": ["/d"], "priority": 1001}), Some("less than or equal to 1000")),
        ("a text for a number", json!({"target": "c", "paths": ["/d"], "maxFailedFiles": "1"}), Some("must be of type integer")),
    ];
    for (what, spec, why) in rows {
        judge(what, try_create::<DataLoad>(&admin, &ns.name, spec).await, why);
    }
    let dl = create(&admin, &ns.name, &load(&ns.name, "warm", "cache", &["/d"])).await;
    let loads: Api<DataLoad> = Api::namespaced(admin.clone(), &ns.name);
    let edit = Patch::Merge(json!({"spec": {"priority": 7}}));
    let params = PatchParams { dry_run: true, ..PatchParams::default() };
    let edited = loads.patch(dl.metadata.name.as_deref().unwrap(), &params, &edit).await;
    assert_refused("an edit", edited, "a DataLoad cannot be changed; create another one");

    let address = "a master address is host:port";
    let masters = |all: Value| json!({"attached": {"masters": all}});
    let rows: Vec<(&str, Value, Option<&str>)> = vec![
        ("one master", masters(json!(["alluxio-master-0.ns.svc:19998"])), None),
        ("an address by number", masters(json!(["10.0.0.1:1", "10.0.0.2:65535"])), None),
        ("no masters", masters(json!([])), Some("at least 1 items")),
        ("ten masters", masters(json!((0..10).map(|i| format!("m{i}:1")).collect::<Vec<_>>())), Some("Too many")),
        ("no port", masters(json!(["master"])), Some(address)),
        ("port 0", masters(json!(["master:0"])), Some(address)),
        ("port 65536", masters(json!(["master:65536"])), Some(address)),
        ("a port in letters", masters(json!(["master:http"])), Some(address)),
        ("a URL", masters(json!(["http://master:19998"])), Some(address)),
        ("a blank", masters(json!(["my master:19998"])), Some(address)),
        ("the second is wrong", masters(json!(["good:1", "bad"])), Some(address)),
        ("no cache at all", json!({}), Some("spec.attached: Required value")),
        ("an engine from elsewhere", json!({"engine": "Curvine", "attached": {"masters": ["m:1"]}}), Some("Unsupported value")),
        ("a mode", json!({"attached": {"masters": ["m:1"], "security": {"mode": "Kerberos"}}}), Some("Unsupported value")),
        ("no user", json!({"attached": {"masters": ["m:1"], "security": {"user": ""}}}), Some("at least 1 chars long")),
    ];
    for (what, spec, why) in rows {
        judge(what, try_create::<CacheCluster>(&admin, &ns.name, spec).await, why);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lock_never_forgets_and_a_segment_never_changes() {
    let Some((_bench, ns, _, controller)) = set_up("rules-records").await else { return };
    let name = format!("test-{}", cluster::unique());
    let kind = ApiResource::erase::<TargetLock>(&());
    let locks: Api<DynamicObject> = Api::all_with(controller.clone(), &kind);
    let claim = json!({"namespace": ns.name, "name": "c", "uid": "u"});
    let lock = |epoch: i64| json!({"spec": {"identity": "i", "claim": claim, "lock": {"epoch": epoch}}});
    let dry = PostParams { dry_run: true, ..PostParams::default() };
    assert_refused("epoch -1", locks.create(&dry, &DynamicObject::new(&name, &kind).data(lock(-1))).await, "greater than or equal to 0");
    locks.create(&PostParams::default(), &DynamicObject::new(&name, &kind).data(lock(5))).await.unwrap();
    let edit = async |spec: Value| {
        let params = PatchParams { dry_run: true, ..PatchParams::default() };
        locks.patch(&name, &params, &Patch::Merge(json!({"spec": spec}))).await
    };
    judge("the same epoch", edit(json!({"lock": {"epoch": 5}})).await, None);
    judge("a higher epoch", edit(json!({"lock": {"epoch": 6}})).await, None);
    judge("a lower epoch", edit(json!({"lock": {"epoch": 4}})).await, Some("the epoch never falls"));
    judge("another engine", edit(json!({"identity": "j"})).await, Some("a lock belongs to one engine for ever"));
    let holder = |i: i64| json!({"uid": format!("u{i}"), "namespace": "n", "name": "o", "kind": "load", "mode": "Shared", "paths": ["/"], "hold": i, "seq": 1});
    let holders = |n: i64| json!({"lock": {"holders": (0..n).map(holder).collect::<Vec<_>>()}});
    judge("64 holders", edit(holders(64)).await, None);
    judge("65 holders", edit(holders(65)).await, Some("Too many"));

    let journals: Api<OperationJournal> = Api::namespaced(controller.clone(), &ns.name);
    let segment = json!({"apiVersion": "ratchet.dev/v1alpha1", "kind": "OperationJournal", "metadata": {"name": "u-000001"},
        "spec": {"operation": "o", "uid": "u", "kind": "load", "target": "c", "firstSeq": 1, "lastSeq": 1, "digest": "d", "phase": "Queued",
        "entries": [{"seq": 1, "at": "2026-01-01T00:00:00.000Z", "event": "Created", "body": "{}"}]}});
    let mut empty = segment.clone();
    empty["spec"]["entries"] = json!([]);
    let empty: OperationJournal = serde_json::from_value(empty).unwrap();
    assert_refused("a segment without entries", journals.create(&dry, &empty).await, "at least 1 items");
    journals.create(&PostParams::default(), &serde_json::from_value(segment).unwrap()).await.unwrap();
    // The role of the controller has no verb that could change a segment; the rule stands behind it, for everybody.
    let admins: Api<OperationJournal> = Api::namespaced(_bench.client("admin").await, &ns.name);
    let edit = Patch::Merge(json!({"spec": {"phase": "Running"}}));
    assert!(admins.patch("u-000001", &PatchParams::default(), &edit).await.is_err(), "a segment was changed");
}

#[tokio::test(flavor = "multi_thread")]
async fn kubectl_knows_the_kinds_their_examples_and_their_documentation() {
    let Some((bench, ns, admin, controller)) = set_up("rules-kubectl").await else { return };
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for file in std::fs::read_dir(root.join("crds")).unwrap().flatten().filter(|f| f.path().is_file()) {
        assert!(file.metadata().unwrap().len() < 200 * 1024, "{:?} is too large for comfort", file.path());
    }
    let said = bench.kubectl(&["-n", &ns.name, "apply", "-f"], &[&root.join("crds/examples")]);
    for name in ["cachecluster.ratchet.dev/alluxio", "dataload.ratchet.dev/warm-data", "dataoperation.ratchet.dev/free-old"] {
        assert!(said.contains(&format!("{name} created")), "{said}");
    }
    let op: Api<DataOperation> = Api::namespaced(admin, &ns.name);
    let op = op.get("free-old").await.unwrap();
    store(&controller, &op, &birth(&op)).await;
    let list = bench.kubectl(&["-n", &ns.name, "get", "ratchet"], &[]);
    for row in ["cachecluster.ratchet.dev/alluxio", "dataload.ratchet.dev/warm-data", "dataoperation.ratchet.dev/free-old"] {
        assert!(list.contains(row), "{list}");
    }
    for kind in ["cacheclusters", "dataloads", "dataoperations", "operationjournals", "targetlocks"] {
        let all = bench.kubectl(&["api-resources", "--categories=ratchet", "--no-headers"], &[]);
        assert!(all.contains(kind), "{all}");
    }
    let row = bench.kubectl(&["-n", &ns.name, "get", "dop", "free-old", "--no-headers"], &[]);
    let cells: Vec<&str> = row.split_whitespace().take(5).collect();
    assert_eq!(cells, ["free-old", "free", "alluxio", "Queued", "queued"], "{row}");
    let phase = bench.kubectl(&["-n", &ns.name, "get", "dop", "--field-selector=status.phase=Queued", "-o", "name"], &[]);
    assert_eq!(phase.trim(), "dataoperation.ratchet.dev/free-old");
    let explained = bench.kubectl(&["explain", "dop.spec.operation.load"], &[]);
    for word in ["paths", "minCachedPercent", "Absolute paths in the cache's namespace", "Bytes a second for each worker"] {
        assert!(explained.contains(word), "{word}: {explained}");
    }
}
