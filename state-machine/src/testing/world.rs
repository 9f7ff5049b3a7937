//! One operation, two replicas without a leader, a lock, a fake engine and a clock: the shell around `decide` as
//! the guarantees describe it, with every promise checked at each write, each call and each landing.

use super::engine::{CALL_TIMEOUT_MS, Engine, Fate, LONGEST_DELAY_MS, Owner};
use super::{UID, at, change, created};
use crate::decision::{Decision, WaitingOn};
use crate::effect::{Effect, Intent, Outcome};
use crate::ids::{Fence, Nonce, Token, WriterId};
use crate::invariant;
use crate::journal::{Entry, Record, Signature, replay};
use crate::lifecycle::step::Shared;
use crate::lifecycle::{Change, Folded, asks, decide, query};
use crate::lock::{Final, Lock, Request};
use crate::machine::Phase;
use crate::members::{Known, WorkerView};
use crate::mounts::Standing;
use crate::observation::{IntentView, LockView, Observation, Predecessor, PredecessorState, Target};
use crate::operation::Event;
use crate::spec::{ArmSpec, OperationSpec};

/// How long a writer may take to send an effect, in milliseconds.
const SEND_FOR_MS: i64 = 2_000;
/// After this long an effect cannot land any more, in milliseconds.
const WINDOW_MS: i64 = SEND_FOR_MS + CALL_TIMEOUT_MS + LONGEST_DELAY_MS;

/// What a process remembers of the intent that it wrote.
#[derive(Debug, Clone)]
struct Own {
    nonce: Nonce,
    wrote_at: i64,
    sent: bool,
    outcome: Option<Outcome>,
}

#[derive(Debug, Clone)]
struct Process {
    id: WriterId,
    view: Option<(Record, OperationSpec, i64)>,
    own: Option<Own>,
    seen: Option<(Nonce, i64)>,
}

impl Process {
    fn new(name: usize) -> Self {
        Self { id: WriterId(format!("writer-{name}")), view: None, own: None, seen: None }
    }
}

pub struct World {
    pub spec: OperationSpec,
    generation: i64,
    pub engine: Engine,
    pub record: Record,
    pub journal: Vec<Entry>,
    history: Vec<Folded>,
    sealed: Vec<Entry>,
    lock: Lock,
    /// Another operation is in the way.
    pub rival: bool,
    pub predecessors_done: bool,
    pub deleting_since: Option<i64>,
    /// The shell waits out the delay even of calls that were answered.
    pub conservative: bool,
    pub fate: Fate,
    processes: Vec<Process>,
    writers: usize,
    nonces: usize,
    progress_at: i64,
    cached: i64,
    pub skipped: bool,
}

impl World {
    pub fn new(spec: OperationSpec) -> Self {
        let first = Process::new(0);
        let by = Signature { by: &first.id, at: at(0), because: "" };
        let record = Record::birth(UID, &spec, &created(&spec), &by).unwrap();
        Self {
            generation: 1,
            engine: Engine::new(&spec),
            journal: record.tail.clone(),
            history: vec![record.folded.clone()],
            sealed: Vec::new(),
            record,
            spec,
            lock: Lock::default(),
            rival: false,
            predecessors_done: true,
            deleting_since: None,
            conservative: false,
            fate: Fate::Reply,
            processes: vec![first, Process::new(1)],
            writers: 2,
            nonces: 0,
            progress_at: 0,
            cached: 0,
            skipped: false,
        }
    }

    /// The process dies; its successor knows nothing and is another writer.
    pub fn crash(&mut self, p: usize) {
        self.processes[p] = Process::new(self.writers);
        self.writers += 1;
    }

    /// A user changes the switches.
    pub fn edit(&mut self, edit: impl FnOnce(&mut OperationSpec)) {
        edit(&mut self.spec);
        self.generation += 1;
    }

    pub fn advance(&mut self, ms: i64) {
        self.engine.advance(ms);
        let cached = self.engine.tree().cached_bytes;
        if cached != self.cached {
            (self.cached, self.progress_at) = (cached, self.engine.now);
        }
        self.check_landed();
    }

    /// Nothing lands whose intent does not stand, and no job of others is stopped.
    fn check_landed(&mut self) {
        for (effect, nonce) in self.engine.landed.drain(..) {
            let stands = self.record.folded.intent.as_ref();
            assert!(
                stands.is_some_and(|i| i.nonce == nonce),
                "{effect:?} landed after its intent was settled"
            );
        }
        assert!(!self.engine.foreign_stopped, "a job of somebody else was stopped");
    }

