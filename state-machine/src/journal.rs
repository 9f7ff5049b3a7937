//! The journal: an append-only chain of entries, the newest of them in the status (the tail), all of them in
//! immutable segments at the end.
//!
//! ```text
//!   genesis = H(uid, spec) <- entry 1 <- entry 2 <- ... <- entry seq = digest
//!                             '-- segments --'  '- tail -'
//! ```
//!
//! A replay starts from nothing and calls the law on every entry; `from`, `to` and the stored record are only used
//! to compare. Nobody can change an entry without changing every digest that follows.

use crate::canonical;
use crate::effect::Intent;
use crate::ids::{Digest, Seq, WriterId, hash};
use crate::lifecycle::{Change, Folded};
use crate::machine::Illegal;
use crate::operation::Event;
use crate::spec::OperationSpec;
use chrono::{DateTime, SecondsFormat, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::borrow::Cow;

pub use crate::explain::explain;

/// Longest `because`, in bytes.
pub const MAX_BECAUSE: usize = 160;
/// Longest `body`, in bytes.
pub const MAX_BODY: usize = 1024;
/// Most entries in the tail.
pub const MAX_TAIL: usize = 32;
/// From this many entries on, the tail is due for a segment.
pub const COMPACT_ENTRIES: usize = 16;
/// From this many bytes on, the tail is due for a segment.
pub const COMPACT_BYTES: usize = 6 * 1024;

/// One thing that happened, as it is stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Entry {
    /// Number of the entry, from 1, without gaps.
    #[cfg_attr(feature = "schema", schemars(range(min = 1)))]
    pub seq: Seq,
    /// When it was written, by the writer's clock: RFC 3339 with milliseconds, UTC. A plain string, because a
    /// date-time is compared as an instant and could be rewritten without breaking equality.
    #[cfg_attr(feature = "schema", schemars(length(max = 30)))]
    pub at: String,
    /// What happened.
    #[cfg_attr(feature = "schema", schemars(length(max = 63)))]
    pub event: String,
    /// Canonical JSON: by, because, from, to, data, intent, sealedThrough, hash.
    #[cfg_attr(feature = "schema", schemars(length(max = 1024)))]
    pub body: String,
}

/// Where the body has its digest.
const HASH: &str = "hash";

/// The inside of an entry.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Body {
    /// Who wrote it: one process of one replica.
    pub by: WriterId,
    /// The few facts that decided.
    pub because: String,
    /// Step that was left; empty for the first entry.
    pub from: String,
    /// Step that was entered.
    pub to: String,
    /// Payload of the event.
    pub data: Value,
    /// The effect that is tried next.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub intent: Option<Intent>,
    /// Entries up to here are in segments now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sealed_through: Option<Seq>,
    /// Digest of this entry and everything before it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub hash: String,
}

/// The folded record with the newest entries: what the status of an operation persists.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// The folded part.
    pub folded: Folded,
    /// The newest entries, contiguous, ending at `folded.seq`.
    pub tail: Vec<Entry>,
}

/// Who writes, when and why.
#[derive(Debug, Clone)]
pub struct Signature<'a> {
    /// The process.
    pub by: &'a WriterId,
    /// Its wall clock.
    pub at: DateTime<Utc>,
    /// The facts that decided.
    pub because: &'a str,
}

/// Why a journal cannot be appended to, replayed or believed.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// The law forbids the entry.
    #[error("entry {seq}: {illegal}")]
    Illegal {
        /// Which entry.
        seq: Seq,
        /// What the law says.
        #[source]
        illegal: Illegal,
    },
    /// The entry is not the one that has to follow.
    #[error("entry {found} found where entry {expected} has to be")]
    Gap {
        /// The number that has to follow.
        expected: Seq,
        /// The number that was found.
        found: Seq,
    },
    /// The entry was changed, or one before it.
    #[error("entry {seq}: its digest does not follow from its content and the entry before it")]
    Broken {
        /// Which entry.
        seq: Seq,
    },
    /// `from` or `to` contradict the law.
    #[error("entry {seq} says {said}, the law says {law}")]
    Contradiction {
        /// Which entry.
        seq: Seq,
        /// What is written.
        said: String,
        /// What follows.
        law: String,
    },
    /// The text of an entry cannot be read.
    #[error("entry {seq} cannot be read: {source}")]
    Unreadable {
        /// Which entry.
        seq: Seq,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// The entry does not fit its bound: a bug.
    #[error("entry {seq} takes {bytes} bytes, at most {MAX_BODY} are allowed")]
    TooLong {
        /// Which entry.
        seq: Seq,
        /// Its size.
        bytes: usize,
    },
    /// The tail is full and no segment was written: the caller has to compact first.
    #[error("the tail is full at entry {seq}; a segment has to be written first")]
    TailFull {
        /// Which entry.
        seq: Seq,
    },
    /// There is nothing to replay.
    #[error("the journal is empty")]
    Empty,
}

