//! What must never happen, checked at every commit of the API server and at every effect that reaches the engine.
//!
//! ```text
//!   Server --sink--> Oracle: transitions, locks, journals, sizes
//!   engine link ---> Oracle: effects against the intents that stand
//!   API link ------> Oracle: nobody acts on less than it has seen
//! ```
//!
//! The oracle keeps a copy of the world of its own and shares no code with what it judges but the types.

use super::members::Written;
use ratchet_simulator::api::Change;
use ratchet_state_machine::effect::Effect;
use ratchet_state_machine::ids::{Fence, Token};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Largest status, in bytes.
const MAX_STATUS: usize = 32 * 1024;

/// Whether one path is the other or lies below it, by components.
pub fn overlap(a: &str, b: &str) -> bool {
    let below =
        |p: &str, q: &str| p == "/" || p == q || q.strip_prefix(p).is_some_and(|r| r.starts_with('/'));
    below(a, b) || below(b, a)
}

/// An application of an effect, as the oracle has to know it.
#[derive(Debug, Clone)]
pub struct Landed<'a> {
    /// The effect.
    pub effect: &'a Effect,
    /// Its path.
    pub path: &'a str,
    /// Its token.
    pub token: &'a Token,
    /// Its fence.
    pub fence: Fence,
    /// It changed something.
    pub changed: bool,
}

/// The judge.
#[derive(Debug, Default)]
pub struct Oracle {
    operations: BTreeMap<String, Arc<Value>>,
    /// Operations that are gone, as they were last seen.
    gone: BTreeMap<String, Arc<Value>>,
    locks: BTreeMap<String, Arc<Value>>,
    /// Last entry that is in a segment, by uid of the operation; with every entry's text.
    segments: BTreeMap<String, BTreeMap<i64, Value>>,
    /// Hold ids that were granted, and to whom.
    grants: BTreeMap<i64, String>,
    /// Tokens whose effect changed something, and how often.
    applied: BTreeMap<String, u32>,
    /// Paths that somebody else has loaded: bytes come for as long as that takes.
    foreign: Vec<String>,
    /// Deleted past the protocol: finalizers taken off.
    forced: BTreeSet<String>,
    /// What was wrong.
    pub violations: Vec<String>,
    /// Commits that are not for display only.
    pub commits: u64,
    /// Commits of any kind by controllers.
    pub writes: u64,
    /// When the last of them was, in milliseconds.
    pub last_write_ms: i64,
    /// Operations that reached a terminal phase.
    pub finished: u64,
    /// The engine dedupes by token or refuses lower fences.
    pub protected: bool,
    /// A replica's clock runs fast: its waits are short, and what it sent may land when it counts on that no more. Such
    /// clocks are given only to replicas of an engine that takes an effect once.
    pub hasty: bool,
    /// Largest status so far, in bytes.
    pub largest: usize,
    /// Whoever writes now is a person.
    pub by_hand: bool,
    /// StatefulSets of the managed cache, as they were written.
    pub sets: Written,
}

fn text<'a>(v: &'a Value, path: &[&str]) -> &'a str {
    path.iter().fold(v, |v, p| &v[*p]).as_str().unwrap_or_default()
}

fn number(v: &Value, path: &[&str]) -> i64 {
    path.iter().fold(v, |v, p| &v[*p]).as_i64().unwrap_or(0)
}

fn terminal(o: &Value) -> bool {
    over(text(o, &["status", "phase"]))
}

fn over(phase: &str) -> bool {
    matches!(phase, "Succeeded" | "Failed" | "Cancelled" | "RolledBack")
}

/// Terminal, and everything is in segments.
pub fn settled(o: &Value) -> bool {
    terminal(o) && number(o, &["status", "sealedThrough"]) + 1 == number(o, &["status", "seq"])
}

const FOLDED: [&str; 12] = [
    "phase",
    "step",
    "kind",
    "state",
    "round",
    "handledRetry",
    "failures",
    "cancelNoted",
    "fence",
    "intent",
    "sealedThrough",
    "digest",
];

impl Oracle {
    /// Something is wrong.
    pub fn object(&mut self, what: impl Into<String>) {
        if self.violations.len() < 20 {
            self.violations.push(what.into());
        }
    }

