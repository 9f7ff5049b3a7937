//! Plays a sequence on one side, and holds two plays against each other.

use crate::allow;
use crate::normal::Normal;
use crate::real::Real;
use crate::side::{Answer, Side};
use crate::step::{At, Body, Memory, Place, Sequence, Step, Watching, Wire};
use crate::universe::{self, Names};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::time::Duration;

/// How long the real controller manager may take over what the simulator's does at once.
const REST: Duration = Duration::from_secs(20);
/// Name of the object whose appearance ends a watch.
const LAST: &str = "zz";

/// Something that a server showed, and after what.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Shown {
    pub after: String,
    pub answer: Answer,
}

/// Everything that a server showed, in symbols.
pub type Play = Vec<Shown>;

/// Plays a sequence. `hint` is what another side showed: after a step that gives the controller manager work, the real
/// side is waited for until it shows the same.
pub async fn play(side: &Side, names: &Names, sequence: &Sequence, hint: Option<&Play>) -> Play {
    let mut player =
        Player { side, names, normal: Normal::new(names), memory: Memory::default(), shown: Vec::new() };
    let start = match &sequence.watch {
        Some(watching) => Some((watching, player.begin(watching).await)),
        None => None,
    };
    let used = used(sequence);
    for (i, step) in sequence.steps.iter().enumerate() {
        player.step(i, step, hint).await;
        if step.settle && step.method != "GET" {
            player.settle(&used, hint).await;
        }
    }
    player.look(&used, "the end").await;
    if let Some((watching, revision)) = start {
        player.events(watching, &revision, sequence.steps.iter().any(|s| s.settle)).await;
    }
    if let Side::Real(real) = side {
        clean(real, names, &used).await;
    }
    player.shown
}

struct Player<'a> {
    side: &'a Side,
    names: &'a Names,
    normal: Normal,
    memory: Memory,
    shown: Play,
}

impl Player<'_> {
    async fn step(&mut self, i: usize, step: &Step, hint: Option<&Play>) {
        let wire = self.memory.wire(step, self.names);
        if step.settle && step.method == "GET" {
            self.side.collect_garbage();
        }
        let mut answer = self.side.send(&wire).await;
        let wanted =
            hint.and_then(|h| h.get(self.shown.len())).filter(|_| step.settle && step.method == "GET");
        let mut waited = Duration::ZERO;
        while wanted.is_some_and(|w| w.answer.code != answer.code) && waited < REST {
            tokio::time::sleep(Duration::from_millis(50)).await;
            waited += Duration::from_millis(50);
            answer = self.side.send(&wire).await;
        }
        self.memory.learn(&step.place, self.names, &answer.body);
        let after = format!("{i} {} {}", step.method, self.normal.clone().answer(&text(&wire.uri)).body);
        self.show(after, &answer);
    }

    fn show(&mut self, after: String, answer: &Answer) {
        let answer = self.normal.answer(answer);
        self.shown.push(Shown { after, answer });
    }

    /// What is there, kind by kind.
    async fn look(&mut self, used: &BTreeSet<(String, usize)>, when: &str) {
        for (resource, ns) in used {
            let answer = self.side.send(&list(resource, *ns, self.names)).await;
            self.show(format!("{resource} {ns} at {when}"), &answer);
        }
    }

    async fn settle(&mut self, used: &BTreeSet<(String, usize)>, hint: Option<&Play>) {
        self.side.collect_garbage();
        let (normal, at) = (self.normal.clone(), self.shown.len());
        let wanted = hint.and_then(|h| h.get(at..at + used.len()));
        let mut waited = Duration::ZERO;
        loop {
            self.look(used, "rest").await;
            let pause = match (self.side, wanted) {
                (Side::Simulator(_), _) => return,
                (Side::Real(_), Some(wanted)) if wanted == &self.shown[at..] || waited > REST => return,
                (Side::Real(_), None) if waited > REST / 10 => return,
                (Side::Real(_), _) => Duration::from_millis(50),
            };
            tokio::time::sleep(pause).await;
            waited += pause;
            self.normal = normal.clone();
            self.shown.truncate(at);
        }
    }

    /// The revision from which the watch goes on.
    async fn begin(&self, watching: &Watching) -> String {
        let answer = self.side.send(&list(&watching.resource, watching.ns, self.names)).await;
        answer.body["metadata"]["resourceVersion"].as_str().expect("a list has a version").to_owned()
    }

    async fn events(&mut self, watching: &Watching, revision: &str, in_any_order: bool) {
        let place = Place {
            resource: watching.resource.clone(),
            ns: watching.ns,
            name: LAST.into(),
            at: At::Collection,
        };
        let mut last = universe::minimal(&place.resource);
        last["metadata"]["labels"]["l"] = json!("1");
        let create = Step {
            method: "POST".into(),
            place: place.clone(),
            query: Vec::new(),
            content_type: "application/json".into(),
            body: Body::Json(last),
            settle: false,
        };
        let answer = self.side.send(&self.memory.wire(&create, self.names)).await;
        assert_eq!(answer.code, 201, "the last object: {}", answer.body);
        let mut query = watching.query.clone();
        query.extend([("watch".into(), "1".into()), ("resourceVersion".into(), revision.into())]);
        let watch = Step { method: "GET".into(), query, body: Body::Nothing {}, ..create };
        let name = self.names.name(&place.resource, LAST);
        let is_last = move |event: &Value| event["object"]["metadata"]["name"] == json!(name);
        let mut answer = self.side.watch(&self.memory.wire(&watch, self.names), is_last).await;
        if let Value::Array(events) = &mut answer.body {
            events.retain(|e| e["type"] != "BOOKMARK");
            if !universe::is_namespaced(&watching.resource) {
                // Others play beside us.
                let own = |e: &Value| {
                    e["object"]["metadata"]["name"].as_str().is_some_and(|n| n.starts_with(&self.names.tag))
                };
                events.retain(own);
            }
            if in_any_order {
                events.sort_by_key(|e| e["object"]["metadata"]["name"].as_str().map(str::to_owned));
            }
        }
        self.show("watch".into(), &answer);
    }
}

