//! Where workers keep their copies: in memory, or as files of a directory. A copy is known by its worker and its path;
//! what is known *about* it (length, checksum, order) is the worker's record, not the tier's.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use sha2::{Digest as _, Sha256};
use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

/// SHA-256 of a copy, taken from the bytes when they were read from the under-storage.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Checksum([u8; 32]);

impl Checksum {
    pub fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }
}

impl fmt::Display for Checksum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|b| write!(f, "{b:02x}"))
    }
}

impl fmt::Debug for Checksum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Checksum {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Checksum {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = String::deserialize(from)?;
        let bad = || de::Error::custom("a checksum has 64 hexadecimal digits");
        let mut sum = [0; 32];
        if text.len() != 64 {
            return Err(bad());
        }
        for (i, byte) in sum.iter_mut().enumerate() {
            let digits = text.get(2 * i..2 * i + 2).ok_or_else(bad)?;
            *byte = u8::from_str_radix(digits, 16).map_err(|_| bad())?;
        }
        Ok(Self(sum))
    }
}

/// What a worker knows of a copy.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Copy {
    /// Order in which copies were made.
    pub seq: u64,
    /// Bytes.
    pub len: u64,
    /// Of its bytes.
    pub checksum: Checksum,
}

/// The bytes.
#[derive(Debug)]
pub(super) enum Tier {
    /// By worker, by path.
    Memory(Vec<BTreeMap<String, Vec<u8>>>),
    /// `<dir>/worker-<n>/<digest of the path>`.
    Disk(PathBuf),
}

impl Tier {
    pub fn memory(workers: usize) -> Self {
        Self::Memory(vec![BTreeMap::new(); workers])
    }

    pub fn put(&mut self, worker: usize, path: &str, bytes: Vec<u8>) -> std::io::Result<()> {
        match self {
            Self::Memory(workers) => {
                if let Some(w) = workers.get_mut(worker) {
                    w.insert(path.to_owned(), bytes);
                }
                Ok(())
            }
            Self::Disk(dir) => {
                std::fs::create_dir_all(folder(dir, worker))?;
                replace(&file(dir, worker, path), &bytes)
            }
        }
    }

    pub fn get(&self, worker: usize, path: &str) -> std::io::Result<Vec<u8>> {
        match self {
            Self::Memory(workers) => workers
                .get(worker)
                .and_then(|w| w.get(path))
                .cloned()
                .ok_or_else(|| std::io::ErrorKind::NotFound.into()),
            Self::Disk(dir) => std::fs::read(file(dir, worker, path)),
        }
    }

    /// Bytes of a copy, where there is one.
    pub fn len(&self, worker: usize, path: &str) -> Option<u64> {
        match self {
            Self::Memory(workers) => workers.get(worker)?.get(path).map(|b| b.len() as u64),
            Self::Disk(dir) => std::fs::metadata(file(dir, worker, path)).ok().map(|m| m.len()),
        }
    }

    /// Removes the bytes of a copy; on disk an error leaves an orphan, which the next opening removes.
    pub fn remove(&mut self, worker: usize, path: &str) {
        match self {
            Self::Memory(workers) => {
                if let Some(w) = workers.get_mut(worker) {
                    w.remove(path);
                }
            }
            Self::Disk(dir) => drop(std::fs::remove_file(file(dir, worker, path))),
        }
    }

    /// Removes every file that is not one of these copies: what a crash left half-way.
    pub fn sweep(&self, worker: usize, keep: &BTreeMap<String, Copy>) -> std::io::Result<()> {
        let Self::Disk(dir) = self else { return Ok(()) };
        let folder = folder(dir, worker);
        std::fs::create_dir_all(&folder)?;
        let names: std::collections::BTreeSet<String> = keep.keys().map(|p| name(p)).collect();
        for entry in std::fs::read_dir(&folder)? {
            let entry = entry?;
            if !entry.file_name().to_str().is_some_and(|n| names.contains(n)) {
                std::fs::remove_file(entry.path())?;
            }
        }
        Ok(())
    }
}

fn folder(dir: &Path, worker: usize) -> PathBuf {
    dir.join(format!("worker-{worker}"))
}

fn file(dir: &Path, worker: usize, path: &str) -> PathBuf {
    folder(dir, worker).join(name(path))
}

fn name(path: &str) -> String {
    Checksum::of(path.as_bytes()).to_string()
}

/// Writes a file so that a reader sees the old one or the new one, never half of it. A killed process loses nothing;
/// a machine without power may lose the last writes, which a cache can bear.
pub(super) fn replace(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(".part");
    std::fs::write(&temporary, bytes)?;
    std::fs::rename(&temporary, path)
}
