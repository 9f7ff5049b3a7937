//! Bringing the members of a cache to a release, one after the other, and who is next.
//!
//! ```text
//!   forward: standby masters, primary, job master, job workers, workers, proxies      (each: drained where it has to be,
//!   back:    proxies, workers, job workers, job master, standby masters, primary       made anew, ready, release read back)
//! ```
//!
//! What is next follows from what is seen alone: a member that came back by itself counts as made anew, and whoever takes
//! over goes on where the last one was. A template counts only once the StatefulSet has the image of the revision and its own
//! controller has seen it. On the way back a master that does not serve comes first.

use crate::drain::{LeavingView, out_of_use_by};
use crate::members::{Known, Numbers, Written};
use serde::{Deserialize, Serialize};
use std::fmt;

/// A release of the cache, and where its image is.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Release {
    /// As the cache itself calls it.
    pub version: String,
    /// Repository of the image.
    pub repository: String,
    /// Its tag; the release, if there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tag: Option<String>,
}

/// Longest version, repository and tag together, in bytes: a journal's entry names a release.
pub const MAX_RELEASE: usize = 128;

impl Release {
    /// Whether it is too long for a journal.
    #[must_use]
    pub fn too_long(&self) -> bool {
        self.version.len() + self.repository.len() + self.tag.as_ref().map_or(0, String::len) > MAX_RELEASE
    }

    /// The image.
    #[must_use]
    pub fn image(&self) -> String {
        format!("{}:{}", self.repository, self.tag.as_ref().unwrap_or(&self.version))
    }
}

/// Releases of which each starts on what the other one wrote, journal and blocks (measured there and back).
const PROVEN: [[&str; 2]; 1] = [["2.9.4", "2.9.6"]];

/// Whether one release can follow the other and be taken back again.
#[must_use]
pub fn proven(a: &str, b: &str) -> bool {
    a == b || PROVEN.iter().any(|pair| pair.contains(&a) && pair.contains(&b))
}

/// What a member does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Role {
    /// A master.
    Master,
    /// The job master.
    JobMaster,
    /// A job worker.
    JobWorker,
    /// A worker.
    Worker,
    /// A proxy.
    Proxy,
}

impl Role {
    /// In the order in which they are upgraded.
    pub const ALL: [Self; 5] = [Self::Master, Self::JobMaster, Self::JobWorker, Self::Worker, Self::Proxy];

    /// In words.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Master => "master",
            Self::JobMaster => "job master",
            Self::JobWorker => "job worker",
            Self::Worker => "worker",
            Self::Proxy => "proxy",
        }
    }

    /// Whether the cache says of which release such a member is.
    #[must_use]
    pub const fn reports(self) -> bool {
        matches!(self, Self::Master | Self::Worker)
    }
}

/// From which template a pod was made, or will be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Template {
    /// Nobody can say yet: its StatefulSet is not what the revision says, or its controller has not seen that.
    #[default]
    Unknown,
    /// From the one that the revision makes.
    Current,
    /// From an earlier one.
    Before,
}

/// One member.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemberView {
    /// What it does.
    pub role: Role,
    /// Its number among those.
    pub number: i32,
    /// Uid of its pod, where there is one that is not on its way out.
    pub uid: Option<String>,
    /// What the pod was made from.
    pub template: Template,
    /// The pod is ready.
    pub ready: bool,
    /// So long already, in milliseconds.
    pub ready_ms: i64,
    /// Its release, as the cache says it.
    pub version: Option<String>,
    /// What the cache says of it; of members that it does not list: that it serves.
    pub known: Known,
    /// Bytes that it can hold.
    pub capacity_bytes: i64,
    /// Bytes that it holds.
    pub used_bytes: i64,
    /// It is the master that serves.
    pub primary: bool,
    /// What it keeps outlives its pod.
    pub survives: bool,
    /// It is out of use by the revision.
    pub aside: bool,
    /// What is wrong with its pod.
    pub trouble: Option<String>,
}

/// A worker whose pod is ready for this time has registered, in milliseconds.
const SETTLED_MS: i64 = 30_000;

impl MemberView {
    /// In words.
    #[must_use]
    pub fn title(&self) -> String {
        format!("{} {}", self.role.name(), self.number)
    }

    /// It does its work, of whatever release it is.
    #[must_use]
    pub fn serves(&self) -> bool {
        let listed = self.role != Role::Worker || (self.known == Known::Serves && self.capacity_bytes > 0);
        self.ready && (listed || self.aside)
    }

    /// It is of the release, and does its work.
    #[must_use]
    pub fn up(&self, version: &str) -> bool {
        let reports = self.role.reports() && !self.aside;
        let told = !reports || self.version.as_deref() == Some(version);
        self.template == Template::Current && self.serves() && told
    }

    /// It was told to leave while its process was the one that is there.
    fn told_out(&self) -> bool {
        let out = matches!(&self.known, Known::As(word) if out_of_use_by(word));
        self.role == Role::Worker && !self.aside && out && self.ready_ms >= SETTLED_MS
    }

    /// Its pod has to be made anew. On the way back that of a worker too that was told to leave and never went.
    #[must_use]
    pub fn open(&self, pace: &Pace) -> bool {
        let left = pace.back && pace.last != Some((self.role, self.number)) && self.told_out();
        self.uid.is_some() && (self.template == Template::Before || left)
    }

    /// Why it is not up.
    #[must_use]
    pub fn lacks(&self, version: &str) -> String {
        let title = self.title();
        if let Some(trouble) = &self.trouble {
            return format!("{title}: {trouble}");
        }
        if self.template == Template::Unknown {
            return format!("{title}: its StatefulSet is being told of the release");
        }
        if !self.serves() {
            return match &self.known {
                Known::As(word) => format!("{title} is {word}"),
                Known::No | Known::Serves => format!("{title} has not registered yet"),
            };
        }
        match &self.version {
            Some(found) if found != version => format!("{title} says that it is of release {found}"),
            Some(_) | None => format!("{title} does not say of which release it is"),
        }
    }
}

