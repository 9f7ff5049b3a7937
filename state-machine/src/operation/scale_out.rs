//! `scaleOut`: more workers, and proof that they serve.
//!
//! ```text
//! preflight -> adding -> waiting -> verifying -> succeeded
//!    ^  '--------------------^  nothing is to be added
//!    '-------------------------------'  another attempt: what was added stays noted
//! ```
//!
//! Lock: exclusive. Effect: class (a), a write of the cluster's revision guarded by its resourceVersion, with the token and
//! the fence in the same object. Irreversible point: the first intent. From then on a worker may serve at any moment, hold
//! what nobody else has, and be forgotten by a master that starts anew, so that nobody can say any more that it never served:
//! a later cancel is noted, and the way back is `scaleIn`. One that fails leaves its workers, and raises the fence so that
//! no write of its own comes after its end. Progress: new workers that serve.

use super::Called;
use super::arm::{Act, Arm, Next, View};
use crate::decision::{Progress, WaitingOn};
use crate::effect::{Answer, Effect, Intent, Query};
use crate::machine::{Edge, Illegal, edge};
use crate::members::{Known, MembersView, Numbers, WorkerView, Written};
use crate::spec::{ArmSpec, OperationSpec};
use serde::{Deserialize, Serialize};

/// The steps of a scale-out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum ScaleOut {
    /// Finds out what is to be added.
    Preflight {
        /// What an earlier attempt has added.
        add: Numbers,
    },
    /// Adds workers to the revision of the cluster.
    Adding {
        /// Which.
        add: Numbers,
        /// Number of the revision that this was decided on.
        at: i64,
        /// An intent for it was recorded.
        started: bool,
    },
    /// Their pods start, and the cache gets to know them.
    Waiting {
        /// Which.
        add: Numbers,
    },
    /// Reads back who serves.
    Verifying {
        /// Which.
        add: Numbers,
    },
}

/// The facts that move a scale-out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all_fields = "camelCase")]
pub enum ScaleOutEvent {
    /// These are to be added to this revision.
    Planned {
        /// Which, with those that an earlier attempt has added.
        add: Numbers,
        /// Number of the revision.
        at: i64,
        /// Whether any of them is new.
        new: bool,
    },
    /// The revision has them.
    Added {},
    /// All of them serve.
    Serving {
        /// Bytes that they can hold.
        capacity_bytes: i64,
    },
    /// Read back: the cache has as many workers as were asked for, and those that were added serve.
    Proven {
        /// Workers of the cache.
        workers: i64,
        /// Bytes that all that serve can hold.
        capacity_bytes: i64,
    },
}

pub(super) const fn event_name(event: &ScaleOutEvent) -> &'static str {
    match event {
        ScaleOutEvent::Planned { .. } => "Planned",
        ScaleOutEvent::Added {} => "Added",
        ScaleOutEvent::Serving { .. } => "Serving",
        ScaleOutEvent::Proven { .. } => "Proven",
    }
}

impl Arm for ScaleOut {
    type Event = ScaleOutEvent;

