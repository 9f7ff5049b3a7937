//! Random sequences. Most requests are near to sense, since nonsense is refused early and shows little:
//!
//! ```text
//!   sequence = one kind most of the time, names a b c, two namespaces, up to 12 steps, perhaps a watch over all of it
//!   step     = create | read | replace | patch | delete | raw      with edits from pools.rs
//! ```

mod misnamed;
mod patches;
mod pools;
mod reads;

pub use pools::{birth, second};

use crate::step::{At, Body, Edit, Place, Sequence, Step, Watching};
use crate::universe::{self, has_status, minimal};
use proptest::prelude::*;
use serde_json::{Value, json};

/// A sequence.
pub fn sequence() -> impl Strategy<Value = Sequence> {
    let resource = prop_oneof![
        45 => Just("widgets"), 14 => Just("dataoperations"), 12 => Just("gadgets"), 8 => Just("configmaps"),
        5 => Just("leases"), 8 => Just("targetlocks"), 8 => Just("operationjournals"),
    ];
    (resource, prop::bool::weighted(0.02)).prop_flat_map(|(resource, owned)| {
        let any = prop_oneof![
            17 => Just(resource),
            1 => prop::sample::select(&universe::RESOURCES[..]),
            1 => Just(resource),
        ];
        let steps = prop::collection::vec(any.prop_flat_map(move |r| step(r, owned)), 1..12);
        let sound = create(resource, false).prop_map(move |step| Step {
            place: Place { ns: 0, name: "a".into(), ..step.place },
            body: Body::Json(minimal(resource)),
            query: Vec::new(),
            settle: owned,
            ..step
        });
        let first = prop_oneof![6 => sound.prop_map(Some), 3 => create(resource, owned).prop_map(Some), 1 => Just(None)];
        let watch = prop::option::weighted(0.4, watching(resource));
        (first, steps, watch).prop_map(|(first, steps, watch)| {
            let mut steps: Vec<Step> = first.into_iter().chain(steps).collect();
            for (i, step) in steps.iter_mut().enumerate() {
                number_stems(i, step);
            }
            Sequence { steps, watch }
        })
    })
}

/// Generated names are told apart by their stems.
fn number_stems(i: usize, step: &mut Step) {
    if let Body::Json(body) = &mut step.body
        && body.pointer("/metadata/generateName").is_some()
    {
        body["metadata"]["generateName"] = json!(format!("g{i}-"));
    }
}

fn watching(resource: &'static str) -> impl Strategy<Value = Watching> {
    let query = prop_oneof![
        4 => Just(vec![]),
        2 => Just(vec![("labelSelector".to_owned(), "l=1".to_owned())]),
        1 => Just(vec![("labelSelector".to_owned(), "l!=2".to_owned())]),
        1 => Just(vec![("allowWatchBookmarks".to_owned(), "true".to_owned())]),
        1 => Just(if resource == "widgets" { vec![("fieldSelector".to_owned(), "spec.color=red".to_owned())] } else { vec![] }),
    ];
    query.prop_map(move |query| Watching { resource: resource.to_owned(), ns: 0, query })
}

fn step(resource: &'static str, owned: bool) -> BoxedStrategy<Step> {
    prop_oneof![
        5 => create(resource, owned),
        3 => reads::get(resource),
        3 => reads::list(resource),
        5 => replace(resource),
        9 => patches::json_patch(resource, owned),
        6 => patches::merge_patch(resource, owned),
        5 => delete(resource, owned),
        1 => reads::raw(resource),
        1 => misnamed::write(resource),
    ]
    .boxed()
}

/// A place; `status` says how often (of 10) it is the status subresource, where the kind has one.
fn place(resource: &'static str, at: At, status: u32) -> impl Strategy<Value = Place> {
    let ns = if universe::is_namespaced(resource) {
        prop_oneof![19 => Just(0_usize), 1 => Just(1)].boxed()
    } else {
        Just(0).boxed()
    };
    let name = prop_oneof![16 => Just("a"), 4 => Just("b"), 1 => Just("c")];
    let status = if has_status(resource) { status } else { status.min(1) };
    let sub = prop::bool::weighted(f64::from(status) / 10.0);
    (ns, name, sub).prop_map(move |(ns, name, sub)| Place {
        resource: resource.to_owned(),
        ns,
        name: name.to_owned(),
        at: if sub { At::Status } else { at },
    })
}

