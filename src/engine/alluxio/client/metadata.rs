//! ```text
//! start_metadata_sync -> SyncId -> metadata_sync_progress ... (2.9.4 and later)
//! load_metadata_by_listing                                    (any 2.9)
//! status, status_cached -> FileStatus          free
//! ```
//! The namespace: bringing the under-storage's files into it, and looking at one path.
//! Every call that may create inodes carries the safe options of `proto`, or the engine would
//! delete the user's files later. Listing whole trees is in `tree`.

use super::cluster::empty;
use super::proto::grpc::file::{
    CancelSyncMetadataRequest, FileInfo, FreeOptions, FreeRequest, GetStatusOptions, GetStatusRequest,
    GetSyncProgressRequest, LoadDescendantType, LoadMetadataType, SyncMetadataOptions, SyncMetadataRequest,
    SyncTask, SyncTaskState,
};
use super::proto::safe_options;
use super::redact::redact;
use super::{AlluxioClient, AlluxioError, Code, absolute, calls};

/// Names a metadata sync in the memory of one master; a failover forgets it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SyncId(pub i64);

/// How far a metadata sync is. A missing path *succeeds* with 0 operations.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SyncProgress {
    /// Of all tasks together.
    pub state: SyncState,
    /// Successful operations so far.
    pub ops: i64,
    /// Of the first task that failed; otherwise empty.
    pub message: String,
    /// What the engine says of its tasks: a text for people, and the only place where it names their paths.
    pub about: String,
}

impl SyncProgress {
    /// Whether this is a sync of `path`. A restarted master counts its tasks from 0 again, so that a number that was
    /// ours may be another's. A master that says nothing of its tasks is believed.
    #[must_use]
    pub fn is_of(&self, path: &str) -> bool {
        self.about.is_empty() || self.about.contains(&format!("AlluxioPath: {path}, Descendant Type: "))
    }
}

/// The state of a metadata sync.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SyncState {
    /// Not ended yet.
    Running,
    /// Everything is loaded, or there was nothing.
    Succeeded,
    /// A task failed.
    Failed,
    /// A task was cancelled.
    Canceled,
}

/// One path as the master knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileStatus {
    /// Alluxio path.
    pub path: String,
    /// A folder, or else a file.
    pub folder: bool,
    /// Bytes; for a folder, the number of its children.
    pub length: i64,
    /// False while a file is being written.
    pub completed: bool,
    /// A copy is in the under-storage.
    pub persisted: bool,
    /// Where the only copy may be.
    pub persistence_state: PersistenceState,
    /// Milliseconds; -1 is none. 0 means that the engine is about to delete the file.
    pub ttl_ms: i64,
    /// How much is cached, 0 to 100; always 0 for folders.
    pub in_alluxio_percent: i32,
    /// Kept in the cache: neither evicted nor freed.
    pub pinned: bool,
    /// Size of every block but the last.
    pub block_size_bytes: i64,
    /// Blocks, cached or not.
    pub block_count: usize,
    /// Where the file is, or would be, in the under-storage.
    pub ufs_path: String,
    /// Of the mount that the path is in.
    pub mount_id: i64,
    /// The path is itself a mount point.
    pub mount_point: bool,
}

/// Whether the under-storage has the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PersistenceState {
    /// Only the cache has it.
    NotPersisted,
    /// Only the cache has it, and a job will write it.
    ToBePersisted,
    /// The under-storage has it.
    Persisted,
    /// Its blocks were lost before it was persisted.
    Lost,
    /// A word that is not known here.
    Other(String),
}

impl PersistenceState {
    /// From the master's word.
    pub(super) fn of(word: &str) -> Self {
        match word {
            "NOT_PERSISTED" => Self::NotPersisted,
            "TO_BE_PERSISTED" => Self::ToBePersisted,
            "PERSISTED" => Self::Persisted,
            "LOST" => Self::Lost,
            other => Self::Other(other.to_owned()),
        }
    }
}

