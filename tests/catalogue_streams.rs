//! Rows of the failure catalogue in which lists and watches go wrong: history is compacted away under a watch, or a kind
//! may not be read. What a cache does not show proves nothing, and one kind's trouble is not another's.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that cannot go on fails")]

mod cluster;

use cluster::LIMIT;
use cluster::faults::{Fault, Faults, Words};
use cluster::stage::Stage;
use cluster::{InProcess, create, load, operation};
use futures::StreamExt as _;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config as KubeConfig};
use ratchet::api::Request as _;
use ratchet::api::{DataOperation, FINALIZER};
use ratchet::cache::{WaitError, WatchOptions};
use ratchet::clock::SystemClock;
use ratchet::controller::{self, Config, Ctx};
use ratchet::engine::{Engine, Registry};
use ratchet_state_machine::ids::WriterId;
use ratchet_state_machine::machine::Phase;
use serde_json::json;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use tokio::time::Instant;

/// Watches end every two seconds, so that trouble with them is met soon.
fn restless(page_size: u32) -> Config {
    let watch = WatchOptions { timeout_s: 2, page_size, ..WatchOptions::default() };
    // Takeovers wait for as long as a writer may take: nobody is taken over because the machine is slow.
    Config { watch, send_for_ms: 20_000, ..Stage::config() }
}

/// Creates operations, many at a time, as a DataLoad makes them: with the finalizer.
async fn many(stage: &Stage, stem: &str, count: usize, more: serde_json::Value) -> Vec<String> {
    let names: Vec<String> = (0..count).map(|i| format!("{stem}-{i}")).collect();
    let one = |name: String| {
        let more = more.clone();
        async move {
            let arm = json!({"load": {"paths": [format!("/{name}")]}});
            let mut op: DataOperation = operation(&stage.ns.name, &name, "cache", arm, more);
            op.metadata.finalizers = Some(vec![FINALIZER.to_owned()]);
            create(&stage.admin, &stage.ns.name, &op).await;
        }
    };
    futures::stream::iter(names.clone().into_iter().map(one)).buffer_unordered(16).count().await;
    names
}

#[tokio::test(flavor = "multi_thread")]
async fn row_16_new_lists_of_hundreds_of_operations_while_some_run_repeat_nothing() {
    let Some(stage) = Stage::new("relist").await else { return };
    let compacted = Arc::new(AtomicBool::new(false));
    let old = Arc::clone(&compacted);
    let faults = Faults::none().on_streams(move |sent| {
        // The history from which a watch goes on is gone: the server itself answers 410.
        let watch = sent.what.starts_with("WATCH");
        if watch && old.load(SeqCst) { Fault::FromLongAgo } else { Fault::None }
    });
    let client = faults.client(&stage.bench).await;
    let idle = many(&stage, "idle", 300, json!({"control": {"suspend": true}})).await;
    stage.engine.world().job_takes = 6;
    let controller = InProcess::with_client(client, &stage.ns.name, stage.engine.clone(), restless(25));
    let mut running = many(&stage, "early", 8, json!({})).await;
    stage.at_work("early-0").await;
    let lists = ["LIST dataoperations", "LIST targetlocks", "LIST cacheclusters"];
    let before = lists.map(|l| faults.streamed(l));
    compacted.store(true, SeqCst);
    running.extend(many(&stage, "late", 8, json!({})).await);
    for name in &running {
        stage.ends(name, Phase::Succeeded).await;
    }
    // Three whole lists, of 13 pages each, and nobody was lost from view.
    stage
        .eventually("it lists again and again", async || {
            faults.streamed(lists[0]) >= before[0] + 39
                && (1..3).all(|i| faults.streamed(lists[i]) > before[i] + 1)
        })
        .await;
    compacted.store(false, SeqCst);
    let paths: Vec<String> = running.iter().map(|n| format!("/{n}")).collect();
    stage.loaded_once(paths.iter().map(String::as_str));
    assert!(stage.holders().await.is_empty());
    assert_eq!(controller.ctx.operations.len(), idle.len() + running.len());
    // After the storm the view follows again, whoever was deleted and whoever is asked to go on.
    cluster::delete(&stage.admin, &stage.ns.name, "idle-7").await;
    stage.gone("idle-7").await;
    stage.control("idle-8", json!({"suspend": false})).await;
    stage.ends("idle-8", Phase::Succeeded).await;
    let all = idle.len() + running.len() - 1;
    stage.eventually("it is gone from the view", async || controller.ctx.operations.len() == all).await;
    controller.stop().await;
}

