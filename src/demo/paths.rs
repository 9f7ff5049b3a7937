//! One lock for each cache, held by paths: what does not overlap goes on at the same time, what does waits.
//!
//! ```text
//!   load-a  /data/images  ==========|
//!   free-b  /data/tables    ====|
//!   free-a  /data/images    . . . . |=====     waits for load-a, and says so
//! ```

use super::stage::CLUSTER;
use super::tree::Part;
use super::{Demo, DemoError, error::claim, look};
use crate::api::{DataOperation, TargetLock};
use chrono::{DateTime, Utc};
use kube::Api;
use kube::api::ListParams;
use ratchet_state_machine::machine::Phase;
use serde_json::{Value, json};

/// What the demo calls them.
const LOAD: &str = "load-a";
const OTHER: &str = "free-b";
const SAME: &str = "free-a";

impl Demo {
    /// Three operations on two parts of the tree.
    pub(super) async fn lock_by_paths(&mut self) -> Result<(), DemoError> {
        self.say.step(
            "One lock, by paths",
            "Two jobs on the same files fight; two on different files need not wait. Exclusivity has to be real.",
        )?;
        let [a, b, ..] = self.tree.parts.as_slice() else {
            return Ok(self.say.line("(left out: there is one part only)")?);
        };
        let (a, b) = (a.clone(), b.clone());
        // The load has to last long enough to be seen beside the others.
        if a.bytes < self.tree.bytes / 8 {
            return Ok(self.say.line("(left out: no part of the tree is large enough)")?);
        }
        self.emptied(&a).await?;
        self.say.line(format_args!(
            "{LOAD}: load {}; {OTHER}: free {}; {SAME}: free {}",
            a.path, b.path, a.path
        ))?;
        self.apply::<DataOperation>("DataOperation", LOAD, operation("load", &a)).await?;
        self.operation_that(LOAD, "holds the lock", |o| o.phase() == Some(Phase::Running)).await?;
        self.apply::<DataOperation>("DataOperation", OTHER, operation("free", &b)).await?;
        self.apply::<DataOperation>("DataOperation", SAME, operation("free", &a)).await?;
        let why = self.seen_together().await?;
        self.show("dataoperations", &[LOAD, OTHER, SAME]).await?;
        self.say.holds(format_args!(
            "{LOAD} and {OTHER} held the lock at the same time; meanwhile {SAME}: {why}"
        ))?;
        for name in [LOAD, OTHER, SAME] {
            self.succeeded(name).await?;
        }
        let (end, granted) =
            (self.time_of(LOAD, "Verified").await?, self.time_of(SAME, "HoldGranted").await?);
        claim(end <= granted, || format!("{SAME} was let in at {granted}, {LOAD} ended at {end}"))?;
        let left = self.cached_below(&[&a, &b])?;
        claim(left == 0, || format!("{left} files of {} and {} are cached still", a.path, b.path))?;
        Ok(self.say.holds(format_args!(
            "{SAME} was let in after {LOAD} had ended; all three succeeded, and nothing of {} and {} is cached now",
            a.path, b.path
        ))?)
    }

    /// Frees a part, so that there is something to load.
    async fn emptied(&mut self, part: &Part) -> Result<(), DemoError> {
        let name = "free-first";
        self.apply::<DataOperation>("DataOperation", name, operation("free", part)).await?;
        self.succeeded(name).await?;
        let left = self.cached_below(&[part])?;
        claim(left == 0, || format!("{left} files of {} are cached still", part.path))?;
        let files = part.files;
        Ok(self.say.holds(format_args!("{files} files of {} are dropped; the files stay", part.path))?)
    }

    async fn succeeded(&mut self, name: &str) -> Result<(), DemoError> {
        let settled = |o: &DataOperation| o.status.as_ref().is_some_and(|s| s.settled());
        let op = self.operation_that(name, "has ended", settled).await?;
        claim(op.phase() == Some(Phase::Succeeded), || format!("{name} ended as {:?}", op.phase()))
    }

    /// Waits for the moment in which two hold and the third waits; gives back its reason.
    async fn seen_together(&self) -> Result<String, DemoError> {
        let locks: Api<TargetLock> = Api::all(self.stage.client.clone());
        look::until("that two operations share the lock and a third waits", || async {
            let all = locks.list(&ListParams::default()).await?;
            let holds = |lock: &TargetLock, name| lock.spec.lock.holders.iter().any(|h| h.name == name);
            let mut own = all.items.iter().filter(|l| l.spec.claim.name == CLUSTER);
            if !own.any(|l| holds(l, LOAD) && holds(l, OTHER) && !holds(l, SAME)) {
                return Ok(None);
            }
            let waiting = self.operation(SAME).await?.and_then(|o| o.status).and_then(|s| s.waiting_on);
            let waiting = waiting.filter(|w| w.reason == "WaitingForLock");
            Ok(waiting.map(|w| format!("{}, {}", w.reason, w.message)))
        })
        .await
    }

    /// When an operation had its last event of this name.
    async fn time_of(&mut self, name: &str, event: &str) -> Result<DateTime<Utc>, DemoError> {
        let proved = self.proved(name).await?;
        let found = proved.journal.entries.iter().rev().find(|e| e.event == event).and_then(|e| e.time());
        found.ok_or_else(|| DemoError::NotSo(format!("the journal of {name} has no {event}")))
    }

    fn cached_below(&self, parts: &[&Part]) -> Result<usize, DemoError> {
        let cached = self.stage.cache()?.cached_files();
        let below = |file: &str| {
            parts.iter().any(|p| {
                file.strip_prefix(&p.path).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
            })
        };
        Ok(cached.keys().filter(|f| below(f)).count())
    }
}

fn operation(arm: &str, part: &Part) -> Value {
    json!({"target": CLUSTER, "operation": {arm: {"paths": [part.path]}}})
}
