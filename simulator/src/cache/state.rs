//! What the master and its workers remember. Everything else in this module works on it, and it is what a durable
//! cache writes down.

use super::mounts::{Mounted, Stores};
use super::tier::{Copy, Tier};
use super::{Applied, Profile};
use ratchet_state_machine::effect::Receipt;
use ratchet_state_machine::ids::{Fence, Token};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::PathBuf;

/// The master's scheduler looks at the list of workers this often: so long a decommissioned one still gets work.
const WORKER_LIST_MS: i64 = 10_000;
/// A decommission expires: the master forgets the worker, which registers again.
pub(super) const DECOMMISSION_MS: i64 = 35 * 60_000;

/// A file that the master knows.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Known {
    pub len: u64,
    /// The under-storage has it.
    pub persisted: bool,
    pub pinned: bool,
    /// Somebody has asked for it to be persisted.
    #[serde(default)]
    pub asked: bool,
    /// When it was written.
    #[serde(default)]
    pub written_ms: i64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum TaskState {
    Running,
    Succeeded,
    Failed(String),
    Canceled,
}

/// A listing of metadata.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Task {
    pub path: String,
    pub ends_at: i64,
    pub state: TaskState,
    pub ops: i64,
    /// The application that asked for it, by its number.
    pub asked_by: Option<u64>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Work {
    Running,
    Stopped,
    Succeeded,
    Failed { missing: bool, message: String },
}

/// The load job of a path.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Job {
    pub id: u64,
    pub work: Work,
    /// Up to here its time is used up.
    pub since: i64,
    /// Thousandths of bytes that it may copy.
    pub credit: u128,
    /// The last file that it handled.
    pub cursor: Option<String>,
    /// Bytes to copy, once it has listed.
    pub total: Option<u64>,
    pub loaded: u64,
    /// Bytes of the file that it is at.
    pub ahead: u64,
    pub files: i64,
    pub failed: i64,
    /// When it ended.
    pub ended: i64,
}

impl Job {
    pub const fn new(id: u64, now: i64) -> Self {
        Self {
            id,
            work: Work::Running,
            since: now,
            credit: 0,
            cursor: None,
            total: None,
            loaded: 0,
            ahead: 0,
            files: 0,
            failed: 0,
            ended: 0,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Life {
    Active,
    Lost,
    Decommissioned { at_ms: i64 },
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Worker {
    pub life: Life,
    pub copies: BTreeMap<String, Copy>,
    pub used: u64,
    /// Its process is there.
    #[serde(default = "yes")]
    pub up: bool,
}

const fn yes() -> bool {
    true
}

impl Worker {
    pub const fn new() -> Self {
        Self { life: Life::Active, copies: BTreeMap::new(), used: 0, up: true }
    }

    /// Whether the master gives work to it at this time.
    pub const fn gets_work(&self, now: i64) -> bool {
        match self.life {
            Life::Active => true,
            Life::Lost => false,
            Life::Decommissioned { at_ms } => self.up && now - at_ms < WORKER_LIST_MS,
        }
    }
}

/// A backup: a file of the root store.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Backup {
    pub id: u64,
    pub path: String,
    pub folder: String,
    pub begun: i64,
    /// From then on it is whole.
    pub ends_at: i64,
    pub entries: i64,
}

/// A free that was accepted and has not happened yet. What is copied later than `upto` stays.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Freeing {
    pub at: i64,
    pub path: String,
    pub upto: u64,
}

/// A change of the master's journal, as a failover takes it back.
#[derive(Debug, Clone)]
pub(super) enum Undo {
    Learnt { files: Vec<String>, dirs: Vec<String> },
    Job { path: String, before: Option<Job> },
    Mount { path: String, before: Option<Mounted> },
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct State {
    pub now: i64,
    /// When the present master started.
    #[serde(default)]
    pub started_ms: i64,
    pub files: BTreeMap<String, Known>,
    pub dirs: BTreeSet<String>,
    #[serde(default)]
    pub mounts: BTreeMap<String, Mounted>,
    pub tasks: BTreeMap<i64, Task>,
    pub next_task: i64,
    pub jobs: BTreeMap<String, Job>,
    pub next_job: u64,
    pub freeing: Vec<Freeing>,
    pub workers: Vec<Worker>,
    /// Workers that may not register.
    #[serde(default)]
    pub rejected: BTreeSet<usize>,
    pub next_copy: u64,
    pub tokens: BTreeMap<Token, Receipt0>,
    pub fences: BTreeMap<String, Fence>,
    /// Backups, the oldest first.
    #[serde(default)]
    pub backups: Vec<Backup>,
    /// The id of the next one.
    #[serde(default)]
    pub next_backup: u64,
    /// Files that only the cache was ever given.
    pub entrusted: BTreeSet<String>,
    #[serde(skip)]
    pub undo: VecDeque<Undo>,
    #[serde(skip)]
    pub applied: VecDeque<Applied>,
    /// Number of the first of `applied`.
    #[serde(skip)]
    pub first_applied: u64,
}

/// A receipt as it is written down.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Receipt0 {
    task: Option<i64>,
    job: Option<String>,
    attached: bool,
}

impl From<&Receipt> for Receipt0 {
    fn from(r: &Receipt) -> Self {
        Self { task: r.task, job: r.job.clone(), attached: r.attached }
    }
}

impl From<&Receipt0> for Receipt {
    fn from(r: &Receipt0) -> Self {
        Self { task: r.task, job: r.job.clone(), attached: r.attached, upto_ms: None }
    }
}

impl State {
    pub fn new(workers: usize) -> Self {
        Self {
            now: 0,
            started_ms: 0,
            files: BTreeMap::new(),
            dirs: BTreeSet::new(),
            mounts: BTreeMap::new(),
            tasks: BTreeMap::new(),
            next_task: 1,
            jobs: BTreeMap::new(),
            next_job: 1,
            freeing: Vec::new(),
            workers: vec![Worker::new(); workers],
            rejected: BTreeSet::new(),
            next_copy: 1,
            tokens: BTreeMap::new(),
            fences: BTreeMap::new(),
            backups: Vec::new(),
            next_backup: 1,
            entrusted: BTreeSet::new(),
            undo: VecDeque::new(),
            applied: VecDeque::new(),
            first_applied: 0,
        }
    }
}

/// A cache behind its lock.
pub(super) struct Core {
    pub identity: String,
    pub profile: Profile,
    pub stores: Stores,
    pub tier: Tier,
    /// Where a durable cache writes itself down.
    pub home: Option<PathBuf>,
    pub dirty: bool,
    pub reachable: bool,
    /// What is added to the time that is given from outside; `None` until a reopened cache is told the time.
    pub shift: Option<i64>,
    pub s: State,
}
