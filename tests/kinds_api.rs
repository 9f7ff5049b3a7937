//! Are the other kinds held to their rules, and does kubectl know all of them?

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that cannot go on fails")]

mod cluster;

use cluster::legal::{assert_refused, birth, judge, store, try_create};
use cluster::stage::Stage;
use cluster::{create, load};
use kube::api::{Api, ApiResource, DynamicObject, Patch, PatchParams, PostParams};
use ratchet::api::{CacheCluster, DataLoad, DataOperation, OperationJournal, TargetLock};
use serde_json::{Value, json};
use std::path::Path;

#[tokio::test(flavor = "multi_thread")]
async fn a_dataload_and_a_cachecluster_say_what_is_wrong_with_them() {
    let Some(stage) = Stage::empty("rules-kinds").await else { return };
    let (ns, admin) = (&stage.ns, &stage.admin);
    let rows: Vec<(&str, Value, Option<&str>)> = vec![
        ("a load", json!({"target": "c", "paths": ["/d"], "minCachedPercent": 50}), None),
        ("no target", json!({"paths": ["/d"]}), Some("spec.target: Required value")),
        ("no paths", json!({"target": "c"}), Some("paths: Required value")),
        ("paths empty", json!({"target": "c", "paths": []}), Some("at least 1 items")),
        ("policy", json!({"target": "c", "paths": ["/d"], "policy": "Sometimes"}), Some("Unsupported value")),
        (
            "priority",
            json!({"target": "c", "paths": ["/d"], "priority": 1001}),
            Some("less than or equal to 1000"),
        ),
        (
            "a text for a number",
            json!({"target": "c", "paths": ["/d"], "maxFailedFiles": "1"}),
            Some("must be of type integer"),
        ),
    ];
    for (what, spec, why) in rows {
        judge(what, try_create::<DataLoad>(admin, &ns.name, spec).await, why);
    }
    let dl = create(admin, &ns.name, &load(&ns.name, "warm", "cache", &["/d"])).await;
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
        (
            "ten masters",
            masters(json!((0..10).map(|i| format!("m{i}:1")).collect::<Vec<_>>())),
            Some("Too many"),
        ),
        ("no port", masters(json!(["master"])), Some(address)),
        ("port 0", masters(json!(["master:0"])), Some(address)),
        ("port 65536", masters(json!(["master:65536"])), Some(address)),
        ("a port in letters", masters(json!(["master:http"])), Some(address)),
        ("a URL", masters(json!(["http://master:19998"])), Some(address)),
        ("a blank", masters(json!(["my master:19998"])), Some(address)),
        ("the second is wrong", masters(json!(["good:1", "bad"])), Some(address)),
        (
            "neither addresses nor a reference",
            json!({"attached": {}}),
            Some("set exactly one of attached.masters (addresses) and attached.reference"),
        ),
        (
            "both",
            json!({"attached": {"masters": ["m:1"], "reference": {"kind": "AlluxioRuntime", "name": "r"}}}),
            Some("set exactly one of attached.masters (addresses) and attached.reference"),
        ),
        ("a reference", json!({"attached": {"reference": {"kind": "AlluxioCluster", "name": "r"}}}), None),
        (
            "a reference to something else",
            json!({"attached": {"reference": {"kind": "Deployment", "name": "r"}}}),
            Some("Unsupported value"),
        ),
        (
            "no cache at all",
            json!({}),
            Some("set exactly one of attached (a cache that is there) and managed"),
        ),
        (
            "an engine from elsewhere",
            json!({"engine": "Curvine", "attached": {"masters": ["m:1"]}}),
            Some("Unsupported value"),
        ),
        (
            "a mode",
            json!({"attached": {"masters": ["m:1"], "security": {"mode": "Kerberos"}}}),
            Some("Unsupported value"),
        ),
        (
            "no user",
            json!({"attached": {"masters": ["m:1"], "security": {"user": ""}}}),
            Some("at least 1 chars long"),
        ),
    ];
    for (what, spec, why) in rows {
        judge(what, try_create::<CacheCluster>(admin, &ns.name, spec).await, why);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lock_never_forgets_and_a_segment_never_changes() {
    let Some(stage) = Stage::empty("rules-records").await else { return };
    let ns = &stage.ns;
    let controller = stage.bench.client("controller").await;
    let name = format!("test-{}", cluster::unique());
    let kind = ApiResource::erase::<TargetLock>(&());
    let locks: Api<DynamicObject> = Api::all_with(controller.clone(), &kind);
    let claim = json!({"namespace": ns.name, "name": "c", "uid": "u"});
    let lock = |epoch: i64| json!({"spec": {"identity": "i", "claim": claim, "lock": {"epoch": epoch}}});
    let dry = PostParams { dry_run: true, ..PostParams::default() };
    assert_refused(
        "epoch -1",
        locks.create(&dry, &DynamicObject::new(&name, &kind).data(lock(-1))).await,
        "greater than or equal to 0",
    );
    locks.create(&PostParams::default(), &DynamicObject::new(&name, &kind).data(lock(5))).await.unwrap();
    let edit = async |spec: Value| {
        let params = PatchParams { dry_run: true, ..PatchParams::default() };
        locks.patch(&name, &params, &Patch::Merge(json!({"spec": spec}))).await
    };
    judge("the same epoch", edit(json!({"lock": {"epoch": 5}})).await, None);
    judge("a higher epoch", edit(json!({"lock": {"epoch": 6}})).await, None);
    judge("a lower epoch", edit(json!({"lock": {"epoch": 4}})).await, Some("the epoch never falls"));
    judge(
        "another engine",
        edit(json!({"identity": "j"})).await,
        Some("a lock belongs to one engine for ever"),
    );
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
    let admins: Api<OperationJournal> = Api::namespaced(stage.bench.client("admin").await, &ns.name);
    let edit = Patch::Merge(json!({"spec": {"phase": "Running"}}));
    assert!(admins.patch("u-000001", &PatchParams::default(), &edit).await.is_err(), "a segment was changed");
}

#[tokio::test(flavor = "multi_thread")]
async fn kubectl_knows_the_kinds_their_examples_and_their_documentation() {
    let Some(stage) = Stage::empty("rules-kubectl").await else { return };
    let (ns, admin) = (&stage.ns, &stage.admin);
    let controller = stage.bench.client("controller").await;
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for file in std::fs::read_dir(root.join("crds")).unwrap().flatten().filter(|f| f.path().is_file()) {
        assert!(file.metadata().unwrap().len() < 200 * 1024, "{:?} is too large for comfort", file.path());
    }
    let said = stage.bench.kubectl(&["-n", &ns.name, "apply", "-f"], &[&root.join("crds/examples")]);
    for name in [
        "cachecluster.ratchet.dev/alluxio",
        "dataload.ratchet.dev/warm-data",
        "dataoperation.ratchet.dev/free-old",
    ] {
        assert!(said.contains(&format!("{name} created")), "{said}");
    }
    let op: Api<DataOperation> = Api::namespaced(admin.clone(), &ns.name);
    let op = op.get("free-old").await.unwrap();
    store(&controller, &op, &birth(&op)).await;
    let list = stage.bench.kubectl(&["-n", &ns.name, "get", "ratchet"], &[]);
    for row in [
        "cachecluster.ratchet.dev/alluxio",
        "dataload.ratchet.dev/warm-data",
        "dataoperation.ratchet.dev/free-old",
    ] {
        assert!(list.contains(row), "{list}");
    }
    for kind in
        ["cacheclusters", "dataloads", "dataoperations", "operationjournals", "targetlocks", "upgrades"]
    {
        let all = stage.bench.kubectl(&["api-resources", "--categories=ratchet", "--no-headers"], &[]);
        assert!(all.contains(kind), "{all}");
    }
    let row = stage.bench.kubectl(&["-n", &ns.name, "get", "dop", "free-old", "--no-headers"], &[]);
    let cells: Vec<&str> = row.split_whitespace().take(5).collect();
    assert_eq!(cells, ["free-old", "free", "alluxio", "Queued", "queued"], "{row}");
    let phase = stage
        .bench
        .kubectl(&["-n", &ns.name, "get", "dop", "--field-selector=status.phase=Queued", "-o", "name"], &[]);
    assert_eq!(phase.trim(), "dataoperation.ratchet.dev/free-old");
    let explained = stage.bench.kubectl(&["explain", "dop.spec.operation.load"], &[]);
    for word in [
        "paths",
        "minCachedPercent",
        "Absolute paths in the cache's namespace",
        "Bytes a second for each worker",
    ] {
        assert!(explained.contains(word), "{word}: {explained}");
    }
}
