//! The only writer of an operation's status.
//!
//! ```text
//!   record + event --law--> record' --one PATCH: test uid, test seq [, test generation]--> committed
//!                                        | lost / ambiguous: a consistent read decides
//! ```

use super::memory::{Memory, OwnIntent, Sent};
use super::reply::Reply;
use super::teeth::Mutation;
use super::write::{self, Part};
use super::{Ctx, patch, publish, seal};
use crate::api::{DataOperation, DataOperationStatus};
use crate::cache::Key;
use kube::Api;
use ratchet_state_machine::effect::{Effect, Intent};
use ratchet_state_machine::ids::{Fence, Nonce, Seq, Token};
use ratchet_state_machine::journal::{JournalError, Record, Signature, plan_hash};
use ratchet_state_machine::lifecycle::Change;
use ratchet_state_machine::lifecycle::step::Shared;
use ratchet_state_machine::operation::Event;
use ratchet_state_machine::{invariant, spec};
use serde_json::Value;
use std::sync::Arc;
use std::time::Duration;

/// What became of a transition.
#[derive(Debug)]
pub enum Committed {
    /// It stands; this is the object as the server has it now.
    Done(Arc<DataOperation>),
    /// Somebody else was first; the cache has the newer state.
    Lost,
    /// The object is gone.
    Gone,
    /// It was not written; try again after this long.
    Later(Duration),
    /// It may have been written; look again after this long.
    Unsure(Duration),
}

