//! Whether an upgrade can begin: each thing that stands in its way, by its name.

use super::{UpgradeEvent, Was};
use crate::effect::Effect;
use crate::lifecycle::cut;
use crate::operation::arm::{Act, View};
use crate::operation::take_out::look::{record, wait};
use crate::rollout::{MAX_RELEASE, Role, RolloutView, Template, proven};
use crate::spec::UpgradeSpec;

fn fail(reason: &str, message: String) -> Act<UpgradeEvent> {
    Act::Fail { reason: reason.into(), message }
}

/// What cannot pass by itself.
fn refused(
    was: Option<&Was>,
    spec: &UpgradeSpec,
    view: &View<'_>,
    seen: &RolloutView,
) -> Option<Act<UpgradeEvent>> {
    let (now, to) = (&seen.release, spec.release(&seen.release));
    if let Some(why) = &seen.foreign {
        return Some(fail("NotManaged", why.clone()));
    }
    if was.is_none() && !proven(&now.version, &to.version) && !spec.allow_unproven {
        let message = format!(
            "nobody has proven that {} and {} read each other's journal, which the way back needs; set allowUnproven \
             to upgrade all the same",
            now.version, to.version
        );
        return Some(fail("UnprovenReleases", message));
    }
    if *now != to && now.image() == to.image() {
        let message = format!("{} is the image of both releases; name another tag", to.image());
        return Some(fail("SameImage", message));
    }
    if now.too_long() || to.too_long() {
        let message =
            format!("version, repository and tag have more than {MAX_RELEASE} characters; shorten them");
        return Some(fail("ReleaseTooLong", message));
    }
    if !seen.journal_kept {
        let message =
            "the journal goes with the masters' pods, and all that the cache knows with it; a cache with a \
                       journal on a volume can be upgraded"
                .into();
        return Some(fail("JournalNotKept", message));
    }
    if !seen.out.is_empty() {
        let message = format!("worker {} is out of use; bring it back with recommission first", seen.out);
        return Some(fail("WorkersOutOfUse", message));
    }
    let workers = i32::try_from(seen.of(Role::Worker).count()).unwrap_or(i32::MAX);
    if let Some(halt) = spec.strategy.steps.iter().find(|s| s.workers > workers) {
        let message = format!(
            "strategy.steps halts after {} workers, and the cache has {workers}: it would never halt there",
            halt.workers
        );
        return Some(fail("NoSuchStep", message));
    }
    let alone = seen.of(Role::Worker).count() == 1 && seen.members.iter().any(|m| seen.drained(m));
    if alone && view.spec.control.force.is_none() {
        let message = "the cache has one worker, whose tiers go with its pod: what is not in its store yet would be lost; \
                       add a worker, or accept that with control.force"
            .into();
        return Some(fail("NoOtherWorker", message));
    }
    None
}

/// The first member that does not serve, in words.
fn unwell(seen: &RolloutView) -> Option<String> {
    let version = &seen.release.version;
    let unwell = |m: &&crate::rollout::MemberView| !m.serves() || m.template == Template::Unknown;
    seen.members.iter().find(unwell).map(|m| m.lacks(version))
}

/// Who goes when, as it looks now: standbys before the primary.
fn order(seen: &RolloutView) -> String {
    let of = |role: Role| {
        let mut all: Vec<_> = seen.of(role).collect();
        all.sort_by_key(|m| (m.primary, m.number));
        let numbers: Vec<String> = all.iter().map(|m| m.number.to_string()).collect();
        (!numbers.is_empty()).then(|| format!("{} {}", role.name(), numbers.join(", ")))
    };
    let all: Vec<String> = Role::ALL.into_iter().filter_map(of).collect();
    cut(&format!("in this order: {}", all.join("; ")), 200)
}

pub(super) fn preflight(
    was: Option<&Was>,
    cached_bytes: Option<i64>,
    backup_due: bool,
    view: &View<'_>,
    seen: &RolloutView,
) -> Act<UpgradeEvent> {
    let Some(spec) = super::spec_of(view) else { return crate::operation::unanswered() };
    if let Some(stage) = &seen.set_up {
        return wait("ClusterNotReady", format!("the cache is still being set up: {stage}"));
    }
    if let Some(act) = refused(was, spec, view, seen) {
        return act;
    }
    let to = spec.release(&seen.release);
    let there = seen.release == to;
    // Whoever has begun goes on with whom there is.
    if was.is_none() || !there {
        if let Some(why) = &seen.silent {
            return wait("CacheSilent", format!("the cache gives no answer: {why}"));
        }
        if let Some(why) = unwell(seen) {
            return wait(
                "MembersNotWell",
                format!("every member has to serve before any is made anew: {why}"),
            );
        }
    }
    if cached_bytes.is_none() {
        let cached_bytes = seen.of(Role::Worker).map(|m| m.used_bytes).fold(0, i64::saturating_add);
        let because = format!("nothing stands in its way; {}", order(seen));
        return record(UpgradeEvent::Measured { cached_bytes }, because);
    }
    if was.is_none() && backup_due {
        let because = "what the masters know is saved before anything moves".into();
        let intend = Some(crate::operation::backup::call(view.spec));
        return Act::Record { event: UpgradeEvent::BackupDue {}, because, intend };
    }
    let from = was.filter(|_| there).map_or_else(|| seen.release.clone(), |w| w.from.clone());
    let because = format!("{} members from {} to {}", seen.members.len(), seen.release.version, to.version);
    let event = UpgradeEvent::Chosen { from, at: seen.revision, there };
    let intend = (!there).then_some(Effect::SetRelease { back: false, at: seen.revision });
    Act::Record { event, because, intend }
}
