//! Edits of a cache that serves become operations.
//!
//! ```text
//!   spec value != handled value --over? compare with the revision--> status.facets (handled, name) --> one DataOperation
//!        '-- the operation of the edit before is at work: it is cancelled first
//! ```
//!
//! What decides is the value of the spec that was acted upon last, never that the cache differs from the spec: an
//! operation that failed, or that somebody asked for by hand, is not undone or tried again by itself. As with Datasets the
//! status names the operation before it is created. One that a newer edit overtakes is cancelled; past its irreversible
//! point it goes on to its end, and then the newer edit is acted upon. Workers that are out of use are kept so by operations
//! too.

use super::facts::Seen;
use super::{Stage, members, owner, render, rollout, show};
use crate::api::cluster::CacheClusterStatus;
use crate::api::managed::{Facet, Managed, Revision};
use crate::api::{CacheCluster, DataOperation};
use crate::cache::Key;
use crate::controller::reply::Reply;
use crate::controller::teeth::Mutation;
use crate::controller::write;
use crate::controller::{Ctx, cluster};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Api;
use ratchet_state_machine::ids::hash;
use ratchet_state_machine::machine::Phase;
use ratchet_state_machine::rollout::Release;
use ratchet_state_machine::setup::Engine;
use ratchet_state_machine::spec::{
    ArmSpec, Control, DecommissionSpec, OperationSpec, ScaleInSpec, ScaleOutSpec, UpgradeSpec,
};
use std::sync::Arc;
use std::time::Duration;

/// The release and where its image is.
pub const VERSION: &str = "version";
/// The number of workers.
pub const WORKERS: &str = "workers";
/// Workers that are out of use and have to stay so.
pub const OUT_OF_USE: &str = "outOfUse";
/// Phase of a facet whose operation is noted and not known to be there yet.
pub const CREATING: &str = "Creating";
/// Phase of a facet whose operation somebody deleted before its end was seen.
pub const GONE: &str = "Gone";
/// Value of a facet whose operation a newer edit has overtaken: none that a spec can have.
const SUPERSEDED: &str = "superseded";
/// Operations of edits go a day after their end; their journals stay.
const TTL_S: i64 = 86_400;

/// What of the spec is followed, in this order where one edit changes several.
const FOLLOWED: [&str; 2] = [VERSION, WORKERS];

/// A facet's value as the spec has it, or a revision.
fn value(managed: &Managed, name: &str, workers: usize) -> String {
    match name {
        VERSION => {
            let Release { version, repository, tag } = rollout::release(managed);
            format!("{version}|{repository}|{}", tag.unwrap_or_default())
        }
        _ => workers.to_string(),
    }
}

/// As the spec has it.
pub fn wanted(managed: &Managed, name: &str) -> String {
    value(managed, name, usize::try_from(managed.workers.replicas).unwrap_or(0))
}

/// As operations have made it.
pub fn made_so(revision: &Revision, name: &str) -> String {
    value(&revision.managed, name, revision.workers.len())
}

/// What a set-up has acted upon.
pub fn made(managed: &Managed) -> Vec<Facet> {
    let facet = |name: &str| Facet { name: name.into(), handled: wanted(managed, name), ..Facet::default() };
    FOLLOWED.map(facet).into()
}

/// The facet of a name.
pub fn facet(status: &CacheClusterStatus, name: &str) -> Facet {
    status.facets.iter().find(|f| f.name == name).cloned().unwrap_or_default()
}

/// The operation of a facet, where it is known.
pub fn operation(ctx: &Ctx, cluster: &CacheCluster, facet: &Facet) -> Option<Arc<DataOperation>> {
    let namespace = cluster.metadata.namespace.as_deref().unwrap_or_default();
    ctx.operations.get(&Key::new(namespace, facet.operation.as_str()))
}

/// Takes the next step of turning edits into operations; `None`: there is none to take now.
pub async fn follow(
    ctx: &Ctx,
    cluster: &Arc<CacheCluster>,
    managed: &Managed,
    status: &CacheClusterStatus,
    stage: Stage,
) -> Option<Duration> {
    let revision = status.revision.as_ref().filter(|_| stage == Stage::Ready)?;
    let unnoted = |name: &&&str| status.facets.iter().all(|f| f.name != **name);
    let new: Vec<&str> = FOLLOWED.iter().filter(unnoted).copied().collect();
    if !new.is_empty() {
        return note(ctx, cluster, managed, status, &new).await;
    }
    for name in FOLLOWED {
        match one(ctx, cluster, managed, status, revision, name).await {
            Follow::Now(wait) => return Some(wait),
            Follow::Waits => return None,
            Follow::Next => {}
        }
    }
    None
}

