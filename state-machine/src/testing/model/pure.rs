//! The shipped functions behind small numbers.
//!
//! ```text
//!   (number of a record, what was seen) --decide, apply--> plan with the number of the next record
//! ```
//!
//! `decide`, `query`, `Folded::apply` and the lock are pure, so each question is asked once and its answer kept.
//! Records and locks are numbered as they turn up; a state of the model is then a few bytes. Who wrote an intent is
//! kept beside the record (no shipped function looks at it), digests and times are left out.

use crate::MACHINE_VERSION;
use crate::decision::Decision;
use crate::effect::{
    Answer, Effect, Health, Intent, JobState, MetadataView, Outcome, Query, Receipt, TreeView,
};
use crate::ids::{Digest, Fence, Nonce, PlanHash, Token, WriterId};
use crate::lifecycle::step::Shared;
use crate::lifecycle::{Change, Folded, asks, decide, query};
use crate::lock::{Final, Lock, Request};
use crate::machine::Phase;
use crate::observation::{IntentView, LockView, Observation, Target};
use crate::operation::Event;
use crate::spec::OperationSpec;
use std::collections::HashMap;

/// Number of a record; 0 is an operation without status.
pub type FoldedId = u16;
/// Number of a lock's content.
pub type LockId = u16;
/// Long enough for every pause that the model leaves out, short of every deadline; in milliseconds.
const A_WHILE_MS: i64 = 60_000;

/// What an engine does with a repeat.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// (b): a token that was applied is not applied again.
    Token,
    /// (c): a lower fence is refused.
    Fenced,
    /// (d): every call is applied.
    Repeatable,
}

/// The engine: one piece of data that every path covers, and its load job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Engine {
    /// It knows the files.
    pub known: bool,
    /// It has the bytes.
    pub cached: bool,
    /// 0 absent, 1 running, 2 stopped, 3 succeeded.
    pub job: u8,
}

/// How an intent stands, without the milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Stand {
    None,
    Sendable,
    Landing,
    Expired,
}

/// How the lock is seen, without the names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Seen {
    Held(i64),
    Available,
    Blocked,
}

/// What `decide` said, with the numbers of what follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Plan {
    Nothing,
    Write { next: FoldedId, intends: bool },
    Perform(Effects),
    Take,
    Release,
}

/// The effect of a call: what it does, and what an engine may compare.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Effects {
    pub does: Does,
    /// Entry that the token was made for.
    pub token: u8,
    /// Epoch and attempt.
    pub fence: (u8, u8),
}

/// The effects that the model knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Does {
    Learn,
    Submit,
    Stop,
    Forget,
    Free,
}

/// Everything that a plan depends on.
pub type Question = (usize, FoldedId, bool, Stand, bool, Seen, Engine);

/// The shipped functions with a memory.
pub struct Pure {
    /// By operation and whether a cancel was asked for.
    specs: [[OperationSpec; 2]; 2],
    folded: Vec<Option<Folded>>,
    folded_ids: HashMap<String, FoldedId>,
    locks: Vec<Lock>,
    lock_ids: HashMap<String, LockId>,
    plans: HashMap<Question, Plan>,
    views: HashMap<(usize, FoldedId, LockId, Option<FoldedId>), Seen>,
    /// The last event that led to a record, for traces.
    pub events: HashMap<FoldedId, &'static str>,
}

pub const UIDS: [&str; 2] = ["one", "two"];

impl Pure {
    pub fn new(specs: [OperationSpec; 2]) -> Self {
        let both = |s: OperationSpec| {
            let mut cancelled = s.clone();
            cancelled.control.cancel = true;
            [s, cancelled]
        };
        let mut pure = Self {
            specs: specs.map(both),
            folded: vec![None],
            folded_ids: HashMap::new(),
            locks: Vec::new(),
            lock_ids: HashMap::new(),
            plans: HashMap::new(),
            views: HashMap::new(),
            events: HashMap::new(),
        };
        pure.lock_id(Lock::default());
        pure
    }

    pub fn folded(&self, id: FoldedId) -> Option<&Folded> {
        self.folded[usize::from(id)].as_ref()
    }

    pub fn lock(&self, id: LockId) -> &Lock {
        &self.locks[usize::from(id)]
    }

    pub fn phase(&self, id: FoldedId) -> Option<Phase> {
        self.folded(id).map(|f| f.state.phase())
    }

    fn folded_id(&mut self, folded: Folded) -> FoldedId {
        let next = u16::try_from(self.folded.len()).unwrap();
        let id = *self.folded_ids.entry(format!("{folded:?}")).or_insert(next);
        if id == next {
            self.folded.push(Some(folded));
        }
        id
    }

