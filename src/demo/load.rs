//! The cluster, the load, and two killed controllers: one in the worst moment, one half-way.

use super::look::{self, PATIENCE};
use super::stage::{CALL_MS, CLUSTER, SEND_FOR_MS, SETTLED_MS};
use super::{Demo, DemoError, error::claim};
use crate::api::{CacheCluster, DataLoad, DataOperation, Request as _};
use crate::clock::{Clock as _, SystemClock, ms_between};
use indicatif::HumanBytes;
use kube::Api;
use ratchet_simulator::cache::Applied;
use ratchet_state_machine::effect::{Answer, Effect, JobView, Query};
use ratchet_state_machine::machine::Phase;
use serde_json::json;
use std::time::Duration;

/// Seconds that the load shall take.
const LOAD_SECONDS: u64 = 8;
const WORKERS: usize = 3;
const WARM: &str = "warm";

impl Demo {
    /// The CacheCluster, ready.
    pub(super) async fn cluster(&mut self) -> Result<(), DemoError> {
        self.say.step("A cache", "What Ratchet runs is declared; what it saw of it stands in the status.")?;
        self.say.line("To look at all this yourself, in another terminal while it runs:")?;
        self.say.command(format_args!("export KUBECONFIG={}", self.stage.kubeconfig().display()))?;
        self.stage.start_controller().await?;
        let spec = json!({"engine": "Local", "local": {
            "workers": WORKERS,
            "workerCapacityBytes": self.tree.bytes + (64 << 20),
            "bytesPerSecond": (self.tree.bytes / LOAD_SECONDS).max(1),
        }});
        self.apply::<CacheCluster>("CacheCluster", CLUSTER, spec).await?;
        let api: Api<CacheCluster> = Api::namespaced(self.stage.client.clone(), "default");
        let status = look::until("that the CacheCluster is Ready", || async {
            let status = api.get(CLUSTER).await?.status;
            Ok(status.filter(|s| s.phase == "Ready"))
        })
        .await?;
        self.show("cacheclusters", &[CLUSTER]).await?;
        claim(status.members.len() == WORKERS, || format!("the cache has {} workers", status.members.len()))?;
        Ok(self.say.holds(format_args!("Ready, with {WORKERS} workers"))?)
    }

    /// The DataLoad, up to the moment in which the cache has the call and the controller has no reply. Gives back the
    /// name of its operation.
    pub(super) async fn begin_load(&mut self) -> Result<String, DemoError> {
        self.say.step(
            "A load",
            "You say what; the controller makes an operation of it, a state machine in a status.",
        )?;
        self.stage.line.hold_next_reply();
        let spec = json!({"target": CLUSTER, "paths": [self.tree.path]});
        let name = self.apply::<DataLoad>("DataLoad", WARM, spec).await?.operation_name();
        tokio::time::timeout(PATIENCE, self.stage.line.landed()).await.map_err(|_| DemoError::Slow {
            what: "that the cache is asked to load".into(),
            seconds: PATIENCE.as_secs(),
        })?;
        self.say.begin(self.tree.bytes);
        let op = self.operation_that(&name, "has an intent", |o| intent(o).is_some()).await?;
        self.show("dataoperations", &[&name]).await?;
        let Some(intent) = intent(&op) else { return Err(DemoError::NotSo("there is no intent".into())) };
        self.say.holds(format_args!(
            "before the call, this stood in the status: will {}, by {}, fence {}, token {:.8}..",
            intent.effect.name(),
            intent.writer,
            intent.fence,
            intent.token.0
        ))?;
        self.said = line_of(&op);
        Ok(name)
    }

