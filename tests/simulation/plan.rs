//! What one seed means: how many replicas, what people ask for and change, which weather there is and for how long.

use ratchet::controller::teeth::Mutation;
use serde_json::{Value, json};

/// Probabilities of what can go wrong with one call, in per mille.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Weather {
    /// The call is carried out, its reply never comes.
    pub silent: u64,
    /// The call is carried out, the connection breaks before the reply.
    pub lost: u64,
    /// The call is never carried out, the connection breaks.
    pub dropped: u64,
    /// The call is answered with an error and not carried out: 429, 500, 503, 504.
    pub refused: u64,
    /// The call is carried out and answered with an error that says nothing: 500, 503, 504.
    pub muddled: u64,
    /// The call is carried out after its sender has given up.
    pub late: u64,
    /// The call arrives twice.
    pub doubled: u64,
}

impl Weather {
    /// Nothing goes wrong.
    pub const CALM: Self =
        Self { silent: 0, lost: 0, dropped: 0, refused: 0, muddled: 0, late: 0, doubled: 0 };
}

/// What a changing call is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sent {
    /// A transition that records an intent.
    Intent,
    /// Any other transition.
    Transition,
    /// A write to the lock.
    Lock,
    /// A segment of a journal.
    Segment,
    /// An effect on the engine.
    Effect,
    /// Anything else: finalizers, displays, mirrors, clusters.
    Other,
}

/// Where a replica dies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CrashPoint {
    /// Only calls like this are counted; without it all.
    pub on: Option<Sent>,
    /// Counted over the changing calls of this replica, to the API server and to the engine, from 1.
    pub call: u64,
    /// After the call was carried out (and before its reply), or before it was sent.
    pub after: bool,
    /// Milliseconds until it is back.
    pub back_ms: u64,
}

