//! Arguments of `backup`.

use super::path_problem;
use serde::{Deserialize, Serialize};

/// Arguments of `backup`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct BackupSpec {
    /// Absolute path in the cache's namespace, in its root store. Each backup gets a folder of its own below it.
    #[cfg_attr(feature = "schema", schemars(length(min = 1, max = 1024)))]
    pub path: String,
    /// So many whole backups are kept below the path, this one among them; older ones are deleted from the store. Absent: all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(range(min = 1, max = 1000)))]
    pub keep: Option<i32>,
}

impl BackupSpec {
    pub(super) fn problems(&self) -> Vec<String> {
        place_problem(&self.path).into_iter().collect()
    }
}

/// What is wrong with the place of backups.
pub(super) fn place_problem(path: &str) -> Option<String> {
    if path == "/" {
        return Some("backups need a folder of their own; name one below '/', such as /backups".into());
    }
    path_problem(path)
}
