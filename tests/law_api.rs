//! Does the API server enforce the law of the state machine on every status that is written?

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that cannot go on fails")]

mod cluster;

use cluster::legal::{
    assert_accepted, assert_refused, birth, intent, patch_status, put_status, shared, status, store, then,
};
use cluster::{Bench, TestNamespace, create, operation};
use kube::Client;
use ratchet::api::DataOperation;
use ratchet_state_machine::effect::Effect;
use ratchet_state_machine::ids::Seq;
use ratchet_state_machine::journal::Record;
use ratchet_state_machine::lifecycle::Failure;
use ratchet_state_machine::lifecycle::step::Shared;
use ratchet_state_machine::operation::Event;
use ratchet_state_machine::operation::load::LoadEvent;
use serde_json::{Value, json};

struct Here {
    _bench: Bench,
    ns: TestNamespace,
    admin: Client,
    controller: Client,
}

async fn here(stem: &str) -> Option<Here> {
    let bench = Bench::api()?;
    let ns = bench.namespace(stem);
    let (admin, controller) = (bench.client("admin").await, bench.client("controller").await);
    Some(Here { _bench: bench, ns, admin, controller })
}

impl Here {
    async fn load(&self, name: &str) -> DataOperation {
        let arm = json!({"load": {"paths": ["/data"]}});
        create(&self.admin, &self.ns.name, &operation(&self.ns.name, name, "cache", arm, json!({}))).await
    }

    /// Bends a legal status and tries to write it; nothing is kept.
    async fn bent(
        &self,
        what: &str,
        op: &DataOperation,
        legal: &Value,
        bend: impl FnOnce(&mut Value),
        why: &str,
    ) {
        let mut bent = legal.clone();
        bend(&mut bent);
        assert_refused(what, put_status(&self.controller, op, &bent, true).await, why);
    }

    /// Writes a running load: entries 1 to 3, the third with an intent. Gives back all three.
    async fn running(&self, op: &DataOperation) -> [Record; 3] {
        let queued = birth(op);
        let checked = shared(&queued, Shared::HoldGranted { epoch: 1 });
        let effect = intent(&checked, op, Effect::LoadMetadata { path: 0 });
        let event = Event::Load(LoadEvent::Checked { workers: 1, capacity: 1 });
        let loading = then(&checked, event, Some(effect), None);
        for record in [&queued, &checked, &loading] {
            store(&self.controller, op, record).await;
        }
        [queued, checked, loading]
    }
}

fn requested() -> Event {
    Event::Load(LoadEvent::MetadataRequested { task: Some(1) })
}

const ONE_MORE: &str = "seq grows by one with each transition, and nothing of the state changes without one";

