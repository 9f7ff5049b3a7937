//! The registry: the one place that lists the engines. An engine is made once for each CacheCluster and spec and
//! shared by everybody who works on that cache.

#[cfg(feature = "dev")]
use super::local;
use super::{Engine, alluxio};
#[cfg(feature = "dev")]
use crate::api::cluster::Local;
use crate::api::cluster::{Attached, CacheCluster, CacheClusterSpec, EngineKind};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

/// Why there is no engine for a CacheCluster: its spec cannot be used.
#[derive(Debug, Clone, thiserror::Error)]
#[error("the CacheCluster cannot be used: {0}")]
pub struct RegistryError(pub String);

type Make = dyn Fn(&CacheCluster) -> Result<Arc<dyn Engine>, RegistryError> + Send + Sync;

/// An engine, and the spec and the addresses that it was made for.
type Made = (CacheClusterSpec, Vec<String>, Arc<dyn Engine>);

fn alluxio(cluster: &CacheCluster, options: &alluxio::Options) -> Result<Arc<dyn Engine>, RegistryError> {
    let attached = match &cluster.spec.managed {
        // As it is, not as an edit wants it.
        Some(managed) => {
            let revision = cluster.status.as_ref().and_then(|s| s.revision.as_ref());
            let security = revision.map_or(&managed.security, |r| &r.managed.security);
            Attached { masters: endpoints(cluster).to_vec(), security: security.clone(), reference: None }
        }
        None if cluster.spec.attached.reference.is_some() => {
            Attached { masters: endpoints(cluster).to_vec(), ..cluster.spec.attached.clone() }
        }
        None => cluster.spec.attached.clone(),
    };
    if attached.masters.is_empty() {
        return Err(RegistryError("none of its masters has an address yet".into()));
    }
    alluxio::Alluxio::connect(&attached, options).map(|a| Arc::new(a) as _)
}

/// The addresses of a managed cache, which change with its pods.
fn endpoints(cluster: &CacheCluster) -> &[String] {
    cluster.status.as_ref().map_or(&[], |s| s.endpoints.as_slice())
}

/// Engines by CacheCluster.
pub struct Registry {
    make: Box<Make>,
    made: Mutex<BTreeMap<String, Made>>,
    /// Engines of CacheClusters that are gone, by namespace and name: what still runs there can be stopped.
    retired: Mutex<BTreeMap<String, Arc<dyn Engine>>>,
}

impl Registry {
    /// The engines that Ratchet ships.
    #[must_use]
    pub fn new(options: alluxio::Options) -> Self {
        Self::with(move |cluster| match cluster.spec.engine {
            EngineKind::Alluxio => alluxio(cluster, &options),
            EngineKind::Local => {
                Err(RegistryError("engine Local exists in `ratchet dev` only; use engine Alluxio".into()))
            }
        })
    }

    /// The engines of `ratchet dev`: also local caches, by the time of `now`. `open` is asked once for the cache of each
    /// `namespace/name`; registries that shall share caches share them by what their `open` gives.
    #[cfg(feature = "dev")]
    pub fn local(
        options: alluxio::Options,
        now: local::Now,
        open: impl Fn(&str, &Local) -> Result<local::Cache, RegistryError> + Send + Sync + 'static,
    ) -> Self {
        let caches = local::Caches::new(now, open);
        Self::with(move |cluster| match cluster.spec.engine {
            EngineKind::Alluxio => alluxio(cluster, &options),
            EngineKind::Local => caches.engine(cluster).map(|e| Arc::new(e) as _),
        })
    }

    /// Engines made by `make`.
    pub fn with(
        make: impl Fn(&CacheCluster) -> Result<Arc<dyn Engine>, RegistryError> + Send + Sync + 'static,
    ) -> Self {
        Self { make: Box::new(make), made: Mutex::default(), retired: Mutex::default() }
    }

    /// The engine of a CacheCluster.
    ///
    /// # Errors
    /// [`RegistryError`] when its spec cannot be used.
    pub fn engine(&self, cluster: &CacheCluster) -> Result<Arc<dyn Engine>, RegistryError> {
        let uid = cluster.metadata.uid.clone().unwrap_or_default();
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((spec, addresses, engine)) = made.get(&uid)
            && *spec == cluster.spec
            && addresses == endpoints(cluster)
        {
            return Ok(Arc::clone(engine));
        }
        let engine = (self.make)(cluster)?;
        made.insert(uid, (cluster.spec.clone(), endpoints(cluster).to_vec(), Arc::clone(&engine)));
        Ok(engine)
    }

    /// A CacheCluster is gone. Its engine is kept aside when operations of it are unfinished.
    pub fn retire(&self, uid: &str, name: &str, unfinished: bool) {
        let made = self.made.lock().unwrap_or_else(PoisonError::into_inner).remove(uid);
        let mut retired = self.retired.lock().unwrap_or_else(PoisonError::into_inner);
        match made {
            Some((_, _, engine)) if unfinished => retired.insert(name.to_owned(), engine),
            _ => retired.remove(name),
        };
    }

    /// The engine of a CacheCluster that is gone, to stop what still runs there.
    pub fn retired(&self, name: &str) -> Option<Arc<dyn Engine>> {
        self.retired.lock().unwrap_or_else(PoisonError::into_inner).get(name).cloned()
    }
}