    const KIND: &'static str = "scaleOut";
    const STEPS: &'static [&'static str] = &["preflight", "adding", "waiting", "verifying"];
    const EDGES: &'static [Edge] = &[
        edge("queued", "HoldGranted", "preflight"),
        edge("preflight", "Planned", "adding"),
        edge("preflight", "Planned", "waiting"),
        edge("preflight", "AttemptFailed", "preflight"),
        edge("adding", "Added", "waiting"),
        edge("adding", "AttemptFailed", "preflight"),
        edge("waiting", "Serving", "verifying"),
        edge("waiting", "AttemptFailed", "preflight"),
        edge("verifying", "Proven", "succeeded"),
        edge("verifying", "AttemptFailed", "preflight"),
        edge("paused", "Resumed", "preflight"),
    ];

    fn first() -> Self {
        Self::Preflight { add: Numbers::default() }
    }

    fn name(&self) -> &'static str {
        match self {
            Self::Preflight { .. } => "preflight",
            Self::Adding { .. } => "adding",
            Self::Waiting { .. } => "waiting",
            Self::Verifying { .. } => "verifying",
        }
    }

    fn event_name(event: &ScaleOutEvent) -> &'static str {
        event_name(event)
    }

    fn step(self, event: ScaleOutEvent) -> Result<Next<Self>, Illegal> {
        let illegal = Illegal::new(self.name(), event_name(&event));
        match self {
            Self::Preflight { .. } => match event {
                ScaleOutEvent::Planned { add, at, new: true } => {
                    Ok(Next::Step(Self::Adding { add, at, started: false }))
                }
                ScaleOutEvent::Planned { add, at: _, new: false } => Ok(Next::Step(Self::Waiting { add })),
                ScaleOutEvent::Added {} | ScaleOutEvent::Serving { .. } | ScaleOutEvent::Proven { .. } => {
                    Err(illegal)
                }
            },
            Self::Adding { add, .. } => match event {
                ScaleOutEvent::Added {} => Ok(Next::Step(Self::Waiting { add })),
                ScaleOutEvent::Planned { .. }
                | ScaleOutEvent::Serving { .. }
                | ScaleOutEvent::Proven { .. } => Err(illegal),
            },
            Self::Waiting { add } => match event {
                ScaleOutEvent::Serving { .. } => Ok(Next::Step(Self::Verifying { add })),
                ScaleOutEvent::Planned { .. } | ScaleOutEvent::Added {} | ScaleOutEvent::Proven { .. } => {
                    Err(illegal)
                }
            },
            Self::Verifying { .. } => match event {
                ScaleOutEvent::Proven { .. } => Ok(Next::Succeeded),
                ScaleOutEvent::Planned { .. } | ScaleOutEvent::Added {} | ScaleOutEvent::Serving { .. } => {
                    Err(illegal)
                }
            },
        }
    }

    fn intended(self, _effect: &Effect) -> Self {
        match self {
            Self::Adding { add, at, .. } => Self::Adding { add, at, started: true },
            other @ (Self::Preflight { .. } | Self::Waiting { .. } | Self::Verifying { .. }) => other,
        }
    }

    fn resumed(self) -> Self {
        self.retried()
    }

    fn retried(self) -> Self {
        match self {
            Self::Preflight { add }
            | Self::Adding { add, .. }
            | Self::Waiting { add }
            | Self::Verifying { add } => Self::Preflight { add },
        }
    }

    fn quiet(&self) -> bool {
        match self {
            Self::Preflight { add } | Self::Waiting { add } | Self::Verifying { add } => add.is_empty(),
            Self::Adding { started, .. } => !started,
        }
    }

    fn irreversible(&self, _intent: Option<&Intent>) -> bool {
        !self.quiet()
    }

    fn query(&self, _spec: &OperationSpec, _intent: Option<&Intent>) -> Option<Query> {
        match self {
            Self::Preflight { .. } | Self::Waiting { .. } | Self::Verifying { .. } => Some(Query::Members),
            Self::Adding { .. } => None,
        }
    }

    fn decide(&self, view: &View<'_>) -> Act<ScaleOutEvent> {
        if let Some(Err(trouble)) = view.answer {
            return super::trouble(trouble);
        }
        let ArmSpec::ScaleOut(wanted) = &view.spec.operation else {
            return Act::Fail { reason: "InvalidSpec".into(), message: "the spec names no scaleOut".into() };
        };
        let wanted = usize::try_from(wanted.workers).unwrap_or(0);
        let members = match view.answer.and_then(Result::ok) {
            Some(Answer::Members(members)) => Some(members),
            Some(_) | None => None,
        };
        match (self, members) {
            (Self::Adding { add, at, .. }, _) => calling(add, *at, view),
            (_, None) => super::unanswered(),
            (Self::Preflight { add }, Some(members)) => preflight(add, wanted, members),
            (Self::Waiting { add }, Some(members)) => wait(add, members),
            (Self::Verifying { add }, Some(members)) => verify(add, wanted, members),
        }
    }

    fn halt_query(&self, _spec: &OperationSpec) -> Option<Query> {
        (!self.quiet()).then_some(Query::Members)
    }

    fn halt(&self, answer: Option<&Answer>) -> Option<Effect> {
        let Some(Answer::Members(members)) = answer else { return None };
        // Once the write of this step is known to stand, every earlier try of it has met another resourceVersion.
        let may_land = match self {
            Self::Preflight { .. } | Self::Adding { .. } => !self.quiet(),
            Self::Waiting { .. } | Self::Verifying { .. } => false,
        };
        (may_land && members.written != Written::Fenced).then_some(Effect::FenceMembers {})
    }

    fn samples() -> Vec<Self> {
        let add: Numbers = (0..256).step_by(2).collect();
        vec![
            Self::Preflight { add: Numbers::default() },
            Self::Preflight { add: add.clone() },
            Self::Adding { add: add.clone(), at: i64::MAX, started: false },
            Self::Adding { add: add.clone(), at: i64::MAX, started: true },
            Self::Waiting { add: Numbers::default() },
            Self::Waiting { add: add.clone() },
            Self::Verifying { add: Numbers::default() },
            Self::Verifying { add },
        ]
    }

    fn event_samples() -> Vec<ScaleOutEvent> {
        let add: Numbers = (0..256).step_by(2).collect();
        vec![
            ScaleOutEvent::Planned { add: add.clone(), at: i64::MAX, new: true },
            ScaleOutEvent::Planned { add, at: i64::MAX, new: false },
            ScaleOutEvent::Added {},
            ScaleOutEvent::Serving { capacity_bytes: i64::MAX },
            ScaleOutEvent::Proven { workers: i64::MAX, capacity_bytes: i64::MAX },
        ]
    }
}

