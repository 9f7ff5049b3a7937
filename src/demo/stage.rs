//! What the demo plays on: the API server of `ratchet dev` on loopback, a cache over the files, and one controller
//! after the other.
//!
//! ```text
//!   person --in process--> API server <--https, its own account-- controller (killed, and started anew)
//!                                                                     |
//!             files (only read, reads counted) <-- cache <-- wire <---'
//! ```
//!
//! The API server and the cache outlive every controller, as they do in a cluster.

use super::tree::{Files, Tree};
use super::wire::{Line, Wire};
use super::{DemoError, error::claim};
use crate::api::CacheCluster;
use crate::api::cluster::{EngineKind, Local as LocalSpec};
use crate::clock::{Clock as _, SystemClock};
use crate::controller::{self, Config, Ctx};
use crate::dev::{self, Running};
use crate::engine::local::{self, Cache, Local, Profile};
use crate::engine::{Registry, RegistryError};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, ResourceExt as _};
use ratchet_state_machine::ids::WriterId;
use std::collections::BTreeMap;
use std::fs::{self, DirBuilder};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// Name of the demo's CacheCluster.
pub const CLUSTER: &str = "demo";
/// How long a controller may take until it has sent what it wrote down, in milliseconds.
pub const SEND_FOR_MS: i64 = 1_000;
/// How long a call to this cache may take, and how long after that it may still land, in milliseconds.
pub const CALL_MS: (i64, i64) = (1_000, 500);
/// What a takeover waits for: nothing that was sent can land after it.
pub const SETTLED_MS: i64 = SEND_FOR_MS + CALL_MS.0 + CALL_MS.1;

/// Pause between two looks at what the cache has to copy.
const ADVANCE_EVERY: Duration = Duration::from_millis(50);

/// The directory of a demo; goes away with its value unless it is kept.
pub struct Home {
    path: PathBuf,
    keep: bool,
}

impl Home {
    /// Makes one in the directory for temporary files. Only its owner can look inside.
    ///
    /// # Errors
    /// [`DemoError::Scratch`].
    pub fn make(keep: bool) -> Result<Self, DemoError> {
        let id: String = uuid::Uuid::new_v4().simple().to_string().chars().take(8).collect();
        let path = std::env::temp_dir().join(format!("ratchet-demo-{id}"));
        DirBuilder::new().mode(0o700).create(&path).map_err(DemoError::scratch(&path))?;
        Ok(Self { path, keep })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether it stays.
    pub const fn kept(&self) -> bool {
        self.keep
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        // Something may be written while it is removed the first time.
        if !self.keep && fs::remove_dir_all(&self.path).is_err() {
            let _ = fs::remove_dir_all(&self.path);
        }
    }
}

/// The caches of the demo, by `namespace/name`.
struct Caches {
    home: PathBuf,
    /// Address of the files.
    root: String,
    files: Arc<Files>,
    opened: Mutex<BTreeMap<String, Cache>>,
}

impl Caches {
    /// Where `ratchet dev` will find them again, and with the short waits of a cache in the same process.
    fn open(&self, key: &str, spec: &LocalSpec) -> Result<Cache, RegistryError> {
        let mut opened = self.opened.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(cache) = opened.get(key) {
            return Ok(cache.clone());
        }
        let profile = Profile {
            call_timeout_ms: CALL_MS.0,
            longest_delay_ms: CALL_MS.1,
            free_lag_ms: 300,
            ..local::profile(spec)
        };
        let files: Arc<Files> = Arc::clone(&self.files);
        let identity = format!("local-{}", key.replace('/', "-"));
        let cache = Cache::open(self.home.join(key.replace('/', "_")), identity, profile, files)
            .map_err(|e| RegistryError(e.to_string()))?
            .with_stores(self.root.clone(), dev::directory);
        opened.insert(key.to_owned(), cache.clone());
        Ok(cache)
    }

