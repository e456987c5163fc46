//! Volume commands to events.

use super::{Volume, VolumeCommand, VolumeEvent, VolumeReport, VolumeState};
use crate::{
    Decision, Event, Given, Kind, Refusal, World, command::Reference, decide::check_generation, event::Fact, repair, vm,
};

pub(crate) fn decide(world: &World, given: &Given, command: &VolumeCommand) -> Result<Decision, Refusal> {
    let (volume, generation, report) = match command {
        VolumeCommand::Reconcile { volume } => return repair::reconcile_volume(world, given, volume),
        VolumeCommand::Report { volume, generation, report } => (volume, generation, report),
    };
    let volume = world.volume(&Reference::id(*volume))?;
    check_generation(Kind::Volume, &volume.meta, *generation)?;
    let mut events = Vec::new();
    match (report, volume.state) {
        (VolumeReport::Created, VolumeState::Creating) => {
            events.push(fact(volume, VolumeEvent::VolumeBecameAvailable {}));
        }
        (VolumeReport::AttemptFailed(failed), VolumeState::Creating | VolumeState::Deleting) => {
            let failure = failed.clone().after(volume.failure.as_ref(), given.time);
            events.push(fact(volume, VolumeEvent::VolumeAttemptFailed { failure }));
        }
        (VolumeReport::Removed, VolumeState::Deleting) => {
            events.push(fact(volume, VolumeEvent::VolumeDeleted {}));
            events.extend(vm::deleted_with_its_last_volume(world, volume));
        }
        // Told already, or about a step that is past: nothing new.
        (
            VolumeReport::Created | VolumeReport::AttemptFailed(_) | VolumeReport::Removed,
            VolumeState::Creating | VolumeState::Available | VolumeState::Deleting,
        ) => {}
    }
    Ok(Decision::of(Kind::Volume, volume.id.uuid(), events))
}

/// The wish that the volume goes.
pub(crate) fn delete_requested(volume: &Volume) -> Option<Event> {
    (volume.state != VolumeState::Deleting).then(|| Event {
        generation: volume.meta.generation.next(),
        ..fact(volume, VolumeEvent::VolumeDeleteRequested {})
    })
}

pub(crate) fn fact(volume: &Volume, fact: VolumeEvent) -> Event {
    Event {
        resource_id: volume.id.uuid(),
        name: volume.meta.name.clone(),
        generation: volume.meta.generation,
        fact: Fact::Volume(fact),
    }
}
