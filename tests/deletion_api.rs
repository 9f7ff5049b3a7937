//! Does an operation leave cleanly, and does its history stay?

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that cannot go on fails")]

mod cluster;

use cluster::legal::{assert_accepted, birth, put_status, shared, status, store};
use cluster::stage::Stage;
use cluster::{InProcess, delete, sh};
use k8s_openapi::api::core::v1::Namespace;
use kube::api::{Api, DeleteParams, Patch, PatchParams};
use ratchet::api::Request as _;
use ratchet::api::{DataLoad, DataOperation, OperationJournal};
use ratchet::controller::Config;
use ratchet_state_machine::effect::JobState;
use ratchet_state_machine::lifecycle::step::Shared;
use ratchet_state_machine::machine::Phase;
use serde_json::{Value, json};
use std::process::Command;

/// `ratchet history` or `ratchet replay`, as an admin runs it.
fn ratchet(stage: &Stage, args: &[&str]) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ratchet"));
    command.args(args).args(["-n", &stage.ns.name]).env("KUBECONFIG", stage.bench.kubeconfig("admin"));
    sh(&mut command)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_history_outlives_the_object_that_its_time_to_live_ended() {
    let Some(stage) = Stage::new("ttl").await else { return };
    let controller = stage.controller().await;
    let op = stage.load("short", "/data", json!({"ttlAfterFinishedSeconds": 2})).await;
    stage.gone("short").await;
    let steps = stage.replayed(op.uid(), None, None).await;
    let end = &steps.last().unwrap().after;
    assert_eq!(end.state.phase(), Phase::Succeeded);

    let history = ratchet(&stage, &["history", "short"]);
    assert_eq!(history.lines().count(), steps.len(), "{history}");
    for word in ["Created", "HoldGranted", "LoadSubmitted", "Verified"] {
        assert!(history.contains(word), "{history}");
    }
    let replay = ratchet(&stage, &["replay", "short"]);
    assert!(replay.contains("sound:") && replay.contains("confirmed by the lock"), "{replay}");
    let json: Value = serde_json::from_str(&ratchet(&stage, &["replay", "short", "-o", "json"])).unwrap();
    assert_eq!(json.as_array().unwrap().len(), history.lines().count());

    // Two runs of one name are told apart by their uid.
    let again = stage.load("short", "/data", json!({"ttlAfterFinishedSeconds": 0})).await;
    stage.gone("short").await;
    let mut both = Command::new(env!("CARGO_BIN_EXE_ratchet"));
    both.args(["history", "short", "-n", &stage.ns.name]).env("KUBECONFIG", stage.bench.kubeconfig("admin"));
    let said = both.output().unwrap();
    let said = String::from_utf8_lossy(&said.stderr).into_owned();
    assert!(said.contains("--uid") && said.contains(op.uid()) && said.contains(again.uid()), "{said}");
    assert_eq!(ratchet(&stage, &["history", "short", "--uid", op.uid()]), history);
    controller.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn row_45_deleting_a_running_operation_stops_its_job_and_frees_its_lock() {
    let Some(stage) = Stage::new("delete").await else { return };
    stage.engine.world().job_takes = u32::MAX;
    let controller = stage.controller().await;
    let op = stage.load("running", "/data", json!({})).await;
    stage.at_work("running").await;
    stage.load("queued", "/data", json!({})).await;
    stage.waits("queued", "WaitingForLock").await;
    delete(&stage.admin, &stage.ns.name, "queued").await;
    stage.gone("queued").await;
    assert_eq!(
        stage.engine.path("/data").job,
        Some(JobState::Running),
        "the queued one is nobody's business"
    );

    delete(&stage.admin, &stage.ns.name, "running").await;
    stage.gone("running").await;
    assert_eq!(stage.engine.path("/data").job, Some(JobState::Stopped));
    assert_eq!(stage.engine.path("/data").submits, 1);
    assert!(stage.holders().await.is_empty());
    let steps = stage.replayed(op.uid(), None, None).await;
    assert_eq!(steps.last().unwrap().after.state.phase(), Phase::Cancelled);
    let asked = steps.iter().find(|s| s.entry.event == "CancelRequested").unwrap();
    assert_eq!(asked.body.data["deleted"], json!(true));

    // An object that nobody has begun goes at once, whoever put the finalizer there.
    stage.load("over", "/other", json!({"control": {"cancel": true}})).await;
    stage.ends("over", Phase::Cancelled).await;
    delete(&stage.admin, &stage.ns.name, "over").await;
    stage.gone("over").await;
    controller.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn deleting_a_dataload_stops_its_run() {
    let Some(stage) = Stage::new("delete-dl").await else { return };
    stage.engine.world().job_takes = u32::MAX;
    let controller = stage.controller().await;
    let load = cluster::load(&stage.ns.name, "warm", "cache", &["/data"]);
    let load = cluster::create(&stage.admin, &stage.ns.name, &load).await;
    stage.at_work(&load.operation_name()).await;
    let loads: Api<DataLoad> = Api::namespaced(stage.admin.clone(), &stage.ns.name);
    loads.delete("warm", &DeleteParams::background()).await.unwrap();
    stage.gone(&load.operation_name()).await;
    assert_eq!(stage.engine.path("/data").job, Some(JobState::Stopped));
    controller.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn row_29_the_hold_of_an_operation_that_was_torn_away_by_hand_is_freed() {
    let Some(stage) = Stage::new("torn").await else { return };
    stage.engine.world().job_takes = u32::MAX;
    let controller = stage.controller().await;
    stage.load("torn", "/data", json!({})).await;
    stage.at_work("torn").await;
    let before = stage.lock().await.unwrap().spec.lock.epoch;
    let api: Api<DataOperation> = Api::namespaced(stage.admin.clone(), &stage.ns.name);
    // Down first, so that it does not stop the job before the hand comes.
    controller.crash();
    let bare = Patch::Merge(json!({"metadata": {"finalizers": null}}));
    api.patch("torn", &PatchParams::default(), &bare).await.unwrap();
    delete(&stage.admin, &stage.ns.name, "torn").await;
    stage.gone("torn").await;
    let controller = stage.controller().await;
    stage.load("next", "/data", json!({})).await;
    stage.waits("next", "ForeignJob").await;
    let lock = stage.lock().await.unwrap().spec.lock;
    assert_eq!(stage.holders().await, ["next"]);
    assert!(lock.epoch > before);
    stage.engine.world().paths.get_mut("/data").unwrap().looks_left = 0;
    stage.engine.world().job_takes = 1;
    stage.ends("next", Phase::Succeeded).await;
    controller.stop().await;
}

/// The message of the CacheCluster's condition UnfinishedOperation.
async fn unfinished(stage: &Stage) -> String {
    let conditions = stage.cluster("cache").await.status.map(|s| s.conditions).unwrap_or_default();
    let found = conditions.into_iter().find(|c| c.type_ == "UnfinishedOperation" && c.status == "True");
    found.map(|c| c.message).unwrap_or_default()
}

async fn impatient(stage: &Stage) -> InProcess {
    stage.controller_with(Config { cleanup_bound_ms: 3_000, ..Stage::config() }).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deletion_does_not_wait_for_ever_for_an_engine_that_is_gone() {
    let Some(stage) = Stage::new("let-go").await else { return };
    stage.engine.world().job_takes = u32::MAX;
    let controller = impatient(&stage).await;
    stage.load("running", "/data", json!({})).await;
    stage.at_work("running").await;
    stage.engine.world().unreachable = true;
    delete(&stage.admin, &stage.ns.name, "running").await;
    stage.gone("running").await;
    stage.eventually("the cluster says so", async || unfinished(&stage).await.contains("running")).await;
    // Its hold does not outlive it: once the engine is back, somebody else works on the path. What it left running
    // is a foreign job now.
    stage.engine.world().unreachable = false;
    stage.load("next", "/data", json!({})).await;
    stage.waits("next", "ForeignJob").await;
    stage.engine.world().paths.get_mut("/data").unwrap().looks_left = 0;
    stage.engine.world().job_takes = 1;
    stage.ends("next", Phase::Succeeded).await;
    assert_eq!(stage.holders().await, Vec::<String>::new());
    controller.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn row_49_a_deleted_namespace_goes_although_operations_run_in_it() {
    let Some(stage) = Stage::new("terminating").await else { return };
    stage.engine.world().job_takes = u32::MAX;
    let controller = impatient(&stage).await;
    stage.load("done", "/done", json!({"control": {"cancel": true}})).await;
    stage.ends("done", Phase::Cancelled).await;
    stage.load("running", "/data", json!({})).await;
    stage.at_work("running").await;
    stage.load("queued", "/data", json!({})).await;
    stage.waits("queued", "WaitingForLock").await;
    let namespaces: Api<Namespace> = Api::all(stage.admin.clone());
    namespaces.delete(&stage.ns.name, &DeleteParams::default()).await.unwrap();
    let gone = async || namespaces.get_opt(&stage.ns.name).await.is_ok_and(|n| n.is_none());
    stage.eventually("the namespace is gone", gone).await;
    // The CacheCluster may have gone first; how to reach its engine is remembered for as long as that is needed.
    assert_eq!(stage.engine.path("/data").job, Some(JobState::Stopped));
    let journals: Api<OperationJournal> = Api::namespaced(stage.admin.clone(), &stage.ns.name);
    assert!(journals.list(&kube::api::ListParams::default()).await.unwrap().items.is_empty());
    controller.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn metadata_is_free_whatever_the_status_also_while_the_object_is_deleted() {
    let Some(stage) = Stage::empty("delete-meta").await else { return };
    let controller = stage.bench.client("controller").await;
    let op = stage.load("op", "/data", json!({})).await;
    let now = birth(&op);
    store(&controller, &op, &now).await;
    let api: Api<DataOperation> = Api::namespaced(stage.admin.clone(), &stage.ns.name);
    let write = async |what: &str, metadata: Value| {
        let patch = Patch::Merge(json!({"metadata": metadata}));
        assert_accepted(what, api.patch("op", &PatchParams::default(), &patch).await);
    };
    write("a label", json!({"labels": {"a": "b"}})).await;
    write("an annotation", json!({"annotations": {"a": "b"}})).await;
    write("a finalizer", json!({"finalizers": ["ratchet.dev/operation", "example.com/mine"]})).await;
    api.delete("op", &DeleteParams::background()).await.unwrap();
    write("a label while deleting", json!({"labels": {"a": "c"}})).await;
    let cancel =
        cluster::edit(&stage.admin, &stage.ns.name, "op", json!({"control": {"cancel": true}})).await;
    assert_accepted("a cancel while deleting", cancel);
    let next = status(&shared(&now, Shared::CancelRequested { deleted: true }));
    assert_accepted("a transition while deleting", put_status(&controller, &op, &next, false).await);
    write("one finalizer off", json!({"finalizers": ["ratchet.dev/operation"]})).await;
    write("the last finalizer off", json!({"finalizers": null})).await;
    stage.gone("op").await;
}