fn validation() -> impl Strategy<Value = Vec<(String, String)>> {
    let one = |k: &str, v: &str| vec![(k.to_owned(), v.to_owned())];
    prop_oneof![
        12 => Just(vec![]),
        2 => Just(one("fieldValidation", "Strict")),
        1 => Just(one("fieldValidation", "Warn")),
        1 => Just(one("fieldValidation", "Ignore")),
        1 => Just(one("dryRun", "All")),
        1 => Just(one("fieldManager", "tester")),
        1 => Just(vec![("dryRun".into(), "All".into()), ("fieldValidation".into(), "Strict".into())]),
    ]
}

fn create(resource: &'static str, owned: bool) -> BoxedStrategy<Step> {
    let edits = prop::collection::vec(pools::edit(resource, owned, false), 0..3);
    let generate = prop::bool::weighted(if universe::is_namespaced(resource) { 0.08 } else { 0.0 });
    (place(resource, At::Collection, 0), edits, generate, validation())
        .prop_map(move |(place, edits, generate, query)| {
            let mut body = minimal(resource);
            apply(&mut body, &edits);
            if generate {
                let meta = body["metadata"].as_object_mut().expect("metadata");
                meta.remove("name");
                meta.insert("generateName".into(), json!("g-"));
            }
            let content_type = "application/json".to_owned();
            let place = Place { at: At::Collection, ..place };
            Step { method: "POST".into(), place, query, content_type, body: Body::Json(body), settle: owned }
        })
        .boxed()
}

/// Sets what edits say, before symbols are filled in.
fn apply(body: &mut Value, edits: &[Edit]) {
    for edit in edits {
        edit.apply(body, edit.to.clone());
    }
}

fn replace(resource: &'static str) -> BoxedStrategy<Step> {
    let place = place(resource, At::Object, 4);
    let age = prop_oneof![6 => Just(0_usize), 1 => Just(1)];
    (place, age, validation())
        .prop_flat_map(move |(place, age, query)| {
            let status = place.at == At::Status;
            let edits = prop::collection::vec(pools::edit(resource, false, status), 0..3);
            (Just(place), Just(age), Just(query), edits)
        })
        .prop_map(|(place, age, query, edits)| {
            let content_type = "application/json".to_owned();
            let body = Body::Seen { age, edits };
            Step { method: "PUT".into(), place, query, content_type, body, settle: false }
        })
        .boxed()
}

/// Whether the controller manager acts on what is in a body.
fn is_collected(body: &Value) -> bool {
    let text = body.to_string();
    text.contains("Foreground")
        || text.contains("Orphan")
        || text.contains("ownerReferences")
        || text.contains("\"orphanDependents\"")
}

fn delete(resource: &'static str, owned: bool) -> BoxedStrategy<Step> {
    let waits = if owned { 6 } else { 0 };
    let policy = prop_oneof![
        8 => Just(json!({})),
        3 => Just(json!({"propagationPolicy": "Background"})),
        waits => Just(json!({"propagationPolicy": "Foreground"})),
        waits => Just(json!({"propagationPolicy": "Orphan"})),
        1 => Just(json!({"propagationPolicy": "Sideways"})),
        1 => Just(json!({"gracePeriodSeconds": 0})),
        1 => Just(json!({"dryRun": ["All"]})),
    ];
    let conditions = prop_oneof![
        8 => Just(json!({})),
        2 => Just(json!({"uid": "$uid"})),
        1 => Just(json!({"uid": "$uid-1"})),
        2 => Just(json!({"resourceVersion": "$rv"})),
        1 => Just(json!({"resourceVersion": "$rv-1"})),
        1 => Just(json!({"uid": "$uid", "resourceVersion": "$rv-1"})),
        1 => Just(json!({"uid": "never"})),
    ];
    let query = prop_oneof![
        12 => Just(vec![]),
        1 => Just(vec![("dryRun".to_owned(), "All".to_owned())]),
        1 => Just(vec![("propagationPolicy".to_owned(), "Background".to_owned())]),
        1 => Just(vec![("dryRun".to_owned(), "Some".to_owned())]),
    ];
    let empty = prop::bool::weighted(0.3);
    (place(resource, At::Object, 0), policy, conditions, query, empty)
        .prop_map(move |(place, mut options, conditions, query, empty)| {
            if conditions != json!({}) {
                options["preconditions"] = conditions;
            }
            let settle = owned || is_collected(&options);
            let body = if empty && !settle { Body::Nothing {} } else { Body::Json(options) };
            let content_type = if empty && !settle { "" } else { "application/json" }.to_owned();
            Step { method: "DELETE".into(), place, query, content_type, body, settle }
        })
        .boxed()
}