    /// The cache works, the reply is on its way, and the only one who waits for it dies.
    pub(super) async fn kill_in_the_worst_moment(&mut self, name: &str) -> Result<(), DemoError> {
        self.say.step(
            "Killed in the worst moment",
            "The cache is at work and nobody knows: who starts again blindly loads twice, who forgets never ends.",
        )?;
        self.say.line(
            "(The moment is made: the demo holds the cache's reply back until the controller is dead.)",
        )?;
        self.say.line("(It runs in this process: its tasks are dropped where they stand, as kill -9 would, with nothing")?;
        self.say.line(
            "drained or written. The API server and the cache live on. tests/try.sh does it with SIGKILL.)",
        )?;
        self.kill().await?;
        self.untouched(name).await?;
        let started = SystemClock.instant();
        self.successor().await?;
        self.say.line(format_args!(
            "It may not act at once: a call of the dead one could still land. {SEND_FOR_MS} ms to send it,\n   \
             {} ms until it times out, {} ms until the cache has applied it: {SETTLED_MS} ms in all.",
            CALL_MS.0, CALL_MS.1
        ))?;
        let settled = |o: &DataOperation, _: &JobView| intent(o).is_none();
        let op = self.follow(name, "that the new controller takes over", settled).await?;
        let waited = ms_between(started, SystemClock.instant());
        claim(waited >= SETTLED_MS, || format!("the takeover came after {waited} ms"))?;
        let entry = op.status.as_ref().and_then(|s| s.tail.last());
        let body = entry.and_then(|e| e.open().ok()).ok_or_else(|| DemoError::NotSo("no entry".into()))?;
        claim(Some(&body.by.0) == self.stage.writers.last(), || format!("{} took over", body.by))?;
        let submits = self.submits()?;
        claim(submits == 1, || format!("the cache was asked to load {submits} times"))?;
        Ok(self.say.holds(format_args!(
            "taken over after {waited} ms: {}. Nothing was asked for again",
            body.because
        ))?)
    }

    /// Nothing is unsettled any more, so nothing has to be waited for.
    pub(super) async fn kill_half_way(&mut self, name: &str) -> Result<(), DemoError> {
        self.say.step(
            "Killed half-way",
            "A controller is only needed where the state changes. Nothing else stops.",
        )?;
        let total = self.tree.bytes;
        let half = move |_: &DataOperation, job: &JobView| bytes(job).saturating_mul(2) >= total;
        let op = self.follow(name, "that the load is half-way", half).await?;
        claim(op.phase() == Some(Phase::Running), || format!("half-way, the load was {:?}", op.phase()))?;
        self.kill().await?;
        self.untouched(name).await?;
        self.successor().await?;
        self.say.line("No call is unsettled this time, so it may go on at once.")?;
        let done = |o: &DataOperation, _: &JobView| o.status.as_ref().is_some_and(|s| s.settled());
        self.follow(name, "that the load has ended", done).await?;
        self.say.end();
        self.show("dataloads", &[WARM]).await
    }

    /// What the cache and the files say of it.
    pub(super) async fn loaded_once(&mut self, name: &str) -> Result<(), DemoError> {
        let phase = self.operation(name).await?.and_then(|o| o.phase());
        claim(phase == Some(Phase::Succeeded), || format!("the load ended as {phase:?}"))?;
        let submits = self.submits()?;
        claim(submits == 1, || format!("the cache was asked to load {submits} times"))?;
        let applied = self.stage.cache()?.applied();
        let twice = applied.iter().filter(|a| applied.iter().filter(|b| a.token == b.token).count() > 1);
        claim(twice.count() == 0, || "an effect was applied twice".into())?;
        self.say.holds(format_args!(
            "the cache was asked to load once: {} effects with {} tokens, three controllers",
            applied.len(),
            applied.len()
        ))?;
        let (reads, files) = (self.stage.files.reads(), self.tree.files);
        let once = reads.len() as u64 == files && reads.values().all(|&n| n == 1);
        claim(once, || format!("{files} files, {} reads", reads.values().sum::<u64>()))?;
        let loaded = bytes(&self.job()?);
        claim(loaded == self.tree.bytes, || format!("the job loaded {loaded} bytes"))?;
        self.say.holds(format_args!("nothing was loaded twice: {files} files, each read once"))?;
        let cache = self.stage.cache()?;
        let checked =
            tokio::task::spawn_blocking(move || (cache.cached_files().len() as u64, cache.verify()));
        let (cached, wrong) = checked.await.map_err(|e| DemoError::NotSo(e.to_string()))?;
        claim(cached == files, || format!("{cached} of {files} files are cached"))?;
        claim(wrong.is_empty(), || wrong.join("; "))?;
        Ok(self.say.holds(format_args!("all {cached} copies have the bytes of their files"))?)
    }

    /// How often the cache was asked to load the tree.
    pub(super) fn submits(&self) -> Result<usize, DemoError> {
        let submit = |a: &&Applied| matches!(a.effect, Effect::SubmitLoad { .. }) && a.path == self.tree.path;
        Ok(self.stage.cache()?.applied().iter().filter(submit).count())
    }

