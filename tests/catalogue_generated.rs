//! Row 43 of the failure catalogue: two thousand objects made from the schemas of the CRDs, at and past every bound, empty,
//! huge, negative, of the wrong type, in every script. Each is refused with a sentence or can be read by the controller,
//! and a sample of those that pass goes through a running controller, which says of each where it stands.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that cannot go on fails")]

mod cluster;

use cluster::LIMIT;
use cluster::stage::Stage;
use futures::StreamExt as _;
use kube::Error;
use kube::api::{Api, ApiResource, DynamicObject, PostParams};
use kube::core::NamespaceResourceScope;
use ratchet::api::{CacheCluster, DataLoad, DataOperation};
use ratchet_state_machine::machine::Phase;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Duration;
use tokio::time::Instant;

/// Fields of which an object has exactly one.
const EITHER: [&[&str]; 4] = [
    &["attached", "managed"],
    &["masters", "reference"],
    &["emptyDir", "hostPath", "volumeClaim"],
    &["hostPath", "claimName", "uri"],
];

/// A small generator of numbers: one seed, one list of objects.
struct Dice(u64);

impl Dice {
    fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % u64::try_from(n).unwrap()).unwrap()
    }

    fn percent(&mut self, of: usize) -> bool {
        self.below(100) < of
    }

    fn pick<T: Clone>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())].clone()
    }

    /// A value for a node of a schema: within its bounds, or with some luck just or far outside.
    fn value(&mut self, schema: &Value, field: &str, luck: usize) -> Value {
        if self.percent(luck) {
            let odd = [
                json!(null),
                json!("x"),
                json!(-1),
                json!(1.5),
                json!(true),
                json!([]),
                json!({}),
                json!("\u{0}"),
            ];
            return self.pick(&odd);
        }
        if let Some(words) = schema["enum"].as_array() {
            return self.pick(words);
        }
        match schema["type"].as_str() {
            Some("object") => self.object(schema, luck),
            Some("array") => {
                let (least, most) = (size(schema, "minItems", 0), size(schema, "maxItems", 4));
                let count = match self.below(100) {
                    0 => most,
                    n if n < luck => most + 1,
                    n if n < 2 * luck => 0,
                    _ => least + self.below(3),
                };
                (0..count).map(|_| self.value(&schema["items"], field, luck)).collect()
            }
            Some("integer") => self.integer(schema, luck),
            Some("boolean") => json!(self.percent(20)),
            _ => json!(self.text(schema, field, luck)),
        }
    }

    fn object(&mut self, schema: &Value, luck: usize) -> Value {
        let mut out = Map::new();
        let required: Vec<&str> =
            schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        let properties = schema["properties"].as_object().into_iter().flatten();
        for (name, node) in properties {
            let wanted = if required.contains(&name.as_str()) { 100 - luck } else { 30 };
            if self.percent(wanted) {
                out.insert(name.clone(), self.value(node, name, luck));
            }
        }
        // Of what excludes one another it is to be one; mostly.
        for group in EITHER {
            let known = group.iter().all(|n| schema["properties"][*n].is_object());
            if known && !self.percent(luck) {
                let one = self.pick(group);
                out.retain(|name, _| !group.contains(&name.as_str()) || name == one);
                if !out.contains_key(one) {
                    out.insert(one.to_owned(), self.value(&schema["properties"][one], one, luck));
                }
            }
        }
        // Of the operations too.
        if out.contains_key("load") && out.contains_key("free") && !self.percent(luck) {
            out.remove("free");
        } else if schema["properties"]["load"].is_object() && out.is_empty() {
            out.insert("load".into(), self.value(&schema["properties"]["load"], "load", luck));
        }
        if self.percent(luck) {
            out.insert("zap".into(), json!({"unknown": [1, "two"]}));
        }
        Value::Object(out)
    }

    fn integer(&mut self, schema: &Value, luck: usize) -> Value {
        let (least, most) = (schema["minimum"].as_i64(), schema["maximum"].as_i64());
        if self.percent(luck) {
            let wild = [
                json!(i64::MIN),
                json!(u64::MAX),
                json!(1e300),
                json!(-0.0),
                json!(2.0),
                json!(least.unwrap_or(0).saturating_sub(1)),
                json!(most.unwrap_or(i64::MAX - 1).saturating_add(1)),
            ];
            return self.pick(&wild);
        }
        let narrow = schema["format"].as_str() == Some("int32");
        let top = most.unwrap_or(if narrow { i64::from(i32::MAX) } else { i64::MAX });
        let near = least.unwrap_or(-1).saturating_add(i64::try_from(self.below(20)).unwrap()).min(top);
        json!(self.pick(&[near, near, near, least.unwrap_or(-1), top]))
    }

    fn text(&mut self, schema: &Value, field: &str, luck: usize) -> String {
        let most = size(schema, "maxLength", 64);
        if self.percent(luck) {
            let long = |n: usize| "长".repeat(n);
            let wild = [
                String::new(),
                long(most),
                long(most + 1),
                " ".into(),
                "\u{202e}\u{200b}".into(),
                "../..".into(),
            ];
            return self.pick(&wild);
        }
        let some = self.below(1000);
        let text = match field {
            "paths" => {
                self.pick(&["/", "/a", "/a/b", "/数据/ä b", "/%2e/*?", "/..x", "/🦀", "/a"]).to_owned()
                    + &if self.percent(60) { format!("/{some}") } else { String::new() }
            }
            "target" => self.pick(&["cache", "cache", "nobody", "NOT-A-NAME", "ca che"]).to_owned(),
            "name" => self.pick(&["op-1", "nobody", "ñ"]).to_owned(),
            "masters" => {
                self.pick(&["a:19998", "[::1]:1", "ä.example:65535", "a:0", "a:99999", "a"]).to_owned()
            }
            "by" => "admin".into(),
            "version" => self.pick(&["2.9.3", "2.9.4", "2.9.5", "2.9.6", "3.0.0"]).to_owned(),
            "size" => self.pick(&["1Gi", "10Mi", "2Ti", "0Gi", "5GB"]).to_owned(),
            "hostPath" => self.pick(&["/mnt/a", "/", "relative"]).to_owned(),
            "uri" => self.pick(&["s3://b", "hdfs://n:1/x", "nowhere"]).to_owned(),
            _ => format!("w{some}"),
        };
        text.replace("//", "/").chars().take(most).collect()
    }

    /// The name of an object, at and around what Kubernetes allows.
    fn name(&mut self, i: usize) -> String {
        let long = "x".repeat(253 - i.to_string().len() - 1);
        match self.below(20) {
            0 => format!("{long}.{i}"),
            1 => format!("a.b-{i}"),
            2 => format!("Upper-{i}"),
            _ => format!("g-{i}"),
        }
    }
}

