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
    pub(super) fn back_up(&mut self, call: &Call<'_>) -> Result<(Receipt, bool), No> {
        let now = self.s.now;
        if self.s.backups.iter().any(|b| b.ends_at > now) {
            return Err(No::later("a backup is in progress"));
        }
        let id = self.s.next_backup;
        self.s.next_backup += 1;
        self.s.backups.push(Backup {
            id,
            path: call.path.to_owned(),
            folder: backups::folder(call.token),
            begun: now,
            ends_at: now.saturating_add(self.profile.listing_ms),
            entries: i64::try_from(self.s.files.len()).unwrap_or(i64::MAX).saturating_add(1),
        });
        self.dirty = true;
        Ok((Receipt { job: Some(id.to_string()), ..Receipt::default() }, true))
    }

    /// Deletes the oldest; whether there were any.
    pub(super) fn prune_backups(&mut self, path: &str, keep: i32) -> bool {
        let now = self.s.now;
        let mut newest: BTreeMap<&str, u64> = BTreeMap::new();
        for b in self.whole(path, now) {
            newest.insert(&b.folder, b.id);
        }
        let mut whole: Vec<(u64, String)> = newest.into_iter().map(|(f, id)| (id, f.to_owned())).collect();
        whole.sort_by(|a, b| b.cmp(a));
        let gone = whole.split_off(whole.len().min(usize::try_from(keep).unwrap_or(0)));
        self.s.backups.retain(|b| b.path != path || !gone.iter().any(|g| g.1 == b.folder));
        self.dirty |= !gone.is_empty();
        !gone.is_empty()
    }

    fn whole<'a>(&'a self, path: &'a str, now: i64) -> impl Iterator<Item = &'a Backup> {
        self.s.backups.iter().filter(move |b| b.path == path && b.ends_at <= now)
    }

    /// What became of one.
    pub(super) fn backups(&self, path: &str, folder: Option<&str>, id: Option<&str>) -> BackupsView {
        let (now, started) = (self.s.now, self.s.started_ms);
        let known = id.and_then(|id| self.s.backups.iter().find(|b| b.id.to_string() == id));
        let progress = match known.filter(|b| b.begun >= started) {
            None => Progress::Unknown,
            Some(b) if b.ends_at > now => Progress::Running { entries: b.entries / 2 },
            Some(_) => Progress::Completed,
        };
        let made = folder.and_then(|folder| self.whole(path, now).filter(|b| b.folder == folder).last());
        BackupsView {
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
