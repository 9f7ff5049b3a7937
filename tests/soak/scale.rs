//! Does a Dataset get ready as fast among thousands as among fifty, and does the controller rest afterwards?
//!
//! The API server is real; each CacheCluster is attached to a cache of its own that answers at once. The first and the last
//! fifty come at a slow pace and while nothing else is under way, so that what is measured is not how long the queue is.

use super::cluster::fake::FakeEngine;
use super::cluster::{Bench, TestNamespace, cluster};
use super::now;
use kube::Client;
use kube::api::{Api, ListParams, PostParams};
use ratchet::api::{CacheCluster, Dataset};
use ratchet::cache::Key;
use ratchet::clock::SystemClock;
use ratchet::controller::{self, Config, Ctx};
use ratchet::engine::Registry;
use ratchet_state_machine::ids::WriterId;
use serde_json::json;
use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// Datasets that come in a second where they are measured. Each costs nearly 30 writes with rules to be checked: an API server
/// on two cores takes about three a second.
const PACE: u32 = 2;
/// And in between, where `RATCHET_SCALE_PACE` does not say otherwise.
const BULK: u32 = 4;
/// How many at each end are compared.
const SAMPLE: usize = 50;

fn memory_mib() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|l| l.starts_with("VmRSS:")).unwrap_or_default();
    let kib: f64 = line.split_whitespace().nth(1).and_then(|n| n.parse().ok()).unwrap_or(0.0);
    kib / 1024.0
}

