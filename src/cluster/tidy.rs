//! Removes what belongs to an older revision: objects that this one does not have, and, while a cache was never ready,
//! pods that were made before an edit. Nothing of a cache that serves is touched: its pods are replaced by operations.

use super::render::{Kind, Object, Owner};
use super::workloads::{BY_INSTANCE, Live};
use super::{Stage, pods};
use crate::api::managed::Revision;
use crate::cache::{Cached, Store};
use crate::controller::{Ctx, write};
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::Pod;
use kube::{Api, ResourceExt};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::sync::Arc;

/// Removes what is left over.
pub async fn tidy(ctx: &Ctx, owner: &Owner, revision: &Revision, stage: Stage, objects: &[Object]) {
    let at = (BY_INSTANCE, format!("{}/{}", owner.namespace, owner.name));
    let mut sets = ctx.workloads.sets.by_index(&at);
    sets.retain(|s| s.owner_references().iter().any(|o| o.uid == owner.uid));
    let extra = |kind: Kind, name: &str| !objects.iter().any(|o| o.kind == kind && o.name == name);
    for set in sets.iter().filter(|s| extra(Kind::StatefulSet, &s.name_any())) {
        remove(ctx, &ctx.workloads.sets, owner, &**set, revision.number).await;
    }
    for service in ctx.workloads.services.by_index(&at).iter().filter(|s| extra(Kind::Service, &s.name_any()))
    {
        remove(ctx, &ctx.workloads.services, owner, &**service, revision.number).await;
    }
    if stage != Stage::Ready {
        for pod in ctx.workloads.pods.by_index(&at).iter().filter(|p| outdated(ctx, p)) {
            tracing::info!(pod = pod.name_any(), "made before an edit; it is made anew");
            delete(ctx, owner, &**pod).await;
        }
    }
    for config in ctx.workloads.configs.by_index(&at) {
        let name = config.name_any();
        if extra(Kind::ConfigMap, &name) && !used(ctx, &at, &name, &sets) {
            remove(ctx, &ctx.workloads.configs, owner, &*config, revision.number).await;
        }
    }
}

/// Whether the StatefulSet of a pod makes other pods by now.
fn outdated(ctx: &Ctx, pod: &Pod) -> bool {
    pod.metadata.deletion_timestamp.is_none() && pods::up_to_date(ctx, pod) == Some(false)
}

/// Whether a pod, or a template that pods are made from, has this ConfigMap.
fn used(ctx: &Ctx, at: &(&'static str, String), name: &str, sets: &[Arc<StatefulSet>]) -> bool {
    let pods = ctx.workloads.pods.by_index(at);
    let of_pods = pods.iter().filter_map(|p| p.spec.as_ref());
    let of_sets = sets.iter().filter_map(|s| s.spec.as_ref()?.template.spec.as_ref());
    of_pods.chain(of_sets).any(|spec| {
        spec.volumes.iter().flatten().filter_map(|v| v.config_map.as_ref()).any(|c| c.name == name)
    })
}

/// Removes an object of this cache that an older revision made.
async fn remove<K>(ctx: &Ctx, store: &Store<K>, owner: &Owner, object: &K, revision: i64)
where
    K: Cached<Scope = kube::core::NamespaceResourceScope> + DeserializeOwned + Serialize + std::fmt::Debug,
{
    let live = Live::of(object);
    if live.owner.as_deref() != Some(&owner.uid) || live.going || live.revision >= revision {
        return;
    }
    tracing::info!(object = object.name_any(), "not part of the cache any more; it is removed");
    if delete(ctx, owner, object).await {
        store.remove(&crate::cache::Key::of(object), object.uid().as_deref());
    }
}

async fn delete<K>(ctx: &Ctx, owner: &Owner, object: &K) -> bool
where
    K: kube::Resource<DynamicType = (), Scope = kube::core::NamespaceResourceScope>
        + Clone
        + DeserializeOwned
        + std::fmt::Debug,
{
    let api: Api<K> = Api::namespaced(ctx.client.clone(), &owner.namespace);
    let uid = object.uid().unwrap_or_default();
    // One that an operation has taken up since is another one.
    let deleted = write::delete(ctx, &api, &object.name_any(), &uid, object.resource_version()).await;
    if let Err(reply) = &deleted {
        tracing::warn!(object = object.name_any(), ?reply, "it could not be removed yet");
    }
    deleted.is_ok()
}

/// Removes a StatefulSet, and with it its pods.
pub async fn remove_set(ctx: &Ctx, owner: &Owner, set: &StatefulSet) -> bool {
    delete(ctx, owner, set).await
}
