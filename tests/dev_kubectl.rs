//! Does everyday kubectl work against `ratchet dev`, with the words and the looks that people know?

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that cannot go on fails")]

mod dev_process;

use dev_process::{Process, Scratch};
use serde_json::Value;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// A kubectl, and the `ratchet dev` that it talks to (without a controller: nothing changes by itself).
struct Kubectl {
    path: String,
    home: PathBuf,
    process: Process,
    _scratch: Scratch,
}

/// `PATH` with a kubectl on it: the user's own or the bench's.
fn path_with_kubectl() -> Option<String> {
    let path = std::env::var("PATH").unwrap_or_default();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cluster/bench.sh");
    let bench = Command::new("bash").arg(script).arg("env").output().ok().filter(|o| o.status.success());
    let bench = bench.and_then(|out| {
        let text = String::from_utf8(out.stdout).ok()?;
        let line = text.lines().find_map(|l| l.strip_prefix("export PATH="))?;
        Some(line.trim_matches(['\'', '"']).replace("$PATH", &path))
    });
    let works = |path: &String| {
        let mut command = Command::new("kubectl");
        command.args(["version", "--client"]).env("PATH", path).stdout(Stdio::null()).stderr(Stdio::null());
        command.status().is_ok_and(|s| s.success())
    };
    [Some(path.clone()), bench].into_iter().flatten().find(works)
}

impl Kubectl {
    fn new() -> Option<Self> {
        let Some(path) = path_with_kubectl() else {
            assert!(std::env::var_os("CI").is_none(), "CI needs a kubectl on PATH");
            eprintln!("skipped: there is no kubectl; put one on PATH, or: tests/cluster/bench.sh build api");
            return None;
        };
        let scratch = Scratch::new();
        let process = Process::start(&scratch.0.join("data"), &["--no-controller"]);
        Some(Self { path, home: scratch.0.clone(), process, _scratch: scratch })
    }

    fn run(&self, args: &[&str], input: &str) -> (bool, String) {
        let mut child = Command::new("timeout")
            .args(["30", "kubectl"])
            .args(args)
            .env("PATH", &self.path)
            .env("HOME", &self.home)
            .env("KUBECONFIG", self.process.kubeconfig())
            .env("KUBE_EDITOR", "sed -i /suspend/s/false/true/")
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
        let out = child.wait_with_output().unwrap();
        let text = [out.stdout, out.stderr].concat();
        (out.status.success(), String::from_utf8_lossy(&text).into_owned())
    }

    /// Runs it; it has to succeed.
    fn ok(&self, line: &str) -> String {
        let (good, text) = self.run(&line.split(' ').collect::<Vec<_>>(), "");
        assert!(good, "kubectl {line}: {text}");
        text
    }

    /// Runs it; it has to fail.
    fn fails(&self, line: &str) -> String {
        let (good, text) = self.run(&line.split(' ').collect::<Vec<_>>(), "");
        assert!(!good, "kubectl {line}: {text}");
        text
    }

    fn apply(&self, yaml: &str) -> String {
        let (good, text) = self.run(&["apply", "-f", "-"], yaml);
        assert!(good, "{text}");
        text
    }
}

fn says(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "{part:?} is not in:\n{text}");
    }
}

#[test]
fn the_kinds_are_found_by_all_their_names_and_explained() {
    let Some(k) = Kubectl::new() else { return };
    says(&k.ok("api-versions"), &["ratchet.dev/v1alpha1\n", "apps/v1\n", "v1\n"]);
    let kinds = k.ok("api-resources --categories=ratchet");
    says(&kinds, &["dataoperations", "dop", "dataloads", "dl", "cacheclusters", "cc", "targetlocks", "tl"]);
    says(&k.ok("version"), &["Server Version: v1.36"]);
    says(&k.ok("cluster-info"), &["is running at"]);
    says(&k.ok("explain dataload.spec.paths"), &["FIELD: paths <[]string>", "Absolute paths"]);
    says(&k.ok("explain dop.spec.operation --recursive"), &["free\t<Object>", "load\t<Object>"]);
    says(&k.fails("explain dl.spec.nothing"), &["field \"nothing\" does not exist"]);
    for name in ["dop", "dl", "tl", "oj", "dataload", "dataloads.ratchet.dev"] {
        says(&k.ok(&format!("get {name}")), &["No resources found"]);
    }
    for name in ["cc", "cacheclusters", "ratchet"] {
        says(&k.ok(&format!("get {name}")), &["NAME", "ENGINE", "local", "Local"]);
    }
}

