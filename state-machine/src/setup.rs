//! How a managed cache comes to be.
//!
//! ```text
//!   SetupMaster > MasterReady > CheckUnderStorage > PrepareUnderStorage > SetupWorkers > WorkersReady > Ready
//!        ^------------- Restarted: the spec was edited before the cache was ready -------------'
//! ```
//!
//! Each stage is kept in the status of the CacheCluster and shown as a condition. A stage decides from what is seen
//! whether it is still due, so that doing it again does nothing, and whoever comes next goes on where it was. Ready is
//! never left: a cache that loses members is degraded, it is not set up again.

use std::fmt;

/// How far the set-up of a cache is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Stage {
    /// The masters' objects are made: configuration, services, pods.
    SetupMaster,
    /// The masters have to be ready, and one of them has to lead.
    MasterReady,
    /// The cache's root has to be the store that the spec names.
    CheckUnderStorage,
    /// The store has to be readable, and the cache has to be claimed: from here on Datasets can mount.
    PrepareUnderStorage,
    /// The workers' objects are made.
    SetupWorkers,
    /// The workers have to serve.
    WorkersReady,
    /// The cache was ready once.
    Ready,
}

/// What moves the set-up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// What the stage is for is so.
    StageDone,
    /// The spec was edited before the cache was ready: from the start.
    Restarted,
}

/// Every legal move.
pub const EDGES: &[(Stage, Event, Stage)] = &[
    (Stage::SetupMaster, Event::StageDone, Stage::MasterReady),
    (Stage::MasterReady, Event::StageDone, Stage::CheckUnderStorage),
    (Stage::CheckUnderStorage, Event::StageDone, Stage::PrepareUnderStorage),
    (Stage::PrepareUnderStorage, Event::StageDone, Stage::SetupWorkers),
    (Stage::SetupWorkers, Event::StageDone, Stage::WorkersReady),
    (Stage::WorkersReady, Event::StageDone, Stage::Ready),
    (Stage::SetupMaster, Event::Restarted, Stage::SetupMaster),
    (Stage::MasterReady, Event::Restarted, Stage::SetupMaster),
    (Stage::CheckUnderStorage, Event::Restarted, Stage::SetupMaster),
    (Stage::PrepareUnderStorage, Event::Restarted, Stage::SetupMaster),
    (Stage::SetupWorkers, Event::Restarted, Stage::SetupMaster),
    (Stage::WorkersReady, Event::Restarted, Stage::SetupMaster),
];

/// A move that no edge allows: a bug.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{event:?} does not move stage {stage}")]
pub struct IllegalMove {
    /// Where.
    pub stage: Stage,
    /// What.
    pub event: Event,
}

impl Stage {
    /// Every stage, in order.
    pub const ALL: [Self; 7] = [
        Self::SetupMaster,
        Self::MasterReady,
        Self::CheckUnderStorage,
        Self::PrepareUnderStorage,
        Self::SetupWorkers,
        Self::WorkersReady,
        Self::Ready,
    ];

    /// Its name in the status, which is also the type of its condition.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::SetupMaster => "SetupMaster",
            Self::MasterReady => "MasterReady",
            Self::CheckUnderStorage => "CheckUnderStorage",
            Self::PrepareUnderStorage => "PrepareUnderStorage",
            Self::SetupWorkers => "SetupWorkers",
            Self::WorkersReady => "WorkersReady",
            Self::Ready => "Ready",
        }
    }

    /// The stage of a name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|s| s.name() == name)
    }

    /// The stage after an event.
    ///
    /// # Errors
    /// [`IllegalMove`] where no edge leads.
    pub fn step(self, event: Event) -> Result<Self, IllegalMove> {
        let illegal = IllegalMove { stage: self, event };
        match (self, event) {
            (Self::Ready, Event::StageDone | Event::Restarted) => Err(illegal),
            (Self::SetupMaster, Event::StageDone) => Ok(Self::MasterReady),
            (Self::MasterReady, Event::StageDone) => Ok(Self::CheckUnderStorage),
            (Self::CheckUnderStorage, Event::StageDone) => Ok(Self::PrepareUnderStorage),
            (Self::PrepareUnderStorage, Event::StageDone) => Ok(Self::SetupWorkers),
            (Self::SetupWorkers, Event::StageDone) => Ok(Self::WorkersReady),
            (Self::WorkersReady, Event::StageDone) => Ok(Self::Ready),
            (
                Self::SetupMaster
                | Self::MasterReady
                | Self::CheckUnderStorage
                | Self::PrepareUnderStorage
                | Self::SetupWorkers
                | Self::WorkersReady,
                Event::Restarted,
            ) => Ok(Self::SetupMaster),
        }
    }

    /// Whether the workers' objects belong to the cache by now.
    #[must_use]
    pub fn has_workers(self) -> bool {
        self >= Self::SetupWorkers
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Members of one kind.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Part {
    /// How many there shall be.
    pub wanted: usize,
    /// How many are ready.
    pub ready: usize,
    /// The first thing that is wrong with one that is not.
    pub trouble: Option<String>,
}

/// What the cache says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Engine {
    /// Nothing that could be used: why.
    Silent {
        /// In CamelCase.
        reason: String,
        /// In a sentence.
        message: String,
    },
    /// A master leads.
    Serves {
        /// Workers of the spec that serve.
        workers_live: usize,
    },
}

