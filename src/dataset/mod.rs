//! Datasets: the declarative side of mounts.
//!
//! ```text
//!   spec --plan: what is due?--> status.handled, then one DataOperation --its end--> status.mounts, phase
//!                                                       ^ live table, sizes: look
//! ```
//!
//! Nothing is ever mounted here; operations do that, each with a lock, a history and an undo. First the status says that
//! the edit is handled and names its operation, then that is created: whoever looks next creates it, if it is not there,
//! or takes its name away, if a newer edit has come. Operations of a dataset run one after the other.

mod leave;
pub mod look;
mod plan;
mod show;
mod volumes;

use crate::api::dataset::{MountStatus, SyncStatus};
use crate::api::{DataOperation, Dataset, DatasetStatus};
use crate::cache::Key;
use crate::cache::kinds::BY_CLUSTER;
use crate::controller::reply::Reply;
use crate::controller::teeth::Mutation;
use crate::controller::write;
use crate::controller::{Ctx, finalizers, secrets};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kube::Api;
use plan::Due;
use ratchet_state_machine::machine::Phase;
use ratchet_state_machine::spec::{
    ArmSpec, Control, Ended, OperationSpec, RunAfter, paths_overlap, uris_overlap,
};
use std::sync::Arc;
use std::time::Duration;

/// Keeps a dataset in place until what it has mounted is unmounted.
pub const FINALIZER: &str = "ratchet.dev/dataset";
/// Operations of datasets go a day after their end; their journals stay.
const TTL_S: i64 = 86_400;
/// Phase of a mount whose operation is noted and not known to be there yet.
pub(crate) const CREATING: &str = "Creating";

/// Why nothing is begun for a dataset.
pub(crate) struct Blocked {
    reason: &'static str,
    message: String,
    /// A person has to change something.
    failed: bool,
}

fn blocked(reason: &'static str, message: String, failed: bool) -> Option<Blocked> {
    Some(Blocked { reason, message, failed })
}

/// Brings one Dataset up to date.
pub async fn reconcile(ctx: &Ctx, key: &Key) -> Option<Duration> {
    let dataset = ctx.datasets.get(key)?;
    let cluster = ctx.clusters.get(&Key::new(key.namespace.as_str(), dataset.spec.cluster.as_str()));
    if dataset.metadata.deletion_timestamp.is_some() {
        return leave::leave(ctx, &dataset, cluster).await;
    }
    if !finalizers::has(&*dataset, FINALIZER) {
        return set_finalizer(ctx, &dataset, true).await;
    }
    let mut status = dataset.status.clone().unwrap_or_default();
    let Some(cluster) = cluster else {
        let message = format!("there is no CacheCluster {}; create it", dataset.spec.cluster);
        return show::write(ctx, &dataset, status, None, blocked("ClusterNotFound", message, false)).await;
    };
    if let Some(why) = conflict(ctx, &dataset) {
        return show::write(ctx, &dataset, status, Some(&cluster), Some(why)).await;
    }
    let versions = match secrets::versions(ctx, key, &dataset.spec).await {
        Ok(versions) => versions,
        Err(trouble) => {
            let why = blocked(trouble.kind.reason(), trouble.message, false);
            return show::write(ctx, &dataset, status, Some(&cluster), why).await;
        }
    };
    let due = plan::next(&dataset.spec, &versions, &status);
    if let Some(wait) = create_noted(ctx, &dataset, &status, due.as_ref()).await {
        return Some(wait);
    }
    if let Some(due) = due {
        return act(ctx, &dataset, status, due).await;
    }
    let mut seen = status.clone();
    show::mirror(ctx, &dataset, &mut seen);
    match plan::sync_due(&dataset.spec, &seen, ctx.clock.now()) {
        Some(due) if !unfinished(ctx, &dataset, &status.sync.operation) => {
            sync(ctx, &dataset, status, due).await
        }
        Some(_) | None => {
            if !status.mounts.is_empty() && seen.mounts.iter().all(|m| m.phase == "Mounted") {
                volumes::keep(ctx, &dataset, Some(&cluster), &mut status).await;
            }
            show::write(ctx, &dataset, status, Some(&cluster), None).await
        }
    }
}

/// Whether a change of a Dataset is one that loads may wait for: another spec, its end, another phase of a mount.
#[must_use]
pub fn moved(old: Option<&Dataset>, new: Option<&Dataset>) -> bool {
    let shape = |d: &Dataset| {
        let mounts = d.status.iter().flat_map(|s| &s.mounts).map(|m| (m.path.clone(), m.phase.clone()));
        let seen = d.status.as_ref().map(|s| s.observed_generation);
        (d.metadata.generation, d.metadata.deletion_timestamp.clone(), seen, mounts.collect::<Vec<_>>())
    };
    old.map(shape) != new.map(shape)
}

fn unfinished(ctx: &Ctx, dataset: &Dataset, name: &str) -> bool {
    operation(ctx, dataset, name).is_some_and(|o| !o.phase().is_some_and(Phase::terminal))
}

