//! Do the journals that released versions wrote still replay, and does today's code still write them?
//!
//! Each file holds what was asked (uid and spec), one line for each entry, and the head of the chain. A file is
//! never changed once its version is released; a new version gets a new file. To write the files of a version that
//! is not released yet: `WRITE_GOLDEN=1 cargo test -p ratchet-state-machine --test golden`.

use chrono::{DateTime, Duration, Utc};
use ratchet_state_machine::backups::Made;
use ratchet_state_machine::effect::{Effect, Intent};
use ratchet_state_machine::ids::{Digest, Fence, Nonce, Seq, Token, WriterId};
use ratchet_state_machine::journal::{self, Entry, Record, Signature, replay};
use ratchet_state_machine::lifecycle::step::Shared;
use ratchet_state_machine::lifecycle::{Change, Failure};
use ratchet_state_machine::machine::Phase;
use ratchet_state_machine::operation::backup::BackupEvent;
use ratchet_state_machine::operation::mount::{Due, MountEvent};
use ratchet_state_machine::operation::sync::SyncEvent;
use ratchet_state_machine::operation::{Event, free::FreeEvent, load::LoadEvent, unmount::UnmountEvent};
use ratchet_state_machine::spec::OperationSpec;
use serde::{Deserialize, Serialize};
use std::error::Error;
use std::path::PathBuf;

#[path = "golden/members.rs"]
mod members;

type Any<T> = Result<T, Box<dyn Error>>;

/// What the first line of a file says.
#[derive(Serialize, Deserialize)]
struct Asked {
    uid: String,
    spec: OperationSpec,
}

/// What the last line of a file says.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct End {
    digest: Digest,
    phase: Phase,
}

const LOAD: &str = r#"{"uid": "0b6f3c1e-0000-4000-8000-000000000001", "spec": {
    "target": "cache", "runAfter": [{"name": "first", "ended": "Finished"}], "approval": "Manual",
    "operation": {"load": {"paths": ["/data/größe", "/data/b"], "minCachedPercent": 90}}}}"#;

const FREE: &str = r#"{"uid": "0b6f3c1e-0000-4000-8000-000000000002", "spec": {
    "target": "cache", "operation": {"free": {"paths": ["/data"]}}}}"#;

const MOUNT: &str = r#"{"uid": "0b6f3c1e-0000-4000-8000-000000000003", "spec": {
    "target": "cache", "operation": {"mount": {"path": "/a", "uri": "s3://bucket/größe", "shared": true,
    "replace": true, "options": [{"name": "region", "value": "x"},
    {"name": "s3a.secretKey", "valueFrom": {"secretKeyRef": {"name": "store", "key": "secret"}}}]}}}}"#;

const UNMOUNT: &str = r#"{"uid": "0b6f3c1e-0000-4000-8000-000000000004", "spec": {
    "target": "cache", "operation": {"unmount": {"path": "/a", "recursive": true, "whenInUse": "Wait"}}}}"#;

const SYNC: &str = r#"{"uid": "0b6f3c1e-0000-4000-8000-000000000005", "spec": {
    "target": "cache", "operation": {"sync": {"paths": ["/a", "/b"]}}}}"#;

const BACKUP: &str = r#"{"uid": "0b6f3c1e-0000-4000-8000-000000000011", "spec": {
    "target": "cache", "operation": {"backup": {"path": "/backups/größe", "keep": 3}}}}"#;

/// Writes one entry after another, by a fixed writer at fixed times.
struct Writer {
    asked: Asked,
    record: Option<Record>,
    entries: Vec<Entry>,
}

impl Writer {
    fn new(asked: &str) -> Any<Self> {
        Ok(Self { asked: serde_json::from_str(asked)?, record: None, entries: Vec::new() })
    }

    fn write(&mut self, event: Event, effect: Option<Effect>, sealed_through: Option<i64>) -> Any<()> {
        let n = self.entries.len() as i64;
        let start: DateTime<Utc> = "2026-01-31T23:59:50.250Z".parse()?;
        let by = WriterId(if n < 5 { "ratchet-0_1".into() } else { "ratchet-1_7".to_owned() });
        let because = format!("reason {n}");
        let sign = Signature { by: &by, at: start + Duration::milliseconds(1_501 * n), because: &because };
        let intent = effect.zip(self.record.as_ref()).map(|(effect, r)| Intent {
            token: Token::derive(&self.asked.uid, r.folded.seq.next(), r.folded.round),
            effect,
            writer: by.clone(),
            nonce: Nonce(format!("nonce-{n}")),
            fence: Fence { attempt: r.folded.fence.attempt + 1, ..r.folded.fence },
            send_for_ms: 10_000,
        });
        let change = Change { event, intent, sealed_through: sealed_through.map(Seq) };
        let record = match &self.record {
            None => Record::birth(&self.asked.uid, &self.asked.spec, &change, &sign)?,
            Some(record) => record.append(&change, &sign)?,
        };
        self.entries.extend(record.last().cloned());
        self.record = Some(record);
        Ok(())
    }

