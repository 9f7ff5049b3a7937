//! The two servers behind one interface: a request goes in, an answer comes out.

use crate::real::Real;
use crate::step::Wire;
use crate::universe::{Names, definitions};
use bytes::Bytes;
use futures::{Stream, StreamExt as _};
use ratchet_simulator::api::{Options, Reply, Request, Server, User};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// A watch that shows nothing for so long shows nothing at all.
const SILENCE: Duration = Duration::from_secs(10);

/// A server.
pub enum Side {
    Real(&'static Real),
    Simulator(Server),
}

/// Objects that a furnished server may have: uids of later ones begin behind theirs.
const FURNITURE: u64 = 1000;

fn options(first_uid: u64) -> Options {
    let ids = AtomicU64::new(first_uid);
    let uids = move || format!("00000000-0000-4000-8000-{:012x}", ids.fetch_add(1, Ordering::Relaxed));
    Options {
        now: Arc::new(|| "2026-01-01T00:00:00Z".parse().expect("a time")),
        uids: Arc::new(uids),
        rules: ratchet_simulator::schema::Rules::All,
        admit: None,
        history: 10_000,
        sink: None,
    }
}

/// The server with the kinds of a group, which each sequence gets a copy of: to compile their rules takes longer than
/// to play most sequences.
fn furnished(group: &str) -> Server {
    static SERVERS: Mutex<BTreeMap<String, Server>> = Mutex::new(BTreeMap::new());
    let mut servers = SERVERS.lock().expect("not poisoned");
    let make = || {
        let server = Server::new(options(1));
        for definition in definitions(group) {
            server.install(&definition).expect("the CRD is accepted");
        }
        server
    };
    servers.entry(group.to_owned()).or_insert_with(make).clone()
}

/// An answer: what the controller could look at.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Answer {
    pub code: u16,
    /// The body: JSON, or a string when it is none; a watch gives the list of its events.
    pub body: Value,
    /// The `Warning` headers.
    #[serde(default)]
    pub warnings: Vec<String>,
}

impl Answer {
    fn new(code: u16, body: &[u8], warnings: Vec<String>) -> Self {
        let text = || Value::String(String::from_utf8_lossy(body).into_owned());
        Self { code, body: serde_json::from_slice(body).unwrap_or_else(|_| text()), warnings }
    }
}

impl Side {
    /// A simulator with the kinds of a group and the two namespaces.
    pub fn simulator(names: &Names) -> Self {
        let server = furnished(&names.group).fork(options(FURNITURE));
        for name in &names.namespaces {
            let object = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
            server.install(&object).expect("the namespace is accepted");
        }
        // Revisions like those of a server that has been up for a while: nobody's `1` is recent there.
        let old = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "old", "namespace": "default",
            "uid": "old", "resourceVersion": "1000000", "creationTimestamp": "2026-01-01T00:00:00Z"}});
        server.restore(old, 1_000_000).expect("restored");
        Self::Simulator(server)
    }

    /// Sends a request and waits for the whole answer. Of a watch it waits for the first event.
    pub async fn send(&self, wire: &Wire) -> Answer {
        if wire.uri.contains("watch=1") || wire.uri.contains("watch=true") {
            return self.watch(wire, |_| true).await;
        }
        match self {
            Self::Real(real) => {
                let (code, warnings, mut body) = real.send(wire).await;
                let mut whole = Vec::new();
                while let Some(part) = body.next().await {
                    whole.extend_from_slice(&part);
                }
                Answer::new(code, &whole, warnings)
            }
            Self::Simulator(server) => match call(server, wire) {
                Reply::Whole(response) => {
                    let warnings = response.headers.iter().filter(|(name, _)| *name == "Warning");
                    Answer::new(response.code, &response.body, warnings.map(|(_, v)| v.clone()).collect())
                }
                Reply::Watch(_) => panic!("a stream where none was asked for"),
            },
        }
    }

    /// Opens a watch and collects its events (bookmarks too) up to and with the first for which `last` holds. A refusal
    /// is given as it is.
    pub async fn watch(&self, wire: &Wire, last: impl Fn(&Value) -> bool) -> Answer {
        match self {
            Self::Real(real) => {
                let (code, warnings, body) = real.send(wire).await;
                collect(code, warnings, body, last).await
            }
            Self::Simulator(server) => match call(server, wire) {
                Reply::Whole(r) => Answer::new(r.code, &r.body, Vec::new()),
                Reply::Watch(watch) => collect(200, Vec::new(), watch, last).await,
            },
        }
    }

    /// What a controller manager does after a change. The real one takes its time: see `play`.
    pub fn collect_garbage(&self) {
        if let Self::Simulator(server) = self {
            while server.collect() {}
        }
    }
}

fn call(server: &Server, wire: &Wire) -> Reply {
    server.call(&Request {
        method: wire.method.clone(),
        uri: wire.uri.clone(),
        content_type: wire.content_type.clone(),
        accept: "application/json".into(),
        body: Bytes::from(wire.body.clone()),
        user: User {
            name: "admin".into(),
            groups: vec!["system:masters".into(), "system:authenticated".into()],
        },
    })
}

async fn collect(
    code: u16,
    warnings: Vec<String>,
    body: impl Stream<Item = Bytes> + Unpin,
    last: impl Fn(&Value) -> bool,
) -> Answer {
    let (mut body, mut line, mut events, mut whole) = (body, Vec::new(), Vec::new(), true);
    while let Ok(Some(part)) = tokio::time::timeout(SILENCE, body.next()).await {
        line.extend_from_slice(&part);
        if code != 200 {
            continue;
        }
        while let Some(end) = line.iter().position(|b| *b == b'\n') {
            let rest = line.split_off(end + 1);
            let event: Value = serde_json::from_slice(&std::mem::replace(&mut line, rest)).expect("JSON");
            events.push(event);
            if events.last().is_some_and(&last) {
                return Answer { code, body: Value::Array(events), warnings };
            }
        }
        whole = false;
    }
    if code != 200 {
        return Answer::new(code, &line, warnings);
    }
    events.push(json!(if whole { "nothing came" } else { "the end did not come" }));
    Answer { code, body: Value::Array(events), warnings }
}
