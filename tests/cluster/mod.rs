//! The Rust side of the test bench: starts it by its script, hands out clients, runs controllers.
//!
//! ```text
//!   Bench::api() / Bench::node() --bench.sh--> real etcd, kube-apiserver, ... kubelet, Alluxio
//!   Replica: the shipped binary as a process of its own (kill it when you like)
//!   InProcess: the same controller in the test, with an engine that does what the test says
//! ```
//!
//! Where the tools for a level are missing, a test says so on one line and passes; with `CI` set it fails.

#![allow(dead_code, reason = "each test binary uses its own part")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that cannot go on fails")]

pub mod alluxio;
pub mod controllers;
pub mod fake;
pub mod faults;
pub mod ground;
pub mod legal;
pub mod managed;
pub mod own;
pub mod reader;
pub mod stage;
pub mod tree;
pub mod writer;

pub use controllers::{InProcess, Replica};

use k8s_openapi::api::core::v1::{Namespace, ServiceAccount};
use k8s_openapi::api::rbac::v1::ClusterRoleBinding;
use kube::api::{Api, DeleteParams, ObjectMeta, Patch, PatchParams, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use ratchet::api::{CacheCluster, DataLoad, DataOperation};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, OnceLock};
use std::time::Duration;

/// What a test needs of the bench.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// etcd, kube-apiserver, kube-controller-manager.
    Api,
    /// The same with scheduler, kubelet, containerd and Alluxio images.
    Node,
}

impl Level {
    const fn word(self) -> &'static str {
        match self {
            Self::Api => "api",
            Self::Node => "node",
        }
    }
}

/// A running bench.
#[derive(Debug, Clone)]
pub struct Bench {
    /// Run directory: kubeconfigs, logs, under-storage.
    pub run: PathBuf,
    /// `PATH` with the bench's own kubectl in front.
    pub path: String,
    /// Host directory of the under-storage, one folder for each Alluxio.
    pub ufs: PathBuf,
}

/// The script.
pub fn script() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cluster/bench.sh")
}

fn bench(args: &[&str]) -> Command {
    let mut command = Command::new("bash");
    command.arg(script()).args(args);
    command
}

/// Runs a command to its end and gives back its standard output; panics with everything it said when it fails.
pub fn sh(command: &mut Command) -> String {
    let out = command.output().unwrap_or_else(|e| panic!("{command:?}: {e}"));
    let text = |b: &[u8]| String::from_utf8_lossy(b).into_owned();
    assert!(out.status.success(), "{command:?} failed:\n{}\n{}", text(&out.stdout), text(&out.stderr));
    text(&out.stdout)
}

static UP: Mutex<Option<Level>> = Mutex::new(None);

impl Bench {
    /// The api level, or `None` where its tools are missing.
    pub fn api() -> Option<Self> {
        Self::up(Level::Api)
    }

    /// The node level, or `None` where its tools are missing.
    pub fn node() -> Option<Self> {
        Self::up(Level::Node)
    }

    fn up(level: Level) -> Option<Self> {
        let mut done = UP.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let first = done.is_none();
        if done.is_none_or(|l| l < level) {
            if !Self::equipped(level) {
                return None;
            }
            // Progress of a build goes to the terminal as it happens.
            let status = bench(&["up", level.word()]).stdout(Stdio::null()).status().expect("bash starts");
            assert!(status.success(), "the bench did not start; see: tests/cluster/bench.sh status");
            *done = Some(level);
        }
        let bench = Self::from_env();
        if first {
            bench.install();
        }
        Some(bench)
    }

    fn equipped(level: Level) -> bool {
        let doctor = bench(&["doctor", level.word()]).output().expect("bash starts");
        if doctor.status.success() {
            return true;
        }
        let said =
            String::from_utf8_lossy(&doctor.stdout).into_owned() + &String::from_utf8_lossy(&doctor.stderr);
        let line = said.lines().map(str::trim).filter(|l| !l.is_empty()).collect::<Vec<_>>().join("; ");
        assert!(std::env::var_os("CI").is_none(), "CI needs the {} level of the bench: {line}", level.word());
        eprintln!("skipped: the {} level of the bench needs: {line}", level.word());
        false
    }

    fn from_env() -> Self {
        let exports = sh(&mut bench(&["env"]));
        let get = |name: &str| {
            let prefix = format!("export {name}=");
            let line = exports
                .lines()
                .find_map(|l| l.strip_prefix(&prefix))
                .unwrap_or_else(|| panic!("{name}: {exports}"));
            line.trim_matches(['\'', '"']).to_owned()
        };
        let run = PathBuf::from(get("RATCHET_BENCH_RUN"));
        let path = get("PATH").replace("$PATH", &std::env::var("PATH").unwrap_or_default());
        Self { path, ufs: PathBuf::from(get("RATCHET_BENCH_UFS")), run }
    }

