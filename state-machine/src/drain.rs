//! What is on the workers that are to leave a cache, as far as it would be lost with them.
//!
//! Alluxio's decommission moves no block and drops what the master knew of those of the worker (measured on 2.9.4 and
//! 2.9.6). So bytes that only the cache has are looked for twice: before, where they lie on a worker that leaves, and
//! after, where nobody is known to have them and a worker that leaves says that it does.

use crate::members::{Known, Numbers, WorkerView};
use serde::{Deserialize, Serialize};

/// A master that is at work for this time, in milliseconds, knows whoever registers by himself.
pub const MASTER_KNOWS_MS: i64 = 90_000;

/// Alluxio's word for a worker that may not register again.
pub const DISABLED: &str = "Disabled";

/// Whether that is the word for a worker that gets nothing more to keep.
#[must_use]
pub fn out_of_use_by(word: &str) -> bool {
    matches!(word, DISABLED | "Decommissioned")
}

/// A call about workers. Each is harmless when it is repeated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Call {
    /// Write the files of which only these workers have bytes to their store (Alluxio: ScheduleAsyncPersistence). What is
    /// on its way is not asked for again.
    Persist,
    /// Give them nothing more to keep, and let none of them register again (Alluxio: DecommissionWorker).
    Decommission,
    /// Copy what only they have to workers that stay, from worker to worker, and write it to its store (Alluxio:
    /// BlockWorker.Cache, ScheduleAsyncPersistence). A worker that has a block says so.
    Rescue,
    /// Let them register again (Alluxio: RemoveDisabledWorker).
    Admit,
}

impl Call {
    /// Name for messages and metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Persist => "persistFiles",
            Self::Decommission => "decommissionWorkers",
            Self::Rescue => "rescueBlocks",
            Self::Admit => "admitWorkers",
        }
    }

    /// Whether it brings the engine to rest instead of working forward.
    #[must_use]
    pub const fn stops(self) -> bool {
        match self {
            Self::Rescue | Self::Admit => true,
            Self::Persist | Self::Decommission => false,
        }
    }
}

/// A worker as an engine has to know it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct At {
    /// The host that it registers as.
    pub host: String,
    /// Where it is reached from here: the same, or an address.
    pub address: String,
    /// It is one of those that leave.
    pub leaves: bool,
}

/// Some files.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Files {
    /// How many.
    pub count: i64,
    /// One of them.
    pub example: Option<String>,
}

impl Files {
    /// One more.
    pub fn add(&mut self, path: &str) {
        self.count = self.count.saturating_add(1);
        self.example.get_or_insert_with(|| crate::lifecycle::cut(path, 200));
    }

    /// Whether there is none.
    #[must_use]
    pub const fn none(&self) -> bool {
        self.count == 0
    }

    /// So many, and one by its name.
    #[must_use]
    pub fn named(&self) -> String {
        let example = self.example.as_deref().unwrap_or_default();
        match self.count {
            1 => format!("the file {example}"),
            count => format!("{count} files, {example} among them,"),
        }
    }
}

/// What the engine says of workers that are to leave.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DrainView {
    /// Files with bytes on them alone that their store does not have.
    pub unpersisted: Files,
    /// When the oldest of them was written, by the engine's clock, in milliseconds.
    pub oldest_ms: i64,
    /// Those of them that nobody has asked to be persisted.
    pub unasked: i64,
    /// Files that are not in their store, of which the master knows no copy and one of these workers has one, or may have.
    pub stranded: Files,
    /// Those of them that a worker which answers has.
    pub rescuable: i64,
    /// One of these workers that could not be asked, and why.
    pub silent: Option<String>,
    /// Calls that they are busy with.
    pub busy: i64,
    /// How long the master is at work already, in milliseconds: one that has just started knows nobody.
    pub master_up_ms: i64,
}

/// Workers on their way out, as a decision sees them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LeavingView {
    /// Those that were asked about, whether the revision has them or not.
    pub workers: Vec<WorkerView>,
    /// What would be lost with them.
    pub drain: DrainView,
    /// Time after which every client knows that they are not to be used any more, in milliseconds.
    pub refresh_ms: i64,
}

impl LeavingView {
    /// The first of them that is not known to be out of use, in words, and whether the engine says that it may be used:
    /// whoever is not known yet may be about to register.
    #[must_use]
    pub fn in_use(&self) -> Option<(String, bool)> {
        let known = self.drain.master_up_ms >= MASTER_KNOWS_MS;
        self.workers.iter().find_map(|w| match &w.known {
            Known::Serves => Some((format!("worker {} serves still", w.number), true)),
            Known::No if !known => Some((format!("worker {} is not known to the cache", w.number), false)),
            Known::As(word) if !out_of_use_by(word) => Some((format!("worker {} is {word}", w.number), true)),
            Known::No | Known::As(_) => None,
        })
    }
}

/// Which workers go when only their number is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum Choose {
    /// Those with the highest numbers.
    #[default]
    HighestNumber,
    /// Those that have the fewest bytes.
    LeastCached,
    /// Those on the node that has most of the cache's workers, again and again.
    MostLoadedNode,
}

/// The `count` workers that go.
#[must_use]
pub fn choose(by: Choose, workers: &[WorkerView], count: usize) -> Numbers {
    let mut left: Vec<&WorkerView> = workers.iter().collect();
    let mut go = Vec::new();
    while go.len() < count {
        let on = |w: &WorkerView| left.iter().filter(|o| o.node.is_some() && o.node == w.node).count();
        let next = match by {
            Choose::HighestNumber => left.iter().max_by_key(|w| w.number),
            Choose::LeastCached => left.iter().min_by_key(|w| (w.used_bytes, -w.number)),
            Choose::MostLoadedNode => left.iter().max_by_key(|w| (on(w), w.number)),
        };
        let Some(number) = next.map(|w| w.number) else { break };
        left.retain(|w| w.number != number);
        go.push(number);
    }
    go.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_goes_is_chosen_by_number_bytes_or_node() {
        let worker = |number, used_bytes, node: &str| WorkerView {
            number,
            used_bytes,
            node: Some(node.into()),
            ..WorkerView::default()
        };
        let all =
            [worker(0, 5, "a"), worker(1, 1, "b"), worker(2, 5, "a"), worker(4, 9, "b"), worker(5, 7, "a")];
        let chosen = |by, count| choose(by, &all, count).to_string();
        assert_eq!(chosen(Choose::HighestNumber, 2), "4-5");
        assert_eq!(chosen(Choose::LeastCached, 2), "1-2");
        assert_eq!(chosen(Choose::MostLoadedNode, 1), "5");
        assert_eq!(chosen(Choose::MostLoadedNode, 2), "4-5", "then both nodes have two");
        assert_eq!(chosen(Choose::HighestNumber, 9), "0-2,4-5");
    }
}