/// Creates the operation that looks for files, and notes that it is under way.
async fn sync(ctx: &Ctx, dataset: &Dataset, mut status: DatasetStatus, due: Due) -> Option<Duration> {
    let uid = dataset.metadata.uid.as_deref().unwrap_or_default();
    let dataset_name = dataset.metadata.name.as_deref().unwrap_or_default();
    let name = plan::operation_name(dataset_name, uid, status.sync.count, &due);
    match create(ctx, dataset, &status.operation, &name, &due, Control::default()).await {
        Ok(()) => {}
        Err(Reply::Terminating) => return None,
        Err(reply) => {
            tracing::warn!(dataset = dataset_name, ?reply, "the files of a Dataset cannot be looked for yet");
            return Some(Duration::from_secs(5));
        }
    }
    status.sync = SyncStatus {
        count: status.sync.count + 1,
        handled: status.handled,
        operation: name,
        at: crate::api::conditions::time(ctx.clock.now()),
        phase: "Pending".into(),
    };
    show::put(ctx, dataset, status).await.map_or(Some(Duration::from_millis(200)), |()| Some(Duration::ZERO))
}

/// Another dataset of the cluster that was there earlier and has the same place or store.
fn conflict(ctx: &Ctx, dataset: &Dataset) -> Option<Blocked> {
    let namespace = dataset.metadata.namespace.as_deref().unwrap_or_default();
    let rank = |d: &Dataset| {
        let created = d.metadata.creation_timestamp.as_ref().map(|t| t.0.as_second());
        (created, d.metadata.uid.clone())
    };
    let others = ctx.datasets.by_index(&(BY_CLUSTER, format!("{namespace}/{}", dataset.spec.cluster)));
    for other in others.iter().filter(|o| rank(o) < rank(dataset)) {
        for mine in &dataset.spec.mounts {
            let clash = |theirs: &&crate::api::dataset::DatasetMount| {
                paths_overlap(&mine.path, &theirs.path) || uris_overlap(&mine.uri, &theirs.uri)
            };
            if let Some(theirs) = other.spec.mounts.iter().find(clash) {
                let name = other.metadata.name.as_deref().unwrap_or_default();
                let message = format!(
                    "{} from {} and {} from {} of Dataset {name} lie in one another; change one of them",
                    mine.path, mine.uri, theirs.path, theirs.uri
                );
                return blocked("MountConflict", message, true);
            }
        }
    }
    None
}

fn api(ctx: &Ctx, dataset: &Dataset) -> Api<Dataset> {
    Api::namespaced(ctx.client.clone(), dataset.metadata.namespace.as_deref().unwrap_or_default())
}

/// The operations beside a dataset.
pub(crate) fn operations(ctx: &Ctx, dataset: &Dataset) -> Api<DataOperation> {
    Api::namespaced(ctx.client.clone(), dataset.metadata.namespace.as_deref().unwrap_or_default())
}

/// The operation of a dataset with this name, where it is known.
pub(crate) fn operation(ctx: &Ctx, dataset: &Dataset, name: &str) -> Option<Arc<DataOperation>> {
    ctx.operations.get(&Key::new(dataset.metadata.namespace.as_deref().unwrap_or_default(), name))
}

/// Notes that an edit is handled, and creates its operation. In this order: an operation that nobody had noted would be
/// forgotten by the next edit.
async fn act(ctx: &Ctx, dataset: &Dataset, mut status: DatasetStatus, due: Due) -> Option<Duration> {
    let uid = dataset.metadata.uid.as_deref().unwrap_or_default();
    let dataset_name = dataset.metadata.name.as_deref().unwrap_or_default();
    let name = plan::operation_name(dataset_name, uid, status.handled, &due);
    if let Some(last) = status.mounts.iter().find(|m| m.path == due.path) {
        let taken = ctx.broken(Mutation::NameNotTaken);
        if last.phase == CREATING && !taken && operation(ctx, dataset, &last.operation).is_none() {
            // Somebody may still be about to create it. With its name taken by one that is cancelled, he cannot.
            let cancel = Control { cancel: true, ..Control::default() };
            let taken = create(ctx, dataset, "", &last.operation, &due, cancel).await;
            if let Err(reply) = taken {
                return not_created(ctx, dataset, status, &name, reply).await;
            }
        }
        supersede(ctx, dataset, &last.operation).await;
    }
    let before = status.operation.clone();
    if ctx.broken(Mutation::CreateBeforeNote)
        && let Err(reply) = create(ctx, dataset, &before, &name, &due, Control::default()).await
    {
        return not_created(ctx, dataset, status, &name, reply).await;
    }
    let entry = MountStatus {
        path: due.path.clone(),
        handled: due.value.clone(),
        operation: name.clone(),
        ours: matches!(&due.arm, ArmSpec::Mount(m) if m.replace),
        phase: CREATING.into(),
        ..MountStatus::default()
    };
    status.mounts.retain(|m| m.path != due.path);
    status.mounts.push(entry);
    status.mounts.sort_by(|a, b| a.path.cmp(&b.path));
    (status.handled, status.operation) = (status.handled + 1, name.clone());
    show::describe(ctx, dataset, &mut status, None);
    // A conflict or a lost reply: the next look decides.
    if show::put(ctx, dataset, status.clone()).await.is_err() {
        return Some(Duration::from_millis(200));
    }
    match create(ctx, dataset, &before, &name, &due, Control::default()).await {
        Ok(()) => Some(Duration::ZERO),
        Err(reply) => not_created(ctx, dataset, status, &name, reply).await,
    }
}

