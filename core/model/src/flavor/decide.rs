//! Flavor commands to events.

use super::{Flavor, FlavorCommand, FlavorEvent};
use crate::{
    Decision, Event, Generation, Given, Kind, Meta, Refusal, World,
    decide::{check_description, check_name_free, check_precondition},
    event::Fact,
};

pub(crate) fn decide(world: &World, given: &Given, command: &FlavorCommand) -> Result<Decision, Refusal> {
    match command {
        FlavorCommand::Create { name, description, labels, shape } => {
            check_description(description)?;
            shape.check()?;
            check_name_free(world, Kind::Flavor, name)?;
            let id = given.new_ids[0];
            let fact =
                FlavorEvent::FlavorCreated { description: description.clone(), labels: labels.clone(), shape: *shape };
            let event =
                Event { resource_id: id, name: name.clone(), generation: Generation::FIRST, fact: Fact::Flavor(fact) };
            Ok(Decision::of(Kind::Flavor, id, vec![event]))
        }
        FlavorCommand::Update { flavor, change } => {
            let flavor = world.flavor(flavor)?;
            check_precondition(given, Kind::Flavor, &flavor.meta)?;
            change.description.as_deref().map_or(Ok(()), check_description)?;
            let change = change.clone().against(&flavor.meta);
            let changed = (!change.is_empty()).then(|| wish(flavor, FlavorEvent::FlavorUpdated { change }));
            Ok(Decision::of(Kind::Flavor, flavor.id.uuid(), changed.into_iter().collect()))
        }
        FlavorCommand::Delete { flavor } => {
            let flavor = world.flavor(flavor)?;
            check_precondition(given, Kind::Flavor, &flavor.meta)?;
            check_unused(world, flavor.id, &flavor.meta)?;
            Ok(Decision::of(Kind::Flavor, flavor.id.uuid(), vec![wish(flavor, FlavorEvent::FlavorDeleted {})]))
        }
    }
}

fn wish(flavor: &Flavor, fact: FlavorEvent) -> Event {
    Event {
        resource_id: flavor.id.uuid(),
        name: flavor.meta.name.clone(),
        generation: flavor.meta.generation.next(),
        fact: Fact::Flavor(fact),
    }
}

fn check_unused(world: &World, id: crate::Id<Flavor>, meta: &Meta) -> Result<(), Refusal> {
    let by: Vec<String> = world
        .vms
        .values()
        .filter(|vm| vm.spec.flavor == id)
        .take(5)
        .map(|vm| format!("vm \"{}\"", vm.meta.name))
        .collect();
    if by.is_empty() { Ok(()) } else { Err(Refusal::InUse { kind: Kind::Flavor, name: meta.name.clone(), by }) }
}
