//! The CEL rules that the API server enforces, made from the same tables as the Rust code. Forms and costs were
//! measured on kube-apiserver 1.36: a rule on `status` also runs on every label and spec write, so each begins by
//! allowing an unchanged `seq`; `optionalOldSelf` loses the old value's schema, so it is used for presence only.

use ratchet_state_machine::legality;
use ratchet_state_machine::operation::ARMS;
use serde_json::{Map, Value, json};

pub mod managed;
mod mount;

/// One rule.
#[derive(Debug, Clone)]
pub struct Rule {
    /// Dotted path of properties from the root of the object; `[]` is an item. Empty: the root.
    pub path: &'static str,
    /// CEL.
    pub rule: String,
    /// What to change.
    pub message: String,
    /// Also runs when there is no old value.
    pub at_birth: bool,
}

fn rule(path: &'static str, rule: impl Into<String>, message: &str) -> Rule {
    Rule { path, rule: rule.into(), message: message.into(), at_birth: false }
}

/// The node of the schema at a dotted path.
pub fn node<'a>(schema: &'a mut Value, path: &str) -> Option<&'a mut Map<String, Value>> {
    let mut at = schema;
    for part in path.split('.').filter(|p| !p.is_empty()) {
        at = match part {
            "[]" => at.get_mut("items")?,
            name => at.get_mut("properties")?.get_mut(name)?,
        };
    }
    at.as_object_mut()
}

/// The folded fields of a status that are always there, and that only a transition may change.
const FOLDED: &[&str] = &[
    "phase",
    "step",
    "kind",
    "state",
    "machineVersion",
    "round",
    "handledRetry",
    "failures",
    "cancelNoted",
    "fence",
    "plan",
    "sealedThrough",
    "digest",
    "tail",
];

/// Rules for absolute, plain paths.
fn path_rules(path: &'static str) -> Vec<Rule> {
    vec![
        rule(path, "self.startsWith('/')", "a path has to be absolute: begin it with '/'"),
        rule(
            path,
            "self == '/' || (!self.endsWith('/') && !self.contains('//'))",
            "a path must not end with '/' or contain '//': remove the empty component",
        ),
        rule(
            path,
            "!self.matches('(^|/)[.][.]?(/|$)')",
            "a path must not contain '.' or '..': write the plain absolute path",
        ),
        rule(path, "!self.matches('[[:cntrl:]]')", "a path must not contain control characters: remove them"),
    ]
}

/// Rules for the place of backups.
fn backup_rules(path: &'static str) -> Vec<Rule> {
    let mut all = path_rules(path);
    all.push(rule(
        path,
        "self != '/'",
        "backups need a folder of their own: name one below '/', such as /backups",
    ));
    all
}

fn steps_rule(path: &'static str) -> Rule {
    rule(
        path,
        "self.all(i, s, i == 0 || s.workers > self[i - 1].workers)",
        "each of strategy.steps has to name more workers than the one before",
    )
}

