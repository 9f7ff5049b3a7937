//! ```text
//! {"mJobState":"FAILED", ..., "mFailureReason":{12 KB of a Java exception}} --parse--> LoadProgress
//! ```
//! The JSON report of a load job, as Alluxio 2.9.6 writes it. Of a failure only the message, the
//! code and the word on retrying are read; the rest is a stack trace. Fields that are
//! not known are skipped, and the total is not what its name says.

use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeMap;

use super::redact::redact;

/// How far a load is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoadProgress {
    /// What the job does.
    pub state: LoadState,
    /// Bytes of the files that the job has handed out so far. It grows while the job runs, a few
    /// files ahead of `loaded_bytes`, so it is no measure of what is left. Absent before the first
    /// files and with partial listing; cached files are not counted.
    pub total_bytes: Option<i64>,
    /// Bytes loaded by this job.
    pub loaded_bytes: i64,
    /// Files looked at that were not fully cached.
    pub processed_files: i64,
    /// Files with a block that failed.
    pub failed_files: i64,
    /// The first of them by name, and why, redacted; only of a verbose report.
    pub failed_example: Option<String>,
    /// Why a failed load failed.
    pub failure: Option<LoadFailure>,
}

/// The state of a load job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LoadState {
    /// Also without any live worker, for ever: keep a deadline for progress.
    Running,
    /// Loaded once; looking for missing blocks again.
    Verifying,
    /// Stopped by a call; a new submit resumes it.
    Stopped,
    /// Ended. No proof that everything is cached: some files may have failed even so.
    Succeeded,
    /// Ended; the failure says why.
    Failed,
}

/// The engine's reason for a failure.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoadFailure {
    /// Such as `NOT_FOUND`; empty if the report has none.
    pub code: String,
    /// Redacted, at most 300 characters.
    pub message: String,
    /// Whether the engine thinks that trying again may help.
    pub retryable: bool,
}

