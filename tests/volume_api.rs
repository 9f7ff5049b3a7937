//! Does a Dataset give pods a volume, in each namespace that shall have one, and does it stay while a pod uses it?
//! Volumes and claims are bound by the real controllers of Kubernetes; there is no CSI driver here.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that cannot go on fails")]

mod cluster;

use cluster::controllers::InProcess;
use cluster::faults::Faults;
use cluster::stage::Stage;
use futures::StreamExt as _;
use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim, Pod};
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, PostParams};
use ratchet::api::{Dataset, DatasetStatus};
use ratchet::controller::Config;
use serde_json::{Value, json};
use std::time::Duration;

fn config() -> Config {
    Config { managed: true, ..Stage::config() }
}

/// A controller that looks at all namespaces must not meet the other tests' objects: one test at a time.
static ONE_AT_A_TIME: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

/// The controller looks at all namespaces: a claim in another one is watched too.
fn all_namespaces(stage: &Stage, client: kube::Client) -> InProcess {
    InProcess::everywhere(client, stage.engine.clone(), config())
}

async fn create(stage: &Stage, volume: Value) {
    let object = json!({"apiVersion": "ratchet.dev/v1alpha1", "kind": "Dataset", "metadata": {"name": "data"},
        "spec": {"cluster": "cache", "mounts": [{"path": "/a", "uri": "s3://a"}], "volume": volume}});
    let dataset = serde_json::from_value(object).expect("a Dataset");
    datasets(stage).create(&PostParams::default(), &dataset).await.expect("created");
}

fn datasets(stage: &Stage) -> Api<Dataset> {
    Api::namespaced(stage.admin.clone(), &stage.ns.name)
}

