//! Backups as effects. The folder is named after the intent's token, so whether a call whose answer was lost has written is read
//! from the store.

use super::Alluxio;
use super::client::{AlluxioError, BackupStanding, Entry};
use super::mount::{Unchanged, in_time, refused};
use crate::engine::Call;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use ratchet_state_machine::backups::{self, BackupsView, MAX_FILE, MAX_FINGERPRINT, Made, Progress};
use ratchet_state_machine::effect::{Effect, Receipt};
use ratchet_state_machine::lifecycle::cut;
use ratchet_state_machine::operation::backup::IN_PROGRESS;
use ratchet_state_machine::spec::paths_overlap;

/// What follows the name of a file that is whole.
const COMPLETE: &str = ".complete";
/// Folders that are looked into at a time.
const AT_A_TIME: usize = 8;
/// What the engine says while it is at another one (2.9.4, 2.9.6).
const BUSY: &str = "ackup in progress";

/// A whole backup, and when it was written.
struct Whole {
    made: Made,
    modified_ms: i64,
}

impl Alluxio {
    /// Answers what became of a backup. While the engine is at one it is asked about nothing else: it holds its metadata locked,
    /// and a file that is looked at too early stays known by what it was then.
    pub(super) async fn backups(
        &self,
        path: &str,
        folder: Option<&str>,
        id: Option<&str>,
        keep: Option<i32>,
    ) -> Result<BackupsView, AlluxioError> {
        let mut view = BackupsView {
            place: Ok(String::new()),
            progress: Progress::Unknown,
            made: None,
            surplus: Vec::new(),
        };
        if let Some(id) = id {
            view.progress = self.backup_progress(id).await?;
        }
        if let Progress::Running { .. } = view.progress {
            return Ok(view);
        }
        let Some(folder) = folder else {
            return Ok(BackupsView { place: self.place(path).await?, ..view });
        };
        let own = self.own(folder).await?;
        view.made = self.newest(path, &own).await?.map(|w| w.made);
        if let Some(keep) = keep {
            view.surplus = self.surplus(path, &own, keep).await?;
        }
        Ok(view)
    }

    async fn backup_progress(&self, id: &str) -> Result<Progress, AlluxioError> {
        let seen = match self.client.backup_progress(id).await {
            Ok(seen) => seen,
            // A master that was restarted, or another one, does not know it, and says INTERNAL. A time-out says nothing.
            Err(AlluxioError::NotFound { .. } | AlluxioError::Refused { .. }) => {
                return Ok(Progress::Unknown);
            }
            Err(AlluxioError::Unknown { detail, .. }) if detail.starts_with("Internal") => {
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

    /// The folder below the path of the spec. Caches that share a store have one each.
    async fn own(&self, folder: &str) -> Result<String, AlluxioError> {
        if folder.contains('/') {
            return Ok(folder.to_owned());
        }
        Ok(format!("{}/{folder}", self.of_cache().await?))
    }

    async fn of_cache(&self) -> Result<String, AlluxioError> {
        let cluster = self.client.master_info().await?.cluster_id;
        let digest = ratchet_state_machine::ids::hash(&[b"backups", cluster.as_bytes()]);
        Ok(digest.chars().filter(char::is_ascii_alphanumeric).take(8).collect())
    }

    /// Whole backups of this cache beyond those that are kept, the oldest first; the own one is among those.
    async fn surplus(&self, path: &str, own: &str, keep: i32) -> Result<Vec<String>, AlluxioError> {
        let cache = own.split('/').next().unwrap_or_default();
        let mut folders = self.client.entries(&format!("{path}/{cache}")).await?;
        folders.retain(|e| e.folder && e.name.starts_with(backups::PREFIX));
        let names = folders.into_iter().map(|e| format!("{cache}/{}", e.name)).filter(|f| f != own);
        let looked = stream::iter(names.collect::<Vec<_>>())
            .map(|name| async move { self.newest(path, &name).await })
            .buffer_unordered(AT_A_TIME);
        let mut whole: Vec<Whole> = looked.try_filter_map(|w| async move { Ok(w) }).try_collect().await?;
        whole.sort_by(|a, b| (a.modified_ms, &a.made.folder).cmp(&(b.modified_ms, &b.made.folder)));
        let others = usize::try_from(keep.saturating_sub(1)).unwrap_or(usize::MAX);
        whole.truncate(whole.len().saturating_sub(others));
        Ok(whole.into_iter().map(|w| w.made.folder).take(backups::MOST_DELETED).collect())
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
        if let Effect::PruneBackups { folders, .. } = call.effect {
            return self.delete(path, folders, call).await;
        }
        let Effect::Backup { lasting, .. } = call.effect else {
            return Err(refused("InvalidEffect", "that is not about backups".into(), false));
        };
        let folder = self.own(&backups::folder(*lasting, call.token)).await?;
        let place = self.place(path).await?;
        let place = place.map_err(|why| refused("NoPlaceForBackup", why, false))?;
        in_time(call)?;
        match self.client.begin_backup(&format!("{place}/{folder}")).await {
            Ok(begun) => Ok(Receipt { job: Some(begun.id), ..Receipt::default() }),
            Err(AlluxioError::Refused { message, .. }) if message.contains(BUSY) => {
                let why = "the engine makes one backup at a time, and is at another one";
                Err(refused(IN_PROGRESS, why.into(), true))
            }
            Err(error) => Err(error.into()),
        }
    }

    async fn delete(&self, path: &str, folders: &[String], call: &Call<'_>) -> Result<Receipt, Unchanged> {
        for folder in folders {
            // Whatever stands in the journal: nothing but a backup of a cache goes.
            let name = folder.rsplit('/').next().unwrap_or_default();
            if !name.starts_with(backups::PREFIX) || folder.contains("..") {
                return Err(refused("InvalidEffect", format!("{folder} is no backup"), false));
            }
            in_time(call)?;
            match self.client.delete_folder(&format!("{path}/{folder}")).await {
                Ok(()) | Err(AlluxioError::NotFound { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(Receipt::default())
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
