use super::*;
use crate::decision::Decision;
use crate::effect::{Outcome, Receipt};
use crate::lifecycle::step::Shared;
use crate::lifecycle::step::Step;
use crate::lifecycle::{Folded, decide};
use crate::observation::{IntentView, Observation};
use crate::operation::{Event, State};
use crate::testing::{backing_up, backup, calm, intending};

fn says(spec: &OperationSpec, op: &Folded, seen: &Observation) -> String {
    match decide(spec, op, seen) {
        Decision::Await(w) => w.reason().into(),
        Decision::Record { event: Event::Shared(Shared::Aborted { why }), .. } => {
            format!("fails {}", why.reason)
        }
        Decision::Record { event: Event::Shared(Shared::AttemptFailed { why }), .. } => {
            format!("again {}", why.reason)
        }
        Decision::Record { event, intend, .. } => {
            format!("{}{}", event.name(), intend.map(|e| format!(" + {}", e.name())).unwrap_or_default())
        }
        other @ (Decision::Perform(_)
        | Decision::TakeHold
        | Decision::Release
        | Decision::Seal
        | Decision::Rest) => panic!("{other:?}"),
    }
}

fn view(progress: Progress, made: Option<Made>) -> Observation {
    let view = BackupsView { place: Ok("s3://b/backups".into()), progress, made };
    Observation { answer: Some(Ok(Answer::Backups(view))), ..calm() }
}

fn whole() -> Option<Made> {
    Some(Made { folder: "ratchet-x".into(), file: "b.gz".into(), bytes: 9, fingerprint: "f".into() })
}

fn writing() -> Backup {
    Backup::Writing { started: true, folder: Some("ratchet-x".into()), id: Some("7".into()) }
}

#[test]
fn a_place_is_found_before_anything_is_written() {
    let spec = backup(None);
    let op = backing_up(&spec, Backup::first());
    assert_eq!(says(&spec, &op, &view(Progress::Unknown, None)), "Checked + backup");
    let nowhere = BackupsView { place: Err("no".into()), progress: Progress::Unknown, made: None };
    let seen = Observation { answer: Some(Ok(Answer::Backups(nowhere))), ..calm() };
    assert_eq!(says(&spec, &op, &seen), "fails NoPlaceForBackup");
}

#[test]
fn a_call_whose_reply_was_lost_is_looked_for_in_the_folder_of_its_token() {
    let spec = backup(None);
    let op = intending(backing_up(&spec, begin()), Effect::Backup { path: 0 });
    let intent = op.intent.clone();
    let folder = intent.as_ref().map(|i| backups::folder(&i.token));
    let State::Backup(Step::Arm(at)) = &op.state else { panic!("{op:?}") };
    let path = || "/backups".to_owned();
    assert_eq!(at.query(&spec, intent.as_ref()), Some(Query::Backups { path: path(), folder, id: None }));
    let expired = |made| Observation { intent: IntentView::Expired, ..view(Progress::Unknown, made) };
    assert_eq!(says(&spec, &op, &expired(whole())), "Requested");
    assert_eq!(says(&spec, &op, &expired(None)), "Intended + backup");
    let told = Outcome::Done(Receipt { job: Some("7".into()), ..Receipt::default() });
    let told = Observation { outcome: Some(told), intent: IntentView::Expired, ..calm() };
    assert_eq!(says(&spec, &op, &told), "Requested");
}

#[test]
fn it_is_waited_for_and_read_back_and_the_oldest_go() {
    for (keep, then) in [(None, "Written"), (Some(2), "Written + pruneBackups")] {
        let spec = backup(keep);
        let op = backing_up(&spec, writing());
        let late = |seen| Observation { since_entry_ms: 60_000, ..seen };
        assert_eq!(says(&spec, &op, &view(Progress::Running { entries: 3 }, None)), "Working");
        assert_eq!(
            says(&spec, &op, &view(Progress::Failed { message: "x".into() }, None)),
            "again BackupFailed"
        );
        assert_eq!(says(&spec, &op, &view(Progress::Unknown, None)), "again WorkLost");
        assert_eq!(says(&spec, &op, &late(view(Progress::Unknown, None))), "Intended + backup");
        assert_eq!(says(&spec, &op, &view(Progress::Completed, whole())), then);
        assert_eq!(says(&spec, &op, &view(Progress::Unknown, whole())), then);
        let op = backing_up(&spec, Backup::Verifying { made: whole().unwrap() });
        assert_eq!(says(&spec, &op, &view(Progress::Unknown, whole())), "Proven");
        assert_eq!(says(&spec, &op, &view(Progress::Unknown, None)), "again BackupLost");
        let empty = whole().map(|made| Made { bytes: 0, ..made });
        assert_eq!(says(&spec, &op, &view(Progress::Unknown, empty)), "again BackupEmpty");
    }
    let made = whole().unwrap();
    assert_eq!(Backup::Verifying { made: made.clone() }.retried(), begin());
    assert_eq!(Backup::Pruning { made: made.clone() }.retried(), Backup::Pruning { made });
}

#[test]
fn what_the_engine_cannot_stop_is_waited_for() {
    let at = writing();
    assert!(!at.quiet() && begin().quiet() && at.halt(None).is_none());
    let seen = |progress| Answer::Backups(BackupsView { place: Ok(String::new()), progress, made: None });
    let unrest = |progress| {
        let answer = seen(progress);
        at.unrest(&Unrest { answer: Some(&answer), next: None, last: None, watched_ms: 0 })
    };
    assert!(unrest(Progress::Running { entries: 2 }).is_some_and(|why| why.contains("2 entries")));
    assert_eq!(unrest(Progress::Unknown), None);
    assert!(at.halt_query(&backup(None)).is_some() && begin().halt_query(&backup(None)).is_none());
}
