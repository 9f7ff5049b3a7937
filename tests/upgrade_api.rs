//! Is every member made anew once by an upgrade, whenever the controller dies, and brought back once where the new image does
//! not run; and in which order do operations go that were asked for at once? The API server is real; pods are said to be ready
//! by the test, and the engine says of which release they are by their images.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that cannot go on fails")]

mod cluster;

use cluster::controllers::InProcess;
use cluster::faults::Faults;
use cluster::managed::*;
use cluster::stage::Stage;
use futures::StreamExt as _;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use kube::api::{ListParams, Patch, PatchParams, PostParams};
use ratchet::api::cluster::CacheClusterStatus;
use ratchet::api::{DataOperation, Request as _, Upgrade};
use ratchet_state_machine::effect::Effect;
use ratchet_state_machine::machine::Phase;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// A master and two workers of 2.9.4, whose clients hear of workers at once.
fn cache() -> Value {
    let quick = json!({"alluxio.user.worker.list.refresh.interval": "1ms"});
    json!({"version": "2.9.4", "jobs": {"workers": 0}, "workers": {"replicas": 2}, "properties": quick,
        "masters": {"journal": {"emptyDir": null, "hostPath": "/tmp"}}})
}

async fn ask(stage: &Stage, name: &str, arm: Value) -> Result<(), kube::Error> {
    let op = cluster::operation(&stage.ns.name, name, "c", arm, json!({"stallDeadlineSeconds": 60}));
    api::<DataOperation>(stage).create(&PostParams::default(), &op).await.map(drop)
}

fn upgrade(more: Value) -> Value {
    let mut arm = json!({"version": "2.9.6", "soakSeconds": 0, "memberDeadlineSeconds": 5});
    merge(&mut arm, &more);
    json!({"upgrade": arm})
}

/// Asks for one in the kind of its own; gives back the name of its operation.
async fn ask_for(stage: &Stage, name: &str, more: Value) -> Result<String, kube::Error> {
    let mut spec = json!({"target": "c", "stallDeadlineSeconds": 60});
    merge(&mut spec, &upgrade(more)["upgrade"]);
    let spec = serde_json::from_value(spec).expect("a spec");
    let asked = Upgrade::new(cluster::meta(&stage.ns.name, name), spec, None);
    api::<Upgrade>(stage).create(&PostParams::default(), &asked).await.map(|u| u.operation_name())
}

/// The one operation of an upgrade has ended, and the upgrade shows it.
async fn shows(stage: &Stage, name: &str, op: &DataOperation) {
    let (phase, run) = (op.phase().map(|p| p.name().to_owned()), op.name_any());
    stage
        .eventually("the upgrade shows the end of its run", async || {
            let status = api::<Upgrade>(stage).get(name).await.unwrap().status.unwrap_or_default();
            Some(status.phase) == phase && status.operation == run && status.finished_at.is_some()
        })
        .await;
    let all = api::<DataOperation>(stage).list(&ListParams::default()).await.unwrap().items;
    let runs: Vec<String> = all
        .iter()
        .filter(|o| o.owner_references().iter().any(|r| r.name == name))
        .map(ResourceExt::name_any)
        .collect();
    assert_eq!(runs, [run]);
}

async fn phase(stage: &Stage, name: &str) -> Option<Phase> {
    api::<DataOperation>(stage).get_opt(name).await.unwrap().and_then(|o| o.phase())
}

fn tag(pod: &Pod) -> String {
    let image = pod.spec.as_ref().and_then(|s| s.containers[0].image.clone()).unwrap_or_default();
    image.rsplit_once(':').map(|(_, tag)| tag.to_owned()).unwrap_or_default()
}

/// What runs in the pods: each says of which release it is, a worker whose pod is another one registers where it was let in.
/// Ends when it is dropped.
struct Runs {
    task: tokio::task::JoinHandle<()>,
    /// Every pod that there was, with its tag, by its name.
    pods: Arc<Mutex<BTreeMap<String, BTreeMap<String, String>>>>,
}

