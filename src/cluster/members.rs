//! What operations see of the members of a cache.
//!
//! ```text
//!   revision (a consistent read) + pods (watched) + the engine's report --> MembersView --> a decision of an operation
//!                                  workers that leave: sets and pods too --> LeavingView
//! ```

use super::owned::{self, Owned};
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
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use ratchet_state_machine::drain::{At, Call, DrainView, Files, LeavingView};
use ratchet_state_machine::effect::{Answer, Effect, Query, Trouble, TroubleKind};
use ratchet_state_machine::members::{Known, MembersView, Numbers, WorkerView, Written};
use ratchet_state_machine::setup::Part;
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

/// Who makes the pods.
enum Whose {
    /// Ratchet does.
    Managed(Owner, Box<Revision>),
    /// The owner does that the cache was declared by.
    Owned(Box<Owned>),
}

/// What there is of a cache, by consistent reads.
struct Seen {
    whose: Whose,
    engine: Arc<dyn Engine>,
    /// What the engine says of its members.
    info: EngineInfo,
    /// The stage of the set-up, where it is not over.
    set_up: Option<String>,
}

/// The CacheCluster, or why there is none to change any more.
///
/// # Errors
/// [`Trouble`] when the API server does not answer.
pub(super) async fn there(
    ctx: &Ctx,
    op: &DataOperation,
    around: &Surroundings,
) -> Result<Result<CacheCluster, String>, Trouble> {
    let target = &op.spec.target;
    match read(ctx, op, around).await {
        Ok(Found::Here(cluster)) if cluster.metadata.deletion_timestamp.is_some() => {
            Ok(Err(format!("the CacheCluster {target} is being deleted")))
        }
        Ok(Found::Here(cluster)) => Ok(Ok(*cluster)),
        Ok(Found::Gone) => Ok(Err(format!("the CacheCluster {target} is gone"))),
        Ok(Found::Unknown) => {
            Err(trouble(TroubleKind::NotReady, "the CacheCluster has not been looked at yet"))
        }
        Err(reply) => {
            let message = format!("the CacheCluster cannot be read: {}", reply.name());
            Err(trouble(TroubleKind::Unknown, message))
        }
    }
}

/// Why Ratchet does not run the pods of a cache that was declared by nobody else.
pub(super) fn not_run_here(ctx: &Ctx, cluster: &CacheCluster) -> Option<&'static str> {
    if cluster.spec.managed.is_none() {
        return Some("the cache is attached by its addresses: whoever runs its pods decides about them");
    }
    (!ctx.config.managed).then_some("this controller was started without the part that runs pods")
}

