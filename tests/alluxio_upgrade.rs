//! Does a real Alluxio come from 2.9.4 to 2.9.6 while somebody reads, with every member made anew once however often the
//! controller dies, and back again where the new image cannot run?

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that cannot go on fails")]

mod cluster;

use cluster::ground::*;
use cluster::managed::merge;
use cluster::reader::Reader;
use cluster::writer::*;
use k8s_openapi::api::core::v1::Pod;
use kube::api::ListParams;
use ratchet::api::{DataOperation, Request as _, Upgrade};
use ratchet::engine::alluxio::client::{AlluxioClient, ClientOptions, Security, Voter};
use ratchet_state_machine::backups::OF_UPGRADE;
use ratchet_state_machine::machine::Phase;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::Duration;

/// A cache with two proxies, whose clients hear of workers soon.
fn cache() -> Value {
    let mut cache = written_to(3, "10sec");
    cache["proxies"]["replicas"] = json!(2);
    cache
}

fn upgrade(ground: &Ground, name: &str, arm: Value) -> Value {
    json!({"apiVersion": "ratchet.dev/v1alpha1", "kind": "DataOperation",
        "metadata": {"name": name, "namespace": ground.ns.name},
        "spec": {"target": "cache", "operation": {"upgrade": arm}, "stallDeadlineSeconds": 900}})
}

/// Uids of all pods, by name.
async fn uids(ground: &Ground) -> BTreeMap<String, String> {
    let all = ground.api::<Pod>().list(&ListParams::default()).await.expect("listed").items;
    all.into_iter().filter_map(|p| Some((p.metadata.name?, p.metadata.uid?))).collect()
}