/// Set up by a version of Ratchet that followed less. Where an operation was at work since, nobody can say any more what the
/// spec was then: as it is now it counts as acted upon. What that version did not follow at all is not acted upon unasked.
async fn note(
    ctx: &Ctx,
    cluster: &Arc<CacheCluster>,
    managed: &Managed,
    status: &CacheClusterStatus,
    new: &[&str],
) -> Option<Duration> {
    let mut noted = status.clone();
    for name in new {
        let untouched = status.revision.as_ref().filter(|r| *name == WORKERS && r.by.is_none());
        let workers = untouched.map(|r| r.managed.workers.replicas.to_string());
        let handled = workers.unwrap_or_else(|| wanted(managed, name));
        noted.facets.push(Facet { name: (*name).into(), handled, ..Facet::default() });
    }
    // Definitions of an older version may refuse it: the cache is looked after all the same.
    if !cluster::show(ctx, cluster, &noted).await {
        return None;
    }
    // Definitions of an older version drop what they do not know; then nothing becomes an operation.
    let now = ctx.clusters.get(&Key::of(&**cluster)).and_then(|c| c.status.clone());
    let kept = now.is_some_and(|s| new.iter().all(|name| s.facets.iter().any(|f| f.name == *name)));
    kept.then_some(Duration::ZERO)
}

/// What there is to do about one facet.
enum Follow {
    /// Something was done: look again after this.
    Now(Duration),
    /// It waits for an operation, and those after it too.
    Waits,
    /// Nothing.
    Next,
}

impl Follow {
    fn created(wait: Option<Duration>) -> Self {
        wait.map_or(Self::Waits, Self::Now)
    }

    const fn written(written: bool) -> Self {
        Self::Now(if written { Duration::ZERO } else { Duration::from_millis(200) })
    }
}

async fn one(
    ctx: &Ctx,
    cluster: &Arc<CacheCluster>,
    managed: &Managed,
    status: &CacheClusterStatus,
    revision: &Revision,
    name: &str,
) -> Follow {
    let (facet, wanted) = (facet(status, name), wanted(managed, name));
    let op = operation(ctx, cluster, &facet);
    if op.is_none() && facet.phase == CREATING {
        // Whoever noted it may have died. One that a newer edit has overtaken is created all the same: nobody else can
        // take its name then.
        let overtaken = facet.handled == SUPERSEDED;
        let value = if overtaken { &wanted } else { &facet.handled };
        let arm = arm(&facet.operation, value);
        return Follow::created(create(ctx, cluster, &facet.operation, arm, overtaken).await);
    }
    let phase =
        op.as_ref().and_then(|o| o.phase()).map_or_else(|| facet.phase.clone(), |p| p.name().to_owned());
    let unfinished = op.filter(|o| !o.phase().is_some_and(Phase::terminal));
    if wanted == facet.handled {
        return if unfinished.is_some() { Follow::Waits } else { Follow::Next };
    }
    if let Some(op) = unfinished {
        if facet.handled != SUPERSEDED {
            // From here on the edit counts as not acted upon, also if it is edited to and fro.
            let mut noted = status.clone();
            let own = noted.facets.iter_mut().filter(|f| f.name == name);
            own.for_each(|f| f.handled = SUPERSEDED.into());
            return Follow::written(cluster::show(ctx, cluster, &noted).await);
        }
        if !op.spec.control.cancel {
            write::cancel(ctx, &op).await;
        }
        return Follow::Waits;
    }
    // What somebody else's operation makes of the cache decides what is to be done then.
    if show::updating(ctx, cluster) {
        return Follow::Waits;
    }
    let mut next = Facet { name: name.into(), handled: wanted, ..Facet::default() };
    let mut noted = status.clone();
    // One that failed, was given up, or of whose end nobody knows may have left members of several releases.
    let unsure = name == VERSION && matches!(phase.as_str(), GONE | "Failed" | "Cancelled");
    let have = made_so(revision, name);
    let possible =
        name != VERSION || OperationSpec::on("", arm(UPGRADE_STEM, &next.handled)).problems().is_empty();
    if !possible {
        next.phase = Phase::Failed.name().into();
    } else if next.handled != have || unsure {
        let way = match name {
            VERSION => UPGRADE,
            _ if managed.workers.replicas > i32::try_from(revision.workers.len()).unwrap_or(i32::MAX) => OUT,
            _ => IN,
        };
        next.operation = self::name(cluster, &next, way, status.handled);
        next.phase = CREATING.into();
        noted.handled += 1;
    }
    let arm = arm(&next.operation, &next.handled);
    noted.facets.retain(|f| f.name != name);
    noted.facets.push(next.clone());
    if !cluster::show(ctx, cluster, &noted).await {
        return Follow::written(false);
    }
    if next.operation.is_empty() {
        return Follow::written(true);
    }
    Follow::created(create(ctx, cluster, &next.operation, arm, false).await)
}

