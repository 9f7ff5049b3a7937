//! Which of the ways in which Alluxio bites can a load meet, and is each of them handled? One test for each; what
//! happens to its servers is in `alluxio_outages.rs`.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that cannot go on fails")]

mod cluster;

use cluster::alluxio::{CACHE, SHARED, Stage, TTL_ROUND, assert_succeeded, intents, submits, why};
use cluster::{cluster as cache, create, delete};
use kube::Api;
use kube::api::{DeleteParams, Patch, PatchParams};
use ratchet::api::{CacheCluster, DataOperation};
use ratchet::engine::alluxio::client::{LoadOptions, LoadState, SyncState};
use ratchet_state_machine::effect::Effect;
use serde_json::json;
use std::time::Duration;

/// Makes the engine know a tree, without Ratchet.
async fn know(stage: &Stage, path: &str) {
    let task = stage.engine.start_metadata_sync(path).await.expect("a sync");
    let done = async {
        while stage.engine.metadata_sync_progress(task).await.expect("its state").state == SyncState::Running
        {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(cluster::LIMIT, done).await.expect("the sync ends");
}

/// Starts a load as somebody else would.
async fn foreign_load(stage: &Stage, path: &str) {
    let submitted = stage.engine.submit_load(path, LoadOptions::default()).await.expect("submitted");
    assert!(submitted.job_id.is_some(), "a job of its own");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_call_of_an_operation_lets_the_engine_delete_what_it_found() {
    let Some(mut stage) = Stage::shared("ttl").await else { return };
    let tree = stage.tree("ttl");
    tree.files(30, 1_000);
    let before = tree.fingerprint();
    stage.start(&[]);
    // Each first meets files that the engine has never seen: by its metadata, by its look at the path, by its free.
    stage.load("loads", &[&format!("{}/part 000", tree.path)]).await;
    stage.load("one", &[&format!("{}/part 000/file-0-ä", tree.path)]).await;
    stage.ask("frees", json!({"free": {"paths": [tree.path]}}), json!({})).await;
    for name in ["loads", "one", "frees"] {
        assert_succeeded(&stage.end(name).await);
    }
    let sums = stage.sums(&tree.path).await;
    assert_eq!((sums.files, sums.ttl_zero_files, sums.ttl_zero_folders), (30, 0, 0), "{sums:?}");
    tokio::time::sleep(TTL_ROUND).await;
    assert_eq!(tree.fingerprint(), before, "the engine deleted files of the user");
}

#[tokio::test(flavor = "multi_thread")]
async fn files_that_came_after_the_first_listing_are_loaded_too() {
    let Some(mut stage) = Stage::shared("new").await else { return };
    let tree = stage.tree("new");
    tree.files(10, 1_000);
    stage.alluxio.cli(&["fs", "ls", "-R", &tree.path]);
    stage.start(&[]);
    tree.file("part 000/late", 1_000).file("later", 2_000_000);
    stage.load("first", &[&tree.path]).await;
    assert_succeeded(&stage.end("first").await);
    stage.assert_cached(&tree.path, 12).await;
    tree.file("part 000/latest", 1_000).file("later", 3_000_000);
    stage.load("second", &[&tree.path]).await;
    assert_succeeded(&stage.end("second").await);
    stage.assert_cached(&tree.path, 13).await;
    assert_eq!(
        stage.sums(&tree.path).await.bytes,
        11 * 1_000 + 1_000 + 3_000_000,
        "the changed file in its new length"
    );
    stage.drop_cached(&[&tree]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_succeeded_without_loading_anything_is_not_believed() {
    let Some(mut stage) = Stage::shared("hollow").await else { return };
    let tree = stage.tree("hollow");
    tree.files(40, 1_000);
    // The folder is known and what is in it is not: the engine says SUCCEEDED, 0 files.
    stage.engine.status(&tree.path).await.expect("the folder");
    foreign_load(&stage, &tree.path).await;
    let hollow = stage.until_job(&tree.path, |j| j.state == LoadState::Succeeded).await;
    assert_eq!(hollow.processed_files, 0, "{hollow:?}");
    stage.start(&[]);
    stage.load("real", &[&tree.path]).await;
    assert_succeeded(&stage.end("real").await);
    stage.assert_cached(&tree.path, 40).await;
    assert_eq!(intents(&stage.journal("real"), submits), 1);
    stage.drop_cached(&[&tree]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_of_somebody_else_is_waited_for_and_not_stopped() {
    let Some(mut stage) = Stage::shared("foreign").await else { return };
    let tree = stage.tree("foreign");
    tree.sparse("one", 200_000_000).sparse("two", 200_000_000);
    know(&stage, &tree.path).await;
    stage.start(&[]);
    stage.ready().await;
    foreign_load(&stage, &tree.path).await;
    stage.load("waits", &[&tree.path]).await;
    let op = stage.until_waiting("waits", "ForeignJob").await;
    assert!(why(&op).is_some_and(|(_, sentence)| sentence.contains(&tree.path)), "{:?}", why(&op));

    // Who gives up while waiting leaves the other's job alone too.
    delete(&stage.admin, &stage.ns.name, "waits").await;
    let operations: Api<DataOperation> = Api::namespaced(stage.admin.clone(), &stage.ns.name);
    while operations.get_opt("waits").await.expect("readable").is_some() {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let theirs = stage.engine.load_progress(&tree.path).await.expect("a report");
    assert_ne!(theirs.state, LoadState::Stopped, "{theirs:?}");

    stage.load("goes-on", &[&tree.path]).await;
    assert_succeeded(&stage.end("goes-on").await);
    stage.assert_cached(&tree.path, 2).await;
    let journal = stage.journal("goes-on");
    assert_eq!(intents(&journal, |e| matches!(e, Effect::StopLoad { .. })), 0);
    assert!(journal.len() < 16, "{} transitions", journal.len());
    stage.assert_free().await;
    stage.drop_cached(&[&tree]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_job_of_somebody_else_is_resumed() {
    let Some(mut stage) = Stage::shared("stopped").await else { return };
    let tree = stage.tree("stopped");
    tree.files(2_000, 100);
    know(&stage, &tree.path).await;
    foreign_load(&stage, &tree.path).await;
    stage.until_job(&tree.path, |j| j.state == LoadState::Running).await;
    assert!(stage.engine.stop_load(&tree.path).await.expect("stopped"), "it was running");
    stage.start(&[]);
    stage.load("resumes", &[&tree.path]).await;
    assert_succeeded(&stage.end("resumes").await);
    stage.assert_cached(&tree.path, 2_000).await;

    // And a job of ours that somebody stops is taken up again.
    stage.drop_cached(&[&tree]).await;
    stage.load("interrupted", &[&tree.path]).await;
    stage.until("interrupted", |o| o.status.as_ref().is_some_and(|s| s.step == "loadingData")).await;
    stage.until_job(&tree.path, |j| j.state == LoadState::Running).await;
    assert!(stage.engine.stop_load(&tree.path).await.expect("stopped"), "it was running");
    assert_succeeded(&stage.end("interrupted").await);
    stage.assert_cached(&tree.path, 2_000).await;
    stage.journal("interrupted");
    stage.drop_cached(&[&tree]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_paused_load_stops_its_job_and_goes_on_where_it_was() {
    let Some(mut stage) = Stage::shared("pause").await else { return };
    let tree = stage.tree("pause");
    tree.files(3_000, 100);
    stage.start(&[]);
    stage.load("pauses", &[&tree.path]).await;
    stage.until_job(&tree.path, |j| j.state == LoadState::Running).await;
    cluster::edit(&stage.admin, &stage.ns.name, "pauses", json!({"control": {"suspend": true}}))
        .await
        .expect("paused");
    stage.until("pauses", |o| o.status.as_ref().is_some_and(|s| s.step == "paused")).await;
    let job = stage.engine.load_progress(&tree.path).await.expect("a report");
    assert_eq!(job.state, LoadState::Stopped, "{job:?}\n{}", stage.ratchet("history", "pauses", &[]));
    cluster::edit(&stage.admin, &stage.ns.name, "pauses", json!({"control": {"suspend": false}}))
        .await
        .expect("resumed");
    assert_succeeded(&stage.end("pauses").await);
    stage.assert_cached(&tree.path, 3_000).await;
    stage.journal("pauses");
    stage.drop_cached(&[&tree]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_engine_whose_cluster_and_holder_both_vanished_can_be_claimed_again() {
    let Some(mut stage) = Stage::shared("orphan").await else { return };
    let tree = stage.tree("orphan");
    tree.files(2_000, 100);
    stage.start(&[]);
    stage.load("lost", &[&tree.path]).await;
    stage.until_job(&tree.path, |j| j.state == LoadState::Running).await;
    stage.controller.take().expect("it runs").kill();
    let ns = stage.ns.name.clone();
    let operations: Api<DataOperation> = Api::namespaced(stage.admin.clone(), &ns);
    delete(&stage.admin, &ns, "lost").await;
    let strip = Patch::Merge(json!({"metadata": {"finalizers": null}}));
    operations.patch("lost", &PatchParams::default(), &strip).await.expect("let go by hand");
    assert_eq!(stage.lock().await.spec.lock.holders.len(), 1, "its hold is still in the lock");
    let clusters: Api<CacheCluster> = Api::namespaced(stage.admin.clone(), &ns);
    clusters.delete(CACHE, &DeleteParams::default()).await.expect("deleted");

    create(&stage.admin, &ns, &cache(&ns, CACHE, &stage.alluxio.addresses(), stage.mode)).await;
    stage.start(&[]);
    stage.load("next", &[&tree.path]).await;
    assert_succeeded(&stage.end("next").await);
    stage.assert_cached(&tree.path, 2_000).await;
    stage.assert_free().await;
    assert_eq!(stage.alluxio.name, SHARED);
    stage.drop_cached(&[&tree]).await;
}
