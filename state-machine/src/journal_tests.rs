use super::*;
use crate::ids::{Fence, PlanHash};
use crate::lifecycle::Failure;
use crate::lifecycle::step::Shared;
use crate::operation::load::LoadEvent;
use crate::spec::{Approval, Control, RetryPolicy};
use crate::testing::{self, UID, change, created, effects, load, samples, signature, writer};
use proptest::prelude::*;

/// A change with an intent for `effect`, which fits `record`.
fn intending(record: &Record, event: Event, effect: crate::effect::Effect) -> Change {
    let mut intent = testing::intent(effect, record.folded.fence);
    intent.send_for_ms = 10_000;
    Change { intent: Some(intent), ..change(event) }
}

/// A load of one path from its birth to its seal: eight entries.
fn story() -> (OperationSpec, Record, Vec<Entry>) {
    use crate::effect::Effect::{LoadMetadata, SubmitLoad};
    let (spec, by) = (load(&["/data/ü"]), WriterId("ratchet-0".into()));
    let sign = |ms| Signature { by: &by, at: testing::at(ms), because: "seen" };
    let mut record = Record::birth(UID, &spec, &created(&spec), &sign(0)).unwrap();
    let mut entries = record.tail.clone();
    let mut step = |record: &Record, change: Change| {
        let next = record.append(&change, &sign(1500 * record.folded.seq.0)).unwrap();
        entries.push(next.last().unwrap().clone());
        next
    };
    record = step(&record, change(Event::Shared(Shared::HoldGranted { epoch: 3 })));
    let checked = Event::Load(LoadEvent::Checked { workers: 3, capacity: 1000 });
    record = step(&record, intending(&record, checked, LoadMetadata { path: 0 }));
    record = step(&record, change(Event::Load(LoadEvent::MetadataRequested { task: Some(12) })));
    let known = Event::Load(LoadEvent::MetadataLoaded { files: 2, bytes: 100, more: false });
    record = step(&record, intending(&record, known, SubmitLoad { path: 0 }));
    record = step(&record, change(Event::Load(LoadEvent::LoadSubmitted { attached: false, job: None })));
    let done = LoadEvent::DataLoaded { bytes: 100, failed: 0, attributed: true, more: false };
    record = step(&record, change(Event::Load(done)));
    let verified = LoadEvent::Verified { files: 2, bytes: 100, cached_bytes: 100 };
    record = step(&record, change(Event::Load(verified)));
    let seal = change(Event::Shared(Shared::Sealed { segment: true }));
    record = step(&record, Change { sealed_through: Some(record.folded.seq), ..seal });
    (spec, record, entries)
}

/// The entry that an error names.
fn named(error: &JournalError) -> Option<Seq> {
    match error {
        JournalError::Illegal { seq, .. }
        | JournalError::Broken { seq }
        | JournalError::Contradiction { seq, .. }
        | JournalError::Unreadable { seq, .. }
        | JournalError::TooLong { seq, .. }
        | JournalError::TailFull { seq } => Some(*seq),
        JournalError::Gap { found, .. } => Some(*found),
        JournalError::Empty => None,
    }
}

#[test]
fn a_replay_arrives_at_the_stored_record() {
    let (spec, record, entries) = story();
    let replayed = replay(UID, &spec, &entries).unwrap();
    assert_eq!(replayed.len(), entries.len());
    assert_eq!(replayed.last().unwrap().after, record.folded);
    assert!(record.folded.settled());
    assert_eq!(record.tail.len(), 1, "the seal trims what it sealed");
    assert_eq!(record.unsealed().count(), 1);
    assert_eq!(entries[0].time(), Some(testing::at(0)));
}

#[test]
fn every_prefix_replays_and_an_empty_journal_does_not() {
    let (spec, _, entries) = story();
    for n in 1..=entries.len() {
        let replayed = replay(UID, &spec, &entries[..n]).unwrap();
        assert_eq!(replayed[n - 1].after.seq, Seq(n as i64));
    }
    assert!(matches!(replay(UID, &spec, &[]), Err(JournalError::Empty)));
}

