//! A volume: a disk. Today each is the root disk of one VM, made when the VM is
//! placed and removed when nothing of the VM runs any more.
//!
//! ```text
//! creating ──▶ available ──▶ deleting ──▶ (gone)
//!     └─────────────────────────▲
//! ```

mod command;
mod decide;
mod event;
mod evolve;
#[cfg(test)]
mod tests;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use command::{VolumeCommand, VolumeReport};
pub(crate) use decide::{decide, delete_requested, fact};
pub use event::VolumeEvent;
pub(crate) use evolve::evolve;

use crate::{Id, Meta, image::Image, node::Node, vm::Vm, waiting::Failure};

/// A volume.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Volume {
    /// Its id.
    pub id: Id<Volume>,
    /// Name, labels, generation …
    pub meta: Meta,
    /// What it is to be.
    pub spec: VolumeSpec,
    /// Where it is on its way.
    pub state: VolumeState,
    /// The last failed attempt, until the next success.
    pub failure: Option<Failure>,
}

/// What a volume is to be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct VolumeSpec {
    /// The VM whose root disk it is.
    pub vm: Id<Vm>,
    /// The image it starts from.
    pub image: Id<Image>,
    /// The node on which it lies.
    pub node: Id<Node>,
    /// Its size as the guest sees it, GiB.
    pub size_gib: u64,
}

/// Where a volume is on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum VolumeState {
    /// The storage pool makes it.
    Creating,
    /// It can be used.
    Available,
    /// The storage pool removes it.
    Deleting,
}

impl VolumeState {
    /// As users see it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Creating => "creating",
            Self::Available => "available",
            Self::Deleting => "deleting",
        }
    }
}
