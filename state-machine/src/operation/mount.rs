//! `mount`: make data of a store appear in the cache's namespace, or change how it does, and prove it.
//!
//! ```text
//! preflight -> mounting  -> verifying -> succeeded
//!   ^   |'---> updating  ------^  ^
//!   |   |'------------------------'  it is as wanted already
//!   |   '----> unmounting --.  only to replace
//!   '-----------------------'
//! ```
//!
//! Lock: shared, scope = the path. Effects: class (d) on Alluxio, set-to-value against the live table; a changed option
//! is an update, never a remount, so that cached data stays. Credentials are read from their Secrets when the call is
//! made, and stand nowhere else: whether a mount has them cannot be seen, so an operation that names any sets them once.
//! Undo: an `unmount`. Irreversible point: the first intent; a later cancel is noted. Data safety: what is replaced is
//! unmounted only when the store has everything of it. Progress: none, each call takes seconds.

use super::Called;
use super::arm::{Act, Arm, Next, View};
use crate::decision::WaitingOn;
use crate::effect::{Answer, Effect, Intent, Query};
use crate::machine::{Edge, Illegal, edge};
use crate::mounts::{MountTable, Standing};
use crate::spec::{ArmSpec, MountSpec, OperationSpec};
use serde::{Deserialize, Serialize};

/// The steps of a mount.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Mount {
    /// Holds what is wanted against the live table.
    Preflight {},
    /// Removes what is mounted there from another address.
    Unmounting {
        /// An intent for it was recorded.
        started: bool,
    },
    /// Mounts.
    Mounting {
        /// An intent for it was recorded.
        started: bool,
    },
    /// Gives a mount that is there its settings.
    Updating {
        /// An intent for it was recorded.
        started: bool,
    },
    /// Reads the table back.
    Verifying {},
}

/// What has to be done to a mount.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Due {
    /// Nothing: it looks as wanted.
    Nothing,
    /// Remove what is there.
    Unmount,
    /// Mount.
    Mount,
    /// Set its settings.
    Update,
}

/// The facts that move a mount.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all_fields = "camelCase")]
pub enum MountEvent {
    /// The table was looked at, and this is due.
    Compared {
        /// What.
        due: Due,
    },
    /// The engine accepted.
    Accepted {},
    /// The table shows what is wanted.
    AsWanted {},
}

pub(super) const fn event_name(event: &MountEvent) -> &'static str {
    match event {
        MountEvent::Compared { .. } => "Compared",
        MountEvent::Accepted {} => "Accepted",
        MountEvent::AsWanted {} => "AsWanted",
    }
}

impl Arm for Mount {
    type Event = MountEvent;

