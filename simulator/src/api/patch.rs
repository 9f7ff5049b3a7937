//! PATCH: three ways to say what is to change, one way from there on.

use super::call::{Call, Unknown};
use super::failure::{Answer, Failure};
use super::operations::{carry_out, operations};
use super::route::Target;
use super::store::State;
use super::write::{media_type, shape, syntax};
use super::{Kind, Response, check, meta, render};
use crate::schema::Cause;
use serde_json::{Map, Value};
use std::sync::Arc;

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
        let other = !render::same(kind, &self.storage(target));
        let shown = if other { render::converted(&old.value, kind) } else { Arc::clone(&old.value) };
        let mut new = apply(form, &shown, call)?;
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
        let left = |new: &Value| whole.unwrap_or_else(|| new.to_string());
        let refused = match shaped {
            Ok(unknown) => call.unknown_fields(unknown),
            Err(why) => Err(why),
        };
        refused.map_err(|why| refuse(&left(&new), &why))?;
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

/// The object as the patch leaves it.
fn apply(form: Form, old: &Value, call: &Call<'_>) -> Answer<Value> {
    let body = &call.request.body;
    if let Form::Operations = form {
        return carry_out(operations(body)?, old).ok_or_else(Failure::unprocessable);
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
    let mut object = old.clone();
    match form {
        Form::Strategic => strategic(&mut object, patch),
        Form::Merge | Form::Operations => {
            prune_lists(&mut patch, false);
            json_patch::merge(&mut object, &patch);
        }
    }
    Ok(object)
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