#[test]
fn a_change_of_any_single_byte_is_found_and_its_entry_named() {
    let (spec, _, entries) = story();
    let mut tried = 0;
    for i in 0..entries.len() {
        let mut refuse = |field: &str, changed: Entry| {
            let mut all = entries.clone();
            all[i] = changed;
            let error = replay(UID, &spec, &all).expect_err(&format!("entry {}: {field} was changed", i + 1));
            let seq = named(&error).unwrap();
            assert!(field == "seq" || seq == entries[i].seq, "{error} instead of entry {}", i + 1);
            tried += 1;
        };
        let e = &entries[i];
        for n in [e.seq.0 - 1, e.seq.0 + 1, -e.seq.0, 0, i64::MAX] {
            refuse("seq", Entry { seq: Seq(n), ..e.clone() });
        }
        for at in changed(&e.at) {
            refuse("at", Entry { at, ..e.clone() });
        }
        for event in changed(&e.event) {
            refuse("event", Entry { event, ..e.clone() });
        }
        for body in changed(&e.body) {
            refuse("body", Entry { body, ..e.clone() });
        }
    }
    assert!(tried > 5_000, "only {tried} changes were tried");
}

/// The text with each of its ASCII bytes replaced by each of a few others.
fn changed(text: &str) -> impl Iterator<Item = String> + '_ {
    let places = text.char_indices().filter(|(_, c)| c.is_ascii()).map(|(i, _)| i);
    places.flat_map(move |i| {
        let new = move |b: u8| {
            let mut bytes = text.as_bytes().to_vec();
            bytes[i] = b;
            String::from_utf8(bytes).unwrap()
        };
        [b'1', b'Z', b' ', b'"'].into_iter().filter(move |b| *b != text.as_bytes()[i]).map(new)
    })
}

#[test]
fn text_that_means_the_same_but_is_written_otherwise_is_found() {
    let (spec, _, entries) = story();
    let e = &entries[2];
    let bodies = [
        e.body.replacen('{', "{ ", 1),
        e.body.replacen('{', "{\"aside\":\"a lie\",", 1),
        e.body.replacen("seen", "s\\u0065en", 1),
        e.body
            .replacen("\"because\":\"seen\",", "", 1)
            .replacen('{', "{\"because\":\"seen\",", 1)
            .replacen("\"by\"", "\"by\" ", 1),
        format!("{} ", e.body),
    ];
    for body in bodies {
        assert_ne!(body, e.body);
        let mut all = entries.clone();
        all[2] = Entry { body: body.clone(), ..e.clone() };
        let error = replay(UID, &spec, &all).expect_err(&body);
        assert_eq!(named(&error), Some(Seq(3)), "{error}");
    }
}

#[test]
fn removing_swapping_doubling_or_inserting_an_entry_is_found() {
    let (spec, record, entries) = story();
    let refused = |all: &[Entry], what: &str| {
        let error = replay(UID, &spec, all).expect_err(what);
        assert!(named(&error).is_some(), "{what}: {error}");
    };
    for i in 0..entries.len() {
        let mut without = entries.clone();
        without.remove(i);
        if i + 1 < entries.len() {
            refused(&without, "removed");
            let mut swapped = entries.clone();
            swapped.swap(i, i + 1);
            refused(&swapped, "swapped");
        } else {
            // The end of a chain can only be missed by its head, which the record and the lock keep.
            assert_ne!(replay(UID, &spec, &without).unwrap()[i - 1].after.digest, record.folded.digest);
        }
        let mut doubled = entries.clone();
        doubled.insert(i, entries[i].clone());
        refused(&doubled, "doubled");
        let mut renumbered = entries[i].clone();
        renumbered.seq = renumbered.seq.next();
        let mut inserted = entries.clone();
        inserted.insert(i + 1, renumbered);
        refused(&inserted, "inserted");
    }
}

