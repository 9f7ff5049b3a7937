//! StatefulSets: pods with ordinals and stable names, one at a time unless the policy is Parallel.
//!
//! The controller works on what it has *seen*, which may be an older spec than the stored one: so
//! `status.observedGeneration` says something. With `OnDelete` a new template reaches a pod only when somebody deletes
//! it; with `RollingUpdate` the controller deletes from the highest ordinal down, outside any budget.

use super::act::{Act, Table};
use super::look::{self, World};
use super::revision;
use serde_json::{Value, json};
use std::collections::{BTreeMap, VecDeque};

/// A spec, and the generation that it has.
#[derive(Debug, Clone)]
struct Version {
    generation: i64,
    spec: Value,
}

/// What the controller has seen of a set, and what it will have seen at which time.
#[derive(Debug, Default)]
pub(super) struct Seen {
    now: Option<Version>,
    coming: VecDeque<(i64, Version)>,
}

impl Seen {
    /// What is seen by now.
    fn look(&mut self, set: &Value, now: i64, lag: i64, due: &mut i64) -> Option<&Version> {
        let generation = set["metadata"]["generation"].as_i64().unwrap_or(0);
        let newest = self.coming.back().map(|(_, v)| v).or(self.now.as_ref());
        if newest.is_none_or(|v| v.generation != generation) {
            let version = Version { generation, spec: set["spec"].clone() };
            self.coming.push_back((now.saturating_add(lag), version));
        }
        while let Some((_, version)) = self.coming.pop_front_if(|(at, _)| *at <= now) {
            self.now = Some(version);
        }
        if let Some((at, _)) = self.coming.front() {
            *due = (*due).min(*at);
        }
        self.now.as_ref()
    }
}

/// One step of the controller.
pub(super) fn step(
    world: &World,
    lag: i64,
    sets: &mut BTreeMap<String, Seen>,
    acts: &mut Vec<Act>,
    due: &mut i64,
) {
    for set in world.sets.iter().filter(|s| !look::terminating(s)) {
        let seen = sets.entry(look::uid(set).to_owned()).or_default();
        if let Some(version) = seen.look(set, world.now, lag, due) {
            let set = Set::of(world, set, version);
            set.remember(acts);
            set.replicas(acts);
            set.status(acts);
        }
    }
}

/// A set with its pods, by ordinal.
struct Set<'a> {
    world: &'a World,
    object: &'a Value,
    version: &'a Version,
    pods: BTreeMap<i64, &'a Value>,
    /// The revision that the template of the spec is.
    update: String,
    /// The revision that the pods had when they were last all alike.
    current: String,
}

impl<'a> Set<'a> {
    fn of(world: &'a World, object: &'a Value, version: &'a Version) -> Self {
        let own = world.pods_of(look::uid(object));
        let pods = own.filter_map(|pod| Some((ordinal(look::name(object), look::name(pod))?, pod)));
        let update = revision::name(look::name(object), &version.spec["template"]);
        let known = object["status"]["currentRevision"].as_str().filter(|r| !r.is_empty());
        let current = known.map_or_else(|| update.clone(), str::to_owned);
        Self { world, object, version, pods: pods.collect(), update, current }
    }

    fn wanted(&self) -> i64 {
        self.version.spec["replicas"].as_i64().unwrap_or(1).max(0)
    }

    fn one_by_one(&self) -> bool {
        self.version.spec["podManagementPolicy"] != "Parallel"
    }

    fn rolling(&self) -> bool {
        self.version.spec["updateStrategy"]["type"] != "OnDelete"
    }

    /// Ordinals below it keep the revision that they have.
    fn partition(&self) -> i64 {
        self.version.spec["updateStrategy"]["rollingUpdate"]["partition"].as_i64().unwrap_or(0)
    }

    /// Writes the revision of the template down, once.
    fn remember(&self, acts: &mut Vec<Act>) {
        if revision::template(self.world, self.object, &self.update).is_none() {
            let template = &self.version.spec["template"];
            acts.push(revision::record(self.world, self.object, &self.update, template));
        }
    }

    /// Brings the pods nearer to what is wanted.
    fn replicas(&self, acts: &mut Vec<Act>) {
        let orderly = self.one_by_one();
        for ordinal in 0..self.wanted() {
            let Some(pod) = self.pods.get(&ordinal) else {
                self.create(ordinal, acts);
                if orderly {
                    return;
                }
                continue;
            };
            let ended = matches!(look::phase(pod), "Failed" | "Succeeded");
            if ended && !look::terminating(pod) {
                acts.push(delete(pod));
            }
            if orderly && (look::terminating(pod) || !look::ready(pod)) {
                return;
            }
        }
        for pod in self.pods.range(self.wanted()..).rev().map(|(_, pod)| pod) {
            if !look::terminating(pod) {
                acts.push(delete(pod));
            }
            if orderly {
                return;
            }
        }
        if self.rolling() {
            self.roll(acts);
        }
    }

    /// Deletes the highest pod that has not the new revision, once those above it are well.
    fn roll(&self, acts: &mut Vec<Act>) {
        for pod in self.pods.range(self.partition()..).rev().map(|(_, pod)| pod) {
            if look::terminating(pod) {
                return;
            }
            if revision_of(pod) != self.update {
                return acts.push(delete(pod));
            }
            if !look::ready(pod) {
                return;
            }
        }
    }

