//! `Dataset`: data of one or more stores that a cache is to have in its namespace. Ratchet mounts what stands here and
//! was not there before, each time by an operation of its own.

use super::conditions::Condition;
use super::kind::kind;
use ratchet_state_machine::spec::{MountOption, MountSpec};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

kind! {
    /// Data of one or more stores, mounted into a cache.
    Dataset, plural "datasets", scope NamespaceResourceScope,
    {
        /// Which data, in which cache.
        spec: DatasetSpec,
        /// What operations have made of it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        status: Option<DatasetStatus>,
    }
}

/// Which data, in which cache.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DatasetSpec {
    /// Name of the CacheCluster in the same namespace.
    #[schemars(length(min = 1, max = 253))]
    pub cluster: String,
    /// What is mounted where. An edit becomes one operation for each mount that is another now.
    #[schemars(length(min = 1, max = 16))]
    pub mounts: Vec<DatasetMount>,
    /// Options that every mount has, unless it has one of the same name: credentials of a common store, for example.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub shared_options: Vec<MountOption>,
    /// When the cache looks for new, changed and removed files in the stores.
    #[serde(default)]
    pub metadata: MetadataPolicy,
    /// How much of the data may be cached, and for how long; where the cache knows neither, the status says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache_policy: Option<CachePolicy>,
    /// A volume for pods, with a claim of the Dataset's name. It goes when no pod uses it any more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub volume: Option<DatasetVolume>,
}

/// How much of the data may be cached, and for how long.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CachePolicy {
    /// Bytes at most, for example 100Gi.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 16), regex(pattern = "^[1-9][0-9]{0,9}(Ki|Mi|Gi|Ti)$"))]
    pub quota: Option<String>,
    /// Seconds after which what was not read is dropped from the cache.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 60, max = 315_360_000))]
    pub ttl_seconds: Option<i64>,
}

/// A volume for pods. A CSI driver of the cluster serves it; Ratchet makes the objects.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DatasetVolume {
    /// The CSI driver; one of those that the controller was told to allow.
    #[serde(default = "default_driver")]
    #[schemars(length(min = 1, max = 63))]
    pub driver: String,
    /// What the driver is told, beside alluxioPath (the mount; `/` when there are several), masters and cluster.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 32), inner(length(max = 1024)))]
    pub attributes: BTreeMap<String, String>,
    /// How pods may use it.
    #[serde(default = "default_access")]
    #[schemars(length(min = 1, max = 3))]
    pub access_modes: Vec<AccessMode>,
    /// Namespaces that get a claim too. Whoever writes this has to be allowed to create claims there.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32), inner(length(min = 1, max = 63)))]
    pub namespaces: Vec<String>,
}

fn default_driver() -> String {
    "alluxio".into()
}

fn default_access() -> Vec<AccessMode> {
    vec![AccessMode::ReadOnlyMany]
}

/// How pods may use a volume.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub enum AccessMode {
    /// Many nodes read.
    ReadOnlyMany,
    /// Many nodes read and write.
    ReadWriteMany,
    /// One node reads and writes.
    ReadWriteOnce,
}

/// When the cache looks for new, changed and removed files. It always does after a mount was made or changed; a
/// DataOperation with the arm sync does it on demand.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct MetadataPolicy {
    /// And again after so many seconds. Absent: only then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 60, max = 31_536_000))]
    pub sync_every_seconds: Option<i64>,
}

/// One mount of a dataset.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DatasetMount {
    /// Where the data appears in the cache's namespace: a direct child of `/`, such as `/training`.
    #[schemars(length(min = 1, max = 256))]
    pub path: String,
    /// Address of the data in its store, such as `s3://bucket/training`; an absolute path is a directory of the masters
    /// and workers. Another address replaces the mount: what the cache has of it is dropped.
    #[schemars(length(min = 1, max = 1024))]
    pub uri: String,
    /// Whether writing through the cache is refused.
    #[serde(default)]
    pub read_only: bool,
    /// Whether all users of the cache may use it.
    #[serde(default)]
    pub shared: bool,
    /// Settings of the store's adapter, each with a value or with the key of a Secret.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub options: Vec<MountOption>,
}

