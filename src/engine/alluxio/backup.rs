//! Backups as effects. The folder is named after the intent's token, so whether a call whose answer was lost has written is read
//! from the store.

use super::Alluxio;
use super::client::{AlluxioError, BackupStanding, Entry};
use super::mount::{Unchanged, in_time, refused};
use crate::engine::Call;
use ratchet_state_machine::backups::{self, BackupsView, MAX_FILE, MAX_FINGERPRINT, Made, Progress};
use ratchet_state_machine::effect::{Effect, Receipt};
use ratchet_state_machine::lifecycle::cut;
use ratchet_state_machine::spec::paths_overlap;

/// What follows the name of a file that is whole.
const COMPLETE: &str = ".complete";
/// Most backups that one call deletes; the next one goes on.
const MAX_DELETED: i32 = 20;

/// A whole backup, and when it was written.
struct Whole {
    made: Made,
    modified_ms: i64,
}

impl Alluxio {
    /// Answers what became of a backup.
    pub(super) async fn backups(
        &self,
        path: &str,
        folder: Option<&str>,
        id: Option<&str>,
    ) -> Result<BackupsView, AlluxioError> {
        let progress = match id {
            None => Progress::Unknown,
            Some(id) => self.backup_progress(id).await?,
        };
        let made = match folder {
            None => None,
            Some(folder) => self.newest(path, folder).await?.map(|w| w.made),
        };
        Ok(BackupsView { place: self.place(path).await?, progress, made })
    }

    async fn backup_progress(&self, id: &str) -> Result<Progress, AlluxioError> {
        let seen = match self.client.backup_progress(id).await {
            Ok(seen) => seen,
            // A master that was restarted, or another one, does not know it: it says INTERNAL, of which nothing is to be learnt.
            Err(
                AlluxioError::Unknown { .. } | AlluxioError::NotFound { .. } | AlluxioError::Refused { .. },
            ) => {
                return Ok(Progress::Unknown);
            }
            Err(error) => return Err(error),
        };
        Ok(match seen.state {
            BackupStanding::Unknown => Progress::Unknown,
            BackupStanding::Running => Progress::Running { entries: seen.entries },
            BackupStanding::Completed => Progress::Completed,
            BackupStanding::Failed => Progress::Failed {
                message: "the engine could not write the backup; the log of its primary master says why"
                    .into(),
            },
        })
    }

    /// The path in the words of the root store, which is the only one that the engine writes backups to.
    async fn place(&self, path: &str) -> Result<Result<String, String>, AlluxioError> {
        let table = self.table(None).await?;
        let other = table.mounts.iter().find(|m| m.path != "/" && paths_overlap(&m.path, path));
        if let Some(other) = other {
            return Ok(Err(format!(
                "backups go to the root store, and {} is or has the mount {} of another; choose a path beside it",
                cut(path, 100),
                cut(&other.path, 60)
            )));
        }
        let Some(root) = table.mounts.iter().find(|m| m.path == "/") else {
            return Ok(Err("the cache has no root store".into()));
        };
        Ok(Ok(format!("{}{path}", root.uri.trim_end_matches('/'))))
    }

    /// The newest whole backup of a folder.
    async fn newest(&self, path: &str, folder: &str) -> Result<Option<Whole>, AlluxioError> {
        Ok(whole(folder, &self.client.entries(&format!("{path}/{folder}")).await?))
    }

    /// Carries out an effect on backups.
    pub(super) async fn change_backups(&self, call: &Call<'_>) -> Result<Receipt, Unchanged> {
        let Some(path) = call.effect.path(call.spec) else {
            return Err(refused("InvalidEffect", "the spec names no place for backups".into(), false));
        };
        if let Effect::PruneBackups { keep, .. } = call.effect {
            return self.prune(path, *keep, call).await;
        }
        let folder = backups::folder(call.token);
        let place = self.place(path).await?;
        let place = place.map_err(|why| refused("NoPlaceForBackup", why, false))?;
        in_time(call)?;
        let begun = self.client.begin_backup(&format!("{place}/{folder}")).await?;
        Ok(Receipt { job: Some(begun.id), ..Receipt::default() })
    }

    async fn prune(&self, path: &str, keep: i32, call: &Call<'_>) -> Result<Receipt, Unchanged> {
        let Some(keep) = usize::try_from(keep).ok().filter(|k| *k > 0) else {
            return Err(refused("InvalidEffect", "a backup that keeps none".into(), false));
        };
        let mut all = Vec::new();
        for folder in self.client.entries(path).await? {
            if folder.folder && folder.name.starts_with(backups::PREFIX) {
                all.extend(self.newest(path, &folder.name).await?);
            }
        }
        all.sort_by(|a, b| (b.modified_ms, &b.made.folder).cmp(&(a.modified_ms, &a.made.folder)));
        let mut gone = 0;
        for old in all.split_off(all.len().min(keep)) {
            if gone >= MAX_DELETED {
                return Err(refused("MoreToDelete", format!("{gone} were deleted; more are to go"), true));
            }
            in_time(call)?;
            match self.client.delete_folder(&format!("{path}/{}", old.made.folder)).await {
                Ok(()) | Err(AlluxioError::NotFound { .. }) => gone += 1,
                Err(error) => return Err(error.into()),
            }
        }
        Ok(Receipt { attached: gone == 0, ..Receipt::default() })
    }
}

/// The newest file whose mark of completeness stands beside it.
fn whole(folder: &str, entries: &[Entry]) -> Option<Whole> {
    let marked = |e: &&Entry| {
        !e.folder && entries.iter().any(|m| m.name.strip_suffix(COMPLETE) == Some(e.name.as_str()))
    };
    let newest = entries.iter().filter(marked).max_by_key(|e| (e.modified_ms, e.name.clone()))?;
    let made = Made {
        folder: cut(folder, 60),
        file: cut(&newest.name, MAX_FILE),
        bytes: newest.length,
        fingerprint: cut(content(&newest.fingerprint), MAX_FINGERPRINT),
    };
    Some(Whole { made, modified_ms: newest.modified_ms })
}

/// The part of a fingerprint that is about the content: `…CONTENT_HASH|<it> …` (2.9).
fn content(fingerprint: &str) -> &str {
    let Some((_, rest)) = fingerprint.split_once("CONTENT_HASH|") else { return "" };
    rest.split(' ').next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(name: &str, modified_ms: i64) -> Entry {
        let fingerprint = "TYPE|FILE UFS|local MODE|420 CONTENT_HASH|(len:9,modtime:7) ".into();
        Entry { name: name.into(), length: 9, folder: false, modified_ms, fingerprint }
    }

    #[test]
    fn only_what_is_marked_as_complete_is_whole_and_the_newest_counts() {
        assert!(whole("f", &[]).is_none());
        assert!(whole("f", &[entry("a.gz", 1), entry("b.gz.complete", 2)]).is_none());
        let all = [
            entry("a.gz", 1),
            entry("a.gz.complete", 1),
            entry("b.gz", 2),
            entry("b.gz.complete", 2),
            entry("c.gz", 3),
        ];
        let found = whole("f", &all).map(|w| w.made);
        let fingerprint = "(len:9,modtime:7)".to_owned();
        assert_eq!(found, Some(Made { folder: "f".into(), file: "b.gz".into(), bytes: 9, fingerprint }));
    }

    #[test]
    fn what_a_store_says_of_the_content_is_told_from_the_rest() {
        assert_eq!(content("TYPE|FILE CONTENT_HASH|d41d8 ACL|x "), "d41d8");
        assert_eq!(content("TYPE|FILE"), "");
    }
}
