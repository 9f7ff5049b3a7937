//! JSON patches for the status of an operation: preconditions first, then only what changed. Pure.

use crate::api::DataOperationStatus;
use serde::Serialize;
use serde_json::value::{RawValue, to_raw_value};
use std::borrow::Cow;

/// Above this many entries that leave the tail, the tail is replaced as a whole.
const TRIM_ONE_BY_ONE: usize = 4;

/// One operation of a patch. Its value is text already: a tree of it would only be walked once more.
#[derive(Debug, Clone, Serialize)]
pub struct Op {
    /// What is done.
    pub op: &'static str,
    /// Where.
    pub path: Cow<'static, str>,
    /// With what; nothing for `remove`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value: Option<Box<RawValue>>,
}

/// A patch under construction.
pub type Ops = Vec<Op>;

fn op<T: Serialize + ?Sized>(
    op: &'static str,
    path: impl Into<Cow<'static, str>>,
    value: &T,
) -> Result<Op, serde_json::Error> {
    Ok(Op { op, path: path.into(), value: Some(to_raw_value(value)?) })
}

fn remove(path: impl Into<Cow<'static, str>>) -> Op {
    Op { op: "remove", path: path.into(), value: None }
}

/// What every later write begins with: the object is this one, and nobody has written since.
fn unmoved(uid: &str, old: &DataOperationStatus) -> Result<Ops, serde_json::Error> {
    Ok(vec![op("test", "/metadata/uid", uid)?, op("test", "/status/seq", &old.seq)?])
}

/// The first write: the object is this one, and nobody has written a status.
///
/// # Errors
/// When the status does not serialise.
pub fn birth(uid: &str, new: &DataOperationStatus) -> Result<Ops, serde_json::Error> {
    Ok(vec![op("test", "/metadata/uid", uid)?, op("test", "/status", &())?, op("add", "/status", new)?])
}

/// A transition from `old` to `new`. With a generation: only if nobody has changed the spec since (a cancel, a pause
/// or a deletion wins against an intent that is not committed).
///
/// # Errors
/// When a status does not serialise.
pub fn transition(
    uid: &str,
    generation: Option<i64>,
    old: &DataOperationStatus,
    new: &DataOperationStatus,
) -> Result<Ops, serde_json::Error> {
    let mut ops = unmoved(uid, old)?;
    if let Some(generation) = generation {
        ops.push(op("test", "/metadata/generation", &generation)?);
    }
    changed(old, new, &mut ops)?;
    tail(old, new, &mut ops)?;
    Ok(ops)
}

/// A write that changes only what is for display.
///
/// # Errors
/// When a status does not serialise.
pub fn display(
    uid: &str,
    old: &DataOperationStatus,
    new: &DataOperationStatus,
) -> Result<Ops, serde_json::Error> {
    let mut ops = unmoved(uid, old)?;
    let kept = ops.len();
    changed(old, new, &mut ops)?;
    if ops.len() == kept {
        ops.clear();
    }
    Ok(ops)
}

/// The fields that differ, but for the tail.
fn changed(
    old: &DataOperationStatus,
    new: &DataOperationStatus,
    ops: &mut Ops,
) -> Result<(), serde_json::Error> {
    let DataOperationStatus {
        seq,
        phase,
        step,
        kind,
        state,
        machine_version,
        round,
        handled_retry,
        failures,
        cancel_noted,
        fence,
        intent,
        plan,
        sealed_through,
        digest,
        tail: _,
        progress,
        waiting_on,
        conditions,
        started_at,
        finished_at,
    } = new;
    field("seq", &old.seq, seq, ops)?;
    field("phase", &old.phase, phase, ops)?;
    field("step", &old.step, step, ops)?;
    field("kind", &old.kind, kind, ops)?;
    field("state", &old.state, state, ops)?;
    field("machineVersion", &old.machine_version, machine_version, ops)?;
    field("round", &old.round, round, ops)?;
    field("handledRetry", &old.handled_retry, handled_retry, ops)?;
    field("failures", &old.failures, failures, ops)?;
    field("cancelNoted", &old.cancel_noted, cancel_noted, ops)?;
    field("fence", &old.fence, fence, ops)?;
    optional("intent", old.intent.as_ref(), intent.as_ref(), ops)?;
    field("plan", &old.plan, plan, ops)?;
    field("sealedThrough", &old.sealed_through, sealed_through, ops)?;
    field("digest", &old.digest, digest, ops)?;
    optional("progress", old.progress.as_ref(), progress.as_ref(), ops)?;
    optional("waitingOn", old.waiting_on.as_ref(), waiting_on.as_ref(), ops)?;
    field("conditions", &old.conditions, conditions, ops)?;
    optional("startedAt", old.started_at.as_ref(), started_at.as_ref(), ops)?;
    optional("finishedAt", old.finished_at.as_ref(), finished_at.as_ref(), ops)
}

fn field<T: PartialEq + Serialize>(
    name: &str,
    old: &T,
    new: &T,
    ops: &mut Ops,
) -> Result<(), serde_json::Error> {
    optional(name, Some(old), Some(new), ops)
}

/// A field that is left out while it is `None`.
fn optional<T: PartialEq + Serialize>(
    name: &str,
    old: Option<&T>,
    new: Option<&T>,
    ops: &mut Ops,
) -> Result<(), serde_json::Error> {
    if old == new {
        return Ok(());
    }
    let path = format!("/status/{name}");
    ops.push(match new {
        Some(new) => op("add", path, new)?,
        None => remove(path),
    });
    Ok(())
}

fn tail(
    old: &DataOperationStatus,
    new: &DataOperationStatus,
    ops: &mut Ops,
) -> Result<(), serde_json::Error> {
    let first = new.tail.first().map(|e| e.seq);
    let gone = old.tail.iter().take_while(|e| first.is_none_or(|f| e.seq < f)).count();
    if gone > TRIM_ONE_BY_ONE {
        ops.push(op("add", "/status/tail", &new.tail)?);
        return Ok(());
    }
    let last = old.tail.last().map(|e| e.seq);
    for entry in new.tail.iter().filter(|e| last.is_none_or(|l| e.seq > l)) {
        ops.push(op("add", "/status/tail/-", entry)?);
    }
    ops.extend((0..gone).map(|_| remove("/status/tail/0")));
    Ok(())
}

#[cfg(test)]
#[path = "patch_tests.rs"]
mod tests;
