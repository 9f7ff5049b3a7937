//! A cache that somebody else runs, found through the object that it was declared by: a Fluid `AlluxioRuntime` or an
//! `AlluxioCluster`. Neither kind has to be installed. Addresses are read here; `owned` changes how many workers there are.
//!
//! ```text
//!   reference --discovery--> the owner's kind --get--> is it there? --pods NAME-master-0, 1, ...--> ip : port "rpc"
//! ```

use super::render::MASTER_RPC;
use crate::api::CacheCluster;
use crate::api::cluster::{OwnerKind, Reference};
use crate::controller::Ctx;
use crate::controller::reply::Reply;
use crate::controller::write;
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::DynamicObject;
use kube::discovery::oneshot;

/// Masters that are looked for at most.
const MOST_MASTERS: usize = 9;

/// Why there are no addresses.
pub struct NotFound {
    /// In CamelCase.
    pub reason: &'static str,
    /// In a sentence.
    pub message: String,
}

/// The API group of an owner's kind.
const fn group(kind: OwnerKind) -> &'static str {
    match kind {
        OwnerKind::AlluxioRuntime => "data.fluid.io",
        OwnerKind::AlluxioCluster => "k8s-operator.alluxio.com",
    }
}

/// The object that a cache was declared by.
///
/// # Errors
/// [`NotFound`] while it is not there.
pub async fn owner(
    ctx: &Ctx,
    cluster: &CacheCluster,
    to: &Reference,
) -> Result<(Api<DynamicObject>, DynamicObject), NotFound> {
    let namespace = cluster.metadata.namespace.as_deref().unwrap_or_default();
    let kind = format!("{:?}", to.kind);
    let missing = |reason, message: String| NotFound { reason, message };
    let unknown = |why: String| missing("ApiServerUnavailable", format!("{kind} {}: {why}", to.name));
    let found =
        tokio::time::timeout(ctx.config.api_timeout, oneshot::group(&ctx.client, group(to.kind))).await;
    let known = match found {
        Ok(Ok(known)) => known,
        Ok(Err(kube::Error::Api(status))) if status.code == 404 => return Err(not_installed(&kind, to.kind)),
        Ok(Err(kube::Error::Discovery(_))) => return Err(not_installed(&kind, to.kind)),
        Ok(Err(error)) => return Err(unknown(error.to_string())),
        Err(_) => return Err(unknown("no reply in time".into())),
    };
    let Some((resource, _)) = known.recommended_kind(&kind) else {
        return Err(not_installed(&kind, to.kind));
    };
    let owners: Api<DynamicObject> = Api::namespaced_with(ctx.client.clone(), namespace, &resource);
    match write::get(ctx, &owners, &to.name).await {
        Ok(Some(found)) => Ok((owners, found)),
        Ok(None) => {
            let message = format!("there is no {kind} {} in namespace {namespace}; create it", to.name);
            Err(missing("OwnerNotFound", message))
        }
        Err(reply) => Err(refused(&kind, &to.name, reply)),
    }
}

/// The RPC addresses of the masters of the cache that is referred to.
///
/// # Errors
/// [`NotFound`] while there are none.
pub async fn endpoints(ctx: &Ctx, cluster: &CacheCluster, to: &Reference) -> Result<Vec<String>, NotFound> {
    owner(ctx, cluster, to).await?;
    let namespace = cluster.metadata.namespace.as_deref().unwrap_or_default();
    let kind = format!("{:?}", to.kind);
    let missing = |reason, message: String| NotFound { reason, message };
    let pods: Api<Pod> = Api::namespaced(ctx.client.clone(), namespace);
    let mut all = Vec::new();
    for ordinal in 0..MOST_MASTERS {
        match write::get(ctx, &pods, &format!("{}-master-{ordinal}", to.name)).await {
            Ok(Some(pod)) => all.extend(address(&pod)),
            Ok(None) => break,
            Err(reply) => return Err(refused("the pods of", &to.name, reply)),
        }
    }
    if all.is_empty() {
        let message =
            format!("{kind} {} has no master with an address: there is no pod {0}-master-0", to.name);
        return Err(missing("NoMaster", message));
    }
    Ok(all)
}

fn not_installed(kind: &str, of: OwnerKind) -> NotFound {
    let message =
        format!("the API server does not know the kind {kind} of {}; install what brings it", group(of));
    NotFound { reason: "OwnerKindNotInstalled", message }
}

fn refused(what: &str, name: &str, reply: Reply) -> NotFound {
    let message = match reply {
        Reply::Denied(why) | Reply::Rule(why) | Reply::TooLarge(why) | Reply::Ambiguous(why) => why,
        busy @ (Reply::Lost | Reply::Terminating | Reply::Gone | Reply::Conflict | Reply::Busy(_)) => {
            busy.name().to_owned()
        }
    };
    NotFound { reason: "ApiServerUnavailable", message: format!("{what} {name}: {message}") }
}

/// Where a master listens: on the port that its container calls `rpc`. Fluid draws it at random where pods share the
/// node's network.
fn address(pod: &Pod) -> Option<String> {
    let ip = pod.status.as_ref()?.pod_ip.clone().filter(|ip| !ip.is_empty())?;
    let ports = pod.spec.iter().flat_map(|s| &s.containers).flat_map(|c| c.ports.iter().flatten());
    let rpc = ports.into_iter().find(|p| p.name.as_deref().is_some_and(|n| n == "rpc" || n == "rpc-port"));
    let port = rpc.map_or(MASTER_RPC, |p| p.container_port);
    Some(if ip.contains(':') { format!("[{ip}]:{port}") } else { format!("{ip}:{port}") })
}
