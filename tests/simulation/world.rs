//! One simulated world: an API server, a cache, true time, the weather, the account of everything that was sent.

use super::backups;
use super::datasets;
use super::managed;
use super::oracle::{Landed, Oracle};
use super::plan::{FILES, Plan, Protection, Weather};
use super::rng::Rng;
use super::time::Time;
use super::trace::Trace;
use bytes::Bytes;
use ratchet_simulator::api::{Change, Options, Reply, Request, Server, User};
use ratchet_simulator::cache::{Cache, Memory, Profile};
use ratchet_simulator::schema::Rules;
use ratchet_state_machine::effect::{Answer, Query};
use serde_json::Value;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use tokio::sync::Notify;

/// The engine's hard limit of a call, and the longest time after which a call may still land, in milliseconds.
pub const CALL_TIMEOUT_MS: u64 = 1_000;
/// The longest time after which a call that was received may still be applied, in milliseconds.
pub const LONGEST_DELAY_MS: u64 = 2_000;

/// How a replica is, seen from outside.
#[derive(Debug, Default)]
pub struct Outside {
    /// Its present life; an older one is dead.
    pub life: AtomicU64,
    /// Frozen until then, in milliseconds of true time.
    pub frozen_until: AtomicU64,
    /// Its watches tell of everything this late, until then.
    pub lag: Mutex<(u64, u64)>,
    /// Its watches say nothing until then.
    pub blind_until: AtomicU64,
    /// Its lists show this revision while it is not 0.
    pub view: AtomicU64,
    /// Counts breaks of its watches.
    pub cut: AtomicU64,
    /// Told of a break of its watches.
    pub cut_now: Notify,
    /// Told of its death.
    pub died: Notify,
    /// Changing calls so far.
    pub calls: AtomicU64,
    /// The same by what they are about.
    pub calls_like: [AtomicU64; 6],
    /// Milliseconds until it is back after the next death.
    pub back_ms: AtomicU64,
    /// Newest `seq` that it has been told, by uid.
    pub told: Mutex<std::collections::BTreeMap<String, i64>>,
}

/// Everything that replicas share.
pub struct World {
    /// True time.
    pub time: Time,
    /// The API server.
    pub server: Server,
    /// The cache.
    pub cache: Cache,
    /// What protects its effects.
    pub protection: Protection,
    /// The judge.
    pub oracle: Arc<Mutex<Oracle>>,
    /// The replicas.
    pub replicas: Vec<Outside>,
    /// How the protocol is broken.
    pub mutation: Option<ratchet::controller::teeth::Mutation>,
    /// Faults that happened.
    pub faults: AtomicU64,
    /// When somebody last changed what is cached behind the operations' back, in milliseconds; and how long a look at it
    /// may be older than what is written on its account.
    pub disturbed: (AtomicI64, i64),
    /// Told when something was deleted.
    pub deleted: Arc<Notify>,
    /// The cache is a managed one.
    pub managed: bool,
    /// What runs in its pods.
    pub members: managed::Members,
    rng: Mutex<Rng>,
    weather: Mutex<(Weather, Weather)>,
    api_down_until: AtomicU64,
    engine_down_until: AtomicU64,
    trace: Mutex<Trace>,
    keep_trace: AtomicBool,
}

