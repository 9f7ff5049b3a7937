//! Values of rules. Lists and objects of the JSON stay where they are and are converted field by field, when asked.

use super::super::format::{Format, nanoseconds};
use super::super::node::{Additional, Kind, Node};
use super::code::Constant;
use base64::Engine as _;
use chrono::{DateTime, FixedOffset, NaiveDate, TimeDelta};
use serde_json::Value;
use std::borrow::Cow;
use std::rc::Rc;

/// Why a rule has no value, as the real server words it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault(pub Cow<'static, str>);

impl Fault {
    /// A fault with fixed words.
    pub const fn fixed(text: &'static str) -> Self {
        Self(Cow::Borrowed(text))
    }

    /// An operator or a function that does not take these values.
    pub const fn overload() -> Self {
        Self::fixed("no such overload")
    }

    /// A list where a text belongs.
    pub const fn no_text() -> Self {
        Self::fixed("invalid data, expected string, got []interface {}")
    }

    /// A key that is not there.
    pub fn no_key(key: &str) -> Self {
        Self(Cow::Owned(format!("no such key: {key}")))
    }
}

/// The value of an expression.
#[derive(Debug, Clone)]
pub enum Val<'a> {
    /// null
    Null,
    /// bool
    Bool(bool),
    /// int
    Int(i64),
    /// uint
    Uint(u64),
    /// double
    Double(f64),
    /// string
    Text(Cow<'a, str>),
    /// bytes
    Bytes(Rc<Vec<u8>>),
    /// timestamp
    Time(DateTime<FixedOffset>),
    /// duration
    Span(TimeDelta),
    /// A list or an object of the JSON, with its schema if it has one.
    Json(&'a Value, Option<&'a Node>),
    /// A list or map that the rule spells out.
    Fixed(&'a Constant),
    /// A list that was made.
    List(Rc<Vec<Val<'a>>>),
    /// A map that was made.
    Map(Rc<Vec<(Val<'a>, Val<'a>)>>),
    /// optional
    Optional(Option<Rc<Val<'a>>>),
    /// A type, by its name.
    Type(&'a str),
    /// A value of a library, for example a quantity.
    Foreign(kube_cel::cel::Value),
}

impl<'a> Val<'a> {
    /// A value of the JSON.
    pub fn lift(value: &'a Value, node: Option<&'a Node>) -> Self {
        match value {
            Value::Null => Val::Null,
            Value::Bool(b) => Val::Bool(*b),
            Value::Number(n) => {
                let kind = node.map(|n| n.kind);
                let double = n.as_f64().unwrap_or(f64::NAN);
                match n.as_i64() {
                    Some(i) if kind != Some(Kind::Number) => Val::Int(i),
                    None if kind == Some(Kind::Integer) && double.fract() == 0.0 => Val::Int(double as i64),
                    _ => Val::Double(double),
                }
            }
            Value::String(s) => text(s, node),
            Value::Array(_) | Value::Object(_) => Val::Json(value, node),
        }
    }

    /// Itself, unless it is a value that the check of types overlooked.
    pub fn sound(self) -> Result<Self, Fault> {
        if self.is_overlooked() { Err(Fault::no_text()) } else { Ok(self) }
    }

    /// Whether the check of types overlooked it.
    pub fn is_overlooked(&self) -> bool {
        matches!(self, Val::Json(value, Some(node)) if node.overlooks(value))
    }

    /// The truth, if it is one.
    pub fn truth(&self) -> Result<bool, Fault> {
        match self {
            Val::Bool(b) => Ok(*b),
            _ => Err(Fault::overload()),
        }
    }

    /// A text.
    pub fn owned(text: impl Into<String>) -> Self {
        Val::Text(Cow::Owned(text.into()))
    }

    /// Name of its type.
    pub fn type_name(&self) -> &'static str {
        match self {
            Val::Null => "null_type",
            Val::Bool(_) => "bool",
            Val::Int(_) => "int",
            Val::Uint(_) => "uint",
            Val::Double(_) => "double",
            Val::Text(_) => "string",
            Val::Bytes(_) => "bytes",
            Val::Time(_) => "google.protobuf.Timestamp",
            Val::Span(_) => "google.protobuf.Duration",
            Val::Json(Value::Array(_), _) | Val::List(_) | Val::Fixed(Constant::List(..)) => "list",
            Val::Json(..) | Val::Map(_) | Val::Fixed(_) => "map",
            Val::Optional(_) => "optional_type",
            Val::Type(_) => "type",
            Val::Foreign(_) => "opaque",
        }
    }

    /// A field or entry, if it is there.
    pub fn field(&self, name: &str) -> Result<Option<Val<'a>>, Fault> {
        match self {
            Val::Json(Value::Object(fields), node) => {
                let Some(node) = node else { return Ok(fields.get(name).map(|v| Val::lift(v, None))) };
                if let Some(child) = node.properties.get(name) {
                    // A null of a nullable field counts as absent.
                    let value = fields.get(name).filter(|v| !v.is_null());
                    return Ok(value.map(|v| Val::lift(v, Some(child))));
                }
                match &node.additional {
                    Additional::Schema(child) => Ok(fields.get(name).map(|v| Val::lift(v, Some(child)))),
                    Additional::None | Additional::Any => Ok(None),
                }
            }
            Val::Map(entries) => {
                let found = entries.iter().find(|(k, _)| matches!(k, Val::Text(t) if t == name));
                Ok(found.map(|(_, v)| v.clone()))
            }
            Val::Fixed(Constant::Map(entries)) => Ok(entries.get(name).map(Constant::value)),
            Val::Optional(Some(inner)) => inner.field(name),
            Val::Optional(None) => Ok(None),
            _ => Err(Fault::overload()),
        }
    }

    /// The items, if it is a list.
    pub fn items(&self) -> Option<Vec<Val<'a>>> {
        match self {
            Val::Json(Value::Array(items), node) => {
                let child = node.and_then(|n| n.items.as_deref());
                Some(items.iter().map(|v| Val::lift(v, child)).collect())
            }
            Val::List(items) => Some(items.as_ref().clone()),
            Val::Fixed(Constant::List(items, _)) => Some(items.iter().map(Constant::value).collect()),
            _ => None,
        }
    }

    /// The item at an index, if it is a list and has one.
    pub fn item(&self, index: usize) -> Option<Val<'a>> {
        match self {
            Val::Json(Value::Array(items), node) => {
                items.get(index).map(|v| Val::lift(v, node.and_then(|n| n.items.as_deref())))
            }
            Val::List(items) => items.get(index).cloned(),
            Val::Fixed(Constant::List(items, _)) => items.get(index).map(Constant::value),
            _ => None,
        }
    }

    /// Keys and values, if it is a map.
    pub fn entries(&self) -> Option<Vec<(Val<'a>, Val<'a>)>> {
        match self {
            Val::Json(Value::Object(fields), node) => Some(
                fields
                    .iter()
                    .map(|(k, v)| {
                        let child = node.and_then(|n| n.child(k));
                        (Val::Text(Cow::Borrowed(k.as_str())), Val::lift(v, child))
                    })
                    .collect(),
            ),
            Val::Map(entries) => Some(entries.as_ref().clone()),
            Val::Fixed(Constant::Map(entries)) => {
                Some(entries.iter().map(|(k, v)| (Val::Text(Cow::Borrowed(k.as_str())), v.value())).collect())
            }
            _ => None,
        }
    }

    /// How many items, entries, characters or bytes.
    pub fn size(&self) -> Option<usize> {
        match self {
            Val::Text(t) => Some(if t.is_ascii() { t.len() } else { t.chars().count() }),
            Val::Bytes(b) => Some(b.len()),
            Val::Json(Value::Array(items), _) => Some(items.len()),
            Val::Json(Value::Object(fields), _) => Some(fields.len()),
            Val::List(items) => Some(items.len()),
            Val::Map(entries) => Some(entries.len()),
            Val::Fixed(Constant::List(items, _)) => Some(items.len()),
            Val::Fixed(Constant::Map(entries)) => Some(entries.len()),
            _ => None,
        }
    }
}

fn text<'a>(text: &'a str, node: Option<&Node>) -> Val<'a> {
    let format = node.filter(|n| n.kind == Kind::String).and_then(|n| n.format);
    let converted = match format {
        Some(Format::DateTime) => DateTime::parse_from_rfc3339(text).ok().map(Val::Time),
        Some(Format::Date) => NaiveDate::parse_from_str(text, "%Y-%m-%d")
            .ok()
            .and_then(|d| d.and_hms_opt(0, 0, 0))
            .map(|t| Val::Time(t.and_utc().fixed_offset())),
        Some(Format::Duration) => nanoseconds(text).map(|n| Val::Span(TimeDelta::nanoseconds(n))),
        Some(Format::Byte) => {
            base64::engine::general_purpose::STANDARD.decode(text).ok().map(|b| Val::Bytes(Rc::new(b)))
        }
        _ => None,
    };
    converted.unwrap_or(Val::Text(Cow::Borrowed(text)))
}
