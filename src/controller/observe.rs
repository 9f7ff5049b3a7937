//! Gathers what a decision may look at: the caches, the clocks, and (only when the state asks) the engine.

use super::memory::{Memory, Sent};
use super::teeth::Mutation;
use super::{Ctx, hold, secrets};
use crate::api::dataset::MountStatus;
use crate::api::{CacheCluster, DataOperation, DatasetStatus, TargetLock, conditions};
use crate::cache::Key;
use crate::cache::kinds::{BY_CLAIM, BY_CLUSTER, BY_TARGET};
use crate::clock::ms_between;
use crate::cluster;
use crate::engine::Engine;
use ratchet_state_machine::effect::{
    Answer, EffectClass, EffectTraits, Intent, Outcome, Query, TreeView, Trouble, TroubleKind,
};
use ratchet_state_machine::journal::Record;
use ratchet_state_machine::lifecycle::{asks, halt_is_due, query};
use ratchet_state_machine::lock::{Blocker, Lock, Request};
use ratchet_state_machine::machine::Phase;
use ratchet_state_machine::observation::{
    IntentView, LockView, Observation, Predecessor, PredecessorState, Target,
};
use ratchet_state_machine::spec::ArmSpec;
use std::sync::Arc;

/// The cache of an operation, its engine and its lock, as far as they are known.
pub struct Surroundings {
    /// The CacheCluster.
    pub cluster: Option<Arc<CacheCluster>>,
    /// Its engine.
    pub engine: Option<Arc<dyn Engine>>,
    /// The lock of that engine.
    pub lock: Option<Arc<TargetLock>>,
    /// How the target stands.
    pub target: Target,
}

/// The CacheCluster of an operation, with everything that hangs on it.
pub fn surroundings(ctx: &Ctx, op: &DataOperation) -> Surroundings {
    let namespace = op.metadata.namespace.as_deref().unwrap_or_default();
    let not_ready = |reason, message: String| Target::NotReady { reason, message };
    let Some(cluster) = ctx.clusters.get(&Key::new(namespace, op.spec.target.as_str())) else {
        let message =
            format!("there is no CacheCluster {} in namespace {namespace}; create it", op.spec.target);
        let name = format!("{namespace}/{}", op.spec.target);
        // What still runs there can be stopped and its hold given back; nothing new is begun.
        let halting = op.status.as_ref().is_some_and(|s| {
            matches!(s.step.as_str(), "pausing" | "cancelling" | "aborting" | "rollingBack")
        });
        let engine = ctx.engines.retired(&name).filter(|_| halting);
        let lock = ctx
            .locks
            .by_index(&(BY_CLAIM, name))
            .into_iter()
            .find(|l| l.spec.lock.hold_of(op.uid()).is_some());
        return Surroundings { cluster: None, engine, lock, target: not_ready("TargetNotFound", message) };
    };
    let status = cluster.status.as_ref();
    let (engine, broken) = match ctx.engines.engine(&cluster) {
        Ok(engine) => (Some(engine), None),
        Err(why) => (None, Some(why.to_string())),
    };
    let lock = status.and_then(|s| s.lock.as_deref()).and_then(|l| ctx.locks.get(&Key::new("", l)));
    let ready = status.and_then(|s| s.conditions.iter().find(|c| c.type_ == conditions::READY));
    let target = match (broken, ready, status.and_then(|s| s.identity.as_ref())) {
        (Some(why), _, _) => not_ready("TargetInvalid", why),
        (None, None, _) => not_ready(
            "TargetUnknown",
            format!("the CacheCluster {} has not been looked at yet", op.spec.target),
        ),
        (None, Some(c), None) => {
            not_ready("TargetUnknown", format!("who the cache is is not known yet: {}", c.message))
        }
        (None, Some(c), Some(_)) if matches!(c.reason.as_str(), "AlreadyClaimed" | "IdentityChanged") => {
            not_ready(
                if c.reason == "AlreadyClaimed" { "AlreadyClaimed" } else { "IdentityChanged" },
                c.message.clone(),
            )
        }
        (None, Some(_), Some(_)) => {
            match may_wait_for_mount(op).then(|| unbound(op, &coming(ctx, &Key::of(&*cluster)))).flatten() {
                Some(why) => not_ready("DatasetNotBound", why),
                None => Target::Ready,
            }
        }
    };
    // The lock is that of the cache which was last looked at; other addresses may lead to another one.
    let same = status.is_some_and(|s| Some(s.observed_generation) == cluster.metadata.generation);
    let ours = ready.is_none_or(|c| {
        !matches!(c.reason.as_str(), "AlreadyClaimed" | "IdentityChanged" | "LockUnavailable")
    });
    let engine = engine.filter(|_| same && ours);
    Surroundings { cluster: Some(cluster), engine, lock, target }
}

