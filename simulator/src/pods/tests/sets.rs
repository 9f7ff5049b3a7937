use super::*;

fn set(replicas: i64, more: Value) -> Value {
    let mut object = json!({
        "apiVersion": "apps/v1", "kind": "StatefulSet",
        "metadata": {"name": "web"},
        "spec": {
            "replicas": replicas,
            "serviceName": "svc",
            "selector": {"matchLabels": {"app": "web"}},
            "template": {
                "metadata": {"labels": {"app": "web"}},
                "spec": {
                    "terminationGracePeriodSeconds": 2,
                    "containers": [{"name": "main", "image": "image:1"}],
                },
            },
        },
    });
    merge(&mut object["spec"], &more);
    object
}

fn ready(replicas: i64, more: Value, lag: i64) -> (Runtime, Fake) {
    let (mut runtime, fake) = (runtime(lag), Fake::default());
    fake.create(Table::Sets, set(replicas, more));
    for second in 0..=(replicas + 2) {
        settle(&mut runtime, &fake, second * 1_000);
    }
    (runtime, fake)
}

fn retag(fake: &Fake, image: &str) {
    fake.edit(Table::Sets, "web", |s| {
        s["spec"]["template"]["spec"]["containers"][0]["image"] = image.into();
        s["metadata"]["generation"] = (s["metadata"]["generation"].as_i64().unwrap_or(0) + 1).into();
    });
}

fn image(fake: &Fake, pod: &str) -> String {
    let pod = fake.get(Table::Pods, pod);
    pod["spec"]["containers"][0]["image"].as_str().unwrap_or_default().to_owned()
}

fn status(fake: &Fake, fields: &[&str]) -> Vec<i64> {
    let set = fake.get(Table::Sets, "web");
    fields.iter().map(|f| set["status"][f].as_i64().unwrap_or(-1)).collect()
}

#[test]
fn pods_come_in_order_each_when_the_one_before_is_ready() {
    let (mut runtime, fake) = (runtime(0), Fake::default());
    fake.create(Table::Sets, set(2, json!({})));
    let mut seen = Vec::new();
    for now in [0, 999, 1_000, 2_000] {
        settle(&mut runtime, &fake, now);
        seen.push(fake.pods().join(" "));
    }
    assert_eq!(seen, ["web-0", "web-0", "web-0+ web-1", "web-0+ web-1+"]);
    assert_eq!(
        status(&fake, &["replicas", "readyReplicas", "updatedReplicas", "observedGeneration"]),
        [2, 2, 2, 1]
    );
    assert_eq!(runtime.due, i64::MAX, "nothing is to be done any more");
}

#[test]
fn pods_come_together_under_the_policy_parallel() {
    let (mut runtime, fake) = (runtime(0), Fake::default());
    fake.create(Table::Sets, set(3, json!({"podManagementPolicy": "Parallel"})));
    settle(&mut runtime, &fake, 0);
    assert_eq!(fake.pods(), ["web-0", "web-1", "web-2"]);
    fake.edit(Table::Sets, "web", |s| {
        s["spec"]["replicas"] = 0.into();
        s["metadata"]["generation"] = 2.into();
    });
    settle(&mut runtime, &fake, 1);
    assert_eq!(fake.pods(), ["web-0-", "web-1-", "web-2-"]);
}

#[test]
fn a_pod_has_its_names_labels_and_owner() {
    let (_, fake) = ready(1, json!({}), 0);
    let (pod, set) = (fake.get(Table::Pods, "web-0"), fake.get(Table::Sets, "web"));
    let labels = &pod["metadata"]["labels"];
    assert_eq!((&labels["app"], &labels["apps.kubernetes.io/pod-index"]), (&json!("web"), &json!("0")));
    assert_eq!(labels["statefulset.kubernetes.io/pod-name"], "web-0");
    assert_eq!(labels["controller-revision-hash"], set["status"]["updateRevision"]);
    assert_eq!(pod["metadata"]["ownerReferences"][0]["uid"], set["metadata"]["uid"]);
    assert_eq!((&pod["spec"]["hostname"], &pod["spec"]["subdomain"]), (&json!("web-0"), &json!("svc")));
    assert!(!fake.get(Table::Revisions, set["status"]["updateRevision"].as_str().expect("a name")).is_null());
}

#[test]
fn claims_are_made_for_each_pod_and_stay_when_it_goes() {
    let templates = json!([{"metadata": {"name": "data"}, "spec": {"accessModes": ["ReadWriteOnce"]}}]);
    let (mut runtime, fake) = ready(2, json!({"volumeClaimTemplates": templates}), 0);
    let volume = json!({"name": "data", "persistentVolumeClaim": {"claimName": "data-web-1"}});
    assert_eq!(fake.get(Table::Pods, "web-1")["spec"]["volumes"], json!([volume]));
    let claim = fake.get(Table::Claims, "data-web-1");
    assert_eq!(
        (&claim["status"]["phase"], &claim["metadata"]["labels"]["app"]),
        (&json!("Bound"), &json!("web"))
    );
    fake.edit(Table::Sets, "web", |s| {
        s["spec"]["replicas"] = 1.into();
        s["metadata"]["generation"] = 2.into();
    });
    for now in [10_000, 12_000] {
        settle(&mut runtime, &fake, now);
    }
    assert_eq!(fake.pods(), ["web-0+"]);
    assert!(!fake.get(Table::Claims, "data-web-1").is_null());
}

