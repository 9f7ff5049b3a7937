//! What the controllers do to the cluster: four kinds of writes, each harmless when it is refused, because the next
//! step decides anew.

use crate::api::{Reply, Request, Server, User};
use bytes::Bytes;
use http::Method;
use serde_json::{Value, json};
use std::sync::Arc;

/// Where an object is: `/api/v1/namespaces/ns/pods`, `/apis/apps/v1/...`, without its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Table {
    Pods,
    Claims,
    Sets,
    Revisions,
    Jobs,
    Budgets,
}

impl Table {
    pub const fn plural(self) -> &'static str {
        match self {
            Self::Pods => "pods",
            Self::Claims => "persistentvolumeclaims",
            Self::Sets => "statefulsets",
            Self::Revisions => "controllerrevisions",
            Self::Jobs => "jobs",
            Self::Budgets => "poddisruptionbudgets",
        }
    }

    fn uri(self, namespace: &str) -> String {
        let group = match self {
            Self::Pods | Self::Claims => "api/v1",
            Self::Sets | Self::Revisions => "apis/apps/v1",
            Self::Jobs => "apis/batch/v1",
            Self::Budgets => "apis/policy/v1",
        };
        format!("/{group}/namespaces/{namespace}/{}", self.plural())
    }
}

/// One write.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Act {
    Create {
        table: Table,
        namespace: String,
        object: Value,
    },
    /// Sets fields of the status of the object with this uid.
    Status {
        table: Table,
        namespace: String,
        name: String,
        uid: String,
        status: Value,
    },
    /// Gives the pod with this uid a node. (The real scheduler posts a binding; this server has no such resource.)
    Bind {
        namespace: String,
        name: String,
        uid: String,
        node: &'static str,
    },
    /// Deletes the object with this uid: at once, or with its grace period.
    Delete {
        table: Table,
        namespace: String,
        name: String,
        uid: String,
        at_once: bool,
    },
}

/// What the runtime needs of a server.
pub(super) trait Cluster {
    fn objects(&self, table: Table) -> Vec<Arc<Value>>;
    /// Whether it was done.
    fn act(&self, act: &Act) -> bool;
}

impl Cluster for Server {
    fn objects(&self, table: Table) -> Vec<Arc<Value>> {
        Self::objects(self, table.plural())
    }

    fn act(&self, act: &Act) -> bool {
        let (method, uri, type_, body) = match act {
            Act::Create { table, namespace, object } => {
                (Method::POST, table.uri(namespace), "application/json", object.clone())
            }
            Act::Status { table, namespace, name, uid, status } => {
                let body = json!({"metadata": {"uid": uid}, "status": status});
                let uri = format!("{}/{name}/status", table.uri(namespace));
                (Method::PATCH, uri, "application/merge-patch+json", body)
            }
            Act::Bind { namespace, name, uid, node } => {
                let body = json!({"metadata": {"uid": uid}, "spec": {"nodeName": node}});
                let uri = format!("{}/{name}", Table::Pods.uri(namespace));
                (Method::PATCH, uri, "application/merge-patch+json", body)
            }
            Act::Delete { table, namespace, name, uid, at_once } => {
                let mut body = json!({
                    "apiVersion": "v1", "kind": "DeleteOptions",
                    "preconditions": {"uid": uid}, "propagationPolicy": "Background",
                });
                if let (true, Some(body)) = (*at_once, body.as_object_mut()) {
                    body.insert("gracePeriodSeconds".into(), 0.into());
                }
                (Method::DELETE, format!("{}/{name}", table.uri(namespace)), "application/json", body)
            }
        };
        let request = Request {
            method,
            uri,
            content_type: type_.into(),
            accept: "application/json".into(),
            body: Bytes::from(body.to_string()),
            user: User {
                name: "system:kube-controller-manager".into(),
                groups: vec!["system:masters".into(), "system:authenticated".into()],
            },
        };
        match self.call(&request) {
            Reply::Whole(response) => (200..300).contains(&response.code),
            Reply::Watch(_) => false,
        }
    }
}
