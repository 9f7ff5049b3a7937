//! Writes to the lock: take, release, steal what nobody holds any more, restore what was lost. Each is one JSON
//! patch that replaces the resourceVersion it was decided on, so that a stale one gets 409.

use super::observe::{Surroundings, earlier, request};
use super::reply::Reply;
use super::teeth::Mutation;
use super::write::{self, Part};
use super::{Ctx, memory::Memory};
use crate::api::{DataOperation, TargetLock};
use crate::cache::Key;
use crate::clock::ms_between;
use kube::Api;
use ratchet_state_machine::journal::Record;
use ratchet_state_machine::lock::{Blocker, Final, Holder, Lock, Request};
use ratchet_state_machine::machine::Phase;
use serde_json::json;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::OwnedMutexGuard;

/// What became of a write to the lock.
#[derive(Debug, PartialEq, Eq)]
pub enum Held {
    /// It stands (or there was nothing to do); decide again.
    Changed,
    /// Try again after this long.
    Later(Duration),
}

fn api(ctx: &Ctx) -> Api<TargetLock> {
    Api::all(ctx.client.clone())
}

/// The newest copy of the lock, and the turn to write it: the operations of one process do not make each other lose.
async fn newest(ctx: &Ctx, around: &Surroundings) -> Option<(Arc<TargetLock>, OwnedMutexGuard<()>)> {
    let name = around.lock.as_ref()?.metadata.name.clone()?;
    let turn = ctx.turns.of(&name).lock_owned().await;
    ctx.locks.get(&Key::new("", name)).map(|lock| (lock, turn))
}

/// Who keeps `request` from being granted.
pub fn blocker(ctx: &Ctx, lock: &Lock, request: &Request, earlier: &[Request]) -> Option<Blocker> {
    if ctx.broken(Mutation::PathsAsStrings) {
        let mut equal = lock.clone();
        equal.holders.retain(|h| h.paths == request.paths);
        return equal.blocker(request, &[]);
    }
    lock.blocker(request, earlier)
}

/// A lock that nobody has written since it was created may come from long ago: its create was under way while the lock
/// was there, was used and was deleted. Before the first write it is held against what the operations say.
async fn vetted(ctx: &Ctx, lock: &Arc<TargetLock>, memory: &mut Memory) -> Option<Held> {
    if lock.metadata.generation != Some(1) {
        return None;
    }
    let told = match super::cluster::told_by_operations(ctx, &lock.spec.claim).await {
        Ok(told) => told,
        Err(why) => {
            tracing::warn!(%why, "a new lock cannot be held against its operations yet");
            return Some(Held::Later(super::commit::backoff(memory)));
        }
    };
    let is = &lock.spec.lock;
    let within = |h: &Holder, all: &[Holder]| all.iter().any(|o| o.uid == h.uid && o.hold == h.hold);
    let alike = told.holders.iter().all(|h| within(h, &is.holders))
        && is.holders.iter().all(|h| within(h, &told.holders));
    if told.epoch <= is.epoch && alike {
        return None;
    }
    // Nobody was granted a hold by this lock yet: what it says was told by the operations, only longer ago.
    let next = Lock { epoch: is.epoch.max(told.epoch), holders: told.holders, ..is.clone() };
    tracing::warn!(epoch = next.epoch, "a new lock did not know its operations as they are; it is mended");
    Some(put(ctx, lock, &next, memory).await)
}

