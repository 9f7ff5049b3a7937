//! Is a managed cache rendered as its spec says, always the same, and refused where it cannot be?

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that cannot go on fails")]

use super::*;

fn managed(more: Value) -> Managed {
    let mut spec = json!({
        "version": "2.9.6",
        "masters": {"journal": {"volumeClaim": {"size": "10Gi"}}},
        "workers": {"replicas": 2, "tiers": [
            {"medium": "MEM", "size": "1Gi", "emptyDir": {}},
            {"medium": "SSD", "size": "100Gi", "hostPath": "/mnt/ssd"},
        ]},
        "rootStorage": {"claimName": "shared"},
    });
    merge::lay_over(&mut spec, &more);
    serde_json::from_value(spec).expect("a spec")
}

fn owner() -> Owner {
    Owner { namespace: "ns".into(), name: "c".into(), uid: "u".into() }
}

fn rendered(more: Value) -> Result<Vec<Object>, String> {
    let managed = managed(more);
    let workers = (0..managed.workers.replicas).collect();
    render(&owner(), &Revision { number: 7, workers, out_of_use: vec![], managed, by: None })
        .map_err(|e| e.to_string())
}

fn find(all: &[Object], kind: Kind, name: &str) -> Value {
    let found = all.iter().find(|o| (o.kind, o.name.as_str()) == (kind, name));
    found.unwrap_or_else(|| panic!("no {name}")).body.clone()
}

fn settings(all: &[Object]) -> String {
    let config = all.iter().find(|o| o.kind == Kind::ConfigMap).expect("settings");
    config.body["data"][properties::FILE].as_str().expect("text").to_owned()
}

#[test]
fn one_master_and_two_workers_become_these_objects() {
    let all = rendered(json!({})).unwrap();
    let names: Vec<String> = all.iter().map(|o| format!("{:?} {}", o.kind, o.name)).collect();
    let config = &all[0].name;
    assert!(config.starts_with("c-config-") && config.len() == 21, "{config}");
    assert_eq!(
        names[1..],
        [
            "Service c-master",
            "Service c-client",
            "Service c-worker",
            "PodDisruptionBudget c-master",
            "PodDisruptionBudget c-worker",
            "StatefulSet c-master",
            "Service c-job-master",
            "Service c-job-worker",
            "StatefulSet c-job-master",
            "StatefulSet c-worker-0",
            "StatefulSet c-worker-1",
            "StatefulSet c-job-worker",
        ]
    );
    assert_eq!(all, rendered(json!({})).unwrap(), "the same again");
    for object in &all {
        let metadata = &object.body["metadata"];
        assert_eq!(metadata["ownerReferences"][0]["uid"], "u", "{}", object.name);
        assert_eq!(metadata["annotations"][REVISION], "7", "{}", object.name);
        assert_eq!(metadata["labels"][INSTANCE], "c", "{}", object.name);
    }
    let worker = find(&all, Kind::StatefulSet, "c-worker-1");
    assert_eq!(
        (&worker["spec"]["replicas"], &worker["spec"]["serviceName"]),
        (&json!(1), &json!("c-worker"))
    );
    assert_eq!(worker["spec"]["updateStrategy"]["type"], "OnDelete");
    assert_eq!(worker["spec"]["selector"]["matchLabels"][pods::WORKER], "1");
    let spec = &worker["spec"]["template"]["spec"];
    let volumes: Vec<&str> =
        spec["volumes"].as_array().unwrap().iter().filter_map(|v| v["name"].as_str()).collect();
    assert_eq!(volumes, ["config", "root", "tier-0", "tier-1"]);
    assert_eq!(spec["volumes"][2]["emptyDir"], json!({"medium": "Memory", "sizeLimit": "1Gi"}));
    assert_eq!(spec["containers"][0]["volumeMounts"][3]["subPathExpr"], "$(POD_NAMESPACE)/$(POD_NAME)");
    assert_eq!(spec["securityContext"]["runAsNonRoot"], true);
    let master = find(&all, Kind::StatefulSet, "c-master");
    assert_eq!(master["spec"]["volumeClaimTemplates"][0]["spec"]["resources"]["requests"]["storage"], "10Gi");
    assert_eq!(
        master["spec"]["template"]["spec"]["containers"][0]["args"],
        json!(["master-only", "--no-format"])
    );
    assert_eq!(master["spec"]["template"]["spec"]["containers"][0]["image"], "alluxio/alluxio:2.9.6");
}