impl AlluxioClient {
    /// Starts loading the metadata of everything under `path` (SyncMetadataAsync). The state is
    /// then asked for with the id.
    ///
    /// # Errors
    /// `Unsupported` before 2.9.4: the caller may choose [`Self::load_metadata_by_listing`].
    /// `Unknown` if it may have started; starting it again does no harm then.
    pub async fn start_metadata_sync(&self, path: &str) -> Result<SyncId, AlluxioError> {
        let request = SyncMetadataRequest {
            path: absolute(path)?,
            options: Some(SyncMetadataOptions { load_descendant_type: Some(LoadDescendantType::All as i32) }),
        };
        let call = &calls::SYNC_METADATA_ASYNC;
        let reply = self.router().unary(call, request).await?;
        match (reply.submitted, reply.task_group_id) {
            (Some(true), Some(id)) => Ok(SyncId(id)),
            (_, _) => {
                Err(AlluxioError::refused(Code::FailedPrecondition, "the metadata sync was not accepted"))
            }
        }
    }

    /// The state of a metadata sync (GetSyncProgress).
    ///
    /// # Errors
    /// `NotFound` if the master does not know the id, for example after a failover.
    pub async fn metadata_sync_progress(&self, id: SyncId) -> Result<SyncProgress, AlluxioError> {
        let request = GetSyncProgressRequest { task_group_id: Some(id.0) };
        let reply = self.router().unary(&calls::GET_SYNC_PROGRESS, request).await?;
        Ok(sync_progress(&reply.task))
    }

    /// Cancels a metadata sync that runs (CancelSyncMetadata; its reply says nothing).
    ///
    /// # Errors
    /// `NotFound` if it does not run: ended, cancelled before, or forgotten by the master.
    pub async fn cancel_metadata_sync(&self, id: SyncId) -> Result<(), AlluxioError> {
        let request = CancelSyncMetadataRequest { task_group_id: Some(id.0) };
        self.router().unary(&calls::CANCEL_SYNC_METADATA, request).await.map(|_| ())
    }

    /// The status of `path`, whose metadata is loaded from the under-storage if the master
    /// does not have it yet (GetStatus, ONCE).
    ///
    /// # Errors
    /// `NotFound` if it is in neither.
    pub async fn status(&self, path: &str) -> Result<FileStatus, AlluxioError> {
        self.get_status(path, LoadMetadataType::Once).await
    }

    /// The status of `path` from the master's memory alone (GetStatus, NEVER).
    ///
    /// # Errors
    /// `NotFound` if the master does not have it, though the under-storage may.
    pub async fn status_cached(&self, path: &str) -> Result<FileStatus, AlluxioError> {
        self.get_status(path, LoadMetadataType::Never).await
    }

    async fn get_status(&self, path: &str, load: LoadMetadataType) -> Result<FileStatus, AlluxioError> {
        let request = GetStatusRequest {
            path: Some(absolute(path)?),
            options: Some(GetStatusOptions {
                load_metadata_type: Some(load as i32),
                common_options: Some(safe_options()),
            }),
        };
        let call = &calls::GET_STATUS;
        let reply = self.router().unary(call, request).await?;
        let info = reply.file_info.ok_or_else(|| empty(call.info.name))?;
        Ok(file_status(info))
    }

    /// Drops the cached blocks of `path`; the files stay in the under-storage (Free, not forced).
    /// Asynchronous: the space is given back seconds later.
    ///
    /// # Errors
    /// `NotFound`; `Refused` for a folder without `recursive`, a pinned or an unpersisted file.
    pub async fn free(&self, path: &str, recursive: bool) -> Result<(), AlluxioError> {
        let request = FreeRequest {
            path: Some(absolute(path)?),
            options: Some(FreeOptions {
                recursive: Some(recursive),
                forced: Some(false),
                common_options: Some(safe_options()),
            }),
        };
        self.router().unary(&calls::FREE, request).await.map(|_| ())
    }
}

