//! From a path to what it names. Nothing here looks at objects.

use super::Kind;
use super::store::State;
use std::collections::BTreeMap;
use std::sync::Arc;

/// What a path names.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    /// Name of the table.
    pub table: String,
    /// The kind, in the version that was asked for.
    pub kind: Arc<Kind>,
    /// The namespace; empty for all of them and for cluster-scoped kinds.
    pub namespace: String,
    /// The object; `None` for the collection.
    pub name: Option<String>,
    /// `status`, `eviction`; empty for the object itself.
    pub sub: String,
    /// The old form of a watch, `/api/v1/watch/...`.
    pub watch: bool,
}

/// The outcome.
pub(crate) enum Routed {
    /// A resource.
    Target(Target),
    /// A group that is there, a resource that is not.
    NoResource,
    /// Nobody serves the path.
    NoPage,
}

impl State {
    /// Finds what a path names.
    pub(crate) fn route(&self, path: &str) -> Routed {
        let decoded: Vec<String> = path.split('/').filter(|s| !s.is_empty()).map(decode).collect();
        let parts: Vec<&str> = decoded.iter().map(String::as_str).collect();
        let (group, version, rest) = match parts.as_slice() {
            ["api", version, rest @ ..] => ("", *version, rest),
            ["apis", group, version, rest @ ..] => (*group, *version, rest),
            _ => return Routed::NoPage,
        };
        let lost = || {
            let custom = |k: &Arc<Kind>| k.schema.is_none() && k.group == group && k.version == version;
            if group.is_empty() || self.routes.values().any(|(_, kind)| custom(kind)) {
                Routed::NoResource
            } else {
                Routed::NoPage
            }
        };
        let (watch, rest) = match rest {
            ["watch", rest @ ..] => (true, rest),
            rest => (false, rest),
        };
        let core = group.is_empty();
        let (namespace, plural, rest) = match rest {
            ["namespaces", name, sub @ ("status" | "finalize")] if core => {
                ("", "namespaces", [*name, *sub].to_vec())
            }
            ["namespaces", namespace, plural, rest @ ..] => (*namespace, *plural, rest.to_vec()),
            [plural, rest @ ..] => ("", *plural, rest.to_vec()),
            [] => return lost(),
        };
        let Some((table, kind)) = self.routes.get(&key(group, version, plural)) else { return lost() };
        let (name, sub) = match rest.as_slice() {
            [] => (None, ""),
            [name] => (Some((*name).to_owned()), ""),
            [name, sub] => (Some((*name).to_owned()), *sub),
            _ => return lost(),
        };
        // A namespaced object needs its namespace, a cluster-scoped one has none.
        let wrong =
            if kind.namespaced { namespace.is_empty() && name.is_some() } else { !namespace.is_empty() };
        if wrong {
            return lost();
        }
        Routed::Target(Target {
            table: table.clone(),
            kind: kind.clone(),
            namespace: namespace.to_owned(),
            name,
            sub: sub.to_owned(),
            watch,
        })
    }
}

/// The key of a route.
pub(crate) fn key(group: &str, version: &str, plural: &str) -> String {
    format!("{group}/{version}/{plural}")
}

/// The parameters after the question mark; of several with one name the first counts.
#[derive(Debug, Default)]
pub(crate) struct Query(BTreeMap<String, String>);

impl Query {
    /// Reads them.
    pub(crate) fn parse(text: &str) -> Self {
        let mut map = BTreeMap::new();
        for pair in text.split('&').filter(|p| !p.is_empty()) {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            map.entry(decode(key)).or_insert_with(|| decode(&value.replace('+', " ")));
        }
        Self(map)
    }

    /// One of them; empty when it is not there.
    pub(crate) fn get(&self, name: &str) -> &str {
        self.0.get(name).map_or("", String::as_str)
    }

    /// Whether it is there at all.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    /// A switch: on for everything but absence, `false` and `0`.
    pub(crate) fn on(&self, name: &str) -> bool {
        self.0.get(name).is_some_and(|v| v != "false" && v != "0")
    }
}

/// Undoes percent-encoding; what is not well-formed stays as it is.
fn decode(text: &str) -> String {
    if !text.contains('%') {
        return text.to_owned();
    }
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let hex = text.get(at + 1..at + 3).and_then(|h| u8::from_str_radix(h, 16).ok());
        match (bytes[at], hex) {
            (b'%', Some(byte)) => {
                out.push(byte);
                at += 3;
            }
            (byte, _) => {
                out.push(byte);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}
