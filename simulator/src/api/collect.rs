//! What the controller manager does that Ratchet relies on: dependents go when their owners are gone, and a
//! namespace that is being deleted is emptied. One round looks at everything once; nothing happens between rounds.

use super::call::Call;
use super::delete::{FOREGROUND, ORPHAN, Options};
use super::failure::Answer;
use super::route::Target;
use super::store::{Entry, State};
use super::update::finished;
use super::{Kind, Request, User, meta};
use bytes::Bytes;
use serde_json::{Value, json};
use std::sync::Arc;

/// Something to be done.
enum Chore {
    /// Nobody owns it any more.
    Delete,
    /// Some of its owners are gone.
    Forget(Vec<Value>),
    /// Nothing depends on it any more.
    LetGo(&'static str),
}

/// One of the controllers as a caller.
fn controller(name: &str) -> Request {
    let groups = ["system:serviceaccounts", "system:serviceaccounts:kube-system", "system:authenticated"];
    Request {
        method: http::Method::DELETE,
        uri: String::new(),
        content_type: String::new(),
        accept: String::new(),
        body: Bytes::new(),
        user: User {
            name: format!("system:serviceaccount:kube-system:{name}"),
            groups: groups.map(str::to_owned).to_vec(),
        },
    }
}

impl State {
    /// One round. Whether anything was done.
    pub(crate) fn collect(&mut self) -> bool {
        let swept = std::mem::take(&mut self.litter) && self.sweep();
        self.empty_namespaces() || swept
    }

    fn sweep(&mut self) -> bool {
        let mut done = false;
        for (target, name, chore) in self.chores() {
            let key = meta::key(&target.namespace, &name);
            let Some(entry) = self.get(&target.table, &key).cloned() else { continue };
            let outcome = match chore {
                Chore::Delete => self.discard(&target, &name, &entry, "generic-garbage-collector"),
                Chore::Forget(owners) => {
                    let mut new = (*entry.value).clone();
                    meta::set_list(&mut new, "ownerReferences", owners);
                    self.rewrite(&target, &key, new)
                }
                Chore::LetGo(finalizer) => {
                    if finalizer == ORPHAN {
                        self.disown(meta::uid(&entry.value));
                    }
                    let mut new = (*entry.value).clone();
                    let rest =
                        meta::list(&new, "finalizers").iter().filter(|f| *f != finalizer).cloned().collect();
                    meta::set_list(&mut new, "finalizers", rest);
                    self.rewrite(&target, &key, new)
                }
            };
            // What failed is tried again in the next round.
            self.litter |= outcome.is_err();
            done |= outcome.is_ok();
        }
        done
    }

    /// Everything that there is to do, in the order of tables and keys.
    fn chores(&self) -> Vec<(Target, String, Chore)> {
        let mut out = Vec::new();
        for table in self.tables.values() {
            for entry in table.objects.values() {
                let object = &entry.value;
                let owned = !meta::list(object, "ownerReferences").is_empty();
                let chore = if meta::deleting(object) { self.unblocked(object) } else { None };
                let chore = chore.or_else(|| if owned { self.bereaved(object) } else { None });
                if let Some(chore) = chore {
                    out.push((
                        target(&table.name, &table.kind, object),
                        meta::name(object).to_owned(),
                        chore,
                    ));
                }
            }
        }
        out
    }

    /// Whether a deletion that waits for dependents need not wait any more.
    fn unblocked(&self, object: &Value) -> Option<Chore> {
        let finalizer =
            meta::finalizers(object).find_map(|f| [FOREGROUND, ORPHAN].into_iter().find(|k| *k == f))?;
        let uid = meta::uid(object);
        let blocks = |owner: &Value| owner["uid"] == uid && owner["blockOwnerDeletion"] == true;
        let blocked = finalizer == FOREGROUND
            && self
                .tables
                .values()
                .flat_map(|t| t.objects.values())
                .any(|e| meta::list(&e.value, "ownerReferences").iter().any(blocks));
        (!blocked).then_some(Chore::LetGo(finalizer))
    }

    /// What the state of its owners means for an object.
    fn bereaved(&self, object: &Value) -> Option<Chore> {
        let owners = meta::list(object, "ownerReferences");
        let (mut solid, mut lost) = (Vec::new(), false);
        for reference in owners {
            match self.owner(meta::namespace(object), reference) {
                // What cannot be looked up says nothing.
                None => solid.push(reference.clone()),
                Some(Some(owner)) if !waits(&owner.value) => solid.push(reference.clone()),
                Some(_) => lost = true,
            }
        }
        match (solid.is_empty(), lost) {
            (_, false) => None,
            (true, true) => (!meta::deleting(object)).then_some(Chore::Delete),
            (false, true) => Some(Chore::Forget(solid)),
        }
    }

