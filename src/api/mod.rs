//! The Kubernetes kinds of group `ratchet.dev`, version `v1alpha1`, and the rules that the API server enforces.
//!
//! ```text
//!   state-machine types --schemars--> schema --rules--> CRD --crdgen--> crds/*.yaml
//! ```
//!
//! The kinds are plain structs; [`crd`] builds their CustomResourceDefinitions, [`rules`] the CEL rules from the
//! transition tables, [`admission`] the ValidatingAdmissionPolicies.

pub mod admission;
pub mod cluster;
pub mod conditions;
pub mod crd;
pub mod dataset;
pub mod journal;
pub mod kind;
pub mod load;
pub mod lock;
pub mod managed;
pub mod operation;
pub mod request;
pub mod rules;
pub mod upgrade;

pub use cluster::{CacheCluster, CacheClusterSpec, CacheClusterStatus};
pub use dataset::{Dataset, DatasetStatus};
pub use journal::{OperationJournal, OperationJournalSpec};
pub use load::{DataLoad, DataLoadSpec};
pub use lock::{TargetLock, TargetLockSpec};
pub use operation::{DataOperation, DataOperationStatus};
pub use request::{Request, RunStatus};
pub use upgrade::Upgrade;

/// The API group.
pub const GROUP: &str = "ratchet.dev";
/// The API version.
pub const VERSION: &str = "v1alpha1";
/// `apiVersion` of every kind.
pub const API_VERSION: &str = "ratchet.dev/v1alpha1";
/// Keeps a running operation in place until its work is stopped, its lock free and its journal sealed.
pub const FINALIZER: &str = "ratchet.dev/operation";
/// Label on what belongs to an operation: its uid.
pub const LABEL_OPERATION: &str = "ratchet.dev/operation-uid";
/// The user that the controller acts as, unless it is installed elsewhere.
pub const CONTROLLER_USER: &str = "system:serviceaccount:ratchet-system:ratchet";
