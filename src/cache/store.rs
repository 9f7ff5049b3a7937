//! The store of one kind: objects by key and by index, a watermark for each, waits.

use kube::ResourceExt;
use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::{Arc, PoisonError, RwLock};
use tokio::sync::watch;
use tokio::time::Instant;

/// Namespace and name; the namespace of a cluster-scoped object is empty.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    /// Namespace, or empty.
    pub namespace: String,
    /// Name.
    pub name: String,
}

impl Key {
    /// A key.
    pub fn new(namespace: impl Into<String>, name: impl Into<String>) -> Self {
        Self { namespace: namespace.into(), name: name.into() }
    }

    /// The key of an object.
    pub fn of<K: ResourceExt>(object: &K) -> Self {
        Self::new(object.namespace().unwrap_or_default(), object.name_any())
    }
}

impl std::fmt::Display for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.namespace.is_empty() {
            f.write_str(&self.name)
        } else {
            write!(f, "{}/{}", self.namespace, self.name)
        }
    }
}

/// Name of an index and a value in it.
pub type IndexKey = (&'static str, String);

/// What a kind has to say to be cached.
pub trait Cached: kube::Resource<DynamicType = ()> + Clone + Send + Sync + 'static {
    /// Index entries of an object.
    fn indexes(&self) -> Vec<IndexKey>;
    /// Grows with each change that matters: a copy with a lower one is stale.
    fn watermark(&self) -> (i64, i64);
    /// Drops what nobody reads from the cache.
    fn prune(&mut self);
}

/// One change of a store.
#[derive(Debug, Clone)]
pub struct Change<K> {
    /// Which object.
    pub key: Key,
    /// What it was.
    pub old: Option<Arc<K>>,
    /// What it is.
    pub new: Option<Arc<K>>,
}

/// Why a wait ended without what was waited for.
#[derive(Debug, Clone, thiserror::Error, PartialEq, Eq)]
pub enum WaitError {
    /// The time is over.
    #[error("not seen in time")]
    Deadline,
    /// The watch could not be started; everybody who waits gets the same cause.
    #[error("the watch could not be started: {0}")]
    Start(Arc<str>),
    /// The store is going away.
    #[error("the cache was stopped")]
    Stopped,
}

/// Whether the first list is complete.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Synced {
    Starting,
    Ready,
    Failed(Arc<str>),
}

struct Inner<K> {
    objects: BTreeMap<Key, Arc<K>>,
    index: HashMap<IndexKey, BTreeSet<Key>>,
    undecodable: BTreeMap<Key, Arc<str>>,
    /// Uids that were seen to go, newest last: a late reply must not bring one back.
    gone: VecDeque<String>,
}

/// Uids that are remembered as gone.
const TOMBSTONES: usize = 1024;

/// The objects of one kind.
pub struct Store<K> {
    inner: RwLock<Inner<K>>,
    version: watch::Sender<u64>,
    sync: watch::Sender<Synced>,
    /// Stale copies are taken as if they were new.
    #[cfg(feature = "teeth")]
    pub(crate) credulous: std::sync::atomic::AtomicBool,
}

impl<K> Default for Store<K> {
    fn default() -> Self {
        Self {
            inner: RwLock::new(Inner {
                objects: BTreeMap::new(),
                index: HashMap::new(),
                undecodable: BTreeMap::new(),
                gone: VecDeque::new(),
            }),
            version: watch::Sender::new(0),
            sync: watch::Sender::new(Synced::Starting),
            #[cfg(feature = "teeth")]
            credulous: std::sync::atomic::AtomicBool::new(false),
        }
    }
}

/// Whether `a` is an older copy than `b`, by resourceVersions (which grow; a text that is no number tells nothing).
fn older<K: Cached>(a: &K, b: &K) -> bool {
    let version = |o: &K| o.meta().resource_version.as_deref().and_then(|v| v.parse::<u64>().ok());
    matches!((version(a), version(b)), (Some(a), Some(b)) if a < b)
}

