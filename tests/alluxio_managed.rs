//! Does one YAML give a real Alluxio, with its data, from nothing to a reader and back to nothing?

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that cannot go on fails")]

mod cluster;

use cluster::{Bench, Replica, TestNamespace};
use k8s_openapi::api::core::v1::Pod;
use kube::Client;
use kube::api::{Api, ListParams};
use ratchet::api::cluster::CacheClusterStatus;
use ratchet::api::{CacheCluster, DataLoad, DataOperation, Dataset};
use ratchet::engine::alluxio::client::{AlluxioClient, ClientOptions, MasterRole, Security};
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
struct Ground {
    bench: Bench,
    ns: TestNamespace,
    admin: Client,
    /// Directories that go with the test.
    home: PathBuf,
}

impl Ground {
    async fn new(stem: &str) -> Option<Self> {
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
    fn folder(&self, name: &str) -> PathBuf {
        let path = self.home.join(name);
        std::fs::create_dir_all(&path).expect("a directory");
        std::os::unix::fs::chown(&path, Some(USER), Some(USER)).expect("given to the pods' user");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o777)).expect("open");
        path
    }

    fn api<K>(&self) -> Api<K>
    where
        K: kube::Resource<DynamicType = (), Scope = kube::core::NamespaceResourceScope>,
    {
        Api::namespaced(self.admin.clone(), &self.ns.name)
    }

    /// What a user writes.
    fn cluster(&self, managed: &Value) -> Value {
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
    fn apply(&self, objects: &[Value]) {
        let text: Vec<String> = objects.iter().map(|o| serde_yaml_ng::to_string(o).expect("YAML")).collect();
        let file = self.bench.run.join(format!("{}.yaml", self.ns.name));
        std::fs::write(&file, text.join("---\n")).expect("a file");
        self.bench.kubectl(&["apply", "-f"], &[&file]);
        std::fs::remove_file(file).expect("removed");
    }

    fn start(&self) -> Replica {
        Replica::start(&self.bench, &self.ns.name, &QUICK)
    }

    async fn status(&self) -> CacheClusterStatus {
        self.api::<CacheCluster>().get("cache").await.expect("readable").status.unwrap_or_default()
    }

    async fn until(&self, what: &str, wanted: impl Fn(&CacheClusterStatus) -> bool) -> CacheClusterStatus {
        for _ in 0..900 {
            let status = self.status().await;
            if wanted(&status) {
                return status;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("not {what}: {:#?}", self.status().await)
    }

    async fn pods(&self, component: &str) -> Vec<Pod> {
        let labels = format!("app.kubernetes.io/component={component}");
        self.api::<Pod>().list(&ListParams::default().labels(&labels)).await.expect("readable").items
    }

    async fn operations(&self, is: impl Fn(&ArmSpec) -> bool) -> usize {
        let all = self.api::<DataOperation>().list(&ListParams::default()).await.expect("readable").items;
        all.iter().filter(|o| is(&o.spec.operation)).count()
    }
}

impl Drop for Ground {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.home);
    }
}

fn merge(base: &mut Value, over: &Value) {
    match (base, over) {
        (Value::Object(base), Value::Object(over)) => {
            over.iter().for_each(|(k, v)| merge(base.entry(k.clone()).or_insert(Value::Null), v));
        }
        (base, over) => *base = over.clone(),
    }
}

fn ip(pod: &Pod) -> String {
    pod.status.as_ref().and_then(|s| s.pod_ip.clone()).expect("an address")
}

