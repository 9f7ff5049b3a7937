//! What happens to many operations when the controller is killed again and again at random moments?
//!
//! Does nothing unless `RATCHET_SOAK` says for how many seconds: see README.md beside this file.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that cannot go on fails")]

#[path = "../cluster/mod.rs"]
mod cluster;
mod scale;

use cluster::Replica;
use cluster::alluxio::{Stage, Tree, assert_succeeded, intents, submits};
use kube::Api;
use kube::api::ListParams;
use ratchet::api::{DataOperation, DataOperationStatus};
use ratchet_state_machine::machine::Phase;
use serde_json::json;
use std::collections::BTreeMap;
use std::process::Command;
use std::time::{Duration, Instant};

/// Operations that are under way at the same time.
const UNDER_WAY: usize = 8;
/// Short waits of a takeover.
const QUICK: [&str; 4] = ["--send-for-ms", "500", "--engine-timeout-ms", "2000"];

#[expect(clippy::disallowed_methods, reason = "the soak lasts for real time")]
fn now() -> Instant {
    Instant::now()
}

/// A number below `n`; the sequence is that of the seed, so that a run can be tried again.
struct Dice(u64);

impl Dice {
    fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % n
    }
}

/// One operation of the soak.
struct Run {
    tree: Tree,
    files: u64,
    /// Kills before it was created.
    born: usize,
}

#[derive(Debug, Default)]
struct Figures {
    kills: usize,
    operations: usize,
    loads: usize,
    entries: usize,
    extra_submits: usize,
    most_submits: usize,
}

fn start(stage: &Stage, name: &str) -> Replica {
    Replica::start(&stage.bench, &stage.ns.name, &[QUICK.as_slice(), &["--replica", name]].concat())
}

#[tokio::test(flavor = "multi_thread")]
async fn loads_and_frees_end_well_under_random_kills() {
    let Some(seconds) = std::env::var("RATCHET_SOAK").ok().and_then(|s| s.parse::<u64>().ok()) else {
        eprintln!("skipped: RATCHET_SOAK is not set");
        return;
    };
    let seed = std::env::var("RATCHET_SOAK_SEED").ok().and_then(|s| s.parse().ok()).unwrap_or(1);
    let Some(stage) = Stage::own("soak", &[], "NoSasl").await else { return };
    let (mut dice, mut figures) = (Dice(seed + 0x9E37_79B9), Figures::default());
    let end = now() + Duration::from_secs(seconds);
    let mut running: BTreeMap<String, Run> = BTreeMap::new();
    let mut controllers = vec![start(&stage, "a"), start(&stage, "b")];
    while now() < end {
        while running.len() < UNDER_WAY {
            let name = format!("op-{}", figures.operations);
            let tree = stage.tree(&name);
            let files = 1 + dice.below(60);
            tree.files(usize::try_from(files).expect("small"), 20_000);
            stage.load(&name, &[&tree.path]).await;
            running.insert(name, Run { tree, files, born: figures.kills });
            figures.operations += 1;
            figures.loads += 1;
        }
        tokio::time::sleep(Duration::from_millis(50 + dice.below(3_000))).await;
        // One dies, or both at once.
        let victims = 1 + usize::from(dice.below(4) == 0);
        for _ in 0..victims {
            let at = usize::try_from(dice.below(2)).expect("small").min(controllers.len() - 1);
            controllers.remove(at).kill();
            figures.kills += 1;
            if controllers.is_empty() {
                break;
            }
        }
        while controllers.len() < 2 {
            controllers.push(start(&stage, &format!("r{}", figures.kills)));
        }
        collect(&stage, &mut running, &mut figures).await;
    }
    for (name, run) in std::mem::take(&mut running) {
        judge(&stage, &stage.end(&name).await, &run, &mut figures).await;
    }
    stage.assert_free().await;
    let head = cluster::sh(Command::new("git").args(["rev-parse", "--short", "HEAD"]));
    println!("{} {seconds} s, seed {seed}: {figures:?}", head.trim());
}

/// Judges what is over, and lets every other tree be freed by an operation too.
async fn collect(stage: &Stage, running: &mut BTreeMap<String, Run>, figures: &mut Figures) {
    let api: Api<DataOperation> = Api::namespaced(stage.admin.clone(), &stage.ns.name);
    let Ok(all) = api.list(&ListParams::default()).await else { return };
    for op in all.items.iter().filter(|o| o.status.as_ref().is_some_and(DataOperationStatus::settled)) {
        let name = op.metadata.name.clone().unwrap_or_default();
        let Some(run) = running.remove(&name) else { continue };
        judge(stage, op, &run, figures).await;
        if name.starts_with("op-") && run.files % 2 == 0 {
            let free = format!("free-{}", name.trim_start_matches("op-"));
            stage.ask(&free, json!({"free": {"paths": [run.tree.path]}}), json!({})).await;
            running.insert(free, Run { born: figures.kills, ..run });
            figures.operations += 1;
        } else {
            stage.drop_cached(&[&run.tree]).await;
        }
    }
}

async fn judge(stage: &Stage, op: &DataOperation, run: &Run, figures: &mut Figures) {
    let name = op.metadata.name.clone().unwrap_or_default();
    assert_eq!(op.phase(), Some(Phase::Succeeded), "{}", stage.ratchet("history", &name, &[]));
    assert_succeeded(op);
    let journal = stage.journal(&name);
    figures.entries += journal.len();
    if name.starts_with("op-") {
        stage.assert_cached(&run.tree.path, run.files).await;
        let submitted = intents(&journal, submits);
        let kills = figures.kills - run.born;
        assert!((1..=1 + kills).contains(&submitted), "{name}: {submitted} submits, {kills} kills");
        figures.extra_submits += submitted - 1;
        figures.most_submits = figures.most_submits.max(submitted);
    } else {
        assert_eq!(stage.sums(&run.tree.path).await.cached_bytes, 0, "{name}");
    }
}
