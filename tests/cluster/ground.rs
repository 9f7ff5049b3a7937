//! A managed Alluxio on the node bench: what a user writes for it, and what he sees of it.

use super::managed::merge;
use super::{Bench, POLLS, Replica, TestNamespace};
use k8s_openapi::api::core::v1::Pod;
use kube::Client;
use kube::api::{Api, ListParams};
use ratchet::api::cluster::CacheClusterStatus;
use ratchet::api::{CacheCluster, DataOperation};
use ratchet_state_machine::spec::ArmSpec;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// Short waits of a takeover.
const QUICK: [&str; 6] = ["--send-for-ms", "1000", "--engine-timeout-ms", "4000", "--probe-seconds", "1"];
/// The user of the pods.
const USER: u32 = 1000;

/// A namespace on the node bench, with directories of the machine behind it.
pub struct Ground {
    pub bench: Bench,
    pub ns: TestNamespace,
    pub admin: Client,
    /// Directories that go with the test.
    pub home: PathBuf,
}

impl Ground {
    pub async fn new(stem: &str) -> Option<Self> {
        let bench = Bench::node()?;
        let ns = bench.namespace(stem);
        let admin = bench.client("admin").await;
        let home = bench.ufs.join(&ns.name);
        let ground = Self { bench, ns, admin, home };
        for folder in ["root", "images", "labels", "journal"] {
            ground.folder(folder);
        }
        Some(ground)
    }

    /// A directory that the pods may write to.
    pub fn folder(&self, name: &str) -> PathBuf {
        let path = self.home.join(name);
        std::fs::create_dir_all(&path).expect("a directory");
        std::os::unix::fs::chown(&path, Some(USER), Some(USER)).expect("given to the pods' user");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o777)).expect("open");
        path
    }

    pub fn api<K>(&self) -> Api<K>
    where
        K: kube::Resource<DynamicType = (), Scope = kube::core::NamespaceResourceScope>,
    {
        Api::namespaced(self.admin.clone(), &self.ns.name)
    }

    /// What a user writes.
    pub fn cluster(&self, managed: &Value) -> Value {
        let options = "-Xmx320m -XX:+UseSerialGC -XX:TieredStopAtLevel=1";
        let mounts: Vec<Value> = ["images", "labels"]
            .iter()
            .map(|n| json!({"name": n, "mountPath": format!("/stores/{n}"), "readOnly": true}))
            .collect();
        let volumes: Vec<Value> = ["images", "labels"]
            .iter()
            .map(|n| json!({"name": n, "hostPath": {"path": self.home.join(n)}}))
            .collect();
        let pods = json!({
            "javaOptions": options,
            "resources": {"requests": {"cpu": "10m", "memory": "64Mi"}},
            "template": {"spec": {
                "containers": [{"name": "alluxio", "volumeMounts": mounts}],
                "volumes": volumes,
                "terminationGracePeriodSeconds": 10,
            }},
        });
        let mut all = json!({
            "version": "2.9.4",
            "image": {"repository": "ratchet-bench/alluxio", "pullPolicy": "Never"},
            "masters": {"journal": {"hostPath": self.home.join("journal")}, "pods": pods},
            "workers": {
                "replicas": 3, "pods": pods,
                "tiers": [{"medium": "SSD", "size": "256Mi", "emptyDir": {}}],
            },
            "jobs": {"workers": 1, "pods": pods},
            "proxies": {"replicas": 0, "pods": pods},
            "rootStorage": {"hostPath": self.home.join("root")},
            "properties": {
                "alluxio.user.block.size.bytes.default": "1MB",
                "alluxio.master.metastore": "HEAP",
                "alluxio.master.cluster.metrics.update.interval": "1sec",
                "alluxio.master.daily.backup.enabled": "false",
                "alluxio.master.worker.connect.wait.time": "2sec",
                "alluxio.user.rpc.retry.max.sleep": "1sec",
                "alluxio.master.embedded.journal.election.timeout.min": "3sec",
                "alluxio.master.embedded.journal.election.timeout.max": "6sec",
                "alluxio.master.standby.heartbeat.interval": "5sec",
                "alluxio.user.network.rpc.keepalive.time": "10sec",
                "alluxio.user.network.rpc.keepalive.timeout": "5sec",
                "alluxio.master.network.permit.keepalive.time": "5sec",
            },
        });
        merge(&mut all, managed);
        json!({"apiVersion": "ratchet.dev/v1alpha1", "kind": "CacheCluster",
            "metadata": {"name": "cache", "namespace": self.ns.name}, "spec": {"managed": all}})
    }

    /// One file with all of it, as a user applies it.
    pub fn apply(&self, objects: &[Value]) {
        let text: Vec<String> = objects.iter().map(|o| serde_yaml_ng::to_string(o).expect("YAML")).collect();
        let file = self.bench.run.join(format!("{}.yaml", self.ns.name));
        std::fs::write(&file, text.join("---\n")).expect("a file");
        self.bench.kubectl(&["apply", "-f"], &[&file]);
        std::fs::remove_file(file).expect("removed");
    }

    pub fn start(&self) -> Replica {
        Replica::start(&self.bench, &self.ns.name, &QUICK)
    }

    pub async fn status(&self) -> CacheClusterStatus {
        self.api::<CacheCluster>().get("cache").await.expect("readable").status.unwrap_or_default()
    }

    pub async fn until(
        &self,
        what: &str,
        wanted: impl Fn(&CacheClusterStatus) -> bool,
    ) -> CacheClusterStatus {
        for _ in 0..POLLS {
            let status = self.status().await;
            if wanted(&status) {
                return status;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("not {what}: {:#?}", self.status().await)
    }

    pub async fn pods(&self, component: &str) -> Vec<Pod> {
        let labels = format!("app.kubernetes.io/component={component}");
        self.api::<Pod>().list(&ListParams::default().labels(&labels)).await.expect("readable").items
    }

    pub async fn operations(&self, is: impl Fn(&ArmSpec) -> bool) -> usize {
        let all = self.api::<DataOperation>().list(&ListParams::default()).await.expect("readable").items;
        all.iter().filter(|o| is(&o.spec.operation)).count()
    }
}

impl Drop for Ground {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.home);
    }
}

