//! Does a load warm a real Alluxio, and does a free cool it? Each answer is checked by Alluxio itself, and the
//! under-storage by its bytes.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that cannot go on fails")]

mod cluster;

use cluster::alluxio::{
    CACHE, Stage, TTL_ROUND, assert_failed, assert_succeeded, intents, status_size, submits, why,
};
use cluster::{Replica, cluster as cache, create, delete, edit, load, operation, settled, wait_for};
use kube::Api;
use ratchet::api::Request as _;
use ratchet::api::{CacheCluster, DataLoad};
use ratchet::engine::alluxio::client::{LoadProgress, LoadState};
use ratchet_state_machine::machine::Phase;
use serde_json::json;
use std::time::Duration;

#[tokio::test(flavor = "multi_thread")]
async fn a_tree_and_a_large_file_are_loaded_whole_and_the_under_storage_stays_as_it_was() {
    let Some(mut stage) = Stage::shared("warm").await else { return };
    let tree = stage.tree("warm");
    tree.files(1_100, 3_000).file("large", 40_000_000).file("empty", 0);
    let before = tree.fingerprint();
    stage.start(&[]);
    let dl = create(&stage.admin, &stage.ns.name, &load(&stage.ns.name, "warm", CACHE, &[&tree.path])).await;
    let name = dl.operation_name();
    let op = stage.end(&name).await;
    assert_succeeded(&op);

    stage.assert_cached(&tree.path, 1_102).await;
    let stat = stage.alluxio.cli(&["fs", "stat", &format!("{}/large", tree.path)]);
    assert!(stat.contains("inAlluxioPercentage=100"), "{stat}");
    assert!(status_size(&op) < 32 * 1024, "{}", status_size(&op));
    let journal = stage.journal(&name);
    assert_eq!(intents(&journal, submits), 1);
    assert!(journal.len() < 16, "{} transitions", journal.len());
    stage.assert_free().await;

    // What people see.
    let loads: Api<DataLoad> = Api::namespaced(stage.admin.clone(), &stage.ns.name);
    let mirrored = async {
        while loads.get("warm").await.expect("readable").status.is_none_or(|s| s.finished_at.is_none()) {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(cluster::LIMIT, mirrored).await.expect("the DataLoad shows the end");
    for kind in ["dataloads", "dataoperations"] {
        let table = stage.bench.kubectl(&["-n", &stage.ns.name, "get", kind], &[]);
        let mut lines = table.lines();
        let head = lines.next().unwrap_or_default();
        for column in ["PHASE", "STEP", "PROGRESS", "STARTED", "FINISHED"] {
            assert!(head.contains(column), "{kind} shows no {column}: {head}");
        }
        let row = lines.next().unwrap_or_default();
        for value in ["Succeeded", "succeeded", "100%"] {
            assert!(row.contains(value), "{kind} shows no {value}: {row}");
        }
    }
    let history = stage.ratchet("history", &name, &[]);
    assert!(history.contains("LoadSubmitted by ") && history.contains("43300000 bytes"), "{history}");

    // The engine looks for files whose time to live is over; none of ours may be among them.
    tokio::time::sleep(TTL_ROUND).await;
    assert_eq!(tree.fingerprint(), before, "the under-storage was changed");
    stage.assert_cached(&tree.path, 1_102).await;

    // The same again has nothing to do, and says so by success and not by a second copy.
    stage.load("again", &[&tree.path]).await;
    assert_succeeded(&stage.end("again").await);
    stage.assert_cached(&tree.path, 1_102).await;
    stage.drop_cached(&[&tree]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn several_paths_are_loaded_in_one_operation_files_and_folders_alike() {
    let Some(mut stage) = Stage::shared("paths").await else { return };
    let trees: Vec<_> = (0..5).map(|i| stage.tree(&format!("p{i}"))).collect();
    for tree in &trees {
        tree.files(12, 2_000);
    }
    let single = stage.tree("single");
    single.file("one", 3_000_000).file("not asked for", 10);
    stage.start(&[]);
    let one = format!("{}/one", single.path);
    let mut paths: Vec<&str> = trees.iter().map(|t| t.path.as_str()).collect();
    paths.push(&one);
    stage.load("many", &paths).await;
    let op = stage.end("many").await;
    assert_succeeded(&op);
    for tree in &trees {
        stage.assert_cached(&tree.path, 12).await;
    }
    stage.assert_cached(&one, 1).await;
    let journal = stage.journal("many");
    assert_eq!(intents(&journal, submits), paths.len());
    assert!(status_size(&op) < 32 * 1024);
    stage.assert_free().await;
    stage.drop_cached(&trees.iter().collect::<Vec<_>>()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancel_half_way_stops_the_job_in_the_engine() {
    let Some(mut stage) = Stage::shared("cancel").await else { return };
    stage.start(&[]);
    // Half-way is a moment that the engine may be through with before anybody looks: then the next load is longer.
    let mut found = None;
    for (name, files) in [("slow", 4_000), ("slower", 12_000), ("slowest", 36_000)] {
        let tree = stage.tree(name);
        tree.files(files, 100);
        stage.load(name, &[&tree.path]).await;
        let begun = |j: &LoadProgress| j.processed_files > 0 || j.state != LoadState::Running;
        let seen = stage.until_job(&tree.path, begun).await;
        edit(&stage.admin, &stage.ns.name, name, json!({"control": {"cancel": true}}))
            .await
            .expect("cancelled");
        let op = stage.end(name).await;
        if op.phase() == Some(Phase::Cancelled) {
            found = Some((name, tree));
            break;
        }
        assert_succeeded(&op);
        eprintln!("{files} files were loaded before anybody could stop it: {seen:?}");
        stage.drop_cached(&[&tree]).await;
    }
    let (name, tree) = found.expect("one of the loads is stopped half-way");

    let stopped = stage.engine.load_progress(&tree.path).await.expect("a report");
    assert_eq!(stopped.state, LoadState::Stopped, "{stopped:?}");
    let sums = stage.sums(&tree.path).await;
    assert!(sums.fully_cached_files < sums.files, "the cancel came too late to prove anything: {sums:?}");
    tokio::time::sleep(Duration::from_secs(3)).await;
    let later = stage.engine.load_progress(&tree.path).await.expect("a report");
    assert_eq!(later.state, LoadState::Stopped);
    let settled = stage.sums(&tree.path).await.fully_cached_files;
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(stage.sums(&tree.path).await.fully_cached_files, settled, "something still loads");
    stage.journal(name);
    stage.assert_free().await;
    stage.drop_cached(&[&tree]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_path_that_does_not_exist_fails_with_a_sentence() {
    let Some(mut stage) = Stage::shared("missing").await else { return };
    stage.start(&[]);
    stage.load("typo", &["/no/such/folder"]).await;
    let sentence = assert_failed(&stage.end("typo").await, "PathNotFound");
    assert!(sentence.contains("/no/such/folder"), "{sentence}");
    stage.ask("typo-free", json!({"free": {"paths": ["/no/such/folder"]}}), json!({})).await;
    let sentence = assert_failed(&stage.end("typo-free").await, "PathNotFound");
    assert!(sentence.contains("/no/such/folder"), "{sentence}");
    stage.assert_free().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unreachable_master_is_a_wait_with_a_reason_that_a_delete_ends() {
    let Some(mut stage) = Stage::shared("unreachable").await else { return };
    let ns = stage.ns.name.clone();
    create(&stage.admin, &ns, &cache(&ns, "nobody", &["127.0.0.1:1"], "NoSasl")).await;
    stage.start(&[]);
    create(
        &stage.admin,
        &ns,
        &operation(&ns, "waits", "nobody", json!({"load": {"paths": ["/x"]}}), json!({})),
    )
    .await;
    let op = stage.until("waits", |o| why(o).is_some()).await;
    assert_eq!(op.phase(), Some(Phase::Queued));
    let (reason, sentence) = why(&op).expect("a reason");
    assert_eq!(reason, "TargetUnknown", "{sentence}");

    let clusters: Api<CacheCluster> = Api::namespaced(stage.admin.clone(), &ns);
    let seen = clusters.get("nobody").await.expect("readable").status.expect("a status");
    let ready = seen.conditions.iter().find(|c| c.type_ == "Ready").expect("a condition");
    assert_eq!(
        (ready.status.as_str(), ready.reason.as_str()),
        ("False", "EngineUnreachable"),
        "{}",
        ready.message
    );

    delete(&stage.admin, &ns, "waits").await;
    wait_for(&stage.admin, &ns, "waits", |op| op.is_none().then_some(())).await;
    assert!(stage.controller.as_mut().is_some_and(Replica::alive));
    let log = std::fs::read_to_string(&stage.controller.as_ref().expect("it runs").log).expect("a log");
    assert!(!log.contains("panicked"), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_load_larger_than_the_cache_fails_before_it_evicts_anything() {
    let Some(mut stage) = Stage::shared("large").await else { return };
    let (small, large) = (stage.tree("small"), stage.tree("large"));
    small.files(20, 10_000);
    large.sparse("a", 500_000_000).sparse("b", 500_000_000);
    stage.start(&[]);
    stage.load("small", &[&small.path]).await;
    assert_succeeded(&stage.end("small").await);
    stage.load("large", &[&large.path]).await;
    let sentence = assert_failed(&stage.end("large").await, "ExceedsCapacity");
    assert!(sentence.contains("1000000000"), "{sentence}");
    stage.assert_cached(&small.path, 20).await;
    assert_eq!(stage.sums(&large.path).await.cached_bytes, 0);
    assert_eq!(intents(&stage.journal("large"), submits), 0);
    stage.assert_free().await;
    stage.drop_cached(&[&small]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_free_leaves_nothing_in_the_cache_and_everything_below_it() {
    let Some(mut stage) = Stage::shared("free").await else { return };
    let tree = stage.tree("free");
    tree.files(150, 5_000).file("large", 5_000_000);
    let before = tree.fingerprint();
    stage.start(&[]);
    stage.load("fill", &[&tree.path]).await;
    assert_succeeded(&stage.end("fill").await);
    stage.assert_cached(&tree.path, 151).await;
    stage.ask("free", json!({"free": {"paths": [tree.path]}}), json!({})).await;
    assert_succeeded(&stage.end("free").await);
    let sums = stage.sums(&tree.path).await;
    assert_eq!((sums.files, sums.cached_bytes, sums.fully_cached_files), (151, 0, 0), "{sums:?}");
    assert_eq!(tree.fingerprint(), before, "the under-storage was changed");
    stage.journal("free");

    // What the cache forgot it finds again.
    stage.load("refill", &[&tree.path]).await;
    assert_succeeded(&stage.end("refill").await);
    stage.assert_cached(&tree.path, 151).await;

    // A pinned file is kept by the engine: the free says so instead of pretending.
    stage.alluxio.cli(&["fs", "pin", &format!("{}/large", tree.path)]);
    stage.ask("pinned", json!({"free": {"paths": [tree.path]}}), json!({})).await;
    let pinned = stage.end("pinned").await;
    stage.alluxio.cli(&["fs", "unpin", &format!("{}/large", tree.path)]);
    let sentence = assert_failed(&pinned, "EngineRefused");
    assert!(sentence.contains("pinned"), "{sentence}");
    assert_eq!(tree.fingerprint(), before, "the under-storage was changed");
    stage.assert_free().await;
    stage.drop_cached(&[&tree]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cache_with_simple_authentication_is_loaded_too() {
    let options = ["--workers", "1", "--set", "alluxio.security.authentication.type=SIMPLE"];
    let Some(mut stage) = Stage::own("simple", &options, "Simple").await else { return };
    let tree = stage.tree("simple");
    tree.files(120, 2_000);
    let before = tree.fingerprint();
    stage.start(&[]);
    stage.load("login", &[&tree.path]).await;
    assert_succeeded(&stage.end("login").await);
    stage.assert_cached(&tree.path, 120).await;
    tokio::time::sleep(TTL_ROUND).await;
    assert_eq!(tree.fingerprint(), before);

    // The wrong way to log in is a reason on the CacheCluster, not an endless success.
    let ns = stage.ns.name.clone();
    create(&stage.admin, &ns, &cache(&ns, "wrong", &stage.alluxio.addresses(), "NoSasl")).await;
    let clusters: Api<CacheCluster> = Api::namespaced(stage.admin.clone(), &ns);
    let seen = async {
        loop {
            let status = clusters.get("wrong").await.expect("readable").status.unwrap_or_default();
            if let Some(ready) = status.conditions.into_iter().find(|c| c.type_ == "Ready") {
                return ready;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    let ready = tokio::time::timeout(cluster::LIMIT, seen).await.expect("a condition");
    assert_eq!(
        (ready.status.as_str(), ready.reason.as_str()),
        ("False", "EngineRefused"),
        "{}",
        ready.message
    );
    let _ = settled(&stage.admin, &ns, "login").await;
}
