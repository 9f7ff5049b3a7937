use super::*;
use crate::backups::BackupsView;
use crate::backups::Progress::{Completed, Failed, Running};
use crate::decision::Decision;
use crate::drain::{Call, DISABLED, DrainView, Files, LeavingView};
use crate::effect::Outcome;
use crate::lifecycle::{Failure, Folded, decide};
use crate::members::{Known, Numbers, WorkerView};
use crate::observation::{IntentView, Observation};
use crate::rollout::{MemberView, Template};
use crate::spec::HaltAfter;
use crate::testing::engine::{OLD, member, rollout};
use crate::testing::{calm, folded, intending, says, upgrade, upgrading};

const NEW: &str = "2.9.6";

fn was() -> Was {
    Was { from: rollout().release, at: 4, cached_bytes: 3, hit: None }
}

fn sees(view: RolloutView) -> Observation {
    Observation { answer: Some(Ok(Answer::Rollout(Box::new(view)))), since_entry_ms: 5_000, ..calm() }
}

/// Rolling to the new release: these are up on it, the others are of before.
fn rolled(moved: &[(Role, i32)]) -> RolloutView {
    let mut view = rollout();
    (view.release.version, view.revision) = (NEW.into(), 5);
    for m in &mut view.members {
        let up = moved.contains(&(m.role, m.number));
        m.template = if up { Template::Current } else { Template::Before };
        m.version = Some(if up { NEW } else { OLD }.into());
    }
    view
}

fn all() -> Vec<(Role, i32)> {
    rollout().members.iter().map(|m| (m.role, m.number)).collect()
}

fn at(view: &mut RolloutView, role: Role, number: i32) -> &mut MemberView {
    view.members.iter_mut().find(|m| (m.role, m.number) == (role, number)).unwrap()
}

fn rolling(view: &RolloutView) -> Folded {
    upgrading(&upgrade(NEW), Upgrade::Rolling { was: was(), moved: view.up(), passed: 0 })
}

/// What worker `number` has.
fn leaving(number: i32, drain: DrainView) -> Option<LeavingView> {
    let drain = DrainView { master_up_ms: i64::MAX, ..drain };
    let workers = vec![WorkerView { number, ..WorkerView::default() }];
    Some(LeavingView { workers, drain, refresh_ms: 120_000 })
}

fn one(number: i32) -> Numbers {
    [number].into_iter().collect()
}

/// The effect that is next, in words.
fn next(op: &Folded, seen: &Observation) -> String {
    match decide(&upgrade(NEW), op, seen) {
        Decision::Record { intend: Some(Effect::ReplaceMember { role, number, .. }), .. } => {
            format!("replace {} {number}", role.name())
        }
        Decision::Record { intend: Some(Effect::OnWorkers { call, workers }), .. } => {
            format!("{} {workers}", call.name())
        }
        Decision::Record { .. }
        | Decision::Perform(_)
        | Decision::TakeHold
        | Decision::Release
        | Decision::Seal
        | Decision::Await(_)
        | Decision::Rest => says(&upgrade(NEW), op, seen),
    }
}

#[test]
fn what_the_masters_know_is_saved_first_where_that_is_wanted_and_the_file_is_recorded() {
    let mut spec = upgrade(NEW);
    if let ArmSpec::Upgrade(u) = &mut spec.operation {
        u.backup_path = Some("/backups".into());
    }
    let preflight = |saved| Upgrade::Preflight { was: None, cached_bytes: Some(3), saved };
    assert_eq!(says(&spec, &upgrading(&spec, preflight(None)), &sees(rollout())), "BackupDue + backup");
    let saved = Some(made_sample());
    assert_eq!(
        says(&spec, &upgrading(&spec, preflight(saved.clone())), &sees(rollout())),
        "Chosen + setRelease"
    );
    let writing = Upgrade::BackingUp {
        was: None,
        cached_bytes: 3,
        started: true,
        folder: Some(made_sample().folder),
        id: Some("7".into()),
    };
    let view = |progress, made| {
        let view = BackupsView { place: Ok("s3://b/backups".into()), progress, made, surplus: Vec::new() };
        Observation { answer: Some(Ok(Answer::Backups(view))), ..calm() }
    };
    let op = upgrading(&spec, writing.clone());
    assert!(says(&spec, &op, &view(Running { entries: 3 }, None)).starts_with("Working"));
    assert_eq!(says(&spec, &op, &view(Failed { message: "x".into() }, None)), "again BackupFailed");
    assert_eq!(says(&spec, &op, &view(Completed, saved)), "Saved");
    assert!(!writing.quiet() && !writing.rolls_back());
    assert_eq!(writing.retried(), preflight(None));
    // Whoever has begun goes on: what was saved stays so.
    let was = was();
    let begun = Upgrade::Preflight { was: Some(was), cached_bytes: Some(3), saved: None };
    assert_eq!(says(&spec, &upgrading(&spec, begun), &sees(rollout())), "Chosen + setRelease");
}

