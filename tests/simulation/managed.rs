//! A managed cache in a simulation: who runs its pods, what people edit and break, what its objects may never be, and what
//! has to be so in the end.
//!
//! ```text
//!   controller --StatefulSets--> Runtime (pods, budgets) --a pod is ready--> its worker registers, its master answers
//! ```

use super::plan::{Asked, Happening, MAINTAINED_FROM, Plan, SCALED_FROM, UPGRADED_FROM, long};
use super::rng::Rng;
use super::run::path;
use super::world::World;
use ratchet::api::CacheCluster;
use ratchet_simulator::pods::{Options, Runtime};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Most workers that a plan asks for, and so many the cache has room for.
pub const WORKERS: usize = 3;
/// The store at the cache's root.
pub const ROOT: &str = "s3://root";
/// How often the node looks.
const TICK: Duration = Duration::from_millis(250);
/// Label of whatever belongs to the cache.
const INSTANCE: &str = "app.kubernetes.io/instance";
/// The pod of the master.
pub const MASTER: &str = "cache-master-0";
const PODS: [&str; 6] = [
    MASTER,
    "cache-worker-0-0",
    "cache-worker-1-0",
    "cache-worker-2-0",
    "cache-job-master-0",
    "cache-job-worker-0",
];

/// Name of the pod of a worker.
pub fn worker_pod(number: usize) -> String {
    format!("cache-worker-{number}-0")
}

/// The release that runs in a pod: the tag of its image.
pub fn release(world: &World, pod: &str) -> String {
    let pods = world.server.objects("pods");
    let found = pods.iter().find(|p| p["metadata"]["name"] == pod);
    let image = found.and_then(|p| p["spec"]["containers"][0]["image"].as_str());
    image.and_then(|i| i.rsplit_once(':')).map(|(_, tag)| tag.to_owned()).unwrap_or_default()
}

/// What runs in the pods.
#[derive(Default)]
pub struct Members(Mutex<Inner>);

#[derive(Default)]
struct Inner {
    /// Uid of the pod whose process serves, by the pod's name.
    serves: BTreeMap<&'static str, String>,
    /// The cache was deleted.
    deleted: bool,
    /// Pods that are not ready until then, in milliseconds.
    unready: BTreeMap<&'static str, i64>,
    /// Pods whose image does not run.
    broken: BTreeSet<&'static str>,
    /// Pods that somebody has torn away: what they had went with them.
    torn: BTreeSet<&'static str>,
    /// A client writes, and so many files it has written.
    writes: bool,
    written: u64,
    /// When the present master got to know each worker, in milliseconds.
    registers: [i64; WORKERS],
    /// Workers of the cache since it was ready.
    workers: BTreeSet<u64>,
}

impl Members {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the master answers.
    pub fn master(&self) -> bool {
        self.lock().serves.contains_key(PODS[0])
    }

    /// A client writes from now on, or not.
    pub fn write(&self, writes: bool) {
        self.lock().writes = writes;
    }

    /// Whether the master knows the worker by now.
    pub fn registered(&self, number: usize, now_ms: i64) -> bool {
        self.lock().registers.get(number).is_none_or(|at| *at <= now_ms)
    }

    /// All pods are as they are by themselves.
    pub fn clear_up(&self) {
        self.write(false);
        self.lock().unready.values_mut().for_each(|until| *until = 0);
    }
}

/// The name by which the cache knows its worker of this number.
pub fn worker_name(number: usize) -> String {
    format!("cache-worker-{number}-0.cache-worker.ns.svc:29999")
}

/// Runs pods until it is ended.
pub async fn node(world: Arc<World>) {
    let mut runtime = Runtime::new(Options { observe_lag_ms: 400, ..Options::default() });
    loop {
        tokio::time::sleep(TICK).await;
        let now = world.time.ms();
        let late: Vec<_> = world.members.lock().unready.iter().map(|(p, until)| (*p, *until > now)).collect();
        for (pod, unready) in late {
            runtime.set_unready(&format!("ns/{pod}"), unready);
        }
        for pod in PODS {
            let bad = release(&world, pod) == BAD;
            let late = world.members.lock().unready.contains_key(pod);
            if bad != world.members.lock().broken.contains(pod) {
                let mut members = world.members.lock();
                if bad {
                    members.broken.insert(pod);
                } else {
                    members.broken.remove(pod);
                }
                runtime.set_unready(&format!("ns/{pod}"), bad || late);
            }
        }
        world.members.lock().unready.retain(|_, until| *until > now);
        for _ in 0..50 {
            if !runtime.tick(&world.server, now) {
                break;
            }
        }
        processes(&world);
        register(&world);
        client(&world);
    }
}

