//! What is watched, shared and indexed.
//!
//! ```text
//!   watch stream (own backoff) --guard--> Store --change--> queues
//!                                          |-- Arc<K> by key, by index
//!                                          '-- waits: own predicate, own deadline
//! ```
//!
//! Objects are immutable and shared (`Arc`); nobody gets a pointer that somebody else changes, and no reconcile
//! clones the world. A copy older than one that was seen or written before is refused (the watermark).

mod guard;
pub mod kinds;
mod pause;
mod store;
mod watch;

pub use guard::{Guarded, Unreadable};
pub use store::{Cached, Change, IndexKey, Key, Store, WaitError};
pub use watch::{WatchOptions, namespaced, watch};