    pub(super) async fn kill(&mut self) -> Result<(), DemoError> {
        let dead = self.stage.kill_controller().await;
        self.kills += 1;
        Ok(self.say.blow(format_args!("killed: {dead}"))?)
    }

    pub(super) async fn successor(&mut self) -> Result<(), DemoError> {
        self.stage.start_controller().await?;
        let name = self.stage.writers.last().cloned().unwrap_or_default();
        Ok(self
            .say
            .line(format_args!("started: {name}, which knows nothing but what the API server tells"))?)
    }

    fn job(&self) -> Result<JobView, DemoError> {
        let query = Query::LoadJob { path: self.tree.path.clone() };
        match self.stage.cache()?.inspect(&query) {
            Ok(Answer::Job(job)) => Ok(job),
            Ok(other) => Err(DemoError::NotSo(format!("the cache answers {other:?}"))),
            Err(trouble) => Err(DemoError::NotSo(format!("the cache does not answer: {}", trouble.message))),
        }
    }

    /// Without a controller: the cache goes on, and the object stays as it was.
    async fn untouched(&mut self, name: &str) -> Result<(), DemoError> {
        // What the dead one had sent already may still arrive, as it may in a cluster.
        self.copied(self.tree.bytes / 100).await?;
        let before = serde_json::to_value(self.operation(name).await?).unwrap_or_default();
        let more = self.copied(self.tree.bytes / 20).await?;
        let after = serde_json::to_value(self.operation(name).await?).unwrap_or_default();
        claim(before == after && !after.is_null(), || "the object changed without a controller".into())?;
        Ok(self.say.holds(format_args!(
            "nobody is there: the cache copied {} more, the object is as it was (resourceVersion {})",
            HumanBytes(more),
            after["metadata"]["resourceVersion"].as_str().unwrap_or_default()
        ))?)
    }

    /// Waits until the cache has copied so many bytes more (or all); gives back how many it were.
    async fn copied(&mut self, more: u64) -> Result<u64, DemoError> {
        let (from, total) = (bytes(&self.job()?), self.tree.bytes);
        let enough = total.min(from.saturating_add(more));
        let working = async {
            loop {
                let now = bytes(&self.job()?);
                self.say.moved(now, total)?;
                if now >= enough {
                    return Ok::<_, DemoError>(now - from);
                }
                tokio::time::sleep(Duration::from_millis(40)).await;
            }
        };
        let slow = |_| DemoError::Slow { what: "that the cache goes on".into(), seconds: PATIENCE.as_secs() };
        tokio::time::timeout(PATIENCE, working).await.map_err(slow)?
    }

    /// Moves the bar and tells each new step until `done`.
    async fn follow(
        &mut self,
        name: &str,
        what: &str,
        done: impl Fn(&DataOperation, &JobView) -> bool,
    ) -> Result<DataOperation, DemoError> {
        let slow = |_| DemoError::Slow { what: what.into(), seconds: PATIENCE.as_secs() };
        let watching = async {
            loop {
                let job = self.job()?;
                self.say.moved(bytes(&job), self.tree.bytes)?;
                if let Some(op) = self.operation(name).await? {
                    let line = line_of(&op);
                    if line != self.said {
                        self.say.line(&line)?;
                        self.said = line;
                    }
                    if done(&op, &job) {
                        return Ok::<_, DemoError>(op);
                    }
                }
                tokio::time::sleep(Duration::from_millis(40)).await;
            }
        };
        tokio::time::timeout(PATIENCE, watching).await.map_err(slow)?
    }
}

fn intent(op: &DataOperation) -> Option<&ratchet_state_machine::effect::Intent> {
    op.status.as_ref()?.intent.as_ref()
}

fn bytes(job: &JobView) -> u64 {
    u64::try_from(job.loaded_bytes).unwrap_or(0)
}

/// Phase, step and what is waited for.
fn line_of(op: &DataOperation) -> String {
    let Some(status) = &op.status else { return "created".into() };
    let waiting = status.waiting_on.as_ref();
    let why = waiting.map(|w| format!(", {}: {}", w.reason, w.message)).unwrap_or_default();
    format!("{} {}{why}", status.phase, status.step)
}
