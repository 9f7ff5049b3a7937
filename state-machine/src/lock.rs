//! The lock of one engine: who may work on it, and on which paths.
//!
//! ```text
//!   request + lock + earlier waiters --grant--> lock with one more holder, epoch + 1
//!   lock --release(hold id)--> lock without it, the operation's final digest kept
//! ```
//!
//! Pure: the caller reads the object, asks here, and writes the answer guarded by the object's resourceVersion.
//! Every grant has a hold id of its own, the epoch; a release names it, so that a late one harms nobody.

use crate::ids::{Digest, Seq};
use crate::spec::{ArmSpec, OperationSpec, paths_overlap};
use serde::{Deserialize, Serialize};

/// Most holders at a time.
pub const MAX_HOLDERS: usize = 64;
/// Most final digests that are kept, newest last.
pub const MAX_FINALS: usize = 64;
/// Most paths in the scope of one hold; more are replaced by their common parent.
pub const MAX_SCOPE: usize = 8;
/// Longest path in a scope, in bytes; longer ones are replaced by a parent that fits.
pub const MAX_SCOPE_PATH: usize = 200;

/// Whether holders can share an engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum Mode {
    /// With every shared holder whose paths do not overlap.
    Shared,
    /// With nobody.
    Exclusive,
}

/// One operation that may work on the engine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Holder {
    /// Uid of the operation.
    #[cfg_attr(feature = "schema", schemars(length(max = 64)))]
    pub uid: String,
    /// Its namespace.
    #[cfg_attr(feature = "schema", schemars(length(max = 253)))]
    pub namespace: String,
    /// Its name.
    #[cfg_attr(feature = "schema", schemars(length(max = 253)))]
    pub name: String,
    /// Name of its arm.
    #[cfg_attr(feature = "schema", schemars(length(max = 63)))]
    pub kind: String,
    /// Whether it shares.
    pub mode: Mode,
    /// The paths it works on, as parents that cover them.
    #[cfg_attr(feature = "schema", schemars(length(max = 8), inner(length(max = 200))))]
    pub paths: Vec<String>,
    /// Id of the hold.
    pub hold: i64,
    /// The operation's `seq` when the hold was granted: a hold whose operation has moved on otherwise is void.
    pub seq: Seq,
}

/// How an operation ended: the head of its chain, kept apart from it so that a consistently rewritten journal is
/// found out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Final {
    /// Uid of the operation.
    #[cfg_attr(feature = "schema", schemars(length(max = 64)))]
    pub uid: String,
    /// Number of its terminal entry.
    pub seq: Seq,
    /// Digest of its terminal entry.
    #[cfg_attr(feature = "schema", schemars(length(max = 64)))]
    pub digest: Digest,
}

/// The state of the lock.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Lock {
    /// Grows with every grant; the id of the newest hold.
    #[serde(default)]
    #[cfg_attr(feature = "schema", schemars(range(min = 0)))]
    pub epoch: i64,
    /// Who works on the engine.
    #[serde(default)]
    #[cfg_attr(feature = "schema", schemars(length(max = 64)))]
    pub holders: Vec<Holder>,
    /// How recent operations ended.
    #[serde(default)]
    #[cfg_attr(feature = "schema", schemars(length(max = 64)))]
    pub finals: Vec<Final>,
    /// It was made anew after another one was lost, and nobody was granted a hold by it yet. Operations that are gone with
    /// their holds may have left calls behind, so the first grant waits until none of them can land any more.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub remade: bool,
}

/// What keeps an operation from being granted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Blocker {
    /// Who, and why.
    pub by: String,
    /// Whether that is an operation which uses the same paths, now or next.
    pub in_use: bool,
}

/// What an operation asks of the lock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// Uid of the operation.
    pub uid: String,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Name of its arm.
    pub kind: &'static str,
    /// Whether it shares.
    pub mode: Mode,
    /// The paths it works on.
    pub paths: Vec<String>,
    /// Its `seq`.
    pub seq: Seq,
}

impl Request {
    /// What an operation with this spec asks for.
    #[must_use]
    pub fn new(uid: &str, namespace: &str, name: &str, seq: Seq, spec: &OperationSpec) -> Self {
        let (kind, mode) = match &spec.operation {
            ArmSpec::Load(_) => ("load", Mode::Shared),
            ArmSpec::Free(_) => ("free", Mode::Shared),
            ArmSpec::Mount(_) => ("mount", Mode::Shared),
            ArmSpec::Unmount(_) => ("unmount", Mode::Shared),
            ArmSpec::Sync(_) => ("sync", Mode::Shared),
            ArmSpec::ScaleOut(_) => ("scaleOut", Mode::Exclusive),
            ArmSpec::ScaleIn(_) => ("scaleIn", Mode::Exclusive),
            ArmSpec::Decommission(_) => ("decommission", Mode::Exclusive),
            ArmSpec::Recommission(_) => ("recommission", Mode::Exclusive),
            ArmSpec::Upgrade(_) => ("upgrade", Mode::Exclusive),
            ArmSpec::Backup(_) => ("backup", Mode::Shared),
        };
        Self {
            uid: uid.into(),
            namespace: namespace.into(),
            name: name.into(),
            kind,
            mode,
            paths: scope(spec.operation.paths()),
            seq,
        }
    }

