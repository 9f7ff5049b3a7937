//! Taking workers out of use and losing nothing: what the operations have in common after which a worker serves no more.
//!
//! ```text
//! persisting -> decommissioning -> checking -> draining -> checking -> (what the operation wants them out of use for)
//!                      ^             |  ^         |            |
//!   a worker serves again: '---------|--|---------'------------'
//!                         stranded:  '-> rescuing
//! ```
//!
//! What only the cache has and lies on these workers is written to its store before anything happens, all that was there
//! when that was asked for. A client may have written more until it heard of the decommission, and the decommission moves
//! nothing: so what is stranded is looked for after it, copied from the worker itself to workers that stay, and looked for
//! again when no client can write there any more. The engine forgets decommissions: a worker that serves again is told again.

use super::arm::{Act, View};
use crate::drain::Call;
use crate::effect::{Answer, Effect, Outcome, Query};
use crate::members::Numbers;
use serde::{Deserialize, Serialize};

pub(super) mod back;
pub(super) mod look;
use look::Look;

/// How far an operation is when it looks for what would be lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum When {
    /// The engine was told, and not every client knows.
    Told,
    /// No client uses them any more.
    Drained,
    /// The revision has them no more, and their pods end.
    Removed,
}

/// The steps.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum TakeOut {
    /// What only the cache has is written to its store.
    Persisting {
        /// Who is taken out of use.
        leave: Numbers,
        /// An earlier attempt may have decommissioned them.
        touched: bool,
        /// What was written up to then, by the engine's clock in milliseconds, was asked for; 0: not yet.
        upto: i64,
    },
    /// Tells the engine.
    Decommissioning {
        /// Who is taken out of use.
        leave: Numbers,
        /// The revision has them no more: the engine has forgotten it.
        removed: bool,
    },
    /// Looks for what is stranded on them.
    Checking {
        /// Who is taken out of use.
        leave: Numbers,
        /// How far it is.
        at: When,
        /// It has just been copied.
        again: bool,
    },
    /// Copies what is stranded to others.
    Rescuing {
        /// Who is taken out of use.
        leave: Numbers,
        /// How far it is.
        at: When,
    },
    /// Waits until no client uses them any more.
    Draining {
        /// Who is taken out of use.
        leave: Numbers,
    },
}

/// The facts that move them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all_fields = "camelCase")]
pub enum TakeOutEvent {
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
        /// Number of the revision, for a write that follows at once.
        at: i64,
    },
    /// No client uses them any more.
    Drained {},
}

/// Where an event leads.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Goes {
    /// To another of these steps.
    To(TakeOut),
    /// They are out of use, and nothing is on them that would be lost.
    Out {
        leave: Numbers,
        /// Number of the revision.
        at: i64,
    },
    /// Back to watching their pods end.
    Watching {
        leave: Numbers,
        /// Files have just been copied.
        again: bool,
    },
}

impl TakeOutEvent {
    pub(super) const fn name(&self) -> &'static str {
        match self {
            Self::Asked { .. } => "Asked",
            Self::Persisted {} => "Persisted",
            Self::Decommissioned {} => "Decommissioned",
            Self::Returned {} => "Returned",
            Self::Stranded { .. } => "Stranded",
            Self::Rescued {} => "Rescued",
            Self::Clear { .. } => "Clear",
            Self::Drained {} => "Drained",
        }
    }

    /// One of each, as large as it may get.
    pub(super) fn samples() -> Vec<Self> {
        vec![
            Self::Asked { upto: i64::MAX },
            Self::Persisted {},
            Self::Decommissioned {},
            Self::Returned {},
            Self::Stranded { files: i64::MAX },
            Self::Rescued {},
            Self::Clear { at: i64::MAX },
            Self::Drained {},
        ]
    }
}

impl TakeOut {
    /// The first step.
    pub(super) const fn begin(leave: Numbers, touched: bool) -> Self {
        Self::Persisting { leave, touched, upto: 0 }
    }

    /// The effect that it begins with.
    pub(super) fn first(leave: &Numbers) -> Effect {
        Effect::OnWorkers { call: Call::Persist, workers: leave.clone() }
    }

    /// Who is taken out of use.
    pub(super) const fn leave(&self) -> &Numbers {
        match self {
            Self::Persisting { leave, .. }
            | Self::Decommissioning { leave, .. }
            | Self::Checking { leave, .. }
            | Self::Rescuing { leave, .. }
            | Self::Draining { leave } => leave,
        }
    }