/// Workers whose processes are there register with a master that does not know them yet.
fn register(world: &World) {
    let now = world.time.ms();
    let mut due = Vec::new();
    {
        let mut members = world.members.lock();
        if !members.serves.contains_key(PODS[0]) {
            return;
        }
        for worker in 0..WORKERS {
            if (1..=now).contains(&members.registers[worker]) {
                members.registers[worker] = 0;
                if members.serves.contains_key(PODS[worker + 1]) {
                    due.push(worker);
                }
            }
        }
    }
    due.into_iter().for_each(|worker| world.cache_now().start_worker(worker));
}

/// A client that never stops writes a file that only the cache has, once the cache has been ready.
fn client(world: &World) {
    let mut members = world.members.lock();
    if !members.writes || !members.serves.contains_key(PODS[0]) {
        return;
    }
    let ready = |c: CacheCluster| c.status.and_then(|s| s.set_up).is_some_and(|s| s.stage == "Ready");
    if members.written == 0 && !there(world).is_some_and(ready) {
        return;
    }
    let number = members.written;
    members.written += 1;
    drop(members);
    // Without a worker it gets nowhere, and is told so.
    drop(world.cache_now().write_cached_only(&format!("/written/{number}"), vec![7; 10]));
}

/// A process serves from when its pod is ready for the first time until the pod is gone.
fn processes(world: &World) {
    let pods = world.server.objects("pods");
    for (i, name) in PODS.into_iter().enumerate() {
        let pod = pods.iter().find(|p| p["metadata"]["name"] == name);
        let uid = pod.and_then(|p| p["metadata"]["uid"].as_str());
        let conditions = pod.and_then(|p| p["status"]["conditions"].as_array()).into_iter().flatten();
        let ready = conditions.into_iter().any(|c| c["type"] == "Ready" && c["status"] == "True");
        let was = world.members.lock().serves.get(name).cloned();
        if was.is_some() && was.as_deref() != uid {
            world.members.lock().serves.remove(name);
            world.note(format_args!("{name} is gone"));
            stopped(world, i);
        }
        if let Some(uid) = uid.filter(|u| ready && was.as_deref() != Some(u)) {
            world.members.lock().serves.insert(name, uid.to_owned());
            world.note(format_args!("{name} serves"));
            started(world, i);
        }
    }
}

fn stopped(world: &World, member: usize) {
    match member {
        0 => {
            world.cache_now().restart_master();
            let now = world.time.ms();
            let registers = std::array::from_fn(|_| {
                now + 2_000 + i64::try_from(world.draw(|r| r.below(6_000))).unwrap_or(0)
            });
            world.members.lock().registers = registers;
            (0..WORKERS).for_each(|w| world.cache_now().unregister(w));
        }
        1..=WORKERS => {
            let torn = world.members.lock().torn.remove(PODS[member]);
            let stays = there(world).is_some_and(|c| c.metadata.deletion_timestamp.is_none());
            let lost = world.cache_now().only_on(member - 1);
            world.cache_now().give_up(member - 1);
            if let Some(first) = lost.first().filter(|_| stays && !torn) {
                let why = format!("{} files are lost with worker {}: {first}", lost.len(), member - 1);
                world.judge().object(why);
            }
            world.disturb();
            world.cache_now().stop_worker(member - 1);
        }
        _ => {}
    }
    if member == 0 {
        world.judge().engine_forgot();
    }
}

fn started(world: &World, member: usize) {
    if (1..=WORKERS).contains(&member) {
        world.cache_now().start_worker(member - 1);
    }
}

/// How many workers it begins with.
fn replicas(plan: &Plan) -> usize {
    match plan.seed {
        MAINTAINED_FROM.. => WORKERS,
        SCALED_FROM.. => 1,
        _ => 2,
    }
}

