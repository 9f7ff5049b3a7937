//! What a managed cache consists of.
//!
//! ```text
//!   Revision --render--> ConfigMap, Services, PodDisruptionBudgets, StatefulSets
//! ```
//!
//! Pure: the same revision gives the same objects, to the byte. Each worker is a StatefulSet of one, so that any of them
//! can leave. The settings are in a ConfigMap that is named by its content and never changes: a pod that comes back by
//! itself comes back with the settings of its template, whatever an operation is about to do.

mod merge;
mod pods;
mod properties;

use crate::api::API_VERSION;
use crate::api::managed::{Managed, Revision};
pub use pods::CONTAINER;
use pods::Role;
pub use properties::masters;
use ratchet_state_machine::ids::hash;
use ratchet_state_machine::spec::names_credential;
use serde_json::{Value, json};

/// Label of everything that belongs to a managed cache: its CacheCluster.
pub const INSTANCE: &str = "app.kubernetes.io/instance";
/// Label of everything that Ratchet runs.
pub const MANAGED_BY: (&str, &str) = ("app.kubernetes.io/managed-by", "ratchet");
/// Label: master, worker, job-master or job-worker.
pub const COMPONENT: &str = "app.kubernetes.io/component";
/// Annotation: number of the revision that an object was last written from. A controller that knows an older one leaves
/// the object alone.
pub const REVISION: &str = "ratchet.dev/revision";

/// Port for the clients of masters.
pub const MASTER_RPC: i32 = 19998;
/// Key in the ConfigMap that says which cache the journals are of.
const KNOWN: &str = "cache";
/// Largest `spec.managed`, in bytes of JSON: it is in the object twice, and an object has a limit of 1.5 MiB.
const MOST_BYTES: usize = 256 << 10;
/// Annotation: how the objects were rendered. A controller that renders otherwise leaves those of a newer one alone, and
/// those of a cache that serves too.
pub const RENDERER: (&str, i64) = ("ratchet.dev/renderer", 1);
const MASTER_WEB: i32 = 19999;
const MASTER_JOURNAL: i32 = 19200;
const WORKER_RPC: i32 = 29999;
const WORKER_WEB: i32 = 30000;
const JOB_MASTER_RPC: i32 = 20001;
const JOB_MASTER_WEB: i32 = 20002;
const JOB_WORKER_RPC: i32 = 30001;
const JOB_WORKER_WEB: i32 = 30003;
const PROXY: i32 = 39999;

/// Whose cache it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owner {
    /// Namespace of the CacheCluster.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its uid.
    pub uid: String,
}

/// Kind of an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// v1.
    ConfigMap,
    /// v1.
    Service,
    /// policy/v1.
    PodDisruptionBudget,
    /// apps/v1.
    StatefulSet,
}

/// An object.
#[derive(Debug, Clone, PartialEq)]
pub struct Object {
    /// Kind.
    pub kind: Kind,
    /// Name.
    pub name: String,
    /// Belongs to the workers, which come after the masters.
    pub late: bool,
    /// As it is sent.
    pub body: Value,
}

/// Why a revision cannot be rendered: the spec asks for what cannot be had.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct RenderError(pub String);

/// Names of the pods of a part.
#[must_use]
pub fn workers(owner: &Owner, revision: &Revision) -> Vec<String> {
    revision.workers.iter().map(|id| worker_pod(owner, *id)).collect()
}

/// Name of the pod of the worker of a number.
#[must_use]
pub fn worker_pod(owner: &Owner, number: i32) -> String {
    format!("{}-worker-{number}-0", owner.name)
}

/// Names of the pods of a StatefulSet with several.
#[must_use]
pub fn numbered(owner: &Owner, what: &str, count: i32) -> Vec<String> {
    (0..count).map(|i| format!("{}-{what}-{i}", owner.name)).collect()
}

/// The host by which a worker is known to the cache.
#[must_use]
pub fn worker_host(owner: &Owner, pod: &str) -> String {
    format!("{pod}.{}-worker.{}.svc", owner.name, owner.namespace)
}