    pub(super) const fn name(&self) -> &'static str {
        match self {
            Self::Persisting { .. } => "persisting",
            Self::Decommissioning { .. } => "decommissioning",
            Self::Checking { .. } => "checking",
            Self::Rescuing { .. } => "rescuing",
            Self::Draining { .. } => "draining",
        }
    }

    /// Whether the revision has them no more.
    pub(super) const fn has_removed(&self) -> bool {
        match self {
            Self::Decommissioning { removed, .. } => *removed,
            Self::Checking { at, .. } | Self::Rescuing { at, .. } => matches!(at, When::Removed),
            Self::Persisting { .. } | Self::Draining { .. } => false,
        }
    }

    /// Whether nothing was done to them yet. Files that are on their way to their store may get there.
    pub(super) const fn quiet(&self) -> bool {
        matches!(self, Self::Persisting { touched: false, .. })
    }

    /// Whether the step that follows `Clear` is the one that they are taken out of use for.
    pub(super) const fn is_last(&self) -> bool {
        matches!(self, Self::Checking { at: When::Drained, .. })
    }

    /// The law; `None` where no edge leads.
    pub(super) fn next(self, event: &TakeOutEvent) -> Option<Goes> {
        use TakeOutEvent as E;
        let to = match (self, event) {
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
                return Some(Goes::Watching { leave, again: false });
            }
            (Self::Checking { leave, .. } | Self::Draining { leave }, E::Returned {}) => {
                Self::Decommissioning { leave, removed: false }
            }
            (Self::Checking { leave, at, .. }, E::Stranded { .. }) => Self::Rescuing { leave, at },
            (Self::Rescuing { leave, at: When::Removed }, E::Rescued {}) => {
                return Some(Goes::Watching { leave, again: true });
            }
            (Self::Rescuing { leave, at }, E::Rescued {}) => Self::Checking { leave, at, again: true },
            (Self::Checking { leave, at: When::Told, .. }, E::Clear { .. }) => Self::Draining { leave },
            (Self::Checking { leave, at: When::Drained, .. }, E::Clear { at }) => {
                return Some(Goes::Out { leave, at: *at });
            }
            (Self::Draining { leave }, E::Drained {}) => {
                Self::Checking { leave, at: When::Drained, again: false }
            }
            (_, _) => return None,
        };
        Some(Goes::To(to))
    }

    /// What has to be known.
    pub(super) fn query(&self) -> Option<Query> {
        let ask = |files| Some(Query::Leaving { workers: self.leave().clone(), files });
        match self {
            Self::Persisting { .. } | Self::Checking { .. } => ask(true),
            Self::Draining { .. } => ask(false),
            Self::Decommissioning { .. } | Self::Rescuing { .. } => None,
        }
    }

    /// What to do. A `Clear` that ends it names no effect: that is for the operation to say.
    pub(super) fn decide(&self, view: &View<'_>) -> Act<TakeOutEvent> {
        let call =
            |call, done| look::calling(view, Effect::OnWorkers { call, workers: self.leave().clone() }, done);
        match (self, view.outcome) {
            (Self::Decommissioning { .. }, _) => {
                return call(Call::Decommission, TakeOutEvent::Decommissioned {});
            }
            (Self::Rescuing { .. }, _) => return call(Call::Rescue, TakeOutEvent::Rescued {}),
            (Self::Persisting { .. }, Some(outcome)) => {
                let upto = if let Outcome::Done(receipt) = outcome { receipt.upto_ms } else { None };
                return call(Call::Persist, TakeOutEvent::Asked { upto: upto.unwrap_or(0) });
            }
            (_, _) => {}
        }
        let Some(Ok(Answer::Leaving(members, leaving))) = view.answer else { return super::unanswered() };
        let look = Look { leave: self.leave(), members, leaving, view };
        look.foreign().unwrap_or_else(|| match self {
            Self::Persisting { upto, .. } => look.persist(*upto),
            Self::Checking { again, .. } => look.check(*again),
            Self::Draining { .. } => look.drain(),
            Self::Decommissioning { .. } | Self::Rescuing { .. } => super::unanswered(),
        })
    }

    /// One of each step for these workers.
    pub(super) fn samples(leave: &Numbers) -> Vec<Self> {
        let leave = || leave.clone();
        let mut all = vec![Self::Draining { leave: leave() }];
        for flag in [false, true] {
            all.push(Self::Persisting { leave: leave(), touched: flag, upto: i64::MAX });
            all.push(Self::Decommissioning { leave: leave(), removed: flag });
            for at in [When::Told, When::Drained] {
                all.push(Self::Checking { leave: leave(), at, again: flag });
            }
        }
        all.extend(
            [When::Told, When::Drained, When::Removed].map(|at| Self::Rescuing { leave: leave(), at }),
        );
        all
    }
}
