//! Workers that leave: what only they have, how to save it, how to take them out of use and let them in again.
//!
//! Alluxio's decommission drops what the master knew of a worker's blocks and moves none of them (measured on 2.9.4 and
//! 2.9.6), but the worker's process goes on answering. So a block that only such a worker has is copied from it by another
//! worker (BlockWorker.Cache, which names its source), under its own id: then the master knows of it again.

use super::client::{AlluxioError, CacheFrom, PersistenceState, Unpersisted, Worker, WorkerState};
use super::{Alluxio, outcome, signed};
use crate::engine::Call;
use futures::{StreamExt as _, TryStreamExt as _};
use ratchet_state_machine::drain::{self, At, DrainView};
use ratchet_state_machine::effect::{Outcome, Receipt};
use std::time::Duration;
use tokio::time::Instant;

/// Calls to workers at a time.
const AT_A_TIME: usize = 8;
/// Looks at what a worker does, each idle, after which it counts as idle, and the pause between two. (The shell of Alluxio
/// takes 20 looks in 20 s; here each look is repeated while it drains.)
const IDLE_LOOKS: u32 = 5;
const IDLE_PAUSE: Duration = Duration::from_millis(200);
/// So long after a listing calls are made by what it said.
const AFTER_THE_LISTING: Duration = Duration::from_secs(5);
/// Ports of a worker that the master does not list.
const RPC_PORT: u16 = 29_999;
const WEB_PORT: u16 = 30_000;

/// A block of which no worker is known to have it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Missing {
    path: String,
    /// The file may be persisted, and nobody has asked for that.
    unasked: bool,
    block: i64,
    length: i64,
}

/// What a listing says of files that are not in their store.
#[derive(Default)]
struct Listed {
    /// The master's clock when it began.
    now_ms: i64,
    view: DrainView,
    /// Those on leaving workers that may be asked for.
    to_ask: Vec<String>,
    missing: Vec<Missing>,
}

impl Listed {
    fn add(&mut self, file: Unpersisted, leaves: impl Fn(&str) -> bool) {
        let unasked = file.completed && may_be_asked(&file.state);
        let only_there = file.blocks.iter().any(|b| !b.hosts.is_empty() && b.hosts.iter().all(|h| leaves(h)));
        if only_there && file.completed {
            let oldest = if self.view.unpersisted.none() { i64::MAX } else { self.view.oldest_ms };
            self.view.oldest_ms = oldest.min(file.modified_ms);
            self.view.unpersisted.add(&file.path);
            self.view.unasked += i64::from(unasked);
            if unasked {
                self.to_ask.push(file.path.clone());
            }
        }
        for block in file.blocks.iter().filter(|b| b.hosts.is_empty() && b.length > 0) {
            let path = file.path.clone();
            self.missing.push(Missing { path, unasked, block: block.id, length: block.length });
        }
    }
}

/// Whether nobody has asked for a file in this state to be persisted. One whose blocks were lost for a moment stays LOST.
const fn may_be_asked(state: &PersistenceState) -> bool {
    matches!(state, PersistenceState::NotPersisted | PersistenceState::Lost)
}

/// Where a worker's port is: the master's list knows, where it knows the worker.
fn port(workers: &[Worker], host: &str, of: impl Fn(&Worker) -> u16, usual: u16) -> u16 {
    workers.iter().find(|w| w.host == host).map(of).filter(|p| *p > 0).unwrap_or(usual)
}

fn reach(address: &str, port: u16) -> String {
    if address.contains(':') { format!("[{address}]:{port}") } else { format!("{address}:{port}") }
}

impl Alluxio {
    pub(super) async fn drain(&self, at: &[At], files: bool) -> Result<DrainView, AlluxioError> {
        let (master, workers) = (self.client.master_info().await?, self.client.workers().await?);
        let mut view = DrainView::default();
        let busy = self.busy(at, &workers);
        if files {
            let (listed, busy) = futures::join!(self.listed(at, master.now_ms), busy);
            let listed = listed?;
            view = DrainView { busy, ..listed.view };
            let mut last = "";
            let sources = self.sources(at, &workers, &listed.missing).await;
            for (missing, source) in listed.missing.iter().zip(&sources) {
                match source {
                    Source::Nobody => continue,
                    Source::At(_) => view.rescuable += 1,
                    Source::Silent(why) => drop(view.silent.get_or_insert_with(|| why.clone())),
                }
                if last != missing.path {
                    view.stranded.add(&missing.path);
                }
                last = &missing.path;
            }
        } else {
            view.busy = busy.await;
        }
        view.master_up_ms = master.now_ms.saturating_sub(master.start_time_ms);
        Ok(view)
    }

