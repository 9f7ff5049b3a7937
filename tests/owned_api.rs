//! Are the workers of a cache that somebody else runs made more and fewer through the spec of the object that it was declared
//! by, with nothing lost, once, and whenever the controller dies? The API server is real, and so are its own controllers; the
//! test does what the owner's does, says that pods are ready, and the engine says what the test wants.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that cannot go on fails")]

mod cluster;

use cluster::controllers::InProcess;
use cluster::faults::Faults;
use cluster::managed::{Kubelet, ip};
use cluster::stage::Stage;
use futures::StreamExt as _;
use k8s_openapi::api::apps::v1::StatefulSet;
use kube::api::{Api, Patch, PatchParams, PostParams};
use kube::core::{ApiResource, DynamicObject, GroupVersionKind};
use ratchet::api::{CacheCluster, DataOperation};
use ratchet_state_machine::machine::Phase;
use serde_json::{Value, json};

fn clusters(stage: &Stage) -> Api<CacheCluster> {
    Api::namespaced(stage.admin.clone(), &stage.ns.name)
}

/// The owners of the caches. The kind is one of the test's own name of a real one's group.
fn owners(stage: &Stage) -> Api<DynamicObject> {
    let kind = GroupVersionKind::gvk("k8s-operator.alluxio.com", "v1", "AlluxioCluster");
    Api::namespaced_with(stage.admin.clone(), &stage.ns.name, &ApiResource::from_gvk(&kind))
}

/// What the owner's controller does: as many workers as the spec says. Ends when it is dropped.
struct OwnersController(tokio::task::JoinHandle<()>);

impl OwnersController {
    fn start(stage: &Stage) -> Self {
        let (owners, sets) =
            (owners(stage), Api::<StatefulSet>::namespaced(stage.admin.clone(), &stage.ns.name));
        Self(tokio::spawn(async move {
            loop {
                if let Ok(owner) = owners.get("ds").await {
                    let count = owner.data["spec"]["worker"]["count"].clone();
                    let patch = Patch::Merge(json!({"spec": {"replicas": count}}));
                    let _ = sets.patch("ds-worker", &PatchParams::default(), &patch).await;
                }
                tokio::time::sleep(std::time::Duration::from_millis(100)).await;
            }
        }))
    }
}

impl Drop for OwnersController {
    fn drop(&mut self) {
        self.0.abort();
    }
}

fn set(name: &str, replicas: usize) -> StatefulSet {
    let labels = json!({"app": name});
    let set = json!({"metadata": {"name": name}, "spec": {"replicas": replicas, "serviceName": name,
        "podManagementPolicy": "Parallel", "selector": {"matchLabels": labels},
        "template": {"metadata": {"labels": labels}, "spec": {
            "nodeSelector": {"ratchet.dev/test": "nowhere"}, "automountServiceAccountToken": false,
            "containers": [{"name": "c", "image": "none", "ports": [{"name": "rpc", "containerPort": 19998}]}]}}}});
    serde_json::from_value(set).unwrap()
}

/// Whoever makes the kind.
static KIND: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

/// A cache of so many workers, which register by their names or by their addresses, and its CacheCluster, which refers to its
/// owner.
async fn declare(stage: &Stage, workers: usize, by_address: bool) {
    let schema = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
    // Two that make it at once would be in each other's way.
    let one_at_a_time = KIND.lock().await;
    stage.bench.apply(&json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "alluxioclusters.k8s-operator.alluxio.com"},
        "spec": {"group": "k8s-operator.alluxio.com", "scope": "Namespaced",
            "names": {"kind": "AlluxioCluster", "plural": "alluxioclusters", "singular": "alluxiocluster"},
            "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": schema}}]}}));
    drop(one_at_a_time);
    let host = |i: usize| match by_address {
        true => format!("{}:29999", ip(&format!("ds-worker-{i}"))),
        false => format!("ds-worker-{i}.ds-worker.{}.svc:29999", stage.ns.name),
    };
    stage.engine.world().workers = (0..5).map(host).collect();
    let sets: Api<StatefulSet> = Api::namespaced(stage.admin.clone(), &stage.ns.name);
    for (name, replicas) in [("ds-master", 1), ("ds-worker", workers)] {
        let made = async || sets.create(&PostParams::default(), &set(name, replicas)).await.is_ok();
        stage.eventually("the namespace takes StatefulSets", made).await;
    }
    let quick = json!({"alluxio.user.worker.list.refresh.interval": "1ms"});
    let owner = json!({"apiVersion": "k8s-operator.alluxio.com/v1", "kind": "AlluxioCluster",
        "metadata": {"name": "ds", "namespace": stage.ns.name},
        "spec": {"worker": {"count": workers}, "properties": quick}});
    let made = async || {
        owners(stage)
            .create(&PostParams::default(), &serde_json::from_value(owner.clone()).unwrap())
            .await
            .is_ok()
    };
    stage.eventually("the kind is served", made).await;
    let spec = json!({"attached": {"reference": {"kind": "AlluxioCluster", "name": "ds"}}});
    let object = json!({"apiVersion": "ratchet.dev/v1alpha1", "kind": "CacheCluster", "metadata": {"name": "c"}, "spec": spec});
    clusters(stage).create(&PostParams::default(), &serde_json::from_value(object).unwrap()).await.unwrap();
}

