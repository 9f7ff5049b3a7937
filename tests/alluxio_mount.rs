//! Does a mount do what it says on a real Alluxio? The mount table that counts is Alluxio's own, the bytes are those of
//! the store, and the secret may be found nowhere.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that cannot go on fails")]

mod cluster;

use cluster::alluxio::{Stage, assert_failed, assert_succeeded, intents};
use cluster::unique;
use ratchet_state_machine::effect::Effect;
use serde_json::{Value, json};

const SECRET: &str = "wJalrXUtnFEMI-K7MDENG";

fn mount(path: &str, uri: &str, more: Value) -> Value {
    let mut arm = json!({"path": path, "uri": uri});
    if let (Value::Object(arm), Value::Object(more)) = (&mut arm, more) {
        arm.extend(more);
    }
    json!({"mount": arm})
}

fn unmount(path: &str, more: Value) -> Value {
    let mut arm = json!({"path": path});
    if let (Value::Object(arm), Value::Object(more)) = (&mut arm, more) {
        arm.extend(more);
    }
    json!({"unmount": arm})
}

fn changes(effect: &Effect) -> bool {
    matches!(effect, Effect::Mount { .. } | Effect::UpdateMount { .. } | Effect::Unmount { .. })
}

fn updates(effect: &Effect) -> bool {
    matches!(effect, Effect::UpdateMount { .. })
}

/// A test that failed may have left mounts to the next one.
async fn clear(stage: &Stage) {
    let mut left = stage.mounts().await;
    left.sort_by_key(|m| std::cmp::Reverse(m.path.len()));
    for mount in left {
        stage.engine.unmount(&mount.path).await.expect("unmounted");
    }
}

/// The Secret that mounts of these tests name.
fn secret(stage: &Stage) {
    stage.bench.apply(&json!({
        "apiVersion": "v1", "kind": "Secret",
        "metadata": {"name": "store", "namespace": stage.ns.name},
        "stringData": {"id": "AKIAEXAMPLE", "secret": SECRET},
    }));
}

fn from_secret(option: &str, key: &str) -> Value {
    json!({"name": option, "valueFrom": {"secretKeyRef": {"name": "store", "key": key}}})
}

