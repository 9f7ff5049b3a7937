//! ```text
//! const GET_STATUS: Call<GetStatusRequest, GetStatusResponse>
//!         |                 path on the wire, may it be repeated, since which version
//!         v
//! router.unary(&GET_STATUS, request)
//! ```
//! Every remote call that this client can make, in one table, typed by its request and its
//! reply. `Effect` is the law that the router obeys after a failure that proves nothing:
//! a call that is marked `Once` is never sent a second time then. A test compares the table with
//! the `.proto` files.

use std::marker::PhantomData;

use super::proto::grpc::{block, file, journal, meta, metric, version};

/// What sending a call twice would do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Effect {
    /// Reads, or is harmless when executed twice.
    Repeatable,
    /// Changes something: after an ambiguous failure the caller has to look first.
    Once,
}

/// The untyped half of a call, which is all that the router needs.
#[derive(Debug, Clone, Copy)]
pub(super) struct CallInfo {
    /// The method's name, for errors and logs.
    pub name: &'static str,
    /// `/package.Service/Method`.
    pub path: &'static str,
    pub effect: Effect,
    /// The first release that has the method, where 2.9.0 has not.
    pub since: &'static str,
    /// Whether the master asks for the `channel-id` of a SASL handshake.
    pub authenticated: bool,
}

/// One remote method with the types of its request `Q` and its reply `R`.
pub(super) struct Call<Q, R> {
    pub info: CallInfo,
    types: PhantomData<fn(Q) -> R>,
}

impl<Q, R> Call<Q, R> {
    const fn new(name: &'static str, path: &'static str) -> Self {
        let info = CallInfo { name, path, effect: Effect::Repeatable, since: "2.9.0", authenticated: true };
        Self { info, types: PhantomData }
    }

    const fn once(mut self) -> Self {
        self.info.effect = Effect::Once;
        self
    }

    const fn since(mut self, version: &'static str) -> Self {
        self.info.since = version;
        self
    }

    const fn without_login(mut self) -> Self {
        self.info.authenticated = false;
        self
    }
}

pub(super) const GET_SERVICE_VERSION: Call<
    version::GetServiceVersionRequest,
    version::GetServiceVersionResponse,
> = Call::new("getServiceVersion", "/alluxio.grpc.version.ServiceVersionClientService/getServiceVersion")
    .without_login();

pub(super) const GET_MASTER_INFO: Call<meta::GetMasterInfoRequest, meta::GetMasterInfoResponse> =
    Call::new("GetMasterInfo", "/alluxio.grpc.meta.MetaMasterClientService/GetMasterInfo");

pub(super) const GET_METRICS: Call<metric::GetMetricsPRequest, metric::GetMetricsPResponse> =
    Call::new("GetMetrics", "/alluxio.grpc.metric.MetricsMasterClientService/GetMetrics");

pub(super) const GET_WORKER_REPORT: Call<block::GetWorkerReportRequest, block::GetWorkerReportResponse> =
    Call::new("GetWorkerReport", "/alluxio.grpc.block.BlockMasterClientService/GetWorkerReport");

pub(super) const GET_STATUS: Call<file::GetStatusRequest, file::GetStatusResponse> =
    Call::new("GetStatus", "/alluxio.grpc.file.FileSystemMasterClientService/GetStatus");

pub(super) const LIST_STATUS: Call<file::ListStatusRequest, file::ListStatusResponse> =
    Call::new("ListStatus", "/alluxio.grpc.file.FileSystemMasterClientService/ListStatus");

pub(super) const GET_QUORUM_INFO: Call<journal::GetQuorumInfoRequest, journal::GetQuorumInfoResponse> =
    Call::new("GetQuorumInfo", "/alluxio.grpc.journal.JournalMasterClientService/GetQuorumInfo");

pub(super) const TRANSFER_LEADERSHIP: Call<
    journal::TransferLeadershipRequest,
    journal::TransferLeadershipResponse,
> = Call::new("TransferLeadership", "/alluxio.grpc.journal.JournalMasterClientService/TransferLeadership")
    .once();

pub(super) const GET_TRANSFER_LEADER_MESSAGE: Call<
    journal::GetTransferLeaderMessageRequest,
    journal::GetTransferLeaderMessageResponse,
> = Call::new(
    "GetTransferLeaderMessage",
    "/alluxio.grpc.journal.JournalMasterClientService/GetTransferLeaderMessage",
);

pub(super) const RESET_PRIORITIES: Call<journal::ResetPrioritiesRequest, journal::ResetPrioritiesResponse> =
    Call::new("ResetPriorities", "/alluxio.grpc.journal.JournalMasterClientService/ResetPriorities");

