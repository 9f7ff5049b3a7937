//! What the API server checks of every object's metadata, whatever its kind. Decoding drops what the typed form does
//! not have and refuses what has the wrong type; validating looks at names, labels, finalizers and owners.

use super::{Kind, builtin, meta};
use crate::schema::Cause;
use chrono::DateTime;
use serde_json::{Map, Value};

const DNS_1123: &str = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', \
    and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is \
    '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";
const QUALIFIED: &str = "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end \
    with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is \
    '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')";
const LABEL: &str = "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', \
    and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used \
    for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')";

/// Bytes of all annotations together.
const MAX_ANNOTATIONS: usize = 262_144;

/// Brings `metadata` into its typed form; gives back the fields that nobody knows.
///
/// # Errors
/// As the decoder words them.
pub(crate) fn decode(object: &mut Value) -> Result<Vec<String>, String> {
    let Some(map) = object.as_object_mut() else { return Ok(Vec::new()) };
    if map.get("metadata").is_none_or(Value::is_null) {
        map.insert("metadata".into(), Map::new().into());
    }
    let Some(Value::Object(metadata)) = map.get_mut("metadata") else {
        let found = map.get("metadata").map_or("null", json_type);
        return Err(format!(
            "json: cannot unmarshal {found} into Go struct field .metadata of type v1.ObjectMeta"
        ));
    };
    metadata.retain(|_, value| !value.is_null() && *value != "");
    let mut unknown = Vec::new();
    let mut failed = None;
    metadata.retain(|field, value| match field_type(field) {
        Some(type_) => {
            if let (Type::TextMap, Value::Object(texts)) = (type_, &mut *value) {
                // For Go, null is an empty text.
                texts.values_mut().filter(|text| text.is_null()).for_each(|text| *text = "".into());
            }
            if let Err(why) = type_.check(field, value) {
                failed.get_or_insert(why);
            }
            // What the typed form leaves out when it is empty.
            field != "managedFields" && !is_empty(value)
        }
        None => {
            if !is_empty(value) {
                unknown.push(format!("metadata.{field}"));
            }
            false
        }
    });
    failed.map_or(Ok(unknown), Err)
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(s) => s.is_empty(),
        Value::Array(a) => a.is_empty(),
        Value::Object(o) => o.is_empty(),
        Value::Bool(_) | Value::Number(_) => false,
    }
}

#[derive(Clone, Copy)]
enum Type {
    Text,
    Time,
    Integer,
    Texts,
    TextMap,
    Anything,
}

fn field_type(field: &str) -> Option<Type> {
    Some(match field {
        "name" | "generateName" | "namespace" | "selfLink" | "uid" | "resourceVersion" => Type::Text,
        "creationTimestamp" | "deletionTimestamp" => Type::Time,
        "generation" | "deletionGracePeriodSeconds" => Type::Integer,
        "finalizers" => Type::Texts,
        "labels" | "annotations" => Type::TextMap,
        "ownerReferences" | "managedFields" => Type::Anything,
        _ => return None,
    })
}

impl Type {
    fn check(self, field: &str, value: &Value) -> Result<(), String> {
        let wrong = |found: &Value, wanted: &str| {
            let found = json_type(found);
            Err(format!(
                "json: cannot unmarshal {found} into Go struct field ObjectMeta.{field} of type {wanted}"
            ))
        };
        match (self, value) {
            (Self::Text, Value::String(_)) | (Self::Anything, Value::Array(_)) => Ok(()),
            (Self::Text, other) => wrong(other, if field == "uid" { "types.UID" } else { "string" }),
            (Self::Time, Value::String(at)) => {
                if DateTime::parse_from_rfc3339(at).is_ok() {
                    return Ok(());
                }
                Err(format!(
                    "parsing time \"{at}\" as \"2006-01-02T15:04:05Z07:00\": cannot parse \"{at}\" as \"2006\""
                ))
            }
            (Self::Time, other) => wrong(other, "string"),
            (Self::Integer, Value::Number(n)) if n.is_i64() => Ok(()),
            (Self::Integer, other) => wrong(other, "int64"),
            (Self::Texts, Value::Array(items)) => match items.iter().find(|i| !i.is_string()) {
                Some(item) => wrong(item, "string"),
                None => Ok(()),
            },
            (Self::Texts, other) => wrong(other, "[]string"),
            (Self::TextMap, Value::Object(map)) => match map.values().find(|v| !v.is_string()) {
                Some(item) => wrong(item, "string"),
                None => Ok(()),
            },
            (Self::TextMap, other) => wrong(other, "map[string]string"),
            (Self::Anything, other) => wrong(other, "[]v1.OwnerReference"),
        }
    }
}

