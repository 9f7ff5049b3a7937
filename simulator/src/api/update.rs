//! What a replacement and a patch have in common: which parts of the new object count, what is checked of it, and
//! what becomes of it in the store.

use super::call::Call;
use super::failure::{Answer, Failure};
use super::route::Target;
use super::store::{Entry, State};
use super::write::{kind_cause, named_invalid, unchanged};
use super::{Kind, Response, builtin, check, meta, render};
use crate::schema::Cause;
use serde_json::Value;
use std::sync::Arc;

impl State {
    /// Puts a decoded object in the place of `old`.
    pub(crate) fn update(
        &mut self,
        call: &mut Call<'_>,
        target: &Target,
        old: &Arc<Entry>,
        mut new: Value,
    ) -> Answer<Response> {
        let of = self.storage(target);
        let kind = &of;
        let name = meta::name(&old.value).to_owned();
        if !render::same(&target.kind, kind) {
            builtin::convert(&mut new, kind);
        }
        fresh(kind, &name, old, &mut new)?;
        prepare(kind, &target.sub, &old.value, &mut new);
        let mut causes = type_causes(kind, &new);
        if causes.is_empty() {
            causes = check::updated(kind, &new, &old.value);
            let mut rules = self.rules(kind, &new, Some(&old.value), &causes);
            if target.sub == "status" {
                rules.iter_mut().for_each(relative);
            }
            causes.extend(rules);
            causes.extend(super::crd::check(kind, &new));
            causes.extend(builtin::check(kind, &new));
        } else if let Some(schema) = &kind.schema {
            causes.extend(schema.law(&new, Some(&old.value), self.options.rules));
        }
        if !causes.is_empty() {
            return Err(named_invalid(kind, &new, &name, &causes));
        }
        if kind.schema.is_some() {
            check::finalizer_warnings(&new, Some(&old.value)).into_iter().for_each(|w| call.warn(w));
        }
        self.admit(call, target, "UPDATE", &name, Some(&new), Some(&old.value))?;
        if call.dry_run {
            return Ok(self.show_value(call, target, 200, new));
        }
        let key = meta::key(&target.namespace, &name);
        if finished(kind, &new) {
            // The answer is the object as it went, under the resourceVersion that it last had.
            let response = self.show_value(call, target, 200, new.clone());
            // What is told of is the object as it was stored last, with the finalizer that went now.
            self.remove(&target.table, &key, (*old.value).clone())?;
            return Ok(response);
        }
        // Shown by a dry run, but never stored.
        meta::remove(&mut new, "selfLink");
        if unchanged(&new, old) {
            return Ok(self.show(call, target, 200, old));
        }
        let entry = self.put(&target.table, &key, new)?;
        let response = self.show(call, target, 200, &entry);
        if target.sub.is_empty() {
            self.after(&target.table, &key)?;
        }
        Ok(response)
    }
}

/// How the schema's own faults of the whole object begin; a rule's message is left as it is.
const AT_ROOT: &str = "Invalid value: \"\": ";

/// Through the status subresource only the status is held to its schema, and texts name fields from there on.
fn relative(cause: &mut Cause) {
    if cause.field == "status" || cause.field.starts_with("status.") {
        let short = cause.field.trim_start_matches("status").trim_start_matches('.');
        cause.message =
            cause.message.replace(&format!("{} in body", cause.field), &format!("{short} in body"));
    } else if cause.field == "<nil>"
        && cause.message.starts_with(AT_ROOT)
        && cause.message.contains("status.")
    {
        cause.field = "status".into();
        cause.message = cause.message.replacen("status.", "", 1);
    }
}

