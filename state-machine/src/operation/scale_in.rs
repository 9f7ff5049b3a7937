//! `scaleIn`: fewer workers, and nothing lost with them.
//!
//! ```text
//! preflight -> persisting -> decommissioning -> checking -> draining -> checking -> removing -> leaving -> admitting
//!                                  ^              |  ^         |           |                          -> verifying
//!          a worker serves again:  '--------------|--|---------'-----------'                          -> succeeded
//!                                      stranded:  '-> rescuing
//! ```
//!
//! Lock: exclusive. Effects: class (d) on the engine (persist, decommission, rescue, admit, each a set-to-value), class (a)
//! for the write that takes the workers out of the revision. Data safety: what only the cache has and lies on workers
//! that leave is written to its store before anything happens, all that was there when that was asked for. A client may have written more until it heard of the
//! decommission, and the decommission moves nothing: so what is stranded is looked for after it, copied from the worker
//! itself to workers that stay, and looked for again when no client can write there any more. The write that removes is
//! preceded by one more look. The engine forgets decommissions: a worker that serves again goes back to that step.
//! Undo, until the first intent to remove: what is stranded is rescued, the workers are admitted again and, when no client
//! writes to them any more, their pods made anew, one after the other (Alluxio has no call that takes a decommission back),
//! until each serves; a pause is the same. Irreversible point: that first intent. Progress: files to persist, then workers that are gone.

use super::arm::{Act, Arm, Next, Unrest, View};
use crate::drain::Call;
use crate::effect::{Answer, Effect, Intent, Outcome, Query};
use crate::machine::{Edge, Illegal, edge};
use crate::members::Numbers;
use crate::spec::{ArmSpec, OperationSpec};
use serde::{Deserialize, Serialize};

mod look;
use look::Look;

/// How far a scale-in is when it looks for what would be lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum When {
    /// The engine was told, and not every client knows.
    Told,
    /// No client uses them any more.
    Drained,
    /// The revision has them no more, and their pods end.
    Removed,
}

/// The steps of a scale-in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum ScaleIn {
    /// Finds out who leaves.
    Preflight {
        /// Who an earlier attempt has worked on.
        leave: Numbers,
        /// It has taken them out of the revision.
        removed: bool,
    },
    /// What only the cache has is written to its store.
    Persisting {
        /// Who leaves.
        leave: Numbers,
        /// An earlier attempt may have decommissioned them.
        touched: bool,
        /// What was written up to then, by the engine's clock in milliseconds, was asked for; 0: not yet.
        upto: i64,
    },
    /// Tells the engine that they leave.
    Decommissioning {
        /// Who leaves.
        leave: Numbers,
        /// The revision has them no more: the engine has forgotten it.
        removed: bool,
    },
    /// Looks for what is stranded on them.
    Checking {
        /// Who leaves.
        leave: Numbers,
        /// How far it is.
        at: When,
        /// It has just been copied.
        again: bool,
    },
    /// Copies what is stranded to others.
    Rescuing {
        /// Who leaves.
        leave: Numbers,
        /// How far it is.
        at: When,
    },
    /// Waits until no client uses them any more.
    Draining {
        /// Who leaves.
        leave: Numbers,
    },
    /// Takes them out of the revision.
    Removing {
        /// Who leaves.
        leave: Numbers,
        /// Number of the revision that this was decided on.
        at: i64,
        /// An intent for it was recorded.
        started: bool,
    },
    /// Raises the fence after a refusal: no write that was sent before can remove them any more.
    Fencing {
        /// Who leaves.
        leave: Numbers,
        /// Number of the revision that the refused write was decided on.
        at: i64,
        /// Why it was refused.
        why: String,
    },
    /// Their pods end; what is found until then is saved still.
    Leaving {
        /// Who leaves.
        leave: Numbers,
        /// It has just been copied.
        again: bool,
    },
    /// Lets their names register again, for workers to come.
    Admitting {
        /// Who leaves.
        leave: Numbers,
    },
    /// Reads back who serves.
    Verifying {
        /// Who has left.
        leave: Numbers,
    },
}

