//! What happens to floating IPs.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Association, FloatingIpSpec};
use crate::{Id, Labels, Name, load_balancer::LoadBalancer, meta::MetaChange, waiting::Failure};

/// An event of a floating IP.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, strum::IntoStaticStr, JsonSchema)]
#[serde(tag = "type", content = "data")]
pub enum FloatingIpEvent {
    /// It is held.
    FloatingIpCreated {
        /// Free text.
        description: String,
        /// Its labels.
        labels: Labels,
        /// What it is.
        spec: FloatingIpSpec,
        /// Its router's name, for people.
        router_name: Name,
    },
    /// Its description or labels are others.
    FloatingIpUpdated {
        /// Description and labels.
        change: MetaChange,
    },
    /// It shall lead to a VM.
    FloatingIpAssociated {
        /// Where to.
        association: Association,
        /// The VM's name, for people.
        vm_name: Name,
    },
    /// It shall lead to a load balancer.
    FloatingIpAssociatedWithLoadBalancer {
        /// Where to.
        load_balancer: Id<LoadBalancer>,
        /// Its name, for people.
        load_balancer_name: Name,
    },
    /// It shall lead nowhere.
    FloatingIpDisassociated {
        /// Where it led to, for people.
        vm_name: Name,
    },
    /// It shall lead nowhere, having led to a load balancer.
    FloatingIpDisassociatedFromLoadBalancer {
        /// Where it led to, for people.
        load_balancer_name: Name,
    },
    /// The nodes work by it.
    FloatingIpBecameReady {},
    /// Others changed or removed something of it; it is mended.
    FloatingIpDrifted {
        /// What, one a row.
        what: Vec<String>,
    },
    /// An attempt failed and will be repeated.
    FloatingIpAttemptFailed {
        /// What, why, when again.
        failure: Failure,
    },
    /// It shall go.
    FloatingIpDeleteRequested {},
    /// It is gone, and its address free.
    FloatingIpDeleted {},
    /// It is to be looked at now, whatever it waited for.
    FloatingIpReconcileRequested {},
    /// It is forgotten, whatever is left of it in the virtual network.
    FloatingIpForceRemoved {},
}
