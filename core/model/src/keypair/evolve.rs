//! Keypair events to the world.

use std::sync::Arc;

use super::{Keypair, KeypairEvent};
use crate::{
    Id, Kind, World,
    world::{At, Impossible},
};

pub(crate) fn evolve(world: &mut World, at: &At<'_>, event: &KeypairEvent) -> Result<(), Impossible> {
    let id = Id::new(at.resource_id);
    match event {
        KeypairEvent::KeypairCreated { description, labels, key } => {
            world.claim_name(Kind::Keypair, at)?;
            let keypair = Keypair { id, meta: at.new_meta(description, labels), key: key.clone() };
            world.keypairs.insert(id, Arc::new(keypair));
        }
        KeypairEvent::KeypairUpdated { change } => {
            let keypair = world.keypairs.get_mut(&id).ok_or_else(|| at.impossible("no such keypair"))?;
            let keypair = Arc::make_mut(keypair);
            change.apply(&mut keypair.meta);
            at.touch(&mut keypair.meta);
        }
        KeypairEvent::KeypairDeleted {} => {
            let keypair = world.keypairs.remove(&id).ok_or_else(|| at.impossible("no such keypair"))?;
            world.release_name(Kind::Keypair, &keypair.meta.name);
        }
    }
    Ok(())
}
