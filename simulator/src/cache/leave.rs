//! Workers that leave, as Alluxio lets them: a decommission drops what the master knew of a worker and moves nothing, the
//! worker itself goes on answering, and a master that restarts has forgotten all of it.

use super::Cache;
use super::state::{Core, Life};
use ratchet_state_machine::drain::{Call, DrainView};

impl Cache {
    /// What the workers with these numbers have that would be lost with them.
    #[must_use]
    pub fn drain(&self, leaving: &[usize]) -> DrainView {
        self.core().drain(leaving)
    }

    /// Carries out a call about workers, now. Whether it changed anything.
    pub fn on_workers(&self, call: Call, leaving: &[usize]) -> bool {
        self.change(|c| match call {
            Call::Persist => c.ask(leaving),
            Call::Decommission => leaving.iter().filter(|w| c.disable(**w)).count() > 0,
            Call::Rescue => c.rescue(leaving),
            Call::Admit => {
                let before = c.s.rejected.len();
                c.s.rejected.retain(|w| !leaving.contains(w));
                c.dirty = true;
                c.s.rejected.len() < before
            }
        })
    }

    /// Whether a worker serves, or will when it registers.
    #[must_use]
    pub fn may_serve(&self, worker: usize) -> bool {
        let core = self.core();
        core.s.workers.get(worker).is_some_and(|w| w.up) && !core.s.rejected.contains(&worker)
    }

    /// What only this worker has is given up: it goes with it, and nobody is to blame.
    pub fn give_up(&self, worker: usize) {
        let lost = self.only_on(worker);
        self.change(|c| c.s.entrusted.retain(|path| !lost.contains(path)));
    }

    /// Files that only the cache was given, of which this worker has the only copy.
    #[must_use]
    pub fn only_on(&self, worker: usize) -> Vec<String> {
        let core = self.core();
        let has = |w: usize, path: &str| core.s.workers.get(w).is_some_and(|w| w.copies.contains_key(path));
        let others = |path: &str| (0..core.s.workers.len()).any(|w| w != worker && has(w, path));
        core.s.entrusted.iter().filter(|p| has(worker, p) && !others(p)).cloned().collect()
    }
}

impl Core {
    /// Files that the under-storage does not have, of which `has` is true.
    fn unpersisted(&self, has: impl Fn(&Self, &str) -> bool) -> Vec<String> {
        let all = self.s.files.iter().filter(|(path, k)| !k.persisted && has(self, path));
        all.map(|(path, _)| path.clone()).collect()
    }

    fn serves(&self, worker: usize, path: &str) -> bool {
        self.s.workers.get(worker).is_some_and(|w| w.life == Life::Active && w.copies.contains_key(path))
    }

    /// Whether the master knows of copies, and all of them are on workers that leave.
    fn only_leaving(&self, leaving: &[usize], path: &str) -> bool {
        let mut on = (0..self.s.workers.len()).filter(|w| self.serves(*w, path)).peekable();
        on.peek().is_some() && on.all(|w| leaving.contains(&w))
    }

    /// The leaving worker that has a file of which the master knows no copy.
    fn source(&self, leaving: &[usize], path: &str) -> Option<usize> {
        if self.located(path) {
            return None;
        }
        let has = |w: &usize| self.s.workers.get(*w).is_some_and(|w| w.copies.contains_key(path));
        leaving.iter().copied().find(has)
    }

    fn drain(&self, leaving: &[usize]) -> DrainView {
        let master_up_ms = self.s.now - self.s.started_ms;
        let mut view = DrainView { master_up_ms, ..DrainView::default() };
        for path in self.unpersisted(|c, path| c.only_leaving(leaving, path)) {
            let Some(known) = self.s.files.get(&path) else { continue };
            let oldest = if view.unpersisted.none() { i64::MAX } else { view.oldest_ms };
            view.oldest_ms = oldest.min(known.written_ms);
            view.unpersisted.add(&path);
            view.unasked += i64::from(!known.asked);
        }
        for path in self.unpersisted(|c, path| c.source(leaving, path).is_some()) {
            view.stranded.add(&path);
            let up = |w: &usize| self.s.workers.get(*w).is_some_and(|w| w.up);
            if self.source(leaving, &path).is_some_and(|w| up(&w)) {
                view.rescuable += 1;
            } else {
                view.silent.get_or_insert_with(|| "its process is not there".into());
            }
        }
        view
    }

    fn ask(&mut self, leaving: &[usize]) -> bool {
        let all = self.unpersisted(|c, path| c.only_leaving(leaving, path));
        let mut any = false;
        for path in all {
            any |= self.ask_for(&path);
        }
        any
    }

    fn ask_for(&mut self, path: &str) -> bool {
        let Some(known) = self.s.files.get_mut(path).filter(|k| !k.asked) else { return false };
        known.asked = true;
        self.dirty = true;
        true
    }

    /// Takes a worker out of use and lets it not register again.
    fn disable(&mut self, worker: usize) -> bool {
        let now = self.s.now;
        let Some(w) = self.s.workers.get_mut(worker) else { return false };
        if matches!(w.life, Life::Decommissioned { .. }) {
            return false;
        }
        w.life = Life::Decommissioned { at_ms: now };
        self.s.rejected.insert(worker);
        self.dirty = true;
        true
    }

    /// Copies what only leaving workers have to others, and asks for it to be persisted.
    fn rescue(&mut self, leaving: &[usize]) -> bool {
        let mut any = false;
        for path in self.unpersisted(|c, path| c.source(leaving, path).is_some()) {
            let Some(from) = self.source(leaving, &path).filter(|w| self.s.workers[*w].up) else { continue };
            let Ok(bytes) = self.tier.get(from, &path) else { continue };
            let mut to: Vec<usize> = (0..self.s.workers.len())
                .filter(|w| self.s.workers[*w].life == Life::Active && !leaving.contains(w))
                .collect();
            to.sort_by_key(|w| self.s.workers[*w].used);
            any |= to.into_iter().any(|w| self.put(w, &path, bytes.clone()));
            self.ask_for(&path);
        }
        any
    }

    /// What somebody has asked for is written, where a copy can be read and the under-storage takes it.
    pub(super) fn persist_asked(&mut self) {
        let asked =
            self.unpersisted(|c, path| c.s.files.get(path).is_some_and(|k| k.asked) && c.located(path));
        for path in asked {
            let bytes = self.holder(&path).and_then(|w| self.tier.get(w, &path).ok());
            let Some(bytes) = bytes else { continue };
            if self.store_bytes(&path, &bytes).is_err() {
                continue;
            }
            if let Some(known) = self.s.files.get_mut(&path) {
                known.persisted = true;
            }
            self.s.entrusted.remove(&path);
            self.dirty = true;
        }
    }
}
