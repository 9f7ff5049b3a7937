//! ```text
//! what happened                        what the caller may do
//! Unreachable, NotReady                nothing was executed: try later
//! Refused, NotFound, Unsupported,      nothing was executed: trying again is useless
//! Invalid
//! Unknown                              it may or may not have been executed: look, then decide
//! ```
//! Every failure of this client is one of these. The texts are redacted and at most 300
//! characters long, so that they can be put into a status or an event as they are.
//! There is no variant for "please retry": that is a decision of the caller.

use std::error::Error;
use std::sync::Arc;

use super::redact::{redact, shorten};

/// The engine's own code for a refusal.
pub use tonic::Code;

/// The cause of a failure to connect, shared because several calls may wait for one attempt.
pub type Cause = Arc<dyn Error + Send + Sync>;

/// Why there is no connection to a master.
#[derive(Debug, thiserror::Error)]
pub(super) enum ConnectFailure {
    #[error("not connected within the time limit")]
    TimedOut,
    /// With the texts of all causes, redacted.
    #[error("not connected: {0}")]
    Refused(String),
}

/// Why a call gave no result.
#[derive(Debug, Clone, thiserror::Error)]
pub enum AlluxioError {
    /// No connection came about, so nothing was sent.
    #[error("alluxio is unreachable at {addresses}")]
    Unreachable {
        /// The addresses that were tried, separated by commas.
        addresses: String,
        /// Why the first of them was not reached.
        #[source]
        source: Cause,
    },
    /// A master answered, but none is serving: no primary, or safe mode. Nothing was executed.
    #[error("alluxio is not ready: {reason}")]
    NotReady {
        /// What each master said.
        reason: String,
    },
    /// The engine said no. Nothing was executed.
    #[error("alluxio refused ({code:?}): {message}")]
    Refused {
        /// The engine's code.
        code: Code,
        /// Redacted.
        message: String,
    },
    /// The path, job or task is not known to the engine.
    #[error("not found in alluxio: {what}")]
    NotFound {
        /// The engine's words, redacted.
        what: String,
    },
    /// The serving master has no such call.
    #[error("alluxio has no call {call} before {since}")]
    Unsupported {
        /// The method that is missing.
        call: &'static str,
        /// The first release that has the call.
        since: &'static str,
    },
    /// The call may have been executed: deadline, broken connection, or an answer that proves nothing.
    #[error("outcome of {call} is unknown: {detail}")]
    Unknown {
        /// The method that was called.
        call: &'static str,
        /// Redacted.
        detail: String,
    },
    /// The arguments or the configuration are wrong; nothing was sent.
    #[error("invalid request: {detail}")]
    Invalid {
        /// What is wrong.
        detail: String,
    },
}

impl AlluxioError {
    /// True if the call may have been executed, so that a mutating call must not be
    /// sent again before its effect was looked for.
    pub const fn is_ambiguous(&self) -> bool {
        matches!(self, Self::Unknown { .. })
    }

    /// A fixed lower-case word for metrics.
    pub const fn category(&self) -> &'static str {
        match self {
            Self::Unreachable { .. } => "unreachable",
            Self::NotReady { .. } => "not_ready",
            Self::Refused { .. } => "refused",
            Self::NotFound { .. } => "not_found",
            Self::Unsupported { .. } => "unsupported",
            Self::Unknown { .. } => "unknown",
            Self::Invalid { .. } => "invalid",
        }
    }

    pub(super) fn unreachable(addresses: &str, source: Cause) -> Self {
        let addresses = shorten(addresses);
        Self::Unreachable { addresses, source }
    }

    pub(super) fn not_ready(reason: &str) -> Self {
        let reason = redact(reason);
        Self::NotReady { reason }
    }

    pub(super) fn refused(code: Code, message: &str) -> Self {
        let message = redact(message);
        Self::Refused { code, message }
    }

    pub(super) fn unknown(call: &'static str, detail: &str) -> Self {
        let detail = redact(detail);
        Self::Unknown { call, detail }
    }

    pub(super) fn invalid(detail: &str) -> Self {
        let detail = redact(detail);
        Self::Invalid { detail }
    }
}
