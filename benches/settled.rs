//! What do 10,000 settled operations cost the controller, in memory and in requests?
//!
//! The operations are real runs, made by a controller; then the shipped binary starts on them and is watched: resident
//! memory, and the API server's own count of requests from the controller's kind of account.

#![allow(clippy::expect_used, clippy::panic, reason = "a bench ends at the first thing that goes wrong")]

#[path = "../tests/cluster/mod.rs"]
mod cluster;

use cluster::fake::FakeEngine;
use cluster::{Bench, InProcess, Replica, cluster as cache, create, operation};
use futures::StreamExt as _;
use kube::Api;
use kube::api::PostParams;
use ratchet::api::DataOperation;
use ratchet::cache::kinds::BY_SETTLED;
use ratchet::controller::Config;
use serde_json::json;
use std::time::Duration;

fn main() {
    let count: usize =
        std::env::var("RATCHET_BENCH_SETTLED").ok().and_then(|v| v.parse().ok()).unwrap_or(10_000);
    let Some(bench) = Bench::api() else { return };
    cluster::runtime().block_on(async {
        let ns = bench.namespace("settled");
        make(&bench, &ns.name, count).await;
        let before = resource_versions(&bench, &ns.name).await;
        let replica = Replica::start(&bench, &ns.name, &[]);
        // The first list, then half a minute of rest.
        tokio::time::sleep(Duration::from_secs(45)).await;
        let rss = rss_mib(replica.id());
        let after = resource_versions(&bench, &ns.name).await;
        let changed = before.iter().zip(&after).filter(|(a, b)| a != b).count();
        println!("{count} settled operations: {rss:.1} MiB resident, {changed} objects written in 45 s");
        replica.kill();
        let empty = bench.namespace("settled-none");
        let replica = Replica::start(&bench, &empty.name, &[]);
        tokio::time::sleep(Duration::from_secs(10)).await;
        println!("no operations: {:.1} MiB resident", rss_mib(replica.id()));
        replica.kill();
    });
}

async fn make(bench: &Bench, namespace: &str, count: usize) {
    let engine = FakeEngine::new();
    engine.world().job_takes = 0;
    let config = Config { concurrency: 16, ..Config::default() };
    let controller = InProcess::with(bench, namespace, engine, config).await;
    let admin = bench.client("admin").await;
    create(&admin, namespace, &cache(namespace, "cache", &["fake:1"], "NoSasl")).await;
    let api: Api<DataOperation> = Api::namespaced(admin, namespace);
    for batch in (0..count).collect::<Vec<_>>().chunks(200) {
        let create = |i: &usize| {
            let api = api.clone();
            let op = operation(
                namespace,
                &format!("op-{i:05}"),
                "cache",
                json!({"load": {"paths": [format!("/p{i}")]}}),
                json!({}),
            );
            async move { api.create(&PostParams::default(), &op).await.expect("created") }
        };
        futures::stream::iter(batch.iter().map(create)).buffer_unordered(8).collect::<Vec<_>>().await;
        let wanted = batch.last().map_or(0, |l| l + 1);
        while controller.ctx.operations.count(&(BY_SETTLED, "true".into())) < wanted {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
    controller.stop().await;
}

async fn resource_versions(bench: &Bench, namespace: &str) -> Vec<Option<String>> {
    let api: Api<DataOperation> = Api::namespaced(bench.client("admin").await, namespace);
    let mut all: Vec<_> = api.list_metadata(&Default::default()).await.expect("a list").items;
    all.sort_by(|a, b| a.metadata.name.cmp(&b.metadata.name));
    all.into_iter().map(|o| o.metadata.resource_version).collect()
}

fn rss_mib(pid: u32) -> f64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|l| l.strip_prefix("VmRSS:")).unwrap_or("0");
    line.split_whitespace().next().and_then(|v| v.parse::<f64>().ok()).unwrap_or(0.0) / 1024.0
}