    /// The operation with this uid is deleted by force: its holds are void from now on.
    pub fn forced(&mut self, uid: &str) {
        self.forced.insert(uid.to_owned());
    }

    /// The engine has lost entries: what is applied once more may have been among them.
    pub fn engine_forgot(&mut self) {
        self.applied.clear();
    }

    /// Somebody else loads a path: a fenced repeat has something to do there again.
    pub fn foreign_load(&mut self, path: &str) {
        self.foreign.push(path.to_owned());
    }

    /// Operations that are there.
    pub fn operations(&self) -> impl Iterator<Item = &Arc<Value>> {
        self.operations.values()
    }

    /// Every operation there is or was, by uid.
    pub fn all_operations(&self) -> impl Iterator<Item = (&String, &Arc<Value>)> {
        self.operations.iter().chain(self.gone.iter())
    }

    /// Whether nothing is left to do: every operation settled or gone, no hold.
    pub fn calm(&self) -> bool {
        self.operations.values().all(|o| settled(o) && o["metadata"]["deletionTimestamp"].is_null())
            && self.locks.values().all(|l| holders(l).is_empty())
    }

    /// Holders of the locks, for reports.
    pub fn holders(&self) -> Vec<String> {
        let all = self.locks.values().flat_map(|l| holders(l));
        all.map(|h| text(h, &["name"]).to_owned()).collect()
    }

    /// Entries of an operation's segments, in order.
    pub fn sealed(&self, uid: &str) -> Vec<Value> {
        self.segments.get(uid).map(|s| s.values().cloned().collect()).unwrap_or_default()
    }

    /// A change is about to be committed.
    pub fn committed(&mut self, change: &Change, now_ms: i64) {
        let (deleted, object) = (change.type_ == "DELETED", &change.object);
        match change.kind.kind.as_str() {
            "DataOperation" => self.operation(deleted, object, change.bytes.len(), now_ms),
            "TargetLock" => self.lock(deleted, object),
            "OperationJournal" => self.journal(deleted, object),
            "CacheCluster" if !deleted => {
                let by = text(object, &["status", "revision", "by", "operation"]).to_owned();
                let over = self.operations.get(&by).or(self.gone.get(&by)).is_some_and(|o| terminal(o));
                if let Err(why) = self.sets.revise(object, over) {
                    self.object(why);
                }
            }
            "StatefulSet" if !deleted && !self.by_hand => {
                if let Err(why) = self.sets.write(object) {
                    self.object(why);
                }
            }
            _ => {}
        }
    }

    fn operation(&mut self, deleted: bool, new: &Arc<Value>, whole: usize, now_ms: i64) {
        let uid = text(new, &["metadata", "uid"]).to_owned();
        if deleted {
            self.operations.remove(&uid);
            self.gone.insert(uid, Arc::clone(new));
            return;
        }
        let old = self.operations.insert(uid.clone(), Arc::clone(new));
        let before = old.as_ref().map_or(&Value::Null, |o| &o["status"]);
        let after = &new["status"];
        if before == after {
            return;
        }
        self.writes += 1;
        self.last_write_ms = now_ms;
        let name = text(new, &["metadata", "name"]).to_owned();
        let (was, is) = (number(before, &["seq"]), number(after, &["seq"]));
        if was == is {
            if let Some(field) = FOLDED.iter().find(|f| before[**f] != after[**f]) {
                self.object(format!("{name}: {field} changed without a transition at seq {is}"));
            }
            return;
        }
        self.commits += 1;
        if is != was + 1 {
            self.object(format!("{name}: seq went from {was} to {is}"));
        }
        if before["phase"] != after["phase"] {
            if over(text(before, &["phase"])) {
                self.object(format!("{name}: {} after {}", after["phase"], before["phase"]));
            }
            self.finished += u64::from(terminal(new));
        }
        let fence = |s: &Value| (number(s, &["fence", "epoch"]), number(s, &["fence", "attempt"]));
        if fence(after) < fence(before) {
            self.object(format!("{name}: the fence fell from {:?} to {:?}", fence(before), fence(after)));
        }
        self.intent(&name, before, new);
        self.tail(&uid, &name, before, after);
        // The status is a part of the object: it is measured where it could be the largest so far.
        let size = if whole > self.largest.min(MAX_STATUS) { after.to_string().len() } else { 0 };
        self.largest = self.largest.max(size);
        if size > MAX_STATUS {
            self.object(format!("{name}: a status of {size} bytes"));
        }
    }

