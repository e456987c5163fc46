//! A simulated node, which says so.

use async_trait::async_trait;
use edgestack_model::node::{Capacity, Hypervisor, NodeFacts, PortRange};
use edgestack_pool::DriverError;

use super::NodeDriver;

/// A node that has what it is told to have.
#[derive(Clone, Copy, Debug)]
pub struct SimDriver {
    /// What VMs may take in all.
    pub allocatable: Capacity,
}

impl Default for SimDriver {
    fn default() -> Self {
        Self { allocatable: Capacity { vcpus: 1 << 20, memory_mib: 1 << 30, disk_gib: 1 << 30 } }
    }
}

#[async_trait]
impl NodeDriver for SimDriver {
    async fn facts(&self) -> Result<NodeFacts, DriverError> {
        Ok(NodeFacts {
            addresses: vec!["127.0.0.1".to_owned()],
            architecture: std::env::consts::ARCH.to_owned(),
            kernel: "simulated".to_owned(),
            operating_system: "simulated".to_owned(),
            hypervisor: Hypervisor {
                name: "simulated".to_owned(),
                version: env!("CARGO_PKG_VERSION").to_owned(),
                accelerator: "none".to_owned(),
                accelerator_reason: "this node is simulated: it makes nothing real".to_owned(),
                simulated: true,
            },
            capacity: self.allocatable,
            allocatable: self.allocatable,
            ssh_ports: PortRange { first: 1024, last: u16::MAX },
            network: None,
        })
    }
}
