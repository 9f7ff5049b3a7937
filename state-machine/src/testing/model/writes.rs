//! What arrives: writes at the API server, calls at the engine, and the answers to both (or none).
//!
//! ```text
//!   status: uid + seq (+ generation with an intent)      lock: resourceVersion      engine: by its class
//! ```
//!
//! A write whose precondition can never hold again is refused at once: its refusal touches nothing but its sender's
//! memory, and the read that follows it shows the newest copy.

use super::pure::Does;
use super::{Action, Call, Class, Late, LockWrite, Model, Mutation, Next, Sent, Task, Version, World, Write};

impl World {
    /// The operation has a new version.
    pub(super) fn moved(&mut self, op: usize, now: Version) {
        let object = &mut self.ops[op];
        object.lapsed &= object.now.nonce == now.nonce && now.nonce > 0;
        object.before = object.now;
        object.now = now;
        self.replicas.iter_mut().for_each(|r| r.knows[op] = false);
    }
}

impl Model {
    fn accepts(&self, w: &World, write: &Write) -> bool {
        let (pure, now) = (self.pure.borrow(), w.ops[usize::from(write.op)].now);
        let seq = |v: Version| pure.folded(v.folded).map(|f| f.seq);
        let generation = !write.intends || now.cancel == write.base.cancel;
        (seq(now) == seq(write.base) || self.mutation == Mutation::NoSeq)
            && (generation || self.mutation == Mutation::NoGeneration)
    }

    fn accepts_lock(&self, w: &World, write: &LockWrite) -> bool {
        w.lock[0] == write.base || self.mutation == Mutation::LockUnguarded
    }

    /// The API server gets a status write. `None`: a precondition fails.
    fn put(&self, w: &mut World, write: &Write) -> Result<bool, &'static str> {
        if !self.accepts(w, write) {
            return Ok(false);
        }
        let op = usize::from(write.op);
        self.lawful(w, write)?;
        let now = Version { cancel: w.ops[op].now.cancel, ..write.next };
        w.moved(op, now);
        Ok(true)
    }

    /// The API server gets a write of the lock. Whoever loses reads the newest.
    pub(super) fn put_lock(&self, w: &mut World, write: LockWrite) {
        if self.accepts_lock(w, &write) {
            w.lock = [write.next, w.lock[0]];
        }
    }

    /// What may become of what a worker has sent to the API server.
    pub(super) fn replies(&self, w: &World, r: usize, op: usize, out: &mut Vec<Next>) {
        let lossy = w.faults.replies > 0;
        let mut idle = w.clone();
        idle.replicas[r].tasks[op] = Task::Idle;
        let mut lost = idle.clone();
        lost.faults.replies = lost.faults.replies.saturating_sub(1);
        match w.replicas[r].tasks[op] {
            Task::Idle | Task::Call => {}
            Task::Lock(write) => {
                self.put_lock(&mut idle, write);
                self.push(out, Action::Arrives { r, op }, idle, true);
                if lossy {
                    // The read comes before the write.
                    lost.late.push(Late::Lock(write));
                    self.push(out, Action::GivesUp { r, op }, lost, false);
                }
            }
            Task::Write(write) => {
                let stands = self.put(&mut idle, &write);
                idle.replicas[r].knows[op] = true;
                self.try_push(out, Action::Arrives { r, op }, idle, stands.err(), true);
                if lossy {
                    let read = Task::Read(write);
                    let mut late = lost.clone();
                    late.replicas[r].tasks[op] = read;
                    late.late.push(Late::Status(write));
                    self.push(out, Action::GivesUp { r, op }, late, false);
                    let stands = self.put(&mut lost, &write);
                    lost.replicas[r].tasks[op] = read;
                    self.try_push(out, Action::AnswerLost { r, op }, lost, stands.err(), false);
                }
            }
            Task::Read(write) => {
                let now = w.ops[op].now;
                let landed = (now.folded, now.nonce) == (write.next.folded, write.next.nonce);
                idle.replicas[r].knows[op] = true;
                if !landed && self.mutation != Mutation::LostIsWritten {
                    idle.replicas[r].own[op] = write.own;
                }
                if !landed && self.mutation == Mutation::LostIsWritten && write.intends {
                    self.trust(&mut idle, r, &write);
                }
                self.push(out, Action::ReadsBack { r, op }, idle, true);
            }
        }
    }

    /// The mutation that takes a lost reply for a write that stands: it performs what it believes to have written.
    fn trust(&self, w: &mut World, r: usize, write: &Write) {
        let op = usize::from(write.op);
        let what = self.pure.borrow().folded(write.next.folded).and_then(super::pure::intended);
        let Some(what) = what else { return };
        w.calls.push(Call { op: write.op, nonce: write.next.nonce, what, waiter: Some(r as u8) });
        w.replicas[r].tasks[op] = Task::Call;
    }

    fn try_push(
        &self,
        out: &mut Vec<Next>,
        action: Action,
        world: World,
        broken: Option<&'static str>,
        fair: bool,
    ) {
        match broken {
            Some(why) => out.push(Next { action, world: Err(why), fair }),
            None => self.push(out, action, world, fair),
        }
    }

    /// Writes that nobody waits for.
    pub(super) fn late(&self, w: &World, out: &mut Vec<Next>) {
        for i in 0..w.late.len() {
            let mut next = w.clone();
            let late = next.late.remove(i);
            self.push(out, Action::WriteDrops, next.clone(), true);
            let broken = match late {
                Late::Lock(write) => {
                    self.put_lock(&mut next, write);
                    None
                }
                Late::Status(write) => self.put(&mut next, &write).err(),
            };
            self.try_push(out, Action::ArrivesLate, next, broken, true);
        }
    }

    /// What may become of the calls.
    pub(super) fn calls(&self, w: &World, out: &mut Vec<Next>) {
        for i in 0..w.calls.len() {
            let call = w.calls[i];
            let op = usize::from(call.op);
            let mut gone = w.clone();
            gone.calls.remove(i);
            if let Some(r) = call.waiter {
                gone.replicas[usize::from(r)].tasks[op] = Task::Idle;
            }
            let mut landed = gone.clone();
            let broken = self.land(&mut landed, &call);
            let mut answered = landed.clone();
            if let Some(own) = call.waiter.and_then(|r| answered.replicas[usize::from(r)].own[op].as_mut()) {
                own.sent = if own.nonce == call.nonce { Sent::Answered } else { own.sent };
            }
            let told = Action::Lands { op, answered: call.waiter.is_some() };
            self.try_push(out, told, answered, broken, true);
            if call.waiter.is_none() {
                self.push(out, Action::CallDrops { op }, gone, true);
                continue;
            }
            if w.faults.calls == 0 {
                continue;
            }
            for world in [&mut gone, &mut landed] {
                world.faults.calls -= 1;
            }
            let mut late = gone.clone();
            late.calls.push(Call { waiter: None, ..call });
            self.try_push(out, Action::Lands { op, answered: false }, landed, broken, false);
            self.push(out, Action::CallLate { op }, late, false);
            self.push(out, Action::CallDrops { op }, gone, false);
        }
    }

    /// The engine gets a call; the sentence that this breaks, if any.
    fn land(&self, w: &mut World, call: &Call) -> Option<&'static str> {
        let op = usize::from(call.op);
        let now = w.ops[op].now;
        let stands = match self.class {
            Class::Repeatable => now.nonce == call.nonce,
            Class::Fenced if call.what.fence < w.marks.fence => return None,
            Class::Token if w.marks.tokens & token(call) > 0 => return None,
            Class::Fenced | Class::Token => {
                let pure = self.pure.borrow();
                let intent = pure.folded(now.folded).and_then(super::pure::intended);
                intent.is_some_and(|i| i.token == call.what.token)
            }
        };
        if self.class == Class::Fenced {
            w.marks.fence = call.what.fence;
        }
        if self.class == Class::Token {
            w.marks.tokens |= token(call);
        }
        match call.what.does {
            Does::Learn => w.engine.known = true,
            Does::Submit => w.engine.job = 1,
            Does::Stop if w.engine.job == 1 => w.engine.job = 2,
            Does::Stop | Does::Forget => {}
            Does::Free => {
                w.engine.cached = false;
                w.ops[op].landed = true;
            }
        }
        (!stands).then_some("an effect landed whose intent does not stand")
    }

    /// The same state under the smallest of its names.
    pub(super) fn tidy(&self, mut w: World) -> World {
        let mut late = std::mem::take(&mut w.late);
        late.retain(|l| match l {
            Late::Lock(l) => self.accepts_lock(&w, l),
            Late::Status(l) => self.accepts(&w, l),
        });
        w.late = late;
        for r in 0..2 {
            for op in 0..2 {
                match w.replicas[r].tasks[op] {
                    Task::Write(write) if !self.accepts(&w, &write) => {
                        w.replicas[r].own[op] = write.own;
                        w.replicas[r].knows[op] = true;
                        w.replicas[r].tasks[op] = Task::Idle;
                    }
                    Task::Lock(write) if !self.accepts_lock(&w, &write) => {
                        w.replicas[r].tasks[op] = Task::Idle;
                    }
                    Task::Idle | Task::Write(_) | Task::Read(_) | Task::Lock(_) | Task::Call => {}
                }
            }
        }
        for op in 0..2 {
            w.forget(op);
            // Only the workers of the second operation look at the first one as well.
            if op == 1 && w.replicas.iter().all(|r| r.knows[op]) {
                w.ops[op].before = w.ops[op].now;
            }
        }
        let other = self.symmetric.then(|| w.swapped());
        let w = w.named();
        other.map_or_else(|| w.clone(), |o| o.named().min(w.clone()))
    }
}

