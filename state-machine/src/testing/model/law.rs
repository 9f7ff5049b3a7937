//! What must hold in every state and at every write, as sentences.
//!
//! ```text
//!   state --broken--> sentence        (state, write) --lawful--> sentence        state --settled--> the end
//! ```
//!
//! The paths of the two operations overlap, so whatever excludes them is asked for without looking at paths; the
//! lock's own notion of a conflict is asked as well.

use super::pure::UIDS;
use super::{Model, World, Write};
use crate::lifecycle::Folded;
use crate::lock::conflict;
use crate::machine::Phase;

impl Model {
    /// The first sentence that the state breaks.
    pub(super) fn broken(&self, w: &World) -> Option<&'static str> {
        let pure = self.pure.borrow();
        let records = [0, 1].map(|op| pure.folded(w.ops[op].now.folded));
        let both = |says: fn(&Folded) -> bool| records.iter().all(|r| r.is_some_and(says));
        if both(|r| r.state.holds() && r.intent.is_some()) {
            return Some("two intents live on overlapping paths");
        }
        if both(|r| r.state.holds()) {
            return Some("two operations whose paths overlap are at work");
        }
        let holders = &pure.lock(w.lock[0]).holders;
        let excludes = |a: usize, b: usize| {
            conflict((holders[a].mode, &holders[a].paths), (holders[b].mode, &holders[b].paths))
        };
        if (1..holders.len()).any(|b| (0..b).any(|a| excludes(a, b))) {
            return Some("two holders of the lock conflict");
        }
        let cancelled = |op: usize| records[op].is_some_and(|r| r.state.phase() == Phase::Cancelled);
        if (0..2).any(|op| cancelled(op) && w.ops[op].landed) {
            return Some("a free was cancelled after it had freed");
        }
        let at_rest = |op: usize| records[op].is_none_or(|r| !r.state.holds());
        (w.engine.job == 1 && at_rest(0) && at_rest(1)).then_some("a load job runs for nobody")
    }

    /// What a write must not do to an operation.
    pub(super) fn lawful(&self, w: &World, write: &Write) -> Result<(), &'static str> {
        let pure = self.pure.borrow();
        let now = w.ops[usize::from(write.op)].now;
        let after = pure.folded(write.next.folded).unwrap();
        if write.intends && now.cancel != write.base.cancel {
            return Err("an intent was written over a cancel that its writer had not seen");
        }
        let kind = after.state.kind();
        if after.state.phase() == Phase::Succeeded && !after.settled() && (kind == "load") != w.engine.cached
        {
            return Err("an operation succeeded and the engine does not show it");
        }
        let Some(before) = pure.folded(now.folded) else { return Ok(()) };
        let (was, is) = (before.state.phase(), after.state.phase());
        if was == Phase::Succeeded && matches!(is, Phase::Cancelling | Phase::Cancelled) {
            return Err("a cancel came after the success");
        }
        if was.terminal() && before.state != after.state {
            return Err("a terminal phase was left");
        }
        if after.seq != before.seq.next() {
            return Err("seq did not grow by one");
        }
        if after.fence < before.fence {
            return Err("the fence fell");
        }
        Ok(())
    }

    /// Every operation is over and settled, and nobody holds the lock.
    pub fn settled(&self, w: &World) -> bool {
        let pure = self.pure.borrow();
        let over = |op: usize| pure.folded(w.ops[op].now.folded).is_some_and(Folded::settled);
        over(0) && over(1) && pure.lock(w.lock[0]).holders.is_empty()
    }

    /// One line for a trace.
    pub fn tell(&self, w: &World) -> String {
        let pure = self.pure.borrow();
        let op = |i: usize| {
            let record = pure.folded(w.ops[i].now.folded);
            record.map_or("new".into(), |f| {
                let intent = if f.intent.is_some() { " with an intent" } else { "" };
                format!("{} at {}{intent}, fence {}", f.state.step(), f.seq, f.fence)
            })
        };
        let holders = &pure.lock(w.lock[0]).holders;
        let holders: Vec<&str> = holders.iter().map(|h| h.uid.as_str()).collect();
        let calls = w.calls.len();
        format!("{}: {} | {}: {} | held by {holders:?}, {calls} calls", UIDS[0], op(0), UIDS[1], op(1))
    }
}
