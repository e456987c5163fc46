//! Law 7 and 8: what is told of the virtual network is so when it is told, and at rest there is in it what the log
//! wishes, and nothing else.

use edgestack_model::{
    Command, World,
    realization::{RealizationReport, RealizationState},
    world::Resource,
};
use edgestack_worker_gateway::{
    desired::desired,
    plan::{as_found, plan},
    rows::Seen,
};

use super::guarded;
use crate::{
    objects::{Said, Told, Whose, goes_with, objects, told},
    outside::Outside,
};

/// What of a report is not so, before the engine hears of it; of no meaning where the engine does not take it.
pub fn untrue(outside: &Outside, world: &World, command: &Command) -> Option<String> {
    let northbound = &outside.northbound;
    let Told { id, generation, what } = told(command)?;
    let is_known = || world.resources().any(|one| one.id() == id && one.meta().generation == generation);
    let (whose, are_gone) = match what {
        Said::OfObject(RealizationReport::Realized) if is_known() => (vec![Whose::object(id)], false),
        Said::OfObject(RealizationReport::Removed) => {
            ([Whose::object(id)].into_iter().chain(goes_with(world, id)).collect(), true)
        }
        Said::NicsReady(numbers) => (numbers.iter().map(|number| Whose::nic(id, *number)).collect(), false),
        Said::OfObject(
            RealizationReport::Realized | RealizationReport::Drifted { .. } | RealizationReport::AttemptFailed(_),
        ) => return None,
    };
    if northbound.is_unconfirmed() {
        return Some(format!("{}, and the nodes have not confirmed the last write", command.name()));
    }
    let seen = northbound.seen();
    let untrue = whose.into_iter().filter(|whose| !northbound.is_loose(*whose)).find_map(|whose| match are_gone {
        true => what_is_left(&seen, whose),
        false => what_is_missing(&seen, world, whose)
            .or_else(|| is_known().then(|| guarded::unguarded(outside, &seen, world, whose)).flatten()),
    });
    untrue.map(|what| format!("{}, and {what}", command.name()))
}

fn what_is_left(seen: &Seen, whose: Whose) -> Option<String> {
    let left = seen.rows.keys().find(|key| Whose::is_named(key) == Some(whose))?;
    Some(format!("the {left} is left"))
}

fn what_is_missing(seen: &Seen, world: &World, whose: Whose) -> Option<String> {
    let wished = desired(world);
    // What follows from others comes with those, and is told with them.
    let differences = plan(&as_found(&wished, seen), seen).differences;
    wished.iter().filter(|(_, wanted)| Whose::from(wanted.owner) == whose).find_map(|(key, _)| {
        let what = differences.get(key)?;
        Some(format!("the {key} is not as wished: {what}"))
    })
}

/// All that is wished is there, and told so; nothing else is.
///
/// # Errors
/// What is not settled yet, the first of it.
pub fn check(outside: &Outside, world: &World) -> Result<(), String> {
    for object in objects(world) {
        let (title, state) = (object.title(), object.realization.state);
        if object.waits_for_nics(world) {
            continue;
        }
        if state != RealizationState::Active {
            let waiting = match &object.resource {
                Resource::Network(network) => network.waiting(world),
                _ => object.realization.waiting(world),
            };
            return Err(format!("{title} is {}, waiting {waiting:?}", state.as_str()));
        }
    }
    for vm in world.vms.values() {
        if let Some(nic) = vm.nics.iter().find(|nic| !nic.ready) {
            return Err(format!("NIC {} of vm {} is not ready", nic.spec.number, vm.meta.name));
        }
    }
    match plan(&desired(world), &outside.northbound.seen()).changes.first() {
        None => guarded::check(outside, world),
        Some(change) => Err(format!("the virtual network is not as wished: {change:?} is to be done")),
    }
}