async fn ready(stage: &Stage) {
    let is = async || clusters(stage).get("c").await.unwrap().status.is_some_and(|s| s.phase == "Ready");
    stage.eventually("Ready", is).await;
}

async fn ask(stage: &Stage, name: &str, arm: Value) {
    let op = cluster::operation(&stage.ns.name, name, "c", arm, json!({}));
    Api::<DataOperation>::namespaced(stage.admin.clone(), &stage.ns.name)
        .create(&PostParams::default(), &op)
        .await
        .unwrap();
}

/// How many workers the owner's spec asks for, and how often an operation has written it.
async fn asked(stage: &Stage) -> (i64, String) {
    let owner = owners(stage).get("ds").await.unwrap();
    let writes = owner.metadata.annotations.unwrap_or_default().get("ratchet.dev/writes").cloned();
    (owner.data["spec"]["worker"]["count"].as_i64().unwrap(), writes.unwrap_or_default())
}

/// A controller dies at its k-th write while one of three workers leaves; another one finishes. Gives back how many writes the
/// first one sent.
async fn dies(k: usize) -> Option<usize> {
    let stage = Stage::empty("owned-crash").await?;
    let (_kubelet, _owner) = (Kubelet::start(&stage), OwnersController::start(&stage));
    declare(&stage, 3, false).await;
    let before = stage.controller().await;
    ready(&stage).await;
    before.stop().await;
    stage.engine.world().unpersisted = 2;
    stage.engine.world().written_meanwhile = 1;
    let faults = Faults::dying_at(k);
    let client = faults.client(&stage.bench).await;
    let first = InProcess::with_client(client, &stage.ns.name, stage.engine.clone(), Stage::config());
    ask(&stage, "fewer", json!({"scaleIn": {"workers": 2}})).await;
    let done = async || stage.get("fewer").await.phase().is_some_and(Phase::terminal);
    stage.eventually("it dies or is done", async || faults.writes() > k || done().await).await;
    let written = faults.writes();
    first.crash();
    let second = stage.controller().await;
    stage.ends("fewer", Phase::Succeeded).await;
    assert_eq!(asked(&stage).await, (2, "1".into()), "k = {k}: written once");
    let left = |w: &cluster::fake::World| (w.unpersisted, w.stranded);
    assert_eq!(left(&stage.engine.world()), (0, 0), "k = {k}");
    second.stop().await;
    Some(written)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_leaves_through_its_owners_spec_once_whenever_the_controller_dies() {
    let Some(writes) = dies(usize::MAX).await else { return };
    assert!((12..40).contains(&writes), "{writes} writes for a worker less");
    let step = if std::env::var_os("RATCHET_EXHAUSTIVE").is_some() { 1 } else { 3 };
    let runs: Vec<usize> = (1..=writes).step_by(step).collect();
    let played = futures::stream::iter(runs.iter().map(|k| dies(*k))).buffer_unordered(6).count().await;
    assert_eq!(played, runs.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_last_come_and_go_and_an_owner_that_was_edited_meanwhile_is_not_overwritten() {
    let Some(stage) = Stage::empty("owned").await else { return };
    let (_kubelet, _owner) = (Kubelet::start(&stage), OwnersController::start(&stage));
    declare(&stage, 2, true).await;
    let running = stage.controller().await;
    ready(&stage).await;
    let status = clusters(&stage).get("c").await.unwrap().status.unwrap();
    let may = |name: &str| status.capabilities.iter().any(|c| c.name == name && c.allowed);
    assert!(may("AddWorkers") && may("RemoveWorkers") && !may("ReplacePods"));

    for (name, arm, why) in [
        ("first", json!({"scaleIn": {"numbers": [0]}}), "removes its last workers only"),
        ("none", json!({"scaleIn": {"numbers": [0, 1]}}), "no worker would be left"),
        ("aside", json!({"decommission": {"numbers": [1]}}), "keeps no note of workers that are out of use"),
    ] {
        ask(&stage, name, arm).await;
        stage.ends(name, Phase::Failed).await;
        let told = serde_json::to_string(&stage.get(name).await.status).unwrap();
        assert!(told.contains(why), "{told}");
    }
    assert_eq!(asked(&stage).await, (2, String::new()), "nothing was written");

    ask(&stage, "more", json!({"scaleOut": {"workers": 4}})).await;
    stage.ends("more", Phase::Succeeded).await;
    assert_eq!(asked(&stage).await, (4, "1".into()));

    // While it drains somebody edits the owner: what was decided before is not written.
    stage.engine.world().busy = 1;
    ask(&stage, "fewer", json!({"scaleIn": {"workers": 3}})).await;
    stage.waits("fewer", "StillUsed").await;
    let edit = Patch::Merge(json!({"spec": {"image": "another"}}));
    owners(&stage).patch("ds", &PatchParams::default(), &edit).await.unwrap();
    stage.engine.world().busy = 0;
    stage.ends("fewer", Phase::Succeeded).await;
    assert_eq!(asked(&stage).await.0, 3);
    // Its address is one that another worker may have tomorrow.
    let out: Vec<String> = stage.engine.world().out.values().cloned().collect();
    assert_eq!(out, ["Decommissioned"], "whoever comes there is let in");
    assert_eq!(owners(&stage).get("ds").await.unwrap().data["spec"]["image"], "another");
    running.stop().await;
}
