//! Does a load survive what happens to Alluxio's servers: masters that die, hang, forget or change places, workers
//! that leave?

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that cannot go on fails")]

mod cluster;

use cluster::alluxio::{Alluxio, CACHE, Stage, Tree, assert_failed, assert_succeeded, why};
use cluster::{Replica, delete, edit, wait_for};
use kube::Api;
use kube::api::{Patch, PatchParams};
use ratchet::api::CacheCluster;
use ratchet::engine::alluxio::client::{LoadState, SyncId, SyncState, WorkerState};
use ratchet_state_machine::machine::Phase;
use serde_json::json;
use std::process::{Command, Stdio};
use std::time::Duration;

/// The Alluxio of these tests. One of its own, because a master that restarts takes up every job that it ever finished
/// once more (2.9.6: inferred from submits that were refused then), and with a hundred of them it takes no other for a while.
const VICTIM: &str = "e2e-outages";

/// Waits until something is true of the engine.
async fn until<F: Future<Output = bool>>(what: &str, mut holds: impl FnMut() -> F) {
    let poll = async {
        while !holds().await {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(cluster::LIMIT, poll).await.unwrap_or_else(|_| panic!("not: {what}"));
}

/// Waits until this many workers are live.
async fn until_live(stage: &Stage, count: usize) {
    let engine = &stage.engine;
    until("live workers", || async move {
        engine
            .workers()
            .await
            .is_ok_and(|all| all.iter().filter(|w| w.state == WorkerState::Active).count() == count)
    })
    .await;
}

fn step_is(op: &ratchet::api::DataOperation, step: &str) -> bool {
    op.status.as_ref().is_some_and(|s| s.step == step)
}

async fn condition(stage: &Stage, kind: &str) -> Option<(String, String)> {
    let clusters: Api<CacheCluster> = Api::namespaced(stage.admin.clone(), &stage.ns.name);
    let status = clusters.get(CACHE).await.expect("readable").status?;
    status.conditions.into_iter().find(|c| c.type_ == kind).map(|c| (c.status, c.reason))
}

fn many(stage: &Stage, stem: &str, files: usize) -> Tree {
    let tree = stage.tree(stem);
    tree.files(files, 100);
    tree
}

#[tokio::test(flavor = "multi_thread")]
async fn a_master_that_crashes_while_it_looks_for_files_costs_time_and_nothing_else() {
    let Some(mut stage) = Stage::named("crash-meta", VICTIM).await else { return };
    let tree = many(&stage, "crash-meta", 4_000);
    let before = tree.fingerprint();
    stage.start(&[]);
    stage.ask("survives", json!({"load": {"paths": [tree.path]}}), json!({"retryPolicy": {}})).await;
    stage.until("survives", |o| step_is(o, "loadingMetadata")).await;
    stage.alluxio.signal_master(0, "-KILL");
    assert_succeeded(&stage.end("survives").await);
    stage.assert_cached(&tree.path, 4_000).await;
    assert_eq!(tree.fingerprint(), before);
    stage.journal("survives");
    stage.assert_free().await;
    stage.drop_cached(&[&tree]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_number_of_a_task_that_a_restarted_master_gave_to_another_is_not_ours() {
    let Some(mut stage) = Stage::named("tasks", VICTIM).await else { return };
    let (tree, other) = (many(&stage, "tasks", 3_000), many(&stage, "other", 1));
    stage.start(&[]);
    stage.ask("misled", json!({"load": {"paths": [tree.path]}}), json!({"retryPolicy": {}})).await;
    let asked = |o: &ratchet::api::DataOperation| {
        step_is(o, "loadingMetadata") && o.status.as_ref().is_some_and(|s| s.seq.0 >= 4)
    };
    stage.until("misled", asked).await;
    stage.controller.take().expect("it runs").kill();
    let op = stage.until("misled", |_| true).await;
    assert!(asked(&op), "the controller was too fast: {:?}", op.status.map(|s| s.step));
    let state = serde_json::to_value(op.status.expect("a status").state).expect("a state");
    let task = state["load"]["loadingMetadata"]["task"].as_i64().expect("a task");

    stage.alluxio.signal_master(0, "-KILL");
    until("the master forgot the task", || async {
        matches!(stage.engine.metadata_sync_progress(SyncId(task)).await, Err(e) if e.category() == "not_found")
    })
    .await;
    // Somebody else's tasks get the same numbers again.
    let mut last = SyncId(-1);
    while last.0 < task {
        last = stage.engine.start_metadata_sync(&other.path).await.expect("a sync");
    }
    until("the other's task ends", || async {
        stage.engine.metadata_sync_progress(SyncId(task)).await.is_ok_and(|p| p.state == SyncState::Succeeded)
    })
    .await;
    stage.start(&[]);
    assert_succeeded(&stage.end("misled").await);
    stage.assert_cached(&tree.path, 3_000).await;
    stage.assert_free().await;
    stage.drop_cached(&[&tree]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_master_whose_pod_is_replaced_during_a_load_goes_on_under_its_new_address() {
    let Some(mut stage) = Stage::named("replaced", VICTIM).await else { return };
    let tree = many(&stage, "replaced", 4_000);
    stage.start(&[]);
    // Each worker finds the new master in its own time. Once, two of the files that a worker was given meanwhile still
    // failed in the fourth attempt, a minute after the master was back.
    let patient = json!({"retryPolicy": {"limit": 10, "maxBackoffSeconds": 20}});
    stage.ask("moves", json!({"load": {"paths": [tree.path]}}), patient).await;
    stage.until_job(&tree.path, |j| j.state == LoadState::Running).await;
    let old = stage.alluxio.masters.clone();
    stage.on_engine(&["delete", "pod", "alluxio-master-0", "--grace-period=0", "--force"]);
    let waits =
        stage.until("moves", |o| why(o).is_some_and(|(reason, _)| reason.starts_with("Engine"))).await;
    assert_eq!(waits.phase(), Some(Phase::Running));
    stage.on_engine(&["wait", "--for=condition=Ready", "pod/alluxio-master-0", "--timeout=90s"]);

    stage.alluxio = Alluxio::find(&stage.bench, &stage.alluxio.name);
    stage.engine = stage.alluxio.client(stage.mode);
    assert_ne!(stage.alluxio.masters, old, "a new pod has a new address");
    let clusters: Api<CacheCluster> = Api::namespaced(stage.admin.clone(), &stage.ns.name);
    let new = Patch::Merge(json!({"spec": {"attached": {"masters": stage.alluxio.masters}}}));
    clusters.patch(CACHE, &PatchParams::default(), &new).await.expect("its new address");
    assert_succeeded(&stage.end("moves").await);
    stage.assert_cached(&tree.path, 4_000).await;
    stage.journal("moves");
    stage.assert_free().await;
    until_live(&stage, 3).await;
    stage.drop_cached(&[&tree]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_master_that_hangs_holds_up_neither_a_delete_nor_the_controller() {
    let Some(mut stage) = Stage::named("hangs", VICTIM).await else { return };
    let (tree, second) = (many(&stage, "hangs", 4_000), many(&stage, "hangs-too", 4_000));
    stage.start(&["--cleanup-seconds", "8", "--engine-timeout-ms", "2000"]);
    stage.load("deleted", &[&tree.path]).await;
    stage.until_job(&tree.path, |j| j.state == LoadState::Running).await;
    stage.load("cancelled", &[&second.path]).await;
    stage.until_job(&second.path, |j| j.state == LoadState::Running).await;
    stage.alluxio.signal_master(0, "-STOP");
    edit(&stage.admin, &stage.ns.name, "cancelled", json!({"control": {"cancel": true}}))
        .await
        .expect("cancelled");
    delete(&stage.admin, &stage.ns.name, "deleted").await;
    let gone = wait_for(&stage.admin, &stage.ns.name, "deleted", |op| op.is_none().then_some(()));
    let gone = futures::FutureExt::catch_unwind(std::panic::AssertUnwindSafe(gone)).await;
    let told = condition(&stage, "UnfinishedOperation").await;
    let waits = stage.until("cancelled", |_| true).await;
    stage.alluxio.signal_master(0, "-CONT");
    assert!(gone.is_ok(), "the deleted operation is let go when its clean-up takes too long");
    assert_eq!(told, Some(("True".into(), "CleanupTimedOut".into())));
    assert_eq!(waits.phase(), Some(Phase::Cancelling), "{:?}", why(&waits));
    assert!(why(&waits).is_some(), "it says what it waits for");

    // The engine answers again: what was asked for happens.
    let op = stage.end("cancelled").await;
    assert_eq!(op.phase(), Some(Phase::Cancelled), "{:#?}", op.status);
    let job = stage.engine.load_progress(&second.path).await.expect("a report");
    assert_ne!(job.state, LoadState::Running, "{job:?}");
    // The hold of the one that was let go does not stand in the way for ever.
    stage.load("next", &[&tree.path]).await;
    assert_succeeded(&stage.end("next").await);
    stage.assert_cached(&tree.path, 4_000).await;
    stage.assert_free().await;
    assert!(stage.controller.as_mut().is_some_and(Replica::alive));
    stage.drop_cached(&[&tree, &second]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_master_that_stands_still_fails_a_load_by_its_stall_deadline_and_not_for_ever() {
    let Some(mut stage) = Stage::named("still", VICTIM).await else { return };
    let tree = many(&stage, "still", 4_000);
    stage.start(&["--engine-timeout-ms", "1000"]);
    stage
        .ask(
            "stalls",
            json!({"load": {"paths": [tree.path]}}),
            json!({"stallDeadlineSeconds": 5, "retryPolicy": {}}),
        )
        .await;
    stage.until_job(&tree.path, |j| j.state == LoadState::Running).await;
    stage.alluxio.signal_master(0, "-STOP");
    stage.until("stalls", |o| step_is(o, "aborting")).await;
    stage.alluxio.signal_master(0, "-CONT");
    let sentence = assert_failed(&stage.end("stalls").await, "Stalled");
    assert!(sentence.contains("5 s"), "{sentence}");
    let job = stage.engine.load_progress(&tree.path).await.expect("a report");
    assert_ne!(job.state, LoadState::Running, "{job:?}");
    stage.journal("stalls");
    stage.assert_free().await;
    stage.drop_cached(&[&tree]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_load_without_a_live_worker_waits_and_goes_on_when_there_is_one() {
    let Some(mut stage) = Stage::named("workers", VICTIM).await else { return };
    let tree = many(&stage, "workers", 10);
    stage.start(&[]);
    stage.on_engine(&["scale", "statefulset", "alluxio-worker", "--replicas=0"]);
    stage.on_engine(&["delete", "pods", "-l", "role=worker", "--grace-period=0", "--force"]);
    until_live(&stage, 0).await;
    stage.load("waits", &[&tree.path]).await;
    let waits = stage.until_waiting("waits", "NoLiveWorkers").await;
    let shown =
        || async { condition(&stage, "Ready").await.is_some_and(|(_, reason)| reason == "NoLiveWorkers") };
    until("the CacheCluster shows it", shown).await;
    stage.on_engine(&["scale", "statefulset", "alluxio-worker", "--replicas=3"]);
    until_live(&stage, 3).await;
    assert_eq!(waits.phase(), Some(Phase::Running));
    assert_succeeded(&stage.end("waits").await);
    stage.assert_cached(&tree.path, 10).await;
    stage.assert_free().await;
    stage.drop_cached(&[&tree]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_was_just_decommissioned_does_not_make_a_load_succeed_without_its_blocks() {
    let Some(mut stage) = Stage::named("leaves", VICTIM).await else { return };
    let tree = many(&stage, "leaves", 300);
    let [pod, address, _, web] = stage.alluxio.workers[0].clone();
    stage.start(&[]);
    // The engine's own command ends only when the worker is idle, half a minute later.
    let mut command = Command::new("bash");
    let target = format!("{address}:{web}");
    let args = [
        "alluxio",
        "exec",
        &stage.alluxio.name,
        "--",
        "fsadmin",
        "decommissionWorker",
        "--addresses",
        &target,
    ];
    let mut leaving =
        command.arg(cluster::script()).args(args).stdout(Stdio::null()).spawn().expect("it starts");
    until_live(&stage, 2).await;
    stage.ask("loads", json!({"load": {"paths": [tree.path]}}), json!({"retryPolicy": {}})).await;
    let op = stage.end("loads").await;
    let sums = stage.sums(&tree.path).await;
    let _ = leaving.kill();
    let _ = leaving.wait();
    // Another pod takes its place.
    stage.on_engine(&["delete", "pod", &pod, "--grace-period=0", "--force"]);
    until_live(&stage, 3).await;
    assert_succeeded(&op);
    assert_eq!((sums.files, sums.fully_cached_files), (300, 300), "{sums:?}");
    stage.journal("loads");
    stage.drop_cached(&[&tree]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn with_three_masters_the_primary_may_die_at_any_step_of_a_load() {
    let Some(mut stage) = Stage::own("masters", &["--masters", "3", "--workers", "2"], "NoSasl").await else {
        return;
    };
    let files = 3_000;
    let trees = [many(&stage, "ha-meta", files), many(&stage, "ha-data", files)];
    let before: Vec<String> = trees.iter().map(Tree::fingerprint).collect();
    stage.start(&[]);
    for (tree, step) in trees.iter().zip(["loadingMetadata", "loadingData"]) {
        let name = format!("failover-{}", step.to_ascii_lowercase());
        // The engine's own job fails while the workers look for the new primary: that costs attempts.
        let patient = json!({"retryPolicy": {"limit": 10, "backoffSeconds": 5, "maxBackoffSeconds": 15}});
        stage.ask(&name, json!({"load": {"paths": [tree.path]}}), patient).await;
        stage.until(&name, |o| step_is(o, step)).await;
        let primary = stage.engine.primary().await.expect("a primary");
        let ordinal = stage.alluxio.masters.iter().position(|m| *m == primary).expect("one of ours");
        stage.alluxio.signal_master(ordinal, "-KILL");
        assert_succeeded(&stage.end(&name).await);
        stage.assert_cached(&tree.path, u64::try_from(files).expect("few")).await;
        assert!(stage.journal(&name).len() < 40, "{}", stage.ratchet("history", &name, &[]));
        // Who leads then is the quorum's business; the one that was killed may be back in time to be elected again.
        let pod = format!("alluxio-master-{ordinal}");
        let restarts = "jsonpath={.status.containerStatuses[0].restartCount}";
        let restarts = stage.on_engine(&["get", "pod", &pod, "-o", restarts]);
        assert_ne!(restarts.trim(), "0", "{pod} was not killed");
    }
    stage.assert_free().await;
    let after: Vec<String> = trees.iter().map(Tree::fingerprint).collect();
    assert_eq!(after, before, "the under-storage was changed");
}
