//! `ratchet dev`: a Kubernetes API on loopback for a real kubectl, with the controller and a small cache inside.
//!
//! ```text
//!   kubectl --https, token--> http --+--> Server (simulator) --sink--> store: log, snapshot   DATA/state
//!   controller --in process----------+         |
//!        |                                     '--> watches, Tables, garbage collection
//!        '--> engine Local: files of DATA/ufs, or of --ufs
//! ```
//!
//! A change is in the log before it is answered, so that `kill -9` loses nothing that anybody was told of. Nothing
//! here listens beyond loopback, and nothing here runs in a cluster.

mod admit;
mod error;
mod first;
mod http;
mod inside;
mod line;
mod proto;
mod reviews;
mod store;
mod tls;
mod users;

pub use error::DevError;
pub(crate) use inside::directory;

use crate::clock::{Clock as _, SystemClock};
use inside::{Caches, Inside};
use kube::Client;
use ratchet_simulator::api::{self, Server};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use store::Store;
use tokio::net::TcpListener;
use tokio::task::{JoinHandle, JoinSet};
use users::Users;

/// The port that is used when nothing else is said.
pub const PORT: u16 = 6464;

/// Pause between two looks for what the garbage collector has to do.
const COLLECT_EVERY: Duration = Duration::from_millis(200);

/// Pause between two looks at what the cache has to copy.
const ADVANCE_EVERY: Duration = Duration::from_millis(100);

/// Changes that are kept for watches that come back.
const HISTORY: usize = 10_000;

/// How to start.
#[derive(Debug, Clone)]
pub struct Options {
    /// Directory of the state; made when it is not there.
    pub data: PathBuf,
    /// Port on 127.0.0.1; 0 for any that is free.
    pub port: u16,
    /// Directory whose files the cache may hold; `None`: `ufs` in the data directory, with a few samples.
    pub ufs: Option<PathBuf>,
    /// Forget everything first (the files of the under-storage stay).
    pub reset: bool,
    /// Whether the controller runs inside.
    pub controller: bool,
}

impl Options {
    /// The usual way, with this directory for the state.
    #[must_use]
    pub fn new(data: impl Into<PathBuf>) -> Self {
        Self { data: data.into(), port: PORT, ufs: None, reset: false, controller: true }
    }
}

/// A running `ratchet dev`. Dropping it ends it as a crash would; [`Running::stop`] ends it in order.
pub struct Running {
    address: SocketAddr,
    data: PathBuf,
    ufs: PathBuf,
    example: PathBuf,
    server: Server,
    store: Arc<Store>,
    inside: Inside,
    background: JoinSet<()>,
    listener: JoinHandle<()>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.listener.abort();
    }
}

impl Running {
    /// Where the API is served.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// The kubeconfig of the person, user `dev`.
    #[must_use]
    pub fn kubeconfig(&self) -> PathBuf {
        self.data.join(users::KUBECONFIG)
    }

    /// The directory of the state.
    #[must_use]
    pub fn data(&self) -> &Path {
        &self.data
    }

    /// The directory whose files the cache may hold.
    #[must_use]
    pub fn ufs(&self) -> &Path {
        &self.ufs
    }

    /// A document to try: a load of the samples.
    #[must_use]
    pub fn example(&self) -> &Path {
        &self.example
    }

    /// The API server.
    #[must_use]
    pub const fn server(&self) -> &Server {
        &self.server
    }

    /// A client of user `dev` that goes past the network.
    #[must_use]
    pub fn client(&self) -> Client {
        inside::client(&self.server, users::dev())
    }

    /// Ends the controller as a crash would: nothing is finished, nothing is drained. The API and the cache go on.
    pub async fn kill_controller(&self) {
        self.inside.kill().await;
    }

    /// Starts the controller unless it runs.
    pub async fn start_controller(&self) {
        self.inside.start().await;
    }

    /// Drains the controller, lets the clients go and closes the log.
    pub async fn stop(mut self) {
        self.inside.drain().await;
        self.listener.abort();
        self.background.shutdown().await;
        if let Err(error) = self.store.compact(&self.server) {
            tracing::warn!(%error, "the state was not compacted; the log has everything");
        }
    }
}

/// Starts: opens the data directory, restores what is in it, serves the API, runs the controller.
///
/// # Errors
/// [`DevError`].
pub async fn start(options: Options) -> Result<Running, DevError> {
    let (store, kept) = Store::open(&options.data, options.reset)?;
    let data = store.directory().to_owned();
    let store = Arc::new(store);
    let sink = Arc::clone(&store);
    let server = Server::new(api::Options {
        now: Arc::new(|| SystemClock.now()),
        uids: Arc::new(|| uuid::Uuid::new_v4().to_string()),
        rules: ratchet_simulator::schema::Rules::All,
        history: HISTORY,
        sink: Some(Arc::new(move |change| sink.append(change))),
        admit: Some(Arc::new(admit::rules)),
    });
    kept.restore(&server)?;
    let ufs = first::under_storage(&data, options.ufs.as_deref())?;
    let example = first::examples(&data)?;
    first::install(&server)?;
    store.compact(&server).map_err(DevError::data(data.join("state")))?;

    let users = Arc::new(Users::load(&data)?);
    let tls = tls::acceptor(&data)?;
    let port = |source| DevError::Port { port: options.port, source };
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, options.port)).await.map_err(port)?;
    let address = listener.local_addr().map_err(port)?;
    users.write_kubeconfigs(&data, address)?;
    let listener = tokio::spawn(http::serve(listener, tls, server.clone(), users));

    let mut background = JoinSet::new();
    background.spawn(collect(server.clone()));
    background.spawn(keep(server.clone(), Arc::clone(&store)));
    let caches = Arc::new(Caches::new(&data, &ufs)?);
    background.spawn(advance(Arc::clone(&caches)));
    let inside = Inside::new(&server, caches);
    if options.controller {
        inside.start().await;
    }
    Ok(Running { address, data, ufs, example, server, store, inside, background, listener })
}

/// What the controller manager does in a cluster, whenever something changed.
async fn collect(server: Server) {
    let mut seen = 0;
    loop {
        let revision = server.revision();
        if revision != seen {
            while server.collect() {
                tokio::task::yield_now().await;
            }
            seen = server.revision();
        }
        tokio::time::sleep(COLLECT_EVERY).await;
    }
}

/// A cache has no clock of its own.
async fn advance(caches: Arc<Caches>) {
    loop {
        tokio::time::sleep(ADVANCE_EVERY).await;
        let caches = Arc::clone(&caches);
        let _ = tokio::task::spawn_blocking(move || caches.advance()).await;
    }
}

/// Makes the log durable once a second (a change is in the kernel's hands before it is answered) and keeps it short.
async fn keep(server: Server, store: Arc<Store>) {
    loop {
        tokio::time::sleep(Duration::from_secs(1)).await;
        let (server, store) = (server.clone(), Arc::clone(&store));
        let turn = tokio::task::spawn_blocking(move || {
            store.sync()?;
            if store.long() { store.compact(&server) } else { Ok(()) }
        });
        if let Ok(Err(error)) = turn.await {
            tracing::warn!(%error, "the state could not be made durable; it is tried again in a second");
        }
    }
}
