//! The closed vocabulary between decisions and engines: what may be asked (`Query` -> `Answer`) and what may be
//! done (`Effect` -> `Outcome`). An engine translates each variant into its own calls; a decision never knows
//! which engine it is. Effects are persisted in the intent and in journal entries, so they name a path by its
//! index in the (immutable) spec instead of repeating up to a kilobyte of text.

use crate::backups::BackupsView;
use crate::drain::{self, DrainView, LeavingView};
use crate::ids::{Fence, Nonce, Token, WriterId};
use crate::members::{MembersView, Numbers};
use crate::mounts::MountTable;
use crate::rollout::{Pace, Role, RolloutView};
use crate::spec::OperationSpec;
use serde::{Deserialize, Serialize};

/// One change of the world. Each variant says what an engine makes of it and why a repeat is harmless.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Effect {
    /// Make the engine know every file under a path (Alluxio: SyncMetadataAsync). A repeat finds nothing new.
    LoadMetadata {
        /// Index into the spec's paths.
        path: usize,
    },
    /// Start or resume the job that caches a path (Alluxio: submitJob). Jobs are keyed by path, so a repeat while
    /// it runs only sets the same options again.
    SubmitLoad {
        /// Index into the spec's paths.
        path: usize,
    },
    /// Stop the job that caches a path (Alluxio: StopJob). A repeat stops nothing.
    StopLoad {
        /// Index into the spec's paths.
        path: usize,
    },
    /// Stop learning about a path (Alluxio: CancelSyncMetadata). A repeat cancels nothing.
    CancelMetadata {
        /// Index into the spec's paths.
        path: usize,
        /// The engine's task group.
        task: i64,
    },
    /// Drop the cached blocks under a path (Alluxio: Free). A repeat frees nothing.
    Free {
        /// Index into the spec's paths.
        path: usize,
    },
    /// Make the store of the spec appear at a path (Alluxio: Mount). The table is read first: a repeat finds it there.
    Mount {
        /// Index into the spec's paths.
        path: usize,
    },
    /// Give the mount at a path the settings of the spec (Alluxio: UpdateMount). A repeat sets the same.
    UpdateMount {
        /// Index into the spec's paths.
        path: usize,
    },
    /// Remove the deepest mount at or below a path (Alluxio: Unmount), if it is one that the spec wants to be gone. A
    /// repeat removes the next one, or finds none.
    Unmount {
        /// Index into the spec's paths.
        path: usize,
    },
    /// Write what the engine knows of its namespace into the folder of this intent's token below the path (Alluxio: Backup). A
    /// repeat writes another whole file there.
    Backup {
        /// Index into the spec's paths.
        path: usize,
        /// No retention deletes it.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        lasting: bool,
    },
    /// Delete backups below the path, each in a folder of its own. A repeat finds none of them.
    PruneBackups {
        /// Index into the spec's paths.
        path: usize,
        /// Their folders.
        folders: Vec<String>,
    },
    /// Add workers to the revision of a managed cache (a patch of the CacheCluster's status, guarded by its resourceVersion).
    /// A repeat finds its token there.
    AddWorkers {
        /// Which.
        add: Numbers,
        /// Number of the revision that this was decided on: another one is refused.
        at: i64,
    },
    /// Raise the fence of the revision and change nothing else (as above): no write of its members that was sent before can
    /// land any more. A repeat finds its token there.
    FenceMembers {},
    /// Take workers out of the revision (as `AddWorkers`); refused unless a look right before shows that nothing is lost with
    /// them. A repeat finds its token there.
    RemoveWorkers {
        /// Which.
        remove: Numbers,
        /// Number of the revision that this was decided on: another one is refused.
        at: i64,
    },
    /// Note in the revision that workers are out of use, or not any more (as `AddWorkers`). A repeat finds its token there.
    MarkWorkers {
        /// Which.
        workers: Numbers,
        /// They are out of use from now on.
        out: bool,
        /// Number of the revision that this was decided on: another one is refused.
        at: i64,
    },
    /// Let a worker's pod be made anew: evict the pod of this uid. A repeat finds another uid, or none.
    ReplaceWorker {
        /// Its number.
        worker: i32,
        /// Uid of the pod.
        uid: String,
    },
    /// Make the revision name the release of the spec (as `AddWorkers`): members that are made anew are of it. A repeat finds
    /// its token there.
    SetRelease {
        /// Instead, the one of before, which the operation's state names.
        back: bool,
        /// Number of the revision that this was decided on: another one is refused.
        at: i64,
    },
    /// Let a member's pod be made anew: evict the pod of this uid. A repeat finds another uid, or none.
    ReplaceMember {
        /// What it does.
        role: Role,
        /// Its number among those.
        number: i32,
        /// Uid of the pod.
        uid: String,
    },
    /// Have another master lead (Alluxio: TransferLeadership). Who leads is compared first: a repeat finds it so.
    TransferLeadership {
        /// Its number. Whoever makes the call knows its host.
        to: i32,
    },
    /// Let every master lead as well as any other, after a transfer (Alluxio: ResetPriorities). A repeat changes nothing.
    ResetPriorities {},
    /// A call to the engine about workers; see [`drain::Call`].
    OnWorkers {
        /// Which call.
        call: drain::Call,
        /// Which workers.
        workers: Numbers,
    },
}

