//! ```text
//! AlluxioClient --(cluster, metadata, tree, load: one file a topic)--> router --> session --> master
//!       |                                                        |
//!       +--> rest --> worker                                     verdict: what a failure proves
//! ```
//! A client of Alluxio 2.9's masters over gRPC, for the calls that operations need.
//! It answers with plain values and one error type, keeps nothing but connections and the
//! address of the last primary, and never sends a mutating call twice unless the first answer proves
//! that nothing was executed. It starts no loops, does not back off and reads no Kubernetes.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

mod backup;
mod calls;
mod cluster;
mod drain;
mod error;
mod journal;
mod load;
mod load_body;
mod load_report;
mod metadata;
mod metric;
mod mount;
mod proto;
mod redact;
mod rest;
mod router;
mod session;
mod tree;
mod verdict;
mod worker;

pub use backup::{BackupProgress, BackupStanding, Entry};
pub use cluster::{MasterInfo, MasterMember, MasterRole, Worker, WorkerState};
pub use drain::{Block, CacheFrom, Unpersisted};
pub use error::{AlluxioError, Cause, Code};
pub use journal::Voter;
pub use load::{LoadOptions, Submitted};
pub use load_report::{LoadFailure, LoadProgress, LoadState};
pub use metadata::{FileStatus, PersistenceState, SyncId, SyncProgress, SyncState};
pub use mount::{Mount, MountSettings};
pub use redact::{MAX_TEXT, redact};
pub use rest::WorkerOperations;
pub use tree::TreeSummary;

use router::Router;

/// How the masters authenticate their callers (`alluxio.security.authentication.type`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Security {
    /// NOSASL: no handshake.
    NoSasl,
    /// SIMPLE, the engine's default: any user name is believed.
    Simple {
        /// The name to be known by.
        user: String,
    },
}

/// What a client is made from.
#[derive(Debug, Clone)]
pub struct ClientOptions {
    /// `host:port` of every master's RPC port (19998 by default).
    pub masters: Vec<String>,
    /// How the masters authenticate.
    pub security: Security,
    /// The longest time from a call's start to its answer, connecting, logging in and trying
    /// other masters included; for a listing, the longest silence.
    pub call_timeout: Duration,
    /// The longest time for one attempt to connect.
    pub connect_timeout: Duration,
    /// The longest time for walking a whole tree.
    pub listing_timeout: Duration,
}

impl ClientOptions {
    /// Options with the usual limits: 10 s a call, 2 s to connect, 10 min for a tree.
    pub fn new(masters: Vec<String>, security: Security) -> Self {
        Self {
            masters,
            security,
            call_timeout: Duration::from_secs(10),
            connect_timeout: Duration::from_secs(2),
            listing_timeout: Duration::from_secs(600),
        }
    }
}

/// A client of one Alluxio cluster. Clones share their connections.
#[derive(Clone)]
pub struct AlluxioClient {
    shared: Arc<Shared>,
}

struct Shared {
    router: Router,
    security: Security,
    connect_timeout: Duration,
    rest: rest::Rest,
    listing_timeout: Duration,
}

impl fmt::Debug for AlluxioClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AlluxioClient").finish_non_exhaustive()
    }
}

impl AlluxioClient {
    /// Makes a client; connects to nothing yet.
    ///
    /// # Errors
    /// `Invalid` without masters, or if an address is not `host:port`.
    pub fn new(options: ClientOptions) -> Result<Self, AlluxioError> {
        let router = Router::new(
            &options.masters,
            options.security.clone(),
            options.call_timeout,
            options.connect_timeout,
        )?;
        let rest = rest::Rest::new(options.call_timeout, options.connect_timeout);
        let listing_timeout = options.listing_timeout;
        let (security, connect_timeout) = (options.security, options.connect_timeout);
        let shared = Shared { router, security, connect_timeout, rest, listing_timeout };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// The `host:port`, as configured, of the master that serves now.
    ///
    /// # Errors
    /// `NotReady` if masters answer but none is the primary, `Unreachable` if none answers.
    pub async fn primary(&self) -> Result<String, AlluxioError> {
        self.router().primary().await
    }

    fn router(&self) -> &Router {
        &self.shared.router
    }
}

/// Checks that `path` is an absolute Alluxio path.
fn absolute(path: &str) -> Result<String, AlluxioError> {
    if path.starts_with('/') {
        return Ok(path.to_owned());
    }
    Err(AlluxioError::invalid(&format!("path {path} is not absolute")))
}