/// The digest that an entry with this body must have.
fn own(previous: &Digest, entry: &Entry, body: &Body) -> String {
    let bare = Body { hash: String::new(), ..body.clone() };
    digest(previous, entry, &canonical::to_value(&bare).unwrap()).unwrap()
}

#[test]
fn a_consistent_rewrite_changes_the_final_digest() {
    let (spec, record, entries) = story();
    for from in 0..entries.len() {
        let mut previous = match from {
            0 => genesis(UID, &spec).unwrap(),
            n => Digest(entries[n - 1].open().unwrap().hash),
        };
        let mut forged = entries[..from].to_vec();
        for e in &entries[from..] {
            let mut body = e.open().unwrap();
            body.because = "a forged reason".into();
            body.hash = own(&previous, e, &body);
            previous = Digest(body.hash.clone());
            forged.push(Entry { body: canonical::to_string(&body).unwrap(), ..e.clone() });
        }
        let end = replay(UID, &spec, &forged).unwrap().pop().unwrap().after;
        assert_ne!(end.digest, record.folded.digest, "rewritten from entry {}", from + 1);
    }
}

#[test]
fn a_history_belongs_to_one_operation_and_to_what_was_asked() {
    let spec = load(&["/a"]);
    let own = genesis(UID, &spec).unwrap();
    assert_ne!(own, genesis("another", &spec).unwrap());
    let mut other = spec.clone();
    other.stall_deadline_seconds += 1;
    assert_ne!(own, genesis(UID, &other).unwrap());
    assert_ne!(own, genesis(UID, &load(&["/b"])).unwrap());
    let control = Control { cancel: true, retry: 4, ..Control::default() };
    let moved = OperationSpec { control, priority: 9, deadline_seconds: Some(5), ..spec };
    assert_eq!(own, genesis(UID, &moved).unwrap());
    let (spec, _, entries) = story();
    assert_eq!(named(&replay("another", &spec, &entries).unwrap_err()), Some(Seq(1)));
    let retries = RetryPolicy { limit: 9, ..spec.retry_policy };
    assert!(replay(UID, &OperationSpec { retry_policy: retries, ..spec }, &entries).is_err());
}

#[test]
fn an_unknown_event_is_an_error_that_names_the_entry() {
    let spec = load(&["/a"]);
    let mut entry =
        Record::birth(UID, &spec, &created(&spec), &signature(&writer(), 0)).unwrap().tail.remove(0);
    for name in ["Teleported", "Freed", "", "created", "\u{0}"] {
        entry.event = name.into();
        let mut body = entry.open().unwrap();
        body.hash = own(&genesis(UID, &spec).unwrap(), &entry, &body);
        entry.body = canonical::to_string(&body).unwrap();
        let error = replay(UID, &spec, [&entry]).expect_err(name);
        assert_eq!(named(&error), Some(Seq(1)), "{error}");
    }
    assert!(Event::parse("teleport", "Checked", &Value::Null).is_err());
}

#[test]
fn only_what_follows_from_the_spec_begins_an_operation() {
    let spec = OperationSpec {
        approval: Approval::Manual,
        run_after: vec![testing::run_after("x")],
        ..load(&["/a"])
    };
    let (by, good) = (writer(), created(&spec));
    assert!(Record::birth(UID, &spec, &good, &signature(&by, 0)).is_ok());
    for (after, approval) in [(false, true), (true, false), (false, false)] {
        let event = Event::Shared(Shared::Created {
            machine: crate::MACHINE_VERSION,
            after,
            approval,
            plan: testing::plan(&spec),
        });
        assert!(Record::birth(UID, &spec, &change(event), &signature(&by, 0)).is_err(), "{after} {approval}");
    }
    let late = change(Event::Shared(Shared::Suspended {}));
    assert!(Record::birth(UID, &spec, &late, &signature(&by, 0)).is_err());
}

