//! Rows of the failure catalogue that people cause: a status written by hand, a target deleted under a running
//! operation, controllers rolled forward and back. Whatever they do, nothing is done twice and nothing comes back that
//! they have deleted.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that cannot go on fails")]

mod cluster;

use cluster::legal::{put_status, status, then};
use cluster::stage::Stage;
use kube::api::{Api, ApiResource, DeleteParams, DynamicObject, ListParams};
use ratchet::api::{CONTROLLER_USER, CacheCluster, DataOperation};
use ratchet::controller::Config;
use ratchet_state_machine::MACHINE_VERSION;
use ratchet_state_machine::effect::JobState;
use ratchet_state_machine::journal::Entry;
use ratchet_state_machine::machine::Phase;
use ratchet_state_machine::operation::Event;
use ratchet_state_machine::operation::load::LoadEvent;
use serde_json::{Value, json};
use std::collections::{BTreeSet, HashSet};
use std::time::Duration;

/// What `kubectl patch --subresource=status` says, in whose name it is asked.
fn patch_status(stage: &Stage, name: &str, r#as: Option<&str>, patch: &Value) -> Result<String, String> {
    let mut command = stage.bench.kubectl_as("admin");
    command.args(["-n", &stage.ns.name, "patch", "dop", name, "--subresource=status", "--type=json", "-p"]);
    command.arg(patch.to_string());
    if let Some(user) = r#as {
        command.args(["--as", user, "--as-group=system:masters"]);
    }
    let out = command.output().unwrap();
    let said = String::from_utf8_lossy(if out.status.success() { &out.stdout } else { &out.stderr });
    if out.status.success() { Ok(said.into_owned()) } else { Err(said.into_owned()) }
}

