//! A rule, ready to run: the tree that `lower` makes and `eval` walks.

use super::value::Val;
use kube_cel::cel::parser::Expression;
use regex::Regex;
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

/// A value that the text of a rule spells out.
#[derive(Debug, Clone, PartialEq)]
pub enum Constant {
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
    Text(String),
    /// bytes
    Bytes(Vec<u8>),
    /// A list; when all its items are texts, also as a set.
    List(Vec<Constant>, Option<BTreeSet<String>>),
    /// A map with texts as keys.
    Map(BTreeMap<String, Constant>),
}

impl Constant {
    /// As a value.
    pub fn value(&self) -> Val<'_> {
        match self {
            Constant::Null => Val::Null,
            Constant::Bool(b) => Val::Bool(*b),
            Constant::Int(i) => Val::Int(*i),
            Constant::Uint(u) => Val::Uint(*u),
            Constant::Double(d) => Val::Double(*d),
            Constant::Text(t) => Val::Text(Cow::Borrowed(t)),
            Constant::Bytes(b) => Val::Bytes(Rc::new(b.clone())),
            Constant::List(..) | Constant::Map(_) => Val::Fixed(self),
        }
    }
}

/// Operators of two values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Op {
    /// `+`
    Add,
    /// `-`
    Sub,
    /// `*`
    Mul,
    /// `/`
    Div,
    /// `%`
    Rem,
    /// `<`
    Less,
    /// `<=`
    LessEq,
    /// `>`
    Greater,
    /// `>=`
    GreaterEq,
}

/// Macros of two variables, which cel's parser does not expand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Macro {
    /// `all(i, v, p)`
    All,
    /// `exists(i, v, p)`
    Exists,
    /// `existsOne(i, v, p)`
    ExistsOne,
    /// `transformList(i, v, [filter,] e)`
    TransformList,
}

/// A loop as cel's parser makes it of `all`, `exists`, `map`, `filter`.
#[derive(Debug)]
pub struct Loop {
    /// What is walked.
    pub range: Code,
    /// Slot of the item.
    pub item: usize,
    /// Slot of the accumulator.
    pub total: usize,
    /// Its first value.
    pub start: Code,
    /// Whether to go on.
    pub go_on: Code,
    /// The next accumulator.
    pub step: Code,
    /// What comes out.
    pub result: Code,
}

/// A loop of two variables: index and item, or key and value.
#[derive(Debug)]
pub struct Pairs {
    /// Which.
    pub name: Macro,
    /// What is walked.
    pub range: Code,
    /// Slot of the index or key; the item's slot follows.
    pub slot: usize,
    /// Which pairs (transformList only).
    pub filter: Option<Code>,
    /// The predicate, or the item to make.
    pub body: Code,
}

/// An expression.
#[derive(Debug)]
pub enum Code {
    /// A constant.
    Constant(Constant),
    /// `self`
    New,
    /// `oldSelf`
    Old,
    /// A variable of a macro.
    Slot(usize),
    /// The name of a type.
    Type(String),
    /// `[a, b]`
    List(Vec<Code>),
    /// `{a: b}`
    Map(Vec<(Code, Code)>),
    /// `a.b`
    Field(Box<Code>, String),
    /// `has(a.b)`
    Has(Box<Code>, String),
    /// `a.?b`
    MaybeField(Box<Code>, String),
    /// `a[b]`
    Index(Box<Code>, Box<Code>),
    /// `a[?b]`
    MaybeIndex(Box<Code>, Box<Code>),
    /// `a ? b : c`
    If(Box<[Code; 3]>),
    /// `a && b`
    And(Box<Code>, Box<Code>),
    /// `a || b`
    Or(Box<Code>, Box<Code>),
    /// `!a`
    Not(Box<Code>),
    /// Whether it may still become true: anything but false.
    NotFalse(Box<Code>),
    /// `-a`
    Negate(Box<Code>),
    /// `a == b`
    Equal(Box<Code>, Box<Code>),
    /// `a != b`
    Differ(Box<Code>, Box<Code>),
    /// `a in b`
    In(Box<Code>, Box<Code>),
    /// The other operators.
    Binary(Op, Box<Code>, Box<Code>),
    /// A loop.
    Loop(Box<Loop>),
    /// A loop of two variables.
    Pairs(Box<Pairs>),
    /// `a.matches('constant')`
    Matches(Box<Code>, Box<Regex>),
    /// A function that is known here; the target comes first.
    Call(&'static str, Vec<Code>),
    /// A function of `kube-cel`: the call over variables named `a0`, `a1`, ... and what they stand for.
    Foreign(Box<Expression>, Vec<Code>),
}
