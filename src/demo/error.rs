//! Why the demo ends early, each with what to change.

use crate::cli::CliError;
use crate::dev::DevError;
use std::path::PathBuf;

/// Why the demo ends early, in a sentence for the user.
#[derive(Debug, thiserror::Error)]
pub enum DemoError {
    /// Something that was told is not so. The reason why the demo has an exit code.
    #[error("what was told is not so: {0}; please report it with the output above")]
    NotSo(String),
    /// Something took too long to be believed.
    #[error("{what} did not happen within {seconds} s; is the machine busy? try fewer files with --files")]
    Slow {
        /// What was waited for.
        what: String,
        /// How long.
        seconds: u64,
    },
    /// Ctrl-C.
    #[error("interrupted; nothing of it runs any more")]
    Interrupted,
    /// The directory of `--path` is not fit for a demo.
    #[error("--path {path} cannot be used: {why}")]
    Unfit {
        /// The directory.
        path: PathBuf,
        /// Why, and what to change.
        why: String,
    },
    /// A file of the temporary directory.
    #[error("{path} cannot be used: {source}; check the space that is left, or set TMPDIR to another place")]
    Scratch {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The API server inside could not start.
    #[error(transparent)]
    Dev(#[from] DevError),
    /// A call to the API server inside failed.
    #[error("the API server inside refused: {0}; please report it with the output above")]
    Api(#[from] kube::Error),
    /// A journal does not hold together where it has to.
    #[error("{0}; please report it with the output above")]
    Journal(String),
    /// A document of the demo is broken.
    #[error("a document of the demo cannot be read: {0}; this is a bug of Ratchet")]
    Document(String),
    /// The terminal is gone.
    #[error("the output cannot be written: {0}")]
    Output(#[from] std::io::Error),
}

impl From<CliError> for DemoError {
    fn from(error: CliError) -> Self {
        Self::Journal(error.to_string())
    }
}

impl DemoError {
    /// For `map_err`: a failure of one file.
    pub(super) fn scratch(path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |source| Self::Scratch { path, source }
    }
}

/// A claim of the demo: it holds, or the demo fails.
pub(super) fn claim(holds: bool, otherwise: impl FnOnce() -> String) -> Result<(), DemoError> {
    if holds { Ok(()) } else { Err(DemoError::NotSo(otherwise())) }
}
