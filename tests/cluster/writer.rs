//! Clients of a real managed cache that write what only the cache has, and what operations on it say.

use super::ground::{Ground, put, read};
use kube::api::ListParams;
use ratchet::api::{DataOperation, OperationJournal};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// A cache whose clients write into the cache alone, and hear of workers that often.
pub fn written_to(workers: usize, refresh: &str) -> Value {
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
pub struct Writer {
    stop: Arc<AtomicBool>,
    accepted: Arc<Mutex<BTreeMap<String, Vec<u8>>>>,
    thread: std::thread::JoinHandle<usize>,
}

impl Writer {
    pub fn start(proxy: String) -> Self {
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

    pub fn stop(self) -> (BTreeMap<String, Vec<u8>>, usize) {
        self.stop.store(true, Ordering::Relaxed);
        let refused = self.thread.join().expect("it wrote");
        (self.accepted.lock().expect("no panic").clone(), refused)
    }
}

/// What happened to the operations of a cache, from their sealed journals.
pub async fn story(ground: &Ground) -> Vec<String> {
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

/// Every operation in the test's namespace.
pub async fn operations(ground: &Ground) -> Vec<DataOperation> {
    ground.api::<DataOperation>().list(&ListParams::default()).await.expect("listed").items
}

/// Where an operation stands.
pub fn step(op: &DataOperation) -> &str {
    op.status.as_ref().map_or("", |s| s.step.as_str())
}

/// What it waits for.
pub fn waits(op: &DataOperation) -> String {
    let waits = op.status.as_ref().and_then(|s| s.waiting_on.as_ref());
    waits.map(|w| format!("{}: {}", w.reason, w.message)).unwrap_or_default()
}

/// Objects that only the cache has, all of them readable.
pub fn write(proxy: &str, from: usize, to: usize) -> BTreeMap<String, Vec<u8>> {
    let object = |i: usize| {
        let bytes: Vec<u8> =
            (0..50_000).map(|j| u8::try_from((i * 13 + j * 7) % 251).expect("a byte")).collect();
        let path = format!("/api/v1/s3/bucket/w{i}");
        assert!(put(proxy, &path, &bytes), "{path} is accepted");
        (path, bytes)
    };
    (from..to).map(object).collect()
}

/// Every object has the bytes that were accepted.
pub fn readable(proxy: &str, objects: &BTreeMap<String, Vec<u8>>) {
    for (path, bytes) in objects {
        assert!(read(proxy, path).is_some_and(|b| b == *bytes), "{path} differs");
    }
}
