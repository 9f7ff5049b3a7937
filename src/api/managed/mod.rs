//! A managed cache: what `spec.managed` of a CacheCluster says, and what Ratchet makes of it.

mod status;

pub use status::{Capability, Facet, Leaving, Revision, SetUp, Survival, WrittenBy};

use super::cluster::Security;
use ratchet_state_machine::spec::MountOption;
use schemars::{Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;

/// Releases of Alluxio that Ratchet knows how to run.
pub const VERSIONS: &[&str] = &["2.9.3", "2.9.4", "2.9.5", "2.9.6"];

/// A cache that Ratchet runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Managed {
    /// Release of Alluxio.
    #[schemars(length(min = 1, max = 16))]
    pub version: String,
    /// Where its image is.
    #[serde(default)]
    pub image: Image,
    /// The masters.
    pub masters: Masters,
    /// The workers.
    pub workers: Workers,
    /// The job service, which persists and copies files.
    #[serde(default)]
    pub jobs: Jobs,
    /// Proxies, which let S3 clients read and write through the cache.
    #[serde(default, skip_serializing_if = "Proxies::is_default")]
    pub proxies: Proxies,
    /// What is mounted at the cache's root: durable, and seen by all masters and workers under the same address. Files
    /// that are written to the cache outside of mounts are kept there.
    pub root_storage: RootStorage,
    /// How the cache authenticates its clients, and as whom its own processes act.
    #[serde(default)]
    pub security: Security,
    /// Further settings of alluxio-site.properties.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 128), inner(length(max = 1024)))]
    pub properties: BTreeMap<String, String>,
    /// Service account of all pods; they get no token of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub service_account_name: Option<String>,
    /// What happens when the CacheCluster is deleted.
    #[serde(default)]
    pub deletion: Deletion,
}

/// Where an image is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Image {
    /// Repository, without a tag. The image has to answer to what `alluxio/alluxio` of this release answers to.
    #[serde(default = "default_repository")]
    #[schemars(length(min = 1, max = 255))]
    pub repository: String,
    /// Tag; the release, if it is not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 128))]
    pub tag: Option<String>,
    /// When to pull it.
    #[serde(default)]
    pub pull_policy: PullPolicy,
    /// Secrets to pull it with.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8), inner(length(min = 1, max = 253)))]
    pub pull_secrets: Vec<String>,
}

impl Default for Image {
    fn default() -> Self {
        Self {
            repository: default_repository(),
            tag: None,
            pull_policy: PullPolicy::default(),
            pull_secrets: vec![],
        }
    }
}

fn default_repository() -> String {
    "alluxio/alluxio".into()
}

/// When to pull an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, schemars::JsonSchema)]
pub enum PullPolicy {
    /// When it is not there.
    #[default]
    IfNotPresent,
    /// Before each start.
    Always,
    /// Not at all.
    Never,
}

/// The masters.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Masters {
    /// One, or three that keep a journal together.
    #[serde(default = "one")]
    pub replicas: i32,
    /// Where each of them keeps its journal: all that the cache knows of its files.
    pub journal: Volume,
    /// Their pods.
    #[serde(default, skip_serializing_if = "Pods::is_default")]
    pub pods: Pods,
}

/// The workers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Workers {
    /// How many.
    #[serde(default = "one")]
    #[schemars(range(min = 1, max = 256))]
    pub replicas: i32,
    /// What each of them caches on, the fastest first.
    #[schemars(length(min = 1, max = 3))]
    pub tiers: Vec<Tier>,
    /// Their pods.
    #[serde(default, skip_serializing_if = "Pods::is_default")]
    pub pods: Pods,
}

/// The job service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Jobs {
    /// Job workers; 0: no job service, and nothing that is written to the cache is persisted by it.
    #[serde(default = "one")]
    #[schemars(range(min = 0, max = 256))]
    pub workers: i32,
    /// The pods of the job master and of the job workers.
    #[serde(default, skip_serializing_if = "Pods::is_default")]
    pub pods: Pods,
}

impl Default for Jobs {
    fn default() -> Self {
        Self { workers: one(), pods: Pods::default() }
    }
}

/// Proxies with the S3 interface, for clients of the cluster.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Proxies {
    /// How many.
    #[serde(default)]
    #[schemars(range(min = 0, max = 64))]
    pub replicas: i32,
    /// Their pods.
    #[serde(default, skip_serializing_if = "Pods::is_default")]
    pub pods: Pods,
}

