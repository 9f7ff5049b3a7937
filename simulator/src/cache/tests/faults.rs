//! What it does, forgets and loses when something does.

use super::*;
use ratchet_state_machine::effect::{EffectClass, JobState};

#[test]
fn a_job_without_workers_runs_for_ever() {
    let (cache, _) = cache(Profile { bytes_per_second: 100, ..small() });
    cache.stop_worker(0);
    cache.stop_worker(1);
    load(&cache, "/data", 0);
    cache.advance(10_000_000);
    let view = job(&cache, "/data");
    assert_eq!((view.state, view.files), (JobState::Running, 0));
    cache.start_worker(1);
    cache.advance(10_001_000);
    assert_eq!(job(&cache, "/data").files, 1, "no time was saved up");
}

#[test]
fn a_restarted_master_numbers_its_listings_anew_and_runs_its_jobs_again() {
    let (cache, _) = cache(Profile { bytes_per_second: 100, ..small() });
    load(&cache, "/data", 0);
    cache.advance(1_500);
    let task = done(apply(&cache, &LIST, "/data")).task;
    assert_eq!(task, Some(2));
    cache.restart_master();
    assert_eq!(metadata(&cache, "/data", task), MetadataView::Forgotten);
    assert_eq!(done(apply(&cache, &LIST, "/other")).task, Some(1));
    let view = job(&cache, "/data");
    assert_eq!((view.state, view.loaded_bytes, view.total_bytes), (JobState::Running, 0, None));
    cache.advance(3_500);
    let view = job(&cache, "/data");
    assert_eq!((view.state, view.files, names(&cache).len()), (JobState::Succeeded, 2, 3));
}

#[test]
fn a_master_whose_jobs_do_not_survive_forgets_them() {
    let (cache, _) = cache(Profile { jobs_survive: false, bytes_per_second: 1, ..small() });
    load(&cache, "/data", 0);
    assert_eq!(cache.jobs_running(), ["/data"]);
    cache.restart_master();
    assert_eq!(job(&cache, "/data").state, JobState::Absent);
}

#[test]
fn a_free_that_had_not_happened_is_forgotten_by_a_restart() {
    let (cache, _) = cache(small());
    load(&cache, "/data", 0);
    done(apply(&cache, &FREE, "/data"));
    cache.restart_master();
    cache.advance(1_000_000);
    assert_eq!(names(&cache).len(), 3);
}

#[test]
fn a_failover_loses_the_last_changes_of_the_journal() {
    let (cache, _) = cache(Profile { bytes_per_second: 1, ..small() });
    load(&cache, "/data", 0);
    cache.fail_over(1);
    assert_eq!((job(&cache, "/data").state, tree(&cache, "/data").files), (JobState::Absent, 3));
    cache.fail_over(2);
    assert_eq!(tree(&cache, "/data"), TreeView::default(), "known again by the look, without what is below");
}

#[test]
fn a_failover_can_lose_a_stop() {
    let (cache, _) = cache(Profile { bytes_per_second: 1, ..small() });
    load(&cache, "/data", 0);
    done(apply(&cache, &STOP, "/data"));
    cache.fail_over(1);
    assert_eq!(cache.jobs_running(), ["/data"]);
}

#[test]
fn a_decommission_drops_the_locations_at_once_and_moves_nothing() {
    let (cache, _) = cache(Profile { workers: 1, ..small() });
    load(&cache, "/data", 0);
    cache.decommission(0);
    assert_eq!(tree(&cache, "/data").cached_bytes, 0);
    let probe = cache.probe().expect("an answer");
    assert_eq!((probe.workers[0].state, probe.capacity, probe.workers[0].used), ("Decommissioned", 0, 300));
    // So soon afterwards the scheduler gives work to it still: success, and nothing cached.
    done(apply(&cache, &LOAD, "/data"));
    cache.advance(1);
    assert_eq!((job(&cache, "/data").state, names(&cache).len()), (JobState::Succeeded, 0));
}

