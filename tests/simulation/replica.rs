//! One replica: the shipped controller in a task, killed and started again as the world has it.

use super::engine::SimEngine;
use super::link::Link;
use super::plan::Plan;
use super::time::ReplicaClock;
use super::world::World;
use ratchet::cache::WatchOptions;
use ratchet::clock::Clock;
use ratchet::controller::{self, Config, Ctx};
use ratchet::engine::{Engine, Registry};
use ratchet_state_machine::ids::WriterId;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// How the controllers of a simulation behave: as shipped, with shorter waits.
fn config(plan: &Plan, replica: usize) -> Config {
    Config {
        concurrency: 4,
        api_timeout: Duration::from_secs(3),
        send_for_ms: 2_000,
        unknown_effect_ms: 4_000,
        probe_every: Duration::from_secs(20),
        parked_retry: Duration::from_secs(20),
        drain: Duration::from_secs(10),
        watch: WatchOptions { spread: plan.seed.wrapping_add(replica as u64), ..WatchOptions::default() },
        mutation: plan.mutation,
        // Their watch would give every seed another history.
        datasets: plan.datasets,
        managed: plan.managed,
        ..Config::default()
    }
}

/// A replica that lives, dies and comes back until it is told to stop.
pub struct Replica {
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
    /// Its clock.
    pub clock: Arc<ReplicaClock>,
}

impl Replica {
    /// Starts a replica.
    pub fn start(world: &Arc<World>, plan: &Plan, replica: usize) -> Self {
        let (skew, rate) = plan.clocks.get(replica).copied().unwrap_or((0, 100));
        let clock = ReplicaClock::new(world.time, skew, rate);
        let (stop, stopped) = watch::channel(false);
        let lives = live(Arc::clone(world), plan.clone(), replica, Arc::clone(&clock), stopped);
        Self { stop, task: tokio::spawn(lives), clock }
    }

    /// Tells it to stop, as SIGTERM does, and waits until it has.
    pub async fn drain(self) {
        let _ = self.stop.send(true);
        let _ = self.task.await;
    }

    /// Ends it at once.
    pub async fn kill(self) {
        self.task.abort();
        let _ = self.task.await;
    }
}

/// A task that dies with whoever holds it.
struct Held(JoinHandle<()>);

impl Drop for Held {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn live(
    world: Arc<World>,
    plan: Plan,
    replica: usize,
    clock: Arc<ReplicaClock>,
    stopped: watch::Receiver<bool>,
) {
    let crashes = Arc::new(plan.crash_points.get(replica).cloned().unwrap_or_default());
    loop {
        let outside = &world.replicas[replica];
        let life = outside.life.load(Ordering::Relaxed);
        let link = Link { world: Arc::clone(&world), replica, life, crashes: Arc::clone(&crashes) };
        let ctx = context_of(&plan, link, &clock);
        let mut order = stopped.clone();
        let work = tokio::spawn(async move {
            let order = async move {
                let _ = order.wait_for(|stop| *stop).await;
            };
            let _ = controller::run(ctx, order).await;
        });
        let mut work = Held(work);
        let died = outside.died.notified();
        tokio::pin!(died);
        match futures::future::select(died, &mut work.0).await {
            futures::future::Either::Left(_) => {}
            futures::future::Either::Right(_) if *stopped.borrow() => return,
            // The caches could not be filled in time: the process ends and is started again, as a pod is.
            futures::future::Either::Right(_) => outside.back_ms.store(1_000, Ordering::Relaxed),
        }
        drop(work);
        let back = outside.back_ms.load(Ordering::Relaxed);
        tokio::time::sleep(Duration::from_millis(back)).await;
        if *stopped.borrow() {
            return;
        }
        world.note(format_args!("r{replica} is back"));
    }
}

/// The controller of a replica, for whoever runs it in a way of its own.
pub fn context(plan: &Plan, world: &Arc<World>, replica: usize) -> Arc<Ctx> {
    let link = Link { world: Arc::clone(world), replica, life: 0, crashes: Arc::default() };
    context_of(plan, link, &ReplicaClock::new(world.time, 0, 100))
}

fn context_of(plan: &Plan, link: Link, clock: &Arc<ReplicaClock>) -> Arc<Ctx> {
    let (replica, life) = (link.replica, link.life);
    let client = kube::Client::new(link.clone(), "default");
    let own: Arc<dyn Clock> = Arc::clone(clock) as _;
    let engine_clock = Arc::clone(&own);
    let engine: Arc<dyn Engine> = Arc::new(SimEngine { link, clock: engine_clock });
    let registry = Registry::with(move |_| Ok(Arc::clone(&engine)));
    let writer = WriterId(format!("r{replica}-{life}"));
    let mut ctx = Ctx::new(client, config(plan, replica), writer, own, registry);
    let counter = AtomicU64::new(0);
    ctx.ids = Box::new(move || format!("n{replica}-{life}-{}", counter.fetch_add(1, Ordering::Relaxed)));
    Arc::new(ctx)
}
