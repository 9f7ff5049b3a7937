//! Evictions: a deletion that asks the PodDisruptionBudgets first.
//!
//! The real server reads the budget's status, which a controller keeps. Here the budget is counted when it is asked,
//! from the pods that are there: nothing can be stale, and no controller has to run.

use super::call::Call;
use super::failure::{self, Answer, Failure};
use super::route::Target;
use super::selector::Selector;
use super::store::{Entry, State};
use super::{Response, delete, meta};
use serde_json::{Value, json};
use std::sync::Arc;

const BUDGETS: &str = "poddisruptionbudgets.policy";

impl State {
    /// POST to `pods/NAME/eviction`.
    pub(crate) fn evict(&mut self, call: &mut Call<'_>, target: &Target) -> Answer<Response> {
        call.write_options("CreateOptions")?;
        let name = target.name.clone().unwrap_or_default();
        let body: Value = serde_json::from_slice(&call.request.body)
            .map_err(|e| Failure::bad_request(super::write::syntax(&e, &call.request.body)))?;
        if meta::name(&body) != name {
            return Err(Failure::bad_request("name in URL does not match name in Eviction object"));
        }
        let options = delete::from_body(&body["deleteOptions"])?;
        let key = meta::key(&target.namespace, &name);
        let pod =
            self.get(&target.table, &key).cloned().ok_or_else(|| Failure::not_found(&target.kind, &name))?;
        let phase = pod.value["status"]["phase"].as_str().unwrap_or_default();
        let asks = !matches!(phase, "Pending" | "Succeeded" | "Failed") && !meta::deleting(&pod.value);
        if asks {
            self.budget(&target.namespace, &pod.value)?;
        }
        let whole = Target { sub: String::new(), ..target.clone() };
        self.delete_one(call, &whole, &name, &options)?;
        let status =
            json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201});
        Ok(failure::whole(201, failure::line(&status)))
    }

    /// Whether the budgets of a pod allow its eviction.
    fn budget(&self, namespace: &str, pod: &Value) -> Answer<()> {
        let prefix = format!("{namespace}/");
        let budgets: Vec<&Arc<Entry>> = self
            .range_at(BUDGETS, &prefix, None)
            .into_iter()
            .map(|(_, budget)| budget)
            .filter(|b| Selector::of(&b.value["spec"]["selector"]).matches(pod))
            .collect();
        let budget = match budgets.as_slice() {
            [] => return Ok(()),
            [one] => &one.value,
            _ => {
                let message = "This pod has more than one PodDisruptionBudget, which the eviction subresource does not \
                               support.";
                return Err(Failure::internal(message));
            }
        };
        let selector = Selector::of(&budget["spec"]["selector"]);
        let pods: Vec<&Value> = self
            .range_at("pods", &prefix, None)
            .into_iter()
            .map(|(_, entry)| &*entry.value)
            .filter(|p| selector.matches(p))
            .collect();
        let expected = self.expected(namespace, &pods);
        let healthy =
            i64::try_from(pods.iter().filter(|p| ready(p) && !meta::deleting(p)).count()).unwrap_or(i64::MAX);
        let desired = match (&budget["spec"]["minAvailable"], &budget["spec"]["maxUnavailable"]) {
            (Value::Null, Value::Null) => 0,
            (Value::Null, most) => (expected - amount(most, expected)).max(0),
            (least, _) => amount(least, expected),
        };
        // A pod that is not healthy costs the budget nothing while the others are enough.
        if healthy > desired || (!ready(pod) && healthy >= desired) {
            return Ok(());
        }
        let name = meta::name(budget);
        let message =
            format!("The disruption budget {name} needs {desired} healthy pods and has {healthy} currently");
        let details = json!({"causes": [{"reason": "DisruptionBudget", "message": message}]});
        let message = "Cannot evict pod as it would violate the pod's disruption budget.";
        Err(Failure::new(429, "TooManyRequests", message, Some(details)))
    }

    /// How many pods there should be: what their StatefulSets and Deployments ask for, or how many there are.
    fn expected(&self, namespace: &str, pods: &[&Value]) -> i64 {
        let mut seen: Vec<&str> = Vec::new();
        let mut total = 0;
        for pod in pods {
            let controller = meta::list(pod, "ownerReferences").iter().find(|o| o["controller"] == true);
            let set = controller.and_then(|owner| {
                let text = |field: &str| owner[field].as_str().unwrap_or_default();
                let (table, _) = self.find(text("apiVersion"), text("kind"))?;
                let entry = self.get(table, &meta::key(namespace, text("name")))?;
                entry.value["spec"]["replicas"].as_i64().map(|n| (meta::uid(&entry.value), n))
            });
            match set {
                Some((uid, _)) if seen.contains(&uid) => {}
                Some((uid, replicas)) => {
                    seen.push(uid);
                    total += replicas;
                }
                None => total += 1,
            }
        }
        total
    }
}

/// A number, or a percentage that is rounded up.
fn amount(value: &Value, of: i64) -> i64 {
    match value {
        Value::Number(n) => n.as_i64().unwrap_or_default(),
        Value::String(text) => {
            let percent: i64 = text.trim_end_matches('%').parse().unwrap_or_default();
            (percent * of + 99) / 100
        }
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => 0,
    }
}

fn ready(pod: &Value) -> bool {
    let conditions = pod["status"]["conditions"].as_array();
    conditions.into_iter().flatten().any(|c| c["type"] == "Ready" && c["status"] == "True")
}
