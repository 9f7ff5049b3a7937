//! The API server. A call is answered at once and atomically: when [`Server::call`] returns, the change is committed
//! and every watcher has it in its line. Delays, losses and staleness are the business of whoever stands in between.

mod discovery;
pub mod kind;
mod openapi;
mod table;

pub use kind::{Column, Kind};

use bytes::Bytes;
use chrono::{DateTime, Utc};
use futures::Stream;
use serde_json::Value;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

/// Where the time comes from (only for what people read, such as creationTimestamp).
pub type Now = Arc<dyn Fn() -> DateTime<Utc> + Send + Sync>;
/// Where uids come from.
pub type Uids = Arc<dyn Fn() -> String + Send + Sync>;
/// Told of each change before it is committed and answered; an error refuses the change with a 500.
pub type Sink = Arc<dyn Fn(&Change) -> Result<(), String> + Send + Sync>;

/// How the server behaves.
#[derive(Clone)]
pub struct Options {
    /// The time.
    pub now: Now,
    /// Uids.
    pub uids: Uids,
    /// Which rules of a CRD apply.
    pub rules: crate::schema::Rules,
    /// Changes that are kept for watches; a watch from before them is answered with 410.
    pub history: usize,
    /// Where changes are made durable.
    pub sink: Option<Sink>,
}

/// One committed change.
#[derive(Debug, Clone)]
pub struct Change {
    /// The revision that it made.
    pub revision: u64,
    /// ADDED, MODIFIED or DELETED.
    pub type_: &'static str,
    /// The kind.
    pub kind: Arc<Kind>,
    /// The object after it (before it, with the new resourceVersion, when it is DELETED).
    pub object: Arc<Value>,
}

/// Who calls.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// User name.
    pub name: String,
    /// Groups.
    pub groups: Vec<String>,
}

/// A call.
#[derive(Debug, Clone)]
pub struct Request {
    /// Method.
    pub method: http::Method,
    /// Path and query.
    pub uri: String,
    /// Content-Type header.
    pub content_type: String,
    /// Accept header.
    pub accept: String,
    /// Body.
    pub body: Bytes,
    /// Who calls.
    pub user: User,
}

/// An answer.
pub enum Reply {
    /// A whole one.
    Whole(Response),
    /// Lines of JSON, one an event.
    Watch(Watch),
}

/// A whole answer.
#[derive(Debug, Clone)]
pub struct Response {
    /// HTTP status.
    pub code: u16,
    /// Content-Type header.
    pub content_type: &'static str,
    /// Further headers (Warning, Retry-After, Audit-Id are not asked for; Warning is).
    pub headers: Vec<(&'static str, String)>,
    /// Body.
    pub body: Bytes,
}

/// The stream of a watch. Ends after its `timeoutSeconds`, by tokio's clock.
pub struct Watch {}

impl Stream for Watch {
    type Item = Bytes;

    fn poll_next(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        Poll::Ready(None)
    }
}

/// The server. Clones are the same server.
#[derive(Clone)]
pub struct Server {}

impl Server {
    /// An empty server that knows the built-in kinds and the namespaces default and kube-system.
    #[must_use]
    pub fn new(_options: Options) -> Self {
        Self {}
    }

    /// Creates an object as its own administrator (a CRD, a policy, a namespace, ...), without a sink.
    ///
    /// # Errors
    /// The message of the refusal.
    pub fn install(&self, _object: &Value) -> Result<(), String> {
        Ok(())
    }

    /// Answers a call.
    #[must_use]
    pub fn call(&self, _request: &Request) -> Reply {
        let body = Bytes::from_static(b"{}");
        Reply::Whole(Response { code: 501, content_type: "application/json", headers: Vec::new(), body })
    }

    /// Answers a GET, a LIST or a WATCH as a server would that has seen nothing after `revision`: the reads of a
    /// stale replica. A watch goes on from there.
    #[must_use]
    pub fn call_at(&self, request: &Request, _revision: u64) -> Reply {
        self.call(request)
    }

    /// The newest revision.
    #[must_use]
    pub fn revision(&self) -> u64 {
        0
    }

    /// Objects of a kind (by plural), in the order of their keys; for oracles.
    #[must_use]
    pub fn objects(&self, _plural: &str) -> Vec<Arc<Value>> {
        Vec::new()
    }

    /// The kinds that are served now.
    #[must_use]
    pub fn kinds(&self) -> Vec<Arc<Kind>> {
        Vec::new()
    }

    /// One round of what the controller manager does: dependents of owners that are gone, terminating namespaces.
    /// Whether anything was done.
    pub fn collect(&self) -> bool {
        false
    }

    /// Puts an object back as it was stored, without checks and without a watch event: for a server that starts from
    /// what its sink kept. `revision` becomes the newest one if it is newer.
    ///
    /// # Errors
    /// When the kind is not known (yet): CRDs come first.
    pub fn restore(&self, _object: Value, _revision: u64) -> Result<(), String> {
        Ok(())
    }
}
