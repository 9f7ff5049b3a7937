//! What operations see of the members of a managed cache.
//!
//! ```text
//!   revision (a consistent read) + pods (watched) + the engine's report --> MembersView --> a decision of an operation
//!                                  workers that leave: sets and pods too --> LeavingView
//! ```

use super::render::{self, Owner};
use super::{owner, pods, stage_of};
use crate::api::cluster::{CacheClusterStatus, Member};
use crate::api::managed::Revision;
use crate::api::{CacheCluster, DataOperation};
use crate::cache::Key;
use crate::cluster::Stage;
use crate::controller::Ctx;
use crate::controller::observe::Surroundings;
use crate::controller::reply::Reply;
use crate::controller::teeth::Mutation;
use crate::controller::write;
use crate::engine::{Engine, EngineInfo};
use kube::Api;
use ratchet_state_machine::drain::{At, DrainView, Files, LeavingView};
use ratchet_state_machine::effect::{Answer, Effect, Query, Trouble, TroubleKind};
use ratchet_state_machine::members::{Known, MembersView, Numbers, WorkerView, Written};
use std::sync::Arc;

pub(super) fn api(ctx: &Ctx, op: &DataOperation) -> Api<CacheCluster> {
    Api::namespaced(ctx.client.clone(), op.metadata.namespace.as_deref().unwrap_or_default())
}

fn trouble(kind: TroubleKind, message: impl Into<String>) -> Trouble {
    Trouble { kind, message: message.into() }
}

/// The CacheCluster that an operation works on, by a consistent read.
pub(super) enum Found {
    /// It is there.
    Here(Box<CacheCluster>),
    /// That one is gone: there is nothing to change any more, and nothing of it can land.
    Gone,
    /// It is there and not known here yet.
    Unknown,
}

pub(super) async fn read(ctx: &Ctx, op: &DataOperation, around: &Surroundings) -> Result<Found, Reply> {
    let found = write::get(ctx, &api(ctx, op), &op.spec.target).await?;
    Ok(match (found, &around.cluster) {
        (None, _) => Found::Gone,
        (Some(_), None) => Found::Unknown,
        (Some(now), Some(known)) if now.metadata.uid == known.metadata.uid => Found::Here(Box::new(now)),
        (Some(_), Some(_)) => Found::Gone,
    })
}

/// What there is of a managed cache, by a consistent read of its CacheCluster.
pub(super) struct Seen {
    pub owner: Owner,
    pub revision: Revision,
    pub engine: Arc<dyn Engine>,
    /// What the engine says of its members.
    pub info: EngineInfo,
    /// The stage of the set-up, where it is not over.
    pub set_up: Option<String>,
}

/// Looks; the view where there is nothing more to see.
///
/// # Errors
/// [`Trouble`] when the API server or the cache does not answer.
async fn look(
    ctx: &Ctx,
    op: &DataOperation,
    around: &Surroundings,
) -> Result<Result<Seen, MembersView>, Trouble> {
    // Of what is gone, or goes, nothing has to be fenced.
    let foreign = |why: String| {
        Ok(Err(MembersView { foreign: Some(why), written: Written::Fenced, ..MembersView::default() }))
    };
    let cluster = match read(ctx, op, around).await {
        Ok(Found::Here(cluster)) => *cluster,
        Ok(Found::Gone) => return foreign(format!("the CacheCluster {} is gone", op.spec.target)),
        Ok(Found::Unknown) => {
            return Err(trouble(TroubleKind::NotReady, "the CacheCluster has not been looked at yet"));
        }
        Err(reply) => {
            let message = format!("the CacheCluster cannot be read: {}", reply.name());
            return Err(trouble(TroubleKind::Unknown, message));
        }
    };
    if cluster.metadata.deletion_timestamp.is_some() {
        return foreign(format!("the CacheCluster {} is being deleted", op.spec.target));
    }
    if cluster.spec.managed.is_none() {
        return foreign(
            "the cache is attached: whoever runs its pods decides how many workers it has".into(),
        );
    }
    if !ctx.config.managed {
        return foreign("this controller was started without the part that runs pods".into());
    }
    let status = cluster.status.clone().unwrap_or_default();
    let stage = stage_of(&status);
    let set_up = (stage != Stage::Ready).then(|| stage.name().to_owned());
    let Some(revision) = status.revision else {
        let set_up = Some(stage.name().to_owned());
        return Ok(Err(MembersView { set_up, ..MembersView::default() }));
    };
    let Some(engine) = around.engine.clone() else {
        return Err(trouble(TroubleKind::Unreachable, "the CacheCluster has not been looked at yet"));
    };
    let info = engine.probe().await?;
    Ok(Ok(Seen { owner: owner(&cluster), revision, engine, info, set_up }))
}