#[test]
fn fewer_replicas_take_the_highest_ordinal_first_and_one_at_a_time() {
    let (mut runtime, fake) = ready(3, json!({}), 0);
    fake.edit(Table::Sets, "web", |s| {
        s["spec"]["replicas"] = 1.into();
        s["metadata"]["generation"] = 2.into();
    });
    let mut seen = Vec::new();
    for now in [10_000, 11_999, 12_000, 14_000] {
        settle(&mut runtime, &fake, now);
        seen.push(fake.pods().join(" "));
    }
    assert_eq!(seen, ["web-0+ web-1+ web-2+-", "web-0+ web-1+ web-2+-", "web-0+ web-1+-", "web-0+"]);
}

#[test]
fn on_delete_a_new_template_is_taken_only_by_a_pod_that_was_deleted() {
    let (mut runtime, fake) = ready(2, json!({"updateStrategy": {"type": "OnDelete"}}), 0);
    let old = fake.get(Table::Sets, "web")["status"]["updateRevision"].clone();
    retag(&fake, "image:2");
    settle(&mut runtime, &fake, 10_000);
    assert_eq!(fake.pods(), ["web-0+", "web-1+"]);
    assert_eq!(status(&fake, &["updatedReplicas", "currentReplicas", "observedGeneration"]), [0, 2, 2]);
    fake.delete_pod("web-0");
    for now in [11_000, 13_000, 14_000] {
        settle(&mut runtime, &fake, now);
    }
    assert_eq!([image(&fake, "web-0"), image(&fake, "web-1")], ["image:2", "image:1"]);
    assert_eq!(status(&fake, &["updatedReplicas", "readyReplicas"]), [1, 2]);
    let set = fake.get(Table::Sets, "web");
    assert_eq!(set["status"]["currentRevision"], old, "it never moves under OnDelete");
    // The old template again: its old revision.
    retag(&fake, "image:1");
    settle(&mut runtime, &fake, 20_000);
    assert_eq!(fake.get(Table::Sets, "web")["status"]["updateRevision"], old);
}

#[test]
fn a_pod_deleted_before_the_new_template_was_seen_comes_back_old() {
    let (mut runtime, fake) = ready(1, json!({"updateStrategy": {"type": "OnDelete"}}), 1_500);
    for now in [4_000, 5_000, 6_000] {
        settle(&mut runtime, &fake, now);
    }
    assert_eq!(fake.pods(), ["web-0+"]);
    retag(&fake, "image:2");
    settle(&mut runtime, &fake, 10_000);
    assert_eq!(status(&fake, &["observedGeneration"]), [1]);
    fake.edit(Table::Pods, "web-0", |p| p["metadata"]["deletionGracePeriodSeconds"] = 1.into());
    fake.delete_pod("web-0");
    for now in [10_001, 11_001] {
        settle(&mut runtime, &fake, now);
    }
    assert_eq!(image(&fake, "web-0"), "image:1");
    settle(&mut runtime, &fake, 11_500);
    assert_eq!(status(&fake, &["observedGeneration"]), [2]);
}

#[test]
fn a_rolling_update_goes_from_the_highest_ordinal_down_to_the_partition() {
    let (mut runtime, fake) =
        ready(3, json!({"updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"partition": 1}}}), 0);
    retag(&fake, "image:2");
    let mut seen = Vec::new();
    for now in [10_000, 12_000, 13_000, 15_000, 16_000, 20_000] {
        settle(&mut runtime, &fake, now);
        seen.push(fake.pods().join(" "));
    }
    assert_eq!(
        seen,
        [
            "web-0+ web-1+ web-2+-",
            "web-0+ web-1+ web-2",
            "web-0+ web-1+- web-2+",
            "web-0+ web-1 web-2+",
            "web-0+ web-1+ web-2+",
            "web-0+ web-1+ web-2+",
        ]
    );
    assert_eq!(["web-0", "web-1", "web-2"].map(|p| image(&fake, p)), ["image:1", "image:2", "image:2"]);
    fake.delete_pod("web-0");
    for now in [21_000, 23_000] {
        settle(&mut runtime, &fake, now);
    }
    assert_eq!(image(&fake, "web-0"), "image:1", "below the partition the old one comes back");
}

#[test]
fn a_finished_rolling_update_moves_the_current_revision() {
    let (mut runtime, fake) = ready(1, json!({}), 0);
    retag(&fake, "image:2");
    for now in [10_000, 12_000, 13_000] {
        settle(&mut runtime, &fake, now);
    }
    let status = &fake.get(Table::Sets, "web")["status"];
    assert_eq!(status["currentRevision"], status["updateRevision"]);
    assert_eq!(image(&fake, "web-0"), "image:2");
}

#[test]
fn a_pod_may_never_get_ready_or_be_made_unready() {
    let never = json!({"template": {"metadata": {"annotations": {READY_AFTER: "never"}}}});
    let (_, fake) = ready(2, never, 0);
    assert_eq!(fake.pods(), ["web-0"]);
    let (mut runtime, fake) = ready(1, json!({}), 0);
    runtime.set_unready("ns/web-0", true);
    settle(&mut runtime, &fake, 10_000);
    assert_eq!((fake.pods(), status(&fake, &["readyReplicas"])), (vec!["web-0".to_owned()], vec![0]));
    runtime.set_unready("ns/web-0", false);
    settle(&mut runtime, &fake, 11_000);
    assert_eq!(fake.pods(), ["web-0+"]);
}
