//! Copies on workers: where one is, where a new one goes, which ones make room.

use super::state::{Core, Life};
use super::tier::{Checksum, Copy};

impl Core {
    /// Whether the master knows of a copy.
    pub fn located(&self, path: &str) -> bool {
        self.holder(path).is_some()
    }

    /// The first worker that serves a copy of a file.
    pub fn holder(&self, path: &str) -> Option<usize> {
        self.s.workers.iter().position(|w| w.life == Life::Active && w.copies.contains_key(path))
    }

    /// Removes every copy of a file.
    pub fn drop_everywhere(&mut self, path: &str) {
        for worker in 0..self.s.workers.len() {
            self.drop_copy(worker, path);
        }
    }

    /// Removes a worker's copy of a file.
    pub fn drop_copy(&mut self, worker: usize, path: &str) {
        let Some(w) = self.s.workers.get_mut(worker) else { return };
        if let Some(copy) = w.copies.remove(path) {
            w.used = w.used.saturating_sub(copy.len);
            self.tier.remove(worker, path);
            self.dirty = true;
        }
    }

    /// Puts a copy of a file on the worker with the most room, evicting the oldest copies that may go. Whether it
    /// found a place.
    pub fn place(&mut self, path: &str, bytes: Vec<u8>) -> bool {
        let len = bytes.len() as u64;
        let now = self.s.now;
        let mut order: Vec<usize> =
            (0..self.s.workers.len()).filter(|i| self.s.workers[*i].gets_work(now)).collect();
        order.sort_by_key(|i| self.s.workers[*i].used);
        let room = order.into_iter().find(|i| self.make_room(*i, len));
        room.is_some_and(|worker| self.put(worker, path, bytes))
    }

    /// Puts a copy of a file on this worker, evicting the oldest copies that may go. Whether there is a place.
    pub fn put(&mut self, worker: usize, path: &str, bytes: Vec<u8>) -> bool {
        let len = bytes.len() as u64;
        if !self.make_room(worker, len) {
            return false;
        }
        self.drop_copy(worker, path);
        let checksum = Checksum::of(&bytes);
        if self.tier.put(worker, path, bytes).is_err() {
            return false;
        }
        let seq = self.s.next_copy;
        self.s.next_copy += 1;
        let w = &mut self.s.workers[worker];
        w.used += len;
        w.copies.insert(path.to_owned(), Copy { seq, len, checksum });
        self.dirty = true;
        true
    }

    fn make_room(&mut self, worker: usize, len: u64) -> bool {
        let capacity = self.profile.worker_capacity;
        loop {
            let w = &self.s.workers[worker];
            if w.used.saturating_add(len) <= capacity {
                return true;
            }
            if len > capacity {
                return false;
            }
            let may_go = |path: &str| self.s.files.get(path).is_none_or(|k| k.persisted && !k.pinned);
            let oldest = w.copies.iter().filter(|(p, _)| may_go(p)).min_by_key(|(_, c)| c.seq);
            let Some(path) = oldest.map(|(p, _)| p.clone()) else { return false };
            self.drop_copy(worker, &path);
        }
    }
}
