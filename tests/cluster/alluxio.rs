//! A real Alluxio on the bench's node, and a stage for one test: a namespace, a CacheCluster, a controller.

pub use super::tree::Tree;
use super::{
    Bench, LIMIT, Replica, TestNamespace, bench, cluster, create, operation, settled, sh, unique, wait_for,
};
use kube::{Api, Client};
use ratchet::api::{CacheCluster, DataOperation, TargetLock};
use ratchet::engine::alluxio::client::Mount;
use ratchet::engine::alluxio::client::{AlluxioClient, ClientOptions, LoadProgress, Security, TreeSummary};
use ratchet_state_machine::effect::Effect;
use ratchet_state_machine::journal::{Body, Entry};
use ratchet_state_machine::machine::Phase;
use serde_json::{Value, json};
use std::path::PathBuf;
use std::process::Command;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// The Alluxio that tests share, in turns. It stays up for the next run.
pub const SHARED: &str = "e2e";
/// The CacheCluster of a stage.
pub const CACHE: &str = "cache";
/// Longer than the engine's look-out for files whose time to live is over (`alluxio-site.properties`: 5 s).
pub const TTL_ROUND: Duration = Duration::from_secs(7);

/// One Alluxio, in a namespace of its own.
pub struct Alluxio {
    /// Name of its namespace.
    pub name: String,
    /// Addresses of its masters, `host:port`.
    pub masters: Vec<String>,
    /// Workers: pod name, address, RPC port, web port.
    pub workers: Vec<[String; 4]>,
    /// Host directory of the root mount: a file put here is a file of the under-storage.
    pub root: PathBuf,
}

static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// Tests that share one Alluxio take turns: an engine belongs to one CacheCluster at a time.
pub fn turn() -> Turn {
    Turn { _guard: ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner) }
}

/// The turn of one test; whoever waits for it stands on a thread of its own.
pub struct Turn {
    _guard: MutexGuard<'static, ()>,
}

impl Alluxio {
    /// Starts it, or finds it running.
    pub fn up(bench_: &Bench, name: &str, options: &[&str]) -> Self {
        let known = sh(&mut bench(&["alluxio", "list"]));
        if !known.split_whitespace().any(|w| w == name) {
            let mut args = vec!["alluxio", "up", name];
            args.extend(options);
            sh(&mut bench(&args));
        }
        Self::find(bench_, name)
    }

    /// Where it is now (addresses change when pods are replaced).
    pub fn find(bench_: &Bench, name: &str) -> Self {
        let said = sh(&mut bench(&["alluxio", "status", name]));
        let mut found = Self {
            name: name.into(),
            masters: vec![],
            workers: vec![],
            root: bench_.ufs.join(name).join("root"),
        };
        for line in said.lines() {
            let words: Vec<&str> = line.split_whitespace().collect();
            match words.as_slice() {
                ["master", address, ..] => found.masters.push((*address).to_owned()),
                ["worker", pod, ip, rpc, web, ..] => {
                    found.workers.push([pod, ip, rpc, web].map(|w| (*w).to_owned()));
                }
                _ => {}
            }
        }
        assert!(!found.masters.is_empty(), "no master in: {said}");
        found
    }

    /// Alluxio's own command line, in the master's pod.
    pub fn cli(&self, args: &[&str]) -> String {
        let mut all = vec!["alluxio", "exec", &self.name, "--"];
        all.extend(args);
        sh(&mut bench(&all))
    }

    /// Sends a signal to the Java process of one master: the process crashes or freezes, its pod stays.
    pub fn signal_master(&self, ordinal: usize, signal: &str) {
        let found = servers(&self.master_process(ordinal));
        assert_eq!(found.len(), 1, "master {ordinal} is one process: {found:?}");
        sh(Command::new("kill").arg(signal).args(found));
    }

    fn master_process(&self, ordinal: usize) -> String {
        format!(
            "-Dalluxio.master.hostname=alluxio-master-{ordinal}.alluxio-master.{}.svc.cluster.local ",
            self.name
        )
    }