/// What is mounted at the cache's root, and can it be read?
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Root {
    /// It was not asked or did not say: why.
    Unknown(String),
    /// Another store than the spec's.
    Other {
        /// Its address.
        found: String,
        /// The spec's.
        wanted: String,
    },
    /// The spec's, but it cannot be read: why.
    Unreadable(String),
    /// The spec's, and it is readable.
    AsWanted,
}

/// What is seen of a cache and of its objects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// Why an object is not as it shall be; none: all of the stages so far are.
    pub objects: Option<(String, String)>,
    /// The masters.
    pub masters: Part,
    /// The workers.
    pub workers: Part,
    /// The job master and the job workers.
    pub jobs: Part,
    /// The proxies.
    pub proxies: Part,
    /// The cache.
    pub engine: Engine,
    /// Its root.
    pub root: Root,
    /// Why the cache is not claimed; none: it is.
    pub unclaimed: Option<(String, String)>,
}

/// What comes next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// The stage moves.
    Move(Event),
    /// It waits.
    Wait {
        /// Why, in CamelCase.
        reason: String,
        /// Why, in a sentence.
        message: String,
    },
    /// Nothing is left to do.
    Rest,
}

fn wait(reason: &str, message: impl Into<String>) -> Decision {
    Decision::Wait { reason: reason.into(), message: message.into() }
}

const DONE: Decision = Decision::Move(Event::StageDone);

/// Decides what comes next, by what is seen alone.
#[must_use]
pub fn decide(stage: Stage, facts: &Facts) -> Decision {
    if let Some((reason, message)) = facts.objects.as_ref().filter(|_| stage != Stage::Ready) {
        return wait(reason, message.as_str());
    }
    match stage {
        Stage::SetupMaster | Stage::SetupWorkers => DONE,
        Stage::MasterReady => {
            members("masters", &facts.masters).or_else(|| silent(&facts.engine)).unwrap_or(DONE)
        }
        Stage::CheckUnderStorage => match &facts.root {
            Root::Unknown(why) => wait("UnderStorageUnknown", why.as_str()),
            Root::Other { found, wanted } => wait(
                "UnderStorageDiffers",
                format!(
                    "the cache's root is {found} and the spec says {wanted}: the journal belongs to another cache; \
                     give this one a journal of its own"
                ),
            ),
            Root::Unreadable(_) | Root::AsWanted => DONE,
        },
        Stage::PrepareUnderStorage => match (&facts.root, &facts.unclaimed) {
            (Root::Unreadable(why) | Root::Unknown(why), _) => wait("UnderStorageUnreadable", why.as_str()),
            (Root::Other { found, .. }, _) => {
                wait("UnderStorageDiffers", format!("the cache's root is {found}"))
            }
            (Root::AsWanted, Some((reason, message))) => wait(reason, message.as_str()),
            (Root::AsWanted, None) => DONE,
        },
        Stage::WorkersReady => members("workers", &facts.workers)
            .or_else(|| serving(facts))
            .or_else(|| members("members of the job service", &facts.jobs))
            .or_else(|| members("proxies", &facts.proxies))
            .unwrap_or(DONE),
        Stage::Ready => Decision::Rest,
    }
}

fn members(what: &str, part: &Part) -> Option<Decision> {
    (part.ready < part.wanted).then(|| {
        let trouble = part.trouble.as_ref().map(|t| format!(": {t}")).unwrap_or_default();
        wait("PodsNotReady", format!("{} of {} {what} are ready{trouble}", part.ready, part.wanted))
    })
}

fn silent(engine: &Engine) -> Option<Decision> {
    match engine {
        Engine::Silent { reason, message } => Some(wait(reason, message.as_str())),
        Engine::Serves { .. } => None,
    }
}

fn serving(facts: &Facts) -> Option<Decision> {
    match &facts.engine {
        Engine::Silent { reason, message } => Some(wait(reason, message.as_str())),
        Engine::Serves { workers_live } => (*workers_live < facts.workers.wanted).then(|| {
            let message =
                format!("{workers_live} of {} workers have registered with the master", facts.workers.wanted);
            wait("WorkersNotRegistered", message)
        }),
    }
}

/// What is wrong with a cache that was ready; none: nothing.
#[must_use]
pub fn trouble(facts: &Facts) -> Option<(String, String)> {
    if let Some(why) = &facts.objects {
        return Some(why.clone());
    }
    // Pods that are not ready say why; a cache that does not answer does not.
    let told = members("masters", &facts.masters)
        .or_else(|| silent(&facts.engine))
        .or_else(|| members("workers", &facts.workers))
        .or_else(|| serving(facts))
        .or_else(|| members("members of the job service", &facts.jobs))
        .or_else(|| members("proxies", &facts.proxies));
    match told {
        Some(Decision::Wait { reason, message }) => Some((reason, message)),
        Some(Decision::Move(_) | Decision::Rest) | None => None,
    }
}

#[cfg(test)]
#[path = "setup_tests.rs"]
mod tests;