    fn shared(&mut self, event: Shared) -> Any<()> {
        self.write(Event::Shared(event), None, None)
    }

    fn load(&mut self, event: LoadEvent, effect: Option<Effect>) -> Any<()> {
        self.write(Event::Load(event), effect, None)
    }

    fn intended(&mut self, effect: Effect) -> Any<()> {
        self.write(Event::Shared(Shared::Intended {}), Some(effect), None)
    }

    fn end(&self) -> Any<End> {
        let folded = &self.record.as_ref().ok_or("nothing was written")?.folded;
        Ok(End { digest: folded.digest.clone(), phase: folded.state.phase() })
    }
}

/// A load that waits, is approved, taken over, paused, resumed, found wanting twice, and succeeds.
fn a_load() -> Any<Writer> {
    use Effect::{LoadMetadata, StopLoad, SubmitLoad};
    let mut w = Writer::new(LOAD)?;
    let plan = journal::plan_hash(&w.asked.spec)?;
    let done = |attributed, more| LoadEvent::DataLoaded { bytes: 70, failed: 0, attributed, more };
    let joined = LoadEvent::LoadSubmitted { attached: true, job: None };
    w.shared(Shared::Created {
        machine: ratchet_state_machine::MACHINE_VERSION,
        after: true,
        approval: true,
        plan: plan.clone(),
    })?;
    w.shared(Shared::PredecessorsDone { approval: true })?;
    w.shared(Shared::Approved { by: "ann@example.org".into(), plan })?;
    w.shared(Shared::HoldGranted { epoch: 41 })?;
    w.load(LoadEvent::Checked { workers: 3, capacity: 1 << 40 }, Some(LoadMetadata { path: 0 }))?;
    w.intended(LoadMetadata { path: 0 })?;
    w.load(LoadEvent::MetadataRequested { task: Some(1_234_567) }, None)?;
    w.load(LoadEvent::MetadataLoaded { files: 3, bytes: 70, more: true }, Some(LoadMetadata { path: 1 }))?;
    w.load(LoadEvent::MetadataRequested { task: None }, None)?;
    w.load(LoadEvent::MetadataLoaded { files: 1, bytes: 30, more: false }, Some(SubmitLoad { path: 0 }))?;
    w.load(LoadEvent::LoadSubmitted { attached: false, job: Some("job-9".into()) }, None)?;
    w.shared(Shared::Suspended {})?;
    w.intended(StopLoad { path: 0 })?;
    w.shared(Shared::Halted {})?;
    w.shared(Shared::Resumed {})?;
    w.intended(SubmitLoad { path: 0 })?;
    w.write(Event::Load(joined.clone()), None, Some(16))?;
    w.load(done(false, true), None)?;
    w.intended(SubmitLoad { path: 1 })?;
    w.load(joined.clone(), None)?;
    w.load(done(true, false), None)?;
    w.load(LoadEvent::NotOurs { cached_percent: 42 }, None)?;
    for attempt in 0..2 {
        for path in 0..2 {
            w.intended(SubmitLoad { path })?;
            w.load(joined.clone(), None)?;
            w.load(done(true, path == 0), None)?;
        }
        if attempt == 0 {
            w.shared(Shared::AttemptFailed { why: Failure::new("NotCached", "89 % \"cached\" \\ naïve") })?;
        }
    }
    w.load(LoadEvent::Verified { files: 4, bytes: 100, cached_bytes: 95 }, None)?;
    let last = w.entries.len() as i64;
    w.write(Event::Shared(Shared::Sealed { segment: true }), None, Some(last))?;
    Ok(w)
}

