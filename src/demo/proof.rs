//! History and replay, by the very functions that the commands call.

use super::{Demo, DemoError, error::claim};
use crate::cli::history::{self, Journal};
use ratchet_state_machine::journal::Replayed;
use std::collections::BTreeSet;

/// A journal, and what follows from it.
pub(super) struct Proved {
    /// The journal.
    pub journal: Journal,
    /// Each entry with the state after it.
    pub steps: Vec<Replayed>,
}

impl Demo {
    /// Who, when, what, because; and the proof.
    pub(super) async fn history(&mut self, name: &str) -> Result<Proved, DemoError> {
        self.say.step(
            "History and replay",
            "Months later somebody asks what happened. The answer can be proved.",
        )?;
        let proved = self.proved(name).await?;
        self.say.command(format_args!("{} history {name}", super::program()))?;
        self.say.printed(history::told(&proved.journal)?)?;
        let authors: BTreeSet<&str> = proved.steps.iter().map(|s| s.body.by.0.as_str()).collect();
        let all = self.stage.writers.iter().all(|w| authors.contains(w.as_str()));
        claim(all, || format!("{authors:?} wrote the history"))?;
        self.say
            .holds(format_args!("one history, written by {} controllers, two of them dead", authors.len()))?;

        self.say.command(format_args!("{} replay {name} | tail -3", super::program()))?;
        let lines = history::proved(&proved.journal, &proved.steps)?;
        self.say.printed(lines.iter().skip(lines.len().saturating_sub(3)))?;
        let verdict = lines.last().map(String::as_str).unwrap_or_default();
        let sound =
            verdict.starts_with("sound: ") && verdict.ends_with("confirmed by the object and the lock");
        claim(sound, || format!("the replay says: {verdict}"))?;
        let status = self.operation(name).await?.and_then(|o| o.status);
        let stored = status.and_then(|s| s.record().ok()).map(|r| r.folded);
        let folded = proved.steps.last().map(|s| &s.after);
        claim(stored.as_ref() == folded, || "the replay ends in another state than the object has".into())?;
        self.say.holds("folded from nothing, it gives the state that the object has, field by field")?;
        Ok(proved)
    }

    /// Reads a journal and proves it.
    pub(super) async fn proved(&mut self, name: &str) -> Result<Proved, DemoError> {
        let journal = history::read(&self.stage.client, "default", name, None).await?;
        let steps = history::prove(&journal)?;
        self.entries += steps.len();
        Ok(Proved { journal, steps })
    }
}
