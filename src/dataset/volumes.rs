//! Volumes of datasets: a PersistentVolume and a claim for each namespace that shall have one.
//!
//! ```text
//!   bound dataset --create--> volume, claim --Kubernetes--> Bound      not wanted: pods gone? --> claim, then volume
//! ```
//!
//! Both carry a finalizer: they go when no pod uses the claim, whoever deletes them. What serves the volume is a CSI
//! driver of the cluster; nothing here reads or writes data.

use super::{Ctx, Dataset, DatasetStatus};
use crate::api::conditions::{VOLUMES_READY, Wanted};
use crate::api::dataset::{DatasetVolume, VolumeStatus};
use crate::api::{API_VERSION, CacheCluster};
use crate::cache::{Cached, Key, Store};
use crate::cluster::workloads::{BY_DATASET, DATASET, DATASET_UID};
use crate::controller::reply::Reply;
use crate::controller::{finalizers, write};
use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim, Pod};
use kube::api::ListParams;
use kube::{Api, ResourceExt};
use ratchet_state_machine::ids::hash;
use ratchet_state_machine::lifecycle::cut;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Keeps a volume and its claim in place while a pod uses them.
const FINALIZER: &str = "ratchet.dev/volume";
/// A cache has no size that a claim could be measured by; Kubernetes wants a number.
const CAPACITY: &str = "1Pi";

fn uid(dataset: &Dataset) -> String {
    dataset.metadata.uid.clone().unwrap_or_default()
}

/// Name of the volume for a namespace.
fn volume_name(dataset: &Dataset, namespace: &str) -> String {
    let digest = hash(&[b"volume", uid(dataset).as_bytes(), namespace.as_bytes()]);
    let hex: String = digest.bytes().take(8).map(|b| format!("{b:02x}")).collect();
    format!("{}-{hex}", dataset.name_any().chars().take(200).collect::<String>())
}

/// Makes the volumes that shall be there and lets go of those that shall not; notes both in the status.
pub async fn keep(ctx: &Ctx, dataset: &Dataset, cluster: Option<&CacheCluster>, status: &mut DatasetStatus) {
    let wanted = dataset.spec.volume.as_ref().filter(|_| dataset.metadata.deletion_timestamp.is_none());
    if wanted.is_none() && status.volumes.is_empty() {
        return;
    }
    if !ctx.config.managed {
        status.volumes = vec![VolumeStatus {
            phase: "Failed".into(),
            message: "this controller was started without the part that makes volumes".into(),
            ..VolumeStatus::default()
        }];
        return;
    }
    let mut all = Vec::new();
    if let (Some(volume), Some(cluster)) = (wanted, cluster) {
        for namespace in namespaces(dataset, volume) {
            all.push(one(ctx, dataset, cluster, volume, &namespace).await);
        }
    }
    let kept: Vec<String> = all.iter().map(|v| v.volume.clone()).collect();
    all.extend(let_go(ctx, dataset, &kept).await);
    status.volumes = all;
}

/// Lets go of all volumes of a dataset; whoever is left keeps the dataset in place.
pub async fn release(ctx: &Ctx, dataset: &Dataset, status: &mut DatasetStatus) -> bool {
    if !ctx.config.managed {
        return true;
    }
    status.volumes = let_go(ctx, dataset, &[]).await;
    status.volumes.is_empty()
}

/// The condition that goes with the volumes; none where no volume is asked for.
pub fn condition(dataset: &Dataset, status: &DatasetStatus) -> Option<Wanted> {
    if dataset.spec.volume.is_none() && status.volumes.is_empty() {
        return None;
    }
    let odd = status.volumes.iter().find(|v| v.phase != "Bound");
    Some(match odd {
        Some(v) => {
            let what = if v.message.is_empty() { v.phase.clone() } else { v.message.clone() };
            Wanted::new(VOLUMES_READY, false, &v.phase, format!("claim in namespace {}: {what}", v.namespace))
        }
        None if status.volumes.is_empty() => {
            Wanted::new(VOLUMES_READY, false, "Pending", "the mounts come first")
        }
        None => Wanted::new(VOLUMES_READY, true, "Bound", format!("{} claims", status.volumes.len())),
    })
}