/// A server with the shipped kinds, made once: compiling their rules takes longer than playing a seed.
fn shipped() -> &'static Server {
    static SHIPPED: OnceLock<Server> = OnceLock::new();
    SHIPPED.get_or_init(|| {
        let server = Server::new(Options {
            now: Arc::new(chrono::DateTime::default),
            uids: Arc::new(String::new),
            rules: Rules::All,
            history: 0,
            sink: None,
            admit: None,
        });
        for (file, crd) in ratchet::api::crd::all().expect("the kinds") {
            server.install(&crd).unwrap_or_else(|why| panic!("{file} is refused: {why}"));
        }
        server
    })
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl World {
    /// The world of a plan, with the kinds installed and a namespace `ns`.
    pub fn new(plan: &Plan, keep_trace: bool) -> Arc<Self> {
        let time = Time::begin();
        let mut oracle = Oracle::default();
        oracle.protected = plan.protection != Protection::None;
        oracle.hasty = plan.clocks.iter().any(|(_, rate)| *rate > 100);
        let oracle = Arc::new(Mutex::new(oracle));
        let deleted = Arc::new(Notify::new());
        let (judge, told) = (Arc::clone(&oracle), Arc::clone(&deleted));
        let sink = move |change: &Change| {
            let gone = change.type_ == "DELETED";
            if gone || !change.object["metadata"]["deletionTimestamp"].is_null() {
                told.notify_one();
            }
            lock(&judge).committed(change, time.ms());
            Ok(())
        };
        let uids = AtomicU64::new(plan.seed.wrapping_mul(0x9E37_79B9));
        let server = shipped().fork(Options {
            now: Arc::new(move || time.date()),
            uids: Arc::new(move || uid(uids.fetch_add(1, Ordering::Relaxed))),
            rules: if plan.rules { Rules::All } else { Rules::Structure },
            history: plan.history,
            sink: Some(Arc::new(sink)),
            admit: None,
        });
        let files = Memory::default();
        for (path, size) in FILES {
            files.put(path, vec![u8::try_from(size).unwrap_or(1); size]);
        }
        let mut profile = Profile::alluxio();
        profile.protection = match plan.protection {
            Protection::None => ratchet_simulator::cache::Protection::None,
            Protection::Token => ratchet_simulator::cache::Protection::Token,
            Protection::Fence => ratchet_simulator::cache::Protection::Fence,
        };
        (profile.call_timeout_ms, profile.longest_delay_ms) = (1_000, 2_000);
        (profile.workers, profile.worker_capacity, profile.bytes_per_second) = (2, 1_000_000, 100);
        profile.free_lag_ms = 500;
        let mut root = "sim://root";
        if plan.managed {
            (profile.workers, root) = (managed::WORKERS, managed::ROOT);
        }
        let world = Self {
            time,
            server,
            cache: Cache::new("cache-of-the-simulation", profile, Arc::new(files))
                .with_stores(root, datasets::store),
            protection: plan.protection,
            oracle,
            replicas: (0..plan.replicas).map(|_| Outside::default()).collect(),
            mutation: plan.mutation,
            faults: AtomicU64::new(0),
            disturbed: (AtomicI64::new(i64::MIN / 2), plan.slowest_ms()),
            deleted,
            managed: plan.managed,
            members: managed::Members::default(),
            rng: Mutex::new(Rng::new(plan.seed ^ 0xF00D)),
            weather: Mutex::new((plan.api, plan.engine)),
            api_down_until: AtomicU64::new(0),
            engine_down_until: AtomicU64::new(0),
            trace: Mutex::new(Trace::new(keep_trace)),
            keep_trace: AtomicBool::new(keep_trace),
        };
        if plan.managed {
            // They register when their pods are there.
            (0..managed::WORKERS).for_each(|w| world.cache.stop_worker(w));
        }
        Arc::new(world)
    }

    /// Draws from chance.
    pub fn draw<T>(&self, f: impl FnOnce(&mut Rng) -> T) -> T {
        f(&mut lock(&self.rng))
    }

    /// The judge.
    pub fn judge(&self) -> MutexGuard<'_, Oracle> {
        lock(&self.oracle)
    }

    /// Writes a line into the account.
    pub fn note(&self, what: std::fmt::Arguments<'_>) {
        lock(&self.trace).note(self.time.ms(), what);
    }

    /// The account so far: its hash, its text where it is kept, and how many lines it has.
    pub fn account(&self) -> (u64, String, u64) {
        lock(&self.trace).account()
    }

    /// Whether the text of the account is kept.
    pub fn verbose(&self) -> bool {
        self.keep_trace.load(Ordering::Relaxed)
    }

    /// A fault happens.
    pub fn fault(&self) {
        self.faults.fetch_add(1, Ordering::Relaxed);
    }

    /// The weather on the way to the API server and to the engine.
    pub fn weather(&self) -> (Weather, Weather) {
        *lock(&self.weather)
    }

    /// From now on nothing goes wrong.
    pub fn clear_up(&self) {
        *lock(&self.weather) = (Weather::CALM, Weather::CALM);
        self.api_down_until.store(0, Ordering::Relaxed);
        self.engine_down_until.store(0, Ordering::Relaxed);
        self.members.clear_up();
        for outside in &self.replicas {
            outside.blind_until.store(0, Ordering::Relaxed);
            outside.frozen_until.store(0, Ordering::Relaxed);
            outside.view.store(0, Ordering::Relaxed);
            *lock(&outside.lag) = (0, 0);
        }
    }

    fn until(&self, ms: u64) -> u64 {
        u64::try_from(self.time.ms()).unwrap_or(0) + ms
    }

    /// Whether it is not that late yet; most of the time there is nothing to wait for, and nobody looks at the clock.
    fn before(&self, then: &AtomicU64) -> bool {
        let then = then.load(Ordering::Relaxed);
        then > 0 && self.until(0) < then
    }

    /// The API server answers nobody for a while.
    pub fn api_down(&self, ms: u64) {
        self.api_down_until.store(self.until(ms), Ordering::Relaxed);
    }

    /// Whether the API server answers nobody.
    pub fn is_api_down(&self) -> bool {
        self.before(&self.api_down_until)
    }

    /// The engine answers nobody for a while.
    pub fn engine_down(&self, ms: u64) {
        self.engine_down_until.store(self.until(ms), Ordering::Relaxed);
    }

    /// Whether the engine answers nobody.
    pub fn is_engine_down(&self) -> bool {
        self.before(&self.engine_down_until)
    }

    /// Whether there is a master to be asked.
    pub fn has_master(&self) -> bool {
        !self.managed || self.members.master()
    }

    /// A replica is frozen for a while.
    pub fn freeze(&self, replica: usize, ms: u64) {
        self.replicas[replica].frozen_until.store(self.until(ms), Ordering::Relaxed);
    }

    /// A replica's watches lag for a while.
    pub fn lag(&self, replica: usize, by_ms: u64, for_ms: u64) {
        *lock(&self.replicas[replica].lag) = (by_ms, self.until(for_ms));
    }

    /// Milliseconds by which a replica's watches lag now.
    pub fn lag_of(&self, replica: usize) -> u64 {
        let (by, until) = *lock(&self.replicas[replica].lag);
        if by > 0 && self.until(0) < until { by } else { 0 }
    }

    /// A replica's watches say nothing for a while.
    pub fn blind(&self, replica: usize, ms: u64) {
        self.replicas[replica].blind_until.store(self.until(ms), Ordering::Relaxed);
    }

    /// Breaks a replica's watches; its next lists are `back` revisions old.
    pub fn travel(&self, replica: usize, back: u64) {
        let view = self.server.revision().saturating_sub(back).max(1);
        self.replicas[replica].view.store(view, Ordering::Relaxed);
        self.replicas[replica].cut.fetch_add(1, Ordering::Relaxed);
        self.replicas[replica].cut_now.notify_waiters();
    }

    /// A replica dies; it is back after a while.
    pub fn kill(&self, replica: usize, back_ms: u64) {
        let outside = &self.replicas[replica];
        outside.life.fetch_add(1, Ordering::Relaxed);
        outside.back_ms.store(back_ms, Ordering::Relaxed);
        lock(&outside.told).clear();
        self.note(format_args!("r{replica} dies"));
        self.fault();
        outside.died.notify_one();
    }

    /// Waits while a replica is frozen. Never comes back for one that is dead.
    pub async fn gate(&self, replica: usize, life: u64) {
        loop {
            let outside = &self.replicas[replica];
            if outside.life.load(Ordering::Relaxed) != life {
                std::future::pending::<()>().await;
            }
            if !self.before(&outside.frozen_until) {
                return;
            }
            let (now, until) = (self.until(0), outside.frozen_until.load(Ordering::Relaxed));
            tokio::time::sleep(std::time::Duration::from_millis(until - now)).await;
        }
    }

    /// The cache, up to date.
    pub fn cache_now(&self) -> &Cache {
        self.cache.advance(self.time.ms());
        &self.cache
    }

    /// Somebody changes what is cached.
    pub fn disturb(&self) {
        self.disturbed.0.store(self.time.ms(), Ordering::Relaxed);
    }

    /// An operation is said to have succeeded: what it wanted is so, unless somebody has just changed it.
    pub fn succeeded(&self, object: &Value) {
        if self.time.ms() - self.disturbed.0.load(Ordering::Relaxed) < self.disturbed.1 {
            return;
        }
        datasets::succeeded(self, object);
        managed::succeeded(self, object);
        backups::succeeded(self, object);
        for arm in ["load", "free"] {
            let paths = object["spec"]["operation"][arm]["paths"].as_array().into_iter().flatten();
            let paths: Vec<String> = paths.filter_map(Value::as_str).map(str::to_owned).collect();
            if paths.is_empty() {
                continue;
            }
            if let Ok(Answer::Tree(tree)) = self.cache_now().inspect(&Query::Tree { paths }) {
                let wanted = if arm == "load" { tree.bytes } else { 0 };
                if tree.cached_bytes != wanted {
                    let name = object["metadata"]["name"].clone();
                    let why = format!("{name}: {arm} succeeded with {} of {wanted} bytes", tree.cached_bytes);
                    self.judge().object(why);
                }
            }
        }
    }

    /// An effect reaches the engine.
    pub fn landed(&self, landed: &Landed<'_>) {
        self.judge().landed(landed);
    }

    /// A call by hand, past all weather, as the administrator.
    pub fn by_hand(&self, method: &str, uri: &str, body: &Value) -> (u16, Value) {
        let content_type =
            if method == "PATCH" { "application/merge-patch+json" } else { "application/json" };
        let request = Request {
            method: method.parse().unwrap_or_default(),
            uri: uri.to_owned(),
            content_type: content_type.into(),
            accept: "application/json".into(),
            body: if body.is_null() { Bytes::new() } else { Bytes::from(body.to_string()) },
            user: person(),
        };
        match self.server.call(&request) {
            Reply::Whole(r) => (r.code, serde_json::from_slice(&r.body).unwrap_or_default()),
            Reply::Watch(_) => (0, Value::Null),
        }
    }
}

/// The person who asks for things.
pub fn person() -> User {
    User { name: "somebody".into(), groups: vec!["system:masters".into()] }
}

fn uid(n: u64) -> String {
    let mut rng = Rng::new(n);
    let (a, b) = (rng.next(), rng.next());
    format!(
        "{:08x}-{:04x}-4{:03x}-a{:03x}-{:012x}",
        a >> 32,
        a >> 16 & 0xffff,
        a & 0xfff,
        b >> 52,
        b & 0xffff_ffff_ffff
    )
}
