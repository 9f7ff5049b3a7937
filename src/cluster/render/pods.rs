//! The pods of a managed cache. They answer to what the image `alluxio/alluxio` answers to: `/entrypoint.sh ROLE`, the
//! settings in /opt/alluxio/conf, Java options in the environment (docker image of 2.9).

use super::merge::lay_over;
use super::properties;
use super::{
    COMPONENT, INSTANCE, JOB_MASTER_RPC, JOB_MASTER_WEB, JOB_WORKER_RPC, JOB_WORKER_WEB, Kind,
    MASTER_JOURNAL, MASTER_RPC, MASTER_WEB, Object, PROXY, RenderError, Renderer, WORKER_RPC, WORKER_WEB,
};
use crate::api::managed::{Medium, Pods, Volume};
use serde_json::{Value, json};

/// Where masters keep their journal.
pub const JOURNAL: &str = "/journal";
/// Where root storage is mounted that has no address of its own.
pub const ROOT: &str = "/under-storage";
/// Label of a worker: its number.
pub const WORKER: &str = "ratchet.dev/worker";
/// The container that Ratchet makes.
pub const CONTAINER: &str = "alluxio";

/// Where a tier of a worker is mounted.
pub fn tier(level: usize) -> String {
    format!("/cache/{level}")
}

/// Formats a journal once in its life. What was formatted, or came with something in it, is left as it is: a journal is
/// all that the cache knows. The first marker tells a formatting that was torn off, before anything was served, from a
/// journal that came with the volume. A cache that has a journal elsewhere does not get an empty one: nobody would find
/// what the other one knows.
const FORMAT_ONCE: &str = r#"set -eu
cd /journal
[ ! -e .formatted ] || exit 0
if [ ! -e .formatting ] && [ -n "$(ls -A data 2>/dev/null)" ]; then
  touch .formatted
  exit 0
fi
if [ ! -e .formatting ] && [ -n "${KNOWN_CACHE:-}" ] && [ ! -e .format-anew ]; then
  echo "the journal of cache $KNOWN_CACHE is not here: bring its volume or directory back;" \
    "to give up what it knew, create .format-anew beside where it was" >&2
  exit 1
fi
touch .formatting
/opt/alluxio/bin/alluxio formatJournal
touch .formatted
sync
rm .formatting
"#;

/// A looked-up name is forgotten in time: a pod that comes back has another address.
const LOOK_UP_AGAIN: &str =
    "-Dsun.net.inetaddr.ttl=1 -Dsun.net.inetaddr.negative.ttl=0 -Dnetworkaddress.cache.ttl=0";

/// What a pod does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// A master.
    Master,
    /// The job master.
    JobMaster,
    /// The worker of this number.
    Worker(i32),
    /// A job worker.
    JobWorker,
    /// A proxy.
    Proxy,
}

impl Role {
    const fn component(self) -> &'static str {
        match self {
            Self::Master => "master",
            Self::JobMaster => "job-master",
            Self::Worker(_) => "worker",
            Self::JobWorker => "job-worker",
            Self::Proxy => "proxy",
        }
    }

    const fn args(self) -> &'static [&'static str] {
        match self {
            // Without this the image formats, at every start.
            Self::Master => &["master-only", "--no-format"],
            Self::JobMaster => &["job-master"],
            Self::Worker(_) => &["worker-only", "--no-format"],
            Self::JobWorker => &["job-worker"],
            Self::Proxy => &["proxy"],
        }
    }

    const fn ports(self) -> &'static [(&'static str, i32)] {
        match self {
            Self::Master => &[("rpc", MASTER_RPC), ("web", MASTER_WEB), ("journal", MASTER_JOURNAL)],
            Self::JobMaster => &[("rpc", JOB_MASTER_RPC), ("web", JOB_MASTER_WEB)],
            Self::Worker(_) => &[("rpc", WORKER_RPC), ("web", WORKER_WEB)],
            Self::JobWorker => &[("rpc", JOB_WORKER_RPC), ("web", JOB_WORKER_WEB)],
            Self::Proxy => &[("s3", PROXY)],
        }
    }

    /// The variable with the Java options of this server alone.
    const fn options_variable(self) -> &'static str {
        match self {
            Self::Master => "ALLUXIO_MASTER_JAVA_OPTS",
            Self::JobMaster => "ALLUXIO_JOB_MASTER_JAVA_OPTS",
            Self::Worker(_) => "ALLUXIO_WORKER_JAVA_OPTS",
            Self::JobWorker => "ALLUXIO_JOB_WORKER_JAVA_OPTS",
            Self::Proxy => "ALLUXIO_PROXY_JAVA_OPTS",
        }
    }
}