/// People take workers out of use and bring them back.
fn maintain(plan: &mut Plan, rng: &mut Rng) {
    let mut at = 12_000;
    for _ in 0..rng.within(1, 5) {
        at += rng.below(20_000);
        let arm = if rng.chance(600) { "decommission" } else { "recommission" };
        let mut numbers = vec![rng.below(WORKERS as u64)];
        if rng.chance(200) {
            numbers.push(rng.below(WORKERS as u64));
        }
        let spec = long(arm, &json!({"numbers": numbers}));
        plan.asked.push(Asked { as_load: false, at_ms: at, spec, arm, paths: Vec::new() });
    }
}

/// People bring the cache to another release, or to one whose image does not run.
fn upgrade(plan: &mut Plan, rng: &mut Rng) {
    let mut at = 12_000;
    for _ in 0..rng.within(1, 2) {
        at += rng.below(60_000);
        let version = if rng.chance(700) { "2.9.6" } else { "2.9.4" };
        let mut arm = json!({
            "version": version,
            "soakSeconds": rng.below(3),
            "memberDeadlineSeconds": rng.within(30, 60),
            "maxUnavailable": rng.within(1, 2),
        });
        if rng.chance(300) {
            arm["tag"] = json!(BAD);
        }
        let spec = long("upgrade", &arm);
        plan.asked.push(Asked { as_load: false, at_ms: at, spec, arm: "upgrade", paths: Vec::new() });
    }
}

/// The tag of an image that does not run.
const BAD: &str = "bad";

/// The spec of the cache.
pub fn cluster(plan: &Plan) -> Value {
    let volume = if plan.seed.is_multiple_of(3) {
        json!({"medium": "SSD", "size": "1Gi", "hostPath": "/cache"})
    } else {
        json!({"medium": "MEM", "size": "1Gi", "emptyDir": {}})
    };
    json!({"managed": {
        "version": "2.9.4",
        "masters": {"replicas": 1, "journal": {"volumeClaim": {"size": "1Gi"}}},
        "workers": {"replicas": replicas(plan), "tiers": [volume]},
        "rootStorage": {"uri": ROOT},
        "properties": {"alluxio.user.worker.list.refresh.interval": "20sec"},
    }})
}

/// People edit the cache, its pods go, and perhaps it is deleted.
pub fn draw(plan: &mut Plan) {
    let mut rng = Rng::new(plan.seed ^ 0x6d61_6e61_6765);
    plan.managed = true;
    for asked in &mut plan.asked {
        // The operation of a load that is asked for when the cache is gone would wait for ever.
        asked.as_load = false;
    }
    let mut all = Vec::new();
    for _ in 0..rng.below(4) {
        all.push((rng.below(25_000), Happening::EditCluster(edit(&mut rng))));
    }
    if plan.seed >= SCALED_FROM {
        plan.writes = true;
    }
    if (SCALED_FROM..UPGRADED_FROM).contains(&plan.seed) {
        let mut at = 8_000;
        for _ in 0..rng.within(1, 4) {
            at += rng.below(9_000);
            all.push((
                at,
                Happening::EditCluster(json!({"workers": {"replicas": rng.within(1, WORKERS as u64)}})),
            ));
        }
    }
    if plan.seed >= UPGRADED_FROM {
        upgrade(plan, &mut rng);
    } else if plan.seed >= MAINTAINED_FROM {
        maintain(plan, &mut rng);
    }
    for _ in 0..rng.below(5) {
        let (at, pod) = (rng.below(plan.calm_ms), *rng.pick(&PODS));
        all.push((
            at,
            match rng.below(3) {
                0 => Happening::PodGone(pod),
                1 => Happening::PodUnready(pod, rng.within(500, 20_000)),
                _ => Happening::Drift(rng.pick::<&str>(&[
                    "cache-worker-0",
                    "cache-master",
                    "cache-job-master",
                ])),
            },
        ));
    }
    if rng.chance(400) {
        super::datasets::draw(plan);
    } else if rng.chance(400) {
        let at = rng.within(9_000, 30_000);
        // Who asks later would wait for another cache of its name.
        plan.asked.retain(|a| a.at_ms + 1_000 < at);
        all.push((at, Happening::DeleteCluster));
    }
    plan.happenings.append(&mut all);
    plan.happenings.sort_by_key(|(at, _)| *at);
}

