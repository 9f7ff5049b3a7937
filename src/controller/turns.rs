//! Small tables that keep the workers of one process out of each other's way, or remember what they saw. Losing one
//! costs time, never safety.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

/// Holders that were seen gone, and since when: a steal waits.
#[derive(Default)]
pub struct Gone(Mutex<HashMap<String, Instant>>);

impl Gone {
    /// When `uid` was first seen gone; now, if it never was.
    pub fn first_seen(&self, uid: &str, now: Instant) -> Instant {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner).entry(uid.to_owned()).or_insert(now)
    }

    /// It was not gone after all, or is dealt with.
    pub fn forget(&self, uid: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(uid);
    }
}

/// Turns to write a lock, by its name.
#[derive(Default)]
pub struct Turns(Mutex<HashMap<String, Arc<tokio::sync::Mutex<()>>>>);

impl Turns {
    /// The turn to write `lock`.
    pub fn of(&self, lock: &str) -> Arc<tokio::sync::Mutex<()>> {
        Arc::clone(self.0.lock().unwrap_or_else(PoisonError::into_inner).entry(lock.to_owned()).or_default())
    }
}

/// Places to ask an engine, by CacheCluster.
#[derive(Default)]
pub struct Places(Mutex<HashMap<String, Arc<Semaphore>>>);

impl Places {
    /// A place at the engine of `cluster`, of which there are `all`; `None` when none becomes free in a moment.
    pub async fn take(&self, cluster: &str, all: usize) -> Option<OwnedSemaphorePermit> {
        let semaphore = {
            let mut places = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(
                places.entry(cluster.to_owned()).or_insert_with(|| Arc::new(Semaphore::new(all.max(1)))),
            )
        };
        tokio::time::timeout(Duration::from_millis(100), semaphore.acquire_owned()).await.ok()?.ok()
    }
}
