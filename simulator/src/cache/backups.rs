//! Backups: one at a time, each a file of the root store in the folder that its token names. A master that ends takes the one
//! that it is at with it, and knows the ids of its own only.

use super::apply::No;
use super::state::{Backup, Core};
use super::{Cache, Call};
use ratchet_state_machine::backups::{self, BackupsView, Made, Progress};
use ratchet_state_machine::effect::Receipt;
use std::collections::{BTreeMap, BTreeSet};

impl Core {
    /// Begins one.
    pub(super) fn back_up(&mut self, call: &Call<'_>, lasting: bool) -> Result<(Receipt, bool), No> {
        let now = self.s.now;
        if self.s.backups.iter().any(|b| b.ends_at > now) {
            return Err(No::in_progress("a backup is in progress"));
        }
        let id = self.s.next_backup;
        self.s.next_backup += 1;
        self.s.backups.push(Backup {
            id,
            path: call.path.to_owned(),
            folder: backups::folder(lasting, call.token),
            begun: now,
            ends_at: now.saturating_add(self.profile.listing_ms),
            entries: i64::try_from(self.s.files.len()).unwrap_or(i64::MAX).saturating_add(1),
        });
        self.dirty = true;
        Ok((Receipt { job: Some(id.to_string()), ..Receipt::default() }, true))
    }

    /// Deletes those in these folders; whether there were any.
    pub(super) fn prune_backups(&mut self, path: &str, folders: &[String]) -> bool {
        let before = self.s.backups.len();
        self.s.backups.retain(|b| b.path != path || !folders.contains(&b.folder));
        let changed = self.s.backups.len() != before;
        self.dirty |= changed;
        changed
    }

    /// Folders beyond those that are to be kept, the oldest first.
    fn surplus(&self, path: &str, own: Option<&str>, keep: Option<i32>) -> Vec<String> {
        let Some(others) = keep.and_then(|k| usize::try_from(k - 1).ok()) else { return Vec::new() };
        let mut newest: BTreeMap<&str, u64> = BTreeMap::new();
        for b in self.whole(path, self.s.now).filter(|b| b.folder.starts_with(backups::PREFIX)) {
            newest.insert(&b.folder, b.id);
        }
        let mut whole: Vec<(u64, String)> = newest.into_iter().map(|(f, id)| (id, f.to_owned())).collect();
        whole.retain(|b| Some(b.1.as_str()) != own);
        whole.sort();
        whole.truncate(whole.len().saturating_sub(others));
        whole.into_iter().map(|b| b.1).take(backups::MOST_DELETED).collect()
    }

    fn whole<'a>(&'a self, path: &'a str, now: i64) -> impl Iterator<Item = &'a Backup> {
        self.s.backups.iter().filter(move |b| b.path == path && b.ends_at <= now)
    }

    /// What became of one.
    pub(super) fn backups(
        &self,
        path: &str,
        folder: Option<&str>,
        id: Option<&str>,
        keep: Option<i32>,
    ) -> BackupsView {
        let (now, started) = (self.s.now, self.s.started_ms);
        let known = id.and_then(|id| self.s.backups.iter().find(|b| b.id.to_string() == id));
        let progress = match known.filter(|b| b.begun >= started) {
            None => Progress::Unknown,
            Some(b) if b.ends_at > now => Progress::Running { entries: b.entries / 2 },
            Some(_) => Progress::Completed,
        };
        let made = folder.and_then(|folder| self.whole(path, now).filter(|b| b.folder == folder).last());
        BackupsView {
            surplus: self.surplus(path, folder, keep),
            place: Ok(format!("sim://root{path}")),
            progress,
            made: made.map(|b| Made {
                folder: b.folder.clone(),
                file: format!("backup-{}.gz", b.id),
                bytes: b.entries.saturating_mul(100),
                fingerprint: format!("{}-{}", b.id, b.entries),
            }),
        }
    }
}

impl Cache {
    /// Folders of the whole backups below a path.
    #[must_use]
    pub fn backup_folders(&self, path: &str) -> BTreeSet<String> {
        let core = self.core();
        core.whole(path, core.s.now).map(|b| b.folder.clone()).collect()
    }
}
