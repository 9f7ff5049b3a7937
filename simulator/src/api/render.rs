//! From objects to the form that the caller's Accept header asks for.

use super::failure::{Answer, Failure};
use super::store::Entry;
use super::table::{self, Include};
use super::{Kind, builtin, meta};
use bytes::Bytes;
use chrono::{DateTime, Utc};
use serde_json::{Map, Value, json};
use std::sync::Arc;

/// A form.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    /// As it is.
    Json,
    /// Rows for `kubectl get`, and what is beside them.
    Table(Include),
    /// Only the metadata.
    Partial,
}

/// The first form of an Accept header that is served.
pub(crate) fn negotiate(accept: &str) -> Answer<Format> {
    if accept.trim().is_empty() {
        return Ok(Format::Json);
    }
    for clause in accept.split(',') {
        let mut parts = clause.split(';').map(str::trim);
        let media = parts.next().unwrap_or_default();
        if !matches!(media, "application/json" | "*/*" | "application/*") {
            continue;
        }
        let parameters: Vec<&str> = parts.collect();
        let as_ = parameters.iter().find_map(|p| p.strip_prefix("as="));
        let known = !parameters.contains(&"v=v1beta1");
        match as_ {
            None => return Ok(Format::Json),
            Some("Table") if known => return Ok(Format::Table(Include::Metadata)),
            Some("PartialObjectMetadata" | "PartialObjectMetadataList") if known => {
                return Ok(Format::Partial);
            }
            Some(_) => {}
        }
    }
    let accepted = "application/json, application/yaml, application/vnd.kubernetes.protobuf";
    let message = format!("only the following media types are accepted: {accepted}");
    Err(Failure::new(406, "NotAcceptable", message, None))
}

impl Format {
    /// With what `includeObject` asks for beside each row.
    pub(crate) fn including(self, objects: &str) -> Self {
        match (self, objects) {
            (Self::Table(_), "Object") => Self::Table(Include::Object),
            (Self::Table(_), "None") => Self::Table(Include::None),
            (other, _) => other,
        }
    }
}

/// The object in the version of `kind`.
pub(crate) fn converted(object: &Arc<Value>, kind: &Kind) -> Arc<Value> {
    let mut object = (**object).clone();
    builtin::convert(&mut object, kind);
    Arc::new(object)
}

/// A value as bytes: what `to_string` gives, without the way through a formatter.
pub(crate) fn bytes(value: &Value) -> Bytes {
    // Keys are strings: there is nothing that could fail.
    serde_json::to_vec(value).unwrap_or_default().into()
}

/// One object.
pub(crate) fn one(kind: &Kind, object: &Arc<Value>, format: Format, now: DateTime<Utc>) -> Bytes {
    match format {
        Format::Json => bytes(object),
        Format::Partial => partial(object).to_string().into(),
        Format::Table(include) => {
            let list = json!({"resourceVersion": meta::version(object)});
            table::of(kind, std::slice::from_ref(object), list, now, include).to_string().into()
        }
    }
}

fn partial(object: &Value) -> Value {
    json!({
        "kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1",
        "metadata": object.get("metadata").cloned().unwrap_or_default(),
    })
}

/// A stored object as the body of an answer.
pub(crate) fn stored(kind: &Kind, of: &Kind, entry: &Entry, format: Format, now: DateTime<Utc>) -> Bytes {
    if !same(kind, of) {
        return one(kind, &converted(&entry.value, kind), format, now);
    }
    match format {
        Format::Json => entry.bytes.clone(),
        Format::Table(_) | Format::Partial => one(kind, &entry.value, format, now),
    }
}

/// Whether two kinds are one version of one kind.
pub(crate) fn same(a: &Kind, b: &Kind) -> bool {
    a.version == b.version && a.group == b.group
}

/// A list of stored objects, in the order given.
pub(crate) fn list(
    kind: &Kind,
    of: &Kind,
    entries: &[&Arc<Entry>],
    list_meta: &Map<String, Value>,
    format: Format,
    now: DateTime<Utc>,
) -> Bytes {
    let converted: Option<Vec<Arc<Value>>> =
        (!same(kind, of) || matches!(format, Format::Table(_))).then(|| {
            let values = entries.iter().map(|e| &e.value);
            if same(kind, of) {
                values.cloned().collect()
            } else {
                values.map(|v| self::converted(v, kind)).collect()
            }
        });
    let mut list_meta = list_meta.clone();
    let custom = kind.schema.is_some() && format == Format::Json;
    if custom {
        list_meta.entry("continue").or_insert_with(|| "".into());
    }
    if let Format::Table(include) = format {
        let objects = converted.unwrap_or_default();
        return table::of(kind, &objects, list_meta.into(), now, include).to_string().into();
    }
    let (name, version) = match format {
        Format::Partial => ("PartialObjectMetadataList".to_owned(), "meta.k8s.io/v1".to_owned()),
        Format::Json | Format::Table(_) => (kind.list_kind.clone(), kind.api_version()),
    };
    let size: usize = entries.iter().map(|e| e.bytes.len() + 1).sum();
    let mut out = Vec::with_capacity(size + 200);
    let head = format!(
        "{{\"kind\":{},\"apiVersion\":{},\"metadata\":{},\"items\":[",
        Value::from(name),
        Value::from(version),
        Value::Object(list_meta)
    );
    out.extend_from_slice(head.as_bytes());
    for (i, entry) in entries.iter().enumerate() {
        if i > 0 {
            out.push(b',');
        }
        match (&converted, format) {
            (_, Format::Partial) => out.extend_from_slice(partial(&entry.value).to_string().as_bytes()),
            (Some(objects), _) => {
                if let Some(object) = objects.get(i) {
                    out.extend_from_slice(object.to_string().as_bytes());
                }
            }
            (None, _) if entry.head > 0 => {
                out.push(b'{');
                out.extend_from_slice(entry.bytes.get(entry.head..).unwrap_or_default());
            }
            (None, _) => out.extend_from_slice(&entry.bytes),
        }
    }
    out.extend_from_slice(b"]}\n");
    out.into()
}

/// A line of a watch.
pub(crate) fn event(type_: &str, object: &[u8]) -> Bytes {
    let mut out = Vec::with_capacity(object.len() + 40);
    out.extend_from_slice(b"{\"type\":\"");
    out.extend_from_slice(type_.as_bytes());
    out.extend_from_slice(b"\",\"object\":");
    out.extend_from_slice(object.strip_suffix(b"\n").unwrap_or(object));
    out.extend_from_slice(b"}\n");
    out.into()
}