fn preflight(add: &Numbers, wanted: usize, members: &MembersView) -> Act<ScaleOutEvent> {
    if let Some(why) = &members.foreign {
        return Act::Fail { reason: "NotManaged".into(), message: why.clone() };
    }
    if let Some(stage) = &members.set_up {
        let message = format!("the cache is still being set up: {stage}");
        return Act::Await(WaitingOn::Engine { reason: "ClusterNotReady", message });
    }
    let there = members.numbers();
    // Another attempt adds what is missing by now.
    let kept: Numbers = add.iter().filter(|n| there.contains(*n)).collect();
    let Some(missing) = wanted.checked_sub(there.len()) else {
        let message = format!(
            "the cache has {} workers and {wanted} are asked for; fewer is what scaleIn is for",
            there.len()
        );
        return Act::Fail { reason: "FewerWanted".into(), message };
    };
    let new = Numbers::free(&there, missing);
    let add = kept.with(&new);
    let event = ScaleOutEvent::Planned { add: add.clone(), at: members.revision, new: !new.is_empty() };
    let because = format!("{} of {wanted} workers are there", there.len());
    let intend = (!new.is_empty()).then_some(Effect::AddWorkers { add, at: members.revision });
    Act::Record { event, because, intend }
}

fn calling(add: &Numbers, at: i64, view: &View<'_>) -> Act<ScaleOutEvent> {
    match super::called(view) {
        Called::Accepted(receipt) => {
            let because = if receipt.attached { "the revision has them already" } else { "written" };
            Act::Record { event: ScaleOutEvent::Added {}, because: because.into(), intend: None }
        }
        Called::Refused { reason, message, retryable } => super::refused(reason, message, retryable),
        Called::Landing(waiting) => Act::Await(waiting),
        Called::Open => Act::Intend {
            effect: Effect::AddWorkers { add: add.clone(), at },
            because: "not written yet".into(),
        },
    }
}

fn wait(add: &Numbers, members: &MembersView) -> Act<ScaleOutEvent> {
    if let Some(why) = &members.foreign {
        return Act::Fail { reason: "NotManaged".into(), message: why.clone() };
    }
    let mine: Vec<&WorkerView> = members.workers.iter().filter(|w| add.contains(w.number)).collect();
    let serving: Vec<_> = mine.iter().filter(|w| w.serves()).collect();
    if serving.len() == add.len() {
        let capacity_bytes = serving.iter().map(|w| w.capacity_bytes).fold(0, i64::saturating_add);
        let because = format!("{} new workers serve", serving.len());
        return Act::Record { event: ScaleOutEvent::Serving { capacity_bytes }, because, intend: None };
    }
    if mine.len() < add.len() {
        return Act::Retry {
            reason: "WorkersLost",
            message: "somebody took workers out of the revision that were added".into(),
        };
    }
    let message = mine.iter().find(|w| !w.serves()).map_or_else(String::new, |w| why(w));
    let count = |n: usize| i64::try_from(n).unwrap_or(i64::MAX);
    let progress = Progress { done: count(serving.len()), total: count(add.len()), unit: "workers" };
    Act::Await(WaitingOn::Members { progress, message })
}

/// Why a worker does not serve.
fn why(worker: &WorkerView) -> String {
    match (&worker.trouble, &worker.known) {
        (Some(trouble), _) => crate::lifecycle::cut(trouble, 200),
        (None, Known::As(state)) => format!("worker {} is {state}", worker.number),
        (None, Known::No | Known::Serves) => format!("worker {} has not registered yet", worker.number),
    }
}

fn verify(add: &Numbers, wanted: usize, members: &MembersView) -> Act<ScaleOutEvent> {
    let not = members.workers.iter().find(|w| add.contains(w.number) && !w.serves());
    if let Some(worker) = not {
        let message = format!("it served and does not any more: {}", why(worker));
        return Act::Retry { reason: "NotServing", message };
    }
    if members.workers.len() < wanted {
        let message = format!("the revision has {} of {wanted} workers", members.workers.len());
        return Act::Retry { reason: "WorkersLost", message };
    }
    let capacity = members.workers.iter().filter(|w| w.serves()).map(|w| w.capacity_bytes);
    let event = ScaleOutEvent::Proven {
        workers: i64::try_from(members.workers.len()).unwrap_or(i64::MAX),
        capacity_bytes: capacity.fold(0, i64::saturating_add),
    };
    Act::Record { event, because: "the cache lists them".into(), intend: None }
}

#[cfg(test)]
#[path = "scale_out_tests.rs"]
mod tests;
