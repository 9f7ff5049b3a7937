//! What a user asks for, as plain data. These types are the `spec` of a `DataOperation` (the API crate adds the
//! Kubernetes metadata and the admission rules) and are kept canonically in the first journal segment, so that a
//! history can be replayed when the object is gone. Every list and string has a bound; the generated schema
//! states it, and [`OperationSpec::problems`] says in a sentence what the schema cannot.

use crate::ids::PlanHash;
use serde::{Deserialize, Serialize};

mod backup;
mod members;
mod mount;
mod upgrade;
pub use backup::BackupSpec;
pub use members::{DecommissionSpec, RecommissionSpec, ScaleInSpec, ScaleOutSpec};
pub use mount::{
    MountOption, MountSpec, SecretKey, UnmountSpec, ValueFrom, WhenInUse, names_credential, same_uri,
    uris_overlap,
};
pub use upgrade::{HaltAfter, Strategy, UpgradeSpec, approves};

/// Longest path that an operation accepts, in characters.
pub const MAX_PATH: usize = 1024;
/// Most paths in one operation.
pub const MAX_PATHS: usize = 32;

/// The specification of one run of one operation. Immutable after creation, except `control`, `priority` (while
/// queued) and `deadlineSeconds` (only raised).
// A field that is added later has to be skipped while it has its default, or the genesis digests of older histories
// would change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct OperationSpec {
    /// Name of the CacheCluster in the same namespace that the operation works on.
    #[cfg_attr(feature = "schema", schemars(length(min = 1, max = 253)))]
    pub target: String,
    /// What to do: exactly one arm.
    pub operation: ArmSpec,
    /// Operations of the same namespace that have to finish first. A predecessor that ends otherwise than
    /// required fails this operation; one that does not appear fails it after the stall deadline.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[cfg_attr(feature = "schema", schemars(length(max = 16)))]
    pub run_after: Vec<RunAfter>,
    /// Higher runs first among the operations that wait for the same cache; then the older one.
    #[serde(default)]
    #[cfg_attr(feature = "schema", schemars(range(min = -1000, max = 1000)))]
    pub priority: i32,
    /// Seconds from the creation after which the operation is stopped and fails. May be raised later. Absent: no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(range(min = 1, max = 31_536_000)))]
    pub deadline_seconds: Option<i64>,
    /// Seconds without any progress after which the operation is stopped and fails. Time in the queue, in a
    /// pause and while it waits for an approval does not count.
    #[serde(default = "default_stall")]
    #[cfg_attr(feature = "schema", schemars(range(min = 1, max = 31_536_000)))]
    pub stall_deadline_seconds: i64,
    /// How often and how fast a failed step is tried again.
    #[serde(default)]
    pub retry_policy: RetryPolicy,
    /// Seconds after the end at which the object is deleted. Its journal stays. Absent: it is kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(range(min = 0, max = 31_536_000)))]
    pub ttl_after_finished_seconds: Option<i64>,
    /// Whether a person has to approve the plan before anything happens.
    #[serde(default)]
    pub approval: Approval,
    /// The switches that may be changed while the operation exists.
    #[serde(default)]
    pub control: Control,
}

const fn default_stall() -> i64 {
    600
}

/// Exactly one operation with its arguments.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum ArmSpec {
    /// Bring data into the cache.
    Load(LoadSpec),
    /// Drop data from the cache; the under-storage keeps it.
    Free(FreeSpec),
    /// Make data of a store appear in the cache's namespace, or change how it does.
    Mount(MountSpec),
    /// Let it disappear from there; the store keeps it.
    Unmount(UnmountSpec),
    /// Make the cache know every file as the stores have it now.
    Sync(SyncSpec),
    /// Give a managed cache more workers.
    ScaleOut(ScaleOutSpec),
    /// Take workers out of a managed cache, and lose nothing with them.
    ScaleIn(ScaleInSpec),
    /// Take workers of a managed cache out of use for maintenance, lose nothing, and keep them out of use.
    Decommission(DecommissionSpec),
    /// Bring them back.
    Recommission(RecommissionSpec),
    /// Bring a managed cache to another release while it serves, and back if that fails.
    Upgrade(UpgradeSpec),
    /// Write what the cache knows of its namespace into a file of its root store.
    Backup(BackupSpec),
}

