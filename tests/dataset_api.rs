//! Do edits of a Dataset become operations, each exactly one and in order, whatever happens to the controller?

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that cannot go on fails")]

mod cluster;

use cluster::controllers::InProcess;
use cluster::stage::Stage;
use cluster::unique;
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, PostParams};
use ratchet::api::{DataOperation, Dataset, DatasetStatus};
use ratchet_state_machine::machine::Phase;
use ratchet_state_machine::spec::ArmSpec;
use serde_json::{Value, json};
use std::time::Duration;

fn api(stage: &Stage) -> Api<Dataset> {
    Api::namespaced(stage.admin.clone(), &stage.ns.name)
}

fn dataset(name: &str, mounts: Value, more: Value) -> Dataset {
    let mut spec = json!({"cluster": "cache", "mounts": mounts});
    if let (Value::Object(spec), Value::Object(more)) = (&mut spec, more) {
        spec.extend(more);
    }
    let object = json!({"apiVersion": "ratchet.dev/v1alpha1", "kind": "Dataset",
        "metadata": {"name": name}, "spec": spec});
    serde_json::from_value(object).expect("a Dataset")
}

async fn create(stage: &Stage, dataset: &Dataset) {
    api(stage).create(&PostParams::default(), dataset).await.expect("created");
}

async fn edit(stage: &Stage, name: &str, spec: Value) {
    let patch = json!({"spec": spec});
    api(stage).patch(name, &PatchParams::default(), &Patch::Merge(patch)).await.expect("edited");
}

