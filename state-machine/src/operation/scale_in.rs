//! `scaleIn`: fewer workers, and nothing lost with them.
//!
//! ```text
//! preflight -> persisting ... checking -> removing -> leaving -> admitting -> verifying -> succeeded
//!              (they are taken out of     refused: '-> fencing     ^ |
//!               use: see `take_out`)         serves, or stranded:  | '-> decommissioning, rescuing
//! ```
//!
//! Lock: exclusive. Effects: class (d) on the engine (persist, decommission, rescue, admit, each a set-to-value), class (a)
//! for the write that takes the workers out of the revision. Data safety: see `take_out`; the write that removes is preceded
//! by one more look, and while their pods end, what is found on them is saved still.
//! Undo, until the first intent to remove: they are brought back (see `take_out::back`); a pause is the same. Irreversible
//! point: that first intent. Progress: files to persist, then workers that are gone.

use super::arm::{Act, Arm, Next, Unrest, View};
use super::take_out::{Goes, TakeOut, TakeOutEvent, When, back, look};
use crate::drain::Call;
use crate::effect::{Answer, Effect, Intent, Query};
use crate::machine::{Edge, Illegal, edge};
use crate::members::Numbers;
use crate::spec::{ArmSpec, OperationSpec};
use serde::{Deserialize, Serialize};

mod ends;

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
    /// They are taken out of use.
    #[serde(untagged)]
    Out(TakeOut),
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
    /// One of taking them out of use.
    #[serde(untagged)]
    Out(TakeOutEvent),
}

const fn event_name(event: &ScaleInEvent) -> &'static str {
    match event {
        ScaleInEvent::Chosen { .. } => "Chosen",
        ScaleInEvent::Removed {} => "Removed",
        ScaleInEvent::NotRemoved { .. } => "NotRemoved",
        ScaleInEvent::Left {} => "Left",
        ScaleInEvent::Admitted {} => "Admitted",
        ScaleInEvent::Proven { .. } => "Proven",
        ScaleInEvent::Out(event) => event.name(),
    }
}

impl ScaleIn {
    /// Who leaves.
    const fn leave(&self) -> &Numbers {
        match self {
            Self::Preflight { leave, .. }
            | Self::Removing { leave, .. }
            | Self::Fencing { leave, .. }
            | Self::Leaving { leave, .. }
            | Self::Admitting { leave }
            | Self::Verifying { leave } => leave,
            Self::Out(out) => out.leave(),
        }
    }

