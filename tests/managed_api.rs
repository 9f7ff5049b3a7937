//! Does a managed cache come to be from its spec, stage by stage, whatever happens to the controller, and go again?
//! The API server and the controllers of Kubernetes are real; pods are said to be ready by the test, and the cache is one
//! that does what the test says. `alluxio_managed.rs` has real pods.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that cannot go on fails")]

mod cluster;

use cluster::controllers::InProcess;
use cluster::faults::Faults;
use cluster::managed::*;
use cluster::stage::Stage;
use futures::StreamExt as _;
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{ConfigMap, Pod, Service};
use kube::ResourceExt as _;
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, PostParams};
use ratchet::api::{CacheCluster, DataOperation};
use serde_json::{Value, json};
use std::time::Duration;

#[tokio::test(flavor = "multi_thread")]
async fn it_is_set_up_stage_by_stage_then_rests_and_what_drifts_is_mended() {
    let Some(stage) = Stage::empty("managed").await else { return };
    let running = controller(&stage).await;
    create(&stage, json!({})).await;
    let status =
        says(&stage, "MasterReady", "False PodsNotReady: 0 of 1 masters are ready: pod c-master-0 ").await;
    assert_eq!(
        (status.phase.as_str(), condition(&status, "SetupMaster")),
        ("Creating", "True Done: ".into())
    );
    assert_eq!(condition(&status, "SetupWorkers"), "False NotBegun: an earlier stage is not done");
    assert_eq!(names(&objects(&stage).await).len(), 9, "masters only: {:?}", objects(&stage).await);
    let kubelet = Kubelet::start(&stage);
    let status = until(&stage, "Ready", |s| s.phase == "Ready").await;
    assert_eq!(condition(&status, "Ready"), "True Ready: 2 workers live");
    assert_eq!((status.masters.as_str(), status.workers.as_str(), status.replicas), ("1/1", "2/2", 2));
    assert_eq!(status.set_up.as_ref().map(|s| s.stage.as_str()), Some("Ready"));
    assert_eq!(
        status.storage.iter().map(|s| s.survives_pod.as_str()).collect::<Vec<_>>(),
        ["Never", "Never"]
    );

    // The statuses that Kubernetes itself keeps come to rest first.
    let mut before = objects(&stage).await;
    stage
        .eventually("rest", async || {
            tokio::time::sleep(Duration::from_secs(2)).await;
            let now = objects(&stage).await;
            std::mem::replace(&mut before, now.clone()) == now
        })
        .await;
    tokio::time::sleep(Duration::from_secs(4)).await;
    assert_eq!(objects(&stage).await, before, "nothing is rewritten");
    assert!(ALL.iter().all(|n| names(&before).contains(n)) && names(&before).len() == 13, "{before:?}");

    // Somebody changes one, and removes another.
    let sets: Api<StatefulSet> = api(&stage);
    let patch = Patch::Merge(json!({"spec": {"replicas": 0}}));
    sets.patch("c-worker-1", &PatchParams::default(), &patch).await.unwrap();
    let services: Api<Service> = api(&stage);
    services.delete("c-worker", &DeleteParams::default()).await.unwrap();
    let one = async || sets.get("c-worker-1").await.unwrap().spec.and_then(|s| s.replicas) == Some(1);
    stage.eventually("mended", one).await;
    stage.eventually("made anew", async || services.get_opt("c-worker").await.unwrap().is_some()).await;

    // An object that a newer revision wrote is left alone by who does not know that revision.
    let newer = json!({"metadata": {"annotations": {"ratchet.dev/revision": "99"}}, "spec": {"replicas": 0}});
    sets.patch("c-worker-0", &PatchParams::default(), &Patch::Merge(newer)).await.unwrap();
    says(&stage, "Ready", "True NotUpToDate: c-worker-0 was written by an operation").await;
    assert_eq!(sets.get("c-worker-0").await.unwrap().spec.and_then(|s| s.replicas), Some(0));
    delete(&stage).await;
    nothing_is_left(&stage).await;
    drop(kubelet);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_edit_moves_a_cache_that_was_never_ready_and_waits_for_an_operation_after_that() {
    let Some(stage) = Stage::empty("managed-edit").await else { return };
    let running = controller(&stage).await;
    create(&stage, json!({"image": {"tag": "typo"}})).await;
    says(&stage, "MasterReady", "False PodsNotReady").await;
    let pods: Api<Pod> = api(&stage);
    let image = |p: &Pod| p.spec.as_ref().and_then(|s| s.containers[0].image.clone()).unwrap_or_default();
    let masters =
        |p: Option<Pod>, tag: &str| p.is_some_and(|p| image(&p) == format!("alluxio/alluxio:{tag}"));
    stage.eventually("a pod", async || masters(pods.get_opt("c-master-0").await.unwrap(), "typo")).await;
    edit(&stage, json!({"image": {"tag": "right"}, "workers": {"replicas": 3}})).await;
    stage.eventually("another", async || masters(pods.get_opt("c-master-0").await.unwrap(), "right")).await;
    let kubelet = Kubelet::start(&stage);
    let status = until(&stage, "Ready", |s| s.phase == "Ready").await;
    assert_eq!(status.revision.as_ref().map(|r| (r.number, r.workers.len())), Some((2, 3)));
    let configs = versions::<ConfigMap>(&stage.admin, &stage.ns.name).await;
    assert_eq!(configs.len(), 2, "the settings, and what is known: {configs:?}");

    edit(&stage, json!({"image": {"pullPolicy": "Always"}, "properties": {"alluxio.user.x": "1"}})).await;
    let scale = json!({"apiVersion": "autoscaling/v1", "kind": "Scale", "metadata": {"name": "c"}, "spec": {"replicas": 4}});
    let scaled =
        api::<CacheCluster>(&stage).patch_scale("c", &PatchParams::default(), &Patch::Merge(scale)).await;
    let scaled = scaled.expect("it has the subresource").status.expect("a status");
    let selector = "app.kubernetes.io/instance=c,app.kubernetes.io/component=worker".to_owned();
    assert_eq!((scaled.replicas, scaled.selector), (3, Some(selector.clone())));
    assert_eq!(pods.list(&ListParams::default().labels(&selector)).await.unwrap().items.len(), 3);
    // The number of workers becomes an operation; the rest waits for one that there is not yet.
    let scaled = until(&stage, "Ready with 4", |s| s.phase == "Ready" && s.workers == "4/4").await;
    assert_eq!(
        scaled.revision.map(|r| (r.number, r.workers.len())),
        Some((3, 4)),
        "only operations move it now"
    );
    let waits = "True OperationNotAvailable: how the image is pulled waits for the operation updateConfig, which this version \
                 of Ratchet does not have; properties or security waits for the operation updateConfig";
    says(&stage, "SpecNotApplied", waits).await;
    // Not even a template that somebody else changes: no pod of a cache that serves is touched.
    let uids = async || {
        let all = pods.list(&ListParams::default()).await.unwrap().items;
        all.into_iter().map(|p| p.metadata.uid).collect::<Vec<_>>()
    };
    let before = uids().await;
    let sets: Api<StatefulSet> = api(&stage);
    let note = json!({"spec": {"template": {"metadata": {"annotations": {"somebody": "else"}}}}});
    sets.patch("c-master", &PatchParams::default(), &Patch::Merge(note)).await.unwrap();
    // A label that is taken away from an object hides it for a moment, and is put back.
    let bare = json!({"metadata": {"labels": {"app.kubernetes.io/managed-by": "somebody"}}, "spec": {"replicas": 0}});
    sets.patch("c-worker-0", &PatchParams::default(), &Patch::Merge(bare)).await.unwrap();
    let mended = async || {
        let set = sets.get("c-worker-0").await.unwrap();
        set.labels().get("app.kubernetes.io/managed-by").is_some_and(|l| l == "ratchet")
            && set.spec.and_then(|s| s.replicas) == Some(1)
    };
    stage.eventually("the label is back", mended).await;
    let back = async || uids().await.len() == before.len();
    stage.eventually("its pod too", back).await;
    let same = uids().await.iter().filter(|u| before.contains(u)).count();
    assert!(same >= before.len() - 1, "{same} of {} pods are the same", before.len());
    until(&stage, "Ready", |s| s.phase == "Ready").await;
    assert!(masters(pods.get_opt("c-master-0").await.unwrap(), "right"));
    edit(&stage, json!({"image": {"pullPolicy": null}, "properties": {"alluxio.user.x": null}})).await;
    says(&stage, "SpecNotApplied", "False Applied").await;
    delete(&stage).await;
    drop(kubelet);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_is_said_before_anything_is_made() {
    let Some(stage) = Stage::empty("managed-wrong").await else { return };
    let running = controller(&stage).await;
    let template = |spec: Value| json!({"workers": {"pods": {"template": {"spec": spec}}}});
    create(&stage, template(json!({"nodeSelektor": {"a": "b"}}))).await;
    let status = says(&stage, "Ready", "False ObjectRefused: StatefulSet c-worker-0: ").await;
    assert!(
        condition(&status, "Ready").contains("unknown field 'spec.template.spec.nodeSelektor'"),
        "{status:#?}"
    );
    assert_eq!(status.phase, "Failed");
    assert_eq!(objects(&stage).await.len(), 1, "the master is not made either: {:?}", objects(&stage).await);
    edit(&stage, template(json!({"nodeSelektor": null, "tolerations": "all"}))).await;
    says(&stage, "Ready", "False ").await;
    let said = until(&stage, "said", |s| condition(s, "Ready").contains("tolerations")).await;
    assert_eq!((said.phase.as_str(), objects(&stage).await.len()), ("Failed", 1));
    edit(
        &stage,
        template(json!({"tolerations": null, "containers": [{"name": "alluxio", "command": ["sh"]}]})),
    )
    .await;
    says(&stage, "Ready", "False InvalidSpec: pods.template of the workers changes command").await;

    // In one edit: between two the cache would be right for a moment, and made.
    let options = json!({"workers": {"pods": {"javaOptions": "-Xmx1g -Dalluxio.worker.rpc.port=1",
        "template": {"spec": {"containers": null}}}}});
    edit(&stage, options).await;
    says(&stage, "Ready", "False InvalidSpec: alluxio.worker.rpc.port is 29999: remove it from javaOptions")
        .await;
    let secret =
        json!({"workers": {"pods": {"javaOptions": null}}, "properties": {"aws.secretKey": "hidden-value"}});
    edit(&stage, secret).await;
    let status =
        says(&stage, "Ready", "False InvalidSpec: aws.secretKey in properties is a credential").await;
    assert!(!serde_json::to_string(&status).unwrap().contains("hidden-value"), "{status:#?}");

    // A label makes nothing of a stranger's ours.
    let configs: Api<ConfigMap> = api(&stage);
    let stranger = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "stranger", "labels": {
        "app.kubernetes.io/managed-by": "ratchet", "app.kubernetes.io/instance": "c"}}});
    configs.create(&PostParams::default(), &serde_json::from_value(stranger).unwrap()).await.unwrap();
    // A name is taken by somebody else's object, which stays as it is.
    let services: Api<Service> = api(&stage);
    let theirs = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "c-client"},
        "spec": {"ports": [{"port": 1}], "clusterIP": "None"}});
    services.create(&PostParams::default(), &serde_json::from_value(theirs).unwrap()).await.unwrap();
    edit(&stage, json!({"properties": null})).await;
    let status = says(&stage, "Ready", "False NameTaken: Service c-client is there already").await;
    assert_eq!(status.phase, "Failed");
    assert_eq!(services.get("c-client").await.unwrap().spec.unwrap().ports.unwrap()[0].port, 1);
    services.delete("c-client", &DeleteParams::default()).await.unwrap();
    says(&stage, "MasterReady", "False PodsNotReady").await;

    // Its pods never come up, and it can be deleted.
    delete(&stage).await;
    assert!(configs.get_opt("stranger").await.unwrap().is_some(), "it is not ours");
    configs.delete("stranger", &DeleteParams::default()).await.unwrap();
    nothing_is_left(&stage).await;
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_journal_of_another_cache_is_not_taken_over() {
    let Some(stage) = Stage::empty("managed-root").await else { return };
    let running = controller(&stage).await;
    create(&stage, json!({})).await;
    stage.engine.world().mounts.mounts[0].uri = "/elsewhere".into();
    let _kubelet = Kubelet::start(&stage);
    let why = "False UnderStorageDiffers: the cache's root is /elsewhere and the spec says /under-storage/";
    let status = says(&stage, "CheckUnderStorage", why).await;
    assert_eq!(status.phase, "Failed");
    assert!(!names(&objects(&stage).await).contains(&"StatefulSet c-worker-0"), "no worker joins it");
    delete(&stage).await;
    running.stop().await;
}