impl Proxies {
    /// Whether none are asked for.
    #[must_use]
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

fn one() -> i32 {
    1
}

/// A tier of a worker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Tier {
    /// What it is made of.
    pub medium: Medium,
    /// How much of it the cache uses, for example 100Gi.
    #[schemars(length(max = 16), regex(pattern = "^[1-9][0-9]{0,9}(Ki|Mi|Gi|Ti)$"))]
    pub size: String,
    /// Where it is.
    #[serde(flatten)]
    pub volume: Volume,
}

/// What a tier is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub enum Medium {
    /// Memory.
    #[serde(rename = "MEM")]
    Mem,
    /// Flash.
    #[serde(rename = "SSD")]
    Ssd,
    /// Disks.
    #[serde(rename = "HDD")]
    Hdd,
}

impl Medium {
    /// As Alluxio writes it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Mem => "MEM",
            Self::Ssd => "SSD",
            Self::Hdd => "HDD",
        }
    }
}

/// Where a member keeps what it has: exactly one of these.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Volume {
    /// In the pod; gone with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub empty_dir: Option<EmptyDir>,
    /// In this directory of the node, a folder of its own for each member; found again by a pod on the same node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024), regex(pattern = "^/.+"))]
    pub host_path: Option<String>,
    /// On a volume of its own, which goes with the member from node to node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub volume_claim: Option<VolumeClaim>,
}

impl Volume {
    /// What of it outlives a pod, as the status says it.
    #[must_use]
    pub const fn survives(&self) -> &'static str {
        match (&self.volume_claim, &self.host_path) {
            (Some(_), _) => "Always",
            (None, Some(_)) => "OnSameNode",
            (None, None) => "Never",
        }
    }
}

/// In the pod.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct EmptyDir {}

/// A volume of its own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct VolumeClaim {
    /// Class; the cluster's default, if it is not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub storage_class_name: Option<String>,
    /// Size of the volume, for example 100Gi.
    #[schemars(length(max = 16), regex(pattern = "^[1-9][0-9]{0,9}(Ki|Mi|Gi|Ti)$"))]
    pub size: String,
}

/// What is mounted at the cache's root: exactly one of these.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RootStorage {
    /// A directory that is the same on every node: a network file system, or a cluster of one node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024), regex(pattern = "^/.+"))]
    pub host_path: Option<String>,
    /// A PersistentVolumeClaim of the namespace that many pods can write to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub claim_name: Option<String>,
    /// An address, for example s3://bucket/folder.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 3, max = 1024), regex(pattern = "^[a-z][a-z0-9+.-]*://[^/[:space:]]+"))]
    pub uri: Option<String>,
    /// Settings of that address; credentials come from Secrets.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub options: Vec<MountOption>,
}

/// The pods of one kind of member.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Pods {
    /// Resources of the container, as in a pod.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    #[schemars(schema_with = "anything")]
    pub resources: Value,
    /// Options of the Java runtime. Given, they have to set the heap; otherwise it is half of the container's memory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub java_options: Option<String>,
    /// What else a pod template can say: labels, nodeSelector, tolerations, affinity, topologySpreadConstraints,
    /// securityContext, volumes, and the container `alluxio` itself. It is laid over the template that Ratchet makes:
    /// objects are merged, and so are lists of what has a name; other lists are replaced.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    #[schemars(schema_with = "anything")]
    pub template: Value,
}

impl Pods {
    /// Whether nothing is asked for.
    #[must_use]
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// An object of whatever content; the API server checks it as what it becomes part of.
pub fn anything(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "object", "x-kubernetes-preserve-unknown-fields": true})
}

/// What happens when the CacheCluster is deleted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Deletion {
    /// What happens to operations that are at work.
    #[serde(default)]
    pub operations: OnDeletion,
    /// How long the ordered part may take, in seconds; after it the pods are removed however things are.
    #[serde(default = "default_limit")]
    #[schemars(range(min = 0, max = 86_400))]
    pub limit_seconds: i64,
}

impl Default for Deletion {
    fn default() -> Self {
        Self { operations: OnDeletion::default(), limit_seconds: default_limit() }
    }
}

fn default_limit() -> i64 {
    300
}

/// What happens to operations that are at work when their cache is deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, schemars::JsonSchema)]
pub enum OnDeletion {
    /// They are cancelled.
    #[default]
    Cancel,
    /// They are waited for.
    Wait,
}
