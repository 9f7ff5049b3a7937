//! Leader election by a Lease. It saves work when several replicas run; it is not what keeps an operation from
//! being done twice (that is the state machine's part), so a lease that two replicas believe to hold harms nobody.

use crate::clock::Clock;
use chrono::SecondsFormat;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, Client};
use serde_json::json;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// Name of the Lease.
pub const NAME: &str = "ratchet-controller";

/// One candidate.
pub struct Candidate {
    api: Api<Lease>,
    holder: String,
    duration: Duration,
    clock: Arc<dyn Clock>,
    /// Who was seen to hold it, at which resourceVersion, since when by the own clock.
    seen: Option<(String, Instant)>,
}

impl Candidate {
    /// A candidate for the Lease in `namespace`. Uses a client of its own, so that it is not starved by others.
    #[must_use]
    pub fn new(
        client: Client,
        namespace: &str,
        holder: String,
        duration: Duration,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self { api: Api::namespaced(client, namespace), holder, duration, clock, seen: None }
    }

    /// Waits until this candidate holds the Lease.
    pub async fn acquire(&mut self) {
        while !self.try_once().await {
            tokio::time::sleep(self.duration / 5).await;
        }
    }

    /// Renews until that fails for longer than the Lease lasts.
    pub async fn keep(&mut self) {
        let mut good = self.clock.instant();
        loop {
            tokio::time::sleep(self.duration / 3).await;
            if self.try_once().await {
                good = self.clock.instant();
            } else if self.clock.instant().saturating_duration_since(good) >= self.duration {
                return;
            }
        }
    }

    /// Gives the Lease back, so that another candidate need not wait until it is over.
    pub async fn release(&self) {
        let ops = json!([
            {"op": "test", "path": "/spec/holderIdentity", "value": self.holder},
            {"op": "replace", "path": "/spec/holderIdentity", "value": ""},
        ]);
        let Ok(patch) = serde_json::from_value::<json_patch::Patch>(ops) else { return };
        let (params, patch) = (PatchParams::default(), Patch::Json::<()>(patch));
        let call = self.api.patch(NAME, &params, &patch);
        if !matches!(tokio::time::timeout(self.duration / 3, call).await, Ok(Ok(_))) {
            tracing::debug!("the lease was not given back; it ends by itself");
        }
    }

    async fn try_once(&mut self) -> bool {
        let limit = self.duration / 3;
        match tokio::time::timeout(limit, self.attempt()).await {
            Ok(Ok(held)) => held,
            Ok(Err(error)) => {
                tracing::warn!(%error, "the lease cannot be read or written");
                false
            }
            Err(_) => false,
        }
    }

    async fn attempt(&mut self) -> Result<bool, kube::Error> {
        let Some(lease) = self.api.get_opt(NAME).await? else {
            return self.create().await;
        };
        let version = lease.metadata.resource_version.clone().unwrap_or_default();
        let held_by = lease.spec.as_ref().and_then(|s| s.holder_identity.clone()).unwrap_or_default();
        if held_by != self.holder && !held_by.is_empty() && !self.expired(&version) {
            return Ok(false);
        }
        let now = self.clock.now().to_rfc3339_opts(SecondsFormat::Micros, true);
        let ops = json!([
            {"op": "replace", "path": "/metadata/resourceVersion", "value": version},
            {"op": "add", "path": "/spec", "value": {
                "holderIdentity": self.holder,
                "leaseDurationSeconds": self.duration.as_secs().max(1),
                "renewTime": now,
                "acquireTime": now,
            }},
        ]);
        let Ok(patch) = serde_json::from_value::<json_patch::Patch>(ops) else { return Ok(false) };
        match self.api.patch(NAME, &PatchParams::default(), &Patch::Json::<()>(patch)).await {
            Ok(_) => Ok(true),
            Err(kube::Error::Api(status)) if status.code == 409 => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Somebody else's lease is over when it did not change for as long as it lasts, by the own clock.
    fn expired(&mut self, version: &str) -> bool {
        let now = self.clock.instant();
        match &self.seen {
            Some((seen, since)) if seen == version => now.saturating_duration_since(*since) > self.duration,
            Some(_) | None => {
                self.seen = Some((version.to_owned(), now));
                false
            }
        }
    }

    async fn create(&self) -> Result<bool, kube::Error> {
        let metadata = ObjectMeta { name: Some(NAME.into()), ..ObjectMeta::default() };
        let lease = Lease { metadata, spec: Some(LeaseSpec::default()) };
        match self.api.create(&PostParams::default(), &lease).await {
            Ok(_) => Ok(false),
            Err(kube::Error::Api(status)) if status.code == 409 => Ok(false),
            Err(error) => Err(error),
        }
    }
}
