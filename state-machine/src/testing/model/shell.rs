//! What may happen next: the steps of the two processes, the world around them, and the faults.
//!
//! ```text
//!   Step (observe, decide, begin) -> Arrives / Lands -> Step ...      and at any moment: Crashes, Cancels
//! ```
//!
//! A step follows the controller's own, in its order: the hold is confirmed (or restored), the intent judged, the
//! engine asked, and then one thing is begun. What it sends waits in the worker's task until it arrives.

use super::pure::{Plan, Stand, UIDS, intended};
use super::{Action, Call, LockWrite, Model, Mutation, Next, Own, Sent, Task, Version, World, Write};
use crate::machine::Phase;

impl Model {
    /// Every action that is possible in `w`.
    pub fn next(&self, w: &World) -> Vec<Next> {
        let mut out = Vec::new();
        for r in 0..2 {
            for op in 0..2 {
                match w.replicas[r].tasks[op] {
                    Task::Idle => self.steps(w, r, op, &mut out),
                    Task::Write(_) | Task::Read(_) | Task::Lock(_) => self.replies(w, r, op, &mut out),
                    Task::Call => {}
                }
            }
            self.crash(w, r, &mut out);
        }
        self.late(w, &mut out);
        self.calls(w, &mut out);
        for op in 0..2 {
            self.steal(w, op, &mut out);
            self.lapse(w, op, &mut out);
            self.cancel(w, op, &mut out);
        }
        if w.engine.job == 1 {
            let mut next = w.clone();
            next.engine.job = 3;
            next.engine.cached |= next.engine.known;
            self.push(&mut out, Action::JobEnds, next, true);
        }
        out
    }

    pub(super) fn push(&self, out: &mut Vec<Next>, action: Action, world: World, fair: bool) {
        let world = self.tidy(world);
        let broken = self.broken(&world);
        out.push(Next { action, world: broken.map_or(Ok(world), Err), fair });
    }

    /// How the intent of the seen copy stands.
    fn stand(&self, w: &World, r: usize, op: usize, seen: Version) -> Stand {
        if seen.nonce == 0 {
            return Stand::None;
        }
        let own = w.replicas[r].own[op].filter(|o| o.nonce == seen.nonce);
        match own.map(|o| (o.sent, o.open)) {
            Some((Sent::No, true)) => Stand::Sendable,
            Some((Sent::At, _)) if w.under_way(op, seen.nonce) => Stand::Landing,
            Some((Sent::No | Sent::At | Sent::Answered, _)) => Stand::Expired,
            None if self.mutation == Mutation::NoWait => Stand::Expired,
            None if seen == w.ops[op].now && w.ops[op].lapsed => Stand::Expired,
            None => Stand::Landing,
        }
    }

    /// A step for each way in which the caches may lag.
    fn steps(&self, w: &World, r: usize, op: usize, out: &mut Vec<Next>) {
        let differs = |op: usize| w.ops[op].now != w.ops[op].before;
        for stale in (0..8).map(|bits: u8| [bits & 1 > 0, bits & 2 > 0, bits & 4 > 0]) {
            let [own, other, lock] = stale;
            let same = (own && (!differs(op) || w.replicas[r].knows[op]))
                || (other && (op == 0 || !differs(0)))
                || (lock && w.lock[0] == w.lock[1]);
            if !same {
                self.step(w, r, op, stale, out);
            }
        }
    }

