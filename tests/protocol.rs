//! Does the protocol hold, and would the suite notice if it did not? The same seed twice; a run against its fault-free
//! twin; two replicas and two operations with a crash at every point; every precaution taken away once.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that cannot go on fails")]

mod simulation;

use ratchet::controller::teeth::Mutation;
use simulation::plan::{Asked, CrashPoint, Happening, Weather, spec};
use simulation::{Plan, Report, run};

/// Seeds within which every mutation has to be caught.
const BUDGET: u64 = 400;

fn clean(report: &Report, plan: &Plan) {
    assert!(
        report.violations.is_empty(),
        "{:?}\nreplay: cargo test --release --test seeds -- --seed {} --trace",
        report.violations,
        plan.seed
    );
}

#[test]
fn one_seed_gives_one_history_byte_for_byte() {
    for seed in 0..24 {
        let plan = Plan::of(seed);
        let (one, two) = (run(&plan, true), run(&plan, true));
        assert_eq!(one.trace, two.trace, "seed {seed}");
        assert_eq!(one.hash, two.hash, "seed {seed}");
        assert!(one.trace.lines().count() > 20, "seed {seed} does something");
    }
}

#[test]
fn a_run_ends_as_its_fault_free_twin_and_writes_at_most_three_times_more_for_each_fault() {
    for seed in 1_000..1_060 {
        let plan = Plan::of(seed);
        let twin = plan.fault_free();
        let (stormy, calm) = (run(&plan, false), run(&twin, false));
        clean(&stormy, &plan);
        clean(&calm, &twin);
        for (i, end) in stormy.ends.iter().filter(|(i, _)| !plan.touched(**i)) {
            assert_eq!(Some(end), calm.ends.get(i), "seed {seed}, op{i}");
        }
        let most = calm.commits + 3 * stormy.faults;
        assert!(
            stormy.commits <= most,
            "seed {seed}: {} writes, {} without faults, {} faults",
            stormy.commits,
            calm.commits,
            stormy.faults
        );
    }
}

fn asked(arm: &'static str, paths: Vec<&'static str>) -> Asked {
    Asked { as_load: false, at_ms: 0, spec: spec(arm, &paths), arm, paths }
}

/// Two replicas, one cache, a load and a free whose paths overlap.
fn small(seed: u64) -> Plan {
    Plan {
        replicas: 2,
        clocks: vec![(0, 100); 2],
        crash_points: vec![Vec::new(); 2],
        asked: vec![asked("load", vec!["/data/a"]), asked("free", vec!["/data"])],
        ..Plan::calm(seed)
    }
}

#[test]
fn two_replicas_and_two_operations_survive_a_crash_of_each_at_every_point() {
    let base = run(&small(7), false);
    clean(&base, &small(7));
    let (first, second) = (base.calls[0] + 2, base.calls[1] + 2);
    // Without the variable: every crash of one, and a lattice of the pairs. With it: every pair.
    let stride = if std::env::var_os("RATCHET_EXHAUSTIVE").is_some() { 1 } else { 7 };
    let mut runs = 0;
    let points = |most: u64| (0..=most).flat_map(|call| [(call, false), (call, true)]);
    for (a, after_a) in points(first) {
        for (b, after_b) in points(second) {
            if a > 0 && b > 0 && (a + b) % stride != 0 {
                continue;
            }
            let mut plan = small(7);
            for (replica, call, after) in [(0, a, after_a), (1, b, after_b)] {
                if call > 0 {
                    plan.crash_points[replica].push(CrashPoint { on: None, call, after, back_ms: 100 });
                }
            }
            let report = run(&plan, false);
            assert!(
                report.violations.is_empty(),
                "r0 dies at {a} (after: {after_a}), r1 at {b} (after: {after_b}): {:?}",
                report.violations
            );
            assert_eq!(report.ends, base.ends, "r0 dies at {a}, r1 at {b}");
            runs += 1;
        }
    }
    println!("{runs} runs, {first} and {second} calls");
}

/// Seeds made for what a mutation is about: the weather in which the precaution is needed.
fn provoked(mutation: Mutation, seed: u64) -> Plan {
    let mut plan = Plan { mutation: Some(mutation), ..Plan::of(seed) };
    let late = Weather { late: 60, lost: 60, ..Weather::CALM };
    match mutation {
        Mutation::SealAfterTrim => {
            plan.asked = vec![asked("load", vec!["/data/a", "/data/ab", "/data/b", "/data/c"])]
        }
        Mutation::TimeoutIsFailure | Mutation::TakeoverWithoutWait | Mutation::SendLate => plan.engine = late,
        Mutation::UndoWithoutWait => {
            plan.engine = late;
            let cancel = serde_json::json!({"spec": {"control": {"cancel": true}}});
            plan.happenings.push((plan.asked[0].at_ms + 600 + seed % 1_500, Happening::Edit(0, cancel)));
            plan.happenings.sort_by_key(|(at, _)| *at);
        }
        #[allow(clippy::wildcard_enum_match_arm, reason = "every other one needs no weather of its own")]
        _ => {}
    }
    plan
}

#[test]
fn every_precaution_is_missed_when_it_is_gone() {
    let mut uncaught = Vec::new();
    for mutation in Mutation::ALL {
        let caught = (0..BUDGET).find_map(|seed| {
            let report = run(&provoked(mutation, seed), false);
            report.violations.first().map(|v| (seed, v.clone()))
        });
        match caught {
            Some((seed, how)) => {
                println!("{mutation:?}: seed {seed}: {}", how.chars().take(160).collect::<String>())
            }
            None => uncaught.push(mutation),
        }
    }
    assert!(uncaught.is_empty(), "not noticed within {BUDGET} seeds: {uncaught:?}");
}
