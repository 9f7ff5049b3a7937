//! The files: a tree that the demo makes, or a directory of the user's own, which is only ever read.

use super::DemoError;
use ratchet_simulator::cache::{Directory, UfsError, UnderStorage};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

/// Most files that the demo takes.
pub const MAX_FILES: u64 = 20_000;
/// Most bytes that it takes: they are copied into the temporary directory.
const MAX_BYTES: u64 = 2 << 30;
/// Bytes of a made file on the average.
const FILE_BYTES: u64 = 128 << 10;
/// Bytes of all made files, about.
const MADE_BYTES: u64 = 128 << 20;
/// Where the made files lie, and how many of a hundred.
const FOLDERS: [(&str, u64); 3] = [("images", 50), ("tables", 30), ("old", 20)];

/// What there is to load.
#[derive(Debug)]
pub struct Tree {
    /// Directory of the under-storage.
    pub root: PathBuf,
    /// Whether it is the user's own.
    pub own: bool,
    /// The path that is loaded.
    pub path: String,
    /// Files below it.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// What lies directly below the path, the largest part first.
    pub parts: Vec<Part>,
}

/// A part of the tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// Its path.
    pub path: String,
    /// Its files.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
}

impl Tree {
    /// Makes a tree in `root`.
    ///
    /// # Errors
    /// [`DemoError::Scratch`].
    pub async fn make(root: &Path, files: u64) -> Result<Self, DemoError> {
        let average = FILE_BYTES.min(MADE_BYTES / files.max(1)).max(16);
        let mut made = 0;
        for (i, (folder, share)) in FOLDERS.iter().enumerate() {
            let last = i + 1 == FOLDERS.len();
            let count = if last { files - made } else { files * share / 100 };
            for n in 0..count {
                let directory = root.join("data").join(folder).join(format!("{:02}", n / 100));
                if n % 100 == 0 {
                    fs::create_dir_all(&directory).map_err(DemoError::scratch(&directory))?;
                }
                let file = directory.join(format!("part-{n:05}.bin"));
                // From half of the average to one and a half.
                let len = average / 2 + (made + n) * 7_919 % (average + 1);
                fs::write(&file, noise(made + n, len)).map_err(DemoError::scratch(&file))?;
                if n % 16 == 0 {
                    // So that Ctrl-C is heard.
                    tokio::task::yield_now().await;
                }
            }
            made += count;
        }
        let unfit = |why| DemoError::Unfit { path: root.to_owned(), why };
        survey(root, "/data", false).map_err(unfit)
    }

    /// The user's own directory.
    ///
    /// # Errors
    /// [`DemoError::Unfit`].
    pub fn of(path: &Path) -> Result<Self, DemoError> {
        let unfit = |why| DemoError::Unfit { path: path.to_owned(), why };
        let root = fs::canonicalize(path).map_err(|e| unfit(format!("{e}; name a directory")))?;
        bounded(&root).map_err(unfit)?;
        survey(&root, "/", true).map_err(unfit)
    }
}

/// Bytes that look random and are the same for the same seed.
fn noise(seed: u64, len: u64) -> Vec<u8> {
    let mut state = (seed + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let len = usize::try_from(len).unwrap_or(0);
    let mut out = Vec::with_capacity(len + 8);
    while out.len() < len {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        out.extend(state.to_le_bytes());
    }
    out.truncate(len);
    out
}

/// Whether a directory is small enough; looks no further than that takes.
fn bounded(root: &Path) -> Result<(), String> {
    let (mut files, mut bytes, mut left) = (0, 0, vec![root.to_owned()]);
    while let Some(directory) = left.pop() {
        let shown = |e: std::io::Error| format!("{}: {e}; make it readable", directory.display());
        for entry in fs::read_dir(&directory).map_err(shown)? {
            let entry = entry.map_err(shown)?;
            let meta = entry.metadata().map_err(shown)?;
            if meta.is_dir() {
                left.push(entry.path());
                continue;
            }
            files += 1;
            bytes += meta.len();
            if files > MAX_FILES || bytes > MAX_BYTES {
                return Err(format!(
                    "it has more than {MAX_FILES} files or {} GiB, and the demo makes a copy; name a smaller directory",
                    MAX_BYTES >> 30
                ));
            }
        }
    }
    Ok(())
}

/// Counts what the cache will find below `path`.
fn survey(root: &Path, path: &str, own: bool) -> Result<Tree, String> {
    let directory = Directory::open(root).map_err(|e| format!("{e}; name a directory"))?;
    let all = directory.list(path).map_err(|e| e.to_string())?;
    let (files, bytes) = (all.len() as u64, all.iter().map(|(_, len)| len).sum());
    if files < 10 || bytes < 1_000 {
        return Err(format!(
            "it has {files} files with {bytes} bytes; name one with 10 files and 1,000 bytes"
        ));
    }
    let stem = path.trim_end_matches('/');
    let mut parts: BTreeMap<&str, Part> = BTreeMap::new();
    for (file, len) in &all {
        let rest = file.strip_prefix(stem).unwrap_or(file).trim_start_matches('/');
        let name = rest.split('/').next().unwrap_or_default();
        let part =
            parts.entry(name).or_insert_with(|| Part { path: format!("{stem}/{name}"), files: 0, bytes: 0 });
        part.files += 1;
        part.bytes += len;
    }
    let usable = |p: &Part| ratchet_state_machine::spec::path_problem(&p.path).is_none();
    let mut parts: Vec<Part> = parts.into_values().filter(usable).collect();
    parts.sort_by_key(|p| std::cmp::Reverse(p.bytes));
    Ok(Tree { root: root.to_owned(), own, path: path.to_owned(), files, bytes, parts })
}

/// The under-storage of the demo: counts how often each file is read, and cannot be written to.
pub struct Files {
    directory: Directory,
    reads: Mutex<BTreeMap<String, u64>>,
}

impl Files {
    /// Over a directory.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub fn open(root: &Path) -> std::io::Result<Self> {
        Ok(Self { directory: Directory::open(root)?, reads: Mutex::default() })
    }

    /// How often each file was read.
    pub fn reads(&self) -> BTreeMap<String, u64> {
        self.reads.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl UnderStorage for Files {
    fn list(&self, path: &str) -> Result<Vec<(String, u64)>, UfsError> {
        self.directory.list(path)
    }

    fn read(&self, path: &str) -> Result<Vec<u8>, UfsError> {
        let bytes = self.directory.read(path)?;
        *self.reads.lock().unwrap_or_else(PoisonError::into_inner).entry(path.to_owned()).or_default() += 1;
        Ok(bytes)
    }

    fn exists(&self, path: &str) -> bool {
        self.directory.exists(path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn noise_has_its_length_and_differs_from_file_to_file() {
        assert_eq!(noise(1, 1_001).len(), 1_001);
        assert_eq!(noise(7, 64), noise(7, 64));
        assert_ne!(noise(7, 64), noise(8, 64));
    }
}