    /// An intent that works forward is never written once somebody has cancelled, and has a fence of its own.
    fn intent(&mut self, name: &str, before: &Value, new: &Value) {
        let after = &new["status"];
        let intent = &after["intent"];
        if intent.is_null() || intent["nonce"] == before["intent"]["nonce"] {
            return;
        }
        let call = intent["effect"]["onWorkers"]["call"].as_str();
        let stops = ["stopLoad", "cancelMetadata", "replaceWorker", "fenceMembers"]
            .iter()
            .any(|e| !intent["effect"][*e].is_null())
            || matches!(call, Some("Rescue" | "Admit"));
        // Whoever takes an upgrade back works on members once more.
        let back = !intent["effect"]["replaceMember"].is_null()
            || intent["effect"]["setRelease"]["back"] == true
            || call == Some("Decommission");
        let stops = stops || (back && after["phase"] == "RollingBack");
        let cancelled =
            new["spec"]["control"]["cancel"] == true || !new["metadata"]["deletionTimestamp"].is_null();
        if cancelled && !stops && after["cancelNoted"] != true {
            self.object(format!("{name}: a forward intent was written after the cancel"));
        }
        if number(intent, &["fence", "attempt"]) <= number(before, &["fence", "attempt"]) {
            self.object(format!("{name}: a new intent with an old fence"));
        }
        let uid = text(new, &["metadata", "uid"]);
        let token = text(intent, &["token"]);
        let same = before["intent"]["effect"] == intent["effect"] && before["step"] == after["step"];
        let repeated =
            after["tail"].as_array().and_then(|t| t.last()).is_some_and(|e| e["event"] == "Intended");
        if same && repeated && text(before, &["intent", "token"]) != token {
            self.object(format!("{name} {uid}: another attempt at the same effect has another token"));
        }
    }

    /// Entries leave the status only when a segment has them.
    fn tail(&mut self, uid: &str, name: &str, before: &Value, after: &Value) {
        let first = number(&after["tail"][0], &["seq"]);
        let left: Vec<i64> = before["tail"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|e| number(e, &["seq"]))
            .filter(|s| *s < first)
            .collect();
        let kept = self.segments.get(uid);
        if let Some(lost) = left.iter().find(|s| kept.is_none_or(|k| !k.contains_key(s))) {
            self.object(format!("{name}: entry {lost} left the status and is in no segment"));
        }
    }

    fn journal(&mut self, deleted: bool, new: &Arc<Value>) {
        if deleted {
            return;
        }
        self.commits += 1;
        self.writes += 1;
        let uid = text(new, &["spec", "uid"]).to_owned();
        for entry in new["spec"]["entries"].as_array().into_iter().flatten() {
            let seq = number(entry, &["seq"]);
            let slot = self.segments.entry(uid.clone()).or_default();
            if slot.insert(seq, entry.clone()).is_some_and(|old| old != *entry) {
                self.object(format!("{uid}: two segments disagree about entry {seq}"));
            }
        }
    }

