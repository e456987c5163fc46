//! VM events to the world.

use std::sync::Arc;

use edgestack_planted::{self as planted, Bug};

use super::{AfterStop, LastStop, Nic, NicStage, Power, Target, Vm, VmEvent};
use crate::{
    Id, Kind, World,
    world::{At, Impossible},
};

pub(crate) fn evolve(world: &mut World, at: &At<'_>, event: &VmEvent) -> Result<(), Impossible> {
    let id = Id::new(at.resource_id);
    match event {
        VmEvent::VmCreated { description, labels, spec, target } => {
            world.claim_name(Kind::Vm, at)?;
            let vm = Vm {
                id,
                meta: at.new_meta(description, labels),
                spec: spec.clone(),
                target: *target,
                target_since: at.time(),
                boot_epoch: 1,
                placement: None,
                passed_over: vec![],
                power: Power::Off,
                last_stop: None,
                crashes: 0,
                failure: None,
                released: false,
                guest_agent: None,
                nics: vec![],
                next_nic: 0,
            };
            world.vms.insert(id, Arc::new(vm));
            return Ok(());
        }
        VmEvent::VmDeleted {} | VmEvent::VmForceRemoved { .. } => {
            let vm = world.vms.remove(&id).ok_or_else(|| at.impossible("no such VM"))?;
            world.release_name(Kind::Vm, &vm.meta.name);
            return Ok(());
        }
        VmEvent::VmUpdated { .. }
        | VmEvent::VmScheduled { .. }
        | VmEvent::VmUnschedulable { .. }
        | VmEvent::VmStartRequested { .. }
        | VmEvent::VmStopRequested { .. }
        | VmEvent::VmRestartRequested { .. }
        | VmEvent::VmPauseRequested {}
        | VmEvent::VmUnpauseRequested {}
        | VmEvent::VmDeleteRequested {}
        | VmEvent::VmStarted { .. }
        | VmEvent::VmPaused {}
        | VmEvent::VmUnpaused {}
        | VmEvent::VmStopped { .. }
        | VmEvent::VmAttemptFailed { .. }
        | VmEvent::VmSshPortMoved { .. }
        | VmEvent::VmGuestAgentConnected { .. }
        | VmEvent::VmReleased {}
        | VmEvent::VmNicAttached { .. }
        | VmEvent::VmNicSecurityGroupsChanged { .. }
        | VmEvent::VmNicPortSecurityChanged { .. }
        | VmEvent::VmNicDetachRequested { .. }
        | VmEvent::VmNicDetached { .. }
        | VmEvent::VmNicPlugged { .. }
        | VmEvent::VmNicAttemptFailed { .. }
        | VmEvent::VmNicBecameReady { .. }
        | VmEvent::VmNicDrifted { .. }
        | VmEvent::VmReconcileRequested {} => {}
    }
    let vm = Arc::make_mut(world.vms.get_mut(&id).ok_or_else(|| at.impossible("no such VM"))?);
    at.touch(&mut vm.meta);
    change(vm, at, event)
}

