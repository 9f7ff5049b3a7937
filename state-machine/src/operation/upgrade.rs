//! `upgrade`: a managed cache comes to another release while it serves, member after member, and back if one does not.
//!
//! ```text
//! preflight -> (backingUp -> preflight ->) revising -> rolling -> verifying -> succeeded
//!    ^           |          | ^ (each member: drained where it has to be, made anew, up, release read back, soaked)
//!    '- fencing <'          v |
//!                           rollingBack (the same the other way round) -> rolledBack, or cancelled
//! ```
//!
//! Lock: exclusive. Effects: class (a) for the release in the revision, for the fence and for each eviction, whose uid stands
//! in the intent; class (d) for what drains a worker whose tier goes with its pod. Data safety: nothing goes with a pod that
//! nobody else has (`forward::drain`); the journal has to outlive the masters. Undo: the release of before, which the state
//! names, raises the fence and is written first; then every member that was made anew, or may be by a call that is on its
//! way, is made anew once more. Irreversible point: none, until the proof; what could not be taken back is refused at first.
//! Progress: members. Who is next follows from what is seen (`rollout`): a restart goes on at the member where it was.

use super::arm::{Act, Arm, Back, Next, View};
use super::backup::made_sample;
use super::take_out::look::{self, record};
use crate::backups::Made;
use crate::decision::Progress;
use crate::effect::{Answer, Effect, Intent, Query};
use crate::lifecycle::step::Step;
use crate::machine::{Edge, Illegal, edge};
use crate::operation::State;
use crate::rollout::{Choice, MAX_RELEASE, Pace, Release, Role, RolloutView};
use crate::spec::{ArmSpec, OperationSpec, UpgradeSpec};
use serde::{Deserialize, Serialize};

mod back;
mod event;
mod forward;
mod preflight;
mod save;

pub use event::UpgradeEvent;
use event::event_name;

/// What an upgrade has to know to take itself back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Was {
    /// The release of before.
    pub from: Release,
    /// Number of the revision that the new release was decided on.
    pub at: i64,
    /// Bytes that were cached then.
    pub cached_bytes: i64,
    /// The member whose pod was let go last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hit: Option<Hit>,
}

/// A pod that was let go.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Hit {
    /// What its member does.
    pub role: Role,
    /// The member's number.
    pub number: i32,
    /// Uid of the pod.
    pub uid: String,
}

/// The steps of an upgrade.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Upgrade {
    /// Sees whether it can begin, and be taken back.
    Preflight {
        /// An earlier attempt may have written the release.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        was: Option<Was>,
        /// Bytes that were cached before anything moved.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        cached_bytes: Option<i64>,
        /// The backup that was made for it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        saved: Option<Made>,
    },
    /// The engine writes a backup of what the masters know.
    BackingUp {
        /// An earlier attempt may have written the release.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        was: Option<Was>,
        /// Bytes that were cached before anything moved.
        cached_bytes: i64,
        /// An intent for it was recorded.
        started: bool,
        /// The folder that the engine has accepted to write to.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        folder: Option<String>,
        /// The engine's id of that backup, where its reply arrived.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        id: Option<String>,
    },
    /// Writes the release into the revision.
    Revising {
        /// What was there.
        was: Was,
    },
    /// Raises the fence after a refusal: no write that was sent before can land any more.
    Fencing {
        /// What was there.
        was: Was,
        /// Why it was refused.
        why: String,
    },
    /// Makes the members anew, one after the other.
    Rolling {
        /// What was there.
        was: Was,
        /// Members that were up on the release.
        moved: i64,
        /// Halts that it has gone on from.
        #[serde(default, skip_serializing_if = "is_none")]
        passed: usize,
    },
    /// Reads back of which release every member is.
    Verifying {
        /// What was there.
        was: Was,
    },
}

/// The release of before, as the state of an upgrade names it.
#[must_use]
pub fn release_before(state: &State) -> Option<&Release> {
    let State::Upgrade(step) = state else { return None };
    let (Step::Arm(at)
    | Step::Pausing { at }
    | Step::Paused { at }
    | Step::RollingBack { at, .. }
    | Step::Stuck { at, .. }) = step
    else {
        return None;
    };
    at.was().map(|was| &was.from)
}

fn spec_of<'a>(view: &View<'a>) -> Option<&'a UpgradeSpec> {
    if let ArmSpec::Upgrade(spec) = &view.spec.operation { Some(spec) } else { None }
}