/// The facts that move a scale-in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all_fields = "camelCase")]
pub enum ScaleInEvent {
    /// These leave.
    Chosen {
        /// Who.
        leave: Numbers,
        /// The revision has them no more.
        gone: bool,
    },
    /// The engine was asked to persist files.
    Asked {
        /// All that were written up to then, by the engine's clock in milliseconds; 0: not all could be asked for.
        upto: i64,
    },
    /// Nothing older is left that only they have.
    Persisted {},
    /// The engine accepted.
    Decommissioned {},
    /// One of them serves, in spite of that.
    Returned {},
    /// Files would be lost with them.
    Stranded {
        /// How many.
        files: i64,
    },
    /// They were copied; the next look tells whether all were.
    Rescued {},
    /// Nothing would be lost.
    Clear {
        /// Number of the revision, where they are to be taken out of it now.
        at: i64,
    },
    /// No client uses them any more.
    Drained {},
    /// The revision has them no more.
    Removed {},
    /// The write was refused.
    NotRemoved {
        /// Why.
        why: String,
    },
    /// Their pods are gone.
    Left {},
    /// Their names may be used again.
    Admitted {},
    /// Read back: they are gone, and so many are there.
    Proven {
        /// Workers of the cache.
        workers: i64,
        /// Bytes that all that serve can hold.
        capacity_bytes: i64,
    },
}

pub(super) const fn event_name(event: &ScaleInEvent) -> &'static str {
    match event {
        ScaleInEvent::Chosen { .. } => "Chosen",
        ScaleInEvent::Asked { .. } => "Asked",
        ScaleInEvent::Persisted {} => "Persisted",
        ScaleInEvent::Decommissioned {} => "Decommissioned",
        ScaleInEvent::Returned {} => "Returned",
        ScaleInEvent::Stranded { .. } => "Stranded",
        ScaleInEvent::Rescued {} => "Rescued",
        ScaleInEvent::Clear { .. } => "Clear",
        ScaleInEvent::Drained {} => "Drained",
        ScaleInEvent::Removed {} => "Removed",
        ScaleInEvent::NotRemoved { .. } => "NotRemoved",
        ScaleInEvent::Left {} => "Left",
        ScaleInEvent::Admitted {} => "Admitted",
        ScaleInEvent::Proven { .. } => "Proven",
    }
}

impl ScaleIn {
    /// Who leaves.
    const fn leave(&self) -> &Numbers {
        match self {
            Self::Preflight { leave, .. }
            | Self::Persisting { leave, .. }
            | Self::Decommissioning { leave, .. }
            | Self::Checking { leave, .. }
            | Self::Rescuing { leave, .. }
            | Self::Draining { leave }
            | Self::Removing { leave, .. }
            | Self::Fencing { leave, .. }
            | Self::Leaving { leave, .. }
            | Self::Admitting { leave }
            | Self::Verifying { leave } => leave,
        }
    }

    /// A call about them.
    fn on(&self, call: Call) -> Effect {
        Effect::OnWorkers { call, workers: self.leave().clone() }
    }

    /// Whether the revision has them no more.
    const fn has_removed(&self) -> bool {
        match self {
            Self::Preflight { removed, .. } | Self::Decommissioning { removed, .. } => *removed,
            Self::Checking { at, .. } | Self::Rescuing { at, .. } => matches!(at, When::Removed),
            Self::Leaving { .. } | Self::Admitting { .. } | Self::Verifying { .. } => true,
            Self::Persisting { .. }
            | Self::Draining { .. }
            | Self::Removing { .. }
            | Self::Fencing { .. } => false,
        }
    }

