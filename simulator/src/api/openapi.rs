//! OpenAPI v3, as far as kubectl reads it: a document for each group and version, with the schemas of the CRDs (for
//! `kubectl explain`) and the query parameters of PATCH (by which `kubectl apply` knows that the server validates).

use super::Kind;
use serde_json::{Map, Value, json};

/// The index of all documents.
pub(crate) fn index<'a>(versions: impl Iterator<Item = (&'a str, &'a str)>) -> Value {
    let mut paths = Map::new();
    for (group, version) in versions {
        let path =
            if group.is_empty() { format!("api/{version}") } else { format!("apis/{group}/{version}") };
        let url = format!("/openapi/v3/{path}");
        paths.insert(path, json!({"serverRelativeURL": url}));
    }
    json!({"paths": paths})
}

/// The document of one group and version.
pub(crate) fn document(kinds: &[&Kind]) -> Value {
    let (mut paths, mut schemas) = (Map::new(), Map::new());
    for kind in kinds {
        let name = schema_name(kind);
        let root = if kind.group.is_empty() { "/api/" } else { "/apis/" };
        let scope = if kind.namespaced { "/namespaces/{namespace}" } else { "" };
        let many = format!("{root}{}{scope}/{}", kind.api_version(), kind.plural);
        paths.insert(format!("{many}/{{name}}"), one(kind, &name));
        paths.insert(many, collection(kind, &name));
        schemas.insert(name, schema(kind));
    }
    schemas.insert(META.into(), json!({
        "type": "object",
        "description": "Standard object's metadata: name, namespace, labels, annotations and what the server adds.",
        "properties": {
            "name": {"type": "string", "description": "Name, unique within the namespace."},
            "namespace": {"type": "string", "description": "Namespace."},
            "labels": {"type": "object", "additionalProperties": {"type": "string"}, "description": "Labels."},
            "annotations": {"type": "object", "additionalProperties": {"type": "string"}, "description": "Annotations."},
        },
    }));
    json!({
        "openapi": "3.0.0",
        "info": {"title": "Ratchet dev", "version": "v1"},
        "paths": paths,
        "components": {"schemas": schemas},
    })
}

const META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta";

fn schema_name(kind: &Kind) -> String {
    let group = if kind.group.is_empty() { "core".to_owned() } else { kind.group.clone() };
    let mut parts: Vec<&str> = group.split('.').rev().collect();
    parts.extend([kind.version.as_str(), kind.kind.as_str()]);
    parts.join(".")
}

fn gvk(kind: &Kind) -> Value {
    json!({"group": kind.group, "version": kind.version, "kind": kind.kind})
}

fn query(names: &[&str]) -> Vec<Value> {
    let parameter = |name: &&str| json!({"name": name, "in": "query", "schema": {"type": "string"}});
    names.iter().map(parameter).collect()
}

fn operation(kind: &Kind, name: &str, action: &str, parameters: &[&str]) -> Value {
    let reference = json!({"schema": {"$ref": format!("#/components/schemas/{name}")}});
    json!({
        "operationId": format!("{action}{}{}", kind.version, kind.kind),
        "parameters": query(parameters),
        "responses": {"200": {"description": "OK", "content": {"application/json": reference}}},
        "x-kubernetes-action": action,
        "x-kubernetes-group-version-kind": gvk(kind),
    })
}

const WRITE: [&str; 3] = ["dryRun", "fieldManager", "fieldValidation"];

fn one(kind: &Kind, name: &str) -> Value {
    let mut patch = operation(kind, name, "patch", &WRITE);
    let any = json!({"schema": {"type": "object"}});
    patch["requestBody"] = json!({"content": {
        "application/json-patch+json": any, "application/merge-patch+json": any,
    }});
    json!({
        "get": operation(kind, name, "get", &[]),
        "put": operation(kind, name, "put", &WRITE),
        "patch": patch,
        "delete": operation(kind, name, "delete", &["dryRun"]),
    })
}

fn collection(kind: &Kind, name: &str) -> Value {
    json!({
        "get": operation(kind, name, "list", &["labelSelector", "fieldSelector", "limit", "continue", "watch"]),
        "post": operation(kind, name, "post", &WRITE),
    })
}

/// The schema of a kind: the CRD's own, with what every object has beside it.
fn schema(kind: &Kind) -> Value {
    let mut schema = kind.schema.as_ref().map_or_else(
        || json!({"type": "object", "description": "A kind of Kubernetes itself; dev keeps it as it is given.", "properties": {}}),
        |schema| schema.source().clone(),
    );
    let properties = json!({
        "apiVersion": {"type": "string", "description": "Group and version of the kind."},
        "kind": {"type": "string", "description": "The kind."},
        "metadata": {
            "description": "Standard object's metadata.",
            "allOf": [{"$ref": format!("#/components/schemas/{META}")}],
        },
    });
    if let (Some(own), Value::Object(common)) = (schema["properties"].as_object_mut(), properties) {
        own.extend(common);
    }
    schema["x-kubernetes-group-version-kind"] = json!([gvk(kind)]);
    schema
}