impl Effect {
    /// The path that the effect works on; `None` when it works on none, or the index does not fit the spec.
    #[must_use]
    pub fn path<'a>(&self, spec: &'a OperationSpec) -> Option<&'a str> {
        let path = match self {
            Self::LoadMetadata { path }
            | Self::SubmitLoad { path }
            | Self::StopLoad { path }
            | Self::CancelMetadata { path, .. }
            | Self::Free { path }
            | Self::Mount { path }
            | Self::UpdateMount { path }
            | Self::Unmount { path }
            | Self::Backup { path, .. }
            | Self::PruneBackups { path, .. } => path,
            Self::AddWorkers { .. }
            | Self::RemoveWorkers { .. }
            | Self::MarkWorkers { .. }
            | Self::ReplaceWorker { .. }
            | Self::SetRelease { .. }
            | Self::ReplaceMember { .. }
            | Self::OnWorkers { .. }
            | Self::TransferLeadership { .. }
            | Self::ResetPriorities {}
            | Self::FenceMembers {} => return None,
        };
        spec.operation.paths().get(*path).map(String::as_str)
    }

    /// Whether it is a write to Kubernetes, which no engine sees: class (a).
    #[must_use]
    pub const fn of_kubernetes(&self) -> bool {
        match self {
            Self::AddWorkers { .. }
            | Self::RemoveWorkers { .. }
            | Self::MarkWorkers { .. }
            | Self::ReplaceWorker { .. }
            | Self::SetRelease { .. }
            | Self::ReplaceMember { .. }
            | Self::FenceMembers {} => true,
            Self::OnWorkers { .. }
            | Self::TransferLeadership { .. }
            | Self::ResetPriorities {}
            | Self::LoadMetadata { .. }
            | Self::SubmitLoad { .. }
            | Self::StopLoad { .. }
            | Self::CancelMetadata { .. }
            | Self::Free { .. }
            | Self::Mount { .. }
            | Self::UpdateMount { .. }
            | Self::Unmount { .. }
            | Self::Backup { .. }
            | Self::PruneBackups { .. } => false,
        }
    }

    /// Whether it lets a pod be made anew. What guards that is the pod's uid alone, which stays when its member serves again.
    #[must_use]
    pub const fn evicts(&self) -> bool {
        matches!(self, Self::ReplaceWorker { .. } | Self::ReplaceMember { .. })
    }

    /// Whether it brings the engine to rest instead of working forward.
    #[must_use]
    pub const fn stops(&self) -> bool {
        match self {
            Self::StopLoad { .. }
            | Self::CancelMetadata { .. }
            | Self::ReplaceWorker { .. }
            | Self::ReplaceMember { .. }
            | Self::SetRelease { back: true, .. }
            | Self::FenceMembers {} => true,
            Self::OnWorkers { call, .. } => call.stops(),
            Self::AddWorkers { .. }
            | Self::TransferLeadership { .. }
            | Self::ResetPriorities {}
            | Self::RemoveWorkers { .. }
            | Self::MarkWorkers { .. }
            | Self::SetRelease { back: false, .. }
            | Self::LoadMetadata { .. }
            | Self::SubmitLoad { .. }
            | Self::Free { .. }
            | Self::Mount { .. }
            | Self::UpdateMount { .. }
            | Self::Unmount { .. }
            | Self::Backup { .. }
            | Self::PruneBackups { .. } => false,
        }
    }

    /// Name for messages and metrics.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::LoadMetadata { .. } => "loadMetadata",
            Self::SubmitLoad { .. } => "submitLoad",
            Self::StopLoad { .. } => "stopLoad",
            Self::CancelMetadata { .. } => "cancelMetadata",
            Self::Free { .. } => "free",
            Self::Mount { .. } => "mount",
            Self::UpdateMount { .. } => "updateMount",
            Self::Unmount { .. } => "unmount",
            Self::Backup { .. } => "backup",
            Self::PruneBackups { .. } => "pruneBackups",
            Self::AddWorkers { .. } => "addWorkers",
            Self::FenceMembers {} => "fenceMembers",
            Self::RemoveWorkers { .. } => "removeWorkers",
            Self::MarkWorkers { .. } => "markWorkers",
            Self::ReplaceWorker { .. } => "replaceWorker",
            Self::SetRelease { back: false, .. } => "setRelease",
            Self::SetRelease { back: true, .. } => "restoreRelease",
            Self::ReplaceMember { .. } => "replaceMember",
            Self::TransferLeadership { .. } => "transferLeadership",
            Self::ResetPriorities {} => "resetPriorities",
            Self::OnWorkers { call, .. } => call.name(),
        }
    }
}