/// Arguments of `load`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct LoadSpec {
    /// Absolute paths in the cache's namespace, files or directories (recursively), loaded in this order.
    #[cfg_attr(feature = "schema", schemars(length(min = 1, max = 32), inner(length(min = 1, max = 1024))))]
    pub paths: Vec<String>,
    /// Bytes a second for each worker, as the engine enforces it. Absent: unlimited.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(range(min = 1)))]
    pub bandwidth_bytes_per_second: Option<i64>,
    /// Copies of each block to keep. Engines whose load does not know replicas refuse more than 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(range(min = 1, max = 64)))]
    pub replicas: Option<i32>,
    /// Let the engine check the loaded data once more at its end.
    #[serde(default)]
    pub verify: bool,
    /// Start loading before the listing is complete: sooner for huge directories, without a total.
    #[serde(default)]
    pub partial_listing: bool,
    /// The load succeeds only when at least this percentage of the bytes is cached at the end.
    #[serde(default = "default_min_cached")]
    #[cfg_attr(feature = "schema", schemars(range(min = 0, max = 100)))]
    pub min_cached_percent: i32,
    /// The load succeeds only when at most this many files failed.
    #[serde(default)]
    #[cfg_attr(feature = "schema", schemars(range(min = 0)))]
    pub max_failed_files: i64,
}

const fn default_min_cached() -> i32 {
    100
}

/// Arguments of `free`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct FreeSpec {
    /// Absolute paths in the cache's namespace, files or directories (recursively), freed in this order.
    #[cfg_attr(feature = "schema", schemars(length(min = 1, max = 32), inner(length(min = 1, max = 1024))))]
    pub paths: Vec<String>,
}

/// Arguments of `sync`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct SyncSpec {
    /// Absolute paths in the cache's namespace, files or directories (recursively), in this order.
    #[cfg_attr(feature = "schema", schemars(length(min = 1, max = 32), inner(length(min = 1, max = 1024))))]
    pub paths: Vec<String>,
}

/// One predecessor.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct RunAfter {
    /// Name of a DataOperation in the same namespace.
    #[cfg_attr(feature = "schema", schemars(length(min = 1, max = 253)))]
    pub name: String,
    /// How it has to end.
    // Not called `on` where it is written: kubectl reads YAML 1.1, to which that is a boolean, also as a key.
    #[serde(default, rename = "ended")]
    pub on: Ended,
}

/// How a predecessor has to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum Ended {
    /// It has to succeed.
    #[default]
    Succeeded,
    /// It has to fail (a clean-up, for example).
    Failed,
    /// Any end will do.
    Finished,
}

/// How often and how fast a failed step is tried again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct RetryPolicy {
    /// Failed attempts of the whole work that are followed by another; after that the operation fails.
    #[serde(default = "default_limit")]
    #[cfg_attr(feature = "schema", schemars(range(min = 0, max = 1000)))]
    pub limit: i32,
    /// Seconds before the second attempt; doubled for each further one.
    #[serde(default = "default_backoff")]
    #[cfg_attr(feature = "schema", schemars(range(min = 0, max = 86_400)))]
    pub backoff_seconds: i64,
    /// Longest pause between two attempts, in seconds.
    #[serde(default = "default_max_backoff")]
    #[cfg_attr(feature = "schema", schemars(range(min = 0, max = 86_400)))]
    pub max_backoff_seconds: i64,
}

const fn default_limit() -> i32 {
    3
}
const fn default_backoff() -> i64 {
    10
}
const fn default_max_backoff() -> i64 {
    300
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            limit: default_limit(),
            backoff_seconds: default_backoff(),
            max_backoff_seconds: default_max_backoff(),
        }
    }
}

impl RetryPolicy {
    /// Milliseconds to wait after failed attempt number `failures` (1 is the first).
    #[must_use]
    pub fn backoff_ms(&self, failures: i64) -> i64 {
        let doublings = failures.saturating_sub(1).clamp(0, 30) as u32;
        let seconds = self.backoff_seconds.saturating_mul(1_i64 << doublings);
        seconds.min(self.max_backoff_seconds).max(0).saturating_mul(1000)
    }
}

/// Whether a person has to approve the plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum Approval {
    /// Nobody has to.
    #[default]
    Automatic,
    /// The operation waits in AwaitingApproval for `control.approve` with the hash of its plan.
    Manual,
}

