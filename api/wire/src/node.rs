//! Nodes as they travel.

use chrono::{DateTime, Utc};
use edgestack_model::{
    command::Reference,
    node::{self, NodeCommand},
    orphan,
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::{Invalid, invalid, meta::Meta};

/// A node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Node {
    /// Identity and bookkeeping.
    #[serde(flatten)]
    pub meta: Meta,
    /// `ready` or `not_ready`.
    #[schema(example = "ready")]
    pub state: String,
    /// False when cordoned: it keeps its VMs and gets no new ones.
    pub schedulable: bool,
    /// Its IP addresses.
    pub addresses: Vec<String>,
    /// `x86_64`, `aarch64`.
    pub architecture: String,
    /// Kernel release.
    pub kernel: String,
    /// Operating system.
    pub operating_system: String,
    /// What runs its VMs.
    pub hypervisor: Hypervisor,
    /// What it has.
    pub capacity: Capacity,
    /// What VMs may take in all, overcommit counted in.
    pub allocatable: Capacity,
    /// What its VMs have taken.
    pub used: Capacity,
    /// How many VMs have their place on it.
    pub vms: u64,
    /// Its way into the site's virtual network, where it has one.
    #[serde(default)]
    pub network: Option<NodeNetwork>,
    /// SR-IOV devices.
    pub sriov_devices: Vec<String>,
    /// What is true of it, since when and why.
    pub conditions: Vec<Condition>,
    /// What lies or runs on it, carries an id of EdgeStack's and is not in the log; the first 256. It is left alone.
    #[serde(default)]
    pub orphans: Vec<Orphan>,
    /// How many orphans it has besides those.
    #[serde(default)]
    pub orphans_unlisted: u64,
}

/// A node's way into the site's virtual network.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct NodeNetwork {
    /// Its name there, as OVN knows it.
    #[schema(example = "edge-1")]
    pub chassis: String,
    /// The networks outside that it leads to.
    #[schema(example = json!(["external"]))]
    pub physical_networks: Vec<String>,
}

/// Something on a node that carries an id of EdgeStack's and that the log does not account for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Orphan {
    /// `vm_folder`, `vm_process`, `volume`, `image`, `upload` or `unfinished_upload`.
    #[schema(example = "vm_folder")]
    pub kind: String,
    /// The id that it carries.
    pub id: Uuid,
    /// Where it is: a path below the node's state folder, or a process id.
    #[schema(example = "vms/0199a0b1-0000-7000-8000-000000000001")]
    pub place: String,
    /// When it was told first.
    pub since: DateTime<Utc>,
    /// Why it is one, and what a person can do about it.
    pub advice: String,
    /// What the node has written down of it, in words: with that it can be adopted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(example = "vm \"web-1\", 2 vCPUs, 1024 MiB memory, 10 GiB disk")]
    pub record: Option<String>,
}

/// What runs a node's VMs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Hypervisor {
    /// `QEMU`, or `simulated`.
    pub name: String,
    /// Its version.
    pub version: String,
    /// `kvm`, `tcg`, or `none` when simulated.
    pub accelerator: String,
    /// Why this one.
    pub accelerator_reason: String,
    /// True when nothing real is made on this node.
    pub simulated: bool,
}

/// An amount of what VMs need.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Capacity {
    /// CPUs.
    pub vcpus: u64,
    /// Memory, MiB.
    pub memory_mib: u64,
    /// Disk, GiB.
    pub disk_gib: u64,
}

/// Something that is true or not of a resource. Source of the form: Kubernetes' conditions.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Condition {
    /// Its name.
    #[serde(rename = "type")]
    #[schema(example = "Ready")]
    pub condition_type: String,
    /// Whether it is true.
    pub status: bool,
    /// Why, in words.
    pub message: String,
    /// Since when, where known.
    pub since: Option<DateTime<Utc>>,
}

impl From<node::Capacity> for Capacity {
    fn from(capacity: node::Capacity) -> Self {
        Self { vcpus: capacity.vcpus, memory_mib: capacity.memory_mib, disk_gib: capacity.disk_gib }
    }
}

