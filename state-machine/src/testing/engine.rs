//! A small engine with Alluxio's habits: one job a path, a load of unknown files caches nothing and still succeeds,
//! frees take a while, calls may be lost, late, refused, or applied without a reply.

use crate::backups::{self, BackupsView, Made, Progress};
use crate::drain::{self, DrainView, Files, LeavingView};
use crate::effect::{
    Answer, Effect, Health, JobState, JobView, MetadataView, Outcome, Query, Receipt, TreeView, Trouble,
    TroubleKind,
};
use crate::ids::{Nonce, Token};
use crate::members::{Known, MembersView, Numbers, WorkerView, Written};
use crate::mounts::{MountTable, MountView};
use crate::rollout::{Choice, MemberView, Pace, Release, Role, RolloutView, Template};
use crate::spec::{ArmSpec, OperationSpec};
use std::collections::BTreeMap;

/// Hard limit of one call, in milliseconds.
pub const CALL_TIMEOUT_MS: i64 = 1_000;
/// Longest time after which a received call may still be applied, in milliseconds.
pub const LONGEST_DELAY_MS: i64 = 3_000;

/// A worker that serves.
pub fn serving(number: i32) -> WorkerView {
    WorkerView {
        number,
        ready: true,
        known: Known::Serves,
        capacity_bytes: 1,
        pod: true,
        uid: Some("uid".into()),
        settled: true,
        ..WorkerView::default()
    }
}

/// The release of a cache that was not upgraded.
pub const OLD: &str = "2.9.4";

/// A member of such a cache.
pub fn member(role: Role, number: i32) -> MemberView {
    MemberView {
        role,
        number,
        uid: Some(format!("{} {number}", role.name())),
        template: Template::Current,
        ready: true,
        ready_ms: 60_000,
        version: Some(OLD.into()),
        known: Known::Serves,
        capacity_bytes: 1,
        used_bytes: 1,
        primary: false,
        survives: false,
        aside: false,
        trouble: None,
    }
}

/// Such a cache: a master, two workers whose tiers go with their pods, one whose tiers stay, a proxy.
pub fn rollout() -> RolloutView {
    let mut members = vec![member(Role::Master, 0), member(Role::Proxy, 0)];
    members.extend((0..3).map(|n| MemberView { survives: n == 2, ..member(Role::Worker, n) }));
    let release = Release { version: OLD.into(), repository: "alluxio/alluxio".into(), tag: None };
    RolloutView { revision: 4, release, journal_kept: true, members, ..RolloutView::default() }
}

/// What becomes of one call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// Applied and answered.
    Reply,
    /// Applied; the answer is lost.
    Lost,
    /// Never applied; no answer.
    Dropped,
    /// Applied so many milliseconds later; no answer.
    Late(i64),
    /// Answered with no.
    Refused { retryable: bool },
}

/// Whose a job is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Owner {
    /// This operation's.
    Ours,
    /// Somebody else's.
    Foreign,
}

#[derive(Debug, Clone)]
pub struct Job {
    pub owner: Owner,
    pub state: JobState,
    pub ends_at: i64,
}

/// One path and what the engine has of it.
#[derive(Debug, Clone, Default)]
pub struct Data {
    pub bytes: i64,
    pub known: bool,
    pub cached: i64,
    pub job: Option<Job>,
    freed_at: Option<i64>,
}

#[derive(Debug, Clone)]
pub struct Engine {
    pub now: i64,
    pub names: Vec<String>,
    pub data: Vec<Data>,
    pub workers: i64,
    pub down_until: i64,
    /// Milliseconds that a job or a listing takes.
    pub work_ms: i64,
    /// Jobs vanish as soon as they are started; tasks are forgotten.
    pub amnesia: bool,
    /// A stop is accepted and changes nothing.
    pub unstoppable: bool,
    /// Jobs succeed and cache nothing, frees are accepted and free nothing.
    pub idle: bool,
    tasks: BTreeMap<i64, (usize, i64)>,
    next_task: i64,
    in_flight: Vec<(i64, Effect, Nonce)>,
    /// What was applied since somebody looked.
    pub landed: Vec<(Effect, Nonce)>,
    pub foreign_stopped: bool,
    /// What is mounted.
    pub mounts: MountTable,
    pub members: MembersView,
    /// A cache that can be upgraded.
    pub rollout: RolloutView,
    /// The release of which no member ever gets ready.
    pub broken: Option<String>,
    /// Files that only workers have, and of those the ones that only workers have which are out of use.
    pub unpersisted: i64,
    pub stranded: i64,
    /// Files that went with a pod.
    pub lost: i64,
    /// Tokens of calls, by the nonces of their intents.
    pub tokens: BTreeMap<Nonce, Token>,
    /// Folders of backups, with when each is whole.
    pub backups: Vec<(String, i64)>,
    /// What the operation under test asks for.
    spec: OperationSpec,
}

