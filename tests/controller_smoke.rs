//! Does the reconcile code also work under kube's own `Controller`? Its order is not ours (it keeps what is pending in
//! unordered sets), so nothing is compared here but the end.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that cannot go on fails")]

mod simulation;

use futures::StreamExt as _;
use kube::Api;
use kube::runtime::controller::{Action, Controller};
use kube::runtime::watcher;
use ratchet::api::DataOperation;
use ratchet::cache::Key;
use ratchet::controller::{Ctx, reconcile, start_watches, start_workers};
use serde_json::json;
use simulation::plan::{Plan, spec};
use simulation::replica::context;
use simulation::run::path;
use simulation::world::World;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::Instant;

/// What kube's `Controller` is given: one turn, and when to look again.
async fn turn(op: Arc<DataOperation>, ctx: Arc<Ctx>) -> Result<Action, std::convert::Infallible> {
    let next = reconcile::reconcile(&ctx, &Key::of(&*op)).await;
    // Waits for others (a lock, a predecessor) are woken by our own queue elsewhere; here a second has to do.
    Ok(Action::requeue(next.unwrap_or(Duration::from_secs(1)).max(Duration::from_millis(10))))
}

#[tokio::test(start_paused = true)]
async fn loads_and_frees_also_end_under_the_controller_of_kube() {
    let plan = Plan::calm(1);
    let world = World::new(&plan, false);
    let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "ns"}});
    assert_eq!(world.by_hand("POST", "/api/v1/namespaces", &namespace).0, 201);
    let cluster = json!({"apiVersion": "ratchet.dev/v1alpha1", "kind": "CacheCluster", "metadata": {"name": "cache"},
        "spec": {"attached": {"masters": ["cache:1"]}}});
    assert_eq!(world.by_hand("POST", &path("cacheclusters", ""), &cluster).0, 201);
    for (name, arm, on) in [("a", "load", "/data/a"), ("b", "free", "/data/b"), ("c", "load", "/data/c")] {
        let op = json!({"apiVersion": "ratchet.dev/v1alpha1", "kind": "DataOperation", "metadata": {"name": name},
            "spec": spec(arm, &[on])});
        assert_eq!(world.by_hand("POST", &path("dataoperations", ""), &op).0, 201);
    }
    let ctx = context(&plan, &world, 0);
    // Clusters and loads are worked on by our own queues; the keys of operations are thrown away and left to kube.
    let mut tasks = JoinSet::new();
    start_watches(&ctx, &mut tasks);
    ctx.ready(Instant::now() + Duration::from_secs(30)).await.unwrap();
    ctx.operation_queue.close();
    start_workers(&ctx, &mut tasks);
    let operations: Api<DataOperation> = Api::all(ctx.client.clone());
    let controller = Controller::new(operations, watcher::Config::default())
        .run(turn, |_, _, _| Action::requeue(Duration::from_secs(1)), Arc::clone(&ctx))
        .for_each(|_| async {});
    let over = async {
        while !world.judge().calm() {
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    };
    tokio::select! {
        () = controller => panic!("kube's controller ended"),
        () = over => {}
        () = tokio::time::sleep(Duration::from_secs(600)) => panic!("not over in ten minutes"),
    }
    assert_eq!(world.judge().violations, Vec::<String>::new());
    let phases: Vec<String> = world
        .judge()
        .operations()
        .map(|o| o["status"]["phase"].as_str().unwrap_or_default().to_owned())
        .collect();
    assert_eq!(phases, ["Succeeded"; 3]);
}
