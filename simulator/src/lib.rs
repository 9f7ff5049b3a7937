//! A Kubernetes, small enough to live inside a test and honest enough to be held against the real one.
//!
//! ```text
//!   http::Request --api--> schema (prune, default, validate, CEL) --> store --> watchers
//!                            pods: what a StatefulSet or a Job makes of it
//!   Effect / Query --cache--> workers that hold copies of files, with checksums
//! ```
//!
//! Nothing here reads a clock, draws a random number or spawns a task: time, ids and chance come in from outside, so
//! that one seed gives one history. It knows nothing of Ratchet but the vocabulary of engines in `state-machine`.

pub mod api;
pub mod cache;
pub mod pods;
pub mod schema;
