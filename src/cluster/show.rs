//! What the status of a managed cache says: the stages, what waits for an operation, what outlives a pod.

use super::facts::Seen;
use super::{edits, rollout};
use crate::api::cluster::CacheClusterStatus;
use crate::api::conditions::{self, READY, SPEC_NOT_APPLIED, Wanted};
use crate::api::managed::{Capability, Managed, Revision, SetUp, Survival};
use crate::api::{CacheCluster, DataOperation};
use crate::cache::kinds::BY_TARGET;
use crate::controller::{Ctx, cluster};
use ratchet_state_machine::machine::Phase;
use ratchet_state_machine::members::Numbers;
use ratchet_state_machine::setup::{self, Decision, Engine, Facts, Stage};
use ratchet_state_machine::spec::ArmSpec;
use std::time::Duration;

/// Reasons that pass only when somebody changes something.
const NEEDS_A_PERSON: [&str; 4] = ["InvalidSpec", "ObjectRefused", "NameTaken", "UnderStorageDiffers"];

/// Writes what was seen and what was decided. False: it could not be written.
pub async fn write(
    ctx: &Ctx,
    cluster: &CacheCluster,
    seen: Seen,
    managed: &Managed,
    stage: Stage,
    decision: &Decision,
) -> bool {
    let Seen { facts, mut status, failed } = seen;
    let wait = match decision {
        Decision::Wait { reason, message } => Some((reason.clone(), message.clone())),
        Decision::Move(_) => None,
        Decision::Rest => facts.unclaimed.clone().or_else(|| setup::trouble(&facts)),
    };
    let person = wait.as_ref().is_some_and(|(reason, _)| NEEDS_A_PERSON.contains(&reason.as_str()));
    let serves = matches!(facts.engine, Engine::Serves { .. }) && facts.unclaimed.is_none();
    status.phase = match (failed || person, stage, &wait) {
        (true, Stage::Ready, _) if serves => "Degraded",
        (true, ..) => "Failed",
        (false, Stage::Ready, None) => "Ready",
        (false, Stage::Ready, Some(_)) if updating(ctx, cluster) => "Updating",
        (false, Stage::Ready, Some(_)) => "Degraded",
        (false, ..) => "Creating",
    }
    .into();
    status.masters = format!("{}/{}", facts.masters.ready, facts.masters.wanted);
    status.workers = workers(&facts, status.revision.as_ref());
    status.observed_generation = cluster.metadata.generation.unwrap_or(0);
    status.capabilities = Capability::with_workers(NOT_YET);
    if let Some(set_up) = &mut status.set_up
        && set_up.stage != stage.name()
    {
        *set_up =
            SetUp { stage: stage.name().into(), since: conditions::time(ctx.clock.now()), ..set_up.clone() };
    }
    let mut wanted = stages(stage, wait.as_ref());
    wanted.push(ready(
        stage,
        serves,
        facts.unclaimed.as_ref().or(wait.as_ref()),
        &live(cluster, &facts, &status),
    ));
    if status.revision.is_some() {
        edits::mirror(ctx, cluster, &mut status);
        wanted.push(not_applied(managed, &status));
    }
    let old = cluster.status.clone().unwrap_or_default();
    status.conditions =
        conditions::apply(&old.conditions, &wanted, status.observed_generation, ctx.clock.now());
    !cluster::worth_writing(cluster.status.as_ref(), &status) || cluster::show(ctx, cluster, &status).await
}

/// Workers that serve, of those that shall be there.
fn workers(facts: &Facts, revision: Option<&Revision>) -> String {
    let live = match &facts.engine {
        Engine::Serves { workers_live } => *workers_live,
        Engine::Silent { .. } => 0,
    };
    format!("{live}/{}", facts.workers.wanted + revision.map_or(0, |r| r.out_of_use.len()))
}

/// A condition for each stage: done, under way with what it waits for, or not begun.
fn stages(stage: Stage, wait: Option<&(String, String)>) -> Vec<Wanted> {
    let one = |s: &Stage| {
        let name = s.name();
        if *s < stage {
            return Wanted::new(name, true, "Done", "");
        }
        match wait {
            Some((reason, message)) if *s == stage => Wanted::new(name, false, reason, message.as_str()),
            None if *s == stage => Wanted::new(name, false, "UnderWay", ""),
            Some(_) | None => Wanted::new(name, false, "NotBegun", "an earlier stage is not done"),
        }
    };
    Stage::ALL.iter().filter(|s| **s != Stage::Ready).map(one).collect()
}

