//! How a scale-in begins and ends: who leaves, their pods end, and who is there then.

use super::ScaleInEvent;
use crate::decision::{Progress, WaitingOn};
use crate::drain::{Call, choose};
use crate::lifecycle::cut;
use crate::members::{Known, MembersView, Numbers, WorkerView};
use crate::operation::arm::Act;
use crate::operation::take_out::look::{COPY_AGAIN_MS, Look, number, record, wait};
use crate::operation::take_out::{TakeOut, TakeOutEvent};
use crate::spec::ScaleInSpec;

pub(super) fn preflight(before: &Numbers, spec: &ScaleInSpec, members: &MembersView) -> Act<ScaleInEvent> {
    if let Some(why) = &members.foreign {
        return Act::Fail { reason: "NotManaged".into(), message: why.clone() };
    }
    if let Some(stage) = &members.set_up {
        return wait("ClusterNotReady", format!("the cache is still being set up: {stage}"));
    }
    let there = members.numbers();
    let chosen = |leave: Numbers, gone: bool, because: String| {
        let intend = (!gone && !leave.is_empty()).then(|| TakeOut::first(&leave));
        Act::Record { event: ScaleInEvent::Chosen { leave, gone }, because, intend }
    };
    if !before.is_empty() {
        // Another attempt ends what the first one has begun with these.
        let still: Numbers = before.iter().filter(|n| there.contains(*n)).collect();
        if let Some(act) = not_last(&still, members) {
            return act;
        }
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
            // Whoever is out of use anyway goes first.
            let (aside, used): (Vec<_>, Vec<_>) =
                members.workers.iter().cloned().partition(|w| members.out.contains(w.number));
            let first = choose(spec.choose, &aside, too_many);
            first.with(&choose(spec.choose, &used, too_many - first.len()))
        }
        (None, numbers) => numbers.iter().copied().filter(|n| there.contains(*n)).collect(),
    };
    let used = there.without(&members.out);
    if leave.len() >= there.len() || (used.without(&leave).is_empty() && !used.is_empty()) {
        let message = "no worker would be left in use; name fewer, or delete the CacheCluster".into();
        return Act::Fail { reason: "NoWorkerLeft".into(), message };
    }
    if let Some(act) = not_last(&leave, members) {
        return act;
    }
    let because = format!("{} of {} workers leave", leave.len(), there.len());
    chosen(leave, false, because)
}

/// Where somebody else makes the pods, only the last ones can go.
fn not_last(leave: &Numbers, members: &MembersView) -> Option<Act<ScaleInEvent>> {
    let (by, there) = (members.owned_by.as_ref()?, members.numbers());
    let stay = i32::try_from(there.len().saturating_sub(leave.len())).unwrap_or(0);
    let message = format!("{by} removes its last workers only, and these are {leave} of {there}");
    (there.without(leave) != (0..stay).collect()).then(|| Act::Fail { reason: "OnlyLast".into(), message })
}

pub(super) fn see_off(look: &Look<'_>, again: bool) -> Act<ScaleInEvent> {
    let there: Vec<&WorkerView> = look.leaving.workers.iter().filter(|w| w.pod).collect();
    let Some(first) = there.first() else {
        return Act::Record {
            event: ScaleInEvent::Left {},
            because: "their pods are gone".into(),
            intend: Some(look.on(Call::Admit)),
        };
    };
    // A master that has just started has forgotten that they leave, and clients find them while their pods end.
    let serves = there.iter().find(|w| w.known == Known::Serves);
    if let Some(serves) = serves.filter(|_| look.view.since_entry_ms >= COPY_AGAIN_MS) {
        return Act::Record {
            event: ScaleInEvent::Out(TakeOutEvent::Returned {}),
            because: format!("worker {} serves still", serves.number),
            intend: Some(look.on(Call::Decommission)),
        };
    }
    if look.leaving.drain.rescuable > 0
        && let Some(act) = look.stranded(again)
    {
        return act.map(ScaleInEvent::Out);
    }
    let total = number(look.leave.len());
    let progress = Progress { done: total - number(there.len()), total, unit: "workers" };
    let message = first.trouble.clone().unwrap_or_else(|| format!("the pod of worker {} ends", first.number));
    Act::Await(WaitingOn::Members { progress, message: cut(&message, 200) })
}

pub(super) fn verify(look: &Look<'_>) -> Act<ScaleInEvent> {
    let back = look.leave.iter().find(|n| look.members.numbers().contains(*n));
    if let Some(back) = back {
        return Act::Retry {
            reason: "WorkersBack",
            message: format!("somebody has added worker {back} again"),
        };
    }
    if let Some(serves) = look.leaving.workers.iter().find(|w| w.known == Known::Serves) {
        return wait("StillServing", format!("the cache lists worker {} as serving", serves.number));
    }
    let event = ScaleInEvent::Proven {
        workers: number(look.members.workers.len()),
        capacity_bytes: look.members.serving().1,
    };
    record(event, "neither Kubernetes nor the cache has them")
}
