//! Does a restart lose or repeat anything?

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that cannot go on fails")]

mod cluster;

use cluster::LIMIT;
use cluster::faults::{Fault, Faults};
use cluster::stage::Stage;
use cluster::{InProcess, Replica, create, operation};
use futures::StreamExt as _;
use k8s_openapi::api::coordination::v1::Lease;
use kube::api::Api;
use ratchet::api::DataOperation;
use ratchet::controller::Config;
use ratchet_state_machine::machine::Phase;
use serde_json::json;
use std::collections::{BTreeMap, HashSet};

/// Operations that several replicas race for.
const RACE: usize = 50;

async fn race(stem: &str, replicas: usize) {
    let Some(stage) = Stage::new(stem).await else { return };
    // A takeover waits for as long as a writer may take: nobody is taken over because the machine is slow.
    let config = Config { send_for_ms: 20_000, concurrency: 4, ..Stage::config() };
    let mut controllers = Vec::new();
    for _ in 0..replicas {
        controllers.push(stage.controller_with(config.clone()).await);
    }
    for i in 0..RACE {
        stage.load(&format!("op-{i}"), &format!("/data/{i}"), json!({})).await;
    }
    let mut writers = HashSet::new();
    for i in 0..RACE {
        let op = stage.ends(&format!("op-{i}"), Phase::Succeeded).await;
        let steps = stage.prove(&op).await;
        writers.extend(steps.iter().map(|s| s.body.by.clone()));
        assert_eq!(stage.engine.path(&format!("/data/{i}")).submits, 1, "op-{i}");
    }
    // Each attempt at an effect has a fence of its own, and nobody sends another's.
    let log = stage.engine.world().log.clone();
    let distinct: HashSet<&String> = log.iter().collect();
    assert_eq!(distinct.len(), log.len(), "an intent was sent twice");
    assert_eq!(log.iter().filter(|l| l.starts_with("submitLoad")).count(), RACE, "{log:?}");
    assert!(stage.holders().await.is_empty());
    assert!(writers.len() <= replicas);
    for controller in controllers {
        controller.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn row_25_two_replicas_without_a_lease_do_everything_once() {
    race("race-two", 2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn three_replicas_without_a_lease_do_everything_once() {
    race("race-three", 3).await;
}

/// How the first controller meets its end.
#[derive(Debug, Clone, Copy)]
enum End {
    /// Its k-th write is answered, the next is never sent.
    AfterTheAnswer,
    /// Its k-th write lands; it dies before the answer.
    BeforeTheAnswer,
}

/// A controller dies at its k-th write; another one finishes the load. Gives back how many writes the first one sent.
async fn dies(k: usize, end: End) -> Option<usize> {
    let stage = Stage::new("crash").await?;
    let faults = Faults::new(move |sent| match end {
        _ if !sent.write || sent.writes < k => Fault::None,
        End::BeforeTheAnswer if sent.writes == k => Fault::Silent,
        End::AfterTheAnswer if sent.writes == k => Fault::None,
        End::BeforeTheAnswer | End::AfterTheAnswer => Fault::Dead,
    });
    let client = faults.client(&stage.bench).await;
    let first = InProcess::with_client(client, &stage.ns.name, stage.engine.clone(), Stage::config());
    let arm = json!({"load": {"paths": ["/a", "/b"]}});
    create(&stage.admin, &stage.ns.name, &operation(&stage.ns.name, "load", "cache", arm, json!({}))).await;
    let api: Api<DataOperation> = Api::namespaced(stage.admin.clone(), &stage.ns.name);
    let settled = async || api.get("load").await.unwrap().status.is_some_and(|s| s.settled());
    stage.eventually("it dies or is done", async || faults.writes() > k || settled().await).await;
    let written = faults.writes();
    first.crash();
    let second = stage.controller().await;
    let op = stage.ends("load", Phase::Succeeded).await;
    let log = stage.engine.world().log.clone();
    assert!(log.iter().filter(|l| l.starts_with("submitLoad")).count() <= 3, "k = {k}, {end:?}: {log:?}");
    for path in ["/a", "/b"] {
        let state = stage.engine.path(path);
        assert!((1..=2).contains(&state.submits) && state.stops == 0, "k = {k}, {end:?}: {state:?}");
        assert_eq!(state.cached, cluster::fake::BYTES);
    }
    let distinct: HashSet<&String> = log.iter().collect();
    assert_eq!(distinct.len(), log.len(), "k = {k}, {end:?}: an intent was sent twice: {log:?}");
    assert!(stage.holders().await.is_empty(), "k = {k}, {end:?}");
    let finalizers = op.metadata.finalizers.unwrap_or_default();
    assert_eq!(finalizers, ["ratchet.dev/operation"], "k = {k}, {end:?}");
    second.stop().await;
    Some(written)
}

async fn dies_everywhere(end: End) {
    let Some(writes) = dies(usize::MAX, end).await else { return };
    assert!((14..60).contains(&writes), "{writes} writes for a load of two paths");
    let runs = futures::stream::iter((1..=writes).map(|k| dies(k, end))).buffer_unordered(8);
    assert_eq!(runs.count().await, writes);
}

#[tokio::test(flavor = "multi_thread")]
async fn row_09_a_crash_after_any_write_changes_nothing_about_the_end() {
    dies_everywhere(End::AfterTheAnswer).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn row_02_a_crash_before_the_answer_to_any_write_changes_nothing_about_the_end() {
    dies_everywhere(End::BeforeTheAnswer).await;
}

/// Replicas by the names that they sign entries with.
async fn signatures(stage: &Stage, name: &str) -> Vec<String> {
    let op = stage.get(name).await;
    let steps = stage.prove(&op).await;
    steps.iter().map(|s| s.body.by.0.split('-').next().unwrap_or_default().to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_is_told_to_stop_drains_and_another_goes_on() {
    let Some(stage) = Stage::empty("drain").await else { return };
    let first = Replica::start(&stage.bench, &stage.ns.name, &["--replica", "first"]);
    stage.load("load", "/data", json!({})).await;
    stage.waits("load", "TargetNotFound").await;
    let status = tokio::task::spawn_blocking(|| first.terminate()).await.unwrap();
    assert_eq!(status.code(), Some(0));
    stage.control("load", json!({"cancel": true})).await;
    let second = Replica::start(&stage.bench, &stage.ns.name, &["--replica", "second"]);
    stage.ends("load", Phase::Cancelled).await;
    assert_eq!(signatures(&stage, "load").await, ["first", "second", "second"]);
    drop(second);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_replicas_with_a_lease_one_works_and_the_other_takes_over() {
    let Some(stage) = Stage::empty("lease").await else { return };
    let ns = stage.ns.name.as_str();
    stage.bench.apply(&json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": {"name": "lease", "namespace": ns},
        "rules": [{"apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "verbs": ["get", "create", "patch"]}]}));
    stage.bench.apply(&json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": {"name": "lease", "namespace": ns},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "lease"},
        "subjects": [{"kind": "ServiceAccount", "name": "ratchet", "namespace": "ratchet-system"}]}));
    let start = |name: &str| {
        let args = ["--replica", name, "--lease-namespace", ns, "--lease-seconds", "3"];
        Replica::start(&stage.bench, ns, &args)
    };
    let mut replicas = BTreeMap::from([("a".to_owned(), start("a")), ("b".to_owned(), start("b"))]);
    let leases: Api<Lease> = Api::namespaced(stage.admin.clone(), ns);
    let leader = async || {
        let lease = leases.get_opt("ratchet-controller").await.ok()??;
        let holder = lease.spec?.holder_identity?;
        Some(holder.split('-').next()?.to_owned())
    };
    stage.eventually("somebody leads", async || leader().await.is_some()).await;
    let mut worked = Vec::new();
    for i in 0..3 {
        let name = format!("before-{i}");
        stage.load(&name, "/data", json!({"control": {"cancel": true}})).await;
        stage.ends(&name, Phase::Cancelled).await;
        worked.extend(signatures(&stage, &name).await);
    }
    let first = leader().await.unwrap();
    assert!(worked.iter().all(|w| *w == first), "{first} leads and {worked:?} worked");
    replicas.remove(&first).unwrap().kill();
    stage.load("after", "/data", json!({"control": {"cancel": true}})).await;
    stage.ends("after", Phase::Cancelled).await;
    let second = replicas.keys().next().unwrap().clone();
    assert!(signatures(&stage, "after").await.iter().all(|w| *w == second), "within {LIMIT:?}");
    assert_eq!(leader().await, Some(second));
}
