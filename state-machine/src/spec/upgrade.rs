//! Arguments of `upgrade`.

use crate::rollout::Release;
use serde::{Deserialize, Serialize};

/// Arguments of `upgrade`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct UpgradeSpec {
    /// Release that every member shall run, as the cache itself calls it: 2.9.6.
    #[cfg_attr(
        feature = "schema",
        schemars(length(min = 1, max = 16), regex(pattern = "^[A-Za-z0-9][A-Za-z0-9._-]*$"))
    )]
    pub version: String,
    /// Repository of its image, without a tag. Absent: as it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(
        feature = "schema",
        schemars(length(min = 1, max = 255), regex(pattern = "^[A-Za-z0-9][A-Za-z0-9._/:-]*$"))
    )]
    pub repository: Option<String>,
    /// Tag of its image. Absent: the release.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(
        feature = "schema",
        schemars(length(min = 1, max = 128), regex(pattern = "^[A-Za-z0-9_][A-Za-z0-9._-]*$"))
    )]
    pub tag: Option<String>,
    /// So many workers may be missing at the same time. Masters and others go one after the other. More than one disregards
    /// the cache's PodDisruptionBudget where its own workers have used it up.
    #[serde(default = "default_unavailable")]
    #[cfg_attr(feature = "schema", schemars(range(min = 1, max = 64)))]
    pub max_unavailable: i32,
    /// Seconds that a member has to be ready before the next one goes.
    #[serde(default = "default_soak")]
    #[cfg_attr(feature = "schema", schemars(range(min = 0, max = 86_400)))]
    pub soak_seconds: i64,
    /// Seconds in which a member that was made anew has to serve; after that all of them are brought back.
    #[serde(default = "default_member_deadline")]
    #[cfg_attr(feature = "schema", schemars(range(min = 1, max = 86_400)))]
    pub member_deadline_seconds: i64,
    /// Also between releases that nobody has proven to read each other's journal: then the way back may not work.
    #[serde(default)]
    pub allow_unproven: bool,
    /// Absolute path in the cache's namespace, in its root store: what the masters know is saved below it before anything moves,
    /// as by the operation `backup`. Absent: nothing is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(length(min = 1, max = 1024)))]
    pub backup_path: Option<String>,
    /// Where it halts on its way.
    #[serde(default, skip_serializing_if = "Strategy::is_plain")]
    pub strategy: Strategy,
}

/// Where an upgrade halts on its way.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Strategy {
    /// Halts, each after more workers than the one before. None: it goes through.
    #[serde(default)]
    #[cfg_attr(feature = "schema", schemars(length(max = 8)))]
    pub steps: Vec<HaltAfter>,
}

impl Strategy {
    fn is_plain(&self) -> bool {
        self.steps.is_empty()
    }
}

/// One halt. Members that do not stay well meanwhile are a reason to take all back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct HaltAfter {
    /// It halts when so many workers are up on the release; 0: before the first one, when the masters and the job service are.
    #[cfg_attr(feature = "schema", schemars(range(min = 0, max = 256)))]
    pub workers: i32,
    /// Seconds from when the last of them was up.
    #[serde(default)]
    #[cfg_attr(feature = "schema", schemars(range(min = 0, max = 604_800)))]
    pub pause_seconds: i64,
    /// It goes on only once control.approve names it: planHash is step-1 for the first, and so on.
    #[serde(default)]
    pub approve: bool,
}

/// What approves the halt of this index.
#[must_use]
pub fn approves(index: usize) -> String {
    format!("step-{}", index.saturating_add(1))
}

const fn default_unavailable() -> i32 {
    1
}
const fn default_soak() -> i64 {
    10
}
const fn default_member_deadline() -> i64 {
    300
}

impl UpgradeSpec {
    /// To this release, with everything else as it is by default.
    #[must_use]
    pub fn to(release: Release) -> Self {
        Self {
            version: release.version,
            repository: Some(release.repository),
            tag: release.tag,
            max_unavailable: default_unavailable(),
            soak_seconds: default_soak(),
            member_deadline_seconds: default_member_deadline(),
            allow_unproven: false,
            backup_path: None,
            strategy: Strategy::default(),
        }
    }

    /// What a cache of this release is to become.
    #[must_use]
    pub fn release(&self, now: &Release) -> Release {
        Release {
            version: self.version.clone(),
            repository: self.repository.clone().unwrap_or_else(|| now.repository.clone()),
            tag: self.tag.clone(),
        }
    }

    pub(super) fn problems(&self) -> Vec<String> {
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
        let first = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let odd = |text: &str| !text.starts_with(first) || !text.chars().all(plain);
        let mut all = Vec::new();
        if odd(&self.version) {
            all.push(format!("upgrade.version {:?} is no release; write it as in 2.9.6", self.version));
        }
        if let Some(tag) = self.tag.as_ref().filter(|t| odd(t)) {
            all.push(format!(
                "upgrade.tag {tag:?} is no tag of an image; use letters, digits, '.', '-' and '_'"
            ));
        }
        let place = |c: char| plain(c) || matches!(c, '/' | ':');
        let begins = |r: &str| r.starts_with(|c: char| c.is_ascii_alphanumeric());
        if let Some(r) = self.repository.as_ref().filter(|r| !begins(r) || !r.chars().all(place)) {
            all.push(format!(
                "upgrade.repository {r:?} is no repository of images; leave tag and digest out of it"
            ));
        }
        let steps = &self.strategy.steps;
        if steps.iter().zip(steps.iter().skip(1)).any(|(a, b)| a.workers >= b.workers) {
            all.push("each of upgrade.strategy.steps has to name more workers than the one before".into());
        }
        if let Some(path) = &self.backup_path {
            all.extend(super::backup::place_problem(path));
        }
        all
    }
}