/// Names of the effects that were intended, in order.
async fn intended(ground: &Ground) -> Vec<String> {
    let all =
        ground.api::<ratchet::api::OperationJournal>().list(&ListParams::default()).await.expect("listed");
    let mut told = Vec::new();
    for journal in &all.items {
        let journal = serde_json::to_value(journal).expect("JSON");
        for entry in journal["spec"]["entries"].as_array().into_iter().flatten() {
            let body: Value = serde_json::from_str(entry["body"].as_str().unwrap_or_default()).expect("JSON");
            let effect = body["intent"]["effect"].clone();
            if let Some(effect) = effect.as_object() {
                told.push((entry["seq"].as_i64().unwrap_or(0), json!(effect).to_string()));
            }
        }
    }
    told.sort();
    told.into_iter().map(|(_, effect)| effect).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cache_is_upgraded_under_a_reader_with_every_member_made_anew_once() {
    let Some(ground) = Ground::new("upgrade").await else { return };
    let mut running = ground.start();
    ground.apply(&[ground.cluster(&cache())]);
    ground.until("Ready", |s| s.phase == "Ready" && s.workers == "3/3").await;
    let proxy = format!("{}:39999", ip(&ground.pods("proxy").await[0]));
    assert!(put(&proxy, "/api/v1/s3/bucket", b""), "a bucket");
    let objects = write(&proxy, 0, 12);
    let before = uids(&ground).await;
    let reader = Reader::start(&ground, objects.clone()).await;

    let started = ground.status().await;
    ground.apply(&[json!({"apiVersion": "ratchet.dev/v1alpha1", "kind": "Upgrade",
        "metadata": {"name": "to-2-9-6", "namespace": ground.ns.name},
        "spec": {"target": "cache", "version": "2.9.6", "soakSeconds": 2, "stallDeadlineSeconds": 900,
            "backupPath": "/backups"}})]);
    for round in 0..8_u64 {
        tokio::time::sleep(Duration::from_millis(3_000 + (round * 5_379) % 12_000)).await;
        running.kill();
        running = ground.start();
    }
    let asked = ground.api::<Upgrade>().get("to-2-9-6").await.expect("readable");
    let op: DataOperation = cluster::settled(&ground.admin, &ground.ns.name, &asked.operation_name()).await;
    let story = story(&ground).await;
    println!("{story:#?}");
    assert_eq!(op.phase(), Some(Phase::Succeeded), "{:#?}", op.status);
    let status = ground.until("2.9.6", |s| s.phase == "Ready" && s.version == "2.9.6").await;
    assert!(status.members.iter().filter(|m| m.state == "ACTIVE").all(|m| m.version == "2.9.6"));
    assert_eq!(status.members.iter().filter(|m| m.state == "ACTIVE").count(), 3);
    let after = uids(&ground).await;
    assert_eq!(before.len(), 8, "{before:?}");
    assert!(
        before.iter().all(|(pod, uid)| after.get(pod).is_some_and(|now| now != uid)),
        "{before:?} {after:?}"
    );
    // Every pod that was there was let go once, and none of those that came after.
    let mut evicted: Vec<String> = intended(&ground).await;
    evicted.retain(|e| e.contains("replaceMember"));
    let distinct: std::collections::BTreeSet<&String> = evicted.iter().collect();
    assert_eq!(distinct.len(), 8, "{evicted:#?}");
    assert!(distinct.iter().all(|e| before.values().any(|uid| e.contains(uid.as_str()))), "{evicted:#?}");
    // What the masters knew was saved before any of them went.
    let of_caches = std::fs::read_dir(ground.home.join("root/backups")).expect("backups").flatten();
    let saved = of_caches.flat_map(|cache| std::fs::read_dir(cache.path()).expect("a folder").flatten());
    let saved: Vec<_> = saved.filter(|e| e.file_name().to_string_lossy().starts_with(OF_UPGRADE)).collect();
    assert!((1..=2).contains(&saved.len()), "{saved:?}");
    let at = |event: &str| story.iter().position(|line| line.contains(event));
    assert!(at("Saved").is_some() && at("Saved") < at("Revised"), "{story:#?}");
    tokio::time::sleep(Duration::from_secs(1)).await;
    let seen = reader.stop();
    println!("{seen:?}; cached {} bytes before, {} after", started.used_bytes, status.used_bytes);
    assert_eq!(seen.wrong, 0);
    assert!(seen.reads > 100 && seen.longest < Duration::from_secs(300), "{seen:?}");
    let proxy = format!("{}:39999", ip(&ground.pods("proxy").await[0]));
    readable(&proxy, &objects);
    let kubectl = |args: &[&str]| ground.bench.kubectl(&[&["-n", &ground.ns.name], args].concat(), &[]);
    let row = kubectl(&["get", "upgrades.ratchet.dev", "to-2-9-6", "--no-headers"]);
    let cells: Vec<&str> = row.split_whitespace().take(5).collect();
    assert_eq!(cells, ["to-2-9-6", "cache", "2.9.6", "Succeeded", "succeeded"], "{row}");
    kubectl(&["delete", "upgrade/to-2-9-6", "cachecluster/cache", "--timeout=120s"]);
    gone(&ground, kubectl).await;
    drop(running);
}

/// A transfer to what is no master is accepted, says afterwards that it is none, and changes nothing.
async fn nobody_leads_who_is_none_of_them(ground: &Ground) {
    let security = Security::Simple { user: "alluxio".into() };
    let client =
        AlluxioClient::new(ClientOptions::new(ground.status().await.endpoints, security)).expect("a client");
    let before = client.quorum().await.expect("a quorum");
    assert_eq!((before.len(), before.iter().filter(|v| v.leads).count()), (3, 1), "{before:?}");
    let nobody = Voter { host: "nobody".into(), journal_port: 1, available: true, leads: false };
    let id = client.transfer_leadership(&nobody).await.expect("it is accepted");
    let mut said = String::new();
    for _ in 0..cluster::POLLS {
        said = client.transfer_message(&id).await.expect("a message");
        if !said.is_empty() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert!(said.contains("is not part of the quorum"), "{said}");
    assert_eq!(client.quorum().await.expect("a quorum"), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn three_masters_are_upgraded_with_the_primary_last_and_readers_hardly_notice() {
    let Some(ground) = Ground::new("upgrade-quorum").await else { return };
    let mut running = ground.start();
    let mut three = cache();
    let through = json!({"alluxio.proxy.s3.writetype": "CACHE_THROUGH"});
    merge(
        &mut three,
        &json!({"masters": {"replicas": 3}, "workers": {"replicas": 2}, "jobs": {"workers": 0},
        "properties": through}),
    );
    ground.apply(&[ground.cluster(&three)]);
    ground.until("Ready", |s| s.phase == "Ready" && s.workers == "2/2" && s.masters == "3/3").await;
    nobody_leads_who_is_none_of_them(&ground).await;
    let proxy = format!("{}:39999", ip(&ground.pods("proxy").await[0]));
    assert!(put(&proxy, "/api/v1/s3/bucket", b""), "a bucket");
    let objects = write(&proxy, 0, 6);
    let reader = Reader::start(&ground, objects.clone()).await;
    ground.apply(&[upgrade(
        &ground,
        "up",
        json!({"version": "2.9.6", "soakSeconds": 2, "memberDeadlineSeconds": 180}),
    )]);
    for round in 0..5_u64 {
        tokio::time::sleep(Duration::from_millis(4_000 + (round * 5_379) % 12_000)).await;
        running.kill();
        running = ground.start();
    }
    let op: DataOperation = cluster::settled(&ground.admin, &ground.ns.name, "up").await;
    let story = story(&ground).await;
    println!("{story:#?}");
    assert_eq!(op.phase(), Some(Phase::Succeeded), "{:#?}", op.status);
    ground.until("2.9.6", |s| s.phase == "Ready" && s.version == "2.9.6" && s.masters == "3/3").await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let seen = reader.stop();
    println!("{seen:?}");
    assert_eq!(seen.wrong, 0);
    assert!(seen.reads > 100 && seen.longest < Duration::from_secs(300), "{seen:?}");
    // Whoever led was not the first to go, and had handed over before.
    let effects = intended(&ground).await;
    let handed = effects.iter().position(|e| e.contains("transferLeadership")).expect("a transfer");
    let masters = |e: &&String| e.contains("replaceMember") && e.contains(r#""role":"master""#);
    assert_eq!(effects.iter().take(handed).filter(masters).count(), 2, "{effects:#?}");
    let kubectl = |args: &[&str]| ground.bench.kubectl(&[&["-n", &ground.ns.name], args].concat(), &[]);
    kubectl(&["delete", "dataoperation/up", "cachecluster/cache", "--timeout=120s"]);
    gone(&ground, kubectl).await;
    drop(running);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_that_cannot_run_is_taken_back_and_the_cache_serves_as_before() {
    let Some(ground) = Ground::new("rollback").await else { return };
    let mut running = ground.start();
    ground.apply(&[ground.cluster(&cache())]);
    ground.until("Ready", |s| s.phase == "Ready" && s.workers == "3/3").await;
    let proxy = format!("{}:39999", ip(&ground.pods("proxy").await[0]));
    assert!(put(&proxy, "/api/v1/s3/bucket", b""), "a bucket");
    let objects = write(&proxy, 0, 6);
    let before = uids(&ground).await;
    let bad = json!({"version": "2.9.6", "tag": "not-there", "memberDeadlineSeconds": 20});
    ground.apply(&[upgrade(&ground, "bad", bad)]);
    for round in 0..3_u64 {
        tokio::time::sleep(Duration::from_millis(4_000 + (round * 5_379) % 9_000)).await;
        running.kill();
        running = ground.start();
    }
    let op: DataOperation = cluster::settled(&ground.admin, &ground.ns.name, "bad").await;
    println!("{:#?}", story(&ground).await);
    assert_eq!(op.phase(), Some(Phase::RolledBack), "{:#?}", op.status);
    let told = serde_json::to_string(&op.status).expect("JSON");
    assert!(told.contains("MemberNotUp") && told.contains("master 0"), "{told}");
    let status = ground.until("2.9.4", |s| s.phase == "Ready" && s.version == "2.9.4").await;
    assert!(status.members.iter().all(|m| m.version == "2.9.4"), "{:?}", status.members);
    let after = uids(&ground).await;
    let others = |all: &BTreeMap<String, String>| {
        all.iter()
            .filter(|(n, _)| *n != "cache-master-0")
            .map(|(n, u)| (n.clone(), u.clone()))
            .collect::<Vec<_>>()
    };
    assert_eq!(others(&before), others(&after), "only the master was made anew");
    readable(&proxy, &objects);
    let upgrades = operations(&ground).await;
    assert_eq!(upgrades.len(), 1, "no second upgrade starts by itself");
    let kubectl = |args: &[&str]| ground.bench.kubectl(&[&["-n", &ground.ns.name], args].concat(), &[]);
    kubectl(&["delete", "dataoperation/bad", "cachecluster/cache", "--timeout=120s"]);
    gone(&ground, kubectl).await;
    drop(running);
}
