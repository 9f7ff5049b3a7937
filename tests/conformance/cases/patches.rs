//! The controller's compare-and-swap: JSON patches with tests, and what other patches do.

use super::*;

fn first() -> Value {
    json!([
        test("/metadata/uid", json!("$uid")),
        test("/status", json!(null)),
        add("/status", json!({"seq": 1, "step": "one"}))
    ])
}

#[test]
fn a_test_against_null_creates_once() {
    Case::new("a_test_against_null_creates_once")
        .create("widgets/a")
        .patch("widgets/a/status", first())
        .gives(200)
        .patch("widgets/a/status", first())
        .refused(422, "Invalid")
        .causes(0)
        .hold();
}

#[test]
fn a_test_of_the_uid_stops_a_writer_of_the_object_before() {
    Case::new("a_test_of_the_uid_stops_a_writer_of_the_object_before")
        .create("widgets/a")
        .patch("widgets/a/status", first())
        .gives(200)
        .delete("widgets/a", json!({}))
        .gives(200)
        .create("widgets/a")
        .gives(201)
        .patch(
            "widgets/a/status",
            json!([
                test("/metadata/uid", json!("$uid-1")),
                test("/status", json!(null)),
                add("/status", json!({"seq": 1, "step": "one"}))
            ]),
        )
        .refused(422, "Invalid")
        .causes(0)
        .merge(
            "widgets/a/status",
            json!({"metadata": {"uid": "$uid-1"}, "status": {"seq": 1, "step": "one"}}),
        )
        .hold();
}

#[test]
fn a_stale_test_of_seq_or_generation_is_lost() {
    let next = |generation: &str, seq: i64| {
        json!([
            test("/metadata/uid", json!("$uid")),
            test("/metadata/generation", json!(generation)),
            test("/status/seq", json!(seq)),
            replace("/status/seq", json!(seq + 1)),
            replace("/status/step", json!("two")),
            add("/status/tail", json!([{"seq": seq + 1}]))
        ])
    };
    Case::new("a_stale_test_of_seq_or_generation_is_lost")
        .create("widgets/a")
        .patch("widgets/a/status", first())
        .merge("widgets/a", json!({"metadata": {"labels": {"l": "1"}}}))
        .patch("widgets/a/status", next("$generation", 2))
        .refused(422, "Invalid")
        .causes(0)
        .merge("widgets/a", json!({"spec": {"size": 5}}))
        .patch("widgets/a/status", next("$generation-1", 1))
        .refused(422, "Invalid")
        .causes(0)
        .patch("widgets/a/status", next("$generation", 1))
        .gives(200)
        .patch("widgets/a/status", next("$generation", 1))
        .refused(422, "Invalid")
        .causes(0)
        .hold();
}

#[test]
fn a_replaced_version_is_a_compare_and_swap() {
    let take = |rv: &str, epoch: i64| {
        json!([replace("/metadata/resourceVersion", json!(rv)), add("/spec/lock/epoch", json!(epoch))])
    };
    Case::new("a_replaced_version_is_a_compare_and_swap")
        .create("targetlocks/a")
        .patch("targetlocks/a", take("$rv", 1))
        .gives(200)
        .patch("targetlocks/a", take("$rv-1", 2))
        .refused(409, "Conflict")
        .patch("targetlocks/a", take("never", 2))
        .patch(
            "targetlocks/a",
            json!([replace("/metadata/resourceVersion", json!("")), add("/spec/lock/epoch", json!(2))]),
        )
        .patch(
            "targetlocks/a",
            json!([remove("/metadata/resourceVersion"), add("/spec/lock/epoch", json!(3))]),
        )
        .create("leases/a")
        .patch(
            "leases/a",
            json!([
                replace("/metadata/resourceVersion", json!("$rv")),
                replace("/spec/holderIdentity", json!("i"))
            ]),
        )
        .gives(200)
        .patch(
            "leases/a",
            json!([
                replace("/metadata/resourceVersion", json!("$rv-1")),
                replace("/spec/holderIdentity", json!("j"))
            ]),
        )
        .refused(409, "Conflict")
        .hold();
}

#[test]
fn a_merge_patch_with_a_version_is_a_compare_and_swap_and_without_one_it_is_none() {
    Case::new("a_merge_patch_with_a_version_is_a_compare_and_swap_and_without_one_it_is_none")
        .create("widgets/a")
        .merge("widgets/a", json!({"metadata": {"resourceVersion": "$rv"}, "spec": {"size": 4}}))
        .gives(200)
        .merge("widgets/a", json!({"metadata": {"resourceVersion": "$rv-1"}, "spec": {"size": 5}}))
        .refused(409, "Conflict")
        .merge("widgets/a", json!({"spec": {"size": 6}}))
        .gives(200)
        .merge("widgets/a", json!({"metadata": {"uid": "$uid"}, "spec": {"size": 7}}))
        .gives(200)
        .merge(
            "widgets/a",
            json!({"metadata": {"uid": "33333333-2222-4333-8444-555555555555"}, "spec": {"size": 8}}),
        )
        .hold();
}

#[test]
fn a_patch_that_cannot_be_applied_looks_like_a_failed_test() {
    Case::new("a_patch_that_cannot_be_applied_looks_like_a_failed_test")
        .create("widgets/a")
        .patch("widgets/a", json!([replace("/spec/nowhere", json!(1))]))
        .refused(422, "Invalid")
        .causes(0)
        .patch("widgets/a", json!([remove("/spec/nowhere")]))
        .refused(422, "Invalid")
        .patch("widgets/a", json!([add("/spec/nowhere/deeper", json!(1))]))
        .refused(422, "Invalid")
        .patch("widgets/a", json!([add("/spec/tags", json!(["t"])), add("/spec/tags/5", json!("u"))]))
        .refused(422, "Invalid")
        .patch("widgets/a", json!([{"op": "jump", "path": "/spec"}]))
        .patch("widgets/a", json!({"spec": 1}))
        .refused(400, "BadRequest")
        .send("PATCH", "widgets/a", "application/json-patch+json", Body::Text("[{".into()))
        .refused(400, "BadRequest")
        .send("PATCH", "widgets/a", "text/plain", Body::Text("{}".into()))
        .refused(415, "UnsupportedMediaType")
        .patch("widgets/a", json!([]))
        .gives(200)
        .hold();
}

#[test]
fn a_merge_patch_with_null_removes() {
    Case::new("a_merge_patch_with_null_removes")
        .create_with(
            "widgets/a",
            &[
                ("/metadata/labels", json!({"l": "1", "m": "x"})),
                ("/spec/tags", json!(["t"])),
                ("/spec/color", json!("blue")),
            ],
        )
        .merge(
            "widgets/a",
            json!({"metadata": {"labels": {"l": null}}, "spec": {"tags": null, "color": null}}),
        )
        .gives(200)
        .shows("/metadata/labels", json!({"m": "x"}))
        .shows("/spec/tags", Value::Null)
        .shows("/spec/color", json!("red"))
        .hold();
}
