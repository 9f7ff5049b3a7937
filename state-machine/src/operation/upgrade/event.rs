//! The facts that move an upgrade.

use super::super::backup::made_sample;
use super::{MAX_HALTS, longest};
use crate::backups::Made;
use crate::rollout::Release;
use serde::{Deserialize, Serialize};

/// The facts that move an upgrade.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all_fields = "camelCase")]
pub enum UpgradeEvent {
    /// So much is cached before anything moves.
    Measured {
        /// Bytes.
        cached_bytes: i64,
    },
    /// A backup is to be made first.
    BackupDue {},
    /// The engine writes it.
    BackupRequested {
        /// To this folder.
        folder: String,
        /// Its own id of it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        id: Option<String>,
    },
    /// It is whole.
    Saved {
        /// Which.
        made: Made,
    },
    /// It can begin.
    Chosen {
        /// The release of before.
        from: Release,
        /// Number of the revision.
        at: i64,
        /// The revision names the release already.
        there: bool,
    },
    /// The revision names the release.
    Revised {},
    /// The write was refused.
    NotRevised {
        /// Why.
        why: String,
    },
    /// Another member is up on the release.
    Moved {
        /// So many are.
        members: i64,
    },
    /// It goes on from a halt.
    StepPassed {
        /// Which: 1 is the first.
        step: usize,
        /// Who gave the word for it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        by: Option<String>,
    },
    /// Every member is.
    Rolled {},
    /// Read back: every member is of the release and serves.
    Proven {
        /// Members.
        members: i64,
        /// Workers that serve.
        workers: i64,
        /// Bytes that they can hold.
        capacity_bytes: i64,
        /// Bytes that were cached before.
        cached_before_bytes: i64,
        /// Bytes that are cached now.
        cached_bytes: i64,
    },
}

pub(super) const fn event_name(event: &UpgradeEvent) -> &'static str {
    match event {
        UpgradeEvent::Measured { .. } => "Measured",
        UpgradeEvent::BackupDue {} => "BackupDue",
        UpgradeEvent::BackupRequested { .. } => "BackupRequested",
        UpgradeEvent::Saved { .. } => "Saved",
        UpgradeEvent::Chosen { .. } => "Chosen",
        UpgradeEvent::Revised {} => "Revised",
        UpgradeEvent::NotRevised { .. } => "NotRevised",
        UpgradeEvent::Moved { .. } => "Moved",
        UpgradeEvent::StepPassed { .. } => "StepPassed",
        UpgradeEvent::Rolled {} => "Rolled",
        UpgradeEvent::Proven { .. } => "Proven",
    }
}

/// One value of each, as large as it may get.
pub(super) fn samples() -> Vec<UpgradeEvent> {
    let from = longest();
    let chosen = |there| UpgradeEvent::Chosen { from: from.clone(), at: i64::MAX, there };
    vec![
        UpgradeEvent::Measured { cached_bytes: i64::MAX },
        UpgradeEvent::BackupDue {},
        UpgradeEvent::BackupRequested { folder: made_sample().folder, id: Some("b".repeat(40)) },
        UpgradeEvent::Saved { made: made_sample() },
        chosen(false),
        chosen(true),
        UpgradeEvent::Revised {},
        UpgradeEvent::NotRevised { why: "w".repeat(120) },
        UpgradeEvent::Moved { members: i64::MAX },
        UpgradeEvent::StepPassed { step: MAX_HALTS, by: Some("b".repeat(100)) },
        UpgradeEvent::Rolled {},
        UpgradeEvent::Proven {
            members: i64::MAX,
            workers: i64::MAX,
            capacity_bytes: i64::MAX,
            cached_before_bytes: i64::MAX,
            cached_bytes: i64::MAX,
        },
    ]
}