/// Why a transition was not even tried: a bug, never a user's mistake.
#[derive(Debug, thiserror::Error)]
pub enum CommitError {
    /// The law or a bound of the journal forbids it.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// An invariant would break.
    #[error("the write would break an invariant: {0}")]
    Invariant(&'static str),
    /// The status does not serialise.
    #[error("the status does not serialise: {0}")]
    Encode(#[from] serde_json::Error),
}

/// The API of one operation's namespace, with the client for status writes.
pub fn api(ctx: &Ctx, op: &DataOperation) -> Api<DataOperation> {
    Api::namespaced(ctx.client.clone(), op.metadata.namespace.as_deref().unwrap_or_default())
}

/// The first transition of an operation.
///
/// # Errors
/// [`CommitError`].
pub async fn birth(
    ctx: &Ctx,
    op: &Arc<DataOperation>,
    memory: &mut Memory,
) -> Result<Committed, CommitError> {
    let plan = plan_hash(&op.spec)?;
    let event = Event::Shared(Shared::Created {
        machine: ratchet_state_machine::MACHINE_VERSION,
        after: !op.spec.run_after.is_empty(),
        approval: op.spec.approval == spec::Approval::Manual,
        plan,
    });
    let change = Change { event, intent: None, sealed_through: None };
    let sign = Signature { by: &ctx.writer, at: ctx.clock.now(), because: "first seen" };
    let record = Record::birth(op.uid(), &op.spec, &change, &sign)?;
    let status = publish::dressed(ctx, op, None, DataOperationStatus::from_record(&record), None);
    let ops = patch::birth(op.uid(), &status)?;
    Ok(send(ctx, op, &record, ops, memory).await)
}

/// One transition, with the intent of the next effect and a finished segment riding on it.
///
/// # Errors
/// [`CommitError`].
pub async fn transition(
    ctx: &Ctx,
    op: &Arc<DataOperation>,
    old: &Record,
    event: Event,
    because: &str,
    effect: Option<Effect>,
    memory: &mut Memory,
) -> Result<Committed, CommitError> {
    let Some(before) = &op.status else { return Ok(Committed::Lost) };
    let intent = effect.map(|e| intend(ctx, op, old, &event, e));
    let mut change = Change { event, intent, sealed_through: None };
    let mut because = because;
    if ends(old, &change)? {
        // The last entries are sealed together, after the end.
    } else if old.compaction_due() && !ctx.broken(Mutation::SealAfterTrim) {
        match seal::segment(ctx, op, old).await {
            seal::Sealed::Through(through, kept) => {
                change.sealed_through = Some(through);
                if !kept {
                    because = "the namespace is terminating: older entries could not be kept";
                }
            }
            seal::Sealed::Later(wait) => return Ok(Committed::Later(wait)),
        }
    }
    if ctx.broken(Mutation::SealAfterTrim) && old.compaction_due() {
        change.sealed_through = Some(old.folded.seq);
        let done = append(ctx, op, before, old, change, because, memory).await;
        seal::segment(ctx, op, old).await;
        return done;
    }
    append(ctx, op, before, old, change, because, memory).await
}

/// The `Sealed` entry of an operation that is over.
///
/// # Errors
/// [`CommitError`].
pub async fn seal_off(
    ctx: &Ctx,
    op: &Arc<DataOperation>,
    old: &Record,
    through: Seq,
    segment: bool,
    memory: &mut Memory,
) -> Result<Committed, CommitError> {
    let Some(before) = &op.status else { return Ok(Committed::Lost) };
    let event = Event::Shared(Shared::Sealed { segment });
    let change = Change { event, intent: None, sealed_through: Some(through) };
    let because = if segment { "the journal is in segments" } else { "the namespace is terminating" };
    append(ctx, op, before, old, change, because, memory).await
}

async fn append(
    ctx: &Ctx,
    op: &Arc<DataOperation>,
    before: &DataOperationStatus,
    old: &Record,
    change: Change,
    because: &str,
    memory: &mut Memory,
) -> Result<Committed, CommitError> {
    let sign = Signature { by: &ctx.writer, at: ctx.clock.now(), because };
    let record = old.append(&change, &sign)?;
    if let Some(broken) = invariant::broken(Some(old), &record) {
        ctx.metrics.invariant_broken(broken);
        return Err(CommitError::Invariant(broken));
    }
    let status = publish::dressed(ctx, op, Some(before), DataOperationStatus::from_record(&record), None);
    // A cancel, a pause or a deletion that is not seen yet must win against an intent.
    let guarded = change.intent.is_some() && !ctx.broken(Mutation::DropGenerationTest);
    let generation = guarded.then(|| op.metadata.generation.unwrap_or(0));
    let mut ops = patch::transition(op.uid(), generation, before, &status)?;
    if ctx.broken(Mutation::DropUidTest) {
        ops.retain(|o| o["op"] != "test" || o["path"] != "/metadata/uid");
    }
    if ctx.broken(Mutation::DropSeqTest) {
        ops.retain(|o| o["op"] != "test" || o["path"] != "/status/seq");
    }
    let before = memory.own.clone();
    if let Some(intent) = &change.intent {
        // The window counts from before the PATCH is sent.
        let (nonce, patched_at) = (intent.nonce.clone(), ctx.clock.instant());
        memory.own = Some(OwnIntent { nonce, patched_at, sent: Sent::No });
    }
    let done = send(ctx, op, &record, ops, memory).await;
    if matches!(done, Committed::Lost | Committed::Later(_)) {
        // The former intent still stands, and with it what is known of its effect.
        memory.own = before;
    }
    Ok(done)
}

/// Whether the change leads to a terminal state.
fn ends(old: &Record, change: &Change) -> Result<bool, CommitError> {
    let seq = old.folded.seq.next();
    let after = old.folded.clone().apply(change).map_err(|illegal| JournalError::Illegal { seq, illegal })?;
    Ok(after.state.phase().terminal())
}

/// The intent for an effect: a takeover keeps the token, every attempt has a fence and a nonce of its own.
fn intend(ctx: &Ctx, op: &DataOperation, old: &Record, event: &Event, effect: Effect) -> Intent {
    let folded = &old.folded;
    let again = matches!(event, Event::Shared(Shared::Intended {}));
    let again = again && !ctx.broken(Mutation::FreshToken);
    let kept = folded.intent.as_ref().filter(|i| again && i.effect == effect).map(|i| i.token.clone());
    let attempt = folded.fence.attempt + i64::from(!ctx.broken(Mutation::KeepAttempt));
    Intent {
        token: kept.unwrap_or_else(|| Token::derive(op.uid(), folded.seq.next(), folded.round)),
        effect,
        writer: ctx.writer.clone(),
        nonce: Nonce(ctx.nonce()),
        fence: Fence { attempt, ..folded.fence },
        send_for_ms: ctx.config.send_for_ms,
    }
}

/// Sends the PATCH and finds out what became of it.
async fn send(
    ctx: &Ctx,
    op: &Arc<DataOperation>,
    record: &Record,
    ops: Vec<Value>,
    memory: &mut Memory,
) -> Committed {
    let name = op.metadata.name.as_deref().unwrap_or_default();
    let started = ctx.clock.instant();
    let reply = write::patch(ctx, &api(ctx, op), Part::Status, name, Value::Array(ops)).await;
    ctx.metrics.write_took(ctx.clock.instant().saturating_duration_since(started));
    match reply {
        Ok(object) => {
            memory.errors = 0;
            ctx.metrics.transition(record);
            adopt(ctx, object).map_or(Committed::Gone, Committed::Done)
        }
        Err(reply) => judge(ctx, op, record, reply, memory).await,
    }
}

async fn judge(
    ctx: &Ctx,
    op: &Arc<DataOperation>,
    record: &Record,
    reply: Reply,
    memory: &mut Memory,
) -> Committed {
    let operation = Key::of(&**op);
    match reply {
        Reply::Ambiguous(_) if ctx.broken(Mutation::AmbiguousIsDone) => {
            let mut hoped = (**op).clone();
            hoped.status = Some(DataOperationStatus::from_record(record));
            Committed::Done(Arc::new(hoped))
        }
        Reply::Lost | Reply::Conflict => read_back(ctx, op, Some(record), memory).await,
        Reply::Ambiguous(_) => {
            let found = read_back(ctx, op, Some(record), memory).await;
            let stands = || ctx.operations.get(&operation).is_some_and(|now| now.seq() == op.seq());
            // Nobody wrote anything: the server is in trouble, and asking again at once does not help it.
            if matches!(found, Committed::Lost) && stands() {
                Committed::Later(backoff(memory))
            } else {
                found
            }
        }
        Reply::Gone => read_back(ctx, op, None, memory).await,
        Reply::Rule(why) => {
            tracing::error!(%operation, %why, "the API server's rules refuse a transition; the operation is parked");
            memory.park(op, ctx.clock.instant());
            ctx.metrics.parked();
            Committed::Later(ctx.config.parked_retry)
        }
        Reply::Denied(why) => {
            tracing::error!(%operation, %why, "writing the status is denied; check the controller's role and user name");
            Committed::Later(backoff(memory))
        }
        Reply::TooLarge(why) => {
            tracing::error!(%operation, %why, "the status is too large for the API server; the operation is parked");
            memory.park(op, ctx.clock.instant());
            ctx.metrics.parked();
            Committed::Later(ctx.config.parked_retry)
        }
        Reply::Terminating => Committed::Later(backoff(memory)),
        Reply::Busy(after) => Committed::Later(after.unwrap_or_else(|| backoff(memory))),
    }
}

/// Grows from a fifth of a second to 30 s.
pub fn backoff(memory: &mut Memory) -> Duration {
    memory.errors = memory.errors.saturating_add(1);
    Duration::from_millis(200_u64.saturating_mul(1 << memory.errors.min(8))).min(Duration::from_secs(30))
}

/// A consistent read: the truth about a write whose reply said nothing.
async fn read_back(
    ctx: &Ctx,
    op: &Arc<DataOperation>,
    sent: Option<&Record>,
    memory: &mut Memory,
) -> Committed {
    let key = Key::of(&**op);
    let seen = match write::get(ctx, &api(ctx, op), &key.name).await {
        Ok(seen) => seen,
        Err(reply) => {
            tracing::warn!(operation = %key, reply = reply.name(), "the read that decides an ambiguous write failed; again later");
            return Committed::Unsure(backoff(memory));
        }
    };
    match seen {
        Some(object) if object.uid() == op.uid() => {
            let landed = sent.is_some_and(|s| {
                object
                    .status
                    .as_ref()
                    .is_some_and(|now| now.seq == s.folded.seq && now.digest == s.folded.digest)
            });
            if sent.is_none() {
                // The write said "gone" and the object is there: nothing is certain, look again.
                return Committed::Unsure(backoff(memory));
            }
            match adopt(ctx, object) {
                Some(object) if landed => Committed::Done(object),
                Some(_) => Committed::Lost,
                None => Committed::Gone,
            }
        }
        Some(other) => {
            adopt(ctx, other);
            Committed::Gone
        }
        None => {
            if let Some(change) = ctx.operations.remove(&key, Some(op.uid())) {
                ctx.changed_operation(&change);
            }
            Committed::Gone
        }
    }
}

/// The server's copy becomes the cache's, unless the watch was faster. What the cache has now; `None`: it is gone.
fn adopt(ctx: &Ctx, object: DataOperation) -> Option<Arc<DataOperation>> {
    let change = ctx.operations.replace(object);
    ctx.moved_operation(&change);
    change.new
}
