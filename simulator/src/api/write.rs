//! CREATE and replace: decode, prune, default, then the rules, then policies, then the store, in the order in which
//! the real server does it, because what is refused first is what the caller sees.

use super::call::Call;
use super::failure::{Answer, Failure};
use super::route::Target;
use super::store::{Entry, State};
use super::{Admission, Kind, Response, builtin, check, meta};
use crate::schema::Cause;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use std::sync::Arc;

const BODIES: &str = "application/json, application/yaml, application/vnd.kubernetes.protobuf";

/// Letters of generated names.
const LETTERS: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";

/// The media type of a Content-Type header.
pub(crate) fn media_type(header: &str) -> &str {
    header.split(';').next().unwrap_or_default().trim()
}

/// What a JSON parser of Go says.
pub(crate) fn syntax(error: &serde_json::Error, body: &[u8]) -> String {
    if error.is_eof() || body.is_empty() {
        return "unexpected end of JSON input".into();
    }
    let at = error.column().saturating_sub(1);
    let found = body.get(at).map_or(' ', |b| char::from(*b));
    let found = match found {
        '\u{80}'..='\u{a0}' => format!("\\u{:04x}", u32::from(found)),
        _ => found.to_string(),
    };
    format!("invalid character '{found}' looking for beginning of value")
}

/// The body as an object of the kind, with the fields that its metadata does not have.
fn decode(call: &mut Call<'_>, kind: &Kind) -> Answer<Value> {
    let type_ = media_type(&call.request.content_type);
    if !matches!(type_, "" | "application/json" | "application/yaml") {
        return Err(Failure::media_type(BODIES));
    }
    let body = &call.request.body;
    let unrecognised = |why: String| {
        let start = String::from_utf8_lossy(body);
        let short: String = start.chars().take(30).collect();
        let shown = match start.len() {
            0 => "<empty>".to_owned(),
            _ if !start.starts_with('{') => body.iter().map(|b| format!("{b:02x}")).collect(),
            len if len > 30 => format!("{short} ..."),
            _ => start.clone().into_owned(),
        };
        let message =
            format!("the object provided is unrecognized (must be of type {}): {why} ({shown})", kind.kind);
        Failure::bad_request(message)
    };
    let parse = |e: &serde_json::Error| {
        unrecognised(format!("couldn't get version/kind; json parse error: {}", syntax(e, body)))
    };
    let mut object: Value = serde_json::from_slice(body).map_err(|e| parse(&e))?;
    if object.is_null() {
        // For Go, null is an object without fields.
        if kind.schema.is_some() {
            return Err(unrecognised("Object 'Kind' is missing in 'null'".into()));
        }
        object = json!({});
    }
    if !object.is_object() {
        let found = check::json_type(&object);
        return Err(unrecognised(format!(
            "couldn't get version/kind; json parse error: json: cannot unmarshal {found} into Go value of type struct \
             {{ APIVersion string \"json:\\\"apiVersion,omitempty\\\"\"; Kind string \"json:\\\"kind,omitempty\\\"\" }}"
        )));
    }
    type_of(kind, &mut object, &unrecognised, body)?;
    let handled = |why: &str| {
        let (kind, version) = (&kind.kind, &kind.version);
        Failure::bad_request(format!("{kind} in version \"{version}\" cannot be handled as a {kind}: {why}"))
    };
    let unknown = shape(kind, &mut object).map_err(|why| handled(&why))?;
    call.unknown_fields(unknown).map_err(|why| handled(&why))?;
    Ok(object)
}

