//! The controller and the cache in the same process. The cache lives as long as the process; the controller can be
//! ended and started again, with a new name in journals each time, as a new pod would have.

use super::{DevError, http, users};
use crate::api::cluster::Local;
use crate::clock::{Clock as _, SystemClock};
use crate::controller::{self, Config, Ctx};
use crate::engine::local::{self, Cache};
use crate::engine::{Registry, RegistryError, alluxio};
use kube::Client;
use ratchet_simulator::api::{Server, User};
use ratchet_simulator::cache::{Directory, UfsError, UnderStorage};
use ratchet_state_machine::ids::WriterId;
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError};
use std::time::Duration;
use tokio::sync::{Mutex, oneshot};
use tokio::task::JoinHandle;

/// A client that calls the server in the same process.
pub fn client(server: &Server, user: User) -> Client {
    let server = server.clone();
    let service = tower::service_fn(move |request: ::http::Request<kube::client::Body>| {
        let (server, user) = (server.clone(), user.clone());
        async move { Ok::<_, Infallible>(http::answer(&server, user, request).await) }
    });
    Client::new(service, "default")
}

/// What runs inside.
pub struct Inside {
    server: Server,
    caches: Arc<Caches>,
    controller: Mutex<Option<Controller>>,
}

/// The caches of all controllers of this process, one after the other.
pub struct Caches {
    /// Where they keep their copies, each in a directory of its own.
    home: PathBuf,
    ufs: Arc<dyn UnderStorage>,
    /// Where the files are, for the mount table.
    uri: String,
    opened: std::sync::Mutex<BTreeMap<String, Cache>>,
}

/// What can be mounted here: a directory of this machine.
pub fn directory(uri: &str) -> Result<Arc<dyn UnderStorage>, UfsError> {
    let path = uri.strip_prefix("file://").unwrap_or(uri);
    let opened = Directory::open(path).map_err(|_| UfsError::NotFound(uri.to_owned()))?;
    Ok(Arc::new(opened))
}

impl Caches {
    /// Those of this data directory, over these files.
    ///
    /// # Errors
    /// [`DevError::Data`] when there are no such files.
    pub fn new(data: &Path, ufs: &Path) -> Result<Self, DevError> {
        let files = Directory::open(ufs).map_err(DevError::data(ufs))?;
        let (home, uri) = (data.join("cache"), ufs.display().to_string());
        Ok(Self { home, ufs: Arc::new(files), uri, opened: std::sync::Mutex::default() })
    }

    /// The cache of a CacheCluster, by `namespace/name`.
    fn open(&self, key: &str, spec: &Local) -> Result<Cache, RegistryError> {
        let mut opened = self.opened.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(cache) = opened.get(key) {
            return Ok(cache.clone());
        }
        // Neither a namespace nor a name has an underscore.
        let name = key.replace('/', "_");
        let identity = format!("local-{}", key.replace('/', "-"));
        let cache = Cache::open(self.home.join(name), identity, local::profile(spec), Arc::clone(&self.ufs))
            .map_err(|e| RegistryError(format!("{e}: {}", source(&e))))?
            .with_stores(self.uri.clone(), directory);
        opened.insert(key.to_owned(), cache.clone());
        Ok(cache)
    }

    /// Lets happen what is due, also while nobody asks.
    pub fn advance(&self) {
        let all: Vec<Cache> =
            self.opened.lock().unwrap_or_else(PoisonError::into_inner).values().cloned().collect();
        for cache in all {
            cache.advance(now_ms());
        }
    }
}

fn source(error: &dyn std::error::Error) -> String {
    error.source().map(ToString::to_string).unwrap_or_default()
}

fn now_ms() -> i64 {
    SystemClock.now().timestamp_millis()
}

struct Controller {
    task: JoinHandle<()>,
    /// Dropped or sent: drain.
    stop: oneshot::Sender<()>,
}

impl Drop for Controller {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Inside {
    /// With these caches; the controller is not started yet.
    pub fn new(server: &Server, caches: Arc<Caches>) -> Self {
        Self { server: server.clone(), caches, controller: Mutex::new(None) }
    }

    /// Starts the controller unless it runs.
    pub async fn start(&self) {
        let mut running = self.controller.lock().await;
        if running.as_ref().is_some_and(|c| !c.task.is_finished()) {
            return;
        }
        let process: String = uuid::Uuid::new_v4().simple().to_string().chars().take(8).collect();
        let config = Config {
            probe_every: Duration::from_secs(2),
            drain: Duration::from_secs(5),
            ..Config::default()
        };
        let writer = WriterId(format!("dev-{process}"));
        let client = client(&self.server, users::controller());
        let ctx = Arc::new(Ctx::new(client, config, writer, Arc::new(SystemClock), self.engines()));
        let (stop, stopped) = oneshot::channel();
        let task = tokio::spawn(async move {
            let shutdown = async {
                let _ = stopped.await;
            };
            if let Err(error) = controller::run(ctx, shutdown).await {
                tracing::error!(%error, "the controller inside could not start");
            }
        });
        *running = Some(Controller { task, stop });
    }

    fn engines(&self) -> Registry {
        let caches = Arc::clone(&self.caches);
        let open = move |key: &str, spec: &Local| caches.open(key, spec);
        Registry::local(alluxio::Options::default(), Arc::new(now_ms), open)
    }

    /// Ends the controller where it stands.
    pub async fn kill(&self) {
        let Some(mut controller) = self.controller.lock().await.take() else { return };
        controller.task.abort();
        let _ = (&mut controller.task).await;
    }

    /// Lets the controller finish what it is at.
    pub async fn drain(&self) {
        let Some(mut controller) = self.controller.lock().await.take() else { return };
        let (gone, _) = oneshot::channel();
        let _ = std::mem::replace(&mut controller.stop, gone).send(());
        let _ = (&mut controller.task).await;
    }
}
