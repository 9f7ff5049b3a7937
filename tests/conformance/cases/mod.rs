//! One test for each thing that the controller relies on, on both servers by the same code.
//!
//! ```text
//!   Case::new(name).create("widgets/a").gives(201).patch(..).refused(422, "Invalid") .. .hold()
//!      simulator: as the test says, and as the real one answered when it was recorded
//!      real:      as the test says, and as the simulator; skipped where there is no bench
//! ```

mod deletion;
mod limits;
mod objects;
mod patches;
mod reads;
mod rules;
mod status;

use crate::cluster::runtime;
use crate::play::{Play, compare, play};
use crate::real::Real;
use crate::recorded;
use crate::side::Side;
use crate::step::{At, Body, Edit, Place, Sequence, Step, Watching};
use crate::universe::{Names, minimal};
use serde_json::{Value, json};

/// What a test says of one answer.
#[derive(Default)]
struct Expected {
    code: Option<u16>,
    reason: Option<&'static str>,
    causes: Option<usize>,
    shows: Vec<(&'static str, Value)>,
    says: Option<&'static str>,
}

/// A sequence with what is expected of it.
pub struct Case {
    name: &'static str,
    sequence: Sequence,
    expected: Vec<Expected>,
    /// Only the real server does this.
    only_real: bool,
}

impl Case {
    /// An empty case.
    pub fn new(name: &'static str) -> Self {
        let sequence = Sequence { steps: Vec::new(), watch: None };
        Self { name, sequence, expected: Vec::new(), only_real: false }
    }

    /// The simulator does not do this.
    pub fn only_real(mut self) -> Self {
        self.only_real = true;
        self
    }

    /// Collects the events of a kind from the beginning of the case.
    pub fn watching(mut self, resource: &str, query: &[(&str, &str)]) -> Self {
        let query = query.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        self.sequence.watch = Some(Watching { resource: resource.to_owned(), ns: 0, query });
        self
    }

    /// Any request. `on` is `plural/name`, `plural/name/status`, `plural`, or a whole path.
    pub fn send(mut self, method: &str, on: &str, content_type: &str, body: Body) -> Self {
        let (path, query) = on.split_once('?').unwrap_or((on, ""));
        let query = query.split('&').filter_map(|q| q.split_once('='));
        let query = query.map(|(k, v)| (k.to_owned(), v.to_owned())).collect();
        let place = place(path, method);
        let content_type = content_type.to_owned();
        let step = Step { method: method.to_owned(), place, query, content_type, body, settle: false };
        self.sequence.steps.push(step);
        self.expected.push(Expected::default());
        self
    }

    /// POST of a minimal object.
    pub fn create(self, on: &str) -> Self {
        self.create_with(on, &[])
    }

    /// POST of a minimal object with fields set.
    pub fn create_with(self, on: &str, fields: &[(&str, Value)]) -> Self {
        let resource = on.split(['/', '?']).next().unwrap_or_default();
        let mut body = minimal(resource);
        for (at, value) in fields {
            Edit { at: (*at).to_owned(), to: Some(value.clone()) }.apply(&mut body, Some(value.clone()));
        }
        self.send("POST", on, "application/json", Body::Json(body))
    }

    /// GET.
    pub fn get(self, on: &str) -> Self {
        self.send("GET", on, "", Body::Nothing {})
    }

    /// PUT of what was seen (so many versions ago) with fields set; null removes.
    pub fn put(self, on: &str, age: usize, fields: &[(&str, Value)]) -> Self {
        let edit =
            |(at, to): &(&str, Value)| Edit { at: (*at).to_owned(), to: (!to.is_null()).then(|| to.clone()) };
        self.send("PUT", on, "application/json", Body::Seen { age, edits: fields.iter().map(edit).collect() })
    }

    /// A JSON patch.
    pub fn patch(self, on: &str, ops: Value) -> Self {
        self.send("PATCH", on, "application/json-patch+json", Body::Json(ops))
    }

    /// A merge patch.
    pub fn merge(self, on: &str, patch: Value) -> Self {
        self.send("PATCH", on, "application/merge-patch+json", Body::Json(patch))
    }

    /// DELETE with options.
    pub fn delete(self, on: &str, options: Value) -> Self {
        self.send("DELETE", on, "application/json", Body::Json(options))
    }

    /// After the last request the controller manager has work to do.
    pub fn settles(mut self) -> Self {
        self.sequence.steps.last_mut().expect("a step").settle = true;
        self
    }