impl<K: Cached> Inner<K> {
    fn put(&mut self, key: Key, object: Arc<K>) -> Option<Arc<K>> {
        let new = object.indexes();
        let old = self.objects.insert(key.clone(), object);
        let before = old.as_ref().map(|o| o.indexes()).unwrap_or_default();
        // Most changes leave an object where it is.
        if before != new {
            for gone in before.iter().filter(|b| !new.contains(b)) {
                self.unindex(gone, &key);
            }
            for added in new {
                self.index.entry(added).or_default().insert(key.clone());
            }
        }
        old
    }

    fn remove(&mut self, key: &Key) -> Option<Arc<K>> {
        let old = self.objects.remove(key)?;
        for gone in old.indexes() {
            self.unindex(&gone, key);
        }
        Some(old)
    }

    fn unindex(&mut self, at: &IndexKey, key: &Key) {
        if let Some(set) = self.index.get_mut(at) {
            set.remove(key);
            if set.is_empty() {
                self.index.remove(at);
            }
        }
    }
}

impl<K: Cached> Store<K> {
    fn write<T>(&self, f: impl FnOnce(&mut Inner<K>) -> T) -> T {
        let out = f(&mut self.inner.write().unwrap_or_else(PoisonError::into_inner));
        self.version.send_modify(|v| *v += 1);
        out
    }

