//! Conversions between types: `int()`, `string()` and their like.

use super::value::{Fault, Val};
use std::borrow::Cow;

type Outcome<'a> = Result<Val<'a>, Fault>;

/// As the real server words it.
pub fn fault(from: &str, to: &str) -> Fault {
    Fault(Cow::Owned(format!("type conversion error from '{from}' to '{to}'")))
}

/// `int(a)`
pub fn int<'a>(a: Val<'a>) -> Outcome<'a> {
    match a {
        Val::Int(_) => Ok(a),
        Val::Uint(u) => i64::try_from(u).map(Val::Int).map_err(|_| Fault::fixed("integer overflow")),
        Val::Double(d) if d.abs() < 9.223_372_036_854_775e18 => Ok(Val::Int(d as i64)),
        Val::Double(_) => Err(Fault::fixed("integer overflow")),
        Val::Text(t) => t.parse().map(Val::Int).map_err(|_| fault("string", "int")),
        Val::Time(t) => Ok(Val::Int(t.timestamp())),
        other => Err(fault(other.type_name(), "int")),
    }
}

/// `uint(a)`
pub fn uint<'a>(a: Val<'a>) -> Outcome<'a> {
    match a {
        Val::Uint(_) => Ok(a),
        Val::Int(i) => u64::try_from(i).map(Val::Uint).map_err(|_| Fault::fixed("unsigned integer overflow")),
        Val::Double(d) if (0.0..1.8e19).contains(&d) => Ok(Val::Uint(d as u64)),
        Val::Double(_) => Err(Fault::fixed("unsigned integer overflow")),
        Val::Text(t) => t.parse().map(Val::Uint).map_err(|_| fault("string", "uint")),
        other => Err(fault(other.type_name(), "uint")),
    }
}

/// `double(a)`
pub fn double<'a>(a: Val<'a>) -> Outcome<'a> {
    match a {
        Val::Double(_) => Ok(a),
        Val::Int(i) => Ok(Val::Double(i as f64)),
        Val::Uint(u) => Ok(Val::Double(u as f64)),
        Val::Text(t) => t.parse().map(Val::Double).map_err(|_| fault("string", "double")),
        other => Err(fault(other.type_name(), "double")),
    }
}

/// `string(a)`
pub fn string<'a>(a: Val<'a>) -> Outcome<'a> {
    match a {
        Val::Text(_) => Ok(a),
        Val::Bool(b) => Ok(Val::owned(b.to_string())),
        Val::Int(i) => Ok(Val::owned(i.to_string())),
        Val::Uint(u) => Ok(Val::owned(u.to_string())),
        Val::Double(d) => Ok(Val::owned(d.to_string())),
        Val::Bytes(b) => match String::from_utf8(b.as_ref().clone()) {
            Ok(text) => Ok(Val::owned(text)),
            Err(_) => Err(fault("bytes", "string")),
        },
        Val::Time(t) => Ok(Val::owned(t.to_rfc3339_opts(chrono::SecondsFormat::AutoSi, true))),
        Val::Span(s) => {
            let seconds = s.num_nanoseconds().unwrap_or(i64::MAX) as f64 / 1e9;
            Ok(Val::owned(format!("{seconds}s")))
        }
        other => super::foreign::string(&other),
    }
}
