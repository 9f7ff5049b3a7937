//! What survives `kill -9`: an append-only log of changes and a snapshot of what came before it.
//!
//! ```text
//!   DATA/lock                    held while the process lives; its pid
//!   DATA/state/000007.snapshot   every object, a first and a last line: written aside, then renamed
//!   DATA/state/000007.log        the changes after it, one line each, in the kernel's hands before they are answered
//! ```
//!
//! Compaction begins log n+1, writes snapshot n+1 from the server, and only then removes what is older; a crash in
//! between leaves snapshot n with the logs n and n+1, which say the same. Only the last line of the last log can be
//! torn, and what it said was never answered.

use super::DevError;
use super::line::Line;
use ratchet_simulator::api::{Change, Server};
use serde_json::Value;
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, BufWriter, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

const FORMAT: u32 = 1;
/// Bytes of a log that are worth a snapshot.
const LONG: u64 = 32 << 20;

/// The store of one directory.
pub struct Store {
    directory: PathBuf,
    log: Mutex<Log>,
    /// Held until the process ends, however it ends.
    _lock: File,
}

/// The log that is written.
struct Log {
    file: File,
    generation: u64,
    length: u64,
    revision: u64,
    /// A write failed and could not be taken back: nothing may follow it.
    broken: bool,
}

type Key = (String, String, String);

/// What was kept: objects in the order in which they are put back.
#[derive(Debug, Default)]
pub struct Kept {
    objects: BTreeMap<Key, Value>,
    revision: u64,
}

impl Kept {
    /// Puts everything back.
    ///
    /// # Errors
    /// [`DevError::Restore`].
    pub fn restore(self, server: &Server) -> Result<(), DevError> {
        let revision = self.revision;
        let is_crd = |key: &Key| key.0.starts_with("customresourcedefinitions.");
        let (crds, others): (Vec<_>, Vec<_>) = self.objects.into_iter().partition(|(key, _)| is_crd(key));
        for ((kind, namespace, name), object) in crds.into_iter().chain(others) {
            let refused = |why| DevError::Restore { object: format!("{kind} {namespace}/{name}"), why };
            server.restore(object, revision).map_err(refused)?;
        }
        Ok(())
    }

    fn take(&mut self, line: Line<'static>) {
        match line {
            Line::Head { revision, .. } => self.revision = self.revision.max(revision),
            Line::Put { revision, kind, object } => {
                self.revision = self.revision.max(revision);
                let object = object.into_owned();
                let key = (kind.into_owned(), text(&object, "namespace"), text(&object, "name"));
                self.objects.insert(key, object);
            }
            Line::Gone { revision, kind, namespace, name } => {
                self.revision = self.revision.max(revision);
                self.objects.remove(&(kind.into_owned(), namespace.into_owned(), name.into_owned()));
            }
            Line::End { .. } => {}
        }
    }
}

fn text(object: &Value, field: &str) -> String {
    object["metadata"][field].as_str().unwrap_or_default().to_owned()
}

impl Store {
    /// Takes the directory for this process, and reads what is in it.
    ///
    /// # Errors
    /// [`DevError::Busy`], [`DevError::Damaged`], [`DevError::Data`].
    pub fn open(directory: &Path, reset: bool) -> Result<(Self, Kept), DevError> {
        let make = |path: &Path| DirBuilder::new().recursive(true).mode(0o700).create(path);
        make(directory).map_err(DevError::data(directory))?;
        let directory = fs::canonicalize(directory).map_err(DevError::data(directory))?;
        let lock = lock(&directory)?;
        let state = directory.join("state");
        // The cache's copies belong to the state: they are its operations' doing.
        for part in [&state, &directory.join("cache")] {
            if reset && part.exists() {
                fs::remove_dir_all(part).map_err(DevError::data(part))?;
            }
        }
        make(&state).map_err(DevError::data(&state))?;
        let (kept, last) = read(&state)?;
        let generation = last + 1;
        let revision = kept.revision;
        let log = begin(&state, generation, revision).map_err(DevError::data(&state))?;
        Ok((Self { directory, log: Mutex::new(log), _lock: lock }, kept))
    }

    /// The directory, as an absolute path.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Writes a change. Only then may it be answered.
    ///
    /// # Errors
    /// A sentence; the change is not kept.
    pub fn append(&self, change: &Change) -> Result<(), String> {
        let kind = Cow::Owned(change.kind.qualified());
        let line = if change.type_ == "DELETED" {
            let (namespace, name) = (text(&change.object, "namespace"), text(&change.object, "name"));
            Line::Gone { revision: change.revision, kind, namespace: namespace.into(), name: name.into() }
        } else {
            Line::Put { revision: change.revision, kind, object: Cow::Borrowed(&*change.object) }
        };
        let line = line.encode().map_err(|e| e.to_string())?;
        let mut log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        log.write(&line)
            .map_err(|e| format!("the change cannot be kept in {}: {e}", self.directory.display()))?;
        log.revision = log.revision.max(change.revision);
        Ok(())
    }

    /// Waits until everything that was written is on the disk.
    ///
    /// # Errors
    /// When the disk says no.
    pub fn sync(&self) -> io::Result<()> {
        let file = self.log.lock().unwrap_or_else(PoisonError::into_inner).file.try_clone()?;
        file.sync_data()
    }

    /// Whether a snapshot is worth it.
    pub fn long(&self) -> bool {
        self.log.lock().unwrap_or_else(PoisonError::into_inner).length > LONG
    }

