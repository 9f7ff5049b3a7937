//! Histories of operations on the members of a cache.

use super::{Any, Writer, born, holds};
use ratchet_state_machine::drain::Call;
use ratchet_state_machine::effect::Effect;
use ratchet_state_machine::lifecycle::Failure;
use ratchet_state_machine::lifecycle::step::Shared;
use ratchet_state_machine::members::Numbers;
use ratchet_state_machine::operation::Event;
use ratchet_state_machine::operation::decommission::DecommissionEvent;
use ratchet_state_machine::operation::recommission::RecommissionEvent;
use ratchet_state_machine::operation::scale_in::ScaleInEvent;
use ratchet_state_machine::operation::scale_out::ScaleOutEvent;
use ratchet_state_machine::operation::take_out::TakeOutEvent;
use ratchet_state_machine::operation::upgrade::UpgradeEvent;
use ratchet_state_machine::rollout::{Release, Role};

const SCALE_OUT: &str = r#"{"uid": "0b6f3c1e-0000-4000-8000-000000000006", "spec": {
    "target": "cache", "operation": {"scaleOut": {"workers": 5}}
}}"#;

const SCALE_IN: &str = r#"{"uid": "0b6f3c1e-0000-4000-8000-000000000007", "spec": {
    "target": "cache", "operation": {"scaleIn": {"workers": 3}}
}}"#;

const DECOMMISSION: &str = r#"{"uid": "0b6f3c1e-0000-4000-8000-000000000008", "spec": {
    "target": "cache", "operation": {"decommission": {"numbers": [1, 4]}}
}}"#;

const RECOMMISSION: &str = r#"{"uid": "0b6f3c1e-0000-4000-8000-000000000009", "spec": {
    "target": "cache", "operation": {"recommission": {"numbers": [1, 4]}}
}}"#;

const UPGRADE: &str = r#"{"uid": "0b6f3c1e-0000-4000-8000-000000000010", "spec": {
    "target": "cache", "operation": {"upgrade": {"version": "2.9.6", "soakSeconds": 5}}
}}"#;

/// A scale-out whose workers did not come at first.
fn a_scale_out() -> Any<Writer> {
    let mut w = born(SCALE_OUT)?;
    let add = || [2, 3, 4].into_iter().collect::<Numbers>();
    let planned = |new| Event::ScaleOut(ScaleOutEvent::Planned { add: add(), at: 7, new });
    let effect = || Effect::AddWorkers { add: add(), at: 7 };
    w.write(planned(true), Some(effect()), None)?;
    w.intended(effect())?;
    w.write(Event::ScaleOut(ScaleOutEvent::Added {}), None, None)?;
    w.write(Event::ScaleOut(ScaleOutEvent::Serving { capacity_bytes: 300 }), None, None)?;
    w.shared(Shared::AttemptFailed { why: Failure::new("NotServing", "worker 4 is LOST") })?;
    w.write(planned(false), None, None)?;
    w.write(Event::ScaleOut(ScaleOutEvent::Serving { capacity_bytes: 300 }), None, None)?;
    w.write(Event::ScaleOut(ScaleOutEvent::Proven { workers: 5, capacity_bytes: 500 }), None, None)?;
    let last = w.entries.len() as i64;
    w.write(Event::Shared(Shared::Sealed { segment: true }), None, Some(last))?;
    Ok(w)
}

/// A scale-out that is cancelled too late, and fails before anybody knows whether its write stands.
fn a_scale_out_that_fails() -> Any<Writer> {
    let mut w = born(SCALE_OUT)?;
    let add = || [2, 3, 4].into_iter().collect::<Numbers>();
    let planned = Event::ScaleOut(ScaleOutEvent::Planned { add: add(), at: 7, new: true });
    w.write(planned, Some(Effect::AddWorkers { add: add(), at: 7 }), None)?;
    w.shared(Shared::CancelTooLate {})?;
    w.shared(Shared::Aborted {
        why: Failure::new("DeadlineExceeded", "not finished 5 s after its creation"),
    })?;
    w.intended(Effect::FenceMembers {})?;
    w.shared(Shared::Halted {})?;
    let last = w.entries.len() as i64;
    w.write(Event::Shared(Shared::Sealed { segment: true }), None, Some(last))?;
    Ok(w)
}

