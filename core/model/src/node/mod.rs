//! A node: a host that runs VMs. It is registered and described by its own
//! monitoring worker; people cordon it.

mod command;
mod decide;
mod event;
mod evolve;
#[cfg(test)]
mod tests;

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use command::{NodeCommand, NodeReport, OrphansSeen, RemovedLeftover};
pub(crate) use decide::{decide, report, wish};
pub use event::NodeEvent;
pub(crate) use evolve::evolve;

use crate::{Id, Meta, orphan::Orphan};

/// A node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Node {
    /// Its id.
    pub id: Id<Node>,
    /// Name, labels, generation …
    pub meta: Meta,
    /// What its monitoring worker found.
    pub facts: NodeFacts,
    /// A cordoned node keeps its VMs and gets no new ones.
    pub cordoned: bool,
    /// Whether its workers are heard.
    pub readiness: Readiness,
    /// What is on it and not in the log, in order; at most [`crate::orphan::ORPHANS_MAX`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub orphans: Vec<Orphan>,
    /// How many orphans it has besides those.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub orphans_unlisted: u64,
    /// How far commits may leave the live log, by the last word that stands in this node's history.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log_released: Option<LogRelease>,
}

/// How far commits may leave the live log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogRelease {
    /// The last of them.
    pub through: u64,
    /// Its SHA-256, 64 hex digits.
    pub hash: String,
}

/// What a node is and has.
// Version 1 of the events that carry it has the schema of the plain name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "NodeFactsV2")]
pub struct NodeFacts {
    /// Its IP addresses.
    pub addresses: Vec<String>,
    /// `x86_64`, `aarch64`.
    pub architecture: String,
    /// Kernel release.
    pub kernel: String,
    /// Operating system, as /etc/os-release calls itself.
    pub operating_system: String,
    /// What runs its VMs.
    pub hypervisor: Hypervisor,
    /// What it has.
    pub capacity: Capacity,
    /// What VMs may take in all, overcommit counted in.
    pub allocatable: Capacity,
    /// Loopback ports for the SSH forwards of VMs with a user-mode NIC.
    pub ssh_ports: PortRange,
    /// Its way into the site's virtual network, where it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network: Option<NetworkFacts>,
}

/// A node's way into the site's virtual network.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct NetworkFacts {
    /// Its name there. Source: ovn-controller(8), `external_ids:system-id`.
    pub chassis: String,
    /// The networks outside that it leads to, in order. Source: there, `external_ids:ovn-bridge-mappings`.
    pub physical_networks: Vec<String>,
}

impl NodeFacts {
    /// Whether it leads to a network outside; not known of a node that tells nothing of networks.
    pub fn leads_to(&self, physical_network: &str) -> Option<bool> {
        let network = self.network.as_ref()?;
        Some(network.physical_networks.iter().any(|one| one == physical_network))
    }
}

/// A range of ports. It has none when its last comes before its first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PortRange {
    /// The first.
    pub first: u16,
    /// The last, also in it.
    pub last: u16,
}

/// What runs a node's VMs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Hypervisor {
    /// `QEMU`, or `simulated`.
    pub name: String,
    /// Its version.
    pub version: String,
    /// `kvm`, `tcg`, or `none` when simulated.
    pub accelerator: String,
    /// Why this accelerator, in a sentence.
    pub accelerator_reason: String,
    /// True when nothing real is made on this node (law 12).
    pub simulated: bool,
}

/// An amount of what VMs need.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Capacity {
    /// CPUs.
    pub vcpus: u64,
    /// Memory in MiB.
    pub memory_mib: u64,
    /// Disk in GiB.
    pub disk_gib: u64,
}

/// Whether a node's workers are heard.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Readiness {
    /// They are.
    pub ready: bool,
    /// Since when.
    pub since: DateTime<Utc>,
    /// Why it is not ready.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
fn is_zero(count: &u64) -> bool {
    *count == 0
}
