//! Does one YAML give a real Alluxio, with its data, from nothing to a reader and back to nothing?

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that cannot go on fails")]

mod cluster;

use cluster::ground::*;
use kube::api::Api;
use ratchet::api::cluster::CacheClusterStatus;
use ratchet::api::{DataLoad, Dataset};
use ratchet::engine::alluxio::client::{AlluxioClient, ClientOptions, MasterRole, Security};
use ratchet_state_machine::spec::ArmSpec;
use serde_json::{Value, json};
use std::process::Command;
use std::time::Duration;

#[tokio::test(flavor = "multi_thread")]
async fn one_yaml_gives_a_cache_its_data_and_a_reader_and_leaves_nothing_behind() {
    let Some(ground) = Ground::new("managed").await else { return };
    let images = fill(&ground.home.join("images"), 20, 100_000);
    let labels = fill(&ground.home.join("labels"), 5, 1_000);
    let mount = |n: &str| json!({"path": format!("/{n}"), "uri": format!("/stores/{n}"), "readOnly": true});
    let dataset = |mounts: Vec<Value>| {
        json!({"apiVersion": "ratchet.dev/v1alpha1", "kind": "Dataset",
            "metadata": {"name": "data", "namespace": ground.ns.name},
            "spec": {"cluster": "cache", "mounts": mounts}})
    };
    let load = json!({"apiVersion": "ratchet.dev/v1alpha1", "kind": "DataLoad",
        "metadata": {"name": "warm", "namespace": ground.ns.name},
        "spec": {"target": "cache", "paths": ["/images"]}});
    ground.apply(&[
        ground.cluster(&json!({"proxies": {"replicas": 1}})),
        dataset(vec![mount("images")]),
        load,
    ]);

    // The controller is killed over and over while the cache comes to be.
    let (mut kills, mut running) = (0, ground.start());
    for round in 0..12_u64 {
        tokio::time::sleep(Duration::from_millis(700 + (round * 379) % 1500)).await;
        if ground.status().await.phase == "Ready" {
            break;
        }
        running.kill();
        kills += 1;
        running = ground.start();
    }
    let status = ground.until("Ready", |s| s.phase == "Ready").await;
    println!("ready after {kills} kills");
    assert_eq!((status.masters.as_str(), status.workers.as_str()), ("1/1", "3/3"));
    assert_eq!((status.version.as_str(), status.capacity_bytes), ("2.9.4", 3 * (256 << 20)));
    let made = status.revision.map(|r| r.number);
    assert_eq!(made, Some(1));

    let datasets: Api<Dataset> = ground.api();
    let loads: Api<DataLoad> = ground.api();
    let (mut bound, mut loaded) = (None, None);
    for _ in 0..cluster::POLLS {
        bound = datasets.get("data").await.unwrap().status.filter(|s| s.phase == "Bound" && s.files == 20);
        loaded = loads.get("warm").await.unwrap().status.filter(|s| s.finished_at.is_some());
        if bound.is_some() && loaded.is_some() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let (bound, loaded) = (bound.expect("Bound"), loaded.expect("it ends"));
    assert_eq!((bound.ufs_bytes, loaded.phase.as_str()), (2_000_000, "Succeeded"), "{bound:#?}\n{loaded:#?}");

    // A reader gets the bytes through the cache: the workers say that they gave them.
    let before = bytes_read(&ground).await;
    let proxy = format!("{}:39999", ip(&ground.pods("proxy").await[0]));
    for (name, content) in &images {
        assert!(get(&proxy, &format!("/api/v1/s3/images/{name}"), SIGNED) == *content, "{name} differs");
    }
    let read = bytes_read(&ground).await - before;
    assert!(read >= 2_000_000, "the workers gave {read} bytes");

    // How often the cache had what was read comes from the master, which hears of it in a while.
    for _ in 0..cluster::POLLS {
        if !datasets.get("data").await.unwrap().status.unwrap().hit_ratio.is_empty() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let hits = datasets.get("data").await.unwrap().status.unwrap().hit_ratio;
    println!("hit ratio: {hits}");
    assert!(hits.ends_with('%'), "{hits:?}");

    // One more mount, with the controller killed meanwhile: exactly one operation.
    let mounts = async || ground.operations(|a| matches!(a, ArmSpec::Mount(_))).await;
    assert_eq!(mounts().await, 1);
    ground.apply(&[dataset(vec![mount("images"), mount("labels")])]);
    for round in 0..5_u64 {
        tokio::time::sleep(Duration::from_millis(60 + round * 130)).await;
        running.kill();
        running = ground.start();
    }
    for _ in 0..cluster::POLLS {
        let status = datasets.get("data").await.unwrap().status.unwrap();
        if status.phase == "Bound" && status.files == 25 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!((datasets.get("data").await.unwrap().status.unwrap().files, mounts().await), (25, 2));

    // One more worker, with the controller killed meanwhile: exactly one operation, one write, and it serves.
    let kubectl = |args: &[&str]| ground.bench.kubectl(&[&["-n", &ground.ns.name], args].concat(), &[]);
    kubectl(&["scale", "cachecluster/cache", "--replicas=4"]);
    for round in 0..5_u64 {
        tokio::time::sleep(Duration::from_millis(80 + round * 210)).await;
        running.kill();
        running = ground.start();
    }
    let status = ground.until("4/4", |s| s.phase == "Ready" && s.workers == "4/4").await;
    assert_eq!(status.capacity_bytes, 4 * (256 << 20));
    assert_eq!((status.revision.map(|r| r.number), status.handled), (Some(2), 1));
    assert_eq!(ground.operations(|a| matches!(a, ArmSpec::ScaleOut(_))).await, 1);
    for (name, content) in images.iter().take(3) {
        assert!(get(&proxy, &format!("/api/v1/s3/images/{name}"), SIGNED) == *content, "{name} differs");
    }

    // All of it goes, the cache too, with the controller killed meanwhile; the stores are as they were.
    kubectl(&["delete", "dataload/warm", "dataset/data", "cachecluster/cache", "--wait=false"]);
    for _ in 0..3 {
        tokio::time::sleep(Duration::from_millis(900)).await;
        running.kill();
        running = ground.start();
    }
    gone(&ground, kubectl).await;
    assert!(seen(&ground.home.join("images")) == images && seen(&ground.home.join("labels")) == labels);
    drop(running);
}

#[tokio::test(flavor = "multi_thread")]
async fn three_masters_elect_one_and_outlive_the_loss_of_it() {
    let Some(ground) = Ground::new("quorum").await else { return };
    fill(&ground.home.join("images"), 10, 50_000);
    let three = json!({"masters": {"replicas": 3}, "workers": {"replicas": 1}, "jobs": {"workers": 0}});
    let running = ground.start();
    ground.apply(&[ground.cluster(&three)]);
    let status = ground.until("Ready", |s| s.phase == "Ready" && s.masters == "3/3").await;
    let (identity, endpoints) = (status.identity.clone(), status.endpoints);
    assert_eq!(endpoints.len(), 3);

    let security = Security::Simple { user: "alluxio".into() };
    let leads = async |at: &[String]| {
        let options = ClientOptions::new(at.to_vec(), security.clone());
        let client = AlluxioClient::new(options).expect("a client");
        let masters = client.master_info().await.expect("answered").masters;
        masters.into_iter().find(|m| m.role == MasterRole::Primary).map(|m| m.host)
    };
    let leader = leads(&endpoints).await.expect("a leader");
    let pod = leader.split('.').next().expect("a name").to_owned();
    let kubectl = |args: &[&str]| ground.bench.kubectl(&[&["-n", &ground.ns.name], args].concat(), &[]);
    kubectl(&["delete", "pod", &pod, "--grace-period=0", "--force"]);
    ground.until("Degraded", |s| s.phase == "Degraded" && s.masters == "2/3").await;
    let status = ground.until("Ready again", |s| s.phase == "Ready" && s.masters == "3/3").await;
    assert_eq!(status.identity, identity, "it is the same cache");
    assert_ne!(status.endpoints, endpoints, "the pod that came back has another address");

    // It works as before; who leads was elected anew, and may be the one that came back.
    assert!(leads(&status.endpoints).await.is_some());
    let data = json!({"apiVersion": "ratchet.dev/v1alpha1", "kind": "Dataset",
        "metadata": {"name": "data", "namespace": ground.ns.name},
        "spec": {"cluster": "cache", "mounts": [{"path": "/images", "uri": "/stores/images"}]}});
    ground.apply(&[data]);
    let datasets: Api<Dataset> = ground.api();
    let mut last = None;
    for _ in 0..cluster::POLLS {
        last = datasets.get("data").await.unwrap().status;
        if last.as_ref().is_some_and(|s| s.phase == "Bound" && s.files == 10) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(last.as_ref().map(|s| s.files), Some(10), "{last:#?}");
    kubectl(&["delete", "dataset/data", "cachecluster/cache", "--timeout=120s"]);
    gone(&ground, kubectl).await;
    drop(running);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_journal_outlives_its_cache_and_an_empty_one_is_not_taken_for_it() {
    let Some(ground) = Ground::new("journal").await else { return };
    fill(&ground.home.join("images"), 10, 50_000);
    let cache = ground.folder("cache");
    let one = json!({"workers": {"replicas": 1, "tiers": [{"medium": "SSD", "size": "256Mi", "hostPath": cache}]},
        "jobs": {"workers": 0}});
    let mut yaml = ground.cluster(&one);
    yaml["spec"]["managed"]["workers"]["tiers"][0].as_object_mut().expect("a tier").remove("emptyDir");
    let data = json!({"apiVersion": "ratchet.dev/v1alpha1", "kind": "Dataset",
        "metadata": {"name": "data", "namespace": ground.ns.name},
        "spec": {"cluster": "cache", "mounts": [{"path": "/images", "uri": "/stores/images"}]}});
    let load = json!({"apiVersion": "ratchet.dev/v1alpha1", "kind": "DataLoad",
        "metadata": {"name": "warm", "namespace": ground.ns.name}, "spec": {"target": "cache", "paths": ["/images"]}});
    let running = ground.start();
    ground.apply(&[yaml.clone(), data, load]);
    let first = ground.until("Ready", |s| s.phase == "Ready").await;
    let loads: Api<DataLoad> = ground.api();
    let mut loaded = None;
    for _ in 0..cluster::POLLS {
        loaded = loads.get("warm").await.unwrap().status.filter(|s| s.finished_at.is_some());
        if loaded.is_some() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(loaded.map(|s| s.phase), Some("Succeeded".into()));

    // The journal is not where the master comes back: nothing is formatted, and the status says what to do.
    let (here, away) = (ground.home.join("journal"), ground.home.join("away"));
    let kubectl = |args: &[&str]| ground.bench.kubectl(&[&["-n", &ground.ns.name], args].concat(), &[]);
    std::fs::rename(&here, &away).expect("moved");
    ground.folder("journal");
    kubectl(&["delete", "pod", "cache-master-0", "--grace-period=1"]);
    let identity = first.identity.clone().expect("known");
    let said = format!("the journal of cache {identity} is not here");
    let ready =
        |s: &CacheClusterStatus| s.conditions.iter().find(|c| c.type_ == "Ready").map(|c| c.message.clone());
    ground.until("missing its journal", |s| ready(s).is_some_and(|m| m.contains(&said))).await;
    std::fs::remove_dir_all(&here).expect("removed");
    std::fs::rename(&away, &here).expect("moved back");
    kubectl(&["delete", "pod", "cache-master-0", "--grace-period=1"]);
    let again = ground.until("Ready again", |s| s.phase == "Ready").await;
    assert_eq!(again.identity.as_ref(), Some(&identity));

    // The cache goes, and what it had on the node with it; the journal stays for the next of its name.
    kubectl(&["delete", "cachecluster/cache", "--timeout=120s"]);
    let blocks =
        Command::new("find").arg(&cache).args(["-type", "f", "-size", "+0"]).output().expect("find runs");
    assert_eq!(String::from_utf8_lossy(&blocks.stdout), "", "blocks are left on the node");
    kubectl(&["delete", "dataset/data", "dataload/warm", "--timeout=60s"]);
    gone(&ground, kubectl).await;
    ground.apply(&[yaml]);
    let next = ground.until("Ready once more", |s| s.phase == "Ready").await;
    assert_eq!(next.identity, Some(identity), "it has taken the journal up");
    kubectl(&["delete", "cachecluster/cache", "--timeout=120s"]);
    gone(&ground, kubectl).await;
    drop(running);
}
