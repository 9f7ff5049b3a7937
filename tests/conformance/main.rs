//! Does the simulator's API server answer as the real one does?
//!
//! ```text
//!   generate ──> Sequence ──┬──> Side::Real ──────> answers, what is left, watch events ──┐
//!   pinned   ──>            └──> Side::Simulator ─> answers, what is left, watch events ──┴─> normal ──> equal?
//! ```
//!
//! A sequence names what a server invents (uids, resourceVersions, continue tokens) by symbols, so that both servers are
//! asked the same in their own words. See README.md beside this file for the variables and the latest soak.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that cannot go on fails")]

#[path = "../cluster/mod.rs"]
mod cluster;

mod allow;
mod cases;
mod generate;
mod normal;
mod pinned;
mod play;
mod random;
mod real;
mod recorded;
mod side;
mod step;
mod universe;
