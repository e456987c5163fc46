//! What happens to load balancers.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::LoadBalancerSpec;
use crate::{Labels, meta::MetaChange, waiting::Failure};

/// An event of a load balancer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, strum::IntoStaticStr, JsonSchema)]
#[serde(tag = "type", content = "data")]
pub enum LoadBalancerEvent {
    /// It is asked for.
    LoadBalancerCreated {
        /// Free text.
        description: String,
        /// Its labels.
        labels: Labels,
        /// What it is to be.
        spec: LoadBalancerSpec,
        /// The same for people, with names.
        words: Vec<String>,
    },
    /// Something about it is to be otherwise.
    LoadBalancerUpdated {
        /// Description and labels.
        change: MetaChange,
        /// All that it is to be from now on.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        spec: Option<LoadBalancerSpec>,
        /// What of that is other than before, for people, with names.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        words: Vec<String>,
    },
    /// The nodes work by it.
    LoadBalancerBecameReady {},
    /// Others changed or removed something of it; it is mended.
    LoadBalancerDrifted {
        /// What, one a row.
        what: Vec<String>,
    },
    /// An attempt failed and will be repeated.
    LoadBalancerAttemptFailed {
        /// What, why, when again.
        failure: Failure,
    },
    /// It shall go.
    LoadBalancerDeleteRequested {},
    /// It is gone.
    LoadBalancerDeleted {},
    /// It is to be looked at now, whatever it waited for.
    LoadBalancerReconcileRequested {},
    /// It is forgotten, whatever is left of it in the virtual network.
    LoadBalancerForceRemoved {},
}
