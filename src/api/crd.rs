//! Builds the CustomResourceDefinitions: schema from the Rust types, shaped as the API server wants it, with the
//! rules of [`super::rules`] at the paths where they belong. Everything works on the JSON of the schema, because
//! that is what the API server reads.

use super::rules::{self, Rule};
use schemars::JsonSchema;
use serde_json::{Map, Value, json};

/// Why a CRD cannot be built: a bug in a type or in a rule.
#[derive(Debug, thiserror::Error)]
pub enum CrdError {
    /// A rule names a path that the schema does not have.
    #[error("the schema of {kind} has no {path}")]
    NoSuchPath {
        /// The kind.
        kind: &'static str,
        /// The path.
        path: String,
    },
}

/// A column of `kubectl get`.
struct Column(&'static str, &'static str, &'static str, &'static str);

/// Names and columns of a kind.
struct Names {
    kind: &'static str,
    plural: &'static str,
    singular: &'static str,
    short: &'static [&'static str],
    namespaced: bool,
    status: bool,
    columns: &'static [Column],
}

const OPERATION: Names = Names {
    kind: "DataOperation",
    plural: "dataoperations",
    singular: "dataoperation",
    short: &["dop"],
    namespaced: true,
    status: true,
    columns: &[
        Column("Type", "string", ".status.kind", "What it does"),
        Column("Target", "string", ".spec.target", "The CacheCluster"),
        Column("Phase", "string", ".status.phase", "Where it is"),
        Column("Step", "string", ".status.step", "Name of the typed state"),
        Column("Progress", "string", ".status.progress.percent", "Rounded down"),
        Column("ETA", "string", ".status.progress.eta", "At the present rate"),
        Column("Reason", "string", ".status.waitingOn.reason", "Why nothing happens, or how it ended"),
        Column("Started", "date", ".status.startedAt", "When the lock was granted"),
        Column("Finished", "date", ".status.finishedAt", "When it ended"),
    ],
};

const TARGET: Column = Column("Target", "string", ".spec.target", "The CacheCluster");
const RUN_PHASE: Column = Column("Phase", "string", ".status.phase", "Where it is");
const RUN_STEP: Column = Column("Step", "string", ".status.step", "Name of the typed state");
const RUN_PROGRESS: Column = Column("Progress", "string", ".status.progress", "Rounded down");
const RUN_REASON: Column =
    Column("Reason", "string", ".status.reason", "Why nothing happens, or how it ended");
const RUN: Column = Column("Operation", "string", ".status.operation", "The newest run");
const RUN_STARTED: Column = Column("Started", "date", ".status.startedAt", "When the run started");
const RUN_FINISHED: Column = Column("Finished", "date", ".status.finishedAt", "When the run ended");

const LOAD: Names = Names {
    kind: "DataLoad",
    plural: "dataloads",
    singular: "dataload",
    short: &["dl"],
    namespaced: true,
    status: true,
    columns: &[TARGET, RUN_PHASE, RUN_STEP, RUN_PROGRESS, RUN_REASON, RUN, RUN_STARTED, RUN_FINISHED],
};

const UPGRADE: Names = Names {
    kind: "Upgrade",
    plural: "upgrades",
    singular: "upgrade",
    short: &["upg"],
    namespaced: true,
    status: true,
    columns: &[
        TARGET,
        Column("Version", "string", ".spec.version", "The release that every member shall run"),
        RUN_PHASE,
        RUN_STEP,
        RUN_PROGRESS,
        RUN_REASON,
        RUN,
        RUN_STARTED,
        RUN_FINISHED,
    ],
};

const CLUSTER: Names = Names {
    kind: "CacheCluster",
    plural: "cacheclusters",
    singular: "cachecluster",
    short: &["cc"],
    namespaced: true,
    status: true,
    columns: &[
        Column("Engine", "string", ".spec.engine", "The cache system"),
        Column("Version", "string", ".status.version", "Version of the primary master"),
        Column("Phase", "string", ".status.phase", "How it is"),
        Column("Reason", "string", ".status.conditions[?(@.type=='Ready')].reason", "Why it is so"),
        Column("Masters", "string", ".status.masters", "Masters"),
        Column("Workers", "string", ".status.workers", "Live of known workers"),
        Column("Capacity", "string", ".status.capacity", "What the live workers can hold"),
        Column("Used", "string", ".status.used", "What they hold"),
        Column("Age", "date", ".metadata.creationTimestamp", "Since it was declared"),
    ],
};