/// Whatever Ratchet has written anywhere, and what it has said.
fn everything(stage: &Stage) -> String {
    let kinds = "dataoperations,operationjournals,cacheclusters,events";
    let mut all = stage.bench.kubectl(&["-n", &stage.ns.name, "get", kinds, "-o", "yaml"], &[]);
    all += &stage.bench.kubectl(&["get", "targetlocks", "-o", "yaml"], &[]);
    let log = stage.controller.as_ref().map(|c| c.log.clone()).expect("a controller");
    all + &std::fs::read_to_string(log).expect("a log")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mount_is_made_repeated_updated_loaded_and_removed_and_the_store_stays_as_it_was() {
    let Some(mut stage) = Stage::shared("mount").await else { return };
    clear(&stage).await;
    let store = stage.store("mounted");
    store.files(20, 4_000);
    let before = store.fingerprint();
    secret(&stage);
    stage.start(&[]);
    let options = json!([{"name": "a.plain.option", "value": "1"}, from_secret("s3a.secretKey", "secret")]);
    let arm = mount("/mounted", &store.path, json!({"readOnly": true, "options": options}));
    stage.ask("first", arm.clone(), json!({})).await;
    assert_succeeded(&stage.end("first").await);
    assert_eq!(intents(&stage.journal("first"), changes), 1);
    let there = stage.mounts().await;
    assert!(
        matches!(there.as_slice(), [m] if m.path == "/mounted" && m.ufs_uri == store.path && m.read_only)
    );

    stage.load("warm", &["/mounted"]).await;
    assert_succeeded(&stage.end("warm").await);
    stage.assert_cached("/mounted", 20).await;

    // The same again sets the credential, which nobody can see, and nothing else.
    stage.ask("again", arm, json!({})).await;
    assert_succeeded(&stage.end("again").await);
    let again = stage.journal("again");
    assert_eq!((intents(&again, changes), intents(&again, updates)), (1, 1));
    // Without one, nothing is left to do.
    let plain = json!({"options": [{"name": "a.plain.option", "value": "1"}]});
    stage.ask("open", mount("/mounted", &store.path, plain.clone()), json!({})).await;
    assert_succeeded(&stage.end("open").await);
    assert_eq!(intents(&stage.journal("open"), updates), 1, "it is writable now");
    stage.ask("same", mount("/mounted", &store.path, plain), json!({})).await;
    assert_succeeded(&stage.end("same").await);
    assert_eq!(intents(&stage.journal("same"), changes), 0);
    stage.assert_cached("/mounted", 20).await;
    assert!(matches!(stage.mounts().await.as_slice(), [m] if !m.read_only));

    stage.ask("gone", unmount("/mounted", json!({})), json!({})).await;
    assert_succeeded(&stage.end("gone").await);
    assert_eq!(stage.mounts().await, []);
    stage.ask("gone-too", unmount("/mounted", json!({})), json!({})).await;
    assert_succeeded(&stage.end("gone-too").await);
    assert_eq!(intents(&stage.journal("gone-too"), changes), 0);
    assert_eq!(store.fingerprint(), before, "the store was changed");
    assert!(!everything(&stage).contains(SECRET), "the secret was written somewhere");
    stage.assert_free().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_mounted_is_refused_with_a_sentence_and_without_the_secret() {
    let Some(mut stage) = Stage::shared("refuse").await else { return };
    clear(&stage).await;
    let (store, other) = (stage.store("taken"), stage.store("other"));
    std::fs::create_dir_all(store.dir.join("inside")).expect("a folder");
    let tree = stage.tree("exists");
    tree.files(1, 10);
    secret(&stage);
    stage.start(&[]);
    stage.ask("taken", mount("/taken", &store.path, json!({})), json!({})).await;
    assert_succeeded(&stage.end("taken").await);
    let deep = format!("/deep-{}", unique());
    let deeper = format!("{deep}/er");
    stage.alluxio.cli(&["fs", "mkdir", &deep]);
    stage.alluxio.cli(&["fs", "mount", &deeper, &other.path]);

    let with = |option: Value| json!({"options": [option]});
    let hidden = with(from_secret("s3a.secretKey", "secret"));
    let nowhere = json!({"name": "x", "valueFrom": {"secretKeyRef": {"name": "nowhere", "key": "id"}}});
    let inside = format!("{}/inside", store.path);
    let cases = [
        ("elsewhere", mount("/taken", "/ufs/somewhere", json!({})), "MountedElsewhere", "set replace"),
        ("nested", mount(&deep, "/ufs/somewhere", json!({})), "NestedMount", deeper.as_str()),
        ("inside", mount("/inside", &inside, json!({})), "NestedUnderStorage", "/taken"),
        ("around", mount("/around", "/ufs", json!({})), "NestedUnderStorage", "lie in one another"),
        ("exists", mount(&tree.path, "/ufs/nowhere", json!({})), "PathExists", "another path"),
        ("nowhere", mount("/new", "/ufs/nowhere", hidden.clone()), "UnderStorageNotFound", "correct the uri"),
        ("alien", mount("/new", "s3://bucket/x", hidden), "UnsupportedUnderStorage", "no adapter"),
        ("no-secret", mount("/new", "/ufs/nowhere", with(nowhere)), "SecretNotFound", "no Secret nowhere"),
        (
            "no-key",
            mount("/new", "/ufs/nowhere", with(from_secret("x", "nokey"))),
            "SecretNotFound",
            "no key nokey",
        ),
        ("part", unmount("/taken/inside", json!({})), "NotAMount", "/taken"),
        ("below", unmount(&deep, json!({})), "NestedMount", "recursive"),
    ];
    for (name, arm, reason, says) in cases {
        stage.ask(name, arm, json!({})).await;
        let sentence = assert_failed(&stage.end(name).await, reason);
        assert!(sentence.contains(says), "{name}: {sentence}");
    }
    assert!(!everything(&stage).contains(SECRET), "the secret was written somewhere");
    // The deepest goes first, and what is not below stays.
    stage.ask("all-below", unmount(&deep, json!({"recursive": true})), json!({})).await;
    assert_succeeded(&stage.end("all-below").await);
    let left: Vec<String> = stage.mounts().await.into_iter().map(|m| m.path).collect();
    assert_eq!(left, ["/taken"]);
    stage.engine.unmount("/taken").await.expect("unmounted");
    stage.alluxio.cli(&["fs", "rm", "-R", &deep]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unmount_waits_for_what_only_the_cache_has_and_refuses_a_path_in_use() {
    let Some(mut stage) = Stage::shared("inuse").await else { return };
    clear(&stage).await;
    let store = stage.store("inuse");
    store.files(30, 400_000);
    stage.start(&["--send-for-ms", "2000"]);
    stage.ask("mount", mount("/inuse", &store.path, json!({})), json!({})).await;
    assert_succeeded(&stage.end("mount").await);
    // A file that a client wrote into the cache, and that nobody writes to the store: the bench has no job service.
    stage.alluxio.cli(&["fs", "touch", "/inuse/only-here"]);
    stage.ask("unmount", unmount("/inuse", json!({})), json!({})).await;
    stage.until_waiting("unmount", "NotPersisted").await;
    // It holds the path meanwhile: another unmount is refused, and one that waits takes its turn.
    stage.ask("refused", unmount("/inuse", json!({})), json!({})).await;
    let sentence = assert_failed(&stage.end("refused").await, "PathInUse");
    assert!(sentence.contains("unmount") && sentence.contains("whenInUse"), "{sentence}");
    stage.ask("patient", unmount("/inuse", json!({"whenInUse": "Wait"})), json!({})).await;
    stage.until_waiting("patient", "WaitingForLock").await;
    stage.alluxio.cli(&["fs", "rm", "/inuse/only-here"]);
    assert_succeeded(&stage.end("unmount").await);
    assert_succeeded(&stage.end("patient").await);
    assert_eq!(stage.mounts().await, []);

    // Who gives it up says so, and it is written down.
    stage.ask("mount-again", mount("/inuse", &store.path, json!({})), json!({})).await;
    assert_succeeded(&stage.end("mount-again").await);
    stage.alluxio.cli(&["fs", "touch", "/inuse/given-up"]);
    stage.ask("forced", unmount("/inuse", json!({})), json!({})).await;
    stage.until_waiting("forced", "NotPersisted").await;
    let who = stage.bench.kubectl(&["auth", "whoami", "-o", "jsonpath={.status.userInfo.username}"], &[]);
    let force = json!({"spec": {"control": {"force": {"by": who.trim()}}}}).to_string();
    stage.bench.kubectl(&["-n", &stage.ns.name, "patch", "dop", "forced", "--type=merge", "-p", &force], &[]);
    assert_succeeded(&stage.end("forced").await);
    let told: Vec<String> = stage.journal("forced").into_iter().map(|(_, b)| b.because).collect();
    assert!(told.iter().any(|b| b.contains("1 files are lost, as ")), "{told:?}");
    assert_eq!(stage.mounts().await, []);
    stage.assert_free().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_api_server_refuses_a_bad_mount_with_a_sentence() {
    let Some(stage) = Stage::shared("admit").await else { return };
    let cases = [
        (mount("/", "s3://b", json!({})), "nothing can be mounted at '/'"),
        (mount("/a/b", "s3://b", json!({})), "direct child of '/'"),
        (mount("a", "s3://b", json!({})), "direct child of '/'"),
        (mount("/a", "bucket/x", json!({})), "uri is an address"),
        (mount("/a", "s3://me:pw@b/x", json!({})), "keep them in a Secret"),
        (
            mount("/a", "s3://b", json!({"options": [{"name": "aws.secretKey", "value": "x"}]})),
            "is a credential",
        ),
        (mount("/a", "s3://b", json!({"options": [{"name": "x"}]})), "either a value or a valueFrom"),
        (
            mount(
                "/a",
                "s3://b",
                json!({"options": [{"name": "x", "value": "1"}, {"name": "x", "value": "2"}]}),
            ),
            "given twice",
        ),
        (unmount("/", json!({})), "cannot be unmounted"),
        (unmount("/a/../b", json!({})), "must not contain '.'"),
        (unmount("/a", json!({"whenInUse": "Maybe"})), "Unsupported value"),
    ];
    for (i, (arm, says)) in cases.into_iter().enumerate() {
        let object = json!({
            "apiVersion": "ratchet.dev/v1alpha1", "kind": "DataOperation",
            "metadata": {"name": format!("bad-{i}"), "namespace": stage.ns.name},
            "spec": {"target": "alluxio", "operation": arm},
        });
        let file = stage.bench.run.join(format!("bad-{i}-{}.json", stage.ns.name));
        std::fs::write(&file, object.to_string()).expect("a file");
        let mut create = stage.bench.kubectl_as("admin");
        let out = create.args(["create", "-f"]).arg(&file).output().expect("kubectl runs");
        let said = String::from_utf8_lossy(&out.stderr).into_owned();
        assert!(!out.status.success() && said.contains(says), "{object}: {said}");
        std::fs::remove_file(file).expect("removed");
    }
    let none = stage.bench.kubectl(&["-n", &stage.ns.name, "get", "dop", "-o", "name"], &[]);
    assert_eq!(none, "");
}
