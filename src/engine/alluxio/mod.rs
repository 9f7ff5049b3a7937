//! Alluxio 2.9 as an engine, over its own gRPC.
//!
//! Every effect is of class (d): Alluxio keeps neither a fence nor a token. So each is a set-to-value whose repeat
//! is harmless, done as read, compare, call, read. A job belongs to a path, not to an id.

mod backup;
pub mod client;
mod drain;
mod lead;
mod mount;

use super::{Call, Engine, EngineInfo, MasterAt, RegistryError};
use crate::api::cluster::{Attached, Member, SecurityMode};
use client::{
    AlluxioClient, AlluxioError, ClientOptions, Code, LoadOptions, LoadState, MasterRole, Security, SyncId,
    SyncState, WorkerState,
};
use futures::FutureExt as _;
use futures::future::BoxFuture;
use mount::Unchanged;
use ratchet_state_machine::effect::{
    Answer, Effect, EffectClass, EffectTraits, Health, JobState, JobView, MetadataView, Outcome, Query,
    Receipt, TreeView, Trouble, TroubleKind,
};
use ratchet_state_machine::spec::ArmSpec;
use std::time::Duration;
use tokio::time::Instant;

/// Of so many failed files at most one is asked for by name: the master names them all or none.
const FEW_FAILED: i64 = 100;

/// How to talk to an Alluxio.
#[derive(Debug, Clone)]
pub struct Options {
    /// Hard limit of one call.
    pub call_timeout: Duration,
    /// Hard limit of making a connection.
    pub connect_timeout: Duration,
    /// Hard limit of listing a tree.
    pub listing_timeout: Duration,
    /// Longest time after which a call that the master received may still be applied.
    pub longest_delay: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            call_timeout: Duration::from_secs(10),
            connect_timeout: Duration::from_secs(2),
            listing_timeout: Duration::from_secs(600),
            longest_delay: Duration::from_secs(3),
        }
    }
}

/// An Alluxio 2.9.
pub struct Alluxio {
    client: AlluxioClient,
    options: Options,
}

impl Alluxio {
    /// An adapter to the cache at these addresses. Connects when it is first asked.
    ///
    /// # Errors
    /// [`RegistryError`] when an address cannot be used.
    pub fn connect(attached: &Attached, options: &Options) -> Result<Self, RegistryError> {
        let security = match attached.security.mode {
            SecurityMode::NoSasl => Security::NoSasl,
            SecurityMode::Simple => Security::Simple { user: attached.security.user.clone() },
        };
        let client = AlluxioClient::new(ClientOptions {
            call_timeout: options.call_timeout,
            connect_timeout: options.connect_timeout,
            listing_timeout: options.listing_timeout,
            ..ClientOptions::new(attached.masters.clone(), security)
        })
        .map_err(|e| RegistryError(e.to_string()))?;
        Ok(Self { client, options: options.clone() })
    }

    async fn info(&self) -> Result<EngineInfo, AlluxioError> {
        let master = self.client.master_info().await?;
        // A master in safe mode takes work without knowing its workers (measured on 2.9.6).
        if master.safe_mode {
            return Err(AlluxioError::NotReady { reason: "the master is in safe mode".into() });
        }
        let workers = self.client.workers().await?;
        // Nothing depends on it.
        let hit_percent = self.client.hit_percent().await.unwrap_or_else(|error| {
            tracing::debug!(%error, "how often the cache had what was read is not known");
            None
        });
        let live = |w: &&client::Worker| w.state == WorkerState::Active;
        Ok(EngineInfo {
            hit_percent,
            identity: master.cluster_id.clone(),
            version: master.version.clone(),
            masters_ready: master.masters.len().max(1),
            masters: master.masters.len().max(1),
            masters_at: masters_at(&master),
            workers_live: workers.iter().filter(live).count(),
            capacity_bytes: workers.iter().filter(live).map(|w| w.capacity_bytes).sum(),
            used_bytes: workers.iter().filter(live).map(|w| w.used_bytes).sum(),
            members: workers.iter().map(member).collect(),
        })
    }

    async fn health(&self) -> Result<Answer, AlluxioError> {
        let info = self.info().await?;
        Ok(Answer::Health(Health {
            live_workers: i64::try_from(info.workers_live).unwrap_or(i64::MAX),
            capacity_bytes: info.capacity_bytes,
            load_replicas: false,
        }))
    }

