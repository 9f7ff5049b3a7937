//! The kinds that sequences play with, and how they are called on a server.
//!
//! Two kinds of our own making hold every feature of schemas that the controller relies on; copies of Ratchet's own
//! CRDs under the test's group have the shipped rules without the shipped admission policies, so that one user can
//! write all of them; ConfigMaps and Leases stand for the built-in kinds. Each run has a group of its own.

use serde_json::{Value, json};

/// The resources, most interesting first.
pub const RESOURCES: [&str; 7] =
    ["widgets", "gadgets", "dataoperations", "targetlocks", "operationjournals", "configmaps", "leases"];

/// What sets a run, a worker or a case apart: everything that differs between two sides and is not a secret of theirs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Names {
    /// API group of the CRDs.
    pub group: String,
    /// Front of the names of cluster-wide objects; also their label `tag`.
    pub tag: String,
    /// The two namespaces.
    pub namespaces: [String; 2],
}

impl Names {
    /// The names under a group and a tag.
    pub fn new(group: &str, tag: &str) -> Self {
        Self {
            group: group.to_owned(),
            tag: tag.to_owned(),
            namespaces: [format!("{tag}-one"), format!("{tag}-two")],
        }
    }

    /// What all of a run have in common: the front of its group.
    pub fn run(&self) -> &str {
        self.group.split('.').next().unwrap_or_default()
    }

    /// The name of an object on the server.
    pub fn name(&self, resource: &str, name: &str) -> String {
        if is_namespaced(resource) { name.to_owned() } else { format!("{}-{name}", self.tag) }
    }

    /// The name without the tag.
    pub fn short(&self, name: &str) -> String {
        name.strip_prefix(&self.tag).and_then(|n| n.strip_prefix('-')).unwrap_or(name).to_owned()
    }

    /// The URL of a collection.
    pub fn collection(&self, resource: &str, ns: usize) -> String {
        let api = api_version(resource, self);
        let root = if api == "v1" { "/api/v1".to_owned() } else { format!("/apis/{api}") };
        if is_namespaced(resource) {
            format!("{root}/namespaces/{}/{resource}", self.namespaces[ns])
        } else {
            format!("{root}/{resource}")
        }
    }
}

/// Whether objects of a resource lie in namespaces.
pub fn is_namespaced(resource: &str) -> bool {
    !matches!(resource, "targetlocks" | "namespaces" | "customresourcedefinitions")
}

/// Whether a resource has a status subresource.
pub fn has_status(resource: &str) -> bool {
    matches!(resource, "widgets" | "dataoperations")
}

/// `group/version` of a resource.
pub fn api_version(resource: &str, names: &Names) -> String {
    match resource {
        "configmaps" | "namespaces" => "v1".into(),
        "leases" => "coordination.k8s.io/v1".into(),
        "customresourcedefinitions" => "apiextensions.k8s.io/v1".into(),
        "widgets" | "gadgets" => format!("{}/v1", names.group),
        _ => format!("{}/v1alpha1", names.group),
    }
}

/// Kind of a resource.
pub fn kind(resource: &str) -> &'static str {
    match resource {
        "widgets" => "Widget",
        "gadgets" => "Gadget",
        "dataoperations" => "DataOperation",
        "targetlocks" => "TargetLock",
        "operationjournals" => "OperationJournal",
        "configmaps" => "ConfigMap",
        "leases" => "Lease",
        "namespaces" => "Namespace",
        other => panic!("{other}: no such resource here"),
    }
}

