//! From the text of a schema to its nodes. The only place that reads `openAPIV3Schema`; what it does not read does
//! not exist for the rest.

use super::SchemaError;
use super::cel::Rule;
use super::format::Format;
use super::node::{Additional, Bound, Kind, Limits, List, Node};
use regex::Regex;
use serde_json::Value;

/// Fields of metadata that an embedded object may have.
const META: [&str; 15] = [
    "name",
    "generateName",
    "namespace",
    "selfLink",
    "uid",
    "resourceVersion",
    "generation",
    "creationTimestamp",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "labels",
    "annotations",
    "ownerReferences",
    "finalizers",
    "managedFields",
];

/// Compiles the schema of a kind.
///
/// # Errors
/// [`SchemaError`].
pub fn root(schema: &Value) -> Result<Node, SchemaError> {
    let mut node = read(schema, &Spot { path: "openAPIV3Schema".into(), correlated: true })?;
    add_identity(&mut node);
    let metadata = node.properties.entry("metadata".into()).or_default();
    metadata.kind = Kind::Object;
    metadata.preserve = true;
    for name in ["name", "generateName"] {
        metadata.properties.entry(name.into()).or_insert_with(text);
    }
    metadata.plain = false;
    node.plain = false;
    Ok(node)
}

/// Where in the schema the compiler is.
struct Spot {
    path: String,
    /// Whether an old value can be found for a value here.
    correlated: bool,
}

impl Spot {
    fn property(&self, name: &str, correlated: bool) -> Self {
        let path = format!("{}.properties[{name}]", self.path);
        Self { path, correlated: self.correlated && correlated }
    }

    fn part(&self, name: &str, correlated: bool) -> Self {
        Self { path: format!("{}.{name}", self.path), correlated: self.correlated && correlated }
    }

    fn error(&self, part: &str, message: impl Into<String>) -> SchemaError {
        SchemaError { field: format!("{}.{part}", self.path), message: message.into() }
    }
}

fn read(schema: &Value, spot: &Spot) -> Result<Node, SchemaError> {
    if !schema.is_object() {
        return Err(spot.error("type", "a schema has to be an object"));
    }
    let flag = |name: &str| schema.get(name).and_then(Value::as_bool).unwrap_or(false);
    let word = |name: &str| schema.get(name).and_then(Value::as_str);
    if flag("uniqueItems") {
        return Err(spot.error("uniqueItems", "Forbidden: uniqueItems cannot be set to true"));
    }
    let format = word("format").and_then(Format::parse);
    let mut node = Node {
        kind: kind(schema, spot)?,
        nullable: flag("nullable"),
        preserve: flag("x-kubernetes-preserve-unknown-fields"),
        required: strings(schema.get("required")),
        allowed: schema.get("enum").and_then(Value::as_array).cloned().unwrap_or_default(),
        limits: limits(schema),
        pattern: pattern(schema, spot)?,
        format,
        list: list(schema, spot)?,
        atomic_map: word("x-kubernetes-map-type") == Some("atomic"),
        default: schema.get("default").filter(|d| !d.is_null()).cloned(),
        ..Node::default()
    };
    children(&mut node, schema, spot)?;
    if flag("x-kubernetes-embedded-resource") {
        embed(&mut node);
    }
    summarise(&mut node);
    for (index, rule) in
        schema.get("x-kubernetes-validations").and_then(Value::as_array).into_iter().flatten().enumerate()
    {
        let at = spot.part(&format!("x-kubernetes-validations[{index}]"), true);
        let rule = Rule::compile(rule).map_err(|(part, message)| at.error(part, message))?;
        if rule.transition && !spot.correlated {
            let message = "Invalid value: oldSelf cannot be used on the uncorrelatable portion of the schema";
            return Err(at.error("rule", message));
        }
        node.any_rules = true;
        node.any_transitions |= rule.transition;
        node.rules.push(rule);
    }
    Ok(node)
}

fn children(node: &mut Node, schema: &Value, spot: &Spot) -> Result<(), SchemaError> {
    let granular = !node.atomic_map;
    for (name, child) in schema.get("properties").and_then(Value::as_object).into_iter().flatten() {
        node.properties.insert(name.clone(), read(child, &spot.property(name, granular))?);
    }
    node.additional = match schema.get("additionalProperties") {
        None | Some(Value::Bool(false)) => Additional::None,
        Some(Value::Bool(true)) => Additional::Any,
        Some(child) => {
            Additional::Schema(Box::new(read(child, &spot.part("additionalProperties", granular))?))
        }
    };
    if let Some(child) = schema.get("items") {
        let by_key = matches!(node.list, List::Map(_));
        node.items = Some(Box::new(read(child, &spot.part("items", by_key))?));
    }
    let several = |name: &str| -> Result<Vec<Node>, SchemaError> {
        let parts = schema.get(name).and_then(Value::as_array).into_iter().flatten();
        parts.enumerate().map(|(i, s)| read(s, &spot.part(&format!("{name}[{i}]"), true))).collect()
    };
    node.all_of = several("allOf")?;
    node.any_of = several("anyOf")?;
    node.one_of = several("oneOf")?;
    if let Some(not) = schema.get("not") {
        node.not = Some(Box::new(read(not, &spot.part("not", true))?));
    }
    Ok(())
}

