//! Does a scale-in of a real Alluxio lose nothing, while a client writes what only the cache has, and the controller dies?

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that cannot go on fails")]

mod cluster;

use cluster::ground::*;
use kube::api::ListParams;
use ratchet::api::{DataOperation, OperationJournal};
use ratchet_state_machine::machine::Phase;
use ratchet_state_machine::spec::ArmSpec;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// A cache whose clients write into the cache alone, and hear of workers that often.
fn written_to(workers: usize, refresh: &str) -> Value {
    json!({
        "workers": {"replicas": workers},
        "proxies": {"replicas": 1},
        "properties": {
            "alluxio.proxy.s3.writetype": "MUST_CACHE",
            "alluxio.user.worker.list.refresh.interval": refresh,
            "alluxio.user.block.write.location.policy.class":
                "alluxio.client.block.policy.RoundRobinPolicy",
        },
    })
}

/// A client that writes one object after the other until it is stopped. What was accepted is kept.
struct Writer {
    stop: Arc<AtomicBool>,
    accepted: Arc<Mutex<BTreeMap<String, Vec<u8>>>>,
    thread: std::thread::JoinHandle<usize>,
}

impl Writer {
    fn start(proxy: String) -> Self {
        let (stop, accepted) = (Arc::new(AtomicBool::new(false)), Arc::default());
        let (stopped, written) = (Arc::clone(&stop), Arc::clone(&accepted));
        let thread = std::thread::spawn(move || {
            let mut refused = 0;
            for i in 0_usize.. {
                if stopped.load(Ordering::Relaxed) {
                    break;
                }
                let bytes: Vec<u8> =
                    (0..50_000).map(|j| u8::try_from((i * 17 + j * 3) % 251).expect("a byte")).collect();
                let path = format!("/api/v1/s3/bucket/o{i}");
                if put(&proxy, &path, &bytes) {
                    let written: &Mutex<BTreeMap<String, Vec<u8>>> = &written;
                    written.lock().expect("no panic").insert(path, bytes);
                } else {
                    refused += 1;
                }
                std::thread::sleep(Duration::from_millis(100));
            }
            refused
        });
        Self { stop, accepted, thread }
    }

    fn stop(self) -> (BTreeMap<String, Vec<u8>>, usize) {
        self.stop.store(true, Ordering::Relaxed);
        let refused = self.thread.join().expect("it wrote");
        (self.accepted.lock().expect("no panic").clone(), refused)
    }
}

async fn scale_ins(ground: &Ground) -> Vec<DataOperation> {
    let all = ground.api::<DataOperation>().list(&ListParams::default()).await.expect("listed").items;
    let mut all: Vec<_> =
        all.into_iter().filter(|o| matches!(o.spec.operation, ArmSpec::ScaleIn(_))).collect();
    all.sort_by_key(|o| o.metadata.creation_timestamp.clone());
    all
}

/// What happened to the operations of a cache, from their sealed journals.
async fn story(ground: &Ground) -> Vec<String> {
    let all = ground.api::<OperationJournal>().list(&ListParams::default()).await.expect("listed").items;
    let mut told = Vec::new();
    for journal in &all {
        let journal = serde_json::to_value(journal).expect("JSON");
        for entry in journal["spec"]["entries"].as_array().into_iter().flatten() {
            let body = entry["body"].as_str().unwrap_or_default();
            let body: Value = serde_json::from_str(body).expect("JSON");
            let word = |name: &str| entry[name].as_str().unwrap_or_default();
            told.push(format!("{} {} {}", word("at"), word("event"), body["because"]));
        }
    }
    told.sort();
    told
}

/// Waits until the newest scale-in is as wanted.
async fn until_scale_in(
    ground: &Ground,
    what: &str,
    wanted: impl Fn(&DataOperation) -> bool,
) -> DataOperation {
    let mut last = None;
    for _ in 0..900 {
        last = scale_ins(ground).await.pop();
        if let Some(op) = last.as_ref().filter(|o| wanted(o)) {
            return op.clone();
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("not {what}: {:#?}", last.and_then(|o| o.status))
}

fn step(op: &DataOperation) -> &str {
    op.status.as_ref().map_or("", |s| s.step.as_str())
}

fn waits(op: &DataOperation) -> String {
    let waits = op.status.as_ref().and_then(|s| s.waiting_on.as_ref());
    waits.map(|w| format!("{}: {}", w.reason, w.message)).unwrap_or_default()
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

/// Objects that only the cache has, all of them readable.
fn write(proxy: &str, from: usize, to: usize) -> BTreeMap<String, Vec<u8>> {
    let object = |i: usize| {
        let bytes: Vec<u8> =
            (0..50_000).map(|j| u8::try_from((i * 13 + j * 7) % 251).expect("a byte")).collect();
        let path = format!("/api/v1/s3/bucket/w{i}");
        assert!(put(proxy, &path, &bytes), "{path} is accepted");
        (path, bytes)
    };
    (from..to).map(object).collect()
}

fn readable(proxy: &str, objects: &BTreeMap<String, Vec<u8>>) {
    for (path, bytes) in objects {
        assert!(read(proxy, path).is_some_and(|b| b == *bytes), "{path} differs");
    }
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
