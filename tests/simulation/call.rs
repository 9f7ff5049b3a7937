//! What a call to the API server says: which operation's status it changes, from which state, to what.

use super::plan::Sent;
use ratchet_simulator::api::Request;
use serde::Deserialize;
use serde_json::value::RawValue;
use std::borrow::Cow;

/// One operation of a JSON patch, as far as anybody here looks at it.
#[derive(Deserialize)]
pub struct Op<'a> {
    /// What it does.
    #[serde(borrow)]
    pub op: Cow<'a, str>,
    /// Where.
    #[serde(borrow)]
    pub path: Cow<'a, str>,
    /// With what.
    #[serde(borrow, default)]
    pub value: Option<&'a RawValue>,
}

/// What the first operation of a kind at a path has for a value.
pub fn value<'a, T: Deserialize<'a>>(ops: &[Op<'a>], op: &str, path: &str) -> Option<T> {
    let found = ops.iter().find(|o| o.op == op && o.path == path)?;
    serde_json::from_str(found.value?.get()).ok()
}

/// The uid of the operation that a status patch is for.
pub fn uid(ops: &[Op<'_>]) -> Option<String> {
    value(ops, "test", "/metadata/uid")
}

/// Which state of which operation somebody knows of once a status patch has been carried out.
pub fn news(ops: &[Op<'_>]) -> Option<(String, i64)> {
    #[derive(Deserialize)]
    struct Status {
        seq: i64,
    }
    let written = || value(ops, "add", "/status").map(|s: Status| s.seq);
    let seq = value(ops, "add", "/status/seq").or_else(written);
    let stands = || value(ops, "test", "/status/seq");
    Some((uid(ops)?, seq.or_else(stands)?))
}

/// Whether a write says that its operation has succeeded.
pub fn ends_well(request: &Request) -> bool {
    let well = |o: &Op<'_>| o.path == "/status/phase" && o.value.is_some_and(|v| v.get() == "\"Succeeded\"");
    status_patch(request).is_some_and(|ops| ops.iter().any(well))
}

/// What a changing call is about.
pub fn about(request: &Request, ops: Option<&[Op<'_>]>) -> Sent {
    if request.uri.contains("/targetlocks") {
        return Sent::Lock;
    }
    if request.uri.contains("/operationjournals") {
        return Sent::Segment;
    }
    let Some(ops) = ops else { return Sent::Other };
    let sets = |path: &str| ops.iter().any(|o| o.op == "add" && o.path == path);
    match (sets("/status/intent"), sets("/status/seq") || sets("/status")) {
        (true, _) => Sent::Intent,
        (false, true) => Sent::Transition,
        (false, false) => Sent::Other,
    }
}

/// The operations of a patch of an operation's status; `None` for any other call.
pub fn status_patch(request: &Request) -> Option<Vec<Op<'_>>> {
    let path = request.uri.split('?').next()?;
    (path.contains("/dataoperations/") && path.ends_with("/status"))
        .then(|| serde_json::from_slice(&request.body).ok())
        .flatten()
}
