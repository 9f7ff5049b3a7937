//! What a scale-in makes of what it sees.

use super::{ScaleIn, ScaleInEvent, When};
use crate::decision::{Progress, WaitingOn};
use crate::drain::{Call, DISABLED, LeavingView, MASTER_KNOWS_MS, choose, out_of_use_by};
use crate::effect::Effect;
use crate::lifecycle::cut;
use crate::members::{Known, MembersView, Numbers, WorkerView};
use crate::operation::arm::{Act, View};
use crate::operation::{AT_ONCE_MS, Called, NOT_PERSISTED, called, refused, unanswered};
use crate::spec::ScaleInSpec;

/// So long after files were asked to be persisted others may be asked for, in milliseconds.
const ASK_AGAIN_MS: i64 = 30_000;
/// So long after files were copied others are, and after workers that leave were told so they are told again, in milliseconds.
const COPY_AGAIN_MS: i64 = 2_000;

fn record(event: ScaleInEvent, because: impl Into<String>) -> Act<ScaleInEvent> {
    Act::Record { event, because: because.into(), intend: None }
}

fn wait(reason: &'static str, message: impl Into<String>) -> Act<ScaleInEvent> {
    Act::Await(WaitingOn::Engine { reason, message: message.into() })
}

/// A wait that gets on while the number of files changes.
fn counted(reason: &'static str, message: String, left: i64) -> Act<ScaleInEvent> {
    let progress = Progress { done: left, total: 0, unit: "files left" };
    Act::Await(WaitingOn::Counted { reason, message, progress })
}

fn number(n: usize) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

pub(super) fn preflight(before: &Numbers, spec: &ScaleInSpec, members: &MembersView) -> Act<ScaleInEvent> {
    if let Some(why) = &members.foreign {
        return Act::Fail { reason: "NotManaged".into(), message: why.clone() };
    }
    if let Some(stage) = &members.set_up {
        return wait("ClusterNotReady", format!("the cache is still being set up: {stage}"));
    }
    let there = members.numbers();
    let chosen = |leave: Numbers, gone: bool, because: String| {
        let persist = || Effect::OnWorkers { call: Call::Persist, workers: leave.clone() };
        let intend = if gone || leave.is_empty() { None } else { Some(persist()) };
        Act::Record { event: ScaleInEvent::Chosen { leave, gone }, because, intend }
    };
    if !before.is_empty() {
        // Another attempt ends what the first one has begun with these.
        let still: Numbers = before.iter().filter(|n| there.contains(*n)).collect();
        return match still.is_empty() {
            true => chosen(before.clone(), true, "the revision has them no more".into()),
            false => chosen(still, false, "as before".into()),
        };
    }
    let leave = match (spec.workers, &spec.numbers) {
        (Some(wanted), _) => {
            let wanted = usize::try_from(wanted).unwrap_or(0);
            let Some(too_many) = there.len().checked_sub(wanted) else {
                let message = format!(
                    "the cache has {} workers and {wanted} are asked for; more is what scaleOut is for",
                    there.len()
                );
                return Act::Fail { reason: "MoreWanted".into(), message };
            };
            choose(spec.choose, &members.workers, too_many)
        }
        (None, numbers) => numbers.iter().copied().filter(|n| there.contains(*n)).collect(),
    };
    if leave.len() >= there.len() {
        let message = "no worker would be left; name fewer, or delete the CacheCluster".into();
        return Act::Fail { reason: "NoWorkerLeft".into(), message };
    }
    let because = format!("{} of {} workers leave", leave.len(), there.len());
    chosen(leave, false, because)
}

/// A call that a step is about.
pub(super) fn calling(view: &View<'_>, effect: Effect, done: ScaleInEvent) -> Act<ScaleInEvent> {
    match called(view) {
        Called::Accepted(_) => record(done, "accepted"),
        Called::Refused { reason, message, retryable } => refused(reason, message, retryable),
        Called::Landing(waiting) => Act::Await(waiting),
        Called::Open => Act::Intend { effect, because: "not accepted yet".into() },
    }
}

pub(super) fn removing(leave: &Numbers, at: i64, view: &View<'_>) -> Act<ScaleInEvent> {
    match called(view) {
        Called::Accepted(receipt) => {
            let because = if receipt.attached { "the revision has them no more" } else { "written" };
            record(ScaleInEvent::Removed {}, because)
        }
        Called::Refused { reason, message, .. } => Act::Record {
            event: ScaleInEvent::NotRemoved { why: cut(&format!("{reason}: {message}"), 120) },
            because: format!("{reason}: {message}"),
            intend: Some(Effect::FenceMembers {}),
        },
        Called::Landing(waiting) => Act::Await(waiting),
        // Nobody knows what became of it; the next try finds out.
        Called::Open if view.intent.is_some() && view.since_entry_ms < COPY_AGAIN_MS => {
            wait("NotKnown", "whether the workers are taken out is not known yet")
        }
        Called::Open => Act::Intend {
            effect: Effect::RemoveWorkers { remove: leave.clone(), at },
            because: "not written yet".into(),
        },
    }
}