/// The digest before the first entry: it binds the history to its operation and to what was asked for.
///
/// # Errors
/// When the spec does not serialise, which no spec's does.
pub fn genesis(uid: &str, spec: &OperationSpec) -> Result<Digest, serde_json::Error> {
    let spec = canonical::to_string(&spec.frozen())?;
    Ok(Digest(hash(&[b"genesis", uid.as_bytes(), spec.as_bytes()])))
}

/// The digest of what an operation will do: what an approval is bound to.
///
/// # Errors
/// When the spec does not serialise, which no spec's does.
pub fn plan_hash(spec: &OperationSpec) -> Result<crate::ids::PlanHash, serde_json::Error> {
    let text = canonical::to_string(&(&spec.target, &spec.operation))?;
    Ok(crate::ids::PlanHash(hash(&[b"plan", text.as_bytes()])))
}

/// The digest of an entry, given its body in canonical form and without the digest.
fn digest(previous: &Digest, entry: &Entry, bare: &Value) -> Result<String, serde_json::Error> {
    let text = serde_json::to_string(&(entry.seq, &entry.at, &entry.event, bare))?;
    Ok(hash(&[previous.0.as_bytes(), text.as_bytes()]))
}

impl Entry {
    /// The inside of the entry.
    ///
    /// # Errors
    /// [`JournalError::Unreadable`].
    pub fn open(&self) -> Result<Body, JournalError> {
        serde_json::from_str(&self.body).map_err(|source| JournalError::Unreadable { seq: self.seq, source })
    }

    /// Whether the entry led to another step.
    ///
    /// # Errors
    /// [`JournalError::Unreadable`].
    pub fn moves(&self) -> Result<bool, JournalError> {
        #[derive(Deserialize)]
        struct Ends<'a> {
            #[serde(borrow)]
            from: Cow<'a, str>,
            #[serde(borrow)]
            to: Cow<'a, str>,
        }
        let ends: Result<Ends<'_>, _> = serde_json::from_str(&self.body);
        ends.map(|e| e.from != e.to).map_err(|source| JournalError::Unreadable { seq: self.seq, source })
    }

    /// When the entry was written; `None` when the text is no time.
    #[must_use]
    pub fn time(&self) -> Option<DateTime<Utc>> {
        DateTime::parse_from_rfc3339(&self.at).ok().map(|t| t.with_timezone(&Utc))
    }

    fn size(&self) -> usize {
        self.body.len() + self.event.len() + self.at.len() + 48
    }
}

fn write(
    previous: &Digest,
    seq: Seq,
    from: &str,
    to: &str,
    change: &Change,
    by: &Signature<'_>,
) -> Result<(Entry, Digest), JournalError> {
    let unreadable = |source| JournalError::Unreadable { seq, source };
    let mut entry = Entry {
        seq,
        at: by.at.to_rfc3339_opts(SecondsFormat::Millis, true),
        event: change.event.name().into(),
        body: String::new(),
    };
    let body = Body {
        by: by.by.clone(),
        because: crate::lifecycle::cut(by.because, MAX_BECAUSE),
        from: from.into(),
        to: to.into(),
        data: change.event.data().map_err(unreadable)?,
        intent: change.intent.clone(),
        sealed_through: change.sealed_through,
        hash: String::new(),
    };
    let mut body = canonical::to_value(&body).map_err(unreadable)?;
    let digest = digest(previous, &entry, &body).map_err(unreadable)?;
    body[HASH] = digest.as_str().into();
    body.sort_all_objects();
    entry.body = body.to_string();
    if entry.body.len() > MAX_BODY {
        return Err(JournalError::TooLong { seq, bytes: entry.body.len() });
    }
    Ok((entry, Digest(digest)))
}

impl Record {
    /// The record of an operation that has just been seen for the first time.
    ///
    /// # Errors
    /// [`JournalError::Illegal`] when the change is no birth.
    pub fn birth(
        uid: &str,
        spec: &OperationSpec,
        change: &Change,
        by: &Signature<'_>,
    ) -> Result<Self, JournalError> {
        let seq = Seq(1);
        let mut folded =
            Folded::birth(spec, change).map_err(|illegal| JournalError::Illegal { seq, illegal })?;
        let before = genesis(uid, spec).map_err(|source| JournalError::Unreadable { seq, source })?;
        let (entry, digest) = write(&before, seq, "", folded.state.step(), change, by)?;
        folded.digest = digest;
        Ok(Self { folded, tail: vec![entry] })
    }

