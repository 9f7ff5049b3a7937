//! Does a load finish, whatever is killed in its middle, and is its journal sound afterwards?

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that cannot go on fails")]

mod dev_process;

use dev_process::{Process, Scratch};
use kube::api::{ListParams, PostParams};
use kube::{Api, Client};
use ratchet::api::{DataLoad, DataOperation};
use ratchet::dev::{self, Options};
use ratchet_state_machine::machine::Phase;
use serde_json::json;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(60);

fn load() -> DataLoad {
    let spec = json!({"target": "local", "paths": ["/data"]});
    serde_json::from_value(json!({"metadata": {"name": "warm"}, "spec": spec})).unwrap()
}

/// Waits until `done` says so of the load's operation; gives back that operation.
async fn until(client: &Client, what: &str, done: impl Fn(&DataOperation) -> bool) -> DataOperation {
    let api: Api<DataOperation> = Api::namespaced(client.clone(), "default");
    let look = async {
        loop {
            let all = api.list(&ListParams::default()).await.unwrap().items;
            if let Some(found) = all.into_iter().find(&done) {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    match tokio::time::timeout(PATIENCE, look).await {
        Ok(found) => found,
        Err(_) => {
            let all = api.list(&ListParams::default()).await.unwrap().items;
            panic!("the operation is not {what}: {}", serde_json::to_string_pretty(&all).unwrap())
        }
    }
}

fn succeeded(op: &DataOperation) -> bool {
    op.phase() == Some(Phase::Succeeded)
}

/// The cache copies, and is not done.
fn copying(op: &DataOperation) -> bool {
    op.status.as_ref().is_some_and(|s| s.step == "loadingData" && s.intent.is_none())
}

fn ratchet(kubeconfig: &Path, args: &[&str]) -> String {
    let mut command = Command::new(dev_process::binary());
    let out = command.args(args).env("KUBECONFIG", kubeconfig).output().unwrap();
    let text = String::from_utf8_lossy(&[out.stdout, out.stderr].concat()).into_owned();
    assert!(out.status.success(), "ratchet {args:?}: {text}");
    text
}

fn is_sound(kubeconfig: &Path, name: &str) {
    let history = ratchet(kubeconfig, &["history", name]);
    assert!(history.lines().count() > 3, "{history}");
    let replay = ratchet(kubeconfig, &["replay", name]);
    assert!(replay.contains("sound: ") && replay.contains("confirmed by the object"), "{replay}");
}

#[tokio::test]
async fn a_load_survives_kill_9_of_the_whole_process() {
    let scratch = Scratch::new();
    let mut process = Process::start(&scratch.0, &[]);
    let client = process.client().await;
    let loads: Api<DataLoad> = Api::namespaced(client.clone(), "default");
    loads.create(&PostParams::default(), &load()).await.unwrap();
    let op = until(&client, "copying", copying).await;
    for _ in 0..2 {
        process.kill();
        process = Process::start(&scratch.0, &[]);
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    let client = process.client().await;
    let done = until(&client, "succeeded", succeeded).await;
    assert_eq!(done.metadata.uid, op.metadata.uid, "it is the same run");
    is_sound(&process.kubeconfig(), done.metadata.name.as_deref().unwrap());
}

#[tokio::test(flavor = "multi_thread")] // it serves while it waits for `ratchet history`
async fn a_load_survives_the_end_of_the_controller_alone() {
    let scratch = Scratch::new();
    let running = dev::start(Options { port: 0, ..Options::new(&scratch.0) }).await.unwrap();
    let client = running.client();
    let loads: Api<DataLoad> = Api::namespaced(client.clone(), "default");
    loads.create(&PostParams::default(), &load()).await.unwrap();
    until(&client, "copying", copying).await;
    running.kill_controller().await;
    running.start_controller().await;
    let done = until(&client, "succeeded", succeeded).await;
    is_sound(&running.kubeconfig(), done.metadata.name.as_deref().unwrap());
    running.stop().await;
}
