//! Managed caches: from one object to a cache that serves.
//!
//! ```text
//!   spec --first, or edited before it was ready--> status.revision --render--> objects --apply--> pods --look--> facts
//!                                                                  facts --setup::decide--> the next stage, or why not
//! ```
//!
//! Objects are made from `status.revision`, never straight from the spec. Until a cache was ready for the first time an
//! edit makes a new revision and begins the set-up anew; from then on only operations move it, and an edit that waits for
//! one says so. Every stage looks at what is there, so that whoever comes next, after whatever crash, goes on.

mod apply;
mod drift;
mod edits;
mod facts;
mod leave;
pub mod members;
mod owned;
mod pods;
pub mod reference;
mod render;
mod replace;
pub mod revise;
pub mod rollout;
mod show;
mod tidy;
pub mod workloads;

use crate::api::cluster::CacheClusterStatus;
use crate::api::managed::{Managed, Revision, SetUp};
use crate::api::{CacheCluster, conditions};
use crate::cache::Key;
use crate::controller::teeth::Mutation;
use crate::controller::{Ctx, cluster, finalizers};
use apply::{Applied, At, Trouble};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::Api;
use ratchet_state_machine::setup::{self, Decision, Event, Stage};
use render::{Object, Owner, RenderError};
use std::sync::Arc;
use std::time::Duration;

/// Keeps a managed cache in place until its pods are gone.
pub const FINALIZER: &str = "ratchet.dev/cachecluster";
/// Pause between two looks at a cache that is being set up; its pods wake it as well.
const SOON: Duration = Duration::from_secs(2);

/// Whose cache it is.
fn owner(cluster: &CacheCluster) -> Owner {
    Owner {
        namespace: cluster.metadata.namespace.clone().unwrap_or_default(),
        name: cluster.metadata.name.clone().unwrap_or_default(),
        uid: cluster.metadata.uid.clone().unwrap_or_default(),
    }
}

/// Makes an object the cache's own.
fn reference_to(cluster: &CacheCluster) -> OwnerReference {
    OwnerReference {
        api_version: crate::api::API_VERSION.into(),
        kind: "CacheCluster".into(),
        name: cluster.metadata.name.clone().unwrap_or_default(),
        uid: cluster.metadata.uid.clone().unwrap_or_default(),
        controller: Some(true),
        block_owner_deletion: Some(true),
    }
}

/// The address of a managed cache's root, as its masters know it.
#[must_use]
pub fn root_uri(managed: &Managed) -> String {
    render::root_uri(managed)
}

/// The RPC addresses of the masters of a managed cache by the names of their pods, which stay.
#[must_use]
pub fn master_names(name: &str, namespace: &str, managed: &Managed) -> Vec<String> {
    let hosts = render::masters(name, namespace, managed.masters.replicas);
    hosts.iter().map(|h| format!("{h}:{}", render::MASTER_RPC)).collect()
}

fn api(ctx: &Ctx, cluster: &CacheCluster) -> Api<CacheCluster> {
    Api::namespaced(ctx.client.clone(), cluster.metadata.namespace.as_deref().unwrap_or_default())
}

