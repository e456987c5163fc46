//! Law 8, asked while the site lives: what is not where it should be says whom it waits for, why, and, after a failure,
//! until when. And what is shared is shared by nobody: names, addresses, ports.

use std::collections::BTreeSet;

use chrono::{DateTime, TimeDelta, Utc};
use edgestack_engine::Clock as _;
use edgestack_model::{
    Waiting, World,
    flavor::Shape,
    node::Node,
    realization::RealizationState,
    vm::{State, Vm},
};

use crate::{objects::objects, outside::Outside};

/// One world, at one moment.
///
/// # Errors
/// What is wrong, for people.
pub fn check(outside: &Outside, world: &World) -> Result<(), String> {
    let now = outside.clock.now() + outside.clock.slack();
    let mut macs = BTreeSet::new();
    let mut ports = BTreeSet::new();
    for vm in world.vms.values() {
        let name = &vm.meta.name;
        let state = vm.state_in(world);
        match vm.waiting(world) {
            None if matches!(state, State::Running | State::Paused | State::Stopped) => {}
            None => return Err(format!("vm {name} is {} and waits for nothing", state.as_str())),
            Some(waiting) if waiting.owner.is_empty() || waiting.reason.is_empty() => {
                return Err(format!("vm {name} is {} and does not say why", state.as_str()));
            }
            Some(waiting) => check_next(vm, state, &waiting, now)?,
        }
        if let Some(placement) = &vm.placement {
            if !macs.insert(&placement.mac) {
                return Err(format!("vm {name} shares its address {}", placement.mac));
            }
            if !ports.insert((placement.node, placement.ssh_port)) {
                return Err(format!("vm {name} shares its port {}", placement.ssh_port));
            }
        }
    }
    check_objects(world, now)?;
    if let Some(what) = world.unsound() {
        return Err(what);
    }
    check_room(world)
}

/// Each object of the virtual network says whom it waits for, and no network has the segment of another on the same wire.
fn check_objects(world: &World, now: DateTime<Utc>) -> Result<(), String> {
    for object in objects(world) {
        let (title, state) = (object.title(), object.realization.state);
        match object.realization.waiting(world) {
            None if state == RealizationState::Active => {}
            Some(waiting) if !waiting.owner.is_empty() && !waiting.reason.is_empty() => {
                if waiting.next_attempt_at.is_some_and(|at| at > now + TimeDelta::minutes(5)) {
                    return Err(format!("{title} waits until {:?}", waiting.next_attempt_at));
                }
            }
            waiting => return Err(format!("{title} is {} and waits for {waiting:?}", state.as_str())),
        }
    }
    let mut segments = BTreeSet::new();
    for network in world.networks.values() {
        let (name, spec) = (&network.meta.name, &network.spec);
        if !segments.insert((spec.network_type.is_provider(), &spec.physical_network, spec.segment_id)) {
            return Err(format!("network {name} has the segment {:?} of another", spec.segment_id));
        }
    }
    Ok(())
}

/// What VMs have taken of a node is no more than it has; counted here once more.
fn check_room(world: &World) -> Result<(), String> {
    for node in world.nodes.values() {
        let free = free(world, node);
        if free.iter().any(|free| *free < 0) {
            return Err(format!("node {} is overbooked: {free:?} are free", node.meta.name));
        }
    }
    Ok(())
}

/// vCPUs, MiB of memory and GiB of disk that nobody has taken of a node.
pub fn free(world: &World, node: &Node) -> [i128; 3] {
    let has = &node.facts.allocatable;
    let mut free = [has.vcpus, has.memory_mib, has.disk_gib].map(i128::from);
    for vm in world.vms.values().filter(|vm| vm.placement.as_ref().is_some_and(|place| place.node == node.id)) {
        for (free, taken) in free.iter_mut().zip(wanted(&vm.spec.shape)) {
            *free -= taken;
        }
    }
    free
}

/// What a shape takes, in the same order.
pub fn wanted(shape: &Shape) -> [i128; 3] {
    [u64::from(shape.vcpus), shape.memory_mib, shape.disk_gib].map(i128::from)
}

/// A failure sets a time, at most five minutes ahead.
fn check_next(vm: &Vm, state: State, waiting: &Waiting, now: DateTime<Utc>) -> Result<(), String> {
    let has_failed = match state {
        // It waits for one of its NICs, if that is not its user's turn.
        State::Running | State::Paused | State::Stopped => {
            waiting.owner != "user" && vm.nic_under_way().is_some_and(|nic| nic.failure.is_some())
        }
        _ => vm.failure.is_some() && !vm.released,
    };
    match waiting.next_attempt_at {
        None if has_failed => Err(format!("vm {} failed and has no next attempt", vm.meta.name)),
        Some(at) if at > now + TimeDelta::minutes(5) => Err(format!("vm {} waits until {at}", vm.meta.name)),
        Some(_) | None => Ok(()),
    }
}
