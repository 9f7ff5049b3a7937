//! One seed from beginning to end: the storm, the calm, the settling, the quiet, and what is asked in the end.

use super::datasets;
use super::end::{ends, in_the_end};
use super::managed;
use super::oracle::{overlap, settled};
use super::plan::{FILES, Happening, Plan};
use super::replica::Replica;
use super::world::World;
use serde_json::{Value, json};
use std::cell::Cell;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// Longest time from the end of the faults until everything is settled, in milliseconds.
const RECOVERY_MS: i64 = 900_000;

/// What came of a run.
#[derive(Debug, Clone, Default)]
pub struct Report {
    /// What was wrong; empty for a clean run.
    pub violations: Vec<String>,
    /// Hash over the account of everything that was sent.
    pub hash: u64,
    /// The account, where it was asked for.
    pub trace: String,
    /// How each operation that was asked for ended.
    pub ends: BTreeMap<usize, String>,
    /// Commits that are not for display only.
    pub commits: u64,
    /// Faults that happened.
    pub faults: u64,
    /// Lines of the account: calls, effects, faults, what people do.
    pub events: u64,
    /// Operations that reached a terminal phase.
    pub finished: u64,
    /// Milliseconds from the end of the faults until everything was settled.
    pub recovery_ms: i64,
    /// Largest status, in bytes.
    pub largest: usize,
    /// Changing calls of each replica.
    pub calls: Vec<u64>,
}

/// The credential of the stores: it may stand nowhere but in its Secret.
pub const SECRET: &str = "OPEN-SESAME";

thread_local! {
    static PANICS: Cell<u64> = const { Cell::new(0) };
}

/// Counts the panics of each thread; the controller itself survives them.
pub fn count_panics() {
    static ONCE: std::sync::Once = std::sync::Once::new();
    ONCE.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            PANICS.with(|p| p.set(p.get() + 1));
            before(info);
        }));
    });
}

/// Plays a plan.
pub fn run(plan: &Plan, keep_trace: bool) -> Report {
    count_panics();
    let panics = PANICS.with(Cell::get);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    let Ok(runtime) = runtime else {
        return Report { violations: vec!["no runtime".into()], ..Report::default() };
    };
    let mut report = runtime.block_on(scenario(plan, keep_trace));
    // What was sent may still be on its way; nothing else may be alive.
    let alive = runtime.metrics().num_alive_tasks();
    if alive > 0 {
        report.violations.push(format!("{alive} tasks are still alive"));
    }
    if PANICS.with(Cell::get) > panics {
        report.violations.push("something panicked".into());
    }
    report
}

async fn scenario(plan: &Plan, keep_trace: bool) -> Report {
    let world = World::new(plan, keep_trace);
    let cluster = json!({"apiVersion": "ratchet.dev/v1alpha1", "kind": "CacheCluster", "metadata": {"name": "cache"},
        "spec": if plan.managed { managed::cluster(plan) } else { json!({"attached": {"masters": ["cache:1"]}}) }});
    let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "ns"}});
    for (uri, body) in [("/api/v1/namespaces", &namespace), (&path("cacheclusters", ""), &cluster)] {
        let (code, answer) = world.by_hand("POST", uri, body);
        if code != 201 {
            world.judge().object(format!("{uri}: {code} {answer}"));
        }
    }
    if plan.datasets || plan.asked.iter().any(super::plan::Asked::may_fail) {
        let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "store"},
            "stringData": {"id": SECRET}});
        world.by_hand("POST", "/api/v1/namespaces/ns/secrets", &secret);
    }
    let janitor = tokio::spawn(janitor(Arc::clone(&world)));
    world.members.write(plan.writes);
    let node = plan.managed.then(|| tokio::spawn(managed::node(Arc::clone(&world))));
    let replicas: Vec<Replica> = (0..plan.replicas).map(|i| Replica::start(&world, plan, i)).collect();
    let people = tokio::spawn(people(Arc::clone(&world), plan.clone()));
    storm(&world, plan, &replicas).await;
    let _ = people.await;
    world.clear_up();
    world.note(format_args!("calm"));
    let recovery_ms = settle(&world, plan).await;
    quiet(&world, plan).await;
    for replica in replicas {
        if plan.drain { replica.drain().await } else { replica.kill().await }
    }
    for helper in [Some(janitor), node].into_iter().flatten() {
        helper.abort();
        let _ = helper.await;
    }
    tokio::time::sleep(Duration::from_secs(20)).await;
    let ends = ends(&world, plan);
    in_the_end(&world, plan, &ends);
    let (hash, trace, events) = world.account();
    let calls = world.replicas.iter().map(|r| r.calls.load(Ordering::Relaxed)).collect();
    let judge = world.judge();
    Report {
        violations: judge.violations.clone(),
        hash,
        trace,
        events,
        ends,
        commits: judge.commits,
        faults: world.faults.load(Ordering::Relaxed),
        finished: judge.finished,
        recovery_ms,
        largest: judge.largest,
        calls,
    }
}

