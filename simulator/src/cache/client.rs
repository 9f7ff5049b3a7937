//! What clients of the cache do: read, write into the cache only, persist, pin.

use super::Cache;
use super::state::{Core, Known, Undo};
use super::storage::UfsError;

/// Why a client got nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// Nobody answers.
    #[error("nobody answers")]
    Unreachable,
    /// Only the cache had it, and no worker that serves has it now.
    #[error("{0} has no copy that can be read")]
    NoCopy(String),
    /// There is no room for it.
    #[error("{0} finds no room on any worker")]
    NoRoom(String),
    /// The under-storage gave nothing.
    #[error(transparent)]
    UnderStorage(#[from] UfsError),
}

impl Cache {
    /// Reads a file as a client does: a copy if there is one, else the under-storage, which leaves a copy.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn read(&self, path: &str) -> Result<Vec<u8>, ReadError> {
        self.change(|c| c.read(path))
    }

    /// Writes a file that only the cache has (Alluxio: `MUST_CACHE`).
    ///
    /// # Errors
    /// [`ReadError::NoRoom`].
    pub fn write_cached_only(&self, path: &str, bytes: impl Into<Vec<u8>>) -> Result<(), ReadError> {
        self.change(|c| {
            let bytes = bytes.into();
            let len = bytes.len() as u64;
            if !c.place(path, bytes) {
                return Err(ReadError::NoRoom(path.to_owned()));
            }
            c.write(path, len);
            Ok(())
        })
    }

    /// Writes a file that only the cache has to the under-storage. Of one that is there already, nothing is written.
    ///
    /// # Errors
    /// [`ReadError`], also for a file that the cache does not know.
    pub fn persist(&self, path: &str) -> Result<(), ReadError> {
        self.change(|c| {
            let Some(known) = c.s.files.get(path) else {
                return Err(UfsError::NotFound(path.to_owned()).into());
            };
            if known.persisted {
                return Ok(());
            }
            let bytes = c.read(path)?;
            c.store_bytes(path, &bytes)?;
            if let Some(known) = c.s.files.get_mut(path) {
                known.persisted = true;
            }
            c.s.entrusted.remove(path);
            c.dirty = true;
            Ok(())
        })
    }

    /// Keeps the copies of a file from being evicted or freed. Whether the cache knows the file.
    pub fn pin(&self, path: &str) -> bool {
        self.set_pinned(path, true)
    }

    /// Undoes [`Self::pin`].
    pub fn unpin(&self, path: &str) -> bool {
        self.set_pinned(path, false)
    }

    fn set_pinned(&self, path: &str, pinned: bool) -> bool {
        self.change(|c| {
            c.dirty = true;
            c.s.files.get_mut(path).map(|k| k.pinned = pinned).is_some()
        })
    }
}

impl Core {
    fn read(&mut self, path: &str) -> Result<Vec<u8>, ReadError> {
        if !self.reachable {
            return Err(ReadError::Unreachable);
        }
        let copy = self.holder(path).and_then(|worker| self.tier.get(worker, path).ok());
        if let Some(bytes) = copy {
            return Ok(bytes);
        }
        if self.s.files.get(path).is_some_and(|k| !k.persisted) {
            return Err(ReadError::NoCopy(path.to_owned()));
        }
        let bytes = self.stored_bytes(path)?;
        self.learn(path, vec![(path.to_owned(), bytes.len() as u64)]);
        self.place(path, bytes.clone());
        Ok(bytes)
    }

    /// Takes a file that was written by a client into the namespace.
    fn write(&mut self, path: &str, len: u64) {
        let mut dirs = Vec::new();
        self.enter(path, &mut dirs);
        self.remember(Undo::Learnt { files: Vec::new(), dirs });
        let written_ms = self.s.now;
        let known = Known { len, persisted: false, pinned: false, asked: false, written_ms };
        self.s.files.insert(path.to_owned(), known);
        self.s.entrusted.insert(path.to_owned());
    }
}