const DATASET: Names = Names {
    kind: "Dataset",
    plural: "datasets",
    singular: "dataset",
    short: &["dset"],
    namespaced: true,
    status: true,
    columns: &[
        Column("Cluster", "string", ".spec.cluster", "The CacheCluster"),
        Column("UFS Size", "string", ".status.ufsSize", "Bytes in the stores that the cache knows of"),
        Column("Files", "integer", ".status.files", "Files in the stores that the cache knows of"),
        Column("Cached", "string", ".status.cached", "Bytes of them that are cached"),
        Column("Cached %", "string", ".status.cachedPercent", "Rounded down"),
        Column("Hit %", "string", ".status.hitRatio", "Of what the whole cache was asked for"),
        Column("Phase", "string", ".status.phase", "How it is"),
        Column("Age", "date", ".metadata.creationTimestamp", "Since it was declared"),
    ],
};

const LOCK: Names = Names {
    kind: "TargetLock",
    plural: "targetlocks",
    singular: "targetlock",
    short: &["tl"],
    namespaced: false,
    status: false,
    columns: &[
        Column("Namespace", "string", ".spec.claim.namespace", "Namespace of the CacheCluster"),
        Column("Cluster", "string", ".spec.claim.name", "The CacheCluster that owns the engine"),
        Column("Epoch", "integer", ".spec.lock.epoch", "Grants so far"),
        Column("Holders", "string", ".spec.lock.holders[*].name", "Operations that work on the engine"),
        Column("Age", "date", ".metadata.creationTimestamp", "Since the engine was claimed"),
    ],
};

const JOURNAL: Names = Names {
    kind: "OperationJournal",
    plural: "operationjournals",
    singular: "operationjournal",
    short: &["oj"],
    namespaced: true,
    status: false,
    columns: &[
        Column("Operation", "string", ".spec.operation", "Name of the operation"),
        Column("Type", "string", ".spec.kind", "What it did"),
        Column("First", "integer", ".spec.firstSeq", "First entry"),
        Column("Last", "integer", ".spec.lastSeq", "Last entry"),
        Column("Phase", "string", ".spec.phase", "Phase after the last entry"),
        Column("Age", "date", ".metadata.creationTimestamp", "Since it was written"),
    ],
};

/// Every CRD as it is shipped, by file name.
///
/// # Errors
/// [`CrdError`] when a rule and a type do not fit: a bug, found by the drift check.
pub fn all() -> Result<Vec<(String, Value)>, CrdError> {
    let mut schema = schema_of::<super::CacheCluster>();
    let missing = || CrdError::NoSuchPath { kind: CLUSTER.kind, path: "spec.local".into() };
    rules::ship_cluster(&mut schema).ok_or_else(missing)?;
    files(with_rules(&CLUSTER, schema, rules::cluster())?)
}

/// Every CRD as `ratchet dev` has it: a CacheCluster may also be a local one.
///
/// # Errors
/// [`CrdError`] as [`all`].
pub fn dev() -> Result<Vec<(String, Value)>, CrdError> {
    let mut rules = rules::cluster();
    rules.extend(rules::dev_cluster());
    files(with_rules(&CLUSTER, schema_of::<super::CacheCluster>(), rules)?)
}

fn files(cluster: Value) -> Result<Vec<(String, Value)>, CrdError> {
    Ok(vec![
        file(build::<super::DataOperation>(&OPERATION, rules::operation())?),
        file(build::<super::DataLoad>(&LOAD, rules::load())?),
        file(build::<super::Upgrade>(&UPGRADE, rules::upgrade())?),
        file(cluster),
        file(build::<super::Dataset>(&DATASET, rules::dataset())?),
        file(build::<super::TargetLock>(&LOCK, rules::lock())?),
        file(build::<super::OperationJournal>(&JOURNAL, rules::journal())?),
    ])
}

