//! The plan of a seed, drawn. The order of the draws is part of what a seed means: who changes it gives every seed another
//! history.

use super::backups;
use super::datasets;
use super::managed;
use super::plan::{
    Asked, BACKED_UP_FROM, CrashPoint, DATASETS_FROM, Happening, MANAGED_FROM, MOUNTS, MOUNTS_FROM, PATHS,
    Plan, Protection, STORES, Weather, long, spec,
};
use super::rng::Rng;
use serde_json::{Value, json};

impl Plan {
    /// The plan of a seed.
    pub fn of(seed: u64) -> Self {
        let mut rng = Rng::new(seed);
        let replicas = *rng.pick(&[1, 2, 2, 2, 3]);
        let calm_ms = rng.within(8_000, 40_000);
        let mut plan = Self { seed, replicas, calm_ms, ..Self::calm(seed) };
        plan.asked = asked(&mut rng);
        (plan.api, plan.engine) = weather(&mut rng);
        plan.crash_points = (0..replicas).map(|_| crash_points(&mut rng)).collect();
        plan.happenings = happenings(&mut rng, &plan);
        plan.protection = *rng.pick(&[
            Protection::None,
            Protection::None,
            Protection::None,
            Protection::None,
            Protection::Token,
            Protection::Fence,
        ]);
        plan.clocks = (0..replicas).map(|_| clock(&mut rng, plan.protection)).collect();
        plan.history = *rng.pick(&[4_096, 4_096, 30]);
        plan.rules = seed.is_multiple_of(64);
        plan.drain = rng.chance(300);
        plan.quiet_ms = if seed.is_multiple_of(64) { 600_000 } else { 30_000 };
        if seed >= BACKED_UP_FROM {
            backups::draw(&mut plan);
            return plan;
        }
        if seed >= MOUNTS_FROM {
            mounts(&mut plan);
        }
        if seed >= MANAGED_FROM {
            managed::draw(&mut plan);
        } else if seed >= DATASETS_FROM {
            datasets::draw(&mut plan);
        }
        plan
    }
}

/// Without a fence or a token of the engine, the waits are all there is, and they count on clocks that run alike.
fn clock(rng: &mut Rng, protection: Protection) -> (i64, u32) {
    let skew = if rng.chance(250) { i64::try_from(rng.below(1_200_000)).unwrap_or(0) - 600_000 } else { 0 };
    let rate =
        if rng.chance(300) && protection != Protection::None { *rng.pick(&[80, 120, 200]) } else { 100 };
    (skew, rate)
}

fn asked(rng: &mut Rng) -> Vec<Asked> {
    (0..rng.within(1, 5)).map(|_| one(rng)).collect()
}

fn one(rng: &mut Rng) -> Asked {
    let arm = if rng.chance(650) { "load" } else { "free" };
    let mut paths: Vec<&'static str> = Vec::new();
    for _ in 0..*rng.pick(&[1, 1, 1, 2, 3]) {
        let path = *rng.pick(&PATHS);
        if !paths.iter().any(|p| super::oracle::overlap(p, path)) {
            paths.push(path);
        }
    }
    let at_ms = if rng.chance(500) { 0 } else { rng.below(6_000) };
    Asked { as_load: arm == "load" && rng.chance(300), at_ms, spec: spec(arm, &paths), arm, paths }
}

/// Adds mounts, unmounts and what works below them, drawn from numbers of their own.
fn mounts(plan: &mut Plan) {
    let mut rng = Rng::new(plan.seed ^ 0x006D_6F75_6E74);
    for _ in 0..rng.within(1, 5) {
        let path = *rng.pick(&MOUNTS);
        let at_ms = if rng.chance(400) { 0 } else { rng.below(8_000) };
        let (arm, spec) = match rng.below(11) {
            0..=4 => ("mount", long("mount", &mount(&mut rng, path))),
            5..=7 => {
                let when_in_use = *rng.pick(&["Wait", "Wait", "Refuse"]);
                ("unmount", long("unmount", &json!({"path": path, "whenInUse": when_in_use})))
            }
            8 => ("load", spec("load", &[path])),
            9 => ("sync", spec("sync", &[path])),
            _ => ("free", spec("free", &[path])),
        };
        plan.asked.push(Asked { as_load: false, at_ms, spec, arm, paths: vec![path] });
        let who = plan.asked.len() - 1;
        if rng.chance(150) {
            let mut all = Vec::new();
            by_hand(&mut rng, plan, who, &mut all);
            plan.happenings.append(&mut all);
        }
    }
    plan.happenings.sort_by_key(|(at, _)| *at);
}

