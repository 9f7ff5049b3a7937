//! The folded record: everything that only a transition may change. `Folded` is what `status` holds besides the
//! tail, and what a replay arrives at from nothing.

use super::step::Shared;
use crate::effect::Intent;
use crate::ids::{Digest, Fence, PlanHash, Seq};
use crate::machine::{Illegal, Phase};
use crate::operation::{Event, State};
use crate::spec::{Approval, OperationSpec};
use serde::{Deserialize, Serialize};

/// The plan that an approval is bound to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Plan {
    /// Digest of what will be done.
    pub hash: PlanHash,
}

/// The folded part of an operation's status.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Folded {
    /// Entries applied.
    pub seq: Seq,
    /// Version of the machine that began it.
    pub machine_version: i64,
    /// The typed state.
    pub state: State,
    /// Retries that a person asked for.
    pub round: i64,
    /// Value of `control.retry` that was acted upon.
    pub handled_retry: i64,
    /// Failed attempts since the work began (or since a person asked for a retry).
    pub failures: i64,
    /// A cancel came too late and was noted.
    pub cancel_noted: bool,
    /// Orders this operation's attempts.
    pub fence: Fence,
    /// The effect that was persisted before it is tried.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub intent: Option<Intent>,
    /// What will be done.
    pub plan: Plan,
    /// Entries up to here are in segments.
    pub sealed_through: Seq,
    /// Head of the hash chain.
    pub digest: Digest,
}

/// One transition: an event, and what rides on the same write.
#[derive(Debug, Clone, PartialEq)]
pub struct Change {
    /// What happened.
    pub event: Event,
    /// The effect that is tried next.
    pub intent: Option<Intent>,
    /// Entries up to here are in segments now.
    pub sealed_through: Option<Seq>,
}

impl Folded {
    /// The first transition of an operation.
    ///
    /// # Errors
    /// [`Illegal`] when the event is not `Created`.
    pub fn birth(spec: &OperationSpec, change: &Change) -> Result<Self, Illegal> {
        let Event::Shared(Shared::Created { machine, after, approval, plan }) = &change.event else {
            return Err(Illegal::new("", change.event.name()));
        };
        if change.intent.is_some() || change.sealed_through.is_some() {
            return Err(Illegal::because("", change.event.name(), "nothing rides on the first entry"));
        }
        if !(1..=crate::MACHINE_VERSION).contains(machine) {
            return Err(Illegal::because(
                "",
                change.event.name(),
                "it is of a machine that is not known here",
            ));
        }
        if (*after, *approval) != (!spec.run_after.is_empty(), spec.approval == Approval::Manual) {
            return Err(Illegal::because("", change.event.name(), "it contradicts the spec"));
        }
        Ok(Self {
            seq: Seq(1),
            machine_version: *machine,
            state: State::born(&spec.operation, *after, *approval),
            round: 0,
            handled_retry: 0,
            failures: 0,
            cancel_noted: false,
            fence: Fence::default(),
            intent: None,
            plan: Plan { hash: plan.clone() },
            sealed_through: Seq(0),
            digest: Digest::default(),
        })
    }

    /// The record after one more transition; `digest` is left to the journal.
    ///
    /// # Errors
    /// [`Illegal`] when the law forbids it.
    pub fn apply(self, change: &Change) -> Result<Self, Illegal> {
        let (step, name) = (self.state.step(), change.event.name());
        if let Some(why) = self.forbids(change) {
            return Err(Illegal::because(step, name, why));
        }
        let (busy, over) = (self.intent.is_some(), self.state.phase().terminal());
        let mut next =
            Self { state: self.state.clone().apply(&change.event, busy)?, seq: self.seq.next(), ..self };
        let ends = next.state.phase().terminal() && !over;
        next.count(&change.event, step);
        if settles(&change.event) {
            next.intent = None;
        }
        if let Some(intent) = &change.intent {
            next.intend(intent, name)?;
        }
        if next.state.phase().terminal() {
            next.intent = None;
        }
        if let Some(through) = change.sealed_through {
            // Sealed up to its own beginning, the entry that ends the operation would look like the last seal.
            let settles_early = ends && through.next() >= next.seq;
            if through < next.sealed_through || through >= next.seq || settles_early {
                let why = format!("sealed through {through} at {}", next.seq);
                return Err(Illegal::because(step, name, why));
            }
            next.sealed_through = through;
        }
        Ok(next)
    }

