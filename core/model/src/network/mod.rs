//! A network: a layer-2 segment with its addresses, on which VMs have NICs. Tenant networks (VXLAN, GRE, GENEVE) live
//! between the nodes; provider networks (FLAT, VLAN) are a network outside, reached through a node's bridge.
//!
//! Its states: [`crate::realization`].

mod check;
mod command;
mod decide;
mod event;
mod evolve;
mod removal;
#[cfg(test)]
mod tests;

use std::net::IpAddr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use check::{ENCAPSULATION_BYTES, SEGMENT_ID_MAX, UNDERLAY_MTU, VLAN_MAX};
pub use command::{CreateNetwork, NetworkCommand, SubnetRequest, UpdateNetwork};
pub(crate) use decide::{check_stays, decide};
pub use event::NetworkEvent;
pub(crate) use evolve::evolve;

use crate::{
    Id, Meta, Name,
    address::{Cidr, Ip, IpRange},
    realization::Realization,
};

/// The domain of VMs' names on their networks: the gateway pool answers for it, guests look names up in it. It is kept
/// free for such use (ICANN, resolution 2024.07.29.06).
pub const DOMAIN: &str = "internal";

/// A network.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Network {
    /// Its id; what is made of it carries it.
    pub id: Id<Network>,
    /// Name, labels, generation …
    pub meta: Meta,
    /// What it is to be.
    pub spec: NetworkSpec,
    /// Where it is on its way.
    pub realization: Realization,
}

/// What a network is to be; all that a request left open is settled.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct NetworkSpec {
    /// How it is carried.
    pub network_type: NetworkType,
    /// Which one it is: the VLAN of a network outside, the number of a segment; none for a flat one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub segment_id: Option<u32>,
    /// The network outside that it is, by the name that the nodes know it by.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub physical_network: Option<Name>,
    /// The largest packet that NICs on it send, bytes.
    pub mtu: u32,
    /// Its prefixes: one, or one of each family.
    pub subnets: Vec<Subnet>,
    /// Name servers that DHCP tells.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(with = "Vec<Ip>")]
    pub dns_servers: Vec<IpAddr>,
    /// Routes that DHCP tells.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub host_routes: Vec<HostRoute>,
    /// Whether guests get their addresses by DHCP.
    pub dhcp: bool,
    /// Whether NICs that say nothing of it are held to their own addresses ([`crate::vm::Nic::port_security`]).
    #[serde(default = "yes", skip_serializing_if = "is_yes")]
    pub port_security: bool,
}

/// Networks from before it could be switched off have it.
const fn yes() -> bool {
    true
}

#[allow(clippy::trivially_copy_pass_by_ref)] // serde's form
const fn is_yes(port_security: &bool) -> bool {
    *port_security
}

/// How a network is carried.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum NetworkType {
    /// Between nodes, by segment id.
    Vxlan,
    /// Between nodes, by segment id.
    Gre,
    /// Between nodes, by segment id.
    Geneve,
    /// A network outside, as it is.
    Flat,
    /// A network outside, by VLAN.
    Vlan,
}

impl NetworkType {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Vxlan, Self::Gre, Self::Geneve, Self::Flat, Self::Vlan];

    /// As users see it; the words of the product's first version.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Vxlan => "VXLAN",
            Self::Gre => "GRE",
            Self::Geneve => "GENEVE",
            Self::Flat => "FLAT",
            Self::Vlan => "VLAN",
        }
    }

    /// Whether it is a network outside.
    pub const fn is_provider(self) -> bool {
        match self {
            Self::Vxlan | Self::Gre | Self::Geneve => false,
            Self::Flat | Self::Vlan => true,
        }
    }
}

/// A prefix of a network.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Subnet {
    /// The prefix.
    pub cidr: Cidr,
    /// The router's address, if there is to be one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<Ip>")]
    pub gateway_ip: Option<IpAddr>,
    /// What addresses are given from, in this order.
    pub pools: Vec<IpRange>,
    /// How guests get their addresses; of IPv6 only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ipv6_mode: Option<Ipv6Mode>,
}

/// How guests get their IPv6 addresses. Source of the words: OpenStack Networking, `ipv6_address_mode`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Ipv6Mode {
    /// They make them of their MAC address (RFC 4862).
    #[default]
    Slaac,
    /// By DHCP (RFC 8415).
    Dhcpv6Stateful,
}

/// A route that guests are told of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct HostRoute {
    /// Where to.
    pub destination: Cidr,
    /// By which address on the network.
    #[schemars(with = "Ip")]
    pub next_hop: IpAddr,
}