/// How many workers live and who is out of use, and who serves in spite of that.
struct Live {
    all: String,
    but: String,
}

fn live(cluster: &CacheCluster, facts: &Facts, status: &CacheClusterStatus) -> Live {
    let out: Numbers = status.revision.iter().flat_map(|r| r.out_of_use.iter().copied()).collect();
    let aside = if out.is_empty() { String::new() } else { format!("; out of use: {out}") };
    let serving: Numbers = edits::serving_out(cluster, status).into_iter().collect();
    let but = match edits::facet(status, edits::OUT_OF_USE) {
        _ if serving.is_empty() => String::new(),
        f if f.operation.is_empty() => format!("; worker {serving} serves all the same"),
        f => format!("; worker {serving} serves all the same: {} is {}", f.operation, f.phase),
    };
    Live { all: format!("{} workers live{aside}", facts.workers.wanted), but }
}

fn ready(stage: Stage, serves: bool, wait: Option<&(String, String)>, live: &Live) -> Wanted {
    let ready = stage == Stage::Ready && serves;
    match wait {
        Some((reason, message)) => Wanted::new(READY, ready, reason, format!("{message}{}", live.but)),
        None if ready => Wanted::new(READY, true, "Ready", format!("{}{}", live.all, live.but)),
        None => Wanted::new(READY, false, "Creating", format!("the set-up is at {stage}")),
    }
}

/// What the spec says that the cache is not, and what becomes of it.
fn not_applied(managed: &Managed, status: &CacheClusterStatus) -> Wanted {
    let Some(revision) = &status.revision else { return Wanted::new(SPEC_NOT_APPLIED, false, "Applied", "") };
    let made = &revision.managed;
    let mut open: Vec<(&str, String)> = Vec::new();
    let without = |what: &str, arm: &str| {
        let message =
            format!("{what} waits for the operation {arm}, which this version of Ratchet does not have");
        ("OperationNotAvailable", message)
    };
    let of_facet = |name| facet_not_applied(managed, status, revision, name);
    open.extend(of_facet(edits::VERSION));
    open.extend(of_facet(edits::WORKERS));
    let pulled = |m: &Managed| (m.image.pull_policy, m.image.pull_secrets.clone());
    if pulled(managed) != pulled(made) {
        open.push(without("how the image is pulled", "updateConfig"));
    }
    if (&managed.properties, &managed.security) != (&made.properties, &made.security) {
        open.push(without("properties or security", "updateConfig"));
    }
    let pods = |m: &Managed| {
        let parts = (m.masters.pods.clone(), m.workers.pods.clone(), m.jobs.clone(), m.proxies.clone());
        (parts, m.service_account_name.clone())
    };
    if pods(managed) != pods(made) {
        open.push(without("pods", "updateConfig"));
    }
    let Some((reason, _)) = open.first() else {
        return Wanted::new(SPEC_NOT_APPLIED, false, "Applied", "");
    };
    let all: Vec<&str> = open.iter().map(|(_, message)| message.as_str()).collect();
    let message = format!("{}; what is there is revision {}", all.join("; "), revision.number);
    Wanted::new(SPEC_NOT_APPLIED, true, reason, message)
}

/// Why the cache is not what the spec says, as far as a facet goes.
fn facet_not_applied(
    managed: &Managed,
    status: &CacheClusterStatus,
    revision: &Revision,
    name: &str,
) -> Option<(&'static str, String)> {
    let (wanted, have) = (edits::wanted(managed, name), edits::made_so(revision, name));
    if wanted == have {
        return None;
    }
    let facet = edits::facet(status, name);
    let named = match name {
        edits::VERSION => {
            let (wanted, have) = (rollout::release(managed), rollout::release(&revision.managed));
            format!("version is {wanted}, and the cache has {have}")
        }
        _ => format!("workers.replicas is {wanted}, and the cache has {have}"),
    };
    let under_way =
        !facet.operation.is_empty() && facet.phase != edits::GONE && !edits::is_over(&facet.phase);
    if facet.handled != wanted {
        return Some(match under_way {
            true => ("Superseding", format!("{named}: {} is ended first", facet.operation)),
            false => ("OperationPending", format!("{named}: an operation is created")),
        });
    }
    let again = "edit it again, or create an operation of your own";
    Some(match (under_way, facet.phase.as_str()) {
        (true, edits::CREATING) => {
            ("OperationPending", format!("{named}: {} is being created", facet.operation))
        }
        (true, _) => ("OperationRunning", format!("{named}: {} is at work", facet.operation)),
        (false, "" | "Succeeded") => ("ChangedByOperation", format!("{named}: an operation has made it so")),
        (false, "Failed") if facet.operation.is_empty() => {
            let why = "no operation can be made of that: leave tag and digest out of image.repository";
            ("InvalidSpec", format!("{named}: {why}"))
        }
        (false, "RolledBack") => {
            ("RolledBack", format!("{named}: {} was rolled back; {again}", facet.operation))
        }
        (false, edits::GONE) => {
            ("OperationGone", format!("{named}: {} was deleted before its end was seen", facet.operation))
        }
        (false, phase) => ("OperationFailed", format!("{named}: {} ended {phase}; {again}", facet.operation)),
    })
}

