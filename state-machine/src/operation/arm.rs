//! What one operation has to bring along: its own steps, its table, and its part of the decision. Everything that
//! operations share (queueing, pausing, cancelling, deadlines, retries) lives in [`crate::lifecycle`].

use crate::decision::{Progress, WaitingOn};
use crate::effect::{Answer, Effect, Intent, Outcome, Query, Trouble};
use crate::machine::{Edge, Illegal};
use crate::observation::IntentView;
use crate::spec::OperationSpec;

/// Where an arm's event leads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next<A> {
    /// Another of the arm's steps (or the same).
    Step(A),
    /// The end that was wanted, read back from the engine.
    Succeeded,
}

/// What the arm sees of one observation.
#[derive(Debug, Clone, Copy)]
pub struct View<'a> {
    /// What was asked for.
    pub spec: &'a OperationSpec,
    /// The persisted intent.
    pub intent: Option<&'a Intent>,
    /// How that intent stands.
    pub intent_view: IntentView,
    /// Outcome of that intent's effect, when this process has just tried it.
    pub outcome: Option<&'a Outcome>,
    /// The engine's answer to [`Arm::query`].
    pub answer: Option<Result<&'a Answer, &'a Trouble>>,
    /// Milliseconds since the last entry.
    pub since_entry_ms: i64,
    /// The same, as far as this process has seen it stand: no clock of another one is believed.
    pub watched_ms: i64,
}

/// The arm's part of a decision.
#[derive(Debug, Clone, PartialEq)]
pub enum Act<E> {
    /// Something happened; the next effect may share the write.
    Record {
        /// The event.
        event: E,
        /// The facts that decided.
        because: String,
        /// The effect that the next step begins with.
        intend: Option<Effect>,
    },
    /// Try this effect (anew).
    Intend {
        /// The effect.
        effect: Effect,
        /// The facts that decided.
        because: String,
    },
    /// Not yet.
    Await(WaitingOn),
    /// This attempt failed; another may follow, by the retry policy.
    Retry {
        /// Condition reason.
        reason: &'static str,
        /// Sentence for the user.
        message: String,
    },
    /// No attempt can succeed.
    Fail {
        /// Condition reason.
        reason: String,
        /// Sentence for the user.
        message: String,
    },
}

impl<E> Act<E> {
    /// The same with another kind of event.
    pub fn map<F>(self, wrap: impl FnOnce(E) -> F) -> Act<F> {
        match self {
            Self::Record { event, because, intend } => Act::Record { event: wrap(event), because, intend },
            Self::Intend { effect, because } => Act::Intend { effect, because },
            Self::Await(waiting) => Act::Await(waiting),
            Self::Retry { reason, message } => Act::Retry { reason, message },
            Self::Fail { reason, message } => Act::Fail { reason, message },
        }
    }

    /// The same, and the step after such an event begins with this effect.
    #[must_use]
    pub fn beginning(mut self, effect: Effect, after: impl FnOnce(&E) -> bool) -> Self {
        if let Self::Record { event, intend, .. } = &mut self
            && after(event)
        {
            *intend = Some(effect);
        }
        self
    }
}

/// What there is to see while the engine is brought to rest.
#[derive(Debug, Clone, Copy)]
pub struct Unrest<'a> {
    /// The engine's answer to [`Arm::halt_query`].
    pub answer: Option<&'a Answer>,
    /// The effect that is next.
    pub next: Option<&'a Effect>,
    /// The effect of the persisted intent.
    pub last: Option<&'a Effect>,
    /// Milliseconds that this process has seen the last entry stand.
    pub watched_ms: i64,
}

/// The next thing on the way back.
#[derive(Debug, Clone, PartialEq)]
pub enum Back {
    /// Try this effect (anew).
    Do {
        /// The effect.
        effect: Effect,
        /// The facts that decided.
        because: String,
    },
    /// Not yet.
    Wait(WaitingOn),
    /// All is as it was.
    Done(String),
}

/// One operation.
pub trait Arm: Clone + PartialEq + std::fmt::Debug + serde::Serialize + serde::de::DeserializeOwned {
    /// Facts that move the arm's own steps.
    type Event: Clone + PartialEq + std::fmt::Debug + serde::Serialize + serde::de::DeserializeOwned;

    /// Name of the arm, as in `spec.operation.<arm>`.
    const KIND: &'static str;
    /// Names of the arm's own steps.
    const STEPS: &'static [&'static str];
    /// The legal moves of the arm's own events, of `HoldGranted`, `Resumed` and `AttemptFailed` included.
    const EDGES: &'static [Edge];

    /// The step that follows the grant of the lock.
    fn first() -> Self;
    /// Name of this step.
    fn name(&self) -> &'static str;
    /// Name of an event.
    fn event_name(event: &Self::Event) -> &'static str;
    /// The law for the arm's own events.
    ///
    /// # Errors
    /// [`Illegal`] when the step does not know the event.
    fn step(self, event: Self::Event) -> Result<Next<Self>, Illegal>;
    /// The step after an intent for `effect` was recorded in it.
    #[must_use]
    fn intended(self, effect: &Effect) -> Self;
    /// The step to go on with after a pause.
    #[must_use]
    fn resumed(self) -> Self;
    /// The step to go on with after a failed attempt.
    #[must_use]
    fn retried(self) -> Self;
    /// Whether nothing that this operation started can be at work in the engine.
    fn quiet(&self) -> bool;
    /// Whether the operation cannot be taken back any more and therefore runs to its end.
    fn irreversible(&self, intent: Option<&Intent>) -> bool;
    /// What the decision in this step has to know.
    fn query(&self, spec: &OperationSpec, intent: Option<&Intent>) -> Option<Query>;
    /// What to do in this step.
    fn decide(&self, view: &View<'_>) -> Act<Self::Event>;
    /// Whether this step also wants its answer right after an effect was answered: what comes next is for the look to say.
    fn looks_on(&self) -> bool {
        false
    }
    /// What has to be known while the engine is brought to rest.
    fn halt_query(&self, spec: &OperationSpec) -> Option<Query>;
    /// The effect that brings the engine to rest; `None` when it is.
    fn halt(&self, answer: Option<&Answer>) -> Option<Effect>;
    /// What has to come about by itself before the next effect may be tried or, where nothing is left to be done, until the
    /// engine is at rest.
    fn unrest(&self, _view: &Unrest<'_>) -> Option<String> {
        None
    }
    /// Work of this operation that the engine goes on with whatever is said to it: it is waited for as long as it takes.
    fn unstoppable(&self, _answer: Option<&Answer>) -> Option<Progress> {
        None
    }
    /// Steps that are always taken back when the operation ends before its success; `preflight` may be.
    const TAKEN_BACK: &'static [&'static str] = &[];
    /// Whether what was done so far is taken back when the operation ends before its success.
    fn rolls_back(&self) -> bool {
        false
    }
    /// Whether the operation may come to rest in this step.
    fn pauses(&self, _intent: Option<&Intent>) -> bool {
        true
    }
    /// What has to be known on the way back.
    fn back_query(&self, _intent: Option<&Intent>) -> Option<Query> {
        None
    }
    /// What is next on the way back.
    fn back(&self, _view: &View<'_>) -> Back {
        Back::Done("nothing is to be taken back".into())
    }
    /// One value of each step, for the tests that cross every state with every event.
    fn samples() -> Vec<Self>;
    /// One value of each event, as large as it may get.
    fn event_samples() -> Vec<Self::Event>;
}
