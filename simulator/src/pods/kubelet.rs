//! Pods: they start, get ready, end, and go when their grace period is over. One node, which never fails by itself.

use super::Fate;
use super::act::{Act, Table};
use super::look::{self, World};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// Grace of a pod that says nothing, in seconds.
const GRACE_SECONDS: i64 = 30;

/// The node.
const NODE: &str = "node-0";

/// Since when something is so.
#[derive(Debug, Clone, Copy)]
pub(super) struct Since {
    runs: i64,
    deleted: Option<i64>,
}

/// One step of the kubelet.
pub(super) fn step(
    world: &World,
    fate: &Fate,
    unready: &BTreeSet<String>,
    pods: &mut BTreeMap<String, Since>,
    acts: &mut Vec<Act>,
    due: &mut i64,
) {
    for pod in &world.pods {
        let fresh = Since { runs: world.now, deleted: None };
        let since = pods.entry(look::uid(pod).to_owned()).or_insert(fresh);
        if look::terminating(pod) {
            let deleted = *since.deleted.get_or_insert(world.now);
            let at = deleted.saturating_add(grace(pod).saturating_mul(1_000));
            if at > world.now {
                *due = (*due).min(at);
            } else {
                acts.push(Act::Delete {
                    table: Table::Pods,
                    namespace: look::namespace(pod).into(),
                    name: look::name(pod).into(),
                    uid: look::uid(pod).into(),
                    at_once: true,
                });
                continue;
            }
        }
        if matches!(look::phase(pod), "Succeeded" | "Failed") {
            continue;
        }
        if pod["spec"]["nodeName"].as_str().is_none_or(str::is_empty) {
            acts.push(Act::Bind {
                namespace: look::namespace(pod).into(),
                name: look::name(pod).into(),
                uid: look::uid(pod).into(),
                node: NODE,
            });
        }
        let held = unready.contains(&format!("{}/{}", look::namespace(pod), look::name(pod)));
        let state = state(pod, fate, held, since.runs, world.now, due);
        let status = status(pod, state, since.runs, world.now);
        if !look::holds(&pod["status"], &status) {
            acts.push(Act::Status {
                table: Table::Pods,
                namespace: look::namespace(pod).into(),
                name: look::name(pod).into(),
                uid: look::uid(pod).into(),
                status,
            });
        }
    }
}

/// Seconds that a pod has to end.
fn grace(pod: &Value) -> i64 {
    let granted = pod["metadata"]["deletionGracePeriodSeconds"].as_i64();
    granted.or(pod["spec"]["terminationGracePeriodSeconds"].as_i64()).unwrap_or(GRACE_SECONDS)
}

/// What the containers of a pod do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Running { ready: bool },
    Ended { succeeds: bool },
}

fn state(pod: &Value, fate: &Fate, held: bool, since: i64, now: i64, due: &mut i64) -> State {
    let life = fate(pod);
    let mut reached = |after: i64| {
        let at = since.saturating_add(after);
        if at > now {
            *due = (*due).min(at);
        }
        at <= now
    };
    // One that is being deleted has no time left to end by itself.
    if let Some(end) = life.end.filter(|_| !look::terminating(pod))
        && reached(end.after_ms)
    {
        return State::Ended { succeeds: end.succeeds };
    }
    State::Running { ready: life.ready_after_ms.is_some_and(reached) && !held }
}

/// The status of a pod as it should read. Times that are there already stay as long as nothing else changes.
fn status(pod: &Value, state: State, since: i64, now: i64) -> Value {
    let (phase, ready) = match state {
        State::Running { ready } => ("Running", ready),
        State::Ended { succeeds: true } => ("Succeeded", false),
        State::Ended { succeeds: false } => ("Failed", false),
    };
    let started = look::time(since);
    let conditions: Vec<Value> = [
        ("PodReadyToStartContainers", true),
        ("Initialized", true),
        ("Ready", ready),
        ("ContainersReady", ready),
        ("PodScheduled", true),
    ]
    .into_iter()
    .map(|(kind, holds)| condition(pod, kind, holds, now))
    .collect();
    let containers = pod["spec"]["containers"].as_array().into_iter().flatten();
    let containers: Vec<Value> = containers
        .map(|c| {
            let state = match state {
                State::Running { .. } => json!({"running": {"startedAt": started}}),
                State::Ended { succeeds } => json!({"terminated": {
                    "exitCode": i32::from(!succeeds),
                    "reason": if succeeds { "Completed" } else { "Error" },
                    "startedAt": started, "finishedAt": look::time(now),
                }}),
            };
            let image = c["image"].as_str().unwrap_or_default();
            json!({
                "name": c["name"], "image": image, "imageID": image, "ready": ready,
                "started": phase == "Running", "restartCount": 0, "state": state, "lastState": {},
            })
        })
        .collect();
    json!({
        "phase": phase,
        "conditions": conditions,
        "containerStatuses": containers,
        "startTime": started,
        "podIP": address(look::uid(pod)),
        "podIPs": [{"ip": address(look::uid(pod))}],
        "hostIP": "10.0.0.1",
        "qosClass": "BestEffort",
    })
}

fn condition(pod: &Value, kind: &str, holds: bool, now: i64) -> Value {
    let status = if holds { "True" } else { "False" };
    let known = pod["status"]["conditions"].as_array().into_iter().flatten();
    let same = known.into_iter().find(|c| c["type"] == kind && c["status"] == status);
    let since = same.and_then(|c| c["lastTransitionTime"].as_str()).map(str::to_owned);
    json!({
        "type": kind, "status": status, "lastTransitionTime": since.unwrap_or_else(|| look::time(now)),
    })
}

/// An address that depends on the uid only: another pod of the same name has another one.
fn address(uid: &str) -> String {
    let hash = uid.bytes().fold(0_u32, |h, b| h.wrapping_mul(31).wrapping_add(u32::from(b)));
    let [_, a, b, c] = hash.to_be_bytes();
    format!("10.{}.{b}.{c}", a | 1)
}