/// Checks apiVersion and kind; fills them in where the real server does.
fn type_of(
    kind: &Kind,
    object: &mut Value,
    unrecognised: &impl Fn(String) -> Box<Failure>,
    body: &[u8],
) -> Answer<()> {
    let text = |field: &str| object.get(field).and_then(Value::as_str).unwrap_or_default().to_owned();
    let (version, name) = (text("apiVersion"), text("kind"));
    let expected = kind.api_version();
    if kind.schema.is_none() {
        if !(version.is_empty() || version == expected) || !(name.is_empty() || name == kind.kind) {
            let version = if version.is_empty() { &expected } else { &version };
            let short = version.rsplit('/').next().unwrap_or_default();
            let name = if name.is_empty() { &kind.kind } else { &name };
            return Err(Failure::bad_request(format!(
                "{name} in version \"{short}\" cannot be handled as a {}: no kind \"{name}\" is registered for version \
                 \"{version}\" in scheme \"pkg/runtime/scheme.go:111\"",
                kind.kind
            )));
        }
        object["apiVersion"] = expected.into();
        object["kind"] = kind.kind.clone().into();
        return Ok(());
    }
    if name.is_empty() {
        let body = String::from_utf8_lossy(body);
        return Err(unrecognised(format!("Object 'Kind' is missing in '{body}'")));
    }
    if version != expected {
        let message = format!(
            "the API version in the data ({version}) does not match the expected API version ({expected})"
        );
        return Err(Failure::bad_request(message));
    }
    Ok(())
}

/// Brings an object into the form of its kind: metadata, pruning, defaults. Gives back the fields that were dropped.
pub(crate) fn shape(kind: &Kind, object: &mut Value) -> Result<Vec<String>, String> {
    let mut unknown = check::decode(object)?;
    if kind.schema.is_none() {
        unknown.extend(builtin::prune(kind, object));
    }
    if let Some(schema) = &kind.schema {
        unknown.extend(schema.shape(object));
    }
    Ok(unknown)
}

/// Checks name and namespace of the body against those of the path.
fn placed(target: &Target, object: &mut Value, name: Option<&str>) -> Answer<()> {
    let own = meta::name(object);
    if let Some(name) = name {
        if own.is_empty() {
            let message = format!(
                "the name of the object ({name} based on URL) was undeterminable: name must be provided"
            );
            return Err(Failure::bad_request(message));
        }
        if own != name {
            let message =
                format!("the name of the object ({own}) does not match the name on the URL ({name})");
            return Err(Failure::bad_request(message));
        }
    }
    super::patch::place(target, object)
}

impl State {
    /// POST.
    pub(crate) fn create(&mut self, call: &mut Call<'_>, target: &Target) -> Answer<Response> {
        call.write_options("CreateOptions")?;
        let mut object = decode(call, &target.kind)?;
        if target.kind.schema.is_some()
            && let Some(name) = target.name.as_deref().filter(|_| meta::name(&object).is_empty())
        {
            meta::set(&mut object, "name", name);
        }
        placed(target, &mut object, None)?;
        // Not so of what a PUT creates: that keeps even these.
        for field in ["deletionTimestamp", "deletionGracePeriodSeconds", "selfLink"] {
            meta::remove(&mut object, field);
        }
        self.insert(call, target, object)
    }

    /// Creates a decoded object.
    fn insert(&mut self, call: &mut Call<'_>, target: &Target, mut object: Value) -> Answer<Response> {
        let kind = &target.kind;
        if kind.namespaced {
            self.room(target, &object)?;
        }
        self.birth(kind, &target.table, &mut object);
        let of = self.storage(target);
        if !super::render::same(kind, &of) {
            builtin::convert(&mut object, &of);
        }
        let name = meta::name(&object).to_owned();
        let mut causes = kind_cause(kind, &object);
        if causes.is_empty() {
            causes = check::created(kind, &object);
            causes.extend(self.rules(kind, &object, None, &causes));
            causes.extend(super::crd::check(kind, &object));
            causes.extend(builtin::check(kind, &object));
        } else if let Some(schema) = &kind.schema {
            causes.extend(schema.law(&object, None, self.options.rules));
        }
        if !causes.is_empty() {
            return Err(named_invalid(kind, &object, &name, &causes));
        }
        if kind.schema.is_some() {
            check::finalizer_warnings(&object, None).into_iter().for_each(|w| call.warn(w));
        }
        self.admit(call, target, "CREATE", &name, Some(&object), None)?;
        // What is no number is no version.
        if !call.dry_run && meta::version(&object).parse::<u64>().is_ok_and(|version| version != 0) {
            return Err(Failure::bare("resourceVersion should not be set on objects to be created"));
        }
        let key = meta::key(&target.namespace, &name);
        if let Some(there) = self.get(&target.table, &key) {
            let mut refusal = Failure::already_exists(kind, &name);
            if meta::deleting(&there.value) {
                refusal.message = format!("object is being deleted: {}", refusal.message);
            }
            if !meta::text(&object, "generateName").is_empty()
                && let Some(details) = &mut refusal.details
            {
                details["retryAfterSeconds"] = 1.into();
                refusal.message += ", the server was not able to generate a unique name for the object";
            }
            return Err(refusal);
        }
        if call.dry_run {
            return Ok(self.show_value(call, target, 201, object));
        }
        // Shown by a dry run, but never stored.
        meta::remove(&mut object, "selfLink");
        let entry = self.put(&target.table, &key, object)?;
        let response = self.show(call, target, 201, &entry);
        self.after(&target.table, &key)?;
        Ok(response)
    }