#[test]
fn a_worker_that_is_out_of_use_is_not_protected_and_counts_as_missing_nowhere() {
    let budget = |out_of_use: Vec<i32>| {
        let managed = managed(json!({}));
        let revision = Revision { number: 7, workers: vec![0, 1], out_of_use, managed, by: None };
        let all = render(&owner(), &revision).unwrap();
        find(&all, Kind::PodDisruptionBudget, "c-worker")["spec"]["selector"].clone()
    };
    let (none, one) = (budget(vec![]), budget(vec![1]));
    assert_eq!(one["matchLabels"], none["matchLabels"]);
    let but = json!([{"key": pods::WORKER, "operator": "NotIn", "values": ["1"]}]);
    assert_eq!(one["matchExpressions"], but);
    assert_eq!(none["matchExpressions"], Value::Null);
}

#[test]
fn the_settings_come_from_the_typed_fields_first_and_from_the_user_after() {
    let one = settings(
        &rendered(json!({"properties": {"alluxio.user.x": " a\\b\nalluxio.master.hostname=evil ü"}}))
            .unwrap(),
    );
    for line in [
        &format!("alluxio.master.mount.table.root.ufs={}", root_uri(&managed(json!({})))),
        "alluxio.master.journal.type=UFS",
        "alluxio.master.hostname=c-master-0.c-master.ns.svc",
        "alluxio.job.master.hostname=c-job-master-0.c-job-master.ns.svc",
        "alluxio.worker.tieredstore.levels=2",
        "alluxio.worker.tieredstore.level0.dirs.quota=1GB",
        "alluxio.worker.tieredstore.level1.dirs.path=/cache/1",
        "alluxio.security.authentication.type=SIMPLE",
        r"alluxio.user.x=\ a\\b\nalluxio.master.hostname=evil \u00fc",
    ] {
        assert!(one.lines().any(|l| l == line), "{line} is not in\n{one}");
    }
    let three = settings(&rendered(json!({"masters": {"replicas": 3}, "jobs": {"workers": 0}})).unwrap());
    assert!(three.contains("alluxio.master.journal.type=EMBEDDED"));
    assert!(
        three.contains("rpc.addresses=c-master-0.c-master.ns.svc:19998,c-master-1.c-master.ns.svc:19998,c-")
    );
    assert!(!three.contains("alluxio.master.hostname=") && !three.contains("alluxio.job.master"), "{three}");
    assert_ne!(
        rendered(json!({})).unwrap()[0].name,
        rendered(json!({"masters": {"replicas": 3}})).unwrap()[0].name
    );
}

#[test]
fn a_credential_of_the_root_comes_from_its_secret_and_is_written_nowhere() {
    let key = json!({"secretKeyRef": {"name": "s3", "key": "id"}});
    let root = json!({"rootStorage": {"claimName": null, "uri": "s3://b", "options": [
        {"name": "aws.accessKeyId", "valueFrom": key}, {"name": "alluxio.underfs.s3.region", "value": "eu"}]}});
    let all = rendered(root).unwrap();
    let text = settings(&all);
    assert!(
        text.contains("root.option.alluxio.underfs.s3.region=eu") && !text.contains("accessKeyId"),
        "{text}"
    );
    let master = find(&all, Kind::StatefulSet, "c-master");
    let env = master["spec"]["template"]["spec"]["containers"][0]["env"].as_array().unwrap();
    assert_eq!(env[2]["valueFrom"]["secretKeyRef"], json!({"name": "s3", "key": "id"}));
    let options =
        env.iter().find(|e| e["name"] == "ALLUXIO_MASTER_JAVA_OPTS").unwrap()["value"].as_str().unwrap();
    assert!(
        options
            .ends_with(" -Dalluxio.master.mount.table.root.option.aws.accessKeyId=$(RATCHET_ROOT_OPTION_0)")
    );
}

