//! The kinds that are served: the built-in ones, and those of CustomResourceDefinitions.

use crate::schema::Schema;
use std::sync::Arc;

/// A column of `kubectl get`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Column {
    /// Its heading.
    pub name: String,
    /// string, integer, number, boolean or date.
    pub type_: String,
    /// The JSON path, for example `.status.phase`.
    pub path: String,
    /// What it says.
    pub description: String,
    /// 0: always shown; above: with `-o wide`.
    pub priority: i64,
}

/// One kind, as discovery tells of it.
#[derive(Debug, Clone)]
pub struct Kind {
    /// API group; empty for the core group.
    pub group: String,
    /// Version.
    pub version: String,
    /// Kind.
    pub kind: String,
    /// Kind of a list.
    pub list_kind: String,
    /// Resource, plural.
    pub plural: String,
    /// Resource, singular.
    pub singular: String,
    /// Short names.
    pub short_names: Vec<String>,
    /// Categories.
    pub categories: Vec<String>,
    /// Whether objects lie in namespaces.
    pub namespaced: bool,
    /// Whether there is a status subresource.
    pub status: bool,
    /// Columns, for kinds of CRDs.
    pub columns: Vec<Column>,
    /// JSON paths that a field selector may name, beside metadata.name and metadata.namespace.
    pub selectable: Vec<String>,
    /// The schema, for kinds of CRDs; a built-in kind takes what it is given.
    pub schema: Option<Arc<Schema>>,
}

impl Kind {
    /// `group/version`, or `version` for the core group.
    #[must_use]
    pub fn api_version(&self) -> String {
        if self.group.is_empty() { self.version.clone() } else { format!("{}/{}", self.group, self.version) }
    }

    /// `plural.group`, as messages and CRD names have it.
    #[must_use]
    pub fn qualified(&self) -> String {
        if self.group.is_empty() { self.plural.clone() } else { format!("{}.{}", self.plural, self.group) }
    }
}