    /// Whether the revision has them no more.
    const fn has_removed(&self) -> bool {
        match self {
            Self::Preflight { removed, .. } => *removed,
            Self::Leaving { .. } | Self::Admitting { .. } | Self::Verifying { .. } => true,
            Self::Removing { .. } | Self::Fencing { .. } => false,
            Self::Out(out) => out.has_removed(),
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
                    (false, false) => Self::Out(TakeOut::begin(leave, !before.is_empty())),
                }
            }
            (Self::Out(out), E::Out(event)) => match out.next(event)? {
                Goes::To(out) => Self::Out(out),
                Goes::Out { leave, at } => Self::Removing { leave, at, started: false },
                Goes::Watching { leave, again } => Self::Leaving { leave, again },
            },
            (Self::Leaving { leave, .. }, E::Out(TakeOutEvent::Returned {})) => {
                Self::Out(TakeOut::Decommissioning { leave, removed: true })
            }
            (Self::Leaving { leave, .. }, E::Out(TakeOutEvent::Stranded { .. })) => {
                Self::Out(TakeOut::Rescuing { leave, at: When::Removed })
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

    fn removing(leave: &Numbers, at: i64, view: &View<'_>) -> Act<ScaleInEvent> {
        let effect = Effect::RemoveWorkers { remove: leave.clone(), at };
        let written = |before| {
            let because = if before { "the revision has them no more" } else { "written" };
            (ScaleInEvent::Removed {}, because)
        };
        look::writing(view, effect, written, |why| ScaleInEvent::NotRemoved { why })
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
            Self::Removing { .. } => "removing",
            Self::Fencing { .. } => "fencing",
            Self::Leaving { .. } => "leaving",
            Self::Admitting { .. } => "admitting",
            Self::Verifying { .. } => "verifying",
            Self::Out(out) => out.name(),
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
        matches!(self, Self::Out(out) if out.quiet()) || self.leave().is_empty()
    }

    fn irreversible(&self, _intent: Option<&Intent>) -> bool {
        match self {
            Self::Removing { started, .. } => *started,
            Self::Fencing { .. } => true,
            Self::Preflight { .. }
            | Self::Leaving { .. }
            | Self::Admitting { .. }
            | Self::Verifying { .. }
            | Self::Out(_) => self.has_removed(),
        }
    }

    fn query(&self, _spec: &OperationSpec, _intent: Option<&Intent>) -> Option<Query> {
        let ask = |files| Some(Query::Leaving { workers: self.leave().clone(), files });
        match self {
            Self::Preflight { .. } => Some(Query::Members),
            Self::Leaving { .. } => ask(true),
            Self::Verifying { .. } => ask(false),
            Self::Removing { .. } | Self::Fencing { .. } | Self::Admitting { .. } => None,
            Self::Out(out) => out.query(),
        }
    }

    fn decide(&self, view: &View<'_>) -> Act<ScaleInEvent> {
        if let Some(Err(trouble)) = view.answer {
            return super::trouble(trouble);
        }
        let ArmSpec::ScaleIn(spec) = &view.spec.operation else {
            return Act::Fail { reason: "InvalidSpec".into(), message: "the spec names no scaleIn".into() };
        };
        match self {
            Self::Out(out) => {
                let act = out.decide(view).map(ScaleInEvent::Out);
                if let (true, Some(Ok(Answer::Leaving(members, _)))) = (out.is_last(), view.answer) {
                    let remove = out.leave().clone();
                    return act.beginning(Effect::RemoveWorkers { remove, at: members.revision }, |event| {
                        matches!(event, ScaleInEvent::Out(TakeOutEvent::Clear { .. }))
                    });
                }
                return act;
            }
            Self::Removing { leave, at, .. } => return Self::removing(leave, *at, view),
            Self::Fencing { why, .. } => return look::fencing("NotRemoved", why, view),
            Self::Admitting { leave } => {
                let admit = Effect::OnWorkers { call: Call::Admit, workers: leave.clone() };
                return look::calling(view, admit, ScaleInEvent::Admitted {});
            }
            Self::Preflight { .. } | Self::Leaving { .. } | Self::Verifying { .. } => {}
        }
        match (self, view.answer.and_then(Result::ok)) {
            (Self::Preflight { leave, .. }, Some(Answer::Members(members))) => {
                ends::preflight(leave, spec, members)
            }
            (Self::Leaving { leave, again }, Some(Answer::Leaving(members, leaving))) => {
                let look = look::Look { leave, members, leaving, view };
                look.foreign().unwrap_or_else(|| ends::see_off(&look, *again))
            }
            (Self::Verifying { leave }, Some(Answer::Leaving(members, leaving))) => {
                let look = look::Look { leave, members, leaving, view };
                look.foreign().unwrap_or_else(|| ends::verify(&look))
            }
            (_, _) => super::unanswered(),
        }
    }

    fn halt_query(&self, _spec: &OperationSpec) -> Option<Query> {
        (!self.quiet()).then(|| Query::Leaving { workers: self.leave().clone(), files: true })
    }

    fn halt(&self, answer: Option<&Answer>) -> Option<Effect> {
        let mut written_on = None;
        if let Self::Removing { started: true, at, .. } | Self::Fencing { at, .. } = self {
            written_on = Some(*at);
        }
        back::halt(self.leave(), written_on, answer)
    }

    fn unrest(&self, view: &Unrest<'_>) -> Option<String> {
        back::unrest(view)
    }

    fn samples() -> Vec<Self> {
        let mut all = Vec::new();
        for leave in [Numbers::default(), (0..256).step_by(2).collect()] {
            for flag in [false, true] {
                all.push(Self::Preflight { leave: leave.clone(), removed: flag });
                all.push(Self::Leaving { leave: leave.clone(), again: flag });
                all.push(Self::Removing { leave: leave.clone(), at: i64::MAX, started: flag });
            }
            all.extend(TakeOut::samples(&leave).into_iter().map(Self::Out));
            all.extend([
                Self::Fencing { leave: leave.clone(), at: i64::MAX, why: "w".repeat(120) },
                Self::Admitting { leave: leave.clone() },
                Self::Verifying { leave },
            ]);
        }
        all
    }

    fn event_samples() -> Vec<ScaleInEvent> {
        let leave: Numbers = (0..256).step_by(2).collect();
        let own = [
            ScaleInEvent::Chosen { leave: Numbers::default(), gone: false },
            ScaleInEvent::Chosen { leave: leave.clone(), gone: false },
            ScaleInEvent::Chosen { leave, gone: true },
            ScaleInEvent::Removed {},
            ScaleInEvent::NotRemoved { why: "w".repeat(120) },
            ScaleInEvent::Left {},
            ScaleInEvent::Admitted {},
            ScaleInEvent::Proven { workers: i64::MAX, capacity_bytes: i64::MAX },
        ];
        own.into_iter().chain(TakeOutEvent::samples().into_iter().map(ScaleInEvent::Out)).collect()
    }
}

#[cfg(test)]
#[path = "scale_in_tests.rs"]
mod tests;
