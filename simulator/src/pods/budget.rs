//! PodDisruptionBudgets: how many pods may be evicted now. The server takes one off with each eviction; here it is
//! counted anew.

use super::act::{Act, Table};
use super::look::{self, World};
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// Counts each budget.
pub(super) fn step(world: &World, acts: &mut Vec<Act>) {
    for budget in &world.budgets {
        let covered: Vec<&Value> = world
            .pods
            .iter()
            .map(AsRef::as_ref)
            .filter(|pod| look::namespace(pod) == look::namespace(budget))
            .filter(|pod| selects(&budget["spec"]["selector"], &pod["metadata"]["labels"]))
            .filter(|pod| !matches!(look::phase(pod), "Succeeded" | "Failed"))
            .collect();
        let healthy = covered.iter().filter(|pod| look::ready(pod) && !look::terminating(pod)).count();
        let healthy = i64::try_from(healthy).unwrap_or(i64::MAX);
        let (expected, desired) = expectation(world, &budget["spec"], &covered);
        let allowed = if expected > 0 { (healthy - desired).max(0) } else { 0 };
        let status = json!({
            "observedGeneration": budget["metadata"]["generation"].as_i64().unwrap_or(0),
            "expectedPods": expected,
            "currentHealthy": healthy,
            "desiredHealthy": desired,
            "disruptionsAllowed": allowed,
        });
        if !look::holds(&budget["status"], &status) {
            acts.push(Act::Status {
                table: Table::Budgets,
                namespace: look::namespace(budget).into(),
                name: look::name(budget).into(),
                uid: look::uid(budget).into(),
                status,
            });
        }
    }
}

/// How many pods there should be, and how many of them have to be healthy.
fn expectation(world: &World, spec: &Value, covered: &[&Value]) -> (i64, i64) {
    if let Some(least) = spec["minAvailable"].as_i64() {
        return (i64::try_from(covered.len()).unwrap_or(i64::MAX), least);
    }
    let owners: BTreeSet<&str> = covered.iter().filter_map(|pod| look::controller(pod)).collect();
    let wanted = |uid: &str| {
        let set = world.sets.iter().find(|s| look::uid(s) == uid)?;
        Some(set["spec"]["replicas"].as_i64().unwrap_or(1))
    };
    let expected: i64 = owners.into_iter().filter_map(wanted).sum();
    let desired = match (portion(&spec["minAvailable"], expected), portion(&spec["maxUnavailable"], expected))
    {
        (Some(least), _) => least,
        (None, Some(most)) => (expected - most).max(0),
        // A budget that says nothing allows nothing.
        (None, None) => expected,
    };
    (expected, desired)
}

/// A number, or a percentage of `whole`, rounded up.
fn portion(value: &Value, whole: i64) -> Option<i64> {
    if let Some(number) = value.as_i64() {
        return Some(number);
    }
    let percent: i64 = value.as_str()?.strip_suffix('%')?.parse().ok()?;
    Some(whole.saturating_mul(percent).saturating_add(99) / 100)
}

/// Whether a label selector selects these labels. An empty one selects everything.
fn selects(selector: &Value, labels: &Value) -> bool {
    let exact = selector["matchLabels"].as_object().into_iter().flatten();
    let mut expressions = selector["matchExpressions"].as_array().into_iter().flatten();
    exact.into_iter().all(|(label, value)| labels[label.as_str()] == *value)
        && expressions.all(|e| {
            let label = e["key"].as_str().unwrap_or_default();
            let named = || e["values"].as_array().is_some_and(|v| v.contains(&labels[label]));
            match e["operator"].as_str() {
                Some("In") => named(),
                Some("NotIn") => !named(),
                Some("Exists") => !labels[label].is_null(),
                Some("DoesNotExist") => labels[label].is_null(),
                _ => false,
            }
        })
}
