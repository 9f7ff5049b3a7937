//! ```text
//! call -> remembered primary -> next master -> ... -> at most once around
//!           | Ok, refusal, safe mode: stop        | not sent, standby: next
//!           | logged out: log in anew, once       | ambiguous: next if Repeatable, stop if Once
//!           | no such method: next, unless this master says that it is the primary
//! ```
//! The only place that decides where a call goes and whether it goes anywhere again. It keeps one
//! hint, the master that answered last, and no other state. Every wait has a deadline; a
//! deadline that passes after the call was sent is an ambiguous failure.

use std::future::Future;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use http::uri::PathAndQuery;
use prost::Message;
use tokio::time::{Instant, timeout, timeout_at};
use tonic::{Code, Status, Streaming};
use tonic_prost::ProstCodec;

use super::Security;
use super::calls::{self, Call, CallInfo, Effect};
use super::error::{AlluxioError, Cause};
use super::proto::grpc::version::{GetServiceVersionRequest, GetServiceVersionResponse};
use super::session::{Lane, Master, NoLane};
use super::verdict::{Verdict, judge};
use crate::engine::Secrets;

/// The largest single reply, in bytes.
const MAX_REPLY_BYTES: usize = 16 << 20;
/// The largest message of a listing, in bytes: the master puts 10,000 files into one.
const MAX_LISTING_BYTES: usize = 100 << 20;
/// The meta master's client service, as getServiceVersion numbers it.
const META_MASTER_CLIENT_SERVICE: i32 = 7;

pub(super) struct Router {
    masters: Vec<Master>,
    security: Security,
    call_timeout: Duration,
    /// For one question whether a master is the primary.
    probe_timeout: Duration,
    /// Index of the master that answered last.
    hint: AtomicUsize,
}

/// What one master's failure means for the way around.
enum Step {
    Stop(AlluxioError),
    Next(Passed),
}

/// Why a master was passed by.
enum Passed {
    NotSent(Cause),
    NotPrimary(String),
    Ambiguous(String),
}

/// A server stream whose first message was already received.
pub(super) struct Listing<R> {
    first: Option<R>,
    rest: Streaming<R>,
    begun: bool,
}

impl<R> Listing<R> {
    /// The next message; `None` at the end, after which there is none to ask for.
    ///
    /// # Errors
    /// `Unknown` if it did not come in time or the stream broke off: what was received so far is a part of the whole.
    pub(super) async fn next(&mut self, call: &CallInfo, by: Instant) -> Result<Option<R>, AlluxioError> {
        if !std::mem::replace(&mut self.begun, true) {
            return Ok(self.first.take());
        }
        timeout_at(by, self.rest.message())
            .await
            .map_err(|_| AlluxioError::unknown(call.name, "the listing did not end in time"))?
            .map_err(|status| judge(status).into_error(call.name, call.since))
    }
}

impl Router {
    /// # Errors
    /// `Invalid` without masters, or if an address is not `host:port`.
    pub(super) fn new(
        addresses: &[String],
        security: Security,
        call_timeout: Duration,
        connect_timeout: Duration,
    ) -> Result<Self, AlluxioError> {
        if addresses.is_empty() {
            return Err(AlluxioError::invalid("no master address"));
        }
        let masters = addresses.iter().map(|a| Master::new(a, connect_timeout));
        Ok(Self {
            masters: masters.collect::<Result<_, _>>()?,
            security,
            call_timeout,
            probe_timeout: connect_timeout,
            hint: AtomicUsize::new(0),
        })
    }

    pub(super) fn call_timeout(&self) -> Duration {
        self.call_timeout
    }

    /// One request, one reply, within the call timeout.
    pub(super) async fn unary<Q, R>(&self, call: &Call<Q, R>, request: Q) -> Result<R, AlluxioError>
    where
        Q: Message + Clone + Sync + 'static,
        R: Message + Default + 'static,
    {
        let (info, deadline) = (call.info, Instant::now() + self.call_timeout);
        let send = |lane: Lane| send_unary(lane, info.path, request.clone());
        self.around(info, deadline, send).await.map(|(_, reply)| reply)
    }

