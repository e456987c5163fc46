//! A router: joins networks, and leads to one outside. What it does with addresses on the way out is its SNAT; what comes
//! in from outside to a VM comes by a floating IP ([`crate::floating_ip`]).
//!
//! It is found under the gateway address of each network that it joins, and under an address of its own outside.
//!
//! Its states: [`crate::realization`].

mod check;
mod command;
mod decide;
mod event;
mod evolve;
#[cfg(test)]
mod tests;

use std::{collections::BTreeSet, net::IpAddr};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use command::{CreateRouter, ExternalRequest, RouterCommand, UpdateRouter};
pub use event::RouterEvent;

pub use check::of_network;
pub(crate) use check::on_network;
pub(crate) use decide::{check_stays, decide, left_network};
pub(crate) use evolve::evolve;

use crate::{
    Id, Meta,
    address::{Cidr, Ip, Mac},
    network::Network,
    realization::Realization,
};

/// So many networks a router may join.
pub const NETWORKS_MAX: usize = 64;

/// A router.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Router {
    /// Its id; what is made of it carries it.
    pub id: Id<Router>,
    /// Name, labels, generation …
    pub meta: Meta,
    /// What it is to be.
    pub spec: RouterSpec,
    /// Where it is on its way.
    pub realization: Realization,
}

/// What a router is to be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RouterSpec {
    /// Whether what leaves by it has its own address outside.
    pub enable_snat: bool,
    /// The networks that it joins.
    pub internal: BTreeSet<Id<Network>>,
    /// Its way outside.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub external: Option<External>,
    /// The next hop outside, if it is another than the external network's gateway.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peer: Option<PeerRouter>,
    /// Further routes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub routes: Vec<Route>,
}

/// A router's place outside.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct External {
    /// The network outside.
    pub network: Id<Network>,
    /// Its addresses there, one a prefix of the network.
    #[schemars(with = "Vec<Ip>")]
    pub addresses: Vec<IpAddr>,
}

/// The next hop outside, whom nobody need ask for his MAC address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PeerRouter {
    /// Its IP address, on the external network.
    #[schemars(with = "Ip")]
    pub ip_address: IpAddr,
    /// Its MAC address.
    pub mac_address: Mac,
}

/// A route of a router's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Route {
    /// Where to.
    pub destination: Cidr,
    /// By which address on one of its networks.
    #[schemars(with = "Ip")]
    pub next_hop: IpAddr,
}

/// The MAC address of a router outside: the same for its whole life, as others remember it.
pub fn external_mac(router: Id<Router>) -> Mac {
    let bytes = router.uuid().into_bytes();
    Mac::of_infrastructure(u32::from_be_bytes([0, bytes[13], bytes[14], bytes[15]]))
}