/// A scale-in that finds what a client has written meanwhile, and is refused at the last moment once.
fn a_scale_in() -> Any<Writer> {
    let mut w = born(SCALE_IN)?;
    let leave = || [3, 4].into_iter().collect::<Numbers>();
    let on = |call| Some(Effect::OnWorkers { call, workers: leave() });
    let event = Event::ScaleIn;
    for attempt in 0..2 {
        w.write(event(ScaleInEvent::Chosen { leave: leave(), gone: false }), on(Call::Persist), None)?;
        w.write(event(ScaleInEvent::Out(TakeOutEvent::Asked { upto: 1_700_000_000_000 })), None, None)?;
        w.write(event(ScaleInEvent::Out(TakeOutEvent::Persisted {})), on(Call::Decommission), None)?;
        w.write(event(ScaleInEvent::Out(TakeOutEvent::Decommissioned {})), None, None)?;
        w.write(event(ScaleInEvent::Out(TakeOutEvent::Stranded { files: 2 })), on(Call::Rescue), None)?;
        w.write(event(ScaleInEvent::Out(TakeOutEvent::Rescued {})), None, None)?;
        w.write(event(ScaleInEvent::Out(TakeOutEvent::Clear { at: 7 + attempt })), None, None)?;
        w.write(event(ScaleInEvent::Out(TakeOutEvent::Returned {})), on(Call::Decommission), None)?;
        w.write(event(ScaleInEvent::Out(TakeOutEvent::Decommissioned {})), None, None)?;
        w.write(event(ScaleInEvent::Out(TakeOutEvent::Clear { at: 7 + attempt })), None, None)?;
        w.write(event(ScaleInEvent::Out(TakeOutEvent::Drained {})), None, None)?;
        let remove = Effect::RemoveWorkers { remove: leave(), at: 7 + attempt };
        w.write(event(ScaleInEvent::Out(TakeOutEvent::Clear { at: 7 + attempt })), Some(remove), None)?;
        if attempt == 0 {
            w.write(
                event(ScaleInEvent::NotRemoved { why: "NotDrained: worker 3 serves again".into() }),
                Some(Effect::FenceMembers {}),
                None,
            )?;
            w.shared(Shared::AttemptFailed { why: Failure::new("NotRemoved", "worker 3 serves again") })?;
        }
    }
    w.write(event(ScaleInEvent::Removed {}), None, None)?;
    w.write(event(ScaleInEvent::Left {}), on(Call::Admit), None)?;
    w.write(event(ScaleInEvent::Admitted {}), None, None)?;
    w.write(event(ScaleInEvent::Proven { workers: 3, capacity_bytes: 300 }), None, None)?;
    let last = w.entries.len() as i64;
    w.write(Event::Shared(Shared::Sealed { segment: true }), None, Some(last))?;
    Ok(w)
}

/// A scale-in that is cancelled while it drains.
fn a_scale_in_that_is_cancelled() -> Any<Writer> {
    let mut w = born(SCALE_IN)?;
    let leave = || [4].into_iter().collect::<Numbers>();
    let on = |call| Effect::OnWorkers { call, workers: leave() };
    let event = Event::ScaleIn;
    w.write(event(ScaleInEvent::Chosen { leave: leave(), gone: false }), Some(on(Call::Persist)), None)?;
    w.write(event(ScaleInEvent::Out(TakeOutEvent::Asked { upto: 0 })), None, None)?;
    w.write(event(ScaleInEvent::Out(TakeOutEvent::Persisted {})), Some(on(Call::Decommission)), None)?;
    w.write(event(ScaleInEvent::Out(TakeOutEvent::Decommissioned {})), None, None)?;
    w.write(event(ScaleInEvent::Out(TakeOutEvent::Clear { at: 7 })), None, None)?;
    w.shared(Shared::CancelRequested { deleted: false })?;
    w.intended(on(Call::Rescue))?;
    w.intended(on(Call::Admit))?;
    w.intended(Effect::ReplaceWorker { worker: 4, uid: "0b6f3c1e-0000-4000-8000-000000000044".into() })?;
    w.shared(Shared::Halted {})?;
    let last = w.entries.len() as i64;
    w.write(Event::Shared(Shared::Sealed { segment: true }), None, Some(last))?;
    Ok(w)
}

