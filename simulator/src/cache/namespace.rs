//! The master's namespace: which paths it knows, how it learns and unlearns them, and what a failover takes back.

use super::state::{Core, Known, Undo};
use super::storage::below;
use std::ops::Bound;

/// Changes that a failover can take back.
const UNDO: usize = 256;

impl Core {
    /// Whether the master knows a path.
    pub fn knows(&self, path: &str) -> bool {
        path == "/" || self.s.files.contains_key(path) || self.s.dirs.contains(path)
    }

    /// Known files at or below a path.
    pub fn under<'a>(&'a self, path: &str) -> impl Iterator<Item = (&'a String, &'a Known)> + use<'a> {
        let (from, to) = below(path);
        self.s.files.get_key_value(path).into_iter().chain(self.s.files.range(from..to))
    }

    /// The first known file at or below a path that comes after `cursor`.
    pub fn following(&self, path: &str, cursor: Option<&str>) -> Option<(&String, &Known)> {
        let Some(cursor) = cursor else { return self.under(path).next() };
        let (from, to) = below(path);
        let from =
            if cursor > from.as_str() { Bound::Excluded(cursor.to_owned()) } else { Bound::Included(from) };
        self.s.files.range((from, Bound::Excluded(to))).next()
    }

    /// Takes a file and the directories above it into the namespace; gives back which of them are new.
    pub fn enter(&mut self, path: &str, dirs: &mut Vec<String>) {
        let mut rest = path;
        while let Some((parent, _)) = rest.rsplit_once('/') {
            if parent.is_empty() || self.s.dirs.contains(parent) {
                break;
            }
            self.s.dirs.insert(parent.to_owned());
            dirs.push(parent.to_owned());
            rest = parent;
        }
    }

    /// Takes what the under-storage has below `path` into the namespace, and drops what it has no more. Gives back
    /// the number of changes.
    pub fn learn(&mut self, path: &str, found: Vec<(String, u64)>) -> i64 {
        let mut changes = self.forget(path, |p| found.binary_search_by(|(f, _)| f.as_str().cmp(p)).is_err());
        let (mut files, mut dirs) = (Vec::new(), Vec::new());
        if path != "/" && found.first().is_none_or(|(p, _)| p != path) && self.s.dirs.insert(path.to_owned())
        {
            dirs.push(path.to_owned());
        }
        self.enter(path, &mut dirs);
        for (file, len) in found {
            match self.s.files.get_mut(&file) {
                Some(known) if known.len == len || !known.persisted => {}
                Some(known) => {
                    known.len = len;
                    self.drop_everywhere(&file);
                    changes += 1;
                }
                None => {
                    self.enter(&file, &mut dirs);
                    self.s.files.insert(
                        file.clone(),
                        Known { len, persisted: true, pinned: false, asked: false, written_ms: 0 },
                    );
                    files.push(file);
                    changes += 1;
                }
            }
        }
        if !files.is_empty() || !dirs.is_empty() {
            self.remember(Undo::Learnt { files, dirs });
        }
        self.dirty |= changes > 0;
        changes
    }

    /// Drops what the under-storage has no more at `path`. Gives back the number of changes.
    pub fn unlearn(&mut self, path: &str) -> i64 {
        let changes = self.forget(path, |_| true);
        if self.under(path).next().is_none() {
            let (from, to) = below(path);
            self.s.dirs.retain(|d| d != path && !(from.as_str()..to.as_str()).contains(&d.as_str()));
            self.dirty = true;
        }
        changes
    }

    /// Drops the persisted files at or below `path` that are `gone`.
    fn forget(&mut self, path: &str, gone: impl Fn(&str) -> bool) -> i64 {
        let files: Vec<String> =
            self.under(path).filter(|(p, k)| k.persisted && gone(p)).map(|(p, _)| p.clone()).collect();
        for path in &files {
            self.s.files.remove(path);
            self.drop_everywhere(path);
        }
        i64::try_from(files.len()).unwrap_or(i64::MAX)
    }

    /// Notes a change that a failover can take back.
    pub fn remember(&mut self, change: Undo) {
        if self.s.undo.len() == UNDO {
            self.s.undo.pop_front();
        }
        self.s.undo.push_back(change);
        self.dirty = true;
    }

    /// Takes back the newest change of the journal.
    pub fn take_back(&mut self) -> bool {
        match self.s.undo.pop_back() {
            Some(Undo::Learnt { files, dirs }) => {
                for path in &files {
                    // A file of that name gets another id when it is learnt again: its blocks are orphans.
                    if self.s.files.get(path).is_some_and(|k| k.persisted) {
                        self.s.files.remove(path);
                        self.drop_everywhere(path);
                    }
                }
                for path in &dirs {
                    let (from, to) = below(path);
                    if self.s.files.range(from..to).next().is_none() {
                        self.s.dirs.remove(path);
                    }
                }
                true
            }
            Some(Undo::Mount { path, before }) => {
                self.put_mount(&path, before);
                true
            }
            Some(Undo::Job { path, before: Some(job) }) => {
                self.s.jobs.insert(path, job);
                true
            }
            Some(Undo::Job { path, before: None }) => {
                self.s.jobs.remove(&path);
                true
            }
            None => false,
        }
    }
}
