//! `decommission`: workers out of use for maintenance, and nothing lost with them. The cache keeps them: their number does
//! not change, and `recommission` brings them back.
//!
//! ```text
//! preflight -> persisting ... checking -> marking -> verifying -> succeeded
//!              (they are taken out of     refused: '-> fencing  ^ |
//!               use: see `take_out`)         serves, stranded:  | '-> decommissioning, rescuing
//! ```
//!
//! Lock: exclusive. Effects: class (d) on the engine (persist, decommission, rescue), class (a) for the write that notes in the
//! revision that they are out of use. The engine forgets decommissions with a restart of its master and after a while: from
//! that note on, whoever looks after the cache has a worker decommissioned anew that serves. Data safety: see `take_out`.
//! Undo, until the first intent to mark: they are brought back (see `take_out::back`); a pause is the same. Irreversible
//! point: that first intent; the way back is `recommission`. Progress: files to persist.

use super::arm::{Act, Arm, Next, Unrest, View};
use super::take_out::look::{self, Look, record, wait};
use super::take_out::{Goes, TakeOut, TakeOutEvent, When, back};
use crate::effect::{Answer, Effect, Intent, Query};
use crate::machine::{Edge, Illegal, edge};
use crate::members::{MembersView, Numbers};
use crate::spec::{ArmSpec, DecommissionSpec, OperationSpec};
use serde::{Deserialize, Serialize};

/// The steps of a decommission.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Decommission {
    /// Finds out who is taken out of use.
    Preflight {
        /// Who an earlier attempt has worked on.
        leave: Numbers,
        /// It has marked them.
        marked: bool,
    },
    /// Notes in the revision that they are out of use.
    Marking {
        /// Who.
        leave: Numbers,
        /// Number of the revision that this was decided on.
        at: i64,
        /// An intent for it was recorded.
        started: bool,
    },
    /// Raises the fence after a refusal: no write that was sent before can land any more.
    Fencing {
        /// Who.
        leave: Numbers,
        /// Number of the revision that the refused write was decided on.
        at: i64,
        /// Why it was refused.
        why: String,
    },
    /// Reads back who serves.
    Verifying {
        /// Who is out of use.
        leave: Numbers,
        /// One of them has served meanwhile, so that clients may have it on their lists again.
        returned: bool,
        /// What was stranded has just been copied.
        copied: bool,
    },
    /// They are taken out of use.
    #[serde(untagged)]
    Out(TakeOut),
}

/// The facts that move a decommission.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all_fields = "camelCase")]
pub enum DecommissionEvent {
    /// These are to be out of use.
    Chosen {
        /// Who.
        leave: Numbers,
        /// The revision says so already, and an earlier attempt has made it so.
        marked: bool,
    },
    /// The revision says so.
    Marked {},
    /// The write was refused.
    NotMarked {
        /// Why.
        why: String,
    },
    /// Read back: they do not serve, and so many others do.
    Proven {
        /// Workers that serve.
        workers: i64,
        /// Bytes that they can hold.
        capacity_bytes: i64,
    },
    /// One of taking them out of use.
    #[serde(untagged)]
    Out(TakeOutEvent),
}

const fn event_name(event: &DecommissionEvent) -> &'static str {
    match event {
        DecommissionEvent::Chosen { .. } => "Chosen",
        DecommissionEvent::Marked {} => "Marked",
        DecommissionEvent::NotMarked { .. } => "NotMarked",
        DecommissionEvent::Proven { .. } => "Proven",
        DecommissionEvent::Out(event) => event.name(),
    }
}

impl Decommission {
    /// Who is taken out of use.
    const fn leave(&self) -> &Numbers {
        match self {
            Self::Preflight { leave, .. }
            | Self::Marking { leave, .. }
            | Self::Fencing { leave, .. }
            | Self::Verifying { leave, .. } => leave,
            Self::Out(out) => out.leave(),
        }
    }