async fn clusters(admin: &Client, namespace: &str, count: usize) {
    let api: Api<CacheCluster> = Api::namespaced(admin.clone(), namespace);
    for i in 0..count {
        let object = cluster(namespace, &format!("c{i}"), &["fake:1"], "NoSasl");
        api.create(&PostParams::default(), &object).await.expect("created");
    }
    for _ in 0..600 {
        let all = api.list(&ListParams::default()).await.expect("listed").items;
        if all.iter().all(|c| c.status.as_ref().is_some_and(|s| s.phase == "Ready")) {
            return;
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    panic!("not all clusters are ready");
}

/// Creates datasets at the pace; gives back when each was created.
async fn datasets(
    admin: &Client,
    namespace: &str,
    from: usize,
    to: usize,
    clusters: usize,
    pace: u32,
) -> HashMap<String, Instant> {
    let api: Api<Dataset> = Api::namespaced(admin.clone(), namespace);
    let mut born = HashMap::new();
    let mut tick = tokio::time::interval(Duration::from_secs(1) / pace);
    for i in from..to {
        tick.tick().await;
        let name = format!("d{i}");
        let spec = json!({"cluster": format!("c{}", i % clusters),
            "mounts": [{"path": format!("/d{i}"), "uri": format!("s3://d{i}")}]});
        let object = json!({"apiVersion": "ratchet.dev/v1alpha1", "kind": "Dataset",
            "metadata": {"name": name}, "spec": spec});
        let dataset: Dataset = serde_json::from_value(object).expect("a Dataset");
        api.create(&PostParams::default(), &dataset).await.expect("created");
        born.insert(name, now());
    }
    born
}

/// Notes when each dataset was first seen Bound, by the controller's own cache; asks only for those that were not yet.
async fn watch_bound(
    ctx: Arc<Ctx>,
    namespace: String,
    count: usize,
    bound: Arc<Mutex<HashMap<String, Instant>>>,
) {
    let mut open: Vec<String> = (0..count).map(|i| format!("d{i}")).collect();
    loop {
        // They come in order: those that are far ahead are not there yet.
        let window = open.len().min(500);
        let rest = open.split_off(window);
        open.retain(|name| {
            let dataset = ctx.datasets.get(&Key::new(namespace.as_str(), name.as_str()));
            let is = dataset.is_some_and(|d| d.status.as_ref().is_some_and(|s| s.phase == "Bound"));
            if is {
                bound.lock().unwrap().insert(name.clone(), now());
            }
            !is
        });
        open.extend(rest);
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Operations that are not over, by the controller's own cache.
fn at_work(ctx: &Ctx) -> usize {
    let known = ctx.operations.known();
    let open = known.iter().filter_map(|(key, _)| ctx.operations.get(key));
    open.filter(|o| !o.status.as_ref().is_some_and(|s| s.settled())).count()
}

fn median(mut all: Vec<Duration>) -> Duration {
    all.sort();
    all[all.len() / 2]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dataset_among_thousands_is_ready_as_fast_as_among_fifty() {
    let Ok(count) = std::env::var("RATCHET_SCALE") else { return };
    let count: usize = count.parse().expect("RATCHET_SCALE is a number of Datasets");
    let Some(bench) = Bench::api() else { return };
    let ns: TestNamespace = bench.namespace("scale");
    let admin = bench.client("admin").await;
    let config = Config {
        managed: true,
        watch: ratchet::cache::WatchOptions { namespace: Some(ns.name.clone()), ..Default::default() },
        ..Config::default()
    };
    let client = bench.client("controller").await;
    let registry = Registry::with(|_| Ok(FakeEngine::new() as _));
    let ctx = Arc::new(Ctx::new(client, config, WriterId("scale".into()), Arc::new(SystemClock), registry));
    let running = tokio::spawn(controller::run(Arc::clone(&ctx), std::future::pending::<()>()));
    let caches = count.div_ceil(5);
    clusters(&admin, &ns.name, caches).await;
    let bound: Arc<Mutex<HashMap<String, Instant>>> = Arc::default();
    let watching = tokio::spawn(watch_bound(Arc::clone(&ctx), ns.name.clone(), count, Arc::clone(&bound)));
    println!("{caches} clusters are ready; {:.0} MiB", memory_mib());
    let all_bound = async |count: usize| {
        for _ in 0..3_600 {
            if bound.lock().unwrap().len() == count {
                break;
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        // The files of the last ones are still counted, and their journals sealed: what is measured next is not how long that
        // takes.
        for _ in 0..3_600 {
            if at_work(&ctx) == 0 {
                break;
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    };
    let mut born = datasets(&admin, &ns.name, 0, SAMPLE, caches, PACE).await;
    all_bound(SAMPLE).await;
    println!("{SAMPLE} datasets; {:.0} MiB", memory_mib());
    let bulk = std::env::var("RATCHET_SCALE_PACE").map_or(BULK, |p| p.parse().expect("a number a second"));
    born.extend(datasets(&admin, &ns.name, SAMPLE, count - SAMPLE, caches, bulk).await);
    all_bound(count - SAMPLE).await;
    println!("{} datasets; {:.0} MiB", count - SAMPLE, memory_mib());
    born.extend(datasets(&admin, &ns.name, count - SAMPLE, count, caches, PACE).await);
    all_bound(count).await;
    watching.abort();
    let bound = bound.lock().unwrap().clone();
    assert_eq!(bound.len(), count, "not all are bound");
    let took = |i: usize| bound[&format!("d{i}")].duration_since(born[&format!("d{i}")]);
    let first = median((0..SAMPLE).map(took).collect());
    let last = median((count - SAMPLE..count).map(took).collect());
    let ratio = last.as_secs_f64() / first.as_secs_f64();
    println!(
        "bound after (p50): {first:?} among {SAMPLE}, {last:?} among {count}: {ratio:.2} times; {:.0} MiB",
        memory_mib()
    );

    // Everything is settled when no Dataset, CacheCluster or operation changes any more.
    let versions = async || {
        let api: Api<Dataset> = Api::namespaced(admin.clone(), &ns.name);
        let all = api.list(&ListParams::default()).await.expect("listed").items;
        all.into_iter().map(|d| d.metadata.resource_version).collect::<Vec<_>>()
    };
    let mut before = versions().await;
    for _ in 0..60 {
        tokio::time::sleep(Duration::from_secs(20)).await;
        let after = versions().await;
        if after == before {
            break;
        }
        before = after;
    }
    tokio::time::sleep(Duration::from_secs(40)).await;
    assert!(versions().await == before, "something is written though nothing moves");
    println!("settled: nothing is written in 40 s; {:.0} MiB", memory_mib());
    running.abort();
}
