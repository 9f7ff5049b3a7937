//! What the tests share: specs, one value of every state and every event (as large as they get), records and
//! observations that are calm until a test says otherwise. The submodules hold a small fake engine and a driver.

pub mod engine;
pub mod model;
pub mod world;

use crate::decision::Decision;
use crate::effect::{Effect, Intent, JobState, JobView};
use crate::ids::{Fence, Nonce, PlanHash, Seq, Token, WriterId};
use crate::journal::{self, Signature};
use crate::lifecycle::step::{During, Shared, Step};
use crate::lifecycle::{Change, Failure, Folded};
use crate::observation::{LockView, Observation, Target};
use crate::operation::arm::Arm;
use crate::operation::backup::Backup;
use crate::operation::decommission::Decommission;
use crate::operation::recommission::Recommission;
use crate::operation::scale_in::ScaleIn;
use crate::operation::scale_out::ScaleOut;
use crate::operation::sync::Sync;
use crate::operation::upgrade::Upgrade;
use crate::operation::{
    ARMS, ArmTable, Event, State, free::Free, load::Load, mount::Mount, unmount::Unmount,
};
use crate::spec::{
    Approval, ArmSpec, Control, FreeSpec, LoadSpec, MAX_PATHS, MountSpec, OperationSpec, RetryPolicy,
    RunAfter, UnmountSpec, WhenInUse,
};
use chrono::{DateTime, Utc};
use proptest::test_runner::{Config as ProptestConfig, RngSeed};

/// Uid of the operation under test.
pub const UID: &str = "5f0c3e9a-0000-4000-8000-0123456789ab";
/// Id of its hold.
pub const EPOCH: i64 = 7;

/// A spec around one arm: no predecessors, no approval, no deadline.
pub fn spec(operation: ArmSpec) -> OperationSpec {
    OperationSpec {
        target: "cache".into(),
        operation,
        run_after: Vec::new(),
        priority: 0,
        deadline_seconds: None,
        stall_deadline_seconds: 600,
        retry_policy: RetryPolicy::default(),
        ttl_after_finished_seconds: None,
        approval: Approval::Automatic,
        control: Control::default(),
    }
}

/// A job of one file, none of which failed.
pub fn job(state: JobState, loaded_bytes: i64) -> JobView {
    JobView { state, total_bytes: None, loaded_bytes, files: 1, failed_files: 0, failed_example: None }
}

/// Paths as a spec has them.
pub fn paths(paths: &[&str]) -> Vec<String> {
    paths.iter().map(|p| (*p).to_owned()).collect()
}

/// Arguments of a load with the default bounds.
pub fn load_args(names: &[&str]) -> LoadSpec {
    LoadSpec {
        paths: paths(names),
        bandwidth_bytes_per_second: None,
        replicas: None,
        verify: false,
        partial_listing: false,
        min_cached_percent: 100,
        max_failed_files: 0,
    }
}

/// A load.
pub fn load(names: &[&str]) -> OperationSpec {
    spec(ArmSpec::Load(load_args(names)))
}

/// A free.
pub fn free(names: &[&str]) -> OperationSpec {
    spec(ArmSpec::Free(FreeSpec { paths: paths(names) }))
}

/// A sync.
pub fn sync(names: &[&str]) -> OperationSpec {
    spec(ArmSpec::Sync(crate::spec::SyncSpec { paths: paths(names) }))
}

/// A scale-out.
pub fn scale_out(workers: i32) -> OperationSpec {
    spec(ArmSpec::ScaleOut(crate::spec::ScaleOutSpec { workers }))
}

/// A scale-in to so many.
pub fn scale_in(workers: i32) -> OperationSpec {
    spec(ArmSpec::ScaleIn(crate::spec::ScaleInSpec::to(workers)))
}

/// A decommission of these.
pub fn decommission(numbers: &[i32]) -> OperationSpec {
    spec(ArmSpec::Decommission(crate::spec::DecommissionSpec {
        numbers: numbers.to_vec(),
        only_if_out_of_use: false,
    }))
}

/// A recommission of these.
pub fn recommission(numbers: &[i32]) -> OperationSpec {
    spec(ArmSpec::Recommission(crate::spec::RecommissionSpec { numbers: numbers.to_vec() }))
}

/// An upgrade to a release of the usual repository.
pub fn upgrade(version: &str) -> OperationSpec {
    let repository = "alluxio/alluxio".to_owned();
    let release = crate::rollout::Release { version: version.into(), repository, tag: None };
    spec(ArmSpec::Upgrade(crate::spec::UpgradeSpec::to(release)))
}

/// A backup below /backups.
pub fn backup(keep: Option<i32>) -> OperationSpec {
    spec(ArmSpec::Backup(crate::spec::BackupSpec { path: "/backups".into(), keep }))
}

