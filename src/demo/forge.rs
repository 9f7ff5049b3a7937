//! Two forgers: one changes a byte, one writes the whole chain anew. Both are found out, in memory; the objects stay.

use super::proof::Proved;
use super::{Demo, DemoError, error::claim};
use crate::cli::CliError;
use crate::cli::history::{self, Journal};
use ratchet_state_machine::ids::Seq;
use ratchet_state_machine::journal::{Entry, JournalError, Record, Replayed, Signature, replay};
use ratchet_state_machine::lifecycle::Change;
use ratchet_state_machine::operation::Event;

/// The number that is forged: what a load that cached too little would like to have said.
const FIELD: &str = "cachedBytes";

impl Demo {
    /// Forges twice, and shows what the replay says.
    pub(super) fn forge(&mut self, proved: &Proved) -> Result<(), DemoError> {
        self.say.step("A forged journal", "A history that can be rewritten unnoticed proves nothing.")?;
        let Proved { journal, steps } = proved;
        let (entries, seq, was, is) = one_byte(&journal.entries)?;
        self.say.line(format_args!("One digit of entry {seq}, {was} made {is}:"))?;
        let named = replay(&journal.uid, &journal.spec, &entries);
        let exact = matches!(named, Err(JournalError::Broken { seq: found }) if found == seq);
        claim(exact, || format!("the replay does not name entry {seq}"))?;
        let said = refused(&Journal { entries, ..journal.clone() })?;
        self.say.printed([format!("ratchet: {said}")])?;
        self.say.holds(format_args!("the replay names the very entry, {seq}"))?;

        self.say.line("The same number, and every digest after it computed anew, also the object's own:")?;
        let (entries, stored) = anew(journal, steps)?;
        let alone = replay(&journal.uid, &journal.spec, &entries).is_ok();
        claim(alone, || "the chain that was computed anew is not sound by itself".into())?;
        let said = refused(&Journal { entries, stored, ..journal.clone() })?;
        self.say.printed([format!("ratchet: {said}")])?;
        claim(said.contains("the lock has another digest"), || {
            "it was not the lock that contradicted".into()
        })?;
        Ok(self.say.holds("the chain is sound by itself, and the digest that the lock kept gives it away")?)
    }
}

/// What `ratchet replay` answers to a journal that must not be believed.
fn refused(journal: &Journal) -> Result<String, DemoError> {
    match history::prove(journal) {
        Err(CliError::Journal(why)) => Ok(CliError::Journal(why).to_string()),
        Err(other) => Err(other.into()),
        Ok(_) => Err(DemoError::NotSo("the replay believes a forged journal".into())),
    }
}

/// The entries with one digit changed: which entry, the number before and after.
fn one_byte(entries: &[Entry]) -> Result<(Vec<Entry>, Seq, String, String), DemoError> {
    let key = format!("\"{FIELD}\":");
    let mut entries = entries.to_vec();
    for entry in &mut entries {
        let Some(at) = entry.body.find(&key).map(|i| i + key.len()) else { continue };
        let (before, number) = entry.body.split_at(at);
        let len = number.bytes().take_while(u8::is_ascii_digit).count();
        let (number, after) = number.split_at(len);
        let (was, mut digits) = (number.to_owned(), number.to_owned().into_bytes());
        let Some(digit) = digits.last_mut() else { continue };
        *digit = if *digit == b'9' { b'8' } else { *digit + 1 };
        let is = String::from_utf8_lossy(&digits).into_owned();
        let (seq, body) = (entry.seq, format!("{before}{is}{after}"));
        entry.body = body;
        return Ok((entries, seq, was, is));
    }
    Err(DemoError::NotSo(format!("no entry of the load says {FIELD}")))
}

/// The same history with another number, consistent in itself; with what the object would say then.
#[allow(clippy::type_complexity, reason = "the second part is a field of the journal")]
fn anew(
    journal: &Journal,
    steps: &[Replayed],
) -> Result<(Vec<Entry>, Option<(Seq, ratchet_state_machine::ids::Digest)>), DemoError> {
    let broken = |e: &dyn std::fmt::Display| DemoError::Journal(format!("it cannot be written anew: {e}"));
    let mut record: Option<Record> = None;
    let mut entries = Vec::new();
    for step in steps {
        let mut data = step.body.data.clone();
        if let Some(number) = data.get_mut(FIELD) {
            *number = serde_json::json!(number.as_i64().unwrap_or(0) + 1);
        }
        let event =
            Event::parse(step.after.state.kind(), &step.entry.event, &data).map_err(|e| broken(&e))?;
        let (intent, sealed_through) = (step.body.intent.clone(), step.body.sealed_through);
        let change = Change { event, intent, sealed_through };
        let by = Signature {
            by: &step.body.by,
            at: step.entry.time().unwrap_or_default(),
            because: &step.body.because,
        };
        let next = match record {
            None => Record::birth(&journal.uid, &journal.spec, &change, &by),
            Some(record) => record.append(&change, &by),
        }
        .map_err(|e| broken(&e))?;
        entries.extend(next.last().cloned());
        record = Some(next);
    }
    let same = entries.iter().zip(&journal.entries).take_while(|(a, b)| a == b).count();
    let first = steps.iter().position(|s| s.body.data.get(FIELD).is_some());
    claim(first == Some(same), || format!("the forger's first {same} entries are the true ones"))?;
    Ok((entries, record.map(|r| (r.folded.seq, r.folded.digest))))
}
