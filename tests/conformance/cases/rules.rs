//! Schemas and rules: what is pruned, filled in, and refused, and how a refusal looks.

use super::*;

#[test]
fn a_rule_and_the_schema_are_refused_with_causes() {
    Case::new("a_rule_and_the_schema_are_refused_with_causes")
        .create_with("widgets/a", &[("/spec/fixed", json!("p")), ("/spec/code", json!("abc"))])
        .merge("widgets/a", json!({"spec": {"fixed": "q"}}))
        .refused(422, "Invalid")
        .causes(1)
        .merge("widgets/a", json!({"spec": {"fixed": null}}))
        .refused(422, "Invalid")
        .causes(1)
        .merge("widgets/a", json!({"spec": {"code": "bad", "size": 2}}))
        .refused(422, "Invalid")
        .causes(2)
        .merge("widgets/a", json!({"spec": {"size": 11, "color": "purple", "code": "A"}}))
        .refused(422, "Invalid")
        .merge("widgets/a", json!({"spec": {"size": "x"}}))
        .refused(422, "Invalid")
        .merge("widgets/a", json!({"spec": {"size": null}}))
        .refused(422, "Invalid")
        .shows("/details/causes/0/reason", json!("FieldValueRequired"))
        .create_with("widgets/forbidden", &[])
        .refused(422, "Invalid")
        .hold();
}

#[test]
fn unknown_fields_are_pruned_told_of_or_refused() {
    let unknown = || json!({"spec": {"unknown": 1, "nested": {"w": 1}}});
    Case::new("unknown_fields_are_pruned_told_of_or_refused")
        .create("widgets/a")
        .merge("widgets/a", unknown())
        .gives(200)
        .shows("/spec/unknown", Value::Null)
        .merge("widgets/a?fieldValidation=Warn", unknown())
        .gives(200)
        .merge("widgets/a?fieldValidation=Ignore", unknown())
        .gives(200)
        .merge("widgets/a?fieldValidation=Strict", unknown())
        .refused(422, "Invalid")
        .patch("widgets/a?fieldValidation=Strict", json!([add("/spec/unknown", json!(1))]))
        .refused(422, "Invalid")
        .causes(1)
        .shows("/details/causes/0/field", json!("patch"))
        .create_with("widgets/b?fieldValidation=Strict", &[("/spec/unknown", json!(1))])
        .refused(400, "BadRequest")
        .create_with("widgets/b?fieldValidation=Warn", &[("/spec/unknown", json!(1))])
        .gives(201)
        .create_with("widgets/c?fieldValidation=Odd", &[])
        .hold();
}

#[test]
fn what_is_kept_unknown_survives() {
    let state = json!({"two": {"by": "w", "new": {"x": [1, null]}}});
    Case::new("what_is_kept_unknown_survives")
        .create("widgets/a")
        .merge("widgets/a/status", json!({"status": {"seq": 1, "step": "one", "state": {"later": {"y": 1}}}}))
        .gives(200)
        .shows("/status/state/later/y", json!(1))
        .patch("widgets/a/status", json!([replace("/status/state", state)]))
        .gives(200)
        .shows("/status/state/two/new/x/0", json!(1))
        .merge("widgets/a/status", json!({"status": {"state": {"one": {}}}}))
        .refused(422, "Invalid")
        .shows("/details/causes/0/reason", json!("FieldValueTooMany"))
        .hold();
}

#[test]
fn defaults_are_filled_in() {
    Case::new("defaults_are_filled_in")
        .create_with("widgets/a", &[("/spec/items", json!([{"name": "i"}]))])
        .shows("/spec/color", json!("red"))
        .shows("/spec/nested", json!({"x": 1, "y": 7}))
        .shows("/spec/items/0/v", json!(1))
        .create("targetlocks/a")
        .shows("/spec/lock", json!({"epoch": 0, "finals": [], "holders": []}))
        .create_with("gadgets/a", &[("/spec/gone", json!(null))])
        .create("dataoperations/a")
        .hold();
}

#[test]
fn a_first_status_is_checked_by_optional_old_self() {
    Case::new("a_first_status_is_checked_by_optional_old_self")
        .create("widgets/a")
        .merge("widgets/a/status", json!({"status": {"seq": 2, "step": "two"}}))
        .refused(422, "Invalid")
        .causes(1)
        .merge("widgets/a/status", json!({"status": {"seq": 1, "step": "one"}}))
        .gives(200)
        .merge("widgets/a/status", json!({"status": {"seq": 3, "step": "four"}}))
        .refused(422, "Invalid")
        .causes(2)
        .hold();
}

/// The first trap of date-times: the old value of `optionalOldSelf` is untyped.
#[test]
fn an_optional_old_value_with_a_date_time_differs_from_itself() {
    Case::new("an_optional_old_value_with_a_date_time_differs_from_itself")
        .create_with("gadgets/a", &[("/spec/seen", json!({"at": "2026-01-01T00:00:00Z"}))])
        .gives(201)
        .merge("gadgets/a", json!({"metadata": {"labels": {"l": "1"}}}))
        .create_with("gadgets/b", &[("/spec/seen", json!({"n": 1}))])
        .merge("gadgets/b", json!({"metadata": {"labels": {"l": "1"}}}))
        .gives(200)
        .merge("gadgets/b", json!({"spec": {"seen": {"n": 2}}}))
        .refused(422, "Invalid")
        .hold();
}

/// The second: date-times are compared as instants.
#[test]
fn a_date_time_may_be_rewritten_as_the_same_instant() {
    Case::new("a_date_time_may_be_rewritten_as_the_same_instant")
        .create_with("gadgets/a", &[("/spec/at", json!("2026-01-01T00:00:00Z"))])
        .merge("gadgets/a", json!({"spec": {"at": "2026-01-01T00:00:00.000Z"}}))
        .gives(200)
        .merge("gadgets/a", json!({"spec": {"at": "2026-01-01T00:00:01Z"}}))
        .refused(422, "Invalid")
        .hold();
}

/// The third: a plain union loses a variant that its schema does not know.
#[test]
fn a_union_loses_a_variant_that_its_schema_does_not_know() {
    Case::new("a_union_loses_a_variant_that_its_schema_does_not_know")
        .create_with("gadgets/a", &[("/spec/union", json!({"a": {"x": 1}, "c": {"z": 1}}))])
        .gives(201)
        .shows("/spec/union", json!({"a": {"x": 1}}))
        .create_with("gadgets/b", &[("/spec/union", json!({"c": {}}))])
        .refused(422, "Invalid")
        .create_with("gadgets/b", &[("/spec/union", json!({"a": {}, "b": {}}))])
        .refused(422, "Invalid")
        .hold();
}

#[test]
fn records_are_kept_by_their_rules() {
    Case::new("records_are_kept_by_their_rules")
        .create("operationjournals/a")
        .gives(201)
        .merge("operationjournals/a", json!({"spec": {"digest": "e"}}))
        .refused(422, "Invalid")
        .causes(1)
        .merge("operationjournals/a", json!({"metadata": {"labels": {"l": "1"}}}))
        .gives(200)
        .create("targetlocks/a")
        .merge("targetlocks/a", json!({"spec": {"lock": {"epoch": 2}}}))
        .gives(200)
        .merge("targetlocks/a", json!({"spec": {"lock": {"epoch": 1}}}))
        .refused(422, "Invalid")
        .merge("targetlocks/a", json!({"spec": {"identity": "j"}}))
        .refused(422, "Invalid")
        .hold();
}