impl Seen {
    fn members(self, ctx: &Ctx, op: &DataOperation) -> MembersView {
        let workers =
            self.revision.workers.iter().map(|n| worker(ctx, &self.owner, &self.info, *n)).collect();
        MembersView {
            foreign: None,
            revision: self.revision.number,
            written: if ctx.broken(Mutation::EndWithoutFence) {
                Written::Fenced
            } else {
                written(&self.revision, op.uid())
            },
            out: self.revision.out_of_use.iter().copied().collect(),
            workers,
            set_up: self.set_up,
        }
    }
}

/// How the members of the operation's cache are.
///
/// # Errors
/// [`Trouble`] when the API server or the cache does not answer.
pub async fn answer(ctx: &Ctx, op: &DataOperation, around: &Surroundings) -> Result<Answer, Trouble> {
    let seen = look(ctx, op, around).await?;
    Ok(Answer::Members(seen.map_or_else(|view| view, |seen| seen.members(ctx, op))))
}

/// The same, and what hangs on the workers that are to leave.
///
/// # Errors
/// As above.
pub async fn leaving(
    ctx: &Ctx,
    op: &DataOperation,
    around: &Surroundings,
    leave: &Numbers,
    files: bool,
) -> Result<Answer, Trouble> {
    let seen = match look(ctx, op, around).await? {
        Ok(seen) => seen,
        Err(view) => return Ok(Answer::Leaving(view, Box::default())),
    };
    let workers = at(ctx, &seen.owner, &seen.revision, leave);
    let said = seen.engine.inspect(&Query::Drain { workers, files }).await?;
    let Answer::Drain(mut drain) = said else {
        return Err(trouble(TroubleKind::Unsupported, "the cache cannot say what its workers have"));
    };
    let mut views: Vec<WorkerView> = leave.iter().map(|n| gone_or(ctx, &seen, n)).collect();
    if ctx.broken(Mutation::SkipSecondList) {
        drain.stranded = Files::default();
    }
    if ctx.broken(Mutation::LowerBeforeDrain) {
        drain = DrainView::default();
        views.iter_mut().for_each(|w| w.known = Known::As("Disabled".into()));
        return Ok(Answer::Leaving(
            seen.members(ctx, op),
            Box::new(LeavingView { workers: views, drain, refresh_ms: 0 }),
        ));
    }
    if ctx.broken(Mutation::GoneFromOneRead) {
        let unknown = views.iter_mut().filter(|w| w.known == Known::No);
        unknown.for_each(|w| w.known = Known::As("Disabled".into()));
    }
    let refresh_ms = refresh_ms(&seen.revision);
    let view = LeavingView { workers: views, drain, refresh_ms };
    Ok(Answer::Leaving(seen.members(ctx, op), Box::new(view)))
}

/// A worker that leaves; its pod counts as there while anything is left that could make one.
fn gone_or(ctx: &Ctx, seen: &Seen, number: i32) -> WorkerView {
    let mut view = worker(ctx, &seen.owner, &seen.info, number);
    let pod = render::worker_pod(&seen.owner, number);
    let set = pod.rsplit_once('-').map_or(pod.as_str(), |(set, _)| set);
    let key = |name: &str| Key::new(seen.owner.namespace.as_str(), name);
    view.pod = ctx.workloads.pods.get(&key(&pod)).is_some() || ctx.workloads.sets.get(&key(set)).is_some();
    view
}

/// The workers of a cache as its engine has to know them.
pub(super) fn at(ctx: &Ctx, owner: &Owner, revision: &Revision, leave: &Numbers) -> Vec<At> {
    let all: Numbers = revision.workers.iter().copied().collect();
    let one = |number: i32| {
        let pod = render::worker_pod(owner, number);
        let host = render::worker_host(owner, &pod);
        let ip = ctx.workloads.pods.get(&Key::new(owner.namespace.as_str(), pod.as_str()));
        let address = ip.and_then(|p| p.status.as_ref()?.pod_ip.clone()).filter(|ip| !ip.is_empty());
        At { address: address.unwrap_or_else(|| host.clone()), host, leaves: leave.contains(number) }
    };
    all.with(leave).iter().map(one).collect()
}

/// The same for a call to the engine; none where the effect is about no workers.
pub fn of_call(ctx: &Ctx, around: &Surroundings, effect: &Effect) -> Vec<At> {
    let (Effect::OnWorkers { workers, .. }, Some(cluster)) = (effect, &around.cluster) else {
        return Vec::new();
    };
    let revision = cluster.status.as_ref().and_then(|s| s.revision.as_ref());
    revision.map_or_else(Vec::new, |r| at(ctx, &owner(cluster), r, workers))
}

/// How often clients ask which workers there are, where nothing else is set (2.9), in milliseconds.
const REFRESH_MS: i64 = 120_000;
/// The setting of that.
const REFRESH: &str = "alluxio.user.worker.list.refresh.interval";

