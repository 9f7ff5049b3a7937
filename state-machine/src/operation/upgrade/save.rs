//! The backup before anything moves: the same work as that of the operation `backup`, whose folder and file are recorded.

use super::{Upgrade, UpgradeEvent};
use crate::backups::Made;
use crate::decision::Progress;
use crate::effect::{Answer, Intent, Query};
use crate::operation::arm::{Act, Arm, View};
use crate::operation::backup::{Backup, BackupEvent};
use crate::spec::{OperationSpec, UpgradeSpec};

/// The backup that is due before anything moves; none where the spec asks for none, or where it was made.
pub(super) fn due(spec: &UpgradeSpec, saved: Option<&Made>) -> bool {
    spec.backup_path.is_some() && saved.is_none()
}

/// The same step of a backup.
fn same(at: &Upgrade) -> Option<Backup> {
    let Upgrade::BackingUp { started, folder, id, .. } = at else { return None };
    Some(Backup::Writing { started: *started, folder: folder.clone(), id: id.clone() })
}

pub(super) fn query(at: &Upgrade, spec: &OperationSpec, intent: Option<&Intent>) -> Option<Query> {
    same(at)?.query(spec, intent)
}

pub(super) fn halt_query(at: &Upgrade, spec: &OperationSpec) -> Option<Query> {
    same(at)?.halt_query(spec)
}

pub(super) fn unstoppable(at: &Upgrade, answer: Option<&Answer>) -> Option<Progress> {
    same(at)?.unstoppable(answer)
}

pub(super) fn save(at: &Upgrade, view: &View<'_>) -> Act<UpgradeEvent> {
    let Some(same) = same(at) else { return crate::operation::unanswered() };
    match same.decide(view) {
        Act::Record { event: BackupEvent::Requested { folder, id }, because, .. } => {
            Act::Record { event: UpgradeEvent::BackupRequested { folder, id }, because, intend: None }
        }
        Act::Record { event: BackupEvent::Written { made, .. }, because, .. } => {
            Act::Record { event: UpgradeEvent::Saved { made }, because, intend: None }
        }
        // The step that writes knows no others.
        Act::Record {
            event: BackupEvent::Checked {} | BackupEvent::Pruned {} | BackupEvent::Proven { .. },
            ..
        } => crate::operation::unanswered(),
        Act::Intend { effect, because } => Act::Intend { effect, because },
        Act::Await(waiting) => Act::Await(waiting),
        Act::Retry { reason, message } => Act::Retry { reason, message },
        Act::Fail { reason, message } => Act::Fail { reason, message },
    }
}
