//! PATCH: three ways to say what is to change, one way from there on.

use super::call::{Call, Unknown};
use super::failure::{Answer, Failure};
use super::route::Target;
use super::store::State;
use super::write::{media_type, shape, syntax};
use super::{Kind, Response, check, meta, render};
use crate::schema::Cause;
use json_patch::PatchOperation;
use serde_json::{Map, Value};

/// The limit of a JSON patch.
const MAX_OPERATIONS: usize = 10_000;

const CUSTOM: &str =
    "application/json-patch+json, application/merge-patch+json, application/apply-patch+yaml";

#[derive(Clone, Copy)]
enum Form {
    Operations,
    Merge,
    Strategic,
}

/// PATCH of a collection, which nobody serves.
pub(crate) fn collection(call: &Call<'_>, kind: &Kind) -> Box<Failure> {
    if kind.schema.is_none() {
        return Failure::method(kind, "patch");
    }
    form(call, kind).err().unwrap_or_else(|| Failure::bad_request("name must be provided"))
}

impl State {
    /// PATCH.
    pub(crate) fn patch(&mut self, call: &mut Call<'_>, target: &Target, name: &str) -> Answer<Response> {
        let kind = &target.kind;
        let form = form(call, kind)?;
        call.write_options("PatchOptions")?;
        if call.query.has("force") {
            let message = "Forbidden: may not be specified for non-apply patch";
            return Err(Failure::options("PatchOptions", "FieldValueForbidden", "force", message));
        }
        let key = meta::key(&target.namespace, name);
        let old = self.get(&target.table, &key).cloned().ok_or_else(|| Failure::not_found(kind, name))?;
        let mut new = (*old.value).clone();
        if !render::same(kind, &self.storage(target)) {
            super::builtin::convert(&mut new, kind);
        }
        apply(form, &mut new, call)?;
        let refuse = |new: &str, why: &str| {
            let message = format!("Invalid value: {}: {why}", Value::from(new));
            let cause = Cause { reason: "FieldValueInvalid", message, field: "patch".into() };
            Failure::invalid_named("", "", "", &[cause])
        };
        if !new.is_object() {
            let found = check::json_type(&new);
            let why = format!(
                "couldn't get version/kind; json parse error: json: cannot unmarshal {found} into Go value of type \
                 struct {{ APIVersion string \"json:\\\"apiVersion,omitempty\\\"\"; Kind string \
                 \"json:\\\"kind,omitempty\\\"\" }}"
            );
            return Err(refuse(&new.to_string(), &why));
        }
        let text = |field: &str| new.get(field).and_then(Value::as_str).unwrap_or_default();
        if text("kind").is_empty() && kind.schema.is_some() {
            return Err(refuse(&new.to_string(), &format!("Object 'Kind' is missing in '{new}'")));
        }
        if text("apiVersion").is_empty() {
            return Err(Failure::internal(
                "Object 'apiVersion' is missing in 'object has no apiVersion field'",
            ));
        }
        super::builtin::identify(kind, &mut new).map_err(|why| refuse(&new.to_string(), &why))?;
        // A refusal shows the object as the patch left it, with the fields that are not known.
        let whole = (call.unknown == Unknown::Strict).then(|| new.to_string());
        let shaped = shape(kind, &mut new);
        let shown = |new: &Value| whole.unwrap_or_else(|| new.to_string());
        let refused = match shaped {
            Ok(unknown) => call.unknown_fields(unknown),
            Err(why) => Err(why),
        };
        refused.map_err(|why| refuse(&shown(&new), &why))?;
        named(target, name, &mut new)?;
        self.update(call, target, &old, new)
    }
}

/// Checks that the patch did not rename or move the object.
fn named(target: &Target, name: &str, new: &mut Value) -> Answer<()> {
    let own = meta::name(new);
    if own.is_empty() {
        let message =
            format!("the name of the object ({name} based on URL) was undeterminable: name must be provided");
        return Err(Failure::bad_request(message));
    }
    if own != name {
        let message = format!("the name of the object ({own}) does not match the name on the URL ({name})");
        return Err(Failure::bad_request(message));
    }
    place(target, new)
}

/// Puts an object into the namespace of the path; one without a namespace loses the one that it names.
pub(crate) fn place(target: &Target, object: &mut Value) -> Answer<()> {
    if target.namespace.is_empty() {
        meta::remove(object, "namespace");
        return Ok(());
    }
    let namespace = meta::namespace(object);
    if namespace.is_empty() {
        meta::set(object, "namespace", target.namespace.clone());
    } else if namespace != target.namespace {
        let message = "the namespace of the provided object does not match the namespace sent on the request";
        return Err(Failure::bad_request(message));
    }
    Ok(())
}