/// The operation that is noted and not known to be there, once more: whoever noted it may have died.
async fn create_noted(
    ctx: &Ctx,
    dataset: &Dataset,
    status: &DatasetStatus,
    due: Option<&Due>,
) -> Option<Duration> {
    for mount in status.mounts.iter().filter(|m| m.phase == CREATING) {
        if operation(ctx, dataset, &mount.operation).is_some() || due.is_some_and(|d| d.path == mount.path) {
            continue;
        }
        let again = plan::again(&dataset.spec, mount);
        // The one before it in the chain is not known any more: all that were noted earlier are there by now.
        let last = status.mounts.iter().map(|m| &m.operation).find(|o| unfinished(ctx, dataset, o));
        let after = last.map_or("", String::as_str);
        return match create(ctx, dataset, after, &mount.operation, &again, Control::default()).await {
            Ok(()) => Some(Duration::ZERO),
            Err(reply) => not_created(ctx, dataset, status.clone(), &mount.operation, reply).await,
        };
    }
    None
}

async fn not_created(
    ctx: &Ctx,
    dataset: &Dataset,
    status: DatasetStatus,
    name: &str,
    reply: Reply,
) -> Option<Duration> {
    match reply {
        // Nothing can be created any more, and nothing has to be.
        Reply::Terminating => None,
        Reply::Busy(after) => Some(after.unwrap_or(Duration::from_secs(1))),
        Reply::Rule(why) | Reply::Denied(why) => {
            let why = blocked("OperationRefused", format!("{name}: {why}"), true);
            show::write(ctx, dataset, status, None, why).await
        }
        Reply::Lost | Reply::Ambiguous(_) | Reply::Gone | Reply::Conflict | Reply::TooLarge(_) => {
            Some(Duration::from_secs(1))
        }
    }
}

/// A newer edit takes the place of an operation that has not begun.
async fn supersede(ctx: &Ctx, dataset: &Dataset, name: &str) {
    let Some(op) = operation(ctx, dataset, name) else { return };
    let waits =
        op.phase().is_none_or(|p| matches!(p, Phase::Pending | Phase::Queued | Phase::AwaitingApproval));
    if !waits || op.spec.control.cancel {
        return;
    }
    // One that cannot be cancelled runs before the one that takes its place; the end is the same.
    write::cancel(ctx, &op).await;
}

async fn create(
    ctx: &Ctx,
    dataset: &Dataset,
    after: &str,
    name: &str,
    due: &Due,
    control: Control,
) -> Result<(), Reply> {
    let run_after = unfinished(ctx, dataset, after)
        .then(|| RunAfter { name: after.to_owned(), on: Ended::Finished })
        .filter(|r| r.name != name);
    let spec = OperationSpec {
        run_after: run_after.into_iter().collect(),
        ttl_after_finished_seconds: Some(TTL_S),
        control,
        ..OperationSpec::on(&dataset.spec.cluster, due.arm.clone())
    };
    let metadata = ObjectMeta {
        name: Some(name.to_owned()),
        namespace: dataset.metadata.namespace.clone(),
        finalizers: Some(vec![crate::api::FINALIZER.to_owned()]),
        owner_references: Some(vec![owner(dataset)]),
        ..ObjectMeta::default()
    };
    let api = operations(ctx, dataset);
    let made = match write::create(ctx, &api, &DataOperation::new(metadata, spec, None)).await {
        Ok(made) => made,
        // It is there, or it may be.
        Err(reply @ (Reply::Conflict | Reply::Ambiguous(_))) => match write::get(ctx, &api, name).await? {
            Some(found) => found,
            None => return Err(reply),
        },
        Err(reply) => return Err(reply),
    };
    let ours = made
        .metadata
        .owner_references
        .iter()
        .flatten()
        .any(|o| Some(&o.uid) == dataset.metadata.uid.as_ref());
    if !ours {
        return Err(Reply::Denied("the name is taken by an operation that this Dataset does not own".into()));
    }
    ctx.changed_operation(&ctx.operations.replace(made));
    Ok(())
}

fn owner(dataset: &Dataset) -> OwnerReference {
    OwnerReference {
        api_version: crate::api::API_VERSION.into(),
        kind: "Dataset".into(),
        name: dataset.metadata.name.clone().unwrap_or_default(),
        uid: dataset.metadata.uid.clone().unwrap_or_default(),
        controller: Some(true),
        block_owner_deletion: Some(true),
    }
}

async fn set_finalizer(ctx: &Ctx, dataset: &Dataset, on: bool) -> Option<Duration> {
    match finalizers::set(ctx, &api(ctx, dataset), dataset, FINALIZER, on).await {
        Ok(written) => {
            ctx.datasets.replace(written);
            Some(Duration::ZERO)
        }
        Err(reply) => finalizers::again(&reply),
    }
}
