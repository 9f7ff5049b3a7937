//! Does every seed run clean? Without arguments: the fixed corpus. `--seeds N [--from S] [--threads T]` plays N seeds,
//! `--seed S [--trace]` one; `--calm` leaves out whatever goes wrong, and all replicas but one.
//!
//! ```text
//!   cargo test --profile long --test seeds -- --seeds 1000000
//!   cargo test --release --test seeds -- --seed 4711 --trace
//! ```

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that cannot go on fails")]

mod simulation;

use simulation::{
    BACKED_UP_FROM, DATASETS_FROM, MAINTAINED_FROM, MANAGED_FROM, MOUNTS_FROM, Plan, Report, SCALED_FROM,
    UPGRADED_FROM, run,
};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

/// Most of a run is JSON that comes and goes.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Seeds of the corpus that every test run plays.
const CORPUS: u64 = 200;
/// And of those whose plans have mounts.
const MOUNTED: std::ops::Range<u64> = MOUNTS_FROM..MOUNTS_FROM + 60;
/// And of those with a Dataset.
const EDITED: std::ops::Range<u64> = DATASETS_FROM..DATASETS_FROM + 60;
/// And of those whose cache is a managed one.
const MANAGED: std::ops::Range<u64> = MANAGED_FROM..MANAGED_FROM + 60;
/// And of those whose cache gets more workers.
const SCALED: std::ops::Range<u64> = SCALED_FROM..SCALED_FROM + 60;
/// And of those whose workers are taken out of use and brought back.
const MAINTAINED: std::ops::Range<u64> = MAINTAINED_FROM..MAINTAINED_FROM + 60;
/// And of those whose cache comes to another release.
const UPGRADED: std::ops::Range<u64> = UPGRADED_FROM..UPGRADED_FROM + 60;
/// And of those with backups.
const BACKED_UP: std::ops::Range<u64> = BACKED_UP_FROM..BACKED_UP_FROM + 60;

/// Seeds that once showed something, in the controller or in those who judge it. They belong to the corpus.
const FOUND: [u64; 34] = [
    6_191, 6_244, 6_862, 8_888, 8_920, 9_565, 10_813, 12_772, 14_966, 19_109, 19_472, 21_076, 21_535, 22_931,
    23_389, 23_675, 34_366, 40_166, 81_464, 97_314, 103_175, 183_831, 234_333, 344_511, 390_460, 505_338,
    509_623, 557_068, 558_239, 576_834, 20_000_218, 20_000_250, 20_000_290, 30_000_200,
];

struct Arguments {
    from: u64,
    seeds: u64,
    threads: u64,
    /// The whole corpus.
    corpus: bool,
    one: Option<u64>,
    trace: bool,
    calm: bool,
}

impl Arguments {
    fn plan(&self, seed: u64) -> Plan {
        let plan = Plan::of(seed);
        if self.calm { plan.alone() } else { plan }
    }
}

/// What all runs came to.
#[derive(Default)]
struct Sum {
    finished: AtomicU64,
    events: AtomicU64,
    faults: AtomicU64,
    /// Over all histories: the same seeds give the same.
    hash: AtomicU64,
    slowest: AtomicU64,
    failed: Mutex<Vec<u64>>,
}

impl Sum {
    fn add(&self, seed: u64, report: &Report) {
        let own = report.hash.wrapping_mul(seed.wrapping_mul(2).wrapping_add(1));
        self.finished.fetch_add(report.finished, Ordering::Relaxed);
        self.events.fetch_add(report.events, Ordering::Relaxed);
        self.faults.fetch_add(report.faults, Ordering::Relaxed);
        self.hash.fetch_add(own, Ordering::Relaxed);
        self.slowest.fetch_max(u64::try_from(report.recovery_ms).unwrap_or(0), Ordering::Relaxed);
        if !report.violations.is_empty() {
            println!("seed {seed}: {:?}", report.violations);
            println!("  replay: cargo test --release --test seeds -- --seed {seed} --trace");
            self.failed.lock().unwrap().push(seed);
        }
    }
}

/// Seconds of CPU time that this process has used; `None` where there is no /proc.
fn cpu_seconds() -> Option<f64> {
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    // After the name of the program, which may have spaces: user and system time, in hundredths.
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    let mut next = || fields.next()?.parse::<f64>().ok();
    Some((next()? + next()?) / 100.0)
}

fn arguments() -> Arguments {
    let cores = std::thread::available_parallelism().map_or(1, |n| n.get() as u64);
    let mut all = Arguments {
        from: 0,
        seeds: CORPUS,
        threads: cores,
        corpus: true,
        one: None,
        trace: false,
        calm: false,
    };
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let mut number = || words.next().and_then(|n| n.replace('_', "").parse().ok());
        match word.as_str() {
            "--from" => (all.from, all.corpus) = (number().expect("--from S"), false),
            "--seeds" => (all.seeds, all.corpus) = (number().expect("--seeds N"), false),
            "--threads" => all.threads = number().expect("--threads T"),
            "--seed" => all.one = Some(number().expect("--seed S")),
            "--trace" => all.trace = true,
            "--calm" => all.calm = true,
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
        let report = run(&arguments.plan(seed), arguments.trace);
        print!("{}", report.trace);
        println!("{:#?}", Report { trace: String::new(), ..report.clone() });
        std::process::exit(i32::from(!report.violations.is_empty()));
    }
    let (begun, spent) = (std::time::Instant::now(), cpu_seconds());
    let (next, sum) = (AtomicU64::new(0), Sum::default());
    let mut seeds: Vec<u64> = (arguments.from..arguments.from + arguments.seeds).collect();
    if arguments.corpus {
        seeds.extend(
            MOUNTED
                .chain(EDITED)
                .chain(MANAGED)
                .chain(SCALED)
                .chain(MAINTAINED)
                .chain(UPGRADED)
                .chain(BACKED_UP)
                .chain(FOUND),
        );
    }
    std::thread::scope(|scope| {
        for _ in 0..arguments.threads.max(1) {
            scope.spawn(|| {
                loop {
                    let number = usize::try_from(next.fetch_add(1, Ordering::Relaxed)).unwrap();
                    let Some(seed) = seeds.get(number).filter(|_| sum.failed.lock().unwrap().len() < 10)
                    else {
                        break;
                    };
                    sum.add(*seed, &run(&arguments.plan(*seed), false));
                }
            });
        }
    });
    let took = begun.elapsed().as_secs_f64();
    let cpu = cpu_seconds().zip(spent).map(|(now, then)| now - then);
    let (finished, failed) = (sum.finished.into_inner(), sum.failed.into_inner().unwrap().len());
    println!(
        "{} seeds in {took:.1} s on {} threads: {finished} operations, {} events, {} faults, slowest recovery {} s of \
         virtual time, histories {:016x}",
        seeds.len(),
        arguments.threads,
        sum.events.into_inner(),
        sum.faults.into_inner(),
        sum.slowest.into_inner() / 1000,
        sum.hash.into_inner(),
    );
    if let Some(cpu) = cpu {
        let (seeds, operations) = (seeds.len() as f64, finished as f64);
        println!(
            "{cpu:.2} s of CPU time: {:.2} ms a seed, {:.0} operations a second",
            cpu * 1000.0 / seeds,
            operations / cpu
        );
    }
    println!(
        "test result: {}. {} passed; {failed} failed",
        if failed == 0 { "ok" } else { "FAILED" },
        seeds.len() - failed
    );
    std::process::exit(i32::from(failed > 0));
}
