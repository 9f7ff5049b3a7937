//! ```text
//! Master (one address) -- slot: Session { channel, login? }
//!    lane()     connects if needed, logs in if needed -> Lane, a cheap handle for one call
//!    give_up()  marks a session that failed              log_out()  marks a login that was refused
//! ```
//! One connection a master, made when it is first needed. With SASL SIMPLE a login is a stream
//! that stays open as long as the login is used; closing it ends the login at once (2.9.6).
//! Waiters share one attempt to connect: a failure that is younger than the question answers it.

use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures::StreamExt;
use http::uri::PathAndQuery;
use tokio::sync::Mutex;
use tokio::task::AbortHandle;
use tokio::time::{Instant, timeout_at};
use tonic::client::Grpc;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status};
use tonic_prost::ProstCodec;

use super::Security;
use super::error::{AlluxioError, Cause, ConnectFailure};
use super::proto::grpc::sasl::{SaslMessage, SaslMessageType};
use super::verdict::chain;

const AUTHENTICATE: &str = "/alluxio.grpc.sasl.SaslAuthenticationService/authenticate";
/// SASL PLAIN, which is what Alluxio calls SIMPLE.
const SCHEME_SIMPLE: i32 = 1;
/// Any password that is not empty is accepted by SIMPLE.
const PASSWORD: &str = "noPassword";
/// Finds peers that vanished; the engine refuses frequent pings of HTTP/2, so TCP does it.
const TCP_KEEPALIVE: Duration = Duration::from_secs(30);

/// A handle for one call on one connection.
#[derive(Clone)]
pub(super) struct Lane {
    channel: Channel,
    broken: Arc<AtomicBool>,
    login: Option<Arc<Login>>,
}

/// Why there is no lane. In both cases the call itself was not sent.
pub(super) enum NoLane {
    NotSent(Cause),
    LoginFailed(Status),
}

/// One master's address with its connection, if there is one.
pub(super) struct Master {
    pub address: String,
    endpoint: Endpoint,
    connect_timeout: Duration,
    slot: Mutex<Slot>,
}

#[derive(Default)]
struct Slot {
    session: Option<Session>,
    last_failure: Option<(Instant, Cause)>,
}

struct Session {
    channel: Channel,
    /// Set by a call that failed on it; the next call connects anew.
    broken: Arc<AtomicBool>,
    login: Option<Arc<Login>>,
}

/// A SASL login: its id for the header, and the task that keeps its stream open.
struct Login {
    channel_id: MetadataValue<Ascii>,
    /// Set when the master did not know it any more; the next call logs in anew.
    refused: AtomicBool,
    keeper: AbortHandle,
}

impl Drop for Login {
    fn drop(&mut self) {
        self.keeper.abort();
    }
}

impl Lane {
    pub(super) fn grpc(&self, max_reply_bytes: usize) -> Grpc<Channel> {
        Grpc::new(self.channel.clone()).max_decoding_message_size(max_reply_bytes)
    }

    /// A request that carries the login, if there is one.
    pub(super) fn request<Q>(&self, message: Q) -> Request<Q> {
        let mut request = Request::new(message);
        if let Some(login) = &self.login {
            let id = login.channel_id.clone();
            request.metadata_mut().insert("channel-id", id);
        }
        request
    }

    /// Gives up the connection: it failed, or nothing came.
    pub(super) fn give_up(&self) {
        self.broken.store(true, Ordering::Relaxed);
    }

    /// Gives up the login: the master did not know it.
    pub(super) fn log_out(&self) {
        if let Some(login) = &self.login {
            login.refused.store(true, Ordering::Relaxed);
        }
    }
}

impl Master {
    /// # Errors
    /// `Invalid` if `address` is not `host:port`.
    pub(super) fn new(address: &str, connect_timeout: Duration) -> Result<Self, AlluxioError> {
        let invalid = || AlluxioError::invalid(&format!("not a host:port address: {address}"));
        let authority: http::uri::Authority = address.parse().map_err(|_| invalid())?;
        if authority.port_u16().is_none() || address.contains('@') {
            return Err(invalid());
        }
        let endpoint = Endpoint::from_shared(format!("http://{address}"))
            .map_err(|_| invalid())?
            .connect_timeout(connect_timeout)
            .tcp_nodelay(true)
            .tcp_keepalive(Some(TCP_KEEPALIVE));
        Ok(Self { address: address.to_owned(), endpoint, connect_timeout, slot: Mutex::default() })
    }

