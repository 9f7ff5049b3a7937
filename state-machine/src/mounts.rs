//! The mount table of a cache, as an engine reads it, and what it means for a mount or an unmount that is asked for:
//!
//! ```text
//!   table + MountSpec   --standing--> absent | as wanted | differs | from elsewhere | impossible
//!   table + UnmountSpec --next-----> the mount to remove next, the deepest first | nothing left | refused
//! ```
//!
//! Pure: engines read the table and make calls, decisions and engines ask here what to do. Values of credentials are
//! never looked at: engines leave them out of the table.

use crate::lifecycle::cut;
use crate::spec::{ArmSpec, MountSpec, OperationSpec, paths_overlap, same_uri, uris_overlap};
use std::collections::BTreeMap;

/// One mount.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct MountView {
    /// Where, in the cache's namespace.
    pub path: String,
    /// Address in the store.
    pub uri: String,
    /// Writing is refused.
    pub read_only: bool,
    /// All users may use it.
    pub shared: bool,
    /// Its settings, without those whose values the engine hides or whose names say that they are credentials.
    pub options: BTreeMap<String, String>,
}

/// The mounts of a cache.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct MountTable {
    /// All of them, the root included.
    pub mounts: Vec<MountView>,
    /// Files below the path that was asked about of which only the cache has the bytes.
    pub unpersisted: i64,
}

/// How a mount that is wanted stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// Nothing is mounted there.
    Absent,
    /// It is there, in everything that can be seen.
    AsWanted,
    /// It is there from the right address, but not like this.
    Differs {
        /// In what: names only.
        what: String,
    },
    /// Something else is mounted there.
    Elsewhere {
        /// From this address.
        uri: String,
    },
    /// Another mount is in the way.
    Impossible {
        /// Condition reason.
        reason: &'static str,
        /// Sentence.
        message: String,
    },
}

/// Why an unmount is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotUnmountable {
    /// Condition reason.
    pub reason: &'static str,
    /// Sentence.
    pub message: String,
}

fn depth(path: &str) -> usize {
    path.split('/').filter(|c| !c.is_empty()).count()
}

impl MountTable {
    /// The mount at exactly this path.
    #[must_use]
    pub fn at(&self, path: &str) -> Option<&MountView> {
        self.mounts.iter().find(|m| m.path == path)
    }

    /// The mounts strictly below a path, the deepest first.
    #[must_use]
    pub fn below(&self, path: &str) -> Vec<&MountView> {
        let inside = |m: &&MountView| depth(&m.path) > depth(path) && paths_overlap(&m.path, path);
        let mut all: Vec<&MountView> = self.mounts.iter().filter(inside).collect();
        all.sort_by(|a, b| depth(&b.path).cmp(&depth(&a.path)).then_with(|| a.path.cmp(&b.path)));
        all
    }

    /// How the mount that is asked for stands.
    #[must_use]
    pub fn standing(&self, wanted: &MountSpec) -> Standing {
        if let Some(there) = self.at(&wanted.path) {
            if !same_uri(&there.uri, &wanted.uri) {
                return Standing::Elsewhere { uri: cut(&there.uri, 200) };
            }
            let what = differences(wanted, there);
            return if what.is_empty() {
                Standing::AsWanted
            } else {
                Standing::Differs { what: cut(&what.join(", "), 100) }
            };
        }
        self.in_the_way(wanted).unwrap_or(Standing::Absent)
    }

    /// What forbids the mount: no mount is inside another one, neither here nor in the store.
    #[must_use]
    pub fn in_the_way(&self, wanted: &MountSpec) -> Option<Standing> {
        let (path, uri) = (&wanted.path, &wanted.uri);
        let others = || self.mounts.iter().filter(|m| m.path != *path);
        if let Some(other) = others().find(|m| m.path != "/" && paths_overlap(&m.path, path)) {
            let message = format!(
                "{path} and the mount {} would lie in one another; choose another path",
                cut(&other.path, 200)
            );
            return Some(Standing::Impossible { reason: "NestedMount", message });
        }
        let other = others().find(|m| uris_overlap(&m.uri, uri))?;
        let (is, at) = (cut(&other.uri, 200), cut(&other.path, 100));
        let message = format!("{} and {is}, which is mounted at {at}, lie in one another", cut(uri, 200));
        Some(Standing::Impossible { reason: "NestedUnderStorage", message })
    }