/// Whether an operation changes the members.
pub fn updating(ctx: &Ctx, cluster: &CacheCluster) -> bool {
    let owner = super::owner(cluster);
    let all = ctx.operations.by_index(&(BY_TARGET, format!("{}/{}", owner.namespace, owner.name)));
    let begun = |o: &DataOperation| {
        matches!(o.phase(), Some(Phase::Running | Phase::RollingBack | Phase::Cancelling | Phase::Paused))
    };
    all.iter().any(|o| of_members(&o.spec.operation) && begun(o))
}

/// Whether an operation that changes which members serve is under way, or comes next.
pub fn changing(ctx: &Ctx, cluster: &CacheCluster) -> bool {
    let owner = super::owner(cluster);
    let all = ctx.operations.by_index(&(BY_TARGET, format!("{}/{}", owner.namespace, owner.name)));
    // One that waits for a person, or for another operation, may do so for days.
    let comes = |o: &DataOperation| match o.phase() {
        Some(Phase::Running | Phase::RollingBack | Phase::Cancelling) | None => true,
        Some(Phase::Queued) => !o.spec.control.suspend,
        Some(
            Phase::Pending
            | Phase::AwaitingApproval
            | Phase::Paused
            | Phase::Stuck
            | Phase::Succeeded
            | Phase::Failed
            | Phase::RolledBack
            | Phase::Cancelled,
        ) => false,
    };
    all.iter().any(|o| of_members(&o.spec.operation) && comes(o))
}

/// Whether an operation is one that changes which members serve.
fn of_members(arm: &ArmSpec) -> bool {
    match arm {
        ArmSpec::ScaleOut(_)
        | ArmSpec::ScaleIn(_)
        | ArmSpec::Decommission(_)
        | ArmSpec::Recommission(_)
        | ArmSpec::Upgrade(_) => true,
        ArmSpec::Load(_)
        | ArmSpec::Backup(_)
        | ArmSpec::Free(_)
        | ArmSpec::Mount(_)
        | ArmSpec::Unmount(_)
        | ArmSpec::Sync(_) => false,
    }
}

/// Why no more may be done.
const NOT_YET: &str = "this version of Ratchet has no operation for it yet";

/// What of the members' storage outlives their pods.
pub fn survival(managed: &Managed) -> Vec<Survival> {
    let journal = ("journal".to_owned(), managed.masters.journal.survives());
    let tiers =
        managed.workers.tiers.iter().map(|t| (format!("tier {}", t.medium.name()), t.volume.survives()));
    [journal].into_iter().chain(tiers).map(|(of, s)| Survival { of, survives_pod: s.into() }).collect()
}

/// Says that nothing can be done before somebody changes something.
pub async fn failed(ctx: &Ctx, cluster: &CacheCluster, reason: &str, message: &str) -> Option<Duration> {
    let mut status = cluster.status.clone().unwrap_or_default();
    let stage = super::stage_of(&status);
    let why = (reason.to_owned(), message.to_owned());
    status.phase = "Failed".into();
    status.observed_generation = cluster.metadata.generation.unwrap_or(0);
    let mut wanted = vec![Wanted::new(READY, false, reason, message)];
    if stage != Stage::Ready {
        wanted.extend(stages(stage, Some(&why)));
    }
    let now = ctx.clock.now();
    status.conditions = conditions::apply(&status.conditions, &wanted, status.observed_generation, now);
    let written = !cluster::worth_writing(cluster.status.as_ref(), &status)
        || cluster::show(ctx, cluster, &status).await;
    (!written).then_some(Duration::from_secs(2))
}
