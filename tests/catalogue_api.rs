//! Rows of the failure catalogue in which the API server answers badly: what it says is taken at its word, one object's
//! trouble stays its own, and no trouble becomes a storm. Every operation ends well once the trouble is over, and the
//! engine's account shows each effect once.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that cannot go on fails")]

mod cluster;

use cluster::faults::{Fault, Faults, Sent, Words};
use cluster::stage::Stage;
use cluster::{InProcess, create, load};
use ratchet::api::Request as _;
use ratchet::controller::Config;
use ratchet_state_machine::machine::Phase;
use serde_json::json;
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::time::Instant;

const STATUS: &str = "PATCH dataoperations/status";

/// A trouble that lasts as long as the flag is up.
fn flag(up: bool) -> Arc<AtomicBool> {
    Arc::new(AtomicBool::new(up))
}

async fn controller(stage: &Stage, faults: &Faults, config: Config) -> InProcess {
    InProcess::with_client(faults.client(&stage.bench).await, &stage.ns.name, stage.engine.clone(), config)
}

/// Loads that nothing troubles get through.
async fn others_go_on(stage: &Stage, stem: &str) {
    let names: Vec<String> = (0..4).map(|i| format!("{stem}-{i}")).collect();
    for name in &names {
        stage.load(name, &format!("/{name}"), json!({})).await;
    }
    for name in &names {
        stage.ends(name, Phase::Succeeded).await;
    }
}

fn count(stage: &Stage, effect: &str) -> usize {
    stage.engine.world().log.iter().filter(|l| l.starts_with(effect)).count()
}

/// How often an operation was parked.
fn parked(controller: &InProcess) -> usize {
    let text = controller.ctx.metrics.text().unwrap();
    text.lines().find_map(|l| l.strip_prefix("ratchet_parked_total ")).unwrap().parse().unwrap()
}

