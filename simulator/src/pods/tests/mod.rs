//! The controllers on a table of objects that takes every write: what they make of what is there, step by step.

mod budgets;
mod jobs;
mod server;
mod sets;

use super::act::{Act, Cluster, Table};
use super::*;
use serde_json::json;
use std::cell::RefCell;

/// Objects by table and `namespace/name`.
#[derive(Default)]
struct Fake {
    objects: RefCell<BTreeMap<(&'static str, String), Value>>,
    uids: RefCell<usize>,
}

fn merge(into: &mut Value, from: &Value) {
    let Value::Object(fields) = from else { return into.clone_from(from) };
    for (name, value) in fields {
        merge(&mut into[name.as_str()], value);
    }
}

impl Fake {
    fn create(&self, table: Table, mut object: Value) {
        let mut uids = self.uids.borrow_mut();
        *uids += 1;
        object["metadata"]["uid"] = format!("uid-{uids}").into();
        object["metadata"]["generation"] = 1.into();
        object["metadata"]["namespace"] = "ns".into();
        if let Some(base) = object["metadata"]["generateName"].as_str() {
            object["metadata"]["name"] = format!("{base}{uids}").into();
        }
        let key = (table.plural(), look::name(&object).to_owned());
        assert!(self.objects.borrow_mut().insert(key, object).is_none(), "it exists");
    }

    fn edit(&self, table: Table, name: &str, how: impl FnOnce(&mut Value)) {
        how(self.objects.borrow_mut().get_mut(&(table.plural(), name.to_owned())).expect("it exists"));
    }

    fn get(&self, table: Table, name: &str) -> Value {
        self.objects.borrow().get(&(table.plural(), name.to_owned())).cloned().unwrap_or_default()
    }

    /// A user deletes a pod.
    fn delete_pod(&self, name: &str) {
        self.edit(Table::Pods, name, |pod| pod["metadata"]["deletionTimestamp"] = "now".into());
    }

    /// Each pod as `name revision-or-phase`, with `+` when it is ready and `-` when it is being deleted.
    fn pods(&self) -> Vec<String> {
        let marks = |pod: &Value| {
            let ready = if look::ready(pod) { "+" } else { "" };
            let gone = if look::terminating(pod) { "-" } else { "" };
            format!("{}{ready}{gone}", look::name(pod))
        };
        self.objects(Table::Pods).iter().map(|p| marks(p)).collect()
    }
}

impl Cluster for Fake {
    fn objects(&self, table: Table) -> Vec<Arc<Value>> {
        let all = self.objects.borrow();
        all.iter().filter(|((t, _), _)| *t == table.plural()).map(|(_, o)| Arc::new(o.clone())).collect()
    }

    fn act(&self, act: &Act) -> bool {
        match act {
            Act::Create { table, object, .. } => self.create(*table, object.clone()),
            Act::Status { table, name, uid, status, .. } => self.edit(*table, name, |object| {
                assert_eq!(look::uid(object), uid);
                merge(&mut object["status"], status);
            }),
            Act::Bind { name, node, .. } => {
                self.edit(Table::Pods, name, |pod| pod["spec"]["nodeName"] = (*node).into());
            }
            Act::Delete { table: Table::Pods, name, at_once: false, .. } => self.delete_pod(name),
            Act::Delete { table, name, .. } => {
                self.objects.borrow_mut().remove(&(table.plural(), name.clone())).expect("it exists");
            }
        }
        true
    }
}

/// A runtime whose pods are ready after a second and go within two.
fn runtime(observe_lag_ms: i64) -> Runtime {
    Runtime::new(Options { observe_lag_ms, ..Options::default() })
}

/// Steps at `now` until nothing happens; the number of steps that did something.
fn settle(runtime: &mut Runtime, fake: &Fake, now: i64) -> usize {
    (0..50).take_while(|_| runtime.step(fake, now)).count()
}