    /// Installs the kinds, the policies, and the controller's account with its role, as a user would.
    fn install(&self) {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        self.kubectl(&["apply", "--server-side", "--force-conflicts", "-f"], &[&root.join("crds")]);
        self.kubectl(&["apply", "-f"], &[&root.join("charts/ratchet/templates/clusterrole.yaml")]);
        let account = json!([
            Namespace {
                metadata: ObjectMeta { name: Some("ratchet-system".into()), ..ObjectMeta::default() },
                ..Namespace::default()
            },
            ServiceAccount {
                metadata: ObjectMeta {
                    name: Some("ratchet".into()),
                    namespace: Some("ratchet-system".into()),
                    ..ObjectMeta::default()
                },
                ..ServiceAccount::default()
            },
            binding(
                "ratchet-controller",
                "ratchet-controller",
                json!({"kind": "ServiceAccount", "name": "ratchet", "namespace": "ratchet-system"})
            ),
        ]);
        for object in account.as_array().expect("an array") {
            self.apply(object);
        }
        self.kubectl(
            &["wait", "--for=condition=Established", "--timeout=60s", "-f"],
            &[&root.join("crds/dataoperations.yaml")],
        );
        let token =
            self.kubectl(&["-n", "ratchet-system", "create", "token", "ratchet", "--duration=24h"], &[]);
        let admin =
            std::fs::read_to_string(self.run.join("admin.kubeconfig")).expect("the admin's kubeconfig");
        let mut config: Value = serde_yaml_ng::from_str(&admin).expect("a kubeconfig is YAML");
        config["users"][0]["user"] = json!({"token": token.trim()});
        let text = serde_yaml_ng::to_string(&config).expect("YAML");
        // Other test programs may be reading it: they see the old one or the new one.
        let fresh = self.run.join(format!("controller-{}.kubeconfig", unique()));
        std::fs::write(&fresh, text).expect("the kubeconfig is written");
        std::fs::rename(&fresh, self.run.join("controller.kubeconfig"))
            .expect("the kubeconfig takes its place");
    }

    /// Path of the kubeconfig of `admin`, `alice`, `bob` or `controller`.
    pub fn kubeconfig(&self, user: &str) -> PathBuf {
        self.run.join(format!("{user}.kubeconfig"))
    }

    /// kubectl as the admin.
    pub fn kubectl(&self, args: &[&str], files: &[&Path]) -> String {
        sh(self.kubectl_as("admin").args(args).args(files))
    }

    /// A kubectl command of a user.
    pub fn kubectl_as(&self, user: &str) -> Command {
        let mut command = Command::new("kubectl");
        command.env("PATH", &self.path).env("KUBECONFIG", self.kubeconfig(user));
        // What kubectl keeps of the kinds outlives a bench and the CRDs of other tests: each test program has its own.
        command.env("KUBECACHEDIR", self.run.join(format!("kubectl-{}", std::process::id())));
        command
    }

    /// kubectl in the name of the control plane, which may delete what nobody else may; what it says is not looked at.
    pub fn as_control_plane(&self, args: &[&str]) {
        let mut command = self.kubectl_as("admin");
        command.args(["--as=system:kube-controller-manager", "--as-group=system:masters"]);
        let _ = command.args(args).output();
    }

    /// `kubectl apply` of one object, as the admin.
    pub fn apply(&self, object: &Value) {
        let file = self.run.join(format!("apply-{}.json", unique()));
        std::fs::write(&file, object.to_string()).expect("the file is written");
        self.kubectl(&["apply", "-f"], &[&file]);
        let _ = std::fs::remove_file(file);
    }

    /// A client of a user. Its own retries are off.
    pub async fn client(&self, user: &str) -> Client {
        let kubeconfig = Kubeconfig::read_from(self.kubeconfig(user)).expect("a kubeconfig");
        let mut config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default())
            .await
            .expect("a config");
        config.default_retry = false;
        Client::try_from(config).expect("a client")
    }

    /// A namespace of its own for one test; it is deleted when the guard is dropped.
    pub fn namespace(&self, stem: &str) -> TestNamespace {
        let name = format!("{stem}-{}", unique());
        self.kubectl(&["create", "namespace", &name], &[]);
        TestNamespace { name, bench: self.clone() }
    }
}

fn binding(name: &str, role: &str, subject: Value) -> ClusterRoleBinding {
    serde_json::from_value(json!({
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRoleBinding",
        "metadata": {"name": name},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role},
        "subjects": [subject],
    }))
    .expect("a binding")
}

/// A short id that no other test has.
pub fn unique() -> String {
    uuid::Uuid::new_v4().simple().to_string().chars().take(8).collect()
}

/// A namespace that is deleted with the test.
pub struct TestNamespace {
    /// Its name.
    pub name: String,
    bench: Bench,
}