fn namespaces(dataset: &Dataset, volume: &DatasetVolume) -> Vec<String> {
    let own = dataset.metadata.namespace.clone().unwrap_or_default();
    let mut all = vec![own];
    all.extend(volume.namespaces.iter().cloned());
    all.sort();
    all.dedup();
    all
}

async fn one(
    ctx: &Ctx,
    dataset: &Dataset,
    cluster: &CacheCluster,
    volume: &DatasetVolume,
    namespace: &str,
) -> VolumeStatus {
    let name = volume_name(dataset, namespace);
    let mut seen =
        VolumeStatus { namespace: namespace.into(), volume: name.clone(), ..VolumeStatus::default() };
    let say = |seen: VolumeStatus, phase: &str, message: String| VolumeStatus {
        phase: phase.into(),
        message: cut(&message, 600),
        ..seen
    };
    if !ctx.config.csi_drivers.contains(&volume.driver) {
        let message = format!(
            "the controller does not allow the CSI driver {}; it allows {}",
            volume.driver,
            ctx.config.csi_drivers.join(", ")
        );
        return say(seen, "Failed", message);
    }
    if ctx.config.watch.namespace.as_ref().is_some_and(|n| n != namespace) {
        return say(seen, "Failed", "the controller watches another namespace only".into());
    }
    let volumes: Api<PersistentVolume> = Api::all(ctx.client.clone());
    let claims: Api<PersistentVolumeClaim> = Api::namespaced(ctx.client.clone(), namespace);
    let (pv, pvc) = bodies(dataset, cluster, volume, namespace, &name);
    let of_volume = match there(
        ctx,
        &volumes,
        &ctx.workloads.volumes,
        dataset,
        &Key::new("", name.as_str()),
        &pv,
    )
    .await
    {
        Ok(found) => found,
        Err(why) => return say(seen, "Failed", why),
    };
    let key = Key::new(namespace, dataset.name_any());
    let known = ctx.workloads.claims.get(&key).filter(|c| c.labels().get(DATASET_UID) == Some(&uid(dataset)));
    let phase = |of: Option<&String>, words: &[&str]| of.is_some_and(|p| words.contains(&p.as_str()));
    let lost = phase(of_volume.status.as_ref().and_then(|s| s.phase.as_ref()), &["Released", "Failed"])
        || known.as_ref().is_some_and(|c| {
            c.metadata.deletion_timestamp.is_some()
                || phase(c.status.as_ref().and_then(|s| s.phase.as_ref()), &["Lost"])
        });
    if of_volume.metadata.deletion_timestamp.is_some() || lost {
        // Somebody deleted one of them: both go as soon as no pod uses them, and are made anew.
        return remove(ctx, dataset, &of_volume, known.as_deref()).await;
    }
    let of_claim = match there(ctx, &claims, &ctx.workloads.claims, dataset, &key, &pvc).await {
        Ok(found) => found,
        Err(why) => return say(seen, "Failed", why),
    };
    let phase = of_claim.status.as_ref().and_then(|s| s.phase.clone()).unwrap_or_default();
    seen.phase = if phase == "Bound" { phase } else { "Pending".into() };
    seen
}

/// The object of this name, made where it is not there.
async fn there<K>(
    ctx: &Ctx,
    api: &Api<K>,
    store: &Store<K>,
    dataset: &Dataset,
    key: &Key,
    body: &Value,
) -> Result<K, String>
where
    K: Cached + DeserializeOwned + Serialize + std::fmt::Debug,
{
    let found = match store.get(key) {
        Some(known) => known.as_ref().clone(),
        None => match write::create_raw(ctx, api, body, false).await {
            Ok(made) => made,
            Err(Reply::Conflict | Reply::Ambiguous(_)) => match write::get(ctx, api, &key.name).await {
                Ok(Some(found)) => found,
                Ok(None) => return Err(format!("{key} was removed just now")),
                Err(reply) => return Err(format!("{key}: {reply:?}")),
            },
            Err(Reply::Rule(why) | Reply::Denied(why)) => return Err(format!("{key}: {why}")),
            Err(reply) => return Err(format!("{key}: {}", reply.name())),
        },
    };
    if found.meta().labels.as_ref().and_then(|l| l.get(DATASET_UID)) != Some(&uid(dataset)) {
        let kind = K::kind(&()).into_owned();
        return Err(format!("{kind} {key} is there already and belongs to somebody else; remove it"));
    }
    store.replace(found.clone());
    Ok(found)
}

