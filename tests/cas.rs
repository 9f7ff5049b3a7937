//! Can two writers both win, and is every reply of the API server understood?

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that cannot go on fails")]

mod cluster;

use cluster::legal::{birth, intent, put_status, shared, status, store, then};
use cluster::stage::Stage;
use cluster::{create, delete, edit, meta, operation};
use futures::future::join_all;
use kube::api::{Api, Patch, PatchParams, PostParams};
use kube::{Client, Error};
use ratchet::api::lock::Claim;
use ratchet::api::{DataOperation, DataOperationStatus, OperationJournal, TargetLock, TargetLockSpec};
use ratchet::controller::patch;
use ratchet::controller::reply::{Reply, classify};
use ratchet_state_machine::effect::Effect;
use ratchet_state_machine::journal::Record;
use ratchet_state_machine::lifecycle::Failure;
use ratchet_state_machine::lifecycle::step::Shared;
use ratchet_state_machine::lock::Lock;
use ratchet_state_machine::machine::Phase;
use ratchet_state_machine::operation::Event;
use ratchet_state_machine::operation::load::LoadEvent;
use serde_json::json;
use std::time::Duration;

/// Sends a patch as the controller does, and says what the reply means.
async fn send(client: &Client, op: &DataOperation, ops: patch::Ops) -> Result<DataOperation, Reply> {
    let sent = cluster::legal::patch_status(client, op, serde_json::to_value(ops).unwrap(), false).await;
    sent.map_err(|error| classify(Some(&error)))
}

/// The transition from one record to the next as a patch.
fn transition(op: &DataOperation, generation: Option<i64>, from: &Record, to: &Record) -> patch::Ops {
    let (from, to) = (DataOperationStatus::from_record(from), DataOperationStatus::from_record(to));
    patch::transition(op.uid(), generation, &from, &to).unwrap()
}

fn first(op: &DataOperation, record: &Record) -> patch::Ops {
    patch::birth(op.uid(), &DataOperationStatus::from_record(record)).unwrap()
}

fn meaning<T: std::fmt::Debug>(reply: Result<T, Error>) -> Reply {
    classify(Some(&reply.expect_err("a refusal")))
}

async fn by_hand(stem: &str) -> Option<(Stage, Client)> {
    let stage = Stage::empty(stem).await?;
    let controller = stage.bench.client("controller").await;
    Some((stage, controller))
}

#[tokio::test(flavor = "multi_thread")]
async fn row_21_of_many_writers_of_one_entry_exactly_one_wins() {
    let Some((stage, controller)) = by_hand("cas-race").await else { return };
    let op = stage.load("op", "/data", json!({})).await;
    let births = (0..4).map(|_| send(&controller, &op, first(&op, &birth(&op))));
    let mut replies = join_all(births).await;
    for epoch in 1..=5 {
        assert_eq!(replies.iter().filter(|r| r.is_ok()).count(), 1, "{replies:?}");
        assert!(replies.iter().all(|r| matches!(r, Ok(_) | Err(Reply::Lost))), "{replies:?}");
        let now = stage.get("op").await.status.unwrap().record().unwrap();
        let next = |writer: i64| match epoch {
            1 => shared(&now, Shared::HoldGranted { epoch: writer }),
            _ => shared(&now, Shared::AttemptFailed { why: Failure::new("Writer", writer.to_string()) }),
        };
        let races = (1..=4).map(|writer| send(&controller, &op, transition(&op, None, &now, &next(writer))));
        replies = join_all(races).await;
    }
    assert_eq!(stage.prove(&stage.get("op").await).await.len(), 6);
}

#[tokio::test(flavor = "multi_thread")]
async fn row_14_a_late_writer_cannot_touch_an_object_that_took_the_name() {
    let Some((stage, controller)) = by_hand("cas-aba").await else { return };
    let old = stage.load("op", "/data", json!({})).await;
    let queued = birth(&old);
    store(&controller, &old, &queued).await;
    delete(&stage.admin, &stage.ns.name, "op").await;
    stage.gone("op").await;
    let new = stage.load("op", "/data", json!({})).await;
    let late = first(&old, &queued);
    assert_eq!(send(&controller, &old, late).await.unwrap_err(), Reply::Lost);
    let begun = store(&controller, &new, &birth(&new)).await;
    let late = transition(&old, None, &queued, &shared(&queued, Shared::HoldGranted { epoch: 1 }));
    assert_eq!(send(&controller, &old, late).await.unwrap_err(), Reply::Lost);
    assert_eq!(stage.get("op").await.status, begun.status);
}