impl Drop for TestNamespace {
    fn drop(&mut self) {
        // Not waited for: the controller of the test may be gone already, so the finalizers are taken off by hand.
        let strip = r#"kubectl -n "$1" get dop,cc,dset -o name 2>/dev/null | xargs -r -n 50 -P 2 kubectl -n "$1" patch --type=merge -p '{"metadata":{"finalizers":null}}'"#;
        let mut delete = self.bench.kubectl_as("admin");
        let _ = delete.args(["delete", "namespace", &self.name, "--wait=false"]).output();
        let mut sh = Command::new("bash");
        sh.env("PATH", &self.bench.path).env("KUBECONFIG", self.bench.kubeconfig("admin"));
        let _ = sh.args(["-c", strip, "strip", &self.name]).output();
        // Journals go at the word of the control plane only, and the bench's own signs its calls as the admin.
        self.bench.as_control_plane(&[
            "-n",
            &self.name,
            "delete",
            "operationjournals",
            "--all",
            "--wait=false",
        ]);
    }
}

/// A CacheCluster that names `masters`.
pub fn cluster(namespace: &str, name: &str, masters: &[&str], mode: &str) -> CacheCluster {
    let spec = json!({"attached": {"masters": masters, "security": {"mode": mode, "user": "root"}}});
    CacheCluster::new(meta(namespace, name), serde_json::from_value(spec).expect("a spec"), None)
}

/// A DataLoad of `paths`.
pub fn load(namespace: &str, name: &str, target: &str, paths: &[&str]) -> DataLoad {
    let spec = json!({"target": target, "paths": paths, "retryPolicy": {"limit": 2, "backoffSeconds": 1}});
    DataLoad::new(meta(namespace, name), serde_json::from_value(spec).expect("a spec"), None)
}

/// A DataOperation with the given `spec.operation` and whatever else `more` sets.
pub fn operation(namespace: &str, name: &str, target: &str, arm: Value, more: Value) -> DataOperation {
    let mut spec =
        json!({"target": target, "operation": arm, "retryPolicy": {"limit": 2, "backoffSeconds": 1}});
    if let (Some(spec), Value::Object(more)) = (spec.as_object_mut(), more) {
        spec.extend(more);
    }
    DataOperation::new(meta(namespace, name), serde_json::from_value(spec).expect("a spec"), None)
}

/// Metadata with a name.
pub fn meta(namespace: &str, name: &str) -> ObjectMeta {
    ObjectMeta { name: Some(name.into()), namespace: Some(namespace.into()), ..ObjectMeta::default() }
}

/// Creates an object of the group.
pub async fn create<K>(client: &Client, namespace: &str, object: &K) -> K
where
    K: kube::Resource<DynamicType = (), Scope = kube::core::NamespaceResourceScope>
        + Clone
        + serde::Serialize
        + serde::de::DeserializeOwned
        + std::fmt::Debug,
{
    Api::<K>::namespaced(client.clone(), namespace)
        .create(&PostParams::default(), object)
        .await
        .expect("created")
}

/// Merges `patch` into an operation's spec.
pub async fn edit(
    client: &Client,
    namespace: &str,
    name: &str,
    patch: Value,
) -> Result<DataOperation, kube::Error> {
    let api: Api<DataOperation> = Api::namespaced(client.clone(), namespace);
    api.patch(name, &PatchParams::default(), &Patch::Merge(json!({"spec": patch}))).await
}

/// Deletes an operation, in the background.
pub async fn delete(client: &Client, namespace: &str, name: &str) {
    let api: Api<DataOperation> = Api::namespaced(client.clone(), namespace);
    api.delete(name, &DeleteParams::background()).await.expect("deleted");
}

/// How long a test waits for what has to come: enough for a machine that is several times slower than it was.
pub const LIMIT: Duration = Duration::from_secs(300);
/// So many looks, a tenth of a second apart, take as long.
pub const POLLS: usize = 3_000;

/// Polls an operation until `wanted` says something; panics with the last state after [`LIMIT`].
pub async fn wait_for<T>(
    client: &Client,
    namespace: &str,
    name: &str,
    mut wanted: impl FnMut(Option<&DataOperation>) -> Option<T>,
) -> T {
    let api: Api<DataOperation> = Api::namespaced(client.clone(), namespace);
    let mut last = None;
    let poll = async {
        loop {
            last = api.get_opt(name).await.expect("readable");
            if let Some(found) = wanted(last.as_ref()) {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    let found = tokio::time::timeout(LIMIT, poll).await;
    found.unwrap_or_else(|_| {
        panic!("{name} did not get there in {LIMIT:?}: {:#?}", last.and_then(|o| o.status))
    })
}

/// Waits until an operation is terminal and sealed; gives back the object.
pub async fn settled(client: &Client, namespace: &str, name: &str) -> DataOperation {
    wait_for(client, namespace, name, |op| {
        op.filter(|o| o.status.as_ref().is_some_and(ratchet::api::DataOperationStatus::settled)).cloned()
    })
    .await
}

/// A runtime for tests that are not async themselves.
pub fn runtime() -> &'static tokio::runtime::Runtime {
    static RUNTIME: OnceLock<tokio::runtime::Runtime> = OnceLock::new();
    RUNTIME.get_or_init(|| tokio::runtime::Runtime::new().expect("a runtime"))
}
