//! Why `ratchet dev` cannot start, each with what to change.

use std::path::PathBuf;

/// Why `ratchet dev` cannot start, in a sentence for the user.
#[derive(Debug, thiserror::Error)]
pub enum DevError {
    /// A file of the data directory cannot be used.
    #[error(
        "{path} cannot be used: {source}; check its owner and the space that is left, or choose another directory with --data"
    )]
    Data {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Another process has the data directory.
    #[error("{path} is in use by another `ratchet dev`{}; stop that one, or choose another directory with --data", pid.as_deref().map(|p| format!(" (process {p})")).unwrap_or_default())]
    Busy {
        /// The data directory.
        path: PathBuf,
        /// Its process, as it wrote it down.
        pid: Option<String>,
    },
    /// What was kept is damaged in its middle: not the torn end that a crash leaves.
    #[error(
        "{file}, line {line}: {why}; put the directory back from a copy, or forget its state with --reset"
    )]
    Damaged {
        /// Which file.
        file: PathBuf,
        /// Which line, from 1.
        line: usize,
        /// What is wrong.
        why: String,
    },
    /// An object that was kept is refused now.
    #[error(
        "{object} cannot be put back: {why}; it was kept by another version: use that one, or forget the state with --reset"
    )]
    Restore {
        /// Which object.
        object: String,
        /// Why.
        why: String,
    },
    /// What belongs there from the start cannot be created.
    #[error("{object} cannot be created: {why}; this is a bug of Ratchet")]
    Install {
        /// Which object.
        object: String,
        /// Why.
        why: String,
    },
    /// The port cannot be had.
    #[error("127.0.0.1:{port} cannot be served: {source}; choose another port with --port (0 for any)")]
    Port {
        /// Which port.
        port: u16,
        /// Why.
        source: std::io::Error,
    },
    /// Keys and certificates cannot be made or read.
    #[error(
        "the certificate cannot be used: {0}; remove ca.crt, tls.crt and tls.key from the data directory"
    )]
    Tls(String),
}

impl DevError {
    /// For `map_err`: a failure of one file.
    pub(crate) fn data(path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |source| Self::Data { path, source }
    }
}