    fn next(self, event: &ScaleInEvent) -> Option<Next<Self>> {
        use ScaleInEvent as E;
        let to = match (self, event) {
            (Self::Preflight { leave: before, .. }, E::Chosen { leave, gone }) => {
                let leave = leave.clone();
                match (leave.is_empty(), gone) {
                    (true, _) => Self::Verifying { leave },
                    (false, true) => Self::Leaving { leave, again: false },
                    (false, false) => Self::Persisting { leave, touched: !before.is_empty(), upto: 0 },
                }
            }
            (Self::Persisting { leave, touched, .. }, E::Asked { upto }) => {
                Self::Persisting { leave, touched, upto: *upto }
            }
            (Self::Persisting { leave, .. }, E::Persisted {}) => {
                Self::Decommissioning { leave, removed: false }
            }
            (Self::Decommissioning { leave, removed: false }, E::Decommissioned {}) => {
                Self::Checking { leave, at: When::Told, again: false }
            }
            (Self::Decommissioning { leave, removed: true }, E::Decommissioned {}) => {
                Self::Leaving { leave, again: false }
            }
            (Self::Checking { leave, .. } | Self::Draining { leave }, E::Returned {}) => {
                Self::Decommissioning { leave, removed: false }
            }
            (Self::Leaving { leave, .. }, E::Returned {}) => Self::Decommissioning { leave, removed: true },
            (Self::Checking { leave, at, .. }, E::Stranded { .. }) => Self::Rescuing { leave, at },
            (Self::Leaving { leave, .. }, E::Stranded { .. }) => Self::Rescuing { leave, at: When::Removed },
            (Self::Rescuing { leave, at: When::Removed }, E::Rescued {}) => {
                Self::Leaving { leave, again: true }
            }
            (Self::Rescuing { leave, at }, E::Rescued {}) => Self::Checking { leave, at, again: true },
            (Self::Checking { leave, at: When::Told, .. }, E::Clear { .. }) => Self::Draining { leave },
            (Self::Checking { leave, at: When::Drained, .. }, E::Clear { at }) => {
                Self::Removing { leave, at: *at, started: false }
            }
            (Self::Draining { leave }, E::Drained {}) => {
                Self::Checking { leave, at: When::Drained, again: false }
            }
            (Self::Removing { leave, .. }, E::Removed {}) => Self::Leaving { leave, again: false },
            (Self::Removing { leave, at, .. }, E::NotRemoved { why }) => {
                Self::Fencing { leave, at, why: why.clone() }
            }
            (Self::Leaving { leave, .. }, E::Left {}) => Self::Admitting { leave },
            (Self::Admitting { leave }, E::Admitted {}) => Self::Verifying { leave },
            (Self::Verifying { .. }, E::Proven { .. }) => return Some(Next::Succeeded),
            (_, _) => return None,
        };
        Some(Next::Step(to))
    }
}

impl Arm for ScaleIn {
    type Event = ScaleInEvent;

