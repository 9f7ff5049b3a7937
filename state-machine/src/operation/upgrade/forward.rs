//! Member after member to the release.

use super::{UpgradeEvent, Was, pace};
use crate::decision::{Progress, WaitingOn};
use crate::drain::{Call, DISABLED, LeavingView, MASTER_KNOWS_MS, out_of_use_by};
use crate::effect::{Effect, Outcome};
use crate::lifecycle::cut;
use crate::members::{Known, Numbers};
use crate::observation::IntentView;
use crate::operation::NOT_PERSISTED;
use crate::operation::arm::{Act, View};
use crate::operation::take_out::look::{COPY_AGAIN_MS, number, record};
use crate::rollout::{Choice, MemberView, Role, RolloutView, Template};
use crate::spec::{UpgradeSpec, approves};

/// A call that was refused is made again after that, in milliseconds.
const AGAIN_MS: i64 = 10_000;
/// So long files that are on their way to their store are waited for, in milliseconds. What does not get there is copied to
/// other workers.
const PERSIST_MS: i64 = 120_000;
/// Reason of a refusal: the worker serves again, or has what nobody else has.
pub(super) const NEEDED_STILL: &str = "NeededStill";

/// What a worker needs before its pod goes.
#[derive(Debug, PartialEq)]
pub(super) enum Drain {
    /// Nothing any more.
    Over,
    /// This.
    Do(Effect, String),
    /// Time.
    Wait(WaitingOn),
}

pub(super) fn waits(reason: &'static str, message: impl Into<String>) -> WaitingOn {
    WaitingOn::Engine { reason, message: message.into() }
}

/// How many are up, and whom it waits for.
pub(super) fn members(seen: &RolloutView, message: String) -> WaitingOn {
    let progress = Progress { done: seen.up(), total: number(seen.members.len()), unit: "members" };
    WaitingOn::Members { progress, message }
}

/// A call about one worker.
fn on(call: Call, worker: &MemberView) -> Effect {
    let workers: Numbers = [worker.number].into_iter().collect();
    Effect::OnWorkers { call, workers }
}

pub(super) fn replace(member: &MemberView) -> Option<Effect> {
    let uid = member.uid.clone()?;
    Some(Effect::ReplaceMember { role: member.role, number: member.number, uid })
}

/// A worker that was made anew and is not let in.
pub(super) fn admit(member: &MemberView) -> Option<Effect> {
    let shut = member.role == Role::Worker && !member.aside && member.known == Known::As(DISABLED.into());
    (shut && member.template == Template::Current).then(|| on(Call::Admit, member))
}

/// How a worker whose tiers go with its pod is emptied of what only it has. `back`: there is no time to persist first.
pub(super) fn drain(worker: &MemberView, leaving: &LeavingView, view: &View<'_>, back: bool) -> Drain {
    let (drain, last) = (&leaving.drain, view.intent.map(|i| &i.effect));
    let did = |call: Call| last == Some(&on(call, worker));
    let early = view.since_entry_ms < COPY_AGAIN_MS;
    let title = worker.title();
    if worker.known == Known::Serves {
        if !back && drain.unasked > 0 && !did(Call::Persist) && !did(Call::Decommission) {
            return Drain::Do(on(Call::Persist, worker), drain.unpersisted.named());
        }
        let left = drain.unpersisted.count.saturating_sub(drain.unasked);
        if !back && did(Call::Persist) && left > 0 && view.since_entry_ms < PERSIST_MS {
            let message = format!("{} of {title} are on their way to their store", drain.unpersisted.named());
            let progress = Progress { done: left, total: 0, unit: "files left" };
            return Drain::Wait(WaitingOn::Counted { reason: NOT_PERSISTED, message, progress });
        }
        if did(Call::Decommission) && early {
            return Drain::Wait(waits("NotDecommissioned", format!("{title} serves still")));
        }
        return Drain::Do(on(Call::Decommission, worker), format!("{title} serves"));
    }
    let told = matches!(&worker.known, Known::As(word) if out_of_use_by(word));
    if !told && drain.master_up_ms < MASTER_KNOWS_MS {
        return Drain::Wait(waits("NotKnown", format!("{title} may be about to register")));
    }
    let forced = view.spec.control.force.is_some();
    if !drain.stranded.none() && !forced {
        if drain.rescuable == 0 {
            let silent = drain.silent.as_deref().unwrap_or("it was not copied yet");
            let message = format!("{} would go with {title}: {silent}", drain.stranded.named());
            return Drain::Wait(waits("WorkerSilent", message));
        }
        if did(Call::Rescue) && early {
            let message = format!("{} could not be copied yet", drain.stranded.named());
            return Drain::Wait(waits("StillStranded", message));
        }
        return Drain::Do(on(Call::Rescue, worker), drain.stranded.named());
    }
    // Who has intended to let it go has waited for this.
    let heard = replace(worker).as_ref() == last;
    let left = leaving.refresh_ms - view.watched_ms;
    if (told || worker.ready) && !heard && left > 0 {
        let total = leaving.refresh_ms / 1_000;
        let progress = Progress { done: total - left / 1_000, total, unit: "seconds" };
        let message = format!("every client is to hear that {title} leaves");
        return Drain::Wait(WaitingOn::Members { progress, message });
    }
    if drain.busy > 0 && !forced {
        return Drain::Wait(waits("StillUsed", format!("clients are still using {title}")));
    }
    Drain::Over
}