/// As `LIST_STATUS`, with what tells the entries of a folder apart.
pub(super) const LIST_ENTRIES: Call<file::ListStatusRequest, file::ListEntriesResponse> =
    Call::new("ListStatus", "/alluxio.grpc.file.FileSystemMasterClientService/ListStatus");

/// Not repeatable: each one writes another file.
pub(super) const BACKUP: Call<meta::BackupRequest, meta::BackupStatus> =
    Call::new("Backup", "/alluxio.grpc.meta.MetaMasterClientService/Backup").once();

pub(super) const GET_BACKUP_STATUS: Call<meta::BackupStatusRequest, meta::BackupStatus> =
    Call::new("GetBackupStatus", "/alluxio.grpc.meta.MetaMasterClientService/GetBackupStatus");

/// Not repeatable: what was made under the same name meanwhile would go too.
pub(super) const REMOVE: Call<file::DeleteRequest, file::DeleteResponse> =
    Call::new("Remove", "/alluxio.grpc.file.FileSystemMasterClientService/Remove").once();

/// As `LIST_STATUS`, with the blocks of each file.
pub(super) const LIST_BLOCKS: Call<file::ListStatusRequest, file::ListBlocksResponse> =
    Call::new("ListStatus", "/alluxio.grpc.file.FileSystemMasterClientService/ListStatus");

/// Not repeatable: a file that was persisted meanwhile is written once more.
pub(super) const SCHEDULE_ASYNC_PERSISTENCE: Call<
    file::ScheduleAsyncPersistenceRequest,
    file::ScheduleAsyncPersistenceResponse,
> = Call::new(
    "ScheduleAsyncPersistence",
    "/alluxio.grpc.file.FileSystemMasterClientService/ScheduleAsyncPersistence",
)
.once();

pub(super) const DECOMMISSION_WORKER: Call<
    block::DecommissionWorkerRequest,
    block::DecommissionWorkerResponse,
> = Call::new("DecommissionWorker", "/alluxio.grpc.block.BlockMasterClientService/DecommissionWorker")
    .once()
    .since("2.9.4");

pub(super) const REMOVE_DISABLED_WORKER: Call<
    block::RemoveDisabledWorkerRequest,
    block::RemoveDisabledWorkerResponse,
> = Call::new("RemoveDisabledWorker", "/alluxio.grpc.block.BlockMasterClientService/RemoveDisabledWorker")
    .once()
    .since("2.9.4");

/// To a worker.
pub(super) const CACHE: Call<block::CacheRequest, block::CacheResponse> =
    Call::new("Cache", "/alluxio.grpc.block.BlockWorker/Cache");

/// To a worker.
pub(super) const READ_BLOCK: Call<block::ReadRequest, block::ReadResponse> =
    Call::new("ReadBlock", "/alluxio.grpc.block.BlockWorker/ReadBlock");

pub(super) const FREE: Call<file::FreeRequest, file::FreeResponse> =
    Call::new("Free", "/alluxio.grpc.file.FileSystemMasterClientService/Free").once();

pub(super) const GET_MOUNT_TABLE: Call<file::GetMountTableRequest, file::GetMountTableResponse> =
    Call::new("GetMountTable", "/alluxio.grpc.file.FileSystemMasterClientService/GetMountTable");

pub(super) const MOUNT: Call<file::MountRequest, file::MountResponse> =
    Call::new("Mount", "/alluxio.grpc.file.FileSystemMasterClientService/Mount").once();

pub(super) const UPDATE_MOUNT: Call<file::UpdateMountRequest, file::UpdateMountResponse> =
    Call::new("UpdateMount", "/alluxio.grpc.file.FileSystemMasterClientService/UpdateMount").once();

pub(super) const UNMOUNT: Call<file::UnmountRequest, file::UnmountResponse> =
    Call::new("Unmount", "/alluxio.grpc.file.FileSystemMasterClientService/Unmount").once();

pub(super) const SUBMIT_JOB: Call<file::SubmitJobRequest, file::SubmitJobResponse> =
    Call::new("submitJob", "/alluxio.grpc.file.FileSystemMasterClientService/submitJob")
        .once()
        .since("2.9.3");

pub(super) const STOP_JOB: Call<file::StopJobRequest, file::StopJobResponse> =
    Call::new("StopJob", "/alluxio.grpc.file.FileSystemMasterClientService/StopJob").once().since("2.9.3");

pub(super) const GET_JOB_PROGRESS: Call<file::GetJobProgressRequest, file::GetJobProgressResponse> =
    Call::new("GetJobProgress", "/alluxio.grpc.file.FileSystemMasterClientService/GetJobProgress")
        .since("2.9.3");

