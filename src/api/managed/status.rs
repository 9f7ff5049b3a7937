//! What the status of a managed cache says of it.

use super::{Managed, anything};
use ratchet_state_machine::ids::{Fence, Token};
use serde::{Deserialize, Serialize};

/// What operations have made true of a managed cache. Its objects are rendered from this and from nothing else: a pod
/// that comes back by itself comes back as this says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Revision {
    /// Grows with each change.
    pub number: i64,
    /// The workers, by their numbers.
    #[schemars(length(max = 256))]
    pub workers: Vec<i32>,
    /// Those of them that are out of use, by their numbers: an operation has taken them out for maintenance.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 256))]
    pub out_of_use: Vec<i32>,
    /// The spec that it was made from.
    #[schemars(schema_with = "anything")]
    pub managed: Managed,
    /// The operation that wrote it; absent where the set-up did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<WrittenBy>,
}

/// An operation's write of the revision. Its fence only grows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct WrittenBy {
    /// Uid of the operation.
    #[schemars(length(max = 64))]
    pub operation: String,
    /// The effect.
    #[schemars(length(max = 32))]
    pub what: String,
    /// Names it, so that a repeat finds itself.
    #[schemars(length(max = 64))]
    pub token: Token,
    /// Orders it among all others: a lower one is refused.
    pub fence: Fence,
}

/// A part of the spec whose edits become operations.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Facet {
    /// version, workers or outOfUse.
    #[schemars(length(max = 32))]
    pub name: String,
    /// The value of the spec that was acted upon last, whatever came of it.
    #[schemars(length(max = 512))]
    pub handled: String,
    /// The operation that it became; empty where none was needed.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 253))]
    pub operation: String,
    /// Creating until the operation is known to be there, then its phase.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 32))]
    pub phase: String,
}

/// How far the set-up is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SetUp {
    /// The stage.
    #[schemars(length(max = 32))]
    pub stage: String,
    /// Number of the revision that is set up.
    pub revision: i64,
    /// Since when.
    #[schemars(length(max = 30))]
    pub since: String,
}

/// Something that Ratchet may or may not do with a cache.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Capability {
    /// What.
    #[schemars(length(max = 64))]
    pub name: String,
    /// Whether.
    pub allowed: bool,
    /// Why not; empty otherwise.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 200))]
    pub why: String,
}

impl Capability {
    /// What may be done with a cache whose members nobody touches: work on its data, and why no more.
    #[must_use]
    pub fn data_only(why: &str) -> Vec<Self> {
        Self::of(
            &["DataOperations", "Mounts"],
            &["AddWorkers", "RemoveWorkers", "ReplacePods", "Configure"],
            why,
        )
    }

    /// What may be done with a cache whose number of workers Ratchet may change, and why no more.
    #[must_use]
    pub fn with_workers(why: &str) -> Vec<Self> {
        Self::of(
            &["DataOperations", "Mounts", "AddWorkers", "RemoveWorkers"],
            &["ReplacePods", "Configure"],
            why,
        )
    }

    fn of(allowed: &[&str], not: &[&str], why: &str) -> Vec<Self> {
        let may = |name: &&str| Self { name: (*name).into(), allowed: true, why: String::new() };
        let not_yet = |name: &&str| Self { name: (*name).into(), allowed: false, why: why.into() };
        allowed.iter().map(may).chain(not.iter().map(not_yet)).collect()
    }
}

/// What of a member's storage outlives its pod.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Survival {
    /// journal, or the tier.
    #[schemars(length(max = 32))]
    pub of: String,
    /// Never, OnSameNode or Always.
    #[schemars(length(max = 16))]
    pub survives_pod: String,
}

/// How the deletion of a managed cache gets on.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Leaving {
    /// It is freed.
    #[serde(default)]
    pub freed: bool,
    /// How often the cache was asked to free what it has.
    pub free_attempts: i32,
    /// The operation that frees it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 253))]
    pub operation: String,
}