#[tokio::test(flavor = "multi_thread")]
async fn a_history_begins_with_entry_one_in_a_step_of_birth() {
    let Some(h) = here("law-birth").await else { return };
    let op = h.load("op").await;
    let first = birth(&op);
    let legal = status(&first);
    let begins = "the first status is entry 1 in a step in which an operation is born";
    let second = shared(&first, Shared::HoldGranted { epoch: 1 });
    h.bent("entry 2", &op, &status(&second), |_| {}, begins).await;
    h.bent(
        "seq 2",
        &op,
        &legal,
        |s| {
            s["seq"] = json!(2);
            s["tail"][0]["seq"] = json!(2);
        },
        begins,
    )
    .await;
    h.bent("an intent", &op, &legal, |s| s["intent"] = json!({"token": "t"}), begins).await;
    h.bent("a seal", &op, &legal, |s| s["sealedThrough"] = json!(1), begins).await;
    h.bent(
        "a running step",
        &op,
        &legal,
        |s| {
            s["step"] = json!("preflight");
            s["phase"] = json!("Running");
            s["state"] = json!({"load": {"preflight": {}}});
        },
        begins,
    )
    .await;
    h.bent(
        "a free",
        &op,
        &legal,
        |s| {
            s["kind"] = json!("free");
            s["state"] = json!({"free": {"queued": {}}});
        },
        "status.kind has to be the operation of the spec",
    )
    .await;
    h.bent(
        "a state of another step",
        &op,
        &legal,
        |s| s["state"] = json!({"load": {"pending": {}}}),
        "state has to name the operation and the step",
    )
    .await;
    h.bent(
        "a phase of another step",
        &op,
        &legal,
        |s| s["phase"] = json!("Pending"),
        "the phase does not belong to the step",
    )
    .await;
    h.bent("no tail", &op, &legal, |s| s["tail"] = json!([]), "at least 1 items").await;
    h.bent("nothing", &op, &legal, |s| *s = json!({}), "Required value").await;
    for field in [
        "seq",
        "phase",
        "step",
        "kind",
        "state",
        "machineVersion",
        "fence",
        "plan",
        "sealedThrough",
        "digest",
        "tail",
    ] {
        let less = |s: &mut Value| drop(s.as_object_mut().unwrap().remove(field));
        h.bent(&format!("without {field}"), &op, &legal, less, &format!("status.{field}: Required value"))
            .await;
    }
    assert_accepted("the first status", put_status(&h.controller, &op, &legal, false).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn row_20_each_write_is_one_legal_transition() {
    let Some(h) = here("law-step").await else { return };
    let op = h.load("op").await;
    let [_, _, now] = h.running(&op).await;
    let next = status(&then(&now, requested(), None, None));
    let over = |s: &mut Value| {
        s["step"] = json!("succeeded");
        s["phase"] = json!("Succeeded");
        s["state"] = json!({"load": {"succeeded": {}}});
    };
    h.bent("a jump of seq", &op, &next, |s| s["seq"] = json!(5), ONE_MORE).await;
    h.bent("a step back of seq", &op, &next, |s| s["seq"] = json!(2), ONE_MORE).await;
    h.bent("an illegal step", &op, &next, over, "illegal step: no edge of the state machine leads there")
        .await;
    h.bent(
        "a step that nobody knows",
        &op,
        &next,
        |s| {
            s["step"] = json!("dreaming");
            s["state"] = json!({"load": {"dreaming": {}}});
        },
        "illegal step",
    )
    .await;
    h.bent(
        "another operation",
        &op,
        &next,
        |s| {
            s["kind"] = json!("free");
            s["step"] = json!("freeing");
            s["state"] = json!({"free": {"freeing": {}}});
        },
        "illegal step",
    )
    .await;
    h.bent(
        "an illegal phase",
        &op,
        &next,
        |s| s["phase"] = json!("Queued"),
        "illegal phase: no edge of the state machine leads there",
    )
    .await;
    h.bent(
        "a phase of another step",
        &op,
        &next,
        |s| s["phase"] = json!("Stuck"),
        "the phase does not belong to the step",
    )
    .await;
    h.bent("a phase that nobody knows", &op, &next, |s| s["phase"] = json!("Dreaming"), "Unsupported value")
        .await;
    h.bent(
        "two steps in the state",
        &op,
        &next,
        |s| s["state"]["load"]["preflight"] = json!({}),
        "status.state.load: Too many",
    )
    .await;
    h.bent(
        "two operations in the state",
        &op,
        &next,
        |s| s["state"]["free"] = json!({"preflight": {}}),
        "status.state: Too many",
    )
    .await;
    h.bent(
        "the state of another step",
        &op,
        &next,
        |s| s["state"] = json!({"load": {"preflight": {}}}),
        "state has to name the operation and the step",
    )
    .await;
    h.bent("a lower attempt", &op, &next, |s| s["fence"]["attempt"] = json!(0), "the fence never falls")
        .await;
    h.bent(
        "a lower epoch",
        &op,
        &next,
        |s| s["fence"] = json!({"epoch": 0, "attempt": 9}),
        "the fence never falls",
    )
    .await;
    h.bent(
        "a body that is too long",
        &op,
        &next,
        |s| s["tail"][3]["body"] = json!("x".repeat(1025)),
        "Too long",
    )
    .await;
    assert_accepted("the next entry", put_status(&h.controller, &op, &next, true).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_transition_only_the_display_may_change() {
    let Some(h) = here("law-same").await else { return };
    let op = h.load("op").await;
    let [_, _, now] = h.running(&op).await;
    let same = status(&now);
    let folded = [
        ("phase", json!("Paused")),
        ("step", json!("paused")),
        ("kind", json!("free")),
        ("state", json!({"load": {"preflight": {}}})),
        ("machineVersion", json!(2)),
        ("round", json!(1)),
        ("handledRetry", json!(1)),
        ("failures", json!(1)),
        ("cancelNoted", json!(true)),
        ("fence", json!({"epoch": 1, "attempt": 2})),
        ("plan", json!({"hash": "x"})),
        ("sealedThrough", json!(1)),
        ("digest", json!("x")),
        ("intent", json!({"token": "mine"})),
    ];
    for (field, value) in folded {
        h.bent(field, &op, &same, |s| s[field] = value, ONE_MORE).await;
    }
    h.bent("no intent", &op, &same, |s| drop(s.as_object_mut().unwrap().remove("intent")), ONE_MORE).await;
    h.bent("the writer of the intent", &op, &same, |s| s["intent"]["writer"] = json!("me"), ONE_MORE).await;
    h.bent("an entry", &op, &same, |s| s["tail"][1]["at"] = json!("2020-01-01T00:00:00.000Z"), ONE_MORE)
        .await;
    h.bent("a lost entry", &op, &same, |s| drop(s["tail"].as_array_mut().unwrap().remove(0)), ONE_MORE).await;
    let mut shown = same.clone();
    shown["progress"] =
        json!({"done": 1, "total": 2, "unit": "bytes", "percent": "50%", "rate": 1, "eta": "1s"});
    shown["waitingOn"] = json!({"reason": "Working", "message": "it works"});
    shown["startedAt"] = json!("2026-01-01T00:00:00Z");
    shown["conditions"] = json!([{"type": "Finished", "status": "False", "reason": "Running", "message": "",
        "lastTransitionTime": "2026-01-01T00:00:00Z"}]);
    assert_accepted("the display", put_status(&h.controller, &op, &shown, false).await);
    assert_accepted("no display", put_status(&h.controller, &op, &same, false).await);
    let gone = patch_status(&h.controller, &op, json!([{"op": "remove", "path": "/status"}]), true).await;
    assert_refused("a removed status", gone, "status cannot be removed: the journal would be lost");
    let null =
        patch_status(&h.controller, &op, json!([{"op": "replace", "path": "/status", "value": null}]), true)
            .await;
    assert_refused("a status of null", null, "status");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_tail_is_append_only_and_shrinks_only_by_a_seal() {
    let Some(h) = here("law-tail").await else { return };
    let op = h.load("op").await;
    let [_, _, now] = h.running(&op).await;
    let next = status(&then(&now, requested(), None, None));
    let contiguous = "the tail is contiguous and ends at seq";
    let never = "entries of the journal are never changed";
    let sealed = "entries leave the tail only when they are in a segment";
    h.bent("a gap", &op, &next, |s| drop(s["tail"].as_array_mut().unwrap().remove(1)), contiguous).await;
    h.bent("no new entry", &op, &next, |s| drop(s["tail"].as_array_mut().unwrap().pop()), contiguous).await;
    h.bent("a changed entry", &op, &next, |s| s["tail"][0]["body"] = json!("{}"), never).await;
    h.bent("a redated entry", &op, &next, |s| s["tail"][1]["at"] = json!("2020-01-01T00:00:00.000Z"), never)
        .await;
    h.bent("a swap", &op, &next, |s| s["tail"].as_array_mut().unwrap().swap(0, 1), never).await;
    h.bent("a lost entry", &op, &next, |s| drop(s["tail"].as_array_mut().unwrap().remove(0)), sealed).await;
    h.bent("a seal beyond seq", &op, &next, |s| s["sealedThrough"] = json!(4), sealed).await;
    h.bent(
        "33 entries",
        &op,
        &next,
        |s| {
            let one = s["tail"][3].clone();
            s["tail"] = Value::Array(vec![one; 33]);
        },
        "Too many",
    )
    .await;
    let trimmed = then(&now, requested(), None, Some(Seq(2)));
    assert_eq!(trimmed.tail.len(), 2);
    store(&h.controller, &op, &trimmed).await;
    let event = Event::Load(LoadEvent::MetadataLoaded { files: 1, bytes: 1, more: false });
    let after = status(&then(&trimmed, event, None, None));
    h.bent("a seal taken back", &op, &after, |s| s["sealedThrough"] = json!(1), sealed).await;
    h.bent(
        "an entry put back",
        &op,
        &after,
        |s| {
            let old = json!({"seq": 2, "at": "", "event": "x", "body": "{}"});
            s["tail"].as_array_mut().unwrap().insert(0, old);
        },
        never,
    )
    .await;
    assert_accepted("the next entry", put_status(&h.controller, &op, &after, true).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_over_stays_over() {
    let Some(h) = here("law-over").await else { return };
    let op = h.load("op").await;
    let queued = birth(&op);
    let failed = shared(&queued, Shared::Aborted { why: Failure::new("Because", "of the test") });
    store(&h.controller, &op, &queued).await;
    store(&h.controller, &op, &failed).await;
    let over = "the operation is over";
    let seal = Event::Shared(Shared::Sealed { segment: true });
    let sealed = status(&then(&failed, seal, None, Some(Seq(2))));
    h.bent(
        "another reason",
        &op,
        &sealed,
        |s| s["state"]["load"]["failed"]["why"]["message"] = json!("me"),
        over,
    )
    .await;
    h.bent("a higher fence", &op, &sealed, |s| s["fence"]["attempt"] = json!(7), over).await;
    h.bent(
        "a success",
        &op,
        &sealed,
        |s| {
            s["phase"] = json!("Succeeded");
            s["step"] = json!("succeeded");
            s["state"] = json!({"load": {"succeeded": {}}});
        },
        over,
    )
    .await;
    h.bent(
        "another try",
        &op,
        &sealed,
        |s| {
            s["phase"] = json!("Queued");
            s["step"] = json!("queued");
            s["state"] = json!({"load": {"queued": {}}});
        },
        over,
    )
    .await;
    assert_accepted("the seal", put_status(&h.controller, &op, &sealed, false).await);
}