impl Upgrade {
    const fn was(&self) -> Option<&Was> {
        match self {
            Self::Preflight { was, .. } | Self::BackingUp { was, .. } => was.as_ref(),
            Self::Revising { was }
            | Self::Fencing { was, .. }
            | Self::Rolling { was, .. }
            | Self::Verifying { was } => Some(was),
        }
    }

    fn next(self, event: &UpgradeEvent) -> Option<Next<Self>> {
        use UpgradeEvent as E;
        let to = match (self, event) {
            (Self::Preflight { was, saved, .. }, E::Measured { cached_bytes }) => {
                Self::Preflight { was, cached_bytes: Some(*cached_bytes), saved }
            }
            (Self::Preflight { was, cached_bytes, .. }, E::BackupDue {}) => {
                backing_up(was, cached_bytes.unwrap_or(0))
            }
            (Self::BackingUp { was, cached_bytes, started, .. }, E::BackupRequested { folder, id }) => {
                Self::BackingUp { was, cached_bytes, started, folder: Some(folder.clone()), id: id.clone() }
            }
            (Self::BackingUp { was, cached_bytes, .. }, E::Saved { made }) => {
                Self::Preflight { was, cached_bytes: Some(cached_bytes), saved: Some(made.clone()) }
            }
            (Self::Preflight { was, cached_bytes, .. }, E::Chosen { from, at, there }) => {
                let (hit, cached_bytes) = (was.and_then(|w| w.hit), cached_bytes.unwrap_or(0));
                let was = Was { from: from.clone(), at: *at, cached_bytes, hit };
                match there {
                    true => rolling(was, 0),
                    false => Self::Revising { was },
                }
            }
            (Self::Revising { was }, E::Revised {}) => rolling(was, 0),
            (Self::Revising { was }, E::NotRevised { why }) => Self::Fencing { was, why: why.clone() },
            (Self::Rolling { was, passed, .. }, E::Moved { members }) => {
                Self::Rolling { was, moved: *members, passed }
            }
            (Self::Rolling { was, moved, .. }, E::StepPassed { step, .. }) => {
                Self::Rolling { was, moved, passed: *step }
            }
            (Self::Rolling { was, .. }, E::Rolled {}) => Self::Verifying { was },
            (Self::Verifying { .. }, E::Proven { .. }) => return Some(Next::Succeeded),
            (_, _) => return None,
        };
        Some(Next::Step(to))
    }
}

/// Most halts of one upgrade.
const MAX_HALTS: usize = 8;

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde calls it with a reference")]
const fn is_none(passed: &usize) -> bool {
    *passed == 0
}

const fn rolling(was: Was, passed: usize) -> Upgrade {
    Upgrade::Rolling { was, moved: 0, passed }
}

const fn backing_up(was: Option<Was>, cached_bytes: i64) -> Upgrade {
    Upgrade::BackingUp { was, cached_bytes, started: false, folder: None, id: None }
}

/// The longest release.
fn longest() -> Release {
    let (version, tag) = ("v".repeat(16), Some("t".repeat(64)));
    Release { version, repository: "r".repeat(MAX_RELEASE - 80), tag }
}

/// How the way forward is gone.
fn pace(spec: &UpgradeSpec, was: Option<&Was>) -> Pace {
    let unavailable = usize::try_from(spec.max_unavailable).unwrap_or(1);
    let soak_ms = spec.soak_seconds.saturating_mul(1_000);
    let hit = was.and_then(|w| w.hit.as_ref()).map(|h| h.uid.clone());
    Pace { back: false, unavailable, soak_ms, last: None, hit }
}

/// Reads back.
fn verify(was: &Was, spec: &UpgradeSpec, seen: &RolloutView) -> Act<UpgradeEvent> {
    let version = &seen.release.version;
    if let Some(why) = &seen.silent {
        return look::wait("CacheSilent", format!("the cache gives no answer: {why}"));
    }
    if let Some(member) = seen.members.iter().find(|m| !m.up(version) && !m.open(&pace(spec, Some(was)))) {
        return Act::Await(forward::members(seen, member.lacks(version)));
    }
    if seen.release != spec.release(&was.from) || seen.choose(&pace(spec, Some(was))) != Choice::None {
        let message = format!("revision {} names release {}", seen.revision, seen.release);
        return Act::Retry { reason: "NotUp", message };
    }
    let serving = || seen.of(Role::Worker).filter(|m| m.serves() && !m.aside);
    let sum = |of: fn(&crate::rollout::MemberView) -> i64| serving().map(of).fold(0, i64::saturating_add);
    let event = UpgradeEvent::Proven {
        members: look::number(seen.members.len()),
        workers: look::number(serving().count()),
        capacity_bytes: sum(|m| m.capacity_bytes),
        cached_before_bytes: was.cached_bytes,
        cached_bytes: sum(|m| m.used_bytes),
    };
    record(event, format!("every member is of release {version}"))
}

