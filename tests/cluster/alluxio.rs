//! A real Alluxio on the bench's node.

use super::{Bench, bench, sh};
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// One Alluxio, in a namespace of its own.
pub struct Alluxio {
    /// Name of its namespace.
    pub name: String,
    /// Addresses of its masters, `host:port`.
    pub masters: Vec<String>,
    /// Workers: pod name, address, RPC port, web port.
    pub workers: Vec<[String; 4]>,
    /// Host directory of the root mount: a file put here is a file of the under-storage.
    pub root: PathBuf,
}

static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// Tests that share one Alluxio take turns: an engine belongs to one CacheCluster at a time.
pub fn turn() -> MutexGuard<'static, ()> {
    ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Alluxio {
    /// Starts it, or finds it running.
    pub fn up(bench_: &Bench, name: &str, options: &[&str]) -> Self {
        let known = sh(&mut bench(&["alluxio", "list"]));
        if !known.split_whitespace().any(|w| w == name) {
            let mut args = vec!["alluxio", "up", name];
            args.extend(options);
            sh(&mut bench(&args));
        }
        Self::find(bench_, name)
    }

    /// Where it is now (addresses change when pods are replaced).
    pub fn find(bench_: &Bench, name: &str) -> Self {
        let said = sh(&mut bench(&["alluxio", "status", name]));
        let mut found = Self { name: name.into(), masters: vec![], workers: vec![], root: bench_.ufs.join(name).join("root") };
        for line in said.lines() {
            let words: Vec<&str> = line.split_whitespace().collect();
            match words.as_slice() {
                ["master", address, ..] => found.masters.push((*address).to_owned()),
                ["worker", pod, ip, rpc, web, ..] => {
                    found.workers.push([pod, ip, rpc, web].map(|w| (*w).to_owned()));
                }
                _ => {}
            }
        }
        assert!(!found.masters.is_empty(), "no master in: {said}");
        found
    }

    /// Alluxio's own command line, in the master's pod.
    pub fn cli(&self, args: &[&str]) -> String {
        let mut all = vec!["alluxio", "exec", &self.name, "--"];
        all.extend(args);
        sh(&mut bench(&all))
    }

    /// Removes it.
    pub fn down(name: &str) {
        sh(&mut bench(&["alluxio", "down", name]));
    }

    /// The masters as text slices.
    pub fn addresses(&self) -> Vec<&str> {
        self.masters.iter().map(String::as_str).collect()
    }
}
