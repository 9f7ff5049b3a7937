//! The real kube-apiserver of the bench, with kinds of this run's own group, over connections that stay open.

use crate::cluster::{Bench, runtime, unique};
use crate::step::Wire;
use crate::universe::{Names, definitions};
use bytes::Bytes;
use futures::stream::BoxStream;
use futures::{StreamExt as _, TryStreamExt as _};
use http::Request;
use http_body_util::BodyExt as _;
use kube::Client;
use kube::client::Body;
use serde_json::{Value, json};
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, OnceLock};
use std::time::Duration;

/// The real side of this process.
pub struct Real {
    client: Client,
    /// API group of the CRDs of this run.
    pub group: String,
    run: String,
    free: Mutex<Vec<Names>>,
    collecting: tokio::sync::OnceCell<()>,
    /// Deletes everything when this process ends, however it ends: it waits for the end of its standard input.
    _reaper: Child,
}

impl Real {
    /// The one of this process, or `None` where the bench cannot run (which is said once).
    pub fn get() -> Option<&'static Self> {
        static REAL: OnceLock<Option<Real>> = OnceLock::new();
        REAL.get_or_init(|| Bench::api().map(|bench| runtime().block_on(Self::new(bench)))).as_ref()
    }

    async fn new(bench: Bench) -> Self {
        let run = format!("c{}", unique());
        let group = format!("{run}.conformance.ratchet.dev");
        let reaper = reaper(&bench, &run);
        let client = bench.client("admin").await;
        let collecting = tokio::sync::OnceCell::new();
        let real = Self { client, group, run, free: Mutex::new(Vec::new()), collecting, _reaper: reaper };
        for mut definition in definitions(&real.group) {
            definition["metadata"]["labels"] = json!({"conformance": real.run});
            real.create("/apis/apiextensions.k8s.io/v1/customresourcedefinitions", &definition).await;
        }
        for resource in ["widgets", "gadgets", "dataoperations", "targetlocks", "operationjournals"] {
            let uri = Names::new(&real.group, &real.run).collection(resource, 0);
            real.until(
                &format!("{resource} are served"),
                Duration::from_secs(30),
                || real.get_json(&uri),
                |v| v.0 == 200,
            )
            .await;
        }
        real
    }

    /// Makes the namespaces of a tag of its own.
    pub async fn stage(&self, tag: &str) -> Names {
        let names = Names::new(&self.group, &format!("{}-{tag}", self.run));
        for name in &names.namespaces {
            let labels = json!({"conformance": self.run});
            let object = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}});
            self.create("/api/v1/namespaces", &object).await;
            let uri = format!("/api/v1/namespaces/{name}/configmaps/kube-root-ca.crt");
            self.until(
                "the namespace is furnished",
                Duration::from_secs(30),
                || self.get_json(&uri),
                |v| v.0 == 200,
            )
            .await;
        }
        names
    }

    /// A stage that nobody plays on now; see [`Self::give_back`].
    pub async fn borrow(&self) -> Names {
        let free = self.free.lock().expect("not poisoned").pop();
        match free {
            Some(names) => names,
            None => self.stage(&unique()).await,
        }
    }

    /// Gives back an empty stage.
    pub fn give_back(&self, names: Names) {
        self.free.lock().expect("not poisoned").push(names);
    }

    /// Deletes the namespaces of a tag; what holds on to them is the reaper's.
    pub async fn strike(&self, names: &Names) {
        for name in &names.namespaces {
            self.json("DELETE", &format!("/api/v1/namespaces/{name}"), None).await;
        }
    }

    /// Waits until the controller manager collects objects of the CRDs too: it looks for new kinds every 30 s.
    pub async fn collecting(&self) {
        self.collecting.get_or_init(|| self.collects()).await;
    }

    async fn collects(&self) {
        let names = self.stage("gc").await;
        for resource in ["widgets", "gadgets", "dataoperations", "operationjournals"] {
            let mut orphan = crate::universe::minimal(resource);
            orphan["apiVersion"] = json!(crate::universe::api_version(resource, &names));
            orphan["metadata"] = json!({"name": "orphan", "ownerReferences": [{"apiVersion": "v1", "kind": "ConfigMap",
                "name": "nobody", "uid": "11111111-2222-4333-8444-555555555555"}]});
            let uri = names.collection(resource, 0);
            self.create(&uri, &orphan).await;
            let uri = format!("{uri}/orphan");
            self.until(
                "garbage is collected",
                Duration::from_secs(120),
                || self.get_json(&uri),
                |v| v.0 == 404,
            )
            .await;
        }
        self.strike(&names).await;
    }

    /// Sends a request; gives code, warnings and the body as it comes.
    pub async fn send(&self, wire: &Wire) -> (u16, Vec<String>, BoxStream<'static, Bytes>) {
        let mut request = Request::builder().method(wire.method.clone()).uri(&wire.uri);
        request = request.header("accept", "application/json");
        if !wire.content_type.is_empty() {
            request = request.header("content-type", &wire.content_type);
        }
        let request = request.body(Body::from(wire.body.clone())).expect("a request");
        let sent = tokio::time::timeout(Duration::from_secs(60), self.client.send(request)).await;
        let response = sent.expect("an answer in time").expect("an answer");
        let warnings = response.headers().get_all("warning").iter();
        let warnings = warnings.map(|w| String::from_utf8_lossy(w.as_bytes()).into_owned()).collect();
        let code = response.status().as_u16();
        let body = response.into_body().into_data_stream().map_err(|e| eprintln!("a broken body: {e}"));
        (code, warnings, body.filter_map(|part| async { part.ok() }).boxed())
    }

    async fn json(&self, method: &str, uri: &str, body: Option<&Value>) -> (u16, Value) {
        let wire = Wire {
            method: method.parse().expect("a method"),
            uri: uri.to_owned(),
            content_type: "application/json".into(),
            body: body.map(|b| b.to_string().into_bytes()).unwrap_or_default(),
        };
        let (code, _, mut parts) = self.send(&wire).await;
        let mut whole = Vec::new();
        while let Some(part) = parts.next().await {
            whole.extend_from_slice(&part);
        }
        (code, serde_json::from_slice(&whole).unwrap_or(Value::Null))
    }

    async fn get_json(&self, uri: &str) -> (u16, Value) {
        self.json("GET", uri, None).await
    }

    async fn create(&self, uri: &str, object: &Value) {
        let (code, body) = self.json("POST", uri, Some(object)).await;
        assert_eq!(code, 201, "{body}");
    }

    async fn until<T, F: Future<Output = T>>(
        &self,
        what: &str,
        limit: Duration,
        mut ask: impl FnMut() -> F,
        enough: impl Fn(&T) -> bool,
    ) {
        let poll = async {
            while !enough(&ask().await) {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        assert!(tokio::time::timeout(limit, poll).await.is_ok(), "{what}: not in {limit:?}");
    }
}

/// A shell that waits until this process is gone and then deletes what carries the run's label.
fn reaper(bench: &Bench, run: &str) -> Child {
    const WORK: &str = r#"cat >/dev/null
for ns in $(kubectl get namespaces -l "conformance=$1" -o name); do
  for crd in $(kubectl get crd -l "conformance=$1" -o name); do
    kind=${crd#*/}
    kubectl -n "${ns#*/}" get "$kind" -o name | xargs -r -I{} kubectl -n "${ns#*/}" patch {} --type=merge -p '{"metadata":{"finalizers":null},"spec":{"seen":null}}'
  done
done
kubectl delete namespaces,crd -l "conformance=$1" --wait=false"#;
    let mut command = Command::new("bash");
    command.args(["-c", WORK, "reaper", run]).env("PATH", &bench.path);
    // A group of its own: an interrupt of the test is not for it.
    command.env("KUBECONFIG", bench.kubeconfig("admin")).process_group(0);
    command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
    command.spawn().expect("bash starts")
}