impl Runs {
    fn start(stage: &Stage) -> Self {
        let (pods, engine) = (api::<Pod>(stage), stage.engine.clone());
        let all: Arc<Mutex<BTreeMap<String, BTreeMap<String, String>>>> = Arc::default();
        let known = Arc::clone(&all);
        let mut serving: BTreeMap<String, String> = BTreeMap::new();
        let task = tokio::spawn(async move {
            loop {
                for pod in pods.list(&ListParams::default()).await.map(|l| l.items).unwrap_or_default() {
                    let (name, uid) = (pod.name_any(), pod.uid().unwrap_or_default());
                    let mut known = known.lock().unwrap();
                    let of = known.entry(name.clone()).or_default();
                    of.insert(uid, tag(&pod));
                    let ready = pod.status.as_ref().is_some_and(|s| s.pod_ip.is_some());
                    if ready && pod.metadata.deletion_timestamp.is_none() {
                        let mut world = engine.world();
                        world.versions.insert(name.clone(), tag(&pod));
                        let uid = pod.uid().unwrap_or_default();
                        if serving.insert(name.clone(), uid.clone()).is_some_and(|before| before != uid) {
                            let host = |h: &String| h.starts_with(&format!("{name}."));
                            world.out.retain(|h, state| !host(h) || state != "Decommissioned");
                        }
                    }
                }
                tokio::time::sleep(Duration::from_millis(40)).await;
            }
        });
        Self { task, pods: all }
    }

    /// Tags of the pods that there were of each name, and how many there were.
    fn all(&self) -> BTreeMap<String, Vec<String>> {
        let known = self.pods.lock().unwrap();
        known.iter().map(|(name, of)| (name.clone(), of.values().cloned().collect())).collect()
    }
}