/// What protects an effect against being applied twice. Declared by the engine for each effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EffectClass {
    /// (a) A Kubernetes write: token and fence live in the same object and patch, guarded by its resourceVersion.
    Kubernetes,
    /// (b) The engine dedupes by a client id: it gets the token.
    Token,
    /// (c) The engine refuses lower epochs: raise, probe, act.
    Fenced,
    /// (d) Neither: a set-to-value whose repeat is harmless. Read, compare, call, read; takeovers wait.
    Repeatable,
}

/// How long an effect may still land after it was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EffectTraits {
    /// What protects it.
    pub class: EffectClass,
    /// Hard limit of one call, in milliseconds.
    pub call_timeout_ms: i64,
    /// Longest time after which a call that was received may still be applied, in milliseconds.
    pub longest_delay_ms: i64,
}

/// An effect that is persisted before it is tried. Only the writer whose id and nonce stand here may send it,
/// and only within `send_for_ms` on its own monotonic clock, counted from before this intent's PATCH was sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Intent {
    /// Names the effect for probing; copied by a takeover.
    pub token: Token,
    /// What will be done.
    pub effect: Effect,
    /// The process that may send it.
    pub writer: WriterId,
    /// The write that recorded it.
    pub nonce: Nonce,
    /// Orders this attempt among all others on the engine.
    pub fence: Fence,
    /// How long the writer may take until it has sent the effect, in milliseconds.
    pub send_for_ms: i64,
}

/// What became of an effect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The engine accepted it, or it was already so.
    Done(Receipt),
    /// The engine said no; nothing changed.
    Refused {
        /// A condition reason in CamelCase.
        reason: String,
        /// A sentence for the user, redacted and bounded.
        message: String,
        /// Whether another attempt can help.
        retryable: bool,
    },
    /// It may or may not have happened; only reading the engine tells.
    Unknown {
        /// What was seen, redacted and bounded.
        detail: String,
    },
}

/// What the engine gave back for an accepted effect.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Receipt {
    /// Alluxio's metadata task group.
    pub task: Option<i64>,
    /// The engine's id of the job that was started.
    pub job: Option<String>,
    /// The work was there already and was joined.
    pub attached: bool,
    /// The engine's clock at the look that the call was made on, in milliseconds; none where something was left out.
    pub upto_ms: Option<i64>,
}

/// A question that a decision needs answered before it can be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Query {
    /// Can the engine work at all? -> [`Answer::Health`]
    Health,
    /// How far is the metadata of `path`? -> [`Answer::Metadata`]
    Metadata {
        /// Absolute path.
        path: String,
        /// The engine's task group, where there is one.
        task: Option<i64>,
        /// Also report the load job of this path, so that the next intent can share the write.
        then: Option<String>,
    },
    /// What does the load job of `path` do? -> [`Answer::Job`]
    LoadJob {
        /// Absolute path.
        path: String,
    },
    /// How much of these paths is cached? -> [`Answer::Tree`]
    Tree {
        /// Absolute paths.
        paths: Vec<String>,
    },
    /// What is mounted? -> [`Answer::Mounts`]
    Mounts {
        /// Also count what only the cache has below this path.
        count: Option<String>,
        /// Also see that the Secrets which the spec names are there. The controller does, engines do not.
        secrets: bool,
    },
    /// How are the workers of a managed cache? -> [`Answer::Members`]. The controller answers it, engines do not.
    Members,
    /// What of the cache hangs on these workers? -> [`Answer::Leaving`]. The controller answers it, with what the engine says
    /// to [`Query::Drain`].
    Leaving {
        /// Which.
        workers: Numbers,
        /// Also look for files that would be lost: lists the whole namespace.
        files: bool,
    },
    /// Of which release are the members of a managed cache, and how are they? -> [`Answer::Rollout`]. The controller answers
    /// it, also while the engine does not answer.
    Rollout {
        /// How far the way is to be gone at once, and which way: who is next depends on it.
        pace: Pace,
    },
    /// What became of a backup? -> [`Answer::Backups`]
    Backups {
        /// Absolute path below which they are.
        path: String,
        /// The folder below it to look into; none: whether backups can go there at all.
        folder: Option<String>,
        /// The engine's own id of one.
        id: Option<String>,
        /// Also name those beyond so many, never that of the folder above.
        keep: Option<i32>,
    },
    /// The same in the engine's words -> [`Answer::Drain`].
    Drain {
        /// The workers of the cache, those that leave among them.
        workers: Vec<drain::At>,
        /// As above.
        files: bool,
    },
}

