//! The JSON paths of printer columns: `.status.phase`, `.spec.lock.holders[*].name`, `.items[0]`, `.labels['a.b']`,
//! `.labels.a\.b`. Conditions (`[?(@.type=="Ready")].status`) compare one field with one word.

use serde_json::Value;

#[derive(Debug, PartialEq)]
enum Step {
    Field(String),
    Index(usize),
    All,
    Where { field: String, word: String },
}

/// The first thing that the path finds.
pub(super) fn first<'a>(object: &'a Value, path: &str) -> Option<&'a Value> {
    find(object, &parse(path)?)
}

fn find<'a>(value: &'a Value, steps: &[Step]) -> Option<&'a Value> {
    let Some((step, rest)) = steps.split_first() else { return Some(value) };
    match step {
        Step::Field(name) => find(value.get(name)?, rest),
        Step::Index(at) => find(value.get(at)?, rest),
        Step::All => match value {
            Value::Array(items) => items.iter().find_map(|item| find(item, rest)),
            Value::Object(fields) => fields.values().find_map(|item| find(item, rest)),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => None,
        },
        Step::Where { field, word } => {
            let mut fits = value.as_array()?.iter().filter(|i| i[field].as_str() == Some(word));
            fits.find_map(|item| find(item, rest))
        }
    }
}

fn parse(path: &str) -> Option<Vec<Step>> {
    let mut steps = Vec::new();
    let mut rest = path;
    while !rest.is_empty() {
        if let Some(inner) = rest.strip_prefix('[') {
            let end = inner.find(']')?;
            steps.push(bracket(inner.get(..end)?)?);
            rest = inner.get(end + 1..)?;
            continue;
        }
        rest = rest.strip_prefix('.').unwrap_or(rest);
        let (mut name, mut escaped, mut end) = (String::new(), false, rest.len());
        for (at, c) in rest.char_indices() {
            match c {
                '\\' if !escaped => escaped = true,
                '.' | '[' if !escaped => {
                    end = at;
                    break;
                }
                _ => {
                    name.push(c);
                    escaped = false;
                }
            }
        }
        if name.is_empty() {
            return None;
        }
        steps.push(if name == "*" { Step::All } else { Step::Field(name) });
        rest = rest.get(end..)?;
    }
    Some(steps)
}

fn bracket(inner: &str) -> Option<Step> {
    if inner == "*" {
        return Some(Step::All);
    }
    let quoted = |text: &str| {
        let text = text.trim();
        ['\'', '"'].iter().find_map(|&q| text.strip_prefix(q)?.strip_suffix(q).map(str::to_owned))
    };
    if let Some(condition) = inner.strip_prefix("?(@.").and_then(|c| c.strip_suffix(')')) {
        let (field, word) = condition.split_once("==")?;
        return Some(Step::Where { field: field.trim().to_owned(), word: quoted(word)? });
    }
    quoted(inner).map(Step::Field).or_else(|| inner.parse().ok().map(Step::Index))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_paths_of_columns_find_what_they_name() {
        let object = json!({
            "status": {"phase": "Running", "conditions": [{"type": "A", "status": "no"}, {"type": "B", "status": "yes"}]},
            "holders": [{"name": "one"}, {"name": "two"}],
            "labels": {"a.b": "c"},
        });
        for (path, found) in [
            (".status.phase", Some("Running")),
            (".holders[*].name", Some("one")),
            (".holders[1].name", Some("two")),
            (".holders[2].name", None),
            (".labels['a.b']", Some("c")),
            (r".labels.a\.b", Some("c")),
            (r#".status.conditions[?(@.type=="B")].status"#, Some("yes")),
            (".nothing.here", None),
            ("..", None),
        ] {
            assert_eq!(first(&object, path).and_then(Value::as_str), found, "{path}");
        }
    }
}