/// A controller dies at its k-th write; another one finishes. Gives back how many writes the first one sent.
async fn dies(k: usize) -> Option<usize> {
    let stage = Stage::empty("managed-crash").await?;
    let faults = Faults::dying_at(k);
    let client = faults.client(&stage.bench).await;
    let first = InProcess::with_client(client, &stage.ns.name, stage.engine.clone(), config());
    let _kubelet = Kubelet::start(&stage);
    create(&stage, json!({})).await;
    let ready = async || {
        let status = api::<CacheCluster>(&stage).get("c").await.unwrap().status;
        status.is_some_and(|s| s.phase == "Ready")
    };
    stage.eventually("it dies or is done", async || faults.writes() > k || ready().await).await;
    let written = faults.writes();
    first.crash();
    let second = controller(&stage).await;
    let status = until(&stage, "Ready", |s| s.phase == "Ready").await;
    let all = objects(&stage).await;
    assert!(ALL.iter().all(|n| names(&all).contains(n)) && names(&all).len() == 13, "k = {k}: {all:?}");
    assert_eq!(status.revision.map(|r| r.number), Some(1), "k = {k}");
    delete(&stage).await;
    nothing_is_left(&stage).await;
    second.stop().await;
    Some(written)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_at_any_write_changes_nothing_about_the_end() {
    let Some(writes) = dies(usize::MAX).await else { return };
    assert!((18..50).contains(&writes), "{writes} writes for a cache of two workers");
    let runs = futures::stream::iter((1..=writes).map(dies)).buffer_unordered(6);
    assert_eq!(runs.count().await, writes);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deletion_cancels_what_runs_or_waits_for_it_and_ends_in_time_whatever_happens() {
    let Some(stage) = Stage::empty("managed-end").await else { return };
    let running = controller(&stage).await;
    let _kubelet = Kubelet::start(&stage);
    let tiers = json!([{"medium": "SSD", "size": "1Gi", "hostPath": "/mnt/ssd"}]);
    let journal = json!({"emptyDir": null, "hostPath": "/mnt/journal"});
    let spec = |limit: i64, operations: &str| {
        json!({"workers": {"tiers": tiers, "replicas": 1}, "masters": {"journal": journal}, "jobs": {"workers": 0},
            "deletion": {"limitSeconds": limit, "operations": operations}})
    };
    let load = json!({"load": {"paths": ["/a"]}});
    let operations: Api<DataOperation> = api(&stage);
    let phase = async |name: &str| {
        operations.get_opt(name).await.unwrap().and_then(|o| o.status).map(|s| s.phase.name().to_owned())
    };

    // What runs is cancelled in the cache, then what is on the nodes is freed by an operation.
    stage.engine.world().job_takes = u32::MAX;
    create(&stage, spec(300, "Cancel")).await;
    until(&stage, "Ready", |s| s.phase == "Ready").await;
    let op = cluster::operation(&stage.ns.name, "long", "c", load.clone(), json!({}));
    cluster::create(&stage.admin, &stage.ns.name, &op).await;
    stage.eventually("it runs", async || stage.engine.path("/a").submits == 1).await;
    delete(&stage).await;
    assert_eq!((phase("long").await.as_deref(), stage.engine.path("/a").stops), (Some("Cancelled"), 1));
    let freed = stage.engine.world().log.iter().filter(|l| l.starts_with("free ")).count();
    assert_eq!(freed, 1, "{:?}", stage.engine.world().log);
    nothing_is_left(&stage).await;

    // What runs is waited for, and no longer than the limit.
    create(&stage, spec(4, "Wait")).await;
    until(&stage, "Ready", |s| s.phase == "Ready").await;
    let op = cluster::operation(&stage.ns.name, "longer", "c", load, json!({}));
    cluster::create(&stage.admin, &stage.ns.name, &op).await;
    stage.eventually("it runs", async || stage.engine.path("/a").submits == 2).await;
    api::<CacheCluster>(&stage).delete("c", &DeleteParams::default()).await.unwrap();
    says(&stage, "Ready", "False OperationsAtWork: 1 operations are waited for, longer among them").await;
    let clusters = api::<CacheCluster>(&stage);
    stage.eventually("it goes", async || clusters.get_opt("c").await.unwrap().is_none()).await;
    assert_eq!(stage.engine.path("/a").stops, 1, "nobody cancelled it");
    nothing_is_left(&stage).await;
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_edit_before_it_was_ready_may_make_it_another_cache() {
    let Some(stage) = Stage::empty("managed-anew").await else { return };
    let running = controller(&stage).await;
    create(&stage, json!({})).await;
    stage.engine.world().workers = vec!["nobody:1".into()];
    let _kubelet = Kubelet::start(&stage);
    says(&stage, "WorkersReady", "False WorkersNotRegistered: 0 of 2 workers").await;
    let status = until(&stage, "known", |s| s.identity.is_some()).await;
    edit(&stage, json!({"properties": {"alluxio.user.x": "1"}})).await;
    // The journal went with the master's pod: the engine says another identity from now on.
    until(&stage, "begun anew", |s| s.revision.as_ref().is_some_and(|r| r.number == 2)).await;
    let again = until(&stage, "known", |s| s.identity.is_some()).await;
    assert_eq!((again.identity, again.phase.as_str()), (status.identity, "Creating"));
    delete(&stage).await;
    nothing_is_left(&stage).await;
    running.stop().await;
}