fn text(text: &str) -> Answer {
    Answer { code: 0, body: json!(text), warnings: Vec::new() }
}

/// The collections that a sequence touches.
fn used(sequence: &Sequence) -> BTreeSet<(String, usize)> {
    let places = sequence.steps.iter().map(|s| (s.place.resource.clone(), s.place.ns));
    let watched = sequence.watch.iter().map(|w| (w.resource.clone(), w.ns));
    let known = |r: &str| universe::RESOURCES.contains(&r);
    places
        .chain(watched)
        .filter(|(r, _)| known(r))
        .map(|(r, ns)| if universe::is_namespaced(&r) { (r, ns) } else { (r, 0) })
        .collect()
}

fn get(uri: String) -> Wire {
    Wire { method: http::Method::GET, uri, content_type: String::new(), body: Vec::new() }
}

fn list(resource: &str, ns: usize, names: &Names) -> Wire {
    let mut uri = names.collection(resource, ns);
    if !universe::is_namespaced(resource) {
        uri.push_str(&format!("?labelSelector=tag%3D{}", names.tag));
    }
    get(uri)
}

/// Deletes what a sequence left, so that the next one finds an empty stage.
async fn clean(real: &'static Real, names: &Names, used: &BTreeSet<(String, usize)>) {
    let side = Side::Real(real);
    for (resource, ns) in used {
        let left = if universe::is_namespaced(resource) {
            let all = side.send(&get(names.collection(resource, *ns))).await.body;
            all["items"].as_array().cloned().unwrap_or_default()
        } else {
            // A label may have been lost, and a name may have been made by the server; not both.
            let uri = |n: &str| format!("{}/{}", names.collection(resource, 0), names.name(resource, n));
            let all = side.send(&list(resource, 0, names)).await.body;
            let mut left = all["items"].as_array().cloned().unwrap_or_default();
            for name in ["a", "b", "c", LAST] {
                left.push(side.send(&get(uri(name))).await.body);
            }
            left
        };
        for object in left.iter().filter(|o| o["metadata"]["uid"].is_string()) {
            remove(&side, &names.collection(resource, *ns), object).await;
        }
    }
}

