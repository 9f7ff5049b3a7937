//! Arguments of the operations that change how many workers a cache has.

use crate::drain::Choose;
use serde::{Deserialize, Serialize};

/// Arguments of `scaleOut`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ScaleOutSpec {
    /// How many workers the cache shall have.
    #[cfg_attr(feature = "schema", schemars(range(min = 1, max = 256)))]
    pub workers: i32,
}

/// Arguments of `scaleIn`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ScaleInSpec {
    /// How many workers the cache shall have. Either this or `numbers`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(range(min = 1, max = 256)))]
    pub workers: Option<i32>,
    /// The workers that leave, by the numbers in their names: 3 for the pod `<cache>-worker-3-0`. One that is not there has
    /// left.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[cfg_attr(feature = "schema", schemars(length(max = 256), inner(range(min = 0, max = 255))))]
    pub numbers: Vec<i32>,
    /// Who leaves when `workers` says how many stay.
    #[serde(default)]
    pub choose: Choose,
}

/// Arguments of `decommission`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct DecommissionSpec {
    /// The workers, by the numbers in their names: 3 for the pod `<cache>-worker-3-0`.
    #[cfg_attr(feature = "schema", schemars(length(min = 1, max = 256), inner(range(min = 0, max = 255))))]
    pub numbers: Vec<i32>,
    /// Only those of them that are out of use by then: the engine may have forgotten it. Nobody else is touched.
    #[serde(default)]
    pub only_if_out_of_use: bool,
}

/// Arguments of `recommission`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct RecommissionSpec {
    /// The workers, by the numbers in their names: 3 for the pod `<cache>-worker-3-0`.
    #[cfg_attr(feature = "schema", schemars(length(min = 1, max = 256), inner(range(min = 0, max = 255))))]
    pub numbers: Vec<i32>,
}

impl ScaleInSpec {
    /// So many stay, and those with the highest numbers leave.
    #[must_use]
    pub fn to(workers: i32) -> Self {
        Self { workers: Some(workers), numbers: Vec::new(), choose: Choose::default() }
    }

    pub(super) fn problems(&self) -> Vec<String> {
        match (self.workers, self.numbers.as_slice()) {
            (Some(_), []) | (None, [_, ..]) => Vec::new(),
            (Some(_), [_, ..]) => vec!["scaleIn has both workers and numbers; give one of them".into()],
            (None, []) => vec!["scaleIn has neither workers nor numbers; give one of them".into()],
        }
    }
}