fn edit(rng: &mut Rng) -> Value {
    match rng.below(5) {
        0 => json!({"version": *rng.pick(&["2.9.4", "2.9.6"])}),
        1 => json!({"workers": {"replicas": rng.within(1, WORKERS as u64)}}),
        2 => json!({"properties": {"alluxio.user.x": *rng.pick(&["1", "2"])}}),
        3 => json!({"jobs": {"workers": rng.below(2)}}),
        _ => json!({"masters": {"pods": {"javaOptions": *rng.pick(&["-Xmx1g", "-Xmx2g"])}}}),
    }
}

/// Something happens to the cache or to its pods.
#[allow(clippy::wildcard_enum_match_arm, reason = "nothing else happens here")]
pub fn happen(world: &World, happening: &Happening) {
    let set = |name: &str| format!("/apis/apps/v1/namespaces/ns/statefulsets/{name}");
    match happening {
        Happening::EditCluster(edit) => {
            let patch = json!({"spec": {"managed": edit}});
            world.by_hand("PATCH", &path("cacheclusters", "cache"), &patch);
        }
        Happening::DeleteCluster => {
            // One that no controller has seen goes at once, and operations wait for another one of its name.
            let seen = there(world).is_some_and(|c| c.metadata.finalizers.is_some_and(|f| !f.is_empty()));
            world.members.lock().deleted = seen;
            if seen {
                world.by_hand("DELETE", &path("cacheclusters", "cache"), &Value::Null);
            }
        }
        Happening::PodGone(pod) => {
            if world.members.lock().serves.contains_key(pod) {
                world.members.lock().torn.insert(pod);
            }
            let at_once = json!({"apiVersion": "v1", "kind": "DeleteOptions", "gracePeriodSeconds": 0});
            world.by_hand("DELETE", &format!("/api/v1/namespaces/ns/pods/{pod}"), &at_once);
        }
        Happening::PodUnready(pod, ms) => {
            let until = world.time.ms() + i64::try_from(*ms).unwrap_or(0);
            world.members.lock().unready.insert(pod, until);
        }
        Happening::Drift(name) => {
            let scaled = json!({"spec": {"template": {"metadata": {"labels": {"app.kubernetes.io/name": "drifted"}}}}});
            world.judge().by_hand = true;
            world.by_hand("PATCH", &set(name), &scaled);
            world.judge().by_hand = false;
        }
        _ => {}
    }
}

/// The status of the cache was written: whoever is not among its workers any more may not serve.
pub fn revised(world: &World, cluster: &Value) {
    let status = &cluster["status"];
    if status["setUp"]["stage"] != "Ready" {
        return;
    }
    let workers = status["revision"]["workers"].as_array().into_iter().flatten().filter_map(Value::as_u64);
    let now: BTreeSet<u64> = workers.collect();
    let before = std::mem::replace(&mut world.members.lock().workers, now.clone());
    for gone in before.difference(&now).filter_map(|w| usize::try_from(*w).ok()) {
        if world.cache_now().may_serve(gone) {
            world.judge().object(format!("worker {gone} is taken out, and nothing keeps it from serving"));
        }
    }
}

/// Why a controller may not evict a pod as it is now: what makes it is not what the revision says, or it was made anew already.
pub fn may_not_go(world: &World, uri: &str) -> Option<String> {
    let pod = uri.strip_prefix("/api/v1/namespaces/ns/pods/")?.split(['/', '?']).next()?;
    let managed = there(world)?.status?.revision?.managed;
    let wanted = managed.image.tag.unwrap_or(managed.version);
    let sets = world.server.objects("statefulsets");
    let set = pod.rsplit_once('-').map(|(set, _)| set)?;
    let made = sets.iter().find(|s| s["metadata"]["name"] == set)?;
    let makes = made["spec"]["template"]["spec"]["containers"][0]["image"].as_str()?.rsplit_once(':')?.1;
    if makes != wanted {
        return Some(format!("{pod} is let go for {wanted} while its StatefulSet makes {makes}"));
    }
    let upgrades = |o: &Value| o["status"]["kind"] == "upgrade" && o["status"]["phase"] == "Running";
    let forward = world.judge().all_operations().any(|(_, o)| upgrades(o));
    let number = PODS.iter().position(|p| *p == pod)?;
    let drained = (1..=WORKERS).contains(&number) && !world.cache_now().may_serve(number - 1);
    let again = forward && !drained && release(world, pod) == wanted;
    again.then(|| format!("{pod} is of {wanted} already and is let go once more"))
}

