//! An engine that does what a test says: for faults that the real one cannot give on command, and for tests that
//! are about Kubernetes alone. It keeps what Alluxio keeps (one job a path) and counts what it is asked to do.

use futures::FutureExt as _;
use futures::future::BoxFuture;
use ratchet::api::cluster::Member;
use ratchet::engine::{Call, Engine, EngineInfo};
use ratchet_state_machine::drain::{self, At, DrainView, Files};
use ratchet_state_machine::effect::{
    Answer, Effect, EffectClass, EffectTraits, Health, JobState, JobView, MetadataView, Outcome, Query,
    Receipt, TreeView, Trouble, TroubleKind,
};
use ratchet_state_machine::mounts::{MountTable, MountView};
use ratchet_state_machine::spec::{ArmSpec, MountOption};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Bytes of every path.
pub const BYTES: i64 = 1_000_000;

/// One path.
#[derive(Debug, Clone, Default)]
pub struct PathState {
    /// Looks at a running job until it is done.
    pub looks_left: u32,
    /// Its job.
    pub job: Option<JobState>,
    /// Bytes that are cached.
    pub cached: i64,
    /// Submits that started or resumed a job.
    pub submits: u32,
    /// Stops that stopped one.
    pub stops: u32,
    /// Frees.
    pub frees: u32,
}

/// What the engine does.
#[derive(Debug, Default)]
pub struct World {
    /// Paths by name.
    pub paths: BTreeMap<String, PathState>,
    /// Looks that a job takes; `u32::MAX`: it never ends by itself.
    pub job_takes: u32,
    /// Nobody answers.
    pub unreachable: bool,
    /// Paths that do not exist.
    pub missing: Vec<String>,
    /// Time that a call takes.
    pub delay: Duration,
    /// The next effects are applied and their replies lost.
    pub lose_replies: u32,
    /// Listing a path never ends.
    pub listing: bool,
    /// The next effects are refused; `u32::MAX`: all of them.
    pub refuse: u32,
    /// What is freed stays cached until the test says otherwise.
    pub frees_linger: bool,
    /// What is mounted.
    pub mounts: MountTable,
    /// Workers that serve, `host:port`; none: one that nobody knows.
    pub workers: Vec<String>,
    /// Releases by the names of pods; none: nobody knows it by its pods.
    pub versions: BTreeMap<String, String>,
    /// Workers that are out of use, by host, in the engine's word.
    pub out: BTreeMap<String, String>,
    /// Files that only a worker which leaves has, and whether they can be persisted.
    pub unpersisted: i64,
    pub no_persisting: bool,
    /// Files that somebody writes to a worker right before it is out of use, and those that are stranded there.
    pub written_meanwhile: i64,
    pub stranded: i64,
    /// Calls that workers which leave are busy with.
    pub busy: i64,
    /// The secret options of the last mount, by name.
    pub given: BTreeMap<String, String>,
    /// Every effect that was carried out, as `name token fence`.
    pub log: Vec<String>,
}

/// A shared engine; clones are the same engine.
#[derive(Clone)]
pub struct FakeEngine {
    identity: String,
    world: Arc<Mutex<World>>,
}

impl FakeEngine {
    /// An engine of its own, whose jobs end at the second look.
    pub fn new() -> Arc<Self> {
        let world = World { job_takes: 1, ..World::default() };
        Arc::new(Self { identity: format!("fake-{}", super::unique()), world: Arc::new(Mutex::new(world)) })
    }

    /// What it does and did.
    pub fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is known of a path.
    pub fn path(&self, path: &str) -> PathState {
        self.world().paths.get(path).cloned().unwrap_or_default()
    }

    fn gate(&self) -> Result<Duration, Trouble> {
        let world = self.world();
        if world.unreachable {
            return Err(Trouble {
                kind: TroubleKind::Unreachable,
                message: "nobody answers at fake:1".into(),
            });
        }
        Ok(world.delay)
    }
}