fn file(crd: Value) -> (String, Value) {
    let name = crd["spec"]["names"]["plural"].as_str().unwrap_or_default().to_owned();
    (format!("{name}.yaml"), crd)
}

fn build<K: JsonSchema>(names: &Names, rules: Vec<Rule>) -> Result<Value, CrdError> {
    let mut schema = schema_of::<K>();
    if names.kind == "DataOperation" {
        rules::loosen_unions(&mut schema).map_err(|path| CrdError::NoSuchPath { kind: names.kind, path })?;
    }
    with_rules(names, schema, rules)
}

fn with_rules(names: &Names, mut schema: Value, rules: Vec<Rule>) -> Result<Value, CrdError> {
    for rule in rules {
        let missing = || CrdError::NoSuchPath { kind: names.kind, path: rule.path.to_owned() };
        let node = rules::node(&mut schema, rule.path).ok_or_else(missing)?;
        let mut text = Map::new();
        text.insert("rule".into(), json!(rule.rule));
        text.insert("message".into(), json!(rule.message));
        if rule.at_birth {
            text.insert("optionalOldSelf".into(), json!(true));
        }
        let list = node.entry("x-kubernetes-validations").or_insert_with(|| json!([]));
        if let Some(list) = list.as_array_mut() {
            list.push(Value::Object(text));
        }
    }
    Ok(definition(names, &schema))
}

fn definition(names: &Names, schema: &Value) -> Value {
    let columns: Vec<Value> = names
        .columns
        .iter()
        .map(|Column(name, type_, path, what)| json!({"name": name, "type": type_, "jsonPath": path, "description": what}))
        .collect();
    let mut version = json!({
        "name": super::VERSION,
        "served": true,
        "storage": true,
        "schema": {"openAPIV3Schema": schema},
        "additionalPrinterColumns": columns,
    });
    if names.status {
        version["subresources"] = json!({"status": {}});
    }
    if names.kind == "CacheCluster" {
        version["subresources"]["scale"] = json!({
            "specReplicasPath": ".spec.managed.workers.replicas",
            "statusReplicasPath": ".status.replicas",
            "labelSelectorPath": ".status.selector",
        });
    }
    if names.kind == "DataOperation" {
        version["selectableFields"] = json!([{"jsonPath": ".status.phase"}, {"jsonPath": ".spec.target"}]);
    }
    json!({
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": format!("{}.{}", names.plural, super::GROUP)},
        "spec": {
            "group": super::GROUP,
            "names": {
                "kind": names.kind,
                "listKind": format!("{}List", names.kind),
                "plural": names.plural,
                "singular": names.singular,
                "shortNames": names.short,
                "categories": ["ratchet"],
            },
            "scope": if names.namespaced { "Namespaced" } else { "Cluster" },
            "versions": [version],
        },
    })
}

fn schema_of<K: JsonSchema>() -> Value {
    let mut schema = structural::<K>();
    tidy(&mut schema);
    schema
}

/// The schema as schemars gives it, rewritten to a structural one.
fn structural<K: JsonSchema>() -> Value {
    let generator = schemars::generate::SchemaSettings::openapi3()
        .with(|s| {
            s.inline_subschemas = true;
            s.meta_schema = None;
        })
        .with_transform(schemars::transform::AddNullable::default())
        .with_transform(kube::core::schema::StructuralSchemaRewriter)
        .with_transform(kube::core::schema::OptionalEnum)
        .with_transform(kube::core::schema::OptionalIntOrString)
        .into_generator();
    generator.into_root_schema_for::<K>().to_value()
}

