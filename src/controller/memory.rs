//! What one process remembers of one operation between two looks. Losing it is always safe: a process without it
//! is a process that has just started, and waits accordingly.

use crate::api::DataOperation;
use crate::clock::ms_between;
use ratchet_state_machine::effect::Outcome;
use ratchet_state_machine::ids::{Nonce, Seq};
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// How the effect of an own intent stands.
#[derive(Debug, Clone)]
pub enum Sent {
    /// Not sent.
    No,
    /// Sent; its outcome is unknown.
    At(Instant),
    /// Sent and answered.
    Answered(Outcome),
}

/// An intent that this process wrote.
#[derive(Debug, Clone)]
pub struct OwnIntent {
    /// The write.
    pub nonce: Nonce,
    /// Just before the PATCH was sent.
    pub patched_at: Instant,
    /// Its effect.
    pub sent: Sent,
}

/// An intent of another process, or of this one before it lost its memory.
#[derive(Debug, Clone)]
pub struct ForeignIntent {
    /// The write.
    pub nonce: Nonce,
    /// When it was first seen.
    pub first_seen: Instant,
}

/// What is remembered of one operation.
#[derive(Debug, Clone, Default)]
pub struct Memory {
    /// The entry that the ages belong to, when it was first seen, and how old it was then (milliseconds).
    pub entry: Option<(Seq, Instant, i64)>,
    /// When the operation was first seen, and how old it was then (milliseconds).
    pub born: Option<(Instant, i64)>,
    /// The intent that this process wrote.
    pub own: Option<OwnIntent>,
    /// An intent of somebody else.
    pub foreign: Option<ForeignIntent>,
    /// The last sign of progress: its measure and when it changed.
    pub progress: Option<(i64, Instant)>,
    /// When and with what percentage the display was last written.
    pub published: Option<(Instant, i64)>,
    /// Writes in a row that did not go through.
    pub errors: u32,
    /// The `seq` and generation at which a write was refused as illegal, and when: nothing is tried until one of them
    /// changes, or for a while.
    pub parked: Option<(Seq, i64, Instant)>,
}

impl Memory {
    /// Takes note of the newest entry. Ages of entries that this process has not seen being written begin with the
    /// difference of the wall clocks, once; from then on the monotonic clock counts.
    ///
    /// Not every entry is progress: an engine that never answers gets one intent after the other. `got_on` says
    /// whether this one is.
    pub fn see(&mut self, seq: Seq, got_on: bool, now: Instant, age_ms: i64, entry_age_ms: i64) {
        let fresh = self.born.is_none();
        self.born.get_or_insert((now, age_ms.max(0)));
        if self.entry.is_none_or(|(s, _, _)| s != seq) {
            self.entry = Some((seq, now, if fresh { entry_age_ms.max(0) } else { 0 }));
            if got_on {
                self.progress = None;
            }
        }
    }

    /// Nothing is tried with this state of the object for a while.
    pub fn park(&mut self, op: &DataOperation, now: Instant) {
        self.parked = Some((op.seq(), op.metadata.generation.unwrap_or(0), now));
    }

    /// Whether this state of the object was parked less than `retry` ago.
    pub fn is_parked(&self, op: &DataOperation, now: Instant, retry: Duration) -> bool {
        self.parked.is_some_and(|(seq, generation, since)| {
            seq == op.seq()
                && generation == op.metadata.generation.unwrap_or(0)
                && now.saturating_duration_since(since) < retry
        })
    }

    /// Milliseconds since the operation was created.
    pub fn age_ms(&self, now: Instant) -> i64 {
        self.born.map_or(0, |(at, before)| before.saturating_add(ms_between(at, now)))
    }

    /// Milliseconds since the newest entry.
    pub fn since_entry_ms(&self, now: Instant) -> i64 {
        self.since_entry_at_most_ms(now, i64::MAX)
    }

    /// The same, where of what was before this process no more than `most` is believed.
    pub fn since_entry_at_most_ms(&self, now: Instant, most: i64) -> i64 {
        self.entry.map_or(0, |(_, at, before)| before.min(most).saturating_add(ms_between(at, now)))
    }

    /// Takes note of how far the work is; milliseconds since that last changed.
    pub fn stalled_ms(&self, now: Instant) -> i64 {
        self.progress.map_or(0, |(_, at)| ms_between(at, now))
    }

    /// Takes note of how far the work is.
    pub fn note_progress(&mut self, measure: i64, now: Instant) {
        if self.progress.is_none_or(|(m, _)| m != measure) {
            self.progress = Some((measure, now));
        }
    }

    /// Time that does not count towards the stall deadline has passed.
    pub fn not_stalling(&mut self, now: Instant) {
        if let Some((_, at)) = &mut self.progress {
            *at = now;
        }
    }
}

/// The memories of all operations, by uid.
#[derive(Default)]
pub struct MemoryTable(Mutex<HashMap<String, Memory>>);

impl MemoryTable {
    /// Takes the memory of an operation out; whoever reconciles it holds it alone.
    pub fn take(&self, uid: &str) -> Memory {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(uid).unwrap_or_default()
    }

    /// Puts it back.
    pub fn put(&self, uid: &str, memory: Memory) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(uid.to_owned(), memory);
    }

    /// Forgets an operation.
    pub fn forget(&self, uid: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(uid);
    }
}
