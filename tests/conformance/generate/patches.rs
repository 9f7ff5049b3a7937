//! Patches: JSON patches whose tests mostly hold, and merge patches; and bodies that are no patch at all.

use super::{place, pools, validation};
use crate::step::{At, Body, Step};
use proptest::prelude::*;
use serde_json::{Value, json};

/// A JSON patch.
pub fn json_patch(resource: &'static str, owned: bool) -> BoxedStrategy<Step> {
    (place(resource, At::Object, 5), validation())
        .prop_flat_map(move |(place, query)| {
            let status = place.at == At::Status;
            let ops = prop::collection::vec(op(resource, owned, status), 1..4)
                .prop_map(|all| Body::Json(json!(all)));
            let body = prop_oneof![20 => ops, 1 => odd()];
            (Just(place), Just(query), body)
        })
        .prop_map(move |(place, query, body)| {
            let content_type = "application/json-patch+json".to_owned();
            Step { method: "PATCH".into(), place, query, content_type, body, settle: owned }
        })
        .boxed()
}

/// Whether the server knows the kind without a CRD.
pub fn is_builtin(resource: &str) -> bool {
    matches!(resource, "configmaps" | "leases")
}

fn op(resource: &'static str, owned: bool, status: bool) -> BoxedStrategy<Value> {
    let field = || pools::field(resource, owned, status);
    let set = (field(), prop_oneof![3 => Just("add"), 4 => Just("replace")])
        .prop_map(|((path, value), op)| json!({"op": op, "path": path, "value": value}));
    let remove = field().prop_map(|(path, _)| json!({"op": "remove", "path": path}));
    let test = field().prop_map(|(path, value)| json!({"op": "test", "path": path, "value": value}));
    // A resourceVersion in another field would not be seen to be one.
    let from =
        field().prop_map(|(from, _)| if from.ends_with("resourceVersion") { "/metadata/uid" } else { from });
    let to = pools::own_field(resource, owned, status);
    let carry = (from, to, prop_oneof![Just("move"), Just("copy")])
        .prop_map(|(from, (path, _), op)| json!({"op": op, "from": from, "path": path}));
    // What moves may end up where the typed form of a built-in kind has no place for it: the simulator takes it.
    let (carry_often, odd_often) = if is_builtin(resource) { (0, 0) } else { (1, 1) };
    prop_oneof![12 => set, 3 => remove, 2 => test, 6 => guard(), carry_often => carry, odd_often => odd_op()]
        .boxed()
}

/// What the controller puts in front of a write, fresh and stale.
fn guard() -> impl Strategy<Value = Value> {
    let test = |path: &str, value: Value| json!({"op": "test", "path": path, "value": value});
    let version = |value: &str| json!({"op": "replace", "path": "/metadata/resourceVersion", "value": value});
    prop::sample::select(vec![
        test("/metadata/uid", json!("$uid")),
        test("/metadata/uid", json!("$uid")),
        test("/metadata/uid", json!("$uid-1")),
        test("/metadata/generation", json!("$generation")),
        test("/metadata/generation", json!("$generation-1")),
        test("/metadata/resourceVersion", json!("$rv")),
        test("/metadata/resourceVersion", json!("$rv-1")),
        test("/status", json!(null)),
        test("/status/seq", json!(1)),
        test("/status/seq", json!(2)),
        test("/spec/color", json!("red")),
        test("/spec/absent", json!(null)),
        test("/absent/deep", json!(null)),
        version("$rv"),
        version("$rv"),
        version("$rv-1"),
    ])
}

fn odd_op() -> impl Strategy<Value = Value> {
    prop::sample::select(vec![
        json!({"op": "jump", "path": "/spec/size"}),
        json!({"op": "add", "path": "spec/size", "value": 1}),
        json!({"op": "add", "path": "/spec/size"}),
        json!({"op": "add", "value": 1}),
        json!({"op": "replace", "path": "", "value": {}}),
        json!({"op": "replace", "path": "/", "value": 1}),
        json!({"op": "remove", "path": ""}),
        json!({"op": "test", "path": "", "value": {}}),
        json!({"op": "add", "path": "/spec/tags/9", "value": "t"}),
        json!({"op": "add", "path": "/spec/tags/-1", "value": "t"}),
        json!({"op": "add", "path": "/spec/tags/x", "value": "t"}),
        json!({"op": "add", "path": "/spec/tags/1", "value": "t"}),
        json!({"op": "remove", "path": "/spec/tags/-"}),
        json!({"op": "add", "path": "/spec/no/deeper", "value": 1}),
        json!({"op": "add", "path": "/spec/size/deeper", "value": 1}),
        json!({"op": "move", "path": "/spec/size"}),
        json!({"op": "copy", "from": "/spec/nowhere", "path": "/spec/size"}),
        json!({"op": "add", "path": "/metadata/labels/a~0b", "value": "1"}),
        json!({"path": "/spec/size", "value": 1}),
        json!(5),
    ])
}

/// Bodies that are no patch of their content type.
fn odd() -> impl Strategy<Value = Body> {
    let text = |t: &str| Body::Text(t.to_owned());
    prop::sample::select(vec![
        Body::Nothing {},
        text("{"),
        text("null"),
        text("[]"),
        text("{}"),
        text("5"),
        text("\"x\""),
        text("[{\"op\": \"add\"}"),
    ])
}

/// A merge patch.
pub fn merge_patch(resource: &'static str, owned: bool) -> BoxedStrategy<Step> {
    let null = || prop::bool::weighted(0.12);
    (place(resource, At::Object, 3), validation())
        .prop_flat_map(move |(place, query)| {
            let status = place.at == At::Status;
            let field = (pools::field(resource, owned, status), null());
            let fields = prop::collection::vec(field, 1..3).prop_map(|fields| {
                let mut patch = json!({});
                for ((at, value), null) in fields {
                    put(&mut patch, at, if null { Value::Null } else { value });
                }
                Body::Json(patch)
            });
            let body = prop_oneof![20 => fields, 1 => odd()];
            let content = prop_oneof![
                30 => Just("application/merge-patch+json"), 1 => Just("application/strategic-merge-patch+json"),
                1 => Just("application/json"), 1 => Just("text/plain"), 1 => Just(""),
            ];
            (Just(place), Just(query), body, content)
        })
        .prop_map(move |(place, query, body, content)| {
            // A strategic merge of a built-in kind is another language.
            let content = if is_builtin(resource) && content.contains("strategic") { "application/merge-patch+json" } else { content };
            Step { method: "PATCH".into(), place, query, content_type: content.to_owned(), body, settle: owned }
        })
        .boxed()
}

/// Sets a field of a merge patch; a list is set as a whole.
fn put(patch: &mut Value, at: &str, value: Value) {
    let mut here = patch;
    for part in at.split('/').skip(1).filter(|p| !matches!(*p, "0" | "-")) {
        if !here.is_object() {
            *here = json!({});
        }
        here = here.as_object_mut().expect("an object").entry(part.replace("~1", "/")).or_insert(Value::Null);
    }
    *here = if at.ends_with("/0") || at.ends_with("/-") { json!([value]) } else { value };
}
