//! A flavor: the size of VMs made with it. Its size never changes (a VM keeps
//! what it was made with); only description and labels can.

mod command;
mod decide;
mod event;
mod evolve;
#[cfg(test)]
mod tests;

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use command::FlavorCommand;
pub(crate) use decide::decide;
pub use event::FlavorEvent;
pub(crate) use evolve::evolve;

use crate::{Id, Meta, Refusal};

/// A flavor.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Flavor {
    /// Its id.
    pub id: Id<Flavor>,
    /// Name, labels, generation …
    pub meta: Meta,
    /// What a VM gets.
    pub shape: Shape,
}

/// What a VM takes of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Shape {
    /// Virtual CPUs, 1 to 256.
    pub vcpus: u32,
    /// Memory in MiB, 16 MiB to 16 TiB.
    pub memory_mib: u64,
    /// Root disk in GiB, 1 GiB to 64 TiB.
    pub disk_gib: u64,
    /// Each vCPU has a core of its own.
    #[serde(default)]
    pub dedicated_cpus: bool,
    /// Memory from huge pages of this size.
    #[serde(default)]
    pub huge_pages: Option<HugePages>,
    /// Guest NUMA nodes, each within one of the host.
    #[serde(default)]
    pub numa_nodes: Option<u32>,
}

/// Size of huge pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum HugePages {
    /// 2 MiB pages.
    #[serde(rename = "2Mi")]
    Mi2,
    /// 1 GiB pages.
    #[serde(rename = "1Gi")]
    Gi1,
}

impl HugePages {
    /// As in requests and in KubeVirt's `hugepages.pageSize`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Mi2 => "2Mi",
            Self::Gi1 => "1Gi",
        }
    }
}

impl Shape {
    /// Checks the ranges, field by field.
    ///
    /// # Errors
    /// [`Refusal::Invalid`] naming the first field out of range.
    pub fn check(&self) -> Result<(), Refusal> {
        let range = |field: &'static str, value: u64, min: u64, max: u64| {
            if (min..=max).contains(&value) {
                return Ok(());
            }
            Err(Refusal::Invalid { field: field.into(), reason: format!("must be {min} to {max}, got {value}") })
        };
        range("vcpus", u64::from(self.vcpus), 1, 256)?;
        range("memory_mib", self.memory_mib, 16, 16 << 20)?;
        range("disk_gib", self.disk_gib, 1, 64 << 10)?;
        if let Some(numa_nodes) = self.numa_nodes {
            range("numa_nodes", u64::from(numa_nodes), 1, 8)?;
        }
        Ok(())
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plural = if self.vcpus == 1 { "" } else { "s" };
        write!(f, "{} vCPU{plural}, {} MiB memory, {} GiB disk", self.vcpus, self.memory_mib, self.disk_gib)
    }
}
