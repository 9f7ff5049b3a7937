//! Does `ratchet dev` keep what it has answered, and nobody's directory but its own?

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that cannot go on fails")]

mod dev_process;

use dev_process::{Process, Scratch};
use futures::StreamExt as _;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace};
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams, WatchEvent, WatchParams};
use kube::{Api, Client};
use serde_json::json;
use std::collections::BTreeMap;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

const ALONE: &[&str] = &["--no-controller"];

fn config_maps(client: &Client) -> Api<ConfigMap> {
    Api::namespaced(client.clone(), "default")
}

fn config_map(name: &str, value: &str) -> ConfigMap {
    serde_json::from_value(json!({"metadata": {"name": name}, "data": {"value": value}})).unwrap()
}

/// Name -> (uid, resourceVersion, value).
async fn contents(client: &Client) -> BTreeMap<String, (String, String, String)> {
    let all = config_maps(client).list(&ListParams::default()).await.unwrap();
    all.items
        .into_iter()
        .map(|c| {
            let value = c.data.unwrap_or_default().remove("value").unwrap_or_default();
            let m = c.metadata;
            (m.name.unwrap(), (m.uid.unwrap(), m.resource_version.unwrap(), value))
        })
        .collect()
}

#[tokio::test]
async fn everything_that_was_answered_survives_kill_9() {
    let scratch = Scratch::new();
    let first = Process::start(&scratch.0, ALONE);
    let client = first.client().await;
    let api = config_maps(&client);
    for n in 0..20 {
        api.create(&PostParams::default(), &config_map(&format!("c{n}"), "old")).await.unwrap();
    }
    let change = Patch::Merge(json!({"data": {"value": "new"}}));
    api.patch("c3", &PatchParams::default(), &change).await.unwrap();
    api.delete("c4", &DeleteParams::default()).await.unwrap();
    let before = contents(&client).await;
    let namespace: Api<Namespace> = Api::all(client.clone());
    let uid = namespace.get("default").await.unwrap().metadata.uid;
    first.kill();

    let second = Process::start(&scratch.0, ALONE);
    let client = second.client().await;
    assert_eq!(contents(&client).await, before);
    assert!(!before.contains_key("c4"));
    assert_eq!(before["c3"].2, "new");
    assert_eq!(Api::<Namespace>::all(client.clone()).get("default").await.unwrap().metadata.uid, uid);

    let newest: u64 = before.values().map(|(_, rv, _)| rv.parse().unwrap()).max().unwrap();
    let made = config_maps(&client).create(&PostParams::default(), &config_map("c4", "again")).await.unwrap();
    let revision: u64 = made.metadata.resource_version.unwrap().parse().unwrap();
    assert!(revision > newest + 1, "the deletion had a revision, and it is not given out twice");
    let before = contents(&client).await;
    second.terminate();
    let third = Process::start(&scratch.0, ALONE);
    assert_eq!(contents(&third.client().await).await, before);
}

#[tokio::test]
async fn writers_that_are_interrupted_lose_nothing_that_was_answered() {
    let scratch = Scratch::new();
    let first = Process::start(&scratch.0, ALONE);
    let client = first.client().await;
    let writers: Vec<_> = (0..4)
        .map(|w| {
            let api = config_maps(&client);
            tokio::spawn(async move {
                let mut answered = Vec::new();
                for n in 0..100_000 {
                    let name = format!("w{w}-{n}");
                    if api.create(&PostParams::default(), &config_map(&name, "v")).await.is_err() {
                        break;
                    }
                    answered.push(name);
                }
                answered
            })
        })
        .collect();
    tokio::time::sleep(Duration::from_millis(700)).await;
    first.kill();
    let second = Process::start(&scratch.0, ALONE);
    let there = contents(&second.client().await).await;
    let mut count = 0;
    for writer in writers {
        for name in writer.await.unwrap() {
            assert!(there.contains_key(&name), "{name} was answered");
            count += 1;
        }
    }
    assert!(count > 20, "{count} writes before the crash");
    assert!(there.len() <= count + 4, "at most one write in flight for each writer");
}

