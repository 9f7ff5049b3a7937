//! What pods say: whether they are ready, and what is wrong with one that is not.

use super::render::{COMPONENT, Owner};
use super::workloads::BY_INSTANCE;
use crate::controller::Ctx;
use k8s_openapi::api::core::v1::{ContainerStatus, Pod};
use kube::ResourceExt;
use ratchet_state_machine::lifecycle::cut;
use ratchet_state_machine::setup::Part;
use std::sync::Arc;

/// The pods of one part of a cache, by name.
pub fn of(ctx: &Ctx, owner: &Owner, component: &str) -> Vec<Arc<Pod>> {
    let all = ctx.workloads.pods.by_index(&(BY_INSTANCE, format!("{}/{}", owner.namespace, owner.name)));
    all.into_iter().filter(|p| p.labels().get(COMPONENT).is_some_and(|c| c == component)).collect()
}

/// Ready, and not on its way out.
pub fn ready(pod: &Pod) -> bool {
    let conditions = pod.status.iter().flat_map(|s| s.conditions.iter().flatten());
    pod.metadata.deletion_timestamp.is_none()
        && conditions.into_iter().any(|c| c.type_ == "Ready" && c.status == "True")
}

/// How many of the pods that shall be there are ready, and what is wrong with the first that is not.
pub fn part(pods: &[Arc<Pod>], names: &[String]) -> Part {
    let mut part = Part { wanted: names.len(), ..Part::default() };
    for name in names {
        match pods.iter().find(|p| p.name_any() == *name) {
            Some(pod) if ready(pod) => part.ready += 1,
            found => {
                let set = name.rsplit_once('-').map_or(name.as_str(), |(set, _)| set);
                let trouble = found.map_or_else(
                    || format!("pod {name} is not there; `kubectl describe statefulset {set}` says why"),
                    |pod| trouble(pod),
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
        let message = waiting.message.as_deref().unwrap_or_default();
        return Some(format!("{reason}: {message}").trim_end_matches(": ").to_owned());
    }
    let ended = state.terminated.as_ref().filter(|t| t.exit_code != 0)?;
    let reason = ended.reason.as_deref().unwrap_or("Error");
    Some(format!("container {} ended: {reason}, exit code {}", status.name, ended.exit_code))
}

/// The addresses of the masters' pods, `ip:port`.
pub fn endpoints(masters: &[Arc<Pod>], port: i32) -> Vec<String> {
    let there = masters.iter().filter(|p| p.metadata.deletion_timestamp.is_none());
    let addresses = there.filter_map(|p| p.status.as_ref()?.pod_ip.clone());
    addresses.filter(|a| !a.is_empty()).map(|a| format!("{a}:{port}")).collect()
}