/// Checks the resourceVersion that the new object was made from.
fn fresh(kind: &Kind, name: &str, old: &Entry, new: &mut Value) -> Answer<()> {
    let version = meta::version(new);
    if version.is_empty() || version == "0" {
        if builtin::unconditional(kind) {
            meta::copy(new, &old.value, "resourceVersion");
            return Ok(());
        }
        let cause = Cause {
            reason: "FieldValueInvalid",
            message: "Invalid value: 0: must be specified for an update".into(),
            field: "metadata.resourceVersion".into(),
        };
        return Err(Failure::invalid_named(&kind.group, &kind.plural, name, &[cause]));
    }
    match version.parse::<u64>() {
        Ok(version) if version == old.revision => Ok(()),
        Ok(_) => Err(Failure::modified(kind, name)),
        Err(_) => Err(Failure::bare(format!("strconv.ParseUint: parsing \"{version}\": invalid syntax"))),
    }
}

/// Puts back what the call must not change.
fn prepare(kind: &Kind, sub: &str, old: &Value, new: &mut Value) {
    match sub {
        "status" => restore(new, old, |key| key != "status"),
        "finalize" => {
            let finalizers = new.get("spec").and_then(|s| s.get("finalizers")).cloned();
            restore(new, old, |_| true);
            new["spec"]["finalizers"] = finalizers.unwrap_or_else(|| Value::Array(Vec::new()));
        }
        _ => {
            if kind.status {
                restore(new, old, |key| key == "status");
            }
            if builtin::is_namespace(kind) {
                restore(new, old, |key| key == "spec");
            }
            for field in ["uid", "deletionTimestamp", "deletionGracePeriodSeconds"] {
                if new["metadata"].get(field).is_none_or(|v| v.is_null() || *v == "") {
                    meta::copy(new, old, field);
                }
            }
            for field in ["creationTimestamp", "generation"] {
                meta::copy(new, old, field);
            }
            if kind.schema.is_none()
                && kind.plural == "secrets"
                && let Some(map) = new.as_object_mut()
            {
                builtin::secret(map);
            }
            let moved = builtin::counts_generations(kind) && differs(kind, old, new);
            if moved {
                meta::set(new, "generation", meta::generation(old) + 1);
            }
        }
    }
}

/// Gives the chosen parts back as they were; what is the same already is left alone, which saves the copy.
fn restore(new: &mut Value, old: &Value, chosen: impl Fn(&str) -> bool) {
    let (Some(new), Some(old)) = (new.as_object_mut(), old.as_object()) else { return };
    new.retain(|key, _| !chosen(key) || old.contains_key(key));
    for (key, value) in old.iter().filter(|(key, _)| chosen(key)) {
        if new.get(key) != Some(value) {
            new.insert(key.clone(), value.clone());
        }
    }
}

/// Whether anything changed that the generation counts.
fn differs(kind: &Kind, old: &Value, new: &Value) -> bool {
    let (Some(old), Some(new)) = (old.as_object(), new.as_object()) else { return false };
    let counted = |key: &&String| *key != "metadata" && !(kind.status && *key == "status");
    old.keys().chain(new.keys()).filter(counted).any(|key| old.get(key) != new.get(key))
}

/// A kind or an apiVersion in the body that is not the resource's.
fn type_causes(kind: &Kind, new: &Value) -> Vec<Cause> {
    let mut causes = kind_cause(kind, new);
    let found = new.get("apiVersion").and_then(Value::as_str).unwrap_or_default();
    let expected = kind.api_version();
    if causes.is_empty() && kind.schema.is_some() && found != expected {
        let message = format!("Invalid value: \"{found}\": must be {expected}");
        causes.push(Cause { reason: "FieldValueInvalid", message, field: "apiVersion".into() });
    }
    causes
}

/// Whether nothing keeps a deleted object any more.
pub(crate) fn finished(kind: &Kind, object: &Value) -> bool {
    let grace = object["metadata"]["deletionGracePeriodSeconds"].as_i64().unwrap_or_default();
    let held =
        builtin::is_namespace(kind) && object["spec"]["finalizers"].as_array().is_some_and(|f| !f.is_empty());
    meta::deleting(object) && meta::finalizers(object).next().is_none() && grace == 0 && !held
}