/// Brings a managed cache up to date.
pub async fn reconcile(ctx: &Ctx, cluster: &Arc<CacheCluster>, managed: &Managed) -> Option<Duration> {
    if !ctx.config.managed {
        let why = "this controller was started without the part that runs pods";
        return show::failed(ctx, cluster, "NotSupported", why).await;
    }
    if cluster.metadata.deletion_timestamp.is_some() {
        return leave::leave(ctx, cluster, managed).await;
    }
    if !finalizers::has(&**cluster, FINALIZER) {
        return set_finalizer(ctx, cluster, true).await;
    }
    let owner = owner(cluster);
    let old = cluster.status.clone().unwrap_or_default();
    let stage = stage_of(&old);
    if let Some(wait) = edits::follow(ctx, cluster, managed, &old, stage).await {
        return Some(wait);
    }
    let next = match &old.revision {
        None => Some(1),
        Some(r) if stage != Stage::Ready && !same_but_deletion(managed, &r.managed) => Some(r.number + 1),
        Some(_) => None,
    };
    if let Some(number) = next {
        // What cannot be made is not recorded either.
        return match render::check_spec(&owner, managed) {
            Ok(()) => begin(ctx, cluster, managed, number).await,
            Err(why) => show::failed(ctx, cluster, "InvalidSpec", &why.to_string()).await,
        };
    }
    let mut revision = old.revision.clone()?;
    if ctx.broken(Mutation::RenderFromSpec) {
        revision.managed = managed.clone();
    }
    let objects = match objects(&owner, &revision, &old) {
        Ok(objects) => objects,
        Err(why) => return show::failed(ctx, cluster, "InvalidSpec", &why.to_string()).await,
    };
    let trouble = make(ctx, cluster, &owner, &revision, stage, &objects).await.err();
    // What is wrong with one object of a cache that serves keeps none that has left from going.
    if trouble.is_none() || stage == Stage::Ready {
        tidy::tidy(ctx, &owner, &revision, stage, &objects).await;
    }
    let seen = facts::gather(ctx, cluster, &owner, &revision, stage, trouble).await;
    if let Some(wait) = edits::keep_out(ctx, cluster, &revision, &seen, stage).await {
        return Some(wait);
    }
    let decision = setup::decide(stage, &seen.facts);
    let next = match &decision {
        Decision::Move(event) => match stage.step(*event) {
            Ok(next) => next,
            Err(illegal) => {
                tracing::error!(cluster = owner.name, %illegal, "a bug: the set-up stays where it is");
                stage
            }
        },
        Decision::Wait { .. } | Decision::Rest => stage,
    };
    let moved = next != stage;
    let written = show::write(ctx, cluster, seen, managed, next, &decision).await;
    Some(match (written, moved) {
        (false, _) => Duration::from_millis(500),
        (true, true) => Duration::ZERO,
        (true, false) if stage == Stage::Ready => ctx.config.probe_every,
        (true, false) => SOON.min(ctx.config.probe_every),
    })
}

/// The objects of a cache. As soon as it is known who it is, its journals are kept from being made anew.
fn objects(
    owner: &Owner,
    revision: &Revision,
    status: &CacheClusterStatus,
) -> Result<Vec<Object>, RenderError> {
    let mut all = render::render(owner, revision)?;
    if let Some(identity) = &status.identity {
        all.insert(0, render::known(owner, revision, identity));
    }
    Ok(all)
}

/// The stage that the status names. One that is not known here was written by a newer controller: nothing is made anew.
fn stage_of(status: &CacheClusterStatus) -> Stage {
    let name = status.set_up.as_ref().map_or("", |s| s.stage.as_str());
    Stage::named(name).unwrap_or(if name.is_empty() { Stage::SetupMaster } else { Stage::Ready })
}

/// What happens at the end of a cache is not part of what it is.
fn same_but_deletion(a: &Managed, b: &Managed) -> bool {
    Managed { deletion: b.deletion.clone(), ..a.clone() } == *b
}

/// Records what is set up, before any of it is made.
async fn begin(ctx: &Ctx, cluster: &CacheCluster, managed: &Managed, number: i64) -> Option<Duration> {
    let mut status = cluster.status.clone().unwrap_or_default();
    let from = stage_of(&status);
    let stage = if number == 1 { Ok(Stage::SetupMaster) } else { from.step(Event::Restarted) };
    let Ok(stage) = stage else {
        tracing::error!(%from, "a bug: a cache that was ready is not set up anew");
        return None;
    };
    if managed.masters.journal.survives() == "Never" {
        // The masters' pods are made anew, and their journals with them: it will be another cache.
        (status.identity, status.lock) = (None, None);
    }
    status.revision = Some(Revision {
        number,
        workers: (0..managed.workers.replicas).collect(),
        out_of_use: Vec::new(),
        managed: managed.clone(),
        by: None,
    });
    status.set_up = Some(SetUp {
        stage: stage.name().into(),
        revision: number,
        since: conditions::time(ctx.clock.now()),
    });
    status.facets = edits::made(managed);
    status.selector = Some(render::worker_selector(cluster.metadata.name.as_deref().unwrap_or_default()));
    status.storage = show::survival(managed);
    status.phase = "Creating".into();
    status.observed_generation = cluster.metadata.generation.unwrap_or(0);
    let written = cluster::show(ctx, cluster, &status).await;
    Some(if written { Duration::ZERO } else { Duration::from_millis(500) })
}

