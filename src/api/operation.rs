//! `DataOperation`: one run of one operation. Its status is the durable state machine.

use super::conditions::Condition;
use super::kind::kind;
use ratchet_state_machine::ids::{Digest, Fence, Seq};
use ratchet_state_machine::journal::{Entry, Record};
use ratchet_state_machine::lifecycle::{Folded, Plan};
use ratchet_state_machine::machine::Phase;
use ratchet_state_machine::operation::State;
use ratchet_state_machine::spec::OperationSpec;
use serde::{Deserialize, Serialize};

kind! {
    /// One run of one operation on a cache. Immutable once created, but for its controls.
    DataOperation, plural "dataoperations", scope NamespaceResourceScope,
    {
        /// What to do.
        spec: OperationSpec,
        /// Where it is.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        status: Option<DataOperationStatus>,
    }
}

/// The state of an operation. The first group changes only by a transition, each a compare-and-swap on `seq`; the
/// second is for display.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DataOperationStatus {
    /// Journal entries applied; grows by one with each transition.
    #[schemars(range(min = 1))]
    pub seq: Seq,
    /// The coarse public word.
    pub phase: Phase,
    /// Name of the typed state.
    #[schemars(length(max = 63))]
    pub step: String,
    /// Name of the operation, as in spec.operation.
    #[schemars(length(max = 63))]
    pub kind: String,
    /// The typed state: one operation, one step, with what it carries.
    #[schemars(with = "serde_json::Value")]
    pub state: State,
    /// Version of the machine that began the operation. A controller leaves a newer one alone.
    pub machine_version: i64,
    /// Retries that a person asked for.
    pub round: i64,
    /// The value of control.retry that was acted upon.
    pub handled_retry: i64,
    /// Failed attempts since the work began.
    pub failures: i64,
    /// A cancel came after the irreversible point and was noted.
    #[serde(default)]
    pub cancel_noted: bool,
    /// Orders the attempts at effects: epoch of the lock hold, number of the attempt.
    pub fence: Fence,
    /// The effect that is about to be tried: persisted before it is sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<serde_json::Value>")]
    pub intent: Option<ratchet_state_machine::effect::Intent>,
    /// What the operation will do; an approval is bound to its hash.
    #[schemars(with = "PlanStatus")]
    pub plan: Plan,
    /// Journal entries up to here are in OperationJournals.
    #[schemars(range(min = 0))]
    pub sealed_through: Seq,
    /// Head of the journal's hash chain.
    #[schemars(length(max = 64))]
    pub digest: Digest,
    /// The newest journal entries.
    #[schemars(length(min = 1, max = 32))]
    pub tail: Vec<Entry>,

    /// Display: how far it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub progress: Option<ProgressStatus>,
    /// Display: why nothing happens, when nothing does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waiting_on: Option<WaitingStatus>,
    /// Display: Finished, Succeeded, Progressing, Stalled.
    #[serde(default)]
    #[schemars(length(max = 16))]
    pub conditions: Vec<Condition>,
    /// Display: when the lock was granted, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 30))]
    pub started_at: Option<String>,
    /// Display: when it ended, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 30))]
    pub finished_at: Option<String>,
}

/// The plan of an operation.
#[derive(Debug, Clone, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PlanStatus {
    /// SHA-256 over target and arm, base64url.
    #[schemars(length(max = 64))]
    pub hash: String,
}

/// How far an operation is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ProgressStatus {
    /// Units done.
    pub done: i64,
    /// Units in all; 0 while unknown.
    pub total: i64,
    /// bytes, files or entries.
    #[schemars(length(max = 16))]
    pub unit: String,
    /// Rounded down, so that 100 % means done; empty while the total is unknown.
    #[schemars(length(max = 8))]
    pub percent: String,
    /// Units a second, over the time since the step began.
    pub rate: i64,
    /// Seconds left at this rate, as text; empty while unknown.
    #[schemars(length(max = 16))]
    pub eta: String,
}

/// Why nothing happens.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct WaitingStatus {
    /// In CamelCase.
    #[schemars(length(max = 64))]
    pub reason: String,
    /// In a sentence that says what would change it.
    #[schemars(length(max = 600))]
    pub message: String,
}

/// `phase`, `step`, `kind` or the digests contradict the typed state: somebody wrote the status past the rules.
#[derive(Debug, thiserror::Error)]
#[error("status.{field} is {said:?} and the state says {law:?}")]
pub struct Inconsistent {
    field: &'static str,
    said: String,
    law: String,
}

impl DataOperationStatus {
    /// The status of a record, without anything for display.
    #[must_use]
    pub fn from_record(record: &Record) -> Self {
        let f = &record.folded;
        Self {
            seq: f.seq,
            phase: f.state.phase(),
            step: f.state.step().into(),
            kind: f.state.kind().into(),
            state: f.state.clone(),
            machine_version: f.machine_version,
            round: f.round,
            handled_retry: f.handled_retry,
            failures: f.failures,
            cancel_noted: f.cancel_noted,
            fence: f.fence,
            intent: f.intent.clone(),
            plan: f.plan.clone(),
            sealed_through: f.sealed_through,
            digest: f.digest.clone(),
            tail: record.tail.clone(),
            progress: None,
            waiting_on: None,
            conditions: Vec::new(),
            started_at: None,
            finished_at: None,
        }
    }

    /// The record that this status holds.
    ///
    /// # Errors
    /// [`Inconsistent`] when the derived fields contradict the state.
    pub fn record(&self) -> Result<Record, Inconsistent> {
        let state = &self.state;
        let wrong = |field, said: &str, law: &str| {
            if said == law { Ok(()) } else { Err(Inconsistent { field, said: said.into(), law: law.into() }) }
        };
        wrong("step", &self.step, state.step())?;
        wrong("kind", &self.kind, state.kind())?;
        wrong("phase", self.phase.name(), state.phase().name())?;
        // The newest entry says where it led and how the chain ends. Those of a newer controller are its own business.
        if self.machine_version <= ratchet_state_machine::MACHINE_VERSION {
            let newest = self.tail.last().and_then(|entry| entry.open().ok());
            let (to, hash) = newest.as_ref().map_or(("", ""), |b| (b.to.as_str(), b.hash.as_str()));
            wrong("tail", to, state.step())?;
            wrong("digest", &self.digest.0, hash)?;
        }
        let folded = Folded {
            seq: self.seq,
            machine_version: self.machine_version,
            state: state.clone(),
            round: self.round,
            handled_retry: self.handled_retry,
            failures: self.failures,
            cancel_noted: self.cancel_noted,
            fence: self.fence,
            intent: self.intent.clone(),
            plan: self.plan.clone(),
            sealed_through: self.sealed_through,
            digest: self.digest.clone(),
        };
        Ok(Record { folded, tail: self.tail.clone() })
    }

    /// Terminal and sealed: nothing is left to do.
    #[must_use]
    pub fn settled(&self) -> bool {
        self.phase.terminal() && self.sealed_through.next() == self.seq
    }
}

impl DataOperation {
    /// Uid of the object; empty before the server has given one.
    #[must_use]
    pub fn uid(&self) -> &str {
        self.metadata.uid.as_deref().unwrap_or_default()
    }

    /// Its phase; `None` before the first transition.
    #[must_use]
    pub fn phase(&self) -> Option<Phase> {
        self.status.as_ref().map(|s| s.phase)
    }

    /// Last written `seq`; 0 before the first transition.
    #[must_use]
    pub fn seq(&self) -> Seq {
        self.status.as_ref().map_or(Seq(0), |s| s.seq)
    }
}
