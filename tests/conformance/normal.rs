//! Makes the answers of two servers comparable: what a server invents becomes a symbol in the order of its first
//! appearance, so that equal stays equal and different stays different.
//!
//! uid -> `uid#1` · resourceVersion of an object -> `rv#1`, of a list -> `rv` · times of metadata -> `time` · generated
//! names -> `stem-#` · continue tokens -> `continue` · the names that set runs apart -> `GROUP`, `TAG`. managedFields
//! are removed. The order of causes and the order in which a message strings them together is the server's whim.

use crate::side::Answer;
use crate::universe::Names;
use serde_json::{Value, json};

/// Length of a uid.
const UID: usize = 36;

/// The symbols of one side, in the order of their first appearance.
#[derive(Debug, Clone)]
pub struct Normal {
    names: Names,
    uids: Vec<String>,
    versions: Vec<String>,
}

impl Normal {
    pub fn new(names: &Names) -> Self {
        Self { names: names.clone(), uids: Vec::new(), versions: Vec::new() }
    }

    /// The answer in symbols.
    pub fn answer(&mut self, answer: &Answer) -> Answer {
        let mut body = answer.body.clone();
        match &mut body {
            Value::Array(events) => events.iter_mut().for_each(|e| self.object(&mut e["object"])),
            Value::Object(_) => self.object(&mut body),
            Value::String(text) => *text = self.text(text),
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
        let mut warnings: Vec<String> = answer.warnings.iter().map(|w| self.text(w)).collect();
        warnings.sort();
        Answer { code: answer.code, body, warnings }
    }

    fn object(&mut self, object: &mut Value) {
        if object.get("items").is_some_and(Value::is_array) {
            return self.list(object);
        }
        if object["kind"] == "Status" && object["apiVersion"] == "v1" {
            status(object);
        }
        if let Some(meta) = object.get_mut("metadata").and_then(Value::as_object_mut) {
            meta.remove("managedFields");
            for time in ["creationTimestamp", "deletionTimestamp"] {
                if meta.get(time).is_some_and(|t| t.as_str().is_some_and(|t| t.ends_with('Z'))) {
                    meta.insert(time.into(), json!("time"));
                }
            }
            if let Some(Value::String(version)) = meta.get("resourceVersion") {
                let symbol = self.version(&version.clone());
                meta.insert("resourceVersion".into(), json!(symbol));
            }
        }
        *object = self.value(object);
    }

    fn list(&mut self, list: &mut Value) {
        let meta = &mut list["metadata"];
        for (key, symbol) in [("resourceVersion", "rv"), ("continue", "continue")] {
            if meta.get(key).is_some_and(|v| v.as_str().is_some_and(|v| !v.is_empty())) {
                meta[key] = json!(symbol);
            }
        }
        let items = list["items"].as_array_mut().expect("a list has items");
        // The controller manager puts it into every namespace.
        items.retain(|item| item["metadata"]["name"] != "kube-root-ca.crt");
        items.iter_mut().for_each(|item| self.object(item));
        items.sort_by_key(|item| item["metadata"]["name"].as_str().map(str::to_owned));
        for key in ["kind", "apiVersion"] {
            list[key] = self.value(&list[key]);
        }
    }

    fn version(&mut self, version: &str) -> String {
        format!("rv#{}", ordinal(&mut self.versions, version))
    }

    fn value(&mut self, value: &Value) -> Value {
        match value {
            Value::String(text) => json!(self.text(text)),
            Value::Array(all) => all.iter().map(|v| self.value(v)).collect(),
            Value::Object(all) => {
                Value::Object(all.iter().map(|(k, v)| (self.text(k), self.value(v))).collect())
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => value.clone(),
        }
    }

    fn text(&mut self, text: &str) -> String {
        if text.len() > 4000 {
            return format!("({} characters)", text.len());
        }
        let text = without_objects(text);
        let text = text.replace(&self.names.group, "GROUP").replace(&self.names.tag, "TAG");
        let text = text.replace(self.names.run(), "RUN");
        if text.contains("Object 'Kind' is missing in") {
            // The whole object stands in it, with its times and managedFields.
            return "Object 'Kind' is missing".into();
        }
        let mut text = generated(&text);
        let mut from = 0;
        while let Some(at) = (from..text.len()).find(|at| text.get(*at..at + UID).is_some_and(is_uid)) {
            let symbol = format!("uid#{}", ordinal(&mut self.uids, &text[at..at + UID]));
            text.replace_range(at..at + UID, &symbol);
            from = at + symbol.len();
        }
        if text.contains("esource version") || text.contains("ResourceVersion") {
            self.numbers(&text)
        } else {
            text
        }
    }

    /// Puts symbols for the versions that a message names.
    fn numbers(&mut self, text: &str) -> String {
        let mut out = String::new();
        let mut rest = text;
        while let Some(at) = rest.find(|c: char| c.is_ascii_digit()) {
            let digits = &rest[at..];
            let (number, tail) =
                digits.split_at(digits.find(|c: char| !c.is_ascii_digit()).unwrap_or(digits.len()));
            out.push_str(&rest[..at]);
            match self.versions.iter().position(|v| v == number) {
                Some(known) => out.push_str(&format!("rv#{}", known + 1)),
                None if number.len() > 2 => out.push('N'),
                None => out.push_str(number),
            }
            rest = tail;
        }
        out + rest
    }
}

/// Leaves out a whole object that a message quotes as the invalid value, with its times and managedFields.
fn without_objects(text: &str) -> String {
    let quoted = "Invalid value: \"{";
    match (text.find(quoted), text.rfind("}\": ")) {
        (Some(from), Some(to)) if from < to => {
            format!("{}Invalid value: (object): {}", &text[..from], &text[to + 4..])
        }
        _ => text.to_owned(),
    }
}

/// Puts `#` for the random end of a generated name: sequences give them the stems `g0-`, `g1-`, ...
fn generated(text: &str) -> String {
    let bytes = text.as_bytes();
    let random = |b: &u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let (mut out, mut i) = (String::new(), 0);
    while let Some(g) = text[i..].find('g').map(|at| i + at) {
        let digits = bytes[g + 1..].iter().take_while(|b| b.is_ascii_digit()).count();
        let dash = g + 1 + digits;
        let end = dash + 6;
        let starts = g == 0 || !bytes[g - 1].is_ascii_alphanumeric();
        let is = starts && digits > 0 && bytes.get(dash) == Some(&b'-');
        let is = is && bytes.get(dash + 1..end).is_some_and(|tail| tail.iter().all(random));
        out.push_str(&text[i..=if is { dash } else { g }]);
        if is {
            out.push('#');
        }
        i = if is { end } else { g + 1 };
    }
    out + &text[i..]
}

/// Place of a text among those seen, from 1.
fn ordinal(seen: &mut Vec<String>, text: &str) -> usize {
    let at = seen.iter().position(|s| s == text).unwrap_or_else(|| {
        seen.push(text.to_owned());
        seen.len() - 1
    });
    at + 1
}

fn is_uid(text: &str) -> bool {
    text.bytes().enumerate().all(|(i, b)| match i {
        8 | 13 | 18 | 23 => b == b'-',
        _ => b.is_ascii_hexdigit() && !b.is_ascii_uppercase(),
    })
}

/// Sorts the causes; where there are several, the message strings them together in any order.
fn status(status: &mut Value) {
    let Some(causes) = status.pointer_mut("/details/causes").and_then(Value::as_array_mut) else { return };
    causes.sort_by_key(Value::to_string);
    if causes.len() > 1
        && let Some(message) = status["message"].as_str()
        && let Some((front, _)) = message.split_once("is invalid: ")
    {
        status["message"] = json!(format!("{front}is invalid: (causes)"));
    }
}