pub(super) const SYNC_METADATA_ASYNC: Call<file::SyncMetadataRequest, file::SyncMetadataAsyncResponse> =
    Call::new("SyncMetadataAsync", "/alluxio.grpc.file.FileSystemMasterClientService/SyncMetadataAsync")
        .once()
        .since("2.9.4");

pub(super) const GET_SYNC_PROGRESS: Call<file::GetSyncProgressRequest, file::GetSyncProgressResponse> =
    Call::new("GetSyncProgress", "/alluxio.grpc.file.FileSystemMasterClientService/GetSyncProgress")
        .since("2.9.4");

pub(super) const CANCEL_SYNC_METADATA: Call<
    file::CancelSyncMetadataRequest,
    file::CancelSyncMetadataResponse,
> = Call::new("CancelSyncMetadata", "/alluxio.grpc.file.FileSystemMasterClientService/CancelSyncMetadata")
    .once()
    .since("2.9.4");

#[cfg(test)]
mod tests {
    use super::*;

    const PROTOS: [&str; 7] = [
        include_str!("../../../../proto/alluxio/journal.proto"),
        include_str!("../../../../proto/alluxio/metric.proto"),
        include_str!("../../../../proto/alluxio/version.proto"),
        include_str!("../../../../proto/alluxio/meta.proto"),
        include_str!("../../../../proto/alluxio/block.proto"),
        include_str!("../../../../proto/alluxio/worker.proto"),
        include_str!("../../../../proto/alluxio/file.proto"),
    ];

    fn short<T>() -> &'static str {
        let full = std::any::type_name::<T>();
        full.rsplit("::").next().unwrap_or(full)
    }

    /// The path that the table should have for a call, found by its `rpc` line.
    fn declared<Q, R>(_: &Call<Q, R>, name: &str) -> Option<String> {
        let (q, r) = (short::<Q>(), short::<R>());
        let line = |from: &str, to: &str| format!("rpc {name}({from}{q}) returns ({to}{r});");
        let lines = [line("", ""), line("", "stream "), line("stream ", "stream ")];
        let text = PROTOS.iter().find(|text| lines.iter().any(|l| text.contains(l)))?;
        let package = text.split("package ").nth(1)?.split(';').next()?;
        let service = text.split("service ").nth(1)?.split_whitespace().next()?;
        Some(format!("/{package}.{service}/{name}"))
    }

    #[test]
    fn every_call_has_the_path_and_the_types_that_the_proto_files_declare() {
        macro_rules! check {
            ($($call:ident),*) => {$(
                assert_eq!(declared(&$call, $call.info.name).as_deref(), Some($call.info.path));
            )*};
        }
        check!(GET_SERVICE_VERSION, GET_MASTER_INFO, GET_WORKER_REPORT, GET_STATUS, LIST_STATUS);
        check!(GET_QUORUM_INFO, TRANSFER_LEADERSHIP, GET_TRANSFER_LEADER_MESSAGE, RESET_PRIORITIES);
        check!(GET_METRICS, SCHEDULE_ASYNC_PERSISTENCE);
        check!(DECOMMISSION_WORKER, REMOVE_DISABLED_WORKER, CACHE, READ_BLOCK);
        assert_eq!(LIST_BLOCKS.info.path, LIST_STATUS.info.path);
        assert_eq!(LIST_ENTRIES.info.path, LIST_STATUS.info.path);
        check!(MOUNT, UPDATE_MOUNT, UNMOUNT, BACKUP, GET_BACKUP_STATUS, REMOVE);
        check!(FREE, GET_MOUNT_TABLE, SUBMIT_JOB, STOP_JOB, GET_JOB_PROGRESS);
        check!(SYNC_METADATA_ASYNC, GET_SYNC_PROGRESS, CANCEL_SYNC_METADATA);
    }

    #[test]
    fn calls_that_change_something_are_sent_once() {
        let once = [
            FREE.info,
            MOUNT.info,
            UPDATE_MOUNT.info,
            UNMOUNT.info,
            BACKUP.info,
            TRANSFER_LEADERSHIP.info,
            REMOVE.info,
            SUBMIT_JOB.info,
            STOP_JOB.info,
            SYNC_METADATA_ASYNC.info,
            CANCEL_SYNC_METADATA.info,
            SCHEDULE_ASYNC_PERSISTENCE.info,
            DECOMMISSION_WORKER.info,
            REMOVE_DISABLED_WORKER.info,
        ];
        assert!(once.iter().all(|call| call.effect == Effect::Once));
    }
}