    /// Lets what a test has frozen go on.
    fn thaw(&self) {
        let masters = (0..self.masters.len()).flat_map(|i| servers(&self.master_process(i)));
        let _ = Command::new("kill").arg("-CONT").args(masters).output();
    }

    /// Removes it.
    pub fn down(name: &str) {
        sh(&mut bench(&["alluxio", "down", name]));
    }

    /// The masters as text slices.
    pub fn addresses(&self) -> Vec<&str> {
        self.masters.iter().map(String::as_str).collect()
    }

    /// A client of its masters.
    pub fn client(&self, mode: &str) -> AlluxioClient {
        let security = match mode {
            "NoSasl" => Security::NoSasl,
            _ => Security::Simple { user: "root".into() },
        };
        AlluxioClient::new(ClientOptions::new(self.masters.clone(), security)).expect("a client")
    }
}

/// Process ids of servers with this setting; the shells of the same pods have it too.
fn servers(setting: &str) -> Vec<String> {
    let found = Command::new("pgrep")
        .args(["-f", "--", &format!("{setting}.* alluxio.master.AlluxioMaster")])
        .output();
    let found = String::from_utf8(found.expect("pgrep runs").stdout).expect("numbers");
    found.split_whitespace().map(str::to_owned).collect()
}

/// Everything that one test needs. The next test gets its turn when it is dropped.
pub struct Stage {
    /// The controller, once it was started.
    pub controller: Option<Replica>,
    /// The namespace of the test.
    pub ns: TestNamespace,
    /// The Alluxio.
    pub alluxio: Alluxio,
    /// A client of the API server.
    pub admin: Client,
    /// A client of the Alluxio: tests look for themselves.
    pub engine: AlluxioClient,
    /// The bench.
    pub bench: Bench,
    /// How the Alluxio authenticates.
    pub mode: &'static str,
    own: bool,
    _turn: Turn,
}

impl Stage {
    /// A stage on the shared Alluxio.
    pub async fn shared(stem: &str) -> Option<Self> {
        Self::named(stem, SHARED).await
    }

    /// A stage on an Alluxio that stays up for the next test that names it.
    pub async fn named(stem: &str, alluxio: &str) -> Option<Self> {
        let bench = Bench::node()?;
        let turn = turn();
        let alluxio = Alluxio::up(&bench, alluxio, &[]);
        Some(Self::over(bench, alluxio, "NoSasl", stem, false, turn).await)
    }

    /// A stage on an Alluxio that goes with the test.
    pub async fn own(stem: &str, options: &[&str], mode: &'static str) -> Option<Self> {
        let bench = Bench::node()?;
        let turn = turn();
        let name = format!("e2e-{stem}");
        let alluxio = Alluxio::up(&bench, &name, options);
        Some(Self::over(bench, alluxio, mode, stem, true, turn).await)
    }

    async fn over(
        bench: Bench,
        alluxio: Alluxio,
        mode: &'static str,
        stem: &str,
        own: bool,
        turn: Turn,
    ) -> Self {
        let ns = bench.namespace(stem);
        let admin = bench.client("admin").await;
        let engine = alluxio.client(mode);
        create(&admin, &ns.name, &cluster(&ns.name, CACHE, &alluxio.addresses(), mode)).await;
        Self { controller: None, ns, alluxio, admin, engine, bench, mode, own, _turn: turn }
    }

    /// Starts the controller.
    pub fn start(&mut self, extra: &[&str]) {
        self.controller = Some(Replica::start(&self.bench, &self.ns.name, extra));
    }

