//! What is asked of `mount` and `unmount`, and what can be said about it without looking at a cache.

use super::{path_problem, paths_overlap};
use crate::lifecycle::cut;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// Arguments of `mount`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct MountSpec {
    /// Where the data appears in the cache's namespace: a direct child of `/`, such as `/training`.
    #[cfg_attr(feature = "schema", schemars(length(min = 1, max = 256)))]
    pub path: String,
    /// Address of the data in its store, such as `s3://bucket/training`; an absolute path is a directory of the masters
    /// and workers. No other mount of the cache may be above or below it.
    #[cfg_attr(feature = "schema", schemars(length(min = 1, max = 1024)))]
    pub uri: String,
    /// Whether writing through the cache is refused.
    #[serde(default)]
    pub read_only: bool,
    /// Whether all users of the cache may use it.
    #[serde(default)]
    pub shared: bool,
    /// Settings of the store's adapter, each with a value or with the key of a Secret. What is not named is unset.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[cfg_attr(feature = "schema", schemars(length(max = 32)))]
    pub options: Vec<MountOption>,
    /// Unmount what is mounted there from another address first. What the cache has of it is dropped.
    #[serde(default, skip_serializing_if = "is_false")]
    pub replace: bool,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it with a reference")]
const fn is_false(b: &bool) -> bool {
    !*b
}

/// A setting of a mount: a value, or where it is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct MountOption {
    /// Name, as the engine knows it.
    #[cfg_attr(feature = "schema", schemars(length(min = 1, max = 128)))]
    pub name: String,
    /// Its value. Credentials do not belong here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(length(max = 1024)))]
    pub value: Option<String>,
    /// Where its value is kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value_from: Option<ValueFrom>,
}

/// Where a value is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ValueFrom {
    /// A key of a Secret in the same namespace. Read when the mount is made; never copied anywhere else.
    pub secret_key_ref: SecretKey,
}

/// A key of a Secret.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct SecretKey {
    /// Name of the Secret.
    #[cfg_attr(feature = "schema", schemars(length(min = 1, max = 253)))]
    pub name: String,
    /// Key in it.
    #[cfg_attr(feature = "schema", schemars(length(min = 1, max = 253)))]
    pub key: String,
}

/// Arguments of `unmount`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct UnmountSpec {
    /// The mount's path in the cache's namespace.
    #[cfg_attr(feature = "schema", schemars(length(min = 1, max = 1024)))]
    pub path: String,
    /// Unmount what is mounted below it too, the deepest first. Otherwise such mounts are a reason to refuse.
    #[serde(default)]
    pub recursive: bool,
    /// What to do while other operations use the path.
    #[serde(default)]
    pub when_in_use: WhenInUse,
}

/// What an unmount does while other operations use its path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum WhenInUse {
    /// It fails and names one of them.
    #[default]
    Refuse,
    /// It takes its turn.
    Wait,
}

/// Parts of an option's name, lower case and without `.`, `_` and `-`, that make its value a credential.
const CREDENTIAL: [&str; 10] = [
    "secret",
    "password",
    "passwd",
    "passphrase",
    "credential",
    "token",
    "accesskey",
    "accountkey",
    "apikey",
    "privatekey",
];

/// Whether the value under this name is a credential, by the name.
#[must_use]
pub fn names_credential(name: &str) -> bool {
    let plain: String = name.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect();
    CREDENTIAL.iter().any(|word| plain.contains(word))
}

impl MountSpec {
    /// The Secrets that it needs, by option.
    pub fn secrets(&self) -> impl Iterator<Item = (&str, &SecretKey)> {
        self.options.iter().filter_map(|o| Some((o.name.as_str(), &o.value_from.as_ref()?.secret_key_ref)))
    }

    /// What the schema cannot refuse, one sentence for each problem.
    pub(super) fn problems(&self) -> Vec<String> {
        let mut all: Vec<String> = place_problem(&self.path).into_iter().collect();
        all.extend(uri_problem(&self.uri));
        let mut names = BTreeSet::new();
        for option in &self.options {
            let name = cut(&option.name, 60);
            if !names.insert(&option.name) {
                all.push(format!("the option {name} is given twice; give it once"));
            }
            match (&option.value, &option.value_from) {
                (Some(_), None) if names_credential(&option.name) => all.push(format!(
                    "the option {name} is a credential; keep it in a Secret and name that in valueFrom"
                )),
                (Some(_), None) | (None, Some(_)) => {}
                (Some(_), Some(_)) | (None, None) => {
                    all.push(format!("the option {name} needs either value or valueFrom"));
                }
            }
        }
        all
    }
}

impl UnmountSpec {
    pub(super) fn problems(&self) -> Vec<String> {
        if self.path == "/" {
            return vec!["the root of a cache cannot be unmounted; name a mount below it".into()];
        }
        path_problem(&self.path).into_iter().collect()
    }
}