fn size(schema: &Value, key: &str, or: usize) -> usize {
    schema[key].as_u64().map_or(or, |n| usize::try_from(n).unwrap())
}

/// The schema of a kind's spec, as it is shipped.
fn schema(plural: &str) -> Value {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("crds/{plural}.yaml"));
    let crd: Value = serde_yaml_ng::from_str(&std::fs::read_to_string(file).unwrap()).unwrap();
    crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"].clone()
}

/// Tries objects of a kind; those that the server takes, by name.
async fn tried<K>(stage: &Stage, plural: &str, count: usize, dice: &mut Dice) -> Vec<(String, Value)>
where
    K: kube::Resource<DynamicType = (), Scope = NamespaceResourceScope> + serde::de::DeserializeOwned,
{
    let (schema, kind) = (schema(plural), ApiResource::erase::<K>(&()));
    let api: Api<DynamicObject> = Api::namespaced_with(stage.admin.clone(), &stage.ns.name, &kind);
    let objects: Vec<(String, Value)> = (0..count)
        .map(|i| {
            // Half of them mean well.
            let luck = if i % 2 == 0 { 0 } else { 6 };
            (dice.name(i), dice.value(&schema, "spec", luck))
        })
        .collect();
    let dry = PostParams { dry_run: true, ..PostParams::default() };
    let asked = objects.into_iter().map(|(name, spec)| {
        let object = DynamicObject::new(&name, &kind).data(json!({"spec": spec}));
        let (api, dry) = (api.clone(), dry.clone());
        async move {
            let reply = tokio::time::timeout(Duration::from_secs(30), api.create(&dry, &object)).await;
            (name, spec, reply.expect("an answer in time"))
        }
    });
    let replies: Vec<_> = futures::stream::iter(asked).buffered(16).collect().await;
    let mut taken = Vec::new();
    for (name, spec, reply) in replies {
        match reply {
            Ok(object) => {
                let read = serde_json::from_value::<K>(serde_json::to_value(&object).unwrap());
                assert!(
                    read.is_ok(),
                    "{plural}: the server takes what nobody can read: {:?}: {spec}",
                    read.err()
                );
                taken.push((name, spec));
            }
            Err(Error::Api(status)) => {
                assert!([400, 403, 422].contains(&status.code), "{plural}: {status:?}: {spec}");
                let says =
                    ["spec", "metadata.name", "denied request"].iter().any(|w| status.message.contains(w));
                assert!(
                    says && status.message.contains(' '),
                    "{plural}: no sentence: {}: {spec}",
                    status.message
                );
            }
            Err(other) => panic!("{plural}: {other}: {spec}"),
        }
    }
    assert!(taken.len() > count / 20 && taken.len() < count, "{plural}: {} of {count} pass", taken.len());
    taken
}

