//! Refusals, worded as the real server words them: a `Status` each, with the code, the reason and the details that
//! clients tell them apart by. Built here and nowhere else, so that a difference from the real one has one place.

use super::{Kind, Response};
use crate::schema::Cause;
use bytes::Bytes;
use serde_json::{Map, Value, json};

/// What a step gives back.
pub(crate) type Answer<T> = Result<T, Box<Failure>>;

/// A refusal.
#[derive(Debug, Clone)]
pub(crate) struct Failure {
    /// HTTP status.
    pub code: u16,
    /// Machine-readable reason; empty where the real server gives none.
    pub reason: &'static str,
    /// The text.
    pub message: String,
    /// Details, if there are any.
    pub details: Option<Value>,
    /// The list metadata of the `Status`; only an expired page has some.
    pub metadata: Value,
}

/// The content type of nearly everything.
pub(crate) const JSON: &str = "application/json";

/// `Kind.group`, or `Kind` for the core group.
fn group_kind(group: &str, kind: &str) -> String {
    if group.is_empty() { kind.to_owned() } else { format!("{kind}.{group}") }
}

fn details(name: &str, group: &str, kind: &str) -> Map<String, Value> {
    let mut map = Map::new();
    for (key, value) in [("name", name), ("group", group), ("kind", kind)] {
        if !value.is_empty() {
            map.insert(key.to_owned(), value.into());
        }
    }
    map
}

impl Failure {
    pub(crate) fn new(
        code: u16,
        reason: &'static str,
        message: impl Into<String>,
        details: Option<Value>,
    ) -> Box<Self> {
        Box::new(Self { code, reason, message: message.into(), details, metadata: json!({}) })
    }

    /// What the request itself names wrongly.
    pub(crate) fn bad_request(message: impl Into<String>) -> Box<Self> {
        Self::new(400, "BadRequest", message, None)
    }

    /// An error that the real server passes on as it is.
    pub(crate) fn bare(message: impl Into<String>) -> Box<Self> {
        Self::new(500, "", message, None)
    }

    /// An error that the real server wraps.
    pub(crate) fn internal(message: &str) -> Box<Self> {
        let details = json!({"causes": [{"message": message}]});
        Self::new(500, "InternalError", format!("Internal error occurred: {message}"), Some(details))
    }

    /// There is no such object.
    pub(crate) fn not_found(kind: &Kind, name: &str) -> Box<Self> {
        let message = format!("{} \"{name}\" not found", kind.qualified());
        Self::new(404, "NotFound", message, Some(details(name, &kind.group, &kind.plural).into()))
    }

    /// There is no such resource in a group that is served.
    pub(crate) fn no_resource() -> Box<Self> {
        Self::new(404, "NotFound", "the server could not find the requested resource", Some(json!({})))
    }

    /// The verb is not there for this resource.
    pub(crate) fn method(kind: &Kind, verb: &str) -> Box<Self> {
        if kind.schema.is_none() {
            let message = "the server does not allow this method on the requested resource";
            return Self::new(405, "MethodNotAllowed", message, Some(json!({})));
        }
        let message = format!("{verb} is not supported on resources of kind \"{}\"", kind.qualified());
        Self::new(405, "MethodNotAllowed", message, Some(details("", &kind.group, &kind.plural).into()))
    }

    /// The name is taken.
    pub(crate) fn already_exists(kind: &Kind, name: &str) -> Box<Self> {
        let message = format!("{} \"{name}\" already exists", kind.qualified());
        Self::new(409, "AlreadyExists", message, Some(details(name, &kind.group, &kind.plural).into()))
    }

    /// A precondition of a write does not hold.
    pub(crate) fn conflict(kind: &Kind, name: &str, why: &str) -> Box<Self> {
        let message = format!("Operation cannot be fulfilled on {} \"{name}\": {why}", kind.qualified());
        Self::new(409, "Conflict", message, Some(details(name, &kind.group, &kind.plural).into()))
    }

    /// The resourceVersion is not the newest.
    pub(crate) fn modified(kind: &Kind, name: &str) -> Box<Self> {
        let why =
            "the object has been modified; please apply your changes to the latest version and try again";
        Self::conflict(kind, name, why)
    }

    /// A precondition of a deletion does not hold; the real server names the kind here, not the resource.
    pub(crate) fn precondition(kind: &Kind, name: &str, why: &str) -> Box<Self> {
        let of = group_kind(&kind.group, &kind.kind);
        let message = format!("Operation cannot be fulfilled on {of} \"{name}\": {why}");
        Self::new(409, "Conflict", message, Some(details(name, &kind.group, &kind.kind).into()))
    }

