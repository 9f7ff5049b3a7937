//! Does a bad connection to the API server lose or repeat anything?

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that cannot go on fails")]

mod cluster;

use cluster::InProcess;
use cluster::faults::{Fault, Faults, Sent};
use cluster::stage::Stage;
use cluster::{create, operation};
use ratchet::controller::Config;
use ratchet_state_machine::machine::Phase;
use serde_json::json;
use std::time::Duration;

/// Runs a load of two paths with these faults; it ends well, once.
async fn survives(stem: &str, rule: impl FnMut(&Sent) -> Fault + Send + 'static) {
    let Some(stage) = Stage::new(stem).await else { return };
    let faults = Faults::new(rule);
    let client = faults.client(&stage.bench).await;
    let config = Config { api_timeout: Duration::from_secs(1), ..Stage::config() };
    let controller = InProcess::with_client(client, &stage.ns.name, stage.engine.clone(), config);
    let arm = json!({"load": {"paths": ["/a", "/b"]}});
    create(&stage.admin, &stage.ns.name, &operation(&stage.ns.name, "load", "cache", arm, json!({}))).await;
    let op = stage.ends("load", Phase::Succeeded).await;
    let status = op.status.clone().unwrap();
    assert_eq!((status.failures, status.sealed_through.next()), (0, status.seq), "{stem}");
    let sent = |what: &str| stage.engine.world().log.iter().filter(|l| l.starts_with(what)).count();
    let log = stage.engine.world().log.clone();
    assert_eq!((sent("submitLoad"), sent("loadMetadata")), (2, 2), "{stem}: {log:?}");
    for path in ["/a", "/b"] {
        assert_eq!(stage.engine.path(path).submits, 1, "{stem} {path}: {log:?}");
    }
    let events = stage.events(&op).await;
    for once in ["Created", "HoldGranted", "Checked", "Verified", "Sealed"] {
        assert_eq!(events.iter().filter(|e| *e == once).count(), 1, "{stem}: {events:?}");
    }
    let most = usize::try_from(status.seq.0).unwrap() / 16 + 1;
    assert!(stage.segments(op.uid()).await.len() <= most, "{stem}: more than {most} segments");
    assert!(stage.holders().await.is_empty(), "{stem}");
    controller.stop().await;
}

/// Two of five writes get this fault. (With every second one, two writes that are always tried together would fail
/// for ever.)
fn many(fault: Fault) -> impl FnMut(&Sent) -> Fault + Send + 'static {
    move |sent| if sent.write && matches!(sent.writes % 5, 2 | 4) { fault } else { Fault::None }
}

#[tokio::test(flavor = "multi_thread")]
async fn row_23_writes_that_land_without_an_answer_are_recognised() {
    tokio::join!(
        survives("lost", many(Fault::Lost)),
        survives("after-500", many(Fault::After(500))),
        survives("after-503", many(Fault::After(503))),
        survives("after-504", many(Fault::After(504))),
        survives("silent", many(Fault::Silent)),
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn writes_that_never_arrive_are_sent_again() {
    tokio::join!(
        survives("instead-429", many(Fault::Instead(429))),
        survives("instead-503", many(Fault::Instead(503))),
        survives("instead-504", many(Fault::Instead(504))),
        survives("instead-409", many(Fault::Instead(409))),
        survives("dead", many(Fault::Dead)),
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_intent_that_lands_too_late_to_be_used_is_written_anew() {
    tokio::join!(
        survives("late", many(Fault::Late(Duration::from_millis(700)))),
        survives("reads-too", |sent| match (sent.write, sent.writes % 3) {
            (true, 0) => Fault::Lost,
            (true, 1) => Fault::Instead(503),
            (true, _) | (false, 0) => Fault::None,
            (false, _) =>
                if sent.what.len() % 2 == 0 {
                    Fault::After(503)
                } else {
                    Fault::None
                },
        }),
    );
}