    /// The mount to be removed next for this operation; `None` when none is left.
    ///
    /// # Errors
    /// [`NotUnmountable`].
    pub fn next_to_unmount(&self, spec: &OperationSpec) -> Result<Option<&MountView>, NotUnmountable> {
        let (path, recursive) = match &spec.operation {
            ArmSpec::Unmount(u) => (u.path.as_str(), u.recursive),
            // A mount removes what it replaces, and nothing else.
            ArmSpec::Mount(m) => match self.at(&m.path) {
                Some(there) if !same_uri(&there.uri, &m.uri) => (m.path.as_str(), false),
                Some(_) | None => return Ok(None),
            },
            ArmSpec::Load(_)
            | ArmSpec::Free(_)
            | ArmSpec::Sync(_)
            | ArmSpec::Backup(_)
            | ArmSpec::ScaleOut(_)
            | ArmSpec::ScaleIn(_)
            | ArmSpec::Decommission(_)
            | ArmSpec::Recommission(_)
            | ArmSpec::Upgrade(_) => return Ok(None),
        };
        let below = self.below(path);
        match below.first() {
            Some(deepest) if recursive => Ok(Some(*deepest)),
            Some(_) => {
                let names: Vec<&str> = below.iter().map(|m| m.path.as_str()).collect();
                let message = format!(
                    "below {} is mounted {}; unmount that first, or set recursive",
                    cut(path, 100),
                    cut(&names.join(", "), 200)
                );
                Err(NotUnmountable { reason: "NestedMount", message })
            }
            None => match (self.at(path), self.around(path)) {
                (Some(mount), _) => Ok(Some(mount)),
                (None, None) => Ok(None),
                (None, Some(outer)) => {
                    let outer = cut(&outer.path, 200);
                    let message = format!("{} is a part of the mount {outer}; unmount that", cut(path, 100));
                    Err(NotUnmountable { reason: "NotAMount", message })
                }
            },
        }
    }

    /// The mount that a path is inside of, apart from the root.
    fn around(&self, path: &str) -> Option<&MountView> {
        let outside =
            |m: &&MountView| m.path != "/" && depth(&m.path) < depth(path) && paths_overlap(&m.path, path);
        self.mounts.iter().find(outside)
    }

    /// The sentence about what only the cache has, when there is such a thing.
    #[must_use]
    pub fn unpersisted_problem(&self, path: &str) -> Option<String> {
        (self.unpersisted > 0).then(|| {
            format!(
                "{} files below {} are in the cache only and would be lost; persist them, or set control.force",
                self.unpersisted,
                cut(path, 100)
            )
        })
    }
}

