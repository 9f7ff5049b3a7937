//! The adapter adds the time, the send window and nothing else.

use super::*;
use crate::engine::{Registry, Secrets, WINDOW_CLOSED, alluxio};
use futures::FutureExt as _;
use ratchet_simulator::cache::Memory;
use ratchet_state_machine::effect::{JobState, TreeView};
use ratchet_state_machine::ids::{Fence, Token};
use ratchet_state_machine::spec::OperationSpec;
use serde_json::json;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};
use std::time::Duration;

fn cluster(name: &str, spec: serde_json::Value) -> CacheCluster {
    let object = json!({
        "apiVersion": "ratchet.dev/v1alpha1",
        "kind": "CacheCluster",
        "metadata": {"name": name, "namespace": "ns", "uid": name},
        "spec": spec,
    });
    serde_json::from_value(object).expect("a CacheCluster")
}

fn load() -> OperationSpec {
    let spec = json!({"target": "c", "operation": {"load": {"paths": ["/data"]}}});
    serde_json::from_value(spec).expect("a spec")
}

fn cache(bytes_per_second: i64) -> Cache {
    let spec = Spec { bytes_per_second, ..Spec::default() };
    let ufs = Memory::with([("/data/a", &[1_u8; 100][..]), ("/data/b", &[2; 100])]);
    Cache::new("local", profile(&spec), Arc::new(ufs))
}

fn perform(engine: &Local, effect: &Effect, left: Duration) -> Outcome {
    let (spec, token) = (load(), Token("t".into()));
    let send_before = Instant::now() + left;
    let call = Call {
        effect,
        spec: &spec,
        token: &token,
        fence: Fence::default(),
        send_before,
        secrets: &Secrets::default(),
        workers: &[],
    };
    engine.perform(call).now_or_never().expect("at once")
}

#[test]
fn a_load_goes_on_with_the_time_that_is_given() {
    let time = Arc::new(AtomicI64::new(5_000));
    let clock = Arc::clone(&time);
    let engine = Local::new(cache(100), Arc::new(move || clock.load(Ordering::Relaxed)));
    let minute = Duration::from_secs(60);
    for effect in [Effect::LoadMetadata { path: 0 }, Effect::SubmitLoad { path: 0 }] {
        assert!(matches!(perform(&engine, &effect, minute), Outcome::Done(_)));
    }
    let mut seen = Vec::new();
    for at in [5_000, 6_500, 7_000] {
        time.store(at, Ordering::Relaxed);
        let query = Query::LoadJob { path: "/data".into() };
        let answer = engine.inspect(&query).now_or_never().expect("at once");
        let Ok(Answer::Job(job)) = answer else { panic!("{answer:?}") };
        seen.push((job.state, job.loaded_bytes));
    }
    assert_eq!(seen, [(JobState::Running, 0), (JobState::Running, 150), (JobState::Succeeded, 200)]);
    let query = Query::Tree { paths: vec!["/data".into()] };
    let tree = engine.inspect(&query).now_or_never().expect("at once");
    let view = TreeView { files: 2, bytes: 200, cached_bytes: 200, missing: None };
    assert_eq!(tree, Ok(Answer::Tree(view)));
    let info = engine.probe().now_or_never().expect("at once").expect("an answer");
    assert_eq!((info.identity.as_str(), info.workers_live, info.members.len()), ("local", 2, 2));
    assert_eq!((info.capacity_bytes, info.used_bytes), (2 << 30, 200));
}

#[tokio::test(start_paused = true)]
async fn nothing_is_sent_once_the_window_is_over() {
    let engine = Local::new(cache(0), Arc::new(|| 0));
    tokio::time::advance(Duration::from_secs(2)).await;
    let (spec, token) = (load(), Token("t".into()));
    let send_before = Instant::now() - Duration::from_secs(1);
    let effect = Effect::SubmitLoad { path: 0 };
    let call = Call {
        effect: &effect,
        spec: &spec,
        token: &token,
        fence: Fence::default(),
        send_before,
        secrets: &Secrets::default(),
        workers: &[],
    };
    let outcome = engine.perform(call).await;
    assert!(matches!(&outcome, Outcome::Refused { reason, .. } if reason == WINDOW_CLOSED), "{outcome:?}");
    assert!(engine.cache.applied().is_empty());
}

#[test]
fn a_path_that_the_spec_does_not_have_is_refused() {
    let engine = Local::new(cache(0), Arc::new(|| 0));
    let outcome = perform(&engine, &Effect::SubmitLoad { path: 7 }, Duration::from_secs(60));
    assert!(matches!(outcome, Outcome::Refused { retryable: false, .. }));
}

#[test]
fn a_registry_of_dev_opens_one_cache_for_each_name() {
    let opened = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&opened);
    let registry = Registry::local(alluxio::Options::default(), Arc::new(|| 0), move |key, spec| {
        count.fetch_add(1, Ordering::Relaxed);
        Ok(Cache::new(key, profile(spec), Arc::new(Memory::default())))
    });
    let identity = |cluster: &CacheCluster| {
        let engine = registry.engine(cluster).expect("an engine");
        let info = engine.probe().now_or_never().expect("at once").expect("an answer");
        (info.identity, info.workers_live)
    };
    let one = cluster("one", json!({"engine": "Local"}));
    assert_eq!(identity(&one), ("ns/one".into(), 2));
    let mut again = one.clone();
    again.metadata.uid = Some("another".into());
    assert_eq!(identity(&again), ("ns/one".into(), 2));
    let two = cluster("two", json!({"engine": "Local", "local": {"workers": 5}}));
    assert_eq!(identity(&two), ("ns/two".into(), 5));
    assert_eq!(opened.load(Ordering::Relaxed), 2);
}

#[test]
fn the_engines_that_are_shipped_have_no_local_one() {
    let registry = Registry::new(alluxio::Options::default());
    let error = registry.engine(&cluster("one", json!({"engine": "Local"}))).err().expect("none");
    assert!(error.0.contains("ratchet dev"), "{error}");
    assert!(registry.engine(&cluster("two", json!({}))).is_err(), "no addresses");
}
