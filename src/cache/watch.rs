//! One watch of one kind: its own stream, its own backoff, a time-out of at most a minute (a connection that died
//! silently is noticed by then), and a guard that sets aside what cannot be read.

use super::guard::Guarded;
use super::pause::Pauses;
use super::store::{Cached, Change, Key, Store};
use futures::StreamExt as _;
use kube::runtime::WatchStreamExt as _;
use kube::runtime::watcher::{self, Event, ListSemantic};
use kube::{Api, Client, ResourceExt};
use serde::de::DeserializeOwned;
use std::collections::HashSet;
use std::sync::Arc;

/// How to watch.
#[derive(Debug, Clone)]
pub struct WatchOptions {
    /// Server-side time-out of one watch call, in seconds; at most 60.
    pub timeout_s: u32,
    /// Objects in one page of a list.
    pub page_size: u32,
    /// Only objects of this namespace; cluster-scoped kinds are not affected.
    pub namespace: Option<String>,
    /// Only objects with these labels.
    pub labels: Option<String>,
    /// Spreads the pauses after failures, so that replicas do not come back at once.
    pub spread: u64,
}

impl Default for WatchOptions {
    fn default() -> Self {
        Self { timeout_s: 50, page_size: 100, namespace: None, labels: None, spread: 0 }
    }
}

/// The API of a namespaced kind, within the namespace that the options name.
#[must_use]
pub fn namespaced<K>(client: &Client, options: &WatchOptions) -> Api<Guarded<K>>
where
    K: kube::Resource<DynamicType = (), Scope = kube::core::NamespaceResourceScope>,
{
    match &options.namespace {
        Some(namespace) => Api::namespaced(client.clone(), namespace),
        None => Api::all(client.clone()),
    }
}

/// Keeps `store` up to date until the future is dropped; tells `changed` of every change.
pub async fn watch<K>(
    guarded: Api<Guarded<K>>,
    store: Arc<Store<K>>,
    options: WatchOptions,
    changed: impl Fn(&Change<K>) + Send,
) where
    K: Cached + DeserializeOwned + std::fmt::Debug,
{
    let config = watcher::Config {
        label_selector: options.labels.clone(),
        list_semantic: ListSemantic::MostRecent,
        ..watcher::Config::default().timeout(options.timeout_s.min(60)).page_size(options.page_size)
    };
    let kind = K::kind(&()).into_owned();
    let mut stream = watcher::watcher(guarded, config).backoff(Pauses::new(options.spread)).boxed();
    let mut listed: HashSet<Key> = HashSet::new();
    let mut before: Vec<(Key, Option<String>)> = Vec::new();
    while let Some(event) = stream.next().await {
        match event {
            Ok(Event::Init) => {
                listed.clear();
                before = store.known();
            }
            Ok(Event::InitApply(object)) => {
                listed.insert(Key::of(&object));
                seen(&store, object, &changed);
            }
            Ok(Event::InitDone) => {
                // What was known before the list and is not in it is gone. What came since may be younger than the
                // list, and absence during the list means nothing.
                for (key, uid) in before.drain(..).filter(|(k, _)| !listed.contains(k)) {
                    if let Some(change) = store.unlisted(&key, uid.as_deref()) {
                        changed(&change);
                    }
                }
                listed = HashSet::new();
                store.mark_ready();
            }
            Ok(Event::Apply(object)) => seen(&store, object, &changed),
            Ok(Event::Delete(object)) => {
                // What is watched by a label may only have lost it.
                let (key, uid) = (Key::of(&object), object.uid());
                let gone = match &options.labels {
                    Some(_) => store.unlisted(&key, uid.as_deref()),
                    None => store.remove(&key, uid.as_deref()),
                };
                if let Some(change) = gone {
                    changed(&change);
                }
            }
            Err(error) => {
                if let watcher::Error::InitialListFailed(kube::Error::Api(status)) = &error
                    && (status.code == 403 || status.code == 404)
                {
                    store.mark_failed(&format!("{kind}: {}", status.message));
                }
                tracing::warn!(%kind, %error, "the watch failed; it is tried again");
            }
        }
    }
}

fn seen<K: Cached>(store: &Store<K>, object: Guarded<K>, changed: &impl Fn(&Change<K>)) {
    match object.0 {
        Ok(object) => {
            if let Some(change) = store.apply(object) {
                changed(&change);
            }
        }
        Err(invalid) => {
            let key = Key::new(
                invalid.metadata.namespace.clone().unwrap_or_default(),
                invalid.metadata.name.clone().unwrap_or_default(),
            );
            tracing::warn!(%key, error = %invalid.error, "an object cannot be read and is left alone");
            changed(&store.park(&key, &invalid.error));
        }
    }
}
