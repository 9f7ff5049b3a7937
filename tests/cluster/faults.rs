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
use std::sync::{Arc, Mutex, PoisonError};
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
}

/// A request as a test sees it.
#[derive(Debug, Clone)]
pub struct Sent {
    /// Verb and resource, for example `PATCH dataoperations/status`.
    pub what: String,
    /// It changes something.
    pub write: bool,
    /// Number among the writes, from 1; the number of writes so far for a read.
    pub writes: usize,
}

type Rule = Box<dyn FnMut(&Sent) -> Fault + Send>;

struct State {
    rule: Rule,
    writes: usize,
    log: Vec<String>,
}

/// The faults of one client and the account of what it sent.
#[derive(Clone)]
pub struct Faults(Arc<Mutex<State>>);

impl Faults {
    /// Faults by rule. Watches and lists are not disturbed.
    pub fn new(rule: impl FnMut(&Sent) -> Fault + Send + 'static) -> Self {
        Self(Arc::new(Mutex::new(State { rule: Box::new(rule), writes: 0, log: Vec::new() })))
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
        for what in &self.0.lock().unwrap_or_else(PoisonError::into_inner).log {
            *all.entry(what.clone()).or_default() += 1;
        }
        all
    }

    /// Writes so far.
    pub fn writes(&self) -> usize {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).writes
    }

    fn judge(&self, request: &Request<Body>) -> Fault {
        let Some(what) = describe(request) else { return Fault::None };
        let state = &mut *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let write = request.method() != Method::GET;
        state.writes += usize::from(write);
        state.log.push(what.clone());
        (state.rule)(&Sent { what, write, writes: state.writes })
    }
}

/// Verb and resource of a request; `None` for lists and watches, which have no name at their end.
fn describe(request: &Request<Body>) -> Option<String> {
    let mut parts =
        request.uri().path().split('/').skip_while(|p| *p != "v1alpha1" && *p != "v1").skip(1).peekable();
    if parts.peek() == Some(&"namespaces") {
        parts.nth(1);
    }
    let (resource, name, sub) = (parts.next()?, parts.next(), parts.next());
    if request.method() == Method::GET && name.is_none() {
        return None;
    }
    Some(format!("{} {resource}{}", request.method(), sub.map(|s| format!("/{s}")).unwrap_or_default()))
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

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let fault = self.faults.judge(&request);
        match fault {
            Fault::Instead(code) => return async move { Ok(said(code)) }.boxed(),
            Fault::Dead => return std::future::pending().boxed(),
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
                Fault::None | Fault::Late(_) | Fault::Instead(_) | Fault::Dead => Ok(reply.map(Either::Left)),
            }
        }
        .boxed()
    }
}

/// A status as a proxy or a server in trouble says it.
fn said<B>(code: u16) -> Response<Either<B, Full<Bytes>>> {
    let body = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "code": code,
        "message": "a fault of the test", "reason": "Fault"});
    let response = Response::builder().status(code).header("content-type", "application/json");
    response.body(Either::Right(Full::new(Bytes::from(body.to_string())))).expect("a response")
}
