//! What each kind says to be cached. Tests use these very implementations.

use super::store::{Cached, IndexKey};
use crate::api::{CacheCluster, DataLoad, DataOperation, Dataset, TargetLock, Upgrade};

/// Operations by the CacheCluster they work on: `namespace/name`.
pub const BY_TARGET: &str = "target";
/// Operations by phase; those without a status under the empty string.
pub const BY_PHASE: &str = "phase";
/// Operations by the uid of the object that owns them.
pub const BY_OWNER: &str = "owner";
/// Operations by the name of a predecessor: `namespace/name`.
pub const BY_PREDECESSOR: &str = "predecessor";
/// Operations that are settled: terminal and sealed.
pub const BY_SETTLED: &str = "settled";
/// Locks by the CacheCluster that claimed them: `namespace/name`.
pub const BY_CLAIM: &str = "claim";
/// Datasets by their CacheCluster: `namespace/name`.
pub const BY_CLUSTER: &str = "cluster";
/// CacheClusters by the name of their lock.
pub const BY_LOCK: &str = "lock";

impl Cached for DataOperation {
    fn indexes(&self) -> Vec<IndexKey> {
        let namespace = self.metadata.namespace.as_deref().unwrap_or_default();
        let settled = self.status.as_ref().is_some_and(crate::api::DataOperationStatus::settled);
        let mut all = vec![
            (BY_PHASE, self.phase().map(|p| p.name().to_owned()).unwrap_or_default()),
            (BY_SETTLED, settled.to_string()),
        ];
        if !settled {
            // Nobody asks the queue of a target about operations that are over.
            all.push((BY_TARGET, format!("{namespace}/{}", self.spec.target)));
            all.extend(
                self.spec.run_after.iter().map(|p| (BY_PREDECESSOR, format!("{namespace}/{}", p.name))),
            );
        }
        all.extend(self.metadata.owner_references.iter().flatten().map(|o| (BY_OWNER, o.uid.clone())));
        all
    }

    fn watermark(&self) -> (i64, i64) {
        (self.seq().0, self.metadata.generation.unwrap_or(0))
    }

    fn prune(&mut self) {
        self.metadata.managed_fields = None;
        self.metadata.annotations = None;
        let owned = self.metadata.owner_references.as_ref().is_some_and(|o| !o.is_empty());
        if let Some(status) = self.status.as_mut().filter(|s| s.settled()) {
            status.tail = Vec::new();
            if !owned {
                // What is displayed of an operation that is over is read from the cache by its mirror alone.
                status.conditions = Vec::new();
                status.progress = None;
                status.waiting_on = None;
                status.started_at = None;
            }
        }
    }
}

/// Requests are found by their names alone.
macro_rules! requests {
    ($($kind:ty),*) => {
        $(
            impl Cached for $kind {
                fn indexes(&self) -> Vec<IndexKey> {
                    Vec::new()
                }

                fn watermark(&self) -> (i64, i64) {
                    (0, self.metadata.generation.unwrap_or(0))
                }

                fn prune(&mut self) {
                    self.metadata.managed_fields = None;
                    self.metadata.annotations = None;
                }
            }
        )*
    };
}
requests!(DataLoad, Upgrade);

impl Cached for Dataset {
    fn indexes(&self) -> Vec<IndexKey> {
        let namespace = self.metadata.namespace.as_deref().unwrap_or_default();
        vec![(BY_CLUSTER, format!("{namespace}/{}", self.spec.cluster))]
    }

    fn watermark(&self) -> (i64, i64) {
        (self.status.as_ref().map_or(0, |s| s.handled), self.metadata.generation.unwrap_or(0))
    }

    fn prune(&mut self) {
        self.metadata.managed_fields = None;
        self.metadata.annotations = None;
    }
}

impl Cached for CacheCluster {
    fn indexes(&self) -> Vec<IndexKey> {
        self.status.iter().filter_map(|s| s.lock.clone()).map(|l| (BY_LOCK, l)).collect()
    }

    fn watermark(&self) -> (i64, i64) {
        (0, self.metadata.generation.unwrap_or(0))
    }

    fn prune(&mut self) {
        self.metadata.managed_fields = None;
        self.metadata.annotations = None;
    }
}

impl Cached for TargetLock {
    fn indexes(&self) -> Vec<IndexKey> {
        vec![(BY_CLAIM, format!("{}/{}", self.spec.claim.namespace, self.spec.claim.name))]
    }

    fn watermark(&self) -> (i64, i64) {
        (self.spec.lock.epoch, self.metadata.generation.unwrap_or(0))
    }

    fn prune(&mut self) {
        self.metadata.managed_fields = None;
        self.metadata.annotations = None;
    }
}
