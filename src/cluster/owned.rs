//! The workers of a cache that somebody else runs, by the object that it was declared by.
//!
//! ```text
//!   scaleOut, scaleIn --one guarded patch--> spec of the AlluxioRuntime or AlluxioCluster --its own controller--> pods
//! ```
//!
//! How many workers there are is changed in the owner's spec alone, never behind its back: its controller makes and removes
//! pods, those with the highest numbers last made and first removed. Each write carries the operation, its token and its fence
//! as annotations of the same object, guarded by the resourceVersion of the read that it was decided on.

use super::pods;
use super::reference::{self, NotFound};
use crate::api::cluster::{Member, OwnerKind, Reference};
use crate::api::{CacheCluster, DataOperation};
use crate::controller::Ctx;
use crate::controller::reply::Reply;
use crate::controller::write::{self, Part};
use crate::engine::EngineInfo;
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::Pod;
use kube::api::DynamicObject;
use kube::{Api, ResourceExt as _};
use ratchet_state_machine::effect::{Effect, Intent, Outcome, Receipt, Trouble, TroubleKind};
use ratchet_state_machine::ids::Fence;
use ratchet_state_machine::members::{MAX_WORKERS, Numbers, Written};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Annotations of the owner: what was written last, by whom.
const OPERATION: &str = "ratchet.dev/operation";
const EFFECT: &str = "ratchet.dev/effect";
const TOKEN: &str = "ratchet.dev/token";
const FENCE: &str = "ratchet.dev/fence";
/// How often something was written.
const COUNT: &str = "ratchet.dev/writes";

/// An owner, as it was read.
pub struct Owned {
    kind: OwnerKind,
    api: Api<DynamicObject>,
    object: DynamicObject,
    /// The pods of its workers, by their numbers.
    pods: BTreeMap<i32, Arc<Pod>>,
    /// How many pods its StatefulSet is to make.
    made: i32,
}

/// The reference of a cache that has one.
pub fn reference(cluster: &CacheCluster) -> Option<&Reference> {
    cluster.spec.attached.reference.as_ref()
}

/// Name of the pod of a worker.
pub fn pod(name: &str, number: i32) -> String {
    format!("{name}-worker-{number}")
}

/// Where the owner's spec says how many workers there are.
const fn count_path(kind: OwnerKind) -> &'static str {
    match kind {
        OwnerKind::AlluxioRuntime => "/spec/replicas",
        OwnerKind::AlluxioCluster => "/spec/worker/count",
    }
}

/// Reasons that say that there is no owner.
const GONE: [&str; 2] = ["OwnerNotFound", "OwnerKindNotInstalled"];

fn unread(what: &str, reply: &Reply) -> Trouble {
    Trouble { kind: TroubleKind::Unknown, message: format!("{what} cannot be read: {}", reply.name()) }
}

impl Owned {
    /// Reads the owner, and the pods of its workers and of these; why there is none, where there is none.
    ///
    /// # Errors
    /// [`Trouble`] when the API server does not answer.
    pub async fn look(
        ctx: &Ctx,
        cluster: &CacheCluster,
        to: &Reference,
        also: &Numbers,
    ) -> Result<Result<Self, String>, Trouble> {
        let mut owned = match Self::read(ctx, cluster, to).await {
            Ok(owned) => owned,
            Err(NotFound { reason, message }) if GONE.contains(&reason) => return Ok(Err(message)),
            Err(NotFound { message, .. }) => return Err(Trouble { kind: TroubleKind::Unknown, message }),
        };
        let namespace = cluster.metadata.namespace.as_deref().unwrap_or_default();
        let api: Api<Pod> = Api::namespaced(ctx.client.clone(), namespace);
        for number in owned.numbers().with(also).iter() {
            let name = pod(&to.name, number);
            match write::get(ctx, &api, &name).await {
                Ok(Some(found)) => drop(owned.pods.insert(number, Arc::new(found))),
                Ok(None) => {}
                Err(reply) => return Err(unread(&format!("pod {name}"), &reply)),
            }
        }
        let sets: Api<StatefulSet> = Api::namespaced(ctx.client.clone(), namespace);
        let name = format!("{}-worker", to.name);
        let set = write::get(ctx, &sets, &name).await;
        let set = set.map_err(|reply| unread(&format!("the StatefulSet {name}"), &reply))?;
        owned.made = set.and_then(|s| s.spec?.replicas).unwrap_or(0);
        Ok(Ok(owned))
    }