pub fn ip(pod: &Pod) -> String {
    pod.status.as_ref().and_then(|s| s.pod_ip.clone()).expect("an address")
}

/// The header by which the proxy knows a client.
pub const SIGNED: &str = "Authorization: AWS4-HMAC-SHA256 Credential=alluxio/20260101/us-east-1/s3/aws4_request, \
                          SignedHeaders=host, Signature=none\r\n";

/// Writes an object through the proxy; whether it was accepted.
pub fn put(address: &str, path: &str, body: &[u8]) -> bool {
    use std::io::{Read as _, Write as _};
    let Ok(mut stream) = std::net::TcpStream::connect(address) else { return false };
    stream.set_read_timeout(Some(Duration::from_secs(30))).expect("a time-out");
    let head = format!(
        "PUT {path} HTTP/1.0\r\nHost: {address}\r\n{SIGNED}Content-Type: application/octet-stream\r\n\
         Content-Length: {}\r\n\r\n",
        body.len()
    );
    let mut answer = Vec::new();
    let sent = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body));
    sent.is_ok()
        && stream.read_to_end(&mut answer).is_ok()
        && (answer.starts_with(b"HTTP/1.1 200") || answer.starts_with(b"HTTP/1.0 200"))
}

/// An object as the proxy gives it, where it can.
pub fn read(address: &str, path: &str) -> Option<Vec<u8>> {
    use std::io::{Read as _, Write as _};
    let mut stream = std::net::TcpStream::connect(address).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(30))).ok()?;
    write!(stream, "GET {path} HTTP/1.0\r\nHost: {address}\r\n{SIGNED}\r\n").ok()?;
    let mut all = Vec::new();
    stream.read_to_end(&mut all).ok()?;
    let head = all.windows(4).position(|w| w == b"\r\n\r\n")?;
    let fine = all.starts_with(b"HTTP/1.1 200") || all.starts_with(b"HTTP/1.0 200");
    fine.then(|| all.split_off(head + 4))
}

