//! Who may do what?

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that cannot go on fails")]

mod cluster;

use cluster::legal::{birth, status, store};
use cluster::stage::Stage;
use cluster::{create, load, meta, operation};
use k8s_openapi::NamespaceResourceScope;
use kube::api::{Api, ApiResource, DeleteParams, DynamicObject, ObjectMeta, Patch, PatchParams, PostParams};
use kube::{Client, Error};
use ratchet::api::lock::Claim;
use ratchet::api::{
    CacheCluster, DataLoad, DataOperation, Dataset, OperationJournal, TargetLock, TargetLockSpec, Upgrade,
};
use ratchet_state_machine::lock::Lock;
use serde_json::{Value, json};

/// Grants `rules` to a user in the stage's namespace, each `resources: verbs`, both comma separated.
fn grant(stage: &Stage, user: &str, rules: &[(&str, &str)]) {
    let split = |text: &str| text.split(',').map(str::to_owned).collect::<Vec<_>>();
    let rule = |(resources, verbs): &(&str, &str)| json!({"apiGroups": ["ratchet.dev"], "resources": split(resources), "verbs": split(verbs)});
    let rules: Vec<Value> = rules.iter().map(rule).collect();
    let name = format!("{user}-{}", cluster::unique());
    let metadata = json!({"name": name, "namespace": stage.ns.name});
    stage.bench.apply(&json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": metadata, "rules": rules}));
    stage.bench.apply(
        &json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": metadata,
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": name},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": user}]}),
    );
}

/// Waits until the grant has reached the authorizer.
async fn may(stage: &Stage, user: &str, verb: &str, resource: &str, subresource: &str) {
    let subresource = format!("--subresource={subresource}");
    let said = async || {
        let mut ask = stage.bench.kubectl_as(user);
        let out =
            ask.args(["-n", &stage.ns.name, "auth", "can-i", verb, resource, &subresource]).output().unwrap();
        String::from_utf8_lossy(&out.stdout).trim() == "yes"
    };
    stage.eventually(&format!("{user} may {verb} {resource}"), said).await;
}

/// The server forbids it for a reason that contains `why`.
#[track_caller]
fn forbidden<T: std::fmt::Debug>(what: &str, reply: Result<T, Error>, why: &str) {
    match reply {
        Err(Error::Api(status)) => {
            assert!(status.message.contains(why), "{what}: {why:?} is not what it says: {}", status.message)
        }
        other => panic!("{what}: {other:?}"),
    }
}

#[track_caller]
fn allowed<T>(what: &str, reply: Result<T, Error>) -> T {
    reply.unwrap_or_else(|error| panic!("{what}: {error}"))
}

fn dry() -> PatchParams {
    PatchParams { dry_run: true, ..PatchParams::default() }
}

