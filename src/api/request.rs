//! What users ask for in a kind of its own: each object becomes one DataOperation, under a deterministic name, and shows
//! where that run is.
//!
//! ```text
//!   DataLoad, Upgrade --operation()--> DataOperation --its status--> RunStatus
//! ```

use super::conditions::Condition;
use ratchet_state_machine::spec::{Approval, ArmSpec, Control, OperationSpec, RetryPolicy, RunAfter};
use serde::{Deserialize, Serialize};

/// A kind whose objects become one operation each. They are immutable: another run is another object.
pub trait Request: kube::Resource<DynamicType = ()> {
    /// The operation that a run of it is.
    fn operation(&self) -> OperationSpec;

    /// What it shows of its newest run.
    fn run(&self) -> Option<&RunStatus>;

    /// The deterministic name of its operation: two controllers create one.
    fn operation_name(&self) -> String {
        let name = self.meta().name.as_deref().unwrap_or_default();
        let uid = self.meta().uid.as_deref().unwrap_or_default();
        let digest = ratchet_state_machine::ids::hash(&[b"run", uid.as_bytes()]);
        let suffix: String = digest.chars().filter(char::is_ascii_alphanumeric).take(6).collect();
        let stem: String = name.chars().take(200).collect();
        format!("{}-{}", stem.trim_end_matches(['-', '.']), suffix.to_ascii_lowercase())
    }
}

/// What every request says beside the arguments of its operation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Terms {
    /// Name of the CacheCluster in the same namespace.
    #[schemars(length(min = 1, max = 253))]
    pub target: String,
    /// Operations of the same namespace that have to finish first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub run_after: Vec<RunAfter>,
    /// Higher runs first among the operations that wait for the same cache.
    #[serde(default)]
    #[schemars(range(min = -1000, max = 1000))]
    pub priority: i32,
    /// Seconds from the creation after which the run is stopped and fails. Absent: no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 31_536_000))]
    pub deadline_seconds: Option<i64>,
    /// Seconds without any progress after which the run is stopped and fails.
    #[serde(default = "default_stall")]
    #[schemars(range(min = 1, max = 31_536_000))]
    pub stall_deadline_seconds: i64,
    /// How often and how fast a failed step is tried again.
    #[serde(default)]
    pub retry_policy: RetryPolicy,
    /// Seconds after the end at which the operation object is deleted. Its journal stays. Absent: it is kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 31_536_000))]
    pub ttl_after_finished_seconds: Option<i64>,
    /// Whether a person has to approve the plan before anything happens.
    #[serde(default)]
    pub approval: Approval,
}

const fn default_stall() -> i64 {
    600
}

impl Terms {
    /// The operation of these arguments on these terms.
    #[must_use]
    pub fn operation(&self, operation: ArmSpec) -> OperationSpec {
        OperationSpec {
            target: self.target.clone(),
            operation,
            run_after: self.run_after.clone(),
            priority: self.priority,
            deadline_seconds: self.deadline_seconds,
            stall_deadline_seconds: self.stall_deadline_seconds,
            retry_policy: self.retry_policy,
            ttl_after_finished_seconds: self.ttl_after_finished_seconds,
            approval: self.approval,
            control: Control::default(),
        }
    }
}

/// The newest run of a request.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RunStatus {
    /// The run's `seq` that is shown; only grows.
    #[serde(default)]
    pub observed_seq: i64,
    /// Name of the DataOperation of the newest run.
    #[schemars(length(max = 253))]
    pub operation: String,
    /// Its phase.
    #[schemars(length(max = 32))]
    pub phase: String,
    /// Its step.
    #[schemars(length(max = 63))]
    pub step: String,
    /// Its progress in per cent.
    #[schemars(length(max = 8))]
    pub progress: String,
    /// Why it waits, or how it ended.
    #[schemars(length(max = 64))]
    pub reason: String,
    /// When it started, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 30))]
    pub started_at: Option<String>,
    /// When it ended, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 30))]
    pub finished_at: Option<String>,
    /// The run's conditions.
    #[serde(default)]
    #[schemars(length(max = 16))]
    pub conditions: Vec<Condition>,
    /// Generation of the object that this was seen with.
    #[serde(default)]
    pub observed_generation: i64,
}
