//! What the StatefulSets of a managed cache may never be: each says what its revision says, and that never falls.

use serde_json::{Value, json};
use std::collections::BTreeMap;

/// StatefulSets as the controllers wrote them.
#[derive(Debug, Default)]
pub struct Written {
    /// By uid and revision: the revision decides all.
    all: BTreeMap<(String, i64), Value>,
    /// The newest revision that each was written from, by uid.
    newest: BTreeMap<String, i64>,
}

/// Uid, revision, and what that revision decides.
fn parts(set: &Value) -> (String, i64, Value) {
    let number = set["metadata"]["annotations"]["ratchet.dev/revision"].as_str();
    let spec = json!({"replicas": set["spec"]["replicas"], "template": set["spec"]["template"]});
    let uid = set["metadata"]["uid"].as_str().unwrap_or_default();
    (uid.to_owned(), number.and_then(|n| n.parse().ok()).unwrap_or(0), spec)
}

/// Whether a person's change stands in it.
fn drifted(spec: &Value) -> bool {
    spec["template"]["metadata"]["labels"]["app.kubernetes.io/name"] == "drifted"
}

impl Written {
    /// A controller writes one. While a person's change of it stands, nothing is judged but the revision.
    ///
    /// # Errors
    /// What is wrong with that.
    pub fn write(&mut self, set: &Value) -> Result<(), String> {
        let (uid, revision, spec) = parts(set);
        let name = &set["metadata"]["name"];
        let newest = self.newest.entry(uid.clone()).or_insert(revision);
        if revision < *newest {
            return Err(format!("{name}: written from revision {revision} after {newest}"));
        }
        *newest = revision;
        let known = self.all.entry((uid, revision)).or_insert_with(|| spec.clone());
        if *known != spec && !drifted(&spec) {
            return Err(format!("{name}: another template without another revision than {revision}"));
        }
        Ok(())
    }

    /// Whether a StatefulSet is as it was written.
    pub fn stands(&self, set: &Value) -> bool {
        let (uid, revision, spec) = parts(set);
        self.all.get(&(uid, revision)).is_some_and(|known| *known == spec)
    }
}