/// Removes what the API server warns about or what says nothing: titles, formats of unsigned numbers, `nullable`
/// (an absent field is absent, a null one is an error).
fn tidy(schema: &mut Value) {
    match schema {
        Value::Object(map) => {
            map.remove("nullable");
            if map.get("title").is_some_and(Value::is_string) {
                map.remove("title");
            }
            if map.get("format").and_then(Value::as_str).is_some_and(|f| f.starts_with("uint")) {
                map.remove("format");
            }
            // An enum of plain words with documentation for each arrives as oneOf of one-word enums.
            if let Some(words) = words(map) {
                map.remove("oneOf");
                map.insert("type".into(), json!("string"));
                map.insert("enum".into(), words);
            }
            map.values_mut().for_each(tidy);
        }
        Value::Array(items) => items.iter_mut().for_each(tidy),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn words(map: &Map<String, Value>) -> Option<Value> {
    let variants = map.get("oneOf")?.as_array()?;
    let mut all = Vec::new();
    for v in variants {
        all.extend(v.get("enum")?.as_array()?.iter().cloned());
    }
    Some(Value::Array(all))
}

/// The documents as YAML, each with a line that says where it comes from.
///
/// # Errors
/// When a document does not serialise.
pub fn yaml(documents: &[Value]) -> Result<String, serde_yaml_ng::Error> {
    let mut out = String::from("# Generated by `cargo run --bin crdgen`. Do not edit.\n");
    for document in documents {
        out.push_str("---\n");
        out.push_str(&serde_yaml_ng::to_string(document)?);
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec_of_cluster(crds: &[(String, Value)]) -> Value {
        let (_, crd) = crds.iter().find(|(name, _)| name == "cacheclusters.yaml").expect("it is there");
        crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"].clone()
    }

    #[test]
    fn a_local_cache_can_be_asked_for_in_dev_only() {
        let shipped = spec_of_cluster(&all().expect("they build"));
        assert_eq!(shipped["properties"]["engine"]["enum"], json!(["Alluxio"]));
        assert_eq!(shipped["properties"]["local"], Value::Null);

        let dev = spec_of_cluster(&dev().expect("they build"));
        assert_eq!(dev["properties"]["engine"]["enum"], json!(["Alluxio", "Local"]));
        assert_eq!(dev["properties"]["attached"]["default"], Value::Null, "it would be filled in");
        let local = &dev["properties"]["local"]["properties"];
        let (workers, capacity) = (&local["workers"], &local["workerCapacityBytes"]);
        assert_eq!((&workers["minimum"], &workers["maximum"]), (&json!(1), &json!(16)));
        assert_eq!((&workers["default"], &capacity["default"]), (&json!(2), &json!(1_i64 << 30)));
        assert_eq!(dev["x-kubernetes-validations"].as_array().map(Vec::len), Some(6));
    }

    #[cfg(feature = "dev")]
    #[test]
    fn dev_says_which_block_an_engine_needs() {
        use ratchet_simulator::schema::{Rules, Schema};
        let crds = dev().expect("they build");
        let (_, crd) = crds.iter().find(|(name, _)| name == "cacheclusters.yaml").expect("it is there");
        let schema = Schema::compile(&crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]);
        let schema = schema.expect("it compiles");
        let wrong = |spec: &Value, old: Option<&Value>| {
            let object = |spec: &Value| {
                let mut object = json!({
                    "apiVersion": "ratchet.dev/v1alpha1", "kind": "CacheCluster",
                    "metadata": {"name": "c"}, "spec": spec,
                });
                schema.shape(&mut object);
                object
            };
            schema.validate(&object(spec), old.map(object).as_ref(), Rules::All).len()
        };
        let attached = json!({"masters": ["master-0:19998"]});
        for (spec, causes) in [
            (json!({"engine": "Local"}), 0),
            (json!({"engine": "Local", "local": {"workers": 3}}), 0),
            (json!({"engine": "Local", "local": {"workers": 17}}), 1),
            (json!({"engine": "Local", "attached": attached}), 1),
            (json!({"attached": attached}), 0),
            (json!({}), 1),
            (json!({"attached": attached, "local": {}}), 1),
        ] {
            assert_eq!(wrong(&spec, None), causes, "{spec}");
        }
        let (two, three) =
            (json!({"engine": "Local", "local": {}}), json!({"engine": "Local", "local": {"workers": 3}}));
        assert_eq!((wrong(&two, Some(&two)), wrong(&three, Some(&two))), (0, 1));
    }

    #[test]
    fn dev_differs_from_what_is_shipped_in_the_cache_cluster_only() {
        let (shipped, dev) = (all().expect("they build"), dev().expect("they build"));
        let differing: Vec<_> =
            shipped.iter().zip(&dev).filter(|(a, b)| a != b).map(|((name, _), _)| name.as_str()).collect();
        assert_eq!(differing, ["cacheclusters.yaml"]);
    }
}
