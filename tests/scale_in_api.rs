//! Does a scale-in take workers out once, and only when nothing is lost with them, whenever the controller dies, and what
//! becomes of one that is refused, waits or is cancelled? The API server is real; pods are said to be ready by the test, and
//! the engine says what a test wants.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that cannot go on fails")]

mod cluster;

use cluster::controllers::InProcess;
use cluster::faults::Faults;
use cluster::managed::*;
use cluster::stage::Stage;
use futures::StreamExt as _;
use k8s_openapi::api::apps::v1::StatefulSet;
use kube::api::{ListParams, PostParams};
use ratchet::api::DataOperation;
use ratchet_state_machine::machine::Phase;
use ratchet_state_machine::spec::ArmSpec;
use serde_json::{Value, json};

async fn scale_ins(stage: &Stage) -> Vec<DataOperation> {
    let all = api::<DataOperation>(stage).list(&ListParams::default()).await.unwrap().items;
    all.into_iter().filter(|o| matches!(o.spec.operation, ArmSpec::ScaleIn(_))).collect()
}

async fn phases(stage: &Stage) -> Vec<Phase> {
    scale_ins(stage).await.iter().filter_map(DataOperation::phase).collect()
}

/// A cache of so many workers, whose clients hear of workers at once.
fn cache(workers: usize) -> Value {
    let quick = json!({"alluxio.user.worker.list.refresh.interval": "1ms"});
    json!({"jobs": {"workers": 0}, "workers": {"replicas": workers}, "properties": quick})
}

/// A controller dies at its k-th write after an edit from four workers to two; another one finishes. Gives back how many writes
/// the first one sent.
async fn dies(k: usize) -> Option<usize> {
    let stage = Stage::empty("in-crash").await?;
    let _kubelet = Kubelet::start(&stage);
    let before = controller(&stage).await;
    create(&stage, cache(4)).await;
    until(&stage, "Ready", |s| s.phase == "Ready").await;
    before.stop().await;
    stage.engine.world().unpersisted = 2;
    stage.engine.world().written_meanwhile = 1;
    let faults = Faults::dying_at(k);
    let client = faults.client(&stage.bench).await;
    let first = InProcess::with_client(client, &stage.ns.name, stage.engine.clone(), config());
    edit(&stage, json!({"workers": {"replicas": 2}})).await;
    let over = async || phases(&stage).await == [Phase::Succeeded];
    stage.eventually("it dies or is done", async || faults.writes() > k || over().await).await;
    let written = faults.writes();
    first.crash();
    let second = controller(&stage).await;
    let status = until(&stage, "2/2", |s| s.phase == "Ready" && s.workers == "2/2").await;
    stage.eventually("it has ended", over).await;
    let revision = status.revision.expect("a revision");
    assert_eq!((revision.number, revision.workers), (2, vec![0, 1]), "k = {k}: written once");
    assert_eq!(status.handled, 1, "k = {k}");
    let left = |w: &cluster::fake::World| (w.unpersisted, w.stranded);
    assert_eq!(left(&stage.engine.world()), (0, 0), "k = {k}");
    delete(&stage).await;
    second.stop().await;
    Some(written)
}

#[tokio::test(flavor = "multi_thread")]
async fn workers_leave_once_and_with_nothing_lost_whenever_the_controller_dies() {
    let Some(writes) = dies(usize::MAX).await else { return };
    assert!((15..50).contains(&writes), "{writes} writes for two workers less");
    let runs = futures::stream::iter((1..=writes).map(dies)).buffer_unordered(6);
    assert_eq!(runs.count().await, writes);
}

