//! Does an edit of the number of workers become one operation, whatever happens to the controller, and what becomes of one
//! that is taken back? The API server is real; pods are said to be ready by the test.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that cannot go on fails")]

mod cluster;

use cluster::controllers::InProcess;
use cluster::faults::Faults;
use cluster::managed::*;
use cluster::stage::Stage;
use futures::StreamExt as _;
use k8s_openapi::api::apps::v1::StatefulSet;
use kube::api::{DeleteParams, ListParams, PostParams};
use ratchet::api::DataOperation;
use ratchet_state_machine::machine::Phase;
use ratchet_state_machine::spec::ArmSpec;
use serde_json::json;

async fn scale_outs(stage: &Stage) -> Vec<DataOperation> {
    let all = api::<DataOperation>(stage).list(&ListParams::default()).await.unwrap().items;
    all.into_iter().filter(|o| matches!(o.spec.operation, ArmSpec::ScaleOut(_))).collect()
}

fn phases(operations: &[DataOperation]) -> Vec<Phase> {
    operations.iter().filter_map(DataOperation::phase).collect()
}

/// The cache knows workers 0 to `count - 1`.
fn known(stage: &Stage, count: usize) {
    let host = |i: usize| format!("c-worker-{i}-0.c-worker.{}.svc:29999", stage.ns.name);
    stage.engine.world().workers = (0..count).map(host).collect();
}