/// In what a mount is not as wanted. An engine may know an option by another name than the one it was given; then it
/// shows the same value under a name that nobody asked for.
fn differences(wanted: &MountSpec, there: &MountView) -> Vec<String> {
    let mut all = Vec::new();
    if wanted.read_only != there.read_only {
        all.push("readOnly".into());
    }
    if wanted.shared != there.shared {
        all.push("shared".into());
    }
    let mut extra: BTreeMap<&str, &str> =
        there.options.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let mut missing = Vec::new();
    for option in &wanted.options {
        let shown = extra.remove(option.name.as_str());
        match (&option.value, shown) {
            (Some(value), Some(shown)) if value != shown => all.push(cut(&option.name, 40)),
            (Some(value), None) => missing.push((&option.name, value)),
            (Some(_), Some(_)) | (None, _) => {}
        }
    }
    for (name, value) in missing {
        let alias = extra.iter().find(|(_, v)| *v == value).map(|(n, _)| *n);
        match alias {
            Some(alias) => drop(extra.remove(alias)),
            None => all.push(cut(name, 40)),
        }
    }
    all.extend(extra.keys().map(|name| cut(name, 40)));
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::{MountOption, UnmountSpec, WhenInUse};

    fn view(path: &str, uri: &str) -> MountView {
        MountView { path: path.into(), uri: uri.into(), ..MountView::default() }
    }

    fn table(mounts: &[(&str, &str)]) -> MountTable {
        let mounts = mounts.iter().map(|(path, uri)| view(path, uri)).collect();
        MountTable { mounts, unpersisted: 0 }
    }

    fn wants(path: &str, uri: &str) -> MountSpec {
        crate::testing::mount_args(path, uri)
    }

    #[test]
    fn a_mount_stands_where_the_table_says() {
        let t = table(&[("/", "/root"), ("/a", "s3://b/x/"), ("/deep/c", "s3://c")]);
        let stands = |path, uri| t.standing(&wants(path, uri));
        assert_eq!(stands("/new", "s3://new"), Standing::Absent);
        assert_eq!(stands("/a", "s3://b/x"), Standing::AsWanted);
        assert_eq!(stands("/a", "s3://b/y"), Standing::Elsewhere { uri: "s3://b/x/".into() });
        for (path, uri, why) in [
            ("/deep", "s3://new", "NestedMount"),
            ("/new", "s3://b", "NestedUnderStorage"),
            ("/new", "s3://b/x/deeper", "NestedUnderStorage"),
            ("/new", "/root/sub", "NestedUnderStorage"),
            ("/new", "/", "NestedUnderStorage"),
        ] {
            let found = stands(path, uri);
            assert!(
                matches!(found, Standing::Impossible { reason, .. } if reason == why),
                "{path}: {found:?}"
            );
        }
    }

    #[test]
    fn options_are_compared_by_name_and_else_by_value() {
        let option = |name: &str, value: &str| MountOption {
            name: name.into(),
            value: Some(value.into()),
            value_from: None,
        };
        let there = |options: &[(&str, &str)]| {
            let options = options.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
            MountTable { mounts: vec![MountView { options, ..view("/a", "s3://b") }], unpersisted: 0 }
        };
        let wanted = MountSpec { options: vec![option("region", "x")], ..wants("/a", "s3://b") };
        let differs = |t: &MountTable| matches!(t.standing(&wanted), Standing::Differs { .. });
        assert!(!differs(&there(&[("region", "x")])) && !differs(&there(&[("s3.region", "x")])));
        assert!(differs(&there(&[])) && differs(&there(&[("region", "y")])));
        assert!(differs(&there(&[("region", "x"), ("other", "1")])));
        let flags = MountSpec { read_only: true, shared: true, ..wants("/a", "s3://b") };
        assert_eq!(there(&[]).standing(&flags), Standing::Differs { what: "readOnly, shared".into() });
    }

    #[test]
    fn nested_mounts_go_first_and_only_when_they_may() {
        let t = table(&[
            ("/", "/root"),
            ("/a", "s3://a"),
            ("/a/b", "s3://b"),
            ("/a/b/c", "s3://c"),
            ("/ab", "s3://d"),
        ]);
        let next = |t: &MountTable, path: &str, recursive| {
            let u = UnmountSpec { path: path.into(), recursive, when_in_use: WhenInUse::Refuse };
            t.next_to_unmount(&crate::testing::spec(ArmSpec::Unmount(u)))
                .map(|m| m.map(|m| m.path.clone()))
                .map_err(|e| e.reason)
        };
        assert_eq!(next(&t, "/a", true), Ok(Some("/a/b/c".into())));
        assert_eq!(next(&t, "/a", false), Err("NestedMount"));
        assert_eq!(next(&t, "/a/b/c", false), Ok(Some("/a/b/c".into())));
        assert_eq!(next(&t, "/ab", false), Ok(Some("/ab".into())));
        assert_eq!(next(&t, "/ab/x", false), Err("NotAMount"));
        assert_eq!(next(&t, "/gone", false), Ok(None));
    }

    #[test]
    fn a_mount_removes_only_what_it_replaces() {
        let t = table(&[("/a", "s3://old")]);
        let next = |uri| {
            let spec = crate::testing::spec(ArmSpec::Mount(wants("/a", uri)));
            t.next_to_unmount(&spec).unwrap().map(|m| m.uri.clone())
        };
        assert_eq!(next("s3://new"), Some("s3://old".into()));
        assert_eq!(next("s3://old"), None);
    }
}
