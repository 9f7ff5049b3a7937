//! `CacheCluster`: a cache. Managed: an Alluxio that Ratchet runs. Attached: one that is already there, named by its
//! masters' addresses. In `ratchet dev` also a local one, which lives in the same process; the shipped CRD does not offer
//! it.

use super::conditions::Condition;
use super::kind::kind;
use super::managed::{Capability, Facet, Leaving, Managed, Revision, SetUp, Survival};
use serde::{Deserialize, Serialize};

kind! {
    /// A distributed cache that operations work on.
    CacheCluster, plural "cacheclusters", scope NamespaceResourceScope,
    {
        /// Which cache.
        spec: CacheClusterSpec,
        /// What was seen of it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        status: Option<CacheClusterStatus>,
    }
}

/// Which cache.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CacheClusterSpec {
    /// The cache system.
    #[serde(default)]
    pub engine: EngineKind,
    /// A cache that is already there.
    #[serde(default, skip_serializing_if = "Attached::is_empty")]
    pub attached: Attached,
    /// A cache that Ratchet runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub managed: Option<Managed>,
    /// A cache in the process of `ratchet dev`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub local: Option<Local>,
}

/// The cache systems that Ratchet knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, schemars::JsonSchema)]
pub enum EngineKind {
    /// Alluxio 2.9.
    #[default]
    Alluxio,
    /// The cache of `ratchet dev`.
    Local,
}

/// A cache in the process of `ratchet dev`. Its size is decided once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Local {
    /// Workers.
    #[serde(default = "default_workers")]
    #[schemars(range(min = 1, max = 16))]
    pub workers: i32,
    /// Bytes that each of them holds.
    #[serde(default = "default_worker_capacity")]
    #[schemars(range(min = 1))]
    pub worker_capacity_bytes: i64,
    /// Speed of each load; 0: as fast as it goes.
    #[serde(default)]
    #[schemars(range(min = 0))]
    pub bytes_per_second: i64,
}

impl Default for Local {
    fn default() -> Self {
        Self {
            workers: default_workers(),
            worker_capacity_bytes: default_worker_capacity(),
            bytes_per_second: 0,
        }
    }
}

fn default_workers() -> i32 {
    2
}

fn default_worker_capacity() -> i64 {
    1 << 30
}

/// A cache that is already there.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Attached {
    /// RPC addresses of the masters, `host:port` each; the primary is found among them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(min = 1, max = 9), inner(length(min = 3, max = 260)))]
    pub masters: Vec<String>,
    /// Instead of addresses: what the cache was declared by. Its masters are found by their pods, again and again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reference: Option<Reference>,
    /// How the cache authenticates its clients.
    #[serde(default)]
    pub security: Security,
}

impl Attached {
    /// Whether it names no cache.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.masters.is_empty() && self.reference.is_none()
    }
}

/// An object of another project that a cache was declared by, in the same namespace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Reference {
    /// Its kind.
    pub kind: OwnerKind,
    /// Its name.
    #[schemars(length(min = 1, max = 200))]
    pub name: String,
}

/// Kinds that Ratchet finds a cache by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub enum OwnerKind {
    /// Of Fluid (data.fluid.io).
    AlluxioRuntime,
    /// Of Alluxio's operator (k8s-operator.alluxio.com).
    AlluxioCluster,
}

/// How the cache authenticates its clients (`alluxio.security.authentication.type`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Security {
    /// The mode.
    #[serde(default)]
    pub mode: SecurityMode,
    /// The user to act as in mode Simple.
    #[serde(default = "default_user")]
    #[schemars(length(min = 1, max = 128))]
    pub user: String,
}

impl Default for Security {
    fn default() -> Self {
        Self { mode: SecurityMode::default(), user: default_user() }
    }
}

fn default_user() -> String {
    "alluxio".into()
}

/// Authentication modes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, schemars::JsonSchema)]
pub enum SecurityMode {
    /// Alluxio's default: a user name, not proved.
    #[default]
    Simple,
    /// No authentication at all.
    NoSasl,
}

/// What was seen of a cache.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CacheClusterStatus {
    /// Pending, Creating, Updating, Ready, Degraded, Deleting or Failed.
    #[schemars(length(max = 32))]
    pub phase: String,
    /// Generation that this was seen with.
    #[serde(default)]
    pub observed_generation: i64,
    /// Identity of the engine (Alluxio: its clusterId). Recorded once; an engine that changes its identity behind
    /// the same addresses is another cache and blocks operations.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 128))]
    pub identity: Option<String>,
    /// Name of the TargetLock of that identity.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub lock: Option<String>,
    /// Version of the primary master.
    #[serde(default)]
    #[schemars(length(max = 64))]
    pub version: String,
    /// Masters that are known, ready ones first, as text for the column.
    #[serde(default)]
    #[schemars(length(max = 32))]
    pub masters: String,
    /// Workers that are live of all that are known, as text for the column.
    #[serde(default)]
    #[schemars(length(max = 32))]
    pub workers: String,
    /// Bytes that the live workers can hold.
    #[serde(default)]
    pub capacity_bytes: i64,
    /// Bytes that they hold.
    #[serde(default)]
    pub used_bytes: i64,
    /// Capacity for the column.
    #[serde(default)]
    #[schemars(length(max = 16))]
    pub capacity: String,
    /// Used for the column.
    #[serde(default)]
    #[schemars(length(max = 16))]
    pub used: String,
    /// Percentage of the bytes that clients have read which the cache had, since its primary master started; empty while
    /// nothing was read.
    #[serde(default)]
    #[schemars(length(max = 8))]
    pub hit_ratio: String,
    /// The workers, at most 256.
    #[serde(default)]
    #[schemars(length(max = 256))]
    pub members: Vec<Member>,
    /// RPC addresses of the masters, as their pods have them now; of a cache that is managed or found by reference.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 9), inner(length(max = 270)))]
    pub endpoints: Vec<String>,
    /// What operations have made true of a managed cache.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<Revision>,
    /// Edits of a managed cache that became operations, so far.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub handled: i64,
    /// What of the spec was acted upon.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8))]
    pub facets: Vec<Facet>,
    /// How far the set-up of a managed cache is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub set_up: Option<SetUp>,
    /// What outlives a pod of a managed cache.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8))]
    pub storage: Vec<Survival>,
    /// Worker pods of a managed cache; for the scale subresource.
    #[serde(default)]
    pub replicas: i32,
    /// Selects the worker pods of a managed cache; for the scale subresource.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256))]
    pub selector: Option<String>,
    /// What Ratchet may do with this cache.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub capabilities: Vec<Capability>,
    /// How the deletion of a managed cache gets on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub leaving: Option<Leaving>,
    /// Ready, the stages of the set-up, SpecNotApplied, UnfinishedOperation.
    #[serde(default)]
    #[schemars(length(max = 16))]
    pub conditions: Vec<Condition>,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
fn is_zero(n: &i64) -> bool {
    *n == 0
}

/// One worker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Member {
    /// `host:rpc port`.
    #[schemars(length(max = 270))]
    pub name: String,
    /// As the engine calls it.
    #[schemars(length(max = 32))]
    pub state: String,
    /// Version it runs; empty while unknown.
    #[serde(default)]
    #[schemars(length(max = 64))]
    pub version: String,
    /// Bytes it can hold.
    pub capacity_bytes: i64,
    /// Bytes it holds.
    pub used_bytes: i64,
}