    const KIND: &'static str = "mount";
    const STEPS: &'static [&'static str] = &["preflight", "unmounting", "mounting", "updating", "verifying"];
    const EDGES: &'static [Edge] = &[
        edge("queued", "HoldGranted", "preflight"),
        edge("preflight", "Compared", "unmounting"),
        edge("preflight", "Compared", "mounting"),
        edge("preflight", "Compared", "updating"),
        edge("preflight", "Compared", "verifying"),
        edge("preflight", "AttemptFailed", "preflight"),
        edge("unmounting", "Accepted", "preflight"),
        edge("unmounting", "AttemptFailed", "preflight"),
        edge("mounting", "Accepted", "verifying"),
        edge("mounting", "AttemptFailed", "preflight"),
        edge("updating", "Accepted", "verifying"),
        edge("updating", "AttemptFailed", "preflight"),
        edge("verifying", "AsWanted", "succeeded"),
        edge("verifying", "AttemptFailed", "preflight"),
        edge("paused", "Resumed", "preflight"),
        edge("paused", "Resumed", "unmounting"),
        edge("paused", "Resumed", "mounting"),
        edge("paused", "Resumed", "updating"),
        edge("paused", "Resumed", "verifying"),
    ];

    fn first() -> Self {
        Self::Preflight {}
    }

    fn name(&self) -> &'static str {
        match self {
            Self::Preflight {} => "preflight",
            Self::Unmounting { .. } => "unmounting",
            Self::Mounting { .. } => "mounting",
            Self::Updating { .. } => "updating",
            Self::Verifying {} => "verifying",
        }
    }

    fn event_name(event: &MountEvent) -> &'static str {
        event_name(event)
    }

    fn step(self, event: MountEvent) -> Result<Next<Self>, Illegal> {
        let illegal = Illegal::new(self.name(), event_name(&event));
        match self {
            Self::Preflight {} => match event {
                MountEvent::Compared { due: Due::Unmount } => {
                    Ok(Next::Step(Self::Unmounting { started: false }))
                }
                MountEvent::Compared { due: Due::Mount } => Ok(Next::Step(Self::Mounting { started: false })),
                MountEvent::Compared { due: Due::Update } => {
                    Ok(Next::Step(Self::Updating { started: false }))
                }
                MountEvent::Compared { due: Due::Nothing } => Ok(Next::Step(Self::Verifying {})),
                MountEvent::AsWanted {} | MountEvent::Accepted {} => Err(illegal),
            },
            Self::Unmounting { .. } => match event {
                MountEvent::Accepted {} => Ok(Next::Step(Self::Preflight {})),
                MountEvent::Compared { .. } | MountEvent::AsWanted {} => Err(illegal),
            },
            Self::Mounting { .. } | Self::Updating { .. } => match event {
                MountEvent::Accepted {} => Ok(Next::Step(Self::Verifying {})),
                MountEvent::Compared { .. } | MountEvent::AsWanted {} => Err(illegal),
            },
            Self::Verifying {} => match event {
                MountEvent::AsWanted {} => Ok(Next::Succeeded),
                MountEvent::Compared { .. } | MountEvent::Accepted {} => Err(illegal),
            },
        }
    }

    fn intended(self, _effect: &Effect) -> Self {
        match self {
            Self::Unmounting { .. } => Self::Unmounting { started: true },
            Self::Mounting { .. } => Self::Mounting { started: true },
            Self::Updating { .. } => Self::Updating { started: true },
            other @ (Self::Preflight {} | Self::Verifying {}) => other,
        }
    }

    fn resumed(self) -> Self {
        self
    }

    fn retried(self) -> Self {
        Self::Preflight {}
    }

    fn quiet(&self) -> bool {
        // Nothing runs in the engine by itself; what may still land is the intent, which is judged apart.
        true
    }

    fn irreversible(&self, intent: Option<&Intent>) -> bool {
        match self {
            Self::Preflight {} => intent.is_some(),
            Self::Unmounting { started } | Self::Mounting { started } | Self::Updating { started } => {
                *started
            }
            Self::Verifying {} => true,
        }
    }

    fn query(&self, spec: &OperationSpec, _intent: Option<&Intent>) -> Option<Query> {
        match self {
            Self::Preflight {} => {
                let replaces = matches!(&spec.operation, ArmSpec::Mount(m) if m.replace);
                let count = spec.operation.paths().first().filter(|_| replaces).cloned();
                Some(Query::Mounts { count, secrets: true })
            }
            Self::Verifying {} => Some(Query::Mounts { count: None, secrets: false }),
            Self::Unmounting { .. } | Self::Mounting { .. } | Self::Updating { .. } => None,
        }
    }

    fn decide(&self, view: &View<'_>) -> Act<MountEvent> {
        if let Some(Err(trouble)) = view.answer {
            return super::trouble(trouble);
        }
        let ArmSpec::Mount(wanted) = &view.spec.operation else {
            return Act::Fail { reason: "InvalidSpec".into(), message: "the spec names no mount".into() };
        };
        let table = match view.answer.and_then(Result::ok) {
            Some(Answer::Mounts(table)) => Some(table),
            Some(_) | None => None,
        };
        match self {
            Self::Preflight {} => table.map_or_else(super::unanswered, |t| preflight(t, wanted, view.spec)),
            Self::Unmounting { .. } => calling(Effect::Unmount { path: 0 }, view),
            Self::Mounting { .. } => calling(Effect::Mount { path: 0 }, view),
            Self::Updating { .. } => calling(Effect::UpdateMount { path: 0 }, view),
            Self::Verifying {} => table.map_or_else(super::unanswered, |t| verify(t, wanted)),
        }
    }

    fn halt_query(&self, _spec: &OperationSpec) -> Option<Query> {
        None
    }

    fn halt(&self, _answer: Option<&Answer>) -> Option<Effect> {
        None
    }

    fn samples() -> Vec<Self> {
        vec![
            Self::Preflight {},
            Self::Unmounting { started: false },
            Self::Mounting { started: false },
            Self::Mounting { started: true },
            Self::Updating { started: true },
            Self::Verifying {},
        ]
    }

    fn event_samples() -> Vec<MountEvent> {
        vec![
            MountEvent::Compared { due: Due::Nothing },
            MountEvent::Compared { due: Due::Unmount },
            MountEvent::Compared { due: Due::Mount },
            MountEvent::Compared { due: Due::Update },
            MountEvent::Accepted {},
            MountEvent::AsWanted {},
        ]
    }
}

