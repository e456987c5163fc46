//! Volumes as they travel: read-only today, the root disks of VMs.

use edgestack_model::{
    command::Reference,
    volume::{self, VolumeCommand},
};
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

/// Something to do with a volume.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "action", rename_all = "snake_case", deny_unknown_fields)]
#[schema(example = json!({"action": "reconcile"}))]
pub enum VolumeAction {
    /// Looks at it again now, whatever it waits for. Needs a reason.
    Reconcile {},
}

impl VolumeAction {
    /// The command that this action on a volume is.
    pub fn into_command(self, volume: Reference) -> VolumeCommand {
        match self {
            Self::Reconcile {} => VolumeCommand::Reconcile { volume },
        }
    }
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
