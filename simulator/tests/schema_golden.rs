//! Does the schema engine say what the real server says? `schema_golden.json` holds what kube-apiserver 1.36.3
//! answered: the specs that were sent, what was pruned, what was stored, and every cause.

#![allow(clippy::unwrap_used, reason = "a test that cannot read its data has to stop")]

use ratchet_simulator::schema::{Rules, Schema};
use serde_json::{Value, json};
use std::collections::BTreeMap;

const GOLDEN: &str = include_str!("schema_golden.json");

fn object(spec: &Value) -> Value {
    json!({"apiVersion": "schema.test/v1", "kind": "Probe", "metadata": {"name": "p", "labels": {"a": "b"}}, "spec": spec})
}

/// Pruned and defaulted, as the server does before it stores or compares.
fn prepared(schema: &Schema, spec: &Value) -> (Value, Vec<String>) {
    let mut object = object(spec);
    let gone = schema.shape(&mut object);
    (object, gone)
}

/// The real server's order is that of a Go map: sorted here.
fn sorted(mut causes: Vec<[String; 3]>) -> Vec<[String; 3]> {
    causes.sort();
    causes
}

#[test]
fn the_engine_answers_as_the_real_server_did() {
    let golden: Value = serde_json::from_str(GOLDEN).unwrap();
    let schemas: BTreeMap<&str, Schema> = golden["schemas"]
        .as_object()
        .unwrap()
        .iter()
        .map(|(name, schema)| (name.as_str(), Schema::compile(schema).unwrap()))
        .collect();
    let mut wrong = Vec::new();
    for case in golden["cases"].as_array().unwrap() {
        let schema = &schemas[case["crd"].as_str().unwrap()];
        let (new, gone) = prepared(schema, &case["new"]);
        let old = case.get("old").map(|old| prepared(schema, old).0);
        let causes = schema.validate(&new, old.as_ref(), Rules::All);
        let causes = sorted(causes.into_iter().map(|c| [c.reason.into(), c.field, c.message]).collect());
        let want: Vec<[String; 3]> = serde_json::from_value(case["causes"].clone()).unwrap();
        let want = sorted(want);
        if causes != want {
            wrong.push(format!("{}\n  want {want:#?}\n  got  {causes:#?}", case["new"]));
        }
        if json!(gone) != case["gone"] {
            wrong.push(format!("{}\n  want gone {}\n  got {gone:?}", case["new"], case["gone"]));
        }
        if case.get("stored").is_some_and(|stored| *stored != new["spec"]) {
            wrong.push(format!("want stored {}\n  got {}", case["stored"], new["spec"]));
        }
    }
    assert!(wrong.is_empty(), "{} cases differ:\n{}", wrong.len(), wrong.join("\n"));
}
