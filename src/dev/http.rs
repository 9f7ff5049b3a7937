//! HTTPS on loopback: a request with a token becomes a call, its reply a body or a stream that lasts as long as its
//! client. `/healthz` and its like need no token; everything else does.

use super::users::Users;
use super::{admit, proto, reviews};
use ::http::{HeaderMap, Method, Request, Response, StatusCode, header};
use bytes::Bytes;
use futures::StreamExt as _;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited, StreamBody};
use hyper::body::{Body, Frame};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use ratchet_simulator::api::{self, Reply, Server, User};
use serde_json::{Value, json};
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

/// What a request may carry, as in a real API server.
const LIMIT: usize = 3 << 20;
/// How long a client may take for its hello.
const HELLO: Duration = Duration::from_secs(10);

/// The body of an answer.
pub type Answer = UnsyncBoxBody<Bytes, Infallible>;

/// Serves until it is dropped; its connections end with it.
pub async fn serve(listener: TcpListener, tls: TlsAcceptor, server: Server, users: Arc<Users>) {
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::debug!(%error, "a connection could not be accepted");
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        let (tls, server, users) = (tls.clone(), server.clone(), Arc::clone(&users));
        connections.spawn(async move {
            let _ = stream.set_nodelay(true);
            let Ok(Ok(stream)) = tokio::time::timeout(HELLO, tls.accept(stream)).await else { return };
            let service = service_fn(move |request| {
                let (server, users) = (server.clone(), Arc::clone(&users));
                async move { Ok::<_, Infallible>(authenticated(&server, &users, request).await) }
            });
            let mut http = http1::Builder::new();
            http.timer(TokioTimer::new());
            if let Err(error) = http.serve_connection(TokioIo::new(stream), service).await {
                tracing::debug!(%error, "a connection ended");
            }
        });
    }
}

async fn authenticated<B>(server: &Server, users: &Users, request: Request<B>) -> Response<Answer>
where
    B: Body<Data = Bytes>,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let path = request.uri().path();
    if matches!(path, "/healthz" | "/livez" | "/readyz") {
        return whole(200, "text/plain", "ok");
    }
    match text(request.headers(), &header::AUTHORIZATION).and_then(|a| users.of(a)) {
        Some(user) => answer(server, user, request).await,
        None => failure(401, "Unauthorized", "Unauthorized: use the kubeconfig in the data directory"),
    }
}

/// Answers a request of a known user.
pub async fn answer<B>(server: &Server, user: User, request: Request<B>) -> Response<Answer>
where
    B: Body<Data = Bytes>,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let (head, body) = request.into_parts();
    let user = impersonated(user, &head.headers);
    let body = match Limited::new(body, LIMIT).collect().await {
        Ok(body) => body.to_bytes(),
        Err(error) if error.is::<LengthLimitError>() => {
            return failure(413, "RequestEntityTooLarge", "the request is larger than 3 MiB");
        }
        Err(error) => return failure(400, "BadRequest", &format!("the body cannot be read: {error}")),
    };
    if head.headers.contains_key(header::UPGRADE) {
        return failure(
            501,
            "NotImplemented",
            "not in dev: exec, attach and port-forward; there are no containers",
        );
    }
    let (content_type, body) = match readable(&head.headers, body) {
        Ok(readable) => readable,
        Err(why) => return failure(415, "UnsupportedMediaType", &why),
    };
    if let Err(why) = admit::served(head.uri.path(), &content_type) {
        return failure(501, "NotImplemented", &why);
    }
    if head.method == Method::POST && reviews::is(head.uri.path()) {
        return match reviews::answer(head.uri.path(), &body, &user) {
            Ok(review) => whole(201, "application/json", review.to_string()),
            Err(why) => failure(400, "BadRequest", &why),
        };
    }
    let request = api::Request {
        method: head.method,
        uri: head.uri.path_and_query().map_or_else(|| head.uri.path().to_owned(), ToString::to_string),
        content_type,
        accept: text(&head.headers, &header::ACCEPT).unwrap_or_default().to_owned(),
        body,
        user,
    };
    reply(server.call(&request))
}

fn reply(reply: Reply) -> Response<Answer> {
    match reply {
        Reply::Whole(w) => {
            let mut response = whole(w.code, w.content_type, w.body);
            for (name, value) in w.headers {
                if let Ok(value) = value.parse() {
                    response.headers_mut().append(name, value);
                }
            }
            response
        }
        Reply::Watch(watch) => {
            let frames = watch.map(|line| Ok(Frame::data(line)));
            let mut response = Response::new(StreamBody::new(frames).boxed_unsync());
            let json = header::HeaderValue::from_static("application/json");
            response.headers_mut().insert(header::CONTENT_TYPE, json);
            response
        }
    }
}

/// The body as JSON or YAML, with its type.
fn readable(headers: &HeaderMap, body: Bytes) -> Result<(String, Bytes), String> {
    let content_type = text(headers, &header::CONTENT_TYPE).unwrap_or("application/json");
    if content_type.starts_with(proto::CONTENT_TYPE) && !body.is_empty() {
        return Ok(("application/json".into(), proto::to_json(&body)?.to_string().into()));
    }
    Ok((content_type.to_owned(), body))
}

/// `kubectl --as`: whoever is an administrator may be anybody.
fn impersonated(user: User, headers: &HeaderMap) -> User {
    let Some(name) = headers.get("impersonate-user").and_then(|v| v.to_str().ok()) else { return user };
    if !user.groups.iter().any(|g| g == "system:masters") {
        return user;
    }
    let asked = headers.get_all("impersonate-group").iter().filter_map(|v| v.to_str().ok());
    let groups = asked.chain(["system:authenticated"]).map(str::to_owned).collect();
    User { name: name.to_owned(), groups }
}

fn text<'a>(headers: &'a HeaderMap, name: &header::HeaderName) -> Option<&'a str> {
    headers.get(name).and_then(|v| v.to_str().ok())
}

fn whole(code: u16, content_type: &'static str, body: impl Into<Bytes>) -> Response<Answer> {
    let mut response = Response::new(Full::new(body.into()).boxed_unsync());
    *response.status_mut() = StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    response.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static(content_type));
    response
}

fn failure(code: u16, reason: &str, message: &str) -> Response<Answer> {
    let status: Value = json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "message": message, "reason": reason, "code": code,
    });
    whole(code, "application/json", status.to_string())
}
