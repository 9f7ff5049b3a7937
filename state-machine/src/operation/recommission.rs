//! `recommission`: workers that were taken out of use for maintenance serve again.
//!
//! ```text
//! preflight -> marking -> returning -> verifying -> succeeded
//!    |  refused: '-> fencing   ^  ^          |
//!    |                         |  '----------'  one of them serves no more
//!    '-------------------------'  the revision says of none of them that it is out of use
//! ```
//!
//! Lock: exclusive. Effects: class (a) for the write that notes in the revision that they are in use, and for the eviction of
//! their pods (Alluxio takes a worker that was decommissioned back only with a new process); class (d)
//! on the engine (rescue, admit). Data safety: what only such a worker has is copied to others before its pod goes, and while
//! that cannot be, the pod stays. Verified: each is ready, and the cache lists it with its capacity. Irreversible point: the
//! first intent to mark; the way back is `decommission`. Progress: workers that serve again.

use super::arm::{Act, Arm, Next, View};
use super::decommission::{not_ours, unknown};
use super::take_out::{back, look};
use crate::decision::{Progress, WaitingOn};
use crate::drain::LeavingView;
use crate::effect::{Answer, Effect, Intent, Query};
use crate::lifecycle::cut;
use crate::machine::{Edge, Illegal, edge};
use crate::members::{MembersView, Numbers};
use crate::spec::{ArmSpec, OperationSpec};
use look::{Look, number, record};
use serde::{Deserialize, Serialize};

/// The steps of a recommission.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Recommission {
    /// Finds out who is out of use.
    Preflight {
        /// Who an earlier attempt has worked on.
        back: Numbers,
    },
    /// Notes in the revision that they are in use.
    Marking {
        /// Who.
        back: Numbers,
        /// Number of the revision that this was decided on.
        at: i64,
        /// An intent for it was recorded.
        started: bool,
    },
    /// Raises the fence after a refusal: no write that was sent before can land any more.
    Fencing {
        /// Who.
        back: Numbers,
        /// Number of the revision that the refused write was decided on.
        at: i64,
        /// Why it was refused.
        why: String,
    },
    /// They are let in, and their pods are made anew, until each serves.
    Returning {
        /// Who.
        back: Numbers,
    },
    /// Reads back who serves.
    Verifying {
        /// Who is back.
        back: Numbers,
    },
}

/// The facts that move a recommission.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all_fields = "camelCase")]
pub enum RecommissionEvent {
    /// These are to serve again.
    Chosen {
        /// Who.
        back: Numbers,
        /// Number of the revision.
        at: i64,
        /// It says of some of them that they are out of use.
        marked: bool,
    },
    /// The revision says of none of them that it is out of use.
    Unmarked {},
    /// The write was refused.
    NotUnmarked {
        /// Why.
        why: String,
    },
    /// Each of them serves.
    Serving {},
    /// One of them serves no more.
    Lost {},
    /// Read back: each of them serves, and so many do.
    Proven {
        /// Workers that serve.
        workers: i64,
        /// Bytes that they can hold.
        capacity_bytes: i64,
    },
}

const fn event_name(event: &RecommissionEvent) -> &'static str {
    match event {
        RecommissionEvent::Chosen { .. } => "Chosen",
        RecommissionEvent::Unmarked {} => "Unmarked",
        RecommissionEvent::NotUnmarked { .. } => "NotUnmarked",
        RecommissionEvent::Serving {} => "Serving",
        RecommissionEvent::Lost {} => "Lost",
        RecommissionEvent::Proven { .. } => "Proven",
    }
}

impl Recommission {
    /// Who comes back.
    const fn back(&self) -> &Numbers {
        match self {
            Self::Preflight { back }
            | Self::Marking { back, .. }
            | Self::Fencing { back, .. }
            | Self::Returning { back }
            | Self::Verifying { back } => back,
        }
    }

    fn marking(back: &Numbers, at: i64, view: &View<'_>) -> Act<RecommissionEvent> {
        let written = |_| (RecommissionEvent::Unmarked {}, "the revision says so");
        look::writing(view, unmark(back, at), written, |why| RecommissionEvent::NotUnmarked { why })
    }
}

fn unmark(back: &Numbers, at: i64) -> Effect {
    Effect::MarkWorkers { workers: back.clone(), out: false, at }
}