/// `/apis/.../namespaces/ns/RESOURCE[/NAME]`.
pub fn path(resource: &str, name: &str) -> String {
    let slash = if name.is_empty() { "" } else { "/" };
    format!("/apis/ratchet.dev/v1alpha1/namespaces/ns/{resource}{slash}{name}")
}

/// What the controller manager does.
async fn janitor(world: Arc<World>) {
    loop {
        world.deleted.notified().await;
        tokio::time::sleep(Duration::from_millis(200)).await;
        while world.server.collect() {}
    }
}

/// The name of the DataOperation that is asked for as number `i`.
pub fn name_of(world: &World, plan: &Plan, i: usize) -> String {
    let name = format!("op{i}");
    if !plan.asked[i].as_load {
        return name;
    }
    let loads = world.server.objects("dataloads");
    let load = loads.iter().find(|l| l["metadata"]["name"] == name.as_str());
    let mirrored = load.and_then(|l| l["status"]["operation"].as_str()).filter(|n| !n.is_empty());
    mirrored.map_or(name, str::to_owned)
}

/// People ask for what the plan says, each at its time.
async fn people(world: Arc<World>, plan: Plan) {
    let mut order: Vec<usize> = (0..plan.asked.len()).collect();
    order.sort_by_key(|i| plan.asked[*i].at_ms);
    for i in order {
        let asked = &plan.asked[i];
        wait_until(&world, asked.at_ms).await;
        ask(&world, i, asked);
    }
}

fn ask(world: &World, i: usize, asked: &super::plan::Asked) {
    let (kind, resource) =
        if asked.as_load { ("DataLoad", "dataloads") } else { ("DataOperation", "dataoperations") };
    let mut spec = asked.spec.clone();
    if asked.as_load {
        let arm = spec["operation"]["load"].clone();
        if let (Value::Object(spec), Value::Object(arm)) = (&mut spec, arm) {
            spec.remove("operation");
            spec.extend(arm);
        }
    }
    let object = json!({"apiVersion": "ratchet.dev/v1alpha1", "kind": kind,
        "metadata": {"name": format!("op{i}")}, "spec": spec});
    let (code, answer) = world.by_hand("POST", &path(resource, ""), &object);
    world.note(format_args!("somebody asks for op{i}: {} {:?} {code}", asked.arm, asked.paths));
    if code != 201 {
        world.judge().object(format!("op{i} is refused: {answer}"));
    }
}

async fn wait_until(world: &World, ms: u64) {
    let now = u64::try_from(world.time.ms()).unwrap_or(0);
    if ms > now {
        tokio::time::sleep(Duration::from_millis(ms - now)).await;
    }
}

async fn storm(world: &Arc<World>, plan: &Plan, replicas: &[Replica]) {
    for (at, happening) in &plan.happenings {
        wait_until(world, *at).await;
        happen(world, plan, happening, replicas);
    }
    wait_until(world, plan.calm_ms).await;
}