pub(super) fn fencing(why: &str, view: &View<'_>) -> Act<ScaleInEvent> {
    match called(view) {
        Called::Accepted(_) => Act::Retry {
            reason: "NotRemoved",
            message: format!("right before the workers would have been removed: {why}"),
        },
        // Until it is raised, a write that was sent before may remove them.
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
pub(super) struct Look<'a> {
    pub leave: &'a Numbers,
    pub members: &'a MembersView,
    pub leaving: &'a LeavingView,
    pub view: &'a View<'a>,
}

impl Look<'_> {
    pub fn foreign(&self) -> Option<Act<ScaleInEvent>> {
        let message = self.members.foreign.clone()?;
        Some(Act::Fail { reason: "NotManaged".into(), message })
    }

    pub fn act(&self, at: &ScaleIn) -> Act<ScaleInEvent> {
        match at {
            ScaleIn::Persisting { upto, .. } => self.persist(*upto),
            ScaleIn::Checking { at, again, .. } => self.check(*at, *again),
            ScaleIn::Draining { .. } => self.drain(),
            ScaleIn::Leaving { again, .. } => self.see_off(*again),
            ScaleIn::Verifying { .. } => self.verify(),
            ScaleIn::Preflight { .. }
            | ScaleIn::Decommissioning { .. }
            | ScaleIn::Rescuing { .. }
            | ScaleIn::Removing { .. }
            | ScaleIn::Fencing { .. }
            | ScaleIn::Admitting { .. } => unanswered(),
        }
    }

    fn on(&self, call: Call) -> Effect {
        Effect::OnWorkers { call, workers: self.leave.clone() }
    }

    /// Who accepts that files are lost.
    fn forced(&self) -> Option<String> {
        self.view.spec.control.force.as_ref().map(|f| cut(&f.by, 60))
    }

    fn persist(&self, upto: i64) -> Act<ScaleInEvent> {
        let drain = &self.leaving.drain;
        let go = |because| Act::Record {
            event: ScaleInEvent::Persisted {},
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

    /// The worker that is not out of use as it should be, and whether that is believed already.
    fn in_use(&self) -> Option<(String, bool)> {
        let believed = self.view.since_entry_ms >= AT_ONCE_MS;
        let unknown = self.leaving.drain.master_up_ms >= MASTER_KNOWS_MS;
        self.leaving.workers.iter().find_map(|w| match &w.known {
            Known::Serves => Some((format!("worker {} serves still", w.number), believed)),
            // Whoever is not known may be about to register.
            Known::No if !unknown => Some((format!("worker {} is not known to the cache", w.number), false)),
            Known::As(word) if !out_of_use_by(word) => {
                Some((format!("worker {} is {word}", w.number), believed))
            }
            Known::No | Known::As(_) => None,
        })
    }

    /// What to do about a worker that is not out of use.
    fn returned(&self) -> Option<Act<ScaleInEvent>> {
        let (why, believed) = self.in_use()?;
        if !believed {
            return Some(wait("NotDecommissioned", why));
        }
        Some(Act::Record {
            event: ScaleInEvent::Returned {},
            because: why,
            intend: Some(self.on(Call::Decommission)),
        })
    }

    /// What to do about files that would be lost, unless somebody accepts that.
    fn stranded(&self, again: bool) -> Option<Act<ScaleInEvent>> {
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
            event: ScaleInEvent::Stranded { files: drain.stranded.count },
            because: drain.stranded.named(),
            intend: Some(self.on(Call::Rescue)),
        })
    }

    fn check(&self, when: When, again: bool) -> Act<ScaleInEvent> {
        if let Some(act) = self.returned().or_else(|| self.stranded(again)) {
            return act;
        }
        let stranded = &self.leaving.drain.stranded;
        let because = match self.forced().filter(|_| !stranded.none()) {
            Some(by) => format!("{} are lost, as {by} accepts", stranded.named()),
            None => "nothing would be lost".to_owned(),
        };
        let at = self.members.revision;
        let remove = || Effect::RemoveWorkers { remove: self.leave.clone(), at };
        let intend = matches!(when, When::Drained).then(remove);
        Act::Record { event: ScaleInEvent::Clear { at }, because, intend }
    }

    fn drain(&self) -> Act<ScaleInEvent> {
        if let Some(act) = self.returned() {
            return act;
        }
        let left = self.leaving.refresh_ms - self.view.watched_ms;
        if left > 0 {
            let total = self.leaving.refresh_ms / 1_000;
            let progress = Progress { done: total - left / 1_000, total, unit: "seconds" };
            let message = "every client is to hear that the workers leave".into();
            return Act::Await(WaitingOn::Members { progress, message });
        }
        let drain = &self.leaving.drain;
        if drain.busy > 0 {
            return wait("StillUsed", "clients are still using workers that leave");
        }
        record(ScaleInEvent::Drained {}, "no client uses them")
    }

    fn see_off(&self, again: bool) -> Act<ScaleInEvent> {
        let there: Vec<&WorkerView> = self.leaving.workers.iter().filter(|w| w.pod).collect();
        let Some(first) = there.first() else {
            return Act::Record {
                event: ScaleInEvent::Left {},
                because: "their pods are gone".into(),
                intend: Some(self.on(Call::Admit)),
            };
        };
        // A master that has just started has forgotten that they leave, and clients find them while their pods end.
        let serves = there.iter().find(|w| w.known == Known::Serves);
        if let Some(serves) = serves.filter(|_| self.view.since_entry_ms >= COPY_AGAIN_MS) {
            return Act::Record {
                event: ScaleInEvent::Returned {},
                because: format!("worker {} serves still", serves.number),
                intend: Some(self.on(Call::Decommission)),
            };
        }
        if self.leaving.drain.rescuable > 0
            && let Some(act) = self.stranded(again)
        {
            return act;
        }
        let total = number(self.leave.len());
        let progress = Progress { done: total - number(there.len()), total, unit: "workers" };
        let message =
            first.trouble.clone().unwrap_or_else(|| format!("the pod of worker {} ends", first.number));
        Act::Await(WaitingOn::Members { progress, message: cut(&message, 200) })
    }

    fn verify(&self) -> Act<ScaleInEvent> {
        let back = self.leave.iter().find(|n| self.members.numbers().contains(*n));
        if let Some(back) = back {
            return Act::Retry {
                reason: "WorkersBack",
                message: format!("somebody has added worker {back} again"),
            };
        }
        if let Some(serves) = self.leaving.workers.iter().find(|w| w.known == Known::Serves) {
            return wait("StillServing", format!("the cache lists worker {} as serving", serves.number));
        }
        let workers = &self.members.workers;
        let capacity = workers.iter().filter(|w| w.serves()).map(|w| w.capacity_bytes);
        let event = ScaleInEvent::Proven {
            workers: number(workers.len()),
            capacity_bytes: capacity.fold(0, i64::saturating_add),
        };
        record(event, "neither Kubernetes nor the cache has them")
    }
}