impl Engine {
    pub fn new(spec: &OperationSpec) -> Self {
        // An operation that works on no path has one all the same, for what others do.
        let none = ["/none".to_owned()];
        let names = Some(spec.operation.paths()).filter(|p| !p.is_empty()).unwrap_or(&none);
        let data = names.iter().map(|_| Data { bytes: 100, ..Data::default() }).collect();
        Self {
            now: 0,
            names: names.to_vec(),
            data,
            workers: 2,
            down_until: 0,
            work_ms: 4_000,
            amnesia: false,
            unstoppable: false,
            idle: false,
            tasks: BTreeMap::new(),
            next_task: 1,
            in_flight: Vec::new(),
            landed: Vec::new(),
            foreign_stopped: false,
            mounts: MountTable::default(),
            members: MembersView::default(),
            rollout: rollout(),
            broken: None,
            unpersisted: 1,
            stranded: 0,
            lost: 0,
            tokens: BTreeMap::new(),
            backups: Vec::new(),
            spec: spec.clone(),
        }
    }

    /// Lets time pass, in the order in which things happen.
    pub fn advance(&mut self, ms: i64) {
        let until = self.now + ms;
        self.in_flight.sort_by_key(|(at, ..)| *at);
        while self.in_flight.first().is_some_and(|(at, ..)| *at <= until) {
            let (at, effect, nonce) = self.in_flight.remove(0);
            self.settle(at);
            self.apply(&effect, &nonce);
        }
        self.settle(until);
    }

    fn settle(&mut self, now: i64) {
        self.now = now;
        let (workers, amnesia, idle) = (self.workers, self.amnesia, self.idle);
        for (path, ready) in self.tasks.values() {
            self.data[*path].known |= *ready <= now;
        }
        for d in &mut self.data {
            if let Some(job) =
                d.job.as_mut().filter(|j| j.state == JobState::Running && j.ends_at <= now && workers > 0)
            {
                job.state = JobState::Succeeded;
                d.cached = if d.known && !idle { d.bytes } else { d.cached };
            }
            if d.freed_at.is_some_and(|at| at <= now) && !idle {
                (d.freed_at, d.cached) = (None, 0);
            }
            if amnesia {
                d.job = None;
            }
        }
        if amnesia {
            self.tasks.clear();
        }
    }

    /// Sends one call.
    pub fn perform(&mut self, effect: &Effect, nonce: &Nonce, fate: Fate) -> Outcome {
        let unknown = Outcome::Unknown { detail: "no reply".into() };
        match if self.now < self.down_until { Fate::Dropped } else { fate } {
            Fate::Reply => Outcome::Done(self.apply(effect, nonce)),
            Fate::Lost => {
                self.apply(effect, nonce);
                unknown
            }
            Fate::Dropped => unknown,
            Fate::Late(ms) => {
                let delay = ms.clamp(0, CALL_TIMEOUT_MS + LONGEST_DELAY_MS - 1);
                self.in_flight.push((self.now + delay, effect.clone(), nonce.clone()));
                unknown
            }
            Fate::Refused { retryable } => {
                Outcome::Refused { reason: "Busy".into(), message: "not now".into(), retryable }
            }
        }
    }

