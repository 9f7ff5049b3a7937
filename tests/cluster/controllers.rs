//! Controllers for tests: the shipped binary as a process of its own, and the same code inside the test.

use super::{Bench, sh, unique};
use chrono::{DateTime, Utc};
use kube::Client;
use ratchet::cache::WatchOptions;
use ratchet::clock::{Clock, SystemClock};
use ratchet::controller::{self, Ctx};
use ratchet::engine::{Engine, Registry};
use ratchet_state_machine::ids::WriterId;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::time::Instant;

/// The shipped binary, running as a process of its own.
pub struct Replica {
    child: Child,
    /// What it writes.
    pub log: PathBuf,
}

impl Replica {
    /// Starts a controller for one namespace, with short time-outs.
    pub fn start(bench: &Bench, namespace: &str, extra: &[&str]) -> Self {
        Self::start_as(bench, namespace, extra, &bench.kubeconfig("controller"))
    }

    /// The same with a way of its own to the API server.
    pub fn start_as(bench: &Bench, namespace: &str, extra: &[&str], kubeconfig: &Path) -> Self {
        let log = bench.run.join(format!("ratchet-{namespace}-{}.log", unique()));
        let out = std::fs::File::create(&log).expect("a log file");
        let child = Command::new(env!("CARGO_BIN_EXE_ratchet"))
            .args(["controller", "--watch-namespace", namespace])
            // Variables, so that `extra` may say otherwise.
            .envs([("RATCHET_METRICS_ADDRESS", ""), ("RATCHET_PROBE_SECONDS", "2")])
            .envs([("RATCHET_SEND_FOR_MS", "1000"), ("RATCHET_ENGINE_TIMEOUT_MS", "4000")])
            .args(extra)
            .env("KUBECONFIG", kubeconfig)
            .env("RUST_LOG", "info,ratchet=debug")
            .stdout(Stdio::null())
            .stderr(out)
            .spawn()
            .expect("the controller starts");
        Self { child, log }
    }

    /// Process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// SIGKILL, and waits until it is gone.
    pub fn kill(mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// SIGTERM, and waits until it has drained.
    pub fn terminate(mut self) -> std::process::ExitStatus {
        sh(Command::new("kill").args(["-TERM", &self.child.id().to_string()]));
        self.child.wait().expect("the controller ends")
    }

    /// Whether it still runs.
    pub fn alive(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }
}

impl Drop for Replica {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The machine's clocks, and on top what a test lets pass at once.
#[derive(Debug, Clone, Default)]
pub struct LeapingClock(Arc<AtomicU64>);

impl LeapingClock {
    /// Lets time pass.
    pub fn leap(&self, by: Duration) {
        self.0.fetch_add(by.as_secs(), Ordering::SeqCst);
    }

    fn ahead(&self) -> Duration {
        Duration::from_secs(self.0.load(Ordering::SeqCst))
    }
}

impl Clock for LeapingClock {
    fn now(&self) -> DateTime<Utc> {
        SystemClock.now() + self.ahead()
    }

    fn instant(&self) -> Instant {
        SystemClock.instant() + self.ahead()
    }

    fn timer(&self, at: Instant) -> Instant {
        at.checked_sub(self.ahead()).unwrap_or(at)
    }
}

/// The controller inside the test, with an engine of the test's choice.
pub struct InProcess {
    /// Its context: caches, metrics, queues.
    pub ctx: Arc<Ctx>,
    /// What it takes for the time.
    pub clock: LeapingClock,
    stop: Option<oneshot::Sender<()>>,
    task: tokio::task::JoinHandle<()>,
}

impl InProcess {
    /// Starts one for a namespace.
    pub async fn start(bench: &Bench, namespace: &str, engine: Arc<dyn Engine>) -> Self {
        Self::with(
            bench,
            namespace,
            engine,
            controller::Config { send_for_ms: 500, unknown_effect_ms: 500, ..controller::Config::default() },
        )
        .await
    }

    /// The same with a configuration; its watch is limited to the namespace.
    pub async fn with(
        bench: &Bench,
        namespace: &str,
        engine: Arc<dyn Engine>,
        config: controller::Config,
    ) -> Self {
        Self::with_client(bench.client("controller").await, namespace, engine, config)
    }

    /// The same with a client of the test's choice.
    pub fn with_client(
        client: Client,
        namespace: &str,
        engine: Arc<dyn Engine>,
        config: controller::Config,
    ) -> Self {
        let watch = WatchOptions { namespace: Some(namespace.to_owned()), ..config.watch.clone() };
        Self::everywhere(client, engine, controller::Config { watch, ..config })
    }

    /// The same for all namespaces.
    pub fn everywhere(client: Client, engine: Arc<dyn Engine>, config: controller::Config) -> Self {
        let config = controller::Config { probe_every: Duration::from_secs(1), ..config };
        let registry = Registry::with(move |_| Ok(Arc::clone(&engine)));
        let writer = WriterId(format!("test-{}", unique()));
        let clock = LeapingClock::default();
        let ctx = Arc::new(Ctx::new(client, config, writer, Arc::new(clock.clone()), registry));
        let (stop, stopped) = oneshot::channel();
        let running = Arc::clone(&ctx);
        let task = tokio::spawn(async move {
            let stopped = async { stopped.await.unwrap_or_default() };
            controller::run(running, stopped).await.expect("the controller runs");
        });
        Self { ctx, clock, stop: Some(stop), task }
    }

    /// Drains and ends.
    pub async fn stop(mut self) {
        if let Some(stop) = self.stop.take() {
            let _ = stop.send(());
        }
        let _ = (&mut self.task).await;
    }

    /// Ends at once, as a crash would: nothing is finished.
    pub fn crash(self) {
        self.task.abort();
    }
}

impl Drop for InProcess {
    fn drop(&mut self) {
        self.ctx.stop();
        self.task.abort();
    }
}
