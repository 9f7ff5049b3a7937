//! One request with symbols in the places of what a server invents, and what it becomes for one server.
//!
//! `$rv`, `$uid` and `$generation` are those of the newest version of the step's own object that was seen; `$rv-1` is
//! that of the version before (`$uid-1`: of the object that had the name before); `$rv:b` and `$uid:configmaps/b` are
//! those of another object. `$me` is the object's name, `$ns` its namespace, `$continue` the token of the last page.

use crate::universe::{self, Names};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Which URL of an object or a kind is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum At {
    Collection,
    Object,
    Status,
}

/// What a request is about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// Plural; or a whole path, when it begins with a slash.
    pub resource: String,
    /// Which of the two namespaces.
    #[serde(default)]
    pub ns: usize,
    /// Name without the part that sets runs apart.
    #[serde(default)]
    pub name: String,
    pub at: At,
}

/// What is sent.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Body {
    Nothing {},
    Json(Value),
    Text(String),
    /// A version of the object that was seen (0: the newest), edited.
    Seen {
        age: usize,
        edits: Vec<Edit>,
    },
    /// A string of so many `x` put into a JSON document at a pointer.
    Large {
        of: Value,
        at: String,
        bytes: usize,
    },
}

/// Sets or (`None`) removes what a pointer names, making the way there.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Edit {
    pub at: String,
    pub to: Option<Value>,
}

/// One request.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Step {
    pub method: String,
    pub place: Place,
    #[serde(default)]
    pub query: Vec<(String, String)>,
    #[serde(default)]
    pub content_type: String,
    pub body: Body,
    /// The controller manager has work to do after it: wait until both sides are at rest.
    #[serde(default)]
    pub settle: bool,
}

/// What is collected at the end of a sequence: all events of a kind since its beginning.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Watching {
    pub resource: String,
    pub ns: usize,
    pub query: Vec<(String, String)>,
}

/// A sequence of requests.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Sequence {
    pub steps: Vec<Step>,
    #[serde(default)]
    pub watch: Option<Watching>,
}

/// A request as it is sent.
#[derive(Debug, Clone)]
pub struct Wire {
    pub method: http::Method,
    pub uri: String,
    pub content_type: String,
    pub body: Vec<u8>,
}

/// What one side has shown so far.
#[derive(Debug, Default)]
pub struct Memory {
    versions: BTreeMap<(String, usize, String), Vec<Value>>,
    /// Token of the last page that had one.
    token: String,
}

impl Memory {
    /// Takes note of an answer.
    pub fn learn(&mut self, place: &Place, names: &Names, answer: &Value) {
        if let Some(token) = answer.pointer("/metadata/continue").and_then(Value::as_str) {
            self.token = token.to_owned();
        }
        let text = |at: &str| answer.pointer(at).and_then(Value::as_str).map(str::to_owned);
        if answer["kind"] == "Status" || text("/metadata/uid").is_none() {
            return;
        }
        let Some(name) = text("/metadata/name") else { return };
        let name = names.short(&name);
        let seen = self.versions.entry((place.resource.clone(), place.ns, name)).or_default();
        let rv = |v: &Value| v["metadata"]["resourceVersion"].clone();
        if seen.last().is_none_or(|last| rv(last) != rv(answer)) {
            seen.push(answer.clone());
        }
    }

    fn versions(&self, place: &Place) -> &[Value] {
        let key = (place.resource.clone(), place.ns, place.name.clone());
        self.versions.get(&key).map_or(&[], Vec::as_slice)
    }

    /// The version that is `age` older than the newest, or the oldest.
    fn version(&self, place: &Place, age: usize) -> Option<&Value> {
        let all = self.versions(place);
        all.get(all.len().saturating_sub(age + 1))
    }

    fn uid(&self, place: &Place, age: usize) -> Option<Value> {
        let mut uids: Vec<&Value> = self.versions(place).iter().map(|v| &v["metadata"]["uid"]).collect();
        uids.dedup();
        uids.get(uids.len().saturating_sub(age + 1)).map(|uid| (*uid).clone())
    }

    fn symbol(&self, text: &str, place: &Place, names: &Names) -> Option<Value> {
        let word = text.strip_prefix('$')?;
        let (word, other) = word.split_once(':').map_or((word, None), |(w, o)| (w, Some(o)));
        let (word, age) = word.split_once('-').map_or((word, 0), |(w, n)| (w, n.parse().unwrap_or(0)));
        let mut of = place.clone();
        if let Some(other) = other {
            let (resource, name) = other.split_once('/').unwrap_or((&place.resource, other));
            (of.resource, of.name) = (resource.to_owned(), name.to_owned());
        }
        let never = || json!("11111111-2222-4333-8444-555555555555");
        Some(match word {
            "rv" => self.version(&of, age).map_or(json!("1"), |v| v["metadata"]["resourceVersion"].clone()),
            "generation" => self.version(&of, age).map_or(json!(1), |v| v["metadata"]["generation"].clone()),
            "uid" => self.uid(&of, age).unwrap_or_else(never),
            "me" => json!(names.name(&of.resource, &of.name)),
            "ns" => json!(names.namespaces[(place.ns + age) % 2]),
            "tag" => json!(names.tag),
            "run" => json!(names.run()),
            "tagged" => json!(format!("tag={}", names.tag)),
            "api" => json!(universe::api_version(&of.resource, names)),
            "continue" => json!(self.token),
            _ => return None,
        })
    }