impl Engine for FakeEngine {
    fn probe(&self) -> BoxFuture<'_, Result<EngineInfo, Trouble>> {
        async move {
            let delay = self.gate()?;
            pause(delay).await;
            let mut workers = self.world().workers.clone();
            if workers.is_empty() {
                workers.push("fake:1".into());
            }
            let out = self.world().out.clone();
            let state = |name: &str| name.split(':').next().and_then(|host| out.get(host)).cloned();
            let versions = self.world().versions.clone();
            let version = |pod: &str| versions.get(pod).cloned().unwrap_or_else(|| "fake".into());
            let member = |name: &String| Member {
                name: name.clone(),
                state: state(name).unwrap_or_else(|| "ACTIVE".into()),
                version: version(name.split('.').next().unwrap_or_default()),
                capacity_bytes: i64::MAX / 4,
                used_bytes: 0,
            };
            Ok(EngineInfo {
                hit_percent: None,
                identity: self.identity.clone(),
                version: version("c-master-0"),
                masters_ready: 1,
                masters: 1,
                masters_at: Vec::new(),
                workers_live: workers.len(),
                members: workers.iter().map(member).collect(),
                capacity_bytes: i64::MAX / 4,
                used_bytes: 0,
            })
        }
        .boxed()
    }

    fn inspect<'a>(&'a self, query: &'a Query) -> BoxFuture<'a, Result<Answer, Trouble>> {
        async move {
            let delay = self.gate()?;
            pause(delay).await;
            Ok(self.world().answer(query))
        }
        .boxed()
    }

    fn perform<'a>(&'a self, call: Call<'a>) -> BoxFuture<'a, Outcome> {
        async move {
            let delay = match self.gate() {
                Ok(delay) => delay,
                Err(t) => {
                    return Outcome::Refused {
                        reason: "EngineUnreachable".into(),
                        message: t.message,
                        retryable: true,
                    };
                }
            };
            pause(delay).await;
            let path = call.effect.path(call.spec).unwrap_or_default().to_owned();
            let mut world = self.world();
            if world.refuse > 0 {
                world.refuse -= u32::from(world.refuse != u32::MAX);
                return Outcome::Refused {
                    reason: "Grumpy".into(),
                    message: "not now".into(),
                    retryable: true,
                };
            }
            world.log.push(format!("{} {} {}", call.effect.name(), call.token, call.fence));
            let receipt = if let Effect::OnWorkers { call: what, .. } = call.effect {
                world.on_workers(*what, call.workers)
            } else {
                world.mounted(&call).unwrap_or_else(|| world.apply(call.effect, &path))
            };
            if world.lose_replies > 0 {
                world.lose_replies -= 1;
                return Outcome::Unknown { detail: "the reply was lost".into() };
            }
            Outcome::Done(receipt)
        }
        .boxed()
    }

    fn describe(&self, _effect: &Effect) -> EffectTraits {
        EffectTraits { class: EffectClass::Repeatable, call_timeout_ms: 300, longest_delay_ms: 200 }
    }
}

/// A call takes the time that the test set; none by default.
async fn pause(delay: Duration) {
    if !delay.is_zero() {
        tokio::time::sleep(delay).await;
    }
}

impl World {
    fn answer(&mut self, query: &Query) -> Answer {
        match query {
            Query::Health => {
                Answer::Health(Health { live_workers: 1, capacity_bytes: i64::MAX / 4, load_replicas: false })
            }
            Query::Metadata { path, then, .. } => {
                if self.missing.contains(path) {
                    return Answer::Metadata(MetadataView::Missing, None);
                }
                if self.listing {
                    return Answer::Metadata(MetadataView::Running { done: 0 }, None);
                }
                let tree = self.tree(std::slice::from_ref(path));
                let job = then.as_ref().map(|p| self.job(p));
                Answer::Metadata(MetadataView::Loaded(tree), job)
            }
            Query::LoadJob { path } => Answer::Job(self.job(path)),
            Query::Tree { paths } => Answer::Tree(self.tree(paths)),
            Query::Mounts { .. } => Answer::Mounts(self.mounts.clone()),
            Query::Drain { .. } => Answer::Drain(self.drain()),
            Query::Backups { .. } => panic!("this engine has no backups"),
            Query::Members | Query::Leaving { .. } | Query::Rollout { .. } => {
                panic!("an engine is not asked about pods")
            }
        }
    }

    /// Mounts, where the effect is about that.
    fn mounted(&mut self, call: &Call<'_>) -> Option<Receipt> {
        match (call.effect, &call.spec.operation) {
            (Effect::Mount { .. } | Effect::UpdateMount { .. }, ArmSpec::Mount(wanted)) => {
                self.given = call.secrets.iter().map(|(n, v)| (n.to_owned(), v.to_owned())).collect();
                self.mounts.mounts.retain(|m| m.path != wanted.path);
                let plain = |o: &MountOption| Some((o.name.clone(), o.value.clone()?));
                self.mounts.mounts.push(MountView {
                    path: wanted.path.clone(),
                    uri: wanted.uri.clone(),
                    read_only: wanted.read_only,
                    shared: wanted.shared,
                    options: wanted.options.iter().filter_map(plain).collect(),
                });
            }
            (Effect::Unmount { .. }, _) => {
                let next = self.mounts.next_to_unmount(call.spec).ok().flatten().map(|m| m.path.clone());
                self.mounts.mounts.retain(|m| Some(&m.path) != next.as_ref());
            }
            (_, _) => return None,
        }
        Some(Receipt::default())
    }

