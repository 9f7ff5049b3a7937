//! ```text
//! GetMasterInfo -> MasterInfo     GetWorkerReport(ALL, 1..12) -> Vec<Worker>
//! ```
//! What the cluster is made of, as the primary sees it. Workers are identified by host and ports:
//! the engine's worker id changes with every restart of the master.

use super::proto::grpc::meta::{GetMasterInfoRequest, MasterInfo as WireMasterInfo, MasterVersion};
use super::proto::grpc::{NetAddress, block};
use super::{AlluxioClient, AlluxioError, calls};

/// All the fields of a worker report. Without them the master fails with a null pointer error;
/// at least 3 and 9 must be there (2.9.6).
const REPORT_FIELDS: std::ops::RangeInclusive<i32> = 1..=12;

/// The cluster as its primary describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MasterInfo {
    /// Stays the same for the life of the journal; empty if the master has none.
    pub cluster_id: String,
    /// The primary's release, for example `2.9.6`.
    pub version: String,
    /// True while the primary waits for its workers after a start.
    pub safe_mode: bool,
    /// Every master, the primary among them.
    pub masters: Vec<MasterMember>,
    /// Registered workers.
    pub workers: usize,
    /// Start of the primary, milliseconds since 1970.
    pub start_time_ms: i64,
    /// The primary's clock, milliseconds since 1970.
    pub now_ms: i64,
}

/// One member of the masters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MasterMember {
    /// Host name, as the masters know it.
    pub host: String,
    /// RPC port.
    pub port: u16,
    /// Empty if the primary does not know it.
    pub version: String,
    /// Primary or standby.
    pub role: MasterRole,
}

/// What a master does now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MasterRole {
    /// Serves.
    Primary,
    /// Follows the journal and answers nothing.
    Standby,
    /// A word that is not known here; empty if the release does not tell (before 2.9.4).
    Other(String),
}

/// One worker, in whatever state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Worker {
    /// The host that a decommission must name, together with `web_port`.
    pub host: String,
    /// Port for gRPC.
    pub rpc_port: u16,
    /// Port for data; the same as `rpc_port` since 2.0.
    pub data_port: u16,
    /// Port for HTTP.
    pub web_port: u16,
    /// Empty unless the worker is configured with one.
    pub container_host: String,
    /// What the primary thinks of it.
    pub state: WorkerState,
    /// Over all tiers.
    pub capacity_bytes: i64,
    /// Over all tiers; frozen once decommissioned.
    pub used_bytes: i64,
    /// Age of the last heartbeat in seconds; only grows once decommissioned.
    pub last_contact_sec: i32,
    /// Milliseconds since 1970.
    pub start_time_ms: i64,
    /// The worker's release.
    pub version: String,
}

/// A worker's state, from the exact words of the report, which were others up to 2.9.3.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WorkerState {
    /// Registered, with a recent heartbeat.
    Active,
    /// No heartbeat for the worker timeout.
    Lost,
    /// Takes no new blocks and may register again.
    Decommissioned,
    /// Decommissioned without leave to register again.
    Disabled,
    /// A word that is not known here.
    Other(String),
}

impl AlluxioClient {
    /// Identity, version and members of the cluster (GetMasterInfo). Answers in safe mode too, in
    /// which the master refuses only questions about workers: loads and syncs are accepted.
    ///
    /// # Errors
    /// `NotReady` without a primary.
    pub async fn master_info(&self) -> Result<MasterInfo, AlluxioError> {
        let call = &calls::GET_MASTER_INFO;
        let reply = self.router().unary(call, GetMasterInfoRequest {}).await?;
        let info = reply.master_info.ok_or_else(|| empty(call.info.name))?;
        Ok(master_info(info))
    }

    /// Every worker that the primary knows, in every state (GetWorkerReport).
    ///
    /// # Errors
    /// `NotReady` without a primary and in safe mode.
    pub async fn workers(&self) -> Result<Vec<Worker>, AlluxioError> {
        let request = block::GetWorkerReportRequest {
            field_ranges: REPORT_FIELDS.collect(),
            worker_range: Some(block::WorkerRange::All as i32),
        };
        let reply = self.router().unary(&calls::GET_WORKER_REPORT, request).await?;
        let mut workers: Vec<Worker> = reply.worker_infos.into_iter().map(worker).collect();
        workers.sort_by(|a, b| (&a.host, a.rpc_port).cmp(&(&b.host, b.rpc_port)));
        Ok(workers)
    }
}

/// A reply without the one field that it is for.
pub(super) fn empty(call: &'static str) -> AlluxioError {
    AlluxioError::unknown(call, "the reply is empty")
}

fn port(number: Option<i32>) -> u16 {
    number.and_then(|n| u16::try_from(n).ok()).unwrap_or(0)
}

fn master_info(info: WireMasterInfo) -> MasterInfo {
    let masters = if info.master_versions.is_empty() {
        let unknown =
            |address| member(MasterVersion { addresses: Some(address), version: None, state: None });
        info.master_addresses.into_iter().map(unknown).collect()
    } else {
        info.master_versions.into_iter().map(member).collect()
    };
    MasterInfo {
        cluster_id: info.cluster_id.unwrap_or_default(),
        version: info.version.unwrap_or_default(),
        safe_mode: info.safe_mode.unwrap_or_default(),
        masters,
        workers: info.worker_addresses.len(),
        start_time_ms: info.start_time_ms.unwrap_or_default(),
        now_ms: info.start_time_ms.unwrap_or_default().saturating_add(info.up_time_ms.unwrap_or_default()),
    }
}

fn member(wire: MasterVersion) -> MasterMember {
    let NetAddress { host, rpc_port } = wire.addresses.unwrap_or_default();
    MasterMember {
        host: host.unwrap_or_default(),
        port: port(rpc_port),
        version: wire.version.unwrap_or_default(),
        role: match wire.state.as_deref() {
            Some("PRIMARY") => MasterRole::Primary,
            Some("STANDBY") => MasterRole::Standby,
            other => MasterRole::Other(other.unwrap_or_default().to_owned()),
        },
    }
}

fn worker(wire: block::WorkerInfo) -> Worker {
    let address = wire.address.unwrap_or_default();
    Worker {
        host: address.host.unwrap_or_default(),
        rpc_port: port(address.rpc_port),
        data_port: port(address.data_port),
        web_port: port(address.web_port),
        container_host: address.container_host.unwrap_or_default(),
        state: match wire.state.as_deref() {
            Some("ACTIVE" | "In Service") => WorkerState::Active,
            Some("LOST" | "Out of Service") => WorkerState::Lost,
            Some("Decommissioned") => WorkerState::Decommissioned,
            Some("Disabled") => WorkerState::Disabled,
            other => WorkerState::Other(other.unwrap_or_default().to_owned()),
        },
        capacity_bytes: wire.capacity_bytes.unwrap_or_default(),
        used_bytes: wire.used_bytes.unwrap_or_default(),
        last_contact_sec: wire.last_contact_sec.unwrap_or_default(),
        start_time_ms: wire.start_time_ms.unwrap_or_default(),
        version: wire.build_version.and_then(|build| build.version).unwrap_or_default(),
    }
}
