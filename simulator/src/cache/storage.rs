//! What lies under the cache. `Memory` is for simulations, `Directory` for a laptop; neither is ever changed by a load
//! or a free. Paths are absolute, `/`-separated and normal: no `.`, no `..`, no doubled slash.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Why the under-storage gave nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UfsError {
    /// Nothing is there.
    #[error("{0} does not exist in the under-storage")]
    NotFound(String),
    /// The path leads out of the storage, or is not a path.
    #[error("{0} is not a path of this under-storage")]
    Outside(String),
    /// It cannot be written to.
    #[error("the under-storage is read-only")]
    ReadOnly,
    /// It failed.
    #[error("the under-storage failed at {path}: {detail}")]
    Failed {
        /// At what.
        path: String,
        /// Why.
        detail: String,
    },
}

/// A store of files that outlives the cache.
pub trait UnderStorage: Send + Sync {
    /// Every file below `path` (or `path` itself, when it is a file) with its length in bytes, sorted by path.
    ///
    /// # Errors
    /// [`UfsError::NotFound`] when there is neither a file nor a directory.
    fn list(&self, path: &str) -> Result<Vec<(String, u64)>, UfsError>;
    /// The bytes of a file.
    ///
    /// # Errors
    /// [`UfsError`].
    fn read(&self, path: &str) -> Result<Vec<u8>, UfsError>;
    /// Whether there is a file or a directory.
    fn exists(&self, path: &str) -> bool;
    /// Writes a whole file: what persisting does.
    ///
    /// # Errors
    /// [`UfsError::ReadOnly`] unless the storage says otherwise.
    fn write(&self, _path: &str, _bytes: &[u8]) -> Result<(), UfsError> {
        Err(UfsError::ReadOnly)
    }
}

/// Whether a path is below (or is) another, by components.
#[must_use]
pub(super) fn within(path: &str, top: &str) -> bool {
    top == "/" || path.strip_prefix(top).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// The range of keys that lie strictly below `top`: from `top/` up to what follows every `top/...`.
#[must_use]
pub(super) fn below(top: &str) -> (String, String) {
    let stem = if top == "/" { "" } else { top };
    // '0' is the character after '/'.
    (format!("{stem}/"), format!("{stem}0"))
}

/// Files in memory.
#[derive(Debug, Default)]
pub struct Memory {
    files: Mutex<BTreeMap<String, Vec<u8>>>,
}

impl Memory {
    /// With these files.
    #[must_use]
    pub fn with<'a>(files: impl IntoIterator<Item = (&'a str, &'a [u8])>) -> Self {
        let files = files.into_iter().map(|(path, bytes)| (path.to_owned(), bytes.to_vec())).collect();
        Self { files: Mutex::new(files) }
    }

    /// Writes a file.
    pub fn put(&self, path: &str, bytes: impl Into<Vec<u8>>) {
        self.files().insert(path.to_owned(), bytes.into());
    }

    /// Removes a file; whether it was there.
    pub fn remove(&self, path: &str) -> bool {
        self.files().remove(path).is_some()
    }

    fn files(&self) -> MutexGuard<'_, BTreeMap<String, Vec<u8>>> {
        self.files.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl UnderStorage for Memory {
    fn list(&self, path: &str) -> Result<Vec<(String, u64)>, UfsError> {
        let files = self.files();
        if let Some(bytes) = files.get(path) {
            return Ok(vec![(path.to_owned(), bytes.len() as u64)]);
        }
        let (from, to) = below(path);
        let found: Vec<_> = files.range(from..to).map(|(p, b)| (p.clone(), b.len() as u64)).collect();
        if found.is_empty() && path != "/" { Err(UfsError::NotFound(path.to_owned())) } else { Ok(found) }
    }

    fn read(&self, path: &str) -> Result<Vec<u8>, UfsError> {
        self.files().get(path).cloned().ok_or_else(|| UfsError::NotFound(path.to_owned()))
    }

    fn exists(&self, path: &str) -> bool {
        let files = self.files();
        let (from, to) = below(path);
        path == "/" || files.contains_key(path) || files.range(from..to).next().is_some()
    }

    fn write(&self, path: &str, bytes: &[u8]) -> Result<(), UfsError> {
        self.put(path, bytes);
        Ok(())
    }
}

/// A directory of this machine. Nothing outside it is ever read or written, whatever a path or a link says.
#[derive(Debug)]
pub struct Directory {
    root: PathBuf,
}

impl Directory {
    /// The directory at `root`, which must exist.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub fn open(root: impl AsRef<Path>) -> std::io::Result<Self> {
        let root = root.as_ref().canonicalize()?;
        if !root.is_dir() {
            return Err(std::io::Error::new(std::io::ErrorKind::NotADirectory, "not a directory"));
        }
        Ok(Self { root })
    }

    /// The place a path names, without following anything yet.
    fn place(&self, path: &str) -> Result<PathBuf, UfsError> {
        let outside = || UfsError::Outside(path.to_owned());
        let rest = path.strip_prefix('/').ok_or_else(outside)?;
        let mut place = self.root.clone();
        if rest.is_empty() {
            return Ok(place);
        }
        for part in rest.split('/') {
            if part.is_empty() || part == "." || part == ".." || part.contains(['\0', '\\']) {
                return Err(outside());
            }
            place.push(part);
        }
        Ok(place)
    }

    /// What a path names, links followed, proved to be inside.
    fn real(&self, path: &str) -> Result<PathBuf, UfsError> {
        let real = self.place(path)?.canonicalize().map_err(|e| failed(path, &e))?;
        if real.starts_with(&self.root) { Ok(real) } else { Err(UfsError::Outside(path.to_owned())) }
    }

    /// Adds what is below a directory. Links to directories are not entered, so a walk always ends.
    fn walk(&self, place: &Path, path: &str, found: &mut Vec<(String, u64)>) -> Result<(), UfsError> {
        for entry in std::fs::read_dir(place).map_err(|e| failed(path, &e))? {
            let entry = entry.map_err(|e| failed(path, &e))?;
            // A name that is not UTF-8 cannot be a path of the cache.
            let Ok(name) = entry.file_name().into_string() else { continue };
            let child = if path == "/" { format!("/{name}") } else { format!("{path}/{name}") };
            let kind = entry.file_type().map_err(|e| failed(&child, &e))?;
            if kind.is_dir() {
                self.walk(&entry.path(), &child, found)?;
            } else if let Ok(meta) =
                self.real(&child).and_then(|p| p.metadata().map_err(|e| failed(&child, &e)))
                && meta.is_file()
            {
                found.push((child, meta.len()));
            }
        }
        Ok(())
    }
}

