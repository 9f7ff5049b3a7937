//! Does a backup leave a whole file in the store of a real Alluxio, whenever the controller dies, and do the oldest go? The
//! files are looked at on the disk that the store is.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that cannot go on fails")]

mod cluster;

use cluster::alluxio::{Stage, assert_failed, assert_succeeded, intents};
use cluster::{create, operation, unique};
use ratchet_state_machine::backups::PREFIX;
use ratchet_state_machine::effect::Effect;
use serde_json::json;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

/// Folders of backups, with the files in each.
fn folders(dir: &Path) -> Vec<(String, Vec<String>)> {
    let names = |dir: &Path| -> Vec<String> {
        let mut all: Vec<String> = std::fs::read_dir(dir)
            .map(|entries| entries.map(|e| e.unwrap().file_name().to_string_lossy().into_owned()).collect())
            .unwrap_or_default();
        all.sort();
        all
    };
    names(dir).into_iter().map(|f| (f.clone(), names(&dir.join(&f)))).collect()
}

/// A file that `gzip` reads to its end.
fn sound(file: &Path) {
    let tested = Command::new("gzip").arg("-t").arg(file).output().expect("gzip runs");
    assert!(tested.status.success(), "{}: {}", file.display(), String::from_utf8_lossy(&tested.stderr));
}

#[tokio::test(flavor = "multi_thread")]
async fn each_backup_is_whole_whenever_the_controller_dies_and_the_oldest_go() {
    let Some(mut stage) = Stage::shared("backup").await else { return };
    let tree = stage.tree("kept");
    tree.files(300, 100);
    stage.start(&[]);
    stage.load("known", &[&tree.path]).await;
    assert_succeeded(&stage.end("known").await);
    let place = stage.tree("backups");
    let others = place.dir.join("not-of-ratchet");
    std::fs::create_dir(&others).unwrap();
    std::fs::write(others.join("file"), "stays").unwrap();
    let asked = json!({"backup": {"path": place.path, "keep": 2}});
    let mut newest = Vec::new();
    for round in 0..5_u64 {
        let name = format!("backup-{round}");
        stage.ask(&name, asked.clone(), json!({})).await;
        if round > 0 {
            tokio::time::sleep(Duration::from_millis(round * 180)).await;
            stage.controller.take().expect("it runs").kill();
            stage.start(&[]);
        }
        let op = stage.end(&name).await;
        assert_succeeded(&op);
        let journal = stage.journal(&name);
        let calls = intents(&journal, |e| matches!(e, Effect::Backup { .. }));
        assert!((1..=2).contains(&calls), "{calls} intents");
        // What is said of it is what lies on the disk.
        let written = journal.iter().rfind(|e| e.0.event == "Written").expect("it was written");
        let body: serde_json::Value = serde_json::from_str(&written.0.body).unwrap();
        let made = &body["data"]["made"];
        let (folder, file) = (made["folder"].as_str().unwrap(), made["file"].as_str().unwrap());
        let path = place.dir.join(folder).join(file);
        sound(&path);
        assert_eq!(std::fs::metadata(&path).unwrap().len(), made["bytes"].as_u64().unwrap(), "{made}");
        let fingerprint = made["fingerprint"].as_str().unwrap();
        assert!(fingerprint.contains(&made["bytes"].to_string()), "{made}");
        newest.push(folder.to_owned());
        stage.assert_free().await;
    }
    // Each cache has a folder of its own: nobody prunes what is another's.
    let own = newest[0].split_once('/').expect("a folder of the cache").0;
    let there = folders(&place.dir.join(own));
    let kept: Vec<String> = there.iter().map(|(f, _)| format!("{own}/{f}")).collect();
    assert!(there.iter().all(|(f, files)| f.starts_with(PREFIX) && files.len() >= 2), "{there:?}");
    let mut wanted: Vec<String> = newest[3..].to_vec();
    wanted.sort_unstable();
    assert_eq!(kept, wanted, "the two newest are kept: {there:?} of {newest:?}");
    assert_eq!(std::fs::read_to_string(others.join("file")).unwrap(), "stays");
    let history = stage.ratchet("history", "backup-4", &[]);
    assert!(history.contains(&format!("{}/{}", place.path, newest[4])), "{history}");
    std::fs::remove_dir_all(&place.dir).unwrap();
    stage.drop_cached(&[&tree]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_that_has_no_place_says_so_before_anything_is_written() {
    let Some(mut stage) = Stage::shared("backup-place").await else { return };
    stage.start(&[]);
    let store = stage.store("elsewhere");
    let mount = format!("/m-{}", unique());
    stage.ask("mount", json!({"mount": {"path": mount, "uri": store.path}}), json!({})).await;
    assert_succeeded(&stage.end("mount").await);
    stage.ask("there", json!({"backup": {"path": format!("{mount}/backups")}}), json!({})).await;
    let why = assert_failed(&stage.end("there").await, "NoPlaceForBackup");
    assert!(why.contains(&mount) && why.contains("root store"), "{why}");
    assert!(folders(&store.dir).is_empty());
    for (path, why) in [("/", "a folder of their own"), ("backups", "absolute"), ("/a/../b", "'..'")] {
        let arm = json!({"backup": {"path": path}});
        let op = operation(&stage.ns.name, "wrong", cluster::alluxio::CACHE, arm, json!({}));
        let api: kube::Api<ratchet::api::DataOperation> =
            kube::Api::namespaced(stage.admin.clone(), &stage.ns.name);
        let refused = api.create(&kube::api::PostParams::default(), &op).await.unwrap_err().to_string();
        assert!(refused.contains(why), "{refused}");
    }
    stage.ask("unmount", json!({"unmount": {"path": mount}}), json!({})).await;
    assert_succeeded(&stage.end("unmount").await);
    std::fs::remove_dir_all(&store.dir).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn two_backups_of_one_cache_at_once_both_succeed() {
    let Some(mut stage) = Stage::shared("backup-two").await else { return };
    stage.start(&[]);
    let places = [stage.tree("one"), stage.tree("two")];
    for (i, place) in places.iter().enumerate() {
        let arm = json!({"backup": {"path": place.path}});
        let more = json!({"retryPolicy": {"limit": 5, "backoffSeconds": 1}});
        create(
            &stage.admin,
            &stage.ns.name,
            &operation(&stage.ns.name, &format!("b{i}"), cluster::alluxio::CACHE, arm, more),
        )
        .await;
    }
    for (i, place) in places.iter().enumerate() {
        let op = stage.end(&format!("b{i}")).await;
        assert_succeeded(&op);
        let of_cache = folders(&place.dir);
        assert_eq!(of_cache.len(), 1, "{of_cache:?}");
        let there = folders(&place.dir.join(&of_cache[0].0));
        assert!(!there.is_empty() && there.iter().all(|(_, files)| files.len() >= 2), "{there:?}");
        std::fs::remove_dir_all(&place.dir).unwrap();
    }
}