/// Rules of DataOperation.
pub fn operation() -> Vec<Rule> {
    let mut all = vec![
        rule(
            "",
            "!has(oldSelf.status) || has(self.status)",
            "status cannot be removed: the journal would be lost",
        ),
        rule(
            "spec",
            spec_presence(),
            "deadlineSeconds, ttlAfterFinishedSeconds and runAfter cannot be added or removed later; create another operation",
        ),
        rule("spec.target", "self == oldSelf", "target cannot be changed; create another operation"),
        rule("spec.operation", "self == oldSelf", "the operation cannot be changed; create another one"),
        rule("spec.operation", one_arm(), &format!("set exactly one operation: {}", kinds(" or "))),
        rule("spec.runAfter", "self == oldSelf", "runAfter cannot be changed; create another operation"),
        rule(
            "spec.retryPolicy",
            "self == oldSelf",
            "retryPolicy cannot be changed; create another operation",
        ),
        rule(
            "spec.stallDeadlineSeconds",
            "self == oldSelf",
            "stallDeadlineSeconds cannot be changed; create another operation",
        ),
        rule(
            "spec.ttlAfterFinishedSeconds",
            "self == oldSelf",
            "ttlAfterFinishedSeconds cannot be changed; create another operation",
        ),
        rule("spec.approval", "self == oldSelf", "approval cannot be changed; create another operation"),
        rule("spec.deadlineSeconds", "self >= oldSelf", "deadlineSeconds can only be raised"),
        rule(
            "spec.control.cancel",
            "!oldSelf || self",
            "a cancel cannot be taken back; create another operation",
        ),
        rule(
            "spec.control.retry",
            "self >= oldSelf",
            "control.retry only grows: raise it by one to try again",
        ),
        rule(
            "",
            "self.spec.priority == oldSelf.spec.priority || !has(self.status) || \
             self.status.phase in ['Pending', 'Queued', 'AwaitingApproval']",
            "priority can only be changed while the operation waits",
        ),
        rule(
            "",
            "!has(self.spec.runAfter) || self.spec.runAfter.all(r, r.name != self.metadata.name)",
            "an operation cannot run after itself: remove its own name from runAfter",
        ),
        rule("", arms_agree(), "status.kind has to be the operation of the spec"),
    ];
    all.extend(path_rules("spec.operation.load.paths.[]"));
    all.extend(path_rules("spec.operation.free.paths.[]"));
    all.extend(mount::rules(&mount::At {
        path: "spec.operation.mount.path",
        uri: "spec.operation.mount.uri",
        option: "spec.operation.mount.options.[]",
        options: "spec.operation.mount.options",
    }));
    all.extend(path_rules("spec.operation.sync.paths.[]"));
    all.extend(backup_rules("spec.operation.backup.path"));
    all.extend(backup_rules("spec.operation.upgrade.backupPath"));
    all.push(steps_rule("spec.operation.upgrade.strategy.steps"));
    all.push(rule(
        "spec.operation.scaleIn",
        "has(self.workers) != (has(self.numbers) && size(self.numbers) > 0)",
        "scaleIn has either workers, how many stay, or numbers, which leave",
    ));
    all.extend(path_rules("spec.operation.unmount.path"));
    all.push(rule(
        "spec.operation.unmount.path",
        "self != '/'",
        "the root of a cache cannot be unmounted; name a mount below it",
    ));
    all.extend(status());
    all
}

fn spec_presence() -> String {
    let fields = ["deadlineSeconds", "ttlAfterFinishedSeconds", "runAfter"];
    let terms: Vec<String> = fields.iter().map(|f| format!("has(self.{f}) == has(oldSelf.{f})")).collect();
    terms.join(" && ")
}

fn kinds(separator: &str) -> String {
    ARMS.iter().map(|a| a.kind).collect::<Vec<_>>().join(separator)
}

fn one_arm() -> String {
    let has: Vec<String> = ARMS.iter().map(|a| format!("has(self.{})", a.kind)).collect();
    format!("[{}].filter(x, x).size() == 1", has.join(", "))
}

fn arms_agree() -> String {
    let each: Vec<String> = ARMS
        .iter()
        .map(|a| format!("(self.status.kind == '{0}' && has(self.spec.operation.{0}))", a.kind))
        .collect();
    format!(
        "!has(self.status) || (has(oldSelf.status) && self.status.seq == oldSelf.status.seq) || {}",
        each.join(" || ")
    )
}

