//! Engines: adapters to cache systems. An engine answers questions and carries out effects; it decides nothing and
//! remembers nothing that the cache itself would forget.

pub mod alluxio;
#[cfg(feature = "dev")]
pub mod local;
mod registry;
mod secrets;

pub use registry::{Registry, RegistryError};
pub use secrets::Secrets;

use crate::api::cluster::Member;
use futures::future::BoxFuture;
use ratchet_state_machine::drain::At;
use ratchet_state_machine::effect::{Answer, Effect, EffectTraits, Outcome, Query, Trouble};
use ratchet_state_machine::ids::{Fence, Token};
use ratchet_state_machine::spec::OperationSpec;
use tokio::time::Instant;

/// What an engine says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EngineInfo {
    /// Identity of the cache behind the addresses; stays over restarts.
    pub identity: String,
    /// Version of the part that answers.
    pub version: String,
    /// Masters that can be the primary.
    pub masters_ready: usize,
    /// Masters that are known.
    pub masters: usize,
    /// The masters by name, where the engine lists them.
    pub masters_at: Vec<MasterAt>,
    /// Workers that serve.
    pub workers_live: usize,
    /// The workers.
    pub members: Vec<Member>,
    /// Bytes that the live workers can hold.
    pub capacity_bytes: i64,
    /// Bytes that they hold.
    pub used_bytes: i64,
    /// Percentage of the bytes that clients have read which the cache had; none while that is not known.
    pub hit_percent: Option<i64>,
}

/// A master, as the primary lists it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct MasterAt {
    /// Its host name.
    pub host: String,
    /// Its release; empty where the primary does not know it.
    pub version: String,
    /// It is the one that serves.
    pub primary: bool,
}

/// What goes with an effect.
#[derive(Debug, Clone)]
pub struct Call<'a> {
    /// The effect.
    pub effect: &'a Effect,
    /// What was asked for; resolves the effect's path.
    pub spec: &'a OperationSpec,
    /// Names the effect.
    pub token: &'a Token,
    /// Orders the attempt.
    pub fence: Fence,
    /// The effect must not be sent after this: the intent's window is over. Checked right before the changing call.
    pub send_before: Instant,
    /// What the spec names of Secrets, for effects that need it.
    pub secrets: &'a Secrets,
    /// The workers of the cache, those that the effect is about among them; or the master that it is about.
    pub workers: &'a [At],
}

/// Reason of a refusal: the window was over before the effect could be sent, and nothing was.
pub const WINDOW_CLOSED: &str = "WindowClosed";

/// The refusal that says so.
#[must_use]
pub fn window_closed() -> Outcome {
    let message = "the intent's window was over before the call could be made".into();
    Outcome::Refused { reason: WINDOW_CLOSED.into(), message, retryable: true }
}

/// An adapter to a cache system. Every call has a time-out of its own, and dropping its future cancels it.
pub trait Engine: Send + Sync + 'static {
    /// Who are you, and how are you?
    fn probe(&self) -> BoxFuture<'_, Result<EngineInfo, Trouble>>;
    /// Answers a decision's question. Changes nothing.
    fn inspect<'a>(&'a self, query: &'a Query) -> BoxFuture<'a, Result<Answer, Trouble>>;
    /// Reads what is right below a path from its store, not from what the cache remembers. Engines without a store of
    /// their own have nothing to read.
    fn read_store<'a>(&'a self, _path: &'a str) -> BoxFuture<'a, Result<(), Trouble>> {
        Box::pin(std::future::ready(Ok(())))
    }
    /// Carries out an effect: read, compare, call, read. Never sends a call twice.
    fn perform<'a>(&'a self, call: Call<'a>) -> BoxFuture<'a, Outcome>;
    /// What protects an effect, and how long it may still land.
    fn describe(&self, effect: &Effect) -> EffectTraits;
}
