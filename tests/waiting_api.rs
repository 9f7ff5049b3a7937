//! Does an operation wait for the right thing, say what it is, and go on when it is there?

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that cannot go on fails")]

mod cluster;

use cluster::create;
use cluster::legal::{birth, put_status, shared, status, then};
use cluster::stage::Stage;
use kube::api::{Api, Patch, PatchParams};
use ratchet::api::{CacheCluster, TargetLock};
use ratchet_state_machine::effect::JobState;
use ratchet_state_machine::lifecycle::step::Shared;
use ratchet_state_machine::machine::Phase;
use ratchet_state_machine::operation::Event;
use ratchet_state_machine::operation::load::LoadEvent;
use serde_json::json;
use std::collections::HashSet;

#[tokio::test(flavor = "multi_thread")]
async fn predecessors_decide_whether_a_successor_runs() {
    let Some(stage) = Stage::new("after").await else { return };
    stage.engine.world().missing = vec!["/missing".into()];
    let controller = stage.controller().await;
    let after = |name: &str, ended: &str| json!({"runAfter": [{"name": name, "ended": ended}]});
    stage.load("on-success", "/a", after("good", "Succeeded")).await;
    stage.load("on-failure", "/b", after("bad", "Failed")).await;
    stage.load("on-any", "/c", after("bad", "Finished")).await;
    stage.load("unmet", "/d", after("bad", "Succeeded")).await;
    stage.load("unmet-too", "/e", after("good", "Failed")).await;
    stage.load("for-ever", "/f", json!({"runAfter": [{"name": "nobody"}], "stallDeadlineSeconds": 2})).await;
    for name in ["on-success", "on-failure", "unmet"] {
        assert_eq!(stage.waits(name, "WaitingForPredecessors").await.phase(), Some(Phase::Pending));
    }
    stage.load("good", "/good", json!({})).await;
    stage.load("bad", "/missing", json!({})).await;
    stage.ends("good", Phase::Succeeded).await;
    let bad = stage.ends("bad", Phase::Failed).await;
    assert_eq!(bad.status.unwrap().waiting_on.unwrap().reason, "PathNotFound");
    for name in ["on-success", "on-failure", "on-any"] {
        stage.ends(name, Phase::Succeeded).await;
    }
    for (name, reason) in
        [("unmet", "PredecessorUnmet"), ("unmet-too", "PredecessorUnmet"), ("for-ever", "Stalled")]
    {
        let op = stage.ends(name, Phase::Failed).await;
        assert_eq!(op.status.unwrap().waiting_on.unwrap().reason, reason, "{name}");
    }
    controller.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn row_28_overlapping_paths_take_turns_by_priority_and_the_others_run_together() {
    let Some(stage) = Stage::new("queue").await else { return };
    stage.engine.world().job_takes = u32::MAX;
    let controller = stage.controller().await;
    stage.load("first", "/data", json!({})).await;
    stage.at_work("first").await;
    for (name, path, priority) in [("low", "/data/x", 0), ("high", "/data", 5), ("middle", "/data/x/y", 3)] {
        stage.load(name, path, json!({"priority": priority})).await;
        stage.waits(name, "WaitingForLock").await;
    }
    // Not a prefix by components: it runs beside the first one.
    stage.load("beside", "/database", json!({})).await;
    stage.at_work("beside").await;
    let held: HashSet<String> = stage.holders().await.into_iter().collect();
    assert_eq!(held, HashSet::from(["first".to_owned(), "beside".to_owned()]));

    stage.engine.world().job_takes = 1;
    stage.control("first", json!({"cancel": true})).await;
    let mut turns = Vec::new();
    for name in ["high", "middle", "low"] {
        let op = stage.ends(name, Phase::Succeeded).await;
        let steps = stage.prove(&op).await;
        let granted = steps.iter().find(|s| s.entry.event == "HoldGranted").unwrap();
        let ended = steps.iter().find(|s| s.after.state.phase().terminal()).unwrap();
        turns.push((granted.after.fence.epoch, granted.entry.time().unwrap(), ended.entry.time().unwrap()));
    }
    assert!(turns.is_sorted_by_key(|t| t.0), "granted in another order: {turns:?}");
    for pair in turns.windows(2) {
        assert!(pair[0].2 <= pair[1].1, "two that overlap ran together: {turns:?}");
    }
    stage.control("beside", json!({"cancel": true})).await;
    stage.ends("beside", Phase::Cancelled).await;
    controller.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_target_is_waited_for() {
    let Some(stage) = Stage::empty("target").await else { return };
    let controller = stage.controller().await;
    stage.load("load", "/data", json!({})).await;
    let op = stage.waits("load", "TargetNotFound").await;
    let why = op.status.unwrap().waiting_on.unwrap().message;
    assert!(why.contains("there is no CacheCluster cache"), "{why}");
    stage.cache("cache").await;
    stage.ends("load", Phase::Succeeded).await;
    controller.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_engine_that_does_not_answer_is_waited_for() {
    let Some(stage) = Stage::new("silent").await else { return };
    stage.engine.world().unreachable = true;
    let controller = stage.controller().await;
    stage.load("early", "/early", json!({})).await;
    stage.waits("early", "TargetUnknown").await;
    stage
        .eventually("the cache says why", async || stage.readiness("cache").await == "EngineUnreachable")
        .await;
    stage.engine.world().unreachable = false;
    stage.ends("early", Phase::Succeeded).await;

    stage.engine.world().job_takes = u32::MAX;
    stage.load("late", "/late", json!({})).await;
    stage.at_work("late").await;
    stage.engine.world().unreachable = true;
    let op = stage.waits("late", "EngineUnreachable").await;
    let progressing = op.status.unwrap().conditions.into_iter().find(|c| c.type_ == "Progressing").unwrap();
    assert_eq!((progressing.status.as_str(), progressing.reason.as_str()), ("False", "EngineUnreachable"));
    {
        let mut world = stage.engine.world();
        world.paths.get_mut("/late").unwrap().looks_left = 0;
        world.unreachable = false;
    }
    stage.ends("late", Phase::Succeeded).await;
    assert_eq!(stage.engine.path("/late").submits, 1);
    controller.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_engine_belongs_to_one_cachecluster_until_that_is_gone() {
    let Some(stage) = Stage::new("claim").await else { return };
    let controller = stage.controller().await;
    stage.eventually("the first claims", async || stage.readiness("cache").await == "Ready").await;
    stage.cache("second").await;
    stage
        .eventually("the second is told", async || stage.readiness("second").await == "AlreadyClaimed")
        .await;
    let arm = json!({"load": {"paths": ["/data"]}});
    create(
        &stage.admin,
        &stage.ns.name,
        &cluster::operation(&stage.ns.name, "load", "second", arm, json!({})),
    )
    .await;
    let told = ["AlreadyClaimed", "TargetUnknown"];
    stage.until("load", |s| s.waiting_on.as_ref().is_some_and(|w| told.contains(&w.reason.as_str()))).await;
    let clusters: Api<CacheCluster> = Api::namespaced(stage.admin.clone(), &stage.ns.name);
    clusters.delete("cache", &kube::api::DeleteParams::default()).await.unwrap();
    stage.ends("load", Phase::Succeeded).await;
    assert_eq!(stage.readiness("second").await, "Ready");
    controller.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cachecluster_that_is_replaced_under_a_running_operation_lets_it_finish() {
    let Some(stage) = Stage::new("replaced").await else { return };
    stage.engine.world().job_takes = u32::MAX;
    let controller = stage.controller().await;
    stage.load("running", "/data", json!({})).await;
    stage.at_work("running").await;
    let clusters: Api<CacheCluster> = Api::namespaced(stage.admin.clone(), &stage.ns.name);
    clusters.delete("cache", &kube::api::DeleteParams::default()).await.unwrap();
    stage.waits("running", "EngineUnreachable").await;
    stage.cache("cache").await;
    stage.engine.world().paths.get_mut("/data").unwrap().looks_left = 0;
    stage.ends("running", Phase::Succeeded).await;
    stage.eventually("the new one owns the engine", async || stage.readiness("cache").await == "Ready").await;
    assert!(stage.holders().await.is_empty());
    stage.engine.world().job_takes = 1;
    stage.load("next", "/data", json!({})).await;
    stage.ends("next", Phase::Succeeded).await;
    controller.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lock_that_somebody_deleted_is_rebuilt_with_its_holders_and_a_higher_epoch() {
    let Some(stage) = Stage::new("lock").await else { return };
    stage.engine.world().job_takes = u32::MAX;
    let controller = stage.controller().await;
    stage.load("running", "/data", json!({})).await;
    stage.at_work("running").await;
    let before = stage.lock().await.unwrap();
    let name = before.metadata.name.clone().unwrap();
    // Nobody but the control plane may: this is the hand of an admin who went past the policy.
    let as_system = [
        "--as=system:serviceaccount:kube-system:by-hand",
        "--as-group=system:masters",
        "--as-group=system:serviceaccounts:kube-system",
    ];
    stage.bench.kubectl(&[&["delete", "targetlock", &name][..], &as_system[..]].concat(), &[]);
    let rebuilt = |l: &TargetLock| l.metadata.uid != before.metadata.uid && !l.spec.lock.holders.is_empty();
    stage.eventually("the lock is rebuilt", async || stage.lock().await.is_some_and(|l| rebuilt(&l))).await;
    let after = stage.lock().await.unwrap();
    assert!(after.spec.lock.epoch > before.spec.lock.epoch, "{after:?}");
    assert_eq!(after.spec.lock.holders[0].name, "running");
    stage.load("waiting", "/data", json!({})).await;
    stage.waits("waiting", "WaitingForLock").await;
    stage.engine.world().paths.get_mut("/data").unwrap().looks_left = 0;
    stage.engine.world().job_takes = 1;
    stage.ends("running", Phase::Succeeded).await;
    let op = stage.ends("waiting", Phase::Succeeded).await;
    assert!(op.status.unwrap().fence.epoch > after.spec.lock.epoch);
    controller.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn row_51_a_status_of_a_newer_controller_is_left_alone() {
    let Some(stage) = Stage::new("newer").await else { return };
    let by_hand = stage.bench.client("controller").await;
    let op = stage.load("newer", "/newer", json!({})).await;
    let mut newer = status(&birth(&op));
    newer["machineVersion"] = json!(99);
    put_status(&by_hand, &op, &newer, false).await.unwrap();
    let controller = stage.controller().await;
    stage.waits("newer", "WaitingForNewerController").await;
    stage.control("newer", json!({"cancel": true})).await;
    stage.load("other", "/other", json!({})).await;
    stage.ends("other", Phase::Succeeded).await;
    let after = stage.get("newer").await.status.unwrap();
    assert_eq!((after.seq.0, after.machine_version, after.phase), (1, 99, Phase::Queued));
    controller.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn row_44_an_operation_that_cannot_be_read_stops_nobody_else() {
    let Some(stage) = Stage::new("unreadable").await else { return };
    let by_hand = stage.bench.client("controller").await;
    let op = stage.load("unreadable", "/data", json!({})).await;
    let queued = birth(&op);
    let checked = shared(&queued, Shared::HoldGranted { epoch: 1 });
    let event = Event::Load(LoadEvent::Checked { workers: 1, capacity: 1 });
    let mut loading = status(&then(&checked, event, None, None));
    // The rules look at the name of a step, not inside: a field that this version cannot read passes.
    loading["state"]["load"]["loadingMetadata"] = json!({"path": "from the future"});
    for status in [status(&queued), status(&checked), loading] {
        let api: Api<kube::api::DynamicObject> = Api::namespaced_with(
            by_hand.clone(),
            &stage.ns.name,
            &kube::api::ApiResource::erase::<ratchet::api::DataOperation>(&()),
        );
        let ops = serde_json::from_value(json!([{"op": "add", "path": "/status", "value": status}])).unwrap();
        api.patch_status("unreadable", &PatchParams::default(), &Patch::Json::<()>(ops)).await.unwrap();
    }
    let controller = stage.controller().await;
    stage.load("other", "/other", json!({})).await;
    stage.ends("other", Phase::Succeeded).await;
    assert_eq!(controller.ctx.operations.undecodable_count(), 1);
    // What it holds it keeps, also in a lock that is made anew.
    assert_eq!(stage.holders().await, ["unreadable"]);
    stage.load("same", "/data", json!({})).await;
    stage.waits("same", "WaitingForLock").await;
    controller.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_conditions_tell_a_tool_that_waits_how_it_ended() {
    let Some(stage) = Stage::new("conditions").await else { return };
    stage.engine.world().missing = vec!["/missing".into()];
    let controller = stage.controller().await;
    stage.load("good", "/good", json!({})).await;
    stage.load("bad", "/missing", json!({})).await;
    for name in ["good", "bad"] {
        stage.bench.kubectl(
            &["-n", &stage.ns.name, "wait", "--for=condition=Finished", "--timeout=60s", "dop", name],
            &[],
        );
    }
    stage.bench.kubectl(
        &["-n", &stage.ns.name, "wait", "--for=condition=Succeeded", "--timeout=60s", "dop/good"],
        &[],
    );
    stage.bench.kubectl(
        &["-n", &stage.ns.name, "wait", "--for=condition=Succeeded=False", "--timeout=60s", "dop/bad"],
        &[],
    );
    let rows = [
        (
            "good",
            [("Finished", "True"), ("Succeeded", "True"), ("Progressing", "False"), ("Stalled", "False")],
        ),
        (
            "bad",
            [("Finished", "True"), ("Succeeded", "False"), ("Progressing", "False"), ("Stalled", "False")],
        ),
    ];
    for (name, wanted) in rows {
        let op = stage.get(name).await;
        let conditions = op.status.unwrap().conditions;
        for (type_, status) in wanted {
            let c = conditions.iter().find(|c| c.type_ == type_).unwrap();
            assert_eq!(c.status, status, "{name} {type_}");
            assert_eq!(Some(c.observed_generation), op.metadata.generation, "{name} {type_}");
        }
    }
    assert_eq!(stage.engine.path("/good").job, Some(JobState::Succeeded));
    controller.stop().await;
}
