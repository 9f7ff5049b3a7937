//! A small work queue: first in, first out, one worker a key, at most one entry a key, delays.
//!
//! kube's own `Controller` shares one backoff between all watches, keeps what is pending in unordered sets, and
//! lets a panic in one reconcile end them all; this queue is deterministic and fair instead.

use crate::clock::Clock;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::Instant;

struct State<K> {
    ready: VecDeque<K>,
    queued: HashSet<K>,
    running: HashSet<K>,
    dirty: HashSet<K>,
    delayed: BTreeSet<(Instant, u64)>,
    by_timer: BTreeMap<u64, K>,
    due: HashMap<K, (Instant, u64)>,
    timers: u64,
    closed: bool,
}

/// The queue.
pub struct Queue<K> {
    state: Mutex<State<K>>,
    wake: Notify,
    clock: Arc<dyn Clock>,
}

impl<K: Clone + Eq + Hash + Ord> Queue<K> {
    /// An empty queue.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        let state = State {
            ready: VecDeque::new(),
            queued: HashSet::new(),
            running: HashSet::new(),
            dirty: HashSet::new(),
            delayed: BTreeSet::new(),
            by_timer: BTreeMap::new(),
            due: HashMap::new(),
            timers: 0,
            closed: false,
        };
        Self { state: Mutex::new(state), wake: Notify::new(), clock }
    }

    fn lock(&self) -> MutexGuard<'_, State<K>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Work on `key` soon. While it is being worked on: once more afterwards.
    pub fn add(&self, key: K) {
        let mut s = self.lock();
        s.forget_timer(&key);
        if s.running.contains(&key) {
            s.dirty.insert(key);
        } else if s.queued.insert(key.clone()) {
            s.ready.push_back(key);
            drop(s);
            self.wake.notify_one();
        }
    }

    /// Work on `key` after a while; an earlier appointment stays.
    pub fn add_after(&self, key: K, delay: Duration) {
        let at = self.clock.instant() + delay;
        let mut s = self.lock();
        if s.queued.contains(&key) || s.due.get(&key).is_some_and(|(due, _)| *due <= at) {
            return;
        }
        s.forget_timer(&key);
        s.timers += 1;
        let timer = s.timers;
        s.delayed.insert((at, timer));
        s.by_timer.insert(timer, key.clone());
        s.due.insert(key, (at, timer));
        drop(s);
        self.wake.notify_one();
    }

    /// The next key to work on; `None` once the queue is closed. Every key has to be given back with [`Self::done`].
    pub async fn next(&self) -> Option<K> {
        loop {
            let next_due = {
                let mut s = self.lock();
                if s.closed {
                    // One permit wakes one worker; each passes it on.
                    self.wake.notify_one();
                    return None;
                }
                s.promote(self.clock.instant());
                if let Some(key) = s.ready.pop_front() {
                    s.queued.remove(&key);
                    s.running.insert(key.clone());
                    if !s.ready.is_empty() {
                        self.wake.notify_one();
                    }
                    return Some(key);
                }
                s.delayed.first().map(|(at, _)| *at)
            };
            match next_due {
                Some(at) => {
                    let _ = tokio::time::timeout_at(self.clock.timer(at), self.wake.notified()).await;
                }
                None => self.wake.notified().await,
            }
        }
    }

    /// The work on `key` is over.
    pub fn done(&self, key: &K) {
        let mut s = self.lock();
        s.running.remove(key);
        if s.dirty.remove(key) && s.queued.insert(key.clone()) {
            s.forget_timer(key);
            s.ready.push_back(key.clone());
        }
        drop(s);
        self.wake.notify_one();
    }

    /// Hands out nothing any more.
    pub fn close(&self) {
        self.lock().closed = true;
        self.wake.notify_waiters();
        self.wake.notify_one();
    }

    /// Keys that are ready to be worked on.
    pub fn depth(&self) -> usize {
        self.lock().ready.len()
    }

    /// Keys that are being worked on.
    pub fn running(&self) -> usize {
        self.lock().running.len()
    }
}

impl<K: Clone + Eq + Hash + Ord> State<K> {
    fn forget_timer(&mut self, key: &K) {
        if let Some((at, timer)) = self.due.remove(key) {
            self.delayed.remove(&(at, timer));
            self.by_timer.remove(&timer);
        }
    }

    /// Moves what is due to the end of the line.
    fn promote(&mut self, now: Instant) {
        while let Some(&(at, timer)) = self.delayed.first() {
            if at > now {
                return;
            }
            self.delayed.remove(&(at, timer));
            let Some(key) = self.by_timer.remove(&timer) else { continue };
            self.due.remove(&key);
            if self.running.contains(&key) {
                self.dirty.insert(key);
            } else if self.queued.insert(key.clone()) {
                self.ready.push_back(key);
            }
        }
    }
}

#[cfg(test)]
#[path = "queue_tests.rs"]
mod tests;
