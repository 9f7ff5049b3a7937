//! The controller: watches, queues, workers.
//!
//! ```text
//!   watches --changes--> queues --keys--> workers: reconcile -> observe, decide, commit, perform
//! ```
//!
//! Leader election is an option that saves work; nothing here needs it to be safe.

pub mod cluster;
pub mod commit;
pub mod finalizers;
pub mod finish;
pub mod hold;
pub mod lease;
pub mod memory;
pub mod metrics;
mod notify;
pub mod observe;
pub mod patch;
pub mod publish;
pub mod queue;
pub mod rebuild;
pub mod reconcile;
pub mod reply;
pub mod request;
pub mod seal;
pub mod secrets;
pub mod serve;
pub mod teeth;
pub mod turns;
pub mod write;

use crate::api::{CacheCluster, DataLoad, DataOperation, Dataset, TargetLock, Upgrade};
use crate::cache::{Key, Store, WaitError, WatchOptions, namespaced, watch};
use crate::clock::Clock;
use crate::cluster::workloads::{self, Workloads};
use crate::dataset;
use crate::engine::Registry;
use futures::FutureExt as _;
use kube::{Api, Client};
use memory::MemoryTable;
use metrics::Metrics;
use queue::Queue;
use ratchet_state_machine::ids::WriterId;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::Instant;
use turns::{Gone, Places, Turns};

/// How the controller behaves.
#[derive(Debug, Clone)]
pub struct Config {
    /// Operations that are worked on at the same time.
    pub concurrency: usize,
    /// Hard limit of one call to the API server.
    pub api_timeout: Duration,
    /// How long an intent's writer may take until the effect is sent, in milliseconds.
    pub send_for_ms: i64,
    /// How long an effect of an unknown engine may still land, in milliseconds.
    pub unknown_effect_ms: i64,
    /// How long a deleted operation's clean-up may take, in milliseconds.
    pub cleanup_bound_ms: i64,
    /// Pause between two looks at a healthy cache.
    pub probe_every: Duration,
    /// Pause between two looks at an operation that cannot be written.
    pub parked_retry: Duration,
    /// How long running work may take after the order to stop.
    pub drain: Duration,
    /// Look after Datasets too.
    pub datasets: bool,
    /// Run managed caches too: there is something that runs pods.
    pub managed: bool,
    /// CSI drivers that Datasets may ask a volume of.
    pub csi_drivers: Vec<String>,
    /// How to watch.
    pub watch: WatchOptions,
    /// How the protocol is broken.
    #[cfg(feature = "teeth")]
    pub mutation: Option<teeth::Mutation>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            concurrency: 8,
            api_timeout: Duration::from_secs(10),
            send_for_ms: 5_000,
            unknown_effect_ms: 15_000,
            cleanup_bound_ms: 600_000,
            probe_every: Duration::from_secs(15),
            parked_retry: Duration::from_secs(60),
            drain: Duration::from_secs(20),
            datasets: true,
            managed: false,
            csi_drivers: vec!["alluxio".into()],
            watch: WatchOptions::default(),
            #[cfg(feature = "teeth")]
            mutation: None,
        }
    }
}

/// Everything that a reconcile needs.
pub struct Ctx {
    /// The API server. Its own write retries are off.
    pub client: Client,
    /// How the controller behaves.
    pub config: Config,
    /// This process.
    pub writer: WriterId,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Ids for writes.
    pub ids: Box<dyn Fn() -> String + Send + Sync>,
    /// Engines.
    pub engines: Registry,
    /// DataOperations.
    pub operations: Arc<Store<DataOperation>>,
    /// DataLoads.
    pub loads: Arc<Store<DataLoad>>,
    /// Upgrades.
    pub upgrades: Arc<Store<Upgrade>>,
    /// Datasets.
    pub datasets: Arc<Store<Dataset>>,
    /// CacheClusters.
    pub clusters: Arc<Store<CacheCluster>>,
    /// TargetLocks.
    pub locks: Arc<Store<TargetLock>>,
    /// The objects of managed caches.
    pub workloads: Workloads,
    /// What is remembered between two looks.
    pub memory: MemoryTable,
    /// Holders that were seen gone.
    pub gone: Gone,
    /// Turns to write a lock.
    pub turns: Turns,
    /// Places to ask an engine: a slow cache must not take every worker.
    pub places: Places,
    /// What caches show of their datasets.
    pub looks: dataset::look::Looks,
    /// Counters.
    pub metrics: Metrics,
    /// Operations to look at.
    pub operation_queue: Queue<Key>,
    /// DataLoads to look at.
    pub load_queue: Queue<Key>,
    /// Upgrades to look at.
    pub upgrade_queue: Queue<Key>,
    /// Datasets to look at.
    pub dataset_queue: Queue<Key>,
    /// CacheClusters to look at.
    pub cluster_queue: Queue<Key>,
    stop: AtomicBool,
}