    fn drain(&self) -> DrainView {
        let files = |count: i64| Files { count, example: (count > 0).then(|| "/new".into()) };
        DrainView {
            unpersisted: files(self.unpersisted),
            unasked: if self.no_persisting { 0 } else { self.unpersisted },
            stranded: files(self.stranded),
            busy: self.busy,
            rescuable: self.stranded,
            master_up_ms: i64::MAX,
            ..DrainView::default()
        }
    }

    fn on_workers(&mut self, what: drain::Call, at: &[At]) -> Receipt {
        let leaving = at.iter().filter(|w| w.leaves).map(|w| w.host.clone());
        match what {
            drain::Call::Persist if self.no_persisting => {}
            drain::Call::Persist => self.unpersisted = 0,
            drain::Call::Decommission => {
                for host in leaving {
                    self.out.entry(host).or_insert_with(|| "Disabled".into());
                }
                self.stranded += std::mem::take(&mut self.written_meanwhile);
            }
            drain::Call::Rescue => self.stranded = 0,
            drain::Call::Admit => {
                for host in leaving {
                    self.out.entry(host).and_modify(|state| *state = "Decommissioned".into());
                }
            }
        }
        Receipt { upto_ms: Some(1), ..Receipt::default() }
    }

    fn tree(&self, paths: &[String]) -> TreeView {
        let cached = |p: &String| self.paths.get(p).map_or(0, |s| s.cached);
        TreeView {
            files: paths.len() as i64,
            bytes: BYTES * paths.len() as i64,
            cached_bytes: paths.iter().map(cached).sum(),
            missing: paths.iter().find(|p| self.missing.contains(p)).cloned(),
        }
    }

    fn job(&mut self, path: &str) -> JobView {
        let takes = self.job_takes;
        let s = self.paths.entry(path.to_owned()).or_default();
        if s.job == Some(JobState::Running) && s.looks_left != u32::MAX {
            if s.looks_left == 0 {
                s.job = Some(JobState::Succeeded);
                s.cached = BYTES;
            } else {
                s.looks_left -= 1;
            }
        }
        let done = if takes == 0 || takes == u32::MAX {
            0
        } else {
            BYTES * i64::from(takes - s.looks_left.min(takes)) / i64::from(takes)
        };
        JobView {
            state: s.job.clone().unwrap_or(JobState::Absent),
            total_bytes: Some(BYTES),
            loaded_bytes: if s.cached == BYTES { BYTES } else { done },
            files: 1,
            failed_files: 0,
            failed_example: None,
        }
    }

    fn apply(&mut self, effect: &Effect, path: &str) -> Receipt {
        let (takes, linger) = (self.job_takes, self.frees_linger);
        let s = self.paths.entry(path.to_owned()).or_default();
        match effect {
            Effect::LoadMetadata { .. } => Receipt { task: Some(1), ..Receipt::default() },
            Effect::CancelMetadata { .. }
            | Effect::Mount { .. }
            | Effect::UpdateMount { .. }
            | Effect::AddWorkers { .. }
            | Effect::FenceMembers {}
            | Effect::RemoveWorkers { .. }
            | Effect::MarkWorkers { .. }
            | Effect::ReplaceWorker { .. }
            | Effect::SetRelease { .. }
            | Effect::ReplaceMember { .. }
            | Effect::OnWorkers { .. }
            | Effect::TransferLeadership { .. }
            | Effect::ResetPriorities {}
            | Effect::Backup { .. }
            | Effect::PruneBackups { .. }
            | Effect::Unmount { .. } => Receipt::default(),
            Effect::SubmitLoad { .. } if s.job == Some(JobState::Running) => {
                Receipt { attached: true, ..Receipt::default() }
            }
            Effect::SubmitLoad { .. } => {
                s.submits += 1;
                s.looks_left = takes;
                s.job = Some(JobState::Running);
                Receipt { job: Some(format!("job-{}", s.submits)), ..Receipt::default() }
            }
            Effect::StopLoad { .. } => {
                if s.job == Some(JobState::Running) {
                    s.stops += 1;
                    s.job = Some(JobState::Stopped);
                }
                Receipt::default()
            }
            Effect::Free { .. } => {
                s.frees += 1;
                if !linger {
                    s.cached = 0;
                }
                Receipt::default()
            }
        }
    }
}
