//! Label and field selectors, with the real server's words for what it cannot read.

use super::Kind;
use super::failure::{Answer, Failure};
use serde_json::Value;
use std::borrow::Cow;

/// Which objects a list or a watch is about.
#[derive(Debug, Clone, Default)]
pub(crate) struct Selector {
    labels: Vec<Requirement>,
    fields: Vec<(String, bool, String)>,
}

#[derive(Debug, Clone)]
struct Requirement {
    key: String,
    test: Test,
}

#[derive(Debug, Clone)]
enum Test {
    In(Vec<String>),
    NotIn(Vec<String>),
    Exists,
    Absent,
}

impl Selector {
    /// Reads both parameters.
    pub(crate) fn parse(kind: &Kind, labels: &str, fields: &str) -> Answer<Self> {
        Ok(Self { labels: parse_labels(labels)?, fields: parse_fields(kind, fields)? })
    }

    /// From the `matchLabels` and `matchExpressions` of an object; one without any selects everything.
    pub(crate) fn of(selector: &Value) -> Self {
        let mut labels = Vec::new();
        for (key, value) in selector["matchLabels"].as_object().into_iter().flatten() {
            let values = vec![value.as_str().unwrap_or_default().to_owned()];
            labels.push(Requirement { key: key.clone(), test: Test::In(values) });
        }
        for expression in selector["matchExpressions"].as_array().into_iter().flatten() {
            let values = expression["values"].as_array().into_iter().flatten();
            let values: Vec<String> = values.filter_map(Value::as_str).map(str::to_owned).collect();
            let test = match expression["operator"].as_str().unwrap_or_default() {
                "In" => Test::In(values),
                "NotIn" => Test::NotIn(values),
                "DoesNotExist" => Test::Absent,
                _ => Test::Exists,
            };
            labels.push(Requirement { key: expression["key"].as_str().unwrap_or_default().to_owned(), test });
        }
        Self { labels, fields: Vec::new() }
    }

    /// Whether it selects everything.
    pub(crate) const fn is_empty(&self) -> bool {
        self.labels.is_empty() && self.fields.is_empty()
    }

    /// Whether it selects the object.
    pub(crate) fn matches(&self, object: &Value) -> bool {
        let labels = object.get("metadata").and_then(|m| m.get("labels"));
        self.labels.iter().all(|r| {
            let value = labels.and_then(|l| l.get(&r.key)).and_then(Value::as_str);
            match (&r.test, value) {
                (Test::In(values), Some(value)) => values.iter().any(|v| v == value),
                (Test::In(_), None) | (Test::Exists, None) | (Test::Absent, Some(_)) => false,
                (Test::NotIn(values), Some(value)) => !values.iter().any(|v| v == value),
                (Test::NotIn(_), None) | (Test::Exists, Some(_)) | (Test::Absent, None) => true,
            }
        }) && self.fields.iter().all(|(path, equal, wanted)| (field(object, path) == *wanted) == *equal)
    }
}

/// The text of a field; empty when it is not there.
fn field<'a>(object: &'a Value, path: &str) -> Cow<'a, str> {
    let found = path.split('.').try_fold(object, |value, part| value.get(part));
    match found {
        Some(Value::String(text)) => Cow::Borrowed(text),
        Some(Value::Null) | None => Cow::Borrowed(""),
        Some(other) => Cow::Owned(other.to_string()),
    }
}

fn parse_fields(kind: &Kind, text: &str) -> Answer<Vec<(String, bool, String)>> {
    let mut out = Vec::new();
    for term in text.split(',').filter(|t| !t.is_empty()) {
        let split = term
            .split_once("!=")
            .map(|(k, v)| (k, false, v))
            .or_else(|| term.split_once("==").map(|(k, v)| (k, true, v)))
            .or_else(|| term.split_once('=').map(|(k, v)| (k, true, v)));
        let Some((key, equal, value)) = split else {
            let message = format!("invalid selector: '{text}'; can't understand '{term}'");
            return Err(Failure::bad_request(message));
        };
        let key = key.trim();
        let known = key == "metadata.name"
            || (key == "metadata.namespace" && kind.namespaced)
            || kind.selectable.iter().any(|p| p.trim_start_matches('.') == key);
        if !known {
            let plain = kind.schema.is_none() && kind.selectable.is_empty();
            let message = if plain {
                format!(
                    "\"{key}\" is not a known field selector: only \"metadata.name\", \"metadata.namespace\""
                )
            } else {
                format!("field label not supported: {key}")
            };
            return Err(Failure::bad_request(message));
        }
        let core = kind.group == "events.k8s.io" && key.starts_with("regarding.");
        let key = if core { key.replacen("regarding", "involvedObject", 1) } else { key.to_owned() };
        out.push((key, equal, value.to_owned()));
    }
    Ok(out)
}