    /// What has to follow a write of certain kinds.
    pub(crate) fn after(&mut self, table: &str, key: &str) -> Answer<()> {
        if table == super::crd::TABLE { self.establish(key) } else { Ok(()) }
    }

    /// The kind in the version that is stored.
    pub(crate) fn storage(&self, target: &Target) -> Arc<Kind> {
        self.tables.get(&target.table).map_or_else(|| target.kind.clone(), |t| t.kind.clone())
    }

    /// Whether the namespace takes a new object.
    fn room(&self, target: &Target, object: &Value) -> Answer<()> {
        let namespace = &target.namespace;
        match self.namespace(namespace) {
            None => {
                let details = json!({"name": namespace, "kind": "namespaces"});
                let message = format!("namespaces \"{namespace}\" not found");
                Err(Failure::new(404, "NotFound", message, Some(details)))
            }
            Some(true) => {
                let why = format!(
                    "unable to create new content in namespace {namespace} because it is being terminated"
                );
                let cause = json!({
                    "reason": "NamespaceTerminating", "field": "metadata.namespace",
                    "message": format!("namespace {namespace} is being terminated"),
                });
                Err(Failure::forbidden(&target.kind, meta::name(object), &why, Some(cause)))
            }
            Some(false) => Ok(()),
        }
    }

    /// Gives a new object what the server gives it.
    fn birth(&self, kind: &Kind, table: &str, object: &mut Value) {
        let uid = (self.options.uids)();
        if meta::name(object).is_empty() && !meta::text(object, "generateName").is_empty() {
            let base: String = meta::text(object, "generateName").chars().take(58).collect();
            let mut name = format!("{base}{}", suffix(&uid));
            let namespace = meta::namespace(object).to_owned();
            while self.get(table, &meta::key(&namespace, &name)).is_some() {
                name = format!("{base}{}", suffix(&name));
            }
            meta::set(object, "name", name);
        }
        meta::set(object, "uid", uid);
        meta::set(object, "creationTimestamp", meta::time((self.options.now)()));
        if builtin::counts_generations(kind) {
            meta::set(object, "generation", 1);
        }
        if kind.status
            && let Some(map) = object.as_object_mut()
        {
            map.remove("status");
        }
        if kind.schema.is_none() {
            builtin::prepare(kind, object);
        }
    }

    /// What the schema and the rules of a CRD say, when so much is known to be wrong `already`.
    pub(crate) fn rules(
        &self,
        kind: &Kind,
        new: &Value,
        old: Option<&Value>,
        already: &[Cause],
    ) -> Vec<Cause> {
        match &kind.schema {
            Some(schema) => schema.validate_after(already, new, old, self.options.rules),
            None => Vec::new(),
        }
    }

