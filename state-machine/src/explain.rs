//! Entries of the journal in words.

use crate::journal::{Body, Entry};

/// One line for a person: what the entry says.
#[must_use]
pub fn explain(entry: &Entry, body: &Body) -> String {
    let mut line = format!("{} by {}", entry.event, body.by);
    if body.from != body.to {
        line.push_str(&format!(
            ": {} -> {}",
            if body.from.is_empty() { "(new)" } else { &body.from },
            body.to
        ));
    }
    if let Some(intent) = &body.intent {
        line.push_str(&format!(", will {} (fence {})", intent.effect.name(), intent.fence));
    }
    if !body.because.is_empty() {
        line.push_str(&format!(", because {}", body.because));
    }
    line
}
