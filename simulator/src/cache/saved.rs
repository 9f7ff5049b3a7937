//! A cache that outlives its process: what it remembers in one file, its copies beside it. Both are replaced by a
//! rename, the copies first: a process that is killed in between leaves copies that nobody knows, and the next opening
//! removes them.

use super::mounts::Stores;
use super::state::{Core, State, Worker};
use super::storage::UnderStorage;
use super::tier::{Tier, replace};
use super::{OpenError, Profile};
use std::path::Path;
use std::sync::Arc;

const FILE: &str = "cache.json";

impl Core {
    pub fn open(
        dir: &Path,
        identity: String,
        profile: Profile,
        ufs: Arc<dyn UnderStorage>,
    ) -> Result<Self, OpenError> {
        std::fs::create_dir_all(dir)?;
        let mut s = match std::fs::read(dir.join(FILE)) {
            Ok(bytes) => serde_json::from_slice(&bytes)?,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => State::new(profile.workers),
            Err(e) => return Err(e.into()),
        };
        let tier = Tier::Disk(dir.to_owned());
        for (i, w) in s.workers.iter_mut().enumerate() {
            // Whatever happened to a copy while nobody looked: one that is not whole is none.
            w.copies.retain(|path, copy| tier.len(i, path).is_some_and(|len| len == copy.len));
            w.used = w.copies.values().map(|c| c.len).sum();
        }
        s.workers.resize(profile.workers.max(s.workers.len()), Worker::new());
        for (i, w) in s.workers.iter().enumerate() {
            tier.sweep(i, &w.copies)?;
        }
        let home = Some(dir.to_owned());
        let stores = Stores::only(ufs);
        Ok(Self { identity, profile, stores, tier, home, dirty: true, reachable: true, shift: None, s })
    }

    /// Writes down what has changed; a memory-only cache has nothing to do.
    pub fn save(&mut self) -> Result<(), OpenError> {
        let (Some(home), true) = (&self.home, self.dirty) else { return Ok(()) };
        replace(&home.join(FILE), &serde_json::to_vec(&self.s)?)?;
        self.dirty = false;
        Ok(())
    }
}