    /// The record after one more transition. A `sealed_through` that rides on it trims the tail.
    ///
    /// # Errors
    /// [`JournalError`] when the law forbids it, or a bound would be broken.
    pub fn append(&self, change: &Change, by: &Signature<'_>) -> Result<Self, JournalError> {
        let from = self.folded.state.step();
        let seq = self.folded.seq.next();
        let illegal = |illegal| JournalError::Illegal { seq, illegal };
        let change = &Change { sealed_through: self.rides(change), ..change.clone() };
        let mut folded = self.folded.clone().apply(change).map_err(illegal)?;
        let (entry, digest) = write(&self.folded.digest, seq, from, folded.state.step(), change, by)?;
        folded.digest = digest;
        let mut tail = self.tail.clone();
        if let Some(through) = change.sealed_through {
            tail.retain(|e| e.seq > through);
        }
        if tail.len() >= MAX_TAIL {
            return Err(JournalError::TailFull { seq });
        }
        tail.push(entry);
        Ok(Self { folded, tail })
    }

    /// How much of the tail the change may trim. The entry that ends the operation leaves the trim to the final
    /// seal, or, when the tail has no room, keeps one sealed entry: it must not look like the final seal itself.
    fn rides(&self, change: &Change) -> Option<Seq> {
        let through = change.sealed_through?;
        let Folded { state, intent, seq, sealed_through, .. } = &self.folded;
        let after = state.clone().apply(&change.event, intent.is_some());
        if state.phase().terminal() || !after.is_ok_and(|s| s.phase().terminal()) {
            return Some(through);
        }
        let kept = through.min(Seq(seq.0.saturating_sub(1)));
        (self.tail.len() >= MAX_TAIL && kept > *sealed_through).then_some(kept)
    }

    /// The entries that the next segment has to hold; empty when nothing is unsealed.
    pub fn unsealed(&self) -> impl Iterator<Item = &Entry> {
        let through = self.folded.sealed_through;
        self.tail.iter().filter(move |e| e.seq > through)
    }

    /// Whether a segment has to be written before the next transition.
    #[must_use]
    pub fn compaction_due(&self) -> bool {
        let bytes: usize = self.tail.iter().map(Entry::size).sum();
        self.tail.len() >= COMPACT_ENTRIES || bytes >= COMPACT_BYTES
    }

    /// The newest entry.
    #[must_use]
    pub fn last(&self) -> Option<&Entry> {
        self.tail.last()
    }
}

/// One step of a replay.
#[derive(Debug, Clone)]
pub struct Replayed {
    /// The entry.
    pub entry: Entry,
    /// Its inside.
    pub body: Body,
    /// The record after it.
    pub after: Folded,
}

/// Folds a journal from nothing, proving the chain, the law and the bookkeeping on the way.
///
/// # Errors
/// The first [`JournalError`], naming the entry.
pub fn replay<'a>(
    uid: &str,
    spec: &OperationSpec,
    entries: impl IntoIterator<Item = &'a Entry>,
) -> Result<Vec<Replayed>, JournalError> {
    let mut previous =
        genesis(uid, spec).map_err(|source| JournalError::Unreadable { seq: Seq(0), source })?;
    let mut record: Option<Folded> = None;
    let mut out = Vec::new();
    for entry in entries {
        let expected = record.as_ref().map_or(Seq(1), |r| r.seq.next());
        if entry.seq != expected {
            return Err(JournalError::Gap { expected, found: entry.seq });
        }
        let (body, mut after) = replay_one(&previous, spec, record, entry)?;
        previous = Digest(body.hash.clone());
        after.digest = previous.clone();
        record = Some(after.clone());
        out.push(Replayed { entry: entry.clone(), body, after });
    }
    if out.is_empty() { Err(JournalError::Empty) } else { Ok(out) }
}

fn replay_one(
    previous: &Digest,
    spec: &OperationSpec,
    record: Option<Folded>,
    entry: &Entry,
) -> Result<(Body, Folded), JournalError> {
    let seq = entry.seq;
    let unreadable = |source| JournalError::Unreadable { seq, source };
    let body = entry.open()?;
    // What the digest does not see (unknown keys, white space, escapes) must not be there.
    let mut bare = canonical::to_value(&body).map_err(unreadable)?;
    let text = bare.to_string();
    if let Value::Object(fields) = &mut bare {
        fields.remove(HASH);
    }
    if text != entry.body || digest(previous, entry, &bare).map_err(unreadable)? != body.hash {
        return Err(JournalError::Broken { seq });
    }
    let (kind, from) = match &record {
        Some(r) => (r.state.kind(), r.state.step()),
        None => (crate::operation::State::born(&spec.operation, false, false).kind(), ""),
    };
    let change = Change {
        event: Event::parse(kind, &entry.event, &body.data).map_err(unreadable)?,
        intent: body.intent.clone(),
        sealed_through: body.sealed_through,
    };
    let after = match record {
        Some(r) => r.apply(&change),
        None => Folded::birth(spec, &change),
    }
    .map_err(|illegal| JournalError::Illegal { seq, illegal })?;
    if body.from != from || body.to != after.state.step() {
        return Err(JournalError::Contradiction {
            seq,
            said: format!("{} -> {}", body.from, body.to),
            law: format!("{from} -> {}", after.state.step()),
        });
    }
    Ok((body, after))
}

#[cfg(test)]
#[path = "journal_tests.rs"]
mod tests;