/// A free that is cancelled too late, fails, is stuck, retried, skipped, and sealed without a segment.
fn a_free() -> Any<Writer> {
    let mut w = Writer::new(FREE)?;
    let plan = journal::plan_hash(&w.asked.spec)?;
    let why = Failure::new("DeadlineExceeded", "not finished 5 s after its creation");
    w.shared(Shared::Created {
        machine: ratchet_state_machine::MACHINE_VERSION,
        after: false,
        approval: false,
        plan,
    })?;
    w.shared(Shared::HoldGranted { epoch: 42 })?;
    w.write(Event::Free(FreeEvent::Measured { cached_bytes: 9 }), Some(Effect::Free { path: 0 }), None)?;
    w.shared(Shared::CancelTooLate {})?;
    w.write(Event::Free(FreeEvent::Freed { more: false }), None, None)?;
    w.shared(Shared::AttemptFailed { why: Failure::new("StillCached", "9 bytes are still cached") })?;
    w.intended(Effect::Free { path: 0 })?;
    w.shared(Shared::Aborted { why: why.clone() })?;
    w.shared(Shared::GotStuck { why: why.clone() })?;
    w.shared(Shared::RetryRequested { count: 1 })?;
    w.shared(Shared::GotStuck { why })?;
    w.shared(Shared::StepSkipped { step: "aborting".into(), by: "ann@example.org".into() })?;
    w.write(Event::Shared(Shared::Sealed { segment: false }), None, Some(12))?;
    Ok(w)
}

/// A mount that makes room, is mounted, found to be otherwise, updated and found right.
fn a_mount() -> Any<Writer> {
    let mut w = born(MOUNT)?;
    let accepted = || Event::Mount(MountEvent::Accepted {});
    let compared = |due| Event::Mount(MountEvent::Compared { due });
    w.write(compared(Due::Unmount), Some(Effect::Unmount { path: 0 }), None)?;
    w.write(accepted(), None, None)?;
    w.write(compared(Due::Mount), Some(Effect::Mount { path: 0 }), None)?;
    w.intended(Effect::Mount { path: 0 })?;
    w.write(accepted(), None, None)?;
    w.shared(Shared::AttemptFailed { why: Failure::new("NotAsWanted", "it differs in readOnly") })?;
    w.write(compared(Due::Update), Some(Effect::UpdateMount { path: 0 }), None)?;
    w.write(accepted(), None, None)?;
    w.shared(Shared::AttemptFailed { why: Failure::new("NotAsWanted", "it differs in shared") })?;
    w.write(compared(Due::Nothing), None, None)?;
    w.write(Event::Mount(MountEvent::AsWanted {}), None, None)?;
    let last = w.entries.len() as i64;
    w.write(Event::Shared(Shared::Sealed { segment: true }), None, Some(last))?;
    Ok(w)
}

/// An unmount of two mounts, of which one did not go at first.
fn an_unmount() -> Any<Writer> {
    let mut w = born(UNMOUNT)?;
    let found = |mounts| Event::Unmount(UnmountEvent::Found { mounts });
    let unmount = || Some(Effect::Unmount { path: 0 });
    w.write(found(2), unmount(), None)?;
    w.write(Event::Unmount(UnmountEvent::Unmounted {}), None, None)?;
    w.shared(Shared::AttemptFailed { why: Failure::new("StillMounted", "the table still shows /a/b") })?;
    for left in [2, 1] {
        w.write(found(left), unmount(), None)?;
        w.write(Event::Unmount(UnmountEvent::Unmounted {}), None, None)?;
    }
    w.write(Event::Unmount(UnmountEvent::Gone { removed: 3 }), None, None)?;
    let last = w.entries.len() as i64;
    w.write(Event::Shared(Shared::Sealed { segment: true }), None, Some(last))?;
    Ok(w)
}

/// A sync of two paths, whose engine forgot some files at first.
fn a_sync() -> Any<Writer> {
    let mut w = born(SYNC)?;
    for attempt in 0..2 {
        w.intended(Effect::LoadMetadata { path: 0 })?;
        for path in 0..2 {
            let more = path == 0;
            let next = more.then_some(Effect::LoadMetadata { path: 1 });
            w.write(Event::Sync(SyncEvent::Requested { task: Some(9).filter(|_| more) }), None, None)?;
            w.write(Event::Sync(SyncEvent::Synced { files: 2, bytes: 30, more }), next, None)?;
        }
        if attempt == 0 {
            w.shared(Shared::AttemptFailed { why: Failure::new("MetadataLost", "4 files were found") })?;
        }
    }
    w.write(Event::Sync(SyncEvent::Known { files: 4, bytes: 60 }), None, None)?;
    let last = w.entries.len() as i64;
    w.write(Event::Shared(Shared::Sealed { segment: true }), None, Some(last))?;
    Ok(w)
}