/// Which of the three it is, by the type of the body.
fn form(call: &Call<'_>, kind: &Kind) -> Answer<Form> {
    match media_type(&call.request.content_type) {
        "application/json-patch+json" => Ok(Form::Operations),
        "application/merge-patch+json" => Ok(Form::Merge),
        "application/strategic-merge-patch+json" if kind.schema.is_none() => Ok(Form::Strategic),
        "application/apply-patch+yaml" if !call.query.has("fieldManager") => {
            let message = "Required value: is required for apply patch";
            Err(Failure::options("PatchOptions", "FieldValueRequired", "fieldManager", message))
        }
        "application/apply-patch+yaml" => {
            let message = "not in dev: server-side apply; use client-side apply";
            Err(Failure::new(415, "UnsupportedMediaType", message, None))
        }
        _ if kind.schema.is_some() => Err(Failure::media_type(CUSTOM)),
        _ => {
            let details = Some(Map::new().into());
            Err(Failure::new(415, "UnsupportedMediaType", "415: Unsupported Media Type", details))
        }
    }
}

fn apply(form: Form, object: &mut Value, call: &Call<'_>) -> Answer<()> {
    let body = &call.request.body;
    if let Form::Operations = form {
        let operations = operations(body)?;
        return operations.iter().try_for_each(|op| operation(object, op).ok_or_else(Failure::unprocessable));
    }
    let decoding = |why: String| Failure::bad_request(format!("error decoding patch: {why}"));
    let mut patch: Value = serde_json::from_slice(body).map_err(|e| decoding(syntax(&e, body)))?;
    if let (true, Form::Merge) = (patch.is_null(), form) {
        return Err(Failure::bad_request("Invalid JSON Patch"));
    }
    // Where unknown fields are ignored, the patch is not decoded first, and a list takes the place of the object.
    let list = patch.is_array() && call.unknown == Unknown::Ignore && matches!(form, Form::Merge);
    if !patch.is_object() && !list {
        let found = check::json_type(&patch);
        let why = format!("json: cannot unmarshal {found} into Go value of type map[string]interface {{}}");
        return Err(decoding(why));
    }
    match form {
        Form::Strategic => strategic(object, patch),
        Form::Merge | Form::Operations => {
            prune_lists(&mut patch, false);
            json_patch::merge(object, &patch);
        }
    }
    Ok(())
}

fn operations(body: &[u8]) -> Answer<Vec<PatchOperation>> {
    let decoding = |why: String| Failure::bad_request(format!("error decoding patch: {why}"));
    let limited = |n: usize| {
        if n <= MAX_OPERATIONS {
            return Ok(());
        }
        let what = format!("The allowed maximum operations in a JSON patch is {MAX_OPERATIONS}, got {n}");
        Err(Failure::too_large(&what))
    };
    if let Ok(operations) = read_operations(body) {
        limited(operations.len())?;
        return Ok(operations);
    }
    let patch: Value = serde_json::from_slice(body).map_err(|e| decoding(syntax(&e, body)))?;
    match patch {
        // For Go, null is an empty list.
        Value::Null => Ok(Vec::new()),
        Value::Array(operations) => {
            limited(operations.len())?;
            if let Some(odd) = operations.iter().find(|o| !o.is_object()) {
                let found = check::json_type(odd);
                return Err(decoding(format!(
                    "json: cannot unmarshal {found} into Go value of type handlers.jsonPatchOp"
                )));
            }
            Err(Failure::unprocessable())
        }
        other @ (Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Object(_)) => {
            let found = check::json_type(&other);
            let why = format!("json: cannot unmarshal {found} into Go value of type []handlers.jsonPatchOp");
            Err(decoding(why))
        }
    }
}

/// Reads a list of operations. Of a path, the library of the real server drops what is in front of the first slash.
fn read_operations(body: &[u8]) -> serde_json::Result<Vec<PatchOperation>> {
    let mut all: Value = serde_json::from_slice(body)?;
    for operation in all.as_array_mut().into_iter().flatten() {
        if let Value::Object(operation) = operation {
            // Of an operation without a value, it is null.
            operation.entry("value").or_insert(Value::Null);
        }
        for field in ["path", "from"] {
            if let Some(Value::String(path)) = operation.get_mut(field)
                && let Some(slash) = path.find('/')
            {
                path.drain(..slash);
            }
        }
    }
    serde_json::from_value(all)
}

/// One operation, as the library of the real server does it: a `replace` of a missing key adds it, and a `test` for
/// null holds when nothing is there.
fn operation(object: &mut Value, operation: &PatchOperation) -> Option<()> {
    match operation {
        PatchOperation::Add(op) => put(object, op.path.as_str(), op.value.clone(), true),
        PatchOperation::Replace(op) => put(object, op.path.as_str(), op.value.clone(), false),
        PatchOperation::Remove(op) => take(object, op.path.as_str()).map(drop),
        PatchOperation::Move(op) => {
            let value = take(object, op.from.as_str())?;
            put(object, op.path.as_str(), value, true)
        }
        PatchOperation::Copy(op) => {
            let value = look(object, op.from.as_str())?.clone();
            put(object, op.path.as_str(), value, true)
        }
        PatchOperation::Test(op) => (*look(object, op.path.as_str())? == op.value).then_some(()),
    }
}

/// The path of the parent, and the last part.
fn split(path: &str) -> Option<(&str, String)> {
    let (parent, last) = path.rsplit_once('/')?;
    Some((parent, unescaped(last)))
}

fn unescaped(part: &str) -> String {
    part.replace("~1", "/").replace("~0", "~")
}