/// What is wrong with the place of a mount.
fn place_problem(path: &str) -> Option<String> {
    if let Some(problem) = path_problem(path) {
        return Some(problem);
    }
    let shown = cut(path, 60);
    if path == "/" {
        return Some("nothing can be mounted at '/'; choose a direct child of it, such as /data".into());
    }
    // Alluxio 2.9 would take deeper ones too, but not where the store above has such a path; later engines take none.
    (path.matches('/').count() > 1)
        .then(|| format!("the path '{shown}' is not a direct child of '/'; mount it at /<name>"))
}

/// What is wrong with an address.
fn uri_problem(uri: &str) -> Option<String> {
    let shown = cut(uri, 60);
    let Some((scheme, rest)) = uri.split_once("://") else {
        return path_problem(uri).map(|p| format!("the uri is neither an address nor a good path: {p}"));
    };
    let known = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '+' | '.' | '-');
    if scheme.is_empty()
        || !scheme.starts_with(|c: char| c.is_ascii_lowercase())
        || !scheme.chars().all(known)
    {
        return Some(format!("the uri '{shown}' has no usable scheme; write it like s3://bucket/path"));
    }
    let authority = rest.split('/').next().unwrap_or_default();
    if authority.split_once('@').is_some_and(|(user, _)| user.contains(':')) {
        // Not repeated: it holds a password.
        return Some("the uri holds a user and a password; keep them in a Secret and use options".into());
    }
    if rest.is_empty() || uri.chars().any(|c| c.is_control() || c.is_whitespace()) {
        return Some(format!("the uri '{}' is not an address", shown.escape_debug()));
    }
    None
}

/// Scheme with authority, and path without its last slash, of an address; a plain path is of the scheme `file`.
fn parts(uri: &str) -> (String, &str) {
    let (root, path) = match uri.split_once("://") {
        None => ("file://".to_owned(), uri),
        Some((scheme, rest)) => {
            let at = rest.find('/').unwrap_or(rest.len());
            (format!("{scheme}://{}", &rest[..at]), &rest[at..])
        }
    };
    (root, path.trim_end_matches('/'))
}

/// Whether two addresses name the same place, whatever slash they end with.
#[must_use]
pub fn same_uri(a: &str, b: &str) -> bool {
    parts(a) == parts(b)
}

/// Whether one address contains the other, by whole components.
#[must_use]
pub fn uris_overlap(a: &str, b: &str) -> bool {
    let ((root, a), (other, b)) = (parts(a), parts(b));
    root == other && paths_overlap(a, b)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mount(path: &str, uri: &str) -> MountSpec {
        MountSpec {
            path: path.into(),
            uri: uri.into(),
            read_only: false,
            shared: false,
            options: Vec::new(),
            replace: false,
        }
    }

    fn plain(name: &str, value: &str) -> MountOption {
        MountOption { name: name.into(), value: Some(value.into()), value_from: None }
    }

    #[test]
    fn a_mount_in_the_wrong_place_or_from_no_address_gets_a_sentence() {
        for (path, uri) in [
            ("/", "s3://b"),
            ("/a/b", "s3://b"),
            ("a", "s3://b"),
            ("/a/", "s3://b"),
            ("/a", ""),
            ("/a", "relative/path"),
            ("/a", "S3://b"),
            ("/a", "://b"),
            ("/a", "s3://"),
            ("/a", "s3://b c"),
            ("/a", "s3://AKIA:SESAME@bucket/x"),
            ("/a", "/x/../y"),
        ] {
            let problems = mount(path, uri).problems();
            assert_eq!(problems.len(), 1, "{path} {uri}: {problems:?}");
            assert!(!problems[0].contains("SESAME"), "{problems:?}");
        }
        for uri in ["s3://bucket", "s3://bucket/a", "/data/x", "file:///data", "abfs://c@acc.dfs.core/x"] {
            assert_eq!(mount("/a", uri).problems(), Vec::<String>::new(), "{uri}");
        }
    }

    #[test]
    fn an_option_has_one_value_and_a_credential_is_kept_in_a_secret() {
        let with = |options| MountSpec { options, ..mount("/a", "s3://b") }.problems();
        assert!(with(vec![plain("s3a.region", "x")]).is_empty());
        assert!(with(vec![plain("aws.secretKey", "SESAME")])[0].contains("Secret"));
        assert!(with(vec![plain("a", "1"), plain("a", "2")])[0].contains("twice"));
        let none = MountOption { name: "a".into(), value: None, value_from: None };
        assert!(with(vec![none])[0].contains("either"));
    }

    #[test]
    fn addresses_are_compared_by_components() {
        assert!(same_uri("s3://b/x/", "s3://b/x") && same_uri("/x", "file:///x"));
        assert!(uris_overlap("s3://b", "s3://b/x") && uris_overlap("/a/b", "/a"));
        assert!(!uris_overlap("s3://b/x", "s3://b/xy") && !uris_overlap("s3://b", "s3://c"));
        assert!(!uris_overlap("s3://b", "gs://b"));
    }
}
