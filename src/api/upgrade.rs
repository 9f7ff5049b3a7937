//! `Upgrade`: the release that a managed cache shall run. Ratchet creates one DataOperation for it and mirrors that run's
//! status; an upgrade that did not work and was brought back shows the phase `RolledBack`.

use super::kind::kind;
use super::request::{Request, RunStatus, Terms};
use ratchet_state_machine::spec::{ArmSpec, OperationSpec, UpgradeSpec};
use serde::{Deserialize, Serialize};

kind! {
    /// Brings every member of a managed cache to another release, one after the other, while it serves.
    Upgrade, plural "upgrades", scope NamespaceResourceScope,
    {
        /// What to run.
        spec: UpgradeRequestSpec,
        /// The newest run.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        status: Option<RunStatus>,
    }
}

/// What to run. Immutable: another upgrade is another object.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct UpgradeRequestSpec {
    /// On what terms.
    #[serde(flatten)]
    pub terms: Terms,
    /// The arguments of the upgrade.
    #[serde(flatten)]
    pub upgrade: UpgradeSpec,
}

impl Request for Upgrade {
    fn operation(&self) -> OperationSpec {
        self.spec.terms.operation(ArmSpec::Upgrade(self.spec.upgrade.clone()))
    }

    fn run(&self) -> Option<&RunStatus> {
        self.status.as_ref()
    }
}