/// So many workers are taken out of use again at once: as many as fit into the status.
const MOST_AT_ONCE: usize = 8;
/// Where that failed it is tried again after that.
const AGAIN_AFTER: chrono::Duration = chrono::Duration::minutes(10);

/// When an operation ended.
fn finished(op: &DataOperation) -> Option<chrono::DateTime<chrono::Utc>> {
    let at = op.status.as_ref()?.finished_at.as_ref()?;
    chrono::DateTime::parse_from_rfc3339(at).ok().map(|at| at.to_utc())
}

/// Has workers that are out of use and serve all the same taken out of use again: the engine forgets it, with its master at
/// the latest.
pub async fn keep_out(
    ctx: &Ctx,
    cluster: &Arc<CacheCluster>,
    revision: &Revision,
    seen: &Seen,
    stage: Stage,
) -> Option<Duration> {
    let facet = facet(&seen.status, OUT_OF_USE);
    let op = operation(ctx, cluster, &facet);
    if op.is_none() && facet.phase == CREATING {
        let numbers = facet.handled.split_once('@').map_or("", |(numbers, _)| numbers);
        let numbers = numbers.split(',').filter_map(|n| n.parse().ok()).collect();
        let arm = ArmSpec::Decommission(DecommissionSpec { numbers, only_if_out_of_use: true });
        return create(ctx, cluster, &facet.operation, arm, false).await;
    }
    let told = matches!(seen.facts.engine, Engine::Serves { .. }) && seen.facts.unclaimed.is_none();
    let mut serving = serving_out(cluster, &seen.status);
    if stage != Stage::Ready || !told || serving.is_empty() || ctx.broken(Mutation::LetItServe) {
        return None;
    }
    if serving.len() > MOST_AT_ONCE {
        let turn = usize::try_from(seen.status.handled).unwrap_or(0) % serving.len();
        serving.rotate_left(turn);
    }
    let numbers: Vec<String> = serving.iter().take(MOST_AT_ONCE).map(i32::to_string).collect();
    let handled = format!("{}@{}", numbers.join(","), revision.number);
    let failed_at = op.as_ref().filter(|o| o.phase() == Some(Phase::Failed)).and_then(|o| finished(o));
    let phase = op.and_then(|o| o.phase()).map_or_else(|| facet.phase.clone(), |p| p.name().to_owned());
    let at_work = !facet.operation.is_empty() && phase != GONE && !is_over(&phase);
    let failed = phase == Phase::Failed.name();
    let rests = failed_at.is_some_and(|at| ctx.clock.now() - at < AGAIN_AFTER);
    // Somebody ended it: a person knows, and decides.
    let same = facet.handled.split_once('@').is_some_and(|(_, at)| at == revision.number.to_string());
    let ended = same && !failed && phase != Phase::Succeeded.name();
    if at_work || rests || ended || show::changing(ctx, cluster) {
        return None;
    }
    tracing::info!(cluster = owner(cluster).name, workers = handled, "out of use, and serving again");
    let mut next = Facet { name: OUT_OF_USE.into(), handled, phase: CREATING.into(), ..Facet::default() };
    // Nothing but this note is taken over from what was seen: the rest is shown in its own time.
    let mut noted = cluster.status.clone().unwrap_or_default();
    next.operation = name(cluster, &next, KEEP, noted.handled);
    noted.handled += 1;
    noted.facets.retain(|f| f.name != OUT_OF_USE);
    noted.facets.push(next);
    Some(if cluster::show(ctx, cluster, &noted).await { Duration::ZERO } else { Duration::from_millis(200) })
}

/// Workers that are out of use by the revision and serve all the same.
pub fn serving_out(cluster: &CacheCluster, status: &CacheClusterStatus) -> Vec<i32> {
    let out = status.revision.iter().flat_map(|r| r.out_of_use.iter().copied());
    let owner = owner(cluster);
    out.filter(|n| members::serves(&owner, status, &render::worker_pod(&owner, *n))).collect()
}

