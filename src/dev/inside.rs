//! The controller and the cache in the same process. The cache lives as long as the process; the controller can be
//! ended and started again, with a new name in journals each time, as a new pod would have.

use super::{DevError, http, users};
use crate::clock::SystemClock;
use crate::controller::{self, Config, Ctx};
use crate::engine::{Registry, alluxio};
use kube::Client;
use ratchet_simulator::api::{Server, User};
use ratchet_state_machine::ids::WriterId;
use std::convert::Infallible;
use std::path::Path;
use std::sync::Arc;
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
    controller: Mutex<Option<Controller>>,
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
    /// With a cache over `ufs`; the controller is not started yet.
    ///
    /// # Errors
    /// [`DevError::Cache`].
    pub fn new(server: &Server, _data: &Path, _ufs: &Path) -> Result<Self, DevError> {
        Ok(Self { server: server.clone(), controller: Mutex::new(None) })
    }

    /// Starts the controller unless it runs.
    pub async fn start(&self) {
        let mut running = self.controller.lock().await;
        if running.as_ref().is_some_and(|c| !c.task.is_finished()) {
            return;
        }
        let process: String = uuid::Uuid::new_v4().simple().to_string().chars().take(8).collect();
        let config = Config {
            probe_every: Duration::from_secs(5),
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
        Registry::new(alluxio::Options::default())
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
