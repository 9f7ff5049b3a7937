//! The registry of operations: the one place that lists the arms.
//!
//! To add an operation: its file beside `load.rs`, a variant in [`State`], [`Event`] and [`crate::spec::ArmSpec`],
//! and its line in the `dispatch!` below. Everything that operations share stays as it is.

pub mod arm;
pub mod free;
pub mod load;
pub mod mount;
pub mod scale_in;
pub mod scale_out;
pub mod sync;
pub mod unmount;

use crate::decision::WaitingOn;
use crate::effect::{Effect, Outcome, Receipt, Trouble};
use crate::lifecycle::step::{self, Shared, Step};
use crate::machine::{Edge, Illegal, Phase};
use crate::observation::IntentView;
use crate::spec::ArmSpec;
use arm::{Act, Arm};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// The typed state of an operation: `status.state`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum State {
    /// A load.
    Load(Step<load::Load>),
    /// A free.
    Free(Step<free::Free>),
    /// A mount.
    Mount(Step<mount::Mount>),
    /// An unmount.
    Unmount(Step<unmount::Unmount>),
    /// A sync.
    Sync(Step<sync::Sync>),
    /// A scale-out.
    ScaleOut(Step<scale_out::ScaleOut>),
    /// A scale-in.
    ScaleIn(Step<scale_in::ScaleIn>),
}

/// A fact that moves an operation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// One that every operation knows.
    Shared(Shared),
    /// One of a load.
    Load(load::LoadEvent),
    /// One of a free.
    Free(free::FreeEvent),
    /// One of a mount.
    Mount(mount::MountEvent),
    /// One of an unmount.
    Unmount(unmount::UnmountEvent),
    /// One of a sync.
    Sync(sync::SyncEvent),
    /// One of a scale-out.
    ScaleOut(scale_out::ScaleOutEvent),
    /// One of a scale-in.
    ScaleIn(scale_in::ScaleInEvent),
}

/// Runs the same expression for whichever arm the state belongs to.
macro_rules! dispatch {
    ($state:expr, $step:ident => $body:expr) => {
        match $state {
            $crate::operation::State::Load($step) => $body,
            $crate::operation::State::Free($step) => $body,
            $crate::operation::State::Mount($step) => $body,
            $crate::operation::State::Unmount($step) => $body,
            $crate::operation::State::Sync($step) => $body,
            $crate::operation::State::ScaleOut($step) => $body,
            $crate::operation::State::ScaleIn($step) => $body,
        }
    };
}
pub(crate) use dispatch;

/// Lets the shared code wrap an arm's event without knowing the arm.
pub trait Known: Arm {
    /// The event as one of the closed set.
    fn event(event: Self::Event) -> Event;
    /// The state as one of the closed set.
    fn state(step: Step<Self>) -> State;
}

impl Known for load::Load {
    fn event(event: Self::Event) -> Event {
        Event::Load(event)
    }
    fn state(step: Step<Self>) -> State {
        State::Load(step)
    }
}

impl Known for free::Free {
    fn event(event: Self::Event) -> Event {
        Event::Free(event)
    }
    fn state(step: Step<Self>) -> State {
        State::Free(step)
    }
}

impl Known for mount::Mount {
    fn event(event: Self::Event) -> Event {
        Event::Mount(event)
    }
    fn state(step: Step<Self>) -> State {
        State::Mount(step)
    }
}

impl Known for unmount::Unmount {
    fn event(event: Self::Event) -> Event {
        Event::Unmount(event)
    }
    fn state(step: Step<Self>) -> State {
        State::Unmount(step)
    }
}

impl Known for sync::Sync {
    fn event(event: Self::Event) -> Event {
        Event::Sync(event)
    }
    fn state(step: Step<Self>) -> State {
        State::Sync(step)
    }
}

impl Known for scale_out::ScaleOut {
    fn event(event: Self::Event) -> Event {
        Event::ScaleOut(event)
    }
    fn state(step: Step<Self>) -> State {
        State::ScaleOut(step)
    }
}

impl Known for scale_in::ScaleIn {
    fn event(event: Self::Event) -> Event {
        Event::ScaleIn(event)
    }
    fn state(step: Step<Self>) -> State {
        State::ScaleIn(step)
    }
}

/// The table of one arm.
#[derive(Debug, Clone, Copy)]
pub struct ArmTable {
    /// Name of the arm.
    pub kind: &'static str,
    /// Its own steps.
    pub steps: &'static [&'static str],
    /// Its own edges.
    pub edges: &'static [Edge],
}

const fn table<A: Arm>() -> ArmTable {
    ArmTable { kind: A::KIND, steps: A::STEPS, edges: A::EDGES }
}

/// Every arm.
pub const ARMS: &[ArmTable] = &[
    table::<load::Load>(),
    table::<free::Free>(),
    table::<mount::Mount>(),
    table::<unmount::Unmount>(),
    table::<sync::Sync>(),
    table::<scale_out::ScaleOut>(),
    table::<scale_in::ScaleIn>(),
];