/// Every change that the law lets happen to a sample, with everything that may ride on it.
fn largest_changes() -> Vec<(Record, Change)> {
    let mut out = Vec::new();
    for s in samples() {
        for (state, event) in s.states.iter().flat_map(|st| s.events.iter().map(move |e| (st, e))) {
            let mut folded = testing::folded(&s.spec, state.clone());
            folded.plan.hash = PlanHash("p".repeat(43));
            folded.seq = Seq(i64::MAX - 1);
            let granted = matches!(event, Event::Shared(Shared::HoldGranted { .. }));
            let epoch = if granted { 0 } else { i64::MAX };
            folded.fence = Fence { epoch, attempt: i64::MAX - 1 };
            let rides = effects().into_iter().map(|e| Some(testing::intent(e, folded.fence))).chain([None]);
            for intent in rides {
                let change = Change { event: event.clone(), intent, sealed_through: Some(Seq(i64::MAX - 3)) };
                if folded.clone().apply(&change).is_ok() {
                    out.push((Record { folded: folded.clone(), tail: Vec::new() }, change));
                }
            }
        }
    }
    out
}

#[test]
fn the_largest_entry_of_every_event_fits_its_bound() {
    let (by, mut sizes) = (writer(), std::collections::BTreeMap::new());
    for (record, change) in largest_changes() {
        let next = record.append(&change, &signature(&by, i64::from(i32::MAX))).unwrap();
        let entry = next.last().unwrap();
        assert!(entry.at.len() <= 30 && entry.event.len() <= 63);
        let size = sizes.entry(change.event.name()).or_insert((0, false));
        *size = (size.0.max(entry.body.len()), size.1 || change.intent.is_some());
    }
    assert!(sizes.values().all(|(bytes, _)| *bytes <= MAX_BODY));
    let with_intent: Vec<&str> = sizes.iter().filter(|(_, s)| s.1).map(|(n, _)| *n).collect();
    for name in ["Intended", "Checked", "LoadSubmitted", "Verified", "Measured", "Freed"] {
        assert!(name == "Verified" || with_intent.contains(&name), "{name} was not tried with an intent");
    }
    let tried: Vec<&str> = sizes.keys().copied().collect();
    for s in samples() {
        for event in s.events.iter().filter(|e| e.name() != "Created") {
            assert!(tried.contains(&event.name()), "{} was not tried", event.name());
        }
    }
}

proptest! {
    #![proptest_config(crate::testing::cases(64))]

    #[test]
    fn any_text_fits_and_survives(reason in ".{0,400}", message in "\\PC{0,2000}|.{0,2000}|[\\x00-\\x1f\"\\\\]{0,900}") {
        let (spec, by) = (load(&["/a"]), writer());
        let born = Record::birth(UID, &spec, &created(&spec), &signature(&by, 0)).unwrap();
        let why = Failure::new(&reason, &message);
        prop_assert!(why.reason.len() <= 64 && why.message.len() <= Failure::MAX_MESSAGE);
        let sign = Signature { because: &message, ..signature(&by, 1) };
        let failed = born.append(&change(Event::Shared(Shared::Aborted { why: why.clone() })), &sign).unwrap();
        prop_assert_eq!(failed.folded.state.failure(), Some(&why));
        let replayed = replay(UID, &spec, &failed.tail).unwrap();
        prop_assert_eq!(&replayed[1].after, &failed.folded);
    }
}

/// A load in preflight that failed an attempt `n` times: `n` more entries in the tail.
fn failed(n: i64, message: &str) -> Record {
    let (spec, by) = (load(&["/a"]), WriterId("ratchet-0".into()));
    let sign = |ms| Signature { by: &by, at: testing::at(ms), because: "" };
    let born = Record::birth(UID, &spec, &created(&spec), &sign(0)).unwrap();
    let mut record = born.append(&change(Event::Shared(Shared::HoldGranted { epoch: 1 })), &sign(1)).unwrap();
    for i in 0..n {
        record = record.append(&attempt(message), &sign(i + 2)).unwrap();
    }
    record
}

