//! ```text
//! ListStatus(/, recursive) ==stream==> files that are not persisted, with where their blocks are
//! ScheduleAsyncPersistence, DecommissionWorker, RemoveDisabledWorker
//! ```
//! What taking a worker out of use needs of the masters. A decommission moves nothing, and the master forgets it when it
//! restarts (2.9.4, 2.9.6).

use super::calls::{self, LIST_BLOCKS};
use super::proto::grpc::block::{DecommissionWorkerRequest, RemoveDisabledWorkerRequest};
use super::proto::grpc::file::{
    FileBlockInfo, ListStatusOptions, ListStatusRequest, ListedBlocks, LoadMetadataType,
    ScheduleAsyncPersistenceOptions, ScheduleAsyncPersistenceRequest,
};
use super::proto::safe_options;
use super::{AlluxioClient, AlluxioError, PersistenceState, absolute};
use prost::Message as _;
use tokio::time::Instant;

/// A block of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Block {
    /// Its id.
    pub id: i64,
    /// Bytes; 0 where the master does not know.
    pub length: i64,
    /// Hosts of the workers that the master knows to have it.
    pub hosts: Vec<String>,
}

/// A file whose store does not have it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unpersisted {
    /// Absolute path.
    pub path: String,
    /// Its writer has closed it.
    pub completed: bool,
    /// Last change by the master's clock, milliseconds since 1970.
    pub modified_ms: i64,
    /// Where it stands on its way to the store.
    pub state: PersistenceState,
    /// Its blocks, as far as they were written.
    pub blocks: Vec<Block>,
}

/// A copy of a block from one worker to another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CacheFrom<'a> {
    /// `host:port` of the worker that gets it.
    pub to: &'a str,
    /// The block.
    pub block: i64,
    /// Bytes of it.
    pub length: i64,
    /// The host that has it.
    pub host: &'a str,
    /// Its RPC port.
    pub port: u16,
}

impl AlluxioClient {
    /// Gives every file that is not in its store to `sink` (ListStatus, NEVER): all that the master knows is walked.
    ///
    /// # Errors
    /// `Unknown` if the stream broke off, was silent for the call timeout or took longer than the listing timeout.
    pub async fn unpersisted(&self, mut sink: impl FnMut(Unpersisted) + Send) -> Result<(), AlluxioError> {
        let options = ListStatusOptions {
            load_metadata_type: Some(LoadMetadataType::Never as i32),
            common_options: Some(safe_options()),
            recursive: Some(true),
            load_metadata_only: Some(false),
        };
        let end = Instant::now() + self.shared.listing_timeout;
        let next_by = || end.min(Instant::now() + self.router().call_timeout());
        let request = ListStatusRequest { path: Some("/".to_owned()), options: Some(options) };
        let call = &LIST_BLOCKS;
        let mut listing = self.router().listing(call, request, next_by()).await?;
        while let Some(message) = listing.next(&call.info, next_by()).await? {
            for file in message.file_infos.into_iter().filter(|f| !f.folder() && !f.persisted()) {
                sink(unpersisted(file)?);
            }
        }
        Ok(())
    }

    /// Asks for a completed file to be written to its store by the job service (ScheduleAsyncPersistence). One that is
    /// there already is written once more: the caller looks first.
    ///
    /// # Errors
    /// `NotFound`; `Refused` for a file that is not completed.
    pub async fn persist(&self, path: &str) -> Result<(), AlluxioError> {
        let options = ScheduleAsyncPersistenceOptions { common_options: Some(safe_options()) };
        let request = ScheduleAsyncPersistenceRequest { path: Some(absolute(path)?), options: Some(options) };
        self.router().unary(&calls::SCHEDULE_ASYNC_PERSISTENCE, request).await.map(|_| ())
    }

    /// Takes a worker out of use and lets it not register again (DecommissionWorker): it gets no new blocks, and the master
    /// forgets what it has. A repeat does nothing.
    ///
    /// # Errors
    /// `NotFound` if the master does not know the worker; `Unsupported` before 2.9.4.
    pub async fn decommission_worker(&self, host: &str, web_port: u16) -> Result<(), AlluxioError> {
        let request = DecommissionWorkerRequest {
            worker_hostname: host.to_owned(),
            worker_web_port: Some(i64::from(web_port)),
            can_register_again: Some(false),
        };
        self.router().unary(&calls::DECOMMISSION_WORKER, request).await.map(|_| ())
    }

    /// Lets a worker register again (RemoveDisabledWorker). It answers the same for one that may, and for an unknown one.
    ///
    /// # Errors
    /// `Unsupported` before 2.9.4.
    pub async fn admit_worker(&self, host: &str, web_port: u16) -> Result<(), AlluxioError> {
        let request = RemoveDisabledWorkerRequest {
            worker_hostname: host.to_owned(),
            worker_web_port: Some(i64::from(web_port)),
        };
        self.router().unary(&calls::REMOVE_DISABLED_WORKER, request).await.map(|_| ())
    }
}

fn unpersisted(file: ListedBlocks) -> Result<Unpersisted, AlluxioError> {
    let mut blocks: Vec<Block> =
        file.block_ids.iter().map(|id| Block { id: *id, length: 0, hosts: Vec::new() }).collect();
    for bytes in &file.file_block_infos {
        let info = FileBlockInfo::decode(bytes.as_slice())
            .map_err(|error| AlluxioError::unknown(LIST_BLOCKS.info.name, &error.to_string()))?;
        let Some(info) = info.block_info else { continue };
        if let Some(block) = blocks.iter_mut().find(|b| b.id == info.block_id()) {
            block.length = info.length();
            let hosts = info.locations.into_iter().filter_map(|l| l.worker_address?.host);
            block.hosts.extend(hosts);
        }
    }
    Ok(Unpersisted {
        completed: file.completed(),
        modified_ms: file.last_modification_time_ms(),
        state: PersistenceState::of(file.persistence_state()),
        path: file.path.unwrap_or_default(),
        blocks,
    })
}
