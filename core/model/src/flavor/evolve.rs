//! Flavor events to the world.

use std::sync::Arc;

use super::{Flavor, FlavorEvent};
use crate::{
    Id, Kind, World,
    world::{At, Impossible},
};

pub(crate) fn evolve(world: &mut World, at: &At<'_>, event: &FlavorEvent) -> Result<(), Impossible> {
    let id = Id::new(at.resource_id);
    match event {
        FlavorEvent::FlavorCreated { description, labels, shape } => {
            world.claim_name(Kind::Flavor, at)?;
            let flavor = Flavor { id, meta: at.new_meta(description, labels), shape: *shape };
            world.flavors.insert(id, Arc::new(flavor));
        }
        FlavorEvent::FlavorUpdated { change } => {
            let flavor = world.flavors.get_mut(&id).ok_or_else(|| at.impossible("no such flavor"))?;
            let flavor = Arc::make_mut(flavor);
            change.apply(&mut flavor.meta);
            at.touch(&mut flavor.meta);
        }
        FlavorEvent::FlavorDeleted {} => {
            let flavor = world.flavors.remove(&id).ok_or_else(|| at.impossible("no such flavor"))?;
            world.release_name(Kind::Flavor, &flavor.meta.name);
        }
    }
    Ok(())
}
