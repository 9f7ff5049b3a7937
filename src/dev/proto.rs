//! The protobuf bodies that kubectl sends for kinds of Kubernetes itself (`create configmap`, `create namespace`,
//! `auth whoami`, ...), turned into JSON. Only what those commands send is read; of other kinds the user is told to
//! write YAML. Field numbers: `generated.proto` of k8s.io/api 0.36. Answers are JSON, which kubectl accepts as well.

use k8s_openapi::ByteString;
use prost::Message;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Content type of such a body.
pub const CONTENT_TYPE: &str = "application/vnd.kubernetes.protobuf";
/// What each begins with.
const MAGIC: &[u8] = b"k8s\0";

/// runtime.Unknown.
#[derive(Clone, PartialEq, Message)]
struct Envelope {
    #[prost(message, optional, tag = "1")]
    type_meta: Option<TypeMeta>,
    #[prost(bytes = "vec", tag = "2")]
    raw: Vec<u8>,
}

#[derive(Clone, PartialEq, Message)]
struct TypeMeta {
    #[prost(string, tag = "1")]
    api_version: String,
    #[prost(string, tag = "2")]
    kind: String,
}

#[derive(Clone, PartialEq, Message)]
struct ObjectMeta {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    generate_name: String,
    #[prost(string, tag = "3")]
    namespace: String,
    #[prost(string, tag = "5")]
    uid: String,
    #[prost(string, tag = "6")]
    resource_version: String,
    #[prost(btree_map = "string, string", tag = "11")]
    labels: BTreeMap<String, String>,
    #[prost(btree_map = "string, string", tag = "12")]
    annotations: BTreeMap<String, String>,
    #[prost(string, repeated, tag = "14")]
    finalizers: Vec<String>,
}

/// ConfigMap.
#[derive(Clone, PartialEq, Message)]
struct ConfigMap {
    #[prost(message, optional, tag = "1")]
    metadata: Option<ObjectMeta>,
    #[prost(btree_map = "string, string", tag = "2")]
    data: BTreeMap<String, String>,
    #[prost(btree_map = "string, bytes", tag = "3")]
    binary_data: BTreeMap<String, Vec<u8>>,
    #[prost(bool, optional, tag = "4")]
    immutable: Option<bool>,
}

/// Secret.
#[derive(Clone, PartialEq, Message)]
struct Secret {
    #[prost(message, optional, tag = "1")]
    metadata: Option<ObjectMeta>,
    #[prost(btree_map = "string, bytes", tag = "2")]
    data: BTreeMap<String, Vec<u8>>,
    #[prost(string, tag = "3")]
    type_: String,
    #[prost(btree_map = "string, string", tag = "4")]
    string_data: BTreeMap<String, String>,
    #[prost(bool, optional, tag = "5")]
    immutable: Option<bool>,
}

/// Namespace, ServiceAccount, and whatever else is created by its name alone.
#[derive(Clone, PartialEq, Message)]
struct Named {
    #[prost(message, optional, tag = "1")]
    metadata: Option<ObjectMeta>,
}

#[derive(Clone, PartialEq, Message)]
struct DeleteOptions {
    #[prost(int64, optional, tag = "1")]
    grace_period_seconds: Option<i64>,
    #[prost(message, optional, tag = "2")]
    preconditions: Option<Preconditions>,
    #[prost(string, optional, tag = "4")]
    propagation_policy: Option<String>,
    #[prost(string, repeated, tag = "5")]
    dry_run: Vec<String>,
}

#[derive(Clone, PartialEq, Message)]
struct Preconditions {
    #[prost(string, optional, tag = "1")]
    uid: Option<String>,
    #[prost(string, optional, tag = "2")]
    resource_version: Option<String>,
}

