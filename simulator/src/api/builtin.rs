//! The kinds that are there without a CustomResourceDefinition, and what is particular about each: which count
//! generations, which may be replaced without a resourceVersion, what a new one is given. They have no schema: what
//! is not said here is stored as it comes.

use super::Kind;
use super::meta;
use crate::schema::Cause;
use base64::Engine as _;
use serde_json::{Map, Value, json};
use std::sync::Arc;

/// group, version, kind, plural, short name, namespaced, status subresource.
type Row = (&'static str, &'static str, &'static str, &'static str, &'static str, bool, bool);

const CORE: &str = "";
const RBAC: &str = "rbac.authorization.k8s.io";
const ADMISSION: &str = "admissionregistration.k8s.io";

/// Group of CustomResourceDefinitions.
pub(crate) const EXTENSIONS: &str = "apiextensions.k8s.io";

const ROWS: &[Row] = &[
    (CORE, "v1", "Namespace", "namespaces", "ns", false, true),
    (CORE, "v1", "ConfigMap", "configmaps", "cm", true, false),
    (CORE, "v1", "Secret", "secrets", "", true, false),
    (CORE, "v1", "Event", "events", "ev", true, false),
    (CORE, "v1", "Pod", "pods", "po", true, true),
    (CORE, "v1", "Service", "services", "svc", true, true),
    (CORE, "v1", "ServiceAccount", "serviceaccounts", "sa", true, false),
    (CORE, "v1", "PersistentVolumeClaim", "persistentvolumeclaims", "pvc", true, true),
    (CORE, "v1", "PersistentVolume", "persistentvolumes", "pv", false, true),
    (CORE, "v1", "Node", "nodes", "no", false, true),
    ("apps", "v1", "StatefulSet", "statefulsets", "sts", true, true),
    ("apps", "v1", "ControllerRevision", "controllerrevisions", "", true, false),
    ("apps", "v1", "Deployment", "deployments", "deploy", true, true),
    ("batch", "v1", "Job", "jobs", "", true, true),
    ("coordination.k8s.io", "v1", "Lease", "leases", "", true, false),
    ("policy", "v1", "PodDisruptionBudget", "poddisruptionbudgets", "pdb", true, true),
    ("events.k8s.io", "v1", "Event", "events", "ev", true, false),
    (EXTENSIONS, "v1", "CustomResourceDefinition", "customresourcedefinitions", "crd", false, true),
    (ADMISSION, "v1", "ValidatingAdmissionPolicy", "validatingadmissionpolicies", "", false, true),
    (
        ADMISSION,
        "v1",
        "ValidatingAdmissionPolicyBinding",
        "validatingadmissionpolicybindings",
        "",
        false,
        false,
    ),
    (RBAC, "v1", "Role", "roles", "", true, false),
    (RBAC, "v1", "RoleBinding", "rolebindings", "", true, false),
    (RBAC, "v1", "ClusterRole", "clusterroles", "", false, false),
    (RBAC, "v1", "ClusterRoleBinding", "clusterrolebindings", "", false, false),
];

/// Every built-in kind.
pub(crate) fn kinds() -> Vec<Arc<Kind>> {
    ROWS.iter().map(|row| Arc::new(kind(row))).collect()
}

fn kind(&(group, version, kind, plural, short, namespaced, status): &Row) -> Kind {
    let all = ["pods", "services", "statefulsets", "deployments", "jobs"].contains(&plural);
    Kind {
        group: group.to_owned(),
        version: version.to_owned(),
        kind: kind.to_owned(),
        list_kind: format!("{kind}List"),
        plural: plural.to_owned(),
        singular: kind.to_ascii_lowercase(),
        short_names: if short.is_empty() { Vec::new() } else { vec![short.to_owned()] },
        categories: if all { vec!["all".to_owned()] } else { Vec::new() },
        namespaced,
        status,
        columns: Vec::new(),
        selectable: selectable(plural).iter().map(|p| format!(".{p}")).collect(),
        schema: None,
    }
}

fn selectable(plural: &str) -> &'static [&'static str] {
    match plural {
        "pods" => &[
            "spec.nodeName",
            "spec.restartPolicy",
            "spec.schedulerName",
            "spec.serviceAccountName",
            "status.phase",
            "status.podIP",
            "status.nominatedNodeName",
        ],
        "events" => &[
            "involvedObject.kind",
            "involvedObject.namespace",
            "involvedObject.name",
            "involvedObject.uid",
            "involvedObject.apiVersion",
            "involvedObject.resourceVersion",
            "involvedObject.fieldPath",
            "reason",
            "reportingComponent",
            "type",
        ],
        "secrets" => &["type"],
        "namespaces" => &["status.phase"],
        "nodes" => &["spec.unschedulable"],
        _ => &[],
    }
}

