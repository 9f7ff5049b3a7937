//! Is a cache of others found through the object that it was declared by, while that is there and as it moves?

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that cannot go on fails")]

mod cluster;

use cluster::stage::Stage;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams};
use ratchet::api::CacheCluster;
use ratchet::api::cluster::CacheClusterStatus;
use serde_json::json;

/// The kind of Fluid, as little of it as there has to be.
fn kind() -> serde_json::Value {
    let schema = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
    json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "alluxioruntimes.data.fluid.io"},
        "spec": {"group": "data.fluid.io", "scope": "Namespaced",
            "names": {"kind": "AlluxioRuntime", "plural": "alluxioruntimes", "singular": "alluxioruntime"},
            "versions": [{"name": "v1alpha1", "served": true, "storage": true, "schema": {"openAPIV3Schema": schema}}]}})
}

fn clusters(stage: &Stage) -> Api<CacheCluster> {
    Api::namespaced(stage.admin.clone(), &stage.ns.name)
}

async fn says(stage: &Stage, phase: &str, reason: &str) -> CacheClusterStatus {
    let seen = async || clusters(stage).get("c").await.unwrap().status.unwrap_or_default();
    let is = |s: &CacheClusterStatus| {
        s.phase == phase && s.conditions.iter().any(|c| c.type_ == "Ready" && c.reason == reason)
    };
    stage.eventually(&format!("{phase} {reason}"), async || is(&seen().await)).await;
    seen().await
}

async fn master(stage: &Stage, port: i32, ip: &str) {
    let pods: Api<Pod> = Api::namespaced(stage.admin.clone(), &stage.ns.name);
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "ds-master-0"}, "spec": {
        "nodeSelector": {"ratchet.dev/test": "nowhere"}, "automountServiceAccountToken": false,
        "containers": [{"name": "alluxio-master", "image": "none", "ports": [
            {"name": "web", "containerPort": port + 1}, {"name": "rpc", "containerPort": port}]}]}});
    let pod: Pod = serde_json::from_value(pod).unwrap();
    let made = async || pods.create(&PostParams::default(), &pod).await.is_ok();
    stage.eventually("the namespace takes pods", made).await;
    let status = Patch::Strategic(json!({"status": {"podIP": ip, "podIPs": [{"ip": ip}]}}));
    pods.patch_status("ds-master-0", &PatchParams::default(), &status).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fluid_runtime_leads_to_its_masters_wherever_they_are() {
    let Some(stage) = Stage::empty("reference").await else { return };
    let running = stage.controller().await;
    let spec = json!({"attached": {"reference": {"kind": "AlluxioRuntime", "name": "ds"}}});
    let object = json!({"apiVersion": "ratchet.dev/v1alpha1", "kind": "CacheCluster", "metadata": {"name": "c"}, "spec": spec});
    let object: CacheCluster = serde_json::from_value(object).unwrap();
    clusters(&stage).create(&PostParams::default(), &object).await.unwrap();
    says(&stage, "Pending", "OwnerKindNotInstalled").await;

    stage.bench.apply(&kind());
    says(&stage, "Pending", "OwnerNotFound").await;
    stage.bench.apply(&json!({"apiVersion": "data.fluid.io/v1alpha1", "kind": "AlluxioRuntime",
        "metadata": {"name": "ds", "namespace": stage.ns.name}, "spec": {"replicas": 2}}));
    says(&stage, "Pending", "NoMaster").await;
    // Fluid draws ports at random.
    master(&stage, 24_817, "10.0.0.1").await;
    let status = says(&stage, "Ready", "Ready").await;
    assert_eq!(status.endpoints, ["10.0.0.1:24817"]);
    let not: Vec<&str> = status.capabilities.iter().filter(|c| !c.allowed).map(|c| c.name.as_str()).collect();
    assert_eq!(not, ["ReplacePods", "Configure"]);

    let pods: Api<Pod> = Api::namespaced(stage.admin.clone(), &stage.ns.name);
    pods.delete("ds-master-0", &DeleteParams::default().grace_period(0)).await.unwrap();
    says(&stage, "Degraded", "NoMaster").await;
    master(&stage, 20_001, "10.0.0.2").await;
    assert_eq!(says(&stage, "Ready", "Ready").await.endpoints, ["10.0.0.2:20001"]);
    stage.bench.kubectl(&["delete", "crd", "alluxioruntimes.data.fluid.io"], &[]);
    says(&stage, "Degraded", "OwnerKindNotInstalled").await;
    running.stop().await;
}