#[test]
fn who_one_is_and_may_is_answered() {
    let Some(k) = Kubectl::new() else { return };
    says(&k.ok("auth whoami"), &["Username", "dev"]);
    says(&k.ok("auth can-i create dop"), &["yes"]);
    says(&k.ok("--as bob auth whoami"), &["bob"]);
}

#[test]
fn the_examples_are_applied_changed_and_deleted() {
    let Some(k) = Kubectl::new() else { return };
    says(&k.ok("apply --dry-run=server -f crds/examples/dataload.yaml"), &["created (server dry run)"]);
    says(&k.ok("get dl"), &["No resources found"]);
    says(&k.ok("create -f crds/examples/dataload.yaml"), &["dataload.ratchet.dev/warm-data created"]);
    says(&k.fails("create -f crds/examples/dataload.yaml"), &["AlreadyExists", "already exists"]);
    k.ok("delete dl warm-data");
    let first = k.ok("apply -f crds/examples");
    says(&first, &["cachecluster.ratchet.dev/alluxio created", "dataload.ratchet.dev/warm-data created"]);
    let second = k.ok("apply -f crds/examples");
    says(&second, &["alluxio unchanged", "warm-data unchanged", "free-old unchanged"]);
    let yaml = std::fs::read_to_string("crds/examples/dataload.yaml").unwrap();
    let labelled = yaml.replace("  name: warm-data", "  name: warm-data\n  labels: {team: a}");
    says(&k.apply(&labelled), &["warm-data configured"]);
    let (good, text) = k.run(&["apply", "-f", "-"], &yaml.replace("100", "90"));
    assert!(!good);
    says(
        &text,
        &["The DataLoad \"warm-data\" is invalid", "a DataLoad cannot be changed; create another one"],
    );
    says(&k.ok("edit dop free-old"), &["dataoperation.ratchet.dev/free-old edited"]);
    assert_eq!(k.ok("get dop free-old -o jsonpath={.spec.control.suspend}"), "true");
    says(&k.ok("diff -f crds/examples/dataoperation.yaml"), &[]);
    says(&k.fails("apply --server-side -f crds/examples"), &["not in dev: server-side apply"]);
    says(&k.ok("delete -f crds/examples"), &["dataload.ratchet.dev \"warm-data\" deleted"]);
    says(&k.ok("get dl,dop"), &["No resources found"]);
}