/// What is created.
fn bodies(
    dataset: &Dataset,
    cluster: &CacheCluster,
    volume: &DatasetVolume,
    namespace: &str,
    name: &str,
) -> (Value, Value) {
    let claim = dataset.name_any();
    let own = dataset.metadata.namespace.clone().unwrap_or_default();
    let mut metadata = json!({
        "labels": {"app.kubernetes.io/managed-by": "ratchet", DATASET_UID: uid(dataset)},
        "annotations": {DATASET: format!("{own}/{claim}")},
        "finalizers": [FINALIZER],
    });
    let read_only = !volume.access_modes.iter().any(|m| *m != crate::api::dataset::AccessMode::ReadOnlyMany);
    metadata["name"] = json!(name);
    let pv = json!({"apiVersion": "v1", "kind": "PersistentVolume", "metadata": metadata, "spec": {
        "capacity": {"storage": CAPACITY},
        "accessModes": volume.access_modes,
        "persistentVolumeReclaimPolicy": "Retain",
        "storageClassName": "",
        "claimRef": {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "namespace": namespace, "name": claim},
        "csi": {
            "driver": volume.driver,
            "volumeHandle": name,
            "readOnly": read_only,
            "volumeAttributes": attributes(dataset, cluster, volume),
        },
    }});
    metadata["name"] = json!(claim);
    metadata["namespace"] = json!(namespace);
    if namespace == own {
        metadata["ownerReferences"] = json!([{"apiVersion": API_VERSION, "kind": "Dataset", "name": claim,
            "uid": uid(dataset), "controller": true, "blockOwnerDeletion": true}]);
    }
    let pvc = json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": metadata, "spec": {
        "accessModes": volume.access_modes,
        "storageClassName": "",
        "volumeName": name,
        "resources": {"requests": {"storage": CAPACITY}},
    }});
    (pv, pvc)
}

/// What the driver is told. None of it may change later, so that masters are named and not given by address.
fn attributes(dataset: &Dataset, cluster: &CacheCluster, volume: &DatasetVolume) -> BTreeMap<String, String> {
    let path = match dataset.spec.mounts.as_slice() {
        [one] => one.path.clone(),
        _ => "/".into(),
    };
    let masters = match &cluster.spec.managed {
        Some(managed) => {
            let namespace = cluster.metadata.namespace.clone().unwrap_or_default();
            crate::cluster::master_names(&cluster.name_any(), &namespace, managed).join(",")
        }
        None if cluster.spec.attached.reference.is_some() => {
            cluster.status.as_ref().map(|s| s.endpoints.join(",")).unwrap_or_default()
        }
        None => cluster.spec.attached.masters.join(","),
    };
    let mut all = BTreeMap::from([
        ("alluxioPath".to_owned(), path),
        ("masters".to_owned(), masters),
        ("cluster".to_owned(), cluster.name_any()),
    ]);
    all.extend(volume.attributes.clone());
    all
}

/// Lets go of what this dataset has made and does not keep.
async fn let_go(ctx: &Ctx, dataset: &Dataset, kept: &[String]) -> Vec<VolumeStatus> {
    let at = (BY_DATASET, uid(dataset));
    let claims = ctx.workloads.claims.by_index(&at);
    let of = |volume: &str| {
        claims.iter().find(|c| c.spec.as_ref().and_then(|s| s.volume_name.as_deref()) == Some(volume))
    };
    let mut left = Vec::new();
    for volume in ctx.workloads.volumes.by_index(&at) {
        let name = volume.name_any();
        if !kept.contains(&name) {
            left.push(remove(ctx, dataset, &volume, of(&name).map(|c| &**c)).await);
        }
    }
    left.retain(|v| !v.phase.is_empty());
    left
}

