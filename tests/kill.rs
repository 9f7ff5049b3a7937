//! Does `kill -9` at any moment change the end of a load? The shipped binary works through a proxy that counts its
//! writes and kills it at a chosen one:
//!
//! ```text
//!   ratchet --HTTP--> this proxy --> kubectl proxy --TLS--> API server
//!                        | write k: killed before it is forwarded, or after it landed and before its reply
//! ```
//!
//! A second process then has to bring the load to the end that the undisturbed one has.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that cannot go on fails")]

mod cluster;

use cluster::alluxio::{Stage, assert_succeeded, intents, submits};
use cluster::{Bench, Replica};
use ratchet::engine::alluxio::client::LoadState;
use ratchet_state_machine::effect::Effect;
use ratchet_state_machine::machine::Phase;
use serde_json::json;
use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// Short waits of a takeover.
const QUICK: [&str; 4] = ["--send-for-ms", "500", "--engine-timeout-ms", "2000"];

/// When the process dies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Moment {
    /// The write never reaches the server.
    Before,
    /// The write stands, and nobody was told.
    After,
}

/// What the proxy counts, and when it kills.
struct Trap {
    /// The write to die at; 0: none.
    at: usize,
    moment: Moment,
    writes: AtomicUsize,
    /// Process id of the victim.
    victim: AtomicU32,
}

impl Trap {
    fn kill(&self) {
        let pid = self.victim.load(Ordering::SeqCst);
        cluster::sh(std::process::Command::new("kill").args(["-KILL", &pid.to_string()]));
    }
}

/// `kubectl proxy` with the controller's account, and before it a proxy that reads along.
struct Proxy {
    kubectl: Child,
    upstream: String,
}

impl Proxy {
    fn start(bench: &Bench) -> Self {
        let mut command = bench.kubectl_as("controller");
        let mut kubectl =
            command.args(["proxy", "--port=0"]).stdout(Stdio::piped()).spawn().expect("kubectl proxy starts");
        let mut line = String::new();
        BufReader::new(kubectl.stdout.take().expect("its output")).read_line(&mut line).expect("a line");
        let upstream = line.trim().rsplit(' ').next().unwrap_or_default().to_owned();
        assert!(upstream.contains(':'), "kubectl proxy said: {line}");
        Self { kubectl, upstream }
    }

    /// A port that belongs to one process, and the kubeconfig that leads there.
    async fn open(&self, bench: &Bench, trap: Arc<Trap>) -> (PathBuf, tokio::task::JoinHandle<()>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let config = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "trap",
            "clusters": [{"name": "trap", "cluster": {"server": format!("http://127.0.0.1:{port}")}}],
            "users": [{"name": "trap", "user": {}}],
            "contexts": [{"name": "trap", "context": {"cluster": "trap", "user": "trap"}}],
        });
        let file = bench.run.join(format!("trap-{port}.kubeconfig"));
        std::fs::write(&file, config.to_string()).expect("a kubeconfig");
        let upstream = self.upstream.clone();
        let task = tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                if let Ok(far) = TcpStream::connect(&upstream).await {
                    tokio::spawn(serve(near, far, Arc::clone(&trap)));
                }
            }
        });
        (file, task)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let _ = self.kubectl.kill();
        let _ = self.kubectl.wait();
    }
}

/// Whether a request changes what operations are made of.
fn is_write(head: &str) -> bool {
    let mut words = head.split_whitespace();
    let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let kind = ["/dataoperations", "/targetlocks", "/operationjournals"].iter().any(|k| path.contains(k));
    kind && matches!(method, "POST" | "PATCH" | "PUT" | "DELETE")
}

/// One connection. Requests are read one by one, answers pass as they come.
async fn serve(near: TcpStream, far: TcpStream, trap: Arc<Trap>) {
    let (mut from_near, mut to_near) = near.into_split();
    let (mut from_far, mut to_far) = far.into_split();
    let doomed = Arc::new(AtomicU32::new(0));
    let mark = Arc::clone(&doomed);
    let killer = Arc::clone(&trap);
    let answers = tokio::spawn(async move {
        let mut buffer = vec![0; 64 * 1024];
        while let Ok(n @ 1..) = from_far.read(&mut buffer).await {
            if mark.load(Ordering::SeqCst) == 1 {
                // It answers, so it has decided; the answer goes nowhere.
                killer.kill();
                return;
            }
            if to_near.write_all(&buffer[..n]).await.is_err() {
                return;
            }
        }
    });
    let mut pending: Vec<u8> = Vec::new();
    while let Some((request, rest)) = next_request(&mut from_near, pending).await {
        pending = rest;
        let head = String::from_utf8_lossy(&request[..request.len().min(400)]).into_owned();
        if is_write(&head) && trap.writes.fetch_add(1, Ordering::SeqCst) + 1 == trap.at {
            match trap.moment {
                Moment::Before => {
                    trap.kill();
                    break;
                }
                Moment::After => doomed.store(1, Ordering::SeqCst),
            }
        }
        if to_far.write_all(&request).await.is_err() {
            break;
        }
    }
    // A caller that is gone takes its watches with it.
    drop(to_far);
    if doomed.load(Ordering::SeqCst) == 0 {
        answers.abort();
    }
}

