//! A client of a real managed cache that reads objects through its proxies without end, and measures for how long it could not.

use super::ground::{Ground, ip, read};
use k8s_openapi::api::core::v1::Pod;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// What a reader saw.
#[derive(Debug, Default, Clone)]
pub struct Seen {
    /// Objects that were read as they are.
    pub reads: usize,
    /// Objects that had other bytes.
    pub wrong: usize,
    /// The longest time between two reads that succeeded.
    pub longest: Duration,
}

/// Reads until it is stopped.
pub struct Reader {
    stop: Arc<AtomicBool>,
    thread: std::thread::JoinHandle<Seen>,
    addresses: tokio::task::JoinHandle<()>,
}

fn ready(pod: &&Pod) -> bool {
    let conditions = pod.status.iter().flat_map(|s| s.conditions.iter().flatten());
    pod.metadata.deletion_timestamp.is_none()
        && conditions.into_iter().any(|c| c.type_ == "Ready" && c.status == "True")
}

impl Reader {
    /// Of these objects, by their paths.
    pub async fn start(ground: &Ground, objects: BTreeMap<String, Vec<u8>>) -> Self {
        let (stop, known) = (Arc::new(AtomicBool::new(false)), Arc::<Mutex<Vec<String>>>::default());
        let pods = ground.api::<Pod>();
        let told = Arc::clone(&known);
        let addresses = tokio::spawn(async move {
            let proxies = kube::api::ListParams::default().labels("app.kubernetes.io/component=proxy");
            loop {
                if let Ok(all) = pods.list(&proxies).await {
                    let all = all.items.iter().filter(ready).map(|p| format!("{}:39999", ip(p))).collect();
                    *told.lock().expect("no panic") = all;
                }
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
        });
        let stopped = Arc::clone(&stop);
        #[allow(clippy::disallowed_methods, reason = "this client's time is that of the machine")]
        let thread = std::thread::spawn(move || {
            let (mut seen, mut last) = (Seen::default(), Instant::now());
            for (i, (path, bytes)) in objects.iter().cycle().enumerate() {
                if stopped.load(Ordering::Relaxed) {
                    break;
                }
                let addresses = known.lock().expect("no panic").clone();
                let turn = (!addresses.is_empty()).then(|| &addresses[i % addresses.len()]);
                match turn.and_then(|address| read(address, path)) {
                    Some(found) if found == *bytes => {
                        seen.reads += 1;
                        seen.longest = seen.longest.max(last.elapsed());
                        last = Instant::now();
                    }
                    Some(_) => seen.wrong += 1,
                    None => {}
                }
                std::thread::sleep(Duration::from_millis(40));
            }
            seen.longest = seen.longest.max(last.elapsed());
            seen
        });
        Self { stop, thread, addresses }
    }

    pub fn stop(self) -> Seen {
        self.stop.store(true, Ordering::Relaxed);
        self.addresses.abort();
        self.thread.join().expect("it read")
    }
}