    /// Whether it has marked them.
    const fn has_marked(&self) -> bool {
        match self {
            Self::Preflight { marked, .. } => *marked,
            Self::Verifying { .. } => true,
            Self::Marking { .. } | Self::Fencing { .. } => false,
            Self::Out(out) => out.has_removed(),
        }
    }

    fn next(self, event: &DecommissionEvent) -> Option<Next<Self>> {
        use DecommissionEvent as E;
        let to = match (self, event) {
            (Self::Preflight { .. }, E::Chosen { leave, marked }) if *marked || leave.is_empty() => {
                Self::Verifying { leave: leave.clone(), returned: *marked, copied: false }
            }
            (Self::Preflight { leave: before, .. }, E::Chosen { leave, .. }) => {
                Self::Out(TakeOut::begin(leave.clone(), !before.is_empty()))
            }
            (Self::Out(out), E::Out(event)) => match out.next(event)? {
                Goes::To(out) => Self::Out(out),
                Goes::Out { leave, at } => Self::Marking { leave, at, started: false },
                Goes::Watching { leave, again } => Self::Verifying { leave, returned: true, copied: again },
            },
            (Self::Marking { leave, .. }, E::Marked {}) => {
                Self::Verifying { leave, returned: false, copied: false }
            }
            (Self::Marking { leave, at, .. }, E::NotMarked { why }) => {
                Self::Fencing { leave, at, why: why.clone() }
            }
            (Self::Verifying { leave, .. }, E::Out(TakeOutEvent::Returned {})) => {
                Self::Out(TakeOut::Decommissioning { leave, removed: true })
            }
            (Self::Verifying { leave, .. }, E::Out(TakeOutEvent::Stranded { .. })) => {
                Self::Out(TakeOut::Rescuing { leave, at: When::Removed })
            }
            (Self::Verifying { .. }, E::Proven { .. }) => return Some(Next::Succeeded),
            (_, _) => return None,
        };
        Some(Next::Step(to))
    }

    fn marking(leave: &Numbers, at: i64, view: &View<'_>) -> Act<DecommissionEvent> {
        let written = |_| (DecommissionEvent::Marked {}, "the revision says so");
        look::writing(view, mark(leave, at), written, |why| DecommissionEvent::NotMarked { why })
    }
}

fn mark(leave: &Numbers, at: i64) -> Effect {
    Effect::MarkWorkers { workers: leave.clone(), out: true, at }
}

/// Why nobody may work on these members, now or at all.
pub(super) fn not_ours<E>(members: &MembersView) -> Option<Act<E>> {
    if let Some(why) = &members.foreign {
        return Some(Act::Fail { reason: "NotManaged".into(), message: why.clone() });
    }
    if let Some(by) = &members.owned_by {
        let message = format!("the pods belong to {by}, which keeps no note of workers that are out of use");
        return Some(Act::Fail { reason: "NotManaged".into(), message });
    }
    let stage = members.set_up.as_ref()?;
    Some(wait("ClusterNotReady", format!("the cache is still being set up: {stage}")))
}

/// Who asks for workers that the cache does not have is told.
pub(super) fn unknown<E>(asked: &Numbers, members: &MembersView) -> Option<Act<E>> {
    let there = members.numbers();
    let unknown = asked.without(&there);
    let message = format!("the cache has no worker {unknown}; it has {there}");
    (!unknown.is_empty()).then(|| Act::Fail { reason: "NoSuchWorker".into(), message })
}

fn preflight(
    before: &Decommission,
    spec: &DecommissionSpec,
    members: &MembersView,
) -> Act<DecommissionEvent> {
    let asked: Numbers = spec.numbers.iter().copied().collect();
    let leave = if spec.only_if_out_of_use { asked.among(&members.out) } else { asked };
    if let Some(act) = not_ours(members).or_else(|| unknown(&leave, members)) {
        return act;
    }
    if leave.is_empty() {
        let event = DecommissionEvent::Chosen { leave, marked: false };
        return record(event, "none of them is to be out of use any more");
    }
    if before.has_marked() && leave.without(&members.out).is_empty() {
        return record(DecommissionEvent::Chosen { leave, marked: true }, "the revision says so already");
    }
    if members.numbers().without(&members.out).without(&leave).is_empty() {
        let message = "no worker would be left in use; name fewer".into();
        return Act::Fail { reason: "NoWorkerLeft".into(), message };
    }
    let because = format!("{} of {} workers", leave.len(), members.workers.len());
    let intend = Some(TakeOut::first(&leave));
    Act::Record { event: DecommissionEvent::Chosen { leave, marked: false }, because, intend }
}

