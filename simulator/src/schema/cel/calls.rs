//! The functions that rules use most. Those that are not here are `kube-cel`'s (see `foreign`).

use super::super::format::nanoseconds;
use super::convert;
use super::value::{Fault, Val};
use regex::Regex;
use std::borrow::Cow;
use std::rc::Rc;

type Outcome<'a> = Result<Val<'a>, Fault>;

/// Names with the number of their arguments, the target among them.
const KNOWN: [(&str, usize); 24] = [
    ("size", 1),
    ("startsWith", 2),
    ("endsWith", 2),
    ("contains", 2),
    ("matches", 2),
    ("lowerAscii", 1),
    ("upperAscii", 1),
    ("trim", 1),
    ("split", 2),
    ("join", 1),
    ("join", 2),
    ("type", 1),
    ("dyn", 1),
    ("int", 1),
    ("uint", 1),
    ("double", 1),
    ("string", 1),
    ("duration", 1),
    ("timestamp", 1),
    ("hasValue", 1),
    ("value", 1),
    ("orValue", 2),
    ("optional.of", 1),
    ("optional.none", 0),
];

/// The name, if the function is one of these.
pub fn known(name: &str, arguments: usize) -> Option<&'static str> {
    KNOWN.iter().find(|(n, count)| *n == name && *count == arguments).map(|(n, _)| *n)
}

/// Calls it.
pub fn call<'a>(name: &str, args: Vec<Val<'a>>) -> Outcome<'a> {
    let mut args = args.into_iter();
    match (name, args.next(), args.next()) {
        ("optional.none", None, None) => Ok(Val::Optional(None)),
        (_, Some(a), None) => one(name, a),
        (_, Some(a), Some(b)) => two(name, a, b),
        _ => Err(Fault::overload()),
    }
}

fn one<'a>(name: &str, a: Val<'a>) -> Outcome<'a> {
    match (name, a) {
        ("size", a) => a.size().map(|s| Val::Int(s as i64)).ok_or_else(Fault::overload),
        ("dyn", a) => Ok(a),
        ("type", a) => Ok(Val::Type(a.type_name())),
        ("int", a) => convert::int(a),
        ("uint", a) => convert::uint(a),
        ("double", a) => convert::double(a),
        ("string", a) => convert::string(a),
        ("duration", Val::Text(t)) => match nanoseconds(&t).filter(|_| !t.contains(char::is_whitespace)) {
            Some(n) => Ok(Val::Span(chrono::TimeDelta::nanoseconds(n))),
            None => Err(convert::fault("string", "google.protobuf.Duration")),
        },
        ("duration", a @ Val::Span(_)) | ("timestamp", a @ Val::Time(_)) => Ok(a),
        ("timestamp", Val::Text(t)) => match chrono::DateTime::parse_from_rfc3339(&t) {
            Ok(time) => Ok(Val::Time(time)),
            Err(_) => Err(convert::fault("string", "google.protobuf.Timestamp")),
        },
        ("lowerAscii", Val::Text(t)) => Ok(Val::owned(t.to_ascii_lowercase())),
        ("upperAscii", Val::Text(t)) => Ok(Val::owned(t.to_ascii_uppercase())),
        ("trim", Val::Text(t)) => Ok(Val::owned(t.trim())),
        ("join", a) => join(&a, ""),
        ("hasValue", Val::Optional(inner)) => Ok(Val::Bool(inner.is_some())),
        ("value", Val::Optional(Some(inner))) => Ok(inner.as_ref().clone()),
        ("value", Val::Optional(None)) => Err(Fault::fixed("optional.none() dereference")),
        ("optional.of", a) => Ok(Val::Optional(Some(Rc::new(a)))),
        _ => Err(Fault::overload()),
    }
}

fn two<'a>(name: &str, a: Val<'a>, b: Val<'a>) -> Outcome<'a> {
    match (name, a, b) {
        ("startsWith", Val::Text(a), Val::Text(b)) => Ok(Val::Bool(a.starts_with(b.as_ref()))),
        ("endsWith", Val::Text(a), Val::Text(b)) => Ok(Val::Bool(a.ends_with(b.as_ref()))),
        ("contains", Val::Text(a), Val::Text(b)) => Ok(Val::Bool(a.contains(b.as_ref()))),
        ("matches", Val::Text(a), Val::Text(b)) => match Regex::new(&b) {
            Ok(regex) => Ok(Val::Bool(regex.is_match(&a))),
            Err(error) => Err(Fault(Cow::Owned(error.to_string()))),
        },
        ("split", Val::Text(a), Val::Text(b)) => Ok(Val::List(Rc::new(split(&a, &b)))),
        ("join", a, Val::Text(b)) => join(&a, &b),
        ("orValue", Val::Optional(inner), b) => Ok(inner.map_or(b, |i| i.as_ref().clone())),
        _ => Err(Fault::overload()),
    }
}

/// As Go splits: an empty separator splits into characters.
fn split<'a>(text: &str, by: &str) -> Vec<Val<'a>> {
    if by.is_empty() {
        return text.chars().map(|c| Val::owned(c.to_string())).collect();
    }
    text.split(by).map(Val::owned).collect()
}

fn join<'a>(list: &Val<'a>, by: &str) -> Outcome<'a> {
    let mut joined = String::new();
    for (index, item) in list.items().ok_or_else(Fault::overload)?.iter().enumerate() {
        let Val::Text(text) = item else { return Err(Fault::overload()) };
        if index > 0 {
            joined.push_str(by);
        }
        joined.push_str(text);
    }
    Ok(Val::owned(joined))
}
