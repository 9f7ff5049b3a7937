//! The simulator's cache as an engine: what `ratchet dev` and deterministic simulations run on.
//!
//! The cache has no clock. Before each question and each effect it is told the time, and what was due by then happens:
//! a load copies at most 64 MiB at a time, so that no call takes long. Whoever wants copies to appear while nobody asks
//! calls [`Cache::advance`] as well.

use super::{Call, Engine, EngineInfo, RegistryError};
use crate::api::cluster::{CacheCluster, Local as Spec, Member};
use futures::future::{BoxFuture, ready};
use kube::ResourceExt as _;
pub use ratchet_simulator::cache::{Cache, Profile};
use ratchet_simulator::cache::{Call as Landing, Probe};
use ratchet_state_machine::effect::{Answer, Effect, EffectTraits, Outcome, Query, Receipt, Trouble};
use ratchet_state_machine::mounts::Standing;
use ratchet_state_machine::spec::ArmSpec;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::time::Instant;

/// Where the cache's time comes from, in milliseconds.
pub type Now = Arc<dyn Fn() -> i64 + Send + Sync>;

type Open = dyn Fn(&str, &Spec) -> Result<Cache, RegistryError> + Send + Sync;

/// A cache in this process.
pub struct Local {
    cache: Cache,
    now: Now,
}

impl Local {
    /// An adapter to a cache.
    #[must_use]
    pub fn new(cache: Cache, now: Now) -> Self {
        Self { cache, now }
    }

    /// The cache, as it is by now.
    fn current(&self) -> &Cache {
        self.cache.advance((self.now)());
        &self.cache
    }

    fn act(&self, call: &Call<'_>) -> Outcome {
        let Some(path) = call.effect.path(call.spec) else {
            let message = "the effect names a path that the spec does not have".into();
            return Outcome::Refused { reason: "InvalidEffect".into(), message, retryable: false };
        };
        let cache = self.current();
        let path = match compare(cache, call, path) {
            Ok(path) => path,
            Err(outcome) => return outcome,
        };
        if Instant::now() > call.send_before {
            return super::window_closed();
        }
        let mount = if let ArmSpec::Mount(m) = &call.spec.operation { Some(m) } else { None };
        let landing =
            Landing { effect: call.effect, path: &path, token: call.token, fence: call.fence, mount };
        cache.apply(&landing)
    }
}

impl Engine for Local {
    fn probe(&self) -> BoxFuture<'_, Result<EngineInfo, Trouble>> {
        Box::pin(ready(self.current().probe().map(info)))
    }

    fn inspect<'a>(&'a self, query: &'a Query) -> BoxFuture<'a, Result<Answer, Trouble>> {
        Box::pin(async move { self.current().inspect(query) })
    }

    fn perform<'a>(&'a self, call: Call<'a>) -> BoxFuture<'a, Outcome> {
        Box::pin(async move { self.act(&call) })
    }

    fn describe(&self, effect: &Effect) -> EffectTraits {
        self.cache.describe(effect)
    }
}