impl DatasetSpec {
    /// What an operation is asked for, for one of the mounts.
    #[must_use]
    pub fn mount(&self, mount: &DatasetMount, replace: bool) -> MountSpec {
        let own = |o: &&MountOption| !mount.options.iter().any(|m| m.name == o.name);
        let options = mount.options.iter().chain(self.shared_options.iter().filter(own)).cloned().collect();
        MountSpec {
            path: mount.path.clone(),
            uri: mount.uri.clone(),
            read_only: mount.read_only,
            shared: mount.shared,
            options,
            replace,
        }
    }
}

/// What operations have made of a dataset.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DatasetStatus {
    /// Pending, Updating, Bound, NotBound, Failed or Deleting.
    #[schemars(length(max = 32))]
    pub phase: String,
    /// Generation that this was seen with.
    #[serde(default)]
    pub observed_generation: i64,
    /// Edits that became operations so far. It is part of their names: two controllers create one.
    #[serde(default)]
    #[schemars(range(min = 0))]
    pub handled: i64,
    /// Name of the newest operation.
    #[serde(default)]
    #[schemars(length(max = 253))]
    pub operation: String,
    /// Each mount that was ever acted upon and is not gone.
    #[serde(default)]
    #[schemars(length(max = 48))]
    pub mounts: Vec<MountStatus>,
    /// The newest look for files.
    #[serde(default)]
    pub sync: SyncStatus,
    /// Files below the mounts that the cache knows of.
    #[serde(default)]
    pub files: i64,
    /// Bytes of them.
    #[serde(default)]
    pub ufs_bytes: i64,
    /// Bytes of them that are cached.
    #[serde(default)]
    pub cached_bytes: i64,
    /// The same for the columns.
    #[serde(default)]
    #[schemars(length(max = 16))]
    pub ufs_size: String,
    /// The same for the columns.
    #[serde(default)]
    #[schemars(length(max = 16))]
    pub cached: String,
    /// Percentage that is cached, rounded down.
    #[serde(default)]
    #[schemars(length(max = 8))]
    pub cached_percent: String,
    /// Percentage of the bytes that clients have read which the cache had. Of the whole cache: Alluxio keeps none for a path.
    #[serde(default)]
    #[schemars(length(max = 8))]
    pub hit_ratio: String,
    /// The volumes for pods.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub volumes: Vec<VolumeStatus>,
    /// Ready, SpecNotApplied, Synced, VolumesReady.
    #[serde(default)]
    #[schemars(length(max = 16))]
    pub conditions: Vec<Condition>,
}

/// A volume for the pods of one namespace.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct VolumeStatus {
    /// Namespace of the claim, which has the Dataset's name.
    #[schemars(length(max = 63))]
    pub namespace: String,
    /// Name of the PersistentVolume.
    #[schemars(length(max = 253))]
    pub volume: String,
    /// Pending, Bound, InUse (it is to go, and a pod uses it), Removing or Failed.
    #[schemars(length(max = 16))]
    pub phase: String,
    /// Why it is not Bound.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 600))]
    pub message: String,
}

/// The newest look for files in the stores.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SyncStatus {
    /// How many there were.
    #[serde(default)]
    #[schemars(range(min = 0))]
    pub count: i64,
    /// `handled` of the dataset when it began: with another one, the mounts are others.
    #[serde(default)]
    pub handled: i64,
    /// The operation that does it.
    #[serde(default)]
    #[schemars(length(max = 253))]
    pub operation: String,
    /// When it was asked for, RFC 3339.
    #[serde(default)]
    #[schemars(length(max = 30))]
    pub at: String,
    /// Phase of that operation.
    #[serde(default)]
    #[schemars(length(max = 32))]
    pub phase: String,
}

/// One mount, as operations have made it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct MountStatus {
    /// Where.
    #[schemars(length(max = 256))]
    pub path: String,
    /// Names what of the spec was acted upon last, whatever the outcome; empty: it is to be gone.
    #[schemars(length(max = 64))]
    pub handled: String,
    /// The operation that does it.
    #[schemars(length(max = 253))]
    pub operation: String,
    /// It may take the place of another address: this dataset had mounted there before.
    #[serde(default)]
    pub ours: bool,
    /// Creating, Mounting, Mounted, Unmounting, Failed or Missing.
    #[schemars(length(max = 32))]
    pub phase: String,
    /// Why it is not as wanted, in CamelCase; empty when it is.
    #[serde(default)]
    #[schemars(length(max = 64))]
    pub reason: String,
    /// Why, in a sentence.
    #[serde(default)]
    #[schemars(length(max = 600))]
    pub message: String,
}