/// A backup that was lost once before it was read back, and whose first reply was lost.
fn a_backup() -> Any<Writer> {
    let mut w = born(BACKUP)?;
    let prune = Effect::PruneBackups { path: 0, folders: vec!["e/ratchet-old".into()] };
    w.write(Event::Backup(BackupEvent::Checked {}), Some(Effect::Backup { path: 0, lasting: false }), None)?;
    for id in [None, Some("7a".to_owned())] {
        let again = id.is_some();
        if again {
            w.shared(Shared::AttemptFailed { why: Failure::new("BackupLost", "it is not there any more") })?;
            w.intended(Effect::Backup { path: 0, lasting: false })?;
        }
        let folder = format!("ratchet-{}", if again { "b" } else { "a" });
        w.write(Event::Backup(BackupEvent::Requested { folder: folder.clone(), id }), None, None)?;
        let made = Made { folder, file: "b.gz".into(), bytes: 9, fingerprint: "(len:9)".into() };
        let written = BackupEvent::Written { made, prune: true };
        w.write(Event::Backup(written), None, None)?;
        w.intended(prune.clone())?;
        w.write(Event::Backup(BackupEvent::Pruned {}), None, None)?;
    }
    w.write(Event::Backup(BackupEvent::Proven { bytes: 9 }), None, None)?;
    let last = w.entries.len() as i64;
    w.write(Event::Shared(Shared::Sealed { segment: true }), None, Some(last))?;
    Ok(w)
}

fn born(spec: &str) -> Any<Writer> {
    let mut w = Writer::new(spec)?;
    let plan = journal::plan_hash(&w.asked.spec)?;
    let machine = ratchet_state_machine::MACHINE_VERSION;
    w.shared(Shared::Created { machine, after: false, approval: false, plan })?;
    w.shared(Shared::HoldGranted { epoch: 3 })?;
    Ok(w)
}

fn golden(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name)
}

/// Compares today's writing with the file, and replays the file.
fn holds(name: &str, w: &Writer) -> Any<()> {
    let path = golden(name);
    if std::env::var_os("WRITE_GOLDEN").is_some() {
        let mut text = format!("{}\n", serde_json::to_string(&w.asked)?);
        for entry in &w.entries {
            text.push_str(&format!("{}\n", serde_json::to_string(entry)?));
        }
        std::fs::write(&path, format!("{text}{}\n", serde_json::to_string(&w.end()?)?))?;
    }
    let text = std::fs::read_to_string(&path)?;
    let lines: Vec<&str> = text.lines().collect();
    let [first, entries @ .., last] = lines.as_slice() else { return Err("the file is too short".into()) };
    let asked: Asked = serde_json::from_str(first)?;
    let entries: Vec<Entry> = entries.iter().map(|l| serde_json::from_str(l)).collect::<Result<_, _>>()?;
    let end: End = serde_json::from_str(last)?;
    let replayed = replay(&asked.uid, &asked.spec, &entries)?;
    let after = &replayed.last().ok_or("nothing was replayed")?.after;
    assert_eq!(End { digest: after.digest.clone(), phase: after.state.phase() }, end, "{name}: another end");
    assert!(after.settled(), "{name}: the history is not complete");
    for (today, then) in w.entries.iter().zip(&entries) {
        assert_eq!(today, then, "{name}: today's code writes entry {} otherwise", then.seq);
    }
    assert_eq!(w.entries.len(), entries.len());
    Ok(())
}

#[test]
fn row_50_a_load_of_version_1_replays_and_is_still_written_like_that() -> Any<()> {
    holds("load-v1.jsonl", &a_load()?)
}

#[test]
fn a_free_of_version_1_replays_and_is_still_written_like_that() -> Any<()> {
    holds("free-v1.jsonl", &a_free()?)
}

#[test]
fn a_mount_and_an_unmount_of_version_1_replay_and_are_still_written_like_that() -> Any<()> {
    holds("mount-v1.jsonl", &a_mount()?)?;
    holds("unmount-v1.jsonl", &an_unmount()?)
}

#[test]
fn a_sync_of_version_1_replays_and_is_still_written_like_that() -> Any<()> {
    holds("sync-v1.jsonl", &a_sync()?)
}

#[test]
fn a_backup_of_version_1_replays_and_is_still_written_like_that() -> Any<()> {
    holds("backup-v1.jsonl", &a_backup()?)
}

#[test]
fn the_two_histories_together_show_every_event_but_a_cancel() -> Any<()> {
    let (load, free) = (a_load()?, a_free()?);
    let mut names: Vec<&str> = load.entries.iter().chain(&free.entries).map(|e| e.event.as_str()).collect();
    names.sort_unstable();
    names.dedup();
    let missing: Vec<&&str> =
        ratchet_state_machine::legality::SHARED_EVENTS.iter().filter(|n| !names.contains(*n)).collect();
    assert_eq!(missing, [&"CancelRequested"]);
    assert!(["Checked", "NotOurs", "Verified", "Measured", "Freed"].iter().all(|n| names.contains(n)));
    Ok(())
}