impl Drop for Runs {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A cache of 2.9.4 that serves.
async fn set_up(stage: &Stage, workers: usize) {
    let mut cache = cache();
    cache["workers"]["replicas"] = json!(workers);
    create(stage, cache).await;
    let all = format!("{workers}/{workers}");
    until(stage, "Ready", |s| s.phase == "Ready" && s.workers == all).await;
}

fn members(all: &BTreeMap<String, Vec<String>>) -> Vec<(&str, usize)> {
    all.iter().map(|(name, of)| (name.as_str(), of.len())).collect()
}

/// A controller dies at its k-th write of an upgrade to this image; another one finishes. Gives back how many writes the first
/// one sent.
async fn dies(k: usize, bad: bool) -> Option<usize> {
    let stage = Stage::empty("upgrade-crash").await?;
    let _kubelet = Kubelet::unless(&stage, |p| tag(p) == "bad");
    let before = controller(&stage).await;
    let runs = Runs::start(&stage);
    set_up(&stage, 2).await;
    before.stop().await;
    stage.engine.world().unpersisted = 2;
    stage.engine.world().written_meanwhile = 1;
    let faults = Faults::dying_at(k);
    let client = faults.client(&stage.bench).await;
    let first = InProcess::with_client(client, &stage.ns.name, stage.engine.clone(), config());
    let more = if bad { json!({"tag": "bad"}) } else { json!({}) };
    let up = ask_for(&stage, "up", more).await.unwrap();
    let dead = || faults.writes() > k;
    let done = async || phase(&stage, &up).await.is_some_and(Phase::terminal);
    stage.eventually("it dies or is done", async || dead() || done().await).await;
    let second = if dead() { Some(controller(&stage).await) } else { None };
    stage.eventually("it is over", done).await;
    let op = stage.get(&up).await;
    let wanted = if bad { Phase::RolledBack } else { Phase::Succeeded };
    assert_eq!(op.phase(), Some(wanted), "k = {k}: {:#?}", op.status);
    let version = if bad { "2.9.4" } else { "2.9.6" };
    let status = until(&stage, version, |s| s.phase == "Ready" && s.workers == "2/2").await;
    let revision = status.revision.expect("a revision");
    assert_eq!(
        (revision.number, revision.managed.version.as_str()),
        (2 + i64::from(bad), version),
        "k = {k}"
    );
    // Which pods were let go, by their members: what Kubernetes makes of a pod that nobody runs is not counted.
    let steps = stage.prove(&op).await;
    let mut gone: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for step in &steps {
        if let Some(Effect::ReplaceMember { role, number, uid }) =
            step.after.intent.as_ref().map(|i| &i.effect)
        {
            gone.entry(format!("{} {number}", role.name())).or_default().insert(uid.clone());
        }
    }
    let counts: Vec<(&str, usize)> =
        gone.iter().map(|(member, uids)| (member.as_str(), uids.len())).collect();
    let story: Vec<String> = steps.iter().map(|r| format!("{} {}", r.entry.at, r.entry.body)).collect();
    let all = runs.all();
    let wanted: &[(&str, usize)] = match bad {
        false => &[("master 0", 1), ("worker 0", 1), ("worker 1", 1)],
        // There and back.
        true => &[("master 0", 2)],
    };
    assert_eq!(counts, wanted, "k = {k}: {all:?} {story:#?}");
    assert!(!bad || members(&all)[1..] == [("c-worker-0-0", 1), ("c-worker-1-0", 1)], "k = {k}: {all:?}");
    let written = faults.writes();
    first.crash();
    let left = |w: &cluster::fake::World| (w.unpersisted, w.stranded, w.out.len());
    if !bad {
        assert_eq!(left(&stage.engine.world()), (0, 0, 0), "k = {k}");
    }
    let second = match second {
        Some(second) => second,
        None => controller(&stage).await,
    };
    shows(&stage, "up", &op).await;
    delete(&stage).await;
    second.stop().await;
    Some(written)
}

async fn dies_everywhere(bad: bool, least: usize) {
    let Some(writes) = dies(usize::MAX, bad).await else { return };
    assert!((least..140).contains(&writes), "{writes} writes");
    // Without the variable, at every seventh of them, in turn before and after the write.
    let step = if std::env::var_os("RATCHET_EXHAUSTIVE").is_some() { 1 } else { 7 };
    let runs: Vec<usize> = (1..=writes).step_by(step).collect();
    let played = futures::stream::iter(runs.iter().map(|k| dies(*k, bad))).buffer_unordered(5).count().await;
    assert_eq!(played, runs.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn every_member_is_made_anew_once_whenever_the_controller_dies() {
    dies_everywhere(false, 20).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_that_does_not_run_is_taken_back_whenever_the_controller_dies_and_touches_only_the_master() {
    dies_everywhere(true, 15).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_canary_halts_until_somebody_approves_it_and_a_killed_controller_changes_nothing() {
    let Some(stage) = Stage::empty("upgrade-canary").await else { return };
    let running = controller(&stage).await;
    let _kubelet = Kubelet::start(&stage);
    let runs = Runs::start(&stage);
    set_up(&stage, 2).await;
    let steps = json!([{"workers": 0, "pauseSeconds": 2}, {"workers": 1, "approve": true}]);
    let wrong = json!({"strategy": {"steps": [{"workers": 1}, {"workers": 1}]}});
    let refused = ask_for(&stage, "wrong", wrong).await.unwrap_err().to_string();
    assert!(refused.contains("more workers than the one before"), "{refused}");
    let up = ask_for(&stage, "up", json!({"strategy": {"steps": steps}})).await.unwrap();
    stage.waits(&up, "WaitingForApproval").await;
    let before = runs.all();
    assert_eq!(members(&before), [("c-master-0", 2), ("c-worker-0-0", 2), ("c-worker-1-0", 1)]);
    running.crash();
    let running = controller(&stage).await;
    stage
        .eventually("the upgrade says what it waits for", async || {
            let status = api::<Upgrade>(&stage).get("up").await.unwrap().status.unwrap_or_default();
            (status.phase.as_str(), status.reason.as_str()) == ("Running", "WaitingForApproval")
        })
        .await;
    let by = stage.admin_name();
    let approve = |what: &str| json!({"approve": {"planHash": what, "by": by}});
    // A word that was given for another halt is none for this one.
    stage.control(&up, approve("step-1")).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(runs.all(), before);
    stage.control(&up, approve("step-2")).await;
    stage.ends(&up, Phase::Succeeded).await;
    let told = stage.get(&up).await;
    let steps = stage.prove(&told).await;
    let passed = steps.iter().filter(|r| r.entry.event == "StepPassed").count();
    assert_eq!(passed, 2);
    assert_eq!(members(&runs.all()), [("c-master-0", 2), ("c-worker-0-0", 2), ("c-worker-1-0", 2)]);
    delete(&stage).await;
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_upgrades_and_a_scale_in_at_once_go_one_after_the_other_each_once() {
    let Some(stage) = Stage::empty("upgrade-order").await else { return };
    let running = controller(&stage).await;
    let _kubelet = Kubelet::start(&stage);
    let runs = Runs::start(&stage);
    set_up(&stage, 3).await;
    let back = upgrade(json!({"version": "2.9.4"}));
    let (up, down, fewer) = (upgrade(json!({})), back, json!({"scaleIn": {"workers": 2}}));
    let (a, b, c) =
        tokio::join!(ask(&stage, "a-up", up), ask(&stage, "b-down", down), ask(&stage, "c-fewer", fewer));
    for asked in [a, b, c] {
        asked.unwrap();
    }
    let mut held: BTreeSet<Vec<String>> = BTreeSet::new();
    let name = stage.cluster("c").await.status.and_then(|s| s.lock).expect("a lock");
    let locks: kube::Api<ratchet::api::TargetLock> = kube::Api::all(stage.admin.clone());
    let all = ["a-up", "b-down", "c-fewer"];
    stage
        .eventually("all are over", async || {
            let lock = locks.get(&name).await.unwrap();
            held.insert(lock.spec.lock.holders.into_iter().map(|h| h.name).collect());
            let mut over = true;
            for op in all {
                over &= phase(&stage, op).await.is_some_and(Phase::terminal);
            }
            over
        })
        .await;
    for op in all {
        stage.ends(op, Phase::Succeeded).await;
    }
    assert!(held.iter().all(|h| h.len() <= 1), "{held:?}");
    let status = until(&stage, "2/2", |s| s.phase == "Ready" && s.workers == "2/2").await;
    let revision = status.revision.expect("a revision");
    // Of two that are asked for in the same second the one with the lower uid comes first: there and back, or nothing to do
    // and there. Each has written once.
    let known = (revision.number, revision.workers.len());
    assert!([(4, 2), (3, 2)].contains(&known), "{known:?} {:?}", runs.all());
    delete(&stage).await;
    nothing_is_left(&stage).await;
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancel_goes_back_and_what_cannot_be_is_said_before_anything_moves() {
    let Some(stage) = Stage::empty("upgrade-cancel").await else { return };
    let running = controller(&stage).await;
    let _kubelet = Kubelet::start(&stage);
    let runs = Runs::start(&stage);
    set_up(&stage, 2).await;
    for (name, more, why) in [
        ("unproven", json!({"version": "2.9.1"}), "UnprovenReleases"),
        ("same", json!({"tag": "2.9.4"}), "SameImage"),
        ("long", json!({"repository": "r".repeat(200)}), "ReleaseTooLong"),
    ] {
        ask(&stage, name, upgrade(more)).await.unwrap();
        stage.ends(name, Phase::Failed).await;
        let told = serde_json::to_string(&stage.get(name).await.status).unwrap();
        assert!(told.contains(why), "{told}");
    }
    for (more, why) in [
        (json!({"version": ""}), "version"),
        (json!({"maxUnavailable": 0}), "maxUnavailable"),
        (json!({"soakSeconds": -1}), "soakSeconds"),
    ] {
        let refused = ask(&stage, "wrong", upgrade(more.clone())).await.unwrap_err().to_string();
        assert!(refused.contains(why), "{refused}");
        let refused = ask_for(&stage, "wrong", more).await.unwrap_err().to_string();
        assert!(refused.contains(why), "{refused}");
    }
    let same = ask_for(&stage, "same", json!({"tag": "2.9.4"})).await.unwrap();
    stage.ends(&same, Phase::Failed).await;
    shows(&stage, "same", &stage.get(&same).await).await;
    let other = Patch::Merge(json!({"spec": {"version": "2.9.5"}}));
    let refused = api::<Upgrade>(&stage).patch("same", &PatchParams::default(), &other).await.unwrap_err();
    assert!(refused.to_string().contains("an Upgrade cannot be changed; create another one"), "{refused}");
    assert_eq!(members(&runs.all()), [("c-master-0", 1), ("c-worker-0-0", 1), ("c-worker-1-0", 1)]);
    stage.engine.world().busy = 1;
    ask(&stage, "up", upgrade(json!({}))).await.unwrap();
    stage.waits("up", "StillUsed").await;
    stage.control("up", json!({"cancel": true})).await;
    stage.until("up", |s| s.phase == Phase::RollingBack).await;
    stage.engine.world().busy = 0;
    stage.ends("up", Phase::Cancelled).await;
    let status = until(&stage, "2/2", |s| s.phase == "Ready" && s.workers == "2/2").await;
    assert_eq!(status.revision.map(|r| r.managed.version).as_deref(), Some("2.9.4"));
    let all = runs.all();
    // The master there and back, and the worker that was drained once more as it was.
    assert!(all["c-master-0"].len() >= 3 && all["c-worker-0-0"].len() >= 2, "{all:?}");
    assert_eq!(all["c-worker-1-0"].len(), 1, "{all:?}");
    assert!(all["c-worker-0-0"].iter().all(|t| t == "2.9.4"), "{all:?}");
    delete(&stage).await;
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_edit_becomes_one_upgrade_and_what_was_taken_back_stays_so() {
    let Some(stage) = Stage::empty("upgrade-edit").await else { return };
    let running = controller(&stage).await;
    let _kubelet = Kubelet::unless(&stage, |p| tag(p) == "bad");
    let runs = Runs::start(&stage);
    set_up(&stage, 2).await;
    edit(&stage, json!({"version": "2.9.6"})).await;
    let is = |s: &CacheClusterStatus, phase: &str| {
        let facet = s.facets.iter().find(|f| f.name == "version");
        facet.is_some_and(|f| f.phase == phase) && s.phase == "Ready"
    };
    let status = until(&stage, "upgraded", |s| is(s, "Succeeded")).await;
    let revision = status.revision.expect("a revision");
    assert_eq!((revision.managed.version.as_str(), status.handled), ("2.9.6", 1));
    says(&stage, "SpecNotApplied", "False Applied").await;
    // The next one is cancelled: the cache stays what it was, whatever its spec says.
    stage.engine.world().busy = 1;
    edit(&stage, json!({"version": "2.9.4"})).await;
    let status = until(&stage, "at work", |s| is(s, "Running") || s.phase == "Updating").await;
    let op = status.facets.iter().find(|f| f.name == "version").expect("a facet").operation.clone();
    stage.waits(&op, "StillUsed").await;
    stage.control(&op, json!({"cancel": true})).await;
    stage.engine.world().busy = 0;
    stage.ends(&op, Phase::Cancelled).await;
    says(&stage, "SpecNotApplied", "True OperationFailed: version is 2.9.4").await;
    let status = until(&stage, "Ready", |s| s.phase == "Ready").await;
    assert_eq!(status.revision.map(|r| r.managed.version).as_deref(), Some("2.9.6"));
    // So is one whose image does not run, with its reason; and no other comes by itself.
    edit(&stage, json!({"version": "2.9.4", "image": {"tag": "bad"}})).await;
    let facet =
        |s: &CacheClusterStatus| s.facets.iter().find(|f| f.name == "version").cloned().unwrap_or_default();
    let status = until(&stage, "another", |s| s.handled == 3 && facet(s).phase != "Creating").await;
    let bad = facet(&status).operation;
    stage.step(&bad, "rolling").await;
    // Who asks for something else does not wait for its deadline.
    edit(&stage, json!({"version": "2.9.6", "image": {"tag": null}})).await;
    stage.ends(&bad, Phase::Cancelled).await;
    says(&stage, "SpecNotApplied", "False Applied").await;
    let status = until(&stage, "Ready", |s| s.phase == "Ready" && s.workers == "2/2").await;
    assert_eq!((status.handled, status.revision.map(|r| r.managed.version)), (4, Some("2.9.6".into())));
    let all = runs.all();
    assert!(all["c-worker-1-0"].len() <= 3, "{all:?}");
    delete(&stage).await;
    running.stop().await;
}
