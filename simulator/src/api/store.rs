//! What is stored, how it came to be, and who is told.
//!
//! ```text
//!   commit(table, key, object) -> revision + 1 -> sink -> table, log -> the lines of the watches
//!   at(revision): the table now, with the newer part of the log undone
//! ```
//!
//! One counter for everything; an object is serialised once, when it is committed, and those bytes go to whoever
//! asks. The log keeps as many changes as the options say, for watches and for reads of the past.

use super::failure::{Answer, Failure};
use super::watch::Line;
use super::{Change, Kind, Options, builtin, meta, render, route};
use bytes::Bytes;
use serde_json::Value;
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, OnceLock, Weak};

/// etcd's limit of a request.
const MAX_OBJECT: usize = 1_572_864;

/// An object as it is stored. Never changed; a change makes another.
#[derive(Debug)]
pub(crate) struct Entry {
    /// The object.
    pub value: Arc<Value>,
    /// The same, serialised.
    pub bytes: Bytes,
    /// How much of `bytes` says kind and apiVersion, which lists of built-in kinds leave out; 0 when they do not.
    pub head: usize,
    /// Its resourceVersion.
    pub revision: u64,
}

impl Entry {
    /// Serialises an object.
    pub(crate) fn new(kind: &Kind, value: Value, revision: u64) -> Self {
        let (bytes, head) = serialise(kind, &value);
        Self { value: Arc::new(value), bytes, head, revision }
    }
}

fn serialise(kind: &Kind, value: &Value) -> (Bytes, usize) {
    let (None, Some(map)) = (&kind.schema, value.as_object()) else { return (render::bytes(value), 0) };
    // Built-in kinds come with the kind first, so that a list can leave it out.
    let mut text = format!(
        "{{\"kind\":{},\"apiVersion\":{},",
        Value::from(&*kind.kind),
        Value::from(kind.api_version())
    );
    let head = text.len();
    let rest = map.iter().filter(|(key, _)| *key != "kind" && *key != "apiVersion");
    for (i, (key, value)) in rest.enumerate() {
        if i > 0 {
            text.push(',');
        }
        text.push_str(&Value::from(&**key).to_string());
        text.push(':');
        text.push_str(&value.to_string());
    }
    text.push('}');
    (text.into(), head)
}

/// One change, for the log and the watches.
#[derive(Debug)]
pub(crate) struct Event {
    /// The revision that it made.
    pub revision: u64,
    /// ADDED, MODIFIED or DELETED.
    pub type_: &'static str,
    /// Name of the table.
    pub table: Arc<str>,
    /// Key in the table.
    pub key: String,
    /// The object after it; the last of it when it is DELETED.
    pub new: Arc<Entry>,
    /// The object before it.
    pub old: Option<Arc<Entry>>,
    /// The line of a watch in the usual form.
    pub line: OnceLock<Bytes>,
}

/// The objects of one resource, in all its versions.
pub(crate) struct Table {
    /// Its name, `plural.group`.
    pub name: Arc<str>,
    /// The kind in the version that is stored.
    pub kind: Arc<Kind>,
    /// The objects, by `namespace/name` or `name`.
    pub objects: BTreeMap<String, Arc<Entry>>,
    /// Who watches.
    pub lines: Vec<Weak<Line>>,
}

/// Everything.
pub(crate) struct State {
    /// How the server behaves.
    pub options: Options,
    /// The newest revision.
    pub revision: u64,
    /// The newest revision that the log has forgotten.
    pub forgotten: u64,
    /// By `plural.group`.
    pub tables: BTreeMap<String, Table>,
    /// By `group/version/plural`: the table and the kind.
    pub routes: BTreeMap<String, (String, Arc<Kind>)>,
    /// The newest changes, oldest first.
    pub log: VecDeque<Arc<Event>>,
    /// Whether something happened that the garbage collector has to look at.
    pub litter: bool,
    /// Whether changes go by the sink.
    pub quiet: bool,
}

impl State {
    /// Nothing but the built-in kinds.
    pub(crate) fn new(options: Options) -> Self {
        let mut state = Self {
            options,
            revision: 0,
            forgotten: 0,
            tables: BTreeMap::new(),
            routes: BTreeMap::new(),
            log: VecDeque::new(),
            litter: false,
            quiet: false,
        };
        for kind in builtin::kinds() {
            // The two groups of Events show the same objects.
            let table = if kind.group == "events.k8s.io" { "events".to_owned() } else { kind.qualified() };
            state.serve(&table, &kind, kind.group != "events.k8s.io");
        }
        state
    }

    /// The same kinds and objects, without a past and without watches.
    pub(crate) fn fork(&self, options: Options) -> Self {
        let table = |t: &Table| Table {
            name: Arc::clone(&t.name),
            kind: Arc::clone(&t.kind),
            objects: t.objects.clone(),
            lines: Vec::new(),
        };
        Self {
            options,
            revision: self.revision,
            forgotten: self.revision,
            tables: self.tables.iter().map(|(name, t)| (name.clone(), table(t))).collect(),
            routes: self.routes.clone(),
            log: VecDeque::new(),
            litter: self.litter,
            quiet: false,
        }
    }

