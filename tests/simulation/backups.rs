//! Backups in plans, and what has to be so when one has succeeded.

use super::plan::{Asked, Plan, long};
use super::rng::Rng;
use super::world::World;
use serde_json::{Value, json};

/// Where they go. A load of `/` or `/data` takes turns with the last one.
const PLACES: [&str; 3] = ["/backups", "/backups", "/data/backups"];

/// Adds backups, drawn from numbers of their own.
pub fn draw(plan: &mut Plan) {
    let mut rng = Rng::new(plan.seed ^ 0x6261_636B);
    for _ in 0..rng.within(1, 5) {
        let path = *rng.pick(&PLACES);
        let at_ms = if rng.chance(400) { 0 } else { rng.below(8_000) };
        let mut arguments = json!({"path": path});
        if let Some(keep) = *rng.pick(&[None, Some(1), Some(2)]) {
            arguments["keep"] = json!(keep);
        }
        let spec = long("backup", &arguments);
        plan.asked.push(Asked { as_load: false, at_ms, spec, arm: "backup", paths: vec![path] });
    }
}

/// A backup is said to have succeeded: one is there, and no more than it keeps.
pub fn succeeded(world: &World, object: &Value) {
    let wanted = &object["spec"]["operation"]["backup"];
    let Some(path) = wanted["path"].as_str() else { return };
    let (there, name) = (world.cache_now().backup_folders(path), &object["metadata"]["name"]);
    // Nobody else backs up to there meanwhile, and what an earlier attempt left is pruned with the rest.
    let most = wanted["keep"].as_u64().and_then(|k| usize::try_from(k).ok()).unwrap_or(usize::MAX);
    if there.is_empty() || there.len() > most {
        world.judge().object(format!("{name}: succeeded, and there are {there:?}"));
    }
    let status = object["status"].to_string();
    if !there.iter().any(|folder| status.contains(folder.as_str())) {
        world.judge().object(format!("{name}: succeeded, and says nothing of {there:?}: {status}"));
    }
}