/// Whether `metadata.generation` counts the changes of a kind.
pub(crate) fn counts_generations(kind: &Kind) -> bool {
    kind.schema.is_some()
        || matches!(
            kind.plural.as_str(),
            "pods"
                | "statefulsets"
                | "deployments"
                | "jobs"
                | "poddisruptionbudgets"
                | "customresourcedefinitions"
                | "validatingadmissionpolicies"
                | "validatingadmissionpolicybindings"
        )
}

/// Whether a replacement without a resourceVersion is taken.
pub(crate) fn unconditional(kind: &Kind) -> bool {
    kind.schema.is_none()
        && kind.group != ADMISSION
        && !matches!(kind.plural.as_str(), "leases" | "poddisruptionbudgets" | "customresourcedefinitions")
}

/// Whether a replacement of what is not there creates it.
pub(crate) fn create_on_update(kind: &Kind) -> bool {
    kind.schema.is_none()
        && (kind.group == RBAC || matches!(kind.plural.as_str(), "leases" | "events" | "services"))
}

/// Whether the answer to a deletion is the object that went.
pub(crate) fn returns_deleted(kind: &Kind) -> bool {
    kind.group.is_empty()
        && matches!(kind.plural.as_str(), "pods" | "persistentvolumeclaims" | "serviceaccounts" | "services")
}

/// Whether objects of the kind wait for their grace period.
pub(crate) fn is_pod(kind: &Kind) -> bool {
    kind.group.is_empty() && kind.plural == "pods"
}

/// Whether it is the core kind Namespace.
pub(crate) fn is_namespace(kind: &Kind) -> bool {
    kind.group.is_empty() && kind.plural == "namespaces"
}

/// Whether it is CustomResourceDefinition.
pub(crate) fn is_crd(kind: &Kind) -> bool {
    kind.group == EXTENSIONS && kind.plural == "customresourcedefinitions"
}

/// What a new object of a built-in kind is given.
pub(crate) fn prepare(kind: &Kind, object: &mut Value) {
    let name = meta::name(object).to_owned();
    let Some(map) = object.as_object_mut() else { return };
    match (kind.group.as_str(), kind.plural.as_str()) {
        ("", "namespaces") => {
            if let Some(metadata) = map.get_mut("metadata").and_then(Value::as_object_mut) {
                let labels = metadata.entry("labels").or_insert_with(|| json!({}));
                labels["kubernetes.io/metadata.name"] = name.into();
            }
            map.insert("spec".into(), json!({"finalizers": ["kubernetes"]}));
            map.insert("status".into(), json!({"phase": "Active"}));
        }
        ("", "pods") => {
            map.insert("status".into(), json!({"phase": "Pending"}));
        }
        ("", "secrets") => secret(map),
        ("policy", "poddisruptionbudgets") => {
            let none =
                json!({"disruptionsAllowed": 0, "currentHealthy": 0, "desiredHealthy": 0, "expectedPods": 0});
            map.insert("status".into(), none);
        }
        (EXTENSIONS, _) => crd(map),
        _ => {}
    }
}

/// `stringData` becomes `data`.
pub(crate) fn secret(map: &mut Map<String, Value>) {
    map.entry("type").or_insert_with(|| "Opaque".into());
    let Some(Value::Object(plain)) = map.remove("stringData") else { return };
    let data = map.entry("data").or_insert_with(|| json!({}));
    for (key, value) in plain {
        let text = value.as_str().unwrap_or_default();
        data[key] = base64::engine::general_purpose::STANDARD.encode(text).into();
    }
}

fn crd(map: &mut Map<String, Value>) {
    let mut stored = Value::Array(Vec::new());
    if let Some(spec) = map.get_mut("spec").and_then(Value::as_object_mut) {
        spec.entry("conversion").or_insert_with(|| json!({"strategy": "None"}));
        if let Some(names) = spec.get_mut("names").and_then(Value::as_object_mut) {
            let kind = names.get("kind").and_then(Value::as_str).unwrap_or_default().to_owned();
            names.entry("listKind").or_insert_with(|| format!("{kind}List").into());
            names.entry("singular").or_insert_with(|| kind.to_ascii_lowercase().into());
        }
        let versions = spec.get("versions").and_then(Value::as_array).into_iter().flatten();
        stored = versions.filter(|v| v["storage"] == true).map(|v| v["name"].clone()).collect();
    }
    let names = json!({"plural": "", "kind": ""});
    map.insert(
        "status".into(),
        json!({"conditions": null, "acceptedNames": names, "storedVersions": stored}),
    );
}