/// The server refuses for good what two operations write: `early` before its submit, `late` the outcome of its submit.
/// Both are parked, and go on when the server has changed its mind.
async fn parks(stem: &str, words: Words) {
    let Some(stage) = Stage::new(stem).await else { return };
    let (trouble, engine) = (flag(true), stage.engine.clone());
    let refuses = Arc::clone(&trouble);
    let faults = Faults::new(move |sent: &Sent| {
        let due = match sent.name.as_str() {
            "early" => engine.world().log.iter().any(|l| l.starts_with("loadMetadata")),
            "late" => engine.path("/late").submits > 0,
            _ => false,
        };
        if due && sent.what == STATUS && refuses.load(SeqCst) { Fault::Says(words) } else { Fault::None }
    });
    let config = Config { parked_retry: Duration::from_secs(3), ..Stage::config() };
    let controller = controller(&stage, &faults, config).await;
    stage.load("early", "/early", json!({})).await;
    stage.until("early", |s| s.step == "loadingMetadata").await;
    stage.load("late", "/late", json!({})).await;
    stage.eventually("the effect is applied", async || stage.engine.path("/late").submits == 1).await;
    stage.eventually("both are parked and counted", async || parked(&controller) >= 2).await;
    let before = (faults.sent(STATUS, "early"), faults.sent(STATUS, "late"));
    let (since, seq) = (Instant::now(), stage.get("late").await.status.unwrap().seq);
    others_go_on(&stage, "other").await;
    tokio::time::sleep(Duration::from_secs(4).saturating_sub(since.elapsed())).await;
    // One try each time that parking is over, and no more.
    let most = usize::try_from(since.elapsed().as_secs()).unwrap() / 3 + 1;
    for (name, was) in [("early", before.0), ("late", before.1)] {
        let tries = faults.sent(STATUS, name) - was;
        assert!((1..=most).contains(&tries), "{stem}: {tries} writes of {name} in {:?}", since.elapsed());
    }
    assert_eq!(stage.engine.path("/early").submits, 0, "an effect without its intent");
    assert_eq!(stage.get("late").await.status.unwrap().seq, seq);
    trouble.store(false, SeqCst);
    for name in ["early", "late"] {
        stage.ends(name, Phase::Succeeded).await;
    }
    stage.loaded_once(["/early", "/late", "/other-0", "/other-1", "/other-2", "/other-3"]);
    assert!(stage.holders().await.is_empty());
    controller.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn row_22_an_operation_whose_write_a_rule_refuses_is_parked_and_the_others_go_on() {
    let why =
        "DataOperation.ratchet.dev is invalid: status: Invalid value: illegal step: no edge leads there";
    let words = Words { field: Some("status"), ..Words::new(422, "Invalid", why) };
    parks("parked-rule", words).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn row_40_a_write_that_is_too_large_is_not_sent_again_and_again() {
    parks("parked-large", Words::new(500, "InternalError", "etcdserver: request is too large")).await;
}

/// When each object may be written again, and who came earlier.
#[derive(Default)]
struct Appointments {
    due: HashMap<String, Instant>,
    refused: HashMap<String, usize>,
    early: Vec<String>,
}

#[tokio::test(flavor = "multi_thread")]
async fn row_38_a_server_that_says_when_to_come_back_is_not_asked_earlier() {
    const BUSY: Words = Words {
        retry_after: 2,
        ..Words::new(429, "TooManyRequests", "the server has received too many requests")
    };
    let Some(stage) = Stage::new("busy").await else { return };
    let (trouble, book) = (flag(false), Arc::new(Mutex::new(Appointments::default())));
    let (busy, kept) = (Arc::clone(&trouble), Arc::clone(&book));
    let faults = Faults::new(move |sent: &Sent| {
        if !sent.write {
            return Fault::None;
        }
        let (mut book, now) = (kept.lock().unwrap(), Instant::now());
        let who = format!("{} {}", sent.what, sent.name);
        if book.due.get(&who).is_some_and(|due| now < *due) {
            book.early.push(who.clone());
        }
        if !busy.load(SeqCst) {
            return Fault::None;
        }
        // A little less, for the way.
        book.due.insert(who.clone(), now + Duration::from_millis(1_950));
        *book.refused.entry(who).or_default() += 1;
        Fault::Says(BUSY)
    });
    let controller = controller(&stage, &faults, Stage::config()).await;
    stage.engine.world().job_takes = u32::MAX;
    stage.load("running", "/running", json!({})).await;
    stage.at_work("running").await;
    trouble.store(true, SeqCst);
    let began = Instant::now();
    stage.engine.world().paths.get_mut("/running").unwrap().looks_left = 0;
    stage.engine.world().job_takes = 1;
    let names: Vec<String> = (0..20).map(|i| format!("new-{i}")).collect();
    for name in &names {
        stage.load(name, &format!("/{name}"), json!({})).await;
    }
    let warm = create(&stage.admin, &stage.ns.name, &load(&stage.ns.name, "warm", "cache", &["/warm"])).await;
    let since = Instant::now();
    while since.elapsed() < Duration::from_secs(7) {
        tokio::time::sleep(Duration::from_millis(50)).await;
        let depth = controller.ctx.operation_queue.depth();
        assert!(depth <= names.len() + 2, "{depth} keys are queued for {} operations", names.len() + 2);
    }
    assert_eq!(count(&stage, "submitLoad"), 1, "nothing was begun that could not be written down");
    trouble.store(false, SeqCst);
    let most = usize::try_from(began.elapsed().as_millis() / 1_950).unwrap() + 1;
    for name in names.iter().map(String::as_str).chain(["running", &warm.operation_name()]) {
        stage.ends(name, Phase::Succeeded).await;
    }
    let paths: Vec<String> = names.iter().map(|n| format!("/{n}")).collect();
    stage.loaded_once(paths.iter().map(String::as_str).chain(["/running", "/warm"]));
    {
        let book = book.lock().unwrap();
        assert!(book.early.is_empty(), "asked before the time that the server named: {:?}", book.early);
        assert!(book.refused.len() > names.len(), "{:?}", book.refused);
        assert!(
            book.refused.values().all(|n| *n <= most),
            "more than one try in two seconds: {:?}",
            book.refused
        );
    }
    controller.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn row_42_a_webhook_that_fails_or_times_out_on_some_objects_holds_up_no_others() {
    const DOWN: Words = Words::new(
        500,
        "InternalError",
        "Internal error occurred: failed calling webhook \"hook.example.com\": connection refused",
    );
    let Some(stage) = Stage::new("webhook").await else { return };
    let trouble = flag(true);
    let on = Arc::clone(&trouble);
    let faults = Faults::new(move |sent: &Sent| match sent.name.split('-').next() {
        _ if !sent.write || !on.load(SeqCst) => Fault::None,
        Some("hanging") => Fault::Dead,
        Some("failing") => Fault::Says(DOWN),
        _ => Fault::None,
    });
    let config = Config { api_timeout: Duration::from_secs(1), ..Stage::config() };
    let controller = controller(&stage, &faults, config).await;
    let names: Vec<String> = (0..12).flat_map(|i| [format!("hanging-{i}"), format!("failing-{i}")]).collect();
    for name in &names {
        let mut op = cluster::operation(
            &stage.ns.name,
            name,
            "cache",
            json!({"load": {"paths": [format!("/{name}")]}}),
            json!({}),
        );
        // As a DataLoad makes it: the first write is that of the status.
        op.metadata.finalizers = Some(vec![ratchet::api::FINALIZER.to_owned()]);
        create(&stage.admin, &stage.ns.name, &op).await;
    }
    let since = Instant::now();
    others_go_on(&stage, "free").await;
    tokio::time::sleep(Duration::from_secs(5).saturating_sub(since.elapsed())).await;
    // Pauses of 0.4, 0.8, 1.6 ... seconds: a few tries in any such time.
    for name in &names {
        let tries = faults.sent(STATUS, name);
        let most = 6 + usize::try_from(since.elapsed().as_secs()).unwrap() / 10;
        assert!(tries <= most, "{name}: {tries} writes in {:?}", since.elapsed());
    }
    trouble.store(false, SeqCst);
    for name in &names {
        stage.ends(name, Phase::Succeeded).await;
    }
    let paths: Vec<String> = names.iter().map(|n| format!("/{n}")).collect();
    stage.loaded_once(paths.iter().map(String::as_str));
    controller.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn row_55_while_etcd_takes_no_writes_nothing_is_done_and_nothing_storms() {
    const FULL: Words = Words::new(500, "InternalError", "etcdserver: mvcc: database space exceeded");
    let Some(stage) = Stage::new("full").await else { return };
    let trouble = flag(false);
    let full = Arc::clone(&trouble);
    let faults = Faults::new(
        move |sent: &Sent| {
            if sent.write && full.load(SeqCst) { Fault::Says(FULL) } else { Fault::None }
        },
    );
    let controller = controller(&stage, &faults, Stage::config()).await;
    stage.engine.world().job_takes = u32::MAX;
    stage.load("running", "/running", json!({})).await;
    stage.at_work("running").await;
    // One that wants the lock when the writes stop, one that nobody has seen, one whose outcome cannot be written.
    stage.load("locked", "/locked", json!({"control": {"suspend": true}})).await;
    stage.waits("locked", "Suspended").await;
    trouble.store(true, SeqCst);
    let (before, effects) = (faults.counts(), stage.engine.world().log.len());
    stage.engine.world().paths.get_mut("/running").unwrap().looks_left = 0;
    stage.engine.world().job_takes = 1;
    stage.control("locked", json!({"suspend": false})).await;
    stage.load("new", "/new", json!({})).await;
    tokio::time::sleep(Duration::from_secs(6)).await;
    assert_eq!(stage.engine.world().log.len(), effects, "an effect without a written intent");
    let after = faults.counts();
    for what in [STATUS, "PATCH dataoperations", "PATCH targetlocks"] {
        let sent =
            after.get(what).copied().unwrap_or_default() - before.get(what).copied().unwrap_or_default();
        assert!(sent <= 24, "{sent} of {what} in six seconds of an outage");
    }
    trouble.store(false, SeqCst);
    for name in ["running", "locked", "new"] {
        stage.ends(name, Phase::Succeeded).await;
    }
    stage.loaded_once(["/running", "/locked", "/new"]);
    assert!(stage.holders().await.is_empty());
    controller.stop().await;
}
