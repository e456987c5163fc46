//! Law 7 and 8: what is told of the virtual network is so when it is told, and at rest there is in it what the log
//! wishes, and nothing else.

use edgestack_model::{
    Command, World,
    network::NetworkCommand,
    realization::{RealizationReport, RealizationState},
    vm::{VmCommand, VmReport},
};
use edgestack_worker_gateway::{desired::desired, plan::plan, rows::Owner};

use crate::{northbound::owner_of, outside::Outside};

/// What of a report is not so, before the engine hears of it; of no meaning where the engine does not take it.
pub fn untrue(outside: &Outside, world: &World, command: &Command) -> Option<String> {
    let northbound = &outside.northbound;
    let (owners, are_gone) = match command {
        Command::Network(NetworkCommand::Report { network, generation, report }) => {
            let known = world.networks.get(network).is_some_and(|network| network.meta.generation == *generation);
            match report {
                RealizationReport::Realized if known => (vec![Owner::Network(*network)], false),
                RealizationReport::Removed => (vec![Owner::Network(*network)], true),
                RealizationReport::Realized
                | RealizationReport::Drifted { .. }
                | RealizationReport::AttemptFailed(_) => return None,
            }
        }
        Command::Vm(VmCommand::Report { vm, report: VmReport::NicsReady { numbers }, .. }) => {
            (numbers.iter().map(|number| Owner::Nic(*vm, *number)).collect(), false)
        }
        _ => return None,
    };
    if northbound.is_unconfirmed() {
        return Some(format!("{}, and the nodes have not confirmed the last write", command.name()));
    }
    let untrue = owners.into_iter().filter(|owner| !northbound.is_loose(*owner)).find_map(|owner| match are_gone {
        true => what_is_left(outside, owner),
        false => what_is_missing(outside, world, owner),
    });
    untrue.map(|what| format!("{}, and {what}", command.name()))
}

fn what_is_left(outside: &Outside, owner: Owner) -> Option<String> {
    let seen = outside.northbound.seen();
    let left = seen.rows.keys().find(|key| owner_of(key) == Some(owner))?;
    Some(format!("the {left} is left"))
}

fn what_is_missing(outside: &Outside, world: &World, owner: Owner) -> Option<String> {
    let (wished, seen) = (desired(world), outside.northbound.seen());
    let differences = plan(&wished, &seen).differences;
    wished.iter().filter(|(_, wanted)| wanted.owner == owner).find_map(|(key, wanted)| {
        let differs = if wanted.is_derived { !seen.rows.contains_key(key) } else { differences.contains_key(key) };
        differs.then(|| format!("the {key} is not as wished: {:?}", differences.get(key)))
    })
}

/// All that is wished is there, and told so; nothing else is.
///
/// # Errors
/// What is not settled yet, the first of it.
pub fn check(outside: &Outside, world: &World) -> Result<(), String> {
    for network in world.networks.values() {
        let (name, state) = (&network.meta.name, network.realization.state);
        if state != RealizationState::Active {
            let waiting = network.realization.waiting(world);
            return Err(format!("network {name} is {}, waiting {waiting:?}", state.as_str()));
        }
    }
    for vm in world.vms.values() {
        if let Some(nic) = vm.nics.iter().find(|nic| !nic.ready) {
            return Err(format!("NIC {} of vm {} is not ready", nic.spec.number, vm.meta.name));
        }
    }
    match plan(&desired(world), &outside.northbound.seen()).changes.first() {
        None => Ok(()),
        Some(change) => Err(format!("the virtual network is not as wished: {change:?} is to be done")),
    }
}