/// A decommission that is refused at the last moment once, and whose worker serves again before it is proven.
fn a_decommission() -> Any<Writer> {
    let mut w = born(DECOMMISSION)?;
    let leave = || [1, 4].into_iter().collect::<Numbers>();
    let on = |call| Some(Effect::OnWorkers { call, workers: leave() });
    let mark = |at| Some(Effect::MarkWorkers { workers: leave(), out: true, at });
    let event = Event::Decommission;
    let out = |e| Event::Decommission(DecommissionEvent::Out(e));
    w.write(event(DecommissionEvent::Chosen { leave: leave(), marked: false }), on(Call::Persist), None)?;
    w.write(out(TakeOutEvent::Asked { upto: 1_700_000_000_000 }), None, None)?;
    w.write(out(TakeOutEvent::Persisted {}), on(Call::Decommission), None)?;
    w.write(out(TakeOutEvent::Decommissioned {}), None, None)?;
    w.write(out(TakeOutEvent::Clear { at: 7 }), None, None)?;
    w.write(out(TakeOutEvent::Drained {}), None, None)?;
    w.write(out(TakeOutEvent::Clear { at: 7 }), mark(7), None)?;
    let why = "RevisionMoved: it was decided on revision 7, and 8 is there";
    let fence = Some(Effect::FenceMembers {});
    w.write(event(DecommissionEvent::NotMarked { why: why.into() }), fence, None)?;
    w.shared(Shared::AttemptFailed { why: Failure::new("NotMarked", why) })?;
    w.write(event(DecommissionEvent::Chosen { leave: leave(), marked: false }), on(Call::Persist), None)?;
    w.write(out(TakeOutEvent::Persisted {}), on(Call::Decommission), None)?;
    w.write(out(TakeOutEvent::Decommissioned {}), None, None)?;
    w.write(out(TakeOutEvent::Clear { at: 9 }), None, None)?;
    w.write(out(TakeOutEvent::Drained {}), None, None)?;
    w.write(out(TakeOutEvent::Clear { at: 9 }), mark(9), None)?;
    w.write(event(DecommissionEvent::Marked {}), None, None)?;
    w.write(out(TakeOutEvent::Returned {}), on(Call::Decommission), None)?;
    w.write(out(TakeOutEvent::Decommissioned {}), None, None)?;
    w.write(out(TakeOutEvent::Stranded { files: 1 }), on(Call::Rescue), None)?;
    w.write(out(TakeOutEvent::Rescued {}), None, None)?;
    w.write(event(DecommissionEvent::Proven { workers: 3, capacity_bytes: 300 }), None, None)?;
    let last = w.entries.len() as i64;
    w.write(Event::Shared(Shared::Sealed { segment: true }), None, Some(last))?;
    Ok(w)
}

fn a_recommission() -> Any<Writer> {
    let mut w = born(RECOMMISSION)?;
    let back = || [1, 4].into_iter().collect::<Numbers>();
    let event = Event::Recommission;
    let unmark = Effect::MarkWorkers { workers: back(), out: false, at: 7 };
    let chosen = RecommissionEvent::Chosen { back: back(), at: 7, marked: true };
    w.write(event(chosen), Some(unmark), None)?;
    w.write(event(RecommissionEvent::Unmarked {}), None, None)?;
    w.intended(Effect::OnWorkers { call: Call::Admit, workers: back() })?;
    for worker in [1, 4] {
        let uid = format!("0b6f3c1e-0000-4000-8000-00000000004{worker}");
        w.intended(Effect::ReplaceWorker { worker, uid })?;
    }
    w.write(event(RecommissionEvent::Serving {}), None, None)?;
    w.write(event(RecommissionEvent::Proven { workers: 5, capacity_bytes: 500 }), None, None)?;
    let last = w.entries.len() as i64;
    w.write(Event::Shared(Shared::Sealed { segment: true }), None, Some(last))?;
    Ok(w)
}

fn chosen() -> Event {
    let repository = "alluxio/alluxio".into();
    let from = Release { version: "2.9.4".into(), repository, tag: None };
    Event::Upgrade(UpgradeEvent::Chosen { from, at: 7, there: false })
}

