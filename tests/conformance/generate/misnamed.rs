//! Writes that name another kind or version than the resource's.
//!
//! Not through the status subresource: it would ignore the type, but with the consequence that `pools::foreign` tells
//! of. And right in everything else: the real server then asks the rules without a look at the structure, and each rule
//! tells in its own words of a value whose type it did not expect. The simulator has no such words, since in every other
//! case the structure is judged first; and whoever names a wrong kind is refused either way.

use super::patches::is_builtin;
use super::{place, validation};
use crate::step::{At, Body, Edit, Step};
use crate::universe::minimal;
use proptest::prelude::*;
use serde_json::{Value, json};

/// A create, a replacement or a patch that is right but for the type that it names.
pub fn write(resource: &'static str) -> BoxedStrategy<Step> {
    let ways = prop::sample::select(vec!["POST", "PUT", "merge", "json"]);
    (place(resource, At::Object, 0), type_(resource), ways, validation())
        .prop_map(|(mut place, (at, value), way, query)| {
            place.at = if way == "POST" { At::Collection } else { At::Object };
            let edit = Edit { at: at.to_owned(), to: Some(value.clone()) };
            let sent = |mut of: Value| {
                edit.apply(&mut of, Some(value.clone()));
                Body::Json(of)
            };
            let (method, content_type, body) = match way {
                "POST" => ("POST", "application/json", sent(minimal(&place.resource))),
                "PUT" => ("PUT", "application/json", Body::Seen { age: 0, edits: vec![edit.clone()] }),
                "merge" => ("PATCH", "application/merge-patch+json", sent(json!({}))),
                _ => {
                    let op = json!([{"op": "replace", "path": at, "value": value}]);
                    ("PATCH", "application/json-patch+json", Body::Json(op))
                }
            };
            let (method, content_type) = (method.to_owned(), content_type.to_owned());
            Step { method, place, query, content_type, body, settle: false }
        })
        .boxed()
}

/// Another kind or version than the resource's.
fn type_(resource: &str) -> BoxedStrategy<(&'static str, Value)> {
    let mut fields = vec![("/kind", json!("Other")), ("/kind", json!("")), ("/apiVersion", json!("v9"))];
    // A built-in kind without a version is taken for an object of the server's internal form, whose fields have other
    // names; every client sends a version, and no patch of ours touches it.
    if !is_builtin(resource) {
        fields.push(("/apiVersion", json!("")));
    }
    prop::sample::select(fields).boxed()
}