/// A cache on its way to another release.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RolloutView {
    /// Why nobody may change its members.
    pub foreign: Option<String>,
    /// Because it is gone, or goes.
    pub gone: bool,
    /// The stage of the set-up, while the cache was never ready.
    pub set_up: Option<String>,
    /// Number of the revision.
    pub revision: i64,
    /// The release that it names.
    pub release: Release,
    /// What this operation has written last.
    pub written: Written,
    /// Workers of the revision that are out of use.
    pub out: Numbers,
    /// Why the cache gives no answer.
    pub silent: Option<String>,
    /// The journal outlives the masters' pods.
    pub journal_kept: bool,
    /// The members.
    pub members: Vec<MemberView>,
    /// What hangs on the worker that is next, where it has to be drained.
    pub leaving: Option<LeavingView>,
}

/// What is to be done about the members.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Choice<'a> {
    /// This one is next.
    Next(&'a MemberView),
    /// This one has to come up first.
    For(&'a MemberView),
    /// This one is up, and not for long enough.
    Soaks(&'a MemberView),
    /// All are of the release.
    None,
}

/// How far the way is to be gone at once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pace {
    /// Back to the release of before.
    pub back: bool,
    /// Workers that may be missing at the same time.
    pub unavailable: usize,
    /// A member counts when it is ready for so long, in milliseconds.
    pub soak_ms: i64,
    /// The member that was made anew last: on the way back others that are not well are waited for by nobody, unless they are
    /// masters.
    pub last: Option<(Role, i32)>,
    /// Uid of the pod that was let go last: while it is there it goes first, on the way back in the end.
    pub hit: Option<String>,
}

impl RolloutView {
    /// Those of a role.
    pub fn of(&self, role: Role) -> impl Iterator<Item = &MemberView> {
        self.members.iter().filter(move |m| m.role == role)
    }

    /// How many are of the release and up.
    #[must_use]
    pub fn up(&self) -> i64 {
        let up = self.members.iter().filter(|m| m.up(&self.release.version)).count();
        i64::try_from(up).unwrap_or(i64::MAX)
    }

    /// Whether a worker has to be drained before its pod goes.
    #[must_use]
    pub fn drained(&self, member: &MemberView) -> bool {
        member.role == Role::Worker && !member.survives && !member.aside
    }

    /// Who is next.
    #[must_use]
    pub fn choose(&self, pace: &Pace) -> Choice<'_> {
        // Without a master nobody can be emptied.
        let broken = |m: &&MemberView| m.open(pace) && (!m.ready || self.silent.is_some());
        if pace.back
            && let Some(broken) = self.of(Role::Master).filter(broken).min_by_key(|m| (m.ready, m.number))
        {
            return Choice::Next(broken);
        }
        let hit = self.members.iter().find(|m| m.uid.is_some() && m.uid == pace.hit);
        // Who was to go and is there still goes first: no eviction is left on its way.
        if let Some(hit) = hit.filter(|m| !pace.back && m.open(pace)) {
            return Choice::Next(hit);
        }
        let mut roles = Role::ALL;
        if pace.back {
            roles.reverse();
        }
        for role in roles {
            match self.choose_of(role, pace) {
                Choice::None => {}
                choice @ (Choice::Next(_) | Choice::For(_) | Choice::Soaks(_)) => return choice,
            }
        }
        match hit.filter(|_| pace.back) {
            Some(hit) => Choice::Next(hit),
            // Masters that could not say so yet.
            None if pace.back && self.silent.is_some() => {
                self.of(Role::Master).next().map_or(Choice::None, Choice::For)
            }
            None => Choice::None,
        }
    }

    fn choose_of(&self, role: Role, pace: &Pace) -> Choice<'_> {
        let version = self.release.version.as_str();
        let waited = |m: &MemberView| {
            !pace.back || role == Role::Master || pace.last == Some((m.role, m.number)) || m.open(pace)
        };
        let fine = |m: &MemberView| match m.template {
            // Who cannot say of which release he is yet may need those who come after him.
            Template::Current if pace.back && role == Role::Master && self.silent.is_some() => m.ready,
            Template::Current => m.up(version) && !m.open(pace) && (pace.back || m.ready_ms >= pace.soak_ms),
            Template::Before => m.serves(),
            Template::Unknown => false,
        };
        // What the templates are is known of all before any goes.
        if let Some(member) = self.of(role).find(|m| m.template == Template::Unknown) {
            return Choice::For(member);
        }
        let missing = self.of(role).find(|m| !fine(m) && waited(m) && !m.open(pace));
        let gone = self.of(role).filter(|m| !fine(m) && waited(m) && !m.open(pace)).count();
        // Whoever is missing anyway first, the primary last.
        let open = self.of(role).filter(|m| m.open(pace)).min_by_key(|m| (fine(m), m.primary, m.number));
        let limit = if role == Role::Worker { pace.unavailable.max(1) } else { 1 };
        match (open, missing) {
            (Some(next), _) if gone < limit => Choice::Next(next),
            (_, Some(missing)) => self.pending(missing),
            (_, None) => Choice::None,
        }
    }

    fn pending<'a>(&self, member: &'a MemberView) -> Choice<'a> {
        match member.up(&self.release.version) {
            true => Choice::Soaks(member),
            false => Choice::For(member),
        }
    }
}

impl fmt::Display for Release {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.version, self.image())
    }
}