fn happen(world: &Arc<World>, plan: &Plan, happening: &Happening, replicas: &[Replica]) {
    world.note(format_args!("{happening:?}"));
    world.fault();
    if happening.disturbs() {
        world.disturb();
    }
    let operation = |i: usize| path("dataoperations", &name_of(world, plan, i));
    match happening {
        Happening::Crash(r, back) => world.kill(*r, *back),
        Happening::Pause(r, ms) => world.freeze(*r, *ms),
        Happening::TimeTravel(r, back) => world.travel(*r, *back),
        Happening::Lag(r, by, ms) => world.lag(*r, *by, *ms),
        Happening::Blind(r, ms) => world.blind(*r, *ms),
        Happening::ClockJump(r, ms) => replicas[*r].clock.jump(*ms),
        Happening::ApiDown(ms) => world.api_down(*ms),
        Happening::MasterRestart => {
            world.cache_now().restart_master();
            world.judge().engine_forgot();
        }
        Happening::FailOver(n) => {
            world.cache_now().fail_over(*n);
            world.judge().engine_forgot();
        }
        Happening::EngineDown(ms) => world.engine_down(*ms),
        Happening::WorkerRestart(w) => {
            world.cache_now().give_up(*w);
            world.cache_now().stop_worker(*w);
            world.cache.start_worker(*w);
        }
        Happening::Evict(path) => {
            for (file, _) in FILES.iter().filter(|(file, _)| overlap(path, file)) {
                world.cache_now().evict(file);
            }
        }
        Happening::ForeignLoad(path) => {
            world.cache_now().foreign_load(path);
            world.judge().foreign_load(path);
        }
        Happening::LockDeleted => {
            for lock in world.server.objects("targetlocks") {
                let name = lock["metadata"]["name"].as_str().unwrap_or_default().to_owned();
                let uri = format!("/apis/ratchet.dev/v1alpha1/targetlocks/{name}");
                world.by_hand("DELETE", &uri, &Value::Null);
            }
        }
        Happening::EditDataset(mounts) => datasets::edit(world, mounts),
        Happening::DeleteDataset => datasets::delete(world),
        Happening::EditCluster(_)
        | Happening::DeleteCluster
        | Happening::PodGone(_)
        | Happening::PodUnready(..)
        | Happening::Drift(_) => managed::happen(world, happening),
        Happening::Edit(i, patch) => {
            world.by_hand("PATCH", &operation(*i), patch);
        }
        Happening::Delete(i) => {
            world.by_hand("DELETE", &operation(*i), &Value::Null);
        }
        Happening::ForceDelete(i) | Happening::Replace(i) => {
            let uri = operation(*i);
            let (_, seen) = world.by_hand("GET", &uri, &Value::Null);
            // Nobody has asked for it yet, or it is gone.
            let Some(uid) = seen["metadata"]["uid"].as_str() else { return };
            world.judge().forced(uid);
            world.by_hand("DELETE", &uri, &Value::Null);
            world.by_hand("PATCH", &uri, &json!({"metadata": {"finalizers": null}}));
            if matches!(happening, Happening::Replace(_)) && !plan.asked[*i].as_load {
                ask(world, *i, &plan.asked[*i]);
            }
        }
    }
}

/// Everything comes to its end within the bound.
async fn settle(world: &World, plan: &Plan) -> i64 {
    let begun = world.time.ms();
    loop {
        let calm = world.judge().calm();
        if calm && all_there(world, plan) {
            return world.time.ms() - begun;
        }
        if world.time.ms() - begun > RECOVERY_MS {
            let mut open: Vec<String> = world
                .judge()
                .operations()
                .filter(|o| !settled(o))
                .map(|o| {
                    let s = &o["status"];
                    format!(
                        "{}: {} {} {}",
                        o["metadata"]["name"], s["phase"], s["step"], s["waitingOn"]["reason"]
                    )
                })
                .collect();
            open.extend(managed::open(world));
            let holders = world.judge().holders();
            world.judge().object(format!(
                "not settled {RECOVERY_MS} ms after the faults: {open:?}, held by {holders:?}"
            ));
            return RECOVERY_MS;
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

/// Every load that is there has its operation.
fn all_there(world: &World, plan: &Plan) -> bool {
    if plan.datasets && !datasets::settled(world) || plan.managed && !managed::settled(world) {
        return false;
    }
    if plan.asked.iter().all(|a| !a.as_load) {
        return true;
    }
    let loads = world.server.objects("dataloads");
    loads.iter().all(|l| !l["status"]["finishedAt"].is_null())
}

/// Nothing is written when there is nothing to say.
async fn quiet(world: &World, plan: &Plan) {
    // Mirrors and displays may follow the last transition; a replica may still be on its way back, and look around.
    tokio::time::sleep(Duration::from_secs(45)).await;
    let before = world.server.revision();
    tokio::time::sleep(Duration::from_millis(plan.quiet_ms)).await;
    let written = world.server.revision() - before;
    if written > 0 {
        world.judge().object(format!("{written} writes while there was nothing to say"));
    }
}
