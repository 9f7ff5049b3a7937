//! Mounts: which store a path of the namespace lies in, how the table is changed, and what goes when a mount goes.
//!
//! ```text
//!   /            -> the root under-storage
//!   /training/x  -> the store mounted at /training, there /x
//! ```
//!
//! The habits are Alluxio's: a mount needs a place that does not exist yet, an update replaces all options and keeps the
//! copies, an unmount drops what the cache has below it and leaves the store alone.

use super::state::{Core, Undo};
use super::storage::{UfsError, UnderStorage, below, within};
use ratchet_state_machine::effect::Trouble;
use ratchet_state_machine::mounts::{MountTable, MountView};
use ratchet_state_machine::spec::{MountSpec, names_credential, uris_overlap};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Opens the store at an address.
pub(super) type OpenStore = dyn Fn(&str) -> Result<Arc<dyn UnderStorage>, UfsError> + Send + Sync;

/// A mount, as the master's journal has it. Values of credentials are not kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Mounted {
    pub uri: String,
    pub read_only: bool,
    pub shared: bool,
    pub options: BTreeMap<String, String>,
}

impl Mounted {
    fn new(wanted: &MountSpec) -> Self {
        let plain = |o: &ratchet_state_machine::spec::MountOption| Some((o.name.clone(), o.value.clone()?));
        Self {
            uri: wanted.uri.clone(),
            read_only: wanted.read_only,
            shared: wanted.shared,
            options: wanted.options.iter().filter_map(plain).collect(),
        }
    }
}

/// The stores behind the namespace.
pub(super) struct Stores {
    pub root: Arc<dyn UnderStorage>,
    /// Address of the root, for the table.
    pub root_uri: String,
    pub open: Arc<OpenStore>,
    opened: BTreeMap<String, Arc<dyn UnderStorage>>,
}

impl Stores {
    /// The root alone; nothing else can be mounted.
    pub fn only(root: Arc<dyn UnderStorage>) -> Self {
        let open = |uri: &str| Err(UfsError::Outside(uri.to_owned()));
        Self { root, root_uri: "root://".into(), open: Arc::new(open), opened: BTreeMap::new() }
    }

    fn at(&self, uri: &str) -> Result<Arc<dyn UnderStorage>, UfsError> {
        match self.opened.get(uri) {
            Some(store) => Ok(Arc::clone(store)),
            None => (self.open)(uri),
        }
    }
}

/// Why a mount is not changed: Alluxio's word for it, and whether the path is unknown.
pub(super) struct Refusal {
    pub message: String,
    pub unknown: bool,
}

fn no(message: String) -> Refusal {
    Refusal { message, unknown: false }
}

fn join(mount: &str, inner: &str) -> String {
    if inner == "/" { mount.to_owned() } else { format!("{mount}{inner}") }
}

