//! A client that sees every request on its way, keeps count, and spoils what a test wants spoiled:
//!
//! ```text
//!   kube::Client -> Faults -> kube's own stack -> kube-apiserver
//! ```

use super::Bench;
use futures::FutureExt as _;
use futures::future::BoxFuture;
use http::{Method, Request, Response};
use http_body_util::{Either, Full};
use hyper::body::Bytes;
use kube::client::{Body, ClientBuilder};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use serde_json::json;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;
use tower::{BoxError, Layer, Service};

/// What happens to one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Nothing.
    None,
    /// It is answered with this code and never sent.
    Instead(u16),
    /// It is carried out and answered with this code.
    After(u16),
    /// It is carried out and the connection breaks before the answer.
    Lost,
    /// It is carried out; the answer never comes.
    Silent,
    /// It is never sent and never answered.
    Dead,
    /// It is sent late.
    Late(Duration),
    /// It is answered in these words and never sent.
    Says(Words),
    /// A watch is asked for from the first resourceVersion of all, as after a compaction: the server itself says 410.
    FromLongAgo,
}

/// An answer in the words of the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Words {
    /// Code of HTTP.
    pub code: u16,
    /// Machine-readable reason.
    pub reason: &'static str,
    /// Sentence.
    pub message: &'static str,
    /// The field that a rule or the schema refuses.
    pub field: Option<&'static str>,
    /// Seconds until the server wants to be asked again; 0: it does not say.
    pub retry_after: u32,
}

impl Words {
    /// A code, a reason and a sentence.
    pub const fn new(code: u16, reason: &'static str, message: &'static str) -> Self {
        Self { code, reason, message, field: None, retry_after: 0 }
    }
}

/// A request as a test sees it.
#[derive(Debug, Clone)]
pub struct Sent {
    /// Verb and resource, for example `PATCH dataoperations/status`.
    pub what: String,
    /// Name of the object; empty for what creates, lists or watches.
    pub name: String,
    /// It changes something.
    pub write: bool,
    /// Number among the writes, from 1; the number of writes so far for a read.
    pub writes: usize,
}

type Rule = Box<dyn FnMut(&Sent) -> Fault + Send>;

struct State {
    rule: Rule,
    streams: Rule,
    writes: usize,
    log: Vec<(String, String)>,
    streamed: Vec<String>,
}

/// The faults of one client and the account of what it sent.
#[derive(Clone)]
pub struct Faults(Arc<Mutex<State>>);

impl Faults {
    /// The controller dies after its `k`-th write; where `k` is even it does not hear what became of that one either.
    pub fn dying_at(k: usize) -> Self {
        Self::new(move |sent| match sent.write {
            true if sent.writes == k && k.is_multiple_of(2) => Fault::Silent,
            true if sent.writes > k => Fault::Dead,
            true | false => Fault::None,
        })
    }

    /// Faults by rule. Watches and lists are not disturbed by it.
    pub fn new(rule: impl FnMut(&Sent) -> Fault + Send + 'static) -> Self {
        let (rule, streams): (Rule, Rule) = (Box::new(rule), Box::new(|_| Fault::None));
        Self(Arc::new(Mutex::new(State { rule, streams, writes: 0, log: Vec::new(), streamed: Vec::new() })))
    }

    /// Lists and watches get these faults: `LIST dataoperations`, `WATCH targetlocks`.
    pub fn on_streams(self, rule: impl FnMut(&Sent) -> Fault + Send + 'static) -> Self {
        self.state().streams = Box::new(rule);
        self
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// No faults, only the account.
    pub fn none() -> Self {
        Self::new(|_| Fault::None)
    }

    /// A client of the controller's user with these faults.
    pub async fn client(&self, bench: &Bench) -> Client {
        let kubeconfig = Kubeconfig::read_from(bench.kubeconfig("controller")).expect("a kubeconfig");
        let mut config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default())
            .await
            .expect("a config");
        config.default_retry = false;
        ClientBuilder::try_from(config).expect("a client").with_layer(self).build()
    }

    /// How often each kind of request was sent.
    pub fn counts(&self) -> BTreeMap<String, usize> {
        let mut all = BTreeMap::new();
        for (what, _) in &self.state().log {
            *all.entry(what.clone()).or_default() += 1;
        }
        all
    }

    /// How often this kind of request was sent for the object of this name.
    pub fn sent(&self, what: &str, name: &str) -> usize {
        self.state().log.iter().filter(|(w, n)| w == what && n == name).count()
    }

    /// How many lists or watches of this kind were asked for.
    pub fn streamed(&self, what: &str) -> usize {
        self.state().streamed.iter().filter(|w| *w == what).count()
    }