/// Creates a sample for good.
async fn kept<K>(stage: &Stage, of: &[(String, Value)], most: usize) -> Vec<String>
where
    K: kube::Resource<DynamicType = (), Scope = NamespaceResourceScope>,
{
    let kind = ApiResource::erase::<K>(&());
    let api: Api<DynamicObject> = Api::namespaced_with(stage.admin.clone(), &stage.ns.name, &kind);
    let step = (of.len() / most).max(1);
    let mut names = Vec::new();
    for (name, spec) in of.iter().step_by(step) {
        let object = DynamicObject::new(name, &kind).data(json!({"spec": spec}));
        api.create(&PostParams::default(), &object).await.expect("what passed a dry run passes");
        names.push(name.clone());
    }
    names
}

/// Where an operation stands, in a word; nothing while it is under way.
fn word(op: &DataOperation) -> Option<String> {
    let status = op.status.as_ref()?;
    let reason = status.waiting_on.as_ref().map(|w| w.reason.clone());
    if status.phase.terminal() {
        return status.settled().then(|| format!("{} {}", status.phase.name(), reason.unwrap_or_default()));
    }
    reason
}

#[tokio::test(flavor = "multi_thread")]
async fn row_43_two_thousand_generated_objects_are_refused_with_a_sentence_or_dealt_with() {
    let Some(stage) = Stage::new("generated").await else { return };
    let panics = Arc::new(AtomicUsize::new(0));
    let (counted, usual) = (Arc::clone(&panics), std::panic::take_hook());
    std::panic::set_hook(Box::new(move |info| {
        counted.fetch_add(1, SeqCst);
        usual(info);
    }));
    let mut dice = Dice(0x5eed_0043);
    let operations = tried::<DataOperation>(&stage, "dataoperations", 1_000, &mut dice).await;
    let loads = tried::<DataLoad>(&stage, "dataloads", 600, &mut dice).await;
    let clusters = tried::<CacheCluster>(&stage, "cacheclusters", 400, &mut dice).await;

    let controller = stage.controller().await;
    stage.eventually("the cache is known", async || stage.readiness("cache").await == "Ready").await;
    let clusters = kept::<CacheCluster>(&stage, &clusters, 10).await;
    let operations = kept::<DataOperation>(&stage, &operations, 40).await;
    let loads = kept::<DataLoad>(&stage, &loads, 20).await;
    let began = Instant::now();
    let api: Api<DataOperation> = Api::namespaced(stage.admin.clone(), &stage.ns.name);
    let mut words: BTreeMap<String, usize> = BTreeMap::new();
    for name in &operations {
        // One whose time to live is over is gone already.
        let mut at = Some("gone".to_owned());
        stage
            .eventually(&format!("{name} says where it stands"), async || {
                at = api.get_opt(name).await.unwrap().map_or(Some("gone".to_owned()), |op| word(&op));
                at.is_some()
            })
            .await;
        *words.entry(at.unwrap()).or_default() += 1;
    }
    let api: Api<DataLoad> = Api::namespaced(stage.admin.clone(), &stage.ns.name);
    for name in &loads {
        let told = async || api.get(name).await.unwrap().status.is_some_and(|s| !s.phase.is_empty());
        stage.eventually(&format!("the load {name} says where it stands"), told).await;
    }
    for name in &clusters {
        let told = async || !stage.readiness(name).await.is_empty();
        stage.eventually(&format!("the cluster {name} says how it is"), told).await;
    }
    assert!(began.elapsed() < LIMIT, "{:?}: {words:?}", began.elapsed());
    assert!(words.len() > 3, "they all went one way: {words:?}");
    // Whoever asks for something plain is served among all of them.
    stage.load("plain", "/plain/and/simple", json!({"priority": 1000})).await;
    stage.ends("plain", Phase::Succeeded).await;
    stage.loaded_once(["/plain/and/simple"]);
    assert_eq!(controller.ctx.operations.undecodable_count(), 0);
    assert_eq!(panics.load(SeqCst), 0, "somebody panicked");
    controller.stop().await;
}