    /// `now_ms`: the master's clock before.
    async fn listed(&self, at: &[At], now_ms: i64) -> Result<Listed, AlluxioError> {
        let leaves = |host: &str| at.iter().any(|w| w.leaves && w.host == host);
        let mut listed = Listed { now_ms, ..Listed::default() };
        self.client.unpersisted(|file| listed.add(file, leaves)).await?;
        Ok(listed)
    }

    /// Which of the leaving workers has each block.
    async fn sources(&self, at: &[At], workers: &[Worker], missing: &[Missing]) -> Vec<Source> {
        let asks: Vec<_> = missing.iter().map(|m| self.source(at, workers, m.block)).collect();
        futures::stream::iter(asks).buffered(AT_A_TIME).collect().await
    }

    async fn source(&self, at: &[At], workers: &[Worker], block: i64) -> Source {
        let mut silent = None;
        for worker in at.iter().filter(|w| w.leaves) {
            let address = reach(&worker.address, port(workers, &worker.host, |w| w.rpc_port, RPC_PORT));
            match self.client.has_block(&address, block).await {
                Ok(true) => return Source::At(worker.host.clone()),
                Ok(false) => {}
                Err(error) => {
                    tracing::debug!(worker = worker.host, block, %error, "whether a worker has a block is not known");
                    silent = Some(format!("{}: {error}", worker.host));
                }
            }
        }
        silent.map_or(Source::Nobody, Source::Silent)
    }

    /// Calls that the leaving workers are busy with. One that does not say serves nobody, or cannot be asked: what would be
    /// lost with it is another question.
    async fn busy(&self, at: &[At], workers: &[Worker]) -> i64 {
        for look in 0..IDLE_LOOKS {
            if look > 0 {
                tokio::time::sleep(IDLE_PAUSE).await;
            }
            let web = |w: &At| port(workers, &w.host, |w| w.web_port, WEB_PORT);
            let leaving = at.iter().filter(|w| w.leaves);
            let asks: Vec<_> = leaving.map(|w| self.client.worker_operations(&w.address, web(w))).collect();
            let all: Vec<_> = futures::stream::iter(asks).buffered(AT_A_TIME).collect().await;
            let busy: i64 = all.iter().flatten().map(|o| o.operation_count + o.rpc_queue_length).sum();
            let silent = all.iter().all(Result::is_err);
            if busy > 0 || silent {
                return busy;
            }
        }
        0
    }

    /// `None`: the intent's window was over before the first changing call.
    pub(super) async fn on_workers(
        &self,
        what: drain::Call,
        call: &Call<'_>,
    ) -> Result<Option<Receipt>, AlluxioError> {
        let sent = match what {
            drain::Call::Persist => {
                let now_ms = self.client.master_info().await?.now_ms;
                let listed = self.listed(call.workers, now_ms).await?;
                let asked = self.persist(&listed.to_ask, longer(call)).await?;
                let upto_ms = (asked == listed.to_ask.len()).then_some(listed.now_ms);
                let sent = asked > 0 || upto_ms.is_some();
                return Ok(sent.then_some(Receipt { upto_ms, ..Receipt::default() }));
            }
            drain::Call::Decommission => self.decommission(call).await?,
            drain::Call::Rescue => self.rescue(call).await?,
            drain::Call::Admit => self.admit(call).await?,
        };
        Ok(sent.then(Receipt::default))
    }

    /// Asks for as many as the window lets; how many. What is left shows at the next look.
    async fn persist(&self, paths: &[String], send_before: Instant) -> Result<usize, AlluxioError> {
        for (asked, path) in paths.iter().enumerate() {
            if Instant::now() > send_before {
                return Ok(asked);
            }
            // One that is in its store by now would count as unpersisted again (2.9.6).
            match self.client.status_cached(path).await {
                Ok(now) if may_be_asked(&now.persistence_state) => {}
                Ok(_) | Err(AlluxioError::NotFound { .. }) => continue,
                Err(error) => return Err(error),
            }
            match self.client.persist(path).await {
                // It was removed, or it is being written again.
                Ok(()) | Err(AlluxioError::NotFound { .. }) => {}
                Err(error) => match outcome(&error) {
                    Outcome::Refused { .. } => tracing::debug!(path, %error, "a file is not persisted"),
                    Outcome::Done(_) | Outcome::Unknown { .. } => return Err(error),
                },
            }
        }
        Ok(paths.len())
    }