/// The switches of a running operation. They live on the DataOperation, which nobody keeps in Git.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Control {
    /// True pauses the operation (the work in the engine is stopped), false lets it go on.
    #[serde(default)]
    pub suspend: bool,
    /// True cancels the operation. One-way.
    #[serde(default)]
    pub cancel: bool,
    /// Approves the plan with this hash.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approve: Option<Approve>,
    /// Raise it by one to let a Stuck operation try again. Only grows.
    #[serde(default)]
    #[cfg_attr(feature = "schema", schemars(range(min = 0)))]
    pub retry: i64,
    /// Skips the clean-up that a Stuck operation cannot do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub skip: Option<Skip>,
    /// Accepts a risk that the plan names. Recorded with who asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub force: Option<Force>,
}

/// An approval, bound to a plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Approve {
    /// The value of `status.plan.hash` that is approved.
    #[cfg_attr(feature = "schema", schemars(length(min = 1, max = 64)))]
    pub plan_hash: PlanHash,
    /// Who approves; has to be the requester.
    #[cfg_attr(feature = "schema", schemars(length(min = 1, max = 253)))]
    pub by: String,
}

/// Skipping a step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Skip {
    /// The step to skip: pausing, cancelling, aborting or rollingBack, as the message of the stuck operation names it.
    #[cfg_attr(feature = "schema", schemars(length(min = 1, max = 63)))]
    pub step: String,
    /// Who asks; has to be the requester.
    #[cfg_attr(feature = "schema", schemars(length(min = 1, max = 253)))]
    pub by: String,
}

/// Accepting a risk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Force {
    /// Who asks; has to be the requester.
    #[cfg_attr(feature = "schema", schemars(length(min = 1, max = 253)))]
    pub by: String,
}

impl OperationSpec {
    /// An operation on a cache with everything else as it is by default.
    #[must_use]
    pub fn on(target: &str, operation: ArmSpec) -> Self {
        Self {
            target: target.to_owned(),
            operation,
            run_after: Vec::new(),
            priority: 0,
            deadline_seconds: None,
            stall_deadline_seconds: default_stall(),
            retry_policy: RetryPolicy::default(),
            ttl_after_finished_seconds: None,
            approval: Approval::default(),
            control: Control::default(),
        }
    }

    /// The part that never changes: what the genesis digest, the plan hash and the first segment hold.
    #[must_use]
    pub fn frozen(&self) -> Self {
        Self { control: Control::default(), priority: 0, deadline_seconds: None, ..self.clone() }
    }

    /// What the schema cannot refuse, one sentence for each problem.
    #[must_use]
    pub fn problems(&self) -> Vec<String> {
        let paths = self.operation.paths();
        let mut all: Vec<String> = match &self.operation {
            ArmSpec::Load(_) | ArmSpec::Free(_) | ArmSpec::Sync(_) => {
                paths.iter().filter_map(|p| path_problem(p)).collect()
            }
            ArmSpec::Mount(m) => m.problems(),
            ArmSpec::Unmount(u) => u.problems(),
            ArmSpec::ScaleOut(_) | ArmSpec::Decommission(_) | ArmSpec::Recommission(_) => Vec::new(),
            ArmSpec::ScaleIn(s) => s.problems(),
            ArmSpec::Upgrade(u) => u.problems(),
            ArmSpec::Backup(b) => b.problems(),
        };
        for (i, a) in paths.iter().enumerate() {
            // What lies under two of the paths would be counted twice.
            if let Some(b) = paths.iter().take(i).find(|b| paths_overlap(a, b)) {
                let (a, b) = (crate::lifecycle::cut(a, 60), crate::lifecycle::cut(b, 60));
                all.push(format!("the paths '{b}' and '{a}' overlap; name only the outer one"));
                break;
            }
        }
        all
    }
}

impl ArmSpec {
    /// The paths that the operation works on: the scope of its lock.
    #[must_use]
    pub fn paths(&self) -> &[String] {
        match self {
            Self::Load(l) => &l.paths,
            Self::Free(f) => &f.paths,
            Self::Sync(s) => &s.paths,
            Self::Mount(m) => std::slice::from_ref(&m.path),
            Self::Unmount(u) => std::slice::from_ref(&u.path),
            Self::Backup(b) => std::slice::from_ref(&b.path),
            Self::ScaleOut(_) | Self::ScaleIn(_) | Self::Decommission(_) | Self::Recommission(_) => &[],
            Self::Upgrade(u) => u.backup_path.as_slice(),
        }
    }