/// What Datasets are about to mount on a cache: the path of each mount, and the Dataset. One that waits for something
/// else, a Secret for example, and one that failed are not waited for; nor is what is there already.
fn coming(ctx: &Ctx, cluster: &Key) -> Vec<(String, String)> {
    let (mut all, mut there) = (Vec::new(), Vec::new());
    for dataset in ctx.datasets.by_index(&(BY_CLUSTER, cluster.to_string())) {
        if dataset.metadata.deletion_timestamp.is_some() {
            continue;
        }
        let none = DatasetStatus::default();
        let status = dataset.status.as_ref().unwrap_or(&none);
        let moves = |m: &MountStatus| matches!(m.phase.as_str(), "Creating" | "Mounting" | "Unmounting");
        let unseen = dataset.metadata.generation.is_some_and(|g| g != status.observed_generation);
        let under_way = unseen || status.mounts.iter().any(moves);
        there.extend(status.mounts.iter().filter(|m| m.phase == "Mounted").map(|m| m.path.clone()));
        for mount in &dataset.spec.mounts {
            let comes = match status.mounts.iter().find(|m| m.path == mount.path) {
                None => under_way,
                Some(m) => {
                    matches!(m.phase.as_str(), "Creating" | "Mounting") || (m.phase == "Failed" && unseen)
                }
            };
            if comes {
                all.push((mount.path.clone(), dataset.metadata.name.clone().unwrap_or_default()));
            }
        }
    }
    all.retain(|(path, _)| !there.contains(path));
    all
}

/// Whether an operation may have to wait for a mount that is coming.
fn may_wait_for_mount(op: &DataOperation) -> bool {
    matches!(op.spec.operation, ArmSpec::Load(_)) && waits(op)
}