/// The events of a VM that is there before and after.
fn change(vm: &mut Vm, at: &At<'_>, event: &VmEvent) -> Result<(), Impossible> {
    match event {
        VmEvent::VmCreated { .. } | VmEvent::VmDeleted {} | VmEvent::VmForceRemoved { .. } => {}
        VmEvent::VmUpdated { change, run_strategy, node_selector } => {
            change.apply(&mut vm.meta);
            vm.spec.run_strategy = run_strategy.unwrap_or(vm.spec.run_strategy);
            if let Some(node_selector) = node_selector {
                vm.spec.node_selector.clone_from(node_selector);
            }
        }
        VmEvent::VmScheduled { placement, .. } => {
            vm.placement = Some(placement.clone());
            vm.passed_over.clear();
            vm.failure = None;
        }
        VmEvent::VmUnschedulable { passed_over, failure } => {
            vm.passed_over.clone_from(passed_over);
            vm.failure = Some(failure.clone());
        }
        VmEvent::VmStartRequested { run_strategy } => {
            vm.target = Target::Running;
            vm.spec.run_strategy = run_strategy.unwrap_or(vm.spec.run_strategy);
            fresh_wish(vm, at);
        }
        VmEvent::VmStopRequested { grace_seconds } => {
            vm.target = Target::Stopped { grace_seconds: *grace_seconds };
            fresh_wish(vm, at);
        }
        VmEvent::VmRestartRequested { boot_epoch } => {
            vm.target = Target::Running;
            vm.boot_epoch = *boot_epoch;
            fresh_wish(vm, at);
        }
        VmEvent::VmPauseRequested {} => {
            vm.target = Target::Paused;
            fresh_wish(vm, at);
        }
        VmEvent::VmUnpauseRequested {} => {
            vm.target = Target::Running;
            fresh_wish(vm, at);
        }
        VmEvent::VmDeleteRequested {} => {
            vm.target = Target::Deleted;
            fresh_wish(vm, at);
        }
        VmEvent::VmStarted { instance } => {
            vm.power = Power::Running(instance.clone());
            vm.failure = None;
            vm.guest_agent = None;
            nics_of_another_run(vm);
        }
        VmEvent::VmPaused {} => {
            vm.power = match std::mem::replace(&mut vm.power, Power::Off) {
                Power::Running(instance) => Power::Paused(instance),
                Power::Off | Power::Paused(_) => {
                    return Err(at.impossible("it paused without running"));
                }
            };
            vm.failure = None;
        }
        VmEvent::VmUnpaused {} => {
            vm.power = match std::mem::replace(&mut vm.power, Power::Off) {
                Power::Paused(instance) => Power::Running(instance),
                Power::Off | Power::Running(_) => {
                    return Err(at.impossible("it was unpaused without being paused"));
                }
            };
            vm.failure = None;
        }
        VmEvent::VmStopped { how, detail, then } => {
            vm.power = Power::Off;
            vm.guest_agent = None;
            nics_of_another_run(vm);
            vm.last_stop = Some(LastStop { how: *how, detail: detail.clone(), at: at.time() });
            vm.failure = None;
            match then {
                AfterStop::AsWished | AfterStop::StartsAgain => {}
                AfterStop::StaysStopped => vm.target = Target::Stopped { grace_seconds: 0 },
                AfterStop::StartsAgainAfter { failure, crashes } => {
                    vm.failure = Some(failure.clone());
                    vm.crashes = *crashes;
                }
            }
        }
        VmEvent::VmAttemptFailed { failure } => vm.failure = Some(failure.clone()),
        VmEvent::VmReconcileRequested {} => {
            vm.failure = None;
            vm.nics.iter_mut().for_each(|nic| nic.failure = None);
        }
        VmEvent::VmSshPortMoved { ssh_port } => match &mut vm.placement {
            Some(placement) => placement.ssh_port = *ssh_port,
            None => return Err(at.impossible("its port moved before it had a place")),
        },
        VmEvent::VmGuestAgentConnected { guest_agent } => {
            vm.guest_agent = Some(guest_agent.clone());
            // It is up: what it held on to while it booted, it is asked for again at once.
            vm.nics.iter_mut().for_each(|nic| nic.failure = None);
        }
        VmEvent::VmNicAttached { nic, .. } => {
            let takes_none = vm.power.instance().is_some_and(|instance| instance.nics.is_none());
            let stage = if takes_none { NicStage::AwaitsStart } else { NicStage::Staying };
            vm.next_nic = vm.next_nic.max(nic.number.saturating_add(1));
            vm.nics.push(Nic::new(nic.clone(), stage));
        }
        VmEvent::VmNicDetachRequested { number } => {
            let nic = nic_of(vm, at, *number)?;
            nic.stage = NicStage::Leaving;
            nic.failure = None;
        }
        VmEvent::VmNicDetached { number } => {
            nic_of(vm, at, *number)?;
            vm.nics.retain(|nic| nic.spec.number != *number);
            let there = vm.power.instance_mut().and_then(|instance| instance.nics.as_mut());
            there.into_iter().for_each(|there| there.retain(|other| other != number));
        }
        VmEvent::VmNicPlugged { number } => {
            nic_of(vm, at, *number)?.failure = None;
            let there = vm.power.instance_mut().and_then(|instance| instance.nics.as_mut());
            there.ok_or_else(|| at.impossible("nothing runs that takes a NIC"))?.push(*number);
        }
        VmEvent::VmNicAttemptFailed { number, failure } => {
            let nic = nic_of(vm, at, *number)?;
            nic.failure = Some(failure.clone());
            // One that leaves may still be in it.
            if nic.stage != NicStage::Leaving {
                let there = vm.power.instance_mut().and_then(|instance| instance.nics.as_mut());
                there.into_iter().for_each(|there| there.retain(|other| other != number));
            }
        }
        VmEvent::VmNicSecurityGroupsChanged { number, security_groups, .. } => {
            let nic = nic_of(vm, at, *number)?;
            nic.security_groups = Some(security_groups.clone());
            nic.ready &= planted::is(Bug::RegroupedUnawaited);
        }
        VmEvent::VmNicPortSecurityChanged { number, port_security } => {
            let nic = nic_of(vm, at, *number)?;
            nic.port_security = *port_security;
            nic.ready = false;
        }
        VmEvent::VmNicBecameReady { number } => nic_of(vm, at, *number)?.ready = true,
        VmEvent::VmNicDrifted { number, .. } => nic_of(vm, at, *number)?.ready = false,
        VmEvent::VmReleased {} => {
            vm.power = Power::Off;
            vm.released = true;
            vm.failure = None;
        }
    }
    Ok(())
}

fn nic_of<'v>(vm: &'v mut Vm, at: &At<'_>, number: u32) -> Result<&'v mut Nic, Impossible> {
    let nic = vm.nics.iter_mut().find(|nic| nic.spec.number == number);
    nic.ok_or_else(|| at.impossible(format!("it has no NIC {number}")))
}

/// A process is begun with all NICs that there shall be, and what failed with an earlier one is past.
fn nics_of_another_run(vm: &mut Vm) {
    for nic in &mut vm.nics {
        nic.failure = None;
        if nic.stage == NicStage::AwaitsStart {
            nic.stage = NicStage::Staying;
        }
    }
}

/// A new wish is tried at once, whatever failed before.
fn fresh_wish(vm: &mut Vm, at: &At<'_>) {
    vm.target_since = at.time();
    if vm.placement.is_some() {
        vm.failure = None;
    }
    vm.crashes = 0;
}
