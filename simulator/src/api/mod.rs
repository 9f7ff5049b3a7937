//! The API server. A call is answered at once and atomically: when [`Server::call`] returns, the change is committed
//! and every watcher has it in its line. Delays, losses and staleness are the business of whoever stands in between.

mod builtin;
mod call;
mod check;
mod collect;
mod crd;
mod delete;
mod discovery;
mod evict;
mod failure;
pub mod kind;
mod meta;
mod openapi;
mod operations;
mod patch;
mod read;
mod render;
mod route;
mod selector;
mod store;
mod table;
mod update;
mod watch;
mod write;

pub use kind::{Column, Kind};
pub use watch::Watch;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use serde_json::Value;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use store::{Entry, State};

/// Where the time comes from (only for what people read, such as creationTimestamp).
pub type Now = Arc<dyn Fn() -> DateTime<Utc> + Send + Sync>;
/// Where uids come from.
pub type Uids = Arc<dyn Fn() -> String + Send + Sync>;
/// Told of each change before it is committed and answered; an error refuses the change with a 500. It is called under
/// the server's lock and must not call the server.
pub type Sink = Arc<dyn Fn(&Change) -> Result<(), String> + Send + Sync>;

/// Asked before each write is stored, after the rules of the schema; an error refuses it, with 403, in the words
/// that follow "is forbidden: ". Stands for the ValidatingAdmissionPolicies, which are stored and not evaluated: write
/// the text as the real server does, `ValidatingAdmissionPolicy 'x' with binding 'y' denied request: why`.
/// It is called under the server's lock and must not call the server.
pub type Admit = Arc<dyn Fn(&Admission<'_>) -> Result<(), String> + Send + Sync>;

/// A write that is to be admitted.
#[derive(Debug, Clone, Copy)]
pub struct Admission<'a> {
    /// CREATE, UPDATE or DELETE.
    pub operation: &'static str,
    /// The kind.
    pub kind: &'a Kind,
    /// `status`, or empty for the object itself.
    pub subresource: &'a str,
    /// Who calls.
    pub user: &'a User,
    /// The object after the write; `None` for DELETE.
    pub object: Option<&'a Value>,
    /// The object before it; `None` for CREATE.
    pub old: Option<&'a Value>,
    /// Whether its namespace is being deleted.
    pub namespace_terminating: bool,
}

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
    /// The policies.
    pub admit: Option<Admit>,
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
    /// The same, serialised.
    pub bytes: Bytes,
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

/// The server. Clones are the same server.
#[derive(Clone)]
pub struct Server {
    state: Arc<Mutex<State>>,
}

impl Server {
    /// An empty server that knows the built-in kinds and the namespaces default and kube-system.
    #[must_use]
    pub fn new(options: Options) -> Self {
        let server = Self { state: Arc::new(Mutex::new(State::new(options))) };
        for name in ["default", "kube-system"] {
            let namespace = serde_json::json!({
                "apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name},
            });
            // Nothing can be in the way in an empty server.
            let _created = server.install(&namespace);
        }
        server
    }

