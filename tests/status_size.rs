//! Does a status stay small, whatever happens to its operation?

#![allow(clippy::unwrap_used, reason = "a test ends at the first thing that goes wrong")]

use chrono::DateTime;
use ratchet::api::DataOperationStatus;
use ratchet_state_machine::effect::{Effect, Intent};
use ratchet_state_machine::ids::{Fence, Nonce, Seq, Token, WriterId};
use ratchet_state_machine::journal::{Entry, Record, Signature, plan_hash, replay};
use ratchet_state_machine::lifecycle::step::Shared;
use ratchet_state_machine::lifecycle::{Change, Failure};
use ratchet_state_machine::operation::Event;
use ratchet_state_machine::operation::load::LoadEvent;
use ratchet_state_machine::spec::OperationSpec;

const LIMIT: usize = 32 * 1024;
const TRANSITIONS: i64 = 10_000;

fn spec() -> OperationSpec {
    serde_json::from_value(
        serde_json::json!({"target": "cache", "operation": {"load": {"paths": ["/data"]}}}),
    )
    .unwrap()
}

/// A retry storm: every attempt fails with the longest sentence that is allowed.
fn next(record: &Record) -> (Event, Option<Effect>) {
    match record.folded.state.step() {
        "queued" => (Event::Shared(Shared::HoldGranted { epoch: 1 }), None),
        "preflight" => (
            Event::Load(LoadEvent::Checked { workers: 3, capacity: 1 << 40 }),
            Some(Effect::LoadMetadata { path: 0 }),
        ),
        _ if record.folded.intent.is_some() => {
            let why = Failure::new("MetadataFailed", "x".repeat(1_000));
            (Event::Shared(Shared::AttemptFailed { why }), None)
        }
        _ => (Event::Shared(Shared::Intended {}), Some(Effect::LoadMetadata { path: 0 })),
    }
}

#[test]
fn row_54_after_ten_thousand_transitions_it_is_under_32_kib_and_every_entry_is_kept_once() {
    let (spec, uid, writer) = (spec(), "3f0d6a4e-0000-4000-8000-000000000001", WriterId("w".repeat(63)));
    let at = DateTime::from_timestamp_millis(1_790_000_000_000).unwrap();
    let sign = Signature { by: &writer, at, because: &"b".repeat(160) };
    let plan = plan_hash(&spec).unwrap();
    let birth = Change {
        event: Event::Shared(Shared::Created {
            machine: ratchet_state_machine::MACHINE_VERSION,
            after: false,
            approval: false,
            plan,
        }),
        intent: None,
        sealed_through: None,
    };
    let mut record = Record::birth(uid, &spec, &birth, &sign).unwrap();
    let mut segments: Vec<Entry> = Vec::new();
    let mut largest = 0;
    while record.folded.seq < Seq(TRANSITIONS) {
        let (event, effect) = next(&record);
        let fence = Fence { attempt: record.folded.fence.attempt + 1, ..record.folded.fence };
        let intent = effect.map(|effect| Intent {
            token: Token::derive(uid, record.folded.seq, 0),
            effect,
            writer: writer.clone(),
            nonce: Nonce("n".repeat(32)),
            fence,
            send_for_ms: 5_000,
        });
        let sealed_through = record.compaction_due().then(|| {
            segments.extend(record.unsealed().cloned());
            record.folded.seq
        });
        record = record.append(&Change { event, intent, sealed_through }, &sign).unwrap();
        let status = DataOperationStatus::from_record(&record);
        largest = largest.max(serde_json::to_vec(&status).unwrap().len());
    }
    assert!(largest <= LIMIT, "the largest status took {largest} bytes");
    segments.extend(record.unsealed().cloned());
    let steps = replay(uid, &spec, &segments).unwrap();
    assert_eq!(steps.len() as i64, TRANSITIONS);
    assert_eq!(steps.last().unwrap().after, record.folded);
}