impl From<&orphan::Orphan> for Orphan {
    fn from(orphan: &orphan::Orphan) -> Self {
        let artifact = &orphan.artifact;
        Self {
            kind: artifact.kind.to_string(),
            id: artifact.id,
            place: artifact.place.clone(),
            since: orphan.since,
            advice: orphan.advice(),
            record: orphan.record.as_ref().map(orphan::Record::describe),
        }
    }
}

impl Node {
    /// A node with what its VMs have taken and how many they are.
    pub fn of(node: &node::Node, used: node::Capacity, vms: u64) -> Self {
        let facts = &node.facts;
        let ready = &node.readiness;
        Self {
            meta: Meta::of(node.id.uuid(), &node.meta),
            state: if ready.ready { "ready" } else { "not_ready" }.to_owned(),
            schedulable: !node.cordoned,
            addresses: facts.addresses.clone(),
            architecture: facts.architecture.clone(),
            kernel: facts.kernel.clone(),
            operating_system: facts.operating_system.clone(),
            hypervisor: Hypervisor {
                name: facts.hypervisor.name.clone(),
                version: facts.hypervisor.version.clone(),
                accelerator: facts.hypervisor.accelerator.clone(),
                accelerator_reason: facts.hypervisor.accelerator_reason.clone(),
                simulated: facts.hypervisor.simulated,
            },
            capacity: facts.capacity.into(),
            allocatable: facts.allocatable.into(),
            used: used.into(),
            vms,
            network: facts.network.as_ref().map(|network| NodeNetwork {
                chassis: network.chassis.clone(),
                physical_networks: network.physical_networks.clone(),
            }),
            sriov_devices: vec![],
            conditions: vec![
                Condition {
                    condition_type: "Ready".to_owned(),
                    status: ready.ready,
                    message: ready.reason.clone().unwrap_or_else(|| "its workers are heard".to_owned()),
                    since: Some(ready.since),
                },
                Condition {
                    condition_type: "Schedulable".to_owned(),
                    status: !node.cordoned,
                    message: if node.cordoned { "cordoned" } else { "takes new VMs" }.to_owned(),
                    since: None,
                },
            ],
            orphans: node.orphans.iter().map(Into::into).collect(),
            orphans_unlisted: node.orphans_unlisted,
        }
    }
}

/// Something to do with a node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "action", rename_all = "snake_case", deny_unknown_fields)]
#[schema(example = json!({"action": "cordon"}))]
pub enum NodeAction {
    /// Places no new VMs on it; those it has stay.
    Cordon {},
    /// Places VMs on it again.
    Uncordon {},
    /// Looks at it again now: what it is, has, and what is on it. Needs a reason.
    Reconcile {},
    /// Forgets it when it is lost for good: it doesn't answer, and has no VMs. Needs a reason.
    ForceRemove {},
    /// Takes over one of its orphans as it is: the answer is the VM or image that it is from now on. Needs a reason.
    Adopt {
        /// The id that the orphan carries.
        id: Uuid,
        /// Its name from now on; the one that it had if absent.
        #[serde(default)]
        #[schema(pattern = "^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$")]
        name: Option<String>,
        /// A VM's flavor, where the log doesn't have the one that it was made with.
        #[serde(default)]
        #[schema(min_length = 1, max_length = 255)]
        flavor: Option<String>,
    },
}

impl NodeAction {
    /// The command that this action on a node is.
    ///
    /// # Errors
    /// [`Invalid`] names the field.
    pub fn into_command(self, node: Reference) -> Result<NodeCommand, Invalid> {
        Ok(match self {
            Self::Cordon {} => NodeCommand::Cordon { node },
            Self::Uncordon {} => NodeCommand::Uncordon { node },
            Self::Reconcile {} => NodeCommand::Reconcile { node },
            Self::ForceRemove {} => NodeCommand::ForceRemove { node },
            Self::Adopt { id, name, flavor } => NodeCommand::Adopt {
                node,
                id,
                name: name.as_deref().map(invalid::name).transpose()?,
                flavor: flavor.map(|flavor| invalid::reference("flavor", flavor)).transpose()?,
            },
        })
    }
}