fn due(due: Due, effect: Effect, because: String) -> Act<MountEvent> {
    Act::Record { event: MountEvent::Compared { due }, because, intend: Some(effect) }
}

fn preflight(table: &MountTable, wanted: &MountSpec, spec: &OperationSpec) -> Act<MountEvent> {
    match table.standing(wanted) {
        Standing::Absent => due(Due::Mount, Effect::Mount { path: 0 }, "nothing is mounted there".into()),
        Standing::AsWanted if wanted.secrets().next().is_none() => Act::Record {
            event: MountEvent::Compared { due: Due::Nothing },
            because: "it is mounted like this already".into(),
            intend: None,
        },
        Standing::AsWanted => due(
            Due::Update,
            Effect::UpdateMount { path: 0 },
            "whether it has these credentials cannot be seen".into(),
        ),
        Standing::Differs { what } => {
            due(Due::Update, Effect::UpdateMount { path: 0 }, format!("differs in {what}"))
        }
        Standing::Elsewhere { uri } if wanted.replace => replace(table, spec, &uri),
        Standing::Elsewhere { uri } => Act::Fail {
            reason: "MountedElsewhere".into(),
            message: format!("{uri} is mounted at {}; unmount it, or set replace", wanted.path),
        },
        Standing::Impossible { reason, message } => Act::Fail { reason: reason.into(), message },
    }
}

/// What is there makes room, unless something would be lost by it.
fn replace(table: &MountTable, spec: &OperationSpec, uri: &str) -> Act<MountEvent> {
    let path = spec.operation.paths().first().map_or("", String::as_str);
    if let Err(no) = table.next_to_unmount(spec) {
        return Act::Fail { reason: no.reason.into(), message: no.message };
    }
    // It would be a pity to find out afterwards.
    if let ArmSpec::Mount(wanted) = &spec.operation
        && let Some(Standing::Impossible { reason, message }) = table.in_the_way(wanted)
    {
        return Act::Fail { reason: reason.into(), message };
    }
    match (table.unpersisted_problem(path), &spec.control.force) {
        (Some(message), None) => Act::Await(WaitingOn::Engine { reason: super::NOT_PERSISTED, message }),
        (Some(_), Some(force)) => due(
            Due::Unmount,
            Effect::Unmount { path: 0 },
            format!(
                "{} files are lost, as {} accepts",
                table.unpersisted,
                crate::lifecycle::cut(&force.by, 60)
            ),
        ),
        (None, _) => {
            let uri = crate::lifecycle::cut(uri, 80);
            due(Due::Unmount, Effect::Unmount { path: 0 }, format!("{uri} makes room"))
        }
    }
}

/// One call, until the engine has accepted it.
fn calling(effect: Effect, view: &View<'_>) -> Act<MountEvent> {
    match super::called(view) {
        Called::Accepted(receipt) => {
            let because = if receipt.attached { "it was so already" } else { "accepted" };
            Act::Record { event: MountEvent::Accepted {}, because: because.into(), intend: None }
        }
        Called::Refused { reason, message, retryable } => super::refused(reason, message, retryable),
        Called::Landing(waiting) => Act::Await(waiting),
        Called::Open => Act::Intend { effect, because: "not accepted yet".into() },
    }
}

fn verify(table: &MountTable, wanted: &MountSpec) -> Act<MountEvent> {
    let shown = match table.standing(wanted) {
        Standing::AsWanted => {
            return Act::Record {
                event: MountEvent::AsWanted {},
                because: "the table shows it".into(),
                intend: None,
            };
        }
        Standing::Absent => "nothing is mounted there".to_owned(),
        Standing::Differs { what } => format!("it differs in {what}"),
        Standing::Elsewhere { uri } => format!("it shows {uri}"),
        Standing::Impossible { message, .. } => message,
    };
    Act::Retry {
        reason: "NotAsWanted",
        message: format!("the cache accepted, but its mount table disagrees: {shown}"),
    }
}

#[cfg(test)]
#[path = "mount_tests.rs"]
mod tests;
