//! What a reply of the API server means for a write. Four replies look alike (a failed `test`, a rule, an admission
//! policy, a conflict), and some say nothing: a time-out may have committed. Shapes measured on 1.36.

use kube::Error;
use std::time::Duration;

/// What became of a write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// A precondition did not hold: somebody else wrote, or an earlier write of our own landed. A read decides.
    Lost,
    /// It may have committed. A read decides.
    Ambiguous(String),
    /// A CEL rule or the schema refused it: a bug, or an edit past the rules.
    Rule(String),
    /// An admission policy or RBAC refused it: configuration.
    Denied(String),
    /// Nothing can be created in the namespace any more.
    Terminating,
    /// The object is gone.
    Gone,
    /// The resourceVersion or the name is taken.
    Conflict,
    /// Not admitted; try later.
    Busy(Option<Duration>),
    /// The object is too large.
    TooLarge(String),
}

impl Reply {
    /// Name for the metrics.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Lost => "lost",
            Self::Ambiguous(_) => "ambiguous",
            Self::Rule(_) => "rule",
            Self::Denied(_) => "denied",
            Self::Terminating => "terminating",
            Self::Gone => "gone",
            Self::Conflict => "conflict",
            Self::Busy(_) => "busy",
            Self::TooLarge(_) => "too_large",
        }
    }
}

/// Classifies an error of a write; `None` for the time-out that the caller itself set.
#[must_use]
pub fn classify(error: Option<&Error>) -> Reply {
    let status = match error {
        Some(Error::Api(status)) => status,
        Some(other) => return Reply::Ambiguous(other.to_string()),
        None => return Reply::Ambiguous("no reply in time".into()),
    };
    let causes = status.details.as_ref().map_or(&[][..], |d| d.causes.as_slice());
    let retry_after = || {
        let seconds = status.details.as_ref().map_or(0, |d| d.retry_after_seconds);
        (seconds > 0).then(|| Duration::from_secs(u64::from(seconds)))
    };
    let message = || status.message.clone();
    let too_large = || {
        let m = status.message.to_ascii_lowercase();
        m.contains("too large") || m.contains("resourceexhausted") || m.contains("larger than max")
    };
    match status.code {
        422 if message().contains("ValidatingAdmissionPolicy") => Reply::Denied(message()),
        422 if causes.is_empty() => Reply::Lost,
        422 => Reply::Rule(message()),
        403 if causes.iter().any(|c| c.reason == "NamespaceTerminating") => Reply::Terminating,
        400 | 401 | 403 | 405 | 415 => Reply::Denied(message()),
        404 | 410 => Reply::Gone,
        409 => Reply::Conflict,
        413 => Reply::TooLarge(message()),
        429 => Reply::Busy(retry_after()),
        500 if too_large() => Reply::TooLarge(message()),
        _ => Reply::Ambiguous(message()),
    }
}

#[cfg(test)]
#[path = "reply_tests.rs"]
mod tests;
