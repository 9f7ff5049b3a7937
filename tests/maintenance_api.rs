//! Are workers taken out of use once, kept out and brought back once, whenever the controller dies, and what becomes of one that
//! is refused or cancelled? The API server is real; pods are said to be ready by the test, and the engine says what a test
//! wants.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that cannot go on fails")]

mod cluster;

use cluster::controllers::InProcess;
use cluster::faults::Faults;
use cluster::managed::*;
use cluster::stage::Stage;
use futures::StreamExt as _;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::api::PostParams;
use ratchet::api::DataOperation;
use ratchet_state_machine::machine::Phase;
use serde_json::{Value, json};

/// A cache of so many workers, whose clients hear of workers at once.
fn cache(workers: usize) -> Value {
    let quick = json!({"alluxio.user.worker.list.refresh.interval": "1ms"});
    json!({"jobs": {"workers": 0}, "workers": {"replicas": workers}, "properties": quick})
}

async fn ask(stage: &Stage, name: &str, arm: Value) -> Result<(), kube::Error> {
    let op = cluster::operation(&stage.ns.name, name, "c", arm, json!({}));
    api::<DataOperation>(stage).create(&PostParams::default(), &op).await.map(drop)
}

async fn phase(stage: &Stage, name: &str) -> Option<Phase> {
    api::<DataOperation>(stage).get_opt(name).await.unwrap().and_then(|o| o.phase())
}

async fn uid(stage: &Stage, pod: &str) -> Option<String> {
    api::<Pod>(stage).get_opt(pod).await.unwrap().and_then(|p| p.metadata.uid)
}

/// A worker whose pod is another one registers, and serves where it was let in. Ends when it is dropped.
struct Registers(tokio::task::JoinHandle<()>);

impl Registers {
    async fn start(stage: &Stage, number: usize) -> Self {
        let pod = format!("c-worker-{number}-0");
        let (pods, engine) = (api::<Pod>(stage), stage.engine.clone());
        let mut before = uid(stage, &pod).await;
        Self(tokio::spawn(async move {
            loop {
                let now = pods.get_opt(&pod).await.ok().flatten();
                let ready = now.filter(|p| p.status.as_ref().is_some_and(|s| s.pod_ip.is_some()));
                if let Some(new) = ready.and_then(|p| p.metadata.uid).filter(|u| Some(u) != before.as_ref()) {
                    before = Some(new);
                    let host = |h: &String| h.starts_with(&format!("{pod}."));
                    engine.world().out.retain(|h, state| !host(h) || state != "Decommissioned");
                }
                tokio::time::sleep(std::time::Duration::from_millis(50)).await;
            }
        }))
    }
}

