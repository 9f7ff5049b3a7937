//! The catalogue of failures, row by row, against the shipped controller between simulated wires. The number of a row is
//! in the name of its test; ARCHITECTURE.md has the table.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that cannot go on fails")]

mod simulation;

use serde_json::json;
use simulation::plan::{Asked, CrashPoint, Happening, Plan, Protection, Sent, Weather, spec};
use simulation::{Report, run};

fn asked(arm: &'static str, paths: &[&'static str]) -> Asked {
    Asked { as_load: false, at_ms: 0, spec: spec(arm, paths), arm, paths: paths.to_vec() }
}

/// Some replicas, a load, and a free of something else.
fn calm(replicas: usize) -> Plan {
    Plan {
        replicas,
        clocks: vec![(0, 100); replicas],
        crash_points: vec![Vec::new(); replicas],
        asked: vec![asked("load", &["/data/a", "/data/b"]), asked("free", &["/data/c"])],
        calm_ms: 30_000,
        ..Plan::calm(1)
    }
}

fn with(happenings: &[(u64, Happening)]) -> Plan {
    Plan { happenings: happenings.to_vec(), ..calm(2) }
}

/// Runs clean, and everything that was asked for is done.
fn survives(plan: &Plan) -> Report {
    let report = run(plan, true);
    assert!(report.violations.is_empty(), "{:?}\n{}", report.violations, report.trace);
    for (i, end) in &report.ends {
        assert!(end == "Succeeded" || plan.touched(*i), "op{i} ended {end}\n{}", report.trace);
    }
    report
}

/// Runs clean, and what was asked for has one of these ends.
fn is_over(plan: &Plan, ends: &[&str]) {
    let report = run(plan, true);
    assert!(report.violations.is_empty(), "{:?}\n{}", report.violations, report.trace);
    assert!(report.ends.values().all(|e| ends.contains(&e.as_str())), "{:?}\n{}", report.ends, report.trace);
}

/// Every replica dies at its first calls of a sort, before or after them, and is back at once or ten minutes later.
fn dies_at(sent: Sent, after: bool) {
    for call in 1..=4 {
        for back_ms in [0, 600_000] {
            let point = CrashPoint { on: Some(sent), call, after, back_ms };
            let alone = Plan { crash_points: vec![vec![point]], ..calm(1) };
            survives(&alone);
            let both = Plan { crash_points: vec![vec![point], vec![point]], ..calm(2) };
            survives(&both);
        }
    }
}

#[test]
fn row_01_a_crash_before_the_intent_is_written() {
    dies_at(Sent::Intent, false);
}

#[test]
fn row_02_a_crash_after_the_intent_and_before_its_reply() {
    dies_at(Sent::Intent, true);
}

#[test]
fn row_03_a_crash_between_the_intent_and_the_call() {
    dies_at(Sent::Effect, false);
}

#[test]
fn row_04_an_effect_that_lands_after_its_sender_gave_up() {
    for seed in 0..20 {
        for protection in [Protection::None, Protection::Token, Protection::Fence] {
            let engine = Weather { late: 500, ..Weather::CALM };
            survives(&Plan { seed, engine, protection, ..calm(2) });
        }
    }
}

#[test]
fn row_05_an_effect_whose_reply_is_lost() {
    for seed in 0..20 {
        survives(&Plan { seed, engine: Weather { lost: 500, ..Weather::CALM }, ..calm(2) });
    }
}

#[test]
fn row_06_a_crash_after_the_effect_and_before_its_outcome() {
    dies_at(Sent::Effect, true);
}

#[test]
fn row_07_an_outcome_that_is_committed_and_its_reply_lost() {
    dies_at(Sent::Transition, true);
    for seed in 0..20 {
        survives(&Plan {
            seed,
            api: Weather { lost: 200, silent: 100, muddled: 200, ..Weather::CALM },
            ..calm(1)
        });
    }
}

#[test]
fn row_08_a_crash_between_the_outcome_and_the_release_of_the_lock() {
    dies_at(Sent::Lock, false);
    dies_at(Sent::Lock, true);
}