/// An operation on members is said to have succeeded: so many workers are there, or those that it names are as it wants.
pub fn succeeded(world: &World, object: &Value) {
    let arm = &object["spec"]["operation"];
    for (kind, out) in [("decommission", true), ("recommission", false)] {
        let named = arm[kind]["numbers"].as_array().into_iter().flatten().filter_map(Value::as_i64);
        let marked = there(world).and_then(|c| c.status?.revision).map(|r| r.out_of_use).unwrap_or_default();
        let not = named.into_iter().find(|n| marked.iter().any(|m| i64::from(*m) == *n) != out);
        if let Some(not) = not {
            let name = &object["metadata"]["name"];
            world.judge().object(format!("{name}: succeeded, and out of use are {marked:?}, worker {not}"));
        }
    }
    if let Some(version) = arm["upgrade"]["version"].as_str() {
        let revision = there(world).and_then(|c| c.status?.revision);
        let has = revision.as_ref().map(|r| r.managed.version.clone()).unwrap_or_default();
        let mut pods = vec![MASTER.to_owned()];
        pods.extend(
            revision
                .iter()
                .flat_map(|r| &r.workers)
                .filter_map(|n| Some(worker_pod(usize::try_from(*n).ok()?))),
        );
        // A pod that went right before the end of the operation comes back of the same release.
        let runs: Vec<String> = pods.iter().map(|p| release(world, p)).filter(|r| !r.is_empty()).collect();
        let version = arm["upgrade"]["tag"].as_str().map_or(version, |_| BAD);
        if (has != version && version != BAD) || runs.iter().any(|r| r != version) {
            let name = &object["metadata"]["name"];
            world
                .judge()
                .object(format!("{name}: succeeded, and the cache is of {has}, its pods of {runs:?}"));
        }
    }
    let fewer = arm["scaleIn"]["workers"].as_u64();
    let Some(wanted) = arm["scaleOut"]["workers"].as_u64().or(fewer) else { return };
    let revision = there(world).and_then(|c| c.status?.revision);
    let have = revision.map_or(0, |r| r.workers.len() as u64);
    if have < wanted || (fewer.is_some() && have > wanted) {
        let name = &object["metadata"]["name"];
        world.judge().object(format!("{name}: succeeded with {have} of {wanted} workers"));
    }
}

fn there(world: &World) -> Option<CacheCluster> {
    let all = world.server.objects("cacheclusters");
    all.iter().find_map(|c| serde_json::from_value(c.as_ref().clone()).ok())
}

/// Whether nothing is under way for the cache.
pub fn settled(world: &World) -> bool {
    let Some(cluster) = there(world) else { return true };
    let Some(status) = cluster.status else { return false };
    let under_way = ["OperationPending", "Superseding", "OperationRunning"];
    let pending = |c: &&ratchet::api::conditions::Condition| {
        c.type_ == "SpecNotApplied" && under_way.contains(&c.reason.as_str())
    };
    if status.conditions.iter().any(|c| pending(&c)) {
        return false;
    }
    cluster.metadata.deletion_timestamp.is_none()
        && Some(status.observed_generation) == cluster.metadata.generation
        && status.phase == "Ready"
        && drifted(world).is_none()
        && back_in_use(world).is_none()
}

/// A worker that is out of use and may serve all the same.
fn back_in_use(world: &World) -> Option<i32> {
    let revision = there(world)?.status?.revision?;
    let serves = |n: &&i32| usize::try_from(**n).is_ok_and(|n| world.cache_now().may_serve(n));
    revision.out_of_use.iter().find(serves).copied()
}

/// What is under way for the cache, for reports.
pub fn open(world: &World) -> Option<String> {
    let cluster = there(world).filter(|_| world.managed && !settled(world))?;
    let (generation, going) = (cluster.metadata.generation, cluster.metadata.deletion_timestamp.is_some());
    let status = cluster.status.unwrap_or_default();
    let ready = status.conditions.into_iter().find(|c| c.type_ == "Ready");
    let why = ready.map(|c| format!("{}: {}", c.reason, c.message)).unwrap_or_default();
    let seen = status.observed_generation;
    let (drifted, back) = (drifted(world), back_in_use(world));
    Some(format!(
        "the cache is {} (deleted: {going}), seen at {seen} of {generation:?}: {why}; drifted: {drifted:?}; back in use: {back:?}",
        status.phase
    ))
}

