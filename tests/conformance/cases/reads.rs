//! Lists, pages, selectors and watches.

use super::*;

#[test]
fn a_list_shows_what_was_written_before_it() {
    Case::new("a_list_shows_what_was_written_before_it")
        .get("widgets")
        .gives(200)
        .create("widgets/a")
        .get("widgets")
        .shows("/items/0/metadata/resourceVersion", json!("rv#1"))
        .merge("widgets/a", json!({"spec": {"size": 4}}))
        .get("widgets")
        .shows("/items/0/spec/size", json!(4))
        .delete("widgets/a", json!({}))
        .get("widgets")
        .shows("/items", json!([]))
        .hold();
}

#[test]
fn pages_are_of_one_moment() {
    Case::new("pages_are_of_one_moment")
        .create("widgets/a")
        .create("widgets/b")
        .create("widgets/c")
        .get("widgets?limit=2")
        .gives(200)
        .shows("/metadata/continue", json!("continue"))
        .shows("/metadata/remainingItemCount", json!(1))
        .merge("widgets/c", json!({"spec": {"size": 9}}))
        .get("widgets?limit=2&continue=$continue&resourceVersion=1")
        .refused(400, "BadRequest")
        .get("widgets?limit=2&continue=$continue")
        .gives(200)
        .shows("/items/0/spec/size", json!(3))
        .get("widgets?limit=2&continue=nonsense")
        .hold();
}

#[test]
fn fields_that_the_crd_names_can_be_selected() {
    Case::new("fields_that_the_crd_names_can_be_selected")
        .watching("widgets", &[("fieldSelector", "spec.color=red")])
        .create("widgets/a")
        .create_with("widgets/b", &[("/spec/color", json!("blue"))])
        .get("widgets?fieldSelector=spec.color=blue")
        .shows("/items/0/metadata/name", json!("b"))
        .get("widgets?fieldSelector=status.step=")
        .gives(200)
        .get("widgets?fieldSelector=metadata.name!=a")
        .gives(200)
        .get("widgets?fieldSelector=spec.size=3")
        .refused(400, "BadRequest")
        .merge("widgets/a", json!({"spec": {"color": "green"}}))
        .merge("widgets/b", json!({"spec": {"color": "red"}}))
        .hold();
}

#[test]
fn a_watch_by_label_sees_objects_come_and_go() {
    Case::new("a_watch_by_label_sees_objects_come_and_go")
        .watching("widgets", &[("labelSelector", "l=1")])
        .create("widgets/a")
        .merge("widgets/a", json!({"metadata": {"labels": {"l": "1"}}}))
        .merge("widgets/a", json!({"spec": {"size": 4}}))
        .merge("widgets/a", json!({"metadata": {"labels": {"l": "2"}}}))
        .merge("widgets/a", json!({"spec": {"size": 5}}))
        .merge("widgets/a", json!({"metadata": {"labels": {"l": "1"}}}))
        .delete("widgets/a", json!({}))
        .hold();
}

#[test]
fn a_watch_from_long_ago_has_to_list_again() {
    Case::new("a_watch_from_long_ago_has_to_list_again")
        .create("widgets/a")
        .get("widgets?watch=1&resourceVersion=1&timeoutSeconds=5")
        .get("widgets")
        .gives(200)
        .hold();
}

#[test]
fn a_watch_without_a_version_begins_with_what_is_there() {
    Case::new("a_watch_without_a_version_begins_with_what_is_there")
        .create("widgets/a")
        .get("widgets?watch=1&timeoutSeconds=5")
        .gives(200)
        .shows("/0/type", json!("ADDED"))
        .get("widgets?watch=true&resourceVersion=0&timeoutSeconds=5")
        .shows("/0/type", json!("ADDED"))
        .hold();
}

#[test]
fn a_version_of_the_future_times_out() {
    Case::new("a_version_of_the_future_times_out")
        .create("widgets/a")
        .get("widgets?resourceVersion=99999999999&resourceVersionMatch=NotOlderThan")
        .refused(504, "Timeout")
        .says("Too large resource version")
        .get("widgets/a?resourceVersion=99999999999")
        .refused(504, "Timeout")
        .get("widgets?resourceVersion=nonsense")
        .gives(400)
        .hold();
}