impl Ctx {
    /// A controller's context with empty caches.
    pub fn new(
        client: Client,
        config: Config,
        writer: WriterId,
        clock: Arc<dyn Clock>,
        engines: Registry,
    ) -> Self {
        let operations: Arc<Store<DataOperation>> = Arc::default();
        #[cfg(feature = "teeth")]
        if config.mutation == Some(teeth::Mutation::IgnoreWatermark) {
            operations.credulous.store(true, Ordering::Relaxed);
        }
        Self {
            client,
            config,
            writer,
            ids: Box::new(|| uuid::Uuid::new_v4().simple().to_string()),
            engines,
            operations,
            loads: Arc::default(),
            upgrades: Arc::default(),
            datasets: Arc::default(),
            clusters: Arc::default(),
            locks: Arc::default(),
            workloads: Workloads::default(),
            memory: MemoryTable::default(),
            gone: Gone::default(),
            turns: Turns::default(),
            places: Places::default(),
            looks: dataset::look::Looks::default(),
            metrics: Metrics::default(),
            operation_queue: Queue::new(Arc::clone(&clock)),
            load_queue: Queue::new(Arc::clone(&clock)),
            upgrade_queue: Queue::new(Arc::clone(&clock)),
            dataset_queue: Queue::new(Arc::clone(&clock)),
            cluster_queue: Queue::new(Arc::clone(&clock)),
            clock,
            stop: AtomicBool::new(false),
        }
    }

    fn nonce(&self) -> String {
        (self.ids)()
    }

    /// Whether the order to stop was given.
    pub fn stopping(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// Gives the order to stop: nothing new is begun.
    pub fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
        self.operation_queue.close();
        self.load_queue.close();
        self.upgrade_queue.close();
        self.dataset_queue.close();
        self.cluster_queue.close();
    }

    /// Waits until every cache has had its first list.
    ///
    /// # Errors
    /// [`WaitError`].
    pub async fn ready(&self, deadline: Instant) -> Result<(), WaitError> {
        self.operations.ready(deadline).await?;
        self.loads.ready(deadline).await?;
        self.upgrades.ready(deadline).await?;
        self.clusters.ready(deadline).await?;
        if self.config.datasets {
            self.datasets.ready(deadline).await?;
        }
        if self.config.managed {
            self.workloads.ready(deadline).await?;
        }
        self.locks.ready(deadline).await
    }
}

/// Starts the watches. They run until the set is dropped.
pub fn start_watches(ctx: &Arc<Ctx>, tasks: &mut JoinSet<()>) {
    let options = ctx.config.watch.clone();
    let (o, l, c, t) = (Arc::clone(ctx), Arc::clone(ctx), Arc::clone(ctx), Arc::clone(ctx));
    let (client, with) = (&ctx.client, || options.clone());
    let operations = namespaced::<DataOperation>(client, &options);
    tasks.spawn(watch(operations, Arc::clone(&ctx.operations), with(), move |x| o.changed_operation(x)));
    let loads = namespaced::<DataLoad>(client, &options);
    tasks.spawn(watch(loads, Arc::clone(&ctx.loads), with(), move |x| l.load_queue.add(x.key.clone())));
    let (u, upgrades) = (Arc::clone(ctx), namespaced::<Upgrade>(client, &options));
    tasks.spawn(watch(upgrades, Arc::clone(&ctx.upgrades), with(), move |x| {
        u.upgrade_queue.add(x.key.clone());
    }));
    if ctx.config.datasets {
        let d = Arc::clone(ctx);
        let datasets = namespaced::<Dataset>(client, &options);
        tasks.spawn(watch(datasets, Arc::clone(&ctx.datasets), with(), move |x| {
            d.dataset_queue.add(x.key.clone());
            if dataset::moved(x.old.as_deref(), x.new.as_deref()) {
                d.wake_loads(x.new.as_ref().or(x.old.as_ref()));
            }
        }));
    }
    let clusters = namespaced::<CacheCluster>(client, &options);
    tasks.spawn(watch(clusters, Arc::clone(&ctx.clusters), with(), move |x| c.changed_cluster(x)));
    if ctx.config.managed {
        workloads::start_watches(ctx, tasks);
    }
    let locks = Api::all(client.clone());
    tasks.spawn(watch(locks, Arc::clone(&ctx.locks), with(), move |x| t.changed_lock(x)));
}