    fn lock(&mut self, deleted: bool, new: &Arc<Value>) {
        let name = text(new, &["metadata", "name"]).to_owned();
        if deleted {
            self.locks.remove(&name);
            return;
        }
        let old = self.locks.insert(name, Arc::clone(new));
        self.commits += 1;
        self.writes += 1;
        let before = old.as_ref().map_or(&[][..], |o| holders(o));
        let after = holders(new);
        for (i, a) in after.iter().enumerate() {
            for b in &after[i + 1..] {
                if conflict(a, b) {
                    let (a, b) = (text(a, &["name"]), text(b, &["name"]));
                    self.object(format!("{a} and {b} hold the lock on overlapping paths"));
                }
            }
        }
        for holder in after {
            let (hold, uid) = (number(holder, &["hold"]), text(holder, &["uid"]).to_owned());
            let other = self.grants.insert(hold, uid.clone());
            // A create that arrives after the lock that it meant was used and deleted may grant a hold again; by then its
            // former owner is gone or never took it up, so nothing carries it.
            let carried = |o: &Value| number(o, &["status", "fence", "epoch"]) >= hold;
            if let Some(other) =
                other.filter(|o| *o != uid && self.operations.get(o).is_some_and(|o| carried(o)))
            {
                self.object(format!("hold {hold} was granted to {other} and to {uid}"));
            }
        }
        let epoch = |v: &Value| number(v, &["spec", "lock", "epoch"]);
        if old.as_ref().is_some_and(|o| epoch(new) < epoch(o)) {
            self.object("the epoch of a lock fell");
        }
        for holder in before {
            if !after.iter().any(|h| h["uid"] == holder["uid"] && h["hold"] == holder["hold"]) {
                self.left(holder);
            }
        }
    }

    /// A hold is given back or taken away only when its operation is over, gone, or has moved on without it.
    fn left(&mut self, holder: &Value) {
        let uid = text(holder, &["uid"]);
        let Some(op) = self.operations.get(uid) else { return };
        let (status, hold) = (&op["status"], number(holder, &["hold"]));
        let moved_on = match text(status, &["phase"]) {
            "" | "Pending" | "AwaitingApproval" => true,
            "Queued" => number(status, &["seq"]) != number(holder, &["seq"]),
            _ => terminal(op) || number(status, &["fence", "epoch"]) != hold,
        };
        if !moved_on && !self.forced.contains(uid) {
            let name = text(holder, &["name"]).to_owned();
            self.object(format!("{name} lost its hold {hold} while it was {}", status["phase"]));
        }
    }

    /// An effect has reached the engine.
    pub fn landed(&mut self, landed: &Landed<'_>) {
        let token = &landed.token.0;
        let what = format!("{} on {} ({} {})", landed.effect.name(), landed.path, token, landed.fence);
        if landed.changed {
            let times = self.applied.entry(token.clone()).or_default();
            *times += 1;
            let undone = self.foreign.iter().any(|p| overlap(p, landed.path));
            if *times > 1 && self.protected && !undone {
                self.object(format!("{what} was applied twice"));
            }
        }
        let stands = self.operations.values().chain(self.gone.values()).find(|o| {
            let intent = &o["status"]["intent"];
            text(intent, &["token"]) == token
                && number(intent, &["fence", "epoch"]) == landed.fence.epoch
                && number(intent, &["fence", "attempt"]) == landed.fence.attempt
        });
        // An engine that dedupes or fences takes no harm from what it did not apply.
        let stands = stands.cloned();
        if stands.is_none() && (landed.changed || !self.protected) && !self.hasty {
            self.object(format!("{what} landed, and no intent for it stands"));
        }
        if let Some(op) = stands {
            self.alone(&what, landed, &op);
        }
    }

    /// Nobody else works on the paths with a hold of its own.
    fn alone(&mut self, what: &str, landed: &Landed<'_>, op: &Value) {
        let uid = text(op, &["metadata", "uid"]);
        let other = self
            .locks
            .values()
            .flat_map(|l| holders(l))
            .find(|h| text(h, &["uid"]) != uid && paths(h).any(|p| overlap(p, landed.path)));
        if let Some(other) = other
            && landed.changed
        {
            let (own, name) = (text(op, &["metadata", "name"]), text(other, &["name"]).to_owned());
            self.object(format!("{what} of {own} landed while {name} holds the lock on its path"));
        }
    }
}

/// The holders of a lock.
fn holders(lock: &Value) -> &[Value] {
    lock["spec"]["lock"]["holders"].as_array().map_or(&[], Vec::as_slice)
}

/// The paths of a holder.
fn paths(holder: &Value) -> impl Iterator<Item = &str> {
    holder["paths"].as_array().into_iter().flatten().filter_map(Value::as_str)
}

fn conflict(a: &Value, b: &Value) -> bool {
    let exclusive = |h: &Value| h["mode"] == "Exclusive";
    exclusive(a) || exclusive(b) || paths(a).any(|x| paths(b).any(|y| overlap(x, y)))
}
