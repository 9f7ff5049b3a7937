//! Rules for what is mounted, wherever a mount is written: the same sentences as the state machine's own, and the state
//! machine has the last word.

use super::{Rule, rule};

/// Parts of an option's name that make its value a credential; RE2, without regard to case.
const CREDENTIAL: &str = "secret|passw|passphrase|credential|token|access[._-]?key|account[._-]?key|\
                          api[._-]?key|private[._-]?key";

/// Where the parts of a mount stand in a schema.
pub struct At {
    /// Its path in the cache.
    pub path: &'static str,
    /// Its address.
    pub uri: &'static str,
    /// One of its options.
    pub option: &'static str,
    /// All of them.
    pub options: &'static str,
}

/// Rules for one mount.
pub fn rules(at: &At) -> Vec<Rule> {
    let mut all = vec![
        rule(
            at.path,
            "self != '/' && self.matches('^/[^/]+$')",
            "a mount is a direct child of '/', such as /data; nothing can be mounted at '/' or deeper",
        ),
        rule(
            at.path,
            "!(self in ['/.', '/..'])",
            "a path must not contain '.' or '..': write the plain absolute path",
        ),
        rule(
            at.path,
            "!self.matches('[[:cntrl:]]')",
            "a path must not contain control characters: remove them",
        ),
        rule(
            at.uri,
            "self.startsWith('/') || self.matches('^[a-z][a-z0-9+.-]*://.')",
            "uri is an address such as s3://bucket/path, or an absolute path on the masters and workers",
        ),
        rule(
            at.uri,
            "!self.matches('[[:cntrl:][:space:]]') && !self.matches('(^|/)[.][.]?(/|$)')",
            "uri must not contain spaces, control characters, '.' or '..'",
        ),
        rule(
            at.uri,
            "!self.matches('^[a-z][a-z0-9+.-]*://[^/@:]*:[^/@]*@')",
            "uri holds a user and a password: keep them in a Secret and name that in options",
        ),
    ];
    all.extend(options(at.option, at.options));
    all
}

/// Rules for options: for each, and for all of them.
pub fn options(one: &'static str, all: &'static str) -> Vec<Rule> {
    vec![
        rule(one, "has(self.value) != has(self.valueFrom)", "an option has either a value or a valueFrom"),
        rule(
            one,
            format!("!has(self.value) || !self.name.matches('(?i)({CREDENTIAL})')"),
            "this option is a credential: keep it in a Secret and name that in valueFrom",
        ),
        rule(
            all,
            "self.all(a, self.exists_one(b, b.name == a.name))",
            "an option is given twice: give it once",
        ),
    ]
}
