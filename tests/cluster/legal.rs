//! Statuses built with the product's own code, to be written by hand as the controller's user; and what the API
//! server says to a write.

use super::meta;
use k8s_openapi::NamespaceResourceScope;
use kube::api::{Api, ApiResource, DynamicObject, Patch, PatchParams, PostParams};
use kube::{Client, Error};
use ratchet::api::{DataOperation, DataOperationStatus};
use ratchet::clock::{Clock as _, SystemClock};
use ratchet_state_machine::effect::{Effect, Intent};
use ratchet_state_machine::ids::{Fence, Nonce, PlanHash, Seq, Token, WriterId};
use ratchet_state_machine::journal::{Record, Signature, plan_hash};
use ratchet_state_machine::lifecycle::Change;
use ratchet_state_machine::lifecycle::step::Shared;
use ratchet_state_machine::operation::Event;
use ratchet_state_machine::spec::Approval;
use serde_json::{Value, json};

/// The writer that stands in these records.
pub fn writer() -> WriterId {
    WriterId("by-hand".into())
}

/// The plan's hash of an operation.
pub fn plan(op: &DataOperation) -> PlanHash {
    plan_hash(&op.spec).expect("a plan")
}

/// Entry 1 of an operation that the server has given a uid.
pub fn birth(op: &DataOperation) -> Record {
    let (after, approval) = (!op.spec.run_after.is_empty(), op.spec.approval == Approval::Manual);
    let event = Event::Shared(Shared::Created {
        machine: ratchet_state_machine::MACHINE_VERSION,
        after,
        approval,
        plan: plan(op),
    });
    let change = Change { event, intent: None, sealed_through: None };
    let sign = Signature { by: &writer(), at: SystemClock.now(), because: "a test" };
    Record::birth(op.uid(), &op.spec, &change, &sign).expect("a birth")
}

/// The record after one more event.
pub fn then(record: &Record, event: Event, intent: Option<Intent>, sealed_through: Option<Seq>) -> Record {
    let sign = Signature { by: &writer(), at: SystemClock.now(), because: "a test" };
    record.append(&Change { event, intent, sealed_through }, &sign).expect("a legal event")
}

/// The record after a shared event.
pub fn shared(record: &Record, event: Shared) -> Record {
    then(record, Event::Shared(event), None, None)
}

/// The next intent of a record, by this writer.
pub fn intent(record: &Record, op: &DataOperation, effect: Effect) -> Intent {
    let folded = &record.folded;
    Intent {
        token: Token::derive(op.uid(), folded.seq.next(), folded.round),
        effect,
        writer: writer(),
        nonce: Nonce(super::unique()),
        fence: Fence { attempt: folded.fence.attempt + 1, ..folded.fence },
        send_for_ms: 500,
    }
}

/// The status of a record as JSON, to be bent.
pub fn status(record: &Record) -> Value {
    serde_json::to_value(DataOperationStatus::from_record(record)).expect("a status")
}

/// Replaces the whole status.
pub async fn put_status(
    client: &Client,
    op: &DataOperation,
    status: &Value,
    dry: bool,
) -> Result<DataOperation, Error> {
    let ops = json!([{"op": "add", "path": "/status", "value": status}]);
    patch_status(client, op, ops, dry).await
}

/// Sends a JSON patch to the status.
pub async fn patch_status(
    client: &Client,
    op: &DataOperation,
    ops: Value,
    dry: bool,
) -> Result<DataOperation, Error> {
    let params = PatchParams { dry_run: dry, ..PatchParams::default() };
    let patch = Patch::Json::<()>(serde_json::from_value(ops).expect("a JSON patch"));
    let namespace = op.metadata.namespace.as_deref().unwrap_or_default();
    let api: Api<DataOperation> = Api::namespaced(client.clone(), namespace);
    api.patch_status(op.metadata.name.as_deref().unwrap_or_default(), &params, &patch).await
}

/// Writes a record to the status, really.
pub async fn store(client: &Client, op: &DataOperation, record: &Record) -> DataOperation {
    put_status(client, op, &status(record), false).await.expect("a legal status is accepted")
}

/// Tries to create an object of any shape, without keeping it.
pub async fn try_create<K>(client: &Client, namespace: &str, spec: Value) -> Result<DynamicObject, Error>
where
    K: kube::Resource<DynamicType = (), Scope = NamespaceResourceScope>,
{
    let kind = ApiResource::erase::<K>(&());
    let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), namespace, &kind);
    let mut object = DynamicObject::new("tried", &kind).data(json!({"spec": spec}));
    object.metadata = meta(namespace, "tried");
    api.create(&PostParams { dry_run: true, ..PostParams::default() }, &object).await
}

/// The server refused the object for a reason that contains `why`.
pub fn assert_refused<T: std::fmt::Debug>(what: &str, reply: Result<T, Error>, why: &str) {
    match reply {
        Ok(object) => panic!("{what}: was accepted: {object:?}"),
        Err(Error::Api(status)) => {
            assert_eq!(status.code, 422, "{what}: {}", status.message);
            assert!(status.message.contains(why), "{what}: {why:?} is not what it says: {}", status.message);
        }
        Err(other) => panic!("{what}: {other}"),
    }
}

/// The server accepted it.
pub fn assert_accepted<T>(what: &str, reply: Result<T, Error>) -> T {
    reply.unwrap_or_else(|error| panic!("{what}: was refused: {error}"))
}

/// The server refused it for this reason, or, without one, accepted it.
pub fn judge<T: std::fmt::Debug>(what: &str, reply: Result<T, Error>, why: Option<&str>) {
    match why {
        Some(why) => assert_refused(what, reply, why),
        None => drop(assert_accepted(what, reply)),
    }
}