    async fn read(ctx: &Ctx, cluster: &CacheCluster, to: &Reference) -> Result<Self, NotFound> {
        let (api, object) = reference::owner(ctx, cluster, to).await?;
        Ok(Self { kind: to.kind, api, object, pods: BTreeMap::new(), made: 0 })
    }

    /// Who it is, for people.
    pub fn title(&self) -> String {
        format!("{:?} {}", self.kind, self.object.name_any())
    }

    /// How many workers it is to have.
    fn count(&self) -> i32 {
        let count = self.object.data.pointer(count_path(self.kind)).and_then(Value::as_i64);
        // Both kinds have one worker where they say nothing.
        count.and_then(|n| i32::try_from(n).ok()).unwrap_or(1).clamp(0, MAX_WORKERS)
    }

    /// Their numbers.
    pub fn numbers(&self) -> Numbers {
        (0..self.count()).collect()
    }

    fn annotation(&self, name: &str) -> Option<&str> {
        self.object.annotations().get(name).map(String::as_str)
    }

    fn writes(&self) -> i64 {
        self.annotation(COUNT).and_then(|n| n.parse().ok()).unwrap_or(0)
    }

    /// A number that grows whenever somebody changes the owner's spec, and with each write of an operation.
    pub fn revision(&self) -> i64 {
        self.object.metadata.generation.unwrap_or(0).saturating_add(self.writes())
    }

    /// What an operation has written last.
    pub fn written(&self, op: &DataOperation) -> Written {
        match (self.annotation(OPERATION), self.annotation(EFFECT)) {
            (Some(by), Some(what)) if by == op.uid() => {
                if what == (Effect::FenceMembers {}).name() {
                    Written::Fenced
                } else {
                    Written::Changed
                }
            }
            _ => Written::Nothing,
        }
    }

    /// Whether a pod of this number is there, or may be made still.
    pub fn may_have(&self, number: i32) -> bool {
        self.pods.contains_key(&number) || number < self.made
    }

    /// The pod of a worker.
    pub fn pod(&self, number: i32) -> Option<&Arc<Pod>> {
        self.pods.get(&number)
    }