#[test]
fn what_cannot_be_had_is_refused_with_a_sentence() {
    let template = |spec: Value| json!({"workers": {"pods": {"template": {"spec": spec}}}});
    for (more, says) in [
        (
            json!({"properties": {"alluxio.worker.tieredstore.level4.alias": "X"}}),
            "alluxio.worker.tieredstore.level4.alias is workers.tiers: remove it from properties",
        ),
        (json!({"properties": {"a b": "X"}}), "\"a b\" in properties is not the name of a setting"),
        (json!({"properties": {"aws.secretKey": "X"}}), "aws.secretKey in properties is a credential"),
        (
            template(json!({"containers": [{"name": "alluxio", "args": ["sh"]}]})),
            "pods.template of the workers changes args of the container alluxio: remove that from it",
        ),
        (
            template(json!({"containers": null})),
            "pods.template of the workers changes command of the container alluxio",
        ),
        (
            json!({"workers": {"pods": {"template": {"metadata": {"labels": {INSTANCE: "other"}}}}}}),
            "pods.template of the workers changes the labels that Ratchet finds its pods by",
        ),
        (
            json!({"masters": {"pods": {"template": {"spec": {"initContainers": [
                {"name": "format-journal-once", "command": ["true"]}]}}}}}),
            "pods.template of the masters changes the container that formats the journal",
        ),
    ] {
        let said = rendered(more).expect_err(says);
        assert!(said.starts_with(says), "{said}");
    }
    let side = template(json!({
        "containers": [{"name": "alluxio", "env": [{"name": "A", "value": "1"}]}, {"name": "side", "image": "x"}],
        "nodeSelector": {"disk": "fast"}, "tolerations": [{"operator": "Exists"}],
    }));
    let worker = find(&rendered(side).unwrap(), Kind::StatefulSet, "c-worker-0");
    let spec = &worker["spec"]["template"]["spec"];
    assert_eq!(
        (&spec["nodeSelector"]["disk"], spec["containers"].as_array().unwrap().len()),
        (&json!("fast"), 2)
    );
}

#[test]
fn every_object_is_one_that_its_kind_can_read() {
    use crate::cluster::drift::differences;
    use k8s_openapi::api::apps::v1::StatefulSet;
    for object in rendered(json!({"masters": {"replicas": 3}})).unwrap() {
        if object.kind == Kind::StatefulSet {
            let read: StatefulSet = serde_json::from_value(object.body.clone()).unwrap();
            let again = serde_json::to_value(read).unwrap();
            assert_eq!(differences(&object.body, &again, ""), Vec::<Value>::new(), "{}", object.name);
        }
    }
}

#[test]
fn another_byte_needs_another_number() {
    // Caches that serve were rendered with these bytes. Where they have to change, raise the number in `RENDERER`, which
    // keeps such caches as they are, and write the new digest here.
    let all = rendered(json!({"masters": {"replicas": 3}, "proxies": {"replicas": 1}})).unwrap();
    let bodies: Vec<Value> = all.into_iter().map(|o| o.body).collect();
    let text = ratchet_state_machine::canonical::to_string(&bodies).unwrap();
    assert_eq!(
        (RENDERER.1, hash(&[text.as_bytes()]).as_str()),
        (1, "lqv3Mhal7AtFk9zcXNeRkRYJ6TivFF1iR46WhwYyRpc")
    );
}