/// Reads one whole request: its head, and as many bytes as it announces.
async fn next_request(
    from: &mut tokio::net::tcp::OwnedReadHalf,
    mut seen: Vec<u8>,
) -> Option<(Vec<u8>, Vec<u8>)> {
    let mut buffer = vec![0; 64 * 1024];
    loop {
        if let Some(end) = seen.windows(4).position(|w| w == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&seen[..end]).to_ascii_lowercase();
            assert!(!head.contains("transfer-encoding"), "a request of unknown length: {head}");
            let length = head.lines().find_map(|l| l.strip_prefix("content-length:")).map_or("0", str::trim);
            let total = end + 4 + length.parse::<usize>().expect("a length");
            if seen.len() >= total {
                let rest = seen.split_off(total);
                return Some((seen, rest));
            }
        }
        match from.read(&mut buffer).await {
            Ok(n @ 1..) => seen.extend_from_slice(&buffer[..n]),
            _ => return None,
        }
    }
}

/// What is asked for of a process that dies at its write `at`, and of another that goes on.
struct Life<'a> {
    stage: &'a Stage,
    proxy: &'a Proxy,
    at: usize,
    moment: Moment,
}

impl Life<'_> {
    fn name(&self, what: &str) -> String {
        format!("{what}-{}-{}", self.at, if self.moment == Moment::Before { "before" } else { "after" })
    }

    /// Asks for it, and waits for its end: the operation, and whether the first process was killed.
    async fn live(&self, name: &str, arm: serde_json::Value) -> (ratchet::api::DataOperation, bool) {
        let Self { stage, proxy, at, moment } = *self;
        let trap = Arc::new(Trap { at, moment, writes: AtomicUsize::new(0), victim: AtomicU32::new(0) });
        let (kubeconfig, listening) = proxy.open(&stage.bench, Arc::clone(&trap)).await;
        let mut first = Replica::start_as(&stage.bench, &stage.ns.name, &QUICK, &kubeconfig);
        trap.victim.store(first.id(), Ordering::SeqCst);
        stage.ask(name, arm, json!({})).await;
        let killed = loop {
            if !first.alive() {
                assert!(
                    trap.writes.load(Ordering::SeqCst) >= at,
                    "it ended by itself: see {}",
                    first.log.display()
                );
                break true;
            }
            let api: kube::Api<ratchet::api::DataOperation> =
                kube::Api::namespaced(stage.admin.clone(), &stage.ns.name);
            let op = api.get(name).await.expect("readable");
            if op.status.as_ref().is_some_and(ratchet::api::DataOperationStatus::settled)
                && trap.writes.load(Ordering::SeqCst) < at
            {
                break false;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        };
        first.kill();
        let second = killed.then(|| Replica::start(&stage.bench, &stage.ns.name, &QUICK));
        let op = stage.end(name).await;
        assert_succeeded(&op);
        assert!(status_says(&op, "succeeded"));
        stage.assert_free().await;
        drop(second);
        listening.abort();
        let _ = std::fs::remove_file(kubeconfig);
        (op, killed)
    }

    /// A load; whether the process was killed before it was over.
    async fn of_a_load(&self) -> bool {
        let stage = self.stage;
        let tree = stage.tree("kill");
        tree.files(3, 1_500_000);
        let name = self.name("kill");
        let (_, killed) = self.live(&name, json!({"load": {"paths": [tree.path]}})).await;
        stage.assert_cached(&tree.path, 3).await;
        let journal = stage.journal(&name);
        let (submitted, kills) = (intents(&journal, submits), usize::from(killed));
        assert!((1..=1 + kills).contains(&submitted), "{submitted} submits, {kills} kills: {journal:#?}");
        stage.drop_cached(&[&tree]).await;
        killed
    }

    /// A mount that replaces another one: an unmount and a mount, each of them once.
    async fn of_a_mount(&self) -> bool {
        let stage = self.stage;
        let (old, new) = (stage.store("kill-old"), stage.store("kill-new"));
        old.file("old", 10);
        new.file("new", 20);
        let name = self.name("mount");
        let path = format!("/{name}");
        stage.alluxio.cli(&["fs", "mount", &path, &old.path]);
        let arm = json!({"mount": {"path": path, "uri": new.path, "readOnly": true, "replace": true}});
        let (_, killed) = self.live(&name, arm).await;
        let there = stage.mounts().await;
        let there: Vec<_> = there.iter().filter(|m| m.path == path).collect();
        assert!(matches!(there.as_slice(), [m] if m.ufs_uri == new.path && m.read_only), "{there:?}");
        let journal = stage.journal(&name);
        let kills = usize::from(killed);
        let tries = |effect: fn(&Effect) -> bool| intents(&journal, effect);
        let (gone, made) = (
            tries(|e| matches!(e, Effect::Unmount { .. })),
            tries(|e| matches!(e, Effect::Mount { .. } | Effect::UpdateMount { .. })),
        );
        assert!(
            gone >= 1 && made >= 1 && gone + made <= 2 + kills,
            "{gone} and {made}, {kills} kills: {journal:#?}"
        );
        assert_eq!(stage.sums(&path).await.folders, 0, "it is looked at");
        stage.engine.unmount(&path).await.expect("unmounted");
        killed
    }
}