    /// Writes so far.
    pub fn writes(&self) -> usize {
        self.state().writes
    }

    fn judge(&self, request: &Request<Body>) -> Fault {
        let Some((what, name, stream)) = describe(request) else { return Fault::None };
        let state = &mut *self.state();
        if stream {
            state.streamed.push(what.clone());
            return (state.streams)(&Sent { what, name, write: false, writes: state.writes });
        }
        let write = request.method() != Method::GET;
        state.writes += usize::from(write);
        state.log.push((what.clone(), name.clone()));
        (state.rule)(&Sent { what, name, write, writes: state.writes })
    }
}

/// Verb and resource of a request, its object, and whether it is a list or a watch (which have no name at their end).
fn describe(request: &Request<Body>) -> Option<(String, String, bool)> {
    let mut parts =
        request.uri().path().split('/').skip_while(|p| *p != "v1alpha1" && *p != "v1").skip(1).peekable();
    if parts.peek() == Some(&"namespaces") {
        parts.nth(1);
    }
    let (resource, name, sub) = (parts.next()?, parts.next(), parts.next());
    if request.method() == Method::GET && name.is_none() {
        let watch = request.uri().query().is_some_and(|q| q.contains("watch=true"));
        return Some((format!("{} {resource}", if watch { "WATCH" } else { "LIST" }), String::new(), true));
    }
    let sub = sub.map(|s| format!("/{s}")).unwrap_or_default();
    let name = name.unwrap_or_default().to_owned();
    Some((format!("{} {resource}{sub}", request.method()), name, false))
}

/// The same watch, from the first resourceVersion.
fn from_long_ago(request: &mut Request<Body>) {
    let text = request.uri().to_string();
    let (path, query) = text.split_once('?').unwrap_or((&text, ""));
    let kept = query.split('&').filter(|p| !p.starts_with("resourceVersion=")).collect::<Vec<_>>().join("&");
    *request.uri_mut() = format!("{path}?{kept}&resourceVersion=1").parse().expect("a URI");
}

impl<S> Layer<S> for Faults {
    type Service = Faulty<S>;

    fn layer(&self, inner: S) -> Faulty<S> {
        Faulty { faults: self.clone(), inner }
    }
}

/// The service that the layer makes.
pub struct Faulty<S> {
    faults: Faults,
    inner: S,
}

impl<S, B> Service<Request<Body>> for Faulty<S>
where
    S: Service<Request<Body>, Response = Response<B>, Error = BoxError>,
    S::Future: Send + 'static,
    B: Send + 'static,
{
    type Response = Response<Either<B, Full<Bytes>>>;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<Self::Response, BoxError>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        let fault = self.faults.judge(&request);
        match fault {
            Fault::Instead(code) => return async move { Ok(said(code)) }.boxed(),
            Fault::Says(words) => return async move { Ok(spoken(&words)) }.boxed(),
            Fault::Dead => return std::future::pending().boxed(),
            Fault::FromLongAgo => from_long_ago(&mut request),
            Fault::None | Fault::After(_) | Fault::Lost | Fault::Silent | Fault::Late(_) => {}
        }
        let reply = self.inner.call(request);
        async move {
            if let Fault::Late(delay) = fault {
                tokio::time::sleep(delay).await;
            }
            let reply = reply.await?;
            match fault {
                Fault::After(code) => Ok(said(code)),
                Fault::Lost => Err("the connection broke before the answer".into()),
                Fault::Silent => std::future::pending().await,
                Fault::None
                | Fault::Late(_)
                | Fault::FromLongAgo
                | Fault::Instead(_)
                | Fault::Says(_)
                | Fault::Dead => Ok(reply.map(Either::Left)),
            }
        }
        .boxed()
    }
}

/// A status as a proxy or a server in trouble says it.
fn said<B>(code: u16) -> Response<Either<B, Full<Bytes>>> {
    spoken(&Words::new(code, "Fault", "a fault of the test"))
}

/// A status in these words.
fn spoken<B>(words: &Words) -> Response<Either<B, Full<Bytes>>> {
    let mut body = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "code": words.code, "message": words.message, "reason": words.reason});
    let mut response = Response::builder().status(words.code).header("content-type", "application/json");
    if let Some(field) = words.field {
        body["details"]["causes"] =
            json!([{"reason": "FieldValueInvalid", "message": words.message, "field": field}]);
    }
    if words.retry_after > 0 {
        body["details"]["retryAfterSeconds"] = json!(words.retry_after);
        response = response.header("retry-after", words.retry_after);
    }
    response.body(Either::Right(Full::new(Bytes::from(body.to_string())))).expect("a response")
}