fn failed(path: &str, error: &std::io::Error) -> UfsError {
    let kind = error.kind();
    if matches!(kind, std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory) {
        return UfsError::NotFound(path.to_owned());
    }
    UfsError::Failed { path: path.to_owned(), detail: kind.to_string() }
}

impl UnderStorage for Directory {
    fn list(&self, path: &str) -> Result<Vec<(String, u64)>, UfsError> {
        let real = self.real(path)?;
        let meta = real.metadata().map_err(|e| failed(path, &e))?;
        if meta.is_file() {
            return Ok(vec![(path.to_owned(), meta.len())]);
        }
        let mut found = Vec::new();
        self.walk(&real, path, &mut found)?;
        found.sort();
        Ok(found)
    }

    fn read(&self, path: &str) -> Result<Vec<u8>, UfsError> {
        std::fs::read(self.real(path)?).map_err(|e| failed(path, &e))
    }

    fn exists(&self, path: &str) -> bool {
        self.real(path).is_ok()
    }

    fn write(&self, path: &str, bytes: &[u8]) -> Result<(), UfsError> {
        let place = self.place(path)?;
        let outside = || UfsError::Outside(path.to_owned());
        let parent = path.rsplit_once('/').map_or("/", |(p, _)| if p.is_empty() { "/" } else { p });
        // The nearest ancestor that exists must be inside before anything is made below it.
        let mut above = parent;
        while !self.place(above)?.exists() {
            above = above.rsplit_once('/').map_or("/", |(p, _)| if p.is_empty() { "/" } else { p });
        }
        self.real(above)?;
        let dir = place.parent().ok_or_else(outside)?;
        std::fs::create_dir_all(dir).map_err(|e| failed(path, &e))?;
        let name = place.file_name().ok_or_else(outside)?;
        let temporary = self.real(parent)?.join(format!(".{}.part", name.to_string_lossy()));
        std::fs::write(&temporary, bytes)
            .and_then(|()| std::fs::rename(&temporary, &place))
            .map_err(|e| failed(path, &e))
    }
}
