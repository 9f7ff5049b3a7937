//! What happens by itself while time passes: listings end, frees take effect, decommissions expire, jobs copy bytes.

use super::state::{Core, DECOMMISSION_MS, Job, Life, TaskState, Work};
use super::storage::UfsError;

/// Bytes that the jobs of one `advance` copy together: nobody holds the lock for seconds.
const STEP_BYTES: u64 = 64 << 20;
/// Finished jobs are known for a day.
const KEEP_JOBS_MS: i64 = 24 * 3_600_000;
/// Finished listings that are remembered.
const KEEP_TASKS: usize = 128;

impl Core {
    /// Lets everything happen that is due at `now`; an earlier time than the last one is that one.
    pub fn advance(&mut self, now: i64) {
        let shift = *self.shift.get_or_insert(self.s.now.saturating_sub(now));
        self.s.now = self.s.now.max(now.saturating_add(shift));
        self.expire();
        self.end_listings();
        self.end_frees();
        self.persist_asked();
        self.copy();
    }

    fn expire(&mut self) {
        let now = self.s.now;
        let rejected = &self.s.rejected;
        for (i, w) in self.s.workers.iter_mut().enumerate() {
            if matches!(w.life, Life::Decommissioned { at_ms } if now - at_ms >= DECOMMISSION_MS) {
                // One that may not register stays away.
                let back = w.up && !rejected.contains(&i);
                w.life = if back { Life::Active } else { Life::Lost };
                self.dirty = true;
            }
        }
    }

    fn end_listings(&mut self) {
        let due = |t: &super::state::Task, now| t.state == TaskState::Running && t.ends_at <= now;
        let now = self.s.now;
        let Some(first) = self.s.tasks.iter().find(|(_, t)| due(t, now)).map(|(id, _)| *id) else { return };
        let mut tasks = std::mem::take(&mut self.s.tasks);
        for (_, task) in tasks.range_mut(first..).filter(|(_, t)| due(t, now)) {
            let ops = match self.stored(&task.path) {
                Ok(found) => Ok(self.learn(&task.path, found)),
                // A listing of what does not exist succeeds, and the namespace forgets what it had there.
                Err(UfsError::NotFound(_)) => Ok(self.unlearn(&task.path)),
                Err(why) => Err(why),
            };
            match ops {
                Ok(ops) => (task.ops, task.state) = (ops, TaskState::Succeeded),
                Err(why) => task.state = TaskState::Failed(why.to_string()),
            }
            if let Some(number) = task.asked_by.filter(|_| task.ops > 0) {
                self.has_changed(number);
            }
            self.dirty = true;
        }
        while tasks.len() > KEEP_TASKS {
            tasks.pop_first();
        }
        self.s.tasks = tasks;
    }

    fn end_frees(&mut self) {
        let now = self.s.now;
        if self.s.freeing.iter().all(|f| f.at > now) {
            return;
        }
        let (due, later) = std::mem::take(&mut self.s.freeing).into_iter().partition(|f| f.at <= now);
        self.s.freeing = later;
        let due: Vec<super::state::Freeing> = due;
        for free in due {
            let files: Vec<String> = self
                .under(&free.path)
                .filter(|(_, k)| k.persisted && !k.pinned)
                .map(|(path, _)| path.clone())
                .collect();
            for path in files {
                for worker in 0..self.s.workers.len() {
                    let old = self.s.workers[worker].copies.get(&path).is_some_and(|c| c.seq <= free.upto);
                    // A worker that is gone hears of it when it registers again: then its copy is one too many.
                    if old {
                        self.drop_copy(worker, &path);
                    }
                }
            }
        }
        self.dirty = true;
    }

    fn copy(&mut self) {
        if self.s.jobs.is_empty() {
            return;
        }
        let mut jobs = std::mem::take(&mut self.s.jobs);
        let mut room = STEP_BYTES;
        for (path, job) in jobs.iter_mut().filter(|(_, j)| j.work == Work::Running) {
            self.work(path, job, &mut room);
        }
        let now = self.s.now;
        jobs.retain(|_, j| !j.has_ended() || now - j.ended < KEEP_JOBS_MS);
        self.s.jobs = jobs;
    }

    fn work(&mut self, path: &str, job: &mut Job, room: &mut u64) {
        let now = self.s.now;
        let passed = u128::try_from(now - job.since).unwrap_or(0);
        job.since = now;
        if !self.s.workers.iter().any(|w| w.gets_work(now)) {
            // It waits for workers for ever, as Alluxio's does.
            return;
        }
        if job.total.is_none() {
            if !self.knows(path) {
                let message = format!("Path \"{path}\" does not exist.");
                return self.finish(job, Work::Failed { missing: true, message });
            }
            job.total = Some(self.under(path).filter(|(p, k)| self.to_load(p, k)).map(|(_, k)| k.len).sum());
            self.dirty = true;
        }
        let speed = u128::from(self.profile.bytes_per_second);
        job.credit = job.credit.saturating_add(passed.saturating_mul(speed));
        loop {
            let Some((file, len)) = self.next(path, job) else {
                let failed = job.failed > 100 && job.failed * 20 > job.files;
                let message = || format!("{} of {} files failed", job.failed, job.files);
                let end = if failed {
                    Work::Failed { missing: false, message: message() }
                } else {
                    Work::Succeeded
                };
                return self.finish(job, end);
            };
            let price = u128::from(len) * 1_000;
            if speed > 0 && job.credit < price {
                job.ahead = u64::try_from(job.credit / 1_000).unwrap_or(len);
                return;
            }
            if *room < len && *room < STEP_BYTES {
                *room = 0;
                return;
            }
            *room = room.saturating_sub(len);
            job.credit = job.credit.saturating_sub(price);
            self.fetch(&file, len, job);
            job.cursor = Some(file);
        }
    }

    /// The next file that the job has to copy.
    fn next(&self, path: &str, job: &Job) -> Option<(String, u64)> {
        let mut cursor = job.cursor.as_deref();
        while let Some((file, known)) = self.following(path, cursor) {
            if self.to_load(file, known) {
                return Some((file.clone(), known.len));
            }
            cursor = Some(file);
        }
        None
    }

    fn to_load(&self, path: &str, known: &super::state::Known) -> bool {
        known.persisted && !self.located(path)
    }

    /// Copies one file, with the length that the master knows: a file that has another one by now fails.
    fn fetch(&mut self, file: &str, len: u64, job: &mut Job) {
        job.files += 1;
        job.ahead = 0;
        let read = self.stored_bytes(file).ok().filter(|bytes| bytes.len() as u64 == len);
        if read.is_some_and(|bytes| self.place(file, bytes)) {
            job.loaded += len;
        } else {
            job.failed += 1;
        }
        self.dirty = true;
    }

    fn finish(&mut self, job: &mut Job, end: Work) {
        (job.work, job.ended, job.ahead, job.credit) = (end, self.s.now, 0, 0);
        self.dirty = true;
    }
}

impl Job {
    /// Whether it will do nothing more by itself nor be resumed.
    pub(super) const fn has_ended(&self) -> bool {
        matches!(self.work, Work::Succeeded | Work::Failed { .. })
    }
}