async fn until(
    stage: &Stage,
    name: &str,
    what: &str,
    wanted: impl Fn(&DatasetStatus) -> bool,
) -> DatasetStatus {
    let api = api(stage);
    let mut last = None;
    for _ in 0..cluster::POLLS {
        last = api.get(name).await.expect("readable").status;
        if let Some(status) = last.as_ref().filter(|s| wanted(s)) {
            return status.clone();
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("{name} is not {what}: {last:#?}")
}

async fn bound(stage: &Stage, name: &str) -> DatasetStatus {
    let generation = api(stage).get(name).await.expect("readable").metadata.generation;
    until(stage, name, "Bound", |s| {
        let synced = s.sync.phase == "Succeeded" && s.sync.handled == s.handled;
        s.phase == "Bound" && Some(s.observed_generation) == generation && synced
    })
    .await
}

/// The operations that edits became.
async fn operations(stage: &Stage) -> Vec<DataOperation> {
    let api: Api<DataOperation> = Api::namespaced(stage.admin.clone(), &stage.ns.name);
    let mut all = api.list(&ListParams::default()).await.expect("readable").items;
    all.retain(|o| !matches!(o.spec.operation, ArmSpec::Sync(_)));
    all.sort_by_key(|o| o.status.as_ref().and_then(|s| s.finished_at.clone()));
    all
}

async fn kinds(stage: &Stage) -> Vec<String> {
    let path = |o: &DataOperation| o.spec.operation.paths().join(",");
    let kind = |o: &DataOperation| o.status.as_ref().map_or("?".to_owned(), |s| s.kind.clone());
    let mut all: Vec<String> =
        operations(stage).await.iter().map(|o| format!("{} {}", kind(o), path(o))).collect();
    all.sort();
    all
}

fn mounts(stage: &Stage) -> Vec<String> {
    let mut all: Vec<String> = stage
        .engine
        .world()
        .mounts
        .mounts
        .iter()
        .map(|m| format!("{} {}{}", m.path, m.uri, if m.read_only { " ro" } else { "" }))
        .collect();
    all.sort();
    all
}

async fn secret(stage: &Stage, value: &str) {
    stage.bench.apply(&json!({"apiVersion": "v1", "kind": "Secret",
        "metadata": {"name": "store", "namespace": stage.ns.name}, "stringData": {"id": value}}));
}

async fn controller(stage: &Stage) -> InProcess {
    let config = ratchet::controller::Config { probe_every: Duration::from_secs(1), ..Stage::config() };
    stage.controller_with(config).await
}

#[tokio::test(flavor = "multi_thread")]
async fn each_edit_of_a_mount_becomes_one_operation_and_two_at_once_come_in_order() {
    let Some(stage) = Stage::new("dset").await else { return };
    let running = controller(&stage).await;
    let two = json!([{"path": "/b", "uri": "s3://b"}, {"path": "/a", "uri": "s3://a", "readOnly": true}]);
    create(&stage, &dataset("d", two, json!({}))).await;
    let status = bound(&stage, "d").await;
    assert_eq!(mounts(&stage), ["/a s3://a ro", "/b s3://b"]);
    assert_eq!(kinds(&stage).await, ["mount /a", "mount /b"]);
    assert_eq!((status.handled, status.files, status.sync.count), (2, 2, 1));

    // Nothing happens when nothing is edited.
    let before = api(&stage).get("d").await.unwrap().metadata.resource_version;
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(
        api(&stage).get("d").await.unwrap().metadata.resource_version,
        before,
        "it is written for nothing"
    );

    // A setting, a new mount and one that goes, in one edit: what goes goes first.
    let edited = json!([{"path": "/a", "uri": "s3://a"}, {"path": "/c", "uri": "s3://b/inner"}]);
    edit(&stage, "d", json!({"mounts": edited})).await;
    let status = bound(&stage, "d").await;
    assert_eq!(mounts(&stage), ["/a s3://a", "/c s3://b/inner"]);
    assert_eq!(kinds(&stage).await, ["mount /a", "mount /a", "mount /b", "mount /c", "unmount /b"]);
    assert_eq!((status.handled, status.mounts.len()), (5, 2));
    for op in operations(&stage).await {
        assert_eq!(op.phase(), Some(Phase::Succeeded));
        stage.prove(&op).await;
    }
    // Another address: the old one makes room.
    edit(
        &stage,
        "d",
        json!({"mounts": [{"path": "/a", "uri": "s3://z"}, {"path": "/c", "uri": "s3://b/inner"}]}),
    )
    .await;
    bound(&stage, "d").await;
    assert_eq!(mounts(&stage), ["/a s3://z", "/c s3://b/inner"]);

    // Deleting it takes everything off, and leaves no object.
    api(&stage).delete("d", &DeleteParams::default()).await.expect("deleted");
    stage.eventually("gone", async || api(&stage).get_opt("d").await.unwrap().is_none()).await;
    assert_eq!(mounts(&stage), [""; 0]);
    stage.eventually("its operations are gone", async || operations(&stage).await.is_empty()).await;
    drop(running);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_secret_is_waited_for_and_a_new_version_of_it_is_an_edit() {
    let Some(stage) = Stage::new("dsec").await else { return };
    let _running = controller(&stage).await;
    let options = json!([{"name": "key.id", "valueFrom": {"secretKeyRef": {"name": "store", "key": "id"}}}]);
    let mounts_ = json!([{"path": "/a", "uri": "s3://a"}]);
    create(&stage, &dataset("d", mounts_, json!({"sharedOptions": options}))).await;
    let reason = |s: &DatasetStatus, reason: &str| {
        s.conditions.iter().any(|c| c.type_ == "Ready" && c.reason == reason)
    };
    let status = until(&stage, "d", "waiting", |s| reason(s, "SecretNotFound")).await;
    assert_eq!(status.phase, "Pending");
    let told = |c: &ratchet::api::conditions::Condition| c.message.contains("no Secret store");
    assert!(status.conditions.iter().any(told), "{status:?}");
    assert!(operations(&stage).await.is_empty());
    secret(&stage, "one-one").await;
    bound(&stage, "d").await;
    assert_eq!(stage.engine.world().given.get("key.id").map(String::as_str), Some("one-one"));
    secret(&stage, "two-two").await;
    until(&stage, "d", "updated", |s| s.handled == 2 && s.phase == "Bound").await;
    assert_eq!(stage.engine.world().given.get("key.id").map(String::as_str), Some("two-two"));
    assert_eq!(kinds(&stage).await, ["mount /a", "mount /a"]);
    let written = stage.bench.kubectl(&["-n", &stage.ns.name, "get", "dset,dop,oj", "-o", "yaml"], &[]);
    assert!(!written.contains("one-one") && !written.contains("two-two"), "the secret was written somewhere");
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_datasets_that_want_the_same_the_older_has_it_and_the_other_says_so() {
    let Some(stage) = Stage::new("dtwo").await else { return };
    let _running = controller(&stage).await;
    create(&stage, &dataset("first", json!([{"path": "/a", "uri": "s3://a"}]), json!({}))).await;
    bound(&stage, "first").await;
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    create(&stage, &dataset("second", json!([{"path": "/b", "uri": "s3://a/inner"}]), json!({}))).await;
    let status = until(&stage, "second", "Failed", |s| s.phase == "Failed").await;
    let why = status.conditions.iter().find(|c| c.type_ == "Ready").expect("a reason");
    assert_eq!(why.reason, "MountConflict");
    assert!(why.message.contains("Dataset first"), "{}", why.message);
    assert_eq!(kinds(&stage).await, ["mount /a"]);
    edit(&stage, "second", json!({"mounts": [{"path": "/b", "uri": "s3://b"}]})).await;
    bound(&stage, "second").await;
    // What somebody else takes away is shown, and not brought back behind his back.
    stage.engine.world().mounts.mounts.retain(|m| m.path != "/b");
    let status = until(&stage, "second", "NotBound", |s| s.phase == "NotBound").await;
    assert_eq!(status.mounts[0].reason, "ChangedOutside");
    assert_eq!(kinds(&stage).await, ["mount /a", "mount /b"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn controllers_that_come_and_go_make_one_operation_of_each_edit() {
    let Some(stage) = Stage::new("dkill").await else { return };
    let mut first = controller(&stage).await;
    let mut second = controller(&stage).await;
    create(&stage, &dataset("d", json!([{"path": "/a", "uri": "s3://a"}]), json!({}))).await;
    for round in 0..12_u64 {
        let read_only = round % 2 == 1;
        let mounts = json!([{"path": "/a", "uri": "s3://a", "readOnly": read_only},
            {"path": "/b", "uri": format!("s3://b{round}")}]);
        edit(&stage, "d", json!({"mounts": mounts})).await;
        tokio::time::sleep(Duration::from_millis(20 + 37 * round % 400)).await;
        // Dropped at whatever it is doing; the other one is there, or not.
        drop(first);
        first = second;
        second = controller(&stage).await;
        let status = bound(&stage, "d").await;
        assert_eq!(status.mounts.len(), 2);
    }
    let status = bound(&stage, "d").await;
    // The first round found the mount of /a as it was created, and made one of it; each later one made two.
    let made = i64::try_from(operations(&stage).await.len()).unwrap();
    assert_eq!((status.handled, made), (24, 24));
    assert_eq!(mounts(&stage), ["/a s3://a ro", "/b s3://b11"]);
    for op in operations(&stage).await {
        assert_eq!(op.phase(), Some(Phase::Succeeded), "{:?}", op.metadata.name);
        stage.prove(&op).await;
    }
    drop((first, second));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_newer_edit_takes_the_place_of_one_that_waits() {
    let Some(stage) = Stage::new("dnew").await else { return };
    let running = controller(&stage).await;
    create(&stage, &dataset("d", json!([{"path": "/a", "uri": "s3://a"}]), json!({}))).await;
    bound(&stage, "d").await;
    // Somebody works on the path, so that the edit waits.
    stage.engine.world().job_takes = u32::MAX;
    stage.load("busy", "/a", json!({})).await;
    stage.at_work("busy").await;
    edit(&stage, "d", json!({"mounts": [{"path": "/a", "uri": "s3://a", "readOnly": true}]})).await;
    let waiting =
        until(&stage, "d", "waiting", |s| s.handled == 2 && s.mounts[0].reason == "WaitingForLock").await;
    edit(&stage, "d", json!({"mounts": [{"path": "/a", "uri": "s3://a", "shared": true}]})).await;
    until(&stage, "d", "edited", |s| s.handled == 3).await;
    stage.ends(&waiting.mounts[0].operation, Phase::Cancelled).await;
    // An operation that somebody deletes is missed, and another edit makes another one.
    let both = json!([{"path": "/a", "uri": "s3://a", "readOnly": true, "shared": true}]);
    edit(&stage, "d", json!({"mounts": both})).await;
    let status = until(&stage, "d", "waiting", |s| s.handled == 4 && s.mounts[0].phase == "Mounting").await;
    let operations: Api<DataOperation> = Api::namespaced(stage.admin.clone(), &stage.ns.name);
    operations.delete(&status.mounts[0].operation, &DeleteParams::default()).await.expect("deleted");
    until(&stage, "d", "Failed", |s| s.phase == "Failed" && !s.mounts[0].reason.is_empty()).await;
    edit(
        &stage,
        "d",
        json!({"mounts": [{"path": "/a", "uri": "s3://a", "readOnly": false, "shared": true}]}),
    )
    .await;
    until(&stage, "d", "edited", |s| s.handled == 5).await;
    stage.control("busy", json!({"cancel": true})).await;
    bound(&stage, "d").await;
    assert_eq!(mounts(&stage), ["/a s3://a"]);
    assert!(stage.engine.world().mounts.mounts[0].shared);
    drop(running);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dataset_whose_cache_is_gone_can_be_deleted() {
    let Some(stage) = Stage::new("dgone").await else { return };
    let _running = controller(&stage).await;
    create(&stage, &dataset("lonely", json!([{"path": "/a", "uri": "s3://a"}]), json!({"cluster": "none"})))
        .await;
    until(&stage, "lonely", "waiting", |s| s.conditions.iter().any(|c| c.reason == "ClusterNotFound")).await;
    api(&stage).delete("lonely", &DeleteParams::default()).await.expect("deleted");
    stage.eventually("gone", async || api(&stage).get_opt("lonely").await.unwrap().is_none()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_api_server_refuses_a_bad_dataset_with_a_sentence() {
    let Some(stage) = Stage::empty("dbad").await else { return };
    let cases = [
        (json!([{"path": "/", "uri": "s3://a"}]), "nothing can be mounted at '/'"),
        (json!([{"path": "/a", "uri": "s3://a"}, {"path": "/a/b", "uri": "s3://b"}]), "direct child of '/'"),
        (json!([{"path": "/a", "uri": "s3://a"}, {"path": "/a", "uri": "s3://b"}]), "the same path"),
        (
            json!([{"path": "/a", "uri": "s3://a/x"}, {"path": "/b", "uri": "s3://a"}]),
            "lies in that of another",
        ),
        (
            json!([{"path": "/a", "uri": "s3://a"}, {"path": "/b", "uri": "s3://a/x"}]),
            "lies in that of another",
        ),
        (
            json!([{"path": "/a", "uri": "s3://a"}, {"path": "/b", "uri": "s3://a"}]),
            "lies in that of another",
        ),
        (json!([]), "should have at least 1 items"),
        (
            json!([{"path": "/a", "uri": "s3://a", "options": [{"name": "my.password", "value": "x"}]}]),
            "credential",
        ),
    ];
    for (mounts, says) in cases {
        let refused =
            api(&stage).create(&PostParams::default(), &dataset("bad", mounts.clone(), json!({}))).await;
        let Err(kube::Error::Api(status)) = refused else { panic!("{mounts} was accepted") };
        assert!(status.message.contains(says), "{mounts}: {}", status.message);
    }
    let near = json!([{"path": "/a", "uri": "s3://a"}, {"path": "/b", "uri": "s3://ab"}]);
    create(&stage, &dataset(&format!("good-{}", unique()), near, json!({}))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_load_waits_for_the_mount_that_is_declared_with_it_and_for_nothing_else() {
    let Some(stage) = Stage::new("dset-load").await else { return };
    let running = controller(&stage).await;
    stage.eventually("the cache is known", async || stage.readiness("cache").await == "Ready").await;
    running.stop().await;
    // The load is older than the mount: in the order of the queue it would come first.
    stage.load("first", "/a/b", json!({})).await;
    tokio::time::sleep(Duration::from_millis(1100)).await;
    create(&stage, &dataset("d", json!([{"path": "/a", "uri": "s3://a"}]), json!({}))).await;
    stage.engine.world().unreachable = true;
    let running = controller(&stage).await;
    let said =
        stage.waits("first", "DatasetNotBound").await.status.and_then(|s| s.waiting_on).map(|w| w.message);
    assert_eq!(said.as_deref(), Some("/a is about to be mounted by Dataset d"));
    stage.engine.world().unreachable = false;
    stage.ends("first", Phase::Succeeded).await;
    let log = stage.engine.world().log.clone();
    let at = |what: &str| log.iter().position(|l| l.starts_with(what));
    assert!(at("mount ").is_some_and(|m| Some(m) < at("submitLoad ")), "{log:?}");

    // A Dataset that waits for a Secret mounts nothing yet, and holds nobody up; nor does one whose path is there.
    let key = json!({"secretKeyRef": {"name": "missing", "key": "id"}});
    let options = json!([{"name": "aws.accessKeyId", "valueFrom": key}]);
    create(&stage, &dataset("s", json!([{"path": "/s", "uri": "s3://s", "options": options}]), json!({})))
        .await;
    until(&stage, "s", "waiting", |s| s.phase == "Pending" && s.observed_generation == 1).await;
    stage.load("second", "/s", json!({})).await;
    stage.ends("second", Phase::Succeeded).await;
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_cache_cannot_do_for_a_dataset_is_said() {
    let Some(stage) = Stage::new("dset-policy").await else { return };
    let running = controller(&stage).await;
    let policy = json!({"cachePolicy": {"quota": "10Gi", "ttlSeconds": 3600}});
    create(&stage, &dataset("d", json!([{"path": "/a", "uri": "s3://a"}]), policy)).await;
    let status = bound(&stage, "d").await;
    let said = status.conditions.iter().find(|c| c.type_ == "CachePolicyApplied").expect("a condition");
    let why = "Alluxio 2.9 does not have a quota of a path or a time to live of what is cached alone; remove it from \
               cachePolicy";
    assert_eq!(
        (said.status.as_str(), said.reason.as_str(), said.message.as_str()),
        ("False", "Unsupported", why)
    );
    running.stop().await;
}
