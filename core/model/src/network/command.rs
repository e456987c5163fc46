//! What can be asked of networks, and what the gateway pool reports.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::{HostRoute, Ipv6Mode, Network, NetworkType};
use crate::{
    Generation, Id, Labels, Name,
    address::{Cidr, IpRange},
    command::Reference,
    meta::MetaChange,
    realization::RealizationReport,
};

/// A command on a network.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "kebab-case")]
pub enum NetworkCommand {
    /// Makes a new one.
    Create(Box<CreateNetwork>),
    /// Changes what can be changed.
    Update(Box<UpdateNetwork>),
    /// Removes it. Refused while something is on it.
    Delete {
        /// Which.
        network: Reference,
        /// What is on it goes first: NICs, load balancers, floating IPs; routers leave it.
        #[serde(default)]
        cascade: bool,
    },
    /// Looks at it again now, whatever it waits for; see [`crate::repair`].
    Reconcile {
        /// Which.
        network: Reference,
    },
    /// Forgets it, whatever is left of it in the virtual network; see [`crate::repair`].
    ForceRemove {
        /// Which.
        network: Reference,
    },
    /// From the gateway pool.
    Report {
        /// Which.
        network: Id<Network>,
        /// The generation it acted on.
        generation: Generation,
        /// What it did or saw.
        report: RealizationReport,
    },
}

/// What a network is to be; what is left open is chosen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CreateNetwork {
    /// Its name.
    pub name: Name,
    /// Free text.
    pub description: String,
    /// Its labels.
    pub labels: Labels,
    /// How it is carried.
    pub network_type: NetworkType,
    /// The segment id or VLAN wished for.
    pub segment_id: Option<u32>,
    /// The network outside that it is.
    pub physical_network: Option<Name>,
    /// The largest packet, bytes, if not the largest that fits.
    pub mtu: Option<u32>,
    /// Its prefixes.
    pub subnets: Vec<SubnetRequest>,
    /// Name servers that DHCP tells.
    pub dns_servers: Vec<IpAddr>,
    /// Routes that DHCP tells.
    pub host_routes: Vec<HostRoute>,
    /// Whether guests get their addresses by DHCP.
    pub dhcp: bool,
    /// Whether NICs that say nothing of it are held to their own addresses.
    #[serde(default = "super::yes")]
    pub port_security: bool,
}

/// A prefix to be used.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SubnetRequest {
    /// The prefix.
    pub cidr: Cidr,
    /// The router's address: none if it is not to have one, the first host's if nothing is said.
    pub gateway_ip: Option<Option<IpAddr>>,
    /// What addresses are given from; all hosts' if empty.
    pub pools: Vec<IpRange>,
    /// How guests get their addresses; of IPv6 only.
    pub ipv6_mode: Option<Ipv6Mode>,
}

/// A change; an absent field leaves what is there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UpdateNetwork {
    /// Which.
    pub network: Reference,
    /// Description and labels.
    pub change: MetaChange,
    /// The largest packet, bytes.
    pub mtu: Option<u32>,
    /// Name servers that DHCP tells.
    pub dns_servers: Option<Vec<IpAddr>>,
    /// Routes that DHCP tells.
    pub host_routes: Option<Vec<HostRoute>>,
    /// Whether guests get their addresses by DHCP.
    pub dhcp: Option<bool>,
    /// What the first prefix's addresses are given from.
    pub pools: Option<Vec<IpRange>>,
    /// Whether NICs that come, and say nothing of it, are held to their own addresses.
    pub port_security: Option<bool>,
}

impl NetworkCommand {
    /// The command's name in the envelope.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Create(_) => "create-network",
            Self::Update(_) => "update-network",
            Self::Delete { .. } => "remove-network",
            Self::Reconcile { .. } => "reconcile-network",
            Self::ForceRemove { .. } => "force-remove-network",
            Self::Report { report, .. } => match report {
                RealizationReport::Realized => "report-network-realized",
                RealizationReport::Drifted { .. } => "report-network-drifted",
                RealizationReport::AttemptFailed(_) => "report-network-attempt-failed",
                RealizationReport::Removed => "report-network-removed",
            },
        }
    }
}
