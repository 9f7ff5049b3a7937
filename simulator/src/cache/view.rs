//! Questions and their answers.

use super::state::{Core, Job, Life, TaskState, Work};
use super::storage::UfsError;
use super::{Probe, WorkerView};
use ratchet_state_machine::effect::{
    Answer, Health, JobState, JobView, MetadataView, Query, TreeView, Trouble, TroubleKind,
};

fn signed(n: u64) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

impl Core {
    fn gate(&self) -> Result<(), Trouble> {
        if self.reachable {
            return Ok(());
        }
        Err(Trouble { kind: TroubleKind::Unreachable, message: "nobody answers".into() })
    }

    pub fn probe(&self) -> Result<Probe, Trouble> {
        self.gate()?;
        let each = self.profile.worker_capacity;
        let view = |(i, w): (usize, &super::state::Worker)| WorkerView {
            name: format!("worker-{i}"),
            state: match w.life {
                Life::Active => "ACTIVE",
                Life::Lost => "LOST",
                Life::Decommissioned { .. } if self.s.rejected.contains(&i) => "Disabled",
                Life::Decommissioned { .. } => "Decommissioned",
            },
            capacity: each,
            used: w.used,
        };
        let workers: Vec<WorkerView> = self.s.workers.iter().enumerate().map(view).collect();
        let live = || workers.iter().filter(|w| w.state == "ACTIVE");
        Ok(Probe {
            identity: self.identity.clone(),
            version: env!("CARGO_PKG_VERSION").into(),
            masters: 1,
            capacity: live().map(|w| w.capacity).sum(),
            used: live().map(|w| w.used).sum(),
            workers,
        })
    }

    /// A path that the master has never seen is looked up once, without what is below it: so answers may teach it.
    pub fn inspect(&mut self, query: &Query) -> Result<Answer, Trouble> {
        self.gate()?;
        match query {
            Query::Health => {
                let live = self.s.workers.iter().filter(|w| w.life == Life::Active).count();
                let live_workers = i64::try_from(live).unwrap_or(i64::MAX);
                let capacity_bytes = live_workers.saturating_mul(signed(self.profile.worker_capacity));
                Ok(Answer::Health(Health { live_workers, capacity_bytes, load_replicas: false }))
            }
            Query::Metadata { path, task, then } => self.metadata(path, *task, then.as_deref()),
            Query::LoadJob { path } => Ok(Answer::Job(self.job(path))),
            Query::Tree { paths } => self.tree(paths).map(Answer::Tree),
            Query::Mounts { count, .. } => self.table(count.as_deref()).map(Answer::Mounts),
            Query::Backups { path, folder, id, keep } => {
                Ok(Answer::Backups(self.backups(path, folder.as_deref(), id.as_deref(), *keep)))
            }
            Query::Members | Query::Leaving { .. } | Query::Rollout { .. } | Query::Drain { .. } => {
                let message = "an engine is not asked about pods".into();
                Err(Trouble { kind: TroubleKind::Unsupported, message })
            }
        }
    }

    fn metadata(&mut self, path: &str, task: Option<i64>, then: Option<&str>) -> Result<Answer, Trouble> {
        if let Some(task) = task {
            let view = match self.s.tasks.get(&task).filter(|t| t.path == path) {
                None => Some(MetadataView::Forgotten),
                Some(t) => match &t.state {
                    TaskState::Running => Some(MetadataView::Running { done: t.ops }),
                    TaskState::Succeeded => None,
                    TaskState::Failed(message) => Some(MetadataView::Failed { message: message.clone() }),
                    TaskState::Canceled => Some(MetadataView::Failed { message: "canceled".into() }),
                },
            };
            if let Some(view) = view {
                return Ok(Answer::Metadata(view, None));
            }
        }
        if !self.look_up(path)? {
            return Ok(Answer::Metadata(MetadataView::Missing, None));
        }
        Ok(Answer::Metadata(MetadataView::Loaded(self.branch(path)), then.map(|path| self.job(path))))
    }

    /// Whether there is such a path.
    fn look_up(&mut self, path: &str) -> Result<bool, Trouble> {
        if self.knows(path) {
            return Ok(true);
        }
        match self.stored(path) {
            Ok(found) => {
                let itself = found.into_iter().filter(|(p, _)| p == path).collect();
                self.learn(path, itself);
                Ok(true)
            }
            Err(UfsError::NotFound(_)) => Ok(false),
            Err(why) => Err(Trouble { kind: TroubleKind::Unknown, message: why.to_string() }),
        }
    }

    fn branch(&self, path: &str) -> TreeView {
        let mut tree = TreeView::default();
        for (file, known) in self.under(path) {
            let len = signed(known.len);
            tree.files += 1;
            tree.bytes = tree.bytes.saturating_add(len);
            if self.located(file) {
                tree.cached_bytes = tree.cached_bytes.saturating_add(len);
            }
        }
        tree
    }

    fn tree(&mut self, paths: &[String]) -> Result<TreeView, Trouble> {
        let mut all = TreeView::default();
        for path in paths {
            if !self.look_up(path)? {
                all.missing = Some(path.clone());
                break;
            }
            let one = self.branch(path);
            all.files += one.files;
            all.bytes = all.bytes.saturating_add(one.bytes);
            all.cached_bytes = all.cached_bytes.saturating_add(one.cached_bytes);
        }
        Ok(all)
    }

    fn job(&self, path: &str) -> JobView {
        let Some(job) = self.s.jobs.get(path) else {
            return JobView {
                state: JobState::Absent,
                total_bytes: None,
                loaded_bytes: 0,
                files: 0,
                failed_files: 0,
                failed_example: None,
            };
        };
        job.view()
    }
}

impl Job {
    fn view(&self) -> JobView {
        JobView {
            state: match &self.work {
                Work::Running => JobState::Running,
                Work::Stopped => JobState::Stopped,
                Work::Succeeded => JobState::Succeeded,
                Work::Failed { missing, message } => {
                    JobState::Failed { missing: *missing, message: message.clone() }
                }
            },
            total_bytes: self.total.map(signed),
            loaded_bytes: signed(self.loaded + self.ahead),
            files: self.files,
            failed_files: self.failed,
            failed_example: None,
        }
    }
}