    /// Another server that begins with what this one has now: its kinds (compiled once, shared) and its objects, but
    /// none of its history.
    #[must_use]
    pub fn fork(&self, options: Options) -> Self {
        Self { state: Arc::new(Mutex::new(self.lock().fork(options))) }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Creates an object as its own administrator (a CRD, a policy, a namespace, ...), without a sink and without
    /// policies. A namespaced object that names no namespace goes into default.
    ///
    /// # Errors
    /// The message of the refusal.
    pub fn install(&self, object: &Value) -> Result<(), String> {
        let uri = self.collection(object)?;
        let request = Request {
            method: http::Method::POST,
            uri,
            content_type: failure::JSON.into(),
            accept: failure::JSON.into(),
            body: object.to_string().into(),
            user: User { name: "kubernetes-admin".into(), groups: vec!["system:masters".into()] },
        };
        match call::answer(self, &request, None, true) {
            Reply::Whole(response) if response.code < 300 => Ok(()),
            Reply::Whole(response) => {
                let status: Value = serde_json::from_slice(&response.body).unwrap_or_default();
                Err(status["message"].as_str().unwrap_or("the object cannot be created").to_owned())
            }
            Reply::Watch(_) => Ok(()),
        }
    }

    /// The path of the collection that an object belongs to.
    fn collection(&self, object: &Value) -> Result<String, String> {
        let text = |field: &str| object[field].as_str().unwrap_or_default();
        let (version, name) = (text("apiVersion"), text("kind"));
        let state = self.lock();
        let Some((_, kind)) = state.find(version, name) else {
            return Err(format!("no matches for kind \"{name}\" in version \"{version}\""));
        };
        let root = if kind.group.is_empty() { "api" } else { "apis" };
        let namespace = match meta::namespace(object) {
            "" => "default",
            namespace => namespace,
        };
        let place = if kind.namespaced { format!("namespaces/{namespace}/") } else { String::new() };
        Ok(format!("/{root}/{version}/{place}{}", kind.plural))
    }

    /// Answers a call.
    #[must_use]
    pub fn call(&self, request: &Request) -> Reply {
        call::answer(self, request, None, false)
    }

    /// Answers a GET, a LIST or a WATCH as a server would that has seen nothing after `revision`: the reads of a
    /// stale replica. A watch goes on from there. A revision that history does not reach is taken for the oldest one
    /// that it does; writes are answered as always.
    #[must_use]
    pub fn call_at(&self, request: &Request, revision: u64) -> Reply {
        call::answer(self, request, Some(revision), false)
    }

    /// The newest revision.
    #[must_use]
    pub fn revision(&self) -> u64 {
        self.lock().revision
    }

    /// Objects of a kind (by plural), in the order of their keys; for oracles.
    #[must_use]
    pub fn objects(&self, plural: &str) -> Vec<Arc<Value>> {
        let state = self.lock();
        let tables = state.tables.values().filter(|t| t.kind.plural == plural);
        tables.flat_map(|t| t.objects.values()).map(|entry| entry.value.clone()).collect()
    }

    /// The kinds that are served now.
    #[must_use]
    pub fn kinds(&self) -> Vec<Arc<Kind>> {
        self.lock().kinds()
    }

    /// One round of what the controller manager does: dependents of owners that are gone, terminating namespaces.
    /// Whether anything was done.
    pub fn collect(&self) -> bool {
        let mut state = self.lock();
        state.quiet = false;
        state.collect()
    }

    /// Puts an object back as it was stored, without checks and without a watch event: for a server that starts from
    /// what its sink kept. `revision` becomes the newest one if it is newer; nothing from before it can be watched.
    ///
    /// # Errors
    /// When the kind is not known (yet): CRDs come first.
    pub fn restore(&self, object: Value, revision: u64) -> Result<(), String> {
        let text = |field: &str| object[field].as_str().unwrap_or_default().to_owned();
        let (version, name) = (text("apiVersion"), text("kind"));
        let mut guard = self.lock();
        let state = &mut *guard;
        let Some((table, kind)) = state.find(&version, &name).map(|(t, k)| (t.to_owned(), k.clone())) else {
            return Err(format!("no matches for kind \"{name}\" in version \"{version}\""));
        };
        if table == crd::TABLE {
            state.define(&object).map_err(|refusal| refusal.message)?;
        }
        let key = meta::key(meta::namespace(&object), meta::name(&object));
        let own = meta::version(&object).parse().unwrap_or(revision);
        let entry = Arc::new(Entry::new(&kind, object, own));
        if let Some(table) = state.tables.get_mut(&table) {
            table.objects.insert(key, entry);
        }
        state.revision = state.revision.max(revision);
        state.forgotten = state.revision;
        state.log.clear();
        state.litter = true;
        Ok(())
    }
}