/// Arguments of a mount without options.
pub fn mount_args(path: &str, uri: &str) -> MountSpec {
    let (path, uri) = (path.into(), uri.into());
    MountSpec { path, uri, read_only: false, shared: false, options: Vec::new(), replace: false }
}

/// A mount.
pub fn mount(path: &str, uri: &str) -> OperationSpec {
    spec(ArmSpec::Mount(mount_args(path, uri)))
}

/// An unmount that takes its turn.
pub fn unmount(path: &str, recursive: bool) -> OperationSpec {
    spec(ArmSpec::Unmount(UnmountSpec { path: path.into(), recursive, when_in_use: WhenInUse::Wait }))
}

/// The time `ms` milliseconds after the beginning of 2026.
pub fn at(ms: i64) -> DateTime<Utc> {
    let start = DateTime::parse_from_rfc3339("2026-01-01T00:00:00Z").unwrap();
    start.with_timezone(&Utc) + chrono::Duration::milliseconds(ms)
}

/// A writer with the longest id that a pod name gives.
pub fn writer() -> WriterId {
    WriterId("w".repeat(63))
}

/// The signature of [`writer`] with the longest reason.
pub fn signature(by: &WriterId, ms: i64) -> Signature<'_> {
    const FULL: &str = "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb\
                        bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb";
    assert_eq!(FULL.len(), journal::MAX_BECAUSE);
    Signature { by, at: at(ms), because: FULL }
}

/// The longest failure.
pub fn failure() -> Failure {
    Failure::new(&"R".repeat(200), "m".repeat(2000))
}

/// The hash that an approval of `spec` has to name.
pub fn plan(spec: &OperationSpec) -> PlanHash {
    journal::plan_hash(spec).unwrap()
}

/// The first change of an operation.
pub fn created(spec: &OperationSpec) -> Change {
    let (after, approval) = (!spec.run_after.is_empty(), spec.approval == Approval::Manual);
    change(Event::Shared(Shared::Created {
        machine: crate::MACHINE_VERSION,
        after,
        approval,
        plan: plan(spec),
    }))
}

/// A change on which nothing rides.
pub fn change(event: Event) -> Change {
    Change { event, intent: None, sealed_through: None }
}

/// The largest intent, with the fence that has to follow `fence`.
pub fn intent(effect: Effect, fence: Fence) -> Intent {
    Intent {
        token: Token::derive(UID, Seq(i64::MAX), i64::MAX),
        effect,
        writer: writer(),
        nonce: Nonce("0123abcd-0123-4567-89ab-0123456789ab".into()),
        fence: Fence { attempt: fence.attempt.saturating_add(1), ..fence },
        send_for_ms: i64::MAX,
    }
}

/// Every effect, on the last path.
pub fn effects() -> Vec<Effect> {
    let path = MAX_PATHS - 1;
    vec![
        Effect::LoadMetadata { path },
        Effect::SubmitLoad { path },
        Effect::StopLoad { path },
        Effect::CancelMetadata { path, task: i64::MAX },
        Effect::Free { path },
        Effect::Mount { path },
        Effect::UpdateMount { path },
        Effect::Unmount { path },
        Effect::Backup { path, lasting: true },
        Effect::PruneBackups { path, folders: vec!["f".repeat(37); crate::backups::MOST_DELETED] },
        Effect::AddWorkers { add: (0..256).step_by(2).collect(), at: i64::MAX },
        Effect::FenceMembers {},
        Effect::RemoveWorkers { remove: (0..256).step_by(2).collect(), at: i64::MAX },
        Effect::MarkWorkers { workers: (0..256).step_by(2).collect(), out: false, at: i64::MAX },
        Effect::ReplaceWorker { worker: 255, uid: "u".repeat(36) },
        Effect::SetRelease { back: false, at: i64::MAX },
        Effect::SetRelease { back: true, at: i64::MAX },
        Effect::ReplaceMember { role: crate::rollout::Role::JobMaster, number: 255, uid: "u".repeat(36) },
        Effect::TransferLeadership { to: i32::MAX },
        Effect::ResetPriorities {},
        Effect::OnWorkers { call: crate::drain::Call::Decommission, workers: (0..256).step_by(2).collect() },
        Effect::OnWorkers { call: crate::drain::Call::Rescue, workers: (0..256).step_by(2).collect() },
    ]
}

