//! Of which release the members of a managed cache are.
//!
//! ```text
//!   revision (a consistent read) + sets and pods (watched) + what the cache says of masters and workers --> RolloutView
//!                                       the worker that is next, if its tiers go with its pod --> what only it has
//! ```
//!
//! It is answered also while the cache does not answer: then a master may be what has to be made anew.

use super::render::{self, Owner};
use super::{Stage, members, owned, owner, pods, stage_of};
use crate::api::DataOperation;
use crate::api::managed::{Managed, Revision};
use crate::cache::Key;
use crate::controller::Ctx;
use crate::controller::observe::Surroundings;
use crate::controller::teeth::Mutation;
use crate::engine::{Engine, EngineInfo};
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::Pod;
use ratchet_state_machine::drain::LeavingView;
use ratchet_state_machine::effect::{Answer, Effect, Query, Trouble};
use ratchet_state_machine::members::{Known, Numbers, WorkerView};
use ratchet_state_machine::operation::upgrade::release_before;
use ratchet_state_machine::rollout::{Choice, MemberView, Pace, Release, Role, RolloutView, Template};

/// The release of a managed cache.
pub(super) fn release(managed: &Managed) -> Release {
    Release {
        version: managed.version.clone(),
        repository: managed.image.repository.clone(),
        tag: managed.image.tag.clone(),
    }
}

/// Makes it another one.
pub(super) fn set(managed: &mut Managed, release: Release) {
    managed.version = release.version;
    managed.image.repository = release.repository;
    managed.image.tag = release.tag;
}

/// Whether what workers keep outlives their pods, wherever they come back.
pub(super) fn survives(managed: &Managed) -> bool {
    managed.workers.tiers.iter().all(|t| t.volume.survives() == "Always")
}

/// Name of a member's pod.
pub(super) fn pod(owner: &Owner, role: Role, number: i32) -> String {
    let what = match role {
        Role::Worker => return render::worker_pod(owner, number),
        Role::Master => "master",
        Role::JobMaster => "job-master",
        Role::JobWorker => "job-worker",
        Role::Proxy => "proxy",
    };
    format!("{}-{what}-{number}", owner.name)
}

/// Name of the StatefulSet that makes a pod.
pub(super) fn set_of(pod: &str) -> &str {
    pod.rsplit_once('-').map_or(pod, |(set, _)| set)
}

/// Whether a StatefulSet makes pods of this image, and its own controller has seen that.
pub(super) fn makes(set: &StatefulSet, image: &str) -> bool {
    let spec = set.spec.as_ref().and_then(|s| s.template.spec.as_ref());
    let made = spec.and_then(|s| s.containers.iter().find(|c| c.name == render::CONTAINER));
    let seen = set.status.as_ref().and_then(|s| s.observed_generation) == set.metadata.generation;
    seen && made.and_then(|c| c.image.as_deref()) == Some(image)
}

/// Every member that the revision has.
fn all(revision: &Revision) -> Vec<(Role, i32)> {
    let managed = &revision.managed;
    let count = |role: Role| match role {
        Role::Master => managed.masters.replicas,
        Role::JobMaster => i32::from(managed.jobs.workers > 0),
        Role::JobWorker => managed.jobs.workers,
        Role::Proxy => managed.proxies.replicas,
        Role::Worker => 0,
    };
    let workers = revision.workers.iter().map(|n| (Role::Worker, *n));
    Role::ALL.into_iter().flat_map(|role| (0..count(role)).map(move |n| (role, n))).chain(workers).collect()
}

/// What there is to look at.
struct Look<'a> {
    ctx: &'a Ctx,
    owner: Owner,
    revision: &'a Revision,
    image: String,
    info: Option<EngineInfo>,
}

