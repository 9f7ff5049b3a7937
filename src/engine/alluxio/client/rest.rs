//! ```text
//! GET http://worker:web/api/v1/worker/operations -> WorkerOperations
//! ```
//! The few questions that workers answer over HTTP only. Each is a small GET with a deadline
//! and a limit on the reply; there is no authentication. A worker that is not registered
//! accepts the connection and never answers, which shows as `Unknown`.

use std::sync::Arc;
use std::time::Duration;

use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::Bytes;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde::Deserialize;
use tokio::time::timeout;

use super::error::ConnectFailure;
use super::verdict::chain;
use super::{AlluxioClient, AlluxioError, Code};

/// The largest reply that is read, in bytes.
const MAX_REPLY_BYTES: usize = 64 * 1024;
const OPERATIONS: &str = "worker operations";

pub(super) struct Rest {
    client: Client<HttpConnector, Empty<Bytes>>,
    call_timeout: Duration,
}

/// What a worker does at this moment. A momentary count of threads: stalled streams and
/// short-circuit reads are not in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct WorkerOperations {
    /// Calls that wait for a thread.
    pub rpc_queue_length: i64,
    /// Calls that are being served.
    pub operation_count: i64,
}

impl Rest {
    pub(super) fn new(call_timeout: Duration, connect_timeout: Duration) -> Self {
        let mut connector = HttpConnector::new();
        connector.set_connect_timeout(Some(connect_timeout));
        Self { client: Client::builder(TokioExecutor::new()).build(connector), call_timeout }
    }

    async fn get(&self, address: &str, path: &str, call: &'static str) -> Result<Bytes, AlluxioError> {
        let request = Request::builder()
            .method(Method::GET)
            .uri(format!("http://{address}{path}"))
            .body(Empty::new())
            .map_err(|error| AlluxioError::invalid(&error.to_string()))?;
        let reply = self.client.request(request).await.map_err(|error| {
            if error.is_connect() {
                AlluxioError::unreachable(address, Arc::new(ConnectFailure::Refused(chain(&error))))
            } else {
                AlluxioError::unknown(call, &chain(&error))
            }
        })?;
        let status = reply.status();
        let body = Limited::new(reply.into_body(), MAX_REPLY_BYTES).collect().await;
        let body = body.map_err(|error| AlluxioError::unknown(call, &error.to_string()))?;
        match status {
            StatusCode::OK => Ok(body.to_bytes()),
            StatusCode::NOT_FOUND => Err(AlluxioError::Unsupported { call, since: "2.9.4" }),
            status if status.is_client_error() => {
                Err(AlluxioError::refused(Code::InvalidArgument, &format!("http {status}")))
            }
            status => Err(AlluxioError::unknown(call, &format!("http {status}"))),
        }
    }
}

impl AlluxioClient {
    /// What the worker at `host` does now; `web_port` is its web port, as in the worker report.
    ///
    /// # Errors
    /// `Unreachable` if it does not accept connections; `Unsupported` before 2.9.4; `Unknown`
    /// if it does not answer in time or with something else.
    pub async fn worker_operations(
        &self,
        host: &str,
        web_port: u16,
    ) -> Result<WorkerOperations, AlluxioError> {
        let rest = &self.shared.rest;
        let address =
            if host.contains(':') { format!("[{host}]:{web_port}") } else { format!("{host}:{web_port}") };
        let get = rest.get(&address, "/api/v1/worker/operations", OPERATIONS);
        let body = timeout(rest.call_timeout, get)
            .await
            .map_err(|_| AlluxioError::unknown(OPERATIONS, "no answer within the time limit"))??;
        serde_json::from_slice(&body).map_err(|error| AlluxioError::unknown(OPERATIONS, &error.to_string()))
    }
}
