//! ```text
//! ReadBlock(one byte) -> worker: does it have the block?      Cache(block, from) -> worker: copy it from that one
//! ```
//! The few calls that go to a worker and not to a master. A connection is made for each: they are rare. A worker that was
//! decommissioned answers as before (2.9.4, 2.9.6).

use super::calls::{self, CACHE, CallInfo, READ_BLOCK};
use super::drain::CacheFrom;
use super::proto::grpc::block::{CacheRequest, ReadRequest, ReadResponse};
use super::router::send_unary;
use super::session::{Lane, Master, NoLane};
use super::verdict::judge;
use super::{AlluxioClient, AlluxioError, Security};
use futures::StreamExt as _;
use http::uri::PathAndQuery;
use tokio::time::{Instant, timeout_at};
use tonic::Status;
use tonic_prost::ProstCodec;

/// Workers answer with short messages here.
const MAX_REPLY_BYTES: usize = 1 << 20;

impl AlluxioClient {
    /// Whether a worker has a block, by reading its first byte.
    ///
    /// # Errors
    /// `Unreachable`; `Unknown` if it does not say.
    pub async fn has_block(&self, worker: &str, block: i64) -> Result<bool, AlluxioError> {
        let (lane, deadline) = self.worker(worker, &READ_BLOCK.info).await?;
        let read = timeout_at(deadline, read_byte(lane, block)).await;
        match read
            .map_err(|_| AlluxioError::unknown(READ_BLOCK.info.name, "no answer within the time limit"))?
        {
            Ok(()) => Ok(true),
            Err(status) => {
                let error = judge(status).into_error(READ_BLOCK.info.name, READ_BLOCK.info.since);
                if matches!(error, AlluxioError::NotFound { .. }) { Ok(false) } else { Err(error) }
            }
        }
    }

    /// Asks a worker to copy a block from another one (Cache). It answers when it has tried, and does not say whether it
    /// could: the caller looks. One that has it does nothing.
    ///
    /// # Errors
    /// `Unreachable`; `Unknown`.
    pub async fn cache_from(&self, copy: CacheFrom<'_>) -> Result<(), AlluxioError> {
        let (lane, deadline) = self.worker(copy.to, &CACHE.info).await?;
        let request = CacheRequest {
            block_id: Some(copy.block),
            source_host: Some(copy.host.to_owned()),
            source_port: Some(i32::from(copy.port)),
            length: Some(copy.length),
            r#async: Some(false),
        };
        let sent = send_unary::<_, super::proto::grpc::block::CacheResponse>(lane, CACHE.info.path, request);
        timeout_at(deadline, sent)
            .await
            .map_err(|_| AlluxioError::unknown(CACHE.info.name, "no answer within the time limit"))?
            .map(|_| ())
            .map_err(|status| judge(status).into_error(CACHE.info.name, CACHE.info.since))
    }

    async fn worker(&self, address: &str, call: &CallInfo) -> Result<(Lane, Instant), AlluxioError> {
        let deadline = Instant::now() + self.router().call_timeout();
        let worker = Master::new(address, self.shared.connect_timeout)?;
        let login = matches!(self.shared.security, Security::Simple { .. });
        match worker.lane(&self.shared.security, login, deadline).await {
            Ok(lane) => Ok((lane, deadline)),
            Err(NoLane::NotSent(cause)) => Err(AlluxioError::unreachable(address, cause)),
            Err(NoLane::LoginFailed(status)) => Err(judge(status).into_error(call.name, call.since)),
        }
    }
}

/// A byte came.
async fn read_byte(lane: Lane, block: i64) -> Result<(), Status> {
    let request =
        ReadRequest { block_id: Some(block), offset: Some(0), length: Some(1), chunk_size: Some(1) };
    let mut grpc = lane.grpc(MAX_REPLY_BYTES);
    // A worker that sees the end of the requests may end the replies before the first byte.
    let outbound = futures::stream::iter([request]).chain(futures::stream::pending());
    grpc.ready().await.map_err(|e| Status::from_error(e.into()))?;
    let codec = ProstCodec::<ReadRequest, ReadResponse>::default();
    let path = PathAndQuery::from_static(calls::READ_BLOCK.info.path);
    let mut replies = grpc.streaming(lane.request(outbound), path, codec).await?.into_inner();
    while let Some(reply) = replies.message().await? {
        if reply.chunk.is_some_and(|c| c.data.is_some_and(|d| !d.is_empty())) {
            return Ok(());
        }
    }
    Err(Status::unknown("the block ended before its first byte"))
}