/// Makes the objects of the stages so far.
async fn make(
    ctx: &Ctx,
    cluster: &Arc<CacheCluster>,
    owner: &Owner,
    revision: &Revision,
    stage: Stage,
    objects: &[Object],
) -> Result<(), Trouble> {
    if stage == Stage::SetupMaster {
        // Everything is tried out before anything is made: a cache is not left half there by a mistake in its spec.
        for object in trial(ctx, owner, objects) {
            apply::try_out(ctx, owner, object).await?;
        }
    }
    let at = At { revision: revision.number, serves: stage == Stage::Ready };
    let absent = |o: &&Object| {
        o.kind == render::Kind::StatefulSet
            && ctx.workloads.get(o.kind, &Key::new(owner.namespace.as_str(), o.name.as_str())).is_none()
    };
    // Nor is a template changed for an operation that may have been taken back since.
    let image = |set: &serde_json::Value| {
        let all = set["spec"]["template"]["spec"]["containers"].as_array().cloned().unwrap_or_default();
        all.into_iter().find(|c| c["name"] == render::CONTAINER).map(|c| c["image"].clone())
    };
    let other = |o: &&Object| {
        let live = ctx.workloads.get(o.kind, &Key::new(owner.namespace.as_str(), o.name.as_str()));
        o.kind == render::Kind::StatefulSet && live.is_some_and(|l| image(&l.value) != image(&o.body))
    };
    if at.serves
        && objects.iter().any(|o| absent(&o) || other(&o))
        && !members::still_newest(ctx, cluster, revision.number).await
    {
        let message = "a member is not as it shall be, and whether that is so still is not known yet".into();
        return Err(Trouble { reason: "NotUpToDate", message });
    }
    let mut first = Ok(());
    for object in objects.iter().filter(|o| !o.late || stage.has_workers()) {
        match apply::apply(ctx, owner, object, at).await {
            Ok(Applied::Same) => {}
            Ok(Applied::Written) => tracing::debug!(object = object.name, "written"),
            // What is wrong with one object of a cache that serves keeps none of the others from being mended.
            Err(why) if at.serves => first = first.and(Err(why)),
            Err(why) => return Err(why),
        }
    }
    first
}

/// One StatefulSet of each kind, of those that are not there.
fn trial<'a>(ctx: &Ctx, owner: &Owner, objects: &'a [Object]) -> Vec<&'a Object> {
    let mut seen: Vec<&serde_json::Value> = Vec::new();
    let sets = objects.iter().filter(|o| o.kind == render::Kind::StatefulSet);
    sets.filter(|o| {
        let component = &o.body["metadata"]["labels"][render::COMPONENT];
        let first = !seen.contains(&component);
        seen.push(component);
        let key = Key::new(owner.namespace.as_str(), o.name.as_str());
        first && ctx.workloads.get(o.kind, &key).is_none()
    })
    .collect()
}

async fn set_finalizer(ctx: &Ctx, cluster: &CacheCluster, on: bool) -> Option<Duration> {
    match finalizers::set(ctx, &api(ctx, cluster), cluster, FINALIZER, on).await {
        Ok(written) => {
            ctx.changed_cluster(&ctx.clusters.replace(written));
            Some(Duration::ZERO)
        }
        Err(reply) => {
            tracing::debug!(
                cluster = cluster.metadata.name,
                ?reply,
                "the finalizer could not be written yet"
            );
            finalizers::again(&reply)
        }
    }
}