/// What is next for workers that come back.
fn returning(look: &Look<'_>) -> Act<RecommissionEvent> {
    let (members, leaving, view) = (look.members, look.leaving, look.view);
    // An eviction that was sent may still take the pod of one that serves by now.
    if let super::Called::Landing(waiting) = super::called(view) {
        return Act::Await(waiting);
    }
    if !look.leave.among(&members.out).is_empty() {
        let message = format!("the revision {} says again that they are out of use", members.revision);
        return Act::Retry { reason: "OutOfUse", message };
    }
    let mine = || members.workers.iter().filter(|w| look.leave.contains(w.number));
    if let Some(gone) = look.leave.without(&members.numbers()).iter().next() {
        let message = format!("the revision {} has no worker {gone} any more", members.revision);
        return Act::Fail { reason: "NoSuchWorker".into(), message };
    }
    if mine().all(crate::members::WorkerView::serves) {
        return record(RecommissionEvent::Serving {}, "each of them serves");
    }
    let waits = |message: String| {
        let progress = Progress {
            done: number(mine().filter(|w| w.serves()).count()),
            total: number(look.leave.len()),
            unit: "workers",
        };
        Act::Await(WaitingOn::Members { progress, message: cut(&message, 200) })
    };
    if let super::Called::Refused { message, .. } = super::called(view)
        && view.since_entry_ms < super::AT_ONCE_MS
    {
        return waits(message.to_owned());
    }
    let next = back::undo(look.leave, members, leaving);
    // What was tried last may show its effect in a moment.
    let same = view.intent.is_some_and(|i| next.as_ref() == Some(&i.effect));
    let heard = view.intent.is_some_and(|i| matches!(i.effect, Effect::ReplaceWorker { .. }));
    match next {
        Some(_) if same && view.since_entry_ms < look::ASK_AGAIN_MS => {
            waits("what was asked for last is under way".into())
        }
        Some(effect) => match back::early(Some(&effect), heard, view.watched_ms, leaving) {
            Some(why) => waits(why),
            None => Act::Intend { effect, because: not_back(members, leaving) },
        },
        None => waits(not_back(members, leaving)),
    }
}

fn verify(back: &Numbers, members: &MembersView) -> Act<RecommissionEvent> {
    if let Some(why) = &members.foreign {
        return Act::Fail { reason: "NotManaged".into(), message: why.clone() };
    }
    let mut mine = members.workers.iter().filter(|w| back.contains(w.number));
    if let Some(lost) = mine.find(|w| !w.serves()) {
        return record(RecommissionEvent::Lost {}, format!("worker {} serves no more", lost.number));
    }
    let (workers, capacity_bytes) = members.serving();
    let event = RecommissionEvent::Proven { workers, capacity_bytes };
    record(event, "each of them serves")
}

/// Why one of them does not serve yet.
fn not_back(members: &MembersView, leaving: &LeavingView) -> String {
    let not_ready = || {
        let first = leaving.workers.iter().find(|w| !w.serves())?;
        let why = first.trouble.as_deref().unwrap_or("the cache does not list its capacity yet");
        Some(format!("worker {}: {why}", first.number))
    };
    let why = back::not_back(members, leaving).or_else(not_ready);
    cut(&why.unwrap_or_else(|| "they are coming back".into()), 120)
}

impl Arm for Recommission {
    type Event = RecommissionEvent;

