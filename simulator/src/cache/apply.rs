//! Effects, as they take hold: at once and whole, or refused. When a call lands is the business of whoever makes it.

use super::mounts::Refusal;
use super::profile::Protection;
use super::state::{Core, Freeing, Job, Receipt0, Task, TaskState, Undo, Work};
use super::{Applied, Call};
use ratchet_state_machine::effect::{Effect, Outcome, Receipt};
use ratchet_state_machine::operation::backup::IN_PROGRESS;
use ratchet_state_machine::spec::MountSpec;

/// Jobs that run at a time; another submit is refused.
const MAX_JOBS: usize = 100;
/// Applications that are remembered.
const MAX_APPLIED: usize = 65_536;

/// Why an effect is refused.
pub(super) struct No {
    reason: &'static str,
    message: String,
    retryable: bool,
}

impl No {
    /// Not now.
    pub(super) fn in_progress(message: &str) -> Self {
        Self { reason: IN_PROGRESS, message: message.into(), retryable: true }
    }
}

impl From<No> for Outcome {
    fn from(no: No) -> Self {
        Self::Refused { reason: no.reason.into(), message: no.message, retryable: no.retryable }
    }
}

impl From<Refusal> for No {
    fn from(refusal: Refusal) -> Self {
        let reason = if refusal.unknown { "NotFound" } else { "EngineRefused" };
        Self { reason, message: refusal.message, retryable: false }
    }
}

/// What is to be mounted.
fn wanted<'a>(call: &Call<'a>) -> Result<&'a MountSpec, No> {
    let message = || "the call does not say what to mount".into();
    call.mount.ok_or_else(|| No { reason: "InvalidEffect", message: message(), retryable: false })
}

impl Core {
    pub fn apply(&mut self, call: &Call<'_>) -> Outcome {
        if !self.reachable {
            let message = "nobody answers".into();
            return No { reason: "EngineUnreachable", message, retryable: true }.into();
        }
        match self.admit(call) {
            Ok(None) => {}
            Ok(Some(receipt)) => {
                self.note(call, false);
                return Outcome::Done(receipt);
            }
            Err(no) => return no.into(),
        }
        let number = self.s.first_applied + self.s.applied.len() as u64;
        match self.act(call, number) {
            Ok((receipt, changed)) => {
                self.note(call, changed);
                if self.profile.protection == Protection::Token {
                    self.s.tokens.insert(call.token.clone(), Receipt0::from(&receipt));
                    self.dirty = true;
                }
                Outcome::Done(receipt)
            }
            Err(no) => no.into(),
        }
    }

    /// What the protection says: go on, it was done before, or no.
    fn admit(&mut self, call: &Call<'_>) -> Result<Option<Receipt>, No> {
        match self.profile.protection {
            Protection::None => Ok(None),
            Protection::Token => Ok(self.s.tokens.get(call.token).map(Receipt::from)),
            Protection::Fence => {
                let highest = self.s.fences.get(call.path).copied().unwrap_or_default();
                if call.fence < highest {
                    let message = format!("fence {} is below {highest}", call.fence);
                    // The next attempt of whoever is in the right carries a higher one.
                    return Err(No { reason: "StaleFence", message, retryable: true });
                }
                if call.fence > highest {
                    self.s.fences.insert(call.path.to_owned(), call.fence);
                    self.dirty = true;
                }
                Ok(None)
            }
        }
    }

    fn note(&mut self, call: &Call<'_>, changed: bool) {
        if self.s.applied.len() == MAX_APPLIED {
            self.s.applied.pop_front();
            self.s.first_applied += 1;
        }
        self.s.applied.push_back(Applied {
            at_ms: self.s.now,
            effect: call.effect.clone(),
            path: call.path.to_owned(),
            token: call.token.clone(),
            fence: call.fence,
            changed,
        });
    }

    /// What an application set going has changed something after all.
    pub fn has_changed(&mut self, number: u64) {
        let index = number.checked_sub(self.s.first_applied).and_then(|i| usize::try_from(i).ok());
        if let Some(applied) = index.and_then(|i| self.s.applied.get_mut(i)) {
            applied.changed = true;
        }
    }

