//! What fields are set to: values that are right, and values that are wrong in one way each.

use crate::step::Edit;
use proptest::prelude::*;
use serde_json::{Value, json};

/// A field and values for it; null stands for null, and an absent value for removal.
type Field = (&'static str, Vec<Value>);

/// An edit of an object of a kind, in its status or outside of it.
pub fn edit(resource: &'static str, owned: bool, status: bool) -> BoxedStrategy<Edit> {
    let removal = prop::bool::weighted(0.1);
    (field(resource, owned, status), removal)
        .prop_map(|((at, value), removal)| Edit { at: at.to_owned(), to: (!removal).then_some(value) })
        .boxed()
}

/// A field and a value.
pub fn field(resource: &'static str, owned: bool, status: bool) -> BoxedStrategy<(&'static str, Value)> {
    prop_oneof![19 => own_field(resource, owned, status), 1 => one_of(foreign(resource, status))].boxed()
}

/// A field of the part that the call is about.
pub fn own_field(resource: &'static str, owned: bool, status: bool) -> BoxedStrategy<(&'static str, Value)> {
    let content = if status { self::status(resource) } else { content(resource) };
    let owner = if owned { 12 } else { 0 };
    prop_oneof![
        12 => one_of(content),
        6 => one_of(metadata()),
        1 => one_of(odd_metadata()),
        owner => one_of(owners()),
    ]
    .boxed()
}

/// Fields of the part that a call leaves alone, always of the right type: when the real server cannot make typed
/// fields of what it is sent, it forgets the object's managedFields, and the write that changes nothing is one that
/// makes a version. There are no managedFields here.
fn foreign(resource: &str, status: bool) -> Vec<Field> {
    match (resource, status) {
        ("widgets", true) => vec![
            ("/spec/size", vec![json!(3), json!(4), json!(11)]),
            ("/spec/color", vec![json!("green"), json!("purple")]),
            ("/spec/unknown", vec![json!(1)]),
        ],
        ("widgets", false) => vec![
            ("/status", vec![json!({"seq": 1, "step": "one"}), json!({})]),
            ("/status/seq", vec![json!(1), json!(2)]),
            ("/status/note", vec![json!("n")]),
            ("/status/unknown", vec![json!(1)]),
        ],
        ("dataoperations", true) => vec![
            ("/spec/target", vec![json!("t"), json!("u")]),
            ("/spec/priority", vec![json!(1)]),
            ("/spec/control/cancel", vec![json!(true)]),
        ],
        ("dataoperations", false) => vec![
            ("/status", vec![birth(), second(), json!({})]),
            ("/status/seq", vec![json!(1), json!(2)]),
            ("/status/phase", vec![json!("Running"), json!("Odd")]),
        ],
        (_, true) => content(resource),
        (_, false) => self::status(resource),
    }
}

fn one_of(fields: Vec<Field>) -> BoxedStrategy<(&'static str, Value)> {
    let field = prop::sample::select(fields);
    field.prop_flat_map(|(at, values)| prop::sample::select(values).prop_map(move |v| (at, v))).boxed()
}

fn metadata() -> Vec<Field> {
    vec![
        ("/metadata/labels/l", vec![json!("1"), json!("2"), json!("")]),
        ("/metadata/labels/m", vec![json!("x")]),
        ("/metadata/labels", vec![json!({"l": "1"}), json!({"l": "2", "m": "x"}), json!({})]),
        ("/metadata/annotations/n", vec![json!("1"), json!("2")]),
        ("/metadata/annotations/x~1y", vec![json!("1")]),
        (
            "/metadata/finalizers",
            vec![
                json!(["ratchet.dev/hold"]),
                json!(["ratchet.dev/hold", "ratchet.dev/two"]),
                json!([]),
                json!(null),
            ],
        ),
        ("/metadata/finalizers", vec![json!(["ratchet.dev/hold"]), json!(["ratchet.dev/hold"]), json!([])]),
        (
            "/metadata/resourceVersion",
            vec![json!("$rv"), json!("$rv"), json!("$rv-1"), json!(""), json!(null)],
        ),
        ("/metadata/uid", vec![json!("$uid"), json!("$uid-1")]),
    ]
}

fn odd_metadata() -> Vec<Field> {
    vec![
        ("/metadata/labels/l", vec![json!("not a label"), json!("-"), json!(null)]),
        ("/metadata/labels/no~1good~1key", vec![json!("1")]),
        ("/metadata/annotations", vec![json!(null), json!({})]),
        ("/metadata/annotations/x y", vec![json!("1")]),
        (
            "/metadata/finalizers",
            vec![json!(["unqualified"]), json!(["a b/c"]), json!(["ratchet.dev/hold", "ratchet.dev/hold"])],
        ),
        ("/metadata/resourceVersion", vec![json!("7"), json!("x"), json!("0")]),
        ("/metadata/uid", vec![json!("never"), json!("")]),
        ("/metadata/generation", vec![json!(1), json!(99)]),
        ("/metadata/creationTimestamp", vec![json!("2020-01-01T00:00:00Z"), json!(null)]),
        ("/metadata/deletionTimestamp", vec![json!("2020-01-01T00:00:00Z"), json!(null)]),
        ("/metadata/deletionGracePeriodSeconds", vec![json!(5)]),
        ("/metadata/name", vec![json!("$me:b"), json!("Not.Good_"), json!(""), json!("$me")]),
        ("/metadata/namespace", vec![json!("$ns"), json!("$ns-1"), json!("")]),
        ("/metadata/generateName", vec![json!("g-")]),
        ("/metadata/selfLink", vec![json!("/here")]),
        ("/metadata/unknown", vec![json!(1)]),
        ("/metadata/labels", vec![json!(null)]),
    ]
}

fn owners() -> Vec<Field> {
    let by =
        |name: &str, uid: &str| json!({"apiVersion": "v1", "kind": "ConfigMap", "name": name, "uid": uid});
    let blocking = |name: &str, uid: &str| {
        let mut owner = by(name, uid);
        owner["blockOwnerDeletion"] = json!(true);
        owner
    };
    vec![(
        "/metadata/ownerReferences",
        vec![
            json!([by("a", "$uid:configmaps/a")]),
            json!([blocking("a", "$uid:configmaps/a")]),
            json!([by("a", "$uid:configmaps/a"), by("b", "$uid:configmaps/b")]),
            json!([by("nobody", "22222222-2222-4333-8444-555555555555")]),
            json!([]),
        ],
    )]
}

fn content(resource: &str) -> Vec<Field> {
    match resource {
        "widgets" => widget(),
        "gadgets" => gadget(),
        "dataoperations" => operation(),
        "targetlocks" => vec![
            ("/spec/lock/epoch", vec![json!(0), json!(1), json!(2), json!(-1)]),
            ("/spec/lock/holders", vec![json!([]), json!([{"name": "o"}]), json!(null)]),
            ("/spec/lock", vec![json!({"epoch": 3}), json!(null), json!({})]),
            ("/spec/identity", vec![json!("i"), json!("j"), json!(null)]),
            ("/spec/claim/name", vec![json!("c"), json!("d"), json!(5)]),
        ],
        "operationjournals" => vec![
            ("/spec/digest", vec![json!("d"), json!("e")]),
            ("/spec/lastSeq", vec![json!(1), json!(2), json!(0), json!("1")]),
            ("/spec/entries", vec![json!([]), json!(null)]),
            ("/spec/extra", vec![json!(1)]),
        ],
        "configmaps" => vec![
            ("/data/k", vec![json!("v"), json!("w")]),
            ("/data/other", vec![json!("1"), json!("2")]),
            ("/data", vec![json!({"k": "v"}), json!(null)]),
            ("/immutable", vec![json!(false)]),
        ],
        "leases" => vec![
            ("/spec/holderIdentity", vec![json!("h"), json!("i")]),
            ("/spec/leaseDurationSeconds", vec![json!(15), json!(30)]),
            (
                "/spec/renewTime",
                vec![json!("2026-01-01T00:00:00.000000Z"), json!("2026-01-01T00:00:01.000000Z")],
            ),
            ("/spec/leaseTransitions", vec![json!(1)]),
        ],
        _ => vec![("/spec/a", vec![json!(1)])],
    }
}

fn widget() -> Vec<Field> {
    vec![
        ("/spec/size", vec![json!(3), json!(4), json!(5), json!(10)]),
        ("/spec/size", vec![json!(0), json!(11), json!(-1), json!("3"), json!(3.5), json!(null)]),
        ("/spec/color", vec![json!("red"), json!("green"), json!("blue"), json!("purple"), json!(null)]),
        ("/spec/fixed", vec![json!("p"), json!("q"), json!("toolong"), json!(null)]),
        ("/spec/code", vec![json!("abc"), json!("bad"), json!("ABC"), json!("a"), json!("abcdefg")]),
        (
            "/spec/tags",
            vec![
                json!([]),
                json!(["t"]),
                json!(["t", "u"]),
                json!(["t", "t"]),
                json!(["a", "b", "c", "d"]),
                json!("t"),
                json!(null),
            ],
        ),
        ("/spec/tags/0", vec![json!("v"), json!(5)]),
        ("/spec/tags/-", vec![json!("w")]),
        ("/spec/when", vec![json!("2026-01-01T00:00:00Z"), json!("2026-01-01T00:00:00.000Z"), json!("nope")]),
        ("/spec/ratio", vec![json!(0.5), json!(0), json!(1), json!("1")]),
        (
            "/spec/nested",
            vec![
                json!({}),
                json!({"x": 2}),
                json!({"x": 1, "y": null}),
                json!({"x": 1, "z": null}),
                json!({"x": 1, "w": 1}),
                json!(null),
            ],
        ),
        ("/spec/nested/y", vec![json!(8), json!(null), json!("8")]),
        ("/spec/free", vec![json!({"k": {"z": 1}}), json!({"known": 1}), json!({"known": "1"}), json!({})]),
        ("/spec/free/deep", vec![json!(null), json!([1, {"a": null}])]),
        (
            "/spec/words",
            vec![json!({"k": "v"}), json!({"k": 1}), json!({"a": "1", "b": "2", "c": "3"}), json!({})],
        ),
        ("/spec/port", vec![json!(80), json!("http"), json!(true), json!(1.5)]),
        (
            "/spec/items",
            vec![
                json!([{"name": "i"}]),
                json!([{"name": "i"}, {"name": "i"}]),
                json!([{"v": 1}]),
                json!([{"name": "i", "v": 2}, {"name": "j"}]),
                json!([null]),
            ],
        ),
        ("/spec/unknown", vec![json!(1), json!({"a": 1})]),
        ("/spec", vec![json!({"size": 6}), json!({}), json!(null), json!([])]),
        ("/unknown", vec![json!(1)]),
    ]
}

fn gadget() -> Vec<Field> {
    vec![
        ("/spec/size", vec![json!(1), json!(2), json!(4_294_967_296_i64), json!(null)]),
        (
            "/spec/seen",
            vec![json!({"at": "2026-01-01T00:00:00Z"}), json!({"n": 1}), json!({"n": 2}), json!({})],
        ),
        (
            "/spec/at",
            vec![
                json!("2026-01-01T00:00:00Z"),
                json!("2026-01-01T00:00:00.000Z"),
                json!("2027-01-01T00:00:00Z"),
                json!("nope"),
            ],
        ),
        (
            "/spec/union",
            vec![
                json!({"a": {}}),
                json!({"b": {}}),
                json!({"a": {}, "b": {}}),
                json!({}),
                json!({"c": {}}),
                json!({"a": {"x": 1, "y": 2}}),
            ],
        ),
        ("/spec/gone", vec![json!("g"), json!(null)]),
        ("/spec/list", vec![json!(["p"]), json!(["p", "q"]), json!([]), json!(["r"]), json!(["p", null])]),
        ("/status/seq", vec![json!(1), json!(2), json!("1")]),
        ("/spec", vec![json!({}), json!(null)]),
    ]
}

fn operation() -> Vec<Field> {
    vec![
        (
            "/spec/operation",
            vec![
                json!({"load": {"paths": ["/p"]}}),
                json!({"free": {"paths": ["/p"]}}),
                json!({}),
                json!({"load": {"paths": ["/p"]}, "free": {"paths": ["/p"]}}),
                json!({"new": {}}),
            ],
        ),
        (
            "/spec/operation/load/paths",
            vec![
                json!(["/p"]),
                json!([]),
                json!(["p"]),
                json!(["/p/"]),
                json!(["/a/../b"]),
                json!(["/a//b", "c"]),
                json!(["/p", "/q"]),
            ],
        ),
        ("/spec/operation/load/verify", vec![json!(true), json!("yes")]),
        ("/spec/operation/load/minCachedPercent", vec![json!(50), json!(101)]),
        ("/spec/target", vec![json!("t"), json!("u"), json!(null)]),
        ("/spec/priority", vec![json!(1), json!(2), json!("1")]),
        ("/spec/control/cancel", vec![json!(true), json!(false)]),
        ("/spec/control/suspend", vec![json!(true), json!(false)]),
        ("/spec/control/retry", vec![json!(1), json!(2), json!(0)]),
        ("/spec/control", vec![json!({}), json!(null), json!({"cancel": true, "suspend": true})]),
        ("/spec/deadlineSeconds", vec![json!(60), json!(90), json!(0)]),
        ("/spec/ttlAfterFinishedSeconds", vec![json!(60)]),
        ("/spec/runAfter", vec![json!([{"name": "b"}]), json!([{"name": "a"}]), json!([])]),
        ("/spec/retryPolicy", vec![json!({"limit": 2}), json!({"limit": -1})]),
        ("/spec/approval", vec![json!("Automatic"), json!("Manual"), json!("Perhaps")]),
        ("/spec/unknown", vec![json!(1)]),
    ]
}

fn status(resource: &str) -> Vec<Field> {
    match resource {
        "widgets" => vec![
            (
                "/status",
                vec![
                    json!({"seq": 1, "step": "one"}),
                    json!({"seq": 1, "step": "one"}),
                    json!({"seq": 2, "step": "two"}),
                    json!({"seq": 3, "step": "three", "tail": [{"seq": 3}]}),
                    json!({}),
                    json!(null),
                ],
            ),
            ("/status/seq", vec![json!(1), json!(2), json!(3), json!(0), json!("1")]),
            (
                "/status/step",
                vec![json!("one"), json!("two"), json!("three"), json!("four"), json!("ridiculous")],
            ),
            ("/status/note", vec![json!("n"), json!("m"), json!(null)]),
            (
                "/status/state",
                vec![
                    json!({"one": {}}),
                    json!({"two": {"by": "w", "new": 1}}),
                    json!({"one": {}, "two": {}}),
                    json!({"three": {"x": null}}),
                ],
            ),
            (
                "/status/tail",
                vec![
                    json!([{"seq": 1}]),
                    json!([{"seq": 1, "line": "x"}, {"seq": 2}]),
                    json!([]),
                    json!([{"seq": 1}, {"seq": 2}, {"seq": 3}, {"seq": 4}]),
                ],
            ),
            ("/status/tail/-", vec![json!({"seq": 2}), json!({"line": "x"})]),
            ("/status/tail/0", vec![json!({"seq": 1, "line": "changed"})]),
            ("/status/unknown", vec![json!(1)]),
        ],
        "dataoperations" => vec![
            ("/status", vec![birth(), birth(), birth(), second(), json!(null), json!({})]),
            ("/status", vec![second(), second()]),
            ("/status/seq", vec![json!(1), json!(2)]),
            ("/status/step", vec![json!("queued"), json!("preflight")]),
            ("/status/phase", vec![json!("Running"), json!("Queued"), json!("Odd")]),
            (
                "/status/state",
                vec![
                    json!({"load": {"queued": {}}}),
                    json!({"load": {"later": {"x": 1}}}),
                    json!({"load": {"queued": {}}, "free": {}}),
                ],
            ),
            ("/status/tail/-", vec![json!({"seq": 2, "at": "t", "event": "E", "body": "{}"})]),
            ("/status/fence/epoch", vec![json!(1), json!(0)]),
            ("/status/waitingOn", vec![json!({"reason": "R", "message": "m"}), json!({"reason": "R"})]),
        ],
        _ => vec![("/status", vec![json!({"seq": 1}), json!({})]), ("/status/seq", vec![json!(1), json!(2)])],
    }
}

/// The status of a load that has just been seen.
pub fn birth() -> Value {
    json!({"seq": 1, "kind": "load", "step": "queued", "phase": "Queued", "state": {"load": {"queued": {}}},
        "machineVersion": 1, "round": 0, "handledRetry": 0, "failures": 0, "fence": {"epoch": 0, "attempt": 0},
        "plan": {"hash": "h"}, "digest": "d1", "sealedThrough": 0,
        "tail": [{"seq": 1, "at": "t", "event": "Created", "body": "{}"}]})
}

/// The status after it was given the engine.
pub fn second() -> Value {
    let mut status = birth();
    let more = json!({"seq": 2, "step": "preflight", "phase": "Running", "state": {"load": {"preflight": {}}},
        "fence": {"epoch": 1, "attempt": 0}, "digest": "d2"});
    for (key, value) in more.as_object().into_iter().flatten() {
        status[key] = value.clone();
    }
    status["tail"] = json!([birth()["tail"][0], {"seq": 2, "at": "t", "event": "HoldGranted", "body": "{}"}]);
    status
}
