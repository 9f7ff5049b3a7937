//! The way from a replica to the API server, with everything that can go wrong on it.
//!
//! ```text
//!   kube::Client -> Link: frozen? dead? crash here? --delay--> Server (atomic) --delay--> reply, or none
//! ```

use super::call::{Op, about, ends_well, news, status_patch, uid, value};
use super::plan::{CrashPoint, Sent, Weather};
use super::world::World;
use bytes::Bytes;
use futures::future::BoxFuture;
use futures::{FutureExt as _, Stream, StreamExt as _};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::body::Frame;
use kube::client::Body;
use ratchet_simulator::api::{Reply, Request, Response, User, Watch};
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};
use std::time::Duration;

type Error = Box<dyn std::error::Error + Send + Sync>;

type Answer = UnsyncBoxBody<Bytes, Error>;

fn full(body: Bytes) -> Answer {
    UnsyncBoxBody::new(Full::new(body).map_err(|never| match never {}))
}

/// What becomes of one call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Fine,
    Silent,
    Lost,
    Dropped,
    Refused(u16),
    Muddled(u16),
    Late(u64),
    Doubled,
}

/// One replica's way to the API server in one of its lives.
#[derive(Clone)]
pub struct Link {
    /// The world.
    pub world: Arc<World>,
    /// Which replica.
    pub replica: usize,
    /// Which of its lives.
    pub life: u64,
    /// Where it dies.
    pub crashes: Arc<Vec<CrashPoint>>,
}

fn fate(world: &World, weather: Weather) -> Fate {
    if weather == Weather::CALM {
        return Fate::Fine;
    }
    let fate = world.draw(|rng| {
        let mut at = rng.below(1_000);
        let mut hit = |width: u64| {
            let inside = at < width;
            at = if inside { u64::MAX } else { at - width };
            inside
        };
        if hit(weather.silent) {
            Fate::Silent
        } else if hit(weather.lost) {
            Fate::Lost
        } else if hit(weather.dropped) {
            Fate::Dropped
        } else if hit(weather.refused) {
            Fate::Refused(*rng.pick(&[429, 500, 503, 504]))
        } else if hit(weather.muddled) {
            Fate::Muddled(*rng.pick(&[500, 503, 504]))
        } else if hit(weather.late) {
            Fate::Late(rng.within(1_000, 12_000))
        } else if hit(weather.doubled) {
            Fate::Doubled
        } else {
            Fate::Fine
        }
    });
    if fate != Fate::Fine {
        world.fault();
    }
    fate
}

impl Link {
    /// Counts a changing call; whether the replica dies before it (`false`) or after it (`true`).
    pub fn crash(&self, sent: Sent) -> Option<bool> {
        let outside = &self.world.replicas[self.replica];
        let n = outside.calls.fetch_add(1, Ordering::Relaxed) + 1;
        let like = outside.calls_like[sent as usize].fetch_add(1, Ordering::Relaxed) + 1;
        let here = |p: &&CrashPoint| match p.on {
            None => p.call == n,
            Some(on) => on == sent && p.call == like,
        };
        let point = self.crashes.iter().find(here)?;
        outside.back_ms.store(point.back_ms, Ordering::Relaxed);
        Some(point.after)
    }

    /// Dies.
    pub async fn die(&self) {
        let back = self.world.replicas[self.replica].back_ms.load(Ordering::Relaxed);
        self.world.kill(self.replica, back);
        std::future::pending::<()>().await;
    }

    async fn travel(self, request: http::Request<Body>) -> Result<http::Response<Answer>, Error> {
        let (parts, body) = request.into_parts();
        let body = body.collect().await.map_err(|e| -> Error { e.to_string().into() })?.to_bytes();
        self.world.gate(self.replica, self.life).await;
        let header =
            |name: &str| parts.headers.get(name).and_then(|v| v.to_str().ok()).unwrap_or_default().to_owned();
        let uri = parts.uri.path_and_query().map_or_else(|| parts.uri.path().to_owned(), ToString::to_string);
        let request = Request {
            content_type: header("content-type"),
            accept: header("accept"),
            method: parts.method,
            uri,
            body,
            user: controller(),
        };
        if request.method == http::Method::GET { self.read(request).await } else { self.write(request).await }
    }

    async fn pause(&self, most_ms: u64) {
        let ms = self.world.draw(|rng| rng.below(most_ms + 1));
        if ms > 0 {
            tokio::time::sleep(Duration::from_millis(ms)).await;
        }
    }