impl State {
    /// What an operation with this arm is born as.
    #[must_use]
    pub const fn born(arm: &ArmSpec, after: bool, approval: bool) -> Self {
        match arm {
            ArmSpec::Load(_) => Self::Load(Step::born(after, approval)),
            ArmSpec::Free(_) => Self::Free(Step::born(after, approval)),
            ArmSpec::Mount(_) => Self::Mount(Step::born(after, approval)),
            ArmSpec::Unmount(_) => Self::Unmount(Step::born(after, approval)),
            ArmSpec::Sync(_) => Self::Sync(Step::born(after, approval)),
            ArmSpec::ScaleOut(_) => Self::ScaleOut(Step::born(after, approval)),
            ArmSpec::ScaleIn(_) => Self::ScaleIn(Step::born(after, approval)),
        }
    }

    /// Name of the arm: `status.kind`.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Load(_) => load::Load::KIND,
            Self::Free(_) => free::Free::KIND,
            Self::Mount(_) => mount::Mount::KIND,
            Self::Unmount(_) => unmount::Unmount::KIND,
            Self::Sync(_) => sync::Sync::KIND,
            Self::ScaleOut(_) => scale_out::ScaleOut::KIND,
            Self::ScaleIn(_) => scale_in::ScaleIn::KIND,
        }
    }

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

    /// The law.
    ///
    /// # Errors
    /// [`Illegal`] when the state does not know the event.
    pub fn apply(self, event: &Event, busy: bool) -> Result<Self, Illegal> {
        match (self, event) {
            (Self::Load(s), Event::Shared(e)) => s.on_shared(e, busy).map(Self::Load),
            (Self::Free(s), Event::Shared(e)) => s.on_shared(e, busy).map(Self::Free),
            (Self::Mount(s), Event::Shared(e)) => s.on_shared(e, busy).map(Self::Mount),
            (Self::Unmount(s), Event::Shared(e)) => s.on_shared(e, busy).map(Self::Unmount),
            (Self::Sync(s), Event::Shared(e)) => s.on_shared(e, busy).map(Self::Sync),
            (Self::ScaleOut(s), Event::Shared(e)) => s.on_shared(e, busy).map(Self::ScaleOut),
            (Self::ScaleIn(s), Event::Shared(e)) => s.on_shared(e, busy).map(Self::ScaleIn),
            (Self::Load(s), Event::Load(e)) => s.on_arm(e.clone()).map(Self::Load),
            (Self::Free(s), Event::Free(e)) => s.on_arm(e.clone()).map(Self::Free),
            (Self::Mount(s), Event::Mount(e)) => s.on_arm(e.clone()).map(Self::Mount),
            (Self::Unmount(s), Event::Unmount(e)) => s.on_arm(e.clone()).map(Self::Unmount),
            (Self::Sync(s), Event::Sync(e)) => s.on_arm(e.clone()).map(Self::Sync),
            (Self::ScaleOut(s), Event::ScaleOut(e)) => s.on_arm(e.clone()).map(Self::ScaleOut),
            (Self::ScaleIn(s), Event::ScaleIn(e)) => s.on_arm(e.clone()).map(Self::ScaleIn),
            (s, e) => Err(Illegal::because(s.step(), e.name(), "the event belongs to another operation")),
        }
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
            if let Step::Aborting { why, .. } | Step::Stuck { why, .. } | Step::Failed { why } = step {
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
                | Step::Cancelled {} => false,
                Step::Pausing { .. }
                | Step::Paused { .. }
                | Step::Cancelling { .. }
                | Step::Aborting { .. }
                | Step::Stuck { .. }
                | Step::Arm(_) => true,
            }
        }
        dispatch!(self, s => go(s))
    }
}

impl Event {
    /// The event's name, as it is stored.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Shared(e) => e.name(),
            Self::Load(e) => load::event_name(e),
            Self::Free(e) => free::event_name(e),
            Self::Mount(e) => mount::event_name(e),
            Self::Unmount(e) => unmount::event_name(e),
            Self::Sync(e) => sync::event_name(e),
            Self::ScaleOut(e) => scale_out::event_name(e),
            Self::ScaleIn(e) => scale_in::event_name(e),
        }
    }

    /// The payload: what the entry stores besides the name.
    ///
    /// # Errors
    /// When the payload does not serialise, which no event's does.
    pub fn data(&self) -> Result<Value, serde_json::Error> {
        let tagged = match self {
            Self::Shared(e) => serde_json::to_value(e),
            Self::Load(e) => serde_json::to_value(e),
            Self::Free(e) => serde_json::to_value(e),
            Self::Mount(e) => serde_json::to_value(e),
            Self::Unmount(e) => serde_json::to_value(e),
            Self::Sync(e) => serde_json::to_value(e),
            Self::ScaleOut(e) => serde_json::to_value(e),
            Self::ScaleIn(e) => serde_json::to_value(e),
        }?;
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
        match kind {
            "load" => serde_json::from_value(tagged()).map(Self::Load),
            "free" => serde_json::from_value(tagged()).map(Self::Free),
            "mount" => serde_json::from_value(tagged()).map(Self::Mount),
            "unmount" => serde_json::from_value(tagged()).map(Self::Unmount),
            "sync" => serde_json::from_value(tagged()).map(Self::Sync),
            "scaleOut" => serde_json::from_value(tagged()).map(Self::ScaleOut),
            "scaleIn" => serde_json::from_value(tagged()).map(Self::ScaleIn),
            other => Err(serde::de::Error::custom(format!("no operation is called {other:?}"))),
        }
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
