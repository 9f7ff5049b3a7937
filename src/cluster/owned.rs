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
use crate::engine::{EngineInfo, window_closed};
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::Pod;
use kube::api::DynamicObject;
use kube::{Api, ResourceExt as _};
use ratchet_state_machine::drain::DISABLED;
use ratchet_state_machine::effect::{Effect, Intent, Outcome, Receipt, Trouble, TroubleKind};
use ratchet_state_machine::ids::Fence;
use ratchet_state_machine::members::{MAX_WORKERS, Numbers, Written};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

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

/// The reason that says that there is no owner. (A kind that is not served may be served again in a moment.)
const GONE: &str = "OwnerNotFound";
/// The lock that the fence was counted in: another lock counts anew.
const LOCK: &str = "ratchet.dev/lock";
/// An effect is not sent later than this after its window, whatever was looked at meanwhile: nothing else holds a frozen
/// process back once somebody has taken the annotations off.
const AT_THE_LATEST: Duration = Duration::from_secs(60);

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
            Err(NotFound { reason, message }) if reason == GONE => return Ok(Err(message)),
            Err(NotFound { message, .. }) => return Err(Trouble { kind: TroubleKind::Unknown, message }),
        };
        if !owned.said().is_some_and(|n| (0..=i64::from(MAX_WORKERS)).contains(&n)) {
            let path = count_path(to.kind).trim_start_matches('/').replace('/', ".");
            let title = owned.title();
            return Ok(Err(format!("{title} has no number of workers up to {MAX_WORKERS} at {path}")));
        }
        let namespace = cluster.metadata.namespace.as_deref().unwrap_or_default();
        let sets: Api<StatefulSet> = Api::namespaced(ctx.client.clone(), namespace);
        let name = format!("{}-worker", to.name);
        let set = write::get(ctx, &sets, &name).await;
        let Some(set) = set.map_err(|reply| unread(&format!("the StatefulSet {name}"), &reply))? else {
            let title = owned.title();
            return Ok(Err(format!("{title} has no StatefulSet {name}: its workers cannot be told apart")));
        };
        owned.made = set.spec.as_ref().and_then(|s| s.replicas).unwrap_or(0);
        let its =
            |pod: &Pod| pod.owner_references().iter().any(|o| Some(&o.uid) == set.metadata.uid.as_ref());
        let api: Api<Pod> = Api::namespaced(ctx.client.clone(), namespace);
        for number in owned.numbers().with(also).iter() {
            let name = pod(&to.name, number);
            match write::get(ctx, &api, &name).await {
                Ok(Some(found)) if its(&found) => drop(owned.pods.insert(number, Arc::new(found))),
                Ok(Some(_) | None) => {}
                Err(reply) => return Err(unread(&format!("pod {name}"), &reply)),
            }
        }
        Ok(match owned.shared_address() {
            Some(why) => Err(why),
            None => Ok(owned),
        })
    }

    async fn read(ctx: &Ctx, cluster: &CacheCluster, to: &Reference) -> Result<Self, NotFound> {
        let (api, object) = reference::owner(ctx, cluster, to).await?;
        Ok(Self { kind: to.kind, api, object, pods: BTreeMap::new(), made: 0 })
    }

    /// Who it is, for people.
    pub fn title(&self) -> String {
        format!("{:?} {}", self.kind, self.object.name_any())
    }

    fn said(&self) -> Option<i64> {
        self.object.data.pointer(count_path(self.kind)).and_then(Value::as_i64)
    }

    /// How many workers it is to have.
    fn count(&self) -> i32 {
        self.said().and_then(|n| i32::try_from(n).ok()).unwrap_or(0).clamp(0, MAX_WORKERS)
    }

    /// Two workers that the engine knows by one address: nobody can say which of them is which.
    fn shared_address(&self) -> Option<String> {
        let mut seen: BTreeMap<String, i32> = BTreeMap::new();
        for number in self.pods.keys() {
            for host in self.hosts(*number) {
                if let Some(other) = seen.insert(host.clone(), *number) {
                    let title = self.title();
                    return Some(format!(
                        "the workers {other} and {number} of {title} share the address {host}"
                    ));
                }
            }
        }
        None
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

    /// A number that is another one when somebody has changed how many workers there are, and after each write of an
    /// operation. (The owner's generation grows with other changes too, in some versions with every status.)
    pub fn revision(&self) -> i64 {
        self.writes().saturating_mul(i64::from(MAX_WORKERS) * 4).saturating_add(i64::from(self.count()))
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

    /// What the engine says of the worker of this number: it registers as its pod or as the pod's address.
    pub fn known<'a>(&self, info: &'a EngineInfo, number: i32) -> Option<&'a Member> {
        let hosts = self.hosts(number);
        let is = |m: &&Member| {
            let host = m.name.rsplit_once(':').map_or(m.name.as_str(), |(host, _)| host);
            hosts.iter().any(|h| h == host || host.starts_with(&format!("{h}.")) && !h.contains('.'))
        };
        let entries = || info.members.iter().filter(is);
        entries().find(|m| m.state == super::members::ACTIVE).or_else(|| entries().next())
    }

    /// A pod that shares its node's network has its node's address.
    fn hosts(&self, number: i32) -> Vec<String> {
        let name = pod(&self.object.name_any(), number);
        [name].into_iter().chain(self.address(number)).collect()
    }

    /// Hosts that the engine does not let in and that no worker has: their workers are gone, and the next one there shall be
    /// let in.
    pub fn shut_out(&self, info: &EngineInfo) -> Vec<String> {
        let taken: Vec<&str> =
            self.numbers().iter().filter_map(|n| self.known(info, n)).map(|m| m.name.as_str()).collect();
        let disabled =
            info.members.iter().filter(|m| m.state == DISABLED && !taken.contains(&m.name.as_str()));
        disabled.filter_map(|m| m.name.rsplit_once(':')).map(|(host, _)| host.to_owned()).collect()
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
    fn next(&self, intent: &Intent, lock: &str) -> Result<i32, Outcome> {
        if self.annotation(TOKEN) == Some(intent.token.0.as_str()) {
            return Err(Outcome::Done(Receipt { attached: true, ..Receipt::default() }));
        }
        let comparable = self.annotation(LOCK) == Some(lock);
        if comparable && self.annotation(FENCE).and_then(parse).is_some_and(|fence| fence > intent.fence) {
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
    send_before: Instant,
) -> Result<(), Result<Outcome, Reply>> {
    let owned = match Owned::read(ctx, cluster, to).await {
        Ok(owned) => owned,
        Err(why) => return Err(Ok(refused(why.reason, why.message))),
    };
    let lock = cluster.status.as_ref().and_then(|s| s.lock.clone()).unwrap_or_default();
    let count = owned.next(intent, &lock).map_err(Ok)?;
    if ctx.clock.instant() >= send_before + AT_THE_LATEST {
        return Err(Ok(window_closed()));
    }
    let noted = [
        (LOCK, lock),
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
    let parent = count_path(owned.kind).rsplit_once('/').map_or("", |(parent, _)| parent);
    if count != owned.count() && owned.object.data.pointer(parent).is_none() {
        ops.push(json!({"op": "add", "path": parent, "value": {}}));
    }
    if count != owned.count() {
        ops.push(json!({"op": "add", "path": count_path(owned.kind), "value": count}));
    }
    let name = owned.object.name_any();
    write::patch(ctx, &owned.api, Part::Main, &name, &ops).await.map(drop).map_err(Err)
}
