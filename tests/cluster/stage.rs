//! A namespace with a cache, a fake engine behind it, and short words for what tests do there.

use super::fake::FakeEngine;
use super::{Bench, InProcess, LIMIT, TestNamespace, cluster, create, edit, operation, settled, wait_for};
use kube::Client;
use kube::api::{Api, ListParams};
use ratchet::api::{
    CacheCluster, DataOperation, DataOperationStatus, LABEL_OPERATION, OperationJournal, TargetLock,
};
use ratchet::controller::Config;
use ratchet_state_machine::journal::{Replayed, replay};
use ratchet_state_machine::machine::Phase;
use ratchet_state_machine::spec::OperationSpec;
use serde_json::{Value, json};
use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

/// Where a test plays.
pub struct Stage {
    /// The bench.
    pub bench: Bench,
    /// The namespace.
    pub ns: TestNamespace,
    /// The engine behind the CacheCluster `cache`.
    pub engine: Arc<FakeEngine>,
    /// A client that may do everything but write status.
    pub admin: Client,
}

impl Stage {
    /// A namespace with the CacheCluster `cache`; `None` where the bench cannot run.
    pub async fn new(stem: &str) -> Option<Self> {
        let stage = Self::empty(stem).await?;
        stage.cache("cache").await;
        Some(stage)
    }

    /// The same without a CacheCluster.
    pub async fn empty(stem: &str) -> Option<Self> {
        let bench = Bench::api()?;
        let ns = bench.namespace(stem);
        let admin = bench.client("admin").await;
        Some(Self { bench, ns, engine: FakeEngine::new(), admin })
    }

    /// Creates a CacheCluster.
    pub async fn cache(&self, name: &str) -> CacheCluster {
        create(&self.admin, &self.ns.name, &cluster(&self.ns.name, name, &["fake:1"], "NoSasl")).await
    }

    /// How controllers of tests behave.
    pub fn config() -> Config {
        Config { send_for_ms: 500, unknown_effect_ms: 500, ..Config::default() }
    }

    /// Starts a controller.
    pub async fn controller(&self) -> InProcess {
        self.controller_with(Self::config()).await
    }

    /// Starts a controller with a configuration.
    pub async fn controller_with(&self, config: Config) -> InProcess {
        InProcess::with(&self.bench, &self.ns.name, self.engine.clone(), config).await
    }

    /// Creates an operation that loads `path`.
    pub async fn load(&self, name: &str, path: &str, more: Value) -> DataOperation {
        let arm = json!({"load": {"paths": [path]}});
        create(&self.admin, &self.ns.name, &operation(&self.ns.name, name, "cache", arm, more)).await
    }

    /// Creates an operation that frees `path`.
    pub async fn free(&self, name: &str, path: &str) -> DataOperation {
        let arm = json!({"free": {"paths": [path]}});
        create(&self.admin, &self.ns.name, &operation(&self.ns.name, name, "cache", arm, json!({}))).await
    }

    /// Sets controls.
    pub async fn control(&self, name: &str, control: Value) -> DataOperation {
        edit(&self.admin, &self.ns.name, name, json!({"control": control})).await.expect("a control")
    }

    /// The operation as it is.
    pub async fn get(&self, name: &str) -> DataOperation {
        Api::<DataOperation>::namespaced(self.admin.clone(), &self.ns.name).get(name).await.expect("there")
    }

    /// Waits until the status satisfies `wanted`.
    pub async fn until(&self, name: &str, wanted: impl Fn(&DataOperationStatus) -> bool) -> DataOperation {
        let seen =
            |op: Option<&DataOperation>| op.filter(|o| o.status.as_ref().is_some_and(&wanted)).cloned();
        wait_for(&self.admin, &self.ns.name, name, seen).await
    }

    /// Waits for a step.
    pub async fn step(&self, name: &str, step: &str) -> DataOperation {
        self.until(name, |s| s.step == step).await
    }

    /// Waits until the reason for waiting is shown.
    pub async fn waits(&self, name: &str, reason: &str) -> DataOperation {
        self.until(name, |s| s.waiting_on.as_ref().is_some_and(|w| w.reason == reason)).await
    }

    /// Waits until the engine runs a job on a path and the operation has taken note of it.
    pub async fn at_work(&self, name: &str) -> DataOperation {
        self.until(name, |s| s.step == "loadingData" && s.intent.is_none()).await
    }

    /// Waits until it is over and sealed, in this phase, and proves its journal.
    pub async fn ends(&self, name: &str, phase: Phase) -> DataOperation {
        let op = settled(&self.admin, &self.ns.name, name).await;
        assert_eq!(
            op.phase(),
            Some(phase),
            "{name}: {:?}",
            op.status.as_ref().and_then(|s| s.waiting_on.clone())
        );
        self.prove(&op).await;
        op
    }