/// The status as the server has it, with everything that this version cannot read.
async fn raw(stage: &Stage, name: &str) -> Value {
    let kind = ApiResource::erase::<DataOperation>(&());
    let api: Api<DynamicObject> = Api::namespaced_with(stage.admin.clone(), &stage.ns.name, &kind);
    api.get(name).await.unwrap().data["status"].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn row_20_a_jump_of_the_phase_by_kubectl_is_refused_with_a_sentence() {
    let Some(stage) = Stage::new("jump").await else { return };
    stage.engine.world().job_takes = u32::MAX;
    let controller = stage.controller().await;
    stage.load("op", "/data", json!({})).await;
    let before = stage.at_work("op").await.status.unwrap();
    let jump = |seq: i64| {
        json!([{"op": "replace", "path": "/status/phase", "value": "Succeeded"},
            {"op": "replace", "path": "/status/step", "value": "succeeded"},
            {"op": "replace", "path": "/status/state", "value": {"load": {"succeeded": {}}}},
            {"op": "replace", "path": "/status/seq", "value": seq}])
    };
    let word =
        json!([{"op": "add", "path": "/status/waitingOn", "value": {"reason": "Mine", "message": "I say"}}]);
    let policy = patch_status(&stage, "op", None, &word).unwrap_err();
    assert!(policy.contains("only the Ratchet controller writes status"), "{policy}");
    // Somebody who may do everything and signs as the controller meets the rules.
    for (seq, why) in [
        (before.seq.0, "seq grows by one with each transition, and nothing of the state changes without one"),
        (before.seq.0 + 1, "illegal step: no edge of the state machine leads there"),
    ] {
        let rule = patch_status(&stage, "op", Some(CONTROLLER_USER), &jump(seq)).unwrap_err();
        assert!(rule.contains(why), "{rule}");
    }
    let gone = json!([{"op": "remove", "path": "/status"}]);
    let rule = patch_status(&stage, "op", Some(CONTROLLER_USER), &gone).unwrap_err();
    assert!(rule.contains("status cannot be removed"), "{rule}");
    let now = stage.get("op").await.status.unwrap();
    assert_eq!((now.seq, &now.state, &now.digest), (before.seq, &before.state, &before.digest));
    stage.engine.world().paths.get_mut("/data").unwrap().looks_left = 0;
    stage.ends("op", Phase::Succeeded).await;
    stage.loaded_once(["/data"]);
    controller.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn row_20_a_forged_entry_that_passes_the_rules_has_no_effect() {
    let Some(stage) = Stage::new("forged").await else { return };
    stage.engine.world().job_takes = u32::MAX;
    let controller = stage.controller().await;
    stage.load("op", "/data", json!({})).await;
    let op = stage.at_work("op").await;
    let record = op.status.unwrap().record().unwrap();
    // A legal edge, an entry of the right shape, and a digest that does not follow from what is written.
    let event = Event::Load(LoadEvent::DataLoaded { bytes: 1, failed: 0, attributed: true, more: false });
    let legal = then(&record, event, None, None);
    let entry: &Entry = legal.tail.last().unwrap();
    let body = entry.body.replace("a test", "a jest");
    assert_ne!(body, entry.body);
    let patch = json!([{"op": "replace", "path": "/status/seq", "value": entry.seq},
        {"op": "replace", "path": "/status/step", "value": "verifying"},
        {"op": "replace", "path": "/status/state", "value": legal.folded.state},
        {"op": "replace", "path": "/status/digest", "value": "0".repeat(64)},
        {"op": "add", "path": "/status/tail/-", "value": {"seq": entry.seq, "at": entry.at, "event": entry.event, "body": body}}]);
    let effects = stage.engine.world().log.len();
    patch_status(&stage, "op", Some(CONTROLLER_USER), &patch).expect("no rule can see a digest");
    stage.load("other", "/other", json!({})).await;
    stage.eventually("the other is at work", async || stage.engine.path("/other").submits == 1).await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    let log = stage.engine.world().log.clone();
    assert_eq!(log.len(), effects + 2, "something was done for a history that does not hold: {log:?}");
    let now = stage.get("op").await.status.unwrap();
    assert_eq!((now.seq, now.step.as_str()), (entry.seq, "verifying"), "it goes on from a forged entry");
    assert_eq!(stage.engine.path("/data").stops, 0);
    stage.engine.world().paths.get_mut("/other").unwrap().looks_left = 0;
    stage.ends("other", Phase::Succeeded).await;
    let text = controller.ctx.metrics.text().unwrap();
    assert!(!text.contains("\nratchet_parked_total 0"), "nobody is told");
    controller.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn row_27_two_versions_that_overlap_do_everything_once() {
    const EACH: usize = 25;
    let Some(stage) = Stage::new("surge").await else { return };
    // Takeovers wait for as long as a writer may take: nobody is taken over because the machine is slow.
    let old = Config { send_for_ms: 20_000, concurrency: 3, ..Stage::config() };
    let new =
        Config { send_for_ms: 15_000, concurrency: 6, parked_retry: Duration::from_secs(5), ..old.clone() };
    stage.engine.world().job_takes = 2;
    let create = async |from: usize| {
        for i in from..from + EACH {
            stage.load(&format!("op-{i}"), &format!("/data/{i}"), json!({})).await;
        }
    };
    let before = stage.controller_with(old).await;
    create(0).await;
    // The new one surges, and the old one drains in mid-work; a second of the new ones follows.
    let first = stage.controller_with(new.clone()).await;
    create(EACH).await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    before.stop().await;
    let second = stage.controller_with(new).await;
    let mut writers = BTreeSet::new();
    let paths: Vec<String> = (0..2 * EACH).map(|i| format!("/data/{i}")).collect();
    for i in 0..paths.len() {
        let op = stage.ends(&format!("op-{i}"), Phase::Succeeded).await;
        writers.extend(stage.prove(&op).await.into_iter().map(|s| s.body.by.0));
    }
    stage.loaded_once(paths.iter().map(String::as_str));
    assert!((2..=3).contains(&writers.len()), "they did not overlap: {writers:?}");
    assert!(stage.holders().await.is_empty());
    first.stop().await;
    second.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn row_46_a_target_that_is_deleted_in_mid_operation_ends_it_with_a_reason_or_is_waited_for() {
    let Some(stage) = Stage::new("target-gone").await else { return };
    stage.engine.world().job_takes = u32::MAX;
    let controller = stage.controller().await;
    for (name, more) in
        [("cancelled", json!({})), ("late", json!({"deadlineSeconds": 12})), ("waiting", json!({}))]
    {
        stage.load(name, &format!("/{name}"), more).await;
        stage.at_work(name).await;
    }
    stage.load("queued", "/waiting", json!({})).await;
    stage.waits("queued", "WaitingForLock").await;
    let clusters: Api<CacheCluster> = Api::namespaced(stage.admin.clone(), &stage.ns.name);
    let lock = stage.lock().await.unwrap().metadata.name.unwrap();
    clusters.delete("cache", &DeleteParams::default()).await.unwrap();
    for name in ["cancelled", "waiting"] {
        let op = stage.waits(name, "EngineUnreachable").await;
        let why = op.status.unwrap().waiting_on.unwrap().message;
        assert!(why.contains("there is no CacheCluster cache"), "{why}");
    }
    stage.load("new", "/new", json!({})).await;
    for name in ["queued", "new"] {
        stage.waits(name, "TargetNotFound").await;
    }
    stage.control("cancelled", json!({"cancel": true})).await;
    stage.ends("cancelled", Phase::Cancelled).await;
    let op = stage.ends("late", Phase::Failed).await;
    assert_eq!(op.status.unwrap().waiting_on.unwrap().reason, "DeadlineExceeded");
    for name in ["cancelled", "late"] {
        let path = stage.engine.path(&format!("/{name}"));
        assert_eq!((path.job, path.submits, path.stops), (Some(JobState::Stopped), 1, 1), "{name}");
    }
    assert!(clusters.list(&ListParams::default()).await.unwrap().items.is_empty(), "it was brought back");
    let locks: Api<ratchet::api::TargetLock> = Api::all(stage.admin.clone());
    let holders = locks.get(&lock).await.unwrap().spec.lock.holders;
    let held: HashSet<&str> = holders.iter().map(|h| h.name.as_str()).collect();
    assert_eq!(held, HashSet::from(["waiting"]), "who is over holds on");
    assert_eq!((stage.engine.path("/new").submits, stage.engine.path("/waiting").submits), (0, 1));
    // The wait has an end of its own: somebody makes the target again.
    stage.cache("cache").await;
    stage.engine.world().paths.get_mut("/waiting").unwrap().looks_left = 0;
    stage.engine.world().job_takes = 1;
    for name in ["waiting", "queued", "new"] {
        stage.ends(name, Phase::Succeeded).await;
    }
    let log = stage.engine.world().log.clone();
    assert_eq!(log.iter().collect::<HashSet<_>>().len(), log.len(), "an intent was sent twice: {log:?}");
    controller.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn row_52_after_a_roll_back_an_operation_of_a_newer_controller_waits_for_it_and_then_ends() {
    let Some(stage) = Stage::new("rolled-back").await else { return };
    stage.engine.world().job_takes = u32::MAX;
    let by_hand = stage.bench.client("controller").await;
    let controller = stage.controller().await;
    stage.load("op", "/data", json!({})).await;
    stage.at_work("op").await;
    controller.stop().await;
    // The newer controller writes a transition that only it understands in full.
    let op = stage.get("op").await;
    let record = op.status.as_ref().unwrap().record().unwrap();
    let event = Event::Load(LoadEvent::LoadSubmitted { attached: true, job: None });
    let newer = then(&record, event, None, None);
    let mut written = status(&newer);
    written["machineVersion"] = json!(MACHINE_VERSION + 1);
    written["state"]["load"]["loadingData"]["warmth"] = json!({"degrees": 40});
    put_status(&by_hand, &op, &written, false).await.expect("the server keeps what it does not know");
    let written = raw(&stage, "op").await;
    assert_eq!(written["state"]["load"]["loadingData"]["warmth"]["degrees"], json!(40));

    // Back to the version that is too old for it: it waits, whatever is asked of it, and loses nothing.
    let controller = stage.controller().await;
    stage.waits("op", "WaitingForNewerController").await;
    stage.engine.world().paths.get_mut("/data").unwrap().looks_left = 0;
    stage.control("op", json!({"suspend": true})).await;
    stage.load("other", "/other", json!({"control": {"suspend": true}})).await;
    stage.waits("other", "Suspended").await;
    let effects = stage.engine.world().log.len();
    tokio::time::sleep(Duration::from_secs(2)).await;
    let parked = raw(&stage, "op").await;
    for field in ["seq", "step", "state", "machineVersion", "fence", "digest", "tail", "sealedThrough"] {
        assert_eq!(parked[field], written[field], "{field}");
    }
    assert_eq!(stage.engine.world().log.len(), effects);
    assert_eq!(stage.holders().await, ["op"], "what it holds it keeps");

    // Forward: the newer controller brings it to where both understand it, and it is finished, once.
    stage.control("op", json!({"suspend": false})).await;
    let op = stage.get("op").await;
    let event = Event::Load(LoadEvent::LoadSubmitted { attached: true, job: None });
    put_status(&by_hand, &op, &status(&then(&newer, event, None, None)), false).await.unwrap();
    stage.ends("op", Phase::Succeeded).await;
    stage.loaded_once(["/data"]);
    controller.stop().await;
}