    /// The same for a request that carries values of Secrets: no text that comes back shows them.
    pub(super) async fn unary_hiding<Q, R>(
        &self,
        call: &Call<Q, R>,
        request: Q,
        secrets: &Secrets,
    ) -> Result<R, AlluxioError>
    where
        Q: Message + Clone + Sync + 'static,
        R: Message + Default + 'static,
    {
        let (info, deadline) = (call.info, Instant::now() + self.call_timeout);
        let send = |lane: Lane| {
            let sent = send_unary(lane, info.path, request.clone());
            async { sent.await.map_err(|status| hiding(status, secrets)) }
        };
        self.around(info, deadline, send).await.map(|(_, reply)| reply)
    }

    /// One request and a stream of replies; the first reply must come before `deadline`.
    pub(super) async fn listing<Q, R>(
        &self,
        call: &Call<Q, R>,
        request: Q,
        deadline: Instant,
    ) -> Result<Listing<R>, AlluxioError>
    where
        Q: Message + Clone + Sync + 'static,
        R: Message + Default + 'static,
    {
        let info = call.info;
        let send = |lane: Lane| open_listing(lane, info.path, request.clone());
        self.around(info, deadline, send).await.map(|(_, listing)| listing)
    }

    /// The address of the serving primary, asked of the masters themselves.
    pub(super) async fn primary(&self) -> Result<String, AlluxioError> {
        let info = calls::GET_SERVICE_VERSION.info;
        let deadline = Instant::now() + self.call_timeout;
        let send = |lane| async {
            let silent = |_| Status::deadline_exceeded("no answer to the probe");
            timeout(self.probe_timeout, probe(lane)).await.map_err(silent)?
        };
        let (index, ()) = self.around(info, deadline, send).await?;
        Ok(self.masters[index].address.clone())
    }

    async fn around<T, F, Fut>(
        &self,
        call: CallInfo,
        deadline: Instant,
        send: F,
    ) -> Result<(usize, T), AlluxioError>
    where
        F: Fn(Lane) -> Fut,
        Fut: Future<Output = Result<T, Status>>,
    {
        let first = self.hint.load(Ordering::Relaxed);
        let mut passed = Vec::new();
        for index in (0..self.masters.len()).map(|n| (first + n) % self.masters.len()) {
            match self.ask(&self.masters[index], call, deadline, &send).await {
                Ok(reply) => {
                    self.prefer(index);
                    return Ok((index, reply));
                }
                Err(Step::Stop(error)) => {
                    // After silence the next call begins with another master.
                    let next = if error.is_ambiguous() { index + 1 } else { index };
                    self.prefer(next % self.masters.len());
                    return Err(error);
                }
                Err(Step::Next(reason)) => {
                    let address = self.masters[index].address.as_str();
                    tracing::debug!(address, call = call.name, reason = reason.text(), "passed by");
                    passed.push((address, reason));
                    if Instant::now() >= deadline {
                        self.prefer((index + 1) % self.masters.len());
                        break;
                    }
                }
            }
        }
        Err(summary(call.name, passed))
    }

    fn prefer(&self, index: usize) {
        let before = self.hint.swap(index, Ordering::Relaxed);
        if before != index {
            let address = self.masters[index].address.as_str();
            tracing::debug!(address, "alluxio calls now begin with this master");
        }
    }

    /// One master's answer: sent once, and a second time only after an answer which proves that
    /// the first was not executed.
    async fn ask<T, F, Fut>(
        &self,
        master: &Master,
        call: CallInfo,
        deadline: Instant,
        send: &F,
    ) -> Result<T, Step>
    where
        F: Fn(Lane) -> Fut,
        Fut: Future<Output = Result<T, Status>>,
    {
        let (mut logged_in_anew, mut confirmed_primary) = (false, false);
        loop {
            let lane = self.lane(master, call, deadline).await?;
            let verdict = match timeout_at(deadline, send(lane.clone())).await {
                Ok(Ok(reply)) => return Ok(reply),
                Ok(Err(status)) => judge(status),
                Err(_) => Verdict::Ambiguous("no answer within the time limit".to_owned()),
            };
            match verdict {
                Verdict::NotSent(cause) => {
                    lane.give_up();
                    return Err(Step::Next(Passed::NotSent(cause)));
                }
                Verdict::Ambiguous(text) => {
                    lane.give_up();
                    return Err(ambiguous(call, text, deadline));
                }
                Verdict::NotPrimary(text) => return Err(Step::Next(Passed::NotPrimary(text))),
                Verdict::LoggedOut(_) if !logged_in_anew && call.authenticated => {
                    logged_in_anew = true;
                    lane.log_out();
                }
                Verdict::NoSuchMethod if !confirmed_primary => {
                    if !is_primary(lane, deadline).await {
                        let text = "no such call; not the primary".to_owned();
                        return Err(Step::Next(Passed::NotPrimary(text)));
                    }
                    confirmed_primary = true;
                }
                verdict @ (Verdict::LoggedOut(_)
                | Verdict::NoSuchMethod
                | Verdict::SafeMode(_)
                | Verdict::Final(_)) => {
                    return Err(Step::Stop(verdict.into_error(call.name, call.since)));
                }
            }
        }
    }