    fn title(&self) -> String {
        format!("{} {}/{}", self.kind, self.namespace, self.name)
    }
}

/// A bounded set of paths that covers `paths`: wider where it has to be, never narrower.
#[must_use]
pub fn scope(paths: &[String]) -> Vec<String> {
    let mut out: Vec<String> = Vec::new();
    for path in paths.iter().map(|p| fit(p)) {
        if out.iter().any(|o| covers(o, &path)) {
            continue;
        }
        out.retain(|o| !covers(&path, o));
        out.push(path);
    }
    if out.len() > MAX_SCOPE {
        return vec![common(&out)];
    }
    out
}

fn covers(parent: &str, path: &str) -> bool {
    let depth = |p: &str| p.split('/').filter(|c| !c.is_empty()).count();
    paths_overlap(parent, path) && depth(parent) <= depth(path)
}

/// The longest parent of `path` (or itself) that fits the bound.
fn fit(path: &str) -> String {
    let mut path = path;
    while path.len() > MAX_SCOPE_PATH {
        path = path.rsplit_once('/').map_or("", |(parent, _)| parent);
    }
    if path.is_empty() { "/".into() } else { path.into() }
}

fn common(paths: &[String]) -> String {
    let mut parts: Option<Vec<&str>> = None;
    for path in paths {
        let own: Vec<&str> = path.split('/').filter(|c| !c.is_empty()).collect();
        parts = Some(match parts {
            None => own,
            Some(p) => p.iter().zip(&own).take_while(|(a, b)| a == b).map(|(a, _)| *a).collect(),
        });
    }
    format!("/{}", parts.unwrap_or_default().join("/"))
}

/// Whether two operations exclude one another.
#[must_use]
pub fn conflict(a: (Mode, &[String]), b: (Mode, &[String])) -> bool {
    a.0 == Mode::Exclusive
        || b.0 == Mode::Exclusive
        || a.1.iter().any(|x| b.1.iter().any(|y| paths_overlap(x, y)))
}

impl Lock {
    /// The hold of an operation, if it has one.
    #[must_use]
    pub fn hold_of(&self, uid: &str) -> Option<&Holder> {
        self.holders.iter().find(|h| h.uid == uid)
    }

    /// Who keeps `request` from being granted: a holder, or somebody who waits and comes first.
    #[must_use]
    pub fn blocker<'a>(
        &self,
        request: &Request,
        earlier: impl IntoIterator<Item = &'a Request>,
    ) -> Option<Blocker> {
        if self.finals.iter().any(|f| f.uid == request.uid) {
            let by = "nothing: it has ended, and whoever asks has not seen that yet".into();
            return Some(Blocker { by, in_use: false });
        }
        let own = (request.mode, request.paths.as_slice());
        let holder =
            self.holders.iter().find(|h| h.uid != request.uid && conflict(own, (h.mode, h.paths.as_slice())));
        if let Some(h) = holder {
            let alone = request.mode == Mode::Exclusive || h.mode == Mode::Exclusive;
            let why = if alone { "which is at work on the cache" } else { "which works on the same paths" };
            let by = format!("{} {}/{}, {why}", h.kind, h.namespace, h.name);
            return Some(Blocker { by, in_use: true });
        }
        let waiter =
            earlier.into_iter().find(|w| w.uid != request.uid && conflict(own, (w.mode, w.paths.as_slice())));
        if let Some(w) = waiter {
            let by = format!("{}, which comes first in the queue", w.title());
            return Some(Blocker { by, in_use: true });
        }
        (self.holders.len() >= MAX_HOLDERS).then(|| {
            let by = format!("a free place: {MAX_HOLDERS} operations run on this cache");
            Blocker { by, in_use: false }
        })
    }

    /// The lock with `request` as one more holder, and the id of its hold. The caller has asked [`Lock::blocker`].
    /// Asked twice (by two replicas, or after a lost reply) for the same `seq`, it gives the same hold.
    #[must_use]
    pub fn grant(&self, request: &Request) -> (Self, i64) {
        if let Some(held) = self.hold_of(&request.uid).filter(|h| h.seq >= request.seq) {
            return (self.clone(), held.hold);
        }
        let mut next = Self { remade: false, ..self.clone() };
        next.epoch = next.epoch.saturating_add(1);
        next.holders.retain(|h| h.uid != request.uid);
        next.holders.push(Holder {
            uid: request.uid.clone(),
            namespace: request.namespace.clone(),
            name: request.name.clone(),
            kind: request.kind.into(),
            mode: request.mode,
            paths: request.paths.clone(),
            hold: next.epoch,
            seq: request.seq,
        });
        let epoch = next.epoch;
        (next, epoch)
    }

    /// The lock without the hold, and with how its operation ended; `None` when there is no such hold.
    #[must_use]
    pub fn release(&self, uid: &str, hold: i64, end: Option<Final>) -> Option<Self> {
        let at = self.holders.iter().position(|h| h.uid == uid && h.hold == hold)?;
        let mut next = self.clone();
        next.holders.remove(at);
        if let Some(end) = end {
            next.finals.retain(|f| f.uid != end.uid);
            next.finals.push(end);
            let excess = next.finals.len().saturating_sub(MAX_FINALS);
            next.finals.drain(..excess);
        }
        Some(next)
    }
}

#[cfg(test)]
#[path = "lock_tests.rs"]
mod tests;