/// What a server answers to GET; the bytes after the head.
fn get(address: &str, path: &str, header: &str) -> Vec<u8> {
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
async fn bytes_read(ground: &Ground) -> u64 {
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
fn fill(folder: &Path, files: usize, size: usize) -> BTreeMap<String, Vec<u8>> {
    let content =
        |i: usize| (0..size).map(|j| u8::try_from((i * 31 + j * 7) % 251).expect("a byte")).collect();
    let all: BTreeMap<String, Vec<u8>> = (0..files).map(|i| (format!("f{i}"), content(i))).collect();
    for (name, bytes) in &all {
        std::fs::write(folder.join(name), bytes).expect("written");
    }
    all
}

fn seen(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = std::fs::read_dir(folder).expect("a folder").map(|e| e.expect("an entry"));
    entries
        .map(|e| (e.file_name().to_string_lossy().into_owned(), std::fs::read(e.path()).expect("readable")))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn one_yaml_gives_a_cache_its_data_and_a_reader_and_leaves_nothing_behind() {
    let Some(ground) = Ground::new("managed").await else { return };
    let images = fill(&ground.home.join("images"), 20, 100_000);
    let labels = fill(&ground.home.join("labels"), 5, 1_000);
    let mount = |n: &str| json!({"path": format!("/{n}"), "uri": format!("/stores/{n}"), "readOnly": true});
    let dataset = |mounts: Vec<Value>| {
        json!({"apiVersion": "ratchet.dev/v1alpha1", "kind": "Dataset",
            "metadata": {"name": "data", "namespace": ground.ns.name},
            "spec": {"cluster": "cache", "mounts": mounts}})
    };
    let load = json!({"apiVersion": "ratchet.dev/v1alpha1", "kind": "DataLoad",
        "metadata": {"name": "warm", "namespace": ground.ns.name},
        "spec": {"target": "cache", "paths": ["/images"]}});
    ground.apply(&[
        ground.cluster(&json!({"proxies": {"replicas": 1}})),
        dataset(vec![mount("images")]),
        load,
    ]);

    // The controller is killed over and over while the cache comes to be.
    let (mut kills, mut running) = (0, ground.start());
    for round in 0..12_u64 {
        tokio::time::sleep(Duration::from_millis(700 + (round * 379) % 1500)).await;
        if ground.status().await.phase == "Ready" {
            break;
        }
        running.kill();
        kills += 1;
        running = ground.start();
    }
    let status = ground.until("Ready", |s| s.phase == "Ready").await;
    println!("ready after {kills} kills");
    assert_eq!((status.masters.as_str(), status.workers.as_str()), ("1/1", "3/3"));
    assert_eq!((status.version.as_str(), status.capacity_bytes), ("2.9.4", 3 * (256 << 20)));
    let made = status.revision.map(|r| r.number);
    assert_eq!(made, Some(1));

    let datasets: Api<Dataset> = ground.api();
    let loads: Api<DataLoad> = ground.api();
    let (mut bound, mut loaded) = (None, None);
    for _ in 0..900 {
        bound = datasets.get("data").await.unwrap().status.filter(|s| s.phase == "Bound" && s.files == 20);
        loaded = loads.get("warm").await.unwrap().status.filter(|s| s.finished_at.is_some());
        if bound.is_some() && loaded.is_some() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let (bound, loaded) = (bound.expect("Bound"), loaded.expect("it ends"));
    assert_eq!((bound.ufs_bytes, loaded.phase.as_str()), (2_000_000, "Succeeded"), "{bound:#?}\n{loaded:#?}");

    // A reader gets the bytes through the cache: the workers say that they gave them.
    let before = bytes_read(&ground).await;
    let proxy = format!("{}:39999", ip(&ground.pods("proxy").await[0]));
    let signed = "Authorization: AWS4-HMAC-SHA256 Credential=alluxio/20260101/us-east-1/s3/aws4_request, \
                  SignedHeaders=host, Signature=none\r\n";
    for (name, content) in &images {
        assert!(get(&proxy, &format!("/api/v1/s3/images/{name}"), signed) == *content, "{name} differs");
    }
    let read = bytes_read(&ground).await - before;
    assert!(read >= 2_000_000, "the workers gave {read} bytes");

    // How often the cache had what was read comes from the master, which hears of it in a while.
    for _ in 0..300 {
        if !datasets.get("data").await.unwrap().status.unwrap().hit_ratio.is_empty() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let hits = datasets.get("data").await.unwrap().status.unwrap().hit_ratio;
    println!("hit ratio: {hits}");
    assert!(hits.ends_with('%'), "{hits:?}");

    // One more mount, with the controller killed meanwhile: exactly one operation.
    let mounts = async || ground.operations(|a| matches!(a, ArmSpec::Mount(_))).await;
    assert_eq!(mounts().await, 1);
    ground.apply(&[dataset(vec![mount("images"), mount("labels")])]);
    for round in 0..5_u64 {
        tokio::time::sleep(Duration::from_millis(60 + round * 130)).await;
        running.kill();
        running = ground.start();
    }
    for _ in 0..900 {
        let status = datasets.get("data").await.unwrap().status.unwrap();
        if status.phase == "Bound" && status.files == 25 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!((datasets.get("data").await.unwrap().status.unwrap().files, mounts().await), (25, 2));

    // One more worker, with the controller killed meanwhile: exactly one operation, one write, and it serves.
    let kubectl = |args: &[&str]| ground.bench.kubectl(&[&["-n", &ground.ns.name], args].concat(), &[]);
    kubectl(&["scale", "cachecluster/cache", "--replicas=4"]);
    for round in 0..5_u64 {
        tokio::time::sleep(Duration::from_millis(80 + round * 210)).await;
        running.kill();
        running = ground.start();
    }
    let status = ground.until("4/4", |s| s.phase == "Ready" && s.workers == "4/4").await;
    assert_eq!(status.capacity_bytes, 4 * (256 << 20));
    assert_eq!((status.revision.map(|r| r.number), status.handled), (Some(2), 1));
    assert_eq!(ground.operations(|a| matches!(a, ArmSpec::ScaleOut(_))).await, 1);
    for (name, content) in images.iter().take(3) {
        assert!(get(&proxy, &format!("/api/v1/s3/images/{name}"), signed) == *content, "{name} differs");
    }

    // All of it goes, the cache too, with the controller killed meanwhile; the stores are as they were.
    kubectl(&["delete", "dataload/warm", "dataset/data", "cachecluster/cache", "--wait=false"]);
    for _ in 0..3 {
        tokio::time::sleep(Duration::from_millis(900)).await;
        running.kill();
        running = ground.start();
    }
    gone(&ground, kubectl).await;
    assert!(seen(&ground.home.join("images")) == images && seen(&ground.home.join("labels")) == labels);
    drop(running);
}

/// No object is left, no process either.
async fn gone(ground: &Ground, kubectl: impl Fn(&[&str]) -> String) {
    let kinds =
        "pods,statefulsets,services,poddisruptionbudgets,cacheclusters,datasets,dataloads,dataoperations";
    let mut left = String::new();
    for _ in 0..240 {
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

#[tokio::test(flavor = "multi_thread")]
async fn three_masters_elect_one_and_outlive_the_loss_of_it() {
    let Some(ground) = Ground::new("quorum").await else { return };
    fill(&ground.home.join("images"), 10, 50_000);
    let three = json!({"masters": {"replicas": 3}, "workers": {"replicas": 1}, "jobs": {"workers": 0}});
    let running = ground.start();
    ground.apply(&[ground.cluster(&three)]);
    let status = ground.until("Ready", |s| s.phase == "Ready" && s.masters == "3/3").await;
    let (identity, endpoints) = (status.identity.clone(), status.endpoints);
    assert_eq!(endpoints.len(), 3);

    let security = Security::Simple { user: "alluxio".into() };
    let leads = async |at: &[String]| {
        let options = ClientOptions::new(at.to_vec(), security.clone());
        let client = AlluxioClient::new(options).expect("a client");
        let masters = client.master_info().await.expect("answered").masters;
        masters.into_iter().find(|m| m.role == MasterRole::Primary).map(|m| m.host)
    };
    let leader = leads(&endpoints).await.expect("a leader");
    let pod = leader.split('.').next().expect("a name").to_owned();
    let kubectl = |args: &[&str]| ground.bench.kubectl(&[&["-n", &ground.ns.name], args].concat(), &[]);
    kubectl(&["delete", "pod", &pod, "--grace-period=0", "--force"]);
    ground.until("Degraded", |s| s.phase == "Degraded" && s.masters == "2/3").await;
    let status = ground.until("Ready again", |s| s.phase == "Ready" && s.masters == "3/3").await;
    assert_eq!(status.identity, identity, "it is the same cache");
    assert_ne!(status.endpoints, endpoints, "the pod that came back has another address");

    // It works as before; who leads was elected anew, and may be the one that came back.
    assert!(leads(&status.endpoints).await.is_some());
    let data = json!({"apiVersion": "ratchet.dev/v1alpha1", "kind": "Dataset",
        "metadata": {"name": "data", "namespace": ground.ns.name},
        "spec": {"cluster": "cache", "mounts": [{"path": "/images", "uri": "/stores/images"}]}});
    ground.apply(&[data]);
    let datasets: Api<Dataset> = ground.api();
    let mut last = None;
    for _ in 0..600 {
        last = datasets.get("data").await.unwrap().status;
        if last.as_ref().is_some_and(|s| s.phase == "Bound" && s.files == 10) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(last.as_ref().map(|s| s.files), Some(10), "{last:#?}");
    kubectl(&["delete", "dataset/data", "cachecluster/cache", "--timeout=120s"]);
    gone(&ground, kubectl).await;
    drop(running);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_journal_outlives_its_cache_and_an_empty_one_is_not_taken_for_it() {
    let Some(ground) = Ground::new("journal").await else { return };
    fill(&ground.home.join("images"), 10, 50_000);
    let cache = ground.folder("cache");
    let one = json!({"workers": {"replicas": 1, "tiers": [{"medium": "SSD", "size": "256Mi", "hostPath": cache}]},
        "jobs": {"workers": 0}});
    let mut yaml = ground.cluster(&one);
    yaml["spec"]["managed"]["workers"]["tiers"][0].as_object_mut().expect("a tier").remove("emptyDir");
    let data = json!({"apiVersion": "ratchet.dev/v1alpha1", "kind": "Dataset",
        "metadata": {"name": "data", "namespace": ground.ns.name},
        "spec": {"cluster": "cache", "mounts": [{"path": "/images", "uri": "/stores/images"}]}});
    let load = json!({"apiVersion": "ratchet.dev/v1alpha1", "kind": "DataLoad",
        "metadata": {"name": "warm", "namespace": ground.ns.name}, "spec": {"target": "cache", "paths": ["/images"]}});
    let running = ground.start();
    ground.apply(&[yaml.clone(), data, load]);
    let first = ground.until("Ready", |s| s.phase == "Ready").await;
    let loads: Api<DataLoad> = ground.api();
    let mut loaded = None;
    for _ in 0..600 {
        loaded = loads.get("warm").await.unwrap().status.filter(|s| s.finished_at.is_some());
        if loaded.is_some() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(loaded.map(|s| s.phase), Some("Succeeded".into()));

    // The journal is not where the master comes back: nothing is formatted, and the status says what to do.
    let (here, away) = (ground.home.join("journal"), ground.home.join("away"));
    let kubectl = |args: &[&str]| ground.bench.kubectl(&[&["-n", &ground.ns.name], args].concat(), &[]);
    std::fs::rename(&here, &away).expect("moved");
    ground.folder("journal");
    kubectl(&["delete", "pod", "cache-master-0", "--grace-period=1"]);
    let identity = first.identity.clone().expect("known");
    let said = format!("the journal of cache {identity} is not here");
    let ready =
        |s: &CacheClusterStatus| s.conditions.iter().find(|c| c.type_ == "Ready").map(|c| c.message.clone());
    ground.until("missing its journal", |s| ready(s).is_some_and(|m| m.contains(&said))).await;
    std::fs::remove_dir_all(&here).expect("removed");
    std::fs::rename(&away, &here).expect("moved back");
    kubectl(&["delete", "pod", "cache-master-0", "--grace-period=1"]);
    let again = ground.until("Ready again", |s| s.phase == "Ready").await;
    assert_eq!(again.identity.as_ref(), Some(&identity));

    // The cache goes, and what it had on the node with it; the journal stays for the next of its name.
    kubectl(&["delete", "cachecluster/cache", "--timeout=120s"]);
    let blocks =
        Command::new("find").arg(&cache).args(["-type", "f", "-size", "+0"]).output().expect("find runs");
    assert_eq!(String::from_utf8_lossy(&blocks.stdout), "", "blocks are left on the node");
    kubectl(&["delete", "dataset/data", "dataload/warm", "--timeout=60s"]);
    gone(&ground, kubectl).await;
    ground.apply(&[yaml]);
    let next = ground.until("Ready once more", |s| s.phase == "Ready").await;
    assert_eq!(next.identity, Some(identity), "it has taken the journal up");
    kubectl(&["delete", "cachecluster/cache", "--timeout=120s"]);
    gone(&ground, kubectl).await;
    drop(running);
}
