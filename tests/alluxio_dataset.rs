//! Does a Dataset bring the files of a store into a real Alluxio, show them as they are, and leave nothing behind?

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that cannot go on fails")]

mod cluster;

use cluster::alluxio::{Stage, assert_succeeded};
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, PostParams};
use ratchet::api::{DataOperation, Dataset, DatasetStatus};
use ratchet_state_machine::spec::ArmSpec;
use serde_json::{Value, json};
use std::time::Duration;

/// Short waits of a takeover.
const QUICK: [&str; 6] = ["--send-for-ms", "500", "--engine-timeout-ms", "2000", "--probe-seconds", "1"];

fn api(stage: &Stage) -> Api<Dataset> {
    Api::namespaced(stage.admin.clone(), &stage.ns.name)
}

async fn create(stage: &Stage, mounts: Value) {
    let object = json!({"apiVersion": "ratchet.dev/v1alpha1", "kind": "Dataset", "metadata": {"name": "data"},
        "spec": {"cluster": cluster::alluxio::CACHE, "mounts": mounts}});
    let dataset = serde_json::from_value(object).expect("a Dataset");
    api(stage).create(&PostParams::default(), &dataset).await.expect("created");
}

async fn until(stage: &Stage, what: &str, wanted: impl Fn(&DatasetStatus) -> bool) -> DatasetStatus {
    let mut last = None;
    for _ in 0..cluster::POLLS {
        last = api(stage).get("data").await.expect("readable").status;
        if let Some(status) = last.as_ref().filter(|s| wanted(s)) {
            return status.clone();
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("not {what}: {last:#?}")
}

async fn operations(stage: &Stage) -> Vec<DataOperation> {
    let api: Api<DataOperation> = Api::namespaced(stage.admin.clone(), &stage.ns.name);
    api.list(&ListParams::default()).await.expect("readable").items
}

async fn clear(stage: &Stage) {
    for mount in stage.mounts().await {
        stage.engine.unmount(&mount.path).await.expect("unmounted");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dataset_is_bound_with_the_right_files_loaded_synced_and_gone_without_a_trace() {
    let Some(mut stage) = Stage::shared("dataset").await else { return };
    clear(&stage).await;
    let (images, labels) = (stage.store("images"), stage.store("labels"));
    images.files(120, 5_000);
    labels.files(30, 1_000).file("empty", 0);
    let before = (images.fingerprint(), labels.fingerprint());
    stage.start(&QUICK);
    create(
        &stage,
        json!([
            {"path": "/images", "uri": images.path, "readOnly": true},
            {"path": "/labels", "uri": labels.path},
        ]),
    )
    .await;
    let status = until(&stage, "Bound", |s| s.phase == "Bound" && s.files == 151).await;
    assert_eq!((status.ufs_bytes, status.cached_bytes), (630_000, 0));
    assert_eq!(status.cached_percent, "0%");

    stage.load("warm", &["/images", "/labels"]).await;
    assert_succeeded(&stage.end("warm").await);
    stage.assert_cached("/images", 120).await;
    until(&stage, "cached", |s| s.cached_percent == "100%").await;
    let row = stage.bench.kubectl(&["-n", &stage.ns.name, "get", "dset", "data"], &[]);
    for cell in ["CLUSTER", "UFS SIZE", "FILES", "CACHED %", "PHASE", "615.2KiB", "151", "100%", "Bound"] {
        assert!(row.contains(cell), "{cell}: {row}");
    }
    // A file that comes later is seen when the store is looked at.
    labels.file("late", 7_777);
    stage.ask("look", json!({"sync": {"paths": ["/labels"]}}), json!({})).await;
    assert_succeeded(&stage.end("look").await);
    let status = until(&stage, "synced", |s| s.files == 152).await;
    assert_eq!(status.ufs_bytes, 637_777);
    std::fs::remove_file(labels.dir.join("late")).expect("removed");

    api(&stage).delete("data", &DeleteParams::default()).await.expect("deleted");
    let gone = async {
        while api(&stage).get_opt("data").await.expect("readable").is_some() {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(cluster::LIMIT, gone).await.expect("the Dataset goes");
    assert_eq!(stage.mounts().await, []);
    let contents =
        |f: &str| f.lines().filter(|l| !l.starts_with(". d")).map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(images.fingerprint(), before.0, "the store was changed");
    assert_eq!(contents(&labels.fingerprint()), contents(&before.1), "the store was changed");
    stage.assert_free().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_edit_makes_one_operation_while_controllers_are_killed_at_random() {
    let Some(mut stage) = Stage::shared("edit").await else { return };
    clear(&stage).await;
    let store = stage.store("edited");
    store.files(10, 2_000);
    stage.start(&QUICK);
    create(&stage, json!([{"path": "/edited", "uri": store.path}])).await;
    until(&stage, "Bound", |s| s.phase == "Bound").await;
    let mut x = 4_711_u64;
    for round in 1..=8 {
        let spec =
            json!({"spec": {"mounts": [{"path": "/edited", "uri": store.path, "readOnly": round % 2 == 1}]}});
        api(&stage).patch("data", &PatchParams::default(), &Patch::Merge(spec)).await.expect("edited");
        for _ in 0..2 {
            x = x.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            tokio::time::sleep(Duration::from_millis((x >> 33) % 400)).await;
            stage.controller.take().expect("it runs").kill();
            stage.start(&QUICK);
        }
        let status = until(&stage, "Bound", |s| s.phase == "Bound" && s.handled == round + 1).await;
        assert_eq!(status.mounts[0].phase, "Mounted");
        let read_only = stage.mounts().await.iter().map(|m| m.read_only).collect::<Vec<_>>();
        assert_eq!(read_only, [round % 2 == 1]);
    }
    let mounts =
        operations(&stage).await.into_iter().filter(|o| matches!(o.spec.operation, ArmSpec::Mount(_)));
    assert_eq!(mounts.count(), 9, "the first mount and one for each edit");
    api(&stage).delete("data", &DeleteParams::default()).await.expect("deleted");
    let gone = async {
        while api(&stage).get_opt("data").await.expect("readable").is_some() {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(cluster::LIMIT, gone).await.expect("the Dataset goes");
    assert_eq!(stage.mounts().await, []);
}
