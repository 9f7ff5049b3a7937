//! How many of the budgeted writes does the controller make a second, beside raw compare-and-swap PATCHes on the same
//! kind, with its rules, at the same size and concurrency?
//!
//! Both sides run in the same process against the same API server, in turns. The engine answers at once.

#![allow(clippy::expect_used, clippy::panic, reason = "a bench ends at the first thing that goes wrong")]

#[path = "../tests/cluster/mod.rs"]
mod cluster;

use cluster::fake::FakeEngine;
use cluster::{Bench, InProcess, cluster as cache, create, operation};
use futures::StreamExt as _;
use kube::Api;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use ratchet::api::{DataOperation, DataOperationStatus};
use ratchet::cache::kinds::BY_SETTLED;
use ratchet::controller::{Config, patch};
use ratchet_state_machine::effect::{Effect, Intent};
use ratchet_state_machine::ids::{Fence, Nonce, Token, WriterId};
use ratchet_state_machine::journal::{Record, Signature, plan_hash};
use ratchet_state_machine::lifecycle::Change;
use ratchet_state_machine::lifecycle::step::Shared;
use ratchet_state_machine::operation::Event;
use serde_json::json;
use std::time::Duration;

const OPERATIONS: usize = 200;
const CONCURRENCY: usize = 8;
const ROUNDS: usize = 5;
/// Transitions of a load of one path (9), lock (2), segment (1), finalizer (1).
const BUDGET: usize = 13;

#[allow(clippy::disallowed_methods, reason = "a bench reads the real clock")]
fn now() -> std::time::Instant {
    std::time::Instant::now()
}

fn main() {
    let Some(bench) = Bench::api() else { return };
    cluster::runtime().block_on(async {
        let (mut product, mut raw) = (Vec::new(), Vec::new());
        for round in 0..ROUNDS {
            let p = product_round(&bench).await;
            let r = raw_round(&bench).await;
            println!(
                "round {}: product {p:.0} budgeted writes/s, raw {r:.0} CAS PATCH/s, ratio {:.2}",
                round + 1,
                p / r
            );
            product.push(p);
            raw.push(r);
        }
        let ratio: Vec<f64> = product.iter().zip(&raw).map(|(p, r)| p / r).collect();
        println!(
            "median: product {:.0}, raw {:.0}, ratio {:.2}",
            median(product),
            median(raw),
            median(ratio)
        );
    });
}

fn median(mut all: Vec<f64>) -> f64 {
    all.sort_by(f64::total_cmp);
    all[all.len() / 2]
}

async fn fill(bench: &Bench, namespace: &str) {
    let admin = bench.client("admin").await;
    let api: Api<DataOperation> = Api::namespaced(admin, namespace);
    let create = |i: usize| {
        let api = api.clone();
        let op = operation(
            namespace,
            &format!("op-{i}"),
            "cache",
            json!({"load": {"paths": [format!("/p{i}")]}}),
            json!({}),
        );
        async move { api.create(&PostParams::default(), &op).await.expect("created") }
    };
    futures::stream::iter((0..OPERATIONS).map(create))
        .buffer_unordered(CONCURRENCY)
        .collect::<Vec<_>>()
        .await;
}

async fn product_round(bench: &Bench) -> f64 {
    let ns = bench.namespace("bench");
    let engine = FakeEngine::new();
    engine.world().job_takes = 0;
    fill(bench, &ns.name).await;
    let config = Config { concurrency: CONCURRENCY, ..Config::default() };
    let controller = InProcess::with(bench, &ns.name, engine, config).await;
    create(&bench.client("admin").await, &ns.name, &cache(&ns.name, "cache", &["fake:1"], "NoSasl")).await;
    let ctx = &controller.ctx;
    let settled = || ctx.operations.count(&(BY_SETTLED, "true".into()));
    // The clock starts with the first transition, not with the claim of the cache.
    while ctx.operations.count(&(ratchet::cache::kinds::BY_PHASE, "Queued".into())) == 0 {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    let start = now();
    while settled() < OPERATIONS {
        assert!(start.elapsed() < Duration::from_secs(300), "only {} settled", settled());
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let took = start.elapsed();
    let text = ctx.metrics.text().expect("text");
    for line in text.lines().filter(|l| {
        l.contains("write_failures_total{") || l.contains("_writes_total{") || l.contains("reads_total")
    }) {
        println!("    {line}");
    }
    controller.stop().await;
    (OPERATIONS * BUDGET) as f64 / took.as_secs_f64()
}

/// Statuses of one operation, transition by transition: the same sizes as the product's.
fn history(op: &DataOperation) -> Vec<DataOperationStatus> {
    let writer = WriterId("bench-12345678".into());
    let at = chrono::DateTime::from_timestamp_millis(1_790_000_000_000).expect("a time");
    let sign = Signature { by: &writer, at, because: "3 workers live, 805306368 bytes" };
    let plan = plan_hash(&op.spec).expect("a hash");
    let change = |event, intent| Change { event: Event::Shared(event), intent, sealed_through: None };
    let first = change(
        Shared::Created {
            machine: ratchet_state_machine::MACHINE_VERSION,
            after: false,
            approval: false,
            plan,
        },
        None,
    );
    let mut record = Record::birth(op.uid(), &op.spec, &first, &sign).expect("a birth");
    let mut all = vec![DataOperationStatus::from_record(&record)];
    record = record.append(&change(Shared::HoldGranted { epoch: 1 }, None), &sign).expect("a grant");
    all.push(DataOperationStatus::from_record(&record));
    for n in 1..=7 {
        let intent = Intent {
            token: Token::derive(op.uid(), record.folded.seq, 0),
            effect: Effect::LoadMetadata { path: 0 },
            writer: writer.clone(),
            nonce: Nonce("n".repeat(32)),
            fence: Fence { epoch: 1, attempt: n },
            send_for_ms: 5_000,
        };
        record = record.append(&change(Shared::Intended {}, Some(intent)), &sign).expect("an intent");
        all.push(DataOperationStatus::from_record(&record));
    }
    all
}

async fn raw_round(bench: &Bench) -> f64 {
    let ns = bench.namespace("raw");
    fill(bench, &ns.name).await;
    let api: Api<DataOperation> = Api::namespaced(bench.client("controller").await, &ns.name);
    let all = api.list(&Default::default()).await.expect("a list").items;
    let work: Vec<_> = all
        .iter()
        .map(|op| (op.metadata.name.clone().expect("a name"), op.uid().to_owned(), history(op)))
        .collect();
    let start = now();
    let chains = work.iter().map(|(name, uid, history)| {
        let api = api.clone();
        async move {
            for (i, status) in history.iter().enumerate() {
                let ops = match i {
                    0 => patch::birth(uid, status),
                    _ => patch::transition(uid, None, &history[i - 1], status),
                };
                let ops = serde_json::to_value(ops.expect("ops")).expect("operations");
                let body = serde_json::from_value(ops).expect("a patch");
                api.patch_status(name, &PatchParams::default(), &Patch::Json::<()>(body))
                    .await
                    .expect("written");
            }
            history.len()
        }
    });
    let writes: usize = futures::stream::iter(chains)
        .buffer_unordered(CONCURRENCY)
        .collect::<Vec<_>>()
        .await
        .into_iter()
        .sum();
    let took = start.elapsed();
    let admin: Api<DataOperation> = Api::namespaced(bench.client("admin").await, &ns.name);
    let _ = admin.delete_collection(&DeleteParams::default(), &Default::default()).await;
    writes as f64 / took.as_secs_f64()
}
