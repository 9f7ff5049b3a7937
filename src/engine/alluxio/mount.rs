//! Mounts as effects: read the table, compare, call, and read again when the answer says no. The answer's text is not
//! believed: Alluxio says UNKNOWN to everything, and its words repeat what was sent.

use super::client::{AlluxioError, MountSettings};
use super::{Alluxio, signed};
use crate::engine::Call;
use ratchet_state_machine::effect::{Effect, Outcome, Receipt};
use ratchet_state_machine::lifecycle::cut;
use ratchet_state_machine::mounts::{MountTable, MountView, Standing};
use ratchet_state_machine::spec::{ArmSpec, MountSpec};
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::time::{Instant, timeout_at};

/// What has to be left of the window for the call itself, once everything is counted; of a short one a quarter.
const FOR_THE_CALL: Duration = Duration::from_secs(1);

/// Why a mount is not changed.
pub(super) enum Unchanged {
    /// The engine gave no answer, or said no.
    Engine(AlluxioError),
    /// It is not the time, or not right.
    Refused(Outcome),
}

impl From<AlluxioError> for Unchanged {
    fn from(error: AlluxioError) -> Self {
        Self::Engine(error)
    }
}

pub(super) fn refused(reason: &str, message: String, retryable: bool) -> Unchanged {
    Unchanged::Refused(Outcome::Refused { reason: reason.into(), message, retryable })
}

impl Alluxio {
    /// The mount table, and how many files below `count` only the cache has.
    pub(super) async fn table(&self, count: Option<&str>) -> Result<MountTable, AlluxioError> {
        let mounts = self.client.mount_table().await?.into_iter().map(|m| MountView {
            path: m.path,
            uri: m.ufs_uri,
            read_only: m.read_only,
            shared: m.shared,
            options: m.properties,
        });
        let mounts = mounts.collect();
        let unpersisted = match count {
            None => 0,
            Some(path) => match self.client.summarize(path).await {
                Ok(tree) => signed(tree.unpersisted_files),
                Err(AlluxioError::NotFound { .. }) => 0,
                Err(error) => return Err(error),
            },
        };
        Ok(MountTable { mounts, unpersisted })
    }

    /// Carries out an effect on the mount table.
    pub(super) async fn change_mount(&self, call: &Call<'_>) -> Result<Receipt, Unchanged> {
        match (call.effect, &call.spec.operation) {
            (Effect::Mount { .. }, ArmSpec::Mount(wanted)) => self.mount(wanted, call).await,
            (Effect::UpdateMount { .. }, ArmSpec::Mount(wanted)) => self.update(wanted, call).await,
            (Effect::Unmount { .. }, _) => self.unmount(call).await,
            (_, _) => Err(refused("InvalidEffect", "the spec names no mount".into(), false)),
        }
    }

    async fn mount(&self, wanted: &MountSpec, call: &Call<'_>) -> Result<Receipt, Unchanged> {
        match self.table(None).await?.standing(wanted) {
            Standing::Absent => {}
            Standing::AsWanted if wanted.secrets().next().is_none() => return Ok(attached()),
            // Whoever mounted it, perhaps a call of ours whose answer was lost: the credentials have to be these.
            Standing::AsWanted => return self.update(wanted, call).await,
            Standing::Differs { what } => {
                return Err(refused(
                    "Changed",
                    format!("it was mounted meanwhile, and differs in {what}"),
                    true,
                ));
            }
            Standing::Elsewhere { uri } => {
                return Err(refused("MountedElsewhere", format!("{uri} was mounted there meanwhile"), true));
            }
            Standing::Impossible { reason, message } => return Err(refused(reason, message, false)),
        }
        let plain = plain(wanted);
        in_time(call)?;
        let Err(error) = self.client.mount(&wanted.path, &wanted.uri, how(wanted, &plain, call)).await else {
            return Ok(Receipt::default());
        };
        let AlluxioError::Refused { message, .. } = &error else { return Err(error.into()) };
        // An earlier call of ours may have landed in between.
        if self.table(None).await?.standing(wanted) == Standing::AsWanted {
            return if wanted.secrets().next().is_none() {
                Ok(attached())
            } else {
                Err(refused(
                    "Changed",
                    "it was mounted meanwhile, perhaps with other credentials".into(),
                    true,
                ))
            };
        }
        Err(explain(message, wanted).unwrap_or(Unchanged::Engine(error)))
    }

