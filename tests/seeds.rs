//! Does every seed run clean? Without arguments: the fixed corpus. `--seeds N [--from S] [--threads T]` plays N seeds,
//! `--seed S [--trace]` one.
//!
//! ```text
//!   cargo test --release --test seeds -- --seeds 1000000
//!   cargo test --release --test seeds -- --seed 4711 --trace
//! ```

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that cannot go on fails")]

mod simulation;

use simulation::{Plan, Report, run};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

/// Most of a run is JSON that comes and goes.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Seeds of the corpus that every test run plays.
const CORPUS: u64 = 200;

struct Arguments {
    from: u64,
    seeds: u64,
    threads: u64,
    one: Option<u64>,
    trace: bool,
}

fn arguments() -> Arguments {
    let cores = std::thread::available_parallelism().map_or(1, |n| n.get() as u64);
    let mut all = Arguments { from: 0, seeds: CORPUS, threads: cores, one: None, trace: false };
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let mut number = || words.next().and_then(|n| n.replace('_', "").parse().ok());
        match word.as_str() {
            "--from" => all.from = number().expect("--from S"),
            "--seeds" => all.seeds = number().expect("--seeds N"),
            "--threads" => all.threads = number().expect("--threads T"),
            "--seed" => all.one = Some(number().expect("--seed S")),
            "--trace" => all.trace = true,
            // The test runner's own words (--nocapture, a filter, ...) mean nothing here.
            _ => {}
        }
    }
    all
}

#[allow(clippy::disallowed_methods, reason = "how long the run took is told in real time")]
fn main() {
    let arguments = arguments();
    if let Some(seed) = arguments.one {
        let report = run(&Plan::of(seed), arguments.trace);
        print!("{}", report.trace);
        println!("{:#?}", Report { trace: String::new(), ..report.clone() });
        std::process::exit(i32::from(!report.violations.is_empty()));
    }
    let begun = std::time::Instant::now();
    let (next, finished, faults) = (AtomicU64::new(arguments.from), AtomicU64::new(0), AtomicU64::new(0));
    let (failed, slowest) = (Mutex::new(Vec::new()), AtomicU64::new(0));
    let end = arguments.from + arguments.seeds;
    std::thread::scope(|scope| {
        for _ in 0..arguments.threads.max(1) {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= end || failed.lock().unwrap().len() >= 10 {
                        break;
                    }
                    let report = run(&Plan::of(seed), false);
                    finished.fetch_add(report.finished, Ordering::Relaxed);
                    faults.fetch_add(report.faults, Ordering::Relaxed);
                    slowest.fetch_max(u64::try_from(report.recovery_ms).unwrap_or(0), Ordering::Relaxed);
                    if !report.violations.is_empty() {
                        println!("seed {seed}: {:?}", report.violations);
                        println!("  replay: cargo test --release --test seeds -- --seed {seed} --trace");
                        failed.lock().unwrap().push(seed);
                    }
                }
            });
        }
    });
    let took = begun.elapsed().as_secs_f64();
    let (finished, failed) = (finished.into_inner(), failed.into_inner().unwrap().len());
    println!(
        "{} seeds in {took:.1} s on {} threads: {finished} operations ({:.0} a second and thread), {} faults, \
         slowest recovery {} s of virtual time",
        arguments.seeds,
        arguments.threads,
        finished as f64 / took / arguments.threads as f64,
        faults.into_inner(),
        slowest.into_inner() / 1000,
    );
    println!(
        "test result: {}. {} passed; {failed} failed",
        if failed == 0 { "ok" } else { "FAILED" },
        arguments.seeds - failed as u64
    );
    std::process::exit(i32::from(failed > 0));
}
