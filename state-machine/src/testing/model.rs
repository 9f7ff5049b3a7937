//! Two replicas, one engine, two operations on overlapping paths, as a graph of small states.
//!
//! ```text
//!   World --every atomic action--> Worlds        shell: what the controller does between two awaits, and the faults
//!   World --check--> sentence that is broken     law: what must hold in every state
//!   breadth first over all Worlds                explore: shortest traces, and whether the end can always be reached
//! ```
//!
//! Time is left out: what the waits guarantee is the order in which things may happen. A window lapses (a foreign
//! intent is expired) only when none of its calls is under way any more, and a call is made only before that.
//! A look at a cache shows the newest copy or the one before it. For the operation that is worked on it never goes
//! back; for the other one and the lock it may, which is more than a watch can do.

pub mod explore;
mod law;
mod pure;
mod shell;
mod writes;

pub use pure::Class;
use pure::{Effects, Engine, FoldedId, LockId, Pure};
use std::cell::RefCell;

/// A piece of the protocol that is left out, to see that it is missed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mutation {
    /// Nothing is.
    None,
    /// A foreign intent counts as expired at once.
    NoWait,
    /// The wait ends with the window for sending; the engine's delay is not added.
    ShortWait,
    /// The call is made before the intent is written.
    EffectFirst,
    /// A hold is freed because of what the cache says.
    StealFromCache,
    /// The lock is written without its resourceVersion.
    LockUnguarded,
    /// An intent does not test the generation.
    NoGeneration,
    /// A transition does not test `seq`.
    NoSeq,
    /// A lost reply counts as a write that stands.
    LostIsWritten,
}

/// How often each fault may still happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Faults {
    /// Crashes in all; at most one of each replica.
    pub crashes: u8,
    /// Replies of the API server that are lost (and writes that arrive late).
    pub replies: u8,
    /// Calls to the engine that are not answered (applied, late, or never applied).
    pub calls: u8,
    /// Replicas that sleep past a window.
    pub freezes: u8,
    /// Cancels by the user.
    pub cancels: u8,
}

/// One copy of an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Version {
    folded: FoldedId,
    /// Names the write of its intent; 0 without one.
    nonce: u8,
    /// The spec asks for a cancel.
    cancel: bool,
}

/// One operation on the API server, with the copy that a lagging cache still shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
struct Object {
    now: Version,
    before: Version,
    /// Nothing of the present intent can be sent or land any more, and everybody has waited for that.
    lapsed: bool,
    /// A free of it has landed.
    landed: bool,
}

/// What a process knows of the effect of its own intent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Sent {
    No,
    At,
    Answered,
}

/// What a process remembers of an intent that it wrote.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Own {
    nonce: u8,
    sent: Sent,
    /// Its window for sending is open.
    open: bool,
}

/// A write to an operation's status on its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Write {
    op: u8,
    base: Version,
    next: Version,
    intends: bool,
    /// What was remembered before it.
    own: Option<Own>,
}

/// A write to the lock on its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct LockWrite {
    base: LockId,
    next: LockId,
}

/// What the worker of one operation in one process waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
enum Task {
    #[default]
    Idle,
    /// The reply to a write.
    Write(Write),
    /// The read that decides about a write without a reply.
    Read(Write),
    /// The reply to a write of the lock.
    Lock(LockWrite),
    /// The engine's answer.
    Call,
}

/// A call to the engine on its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Call {
    op: u8,
    nonce: u8,
    what: Effects,
    /// The process that still waits for the answer.
    waiter: Option<u8>,
}

/// A write whose sender is gone or has given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Late {
    Status(Write),
    Lock(LockWrite),
}

/// One process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
struct Replica {
    tasks: [Task; 2],
    own: [Option<Own>; 2],
    /// It has acted on the newest copy, or was told it: the older one is not seen again.
    knows: [bool; 2],
    crashed: bool,
}

/// What an engine of class (b) or (c) remembers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
struct Marks {
    fence: (u8, u8),
    tokens: u64,
}

/// Everything.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct World {
    ops: [Object; 2],
    lock: [LockId; 2],
    replicas: [Replica; 2],
    calls: Vec<Call>,
    late: Vec<Late>,
    engine: Engine,
    marks: Marks,
    faults: Faults,
}