    fn step(&self, w: &World, r: usize, op: usize, stale: [bool; 3], out: &mut Vec<Next>) {
        let mut pure = self.pure.borrow_mut();
        let (seen, mut w) = (w.seen(op, stale[0]), w.clone());
        let mut lock = w.lock[usize::from(stale[2])];
        w.replicas[r].knows[op] |= !stale[0];
        let action = |does| Action::Step { r, op, stale, does };
        if seen.folded == 0 {
            let next = Version { folded: pure.birth(op), nonce: 0, ..seen };
            let write = Write { op: op as u8, base: seen, next, intends: false, own: None };
            w.replicas[r].tasks[op] = Task::Write(write);
            drop(pure);
            return self.push(out, action("Created"), w, true);
        }
        let record = pure.folded(seen.folded).unwrap();
        let (epoch, holds) = (record.fence.epoch, record.state.holds());
        let confirmed = |lock: &crate::lock::Lock| lock.hold_of(UIDS[op]).is_some_and(|h| h.hold == epoch);
        if holds && !confirmed(pure.lock(lock)) {
            // A consistent read; then the hold is there, or it is put back, or somebody else has the engine.
            lock = w.lock[0];
            if !confirmed(pure.lock(lock))
                && let Some(next) = pure.restore(op, seen.folded, lock)
            {
                w.replicas[r].tasks[op] = Task::Lock(LockWrite { base: lock, next });
                drop(pure);
                return self.push(out, action("restores its hold"), w, true);
            }
        }
        let other = w.seen(1 - op, stale[1]);
        let waits = op == 1 && !other.cancel && pure.phase(other.folded) == Some(Phase::Queued);
        let view = pure.view(op, seen.folded, lock, waits.then_some(other.folded));
        let stand = self.stand(&w, r, op, seen);
        let done = w.replicas[r].own[op].is_some_and(|o| o.nonce == seen.nonce && o.sent == Sent::Answered);
        let plan = pure.plan((op, seen.folded, seen.cancel, stand, done, view, w.engine));
        // The operations of one process write the lock one after the other.
        let turn = !matches!(w.replicas[r].tasks[1 - op], Task::Lock(_));
        let does = match plan {
            Plan::Nothing => return,
            Plan::Write { next, intends } => {
                let record = pure.folded(next).unwrap();
                let (call, does) = (intended(record), pure.events[&next]);
                // Without waits there is no end to taking over.
                if self.mutation == Mutation::NoWait && call.is_some_and(|c| c.fence.1 > 2) {
                    return;
                }
                self.begin_write(&mut w, r, op, seen, Version { folded: next, ..seen }, intends, call);
                does
            }
            Plan::Perform(what) => {
                let own = w.replicas[r].own[op].as_mut().unwrap();
                own.sent = Sent::At;
                let nonce = own.nonce;
                w.calls.push(Call { op: op as u8, nonce, what, waiter: Some(r as u8) });
                w.replicas[r].tasks[op] = Task::Call;
                "performs"
            }
            Plan::Take | Plan::Release if !turn => return,
            Plan::Take => {
                let next = pure.take(op, seen.folded, lock);
                w.replicas[r].tasks[op] = Task::Lock(LockWrite { base: lock, next });
                "takes the lock"
            }
            Plan::Release => {
                let Some(next) = pure.release(op, lock, Some(seen.folded)) else { return };
                w.replicas[r].tasks[op] = Task::Lock(LockWrite { base: lock, next });
                "releases the lock"
            }
        };
        drop(pure);
        self.push(out, action(does), w, true);
    }

    /// The window counts from before the write; what was remembered comes back if it is lost.
    #[expect(clippy::too_many_arguments, reason = "one write, as it is")]
    fn begin_write(
        &self,
        w: &mut World,
        r: usize,
        op: usize,
        base: Version,
        next: Version,
        intends: bool,
        call: Option<super::pure::Effects>,
    ) {
        let own = w.replicas[r].own[op];
        let nonce = if intends { w.fresh_nonce() } else { base.nonce };
        let nonce = if call.is_some() { nonce } else { 0 };
        let next = Version { nonce, ..next };
        if intends {
            w.replicas[r].own[op] = Some(Own { nonce, sent: Sent::No, open: true });
        }
        if intends && self.mutation == Mutation::EffectFirst {
            w.calls.push(Call { op: op as u8, nonce, what: call.unwrap(), waiter: None });
        }
        w.replicas[r].tasks[op] = Task::Write(Write { op: op as u8, base, next, intends, own });
    }

