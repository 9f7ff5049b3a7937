//! What the cache does when nothing goes wrong.

use super::*;
use ratchet_state_machine::effect::JobState;
use std::collections::BTreeMap;

#[test]
fn a_load_caches_the_bytes_of_the_under_storage() {
    let (cache, _) = cache(small());
    load(&cache, "/data", 5);
    assert_eq!(job(&cache, "/data").state, JobState::Succeeded);
    let view = TreeView { files: 3, bytes: 300, cached_bytes: 300, missing: None };
    assert_eq!(tree(&cache, "/data"), view);
    assert_eq!(names(&cache), ["/data/a", "/data/b", "/data/c/d"]);
    assert_eq!(cache.cached_files()["/data/a"].0, 100);
    assert_eq!(cache.verify(), Vec::<String>::new());
    assert_eq!(changes(&cache), [("loadMetadata", true), ("submitLoad", true)]);
}

#[test]
fn a_load_of_files_that_the_master_does_not_know_caches_nothing_and_says_succeeded() {
    let (cache, _) = cache(small());
    // Looked at, so the directory is known; what is in it is not.
    assert_eq!(tree(&cache, "/data"), TreeView::default());
    done(apply(&cache, &LOAD, "/data"));
    cache.advance(1);
    let view = job(&cache, "/data");
    assert_eq!((view.state, view.files), (JobState::Succeeded, 0));
    assert_eq!(names(&cache), Vec::<String>::new());
}

#[test]
fn a_load_of_a_path_that_the_master_has_never_seen_fails() {
    let (cache, _) = cache(small());
    done(apply(&cache, &LOAD, "/data"));
    cache.advance(1);
    assert!(matches!(job(&cache, "/data").state, JobState::Failed { missing: true, .. }));
}

#[test]
fn a_submit_joins_the_job_that_runs_and_resumes_the_one_that_was_stopped() {
    let (cache, _) = cache(Profile { bytes_per_second: 100, ..small() });
    load(&cache, "/data", 0);
    cache.advance(1_500);
    let view = job(&cache, "/data");
    assert_eq!((view.state, view.files, view.loaded_bytes), (JobState::Running, 1, 150));
    assert!(done(apply(&cache, &LOAD, "/data")).attached);
    done(apply(&cache, &STOP, "/data"));
    cache.advance(60_000);
    assert_eq!((job(&cache, "/data").state, names(&cache).len()), (JobState::Stopped, 1));
    done(apply(&cache, &STOP, "/data"));
    assert!(done(apply(&cache, &LOAD, "/data")).attached);
    cache.advance(61_500);
    let view = job(&cache, "/data");
    assert_eq!((view.state, view.total_bytes, view.loaded_bytes), (JobState::Succeeded, Some(300), 300));
    assert_eq!(
        changes(&cache)[1..],
        [
            ("submitLoad", true),
            ("submitLoad", false),
            ("stopLoad", true),
            ("stopLoad", false),
            ("submitLoad", true)
        ]
    );
}

#[test]
fn a_repeated_load_finds_everything_cached() {
    let (cache, _) = cache(small());
    load(&cache, "/data", 1);
    let first = cache.cached_files();
    load(&cache, "/data", 2);
    let view = job(&cache, "/data");
    assert_eq!((view.state, view.files, view.total_bytes), (JobState::Succeeded, 0, Some(0)));
    assert_eq!(cache.cached_files(), first);
    assert_eq!(changes(&cache)[2..], [("loadMetadata", false), ("submitLoad", true)]);
}

#[test]
fn success_is_no_proof_a_full_cache_evicts_the_oldest() {
    let (cache, _) = cache(Profile { workers: 1, worker_capacity: 250, ..small() });
    load(&cache, "/data", 1);
    let view = job(&cache, "/data");
    assert_eq!((view.state, view.loaded_bytes), (JobState::Succeeded, 300));
    assert_eq!(names(&cache), ["/data/b", "/data/c/d"]);
    assert_eq!(tree(&cache, "/data").cached_percent(), 66);
}

#[test]
fn a_file_that_fits_nowhere_fails_and_the_job_succeeds() {
    let (cache, ufs) = cache(Profile { workers: 1, worker_capacity: 250, ..small() });
    ufs.put("/data/huge", vec![1; 251]);
    load(&cache, "/data", 1);
    let view = job(&cache, "/data");
    assert_eq!((view.state, view.files, view.failed_files), (JobState::Succeeded, 4, 1));
}

#[test]
fn a_free_takes_its_time_and_spares_what_was_copied_later() {
    let (cache, _) = cache(Profile { free_lag_ms: 2_000, ..small() });
    load(&cache, "/data", 0);
    done(apply(&cache, &FREE, "/data"));
    done(apply(&cache, &FREE, "/data"));
    cache.advance(1_999);
    assert_eq!(names(&cache).len(), 3);
    assert!(cache.evict("/data/a"));
    assert_eq!(cache.read("/data/a").expect("it is in the under-storage"), [7; 100]);
    cache.advance(2_000);
    assert_eq!(names(&cache), ["/data/a"]);
    assert_eq!(changes(&cache)[2..], [("free", true), ("free", false)]);
}

