//! Jobs: so many pods at a time until enough of them have succeeded, or too many have failed.
//!
//! A job's status never takes back what it has counted, also when a finished pod is removed.

use super::act::{Act, Table};
use super::look::{self, World};
use serde_json::{Value, json};

/// One step of the controller.
pub(super) fn step(world: &World, backoff: i64, acts: &mut Vec<Act>, due: &mut i64) {
    for job in world.jobs.iter().filter(|j| !look::terminating(j)) {
        if over(job).is_none() {
            work(world, job, backoff, acts, due);
        } else {
            tidy(world, job, acts, due);
        }
    }
}

/// How a job has ended.
fn over(job: &Value) -> Option<&'static str> {
    ["Complete", "Failed"].into_iter().find(|kind| look::condition(job, kind))
}

fn delete(table: Table, object: &Value) -> Act {
    Act::Delete {
        table,
        namespace: look::namespace(object).into(),
        name: look::name(object).into(),
        uid: look::uid(object).into(),
        at_once: false,
    }
}

fn milliseconds(time: &Value) -> Option<i64> {
    let time = chrono::DateTime::parse_from_rfc3339(time.as_str()?).ok()?;
    Some(time.timestamp_millis())
}

/// What a finished job leaves: its time to live, where it has one.
fn tidy(world: &World, job: &Value, acts: &mut Vec<Act>, due: &mut i64) {
    let Some(seconds) = job["spec"]["ttlSecondsAfterFinished"].as_i64() else { return };
    let conditions = job["status"]["conditions"].as_array().into_iter().flatten();
    let ended = conditions.filter_map(|c| milliseconds(&c["lastTransitionTime"])).max().unwrap_or(world.now);
    let at = ended.saturating_add(seconds.saturating_mul(1_000));
    if at <= world.now {
        acts.push(delete(Table::Jobs, job));
    } else {
        *due = (*due).min(at);
    }
}

/// What is there of a job's pods.
struct Count<'a> {
    active: Vec<&'a Value>,
    succeeded: i64,
    failed: i64,
    /// When the last failure was seen.
    last_failure: Option<i64>,
}

fn count<'a>(world: &'a World, job: &Value) -> Count<'a> {
    let mut count = Count { active: Vec::new(), succeeded: 0, failed: 0, last_failure: None };
    for pod in world.pods_of(look::uid(job)) {
        match look::phase(pod) {
            "Succeeded" => count.succeeded += 1,
            "Failed" => {
                count.failed += 1;
                let ended = &pod["status"]["containerStatuses"][0]["state"]["terminated"]["finishedAt"];
                count.last_failure = count.last_failure.max(milliseconds(ended));
            }
            _ if look::terminating(pod) => {}
            _ => count.active.push(pod),
        }
    }
    let said = |field: &str| job["status"][field].as_i64().unwrap_or(0);
    count.succeeded = count.succeeded.max(said("succeeded"));
    count.failed = count.failed.max(said("failed"));
    count
}

fn work(world: &World, job: &Value, backoff: i64, acts: &mut Vec<Act>, due: &mut i64) {
    let spec = &job["spec"];
    let number = |field: &str, default: i64| spec[field].as_i64().unwrap_or(default);
    let seen = count(world, job);
    let mut active = i64::try_from(seen.active.len()).unwrap_or(i64::MAX);
    let parallelism = number("parallelism", 1);
    let enough = number("completions", 1);
    let started = milliseconds(&job["status"]["startTime"]);
    let deadline = spec["activeDeadlineSeconds"]
        .as_i64()
        .zip(started)
        .map(|(seconds, at)| at.saturating_add(seconds.saturating_mul(1_000)));
    let end = if seen.failed > number("backoffLimit", 6) {
        Some(("Failed", "BackoffLimitExceeded", "Job has reached the specified backoff limit"))
    } else if deadline.is_some_and(|at| at <= world.now) {
        Some(("Failed", "DeadlineExceeded", "Job was active longer than specified deadline"))
    } else if seen.succeeded >= enough {
        Some(("Complete", "CompletionsReached", "Reached expected number of succeeded pods"))
    } else {
        None
    };
    if let Some(at) = deadline.filter(|at| *at > world.now) {
        *due = (*due).min(at);
    }
    if end.is_some() || spec["suspend"] == true {
        acts.extend(seen.active.iter().map(|pod| delete(Table::Pods, pod)));
        active = 0;
    } else {
        let again = seen.last_failure.map_or(i64::MIN, |at| at.saturating_add(backoff));
        if again > world.now {
            *due = (*due).min(again);
        } else {
            let missing = parallelism.min(enough - seen.succeeded) - active;
            acts.extend((0..missing).map(|_| create(job)));
            active += missing.max(0);
        }
    }
    say(world, job, [active, seen.succeeded, seen.failed], end, acts);
}

fn say(
    world: &World,
    job: &Value,
    [active, succeeded, failed]: [i64; 3],
    end: Option<(&str, &str, &str)>,
    acts: &mut Vec<Act>,
) {
    let now = look::time(world.now);
    let mut status = json!({"active": active, "ready": 0, "terminating": 0});
    status["ready"] = world.pods_of(look::uid(job)).filter(|p| look::ready(p)).count().into();
    for (field, value) in [("succeeded", succeeded), ("failed", failed)] {
        if value > 0 {
            look::set(&mut status, &[field], value);
        }
    }
    if job["spec"]["suspend"] != true && job["status"]["startTime"].is_null() {
        look::set(&mut status, &["startTime"], now.clone());
    }
    if let Some((kind, reason, message)) = end {
        // Since 1.31 the verdict comes first, then the end; here both at once, because no pod lingers.
        let verdict = if kind == "Complete" { "SuccessCriteriaMet" } else { "FailureTarget" };
        let condition = |kind: &str| {
            json!({
                "type": kind, "status": "True", "reason": reason, "message": message,
                "lastProbeTime": now, "lastTransitionTime": now,
            })
        };
        look::set(&mut status, &["conditions"], vec![condition(verdict), condition(kind)]);
        if kind == "Complete" {
            look::set(&mut status, &["completionTime"], now.clone());
        }
    }
    if !look::holds(&job["status"], &status) {
        acts.push(Act::Status {
            table: Table::Jobs,
            namespace: look::namespace(job).into(),
            name: look::name(job).into(),
            uid: look::uid(job).into(),
            status,
        });
    }
}

fn create(job: &Value) -> Act {
    let (name, uid, namespace) = (look::name(job), look::uid(job), look::namespace(job));
    let mut pod = job["spec"]["template"].clone();
    look::set(&mut pod, &["apiVersion"], "v1");
    look::set(&mut pod, &["kind"], "Pod");
    look::set(&mut pod, &["metadata", "generateName"], format!("{name}-"));
    look::set(&mut pod, &["metadata", "namespace"], namespace);
    look::set(&mut pod, &["metadata", "ownerReferences"], look::reference(job, "batch/v1", "Job"));
    for (label, value) in [
        ("batch.kubernetes.io/job-name", name),
        ("job-name", name),
        ("batch.kubernetes.io/controller-uid", uid),
        ("controller-uid", uid),
    ] {
        look::set(&mut pod, &["metadata", "labels", label], value);
    }
    Act::Create { table: Table::Pods, namespace: namespace.into(), object: pod }
}
