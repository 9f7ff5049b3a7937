//! Does a scale-in of a real Alluxio lose nothing, while a client writes what only the cache has, and the controller dies?

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that cannot go on fails")]

mod cluster;

use cluster::ground::*;
use cluster::writer::*;
use ratchet::api::DataOperation;
use ratchet_state_machine::machine::Phase;
use ratchet_state_machine::spec::ArmSpec;
use serde_json::json;
use std::time::Duration;

async fn scale_ins(ground: &Ground) -> Vec<DataOperation> {
    let all = operations(ground).await.into_iter();
    let mut all: Vec<_> = all.filter(|o| matches!(o.spec.operation, ArmSpec::ScaleIn(_))).collect();
    all.sort_by_key(|o| o.metadata.creation_timestamp.clone());
    all
}

/// Waits until the newest scale-in is as wanted.
async fn until_scale_in(
    ground: &Ground,
    what: &str,
    wanted: impl Fn(&DataOperation) -> bool,
) -> DataOperation {
    let mut last = None;
    for _ in 0..cluster::POLLS {
        last = scale_ins(ground).await.pop();
        if let Some(op) = last.as_ref().filter(|o| wanted(o)) {
            return op.clone();
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("not {what}: {:#?}", last.and_then(|o| o.status))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_scale_in_loses_nothing_of_a_client_that_never_stops_writing() {
    let Some(ground) = Ground::new("scale-in").await else { return };
    let mut running = ground.start();
    ground.apply(&[ground.cluster(&written_to(4, "10sec"))]);
    ground.until("Ready", |s| s.phase == "Ready" && s.workers == "4/4").await;
    let proxy = format!("{}:39999", ip(&ground.pods("proxy").await[0]));
    assert!(put(&proxy, "/api/v1/s3/bucket", b""), "a bucket");
    let writer = Writer::start(proxy.clone());
    tokio::time::sleep(Duration::from_secs(5)).await;

    let kubectl = |args: &[&str]| ground.bench.kubectl(&[&["-n", &ground.ns.name], args].concat(), &[]);
    kubectl(&["scale", "cachecluster/cache", "--replicas=3"]);
    let mut kills = 0;
    for round in 0..200_u64 {
        tokio::time::sleep(Duration::from_millis(500 + (round * 379) % 2500)).await;
        let all = scale_ins(&ground).await;
        if all.iter().any(|o| o.phase() == Some(Phase::Succeeded)) {
            break;
        }
        if kills < 8 {
            running.kill();
            kills += 1;
            running = ground.start();
        }
    }
    let all = scale_ins(&ground).await;
    let told: Vec<_> = all.iter().map(|o| serde_json::to_string(&o.status).expect("JSON")).collect();
    assert_eq!(
        all.iter().filter_map(DataOperation::phase).collect::<Vec<_>>(),
        [Phase::Succeeded],
        "{told:#?}"
    );
    let status = ground.until("3/3", |s| s.phase == "Ready" && s.workers == "3/3").await;
    assert_eq!(status.revision.map(|r| r.workers), Some(vec![0, 1, 2]));
    tokio::time::sleep(Duration::from_secs(2)).await;
    let (accepted, refused) = writer.stop();
    println!("{:#?}", story(&ground).await);
    println!("{kills} kills; {} objects accepted, {refused} refused", accepted.len());
    readable(&proxy, &accepted);
    kubectl(&["delete", "cachecluster/cache", "--timeout=120s"]);
    gone(&ground, kubectl).await;
    drop(running);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_decommission_that_the_master_forgets_is_made_again_and_a_cancel_brings_the_worker_back() {
    let Some(ground) = Ground::new("scale-back").await else { return };
    let running = ground.start();
    ground.apply(&[ground.cluster(&written_to(3, "40sec"))]);
    ground.until("Ready", |s| s.phase == "Ready" && s.workers == "3/3").await;
    let proxy = format!("{}:39999", ip(&ground.pods("proxy").await[0]));
    assert!(put(&proxy, "/api/v1/s3/bucket", b""), "a bucket");
    let mut objects = write(&proxy, 0, 12);
    let kubectl = |args: &[&str]| ground.bench.kubectl(&[&["-n", &ground.ns.name], args].concat(), &[]);
    kubectl(&["scale", "cachecluster/cache", "--replicas=2"]);
    until_scale_in(&ground, "draining", |o| step(o) == "draining").await;
    ground.until("2 workers live", |s| s.workers == "2/3" && s.phase == "Updating").await;

    // A master that starts anew knows nothing of it: the worker serves again, until it is told once more.
    kubectl(&["delete", "pod", "cache-master-0", "--grace-period=1"]);
    until_scale_in(&ground, "told again", |o| step(o) == "decommissioning" || step(o) == "checking").await;
    until_scale_in(&ground, "draining again", |o| step(o) == "draining").await;
    objects.extend(write(&proxy, 12, 20));

    // The edit is taken back: nothing was lost, and the worker serves as before.
    kubectl(&["scale", "cachecluster/cache", "--replicas=3"]);
    let op = until_scale_in(&ground, "cancelled", |o| o.phase() == Some(Phase::Cancelled)).await;
    let status = ground.until("3/3", |s| s.phase == "Ready" && s.workers == "3/3").await;
    assert_eq!(status.revision.map(|r| r.workers), Some(vec![0, 1, 2]), "{op:#?}");
    println!("{:#?}", story(&ground).await);
    readable(&proxy, &objects);
    kubectl(&["delete", "cachecluster/cache", "--timeout=120s"]);
    gone(&ground, kubectl).await;
    drop(running);
}

#[tokio::test(flavor = "multi_thread")]
async fn while_nothing_can_be_persisted_no_worker_goes_and_the_files_are_named() {
    let Some(ground) = Ground::new("scale-stuck").await else { return };
    let running = ground.start();
    let mut yaml = written_to(2, "10sec");
    yaml["jobs"] = json!({"workers": 0});
    ground.apply(&[ground.cluster(&yaml)]);
    ground.until("Ready", |s| s.phase == "Ready" && s.workers == "2/2").await;
    let proxy = format!("{}:39999", ip(&ground.pods("proxy").await[0]));
    assert!(put(&proxy, "/api/v1/s3/bucket", b""), "a bucket");
    let mut objects = write(&proxy, 0, 8);
    let kubectl = |args: &[&str]| ground.bench.kubectl(&[&["-n", &ground.ns.name], args].concat(), &[]);
    kubectl(&["scale", "cachecluster/cache", "--replicas=1"]);
    let named = |o: &DataOperation| waits(o).starts_with("NotPersisted: ") && waits(o).contains("/bucket/w");
    let op = until_scale_in(&ground, "waiting for the files", named).await;
    println!("{}", waits(&op));
    objects.extend(write(&proxy, 8, 12));
    tokio::time::sleep(Duration::from_secs(40)).await;
    let op = until_scale_in(&ground, "waiting still", named).await;
    assert_eq!(step(&op), "persisting");
    assert_eq!(ground.status().await.workers, "2/2", "nothing was removed, and nothing is out of use");
    readable(&proxy, &objects);
    kubectl(&["scale", "cachecluster/cache", "--replicas=2"]);
    until_scale_in(&ground, "cancelled", |o| o.phase() == Some(Phase::Cancelled)).await;
    readable(&proxy, &objects);
    kubectl(&["delete", "cachecluster/cache", "--timeout=120s"]);
    gone(&ground, kubectl).await;
    drop(running);
}