    /// What the engine says of the worker of this number: it registers as its pod, as the pod's address or as its node's.
    pub fn known<'a>(&self, info: &'a EngineInfo, number: i32) -> Option<&'a Member> {
        let hosts = self.hosts(number);
        let is = |m: &&Member| {
            let host = m.name.rsplit_once(':').map_or(m.name.as_str(), |(host, _)| host);
            hosts.iter().any(|h| h == host || host.starts_with(&format!("{h}.")) && !h.contains('.'))
        };
        let entries = || info.members.iter().filter(is);
        entries().find(|m| m.state == super::members::ACTIVE).or_else(|| entries().next())
    }

    fn hosts(&self, number: i32) -> Vec<String> {
        let mut hosts = vec![pod(&self.object.name_any(), number)];
        if let Some(status) = self.pods.get(&number).and_then(|p| p.status.as_ref()) {
            hosts.extend(status.pod_ip.clone().filter(|ip| !ip.is_empty()));
            hosts.extend(status.host_ip.clone().filter(|ip| !ip.is_empty()));
        }
        hosts
    }

    /// Where a worker is reached from here.
    pub fn address(&self, number: i32) -> Option<String> {
        let status = self.pods.get(&number)?.status.as_ref()?;
        status.pod_ip.clone().filter(|ip| !ip.is_empty())
    }

    /// A setting of the engine, where the owner makes one.
    pub fn property(&self, name: &str) -> Option<&str> {
        self.object.data.get("spec")?.get("properties")?.get(name)?.as_str()
    }

    /// Whether one of the pods is ready, and why not.
    pub fn part(&self, number: i32) -> ratchet_state_machine::setup::Part {
        let name = [pod(&self.object.name_any(), number)];
        let there: Vec<Arc<Pod>> = self.pods.get(&number).cloned().into_iter().collect();
        pods::part(&there, &name, |_| None)
    }

    /// How many workers there are after an effect, or what there is to say without a write.
    fn next(&self, intent: &Intent) -> Result<i32, Outcome> {
        if self.annotation(TOKEN) == Some(intent.token.0.as_str()) {
            return Err(Outcome::Done(Receipt { attached: true, ..Receipt::default() }));
        }
        if self.annotation(FENCE).and_then(parse).is_some_and(|fence| fence > intent.fence) {
            let message = format!("{} carries a higher fence than {}", self.title(), intent.fence);
            return Err(refused("Superseded", message));
        }
        let there = self.numbers();
        let (at, next) = if let Effect::AddWorkers { add, at } = &intent.effect {
            (*at, there.with(add))
        } else if let Effect::RemoveWorkers { remove, at } = &intent.effect {
            (*at, there.without(remove))
        } else if matches!(intent.effect, Effect::FenceMembers {}) {
            return Ok(self.count());
        } else {
            let message = format!("{} is not for {}", intent.effect.name(), self.title());
            return Err(refused("InvalidEffect", message));
        };
        if at != self.revision() {
            let message = format!("{} was changed since this was decided", self.title());
            return Err(refused("RevisionMoved", message));
        }
        let count = i32::try_from(next.len()).unwrap_or(MAX_WORKERS);
        if next != (0..count).collect() || !(1..=MAX_WORKERS).contains(&count) {
            let message =
                format!("{} cannot have the workers {next}: only the last ones come and go", self.title());
            return Err(refused("OnlyLast", message));
        }
        Ok(count)
    }
}

fn parse(text: &str) -> Option<Fence> {
    let (epoch, attempt) = text.split_once('.')?;
    Some(Fence { epoch: epoch.parse().ok()?, attempt: attempt.parse().ok()? })
}

fn refused(reason: &str, message: impl Into<String>) -> Outcome {
    Outcome::Refused { reason: reason.into(), message: message.into(), retryable: true }
}

/// One try to write what an intent is about.
///
/// # Errors
/// What there is to say without a write, or a reply that says that nothing was written, or that nobody knows.
pub async fn attempt(
    ctx: &Ctx,
    op: &DataOperation,
    cluster: &CacheCluster,
    to: &Reference,
    intent: &Intent,
) -> Result<(), Result<Outcome, Reply>> {
    let owned = match Owned::read(ctx, cluster, to).await {
        Ok(owned) => owned,
        Err(why) => return Err(Ok(refused(why.reason, why.message))),
    };
    let count = owned.next(intent).map_err(Ok)?;
    let noted = [
        (OPERATION, op.uid().to_owned()),
        (EFFECT, intent.effect.name().to_owned()),
        (TOKEN, intent.token.0.clone()),
        (FENCE, format!("{}.{}", intent.fence.epoch, intent.fence.attempt)),
        (COUNT, owned.writes().saturating_add(1).to_string()),
    ];
    let mut ops = vec![
        json!({"op": "test", "path": "/metadata/uid", "value": owned.object.metadata.uid}),
        json!({"op": "replace", "path": "/metadata/resourceVersion", "value": owned.object.metadata.resource_version}),
    ];
    if owned.object.metadata.annotations.is_none() {
        ops.push(json!({"op": "add", "path": "/metadata/annotations", "value": {}}));
    }
    for (name, value) in noted {
        let path = format!("/metadata/annotations/{}", name.replace('/', "~1"));
        ops.push(json!({"op": "add", "path": path, "value": value}));
    }
    if count != owned.count() {
        ops.push(json!({"op": "add", "path": count_path(owned.kind), "value": count}));
    }
    let name = owned.object.name_any();
    write::patch(ctx, &owned.api, Part::Main, &name, &ops).await.map(drop).map_err(Err)
}