#[test]
fn what_stands_in_its_way_is_named_before_anything_moves() {
    let spec = upgrade(NEW);
    let op = upgrading(&spec, Upgrade::Preflight { was: None, cached_bytes: Some(3), saved: None });
    assert_eq!(says(&spec, &upgrading(&spec, Upgrade::first()), &sees(rollout())), "Measured");
    let measured = decide(&spec, &upgrading(&spec, Upgrade::first()), &sees(rollout()));
    let Decision::Record { because, .. } = measured else { panic!("{measured:?}") };
    assert_eq!(because, "nothing stands in its way; in this order: master 0; worker 0, 1, 2; proxy 0");
    let with = |change: &dyn Fn(&mut RolloutView)| {
        let mut view = rollout();
        change(&mut view);
        says(&spec, &op, &sees(view))
    };
    assert_eq!(with(&|_| {}), "Chosen + setRelease");
    assert_eq!(with(&|v| v.foreign = Some("attached".into())), "fails NotManaged");
    assert_eq!(with(&|v| v.journal_kept = false), "fails JournalNotKept");
    assert_eq!(with(&|v| v.out = one(1)), "fails WorkersOutOfUse");
    assert_eq!(with(&|v| v.release.tag = Some(NEW.into())), "fails SameImage");
    assert_eq!(with(&|v| v.release.repository = "r".repeat(220)), "fails ReleaseTooLong");
    assert_eq!(with(&|v| v.release.version = "2.9.1".into()), "fails UnprovenReleases");
    assert_eq!(
        with(&|v| v.members.retain(|m| m.role != Role::Worker || m.number == 0)),
        "fails NoOtherWorker"
    );
    let mut beyond = spec.clone();
    if let ArmSpec::Upgrade(u) = &mut beyond.operation {
        u.strategy.steps = vec![HaltAfter { workers: 4, pause_seconds: 0, approve: true }];
    }
    assert_eq!(says(&beyond, &op, &sees(rollout())), "fails NoSuchStep");
    assert!(with(&|v| v.silent = Some("gone".into())).starts_with("CacheSilent"));
    assert!(with(&|v| v.set_up = Some("MasterReady".into())).starts_with("ClusterNotReady"));
    assert_eq!(
        with(&|v| at(v, Role::Worker, 2).known = Known::As("LOST".into())),
        "MembersNotWell: every member has to serve before any is made anew: worker 2 is LOST"
    );
    assert_eq!(with(&|v| v.release.version = NEW.into()), "Chosen", "nothing is to be written");
}

#[test]
fn members_go_in_their_order_and_each_comes_up_first() {
    let mut moved = Vec::new();
    let mut order = Vec::new();
    for _ in 0..20 {
        let mut view = rolled(&moved);
        // Workers of which nothing is kept have been drained.
        for n in 0..2 {
            let worker = at(&mut view, Role::Worker, n);
            if worker.template == Template::Before {
                worker.known = Known::As(DISABLED.into());
            }
        }
        view.leaving = (0..2)
            .find(|n| !moved.contains(&(Role::Worker, *n)))
            .and_then(|n| leaving(n, DrainView::default()));
        let seen = Observation { watched_entry_ms: 130_000, ..sees(view.clone()) };
        let said = next(&rolling(&view), &seen);
        let Some(name) = said.strip_prefix("replace ") else {
            assert_eq!(said, "Rolled");
            break;
        };
        order.push(name.to_owned());
        let found = view.members.iter().find(|m| m.title() == name).unwrap();
        moved.push((found.role, found.number));
        // While it is not there, nobody else goes.
        let mut gone = rolled(&moved);
        let it = at(&mut gone, found.role, found.number);
        (it.uid, it.ready, it.template) = (None, false, Template::Unknown);
        let waits = next(&rolling(&gone), &sees(gone.clone()));
        assert!(waits.starts_with("WaitingForMembers: "), "{waits}");
    }
    assert_eq!(order, ["master 0", "worker 0", "worker 1", "worker 2", "proxy 0"]);
}