/// Workers of the revision that are out of use.
pub(super) fn out_of_use<'a>(members: &MembersView, leaving: &'a LeavingView) -> Vec<&'a WorkerView> {
    let there = members.numbers();
    leaving.workers.iter().filter(|w| there.contains(w.number) && w.known != Known::Serves).collect()
}

/// What keeps workers that were told to leave from being at rest.
pub(super) fn unrest(members: &MembersView, leaving: &LeavingView) -> Option<String> {
    let there = members.numbers();
    if let Some(w) = leaving.workers.iter().find(|w| !there.contains(w.number) && w.pod) {
        return Some(format!("worker {} was removed, and its pod has not ended yet", w.number));
    }
    let out = out_of_use(members, leaving);
    let first = out.first()?;
    let drain = &leaving.drain;
    if !drain.stranded.none() {
        let silent = drain.silent.as_deref().unwrap_or("it was not copied yet");
        return Some(format!("{} would go with worker {}: {silent}", drain.stranded.named(), first.number));
    }
    let why = first.trouble.as_deref().unwrap_or("its pod is ready and has not registered yet");
    Some(format!("worker {} does not serve again: {why}", first.number))
}

/// The next thing that brings workers back which were told to leave; `None`: they serve, or are to by themselves.
pub(super) fn undo(leave: &Numbers, members: &MembersView, leaving: &LeavingView) -> Option<Effect> {
    let out = out_of_use(members, leaving);
    let on = |call| Effect::OnWorkers { call, workers: leave.clone() };
    if leaving.drain.rescuable > 0 && (!out.is_empty() || leaving.workers.iter().any(|w| w.pod)) {
        return Some(on(Call::Rescue));
    }
    // Also of one that is gone: the next worker of its number is to be let in. Not of one whose process may be there still.
    let there = members.numbers();
    let may_return =
        |w: &&WorkerView| w.known == Known::As(DISABLED.into()) && (there.contains(w.number) || !w.pod);
    let workers: Numbers = leaving.workers.iter().filter(may_return).map(|w| w.number).collect();
    if !workers.is_empty() {
        return Some(Effect::OnWorkers { call: Call::Admit, workers });
    }
    // What would go with a pod is not given up here.
    if !leaving.drain.stranded.none() {
        return None;
    }
    // One after the other: one whose pod is new has to serve first.
    let stays_out = out.first().filter(|_| out.iter().all(|w| w.settled))?;
    Some(Effect::ReplaceWorker { worker: stays_out.number, uid: stays_out.uid.clone()? })
}
