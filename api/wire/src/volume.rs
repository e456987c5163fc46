//! Volumes as they travel: read-only today, the root disks of VMs.

use edgestack_model::volume;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::meta::Meta;

/// A volume.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Volume {
    /// Identity and bookkeeping.
    #[serde(flatten)]
    pub meta: Meta,
    /// `creating`, `available`, `deleting`.
    pub state: String,
    /// Its size as the guest sees it, GiB.
    pub size_gib: u64,
    /// The VM whose root disk it is.
    pub vm_id: Uuid,
    /// The image that it started from.
    pub image_id: Uuid,
    /// The node on which it lies.
    pub node_id: Uuid,
}

impl From<&volume::Volume> for Volume {
    fn from(volume: &volume::Volume) -> Self {
        Self {
            meta: Meta::of(volume.id.uuid(), &volume.meta),
            state: volume.state.as_str().to_owned(),
            size_gib: volume.spec.size_gib,
            vm_id: volume.spec.vm.uuid(),
            image_id: volume.spec.image.uuid(),
            node_id: volume.spec.node.uuid(),
        }
    }
}
