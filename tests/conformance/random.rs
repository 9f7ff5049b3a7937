//! Random sequences on both servers, several at a time; a sequence that shows a difference is made smaller and printed.
//!
//! `RATCHET_CONFORMANCE` says how many, `RATCHET_CONFORMANCE_FROM` from which number on. `RATCHET_CONFORMANCE_PLAY`
//! names a file of sequences, one a line as a report prints them, that are played instead of random ones.
//! `RATCHET_CONFORMANCE_SELF` holds the real server against itself: what the comparison then finds is its own mistake.

use crate::cluster::runtime;
use crate::generate;
use crate::play::{Difference, Play, compare, play};
use crate::real::Real;
use crate::side::Side;
use crate::step::Sequence;
use crate::universe::Names;
use futures::future::join_all;
use proptest::strategy::{Strategy as _, ValueTree as _};
use proptest::test_runner::{Config, RngSeed, TestRunner};
use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

/// Sequences that are played at the same time.
const AT_ONCE: usize = 8;
/// Sequences where nothing says how many.
const FEW: u64 = 300;
/// How often a sequence is played again whose difference may be chance.
const TRIES: usize = 8;
/// Different differences after which it is enough.
const ENOUGH: usize = 40;

/// What a run found.
#[derive(Default)]
struct Findings {
    requests: AtomicU64,
    /// Differences that may be chance: such a sequence is played again.
    chances: AtomicU64,
    codes: Mutex<BTreeMap<u16, u64>>,
    /// By what they have in common: how often, and the first one, made smaller.
    differences: Mutex<BTreeMap<String, (u64, String)>>,
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().map(|n| n.parse().unwrap_or_else(|e| panic!("{variable}={n}: {e}")))
}

/// The real server against the simulator; or against itself.
struct Pair {
    real: Side,
    names: Names,
    /// The namespaces in which the real server is its own counterpart.
    mirror: Option<Names>,
}

impl Pair {
    async fn try_out(&self, sequence: &Sequence) -> (Option<Difference>, Play) {
        let other = match &self.mirror {
            Some(names) => play(&self.real, names, sequence, None).await,
            None => play(&Side::simulator(&self.names), &self.names, sequence, None).await,
        };
        let real = play(&self.real, &self.names, sequence, Some(&other)).await;
        (compare(&real, &other), real)
    }

    /// Leaves out what the difference does not need: what comes after it, then step by step, then edit by edit.
    async fn shrink(&self, sequence: &mut Sequence, difference: &mut Difference) {
        let last: Option<usize> = difference.after.split(' ').next().and_then(|n| n.parse().ok());
        let mut tries = Vec::new();
        if let Some(last) = last {
            let steps = sequence.steps.iter().take(last + 1).cloned().collect();
            tries.push(Sequence { steps, watch: None });
        }
        let mut at = sequence.steps.len();
        loop {
            while let Some(smaller) = tries.pop() {
                match self.try_out(&smaller).await.0 {
                    Some(found) if found.at == difference.at => (*sequence, *difference) = (smaller, found),
                    _ => {}
                }
            }
            at = at.min(sequence.steps.len());
            let Some(next) = at.checked_sub(1) else { break };
            at = next;
            let mut smaller = sequence.clone();
            smaller.steps.remove(at);
            tries.push(smaller);
        }
        let all = sequence.steps.iter().enumerate();
        let all = all.flat_map(|(i, step)| (0..step.body.len()).rev().map(move |part| (i, part)));
        for (i, part) in all.collect::<Vec<_>>() {
            let mut smaller = sequence.clone();
            smaller.steps[i].body.remove(part);
            match self.try_out(&smaller).await.0 {
                Some(found) if found.at == difference.at => (*sequence, *difference) = (smaller, found),
                _ => {}
            }
        }
    }