/// A group has a task for each mount it spans: it failed if one failed, and it runs while one
/// runs.
fn sync_progress(tasks: &[SyncTask]) -> SyncProgress {
    let any = |state: SyncTaskState| tasks.iter().any(|task| task.state() == state);
    let state = if tasks.is_empty() || any(SyncTaskState::Running) || any(SyncTaskState::Unknown) {
        SyncState::Running
    } else if any(SyncTaskState::Failed) {
        SyncState::Failed
    } else if any(SyncTaskState::Canceled) {
        SyncState::Canceled
    } else {
        SyncState::Succeeded
    };
    let exception = tasks.iter().find_map(|task| task.exception.as_ref());
    let message = exception
        .map_or_else(String::new, |e| redact(&format!("{}: {}", e.exception_type(), e.exception_message())));
    let about: Vec<&str> = tasks.iter().filter_map(|task| task.task_info_string.as_deref()).collect();
    let about = about.join("\n");
    SyncProgress { state, ops: tasks.iter().map(SyncTask::success_op_count).sum(), message, about }
}

fn file_status(info: FileInfo) -> FileStatus {
    FileStatus {
        folder: info.folder(),
        length: info.length(),
        completed: info.completed(),
        persisted: info.persisted(),
        persistence_state: PersistenceState::of(info.persistence_state()),
        ttl_ms: info.ttl(),
        in_alluxio_percent: info.in_alluxio_percentage(),
        pinned: info.pinned(),
        block_size_bytes: info.block_size_bytes(),
        block_count: info.block_ids.len(),
        mount_id: info.mount_id(),
        mount_point: info.mount_point(),
        path: info.path.unwrap_or_default(),
        ufs_path: info.ufs_path.unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::proto::grpc::file::SyncTaskException;
    use super::*;

    fn task(state: SyncTaskState, ops: i64) -> SyncTask {
        SyncTask { state: Some(state as i32), success_op_count: Some(ops), ..SyncTask::default() }
    }

    #[test]
    fn a_group_runs_while_one_task_runs_and_fails_if_one_failed() {
        use SyncTaskState::{Canceled, Failed, Running, Succeeded};
        let state = |tasks: &[SyncTask]| sync_progress(tasks).state;
        assert_eq!(state(&[]), SyncState::Running);
        assert_eq!(state(&[task(Failed, 0), task(Running, 0)]), SyncState::Running);
        assert_eq!(state(&[task(Failed, 0), task(Canceled, 0)]), SyncState::Failed);
        assert_eq!(state(&[task(Succeeded, 1), task(Canceled, 0)]), SyncState::Canceled);
        assert_eq!(sync_progress(&[task(Succeeded, 1), task(Succeeded, 2)]).ops, 3);
    }

    #[test]
    fn a_task_of_another_path_is_told_apart_by_what_the_master_says_of_it() {
        let about = |text: &str| {
            let named =
                SyncTask { task_info_string: Some(text.to_owned()), ..task(SyncTaskState::Running, 0) };
            sync_progress(&[task(SyncTaskState::Running, 0), named])
        };
        // As 2.9.6 writes it.
        let seen = about("TaskInfo{UFS path: /ufs/root/a b, AlluxioPath: /a b, Descendant Type: ALL, Id: 2}");
        assert!(seen.is_of("/a b"));
        assert!(!seen.is_of("/a") && !seen.is_of("/ufs/root/a b") && !seen.is_of("/"));
        assert!(sync_progress(&[]).is_of("/a"), "an old master says nothing");
    }

    #[test]
    fn the_message_of_a_failed_task_is_redacted() {
        let mut failed = task(SyncTaskState::Failed, 0);
        failed.exception = Some(SyncTaskException {
            exception_type: Some("java.io.IOException".to_owned()),
            exception_message: Some("mount {a.secret=xyz}".to_owned()),
        });
        let progress = sync_progress(&[failed]);
        assert_eq!(progress.message, "java.io.IOException: mount {a.secret=***}");
    }
}