/// Waits until the only scale-in waits for this.
async fn waits(stage: &Stage, reason: &str) {
    let says = async || {
        let all = scale_ins(stage).await;
        let why = all.first().and_then(|o| o.status.as_ref()?.waiting_on.clone());
        why.is_some_and(|w| w.reason == reason)
    };
    stage.eventually(reason, says).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn while_files_cannot_be_persisted_nothing_is_touched_and_an_edit_back_ends_it() {
    let Some(stage) = Stage::empty("in-waits").await else { return };
    let running = controller(&stage).await;
    let kubelet = Kubelet::start(&stage);
    create(&stage, cache(3)).await;
    until(&stage, "Ready", |s| s.phase == "Ready").await;
    stage.engine.world().unpersisted = 2;
    stage.engine.world().no_persisting = true;
    edit(&stage, json!({"workers": {"replicas": 2}})).await;
    waits(&stage, "NotPersisted").await;
    assert!(stage.engine.world().out.is_empty(), "no worker is out of use");
    edit(&stage, json!({"workers": {"replicas": 3}})).await;
    stage.eventually("cancelled", async || phases(&stage).await == [Phase::Cancelled]).await;
    let status = says(&stage, "SpecNotApplied", "False Applied").await;
    assert_eq!(status.revision.map(|r| (r.number, r.workers)), Some((1, vec![0, 1, 2])));
    delete(&stage).await;
    drop(kubelet);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancel_after_the_decommission_makes_the_pods_anew() {
    let Some(stage) = Stage::empty("in-back").await else { return };
    let running = controller(&stage).await;
    let kubelet = Kubelet::start(&stage);
    create(&stage, cache(3)).await;
    until(&stage, "Ready", |s| s.phase == "Ready").await;
    // It drains for ever.
    stage.engine.world().busy = 1;
    let pods = api::<k8s_openapi::api::core::v1::Pod>(&stage);
    let uid = async || pods.get_opt("c-worker-2-0").await.unwrap().and_then(|p| p.metadata.uid);
    let before = uid().await;
    edit(&stage, json!({"workers": {"replicas": 2}})).await;
    waits(&stage, "StillUsed").await;
    edit(&stage, json!({"workers": {"replicas": 3}})).await;
    waits(&stage, "NotAtRest").await;
    stage.eventually("its pod is another one", async || uid().await.is_some_and(|u| Some(u) != before)).await;
    assert_eq!(phases(&stage).await, [Phase::Cancelling], "the worker does not serve yet");
    stage.engine.world().out.clear();
    stage.eventually("cancelled", async || phases(&stage).await == [Phase::Cancelled]).await;
    let status = until(&stage, "3/3", |s| s.phase == "Ready" && s.workers == "3/3").await;
    assert_eq!(status.revision.map(|r| r.number), Some(1));
    assert!(api::<StatefulSet>(&stage).get_opt("c-worker-2").await.unwrap().is_some());
    delete(&stage).await;
    drop(kubelet);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_last_look_that_takes_longer_than_the_window_is_no_reason_to_begin_anew() {
    let Some(stage) = Stage::empty("in-slow").await else { return };
    let running = stage.controller_with(ratchet::controller::Config { send_for_ms: 1_000, ..config() }).await;
    let kubelet = Kubelet::start(&stage);
    create(&stage, cache(2)).await;
    until(&stage, "Ready", |s| s.phase == "Ready").await;
    stage.engine.world().delay = std::time::Duration::from_millis(800);
    edit(&stage, json!({"workers": {"replicas": 1}})).await;
    stage.eventually("it has left", async || phases(&stage).await == [Phase::Succeeded]).await;
    let entries = scale_ins(&stage).await[0].seq().0;
    assert!(entries < 25, "{entries} entries for one worker");
    stage.engine.world().delay = std::time::Duration::ZERO;
    delete(&stage).await;
    drop(kubelet);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_asks_for_more_for_none_or_for_both_ways_at_once_is_told_so() {
    let Some(stage) = Stage::empty("in-wrong").await else { return };
    let running = controller(&stage).await;
    let kubelet = Kubelet::start(&stage);
    create(&stage, cache(2)).await;
    until(&stage, "Ready", |s| s.phase == "Ready").await;
    let ask = async |name: &str, arm: Value| {
        let op = cluster::operation(&stage.ns.name, name, "c", json!({"scaleIn": arm}), json!({}));
        api::<DataOperation>(&stage).create(&PostParams::default(), &op).await.map(drop)
    };
    ask("more", json!({"workers": 3})).await.unwrap();
    ask("none", json!({"numbers": [0, 1]})).await.unwrap();
    for (name, why) in [("more", "MoreWanted"), ("none", "NoWorkerLeft")] {
        let ended = async || {
            let op = api::<DataOperation>(&stage).get(name).await.unwrap();
            serde_json::to_string(&op.status).unwrap().contains(why)
        };
        stage.eventually(why, ended).await;
    }
    for arm in [json!({}), json!({"workers": 1, "numbers": [1]}), json!({"numbers": []})] {
        let refused = ask("wrong", arm).await.unwrap_err().to_string();
        assert!(refused.contains("either workers, how many stay, or numbers, which leave"), "{refused}");
    }
    // A worker by its name; one that is not there has left.
    ask("named", json!({"numbers": [0, 7]})).await.unwrap();
    let status = until(&stage, "1/1", |s| s.revision.as_ref().is_some_and(|r| r.workers == [1])).await;
    assert_eq!(status.revision.map(|r| r.number), Some(2));
    delete(&stage).await;
    nothing_is_left(&stage).await;
    drop(kubelet);
    running.stop().await;
}
