//! Runs a rule. `&&`, `||` and the loops take faults as cel-go does: `false && fault` is false, `true || fault` true.

use super::calls;
use super::code::{Code, Constant, Loop, Macro, Pairs};
use super::equal::equal;
use super::foreign;
use super::operators;
use super::value::{Fault, Val};
use serde_json::Value;
use std::borrow::Cow;
use std::rc::Rc;

type Outcome<'a> = Result<Val<'a>, Fault>;

/// What a rule can see.
pub struct Env<'a> {
    /// `self`
    pub new: Val<'a>,
    /// `oldSelf`
    pub old: Val<'a>,
    /// Variables of macros; an accumulator may hold a fault.
    pub slots: Vec<Outcome<'a>>,
}

impl<'a> Env<'a> {
    /// The value of an expression.
    pub fn eval(&mut self, code: &'a Code) -> Outcome<'a> {
        match code {
            Code::Constant(constant) => Ok(constant.value()),
            Code::New => self.new.clone().sound(),
            Code::Old => self.old.clone().sound(),
            Code::Slot(slot) => self.slots.get(*slot).cloned().unwrap_or_else(|| Err(Fault::overload())),
            Code::Type(name) => Ok(Val::Type(name)),
            Code::List(items) => {
                let items: Result<Vec<_>, _> = items.iter().map(|i| self.eval(i)).collect();
                Ok(Val::List(Rc::new(items?)))
            }
            Code::Map(entries) => {
                let mut made = Vec::with_capacity(entries.len());
                for (key, value) in entries {
                    made.push((self.eval(key)?, self.eval(value)?));
                }
                Ok(Val::Map(Rc::new(made)))
            }
            Code::Field(of, name) => self.field(of, name),
            Code::Has(of, name) => Ok(Val::Bool(self.eval(of)?.field(name)?.is_some())),
            Code::MaybeField(of, name) => Ok(Val::Optional(self.eval(of)?.field(name)?.map(Rc::new))),
            Code::Index(of, key) => self.index(of, key),
            Code::MaybeIndex(of, key) => Ok(Val::Optional(self.index(of, key).ok().map(Rc::new))),
            Code::If(parts) => {
                let [test, yes, no] = parts.as_ref();
                if self.eval(test)?.truth()? { self.eval(yes) } else { self.eval(no) }
            }
            Code::And(..) | Code::Or(..) | Code::Not(_) | Code::NotFalse(_) => {
                self.truth(code).map(Val::Bool)
            }
            Code::Equal(a, b) => Ok(Val::Bool(self.equal(a, b)?)),
            Code::Differ(a, b) => Ok(Val::Bool(!self.equal(a, b)?)),
            Code::In(a, b) => {
                let (a, b) = (self.eval(a)?, self.eval(b)?);
                contains(&b, &a).map(Val::Bool)
            }
            Code::Negate(a) => operators::negate(&self.eval(a)?),
            Code::Binary(op, a, b) => {
                let (a, b) = (self.eval(a)?, self.eval(b)?);
                operators::binary(*op, a, b)
            }
            Code::Loop(inner) => self.run(inner),
            Code::Pairs(inner) => self.pairs(inner),
            Code::Matches(subject, regex) => match self.eval(subject)? {
                Val::Text(text) => Ok(Val::Bool(regex.is_match(&text))),
                _ => Err(Fault::overload()),
            },
            Code::Call(name, args) => {
                let args: Result<Vec<_>, _> = args.iter().map(|a| self.eval(a)).collect();
                calls::call(name, args?)
            }
            Code::Foreign(expression, args) => {
                let args: Result<Vec<_>, _> = args.iter().map(|a| self.eval(a)).collect();
                foreign::call(expression, &args?)
            }
        }
    }

    /// The truth of an expression.
    pub fn truth(&mut self, code: &'a Code) -> Result<bool, Fault> {
        match code {
            Code::And(a, b) => match self.truth(a) {
                Ok(false) => Ok(false),
                Ok(true) => self.truth(b),
                Err(fault) => match self.truth(b) {
                    Ok(false) => Ok(false),
                    Ok(true) | Err(_) => Err(fault),
                },
            },
            Code::Or(a, b) => match self.truth(a) {
                Ok(true) => Ok(true),
                Ok(false) => self.truth(b),
                Err(fault) => match self.truth(b) {
                    Ok(true) => Ok(true),
                    Ok(false) | Err(_) => Err(fault),
                },
            },
            Code::Not(a) => self.truth(a).map(|t| !t),
            Code::NotFalse(a) => Ok(self.truth(a).unwrap_or(true)),
            Code::Equal(a, b) => self.equal(a, b),
            _ => self.eval(code)?.truth(),
        }
    }

    fn equal(&mut self, a: &'a Code, b: &'a Code) -> Result<bool, Fault> {
        let (a, b) = (self.eval(a)?, self.eval(b)?);
        equal(&a, &b)
    }

    fn field(&mut self, of: &'a Code, name: &str) -> Outcome<'a> {
        let of = self.eval(of)?;
        match (of.field(name)?, of) {
            (found, Val::Optional(_)) => Ok(Val::Optional(found.map(Rc::new))),
            (Some(found), _) => found.sound(),
            (None, _) => Err(Fault::no_key(name)),
        }
    }

    fn index(&mut self, of: &'a Code, key: &'a Code) -> Outcome<'a> {
        let (of, key) = (self.eval(of)?, self.eval(key)?);
        at(&of, &key)
    }

    fn set(&mut self, slot: usize, value: Outcome<'a>) {
        if let Some(place) = self.slots.get_mut(slot) {
            *place = value;
        }
    }

    fn run(&mut self, inner: &'a Loop) -> Outcome<'a> {
        let range = self.eval(&inner.range)?;
        let items = match range.items() {
            Some(items) => items,
            None => range.entries().ok_or_else(Fault::overload)?.into_iter().map(|(k, _)| k).collect(),
        };
        let mut total = self.eval(&inner.start);
        for item in items {
            self.set(inner.total, total);
            if !self.truth(&inner.go_on)? {
                return self.eval(&inner.result);
            }
            self.set(inner.item, Ok(item));
            total = self.eval(&inner.step);
        }
        self.set(inner.total, total);
        self.eval(&inner.result)
    }

    fn pairs(&mut self, inner: &'a Pairs) -> Outcome<'a> {
        let range = self.eval(&inner.range)?;
        let pairs: Vec<(Val<'a>, Val<'a>)> = match range.items() {
            Some(items) => items.into_iter().enumerate().map(|(i, v)| (Val::Int(i as i64), v)).collect(),
            None => range.entries().ok_or_else(Fault::overload)?,
        };
        let (mut found, mut fault, mut made) = (0, None, Vec::new());
        for (key, value) in pairs {
            self.set(inner.slot, Ok(key));
            self.set(inner.slot + 1, Ok(value));
            if inner.name == Macro::TransformList {
                let wanted = match &inner.filter {
                    Some(filter) => self.truth(filter)?,
                    None => true,
                };
                if wanted {
                    made.push(self.eval(&inner.body)?);
                }
                continue;
            }
            match (self.truth(&inner.body), inner.name) {
                (Ok(false), Macro::All) => return Ok(Val::Bool(false)),
                (Ok(true), Macro::Exists) => return Ok(Val::Bool(true)),
                (Ok(hit), _) => found += usize::from(hit),
                (Err(e), Macro::ExistsOne) => return Err(e),
                (Err(e), _) => fault = fault.or(Some(e)),
            }
        }
        match (fault, inner.name) {
            (Some(fault), _) => Err(fault),
            (None, Macro::All) => Ok(Val::Bool(true)),
            (None, Macro::Exists) => Ok(Val::Bool(false)),
            (None, Macro::ExistsOne) => Ok(Val::Bool(found == 1)),
            (None, Macro::TransformList) => Ok(Val::List(Rc::new(made))),
        }
    }
}

/// `of[key]`
pub fn at<'a>(of: &Val<'a>, key: &Val<'a>) -> Outcome<'a> {
    if let Val::Optional(inner) = of {
        let found = inner.as_ref().and_then(|i| at(i, key).ok());
        return Ok(Val::Optional(found.map(Rc::new)));
    }
    if matches!(of, Val::Json(Value::Array(_), _) | Val::List(_) | Val::Fixed(Constant::List(..))) {
        let index = match key {
            Val::Int(i) => *i,
            Val::Uint(u) => i64::try_from(*u).unwrap_or(-1),
            Val::Double(d) if d.fract() == 0.0 => *d as i64,
            _ => return Err(Fault::overload()),
        };
        let item = usize::try_from(index).ok().and_then(|i| of.item(i));
        return item.ok_or_else(|| Fault(Cow::Owned(format!("index out of bounds: {index}"))));
    }
    match key {
        Val::Text(name) => of.field(name)?.ok_or_else(|| Fault::no_key(name)),
        _ => {
            let entries = of.entries().ok_or_else(Fault::overload)?;
            let found = entries.into_iter().find(|(k, _)| equal(k, key) == Ok(true));
            found.map(|(_, v)| v).ok_or_else(|| Fault::fixed("no such key"))
        }
    }
}

/// `item in list`, `key in map`
fn contains(of: &Val<'_>, what: &Val<'_>) -> Result<bool, Fault> {
    match (of, what) {
        (Val::Fixed(Constant::List(_, Some(set))), Val::Text(text)) => Ok(set.contains(text.as_ref())),
        (Val::Fixed(Constant::List(_, Some(_))), _) => Ok(false),
        (Val::Json(Value::Object(_), _) | Val::Map(_) | Val::Fixed(Constant::Map(_)), Val::Text(name)) => {
            Ok(of.field(name)?.is_some())
        }
        _ => match of.items() {
            Some(items) => Ok(items.iter().any(|i| equal(i, what) == Ok(true))),
            None => {
                let entries = of.entries().ok_or_else(Fault::overload)?;
                Ok(entries.iter().any(|(k, _)| equal(k, what) == Ok(true)))
            }
        },
    }
}
