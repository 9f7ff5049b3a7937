//! The way from a replica to the engine: the adapter does what the one of Alluxio does (look, compare, call), the link
//! beneath it loses, delays and repeats.

use super::link::Link;
use super::managed;
use super::oracle::Landed;
use super::plan::{Protection, Sent, Weather};
use super::world::{CALL_TIMEOUT_MS, LONGEST_DELAY_MS};
use futures::FutureExt as _;
use futures::future::BoxFuture;
use ratchet::api::cluster::Member;
use ratchet::clock::Clock;
use ratchet::controller::teeth::Mutation;
use ratchet::engine::{Call, Engine, EngineInfo, local, window_closed};
use ratchet_simulator::cache;
use ratchet_state_machine::drain::At;
use ratchet_state_machine::effect::{
    Answer, Effect, EffectClass, EffectTraits, JobState, Outcome, Query, Receipt, Trouble, TroubleKind,
};
use ratchet_state_machine::spec::ArmSpec;
use std::sync::Arc;
use std::time::Duration;

/// A replica's engine.
pub struct SimEngine {
    /// The replica's way.
    pub link: Link,
    /// Its clock.
    pub clock: Arc<dyn Clock>,
}

fn trouble(kind: TroubleKind, message: &str) -> Trouble {
    Trouble { kind, message: message.into() }
}

impl SimEngine {
    async fn pause(&self) {
        let ms = self.link.world.draw(|rng| rng.below(6));
        if ms > 0 {
            tokio::time::sleep(Duration::from_millis(ms)).await;
        }
        self.link.world.gate(self.link.replica, self.link.life).await;
    }

    /// A call that changes nothing.
    async fn ask(&self, what: &str) -> Result<(), Trouble> {
        self.link.world.gate(self.link.replica, self.link.life).await;
        self.pause().await;
        let world = &self.link.world;
        if world.is_engine_down() || !world.has_master() {
            return Err(trouble(TroubleKind::Unreachable, "nobody answers"));
        }
        let bad = world.weather().1;
        let mute = bad.silent + bad.lost + bad.late + bad.dropped;
        if mute > 0 && world.draw(|rng| rng.chance(mute)) {
            world.fault();
            world.note(format_args!("r{} asks for {what}: no answer", self.link.replica));
            tokio::time::sleep(Duration::from_millis(CALL_TIMEOUT_MS)).await;
            return Err(trouble(TroubleKind::Unknown, "no answer in time"));
        }
        Ok(())
    }

    /// The changing call itself.
    async fn call(&self, call: &Call<'_>, path: &str) -> Outcome {
        let (effect, fence) = (call.effect, call.fence);
        let world = &self.link.world;
        let crash = self.link.crash(Sent::Effect);
        let what = format!("{} {path} {fence}", effect.name());
        if crash == Some(false) {
            world.note(format_args!("r{} dies before {what}", self.link.replica));
            self.link.die().await;
        }
        if world.is_engine_down() || !world.has_master() {
            let message = "nobody answers".into();
            return Outcome::Refused { reason: "EngineUnreachable".into(), message, retryable: true };
        }
        let weather = world.weather().1;
        let (refused, dropped) = world.draw(|rng| (rng.chance(weather.refused), rng.chance(weather.dropped)));
        if refused {
            world.fault();
            world.note(format_args!("r{} {what}: refused", self.link.replica));
            return Outcome::Refused { reason: "Grumpy".into(), message: "not now".into(), retryable: true };
        }
        if dropped {
            world.fault();
            world.note(format_args!("r{} {what}: dropped", self.link.replica));
            tokio::time::sleep(Duration::from_millis(CALL_TIMEOUT_MS)).await;
            return Outcome::Unknown { detail: "no reply in time".into() };
        }
        let (reply, landing) = self.send(weather, call, path);
        if crash == Some(true) {
            world.note(format_args!("r{} dies after {what}", self.link.replica));
            self.link.die().await;
        }
        if !reply {
            world.fault();
            tokio::time::sleep(Duration::from_millis(CALL_TIMEOUT_MS)).await;
            return Outcome::Unknown { detail: "no reply in time".into() };
        }
        landing.await.unwrap_or(Outcome::Unknown { detail: "the call was lost".into() })
    }

    /// Sends it: it lands whatever becomes of the sender. Whether a reply comes.
    fn send(
        &self,
        weather: Weather,
        call: &Call<'_>,
        path: &str,
    ) -> (bool, tokio::task::JoinHandle<Outcome>) {
        let world = Arc::clone(&self.link.world);
        let (late, lost) = world.draw(|rng| {
            (rng.chance(weather.late), rng.chance(weather.lost + weather.silent + weather.muddled))
        });
        let delay = world.draw(|rng| {
            if late { rng.within(CALL_TIMEOUT_MS, CALL_TIMEOUT_MS + LONGEST_DELAY_MS) } else { rng.below(5) }
        });
        let (effect, path, token) = (call.effect.clone(), path.to_owned(), call.token.clone());
        let (fence, operation) = (call.fence, call.spec.operation.clone());
        let leaving = leaving(call.workers);
        let replica = self.link.replica;
        let landing = tokio::spawn(async move {
            if delay > 0 {
                tokio::time::sleep(Duration::from_millis(delay)).await;
            }
            let cache = world.cache_now();
            let mount = if let ArmSpec::Mount(m) = &operation { Some(m) } else { None };
            let call = cache::Call { effect: &effect, path: &path, token: &token, fence, mount };
            let (outcome, changed) = if let Effect::OnWorkers { call: what, .. } = &effect {
                let receipt = Receipt { upto_ms: Some(cache.now_ms()), ..Receipt::default() };
                (Outcome::Done(receipt), cache.on_workers(*what, &leaving))
            } else {
                let outcome = cache.apply(&call);
                let changed = cache.last_applied().is_some_and(|a| a.changed);
                (outcome.clone(), changed && matches!(outcome, Outcome::Done(_)))
            };
            world.note(format_args!(
                "   {} {path} {fence} of r{replica} lands{}",
                effect.name(),
                if changed { "" } else { ", changes nothing" }
            ));
            if matches!(effect, Effect::OnWorkers { .. }) {
                return outcome;
            }
            world.landed(&Landed { effect: &effect, path: &path, token: &token, fence, changed });
            outcome
        });
        (!late && !lost, landing)
    }

