//! `NodeRegistered` and `NodeFactsChanged` of version 1: the range of SSH ports was a list of two numbers, of which only
//! prose said that they are the ends of a range.

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer};

use crate::{
    event::NodeEvent,
    node::{Capacity, Hypervisor, NodeFacts, PortRange},
};

/// The events of a node that had a version 1.
#[derive(Deserialize, JsonSchema)]
#[serde(tag = "type", content = "data")]
pub(crate) enum NodeEventV1 {
    /// Its worker registered it.
    NodeRegistered {
        /// What it has.
        facts: NodeFactsV1,
    },
    /// Its worker found something changed.
    NodeFactsChanged {
        /// What it has now.
        facts: NodeFactsV1,
    },
}

/// What a node is and has.
// Programs know its schema under the name that the type had.
#[derive(Deserialize, JsonSchema)]
#[schemars(rename = "NodeFacts")]
pub(crate) struct NodeFactsV1 {
    /// Its IP addresses.
    addresses: Vec<String>,
    /// `x86_64`, `aarch64`.
    architecture: String,
    /// Kernel release.
    kernel: String,
    /// Operating system, as /etc/os-release calls itself.
    operating_system: String,
    /// What runs its VMs.
    hypervisor: Hypervisor,
    /// What it has.
    capacity: Capacity,
    /// What VMs may take in all, overcommit counted in.
    allocatable: Capacity,
    /// Loopback ports for the SSH forwards of VMs with a user-mode NIC: first and last.
    ssh_ports: (u16, u16),
}

impl NodeEventV1 {
    /// The stored event, as one of version 2.
    pub(super) fn read<'de, D: Deserializer<'de>>(tagged: D) -> Result<NodeEvent, D::Error> {
        Self::deserialize(tagged).map(Self::upcast)
    }

    /// Version 1 to 2.
    fn upcast(self) -> NodeEvent {
        match self {
            Self::NodeRegistered { facts } => NodeEvent::NodeRegistered { facts: facts.upcast() },
            Self::NodeFactsChanged { facts } => NodeEvent::NodeFactsChanged { facts: facts.upcast() },
        }
    }
}

impl NodeFactsV1 {
    fn upcast(self) -> NodeFacts {
        let Self { addresses, architecture, kernel, operating_system, hypervisor, capacity, allocatable, ssh_ports } =
            self;
        let (first, last) = ssh_ports;
        let ssh_ports = PortRange { first, last };
        let network = None;
        NodeFacts {
            addresses,
            architecture,
            kernel,
            operating_system,
            hypervisor,
            capacity,
            allocatable,
            ssh_ports,
            network,
        }
    }
}
