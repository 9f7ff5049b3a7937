//! The compiled schema: a tree of nodes, with everything that can be prepared once already prepared.

use super::cel::Rule;
use super::format::Format;
use regex::Regex;
use serde_json::Value;
use std::collections::BTreeMap;

/// What a node may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Kind {
    /// Anything: no type is given.
    #[default]
    Any,
    /// object
    Object,
    /// array
    Array,
    /// string
    String,
    /// integer
    Integer,
    /// number
    Number,
    /// boolean
    Boolean,
    /// `x-kubernetes-int-or-string`
    IntOrString,
}

impl Kind {
    /// As messages name it.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Any => "",
            Kind::Object => "object",
            Kind::Array => "array",
            Kind::String => "string",
            Kind::Integer => "integer",
            Kind::Number => "number",
            Kind::Boolean => "boolean",
            Kind::IntOrString => "integer,string",
        }
    }

    /// Whether a value that is not null is of this type.
    pub fn admits(self, value: &Value) -> bool {
        match self {
            Kind::Any => true,
            Kind::Object => value.is_object(),
            Kind::Array => value.is_array(),
            Kind::String => value.is_string(),
            Kind::Integer => whole(value),
            Kind::Number => value.is_number(),
            Kind::Boolean => value.is_boolean(),
            Kind::IntOrString => value.is_string() || whole(value),
        }
    }
}

/// Whether a value is a whole number (`1.0` is one).
pub fn whole(value: &Value) -> bool {
    value.is_i64() || value.as_f64().is_some_and(|f| f.fract() == 0.0 && f.abs() <= 9.3e18)
}

/// What an object may hold beside its properties.
#[derive(Debug, Default)]
pub enum Additional {
    /// Nothing.
    #[default]
    None,
    /// Anything that the schema says no more of.
    Any,
    /// Values of this schema.
    Schema(Box<Node>),
}

/// How items of a list are told apart.
#[derive(Debug, Default, PartialEq, Eq)]
pub enum List {
    /// Not at all.
    #[default]
    Atomic,
    /// Each is there once.
    Set,
    /// By these fields.
    Map(Vec<String>),
}

/// Limits of a value; absent ones do not apply.
#[derive(Debug, Default)]
pub struct Limits {
    /// At least this number.
    pub minimum: Option<Bound>,
    /// At most this number.
    pub maximum: Option<Bound>,
    /// A multiple of this number.
    pub multiple_of: Option<f64>,
    /// Characters, at least.
    pub min_length: Option<u64>,
    /// Characters, at most.
    pub max_length: Option<u64>,
    /// Items, at least.
    pub min_items: Option<u64>,
    /// Items, at most.
    pub max_items: Option<u64>,
    /// Fields, at least.
    pub min_properties: Option<u64>,
    /// Fields, at most.
    pub max_properties: Option<u64>,
}

/// One end of a range of numbers.
#[derive(Debug, Clone)]
pub struct Bound {
    /// The end.
    pub at: f64,
    /// The end as the schema has it, for messages.
    pub text: String,
    /// Whether the end itself is outside.
    pub exclusive: bool,
}

/// One node of a schema.
#[derive(Debug, Default)]
pub struct Node {
    /// Type.
    pub kind: Kind,
    /// Whether null is a value.
    pub nullable: bool,
    /// Keeps fields that it does not know.
    pub preserve: bool,
    /// Fields.
    pub properties: BTreeMap<String, Node>,
    /// Other fields.
    pub additional: Additional,
    /// Items.
    pub items: Option<Box<Node>>,
    /// Fields that have to be there.
    pub required: Vec<String>,
    /// Allowed values; empty: all.
    pub allowed: Vec<Value>,
    /// Limits.
    pub limits: Limits,
    /// The pattern as text and compiled.
    pub pattern: Option<(String, Regex)>,
    /// Format of a string or an integer.
    pub format: Option<Format>,
    /// All of these hold.
    pub all_of: Vec<Node>,
    /// One of these holds.
    pub any_of: Vec<Node>,
    /// Exactly one of these holds.
    pub one_of: Vec<Node>,
    /// This does not hold.
    pub not: Option<Box<Node>>,
    /// How items are told apart.
    pub list: List,
    /// The object is one value: what is in it has no old value.
    pub atomic_map: bool,
    /// Default.
    pub default: Option<Value>,
    /// Rules.
    pub rules: Vec<Rule>,
    /// Whether this node or one below has rules.
    pub any_rules: bool,
    /// Whether this node or one below has rules that need an old value.
    pub any_transitions: bool,
    /// Whether this node or one below is a list of kind set or map.
    pub any_lists: bool,
    /// Whether this node or one below has a default.
    pub any_defaults: bool,
    /// Whether two values of it are equal for rules exactly when their JSON is.
    pub plain: bool,
}

impl Node {
    /// Whether it is a list where a text with a format belongs: the real server's check of types overlooks it, and
    /// only rules stumble over it.
    pub fn overlooks(&self, value: &Value) -> bool {
        value.is_array() && self.kind == Kind::String && self.format.is_some()
    }

    /// The node of a field, if the schema has one.
    pub fn child(&self, name: &str) -> Option<&Node> {
        self.properties.get(name).or(match &self.additional {
            Additional::Schema(node) => Some(node),
            Additional::None | Additional::Any => None,
        })
    }

    /// The old item that an item is compared with: the one with the same keys. Only lists of kind map have one.
    pub fn old_item<'v>(&self, item: &Value, old: Option<&'v Value>) -> Option<&'v Value> {
        let List::Map(keys) = &self.list else { return None };
        let same = |o: &&Value| keys.iter().all(|k| o.get(k) == item.get(k));
        old?.as_array()?.iter().find(same)
    }

    /// The old value of a field or an entry.
    pub fn old_field<'v>(&self, name: &str, old: Option<&'v Value>) -> Option<&'v Value> {
        if self.atomic_map { None } else { old?.get(name) }
    }
}
