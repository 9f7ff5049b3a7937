//! Ratchet: data-lifecycle operations of a distributed cache as durable state machines on Kubernetes.
//!
//! ```text
//!   watch -> cache -> observe -> decide (pure, state-machine) -> commit (the only writer) -> perform -> commit
//! ```
//!
//! [`api`] holds the kinds, [`cache`] what is watched, [`controller`] the loop, [`dataset`] what edits of a Dataset
//! become, [`engine`] the adapters to cache
//! systems, [`cli`] the commands.

pub mod api;
pub mod cache;
pub mod cli;
pub mod clock;
pub mod cluster;
pub mod controller;
pub mod dataset;
#[cfg(feature = "dev")]
pub mod demo;
#[cfg(feature = "dev")]
pub mod dev;
pub mod engine;