    /// Something of the given kind is not valid: an object, or options.
    pub(crate) fn invalid_named(group: &str, kind: &str, name: &str, causes: &[Cause]) -> Box<Self> {
        let mut texts: Vec<String> = Vec::new();
        for cause in causes {
            let text = format!("{}: {}", cause.field, cause.message);
            if !texts.contains(&text) {
                texts.push(text);
            }
        }
        let text = match texts.as_slice() {
            [one] => one.clone(),
            many => format!("[{}]", many.join(", ")),
        };
        let list: Vec<Value> = causes
            .iter()
            .map(|c| json!({"reason": c.reason, "message": c.message, "field": c.field}))
            .collect();
        let mut details = details(name, group, kind);
        details.insert("causes".into(), list.into());
        let message = format!("{} \"{name}\" is invalid: {text}", group_kind(group, kind));
        Self::new(422, "Invalid", message, Some(details.into()))
    }

    /// Options of a call are not valid: `CreateOptions`, `ListOptions`, ...
    pub(crate) fn options(
        kind: &str,
        reason: &'static str,
        field: &str,
        message: impl Into<String>,
    ) -> Box<Self> {
        let cause = Cause { reason, message: message.into(), field: field.to_owned() };
        Self::invalid_named("meta.k8s.io", kind, "", &[cause])
    }

    /// A JSON patch that cannot be applied, above all a `test` that fails.
    pub(crate) fn unprocessable() -> Box<Self> {
        let message = "the server rejected our request due to an error in our request";
        Self::new(422, "Invalid", message, Some(json!({})))
    }

    /// A body or a patch above its limit.
    pub(crate) fn too_large(what: &str) -> Box<Self> {
        Self::new(413, "RequestEntityTooLarge", format!("Request entity too large: {what}"), None)
    }

    /// The body's type is not understood.
    pub(crate) fn media_type(accepted: &str) -> Box<Self> {
        let message = format!(
            "the body of the request was in an unknown format - accepted media types include: {accepted}"
        );
        Self::new(415, "UnsupportedMediaType", message, None)
    }

    /// A policy or the server's state forbids it.
    pub(crate) fn forbidden(kind: &Kind, name: &str, why: &str, cause: Option<Value>) -> Box<Self> {
        let message = format!("{} \"{name}\" is forbidden: {why}", kind.qualified());
        let mut details = details(name, &kind.group, &kind.plural);
        if let Some(cause) = cause {
            details.insert("causes".into(), json!([cause]));
        }
        Self::new(403, "Forbidden", message, Some(details.into()))
    }

    /// History does not reach back to there.
    pub(crate) fn expired(message: impl Into<String>) -> Box<Self> {
        Self::new(410, "Expired", message, None)
    }

    /// A revision that is not there yet.
    pub(crate) fn future(asked: u64, current: u64) -> Box<Self> {
        let message = format!("Timeout: Too large resource version: {asked}, current: {current}");
        let details = json!({
            "causes": [{"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}],
            "retryAfterSeconds": 1,
        });
        Self::new(504, "Timeout", message, Some(details))
    }

    /// The `Status` object.
    pub(crate) fn status(&self) -> Value {
        let mut map = Map::new();
        map.insert("kind".into(), "Status".into());
        map.insert("apiVersion".into(), "v1".into());
        map.insert("metadata".into(), self.metadata.clone());
        map.insert("status".into(), "Failure".into());
        map.insert("message".into(), self.message.clone().into());
        if !self.reason.is_empty() {
            map.insert("reason".into(), self.reason.into());
        }
        if let Some(details) = &self.details {
            map.insert("details".into(), details.clone());
        }
        map.insert("code".into(), self.code.into());
        Value::Object(map)
    }

    /// The answer.
    pub(crate) fn response(&self) -> Response {
        let mut response = whole(self.code, line(&self.status()));
        let after = self.details.as_ref().and_then(|d| d.get("retryAfterSeconds")).and_then(Value::as_u64);
        if let Some(seconds) = after {
            response.headers.push(("Retry-After", seconds.to_string()));
        }
        response
    }
}

/// A JSON answer.
pub(crate) fn whole(code: u16, body: Bytes) -> Response {
    Response { code, content_type: JSON, headers: Vec::new(), body }
}

/// A value as one line.
pub(crate) fn line(value: &Value) -> Bytes {
    let mut text = value.to_string();
    text.push('\n');
    text.into()
}

/// The plain answer to a path that nobody serves.
pub(crate) fn page_not_found() -> Response {
    Response {
        code: 404,
        content_type: "text/plain; charset=utf-8",
        headers: Vec::new(),
        body: Bytes::from_static(b"404 page not found\n"),
    }
}
