//! Reads: of one object, of lists by selector, version and page; and requests that no client of ours would make.

use super::place;
use crate::step::{At, Body, Place, Step};
use crate::universe;
use proptest::prelude::*;
use serde_json::json;

type Query = Vec<(String, String)>;

fn read(place: Place, query: Query) -> Step {
    Step {
        method: "GET".into(),
        place,
        query,
        content_type: String::new(),
        body: Body::Nothing {},
        settle: false,
    }
}

fn query(pairs: &[(&str, &str)]) -> Query {
    pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
}

/// One object.
pub fn get(resource: &'static str) -> BoxedStrategy<Step> {
    let version = prop::sample::select(vec![
        query(&[]),
        query(&[]),
        query(&[]),
        // No `$rv`: the real server may answer that from a cache that has not seen the newest write.
        query(&[("resourceVersion", "x")]),
    ]);
    (place(resource, At::Object, 1), version).prop_map(|(place, query)| read(place, query)).boxed()
}

/// A list.
pub fn list(resource: &'static str) -> BoxedStrategy<Step> {
    let mut selectors = vec![
        query(&[]),
        query(&[]),
        query(&[("labelSelector", "l=1")]),
        query(&[("labelSelector", "l!=1")]),
        query(&[("labelSelector", "l")]),
        query(&[("labelSelector", "!l")]),
        query(&[("labelSelector", "l in (1,2),m=x")]),
        query(&[("labelSelector", "l notin (2)")]),
        query(&[("labelSelector", "a b")]),
        query(&[("labelSelector", "l=1,")]),
        query(&[("fieldSelector", "metadata.name=a")]),
        query(&[("fieldSelector", "metadata.name!=a")]),
        query(&[("fieldSelector", "metadata.namespace=$ns")]),
        query(&[("fieldSelector", "spec.nope=1")]),
        query(&[("fieldSelector", "nonsense")]),
    ];
    if resource == "widgets" {
        selectors.extend([
            query(&[("fieldSelector", "spec.color=red")]),
            query(&[("fieldSelector", "spec.color!=red,status.step=one")]),
            query(&[("fieldSelector", "status.step=")]),
        ]);
    }
    if resource == "dataoperations" {
        selectors.extend([
            query(&[("fieldSelector", "status.phase=Queued")]),
            query(&[("fieldSelector", "spec.target=t")]),
        ]);
    }
    let mut pages = vec![
        query(&[]),
        query(&[]),
        query(&[("resourceVersion", "x")]),
        query(&[("resourceVersionMatch", "NotOlderThan")]),
        query(&[("resourceVersion", "0"), ("resourceVersionMatch", "Exact")]),
        query(&[("resourceVersion", "5"), ("resourceVersionMatch", "Odd")]),
        query(&[("limit", "x")]),
    ];
    // ConfigMaps: the one that every namespace has would be on a page.
    // Cluster-wide objects of other runs would be, too.
    if resource != "configmaps" && universe::is_namespaced(resource) {
        pages.extend([
            query(&[("limit", "1")]),
            query(&[("limit", "1")]),
            query(&[("limit", "2")]),
            query(&[("limit", "1"), ("continue", "$continue")]),
            query(&[("limit", "1"), ("continue", "$continue")]),
            query(&[("continue", "nonsense")]),
        ]);
    }
    (place(resource, At::Collection, 0), prop::sample::select(selectors), prop::sample::select(pages))
        .prop_map(|(place, mut selector, page)| {
            let resource = place.resource.clone();
            // Cluster-wide objects of others are none of ours.
            if !universe::is_namespaced(&resource) {
                selector = query(&[("labelSelector", "$tagged")]);
            }
            selector.extend(page);
            read(Place { at: At::Collection, ..place }, selector)
        })
        .boxed()
}

/// Requests at the edge.
pub fn raw(resource: &'static str) -> BoxedStrategy<Step> {
    let json = "application/json";
    let text = |t: &str| Body::Text(t.to_owned());
    let shapes = prop::sample::select(vec![
        ("POST", At::Object, json, Body::Json(json!({}))),
        ("POST", At::Collection, json, text("{")),
        ("POST", At::Collection, json, text("")),
        ("POST", At::Collection, json, text("[]")),
        ("POST", At::Collection, json, text("{}")),
        ("POST", At::Collection, json, text("null")),
        ("POST", At::Collection, "text/plain", Body::Json(universe::minimal(resource))),
        ("POST", At::Collection, "", Body::Json(universe::minimal(resource))),
        ("POST", At::Status, json, Body::Json(universe::minimal(resource))),
        ("PUT", At::Collection, json, Body::Json(universe::minimal(resource))),
        ("PUT", At::Object, json, text("")),
        ("PUT", At::Object, json, text("{\"a\"")),
        ("PUT", At::Object, "text/plain", Body::Json(universe::minimal(resource))),
        ("PATCH", At::Collection, "application/merge-patch+json", Body::Json(json!({}))),
        ("DELETE", At::Object, json, text("{")),
        ("DELETE", At::Object, json, text("[]")),
        ("DELETE", At::Status, json, Body::Json(json!({}))),
    ]);
    let paths = prop::sample::select(vec![
        "/apis/GROUP/v1/namespaces/NAMESPACE/nothing",
        "/apis/GROUP/v7/namespaces/NAMESPACE/widgets",
        "/apis/nowhere.example.com/v1/things",
        "/api/v1/namespaces/NAMESPACE/nothing",
        "/api/v7/namespaces",
        "/apis/GROUP/v1/namespaces/NAMESPACE/widgets/a/nothing",
        "/apis/GROUP/v1/namespaces/NAMESPACE/widgets/a/scale",
        "/apis/GROUP/v1/namespaces/NAMESPACE/targetlocks",
        "/apis/GROUP/v1/namespaces/nowhere/widgets",
        "/apis/GROUP/v1/namespaces/nowhere/widgets/a",
        "/nothing",
    ]);
    let shape =
        (place(resource, At::Object, 0), shapes).prop_map(|(place, (method, at, content_type, body))| Step {
            method: method.into(),
            place: Place { at, ..place },
            query: Vec::new(),
            content_type: content_type.into(),
            body,
            settle: false,
        });
    let path = paths.prop_map(|path| {
        let place = Place { resource: path.to_owned(), ns: 0, name: String::new(), at: At::Collection };
        read(place, Vec::new())
    });
    prop_oneof![3 => shape, 1 => path].boxed()
}
