//! Rows of the failure catalogue that would disturb every other test, each on a bench of its own: a CRD that is deleted
//! and made again under a running controller, and an etcd that is really full. The watches find their way back, what
//! the locks said is told by the operations, and nothing is done without being written down first.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that cannot go on fails")]

mod cluster;

use cluster::faults::Faults;
use cluster::own::OwnBench;
use cluster::stage::Stage;
use cluster::{Bench, InProcess, create, load};
use kube::api::Api;
use ratchet::api::DataLoad;
use ratchet::api::Request as _;
use ratchet_state_machine::effect::JobState;
use ratchet_state_machine::machine::Phase;
use serde_json::json;
use std::path::Path;
use std::time::Duration;

/// Deletes a CRD and waits until it and its objects are gone.
async fn delete_crd(stage: &Stage, name: &str) {
    let crd = format!("{name}.ratchet.dev");
    stage.bench.kubectl(&["delete", "crd", &crd, "--wait=false"], &[]);
    let gone = async || {
        let mut get = stage.bench.kubectl_as("admin");
        let out = get.args(["get", "crd", &crd, "--ignore-not-found", "-o", "name"]).output().unwrap();
        out.status.success() && out.stdout.is_empty()
    };
    stage.eventually("the kind is gone", gone).await;
}

fn make_again(bench: &Bench, name: &str) {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("crds/{name}.yaml"));
    bench.kubectl(&["apply", "--server-side", "-f"], &[&file]);
    bench.kubectl(&["wait", "--for=condition=Established", "--timeout=60s", "-f"], &[&file]);
}

#[tokio::test(flavor = "multi_thread")]
async fn row_41_the_kind_of_the_operations_is_deleted_and_made_again() {
    let Some(own) = OwnBench::up().await else { return };
    let stage = own.stage("crd").await;
    stage.engine.world().job_takes = u32::MAX;
    let controller = stage.controller().await;
    stage.load("running", "/data", json!({})).await;
    stage.at_work("running").await;
    let loads: Api<DataLoad> = Api::namespaced(stage.admin.clone(), &stage.ns.name);
    let warm = create(&stage.admin, &stage.ns.name, &load(&stage.ns.name, "warm", "cache", &["/warm"])).await;
    stage.at_work(&warm.operation_name()).await;

    // Its objects go first, each after its clean-up.
    delete_crd(&stage, "dataoperations").await;
    for path in ["/data", "/warm"] {
        let path = stage.engine.path(path);
        assert_eq!((path.job, path.submits, path.stops), (Some(JobState::Stopped), 1, 1));
    }
    let during =
        create(&stage.admin, &stage.ns.name, &load(&stage.ns.name, "during", "cache", &["/new"])).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(stage.engine.path("/new").submits, 0);

    make_again(&stage.bench, "dataoperations");
    stage.engine.world().job_takes = 1;
    stage.load("next", "/data", json!({})).await;
    for name in ["next", &during.operation_name()] {
        stage.ends(name, Phase::Succeeded).await;
    }
    assert_eq!((stage.engine.path("/data").submits, stage.engine.path("/new").submits), (2, 1));
    // What was deleted is not begun anew, and says how it ended.
    let told = async || loads.get("warm").await.unwrap().status.is_some_and(|s| s.phase == "Cancelled");
    stage.eventually("the load whose run was deleted says so", told).await;
    assert_eq!(stage.engine.path("/warm").submits, 1);
    assert!(stage.holders().await.is_empty());
    controller.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn row_41_the_kind_of_the_locks_is_deleted_and_made_again() {
    let Some(own) = OwnBench::up().await else { return };
    let stage = own.stage("lock-crd").await;
    stage.engine.world().job_takes = u32::MAX;
    let controller = stage.controller().await;
    stage.load("running", "/data", json!({})).await;
    stage.at_work("running").await;
    let before = stage.lock().await.unwrap();
    delete_crd(&stage, "targetlocks").await;
    stage.load("behind", "/data/part", json!({})).await;
    stage.load("beside", "/other", json!({})).await;
    tokio::time::sleep(Duration::from_secs(4)).await;
    let begun = stage.engine.path("/data/part").submits + stage.engine.path("/other").submits;
    assert_eq!(begun, 0, "a kind of lock that is missing is not a free lock");

    make_again(&stage.bench, "targetlocks");
    stage.at_work("beside").await;
    stage.waits("behind", "WaitingForLock").await;
    let after = stage.lock().await.unwrap();
    assert_ne!(after.metadata.uid, before.metadata.uid);
    assert!(after.spec.lock.epoch > before.spec.lock.epoch, "{after:?}");
    let mut holders = stage.holders().await;
    holders.sort();
    assert_eq!(holders, ["beside", "running"]);
    {
        let mut world = stage.engine.world();
        world.job_takes = 1;
        world.paths.values_mut().for_each(|p| p.looks_left = 0);
    }
    for name in ["running", "beside", "behind"] {
        stage.ends(name, Phase::Succeeded).await;
    }
    stage.loaded_once(["/data", "/other", "/data/part"]);
    assert!(stage.holders().await.is_empty());
    controller.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn row_55_with_a_full_etcd_an_outcome_is_kept_until_it_can_be_written() {
    let Some(own) = OwnBench::up().await else { return };
    let stage = own.stage("full-etcd").await;
    stage.engine.world().job_takes = u32::MAX;
    let faults = Faults::none();
    let client = faults.client(&stage.bench).await;
    let controller = InProcess::with_client(client, &stage.ns.name, stage.engine.clone(), Stage::config());
    stage.load("running", "/data", json!({})).await;
    stage.load("beside", "/beside", json!({})).await;
    for name in ["running", "beside"] {
        stage.at_work(name).await;
    }
    stage.load("behind", "/data", json!({})).await;
    stage.waits("behind", "WaitingForLock").await;
    own.full(true).await;
    let (seqs, effects) = (seqs(&stage).await, stage.engine.world().log.len());
    let before = faults.writes();
    {
        let mut world = stage.engine.world();
        world.job_takes = 1;
        world.paths.values_mut().for_each(|p| p.looks_left = 0);
    }
    tokio::time::sleep(Duration::from_secs(6)).await;
    // Reads work, and show that nothing was written.
    assert_eq!(self::seqs(&stage).await, seqs);
    assert_eq!(stage.engine.world().log.len(), effects, "an effect without a written intent");
    let sent = faults.writes() - before;
    assert!((2..=30).contains(&sent), "{sent} writes in six seconds of an outage: {:?}", faults.counts());
    let text = controller.ctx.metrics.text().unwrap();
    assert!(text.contains("write_failures_total{reply=\"ambiguous\"}"), "what it said is not known: {text}");
    own.full(false).await;
    for name in ["running", "beside", "behind"] {
        stage.ends(name, Phase::Succeeded).await;
    }
    assert_eq!((stage.engine.path("/data").submits, stage.engine.path("/beside").submits), (2, 1));
    stage.loaded_once(["/beside"]);
    assert!(stage.holders().await.is_empty());
    controller.stop().await;
}

async fn seqs(stage: &Stage) -> Vec<i64> {
    let mut all = Vec::new();
    for name in ["running", "beside", "behind"] {
        all.push(stage.get(name).await.status.unwrap().seq.0);
    }
    all
}