/// The answer to a [`Query`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// To [`Query::Health`].
    Health(Health),
    /// To [`Query::Metadata`]; the job is there when `then` was asked.
    Metadata(MetadataView, Option<JobView>),
    /// To [`Query::LoadJob`].
    Job(JobView),
    /// To [`Query::Tree`].
    Tree(TreeView),
    /// To [`Query::Mounts`].
    Mounts(MountTable),
    /// To [`Query::Members`].
    Members(MembersView),
    /// To [`Query::Leaving`].
    Leaving(MembersView, Box<LeavingView>),
    /// To [`Query::Rollout`].
    Rollout(Box<RolloutView>),
    /// To [`Query::Drain`].
    Drain(DrainView),
    /// To [`Query::Backups`].
    Backups(BackupsView),
}

/// Whether the engine can take work.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Health {
    /// Workers that serve.
    pub live_workers: i64,
    /// Bytes that they can cache together.
    pub capacity_bytes: i64,
    /// Whether the engine's load keeps a chosen number of replicas.
    pub load_replicas: bool,
}

/// State of learning about a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MetadataView {
    /// The engine is at it.
    Running {
        /// Entries handled so far.
        done: i64,
    },
    /// The engine knows everything below the path.
    Loaded(TreeView),
    /// The path is in neither the cache's namespace nor the under-storage.
    Missing,
    /// The engine does not know this task (any more).
    Forgotten,
    /// The engine failed at it.
    Failed {
        /// Redacted and bounded.
        message: String,
    },
}

/// What is under some paths.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TreeView {
    /// Files.
    pub files: i64,
    /// Bytes of all files.
    pub bytes: i64,
    /// Bytes that are cached, rounded down file by file.
    pub cached_bytes: i64,
    /// The first path that does not exist, if any.
    pub missing: Option<String>,
}

impl TreeView {
    /// Percentage of the bytes that is cached, rounded down, 100 for nothing at all.
    #[must_use]
    pub fn cached_percent(&self) -> i64 {
        percent(self.cached_bytes, self.bytes)
    }
}

/// `done` of `total` in per cent, rounded down and within 0..=100; 100 when there is nothing to do.
#[must_use]
pub fn percent(done: i64, total: i64) -> i64 {
    if total <= 0 {
        return 100;
    }
    let p = i128::from(done.max(0)) * 100 / i128::from(total);
    i64::try_from(p).map_or(100, |p| p.min(100))
}

/// A load job as the engine sees it. Alluxio keeps one job a path and names no id in its progress.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobView {
    /// What it does.
    pub state: JobState,
    /// Bytes to load, once known.
    pub total_bytes: Option<i64>,
    /// Bytes loaded by this job.
    pub loaded_bytes: i64,
    /// Files handled by this job.
    pub files: i64,
    /// Files that failed.
    pub failed_files: i64,
    /// One of them and what the engine says of it, once the job is over and if the engine tells.
    pub failed_example: Option<String>,
}

/// What a load job does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum JobState {
    /// No such job.
    Absent,
    /// At work (or verifying).
    Running,
    /// Stopped by somebody; a submit resumes it.
    Stopped,
    /// It says that it succeeded. Not yet a proof that anything is cached.
    Succeeded,
    /// It failed.
    Failed {
        /// The path does not exist.
        missing: bool,
        /// Redacted and bounded.
        message: String,
    },
}

/// Why the engine gave no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trouble {
    /// What kind of trouble.
    pub kind: TroubleKind,
    /// Redacted and bounded to 300 characters.
    pub message: String,
}

/// Kinds of trouble with an engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TroubleKind {
    /// No address answers.
    Unreachable,
    /// It starts, or has no primary.
    NotReady,
    /// It said no.
    Refused,
    /// What was asked about does not exist.
    NotFound,
    /// This version cannot do it.
    Unsupported,
    /// Time-out, reset or an internal error.
    Unknown,
    /// A Secret that the spec names is not there, or has no such key.
    NoSecret,
}

impl TroubleKind {
    /// The condition reason.
    #[must_use]
    pub const fn reason(self) -> &'static str {
        match self {
            Self::Unreachable => "EngineUnreachable",
            Self::NotReady => "EngineNotReady",
            Self::Refused => "EngineRefused",
            Self::NotFound => "NotFound",
            Self::Unsupported => "Unsupported",
            Self::Unknown => "EngineError",
            Self::NoSecret => "SecretNotFound",
        }
    }

    /// Whether waiting can help.
    #[must_use]
    pub const fn passes(self) -> bool {
        matches!(self, Self::Unreachable | Self::NotReady | Self::Unknown)
    }
}