/// The address of the root storage, as the masters know it. A journal that belongs to another store is known by it.
#[must_use]
pub fn root_uri(managed: &Managed) -> String {
    let root = &managed.root_storage;
    if let Some(uri) = &root.uri {
        return uri.clone();
    }
    let place = format!("{:?} {:?}", root.host_path, root.claim_name);
    let hex: String =
        hash(&[b"root", place.as_bytes()]).bytes().take(4).map(|b| format!("{b:02x}")).collect();
    format!("{}/{hex}", pods::ROOT)
}

/// Name of the ConfigMap that says which cache the journals are of.
fn known_name(owner: &Owner) -> String {
    format!("{}-known", owner.name)
}

/// What it says: once a cache was there, its journals are not made anew.
#[must_use]
pub fn known(owner: &Owner, revision: &Revision, identity: &str) -> Object {
    let with = Renderer { owner, revision, managed: &revision.managed, config: String::new() };
    with.object(Kind::ConfigMap, known_name(owner), false, None, json!({"data": {KNOWN: identity}}))
}

/// Everything that the API server cannot say of a spec.
///
/// # Errors
/// [`RenderError`] with a sentence for the user.
pub fn check_spec(owner: &Owner, managed: &Managed) -> Result<(), RenderError> {
    let size = serde_json::to_string(managed).map_or(0, |t| t.len());
    if size > MOST_BYTES {
        let message =
            format!("the spec has {size} bytes; {MOST_BYTES} is the most: make the templates smaller");
        return Err(RenderError(message));
    }
    let revision =
        Revision { number: 1, workers: vec![0], out_of_use: vec![], managed: managed.clone(), by: None };
    render(owner, &revision).map(drop)
}

/// The selector of the worker pods, as text.
#[must_use]
pub fn worker_selector(name: &str) -> String {
    format!("{INSTANCE}={name},{COMPONENT}=worker")
}

/// Every object of a managed cache, in the order in which they are made.
///
/// # Errors
/// [`RenderError`] with a sentence for the user.
pub fn render(owner: &Owner, revision: &Revision) -> Result<Vec<Object>, RenderError> {
    let managed = &revision.managed;
    check(managed)?;
    let with = Renderer { owner, revision, managed, config: properties::config_name(owner, managed)? };
    let mut all = vec![
        with.config_map()?,
        with.service(
            "master",
            true,
            &[("rpc", MASTER_RPC), ("web", MASTER_WEB), ("journal", MASTER_JOURNAL)],
        ),
        with.service("client", false, &[("rpc", MASTER_RPC), ("web", MASTER_WEB)]),
        with.service("worker", true, &[("rpc", WORKER_RPC), ("web", WORKER_WEB)]),
        with.budget("master"),
        with.budget("worker"),
    ];
    all.push(with.set(Role::Master)?);
    if managed.jobs.workers > 0 {
        let (rpc, web) = (("rpc", JOB_MASTER_RPC), ("web", JOB_MASTER_WEB));
        all.push(with.service("job-master", true, &[rpc, web]));
        all.push(with.service("job-worker", true, &[("rpc", JOB_WORKER_RPC), ("web", JOB_WORKER_WEB)]));
        all.push(with.set(Role::JobMaster)?);
    }
    for id in &revision.workers {
        all.push(with.set(Role::Worker(*id))?);
    }
    if managed.jobs.workers > 0 {
        all.push(with.set(Role::JobWorker)?);
    }
    if managed.proxies.replicas > 0 {
        all.push(with.service("proxy", false, &[("s3", PROXY)]));
        all.push(with.set(Role::Proxy)?);
    }
    Ok(all)
}

/// What the API server cannot say of a spec.
fn check(managed: &Managed) -> Result<(), RenderError> {
    let parts = [&managed.masters.pods, &managed.workers.pods, &managed.jobs.pods, &managed.proxies.pods];
    for options in parts.iter().filter_map(|p| p.java_options.as_deref()) {
        let set = options.split_whitespace().filter_map(|o| o.strip_prefix("-D")?.split('=').next());
        for key in set {
            if let Some(why) = crate::api::rules::managed::owned(key) {
                return Err(RenderError(format!("{key} {why}: remove it from javaOptions")));
            }
        }
    }
    for (key, value) in &managed.properties {
        if let Some(why) = crate::api::rules::managed::owned(key) {
            return Err(RenderError(format!("{key} {why}: remove it from properties")));
        }
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
        if key.is_empty() || key.len() > 200 || !key.chars().all(plain) {
            let message =
                format!("{key:?} in properties is not the name of a setting: use a-z, 0-9, '.', '-' and '_'");
            return Err(RenderError(message));
        }
        if names_credential(key) && !value.is_empty() {
            return Err(RenderError(format!(
                "{key} in properties is a credential, and properties can be read by everybody: give it to \
                 rootStorage.options or to a mount of a Dataset, from a Secret"
            )));
        }
    }
    Ok(())
}

