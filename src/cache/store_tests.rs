use super::*;
use crate::api::DataOperation;
use crate::cache::kinds::{BY_PHASE, BY_TARGET};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use std::time::Duration;

fn op(name: &str, uid: &str, generation: i64) -> DataOperation {
    let spec = serde_json::json!({"target": "cache", "operation": {"load": {"paths": ["/data"]}}});
    let metadata = ObjectMeta {
        name: Some(name.into()),
        namespace: Some("ns".into()),
        uid: Some(uid.into()),
        generation: Some(generation),
        ..ObjectMeta::default()
    };
    DataOperation::new(metadata, serde_json::from_value(spec).unwrap(), None)
}

fn key(name: &str) -> Key {
    Key::new("ns", name)
}

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(5)
}

#[test]
fn a_copy_older_than_what_is_known_is_refused() {
    let store = Store::<DataOperation>::default();
    assert!(store.apply(op("a", "u1", 3)).is_some());
    assert!(store.apply(op("a", "u1", 2)).is_none(), "an older copy was taken");
    assert!(store.apply(op("a", "u1", 3)).is_some(), "a change of metadata alone has to be seen");
    assert!(store.apply(op("a", "u2", 1)).is_some(), "another object of the same name begins anew");
    assert_eq!(store.get(&key("a")).unwrap().uid(), "u2");
}

#[test]
fn late_news_of_a_former_object_does_not_bring_it_back() {
    let store = Store::<DataOperation>::default();
    let at = |uid: &str, version: &str| {
        let mut op = op("a", uid, 1);
        op.metadata.resource_version = Some(version.into());
        op
    };
    store.replace(at("u2", "20"));
    assert!(store.apply(at("u1", "19")).is_none(), "the former object came back");
    assert_eq!(store.get(&key("a")).unwrap().uid(), "u2");
    assert!(store.apply(at("u3", "21")).is_some(), "the next one is seen");
}

#[test]
fn a_deletion_of_a_former_object_does_not_remove_its_successor() {
    let store = Store::<DataOperation>::default();
    store.apply(op("a", "u2", 1));
    assert!(store.remove(&key("a"), Some("u1")).is_none());
    assert!(store.get(&key("a")).is_some());
    assert!(store.remove(&key("a"), Some("u2")).is_some());
    assert!(store.is_empty());
}

#[test]
fn indexes_follow_their_objects() {
    let store = Store::<DataOperation>::default();
    store.apply(op("a", "u1", 1));
    store.apply(op("b", "u2", 1));
    assert_eq!(store.by_index(&(BY_TARGET, "ns/cache".into())).len(), 2);
    assert_eq!(store.count(&(BY_PHASE, String::new())), 2);
    store.remove(&key("a"), None);
    assert_eq!(store.by_index(&(BY_TARGET, "ns/cache".into())).len(), 1);
    store.park(&key("b"), "an unknown variant");
    assert_eq!(store.count(&(BY_PHASE, String::new())), 0);
    assert_eq!(store.undecodable(&key("b")).as_deref(), Some("an unknown variant"));
    store.apply(op("b", "u2", 2));
    assert_eq!(store.undecodable_count(), 0, "an object that can be read again is taken back");
}

#[test]
fn objects_are_shared_and_not_cloned() {
    let store = Store::<DataOperation>::default();
    store.apply(op("a", "u1", 1));
    assert!(Arc::ptr_eq(&store.get(&key("a")).unwrap(), &store.get(&key("a")).unwrap()));
}

#[tokio::test(start_paused = true)]
async fn every_waiter_has_a_predicate_and_a_deadline_of_its_own() {
    let store = Arc::new(Store::<DataOperation>::default());
    store.mark_ready();
    let wait = |generation: i64, limit: u64| {
        let store = Arc::clone(&store);
        tokio::spawn(async move {
            let deadline = Instant::now() + Duration::from_secs(limit);
            store
                .wait_for(&key("a"), deadline, |o| {
                    o.filter(|o| o.metadata.generation == Some(generation)).map(|_| generation)
                })
                .await
        })
    };
    let (one, two, never) = (wait(1, 60), wait(2, 60), wait(9, 1));
    tokio::task::yield_now().await;
    store.apply(op("a", "u1", 1));
    assert_eq!(one.await.unwrap(), Ok(1));
    assert_eq!(never.await.unwrap(), Err(WaitError::Deadline));
    assert!(!two.is_finished(), "one waiter's end is not another's");
    store.apply(op("a", "u1", 2));
    assert_eq!(two.await.unwrap(), Ok(2));
}

#[tokio::test(start_paused = true)]
async fn a_start_error_reaches_every_waiter_also_one_that_comes_later() {
    let store = Arc::new(Store::<DataOperation>::default());
    let waiting: Vec<_> = (0..3)
        .map(|_| {
            let store = Arc::clone(&store);
            tokio::spawn(async move { store.ready(soon()).await })
        })
        .collect();
    tokio::task::yield_now().await;
    store.mark_failed("DataOperation: forbidden");
    for w in waiting {
        assert_eq!(w.await.unwrap(), Err(WaitError::Start("DataOperation: forbidden".into())));
    }
    assert!(matches!(store.wait_for(&key("a"), soon(), |_| Some(())).await, Err(WaitError::Start(_))));
    store.mark_ready();
    assert_eq!(store.ready(soon()).await, Ok(()), "a watch that got going after all is ready");
}

#[tokio::test(start_paused = true)]
async fn an_error_of_a_watch_that_was_ready_fails_nobody() {
    let store = Store::<DataOperation>::default();
    store.mark_ready();
    store.mark_failed("a short break");
    assert_eq!(store.ready(soon()).await, Ok(()));
}
