//! What of managed caches is there: everything that carries Ratchet's label, watched.

use super::render::{INSTANCE, Kind, MANAGED_BY, RENDERER, REVISION};
use crate::cache::{Cached, Change, IndexKey};
use crate::cache::{Key, Store, WaitError, WatchOptions, namespaced, watch};
use crate::controller::Ctx;
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{ConfigMap, PersistentVolume, PersistentVolumeClaim, Pod, Service};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::{Api, ResourceExt};
use serde::Serialize;
use serde_json::Value;
use std::sync::Arc;
use tokio::task::JoinSet;
use tokio::time::Instant;

/// Objects by the CacheCluster that they are labelled with: `namespace/name`.
pub const BY_INSTANCE: &str = "instance";

/// Volumes and claims by the uid of their Dataset.
pub const BY_DATASET: &str = "dataset";
/// Label of a volume and of its claim: the uid of their Dataset.
pub const DATASET_UID: &str = "ratchet.dev/dataset-uid";
/// Annotation of them: `namespace/name` of it.
pub const DATASET: &str = "ratchet.dev/dataset";

/// The objects of managed caches.
#[derive(Default)]
pub struct Workloads {
    /// Members.
    pub sets: Arc<Store<StatefulSet>>,
    /// Their pods.
    pub pods: Arc<Store<Pod>>,
    /// Names.
    pub services: Arc<Store<Service>>,
    /// Settings.
    pub configs: Arc<Store<ConfigMap>>,
    /// What may go at the same time.
    pub budgets: Arc<Store<PodDisruptionBudget>>,
    /// Volumes of datasets.
    pub volumes: Arc<Store<PersistentVolume>>,
    /// Claims of them.
    pub claims: Arc<Store<PersistentVolumeClaim>>,
}

macro_rules! cached {
    ($($kind:ty),*) => {$(
        impl Cached for $kind {
            fn indexes(&self) -> Vec<IndexKey> {
                instance(self).map(|key| (BY_INSTANCE, key.to_string())).into_iter().collect()
            }

            fn watermark(&self) -> (i64, i64) {
                (0, self.metadata.generation.unwrap_or(0))
            }

            fn prune(&mut self) {
                self.metadata.managed_fields = None;
            }
        }
    )*};
}

cached!(StatefulSet, Pod, Service, ConfigMap, PodDisruptionBudget);

macro_rules! of_datasets {
    ($($kind:ty),*) => {$(
        impl Cached for $kind {
            fn indexes(&self) -> Vec<IndexKey> {
                self.labels().get(DATASET_UID).map(|uid| (BY_DATASET, uid.clone())).into_iter().collect()
            }

            fn watermark(&self) -> (i64, i64) {
                (0, 0)
            }

            fn prune(&mut self) {
                self.metadata.managed_fields = None;
            }
        }
    )*};
}

of_datasets!(PersistentVolume, PersistentVolumeClaim);

/// The CacheCluster that an object is labelled with.
fn instance<K: ResourceExt>(object: &K) -> Option<Key> {
    let name = object.labels().get(INSTANCE)?;
    Some(Key::new(object.namespace().unwrap_or_default(), name.as_str()))
}

/// An object as it is there.
#[derive(Debug, Clone)]
pub struct Live {
    /// All of it.
    pub value: Value,
    /// Uid.
    pub uid: String,
    /// Version of the object.
    pub resource_version: String,
    /// Uid of the owner that controls it.
    pub owner: Option<String>,
    /// The revision that it was last written from.
    pub revision: i64,
    /// How it was rendered.
    pub renderer: i64,
    /// It is being removed.
    pub going: bool,
}

