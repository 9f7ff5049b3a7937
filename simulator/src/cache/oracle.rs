//! What tests look at, from above: no reachability, no master between them and the truth.

use super::state::{Life, Work};
use super::{Applied, Cache};
use crate::cache::tier::Checksum;
use std::collections::BTreeMap;

impl Cache {
    /// Every application since the beginning, oldest first; of very many, the last ones. A durable cache begins anew
    /// when it is opened.
    #[must_use]
    pub fn applied(&self) -> Vec<Applied> {
        self.core().s.applied.iter().cloned().collect()
    }

    /// The newest application.
    #[must_use]
    pub fn last_applied(&self) -> Option<Applied> {
        self.core().s.applied.back().cloned()
    }

    /// Files with a copy that the master knows of: length in bytes and SHA-256 in hexadecimal.
    #[must_use]
    pub fn cached_files(&self) -> BTreeMap<String, (u64, String)> {
        let core = self.core();
        let live = core.s.workers.iter().rev().filter(|w| w.life == Life::Active);
        live.flat_map(|w| &w.copies)
            .filter(|(path, _)| core.s.files.contains_key(*path))
            .map(|(path, copy)| (path.clone(), (copy.len, copy.checksum.to_string())))
            .collect()
    }

    /// Copies that are not what they should be: whose bytes do not fit their checksum, or the under-storage's bytes.
    #[must_use]
    pub fn verify(&self) -> Vec<String> {
        let core = self.core();
        let mut wrong = Vec::new();
        for (i, w) in core.s.workers.iter().enumerate() {
            for (path, copy) in &w.copies {
                let why = match core.tier.get(i, path) {
                    Err(_) => Some("is gone"),
                    Ok(bytes) if Checksum::of(&bytes) != copy.checksum => Some("does not fit its checksum"),
                    Ok(bytes) if core.s.files.get(path).is_some_and(|k| k.persisted) => {
                        match core.stored_bytes(path) {
                            Ok(truth) if truth == bytes => None,
                            Ok(_) => Some("is not what the under-storage has"),
                            Err(_) => Some("is of a file that the under-storage has no more"),
                        }
                    }
                    Ok(_) => None,
                };
                wrong.extend(why.map(|why| format!("the copy of {path} on worker-{i} {why}")));
            }
        }
        wrong
    }

    /// Files that only the cache had, and of which no worker has a copy any more.
    #[must_use]
    pub fn cached_only_lost(&self) -> Vec<String> {
        let core = self.core();
        let has = |path: &String| core.s.workers.iter().any(|w| w.copies.contains_key(path));
        core.s.entrusted.iter().filter(|path| !has(path)).cloned().collect()
    }

    /// Paths whose load jobs run.
    #[must_use]
    pub fn jobs_running(&self) -> Vec<String> {
        let core = self.core();
        let running = core.s.jobs.iter().filter(|(_, j)| j.work == Work::Running);
        running.map(|(path, _)| path.clone()).collect()
    }

    /// The cache's time, in milliseconds.
    #[must_use]
    pub fn now_ms(&self) -> i64 {
        self.core().s.now
    }
}