async fn until(stage: &Stage, what: &str, wanted: impl Fn(&DatasetStatus) -> bool) -> DatasetStatus {
    let mut last = None;
    for _ in 0..cluster::POLLS {
        last = datasets(stage).get("data").await.expect("readable").status;
        if let Some(status) = last.as_ref().filter(|s| wanted(s)) {
            return status.clone();
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("not {what}: {last:#?}")
}

fn condition(status: &DatasetStatus) -> String {
    let found = status.conditions.iter().find(|c| c.type_ == "VolumesReady");
    found.map(|c| format!("{} {}: {}", c.status, c.reason, c.message)).unwrap_or_default()
}

async fn volumes(stage: &Stage) -> Vec<PersistentVolume> {
    let uid = datasets(stage).get_opt("data").await.unwrap().and_then(|d| d.metadata.uid);
    let all: Api<PersistentVolume> = Api::all(stage.admin.clone());
    let mine = format!("ratchet.dev/dataset-uid={}", uid.unwrap_or_else(|| "gone".into()));
    all.list(&ListParams::default().labels(&mine)).await.unwrap().items
}

async fn pod(stage: &Stage, namespace: &str) {
    let pods: Api<Pod> = Api::namespaced(stage.admin.clone(), namespace);
    // No node runs it, where there is one.
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "reader"}, "spec": {
        "nodeSelector": {"ratchet.dev/test": "nowhere"}, "serviceAccountName": "default",
        "automountServiceAccountToken": false,
        "containers": [{"name": "c", "image": "none", "volumeMounts": [{"name": "data", "mountPath": "/data"}]}],
        "volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": "data", "readOnly": true}}]}});
    let pod: Pod = serde_json::from_value(pod).unwrap();
    for _ in 0..cluster::POLLS {
        // The namespace's service account comes a moment after it.
        match pods.create(&PostParams::default(), &pod).await {
            Ok(_) => return,
            Err(kube::Error::Api(why)) if why.message.contains("serviceaccount") => {}
            Err(why) => panic!("{why}"),
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("no pod");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_volume_for_each_namespace_is_bound_and_stays_while_a_pod_uses_it() {
    let _turn = ONE_AT_A_TIME.lock().await;
    let Some(stage) = Stage::new("volume").await else { return };
    let other = stage.bench.namespace("volume-reader");
    let running = all_namespaces(&stage, stage.bench.client("controller").await);
    create(&stage, json!({"namespaces": [other.name], "attributes": {"mountOptions": "direct_io"}})).await;
    let status = until(&stage, "bound", |s| condition(s) == "True Bound: 2 claims").await;
    assert_eq!(status.phase, "Bound");
    let all = volumes(&stage).await;
    assert_eq!(all.len(), 2);
    let spec = all[0].spec.clone().unwrap();
    let csi = spec.csi.unwrap();
    let attributes = csi.volume_attributes.unwrap();
    assert_eq!((csi.driver.as_str(), csi.read_only), ("alluxio", Some(true)));
    let of = |k: &str| attributes.get(k).map(String::as_str);
    assert_eq!(
        [of("alluxioPath"), of("masters"), of("mountOptions")],
        [Some("/a"), Some("fake:1"), Some("direct_io")]
    );

    // Nothing is written while nothing moves.
    until(&stage, "synced", |s| s.sync.phase == "Succeeded" && s.files == 1).await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    let version = async || datasets(&stage).get("data").await.unwrap().metadata.resource_version;
    let before = version().await;
    tokio::time::sleep(Duration::from_secs(4)).await;
    assert_eq!(version().await, before);

    // Somebody deletes a claim that nobody uses: it is made anew.
    let claims: Api<PersistentVolumeClaim> = Api::namespaced(stage.admin.clone(), &stage.ns.name);
    let old = claims.get("data").await.unwrap().metadata.uid;
    claims.delete("data", &DeleteParams::default()).await.unwrap();
    let anew = async || {
        let now = claims.get_opt("data").await.unwrap();
        now.is_some_and(|c| {
            c.metadata.uid != old && c.status.and_then(|s| s.phase).as_deref() == Some("Bound")
        })
    };
    stage.eventually("the claim is made anew", anew).await;
    until(&stage, "bound", |s| condition(s) == "True Bound: 2 claims").await;

    // A pod uses the other one: it stays, and says why, also when the Dataset is deleted.
    pod(&stage, &other.name).await;
    let none = Patch::Merge(json!({"spec": {"volume": {"namespaces": null}}}));
    datasets(&stage).patch("data", &PatchParams::default(), &none).await.unwrap();
    let why = format!(
        "False InUse: claim in namespace {}: it goes when no pod uses it; 1 of them do: reader",
        other.name
    );
    until(&stage, "in use", |s| condition(s) == why).await;
    datasets(&stage).delete("data", &DeleteParams::default()).await.unwrap();
    let status = until(&stage, "deleting", |s| s.phase == "Deleting" && s.volumes.len() == 1).await;
    assert_eq!(condition(&status), why);
    assert!(claims.get_opt("data").await.unwrap().is_none(), "the unused one goes at once");
    let mounted = stage.engine.world().mounts.mounts.iter().any(|m| m.path == "/a");
    assert!(mounted, "what a pod reads is not unmounted");
    let pods: Api<Pod> = Api::namespaced(stage.admin.clone(), &other.name);
    pods.delete("reader", &DeleteParams::default()).await.unwrap();
    stage.eventually("it goes", async || datasets(&stage).get_opt("data").await.unwrap().is_none()).await;
    let theirs: Api<PersistentVolumeClaim> = Api::namespaced(stage.admin.clone(), &other.name);
    assert!(theirs.get_opt("data").await.unwrap().is_none());
    let left: Api<PersistentVolume> = Api::all(stage.admin.clone());
    for volume in all {
        assert!(left.get_opt(&volume.metadata.name.unwrap()).await.unwrap().is_none());
    }
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_allowed_or_not_ours_is_said_and_left_alone() {
    let _turn = ONE_AT_A_TIME.lock().await;
    let Some(stage) = Stage::new("volume-wrong").await else { return };
    let running = stage.controller_with(config()).await;
    let claims: Api<PersistentVolumeClaim> = Api::namespaced(stage.admin.clone(), &stage.ns.name);
    let theirs = json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "data"}, "spec": {
        "accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}, "storageClassName": "theirs"}});
    claims.create(&PostParams::default(), &serde_json::from_value(theirs).unwrap()).await.unwrap();
    create(&stage, json!({"driver": "hostpath.example"})).await;
    let not_allowed = "the controller does not allow the CSI driver hostpath.example; it allows alluxio";
    until(&stage, "refused", |s| condition(s).ends_with(not_allowed)).await;
    let other = Patch::Merge(json!({"spec": {"volume": {"driver": "alluxio"}}}));
    datasets(&stage).patch("data", &PatchParams::default(), &other).await.unwrap();
    until(&stage, "taken", |s| {
        condition(s).ends_with("is there already and belongs to somebody else; remove it")
    })
    .await;
    let kept = claims.get("data").await.unwrap().spec.and_then(|s| s.storage_class_name);
    assert_eq!(kept.as_deref(), Some("theirs"));
    claims.delete("data", &DeleteParams::default()).await.unwrap();
    until(&stage, "bound", |s| condition(s) == "True Bound: 1 claims").await;
    datasets(&stage).delete("data", &DeleteParams::default()).await.unwrap();
    stage.eventually("it goes", async || datasets(&stage).get_opt("data").await.unwrap().is_none()).await;
    running.stop().await;
}

/// A controller dies at its k-th write, another one finishes; the Dataset is deleted.
async fn dies(k: usize) -> Option<()> {
    let stage = Stage::new("volume-crash").await?;
    let faults = Faults::dying_at(k);
    let client = faults.client(&stage.bench).await;
    let first = InProcess::with_client(client, &stage.ns.name, stage.engine.clone(), config());
    create(&stage, json!({})).await;
    let bound = |s: &DatasetStatus| condition(s) == "True Bound: 1 claims";
    let done = async || datasets(&stage).get("data").await.unwrap().status.is_some_and(|s| bound(&s));
    stage.eventually("it dies or is done", async || faults.writes() > k || done().await).await;
    first.crash();
    let second = stage.controller_with(config()).await;
    until(&stage, "bound", bound).await;
    assert_eq!(volumes(&stage).await.len(), 1, "k = {k}");
    datasets(&stage).delete("data", &DeleteParams::default()).await.unwrap();
    stage.eventually("it goes", async || datasets(&stage).get_opt("data").await.unwrap().is_none()).await;
    second.stop().await;
    Some(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_at_any_write_leaves_one_volume_and_none_in_the_end() {
    let _turn = ONE_AT_A_TIME.lock().await;
    if dies(1).await.is_none() {
        return;
    }
    let runs = futures::stream::iter((2..16).map(dies)).buffer_unordered(7);
    assert_eq!(runs.count().await, 14);
}