    fn act(&mut self, call: &Call<'_>, number: u64) -> Result<(Receipt, bool), No> {
        match call.effect {
            Effect::LoadMetadata { .. } => {
                let id = self.list(call.path, number);
                Ok((Receipt { task: Some(id), ..Receipt::default() }, false))
            }
            Effect::SubmitLoad { .. } => self.submit(call.path),
            Effect::StopLoad { .. } => Ok((Receipt::default(), self.stop(call.path))),
            Effect::CancelMetadata { task, .. } => {
                // A number that another path has by now is not ours to cancel.
                let task = self.s.tasks.get_mut(task).filter(|t| t.path == call.path);
                let changed = task.is_some_and(|task| {
                    let runs = task.state == TaskState::Running;
                    if runs {
                        task.state = TaskState::Canceled;
                    }
                    runs
                });
                self.dirty |= changed;
                Ok((Receipt::default(), changed))
            }
            Effect::Free { .. } => self.free(call.path).map(|changed| (Receipt::default(), changed)),
            Effect::Mount { .. } => {
                self.mount(call.path, wanted(call)?).map_err(No::from).map(|()| (Receipt::default(), true))
            }
            Effect::UpdateMount { .. } => {
                let changed = self.update_mount(call.path, wanted(call)?).map_err(No::from)?;
                Ok((Receipt::default(), changed))
            }
            Effect::Unmount { .. } => {
                self.unmount(call.path).map_err(No::from).map(|()| (Receipt::default(), true))
            }
            Effect::Backup { lasting, .. } => self.back_up(call, *lasting),
            Effect::PruneBackups { folders, .. } => {
                Ok((Receipt::default(), self.prune_backups(call.path, folders)))
            }
            // Pods are not the engine's.
            Effect::AddWorkers { .. }
            | Effect::RemoveWorkers { .. }
            | Effect::MarkWorkers { .. }
            | Effect::ReplaceWorker { .. }
            | Effect::SetRelease { .. }
            | Effect::ReplaceMember { .. }
            | Effect::TransferLeadership { .. }
            | Effect::ResetPriorities {}
            | Effect::FenceMembers {} => Ok((Receipt::default(), false)),
            Effect::OnWorkers { call: what, .. } => {
                let message = format!("{} is about workers by their numbers", what.name());
                Err(No { reason: "InvalidEffect", message, retryable: false })
            }
        }
    }

    /// Starts to look for files. Whether it changes anything shows when it ends.
    fn list(&mut self, path: &str, number: u64) -> i64 {
        let id = self.s.next_task;
        self.s.next_task += 1;
        let task = Task {
            path: path.to_owned(),
            ends_at: self.s.now.saturating_add(self.profile.listing_ms),
            state: TaskState::Running,
            ops: 0,
            asked_by: Some(number),
        };
        self.s.tasks.insert(id, task);
        self.dirty = true;
        id
    }

    /// Starts a job, joins the one that runs or resumes the one that was stopped.
    pub fn submit(&mut self, path: &str) -> Result<(Receipt, bool), No> {
        let attached = Receipt { attached: true, ..Receipt::default() };
        let now = self.s.now;
        if self.s.jobs.get(path).is_some_and(|j| j.work == Work::Running) {
            return Ok((attached, false));
        }
        if self.s.jobs.values().filter(|j| j.work == Work::Running).count() >= MAX_JOBS {
            let message = format!("{MAX_JOBS} jobs run already");
            return Err(No { reason: "EngineRefused", message, retryable: true });
        }
        let before = self.s.jobs.get(path).cloned();
        let (job, receipt) = match &before {
            Some(job) if job.work == Work::Stopped => {
                (Job { work: Work::Running, since: now, ..job.clone() }, attached)
            }
            _ => {
                let id = self.s.next_job;
                self.s.next_job += 1;
                (Job::new(id, now), Receipt { job: Some(format!("job-{id}")), ..Receipt::default() })
            }
        };
        self.s.jobs.insert(path.to_owned(), job);
        self.remember(Undo::Job { path: path.to_owned(), before });
        // A job that finds nothing changes nothing.
        Ok((receipt, self.knows(path)))
    }

    pub fn stop(&mut self, path: &str) -> bool {
        let Some(job) = self.s.jobs.get_mut(path).filter(|j| j.work == Work::Running) else { return false };
        let before = Some(job.clone());
        job.work = Work::Stopped;
        self.remember(Undo::Job { path: path.to_owned(), before });
        true
    }

    /// Accepts a free, unless something below the path must not go: then nothing goes.
    fn free(&mut self, path: &str) -> Result<bool, No> {
        if !self.knows(path) {
            let message = format!("Path \"{path}\" does not exist.");
            return Err(No { reason: "NotFound", message, retryable: false });
        }
        let mut any = false;
        for (file, known) in self.under(path) {
            let why = match known {
                k if k.pinned => "pinned",
                k if !k.persisted => "not persisted",
                _ => {
                    any |= self.s.workers.iter().any(|w| w.copies.contains_key(file));
                    continue;
                }
            };
            let message = format!("Cannot free file {file} which is {why}");
            return Err(No { reason: "EngineRefused", message, retryable: false });
        }
        let upto = self.s.next_copy - 1;
        let known = self.s.freeing.iter().any(|f| f.upto == upto && super::storage::within(path, &f.path));
        let at = self.s.now.saturating_add(self.profile.free_lag_ms);
        if any && !known {
            self.s.freeing.push(Freeing { at, path: path.to_owned(), upto });
            self.dirty = true;
        }
        Ok(any && !known)
    }
}