#[test]
fn row_09_a_crash_after_every_write() {
    let writes = survives(&calm(1)).calls[0];
    assert!(writes > 15, "{writes}");
    let base = survives(&calm(1));
    for call in 1..=writes {
        for (after, back_ms) in [(true, 0), (false, 0), (true, 600_000)] {
            let plan =
                Plan { crash_points: vec![vec![CrashPoint { on: None, call, after, back_ms }]], ..calm(1) };
            let report = survives(&plan);
            assert_eq!(report.ends, base.ends, "a crash at {call}");
            assert!(
                report.commits <= base.commits + 3,
                "a crash at {call}: {} of {}",
                report.commits,
                base.commits
            );
        }
    }
}

#[test]
fn row_10_a_controller_that_dies_a_hundred_times() {
    let points: Vec<CrashPoint> =
        (1..=100).map(|n| CrashPoint { on: None, call: n * 2, after: n % 2 == 0, back_ms: 500 }).collect();
    let report = survives(&Plan { crash_points: vec![points], calm_ms: 120_000, ..calm(1) });
    assert!(report.faults > 5, "it did die: {}", report.faults);
}

#[test]
fn row_11_a_cache_that_lags_half_a_minute_behind_writes_nothing_in_vain() {
    let plan = with(&[(0, Happening::Lag(0, 30_000, 300_000)), (0, Happening::Lag(1, 2_000, 300_000))]);
    survives(&plan);
}

#[test]
fn row_12_a_view_from_before_the_operation_does_nothing_and_is_repaired() {
    for at in (300..6_000).step_by(300) {
        for back in [3, 10, 200] {
            survives(&with(&[(at, Happening::TimeTravel(0, back)), (at, Happening::Lag(0, 2_000, 8_000))]));
        }
    }
}

#[test]
fn row_13_an_old_copy_of_a_finished_operation_starts_nothing() {
    let mut plan = calm(1);
    plan.happenings = (0..20).map(|n| (15_000 + n * 500, Happening::TimeTravel(0, 5 + n))).collect();
    let (calm, stale) = (survives(&calm(1)), survives(&plan));
    assert_eq!(calm.commits, stale.commits);
}

#[test]
fn row_14_another_object_of_the_same_name() {
    for at in (200..8_000).step_by(200) {
        survives(&with(&[(at, Happening::Blind(0, 6_000)), (at + 100, Happening::Replace(0))]));
    }
}

#[test]
fn row_15_a_watch_that_is_silently_dead() {
    for at in [0, 500, 2_000, 4_000] {
        let plan = Plan {
            calm_ms: 900_000,
            ..with(&[(at, Happening::Blind(0, 600_000)), (at, Happening::Blind(1, 600_000))])
        };
        survives(&plan);
    }
}

#[test]
fn row_16_a_watch_that_has_to_list_again_in_mid_operation() {
    let label = |n: u64| json!({"metadata": {"labels": {"n": n.to_string()}}});
    for seed in 0..10 {
        // Somebody makes more changes than the server remembers, while nobody hears of any.
        let mut happenings: Vec<_> =
            (0..40).map(|n| (1_000 + n * 20, Happening::Edit(0, label(n)))).collect();
        happenings.insert(0, (900, Happening::Lag(0, 700, 20_000)));
        happenings.insert(0, (900, Happening::Blind(1, 5_000)));
        happenings.push((2_000 + seed * 300, Happening::TimeTravel(0, 0)));
        happenings.sort_by_key(|(at, _)| *at);
        let report = survives(&Plan { seed, history: 10, ..with(&happenings) });
        assert!(
            report.trace.matches("GET dataoperations").count() > 2,
            "somebody listed again\n{}",
            report.trace
        );
    }
}

#[test]
fn row_19_a_person_who_edits_all_the_time() {
    let label = |n: u64| json!({"metadata": {"labels": {"n": n.to_string()}}});
    let happenings: Vec<_> = (0..600).map(|n| (n * 50, Happening::Edit(0, label(n)))).collect();
    survives(&with(&happenings));
}

