//! Workers leave as Alluxio lets them.

use super::*;
use ratchet_state_machine::drain::Call as OnWorkers;

fn written(cache: &Cache, path: &str) {
    cache.write_cached_only(path, vec![9; 10]).expect("there is room");
}

#[test]
fn a_decommission_moves_nothing_and_what_is_stranded_can_be_rescued() {
    let (cache, ufs) = cache(small());
    for path in ["/w/a", "/w/b"] {
        written(&cache, path);
    }
    let before: Vec<i64> = (0..2).map(|w| cache.drain(&[w]).unpersisted.count).collect();
    assert_eq!(before, [1, 1], "one on each");
    assert!(cache.on_workers(OnWorkers::Decommission, &[1]));
    assert!(!cache.on_workers(OnWorkers::Decommission, &[1]), "a repeat does nothing");
    let view = cache.drain(&[1]);
    assert_eq!((view.unpersisted.count, view.stranded.count, view.silent), (0, 1, None));
    let lost = view.stranded.example.expect("named");
    assert!(cache.read(&lost).is_err());

    assert!(cache.on_workers(OnWorkers::Rescue, &[1]));
    assert!(cache.drain(&[1]).stranded.none() && cache.read(&lost).is_ok());
    cache.advance(1_000);
    assert!(ufs.read(&lost).is_ok(), "it was asked to be persisted");
    cache.stop_worker(1);
    assert!(cache.cached_only_lost().is_empty());
}

#[test]
fn one_that_may_not_register_stays_away_until_it_is_let_in_or_the_master_forgets() {
    let state = |cache: &Cache| cache.probe().expect("it answers").workers[1].state;
    let (cache, _) = cache(small());
    cache.on_workers(OnWorkers::Decommission, &[1]);
    cache.stop_worker(1);
    cache.start_worker(1);
    assert_eq!(state(&cache), "Disabled");
    assert!(cache.on_workers(OnWorkers::Admit, &[1]));
    assert_eq!(state(&cache), "Decommissioned", "it has to register");
    cache.stop_worker(1);
    cache.start_worker(1);
    assert_eq!(state(&cache), "ACTIVE");
    cache.on_workers(OnWorkers::Decommission, &[1]);
    cache.restart_master();
    assert_eq!(state(&cache), "ACTIVE", "a master forgets");
}

#[test]
fn what_is_asked_for_is_persisted_and_what_a_dead_worker_may_have_is_named() {
    let (cache, _) = cache(Profile { tier_survives: true, ..small() });
    written(&cache, "/w/a");
    let on = usize::from(cache.drain(&[1]).unpersisted.count == 1);
    assert_eq!(cache.drain(&[on]).unasked, 1);
    assert!(cache.on_workers(OnWorkers::Persist, &[on]));
    assert_eq!((cache.drain(&[on]).unasked, cache.drain(&[on]).unpersisted.count), (0, 1));
    cache.advance(1_000);
    assert!(cache.drain(&[on]).unpersisted.none());
    written(&cache, "/w/b");
    let on = usize::from(cache.drain(&[1]).unpersisted.count == 1);
    cache.on_workers(OnWorkers::Decommission, &[on]);
    cache.stop_worker(on);
    assert!(cache.drain(&[on]).silent.is_some(), "nobody can ask it");
}
