//! Invariants: sentences that every record keeps, as pure predicates. Tests check them after every random step,
//! and the controller checks them before it writes.

use crate::journal::{MAX_TAIL, Record};

/// One sentence about a record and the one before it.
pub struct Invariant {
    /// The sentence.
    pub says: &'static str,
    /// Whether it holds for (before, after).
    pub holds: fn(Option<&Record>, &Record) -> bool,
}

/// Every invariant.
pub const ALL: &[Invariant] = &[
    Invariant {
        says: "seq grows by one",
        holds: |before, after| after.folded.seq.0 == before.map_or(0, |b| b.folded.seq.0) + 1,
    },
    Invariant {
        says: "the fence never falls",
        holds: |before, after| before.is_none_or(|b| after.folded.fence >= b.folded.fence),
    },
    Invariant {
        says: "a terminal phase is final",
        holds: |before, after| {
            before.is_none_or(|b| !b.folded.state.phase().terminal() || b.folded.state == after.folded.state)
        },
    },
    Invariant {
        says: "an intent is held by an operation that holds the lock",
        holds: |_, after| after.folded.intent.is_none() || after.folded.state.holds(),
    },
    Invariant {
        says: "the intent carries the record's fence",
        holds: |_, after| after.folded.intent.as_ref().is_none_or(|i| i.fence == after.folded.fence),
    },
    Invariant {
        says: "the tail is contiguous, bounded, ends at seq and starts at or before sealedThrough + 1",
        holds: |_, after| {
            let tail = &after.tail;
            let contiguous = tail.windows(2).all(|w| w[1].seq == w[0].seq.next());
            let ends = tail.last().is_some_and(|e| e.seq == after.folded.seq);
            let starts = tail.first().is_some_and(|e| e.seq <= after.folded.sealed_through.next());
            contiguous && ends && starts && tail.len() <= MAX_TAIL
        },
    },
    Invariant {
        says: "sealedThrough never falls and stays below seq",
        holds: |before, after| {
            let through = after.folded.sealed_through;
            through < after.folded.seq && before.is_none_or(|b| through >= b.folded.sealed_through)
        },
    },
];

/// The first sentence that does not hold.
#[must_use]
pub fn broken(before: Option<&Record>, after: &Record) -> Option<&'static str> {
    ALL.iter().find(|i| !(i.holds)(before, after)).map(|i| i.says)
}