    /// A lane on the current session, which is made if there is none. With `login`, it is
    /// authenticated as `security` says.
    pub(super) async fn lane(
        &self,
        security: &Security,
        login: bool,
        deadline: Instant,
    ) -> Result<Lane, NoLane> {
        let asked = Instant::now();
        let mut slot = timeout_at(deadline, self.slot.lock())
            .await
            .map_err(|_| NoLane::NotSent(Arc::new(ConnectFailure::TimedOut)))?;
        if let Some((at, cause)) = &slot.last_failure
            && *at >= asked
        {
            return Err(NoLane::NotSent(cause.clone()));
        }
        let session = match slot.session.take().filter(Session::is_usable) {
            Some(session) => Ok(session),
            None => self.connect(deadline).await,
        };
        let user = match security {
            Security::Simple { user } if login => Some(user.as_str()),
            Security::Simple { .. } | Security::NoSasl => None,
        };
        let (session, failure) = match (session, user) {
            (Ok(session), Some(user)) => self.with_login(session, user, deadline).await,
            (Ok(session), None) => (Some(session), None),
            (Err(cause), _) => (None, Some(NoLane::NotSent(cause))),
        };
        if let Some(NoLane::NotSent(cause)) = &failure {
            slot.last_failure = Some((Instant::now(), cause.clone()));
        }
        let lane = session.as_ref().map(Session::lane);
        slot.session = session;
        match (lane, failure) {
            (Some(lane), None) => Ok(lane),
            (_, Some(failure)) => Err(failure),
            (None, None) => Err(NoLane::NotSent(Arc::new(ConnectFailure::TimedOut))),
        }
    }

    /// The limit for one step on the way to a lane.
    fn limit(&self, deadline: Instant) -> Instant {
        deadline.min(Instant::now() + self.connect_timeout)
    }

    async fn connect(&self, deadline: Instant) -> Result<Session, Cause> {
        match timeout_at(self.limit(deadline), self.endpoint.connect()).await {
            Ok(Ok(channel)) => Ok(Session { channel, broken: Arc::default(), login: None }),
            Ok(Err(error)) => Err(Arc::new(ConnectFailure::Refused(chain(&error)))),
            Err(_) => Err(Arc::new(ConnectFailure::TimedOut)),
        }
    }

    /// The session with a login that is not known to be refused. A session on which the login
    /// hangs or breaks is dropped; one on which it is refused can be kept.
    async fn with_login(
        &self,
        mut session: Session,
        user: &str,
        deadline: Instant,
    ) -> (Option<Session>, Option<NoLane>) {
        if session.login.as_ref().is_some_and(|login| !login.refused.load(Ordering::Relaxed)) {
            return (Some(session), None);
        }
        session.login = None;
        match timeout_at(self.limit(deadline), log_in(&session.channel, user)).await {
            Ok(Ok(login)) => {
                session.login = Some(Arc::new(login));
                (Some(session), None)
            }
            Ok(Err(status)) => {
                let kept = status.source().is_none().then_some(session);
                (kept, Some(NoLane::LoginFailed(status)))
            }
            Err(_) => (None, Some(NoLane::NotSent(Arc::new(ConnectFailure::TimedOut)))),
        }
    }
}

impl Session {
    fn is_usable(&self) -> bool {
        !self.broken.load(Ordering::Relaxed)
    }

    fn lane(&self) -> Lane {
        Lane { channel: self.channel.clone(), broken: self.broken.clone(), login: self.login.clone() }
    }
}

/// The SIMPLE handshake: one challenge, one answer, and a stream that stays open.
async fn log_in(channel: &Channel, user: &str) -> Result<Login, Status> {
    let id = uuid::Uuid::new_v4().to_string();
    let channel_id =
        MetadataValue::try_from(id.as_str()).map_err(|_| Status::internal("login id is no header value"))?;
    let challenge = SaslMessage {
        message_type: Some(SaslMessageType::Challenge as i32),
        message: Some(format!("\0{user}\0{PASSWORD}").into_bytes()),
        client_id: Some(id),
        authentication_scheme: Some(SCHEME_SIMPLE),
        channel_ref: Some("ratchet".to_owned()),
    };
    let outbound = futures::stream::iter([challenge]).chain(futures::stream::pending());
    let mut grpc = Grpc::new(channel.clone());
    grpc.ready().await.map_err(|e| Status::from_error(e.into()))?;
    let codec = ProstCodec::<SaslMessage, SaslMessage>::default();
    let path = PathAndQuery::from_static(AUTHENTICATE);
    let reply = grpc.streaming(Request::new(outbound), path, codec).await?;
    let mut inbound = reply.into_inner();
    let answer = inbound.message().await?;
    if answer.map(|m| m.message_type()) != Some(SaslMessageType::Success) {
        return Err(Status::unauthenticated("the handshake ended without success"));
    }
    let keeper = tokio::spawn(async move { while let Ok(Some(_)) = inbound.message().await {} });
    Ok(Login { channel_id, refused: AtomicBool::new(false), keeper: keeper.abort_handle() })
}
