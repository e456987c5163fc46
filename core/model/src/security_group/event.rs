//! What happens to security groups.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Labels, meta::MetaChange, waiting::Failure};

/// An event of a security group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, strum::IntoStaticStr, JsonSchema)]
#[serde(tag = "type", content = "data")]
pub enum SecurityGroupEvent {
    /// It is asked for.
    SecurityGroupCreated {
        /// Free text.
        description: String,
        /// Its labels.
        labels: Labels,
    },
    /// Its description or labels are others.
    SecurityGroupUpdated {
        /// Description and labels.
        change: MetaChange,
    },
    /// The nodes work by it.
    SecurityGroupBecameReady {},
    /// Others changed or removed something of it; it is mended.
    SecurityGroupDrifted {
        /// What, one a row.
        what: Vec<String>,
    },
    /// An attempt failed and will be repeated.
    SecurityGroupAttemptFailed {
        /// What, why, when again.
        failure: Failure,
    },
    /// It shall go.
    SecurityGroupDeleteRequested {},
    /// It is gone.
    SecurityGroupDeleted {},
    /// It is to be looked at now, whatever it waited for.
    SecurityGroupReconcileRequested {},
    /// It is forgotten, whatever is left of it in the virtual network.
    SecurityGroupForceRemoved {},
}
