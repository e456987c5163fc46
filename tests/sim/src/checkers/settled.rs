//! Law 7 to 9: once nothing goes wrong any more, everything comes to where it is wished, in the log and outside, and
//! nothing lies about that the log does not know but what was left there, and that each node lists.

use std::collections::BTreeSet;

use edgestack_model::{
    World,
    image::ImageState,
    orphan::{Artifact, Standing, standing},
    vm::{Power, State, Vm},
    volume::VolumeState,
};
use edgestack_worker_vm::driver::{Observed, VmDriver as _};

use crate::{
    outside::{Node, Outside},
    planting::on,
};

/// All of a world, and all that the drivers hold.
///
/// # Errors
/// What is not settled yet, the first of it.
pub async fn check(outside: &Outside, world: &World) -> Result<(), String> {
    for vm in world.vms.values() {
        check_vm(outside, world, vm).await?;
    }
    for volume in world.volumes.values() {
        let name = &volume.meta.name;
        if volume.state != VolumeState::Available {
            // The disk of a VM that waits for nothing else.
            return Err(format!("volume {name} is {}: {:?}", volume.state.as_str(), volume.failure));
        }
    }
    for image in world.images.values() {
        if matches!(image.state, ImageState::Importing | ImageState::Deleting) {
            return Err(format!("image {} is {}: {:?}", image.meta.name, image.state.as_str(), image.waiting()));
        }
    }
    for node in world.nodes.values() {
        if !node.readiness.ready {
            return Err(format!("node {} is not ready: {:?}", node.meta.name, node.readiness.reason));
        }
    }
    check_nothing_else(outside, world)?;
    for node in &outside.nodes {
        check_orphans(world, node).await?;
    }
    Ok(())
}

/// Law 9: the log knows what it doesn't know of.
async fn check_orphans(world: &World, node: &Node) -> Result<(), String> {
    let known = world.node(&node.name.as_str().into()).map_err(|refusal| refusal.to_string())?;
    let is_orphan = |artifact: &Artifact| standing(world, known.id, artifact) == Standing::Unknown;
    let there: BTreeSet<Artifact> = on(node).await.into_iter().filter(is_orphan).collect();
    let listed: BTreeSet<Artifact> = known.orphans.iter().map(|orphan| orphan.artifact.clone()).collect();
    if there == listed && known.orphans_unlisted == 0 {
        return Ok(());
    }
    let (not_told, not_there) = (there.difference(&listed).next(), listed.difference(&there).next());
    Err(format!("{}: an orphan that is not listed: {not_told:?}, one that is not there: {not_there:?}", node.name))
}

async fn check_vm(outside: &Outside, world: &World, vm: &Vm) -> Result<(), String> {
    let (name, state) = (&vm.meta.name, vm.state_in(world));
    let home = vm.placement.as_ref().and_then(|placement| world.nodes.get(&placement.node));
    for node in &outside.nodes {
        let observed = node.machines.observe(vm.id).await.map_err(|error| error.to_string())?;
        let is_home = home.is_some_and(|home| home.meta.name.as_str() == node.name);
        let as_wished = match (state, &vm.power, &observed) {
            (_, _, Observed::Absent { .. }) if !is_home => true,
            (State::Running, Power::Running(known), Observed::Running(process))
            | (State::Paused, Power::Paused(known), Observed::Paused(process)) => known.pid == process.pid && is_home,
            (State::Stopped, Power::Off, Observed::Absent { .. }) => true,
            _ => false,
        };
        if !as_wished {
            let waiting = vm.waiting(world);
            let node = &node.name;
            return Err(format!("vm {name} is {}, on {node} {observed:?}, waiting {waiting:?}", state.as_str()));
        }
    }
    if home.is_none() && state != State::Stopped && !waits_for_room(vm) {
        return Err(format!("vm {name} has no place: {:?}", vm.waiting(world)));
    }
    Ok(())
}

/// No node that it may have has room, which is no fault: it is told, and tried again at a known time.
fn waits_for_room(vm: &Vm) -> bool {
    let for_room = |reason: &str| reason.contains(" wanted, ") || reason == "the VM asks for another node";
    vm.failure.is_some() && vm.passed_over.iter().all(|node| for_room(&node.reason))
}

fn check_nothing_else(outside: &Outside, world: &World) -> Result<(), String> {
    for node in &outside.nodes {
        for id in node.machines.list() {
            if !world.vms.contains_key(&id) && !outside.planted.lock().unwrap().contains(&id.uuid()) {
                return Err(format!("something of VM {id} is left on {}", node.name));
            }
        }
        for id in node.volumes.lock().unwrap().iter() {
            if !world.volumes.contains_key(id) {
                return Err(format!("something of volume {id} is left on {}", node.name));
            }
        }
    }
    Ok(())
}
