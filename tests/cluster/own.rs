//! A bench of a test's own, at the api level, beside the shared one: for what would disturb everybody else, such as a
//! CRD that is deleted or an etcd that is full. It is taken down when it is dropped. One at a time runs in a program.

use super::fake::FakeEngine;
use super::stage::Stage;
use super::{Bench, bench};
use kube::{Client, Config};
use std::net::TcpListener;
use std::process::{Command, Stdio};
use tokio::sync::{Mutex, MutexGuard};

static ONE: Mutex<()> = Mutex::const_new(());

/// Ports that an instance takes, from its base on.
const PORTS: u16 = 9;

/// An instance that nobody shares.
pub struct OwnBench {
    /// As a bench.
    pub bench: Bench,
    base: u16,
    _one: MutexGuard<'static, ()>,
}

impl OwnBench {
    /// Starts one with the kinds, the policies and the controller's account; `None` where the bench cannot run.
    pub async fn up() -> Option<Self> {
        let one = ONE.lock().await;
        let shared = Bench::api()?;
        let base = free_base();
        let run = shared.run.with_file_name(format!("own-{base}"));
        let own = Self { bench: Bench { ufs: run.join("ufs"), run, path: shared.path }, base, _one: one };
        let status = own.script(&["up", "api"]).status().expect("bash starts");
        assert!(status.success(), "a second bench did not start");
        own.bench.install();
        Some(own)
    }

    fn script(&self, args: &[&str]) -> Command {
        let mut command = bench(args);
        command.env("RATCHET_BENCH_RUN", &self.bench.run);
        command.env("RATCHET_BENCH_PORT_BASE", self.base.to_string()).stdout(Stdio::null());
        command
    }

    /// A namespace with the CacheCluster `cache`.
    pub async fn stage(&self, stem: &str) -> Stage {
        let ns = self.bench.namespace(stem);
        let admin = self.bench.client("admin").await;
        let stage = Stage { bench: self.bench.clone(), ns, engine: FakeEngine::new(), admin };
        stage.cache("cache").await;
        stage
    }

    /// Raises or clears etcd's alarm that its store is full.
    pub async fn full(&self, full: bool) {
        let etcd = format!("http://127.0.0.1:{}", self.base + 1).parse().expect("an address");
        let client = Client::try_from(Config::new(etcd)).expect("a client");
        let action = if full { "ACTIVATE" } else { "DEACTIVATE" };
        let body = format!(
            r#"{{"action":"{action}","memberID":"{}","alarm":"NOSPACE"}}"#,
            self.member(&client).await
        );
        let request =
            http::Request::post("/v3/maintenance/alarm").body(body.into_bytes()).expect("a request");
        client.request_text(request).await.expect("etcd takes the alarm");
    }

    async fn member(&self, client: &Client) -> String {
        let request = http::Request::post("/v3/maintenance/status").body(b"{}".to_vec()).expect("a request");
        let said: serde_json::Value = client.request(request).await.expect("etcd answers");
        said["header"]["member_id"].as_str().expect("a member").to_owned()
    }
}

/// The first of enough ports in a row that nobody uses.
fn free_base() -> u16 {
    let start = 31_000 + u16::try_from(std::process::id() % 400).unwrap_or_default() * 10;
    let free = |base: &u16| (0..PORTS).all(|i| TcpListener::bind(("127.0.0.1", base + i)).is_ok());
    (start..60_000).step_by(10).find(free).expect("free ports")
}

impl Drop for OwnBench {
    fn drop(&mut self) {
        let _ = self.script(&["down"]).stderr(Stdio::null()).status();
    }
}
