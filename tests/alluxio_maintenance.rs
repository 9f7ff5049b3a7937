//! Is a worker of a real Alluxio taken out of use for maintenance with nothing lost, kept out also by a master that forgets it,
//! and brought back, while a client writes what only the cache has and the controller dies?

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that cannot go on fails")]

mod cluster;

use cluster::ground::*;
use cluster::writer::*;
use ratchet::api::DataOperation;
use ratchet_state_machine::machine::Phase;
use ratchet_state_machine::spec::ArmSpec;
use serde_json::{Value, json};
use std::time::Duration;

fn asked(ground: &Ground, name: &str, arm: Value) -> Value {
    json!({"apiVersion": "ratchet.dev/v1alpha1", "kind": "DataOperation",
        "metadata": {"name": name, "namespace": ground.ns.name},
        "spec": {"target": "cache", "operation": arm, "stallDeadlineSeconds": 900}})
}

async fn ends(ground: &Ground, name: &str) -> DataOperation {
    cluster::settled(&ground.admin, &ground.ns.name, name).await
}

/// How the cache lists worker 1.
async fn listed(ground: &Ground) -> String {
    let members = ground.status().await.members;
    members.into_iter().find(|m| m.name.starts_with("cache-worker-1-0.")).map(|m| m.state).unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_is_taken_out_kept_out_and_brought_back_under_a_client_that_never_stops_writing() {
    let Some(ground) = Ground::new("maintenance").await else { return };
    let mut running = ground.start();
    ground.apply(&[ground.cluster(&written_to(3, "10sec"))]);
    ground.until("Ready", |s| s.phase == "Ready" && s.workers == "3/3").await;
    let proxy = format!("{}:39999", ip(&ground.pods("proxy").await[0]));
    assert!(put(&proxy, "/api/v1/s3/bucket", b""), "a bucket");
    let writer = Writer::start(proxy.clone());
    tokio::time::sleep(Duration::from_secs(3)).await;

    ground.apply(&[asked(&ground, "aside", json!({"decommission": {"numbers": [1]}}))]);
    for round in 0..5_u64 {
        tokio::time::sleep(Duration::from_millis(700 + (round * 379) % 2500)).await;
        running.kill();
        running = ground.start();
    }
    let op = ends(&ground, "aside").await;
    assert_eq!(op.phase(), Some(Phase::Succeeded), "{:#?}", op.status);
    let status = ground.until("2/3", |s| s.phase == "Ready" && s.workers == "2/3").await;
    assert_eq!(status.revision.map(|r| (r.workers, r.out_of_use)), Some((vec![0, 1, 2], vec![1])));
    let ready = status.conditions.iter().find(|c| c.type_ == "Ready").map(|c| c.message.clone());
    assert_eq!(ready.as_deref(), Some("2 workers live; out of use: 1"));

    // The maintenance: its pod goes, and comes back with nothing.
    let kubectl = |args: &[&str]| ground.bench.kubectl(&[&["-n", &ground.ns.name], args].concat(), &[]);
    kubectl(&["delete", "pod", "cache-worker-1-0", "--grace-period=1"]);
    kubectl(&["wait", "pod/cache-worker-1-0", "--for=condition=Ready", "--timeout=120s"]);

    // A master that starts anew knows nothing of it: the worker serves, and is taken out again.
    let before: Vec<_> = operations(&ground).await.into_iter().map(|o| o.metadata.name).collect();
    kubectl(&["delete", "pod", "cache-master-0", "--grace-period=1"]);
    let again = |o: &DataOperation| {
        !before.contains(&o.metadata.name)
            && matches!(&o.spec.operation, ArmSpec::Decommission(d) if d.only_if_out_of_use)
            && o.phase() == Some(Phase::Succeeded)
    };
    let mut told = None;
    for _ in 0..cluster::POLLS {
        told = operations(&ground).await.into_iter().find(again);
        if told.is_some() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert!(told.is_some(), "nobody told the master again: {:#?}", ground.status().await);
    ground.until("2/3", |s| s.phase == "Ready" && s.workers == "2/3").await;
    assert_ne!(listed(&ground).await, "ACTIVE");

    // It is brought back, and the controller dies meanwhile.
    ground.apply(&[asked(&ground, "back", json!({"recommission": {"numbers": [1]}}))]);
    for round in 0..4_u64 {
        tokio::time::sleep(Duration::from_millis(500 + (round * 1_379) % 4_000)).await;
        running.kill();
        running = ground.start();
    }
    let op = ends(&ground, "back").await;
    assert_eq!(op.phase(), Some(Phase::Succeeded), "{:#?}", op.status);
    let status = ground.until("3/3", |s| s.phase == "Ready" && s.workers == "3/3").await;
    assert_eq!(status.revision.map(|r| r.out_of_use), Some(vec![]));
    assert_eq!(listed(&ground).await, "ACTIVE");
    tokio::time::sleep(Duration::from_secs(2)).await;
    let (accepted, refused) = writer.stop();
    println!("{:#?}", story(&ground).await);
    println!("{} objects accepted, {refused} refused", accepted.len());
    readable(&proxy, &accepted);
    kubectl(&["delete", "dataoperation/aside", "dataoperation/back", "cachecluster/cache", "--timeout=120s"]);
    gone(&ground, kubectl).await;
    drop(running);
}

/// An engine forgets a worker that it does not let in after half an hour, and the worker's process ends after one; here sooner.
#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_was_forgotten_and_whose_process_has_ended_comes_back() {
    let Some(ground) = Ground::new("forgotten").await else { return };
    let running = ground.start();
    let mut yaml = written_to(2, "5sec");
    for (name, value) in [
        ("alluxio.master.worker.timeout", "10sec"),
        ("alluxio.master.lost.worker.detection.interval", "2sec"),
        ("alluxio.master.lost.worker.deletion.timeout", "5sec"),
        ("alluxio.worker.block.heartbeat.timeout", "15sec"),
    ] {
        yaml["properties"][name] = json!(value);
    }
    ground.apply(&[ground.cluster(&yaml)]);
    ground.until("Ready", |s| s.phase == "Ready" && s.workers == "2/2").await;
    let proxy = format!("{}:39999", ip(&ground.pods("proxy").await[0]));
    assert!(put(&proxy, "/api/v1/s3/bucket", b""), "a bucket");
    let objects = write(&proxy, 0, 12);
    ground.apply(&[asked(&ground, "aside", json!({"decommission": {"numbers": [1]}}))]);
    assert_eq!(ends(&ground, "aside").await.phase(), Some(Phase::Succeeded));
    let ended = async || {
        let pods = ground.pods("worker").await;
        let one = pods.iter().find(|p| p.metadata.name.as_deref() == Some("cache-worker-1-0"));
        let containers = one.and_then(|p| p.status.as_ref()?.container_statuses.clone()).unwrap_or_default();
        containers.iter().any(|c| c.restart_count > 0)
    };
    let mut gone_by = false;
    for _ in 0..cluster::POLLS {
        gone_by = ended().await && listed(&ground).await.is_empty();
        if gone_by {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert!(
        gone_by,
        "its process goes on, or the master knows it still: {:#?}",
        ground.status().await.members
    );
    let status = ground.status().await;
    assert_eq!((status.phase.as_str(), status.workers.as_str()), ("Ready", "1/2"), "nobody misses it");
    ground.apply(&[asked(&ground, "back", json!({"recommission": {"numbers": [1]}}))]);
    let op = ends(&ground, "back").await;
    assert_eq!(op.phase(), Some(Phase::Succeeded), "{:#?}", op.status);
    ground.until("2/2", |s| s.phase == "Ready" && s.workers == "2/2").await;
    println!("{:#?}", story(&ground).await);
    readable(&proxy, &objects);
    let kubectl = |args: &[&str]| ground.bench.kubectl(&[&["-n", &ground.ns.name], args].concat(), &[]);
    kubectl(&["delete", "dataoperation/aside", "dataoperation/back", "cachecluster/cache", "--timeout=120s"]);
    gone(&ground, kubectl).await;
    drop(running);
}