/// Grants the hold to `op`, if nobody comes first.
pub async fn take(ctx: &Ctx, op: &DataOperation, around: &Surroundings, memory: &mut Memory) -> Held {
    let Some((lock, _turn)) = newest(ctx, around).await else { return Held::Later(Duration::from_secs(1)) };
    if let Some(held) = vetted(ctx, &lock, memory).await {
        return held;
    }
    if lock.spec.lock.remade {
        // By this process' own clock: whatever a lost hold covered was sent before the lock was seen to be another.
        let (uid, now) = (lock.metadata.uid.as_deref().unwrap_or_default(), ctx.clock.instant());
        let left = longest_effect_ms(ctx) - ms_between(ctx.gone.first_seen(uid, now), now);
        if left > 0 {
            return Held::Later(Duration::from_millis(left.unsigned_abs()));
        }
    }
    let request = request(op);
    if blocker(ctx, &lock.spec.lock, &request, &earlier(ctx, op)).is_some() {
        return Held::Changed;
    }
    let (mut next, _) = lock.spec.lock.grant(&request);
    if ctx.broken(Mutation::SharedEpoch) {
        next.epoch = lock.spec.lock.epoch.max(1);
        let epoch = next.epoch;
        next.holders.iter_mut().filter(|h| h.uid == request.uid).for_each(|h| h.hold = epoch);
    }
    put(ctx, &lock, &next, memory).await
}

/// Gives the hold back and keeps how the operation ended.
pub async fn release(
    ctx: &Ctx,
    op: &DataOperation,
    record: &Record,
    around: &Surroundings,
    memory: &mut Memory,
) -> Held {
    let Some((lock, _turn)) = newest(ctx, around).await else { return Held::Changed };
    let end = Final { uid: op.uid().into(), seq: record.folded.seq, digest: record.folded.digest.clone() };
    let Some(hold) = lock.spec.lock.hold_of(op.uid()).map(|h| h.hold) else { return Held::Changed };
    let Some(next) = lock.spec.lock.release(op.uid(), hold, Some(end)) else { return Held::Changed };
    put(ctx, &lock, &next, memory).await
}

/// Replaces the lock's content, guarded by the resourceVersion of the copy it was decided on.
async fn put(ctx: &Ctx, lock: &Arc<TargetLock>, next: &Lock, memory: &mut Memory) -> Held {
    let name = lock.metadata.name.as_deref().unwrap_or_default();
    let ops = json!([
        {"op": "test", "path": "/metadata/uid", "value": lock.metadata.uid},
        {"op": "replace", "path": "/metadata/resourceVersion", "value": lock.metadata.resource_version},
        {"op": "add", "path": "/spec/lock", "value": next},
    ]);
    match write::patch(ctx, &api(ctx), Part::Main, name, &ops).await {
        Ok(written) => {
            ctx.metrics.lock_write();
            ctx.changed_lock(&ctx.locks.replace(written));
            Held::Changed
        }
        // Whatever happened, the newest copy tells.
        Err(Reply::Conflict | Reply::Lost | Reply::Gone) => refresh(ctx, lock, memory).await,
        Err(Reply::Ambiguous(_)) => {
            let found = refresh(ctx, lock, memory).await;
            // Nobody wrote anything: the server is in trouble, and asking again at once does not help it.
            if matches!(found, Held::Changed) && unchanged(ctx, lock) {
                return Held::Later(super::commit::backoff(memory));
            }
            found
        }
        Err(Reply::Busy(after)) => Held::Later(after.unwrap_or(Duration::from_secs(1))),
        Err(Reply::Rule(why) | Reply::Denied(why) | Reply::TooLarge(why)) => {
            tracing::error!(lock = name, %why, "the lock cannot be written");
            Held::Later(super::commit::backoff(memory))
        }
        Err(Reply::Terminating) => Held::Later(super::commit::backoff(memory)),
    }
}

/// Whether the cache still has this very copy of the lock.
fn unchanged(ctx: &Ctx, lock: &TargetLock) -> bool {
    let now = ctx.locks.get(&Key::of(lock));
    now.is_some_and(|now| now.metadata.resource_version == lock.metadata.resource_version)
}