impl Core {
    /// The mount that a path lies in, with the path in its store; `None`: the root.
    fn mount_of<'a>(&self, path: &'a str) -> Option<(&String, &Mounted, &'a str)> {
        let inside =
            self.s.mounts.iter().filter(|(at, _)| within(path, at)).max_by_key(|(at, _)| at.len())?;
        let rest = path.strip_prefix(inside.0.as_str()).filter(|r| !r.is_empty()).unwrap_or("/");
        Some((inside.0, inside.1, rest))
    }

    /// Every stored file below a path, as [`UnderStorage::list`] gives it.
    pub fn stored(&self, path: &str) -> Result<Vec<(String, u64)>, UfsError> {
        let mut found = match self.mount_of(path) {
            None => self.stores.root.list(path),
            Some((at, mounted, inner)) => {
                let listed = self.stores.at(&mounted.uri)?.list(inner);
                listed.map(|all| all.into_iter().map(|(p, len)| (join(at, &p), len)).collect())
            }
        };
        let (from, to) = below(path);
        let deeper: Vec<&String> = self.s.mounts.range(from..to).map(|(at, _)| at).collect();
        if deeper.is_empty() {
            return found;
        }
        if matches!(found, Err(UfsError::NotFound(_))) {
            found = Ok(Vec::new());
        }
        let mut found = found?;
        found.retain(|(p, _)| !deeper.iter().any(|at| within(p, at)));
        for at in deeper {
            let Some(mounted) = self.s.mounts.get(at) else { continue };
            match self.stores.at(&mounted.uri)?.list("/") {
                Ok(all) => found.extend(all.into_iter().map(|(p, len)| (join(at, &p), len))),
                Err(UfsError::NotFound(_)) => {}
                Err(why) => return Err(why),
            }
        }
        found.sort();
        Ok(found)
    }

    /// The bytes of a stored file.
    pub fn stored_bytes(&self, path: &str) -> Result<Vec<u8>, UfsError> {
        match self.mount_of(path) {
            None => self.stores.root.read(path),
            Some((_, mounted, inner)) => self.stores.at(&mounted.uri)?.read(inner),
        }
    }

    /// Writes a file to where its path lies.
    pub fn store_bytes(&self, path: &str, bytes: &[u8]) -> Result<(), UfsError> {
        match self.mount_of(path) {
            None => self.stores.root.write(path, bytes),
            Some((_, mounted, _)) if mounted.read_only => Err(UfsError::ReadOnly),
            Some((_, mounted, inner)) => self.stores.at(&mounted.uri)?.write(inner, bytes),
        }
    }

    /// The mount table, and how much below a path only the cache has.
    pub fn table(&self, count: Option<&str>) -> Result<MountTable, Trouble> {
        let root = MountView { path: "/".into(), uri: self.stores.root_uri.clone(), ..MountView::default() };
        let view = |(at, m): (&String, &Mounted)| MountView {
            path: at.clone(),
            uri: m.uri.clone(),
            read_only: m.read_only,
            shared: m.shared,
            options: m.options.clone().into_iter().filter(|(name, _)| !names_credential(name)).collect(),
        };
        let mounts = std::iter::once(root).chain(self.s.mounts.iter().map(view)).collect();
        let only = count.map_or(0, |path| self.under(path).filter(|(_, k)| !k.persisted).count());
        Ok(MountTable { mounts, unpersisted: i64::try_from(only).unwrap_or(i64::MAX) })
    }

    /// Mounts a store where nothing is.
    pub fn mount(&mut self, path: &str, wanted: &MountSpec) -> Result<(), Refusal> {
        if self.s.mounts.contains_key(path) || self.knows(path) {
            return Err(no(format!("Mount point target path {path} already exists in Alluxio namespace")));
        }
        if self.stored(path).is_ok() {
            return Err(no(format!(
                "Mount path {path} shadows an existing path in the parent underlying filesystem"
            )));
        }
        let uris = self.s.mounts.values().map(|m| &m.uri).chain(std::iter::once(&self.stores.root_uri));
        if let Some(other) = uris.into_iter().find(|u| uris_overlap(u, &wanted.uri)) {
            return Err(no(format!("Mount point {other} is a prefix of {}", wanted.uri)));
        }
        let store = (self.stores.open)(&wanted.uri)
            .map_err(|_| no(format!("Ufs path {} does not exist", wanted.uri)))?;
        self.stores.opened.insert(wanted.uri.clone(), store);
        self.set_mount(path, Some(Mounted::new(wanted)));
        Ok(())
    }

    /// Gives a mount its settings. Whether one that can be seen is another now.
    pub fn update_mount(&mut self, path: &str, wanted: &MountSpec) -> Result<bool, Refusal> {
        let Some(there) = self.s.mounts.get(path) else {
            let message = format!(
                "Cannot update mount properties for {path}. Please ensure the path is an existing mount point"
            );
            return Err(no(message));
        };
        let next = Mounted { uri: there.uri.clone(), ..Mounted::new(wanted) };
        let changed = *there != next;
        if changed {
            self.set_mount(path, Some(next));
        }
        Ok(changed)
    }

    /// Removes a mount, and with it what the cache has below it.
    pub fn unmount(&mut self, path: &str) -> Result<(), Refusal> {
        let (from, to) = below(path);
        if !self.s.mounts.contains_key(path) {
            return Err(Refusal {
                message: format!("Failed to unmount: Path {path} does not exist"),
                unknown: !self.knows(path),
            });
        }
        if self.s.mounts.range(from..to).next().is_some() {
            return Err(no(format!(
                "Failed to unmount {path}. Please ensure the path is an existing mount point"
            )));
        }
        self.set_mount(path, None);
        Ok(())
    }

    fn set_mount(&mut self, path: &str, mounted: Option<Mounted>) {
        let before = self.put_mount(path, mounted);
        self.remember(Undo::Mount { path: path.to_owned(), before });
    }

    /// Changes the table; what the cache knows below a mount that goes is forgotten.
    pub fn put_mount(&mut self, path: &str, mounted: Option<Mounted>) -> Option<Mounted> {
        self.dirty = true;
        let Some(mounted) = mounted else {
            let before = self.s.mounts.remove(path);
            let files: Vec<String> = self.under(path).map(|(file, _)| file.clone()).collect();
            for file in &files {
                self.s.files.remove(file);
                self.drop_everywhere(file);
            }
            let (from, to) = below(path);
            self.s.dirs.retain(|d| d != path && !(from.as_str()..to.as_str()).contains(&d.as_str()));
            return before;
        };
        self.s.dirs.insert(path.to_owned());
        self.s.mounts.insert(path.to_owned(), mounted)
    }
}