#[tokio::test(flavor = "multi_thread")]
async fn row_47_a_cancel_that_comes_before_an_intent_wins() {
    let Some((stage, controller)) = by_hand("cas-intent").await else { return };
    let op = stage.load("op", "/data", json!({})).await;
    let queued = birth(&op);
    let checked = shared(&queued, Shared::HoldGranted { epoch: 1 });
    store(&controller, &op, &queued).await;
    let seen = store(&controller, &op, &checked).await;
    let effect = intent(&checked, &op, Effect::LoadMetadata { path: 0 });
    let event = Event::Load(LoadEvent::Checked { workers: 1, capacity: 1 });
    let loading = then(&checked, event, Some(effect), None);
    let ops = transition(&op, seen.metadata.generation, &checked, &loading);
    // A label is no reason to lose; a cancel, a pause and a deletion are.
    let api: Api<DataOperation> = Api::namespaced(stage.admin.clone(), &stage.ns.name);
    let label = Patch::Merge(json!({"metadata": {"labels": {"a": "b"}}}));
    api.patch("op", &PatchParams::default(), &label).await.unwrap();
    assert_eq!(stage.get("op").await.metadata.generation, seen.metadata.generation);
    edit(&stage.admin, &stage.ns.name, "op", json!({"control": {"cancel": true}})).await.unwrap();
    assert_eq!(send(&controller, &op, ops).await.unwrap_err(), Reply::Lost);
    let now = stage.get("op").await;
    assert_eq!(now.status, seen.status);
    let ops = transition(&op, now.metadata.generation, &checked, &loading);
    send(&controller, &op, ops).await.expect("with the newer generation it stands");
}

#[tokio::test(flavor = "multi_thread")]
async fn row_24_a_repeat_of_a_write_that_landed_is_lost_and_the_digest_tells_whose_it_was() {
    let Some((stage, controller)) = by_hand("cas-repeat").await else { return };
    let op = stage.load("op", "/data", json!({})).await;
    let queued = birth(&op);
    let granted = shared(&queued, Shared::HoldGranted { epoch: 1 });
    for (ops, record) in
        [(first(&op, &queued), &queued), (transition(&op, None, &queued, &granted), &granted)]
    {
        send(&controller, &op, ops.clone()).await.unwrap();
        assert_eq!(send(&controller, &op, ops).await.unwrap_err(), Reply::Lost);
        let now = stage.get("op").await.status.unwrap();
        assert_eq!((now.seq, &now.digest), (record.folded.seq, &record.folded.digest));
    }
    // The same event by another writer, at another time or for another reason has another digest.
    let other = shared(&queued, Shared::HoldGranted { epoch: 2 });
    assert_ne!(other.folded.digest, granted.folded.digest);
}