    fn fill(&self, value: &Value, place: &Place, names: &Names) -> Value {
        match value {
            Value::String(text) => self.symbol(text, place, names).unwrap_or_else(|| value.clone()),
            Value::Array(all) => all.iter().map(|v| self.fill(v, place, names)).collect(),
            Value::Object(all) => {
                Value::Object(all.iter().map(|(k, v)| (k.clone(), self.fill(v, place, names))).collect())
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => value.clone(),
        }
    }

    fn body(&self, step: &Step, names: &Names) -> Vec<u8> {
        let filled = |v: &Value| self.fill(v, &step.place, names);
        match &step.body {
            Body::Nothing {} => Vec::new(),
            Body::Text(text) => text.clone().into_bytes(),
            Body::Json(value) => filled(value).to_string().into_bytes(),
            Body::Large { of, at, bytes } => {
                let mut of = filled(of);
                if let Some(place) = of.pointer_mut(at) {
                    *place = json!("x".repeat(*bytes));
                }
                of.to_string().into_bytes()
            }
            Body::Seen { age, edits } => {
                let seen = self.version(&step.place, *age).cloned();
                let mut object = seen.unwrap_or_else(|| filled(&universe::minimal(&step.place.resource)));
                for edit in edits {
                    edit.apply(&mut object, edit.to.as_ref().map(filled));
                }
                object.to_string().into_bytes()
            }
        }
    }

    /// The request for this side.
    pub fn wire(&self, step: &Step, names: &Names) -> Wire {
        let mut uri = step.place.path(names);
        for (i, (key, value)) in step.query.iter().enumerate() {
            let text = json!(value);
            let value = match self.fill(&text, &step.place, names) {
                Value::String(text) => text,
                other @ (Value::Null
                | Value::Bool(_)
                | Value::Number(_)
                | Value::Array(_)
                | Value::Object(_)) => other.to_string(),
            };
            uri.push(if i == 0 { '?' } else { '&' });
            uri.push_str(&format!("{key}={}", escaped(&value)));
        }
        let method = step.method.parse().expect("a method");
        Wire { method, uri, content_type: step.content_type.clone(), body: self.body(step, names) }
    }
}

impl Body {
    /// Parts that can be left out.
    pub fn len(&self) -> usize {
        match self {
            Self::Json(Value::Array(ops)) => ops.len(),
            Self::Seen { edits, .. } => edits.len(),
            Self::Json(_) | Self::Nothing {} | Self::Text(_) | Self::Large { .. } => 0,
        }
    }

    /// Leaves out a part.
    pub fn remove(&mut self, part: usize) {
        match self {
            Self::Json(Value::Array(ops)) => drop(ops.remove(part)),
            Self::Seen { edits, .. } => drop(edits.remove(part)),
            Self::Json(_) | Self::Nothing {} | Self::Text(_) | Self::Large { .. } => {}
        }
    }
}

impl Edit {
    /// Carries it out.
    pub fn apply(&self, object: &mut Value, to: Option<Value>) {
        if self.at.ends_with("/-") || self.at.ends_with("/0") {
            return; // a place in a list, for patches
        }
        let mut parts = self.at.split('/').skip(1).peekable();
        let mut here = object;
        while let Some(part) = parts.next() {
            let part = part.replace("~1", "/");
            let Value::Object(map) = here else { return };
            if parts.peek().is_none() {
                match to {
                    Some(value) => drop(map.insert(part, value)),
                    None => drop(map.remove(&part)),
                }
                return;
            }
            here = map.entry(part).or_insert_with(|| json!({}));
        }
    }
}

impl Place {
    /// The path of the URL.
    pub fn path(&self, names: &Names) -> String {
        if self.resource.starts_with('/') {
            let path = self.resource.replace("GROUP", &names.group).replace("TAG", &names.tag);
            return path.replace("NAMESPACE", &names.namespaces[self.ns]);
        }
        let mut path = names.collection(&self.resource, self.ns);
        if self.at != At::Collection {
            path.push('/');
            path.push_str(&names.name(&self.resource, &self.name));
        }
        if self.at == At::Status {
            path.push_str("/status");
        }
        path
    }
}

/// Percent-encodes what a query may not hold.
fn escaped(text: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-._~".contains(&b);
    text.bytes().map(|b| if plain(b) { (b as char).to_string() } else { format!("%{b:02X}") }).collect()
}
