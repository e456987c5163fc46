//! A floating IP: an address outside that leads to one VM or load balancer at a time, through the router that its network
//! is on.
//!
//! It is held from the moment it is asked for until it is removed, whether it leads anywhere or not. What is done with a
//! VM or load balancer does nothing to it, but for its removal: from then on it leads nowhere, and stays held.
//!
//! Its states: [`crate::realization`].

mod association;
mod command;
mod decide;
mod event;
mod evolve;
#[cfg(test)]
mod tests;

use std::net::IpAddr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use command::{AssociationRequest, CreateFloatingIp, FloatingIpCommand};
pub use event::FloatingIpEvent;

pub(crate) use association::{freed_with, freed_with_load_balancer, freed_with_nic};
pub(crate) use decide::{decide, removed_with_network, wish};
pub(crate) use evolve::evolve;

use crate::{
    Id, Meta, World, address::Ip, load_balancer::LoadBalancer, network::Network, realization::Realization,
    router::Router, vm::Vm,
};

/// A floating IP.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FloatingIp {
    /// Its id; what is made of it carries it.
    pub id: Id<FloatingIp>,
    /// Name, labels, generation …
    pub meta: Meta,
    /// What it is.
    pub spec: FloatingIpSpec,
    /// The VM that it leads to, if to one.
    pub association: Option<Association>,
    /// The load balancer that it leads to, if to one; a VM or a load balancer, not both.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub load_balancer: Option<Id<LoadBalancer>>,
    /// Where it is on its way.
    pub realization: Realization,
}

/// What a floating IP is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct FloatingIpSpec {
    /// The router through which it leads.
    pub router: Id<Router>,
    /// The network outside that it is of.
    pub network: Id<Network>,
    /// The address.
    #[schemars(with = "Ip")]
    pub address: IpAddr,
}

/// Where a floating IP leads to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Association {
    /// The VM.
    pub vm: Id<Vm>,
    /// By which of its NICs.
    pub nic: u32,
    /// Under which of its addresses.
    #[schemars(with = "Ip")]
    pub fixed_ip: IpAddr,
}

impl FloatingIp {
    /// The network that it leads into, while there is what it leads to.
    pub fn leads_into(&self, world: &World) -> Option<Id<Network>> {
        let of_vm = self.association.as_ref().and_then(|to| to.network(world));
        of_vm.or_else(|| Some(world.load_balancers.get(&self.load_balancer?)?.spec.network))
    }
}

impl Association {
    /// The network that it leads into, while the VM has that NIC.
    pub fn network(&self, world: &World) -> Option<Id<Network>> {
        let vm = world.vms.get(&self.vm)?;
        vm.nics.iter().find(|nic| nic.spec.number == self.nic).map(|nic| nic.spec.network)
    }
}
