//! The lock of an engine whose lock is missing, made anew from what the operations say. An operation whose state this
//! version cannot read counts like any other: what it holds is in plain sight.

use super::observe::request;
use crate::api::DataOperation;
use kube::ResourceExt as _;
use kube::api::DynamicObject;
use ratchet_state_machine::ids::Seq;
use ratchet_state_machine::lock::{Lock, Mode, Request};
use ratchet_state_machine::spec::OperationSpec;
use serde_json::Value;

/// Phases in which an operation holds nothing.
const WITHOUT_HOLD: [&str; 7] =
    ["Pending", "Queued", "AwaitingApproval", "Succeeded", "Failed", "Cancelled", "RolledBack"];

/// What a rebuild has to know of one operation.
struct Seen {
    request: Request,
    epoch: i64,
    holds: bool,
}

/// The content of the lock: the epoch above all that were ever granted on `target`, as a consistent list of the
/// operations shows, with every unfinished holder back in its place.
#[must_use]
pub fn rebuilt(operations: Vec<DynamicObject>, target: &str) -> Lock {
    let here = operations.into_iter().filter(|o| o.data["spec"]["target"].as_str() == Some(target));
    let all: Vec<Seen> = here.map(seen).collect();
    let mut lock = Lock::default();
    for op in all.iter().filter(|o| o.holds) {
        lock = lock.grant(&op.request).0;
        if let Some(holder) = lock.holders.iter_mut().find(|h| h.uid == op.request.uid) {
            holder.hold = op.epoch;
        }
    }
    lock.epoch = all.iter().map(|o| o.epoch).max().filter(|e| *e > 0).map_or(0, |e| e.saturating_add(1));
    lock
}

fn seen(object: DynamicObject) -> Seen {
    let readable = serde_json::to_value(&object).and_then(serde_json::from_value::<DataOperation>);
    match readable {
        Ok(op) => Seen {
            epoch: op.status.as_ref().map_or(0, |s| s.fence.epoch),
            holds: op.status.as_ref().is_some_and(|s| s.state.holds()),
            request: request(&op),
        },
        Err(_) => unreadable(&object),
    }
}

/// By the fields that every version has; what cannot be told counts as held, alone and everywhere.
fn unreadable(object: &DynamicObject) -> Seen {
    let status = &object.data["status"];
    let (uid, name) = (object.uid().unwrap_or_default(), object.name_any());
    let namespace = object.namespace().unwrap_or_default();
    let seq = Seq(status["seq"].as_i64().unwrap_or(0));
    let request = match serde_json::from_value::<OperationSpec>(object.data["spec"].clone()) {
        Ok(spec) => Request::new(&uid, &namespace, &name, seq, &spec),
        Err(_) => Request {
            uid,
            namespace,
            name,
            kind: "unknown",
            mode: Mode::Exclusive,
            paths: vec!["/".into()],
            seq,
        },
    };
    let phase = status["phase"].as_str();
    Seen {
        request,
        epoch: status["fence"]["epoch"].as_i64().unwrap_or(0),
        holds: *status != Value::Null && phase.is_none_or(|p| !WITHOUT_HOLD.contains(&p)),
    }
}