#[test]
fn a_free_of_anything_pinned_or_only_cached_is_refused_and_frees_nothing() {
    for pinned in [true, false] {
        let (cache, ufs) = cache(small());
        load(&cache, "/data", 0);
        cache.write_cached_only("/data/only", [1; 10]).expect("there is room");
        if pinned {
            cache.persist("/data/only").expect("it can be written");
            assert!(ufs.exists("/data/only"));
            assert!(cache.pin("/data/only"));
        }
        let outcome = apply(&cache, &FREE, "/data");
        assert!(matches!(outcome, Outcome::Refused { retryable: false, .. }), "{outcome:?}");
        cache.advance(1_000_000);
        assert_eq!(names(&cache).len(), 4);
    }
}

#[test]
fn a_free_of_an_unknown_path_is_refused_and_of_one_without_copies_changes_nothing() {
    let (cache, _) = cache(small());
    assert!(matches!(apply(&cache, &FREE, "/nowhere"), Outcome::Refused { retryable: false, .. }));
    tree(&cache, "/data");
    done(apply(&cache, &FREE, "/data"));
    assert_eq!(changes(&cache), [("free", false)]);
}

#[test]
fn a_listing_is_a_task_of_its_path_that_ends_later() {
    let (cache, ufs) = cache(Profile { listing_ms: 500, ..small() });
    let task = done(apply(&cache, &LIST, "/data")).task;
    cache.advance(499);
    assert_eq!(metadata(&cache, "/data", task), MetadataView::Running { done: 0 });
    assert_eq!(metadata(&cache, "/other", task), MetadataView::Forgotten, "the number is another path's");
    ufs.put("/data/late", [1; 1]);
    cache.advance(500);
    let view = TreeView { files: 4, bytes: 301, cached_bytes: 0, missing: None };
    assert_eq!(metadata(&cache, "/data", task), MetadataView::Loaded(view));
    assert_eq!(metadata(&cache, "/data", Some(99)), MetadataView::Forgotten);
}

#[test]
fn a_listing_of_what_does_not_exist_succeeds_and_the_path_is_missing() {
    let (cache, _) = cache(small());
    let task = done(apply(&cache, &LIST, "/nowhere")).task;
    cache.advance(1);
    assert_eq!(metadata(&cache, "/nowhere", task), MetadataView::Missing);
    assert_eq!(tree(&cache, "/nowhere").missing.as_deref(), Some("/nowhere"));
}

#[test]
fn a_cancelled_listing_learns_nothing_and_cancels_for_its_own_path_only() {
    let (cache, _) = cache(Profile { listing_ms: 500, ..small() });
    let task = done(apply(&cache, &LIST, "/data")).task.expect("a task");
    let cancel = Effect::CancelMetadata { path: 0, task };
    done(apply(&cache, &cancel, "/other"));
    done(apply(&cache, &cancel, "/data"));
    cache.advance(1_000);
    assert_eq!(metadata(&cache, "/data", Some(task)), MetadataView::Failed { message: "canceled".into() });
    assert_eq!(changes(&cache)[1..], [("cancelMetadata", false), ("cancelMetadata", true)]);
}

#[test]
fn a_listing_drops_what_has_changed_or_gone() {
    let (cache, ufs) = cache(small());
    load(&cache, "/data", 1);
    ufs.put("/data/a", [1; 3]);
    ufs.remove("/data/b");
    assert_eq!(cache.verify().len(), 2, "until then the copies are stale");
    done(apply(&cache, &LIST, "/data"));
    cache.advance(2);
    assert_eq!(names(&cache), ["/data/c/d"]);
    let view = TreeView { files: 2, bytes: 103, cached_bytes: 100, missing: None };
    assert_eq!(tree(&cache, "/data"), view);
}

#[test]
fn nothing_that_only_the_cache_has_is_evicted() {
    let (cache, _) = cache(Profile { workers: 1, worker_capacity: 110, ..small() });
    cache.write_cached_only("/data/only", [1; 20]).expect("there is room");
    load(&cache, "/data", 1);
    assert!(!cache.evict("/data/only"));
    assert_eq!((names(&cache), job(&cache, "/data").failed_files), (vec!["/data/only".to_owned()], 3));
    assert!(matches!(cache.write_cached_only("/data/more", [1; 91]), Err(ReadError::NoRoom(_))));
}

#[test]
fn a_client_reads_a_copy_or_makes_one() {
    let (cache, ufs) = cache(small());
    assert_eq!(cache.read("/data/a").expect("it is there"), [7; 100]);
    assert_eq!(names(&cache), ["/data/a"]);
    ufs.remove("/data/a");
    assert_eq!(cache.read("/data/a").expect("its copy is there"), [7; 100]);
    assert!(matches!(cache.read("/nowhere"), Err(ReadError::UnderStorage(UfsError::NotFound(_)))));
}

#[test]
fn more_than_a_hundred_jobs_are_refused_for_now() {
    let (cache, _) = cache(small());
    for i in 0..100 {
        done(apply(&cache, &LOAD, &format!("/p{i}")));
    }
    assert!(matches!(apply(&cache, &LOAD, "/data"), Outcome::Refused { retryable: true, .. }));
}

#[test]
fn paths_are_compared_by_components() {
    let (cache, ufs) = cache(small());
    ufs.put("/data-2/z", [1; 1]);
    ufs.put("/data.d", [1; 1]);
    ufs.put("/data0", [1; 1]);
    load(&cache, "/data", 1);
    assert_eq!(names(&cache).len(), 3);
    load(&cache, "/", 2);
    assert_eq!(names(&cache).len(), 7);
    load(&cache, "/data0", 3);
    let all: BTreeMap<_, _> = cache.cached_files();
    assert!(all.contains_key("/data0"));
}
