//! Workers that are out of use come back.
//!
//! Alluxio has no call that takes a decommission back: what is stranded is rescued, the worker is let in again and, when no
//! client writes to it any more, its pod made anew, until each serves. Those that the revision says are out of use stay so.

use crate::drain::{Call, DISABLED, LeavingView, MASTER_KNOWS_MS};
use crate::effect::{Answer, Effect};
use crate::members::{Known, MembersView, Numbers, WorkerView};
use crate::operation::arm::Unrest;

/// Workers of the revision that are out of use and not meant to be.
pub fn out_of_use<'a>(members: &MembersView, leaving: &'a LeavingView) -> Vec<&'a WorkerView> {
    let there = members.numbers();
    let meant = there.without(&members.out);
    leaving.workers.iter().filter(|w| meant.contains(w.number) && w.known != Known::Serves).collect()
}

/// The next thing that brings an operation to rest which took workers out of use. `written_on`: it may have a write of the
/// revision on its way, which was decided on this one; another one refuses it.
pub fn halt(leave: &Numbers, written_on: Option<i64>, answer: Option<&Answer>) -> Option<Effect> {
    let Some(Answer::Leaving(members, leaving)) = answer else { return None };
    if members.foreign.is_some() {
        return None;
    }
    if written_on == Some(members.revision) {
        return Some(Effect::FenceMembers {});
    }
    undo(leave, members, leaving)
}

/// What has to come about by itself meanwhile.
pub fn unrest(view: &Unrest<'_>) -> Option<String> {
    let Some(Answer::Leaving(members, leaving)) = view.answer else { return None };
    if members.foreign.is_some() {
        return None;
    }
    let heard = matches!(view.last, Some(Effect::ReplaceWorker { .. }));
    match view.next {
        Some(_) => early(view.next, heard, view.watched_ms, leaving),
        None => not_back(members, leaving),
    }
}

/// Why workers that were told to leave are not where they shall be.
pub fn not_back(members: &MembersView, leaving: &LeavingView) -> Option<String> {
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
    let admit =
        |workers: Numbers| (!workers.is_empty()).then_some(Effect::OnWorkers { call: Call::Admit, workers });
    let disabled = admit(leaving.workers.iter().filter(may_return).map(|w| w.number).collect());
    if disabled.is_some() {
        return disabled;
    }
    // A master that has just started knows nobody: whoever it does not list may be about to register.
    let known = leaving.drain.master_up_ms >= MASTER_KNOWS_MS;
    // One whose pod is new registers by itself. They do not serve: none of them is missed while its pod is made anew.
    let stays_out = out.iter().find(|w| w.settled && (known || w.known != Known::No));
    // What would go with a pod is not given up here.
    if let Some(worker) = stays_out.filter(|_| leaving.drain.stranded.none()) {
        return Some(Effect::ReplaceWorker { worker: worker.number, uid: worker.uid.clone()? });
    }
    // One that is not let in is forgotten after half an hour, and its process ends after an hour: it is not ready then.
    let forgotten = out.iter().filter(|w| w.known == Known::No && w.pod && !w.ready);
    admit(forgotten.map(|w| w.number).collect())
}

/// What keeps a pod from being made anew now. What a client writes to its worker until it has heard of the decommission would
/// go with it. Once is enough for all of them: `heard` says that the effect before was of this kind too.
pub fn early(next: Option<&Effect>, heard: bool, watched_ms: i64, leaving: &LeavingView) -> Option<String> {
    let Some(Effect::ReplaceWorker { worker, .. }) = next else { return None };
    let early = !heard && watched_ms < leaving.refresh_ms;
    early.then(|| format!("the pod of worker {worker} is made anew when no client uses it any more"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::drain::{DrainView, Files};
    use crate::testing::engine::serving;

    fn worker(number: i32, known: Known) -> WorkerView {
        WorkerView { known, ..serving(number) }
    }

    fn dead(number: i32) -> WorkerView {
        WorkerView { ready: false, settled: false, ..worker(number, Known::No) }
    }

    fn admitted(number: i32) -> WorkerView {
        worker(number, Known::As("Decommissioned".into()))
    }

    fn disabled(number: i32) -> WorkerView {
        worker(number, Known::As(DISABLED.into()))
    }

    /// What is next for these, of which those are to be out of use.
    fn next(workers: Vec<WorkerView>, out: &[i32], drain: DrainView) -> String {
        let leave: Numbers = workers.iter().map(|w| w.number).collect();
        let members = MembersView {
            workers: workers.clone(),
            out: out.iter().copied().collect(),
            ..MembersView::default()
        };
        let view = LeavingView { workers, drain, refresh_ms: 0 };
        match undo(&leave, &members, &view) {
            Some(Effect::OnWorkers { call, workers }) => format!("{} {workers}", call.name()),
            Some(Effect::ReplaceWorker { worker, .. }) => format!("replaceWorker {worker}"),
            other => format!("{other:?}"),
        }
    }

    fn old() -> DrainView {
        DrainView { master_up_ms: i64::MAX, ..DrainView::default() }
    }

    #[test]
    fn one_that_does_not_come_back_keeps_no_other_out() {
        assert_eq!(next(vec![disabled(2), dead(3)], &[], old()), "admitWorkers 2");
        assert_eq!(next(vec![admitted(2), dead(3)], &[], old()), "replaceWorker 2");
        let young = WorkerView { settled: false, ..admitted(2) };
        assert_eq!(next(vec![young, dead(3)], &[], old()), "admitWorkers 3");
        assert_eq!(next(vec![serving(2), dead(3)], &[], old()), "admitWorkers 3");
    }

    #[test]
    fn whoever_is_to_be_out_of_use_stays_so() {
        assert_eq!(next(vec![disabled(1), disabled(2)], &[1], old()), "admitWorkers 2");
        assert_eq!(next(vec![disabled(1), admitted(2)], &[1], old()), "replaceWorker 2");
        assert_eq!(next(vec![disabled(1), serving(2)], &[1], old()), "None");
    }

    #[test]
    fn what_a_young_master_does_not_list_may_be_about_to_register() {
        assert_eq!(next(vec![worker(1, Known::No)], &[], DrainView::default()), "None");
        assert_eq!(next(vec![worker(1, Known::No)], &[], old()), "replaceWorker 1");
        let stranded = DrainView { stranded: Files { count: 1, example: None }, ..old() };
        assert_eq!(next(vec![admitted(1)], &[], stranded), "None", "its files would go with it");
    }
}
