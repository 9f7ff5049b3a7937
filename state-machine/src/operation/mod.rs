//! The registry of operations: the one place that lists the arms.
//!
//! To add an operation: its file beside `load.rs`, a variant in [`crate::spec::ArmSpec`], and its line in the `arms!` below.
//! Everything that operations share stays as it is.

pub mod arm;
pub mod backup;
pub mod decommission;
pub mod free;
pub mod load;
pub mod mount;
pub mod recommission;
pub mod scale_in;
pub mod scale_out;
pub mod sync;
pub mod take_out;
pub mod unmount;
pub mod upgrade;

use crate::decision::WaitingOn;
use crate::effect::{Effect, Outcome, Receipt, Trouble};
use crate::lifecycle::step::{self, Shared, Step};
use crate::machine::{Edge, Illegal, Phase};
use crate::observation::IntentView;
use crate::spec::ArmSpec;
use arm::{Act, Arm};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// Makes the closed sets from the list of arms: [`State`], [`Event`], and what runs the same code for whichever arm.
macro_rules! arms {
    ($($(#[$doc:meta])* $name:ident($arm:ty, $event:ty),)*) => {
        /// The typed state of an operation: `status.state`.
        #[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
        #[serde(rename_all = "camelCase")]
        pub enum State {
            $($(#[$doc])* $name(Step<$arm>),)*
        }

        /// A fact that moves an operation.
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub enum Event {
            /// One that every operation knows.
            Shared(Shared),
            $($(#[$doc])* $name($event),)*
        }

        $(impl Known for $arm {
            fn event(event: Self::Event) -> Event {
                Event::$name(event)
            }
            fn state(step: Step<Self>) -> State {
                State::$name(step)
            }
        })*

        /// Every arm.
        pub const ARMS: &[ArmTable] = &[$(table::<$arm>(),)*];

        impl State {
            /// What an operation with this arm is born as.
            #[must_use]
            pub const fn born(arm: &ArmSpec, after: bool, approval: bool) -> Self {
                match arm {
                    $(ArmSpec::$name(_) => Self::$name(Step::born(after, approval)),)*
                }
            }

            /// Name of the arm: `status.kind`.
            #[must_use]
            pub const fn kind(&self) -> &'static str {
                match self {
                    $(Self::$name(_) => <$arm>::KIND,)*
                }
            }

            /// The law.
            ///
            /// # Errors
            /// [`Illegal`] when the state does not know the event.
            pub fn apply(self, event: &Event, busy: bool) -> Result<Self, Illegal> {
                match (self, event) {
                    $((Self::$name(s), Event::Shared(e)) => s.on_shared(e, busy).map(Self::$name),)*
                    $((Self::$name(s), Event::$name(e)) => s.on_arm(e.clone()).map(Self::$name),)*
                    (s, e) => {
                        let why = "the event belongs to another operation";
                        Err(Illegal::because(s.step(), e.name(), why))
                    }
                }
            }
        }

        impl Event {
            /// The event's name, as it is stored.
            #[must_use]
            pub fn name(&self) -> &'static str {
                match self {
                    Self::Shared(e) => e.name(),
                    $(Self::$name(e) => <$arm>::event_name(e),)*
                }
            }

            /// With its name as a tag.
            fn tagged(&self) -> Result<Value, serde_json::Error> {
                match self {
                    Self::Shared(e) => serde_json::to_value(e),
                    $(Self::$name(e) => serde_json::to_value(e),)*
                }
            }

            /// Whether it is one that every operation knows.
            #[must_use]
            pub const fn is_shared(&self) -> bool {
                match self {
                    Self::Shared(_) => true,
                    $(Self::$name(_) => false,)*
                }
            }

            fn untagged(kind: &str, tagged: Value) -> Result<Self, serde_json::Error> {
                $(if kind == <$arm>::KIND {
                    return serde_json::from_value(tagged).map(Self::$name);
                })*
                Err(serde::de::Error::custom(format!("no operation is called {kind:?}")))
            }
        }

        /// Runs the same expression for whichever arm the state belongs to.
        macro_rules! dispatch {
            ($state:expr, $step:ident => $body:expr) => {
                match $state {
                    $($crate::operation::State::$name($step) => $body,)*
                }
            };
        }
    };
}

/// Lets the shared code wrap an arm's event without knowing the arm.
pub trait Known: Arm {
    /// The event as one of the closed set.
    fn event(event: Self::Event) -> Event;
    /// The state as one of the closed set.
    fn state(step: Step<Self>) -> State;
}

arms! {
    /// A load.
    Load(load::Load, load::LoadEvent),
    /// A free.
    Free(free::Free, free::FreeEvent),
    /// A mount.
    Mount(mount::Mount, mount::MountEvent),
    /// An unmount.
    Unmount(unmount::Unmount, unmount::UnmountEvent),
    /// A sync.
    Sync(sync::Sync, sync::SyncEvent),
    /// A scale-out.
    ScaleOut(scale_out::ScaleOut, scale_out::ScaleOutEvent),
    /// A scale-in.
    ScaleIn(scale_in::ScaleIn, scale_in::ScaleInEvent),
    /// A decommission.
    Decommission(decommission::Decommission, decommission::DecommissionEvent),
    /// A recommission.
    Recommission(recommission::Recommission, recommission::RecommissionEvent),
    /// An upgrade.
    Upgrade(upgrade::Upgrade, upgrade::UpgradeEvent),
    /// A backup.
    Backup(backup::Backup, backup::BackupEvent),
}
pub(crate) use dispatch;

/// The table of one arm.
#[derive(Debug, Clone, Copy)]
pub struct ArmTable {
    /// Name of the arm.
    pub kind: &'static str,
    /// Its own steps.
    pub steps: &'static [&'static str],
    /// Its own edges.
    pub edges: &'static [Edge],
    /// Steps that are always taken back; none where nothing ever is.
    pub taken_back: &'static [&'static str],
}

const fn table<A: Arm>() -> ArmTable {
    ArmTable { kind: A::KIND, steps: A::STEPS, edges: A::EDGES, taken_back: A::TAKEN_BACK }
}

impl State {
    /// Name of the typed state: `status.step`.
    #[must_use]
    pub fn step(&self) -> &'static str {
        dispatch!(self, s => s.name())
    }

    /// The coarse public word: `status.phase`.
    #[must_use]
    pub fn phase(&self) -> Phase {
        dispatch!(self, s => s.phase())
    }

    /// The state after an intent for `effect` was recorded in it.
    #[must_use]
    pub fn intended(self, effect: &Effect) -> Self {
        fn go<A: Known>(step: Step<A>, effect: &Effect) -> State {
            A::state(if let Step::Arm(a) = step { Step::Arm(a.intended(effect)) } else { step })
        }
        dispatch!(self, s => go(s, effect))
    }

    /// Why the operation failed or is stuck.
    #[must_use]
    pub const fn failure(&self) -> Option<&step::Failure> {
        const fn go<A>(step: &Step<A>) -> Option<&step::Failure> {
            if let Step::Aborting { why, .. }
            | Step::RollingBack { why: Some(why), .. }
            | Step::Stuck { why, .. }
            | Step::Failed { why }
            | Step::RolledBack { why } = step
            {
                Some(why)
            } else {
                None
            }
        }
        dispatch!(self, s => go(s))
    }

    /// Whether the operation holds the lock of its engine in this state.
    #[must_use]
    pub fn holds(&self) -> bool {
        const fn go<A>(step: &Step<A>) -> bool {
            match step {
                Step::Pending {}
                | Step::AwaitingApproval {}
                | Step::Queued {}
                | Step::Succeeded {}
                | Step::Failed { .. }
                | Step::RolledBack { .. }
                | Step::Cancelled {} => false,
                Step::Pausing { .. }
                | Step::Paused { .. }
                | Step::Cancelling { .. }
                | Step::Aborting { .. }
                | Step::RollingBack { .. }
                | Step::Stuck { .. }
                | Step::Arm(_) => true,
            }
        }
        dispatch!(self, s => go(s))
    }
}

impl Event {
    /// The payload: what the entry stores besides the name.
    ///
    /// # Errors
    /// When the payload does not serialise, which no event's does.
    pub fn data(&self) -> Result<Value, serde_json::Error> {
        let tagged = self.tagged()?;
        let Value::Object(map) = tagged else { return Ok(Value::Null) };
        Ok(map.into_iter().next().map_or(Value::Null, |(_, data)| data))
    }

    /// Reads an event of an operation of `kind` back.
    ///
    /// # Errors
    /// When neither the shared events nor the arm's know it.
    pub fn parse(kind: &str, name: &str, data: &Value) -> Result<Self, serde_json::Error> {
        let tagged = || Value::Object(Map::from_iter([(name.to_owned(), data.clone())]));
        if crate::legality::SHARED_EVENTS.contains(&name) {
            return serde_json::from_value(tagged()).map(Self::Shared);
        }
        Self::untagged(kind, tagged())
    }
}

/// Condition reason: the cache alone has files that would be lost.
const NOT_PERSISTED: &str = "NotPersisted";

/// What every arm does about an engine that gives no answer.
fn trouble<E>(trouble: &Trouble) -> Act<E> {
    if trouble.kind.passes() {
        return Act::Await(WaitingOn::Engine {
            reason: trouble.kind.reason(),
            message: trouble.message.clone(),
        });
    }
    Act::Fail { reason: trouble.kind.reason().into(), message: trouble.message.clone() }
}

/// What every arm does while its question has no answer yet.
fn unanswered<E>() -> Act<E> {
    Act::Await(WaitingOn::Engine {
        reason: "EngineNotAsked",
        message: "the engine has not been asked yet".into(),
    })
}

/// Work that is lost within this time, in milliseconds, counts as a failed attempt; later it is no failure of ours.
const AT_ONCE_MS: i64 = 10_000;

/// Begins a piece of work anew that the engine lost. An engine that loses it at once fails the attempt, so that the
/// journal does not grow without time passing and without end.
fn again<E>(view: &arm::View<'_>, effect: Effect, why: &str) -> Act<E> {
    if view.since_entry_ms < AT_ONCE_MS {
        return Act::Retry { reason: "WorkLost", message: format!("{why} at once") };
    }
    Act::Intend { effect, because: why.into() }
}

/// How the call of a step stands.
enum Called<'a> {
    /// The engine accepted it.
    Accepted(&'a Receipt),
    /// The engine said no, and nothing changed.
    Refused {
        /// Condition reason.
        reason: &'a str,
        /// Sentence.
        message: &'a str,
        /// Another attempt can help.
        retryable: bool,
    },
    /// It was made, and may still take effect.
    Landing(WaitingOn),
    /// It was not made, or whatever was made has landed or never will: it is to be made.
    Open,
}

/// The outcome of the intent's effect comes first, then the wait until nothing can land any more.
fn called<'a>(view: &arm::View<'a>) -> Called<'a> {
    match (view.outcome, view.intent_view) {
        (Some(Outcome::Done(receipt)), _) => Called::Accepted(receipt),
        (Some(Outcome::Refused { reason, message, retryable }), _) => {
            Called::Refused { reason, message, retryable: *retryable }
        }
        (Some(Outcome::Unknown { .. }) | None, IntentView::Landing { remaining_ms }) => {
            Called::Landing(WaitingOn::Settling { remaining_ms })
        }
        (
            Some(Outcome::Unknown { .. }) | None,
            IntentView::None | IntentView::Sendable | IntentView::Expired,
        ) => Called::Open,
    }
}

/// What every arm does about a refusal.
fn refused<E>(reason: &str, message: &str, retryable: bool) -> Act<E> {
    if retryable {
        return Act::Retry { reason: "EngineRefused", message: message.into() };
    }
    Act::Fail { reason: reason.into(), message: message.into() }
}
