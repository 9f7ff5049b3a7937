//! One habit, one test. Data in, data out.

mod disk;
mod faults;
mod habits;
mod leave;
mod mounts;

use super::*;
use ratchet_state_machine::effect::{JobView, MetadataView, TreeView};

const LIST: Effect = Effect::LoadMetadata { path: 0 };
const LOAD: Effect = Effect::SubmitLoad { path: 0 };
const STOP: Effect = Effect::StopLoad { path: 0 };
const FREE: Effect = Effect::Free { path: 0 };

/// Three files of 100 bytes below /data, one of 50 in /other.
fn files() -> Arc<Memory> {
    let (hundred, fifty) = ([7_u8; 100], [8_u8; 50]);
    let files =
        [("/data/a", &hundred[..]), ("/data/b", &hundred), ("/data/c/d", &hundred), ("/other/x", &fifty)];
    Arc::new(Memory::with(files))
}

fn small() -> Profile {
    Profile { workers: 2, worker_capacity: 1_000, ..Profile::alluxio() }
}

fn cache(profile: Profile) -> (Cache, Arc<Memory>) {
    let ufs = files();
    (Cache::new("test", profile, Arc::clone(&ufs) as Arc<dyn UnderStorage>), ufs)
}

fn apply_with(cache: &Cache, effect: &Effect, path: &str, token: &str, fence: Fence) -> Outcome {
    cache.apply(&Call { effect, path, token: &Token(token.into()), fence, mount: None })
}

fn apply(cache: &Cache, effect: &Effect, path: &str) -> Outcome {
    apply_with(cache, effect, path, "t", Fence { epoch: 1, attempt: 1 })
}

fn done(outcome: Outcome) -> ratchet_state_machine::effect::Receipt {
    let Outcome::Done(receipt) = outcome else { panic!("{outcome:?}") };
    receipt
}

fn job(cache: &Cache, path: &str) -> JobView {
    match cache.inspect(&Query::LoadJob { path: path.into() }) {
        Ok(Answer::Job(view)) => view,
        other => panic!("{other:?}"),
    }
}

fn metadata(cache: &Cache, path: &str, task: Option<i64>) -> MetadataView {
    match cache.inspect(&Query::Metadata { path: path.into(), task, then: None }) {
        Ok(Answer::Metadata(view, _)) => view,
        other => panic!("{other:?}"),
    }
}

fn tree(cache: &Cache, path: &str) -> TreeView {
    match cache.inspect(&Query::Tree { paths: vec![path.into()] }) {
        Ok(Answer::Tree(view)) => view,
        other => panic!("{other:?}"),
    }
}

/// Metadata first, then the data, all at `now`.
fn load(cache: &Cache, path: &str, now: i64) {
    let task = done(apply(cache, &LIST, path)).task;
    cache.advance(now);
    assert!(matches!(metadata(cache, path, task), MetadataView::Loaded(_)));
    done(apply(cache, &LOAD, path));
    cache.advance(now);
}

fn names(cache: &Cache) -> Vec<String> {
    cache.cached_files().into_keys().collect()
}

fn changes(cache: &Cache) -> Vec<(&'static str, bool)> {
    cache.applied().iter().map(|a| (a.effect.name(), a.changed)).collect()
}
