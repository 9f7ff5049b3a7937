//! Columns of the built-in kinds that people look at, as the printers of Kubernetes 1.36 have them; of every other
//! kind the name and the age.

use super::{age, definition, duration, name_definition, selector, since_created};
use crate::api::Kind;
use chrono::{DateTime, Utc};
use serde_json::{Value, json};
use std::sync::Arc;

/// A column after the name: heading, type, 1 when it is only for `-o wide`.
type Heading = (&'static str, &'static str, i64);
/// What makes the cells after the name.
type Cells = fn(&Value, DateTime<Utc>) -> Vec<Value>;

/// The columns and the cells of each object.
pub(super) fn table(
    kind: &Kind,
    objects: &[Arc<Value>],
    now: DateTime<Utc>,
) -> (Vec<Value>, Vec<Vec<Value>>) {
    let (headings, cells): (&[Heading], Cells) = match (kind.group.as_str(), kind.kind.as_str()) {
        ("" | "events.k8s.io", "Event") => (&EVENT, event),
        ("", "Pod") => (&POD, pod),
        ("", "Namespace") => (&[("Status", "string", 0), AGE], namespace),
        ("", "ConfigMap") => (&[("Data", "integer", 0), AGE], config_map),
        ("", "Secret") => (&[("Type", "string", 0), ("Data", "integer", 0), AGE], secret),
        ("", "Service") => (&SERVICE, service),
        ("coordination.k8s.io", "Lease") => (&[("Holder", "string", 0), AGE], lease),
        ("apps", "StatefulSet") => (&STATEFUL_SET, stateful_set),
        ("batch", "Job") => (&JOB, job),
        ("apiextensions.k8s.io", "CustomResourceDefinition") => (&[("Created At", "date", 0)], crd),
        _ => (&[AGE], only_age),
    };
    let own = headings.iter().map(|(name, type_, priority)| definition(name, type_, "", "", *priority));
    // An event begins with when it was last seen, and has its name at the end.
    let named = kind.kind != "Event";
    let definitions = named.then(name_definition).into_iter().chain(own).collect();
    let row = |o: &Arc<Value>| {
        named.then(|| o["metadata"]["name"].clone()).into_iter().chain(cells(o, now)).collect()
    };
    (definitions, objects.iter().map(row).collect())
}

const AGE: Heading = ("Age", "string", 0);

fn only_age(o: &Value, now: DateTime<Utc>) -> Vec<Value> {
    vec![since_created(o, now)]
}

fn namespace(o: &Value, now: DateTime<Utc>) -> Vec<Value> {
    vec![o["status"]["phase"].clone(), since_created(o, now)]
}

fn entries(value: &Value) -> usize {
    value.as_object().map_or(0, serde_json::Map::len)
}

fn config_map(o: &Value, now: DateTime<Utc>) -> Vec<Value> {
    vec![json!(entries(&o["data"]) + entries(&o["binaryData"])), since_created(o, now)]
}

fn secret(o: &Value, now: DateTime<Utc>) -> Vec<Value> {
    vec![o["type"].clone(), json!(entries(&o["data"])), since_created(o, now)]
}

fn lease(o: &Value, now: DateTime<Utc>) -> Vec<Value> {
    vec![json!(o["spec"]["holderIdentity"].as_str().unwrap_or_default()), since_created(o, now)]
}

fn crd(o: &Value, _now: DateTime<Utc>) -> Vec<Value> {
    vec![o["metadata"]["creationTimestamp"].clone()]
}

const SERVICE: [Heading; 6] = [
    ("Type", "string", 0),
    ("Cluster-IP", "string", 0),
    ("External-IP", "string", 0),
    ("Port(s)", "string", 0),
    AGE,
    ("Selector", "string", 1),
];

fn service(o: &Value, now: DateTime<Utc>) -> Vec<Value> {
    let port = |p: &Value| format!("{}/{}", p["port"], p["protocol"].as_str().unwrap_or("TCP"));
    let ports: Vec<String> = o["spec"]["ports"].as_array().into_iter().flatten().map(port).collect();
    vec![
        json!(o["spec"]["type"].as_str().unwrap_or("ClusterIP")),
        json!(o["spec"]["clusterIP"].as_str().unwrap_or("<none>")),
        json!("<none>"),
        json!(if ports.is_empty() { "<none>".into() } else { ports.join(",") }),
        since_created(o, now),
        json!(selector(o["spec"]["selector"].as_object())),
    ]
}

fn containers(template: &Value) -> [Value; 2] {
    ["name", "image"].map(|field| {
        let all = template["spec"]["containers"].as_array();
        let all: Vec<&str> = all.into_iter().flatten().filter_map(|c| c[field].as_str()).collect();
        json!(all.join(","))
    })
}

const STATEFUL_SET: [Heading; 4] =
    [("Ready", "string", 0), AGE, ("Containers", "string", 1), ("Images", "string", 1)];

fn stateful_set(o: &Value, now: DateTime<Utc>) -> Vec<Value> {
    let ready = o["status"]["readyReplicas"].as_i64().unwrap_or(0);
    let wanted = o["spec"]["replicas"].as_i64().unwrap_or(1);
    let [names, images] = containers(&o["spec"]["template"]);
    vec![json!(format!("{ready}/{wanted}")), since_created(o, now), names, images]
}

const JOB: [Heading; 7] = [
    ("Status", "string", 0),
    ("Completions", "string", 0),
    ("Duration", "string", 0),
    AGE,
    ("Containers", "string", 1),
    ("Images", "string", 1),
    ("Selector", "string", 1),
];