/// Removes a claim that no pod uses, and then its volume. The phase is empty when nothing of them is left.
async fn remove(
    ctx: &Ctx,
    dataset: &Dataset,
    volume: &PersistentVolume,
    claim: Option<&PersistentVolumeClaim>,
) -> VolumeStatus {
    let reference = volume.spec.as_ref().and_then(|s| s.claim_ref.clone()).unwrap_or_default();
    let namespace = reference.namespace.unwrap_or_default();
    let seen =
        VolumeStatus { namespace: namespace.clone(), volume: volume.name_any(), ..VolumeStatus::default() };
    let say = |phase: &str, message: String| VolumeStatus { phase: phase.into(), message, ..seen.clone() };
    if let Some(claim) = claim {
        match users(ctx, &namespace, &dataset.name_any()).await {
            Ok(pods) if pods.is_empty() => {}
            Ok(pods) => {
                let message =
                    format!("it goes when no pod uses it; {} of them do: {}", pods.len(), pods.join(", "));
                return say("InUse", cut(&message, 600));
            }
            Err(why) => return say("Removing", why),
        }
        let claims: Api<PersistentVolumeClaim> = Api::namespaced(ctx.client.clone(), &namespace);
        drop_one(ctx, &claims, &ctx.workloads.claims, claim).await;
        return say("Removing", String::new());
    }
    let volumes: Api<PersistentVolume> = Api::all(ctx.client.clone());
    drop_one(ctx, &volumes, &ctx.workloads.volumes, volume).await;
    say("Removing", String::new())
}

/// Deletes an object and takes the finalizer off it.
async fn drop_one<K>(ctx: &Ctx, api: &Api<K>, store: &Store<K>, object: &K)
where
    K: Cached + DeserializeOwned + std::fmt::Debug,
{
    let (name, uid) = (object.name_any(), object.uid().unwrap_or_default());
    if object.meta().deletion_timestamp.is_none()
        && let Err(reply) = write::delete(ctx, api, &name, &uid, None).await
    {
        tracing::info!(name, ?reply, "it could not be deleted yet");
        return;
    }
    if !finalizers::has(object, FINALIZER) {
        return;
    }
    // The deletion has changed the object.
    match write::get(ctx, api, &name).await {
        Ok(Some(now)) if now.uid().as_deref() == Some(&uid) => {
            match finalizers::set(ctx, api, &now, FINALIZER, false).await {
                Ok(_) | Err(Reply::Gone) => {}
                Err(reply) => tracing::info!(name, ?reply, "its finalizer could not be taken off yet"),
            }
        }
        Ok(_) => {
            store.remove(&Key::of(object), Some(&uid));
        }
        Err(reply) => tracing::info!(name, ?reply, "it could not be read"),
    }
}

/// Pods of a namespace that use a claim and have not ended.
async fn users(ctx: &Ctx, namespace: &str, claim: &str) -> Result<Vec<String>, String> {
    let pods: Api<Pod> = Api::namespaced(ctx.client.clone(), namespace);
    let all = tokio::time::timeout(ctx.config.api_timeout, pods.list(&ListParams::default()))
        .await
        .map_err(|_| "the API server does not say in time which pods use it".to_owned())?
        .map_err(|e| format!("which pods use it is not known: {e}"))?;
    let uses = |pod: &Pod| {
        let volumes = pod.spec.iter().flat_map(|s| s.volumes.iter().flatten());
        volumes.into_iter().any(|v| v.persistent_volume_claim.as_ref().is_some_and(|c| c.claim_name == claim))
    };
    let ended = |pod: &Pod| {
        matches!(pod.status.as_ref().and_then(|s| s.phase.as_deref()), Some("Succeeded" | "Failed"))
    };
    Ok(all.items.iter().filter(|p| uses(p) && !ended(p)).map(|p| p.name_any()).collect())
}
