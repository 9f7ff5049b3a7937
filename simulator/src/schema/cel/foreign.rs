//! The bridge to `kube-cel`: quantities, URLs, IP addresses and the other libraries of Kubernetes. Values are
//! copied across, which is slow, and rare.

use super::value::{Fault, Val};
use kube_cel::KubeCelExt as _;
use kube_cel::cel::objects::{Key, Map};
use kube_cel::cel::parser::Expression;
use kube_cel::cel::{Context, ExecutionError, Program, Value as Cel};
use std::borrow::Cow;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::{Arc, LazyLock};

static BASE: LazyLock<Context<'static>> = LazyLock::new(|| Context::default().with_all());
static STRING: LazyLock<Option<Program>> = LazyLock::new(|| Program::compile("string(a0)").ok());

/// Calls a function; its arguments are the variables `a0`, `a1`, ...
pub fn call<'a>(expression: &Expression, args: &[Val<'_>]) -> Result<Val<'a>, Fault> {
    let mut scope = BASE.new_inner_scope();
    for (index, arg) in args.iter().enumerate() {
        scope.add_variable_from_value(format!("a{index}"), out(arg)?);
    }
    scope.resolve(expression).map(back).map_err(|e| fault(&e))
}

/// `string(a)` of a library's value.
pub fn string<'a>(a: &Val<'_>) -> Result<Val<'a>, Fault> {
    match STRING.as_ref() {
        Some(program) if matches!(a, Val::Foreign(_)) => call(program.expression(), std::slice::from_ref(a)),
        Some(_) | None => Err(super::convert::fault(a.type_name(), "string")),
    }
}

fn fault(error: &ExecutionError) -> Fault {
    match error {
        ExecutionError::FunctionError { message, .. } => Fault(Cow::Owned(message.clone())),
        ExecutionError::NoSuchKey(key) => Fault::no_key(key),
        other => Fault(Cow::Owned(other.to_string())),
    }
}

fn out(value: &Val<'_>) -> Result<Cel, Fault> {
    Ok(match value {
        Val::Null => Cel::Null,
        Val::Bool(b) => Cel::Bool(*b),
        Val::Int(i) => Cel::Int(*i),
        Val::Uint(u) => Cel::UInt(*u),
        Val::Double(d) => Cel::Float(*d),
        Val::Text(t) => Cel::String(Arc::new(t.to_string())),
        Val::Bytes(b) => Cel::Bytes(Arc::new(b.as_ref().clone())),
        Val::Time(t) => Cel::Timestamp(*t),
        Val::Span(s) => Cel::Duration(*s),
        Val::Foreign(v) => v.clone(),
        Val::Optional(_) | Val::Type(_) => return Err(Fault::overload()),
        Val::Json(..) | Val::Fixed(_) | Val::List(_) | Val::Map(_) => {
            if let Some(items) = value.items() {
                let items: Result<Vec<Cel>, Fault> = items.iter().map(out).collect();
                return Ok(Cel::List(Arc::new(items?)));
            }
            let mut map = HashMap::new();
            for (key, value) in value.entries().unwrap_or_default() {
                let key = match key {
                    Val::Text(t) => Key::String(Arc::new(t.into_owned())),
                    Val::Int(i) => Key::Int(i),
                    Val::Uint(u) => Key::Uint(u),
                    Val::Bool(b) => Key::Bool(b),
                    _ => return Err(Fault::overload()),
                };
                map.insert(key, out(&value)?);
            }
            Cel::Map(Map { map: Arc::new(map) })
        }
    })
}

fn back<'a>(value: Cel) -> Val<'a> {
    match value {
        Cel::Null => Val::Null,
        Cel::Bool(b) => Val::Bool(b),
        Cel::Int(i) => Val::Int(i),
        Cel::UInt(u) => Val::Uint(u),
        Cel::Float(d) => Val::Double(d),
        Cel::String(t) => Val::owned(t.as_str()),
        Cel::Bytes(b) => Val::Bytes(Rc::new(b.as_ref().clone())),
        Cel::Timestamp(t) => Val::Time(t),
        Cel::Duration(s) => Val::Span(s),
        Cel::List(items) => Val::List(Rc::new(items.iter().cloned().map(back).collect())),
        Cel::Map(map) => {
            let mut entries: Vec<(Key, Cel)> = map.map.iter().map(|(k, v)| (k.clone(), v.clone())).collect();
            entries.sort_by(|(a, _), (b, _)| a.cmp(b));
            Val::Map(Rc::new(entries.into_iter().map(|(k, v)| (key(k), back(v))).collect()))
        }
        Cel::Function(..) | Cel::Opaque(_) => Val::Foreign(value),
    }
}

fn key<'a>(key: Key) -> Val<'a> {
    match key {
        Key::Int(i) => Val::Int(i),
        Key::Uint(u) => Val::Uint(u),
        Key::Bool(b) => Val::Bool(b),
        Key::String(t) => Val::owned(t.as_str()),
    }
}
