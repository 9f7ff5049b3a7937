//! The same controllers on the API server of this crate.

use super::*;
use crate::api;
use bytes::Bytes;
use http::Method;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};

struct Bench {
    server: Server,
    runtime: Runtime,
    time: Arc<AtomicI64>,
}

impl Bench {
    fn new(options: Options) -> Self {
        let (time, uids) = (Arc::new(AtomicI64::new(0)), AtomicUsize::new(0));
        let clock = Arc::clone(&time);
        let server = Server::new(api::Options {
            now: Arc::new(move || {
                chrono::DateTime::from_timestamp_millis(clock.load(Ordering::Relaxed)).unwrap_or_default()
            }),
            uids: Arc::new(move || format!("uid-{}", uids.fetch_add(1, Ordering::Relaxed))),
            rules: crate::schema::Rules::All,
            history: 1_000,
            sink: None,
            admit: None,
        });
        Self { server, runtime: Runtime::new(options), time }
    }

    fn call(&self, method: Method, uri: &str, body: &Value) -> (u16, Value) {
        let content_type = match method {
            Method::PATCH => "application/merge-patch+json",
            _ => "application/json",
        };
        let request = api::Request {
            method,
            uri: uri.into(),
            content_type: content_type.into(),
            accept: "application/json".into(),
            body: Bytes::from(if body.is_null() { String::new() } else { body.to_string() }),
            user: api::User { name: "user".into(), groups: vec!["system:masters".into()] },
        };
        match self.server.call(&request) {
            api::Reply::Whole(r) => (r.code, serde_json::from_slice(&r.body).unwrap_or_default()),
            api::Reply::Watch(_) => panic!("no watch was asked for"),
        }
    }

    fn made(&self, uri: &str, object: &Value) {
        let (code, body) = self.call(Method::POST, uri, object);
        assert_eq!(code, 201, "{body}");
    }

    fn get(&self, uri: &str) -> Value {
        self.call(Method::GET, uri, &Value::Null).1
    }

    /// Ticks every 100 ms; settles at each.
    fn until(&mut self, ms: i64) {
        while self.time.load(Ordering::Relaxed) < ms {
            let now = self.time.fetch_add(100, Ordering::Relaxed) + 100;
            let busy = (0..20).take_while(|_| self.runtime.tick(&self.server, now)).count();
            assert!(busy < 20, "it never settles");
            self.server.collect();
        }
    }

    fn pods(&self) -> Vec<String> {
        let all = self.server.objects("pods");
        let mark = |p: &Value| {
            let (ready, gone) = (look::ready(p), look::terminating(p));
            format!("{}{}{}", look::name(p), if ready { "+" } else { "" }, if gone { "-" } else { "" })
        };
        all.iter().map(|p| mark(p)).collect()
    }
}

const SETS: &str = "/apis/apps/v1/namespaces/default/statefulsets";
const PODS: &str = "/api/v1/namespaces/default/pods";

fn set() -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "StatefulSet",
        "metadata": {"name": "web"},
        "spec": {
            "replicas": 2, "serviceName": "svc",
            "updateStrategy": {"type": "OnDelete"},
            "selector": {"matchLabels": {"app": "web"}},
            "template": {
                "metadata": {"labels": {"app": "web"}},
                "spec": {
                    "terminationGracePeriodSeconds": 2,
                    "containers": [{"name": "main", "image": "image:1"}],
                },
            },
            "volumeClaimTemplates": [{
                "metadata": {"name": "data"},
                "spec": {
                    "accessModes": ["ReadWriteOnce"],
                    "resources": {"requests": {"storage": "1Gi"}},
                },
            }],
        },
    })
}

fn eviction(pod: &str, uid: &str) -> Value {
    json!({
        "apiVersion": "policy/v1", "kind": "Eviction",
        "metadata": {"name": pod, "namespace": "default"},
        "deleteOptions": {"preconditions": {"uid": uid}},
    })
}