    /// Begins to serve a kind, or serves it in another shape.
    pub(crate) fn serve(&mut self, table: &str, kind: &Arc<Kind>, storage: bool) {
        let key = route::key(&kind.group, &kind.version, &kind.plural);
        self.routes.insert(key, (table.to_owned(), kind.clone()));
        let entry = self.tables.entry(table.to_owned()).or_insert_with(|| Table {
            name: table.into(),
            kind: kind.clone(),
            objects: BTreeMap::new(),
            lines: Vec::new(),
        });
        if storage {
            entry.kind = kind.clone();
        }
    }

    /// The object at a key.
    pub(crate) fn get(&self, table: &str, key: &str) -> Option<&Arc<Entry>> {
        self.tables.get(table)?.objects.get(key)
    }

    /// The object at a key, as of a revision.
    pub(crate) fn get_at(&self, table: &str, key: &str, at: Option<u64>) -> Option<Arc<Entry>> {
        let newer = |e: &&Arc<Event>| at.is_some_and(|at| e.revision > at);
        let undo =
            self.log.iter().rev().take_while(newer).filter(|e| &*e.table == table && e.key == key).last();
        match undo {
            Some(event) => event.old.clone(),
            None => self.get(table, key).cloned(),
        }
    }

    /// The objects whose keys begin with a prefix, as of a revision, in the order of their keys.
    pub(crate) fn range_at(&self, table: &str, prefix: &str, at: Option<u64>) -> Vec<(&str, &Arc<Entry>)> {
        let Some(objects) = self.tables.get(table).map(|t| &t.objects) else { return Vec::new() };
        let now = objects
            .range::<str, _>((std::ops::Bound::Included(prefix), std::ops::Bound::Unbounded))
            .take_while(|(key, _)| key.starts_with(prefix))
            .map(|(key, entry)| (key.as_str(), entry));
        let Some(at) = at.filter(|at| *at < self.revision) else { return now.collect() };
        let mut map: BTreeMap<&str, &Arc<Entry>> = now.collect();
        for event in self.log.iter().rev().take_while(|e| e.revision > at) {
            if &*event.table == table && event.key.starts_with(prefix) {
                match &event.old {
                    Some(old) => map.insert(&event.key, old),
                    None => map.remove(event.key.as_str()),
                };
            }
        }
        map.into_iter().collect()
    }

    /// Stores an object as a new one or in place of the old one.
    pub(crate) fn put(&mut self, table: &str, key: &str, value: Value) -> Answer<Arc<Entry>> {
        let type_ = if self.get(table, key).is_some() { "MODIFIED" } else { "ADDED" };
        self.commit(table, key, type_, value)
    }

    /// Removes an object; `value` is the last of it.
    pub(crate) fn drop_object(&mut self, table: &str, key: &str, value: Value) -> Answer<Arc<Entry>> {
        self.commit(table, key, "DELETED", value)
    }

    fn commit(
        &mut self,
        table: &str,
        key: &str,
        type_: &'static str,
        mut value: Value,
    ) -> Answer<Arc<Entry>> {
        let revision = self.revision + 1;
        meta::set(&mut value, "resourceVersion", revision.to_string());
        let Some(into) = self.tables.get_mut(table) else {
            return Err(Failure::internal("the resource is not served any more"));
        };
        let entry = Arc::new(Entry::new(&into.kind, value, revision));
        if type_ != "DELETED" && entry.bytes.len() > MAX_OBJECT {
            return Err(Failure::bare("etcdserver: request is too large"));
        }
        if let (false, Some(sink)) = (self.quiet, &self.options.sink) {
            let kind = into.kind.clone();
            let (object, bytes) = (entry.value.clone(), entry.bytes.clone());
            let change = Change { revision, type_, kind, object, bytes };
            sink(&change).map_err(|why| Failure::internal(&why))?;
        }
        self.revision = revision;
        let old = if type_ == "DELETED" {
            into.objects.remove(key)
        } else {
            into.objects.insert(key.to_owned(), entry.clone())
        };
        self.litter |= littered(type_, &entry, old.as_deref());
        let event = Arc::new(Event {
            revision,
            type_,
            table: into.name.clone(),
            key: key.to_owned(),
            new: entry.clone(),
            old,
            line: OnceLock::new(),
        });
        let now = &self.options.now;
        into.lines.retain(|line| line.upgrade().is_some_and(|line| line.tell(&event, now)));
        self.log.push_back(event);
        while self.log.len() > self.options.history {
            if let Some(event) = self.log.pop_front() {
                self.forgotten = event.revision;
            }
        }
        Ok(entry)
    }

    /// Whether a kind has objects in a namespace that is there; `Some(true)` when it is being deleted.
    pub(crate) fn namespace(&self, name: &str) -> Option<bool> {
        self.get("namespaces", name).map(|e| meta::deleting(&e.value))
    }
}

/// Whether a change can leave something behind for the garbage collector.
fn littered(type_: &str, new: &Entry, old: Option<&Entry>) -> bool {
    let owners = meta::list(&new.value, "ownerReferences");
    type_ == "DELETED"
        || meta::deleting(&new.value)
        || (!owners.is_empty() && old.is_none_or(|o| meta::list(&o.value, "ownerReferences") != owners))
}
