//! Are the rules of `crds/*.yaml` enforced as the real server enforces them? `schema_law.json` holds objects that
//! were sent to kube-apiserver 1.36.3 with these CRDs, legal and illegal ones, and its answers.

#![allow(clippy::unwrap_used, reason = "a test that cannot read its data has to stop")]

use ratchet_simulator::schema::{Rules, Schema};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::hint::black_box;
use std::path::PathBuf;

const LAW: &str = include_str!("schema_law.json");

/// The schemas of `crds/*.yaml`, by plural.
fn schemas() -> BTreeMap<String, Value> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../crds");
    let mut all = BTreeMap::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|e| e != "yaml") {
            continue;
        }
        let text = std::fs::read_to_string(path).unwrap();
        for document in serde_yaml_ng::Deserializer::from_str(&text) {
            let crd: Value = serde::Deserialize::deserialize(document).unwrap();
            if crd["kind"] == "CustomResourceDefinition" {
                let plural = crd["spec"]["names"]["plural"].as_str().unwrap().to_owned();
                all.insert(plural, crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"].clone());
            }
        }
    }
    all
}

fn cases() -> Vec<Value> {
    let law: Value = serde_json::from_str(LAW).unwrap();
    law["cases"].as_array().unwrap().clone()
}

fn prepared(schema: &Schema, object: &Value) -> Value {
    let mut object = object.clone();
    schema.shape(&mut object);
    object
}

fn messages(schema: &Value, into: &mut Vec<String>) {
    for rule in schema["x-kubernetes-validations"].as_array().into_iter().flatten() {
        into.push(rule["message"].as_str().unwrap().to_owned());
    }
    for child in
        schema["properties"].as_object().into_iter().flat_map(|p| p.values()).chain(schema.get("items"))
    {
        messages(child, into);
    }
}

#[test]
fn the_law_is_enforced_as_the_real_server_enforces_it() {
    let compiled: BTreeMap<String, Schema> =
        schemas().into_iter().map(|(name, schema)| (name, Schema::compile(&schema).unwrap())).collect();
    let mut wrong = Vec::new();
    for case in cases() {
        let schema = &compiled[case["crd"].as_str().unwrap()];
        let new = prepared(schema, &case["new"]);
        let causes = schema.validate(&new, case.get("old"), Rules::All);
        let mut got: Vec<Value> = causes.iter().map(|c| json!([c.reason, c.field, c.message])).collect();
        let mut want = case["causes"].as_array().unwrap().clone();
        got.sort_by_key(Value::to_string);
        want.sort_by_key(Value::to_string);
        if got != want {
            wrong.push(format!("{}\n  want {want:#?}\n  got  {got:#?}", case["new"]));
        }
    }
    assert!(wrong.is_empty(), "{} cases differ:\n{}", wrong.len(), wrong.join("\n"));
}

/// While there is one engine, another one is refused by its enum before the rule is asked.
const OUT_OF_REACH: &str = "the engine cannot be changed; create another CacheCluster";

#[test]
fn every_rule_is_broken_by_a_case_and_kept_by_another() {
    let cases = cases();
    for (plural, schema) in schemas() {
        let mut all = Vec::new();
        messages(&schema, &mut all);
        let own: Vec<&Value> = cases.iter().filter(|c| c["crd"] == plural.as_str()).collect();
        assert!(own.iter().any(|c| c["causes"] == json!([])), "{plural}: no legal case");
        for message in all.iter().filter(|m| *m != OUT_OF_REACH) {
            let broken =
                own.iter().any(|c| c["causes"].to_string().contains(&json!(message).to_string()[1..20]));
            assert!(broken, "{plural}: no case breaks \"{message}\"");
        }
    }
}

/// Prints what the calls cost; run it in release with `--nocapture`.
#[test]
#[allow(clippy::disallowed_methods, reason = "a stopwatch for people; nothing depends on it")]
fn what_a_status_update_costs() {
    let source = &schemas()["dataoperations"];
    let start = std::time::Instant::now();
    let schema = Schema::compile(source).unwrap();
    println!("compile the schema, once: {:.1} ms", start.elapsed().as_secs_f64() * 1e3);
    let legal = |c: &&Value| c["crd"] == "dataoperations" && c["causes"] == json!([]);
    let cases = cases();
    let step = cases.iter().find(|c| legal(c) && c["new"]["status"]["step"] == "loadingMetadata").unwrap();
    let (mut new, mut old) = (step["new"].clone(), step["old"].clone());
    for tail in [3, 32] {
        let entry = |seq: i64| json!({"seq": seq, "at": "2026-01-01T00:00:00.000Z", "event": "loadStarted", "body": "x".repeat(600)});
        old["status"]["seq"] = json!(tail);
        new["status"]["seq"] = json!(tail + 1);
        old["status"]["sealedThrough"] = json!(1);
        new["status"]["sealedThrough"] = json!(1);
        old["status"]["tail"] = (1..=tail).map(entry).collect();
        new["status"]["tail"] = (2..=tail + 1).map(entry).collect();
        assert_eq!(schema.validate(&new, Some(&old), Rules::All), []);
        let mut label = old.clone();
        label["metadata"]["labels"] = json!({"a": "b"});
        let time = |what: &str, f: &dyn Fn()| {
            let start = std::time::Instant::now();
            (0..2000).for_each(|_| f());
            println!("tail {tail:>2}: {what:<34} {:>7.1} µs", start.elapsed().as_secs_f64() * 1e6 / 2000.0);
        };
        let validate = |new: &Value, rules| {
            black_box(schema.validate(black_box(new), Some(&old), rules));
        };
        time("copy the object (to subtract)", &|| drop(black_box(new.clone())));
        time("copy, prune and default", &|| drop(black_box(prepared(&schema, &new))));
        time("status update, Rules::Structure", &|| validate(&new, Rules::Structure));
        time("status update, Rules::All", &|| validate(&new, Rules::All));
        time("label write, Rules::All", &|| validate(&label, Rules::All));
    }
}