fn token(call: &Call) -> u64 {
    1 << (u64::from(call.op) * 32 + u64::from(call.what.token).min(31))
}

impl World {
    /// What a process remembers of an intent that no copy shows is never asked for again.
    fn forget(&mut self, op: usize) {
        let object = self.ops[op];
        for r in 0..2 {
            let task = self.replicas[r].tasks[op];
            let sending = if let Task::Write(w) | Task::Read(w) = task { w.next.nonce } else { 0 };
            let late = self.late.iter().any(|l| {
                let Late::Status(l) = l else { return false };
                usize::from(l.op) == op && self.replicas[r].own[op].is_some_and(|o| o.nonce == l.next.nonce)
            });
            let useful = |n: u8| n == object.now.nonce || n == object.before.nonce || n == sending || late;
            let own = &mut self.replicas[r].own[op];
            *own = own.filter(|o| useful(o.nonce));
        }
    }

    fn swapped(&self) -> Self {
        let mut w = self.clone();
        w.replicas.swap(0, 1);
        w.calls.iter_mut().for_each(|c| c.waiter = c.waiter.map(|r| 1 - r));
        w
    }

    /// Names the writes anew, in the order in which they stand in the state.
    fn named(mut self) -> Self {
        self.calls.sort_unstable();
        self.late.sort_unstable();
        let mut names: Vec<u8> = Vec::new();
        self.each_nonce(|n| {
            let at = names.iter().position(|known| known == n).unwrap_or_else(|| {
                names.push(*n);
                names.len() - 1
            });
            *n = at as u8 + 1;
        });
        self.calls.sort_unstable();
        self.late.sort_unstable();
        self
    }
}
