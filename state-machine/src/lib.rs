//! The pure core of Ratchet.
//!
//! ```text
//!   (spec, record, observation) --decide--> decision          lifecycle, operation
//!   (record, event)             --apply---> record            lifecycle::Folded, the law
//!   record + event              --append--> record + entry    journal, hash-chained
//!   entries                     --replay--> record            journal, from nothing
//! ```
//!
//! **The one rule:** this crate never does I/O. There is no Kubernetes, no async, no clock, no randomness, no file
//! and no network in it: what it needs to know comes in as data, what it wants done goes out as data.
//!
//! Words: an *engine* is an adapter to a cache system; *phase*, *step*, *state* are the coarse public word, the name
//! of the typed state, and the state; an *observation* is what was seen and may be stale; an *event* is a fact that
//! moves a machine; an *intent* is an effect persisted before it is tried; a *token* names one effect; a *fence* only
//! grows, anew for each attempt; *seq* counts entries; *illegal*, *refused*, *stuck* mean our bug, the world said no,
//! a person is needed.

pub mod backups;
pub mod canonical;
pub mod decision;
pub mod drain;
pub mod effect;
mod explain;
pub mod ids;
pub mod invariant;
pub mod journal;
pub mod legality;
pub mod lifecycle;
pub mod lock;
pub mod machine;
pub mod members;
pub mod mounts;
pub mod observation;
pub mod operation;
pub mod rollout;
pub mod setup;
pub mod spec;

/// Version of the machine that this crate implements. A record with a higher one is left alone.
pub const MACHINE_VERSION: i64 = 1;

#[cfg(test)]
mod testing;