impl Arm for Upgrade {
    type Event = UpgradeEvent;

    const KIND: &'static str = "upgrade";
    const STEPS: &'static [&'static str] =
        &["preflight", "backingUp", "revising", "fencing", "rolling", "verifying"];
    const EDGES: &'static [Edge] = &[
        edge("queued", "HoldGranted", "preflight"),
        edge("preflight", "Measured", "preflight"),
        edge("preflight", "BackupDue", "backingUp"),
        edge("backingUp", "BackupRequested", "backingUp"),
        edge("backingUp", "Saved", "preflight"),
        edge("backingUp", "AttemptFailed", "preflight"),
        edge("backingUp", "CancelRequested", "rollingBack"),
        edge("backingUp", "Aborted", "rollingBack"),
        edge("preflight", "Chosen", "revising"),
        edge("preflight", "Chosen", "rolling"),
        edge("preflight", "AttemptFailed", "preflight"),
        edge("preflight", "CancelRequested", "rollingBack"),
        edge("preflight", "Aborted", "rollingBack"),
        edge("revising", "Revised", "rolling"),
        edge("revising", "NotRevised", "fencing"),
        edge("revising", "AttemptFailed", "preflight"),
        edge("fencing", "AttemptFailed", "preflight"),
        edge("rolling", "Moved", "rolling"),
        edge("rolling", "StepPassed", "rolling"),
        edge("rolling", "Rolled", "verifying"),
        edge("rolling", "AttemptFailed", "rolling"),
        edge("verifying", "Proven", "succeeded"),
        edge("verifying", "AttemptFailed", "rolling"),
        edge("paused", "Resumed", "preflight"),
        edge("paused", "Resumed", "rolling"),
    ];
    const TAKEN_BACK: &'static [&'static str] = &["revising", "fencing", "rolling", "verifying"];

    fn first() -> Self {
        Self::Preflight { was: None, cached_bytes: None, saved: None }
    }

    fn name(&self) -> &'static str {
        match self {
            Self::Preflight { .. } => "preflight",
            Self::BackingUp { .. } => "backingUp",
            Self::Revising { .. } => "revising",
            Self::Fencing { .. } => "fencing",
            Self::Rolling { .. } => "rolling",
            Self::Verifying { .. } => "verifying",
        }
    }

    fn event_name(event: &UpgradeEvent) -> &'static str {
        event_name(event)
    }

    fn step(self, event: UpgradeEvent) -> Result<Next<Self>, Illegal> {
        let illegal = Illegal::new(self.name(), event_name(&event));
        self.next(&event).ok_or(illegal)
    }

    fn intended(self, effect: &Effect) -> Self {
        match (self, effect) {
            (Self::Rolling { was, moved, passed }, Effect::ReplaceMember { role, number, uid }) => {
                let hit = Some(Hit { role: *role, number: *number, uid: uid.clone() });
                Self::Rolling { was: Was { hit, ..was }, moved, passed }
            }
            (Self::BackingUp { was, cached_bytes, .. }, _) => {
                Self::BackingUp { was, cached_bytes, started: true, folder: None, id: None }
            }
            (other, _) => other,
        }
    }

    fn resumed(self) -> Self {
        self.retried()
    }

    fn retried(self) -> Self {
        match self {
            Self::Rolling { was, passed, .. } => rolling(was, passed),
            // Whoever was through has passed every halt.
            Self::Verifying { was } => rolling(was, MAX_HALTS),
            Self::Preflight { was, cached_bytes, saved } => Self::Preflight { was, cached_bytes, saved },
            Self::BackingUp { was, cached_bytes, .. } => {
                Self::Preflight { was, cached_bytes: Some(cached_bytes), saved: None }
            }
            Self::Revising { was } | Self::Fencing { was, .. } => {
                Self::Preflight { cached_bytes: Some(was.cached_bytes), was: Some(was), saved: None }
            }
        }
    }

    fn quiet(&self) -> bool {
        !matches!(self, Self::BackingUp { started: true, .. })
    }

    fn irreversible(&self, _intent: Option<&Intent>) -> bool {
        false
    }

    fn rolls_back(&self) -> bool {
        self.was().is_some()
    }

    /// Not while a worker is being drained, or a pod on its way: the engine forgets what it was told of it.
    fn pauses(&self, intent: Option<&Intent>) -> bool {
        match self {
            Self::Preflight { .. } | Self::BackingUp { .. } => true,
            Self::Rolling { .. } | Self::Verifying { .. } => intent.is_none(),
            Self::Revising { .. } | Self::Fencing { .. } => false,
        }
    }

    fn query(&self, asked: &OperationSpec, intent: Option<&Intent>) -> Option<Query> {
        let ArmSpec::Upgrade(spec) = &asked.operation else { return None };
        match self {
            Self::BackingUp { .. } => save::query(self, asked, intent),
            Self::Preflight { .. } | Self::Rolling { .. } | Self::Verifying { .. } => {
                Some(Query::Rollout { pace: pace(spec, self.was()) })
            }
            Self::Revising { .. } | Self::Fencing { .. } => None,
        }
    }

    fn looks_on(&self) -> bool {
        matches!(self, Self::Rolling { .. })
    }

    fn decide(&self, view: &View<'_>) -> Act<UpgradeEvent> {
        let Some(spec) = spec_of(view) else {
            let message = "the spec names no upgrade".into();
            return Act::Fail { reason: "InvalidSpec".into(), message };
        };
        if let Self::BackingUp { .. } = self {
            return save::save(self, view);
        }
        if let Some(Err(trouble)) = view.answer {
            return super::trouble(trouble);
        }
        match (self, view.answer.and_then(Result::ok)) {
            (Self::Revising { was }, _) => {
                let written = |_| (UpgradeEvent::Revised {}, "the revision names the release");
                let effect = Effect::SetRelease { back: false, at: was.at };
                look::writing(view, effect, written, |why| UpgradeEvent::NotRevised { why })
            }
            (Self::Fencing { why, .. }, _) => look::fencing("NotRevised", why, view),
            (Self::Preflight { was, cached_bytes, saved }, Some(Answer::Rollout(seen))) => {
                let due = save::due(spec, saved.as_ref());
                preflight::preflight(was.as_ref(), *cached_bytes, due, view, seen)
            }
            (Self::Rolling { was, moved, passed }, Some(Answer::Rollout(seen))) => {
                forward::roll(was, *moved, *passed, spec, view, seen)
            }
            (Self::Verifying { was }, Some(Answer::Rollout(seen))) => verify(was, spec, seen),
            (
                Self::Preflight { .. }
                | Self::BackingUp { .. }
                | Self::Rolling { .. }
                | Self::Verifying { .. },
                _,
            ) => super::unanswered(),
        }
    }

    fn halt_query(&self, spec: &OperationSpec) -> Option<Query> {
        save::halt_query(self, spec)
    }

    fn halt(&self, _answer: Option<&Answer>) -> Option<Effect> {
        None
    }

    fn unstoppable(&self, answer: Option<&Answer>) -> Option<Progress> {
        save::unstoppable(self, answer)
    }

    fn back_query(&self, intent: Option<&Intent>) -> Option<Query> {
        self.was().map(|was| Query::Rollout { pace: back::pace(was, intent) })
    }

    fn back(&self, view: &View<'_>) -> Back {
        match self.was() {
            Some(was) => back::back(was, view),
            None => Back::Done("nothing was done".into()),
        }
    }

    fn samples() -> Vec<Self> {
        let from = longest();
        let hit = Some(Hit { role: Role::JobWorker, number: 255, uid: "u".repeat(36) });
        let was = Was { from, at: i64::MAX, cached_bytes: i64::MAX, hit };
        vec![
            Self::first(),
            Self::Preflight { was: Some(was.clone()), cached_bytes: Some(i64::MAX), saved: None },
            Self::Preflight { was: None, cached_bytes: Some(i64::MAX), saved: Some(made_sample()) },
            backing_up(None, i64::MAX),
            Self::BackingUp {
                was: Some(was.clone()),
                cached_bytes: i64::MAX,
                started: true,
                folder: Some(made_sample().folder),
                id: Some("b".repeat(40)),
            },
            Self::Revising { was: Was { hit: None, ..was.clone() } },
            Self::Fencing { was: was.clone(), why: "w".repeat(120) },
            Self::Rolling { was: was.clone(), moved: i64::MAX, passed: MAX_HALTS },
            Self::Verifying { was },
        ]
    }

    fn event_samples() -> Vec<UpgradeEvent> {
        event::samples()
    }
}

#[cfg(test)]
#[path = "upgrade_tests.rs"]
mod tests;