/// A place in a list of `length`; a negative one counts from its end.
fn index(part: &str, length: usize) -> Option<usize> {
    let at: i64 = part.parse().ok()?;
    let length = i64::try_from(length).ok()?;
    let at = if at < 0 { at + length } else { at };
    (0..length).contains(&at).then(|| usize::try_from(at).ok())?
}

/// What is there; null where an object has no such key.
fn look<'v>(object: &'v Value, path: &str) -> Option<&'v Value> {
    const NOTHING: &Value = &Value::Null;
    if path.is_empty() {
        return Some(object);
    }
    let (parent, last) = split(path)?;
    match walk(object, parent)? {
        Value::Object(map) => Some(map.get(&last).unwrap_or(NOTHING)),
        Value::Array(list) => list.get(index(&last, list.len())?),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => None,
    }
}

fn walk<'v>(object: &'v Value, path: &str) -> Option<&'v Value> {
    path.split('/').skip(1).try_fold(object, |here, part| match here {
        Value::Object(map) => map.get(&unescaped(part)),
        Value::Array(list) => list.get(index(part, list.len())?),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => None,
    })
}

fn walk_mut<'v>(object: &'v mut Value, path: &str) -> Option<&'v mut Value> {
    path.split('/').skip(1).try_fold(object, |here, part| match here {
        Value::Object(map) => map.get_mut(&unescaped(part)),
        Value::Array(list) => {
            let at = index(part, list.len())?;
            list.get_mut(at)
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => None,
    })
}

fn put(object: &mut Value, path: &str, value: Value, insert: bool) -> Option<()> {
    if path.is_empty() {
        *object = value;
        return Some(());
    }
    let (parent, last) = split(path)?;
    match walk_mut(object, parent)? {
        Value::Object(map) => {
            map.insert(last, value);
        }
        Value::Array(list) if insert && last == "-" => list.push(value),
        Value::Array(list) if insert => list.insert(index(&last, list.len() + 1)?, value),
        Value::Array(list) => {
            let at = index(&last, list.len())?;
            *list.get_mut(at)? = value;
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => return None,
    }
    Some(())
}

fn take(object: &mut Value, path: &str) -> Option<Value> {
    let (parent, last) = split(path)?;
    match walk_mut(object, parent)? {
        Value::Object(map) => map.remove(&last),
        Value::Array(list) => {
            let at = index(&last, list.len())?;
            Some(list.remove(at))
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => None,
    }
}

/// Of objects in the lists of a merge patch, fields that are null are left out; elsewhere a null removes.
fn prune_lists(patch: &mut Value, inside: bool) {
    match patch {
        Value::Array(items) => items.iter_mut().for_each(|item| prune_lists(item, true)),
        Value::Object(map) => {
            if inside {
                map.retain(|_, value| !value.is_null());
            }
            map.values_mut().for_each(|value| prune_lists(value, inside));
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// Lists that a strategic merge patch merges, and by which key. Those of plain values have none.
fn merge_key(list: &str) -> Option<&'static str> {
    Some(match list {
        "conditions" => "type",
        "ownerReferences" => "uid",
        "containers" | "initContainers" | "volumes" | "env" | "imagePullSecrets" => "name",
        "volumeMounts" => "mountPath",
        "finalizers" => "",
        _ => return None,
    })
}

/// A merge patch that knows some lists as sets. Directives about order are dropped.
fn strategic(object: &mut Value, patch: Value) {
    let Value::Object(patch) = patch else {
        *object = patch;
        return;
    };
    if !object.is_object() {
        *object = Map::new().into();
    }
    let Some(map) = object.as_object_mut() else { return };
    for (key, change) in patch {
        if let Some(list) = key.strip_prefix("$deleteFromPrimitiveList/") {
            let gone = change.as_array().cloned().unwrap_or_default();
            if let Some(items) = map.get_mut(list).and_then(Value::as_array_mut) {
                items.retain(|item| !gone.contains(item));
            }
        } else if key.starts_with('$') {
            // $setElementOrder, $retainKeys, $patch at the root
        } else if change.is_null() {
            map.remove(&key);
        } else {
            let place = map.entry(key.clone()).or_insert(Value::Null);
            match (merge_key(&key), change) {
                (Some(by), Value::Array(changes)) => merge_list(place, by, changes),
                (_, change) => strategic(place, change),
            }
        }
    }
}

fn merge_list(place: &mut Value, by: &str, changes: Vec<Value>) {
    if !place.is_array() {
        *place = Value::Array(Vec::new());
    }
    let Some(items) = place.as_array_mut() else { return };
    for mut change in changes {
        let same = |item: &Value| if by.is_empty() { *item == change } else { item[by] == change[by] };
        let at = items.iter().position(same);
        if change["$patch"] == "delete" {
            if let Some(at) = at {
                items.remove(at);
            }
            continue;
        }
        if let Some(map) = change.as_object_mut() {
            map.retain(|key, _| !key.starts_with('$'));
        }
        match at.and_then(|at| items.get_mut(at)) {
            Some(item) => strategic(item, change),
            None => items.push(change),
        }
    }
}