    fn apply(&mut self, effect: &Effect, nonce: &Nonce) -> Receipt {
        self.landed.push((effect.clone(), nonce.clone()));
        let (now, ends_at) = (self.now, self.now + self.work_ms);
        let mut receipt = Receipt::default();
        match effect {
            Effect::LoadMetadata { path } => {
                receipt.task = Some(self.next_task);
                self.tasks.insert(self.next_task, (*path, ends_at));
                self.next_task += 1;
            }
            Effect::SubmitLoad { path } => {
                receipt.attached = self.running(*path).is_some();
                if !receipt.attached {
                    self.data[*path].job =
                        Some(Job { owner: Owner::Ours, state: JobState::Running, ends_at });
                }
            }
            Effect::StopLoad { path } => {
                self.foreign_stopped |= self.running(*path) == Some(Owner::Foreign);
                if !self.unstoppable
                    && let Some(job) = self.data[*path].job.as_mut().filter(|j| j.state == JobState::Running)
                {
                    job.state = JobState::Stopped;
                }
            }
            Effect::CancelMetadata { task, .. } => {
                self.tasks.remove(task);
            }
            Effect::Free { path } => self.data[*path].freed_at = Some(now + 2_000),
            Effect::Mount { .. } | Effect::UpdateMount { .. } | Effect::Unmount { .. } if self.idle => {}
            Effect::Mount { .. } => self.mount(false),
            Effect::UpdateMount { .. } => self.mount(true),
            Effect::Unmount { .. } => {
                let next = self.mounts.next_to_unmount(&self.spec).ok().flatten().map(|m| m.path.clone());
                self.mounts.mounts.retain(|m| Some(&m.path) != next.as_ref());
            }
            Effect::Backup { .. } if self.idle || self.amnesia => receipt.job = Some("forgotten".into()),
            Effect::Backup { lasting, .. } => {
                let folder = self.tokens.get(nonce).map(|t| backups::folder(*lasting, t)).unwrap_or_default();
                receipt.job = Some(folder.clone());
                self.backups.push((folder, ends_at));
            }
            Effect::PruneBackups { .. } if self.idle => {}
            Effect::PruneBackups { folders, .. } => self.backups.retain(|b| !folders.contains(&b.0)),
            Effect::TransferLeadership { to } => {
                let masters = self.rollout.members.iter_mut().filter(|m| m.role == Role::Master);
                masters.for_each(|m| m.primary = m.number == *to);
            }
            Effect::ResetPriorities {} => {}
            Effect::AddWorkers { .. } if self.idle => {}
            Effect::AddWorkers { add, .. } => {
                let there = self.members.numbers();
                self.members.workers.extend(add.iter().filter(|n| !there.contains(*n)).map(serving));
                self.members.written = Written::Changed;
            }
            Effect::FenceMembers {} => {
                self.members.written = Written::Fenced;
                self.members.revision += 1;
                self.rollout.revision += 1;
            }
            Effect::RemoveWorkers { remove, at } => {
                let out = |w: &&WorkerView| remove.contains(w.number) && w.known == Known::Serves;
                // Whoever writes it looks right before.
                let safe = self.stranded == 0 && !self.members.workers.iter().any(|w| out(&w));
                if safe && self.members.revision == *at {
                    self.members.workers.retain(|w| !remove.contains(w.number));
                    self.members.written = Written::Changed;
                    self.members.revision += 1;
                }
            }
            Effect::MarkWorkers { workers, out, at } => {
                if self.members.revision == *at {
                    let others = self.members.out.without(workers);
                    self.members.out = if *out { others.with(workers) } else { others };
                    self.members.written = Written::Changed;
                    self.members.revision += 1;
                }
            }
            Effect::ReplaceWorker { worker, uid } => {
                let mut all = self.members.workers.iter_mut();
                let same = all.find(|w| w.number == *worker && w.uid.as_ref() == Some(uid));
                if same.is_some() {
                    self.lost += std::mem::take(&mut self.stranded);
                }
                if let Some(w) = same.filter(|w| w.known != Known::As("Disabled".into())) {
                    *w = WorkerView { uid: Some(format!("{uid}+")), ..serving(*worker) };
                }
            }
            Effect::SetRelease { back, at } => {
                if self.rollout.revision == *at {
                    let from = Release { version: OLD.into(), ..self.rollout.release.clone() };
                    let to = if let ArmSpec::Upgrade(u) = &self.spec.operation {
                        u.release(&from)
                    } else {
                        from.clone()
                    };
                    self.rollout.release = if *back { from } else { to };
                    self.rollout.revision += 1;
                    self.render();
                }
            }
            Effect::ReplaceMember { role, number, uid } => self.replace(*role, *number, uid),
            Effect::OnWorkers { call, workers } if matches!(self.spec.operation, ArmSpec::Upgrade(_)) => {
                self.on_members(*call, workers);
            }
            Effect::OnWorkers { call, workers } => self.on_workers(*call, workers),
        }
        self.settle(now);
        receipt
    }

    fn on_workers(&mut self, call: drain::Call, workers: &Numbers) {
        let mine = self.members.workers.iter_mut().filter(|w| workers.contains(w.number));
        match call {
            drain::Call::Persist => self.unpersisted = 0,
            drain::Call::Rescue => self.stranded = 0,
            drain::Call::Decommission => {
                for w in mine.filter(|w| w.known == Known::Serves) {
                    w.known = Known::As("Disabled".into());
                    // A client has written in between.
                    self.stranded += 1;
                }
            }
            drain::Call::Admit => {
                for w in mine.filter(|w| w.known == Known::As("Disabled".into())) {
                    w.known = Known::As("Decommissioned".into());
                }
            }
        }
    }