/// Part of the name of an operation that makes the workers more, or fewer, or keeps some out of use, or another release.
const OUT: &str = "scaleout";
const IN: &str = "scalein";
const KEEP: &str = "decommission";
const UPGRADE: &str = "upgrade";
const UPGRADE_STEM: &str = "-upgrade-";

/// What an operation of this name does: whoever creates it need not know what the cache was like when it was noted.
fn arm(name: &str, value: &str) -> ArmSpec {
    let stem = name.rsplit_once('-').map_or(name, |(stem, _)| stem);
    let workers = value.parse().unwrap_or(1);
    match stem.rsplit('-').next() {
        Some(IN) => ArmSpec::ScaleIn(ScaleInSpec::to(workers)),
        Some(UPGRADE) => {
            let mut parts = value.splitn(3, '|').map(str::to_owned);
            let mut part = || parts.next().unwrap_or_default();
            let (version, repository, tag) = (part(), part(), part());
            let tag = Some(tag).filter(|t| !t.is_empty());
            ArmSpec::Upgrade(UpgradeSpec::to(Release { version, repository, tag }))
        }
        Some(_) | None => ArmSpec::ScaleOut(ScaleOutSpec { workers }),
    }
}

/// Whether this is the name of a phase that an operation ends in.
pub fn is_over(phase: &str) -> bool {
    Phase::ALL.iter().any(|p| p.terminal() && p.name() == phase)
}

/// The phases of the operations, as far as they are known.
pub fn mirror(ctx: &Ctx, cluster: &CacheCluster, status: &mut CacheClusterStatus) {
    for facet in status.facets.iter_mut().filter(|f| !f.operation.is_empty()) {
        let over = is_over(&facet.phase);
        match operation(ctx, cluster, facet) {
            Some(op) => facet.phase = op.phase().map_or("Pending", Phase::name).into(),
            None if over || facet.phase == CREATING => {}
            None => facet.phase = GONE.into(),
        }
    }
}

/// Who looks at the same status gives the same name.
fn name(cluster: &CacheCluster, facet: &Facet, way: &str, handled: i64) -> String {
    let owner = owner(cluster);
    let parts = [owner.uid.as_str(), &facet.name, &facet.handled, &handled.to_string()].join("\n");
    let suffix: String =
        hash(&[parts.as_bytes()]).chars().filter(char::is_ascii_alphanumeric).take(8).collect();
    let stem: String = owner.name.chars().take(200).collect();
    format!("{}-{way}-{}", stem.trim_end_matches(['-', '.']), suffix.to_ascii_lowercase())
}

async fn create(
    ctx: &Ctx,
    cluster: &CacheCluster,
    name: &str,
    arm: ArmSpec,
    cancel: bool,
) -> Option<Duration> {
    let owner = owner(cluster);
    let spec = OperationSpec {
        ttl_after_finished_seconds: Some(TTL_S),
        control: Control { cancel, ..Control::default() },
        ..OperationSpec::on(&owner.name, arm)
    };
    let metadata = ObjectMeta {
        name: Some(name.to_owned()),
        namespace: Some(owner.namespace.clone()),
        finalizers: Some(vec![crate::api::FINALIZER.to_owned()]),
        owner_references: Some(vec![super::reference_to(cluster)]),
        ..ObjectMeta::default()
    };
    let api: Api<DataOperation> = Api::namespaced(ctx.client.clone(), &owner.namespace);
    let made = match write::create(ctx, &api, &DataOperation::new(metadata, spec, None)).await {
        Ok(made) => made,
        // It is there, or it may be.
        Err(Reply::Conflict | Reply::Ambiguous(_)) => match write::get(ctx, &api, name).await {
            Ok(Some(found)) => found,
            Ok(None) | Err(_) => {
                tracing::warn!(
                    operation = name,
                    "whether the operation of an edit is created is not known yet"
                );
                return None;
            }
        },
        // Nothing can be created any more, and nothing has to be.
        Err(Reply::Terminating) => return None,
        // However long that lasts, the cache is looked after meanwhile.
        Err(reply) => {
            tracing::warn!(operation = name, ?reply, "the operation of an edit could not be created yet");
            return None;
        }
    };
    ctx.changed_operation(&ctx.operations.replace(made));
    Some(Duration::ZERO)
}