fn kind(schema: &Value, spot: &Spot) -> Result<Kind, SchemaError> {
    if schema.get("x-kubernetes-int-or-string").and_then(Value::as_bool) == Some(true) {
        return Ok(Kind::IntOrString);
    }
    match schema.get("type").and_then(Value::as_str).unwrap_or_default() {
        "" => Ok(Kind::Any),
        "object" => Ok(Kind::Object),
        "array" => Ok(Kind::Array),
        "string" => Ok(Kind::String),
        "integer" => Ok(Kind::Integer),
        "number" => Ok(Kind::Number),
        "boolean" => Ok(Kind::Boolean),
        other => Err(spot.error("type", format!("Unsupported value: {other:?}"))),
    }
}

fn limits(schema: &Value) -> Limits {
    let count = |name: &str| schema.get(name).and_then(Value::as_u64);
    let bound = |name: &str, exclusive: &str| {
        let value = schema.get(name)?;
        let exclusive = schema.get(exclusive).and_then(Value::as_bool).unwrap_or(false);
        Some(Bound { at: value.as_f64()?, text: value.to_string(), exclusive })
    };
    Limits {
        minimum: bound("minimum", "exclusiveMinimum"),
        maximum: bound("maximum", "exclusiveMaximum"),
        multiple_of: schema.get("multipleOf").and_then(Value::as_f64),
        min_length: count("minLength"),
        max_length: count("maxLength"),
        min_items: count("minItems"),
        max_items: count("maxItems"),
        min_properties: count("minProperties"),
        max_properties: count("maxProperties"),
    }
}

fn pattern(schema: &Value, spot: &Spot) -> Result<Option<(String, Regex)>, SchemaError> {
    let Some(source) = schema.get("pattern").and_then(Value::as_str) else { return Ok(None) };
    let regex = Regex::new(source).map_err(|e| spot.error("pattern", e.to_string()))?;
    Ok(Some((source.to_owned(), regex)))
}

fn list(schema: &Value, spot: &Spot) -> Result<List, SchemaError> {
    match schema.get("x-kubernetes-list-type").and_then(Value::as_str) {
        None | Some("atomic") => Ok(List::Atomic),
        Some("set") => Ok(List::Set),
        Some("map") => Ok(List::Map(strings(schema.get("x-kubernetes-list-map-keys")))),
        Some(other) => Err(spot.error("x-kubernetes-list-type", format!("Unsupported value: {other:?}"))),
    }
}

fn strings(value: Option<&Value>) -> Vec<String> {
    let items = value.and_then(Value::as_array).into_iter().flatten();
    items.filter_map(Value::as_str).map(str::to_owned).collect()
}

fn text() -> Node {
    Node { kind: Kind::String, plain: true, ..Node::default() }
}

/// Objects that stand on their own have `apiVersion` and `kind`, whatever the schema says.
fn add_identity(node: &mut Node) {
    for name in ["apiVersion", "kind"] {
        node.properties.entry(name.into()).or_insert_with(text);
    }
}

fn embed(node: &mut Node) {
    add_identity(node);
    for name in ["apiVersion", "kind"] {
        if !node.required.iter().any(|r| r == name) {
            node.required.push(name.into());
        }
    }
    let metadata = node.properties.entry("metadata".into()).or_default();
    metadata.kind = Kind::Object;
    for name in META {
        metadata.properties.entry(name.into()).or_insert_with(|| Node { preserve: true, ..Node::default() });
    }
}

/// What is asked often of a subtree, asked once.
fn summarise(node: &mut Node) {
    let additional = match &node.additional {
        Additional::Schema(child) => Some(child.as_ref()),
        Additional::None | Additional::Any => None,
    };
    let below: Vec<&Node> = node.properties.values().chain(additional).chain(node.items.as_deref()).collect();
    let any = |of: fn(&Node) -> bool| below.iter().any(|n| of(n));
    let rules = any(|n| n.any_rules);
    let transitions = any(|n| n.any_transitions);
    let lists = any(|n| n.any_lists) || node.list != List::Atomic;
    let defaults = any(|n| n.any_defaults || n.default.is_some());
    let converted = node.kind == Kind::String && node.format.is_some();
    let plain = below.iter().all(|n| n.plain)
        && !converted
        && !node.preserve
        && node.list == List::Atomic
        && !matches!(node.kind, Kind::Any | Kind::Number)
        && !matches!(node.additional, Additional::Any);
    node.any_rules = rules;
    node.any_transitions = transitions;
    node.any_lists = lists;
    node.any_defaults = defaults;
    node.plain = plain;
}