    /// What a member runs counts by the revision.
    fn render(&mut self) {
        let release = self.rollout.release.version.clone();
        for m in &mut self.rollout.members {
            let same = m.version.as_ref() == Some(&release);
            m.template = if same { Template::Current } else { Template::Before };
        }
    }

    fn replace(&mut self, role: Role, number: i32, uid: &str) {
        let release = self.rollout.release.version.clone();
        let broken = self.broken.as_ref() == Some(&release);
        let mut all = self.rollout.members.iter_mut();
        let same = all.find(|m| (m.role, m.number) == (role, number) && m.uid.as_deref() == Some(uid));
        let Some(m) = same else { return };
        if m.role == Role::Worker {
            // Whoever evicts looks right before.
            if !m.survives && (m.known == Known::Serves || self.stranded > 0) {
                return;
            }
            self.lost += std::mem::take(&mut self.stranded);
        }
        m.uid = Some(format!("{}-{}", self.landed.len(), m.title()));
        m.version = Some(release);
        m.ready = !broken;
        m.known = if broken { Known::No } else { Known::Serves };
        self.render();
    }

    fn on_members(&mut self, call: drain::Call, workers: &Numbers) {
        let mine = |m: &&mut MemberView| m.role == Role::Worker && workers.contains(m.number);
        let told = Known::As(drain::DISABLED.into());
        match call {
            drain::Call::Persist => self.unpersisted = 0,
            drain::Call::Rescue => self.stranded = 0,
            drain::Call::Decommission => {
                for m in self.rollout.members.iter_mut().filter(mine).filter(|m| m.known == Known::Serves) {
                    m.known = told.clone();
                    // A client has written in between.
                    self.stranded += 1;
                }
            }
            drain::Call::Admit => {}
        }
    }

    /// As the controller answers it.
    fn rolled(&self, pace: &Pace) -> RolloutView {
        let mut view = self.rollout.clone();
        view.silent = (self.now < self.down_until).then(|| "no address answers".into());
        let next = match view.choose(pace) {
            Choice::Next(m) if view.drained(m) => Some(m.number),
            Choice::Next(_) | Choice::For(_) | Choice::Soaks(_) | Choice::None => None,
        };
        view.leaving = next.filter(|_| view.silent.is_none()).map(|number| {
            let files = |count| Files { count, example: Some("/f".into()) };
            LeavingView {
                workers: vec![WorkerView { number, ..WorkerView::default() }],
                drain: DrainView {
                    unpersisted: files(self.unpersisted),
                    unasked: self.unpersisted,
                    stranded: files(self.stranded),
                    rescuable: self.stranded,
                    master_up_ms: i64::MAX,
                    ..DrainView::default()
                },
                refresh_ms: 120_000,
            }
        });
        view
    }

    /// Mounts where nothing is, or updates where something is.
    fn mount(&mut self, update: bool) {
        let ArmSpec::Mount(wanted) = &self.spec.operation else { return };
        let there = self.mounts.at(&wanted.path).map(|m| m.uri.clone());
        if there.is_some() == update {
            self.mounts.mounts.retain(|m| m.path != wanted.path);
            let uri = there.unwrap_or_else(|| wanted.uri.clone());
            let (read_only, shared) = (wanted.read_only, wanted.shared);
            let plain = |o: &crate::spec::MountOption| Some((o.name.clone(), o.value.clone()?));
            let options = wanted.options.iter().filter_map(plain).collect();
            let path = wanted.path.clone();
            self.mounts.mounts.push(MountView { path, uri, read_only, shared, options });
        }
    }

    /// Whose job runs on the path.
    pub fn running(&self, path: usize) -> Option<Owner> {
        self.data[path].job.as_ref().filter(|j| j.state == JobState::Running).map(|j| j.owner)
    }

    /// A job that somebody else starts.
    pub fn foreign(&mut self, path: usize, state: JobState, ms: i64) {
        self.data[path].job = Some(Job { owner: Owner::Foreign, state, ends_at: self.now + ms });
    }

    /// Calls that may still land.
    pub fn in_flight(&self) -> usize {
        self.in_flight.len()
    }

    /// The master restarts and remembers no task.
    pub fn forget_tasks(&mut self) {
        self.tasks.clear();
        // Nor that a worker is out of use.
        self.members.workers.iter_mut().for_each(|w| w.known = Known::Serves);
        let there = self.rollout.members.iter_mut().filter(|m| m.ready);
        there.for_each(|m| m.known = Known::Serves);
        self.unpersisted += std::mem::take(&mut self.stranded);
    }