/// Volumes of a pod, where they are mounted, and claims that are made for it.
#[derive(Default)]
struct Storage {
    volumes: Vec<Value>,
    mounts: Vec<Value>,
    claims: Vec<Value>,
}

impl Storage {
    fn add(&mut self, labels: &Value, name: &str, at: &str, of: &Volume, memory: Option<&str>) {
        let mut mount = json!({"name": name, "mountPath": at});
        if let Some(path) = &of.host_path {
            // Each member has a folder of its own, also when two of whatever cache are on one node.
            mount["subPathExpr"] = json!("$(POD_NAMESPACE)/$(POD_NAME)");
            self.volumes.push(json!({"name": name, "hostPath": {"path": path, "type": "DirectoryOrCreate"}}));
        } else if let Some(claim) = &of.volume_claim {
            let mut spec = json!({
                "accessModes": ["ReadWriteOnce"],
                "resources": {"requests": {"storage": claim.size}},
            });
            if let Some(class) = &claim.storage_class_name {
                spec["storageClassName"] = json!(class);
            }
            self.claims.push(json!({"metadata": {"name": name, "labels": labels}, "spec": spec}));
        } else {
            let medium =
                memory.map_or_else(|| json!({}), |size| json!({"medium": "Memory", "sizeLimit": size}));
            self.volumes.push(json!({"name": name, "emptyDir": medium}));
        }
        self.mounts.push(mount);
    }
}

