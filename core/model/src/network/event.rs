//! What happens to networks.

use std::net::IpAddr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{HostRoute, NetworkSpec};
use crate::{
    Labels,
    address::{Ip, IpRange},
    meta::MetaChange,
    waiting::Failure,
};

/// An event of a network.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, strum::IntoStaticStr, JsonSchema)]
#[serde(tag = "type", content = "data")]
pub enum NetworkEvent {
    /// It is asked for.
    NetworkCreated {
        /// Free text.
        description: String,
        /// Its labels.
        labels: Labels,
        /// What it is to be.
        spec: NetworkSpec,
    },
    /// Something about it is to be otherwise.
    NetworkUpdated {
        /// Description and labels.
        change: MetaChange,
        /// The largest packet, bytes.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        mtu: Option<u32>,
        /// Name servers that DHCP tells, all of them.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        #[schemars(with = "Option<Vec<Ip>>")]
        dns_servers: Option<Vec<IpAddr>>,
        /// Routes that DHCP tells, all of them.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        host_routes: Option<Vec<HostRoute>>,
        /// Whether guests get their addresses by DHCP.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        dhcp: Option<bool>,
        /// What the first prefix's addresses are given from, all of it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pools: Option<Vec<IpRange>>,
        /// Whether NICs that come, and say nothing of it, are held to their own addresses.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        port_security: Option<bool>,
    },
    /// The nodes work by it.
    NetworkBecameReady {},
    /// Others changed or removed something of it; it is mended.
    NetworkDrifted {
        /// What, one a row.
        what: Vec<String>,
    },
    /// An attempt failed and will be repeated.
    NetworkAttemptFailed {
        /// What, why, when again.
        failure: Failure,
    },
    /// It shall go.
    NetworkDeleteRequested {},
    /// It is gone.
    NetworkDeleted {},
    /// It is to be looked at now, whatever it waited for.
    NetworkReconcileRequested {},
    /// It is forgotten, whatever is left of it in the virtual network.
    NetworkForceRemoved {},
}
