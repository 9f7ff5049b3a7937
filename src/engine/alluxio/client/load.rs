//! ```text
//! submit_load -> Submitted { job_id? } ... load_progress -> LoadProgress ... stop_load -> bool
//! ```
//! The load job that runs inside the master since 2.9.3. Jobs are known by their path and not by their
//! id, so two callers on one path share one job. A load never loads metadata: sync first,
//! or it succeeds with 0 files.

use prost::Message;

use super::load_body::request_body;
use super::load_report::{self, LoadProgress};
use super::proto::grpc::file::{
    GetJobProgressRequest, JobDescription, JobProgressFormat, JobProgressOptions, LoadJobOptions,
    StopJobRequest, SubmitJobRequest,
};
use super::{AlluxioClient, AlluxioError, absolute, calls};

const LOAD: &str = "load";

/// What a load may be told.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LoadOptions {
    /// Bytes per second and worker. `None` and 0 are unlimited; 0 is never sent because the
    /// master fails on it.
    pub bandwidth: Option<i64>,
    /// Look again for missing blocks after the load.
    pub verify: bool,
    /// List folder by folder while loading; the report then has no total.
    pub partial_listing: bool,
}

/// What became of a submitted load.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Submitted {
    /// `None`: a job of that path was already running or stopped, and goes on with our options.
    pub job_id: Option<String>,
}

impl AlluxioClient {
    /// Submits a load of everything under `path` (submitJob).
    ///
    /// # Errors
    /// `NotFound`, `Refused` (for example with 100 jobs running), `Unsupported` before 2.9.3,
    /// `Unknown` if it may have been submitted: look with [`Self::load_progress`] then.
    pub async fn submit_load(&self, path: &str, options: LoadOptions) -> Result<Submitted, AlluxioError> {
        let path = absolute(path)?;
        let body = request_body(&wire_options(options)?.encode_to_vec(), &path)?;
        let request = SubmitJobRequest { request_body: Some(body) };
        let reply = self.router().unary(&calls::SUBMIT_JOB, request).await?;
        Ok(Submitted { job_id: reply.job_id.filter(|id| !id.is_empty()) })
    }

    /// The state of the load of `path` (GetJobProgress, JSON).
    ///
    /// # Errors
    /// `NotFound` if the master knows no such job; it forgets a finished one after a day.
    pub async fn load_progress(&self, path: &str) -> Result<LoadProgress, AlluxioError> {
        self.report(path, false).await
    }

    /// The same with the files that failed. For few of them: the master names them all, in one message.
    ///
    /// # Errors
    /// As [`Self::load_progress`].
    pub async fn load_failures(&self, path: &str) -> Result<LoadProgress, AlluxioError> {
        self.report(path, true).await
    }

    async fn report(&self, path: &str, verbose: bool) -> Result<LoadProgress, AlluxioError> {
        let request = GetJobProgressRequest {
            job_description: Some(description(path)?),
            options: Some(JobProgressOptions {
                format: Some(JobProgressFormat::Json as i32),
                verbose: Some(verbose),
            }),
        };
        let call = &calls::GET_JOB_PROGRESS;
        let reply = self.router().unary(call, request).await?;
        load_report::parse(reply.progress_report())
            .map_err(|error| AlluxioError::unknown(call.info.name, &format!("unreadable report: {error}")))
    }

    /// Stops the load of `path`; false if none was running (StopJob).
    ///
    /// # Errors
    /// `Unknown` if it may have been stopped; stopping again does no harm.
    pub async fn stop_load(&self, path: &str) -> Result<bool, AlluxioError> {
        let request = StopJobRequest { job_description: Some(description(path)?) };
        let reply = self.router().unary(&calls::STOP_JOB, request).await?;
        Ok(reply.job_stopped.unwrap_or(false))
    }
}

fn description(path: &str) -> Result<JobDescription, AlluxioError> {
    Ok(JobDescription { r#type: LOAD.to_owned(), path: Some(absolute(path)?) })
}

fn wire_options(options: LoadOptions) -> Result<LoadJobOptions, AlluxioError> {
    if options.bandwidth.is_some_and(|bytes| bytes < 0) {
        return Err(AlluxioError::invalid("a negative bandwidth"));
    }
    Ok(LoadJobOptions {
        bandwidth: options.bandwidth.filter(|bytes| *bytes > 0),
        verify: Some(options.verify),
        partial_listing: Some(options.partial_listing),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bandwidth_of_zero_is_never_sent_and_a_negative_one_is_refused() {
        let sent = |bandwidth| {
            let options = LoadOptions { bandwidth, ..LoadOptions::default() };
            wire_options(options).map(|wire| wire.bandwidth)
        };
        assert_eq!(sent(None).ok(), Some(None));
        assert_eq!(sent(Some(0)).ok(), Some(None));
        assert_eq!(sent(Some(7)).ok(), Some(Some(7)));
        assert!(matches!(sent(Some(-1)), Err(AlluxioError::Invalid { .. })));
    }
}
