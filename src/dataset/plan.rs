//! Which edit is due. An edit becomes an operation when a mount of the spec is another one than the last that was acted
//! upon, whatever became of that; never because the world differs from the spec.
//!
//! ```text
//!   spec + versions of Secrets --wanted--> a name for each mount's content
//!   wanted + status            --next----> the one mount that is due: what is to go first, then by path
//! ```

use crate::api::dataset::{DatasetSpec, DatasetStatus, MountStatus};
use chrono::{DateTime, Utc};
use ratchet_state_machine::canonical;
use ratchet_state_machine::ids::hash;
use ratchet_state_machine::spec::{ArmSpec, MountSpec, SyncSpec, UnmountSpec, WhenInUse};
use std::collections::BTreeMap;

/// A mount whose spec is not the one that was acted upon last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Due {
    /// Where.
    pub path: String,
    /// Names what is wanted; empty: that it is gone.
    pub value: String,
    /// What does it.
    pub arm: ArmSpec,
}

/// The name of a mount's content. The version of a Secret (its uid and resourceVersion) is a part of it, its content is
/// not.
#[must_use]
pub fn value(mount: &MountSpec, versions: &BTreeMap<String, String>) -> String {
    // Serialising plain data into memory does not fail; if it did, the same text for all would make nothing due.
    let text = canonical::to_string(mount).unwrap_or_default();
    let secrets: Vec<&str> =
        mount.secrets().map(|(_, s)| versions.get(&s.name).map_or("", String::as_str)).collect();
    hash(&[b"mount", text.as_bytes(), secrets.join(" ").as_bytes()])
}

/// The edit that is due next; `mounts` is empty while the dataset is being deleted.
#[must_use]
pub fn next(spec: &DatasetSpec, versions: &BTreeMap<String, String>, status: &DatasetStatus) -> Option<Due> {
    let handled = |path: &str| status.mounts.iter().find(|m| m.path == path).map(|m| m.handled.as_str());
    let gone =
        status.mounts.iter().find(|m| !m.handled.is_empty() && !spec.mounts.iter().any(|w| w.path == m.path));
    if let Some(gone) = gone {
        return Some(unmount(gone.path.clone()));
    }
    let mut mounts: Vec<_> = spec.mounts.iter().collect();
    mounts.sort_by(|a, b| a.path.cmp(&b.path));
    mounts.into_iter().find_map(|mount| {
        let before = handled(&mount.path);
        let value = value(&spec.mount(mount, false), versions);
        // Only what this dataset has mounted is replaced.
        let ours = before.is_some_and(|b| !b.is_empty());
        (before != Some(value.as_str())).then(|| Due {
            path: mount.path.clone(),
            value,
            arm: ArmSpec::Mount(spec.mount(mount, ours)),
        })
    })
}

/// What a mount that is noted asks for, made anew from the spec. The caller has seen that nothing else is due for it.
#[must_use]
pub fn again(spec: &DatasetSpec, noted: &MountStatus) -> Due {
    let path = noted.path.clone();
    match spec.mounts.iter().find(|m| m.path == path).filter(|_| !noted.handled.is_empty()) {
        // It may take the place of what an operation before it has mounted there, and of nothing else.
        Some(mount) => {
            Due { path, value: noted.handled.clone(), arm: ArmSpec::Mount(spec.mount(mount, noted.ours)) }
        }
        None => unmount(path),
    }
}

fn unmount(path: String) -> Due {
    let arm = UnmountSpec { path: path.clone(), recursive: false, when_in_use: WhenInUse::Wait };
    Due { path, value: String::new(), arm: ArmSpec::Unmount(arm) }
}

