//! Random schedules against the fake engine: crashes, two replicas, lost and late calls, people who press every
//! button. What must never happen is checked by the world itself; here the faults stop, and the end has to come.

use crate::decision::Decision;
use crate::effect::JobState;
use crate::lifecycle::step::Step;
use crate::machine::Phase;
use crate::members::Known;
use crate::mounts::MountView;
use crate::operation::State;
use crate::operation::load::Load;
use crate::spec::{ArmSpec, HaltAfter, MountOption, OperationSpec, RetryPolicy, SecretKey, Skip, ValueFrom};
use crate::testing::engine::Fate;
use crate::testing::engine::serving;
use crate::testing::world::World;
use crate::testing::{
    backup, decommission, free, load, mount, recommission, run_after, scale_in, scale_out, sync, unmount,
    upgrade,
};
use proptest::prelude::*;

#[derive(Debug, Clone)]
enum Move {
    Tick { process: usize, lagging: bool, fate: Fate },
    Wait(i64),
    Crash(usize),
    Suspend(bool),
    Cancel,
    Delete,
    Retry,
    SkipStep(&'static str),
    EngineDown(i64),
    Workers(i64),
    ForgetJob(usize),
    ForgetTasks,
    SomebodyStops(usize),
    SomebodyLoads(usize, i64),
    Evict(usize),
    Rival(bool),
}

fn fate() -> impl Strategy<Value = Fate> {
    prop_oneof![
        8 => Just(Fate::Reply),
        2 => Just(Fate::Lost),
        2 => Just(Fate::Dropped),
        2 => (0..4_000_i64).prop_map(Fate::Late),
        1 => Just(Fate::Refused { retryable: true }),
        1 => prop::bool::weighted(0.2).prop_map(|no| Fate::Refused { retryable: !no }),
    ]
}

fn any_move() -> impl Strategy<Value = Move> {
    let tick = (0..2_usize, prop::bool::weighted(0.2), fate());
    let wait = prop_oneof![4 => 0..3_000_i64, 2 => 3_000..20_000_i64, 1 => 20_000..400_000_i64];
    prop_oneof![
        30 => tick.prop_map(|(process, lagging, fate)| Move::Tick { process, lagging, fate }),
        12 => wait.prop_map(Move::Wait),
        3 => (0..2_usize).prop_map(Move::Crash),
        2 => prop::bool::ANY.prop_map(Move::Suspend),
        1 => prop_oneof![Just(Move::Cancel), Just(Move::Delete), Just(Move::Retry)],
        1 => prop_oneof![Just("pausing"), Just("cancelling"), Just("aborting"), Just("rollingBack")]
            .prop_map(Move::SkipStep),
        2 => (0..700_000_i64).prop_map(Move::EngineDown),
        1 => (0..3_i64).prop_map(Move::Workers),
        1 => (0..3_usize).prop_map(Move::ForgetJob),
        1 => Just(Move::ForgetTasks),
        1 => (0..3_usize).prop_map(Move::SomebodyStops),
        3 => (0..3_usize, 0..30_000_i64).prop_map(|(path, ms)| Move::SomebodyLoads(path, ms)),
        1 => (0..3_usize).prop_map(Move::Evict),
        1 => prop::bool::ANY.prop_map(Move::Rival),
    ]
}

/// Whether nobody can mistake a job that somebody else starts now for one of ours.
fn idle(w: &World, path: usize) -> bool {
    #[allow(clippy::wildcard_enum_match_arm, reason = "only loads work on paths in the background")]
    let started = match &w.record.folded.state {
        State::Load(Step::Arm(Load::LoadingData { path: p, started, .. })) => *started && *p == path,
        State::Load(
            Step::Pausing { .. } | Step::Cancelling { .. } | Step::Aborting { .. } | Step::Stuck { .. },
        ) => true,
        _ => false,
    };
    !started && w.engine.running(path).is_none()
}

fn play(w: &mut World, m: Move) {
    let fits = |path: usize| path % w.engine.data.len();
    match m {
        Move::Tick { process, lagging, fate } => {
            w.fate = fate;
            w.tick(process, lagging);
        }
        Move::Wait(ms) => w.advance(ms),
        Move::Crash(p) => w.crash(p),
        Move::Suspend(on) => w.edit(|s| s.control.suspend = on),
        Move::Cancel => w.edit(|s| s.control.cancel = true),
        Move::Delete => w.deleting_since = w.deleting_since.or(Some(w.engine.now)),
        Move::Retry => w.edit(|s| s.control.retry += 1),
        Move::SkipStep(step) => {
            w.edit(|s| s.control.skip = Some(Skip { step: step.into(), by: "ann".into() }));
        }
        Move::EngineDown(ms) => w.engine.down_until = w.engine.now + ms,
        Move::Workers(n) => w.engine.workers = n,
        Move::ForgetJob(p) => {
            let p = fits(p);
            w.engine.data[p].job = None;
        }
        Move::ForgetTasks => w.engine.forget_tasks(),
        Move::SomebodyStops(p) => {
            let p = fits(p);
            if let Some(job) = w.engine.data[p].job.as_mut().filter(|j| j.state == JobState::Running) {
                job.state = JobState::Stopped;
            }
        }
        Move::SomebodyLoads(p, ms) => {
            let p = fits(p);
            if idle(w, p) {
                let state = if ms % 3 == 0 { JobState::Succeeded } else { JobState::Running };
                w.engine.foreign(p, state, ms);
            }
        }
        Move::Evict(p) => {
            let p = fits(p);
            w.engine.data[p].cached /= 2;
        }
        Move::Rival(there) => w.rival = there,
    }
}

/// Plays the moves, lets the faults stop and demands the end.
fn survive(mut w: World, moves: Vec<Move>) -> World {
    let n = moves.len();
    for m in moves {
        play(&mut w, m);
    }
    w.calm_down();
    let limit = 4 * 3_600_000;
    w.run(3_000, limit);
    w.check_end();
    let seconds = usize::try_from(w.engine.now / 1000).unwrap();
    let bound = 60 + 3 * n + seconds / 10;
    assert!(w.journal.len() <= bound, "{} entries in {seconds} s after {n} moves", w.journal.len());
    w
}

#[derive(Debug, Clone)]
struct Setting {
    after: bool,
    limit: i32,
    deadline: Option<i64>,
    stall: i64,
    percent: i32,
    conservative: bool,
}

fn setting() -> impl Strategy<Value = Setting> {
    let deadline = prop::option::weighted(0.2, 1..600_i64);
    (prop::bool::weighted(0.2), 0..4_i32, deadline, 20..600_i64, 0..101_i32, prop::bool::ANY).prop_map(
        |(after, limit, deadline, stall, percent, conservative)| Setting {
            after,
            limit,
            deadline,
            stall,
            percent,
            conservative,
        },
    )
}

fn world(mut spec: OperationSpec, s: &Setting) -> World {
    if s.after {
        spec.run_after = vec![run_after("first")];
    }
    if let ArmSpec::Load(l) = &mut spec.operation {
        l.min_cached_percent = s.percent;
    }
    spec.retry_policy = RetryPolicy { limit: s.limit, backoff_seconds: 2, max_backoff_seconds: 60 };
    (spec.deadline_seconds, spec.stall_deadline_seconds) = (s.deadline, s.stall);
    let mut w = World::new(spec);
    (w.conservative, w.predecessors_done) = (s.conservative, !s.after);
    w
}

proptest! {
    #![proptest_config(crate::testing::cases(400))]

    #[test]
    fn a_load_of_one_path_survives_any_schedule(s in setting(), moves in proptest::collection::vec(any_move(), 0..90)) {
        survive(world(load(&["/a"]), &s), moves);
    }

    #[test]
    fn a_load_of_three_paths_survives_any_schedule(s in setting(), moves in proptest::collection::vec(any_move(), 0..140)) {
        survive(world(load(&["/a", "/b", "/b/c"]), &s), moves);
    }

    #[test]
    fn a_free_survives_any_schedule(s in setting(), moves in proptest::collection::vec(any_move(), 0..70)) {
        let mut w = world(free(&["/a", "/b"]), &s);
        w.engine.data.iter_mut().for_each(|d| (d.known, d.cached) = (true, d.bytes));
        survive(w, moves);
    }

    #[test]
    fn a_sync_survives_any_schedule(s in setting(), moves in proptest::collection::vec(any_move(), 0..70)) {
        survive(world(sync(&["/a", "/b"]), &s), moves);
    }

    #[test]
    fn a_backup_survives_any_schedule(s in setting(), keep in proptest::option::of(1..3), moves in proptest::collection::vec(any_move(), 0..70)) {
        survive(world(backup(keep), &s), moves);
    }

    #[test]
    fn a_mount_survives_any_schedule(s in setting(), there in 0..4_usize, moves in proptest::collection::vec(any_move(), 0..70)) {
        survive(mounting(&s, there), moves);
    }

    #[test]
    fn an_unmount_survives_any_schedule(s in setting(), moves in proptest::collection::vec(any_move(), 0..70)) {
        let mut w = world(unmount("/a", true), &s);
        w.engine.mounts.mounts = vec![mounted("/a", "s3://a"), mounted("/a/b", "s3://b"), mounted("/c", "s3://c")];
        let w = survive(w, moves);
        assert!(w.engine.mounts.at("/c").is_some(), "somebody else's mount is gone");
    }

    #[test]
    fn a_scale_out_survives_any_schedule(s in setting(), moves in proptest::collection::vec(any_move(), 0..70)) {
        survive(world(scale_out(3), &s), moves);
    }

    #[test]
    fn a_scale_in_survives_any_schedule(s in setting(), moves in proptest::collection::vec(any_move(), 0..70)) {
        let mut w = world(scale_in(2), &s);
        w.engine.members.workers = (0..4).map(serving).collect();
        survive(w, moves);
    }

    #[test]
    fn a_decommission_survives_any_schedule(s in setting(), moves in proptest::collection::vec(any_move(), 0..70)) {
        let mut w = world(decommission(&[1, 2]), &s);
        w.engine.members.workers = (0..4).map(serving).collect();
        survive(w, moves);
    }

    #[test]
    fn a_recommission_survives_any_schedule(s in setting(), moves in proptest::collection::vec(any_move(), 0..70)) {
        let mut w = world(recommission(&[1, 2]), &s);
        w.engine.members.workers = (0..4).map(serving).collect();
        for worker in &mut w.engine.members.workers[1..3] {
            worker.known = Known::As("Disabled".into());
        }
        w.engine.members.out = [1, 2].into_iter().collect();
        w.engine.stranded = 1;
        let w = survive(w, moves);
        assert_eq!(w.engine.lost, 0, "files went with a pod");
    }

    #[test]
    fn an_upgrade_survives_any_schedule(s in setting(), bad in prop::bool::weighted(0.3), saves: bool, moves in proptest::collection::vec(any_move(), 0..120)) {
        let mut spec = upgrade("2.9.6");
        if let ArmSpec::Upgrade(u) = &mut spec.operation {
            u.backup_path = saves.then(|| "/backups".into());
            if saves {
                let halt = |workers| HaltAfter { workers, pause_seconds: 20, approve: false };
                u.strategy.steps = vec![halt(0), halt(2)];
            }
        }
        let mut w = world(spec, &s);
        w.engine.broken = bad.then(|| "2.9.6".into());
        survive(w, moves);
    }
}

fn mounted(path: &str, uri: &str) -> MountView {
    MountView { path: path.into(), uri: uri.into(), ..MountView::default() }
}

/// A mount with a credential where there is nothing, itself, itself with other settings, or something else.
fn mounting(s: &Setting, there: usize) -> World {
    let mut spec = mount("/a", "s3://b/a");
    if let ArmSpec::Mount(m) = &mut spec.operation {
        let secret_key_ref = SecretKey { name: "s3".into(), key: "id".into() };
        let value_from = Some(ValueFrom { secret_key_ref });
        m.options = vec![MountOption { name: "aws.accessKeyId".into(), value: None, value_from }];
        m.replace = true;
    }
    let mut w = world(spec, s);
    w.engine.mounts.mounts = match there {
        0 => vec![],
        1 => vec![mounted("/a", "s3://b/a")],
        2 => vec![MountView { shared: true, ..mounted("/a", "s3://b/a") }],
        _ => vec![mounted("/a", "s3://other")],
    };
    w
}

#[test]
fn without_faults_a_load_and_a_free_succeed_within_their_write_budget() {
    for (spec, entries) in [
        (load(&["/a"]), 8),
        (load(&["/a", "/b", "/c"]), 18),
        (free(&["/a", "/b"]), 6),
        (mount("/a", "s3://a"), 5),
        (unmount("/a", false), 4),
        (sync(&["/a", "/b"]), 8),
        (backup(None), 6),
        (backup(Some(1)), 7),
        (scale_out(2), 6),
    ] {
        let w = survive(World::new(spec), Vec::new());
        assert_eq!(w.record.folded.state.phase(), Phase::Succeeded);
        let story: Vec<&str> = w.journal.iter().map(|e| e.event.as_str()).collect();
        assert_eq!(story.len(), entries + 1, "{story:?}");
    }
}

/// Runs a hostile engine for an hour without mercy; how many entries it took, and where it ended.
fn endure(mut w: World, fate: Fate) -> (usize, Phase, String) {
    w.fate = fate;
    let (mut still, until) = (0, w.engine.now + 3_600_000);
    while w.engine.now < until {
        let entries = w.journal.len();
        let decision = w.tick(0, false);
        if decision == Decision::Rest {
            break;
        }
        still += w.journal.len() - entries;
        assert!(still < 12, "{still} entries without time passing");
        if let Decision::Await(wait) = decision {
            w.advance(wait.recheck_ms().unwrap_or(60_000).max(1));
            still = 0;
        }
    }
    let state = &w.record.folded.state;
    let why = state.failure().map_or_else(String::new, |f| f.reason.clone());
    (w.journal.len(), state.phase(), why)
}

fn hour() -> OperationSpec {
    OperationSpec { stall_deadline_seconds: 600, ..load(&["/a"]) }
}

#[test]
fn an_engine_that_forgets_everything_at_once_ends_a_load_in_few_entries() {
    let mut w = World::new(hour());
    w.engine.amnesia = true;
    let (entries, phase, why) = endure(w, Fate::Reply);
    assert_eq!((phase, why.as_str()), (Phase::Failed, "WorkLost"));
    assert!(entries < 30, "{entries} entries");
}

#[test]
fn an_engine_that_never_replies_ends_a_load_by_its_stall_deadline() {
    for fate in [Fate::Dropped, Fate::Lost, Fate::Late(2_500)] {
        let (entries, phase, why) = endure(World::new(hour()), fate);
        assert_eq!((phase, why.as_str()), (Phase::Failed, "Stalled"), "{fate:?}");
        assert!(entries < 120, "{entries} entries with {fate:?}");
    }
}

#[test]
fn an_engine_that_refuses_ends_a_load_by_its_retry_limit() {
    let (entries, phase, why) = endure(World::new(hour()), Fate::Refused { retryable: true });
    assert_eq!((phase, why.as_str()), (Phase::Failed, "EngineRefused"));
    assert!(entries < 16, "{entries} entries");
    let (entries, phase, why) = endure(World::new(hour()), Fate::Refused { retryable: false });
    assert_eq!((phase, why.as_str(), entries), (Phase::Failed, "Busy", 6));
}

#[test]
fn an_engine_that_does_nothing_but_says_so_ends_an_operation_by_its_retry_limit() {
    let mut w = World::new(hour());
    w.engine.idle = true;
    let (entries, phase, why) = endure(w, Fate::Reply);
    assert_eq!((phase, why.as_str()), (Phase::Failed, "NotCached"));
    assert!(entries < 30, "{entries} entries");
    let mut w = World::new(free(&["/a"]));
    (w.engine.idle, w.engine.data[0].cached) = (true, 100);
    let (entries, phase, why) = endure(w, Fate::Reply);
    assert_eq!((phase, why.as_str()), (Phase::Failed, "StillCached"));
    assert!(entries < 24, "{entries} entries");
}

#[test]
fn a_job_that_cannot_be_stopped_makes_a_cancel_stuck_in_few_entries() {
    let mut w = World::new(hour());
    w.engine.unstoppable = true;
    while !w.ours_runs() {
        if w.record.folded.state.step() == "loadingData" {
            w.engine.work_ms = 1_000_000;
        }
        if let Decision::Await(wait) = w.tick(0, false) {
            w.advance(wait.recheck_ms().unwrap());
        }
    }
    w.edit(|s| s.control.cancel = true);
    let before = w.journal.len();
    let until = w.engine.now + 700_000;
    while w.engine.now < until {
        if let Decision::Await(wait) = w.tick(0, false) {
            w.advance(wait.recheck_ms().unwrap());
        }
    }
    assert_eq!(w.record.folded.state.phase(), Phase::Stuck);
    assert!(w.journal.len() - before < 16, "{} entries", w.journal.len() - before);
}