    async fn act(&self, call: &Call<'_>, path: &str) -> Outcome {
        let world = &self.link.world;
        let mut looked = false;
        if !matches!(world.mutation, Some(Mutation::SkipRead)) {
            looked = true;
            if let Effect::SubmitLoad { .. } = call.effect {
                if let Err(t) = self.ask("the job").await {
                    let reason = t.kind.reason().into();
                    return Outcome::Refused { reason, message: t.message, retryable: true };
                }
                let seen = world.cache_now().inspect(&Query::LoadJob { path: path.into() });
                if matches!(&seen, Ok(Answer::Job(job)) if job.state == JobState::Running) {
                    return Outcome::Done(Receipt { attached: true, ..Receipt::default() });
                }
            }
        }
        let table =
            matches!(call.effect, Effect::Mount { .. } | Effect::UpdateMount { .. } | Effect::Unmount { .. });
        if table && let Err(t) = self.ask("the mount table").await {
            let reason = t.kind.reason().into();
            return Outcome::Refused { reason, message: t.message, retryable: true };
        }
        let path = match local::compare(world.cache_now(), call, path) {
            Ok(path) => path,
            Err(outcome) => return outcome,
        };
        if self.clock.instant() >= call.send_before {
            return window_closed();
        }
        if !looked && world.protection == Protection::None {
            let why = format!("{} is sent without a look first", call.effect.name());
            world.judge().object(why);
        }
        self.call(call, &path).await
    }
}

impl Engine for SimEngine {
    fn probe(&self) -> BoxFuture<'_, Result<EngineInfo, Trouble>> {
        async move {
            self.ask("a probe").await?;
            let probe = self.link.world.cache_now().probe()?;
            let named = |(i, w): (usize, &cache::WorkerView)| {
                if self.link.world.managed { managed::worker_name(i) } else { w.name.clone() }
            };
            let release = |pod: &str| match self.link.world.managed {
                true => managed::release(&self.link.world, pod),
                false => probe.version.clone(),
            };
            let now = self.link.world.time.ms();
            let known = |i: usize| !self.link.world.managed || self.link.world.members.registered(i, now);
            let workers = || probe.workers.iter().enumerate().filter(|(i, _)| known(*i));
            let live = workers().filter(|(_, w)| w.state == "ACTIVE").count();
            let members = workers().map(|(i, w)| Member {
                name: named((i, w)),
                state: w.state.into(),
                version: release(&managed::worker_pod(i)),
                capacity_bytes: signed(w.capacity),
                used_bytes: signed(w.used),
            });
            Ok(EngineInfo {
                hit_percent: None,
                identity: probe.identity.clone(),
                version: release(managed::MASTER),
                masters_ready: probe.masters,
                masters: probe.masters,
                masters_at: Vec::new(),
                workers_live: live,
                members: members.collect(),
                capacity_bytes: signed(probe.capacity),
                used_bytes: signed(probe.used),
            })
        }
        .boxed()
    }

    fn inspect<'a>(&'a self, query: &'a Query) -> BoxFuture<'a, Result<Answer, Trouble>> {
        async move {
            self.ask("an answer").await?;
            let cache = self.link.world.cache_now();
            let answer = if let Query::Drain { workers, .. } = query {
                Ok(Answer::Drain(cache.drain(&leaving(workers))))
            } else {
                cache.inspect(query)
            };
            self.pause().await;
            answer
        }
        .boxed()
    }

    fn perform<'a>(&'a self, call: Call<'a>) -> BoxFuture<'a, Outcome> {
        async move {
            self.pause().await;
            if matches!(call.effect, Effect::OnWorkers { .. }) {
                if let Err(t) = self.ask("the workers").await {
                    let reason = t.kind.reason().into();
                    return Outcome::Refused { reason, message: t.message, retryable: true };
                }
                if self.clock.instant() >= call.send_before {
                    return window_closed();
                }
                return self.call(&call, "").await;
            }
            let Some(path) = call.effect.path(call.spec) else {
                let message = "the effect names no path".into();
                return Outcome::Refused { reason: "InvalidEffect".into(), message, retryable: false };
            };
            self.act(&call, path).await
        }
        .boxed()
    }

    fn describe(&self, _effect: &Effect) -> EffectTraits {
        let ms = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
        let class = match self.link.world.protection {
            Protection::None => EffectClass::Repeatable,
            Protection::Token => EffectClass::Token,
            Protection::Fence => EffectClass::Fenced,
        };
        EffectTraits { class, call_timeout_ms: ms(CALL_TIMEOUT_MS), longest_delay_ms: ms(LONGEST_DELAY_MS) }
    }
}

/// Numbers of the workers that leave.
fn leaving(at: &[At]) -> Vec<usize> {
    let number = |host: &str| host.strip_prefix("cache-worker-")?.split('-').next()?.parse().ok();
    at.iter().filter(|w| w.leaves).filter_map(|w| number(&w.host)).collect()
}

fn signed(n: u64) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}