/// A StatefulSet that is not as it was written.
fn drifted(world: &World) -> Option<String> {
    let judge = world.judge();
    let sets = world.server.objects("statefulsets");
    sets.iter().find(|s| !judge.sets.stands(s)).map(|s| s["metadata"]["name"].to_string())
}

/// What has to be so in the end.
pub fn in_the_end(world: &World, plan: &Plan) -> Vec<String> {
    let mut wrong = Vec::new();
    if !plan.managed {
        return wrong;
    }
    let deleted = world.members.lock().deleted;
    let Some(cluster) = there(world) else {
        if !deleted {
            wrong.push("the cache is gone, and nobody deleted it".into());
        }
        for kind in ["statefulsets", "pods", "services", "configmaps", "poddisruptionbudgets", "targetlocks"]
        {
            if let Some(left) = world.server.objects(kind).first() {
                wrong.push(format!(
                    "the cache is gone, and one of its {kind} is left: {}",
                    left["metadata"]["name"]
                ));
            }
        }
        return wrong;
    };
    let Some((managed, status)) = cluster.spec.managed.zip(cluster.status) else {
        return vec!["the cache is not managed any more".into()];
    };
    if deleted {
        wrong.push(format!("the cache was deleted and is {}", status.phase));
    }
    let Some(revision) = &status.revision else { return vec!["the cache has no revision".into()] };
    let mut wanted: BTreeSet<String> = revision.workers.iter().map(|w| format!("cache-worker-{w}")).collect();
    wanted.insert("cache-master".into());
    if revision.managed.jobs.workers > 0 {
        wanted.extend(["cache-job-master".to_owned(), "cache-job-worker".to_owned()]);
    }
    let sets = world.server.objects("statefulsets");
    let name = |o: &Value| o["metadata"]["name"].as_str().unwrap_or_default().to_owned();
    let found: BTreeSet<String> = sets.iter().map(|s| name(s)).collect();
    if found != wanted {
        wrong.push(format!("the members are {found:?}, and shall be {wanted:?}"));
    }
    let configs = world.server.objects("configmaps");
    let ours = configs.iter().filter(|c| c["metadata"]["labels"][INSTANCE] == "cache").count();
    if ours != 2 {
        let all: Vec<String> = configs.iter().map(|c| name(c)).collect();
        wrong.push(format!("the settings and what the cache is known by are {all:?}"));
    }
    let by_edits = |o: &Value| {
        let owners = o["metadata"]["ownerReferences"].as_array().into_iter().flatten();
        owners.into_iter().any(|o| o["kind"] == "CacheCluster")
    };
    let made = world.judge().all_operations().filter(|(_, o)| by_edits(o)).count();
    if i64::try_from(made) != Ok(status.handled) {
        wrong.push(format!("{} edits of the cache are handled, by {made} operations", status.handled));
    }
    let (spec, have) = (usize::try_from(managed.workers.replicas).unwrap_or(0), revision.workers.len());
    let acted = status.facets.iter().any(|f| f.name == "workers" && f.handled == spec.to_string());
    // An operation of somebody's own may have made it otherwise.
    let scales = |o: &Value| ["scaleIn", "scaleOut"].iter().any(|a| !o["spec"]["operation"][*a].is_null());
    let by_hand = world.judge().all_operations().any(|(_, o)| scales(o) && !by_edits(o));
    if !by_hand && (spec != have || !acted) {
        wrong.push(format!("{spec} workers are asked for, there are {have}: {:?}", status.facets));
    }
    let differs = (&managed.version, &managed.properties)
        != (&revision.managed.version, &revision.managed.properties)
        || usize::try_from(managed.workers.replicas) != Ok(revision.workers.len());
    let says = status.conditions.iter().any(|c| c.type_ == "SpecNotApplied" && c.status == "True");
    if differs && !says {
        wrong.push("the spec is not applied, and nobody says so".into());
    }
    wrong
}
