//! Law 8, asked while the site lives: what is not where it should be says whom it waits for, why, and, after a failure,
//! until when. And what is shared is shared by nobody: names, addresses, ports.

use std::collections::BTreeSet;

use chrono::{DateTime, TimeDelta, Utc};
use edgestack_model::{
    World,
    vm::{State, Vm},
};

/// One world, at one moment.
///
/// # Errors
/// What is wrong, for people.
pub fn check(world: &World, now: DateTime<Utc>) -> Result<(), String> {
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
            Some(waiting) => check_next(vm, waiting.next_attempt_at, now)?,
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
    Ok(())
}

/// A failure sets a time, at most five minutes ahead.
fn check_next(vm: &Vm, next: Option<DateTime<Utc>>, now: DateTime<Utc>) -> Result<(), String> {
    match next {
        None if vm.failure.is_some() && !vm.released => {
            Err(format!("vm {} failed and has no next attempt", vm.meta.name))
        }
        Some(at) if at > now + TimeDelta::minutes(5) => Err(format!("vm {} waits until {at}", vm.meta.name)),
        Some(_) | None => Ok(()),
    }
}