/// What the effect works on, by the mount table where it is about that; or what is to be said without a call.
///
/// # Errors
/// The outcome.
pub fn compare(cache: &Cache, call: &Call<'_>, path: &str) -> Result<String, Outcome> {
    let refused = |reason: &str, message: String, retryable| Outcome::Refused {
        reason: reason.into(),
        message,
        retryable,
    };
    let count = matches!(call.effect, Effect::Unmount { .. }).then(|| path.to_owned());
    match call.effect {
        Effect::Mount { .. } | Effect::UpdateMount { .. } | Effect::Unmount { .. } => {}
        Effect::LoadMetadata { .. }
        | Effect::SubmitLoad { .. }
        | Effect::StopLoad { .. }
        | Effect::CancelMetadata { .. }
        | Effect::Free { .. }
        | Effect::Backup { .. }
        | Effect::PruneBackups { .. } => return Ok(path.to_owned()),
        Effect::AddWorkers { .. }
        | Effect::RemoveWorkers { .. }
        | Effect::MarkWorkers { .. }
        | Effect::ReplaceWorker { .. }
        | Effect::SetRelease { .. }
        | Effect::ReplaceMember { .. }
        | Effect::OnWorkers { .. }
        | Effect::TransferLeadership { .. }
        | Effect::ResetPriorities {}
        | Effect::FenceMembers {} => {
            return Err(refused("InvalidEffect", "members are not changed by the engine".into(), false));
        }
    }
    let table = match cache.inspect(&Query::Mounts { count, secrets: false }) {
        Ok(Answer::Mounts(table)) => table,
        Ok(_) => return Err(refused("InvalidEffect", "the cache has no mount table".into(), false)),
        Err(t) => return Err(refused(t.kind.reason(), t.message, t.kind.passes())),
    };
    match (call.effect, &call.spec.operation) {
        (Effect::Unmount { .. }, _) => {
            let next =
                table.next_to_unmount(call.spec).map_err(|no| refused(no.reason, no.message, false))?;
            let Some(mount) = next else {
                return Err(Outcome::Done(Receipt { attached: true, ..Receipt::default() }));
            };
            match table.unpersisted_problem(path).filter(|_| call.spec.control.force.is_none()) {
                Some(message) => Err(refused("NotPersisted", message, true)),
                None => Ok(mount.path.clone()),
            }
        }
        (Effect::Mount { .. }, ArmSpec::Mount(wanted)) => match table.standing(wanted) {
            Standing::Absent => Ok(path.to_owned()),
            Standing::AsWanted => Err(Outcome::Done(Receipt { attached: true, ..Receipt::default() })),
            Standing::Differs { .. } | Standing::Elsewhere { .. } => {
                Err(refused("Changed", "something was mounted there meanwhile".into(), true))
            }
            Standing::Impossible { reason, message } => Err(refused(reason, message, false)),
        },
        (_, _) => Ok(path.to_owned()),
    }
}

fn signed(n: u64) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

fn info(probe: Probe) -> EngineInfo {
    let Probe { identity, version, masters, workers, capacity, used } = probe;
    EngineInfo {
        hit_percent: None,
        identity,
        masters_ready: masters,
        masters,
        masters_at: Vec::new(),
        workers_live: workers.iter().filter(|w| w.state == "ACTIVE").count(),
        members: workers
            .into_iter()
            .map(|w| Member {
                name: w.name,
                state: w.state.into(),
                version: version.clone(),
                capacity_bytes: signed(w.capacity),
                used_bytes: signed(w.used),
            })
            .collect(),
        version,
        capacity_bytes: signed(capacity),
        used_bytes: signed(used),
    }
}

/// The profile of a cache that a spec asks for: Alluxio's habits in the size that is wanted.
#[must_use]
pub fn profile(spec: &Spec) -> Profile {
    let unsigned = |n: i64| u64::try_from(n).unwrap_or(0);
    Profile {
        workers: usize::try_from(spec.workers.clamp(1, 16)).unwrap_or(1),
        worker_capacity: unsigned(spec.worker_capacity_bytes),
        bytes_per_second: unsigned(spec.bytes_per_second),
        ..Profile::alluxio()
    }
}

/// The local caches of a registry, one for each namespace and name.
pub(super) struct Caches {
    now: Now,
    open: Box<Open>,
    opened: Mutex<BTreeMap<String, Cache>>,
}

impl Caches {
    pub fn new(
        now: Now,
        open: impl Fn(&str, &Spec) -> Result<Cache, RegistryError> + Send + Sync + 'static,
    ) -> Self {
        Self { now, open: Box::new(open), opened: Mutex::default() }
    }

    /// The engine of a CacheCluster. One that is created anew under its old name finds its cache as it was.
    pub fn engine(&self, cluster: &CacheCluster) -> Result<Local, RegistryError> {
        let key = format!("{}/{}", cluster.namespace().unwrap_or_default(), cluster.name_any());
        let mut opened = self.opened.lock().unwrap_or_else(PoisonError::into_inner);
        let cache = match opened.get(&key) {
            Some(cache) => cache.clone(),
            None => {
                let spec = cluster.spec.local.clone().unwrap_or_default();
                let cache = (self.open)(&key, &spec)?;
                opened.insert(key, cache.clone());
                cache
            }
        };
        Ok(Local::new(cache, Arc::clone(&self.now)))
    }
}

#[cfg(test)]
mod tests;