/// They stay out of use until this is over. Where one has served meanwhile, clients are waited for once more.
fn verify(look: &Look<'_>, returned: bool, copied: bool) -> Act<DecommissionEvent> {
    let members = look.members;
    if let Some(act) = look.returned().or_else(|| look.stranded(copied)) {
        return act.map(DecommissionEvent::Out);
    }
    if let Some(waits) = look.in_use_still().filter(|_| returned) {
        return Act::Await(waits);
    }
    if !look.leave.without(&members.out).is_empty() {
        let message =
            format!("the revision {} does not say that the workers are out of use", members.revision);
        return Act::Retry { reason: "NotMarked", message };
    }
    let (workers, capacity_bytes) = members.serving();
    let event = DecommissionEvent::Proven { workers, capacity_bytes };
    record(event, "the cache lists none of them as serving")
}

impl Arm for Decommission {
    type Event = DecommissionEvent;

    const KIND: &'static str = "decommission";
    const STEPS: &'static [&'static str] = &[
        "preflight",
        "persisting",
        "decommissioning",
        "checking",
        "rescuing",
        "draining",
        "marking",
        "fencing",
        "verifying",
    ];
    const EDGES: &'static [Edge] = &[
        edge("queued", "HoldGranted", "preflight"),
        edge("preflight", "Chosen", "persisting"),
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
        edge("checking", "Clear", "marking"),
        edge("checking", "AttemptFailed", "preflight"),
        edge("rescuing", "Rescued", "checking"),
        edge("rescuing", "AttemptFailed", "preflight"),
        edge("draining", "Returned", "decommissioning"),
        edge("draining", "Drained", "checking"),
        edge("draining", "AttemptFailed", "preflight"),
        edge("marking", "Marked", "verifying"),
        edge("marking", "NotMarked", "fencing"),
        edge("marking", "AttemptFailed", "preflight"),
        edge("fencing", "AttemptFailed", "preflight"),
        edge("verifying", "Returned", "decommissioning"),
        edge("verifying", "Stranded", "rescuing"),
        edge("decommissioning", "Decommissioned", "verifying"),
        edge("rescuing", "Rescued", "verifying"),
        edge("verifying", "Proven", "succeeded"),
        edge("verifying", "AttemptFailed", "preflight"),
        edge("paused", "Resumed", "preflight"),
    ];

    fn first() -> Self {
        Self::Preflight { leave: Numbers::default(), marked: false }
    }

    fn name(&self) -> &'static str {
        match self {
            Self::Preflight { .. } => "preflight",
            Self::Marking { .. } => "marking",
            Self::Fencing { .. } => "fencing",
            Self::Verifying { .. } => "verifying",
            Self::Out(out) => out.name(),
        }
    }

    fn event_name(event: &DecommissionEvent) -> &'static str {
        event_name(event)
    }

    fn step(self, event: DecommissionEvent) -> Result<Next<Self>, Illegal> {
        let illegal = Illegal::new(self.name(), event_name(&event));
        self.next(&event).ok_or(illegal)
    }

    fn intended(self, effect: &Effect) -> Self {
        match (self, effect) {
            (Self::Marking { leave, at, .. }, Effect::MarkWorkers { .. }) => {
                Self::Marking { leave, at, started: true }
            }
            (other, _) => other,
        }
    }

    fn resumed(self) -> Self {
        self.retried()
    }

    fn retried(self) -> Self {
        let leave = if self.quiet() { Numbers::default() } else { self.leave().clone() };
        Self::Preflight { leave, marked: self.has_marked() }
    }

    fn quiet(&self) -> bool {
        matches!(self, Self::Out(out) if out.quiet()) || self.leave().is_empty()
    }

    fn irreversible(&self, _intent: Option<&Intent>) -> bool {
        match self {
            Self::Marking { started, .. } => *started,
            Self::Fencing { .. } => true,
            Self::Preflight { .. } | Self::Verifying { .. } | Self::Out(_) => self.has_marked(),
        }
    }

    fn query(&self, _spec: &OperationSpec, _intent: Option<&Intent>) -> Option<Query> {
        match self {
            Self::Preflight { .. } => Some(Query::Members),
            Self::Verifying { leave, .. } => Some(Query::Leaving { workers: leave.clone(), files: true }),
            Self::Marking { .. } | Self::Fencing { .. } => None,
            Self::Out(out) => out.query(),
        }
    }

    fn decide(&self, view: &View<'_>) -> Act<DecommissionEvent> {
        if let Some(Err(trouble)) = view.answer {
            return super::trouble(trouble);
        }
        let ArmSpec::Decommission(spec) = &view.spec.operation else {
            return Act::Fail {
                reason: "InvalidSpec".into(),
                message: "the spec names no decommission".into(),
            };
        };
        match (self, view.answer.and_then(Result::ok)) {
            (Self::Out(out), answer) => {
                let act = out.decide(view).map(DecommissionEvent::Out);
                match answer {
                    Some(Answer::Leaving(members, _)) if out.is_last() => act
                        .beginning(mark(out.leave(), members.revision), |event| {
                            matches!(event, DecommissionEvent::Out(TakeOutEvent::Clear { .. }))
                        }),
                    _ => act,
                }
            }
            (Self::Marking { leave, at, .. }, _) => Self::marking(leave, *at, view),
            (Self::Fencing { why, .. }, _) => look::fencing("NotMarked", why, view),
            (Self::Preflight { .. }, Some(Answer::Members(members))) => preflight(self, spec, members),
            (Self::Verifying { leave, returned, copied }, Some(Answer::Leaving(members, leaving))) => {
                let look = Look { leave, members, leaving, view };
                look.foreign().unwrap_or_else(|| verify(&look, *returned, *copied))
            }
            (Self::Preflight { .. } | Self::Verifying { .. }, _) => super::unanswered(),
        }
    }

    fn halt_query(&self, _spec: &OperationSpec) -> Option<Query> {
        (!self.quiet()).then(|| Query::Leaving { workers: self.leave().clone(), files: true })
    }

    fn halt(&self, answer: Option<&Answer>) -> Option<Effect> {
        let mut written_on = None;
        if let Self::Marking { started: true, at, .. } | Self::Fencing { at, .. } = self {
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
                all.push(Self::Preflight { leave: leave.clone(), marked: flag });
                all.push(Self::Marking { leave: leave.clone(), at: i64::MAX, started: flag });
                for copied in [false, true] {
                    all.push(Self::Verifying { leave: leave.clone(), returned: flag, copied });
                }
            }
            all.extend(TakeOut::samples(&leave).into_iter().map(Self::Out));
            all.push(Self::Fencing { leave, at: i64::MAX, why: "w".repeat(120) });
        }
        all
    }

    fn event_samples() -> Vec<DecommissionEvent> {
        let own = [
            DecommissionEvent::Chosen { leave: Numbers::default(), marked: false },
            DecommissionEvent::Chosen { leave: (0..256).step_by(2).collect(), marked: false },
            DecommissionEvent::Chosen { leave: (0..256).step_by(2).collect(), marked: true },
            DecommissionEvent::Marked {},
            DecommissionEvent::NotMarked { why: "w".repeat(120) },
            DecommissionEvent::Proven { workers: i64::MAX, capacity_bytes: i64::MAX },
        ];
        own.into_iter().chain(TakeOutEvent::samples().into_iter().map(DecommissionEvent::Out)).collect()
    }
}

#[cfg(test)]
#[path = "decommission_tests.rs"]
mod tests;