fn job(o: &Value, now: DateTime<Utc>) -> Vec<Value> {
    let (spec, status) = (&o["spec"], &o["status"]);
    let has = |type_: &str| {
        let conditions = status["conditions"].as_array();
        conditions.into_iter().flatten().any(|c| c["type"] == type_ && c["status"] == "True")
    };
    let word = [("Complete", "Complete"), ("Failed", "Failed"), ("Suspended", "Suspended")];
    let word = word.iter().find(|(type_, _)| has(type_)).map(|(_, word)| *word);
    let deleted = !o["metadata"]["deletionTimestamp"].is_null();
    let word = word.unwrap_or(if deleted { "Terminating" } else { "Running" });
    let succeeded = status["succeeded"].as_i64().unwrap_or(0);
    let completions = match (spec["completions"].as_i64(), spec["parallelism"].as_i64().unwrap_or(0)) {
        (Some(wanted), _) => format!("{succeeded}/{wanted}"),
        (None, parallel) if parallel > 1 => format!("{succeeded}/1 of {parallel}"),
        (None, _) => format!("{succeeded}/1"),
    };
    let time = |field: &str| DateTime::parse_from_rfc3339(status[field].as_str()?).ok();
    let took = time("startTime").map(|start| {
        let end = time("completionTime").map_or(now, |t| t.to_utc());
        duration((end - start.to_utc()).num_seconds())
    });
    let [names, images] = containers(&spec["template"]);
    let selected = selector(spec["selector"]["matchLabels"].as_object());
    vec![
        json!(word),
        json!(completions),
        json!(took.unwrap_or_default()),
        since_created(o, now),
        names,
        images,
        json!(selected),
    ]
}

const POD: [Heading; 8] = [
    ("Ready", "string", 0),
    ("Status", "string", 0),
    ("Restarts", "string", 0),
    AGE,
    ("IP", "string", 1),
    ("Node", "string", 1),
    ("Nominated Node", "string", 1),
    ("Readiness Gates", "string", 1),
];

fn pod(o: &Value, now: DateTime<Utc>) -> Vec<Value> {
    let status = &o["status"];
    let seen: Vec<&Value> = status["containerStatuses"].as_array().into_iter().flatten().collect();
    let ready = seen.iter().filter(|c| c["ready"] == true).count();
    let wanted = o["spec"]["containers"].as_array().map_or(0, Vec::len);
    let restarts: i64 = seen.iter().filter_map(|c| c["restartCount"].as_i64()).sum();
    let mut word = status["reason"].as_str().or(status["phase"].as_str()).unwrap_or_default();
    for container in seen.iter().rev() {
        let state = &container["state"];
        if let Some(reason) = ["waiting", "terminated"].iter().find_map(|s| state[s]["reason"].as_str()) {
            word = reason;
        }
    }
    if !o["metadata"]["deletionTimestamp"].is_null() {
        word = "Terminating";
    }
    let or_none = |value: &Value| json!(value.as_str().unwrap_or("<none>"));
    vec![
        json!(format!("{ready}/{wanted}")),
        json!(word),
        json!(restarts.to_string()),
        since_created(o, now),
        or_none(&status["podIP"]),
        or_none(&o["spec"]["nodeName"]),
        or_none(&status["nominatedNodeName"]),
        json!("<none>"),
    ]
}

const EVENT: [Heading; 10] = [
    ("Last Seen", "string", 0),
    ("Type", "string", 0),
    ("Reason", "string", 0),
    ("Object", "string", 0),
    ("Subobject", "string", 1),
    ("Source", "string", 1),
    ("Message", "string", 0),
    ("First Seen", "string", 1),
    ("Count", "integer", 1),
    ("Name", "string", 1),
];

fn event(o: &Value, now: DateTime<Utc>) -> Vec<Value> {
    // The two APIs of events name the same things differently.
    let either = |a: &str, b: &str| if o[a].is_null() { o[b].clone() } else { o[a].clone() };
    let about = either("involvedObject", "regarding");
    let when = |value: &Value| value.as_str().map(|text| age(text, now));
    let first = when(&either("firstTimestamp", "deprecatedFirstTimestamp")).or_else(|| when(&o["eventTime"]));
    let last = when(&o["series"]["lastObservedTime"])
        .or_else(|| when(&either("lastTimestamp", "deprecatedLastTimestamp")))
        .or_else(|| first.clone());
    let kind = about["kind"].as_str().unwrap_or_default().to_lowercase();
    let object = match about["name"].as_str() {
        Some(name) if !name.is_empty() => format!("{kind}/{name}"),
        _ => kind,
    };
    let count = o["series"]["count"].as_i64().or(o["count"].as_i64()).filter(|&n| n > 0).unwrap_or(1);
    let unknown = || "<unknown>".to_owned();
    vec![
        json!(last.unwrap_or_else(unknown)),
        o["type"].clone(),
        o["reason"].clone(),
        json!(object),
        json!(about["fieldPath"].as_str().unwrap_or_default()),
        source(o),
        json!(either("message", "note").as_str().unwrap_or_default().trim()),
        json!(first.unwrap_or_else(unknown)),
        json!(count),
        o["metadata"]["name"].clone(),
    ]
}

fn source(o: &Value) -> Value {
    let of = |component: &Value, instance: &Value| {
        let all: Vec<&str> = [component, instance].into_iter().filter_map(Value::as_str).collect();
        all.into_iter().filter(|s| !s.is_empty()).collect::<Vec<_>>().join(", ")
    };
    let old = of(&o["source"]["component"], &o["source"]["host"]);
    json!(if old.is_empty() { of(&o["reportingComponent"], &o["reportingInstance"]) } else { old })
}