    async fn decommission(&self, call: &Call<'_>) -> Result<bool, AlluxioError> {
        let workers = self.client.workers().await?;
        let leaves = |w: &&Worker| call.workers.iter().any(|a| a.leaves && a.host == w.host);
        let in_use = |w: &&Worker| !matches!(w.state, WorkerState::Disabled | WorkerState::Decommissioned);
        for worker in workers.iter().filter(|w| leaves(w) && in_use(w)) {
            if Instant::now() > call.send_before {
                return Ok(false);
            }
            match self.client.decommission_worker(&worker.host, worker.web_port).await {
                // The next look tells whether it is known again.
                Ok(()) | Err(AlluxioError::NotFound { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }

    async fn admit(&self, call: &Call<'_>) -> Result<bool, AlluxioError> {
        let workers = self.client.workers().await?;
        for worker in call.workers.iter().filter(|w| w.leaves) {
            if Instant::now() > call.send_before {
                return Ok(false);
            }
            let web = port(&workers, &worker.host, |w| w.web_port, WEB_PORT);
            self.client.admit_worker(&worker.host, web).await?;
        }
        Ok(true)
    }

    async fn rescue(&self, call: &Call<'_>) -> Result<bool, AlluxioError> {
        let (at, workers) = (call.workers, self.client.workers().await?);
        let now_ms = self.client.master_info().await?.now_ms;
        let listed = self.listed(at, now_ms).await?;
        let sources = self.sources(at, &workers, &listed.missing).await;
        let stays =
            |w: &&Worker| w.state == WorkerState::Active && !at.iter().any(|a| a.leaves && a.host == w.host);
        let mut targets: Vec<&Worker> = workers.iter().filter(stays).collect();
        targets.sort_by_key(|w| w.used_bytes - w.capacity_bytes);
        // One that could not take a block is not asked first again.
        let turns = usize::try_from(call.fence.attempt).unwrap_or(0);
        let first = turns.checked_rem(targets.len()).unwrap_or(0);
        targets.rotate_left(first);
        let found = listed.missing.iter().zip(&sources).filter_map(|(m, s)| match s {
            Source::At(host) => Some((m, host)),
            Source::Nobody | Source::Silent(_) => None,
        });
        let found: Vec<(&Missing, &String)> = found.collect();
        if targets.is_empty() && !found.is_empty() {
            return Err(AlluxioError::NotReady { reason: "no worker that stays serves".into() });
        }
        let send_before = longer(call);
        let mut copies = Vec::new();
        for ((missing, host), target) in found.iter().zip(targets.iter().cycle()) {
            let to = at.iter().find(|a| a.host == target.host).map_or(&target.host, |a| &a.address);
            copies.push(self.copy(
                Copy {
                    to: reach(to, target.rpc_port),
                    block: missing.block,
                    length: missing.length,
                    host: (*host).clone(),
                    port: port(&workers, host, |w| w.rpc_port, RPC_PORT),
                },
                send_before,
            ));
        }
        let copies = futures::stream::iter(copies).buffered(AT_A_TIME);
        let sent: Vec<bool> = copies.try_collect().await?;
        tracing::info!(blocks = signed(sent.len() as u64), "copied from workers that leave");
        let mut ask: Vec<String> =
            found.iter().filter(|(m, _)| m.unasked).map(|(m, _)| m.path.clone()).collect();
        ask.dedup();
        self.persist(&ask, longer(call)).await?;
        Ok(sent.is_empty() || sent.contains(&true))
    }
}

impl Alluxio {
    /// Whether there was time for it.
    async fn copy(&self, copy: Copy, send_before: Instant) -> Result<bool, AlluxioError> {
        if Instant::now() > send_before {
            return Ok(false);
        }
        let Copy { to, block, length, host, port } = copy;
        let from = CacheFrom { to: &to, block, length, host: &host, port };
        self.client.cache_from(from).await.map(|()| true)
    }
}

/// A copy from one worker to another.
struct Copy {
    to: String,
    block: i64,
    length: i64,
    host: String,
    port: u16,
}

/// Until when calls are made that are harmless whenever they land: the listing that says what to do may take longer than
/// the intent's window.
fn longer(call: &Call<'_>) -> Instant {
    call.send_before.max(Instant::now() + AFTER_THE_LISTING)
}

/// Which of the leaving workers has a block.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Source {
    /// None of them: it was lost before, or elsewhere.
    Nobody,
    /// This one.
    At(String),
    /// One could not be asked, and why.
    Silent(String),
}
