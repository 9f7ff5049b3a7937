//! Who may call: the person (`dev`) and the controller's account, each by a token of its own that lies in a kubeconfig
//! which only its owner can read. A call without a token, or with another one, is answered with 401.

use super::{DevError, tls};
use crate::api::CONTROLLER_USER;
use k8s_openapi::ByteString;
use ratchet_simulator::api::User;
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::net::SocketAddr;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

/// The kubeconfig of the person.
pub const KUBECONFIG: &str = "kubeconfig";
/// The kubeconfig of the controller's account, for a controller in a process of its own.
pub const CONTROLLER_KUBECONFIG: &str = "controller.kubeconfig";
const TOKENS: &str = "tokens.json";

/// The person.
pub fn dev() -> User {
    User { name: "dev".into(), groups: groups(&["system:masters"]) }
}

/// The controller.
pub fn controller() -> User {
    let groups = groups(&["system:serviceaccounts", "system:serviceaccounts:ratchet-system"]);
    User { name: CONTROLLER_USER.into(), groups }
}

/// Whoever sets up and cleans up: what the API server and its controller manager are in a cluster.
pub fn system() -> User {
    User { name: "system:apiserver".into(), groups: groups(&["system:masters"]) }
}

fn groups(names: &[&str]) -> Vec<String> {
    names.iter().chain(&["system:authenticated"]).map(|&n| n.to_owned()).collect()
}

/// The tokens, as they are kept.
#[derive(Serialize, Deserialize)]
pub struct Users {
    dev: String,
    controller: String,
}

impl Users {
    /// The tokens of this directory, made when there are none.
    ///
    /// # Errors
    /// [`DevError::Data`].
    pub fn load(data: &Path) -> Result<Self, DevError> {
        let path = data.join(TOKENS);
        if let Ok(text) = fs::read(&path)
            && let Ok(users) = serde_json::from_slice(&text)
        {
            return Ok(users);
        }
        let users = Self { dev: token(), controller: token() };
        let text = json!({"dev": users.dev, "controller": users.controller}).to_string();
        write_private(&path, text.as_bytes())?;
        Ok(users)
    }

    /// Who has this `Authorization` header.
    pub fn of(&self, authorization: &str) -> Option<User> {
        let token = authorization.strip_prefix("Bearer ")?.trim();
        if same(token, &self.dev) {
            Some(dev())
        } else if same(token, &self.controller) {
            Some(controller())
        } else {
            None
        }
    }

    /// Writes the kubeconfigs for this address.
    ///
    /// # Errors
    /// [`DevError::Data`].
    pub fn write_kubeconfigs(&self, data: &Path, address: SocketAddr) -> Result<(), DevError> {
        let ca = data.join(tls::CA);
        let ca = ByteString(fs::read(&ca).map_err(DevError::data(ca))?);
        for (file, user, token) in
            [(KUBECONFIG, "dev", &self.dev), (CONTROLLER_KUBECONFIG, "ratchet", &self.controller)]
        {
            let config = json!({
                "apiVersion": "v1",
                "kind": "Config",
                "current-context": "ratchet-dev",
                "clusters": [{"name": "ratchet-dev", "cluster": {
                    "server": format!("https://{address}"),
                    "certificate-authority-data": ca,
                }}],
                "contexts": [{"name": "ratchet-dev", "context": {
                    "cluster": "ratchet-dev", "namespace": "default", "user": user,
                }}],
                "users": [{"name": user, "user": {"token": token}}],
            });
            let path = data.join(file);
            let text = serde_yaml_ng::to_string(&config)
                .map_err(|e| DevError::data(&path)(std::io::Error::other(e)))?;
            write_private(&path, text.as_bytes())?;
        }
        Ok(())
    }
}

fn token() -> String {
    format!("{}{}", uuid::Uuid::new_v4().simple(), uuid::Uuid::new_v4().simple())
}

/// Compares without telling by its time how much is the same.
fn same(a: &str, b: &str) -> bool {
    a.len() == b.len() && a.bytes().zip(b.bytes()).fold(0, |d, (x, y)| d | (x ^ y)) == 0
}

/// Writes a file that only its owner can read, in one step: whoever reads it sees the old one or the new one.
///
/// # Errors
/// [`DevError::Data`].
pub fn write_private(path: &Path, text: &[u8]) -> Result<(), DevError> {
    let fresh = path.with_extension("new");
    let write = || {
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&fresh)?;
        file.write_all(text)?;
        file.sync_all()?;
        fs::rename(&fresh, path)
    };
    write().map_err(DevError::data(path))
}
