//! What a change of one object asks for: who is looked at anew. Waking one too many costs time, never safety.

use super::{Ctx, observe};
use crate::api::{CacheCluster, DataOperation, Dataset, TargetLock, conditions};
use crate::cache::kinds::{BY_CLAIM, BY_CLUSTER, BY_LOCK, BY_PREDECESSOR, BY_TARGET};
use crate::cache::{Change, Key};
use ratchet_state_machine::machine::Phase;
use std::sync::Arc;

impl Ctx {
    /// An operation changed: look at it, at who waits for it, and at what mirrors it.
    pub fn changed_operation(&self, change: &Change<DataOperation>) {
        // A change of what is only displayed asks for nothing (it is mostly our own), nor does one that is none.
        let shape = |o: &DataOperation| {
            let m = &o.metadata;
            let edited = (m.uid.clone(), m.generation, m.deletion_timestamp.clone(), m.finalizers.clone());
            (o.seq(), edited)
        };
        let same = matches!((&change.old, &change.new), (Some(old), Some(new)) if shape(old) == shape(new));
        if !same {
            self.operation_queue.add(change.key.clone());
        }
        self.moved_operation(change);
    }

    /// The same for whoever works on the operation anyway and goes on with its newest state.
    pub fn moved_operation(&self, change: &Change<DataOperation>) {
        if let (None, Some(old)) = (&change.new, &change.old) {
            self.memory.forget(old.uid());
        }
        if let Some(old) = change.old.as_ref().filter(|o| observe::waits(o))
            && change.new.as_ref().is_none_or(|o| !observe::waits(o) && o.phase().is_none_or(Phase::terminal))
        {
            self.left_queue(old);
        }
        let ended = change.new.as_ref().is_none_or(|o| o.phase().is_some_and(Phase::terminal));
        let began = change.old.as_ref().is_none_or(|o| !o.phase().is_some_and(Phase::terminal));
        if ended && began {
            let name = format!("{}/{}", change.key.namespace, change.key.name);
            for waiting in self.operations.by_index(&(BY_PREDECESSOR, name)) {
                self.operation_queue.add(Key::of(&*waiting));
            }
        }
        self.notify_mirrors(change);
    }

    /// The owners of an operation mirror it.
    pub fn notify_mirrors(&self, change: &Change<DataOperation>) {
        let seen = change.new.as_ref().or(change.old.as_ref());
        for owner in seen.iter().flat_map(|o| o.metadata.owner_references.iter().flatten()) {
            let key = || Key::new(change.key.namespace.as_str(), owner.name.as_str());
            match owner.kind.as_str() {
                "DataLoad" => self.load_queue.add(key()),
                "Upgrade" => self.upgrade_queue.add(key()),
                "Dataset" => self.dataset_queue.add(key()),
                "CacheCluster" => self.cluster_queue.add(key()),
                _ => {}
            }
        }
    }

    /// A CacheCluster changed: look at it when somebody edited it, and at the operations that wait for it when it can
    /// be used now (or cannot any more). What was only measured anew asks for nothing.
    pub fn changed_cluster(&self, change: &Change<CacheCluster>) {
        let edited = |c: &CacheCluster| {
            (c.metadata.uid.clone(), c.metadata.generation, c.metadata.deletion_timestamp.clone())
        };
        let usable = |c: &CacheCluster| {
            let status = c.status.as_ref();
            let ready = status.and_then(|s| s.conditions.iter().find(|c| c.type_ == conditions::READY));
            let ready = ready.map(|r| (r.status.clone(), r.reason.clone()));
            (ready, status.and_then(|s| s.lock.clone()), status.map(|s| s.observed_generation))
        };
        if let (Some(old), None) = (&change.old, &change.new) {
            let name = change.key.to_string();
            let unfinished = self.operations.count(&(BY_TARGET, name.clone())) > 0;
            self.engines.retire(old.metadata.uid.as_deref().unwrap_or_default(), &name, unfinished);
        }
        let both = change.old.as_ref().zip(change.new.as_ref());
        if both.is_none_or(|(old, new)| edited(old) != edited(new)) {
            self.cluster_queue.add(change.key.clone());
        }
        if both.is_none_or(|(old, new)| usable(old) != usable(new)) {
            self.wake_target(&change.key);
            for dataset in self.datasets.by_index(&(BY_CLUSTER, change.key.to_string())) {
                self.dataset_queue.add(Key::of(&*dataset));
            }
        }
    }

    /// A lock changed: whoever can have it now is woken. Those who could not are left alone (there may be thousands).
    pub(super) fn changed_lock(&self, change: &Change<TargetLock>) {
        for cluster in self.clusters.by_index(&(BY_LOCK, change.key.name.clone())) {
            let key = Key::of(&*cluster);
            match &change.new {
                None => self.cluster_queue.add(key),
                Some(lock) => self.wake_queue(lock, &key),
            }
        }
    }

    pub(super) fn wake_queue(&self, lock: &TargetLock, cluster: &Key) {
        for op in observe::grantable(self, &lock.spec.lock, cluster) {
            self.operation_queue.add(op);
        }
    }

    /// An operation left the queue without taking the lock: those behind it may go.
    pub(super) fn left_queue(&self, op: &DataOperation) {
        let target = Key::new(op.metadata.namespace.clone().unwrap_or_default(), op.spec.target.as_str());
        for lock in self.locks.by_index(&(BY_CLAIM, target.to_string())) {
            self.wake_queue(&lock, &target);
        }
    }

    /// The operations that wait for a turn on a cache.
    pub(super) fn wake_target(&self, cluster: &Key) {
        for op in self.operations.by_index(&(BY_TARGET, cluster.to_string())) {
            if op.phase().is_none_or(|p| p == Phase::Queued) {
                self.operation_queue.add(Key::of(&*op));
            }
        }
    }

    /// A load may wait for what a Dataset mounts.
    pub fn wake_loads(&self, dataset: Option<&Arc<Dataset>>) {
        if let Some(dataset) = dataset {
            let namespace = dataset.metadata.namespace.as_deref().unwrap_or_default();
            self.wake_target(&Key::new(namespace, dataset.spec.cluster.as_str()));
        }
    }
}
