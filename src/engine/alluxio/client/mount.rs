//! ```text
//! mount_table -> Vec<Mount>     mount, update_mount, unmount -> ()
//! ```
//! The mount table and its changes. The master repeats the properties of a mount in its errors, so calls that carry
//! values of Secrets hide them in whatever text comes back; in the table, what the master masks or what is named like a
//! credential is dropped when it is decoded. `remount` is never set: it unmounts, and then fails (2.9.6).

use std::collections::BTreeMap;

use ratchet_state_machine::spec::names_credential;

use super::proto::grpc::file::{
    GetMountTableRequest, MountOptions, MountPointInfo, MountRequest, UnmountOptions, UnmountRequest,
    UpdateMountRequest,
};
use super::proto::safe_options;
use super::{AlluxioClient, AlluxioError, absolute, calls};
use crate::engine::Secrets;

/// What the master shows instead of a value that it knows to be a credential (2.9.6).
const MASKED: &str = "******";

/// One mount point.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    /// Alluxio path.
    pub path: String,
    /// Address in the under-storage.
    pub ufs_uri: String,
    /// Such as `local` or `s3`; empty here, because the master finds it out by asking.
    pub ufs_type: String,
    /// Writes through this mount are refused.
    pub read_only: bool,
    /// All users may use it.
    pub shared: bool,
    /// Changes when the mount is updated.
    pub mount_id: i64,
    /// The properties that are no credentials. Some come back under another name than they were given.
    pub properties: BTreeMap<String, String>,
}

/// How a mount is to be.
#[derive(Debug, Clone, Copy)]
pub struct MountSettings<'a> {
    /// Refuse writes.
    pub read_only: bool,
    /// For all users.
    pub shared: bool,
    /// Properties that are no credentials.
    pub properties: &'a BTreeMap<String, String>,
    /// Properties that are.
    pub secrets: &'a Secrets,
}

impl MountSettings<'_> {
    fn wire(&self) -> MountOptions {
        let plain = self.properties.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        MountOptions {
            read_only: Some(self.read_only),
            properties: plain.chain(self.secrets.iter()).map(|(n, v)| (n.to_owned(), v.to_owned())).collect(),
            shared: Some(self.shared),
            common_options: Some(safe_options()),
        }
    }
}

impl AlluxioClient {
    /// The mount table in the order of the paths, without asking the under-storages.
    ///
    /// # Errors
    /// `NotReady` without a primary.
    pub async fn mount_table(&self) -> Result<Vec<Mount>, AlluxioError> {
        let request = GetMountTableRequest { check_ufs: Some(false) };
        let reply = self.router().unary(&calls::GET_MOUNT_TABLE, request).await?;
        Ok(reply.mount_points.into_iter().map(mount).collect())
    }

    /// Mounts `uri` at `path`, whose parent has to exist (Mount).
    ///
    /// # Errors
    /// `Refused` where something is at the path, where another mount is in the way, or where the under-storage cannot
    /// be used; `Unknown` if it may have been mounted: look at the table then.
    pub async fn mount(&self, path: &str, uri: &str, how: MountSettings<'_>) -> Result<(), AlluxioError> {
        let request = MountRequest {
            alluxio_path: Some(absolute(path)?),
            ufs_path: Some(uri.to_owned()),
            options: Some(how.wire()),
        };
        self.router().unary_hiding(&calls::MOUNT, request, how.secrets).await.map(|_| ())
    }

    /// Replaces the settings of a mount; what is cached stays (UpdateMount).
    ///
    /// # Errors
    /// `Refused` for a path that is no mount; `Unknown` if it may have been done.
    pub async fn update_mount(&self, path: &str, how: MountSettings<'_>) -> Result<(), AlluxioError> {
        let request = UpdateMountRequest { alluxio_path: Some(absolute(path)?), options: Some(how.wire()) };
        self.router().unary_hiding(&calls::UPDATE_MOUNT, request, how.secrets).await.map(|_| ())
    }

    /// Removes a mount; the under-storage keeps its files, the cache drops what it has of them (Unmount).
    ///
    /// # Errors
    /// `NotFound` where there is nothing; `Refused` for the root, for what is no mount and for one with mounts inside;
    /// `Unknown` if it may have been done.
    pub async fn unmount(&self, path: &str) -> Result<(), AlluxioError> {
        let options = Some(UnmountOptions { common_options: Some(safe_options()) });
        let request = UnmountRequest { alluxio_path: Some(absolute(path)?), options };
        self.router().unary(&calls::UNMOUNT, request).await.map(|_| ())
    }
}

fn mount((path, wire): (String, MountPointInfo)) -> Mount {
    Mount {
        path,
        ufs_uri: wire.ufs_uri.unwrap_or_default(),
        ufs_type: wire.ufs_type.unwrap_or_default(),
        read_only: wire.read_only.unwrap_or_default(),
        shared: wire.shared.unwrap_or_default(),
        mount_id: wire.mount_id.unwrap_or_default(),
        properties: wire
            .properties
            .into_iter()
            .filter(|(name, value)| value != MASKED && !names_credential(name))
            .collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_be_a_credential_is_not_kept_from_the_table() {
        let properties =
            [("s3a.secretKey", MASKED), ("my.token", "SESAME"), ("s3a.region", "x"), ("odd", MASKED)];
        let properties = properties.map(|(n, v)| (n.to_owned(), v.to_owned())).into_iter().collect();
        let seen = mount(("/a".into(), MountPointInfo { properties, ..MountPointInfo::default() }));
        assert_eq!(seen.properties, BTreeMap::from([("s3a.region".to_owned(), "x".to_owned())]));
    }

    #[test]
    fn plain_and_secret_properties_are_sent_together() {
        let properties = BTreeMap::from([("region".to_owned(), "x".to_owned())]);
        let secrets = Secrets::new(BTreeMap::from([("key".to_owned(), "SESAME".to_owned())]));
        let how =
            MountSettings { read_only: true, shared: false, properties: &properties, secrets: &secrets };
        let wire = how.wire();
        assert_eq!(wire.properties.len(), 2);
        assert_eq!((wire.read_only, wire.shared), (Some(true), Some(false)));
        assert_eq!(wire.common_options.and_then(|c| c.ttl), Some(-1));
    }
}
