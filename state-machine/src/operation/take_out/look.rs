//! What an operation that takes workers out of use makes of what it sees.

use super::TakeOutEvent;
use crate::decision::{Progress, WaitingOn};
use crate::drain::{Call, LeavingView};
use crate::effect::Effect;
use crate::lifecycle::cut;
use crate::members::{MembersView, Numbers};
use crate::operation::arm::{Act, View};
use crate::operation::{AT_ONCE_MS, Called, NOT_PERSISTED, called, refused};

/// So long after files were asked to be persisted others may be asked for, in milliseconds.
pub const ASK_AGAIN_MS: i64 = 30_000;
/// So long after files were copied others are, after workers that leave were told so they are told again, and after a write
/// it is tried again, in milliseconds.
pub const COPY_AGAIN_MS: i64 = 2_000;

/// A fact without an effect.
pub fn record<E>(event: E, because: impl Into<String>) -> Act<E> {
    Act::Record { event, because: because.into(), intend: None }
}

/// A wait for something in the world.
pub fn wait<E>(reason: &'static str, message: impl Into<String>) -> Act<E> {
    Act::Await(WaitingOn::Engine { reason, message: message.into() })
}

/// A wait that gets on while the number of files changes.
fn counted<E>(reason: &'static str, message: String, left: i64) -> Act<E> {
    let progress = Progress { done: left, total: 0, unit: "files left" };
    Act::Await(WaitingOn::Counted { reason, message, progress })
}

/// As it is counted in events.
pub fn number(n: usize) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

/// A call that a step is about.
pub fn calling<E>(view: &View<'_>, effect: Effect, done: E) -> Act<E> {
    match called(view) {
        Called::Accepted(_) => record(done, "accepted"),
        Called::Refused { reason, message, retryable } => refused(reason, message, retryable),
        Called::Landing(waiting) => Act::Await(waiting),
        Called::Open => Act::Intend { effect, because: "not accepted yet".into() },
    }
}

/// The write of a revision that a step is about: made until it stands or is refused. After a refusal the fence is raised
/// before anything else happens. `written` says whether somebody had written it before.
pub fn writing<E>(
    view: &View<'_>,
    effect: Effect,
    written: impl FnOnce(bool) -> (E, &'static str),
    refused: impl FnOnce(String) -> E,
) -> Act<E> {
    match called(view) {
        Called::Accepted(receipt) => {
            let (event, because) = written(receipt.attached);
            record(event, because)
        }
        Called::Refused { reason, message, .. } => {
            let why = format!("{reason}: {message}");
            let intend = Some(Effect::FenceMembers {});
            Act::Record { event: refused(cut(&why, 120)), because: why, intend }
        }
        Called::Landing(waiting) => Act::Await(waiting),
        // Nobody knows what became of it; the next try finds out.
        Called::Open if view.intent.is_some() && view.since_entry_ms < COPY_AGAIN_MS => {
            wait("NotKnown", "whether the revision is written is not known yet")
        }
        Called::Open => Act::Intend { effect, because: "not written yet".into() },
    }
}

/// Raises the fence after a refusal, and then begins anew.
pub fn fencing<E>(reason: &'static str, why: &str, view: &View<'_>) -> Act<E> {
    match called(view) {
        Called::Accepted(_) => {
            Act::Retry { reason, message: format!("right before it would have been written: {why}") }
        }
        // Until it is raised, a write that was sent before may land.
        Called::Refused { message, .. } if view.since_entry_ms < COPY_AGAIN_MS => wait("NotFenced", message),
        Called::Refused { message, .. } => {
            Act::Intend { effect: Effect::FenceMembers {}, because: cut(message, 120) }
        }
        Called::Landing(waiting) => Act::Await(waiting),
        Called::Open if view.intent.is_some() && view.since_entry_ms < COPY_AGAIN_MS => {
            wait("NotFenced", "whether the fence is raised is not known yet")
        }
        Called::Open => Act::Intend { effect: Effect::FenceMembers {}, because: "not raised yet".into() },
    }
}

/// One look at the workers that leave.
pub struct Look<'a> {
    pub leave: &'a Numbers,
    pub members: &'a MembersView,
    pub leaving: &'a LeavingView,
    pub view: &'a View<'a>,
}