async fn write_status<K>(
    client: &Client,
    stage: &Stage,
    name: &str,
    status: Value,
) -> Result<DynamicObject, Error>
where
    K: kube::Resource<DynamicType = (), Scope = NamespaceResourceScope>,
{
    let kind = ApiResource::erase::<K>(&());
    let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), &stage.ns.name, &kind);
    api.patch_status(name, &dry(), &Patch::Merge(json!({"status": status}))).await
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_controller_writes_status() {
    let Some(stage) = Stage::new("may-status").await else { return };
    let controller = stage.bench.client("controller").await;
    let alice = stage.bench.client("alice").await;
    let op = stage.load("op", "/data", json!({})).await;
    create(&stage.admin, &stage.ns.name, &load(&stage.ns.name, "dl", "cache", &["/data"])).await;
    grant(
        &stage,
        "alice",
        &[(
            "dataoperations/status,dataloads/status,upgrades/status,cacheclusters/status,datasets/status",
            "patch,update",
        )],
    );
    may(&stage, "alice", "patch", "cacheclusters.ratchet.dev", "status").await;
    let of_load = json!({"operation": "o", "phase": "Pending", "step": "", "progress": "", "reason": ""});
    let of_cluster = json!({"phase": "Ready"});
    let of_dataset = json!({"phase": "Bound"});
    let mounts = json!({"cluster": "cache", "mounts": [{"path": "/a", "uri": "s3://a"}]});
    let dataset = json!({"apiVersion": "ratchet.dev/v1alpha1", "kind": "Dataset",
        "metadata": {"name": "ds"}, "spec": mounts});
    let dataset: Dataset = serde_json::from_value(dataset).expect("a Dataset");
    create(&stage.admin, &stage.ns.name, &dataset).await;
    let upgrade = serde_json::from_value(json!({"target": "cache", "version": "2.9.6"})).expect("a spec");
    let upgrade = Upgrade::new(meta(&stage.ns.name, "up"), upgrade, None);
    create(&stage.admin, &stage.ns.name, &upgrade).await;
    for (who, client) in [("a system:masters admin", &stage.admin), ("alice with the verb", &alice)] {
        let why = "only the Ratchet controller writes status";
        forbidden(who, write_status::<DataOperation>(client, &stage, "op", status(&birth(&op))).await, why);
        forbidden(who, write_status::<DataLoad>(client, &stage, "dl", of_load.clone()).await, why);
        forbidden(who, write_status::<Upgrade>(client, &stage, "up", of_load.clone()).await, why);
        forbidden(who, write_status::<CacheCluster>(client, &stage, "cache", of_cluster.clone()).await, why);
        forbidden(who, write_status::<Dataset>(client, &stage, "ds", of_dataset.clone()).await, why);
    }
    allowed(
        "the controller",
        write_status::<DataOperation>(&controller, &stage, "op", status(&birth(&op))).await,
    );
    allowed("the controller", write_status::<DataLoad>(&controller, &stage, "dl", of_load.clone()).await);
    allowed("the controller", write_status::<Upgrade>(&controller, &stage, "up", of_load).await);
    allowed("the controller", write_status::<CacheCluster>(&controller, &stage, "cache", of_cluster).await);
    // A status sent with the object itself is dropped.
    let mut with =
        operation(&stage.ns.name, "with", "cache", json!({"load": {"paths": ["/data"]}}), json!({}));
    with.status = Some(serde_json::from_value(status(&birth(&op))).unwrap());
    assert!(create(&stage.admin, &stage.ns.name, &with).await.status.is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_controller_writes_locks_and_journals() {
    let Some(stage) = Stage::empty("may-records").await else { return };
    let controller = stage.bench.client("controller").await;
    let why = "only the Ratchet controller writes locks and journals";

    let name = format!("test-{}", cluster::unique());
    let claim = Claim { namespace: stage.ns.name.clone(), name: "c".into(), uid: "u".into() };
    let spec = TargetLockSpec { identity: "i".into(), claim, lock: Lock::default() };
    let lock = TargetLock::new(ObjectMeta { name: Some(name.clone()), ..ObjectMeta::default() }, spec);
    let (theirs, ours) =
        (Api::<TargetLock>::all(stage.admin.clone()), Api::<TargetLock>::all(controller.clone()));
    let edit = Patch::Merge(json!({"spec": {"lock": {"epoch": 1}}}));
    forbidden("create a lock", theirs.create(&PostParams::default(), &lock).await, why);
    allowed("create a lock", ours.create(&PostParams::default(), &lock).await);
    forbidden("change a lock", theirs.patch(&name, &PatchParams::default(), &edit).await, why);
    allowed("change a lock", ours.patch(&name, &PatchParams::default(), &edit).await);
    forbidden(
        "label a lock",
        theirs
            .patch(&name, &PatchParams::default(), &Patch::Merge(json!({"metadata": {"labels": {"a": "b"}}})))
            .await,
        why,
    );
    forbidden("delete a lock", theirs.delete(&name, &DeleteParams::default()).await, why);

    let segment: OperationJournal = serde_json::from_value(json!({
        "apiVersion": "ratchet.dev/v1alpha1", "kind": "OperationJournal", "metadata": {"name": "u-000001"},
        "spec": {"operation": "o", "uid": "u", "kind": "load", "target": "c", "firstSeq": 1, "lastSeq": 1, "digest": "d", "phase": "Queued",
        "entries": [{"seq": 1, "at": "2026-01-01T00:00:00.000Z", "event": "Created", "body": "{}"}]}}))
    .unwrap();
    let theirs = Api::<OperationJournal>::namespaced(stage.admin.clone(), &stage.ns.name);
    let ours = Api::<OperationJournal>::namespaced(controller.clone(), &stage.ns.name);
    forbidden("create a segment", theirs.create(&PostParams::default(), &segment).await, why);
    allowed("create a segment", ours.create(&PostParams::default(), &segment).await);
    let edit = Patch::Merge(json!({"spec": {"phase": "Running"}}));
    // The rule of the kind and the policy are of one mind; whichever speaks first.
    assert!(theirs.patch("u-000001", &PatchParams::default(), &edit).await.is_err());
    forbidden("delete a segment", theirs.delete("u-000001", &DeleteParams::default()).await, why);
    forbidden(
        "the controller's role has no verb for it",
        ours.delete("u-000001", &DeleteParams::default()).await,
        "forbidden",
    );

    // The control plane cleans up after namespaces and owners.
    let system = [
        "--as=system:serviceaccount:kube-system:namespace-controller",
        "--as-group=system:masters",
        "--as-group=system:serviceaccounts:kube-system",
    ];
    stage.bench.kubectl(
        &[&["-n", &stage.ns.name, "delete", "operationjournal", "u-000001"][..], &system[..]].concat(),
        &[],
    );
    stage.bench.kubectl(&[&["delete", "targetlock", &name][..], &system[..]].concat(), &[]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_approval_a_force_and_a_skip_are_signed_by_who_may_give_them() {
    let Some(stage) = Stage::empty("may-sign").await else { return };
    let controller = stage.bench.client("controller").await;
    let (alice, bob) = (stage.bench.client("alice").await, stage.bench.client("bob").await);
    let op = stage.load("op", "/data", json!({"approval": "Manual"})).await;
    stage.load("other", "/data", json!({})).await;
    store(&controller, &op, &birth(&op)).await;
    grant(&stage, "alice", &[("dataoperations", "get,patch")]);
    grant(&stage, "bob", &[("dataoperations", "get,patch")]);
    may(&stage, "alice", "patch", "dataoperations.ratchet.dev", "").await;
    may(&stage, "bob", "patch", "dataoperations.ratchet.dev", "").await;
    let control = async |client: &Client, name: &str, control: Value, params: PatchParams| {
        let api: Api<DataOperation> = Api::namespaced(client.clone(), &stage.ns.name);
        api.patch(name, &params, &Patch::Merge(json!({"spec": {"control": control}}))).await
    };
    let plain = json!({"cancel": true, "suspend": true, "retry": 1});
    allowed("cancel, suspend and retry need no verb of their own", control(&alice, "op", plain, dry()).await);

    let signs = |verb: &str, by: &str| match verb {
        "approve" => json!({"approve": {"planHash": "p", "by": by}}),
        "skip" => json!({"skip": {"step": "aborting", "by": by}}),
        _ => json!({"force": {"by": by}}),
    };
    for verb in ["approve", "force", "skip"] {
        let without = control(&alice, "op", signs(verb, "alice"), dry()).await;
        forbidden(verb, without, &format!("you need the verb {verb} on dataoperations"));
    }
    // A role may name the objects that the verb holds for.
    let metadata = json!({"name": "sign", "namespace": stage.ns.name});
    stage.bench.apply(&json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": metadata, "rules": [
        {"apiGroups": ["ratchet.dev"], "resources": ["dataoperations"], "resourceNames": ["op"], "verbs": ["approve", "force", "skip"]}]}));
    stage.bench.apply(
        &json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": metadata,
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "sign"},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "alice"}]}),
    );
    may(&stage, "alice", "approve", "dataoperations.ratchet.dev/op", "").await;
    for verb in ["approve", "force", "skip"] {
        let own = format!("control.{verb}.by has to be your own user name");
        forbidden(verb, control(&alice, "op", signs(verb, "bob"), dry()).await, &own);
        forbidden(verb, control(&stage.admin, "op", signs(verb, "alice"), dry()).await, &own);
        forbidden(
            verb,
            control(&alice, "other", signs(verb, "alice"), dry()).await,
            &format!("you need the verb {verb}"),
        );
        allowed(verb, control(&alice, "op", signs(verb, "alice"), PatchParams::default()).await);
        // What stands is no business of who changes something else; to change it is.
        allowed(verb, control(&bob, "op", json!({"suspend": true}), dry()).await);
        forbidden(
            verb,
            control(&bob, "op", signs(verb, "bob"), dry()).await,
            &format!("you need the verb {verb}"),
        );
    }
    let mut signed = operation(
        &stage.ns.name,
        "signed",
        "cache",
        json!({"load": {"paths": ["/data"]}}),
        json!({"control": signs("force", "bob")}),
    );
    signed.metadata.name = Some("signed".into());
    let api: Api<DataOperation> = Api::namespaced(stage.admin.clone(), &stage.ns.name);
    forbidden(
        "born with a signature",
        api.create(&PostParams::default(), &signed).await,
        "control.force.by has to be your own user name",
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn each_operation_is_a_right_of_its_own() {
    let Some(stage) = Stage::empty("may-create").await else { return };
    let alice = stage.bench.client("alice").await;
    grant(&stage, "alice", &[("dataoperations", "create"), ("dataloads", "create")]);
    may(&stage, "alice", "create", "dataoperations.ratchet.dev", "").await;
    may(&stage, "alice", "create", "dataloads.ratchet.dev", "").await;
    let api: Api<DataOperation> = Api::namespaced(alice.clone(), &stage.ns.name);
    let params = PostParams { dry_run: true, ..PostParams::default() };
    let paths = json!({"paths": ["/data"]});
    let load_op = operation(&stage.ns.name, "load", "cache", json!({"load": paths}), json!({}));
    let free_op = operation(&stage.ns.name, "free", "cache", json!({"free": paths}), json!({}));
    let need = |kind: &str| format!("you need the verb create on dataoperations/{kind}");
    forbidden("load", api.create(&params, &load_op).await, &need("load"));
    forbidden("free", api.create(&params, &free_op).await, &need("free"));
    grant(&stage, "alice", &[("dataoperations/load", "create")]);
    may(&stage, "alice", "create", "dataoperations.ratchet.dev", "load").await;
    allowed("load", api.create(&params, &load_op).await);
    forbidden("free", api.create(&params, &free_op).await, &need("free"));
    // A DataLoad is asked for by its own right; the controller creates the operation.
    let loads: Api<DataLoad> = Api::namespaced(alice, &stage.ns.name);
    allowed("a DataLoad", loads.create(&params, &load(&stage.ns.name, "warm", "cache", &["/data"])).await);
    allowed(
        "an admin",
        Api::<DataOperation>::namespaced(stage.admin.clone(), &stage.ns.name).create(&params, &free_op).await,
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn who_declares_pods_or_claims_has_to_be_allowed_to_make_them_himself() {
    let Some(stage) = Stage::empty("may-pods").await else { return };
    let other = stage.bench.namespace("may-claims");
    let alice = stage.bench.client("alice").await;
    grant(&stage, "alice", &[("cacheclusters,datasets", "create")]);
    may(&stage, "alice", "create", "cacheclusters.ratchet.dev", "").await;
    let dry = PostParams { dry_run: true, ..PostParams::default() };
    let object = |kind: &str, spec: Value| json!({"apiVersion": "ratchet.dev/v1alpha1", "kind": kind, "metadata": {"name": "x"}, "spec": spec});
    let managed = json!({"managed": {"version": "2.9.6", "masters": {"journal": {"emptyDir": {}}},
        "workers": {"tiers": [{"medium": "SSD", "size": "1Gi", "emptyDir": {}}]}, "rootStorage": {"uri": "s3://b"}}});
    let managed: CacheCluster = serde_json::from_value(object("CacheCluster", managed)).unwrap();
    let attached = json!({"attached": {"masters": ["m:1"]}});
    let attached: CacheCluster = serde_json::from_value(object("CacheCluster", attached)).unwrap();
    let volume = json!({"cluster": "c", "mounts": [{"path": "/a", "uri": "s3://a"}],
        "volume": {"namespaces": [other.name]}});
    let volume: Dataset = serde_json::from_value(object("Dataset", volume)).unwrap();
    let clusters: Api<CacheCluster> = Api::namespaced(alice.clone(), &stage.ns.name);
    let datasets: Api<Dataset> = Api::namespaced(alice.clone(), &stage.ns.name);
    allowed("an attached cache makes no pods", clusters.create(&dry, &attached).await);
    let why = "you need the verb create on statefulsets.apps";
    forbidden("a managed cache", clusters.create(&dry, &managed).await, why);
    let claims = "you need the verb create on persistentvolumeclaims in every namespace of volume.namespaces";
    forbidden("a claim elsewhere", datasets.create(&dry, &volume).await, claims);

    for (namespace, group, resource) in
        [(&stage.ns.name, "apps", "statefulsets"), (&other.name, "", "persistentvolumeclaims")]
    {
        let metadata = json!({"name": "make", "namespace": namespace});
        stage.bench.apply(
            &json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": metadata,
            "rules": [{"apiGroups": [group], "resources": [resource], "verbs": ["create"]}]}),
        );
        stage.bench.apply(&json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding",
            "metadata": metadata,
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "make"},
            "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "alice"}]}));
    }
    stage.eventually("with the verb", async || clusters.create(&dry, &managed).await.is_ok()).await;
    stage.eventually("with that verb", async || datasets.create(&dry, &volume).await.is_ok()).await;
}