    fn all(&self) -> BTreeMap<String, Cache> {
        self.opened.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

struct Controller {
    task: JoinHandle<()>,
    /// Dropped or sent: drain.
    stop: oneshot::Sender<()>,
}

/// The stage.
pub struct Stage {
    /// A client of user `dev`, the person.
    pub client: Client,
    /// What lies under the cache.
    pub files: Arc<Files>,
    /// What can happen to a call to the cache.
    pub line: Arc<Line>,
    /// The controllers that were started, by the names that they write under.
    pub writers: Vec<String>,
    dev: Running,
    caches: Arc<Caches>,
    controller: Option<Controller>,
    ticker: (JoinHandle<()>, oneshot::Sender<()>),
}

impl Stage {
    /// Serves the API on a free port of loopback. No controller runs yet.
    ///
    /// # Errors
    /// [`DemoError`].
    pub async fn set(home: &Home, tree: &Tree) -> Result<Self, DemoError> {
        let files = Arc::new(Files::open(&tree.root).map_err(DemoError::scratch(&tree.root))?);
        let options = dev::Options {
            port: 0,
            ufs: tree.own.then(|| tree.root.clone()),
            controller: false,
            ..dev::Options::new(home.path())
        };
        let dev = dev::start(options).await?;
        let (home, root) = (dev.data().join("cache"), tree.root.display().to_string());
        let caches = Caches { home, root, files: Arc::clone(&files), opened: Mutex::default() };
        let caches = Arc::new(caches);
        let (stop, stopped) = oneshot::channel();
        let ticker = (tokio::spawn(tick(Arc::clone(&caches), stopped)), stop);
        let (client, line) = (dev.client(), Arc::default());
        Ok(Self { client, files, line, writers: Vec::new(), dev, caches, controller: None, ticker })
    }

    /// The kubeconfig of the person.
    pub fn kubeconfig(&self) -> PathBuf {
        self.dev.kubeconfig()
    }

    /// The newest revision of the API server: one for each change of an object.
    pub fn revision(&self) -> u64 {
        self.dev.server().revision()
    }

    /// The cache of the demo's CacheCluster.
    ///
    /// # Errors
    /// [`DemoError::NotSo`] before a controller has opened it.
    pub fn cache(&self) -> Result<Cache, DemoError> {
        let none = || DemoError::NotSo("no controller has opened the cache yet".into());
        self.caches.all().get(&format!("default/{CLUSTER}")).cloned().ok_or_else(none)
    }

    /// Starts a controller, with a name of its own, as a new pod would have.
    ///
    /// # Errors
    /// [`DemoError`].
    pub async fn start_controller(&mut self) -> Result<(), DemoError> {
        claim(self.controller.is_none(), || "a controller runs already".into())?;
        let process: String = uuid::Uuid::new_v4().simple().to_string().chars().take(4).collect();
        let writer = format!("controller-{}-{process}", self.writers.len() + 1);
        let client = account(&self.dev.data().join("controller.kubeconfig")).await?;
        let config = Config {
            send_for_ms: SEND_FOR_MS,
            probe_every: Duration::from_secs(1),
            drain: Duration::from_secs(2),
            ..Config::default()
        };
        let (writer_id, clock) = (WriterId(writer.clone()), Arc::new(SystemClock));
        let ctx = Arc::new(Ctx::new(client, config, writer_id, clock, self.engines()));
        let (stop, stopped) = oneshot::channel();
        let task = tokio::spawn(async move {
            let shutdown = async {
                let _ = stopped.await;
            };
            if let Err(error) = controller::run(ctx, shutdown).await {
                tracing::error!(%error, "the controller could not start");
            }
        });
        self.controller = Some(Controller { task, stop });
        self.writers.push(writer);
        Ok(())
    }

    /// Ends the controller where it stands: its tasks are dropped, with what they were waiting for and what they knew.
    /// Nothing is finished, said or written. Gives back its name.
    pub async fn kill_controller(&mut self) -> String {
        if let Some(controller) = self.controller.take() {
            controller.task.abort();
            let _ = controller.task.await;
        }
        self.writers.last().cloned().unwrap_or_default()
    }

    fn engines(&self) -> Registry {
        let (caches, line) = (Arc::clone(&self.caches), Arc::clone(&self.line));
        Registry::with(move |cluster: &CacheCluster| match cluster.spec.engine {
            EngineKind::Alluxio => Err(RegistryError("the demo has engine Local only".into())),
            EngineKind::Local => {
                let key = format!("{}/{}", cluster.namespace().unwrap_or_default(), cluster.name_any());
                let cache = caches.open(&key, &cluster.spec.local.clone().unwrap_or_default())?;
                let engine = Local::new(cache, Arc::new(now_ms));
                Ok(Arc::new(Wire::new(engine, Arc::clone(&line))) as _)
            }
        })
    }

    /// Ends everything in order.
    pub async fn strike(mut self) {
        if let Some(controller) = self.controller.take() {
            let _ = controller.stop.send(());
            let _ = controller.task.await;
        }
        let (ticker, stop) = self.ticker;
        let _ = stop.send(());
        let _ = ticker.await;
        self.dev.stop().await;
    }
}

fn now_ms() -> i64 {
    SystemClock.now().timestamp_millis()
}

/// A cache has no clock of its own, and goes on whether a controller lives or not.
async fn tick(caches: Arc<Caches>, mut stopped: oneshot::Receiver<()>) {
    loop {
        tokio::select! {
            _ = &mut stopped => return,
            () = tokio::time::sleep(ADVANCE_EVERY) => {}
        }
        let caches = Arc::clone(&caches);
        let turn = move || caches.all().values().for_each(|cache| cache.advance(now_ms()));
        let _ = tokio::task::spawn_blocking(turn).await;
    }
}

/// A client of the controller's own account, over HTTPS on loopback.
async fn account(kubeconfig: &Path) -> Result<Client, DemoError> {
    let broken = |why: String| DemoError::Document(format!("{}: {why}", kubeconfig.display()));
    let config = Kubeconfig::read_from(kubeconfig).map_err(|e| broken(e.to_string()))?;
    let config = kube::Config::from_custom_kubeconfig(config, &KubeConfigOptions::default()).await;
    let mut config = config.map_err(|e| broken(e.to_string()))?;
    config.default_retry = false;
    config.connect_timeout = Some(Duration::from_secs(5));
    Ok(Client::try_from(config)?)
}
