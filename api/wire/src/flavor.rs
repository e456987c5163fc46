//! Flavors as they travel.

use std::collections::BTreeMap;

use edgestack_model::flavor::{self, FlavorCommand, Shape};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{Invalid, invalid, meta::Meta};

/// A flavor.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Flavor {
    /// Identity and bookkeeping.
    #[serde(flatten)]
    pub meta: Meta,
    /// Virtual CPUs.
    pub vcpus: u32,
    /// Memory, MiB.
    pub memory_mib: u64,
    /// Root disk, GiB.
    pub disk_gib: u64,
    /// Each vCPU has a core of its own.
    pub dedicated_cpus: bool,
    /// Memory from huge pages of this size.
    pub huge_pages: Option<HugePages>,
    /// Guest NUMA nodes.
    pub numa_nodes: Option<u32>,
}

/// Size of huge pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub enum HugePages {
    /// 2 MiB.
    #[serde(rename = "2Mi")]
    Mi2,
    /// 1 GiB.
    #[serde(rename = "1Gi")]
    Gi1,
}

/// A flavor to be made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"name": "small", "vcpus": 1, "memory_mib": 512, "disk_gib": 4}))]
pub struct CreateFlavor {
    /// Its name.
    #[schema(pattern = "^[a-z0-9]([a-z0-9._-]{0,61}[a-z0-9])?$")]
    pub name: String,
    /// Free text of at most 1,024 characters.
    #[serde(default)]
    #[schema(max_length = 1024)]
    pub description: String,
    /// Its labels.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// Virtual CPUs.
    #[schema(minimum = 1, maximum = 256)]
    pub vcpus: u32,
    /// Memory, MiB.
    #[schema(minimum = 16, maximum = 16777216)]
    pub memory_mib: u64,
    /// Root disk, GiB.
    #[schema(minimum = 1, maximum = 65536)]
    pub disk_gib: u64,
    /// Each vCPU has a core of its own.
    #[serde(default)]
    pub dedicated_cpus: bool,
    /// Memory from huge pages of this size.
    #[serde(default)]
    pub huge_pages: Option<HugePages>,
    /// Guest NUMA nodes.
    #[serde(default)]
    #[schema(minimum = 1, maximum = 8)]
    pub numa_nodes: Option<u32>,
}

impl TryFrom<CreateFlavor> for FlavorCommand {
    type Error = Invalid;
    fn try_from(create: CreateFlavor) -> Result<Self, Invalid> {
        Ok(Self::Create {
            name: invalid::name(&create.name)?,
            description: create.description,
            labels: invalid::labels("labels", create.labels)?,
            shape: Shape {
                vcpus: create.vcpus,
                memory_mib: create.memory_mib,
                disk_gib: create.disk_gib,
                dedicated_cpus: create.dedicated_cpus,
                huge_pages: create.huge_pages.map(|size| match size {
                    HugePages::Mi2 => flavor::HugePages::Mi2,
                    HugePages::Gi1 => flavor::HugePages::Gi1,
                }),
                numa_nodes: create.numa_nodes,
            },
        })
    }
}

impl From<&flavor::Flavor> for Flavor {
    fn from(flavor: &flavor::Flavor) -> Self {
        Self {
            meta: Meta::of(flavor.id.uuid(), &flavor.meta),
            vcpus: flavor.shape.vcpus,
            memory_mib: flavor.shape.memory_mib,
            disk_gib: flavor.shape.disk_gib,
            dedicated_cpus: flavor.shape.dedicated_cpus,
            huge_pages: flavor.shape.huge_pages.map(|size| match size {
                flavor::HugePages::Mi2 => HugePages::Mi2,
                flavor::HugePages::Gi1 => HugePages::Gi1,
            }),
            numa_nodes: flavor.shape.numa_nodes,
        }
    }
}
