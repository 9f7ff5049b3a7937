//! DELETE: who must be asked, what is waited for, and when the object is really gone.

use super::call::Call;
use super::failure::{self, Answer, Failure};
use super::route::{Query, Target};
use super::selector::Selector;
use super::store::{Entry, State};
use super::update::finished;
use super::{Kind, Response, builtin, meta, read, render};
use chrono::TimeDelta;
use serde_json::{Map, Value, json};
use std::sync::Arc;

/// The finalizer of a foreground deletion.
pub(crate) const FOREGROUND: &str = "foregroundDeletion";
/// The finalizer of a deletion that lets dependents be.
pub(crate) const ORPHAN: &str = "orphan";

/// How to delete.
#[derive(Debug, Default, Clone)]
pub(crate) struct Options {
    /// The uid that it must have.
    pub uid: Option<String>,
    /// The resourceVersion that it must have.
    pub version: Option<String>,
    /// Background, Foreground, Orphan; empty for the default.
    pub policy: String,
    /// Seconds that a pod is given; `None` for what it asks for itself.
    pub grace: Option<i64>,
}

/// What became of it.
pub(crate) enum Deleted {
    /// It is gone; this is the last of it.
    Gone(Arc<Entry>),
    /// It stays until somebody lets go of it.
    Kept(Arc<Entry>),
}

/// Reads the options of a call: the body's, or else the parameters'.
pub(crate) fn options(call: &mut Call<'_>) -> Answer<Options> {
    call.write_options("DeleteOptions")?;
    let body = &call.request.body;
    if body.is_empty() {
        return from_query(&call.query);
    }
    let parse = |e: &serde_json::Error| {
        let why = super::write::syntax(e, body);
        Failure::bad_request(format!("couldn't get version/kind; json parse error: {why}"))
    };
    let body: Value = serde_json::from_slice(body).map_err(|e| parse(&e))?;
    let kind = body["kind"].as_str().unwrap_or("DeleteOptions");
    if kind != "DeleteOptions" {
        let version = body["apiVersion"].as_str().unwrap_or("v1");
        return Err(Failure::bad_request(format!(
            "no kind \"{kind}\" is registered for version \"{version}\" in scheme \"pkg/runtime/scheme.go:111\""
        )));
    }
    if body["dryRun"].as_array().is_some_and(|d| d.iter().any(|d| d == "All")) {
        call.dry_run = true;
    }
    from_body(&body)
}

fn from_query(query: &Query) -> Answer<Options> {
    let mut body = Map::new();
    if query.has("propagationPolicy") {
        body.insert("propagationPolicy".into(), query.get("propagationPolicy").into());
    }
    if query.has("orphanDependents") {
        body.insert("orphanDependents".into(), query.on("orphanDependents").into());
    }
    if query.has("gracePeriodSeconds") {
        let text = query.get("gracePeriodSeconds");
        let wrong = || Failure::bad_request(format!("strconv.ParseInt: parsing \"{text}\": invalid syntax"));
        body.insert("gracePeriodSeconds".into(), text.parse::<i64>().map_err(|_| wrong())?.into());
    }
    from_body(&Value::Object(body))
}

/// Reads `DeleteOptions`.
pub(crate) fn from_body(body: &Value) -> Answer<Options> {
    let text = |value: &Value| value.as_str().filter(|s| !s.is_empty()).map(str::to_owned);
    let mut policy = text(&body["propagationPolicy"]).unwrap_or_default();
    if let Some(orphan) = body["orphanDependents"].as_bool() {
        if !policy.is_empty() {
            let message = format!(
                "Invalid value: \"{policy}\": orphanDependents and deletionPropagation cannot be both set"
            );
            return Err(Failure::options("DeleteOptions", "FieldValueInvalid", "propagationPolicy", message));
        }
        policy = if orphan { "Orphan" } else { "Background" }.to_owned();
    }
    if !matches!(policy.as_str(), "" | "Foreground" | "Background" | "Orphan") {
        let message = format!(
            "Unsupported value: \"{policy}\": supported values: \"Foreground\", \"Background\", \"Orphan\", \"nil\""
        );
        return Err(Failure::options(
            "DeleteOptions",
            "FieldValueNotSupported",
            "propagationPolicy",
            message,
        ));
    }
    let preconditions = &body["preconditions"];
    Ok(Options {
        uid: text(&preconditions["uid"]),
        version: text(&preconditions["resourceVersion"]),
        policy,
        grace: body["gracePeriodSeconds"].as_i64(),
    })
}

impl State {
    /// DELETE of one object.
    pub(crate) fn delete(&mut self, call: &mut Call<'_>, target: &Target, name: &str) -> Answer<Response> {
        let options = options(call)?;
        let kind = &target.kind;
        let outcome = self.delete_one(call, target, name, &options)?;
        Ok(match outcome {
            Deleted::Kept(entry) => self.show(call, target, 200, &entry),
            Deleted::Gone(entry) if builtin::returns_deleted(kind) => self.show(call, target, 200, &entry),
            Deleted::Gone(entry) => failure::whole(200, failure::line(&success(kind, &entry.value))),
        })
    }