/// The fields of a built-in kind beside its type and metadata, where they are few; `None` where anything is taken.
fn fields(kind: &Kind) -> Option<&'static [&'static str]> {
    Some(match kind.plural.as_str() {
        "configmaps" => &["data", "binaryData", "immutable"],
        "secrets" => &["data", "stringData", "type", "immutable"],
        "serviceaccounts" => &["secrets", "imagePullSecrets", "automountServiceAccountToken"],
        "controllerrevisions" => &["data", "revision"],
        "leases" | "validatingadmissionpolicybindings" => &["spec"],
        "roles" => &["rules"],
        "clusterroles" => &["rules", "aggregationRule"],
        "rolebindings" | "clusterrolebindings" => &["subjects", "roleRef"],
        "events" => return None,
        _ => &["spec", "status"],
    })
}

/// Checks the type of an object of a built-in kind, and names its kind where it does not.
///
/// # Errors
/// Another type, in the words of the real server's registry.
pub(crate) fn identify(kind: &Kind, object: &mut Value) -> Result<(), String> {
    if kind.schema.is_some() {
        return Ok(());
    }
    let text = |field: &str| object.get(field).and_then(Value::as_str).unwrap_or_default();
    let (version, name) = (text("apiVersion"), text("kind"));
    let name = if name.is_empty() { kind.kind.as_str() } else { name };
    if version != kind.api_version() || name != kind.kind {
        return Err(format!(
            "no kind \"{name}\" is registered for version \"{version}\" in scheme \"pkg/runtime/scheme.go:111\""
        ));
    }
    object["kind"] = kind.kind.clone().into();
    Ok(())
}

/// Removes what a built-in kind does not have; gives back what went.
pub(crate) fn prune(kind: &Kind, object: &mut Value) -> Vec<String> {
    let mut gone = Vec::new();
    if let (Some(known), Some(map)) = (fields(kind), object.as_object_mut()) {
        map.retain(|key, _| {
            let keep =
                matches!(key.as_str(), "apiVersion" | "kind" | "metadata") || known.contains(&key.as_str());
            if !keep {
                gone.push(key.clone());
            }
            keep
        });
    }
    drop_empty(kind, object);
    gone
}

/// Drops what the typed forms leave out because it is empty.
fn drop_empty(kind: &Kind, object: &mut Value) {
    let Some(map) = object.as_object_mut() else { return };
    map.retain(|_, value| !value.is_null());
    if kind.plural == "configmaps" {
        map.retain(|field, value| field == "metadata" || value.as_object().is_none_or(|m| !m.is_empty()));
        if let Some(Value::Object(data)) = map.get_mut("data") {
            data.values_mut().filter(|v| v.is_null()).for_each(|v| *v = "".into());
        }
    }
    if kind.plural == "leases"
        && let Some(Value::Object(spec)) = map.get_mut("spec")
    {
        spec.retain(|_, value| !value.is_null());
    }
}

/// What is wrong with an object of a built-in kind: only what Ratchet could get wrong.
pub(crate) fn check(kind: &Kind, object: &Value) -> Vec<Cause> {
    let seconds = &object["spec"]["leaseDurationSeconds"];
    match seconds.as_i64() {
        Some(wrong) if kind.schema.is_none() && kind.plural == "leases" && wrong <= 0 => vec![Cause {
            reason: "FieldValueInvalid",
            message: format!("Invalid value: {wrong}: must be greater than 0"),
            field: "spec.leaseDurationSeconds".into(),
        }],
        _ => Vec::new(),
    }
}

/// The core names of the fields of an Event, and those of events.k8s.io.
const EVENT_FIELDS: &[(&str, &str)] = &[
    ("involvedObject", "regarding"),
    ("message", "note"),
    ("source", "deprecatedSource"),
    ("firstTimestamp", "deprecatedFirstTimestamp"),
    ("lastTimestamp", "deprecatedLastTimestamp"),
    ("count", "deprecatedCount"),
    ("reportingComponent", "reportingController"),
];

/// Rewrites an object into the form that `to` has: the two groups of Events, or another version of a CRD's kind.
pub(crate) fn convert(object: &mut Value, to: &Kind) {
    let Some(map) = object.as_object_mut() else { return };
    if to.schema.is_none() && to.kind == "Event" {
        for &(core, new) in EVENT_FIELDS {
            let (from, into) = if to.group.is_empty() { (new, core) } else { (core, new) };
            if let Some(value) = map.remove(from) {
                map.insert(into.to_owned(), value);
            }
        }
    }
    map.insert("apiVersion".into(), to.api_version().into());
    map.insert("kind".into(), to.kind.clone().into());
}
