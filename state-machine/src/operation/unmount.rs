//! `unmount`: let a mount disappear from the cache's namespace, with what is mounted below it where that is wished.
//!
//! ```text
//! preflight -> unmounting (the deepest mount) -> verifying -> succeeded: the table shows none
//!     |                 ^----------------------'   '  one less: the next one
//!     '--------------------------------------------^  none was there
//! ```
//!
//! Lock: shared, scope = the path; while others use it the operation is refused, or takes its turn, as the spec says.
//! Effect: class (d) on Alluxio, against the live table. The store's files stay; what the cache has of them is dropped.
//! Data safety: files of which only the cache has the bytes are waited for (they may be on their way to the store) unless
//! `control.force` gives them up, and they are counted again right before the call. Undo: a `mount`. Irreversible point:
//! the first intent; a later cancel is noted. Progress: mounts.

use super::Called;
use super::arm::{Act, Arm, Next, View};
use crate::decision::WaitingOn;
use crate::effect::{Answer, Effect, Intent, Query, TroubleKind};
use crate::lifecycle::cut;
use crate::machine::{Edge, Illegal, edge};
use crate::mounts::MountTable;
use crate::spec::OperationSpec;
use serde::{Deserialize, Serialize};

/// The steps of an unmount.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Unmount {
    /// Looks at the table and at what would be lost.
    Preflight {
        /// Mounts removed by attempts before this one.
        done: i64,
    },
    /// Asks the engine to remove the deepest one.
    Unmounting {
        /// Mounts removed so far.
        done: i64,
        /// Mounts at and below the path, this one included.
        left: i64,
        /// An intent for it was recorded.
        started: bool,
    },
    /// Reads the table back.
    Verifying {
        /// Mounts removed so far.
        done: i64,
        /// Mounts that were there before the last call.
        left: i64,
    },
}

/// The facts that move an unmount.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all_fields = "camelCase")]
pub enum UnmountEvent {
    /// So many mounts are left.
    Found {
        /// Mounts at and below the path.
        mounts: i64,
    },
    /// The engine accepted.
    Unmounted {},
    /// The table shows none.
    Gone {
        /// Mounts that were removed.
        removed: i64,
    },
}

pub(super) const fn event_name(event: &UnmountEvent) -> &'static str {
    match event {
        UnmountEvent::Found { .. } => "Found",
        UnmountEvent::Unmounted {} => "Unmounted",
        UnmountEvent::Gone { .. } => "Gone",
    }
}

impl Arm for Unmount {
    type Event = UnmountEvent;

    const KIND: &'static str = "unmount";
    const STEPS: &'static [&'static str] = &["preflight", "unmounting", "verifying"];
    const EDGES: &'static [Edge] = &[
        edge("queued", "HoldGranted", "preflight"),
        edge("preflight", "Found", "unmounting"),
        edge("preflight", "Found", "verifying"),
        edge("preflight", "AttemptFailed", "preflight"),
        edge("unmounting", "Unmounted", "verifying"),
        edge("unmounting", "AttemptFailed", "preflight"),
        edge("verifying", "Found", "unmounting"),
        edge("verifying", "Gone", "succeeded"),
        edge("verifying", "AttemptFailed", "preflight"),
        edge("paused", "Resumed", "preflight"),
        edge("paused", "Resumed", "unmounting"),
        edge("paused", "Resumed", "verifying"),
    ];

    fn first() -> Self {
        Self::Preflight { done: 0 }
    }

    fn name(&self) -> &'static str {
        match self {
            Self::Preflight { .. } => "preflight",
            Self::Unmounting { .. } => "unmounting",
            Self::Verifying { .. } => "verifying",
        }
    }

    fn event_name(event: &UnmountEvent) -> &'static str {
        event_name(event)
    }

    fn step(self, event: UnmountEvent) -> Result<Next<Self>, Illegal> {
        let illegal = Illegal::new(self.name(), event_name(&event));
        match self {
            Self::Preflight { done } => match event {
                UnmountEvent::Found { mounts: 0 } => Ok(Next::Step(Self::Verifying { done, left: 0 })),
                UnmountEvent::Found { mounts: left } => {
                    Ok(Next::Step(Self::Unmounting { done, left, started: false }))
                }
                UnmountEvent::Unmounted {} | UnmountEvent::Gone { .. } => Err(illegal),
            },
            Self::Unmounting { done, left, .. } => match event {
                UnmountEvent::Unmounted {} => {
                    Ok(Next::Step(Self::Verifying { done: done.saturating_add(1), left }))
                }
                UnmountEvent::Found { .. } | UnmountEvent::Gone { .. } => Err(illegal),
            },
            Self::Verifying { done, .. } => match event {
                UnmountEvent::Found { mounts: left } => {
                    Ok(Next::Step(Self::Unmounting { done, left, started: false }))
                }
                UnmountEvent::Gone { .. } => Ok(Next::Succeeded),
                UnmountEvent::Unmounted {} => Err(illegal),
            },
        }
    }

    fn intended(self, _effect: &Effect) -> Self {
        match self {
            Self::Unmounting { done, left, .. } => Self::Unmounting { done, left, started: true },
            other @ (Self::Preflight { .. } | Self::Verifying { .. }) => other,
        }
    }

    fn resumed(self) -> Self {
        self
    }

    fn retried(self) -> Self {
        match self {
            Self::Preflight { done } | Self::Unmounting { done, .. } | Self::Verifying { done, .. } => {
                Self::Preflight { done }
            }
        }
    }

    fn quiet(&self) -> bool {
        // Nothing runs in the engine by itself; what may still land is the intent, which is judged apart.
        true
    }

    fn irreversible(&self, intent: Option<&Intent>) -> bool {
        match self {
            Self::Preflight { done } => *done > 0 || intent.is_some(),
            Self::Unmounting { done, started, .. } => *done > 0 || *started,
            Self::Verifying { .. } => true,
        }
    }

    fn query(&self, spec: &OperationSpec, _intent: Option<&Intent>) -> Option<Query> {
        match self {
            Self::Preflight { .. } | Self::Verifying { .. } => {
                Some(Query::Mounts { count: spec.operation.paths().first().cloned(), secrets: false })
            }
            Self::Unmounting { .. } => None,
        }
    }

    fn decide(&self, view: &View<'_>) -> Act<UnmountEvent> {
        if let Some(Err(trouble)) = view.answer {
            return super::trouble(trouble);
        }
        let table = match view.answer.and_then(Result::ok) {
            Some(Answer::Mounts(table)) => Some(table),
            Some(_) | None => None,
        };
        match self {
            Self::Unmounting { .. } => unmounting(view),
            Self::Preflight { .. } => table.map_or_else(super::unanswered, |t| check(t, view.spec, None)),
            Self::Verifying { done, left } => {
                table.map_or_else(super::unanswered, |t| check(t, view.spec, Some((*done, *left))))
            }
        }
    }

    fn halt_query(&self, _spec: &OperationSpec) -> Option<Query> {
        None
    }

    fn halt(&self, _answer: Option<&Answer>) -> Option<Effect> {
        None
    }

    fn samples() -> Vec<Self> {
        let many = i64::MAX;
        vec![
            Self::Preflight { done: 0 },
            Self::Preflight { done: many },
            Self::Unmounting { done: 0, left: 1, started: false },
            Self::Unmounting { done: many, left: many, started: true },
            Self::Verifying { done: many, left: many },
        ]
    }

    fn event_samples() -> Vec<UnmountEvent> {
        vec![
            UnmountEvent::Found { mounts: 0 },
            UnmountEvent::Found { mounts: i64::MAX },
            UnmountEvent::Unmounted {},
            UnmountEvent::Gone { removed: i64::MAX },
        ]
    }
}