fn status_says(op: &ratchet::api::DataOperation, step: &str) -> bool {
    op.status.as_ref().is_some_and(|s| s.step == step && s.intent.is_none() && s.waiting_on.is_none())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_controller_that_is_killed_at_any_of_its_writes_leaves_a_load_that_ends_as_if_it_had_not_been() {
    let Some(stage) = Stage::shared("kill").await else { return };
    let proxy = Proxy::start(&stage.bench);
    for moment in [Moment::Before, Moment::After] {
        let mut at = 1;
        while (Life { stage: &stage, proxy: &proxy, at, moment }).of_a_load().await {
            at += 1;
            assert!(at < 40, "a load takes fewer writes than that");
        }
        // Born, held, granted, checked, asked, known, submitted, loaded, verified, released, sealed twice.
        assert!(at > 12, "only {} writes were counted", at - 1);
        println!("{moment:?}: {} writes, killed at each", at - 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_controller_that_is_killed_at_any_of_its_writes_replaces_a_mount_once() {
    let Some(stage) = Stage::shared("killm").await else { return };
    let proxy = Proxy::start(&stage.bench);
    for moment in [Moment::Before, Moment::After] {
        let mut at = 1;
        while (Life { stage: &stage, proxy: &proxy, at, moment }).of_a_mount().await {
            at += 1;
            assert!(at < 40, "a mount takes fewer writes than that");
        }
        // Born, held, granted, compared, unmounted, compared, mounted, read back, released, sealed twice.
        assert!(at > 11, "only {} writes were counted", at - 1);
        println!("{moment:?}: {} writes, killed at each", at - 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_controllers_without_a_lease_do_each_of_fifty_loads_once() {
    let Some(stage) = Stage::shared("two").await else { return };
    let trees: Vec<_> = (0..50).map(|i| stage.tree(&format!("two{i}"))).collect();
    for tree in &trees {
        tree.files(2, 10_000);
    }
    let mut replicas: Vec<_> =
        ["a", "b"].iter().map(|r| Replica::start(&stage.bench, &stage.ns.name, &["--replica", r])).collect();
    for (i, tree) in trees.iter().enumerate() {
        stage.load(&format!("load-{i}"), &[&tree.path]).await;
    }
    let mut writers = BTreeSet::new();
    for (i, tree) in trees.iter().enumerate() {
        let name = format!("load-{i}");
        assert_succeeded(&stage.end(&name).await);
        stage.assert_cached(&tree.path, 2).await;
        let journal = stage.journal(&name);
        let tokens: BTreeSet<_> =
            journal.iter().filter_map(|(_, b)| b.intent.as_ref()).map(|i| i.token.0.clone()).collect();
        assert_eq!(tokens.len(), 2, "one for the metadata, one for the data: {journal:#?}");
        // Nobody died and nothing was slow, so that nobody had to take over what the other had begun.
        assert_eq!(intents(&journal, submits), 1, "{journal:#?}");
        writers.extend(journal.iter().map(|(_, b)| b.by.0.chars().next().unwrap_or(' ')));
    }
    assert_eq!(writers, BTreeSet::from(['a', 'b']), "both had a share");
    stage.assert_free().await;
    assert!(replicas.iter_mut().all(Replica::alive));
    drop(replicas);
    stage.drop_cached(&trees.iter().collect::<Vec<_>>()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_controller_that_is_told_to_end_in_the_middle_ends_in_order_and_another_goes_on() {
    let Some(mut stage) = Stage::shared("term").await else { return };
    let tree = stage.tree("term");
    tree.files(2_000, 100);
    stage.start(&QUICK);
    stage.load("long", &[&tree.path]).await;
    stage.until_job(&tree.path, |j| j.state == LoadState::Running).await;
    let status = stage.controller.take().expect("it runs").terminate();
    assert_eq!(status.code(), Some(0), "{status}");
    let left = stage.until("long", |o| o.phase().is_some()).await;
    assert_eq!(left.phase(), Some(Phase::Running), "it was in the middle");
    stage.start(&QUICK);
    assert_succeeded(&stage.end("long").await);
    stage.assert_cached(&tree.path, 2_000).await;
    assert!(intents(&stage.journal("long"), submits) <= 2);
    stage.assert_free().await;
    stage.drop_cached(&[&tree]).await;
}
