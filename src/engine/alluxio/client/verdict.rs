//! ```text
//! Status --judge--> NotSent | NotPrimary | SafeMode | LoggedOut | NoSuchMethod | Final | Ambiguous
//! ```
//! What a failed call proves, decided in one pure function. The engine's codes say little
//! (mount and free answer UNKNOWN for a plain refusal, a standby answers UNIMPLEMENTED), so the
//! text decides where the code does not, and whatever is not recognised counts as ambiguous.

use std::error::Error;
use std::sync::Arc;

use tonic::{Code, ConnectError, Status};

use super::error::{AlluxioError, Cause, ConnectFailure};
use super::redact::redact;

/// What a failure proves about the call.
#[derive(Debug)]
pub(super) enum Verdict {
    /// The connection did not come about.
    NotSent(Cause),
    /// A standby, or a master that is about to become one; not executed.
    NotPrimary(String),
    /// The primary waits for its workers; not executed.
    SafeMode(String),
    /// The login is missing or was forgotten; not executed.
    LoggedOut(String),
    /// A standby, a starting master, or a release without this call; not executed.
    NoSuchMethod,
    /// An answer that no other master and no repetition would change.
    Final(AlluxioError),
    /// It may have been executed.
    Ambiguous(String),
}

/// Texts that come with UNKNOWN or INTERNAL and are plain refusals (2.9.6).
const REFUSALS: [&str; 13] = [
    "ackup in progress",
    "which is pinned",
    "not persisted",
    "not empty",
    "does not exist",
    "already exists",
    "is a prefix of",
    "shadows an existing path",
    "is invalid",
    "No Under File System Factory found",
    "fail to parse job request",
    "bandwidth should be greater than 0",
    "Invalid property key",
];

/// Decides what `status` proves.
pub(super) fn judge(status: Status) -> Verdict {
    if let Some(source) = status.source() {
        let text = chain(source);
        if has_connect_error(source) {
            return Verdict::NotSent(Arc::new(ConnectFailure::Refused(text)));
        }
        return Verdict::Ambiguous(text);
    }
    let message = status.message();
    match status.code() {
        Code::Unimplemented => Verdict::NoSuchMethod,
        Code::Unauthenticated => Verdict::LoggedOut(redact(message)),
        Code::Unavailable if message.contains("safe mode") => Verdict::SafeMode(redact(message)),
        Code::Unavailable if message.contains("standby master") => Verdict::NotPrimary(redact(message)),
        Code::NotFound if is_missing_service(message) => Verdict::NotPrimary(redact(message)),
        Code::NotFound => Verdict::Final(AlluxioError::NotFound { what: redact(message) }),
        code @ (Code::InvalidArgument
        | Code::PermissionDenied
        | Code::FailedPrecondition
        | Code::ResourceExhausted
        | Code::AlreadyExists
        | Code::OutOfRange) => Verdict::Final(AlluxioError::refused(code, message)),
        code @ (Code::Unknown | Code::Internal) if REFUSALS.iter().any(|text| message.contains(text)) => {
            Verdict::Final(AlluxioError::refused(code, message))
        }
        code @ (Code::Ok
        | Code::Cancelled
        | Code::Unknown
        | Code::DeadlineExceeded
        | Code::Aborted
        | Code::Internal
        | Code::Unavailable
        | Code::DataLoss) => Verdict::Ambiguous(redact(&format!("{code:?}: {message}"))),
    }
}

impl Verdict {
    /// The error of a call that will not be tried elsewhere.
    pub(super) fn into_error(self, call: &'static str, since: &'static str) -> AlluxioError {
        match self {
            Self::NotSent(source) => AlluxioError::unreachable("the master", source),
            Self::NotPrimary(text) | Self::SafeMode(text) => AlluxioError::not_ready(&text),
            Self::LoggedOut(text) => AlluxioError::refused(Code::Unauthenticated, &text),
            Self::NoSuchMethod => AlluxioError::Unsupported { call, since },
            Self::Final(error) => error,
            Self::Ambiguous(text) => AlluxioError::unknown(call, &text),
        }
    }
}

/// What getServiceVersion says while a master becomes the primary.
fn is_missing_service(message: &str) -> bool {
    message.starts_with("Service ") && message.ends_with("_SERVICE is not found.")
}

fn sources<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |&error| error.source())
}

fn has_connect_error(error: &(dyn Error + 'static)) -> bool {
    sources(error).any(|error| error.is::<ConnectError>())
}

/// The texts of an error and its causes in one line.
pub(super) fn chain(error: &(dyn Error + 'static)) -> String {
    let mut texts: Vec<String> = sources(error).map(ToString::to_string).collect();
    texts.dedup();
    redact(&texts.join(": "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(code: Code, text: &str) -> AlluxioError {
        judge(Status::new(code, text)).into_error("Call", "2.9.4")
    }

    #[test]
    fn the_category_follows_from_code_and_text() {
        let cases = [
            (Code::Unimplemented, "Method not found: x", "unsupported"),
            (Code::Unavailable, "GetServiceVersion is not supported on standby master", "not_ready"),
            (Code::NotFound, "Service META_MASTER_CLIENT_SERVICE is not found.", "not_ready"),
            (Code::Unavailable, "Alluxio master is in safe mode. Please try again later.", "not_ready"),
            (Code::Unavailable, "Journal is closed", "unknown"),
            (Code::Unauthenticated, "Channel Id is missing for call: x", "refused"),
            (Code::NotFound, "Path \"/data\" does not exist.", "not_found"),
            (Code::PermissionDenied, "Permission denied: user=nobody", "refused"),
            (Code::InvalidArgument, "Mount point", "refused"),
            (Code::ResourceExhausted, "Too many jobs running", "refused"),
            (Code::Unknown, "Cannot free file /f which is pinned. Please unpin", "refused"),
            (Code::Unknown, "Cannot free file /f which is not persisted", "refused"),
            (Code::Unknown, "Cannot free directory /d which is not empty.", "refused"),
            (Code::Unknown, "something else", "unknown"),
            (Code::Internal, "fail to parse job request", "refused"),
            (Code::Internal, "Cannot invoke \"java.util.Map.keySet()\"", "unknown"),
            (Code::DeadlineExceeded, "", "unknown"),
            (Code::Cancelled, "", "unknown"),
            (Code::Aborted, "", "unknown"),
        ];
        for (code, text, category) in cases {
            let error = error(code, text);
            assert_eq!(error.category(), category, "{code:?} {text}");
            assert_eq!(error.is_ambiguous(), category == "unknown", "{code:?} {text}");
        }
    }

    #[test]
    fn a_failure_to_connect_proves_that_nothing_was_sent_and_a_broken_connection_does_not() {
        let io = |kind| std::io::Error::from(kind);
        let refused = ConnectError(Box::new(io(std::io::ErrorKind::ConnectionRefused)));
        let refused = judge(Status::from_error(Box::new(refused)));
        assert!(matches!(refused, Verdict::NotSent(_)), "{refused:?}");
        let reset = judge(Status::from_error(Box::new(io(std::io::ErrorKind::ConnectionReset))));
        assert!(matches!(reset, Verdict::Ambiguous(_)), "{reset:?}");
    }

    #[test]
    fn texts_of_the_engine_are_redacted_in_every_error() {
        let text = "mount {aws.secretKey=SESAME}: is invalid";
        for number in 1..=16 {
            let shown = format!("{:?}", error(Code::from_i32(number), text));
            assert!(!shown.contains("SESAME"), "{shown}");
        }
    }
}