fn goes(role: Role, number: i32) -> Effect {
    let uid = format!("0b6f3c1e-0000-4000-8000-0000000000{}{number}", role as i32);
    Effect::ReplaceMember { role, number, uid }
}

/// An upgrade of a master and a worker that is drained first.
fn an_upgrade() -> Any<Writer> {
    let mut w = born(UPGRADE)?;
    w.write(Event::Upgrade(UpgradeEvent::Measured { cached_bytes: 300 }), None, None)?;
    let on = |call| Effect::OnWorkers { call, workers: [0].into_iter().collect() };
    let event = Event::Upgrade;
    w.write(chosen(), Some(Effect::SetRelease { back: false, at: 7 }), None)?;
    let why = "RevisionMoved: it was decided on revision 7, and 8 is there";
    let refused = UpgradeEvent::NotRevised { why: why.into() };
    w.write(event(refused), Some(Effect::FenceMembers {}), None)?;
    w.shared(Shared::AttemptFailed { why: Failure::new("NotRevised", why) })?;
    w.write(chosen(), Some(Effect::SetRelease { back: false, at: 7 }), None)?;
    w.write(event(UpgradeEvent::Revised {}), None, None)?;
    w.intended(goes(Role::Master, 0))?;
    w.write(event(UpgradeEvent::Moved { members: 1 }), None, None)?;
    w.intended(on(Call::Persist))?;
    w.intended(on(Call::Decommission))?;
    w.intended(on(Call::Rescue))?;
    w.intended(goes(Role::Worker, 0))?;
    w.write(event(UpgradeEvent::Moved { members: 2 }), None, None)?;
    w.write(event(UpgradeEvent::Rolled {}), None, None)?;
    w.write(
        event(UpgradeEvent::Proven {
            members: 2,
            workers: 1,
            capacity_bytes: 500,
            cached_before_bytes: 300,
            cached_bytes: 300,
        }),
        None,
        None,
    )?;
    let last = w.entries.len() as i64;
    w.write(Event::Shared(Shared::Sealed { segment: true }), None, Some(last))?;
    Ok(w)
}

/// One whose master does not come up: it is stuck on its way back once, and then back.
fn an_upgrade_that_is_taken_back() -> Any<Writer> {
    let mut w = born(UPGRADE)?;
    w.write(chosen(), Some(Effect::SetRelease { back: false, at: 7 }), None)?;
    w.write(Event::Upgrade(UpgradeEvent::Revised {}), None, None)?;
    w.intended(goes(Role::Master, 0))?;
    let why = Failure::new("MemberNotUp", "not up in 300 s (memberDeadlineSeconds): master 0 is starting");
    w.shared(Shared::Aborted { why })?;
    w.intended(Effect::SetRelease { back: true, at: 8 })?;
    w.intended(goes(Role::Master, 0))?;
    w.shared(Shared::GotStuck { why: Failure::new("WaitingForMembers", "the way back does not get on") })?;
    w.shared(Shared::RetryRequested { count: 1 })?;
    w.shared(Shared::Halted {})?;
    let last = w.entries.len() as i64;
    w.write(Event::Shared(Shared::Sealed { segment: true }), None, Some(last))?;
    Ok(w)
}

#[test]
fn upgrades_of_version_1_replay_and_are_still_written_like_that() -> Any<()> {
    holds("upgrade-v1.jsonl", &an_upgrade()?)?;
    holds("upgrade-rolledBack-v1.jsonl", &an_upgrade_that_is_taken_back()?)
}

#[test]
fn scale_outs_and_scale_ins_of_version_1_replay_and_are_still_written_like_that() -> Any<()> {
    holds("scaleOut-v1.jsonl", &a_scale_out()?)?;
    holds("scaleOut-failed-v1.jsonl", &a_scale_out_that_fails()?)?;
    holds("scaleIn-v1.jsonl", &a_scale_in()?)?;
    holds("scaleIn-cancelled-v1.jsonl", &a_scale_in_that_is_cancelled()?)
}

#[test]
fn a_decommission_and_a_recommission_of_version_1_replay_and_are_still_written_like_that() -> Any<()> {
    holds("decommission-v1.jsonl", &a_decommission()?)?;
    holds("recommission-v1.jsonl", &a_recommission()?)
}
