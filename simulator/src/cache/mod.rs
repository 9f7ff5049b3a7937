//! A cache that really caches, and forgets what Alluxio forgets.
//!
//! ```text
//!   apply(effect) --> jobs, listings, frees --advance(now)--> copies with checksums on workers
//!   inspect(query) <-- what the master knows                  ^ bytes of the under-storage
//! ```
//!
//! It has no clock: what takes time happens in [`Cache::advance`], in an order that depends on nothing but the calls
//! before. Effects take hold when they are applied; whoever makes the call decides when it lands, and whether its
//! reply arrives.

mod apply;
mod backups;
mod client;
mod faults;
mod leave;
mod mounts;
mod namespace;
mod oracle;
mod placement;
mod profile;
mod saved;
mod state;
mod storage;
#[cfg(test)]
mod tests;
mod tier;
mod view;
mod work;

pub use client::ReadError;
pub use profile::{Profile, Protection};
pub use storage::{Directory, Memory, UfsError, UnderStorage};

use mounts::Stores;
use ratchet_state_machine::effect::{Answer, Effect, EffectTraits, Outcome, Query, Trouble};
use ratchet_state_machine::ids::{Fence, Token};
use ratchet_state_machine::spec::MountSpec;
use state::{Core, State};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tier::Tier;

/// An effect, and what goes with it.
#[derive(Debug, Clone, Copy)]
pub struct Call<'a> {
    /// The effect.
    pub effect: &'a Effect,
    /// The path that it works on.
    pub path: &'a str,
    /// Names the effect.
    pub token: &'a Token,
    /// Orders the attempt.
    pub fence: Fence,
    /// What is to be mounted, for effects about that.
    pub mount: Option<&'a MountSpec>,
}

/// One application of an effect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Applied {
    /// When, by the cache's time.
    pub at_ms: i64,
    /// What.
    pub effect: Effect,
    /// On what.
    pub path: String,
    /// With which token.
    pub token: Token,
    /// With which fence.
    pub fence: Fence,
    /// Whether it changed anything. A listing changes something once it has found something new.
    pub changed: bool,
}

/// What a cache says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Probe {
    /// Stays over restarts.
    pub identity: String,
    /// Version.
    pub version: String,
    /// Masters.
    pub masters: usize,
    /// Workers, whatever their state.
    pub workers: Vec<WorkerView>,
    /// Bytes that the active workers can hold.
    pub capacity: u64,
    /// Bytes that they hold.
    pub used: u64,
}

/// One worker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkerView {
    /// `worker-<n>`.
    pub name: String,
    /// ACTIVE, LOST, Decommissioned or Disabled: Alluxio's words.
    pub state: &'static str,
    /// Bytes that it can hold.
    pub capacity: u64,
    /// Bytes that it holds.
    pub used: u64,
}

/// Why a durable cache cannot be opened or written down.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The directory.
    #[error("the cache's directory cannot be used")]
    Io(#[from] std::io::Error),
    /// What was written there.
    #[error("what the cache wrote down cannot be read")]
    Format(#[from] serde_json::Error),
}

/// A cache. Clones are the same cache.
#[derive(Clone)]
pub struct Cache {
    core: Arc<Mutex<Core>>,
}

impl Cache {
    /// An empty cache that lives in memory, at time 0.
    #[must_use]
    pub fn new(identity: impl Into<String>, profile: Profile, ufs: Arc<dyn UnderStorage>) -> Self {
        let workers = profile.workers;
        Self::of(Core {
            identity: identity.into(),
            profile,
            stores: Stores::only(ufs),
            tier: Tier::memory(workers),
            home: None,
            dirty: false,
            reachable: true,
            shift: Some(0),
            s: State::new(workers),
        })
    }

    /// The cache that lives in a directory: as it was when its last process ended, however that ended. Its time goes on
    /// from there, whatever the time outside is by now.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn open(
        dir: impl AsRef<Path>,
        identity: impl Into<String>,
        profile: Profile,
        ufs: Arc<dyn UnderStorage>,
    ) -> Result<Self, OpenError> {
        Core::open(dir.as_ref(), identity.into(), profile, ufs).map(Self::of)
    }

    /// The cache with a root of this address, and with stores that can be mounted: `open` is asked for the one at an
    /// address.
    #[must_use]
    pub fn with_stores(
        self,
        root_uri: impl Into<String>,
        open: impl Fn(&str) -> Result<Arc<dyn UnderStorage>, UfsError> + Send + Sync + 'static,
    ) -> Self {
        let mut core = self.core();
        (core.stores.root_uri, core.stores.open) = (root_uri.into(), Arc::new(open));
        drop(core);
        self
    }

    fn of(core: Core) -> Self {
        Self { core: Arc::new(Mutex::new(core)) }
    }

    fn core(&self) -> MutexGuard<'_, Core> {
        self.core.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the cache and writes it down. What could not be written is tried again with the next change.
    fn change<T>(&self, how: impl FnOnce(&mut Core) -> T) -> T {
        let mut core = self.core();
        let result = how(&mut core);
        drop(core.save());
        result
    }

    /// Lets everything happen that is due at `now_ms`. Time never goes back.
    pub fn advance(&self, now_ms: i64) {
        self.change(|c| c.advance(now_ms));
    }

    /// Who are you, and how are you?
    ///
    /// # Errors
    /// [`Trouble`] when nobody answers.
    pub fn probe(&self) -> Result<Probe, Trouble> {
        self.core().probe()
    }

    /// Answers a question.
    ///
    /// # Errors
    /// [`Trouble`] when nobody answers, or the under-storage does not.
    pub fn inspect(&self, query: &Query) -> Result<Answer, Trouble> {
        self.change(|c| c.inspect(query))
    }

    /// Applies an effect, now. When a durable cache cannot write it down, nobody knows what became of it.
    #[must_use]
    pub fn apply(&self, call: &Call<'_>) -> Outcome {
        let mut core = self.core();
        let outcome = core.apply(call);
        match core.save() {
            Ok(()) => outcome,
            Err(why) => Outcome::Unknown { detail: why.to_string() },
        }
    }

    /// What protects an effect, and how long it may still land.
    #[must_use]
    pub fn describe(&self, _effect: &Effect) -> EffectTraits {
        self.core().profile.traits()
    }
}

impl std::fmt::Debug for Cache {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cache").field("identity", &self.core().identity).finish_non_exhaustive()
    }
}
