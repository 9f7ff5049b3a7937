//! What a cache shows of its datasets: one look at its mount table a period, shared by all of them, and now and then the
//! size of each. Lost with the process, and looked at anew.

use crate::api::{CacheCluster, Dataset};
use crate::controller::Ctx;
use ratchet_state_machine::effect::{Answer, Query, TreeView};
use ratchet_state_machine::mounts::MountTable;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// A listing is made again after so many times what it took: it costs the masters a twentieth of their time at most.
const PATIENCE: u32 = 20;

/// What was seen.
#[derive(Default)]
pub struct Looks {
    tables: Mutex<HashMap<String, (Instant, Arc<MountTable>)>>,
    sizes: Mutex<HashMap<String, Size>>,
}

/// What was below some paths, and when to look again.
#[derive(Clone)]
struct Size {
    due: Instant,
    paths: Vec<String>,
    tree: TreeView,
}

impl Looks {
    /// A dataset is gone.
    pub fn forget(&self, uid: &str) {
        self.sizes.lock().unwrap_or_else(PoisonError::into_inner).remove(uid);
    }
}

fn uid(cluster: &CacheCluster) -> String {
    cluster.metadata.uid.clone().unwrap_or_default()
}

/// The mount table of a cache, at most a period old; `None` while it gives no answer.
pub async fn table(ctx: &Ctx, cluster: &CacheCluster) -> Option<Arc<MountTable>> {
    let (key, now) = (uid(cluster), ctx.clock.instant());
    let known = ctx.looks.tables.lock().unwrap_or_else(PoisonError::into_inner).get(&key).cloned();
    if let Some((_, table)) =
        known.filter(|(at, _)| now.saturating_duration_since(*at) < ctx.config.probe_every / 2)
    {
        return Some(table);
    }
    let engine = ctx.engines.engine(cluster).ok()?;
    let Ok(Answer::Mounts(table)) = engine.inspect(&Query::Mounts { count: None, secrets: false }).await
    else {
        return None;
    };
    let table = Arc::new(table);
    let seen = (now, Arc::clone(&table));
    ctx.looks.tables.lock().unwrap_or_else(PoisonError::into_inner).insert(key, seen);
    Some(table)
}

/// Something was mounted or unmounted: the table is looked at anew.
pub fn stale(ctx: &Ctx, cluster: &CacheCluster) {
    ctx.looks.tables.lock().unwrap_or_else(PoisonError::into_inner).remove(&uid(cluster));
}

/// What is below these mounts, as the cache knows it; `None` while that is not known.
pub async fn size(
    ctx: &Ctx,
    cluster: &CacheCluster,
    dataset: &Dataset,
    paths: Vec<String>,
) -> Option<TreeView> {
    let key = dataset.metadata.uid.clone().unwrap_or_default();
    let now = ctx.clock.instant();
    let known = ctx.looks.sizes.lock().unwrap_or_else(PoisonError::into_inner).get(&key).cloned();
    if let Some(size) = known.as_ref().filter(|s| now < s.due && s.paths == paths) {
        return Some(size.tree.clone());
    }
    let last = known.filter(|s| s.paths == paths).map(|s| s.tree);
    let Ok(engine) = ctx.engines.engine(cluster) else { return last };
    let question = Query::Tree { paths: paths.clone() };
    let Ok(Answer::Tree(tree)) = engine.inspect(&question).await else { return last };
    let took = ctx.clock.instant().saturating_duration_since(now);
    let due = now + ctx.config.probe_every.max(took * PATIENCE).min(Duration::from_secs(3600));
    let seen = Size { due, paths, tree: tree.clone() };
    ctx.looks.sizes.lock().unwrap_or_else(PoisonError::into_inner).insert(key, seen);
    Some(tree)
}