    pub fn lock_id(&mut self, lock: Lock) -> LockId {
        let next = u16::try_from(self.locks.len()).unwrap();
        let id = *self.lock_ids.entry(format!("{lock:?}")).or_insert(next);
        if id == next {
            self.locks.push(lock);
        }
        id
    }

    /// The first record of an operation.
    pub fn birth(&mut self, op: usize) -> FoldedId {
        let plan = PlanHash(UIDS[op].into());
        let event =
            Event::Shared(Shared::Created { machine: MACHINE_VERSION, after: false, approval: false, plan });
        let change = Change { event, intent: None, sealed_through: None };
        let born = Folded::birth(&self.specs[op][0], &change).unwrap();
        let id = self.folded_id(born);
        self.events.insert(id, "Created");
        id
    }

    pub fn request(&self, op: usize, folded: FoldedId) -> Request {
        let seq = self.folded(folded).map_or_else(Default::default, |f| f.seq);
        Request::new(UIDS[op], "ns", UIDS[op], seq, &self.specs[op][0])
    }

    /// The lock as an operation sees it; `earlier` is a record of the other one, when that waits and comes first.
    pub fn view(&mut self, op: usize, folded: FoldedId, lock: LockId, earlier: Option<FoldedId>) -> Seen {
        let key = (op, folded, lock, earlier);
        if let Some(seen) = self.views.get(&key) {
            return *seen;
        }
        let record = self.folded(folded).unwrap();
        let queued = record.state.phase() == Phase::Queued;
        let request = self.request(op, folded);
        let before = earlier.map(|f| self.request(1 - op, f));
        let lock = self.lock(lock);
        let seen = match lock.hold_of(UIDS[op]) {
            Some(hold) if !queued || hold.seq == record.seq => Seen::Held(hold.hold),
            Some(_) | None if !queued => Seen::Available,
            Some(_) | None if lock.blocker(&request, &before).is_some() => Seen::Blocked,
            Some(_) | None => Seen::Available,
        };
        self.views.insert(key, seen);
        seen
    }

    /// The lock with the hold granted.
    pub fn take(&mut self, op: usize, folded: FoldedId, lock: LockId) -> LockId {
        let next = self.lock(lock).grant(&self.request(op, folded)).0;
        self.lock_id(next)
    }

    /// The lock without the hold of an operation that is over (or of one that is void, without a final).
    pub fn release(&mut self, op: usize, lock: LockId, over: Option<FoldedId>) -> Option<LockId> {
        let end = over.and_then(|f| self.folded(f)).map(|f| Final {
            uid: UIDS[op].into(),
            seq: f.seq,
            digest: Digest::default(),
        });
        let hold = self.lock(lock).hold_of(UIDS[op])?.hold;
        let next = self.lock(lock).release(UIDS[op], hold, end)?;
        Some(self.lock_id(next))
    }

    /// The lock with a lost hold put back under its old id; `None` when somebody else is in the way.
    pub fn restore(&mut self, op: usize, folded: FoldedId, lock: LockId) -> Option<LockId> {
        let request = self.request(op, folded);
        let epoch = self.folded(folded)?.fence.epoch;
        let lock = self.lock(lock);
        if lock.blocker(&request, []).is_some() {
            return None;
        }
        let mut next = lock.clone();
        next.holders.retain(|h| h.uid != UIDS[op]);
        let (mut granted, _) = next.grant(&request);
        granted.epoch = lock.epoch.max(epoch);
        granted.holders.iter_mut().filter(|h| h.uid == UIDS[op]).for_each(|h| h.hold = epoch);
        Some(self.lock_id(granted))
    }

    /// What to do next.
    pub fn plan(&mut self, question: Question) -> Plan {
        if let Some(plan) = self.plans.get(&question) {
            return *plan;
        }
        let (op, folded, cancel, stand, done, lock, engine) = question;
        let spec = self.specs[op][usize::from(cancel)].clone();
        let record = self.folded(folded).unwrap().clone();
        let seen = observation(&spec, &record, stand, done, lock, engine);
        let plan = match decide(&spec, &record, &seen) {
            Decision::Await(_) | Decision::Rest => Plan::Nothing,
            Decision::TakeHold => Plan::Take,
            Decision::Release => Plan::Release,
            Decision::Perform(intent) => Plan::Perform(call(&intent)),
            Decision::Record { event, intend, .. } => self.write(&record, event, intend, false),
            Decision::Seal => {
                self.write(&record, Event::Shared(Shared::Sealed { segment: true }), None, true)
            }
        };
        self.plans.insert(question, plan);
        plan
    }