    /// Asks the policies.
    pub(crate) fn admit(
        &self,
        call: &Call<'_>,
        target: &Target,
        operation: &'static str,
        name: &str,
        object: Option<&Value>,
        old: Option<&Value>,
    ) -> Answer<()> {
        let Some(admit) = self.options.admit.as_ref().filter(|_| !self.quiet) else { return Ok(()) };
        let admission = Admission {
            operation,
            kind: &target.kind,
            subresource: &target.sub,
            user: &call.request.user,
            object,
            old,
            namespace_terminating: self.namespace(&target.namespace).unwrap_or_default(),
        };
        admit(&admission).map_err(|why| Failure::forbidden(&target.kind, name, &why, None))
    }

    /// PUT.
    pub(crate) fn replace(&mut self, call: &mut Call<'_>, target: &Target, name: &str) -> Answer<Response> {
        call.write_options("UpdateOptions")?;
        let kind = &target.kind;
        let mut object = decode(call, kind)?;
        placed(target, &mut object, Some(name))?;
        let key = meta::key(&target.namespace, name);
        let Some(old) = self.get(&target.table, &key).cloned() else {
            if builtin::create_on_update(kind) && target.sub.is_empty() {
                if !meta::uid(&object).is_empty() {
                    return Err(other_uid(call, kind, &key, name, [meta::uid(&object), ""]));
                }
                // A dry run shows even the version that it was sent.
                if !call.dry_run {
                    meta::remove(&mut object, "resourceVersion");
                }
                return self.insert(call, target, object);
            }
            return Err(Failure::not_found(kind, name));
        };
        let (uid, stored) = (meta::uid(&object), meta::uid(&old.value));
        if !uid.is_empty() && uid != stored {
            return Err(other_uid(call, kind, &key, name, [uid, stored]));
        }
        self.update(call, target, &old, object)
    }
}

/// A replacement of an object that was another one: the store says so, in its own words.
fn other_uid(call: &Call<'_>, kind: &Kind, key: &str, name: &str, [uid, stored]: [&str; 2]) -> Box<Failure> {
    let group = if kind.schema.is_some() { format!("{}/", kind.group) } else { String::new() };
    let root = if call.dry_run { "" } else { "/registry" };
    let why = format!(
        "StorageError: invalid object, Code: 4, Key: {root}/{group}{}/{key}, ResourceVersion: 0, \
         AdditionalErrorMsg: Precondition failed: UID in precondition: {uid}, UID in object meta: {stored}",
        kind.plural
    );
    Failure::conflict(kind, name, &why)
}

/// A kind in the body that is not the kind of the resource.
pub(crate) fn kind_cause(kind: &Kind, object: &Value) -> Vec<Cause> {
    let mut causes = Vec::new();
    if kind.schema.is_some() {
        let found = object.get("kind").and_then(Value::as_str).unwrap_or_default();
        if found != kind.kind {
            let message = format!("Invalid value: \"{found}\": must be {}", kind.kind);
            causes.push(Cause { reason: "FieldValueInvalid", message, field: "kind".into() });
        }
    }
    causes
}

/// A 422 under the kind and the group that the body names.
pub(crate) fn named_invalid(kind: &Kind, object: &Value, name: &str, causes: &[Cause]) -> Box<Failure> {
    let text = |field: &str| object.get(field).and_then(Value::as_str);
    if kind.schema.is_none() {
        return Failure::invalid_named(&kind.group, &kind.kind, name, causes);
    }
    let group = text("apiVersion").map_or("", |v| v.split_once('/').map_or("", |(group, _)| group));
    Failure::invalid_named(group, text("kind").unwrap_or(&kind.kind), name, causes)
}

/// Five letters that depend on nothing but the seed.
fn suffix(seed: &str) -> String {
    let hash = Sha256::digest(seed.as_bytes());
    hash.iter().take(5).map(|b| char::from(LETTERS[usize::from(*b) % LETTERS.len()])).collect()
}

/// Whether two objects are the same but for what the server itself keeps.
pub(crate) fn unchanged(new: &Value, old: &Entry) -> bool {
    *new == *old.value
}