/// Time after which every client knows which workers are in use, in milliseconds.
fn refresh_ms(revision: &Revision) -> i64 {
    let set = revision.managed.properties.get(REFRESH);
    // A client may have asked right before, and its question takes a moment.
    set.and_then(|text| duration_ms(text)).unwrap_or(REFRESH_MS).saturating_add(5_000)
}

/// A time as Alluxio writes it: `120sec`, `2min`, `500ms`; a plain number is milliseconds.
fn duration_ms(text: &str) -> Option<i64> {
    let text = text.trim().to_ascii_lowercase();
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let factor = match unit.trim() {
        "" | "ms" | "msec" | "millisecond" => 1.0,
        "s" | "sec" | "second" => 1_000.0,
        "m" | "min" | "minute" => 60_000.0,
        "h" | "hr" | "hour" => 3_600_000.0,
        "d" | "day" => 86_400_000.0,
        _ => return None,
    };
    let ms = number.parse::<f64>().ok()? * factor;
    (0.0..1e12).contains(&ms).then_some(ms as i64)
}

/// What the operation has written last.
fn written(revision: &Revision, uid: &str) -> Written {
    match revision.by.as_ref().filter(|by| by.operation == uid) {
        None => Written::Nothing,
        Some(by) if by.what == FENCE => Written::Fenced,
        Some(_) => Written::Changed,
    }
}

/// Name of the effect that raises the fence alone.
pub(super) const FENCE: &str = "fenceMembers";

/// So long after a pod became ready its process has registered, in seconds.
const SETTLED_S: i64 = 30;

fn worker(ctx: &Ctx, owner: &Owner, info: &EngineInfo, number: i32) -> WorkerView {
    let name = [render::worker_pod(owner, number)];
    let pods = pods::of(ctx, owner, &name);
    let outdated = |pod: &_| match pods::up_to_date(ctx, pod) {
        Some(true) => None,
        Some(false) | None => Some("is not known to be made from the template of its StatefulSet"),
    };
    let part = pods::part(&pods, &name, outdated);
    let member = known(owner, info, number);
    let pod = pods.first();
    let ready_s =
        pod.and_then(|p| pods::ready_since(p)).map(|at| ctx.clock.now().timestamp() - at.as_second());
    WorkerView {
        number,
        ready: part.ready == 1,
        capacity_bytes: member.map_or(0, |m| if m.state == ACTIVE { m.capacity_bytes } else { 0 }),
        used_bytes: member.map_or(0, |m| m.used_bytes),
        known: member.map_or(Known::No, |m| match m.state.as_str() {
            ACTIVE => Known::Serves,
            other => Known::As(other.to_owned()),
        }),
        trouble: part.trouble,
        pod: pod.is_some(),
        uid: pod.and_then(|p| p.metadata.uid.clone()),
        settled: ready_s.is_some_and(|s| s >= SETTLED_S),
        node: pod.and_then(|p| p.spec.as_ref()?.node_name.clone()),
    }
}

/// The engine's word for a worker that serves.
const ACTIVE: &str = "ACTIVE";

/// What the engine says of the worker of this number: of several with its host, the one that serves.
fn known<'a>(owner: &Owner, info: &'a EngineInfo, number: i32) -> Option<&'a Member> {
    let host = format!("{}:", render::worker_host(owner, &render::worker_pod(owner, number)));
    let entries = || info.members.iter().filter(|m| m.name.starts_with(&host));
    entries().find(|m| m.state == ACTIVE).or_else(|| entries().next())
}

/// Whether the cache said last that the worker of this number serves.
pub(super) fn serves(owner: &Owner, status: &CacheClusterStatus, number: i32) -> bool {
    let host = format!("{}:", render::worker_host(owner, &render::worker_pod(owner, number)));
    status.members.iter().any(|m| m.state == ACTIVE && m.name.starts_with(&host))
}

/// Whether a set that is not there may be made: whoever knows an older revision would bring back what an operation has
/// taken out.
pub async fn still_newest(ctx: &Ctx, cluster: &Arc<CacheCluster>, number: i64) -> bool {
    let api: Api<CacheCluster> =
        Api::namespaced(ctx.client.clone(), cluster.metadata.namespace.as_deref().unwrap_or_default());
    let name = cluster.metadata.name.as_deref().unwrap_or_default();
    match write::get(ctx, &api, name).await {
        Ok(Some(now)) => {
            let newest =
                now.status.as_ref().and_then(|s| s.revision.as_ref()).is_some_and(|r| r.number == number);
            newest && now.metadata.uid == cluster.metadata.uid
        }
        Ok(None) | Err(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_as_alluxio_writes_them() {
        for (text, ms) in
            [("2min", 120_000), ("30sec", 30_000), ("500ms", 500), ("1.5 h", 5_400_000), ("7", 7)]
        {
            assert_eq!(duration_ms(text), Some(ms), "{text}");
        }
        assert_eq!(duration_ms("soon"), None);
    }
}