    async fn read(self, request: Request) -> Result<http::Response<Answer>, Error> {
        let name = short(&request.uri).to_owned();
        let list = is_list(&request.uri);
        let fate = if list { Fate::Fine } else { fate(&self.world, self.world.weather().0) };
        self.pause(4).await;
        if self.world.is_api_down() {
            return Err("connection refused".into());
        }
        match fate {
            Fate::Silent | Fate::Late(_) => {
                self.world.note(format_args!("r{} GET {name} silent", self.replica));
                std::future::pending::<()>().await;
            }
            Fate::Lost | Fate::Dropped => return Err("connection reset".into()),
            Fate::Refused(code) | Fate::Muddled(code) => return Ok(said(code)),
            Fate::Fine | Fate::Doubled => {}
        }
        let outside = &self.world.replicas[self.replica];
        let watch = request.uri.contains("watch=true") || request.uri.contains("watch=1");
        // The lists of the caches may be stale. One that is asked for in order to decide is as consistent as a read.
        let caches = list && !request.uri.contains("/namespaces/");
        let view = if caches { outside.view.load(Ordering::Relaxed) } else { 0 };
        let reply = if view > 0 && !watch {
            self.world.note(format_args!("r{} GET {name} as of {view}", self.replica));
            self.world.server.call_at(&request, view)
        } else {
            self.world.server.call(&request)
        };
        match reply {
            Reply::Whole(response) => {
                if !watch && list && view > 0 && request.uri.contains("dataoperations") {
                    // The next list is a fresh one again.
                    outside.view.store(0, Ordering::Relaxed);
                }
                self.world.note(format_args!("r{} GET {name} {}", self.replica, response.code));
                self.pause(4).await;
                self.world.gate(self.replica, self.life).await;
                Ok(whole(response))
            }
            Reply::Watch(watch) => {
                self.world.note(format_args!("r{} WATCH {name}", self.replica));
                let frames = self.clone().told(watch).map(|line| line.map(Frame::data));
                Ok(http::Response::new(UnsyncBoxBody::new(StreamBody::new(frames))))
            }
        }
    }

