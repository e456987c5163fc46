//! Keypair commands to events.

use super::{Keypair, KeypairCommand, KeypairEvent};
use crate::{
    Decision, Event, Generation, Given, Kind, Refusal, World,
    decide::{check_description, check_name_free, check_precondition},
    event::Fact,
};

pub(crate) fn decide(world: &World, given: &Given, command: &KeypairCommand) -> Result<Decision, Refusal> {
    match command {
        KeypairCommand::Create { name, description, labels, key } => {
            check_description(description)?;
            check_name_free(world, Kind::Keypair, name)?;
            let id = given.new_ids[0];
            let fact = KeypairEvent::KeypairCreated {
                description: description.clone(),
                labels: labels.clone(),
                key: key.clone(),
            };
            let event =
                Event { resource_id: id, name: name.clone(), generation: Generation::FIRST, fact: Fact::Keypair(fact) };
            Ok(Decision::of(Kind::Keypair, id, vec![event]))
        }
        KeypairCommand::Update { keypair, change } => {
            let keypair = world.keypair(keypair)?;
            check_precondition(given, Kind::Keypair, &keypair.meta)?;
            change.description.as_deref().map_or(Ok(()), check_description)?;
            let change = change.clone().against(&keypair.meta);
            let changed = (!change.is_empty()).then(|| wish(keypair, KeypairEvent::KeypairUpdated { change }));
            Ok(Decision::of(Kind::Keypair, keypair.id.uuid(), changed.into_iter().collect()))
        }
        KeypairCommand::Delete { keypair } => {
            let keypair = world.keypair(keypair)?;
            check_precondition(given, Kind::Keypair, &keypair.meta)?;
            Ok(Decision::of(Kind::Keypair, keypair.id.uuid(), vec![wish(keypair, KeypairEvent::KeypairDeleted {})]))
        }
    }
}

fn wish(keypair: &Keypair, fact: KeypairEvent) -> Event {
    Event {
        resource_id: keypair.id.uuid(),
        name: keypair.meta.name.clone(),
        generation: keypair.meta.generation.next(),
        fact: Fact::Keypair(fact),
    }
}
