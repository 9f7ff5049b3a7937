//! What is asked of every run once it is over: how each operation ended, whether the cache is as they wanted, whether
//! every history replays.

use super::oracle::overlap;
use super::plan::{FILES, Happening, Plan};
use super::run::{SECRET, name_of};
use super::world::World;
use ratchet_state_machine::journal::{self, Entry};
use ratchet_state_machine::spec::OperationSpec;
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::Arc;

/// How each operation that was asked for ended.
pub fn ends(world: &World, plan: &Plan) -> BTreeMap<usize, String> {
    let judge = world.judge();
    let mut ends = BTreeMap::new();
    for i in 0..plan.asked.len() {
        let name = name_of(world, plan, i);
        let end = judge
            .operations()
            .find(|o| o["metadata"]["name"] == name.as_str())
            .map_or("gone", |o| o["status"]["phase"].as_str().unwrap_or_default());
        ends.insert(i, end.to_owned());
    }
    ends
}

/// What is asked of every run in the end.
pub fn in_the_end(world: &World, plan: &Plan, ends: &BTreeMap<usize, String>) {
    histories(world);
    let cache = world.cache_now();
    let mut wrong: Vec<String> = cache.verify();
    wrong.extend(
        cache.cached_only_lost().into_iter().map(|f| format!("{f} was only in the cache and is lost")),
    );
    // Where the cache itself was deleted, what others had it do ended with its pods.
    if !plan.happenings.iter().any(|(_, h)| matches!(h, Happening::DeleteCluster)) {
        wrong.extend(cache.jobs_running().into_iter().map(|j| format!("{j} still runs in the engine")));
    }
    for (i, end) in ends.iter().filter(|(i, _)| !plan.touched(**i)) {
        // Who wants more workers within a deadline may not get them in time.
        let late = plan.asked[*i].arm == "scaleOut" && end == "Failed";
        // Whose image does not run, or whose pods are torn away again and again, is taken back.
        let back = plan.asked[*i].arm == "upgrade" && end == "RolledBack";
        let wanted = late || back || end == "Succeeded" || (end == "Failed" && may_fail(world, plan, *i));
        if !wanted {
            wrong.push(format!("op{i} ended {end} and nobody wanted that"));
        }
    }
    wrong.extend(cached_as_asked(world, plan, ends));
    wrong.extend(super::datasets::in_the_end(world, plan));
    wrong.extend(super::managed::in_the_end(world, plan));
    for resource in ["dataoperations", "operationjournals", "targetlocks", "cacheclusters", "datasets"] {
        if world.server.objects(resource).iter().any(|o| o.to_string().contains(SECRET)) {
            wrong.push(format!("a credential stands in {resource}"));
        }
    }
    let mut judge = world.judge();
    for w in wrong {
        judge.object(w);
    }
}

/// What operations that depend on the mount table may fail of.
const BY_THE_TABLE: [&str; 7] = [
    "MountedElsewhere",
    "NestedMount",
    "NestedUnderStorage",
    "PathExists",
    "PathInUse",
    "PathNotFound",
    "EngineRefused",
];

/// What operations on named workers may fail of.
const BY_THE_MEMBERS: [&str; 4] = ["NoSuchWorker", "NoWorkerLeft", "NoOtherWorker", "SameImage"];

/// Whether operation `i` failed of something that the mount table or the members may have been the reason for.
fn may_fail(world: &World, plan: &Plan, i: usize) -> bool {
    let asked = &plan.asked[i];
    let name = name_of(world, plan, i);
    let judge = world.judge();
    let why = judge.operations().find(|o| o["metadata"]["name"] == name.as_str()).map(|o| {
        o["status"]["state"][asked.arm]["failed"]["why"]["reason"].as_str().unwrap_or_default().to_owned()
    });
    let of_members = ["decommission", "recommission", "upgrade"].contains(&asked.arm);
    let of = if of_members { &BY_THE_MEMBERS[..] } else { &BY_THE_TABLE[..] };
    (asked.may_fail() || of_members) && why.is_some_and(|why| of.contains(&why.as_str()))
}

/// Where all operations on a file wanted the same, and nothing took it away later, the cache is as they wanted.
fn cached_as_asked(world: &World, plan: &Plan, ends: &BTreeMap<usize, String>) -> Vec<String> {
    // What is cached goes with the pods of an upgrade.
    let upgraded = plan.asked.iter().any(|a| a.arm == "upgrade");
    if upgraded || plan.happenings.iter().any(|(_, h)| h.disturbs()) {
        return Vec::new();
    }
    let cached = world.cache.cached_files();
    let mut wrong = Vec::new();
    for (file, _) in FILES {
        let on: Vec<usize> =
            (0..plan.asked.len()).filter(|i| plan.asked[*i].paths.iter().any(|p| overlap(p, file))).collect();
        let all = |arm: &str| {
            !on.is_empty()
                && on
                    .iter()
                    .all(|i| plan.asked[*i].arm == arm && ends.get(i).is_some_and(|e| e == "Succeeded"))
        };
        let there = cached.contains_key(file);
        if all("load") && !there {
            wrong.push(format!("{file} was loaded and is not cached"));
        }
        if all("free") && there {
            wrong.push(format!("{file} was freed and is cached"));
        }
    }
    wrong
}

/// Every journal replays from nothing, and its end is what the object says.
fn histories(world: &World) {
    let all: Vec<(String, Arc<Value>)> =
        world.judge().all_operations().map(|(u, o)| (u.clone(), Arc::clone(o))).collect();
    for (uid, op) in all {
        let mut entries: BTreeMap<i64, Value> = BTreeMap::new();
        for e in world
            .judge()
            .sealed(&uid)
            .into_iter()
            .chain(op["status"]["tail"].as_array().cloned().unwrap_or_default())
        {
            entries.insert(e["seq"].as_i64().unwrap_or(0), e);
        }
        if entries.is_empty() {
            continue;
        }
        let name = op["metadata"]["name"].clone();
        let parsed: Result<Vec<Entry>, _> = entries.into_values().map(serde_json::from_value).collect();
        let spec: Result<OperationSpec, _> = serde_json::from_value(op["spec"].clone());
        let (Ok(entries), Ok(spec)) = (parsed, spec) else {
            world.judge().object(format!("{name}: its journal cannot be read"));
            continue;
        };
        if world.verbose() {
            for entry in &entries {
                let told = entry.open().map(|body| journal::explain(entry, &body)).unwrap_or_default();
                world.note(format_args!("{name} {:>3} {} {told}", entry.seq, entry.at));
            }
        }
        match journal::replay(&uid, &spec, &entries) {
            Ok(steps) => {
                let digest = steps.last().map(|s| s.after.digest.0.clone()).unwrap_or_default();
                let said = op["status"]["digest"].as_str().unwrap_or_default().to_owned();
                if digest != said {
                    world
                        .judge()
                        .object(format!("{name}: the journal ends in {digest}, the object says {said}"));
                }
            }
            Err(why) => world.judge().object(format!("{name}: its journal does not replay: {why}")),
        }
    }
}