/// Whether the cache is to look for files now: after each change of the mounts, once all are there, and every so often.
#[must_use]
pub fn sync_due(spec: &DatasetSpec, status: &DatasetStatus, now: DateTime<Utc>) -> Option<Due> {
    let all = status.mounts.iter().all(|m| m.phase == "Mounted");
    if status.mounts.is_empty() || !all {
        return None;
    }
    let changed = status.sync.handled != status.handled;
    let since = DateTime::parse_from_rfc3339(&status.sync.at).map(|at| (now - at.to_utc()).num_seconds());
    let old = spec.metadata.sync_every_seconds.is_some_and(|every| since.map_or(true, |s| s >= every));
    let paths = status.mounts.iter().map(|m| m.path.clone()).collect();
    (changed || old).then(|| Due {
        path: String::new(),
        // One that was created and not noted before another edit came is another one: its paths are others.
        value: format!("sync {}", status.handled),
        arm: ArmSpec::Sync(SyncSpec { paths }),
    })
}

/// The name of the operation of a due edit. Who looks at the same status gives the same name.
#[must_use]
pub fn operation_name(dataset: &str, uid: &str, handled: i64, due: &Due) -> String {
    let kind = match due.arm {
        ArmSpec::Mount(_) => "mount",
        ArmSpec::Sync(_) => "sync",
        ArmSpec::Unmount(_)
        | ArmSpec::Load(_)
        | ArmSpec::Free(_)
        | ArmSpec::Backup(_)
        | ArmSpec::ScaleOut(_)
        | ArmSpec::ScaleIn(_)
        | ArmSpec::Decommission(_)
        | ArmSpec::Recommission(_)
        | ArmSpec::Upgrade(_) => "unmount",
    };
    let digest =
        hash(&[uid.as_bytes(), due.path.as_bytes(), due.value.as_bytes(), handled.to_string().as_bytes()]);
    let suffix: String = digest.chars().filter(char::is_ascii_alphanumeric).take(8).collect();
    let stem: String = dataset.chars().take(200).collect();
    format!("{}-{kind}-{}", stem.trim_end_matches(['-', '.']), suffix.to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::dataset::{DatasetMount, MetadataPolicy, SyncStatus};
    use ratchet_state_machine::spec::{MountOption, SecretKey, ValueFrom};

    fn mount(path: &str, uri: &str) -> DatasetMount {
        DatasetMount { path: path.into(), uri: uri.into(), read_only: false, shared: false, options: vec![] }
    }

    fn spec(mounts: Vec<DatasetMount>) -> DatasetSpec {
        let metadata = MetadataPolicy::default();
        DatasetSpec {
            cluster: "c".into(),
            mounts,
            shared_options: vec![],
            metadata,
            cache_policy: None,
            volume: None,
        }
    }

    /// Acts upon everything that is due; the arms in order.
    fn settle(
        spec: &DatasetSpec,
        versions: &BTreeMap<String, String>,
        status: &mut DatasetStatus,
    ) -> Vec<String> {
        let mut names = Vec::new();
        while let Some(due) = next(spec, versions, status) {
            names.push(match &due.arm {
                ArmSpec::Mount(m) => format!("mount {}{}", m.path, if m.replace { " again" } else { "" }),
                ArmSpec::Unmount(u) => format!("unmount {}", u.path),
                ArmSpec::Load(_)
                | ArmSpec::Free(_)
                | ArmSpec::Sync(_)
                | ArmSpec::Backup(_)
                | ArmSpec::ScaleOut(_)
                | ArmSpec::ScaleIn(_)
                | ArmSpec::Decommission(_)
                | ArmSpec::Recommission(_)
                | ArmSpec::Upgrade(_) => "?".into(),
            });
            status.mounts.retain(|m| m.path != due.path);
            status.mounts.push(MountStatus { path: due.path, handled: due.value, ..MountStatus::default() });
            status.handled += 1;
            assert!(names.len() < 20, "it does not end: {names:?}");
        }
        names
    }

    #[test]
    fn each_mount_that_changed_is_due_once_and_what_goes_goes_first() {
        let (none, mut status) = (BTreeMap::new(), DatasetStatus::default());
        let first = spec(vec![mount("/b", "s3://b"), mount("/a", "s3://a")]);
        assert_eq!(settle(&first, &none, &mut status), ["mount /a", "mount /b"]);
        assert_eq!(settle(&first, &none, &mut status), [""; 0]);
        let edited = spec(vec![mount("/a", "s3://other"), mount("/c", "s3://b")]);
        assert_eq!(settle(&edited, &none, &mut status), ["unmount /b", "mount /a again", "mount /c"]);
        // What was unmounted is nobody's any more.
        let back = spec(vec![mount("/a", "s3://other"), mount("/b", "s3://x"), mount("/c", "s3://b")]);
        assert_eq!(settle(&back, &none, &mut status), ["mount /b"]);
        assert_eq!(settle(&spec(vec![]), &none, &mut status), ["unmount /a", "unmount /c", "unmount /b"]);
    }

    #[test]
    fn another_version_of_a_secret_is_an_edit_of_the_mounts_that_name_it() {
        let key = SecretKey { name: "s3".into(), key: "id".into() };
        let option = MountOption {
            name: "aws.accessKeyId".into(),
            value: None,
            value_from: Some(ValueFrom { secret_key_ref: key }),
        };
        let mut plain = spec(vec![mount("/a", "s3://a"), mount("/b", "s3://b")]);
        plain.mounts[1].options = vec![option.clone()];
        let version = |v: &str| BTreeMap::from([("s3".to_owned(), v.to_owned())]);
        let mut status = DatasetStatus::default();
        assert_eq!(settle(&plain, &version("1"), &mut status), ["mount /a", "mount /b"]);
        assert_eq!(settle(&plain, &version("2"), &mut status), ["mount /b again"]);
        plain.mounts[1].options = vec![];
        plain.shared_options = vec![option];
        assert_eq!(
            settle(&plain, &version("2"), &mut status),
            ["mount /a again"],
            "the other has it already"
        );
    }

    #[test]
    fn files_are_looked_for_after_a_change_and_every_so_often() {
        let at = |text: &str| text.parse::<DateTime<Utc>>().expect("a time");
        let mut wanted = spec(vec![mount("/a", "s3://a")]);
        let entry =
            |phase: &str| MountStatus { path: "/a".into(), phase: phase.into(), ..MountStatus::default() };
        let sync = SyncStatus { handled: 1, at: "2026-01-01T00:00:00Z".into(), ..SyncStatus::default() };
        let mut status =
            DatasetStatus { handled: 2, mounts: vec![entry("Mounting")], sync, ..DatasetStatus::default() };
        let due = |spec: &DatasetSpec, status: &DatasetStatus, now| sync_due(spec, status, at(now)).is_some();
        assert!(!due(&wanted, &status, "2026-01-01T00:00:01Z"), "it is not there yet");
        status.mounts = vec![entry("Mounted")];
        assert!(due(&wanted, &status, "2026-01-01T00:00:01Z"));
        status.sync.handled = 2;
        assert!(!due(&wanted, &status, "2027-01-01T00:00:00Z"));
        wanted.metadata.sync_every_seconds = Some(60);
        assert!(
            !due(&wanted, &status, "2026-01-01T00:00:59Z") && due(&wanted, &status, "2026-01-01T00:01:00Z")
        );
    }

    #[test]
    fn the_name_depends_on_what_was_seen_and_on_nothing_else() {
        let due = next(&spec(vec![mount("/a", "s3://a")]), &BTreeMap::new(), &DatasetStatus::default());
        let due = due.expect("it is due");
        let name = operation_name("training.data-", "uid", 3, &due);
        assert_eq!(name, operation_name("training.data-", "uid", 3, &due));
        assert!(
            name.starts_with("training.data-mount-") && name.len() == "training.data-mount-".len() + 8,
            "{name}"
        );
        assert_ne!(name, operation_name("training.data-", "uid", 4, &due));
        assert_ne!(name, operation_name("training.data-", "other", 3, &due));
    }
}
