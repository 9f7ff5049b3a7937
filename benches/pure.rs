//! How long do a decision, an append and a replay take, beside a SHA-256 of the same number of bytes?

#![allow(clippy::expect_used, clippy::panic, reason = "a bench ends at the first thing that goes wrong")]

use chrono::DateTime;
use ratchet_state_machine::effect::{Answer, Health};
use ratchet_state_machine::ids::{WriterId, hash};
use ratchet_state_machine::journal::{Record, Signature, plan_hash, replay};
use ratchet_state_machine::lifecycle::step::Shared;
use ratchet_state_machine::lifecycle::{Change, decide};
use ratchet_state_machine::observation::{LockView, Observation, Target};
use ratchet_state_machine::operation::Event;
use ratchet_state_machine::spec::OperationSpec;
use std::hint::black_box;
use std::time::Duration;

const ROUNDS: u32 = 20_000;

/// Mean time of one round, by the process' own clock.
#[allow(clippy::disallowed_methods, reason = "a bench reads the real clock")]
fn time(mut f: impl FnMut()) -> Duration {
    let start = std::time::Instant::now();
    for _ in 0..ROUNDS {
        f();
    }
    start.elapsed() / ROUNDS
}

fn main() {
    let spec: OperationSpec = serde_json::from_value(
        serde_json::json!({"target": "c", "operation": {"load": {"paths": ["/data"]}}}),
    )
    .expect("a spec");
    let writer = WriterId("bench-12345678".into());
    let at = DateTime::from_timestamp_millis(1_790_000_000_000).expect("a time");
    let sign = Signature { by: &writer, at, because: "bench" };
    let created = Shared::Created {
        machine: ratchet_state_machine::MACHINE_VERSION,
        after: false,
        approval: false,
        plan: plan_hash(&spec).expect("a hash"),
    };
    let change = |e| Change { event: Event::Shared(e), intent: None, sealed_through: None };
    let birth = Record::birth("uid", &spec, &change(created), &sign).expect("a birth");
    let running = birth.append(&change(Shared::HoldGranted { epoch: 1 }), &sign).expect("a grant");
    let health = Health { live_workers: 3, capacity_bytes: 1 << 40, load_replicas: false };
    let seen = Observation {
        target: Target::Ready,
        lock: LockView::Held { epoch: 1 },
        answer: Some(Ok(Answer::Health(health))),
        ..Observation::default()
    };
    let block = [7_u8; 512];
    let base = time(|| drop(black_box(hash(&[black_box(&block)]))));
    let rows = [
        ("decide", time(|| drop(black_box(decide(black_box(&spec), &running.folded, &seen))))),
        ("append", time(|| drop(black_box(birth.append(&change(Shared::HoldGranted { epoch: 1 }), &sign))))),
        ("replay of 2 entries", time(|| drop(black_box(replay("uid", &spec, &running.tail))))),
    ];
    println!("SHA-256 of 512 bytes: {base:?}");
    for (what, took) in rows {
        println!("{what}: {took:?} ({:.1} x)", took.as_secs_f64() / base.as_secs_f64());
    }
}