/// Starts the workers. They end when the queues are closed and their work is done.
pub fn start_workers(ctx: &Arc<Ctx>, tasks: &mut JoinSet<()>) {
    for _ in 0..ctx.config.concurrency.max(1) {
        let ctx = Arc::clone(ctx);
        tasks.spawn(async move {
            while let Some(key) = ctx.operation_queue.next().await {
                let turn = guarded(&key, reconcile::reconcile(&ctx, &key)).await;
                requeue(&ctx.operation_queue, key, turn);
            }
        });
    }
    for _ in 0..2 {
        spawn_datasets(tasks, ctx);
        let l = Arc::clone(ctx);
        tasks.spawn(async move {
            while let Some(key) = l.load_queue.next().await {
                let turn = guarded(&key, request::reconcile::<DataLoad>(&l, &key)).await;
                requeue(&l.load_queue, key, turn);
            }
        });
        let u = Arc::clone(ctx);
        tasks.spawn(async move {
            while let Some(key) = u.upgrade_queue.next().await {
                let turn = guarded(&key, request::reconcile::<Upgrade>(&u, &key)).await;
                requeue(&u.upgrade_queue, key, turn);
            }
        });
        spawn_clusters(tasks, ctx);
    }
    // On a real cluster each of them asks a cache, and writes one thing after the other: slow ones must not keep the
    // others waiting.
    for _ in 2..if ctx.config.managed { ctx.config.concurrency } else { 2 } {
        spawn_datasets(tasks, ctx);
        spawn_clusters(tasks, ctx);
    }
}

fn spawn_datasets(tasks: &mut JoinSet<()>, ctx: &Arc<Ctx>) {
    let d = Arc::clone(ctx);
    if ctx.config.datasets {
        tasks.spawn(async move {
            while let Some(key) = d.dataset_queue.next().await {
                let turn = guarded(&key, dataset::reconcile(&d, &key)).await;
                requeue(&d.dataset_queue, key, turn);
            }
        });
    }
}

fn spawn_clusters(tasks: &mut JoinSet<()>, ctx: &Arc<Ctx>) {
    let c = Arc::clone(ctx);
    tasks.spawn(async move {
        while let Some(key) = c.cluster_queue.next().await {
            let turn = guarded(&key, cluster::reconcile(&c, &key)).await;
            requeue(&c.cluster_queue, key, turn);
        }
    });
}

fn requeue(queue: &Queue<Key>, key: Key, turn: Option<Duration>) {
    queue.done(&key);
    match turn {
        Some(Duration::ZERO) => queue.add(key),
        Some(after) => queue.add_after(key, after),
        None => {}
    }
}

/// A panic in one reconcile is a bug that must not stop the others.
async fn guarded(key: &Key, work: impl Future<Output = Option<Duration>>) -> Option<Duration> {
    match AssertUnwindSafe(work).catch_unwind().await {
        Ok(turn) => turn,
        Err(_) => {
            tracing::error!(%key, "a reconcile panicked; it is tried again in a minute");
            Some(Duration::from_secs(60))
        }
    }
}

/// Runs until `shutdown` resolves, then drains.
///
/// # Errors
/// [`WaitError`] when the caches cannot be filled in time.
pub async fn run(ctx: Arc<Ctx>, shutdown: impl Future<Output = ()>) -> Result<(), WaitError> {
    let mut watches = JoinSet::new();
    start_watches(&ctx, &mut watches);
    tokio::pin!(shutdown);
    let deadline = ctx.clock.instant() + Duration::from_secs(120);
    tokio::select! {
        ready = ctx.ready(deadline) => ready?,
        () = &mut shutdown => return Ok(()),
    }
    tracing::info!(operations = ctx.operations.len(), writer = %ctx.writer, "ready");
    let mut workers = JoinSet::new();
    start_workers(&ctx, &mut workers);
    shutdown.await;
    tracing::info!("stopping: running work is finished, nothing new is begun");
    ctx.stop();
    let drained =
        tokio::time::timeout(ctx.config.drain, async { while workers.join_next().await.is_some() {} });
    if drained.await.is_err() {
        tracing::warn!(
            "some work did not finish in time; whoever takes over waits until nothing of it can land"
        );
    }
    Ok(())
}
