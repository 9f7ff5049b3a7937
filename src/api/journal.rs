//! `OperationJournal`: an immutable segment of an operation's journal. It has no owner reference, so it outlives
//! the operation; the first segment holds the canonical spec, so that the history replays when the object is gone.

use super::kind::kind;
use ratchet_state_machine::ids::{Digest, Seq};
use ratchet_state_machine::journal::Entry;
use serde::{Deserialize, Serialize};

kind! {
    /// A segment of the journal of one operation. Written by the controller only, and never changed.
    OperationJournal, plural "operationjournals", scope NamespaceResourceScope,
    {
        /// The segment.
        spec: OperationJournalSpec,
    }
}

/// A segment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct OperationJournalSpec {
    /// Name of the operation.
    #[schemars(length(max = 253))]
    pub operation: String,
    /// Uid of the operation.
    #[schemars(length(max = 64))]
    pub uid: String,
    /// Name of its arm.
    #[schemars(length(max = 63))]
    pub kind: String,
    /// Name of its target.
    #[schemars(length(max = 253))]
    pub target: String,
    /// Number of the first entry.
    #[schemars(range(min = 1))]
    pub first_seq: Seq,
    /// Number of the last entry.
    #[schemars(range(min = 1))]
    pub last_seq: Seq,
    /// Digest of the last entry.
    #[schemars(length(max = 64))]
    pub digest: Digest,
    /// Phase after the last entry.
    #[schemars(length(max = 32))]
    pub phase: String,
    /// In the first segment: the frozen spec of the operation as canonical JSON.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 65536))]
    pub spec: Option<String>,
    /// The entries.
    #[schemars(length(min = 1, max = 32))]
    pub entries: Vec<Entry>,
}

/// The deterministic name of a segment: a second writer meets 409 and adopts what is there.
#[must_use]
pub fn segment_name(uid: &str, first: Seq) -> String {
    format!("{uid}-{:06}", first.0)
}