fn status() -> Vec<Rule> {
    let guard = "self.seq == oldSelf.seq || ";
    let mut same: Vec<String> = FOLDED.iter().map(|f| format!("self.{f} == oldSelf.{f}")).collect();
    same.push("has(self.intent) == has(oldSelf.intent)".into());
    same.push("(!has(self.intent) || self.intent == oldSelf.intent)".into());
    let terminal = legality::cel_terminal();
    let phases: Vec<String> = legality::phase_edges().iter().map(|(a, b)| format!("'{a}>{b}'")).collect();
    let mut first = rule(
        "status",
        format!(
            "oldSelf.hasValue() || (self.seq == 1 && self.step in {} && self.tail.size() == 1 && \
             !has(self.intent) && self.sealedThrough == 0)",
            legality::cel_births()
        ),
        "the first status is entry 1 in a step in which an operation is born",
    );
    first.at_birth = true;
    let mut shape = rule(
        "status",
        format!("{} || oldSelf.hasValue() && oldSelf.value().seq == self.seq", legality::cel_state()),
        "state has to name the operation and the step that kind and step name",
    );
    shape.at_birth = true;
    let phase = rule("status", legality::cel_phase(), "the phase does not belong to the step");
    vec![
        rule(
            "status",
            format!("self.seq == oldSelf.seq ? ({}) : self.seq == oldSelf.seq + 1", same.join(" && ")),
            "seq grows by one with each transition, and nothing of the state changes without one",
        ),
        first,
        rule("status", legality::cel_steps(), "illegal step: no edge of the state machine leads there"),
        shape,
        phase,
        rule(
            "status",
            format!(
                "{guard}self.phase == oldSelf.phase || (oldSelf.phase + '>' + self.phase) in [{}]",
                phases.join(", ")
            ),
            "illegal phase: no edge of the state machine leads there",
        ),
        rule(
            "status",
            format!(
                "{guard}!(oldSelf.phase in {terminal}) || (self.phase == oldSelf.phase && \
                 self.state == oldSelf.state && self.fence == oldSelf.fence)"
            ),
            "the operation is over",
        ),
        rule(
            "status",
            "self.fence.epoch > oldSelf.fence.epoch || \
             (self.fence.epoch == oldSelf.fence.epoch && self.fence.attempt >= oldSelf.fence.attempt)",
            "the fence never falls",
        ),
        rule(
            "status",
            "self.tail[self.tail.size() - 1].seq == self.seq && self.seq - self.tail[0].seq + 1 == self.tail.size()",
            "the tail is contiguous and ends at seq",
        ),
        rule(
            "status",
            format!(
                "{guard}[self.tail[0].seq - oldSelf.tail[0].seq].all(d, d >= 0 && \
                 oldSelf.tail.all(i, o, i < d || self.tail[i - d] == o))"
            ),
            "entries of the journal are never changed",
        ),
        rule(
            "status",
            format!(
                "{guard}(self.sealedThrough >= oldSelf.sealedThrough && self.sealedThrough < self.seq && \
                 self.tail[0].seq <= self.sealedThrough + 1)"
            ),
            "entries leave the tail only when they are in a segment",
        ),
    ]
}

/// Rules of DataLoad.
pub fn load() -> Vec<Rule> {
    let mut all = path_rules("spec.paths.[]");
    all.push(rule("spec", "self == oldSelf", "a DataLoad cannot be changed; create another one"));
    all
}

/// Rules of Upgrade.
pub fn upgrade() -> Vec<Rule> {
    let mut all = backup_rules("spec.backupPath");
    all.push(steps_rule("spec.strategy.steps"));
    all.push(rule("spec", "self == oldSelf", "an Upgrade cannot be changed; create another one"));
    all
}

/// Rules of Dataset.
pub fn dataset() -> Vec<Rule> {
    let mut all = mount::rules(&mount::At {
        path: "spec.mounts.[].path",
        uri: "spec.mounts.[].uri",
        option: "spec.mounts.[].options.[]",
        options: "spec.mounts.[].options",
    });
    all.extend(mount::options("spec.sharedOptions.[]", "spec.sharedOptions"));
    all.extend([
        rule("spec.cluster", "self == oldSelf", "the cluster cannot be changed; create another Dataset"),
        rule(
            "spec.mounts",
            "self.all(a, self.exists_one(b, b.path == a.path))",
            "two mounts have the same path: give each a path of its own",
        ),
        rule(
            "spec.mounts",
            "self.all(a, self.all(b, a.path == b.path || !(b.uri + '/').startsWith(a.uri + '/')))",
            "the uri of one mount lies in that of another: mount the outer one only",
        ),
    ]);
    all
}