/// An object that is accepted, with symbols for its name and version.
pub fn minimal(resource: &str) -> Value {
    let mut object = json!({"apiVersion": "$api", "kind": kind(resource), "metadata": {"name": "$me"}});
    if !is_namespaced(resource) {
        object["metadata"]["labels"] = json!({"tag": "$tag"});
    }
    let (field, content) = match resource {
        "configmaps" => ("data", json!({"k": "v"})),
        "leases" => ("spec", json!({"holderIdentity": "h", "leaseDurationSeconds": 15})),
        "dataoperations" => ("spec", json!({"target": "t", "operation": {"load": {"paths": ["/p"]}}})),
        "targetlocks" => {
            ("spec", json!({"identity": "i", "claim": {"name": "c", "namespace": "n", "uid": "u"}}))
        }
        "operationjournals" => (
            "spec",
            json!({"operation": "o", "uid": "u", "kind": "load", "target": "t", "firstSeq": 1, "lastSeq": 1,
                "digest": "d", "phase": "Queued", "entries": [{"seq": 1, "at": "t", "event": "Created", "body": "{}"}]}),
        ),
        "namespaces" => return object,
        _ => ("spec", json!({"size": 3})),
    };
    object[field] = content;
    object
}

/// The CRDs under a group: those of the folder `crds`, renamed, and two of the test's own.
pub fn definitions(group: &str) -> Vec<Value> {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let shipped = ["dataoperations", "targetlocks", "operationjournals"].map(|plural| {
        let text = std::fs::read_to_string(root.join(format!("crds/{plural}.yaml"))).expect("a CRD");
        let mut crd: Value = serde_yaml_ng::from_str(&text).expect("YAML");
        crd["metadata"]["name"] = json!(format!("{plural}.{group}"));
        crd["spec"]["group"] = json!(group);
        // The words by which people call the shipped kinds stay the shipped kinds' own.
        for word in ["shortNames", "categories"] {
            crd["spec"]["names"].as_object_mut().expect("names").remove(word);
        }
        crd["spec"]["names"]["singular"] = json!(format!("copied-{plural}"));
        crd
    });
    shipped.into_iter().chain([widget(group), gadget(group)]).collect()
}

fn definition(group: &str, kind: &str, version: Value) -> Value {
    let singular = kind.to_lowercase();
    json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": format!("{singular}s.{group}")},
        "spec": {"group": group, "scope": "Namespaced",
            "names": {"kind": kind, "listKind": format!("{kind}List"), "plural": format!("{singular}s"), "singular": singular},
            "versions": [version]}})
}

