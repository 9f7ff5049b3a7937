//! `free`: drop paths from the cache, and prove it.
//!
//! ```text
//! preflight -> freeing (each path) -> verifying -> succeeded
//!                 ^-----------------------'  something is still cached: another attempt
//! ```
//!
//! Lock: shared, scope = the paths. Effect: class (d) on Alluxio, a set-to-value. Undo: none is needed, the data is
//! in the under-storage; Alluxio refuses to free what is not persisted. Irreversible point: the first intent; a
//! cancel that comes later is noted and the operation runs to its end. Progress: bytes.

use super::Called;
use super::arm::{Act, Arm, Next, View};
use crate::decision::{Progress, WaitingOn};
use crate::effect::{Answer, Effect, Intent, Query, TroubleKind};
use crate::machine::{Edge, Illegal, edge};
use crate::spec::OperationSpec;
use serde::{Deserialize, Serialize};

/// Alluxio frees asynchronously (measured on 2.9.6: about two seconds); after this long, in milliseconds, what is
/// still cached counts as a failed attempt.
pub const FREE_TAKES_MS: i64 = 30_000;

/// The steps of a free.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Free {
    /// Checks that the paths exist and sees how much of them is cached.
    Preflight {},
    /// Asks the engine to drop a path.
    Freeing {
        /// Index of the path.
        path: usize,
        /// An intent for it was recorded.
        started: bool,
        /// Bytes that were cached at the beginning.
        cached: i64,
    },
    /// Reads back what is cached.
    Verifying {
        /// Bytes that were cached at the beginning.
        cached: i64,
    },
}

/// The facts that move a free.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all_fields = "camelCase")]
pub enum FreeEvent {
    /// The paths exist.
    Measured {
        /// Bytes of them that are cached.
        cached_bytes: i64,
    },
    /// The engine accepted.
    Freed {
        /// More paths follow.
        more: bool,
    },
    /// Nothing of the paths is cached.
    Empty {
        /// Files under the paths.
        files: i64,
    },
}

pub(super) const fn event_name(event: &FreeEvent) -> &'static str {
    match event {
        FreeEvent::Measured { .. } => "Measured",
        FreeEvent::Freed { .. } => "Freed",
        FreeEvent::Empty { .. } => "Empty",
    }
}

impl Arm for Free {
    type Event = FreeEvent;

    const KIND: &'static str = "free";
    const STEPS: &'static [&'static str] = &["preflight", "freeing", "verifying"];
    const EDGES: &'static [Edge] = &[
        edge("queued", "HoldGranted", "preflight"),
        edge("preflight", "Measured", "freeing"),
        edge("preflight", "AttemptFailed", "preflight"),
        edge("freeing", "Freed", "freeing"),
        edge("freeing", "Freed", "verifying"),
        edge("freeing", "AttemptFailed", "freeing"),
        edge("verifying", "Empty", "succeeded"),
        edge("verifying", "AttemptFailed", "freeing"),
        edge("paused", "Resumed", "preflight"),
        edge("paused", "Resumed", "freeing"),
        edge("paused", "Resumed", "verifying"),
    ];

    fn first() -> Self {
        Self::Preflight {}
    }

    fn name(&self) -> &'static str {
        match self {
            Self::Preflight {} => "preflight",
            Self::Freeing { .. } => "freeing",
            Self::Verifying { .. } => "verifying",
        }
    }

    fn event_name(event: &FreeEvent) -> &'static str {
        event_name(event)
    }

    fn step(self, event: FreeEvent) -> Result<Next<Self>, Illegal> {
        let illegal = Illegal::new(self.name(), event_name(&event));
        match self {
            Self::Preflight {} => match event {
                FreeEvent::Measured { cached_bytes } => {
                    Ok(Next::Step(Self::Freeing { path: 0, started: false, cached: cached_bytes }))
                }
                FreeEvent::Freed { .. } | FreeEvent::Empty { .. } => Err(illegal),
            },
            Self::Freeing { path, cached, .. } => match event {
                FreeEvent::Freed { more: true } => {
                    Ok(Next::Step(Self::Freeing { path: path.saturating_add(1), started: false, cached }))
                }
                FreeEvent::Freed { more: false } => Ok(Next::Step(Self::Verifying { cached })),
                FreeEvent::Measured { .. } | FreeEvent::Empty { .. } => Err(illegal),
            },
            Self::Verifying { .. } => match event {
                FreeEvent::Empty { .. } => Ok(Next::Succeeded),
                FreeEvent::Measured { .. } | FreeEvent::Freed { .. } => Err(illegal),
            },
        }
    }

    fn intended(self, _effect: &Effect) -> Self {
        match self {
            Self::Freeing { path, cached, .. } => Self::Freeing { path, started: true, cached },
            other @ (Self::Preflight {} | Self::Verifying { .. }) => other,
        }
    }

    fn resumed(self) -> Self {
        self
    }

    fn retried(self) -> Self {
        match self {
            Self::Verifying { cached } => Self::Freeing { path: 0, started: true, cached },
            other @ (Self::Preflight {} | Self::Freeing { .. }) => other,
        }
    }

    fn quiet(&self) -> bool {
        // A free has no job that could be stopped; what may still land is the intent, which is judged apart.
        true
    }

    fn irreversible(&self, intent: Option<&Intent>) -> bool {
        match self {
            Self::Preflight {} => intent.is_some(),
            Self::Freeing { path, started, .. } => *path > 0 || *started,
            Self::Verifying { .. } => true,
        }
    }

    fn query(&self, spec: &OperationSpec, _intent: Option<&Intent>) -> Option<Query> {
        match self {
            Self::Preflight {} | Self::Verifying { .. } => {
                Some(Query::Tree { paths: spec.operation.paths().to_vec() })
            }
            Self::Freeing { .. } => None,
        }
    }

    fn decide(&self, view: &View<'_>) -> Act<FreeEvent> {
        if let Some(Err(trouble)) = view.answer {
            return super::trouble(trouble);
        }
        let answer = view.answer.and_then(Result::ok);
        match self {
            Self::Preflight {} => preflight(answer),
            Self::Freeing { path, .. } => freeing(*path, view),
            Self::Verifying { cached } => verify(*cached, answer, view.since_entry_ms),
        }
    }

    fn halt_query(&self, _spec: &OperationSpec) -> Option<Query> {
        None
    }

    fn halt(&self, _answer: Option<&Answer>) -> Option<Effect> {
        None
    }

    fn samples() -> Vec<Self> {
        let cached = i64::MAX;
        vec![
            Self::Preflight {},
            Self::Freeing { path: 0, started: false, cached },
            Self::Freeing { path: 1, started: true, cached },
            Self::Verifying { cached },
        ]
    }

    fn event_samples() -> Vec<FreeEvent> {
        vec![
            FreeEvent::Measured { cached_bytes: i64::MAX },
            FreeEvent::Freed { more: true },
            FreeEvent::Freed { more: false },
            FreeEvent::Empty { files: i64::MAX },
        ]
    }
}