impl Drop for Registers {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// A controller dies at its k-th write while worker 1 is taken out and brought back; another one finishes. Gives back how many
/// writes the first one sent.
async fn dies(k: usize) -> Option<usize> {
    let stage = Stage::empty("aside-crash").await?;
    let _kubelet = Kubelet::start(&stage);
    let before = controller(&stage).await;
    create(&stage, cache(3)).await;
    until(&stage, "Ready", |s| s.phase == "Ready").await;
    before.stop().await;
    let first_pod = uid(&stage, "c-worker-1-0").await;
    let _registers = Registers::start(&stage, 1).await;
    stage.engine.world().unpersisted = 2;
    stage.engine.world().written_meanwhile = 1;
    let faults = Faults::dying_at(k);
    let client = faults.client(&stage.bench).await;
    let first = InProcess::with_client(client, &stage.ns.name, stage.engine.clone(), config());
    ask(&stage, "aside", json!({"decommission": {"numbers": [1]}})).await.unwrap();
    let dead = || faults.writes() > k;
    let done = async |name: &str| phase(&stage, name).await.is_some_and(Phase::terminal);
    stage.eventually("it dies or is done", async || dead() || done("aside").await).await;
    let second = if dead() { Some(controller(&stage).await) } else { None };
    stage.eventually("it is out of use", async || done("aside").await).await;
    assert_eq!(phase(&stage, "aside").await, Some(Phase::Succeeded), "k = {k}");
    let status = until(&stage, "2/3", |s| s.workers == "2/3").await;
    let revision = status.revision.expect("a revision");
    assert_eq!((revision.number, revision.out_of_use), (2, vec![1]), "k = {k}: written once");
    assert_eq!(uid(&stage, "c-worker-1-0").await, first_pod, "k = {k}: its pod stays");
    ask(&stage, "back", json!({"recommission": {"numbers": [1]}})).await.unwrap();
    stage.eventually("it dies or is done", async || second.is_some() || dead() || done("back").await).await;
    let second = match second {
        None if dead() => Some(controller(&stage).await),
        other => other,
    };
    stage.eventually("it is back", async || done("back").await).await;
    assert_eq!(phase(&stage, "back").await, Some(Phase::Succeeded), "k = {k}");
    let written = faults.writes();
    first.crash();
    let status = until(&stage, "3/3", |s| s.workers == "3/3").await;
    let revision = status.revision.expect("a revision");
    assert_eq!((revision.number, revision.out_of_use), (3, vec![]), "k = {k}: written once");
    assert_ne!(uid(&stage, "c-worker-1-0").await, first_pod, "k = {k}: its pod is made anew");
    assert_eq!(status.handled, 0, "k = {k}: nobody had to be told again");
    let left = |w: &cluster::fake::World| (w.unpersisted, w.stranded);
    assert_eq!(left(&stage.engine.world()), (0, 0), "k = {k}");
    let second = match second {
        Some(second) => second,
        None => controller(&stage).await,
    };
    delete(&stage).await;
    second.stop().await;
    Some(written)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_is_taken_out_and_brought_back_once_whenever_the_controller_dies() {
    let Some(writes) = dies(usize::MAX).await else { return };
    assert!((15..70).contains(&writes), "{writes} writes for a worker out and back");
    // Without the variable, at every third of them, in turn before and after the write.
    let step = if std::env::var_os("RATCHET_EXHAUSTIVE").is_some() { 1 } else { 3 };
    let runs: Vec<usize> = (1..=writes).step_by(step).collect();
    let played = futures::stream::iter(runs.iter().map(|k| dies(*k))).buffer_unordered(6).count().await;
    assert_eq!(played, runs.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_serves_again_is_taken_out_again_and_once_for_each_time() {
    let Some(stage) = Stage::empty("aside-again").await else { return };
    let running = controller(&stage).await;
    let kubelet = Kubelet::start(&stage);
    create(&stage, cache(3)).await;
    until(&stage, "Ready", |s| s.phase == "Ready").await;
    ask(&stage, "aside", json!({"decommission": {"numbers": [1]}})).await.unwrap();
    stage.ends("aside", Phase::Succeeded).await;
    let budgets = api::<PodDisruptionBudget>(&stage);
    let aside = async || {
        let selector = budgets.get("c-worker").await.unwrap().spec.unwrap().selector.unwrap();
        selector
            .match_expressions
            .unwrap_or_default()
            .into_iter()
            .flat_map(|e| e.values.unwrap_or_default())
            .collect::<Vec<String>>()
    };
    let is = async |wanted: Vec<String>| aside().await == wanted;
    stage.eventually("its pod is not protected", async || is(vec!["1".to_owned()]).await).await;
    for time in 1..=2 {
        stage.engine.world().out.clear();
        let status = until(&stage, "told again", |s| {
            let facet = s.facets.iter().find(|f| f.name == "outOfUse");
            s.handled == time && facet.is_some_and(|f| f.phase == "Succeeded")
        })
        .await;
        assert_eq!(status.revision.map(|r| r.out_of_use), Some(vec![1]));
        assert_eq!(stage.engine.world().out.len(), 1);
    }
    // Nobody takes it out again whom a person has brought back.
    let registers = Registers::start(&stage, 1).await;
    ask(&stage, "back", json!({"recommission": {"numbers": [1]}})).await.unwrap();
    stage.ends("back", Phase::Succeeded).await;
    let status = until(&stage, "3/3", |s| s.phase == "Ready" && s.workers == "3/3").await;
    assert_eq!(status.handled, 2);
    stage.eventually("it is protected again", async || is(vec![]).await).await;
    drop(registers);
    delete(&stage).await;
    drop(kubelet);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_names_a_worker_that_is_not_there_or_all_of_them_is_told_so_and_fewer_workers_are_those_aside() {
    let Some(stage) = Stage::empty("aside-wrong").await else { return };
    let running = controller(&stage).await;
    let kubelet = Kubelet::start(&stage);
    create(&stage, cache(3)).await;
    until(&stage, "Ready", |s| s.phase == "Ready").await;
    let wrong = [
        ("unknown", json!({"decommission": {"numbers": [7]}}), "the cache has no worker 7; it has 0-2"),
        ("all", json!({"decommission": {"numbers": [0, 1, 2]}}), "no worker would be left in use"),
        ("nobody", json!({"recommission": {"numbers": [3]}}), "the cache has no worker 3"),
    ];
    for (name, arm, why) in wrong {
        ask(&stage, name, arm).await.unwrap();
        stage.ends(name, Phase::Failed).await;
        let told = serde_json::to_string(&stage.get(name).await.status).unwrap();
        assert!(told.contains(why), "{told}");
    }
    for arm in [json!({"decommission": {"numbers": []}}), json!({"recommission": {"numbers": [256]}})] {
        let refused = ask(&stage, "wrong", arm).await.unwrap_err().to_string();
        assert!(refused.contains("numbers"), "{refused}");
    }
    ask(&stage, "aside", json!({"decommission": {"numbers": [0]}})).await.unwrap();
    stage.ends("aside", Phase::Succeeded).await;
    edit(&stage, json!({"workers": {"replicas": 2}})).await;
    let status = until(&stage, "2/2", |s| s.phase == "Ready" && s.workers == "2/2").await;
    let revision = status.revision.expect("a revision");
    assert_eq!((revision.workers, revision.out_of_use), (vec![1, 2], vec![]));
    delete(&stage).await;
    nothing_is_left(&stage).await;
    drop(kubelet);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancel_while_it_drains_brings_the_worker_back() {
    let Some(stage) = Stage::empty("aside-back").await else { return };
    let running = controller(&stage).await;
    let kubelet = Kubelet::start(&stage);
    create(&stage, cache(3)).await;
    until(&stage, "Ready", |s| s.phase == "Ready").await;
    let registers = Registers::start(&stage, 1).await;
    stage.engine.world().busy = 1;
    ask(&stage, "aside", json!({"decommission": {"numbers": [1]}})).await.unwrap();
    stage.waits("aside", "StillUsed").await;
    let before = uid(&stage, "c-worker-1-0").await;
    stage.control("aside", json!({"cancel": true})).await;
    stage.ends("aside", Phase::Cancelled).await;
    let status = until(&stage, "3/3", |s| s.phase == "Ready" && s.workers == "3/3").await;
    assert_eq!(status.revision.map(|r| (r.number, r.out_of_use)), Some((1, vec![])));
    assert_ne!(uid(&stage, "c-worker-1-0").await, before, "its pod is another one");
    drop(registers);
    delete(&stage).await;
    drop(kubelet);
    running.stop().await;
}