    /// Waits until there is no such object.
    pub async fn gone(&self, name: &str) {
        wait_for(&self.admin, &self.ns.name, name, |op| op.is_none().then_some(())).await;
    }

    /// Waits until `condition` holds, asking again and again.
    pub async fn eventually(&self, what: &str, mut condition: impl AsyncFnMut() -> bool) {
        let poll = async {
            while !condition().await {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        };
        assert!(tokio::time::timeout(LIMIT, poll).await.is_ok(), "{what}: did not happen in {LIMIT:?}");
    }

    /// The CacheCluster as it is.
    pub async fn cluster(&self, name: &str) -> CacheCluster {
        Api::<CacheCluster>::namespaced(self.admin.clone(), &self.ns.name).get(name).await.expect("there")
    }

    /// Reason of the CacheCluster's condition Ready.
    pub async fn readiness(&self, name: &str) -> String {
        let conditions = self.cluster(name).await.status.map(|s| s.conditions).unwrap_or_default();
        conditions.into_iter().find(|c| c.type_ == "Ready").map(|c| c.reason).unwrap_or_default()
    }

    /// The engine's lock.
    pub async fn lock(&self) -> Option<TargetLock> {
        let name = self.cluster("cache").await.status?.lock?;
        Api::<TargetLock>::all(self.admin.clone()).get_opt(&name).await.expect("readable")
    }

    /// Names of the operations that hold the engine.
    pub async fn holders(&self) -> Vec<String> {
        self.lock()
            .await
            .map(|l| l.spec.lock.holders.into_iter().map(|h| h.name).collect())
            .unwrap_or_default()
    }

    /// The segments of an operation, in order.
    pub async fn segments(&self, uid: &str) -> Vec<OperationJournal> {
        let api: Api<OperationJournal> = Api::namespaced(self.admin.clone(), &self.ns.name);
        let mine = ListParams::default().labels(&format!("{LABEL_OPERATION}={uid}"));
        let mut all = api.list(&mine).await.expect("readable").items;
        all.sort_by_key(|s| s.spec.first_seq);
        all
    }

    /// Replays an operation's journal from nothing: contiguous, sound, and ending where the status says.
    pub async fn prove(&self, op: &DataOperation) -> Vec<Replayed> {
        let steps = self.replayed(op.uid(), op.status.as_ref(), Some(&op.spec)).await;
        let status = op.status.as_ref().expect("a status");
        let end = &steps.last().expect("entries").after;
        assert_eq!((end.seq, &end.digest), (status.seq, &status.digest));
        assert_eq!(end.state, status.state);
        steps
    }

    /// Replays the segments and, where the object is still there, its tail.
    pub async fn replayed(
        &self,
        uid: &str,
        status: Option<&DataOperationStatus>,
        spec: Option<&OperationSpec>,
    ) -> Vec<Replayed> {
        let segments = self.segments(uid).await;
        let mut entries = BTreeMap::new();
        for segment in &segments {
            entries.extend(segment.spec.entries.iter().map(|e| (e.seq, e.clone())));
        }
        entries.extend(status.iter().flat_map(|s| &s.tail).map(|e| (e.seq, e.clone())));
        let kept = segments
            .first()
            .and_then(|s| s.spec.spec.as_deref())
            .map(|t| serde_json::from_str(t).expect("a spec"));
        let spec = spec.cloned().or(kept).expect("a spec");
        replay(uid, &spec, entries.values()).expect("a sound journal")
    }

    /// No intent was sent twice, and each of these paths was loaded by one job that nobody stopped.
    pub fn loaded_once<'a>(&self, paths: impl IntoIterator<Item = &'a str>) {
        let log = self.engine.world().log.clone();
        let distinct: HashSet<&String> = log.iter().collect();
        assert_eq!(distinct.len(), log.len(), "an intent was sent twice: {log:?}");
        for path in paths {
            let state = self.engine.path(path);
            assert_eq!((state.submits, state.stops), (1, 0), "{path}: {state:?} {log:?}");
        }
    }

    /// Names of the events of an operation.
    pub async fn events(&self, op: &DataOperation) -> Vec<String> {
        self.prove(op).await.into_iter().map(|r| r.entry.event).collect()
    }

    /// User name of the admin.
    pub fn admin_name(&self) -> String {
        let who = self.bench.kubectl(&["auth", "whoami", "-o", "jsonpath={.status.userInfo.username}"], &[]);
        who.trim().to_owned()
    }
}
