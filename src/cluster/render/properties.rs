//! alluxio-site.properties of a managed cache: what Ratchet knows first, what the user adds after.

use super::pods::{self, JOURNAL};
use super::{JOB_MASTER_RPC, MASTER_JOURNAL, MASTER_RPC, Owner, RenderError, root_uri};
use crate::api::cluster::SecurityMode;
use crate::api::managed::Managed;
use ratchet_state_machine::ids::hash;

/// Name of the file.
pub const FILE: &str = "alluxio-site.properties";

/// Name of the ConfigMap with the settings: it says which they are.
pub fn config_name(owner: &Owner, managed: &Managed) -> Result<String, RenderError> {
    let digest = hash(&[b"settings", text(owner, managed)?.as_bytes()]);
    let hex: String = digest.bytes().take(6).map(|b| format!("{b:02x}")).collect();
    Ok(format!("{}-config-{hex}", owner.name))
}

/// The masters of a cache by the names of their pods, as members of the cache and clients reach them.
pub fn masters(name: &str, namespace: &str, replicas: i32) -> Vec<String> {
    (0..replicas).map(|i| format!("{name}-master-{i}.{name}-master.{namespace}.svc")).collect()
}

/// `host:port` of each.
fn addresses(hosts: &[String], port: i32) -> String {
    hosts.iter().map(|h| format!("{h}:{port}")).collect::<Vec<_>>().join(",")
}

/// The content.
pub fn text(owner: &Owner, managed: &Managed) -> Result<String, RenderError> {
    let mut all: Vec<(String, String)> = Vec::new();
    let mut set = |key: &str, value: &str| all.push((key.to_owned(), value.to_owned()));
    set("alluxio.master.mount.table.root.ufs", &root_uri(managed));
    for option in &managed.root_storage.options {
        // What comes from a Secret is not written down here: the masters get it in their environment.
        if let Some(value) = &option.value {
            set(&format!("alluxio.master.mount.table.root.option.{}", option.name), value);
        }
    }
    let authentication = match managed.security.mode {
        SecurityMode::Simple => "SIMPLE",
        SecurityMode::NoSasl => "NOSASL",
    };
    set("alluxio.security.authentication.type", authentication);
    if managed.security.mode == SecurityMode::NoSasl {
        // Alluxio does not start with permissions that nobody can be asked for.
        set("alluxio.security.authorization.permission.enabled", "false");
    }
    set("alluxio.security.login.username", &managed.security.user);
    set("alluxio.master.journal.folder", &format!("{JOURNAL}/data"));
    let hosts = masters(&owner.name, &owner.namespace, managed.masters.replicas);
    if managed.masters.replicas > 1 {
        set("alluxio.master.journal.type", "EMBEDDED");
        set("alluxio.master.rpc.addresses", &addresses(&hosts, MASTER_RPC));
        set("alluxio.master.embedded.journal.addresses", &addresses(&hosts, MASTER_JOURNAL));
    } else {
        set("alluxio.master.journal.type", "UFS");
        set("alluxio.master.hostname", &hosts.join(","));
    }
    if managed.jobs.workers > 0 {
        let host = format!("{0}-job-master-0.{0}-job-master.{1}.svc", owner.name, owner.namespace);
        set("alluxio.job.master.hostname", &host);
        set("alluxio.job.master.rpc.addresses", &format!("{host}:{JOB_MASTER_RPC}"));
    }
    set("alluxio.worker.tieredstore.levels", &managed.workers.tiers.len().to_string());
    for (level, tier) in managed.workers.tiers.iter().enumerate() {
        let key = |rest: &str| format!("alluxio.worker.tieredstore.level{level}.{rest}");
        set(&key("alias"), tier.medium.name());
        set(&key("dirs.path"), &pods::tier(level));
        set(&key("dirs.mediumtype"), tier.medium.name());
        set(&key("dirs.quota"), &size(&tier.size)?);
    }
    // Nothing asks the outside world for news.
    set("alluxio.master.update.check.enabled", "false");
    let mut text = String::from("# Written by Ratchet from spec.managed of the CacheCluster.\n");
    for (key, value) in all.iter().map(|(k, v)| (k, v)).chain(&managed.properties) {
        text.push_str(key);
        text.push('=');
        escape(value, &mut text);
        text.push('\n');
    }
    Ok(text)
}

/// `10Gi` as Alluxio writes it: its units are powers of two.
fn size(text: &str) -> Result<String, RenderError> {
    let wrong = || RenderError(format!("the size {text} is not a number with Ki, Mi, Gi or Ti"));
    let number = text.strip_suffix('i').ok_or_else(wrong)?;
    Ok(format!("{number}B"))
}

/// A value of a properties file (java.util.Properties): one line, nothing in it means anything else.
fn escape(value: &str, into: &mut String) {
    for (i, c) in value.chars().enumerate() {
        match c {
            '\\' => into.push_str("\\\\"),
            '\n' => into.push_str("\\n"),
            '\r' => into.push_str("\\r"),
            '\t' => into.push_str("\\t"),
            ' ' if i == 0 => into.push_str("\\ "),
            c if c.is_ascii() && !c.is_control() => into.push(c),
            c => {
                let mut units = [0; 2];
                for unit in c.encode_utf16(&mut units) {
                    into.push_str(&format!("\\u{unit:04x}"));
                }
            }
        }
    }
}