/// What the table says: before the first call, or after the one that was to remove one of `left` mounts.
fn check(table: &MountTable, spec: &OperationSpec, after: Option<(i64, i64)>) -> Act<UnmountEvent> {
    let path = spec.operation.paths().first().map_or("", String::as_str);
    let next = match table.next_to_unmount(spec) {
        Ok(next) => next,
        Err(no) => return Act::Fail { reason: no.reason.into(), message: no.message },
    };
    let Some(next) = next else {
        let event = match after {
            None => UnmountEvent::Found { mounts: 0 },
            Some((removed, _)) => UnmountEvent::Gone { removed },
        };
        return Act::Record { event, because: "the table shows no mount there".into(), intend: None };
    };
    let mounts = i64::try_from(table.below(path).len()).unwrap_or(i64::MAX);
    let mounts = mounts.saturating_add(i64::from(table.at(path).is_some()));
    if after.is_some_and(|(_, left)| mounts >= left) {
        return Act::Retry {
            reason: "StillMounted",
            message: format!("the cache accepted, but its mount table still shows {}", cut(&next.path, 200)),
        };
    }
    let because = match (table.unpersisted_problem(path), &spec.control.force) {
        (Some(message), None) => {
            return Act::Await(WaitingOn::Engine { reason: super::NOT_PERSISTED, message });
        }
        (Some(_), Some(force)) => {
            format!("{} files are lost, as {} accepts", table.unpersisted, cut(&force.by, 60))
        }
        (None, _) => format!("{} is mounted from {}", cut(&next.path, 60), cut(&next.uri, 60)),
    };
    let intend = Some(Effect::Unmount { path: 0 });
    Act::Record { event: UnmountEvent::Found { mounts }, because, intend }
}

fn unmounting(view: &View<'_>) -> Act<UnmountEvent> {
    let unmounted = |because: &str| Act::Record {
        event: UnmountEvent::Unmounted {},
        because: because.into(),
        intend: None,
    };
    match super::called(view) {
        Called::Accepted(_) => unmounted("accepted"),
        // Somebody was faster; the next look reads it back.
        Called::Refused { reason, .. } if reason == TroubleKind::NotFound.reason() => {
            unmounted("it was gone already")
        }
        Called::Refused { reason, message, retryable } => super::refused(reason, message, retryable),
        Called::Landing(waiting) => Act::Await(waiting),
        Called::Open => {
            Act::Intend { effect: Effect::Unmount { path: 0 }, because: "not accepted yet".into() }
        }
    }
}

#[cfg(test)]
#[path = "unmount_tests.rs"]
mod tests;
