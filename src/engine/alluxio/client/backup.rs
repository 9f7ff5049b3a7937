//! ```text
//! Backup(runAsync) -> id     GetBackupStatus(id) -> BackupProgress
//! ListStatus(ALWAYS) -> Vec<Entry>     Remove(recursive)
//! ```
//! A backup is a file of the root store: what the masters know of their namespace, not what workers have. It cannot be stopped,
//! and each call writes another file (2.9.4, 2.9.6).

use super::calls::{self, LIST_ENTRIES};
use super::cluster::empty;
use super::proto::grpc::file::{
    CommonOptions, DeleteOptions, DeleteRequest, ListStatusOptions, ListStatusRequest, LoadMetadataType,
};
use super::proto::grpc::meta::{BackupOptions, BackupRequest, BackupState, BackupStatusRequest};
use super::proto::safe_options;
use super::{AlluxioClient, AlluxioError, absolute};
use tokio::time::Instant;

/// Most entries of a folder that are looked at.
const MAX_ENTRIES: usize = 10_000;

/// How far a backup is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BackupProgress {
    /// The engine's id of it.
    pub id: String,
    /// What it does.
    pub state: BackupStanding,
    /// Journal entries written so far.
    pub entries: i64,
}

/// What a backup does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BackupStanding {
    /// The engine does not know it: the master was restarted, or another one is the primary.
    Unknown,
    /// At work.
    Running,
    /// The file is whole.
    Completed,
    /// It failed.
    Failed,
}

/// Something right below a folder.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Entry {
    /// The last component of its path.
    pub name: String,
    /// Bytes.
    pub length: i64,
    /// It is a folder.
    pub folder: bool,
    /// Last change, milliseconds since 1970.
    pub modified_ms: i64,
    /// What the store says of its content, type, owner and mode, `NAME|value` each; empty where it says nothing.
    pub fingerprint: String,
}

impl AlluxioClient {
    /// Begins a backup to `target`, a folder of the root store in the store's own words, which is made (Backup). A standby
    /// writes it where there is one.
    ///
    /// # Errors
    /// `Unknown` if it may have begun: look into the folder then. While another one runs the answer is a refusal.
    pub async fn begin_backup(&self, target: &str) -> Result<BackupProgress, AlluxioError> {
        let options =
            BackupOptions { local_file_system: Some(false), run_async: Some(true), allow_leader: Some(true) };
        let request = BackupRequest { options: Some(options), target_directory: Some(target.to_owned()) };
        let call = &calls::BACKUP;
        let reply = self.router().unary(call, request).await?;
        let id = reply.backup_id.filter(|id| !id.is_empty()).ok_or_else(|| empty(call.info.name))?;
        Ok(BackupProgress {
            id,
            state: standing(reply.backup_state),
            entries: reply.entry_count.unwrap_or(0),
        })
    }

    /// How far a backup is (GetBackupStatus).
    ///
    /// # Errors
    /// `NotReady` without a primary.
    pub async fn backup_progress(&self, id: &str) -> Result<BackupProgress, AlluxioError> {
        let request = BackupStatusRequest { backup_id: Some(id.to_owned()) };
        let reply = self.router().unary(&calls::GET_BACKUP_STATUS, request).await?;
        let entries = reply.entry_count.unwrap_or(0);
        Ok(BackupProgress { id: id.to_owned(), state: standing(reply.backup_state), entries })
    }

    /// What is right below `path` in its store now (ListStatus, ALWAYS, not recursive), at most 10,000 entries; none where there
    /// is no such path.
    ///
    /// # Errors
    /// What the store said; `Unknown` if it did not answer in time.
    pub async fn entries(&self, path: &str) -> Result<Vec<Entry>, AlluxioError> {
        let options = ListStatusOptions {
            load_metadata_type: Some(LoadMetadataType::Always as i32),
            // Also what is known already is read anew: an interval of 0.
            common_options: Some(CommonOptions { sync_interval_ms: Some(0), ..safe_options() }),
            recursive: Some(false),
            load_metadata_only: Some(false),
        };
        let limit = Instant::now() + self.router().call_timeout();
        let request = ListStatusRequest { path: Some(absolute(path)?), options: Some(options) };
        let call = &LIST_ENTRIES;
        let mut listing = match self.router().listing(call, request, limit).await {
            Err(AlluxioError::NotFound { .. }) => return Ok(Vec::new()),
            other => other?,
        };
        let mut all = Vec::new();
        while let Some(message) = listing.next(&call.info, limit).await? {
            all.extend(message.file_infos.into_iter().map(|f| Entry {
                name: f.path.as_deref().and_then(|p| p.rsplit('/').next()).unwrap_or_default().to_owned(),
                length: f.length.unwrap_or(0),
                folder: f.folder.unwrap_or(false),
                modified_ms: f.last_modification_time_ms.unwrap_or(0),
                fingerprint: f.ufs_fingerprint.unwrap_or_default(),
            }));
            if all.len() > MAX_ENTRIES {
                return Err(AlluxioError::Invalid {
                    detail: format!("more than {MAX_ENTRIES} entries in one folder"),
                });
            }
        }
        Ok(all)
    }

    /// Deletes a folder with all that is in it, in the store too (Remove).
    ///
    /// # Errors
    /// `NotFound`; `Refused` for a store that is mounted read-only; `Unknown` if it may have been done.
    pub async fn delete_folder(&self, path: &str) -> Result<(), AlluxioError> {
        let options = DeleteOptions { recursive: Some(true), common_options: Some(safe_options()) };
        let request = DeleteRequest { path: Some(absolute(path)?), options: Some(options) };
        self.router().unary(&calls::REMOVE, request).await.map(|_| ())
    }
}

fn standing(state: Option<i32>) -> BackupStanding {
    match state.and_then(|s| BackupState::try_from(s).ok()) {
        None | Some(BackupState::None) => BackupStanding::Unknown,
        Some(BackupState::Initiating | BackupState::Transitioning | BackupState::Running) => {
            BackupStanding::Running
        }
        Some(BackupState::Completed) => BackupStanding::Completed,
        Some(BackupState::Failed) => BackupStanding::Failed,
    }
}
