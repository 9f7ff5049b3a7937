//! Backups of what a cache knows of its namespace, as an engine finds them: each in a folder of its own below the path of the
//! spec, named after the token of its intent, so that nobody takes another's for his own.

use crate::ids::Token;
use serde::{Deserialize, Serialize};

/// Beginning of every folder's name.
pub const PREFIX: &str = "ratchet-";
/// Longest name of a backup's file, in characters.
pub const MAX_FILE: usize = 48;
/// Longest fingerprint, in characters.
pub const MAX_FINGERPRINT: usize = 48;

/// The folder of the backup that an intent with this token makes.
#[must_use]
pub fn folder(token: &Token) -> String {
    let plain: String = token.0.chars().filter(char::is_ascii_alphanumeric).take(20).collect();
    format!("{PREFIX}{plain}")
}

/// A backup that is whole.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Made {
    /// Its folder below the path of the spec.
    pub folder: String,
    /// The file in there.
    pub file: String,
    /// Its size.
    pub bytes: i64,
    /// What the store says of its content: a hash where it keeps one, else length and time. Empty where it says nothing.
    pub fingerprint: String,
}

/// What became of the call that asked for a backup.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Progress {
    /// The engine does not know it (any more), or was not asked.
    Unknown,
    /// At work.
    Running {
        /// Entries written so far.
        entries: i64,
    },
    /// It says that it has written all of it.
    Completed,
    /// It failed.
    Failed {
        /// Redacted and bounded.
        message: String,
    },
}

/// What there is to see of backups.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BackupsView {
    /// Where they go, in the store's words; else why none can go there.
    pub place: Result<String, String>,
    /// The call that was asked about.
    pub progress: Progress,
    /// The newest whole one in the folder that was asked about.
    pub made: Option<Made>,
}
