//! What can a user do to a running operation?

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that cannot go on fails")]

mod cluster;

use cluster::fake::BYTES;
use cluster::legal::{self, store};
use cluster::stage::Stage;
use ratchet_state_machine::effect::JobState;
use ratchet_state_machine::lifecycle::step::Shared;
use ratchet_state_machine::machine::Phase;
use serde_json::json;
use std::time::Duration;

#[tokio::test(flavor = "multi_thread")]
async fn a_cancel_ends_it_wherever_it_is_and_stops_the_job() {
    let Some(stage) = Stage::new("cancel").await else { return };
    stage.engine.world().job_takes = u32::MAX;
    let controller = stage.controller().await;

    stage.load("running", "/data", json!({})).await;
    stage.at_work("running").await;
    stage.load("queued", "/data/part", json!({})).await;
    let queued = stage.waits("queued", "WaitingForLock").await;
    let why = queued.status.unwrap().waiting_on.unwrap().message;
    assert!(why.contains("running"), "{why}");
    stage.control("queued", json!({"cancel": true})).await;
    stage.ends("queued", Phase::Cancelled).await;
    assert_eq!(stage.engine.path("/data/part").submits, 0);

    stage.control("running", json!({"cancel": true})).await;
    let op = stage.ends("running", Phase::Cancelled).await;
    assert_eq!(stage.engine.path("/data").job, Some(JobState::Stopped));
    assert_eq!(stage.engine.path("/data").stops, 1);
    let events = stage.events(&op).await;
    assert_eq!(events[events.len() - 4..], ["CancelRequested", "Intended", "Halted", "Sealed"], "{events:?}");

    stage.engine.world().listing = true;
    stage.load("listing", "/other", json!({})).await;
    stage.until("listing", |s| s.step == "loadingMetadata" && s.intent.is_none()).await;
    stage.control("listing", json!({"cancel": true})).await;
    stage.ends("listing", Phase::Cancelled).await;
    assert!(stage.engine.world().log.iter().any(|l| l.starts_with("cancelMetadata")));
    assert!(stage.holders().await.is_empty());
    controller.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancel_after_the_end_changes_nothing() {
    let Some(stage) = Stage::new("cancel-late").await else { return };
    let controller = stage.controller().await;
    stage.load("done", "/data", json!({})).await;
    let before = stage.ends("done", Phase::Succeeded).await;
    stage.control("done", json!({"cancel": true, "suspend": true, "retry": 1})).await;
    // Whoever comes later has been served: so was the cancel.
    stage.load("later", "/later", json!({})).await;
    stage.ends("later", Phase::Succeeded).await;
    assert_eq!(stage.get("done").await.status, before.status);
    controller.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_free_that_has_begun_runs_to_its_end_and_notes_the_cancel() {
    let Some(stage) = Stage::new("free-late").await else { return };
    {
        let mut world = stage.engine.world();
        world.frees_linger = true;
        world.paths.entry("/data".into()).or_default().cached = BYTES;
    }
    let controller = stage.controller().await;
    stage.free("free", "/data").await;
    stage.step("free", "verifying").await;
    stage.control("free", json!({"cancel": true})).await;
    stage.until("free", |s| s.cancel_noted && s.step == "verifying").await;
    stage.engine.world().paths.get_mut("/data").unwrap().cached = 0;
    let op = stage.ends("free", Phase::Succeeded).await;
    assert!(op.status.unwrap().cancel_noted);
    assert_eq!(stage.engine.path("/data").frees, 1);
    controller.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pause_stops_the_job_and_a_resume_starts_it_again() {
    let Some(stage) = Stage::new("pause").await else { return };
    stage.engine.world().job_takes = u32::MAX;
    let controller = stage.controller().await;
    stage.load("load", "/data", json!({})).await;
    stage.at_work("load").await;
    stage.control("load", json!({"suspend": true})).await;
    stage
        .until("load", |s| {
            s.step == "paused" && s.waiting_on.as_ref().is_some_and(|w| w.reason == "Suspended")
        })
        .await;
    assert_eq!(stage.engine.path("/data").job, Some(JobState::Stopped));
    assert_eq!(stage.holders().await, ["load"], "a pause by a person keeps the hold");
    stage.engine.world().job_takes = 1;
    stage.control("load", json!({"suspend": false})).await;
    stage.ends("load", Phase::Succeeded).await;
    assert_eq!((stage.engine.path("/data").submits, stage.engine.path("/data").stops), (2, 1));

    // A queued operation that is paused lets others pass, and goes on when it may.
    stage.load("waiting", "/data", json!({"control": {"suspend": true}})).await;
    stage.waits("waiting", "Suspended").await;
    stage.load("passing", "/data", json!({})).await;
    stage.ends("passing", Phase::Succeeded).await;
    stage.control("waiting", json!({"suspend": false})).await;
    stage.ends("waiting", Phase::Succeeded).await;
    controller.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deadline_and_a_stall_deadline_stop_the_job_and_fail() {
    let Some(stage) = Stage::new("deadline").await else { return };
    stage.engine.world().job_takes = u32::MAX;
    let controller = stage.controller().await;
    stage.load("late", "/late", json!({"deadlineSeconds": 3})).await;
    stage.load("stalled", "/stalled", json!({"stallDeadlineSeconds": 2})).await;
    stage.load("waiting", "/late", json!({"deadlineSeconds": 1, "priority": -1})).await;
    for (name, path, reason) in [("late", "/late", "DeadlineExceeded"), ("stalled", "/stalled", "Stalled")] {
        let op = stage.ends(name, Phase::Failed).await;
        assert_eq!(op.status.unwrap().waiting_on.unwrap().reason, reason);
        assert_eq!(stage.engine.path(path).job, Some(JobState::Stopped), "{path}");
    }
    let op = stage.ends("waiting", Phase::Failed).await;
    assert_eq!(op.status.unwrap().waiting_on.unwrap().reason, "DeadlineExceeded");
    controller.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn row_10_a_refused_effect_is_tried_again_after_a_growing_pause_and_not_for_ever() {
    let Some(stage) = Stage::new("retry").await else { return };
    let controller = stage.controller().await;
    stage.engine.world().refuse = 2;
    stage.load("patient", "/patient", json!({})).await;
    let op = stage.ends("patient", Phase::Succeeded).await;
    let steps = stage.prove(&op).await;
    let failed: Vec<_> =
        steps.iter().enumerate().filter(|(_, s)| s.entry.event == "AttemptFailed").map(|(i, _)| i).collect();
    assert_eq!(failed.len(), 2);
    for (at, least) in failed.iter().zip([1_000, 2_000]) {
        let pause = steps[at + 1].entry.time().unwrap() - steps[*at].entry.time().unwrap();
        assert!(pause.num_milliseconds() >= least - 50, "{pause}");
    }
    stage.engine.world().refuse = u32::MAX;
    stage.load("hopeless", "/hopeless", json!({"retryPolicy": {"limit": 1, "backoffSeconds": 0}})).await;
    let op = stage.ends("hopeless", Phase::Failed).await;
    assert_eq!(stage.events(&op).await.iter().filter(|e| *e == "AttemptFailed").count(), 1);
    let why = op.status.unwrap().waiting_on.unwrap();
    assert_eq!(why.reason, "EngineRefused");
    assert!(why.message.contains("not now") && why.message.contains("after 2 attempts"), "{}", why.message);
    controller.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_approval_counts_for_the_plan_that_it_names() {
    let Some(stage) = Stage::new("approval").await else { return };
    let controller = stage.controller().await;
    let op = stage.load("load", "/data", json!({"approval": "Manual"})).await;
    let waiting = stage.waits("load", "WaitingForApproval").await;
    assert_eq!(waiting.phase(), Some(Phase::AwaitingApproval));
    let (plan, by) = (legal::plan(&op).0, stage.admin_name());
    assert_eq!(waiting.status.unwrap().plan.hash.0, plan);
    stage.control("load", json!({"approve": {"planHash": "another", "by": by}})).await;
    let told = |s: &ratchet::api::DataOperationStatus| {
        s.waiting_on.as_ref().is_some_and(|w| w.message.contains("another"))
    };
    let waiting = stage.until("load", told).await;
    assert_eq!(waiting.phase(), Some(Phase::AwaitingApproval));
    stage.control("load", json!({"approve": {"planHash": plan, "by": by}})).await;
    let op = stage.ends("load", Phase::Succeeded).await;
    let steps = stage.prove(&op).await;
    let approved = steps.iter().find(|s| s.entry.event == "Approved").unwrap();
    assert_eq!(approved.body.data["by"], json!(by));
    controller.stop().await;
}

/// An operation whose job cannot be stopped for longer than the clean-up bound.
async fn stuck(stage: &Stage, name: &str, path: &str, event: Shared) -> cluster::InProcess {
    stage.engine.world().unreachable = false;
    let first = stage.controller().await;
    stage.load(name, path, json!({})).await;
    let op = stage.at_work(name).await;
    first.crash();
    stage.engine.world().unreachable = true;
    let record = op.status.as_ref().unwrap().record().unwrap();
    let controller = stage.bench.client("controller").await;
    store(&controller, &op, &legal::shared(&record, event)).await;
    let second = stage.controller().await;
    // What passed before this process, it would not believe: the clean-up bound runs by its own clock.
    stage.waits(name, "EngineUnreachable").await;
    second.clock.leap(Duration::from_secs(700));
    let op = stage.step(name, "stuck").await;
    assert_eq!(op.phase(), Some(Phase::Stuck));
    let stalled = op.status.unwrap().conditions.into_iter().find(|c| c.type_ == "Stalled").unwrap();
    assert_eq!(stalled.status, "True");
    assert!(
        stalled.message.contains("control.retry") && stalled.message.contains("control.skip"),
        "{}",
        stalled.message
    );
    second
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stuck_operation_is_retried_skipped_or_cancelled_by_a_person() {
    let Some(stage) = Stage::new("stuck").await else { return };
    stage.engine.world().job_takes = u32::MAX;
    let by = stage.admin_name();

    let controller = stuck(&stage, "retried", "/retried", Shared::CancelRequested { deleted: false }).await;
    stage.engine.world().unreachable = false;
    stage.control("retried", json!({"retry": 1})).await;
    stage.ends("retried", Phase::Cancelled).await;
    assert_eq!(stage.engine.path("/retried").job, Some(JobState::Stopped));
    controller.stop().await;

    let controller = stuck(&stage, "skipped", "/skipped", Shared::CancelRequested { deleted: false }).await;
    stage.control("skipped", json!({"skip": {"step": "pausing", "by": by}})).await;
    stage.control("skipped", json!({"skip": {"step": "cancelling", "by": by}})).await;
    stage.ends("skipped", Phase::Cancelled).await;
    assert_eq!(
        stage.engine.path("/skipped").job,
        Some(JobState::Running),
        "a skip leaves the engine as it is"
    );
    controller.stop().await;

    let controller = stuck(&stage, "cancelled", "/cancelled", Shared::Suspended {}).await;
    stage.engine.world().unreachable = false;
    stage.control("cancelled", json!({"cancel": true})).await;
    stage.ends("cancelled", Phase::Cancelled).await;
    assert_eq!(stage.engine.path("/cancelled").job, Some(JobState::Stopped));
    controller.stop().await;
}
