//! What goes wrong with a cache, on command.

use super::Cache;
use super::state::{Core, Job, Life, Work};

impl Cache {
    /// Whether anybody answers. What goes on inside goes on.
    pub fn set_reachable(&self, reachable: bool) {
        self.core().reachable = reachable;
    }

    /// The master dies and comes back: it knows no listing, no decommission and no free that had not happened yet, and
    /// numbers its listings from 1 again. Its files and jobs stand in its journal; a job that ran starts over (with a
    /// profile whose jobs do not survive, they are gone).
    pub fn restart_master(&self) {
        self.change(Core::restart);
    }

    /// Another master takes over, which has not seen the last `lose_last` changes of the journal: directories and files
    /// that were learnt, jobs that were started, resumed or stopped. Otherwise as [`Self::restart_master`].
    pub fn fail_over(&self, lose_last: usize) {
        self.change(|c| {
            for _ in 0..lose_last {
                if !c.take_back() {
                    break;
                }
            }
            c.restart();
        });
    }

    /// A worker's process ends. Its copies go with it unless the profile says that its tier survives.
    pub fn stop_worker(&self, worker: usize) {
        self.change(|c| {
            if !c.profile.tier_survives {
                c.empty(worker);
            }
            if let Some(w) = c.s.workers.get_mut(worker) {
                w.up = false;
                // One that is out of use stays so.
                if w.life == Life::Active {
                    w.life = Life::Lost;
                }
                c.dirty = true;
            }
        });
    }

    /// A master that has just started does not know this worker yet, whose process goes on; it registers with
    /// [`Self::start_worker`].
    pub fn unregister(&self, worker: usize) {
        self.change(|c| c.set_life(worker, Life::Lost));
    }

    /// A worker's process starts (or restarts): it registers and is active, also when it was decommissioned, unless it may
    /// not register.
    pub fn start_worker(&self, worker: usize) {
        self.change(|c| {
            let Some(w) = c.s.workers.get_mut(worker) else { return };
            w.up = true;
            if !c.s.rejected.contains(&worker) {
                w.life = Life::Active;
            }
            c.dirty = true;
        });
    }

    /// Decommissions a worker: what it holds is not known any more, and nothing is moved. Undone by a restart of the
    /// worker or of the master, and by itself after 35 minutes.
    pub fn decommission(&self, worker: usize) {
        self.change(|c| {
            let at_ms = c.s.now;
            if c.s.workers.get(worker).is_some_and(|w| !matches!(w.life, Life::Decommissioned { .. })) {
                c.set_life(worker, Life::Decommissioned { at_ms });
            }
        });
    }

    /// Drops every copy of a file, as a full worker would: of a pinned one or one that only the cache has, none. Whether there was one.
    pub fn evict(&self, path: &str) -> bool {
        self.change(|c| {
            let may_go = c.s.files.get(path).is_some_and(|k| k.persisted && !k.pinned);
            let any = may_go && c.s.workers.iter().any(|w| w.copies.contains_key(path));
            if any {
                c.drop_everywhere(path);
            }
            any
        })
    }

    /// Changes a byte of every copy of a file (of an empty one, nothing). Whether there was one.
    pub fn corrupt(&self, path: &str) -> bool {
        self.change(|c| {
            let mut any = false;
            for worker in 0..c.s.workers.len() {
                let Ok(mut bytes) = c.tier.get(worker, path) else { continue };
                let Some(first) = bytes.first_mut() else { continue };
                *first ^= 1;
                any |= c.tier.put(worker, path, bytes).is_ok();
            }
            any
        })
    }

    /// Somebody else starts (or resumes) the load job of a path.
    pub fn foreign_load(&self, path: &str) {
        self.change(|c| drop(c.submit(path)));
    }

    /// Somebody else stops the load job of a path. Whether it ran.
    pub fn foreign_stop(&self, path: &str) -> bool {
        self.change(|c| c.stop(path))
    }
}

impl Core {
    fn restart(&mut self) {
        self.s.tasks.clear();
        self.s.next_task = 1;
        self.s.freeing.clear();
        self.s.rejected.clear();
        self.s.started_ms = self.s.now;
        // What was not whole never will be.
        let now = self.s.now;
        self.s.backups.retain(|b| b.ends_at <= now);
        for w in &mut self.s.workers {
            w.life = if w.up { Life::Active } else { Life::Lost };
        }
        if self.profile.jobs_survive {
            let now = self.s.now;
            for job in self.s.jobs.values_mut().filter(|j| j.work == Work::Running) {
                *job = Job::new(job.id, now);
            }
        } else {
            self.s.jobs.clear();
        }
        self.dirty = true;
    }

    fn set_life(&mut self, worker: usize, life: Life) {
        if let Some(w) = self.s.workers.get_mut(worker) {
            w.life = life;
            self.dirty = true;
        }
    }

    fn empty(&mut self, worker: usize) {
        let Some(w) = self.s.workers.get(worker) else { return };
        let paths: Vec<String> = w.copies.keys().cloned().collect();
        for path in paths {
            self.drop_copy(worker, &path);
        }
    }
}
