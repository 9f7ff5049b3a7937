//! A managed cache on a real API server, whose pods are said to be ready by the test and whose engine does what the test
//! says.

use super::POLLS;
use super::controllers::InProcess;
use super::stage::Stage;
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{ConfigMap, Pod, Service};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::{Client, ResourceExt as _};
use ratchet::api::cluster::CacheClusterStatus;
use ratchet::api::{CacheCluster, TargetLock};
use ratchet::controller::Config;
use ratchet_state_machine::mounts::MountView;
use serde_json::{Value, json};
use std::time::Duration;

/// A controller that looks after managed caches.
pub fn config() -> Config {
    Config { managed: true, probe_every: Duration::from_secs(1), ..Stage::config() }
}

/// A small cache, with this laid over it.
pub fn spec(more: &Value) -> Value {
    // No node runs these pods, where there is one.
    let pods = json!({"template": {"spec": {"nodeSelector": {"ratchet.dev/test": "nowhere"}}}});
    let mut spec = json!({
        "version": "2.9.6",
        "masters": {"journal": {"emptyDir": {}}, "pods": pods},
        "workers": {"replicas": 2, "tiers": [{"medium": "SSD", "size": "1Gi", "emptyDir": {}}], "pods": pods},
        "jobs": {"pods": pods},
        "rootStorage": {"hostPath": "/tmp"},
    });
    merge(&mut spec, more);
    spec
}

/// Lays one value over another.
pub fn merge(base: &mut Value, over: &Value) {
    match (base, over) {
        (Value::Object(base), Value::Object(over)) => {
            over.iter().for_each(|(k, v)| merge(base.entry(k.clone()).or_insert(Value::Null), v));
        }
        (base, over) => *base = over.clone(),
    }
}

/// Declares the cache, and has the engine answer as it would once it runs.
pub async fn create(stage: &Stage, more: Value) {
    let object = json!({"apiVersion": "ratchet.dev/v1alpha1", "kind": "CacheCluster", "metadata": {"name": "c"},
        "spec": {"managed": spec(&more)}});
    let cluster: CacheCluster = serde_json::from_value(object).expect("a CacheCluster");
    let root = ratchet::cluster::root_uri(cluster.spec.managed.as_ref().expect("managed"));
    api::<CacheCluster>(stage).create(&PostParams::default(), &cluster).await.expect("created");
    // What the cache will say once it runs.
    let host = |i: i32| format!("c-worker-{i}-0.c-worker.{}.svc:29999", stage.ns.name);
    let mut world = stage.engine.world();
    world.workers = (0..4).map(host).collect();
    world.mounts.mounts.retain(|m| m.path != "/");
    world.mounts.mounts.push(MountView { path: "/".into(), uri: root.clone(), ..MountView::default() });
}

/// Edits it.
pub async fn edit(stage: &Stage, more: Value) {
    let patch = Patch::Merge(json!({"spec": {"managed": more}}));
    api::<CacheCluster>(stage).patch("c", &PatchParams::default(), &patch).await.expect("edited");
}

/// The API of a kind in the test's namespace.
pub fn api<K>(stage: &Stage) -> Api<K>
where
    K: kube::Resource<DynamicType = (), Scope = kube::core::NamespaceResourceScope>,
{
    Api::namespaced(stage.admin.clone(), &stage.ns.name)
}