#[tokio::test]
async fn a_torn_last_line_is_left_out_and_a_damaged_one_is_an_error() {
    let scratch = Scratch::new();
    let first = Process::start(&scratch.0, ALONE);
    let api = config_maps(&first.client().await);
    for n in 0..3 {
        api.create(&PostParams::default(), &config_map(&format!("c{n}"), "v")).await.unwrap();
    }
    first.kill();
    let log = scratch.log();
    let whole = std::fs::read(&log).unwrap();
    std::fs::OpenOptions::new()
        .append(true)
        .open(&log)
        .unwrap()
        .write_all(b"0badcafe {\"put\":{\"rev")
        .unwrap();
    let second = Process::start(&scratch.0, ALONE);
    assert_eq!(contents(&second.client().await).await.len(), 3);
    config_maps(&second.client().await).create(&PostParams::default(), &config_map("c3", "v")).await.unwrap();
    second.kill();

    let log = scratch.log();
    let mut bytes = std::fs::read(&log).unwrap();
    bytes[12] ^= 1;
    bytes.extend(&whole);
    std::fs::write(&log, bytes).unwrap();
    let said = Process::refused(&scratch.0, ALONE);
    assert!(said.contains("line 1: its checksum does not fit"), "{said}");
    assert!(said.contains("--reset"), "{said}");
    let third = Process::start(&scratch.0, &["--no-controller", "--reset"]);
    assert!(contents(&third.client().await).await.is_empty());
}

#[tokio::test]
async fn a_second_process_is_refused_and_told_who_has_the_directory() {
    let scratch = Scratch::new();
    let first = Process::start(&scratch.0, ALONE);
    let said = Process::refused(&scratch.0, ALONE);
    assert!(said.contains("in use by another `ratchet dev`"), "{said}");
    assert!(said.contains("--data"), "{said}");
    assert!(contents(&first.client().await).await.is_empty(), "the first one goes on");
}

#[tokio::test]
async fn only_the_owner_reads_the_secrets_and_only_a_token_opens_the_door() {
    let scratch = Scratch::new();
    let first = Process::start(&scratch.0, ALONE);
    for file in ["kubeconfig", "controller.kubeconfig", "tokens.json", "tls.key"] {
        let mode = std::fs::metadata(scratch.0.join(file)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{file}");
    }
    let mut config = kube::config::Kubeconfig::read_from(first.kubeconfig()).unwrap();
    config.auth_infos[0].auth_info.as_mut().unwrap().token = Some("guess".to_owned().into());
    let options = kube::config::KubeConfigOptions::default();
    let config = kube::Config::from_custom_kubeconfig(config, &options).await.unwrap();
    let stranger = Client::try_from(config).unwrap();
    let Err(kube::Error::Api(status)) = config_maps(&stranger).list(&ListParams::default()).await else {
        panic!("a stranger was let in")
    };
    assert_eq!(status.code, 401);
}

#[tokio::test]
async fn a_watch_over_https_tells_of_each_change() {
    let scratch = Scratch::new();
    let first = Process::start(&scratch.0, ALONE);
    let api = config_maps(&first.client().await);
    let from = api.list(&ListParams::default()).await.unwrap().metadata.resource_version.unwrap();
    let mut events = api.watch(&WatchParams::default(), &from).await.unwrap().boxed();
    api.create(&PostParams::default(), &config_map("c", "v")).await.unwrap();
    api.delete("c", &DeleteParams::default()).await.unwrap();
    let mut seen = Vec::new();
    while seen.len() < 2 {
        let event =
            tokio::time::timeout(Duration::from_secs(10), events.next()).await.unwrap().unwrap().unwrap();
        match event {
            WatchEvent::Added(c) => seen.push(("added", c.metadata.name.unwrap())),
            WatchEvent::Deleted(c) => seen.push(("deleted", c.metadata.name.unwrap())),
            WatchEvent::Modified(_) | WatchEvent::Bookmark(_) | WatchEvent::Error(_) => {}
        }
    }
    assert_eq!(seen, [("added", "c".to_owned()), ("deleted", "c".to_owned())]);
}