/// One value of every shared event and of each of its branches, as large as they get.
pub fn shared_samples() -> Vec<Shared> {
    let (plan, by, why) = (PlanHash("p".repeat(43)), "b".repeat(253), failure());
    vec![
        Shared::Created {
            machine: crate::MACHINE_VERSION,
            after: false,
            approval: false,
            plan: plan.clone(),
        },
        Shared::Created { machine: crate::MACHINE_VERSION, after: true, approval: true, plan: plan.clone() },
        Shared::PredecessorsDone { approval: false },
        Shared::PredecessorsDone { approval: true },
        Shared::Approved { by: by.clone(), plan },
        Shared::HoldGranted { epoch: i64::MAX },
        Shared::Intended {},
        Shared::AttemptFailed { why: why.clone() },
        Shared::Suspended {},
        Shared::Resumed {},
        Shared::CancelRequested { deleted: false },
        Shared::CancelTooLate {},
        Shared::Aborted { why: why.clone() },
        Shared::Halted {},
        Shared::GotStuck { why },
        Shared::RetryRequested { count: i64::MAX },
        Shared::StepSkipped { step: "cancelling".into(), by },
        Shared::Sealed { segment: false },
    ]
}

/// Every step of an arm, the shared ones around each of the arm's own.
pub fn steps<A: Arm>() -> Vec<Step<A>> {
    let goes_back = !A::TAKEN_BACK.is_empty();
    let why = failure();
    let mut all = vec![
        Step::Pending {},
        Step::AwaitingApproval {},
        Step::Queued {},
        Step::Succeeded {},
        Step::Failed { why: why.clone() },
        Step::Cancelled {},
    ];
    if goes_back {
        all.push(Step::RolledBack { why: why.clone() });
    }
    for at in A::samples() {
        all.push(Step::Arm(at.clone()));
        all.push(Step::Pausing { at: at.clone() });
        all.push(Step::Paused { at: at.clone() });
        all.push(Step::Cancelling { at: at.clone() });
        all.push(Step::Aborting { at: at.clone(), why: why.clone() });
        for during in [During::Pausing {}, During::Cancelling {}, During::Aborting { why: why.clone() }] {
            all.push(Step::Stuck { at: at.clone(), during, why: why.clone() });
        }
        for why in [None, Some(why.clone())].into_iter().filter(|_| goes_back) {
            let during = During::RollingBack { why: why.clone() };
            all.push(Step::Stuck { at: at.clone(), during, why: failure() });
            all.push(Step::RollingBack { at: at.clone(), why });
        }
    }
    all
}

/// An arm with a spec, every state and every event that it can meet.
pub struct Samples {
    pub table: &'static ArmTable,
    pub spec: OperationSpec,
    pub states: Vec<State>,
    pub events: Vec<Event>,
}

