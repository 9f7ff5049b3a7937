//! Rows for `kubectl get`: the columns of a CRD by its JSON paths, those of the built-in kinds by hand, and what
//! `kubectl` wants beside each row.

mod builtin;
mod path;

use super::{Column, Kind};
use chrono::{DateTime, Utc};
use serde_json::{Map, Value, json};
use std::sync::Arc;

/// What a row says of its object beside its cells (`includeObject`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Include {
    /// Its metadata.
    Metadata,
    /// All of it: for `--sort-by` and the like.
    Object,
    /// Nothing.
    None,
}

/// A `meta.k8s.io/v1` Table of `objects`, with `list_meta` as its metadata.
pub(crate) fn of(
    kind: &Kind,
    objects: &[Arc<Value>],
    list_meta: Value,
    now: DateTime<Utc>,
    include: Include,
) -> Value {
    let (definitions, cells): (Vec<Value>, Vec<Vec<Value>>) = if kind.columns.is_empty() {
        builtin::table(kind, objects, now)
    } else {
        (
            custom_definitions(&kind.columns),
            objects.iter().map(|o| custom_cells(&kind.columns, o, now)).collect(),
        )
    };
    let rows: Vec<Value> = objects
        .iter()
        .zip(cells)
        .map(|(object, cells)| json!({"cells": cells, "object": beside(object, include)}))
        .collect();
    json!({
        "kind": "Table", "apiVersion": "meta.k8s.io/v1", "metadata": list_meta,
        "columnDefinitions": definitions, "rows": rows,
    })
}

fn beside(object: &Value, include: Include) -> Value {
    match include {
        Include::Object => object.clone(),
        Include::None => Value::Null,
        Include::Metadata => json!({
            "kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": object["metadata"],
        }),
    }
}

fn definition(name: &str, type_: &str, format: &str, description: &str, priority: i64) -> Value {
    json!({"name": name, "type": type_, "format": format, "description": description, "priority": priority})
}

fn name_definition() -> Value {
    definition("Name", "string", "name", "Name must be unique within a namespace.", 0)
}

fn custom_definitions(columns: &[Column]) -> Vec<Value> {
    let own = columns.iter().map(|c| definition(&c.name, &c.type_, "", &c.description, c.priority));
    std::iter::once(name_definition()).chain(own).collect()
}

/// A cell is null when its path finds nothing or something of another type, as the real server has it. Of several
/// finds, the first one is shown.
fn custom_cells(columns: &[Column], object: &Value, now: DateTime<Utc>) -> Vec<Value> {
    let own = columns.iter().map(|column| {
        let Some(found) = path::first(object, &column.path) else { return Value::Null };
        match column.type_.as_str() {
            "string" => text(found),
            "date" => found.as_str().map_or(Value::Null, |text| json!(age(text, now))),
            "integer" => whole_number(found),
            "number" => found.as_f64().map_or(Value::Null, |n| json!(n)),
            "boolean" if found.is_boolean() => found.clone(),
            _ => Value::Null,
        }
    });
    std::iter::once(object["metadata"]["name"].clone()).chain(own).collect()
}

fn text(found: &Value) -> Value {
    match found {
        Value::Null => Value::Null,
        Value::String(_) => found.clone(),
        Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => json!(found.to_string()),
    }
}

#[allow(clippy::cast_possible_truncation, reason = "the real server cuts fractions off as well")]
fn whole_number(found: &Value) -> Value {
    found.as_i64().or_else(|| found.as_f64().map(|n| n as i64)).map_or(Value::Null, |n| json!(n))
}

/// How long ago a time was, as kubectl writes ages.
fn age(text: &str, now: DateTime<Utc>) -> String {
    DateTime::parse_from_rfc3339(text)
        .map_or_else(|_| "<invalid>".into(), |then| duration((now - then.to_utc()).num_seconds()))
}

/// Seconds, with the two units that matter at that size.
fn duration(seconds: i64) -> String {
    let (minutes, hours) = (seconds / 60, seconds / 3600);
    let two = |first: i64, unit: &str, second: i64, smaller: &str| {
        if second == 0 { format!("{first}{unit}") } else { format!("{first}{unit}{second}{smaller}") }
    };
    match (seconds, minutes, hours) {
        (..-1, _, _) => "<invalid>".into(),
        (..0, _, _) => "0s".into(),
        (..120, _, _) => format!("{seconds}s"),
        (_, ..10, _) => two(minutes, "m", seconds % 60, "s"),
        (_, ..180, _) => format!("{minutes}m"),
        (_, _, ..8) => two(hours, "h", minutes % 60, "m"),
        (_, _, ..48) => format!("{hours}h"),
        (_, _, ..192) => two(hours / 24, "d", hours % 24, "h"),
        (_, _, ..17_520) => format!("{}d", hours / 24),
        (_, _, ..70_080) => two(hours / 24 / 365, "y", hours / 24 % 365, "d"),
        _ => format!("{}y", hours / 24 / 365),
    }
}

/// The object's own age.
fn since_created(object: &Value, now: DateTime<Utc>) -> Value {
    let created = object["metadata"]["creationTimestamp"].as_str();
    json!(created.map_or_else(|| "<unknown>".into(), |text| age(text, now)))
}

/// `k=v` for each, or `<none>`.
fn selector(labels: Option<&Map<String, Value>>) -> String {
    let pairs: Vec<String> = labels
        .into_iter()
        .flatten()
        .map(|(key, value)| format!("{key}={}", value.as_str().unwrap_or_default()))
        .collect();
    if pairs.is_empty() { "<none>".into() } else { pairs.join(",") }
}

#[cfg(test)]
mod tests {
    use super::duration;

    #[test]
    fn ages_are_written_as_kubectl_writes_them() {
        const DAY: i64 = 86_400;
        for (seconds, text) in [
            (-5, "<invalid>"),
            (-1, "0s"),
            (0, "0s"),
            (119, "119s"),
            (120, "2m"),
            (125, "2m5s"),
            (600, "10m"),
            (3 * 3600, "3h"),
            (3 * 3600 + 60, "3h1m"),
            (8 * 3600 + 60, "8h"),
            (2 * DAY, "2d"),
            (2 * DAY + 3600, "2d1h"),
            (8 * DAY, "8d"),
            (3 * 365 * DAY, "3y"),
            (3 * 365 * DAY + 2 * DAY, "3y2d"),
        ] {
            assert_eq!(duration(seconds), text, "{seconds} s");
        }
    }
}
