//! The ValidatingAdmissionPolicies: who may do what, where RBAC alone cannot say it. Part of the product from the
//! start, because the state machine trusts that nobody else writes its status.

use super::{CONTROLLER_USER, GROUP, VERSION};
use ratchet_state_machine::operation::ARMS;
use serde_json::{Value, json};

/// Users of the control plane itself, which delete what belongs to a vanished owner or namespace.
const SYSTEM: &str = "request.userInfo.groups.exists(g, g == 'system:serviceaccounts:kube-system') || \
                      request.userInfo.username in ['system:apiserver', 'system:kube-controller-manager']";

/// Every policy with its binding.
#[must_use]
pub fn all() -> Vec<Value> {
    vec![
        policy("ratchet-status", &[&status_rule()], vec![]),
        binding("ratchet-status"),
        policy("ratchet-records", &[&records_rule()], vec![]),
        binding("ratchet-records"),
        operations(),
        binding("ratchet-operations"),
        policy("ratchet-clusters", &[&clusters_rule()], vec![]),
        binding("ratchet-clusters"),
        policy("ratchet-datasets", &[&datasets_rule()], vec![]),
        binding("ratchet-datasets"),
    ]
}

/// What a policy matches and demands.
struct Demand {
    operations: &'static [&'static str],
    resources: &'static [&'static str],
    expression: String,
    message: &'static str,
}

fn status_rule() -> Demand {
    Demand {
        operations: &["UPDATE"],
        resources: &[
            "dataoperations/status",
            "dataloads/status",
            "upgrades/status",
            "cacheclusters/status",
            "datasets/status",
        ],
        expression: format!("request.userInfo.username == '{CONTROLLER_USER}'"),
        message: "only the Ratchet controller writes status; use spec.control to steer an operation",
    }
}

fn records_rule() -> Demand {
    Demand {
        operations: &["CREATE", "UPDATE", "DELETE"],
        resources: &["targetlocks", "operationjournals"],
        // Whatever user the namespace controller acts as: a policy of ours must not keep a namespace in Terminating.
        expression: format!(
            "request.userInfo.username == '{CONTROLLER_USER}' || (request.operation == 'DELETE' && \
             ({SYSTEM} || (namespaceObject != null && has(namespaceObject.metadata.deletionTimestamp))))"
        ),
        message: "only the Ratchet controller writes locks and journals",
    }
}

/// A managed cache becomes pods that its spec describes: whoever asks for one has to be allowed to make them himself.
fn clusters_rule() -> Demand {
    Demand {
        operations: &["CREATE", "UPDATE"],
        resources: &["cacheclusters"],
        expression: format!(
            "request.userInfo.username == '{CONTROLLER_USER}' || !has(object.spec.managed) || (oldObject != null && \
             has(oldObject.spec.managed) && oldObject.spec.managed == object.spec.managed) || \
             authorizer.group('apps').resource('statefulsets').namespace(request.namespace).check('create').allowed()"
        ),
        message: "you need the verb create on statefulsets.apps to declare or change a managed cache: it becomes pods",
    }
}

/// A Dataset may give other namespaces a claim on its volume, where its author could create one himself.
fn datasets_rule() -> Demand {
    let namespaces = |o: &str| format!("has({o}.spec.volume) && has({o}.spec.volume.namespaces)");
    Demand {
        operations: &["CREATE", "UPDATE"],
        resources: &["datasets"],
        expression: format!(
            "request.userInfo.username == '{CONTROLLER_USER}' || !({}) || (oldObject != null && {} && \
             object.spec.volume.namespaces.all(n, n in oldObject.spec.volume.namespaces)) || \
             object.spec.volume.namespaces.all(n, authorizer.group('').resource('persistentvolumeclaims')\
             .namespace(n).check('create').allowed())",
            namespaces("object"),
            namespaces("oldObject")
        ),
        message: "you need the verb create on persistentvolumeclaims in every namespace of volume.namespaces",
    }
}

fn matches(operations: &[&str], resources: &[&str]) -> Value {
    json!({"resourceRules": [{
        "apiGroups": [GROUP],
        "apiVersions": [VERSION],
        "operations": operations,
        "resources": resources,
    }]})
}

fn policy(name: &str, demands: &[&Demand], variables: Vec<Value>) -> Value {
    let Some(first) = demands.first() else { return Value::Null };
    let validations: Vec<Value> = demands
        .iter()
        .map(|d| json!({"expression": d.expression, "message": d.message, "reason": "Forbidden"}))
        .collect();
    json!({
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingAdmissionPolicy",
        "metadata": {"name": name},
        "spec": {
            "failurePolicy": "Fail",
            "matchConstraints": matches(first.operations, first.resources),
            "variables": variables,
            "validations": validations,
        },
    })
}

fn binding(name: &str) -> Value {
    json!({
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingAdmissionPolicyBinding",
        "metadata": {"name": name},
        "spec": {"policyName": name, "validationActions": ["Deny"]},
    })
}

/// Who may create which operation, and who may approve, force and skip.
fn operations() -> Value {
    const ON: (&[&str], &[&str]) = (&["CREATE", "UPDATE"], &["dataoperations"]);
    let mut validations = Vec::new();
    let mut demand = |expression: String, message: String| {
        validations.push(json!({"expression": expression, "message": message, "reason": "Forbidden"}));
    };
    for arm in ARMS {
        let kind = arm.kind;
        demand(
            format!(
                "request.operation != 'CREATE' || variables.controller || !has(object.spec.operation.{kind}) || \
                 authorizer.group('{GROUP}').resource('dataoperations').subresource('{kind}')\
                 .namespace(request.namespace).check('create').allowed()"
            ),
            format!("you need the verb create on dataoperations/{kind} to create this operation"),
        );
    }
    for verb in ["approve", "force", "skip"] {
        let new = format!("has(object.spec.control) && has(object.spec.control.{verb})");
        let old =
            format!("oldObject != null && has(oldObject.spec.control) && has(oldObject.spec.control.{verb})");
        let same = format!("({old} && oldObject.spec.control.{verb} == object.spec.control.{verb})");
        let untouched = format!("!({new}) || {same}");
        demand(
            format!("{untouched} || object.spec.control.{verb}.by == request.userInfo.username"),
            format!("control.{verb}.by has to be your own user name"),
        );
        demand(
            format!(
                "{untouched} || authorizer.group('{GROUP}').resource('dataoperations')\
                 .namespace(request.namespace).name(object.metadata.name).check('{verb}').allowed()"
            ),
            format!("you need the verb {verb} on dataoperations for control.{verb}"),
        );
    }
    json!({
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingAdmissionPolicy",
        "metadata": {"name": "ratchet-operations"},
        "spec": {
            "failurePolicy": "Fail",
            "matchConstraints": matches(ON.0, ON.1),
            "variables": [
                {"name": "controller", "expression": format!("request.userInfo.username == '{CONTROLLER_USER}'")},
            ],
            "validations": validations,
        },
    })
}