    async fn metadata(
        &self,
        path: &str,
        task: Option<i64>,
        then: Option<&str>,
    ) -> Result<Answer, AlluxioError> {
        if let Some(task) = task {
            match self.client.metadata_sync_progress(SyncId(task)).await {
                Ok(seen) if !seen.is_of(path) => return Ok(Answer::Metadata(MetadataView::Forgotten, None)),
                Ok(seen) => match seen.state {
                    SyncState::Running => {
                        return Ok(Answer::Metadata(MetadataView::Running { done: seen.ops }, None));
                    }
                    SyncState::Succeeded => {}
                    SyncState::Failed | SyncState::Canceled => {
                        return Ok(Answer::Metadata(MetadataView::Failed { message: seen.message }, None));
                    }
                },
                Err(AlluxioError::NotFound { .. }) => {
                    return Ok(Answer::Metadata(MetadataView::Forgotten, None));
                }
                Err(error) => return Err(error),
            }
        }
        // A sync of a path that does not exist succeeds too: ask for the path itself.
        match self.client.status(path).await {
            Ok(_) => {}
            Err(AlluxioError::NotFound { .. }) => return Ok(Answer::Metadata(MetadataView::Missing, None)),
            Err(error) => return Err(error),
        }
        let tree = self.tree(&[path.to_owned()]).await?;
        let job = match then {
            Some(path) => Some(self.job(path).await?),
            None => None,
        };
        Ok(Answer::Metadata(MetadataView::Loaded(tree), job))
    }

    async fn tree(&self, paths: &[String]) -> Result<TreeView, AlluxioError> {
        let mut all = TreeView::default();
        for path in paths {
            let Some(t) = self.branch(path).await? else {
                return Ok(TreeView { missing: Some(path.clone()), ..all });
            };
            all.files = all.files.saturating_add(signed(t.files));
            all.bytes = all.bytes.saturating_add(signed(t.bytes));
            all.cached_bytes = all.cached_bytes.saturating_add(signed(t.cached_bytes));
        }
        Ok(all)
    }

