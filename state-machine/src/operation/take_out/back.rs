//! Workers that are out of use come back.
//!
//! Alluxio has no call that takes a decommission back: what is stranded is rescued, the worker is let in again and, when no
//! client writes to it any more, its pod made anew, until each serves. Those that the revision says are out of use stay so.

use crate::drain::{Call, DISABLED, LeavingView};
use crate::effect::Effect;
use crate::members::{Known, MembersView, Numbers, WorkerView};

/// Workers of the revision that are out of use and not meant to be.
pub fn out_of_use<'a>(members: &MembersView, leaving: &'a LeavingView) -> Vec<&'a WorkerView> {
    let there = members.numbers();
    let meant = there.without(&members.out);
    leaving.workers.iter().filter(|w| meant.contains(w.number) && w.known != Known::Serves).collect()
}

/// What keeps workers that were told to leave from being at rest.
pub fn unrest(members: &MembersView, leaving: &LeavingView) -> Option<String> {
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
pub fn undo(leave: &Numbers, members: &MembersView, leaving: &LeavingView) -> Option<Effect> {
    let out = out_of_use(members, leaving);
    let on = |call| Effect::OnWorkers { call, workers: leave.clone() };
    if leaving.drain.rescuable > 0 && (!out.is_empty() || leaving.workers.iter().any(|w| w.pod)) {
        return Some(on(Call::Rescue));
    }
    // Also of one that is gone: the next worker of its number is to be let in. Not of one whose process may be there still.
    let there = members.numbers();
    let may_return = |w: &&WorkerView| {
        w.known == Known::As(DISABLED.into())
            && !members.out.contains(w.number)
            && (there.contains(w.number) || !w.pod)
    };
    let workers: Numbers = leaving.workers.iter().filter(may_return).map(|w| w.number).collect();
    if !workers.is_empty() {
        return Some(Effect::OnWorkers { call: Call::Admit, workers });
    }
    // What would go with a pod is not given up here.
    if !leaving.drain.stranded.none() {
        return None;
    }
    // One whose pod is new registers by itself. They do not serve: none of them is missed while its pod is made anew.
    let stays_out = out.iter().find(|w| w.settled)?;
    Some(Effect::ReplaceWorker { worker: stays_out.number, uid: stays_out.uid.clone()? })
}

/// What keeps a pod from being made anew now. What a client writes to its worker until it has heard of the decommission would
/// go with it. Once is enough for all of them: `heard` says that the effect before was of this kind too.
pub fn early(next: Option<&Effect>, heard: bool, watched_ms: i64, leaving: &LeavingView) -> Option<String> {
    let Some(Effect::ReplaceWorker { worker, .. }) = next else { return None };
    let early = !heard && watched_ms < leaving.refresh_ms;
    early.then(|| format!("the pod of worker {worker} is made anew when no client uses it any more"))
}
