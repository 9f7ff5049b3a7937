//! JSON patches, as the library of the real server reads and applies them: it drops what is in front of the first slash
//! of a path, knows negative places in lists, adds with a `replace` of a missing key, and takes what is not there for
//! null.

use super::check;
use super::failure::{Answer, Failure};
use super::write::syntax;
use serde::de::{Error as _, IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};
use std::borrow::Cow;

/// The limit of a JSON patch.
const MAX_OPERATIONS: usize = 10_000;

/// One operation; pointers first, the place that changes last of them.
pub(crate) enum Operation {
    Add(String, Value),
    Replace(String, Value),
    Remove(String),
    Move(String, String),
    Copy(String, String),
    Test(String, Value),
}

/// An operation in its usual form: an object whose texts are texts.
#[derive(Default)]
struct Usual<'a> {
    op: Cow<'a, str>,
    path: String,
    from: Option<String>,
    value: Value,
}

impl<'de> Deserialize<'de> for Usual<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // A derived one would take a list for an object.
        struct Fields;
        impl<'de> Visitor<'de> for Fields {
            type Value = Usual<'de>;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an operation")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Usual<'de>, A::Error> {
                let mut usual = Usual::default();
                let mut path = None;
                while let Some(Text(name)) = fields.next_key()? {
                    match &*name {
                        "op" => usual.op = fields.next_value::<Text<'de>>()?.0,
                        "path" => path = Some(fields.next_value()?),
                        "from" => usual.from = Some(fields.next_value()?),
                        "value" => usual.value = fields.next_value()?,
                        _ => fields.next_value::<IgnoredAny>().map(drop)?,
                    }
                }
                usual.path = path.ok_or_else(|| A::Error::missing_field("path"))?;
                Ok(usual)
            }
        }
        deserializer.deserialize_map(Fields)
    }
}

/// A text, without a copy where nothing in it is escaped.
#[derive(Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

impl Usual<'_> {
    fn read(self) -> Option<Operation> {
        let path = well_formed(self.path)?;
        operation(&self.op, path, self.value, || well_formed(self.from?))
    }
}

/// Reads a list of operations.
pub(crate) fn operations(body: &[u8]) -> Answer<Vec<Operation>> {
    // Whatever is not in the usual form, or too long, is looked at closely.
    match serde_json::from_slice::<Vec<Usual<'_>>>(body) {
        Ok(usual) if usual.len() <= MAX_OPERATIONS => {
            usual.into_iter().map(|o| o.read().ok_or_else(Failure::unprocessable)).collect()
        }
        _ => odd(body),
    }
}

fn odd(body: &[u8]) -> Answer<Vec<Operation>> {
    let decoding = |why: String| Failure::bad_request(format!("error decoding patch: {why}"));
    let patch: Value = serde_json::from_slice(body).map_err(|e| decoding(syntax(&e, body)))?;
    match patch {
        // For Go, null is an empty list.
        Value::Null => Ok(Vec::new()),
        Value::Array(operations) if operations.len() > MAX_OPERATIONS => {
            let found = operations.len();
            let what =
                format!("The allowed maximum operations in a JSON patch is {MAX_OPERATIONS}, got {found}");
            Err(Failure::too_large(&what))
        }
        Value::Array(operations) => {
            if let Some(odd) = operations.iter().find(|o| !o.is_object()) {
                let found = check::json_type(odd);
                return Err(decoding(format!(
                    "json: cannot unmarshal {found} into Go value of type handlers.jsonPatchOp"
                )));
            }
            operations.into_iter().map(|o| read(o).ok_or_else(Failure::unprocessable)).collect()
        }
        other @ (Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Object(_)) => {
            let found = check::json_type(&other);
            let why = format!("json: cannot unmarshal {found} into Go value of type []handlers.jsonPatchOp");
            Err(decoding(why))
        }
    }
}

fn read(value: Value) -> Option<Operation> {
    let Value::Object(mut fields) = value else { return None };
    let path = pointer(&mut fields, "path")?;
    // Of an operation without a value, it is null.
    let value = fields.remove("value").unwrap_or(Value::Null);
    let Value::String(op) = fields.remove("op")? else { return None };
    operation(&op, path, value, || pointer(&mut fields, "from"))
}

fn operation(
    op: &str,
    path: String,
    value: Value,
    from: impl FnOnce() -> Option<String>,
) -> Option<Operation> {
    Some(match op {
        "add" => Operation::Add(path, value),
        "replace" => Operation::Replace(path, value),
        "remove" => Operation::Remove(path),
        "move" => Operation::Move(from()?, path),
        "copy" => Operation::Copy(from()?, path),
        "test" => Operation::Test(path, value),
        _ => return None,
    })
}