#[test]
fn a_decommission_is_undone_by_restarts_and_expires() {
    for what in ["the master's restart", "the worker's restart", "35 minutes"] {
        let (cache, _) = cache(small());
        cache.decommission(0);
        let state = |c: &Cache| c.probe().expect("an answer").workers[0].state;
        cache.advance(35 * 60_000 - 1);
        assert_eq!(state(&cache), "Decommissioned");
        match what {
            "the master's restart" => cache.restart_master(),
            "the worker's restart" => cache.start_worker(0),
            _ => cache.advance(35 * 60_000),
        }
        assert_eq!(state(&cache), "ACTIVE", "{what}");
    }
}

#[test]
fn what_only_the_cache_has_is_lost_with_its_worker_unless_persisted_or_kept() {
    for (persist, tier_survives) in [(false, false), (true, false), (false, true)] {
        let (cache, _) = cache(Profile { tier_survives, workers: 1, ..small() });
        cache.write_cached_only("/tmp/only", [1; 10]).expect("there is room");
        if persist {
            cache.persist("/tmp/only").expect("it can be written");
        }
        assert_eq!(cache.cached_only_lost(), Vec::<String>::new());
        cache.stop_worker(0);
        assert_eq!(cache.cached_only_lost().is_empty(), persist || tier_survives);
        cache.start_worker(0);
        assert_eq!(cache.read("/tmp/only").is_ok(), persist || tier_survives);
    }
}

#[test]
fn a_corrupted_copy_is_found() {
    let (cache, _) = cache(small());
    load(&cache, "/data", 1);
    assert!(cache.corrupt("/data/b"));
    assert_eq!(cache.verify(), ["the copy of /data/b on worker-1 does not fit its checksum"]);
}

#[test]
fn nobody_answers_an_unreachable_cache_and_nothing_is_applied() {
    let (cache, _) = cache(small());
    cache.set_reachable(false);
    assert!(cache.probe().is_err());
    assert!(cache.inspect(&Query::Health).is_err());
    assert!(matches!(apply(&cache, &LOAD, "/data"), Outcome::Refused { retryable: true, .. }));
    cache.set_reachable(true);
    assert_eq!((changes(&cache), job(&cache, "/data").state), (vec![], JobState::Absent));
}

#[test]
fn tokens_dedupe_where_the_cache_keeps_them() {
    let (cache, _) = cache(Profile { protection: Protection::Token, ..small() });
    let fence = Fence { epoch: 1, attempt: 1 };
    done(apply_with(&cache, &LIST, "/data", "zero", fence));
    cache.advance(100);
    let first = done(apply_with(&cache, &LOAD, "/data", "one", fence));
    cache.advance(100_000);
    assert_eq!(done(apply_with(&cache, &LOAD, "/data", "one", fence)), first);
    assert!(matches!(job(&cache, "/data").state, JobState::Succeeded), "no second job");
    assert_eq!(changes(&cache)[1..], [("submitLoad", true), ("submitLoad", false)]);
    assert_eq!(cache.describe(&LOAD).class, EffectClass::Token);
}

#[test]
fn lower_fences_are_refused_where_the_cache_keeps_them() {
    let (cache, _) = cache(Profile { protection: Protection::Fence, ..small() });
    let fence = |epoch, attempt| Fence { epoch, attempt };
    done(apply_with(&cache, &LIST, "/data", "z", fence(2, 2)));
    cache.advance(100);
    done(apply_with(&cache, &LOAD, "/data", "a", fence(2, 3)));
    let late = apply_with(&cache, &STOP, "/data", "b", fence(2, 2));
    assert!(matches!(&late, Outcome::Refused { reason, .. } if reason == "StaleFence"), "{late:?}");
    done(apply_with(&cache, &STOP, "/other", "b", fence(1, 9)));
    done(apply_with(&cache, &STOP, "/data", "c", fence(2, 3)));
    assert_eq!(changes(&cache)[1..], [("submitLoad", true), ("stopLoad", false), ("stopLoad", true)]);
}

#[test]
fn a_load_of_a_path_that_is_not_known_changes_nothing() {
    let (cache, _) = cache(small());
    done(apply(&cache, &LOAD, "/data"));
    cache.advance(1);
    assert!(matches!(job(&cache, "/data").state, JobState::Failed { missing: true, .. }));
    assert_eq!(changes(&cache), [("submitLoad", false)]);
}