    /// Creates a pod, its claims first.
    fn create(&self, ordinal: i64, acts: &mut Vec<Act>) {
        let (set, namespace) = (look::name(self.object), look::namespace(self.object));
        let old = self.rolling() && ordinal < self.partition();
        let revision = if old { &self.current } else { &self.update };
        let (revision, template) = match revision::template(self.world, self.object, revision) {
            Some(template) => (revision, template),
            None => (&self.update, &self.version.spec["template"]),
        };
        let name = format!("{set}-{ordinal}");
        let mut pod = template.clone();
        look::set(&mut pod, &["apiVersion"], "v1");
        look::set(&mut pod, &["kind"], "Pod");
        look::set(&mut pod, &["metadata", "name"], name.clone());
        look::set(&mut pod, &["metadata", "namespace"], namespace);
        look::set(
            &mut pod,
            &["metadata", "ownerReferences"],
            look::reference(self.object, "apps/v1", "StatefulSet"),
        );
        for (label, value) in [
            ("statefulset.kubernetes.io/pod-name", name.as_str()),
            ("apps.kubernetes.io/pod-index", &ordinal.to_string()),
            ("controller-revision-hash", revision),
        ] {
            look::set(&mut pod, &["metadata", "labels", label], value);
        }
        look::set(&mut pod, &["spec", "hostname"], name.clone());
        if let Some(service) = self.version.spec["serviceName"].as_str() {
            look::set(&mut pod, &["spec", "subdomain"], service);
        }
        self.claims(&name, &mut pod, acts);
        acts.push(Act::Create { table: Table::Pods, namespace: namespace.into(), object: pod });
    }

    /// The claims of a pod: they are named by it, and they stay when it goes.
    fn claims(&self, pod_name: &str, pod: &mut Value, acts: &mut Vec<Act>) {
        let namespace = look::namespace(self.object);
        let templates = self.version.spec["volumeClaimTemplates"].as_array();
        let mut volumes = pod["spec"]["volumes"].as_array().cloned().unwrap_or_default();
        for template in templates.into_iter().flatten() {
            let volume = look::name(template);
            let claim = format!("{volume}-{pod_name}");
            volumes.retain(|v| v["name"] != volume);
            volumes.push(json!({"name": volume, "persistentVolumeClaim": {"claimName": claim}}));
            if World::find(&self.world.claims, namespace, &claim).is_some() {
                continue;
            }
            let mut object = template.clone();
            look::set(&mut object, &["apiVersion"], "v1");
            look::set(&mut object, &["kind"], "PersistentVolumeClaim");
            look::set(&mut object, &["metadata", "name"], claim);
            look::set(&mut object, &["metadata", "namespace"], namespace);
            let labels = self.version.spec["selector"]["matchLabels"].as_object();
            for (label, value) in labels.into_iter().flatten() {
                look::set(&mut object, &["metadata", "labels", label.as_str()], value.clone());
            }
            acts.push(Act::Create { table: Table::Claims, namespace: namespace.into(), object });
        }
        if !volumes.is_empty() {
            look::set(pod, &["spec", "volumes"], volumes);
        }
    }

    /// Says what was seen, where it differs from what was said.
    fn status(&self, acts: &mut Vec<Act>) {
        let count = |what: &dyn Fn(&Value) -> bool| {
            i64::try_from(self.pods.values().filter(|pod| what(pod)).count()).unwrap_or(i64::MAX)
        };
        let at = |revision: &str| count(&|pod| !look::terminating(pod) && revision_of(pod) == revision);
        let (ready, updated) = (count(&look::ready), at(&self.update));
        // With OnDelete the current revision stays what it was when the set was made: so the real controller does it.
        let complete = self.rolling() && updated == self.wanted() && ready == self.wanted();
        let current = if complete { &self.update } else { &self.current };
        let status = json!({
            "observedGeneration": self.version.generation,
            "replicas": count(&|_| true),
            "readyReplicas": ready,
            "availableReplicas": ready,
            "currentReplicas": at(current),
            "updatedReplicas": updated,
            "currentRevision": current,
            "updateRevision": self.update,
            "collisionCount": 0,
        });
        if !look::holds(&self.object["status"], &status) {
            acts.push(Act::Status {
                table: Table::Sets,
                namespace: look::namespace(self.object).into(),
                name: look::name(self.object).into(),
                uid: look::uid(self.object).into(),
                status,
            });
        }
    }
}

/// The ordinal in a pod's name.
fn ordinal(set: &str, pod: &str) -> Option<i64> {
    let text = pod.strip_prefix(set)?.strip_prefix('-')?;
    text.parse().ok().filter(|n: &i64| *n >= 0 && n.to_string() == text)
}

fn revision_of(pod: &Value) -> &str {
    pod["metadata"]["labels"]["controller-revision-hash"].as_str().unwrap_or_default()
}

fn delete(pod: &Value) -> Act {
    Act::Delete {
        table: Table::Pods,
        namespace: look::namespace(pod).into(),
        name: look::name(pod).into(),
        uid: look::uid(pod).into(),
        at_once: false,
    }
}