/// A client of somebody who may read every kind of the namespace, and no locks, which lie outside.
async fn without_locks(stage: &Stage) -> Client {
    let ns = stage.ns.name.as_str();
    let rbac = |kind: &str, more: serde_json::Value| {
        let mut object = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": kind,
            "metadata": {"name": "reader", "namespace": ns}});
        object.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        object
    };
    let rules =
        json!([{"apiGroups": ["ratchet.dev"], "resources": ["*"], "verbs": ["get", "list", "watch"]}]);
    stage.bench.apply(&rbac("Role", json!({"rules": rules})));
    let to = json!({"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "reader"});
    let who = json!([{"kind": "ServiceAccount", "name": "reader", "namespace": ns}]);
    stage.bench.apply(&rbac("RoleBinding", json!({"roleRef": to, "subjects": who})));
    let mut admin = Kubeconfig::read_from(stage.bench.kubeconfig("admin")).unwrap();
    admin.auth_infos[0].auth_info.as_mut().unwrap().impersonate =
        Some(format!("system:serviceaccount:{ns}:reader"));
    let mut config = KubeConfig::from_custom_kubeconfig(admin, &KubeConfigOptions::default()).await.unwrap();
    config.default_retry = false;
    Client::try_from(config).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn row_39_a_kind_that_may_not_be_read_at_the_start_is_named_to_everybody_who_waits() {
    let Some(stage) = Stage::new("forbidden").await else { return };
    stage.load("op", "/data", json!({})).await;
    let engine: Arc<dyn Engine> = stage.engine.clone();
    let registry = Registry::with(move |_| Ok(Arc::clone(&engine)));
    let watch = WatchOptions { namespace: Some(stage.ns.name.clone()), ..WatchOptions::default() };
    let config = Config { watch, ..Stage::config() };
    let writer = WriterId("reader".into());
    let client = without_locks(&stage).await;
    let ctx = Arc::new(Ctx::new(client, config, writer, Arc::new(SystemClock), registry));
    let deadline = Instant::now() + LIMIT;
    let (locks, key) = (Arc::clone(&ctx.locks), ratchet::cache::Key::new("", "some-lock"));
    let waiter = tokio::spawn(async move { locks.wait_for(&key, deadline, |l| l.map(|_| ())).await });
    let run = controller::run(Arc::clone(&ctx), std::future::pending());
    let why = tokio::time::timeout(LIMIT, run).await.unwrap().unwrap_err();
    for told in [why, waiter.await.unwrap().unwrap_err(), ctx.locks.ready(deadline).await.unwrap_err()] {
        let WaitError::Start(why) = told else { panic!("{told:?}") };
        assert!(why.contains("TargetLock") && why.contains("forbidden"), "{why}");
    }
    // What may be read was read, and nothing was begun.
    assert_eq!(ctx.operations.ready(deadline).await, Ok(()));
    assert_eq!((ctx.operations.len(), stage.engine.world().log.len()), (1, 0));
    assert_eq!(stage.get("op").await.status, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn row_39_a_kind_that_may_not_be_read_any_more_does_not_stop_the_others() {
    const FORBIDDEN: Words =
        Words::new(403, "Forbidden", "User \"ratchet\" cannot watch this resource at the cluster scope");
    let Some(stage) = Stage::new("revoked").await else { return };
    let revoked = Arc::new(AtomicBool::new(false));
    let closed = Arc::clone(&revoked);
    let kinds = ["dataloads", "cacheclusters", "targetlocks"];
    let faults = Faults::none().on_streams(move |sent| {
        let kind = sent.what.split(' ').nth(1).unwrap_or_default();
        if closed.load(SeqCst) && kinds.contains(&kind) { Fault::Says(FORBIDDEN) } else { Fault::None }
    });
    let client = faults.client(&stage.bench).await;
    let controller = InProcess::with_client(client, &stage.ns.name, stage.engine.clone(), restless(100));
    stage.eventually("the cache is known", async || stage.readiness("cache").await == "Ready").await;
    revoked.store(true, SeqCst);
    let before = kinds.map(|k| faults.streamed(&format!("WATCH {k}")));
    let refused = || kinds.iter().zip(before).all(|(k, was)| faults.streamed(&format!("WATCH {k}")) > was);
    stage.eventually("the watches end and are refused", async || refused()).await;
    let warm = create(&stage.admin, &stage.ns.name, &load(&stage.ns.name, "warm", "cache", &["/warm"])).await;
    let seen = faults.streamed("WATCH dataoperations");
    let names = many(&stage, "op", 20, json!({})).await;
    for name in &names {
        stage.ends(name, Phase::Succeeded).await;
    }
    stage
        .eventually("operations are watched on", async || faults.streamed("WATCH dataoperations") > seen + 1)
        .await;
    // Each of the others tries again by itself, at growing pauses.
    for (kind, was) in kinds.iter().zip(before) {
        let tries = faults.streamed(&format!("WATCH {kind}")) - was;
        assert!((1..=12).contains(&tries), "{tries} watches of {kind}");
    }
    assert_eq!(stage.engine.path("/warm").submits, 0, "nobody could know of it");
    revoked.store(false, SeqCst);
    stage.ends(&warm.operation_name(), Phase::Succeeded).await;
    let paths: Vec<String> = names.iter().map(|n| format!("/{n}")).collect();
    stage.loaded_once(paths.iter().map(String::as_str).chain(["/warm"]));
    controller.stop().await;
}