    /// Frees a hold whose operation is over or moved on: the cache gives the reason to look, a consistent read
    /// decides, and the wait lets land what its operation may have left behind.
    fn steal(&self, w: &World, op: usize, out: &mut Vec<Next>) {
        let lock = w.lock[0];
        if w.calls.iter().any(|c| usize::from(c.op) == op) {
            return;
        }
        let mut pure = self.pure.borrow_mut();
        let Some(holder) = pure.lock(lock).hold_of(UIDS[op]).cloned() else { return };
        let void = |v: Version| {
            let Some(record) = pure.folded(v.folded) else { return true };
            match record.state.phase() {
                Phase::Pending | Phase::AwaitingApproval => true,
                Phase::Queued => record.seq != holder.seq,
                Phase::Running | Phase::Paused | Phase::RollingBack | Phase::Cancelling | Phase::Stuck => {
                    record.fence.epoch != holder.hold
                }
                Phase::Succeeded | Phase::Failed | Phase::Cancelled | Phase::RolledBack => record.settled(),
            }
        };
        let sure = void(w.ops[op].now) || self.mutation == Mutation::StealFromCache;
        if !(void(w.ops[op].now) || void(w.ops[op].before)) || !sure {
            return;
        }
        let Some(next) = pure.release(op, lock, None) else { return };
        drop(pure);
        let mut w = w.clone();
        self.put_lock(&mut w, LockWrite { base: lock, next });
        self.push(out, Action::Steals { op }, w, true);
    }

    /// The window of the present intent ends, and with it every wait. Without a fault it does so only when its
    /// writer cannot go on.
    fn lapse(&self, w: &World, op: usize, out: &mut Vec<Next>) {
        let (nonce, short) = (w.ops[op].now.nonce, self.mutation == Mutation::ShortWait);
        if nonce == 0 || w.ops[op].lapsed || (!short && w.under_way(op, nonce)) {
            return;
        }
        let own = |r: usize| w.replicas[r].own[op].filter(|o| o.nonce == nonce);
        let sleeps = (0..2).filter_map(own).any(|o| o.sent != Sent::At);
        if sleeps && w.faults.freezes == 0 {
            return;
        }
        let mut next = w.clone();
        next.faults.freezes -= u8::from(sleeps);
        next.ops[op].lapsed = true;
        for replica in &mut next.replicas {
            replica.own[op].iter_mut().filter(|o| o.nonce == nonce).for_each(|o| o.open = false);
        }
        self.push(out, Action::Lapses { op }, next, !sleeps);
    }

    fn cancel(&self, w: &World, op: usize, out: &mut Vec<Next>) {
        if w.faults.cancels == 0 || w.ops[op].now.cancel {
            return;
        }
        let mut next = w.clone();
        next.faults.cancels -= 1;
        let now = Version { cancel: true, ..next.ops[op].now };
        next.moved(op, now);
        self.push(out, Action::Cancels { op }, next, false);
    }

    /// The process dies: what it sent may still arrive, what it knew is gone.
    fn crash(&self, w: &World, r: usize, out: &mut Vec<Next>) {
        if w.faults.crashes == 0 || w.replicas[r].crashed {
            return;
        }
        let mut next = w.clone();
        next.faults.crashes -= 1;
        let dead = &mut next.replicas[r];
        dead.crashed = true;
        dead.own = [None; 2];
        dead.knows = [false; 2];
        for task in &mut dead.tasks {
            match std::mem::take(task) {
                Task::Write(write) => next.late.push(super::Late::Status(write)),
                Task::Lock(write) => next.late.push(super::Late::Lock(write)),
                Task::Idle | Task::Read(_) | Task::Call => {}
            }
        }
        next.calls.iter_mut().filter(|c| c.waiter == Some(r as u8)).for_each(|c| c.waiter = None);
        self.push(out, Action::Crashes { r }, next, false);
    }
}