/// A consistent read of the lock that is known as this.
async fn refresh(ctx: &Ctx, known: &TargetLock, memory: &mut Memory) -> Held {
    let name = known.metadata.name.as_deref().unwrap_or_default();
    match write::get(ctx, &api(ctx), name).await {
        Ok(Some(lock)) => {
            ctx.locks.replace(lock);
            Held::Changed
        }
        Ok(None) => {
            // That one is gone. Another may have been made since, even by this process.
            if let Some(change) = ctx.locks.remove(&Key::of(known), known.metadata.uid.as_deref()) {
                ctx.changed_lock(&change);
            }
            Held::Later(Duration::from_secs(1))
        }
        Err(_) => Held::Later(super::commit::backoff(memory)),
    }
}

/// Frees holds whose operation is over or gone, as a consistent read shows. A hold whose operation left an effect
/// behind is kept until nothing of it can land any more, counted from when this process first saw it gone.
pub async fn steal(ctx: &Ctx, around: &Surroundings, memory: &mut Memory) -> Held {
    let Some(lock) = &around.lock else { return Held::Changed };
    free(ctx, lock, memory).await
}

/// The same for a lock that nobody here waits for. How long until something more can be freed, where a hold is void and
/// not yet harmless.
pub async fn free_void(ctx: &Ctx, lock: &Arc<TargetLock>) -> Option<Duration> {
    match free(ctx, lock, &mut Memory::default()).await {
        Held::Later(after) => Some(after),
        Held::Changed => None,
    }
}

/// How long the effect of somebody who is gone may still land, from when he was first seen to be, in milliseconds.
const fn longest_effect_ms(ctx: &Ctx) -> i64 {
    ctx.config.send_for_ms.saturating_add(ctx.config.unknown_effect_ms)
}

async fn free(ctx: &Ctx, lock: &Arc<TargetLock>, memory: &mut Memory) -> Held {
    let mut next = lock.spec.lock.clone();
    let mut waits: Option<i64> = None;
    for holder in &lock.spec.lock.holders {
        if !looks_void(ctx, holder) {
            ctx.gone.forget(&holder.uid);
            continue;
        }
        if !ctx.broken(Mutation::StealWithoutRead) && !is_void(ctx, holder).await {
            continue;
        }
        let now = ctx.clock.instant();
        let since = ctx.gone.first_seen(&holder.uid, now);
        let hasty = ctx.broken(Mutation::StealWithoutWait) || ctx.broken(Mutation::StealWithoutRead);
        let left = longest_effect_ms(ctx) - ms_between(since, now);
        if left > 0 && !hasty {
            waits = Some(waits.map_or(left, |w| w.min(left)));
            continue;
        }
        tracing::warn!(holder = %format!("{}/{}", holder.namespace, holder.name), hold = holder.hold,
            "the operation is gone and left its hold behind; it is freed");
        if let Some(without) = next.release(&holder.uid, holder.hold, None) {
            ctx.gone.forget(&holder.uid);
            next = without;
        }
    }
    if next != lock.spec.lock {
        return put(ctx, lock, &next, memory).await;
    }
    waits.map_or(Held::Changed, |ms| Held::Later(Duration::from_millis(ms.unsigned_abs())))
}

/// By the cache: cheap, and only a reason to look.
fn looks_void(ctx: &Ctx, holder: &Holder) -> bool {
    match ctx.operations.get(&Key::new(holder.namespace.as_str(), holder.name.as_str())) {
        Some(op) if op.uid() == holder.uid => void(&op, holder),
        Some(_) => true,
        None => {
            ctx.operations.undecodable(&Key::new(holder.namespace.as_str(), holder.name.as_str())).is_none()
        }
    }
}

/// A hold is void once its operation is settled, or moved on without it.
fn void(op: &DataOperation, holder: &Holder) -> bool {
    let Some(status) = &op.status else { return true };
    match status.phase {
        Phase::Pending | Phase::AwaitingApproval => true,
        Phase::Queued => status.seq != holder.seq,
        Phase::Running | Phase::Paused | Phase::RollingBack | Phase::Cancelling | Phase::Stuck => {
            status.fence.epoch != holder.hold
        }
        // A terminal operation gives its hold back itself; only a settled one never will.
        Phase::Succeeded | Phase::Failed | Phase::Cancelled | Phase::RolledBack => status.settled(),
    }
}