#[test]
fn row_23_a_504_that_was_committed() {
    for seed in 0..30 {
        survives(&Plan { seed, api: Weather { muddled: 300, ..Weather::CALM }, ..calm(2) });
    }
}

#[test]
fn row_24_a_write_that_arrives_twice() {
    for seed in 0..20 {
        survives(&Plan { seed, api: Weather { doubled: 1_000, ..Weather::CALM }, ..calm(2) });
    }
}

#[test]
fn row_25_replicas_without_a_leader() {
    let paths = ["/data/a", "/data/ab", "/data/b", "/data/c"];
    let asked: Vec<Asked> =
        (0..24).map(|n| asked(if n % 3 == 2 { "free" } else { "load" }, &[paths[n % 4]])).collect();
    survives(&Plan { asked, calm_ms: 60_000, ..calm(3) });
}

#[test]
fn row_26_a_replica_that_is_frozen_in_mid_effect() {
    for at in (0..5_000).step_by(150) {
        survives(&with(&[(at, Happening::Pause(0, 60_000))]));
    }
}

#[test]
fn row_28_two_operations_on_one_target_in_the_same_moment() {
    for seed in 0..20 {
        let asked = vec![asked("load", &["/data"]), asked("load", &["/data/a"]), asked("load", &["/data"])];
        survives(&Plan { seed, asked, ..calm(2) });
    }
}

#[test]
fn row_29_the_holder_of_the_lock_is_torn_away() {
    for at in (200..6_000).step_by(200) {
        let mut plan = with(&[(at, Happening::ForceDelete(0))]);
        plan.asked.push(asked("load", &["/data/a"]));
        survives(&plan);
    }
}

#[test]
fn row_30_one_replica_without_the_engine_and_the_other_without_the_api() {
    // The engine is away for both while one of them does not hear of anything either: for most of the hour that the
    // stall deadline allows.
    survives(&Plan {
        calm_ms: 3_600_000,
        ..with(&[(400, Happening::EngineDown(3_000_000)), (400, Happening::Blind(0, 3_000_000))])
    });
}

#[test]
fn row_32_another_master_that_has_lost_the_last_entries() {
    for at in (200..6_000).step_by(200) {
        for lost in 1..4 {
            survives(&with(&[(at, Happening::FailOver(lost))]));
        }
    }
}

#[test]
fn row_33_success_that_changed_nothing() {
    for at in (1_000..5_000).step_by(100) {
        survives(&with(&[(at, Happening::Evict("/data")), (at + 37, Happening::WorkerRestart(0))]));
    }
}

/// A managed cache that a client writes to all the time, and of whose two workers one leaves.
fn scale_in(seed: u64, happenings: Vec<(u64, Happening)>) -> Plan {
    let mut fewer = asked("scaleIn", &[]);
    fewer.at_ms = 20_000;
    fewer.spec["operation"] = json!({"scaleIn": {"workers": 1}});
    Plan { seed, asked: vec![fewer], happenings, managed: true, writes: true, calm_ms: 60_000, ..calm(2) }
}

#[test]
fn row_18_a_master_that_does_not_know_its_workers_yet() {
    for at in (20_000..50_000).step_by(2_500) {
        survives(&scale_in(at, vec![(at, Happening::PodGone("cache-master-0"))]));
    }
}

#[test]
fn row_36_a_scale_in_while_a_load_and_a_client_write_to_the_worker() {
    for at in (19_000..50_000).step_by(2_500) {
        let loads = [at, at + 900, at + 1_700].map(|at| (at, Happening::ForeignLoad("/data")));
        survives(&scale_in(at, loads.to_vec()));
    }
}

/// A managed cache that a client writes to all the time, on its way to another release.
fn upgrade(seed: u64, happenings: Vec<(u64, Happening)>) -> Plan {
    let mut up = asked("upgrade", &[]);
    up.at_ms = 20_000;
    let arm = json!({"version": "2.9.6", "soakSeconds": 1, "memberDeadlineSeconds": 60});
    up.spec["operation"] = json!({"upgrade": arm});
    Plan { seed, asked: vec![up], happenings, managed: true, writes: true, calm_ms: 120_000, ..calm(2) }
}

