//! `DataLoad`: data that shall be in a cache. Ratchet creates one DataOperation for it and mirrors that run's status.

use super::kind::kind;
use super::request::{Request, RunStatus, Terms};
use ratchet_state_machine::spec::{ArmSpec, LoadSpec, OperationSpec};
use serde::{Deserialize, Serialize};

kind! {
    /// Brings data into a cache and proves that it is there.
    DataLoad, plural "dataloads", scope NamespaceResourceScope,
    {
        /// What to load.
        spec: DataLoadSpec,
        /// The newest run.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        status: Option<RunStatus>,
    }
}

/// What to load. Immutable: another load is another object.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DataLoadSpec {
    /// On what terms.
    #[serde(flatten)]
    pub terms: Terms,
    /// The arguments of the load.
    #[serde(flatten)]
    pub load: LoadSpec,
    /// When to run.
    #[serde(default)]
    pub policy: Policy,
}

/// When a DataLoad runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, schemars::JsonSchema)]
pub enum Policy {
    /// Once, now.
    #[default]
    Once,
}

impl Request for DataLoad {
    fn operation(&self) -> OperationSpec {
        self.spec.terms.operation(ArmSpec::Load(self.spec.load.clone()))
    }

    fn run(&self) -> Option<&RunStatus> {
        self.status.as_ref()
    }
}
