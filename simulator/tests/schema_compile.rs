//! Which schemas are refused, and what the engine does at its edges?

#![allow(clippy::unwrap_used, reason = "a test that cannot read its data has to stop")]

use ratchet_simulator::schema::{Rules, Schema};
use serde_json::{Value, json};

fn refusal(schema: &Value) -> String {
    Schema::compile(schema).unwrap_err().to_string()
}

fn with_rule(rule: &str) -> Value {
    json!({"type": "object", "x-kubernetes-validations": [{"rule": rule}]})
}

#[test]
fn a_broken_schema_is_refused_with_its_place() {
    let pattern = json!({"type": "object", "properties": {"a": {"type": "string", "pattern": "("}}});
    assert!(refusal(&pattern).starts_with("openAPIV3Schema.properties[a].pattern: "));
    let kind = json!({"type": "object", "properties": {"a": {"type": "text"}}});
    assert_eq!(refusal(&kind), "openAPIV3Schema.properties[a].type: Unsupported value: \"text\"");
    let unique = json!({"type": "array", "uniqueItems": true});
    assert_eq!(refusal(&unique), "openAPIV3Schema.uniqueItems: Forbidden: uniqueItems cannot be set to true");
}

#[test]
fn a_broken_rule_is_refused_with_its_place() {
    let at = "openAPIV3Schema.x-kubernetes-validations[0].rule: Invalid value: compilation failed: ";
    assert!(refusal(&with_rule("self.a ==")).starts_with(at));
    let unknown = "undeclared reference to 'other' (in container '')";
    assert_eq!(refusal(&with_rule("other.a == 1")), format!("{at}{unknown}"));
    // Of kube-cel, but not of the API server.
    assert!(refusal(&with_rule("math.greatest(1, 2) == 2")).contains("undeclared reference to 'math'"));
}

#[test]
fn a_rule_that_needs_an_old_value_is_refused_where_there_is_none() {
    let item = json!({"type": "string", "x-kubernetes-validations": [{"rule": "self == oldSelf"}]});
    let list = json!({"type": "object", "properties": {"l": {"type": "array", "items": item}}});
    assert!(refusal(&list).starts_with(
        "openAPIV3Schema.properties[l].items.x-kubernetes-validations[0].rule: Invalid value: oldSelf cannot be used"
    ));
}

#[test]
fn without_rules_structure_is_all_that_is_looked_at() {
    let schema = Schema::compile(&with_rule("false")).unwrap();
    assert_eq!(schema.validate(&json!({}), None, Rules::Structure), []);
    let causes = schema.validate(&json!({}), None, Rules::All);
    assert_eq!(causes.len(), 1);
    assert_eq!(causes[0].message, "Invalid value: failed rule: false");
    assert_eq!(causes[0].field, "<nil>");
}

#[test]
fn the_identity_of_the_object_is_kept_and_seen_by_rules() {
    let schema = Schema::compile(&with_rule("self.metadata.name == 'a' && self.kind == 'K'")).unwrap();
    let mut object =
        json!({"apiVersion": "g/v1", "kind": "K", "metadata": {"name": "a", "uid": "u"}, "x": 1});
    assert_eq!(schema.shape(&mut object), ["x"]);
    assert_eq!(object["metadata"], json!({"name": "a", "uid": "u"}));
    assert_eq!(schema.validate(&object, None, Rules::All), []);
    object["metadata"]["name"] = json!("b");
    assert_eq!(schema.validate(&object, None, Rules::All).len(), 1);
}