struct Renderer<'a> {
    owner: &'a Owner,
    revision: &'a Revision,
    managed: &'a Managed,
    config: String,
}

impl Renderer<'_> {
    fn labels(&self, component: Option<&str>) -> Value {
        let mut labels = json!({
            "app.kubernetes.io/name": "alluxio",
            INSTANCE: self.owner.name,
            MANAGED_BY.0: MANAGED_BY.1,
        });
        if let Some(component) = component {
            labels[COMPONENT] = json!(component);
        }
        labels
    }

    fn selector(&self, component: &str) -> Value {
        json!({INSTANCE: self.owner.name, COMPONENT: component})
    }

    fn object(&self, kind: Kind, name: String, late: bool, component: Option<&str>, more: Value) -> Object {
        let (api_version, word) = match kind {
            Kind::ConfigMap => ("v1", "ConfigMap"),
            Kind::Service => ("v1", "Service"),
            Kind::PodDisruptionBudget => ("policy/v1", "PodDisruptionBudget"),
            Kind::StatefulSet => ("apps/v1", "StatefulSet"),
        };
        let mut body = json!({
            "apiVersion": api_version,
            "kind": word,
            "metadata": {
                "name": name,
                "namespace": self.owner.namespace,
                "labels": self.labels(component),
                "annotations": {
                    REVISION: self.revision.number.to_string(),
                    RENDERER.0: RENDERER.1.to_string(),
                },
                "ownerReferences": [{
                    "apiVersion": API_VERSION,
                    "kind": "CacheCluster",
                    "name": self.owner.name,
                    "uid": self.owner.uid,
                    "controller": true,
                    "blockOwnerDeletion": true,
                }],
            },
        });
        if let (Value::Object(body), Value::Object(more)) = (&mut body, more) {
            body.extend(more);
        }
        Object { kind, name, late, body }
    }

    fn config_map(&self) -> Result<Object, RenderError> {
        let text = properties::text(self.owner, self.managed)?;
        let more = json!({"immutable": true, "data": {properties::FILE: text}});
        Ok(self.object(Kind::ConfigMap, self.config.clone(), false, None, more))
    }

    fn service(&self, what: &str, headless: bool, ports: &[(&str, i32)]) -> Object {
        let component = if what == "client" { "master" } else { what };
        let ports: Vec<Value> =
            ports.iter().map(|(n, p)| json!({"name": n, "port": p, "targetPort": p})).collect();
        let mut spec = json!({"selector": self.selector(component), "ports": ports});
        if headless {
            spec["clusterIP"] = json!("None");
            // Members of a quorum have to find each other before any of them is ready.
            spec["publishNotReadyAddresses"] = json!(true);
        }
        let name = format!("{}-{what}", self.owner.name);
        self.object(Kind::Service, name, false, Some(component), json!({"spec": spec}))
    }

    fn budget(&self, component: &str) -> Object {
        // Whoever is out of use is missed by nobody, and shall not count as missing either.
        let aside: Vec<String> = match component {
            "worker" => self.revision.out_of_use.iter().map(i32::to_string).collect(),
            _ => Vec::new(),
        };
        let mut spec = json!({"maxUnavailable": 1, "selector": {"matchLabels": self.selector(component)}});
        if !aside.is_empty() {
            let but = json!([{"key": pods::WORKER, "operator": "NotIn", "values": aside}]);
            spec["selector"]["matchExpressions"] = but;
        }
        let name = format!("{}-{component}", self.owner.name);
        self.object(
            Kind::PodDisruptionBudget,
            name,
            component == "worker",
            Some(component),
            json!({"spec": spec}),
        )
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