    async fn lane(&self, master: &Master, call: CallInfo, deadline: Instant) -> Result<Lane, Step> {
        let status = match master.lane(&self.security, call.authenticated, deadline).await {
            Ok(lane) => return Ok(lane),
            Err(NoLane::NotSent(cause)) => return Err(Step::Next(Passed::NotSent(cause))),
            Err(NoLane::LoginFailed(status)) => status,
        };
        // The login failed, so the call was not sent, whatever the login's failure means.
        match judge(status) {
            Verdict::Ambiguous(text) | Verdict::NotPrimary(text) | Verdict::SafeMode(text) => {
                Err(Step::Next(Passed::NotPrimary(format!("login failed: {text}"))))
            }
            Verdict::NotSent(cause) => Err(Step::Next(Passed::NotSent(cause))),
            Verdict::NoSuchMethod => Err(self.no_login_service(master, deadline).await),
            verdict @ (Verdict::LoggedOut(_) | Verdict::Final(_)) => {
                Err(Step::Stop(verdict.into_error(call.name, call.since)))
            }
        }
    }

    /// A master without a login service is a standby, is starting, or runs without SASL.
    async fn no_login_service(&self, master: &Master, deadline: Instant) -> Step {
        if let Ok(lane) = master.lane(&Security::NoSasl, false, deadline).await
            && is_primary(lane, deadline).await
        {
            let text = "the master has no login service: it runs with NOSASL";
            return Step::Stop(AlluxioError::refused(Code::Unauthenticated, text));
        }
        Step::Next(Passed::NotPrimary("no login service".to_owned()))
    }
}

impl Passed {
    fn text(&self) -> String {
        match self {
            Self::NotSent(cause) => cause.to_string(),
            Self::NotPrimary(text) | Self::Ambiguous(text) => text.clone(),
        }
    }
}

fn ambiguous(call: CallInfo, text: String, deadline: Instant) -> Step {
    let out_of_time = Instant::now() >= deadline;
    match call.effect {
        Effect::Repeatable if !out_of_time => Step::Next(Passed::Ambiguous(text)),
        Effect::Repeatable | Effect::Once => Step::Stop(AlluxioError::unknown(call.name, &text)),
    }
}

/// A failure of the connection tells nothing of the request; what the master says may repeat it.
fn hiding(status: Status, secrets: &Secrets) -> Status {
    if std::error::Error::source(&status).is_some() {
        return status;
    }
    Status::new(status.code(), secrets.hide(status.message()))
}

/// The one error for a whole way around.
fn summary(call: &'static str, passed: Vec<(&str, Passed)>) -> AlluxioError {
    let texts: Vec<String> =
        passed.iter().map(|(address, reason)| format!("{address}: {}", reason.text())).collect();
    let text = texts.join("; ");
    if passed.iter().any(|(_, reason)| matches!(reason, Passed::Ambiguous(_))) {
        return AlluxioError::unknown(call, &text);
    }
    let addresses: Vec<&str> = passed.iter().map(|(address, _)| *address).collect();
    let mut causes = passed.into_iter().map(|(_, reason)| match reason {
        Passed::NotSent(cause) => Some(cause),
        Passed::NotPrimary(_) | Passed::Ambiguous(_) => None,
    });
    let first = causes.next().flatten();
    match first {
        Some(cause) if causes.all(|cause| cause.is_some()) => {
            AlluxioError::unreachable(&addresses.join(","), cause)
        }
        _ => AlluxioError::not_ready(&text),
    }
}