    /// What the law asks of a shared event besides an edge.
    fn forbids(&self, change: &Change) -> Option<&'static str> {
        let Event::Shared(event) = &change.event else { return None };
        if change.intent.is_some() != matches!(event, Shared::Intended {}) {
            return Some("an intent rides on Intended, always, and on an arm's own events");
        }
        match event {
            Shared::Approved { plan, .. } if *plan != self.plan.hash => Some("another plan was approved"),
            Shared::HoldGranted { epoch } if *epoch <= self.fence.epoch => {
                Some("the hold is not a newer one")
            }
            Shared::RetryRequested { count } if *count <= self.handled_retry => {
                Some("this retry was acted upon")
            }
            Shared::Sealed { .. }
                if self.settled() || change.sealed_through.is_none_or(|t| t <= self.sealed_through) =>
            {
                Some("a seal covers more than the one before it, and nothing follows the last one")
            }
            Shared::Approved { .. }
            | Shared::HoldGranted { .. }
            | Shared::RetryRequested { .. }
            | Shared::Sealed { .. }
            | Shared::Created { .. }
            | Shared::PredecessorsDone { .. }
            | Shared::Intended {}
            | Shared::AttemptFailed { .. }
            | Shared::Suspended {}
            | Shared::Resumed {}
            | Shared::CancelRequested { .. }
            | Shared::CancelTooLate {}
            | Shared::Aborted { .. }
            | Shared::Halted {}
            | Shared::GotStuck { .. }
            | Shared::StepSkipped { .. } => None,
        }
    }

    /// The counters.
    fn count(&mut self, event: &Event, left: &str) {
        let stays = self.state.step() == left;
        let Event::Shared(shared) = event else { return self.gets_on(stays) };
        match shared {
            Shared::AttemptFailed { .. } => self.failures = self.failures.saturating_add(1),
            Shared::HoldGranted { epoch } => {
                self.fence.epoch = *epoch;
                self.failures = 0;
            }
            Shared::CancelTooLate {} => self.cancel_noted = true,
            Shared::RetryRequested { count } => {
                self.handled_retry = *count;
                self.round = self.round.saturating_add(1);
                self.failures = 0;
            }
            Shared::Created { .. }
            | Shared::PredecessorsDone { .. }
            | Shared::Approved { .. }
            | Shared::Intended {}
            | Shared::Suspended {}
            | Shared::Resumed {}
            | Shared::CancelRequested { .. }
            | Shared::Aborted { .. }
            | Shared::Halted {}
            | Shared::GotStuck { .. }
            | Shared::StepSkipped { .. }
            | Shared::Sealed { .. } => self.gets_on(stays),
        }
    }

    /// A failed verification sends a load back a step: its count must survive the way forward.
    fn gets_on(&mut self, stays: bool) {
        if !stays && self.state.phase() != Phase::Running {
            self.failures = 0;
        }
    }

    /// Takes an intent over from a transition.
    fn intend(&mut self, intent: &Intent, event: &str) -> Result<(), Illegal> {
        let expected = Fence { attempt: self.fence.attempt.saturating_add(1), ..self.fence };
        if intent.fence != expected {
            let why = format!("the intent's fence is {}, expected {expected}", intent.fence);
            return Err(Illegal::because(self.state.step(), event, why));
        }
        if !self.state.holds() {
            return Err(Illegal::because(self.state.step(), event, "an intent needs the lock"));
        }
        if !super::halt::allows(&self.state, &intent.effect) {
            let why = "nothing new begins while the engine is brought to rest";
            return Err(Illegal::because(self.state.step(), event, why));
        }
        self.fence = expected;
        self.state = self.state.clone().intended(&intent.effect);
        self.intent = Some(intent.clone());
        Ok(())
    }

    /// Whether nothing is left to do but to keep the object: terminal and sealed.
    #[must_use]
    pub fn settled(&self) -> bool {
        self.state.phase().terminal() && self.sealed_through.next() == self.seq
    }
}

/// Whether the effect of the persisted intent is accounted for by this event.
const fn settles(event: &Event) -> bool {
    let Event::Shared(shared) = event else { return true };
    match shared {
        Shared::AttemptFailed { .. }
        | Shared::Halted {}
        | Shared::StepSkipped { .. }
        | Shared::Sealed { .. } => true,
        // What was sent may still land: whoever brings the engine to rest has to know.
        Shared::Suspended {}
        | Shared::CancelRequested { .. }
        | Shared::Aborted { .. }
        | Shared::GotStuck { .. }
        | Shared::RetryRequested { .. }
        | Shared::CancelTooLate {}
        | Shared::Created { .. }
        | Shared::PredecessorsDone { .. }
        | Shared::Approved { .. }
        | Shared::HoldGranted { .. }
        | Shared::Intended {}
        | Shared::Resumed {} => false,
    }
}