    /// Waits until the controller knows the Alluxio.
    pub async fn ready(&self) {
        let clusters: Api<CacheCluster> = Api::namespaced(self.admin.clone(), &self.ns.name);
        let known = async {
            while clusters.get(CACHE).await.expect("readable").status.is_none_or(|s| s.phase != "Ready") {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        };
        tokio::time::timeout(LIMIT, known).await.expect("the CacheCluster is Ready");
    }

    /// A directory of the under-storage that nobody else has.
    pub fn tree(&self, stem: &str) -> Tree {
        let name = format!("{stem}-{}", unique());
        let dir = self.alluxio.root.join(&name);
        std::fs::create_dir_all(&dir).expect("a folder of the under-storage");
        Tree { path: format!("/{name}"), dir }
    }

    /// A directory beside the root that masters and workers see: it can be mounted. Its `path` is its address.
    pub fn store(&self, stem: &str) -> Tree {
        let name = format!("{stem}-{}", unique());
        let dir = self.alluxio.root.with_file_name(&name);
        std::fs::create_dir_all(&dir).expect("a folder beside the root");
        Tree { path: format!("/ufs/{name}"), dir }
    }

    /// The mount table, as Alluxio tells it, without the root.
    pub async fn mounts(&self) -> Vec<Mount> {
        let all = self.engine.mount_table().await.expect("a mount table");
        all.into_iter().filter(|m| m.path != "/").collect()
    }

    /// Creates a load.
    pub async fn load(&self, name: &str, paths: &[&str]) -> DataOperation {
        self.ask(name, json!({"load": {"paths": paths}}), json!({})).await
    }

    /// Creates an operation.
    pub async fn ask(&self, name: &str, arm: Value, more: Value) -> DataOperation {
        create(&self.admin, &self.ns.name, &operation(&self.ns.name, name, CACHE, arm, more)).await
    }

    /// Waits for the end of an operation, seal included.
    pub async fn end(&self, name: &str) -> DataOperation {
        settled(&self.admin, &self.ns.name, name).await
    }

    /// Waits until an operation says something.
    pub async fn until(&self, name: &str, mut wanted: impl FnMut(&DataOperation) -> bool) -> DataOperation {
        wait_for(&self.admin, &self.ns.name, name, |op| op.filter(|o| wanted(o)).cloned()).await
    }

    /// Waits until an operation waits for this reason.
    pub async fn until_waiting(&self, name: &str, reason: &str) -> DataOperation {
        self.until(name, |o| why(o).is_some_and(|(r, _)| r == reason)).await
    }

    /// Waits until the engine's job of a path is as wanted.
    pub async fn until_job(&self, path: &str, mut wanted: impl FnMut(&LoadProgress) -> bool) -> LoadProgress {
        let deadline = tokio::time::Instant::now() + LIMIT;
        loop {
            let seen = self.engine.load_progress(path).await;
            match seen {
                Ok(seen) if wanted(&seen) => return seen,
                seen => assert!(
                    tokio::time::Instant::now() < deadline,
                    "the engine's job of {path} does not get there; last: {seen:?}"
                ),
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// What Alluxio itself says of a tree.
    pub async fn sums(&self, path: &str) -> TreeSummary {
        self.engine.summarize(path).await.expect("a listing")
    }

    /// Proves by Alluxio itself that all of a tree is cached and none of it is about to be deleted.
    pub async fn assert_cached(&self, path: &str, files: u64) {
        let sums = self.sums(path).await;
        assert_eq!((sums.files, sums.fully_cached_files), (files, files), "{path}: {sums:?}");
        assert_eq!(sums.cached_bytes, sums.bytes, "{path}");
        assert_eq!((sums.ttl_zero_files, sums.ttl_zero_folders), (0, 0), "{path}");
    }

    /// `ratchet VERB NAME`, as a user.
    pub fn ratchet(&self, verb: &str, name: &str, more: &[&str]) -> String {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ratchet"));
        command
            .args([verb, name, "-n", &self.ns.name])
            .args(more)
            .env("KUBECONFIG", self.bench.kubeconfig("admin"));
        sh(&mut command)
    }

    /// The whole journal of an operation; its numbers are checked and its chain is proved.
    pub fn journal(&self, name: &str) -> Vec<(Entry, Body)> {
        let entries: Vec<Entry> =
            serde_json::from_str(&self.ratchet("history", name, &["-o", "json"])).expect("entries");
        let all: Vec<_> = entries.into_iter().map(|e| (e.clone(), e.open().expect("a body"))).collect();
        let numbers: Vec<i64> = all.iter().map(|(e, _)| e.seq.0).collect();
        assert_eq!(numbers, (1..=i64::try_from(all.len()).expect("few")).collect::<Vec<_>>(), "{name}");
        let proof = self.ratchet("replay", name, &[]);
        assert!(proof.lines().last().is_some_and(|l| l.starts_with("sound: ")), "{proof}");
        all
    }

    /// The lock of the engine.
    pub async fn lock(&self) -> TargetLock {
        let clusters: Api<CacheCluster> = Api::namespaced(self.admin.clone(), &self.ns.name);
        let cluster = clusters.get(CACHE).await.expect("the CacheCluster");
        let name = cluster.status.and_then(|s| s.lock).expect("the CacheCluster names its lock");
        Api::all(self.admin.clone()).get(&name).await.expect("the lock")
    }

    /// Nobody holds the engine any more.
    pub async fn assert_free(&self) {
        let lock = self.lock().await.spec.lock;
        assert!(lock.holders.is_empty(), "{:?}", lock.holders);
    }

    /// kubectl in the namespace of the Alluxio.
    pub fn on_engine(&self, args: &[&str]) -> String {
        let mut all = vec!["-n", self.alluxio.name.as_str()];
        all.extend(args);
        self.bench.kubectl(&all, &[])
    }

    /// Drops what the test cached.
    pub async fn drop_cached(&self, trees: &[&Tree]) {
        for tree in trees {
            self.engine.free(&tree.path, true).await.expect("freed");
        }
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        if std::thread::panicking()
            && let Some(log) = self.controller.as_ref().map(|c| &c.log)
        {
            eprintln!("the controller's log: {}", log.display());
            let mut journals = self.bench.kubectl_as("admin");
            let _ = journals.args(["-n", &self.ns.name, "get", "operationjournals", "-o", "yaml"]).status();
            self.alluxio.thaw();
        }
        let mut get = self.bench.kubectl_as("admin");
        let lock = get
            .args(["-n", &self.ns.name, "get", "cacheclusters", CACHE, "-o", "jsonpath={.status.lock}"])
            .output();
        let mut delete = self.bench.kubectl_as("admin");
        let _ =
            delete.args(["-n", &self.ns.name, "delete", "cacheclusters", "--all", "--wait=false"]).output();
        if self.own {
            Alluxio::down(&self.alluxio.name);
            if let Some(lock) =
                lock.ok().and_then(|o| String::from_utf8(o.stdout).ok()).filter(|l| !l.is_empty())
            {
                self.bench.as_control_plane(&["delete", "targetlocks", &lock, "--wait=false"]);
            }
        }
    }
}

/// How many intents of a journal are of this effect.
pub fn intents(journal: &[(Entry, Body)], effect: fn(&Effect) -> bool) -> usize {
    journal.iter().filter_map(|(_, b)| b.intent.as_ref()).filter(|i| effect(&i.effect)).count()
}

/// Whether an effect starts a load.
pub fn submits(effect: &Effect) -> bool {
    matches!(effect, Effect::SubmitLoad { .. })
}

/// Reason and sentence that an operation shows.
pub fn why(op: &DataOperation) -> Option<(String, String)> {
    let waiting = op.status.as_ref()?.waiting_on.as_ref()?;
    Some((waiting.reason.clone(), waiting.message.clone()))
}

/// Asserts that an operation failed for this reason and says so in a sentence; gives back the sentence.
pub fn assert_failed(op: &DataOperation, reason: &str) -> String {
    assert_eq!(op.phase(), Some(Phase::Failed), "{:#?}", op.status);
    let (said, sentence) = why(op).expect("a failed operation says why");
    assert_eq!(said, reason, "{sentence}");
    assert!(sentence.contains(' ') && !sentence.contains('\n') && sentence.len() <= 600, "{sentence:?}");
    sentence
}

/// Asserts that an operation ended well.
pub fn assert_succeeded(op: &DataOperation) {
    assert_eq!(op.phase(), Some(Phase::Succeeded), "{:#?}", op.status);
}

/// Bytes of a status as the API server stores it.
pub fn status_size(op: &DataOperation) -> usize {
    serde_json::to_vec(&op.status).expect("a status").len()
}