/// Why the paths of a load are not there yet: a Dataset is about to mount them. Who declares both at once does not have
/// to wait in between. Such a load is not in the queue: the mount comes after it and before it.
fn unbound(op: &DataOperation, coming: &[(String, String)]) -> Option<String> {
    if coming.is_empty() || !may_wait_for_mount(op) {
        return None;
    }
    let below = |path: &str, mount: &str| {
        path.strip_prefix(mount).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    let inside = |mount: &str| op.spec.operation.paths().iter().any(|p| below(p, mount));
    let (path, dataset) = coming.iter().find(|(path, _)| inside(path))?;
    Some(format!("{path} is about to be mounted by Dataset {dataset}"))
}

/// Everything that one decision may look at.
pub async fn observe(
    ctx: &Ctx,
    op: &Arc<DataOperation>,
    record: &Record,
    around: &Surroundings,
    memory: &mut Memory,
) -> Observation {
    let now = ctx.clock.instant();
    let traits =
        record.folded.intent.as_ref().zip(around.engine.as_ref()).map(|(i, e)| e.describe(&i.effect));
    let halting = halt_is_due(&record.folded);
    let intent = intent_view(ctx, record.folded.intent.as_ref(), traits, halting, memory);
    let outcome = memory.own.as_ref().and_then(|own| match &own.sent {
        Sent::Answered(outcome) if is_current(record, &own.nonce.0) => Some(outcome.clone()),
        Sent::Answered(_) | Sent::No | Sent::At(_) => None,
    });
    let mut seen = Observation {
        age_ms: memory.age_ms(now),
        since_entry_ms: memory.since_entry_ms(now),
        watched_entry_ms: memory.since_entry_at_most_ms(now, 0),
        since_step_ms: memory.since_entry_at_most_ms(now, BELIEVED_MS).saturating_add(step_began_ms(record)),
        last_was_failure: record.last().is_some_and(|e| e.event == "AttemptFailed"),
        stalled_ms: memory.stalled_ms(now),
        deleting_for_ms: deleting_for_ms(ctx, op),
        predecessors: predecessors(ctx, op),
        target: around.target.clone(),
        lock: lock_view(ctx, op, record, around),
        intent,
        outcome,
        answer: None,
    };
    if let Some(question) = query(&op.spec, &record.folded)
        && intent != IntentView::Sendable
        && asks(&record.folded, seen.outcome.is_some())
    {
        seen.answer = Some(match &around.engine {
            _ if question == Query::Members => cluster::members::answer(ctx, op, around).await,
            _ if let Query::Leaving { workers, files } = &question => {
                cluster::members::leaving(ctx, op, around, workers, *files).await
            }
            _ if let Query::Rollout { pace } = &question => {
                cluster::rollout::answer(ctx, op, around, pace).await
            }
            Some(engine) => match secrets::missing(ctx, op, &question).await {
                Some(trouble) => Err(trouble),
                None => believed(ctx, op, engine.inspect(&question).await),
            },
            None => Err(Trouble { kind: TroubleKind::Unreachable, message: target_message(&around.target) }),
        });
    }
    seen
}

/// What the engine said. (A controller that reads nothing back takes its word for everything.)
fn believed(ctx: &Ctx, op: &DataOperation, said: Result<Answer, Trouble>) -> Result<Answer, Trouble> {
    if !ctx.broken(Mutation::BelieveSuccess) {
        return said;
    }
    said.map(|answer| match answer {
        Answer::Tree(tree) => {
            let cached_bytes = if matches!(op.spec.operation, ArmSpec::Load(_)) { tree.bytes } else { 0 };
            Answer::Tree(TreeView { cached_bytes, ..tree })
        }
        other @ (Answer::Health(_)
        | Answer::Metadata(..)
        | Answer::Job(_)
        | Answer::Mounts(_)
        | Answer::Members(_)
        | Answer::Leaving(..)
        | Answer::Rollout(_)
        | Answer::Backups(_)
        | Answer::Drain(_)) => other,
    })
}

fn target_message(target: &Target) -> String {
    match target {
        Target::NotReady { message, .. } => message.clone(),
        Target::Unknown | Target::Ready => {
            "the CacheCluster was edited and has not been looked at since".into()
        }
    }
}

fn is_current(record: &Record, nonce: &str) -> bool {
    record.folded.intent.as_ref().is_some_and(|i| i.nonce.0 == nonce)
}

/// Milliseconds since the object's deletion was asked for, when it was.
pub fn deleting_for_ms(ctx: &Ctx, op: &DataOperation) -> Option<i64> {
    let at = op.metadata.deletion_timestamp.as_ref()?;
    Some((ctx.clock.now().timestamp() - at.0.as_second()).max(0) * 1000)
}

/// The most that is believed of a time that others' clocks tell (between two entries, or since one), in milliseconds:
/// clocks differ, and jump.
const BELIEVED_MS: i64 = 120_000;

/// Milliseconds from the entry with which the present step began to the newest entry, as far as they are believed.
fn step_began_ms(record: &Record) -> i64 {
    let began = record.tail.iter().rposition(|e| e.moves().unwrap_or(false)).unwrap_or(0);
    let times: Vec<_> = record.tail[began..].iter().filter_map(|e| e.time()).collect();
    times.windows(2).map(|pair| (pair[1] - pair[0]).num_milliseconds().clamp(0, BELIEVED_MS)).sum()
}

fn predecessors(ctx: &Ctx, op: &DataOperation) -> Vec<Predecessor> {
    let namespace = op.metadata.namespace.as_deref().unwrap_or_default();
    let state = |name: &str| match ctx.operations.get(&Key::new(namespace, name)) {
        // One that cannot be read here is there all the same.
        None if ctx.operations.undecodable(&Key::new(namespace, name)).is_some() => {
            PredecessorState::Unfinished
        }
        None => PredecessorState::Missing,
        Some(p) => match p.phase() {
            Some(Phase::Succeeded) => PredecessorState::Succeeded,
            Some(phase) if phase.terminal() => PredecessorState::Failed,
            Some(_) | None => PredecessorState::Unfinished,
        },
    };
    op.spec.run_after.iter().map(|r| Predecessor { name: r.name.clone(), state: state(&r.name) }).collect()
}

/// What the operation asks of the lock.
pub fn request(op: &DataOperation) -> Request {
    let namespace = op.metadata.namespace.as_deref().unwrap_or_default();
    let name = op.metadata.name.as_deref().unwrap_or_default();
    Request::new(op.uid(), namespace, name, op.seq(), &op.spec)
}

/// The order in which operations get the lock: priority, then age, then uid.
fn rank(op: &DataOperation) -> (i64, Option<i64>, &str) {
    let created = op.metadata.creation_timestamp.as_ref().map(|t| t.0.as_second());
    (-i64::from(op.spec.priority), created, op.uid())
}

/// Whether an operation wants the lock now.
pub fn waits(op: &DataOperation) -> bool {
    let control = &op.spec.control;
    op.phase() == Some(Phase::Queued)
        && !control.suspend
        && !control.cancel
        && op.metadata.deletion_timestamp.is_none()
}

/// Those who wait for the same engine and come before `op`.
pub fn earlier(ctx: &Ctx, op: &DataOperation) -> Vec<Request> {
    let namespace = op.metadata.namespace.as_deref().unwrap_or_default();
    let cluster = Key::new(namespace, op.spec.target.as_str());
    let all = ctx.operations.by_index(&(BY_TARGET, cluster.to_string()));
    let coming = coming(ctx, &cluster);
    let before = |o: &&Arc<DataOperation>| waits(o) && rank(o) < rank(op) && unbound(o, &coming).is_none();
    all.iter().filter(before).map(|o| request(o)).collect()
}

/// Most operations that are woken at a time when a lock changes.
const WOKEN_AT_ONCE: usize = 32;

/// The operations on `cluster` that could have the lock now, first come first.
pub fn grantable(ctx: &Ctx, lock: &Lock, cluster: &Key) -> Vec<Key> {
    let mut all = ctx.operations.by_index(&(BY_TARGET, cluster.to_string()));
    let coming = coming(ctx, cluster);
    all.retain(|o| waits(o) && unbound(o, &coming).is_none());
    all.sort_by(|a, b| rank(a).cmp(&rank(b)));
    let (mut before, mut out) = (Vec::new(), Vec::new());
    for op in &all {
        let request = request(op);
        if lock.blocker(&request, &before).is_none() {
            out.push(Key::of(&**op));
            if out.len() >= WOKEN_AT_ONCE {
                break;
            }
        }
        before.push(request);
    }
    out
}

fn lock_view(ctx: &Ctx, op: &DataOperation, record: &Record, around: &Surroundings) -> LockView {
    let Some(lock) = &around.lock else { return LockView::Unknown };
    let folded = &record.folded;
    let waiting = folded.state.phase() == Phase::Queued;
    if let Some(hold) = lock.spec.lock.hold_of(op.uid()) {
        // A hold counts while its operation stands where it stood when the hold was granted.
        if !waiting || hold.seq == folded.seq {
            return LockView::Held { epoch: hold.hold };
        }
        if hold.seq > folded.seq {
            // Taken by somebody who has seen more: this copy is old, and a newer one is on its way.
            let by = "a newer copy of itself, which holds the lock already".into();
            return LockView::Blocked { by, in_use: false };
        }
    }
    if !waiting {
        return LockView::Available;
    }
    match hold::blocker(ctx, &lock.spec.lock, &request(op), &earlier(ctx, op)) {
        Some(Blocker { by, in_use }) => LockView::Blocked { by, in_use },
        None => LockView::Available,
    }
}

/// How long another process gets to finish its write to Kubernetes, in milliseconds.
const POLITE_MS: i64 = 1_500;

/// A write to Kubernetes.
const KUBERNETES: EffectTraits =
    EffectTraits { class: EffectClass::Kubernetes, call_timeout_ms: 0, longest_delay_ms: 0 };

/// How the persisted intent stands, by this process' own clock.
fn intent_view(
    ctx: &Ctx,
    intent: Option<&Intent>,
    traits: Option<EffectTraits>,
    halting: bool,
    memory: &mut Memory,
) -> IntentView {
    use super::memory::ForeignIntent;
    let Some(intent) = intent else {
        memory.own = None;
        memory.foreign = None;
        return IntentView::None;
    };
    let now = ctx.clock.instant();
    // What guards a write to Kubernetes is in the object that it writes: nobody has to wait for it. That others get a
    // moment to finish theirs saves writes.
    // An eviction is guarded by the pod's uid alone, which stays when its worker serves again.
    let guarded = intent.effect.of_kubernetes() && !intent.effect.evicts();
    let window = if guarded { POLITE_MS } else { intent.send_for_ms };
    let api = i64::try_from(ctx.config.api_timeout.as_millis()).unwrap_or(i64::MAX);
    let traits = match (intent.effect.of_kubernetes(), guarded) {
        (false, _) => traits,
        (true, true) => Some(KUBERNETES),
        (true, false) => Some(EffectTraits { call_timeout_ms: api, ..KUBERNETES }),
    };
    let landing =
        traits.map_or(ctx.config.unknown_effect_ms, |t| t.call_timeout_ms.saturating_add(t.longest_delay_ms));
    let hasty = halting && ctx.broken(Mutation::UndoWithoutWait);
    let left = |since, wait: i64| match wait - ms_between(since, now) {
        _ if hasty => IntentView::Expired,
        left if left > 0 => IntentView::Landing { remaining_ms: left },
        _ => IntentView::Expired,
    };
    if let Some(own) = memory.own.as_ref().filter(|o| intent.writer == ctx.writer && o.nonce == intent.nonce)
    {
        return match &own.sent {
            Sent::No if ctx.broken(Mutation::SendLate) => IntentView::Sendable,
            Sent::No if ms_between(own.patched_at, now) < intent.send_for_ms => IntentView::Sendable,
            Sent::No => IntentView::Expired,
            Sent::At(at) => left(*at, landing),
            Sent::Answered(Outcome::Unknown { .. }) => left(own.patched_at, window.saturating_add(landing)),
            Sent::Answered(Outcome::Done(_) | Outcome::Refused { .. }) => IntentView::Expired,
        };
    }
    if memory.foreign.as_ref().is_none_or(|f| f.nonce != intent.nonce) {
        memory.foreign = Some(ForeignIntent { nonce: intent.nonce.clone(), first_seen: now });
    }
    if ctx.broken(Mutation::TakeoverWithoutWait) {
        return IntentView::Expired;
    }
    let since = memory.foreign.as_ref().map_or(now, |f| f.first_seen);
    left(since, window.saturating_add(landing))
}