#[test]
fn it_halts_where_it_is_told_to_and_goes_on_after_the_pause_and_the_word() {
    let mut spec = upgrade(NEW);
    let halt = |workers, pause_seconds, approve| HaltAfter { workers, pause_seconds, approve };
    if let ArmSpec::Upgrade(u) = &mut spec.operation {
        u.strategy.steps = vec![halt(0, 60, false), halt(2, 0, true)];
    }
    let says = |spec: &OperationSpec, moved: &[(Role, i32)], passed, since_entry_ms| {
        let view = rolled(moved);
        let op = upgrading(spec, Upgrade::Rolling { was: was(), moved: view.up(), passed });
        let seen = Observation { since_entry_ms, watched_entry_ms: 130_000, ..sees(view) };
        says(spec, &op, &seen)
    };
    let (master, one) = ((Role::Master, 0), (Role::Worker, 0));
    // Masters are not workers.
    assert!(says(&spec, &[], 0, 0).ends_with("replaceMember"));
    assert!(says(&spec, &[master], 0, 59_000).starts_with("WaitingForMembers"));
    assert_eq!(says(&spec, &[master], 0, 60_000), "StepPassed");
    assert!(!says(&spec, &[master], 1, 0).starts_with("StepPassed"));
    assert!(!says(&spec, &[master, one], 1, 0).starts_with("WaitingForApproval"));
    let two = [master, one, (Role::Worker, 1)];
    assert!(says(&spec, &two, 1, 0).starts_with("WaitingForApproval"));
    let approved = |name: &str| {
        let mut spec = spec.clone();
        let (plan_hash, by) = (crate::ids::PlanHash(name.into()), "ann".into());
        spec.control.approve = Some(crate::spec::Approve { plan_hash, by });
        spec
    };
    assert!(says(&approved("step-1"), &two, 1, 0).starts_with("WaitingForApproval"));
    assert_eq!(says(&approved("step-2"), &two, 1, 0), "StepPassed");
    assert!(!says(&spec, &two, 2, 0).starts_with("WaitingForApproval"));
    // One that is not well meanwhile is waited for first, and not for ever.
    let mut view = rolled(&two);
    at(&mut view, Role::Worker, 1).ready = false;
    let op = upgrading(&spec, Upgrade::Rolling { was: was(), moved: 3, passed: 1 });
    assert!(crate::testing::says(&spec, &op, &sees(view)).starts_with("WaitingForMembers"));
    if let ArmSpec::Upgrade(u) = &mut spec.operation {
        u.strategy.steps = vec![halt(2, 0, false), halt(2, 0, false)];
    }
    assert_eq!(spec.problems().len(), 1);
}

#[test]
fn standbys_go_before_the_primary_and_nobody_while_one_is_missing() {
    let three = |missing: Option<i32>| {
        let mut view = rolled(&[]);
        view.members.retain(|m| m.role != Role::Master);
        let template = Template::Before;
        view.members.extend((0..3).map(|n| MemberView {
            primary: n == 0,
            template,
            ..member(Role::Master, n)
        }));
        if let Some(n) = missing {
            at(&mut view, Role::Master, n).template = Template::Current;
            at(&mut view, Role::Master, n).ready = false;
        }
        next(&rolling(&view), &sees(view.clone()))
    };
    assert_eq!(three(None), "replace master 1");
    assert!(three(Some(1)).starts_with("WaitingForMembers: master 1"));
}