    /// Whether it waits for its turn while others work on its paths. Otherwise it fails.
    #[must_use]
    pub const fn waits_its_turn(&self) -> bool {
        match self {
            Self::Load(_)
            | Self::Free(_)
            | Self::Mount(_)
            | Self::Sync(_)
            | Self::ScaleOut(_)
            | Self::ScaleIn(_)
            | Self::Decommission(_)
            | Self::Recommission(_)
            | Self::Upgrade(_)
            | Self::Backup(_) => true,
            Self::Unmount(u) => matches!(u.when_in_use, WhenInUse::Wait),
        }
    }

    /// The Secrets that it needs: the name that the engine knows each value by, and where it is kept.
    #[must_use]
    pub fn secrets(&self) -> Vec<(&str, &SecretKey)> {
        match self {
            Self::Load(_)
            | Self::Free(_)
            | Self::Unmount(_)
            | Self::Sync(_)
            | Self::ScaleOut(_)
            | Self::ScaleIn(_)
            | Self::Decommission(_)
            | Self::Recommission(_)
            | Self::Upgrade(_)
            | Self::Backup(_) => Vec::new(),
            Self::Mount(m) => m.secrets().collect(),
        }
    }
}

/// What is wrong with a path, in a sentence that says what to change; `None` for a good one.
#[must_use]
pub fn path_problem(path: &str) -> Option<String> {
    let shown: String = path.chars().take(60).collect();
    if path.is_empty() {
        return Some("a path is empty; give an absolute path such as /data".into());
    }
    if path.chars().count() > MAX_PATH {
        return Some(format!(
            "the path that begins with '{shown}' is longer than {MAX_PATH} characters; shorten it"
        ));
    }
    if !path.starts_with('/') {
        return Some(format!("the path '{shown}' is relative; begin it with '/'"));
    }
    if path != "/" && path.ends_with('/') {
        return Some(format!("the path '{shown}' ends with '/'; remove it"));
    }
    if path.split('/').any(|c| c == "." || c == "..") {
        return Some(format!("the path '{shown}' contains '.' or '..'; write the plain absolute path"));
    }
    if path.contains("//") {
        return Some(format!("the path '{shown}' contains '//'; remove the empty component"));
    }
    if path.chars().any(char::is_control) {
        return Some(format!("the path '{}' contains a control character; remove it", shown.escape_debug()));
    }
    None
}

/// Whether one path contains the other, compared by whole components: `/a` contains `/a/b` and not `/ab`.
#[must_use]
pub fn paths_overlap(a: &str, b: &str) -> bool {
    let mut a = a.split('/').filter(|c| !c.is_empty());
    let mut b = b.split('/').filter(|c| !c.is_empty());
    loop {
        match (a.next(), b.next()) {
            (Some(x), Some(y)) if x == y => {}
            (Some(_), Some(_)) => return false,
            (None, _) | (_, None) => return true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_overlap_by_components_and_never_as_strings() {
        assert!(paths_overlap("/a", "/a/b"));
        assert!(paths_overlap("/a/b", "/a"));
        assert!(paths_overlap("/", "/x"));
        assert!(!paths_overlap("/a", "/ab"));
        assert!(!paths_overlap("/a/b", "/a/c"));
    }

    #[test]
    fn every_bad_path_gets_a_sentence() {
        for bad in ["", "a", "/a/../b", "/a/", "//a", "/a\nb", "/.", &format!("/{}", "x".repeat(10_000))] {
            assert!(path_problem(bad).is_some(), "{bad:?} was accepted");
        }
        for good in ["/", "/a", "/a/b c/ü", "/..a/b..", &format!("/{}", "x".repeat(1023))] {
            assert_eq!(path_problem(good), None, "{good:?} was refused");
        }
    }

    #[test]
    fn backoff_doubles_to_its_limit_and_never_overflows() {
        let p = RetryPolicy { limit: 9, backoff_seconds: 10, max_backoff_seconds: 300 };
        assert_eq!((p.backoff_ms(1), p.backoff_ms(2), p.backoff_ms(6)), (10_000, 20_000, 300_000));
        assert_eq!(p.backoff_ms(i64::MAX), 300_000);
    }
}
