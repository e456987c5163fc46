//! Law 7 to 9: once nothing goes wrong any more, everything comes to where it is wished, in the log and outside, and
//! nothing lies about that the log does not know but what was left there, and that each node lists.

use std::{collections::BTreeSet, sync::atomic::Ordering};

use edgestack_model::{
    Id, World,
    image::ImageState,
    orphan::{Artifact, Standing, standing},
    vm::{Instance, Power, State, Vm},
    volume::VolumeState,
};
use edgestack_worker_vm::driver::{Observed, Process, VmDriver as _};

use super::{
    northbound,
    sound::{free, wanted},
};
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
        if is_lost(outside, world, volume.spec.node) {
            continue;
        }
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
    for node in &outside.nodes {
        let lost = node.lost.load(Ordering::Relaxed);
        match world.node(&node.name.as_str().into()) {
            Ok(known) if known.readiness.ready == lost => {
                return Err(format!("node {} is ready: {}, and lost: {lost}", node.name, known.readiness.ready));
            }
            // One that never reached the engine before it was lost.
            Err(_) if lost => {}
            Err(refusal) => return Err(refusal.to_string()),
            Ok(_) => {}
        }
    }
    check_nothing_else(outside, world)?;
    edgestack_planted::without(|| northbound::check(outside, world))?;
    for node in outside.living() {
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
    if home.is_some_and(|home| is_lost(outside, world, home.id)) {
        // It waits for its node, or is what it was when the node was heard last; the node says that it is lost.
        return Ok(());
    }
    for node in outside.living() {
        let observed = node.machines.observe(vm.id).await.map_err(|error| error.to_string())?;
        let is_home = home.is_some_and(|home| home.meta.name.as_str() == node.name);
        let as_wished = match (state, &vm.power, &observed) {
            (_, _, Observed::Absent { .. }) if !is_home => true,
            (State::Running, Power::Running(known), Observed::Running(process))
            | (State::Paused, Power::Paused(known), Observed::Paused(process)) => {
                known.pid == process.pid && is_home && has_its_nics(vm, known, process)
            }
            (State::Stopped, Power::Off, Observed::Absent { .. }) => vm.nic_under_way().is_none(),
            _ => false,
        };
        if !as_wished {
            let waiting = vm.waiting(world);
            let node = &node.name;
            return Err(format!("vm {name} is {}, on {node} {observed:?}, waiting {waiting:?}", state.as_str()));
        }
    }
    if home.is_none() && state != State::Stopped && has_room(outside, world, vm) {
        return Err(format!("vm {name} has no place, though there is room: {:?}", vm.waiting(world)));
    }
    Ok(())
}

/// Whether it runs with the NICs that it is to have. A paused guest keeps one that leaves until it goes on.
fn has_its_nics(vm: &Vm, known: &Instance, process: &Process) -> bool {
    let set = |nics: &Option<Vec<u32>>| nics.iter().flatten().copied().collect::<BTreeSet<u32>>();
    let staying: BTreeSet<u32> = vm.nics_staying().map(|nic| nic.spec.number).collect();
    let all: BTreeSet<u32> = vm.nics.iter().map(|nic| nic.spec.number).collect();
    let there = set(&process.nics);
    let as_wished = match vm.power {
        Power::Paused(_) => there.is_superset(&staying) && there == all,
        Power::Running(_) | Power::Off => there == staying && there == all,
    };
    as_wished && set(&known.nics) == there
}

/// Whether a node that it may have has room for it; where none has, it waits, which is told, and is no fault.
fn has_room(outside: &Outside, world: &World, vm: &Vm) -> bool {
    world
        .nodes
        .values()
        .filter(|node| vm.spec.node.is_none_or(|wanted| wanted == node.id) && !is_lost(outside, world, node.id))
        .any(|node| free(world, node).iter().zip(wanted(&vm.spec.shape)).all(|(free, wanted)| *free >= wanted))
}

fn is_lost(outside: &Outside, world: &World, node: Id<edgestack_model::node::Node>) -> bool {
    let name = world.nodes.get(&node).map(|node| node.meta.name.as_str());
    outside.nodes.iter().any(|node| Some(node.name.as_str()) == name && node.lost.load(Ordering::Relaxed))
}

fn check_nothing_else(outside: &Outside, world: &World) -> Result<(), String> {
    for node in outside.living() {
        for id in node.machines.list() {
            if !world.vms.contains_key(&id) && !outside.planted.lock().unwrap().contains(&id.uuid()) {
                return Err(format!("something of VM {id} is left on {}", node.name));
            }
        }
        for id in node.volumes.lock().unwrap().iter() {
            if !world.volumes.contains_key(id) && !outside.planted.lock().unwrap().contains(&id.uuid()) {
                return Err(format!("something of volume {id} is left on {}", node.name));
            }
        }
    }
    Ok(())
}