    const KIND: &'static str = "recommission";
    const STEPS: &'static [&'static str] = &["preflight", "marking", "fencing", "returning", "verifying"];
    const EDGES: &'static [Edge] = &[
        edge("queued", "HoldGranted", "preflight"),
        edge("preflight", "Chosen", "marking"),
        edge("preflight", "Chosen", "returning"),
        edge("preflight", "AttemptFailed", "preflight"),
        edge("marking", "Unmarked", "returning"),
        edge("marking", "NotUnmarked", "fencing"),
        edge("marking", "AttemptFailed", "preflight"),
        edge("fencing", "AttemptFailed", "preflight"),
        edge("returning", "Serving", "verifying"),
        edge("returning", "AttemptFailed", "preflight"),
        edge("verifying", "Lost", "returning"),
        edge("verifying", "Proven", "succeeded"),
        edge("verifying", "AttemptFailed", "preflight"),
        edge("paused", "Resumed", "preflight"),
    ];

    fn first() -> Self {
        Self::Preflight { back: Numbers::default() }
    }

    fn name(&self) -> &'static str {
        match self {
            Self::Preflight { .. } => "preflight",
            Self::Marking { .. } => "marking",
            Self::Fencing { .. } => "fencing",
            Self::Returning { .. } => "returning",
            Self::Verifying { .. } => "verifying",
        }
    }

    fn event_name(event: &RecommissionEvent) -> &'static str {
        event_name(event)
    }

    fn step(self, event: RecommissionEvent) -> Result<Next<Self>, Illegal> {
        use RecommissionEvent as E;
        let illegal = Illegal::new(self.name(), event_name(&event));
        let to = match (self, event) {
            (Self::Preflight { .. }, E::Chosen { back, at, marked: true }) => {
                Self::Marking { back, at, started: false }
            }
            (Self::Preflight { .. }, E::Chosen { back, marked: false, .. }) => Self::Returning { back },
            (Self::Marking { back, .. }, E::Unmarked {}) => Self::Returning { back },
            (Self::Marking { back, at, .. }, E::NotUnmarked { why }) => Self::Fencing { back, at, why },
            (Self::Returning { back }, E::Serving {}) => Self::Verifying { back },
            (Self::Verifying { back }, E::Lost {}) => Self::Returning { back },
            (Self::Verifying { .. }, E::Proven { .. }) => return Ok(Next::Succeeded),
            (_, _) => return Err(illegal),
        };
        Ok(Next::Step(to))
    }

    fn intended(self, effect: &Effect) -> Self {
        match (self, effect) {
            (Self::Marking { back, at, .. }, Effect::MarkWorkers { .. }) => {
                Self::Marking { back, at, started: true }
            }
            (other, _) => other,
        }
    }

    fn resumed(self) -> Self {
        self.retried()
    }

    fn retried(self) -> Self {
        Self::Preflight { back: self.back().clone() }
    }

    fn quiet(&self) -> bool {
        self.back().is_empty() || matches!(self, Self::Marking { started: false, .. })
    }

    fn irreversible(&self, _intent: Option<&Intent>) -> bool {
        !self.quiet()
    }

    fn query(&self, _spec: &OperationSpec, _intent: Option<&Intent>) -> Option<Query> {
        match self {
            Self::Preflight { .. } | Self::Verifying { .. } => Some(Query::Members),
            Self::Returning { back } => Some(Query::Leaving { workers: back.clone(), files: true }),
            Self::Marking { .. } | Self::Fencing { .. } => None,
        }
    }

    fn decide(&self, view: &View<'_>) -> Act<RecommissionEvent> {
        if let Some(Err(trouble)) = view.answer {
            return super::trouble(trouble);
        }
        let ArmSpec::Recommission(spec) = &view.spec.operation else {
            return Act::Fail {
                reason: "InvalidSpec".into(),
                message: "the spec names no recommission".into(),
            };
        };
        match (self, view.answer.and_then(Result::ok)) {
            (Self::Marking { back, at, .. }, _) => Self::marking(back, *at, view),
            (Self::Fencing { why, .. }, _) => look::fencing("NotUnmarked", why, view),
            (Self::Preflight { .. }, Some(Answer::Members(members))) => {
                let back: Numbers = spec.numbers.iter().copied().collect();
                if let Some(act) = not_ours(members).or_else(|| unknown(&back, members)) {
                    return act;
                }
                let (at, marked) = (members.revision, !back.among(&members.out).is_empty());
                let because = format!("out of use by the revision: {}", members.out);
                let intend = marked.then(|| unmark(&back, at));
                Act::Record { event: RecommissionEvent::Chosen { back, at, marked }, because, intend }
            }
            (Self::Returning { back }, Some(Answer::Leaving(members, leaving))) => {
                let look = Look { leave: back, members, leaving, view };
                look.foreign().unwrap_or_else(|| returning(&look))
            }
            (Self::Verifying { back }, Some(Answer::Members(members))) => verify(back, members),
            (Self::Preflight { .. } | Self::Returning { .. } | Self::Verifying { .. }, _) => {
                super::unanswered()
            }
        }
    }

    fn looks_on(&self) -> bool {
        matches!(self, Self::Returning { .. })
    }

    fn halt_query(&self, _spec: &OperationSpec) -> Option<Query> {
        let wrote = matches!(self, Self::Marking { started: true, .. } | Self::Fencing { .. });
        wrote.then_some(Query::Members)
    }

    fn halt(&self, answer: Option<&Answer>) -> Option<Effect> {
        let Some(Answer::Members(members)) = answer else { return None };
        let at = match self {
            Self::Marking { at, .. } | Self::Fencing { at, .. } => *at,
            Self::Preflight { .. } | Self::Returning { .. } | Self::Verifying { .. } => return None,
        };
        // The write was decided on this revision: another one refuses it.
        (members.foreign.is_none() && members.revision == at).then_some(Effect::FenceMembers {})
    }

    fn samples() -> Vec<Self> {
        let mut all = Vec::new();
        for back in [Numbers::default(), (0..256).step_by(2).collect()] {
            for started in [false, true] {
                all.push(Self::Marking { back: back.clone(), at: i64::MAX, started });
            }
            all.extend([
                Self::Preflight { back: back.clone() },
                Self::Fencing { back: back.clone(), at: i64::MAX, why: "w".repeat(120) },
                Self::Returning { back: back.clone() },
                Self::Verifying { back },
            ]);
        }
        all
    }

    fn event_samples() -> Vec<RecommissionEvent> {
        let back: Numbers = (0..256).step_by(2).collect();
        vec![
            RecommissionEvent::Chosen { back: back.clone(), at: i64::MAX, marked: false },
            RecommissionEvent::Chosen { back, at: i64::MAX, marked: true },
            RecommissionEvent::Unmarked {},
            RecommissionEvent::NotUnmarked { why: "w".repeat(120) },
            RecommissionEvent::Serving {},
            RecommissionEvent::Lost {},
            RecommissionEvent::Proven { workers: i64::MAX, capacity_bytes: i64::MAX },
        ]
    }
}

#[cfg(test)]
#[path = "recommission_tests.rs"]
mod tests;