/// A member that was made anew and does not come up ends the way forward. Others, and a cache that is silent for a moment, are
/// waited for: a stall deadline does not pass them by.
fn overdue(
    seen: &RolloutView,
    spec: &UpgradeSpec,
    view: &View<'_>,
    member: &MemberView,
    why: String,
) -> Act<UpgradeEvent> {
    let limit = spec.member_deadline_seconds;
    let last = match view.intent.map(|i| &i.effect) {
        Some(Effect::ReplaceMember { role, number, .. }) => (*role, *number) == (member.role, member.number),
        Some(effect) => *effect == on(Call::Admit, member),
        None => false,
    };
    if last && view.since_entry_ms >= limit.saturating_mul(1_000) {
        let message = format!("not up in {limit} s (memberDeadlineSeconds): {why}");
        return Act::Fail { reason: "MemberNotUp".into(), message };
    }
    Act::Await(members(seen, why))
}

/// What became of the last call, where that alone decides.
fn after_call(view: &View<'_>) -> Option<Act<UpgradeEvent>> {
    let Some(Outcome::Refused { reason, message, retryable }) = view.outcome else { return None };
    if reason == NEEDED_STILL {
        return Some(Act::Retry { reason: NEEDED_STILL, message: message.clone() });
    }
    // Who leads is for the better only.
    let of_lead = |e: &Effect| matches!(e, Effect::TransferLeadership { .. } | Effect::ResetPriorities {});
    if !retryable && !view.intent.is_some_and(|i| of_lead(&i.effect)) {
        return Some(Act::Fail { reason: reason.clone(), message: message.clone() });
    }
    (view.since_entry_ms < AGAIN_MS).then(|| Act::Await(waits("NotNow", cut(message, 200))))
}

/// Whether it halts before this member.
fn halts(
    passed: usize,
    spec: &UpgradeSpec,
    view: &View<'_>,
    seen: &RolloutView,
    next: Option<&MemberView>,
) -> Option<Act<UpgradeEvent>> {
    let halt = spec.strategy.steps.get(passed)?;
    let after = || seen.of(Role::Worker).filter(|m| m.template == Template::Current);
    let enough = i32::try_from(after().count()).unwrap_or(i32::MAX) >= halt.workers;
    let before = next.is_none_or(|m| matches!(m.role, Role::Worker | Role::Proxy));
    if !before || !enough {
        return None;
    }
    let soaked =
        |m: &&MemberView| m.up(&spec.version) && m.ready_ms >= spec.soak_seconds.saturating_mul(1_000);
    if let Some(member) = after().find(|m| !soaked(m)) {
        let why = format!("halts after {} workers, and {}", halt.workers, member.lacks(&spec.version));
        return Some(overdue(seen, spec, view, member, why));
    }
    let name = approves(passed);
    let since = (view.since_entry_ms / 1_000).max(0);
    if since < halt.pause_seconds {
        let progress = Progress { done: since, total: halt.pause_seconds, unit: "seconds" };
        let message = format!("{name}: halts after {} workers", halt.workers);
        return Some(Act::Await(WaitingOn::Members { progress, message }));
    }
    let given = view.spec.control.approve.as_ref().filter(|a| halt.approve && a.plan_hash.0 == name);
    if halt.approve && given.is_none() {
        // What approved the plan or an earlier halt is no mistake.
        return Some(Act::Await(WaitingOn::Approval { plan: name, given: None }));
    }
    let because = format!("{name}: {} workers are of {}", halt.workers, spec.version);
    let by = given.map(|a| cut(&a.by, 100));
    Some(record(UpgradeEvent::StepPassed { step: passed + 1, by }, because))
}

/// A transfer that has not come about by then never will, in milliseconds: it takes some 20 s.
const LEADS_BY_MS: i64 = 60_000;