    /// Deletes one object, or marks it.
    pub(crate) fn delete_one(
        &mut self,
        call: &Call<'_>,
        target: &Target,
        name: &str,
        options: &Options,
    ) -> Answer<Deleted> {
        let kind = &target.kind;
        let key = meta::key(&target.namespace, name);
        let old = self.get(&target.table, &key).cloned().ok_or_else(|| Failure::not_found(kind, name))?;
        precondition(kind, name, &old, options)?;
        self.admit(call, target, "DELETE", name, None, Some(&old.value))?;
        let of = self.storage(target);
        let new = self.mark(&of, &old.value, options);
        if finished(&of, &new) {
            let last =
                if builtin::is_pod(&of) || meta::deleting(&old.value) { new } else { (*old.value).clone() };
            if call.dry_run {
                return Ok(Deleted::Gone(Arc::new(Entry::new(&of, last, old.revision))));
            }
            return self.remove(&target.table, &key, last).map(Deleted::Gone);
        }
        if call.dry_run {
            return Ok(Deleted::Kept(Arc::new(Entry::new(&of, new, old.revision))));
        }
        if new == *old.value {
            return Ok(Deleted::Kept(old));
        }
        self.put(&target.table, &key, new).map(Deleted::Kept)
    }

    /// The object as it is once its deletion has begun.
    fn mark(&self, kind: &Kind, old: &Value, options: &Options) -> Value {
        let mut new = old.clone();
        let deleting = meta::deleting(old);
        let mut finalizers: Vec<Value> = meta::list(old, "finalizers").to_vec();
        if !options.policy.is_empty() {
            finalizers.retain(|f| *f != FOREGROUND && *f != ORPHAN);
            match options.policy.as_str() {
                "Foreground" => finalizers.push(FOREGROUND.into()),
                "Orphan" => finalizers.push(ORPHAN.into()),
                _ => {}
            }
        }
        meta::set_list(&mut new, "finalizers", finalizers);
        let now = (self.options.now)();
        let grace = if builtin::is_pod(kind) { pod_grace(old, options.grace) } else { 0 };
        let shorter = old["metadata"]["deletionGracePeriodSeconds"].as_i64().is_none_or(|g| grace < g);
        if !deleting || (builtin::is_pod(kind) && options.grace.is_some() && shorter) {
            let at = now + TimeDelta::try_seconds(grace).unwrap_or_default();
            meta::set(&mut new, "deletionTimestamp", meta::time(at));
            meta::set(&mut new, "deletionGracePeriodSeconds", grace);
        }
        if !deleting && meta::generation(old) > 0 {
            meta::set(&mut new, "generation", meta::generation(old) + 1);
        }
        if builtin::is_namespace(kind) {
            meta::remove(&mut new, "deletionGracePeriodSeconds");
            new["status"]["phase"] = "Terminating".into();
        }
        new
    }

    /// Takes an object out of the store, with what follows from it.
    pub(crate) fn remove(&mut self, table: &str, key: &str, last: Value) -> Answer<Arc<Entry>> {
        if table == super::crd::TABLE {
            self.unserve(&last)?;
        }
        self.drop_object(table, key, last)
    }

    /// DELETE of a collection.
    pub(crate) fn delete_collection(&mut self, call: &mut Call<'_>, target: &Target) -> Answer<Response> {
        let options = options(call)?;
        let kind = &target.kind;
        let selector =
            Selector::parse(kind, call.query.get("labelSelector"), call.query.get("fieldSelector"))?;
        let list_meta =
            Map::from_iter([("resourceVersion".to_owned(), Value::from(self.revision.to_string()))]);
        let chosen: Vec<Arc<Entry>> = self
            .range_at(&target.table, &read::prefix(target), None)
            .into_iter()
            .filter(|(_, entry)| selector.matches(&entry.value))
            .map(|(_, entry)| entry.clone())
            .collect();
        for entry in &chosen {
            let one = Target { namespace: meta::namespace(&entry.value).to_owned(), ..target.clone() };
            self.delete_one(call, &one, meta::name(&entry.value), &options)?;
        }
        let of = self.storage(target);
        let chosen: Vec<&Arc<Entry>> = chosen.iter().collect();
        let now = (self.options.now)();
        Ok(failure::whole(200, render::list(kind, &of, &chosen, &list_meta, call.format, now)))
    }
}

fn precondition(kind: &Kind, name: &str, old: &Entry, options: &Options) -> Answer<()> {
    let stored = meta::uid(&old.value);
    if let Some(uid) = options.uid.as_deref().filter(|uid| *uid != stored) {
        let why = format!(
            "the UID in the precondition ({uid}) does not match the UID in record ({stored}). The object might have \
             been deleted and then recreated"
        );
        return Err(Failure::precondition(kind, name, &why));
    }
    let stored = meta::version(&old.value);
    if let Some(version) = options.version.as_deref().filter(|version| *version != stored) {
        let why = format!(
            "the ResourceVersion in the precondition ({version}) does not match the ResourceVersion in record \
             ({stored}). The object might have been modified"
        );
        return Err(Failure::precondition(kind, name, &why));
    }
    Ok(())
}

/// Seconds that a pod is given to end.
fn pod_grace(pod: &Value, asked: Option<i64>) -> i64 {
    let over = matches!(pod["status"]["phase"].as_str(), Some("Succeeded" | "Failed"));
    if over || pod["spec"]["nodeName"].as_str().unwrap_or_default().is_empty() {
        return 0;
    }
    let own = || pod["spec"]["terminationGracePeriodSeconds"].as_i64().unwrap_or(30);
    match asked.unwrap_or_else(own) {
        negative if negative < 0 => 1,
        grace => grace,
    }
}

/// The `Status` of a deletion.
fn success(kind: &Kind, object: &Value) -> Value {
    let mut details = Map::new();
    details.insert("name".into(), meta::name(object).into());
    if !kind.group.is_empty() {
        details.insert("group".into(), kind.group.clone().into());
    }
    details.insert("kind".into(), kind.plural.clone().into());
    details.insert("uid".into(), meta::uid(object).into());
    json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details})
}
