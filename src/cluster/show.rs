//! What the status of a managed cache says: the stages, what waits for an operation, what outlives a pod.

use super::facts::Seen;
use crate::api::CacheCluster;
use crate::api::conditions::{self, READY, SPEC_NOT_APPLIED, Wanted};
use crate::api::managed::{Capability, Managed, Revision, SetUp, Survival};
use crate::controller::{Ctx, cluster};
use ratchet_state_machine::setup::{self, Decision, Engine, Facts, Stage};
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
        (false, Stage::Ready, Some(_)) => "Degraded",
        (false, ..) => "Creating",
    }
    .into();
    status.masters = format!("{}/{}", facts.masters.ready, facts.masters.wanted);
    status.workers = workers(&facts);
    status.observed_generation = cluster.metadata.generation.unwrap_or(0);
    status.capabilities = Capability::data_only(NOT_YET);
    if let Some(set_up) = &mut status.set_up
        && set_up.stage != stage.name()
    {
        *set_up =
            SetUp { stage: stage.name().into(), since: conditions::time(ctx.clock.now()), ..set_up.clone() };
    }
    let mut wanted = stages(stage, wait.as_ref());
    wanted.push(ready(stage, serves, facts.unclaimed.as_ref().or(wait.as_ref()), &facts));
    if let Some(revision) = &status.revision {
        wanted.push(not_applied(managed, revision));
    }
    let old = cluster.status.clone().unwrap_or_default();
    status.conditions =
        conditions::apply(&old.conditions, &wanted, status.observed_generation, ctx.clock.now());
    !cluster::worth_writing(cluster.status.as_ref(), &status) || cluster::show(ctx, cluster, &status).await
}

/// Workers that serve, of those that shall be there.
fn workers(facts: &Facts) -> String {
    let live = match &facts.engine {
        Engine::Serves { workers_live } => *workers_live,
        Engine::Silent { .. } => 0,
    };
    format!("{live}/{}", facts.workers.wanted)
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

fn ready(stage: Stage, serves: bool, wait: Option<&(String, String)>, facts: &Facts) -> Wanted {
    let ready = stage == Stage::Ready && serves;
    match wait {
        Some((reason, message)) => Wanted::new(READY, ready, reason, message.as_str()),
        None if ready => Wanted::new(READY, true, "Ready", format!("{} workers live", facts.workers.wanted)),
        None => Wanted::new(READY, false, "Creating", format!("the set-up is at {stage}")),
    }
}

/// What the spec says that the cache is not, and which operation would change it.
fn not_applied(managed: &Managed, revision: &Revision) -> Wanted {
    let made = &revision.managed;
    let mut open: Vec<(&str, &str)> = Vec::new();
    if (&managed.version, &managed.image) != (&made.version, &made.image) {
        open.push(("version or image", "upgrade"));
    }
    let workers = usize::try_from(managed.workers.replicas).unwrap_or(0);
    match workers.cmp(&revision.workers.len()) {
        std::cmp::Ordering::Less => open.push(("workers.replicas", "scaleIn")),
        std::cmp::Ordering::Greater => open.push(("workers.replicas", "scaleOut")),
        std::cmp::Ordering::Equal => {}
    }
    if (&managed.properties, &managed.security) != (&made.properties, &made.security) {
        open.push(("properties or security", "updateConfig"));
    }
    let pods = |m: &Managed| {
        let parts = (m.masters.pods.clone(), m.workers.pods.clone(), m.jobs.clone(), m.proxies.clone());
        (parts, m.service_account_name.clone())
    };
    if pods(managed) != pods(made) {
        open.push(("pods", "upgrade"));
    }
    if open.is_empty() {
        return Wanted::new(SPEC_NOT_APPLIED, false, "Applied", "");
    }
    let all: Vec<String> =
        open.iter().map(|(what, arm)| format!("{what} waits for the operation {arm}")).collect();
    let message = format!(
        "{}, which this version of Ratchet does not have; what is there stays as revision {} made it",
        all.join(", "),
        revision.number
    );
    Wanted::new(SPEC_NOT_APPLIED, true, "OperationNotAvailable", message)
}

/// Why nothing but its data is touched.
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
