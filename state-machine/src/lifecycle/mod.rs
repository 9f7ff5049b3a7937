//! What every operation shares: the shared steps and their law ([`step`]), the folded record ([`Folded`]) and the
//! shared part of the decision ([`decide`](fn@decide)).
//!
//! ```text
//!   entries --fold--> Folded --decide(spec, Folded, Observation)--> Decision
//! ```
//!
//! Nothing in here knows an engine, a clock or Kubernetes.

mod back;
mod decide;
mod event;
mod fold;
mod halt;
pub mod step;

pub use decide::{asks, decide, query};
pub use event::{Failure, cut};
pub use fold::{Change, Folded, Plan};
pub use halt::{CLEANUP_BOUND_MS, halt_is_due};

#[cfg(test)]
mod random_tests;

#[cfg(test)]
mod exhaustive_tests;