#[test]
fn row_17_a_pod_that_is_made_and_gone_between_two_looks() {
    for at in (21_000..100_000).step_by(19_000) {
        for pod in ["cache-master-0", "cache-worker-1-0"] {
            let blind = (at - 200, Happening::Blind(0, 4_000));
            survives(&upgrade(
                at,
                vec![blind, (at, Happening::PodGone(pod)), (at + 1_500, Happening::PodGone(pod))],
            ));
        }
    }
}

#[test]
fn row_31_the_engine_hangs_in_an_upgrade() {
    for at in (20_500..100_000).step_by(19_000) {
        survives(&upgrade(at, vec![(at, Happening::EngineDown(20_000))]));
        // For longer than a member may take.
        is_over(&upgrade(at, vec![(at, Happening::EngineDown(200_000))]), &["RolledBack", "Succeeded"]);
    }
}

#[test]
fn row_34_half_of_the_members_are_upgraded_and_one_never_returns() {
    let never = |at| {
        let mut plan = upgrade(at, vec![(at, Happening::PodUnready("cache-worker-1-0", 200_000))]);
        plan.asked[0].spec["operation"]["upgrade"]["memberDeadlineSeconds"] = json!(30);
        Plan { calm_ms: 400_000, ..plan }
    };
    for at in (70_000..130_000).step_by(14_000) {
        is_over(&never(at), &["RolledBack", "Succeeded"]);
    }
    is_over(&never(21_000), &["RolledBack"]);
}

#[test]
fn row_35_somebody_else_upgrades_the_engine_meanwhile() {
    for at in (20_500..100_000).step_by(19_000) {
        let edit = json!({"version": if at % 2 == 0 { "2.9.4" } else { "2.9.6" }, "image": {"tag": "other"}});
        let happenings = vec![
            (at, Happening::EditCluster(edit)),
            (at + 500, Happening::Drift("cache-master")),
            (at + 9_000, Happening::Drift("cache-worker-0")),
        ];
        survives(&upgrade(at, happenings));
    }
}

#[test]
fn row_37_an_api_server_that_is_down_for_minutes() {
    for at in (200..5_000).step_by(400) {
        survives(&Plan { calm_ms: 700_000, ..with(&[(at, Happening::ApiDown(600_000))]) });
    }
}

#[test]
fn row_38_a_server_that_is_too_busy() {
    for seed in 0..10 {
        survives(&Plan { seed, api: Weather { refused: 600, ..Weather::CALM }, calm_ms: 300_000, ..calm(2) });
    }
}

#[test]
fn row_45_a_deletion_in_every_phase() {
    for at in (0..6_000).step_by(150) {
        survives(&with(&[(at, Happening::Delete(0)), (at + 70, Happening::Delete(1))]));
    }
}

#[test]
fn row_47_a_cancel_at_every_moment() {
    let cancel = json!({"spec": {"control": {"cancel": true}}});
    for at in (0..6_000).step_by(60) {
        for seed in 0..2 {
            let plan = Plan { seed, ..with(&[(at, Happening::Edit(0, cancel.clone()))]) };
            let report = survives(&plan);
            assert!(["Cancelled", "Succeeded"].contains(&report.ends[&0].as_str()), "{:?}", report.ends);
        }
    }
}

#[test]
fn row_57_a_wall_clock_that_jumps() {
    for jump in [-3_600_000, 3_600_000] {
        let happenings: Vec<_> = (0..10)
            .flat_map(|n| {
                [(n * 500, Happening::ClockJump(0, jump)), (n * 500 + 250, Happening::ClockJump(0, -jump))]
            })
            .collect();
        survives(&Plan { clocks: vec![(0, 100), (600_000, 100)], ..with(&happenings) });
    }
}

#[test]
fn row_58_a_clock_that_runs_twice_as_fast() {
    for seed in 0..30 {
        for protection in [Protection::Token, Protection::Fence] {
            let engine = Weather { late: 300, lost: 100, ..Weather::CALM };
            survives(&Plan { seed, engine, protection, clocks: vec![(0, 100), (0, 200)], ..calm(2) });
        }
    }
}