/// The samples of every arm.
pub fn samples() -> Vec<Samples> {
    let all = |own: Vec<Event>| shared_samples().into_iter().map(Event::Shared).chain(own).collect();
    let names: Vec<String> = (0..MAX_PATHS).map(|i| format!("/p{i}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    vec![
        Samples {
            table: &ARMS[0],
            spec: load(&names),
            states: steps::<Load>().into_iter().map(State::Load).collect(),
            events: all(Load::event_samples().into_iter().map(Event::Load).collect()),
        },
        Samples {
            table: &ARMS[1],
            spec: free(&names),
            states: steps::<Free>().into_iter().map(State::Free).collect(),
            events: all(Free::event_samples().into_iter().map(Event::Free).collect()),
        },
        Samples {
            table: &ARMS[2],
            spec: mount("/data", "s3://bucket/data"),
            states: steps::<Mount>().into_iter().map(State::Mount).collect(),
            events: all(Mount::event_samples().into_iter().map(Event::Mount).collect()),
        },
        Samples {
            table: &ARMS[3],
            spec: unmount("/data", true),
            states: steps::<Unmount>().into_iter().map(State::Unmount).collect(),
            events: all(Unmount::event_samples().into_iter().map(Event::Unmount).collect()),
        },
        Samples {
            table: &ARMS[4],
            spec: sync(&names),
            states: steps::<Sync>().into_iter().map(State::Sync).collect(),
            events: all(Sync::event_samples().into_iter().map(Event::Sync).collect()),
        },
        Samples {
            table: &ARMS[5],
            spec: scale_out(3),
            states: steps::<ScaleOut>().into_iter().map(State::ScaleOut).collect(),
            events: all(ScaleOut::event_samples().into_iter().map(Event::ScaleOut).collect()),
        },
        Samples {
            table: &ARMS[6],
            spec: scale_in(3),
            states: steps::<ScaleIn>().into_iter().map(State::ScaleIn).collect(),
            events: all(ScaleIn::event_samples().into_iter().map(Event::ScaleIn).collect()),
        },
        Samples {
            table: &ARMS[7],
            spec: decommission(&[1]),
            states: steps::<Decommission>().into_iter().map(State::Decommission).collect(),
            events: all(Decommission::event_samples().into_iter().map(Event::Decommission).collect()),
        },
        Samples {
            table: &ARMS[8],
            spec: recommission(&[1]),
            states: steps::<Recommission>().into_iter().map(State::Recommission).collect(),
            events: all(Recommission::event_samples().into_iter().map(Event::Recommission).collect()),
        },
        Samples {
            table: &ARMS[9],
            spec: upgrade("2.9.6"),
            states: steps::<Upgrade>().into_iter().map(State::Upgrade).collect(),
            events: all(Upgrade::event_samples().into_iter().map(Event::Upgrade).collect()),
        },
        Samples {
            table: &ARMS[10],
            spec: backup(Some(2)),
            states: steps::<Backup>().into_iter().map(State::Backup).collect(),
            events: all(Backup::event_samples().into_iter().map(Event::Backup).collect()),
        },
    ]
}

/// A folded record in `state`, whose hold stands since [`EPOCH`] where the state holds one.
pub fn folded(spec: &OperationSpec, state: State) -> Folded {
    let mut op = Folded::birth(spec, &created(spec)).unwrap();
    op.seq = Seq(9);
    op.fence = Fence { epoch: if state.holds() { EPOCH } else { 0 }, attempt: 0 };
    op.state = state;
    op
}

/// A folded load in one of its own steps.
pub fn loading(spec: &OperationSpec, at: Load) -> Folded {
    folded(spec, State::Load(Step::Arm(at)))
}

/// A folded free in one of its own steps.
pub fn freeing(spec: &OperationSpec, at: Free) -> Folded {
    folded(spec, State::Free(Step::Arm(at)))
}

/// A folded mount in one of its own steps.
pub fn mounting(spec: &OperationSpec, at: Mount) -> Folded {
    folded(spec, State::Mount(Step::Arm(at)))
}

/// A folded unmount in one of its own steps.
pub fn unmounting(spec: &OperationSpec, at: Unmount) -> Folded {
    folded(spec, State::Unmount(Step::Arm(at)))
}

/// A folded sync in one of its own steps.
pub fn syncing(spec: &OperationSpec, at: Sync) -> Folded {
    folded(spec, State::Sync(Step::Arm(at)))
}

/// A folded scale-out in one of its own steps.
pub fn scaling_out(spec: &OperationSpec, at: ScaleOut) -> Folded {
    folded(spec, State::ScaleOut(Step::Arm(at)))
}

/// A folded scale-in in one of its own steps.
pub fn scaling_in(spec: &OperationSpec, at: ScaleIn) -> Folded {
    folded(spec, State::ScaleIn(Step::Arm(at)))
}

/// A folded decommission in one of its own steps.
pub fn decommissioning(spec: &OperationSpec, at: Decommission) -> Folded {
    folded(spec, State::Decommission(Step::Arm(at)))
}

/// A folded recommission in one of its own steps.
pub fn recommissioning(spec: &OperationSpec, at: Recommission) -> Folded {
    folded(spec, State::Recommission(Step::Arm(at)))
}

/// A folded upgrade in one of its own steps.
pub fn upgrading(spec: &OperationSpec, at: Upgrade) -> Folded {
    folded(spec, State::Upgrade(Step::Arm(at)))
}

/// A folded backup in one of its own steps.
pub fn backing_up(spec: &OperationSpec, at: Backup) -> Folded {
    folded(spec, State::Backup(Step::Arm(at)))
}

/// The record with an intent for `effect`, as the law lets it be taken.
pub fn intending(op: Folded, effect: Effect) -> Folded {
    let fence = op.fence;
    let ride = Some(intent(effect, fence));
    op.apply(&Change { event: Event::Shared(Shared::Intended {}), intent: ride, sealed_through: None })
        .unwrap()
}

/// What is decided, in words: why it waits, or what is recorded and the effect that rides along; a failure by its reason.
pub fn says(spec: &OperationSpec, op: &Folded, seen: &Observation) -> String {
    match crate::lifecycle::decide(spec, op, seen) {
        Decision::Await(w) => format!("{}: {}", w.reason(), w.message()),
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

/// A calm observation of an operation that holds its lock.
pub fn calm() -> Observation {
    Observation { target: Target::Ready, lock: LockView::Held { epoch: EPOCH }, ..Observation::default() }
}

/// A predecessor that has to succeed.
pub fn run_after(name: &str) -> RunAfter {
    RunAfter { name: name.into(), on: crate::spec::Ended::Succeeded }
}

/// The same cases in every run. With `PROPTEST_CASES` set, as many as it says, and others each time.
pub fn cases(cases: u32) -> ProptestConfig {
    let soak = std::env::var_os("PROPTEST_CASES").is_some();
    let fixed = ProptestConfig { cases, rng_seed: RngSeed::Fixed(20_260_101), ..ProptestConfig::default() };
    ProptestConfig { failure_persistence: None, ..if soak { ProptestConfig::default() } else { fixed } }
}