/// A status subresource, bounds, defaults, a union that keeps what it does not know, and rules of the kinds that the
/// shipped CRDs have.
fn widget(group: &str) -> Value {
    let spec = json!({"type": "object", "required": ["size"],
    "properties": {
        "size": {"type": "integer", "format": "int64", "minimum": 0, "maximum": 10,
            "x-kubernetes-validations": [{"rule": "self >= oldSelf", "message": "size only grows"}]},
        "color": {"type": "string", "enum": ["red", "green", "blue"], "default": "red"},
        "fixed": {"type": "string", "maxLength": 5, "x-kubernetes-validations": [
            {"rule": "self == oldSelf", "message": "fixed stays", "reason": "FieldValueForbidden"}]},
        "code": {"type": "string", "pattern": "^[a-z]+$", "minLength": 2, "maxLength": 6},
        "tags": {"type": "array", "maxItems": 3, "x-kubernetes-list-type": "set",
            "items": {"type": "string", "maxLength": 9}},
        "when": {"type": "string", "format": "date-time"},
        "ratio": {"type": "number", "exclusiveMinimum": true, "minimum": 0},
        "nested": {"type": "object", "required": ["x"], "default": {"x": 1}, "properties": {
            "x": {"type": "integer"}, "y": {"type": "integer", "default": 7}, "z": {"type": "string", "nullable": true}}},
        "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": true,
            "properties": {"known": {"type": "integer"}}},
        "words": {"type": "object", "maxProperties": 2, "additionalProperties": {"type": "string", "maxLength": 9}},
        "port": {"x-kubernetes-int-or-string": true},
        "items": {"type": "array", "maxItems": 4, "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"],
            "items": {"type": "object", "required": ["name"], "properties": {
                "name": {"type": "string", "maxLength": 9}, "v": {"type": "integer", "default": 1}}}},
    },
    "x-kubernetes-validations": [
        {"rule": "!has(oldSelf.fixed) || has(self.fixed)", "message": "fixed cannot be removed"},
        {"rule": "!has(self.code) || self.code != 'bad'", "messageExpression": "'code ' + self.code + ' is bad'", "fieldPath": ".code"},
    ]});
    let steps =
        "[oldSelf.step + '>' + self.step].all(e, e in ['one>two', 'two>three', 'two>one', 'three>three'])";
    let status = json!({"type": "object", "required": ["seq", "step"],
    "properties": {
        "seq": {"type": "integer", "format": "int64", "minimum": 1},
        "step": {"type": "string", "maxLength": 9},
        "note": {"type": "string", "maxLength": 9},
        "state": {"type": "object", "maxProperties": 1, "x-kubernetes-preserve-unknown-fields": true, "properties": {
            "one": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
            "two": {"type": "object", "x-kubernetes-preserve-unknown-fields": true, "properties": {"by": {"type": "string", "maxLength": 9}}}}},
        "tail": {"type": "array", "maxItems": 3, "items": {"type": "object", "required": ["seq"], "properties": {
            "seq": {"type": "integer", "format": "int64"}, "line": {"type": "string", "maxLength": 20}}}},
    },
    "x-kubernetes-validations": [
        {"rule": "self.seq == oldSelf.seq ? self.step == oldSelf.step : self.seq == oldSelf.seq + 1", "message": "seq: +1, or nothing changes"},
        {"rule": "oldSelf.hasValue() || self.seq == 1", "optionalOldSelf": true, "message": "the first seq is 1"},
        {"rule": format!("self.seq == oldSelf.seq || {steps}"), "message": "illegal step"},
        {"rule": "!has(oldSelf.tail) || self.seq == oldSelf.seq || (has(self.tail) && self.tail.size() > 0 && self.tail[self.tail.size() - 1].seq == self.seq)", "message": "the tail ends at seq"},
    ]});
    definition(
        group,
        "Widget",
        json!({"name": "v1", "served": true, "storage": true,
        "subresources": {"status": {}},
        "selectableFields": [{"jsonPath": ".spec.color"}, {"jsonPath": ".status.step"}],
        "additionalPrinterColumns": [{"name": "Size", "type": "integer", "jsonPath": ".spec.size"}],
        "schema": {"openAPIV3Schema": {"type": "object", "required": ["spec"],
            "properties": {"spec": spec, "status": status},
            "x-kubernetes-validations": [{"rule": "!has(oldSelf.status) || has(self.status)", "message": "status cannot be removed"},
                {"rule": "self.metadata.name != 'forbidden'", "message": "that name is forbidden"}]}}}),
    )
}

/// No status subresource: the status is a field like any other. Its rules have the traps of `optionalOldSelf` and of
/// date-times, and a `oneOf` beside fields that are kept.
fn gadget(group: &str) -> Value {
    let schema = json!({"type": "object", "properties": {
        "spec": {"type": "object", "properties": {
            "size": {"type": "integer", "format": "int32", "default": 5},
            "seen": {"type": "object", "properties": {
                "at": {"type": "string", "format": "date-time"}, "n": {"type": "integer"}},
                "x-kubernetes-validations": [{"rule": "!oldSelf.hasValue() || self == oldSelf.value()", "optionalOldSelf": true, "message": "seen stays"}]},
            "at": {"type": "string", "format": "date-time", "x-kubernetes-validations": [{"rule": "self == oldSelf", "message": "at stays"}]},
            "union": {"type": "object", "oneOf": [{"required": ["a"]}, {"required": ["b"]}], "properties": {
                "a": {"type": "object", "properties": {"x": {"type": "integer"}}}, "b": {"type": "object"}}},
            "gone": {"type": "string", "nullable": true, "default": "d"},
            "list": {"type": "array", "minItems": 1, "items": {"type": "string", "enum": ["p", "q"]}},
        }},
        "status": {"type": "object", "properties": {"seq": {"type": "integer"}}},
    }});
    definition(
        group,
        "Gadget",
        json!({"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": schema}}),
    )
}