    fn expect(&mut self) -> &mut Expected {
        self.expected.last_mut().expect("a step")
    }

    /// The last request is answered with this code.
    pub fn gives(mut self, code: u16) -> Self {
        self.expect().code = Some(code);
        self
    }

    /// The last request is refused.
    pub fn refused(mut self, code: u16, reason: &'static str) -> Self {
        (self.expect().code, self.expect().reason) = (Some(code), Some(reason));
        self
    }

    /// The refusal has so many causes.
    pub fn causes(mut self, n: usize) -> Self {
        self.expect().causes = Some(n);
        self
    }

    /// The message contains this.
    pub fn says(mut self, text: &'static str) -> Self {
        self.expect().says = Some(text);
        self
    }

    /// The answer has this value there, in symbols; null when it has none.
    pub fn shows(mut self, at: &'static str, value: Value) -> Self {
        self.expect().shows.push((at, value));
        self
    }

    /// Runs it on both.
    pub fn hold(self) {
        let real = Real::get();
        let hint = self.simulate(real);
        let Some(real) = real else {
            self.check_simulator(hint.as_ref());
            return;
        };
        runtime().block_on(async {
            if self.sequence.steps.iter().any(|s| s.settle) {
                real.collecting().await;
            }
            let names = real.borrow().await;
            let shown = play(&Side::Real(real), &names, &self.sequence, hint.as_ref()).await;
            self.check("real", &shown);
            recorded::record(self.name, &shown);
            self.check_simulator(hint.as_ref());
            if let Some(difference) = hint.and_then(|hint| compare(&shown, &hint)) {
                panic!("{}: the real server and the simulator differ: {difference:#?}", self.name);
            }
            real.give_back(names);
        });
    }

    fn simulate(&self, real: Option<&Real>) -> Option<Play> {
        if self.only_real {
            return None;
        }
        let group = real.map_or("nobench.conformance.ratchet.dev", |r| &r.group);
        let names = Names::new(group, "nobench-0");
        let shown = runtime().block_on(play(&Side::simulator(&names), &names, &self.sequence, None));
        Some(shown)
    }

    fn check_simulator(&self, shown: Option<&Play>) {
        if let Some(shown) = shown {
            self.check("simulator", shown);
            recorded::compare_with(self.name, shown);
        }
    }

    fn check(&self, side: &str, shown: &Play) {
        for (i, expected) in self.expected.iter().enumerate() {
            let front = format!("{i} ");
            let shown =
                shown.iter().find(|s| s.after.starts_with(&front)).expect("an answer to each request");
            let (answer, body) = (&shown.answer, &shown.answer.body);
            let told = || format!("{} on the {side}, {}: {answer:#?}", self.name, shown.after);
            if let Some(code) = expected.code {
                assert_eq!(answer.code, code, "{}", told());
            }
            if let Some(reason) = expected.reason {
                assert_eq!(body["reason"], reason, "{}", told());
            }
            if let Some(causes) = expected.causes {
                let all = body.pointer("/details/causes").and_then(Value::as_array).map_or(0, Vec::len);
                assert_eq!(all, causes, "{}", told());
            }
            if let Some(text) = expected.says {
                assert!(body["message"].as_str().is_some_and(|m| m.contains(text)), "{}", told());
            }
            for (at, value) in &expected.shows {
                assert_eq!(body.pointer(at).unwrap_or(&Value::Null), value, "{at}: {}", told());
            }
        }
    }
}

fn place(path: &str, method: &str) -> Place {
    if path.starts_with('/') {
        return Place { resource: path.to_owned(), ns: 0, name: String::new(), at: At::Collection };
    }
    let mut parts = path.split('/');
    let resource = parts.next().unwrap_or_default().to_owned();
    let name = parts.next().unwrap_or_default().to_owned();
    let at = match parts.next() {
        Some("status") => At::Status,
        _ if method == "POST" || name.is_empty() => At::Collection,
        _ => At::Object,
    };
    Place { resource, ns: 0, name, at }
}

/// `test` of a JSON patch.
fn test(path: &str, value: Value) -> Value {
    json!({"op": "test", "path": path, "value": value})
}

/// `add` of a JSON patch.
fn add(path: &str, value: Value) -> Value {
    json!({"op": "add", "path": path, "value": value})
}

/// `replace` of a JSON patch.
fn replace(path: &str, value: Value) -> Value {
    json!({"op": "replace", "path": path, "value": value})
}

/// `remove` of a JSON patch.
fn remove(path: &str) -> Value {
    json!({"op": "remove", "path": path})
}