    const KIND: &'static str = "scaleIn";
    const STEPS: &'static [&'static str] = &[
        "preflight",
        "persisting",
        "decommissioning",
        "checking",
        "rescuing",
        "draining",
        "removing",
        "fencing",
        "leaving",
        "admitting",
        "verifying",
    ];
    const EDGES: &'static [Edge] = &[
        edge("queued", "HoldGranted", "preflight"),
        edge("preflight", "Chosen", "persisting"),
        edge("preflight", "Chosen", "leaving"),
        edge("preflight", "Chosen", "verifying"),
        edge("preflight", "AttemptFailed", "preflight"),
        edge("persisting", "Asked", "persisting"),
        edge("persisting", "Persisted", "decommissioning"),
        edge("persisting", "AttemptFailed", "preflight"),
        edge("decommissioning", "Decommissioned", "checking"),
        edge("decommissioning", "AttemptFailed", "preflight"),
        edge("checking", "Returned", "decommissioning"),
        edge("checking", "Stranded", "rescuing"),
        edge("checking", "Clear", "draining"),
        edge("checking", "Clear", "removing"),
        edge("checking", "AttemptFailed", "preflight"),
        edge("rescuing", "Rescued", "checking"),
        edge("rescuing", "AttemptFailed", "preflight"),
        edge("draining", "Returned", "decommissioning"),
        edge("draining", "Drained", "checking"),
        edge("draining", "AttemptFailed", "preflight"),
        edge("removing", "Removed", "leaving"),
        edge("removing", "NotRemoved", "fencing"),
        edge("removing", "AttemptFailed", "preflight"),
        edge("fencing", "AttemptFailed", "preflight"),
        edge("leaving", "Left", "admitting"),
        edge("leaving", "Returned", "decommissioning"),
        edge("leaving", "Stranded", "rescuing"),
        edge("decommissioning", "Decommissioned", "leaving"),
        edge("rescuing", "Rescued", "leaving"),
        edge("leaving", "AttemptFailed", "preflight"),
        edge("admitting", "Admitted", "verifying"),
        edge("admitting", "AttemptFailed", "preflight"),
        edge("verifying", "Proven", "succeeded"),
        edge("verifying", "AttemptFailed", "preflight"),
        edge("paused", "Resumed", "preflight"),
    ];

    fn first() -> Self {
        Self::Preflight { leave: Numbers::default(), removed: false }
    }

    fn name(&self) -> &'static str {
        match self {
            Self::Preflight { .. } => "preflight",
            Self::Persisting { .. } => "persisting",
            Self::Decommissioning { .. } => "decommissioning",
            Self::Checking { .. } => "checking",
            Self::Rescuing { .. } => "rescuing",
            Self::Draining { .. } => "draining",
            Self::Removing { .. } => "removing",
            Self::Fencing { .. } => "fencing",
            Self::Leaving { .. } => "leaving",
            Self::Admitting { .. } => "admitting",
            Self::Verifying { .. } => "verifying",
        }
    }

    fn event_name(event: &ScaleInEvent) -> &'static str {
        event_name(event)
    }

    fn step(self, event: ScaleInEvent) -> Result<Next<Self>, Illegal> {
        let illegal = Illegal::new(self.name(), event_name(&event));
        self.next(&event).ok_or(illegal)
    }

    fn intended(self, effect: &Effect) -> Self {
        match (self, effect) {
            (Self::Removing { leave, at, .. }, Effect::RemoveWorkers { .. }) => {
                Self::Removing { leave, at, started: true }
            }
            (other, _) => other,
        }
    }

    fn resumed(self) -> Self {
        self.retried()
    }

    fn retried(self) -> Self {
        let leave = if self.quiet() { Numbers::default() } else { self.leave().clone() };
        Self::Preflight { leave, removed: self.has_removed() }
    }

    fn quiet(&self) -> bool {
        // Files that are on their way to their store may get there.
        matches!(self, Self::Persisting { touched: false, .. }) || self.leave().is_empty()
    }

    fn irreversible(&self, _intent: Option<&Intent>) -> bool {
        match self {
            Self::Removing { started, .. } => *started,
            Self::Fencing { .. } => true,
            Self::Preflight { .. }
            | Self::Persisting { .. }
            | Self::Decommissioning { .. }
            | Self::Checking { .. }
            | Self::Rescuing { .. }
            | Self::Draining { .. }
            | Self::Leaving { .. }
            | Self::Admitting { .. }
            | Self::Verifying { .. } => self.has_removed(),
        }
    }

    fn query(&self, _spec: &OperationSpec, _intent: Option<&Intent>) -> Option<Query> {
        let ask = |files| Some(Query::Leaving { workers: self.leave().clone(), files });
        match self {
            Self::Preflight { .. } => Some(Query::Members),
            Self::Persisting { .. } | Self::Checking { .. } | Self::Leaving { .. } => ask(true),
            Self::Draining { .. } | Self::Verifying { .. } => ask(false),
            Self::Decommissioning { .. }
            | Self::Rescuing { .. }
            | Self::Removing { .. }
            | Self::Fencing { .. }
            | Self::Admitting { .. } => None,
        }
    }

    fn decide(&self, view: &View<'_>) -> Act<ScaleInEvent> {
        if let Some(Err(trouble)) = view.answer {
            return super::trouble(trouble);
        }
        let ArmSpec::ScaleIn(spec) = &view.spec.operation else {
            return Act::Fail { reason: "InvalidSpec".into(), message: "the spec names no scaleIn".into() };
        };
        let call = |call, done| look::calling(view, self.on(call), done);
        match (self, view.outcome) {
            (Self::Decommissioning { .. }, _) => {
                return call(Call::Decommission, ScaleInEvent::Decommissioned {});
            }
            (Self::Rescuing { .. }, _) => return call(Call::Rescue, ScaleInEvent::Rescued {}),
            (Self::Admitting { .. }, _) => return call(Call::Admit, ScaleInEvent::Admitted {}),
            (Self::Removing { leave, at, .. }, _) => return look::removing(leave, *at, view),
            (Self::Fencing { why, .. }, _) => return look::fencing(why, view),
            (Self::Persisting { .. }, Some(outcome)) => {
                let upto = if let Outcome::Done(receipt) = outcome { receipt.upto_ms } else { None };
                return call(Call::Persist, ScaleInEvent::Asked { upto: upto.unwrap_or(0) });
            }
            (_, _) => {}
        }
        match (self, view.answer.and_then(Result::ok)) {
            (Self::Preflight { leave, .. }, Some(Answer::Members(members))) => {
                look::preflight(leave, spec, members)
            }
            (_, Some(Answer::Leaving(members, leaving))) => {
                let look = Look { leave: self.leave(), members, leaving, view };
                look.foreign().unwrap_or_else(|| look.act(self))
            }
            (_, _) => super::unanswered(),
        }
    }

    fn halt_query(&self, _spec: &OperationSpec) -> Option<Query> {
        (!self.quiet()).then(|| Query::Leaving { workers: self.leave().clone(), files: true })
    }

    fn halt(&self, answer: Option<&Answer>) -> Option<Effect> {
        let Some(Answer::Leaving(members, leaving)) = answer else { return None };
        if members.foreign.is_some() {
            return None;
        }
        // The write that removes was decided on this revision: another one refuses it.
        if let Self::Removing { started: true, at, .. } | Self::Fencing { at, .. } = self
            && members.revision == *at
        {
            return Some(Effect::FenceMembers {});
        }
        look::undo(self.leave(), members, leaving)
    }

    fn unrest(&self, view: &Unrest<'_>) -> Option<String> {
        let Some(Answer::Leaving(members, leaving)) = view.answer else { return None };
        if members.foreign.is_some() {
            return None;
        }
        match view.next {
            // What a client writes to it until then would go with its pod. Once is enough for all of them.
            Some(Effect::ReplaceWorker { worker, .. }) => {
                let heard = matches!(view.last, Some(Effect::ReplaceWorker { .. }));
                (!heard && view.watched_ms < leaving.refresh_ms).then(|| {
                    format!("the pod of worker {worker} is made anew when no client uses it any more")
                })
            }
            Some(_) => None,
            None => look::unrest(members, leaving),
        }
    }

    fn samples() -> Vec<Self> {
        let mut all = Vec::new();
        for leave in [Numbers::default(), (0..256).step_by(2).collect()] {
            for flag in [false, true] {
                all.push(Self::Preflight { leave: leave.clone(), removed: flag });
                all.push(Self::Persisting { leave: leave.clone(), touched: flag, upto: i64::MAX });
                all.push(Self::Decommissioning { leave: leave.clone(), removed: flag });
                all.push(Self::Leaving { leave: leave.clone(), again: flag });
                for at in [When::Told, When::Drained] {
                    all.push(Self::Checking { leave: leave.clone(), at, again: flag });
                }
                all.push(Self::Removing { leave: leave.clone(), at: i64::MAX, started: flag });
            }
            all.extend([
                Self::Rescuing { leave: leave.clone(), at: When::Told },
                Self::Rescuing { leave: leave.clone(), at: When::Drained },
                Self::Rescuing { leave: leave.clone(), at: When::Removed },
                Self::Draining { leave: leave.clone() },
                Self::Fencing { leave: leave.clone(), at: i64::MAX, why: "w".repeat(120) },
                Self::Admitting { leave: leave.clone() },
                Self::Verifying { leave },
            ]);
        }
        all
    }

    fn event_samples() -> Vec<ScaleInEvent> {
        let leave: Numbers = (0..256).step_by(2).collect();
        vec![
            ScaleInEvent::Chosen { leave: Numbers::default(), gone: false },
            ScaleInEvent::Chosen { leave: leave.clone(), gone: false },
            ScaleInEvent::Chosen { leave, gone: true },
            ScaleInEvent::Asked { upto: i64::MAX },
            ScaleInEvent::Persisted {},
            ScaleInEvent::Decommissioned {},
            ScaleInEvent::Returned {},
            ScaleInEvent::Stranded { files: i64::MAX },
            ScaleInEvent::Rescued {},
            ScaleInEvent::Clear { at: i64::MAX },
            ScaleInEvent::Drained {},
            ScaleInEvent::Removed {},
            ScaleInEvent::NotRemoved { why: "w".repeat(120) },
            ScaleInEvent::Left {},
            ScaleInEvent::Admitted {},
            ScaleInEvent::Proven { workers: i64::MAX, capacity_bytes: i64::MAX },
        ]
    }
}

#[cfg(test)]
#[path = "scale_in_tests.rs"]
mod tests;