#[test]
fn the_primary_hands_over_before_it_goes_and_goes_all_the_same_where_nobody_takes_over() {
    // Masters 1 and 2 are up on the release; 0 leads, or `leader` does.
    let view = |leader: i32| {
        let mut view = rolled(&[]);
        view.members.retain(|m| m.role != Role::Master);
        view.members.extend((0..3).map(|n| MemberView {
            primary: n == leader,
            template: if n == 0 { Template::Before } else { Template::Current },
            version: Some(if n == 0 { OLD } else { NEW }.into()),
            ..member(Role::Master, n)
        }));
        view
    };
    let op = rolling(&view(0));
    let says = |op: &Folded, seen: &Observation| says(&upgrade(NEW), op, seen);
    assert_eq!(says(&op, &sees(view(0))), "Intended + transferLeadership");
    let asked = intending(op, Effect::TransferLeadership { to: 1 });
    let done = Some(Outcome::Done(crate::effect::Receipt::default()));
    let told = |leader, since_entry_ms| Observation {
        outcome: done.clone(),
        intent: IntentView::Expired,
        since_entry_ms,
        ..sees(view(leader))
    };
    assert!(says(&asked, &told(0, 5_000)).starts_with("LeadershipMoves"));
    assert_eq!(says(&asked, &told(0, 60_000)), "Intended + resetPriorities");
    assert_eq!(says(&asked, &told(1, 25_000)), "Intended + resetPriorities");
    let reset = intending(asked.clone(), Effect::ResetPriorities {});
    assert_eq!(says(&reset, &told(1, 5_000)), "Intended + replaceMember");
    assert_eq!(says(&reset, &told(0, 5_000)), "Intended + replaceMember");
    // A target that is none costs time and nothing else.
    let refused = |since_entry_ms| Observation {
        outcome: Some(Outcome::Refused {
            reason: "NotInQuorum".into(),
            message: "m1 is none".into(),
            retryable: true,
        }),
        ..told(0, since_entry_ms)
    };
    assert!(says(&asked, &refused(1_000)).starts_with("NotNow"));
    assert_eq!(says(&asked, &refused(60_000)), "Intended + resetPriorities");
}

#[test]
fn a_member_counts_when_it_says_the_release_itself_and_has_soaked() {
    let mut view = rolled(&[(Role::Master, 0)]);
    assert_eq!(
        says(
            &upgrade(NEW),
            &upgrading(&upgrade(NEW), Upgrade::Rolling { was: was(), moved: 0, passed: 0 }),
            &sees(view.clone())
        ),
        "Moved"
    );
    at(&mut view, Role::Master, 0).ready_ms = 4_000;
    let said = next(&rolling(&view), &sees(view.clone()));
    assert_eq!(said, "WaitingForMembers: master 0 has to be ready for 10 s");
    at(&mut view, Role::Master, 0).version = Some(OLD.into());
    let said = next(&rolling(&view), &sees(view.clone()));
    assert_eq!(said, "WaitingForMembers: master 0 says that it is of release 2.9.4");
    let late = |op: Folded| {
        let intent = IntentView::Expired;
        next(&op, &Observation { since_entry_ms: 300_000, intent, ..sees(view.clone()) })
    };
    let goes = Effect::ReplaceMember { role: Role::Master, number: 0, uid: "u".into() };
    assert_eq!(late(intending(rolling(&view), goes)), "fails MemberNotUp");
    // One that was up, or never went, is waited for; a stall deadline does not pass it by.
    assert!(late(rolling(&view)).starts_with("WaitingForMembers"));
    // Until every set is known to be what the revision says, nobody goes.
    let mut unknown = rolled(&[]);
    at(&mut unknown, Role::Master, 0).template = Template::Unknown;
    let said = next(&rolling(&unknown), &sees(unknown.clone()));
    assert!(said.ends_with("its StatefulSet is being told of the release"), "{said}");
}

#[test]
fn a_worker_whose_tiers_go_with_it_is_emptied_first() {
    let files = |count| Files { count, example: Some("/f".into()) };
    let view = |known: Known, drain: DrainView| {
        let mut view = rolled(&[(Role::Master, 0)]);
        at(&mut view, Role::Worker, 0).known = known;
        view.leaving = leaving(0, drain);
        view
    };
    let told = || Known::As(DISABLED.into());
    let unasked = DrainView { unpersisted: files(2), unasked: 2, ..DrainView::default() };
    let seen = view(Known::Serves, unasked);
    let op = rolling(&seen);
    assert_eq!(next(&op, &sees(seen)), "persistFiles 0");
    let asked = Effect::OnWorkers { call: Call::Persist, workers: one(0) };
    let op = intending(op, asked);
    let after = |view| Observation { intent: IntentView::Expired, ..sees(view) };
    let on_their_way = DrainView { unpersisted: files(2), ..DrainView::default() };
    assert!(next(&op, &after(view(Known::Serves, on_their_way))).starts_with("NotPersisted"));
    assert_eq!(next(&op, &after(view(Known::Serves, DrainView::default()))), "decommissionWorkers 0");
    let stranded = DrainView { stranded: files(1), rescuable: 1, ..DrainView::default() };
    assert_eq!(next(&op, &after(view(told(), stranded.clone()))), "rescueBlocks 0");
    let silent = DrainView { rescuable: 0, silent: Some("worker 0: no answer".into()), ..stranded };
    assert!(next(&op, &after(view(told(), silent))).starts_with("WorkerSilent"));
    let said = next(&op, &after(view(told(), DrainView::default())));
    assert_eq!(said, "WaitingForMembers: every client is to hear that worker 0 leaves");
    let heard = Observation { watched_entry_ms: 121_000, ..after(view(told(), DrainView::default())) };
    assert_eq!(next(&op, &heard), "replace worker 0");
}

