//! `TargetLock`: the lock and epoch of one engine. Cluster-scoped, named by a hash of the engine's identity, so
//! that two CacheClusters that name one engine meet at one object. Never deleted while the target lives: a deleted
//! lock would forget its epoch.

use super::kind::kind;
use ratchet_state_machine::lock::Lock;
use serde::{Deserialize, Serialize};

kind! {
    /// The lock of one engine. Written by the controller only.
    TargetLock, plural "targetlocks", scope ClusterResourceScope,
    {
        /// The lock.
        spec: TargetLockSpec,
    }
}

/// The lock of one engine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TargetLockSpec {
    /// Identity of the engine.
    #[schemars(length(max = 128))]
    pub identity: String,
    /// The CacheCluster whose operations may use the engine.
    pub claim: Claim,
    /// Holders and epoch.
    #[serde(default)]
    pub lock: Lock,
}

/// The one CacheCluster that an engine belongs to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Claim {
    /// Its namespace.
    #[schemars(length(max = 253))]
    pub namespace: String,
    /// Its name.
    #[schemars(length(max = 253))]
    pub name: String,
    /// Its uid.
    #[schemars(length(max = 64))]
    pub uid: String,
}

/// The name of the lock of an engine.
#[must_use]
pub fn lock_name(engine: &str, identity: &str) -> String {
    let digest = ratchet_state_machine::ids::hash(&[b"lock", engine.as_bytes(), identity.as_bytes()]);
    let hex: String = digest.bytes().take(20).map(|b| format!("{b:02x}")).collect();
    format!("{}-{hex}", engine.to_ascii_lowercase())
}