    async fn sequence(&self, i: u64, mut sequence: Sequence, findings: &Findings) {
        let (difference, shown) = self.try_out(&sequence).await;
        findings.requests.fetch_add(shown.len() as u64, Ordering::Relaxed);
        for shown in &shown {
            *findings.codes.lock().expect("not poisoned").entry(shown.answer.code).or_default() += 1;
        }
        let mut again = difference;
        for _ in 0..TRIES {
            if !again.as_ref().is_some_and(Difference::may_be_chance) {
                break;
            }
            findings.chances.fetch_add(1, Ordering::Relaxed);
            again = self.try_out(&sequence).await.0;
        }
        let Some(mut difference) = again else { return };
        let kind = difference.kind();
        let known = {
            let mut all = findings.differences.lock().expect("not poisoned");
            let entry = all.entry(kind.clone()).or_default();
            entry.0 += 1;
            entry.0 > 1 || all.len() > ENOUGH
        };
        if known {
            return;
        }
        self.shrink(&mut sequence, &mut difference).await;
        let steps = serde_json::to_string(&sequence).expect("JSON");
        let text = format!(
            "after {} at {}\n    real      {}\n    simulator {}\n    number {i}: {steps}\n    whole {}",
            difference.after, difference.at, difference.real, difference.simulator, difference.whole
        );
        findings.differences.lock().expect("not poisoned").entry(kind).or_default().1 = text;
    }
}

/// The sequence of a number: always the same one.
fn random(i: u64) -> Sequence {
    let seed = RngSeed::Fixed(20_260_101_u64.wrapping_add(i));
    let mut runner = TestRunner::new(Config { rng_seed: seed, ..Config::default() });
    generate::sequence().new_tree(&mut runner).expect("a sequence").current()
}

/// The sequences of a file: what stands behind the first brace of each line.
fn given() -> Option<Vec<Sequence>> {
    let file = std::env::var_os("RATCHET_CONFORMANCE_PLAY")?;
    let text = std::fs::read_to_string(file).expect("the file is readable");
    let lines = text.lines().filter_map(|line| line.find('{').map(|at| &line[at..]));
    Some(lines.map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{line}: {e}"))).collect())
}

#[test]
fn random_sequences_are_answered_alike() {
    let Some(real) = Real::get() else { return };
    let given = given();
    let many = given.as_ref().map(|all| all.len() as u64);
    let count = many.or_else(|| number("RATCHET_CONFORMANCE")).unwrap_or(FEW);
    let from = number("RATCHET_CONFORMANCE_FROM").filter(|_| given.is_none()).unwrap_or(0);
    let itself = std::env::var_os("RATCHET_CONFORMANCE_SELF").is_some();
    runtime().block_on(async {
        let (next, findings) = (AtomicU64::new(from), Findings::default());
        real.collecting().await;
        let start = tokio::time::Instant::now();
        let worker = async |n: usize| {
            let names = real.stage(&format!("w{n}")).await;
            let mirror = if itself { Some(real.stage(&format!("m{n}")).await) } else { None };
            let pair = Pair { real: Side::Real(real), names, mirror };
            loop {
                let i = next.fetch_add(1, Ordering::Relaxed);
                if i >= from + count || findings.differences.lock().expect("not poisoned").len() > ENOUGH {
                    break;
                }
                let at = usize::try_from(i).expect("so many");
                let sequence = given.as_ref().map_or_else(|| random(i), |all| all[at].clone());
                pair.sequence(i, sequence, &findings).await;
            }
            for names in pair.mirror.iter().chain([&pair.names]) {
                real.strike(names).await;
            }
        };
        join_all((0..AT_ONCE).map(worker)).await;
        let differences = findings.differences.lock().expect("not poisoned");
        let (requests, codes) =
            (findings.requests.load(Ordering::Relaxed), findings.codes.lock().expect("not poisoned"));
        let played = next.load(Ordering::Relaxed).min(from + count) - from;
        println!(
            "{played} sequences, {requests} answers compared in {:.0?}; codes {codes:?}; {} played again",
            start.elapsed(),
            findings.chances.load(Ordering::Relaxed)
        );
        let mut report = String::new();
        for (kind, (times, first)) in differences.iter() {
            report.push_str(&format!("\n{times} x {kind}\n    {first}\n"));
        }
        assert!(differences.is_empty(), "{} differences:\n{report}", differences.len());
    });
}