/// What a server answers to GET; the bytes after the head.
pub fn get(address: &str, path: &str, header: &str) -> Vec<u8> {
    use std::io::{Read as _, Write as _};
    let mut stream = std::net::TcpStream::connect(address).expect("it listens");
    stream.set_read_timeout(Some(Duration::from_secs(30))).expect("a time-out");
    write!(stream, "GET {path} HTTP/1.0\r\nHost: {address}\r\n{header}\r\n").expect("sent");
    let mut all = Vec::new();
    stream.read_to_end(&mut all).expect("answered");
    let head = all.windows(4).position(|w| w == b"\r\n\r\n").expect("a head");
    let first = String::from_utf8_lossy(&all[..head]).into_owned();
    assert!(first.starts_with("HTTP/1.1 200") || first.starts_with("HTTP/1.0 200"), "{path}: {first}");
    all.split_off(head + 4)
}

/// Bytes that the workers have given to readers, by their own counters.
pub async fn bytes_read(ground: &Ground) -> u64 {
    let mut all = 0;
    for pod in ground.pods("worker").await {
        let text = get(&format!("{}:30000", ip(&pod)), "/metrics/json/", "");
        let metrics: Value = serde_json::from_slice(&text).expect("JSON");
        let counters = metrics["counters"].as_object().expect("counters").iter();
        all += counters
            .filter(|(name, _)| name.starts_with("Worker.BytesRead") && !name.contains("Ufs"))
            .map(|(_, v)| v["count"].as_u64().unwrap_or(0))
            .sum::<u64>();
    }
    all
}

/// Files and what is in them.
pub fn fill(folder: &Path, files: usize, size: usize) -> BTreeMap<String, Vec<u8>> {
    let content =
        |i: usize| (0..size).map(|j| u8::try_from((i * 31 + j * 7) % 251).expect("a byte")).collect();
    let all: BTreeMap<String, Vec<u8>> = (0..files).map(|i| (format!("f{i}"), content(i))).collect();
    for (name, bytes) in &all {
        std::fs::write(folder.join(name), bytes).expect("written");
    }
    all
}

pub fn seen(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = std::fs::read_dir(folder).expect("a folder").map(|e| e.expect("an entry"));
    entries
        .map(|e| (e.file_name().to_string_lossy().into_owned(), std::fs::read(e.path()).expect("readable")))
        .collect()
}

/// No object is left, no process either.
pub async fn gone(ground: &Ground, kubectl: impl Fn(&[&str]) -> String) {
    let kinds = "pods,statefulsets,services,poddisruptionbudgets,cacheclusters,datasets,dataloads,upgrades,dataoperations";
    let mut left = String::new();
    for _ in 0..POLLS / 5 {
        left = kubectl(&["get", kinds, "-o", "name"]);
        left += &kubectl(&["get", "configmaps", "-l", "app.kubernetes.io/managed-by=ratchet", "-o", "name"]);
        if left.is_empty() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    assert_eq!(left, "", "objects are left");
    let locks =
        ground.bench.kubectl(&["get", "targetlocks", "-o", "jsonpath={.items[*].spec.claim.namespace}"], &[]);
    assert!(!locks.split_whitespace().any(|n| n == ground.ns.name), "a lock is left: {locks}");
    let name = format!("[.]{}[.]svc", ground.ns.name);
    let found =
        Command::new("pgrep").args(["-f", "--", &format!("java.*{name}")]).output().expect("pgrep runs");
    assert_eq!(String::from_utf8_lossy(&found.stdout), "", "processes are left");
}