/// The JSON of a body.
///
/// # Errors
/// A sentence for the user.
pub fn to_json(body: &[u8]) -> Result<Value, String> {
    let broken = |e: &dyn std::fmt::Display| format!("the protobuf body cannot be read: {e}");
    let envelope = body.strip_prefix(MAGIC).ok_or_else(|| broken(&"it does not begin with k8s"))?;
    let envelope = Envelope::decode(envelope).map_err(|e| broken(&e))?;
    let TypeMeta { api_version, kind } = envelope.type_meta.unwrap_or_default();
    let raw = envelope.raw.as_slice();
    let mut object = match kind.as_str() {
        "ConfigMap" => ConfigMap::decode(raw).map(|c| config_map(&c)),
        "Secret" => Secret::decode(raw).map(|s| secret(&s)),
        "Namespace" | "ServiceAccount" => Named::decode(raw).map(|n| json!({"metadata": meta(n.metadata.as_ref())})),
        "SelfSubjectReview" | "SelfSubjectAccessReview" => Ok(json!({"metadata": {}})),
        "DeleteOptions" => DeleteOptions::decode(raw).map(|o| delete_options(&o)),
        _ => {
            return Err(format!(
                "not in dev: a {kind} as protobuf; add --dry-run=client -o yaml to the command and give what it \
                 prints to kubectl apply -f -"
            ));
        }
    }
    .map_err(|e| broken(&e))?;
    object["apiVersion"] = json!(api_version);
    object["kind"] = json!(kind);
    tidy(&mut object);
    Ok(object)
}

fn meta(meta: Option<&ObjectMeta>) -> Value {
    let Some(m) = meta else { return json!({}) };
    json!({
        "name": m.name, "generateName": m.generate_name, "namespace": m.namespace, "uid": m.uid,
        "resourceVersion": m.resource_version, "labels": m.labels, "annotations": m.annotations,
        "finalizers": m.finalizers,
    })
}

fn bytes(data: &BTreeMap<String, Vec<u8>>) -> BTreeMap<&str, ByteString> {
    data.iter().map(|(key, value)| (key.as_str(), ByteString(value.clone()))).collect()
}

fn config_map(c: &ConfigMap) -> Value {
    json!({
        "metadata": meta(c.metadata.as_ref()), "data": c.data, "binaryData": bytes(&c.binary_data),
        "immutable": c.immutable,
    })
}

fn secret(s: &Secret) -> Value {
    let mut data = bytes(&s.data);
    data.extend(
        s.string_data.iter().map(|(key, text)| (key.as_str(), ByteString(text.clone().into_bytes()))),
    );
    let type_ = if s.type_.is_empty() { "Opaque" } else { &s.type_ };
    json!({"metadata": meta(s.metadata.as_ref()), "data": data, "type": type_, "immutable": s.immutable})
}

fn delete_options(o: &DeleteOptions) -> Value {
    let preconditions = o.preconditions.as_ref();
    json!({
        "gracePeriodSeconds": o.grace_period_seconds,
        "propagationPolicy": o.propagation_policy,
        "dryRun": o.dry_run,
        "preconditions": preconditions.map(|p| json!({"uid": p.uid, "resourceVersion": p.resource_version})),
    })
}

/// Removes what was not said: in protobuf, absent and empty are the same. Values of data may well be empty.
fn tidy(object: &mut Value) {
    let empty = |v: &Value| match v {
        Value::Null => true,
        Value::String(s) => s.is_empty(),
        Value::Array(a) => a.is_empty(),
        Value::Object(o) => o.is_empty(),
        Value::Bool(_) | Value::Number(_) => false,
    };
    for field in ["metadata", "preconditions"] {
        if let Some(fields) = object[field].as_object_mut() {
            fields.retain(|_, v| !empty(v));
        }
    }
    if let Some(fields) = object.as_object_mut() {
        fields.retain(|name, v| name == "metadata" || !empty(v));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body(kind: &str, raw: Vec<u8>) -> Vec<u8> {
        let type_meta = Some(TypeMeta { api_version: "v1".into(), kind: kind.into() });
        [MAGIC, &Envelope { type_meta, raw }.encode_to_vec()].concat()
    }

    #[test]
    fn what_kubectl_creates_is_read_and_nothing_is_added() {
        let metadata = Some(ObjectMeta { name: "c".into(), ..ObjectMeta::default() });
        let data = BTreeMap::from([("empty".to_owned(), String::new())]);
        let raw = ConfigMap { metadata, data, ..ConfigMap::default() }.encode_to_vec();
        let object = to_json(&body("ConfigMap", raw)).unwrap();
        assert_eq!(
            object,
            json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}, "data": {"empty": ""}})
        );
    }

    #[test]
    fn another_kind_is_told_what_to_do_instead() {
        let message = to_json(&body("Job", Vec::new())).unwrap_err();
        assert!(message.starts_with("not in dev: a Job as protobuf"), "{message}");
        assert!(to_json(b"nonsense").is_err());
    }
}
