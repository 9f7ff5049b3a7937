//! Backups of what a cache knows of its namespace, as an engine finds them: each in a folder of its own below the path of the
//! spec, named after the token of its intent, so that nobody takes another's for his own.

use crate::ids::Token;
use serde::{Deserialize, Serialize};

/// Beginning of the folders that the operation `backup` makes: of those so many are kept.
pub const PREFIX: &str = "ratchet-";
/// Beginning of those that an upgrade makes for itself: nobody else deletes them.
pub const OF_UPGRADE: &str = "upgrade-";
/// Most folders that one effect deletes: a journal's entry names them.
pub const MOST_DELETED: usize = 2;
/// Longest name of a backup's file, in characters.
pub const MAX_FILE: usize = 43;
/// Longest fingerprint, in characters.
pub const MAX_FINGERPRINT: usize = 47;

/// The folder of the backup that an intent with this token makes. `lasting`: nobody deletes it.
#[must_use]
pub fn folder(lasting: bool, token: &Token) -> String {
    let of = if lasting { OF_UPGRADE } else { PREFIX };
    let plain: String = token.0.chars().filter(char::is_ascii_alphanumeric).take(20).collect();
    format!("{of}{plain}")
}

/// A backup that is whole.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Made {
    /// Its folder below the path of the spec, as the engine writes it: those of one cache have a folder of their own.
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
    /// Folders of whole ones beyond those that are to be kept, the oldest first, at most [`MOST_DELETED`].
    pub surplus: Vec<String>,
}