/// Waits until its status is as wanted.
pub async fn until(
    stage: &Stage,
    what: &str,
    wanted: impl Fn(&CacheClusterStatus) -> bool,
) -> CacheClusterStatus {
    let mut last = None;
    for _ in 0..POLLS {
        last = api::<CacheCluster>(stage).get("c").await.expect("readable").status;
        if let Some(status) = last.as_ref().filter(|s| wanted(s)) {
            return status.clone();
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("not {what}: {last:#?}")
}

/// A condition as text.
pub fn condition(status: &CacheClusterStatus, name: &str) -> String {
    let found = status.conditions.iter().find(|c| c.type_ == name);
    found.map(|c| format!("{} {}: {}", c.status, c.reason, c.message)).unwrap_or_default()
}

/// Waits until a condition begins with this.
pub async fn says(stage: &Stage, name: &str, begins: &str) -> CacheClusterStatus {
    until(stage, begins, |s| condition(s, name).starts_with(begins)).await
}

/// The address of a pod of this name.
pub fn ip(name: &str) -> String {
    let sum = name.bytes().fold(7_u32, |sum, b| sum.wrapping_mul(31).wrapping_add(u32::from(b)));
    let [_, b, c, d] = sum.to_be_bytes();
    format!("10.{b}.{c}.{d}")
}

/// Says of every pod of a namespace that it is ready, as a kubelet would. Ends when it is dropped.
pub struct Kubelet(tokio::task::JoinHandle<()>);

impl Kubelet {
    pub fn start(stage: &Stage) -> Self {
        Self::but(stage, "no pod")
    }

    /// The same for all pods but those of a name.
    pub fn but(stage: &Stage, name: &'static str) -> Self {
        Self::unless(stage, move |p| p.name_any() == name)
    }

    /// The same for all pods but these.
    pub fn unless(stage: &Stage, broken: impl Fn(&Pod) -> bool + Send + 'static) -> Self {
        let pods: Api<Pod> = api(stage);
        Self(tokio::spawn(async move {
            loop {
                let all = pods.list(&ListParams::default()).await.map(|l| l.items).unwrap_or_default();
                let new = |p: &&Pod| p.status.as_ref().is_none_or(|s| s.pod_ip.is_none());
                let all: Vec<Pod> = all.into_iter().filter(|p| new(&p) && !broken(p)).collect();
                for pod in &all {
                    let ip = ip(&pod.name_any());
                    let status = json!({"status": {"podIP": ip, "podIPs": [{"ip": ip}],
                        "conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"}],
                        "phase": "Running"}});
                    let patch = Patch::Strategic(status);
                    let _ = pods.patch_status(&pod.name_any(), &PatchParams::default(), &patch).await;
                }
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }))
    }
}

impl Drop for Kubelet {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// What there is of a kind, each with its version.
pub async fn versions<K>(client: &Client, namespace: &str) -> Vec<String>
where
    K: kube::Resource<DynamicType = (), Scope = kube::core::NamespaceResourceScope>
        + Clone
        + serde::de::DeserializeOwned
        + std::fmt::Debug,
{
    let all: Api<K> = Api::namespaced(client.clone(), namespace);
    let labelled = ListParams::default().labels("app.kubernetes.io/managed-by=ratchet");
    let ours = if K::group(&()) == ratchet::api::GROUP { ListParams::default() } else { labelled };
    let listed = all.list(&ours).await.expect("listed").items;
    let kind = K::kind(&()).into_owned();
    let version = |o: &K| o.resource_version().unwrap_or_default();
    listed.iter().map(|o| format!("{kind} {} {}", o.name_any(), version(o))).collect()
}

/// Everything that was made, each with its version.
pub async fn objects(stage: &Stage) -> Vec<String> {
    let (client, ns) = (&stage.admin, stage.ns.name.as_str());
    let mut all = versions::<ConfigMap>(client, ns).await;
    all.extend(versions::<Service>(client, ns).await);
    all.extend(versions::<PodDisruptionBudget>(client, ns).await);
    all.extend(versions::<StatefulSet>(client, ns).await);
    all.extend(versions::<CacheCluster>(client, ns).await);
    all.sort();
    all
}

/// Kinds and names of all but ConfigMaps.
pub fn names(objects: &[String]) -> Vec<&str> {
    objects
        .iter()
        .map(|o| o.rsplit_once(' ').expect("a version").0)
        .filter(|n| !n.starts_with("ConfigMap"))
        .collect()
}

/// What a cache of two workers consists of.
pub const ALL: [&str; 12] = [
    "PodDisruptionBudget c-master",
    "PodDisruptionBudget c-worker",
    "Service c-client",
    "Service c-job-master",
    "Service c-job-worker",
    "Service c-master",
    "Service c-worker",
    "StatefulSet c-job-master",
    "StatefulSet c-job-worker",
    "StatefulSet c-master",
    "StatefulSet c-worker-0",
    "StatefulSet c-worker-1",
];

/// Starts one in the test.
pub async fn controller(stage: &Stage) -> InProcess {
    stage.controller_with(config()).await
}

/// Deletes the cache and waits until it is gone.
pub async fn delete(stage: &Stage) {
    api::<CacheCluster>(stage).delete("c", &DeleteParams::default()).await.expect("deleted");
    let clusters = api::<CacheCluster>(stage);
    stage
        .eventually("the CacheCluster is gone", async || clusters.get_opt("c").await.unwrap().is_none())
        .await;
}

/// Nothing of it is left; the garbage collector of Kubernetes takes what a CacheCluster owned.
pub async fn nothing_is_left(stage: &Stage) {
    stage.eventually("everything is gone", async || objects(stage).await.is_empty()).await;
    let pods: Api<Pod> = api(stage);
    stage
        .eventually("pods", async || pods.list(&ListParams::default()).await.unwrap().items.is_empty())
        .await;
    let locks: Api<TargetLock> = Api::all(stage.admin.clone());
    let all = locks.list(&ListParams::default()).await.unwrap().items;
    assert!(all.iter().all(|l| l.spec.claim.namespace != stage.ns.name), "a lock is left");
}