impl Look<'_> {
    /// Nobody may change these workers.
    pub fn foreign<E>(&self) -> Option<Act<E>> {
        let message = self.members.foreign.clone()?;
        Some(Act::Fail { reason: "NotManaged".into(), message })
    }

    pub fn on(&self, call: Call) -> Effect {
        Effect::OnWorkers { call, workers: self.leave.clone() }
    }

    /// Who accepts that files are lost.
    fn forced(&self) -> Option<String> {
        self.view.spec.control.force.as_ref().map(|f| cut(&f.by, 60))
    }

    pub(super) fn persist(&self, upto: i64) -> Act<TakeOutEvent> {
        let drain = &self.leaving.drain;
        let go = |because| Act::Record {
            event: TakeOutEvent::Persisted {},
            because,
            intend: Some(self.on(Call::Decommission)),
        };
        if let Called::Landing(waiting) = called(self.view) {
            return Act::Await(waiting);
        }
        if drain.unpersisted.none() {
            return go("their stores have what lies on them".into());
        }
        if upto > 0 && drain.oldest_ms > upto {
            return go(format!("{} written since", drain.unpersisted.named()));
        }
        if let Some(by) = self.forced() {
            return go(format!("{} may be lost, as {by} accepts", drain.unpersisted.named()));
        }
        // An intent without an outcome: whoever wrote it may not have sent it.
        if drain.unasked > 0 && (self.view.intent.is_some() || self.view.since_entry_ms >= ASK_AGAIN_MS) {
            return Act::Intend { effect: self.on(Call::Persist), because: drain.unpersisted.named() };
        }
        let message = format!(
            "{} have bytes that only the workers which leave have; they are to be written to their store first",
            drain.unpersisted.named()
        );
        counted(NOT_PERSISTED, message, drain.unpersisted.count)
    }

    /// What to do about a worker that is not out of use.
    pub fn returned(&self) -> Option<Act<TakeOutEvent>> {
        let (why, firm) = self.leaving.in_use()?;
        if !firm || self.view.since_entry_ms < AT_ONCE_MS {
            return Some(wait("NotDecommissioned", why));
        }
        Some(Act::Record {
            event: TakeOutEvent::Returned {},
            because: why,
            intend: Some(self.on(Call::Decommission)),
        })
    }

    /// What to do about files that would be lost, unless somebody accepts that.
    pub fn stranded(&self, again: bool) -> Option<Act<TakeOutEvent>> {
        let drain = &self.leaving.drain;
        if drain.stranded.none() || self.forced().is_some() {
            return None;
        }
        if let Some(silent) = drain.silent.as_ref().filter(|_| drain.rescuable == 0) {
            let message =
                format!("{} may be on a worker that does not answer: {silent}", drain.stranded.named());
            return Some(wait("WorkerSilent", message));
        }
        if again && self.view.since_entry_ms < COPY_AGAIN_MS {
            let message = format!("{} could not be copied yet", drain.stranded.named());
            return Some(wait("StillStranded", message));
        }
        Some(Act::Record {
            event: TakeOutEvent::Stranded { files: drain.stranded.count },
            because: drain.stranded.named(),
            intend: Some(self.on(Call::Rescue)),
        })
    }

    pub(super) fn check(&self, again: bool) -> Act<TakeOutEvent> {
        if let Some(act) = self.returned().or_else(|| self.stranded(again)) {
            return act;
        }
        let stranded = &self.leaving.drain.stranded;
        let because = match self.forced().filter(|_| !stranded.none()) {
            Some(by) => format!("{} are lost, as {by} accepts", stranded.named()),
            None => "nothing would be lost".to_owned(),
        };
        record(TakeOutEvent::Clear { at: self.members.revision }, because)
    }

    /// Clients may use them still.
    pub fn in_use_still(&self) -> Option<WaitingOn> {
        let left = self.leaving.refresh_ms - self.view.watched_ms;
        if left > 0 {
            let total = self.leaving.refresh_ms / 1_000;
            let progress = Progress { done: total - left / 1_000, total, unit: "seconds" };
            let message = "every client is to hear that the workers leave".into();
            return Some(WaitingOn::Members { progress, message });
        }
        let message = "clients are still using workers that leave".into();
        (self.leaving.drain.busy > 0).then_some(WaitingOn::Engine { reason: "StillUsed", message })
    }

    pub(super) fn drain(&self) -> Act<TakeOutEvent> {
        if let Some(act) = self.returned() {
            return act;
        }
        if let Some(waits) = self.in_use_still() {
            return Act::Await(waits);
        }
        record(TakeOutEvent::Drained {}, "no client uses them")
    }
}