    /// Begins a new log, writes a snapshot of everything, and removes what is older.
    ///
    /// # Errors
    /// When the disk says no; nothing is lost.
    pub fn compact(&self, server: &Server) -> io::Result<()> {
        let state = self.directory.join("state");
        let generation = {
            let mut log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
            log.file.sync_data()?;
            *log = begin(&state, log.generation + 1, log.revision)?;
            log.generation
        };
        // A change that was in the old log is in the server when it can be asked: it commits what it has logged
        // before it lets anybody else in.
        snapshot(&state, generation, server)?;
        for (number, path) in files(&state)? {
            if number < generation {
                fs::remove_file(path)?;
            }
        }
        Ok(())
    }
}

impl Log {
    fn write(&mut self, line: &[u8]) -> io::Result<()> {
        if self.broken {
            return Err(io::Error::other("an earlier write was torn; start `ratchet dev` again"));
        }
        if let Err(error) = self.file.write_all(line) {
            // Half a line must not stay in front of the next one.
            self.broken = self.file.set_len(self.length).is_err();
            return Err(error);
        }
        self.length += line.len() as u64;
        Ok(())
    }
}

fn lock(directory: &Path) -> Result<File, DevError> {
    let path = directory.join("lock");
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(&path)
        .map_err(DevError::data(&path))?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut pid = String::new();
            let _ = file.read_to_string(&mut pid);
            let pid = Some(pid.trim().to_owned()).filter(|p| !p.is_empty());
            return Err(DevError::Busy { path: directory.to_owned(), pid });
        }
        Err(TryLockError::Error(source)) => return Err(DevError::Data { path, source }),
    }
    let own = file.set_len(0).and_then(|()| writeln!(file, "{}", std::process::id()));
    own.map_err(DevError::data(path))?;
    Ok(file)
}

/// A log with its first line.
fn begin(state: &Path, generation: u64, revision: u64) -> io::Result<Log> {
    let path = state.join(format!("{generation:06}.log"));
    let file = OpenOptions::new().append(true).create_new(true).mode(0o600).open(path)?;
    let mut log = Log { file, generation, length: 0, revision, broken: false };
    log.write(&Line::Head { format: FORMAT, revision }.encode()?)?;
    Ok(log)
}

fn snapshot(state: &Path, generation: u64, server: &Server) -> io::Result<()> {
    let aside = state.join("snapshot.new");
    let file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&aside)?;
    let mut out = BufWriter::new(file);
    out.write_all(&Line::Head { format: FORMAT, revision: server.revision() }.encode()?)?;
    let mut lines = 0;
    for kind in server.kinds() {
        for object in server.objects(&kind.plural) {
            if object["apiVersion"].as_str() != Some(&kind.api_version()) {
                continue;
            }
            let line =
                Line::Put { revision: 0, kind: kind.qualified().into(), object: Cow::Borrowed(&*object) };
            out.write_all(&line.encode()?)?;
            lines += 1;
        }
    }
    out.write_all(&Line::End { lines }.encode()?)?;
    out.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()?;
    fs::rename(aside, state.join(format!("{generation:06}.snapshot")))?;
    File::open(state)?.sync_all()
}

/// The snapshots and logs of a directory, in order.
fn files(state: &Path) -> io::Result<Vec<(u64, PathBuf)>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(state)? {
        let path = entry?.path();
        let known = path.extension().is_some_and(|e| e == "log" || e == "snapshot");
        let number = path.file_stem().and_then(|s| s.to_str()).and_then(|s| s.parse().ok());
        if let (true, Some(number)) = (known, number) {
            files.push((number, path));
        }
    }
    files.sort();
    Ok(files)
}

/// The newest snapshot and every log from it on; and the last number in use.
fn read(state: &Path) -> Result<(Kept, u64), DevError> {
    let files = files(state).map_err(DevError::data(state))?;
    let mut kept = Kept::default();
    let last = files.iter().map(|(n, _)| *n).max().unwrap_or_default();
    let is = |path: &Path, what: &str| path.extension().is_some_and(|e| e == what);
    let from = files.iter().rev().find(|(_, path)| is(path, "snapshot"));
    if let Some((_, path)) = from {
        read_file(path, false, &mut kept)?;
    }
    let from = from.map_or(0, |(n, _)| *n);
    for (_, path) in files.iter().filter(|(n, path)| *n >= from && is(path, "log")) {
        // A log that is not the last one was left by a start that did not get as far as its snapshot: its end may be
        // torn as well, and nothing that was answered comes after it.
        read_file(path, true, &mut kept)?;
    }
    Ok((kept, last))
}

fn read_file(path: &Path, log: bool, kept: &mut Kept) -> Result<(), DevError> {
    let bytes = fs::read(path).map_err(DevError::data(path))?;
    let damaged = |line, why: &str| DevError::Damaged { file: path.to_owned(), line, why: why.to_owned() };
    let lines: Vec<&[u8]> = bytes.split_inclusive(|&b| b == b'\n').collect();
    let mut ended = log;
    for (at, line) in lines.iter().enumerate() {
        let number = at + 1;
        let decoded = match line.strip_suffix(b"\n") {
            Some(line) => Line::decode(line),
            None => Err("it is torn".into()),
        };
        match decoded {
            Ok(Line::Head { format, .. }) if format != FORMAT => {
                return Err(damaged(number, "it was written by another version"));
            }
            Ok(line) => {
                if let Line::End { lines } = line {
                    ended = lines + 2 == number;
                }
                kept.take(line);
            }
            Err(why) if log && number == lines.len() => {
                tracing::warn!(file = %path.display(), number, why, "the last line of the log is left out");
            }
            Err(why) => return Err(damaged(number, &why)),
        }
    }
    if ended { Ok(()) } else { Err(damaged(lines.len(), "the snapshot ends too early")) }
}