    pub fn tree(&self) -> TreeView {
        let sum = |f: fn(&Data) -> i64| self.data.iter().map(f).sum();
        TreeView {
            files: self.data.len() as i64,
            bytes: sum(|d| d.bytes),
            cached_bytes: sum(|d| d.cached),
            missing: None,
        }
    }

    fn leaving(&self, workers: &Numbers) -> LeavingView {
        let known = |n: i32| self.members.workers.iter().find(|w| w.number == n).cloned();
        let gone = |number| WorkerView { number, ..WorkerView::default() };
        let files = |count| Files { count, example: Some("/f".into()) };
        LeavingView {
            workers: workers.iter().map(|n| known(n).unwrap_or_else(|| gone(n))).collect(),
            drain: DrainView {
                unpersisted: files(self.unpersisted),
                unasked: self.unpersisted,
                stranded: files(self.stranded),
                rescuable: self.stranded,
                master_up_ms: i64::MAX,
                ..DrainView::default()
            },
            refresh_ms: 120_000,
        }
    }

    fn job(&self, name: &str) -> JobView {
        let d = self.names.iter().position(|n| n == name).map(|i| &self.data[i]);
        let state = d.and_then(|d| d.job.as_ref()).map_or(JobState::Absent, |j| j.state.clone());
        JobView {
            state,
            total_bytes: None,
            loaded_bytes: d.map_or(0, |d| d.cached),
            files: 1,
            failed_files: 0,
            failed_example: None,
        }
    }

    pub fn answer(&self, query: &Query) -> Result<Answer, Trouble> {
        if let Query::Rollout { pace } = query {
            return Ok(Answer::Rollout(Box::new(self.rolled(pace))));
        }
        if self.now < self.down_until {
            return Err(Trouble { kind: TroubleKind::Unreachable, message: "no address answers".into() });
        }
        Ok(match query {
            Query::Health => Answer::Health(Health {
                live_workers: self.workers,
                capacity_bytes: 10_000,
                load_replicas: false,
            }),
            Query::Metadata { task, then, .. } => {
                let view = match task.and_then(|t| self.tasks.get(&t)) {
                    None => MetadataView::Forgotten,
                    Some((_, ready)) if *ready > self.now => MetadataView::Running { done: 1 },
                    Some((path, _)) => MetadataView::Loaded(TreeView {
                        files: 1,
                        bytes: self.data[*path].bytes,
                        ..TreeView::default()
                    }),
                };
                Answer::Metadata(view, then.as_ref().map(|p| self.job(p)))
            }
            Query::LoadJob { path } => Answer::Job(self.job(path)),
            Query::Tree { .. } => Answer::Tree(self.tree()),
            Query::Mounts { .. } => Answer::Mounts(self.mounts.clone()),
            Query::Members => Answer::Members(self.members.clone()),
            Query::Leaving { workers, .. } => {
                Answer::Leaving(self.members.clone(), Box::new(self.leaving(workers)))
            }
            Query::Backups { folder, id, keep, .. } => {
                let mut whole: Vec<_> = self.backups.iter().filter(|b| b.1 <= self.now).cloned().collect();
                whole.retain(|b| Some(&b.0) != folder.as_ref());
                whole.sort_by_key(|b| std::cmp::Reverse(b.1));
                let others = keep.map_or(whole.len(), |k| usize::try_from(k - 1).unwrap_or(0));
                let surplus = whole.split_off(whole.len().min(others));
                let of = |f: &String| self.backups.iter().rfind(|b| b.0 == *f);
                let seen = folder.as_ref().and_then(of);
                let running = id.as_ref().and(seen).is_some_and(|b| b.1 > self.now);
                Answer::Backups(BackupsView {
                    place: Ok("file:///store/backups".into()),
                    progress: if running { Progress::Running { entries: 1 } } else { Progress::Unknown },
                    made: seen.filter(|b| b.1 <= self.now).map(|b| Made {
                        folder: b.0.clone(),
                        file: "backup".into(),
                        bytes: 10,
                        fingerprint: "f".into(),
                    }),
                    surplus: surplus.into_iter().rev().map(|b| b.0).take(backups::MOST_DELETED).collect(),
                })
            }
            Query::Rollout { .. } => unreachable!("answered above"),
            Query::Drain { .. } => panic!("only whoever answers for the workers asks that"),
        })
    }
}