/// By a consistent read.
async fn is_void(ctx: &Ctx, holder: &Holder) -> bool {
    let api: Api<DataOperation> = Api::namespaced(ctx.client.clone(), &holder.namespace);
    match write::get(ctx, &api, &holder.name).await {
        Ok(None) => true,
        Ok(Some(op)) => op.uid() != holder.uid || void(&op, holder),
        Err(_) => false,
    }
}

/// Whether the operation's hold stands in the lock, as every holder confirms before its next effect.
pub fn confirmed(op: &DataOperation, around: &Surroundings) -> bool {
    let epoch = op.status.as_ref().map_or(0, |s| s.fence.epoch);
    around.lock.as_ref().and_then(|l| l.spec.lock.hold_of(op.uid())).is_some_and(|h| h.hold == epoch)
}

/// What a consistent read of the operation shows, when it is not as the caller knows it.
async fn outdated(ctx: &Ctx, op: &DataOperation, memory: &mut Memory) -> Option<Held> {
    let name = op.metadata.name.as_deref().unwrap_or_default();
    match write::get(ctx, &super::commit::api(ctx, op), name).await {
        Ok(Some(now)) if now.uid() == op.uid() && now.seq() == op.seq() => None,
        Ok(Some(now)) => {
            ctx.changed_operation(&ctx.operations.replace(now));
            Some(Held::Changed)
        }
        Ok(None) => {
            if let Some(change) = ctx.operations.remove(&Key::of(op), Some(op.uid())) {
                ctx.changed_operation(&change);
            }
            Some(Held::Changed)
        }
        Err(_) => Some(Held::Later(super::commit::backoff(memory))),
    }
}

/// The hold of a running operation is missing: somebody removed it, or the lock was deleted and made anew. It is put
/// back under its old id when nothing conflicts; `None` when somebody else has the engine now.
pub async fn restore(
    ctx: &Ctx,
    op: &DataOperation,
    around: &Surroundings,
    memory: &mut Memory,
) -> Option<Held> {
    let lock = around.lock.as_ref()?;
    // A copy from long ago must not take the engine from others for an operation that is over.
    if let Some(held) = outdated(ctx, op, memory).await {
        return Some(held);
    }
    let seen = refresh(ctx, lock, memory).await;
    let Some(lock) = ctx.locks.get(&Key::of(&**lock)).filter(|_| seen == Held::Changed) else {
        return Some(Held::Later(Duration::from_secs(1)));
    };
    let epoch = op.status.as_ref().map_or(0, |s| s.fence.epoch);
    if lock.spec.lock.hold_of(op.uid()).is_some_and(|h| h.hold == epoch) {
        return Some(Held::Changed);
    }
    if let Some(held) = vetted(ctx, &lock, memory).await {
        return Some(held);
    }
    let request = request(op);
    if let Some(Blocker { by, .. }) = blocker(ctx, &lock.spec.lock, &request, &[]) {
        tracing::warn!(operation = request.name, %by, "the hold was lost and somebody else works on the paths");
        return None;
    }
    let mut next = lock.spec.lock.clone();
    next.holders.retain(|h| h.uid != op.uid());
    let (mut granted, _) = next.grant(&request);
    granted.epoch = lock.spec.lock.epoch.max(epoch);
    granted.remade = lock.spec.lock.remade;
    if let Some(own) = granted.holders.iter_mut().find(|h| h.uid == op.uid()) {
        own.hold = epoch;
    }
    tracing::warn!(operation = request.name, epoch, "the hold was lost; it is restored");
    Some(put(ctx, &lock, &granted, memory).await)
}
