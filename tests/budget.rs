//! What does an operation cost the API server?

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that cannot go on fails")]

mod cluster;

use cluster::InProcess;
use cluster::faults::Faults;
use cluster::stage::Stage;
use ratchet::api::Request as _;
use ratchet_state_machine::machine::Phase;
use serde_json::json;

#[tokio::test(flavor = "multi_thread")]
async fn an_undisturbed_load_writes_its_transitions_and_hardly_anything_else() {
    let Some(stage) = Stage::new("budget").await else { return };
    let faults = Faults::none();
    let client = faults.client(&stage.bench).await;
    let controller = InProcess::with_client(client, &stage.ns.name, stage.engine.clone(), Stage::config());
    stage.eventually("the cache is known", async || stage.readiness("cache").await == "Ready").await;
    let before = faults.counts();
    stage.load("load", "/data", json!({})).await;
    let op = stage.ends("load", Phase::Succeeded).await;
    let after = faults.counts();
    let sent = |what: &str| after.get(what).copied().unwrap_or(0) - before.get(what).copied().unwrap_or(0);

    let transitions = usize::try_from(op.status.unwrap().seq.0).unwrap();
    let status = sent("PATCH dataoperations/status");
    assert!(
        (transitions..=transitions + 2).contains(&status),
        "{status} writes for {transitions} transitions: {after:?}"
    );
    assert_eq!(sent("PATCH dataoperations"), 1, "one for the finalizer: {after:?}");
    assert_eq!(sent("PATCH targetlocks"), 2, "one to take it, one to give it back: {after:?}");
    assert_eq!(sent("POST operationjournals"), 1, "one segment: {after:?}");
    assert_eq!(sent("GET dataoperations"), 0, "no read on the way that goes well: {after:?}");
    assert_eq!(sent("GET targetlocks"), 0, "{after:?}");
    let all: usize = after.values().sum::<usize>() - before.values().sum::<usize>();
    let mirrors = sent("PATCH cacheclusters/status");
    assert_eq!(all - mirrors, status + 4, "something else was sent: {after:?}");

    // What is settled costs nothing: other operations come and go.
    let before = faults.counts();
    stage.load("other", "/other", json!({"control": {"cancel": true}})).await;
    let other = stage.ends("other", Phase::Cancelled).await;
    let after = faults.counts();
    let status = after["PATCH dataoperations/status"] - before["PATCH dataoperations/status"];
    let transitions = usize::try_from(other.status.unwrap().seq.0).unwrap();
    assert!(status <= transitions + 1, "{status} writes for {transitions} transitions");
    controller.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_finalizer_that_is_there_already_is_not_written() {
    let Some(stage) = Stage::new("budget-dl").await else { return };
    let faults = Faults::none();
    let client = faults.client(&stage.bench).await;
    let controller = InProcess::with_client(client, &stage.ns.name, stage.engine.clone(), Stage::config());
    let load = cluster::load(&stage.ns.name, "warm", "cache", &["/data"]);
    let load = cluster::create(&stage.admin, &stage.ns.name, &load).await;
    stage.ends(&load.operation_name(), Phase::Succeeded).await;
    let sent = faults.counts();
    assert_eq!(sent.get("PATCH dataoperations"), None, "{sent:?}");
    assert_eq!(sent.get("POST dataoperations"), Some(&1), "{sent:?}");
    controller.stop().await;
}