    async fn update(&self, wanted: &MountSpec, call: &Call<'_>) -> Result<Receipt, Unchanged> {
        match self.table(None).await?.standing(wanted) {
            Standing::AsWanted | Standing::Differs { .. } => {}
            Standing::Absent | Standing::Elsewhere { .. } | Standing::Impossible { .. } => {
                return Err(refused("Changed", "it is not mounted any more".into(), true));
            }
        }
        let plain = plain(wanted);
        in_time(call)?;
        self.client.update_mount(&wanted.path, how(wanted, &plain, call)).await?;
        Ok(Receipt::default())
    }

    async fn unmount(&self, call: &Call<'_>) -> Result<Receipt, Unchanged> {
        let path = call.spec.operation.paths().first().map_or("", String::as_str);
        let forced = call.spec.control.force.is_some();
        let left = call.send_before.saturating_duration_since(Instant::now());
        let by = call.send_before - FOR_THE_CALL.min(left / 4);
        let count = (!forced).then_some(path);
        let Ok(table) = timeout_at(by, self.table(count)).await else {
            let message = "what only the cache has could not be counted in time; set control.force to give it up, or a \
                           longer --send-for-ms";
            return Err(refused("NotCounted", message.into(), true));
        };
        let table = table?;
        let next = table.next_to_unmount(call.spec).map_err(|no| refused(no.reason, no.message, false))?;
        let Some(mount) = next else { return Ok(attached()) };
        if let Some(message) = table.unpersisted_problem(path).filter(|_| !forced) {
            return Err(refused("NotPersisted", message, true));
        }
        in_time(call)?;
        self.client.unmount(&mount.path).await?;
        Ok(Receipt::default())
    }
}

fn attached() -> Receipt {
    Receipt { attached: true, ..Receipt::default() }
}

fn plain(wanted: &MountSpec) -> BTreeMap<String, String> {
    wanted.options.iter().filter_map(|o| Some((o.name.clone(), o.value.clone()?))).collect()
}

fn how<'a>(wanted: &MountSpec, plain: &'a BTreeMap<String, String>, call: &Call<'a>) -> MountSettings<'a> {
    let (read_only, shared) = (wanted.read_only, wanted.shared);
    MountSettings { read_only, shared, properties: plain, secrets: call.secrets }
}

/// The last thing before a changing call.
pub(super) fn in_time(call: &Call<'_>) -> Result<(), Unchanged> {
    if Instant::now() > call.send_before {
        return Err(Unchanged::Refused(crate::engine::window_closed()));
    }
    Ok(())
}

/// Why a mount was refused, in our own words. By the texts of 2.9.6.
fn explain(text: &str, wanted: &MountSpec) -> Option<Unchanged> {
    let (path, uri) = (cut(&wanted.path, 100), cut(&wanted.uri, 150));
    let (reason, message) = if text.contains("No Under File System Factory") {
        (
            "UnsupportedUnderStorage",
            format!("the cache has no adapter for {uri}; add its library to masters and workers"),
        )
    } else if text.contains("Ufs path") && text.contains("does not exist") {
        ("UnderStorageNotFound", format!("the masters find nothing at {uri}; correct the uri or create it"))
    } else if text.contains("shadows an existing path") {
        ("PathExists", format!("{path} exists in the store of the cache's root; choose another path"))
    } else if text.contains("already exists") {
        ("PathExists", format!("{path} exists in the cache and is no mount; choose another path"))
    } else if text.contains("is a prefix of") {
        ("NestedUnderStorage", format!("{uri} and another mount lie in one another"))
    } else {
        return None;
    };
    Some(refused(reason, message, false))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_of_2_9_6_become_ours() {
        let wanted = MountSpec {
            path: "/a".into(),
            uri: "s3://b".into(),
            read_only: false,
            shared: false,
            options: Vec::new(),
            replace: false,
        };
        for (text, reason) in [
            ("mount … Ufs path /nope does not exist", "UnderStorageNotFound"),
            ("No Under File System Factory found for: s3://x", "UnsupportedUnderStorage"),
            ("Mount point target path /a already exists in Alluxio namespace", "PathExists"),
            ("Mount path /a shadows an existing path /a in the parent underlying filesystem", "PathExists"),
            ("Mount point /x is a prefix of /x/y", "NestedUnderStorage"),
        ] {
            let found = explain(text, &wanted);
            let Some(Unchanged::Refused(Outcome::Refused { reason: said, retryable, .. })) = found else {
                panic!("{text}")
            };
            assert_eq!((said.as_str(), retryable), (reason, false), "{text}");
        }
        assert!(explain("Access Denied", &wanted).is_none());
    }
}
