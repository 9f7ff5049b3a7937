//! Arithmetic and order.

use super::code::Op;
use super::value::{Fault, Val};
use std::borrow::Cow;
use std::cmp::Ordering;
use std::rc::Rc;

/// `-a`
pub fn negate<'a>(a: &Val<'a>) -> Result<Val<'a>, Fault> {
    match a {
        Val::Int(i) => i.checked_neg().map(Val::Int).ok_or_else(overflow),
        Val::Double(d) => Ok(Val::Double(-d)),
        Val::Span(s) => Ok(Val::Span(-*s)),
        _ => Err(Fault::overload()),
    }
}

/// `a op b`
pub fn binary<'a>(op: Op, a: Val<'a>, b: Val<'a>) -> Result<Val<'a>, Fault> {
    match op {
        Op::Less => order(&a, &b).map(|o| Val::Bool(o == Some(Ordering::Less))),
        Op::LessEq => order(&a, &b).map(|o| Val::Bool(o.is_some_and(Ordering::is_le))),
        Op::Greater => order(&a, &b).map(|o| Val::Bool(o == Some(Ordering::Greater))),
        Op::GreaterEq => order(&a, &b).map(|o| Val::Bool(o.is_some_and(Ordering::is_ge))),
        Op::Add | Op::Sub | Op::Mul | Op::Div | Op::Rem => arithmetic(op, a, b),
    }
}

fn overflow() -> Fault {
    Fault::fixed("integer overflow")
}

fn arithmetic<'a>(op: Op, a: Val<'a>, b: Val<'a>) -> Result<Val<'a>, Fault> {
    match (a, b) {
        (Val::Int(x), Val::Int(y)) => ints(op, x, y).map(Val::Int),
        (Val::Uint(x), Val::Uint(y)) => uints(op, x, y).map(Val::Uint),
        (Val::Double(x), Val::Double(y)) => match op {
            Op::Add => Ok(Val::Double(x + y)),
            Op::Sub => Ok(Val::Double(x - y)),
            Op::Mul => Ok(Val::Double(x * y)),
            Op::Div => Ok(Val::Double(x / y)),
            _ => Err(Fault::overload()),
        },
        (Val::Text(x), Val::Text(y)) if op == Op::Add => Ok(Val::Text(Cow::Owned(format!("{x}{y}")))),
        (Val::Bytes(x), Val::Bytes(y)) if op == Op::Add => Ok(Val::Bytes(Rc::new([&x[..], &y[..]].concat()))),
        (Val::Time(x), Val::Span(y)) if op == Op::Add => time(x.checked_add_signed(y)),
        (Val::Span(x), Val::Time(y)) if op == Op::Add => time(y.checked_add_signed(x)),
        (Val::Time(x), Val::Span(y)) if op == Op::Sub => time(x.checked_sub_signed(y)),
        (Val::Time(x), Val::Time(y)) if op == Op::Sub => Ok(Val::Span(x - y)),
        (Val::Span(x), Val::Span(y)) if op == Op::Add => {
            x.checked_add(&y).map(Val::Span).ok_or_else(overflow)
        }
        (Val::Span(x), Val::Span(y)) if op == Op::Sub => {
            x.checked_sub(&y).map(Val::Span).ok_or_else(overflow)
        }
        (x, y) if op == Op::Add => match (x.items(), y.items()) {
            (Some(mut first), Some(second)) => {
                first.extend(second);
                Ok(Val::List(Rc::new(first)))
            }
            _ => Err(Fault::overload()),
        },
        _ => Err(Fault::overload()),
    }
}

fn time<'a>(time: Option<chrono::DateTime<chrono::FixedOffset>>) -> Result<Val<'a>, Fault> {
    time.map(Val::Time).ok_or(Fault::fixed("timestamp overflow"))
}

fn ints(op: Op, x: i64, y: i64) -> Result<i64, Fault> {
    let done = match op {
        Op::Add => x.checked_add(y),
        Op::Sub => x.checked_sub(y),
        Op::Mul => x.checked_mul(y),
        Op::Div if y == 0 => return Err(Fault::fixed("division by zero")),
        Op::Rem if y == 0 => return Err(Fault::fixed("modulus by zero")),
        Op::Div => x.checked_div(y),
        Op::Rem => x.checked_rem(y),
        Op::Less | Op::LessEq | Op::Greater | Op::GreaterEq => return Err(Fault::overload()),
    };
    done.ok_or_else(overflow)
}

fn uints(op: Op, x: u64, y: u64) -> Result<u64, Fault> {
    let done = match op {
        Op::Add => x.checked_add(y),
        Op::Sub => x.checked_sub(y),
        Op::Mul => x.checked_mul(y),
        Op::Div if y == 0 => return Err(Fault::fixed("division by zero")),
        Op::Rem if y == 0 => return Err(Fault::fixed("modulus by zero")),
        Op::Div => x.checked_div(y),
        Op::Rem => x.checked_rem(y),
        Op::Less | Op::LessEq | Op::Greater | Op::GreaterEq => return Err(Fault::overload()),
    };
    done.ok_or(Fault::fixed("unsigned integer overflow"))
}

/// The order of two values; none for NaN.
fn order(a: &Val<'_>, b: &Val<'_>) -> Result<Option<Ordering>, Fault> {
    Ok(match (a, b) {
        (Val::Int(x), Val::Int(y)) => Some(x.cmp(y)),
        (Val::Text(x), Val::Text(y)) => Some(x.cmp(y)),
        (Val::Bool(x), Val::Bool(y)) => Some(x.cmp(y)),
        (Val::Uint(x), Val::Uint(y)) => Some(x.cmp(y)),
        (Val::Double(x), Val::Double(y)) => x.partial_cmp(y),
        (Val::Double(x), Val::Int(y)) => x.partial_cmp(&(*y as f64)),
        (Val::Int(x), Val::Double(y)) => (*x as f64).partial_cmp(y),
        (Val::Double(x), Val::Uint(y)) => x.partial_cmp(&(*y as f64)),
        (Val::Uint(x), Val::Double(y)) => (*x as f64).partial_cmp(y),
        (Val::Int(x), Val::Uint(y)) => Some(i128::from(*x).cmp(&i128::from(*y))),
        (Val::Uint(x), Val::Int(y)) => Some(i128::from(*x).cmp(&i128::from(*y))),
        (Val::Time(x), Val::Time(y)) => Some(x.cmp(y)),
        (Val::Span(x), Val::Span(y)) => Some(x.cmp(y)),
        (Val::Bytes(x), Val::Bytes(y)) => Some(x.cmp(y)),
        _ => return Err(Fault::overload()),
    })
}