/// Why a report cannot be read.
#[derive(Debug, thiserror::Error)]
pub(super) enum ReportError {
    #[error("not the expected json: {0}")]
    Json(#[from] serde_json::Error),
    #[error("the job state {0:?} is not known")]
    State(String),
}

#[derive(Deserialize)]
struct Report {
    #[serde(rename = "mJobState")]
    state: String,
    #[serde(rename = "mTotalByteCount")]
    total_bytes: Option<i64>,
    #[serde(rename = "mLoadedByteCount", default)]
    loaded_bytes: i64,
    #[serde(rename = "mProcessedFileCount", default)]
    processed_files: i64,
    #[serde(rename = "mFailedFileCount", default)]
    failed_files: i64,
    #[serde(rename = "mFailedFilesWithReasons")]
    failed_files_with_reasons: Option<BTreeMap<String, Value>>,
    #[serde(rename = "mFailureReason")]
    failure: Option<Value>,
}

/// Reads a report in JSON.
///
/// # Errors
/// If it is no such report or has a state that is not known.
pub(super) fn parse(json: &str) -> Result<LoadProgress, ReportError> {
    let report: Report = serde_json::from_str(json)?;
    let state = match report.state.as_str() {
        "RUNNING" => LoadState::Running,
        "VERIFYING" => LoadState::Verifying,
        "STOPPED" => LoadState::Stopped,
        "SUCCEEDED" => LoadState::Succeeded,
        "FAILED" => LoadState::Failed,
        other => return Err(ReportError::State(other.to_owned())),
    };
    Ok(LoadProgress {
        state,
        total_bytes: report.total_bytes,
        loaded_bytes: report.loaded_bytes,
        processed_files: report.processed_files,
        failed_files: report.failed_files,
        failed_example: report.failed_files_with_reasons.as_ref().and_then(example),
        failure: report.failure.as_ref().map(failure),
    })
}

fn example(failed: &BTreeMap<String, Value>) -> Option<String> {
    let (path, reason) = failed.first_key_value()?;
    let reason = reason.as_str().map_or_else(|| reason.to_string(), str::to_owned);
    Some(redact(&format!("{path}: {reason}")))
}

fn failure(reason: &Value) -> LoadFailure {
    let text = |pointer| reason.pointer(pointer).and_then(Value::as_str);
    LoadFailure {
        code: text("/status/code").or(text("/mStatus/code")).unwrap_or_default().to_owned(),
        message: redact(text("/message").or(text("/detailMessage")).unwrap_or_default()),
        retryable: reason.pointer("/mRetryable").and_then(Value::as_bool).unwrap_or(false),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_of_a_load_that_succeeded_is_read() {
        let json = r#"{"mVerbose":false,"mJobState":"SUCCEEDED","mVerificationEnabled":true,
            "mProcessedFileCount":3,"mLoadedByteCount":15728640,"mTotalByteCount":15728640,
            "mFailurePercentage":0.0,"mFailedFileCount":0}"#;
        let wanted = LoadProgress {
            state: LoadState::Succeeded,
            total_bytes: Some(15_728_640),
            loaded_bytes: 15_728_640,
            processed_files: 3,
            failed_files: 0,
            failed_example: None,
            failure: None,
        };
        assert_eq!(parse(json).unwrap(), wanted);
    }

    #[test]
    fn before_the_listing_there_is_no_total() {
        let json =
            r#"{"mJobState":"RUNNING","mProcessedFileCount":0,"mLoadedByteCount":0,"mFailedFileCount":0}"#;
        let progress = parse(json).unwrap();
        assert_eq!((progress.state, progress.total_bytes), (LoadState::Running, None));
    }

    /// The shape of 2.9.6: the exception twice more as a cause, each with its stack.
    fn failed(message: &str) -> String {
        let frame = r#"{"classLoaderName":"app","methodName":"checkAccess","fileName":"FileIterable.java","lineNumber":127,"nativeMethod":false,"className":"alluxio.master.job.FileIterable$FileIterator"}"#;
        let stack = vec![frame; 19].join(",");
        let cause = format!(
            r#"{{"detailMessage":{message:?},"stackTrace":[{stack}],"suppressedExceptions":[],"message":{message:?},"suppressed":[],"localizedMessage":{message:?}}}"#
        );
        let status = format!(r#"{{"code":"NOT_FOUND","cause":{cause},"ok":false}}"#);
        format!(
            r#"{{"mVerbose":false,"mJobState":"FAILED","mVerificationEnabled":false,"mProcessedFileCount":0,"mLoadedByteCount":0,"mFailurePercentage":0.0,"mFailureReason":{{"cause":{cause},"stackTrace":[{stack}],"suppressedExceptions":[],"mStatus":{status},"mDetails":[],"mRetryable":true,"mErrorType":"User","message":{message:?},"status":{status},"retryable":true,"suppressed":[],"localizedMessage":{message:?}}},"mFailedFileCount":2}}"#
        )
    }

    #[test]
    fn of_a_failure_only_code_message_and_retryable_are_kept() {
        let json = failed("Path \"/x\" does not exist.");
        assert!(json.len() > 12_000);
        let failure = parse(&json).unwrap().failure.unwrap();
        let message = "Path \"/x\" does not exist.".to_owned();
        assert_eq!(failure, LoadFailure { code: "NOT_FOUND".to_owned(), message, retryable: true });
    }

    #[test]
    fn the_message_of_a_failure_is_redacted() {
        let failure = parse(&failed("s3 with {s3a.secretKey=abc}")).unwrap().failure.unwrap();
        assert_eq!(failure.message, "s3 with {s3a.secretKey=***}");
    }

    #[test]
    fn of_the_files_that_failed_one_is_named() {
        let json = r#"{"mJobState":"SUCCEEDED","mFailedFileCount":2,
            "mFailedFilesWithReasons":{"/b":"Not enough space","/a":"Not found: s3 with {s3a.secretKey=abc}"}}"#;
        let example = parse(json).unwrap().failed_example.unwrap();
        assert_eq!(example, "/a: Not found: s3 with {s3a.secretKey=***}");
    }

    #[test]
    fn an_unknown_state_or_another_text_is_an_error() {
        assert!(matches!(parse(r#"{"mJobState":"PAUSED"}"#), Err(ReportError::State(_))));
        assert!(matches!(parse("Settings:\tbandwidth: unlimited"), Err(ReportError::Json(_))));
    }
}