/// One atomic action. `r` is a replica, `op` an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Observe, decide, begin what was decided. `stale` says which of the operation, the other one and the lock were
    /// seen as they were before.
    Step { r: usize, op: usize, stale: [bool; 3], does: &'static str },
    /// The write arrives and is answered.
    Arrives { r: usize, op: usize },
    /// The write arrives, the answer is lost.
    AnswerLost { r: usize, op: usize },
    /// The sender gives up before the write arrives.
    GivesUp { r: usize, op: usize },
    /// The consistent read after a lost answer.
    ReadsBack { r: usize, op: usize },
    /// A write arrives whose sender does not wait for it.
    ArrivesLate,
    /// It never does.
    WriteDrops,
    /// A call is applied, and answered if somebody waits.
    Lands { op: usize, answered: bool },
    /// The sender gives up, the call is still under way.
    CallLate { op: usize },
    /// The call is never applied.
    CallDrops { op: usize },
    /// The window of an intent, and every wait for it, is over.
    Lapses { op: usize },
    /// The load job ends.
    JobEnds,
    /// A hold that belongs to nobody is freed.
    Steals { op: usize },
    /// A user cancels.
    Cancels { op: usize },
    /// The process dies and starts anew.
    Crashes { r: usize },
}

/// The model: what the operations are, and what is left out of the protocol.
pub struct Model {
    pure: RefCell<Pure>,
    pub mutation: Mutation,
    pub class: Class,
    /// The two replicas are interchangeable. Off where a trace is to be read.
    pub symmetric: bool,
}

/// A successor, or the sentence that the action breaks.
pub struct Next {
    pub action: Action,
    pub world: Result<World, &'static str>,
    /// It happens sooner or later, without a fault.
    pub fair: bool,
}

impl Model {
    pub fn new(specs: [crate::spec::OperationSpec; 2], mutation: Mutation, class: Class) -> Self {
        Self { pure: RefCell::new(Pure::new(specs)), mutation, class, symmetric: mutation == Mutation::None }
    }

    /// Nobody has looked at the two operations yet, and what they work on is cached.
    pub fn start(&self, faults: Faults) -> World {
        World {
            ops: [Object::default(); 2],
            lock: [0; 2],
            replicas: [Replica::default(); 2],
            calls: Vec::new(),
            late: Vec::new(),
            engine: Engine { known: false, cached: true, job: 0 },
            marks: Marks::default(),
            faults,
        }
    }
}

impl World {
    /// The copy of an operation in a cache.
    fn seen(&self, op: usize, stale: bool) -> Version {
        if stale { self.ops[op].before } else { self.ops[op].now }
    }

    fn under_way(&self, op: usize, nonce: u8) -> bool {
        self.calls.iter().any(|c| usize::from(c.op) == op && c.nonce == nonce)
    }

    /// A number that names no write yet.
    fn fresh_nonce(&self) -> u8 {
        let mut used = Vec::new();
        self.clone().each_nonce(|n| used.push(*n));
        (1..).find(|n| !used.contains(n)).unwrap()
    }

    /// Visits every name of a write.
    fn each_nonce(&mut self, mut visit: impl FnMut(&mut u8)) {
        let mut visit = |n: &mut u8| {
            if *n > 0 {
                visit(n)
            }
        };
        let write = |w: &mut Write, visit: &mut dyn FnMut(&mut u8)| {
            visit(&mut w.base.nonce);
            visit(&mut w.next.nonce);
            w.own.iter_mut().for_each(|o| visit(&mut o.nonce));
        };
        for object in &mut self.ops {
            visit(&mut object.now.nonce);
            visit(&mut object.before.nonce);
        }
        for replica in &mut self.replicas {
            replica.own.iter_mut().flatten().for_each(|o| visit(&mut o.nonce));
            for task in &mut replica.tasks {
                if let Task::Write(w) | Task::Read(w) = task {
                    write(w, &mut visit);
                }
            }
        }
        self.calls.iter_mut().for_each(|c| visit(&mut c.nonce));
        for late in &mut self.late {
            if let Late::Status(w) = late {
                write(w, &mut visit);
            }
        }
    }
}
