//! Condition types and how they are kept: one entry a type, the time of the last change of its status.

use chrono::{DateTime, SecondsFormat, Utc};
use serde::{Deserialize, Serialize};

/// True in any terminal phase, so that `kubectl wait` does not hang on a failure.
pub const FINISHED: &str = "Finished";
/// True when what was asked for is so, read back from the engine; false when the operation ended otherwise.
pub const SUCCEEDED: &str = "Succeeded";
/// True while the operation gets on; false with the reason why not.
pub const PROGRESSING: &str = "Progressing";
/// True when a person is needed.
pub const STALLED: &str = "Stalled";
/// A cache answers and is claimed.
pub const READY: &str = "Ready";
/// The spec is not what is so, and no operation is under way: why.
pub const SPEC_NOT_APPLIED: &str = "SpecNotApplied";
/// The cache has looked for all files of a dataset since its mounts are as they are.
pub const SYNCED: &str = "Synced";
/// What a dataset asks of its cache, a quota or a time to live, is kept.
pub const CACHE_POLICY_APPLIED: &str = "CachePolicyApplied";
/// The volumes of a dataset can be used.
pub const VOLUMES_READY: &str = "VolumesReady";
/// An operation was deleted before its work in the engine could be stopped.
pub const UNFINISHED_OPERATION: &str = "UnfinishedOperation";

/// A condition, in the shape that Kubernetes tools know.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Condition {
    /// Type of the condition.
    #[serde(rename = "type")]
    #[schemars(length(max = 63))]
    pub type_: String,
    /// True, False or Unknown.
    #[schemars(length(max = 7))]
    pub status: String,
    /// Why, in CamelCase.
    #[schemars(length(max = 64))]
    pub reason: String,
    /// Why, in a sentence.
    #[schemars(length(max = 600))]
    pub message: String,
    /// When the status last changed.
    #[schemars(length(max = 30))]
    pub last_transition_time: String,
    /// Generation of the object that this was seen with.
    #[serde(default)]
    pub observed_generation: i64,
}

/// What a condition is to say.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// Type of the condition.
    pub type_: &'static str,
    /// True or False.
    pub status: bool,
    /// Why, in CamelCase.
    pub reason: String,
    /// Why, in a sentence.
    pub message: String,
}

impl Wanted {
    /// Shorthand.
    #[must_use]
    pub fn new(type_: &'static str, status: bool, reason: &str, message: impl Into<String>) -> Self {
        Self { type_, status, reason: reason.into(), message: message.into() }
    }
}

/// RFC 3339 with seconds, UTC.
#[must_use]
pub fn time(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Secs, true)
}

/// The conditions after `wanted` was applied to `old`; types that are not wanted stay as they are.
#[must_use]
pub fn apply(old: &[Condition], wanted: &[Wanted], generation: i64, now: DateTime<Utc>) -> Vec<Condition> {
    let mut out = old.to_vec();
    for w in wanted {
        let status = if w.status { "True" } else { "False" };
        let message = ratchet_state_machine::lifecycle::cut(&w.message, 600);
        let reason = ratchet_state_machine::lifecycle::cut(&w.reason, 64);
        let new = |since: String| Condition {
            type_: w.type_.into(),
            status: status.into(),
            reason: reason.clone(),
            message: message.clone(),
            last_transition_time: since,
            observed_generation: generation,
        };
        match out.iter_mut().find(|c| c.type_ == w.type_) {
            Some(c) => {
                let since = if c.status == status { c.last_transition_time.clone() } else { time(now) };
                *c = new(since);
            }
            None => out.push(new(time(now))),
        }
    }
    out
}
