//! Mounts and Datasets in a simulation: what stores there are, what people edit, and what has to be so in the end: each
//! edit has become exactly one operation, and what is bound is mounted as the spec says.

use super::plan::{Happening, Plan, STORES};
use super::rng::Rng;
use super::run::path;
use super::world::World;
use ratchet::api::Dataset;
use ratchet_simulator::cache::{Memory, UfsError, UnderStorage};
use ratchet_state_machine::effect::{Answer, Query};
use ratchet_state_machine::mounts::{MountTable, Standing};
use ratchet_state_machine::spec::{ArmSpec, OperationSpec};
use serde_json::{Value, json};
use std::sync::Arc;

/// Where the Dataset mounts, and what: no two of these are ever in each other's way.
const PLACES: [(&str, [&str; 2]); 2] =
    [("/d", ["sim://ds-a", "sim://ds-b"]), ("/dd", ["sim://ds-c", "sim://ds-d"])];

/// The store at an address.
pub fn store(uri: &str) -> Result<Arc<dyn UnderStorage>, UfsError> {
    let store = Memory::default();
    if PLACES.iter().any(|(_, uris)| uris.contains(&uri)) {
        store.put("/file", vec![7; 25]);
        return Ok(Arc::new(store));
    }
    let (_, files) =
        STORES.iter().find(|(at, _)| *at == uri).ok_or_else(|| UfsError::NotFound(uri.to_owned()))?;
    for (path, size) in *files {
        store.put(path, vec![u8::try_from(*size).unwrap_or(1); *size]);
    }
    Ok(Arc::new(store))
}

fn table(world: &World) -> Option<MountTable> {
    match world.cache_now().inspect(&Query::Mounts { count: None, secrets: false }) {
        Ok(Answer::Mounts(table)) => Some(table),
        Ok(_) | Err(_) => None,
    }
}

/// An operation on the mount table is said to have succeeded: the table shows it.
pub fn succeeded(world: &World, object: &Value) {
    let asked = &object["spec"]["operation"];
    if asked["mount"].is_null() && asked["unmount"].is_null() {
        return;
    }
    let spec: Result<OperationSpec, _> = serde_json::from_value(object["spec"].clone());
    let (Ok(spec), Some(table)) = (spec, table(world)) else { return };
    let stands = match &spec.operation {
        ArmSpec::Mount(wanted) => table.standing(wanted) == Standing::AsWanted,
        ArmSpec::Unmount(_) => table.next_to_unmount(&spec) == Ok(None),
        ArmSpec::Load(_)
        | ArmSpec::Free(_)
        | ArmSpec::Sync(_)
        | ArmSpec::Backup(_)
        | ArmSpec::ScaleOut(_)
        | ArmSpec::ScaleIn(_)
        | ArmSpec::Decommission(_)
        | ArmSpec::Recommission(_)
        | ArmSpec::Upgrade(_) => true,
    };
    if !stands {
        let name = object["metadata"]["name"].clone();
        world.judge().object(format!("{name}: succeeded, and the table shows {:?}", table.mounts));
    }
}

/// People edit a Dataset, and perhaps delete it.
pub fn draw(plan: &mut Plan) {
    let mut rng = Rng::new(plan.seed ^ 0x0064_7365_7473);
    plan.datasets = true;
    let mut at = 0;
    for _ in 0..rng.within(1, 5) {
        at += rng.below(6_000);
        plan.happenings.push((at, Happening::EditDataset(mounts(&mut rng))));
    }
    if rng.chance(250) {
        plan.happenings.push((at + rng.below(9_000), Happening::DeleteDataset));
    }
    plan.happenings.sort_by_key(|(at, _)| *at);
}

fn mounts(rng: &mut Rng) -> Value {
    let mut all = Vec::new();
    for (path, uris) in PLACES {
        if rng.chance(700) {
            let uri = *rng.pick(&uris);
            all.push(mount(rng, path, uri));
        }
    }
    if all.is_empty() {
        all.push(mount(rng, PLACES[0].0, PLACES[0].1[0]));
    }
    Value::Array(all)
}