    fn write(&mut self, old: &Folded, event: Event, effect: Option<Effect>, seal: bool) -> Plan {
        let again = matches!(event, Event::Shared(Shared::Intended {}));
        let intent = effect.map(|effect| Intent {
            token: old
                .intent
                .as_ref()
                .filter(|i| again && i.effect == effect)
                .map_or_else(|| Token(old.seq.next().to_string()), |i| i.token.clone()),
            effect,
            writer: WriterId::default(),
            nonce: Nonce::default(),
            fence: Fence { attempt: old.fence.attempt + 1, ..old.fence },
            send_for_ms: A_WHILE_MS,
        });
        let intends = intent.is_some();
        let name = event.name();
        let change = Change { event, intent, sealed_through: seal.then_some(old.seq) };
        let next = old.clone().apply(&change).unwrap();
        let id = self.folded_id(next);
        self.events.insert(id, name);
        Plan::Write { next: id, intends }
    }
}

fn call(intent: &Intent) -> Effects {
    let small = |n: i64| u8::try_from(n).unwrap();
    let does = match intent.effect {
        Effect::LoadMetadata { .. } => Does::Learn,
        Effect::SubmitLoad { .. } => Does::Submit,
        Effect::StopLoad { .. } => Does::Stop,
        Effect::CancelMetadata { .. } => Does::Forget,
        Effect::Free { .. } => Does::Free,
        Effect::Mount { .. } | Effect::UpdateMount { .. } | Effect::Unmount { .. } => {
            panic!("the model has no mounts")
        }
        Effect::Backup { .. } | Effect::PruneBackups { .. } => panic!("the model has no backups"),
        Effect::AddWorkers { .. }
        | Effect::RemoveWorkers { .. }
        | Effect::MarkWorkers { .. }
        | Effect::ReplaceWorker { .. }
        | Effect::SetRelease { .. }
        | Effect::ReplaceMember { .. }
        | Effect::OnWorkers { .. }
        | Effect::TransferLeadership { .. }
        | Effect::ResetPriorities {}
        | Effect::FenceMembers {} => panic!("the model has no members"),
    };
    let fence = (small(intent.fence.epoch), small(intent.fence.attempt));
    Effects { does, token: intent.token.0.parse().unwrap(), fence }
}

/// The call of the intent in a record.
pub fn intended(record: &Folded) -> Option<Effects> {
    record.intent.as_ref().map(call)
}

fn observation(
    spec: &OperationSpec,
    record: &Folded,
    stand: Stand,
    done: bool,
    lock: Seen,
    engine: Engine,
) -> Observation {
    let outcome = done.then(|| Outcome::Done(Receipt { task: Some(1), ..Receipt::default() }));
    let asked = stand != Stand::Sendable && asks(record, outcome.is_some());
    Observation {
        since_entry_ms: A_WHILE_MS,
        since_step_ms: A_WHILE_MS,
        target: Target::Ready,
        lock: match lock {
            Seen::Held(epoch) => LockView::Held { epoch },
            Seen::Available => LockView::Available,
            Seen::Blocked => LockView::Blocked { by: "the other".into(), in_use: true },
        },
        intent: match stand {
            Stand::None => IntentView::None,
            Stand::Sendable => IntentView::Sendable,
            Stand::Landing => IntentView::Landing { remaining_ms: 1 },
            Stand::Expired => IntentView::Expired,
        },
        outcome,
        answer: query(spec, record).filter(|_| asked).map(|q| Ok(answer(&q, engine))),
        ..Observation::default()
    }
}

fn answer(query: &Query, engine: Engine) -> Answer {
    let bytes = if engine.cached { 10 } else { 0 };
    let tree = TreeView { files: 1, bytes: 10, cached_bytes: bytes, missing: None };
    let state = match engine.job {
        0 => JobState::Absent,
        1 => JobState::Running,
        2 => JobState::Stopped,
        _ => JobState::Succeeded,
    };
    let job = crate::testing::job(state, bytes);
    match query {
        Query::Health => {
            Answer::Health(Health { live_workers: 1, capacity_bytes: 100, load_replicas: false })
        }
        Query::Metadata { then, .. } if engine.known => {
            Answer::Metadata(MetadataView::Loaded(tree), then.as_ref().map(|_| job))
        }
        Query::Metadata { then, .. } => Answer::Metadata(MetadataView::Forgotten, then.as_ref().map(|_| job)),
        Query::LoadJob { .. } => Answer::Job(job),
        Query::Tree { .. } => Answer::Tree(tree),
        Query::Mounts { .. } => panic!("the model has no mounts"),
        Query::Backups { .. } => panic!("the model has no backups"),
        Query::Members | Query::Leaving { .. } | Query::Rollout { .. } | Query::Drain { .. } => {
            panic!("the model has no members")
        }
    }
}