/// Rules of CacheCluster.
pub fn cluster() -> Vec<Rule> {
    let mut all = vec![
        rule(
            "spec.attached.masters.[]",
            "self.matches('^[^:/ ]+:[0-9]{1,5}$') && int(self.split(':')[1]) > 0 && int(self.split(':')[1]) < 65536",
            "a master address is host:port, for example alluxio-master-0:19998",
        ),
        rule(
            "spec.attached",
            "has(self.masters) != has(self.reference)",
            "set exactly one of attached.masters (addresses) and attached.reference (an object that declares the cache)",
        ),
        rule("spec.engine", "self == oldSelf", "the engine cannot be changed; create another CacheCluster"),
        rule(
            "spec",
            "self.engine != 'Alluxio' || has(self.attached) != has(self.managed)",
            "set exactly one of attached (a cache that is there) and managed (a cache that Ratchet runs)",
        ),
        rule(
            "spec",
            "has(self.managed) == has(oldSelf.managed)",
            "a cache stays managed or attached; create another CacheCluster",
        ),
    ];
    all.extend(managed::rules());
    all
}

/// Rules of CacheCluster in `ratchet dev`, beside those of [`cluster`].
pub fn dev_cluster() -> Vec<Rule> {
    vec![
        rule(
            "spec",
            "self.engine == 'Local' || !has(self.local)",
            "local belongs to engine Local: remove it, or set engine to Local",
        ),
        rule(
            "spec",
            "self.engine != 'Local' || !has(self.attached)",
            "engine Local is not attached to anything: remove attached",
        ),
        rule(
            "spec",
            "!has(self.managed)",
            "a managed cache needs a cluster that runs pods, which dev is not: use engine Local",
        ),
        rule(
            "spec",
            "has(self.local) == has(oldSelf.local) && (!has(self.local) || self.local == oldSelf.local)",
            "a local cache keeps its size; create another CacheCluster",
        ),
    ]
}

/// Takes out of the schema of CacheCluster what exists in `ratchet dev` only. `None`: a bug, it is not there.
pub fn ship_cluster(schema: &mut Value) -> Option<()> {
    let spec = node(schema, "spec")?;
    spec.get_mut("properties")?.as_object_mut()?.remove("local")?;
    node(schema, "spec.engine")?.get_mut("enum")?.as_array_mut()?.retain(|e| e != "Local");
    Some(())
}

/// Rules of TargetLock.
pub fn lock() -> Vec<Rule> {
    vec![
        rule("spec.identity", "self == oldSelf", "a lock belongs to one engine for ever"),
        rule("spec.lock.epoch", "self >= oldSelf", "the epoch never falls"),
    ]
}

/// Rules of OperationJournal.
pub fn journal() -> Vec<Rule> {
    vec![rule("spec", "self == oldSelf", "a journal segment is never changed")]
}

/// Makes the unions survive a downgrade of the CRD: unknown variants are kept (not pruned), `oneOf` is dropped
/// (it would block label and finalizer writes), and at most one variant is allowed.
///
/// # Errors
/// The path that the schema does not have.
pub fn loosen_unions(schema: &mut Value) -> Result<(), String> {
    let mut state = Map::new();
    for arm in ARMS {
        let steps: Map<String, Value> = legality::steps(arm)
            .map(|s| (s.to_owned(), json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true})))
            .collect();
        let union = json!({
            "type": "object",
            "maxProperties": 1,
            "properties": steps,
            "x-kubernetes-preserve-unknown-fields": true,
        });
        state.insert(arm.kind.to_owned(), union);
    }
    let missing = |p: &str| p.to_owned();
    let at = node(schema, "status.state").ok_or_else(|| missing("status.state"))?;
    at.insert("type".into(), json!("object"));
    at.insert("maxProperties".into(), json!(1));
    at.insert("properties".into(), Value::Object(state));
    at.insert("x-kubernetes-preserve-unknown-fields".into(), json!(true));
    let intent = node(schema, "status.intent").ok_or_else(|| missing("status.intent"))?;
    intent.insert("type".into(), json!("object"));
    intent.insert("x-kubernetes-preserve-unknown-fields".into(), json!(true));
    let operation = node(schema, "spec.operation").ok_or_else(|| missing("spec.operation"))?;
    operation.remove("oneOf");
    // No rule can see an arm that this version does not know; two of them could not be read back.
    operation.insert("maxProperties".into(), json!(1));
    operation.insert("x-kubernetes-preserve-unknown-fields".into(), json!(true));
    Ok(())
}