#[test]
fn who_was_to_go_and_is_there_still_goes_before_whoever_is_missing_meanwhile() {
    let mut view = rolled(&[(Role::Master, 0)]);
    at(&mut view, Role::Worker, 1).known = Known::As(DISABLED.into());
    (at(&mut view, Role::Worker, 0).ready, at(&mut view, Role::Worker, 0).known) = (false, Known::No);
    view.leaving = leaving(1, DrainView::default());
    let goes = Effect::ReplaceMember { role: Role::Worker, number: 1, uid: "worker 1".into() };
    let op = intending(rolling(&view), goes);
    let Some(crate::effect::Query::Rollout { pace }) = crate::lifecycle::query(&upgrade(NEW), &op) else {
        panic!("another question")
    };
    assert!(
        matches!(view.choose(&pace), crate::rollout::Choice::Next(m) if m.number == 1),
        "the look is for it"
    );
    let seen = Observation { intent: IntentView::Expired, ..sees(view) };
    assert_eq!(next(&op, &seen), "replace worker 1");
}

#[test]
fn a_refused_eviction_is_waited_for_and_one_that_came_too_early_is_looked_at_anew() {
    let view = rolled(&[]);
    let op = intending(
        rolling(&view),
        Effect::ReplaceMember { role: Role::Master, number: 0, uid: "master 0".into() },
    );
    let refused = |reason: &str, ms| Observation {
        outcome: Some(Outcome::Refused { reason: reason.into(), message: "no".into(), retryable: true }),
        intent: IntentView::Expired,
        since_entry_ms: ms,
        ..sees(view.clone())
    };
    assert_eq!(next(&op, &refused("DisruptionBudget", 1_000)), "NotNow: no");
    assert_eq!(next(&op, &refused("DisruptionBudget", 11_000)), "replace master 0");
    assert_eq!(next(&op, &refused(forward::NEEDED_STILL, 1_000)), "again NeededStill");
}

fn going_back(hit: Option<Hit>, why: Option<Failure>) -> Folded {
    let at = Upgrade::Rolling { was: Was { hit, ..was() }, moved: 0, passed: 0 };
    folded(&upgrade(NEW), State::Upgrade(Step::RollingBack { at, why }))
}

/// Back on the release of before: these were made anew.
fn restored(moved: &[(Role, i32)]) -> RolloutView {
    let mut view = rolled(moved);
    (view.release.version, view.revision) = (OLD.into(), 6);
    for m in &mut view.members {
        m.template = match m.template {
            Template::Current => Template::Before,
            Template::Before | Template::Unknown => Template::Current,
        };
    }
    view
}

#[test]
fn the_way_back_begins_with_the_revision_and_ends_when_all_are_as_before() {
    let op = going_back(None, Some(Failure::new("MemberNotUp", "x")));
    assert_eq!(next(&op, &sees(rolled(&[]))), "Intended + restoreRelease");
    let mut unsent = restored(&[]);
    unsent.revision = 4;
    assert_eq!(next(&op, &sees(unsent)), "Intended + fenceMembers", "the write may be on its way");
    assert_eq!(next(&op, &sees(restored(&[]))), "Halted");
    let done = op.apply(&crate::testing::change(crate::operation::Event::Shared(
        crate::lifecycle::step::Shared::Halted {},
    )));
    assert_eq!(done.unwrap().state.step(), "rolledBack");
    assert_eq!(next(&going_back(None, None), &sees(restored(&[(Role::Master, 0)]))), "replace master 0");
}

