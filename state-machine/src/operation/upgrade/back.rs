//! The way back: the release of before first, then every member that was made anew, or may be.

use super::Was;
use super::forward::{Drain, admit, alone, drain, leaving_of, members, replace, waits};
use crate::effect::{Answer, Effect, Intent};
use crate::operation::arm::{Back, View};
use crate::rollout::{Choice, MemberView, Pace, Role, RolloutView};

/// A cache that is silent for so long will not answer before its master is made anew, in milliseconds.
const SILENT_MS: i64 = 30_000;

/// How the way back is gone. A pod whose eviction may be on its way is used up at the end: then nothing can land any more.
pub(super) fn pace(was: &Was, intent: Option<&Intent>) -> Pace {
    let last = match intent.map(|i| &i.effect) {
        Some(Effect::ReplaceMember { role, number, .. }) => Some((*role, *number)),
        _ => None,
    };
    let hit = was.hit.as_ref().map(|h| h.uid.clone());
    Pace { back: true, unavailable: 1, soak_ms: 0, last, hit }
}

/// Lets a member go once nothing is lost with it.
fn go(member: &MemberView, seen: &RolloutView, view: &View<'_>) -> Back {
    if let Some(why) = &seen.silent {
        let silent = waits("CacheSilent", format!("the cache gives no answer: {why}"));
        let master = member.role == Role::Master;
        if seen.drained(member) || (master && member.ready && view.watched_ms < SILENT_MS) {
            return Back::Wait(silent);
        }
    }
    if seen.drained(member) && !alone(seen, member) {
        let Some(leaving) = leaving_of(seen, member) else {
            return Back::Wait(waits("NotKnown", format!("what {} has is not known yet", member.title())));
        };
        match drain(member, leaving, view, true) {
            Drain::Over => {}
            Drain::Do(effect, because) => return Back::Do { effect, because },
            Drain::Wait(waiting) => return Back::Wait(waiting),
        }
    }
    match replace(member) {
        Some(effect) => Back::Do { effect, because: format!("{} goes back", member.title()) },
        None => Back::Wait(waits("NotUp", member.lacks(&seen.release.version))),
    }
}

pub(super) fn back(was: &Was, view: &View<'_>) -> Back {
    let seen = match view.answer {
        Some(Ok(Answer::Rollout(seen))) => seen,
        Some(Err(trouble)) => return Back::Wait(waits(trouble.kind.reason(), trouble.message.clone())),
        Some(Ok(_)) | None => {
            return Back::Wait(waits("EngineNotAsked", "the members were not looked at yet"));
        }
    };
    if let Some(why) = &seen.foreign {
        return match seen.gone {
            true => Back::Done(format!("nothing is left to be taken back: {why}")),
            false => Back::Wait(waits("NotManaged", why.clone())),
        };
    }
    if seen.release != was.from {
        let because = format!("the revision names release {}", seen.release.version);
        return Back::Do { effect: Effect::SetRelease { back: true, at: seen.revision }, because };
    }
    if seen.revision == was.at {
        let because = "the new release may be on its way into the revision".into();
        return Back::Do { effect: Effect::FenceMembers {}, because };
    }
    let version = &was.from.version;
    match seen.choose(&pace(was, view.intent)) {
        Choice::Next(member) => go(member, seen, view),
        Choice::For(member) | Choice::Soaks(member) => {
            match admit(member).filter(|_| seen.silent.is_none()) {
                Some(effect) => Back::Do { effect, because: format!("{} is not let in", member.title()) },
                None => Back::Wait(members(seen, member.lacks(version))),
            }
        }
        Choice::None => {
            Back::Done(format!("{} of {} members are of release {version}", seen.up(), seen.members.len()))
        }
    }
}