#[test]
fn objects_are_patched_labelled_and_found() {
    let Some(k) = Kubectl::new() else { return };
    k.ok("apply -f crds/examples");
    says(&k.ok("label dl warm-data team=a"), &["warm-data labeled"]);
    says(&k.ok("annotate dl warm-data note=b"), &["warm-data annotated"]);
    says(&k.ok("get dl -l team=a -o name"), &["dataload.ratchet.dev/warm-data"]);
    says(&k.ok("get dl -l team!=a"), &["No resources found"]);
    says(&k.ok("get dop --field-selector spec.target=alluxio -o name"), &["free-old"]);
    says(&k.ok("get dop --field-selector spec.target=other"), &["No resources found"]);
    says(&k.fails("get dop --field-selector spec.other=x"), &["field label not supported"]);
    let patch = "patch dop free-old --type=merge -p {\"spec\":{\"control\":{\"suspend\":true}}}";
    says(&k.ok(patch), &["free-old patched"]);
    let columns = "get dop -o custom-columns=NAME:.metadata.name,S:.spec.control.suspend";
    says(&k.ok(columns), &["free-old", "true"]);
    let patch = "[{\"op\":\"replace\",\"path\":\"/spec/control/suspend\",\"value\":false}]";
    says(&k.ok(&format!("patch dop free-old --type=json -p {patch}")), &["free-old patched"]);
    says(&k.ok(columns), &["free-old", "false"]);
    says(&k.ok("get dl -A"), &["NAMESPACE", "default"]);
    says(&k.ok("get ratchet -A --show-labels"), &["LABELS", "team=a"]);
    says(&k.ok("get dl --sort-by=.spec.target -o wide"), &["warm-data"]);
    let list: Value = serde_json::from_str(&k.ok("get dl,dop -o json")).unwrap();
    assert_eq!(list["items"].as_array().unwrap().len(), 6);
    says(&k.ok("describe dl warm-data"), &["Name:", "warm-data", "Stall Deadline Seconds:", "Events:"]);
    says(&k.ok("describe dop free-old"), &["API Version:  ratchet.dev/v1alpha1"]);
    says(&k.ok("describe cc"), &["alluxio"]);
    says(&k.ok("wait dl warm-data --for=jsonpath={.spec.target}=alluxio"), &["condition met"]);
    says(&k.fails("wait dl warm-data --for=condition=Finished --timeout=1s"), &["timed out"]);
}

#[test]
fn what_is_wrong_is_said_as_the_real_server_says_it() {
    let Some(k) = Kubectl::new() else { return };
    let yaml =
        std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("crds/examples/dataload.yaml"));
    let yaml = yaml.unwrap();
    let (good, text) = k.run(&["apply", "-f", "-"], &yaml.replace("stallDeadlineSeconds", "stallDedline"));
    assert!(!good);
    says(&text, &["strict decoding error", "unknown field \"spec.stallDedline\""]);
    let (good, text) = k.run(&["apply", "-f", "-"], &yaml.replace("100", "many"));
    assert!(!good);
    says(&text, &["is invalid", "spec.minCachedPercent"]);
    says(
        &k.fails("get dl nothing"),
        &["Error from server (NotFound): dataloads.ratchet.dev \"nothing\" not found"],
    );
    says(&k.fails("get nothing"), &["the server doesn't have a resource type \"nothing\""]);
    k.apply(&yaml);
    let status = "patch dl warm-data --subresource=status --type=merge -p {\"status\":\
                  {\"phase\":\"Succeeded\",\"operation\":\"\",\"progress\":\"\",\"reason\":\"\",\"step\":\"\"}}";
    says(&k.fails(status), &["only the Ratchet controller writes status"]);
}

#[test]
fn kinds_of_kubernetes_itself_are_kept() {
    let Some(k) = Kubectl::new() else { return };
    says(&k.ok("create configmap c --from-literal=x=y"), &["configmap/c created"]);
    says(&k.ok("get cm c"), &["NAME   DATA   AGE", "c      1"]);
    k.apply("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: d}\ndata: {a: b}\n---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: e}\n");
    let changed = k.apply("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: d}\ndata: {c: d}\n");
    says(&changed, &["configmap/d configured"]);
    assert_eq!(k.ok("get cm d -o jsonpath={.data}"), "{\"c\":\"d\"}");
    says(&k.ok("create namespace team"), &["namespace/team created"]);
    says(&k.ok("get ns"), &["NAME", "STATUS", "AGE", "team", "Active"]);
    says(&k.ok("create configmap c -n team --from-literal=x=y"), &["created"]);
    says(&k.fails("create configmap c -n nowhere --from-literal=x=y"), &["namespaces \"nowhere\" not found"]);
    says(&k.ok("delete namespace team"), &["namespace \"team\" deleted"]);
    says(&k.ok("get cm -A"), &["default"]);
    assert!(!k.ok("get cm -A").contains("team"));
    says(&k.ok("get events"), &["No resources found"]);
    says(&k.ok("get pods,sts,jobs"), &["No resources found"]);
    says(&k.fails("create deployment x --image=y"), &["not in dev"]);
}
