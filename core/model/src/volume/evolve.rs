//! Volume events to the world.

use std::sync::Arc;

use super::{Volume, VolumeEvent, VolumeState};
use crate::{
    Id, Kind, Labels, World,
    world::{At, Impossible},
};

pub(crate) fn evolve(world: &mut World, at: &At<'_>, event: &VolumeEvent) -> Result<(), Impossible> {
    let id = Id::new(at.resource_id);
    match event {
        VolumeEvent::VolumeCreated { spec } => {
            world.claim_name(Kind::Volume, at)?;
            let meta = at.new_meta("", &Labels::default());
            let volume = Volume { id, meta, spec: spec.clone(), state: VolumeState::Creating, failure: None };
            world.volumes.insert(id, Arc::new(volume));
            return Ok(());
        }
        VolumeEvent::VolumeDeleted {} | VolumeEvent::VolumeForceRemoved {} => {
            let volume = world.volumes.remove(&id).ok_or_else(|| at.impossible("no such volume"))?;
            world.release_name(Kind::Volume, &volume.meta.name);
            return Ok(());
        }
        VolumeEvent::VolumeBecameAvailable {}
        | VolumeEvent::VolumeAttemptFailed { .. }
        | VolumeEvent::VolumeDeleteRequested {}
        | VolumeEvent::VolumeReconcileRequested {} => {}
    }
    let volume = Arc::make_mut(world.volumes.get_mut(&id).ok_or_else(|| at.impossible("no such volume"))?);
    at.touch(&mut volume.meta);
    match event {
        VolumeEvent::VolumeCreated { .. } | VolumeEvent::VolumeDeleted {} | VolumeEvent::VolumeForceRemoved {} => {}
        VolumeEvent::VolumeBecameAvailable {} => {
            volume.state = VolumeState::Available;
            volume.failure = None;
        }
        VolumeEvent::VolumeAttemptFailed { failure } => volume.failure = Some(failure.clone()),
        VolumeEvent::VolumeReconcileRequested {} => volume.failure = None,
        VolumeEvent::VolumeDeleteRequested {} => {
            volume.state = VolumeState::Deleting;
            volume.failure = None;
        }
    }
    Ok(())
}
