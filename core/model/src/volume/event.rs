//! What happens to volumes.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::VolumeSpec;
use crate::waiting::Failure;

/// An event of a volume.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, strum::IntoStaticStr, JsonSchema)]
#[serde(tag = "type", content = "data")]
pub enum VolumeEvent {
    /// It is asked for.
    VolumeCreated {
        /// What it is to be.
        spec: VolumeSpec,
    },
    /// It is there and can be used.
    VolumeBecameAvailable {},
    /// An attempt failed and will be repeated.
    VolumeAttemptFailed {
        /// What, why, when again.
        failure: Failure,
    },
    /// It shall go.
    VolumeDeleteRequested {},
    /// It is gone.
    VolumeDeleted {},
    /// It is to be looked at now, whatever it waited for.
    VolumeReconcileRequested {},
    /// It is forgotten, whatever is left of it on its node.
    VolumeForceRemoved {},
}
