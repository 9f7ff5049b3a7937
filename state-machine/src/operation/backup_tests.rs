use super::*;
use crate::decision::Decision;
use crate::effect::{Outcome, Receipt, Trouble, TroubleKind};
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
    let view = BackupsView { place: Ok("s3://b/backups".into()), progress, made, surplus: Vec::new() };
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
    let nowhere =
        BackupsView { place: Err("no".into()), progress: Progress::Unknown, made: None, surplus: Vec::new() };
    let seen = Observation { answer: Some(Ok(Answer::Backups(nowhere))), ..calm() };
    assert_eq!(says(&spec, &op, &seen), "fails NoPlaceForBackup");
}

#[test]
fn a_call_whose_reply_was_lost_is_looked_for_in_the_folder_of_its_token() {
    let spec = backup(None);
    let op = intending(backing_up(&spec, begin()), Effect::Backup { path: 0, lasting: false });
    let intent = op.intent.clone();
    let folder = intent.as_ref().map(|i| backups::folder(false, &i.token));
    let State::Backup(Step::Arm(at)) = &op.state else { panic!("{op:?}") };
    let path = || "/backups".to_owned();
    assert_eq!(
        at.query(&spec, intent.as_ref()),
        Some(Query::Backups { path: path(), folder, id: None, keep: None })
    );
    let expired = |made| Observation { intent: IntentView::Expired, ..view(Progress::Unknown, made) };
    assert_eq!(says(&spec, &op, &expired(whole())), "Requested");
    assert_eq!(says(&spec, &op, &expired(None)), "Intended + backup");
    let told = Outcome::Done(Receipt { job: Some("7".into()), ..Receipt::default() });
    let told = Observation { outcome: Some(told), intent: IntentView::Expired, ..calm() };
    assert_eq!(says(&spec, &op, &told), "Requested");
}

#[test]
fn it_is_waited_for_and_read_back_and_the_oldest_go() {
    for (keep, then) in [(None, "Written"), (Some(2), "Written")] {
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
fn older_ones_go_by_their_names_until_none_is_too_many() {
    let spec = backup(Some(2));
    let op = backing_up(&spec, Backup::Pruning { made: whole().unwrap() });
    let surplus = |folders: &[&str]| {
        let surplus = folders.iter().map(|f| (*f).to_owned()).collect();
        let view =
            BackupsView { place: Ok(String::new()), progress: Progress::Unknown, made: whole(), surplus };
        Observation { answer: Some(Ok(Answer::Backups(view))), ..calm() }
    };
    let State::Backup(Step::Arm(at)) = &op.state else { panic!("{op:?}") };
    let Some(Query::Backups { folder, keep, .. }) = at.query(&spec, None) else { panic!() };
    assert_eq!((folder.as_deref(), keep), (Some("ratchet-x"), Some(2)));
    assert_eq!(says(&spec, &op, &surplus(&[])), "Pruned");
    assert_eq!(says(&spec, &op, &surplus(&["a", "b"])), "Intended + pruneBackups");
    let effect = Effect::PruneBackups { path: 0, folders: vec!["a".into(), "b".into()] };
    let asked = intending(op, effect);
    let told = |outcome, folders: &[&str]| Observation {
        outcome: Some(outcome),
        intent: IntentView::Expired,
        ..surplus(folders)
    };
    let done = || Outcome::Done(Receipt::default());
    assert_eq!(says(&spec, &asked, &told(done(), &[])), "Pruned");
    assert_eq!(says(&spec, &asked, &told(done(), &["c"])), "Intended + pruneBackups");
    // What does not go is no reason to ask without end.
    assert_eq!(says(&spec, &asked, &told(done(), &["a", "b"])), "again WorkLost");
    let no = |retryable| Outcome::Refused { reason: "No".into(), message: "no".into(), retryable };
    assert_eq!(says(&spec, &asked, &told(no(true), &["a", "b"])), "again EngineRefused");
    assert_eq!(says(&spec, &asked, &told(no(false), &["a", "b"])), "fails No");
}

#[test]
fn somebody_elses_backup_is_waited_for_and_costs_no_attempt() {
    let spec = backup(None);
    let op = intending(backing_up(&spec, begin()), Effect::Backup { path: 0, lasting: false });
    let busy = Outcome::Refused { reason: IN_PROGRESS.into(), message: "it is".into(), retryable: true };
    let seen = |since_entry_ms| Observation {
        outcome: Some(busy.clone()),
        intent: IntentView::Expired,
        since_entry_ms,
        ..calm()
    };
    assert_eq!(says(&spec, &op, &seen(1_000)), IN_PROGRESS);
    assert_eq!(says(&spec, &op, &seen(AGAIN_MS)), "Intended + backup");
    // Nobody asks again before the folder of the first call was looked into.
    let down = Trouble { kind: TroubleKind::NotReady, message: "none leads".into() };
    let blind = Observation { answer: Some(Err(down)), intent: IntentView::Expired, ..calm() };
    assert_eq!(says(&spec, &op, &blind), "EngineNotReady");
}

#[test]
fn what_the_engine_cannot_stop_is_waited_for() {
    let at = writing();
    assert!(!at.quiet() && begin().quiet() && at.halt(None).is_none());
    let seen = |progress| {
        Answer::Backups(BackupsView { place: Ok(String::new()), progress, made: None, surplus: Vec::new() })
    };
    let goes_on = |progress| at.unstoppable(Some(&seen(progress))).map(|p| p.done);
    assert_eq!(goes_on(Progress::Running { entries: 2 }), Some(2));
    assert_eq!((goes_on(Progress::Unknown), at.unstoppable(None)), (None, None));
    assert!(at.halt_query(&backup(None)).is_some() && begin().halt_query(&backup(None)).is_none());
}
