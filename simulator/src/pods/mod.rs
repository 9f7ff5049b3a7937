//! What becomes of StatefulSets, Jobs and pods when nobody runs containers.
//!
//! ```text
//!   server.objects --> statefulsets, jobs, kubelet, budgets (each: objects in, acts out) --> server.call
//! ```
//!
//! Everything is decided from the objects and the time that is given; what only this runtime knows (since when it has
//! seen an object) is small and may be lost. A tick takes one step of each controller: a caller that wants things to
//! settle ticks until nothing happens.

mod act;
mod budget;
mod claim;
mod job;
mod kubelet;
mod look;
mod revision;
mod stateful;
#[cfg(test)]
mod tests;

use crate::api::Server;
use act::Cluster;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// How a container that is told to end does it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct End {
    /// Time from the start of the pod.
    pub after_ms: i64,
    /// With exit code 0.
    pub succeeds: bool,
}

/// What becomes of a pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Life {
    /// Time from its start until it is ready; `None`: never.
    pub ready_after_ms: Option<i64>,
    /// When it ends by itself; `None`: not.
    pub end: Option<End>,
}

/// Tells what becomes of a pod, from the pod itself. Asked again at each look, so it must answer alike.
pub type Fate = Arc<dyn Fn(&Value) -> Life + Send + Sync>;

/// How the runtime behaves. Times in milliseconds.
#[derive(Clone)]
pub struct Options {
    /// From a change of a StatefulSet's spec until its controller has seen it.
    pub observe_lag_ms: i64,
    /// From a failure of a job's pod until the next one.
    pub backoff_ms: i64,
    /// What becomes of each pod.
    pub fate: Fate,
}

impl Default for Options {
    fn default() -> Self {
        Self { observe_lag_ms: 0, backoff_ms: 10_000, fate: Arc::new(|pod| Life::by_annotations(pod, 1_000)) }
    }
}

/// Annotation of a pod: milliseconds until it is ready, or `never`.
pub const READY_AFTER: &str = "simulator.ratchet.dev/ready-after-ms";
/// Annotation of a pod: milliseconds until it ends by itself.
pub const ENDS_AFTER: &str = "simulator.ratchet.dev/ends-after-ms";
/// Annotation of a pod that ends by itself: `fail` or `succeed`.
pub const OUTCOME: &str = "simulator.ratchet.dev/outcome";

impl Life {
    /// What the annotations of a pod say. A pod that is not restarted for ever (a Job's) ends after `default_ms` with
    /// success unless they say otherwise; any other is ready after `default_ms` and never ends.
    #[must_use]
    pub fn by_annotations(pod: &Value, default_ms: i64) -> Self {
        let told = |name: &str| pod["metadata"]["annotations"][name].as_str();
        let number = |name: &str| told(name).and_then(|text| text.parse().ok());
        let for_ever = matches!(pod["spec"]["restartPolicy"].as_str(), None | Some("Always"));
        let after_ms = number(ENDS_AFTER).or((!for_ever).then_some(default_ms));
        Self {
            ready_after_ms: match told(READY_AFTER) {
                Some("never") => None,
                Some(_) => number(READY_AFTER).or(Some(default_ms)),
                None => Some(if for_ever { default_ms } else { 0 }),
            },
            end: after_ms.map(|after_ms| End { after_ms, succeeds: told(OUTCOME) != Some("fail") }),
        }
    }
}

/// The runtime.
pub struct Runtime {
    options: Options,
    /// Since when a pod (by uid) runs, and since when it is being deleted.
    pods: BTreeMap<String, kubelet::Since>,
    /// What the controller of a StatefulSet (by uid) has seen of it.
    sets: BTreeMap<String, stateful::Seen>,
    /// Pods (`namespace/name`) that are not ready, whatever their fate.
    unready: BTreeSet<String>,
    /// Nothing can happen before this time unless somebody changes something.
    due: i64,
    revision: Option<u64>,
}

impl Runtime {
    /// A runtime that has seen nothing.
    #[must_use]
    pub fn new(options: Options) -> Self {
        Self {
            options,
            pods: BTreeMap::new(),
            sets: BTreeMap::new(),
            unready: BTreeSet::new(),
            due: i64::MIN,
            revision: None,
        }
    }

    /// Makes a pod (by `namespace/name`) unready, or lets it be what its fate says again: a neighbour that flaps.
    pub fn set_unready(&mut self, pod: &str, unready: bool) {
        if unready {
            self.unready.insert(pod.to_owned());
        } else {
            self.unready.remove(pod);
        }
        self.revision = None;
    }

    /// One step of each controller, at this time. Whether anything was changed.
    pub fn tick(&mut self, server: &Server, now_ms: i64) -> bool {
        if self.revision == Some(server.revision()) && now_ms < self.due {
            return false;
        }
        let changed = self.step(server, now_ms);
        self.revision = Some(server.revision());
        changed
    }

    fn step(&mut self, cluster: &dyn Cluster, now: i64) -> bool {
        let seen = look::World::see(cluster, now);
        self.forget(&seen);
        let mut due = i64::MAX;
        let mut acts = Vec::new();
        stateful::step(&seen, self.options.observe_lag_ms, &mut self.sets, &mut acts, &mut due);
        job::step(&seen, self.options.backoff_ms, &mut acts, &mut due);
        kubelet::step(&seen, &self.options.fate, &self.unready, &mut self.pods, &mut acts, &mut due);
        claim::step(&seen, &mut acts);
        budget::step(&seen, &mut acts);
        let mut changed = false;
        for act in &acts {
            changed |= cluster.act(act);
        }
        // An act may be refused; and one step leads to the next.
        self.due = if acts.is_empty() { due } else { now.saturating_add(1).min(due) };
        changed
    }

    fn forget(&mut self, seen: &look::World) {
        let uids = |objects: &[Arc<Value>]| -> BTreeSet<String> {
            objects.iter().map(|o| look::uid(o).to_owned()).collect()
        };
        let (pods, sets) = (uids(&seen.pods), uids(&seen.sets));
        self.pods.retain(|uid, _| pods.contains(uid));
        self.sets.retain(|uid, _| sets.contains(uid));
    }
}