pub(super) async fn send_unary<Q, R>(lane: Lane, path: &'static str, message: Q) -> Result<R, Status>
where
    Q: Message + Sync + 'static,
    R: Message + Default + 'static,
{
    let mut grpc = lane.grpc(MAX_REPLY_BYTES);
    let request = lane.request(message);
    grpc.ready().await.map_err(|e| Status::from_error(e.into()))?;
    let codec = ProstCodec::<Q, R>::default();
    let path = PathAndQuery::from_static(path);
    Ok(grpc.unary(request, path, codec).await?.into_inner())
}

async fn open_listing<Q, R>(lane: Lane, path: &'static str, message: Q) -> Result<Listing<R>, Status>
where
    Q: Message + Sync + 'static,
    R: Message + Default + 'static,
{
    let mut grpc = lane.grpc(MAX_LISTING_BYTES);
    let request = lane.request(message);
    grpc.ready().await.map_err(|e| Status::from_error(e.into()))?;
    let codec = ProstCodec::<Q, R>::default();
    let path = PathAndQuery::from_static(path);
    let mut rest = grpc.server_streaming(request, path, codec).await?.into_inner();
    let first = rest.message().await?;
    Ok(Listing { first, rest, begun: false })
}

/// Succeeds on a serving primary only (2.9.4 and 2.9.6), without a login.
async fn probe(lane: Lane) -> Result<(), Status> {
    let service_type = Some(META_MASTER_CLIENT_SERVICE);
    let request = GetServiceVersionRequest { service_type };
    let path = calls::GET_SERVICE_VERSION.info.path;
    send_unary::<_, GetServiceVersionResponse>(lane, path, request).await.map(|_| ())
}

async fn is_primary(lane: Lane, deadline: Instant) -> bool {
    matches!(timeout_at(deadline, probe(lane)).await, Ok(Ok(())))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn not_sent() -> Passed {
        Passed::NotSent(std::sync::Arc::new(std::io::Error::other("connection refused")))
    }

    #[test]
    fn a_whole_way_around_is_unreachable_not_ready_or_unknown() {
        let standby = || Passed::NotPrimary("standby".to_owned());
        let silent = || Passed::Ambiguous("reset".to_owned());
        let category = |passed| summary("Call", passed).category();
        assert_eq!(category(vec![("a:1", not_sent()), ("b:1", not_sent())]), "unreachable");
        assert_eq!(category(vec![("a:1", not_sent()), ("b:1", standby())]), "not_ready");
        assert_eq!(category(vec![("a:1", standby()), ("b:1", not_sent())]), "not_ready");
        assert_eq!(category(vec![("a:1", standby()), ("b:1", silent())]), "unknown");
    }

    #[test]
    fn after_an_ambiguous_failure_only_a_repeatable_call_goes_on() {
        let later = Instant::now() + Duration::from_secs(60);
        let step = |call: CallInfo| ambiguous(call, "reset".to_owned(), later);
        assert!(matches!(step(calls::GET_STATUS.info), Step::Next(_)));
        assert!(matches!(step(calls::SUBMIT_JOB.info), Step::Stop(error) if error.is_ambiguous()));
        let over = ambiguous(calls::GET_STATUS.info, String::new(), Instant::now());
        assert!(matches!(over, Step::Stop(error) if error.is_ambiguous()));
    }

    #[test]
    fn addresses_need_a_host_and_a_port() {
        let limit = Duration::from_secs(1);
        let make = |address: &str| Router::new(&[address.to_owned()], Security::NoSasl, limit, limit);
        assert!(make("alluxio-master-0.alluxio:19998").is_ok() && make("[::1]:19998").is_ok());
        for wrong in ["", "host", "http://host:1", "u:p@host:1", "host:port"] {
            assert!(matches!(make(wrong), Err(AlluxioError::Invalid { .. })), "{wrong}");
        }
        assert!(Router::new(&[], Security::NoSasl, limit, limit).is_err());
    }
}