/// Looks; the view where there is nothing more to see.
///
/// # Errors
/// [`Trouble`] when the API server or the cache does not answer.
async fn look(
    ctx: &Ctx,
    op: &DataOperation,
    around: &Surroundings,
    also: &Numbers,
) -> Result<Result<Seen, MembersView>, Trouble> {
    // Of what is gone, or goes, nothing has to be fenced.
    let foreign = |why: String| {
        Ok(Err(MembersView { foreign: Some(why), written: Written::Fenced, ..MembersView::default() }))
    };
    let cluster = match there(ctx, op, around).await? {
        Ok(cluster) => cluster,
        Err(why) => return foreign(why),
    };
    if let Some(to) = owned::reference(&cluster) {
        let Some(engine) = around.engine.clone() else {
            return Err(trouble(TroubleKind::Unreachable, "the CacheCluster has not been looked at yet"));
        };
        let whose = match Owned::look(ctx, &cluster, to, also).await? {
            Ok(owned) => Whose::Owned(Box::new(owned)),
            Err(why) => return foreign(why),
        };
        let info = engine.probe().await?;
        return Ok(Ok(Seen { whose, engine, info, set_up: None }));
    }
    if let Some(why) = not_run_here(ctx, &cluster) {
        return foreign(why.into());
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
    let whose = Whose::Managed(owner(&cluster), Box::new(revision));
    Ok(Ok(Seen { whose, engine, info, set_up }))
}

impl Seen {
    fn numbers(&self) -> Numbers {
        match &self.whose {
            Whose::Managed(_, revision) => revision.workers.iter().copied().collect(),
            Whose::Owned(owned) => owned.numbers(),
        }
    }

    fn members(&self, ctx: &Ctx, op: &DataOperation) -> MembersView {
        let workers = self.numbers().iter().map(|n| self.worker(ctx, n)).collect();
        let view = MembersView { workers, set_up: self.set_up.clone(), ..MembersView::default() };
        let mut view = match &self.whose {
            Whose::Managed(_, revision) => MembersView {
                revision: revision.number,
                written: written(revision, op.uid()),
                out: revision.out_of_use.iter().copied().collect(),
                ..view
            },
            Whose::Owned(owned) => MembersView {
                revision: owned.revision(),
                written: owned.written(op),
                owned_by: Some(owned.title()),
                ..view
            },
        };
        if ctx.broken(Mutation::EndWithoutFence) {
            view.written = Written::Fenced;
        }
        view
    }

    fn worker(&self, ctx: &Ctx, number: i32) -> WorkerView {
        match &self.whose {
            Whose::Managed(owner, _) => {
                let name = [render::worker_pod(owner, number)];
                let pods = pods::of(ctx, owner, &name);
                let outdated = |pod: &_| match pods::up_to_date(ctx, pod) {
                    Some(true) => None,
                    Some(false) | None => {
                        Some("is not known to be made from the template of its StatefulSet")
                    }
                };
                let part = pods::part(&pods, &name, outdated);
                view(ctx, number, pods.first(), part, known(owner, &self.info, number))
            }
            Whose::Owned(owned) => {
                let part = owned.part(number);
                view(ctx, number, owned.pod(number), part, owned.known(&self.info, number))
            }
        }
    }

    /// A worker that leaves; its pod counts as there while anything is left that could make one.
    fn gone_or(&self, ctx: &Ctx, number: i32) -> WorkerView {
        let mut view = self.worker(ctx, number);
        view.pod = match &self.whose {
            Whose::Managed(owner, _) => {
                let pod = render::worker_pod(owner, number);
                let set = pod.rsplit_once('-').map_or(pod.as_str(), |(set, _)| set);
                let key = |name: &str| Key::new(owner.namespace.as_str(), name);
                ctx.workloads.pods.get(&key(&pod)).is_some() || ctx.workloads.sets.get(&key(set)).is_some()
            }
            Whose::Owned(owned) => owned.may_have(number),
        };
        view
    }

    /// The workers as the engine has to know them.
    ///
    /// # Errors
    /// [`Trouble`] while the engine does not list one that leaves: what it has is not known then.
    fn at(&self, ctx: &Ctx, leave: &Numbers) -> Result<Vec<At>, Trouble> {
        let owned = match &self.whose {
            Whose::Managed(owner, revision) => return Ok(at(ctx, owner, revision, leave)),
            Whose::Owned(owned) => owned,
        };
        let (there, mut all) = (self.numbers(), Vec::new());
        for number in there.with(leave).iter() {
            let listed = owned.known(&self.info, number).and_then(|m| m.name.rsplit_once(':'));
            if let Some((host, _)) = listed {
                let address = owned.address(number).unwrap_or_else(|| host.to_owned());
                all.push(At { host: host.to_owned(), address, leaves: leave.contains(number) });
            } else if leave.contains(number) && there.contains(number) {
                let message = format!(
                    "the cache lists no worker by the name or the address of the pod of worker {number}"
                );
                return Err(trouble(TroubleKind::NotReady, message));
            }
        }
        Ok(all)
    }

    /// The same for a call. Whoever has left through its owner is known by an address that nobody has any more.
    fn called(&self, ctx: &Ctx, effect: &Effect, workers: &Numbers) -> Result<Vec<At>, Trouble> {
        let (Effect::OnWorkers { call: Call::Admit, .. }, Whose::Owned(owned)) = (effect, &self.whose) else {
            return self.at(ctx, workers);
        };
        let gone = |host: String| At { address: host.clone(), host, leaves: true };
        let mut all = self.at(ctx, workers).unwrap_or_default();
        all.extend(owned.shut_out(&self.info).into_iter().map(gone));
        Ok(all)
    }

    /// Time after which every client knows which workers are in use, in milliseconds.
    fn refresh_ms(&self) -> i64 {
        match &self.whose {
            Whose::Managed(_, revision) => refresh_of(revision),
            Whose::Owned(owned) => refresh_ms(owned.property(REFRESH)),
        }
    }
}

/// The same of a managed cache.
pub(super) fn refresh_of(revision: &Revision) -> i64 {
    refresh_ms(revision.managed.properties.get(REFRESH).map(String::as_str))
}

fn refresh_ms(set: Option<&str>) -> i64 {
    // A client may have asked right before, and its question takes a moment.
    set.and_then(duration_ms).unwrap_or(REFRESH_MS).saturating_add(5_000)
}

/// How the members of the operation's cache are.
///
/// # Errors
/// [`Trouble`] when the API server or the cache does not answer.
pub async fn answer(ctx: &Ctx, op: &DataOperation, around: &Surroundings) -> Result<Answer, Trouble> {
    let seen = look(ctx, op, around, &Numbers::default()).await?;
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
    let seen = match look(ctx, op, around, leave).await? {
        Ok(seen) => seen,
        Err(view) => return Ok(Answer::Leaving(view, Box::default())),
    };
    let workers = seen.at(ctx, leave)?;
    let said = seen.engine.inspect(&Query::Drain { workers, files }).await?;
    let Answer::Drain(mut drain) = said else {
        return Err(trouble(TroubleKind::Unsupported, "the cache cannot say what its workers have"));
    };
    let mut views: Vec<WorkerView> = leave.iter().map(|n| seen.gone_or(ctx, n)).collect();
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
    let view = LeavingView { workers: views, drain, refresh_ms: seen.refresh_ms() };
    Ok(Answer::Leaving(seen.members(ctx, op), Box::new(view)))
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

/// The same for a call to the engine, or the master that it is about; none where the effect is about neither.
///
/// # Errors
/// [`Trouble`] where they cannot be seen.
pub async fn of_call(
    ctx: &Ctx,
    op: &DataOperation,
    around: &Surroundings,
    effect: &Effect,
) -> Result<Vec<At>, Trouble> {
    if let (Effect::TransferLeadership { to }, Some(cluster)) = (effect, &around.cluster) {
        let (owner, at) = (owner(cluster), usize::try_from(*to).unwrap_or(usize::MAX));
        let masters = render::masters(&owner.name, &owner.namespace, to.saturating_add(1).clamp(0, 16));
        let host = masters.into_iter().nth(at).unwrap_or_default();
        return Ok(vec![At { address: host.clone(), host, leaves: false }]);
    }
    let (Effect::OnWorkers { workers, .. }, Some(cluster)) = (effect, &around.cluster) else {
        return Ok(Vec::new());
    };
    if owned::reference(cluster).is_some() {
        return match look(ctx, op, around, workers).await? {
            Ok(seen) => seen.called(ctx, effect, workers),
            Err(view) => Err(trouble(TroubleKind::NotReady, view.foreign.unwrap_or_default())),
        };
    }
    let revision = cluster.status.as_ref().and_then(|s| s.revision.as_ref());
    Ok(revision.map_or_else(Vec::new, |r| at(ctx, &owner(cluster), r, workers)))
}

/// How often clients ask which workers there are, where nothing else is set (2.9), in milliseconds.
const REFRESH_MS: i64 = 120_000;
/// The setting of that.
const REFRESH: &str = "alluxio.user.worker.list.refresh.interval";

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
pub(super) fn written(revision: &Revision, uid: &str) -> Written {
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

fn view(ctx: &Ctx, number: i32, pod: Option<&Arc<Pod>>, part: Part, member: Option<&Member>) -> WorkerView {
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
pub(super) const ACTIVE: &str = "ACTIVE";

/// What the engine says of the worker of this number: of several with its host, the one that serves.
pub(super) fn known<'a>(owner: &Owner, info: &'a EngineInfo, number: i32) -> Option<&'a Member> {
    let host = format!("{}:", render::worker_host(owner, &render::worker_pod(owner, number)));
    let entries = || info.members.iter().filter(|m| m.name.starts_with(&host));
    entries().find(|m| m.state == ACTIVE).or_else(|| entries().next())
}

/// Whether the cache said last that the worker of this pod serves.
pub(super) fn serves(owner: &Owner, status: &CacheClusterStatus, pod: &str) -> bool {
    let host = format!("{}:", render::worker_host(owner, pod));
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