impl Look<'_> {
    fn template(&self, pod: &Pod) -> Template {
        match pods::made_from(self.ctx, pod, &self.image) {
            None if self.ctx.broken(Mutation::EvictUnseen) => Template::Before,
            None => Template::Unknown,
            Some(true) => Template::Current,
            Some(false) => Template::Before,
        }
    }

    /// What a pod will be made from that is not there.
    fn coming(&self, pod: &str) -> Template {
        let key = Key::new(self.owner.namespace.as_str(), set_of(pod));
        match self.ctx.workloads.sets.get(&key).is_some_and(|set| makes(&set, &self.image)) {
            true => Template::Current,
            false => Template::Unknown,
        }
    }

    fn member(&self, role: Role, number: i32) -> MemberView {
        let name = [pod(&self.owner, role, number)];
        let found = pods::of(self.ctx, &self.owner, &name);
        let trouble = pods::part(&found, &name, |_| None).trouble;
        let pod = found.first().filter(|p| p.metadata.deletion_timestamp.is_none());
        let since = pod.and_then(|p| pods::ready_since(p));
        let ready_s = since.map_or(0, |at| self.ctx.clock.now().timestamp() - at.as_second());
        let aside = role == Role::Worker && self.revision.out_of_use.contains(&number);
        let view = MemberView {
            role,
            number,
            uid: pod.and_then(|p| p.metadata.uid.clone()),
            template: pod.map_or_else(|| self.coming(&name[0]), |p| self.template(p)),
            ready: pod.is_some_and(|p| pods::ready(p)),
            ready_ms: ready_s.max(0).saturating_mul(1_000),
            version: None,
            known: Known::Serves,
            capacity_bytes: 0,
            used_bytes: 0,
            primary: false,
            survives: role != Role::Worker || survives(&self.revision.managed),
            aside,
            trouble,
        };
        match role {
            Role::Master => self.master(view),
            Role::Worker => self.worker(view),
            Role::JobMaster | Role::JobWorker | Role::Proxy => view,
        }
    }

    fn master(&self, view: MemberView) -> MemberView {
        let none = MemberView { known: Known::No, ..view };
        let Some(info) = &self.info else { return none };
        let managed = &self.revision.managed;
        let hosts = render::masters(&self.owner.name, &self.owner.namespace, managed.masters.replicas);
        let host = usize::try_from(none.number).ok().and_then(|n| hosts.get(n));
        let listed = info.masters_at.iter().find(|m| Some(&m.host) == host);
        // Whoever is alone is the one that answers, by whatever name it knows itself.
        let alone = managed.masters.replicas == 1;
        let (version, primary) = match listed {
            Some(m) => (m.version.clone(), m.primary),
            None if alone => (info.version.clone(), true),
            None => return none,
        };
        let version = Some(version).filter(|v| !v.is_empty());
        MemberView { known: Known::Serves, version, primary, ..none }
    }

    fn worker(&self, view: MemberView) -> MemberView {
        let listed = self.info.as_ref().and_then(|i| members::known(&self.owner, i, view.number));
        let Some(m) = listed else { return MemberView { known: Known::No, ..view } };
        let serves = m.state == members::ACTIVE;
        MemberView {
            known: if serves { Known::Serves } else { Known::As(m.state.clone()) },
            version: Some(m.version.clone()).filter(|v| !v.is_empty()),
            capacity_bytes: if serves { m.capacity_bytes } else { 0 },
            used_bytes: m.used_bytes,
            ..view
        }
    }

    /// What only the worker has that is next.
    async fn leaving(&self, engine: &dyn Engine, number: i32) -> Result<Option<LeavingView>, Trouble> {
        let one: Numbers = [number].into_iter().collect();
        let workers = members::at(self.ctx, &self.owner, self.revision, &one);
        let Answer::Drain(drain) = engine.inspect(&Query::Drain { workers, files: true }).await? else {
            return Ok(None);
        };
        let workers = vec![WorkerView { number, ..WorkerView::default() }];
        Ok(Some(LeavingView { workers, drain, refresh_ms: members::refresh_of(self.revision) }))
    }
}

/// How far the members of the operation's cache are.
///
/// # Errors
/// [`Trouble`] when the API server does not answer.
pub async fn answer(
    ctx: &Ctx,
    op: &DataOperation,
    around: &Surroundings,
    pace: &Pace,
) -> Result<Answer, Trouble> {
    let closed = |why: String, gone: bool| {
        let view = RolloutView { foreign: Some(why), gone, ..RolloutView::default() };
        Ok(Answer::Rollout(Box::new(view)))
    };
    let foreign = |why: String| closed(why, false);
    let cluster = match members::there(ctx, op, around).await? {
        Ok(cluster) => cluster,
        Err(why) => return closed(why, true),
    };
    if owned::reference(&cluster).is_some() {
        return foreign(
            "whoever the cache was declared by says of which release it is: change it there".into(),
        );
    }
    if let Some(why) = members::not_run_here(ctx, &cluster) {
        return foreign(why.into());
    }
    let status = cluster.status.clone().unwrap_or_default();
    let stage = stage_of(&status);
    let set_up = (stage != Stage::Ready).then(|| stage.name().to_owned());
    let Some(revision) = status.revision else {
        let set_up = Some(stage.name().to_owned());
        return Ok(Answer::Rollout(Box::new(RolloutView { set_up, ..RolloutView::default() })));
    };
    let (info, mut silent) = match &around.engine {
        None => (None, Some("none of its masters has an address yet".to_owned())),
        Some(engine) => match engine.probe().await {
            Ok(info) => (Some(info), None),
            Err(trouble) => (None, Some(trouble.message)),
        },
    };
    let release = release(&revision.managed);
    let look = Look { ctx, owner: owner(&cluster), revision: &revision, image: release.image(), info };
    let mut view = RolloutView {
        foreign: None,
        gone: false,
        set_up,
        revision: revision.number,
        release,
        written: members::written(&revision, op.uid()),
        out: revision.out_of_use.iter().copied().collect(),
        silent: silent.clone(),
        journal_kept: revision.managed.masters.journal.survives() != "Never",
        members: all(&revision).into_iter().map(|(role, number)| look.member(role, number)).collect(),
        leaving: None,
    };
    if ctx.broken(Mutation::UidAnew)
        && let Some(intent) =
            op.status.as_ref().and_then(|s| s.intent.as_ref()).filter(|i| i.writer != ctx.writer)
        && let Effect::ReplaceMember { role, number, .. } = &intent.effect
    {
        let of_intent = view.members.iter_mut().filter(|m| (m.role, m.number) == (*role, *number));
        of_intent.for_each(|m| m.template = Template::Before);
    }
    if ctx.broken(Mutation::WaitBeforeReset) && pace.back {
        let record = op.status.as_ref().and_then(|s| s.record().ok());
        let before = record.and_then(|r| release_before(&r.folded.state).cloned());
        view.release = before.unwrap_or_default();
    }
    let next = match view.choose(pace) {
        Choice::Next(m) if view.drained(m) => Some(m.number),
        Choice::Next(_) | Choice::For(_) | Choice::Soaks(_) | Choice::None => None,
    };
    if let (Some(number), None, Some(engine)) = (next, &silent, &around.engine) {
        match look.leaving(engine.as_ref(), number).await {
            Ok(leaving) => view.leaving = leaving,
            Err(trouble) => silent = Some(trouble.message),
        }
    }
    Ok(Answer::Rollout(Box::new(RolloutView { silent, ..view })))
}
