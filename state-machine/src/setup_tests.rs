//! Does the set-up move by its table, and does every stage say what it waits for?

#![allow(clippy::panic, reason = "a test that cannot go on fails")]

use super::*;

fn part(wanted: usize, ready: usize) -> Part {
    Part { wanted, ready, trouble: None }
}

fn good() -> Facts {
    Facts {
        objects: None,
        masters: part(1, 1),
        workers: part(3, 3),
        jobs: part(2, 2),
        proxies: Part::default(),
        engine: Engine::Serves { workers_live: 3 },
        root: Root::AsWanted,
        unclaimed: None,
    }
}

#[test]
fn the_table_and_the_match_are_one_law() {
    for stage in Stage::ALL {
        for event in [Event::StageDone, Event::Restarted] {
            let table =
                EDGES.iter().find(|(from, on, _)| (*from, *on) == (stage, event)).map(|(_, _, to)| *to);
            assert_eq!(stage.step(event).ok(), table, "{stage} {event:?}");
        }
        assert_eq!(Stage::named(stage.name()), Some(stage));
    }
    assert_eq!(Stage::named("Bogus"), None);
}

#[test]
fn a_cache_that_is_well_gets_ready_and_rests() {
    let (mut stage, mut path) = (Stage::SetupMaster, Vec::new());
    while let Decision::Move(event) = decide(stage, &good()) {
        path.push(stage);
        stage = stage.step(event).unwrap_or_else(|e| panic!("{e}"));
    }
    assert_eq!(path, Stage::ALL[..6]);
    assert_eq!((stage, decide(stage, &good()), trouble(&good())), (Stage::Ready, Decision::Rest, None));
}

#[test]
fn each_stage_waits_for_its_own_and_says_so() {
    let unready = |facts: &Facts, stage: Stage| match decide(stage, facts) {
        Decision::Wait { reason, message } => format!("{reason}: {message}"),
        other @ (Decision::Move(_) | Decision::Rest) => panic!("{stage}: {other:?}"),
    };
    let broken = Facts { objects: Some(("NameTaken".into(), "a name is taken".into())), ..good() };
    for stage in &Stage::ALL[..6] {
        assert_eq!(unready(&broken, *stage), "NameTaken: a name is taken");
    }
    let trouble_at = Some("pod c-master-0: ImagePullBackOff".to_owned());
    let masters = Facts { masters: Part { wanted: 3, ready: 1, trouble: trouble_at }, ..good() };
    assert_eq!(
        unready(&masters, Stage::MasterReady),
        "PodsNotReady: 1 of 3 masters are ready: pod c-master-0: ImagePullBackOff"
    );
    let engine = Engine::Silent { reason: "EngineUnavailable".into(), message: "nobody leads".into() };
    assert_eq!(unready(&Facts { engine, ..good() }, Stage::MasterReady), "EngineUnavailable: nobody leads");
    let root = Root::Other { found: "/a".into(), wanted: "/b".into() };
    let differs = unready(&Facts { root, ..good() }, Stage::CheckUnderStorage);
    assert!(
        differs.starts_with("UnderStorageDiffers: the cache's root is /a and the spec says /b"),
        "{differs}"
    );
    let unreadable = Facts { root: Root::Unreadable("permission denied".into()), ..good() };
    assert_eq!(decide(Stage::CheckUnderStorage, &unreadable), DONE);
    assert_eq!(unready(&unreadable, Stage::PrepareUnderStorage), "UnderStorageUnreadable: permission denied");
    let unclaimed = Facts { unclaimed: Some(("AlreadyClaimed".into(), "by another".into())), ..good() };
    assert_eq!(unready(&unclaimed, Stage::PrepareUnderStorage), "AlreadyClaimed: by another");
    let engine = Engine::Serves { workers_live: 2 };
    assert_eq!(
        unready(&Facts { engine, ..good() }, Stage::WorkersReady),
        "WorkersNotRegistered: 2 of 3 workers have registered with the master"
    );
    let jobs = Facts { jobs: part(2, 0), ..good() };
    assert_eq!(
        unready(&jobs, Stage::WorkersReady),
        "PodsNotReady: 0 of 2 members of the job service are ready"
    );
}

#[test]
fn an_edit_before_it_was_ready_begins_anew_and_after_it_does_not() {
    for stage in &Stage::ALL[..6] {
        assert_eq!(stage.step(Event::Restarted), Ok(Stage::SetupMaster));
    }
    let illegal = IllegalMove { stage: Stage::Ready, event: Event::Restarted };
    assert_eq!(Stage::Ready.step(Event::Restarted), Err(illegal));
}

#[test]
fn a_cache_that_loses_members_says_which() {
    let lost = Facts { workers: part(3, 2), engine: Engine::Serves { workers_live: 2 }, ..good() };
    assert_eq!(trouble(&lost), Some(("PodsNotReady".into(), "2 of 3 workers are ready".into())));
    assert_eq!(decide(Stage::Ready, &lost), Decision::Rest);
}