fn preflight(answer: Option<&Answer>) -> Act<FreeEvent> {
    let Some(Answer::Tree(tree)) = answer else { return super::unanswered() };
    if let Some(missing) = &tree.missing {
        return Act::Fail {
            reason: "PathNotFound".into(),
            message: format!(
                "{} exists in neither the cache nor its under-storage; correct the path",
                crate::lifecycle::cut(missing, 120)
            ),
        };
    }
    Act::Record {
        event: FreeEvent::Measured { cached_bytes: tree.cached_bytes },
        because: format!("{} of {} bytes cached", tree.cached_bytes, tree.bytes),
        intend: Some(Effect::Free { path: 0 }),
    }
}

fn freeing(path: usize, view: &View<'_>) -> Act<FreeEvent> {
    match super::called(view) {
        Called::Accepted(_) => freed(path, view, "accepted"),
        // The cache has never heard of the path (any more: a master that failed over may have lost it), so nothing of it
        // is cached. Whether the path exists at all was asked before; the last look reads it back.
        Called::Refused { reason, .. } if reason == TroubleKind::NotFound.reason() => {
            freed(path, view, "unknown")
        }
        Called::Refused { reason, message, retryable } => super::refused(reason, message, retryable),
        Called::Landing(waiting) => Act::Await(waiting),
        Called::Open => Act::Intend { effect: Effect::Free { path }, because: "not freed yet".into() },
    }
}

fn freed(path: usize, view: &View<'_>, because: &str) -> Act<FreeEvent> {
    let more = path + 1 < view.spec.operation.paths().len();
    Act::Record {
        event: FreeEvent::Freed { more },
        because: because.into(),
        intend: more.then_some(Effect::Free { path: path + 1 }),
    }
}

fn verify(before: i64, answer: Option<&Answer>, since_entry_ms: i64) -> Act<FreeEvent> {
    let Some(Answer::Tree(tree)) = answer else { return super::unanswered() };
    if tree.cached_bytes == 0 {
        return Act::Record {
            event: FreeEvent::Empty { files: tree.files },
            because: format!("0 of {} bytes cached", tree.bytes),
            intend: None,
        };
    }
    if since_entry_ms < FREE_TAKES_MS {
        let done = before.saturating_sub(tree.cached_bytes).max(0);
        return Act::Await(WaitingOn::Work(Progress { done, total: before, unit: "bytes" }));
    }
    Act::Retry {
        reason: "StillCached",
        message: format!(
            "{} bytes are still cached; are the files pinned, or does somebody read them?",
            tree.cached_bytes
        ),
    }
}

#[cfg(test)]
#[path = "free_tests.rs"]
mod tests;