impl Renderer<'_> {
    fn pods(&self, role: Role) -> &Pods {
        match role {
            Role::Master => &self.managed.masters.pods,
            Role::Worker(_) => &self.managed.workers.pods,
            Role::JobMaster | Role::JobWorker => &self.managed.jobs.pods,
            Role::Proxy => &self.managed.proxies.pods,
        }
    }

    fn storage(&self, role: Role) -> Storage {
        let mut all = Storage::default();
        all.volumes.push(json!({"name": "config", "configMap": {"name": self.config}}));
        // One file: the image writes beside it.
        let file = properties::FILE;
        let at = format!("/opt/alluxio/conf/{file}");
        all.mounts.push(json!({"name": "config", "mountPath": at, "subPath": file, "readOnly": true}));
        let root = &self.managed.root_storage;
        let root = match (&root.host_path, &root.claim_name) {
            (Some(path), _) => Some(json!({"hostPath": {"path": path, "type": "Directory"}})),
            (None, Some(claim)) => Some(json!({"persistentVolumeClaim": {"claimName": claim}})),
            (None, None) => None,
        };
        if let Some(mut volume) = root {
            volume["name"] = json!("root");
            all.volumes.push(volume);
            all.mounts.push(json!({"name": "root", "mountPath": super::root_uri(self.managed)}));
        }
        let labels = self.labels(Some(role.component()));
        match role {
            Role::Master => all.add(&labels, "journal", JOURNAL, &self.managed.masters.journal, None),
            // It keeps nothing that outlives its jobs.
            Role::JobMaster => all.add(&labels, "journal", JOURNAL, &Volume::default(), None),
            Role::Worker(_) => {
                for (level, one) in self.managed.workers.tiers.iter().enumerate() {
                    let memory = (one.medium == Medium::Mem).then_some(one.size.as_str());
                    all.add(&labels, &format!("tier-{level}"), &tier(level), &one.volume, memory);
                }
            }
            Role::JobWorker | Role::Proxy => {}
        }
        all
    }

    fn environment(&self, role: Role) -> Vec<Value> {
        let own =
            format!("$(POD_NAME).{}-{}.{}.svc", self.owner.name, role.component(), self.owner.namespace);
        let name = match role {
            Role::Master => format!("-Dalluxio.master.hostname={own}"),
            Role::JobMaster => {
                format!("-Dalluxio.master.journal.type=UFS -Dalluxio.master.journal.folder={JOURNAL}/jobs")
            }
            Role::Worker(_) => format!("-Dalluxio.worker.hostname={own}"),
            Role::Proxy => String::new(),
            Role::JobWorker => format!("-Dalluxio.job.worker.hostname={own} -Dalluxio.worker.hostname={own}"),
        };
        let field = |path: &str| json!({"fieldRef": {"fieldPath": path}});
        let mut all = vec![
            json!({"name": "POD_NAME", "valueFrom": field("metadata.name")}),
            json!({"name": "POD_NAMESPACE", "valueFrom": field("metadata.namespace")}),
        ];
        let mut options =
            self.pods(role).java_options.clone().unwrap_or_else(|| "-XX:MaxRAMPercentage=50".into());
        if role == Role::Master {
            for (i, option) in self.managed.root_storage.options.iter().enumerate() {
                if let Some(from) = &option.value_from {
                    let variable = format!("RATCHET_ROOT_OPTION_{i}");
                    let key = &from.secret_key_ref;
                    let from = json!({"secretKeyRef": {"name": key.name, "key": key.key}});
                    all.push(json!({"name": variable, "valueFrom": from}));
                    let setting = format!("alluxio.master.mount.table.root.option.{}", option.name);
                    options.push_str(&format!(" -D{setting}=$({variable})"));
                }
            }
        }
        all.push(json!({"name": "ALLUXIO_JAVA_OPTS", "value": format!("{LOOK_UP_AGAIN} {name}")}));
        all.push(json!({"name": role.options_variable(), "value": options}));
        all
    }

    /// With the cache that the journal is of, once that is known: it is read when a pod starts, so that no template has to
    /// change for it. A journal in the pod is lost with the pod, as its owner chose.
    fn environment_of_format(&self) -> Vec<Value> {
        let mut all = self.environment(Role::Master);
        if self.managed.masters.journal.survives() != "Never" {
            let key = json!({"name": super::known_name(self.owner), "key": super::KNOWN, "optional": true});
            all.push(json!({"name": "KNOWN_CACHE", "valueFrom": {"configMapKeyRef": key}}));
        }
        all
    }

    fn template(&self, role: Role, storage: &Storage) -> Value {
        let image = format!(
            "{}:{}",
            self.managed.image.repository,
            self.managed.image.tag.as_ref().unwrap_or(&self.managed.version)
        );
        let policy = format!("{:?}", self.managed.image.pull_policy);
        let confined = json!({"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}});
        let ports: Vec<Value> =
            role.ports().iter().map(|(n, p)| json!({"name": n, "containerPort": p})).collect();
        let mut container = json!({
            "name": CONTAINER,
            "image": image,
            "imagePullPolicy": policy,
            "command": ["/entrypoint.sh"],
            "args": role.args(),
            "env": self.environment(role),
            "ports": ports,
            // The open port is all that a standby master has.
            "readinessProbe": {"tcpSocket": {"port": role.ports()[0].0}, "periodSeconds": 2, "failureThreshold": 3},
            "securityContext": confined,
            "volumeMounts": storage.mounts,
        });
        let pods = self.pods(role);
        if !pods.resources.is_null() {
            container["resources"] = pods.resources.clone();
        }
        let mut spec = json!({
            "automountServiceAccountToken": false,
            "enableServiceLinks": false,
            "terminationGracePeriodSeconds": 30,
            "securityContext": {
                "runAsNonRoot": true, "runAsUser": 1000, "runAsGroup": 1000, "fsGroup": 1000,
                "fsGroupChangePolicy": "OnRootMismatch", "seccompProfile": {"type": "RuntimeDefault"},
            },
            "volumes": storage.volumes,
        });
        if role == Role::Master {
            spec["initContainers"] = json!([{
                "name": "format-journal-once",
                "image": image,
                "imagePullPolicy": policy,
                "command": ["/bin/sh", "-c", FORMAT_ONCE],
                "env": self.environment_of_format(),
                "terminationMessagePolicy": "FallbackToLogsOnError",
                "securityContext": confined,
                "volumeMounts": storage.mounts,
            }]);
        }
        spec["containers"] = json!([container]);
        if matches!(role, Role::Master | Role::Worker(_)) {
            let apart = json!({"weight": 100, "podAffinityTerm": {
                "topologyKey": "kubernetes.io/hostname",
                "labelSelector": {"matchLabels": self.selector(role.component())},
            }});
            let preferred = json!({"preferredDuringSchedulingIgnoredDuringExecution": [apart]});
            spec["affinity"] = json!({"podAntiAffinity": preferred});
        }
        if !self.managed.image.pull_secrets.is_empty() {
            let all: Vec<Value> =
                self.managed.image.pull_secrets.iter().map(|n| json!({"name": n})).collect();
            spec["imagePullSecrets"] = json!(all);
        }
        if let Some(account) = &self.managed.service_account_name {
            spec["serviceAccountName"] = json!(account);
        }
        let mut labels = self.labels(Some(role.component()));
        if let Role::Worker(id) = role {
            labels[WORKER] = json!(id.to_string());
        }
        json!({"metadata": {"labels": labels}, "spec": spec})
    }

    /// The StatefulSet of a part.
    pub(super) fn set(&self, role: Role) -> Result<Object, RenderError> {
        let storage = self.storage(role);
        let mut template = self.template(role, &storage);
        let made = template.clone();
        lay_over(&mut template, &self.pods(role).template);
        untouched(role, &made, &template)?;
        let (name, replicas) = match role {
            Role::Master => ("master".to_owned(), self.managed.masters.replicas),
            Role::JobMaster => ("job-master".to_owned(), 1),
            Role::Worker(id) => (format!("worker-{id}"), 1),
            Role::JobWorker => ("job-worker".to_owned(), self.managed.jobs.workers),
            Role::Proxy => ("proxy".to_owned(), self.managed.proxies.replicas),
        };
        let mut selector = self.selector(role.component());
        if let Role::Worker(id) = role {
            selector[WORKER] = json!(id.to_string());
        }
        let mut spec = json!({
            "replicas": replicas,
            "serviceName": format!("{}-{}", self.owner.name, role.component()),
            "podManagementPolicy": "Parallel",
            // Pods are replaced by operations, one after the other, and never because a template changed.
            "updateStrategy": {"type": "OnDelete"},
            "selector": {"matchLabels": selector},
            "template": template,
        });
        if !storage.claims.is_empty() {
            spec["volumeClaimTemplates"] = json!(storage.claims);
            // A StatefulSet that somebody deletes is made anew, and finds what it had.
            spec["persistentVolumeClaimRetentionPolicy"] =
                json!({"whenDeleted": "Retain", "whenScaled": "Retain"});
        }
        let late = matches!(role, Role::Worker(_) | Role::JobWorker | Role::Proxy);
        let name = format!("{}-{name}", self.owner.name);
        Ok(self.object(Kind::StatefulSet, name, late, Some(role.component()), json!({"spec": spec})))
    }
}

/// What a user's template must not change, because everything else is built on it.
fn untouched(role: Role, made: &Value, template: &Value) -> Result<(), RenderError> {
    let container = |t: &Value| {
        let all = t["spec"]["containers"].as_array().cloned().unwrap_or_default();
        all.into_iter().find(|c| c["name"] == CONTAINER).unwrap_or_default()
    };
    let (was, is) = (container(made), container(template));
    let field = ["command", "args", "image"].into_iter().find(|f| was[*f] != is[*f]);
    let labels = |t: &Value| {
        let all = &t["metadata"]["labels"];
        [INSTANCE, COMPONENT, WORKER, super::MANAGED_BY.0].map(|l| all[l].clone())
    };
    let kept = |one: &Value| is["env"].as_array().into_iter().flatten().any(|e| e == one);
    let variable = was["env"].as_array().into_iter().flatten().find(|e| !kept(e));
    let what = match field {
        Some(field) => format!("{field} of the container {CONTAINER}"),
        None if was["ports"] != is["ports"] => format!("the ports of the container {CONTAINER}"),
        None if role == Role::Master
            && made["spec"]["initContainers"][0] != template["spec"]["initContainers"][0] =>
        {
            "the container that formats the journal".into()
        }
        None if variable.is_some() => {
            let name = variable.and_then(|v| v["name"].as_str()).unwrap_or_default();
            format!(
                "the variable {name} of the container {CONTAINER}, which javaOptions and properties are for"
            )
        }
        None if labels(made) != labels(template) => "the labels that Ratchet finds its pods by".into(),
        None => return Ok(()),
    };
    Err(RenderError(format!(
        "pods.template of the {}s changes {what}: remove that from it",
        role.component().replace('-', " ")
    )))
}