fn attempt(message: &str) -> Change {
    change(Event::Shared(Shared::AttemptFailed { why: Failure::new("Trouble", message) }))
}

#[test]
fn a_full_tail_takes_no_entry_until_a_trim_rides_on_it() {
    let (record, by) = (failed(30, ""), writer());
    assert_eq!(record.tail.len(), MAX_TAIL);
    let sign = signature(&by, 99);
    assert!(matches!(record.append(&attempt(""), &sign), Err(JournalError::TailFull { seq: Seq(33) })));
    for through in [0, 16, 32] {
        let trimmed = Change { sealed_through: Some(Seq(through)), ..attempt("") };
        match record.append(&trimmed, &sign) {
            Ok(next) => {
                assert_eq!(next.tail.first().unwrap().seq, Seq(through + 1));
                assert_eq!(next.unsealed().count(), next.tail.len());
                assert_eq!(crate::invariant::broken(Some(&record), &next), None);
                let back = Change { sealed_through: Some(Seq(through - 1)), ..attempt("") };
                assert!(next.append(&back, &sign).is_err(), "sealedThrough fell");
            }
            Err(e) => assert!(through == 0 && matches!(e, JournalError::TailFull { .. }), "{through}: {e}"),
        }
    }
    let ahead = Change { sealed_through: Some(Seq(33)), ..attempt("") };
    assert!(
        matches!(record.append(&ahead, &sign), Err(JournalError::Illegal { .. })),
        "an entry sealed itself"
    );
}

#[test]
fn the_entry_that_ends_an_operation_never_passes_for_its_seal() {
    let by = writer();
    let sign = signature(&by, 99);
    for (n, kept) in [(10, None), (30, Some(Seq(31)))] {
        let record = failed(n, "");
        let through = record.folded.seq;
        let end = change(Event::Shared(Shared::CancelRequested { deleted: false }));
        let end = Change { sealed_through: Some(through), ..end };
        assert!(record.folded.clone().apply(&end).is_err(), "the law would take the end for the seal");
        let ended = record.append(&end, &sign).unwrap();
        assert!(!ended.folded.settled());
        assert_eq!(ended.folded.sealed_through, kept.unwrap_or(Seq(0)));
        let seal = Event::Shared(Shared::Sealed { segment: true });
        let unsealed = Change { sealed_through: None, ..change(seal.clone()) };
        assert!(ended.append(&unsealed, &sign).is_err(), "a seal that seals nothing");
        let seal = Change { sealed_through: Some(ended.folded.seq), ..change(seal) };
        let settled = ended.append(&seal, &sign).unwrap();
        assert!(settled.folded.settled());
        assert_eq!(crate::invariant::broken(Some(&ended), &settled), None);
        let again = Change { sealed_through: Some(settled.folded.seq), ..seal };
        assert!(settled.append(&again, &sign).is_err(), "a settled operation was sealed again");
    }
}

#[test]
fn compaction_is_due_by_entries_or_by_bytes() {
    assert!(!failed(13, "").compaction_due());
    assert!(failed(14, "").compaction_due());
    let long = "x".repeat(300);
    let bytes = |r: &Record| r.tail.iter().map(Entry::size).sum::<usize>();
    let first = (0..14).find(|n| failed(*n, &long).compaction_due()).unwrap();
    assert!(
        bytes(&failed(first, &long)) >= COMPACT_BYTES && bytes(&failed(first - 1, &long)) < COMPACT_BYTES
    );
}

#[test]
fn an_entry_explains_itself_in_one_line() {
    let (_, _, entries) = story();
    let lines: Vec<String> = entries.iter().map(|e| explain(e, &e.open().unwrap())).collect();
    assert_eq!(lines[0], "Created by ratchet-0: (new) -> queued, because seen");
    let wanted =
        "Checked by ratchet-0: preflight -> loadingMetadata, will loadMetadata (fence 3.1), because seen";
    assert_eq!(lines[2], wanted);
    assert_eq!(lines[5], "LoadSubmitted by ratchet-0, because seen");
}