    fn intent_view(&mut self, p: usize, op: &Folded) -> IntentView {
        let Some(intent) = &op.intent else { return IntentView::None };
        let now = self.engine.now;
        let process = &mut self.processes[p];
        let since = match process.own.as_ref().filter(|o| o.nonce == intent.nonce) {
            Some(own) if !own.sent && now - own.wrote_at < SEND_FOR_MS => return IntentView::Sendable,
            Some(own) if !own.sent => return IntentView::Expired,
            Some(own) => {
                let answered = matches!(own.outcome, Some(Outcome::Done(_) | Outcome::Refused { .. }));
                if answered && !self.conservative {
                    return IntentView::Expired;
                }
                own.wrote_at
            }
            None => match &process.seen {
                Some((nonce, since)) if *nonce == intent.nonce => *since,
                Some(_) | None => {
                    process.seen = Some((intent.nonce.clone(), now));
                    now
                }
            },
        };
        match since + WINDOW_MS - now {
            left if left > 0 => IntentView::Landing { remaining_ms: left },
            _ => IntentView::Expired,
        }
    }

    fn lock_view(&self) -> LockView {
        match self.lock.hold_of(UID) {
            Some(h) => LockView::Held { epoch: h.hold },
            None if self.rival => LockView::Blocked { by: "load ns/rival".into(), in_use: true },
            None => LockView::Available,
        }
    }

    fn observe(&mut self, p: usize, record: &Record, spec: &OperationSpec) -> Observation {
        let (op, now) = (&record.folded, self.engine.now);
        let intent = self.intent_view(p, op);
        let ms = |e: &Entry| (e.time().unwrap() - at(0)).num_milliseconds();
        let step = op.state.step();
        let stayed = |e: &&Entry| e.open().is_ok_and(|b| b.from == step && b.to == step);
        let stays = record.tail.iter().rev().take_while(stayed).count();
        let entered = &record.tail[record.tail.len() - (stays + 1).min(record.tail.len())];
        let done =
            if self.predecessors_done { PredecessorState::Succeeded } else { PredecessorState::Unfinished };
        let own = self.processes[p].own.as_ref();
        let outcome = own
            .filter(|o| op.intent.as_ref().is_some_and(|i| i.nonce == o.nonce))
            .and_then(|o| o.outcome.clone());
        Observation {
            age_ms: now,
            since_entry_ms: record.last().map_or(0, |e| now - ms(e)),
            watched_entry_ms: record.last().map_or(0, |e| now - ms(e)),
            since_step_ms: now - ms(entered),
            last_was_failure: record.last().is_some_and(|e| e.event == "AttemptFailed"),
            stalled_ms: now - self.progress_at,
            deleting_for_ms: self.deleting_since.map(|t| now - t),
            predecessors: spec
                .run_after
                .iter()
                .map(|r| Predecessor { name: r.name.clone(), state: done })
                .collect(),
            target: Target::Ready,
            lock: self.lock_view(),
            intent,
            answer: query(spec, op).filter(|_| asks(op, outcome.is_some())).map(|q| self.engine.answer(&q)),
            outcome,
        }
    }

    /// One reconcile of one process; a lagging one acts on what it saw last.
    pub fn tick(&mut self, p: usize, lagging: bool) -> Decision {
        let fresh = (self.record.clone(), self.spec.clone(), self.generation);
        let view = self.processes[p].view.clone().filter(|_| lagging).unwrap_or(fresh);
        self.processes[p].view = Some(view.clone());
        let (record, spec, generation) = view;
        let seen = self.observe(p, &record, &spec);
        let decision = decide(&spec, &record.folded, &seen);
        match &decision {
            Decision::Record { event, because, intend } => {
                let current = generation == self.generation || intend.is_none();
                if record.folded.seq == self.record.folded.seq && current {
                    self.commit(p, event.clone(), because, intend.clone());
                }
            }
            Decision::Perform(intent) => self.perform(p, intent),
            Decision::TakeHold => {
                let request = Request::new(UID, "ns", "op", record.folded.seq, &spec);
                if self.lock.blocker(&request, []).is_none() && !self.rival {
                    self.lock = self.lock.grant(&request).0;
                }
            }
            Decision::Release => {
                let hold = self.lock.hold_of(UID).unwrap().hold;
                let op = &record.folded;
                let end = Final { uid: UID.into(), seq: op.seq, digest: op.digest.clone() };
                self.lock = self.lock.release(UID, hold, Some(end)).unwrap();
            }
            Decision::Seal if record.folded.seq == self.record.folded.seq => {
                assert!(self.lock.hold_of(UID).is_none(), "sealed before the lock was given back");
                self.commit(p, Event::Shared(Shared::Sealed { segment: true }), "", None);
            }
            Decision::Await(w) => {
                self.progress_at = if w.may_stall() { self.progress_at } else { self.engine.now }
            }
            Decision::Seal | Decision::Rest => {}
        }
        self.check_landed();
        decision
    }