fn mount(rng: &mut Rng, path: &str) -> Value {
    let uri = rng.pick(&STORES).0;
    let mut options = Vec::new();
    if rng.chance(300) {
        options.push(json!({"name": "region", "value": *rng.pick(&["here", "there"])}));
    }
    if rng.chance(400) {
        let key = json!({"secretKeyRef": {"name": "store", "key": "id"}});
        options.push(json!({"name": "access.key", "valueFrom": key}));
    }
    let (read_only, replace) = (rng.chance(300), rng.chance(300));
    json!({"path": path, "uri": uri, "readOnly": read_only, "replace": replace, "options": options})
}

fn weather(rng: &mut Rng) -> (Weather, Weather) {
    let one = |rng: &mut Rng| {
        let level = *rng.pick(&[0, 0, 5, 20, 60]);
        let some = |rng: &mut Rng| if rng.chance(500) { rng.below(level + 1) } else { 0 };
        Weather {
            silent: some(rng) / 2,
            lost: some(rng),
            dropped: some(rng),
            refused: some(rng),
            muddled: some(rng),
            late: some(rng),
            doubled: some(rng) / 2,
        }
    };
    (one(rng), one(rng))
}

fn crash_points(rng: &mut Rng) -> Vec<CrashPoint> {
    let crashes = if rng.chance(500) { rng.within(1, 4) } else { 0 };
    let mut call = 0;
    (0..crashes)
        .map(|_| {
            call += rng.within(1, 25);
            let back_ms = *rng.pick(&[0, 200, 3_000, 20_000]);
            CrashPoint { on: None, call, after: rng.chance(500), back_ms }
        })
        .collect()
}

fn happenings(rng: &mut Rng, plan: &Plan) -> Vec<(u64, Happening)> {
    let mut all = Vec::new();
    for _ in 0..rng.below(6) {
        all.push((rng.below(plan.calm_ms), misfortune(rng, plan.replicas)));
    }
    if rng.chance(350) {
        for _ in 0..rng.within(1, 3) {
            let who = usize::try_from(rng.below(plan.asked.len() as u64)).unwrap_or(0);
            by_hand(rng, plan, who, &mut all);
        }
    }
    all.sort_by_key(|(at, _)| *at);
    all
}

fn misfortune(rng: &mut Rng, replicas: usize) -> Happening {
    let who = usize::try_from(rng.below(replicas as u64)).unwrap_or(0);
    match rng.below(15) {
        0 => Happening::Crash(who, *rng.pick(&[0, 1_000, 15_000])),
        1 => Happening::Pause(who, rng.within(500, 9_000)),
        2 => Happening::TimeTravel(who, rng.within(1, 60)),
        3 | 4 => Happening::Lag(who, rng.within(50, 3_000), rng.within(1_000, 30_000)),
        5 => Happening::Blind(who, rng.within(5_000, 90_000)),
        6 => Happening::ClockJump(who, *rng.pick(&[-3_600_000, -60_000, 60_000, 3_600_000])),
        7 => Happening::ApiDown(rng.within(500, 15_000)),
        8 => Happening::MasterRestart,
        9 => Happening::FailOver(usize::try_from(rng.within(1, 4)).unwrap_or(1)),
        10 => Happening::EngineDown(rng.within(500, 20_000)),
        11 => Happening::WorkerRestart(usize::try_from(rng.below(2)).unwrap_or(0)),
        12 => Happening::Evict(rng.pick::<&str>(&PATHS)),
        13 => Happening::ForeignLoad(rng.pick::<&str>(&PATHS)),
        _ => Happening::LockDeleted,
    }
}

fn by_hand(rng: &mut Rng, plan: &Plan, who: usize, all: &mut Vec<(u64, Happening)>) {
    let at = plan.asked[who].at_ms + rng.below(12_000);
    let cancel = json!({"spec": {"control": {"cancel": true}}});
    match rng.below(8) {
        0 | 1 => all.push((at, Happening::Edit(who, cancel))),
        2 => all.push((at, Happening::Delete(who))),
        3 => all.push((at, Happening::ForceDelete(who))),
        4 => all.push((at, Happening::Replace(who))),
        5 => {
            for _ in 0..4 {
                let label = json!({"metadata": {"labels": {"touched": rng.below(100).to_string()}}});
                all.push((rng.below(plan.calm_ms), Happening::Edit(who, label)));
            }
        }
        _ => {
            let suspend = |on: bool| json!({"spec": {"control": {"suspend": on}}});
            all.push((at, Happening::Edit(who, suspend(true))));
            all.push((at + rng.within(500, 8_000), Happening::Edit(who, suspend(false))));
        }
    }
}
