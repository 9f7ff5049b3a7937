use super::*;

fn allowed(budget: Value, unready: &[&str]) -> [i64; 4] {
    let (mut runtime, fake) = (runtime(0), Fake::default());
    let template = json!({"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "c"}]}});
    fake.create(
        Table::Sets,
        json!({
            "metadata": {"name": "web"},
            "spec": {"replicas": 3, "podManagementPolicy": "Parallel", "template": template},
        }),
    );
    let mut object = json!({
        "metadata": {"name": "budget"},
        "spec": {"selector": {"matchLabels": {"app": "web"}}},
    });
    merge(&mut object["spec"], &budget);
    fake.create(Table::Budgets, object);
    for pod in unready {
        runtime.set_unready(pod, true);
    }
    for now in [0, 1_000] {
        settle(&mut runtime, &fake, now);
    }
    let status = fake.get(Table::Budgets, "budget")["status"].clone();
    ["expectedPods", "currentHealthy", "desiredHealthy", "disruptionsAllowed"]
        .map(|f| status[f].as_i64().unwrap_or(-1))
}

#[test]
fn a_budget_counts_what_is_healthy_against_what_it_wants() {
    assert_eq!(allowed(json!({"maxUnavailable": 1}), &[]), [3, 3, 2, 1]);
    assert_eq!(allowed(json!({"maxUnavailable": 1}), &["ns/web-1"]), [3, 2, 2, 0]);
    assert_eq!(allowed(json!({"minAvailable": 1}), &[]), [3, 3, 1, 2]);
    assert_eq!(allowed(json!({"minAvailable": "50%"}), &[]), [3, 3, 2, 1]);
    assert_eq!(allowed(json!({"maxUnavailable": "40%"}), &["ns/web-0"]), [3, 2, 1, 1]);
    let other = json!({"maxUnavailable": 1, "selector": {"matchLabels": {"app": "other"}}});
    assert_eq!(allowed(other, &[]), [0, 0, 0, 0]);
}