    fn perform(&mut self, p: usize, intent: &Intent) {
        let stands = self.record.folded.intent.as_ref();
        assert!(
            stands.is_some_and(|i| i.nonce == intent.nonce),
            "{:?} is sent after it was settled",
            intent.effect
        );
        let own = self.processes[p].own.as_mut().unwrap();
        assert!(own.nonce == intent.nonce && !own.sent, "an effect was sent twice for one intent");
        own.sent = true;
        self.engine.tokens.insert(intent.nonce.clone(), intent.token.clone());
        own.outcome = Some(self.engine.perform(&intent.effect, &intent.nonce, self.fate));
    }

    fn commit(&mut self, p: usize, event: Event, because: &str, intend: Option<Effect>) {
        let id = self.processes[p].id.clone();
        let op = self.record.folded.clone();
        let sealing = matches!(event, Event::Shared(Shared::Sealed { .. }));
        let intent = intend.map(|effect| self.intend(p, &op, effect));
        let due = sealing || self.record.compaction_due();
        let mut change = Change { intent, sealed_through: due.then_some(op.seq), ..change(event) };
        if due {
            let through = op.sealed_through;
            let from = self.sealed.iter().position(|e| e.seq > through).unwrap_or(self.sealed.len());
            self.sealed.truncate(from);
            self.sealed.extend(self.record.unsealed().cloned());
        }
        let sign = Signature { by: &id, at: at(self.engine.now), because };
        let next = self.record.append(&change, &sign).unwrap();
        change.sealed_through = Some(next.folded.sealed_through);
        assert_eq!(invariant::broken(Some(&self.record), &next), None);
        self.check_step(&next.folded);
        self.journal.push(next.last().unwrap().clone());
        self.history.push(next.folded.clone());
        self.record = next.clone();
        self.processes[p].view = Some((next, self.spec.clone(), self.generation));
    }

    fn intend(&mut self, p: usize, op: &Folded, effect: Effect) -> Intent {
        assert_eq!(self.engine.in_flight(), 0, "an intent for {effect:?} while a call may still land");
        self.nonces += 1;
        let nonce = Nonce(format!("nonce-{}", self.nonces));
        let wrote_at = self.engine.now;
        self.processes[p].own = Some(Own { nonce: nonce.clone(), wrote_at, sent: false, outcome: None });
        let copied = op.intent.as_ref().filter(|i| i.effect == effect).map(|i| i.token.clone());
        Intent {
            token: copied.unwrap_or_else(|| Token::derive(UID, op.seq.next(), op.round)),
            effect,
            writer: self.processes[p].id.clone(),
            nonce,
            fence: Fence { attempt: op.fence.attempt + 1, ..op.fence },
            send_for_ms: SEND_FOR_MS,
        }
    }

    /// What has to be true of the engine at the moment of a transition.
    fn check_step(&mut self, next: &Folded) {
        let before = &self.record.folded.state;
        if *before != next.state {
            self.progress_at = self.engine.now;
        }
        if next.state.step() == before.step() {
            return;
        }
        self.skipped |= before.step() == "stuck"
            && next.state.step() != "pausing"
            && !crate::lifecycle::halt_is_due(next);
        let phase = next.state.phase();
        if phase.terminal() || next.state.step() == "paused" {
            assert_eq!(self.engine.in_flight(), 0, "{phase} while a call may still land");
            assert!(self.skipped || !self.ours_runs(), "{phase} while a job of ours runs");
        }
        if let ArmSpec::Upgrade(u) = &self.spec.operation
            && next.state.step() == "revising"
        {
            let saved = self.engine.backups.iter().any(|b| b.1 <= self.engine.now);
            assert!(saved || u.backup_path.is_none(), "members are to move, and nothing was saved");
        }
        if phase == Phase::Succeeded {
            let tree = self.engine.tree();
            match &self.spec.operation {
                ArmSpec::Load(l) => {
                    assert!(tree.cached_percent() >= i64::from(l.min_cached_percent), "{tree:?}")
                }
                ArmSpec::Free(_) => assert_eq!(tree.cached_bytes, 0),
                ArmSpec::Backup(_) => assert!(self.engine.backups.iter().any(|b| b.1 <= self.engine.now)),
                ArmSpec::Sync(_) => assert!(self.engine.data.iter().all(|d| d.known)),
                ArmSpec::ScaleOut(s) => {
                    let serving = self.engine.members.workers.iter().filter(|w| w.serves()).count();
                    assert_eq!(i64::try_from(serving), Ok(i64::from(s.workers)));
                }
                ArmSpec::ScaleIn(s) => {
                    let there = self.engine.members.workers.len();
                    assert_eq!((i32::try_from(there).ok(), self.engine.stranded), (s.workers, 0));
                }
                ArmSpec::Decommission(s) => {
                    let mut named =
                        self.engine.members.workers.iter().filter(|w| s.numbers.contains(&w.number));
                    let out = |n: &i32| self.engine.members.out.contains(*n);
                    assert!(named.all(|w| w.known != Known::Serves) && s.numbers.iter().all(out));
                    assert_eq!(self.engine.stranded, 0);
                }
                ArmSpec::Recommission(s) => {
                    let mut named =
                        self.engine.members.workers.iter().filter(|w| s.numbers.contains(&w.number));
                    assert!(named.all(WorkerView::serves) && self.engine.members.out.is_empty());
                    assert_eq!(self.engine.lost, 0, "files went with a pod");
                }
                ArmSpec::Upgrade(u) => {
                    let all = &self.engine.rollout.members;
                    assert!(all.iter().all(|m| m.up(&u.version)), "{all:?}");
                    assert_eq!(self.engine.lost, 0, "files went with a pod");
                }
                ArmSpec::Mount(m) => assert_eq!(self.engine.mounts.standing(m), Standing::AsWanted),
                ArmSpec::Unmount(_) => assert_eq!(self.engine.mounts.next_to_unmount(&self.spec), Ok(None)),
            }
        }
    }