/// Words and signs of a label selector.
fn tokens(text: &str) -> Vec<String> {
    let mut out: Vec<String> = Vec::new();
    let mut chars = text.chars().peekable();
    while let Some(&c) = chars.peek() {
        match c {
            c if c.is_whitespace() => {
                chars.next();
            }
            '(' | ')' | ',' => {
                out.push(c.to_string());
                chars.next();
            }
            '=' | '!' | '<' | '>' => {
                let mut sign = String::new();
                while let Some(&c) = chars.peek().filter(|c| matches!(c, '=' | '!' | '<' | '>')) {
                    sign.push(c);
                    chars.next();
                }
                out.push(sign);
            }
            _ => {
                let mut word = String::new();
                while let Some(&c) = chars.peek() {
                    if c.is_whitespace() || "(),=!<>".contains(c) {
                        break;
                    }
                    word.push(c);
                    chars.next();
                }
                out.push(word);
            }
        }
    }
    out
}

fn is_word(token: &str) -> bool {
    !token.is_empty() && !token.starts_with(['(', ')', ',', '=', '!', '<', '>'])
}

fn parse_labels(text: &str) -> Answer<Vec<Requirement>> {
    let tokens = tokens(text);
    let mut at = tokens.iter().map(String::as_str).peekable();
    let mut out = Vec::new();
    if at.peek().is_none() {
        return Ok(out);
    }
    let fail = |message: String| Failure::bad_request(format!("unable to parse requirement: {message}"));
    loop {
        match at.next() {
            Some("!") => {
                let key = at.next().filter(|k| is_word(k)).unwrap_or_default();
                if key.is_empty() {
                    return Err(fail("found '', expected: identifier".into()));
                }
                out.push(Requirement { key: key.to_owned(), test: Test::Absent });
            }
            Some(key) if is_word(key) => {
                let test = match at.peek().copied() {
                    None | Some(",") => Test::Exists,
                    Some(_) => operator(&mut at).map_err(fail)?,
                };
                out.push(Requirement { key: key.to_owned(), test });
            }
            other => {
                let found = other.unwrap_or_default();
                let message = format!("found '{found}', expected: !, identifier, or 'end of string'");
                return Err(Failure::bad_request(message));
            }
        }
        match at.next() {
            None => return Ok(out),
            Some(",") if at.peek().is_some() => {}
            Some(",") => {
                return Err(Failure::bad_request("found '', expected: identifier after ','"));
            }
            Some(other) => {
                let message = format!("found '{other}', expected: ',' or 'end of string'");
                return Err(Failure::bad_request(message));
            }
        }
    }
}

fn operator<'a>(at: &mut std::iter::Peekable<impl Iterator<Item = &'a str>>) -> Result<Test, String> {
    let sign = at.next().unwrap_or_default();
    let mut one = || match at.peek().copied() {
        Some(value) if is_word(value) => {
            at.next();
            value.to_owned()
        }
        _ => String::new(),
    };
    match sign {
        "=" | "==" => Ok(Test::In(vec![one()])),
        "!=" => Ok(Test::NotIn(vec![one()])),
        "in" => Ok(Test::In(values(at)?)),
        "notin" => Ok(Test::NotIn(values(at)?)),
        other => Err(format!("found '{other}', expected: in, notin, =, ==, !=, gt, lt")),
    }
}

fn values<'a>(at: &mut impl Iterator<Item = &'a str>) -> Result<Vec<String>, String> {
    match at.next() {
        Some("(") => {}
        other => return Err(format!("found '{}', expected: '('", other.unwrap_or_default())),
    }
    let mut out = Vec::new();
    loop {
        match at.next() {
            Some(")") => return Ok(out),
            Some(",") => {}
            Some(value) if is_word(value) => out.push(value.to_owned()),
            other => return Err(format!("found '{}', expected: ',' or ')'", other.unwrap_or_default())),
        }
    }
}