    /// What the cache knows below a path; `None` when the path is not in the under-storage either. A path that was
    /// never looked at is looked at once, without what is below it: nothing of that is cached.
    async fn branch(&self, path: &str) -> Result<Option<client::TreeSummary>, AlluxioError> {
        match self.client.summarize(path).await {
            Err(AlluxioError::NotFound { .. }) => {}
            known => return known.map(Some),
        }
        match self.client.status(path).await {
            Ok(_) => self.client.summarize(path).await.map(Some),
            Err(AlluxioError::NotFound { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn job(&self, path: &str) -> Result<JobView, AlluxioError> {
        let none = JobView {
            state: JobState::Absent,
            total_bytes: None,
            loaded_bytes: 0,
            files: 0,
            failed_files: 0,
            failed_example: None,
        };
        let mut seen = match self.client.load_progress(path).await {
            Ok(seen) => seen,
            Err(AlluxioError::NotFound { .. }) => return Ok(none),
            Err(error) => return Err(error),
        };
        if seen.state == LoadState::Succeeded && (1..=FEW_FAILED).contains(&seen.failed_files) {
            match self.client.load_failures(path).await {
                Ok(named) => seen = named,
                Err(error) => tracing::debug!(path, %error, "the files that failed stay without a name"),
            }
        }
        let state = match seen.state {
            LoadState::Running | LoadState::Verifying => JobState::Running,
            LoadState::Stopped => JobState::Stopped,
            LoadState::Succeeded => JobState::Succeeded,
            LoadState::Failed => {
                let failure = seen.failure.clone();
                let missing = failure.as_ref().is_some_and(|f| f.code == "NOT_FOUND");
                JobState::Failed { missing, message: failure.map(|f| f.message).unwrap_or_default() }
            }
        };
        Ok(JobView {
            state,
            total_bytes: seen.total_bytes,
            loaded_bytes: seen.loaded_bytes,
            files: seen.processed_files,
            failed_files: seen.failed_files,
            failed_example: seen.failed_example,
        })
    }

    async fn load_metadata(&self, path: &str) -> Result<Receipt, AlluxioError> {
        match self.client.start_metadata_sync(path).await {
            Ok(SyncId(task)) => Ok(Receipt { task: Some(task), ..Receipt::default() }),
            // Masters before 2.9.4 have no sync of their own: list the tree with metadata loading.
            Err(AlluxioError::Unsupported { .. }) => {
                self.client.load_metadata_by_listing(path).await.map(|()| Receipt::default())
            }
            Err(error) => Err(error),
        }
    }

    /// Read, compare, call, read: a job that runs already is what was wanted.
    async fn submit(&self, path: &str, call: &Call<'_>) -> Result<Option<Receipt>, AlluxioError> {
        let attached = Receipt { attached: true, ..Receipt::default() };
        if self.job(path).await?.state == JobState::Running {
            return Ok(Some(attached));
        }
        let ArmSpec::Load(load) = &call.spec.operation else {
            return Err(AlluxioError::Invalid { detail: "only a load submits a load".into() });
        };
        let options = LoadOptions {
            bandwidth: load.bandwidth_bytes_per_second,
            verify: load.verify,
            partial_listing: load.partial_listing,
        };
        if Instant::now() > call.send_before {
            return Ok(None);
        }
        let submitted = self.client.submit_load(path, options).await?;
        Ok(Some(match submitted.job_id {
            Some(job) => Receipt { job: Some(job), ..Receipt::default() },
            None => attached,
        }))
    }

    async fn cancel_metadata(&self, path: &str, task: SyncId) -> Result<Receipt, AlluxioError> {
        let cancelled = match self.client.metadata_sync_progress(task).await {
            // After a restart of the master the number is another's.
            Ok(seen) if !seen.is_of(path) => Ok(()),
            Ok(_) => self.client.cancel_metadata_sync(task).await,
            Err(error) => Err(error),
        };
        match cancelled {
            // A master that does not know the task does not run it.
            Ok(()) | Err(AlluxioError::NotFound { .. }) => Ok(Receipt::default()),
            Err(error) => Err(error),
        }
    }

    /// `None`: the intent's window was over before the changing call, and it was not made.
    async fn act(&self, call: &Call<'_>, path: &str) -> Result<Option<Receipt>, AlluxioError> {
        if Instant::now() > call.send_before {
            return Ok(None);
        }
        let receipt = match call.effect {
            Effect::SubmitLoad { .. } => return self.submit(path, call).await,
            Effect::LoadMetadata { .. } => self.load_metadata(path).await?,
            Effect::StopLoad { .. } => self.client.stop_load(path).await.map(|_| Receipt::default())?,
            // Late, it would cancel a listing that nobody waits for any more.
            Effect::CancelMetadata { task, .. } => self.cancel_metadata(path, SyncId(*task)).await?,
            Effect::Free { .. } => self.client.free(path, true).await.map(|()| Receipt::default())?,
            Effect::Mount { .. }
            | Effect::UpdateMount { .. }
            | Effect::Unmount { .. }
            | Effect::Backup { .. }
            | Effect::PruneBackups { .. } => {
                return Err(AlluxioError::Invalid {
                    detail: "mounts and backups go ways of their own".into(),
                });
            }
            Effect::AddWorkers { .. }
            | Effect::RemoveWorkers { .. }
            | Effect::MarkWorkers { .. }
            | Effect::ReplaceWorker { .. }
            | Effect::SetRelease { .. }
            | Effect::ReplaceMember { .. }
            | Effect::OnWorkers { .. }
            | Effect::TransferLeadership { .. }
            | Effect::ResetPriorities {}
            | Effect::FenceMembers {} => {
                return Err(AlluxioError::Invalid { detail: "members are not changed by the engine".into() });
            }
        };
        Ok(Some(receipt))
    }
}

fn signed(n: u64) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

/// The engine's own words.
fn state_name(state: &WorkerState) -> String {
    match state {
        WorkerState::Active => "ACTIVE".into(),
        WorkerState::Lost => "LOST".into(),
        WorkerState::Decommissioned => "Decommissioned".into(),
        WorkerState::Disabled => "Disabled".into(),
        WorkerState::Other(word) => word.chars().take(32).collect(),
    }
}

/// The masters by name. The primary is the one that answers: it knows its own release also where it lists none.
fn masters_at(info: &client::MasterInfo) -> Vec<MasterAt> {
    let one = |m: &client::MasterMember| {
        let primary = m.role == MasterRole::Primary || info.masters.len() == 1;
        let own = primary && m.version.is_empty();
        let version = if own { info.version.clone() } else { m.version.clone() };
        MasterAt { host: m.host.clone(), version, primary }
    };
    info.masters.iter().map(one).collect()
}

fn member(w: &client::Worker) -> Member {
    Member {
        name: format!("{}:{}", w.host, w.rpc_port),
        state: state_name(&w.state),
        version: w.version.clone(),
        capacity_bytes: w.capacity_bytes,
        used_bytes: w.used_bytes,
    }
}

fn trouble(error: &AlluxioError) -> Trouble {
    let kind = match error {
        AlluxioError::Unreachable { .. } => TroubleKind::Unreachable,
        AlluxioError::NotReady { .. } => TroubleKind::NotReady,
        AlluxioError::Refused { .. } | AlluxioError::Invalid { .. } => TroubleKind::Refused,
        AlluxioError::NotFound { .. } => TroubleKind::NotFound,
        AlluxioError::Unsupported { .. } => TroubleKind::Unsupported,
        AlluxioError::Unknown { .. } => TroubleKind::Unknown,
    };
    Trouble { kind, message: ratchet_state_machine::lifecycle::cut(&error.to_string(), 300) }
}

/// What a failed call means for the effect: refused, or nobody knows.
fn outcome(error: &AlluxioError) -> Outcome {
    let t = trouble(error);
    let retryable = match error {
        AlluxioError::Unknown { .. } => return Outcome::Unknown { detail: t.message },
        AlluxioError::Refused { code, .. } => *code == Code::ResourceExhausted,
        // Nothing was sent, or the reply proves that nothing was done.
        AlluxioError::Unreachable { .. } | AlluxioError::NotReady { .. } => true,
        AlluxioError::NotFound { .. } | AlluxioError::Unsupported { .. } | AlluxioError::Invalid { .. } => {
            false
        }
    };
    Outcome::Refused { reason: t.kind.reason().into(), message: t.message, retryable }
}

/// What became of a change that is compared first.
fn changed(done: Result<Receipt, Unchanged>) -> Outcome {
    match done {
        Ok(receipt) => Outcome::Done(receipt),
        Err(Unchanged::Engine(error)) => outcome(&error),
        Err(Unchanged::Refused(refused)) => refused,
    }
}

impl Engine for Alluxio {
    fn probe(&self) -> BoxFuture<'_, Result<EngineInfo, Trouble>> {
        async move { self.info().await.map_err(|e| trouble(&e)) }.boxed()
    }

    fn inspect<'a>(&'a self, query: &'a Query) -> BoxFuture<'a, Result<Answer, Trouble>> {
        async move {
            let answer = match query {
                Query::Health => self.health().await,
                Query::Metadata { path, task, then } => self.metadata(path, *task, then.as_deref()).await,
                Query::LoadJob { path } => self.job(path).await.map(Answer::Job),
                Query::Tree { paths } => self.tree(paths).await.map(Answer::Tree),
                Query::Mounts { count, .. } => self.table(count.as_deref()).await.map(Answer::Mounts),
                Query::Backups { path, folder, id, keep } => {
                    self.backups(path, folder.as_deref(), id.as_deref(), *keep).await.map(Answer::Backups)
                }
                Query::Drain { workers, files } => self.drain(workers, *files).await.map(Answer::Drain),
                Query::Members | Query::Leaving { .. } | Query::Rollout { .. } => {
                    Err(AlluxioError::Invalid { detail: "an engine is not asked about pods".into() })
                }
            };
            answer.map_err(|e| trouble(&e))
        }
        .boxed()
    }

    fn read_store<'a>(&'a self, path: &'a str) -> BoxFuture<'a, Result<(), Trouble>> {
        async move { self.client.read_folder(path).await.map_err(|e| trouble(&e)) }.boxed()
    }

    fn perform<'a>(&'a self, call: Call<'a>) -> BoxFuture<'a, Outcome> {
        async move {
            if let Effect::OnWorkers { call: what, .. } = call.effect {
                return match self.on_workers(*what, &call).await {
                    Ok(Some(receipt)) => Outcome::Done(receipt),
                    Ok(None) => super::window_closed(),
                    Err(error) => outcome(&error),
                };
            }
            if let Effect::TransferLeadership { .. } | Effect::ResetPriorities {} = call.effect {
                return changed(self.change_leader(&call).await);
            }
            let Some(path) = call.effect.path(call.spec) else {
                let message = "the effect names a path that the spec does not have".into();
                return Outcome::Refused { reason: "InvalidEffect".into(), message, retryable: false };
            };
            if let Effect::Backup { .. } | Effect::PruneBackups { .. } = call.effect {
                return changed(self.change_backups(&call).await);
            }
            if let Effect::Mount { .. } | Effect::UpdateMount { .. } | Effect::Unmount { .. } = call.effect {
                return changed(self.change_mount(&call).await);
            }
            match self.act(&call, path).await {
                Ok(Some(receipt)) => Outcome::Done(receipt),
                Ok(None) => super::window_closed(),
                Err(error) => outcome(&error),
            }
        }
        .boxed()
    }

    fn describe(&self, _effect: &Effect) -> EffectTraits {
        let ms = |d: Duration| i64::try_from(d.as_millis()).unwrap_or(i64::MAX);
        EffectTraits {
            class: EffectClass::Repeatable,
            call_timeout_ms: ms(self.options.call_timeout),
            longest_delay_ms: ms(self.options.longest_delay),
        }
    }
}
