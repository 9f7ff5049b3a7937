//! What people read: progress, the reason for waiting, conditions. Outside the fold; a write that changes only
//! this keeps `seq`, and there are few of them.

use super::Ctx;
use super::memory::Memory;
use super::write::{self, Part};
use crate::api::DataOperation;
use crate::api::conditions::{self, FINISHED, PROGRESSING, STALLED, SUCCEEDED, Wanted};
use crate::api::operation::{DataOperationStatus, ProgressStatus, WaitingStatus};
use crate::clock::ms_between;
use ratchet_state_machine::decision::{Progress, WaitingOn};
use ratchet_state_machine::effect::percent;
use ratchet_state_machine::machine::Phase;
use std::sync::Arc;

/// Least time between two writes that show more of the same, in milliseconds.
const DISPLAY_EVERY_MS: i64 = 5_000;

/// The new status with what is for display: carried over from `old`, brought up to date.
pub fn dressed(
    ctx: &Ctx,
    op: &DataOperation,
    old: Option<&DataOperationStatus>,
    new: DataOperationStatus,
    waiting: Option<&WaitingOn>,
) -> DataOperationStatus {
    let now = ctx.clock.now();
    let mut new = new;
    if let Some(old) = old {
        new.progress = old.progress.clone();
        new.started_at = old.started_at.clone();
        new.finished_at = old.finished_at.clone();
    }
    if new.started_at.is_none() && new.state.holds() {
        new.started_at = Some(conditions::time(now));
    }
    if new.phase.terminal() {
        new.finished_at.get_or_insert_with(|| conditions::time(now));
        if let Some(p) = new.progress.as_mut() {
            p.eta = String::new();
            p.rate = 0;
            if new.phase == Phase::Succeeded {
                p.done = p.total;
                p.percent = "100%".into();
            }
        } else if new.phase == Phase::Succeeded {
            new.progress = Some(ProgressStatus {
                done: 0,
                total: 0,
                unit: "bytes".into(),
                percent: "100%".into(),
                rate: 0,
                eta: String::new(),
            });
        }
    }
    new.waiting_on = waiting_status(&new, waiting);
    let kept = old.map(|o| o.conditions.as_slice()).unwrap_or_default();
    let generation = op.metadata.generation.unwrap_or(0);
    new.conditions = conditions::apply(kept, &wanted(&new, waiting), generation, now);
    new
}

fn waiting_status(status: &DataOperationStatus, waiting: Option<&WaitingOn>) -> Option<WaitingStatus> {
    if let Some(failure) = status.state.failure() {
        return Some(WaitingStatus { reason: failure.reason.clone(), message: failure.message.clone() });
    }
    if status.phase.terminal() {
        return None;
    }
    let waiting = waiting?;
    (!matches!(waiting, WaitingOn::Work(_))).then(|| {
        let message = ratchet_state_machine::lifecycle::cut(&waiting.message(), 600);
        WaitingStatus { reason: waiting.reason().into(), message }
    })
}

/// The conditions that a status calls for.
fn wanted(status: &DataOperationStatus, waiting: Option<&WaitingOn>) -> Vec<Wanted> {
    let (phase, name) = (status.phase, status.phase.name());
    let why = status.waiting_on.as_ref();
    let reason = why.map_or(name, |w| w.reason.as_str());
    let message = why.map_or_else(|| format!("in step {}", status.step), |w| w.message.clone());
    let finished = phase.terminal();
    let getting_on =
        !finished && phase != Phase::Stuck && waiting.is_none_or(|w| matches!(w, WaitingOn::Work(_)));
    vec![
        Wanted::new(
            FINISHED,
            finished,
            if finished { reason } else { name },
            if finished { message.clone() } else { String::new() },
        ),
        Wanted::new(
            SUCCEEDED,
            phase == Phase::Succeeded,
            if finished { reason } else { name },
            if finished { message.clone() } else { String::new() },
        ),
        Wanted::new(PROGRESSING, getting_on, reason, message.clone()),
        Wanted::new(
            STALLED,
            phase == Phase::Stuck,
            reason,
            if phase == Phase::Stuck { message } else { String::new() },
        ),
    ]
}