fn mount(rng: &mut Rng, path: &str, uri: &str) -> Value {
    let key = json!({"secretKeyRef": {"name": "store", "key": "id"}});
    let options = if rng.chance(300) { json!([{"name": "access.key", "valueFrom": key}]) } else { json!([]) };
    json!({"path": path, "uri": uri, "readOnly": rng.chance(500), "options": options})
}

/// Somebody edits the Dataset; the first edit creates it.
pub fn edit(world: &World, mounts: &Value) {
    let spec = json!({"cluster": "cache", "mounts": mounts});
    let one = path("datasets", "data");
    if world.by_hand("GET", &one, &Value::Null).0 == 200 {
        world.by_hand("PATCH", &one, &json!({"spec": spec}));
        return;
    }
    let object = json!({"apiVersion": "ratchet.dev/v1alpha1", "kind": "Dataset",
        "metadata": {"name": "data"}, "spec": spec});
    world.by_hand("POST", &path("datasets", ""), &object);
}

/// Somebody deletes it.
pub fn delete(world: &World) {
    world.by_hand("DELETE", &path("datasets", "data"), &Value::Null);
}

fn there(world: &World) -> Vec<Dataset> {
    let all = world.server.objects("datasets");
    all.iter().filter_map(|d| serde_json::from_value(d.as_ref().clone()).ok()).collect()
}

/// Whether nothing is under way for a Dataset.
pub fn settled(world: &World) -> bool {
    there(world).iter().all(|d| {
        let Some(status) = &d.status else { return false };
        let failed = status.mounts.iter().any(|m| m.phase == "Failed");
        if d.metadata.deletion_timestamp.is_some() {
            // It waits out its bound.
            return failed;
        }
        let seen = Some(status.observed_generation) == d.metadata.generation;
        let synced = status.sync.handled == status.handled && status.sync.phase != "Pending";
        let bound = status.phase == "Bound" && synced;
        seen && (bound || matches!(status.phase.as_str(), "Failed" | "NotBound"))
    })
}

/// What has to be so in the end.
pub fn in_the_end(world: &World, plan: &Plan) -> Vec<String> {
    let mut wrong = Vec::new();
    if !plan.datasets {
        return wrong;
    }
    let forgets = plan.happenings.iter().any(|(_, h)| matches!(h, Happening::FailOver(_)));
    let Some(table) = table(world) else { return vec!["the cache gives no answer in the end".into()] };
    let all = there(world);
    for dataset in &all {
        let (uid, status) = (dataset.metadata.uid.clone(), dataset.status.clone().unwrap_or_default());
        let made = world.judge().all_operations().filter(|(_, o)| edits(o, uid.as_deref())).count();
        if i64::try_from(made).ok() != Some(status.handled) {
            wrong.push(format!("{} edits of the Dataset are handled, by {made} operations", status.handled));
        }
        if status.phase == "NotBound" && !forgets {
            wrong.push(format!("the Dataset is NotBound: {:?}", status.mounts));
        }
        if status.phase != "Bound" || forgets {
            continue;
        }
        let extra = |path: &str| !dataset.spec.mounts.iter().any(|m| m.path == path);
        if let Some((path, _)) = PLACES.iter().find(|(p, _)| extra(p) && table.at(p).is_some()) {
            wrong.push(format!("the Dataset is Bound, and {path} is mounted without it"));
        }
        for mount in &dataset.spec.mounts {
            let stands = table.standing(&dataset.spec.mount(mount, false));
            if stands != Standing::AsWanted {
                wrong.push(format!("the Dataset is Bound, and {} is {stands:?}", mount.path));
            }
        }
    }
    let left = PLACES.iter().find(|(path, _)| table.at(path).is_some());
    if let Some((path, _)) = left.filter(|_| all.is_empty() && !forgets) {
        wrong.push(format!("there is no Dataset any more, and {path} is mounted"));
    }
    wrong
}

/// Whether an operation is what an edit of this Dataset became.
fn edits(operation: &Value, uid: Option<&str>) -> bool {
    let owners = operation["metadata"]["ownerReferences"].as_array();
    let owned = owners.into_iter().flatten().any(|o| o["kind"] == "Dataset" && o["uid"].as_str() == uid);
    owned && operation["spec"]["operation"]["sync"].is_null()
}