#[test]
fn the_way_back_goes_the_other_way_round_and_a_broken_master_comes_first() {
    let op = going_back(None, None);
    assert_eq!(next(&op, &sees(restored(&all()))), "replace proxy 0");
    let mut view = restored(&all());
    at(&mut view, Role::Master, 0).ready = false;
    view.silent = Some("no address answers".into());
    assert_eq!(next(&op, &sees(view)), "replace master 0");
    // One silent look is not enough to let a master go that may serve.
    let mut view = restored(&[(Role::Master, 0)]);
    view.silent = Some("time-out".into());
    assert!(next(&op, &sees(view.clone())).starts_with("CacheSilent"));
    let stood = Observation { watched_entry_ms: 31_000, ..sees(view) };
    assert_eq!(next(&op, &stood), "replace master 0");
}

#[test]
fn whoever_never_moved_and_is_not_well_holds_nobody_up_on_the_way_back() {
    let op = going_back(None, None);
    let mut view = restored(&[(Role::Worker, 2)]);
    (at(&mut view, Role::Worker, 1).ready, at(&mut view, Role::Worker, 1).known) = (false, Known::No);
    assert_eq!(next(&op, &sees(view.clone())), "replace worker 2");
    at(&mut view, Role::Worker, 2).template = Template::Current;
    at(&mut view, Role::Worker, 2).version = Some(OLD.into());
    assert_eq!(next(&op, &sees(view.clone())), "Halted");
    // The one that was made anew last is waited for.
    let op = intending(op, Effect::ReplaceMember { role: Role::Worker, number: 2, uid: "u".into() });
    at(&mut view, Role::Worker, 2).known = Known::No;
    let seen = Observation { intent: IntentView::Expired, ..sees(view) };
    assert!(next(&op, &seen).starts_with("WaitingForMembers: worker 2"));
}

#[test]
fn an_eviction_that_may_be_on_its_way_is_used_up_and_a_drained_worker_comes_back() {
    let hit = Hit { role: Role::Proxy, number: 0, uid: "proxy 0".into() };
    let op = going_back(Some(hit), None);
    assert_eq!(next(&op, &sees(restored(&[]))), "replace proxy 0");
    let op = going_back(None, None);
    let mut view = restored(&[]);
    at(&mut view, Role::Worker, 1).known = Known::As(DISABLED.into());
    view.leaving = leaving(1, DrainView::default());
    let heard = Observation { watched_entry_ms: 121_000, ..sees(view.clone()) };
    assert_eq!(next(&op, &heard), "replace worker 1");
    at(&mut view, Role::Worker, 1).ready_ms = 5_000;
    at(&mut view, Role::Worker, 1).uid = Some("new".into());
    let op = intending(op, Effect::ReplaceMember { role: Role::Worker, number: 1, uid: "u".into() });
    let seen = Observation { intent: IntentView::Expired, ..sees(view) };
    assert_eq!(next(&op, &seen), "admitWorkers 1", "its process is new and is not let in");
}

#[test]
fn a_way_back_that_does_not_get_on_needs_a_person_and_a_pause_waits_for_the_member() {
    let op = intending(
        going_back(None, None),
        Effect::ReplaceMember { role: Role::Worker, number: 2, uid: "u".into() },
    );
    let mut view = restored(&[]);
    at(&mut view, Role::Worker, 2).ready = false;
    let seen = Observation { intent: IntentView::Expired, watched_entry_ms: 600_000, ..sees(view) };
    assert_eq!(next(&op, &seen), "GotStuck");
    let mut spec = upgrade(NEW);
    spec.control.suspend = true;
    let view = rolled(&[]);
    assert_eq!(says(&spec, &rolling(&view), &sees(view.clone())), "Suspended");
    let busy =
        intending(rolling(&view), Effect::ReplaceMember { role: Role::Master, number: 0, uid: "u".into() });
    let seen = Observation { intent: IntentView::Expired, ..sees(view) };
    assert_ne!(says(&spec, &busy, &seen), "Suspended");
    spec.control = crate::spec::Control { cancel: true, ..crate::spec::Control::default() };
    assert_eq!(says(&spec, &busy, &seen), "CancelRequested");
}