fn pointer(fields: &mut Map<String, Value>, field: &str) -> Option<String> {
    let Value::String(path) = fields.remove(field)? else { return None };
    well_formed(path)
}

/// A pointer that is well-formed (RFC 6901), from its first slash on.
fn well_formed(mut path: String) -> Option<String> {
    if let Some(slash) = path.find('/') {
        path.drain(..slash);
    } else if !path.is_empty() {
        return None;
    }
    let escaped = path.split('~').skip(1).all(|rest| rest.starts_with(['0', '1']));
    escaped.then_some(path)
}

/// The object after all of them; `None` when there is no such place, or a test fails.
pub(crate) fn carry_out(operations: Vec<Operation>, old: &Value) -> Option<Value> {
    let mut left = operations.into_iter().peekable();
    // Whoever comes late fails at a test in front, before anything is copied.
    while let Some(Operation::Test(path, value)) = left.next_if(|o| matches!(o, Operation::Test(..))) {
        (*look(old, &path)? == value).then_some(())?;
    }
    let mut new = old.clone();
    left.try_for_each(|operation| operation.apply(&mut new))?;
    Some(new)
}

impl Operation {
    fn apply(self, object: &mut Value) -> Option<()> {
        match self {
            Self::Add(path, value) => put(object, &path, value, true),
            Self::Replace(path, value) => put(object, &path, value, false),
            Self::Remove(path) => take(object, &path).map(drop),
            Self::Move(from, path) => {
                let value = take(object, &from)?;
                put(object, &path, value, true)
            }
            Self::Copy(from, path) => {
                let value = look(object, &from)?.clone();
                put(object, &path, value, true)
            }
            Self::Test(path, value) => (*look(object, &path)? == value).then_some(()),
        }
    }
}

/// The path of the parent, and the last part.
fn split(path: &str) -> Option<(&str, Cow<'_, str>)> {
    let (parent, last) = path.rsplit_once('/')?;
    Some((parent, unescaped(last)))
}

fn unescaped(part: &str) -> Cow<'_, str> {
    if part.contains('~') { part.replace("~1", "/").replace("~0", "~").into() } else { part.into() }
}

/// A place in a list of `length`; a negative one counts from its end.
fn index(part: &str, length: usize) -> Option<usize> {
    let at: i64 = part.parse().ok()?;
    let length = i64::try_from(length).ok()?;
    let at = if at < 0 { at + length } else { at };
    (0..length).contains(&at).then(|| usize::try_from(at).ok())?
}

/// What is there; null where an object has no such key.
fn look<'v>(object: &'v Value, path: &str) -> Option<&'v Value> {
    const NOTHING: &Value = &Value::Null;
    if path.is_empty() {
        return Some(object);
    }
    let (parent, last) = split(path)?;
    match walk(object, parent)? {
        Value::Object(map) => Some(map.get(&*last).unwrap_or(NOTHING)),
        Value::Array(list) => list.get(index(&last, list.len())?),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => None,
    }
}

fn walk<'v>(object: &'v Value, path: &str) -> Option<&'v Value> {
    path.split('/').skip(1).try_fold(object, |here, part| match here {
        Value::Object(map) => map.get(&*unescaped(part)),
        Value::Array(list) => list.get(index(part, list.len())?),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => None,
    })
}

fn walk_mut<'v>(object: &'v mut Value, path: &str) -> Option<&'v mut Value> {
    path.split('/').skip(1).try_fold(object, |here, part| match here {
        Value::Object(map) => map.get_mut(&*unescaped(part)),
        Value::Array(list) => {
            let at = index(part, list.len())?;
            list.get_mut(at)
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => None,
    })
}

fn put(object: &mut Value, path: &str, value: Value, insert: bool) -> Option<()> {
    if path.is_empty() {
        *object = value;
        return Some(());
    }
    let (parent, last) = split(path)?;
    match walk_mut(object, parent)? {
        Value::Object(map) => {
            map.insert(last.into_owned(), value);
        }
        Value::Array(list) if insert && last == "-" => list.push(value),
        Value::Array(list) if insert => list.insert(index(&last, list.len() + 1)?, value),
        Value::Array(list) => {
            let at = index(&last, list.len())?;
            *list.get_mut(at)? = value;
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => return None,
    }
    Some(())
}

fn take(object: &mut Value, path: &str) -> Option<Value> {
    let (parent, last) = split(path)?;
    match walk_mut(object, parent)? {
        Value::Object(map) => map.remove(&*last),
        Value::Array(list) => {
            let at = index(&last, list.len())?;
            Some(list.remove(at))
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => None,
    }
}