/// Something that happens to the world.
#[derive(Debug, Clone, PartialEq)]
pub enum Happening {
    /// A replica dies at once.
    Crash(usize, u64),
    /// A replica is frozen for so many milliseconds.
    Pause(usize, u64),
    /// A replica's watches break, and its next lists are as old as this many revisions.
    TimeTravel(usize, u64),
    /// A replica's watches tell of everything this late, for so many milliseconds.
    Lag(usize, u64, u64),
    /// A replica's watches say nothing any more and do not break either, for so many milliseconds.
    Blind(usize, u64),
    /// A replica's date jumps.
    ClockJump(usize, i64),
    /// The API server answers nobody for so many milliseconds.
    ApiDown(u64),
    /// The engine's master starts anew.
    MasterRestart,
    /// Another master takes over and has lost the last entries.
    FailOver(usize),
    /// The engine answers nobody for so many milliseconds.
    EngineDown(u64),
    /// A worker loses what it has cached and comes back.
    WorkerRestart(usize),
    /// What is cached of a path goes.
    Evict(&'static str),
    /// Somebody else loads a path.
    ForeignLoad(&'static str),
    /// Somebody deletes the lock.
    LockDeleted,
    /// A person merges this into an operation.
    Edit(usize, Value),
    /// A person deletes an operation.
    Delete(usize),
    /// A person deletes an operation and takes its finalizers off.
    ForceDelete(usize),
    /// A person puts another operation of the same name in its place.
    Replace(usize),
    /// A person gives the Dataset these mounts; the first one creates it.
    EditDataset(Value),
    /// A person deletes the Dataset.
    DeleteDataset,
    /// A person merges this into what the managed cache shall be.
    EditCluster(Value),
    /// A person deletes the cache.
    DeleteCluster,
    /// A pod goes at once.
    PodGone(&'static str),
    /// A pod is not ready for so many milliseconds; its process goes on.
    PodUnready(&'static str, u64),
    /// A person changes a StatefulSet of the cache.
    Drift(&'static str),
}

impl Happening {
    /// Whether it changes what is cached behind the operations' back.
    pub fn disturbs(&self) -> bool {
        matches!(
            self,
            Self::WorkerRestart(_)
                | Self::Evict(_)
                | Self::ForeignLoad(_)
                | Self::FailOver(_)
                | Self::PodGone(_)
                | Self::Drift(_)
                | Self::EditCluster(_)
                | Self::DeleteCluster
        )
    }
}

/// One operation that somebody asks for.
#[derive(Debug, Clone, PartialEq)]
pub struct Asked {
    /// As a DataLoad.
    pub as_load: bool,
    /// Milliseconds after the beginning.
    pub at_ms: u64,
    /// `spec` of the DataOperation.
    pub spec: Value,
    /// `load`, `free`, `mount`, `unmount` or `sync`.
    pub arm: &'static str,
    /// Its paths.
    pub paths: Vec<&'static str>,
}

impl Asked {
    /// Whether it depends on the order of things whether it can succeed: what is mounted decides.
    pub fn may_fail(&self) -> bool {
        self.paths.iter().any(|p| MOUNTS.contains(p))
    }
}

/// What protects the engine's effects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protection {
    /// Nothing (class d): Alluxio.
    None,
    /// It dedupes by token (class b).
    Token,
    /// It refuses lower fences (class c).
    Fence,
}

/// The meaning of a seed.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The seed.
    pub seed: u64,
    /// Replicas without a leader.
    pub replicas: usize,
    /// Skew of the date (milliseconds) and speed of the clock (per cent) of each.
    pub clocks: Vec<(i64, u32)>,
    /// What is asked for.
    pub asked: Vec<Asked>,
    /// Weather on the way to the API server, and to the engine.
    pub api: Weather,
    /// Weather on the way to the engine.
    pub engine: Weather,
    /// When what happens, in milliseconds, in order.
    pub happenings: Vec<(u64, Happening)>,
    /// Crashes by the count of calls, for each replica.
    pub crash_points: Vec<Vec<CrashPoint>>,
    /// From here on everything is calm.
    pub calm_ms: u64,
    /// How long nothing may be written after everything is settled, in milliseconds.
    pub quiet_ms: u64,
    /// What protects the engine's effects.
    pub protection: Protection,
    /// Changes that the API server remembers for watches; a watch from before them has to list again.
    pub history: usize,
    /// The API server applies the rules of the CRDs.
    pub rules: bool,
    /// The replicas are stopped as by SIGTERM in the end.
    pub drain: bool,
    /// The replicas look after Datasets.
    pub datasets: bool,
    /// The cache is a managed one.
    pub managed: bool,
    /// A client writes what only the cache has.
    pub writes: bool,
    /// How the protocol is broken.
    pub mutation: Option<Mutation>,
}

/// The paths that operations work on. `/data/ab` is no child of `/data/a`.
pub const PATHS: [&str; 6] = ["/data", "/data/a", "/data/a/x", "/data/ab", "/data/b", "/data/c"];

/// The files of the under-storage, and how large they are.
pub const FILES: [(&str, usize); 7] = [
    ("/data/a/one", 40),
    ("/data/a/two", 70),
    ("/data/a/x/three", 30),
    ("/data/ab/four", 50),
    ("/data/b/five", 90),
    ("/data/c/six", 10),
    ("/data/c/seven", 20),
];

/// Where seeds from [`MOUNTS_FROM`] on mount something.
pub const MOUNTS: [&str; 2] = ["/m", "/mm"];

/// What can be mounted, with its files: one, another, and one that lies in the other.
pub const STORES: [(&str, &[(&str, usize)]); 3] = [
    ("sim://one", &[("/uno", 30), ("/due/tre", 20)]),
    ("sim://two", &[("/deep/b", 60), ("/a", 10)]),
    ("sim://two/deep", &[("/b", 60)]),
];

/// From this seed on, plans have mounts too; those below keep the histories that they had before there were any.
pub const MOUNTS_FROM: u64 = 10_000_000;

/// From this seed on, plans have a Dataset too, and replicas that look after it.
pub const DATASETS_FROM: u64 = 20_000_000;

/// From this seed on, the cache is a managed one, with pods.
pub const MANAGED_FROM: u64 = 30_000_000;

/// From this seed on, people also change the number of its workers.
pub const SCALED_FROM: u64 = 40_000_000;

/// Seeds from here on also have people take workers out of use and bring them back.
pub const MAINTAINED_FROM: u64 = 50_000_000;

/// Seeds from here on have people bring the cache to another release and back, by images that do not run too.
pub const UPGRADED_FROM: u64 = 60_000_000;

/// Seeds from here on have backups instead of mounts and members.
pub const BACKED_UP_FROM: u64 = 70_000_000;

impl Plan {
    /// One replica, nothing asked for, nothing that goes wrong.
    pub fn calm(seed: u64) -> Self {
        Self {
            seed,
            replicas: 1,
            clocks: vec![(0, 100)],
            asked: Vec::new(),
            api: Weather::CALM,
            engine: Weather::CALM,
            happenings: Vec::new(),
            crash_points: vec![Vec::new()],
            calm_ms: 0,
            quiet_ms: 30_000,
            protection: Protection::None,
            history: 4_096,
            rules: false,
            drain: false,
            datasets: false,
            managed: false,
            writes: false,
            mutation: None,
        }
    }

    /// The same without anything that goes wrong: what people do stays.
    pub fn fault_free(&self) -> Self {
        let by_people = |h: &Happening| match h {
            Happening::Edit(..)
            | Happening::Delete(_)
            | Happening::ForceDelete(_)
            | Happening::Replace(_)
            | Happening::EditDataset(_)
            | Happening::DeleteDataset
            | Happening::EditCluster(_)
            | Happening::DeleteCluster
            | Happening::ForeignLoad(_) => true,
            Happening::Crash(..)
            | Happening::Pause(..)
            | Happening::TimeTravel(..)
            | Happening::Lag(..)
            | Happening::Blind(..)
            | Happening::ClockJump(..)
            | Happening::ApiDown(_)
            | Happening::MasterRestart
            | Happening::FailOver(_)
            | Happening::EngineDown(_)
            | Happening::WorkerRestart(_)
            | Happening::Evict(_)
            | Happening::PodGone(_)
            | Happening::PodUnready(..)
            | Happening::Drift(_)
            | Happening::LockDeleted => false,
        };
        let mut calm = self.clone();
        calm.api = Weather::CALM;
        calm.engine = Weather::CALM;
        calm.crash_points = vec![Vec::new(); self.replicas];
        calm.happenings.retain(|(_, h)| by_people(h));
        calm.mutation = None;
        calm
    }

    /// The same for a single replica with a clock that is right, and without anything that goes wrong.
    pub fn alone(&self) -> Self {
        let calm = Self::calm(self.seed);
        Self {
            replicas: calm.replicas,
            clocks: calm.clocks,
            crash_points: calm.crash_points,
            ..self.fault_free()
        }
    }

    /// How long a look at the engine may be older than what is written on its account, in milliseconds.
    pub fn slowest_ms(&self) -> i64 {
        let slow =
            self.happenings.iter().any(|(_, h)| matches!(h, Happening::Pause(..) | Happening::ApiDown(_)));
        if slow || self.api != Weather::CALM { 20_000 } else { 500 }
    }

    /// Whether a person's hand decides how operation `i` ends.
    pub fn touched(&self, i: usize) -> bool {
        let touches = |h: &Happening| match h {
            Happening::Edit(n, patch) => *n == i && !patch["spec"].is_null(),
            Happening::Delete(n) | Happening::ForceDelete(n) | Happening::Replace(n) => *n == i,
            Happening::DeleteCluster => true,
            Happening::Crash(..)
            | Happening::Pause(..)
            | Happening::TimeTravel(..)
            | Happening::Lag(..)
            | Happening::Blind(..)
            | Happening::ClockJump(..)
            | Happening::ApiDown(_)
            | Happening::MasterRestart
            | Happening::FailOver(_)
            | Happening::EngineDown(_)
            | Happening::WorkerRestart(_)
            | Happening::Evict(_)
            | Happening::ForeignLoad(_)
            | Happening::EditDataset(_)
            | Happening::DeleteDataset
            | Happening::EditCluster(_)
            | Happening::PodGone(_)
            | Happening::PodUnready(..)
            | Happening::Drift(_)
            | Happening::LockDeleted => false,
        };
        self.happenings.iter().any(|(_, h)| touches(h))
    }
}

/// The spec of an operation that tries long enough to outlast the weather.
pub fn spec(arm: &'static str, paths: &[&str]) -> Value {
    long(arm, &json!({"paths": paths}))
}

/// The same with the arguments of any arm.
pub fn long(arm: &'static str, arguments: &Value) -> Value {
    json!({
        "target": "cache",
        "operation": {arm: arguments},
        "retryPolicy": {"limit": 20, "backoffSeconds": 1},
        "stallDeadlineSeconds": 3600,
    })
}