/// Shows why the operation waits, or how far it is: when the reason changed, or when enough has happened. Gives back
/// the milliseconds after which something that is new now has to be shown.
pub async fn waiting(
    ctx: &Ctx,
    op: &Arc<DataOperation>,
    reason: &WaitingOn,
    memory: &mut Memory,
) -> Option<i64> {
    let old = op.status.as_ref()?;
    let now = ctx.clock.instant();
    let mut new = dressed(ctx, op, Some(old), old.clone(), Some(reason));
    let shown = memory.published;
    let measure = reason.progress().map(|p| if p.total > 0 { percent(p.done, p.total) } else { p.done });
    if let Some(progress) = reason.progress() {
        new.progress = Some(progress_status(progress, memory.since_entry_ms(now)));
    }
    // A new reason is shown at once; a new text or figure of the same reason waits for its turn.
    let word = |s: &DataOperationStatus| s.waiting_on.as_ref().map(|w| w.reason.clone());
    let owed = shown.map_or(0, |(at, _)| DISPLAY_EVERY_MS - ms_between(at, now));
    let moved =
        old.progress != new.progress && shown.is_none_or(|(_, was)| measure.is_some_and(|m| m != was));
    let changed = old.waiting_on != new.waiting_on || old.conditions != new.conditions;
    if word(old) == word(&new) && (owed > 0 || !(changed || moved)) {
        return (changed || moved).then_some(owed);
    }
    memory.published = Some((now, measure.unwrap_or(0)));
    // A favour that did not go through is tried again at the next turn.
    (!show(ctx, op, old, &new).await).then_some(DISPLAY_EVERY_MS)
}

fn progress_status(progress: &Progress, elapsed_ms: i64) -> ProgressStatus {
    let known = progress.total > 0;
    let rate = if elapsed_ms >= 1000 { progress.done / (elapsed_ms / 1000) } else { 0 };
    let left = progress.total.saturating_sub(progress.done).max(0);
    let eta = if known && rate > 0 { duration(left / rate) } else { String::new() };
    ProgressStatus {
        done: progress.done,
        total: progress.total,
        unit: progress.unit.into(),
        percent: if known { format!("{}%", percent(progress.done, progress.total)) } else { String::new() },
        rate,
        eta,
    }
}

/// Seconds as people write them: `42s`, `7m`, `3h5m`.
fn duration(seconds: i64) -> String {
    match seconds {
        s if s < 60 => format!("{s}s"),
        s if s < 3600 => format!("{}m{}s", s / 60, s % 60),
        s => format!("{}h{}m", s / 3600, s % 3600 / 60),
    }
}

/// Writes what is for display. Whether nothing is left to write.
async fn show(
    ctx: &Ctx,
    op: &Arc<DataOperation>,
    old: &DataOperationStatus,
    new: &DataOperationStatus,
) -> bool {
    let name = op.metadata.name.as_deref().unwrap_or_default();
    let ops = match super::patch::display(op.uid(), old, new) {
        Ok(ops) if ops.is_empty() => return true,
        Ok(ops) => ops,
        Err(error) => {
            tracing::error!(operation = name, %error, "a status does not serialise");
            return true;
        }
    };
    match write::patch(ctx, &super::commit::api(ctx, op), Part::Status, name, &ops).await {
        Ok(object) => {
            ctx.metrics.display_write();
            // The answer may be the first to show what somebody edited meanwhile; the watch will bring nothing new then.
            if let Some(change) = ctx.operations.apply(object) {
                ctx.changed_operation(&change);
            }
            true
        }
        Err(reply) => {
            tracing::debug!(operation = name, reply = reply.name(), "the display was not written");
            // Somebody wrote a transition: what was to be shown is out of date.
            reply == super::reply::Reply::Lost || reply == super::reply::Reply::Gone
        }
    }
}