    fn read<T>(&self, f: impl FnOnce(&Inner<K>) -> T) -> T {
        f(&self.inner.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// The object, shared.
    pub fn get(&self, key: &Key) -> Option<Arc<K>> {
        self.read(|i| i.objects.get(key).cloned())
    }

    /// The objects of an index entry, in the order of their keys.
    pub fn by_index(&self, at: &IndexKey) -> Vec<Arc<K>> {
        self.read(|i| {
            let keys = i.index.get(at).into_iter().flatten();
            keys.filter_map(|k| i.objects.get(k).cloned()).collect()
        })
    }

    /// How many objects an index entry has.
    pub fn count(&self, at: &IndexKey) -> usize {
        self.read(|i| i.index.get(at).map_or(0, BTreeSet::len))
    }

    /// Every object that is known, by key and uid.
    pub fn known(&self) -> Vec<(Key, Option<String>)> {
        self.read(|i| i.objects.iter().map(|(k, o)| (k.clone(), o.meta().uid.clone())).collect())
    }

    /// Number of objects.
    pub fn len(&self) -> usize {
        self.read(|i| i.objects.len())
    }

    /// Whether there is no object.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Why the object at `key` cannot be read, when it cannot.
    pub fn undecodable(&self, key: &Key) -> Option<Arc<str>> {
        self.read(|i| i.undecodable.get(key).cloned())
    }

    /// Number of objects that cannot be read.
    pub fn undecodable_count(&self) -> usize {
        self.read(|i| i.undecodable.len())
    }

    /// A copy that came by the watch. `None` when it is older than what is known.
    pub fn apply(&self, object: K) -> Option<Change<K>> {
        let stale = |old: &K, new: &K| {
            let ((s, g), (os, og)) = (new.watermark(), old.watermark());
            s < os || g < og || older(new, old)
        };
        self.put_unless(object, stale).ok()
    }

    /// The reply to a write, or a consistent read. The watch may have been faster: what is newer stays, and the
    /// change says what is stored now.
    pub fn replace(&self, object: K) -> Change<K> {
        let key = Key::of(&object);
        self.put_unless(object, |old, new| older(new, old)).unwrap_or_else(|kept| Change {
            key,
            old: kept.clone(),
            new: kept,
        })
    }

    #[cfg(feature = "teeth")]
    fn credulous(&self) -> bool {
        self.credulous.load(std::sync::atomic::Ordering::Relaxed)
    }

    #[cfg(not(feature = "teeth"))]
    #[allow(clippy::unused_self, reason = "the same signature as with the feature")]
    const fn credulous(&self) -> bool {
        false
    }

    /// Stores the object unless `refuse(stored, object)` says no for a stored copy of the same object, which is then
    /// given back. One step: nobody can come in between.
    fn put_unless(
        &self,
        mut object: K,
        refuse: impl FnOnce(&K, &K) -> bool,
    ) -> Result<Change<K>, Option<Arc<K>>> {
        object.prune();
        let (key, object) = (Key::of(&object), Arc::new(object));
        self.write(|i| {
            // Versions grow over all objects of a kind: also a former object of the name is told from the present one.
            if let Some(old) = i.objects.get(&key)
                && !self.credulous()
                && (if old.meta().uid == object.meta().uid {
                    refuse(old, &object)
                } else {
                    older(object.as_ref(), old.as_ref())
                })
            {
                return Err(Some(Arc::clone(old)));
            }
            if object.meta().uid.as_ref().is_some_and(|u| i.gone.contains(u)) {
                return Err(None);
            }
            i.undecodable.remove(&key);
            let old = i.put(key.clone(), Arc::clone(&object));
            Ok(Change { key, old, new: Some(object) })
        })
    }

    /// The object was seen to go. With a uid: only if it is the object that is known.
    pub fn remove(&self, key: &Key, uid: Option<&str>) -> Option<Change<K>> {
        self.take_out(key, uid, true)
    }

    /// The object is not in a list. It may still be there (a list can be older than the object), so it may come back.
    pub fn unlisted(&self, key: &Key, uid: Option<&str>) -> Option<Change<K>> {
        self.take_out(key, uid, false)
    }

    fn take_out(&self, key: &Key, uid: Option<&str>, for_good: bool) -> Option<Change<K>> {
        let known = self.get(key);
        if let (Some(known), Some(uid)) = (&known, uid)
            && known.meta().uid.as_deref() != Some(uid)
        {
            return None;
        }
        let old = self.write(|i| {
            i.undecodable.remove(key);
            let old = i.remove(key);
            if let Some(uid) = old.as_ref().and_then(|o| o.meta().uid.clone()).filter(|_| for_good) {
                i.gone.push_back(uid);
                if i.gone.len() > TOMBSTONES {
                    i.gone.pop_front();
                }
            }
            old
        });
        Some(Change { key: key.clone(), old, new: None })
    }

    /// An object that cannot be read: it is set aside, the others go on.
    pub fn park(&self, key: &Key, why: &str) -> Change<K> {
        let old = self.write(|i| {
            i.undecodable.insert(key.clone(), why.into());
            i.remove(key)
        });
        Change { key: key.clone(), old, new: None }
    }

    /// The first list is complete.
    pub fn mark_ready(&self) {
        self.sync.send_replace(Synced::Ready);
    }

    /// The watch cannot be started: everybody who waits is told.
    pub fn mark_failed(&self, why: &str) {
        self.sync.send_if_modified(|s| {
            let failed = *s != Synced::Ready;
            if failed {
                *s = Synced::Failed(why.into());
            }
            failed
        });
    }

    /// Waits until the first list is complete.
    ///
    /// # Errors
    /// [`WaitError`].
    pub async fn ready(&self, deadline: Instant) -> Result<(), WaitError> {
        let mut sync = self.sync.subscribe();
        let wait = async {
            loop {
                match &*sync.borrow_and_update() {
                    Synced::Ready => return Ok(()),
                    Synced::Failed(why) => return Err(WaitError::Start(Arc::clone(why))),
                    Synced::Starting => {}
                }
                sync.changed().await.map_err(|_| WaitError::Stopped)?;
            }
        };
        tokio::time::timeout_at(deadline, wait).await.map_err(|_| WaitError::Deadline)?
    }

    /// Waits until `predicate` holds for the object at `key` (`None`: there is none). Every waiter has a predicate
    /// and a deadline of its own; dropping the future ends the wait.
    ///
    /// # Errors
    /// [`WaitError`].
    pub async fn wait_for<T>(
        &self,
        key: &Key,
        deadline: Instant,
        mut predicate: impl FnMut(Option<&K>) -> Option<T>,
    ) -> Result<T, WaitError> {
        self.ready(deadline).await?;
        let mut version = self.version.subscribe();
        let wait = async {
            loop {
                version.borrow_and_update();
                if let Some(found) = predicate(self.get(key).as_deref()) {
                    return Ok(found);
                }
                version.changed().await.map_err(|_| WaitError::Stopped)?;
            }
        };
        tokio::time::timeout_at(deadline, wait).await.map_err(|_| WaitError::Deadline)?
    }
}

#[cfg(test)]
#[path = "store_tests.rs"]
mod tests;