    /// What a watch says, when this replica hears it.
    fn told(self, watch: Watch) -> impl Stream<Item = Result<Bytes, Error>> + Send + 'static {
        let cut = self.world.replicas[self.replica].cut.load(Ordering::Relaxed);
        futures::stream::unfold((self, watch), move |(link, mut watch)| async move {
            let line = link.hear(&mut watch, cut).await?;
            Some((Ok(line), (link, watch)))
        })
    }

    /// The next line, when this replica hears it; `None` once its watches are cut.
    async fn hear(&self, watch: &mut Watch, cut: u64) -> Option<Bytes> {
        let outside = &self.world.replicas[self.replica];
        let broken = outside.cut_now.notified();
        let next = async {
            let line = watch.next().await;
            let lag = self.world.lag_of(self.replica);
            if lag > 0 {
                tokio::time::sleep(Duration::from_millis(lag)).await;
            }
            let blind = || i64::try_from(outside.blind_until.load(Ordering::Relaxed)).unwrap_or(0);
            while blind() > 0 && self.world.time.ms() < blind() {
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
            self.world.gate(self.replica, self.life).await;
            line
        };
        tokio::pin!(broken);
        tokio::pin!(next);
        let line = match futures::future::select(broken, next).await {
            futures::future::Either::Left(_) => None,
            futures::future::Either::Right((line, _)) => line,
        };
        line.filter(|_| outside.cut.load(Ordering::Relaxed) == cut)
    }

    async fn write(self, request: Request) -> Result<http::Response<Answer>, Error> {
        let ops = status_patch(&request);
        let crash = self.crash(about(&request, ops.as_deref()));
        let fate = fate(&self.world, self.world.weather().0);
        let what = format!("{} {}", request.method, short(&request.uri));
        if self.world.is_api_down() {
            self.world.note(format_args!("r{} {what}: nobody there", self.replica));
            return Err("connection refused".into());
        }
        self.behind(ops.as_deref());
        let news = ops.as_deref().and_then(news);
        if crash == Some(false) {
            self.world.note(format_args!("r{} dies before {what}", self.replica));
            self.die().await;
        }
        self.pause(4).await;
        match fate {
            Fate::Dropped => {
                self.world.note(format_args!("r{} {what}: dropped", self.replica));
                return Err("connection reset".into());
            }
            Fate::Refused(code) => {
                self.world.note(format_args!("r{} {what}: {code} before", self.replica));
                return Ok(said(code));
            }
            Fate::Late(ms) => {
                let late = self.clone();
                tokio::spawn(async move {
                    tokio::time::sleep(Duration::from_millis(ms)).await;
                    late.arrive(&request, "late");
                });
                std::future::pending::<()>().await;
                return Err("unreachable".into());
            }
            Fate::Fine | Fate::Silent | Fate::Lost | Fate::Muddled(_) | Fate::Doubled => {}
        }
        let mut response = self.arrive(&request, "");
        if fate == Fate::Doubled {
            response = self.arrive(&request, "again");
        }
        if crash == Some(true) {
            self.world.note(format_args!("r{} dies after {what}", self.replica));
            self.die().await;
        }
        self.pause(4).await;
        self.world.gate(self.replica, self.life).await;
        match fate {
            Fate::Silent => {
                std::future::pending::<()>().await;
                Err("unreachable".into())
            }
            Fate::Lost => Err("connection reset before the reply".into()),
            Fate::Muddled(code) => Ok(said(code)),
            Fate::Fine | Fate::Doubled | Fate::Dropped | Fate::Refused(_) | Fate::Late(_) => {
                if let Some((uid, seq)) = news.filter(|_| response.code < 300) {
                    self.hears(uid, seq);
                }
                Ok(whole(response))
            }
        }
    }

    fn arrive(&self, request: &Request, how: &str) -> Response {
        let evicts = request.method == http::Method::POST && request.uri.contains("/eviction");
        // One that is late may have been right when it was sent.
        let wrong = if evicts && how != "late" {
            super::managed::may_not_go(&self.world, &request.uri)
        } else {
            None
        };
        let reply = self.world.server.call(request);
        let response = match reply {
            Reply::Whole(response) => response,
            Reply::Watch(_) => {
                Response { code: 500, content_type: "text/plain", headers: Vec::new(), body: Bytes::new() }
            }
        };
        let what = short(&request.uri);
        self.world.note(format_args!("r{} {} {what} {} {how}", self.replica, request.method, response.code));
        if self.world.verbose()
            && request.uri.contains("targetlocks")
            && request.method == http::Method::PATCH
        {
            let seen: Value = serde_json::from_slice(&response.body).unwrap_or_default();
            let lock = &seen["spec"]["lock"];
            let holders: Vec<String> = lock["holders"]
                .as_array()
                .into_iter()
                .flatten()
                .map(|h| format!("{}:{}@{}", h["name"].as_str().unwrap_or_default(), h["hold"], h["seq"]))
                .collect();
            self.world.note(format_args!("     epoch {} {holders:?}", lock["epoch"]));
        }
        if let Some(why) = wrong.filter(|_| response.code < 300) {
            self.world.judge().object(format!("r{}: {why}", self.replica));
        }
        if response.code == 200 && ends_well(request) {
            self.world.succeeded(&serde_json::from_slice(&response.body).unwrap_or_default());
        }
        if response.code == 200 && how.is_empty() && request.uri.ends_with("cacheclusters/cache/status") {
            super::managed::revised(&self.world, &serde_json::from_slice(&response.body).unwrap_or_default());
        }
        if response.code == 422 && response.body.windows(8).any(|w| w == b"\"causes\"") {
            let body = String::from_utf8_lossy(&response.body).into_owned();
            self.world
                .judge()
                .object(format!("r{}: the API server's rules refuse a write: {body}", self.replica));
        }
        response
    }

    /// Nobody sends a transition from a state that it knows to be over.
    fn behind(&self, ops: Option<&[Op<'_>]>) {
        let from: Option<i64> = ops.and_then(|o| value(o, "test", "/status/seq"));
        let (Some(uid), Some(seq)) = (ops.and_then(uid), from) else { return };
        let told =
            self.world.replicas[self.replica].told.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let known = told.get(&uid).copied().unwrap_or(0);
        drop(told);
        if seq < known {
            let why = format!("r{} writes from seq {seq} although it was told of {known}", self.replica);
            self.world.judge().object(why);
        }
    }

    /// The replica is told that its status write stands.
    fn hears(&self, uid: String, seq: i64) {
        let mut told =
            self.world.replicas[self.replica].told.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let known = told.entry(uid).or_default();
        *known = seq.max(*known);
    }
}

impl tower::Service<http::Request<Body>> for Link {
    type Response = http::Response<Answer>;
    type Error = Error;
    type Future = BoxFuture<'static, Result<Self::Response, Error>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        self.clone().travel(request).boxed()
    }
}

/// The controller's account.
fn controller() -> User {
    User { name: ratchet::api::CONTROLLER_USER.into(), groups: Vec::new() }
}

/// The path of a call without what is the same in all.
fn short(uri: &str) -> &str {
    let path = uri.split('?').next().unwrap_or_default();
    path.strip_prefix("/apis/ratchet.dev/v1alpha1/").unwrap_or(path)
}

/// A list or a watch: nothing after the resource.
fn is_list(uri: &str) -> bool {
    let path = uri.split('?').next().unwrap_or_default();
    let mut parts: Vec<&str> = path.split('/').skip(1).collect();
    // `/api/VERSION/...` and `/apis/GROUP/VERSION/...`.
    parts.drain(..if parts[0] == "api" { 2 } else { 3 }.min(parts.len()));
    parts.len() == 1 || (parts[0] == "namespaces" && parts.len() == 3)
}

fn whole(response: Response) -> http::Response<Answer> {
    let mut out = http::Response::new(full(response.body));
    *out.status_mut() = http::StatusCode::from_u16(response.code).unwrap_or_default();
    out
}

/// What a server in trouble, or a proxy before it, says.
fn said(code: u16) -> http::Response<Answer> {
    let body = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "code": code,
        "message": "bad weather", "reason": "Weather"});
    let mut out = http::Response::new(full(Bytes::from(body.to_string())));
    *out.status_mut() = http::StatusCode::from_u16(code).unwrap_or_default();
    out
}
