//! Rules of a managed cache: what can be had, what stays as it is, and which settings are not a user's.

use super::{Rule, mount, rule};
use crate::api::managed::VERSIONS;

/// Settings that Ratchet sets itself, each with the field that is there instead.
pub const OWNED: &[(&str, &str)] = &[
    ("alluxio.home", "is where the image has it"),
    ("alluxio.conf.dir", "is where the image has it"),
    ("alluxio.site.conf.dir", "is where the image has it"),
    ("alluxio.master.hostname", "is each master's own name"),
    ("alluxio.master.bind.host", "is all of the pod's addresses"),
    ("alluxio.master.rpc.addresses", "follows from masters.replicas"),
    ("alluxio.master.rpc.port", "is 19998"),
    ("alluxio.master.web.port", "is 19999"),
    ("alluxio.master.journal.type", "follows from masters.replicas"),
    ("alluxio.master.journal.folder", "follows from masters.journal"),
    ("alluxio.master.embedded.journal.addresses", "follows from masters.replicas"),
    ("alluxio.master.embedded.journal.port", "is 19200"),
    ("alluxio.master.mount.table.root.ufs", "is rootStorage"),
    ("alluxio.worker.hostname", "is each worker's own name"),
    ("alluxio.worker.container.hostname", "is each worker's own name"),
    ("alluxio.worker.bind.host", "is all of the pod's addresses"),
    ("alluxio.worker.rpc.port", "is 29999"),
    ("alluxio.worker.web.port", "is 30000"),
    ("alluxio.worker.block.store.type", "follows from workers.tiers"),
    ("alluxio.worker.ramdisk.size", "is workers.tiers"),
    ("alluxio.worker.tieredstore.levels", "is workers.tiers"),
    ("alluxio.worker.tieredstore.level0.alias", "is workers.tiers"),
    ("alluxio.worker.tieredstore.level0.dirs.path", "is workers.tiers"),
    ("alluxio.worker.tieredstore.level0.dirs.quota", "is workers.tiers"),
    ("alluxio.worker.tieredstore.level0.dirs.mediumtype", "is workers.tiers"),
    ("alluxio.job.master.hostname", "is the job master's own name"),
    ("alluxio.job.master.rpc.addresses", "is the job master's own name"),
    ("alluxio.job.master.rpc.port", "is 20001"),
    ("alluxio.job.master.web.port", "is 20002"),
    ("alluxio.job.worker.hostname", "is each job worker's own name"),
    ("alluxio.security.authentication.type", "is security.mode"),
    ("alluxio.security.login.username", "is security.user"),
    ("alluxio.zookeeper.enabled", "has no place here: masters keep their journal together"),
    ("alluxio.zookeeper.address", "has no place here: masters keep their journal together"),
    ("alluxio.master.journal.init.from.backup", "would replace the journal at each start"),
    ("alluxio.user.file.create.ttl", "would delete users' files in the under-storage"),
    ("alluxio.user.file.create.ttl.action", "would delete users' files in the under-storage"),
];

/// What settings begin with that Ratchet sets itself; of them the API server checks those of [`OWNED`] only.
pub const OWNED_PREFIXES: &[(&str, &str)] = &[
    ("alluxio.worker.tieredstore.level", "is workers.tiers"),
    ("alluxio.master.mount.table.root.", "is rootStorage"),
    ("alluxio.master.embedded.journal.addresses", "follows from masters.replicas"),
    ("alluxio.zookeeper.", "has no place here: masters keep their journal together"),
];

fn one_of(of: &'static str, names: &[&str]) -> String {
    let has: Vec<String> = names.iter().map(|n| format!("has({of}.{n})")).collect();
    format!("[{}].filter(x, x).size() == 1", has.join(", "))
}

const VOLUMES: &[&str] = &["emptyDir", "hostPath", "volumeClaim"];

/// The rules.
pub fn rules() -> Vec<Rule> {
    let versions: Vec<String> = VERSIONS.iter().map(|v| format!("'{v}'")).collect();
    let known = format!("Ratchet does not know this version of Alluxio; it knows {}", VERSIONS.join(", "));
    let volume =
        |path| rule(path, one_of("self", VOLUMES), "set exactly one of emptyDir, hostPath and volumeClaim");
    let stays = |path, what: &str| {
        rule(path, "self == oldSelf", &format!("{what} cannot be changed; create another CacheCluster"))
    };
    let mut all = vec![
        rule(
            "",
            "!has(self.spec.managed) || self.metadata.name.matches('^[a-z]([-a-z0-9]{0,38}[a-z0-9])?$')",
            "the name of a managed cache is a prefix of its pods' names: at most 40 of a-z, 0-9 and '-', beginning \
             with a letter",
        ),
        rule("spec.managed.version", format!("self in [{}]", versions.join(", ")), &known),
        rule(
            "spec.managed.masters.replicas",
            "self == 1 || self == 3",
            "masters.replicas is 1, or 3 for a quorum that can lose one; two cannot lose any",
        ),
        stays("spec.managed.masters.replicas", "the number of masters"),
        volume("spec.managed.masters.journal"),
        stays("spec.managed.masters.journal", "the place of the journal"),
        volume("spec.managed.workers.tiers.[]"),
        rule(
            "spec.managed.workers.tiers.[]",
            "self.medium != 'MEM' || has(self.emptyDir)",
            "a tier of memory is an emptyDir",
        ),
        rule(
            "spec.managed.workers.tiers",
            "self.all(a, self.exists_one(b, b.medium == a.medium))",
            "two tiers have the same medium: a worker has one tier of each at most",
        ),
        stays("spec.managed.workers.tiers", "the tiers of the workers"),
        rule(
            "spec.managed.rootStorage",
            one_of("self", &["hostPath", "claimName", "uri"]),
            "set exactly one of rootStorage.hostPath, claimName and uri",
        ),
        rule(
            "spec.managed.rootStorage",
            "has(self.uri) || !has(self.options)",
            "rootStorage.options belong to a uri: remove them",
        ),
        stays("spec.managed.rootStorage", "the storage of the root"),
    ];
    all.push(rule(
        "spec.managed.rootStorage.uri",
        "!self.matches('^[a-z][a-z0-9+.-]*://[^/@:]*:[^/@]*@')",
        "uri holds a user and a password: keep them in a Secret and name that in options",
    ));
    all.push(rule(
        "spec.managed.rootStorage.options.[]",
        "self.name.matches('^[A-Za-z0-9._-]+$')",
        "the name of an option consists of a-z, 0-9, '.', '-' and '_'",
    ));
    all.extend(mount::options("spec.managed.rootStorage.options.[]", "spec.managed.rootStorage.options"));
    for (key, why) in OWNED {
        all.push(rule(
            "spec.managed.properties",
            format!("!('{key}' in self)"),
            &format!("{key} {why}: remove it from properties"),
        ));
    }
    all
}

/// Why a setting is not a user's; none: it is.
#[must_use]
pub fn owned(key: &str) -> Option<&'static str> {
    let exact = OWNED.iter().find(|(k, _)| *k == key);
    exact.or_else(|| OWNED_PREFIXES.iter().find(|(k, _)| key.starts_with(k))).map(|(_, why)| *why)
}