async fn remove(side: &Side, collection: &str, object: &Value) {
    let Some(name) = object["metadata"]["name"].as_str().filter(|n| *n != "kube-root-ca.crt") else { return };
    let uri = format!("{collection}/{name}");
    let send = async |method: http::Method, body: Value| {
        let content_type =
            if method == http::Method::PATCH { "application/merge-patch+json" } else { "application/json" };
        let wire = Wire {
            method,
            uri: uri.clone(),
            content_type: content_type.into(),
            body: body.to_string().into_bytes(),
        };
        side.send(&wire).await
    };
    // A Gadget with a date-time there can be written no more: that is the trap, and the case for it.
    let free = json!({"metadata": {"finalizers": null}, "spec": {"seen": null}});
    let free = if object["kind"] == "Gadget" { free } else { json!({"metadata": {"finalizers": null}}) };
    send(http::Method::DELETE, json!({"propagationPolicy": "Background"})).await;
    if object["metadata"].get("finalizers").is_some() {
        let freed = send(http::Method::PATCH, free.clone()).await;
        assert!([200, 404].contains(&freed.code), "{uri} cannot be freed: {}", freed.body);
    }
}

/// The first difference between two plays that is not allowed.
#[derive(Debug)]
pub struct Difference {
    pub after: String,
    /// The real server's code.
    pub code: u16,
    pub at: String,
    pub real: Value,
    pub simulator: Value,
    /// The two answers whole.
    pub whole: String,
}

impl Difference {
    /// Whether it may be chance: the real server tries a patch on its cache's copy of the object first, and what it
    /// warned of then stays, even when that copy was stale and the patch is refused in the end.
    pub fn may_be_chance(&self) -> bool {
        self.at == "/warnings" && self.code >= 400 && self.after.contains(" PATCH ")
    }

    /// What this difference has in common with others of its cause.
    pub fn kind(&self) -> String {
        let verb = self.after.trim_start_matches(|c: char| c.is_ascii_digit() || c == ' ');
        let verb = verb.split('?').next().unwrap_or_default();
        let short = |v: &Value| v.to_string().chars().take(90).collect::<String>();
        format!("{verb} {}: {} / {}", self.at, short(&self.real), short(&self.simulator))
    }
}

/// Compares what two sides showed.
pub fn compare(real: &Play, simulator: &Play) -> Option<Difference> {
    for (r, s) in real.iter().zip(simulator) {
        if allow::reason(&r.answer, &s.answer).is_some() {
            continue;
        }
        let (value, other) = (json!(r.answer), json!(s.answer));
        if let Some((at, real, simulator)) = first_difference("", &value, &other) {
            let whole = format!("{value}\n      {other}");
            let (after, code) = (r.after.clone(), r.answer.code);
            return Some(Difference { after, code, at, real, simulator, whole });
        }
    }
    assert_eq!(real.len(), simulator.len(), "as much was looked at");
    None
}

fn first_difference(at: &str, one: &Value, other: &Value) -> Option<(String, Value, Value)> {
    match (one, other) {
        (Value::Object(a), Value::Object(b)) => {
            let keys: BTreeSet<&String> = a.keys().chain(b.keys()).collect();
            // The code first: it says the most.
            let code = ["code".to_owned(), "reason".to_owned()];
            code.iter().chain(keys).find_map(|k| {
                let absent = Value::String("(absent)".into());
                let (a, b) = (a.get(k).unwrap_or(&absent), b.get(k).unwrap_or(&absent));
                first_difference(&format!("{at}/{k}"), a, b)
            })
        }
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
            a.iter().zip(b).enumerate().find_map(|(i, (a, b))| first_difference(&format!("{at}/{i}"), a, b))
        }
        _ => (one != other).then(|| (at.to_owned(), one.clone(), other.clone())),
    }
}