impl Live {
    /// What of an object counts here.
    pub fn of<K: ResourceExt + Serialize>(object: &K) -> Self {
        let owner = object.owner_references().iter().find(|o| o.controller == Some(true));
        let number = |name: &str| object.annotations().get(name).and_then(|r| r.parse().ok()).unwrap_or(0);
        Self {
            value: serde_json::to_value(object).unwrap_or_default(),
            uid: object.uid().unwrap_or_default(),
            resource_version: object.resource_version().unwrap_or_default(),
            owner: owner.map(|o| o.uid.clone()),
            revision: number(REVISION),
            renderer: number(RENDERER.0),
            going: object.meta().deletion_timestamp.is_some(),
        }
    }
}

fn known<K: Cached + Serialize>(store: &Store<K>, key: &Key) -> Option<Live> {
    store.get(key).map(|o| Live::of(o.as_ref()))
}

impl Workloads {
    /// The object of this kind and name, where it is known.
    pub fn get(&self, kind: Kind, key: &Key) -> Option<Live> {
        match kind {
            Kind::ConfigMap => known(&self.configs, key),
            Kind::Service => known(&self.services, key),
            Kind::PodDisruptionBudget => known(&self.budgets, key),
            Kind::StatefulSet => known(&self.sets, key),
        }
    }

    /// Waits until all of it has been listed.
    ///
    /// # Errors
    /// [`WaitError`].
    pub async fn ready(&self, deadline: Instant) -> Result<(), WaitError> {
        self.sets.ready(deadline).await?;
        self.pods.ready(deadline).await?;
        self.services.ready(deadline).await?;
        self.configs.ready(deadline).await?;
        self.volumes.ready(deadline).await?;
        self.claims.ready(deadline).await?;
        self.budgets.ready(deadline).await
    }
}

/// Starts the watches.
pub fn start_watches(ctx: &Arc<Ctx>, tasks: &mut JoinSet<()>) {
    let all = &ctx.workloads;
    start(ctx, &all.sets, tasks);
    start(ctx, &all.pods, tasks);
    start(ctx, &all.services, tasks);
    start(ctx, &all.configs, tasks);
    start(ctx, &all.budgets, tasks);
    let options = labelled(ctx);
    let claims = namespaced::<PersistentVolumeClaim>(&ctx.client, &options);
    tasks.spawn(watch(claims, Arc::clone(&all.claims), options.clone(), of_dataset(ctx)));
    let volumes = Api::all(ctx.client.clone());
    tasks.spawn(watch(volumes, Arc::clone(&all.volumes), options, of_dataset(ctx)));
}

fn labelled(ctx: &Ctx) -> WatchOptions {
    WatchOptions { labels: Some(format!("{}={}", MANAGED_BY.0, MANAGED_BY.1)), ..ctx.config.watch.clone() }
}

/// A volume or a claim changed: its dataset is looked at.
fn of_dataset<K: ResourceExt>(ctx: &Arc<Ctx>) -> impl Fn(&Change<K>) + Send + use<K> {
    let queue = Arc::clone(ctx);
    move |change: &Change<K>| {
        let seen = change.new.as_ref().or(change.old.as_ref());
        let named = seen.and_then(|o| o.annotations().get(DATASET).cloned());
        if let Some((namespace, name)) = named.as_deref().and_then(|n| n.split_once('/')) {
            queue.dataset_queue.add(Key::new(namespace, name));
        }
    }
}

fn start<K>(ctx: &Arc<Ctx>, store: &Arc<Store<K>>, tasks: &mut JoinSet<()>)
where
    K: Cached<Scope = kube::core::NamespaceResourceScope> + serde::de::DeserializeOwned + std::fmt::Debug,
{
    let options = labelled(ctx);
    let api = namespaced::<K>(&ctx.client, &options);
    let queue = Arc::clone(ctx);
    let changed = move |change: &Change<K>| {
        let seen = change.new.as_ref().or(change.old.as_ref());
        if let Some(cluster) = seen.and_then(|o| instance(o.as_ref())) {
            queue.cluster_queue.add(cluster);
        }
    };
    tasks.spawn(watch(api, Arc::clone(store), options, changed));
}
