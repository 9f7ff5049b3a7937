//! Does the thin line run end to end: an operation, a real API server, an engine that answers at once?

mod cluster;

use cluster::fake::FakeEngine;
use cluster::{Bench, InProcess, cluster as cache, create, load, settled};
use ratchet::api::DataOperation;
use ratchet::api::Request as _;
use ratchet_state_machine::machine::Phase;

#[tokio::test(flavor = "multi_thread")]
async fn a_data_load_becomes_an_operation_that_succeeds_and_settles() {
    let Some(bench) = Bench::api() else { return };
    let ns = bench.namespace("thin");
    let engine = FakeEngine::new();
    let controller = InProcess::start(&bench, &ns.name, engine.clone()).await;
    let admin = bench.client("admin").await;
    create(&admin, &ns.name, &cache(&ns.name, "cache", &["fake:1"], "NoSasl")).await;
    let dl = create(&admin, &ns.name, &load(&ns.name, "warm", "cache", &["/data"])).await;
    let done: DataOperation = settled(&admin, &ns.name, &dl.operation_name()).await;
    assert_eq!(done.phase(), Some(Phase::Succeeded));
    assert_eq!(engine.path("/data").submits, 1);
    controller.stop().await;
}