/// A segment whose one entry has this body.
fn segment(stage: &Stage, name: &str, body: &str) -> OperationJournal {
    let object = json!({"apiVersion": "ratchet.dev/v1alpha1", "kind": "OperationJournal", "metadata": meta(&stage.ns.name, name),
        "spec": {"operation": "o", "uid": "u", "kind": "load", "target": "c", "firstSeq": 1, "lastSeq": 1, "digest": "d",
        "phase": "Queued", "entries": [{"seq": 1, "at": "2026-01-01T00:00:00.000Z", "event": "Created", "body": body}]}});
    serde_json::from_value(object).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn row_22_each_refusal_is_told_apart() {
    let Some((stage, controller)) = by_hand("cas-replies").await else { return };
    let op = stage.load("op", "/data", json!({})).await;
    let queued = birth(&op);
    let legal = status(&queued);
    store(&controller, &op, &queued).await;

    let mut bent = legal.clone();
    bent["seq"] = json!(9);
    let rule = meaning(put_status(&controller, &op, &bent, false).await);
    assert!(matches!(&rule, Reply::Rule(why) if why.contains("seq grows by one")), "{rule:?}");
    bent["seq"] = json!("nine");
    let schema = meaning(put_status(&controller, &op, &bent, false).await);
    assert!(matches!(&schema, Reply::Rule(why) if why.contains("integer")), "{schema:?}");

    let policy = meaning(put_status(&stage.admin, &op, &legal, false).await);
    assert!(
        matches!(&policy, Reply::Denied(why) if why.contains("only the Ratchet controller writes status")),
        "{policy:?}"
    );
    let alice = stage.bench.client("alice").await;
    let role = meaning(put_status(&alice, &op, &legal, false).await);
    assert!(matches!(&role, Reply::Denied(why) if why.contains("alice")), "{role:?}");

    let journals: Api<OperationJournal> = Api::namespaced(controller.clone(), &stage.ns.name);
    journals.create(&PostParams::default(), &segment(&stage, "u-000001", "{}")).await.unwrap();
    let again = journals.create(&PostParams::default(), &segment(&stage, "u-000001", "{}")).await;
    assert_eq!(meaning(again), Reply::Conflict);

    let locks: Api<TargetLock> = Api::all(controller.clone());
    let claim = Claim { namespace: stage.ns.name.clone(), name: "c".into(), uid: "u".into() };
    let spec = TargetLockSpec { identity: "i".into(), claim, lock: Lock::default() };
    let name = format!("test-{}", cluster::unique());
    let lock =
        TargetLock::new(kube::api::ObjectMeta { name: Some(name.clone()), ..Default::default() }, spec);
    let lock = locks.create(&PostParams::default(), &lock).await.unwrap();
    let take = |epoch: i64| {
        let ops = json!([{"op": "replace", "path": "/metadata/resourceVersion", "value": lock.metadata.resource_version},
            {"op": "add", "path": "/spec/lock/epoch", "value": epoch}]);
        Patch::Json::<()>(serde_json::from_value(ops).unwrap())
    };
    locks.patch(&name, &PatchParams::default(), &take(1)).await.unwrap();
    assert_eq!(meaning(locks.patch(&name, &PatchParams::default(), &take(2)).await), Reply::Conflict);

    let mut nobody = op.clone();
    nobody.metadata.name = Some("nobody".into());
    assert_eq!(send(&controller, &nobody, first(&nobody, &queued)).await.unwrap_err(), Reply::Gone);
}

#[tokio::test(flavor = "multi_thread")]
async fn row_40_an_object_that_is_too_large_is_told_apart() {
    let Some((stage, controller)) = by_hand("cas-large").await else { return };
    let op = stage.load("op", "/data", json!({})).await;
    let mut large = status(&birth(&op));
    // Inside a step the schema keeps what it does not know.
    large["state"]["load"]["queued"] = json!({"blob": "x".repeat(2_000_000)});
    let etcd = meaning(put_status(&controller, &op, &large, false).await);
    assert!(matches!(etcd, Reply::TooLarge(_)), "2 MB: {etcd:?}");
    large["state"]["load"]["queued"] = json!({"blob": "x".repeat(4_000_000)});
    let body = meaning(put_status(&controller, &op, &large, false).await);
    assert!(matches!(body, Reply::TooLarge(_)), "4 MB: {body:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn row_49_nothing_can_be_created_in_a_namespace_that_is_terminating() {
    let Some((stage, controller)) = by_hand("cas-term").await else { return };
    let arm = json!({"load": {"paths": ["/data"]}});
    let mut held = operation(&stage.ns.name, "held", "cache", arm, json!({}));
    held.metadata.finalizers = Some(vec!["example.com/held".into()]);
    let held = create(&stage.admin, &stage.ns.name, &held).await;
    stage.bench.kubectl(&["delete", "namespace", &stage.ns.name, "--wait=false"], &[]);
    let journals: Api<OperationJournal> = Api::namespaced(controller.clone(), &stage.ns.name);
    let terminating = async || {
        let reply = journals
            .create(
                &PostParams { dry_run: true, ..PostParams::default() },
                &segment(&stage, "u-000001", "{}"),
            )
            .await;
        reply.is_err_and(|error| classify(Some(&error)) == Reply::Terminating)
    };
    stage.eventually("creating is refused as terminating", terminating).await;
    store(&controller, &held, &birth(&held)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn row_19_somebody_who_edits_all_the_time_starves_nobody() {
    let Some(stage) = Stage::new("cas-edits").await else { return };
    stage.engine.world().job_takes = 3;
    // An intent is left behind where its effect cannot be sent in time; a label is no reason.
    let patient = ratchet::controller::Config { send_for_ms: 60_000, ..Stage::config() };
    let controller = stage.controller_with(patient).await;
    stage.load("op", "/data", json!({})).await;
    let api: Api<DataOperation> = Api::namespaced(stage.admin.clone(), &stage.ns.name);
    let busy = tokio::spawn(async move {
        for i in 0_u64.. {
            let label = Patch::Merge(json!({"metadata": {"labels": {"tick": i.to_string()}}}));
            api.patch("op", &PatchParams::default(), &label).await.unwrap();
        }
    });
    let op = stage.ends("op", Phase::Succeeded).await;
    busy.abort();
    assert_eq!(
        stage.events(&op).await.iter().filter(|e| *e == "Intended").count(),
        0,
        "no intent was lost to a label"
    );
    controller.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn row_37_a_server_that_is_not_there_leaves_it_open() {
    let config = kube::Config::new("http://127.0.0.1:9".parse().unwrap());
    let nobody = Client::try_from(config).unwrap();
    let api: Api<DataOperation> = Api::namespaced(nobody, "default");
    let reply = tokio::time::timeout(Duration::from_secs(60), api.get("op")).await.unwrap();
    assert!(matches!(meaning(reply), Reply::Ambiguous(_)));
}
