//! What pods say: whether they are ready, and what is wrong with one that is not.

use super::render::Owner;
use crate::cache::Key;
use crate::controller::Ctx;
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{ContainerStatus, Pod};
use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt;
use ratchet_state_machine::lifecycle::cut;
use ratchet_state_machine::setup::Part;
use std::sync::Arc;

/// The pods of these names that one of the cache's own StatefulSets made: a label alone makes no member.
pub fn of(ctx: &Ctx, owner: &Owner, names: &[String]) -> Vec<Arc<Pod>> {
    let found =
        names.iter().filter_map(|n| ctx.workloads.pods.get(&Key::new(owner.namespace.as_str(), n.as_str())));
    found.filter(|p| made_by(ctx, owner, p)).collect()
}

/// Whether a StatefulSet of this cache made the pod.
fn made_by(ctx: &Ctx, owner: &Owner, pod: &Pod) -> bool {
    let Some(set) = pod.owner_references().iter().find(|o| o.kind == "StatefulSet") else { return false };
    let known = ctx.workloads.sets.get(&Key::new(owner.namespace.as_str(), set.name.as_str()));
    known.is_some_and(|s| {
        s.uid().as_ref() == Some(&set.uid) && s.owner_references().iter().any(|o| o.uid == owner.uid)
    })
}

/// Ready, and not on its way out.
pub fn ready(pod: &Pod) -> bool {
    let conditions = pod.status.iter().flat_map(|s| s.conditions.iter().flatten());
    pod.metadata.deletion_timestamp.is_none()
        && conditions.into_iter().any(|c| c.type_ == "Ready" && c.status == "True")
}

/// When a pod that is ready became so.
pub fn ready_since(pod: &Pod) -> Option<Timestamp> {
    let mut conditions = pod.status.iter().flat_map(|s| s.conditions.iter().flatten());
    let ready = conditions.find(|c| c.type_ == "Ready" && c.status == "True")?;
    ready.last_transition_time.as_ref().filter(|_| pod.metadata.deletion_timestamp.is_none()).map(|t| t.0)
}

/// Label of a pod: the template that its StatefulSet made it from.
const TEMPLATE: &str = "controller-revision-hash";

/// Whether a pod was made from the template that its StatefulSet has now; `None` as long as nobody can say: the set is not
/// known, or its own controller has not seen the template yet.
pub fn up_to_date(ctx: &Ctx, pod: &Pod) -> Option<bool> {
    let owner = pod.owner_references().iter().find(|o| o.kind == "StatefulSet")?;
    let key = Key::new(pod.namespace().unwrap_or_default(), owner.name.as_str());
    let set: Arc<StatefulSet> =
        ctx.workloads.sets.get(&key).filter(|s| s.uid().as_ref() == Some(&owner.uid))?;
    let status = set.status.as_ref().filter(|s| s.observed_generation == set.metadata.generation)?;
    Some(pod.labels().get(TEMPLATE)? == status.update_revision.as_ref()?)
}

/// The same where the set makes pods of this image; `None` also while it does not, because the revision was not rendered
/// yet.
pub fn made_from(ctx: &Ctx, pod: &Pod, image: &str) -> Option<bool> {
    let owner = pod.owner_references().iter().find(|o| o.kind == "StatefulSet")?;
    let key = Key::new(pod.namespace().unwrap_or_default(), owner.name.as_str());
    let set = ctx.workloads.sets.get(&key)?;
    super::rollout::makes(&set, image).then(|| up_to_date(ctx, pod)).flatten()
}

/// How many of the pods that shall be there are ready, and what is wrong with the first that is not. `outdated` says why
/// one that is ready does not count.
pub fn part(pods: &[Arc<Pod>], names: &[String], outdated: impl Fn(&Pod) -> Option<&'static str>) -> Part {
    let mut part = Part { wanted: names.len(), ..Part::default() };
    for name in names {
        match pods.iter().find(|p| p.name_any() == *name) {
            Some(pod) if ready(pod) && outdated(pod).is_none() => part.ready += 1,
            found => {
                let set = name.rsplit_once('-').map_or(name.as_str(), |(set, _)| set);
                let trouble = found.map_or_else(
                    || format!("pod {name} is not there; `kubectl describe statefulset {set}` says why"),
                    |pod| match outdated(pod) {
                        Some(why) if ready(pod) => format!("pod {name} {why}"),
                        Some(_) | None => trouble(pod),
                    },
                );
                part.trouble.get_or_insert(cut(&trouble, 300));
            }
        }
    }
    part
}

/// Why a pod is not ready, as far as it says.
fn trouble(pod: &Pod) -> String {
    let name = pod.name_any();
    let Some(status) = &pod.status else { return format!("pod {name} is new") };
    if pod.metadata.deletion_timestamp.is_some() {
        return format!("pod {name} is being removed");
    }
    let unscheduled =
        status.conditions.iter().flatten().find(|c| c.type_ == "PodScheduled" && c.status == "False");
    if let Some(why) = unscheduled {
        return format!("pod {name} has no node: {}", why.message.as_deref().unwrap_or_default());
    }
    let containers =
        status.init_container_statuses.iter().flatten().chain(status.container_statuses.iter().flatten());
    containers
        .filter_map(container)
        .map(|why| format!("pod {name}: {why}"))
        .next()
        .unwrap_or_else(|| format!("pod {name} is starting"))
}

fn container(status: &ContainerStatus) -> Option<String> {
    let state = status.state.as_ref()?;
    if let Some(waiting) = &state.waiting {
        let reason = waiting.reason.as_deref().unwrap_or_default();
        if matches!(reason, "" | "PodInitializing" | "ContainerCreating") {
            return None;
        }
        // What it said last tells more than that it is tried again.
        let last =
            status.last_state.as_ref().and_then(|s| s.terminated.as_ref()).and_then(|t| t.message.as_deref());
        let message = last.or(waiting.message.as_deref()).unwrap_or_default().trim();
        return Some(format!("{reason}: {message}").trim_end_matches(": ").to_owned());
    }
    let ended = state.terminated.as_ref().filter(|t| t.exit_code != 0)?;
    let said = ended.message.as_deref().or(ended.reason.as_deref()).unwrap_or("Error").trim();
    Some(format!("container {} ended with exit code {}: {said}", status.name, ended.exit_code))
}

/// The addresses of the masters' pods, `ip:port`.
pub fn endpoints(masters: &[Arc<Pod>], port: i32) -> Vec<String> {
    let there = masters.iter().filter(|p| p.metadata.deletion_timestamp.is_none());
    let addresses = there.filter_map(|p| p.status.as_ref()?.pod_ip.clone()).filter(|a| !a.is_empty());
    addresses.map(|a| if a.contains(':') { format!("[{a}]:{port}") } else { format!("{a}:{port}") }).collect()
}