/// A controller dies at its k-th write after an edit to four workers; another one finishes. Gives back how many writes
/// the first one sent.
async fn dies(k: usize) -> Option<usize> {
    let stage = Stage::empty("scale-crash").await?;
    let _kubelet = Kubelet::start(&stage);
    let before = controller(&stage).await;
    create(&stage, json!({"jobs": {"workers": 0}})).await;
    until(&stage, "Ready", |s| s.phase == "Ready").await;
    before.stop().await;
    let faults = Faults::dying_at(k);
    let client = faults.client(&stage.bench).await;
    let first = InProcess::with_client(client, &stage.ns.name, stage.engine.clone(), config());
    edit(&stage, json!({"workers": {"replicas": 4}})).await;
    let over = async || phases(&scale_outs(&stage).await) == [Phase::Succeeded];
    stage.eventually("it dies or is done", async || faults.writes() > k || over().await).await;
    let written = faults.writes();
    first.crash();
    let second = controller(&stage).await;
    let status = until(&stage, "4/4", |s| s.phase == "Ready" && s.workers == "4/4").await;
    stage.eventually("it has ended", over).await;
    let revision = status.revision.expect("a revision");
    assert_eq!((revision.number, revision.workers), (2, vec![0, 1, 2, 3]), "k = {k}: written once");
    assert_eq!(status.handled, 1, "k = {k}");
    delete(&stage).await;
    second.stop().await;
    Some(written)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_edit_becomes_one_operation_and_one_write_of_the_members_whenever_the_controller_dies() {
    let Some(writes) = dies(usize::MAX).await else { return };
    assert!((10..40).contains(&writes), "{writes} writes for two more workers");
    let runs = futures::stream::iter((1..=writes).map(dies)).buffer_unordered(6);
    assert_eq!(runs.count().await, writes);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_edit_that_is_taken_back_is_acted_upon_when_the_operation_before_has_ended() {
    let Some(stage) = Stage::empty("scale-back").await else { return };
    let running = controller(&stage).await;
    let kubelet = Kubelet::but(&stage, "c-worker-2-0");
    let quick = json!({"alluxio.user.worker.list.refresh.interval": "1ms"});
    create(&stage, json!({"jobs": {"workers": 0}, "properties": quick})).await;
    known(&stage, 2);
    until(&stage, "Ready", |s| s.phase == "Ready").await;
    edit(&stage, json!({"workers": {"replicas": 3}})).await;
    let status = until(&stage, "Updating", |s| s.phase == "Updating").await;
    assert!(condition(&status, "SpecNotApplied").starts_with("False"), "the revision has it: {status:#?}");
    let waits = async || {
        let all = scale_outs(&stage).await;
        let why = all.first().and_then(|o| o.status.as_ref()?.waiting_on.clone());
        why.is_some_and(|w| w.reason == "WaitingForMembers" && w.message.contains("c-worker-2-0"))
    };
    stage.eventually("it says who is missing", waits).await;
    let sets = api::<StatefulSet>(&stage);
    assert!(sets.get_opt("c-worker-2").await.unwrap().is_some());

    // Nobody could say that the new worker never served: the cancel is noted, the operation goes on, and the edit waits.
    edit(&stage, json!({"workers": {"replicas": 2}})).await;
    let waits = "True Superseding: workers.replicas is 2, and the cache has 3: c-scaleout-";
    says(&stage, "SpecNotApplied", waits).await;
    let noted = async || {
        let all = scale_outs(&stage).await;
        all.first().and_then(|o| o.status.as_ref()).is_some_and(|s| s.cancel_noted)
    };
    stage.eventually("the cancel is noted", noted).await;
    known(&stage, 4);
    drop(kubelet);
    let kubelet = Kubelet::start(&stage);
    let status = until(&stage, "3/3", |s| s.phase == "Ready" && s.workers == "3/3").await;
    stage.eventually("it ends", async || phases(&scale_outs(&stage).await) == [Phase::Succeeded]).await;
    assert_eq!(status.revision.map(|r| r.workers), Some(vec![0, 1, 2]));

    // Then the worker leaves again. Edited on to what is there, there is nothing to do; edited further, one operation more.
    let status = until(&stage, "2/2", |s| s.phase == "Ready" && s.workers == "2/2").await;
    assert_eq!((status.revision.map(|r| r.workers), status.handled), (Some(vec![0, 1]), 2));
    let ended = async || {
        let all = api::<DataOperation>(&stage).list(&ListParams::default()).await.unwrap().items;
        all.iter().all(|o| o.phase() == Some(Phase::Succeeded))
    };
    stage.eventually("it has left", ended).await;
    stage.engine.world().out.clear();
    edit(&stage, json!({"workers": {"replicas": 2}})).await;
    says(&stage, "SpecNotApplied", "False Applied").await;
    edit(&stage, json!({"workers": {"replicas": 4}})).await;
    let status = until(&stage, "4/4", |s| s.phase == "Ready" && s.workers == "4/4").await;
    assert_eq!(status.handled, 3);
    delete(&stage).await;
    nothing_is_left(&stage).await;
    drop(kubelet);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_asks_for_fewer_for_an_attached_cache_or_for_too_many_is_told_so() {
    let Some(stage) = Stage::empty("scale-wrong").await else { return };
    let running = controller(&stage).await;
    let kubelet = Kubelet::start(&stage);
    create(&stage, json!({"jobs": {"workers": 0}})).await;
    until(&stage, "Ready", |s| s.phase == "Ready").await;
    let attached = cluster::cluster(&stage.ns.name, "attached", &["fake:1"], "NoSasl");
    cluster::create(&stage.admin, &stage.ns.name, &attached).await;
    let ask = async |name: &str, target: &str, workers: i32| {
        let arm = json!({"scaleOut": {"workers": workers}});
        let op = cluster::operation(&stage.ns.name, name, target, arm, json!({}));
        api::<DataOperation>(&stage).create(&PostParams::default(), &op).await
    };
    ask("fewer", "c", 1).await.unwrap();
    let ended = async |name: &str| {
        let op = api::<DataOperation>(&stage).get(name).await.unwrap();
        serde_json::to_string(&op.status).unwrap()
    };
    stage.eventually("refused", async || ended("fewer").await.contains("FewerWanted")).await;
    let refused = ask("many", "c", 257).await.unwrap_err().to_string();
    assert!(refused.contains("256"), "{refused}");
    // What is asked for twice is done once.
    ask("same", "c", 2).await.unwrap();
    stage.eventually("nothing to do", async || ended("same").await.contains("Succeeded")).await;
    let status = until(&stage, "Ready", |s| s.phase == "Ready").await;
    assert_eq!(status.revision.map(|r| r.number), Some(1));
    // One engine answers for both here: the second CacheCluster does not get it.
    api::<ratchet::api::CacheCluster>(&stage).delete("c", &DeleteParams::default()).await.unwrap();
    ask("foreign", "attached", 3).await.unwrap();
    stage.eventually("refused", async || ended("foreign").await.contains("NotManaged")).await;
    drop(kubelet);
    running.stop().await;
}