/// Whether somebody else has to lead before this member goes: who has no primary for an election serves nobody meanwhile.
fn leads(view: &View<'_>, seen: &RolloutView, next: &MemberView) -> Option<Act<UpgradeEvent>> {
    let last = view.intent.map(|i| &i.effect);
    let asked = matches!(last, Some(Effect::TransferLeadership { .. }));
    let still = seen.of(Role::Master).any(|m| m.primary && m.template == Template::Before);
    if asked && still && view.since_entry_ms < LEADS_BY_MS {
        let message = format!("another master is to lead before {} goes", next.title());
        return Some(Act::Await(waits("LeadershipMoves", message)));
    }
    if asked {
        let because = if still { "nobody has taken over" } else { "another master leads" };
        return Some(Act::Intend { effect: Effect::ResetPriorities {}, because: because.into() });
    }
    if next.role != Role::Master || !next.primary || last == Some(&Effect::ResetPriorities {}) {
        return None;
    }
    let to = seen.of(Role::Master).find(|m| m.number != next.number && m.up(&seen.release.version))?;
    let effect = Effect::TransferLeadership { to: to.number };
    Some(Act::Intend { effect, because: format!("{} leads, and {} is up", next.title(), to.title()) })
}

pub(super) fn roll(
    was: &Was,
    moved: i64,
    passed: usize,
    spec: &UpgradeSpec,
    view: &View<'_>,
    seen: &RolloutView,
) -> Act<UpgradeEvent> {
    if let Some(why) = &seen.foreign {
        return Act::Fail { reason: "NotManaged".into(), message: why.clone() };
    }
    let to = spec.release(&was.from);
    if seen.release != to {
        let message = format!("revision {} names release {}, not {to}", seen.revision, seen.release);
        return Act::Fail { reason: "RevisionMoved".into(), message };
    }
    if let IntentView::Landing { remaining_ms } = view.intent_view
        && !matches!(view.outcome, Some(Outcome::Done(_) | Outcome::Refused { .. }))
    {
        return Act::Await(WaitingOn::Settling { remaining_ms });
    }
    if seen.up() > moved {
        let members = seen.up();
        return record(UpgradeEvent::Moved { members }, format!("{members} members are of {}", to.version));
    }
    if let Some(act) = after_call(view) {
        return act;
    }
    let version = &to.version;
    let member = match seen.choose(&pace(spec, Some(was))) {
        Choice::None => {
            let rolled = || record(UpgradeEvent::Rolled {}, "every member is of the release");
            return halts(passed, spec, view, seen, None).unwrap_or_else(rolled);
        }
        Choice::Soaks(member) => {
            let progress =
                Progress { done: member.ready_ms / 1_000, total: spec.soak_seconds, unit: "seconds" };
            let message = format!("{} has to be ready for {} s", member.title(), spec.soak_seconds);
            return Act::Await(WaitingOn::Members { progress, message });
        }
        Choice::For(member) => {
            return match admit(member).filter(|_| seen.silent.is_none()) {
                Some(effect)
                    if view.intent.is_none_or(|i| i.effect != effect)
                        || view.since_entry_ms >= 3 * AGAIN_MS =>
                {
                    Act::Intend { effect, because: format!("{} is not let in", member.title()) }
                }
                Some(_) | None => overdue(seen, spec, view, member, member.lacks(version)),
            };
        }
        Choice::Next(member) => member,
    };
    if let Some(act) = halts(passed, spec, view, seen, Some(member)) {
        return act;
    }
    if let Some(why) = &seen.silent {
        return overdue(seen, spec, view, member, format!("the cache gives no answer: {why}"));
    }
    if seen.drained(member) && !alone(seen, member) {
        let Some(leaving) = leaving_of(seen, member) else {
            return Act::Await(waits("NotKnown", format!("what {} has is not known yet", member.title())));
        };
        match drain(member, leaving, view, false) {
            Drain::Over => {}
            Drain::Do(effect, because) => return Act::Intend { effect, because },
            Drain::Wait(waiting) => return Act::Await(waiting),
        }
    }
    if let Some(act) = leads(view, seen, member) {
        return act;
    }
    match replace(member) {
        Some(effect) => {
            Act::Intend { effect, because: format!("{} of {}", member.title(), was.from.version) }
        }
        None => overdue(seen, spec, view, member, member.lacks(version)),
    }
}

/// Where nobody else can take what it has, somebody has accepted that it is lost.
pub(super) fn alone(seen: &RolloutView, member: &MemberView) -> bool {
    seen.of(Role::Worker).all(|m| m.number == member.number)
}

/// What hangs on this worker, where that was looked at.
pub(super) fn leaving_of<'a>(seen: &'a RolloutView, member: &MemberView) -> Option<&'a LeavingView> {
    seen.leaving.as_ref().filter(|l| l.workers.iter().any(|w| w.number == member.number))
}
