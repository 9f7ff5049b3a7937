//! Deterministic simulation of the shipped controller.
//!
//! ```text
//!   seed -> Plan -> World { API server, cache, true time, weather } <- Link, SimEngine <- Replica (shipped code) x N
//!                     '-> Oracle: what must never happen, at every commit and every effect
//! ```
//!
//! Time is tokio's paused time, chance is a stream from the seed, ids are counters: one seed gives one history, byte
//! for byte. What is simulated ends at the wires: everything between them is the code that ships.

#![allow(dead_code, reason = "each test binary uses its own part")]

mod backups;
pub mod call;
pub mod datasets;
mod draw;
pub mod end;
pub mod engine;
pub mod link;
pub mod managed;
mod members;
pub mod oracle;
pub mod plan;
pub mod replica;
pub mod rng;
pub mod run;
pub mod time;
mod trace;
pub mod world;

#[allow(unused_imports, reason = "each test binary uses its own part")]
pub use plan::{
    BACKED_UP_FROM, DATASETS_FROM, MAINTAINED_FROM, MANAGED_FROM, MOUNTS_FROM, Plan, SCALED_FROM,
    UPGRADED_FROM,
};
#[allow(unused_imports, reason = "each test binary uses its own part")]
pub use run::{Report, run};