    /// The owner that a reference names; `None` when its kind is not served, or lies in namespaces and the dependent
    /// in none; `Some(None)` when it is gone.
    fn owner(&self, namespace: &str, reference: &Value) -> Option<Option<&Arc<Entry>>> {
        let text = |field: &str| reference[field].as_str().unwrap_or_default();
        let (table, kind) = self.find(text("apiVersion"), text("kind"))?;
        if kind.namespaced && namespace.is_empty() {
            return None;
        }
        let namespace = if kind.namespaced { namespace } else { "" };
        let entry = self.get(table, &meta::key(namespace, text("name")));
        Some(entry.filter(|e| meta::uid(&e.value) == text("uid")))
    }

    /// Removes the references to an owner that leaves its dependents behind.
    fn disown(&mut self, uid: &str) {
        let mut found = Vec::new();
        for table in self.tables.values() {
            for (key, entry) in &table.objects {
                let owners = meta::list(&entry.value, "ownerReferences");
                if owners.iter().any(|o| o["uid"] == uid) {
                    let mut new = (*entry.value).clone();
                    meta::set_list(
                        &mut new,
                        "ownerReferences",
                        owners.iter().filter(|o| o["uid"] != uid).cloned().collect(),
                    );
                    found.push((target(&table.name, &table.kind, &entry.value), key.clone(), new));
                }
            }
        }
        for (target, key, new) in found {
            self.litter |= self.rewrite(&target, &key, new).is_err();
        }
    }

    /// Stores an object that a controller changed; one that nothing holds any more goes.
    fn rewrite(&mut self, target: &Target, key: &str, new: Value) -> Answer<()> {
        if finished(&target.kind, &new) {
            let stored = self.get(&target.table, key).map(|entry| (*entry.value).clone());
            self.remove(&target.table, key, stored.unwrap_or(new)).map(drop)
        } else {
            self.put(&target.table, key, new).map(drop)
        }
    }

    /// Deletes an object as one of the controllers.
    fn discard(&mut self, target: &Target, name: &str, entry: &Arc<Entry>, by: &str) -> Answer<()> {
        let held = |f: &str| meta::finalizers(&entry.value).any(|x| x == f);
        let policy = if held(ORPHAN) {
            "Orphan"
        } else if held(FOREGROUND) {
            "Foreground"
        } else {
            "Background"
        };
        let uid = Some(meta::uid(&entry.value).to_owned());
        let options = Options { uid, policy: policy.to_owned(), ..Options::default() };
        let request = controller(by);
        self.delete_one(&Call::internal(&request), target, name, &options).map(drop)
    }

    /// Empties the namespaces that are being deleted; lets go of those that are empty.
    fn empty_namespaces(&mut self) -> bool {
        let terminating: Vec<(String, Arc<Entry>)> = self
            .range_at("namespaces", "", None)
            .into_iter()
            .filter(|(_, e)| meta::deleting(&e.value))
            .map(|(key, e)| (key.to_owned(), e.clone()))
            .collect();
        let mut done = false;
        for (name, entry) in terminating {
            let prefix = format!("{name}/");
            let mut left = Vec::new();
            for table in self.tables.values().filter(|t| t.kind.namespaced) {
                for (_, e) in self.range_at(&table.name, &prefix, None) {
                    left.push((target(&table.name, &table.kind, &e.value), e.clone()));
                }
            }
            let empty = left.is_empty();
            for (target, e) in left.into_iter().filter(|(_, e)| !meta::deleting(&e.value)) {
                let object = meta::name(&e.value).to_owned();
                done |= self.discard(&target, &object, &e, "namespace-controller").is_ok();
            }
            let held = entry.value["spec"]["finalizers"].as_array().is_some_and(|f| !f.is_empty());
            if empty && held {
                let mut new = (*entry.value).clone();
                new["spec"]["finalizers"] = json!([]);
                let kind = self.tables.get("namespaces").map(|t| t.kind.clone());
                let Some(kind) = kind else { continue };
                done |= self.rewrite(&target("namespaces", &kind, &entry.value), &name, new).is_ok();
            }
        }
        done
    }
}

/// Whether an owner waits for its dependents to go first.
fn waits(owner: &Value) -> bool {
    meta::deleting(owner) && meta::finalizers(owner).any(|f| f == FOREGROUND)
}

/// An object's place.
fn target(table: &str, kind: &Arc<Kind>, object: &Value) -> Target {
    Target {
        table: table.to_owned(),
        kind: kind.clone(),
        namespace: meta::namespace(object).to_owned(),
        name: Some(meta::name(object).to_owned()),
        sub: String::new(),
        watch: false,
    }
}