#[test]
fn a_member_is_replaced_by_template_lag_eviction_grace_and_readiness() {
    let mut bench = Bench::new(Options { observe_lag_ms: 500, ..Options::default() });
    bench.made(SETS, &set());
    let budget = json!({
        "apiVersion": "policy/v1", "kind": "PodDisruptionBudget",
        "metadata": {"name": "budget"},
        "spec": {"maxUnavailable": 1, "selector": {"matchLabels": {"app": "web"}}},
    });
    bench.made("/apis/policy/v1/namespaces/default/poddisruptionbudgets", &budget);
    bench.until(5_000);
    assert_eq!(bench.pods(), ["web-0+", "web-1+"]);
    let status = &bench.get(&format!("{SETS}/web"))["status"];
    assert_eq!((&status["readyReplicas"], &status["observedGeneration"]), (&json!(2), &json!(1)));
    let claim = bench.get("/api/v1/namespaces/default/persistentvolumeclaims/data-web-1");
    assert_eq!(
        (&claim["status"]["phase"], &claim["status"]["capacity"]["storage"]),
        (&json!("Bound"), &json!("1Gi"))
    );

    let image =
        json!({"spec": {"template": {"spec": {"containers": [{"name": "main", "image": "image:2"}]}}}});
    assert_eq!(bench.call(Method::PATCH, &format!("{SETS}/web"), &image).0, 200);
    bench.until(5_400);
    assert_eq!(bench.get(&format!("{SETS}/web"))["status"]["observedGeneration"], 1);
    bench.until(5_700);
    assert_eq!(bench.get(&format!("{SETS}/web"))["status"]["observedGeneration"], 2);

    let uid = |bench: &Bench, pod: &str| look::uid(&bench.get(&format!("{PODS}/{pod}"))).to_owned();
    let (old, other) = (uid(&bench, "web-0"), uid(&bench, "web-1"));
    let evict = |bench: &Bench, pod: &str, uid: &str| {
        bench.call(Method::POST, &format!("{PODS}/{pod}/eviction"), &eviction(pod, uid)).0
    };
    assert_eq!(evict(&bench, "web-0", "another"), 409);
    assert_eq!(evict(&bench, "web-0", &old), 201);
    assert_eq!(evict(&bench, "web-1", &other), 429, "the budget is used up");
    bench.until(7_600);
    assert_eq!(bench.pods(), ["web-0+-", "web-1+"]);
    bench.until(7_900);
    assert_eq!(bench.pods(), ["web-0", "web-1+"]);
    bench.until(9_000);
    assert_eq!(bench.pods(), ["web-0+", "web-1+"]);
    let new = bench.get(&format!("{PODS}/web-0"));
    assert_ne!(look::uid(&new), old);
    assert_eq!(new["spec"]["containers"][0]["image"], "image:2");
    assert_eq!(new["spec"]["volumes"][0]["persistentVolumeClaim"]["claimName"], "data-web-0");
    assert_eq!(evict(&bench, "web-1", &other), 201);
}

#[test]
fn what_a_deleted_set_owned_goes_and_its_claims_stay() {
    let mut bench = Bench::new(Options::default());
    bench.made(SETS, &set());
    bench.until(4_000);
    assert_eq!(bench.call(Method::DELETE, &format!("{SETS}/web"), &Value::Null).0, 200);
    bench.until(10_000);
    assert_eq!(bench.pods(), Vec::<String>::new());
    assert_eq!(bench.server.objects("controllerrevisions").len(), 0);
    assert_eq!(bench.server.objects("persistentvolumeclaims").len(), 2);
}

#[test]
fn a_job_runs_to_its_end_and_a_settled_cluster_costs_no_look() {
    let mut bench = Bench::new(Options::default());
    let job = json!({
        "apiVersion": "batch/v1", "kind": "Job",
        "metadata": {"name": "copy"},
        "spec": {"template": {"spec": {"restartPolicy": "Never", "containers": [{"name": "m", "image": "i"}]}}},
    });
    bench.made("/apis/batch/v1/namespaces/default/jobs", &job);
    bench.until(3_000);
    let job = bench.get("/apis/batch/v1/namespaces/default/jobs/copy");
    assert!(look::condition(&job, "Complete"), "{job}");
    let pods = bench.server.objects("pods");
    assert_eq!((pods.len(), look::phase(&pods[0])), (1, "Succeeded"));
    assert!(look::name(&pods[0]).starts_with("copy-"));
    assert_eq!((bench.runtime.due, bench.runtime.revision), (i64::MAX, Some(bench.server.revision())));
}

#[test]
fn a_pod_of_nobody_runs_and_goes() {
    let mut bench = Bench::new(Options::default());
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": "bare"},
        "spec": {"terminationGracePeriodSeconds": 1, "containers": [{"name": "m", "image": "i"}]},
    });
    bench.made(PODS, &pod);
    bench.until(1_500);
    assert_eq!(bench.pods(), ["bare+"]);
    assert_eq!(bench.call(Method::DELETE, &format!("{PODS}/bare"), &Value::Null).0, 200);
    bench.until(2_400);
    assert_eq!(bench.pods(), ["bare+-"]);
    bench.until(2_700);
    assert!(bench.pods().is_empty());
}
