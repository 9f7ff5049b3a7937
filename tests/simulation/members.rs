//! What the StatefulSets of a managed cache may never be: each says what its revision says, and that never falls.

use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// StatefulSets as the controllers wrote them.
#[derive(Debug, Default)]
pub struct Written {
    /// By uid and revision: the revision decides all.
    all: BTreeMap<(String, i64), Value>,
    /// The newest revision that each was written from, by uid.
    newest: BTreeMap<String, i64>,
    /// The revision of the cache, and its stage.
    revision: (Value, String),
    /// Tokens by which workers were changed.
    tokens: BTreeSet<String>,
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

    /// The status of the cache is written. Once it was ready, its workers change with a new number, by an operation whose
    /// token has not changed them before, whose fence is above all, and that is not `over`.
    ///
    /// # Errors
    /// What is wrong with that.
    pub fn revise(&mut self, cluster: &Value, over: bool) -> Result<(), String> {
        let (revision, stage) = (&cluster["status"]["revision"], &cluster["status"]["setUp"]["stage"]);
        let stage = stage.as_str().unwrap_or_default().to_owned();
        let (old, was) = std::mem::replace(&mut self.revision, (revision.clone(), stage.clone()));
        let fence = |r: &Value| {
            let f = &r["by"]["fence"];
            (f["epoch"].as_i64().unwrap_or(0), f["attempt"].as_i64().unwrap_or(0))
        };
        let number = |r: &Value| r["number"].as_i64().unwrap_or(0);
        if was == "Ready" && stage != "Ready" {
            return Err(format!("a cache that was ready is at {stage}"));
        }
        if was != "Ready" || old == *revision {
            return Ok(());
        }
        if over {
            return Err(format!("revision {} is written by an operation that is over", number(revision)));
        }
        if number(revision) != number(&old) + 1 {
            return Err(format!("revision {} after {}", number(revision), number(&old)));
        }
        if fence(revision) <= fence(&old) {
            return Err(format!(
                "the fence of the revision went from {:?} to {:?}",
                fence(&old),
                fence(revision)
            ));
        }
        let token = revision["by"]["token"].as_str().unwrap_or_default();
        if !self.tokens.insert(token.to_owned()) {
            return Err(format!("the members were changed twice by {token}"));
        }
        Ok(())
    }

    /// Whether a StatefulSet is as it was written.
    pub fn stands(&self, set: &Value) -> bool {
        let (uid, revision, spec) = parts(set);
        self.all.get(&(uid, revision)).is_some_and(|known| *known == spec)
    }
}