/// What Go's decoder calls a JSON value.
pub(crate) const fn json_type(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

fn invalid(field: &str, value: &str, why: &str) -> Cause {
    let message = format!("Invalid value: {}: {why}", Value::from(value));
    Cause { reason: "FieldValueInvalid", message, field: field.to_owned() }
}

/// What is wrong with the metadata of a new object.
pub(crate) fn created(kind: &Kind, object: &Value) -> Vec<Cause> {
    let mut causes = Vec::new();
    let name = meta::name(object);
    if name.is_empty() {
        let message = "Required value: name or generateName is required".into();
        causes.push(Cause { reason: "FieldValueRequired", message, field: "metadata.name".into() });
    } else if kind.group == "rbac.authorization.k8s.io" {
        // Names of roles are path segments only.
        if name.contains(['/', '%']) || name == "." || name == ".." {
            causes.push(invalid("metadata.name", name, "may not contain '/'"));
        }
    } else if builtin::is_namespace(kind) && name.contains('.') {
        causes.push(invalid("metadata.name", name, "must not contain dots"));
    } else if name.len() > 253 {
        causes.push(invalid("metadata.name", name, "must be no more than 253 characters"));
    } else if !subdomain(name) {
        causes.push(invalid("metadata.name", name, DNS_1123));
    }
    common(object, &mut causes);
    finalizers(object, &mut causes);
    if is_core(kind) {
        standard(object, &mut causes);
    }
    causes
}

/// What is wrong with the metadata of a changed object. The real server looks at some of it more than once, and says
/// so more than once.
pub(crate) fn updated(kind: &Kind, new: &Value, old: &Value) -> Vec<Cause> {
    let mut causes = Vec::new();
    for _ in 0..2 {
        immutable(new, old, &mut causes);
        common(new, &mut causes);
    }
    common(new, &mut causes);
    finalizers(new, &mut causes);
    if is_core(kind) {
        common(new, &mut causes);
        finalizers(new, &mut causes);
        standard(new, &mut causes);
        standard(new, &mut causes);
    }
    causes
}

/// Whether it is one of the kinds whose metadata is held to more.
fn is_core(kind: &Kind) -> bool {
    kind.schema.is_none() && kind.group.is_empty()
}

fn immutable(new: &Value, old: &Value, causes: &mut Vec<Cause>) {
    for field in ["deletionTimestamp", "uid"] {
        let (was, is) = (meta::text(old, field), meta::text(new, field));
        if was != is {
            causes.push(invalid(&format!("metadata.{field}"), is, "field is immutable"));
        }
    }
    let grace = |object: &Value| object["metadata"]["deletionGracePeriodSeconds"].as_i64();
    if let (was, Some(is)) = (grace(old), grace(new))
        && was != Some(is)
    {
        let message = format!("Invalid value: {is}: field is immutable");
        let field = "metadata.deletionGracePeriodSeconds".into();
        causes.push(Cause { reason: "FieldValueInvalid", message, field });
    }
    if meta::deleting(old) {
        let added: Vec<String> = meta::finalizers(new)
            .filter(|f| !meta::finalizers(old).any(|o| o == *f))
            .map(|f| Value::from(f).to_string())
            .collect();
        if !added.is_empty() {
            let message = format!(
                "Forbidden: no new finalizers can be added if the object is being deleted, found new finalizers \
                 []string{{{}}}",
                added.join(", ")
            );
            causes.push(Cause {
                reason: "FieldValueForbidden",
                message,
                field: "metadata.finalizers".into(),
            });
        }
    }
}

fn common(object: &Value, causes: &mut Vec<Cause>) {
    for field in ["labels", "annotations"] {
        let map = object.get("metadata").and_then(|m| m.get(field)).and_then(Value::as_object);
        let mut size = 0;
        for (key, value) in map.into_iter().flatten() {
            let value = value.as_str().unwrap_or_default();
            size += key.len() + value.len();
            let path = format!("metadata.{field}");
            let checked = if field == "labels" { key.clone() } else { key.to_ascii_lowercase() };
            if let Some(mut why) = qualified(&checked) {
                if field == "labels" {
                    why = why.replace("a qualified name must", "a valid label key must");
                }
                causes.push(invalid(&path, key, &why));
            }
            if field == "labels" && value.len() > 63 {
                causes.push(invalid(&path, value, "must be no more than 63 bytes"));
            } else if field == "labels" && !value.is_empty() && !word(value) {
                causes.push(invalid(&path, value, LABEL));
            }
        }
        if field == "annotations" && size > MAX_ANNOTATIONS {
            let message = format!("Too long: may not be more than {MAX_ANNOTATIONS} bytes");
            causes.push(Cause { reason: "FieldValueTooLong", message, field: "metadata.annotations".into() });
        }
    }
    owners(object, causes);
}

fn owners(object: &Value, causes: &mut Vec<Cause>) {
    let owners = meta::list(object, "ownerReferences");
    for owner in owners {
        for field in ["apiVersion", "kind", "name", "uid"] {
            if owner.get(field).and_then(Value::as_str).unwrap_or_default().is_empty() {
                let why =
                    if field == "apiVersion" { "version must not be empty" } else { "must not be empty" };
                causes.push(invalid(&format!("metadata.ownerReferences.{field}"), "", why));
            }
        }
    }
    let controllers: Vec<&Value> = owners.iter().filter(|o| o["controller"] == true).collect();
    if let [first, second, ..] = controllers.as_slice() {
        let message = format!(
            "Invalid value: {}: Only one reference can have Controller set to true. Found \"true\" in references for \
             {}/{} and {}/{}",
            typed(owners),
            first["kind"].as_str().unwrap_or_default(),
            first["name"].as_str().unwrap_or_default(),
            second["kind"].as_str().unwrap_or_default(),
            second["name"].as_str().unwrap_or_default(),
        );
        causes.push(Cause { reason: "FieldValueInvalid", message, field: "metadata.ownerReferences".into() });
    }
}

/// Owner references in the order of their typed form.
fn typed(owners: &[Value]) -> String {
    let one = |owner: &Value| {
        let fields = ["apiVersion", "kind", "name", "uid", "controller", "blockOwnerDeletion"];
        let parts: Vec<String> = fields
            .iter()
            .filter_map(|field| owner.get(field).map(|value| format!("\"{field}\":{value}")))
            .collect();
        format!("{{{}}}", parts.join(","))
    };
    format!("[{}]", owners.iter().map(one).collect::<Vec<_>>().join(","))
}

fn finalizers(object: &Value, causes: &mut Vec<Cause>) {
    for name in meta::finalizers(object) {
        if let Some(why) = qualified(name) {
            causes.push(invalid("metadata.finalizers", name, &why));
        }
    }
}

/// Finalizers that need no domain.
const STANDARD: [&str; 3] = ["orphan", "foregroundDeletion", "kubernetes"];

/// Finalizers of the core kinds are in a domain, or standard.
fn standard(object: &Value, causes: &mut Vec<Cause>) {
    for (i, name) in meta::finalizers(object).enumerate() {
        if !name.contains('/') && !STANDARD.contains(&name) {
            let why = "name is neither a standard finalizer name nor is it fully qualified";
            causes.push(invalid(&format!("metadata.finalizers[{i}]"), name, why));
        }
    }
}

/// Finalizers that are not in a domain of their own are warned of.
pub(crate) fn finalizer_warnings(object: &Value, old: Option<&Value>) -> Vec<String> {
    meta::finalizers(object)
        .filter(|f| !f.contains('/') && !STANDARD.contains(f))
        .filter(|f| old.is_none_or(|o| !meta::finalizers(o).any(|x| x == *f)))
        .map(|f| {
            format!(
                "metadata.finalizers: {}: prefer a domain-qualified finalizer name to avoid accidental conflicts with \
                 other finalizer writers",
                Value::from(f)
            )
        })
        .collect()
}

/// Why a text is no qualified name (`prefix/name`).
fn qualified(text: &str) -> Option<String> {
    let mut parts = text.split('/');
    let (first, second, more) = (parts.next().unwrap_or_default(), parts.next(), parts.next());
    let name = match second {
        _ if more.is_some() => {
            return Some(
                "a qualified name must consist of alphanumeric characters, '-', '_' or '.', and must start and end with \
                 an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is \
                 '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]') with an optional DNS subdomain prefix and '/' (e.g. \
                 'example.com/MyName')"
                    .into(),
            );
        }
        Some(_) if first.is_empty() => return Some("prefix part must be non-empty".into()),
        Some(_) if !subdomain(first) => return Some(format!("prefix part {DNS_1123}")),
        Some(name) => name,
        None => first,
    };
    if name.is_empty() {
        Some("name part must be non-empty".into())
    } else if name.len() > 63 {
        Some("name part must be no more than 63 bytes".into())
    } else if word(name) {
        None
    } else {
        Some(QUALIFIED.into())
    }
}

fn word(text: &str) -> bool {
    let ends = |b: Option<&u8>| b.is_some_and(u8::is_ascii_alphanumeric);
    let bytes = text.as_bytes();
    ends(bytes.first())
        && ends(bytes.last())
        && bytes.iter().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
}

fn subdomain(text: &str) -> bool {
    text.len() <= 253
        && text.split('.').all(|part| {
            let bytes = part.as_bytes();
            let ends = |b: Option<&u8>| b.is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
            ends(bytes.first())
                && ends(bytes.last())
                && bytes.iter().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || *b == b'-')
        })
}