    pub fn ours_runs(&self) -> bool {
        (0..self.engine.data.len()).any(|i| self.engine.running(i) == Some(Owner::Ours))
    }

    /// The faults stop: the engine answers, the way is free and people do their part.
    pub fn calm_down(&mut self) {
        self.engine.down_until = 0;
        self.engine.workers = 2;
        self.engine.amnesia = false;
        self.engine.unstoppable = false;
        (self.rival, self.predecessors_done, self.fate) = (false, true, Fate::Reply);
        self.edit(|s| s.control.suspend = false);
    }

    /// Runs until the operation rests; at most `decisions` decisions and `limit_ms` of time.
    pub fn run(&mut self, decisions: usize, limit_ms: i64) {
        let until = self.engine.now + limit_ms;
        for _ in 0..decisions {
            match self.tick(0, false) {
                Decision::Rest => return,
                Decision::Await(w) => {
                    if matches!(w, WaitingOn::Stuck { .. }) {
                        self.edit(|s| s.control.retry += 1);
                    }
                    self.advance(w.recheck_ms().unwrap_or(1_000).max(1));
                }
                Decision::Record { .. }
                | Decision::Perform(_)
                | Decision::TakeHold
                | Decision::Release
                | Decision::Seal => {}
            }
            assert!(self.engine.now <= until, "not over in time: {}", self.record.folded.state.step());
        }
        panic!("not over after {decisions} decisions: {}", self.record.folded.state.step());
    }

    /// What has to be true once everything rests.
    pub fn check_end(&mut self) {
        let op = self.record.folded.clone();
        assert!(op.settled() && op.state.phase().terminal());
        // What a lagging replica took in the name of the dead is void: others free it.
        assert!(self.lock.holders.iter().all(|h| h.hold > op.fence.epoch), "the hold was not given back");
        self.advance(60_000);
        assert!(self.skipped || !self.ours_runs());
        if matches!(self.spec.operation, ArmSpec::ScaleIn(_) | ArmSpec::Decommission(_)) && !self.skipped {
            let out = |w: &WorkerView| self.engine.members.out.contains(w.number);
            let serve = self.engine.members.workers.iter().all(|w| out(w) || w.known == Known::Serves);
            assert!(
                serve && self.engine.stranded == 0,
                "a worker is left out of use: {:?}",
                self.engine.members
            );
        }
        if let ArmSpec::Upgrade(u) = &self.spec.operation
            && !self.skipped
        {
            let done = op.state.phase() == Phase::Succeeded;
            let version = if done { u.version.as_str() } else { super::engine::OLD };
            let all = &self.engine.rollout;
            assert!(all.release.version == version && all.members.iter().all(|m| m.up(version)), "{all:?}");
            assert_eq!(self.engine.lost, 0, "files went with a pod");
        }
        let replayed: Vec<Folded> =
            replay(UID, &self.spec, &self.journal).unwrap().into_iter().map(|r| r.after).collect();
        assert_eq!(replayed, self.history, "a prefix of the journal does not fold to what was stored");
        let mut segments = self.sealed.clone();
        segments.extend(self.record.tail.iter().filter(|e| e.seq > op.sealed_through).cloned());
        assert_eq!(segments, self.journal, "segments and tail are not the journal");
    }
}
