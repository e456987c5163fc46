//! The vm pool's reports to events. What a person asked outranks what a report
//! would lead to: the caller has refused reports on an older generation.

use chrono::TimeDelta;

use super::{
    AfterStop, GuestAgent, Instance, RunStrategy, StoppedHow, Target, Vm, VmEvent, VmReport, decide::fact, deletion,
    nic,
};
use crate::{Event, Given, World, placement, waiting::FailedAttempt};

/// A run of this length is a good one: a stop after it counts as the first.
const GOOD_RUN: TimeDelta = TimeDelta::minutes(10);

pub(super) fn decide(world: &World, given: &Given, vm: &Vm, report: &VmReport) -> Vec<Event> {
    use super::Power::{Off, Paused, Running};
    let events = match (report, &vm.power) {
        (VmReport::Started(instance), Off) => vec![VmEvent::VmStarted { instance: with_own_nics(vm, instance) }],
        (VmReport::Started(instance), Running(known) | Paused(known)) if with_own_nics(vm, instance) != *known => {
            vec![VmEvent::VmStarted { instance: with_own_nics(vm, instance) }]
        }
        (VmReport::Paused, Running(_)) => vec![VmEvent::VmPaused {}],
        (VmReport::Unpaused, Paused(_)) => vec![VmEvent::VmUnpaused {}],
        (VmReport::Stopped { how, detail }, Running(_) | Paused(_)) => {
            let then = after_stop(given, vm, *how, detail);
            vec![VmEvent::VmStopped { how: *how, detail: detail.clone(), then }]
        }
        (VmReport::AttemptFailed(failed), _) => {
            vec![VmEvent::VmAttemptFailed { failure: failed.clone().after(vm.failure.as_ref(), given.time) }]
        }
        (VmReport::SshPortTaken { port }, Off) => match &vm.placement {
            Some(placement) if placement.ssh_port == *port => after_port_taken(world, given, vm, *port),
            Some(_) | None => vec![],
        },
        (VmReport::GuestAgentConnected { hostname, operating_system }, Running(_) | Paused(_))
            if vm.guest_agent.is_none() =>
        {
            let guest_agent = GuestAgent {
                hostname: hostname.clone(),
                operating_system: operating_system.clone(),
                since: given.time,
            };
            vec![VmEvent::VmGuestAgentConnected { guest_agent }]
        }
        (VmReport::Released, _) => return deletion::released(world, vm),
        (
            VmReport::NicsReady { .. }
            | VmReport::NicDrifted { .. }
            | VmReport::NicPlugged { .. }
            | VmReport::NicUnplugged { .. }
            | VmReport::NicAttemptFailed { .. },
            _,
        ) => nic::told(given, vm, report),
        // Told already.
        (
            VmReport::Started(_)
            | VmReport::Paused
            | VmReport::Unpaused
            | VmReport::Stopped { .. }
            | VmReport::SshPortTaken { .. }
            | VmReport::GuestAgentConnected { .. },
            Off | Running(_) | Paused(_),
        ) => vec![],
    };
    events.into_iter().map(|event| fact(vm, event)).collect()
}

/// What was started, with those of its NICs that the VM still has: one that was detached while nothing was heard of the
/// process is no NIC of the VM any more, and its node takes it out without a word.
fn with_own_nics(vm: &Vm, started: &Instance) -> Instance {
    let mut instance = started.clone();
    let is_own = |number: &u32| vm.nics.iter().any(|nic| nic.spec.number == *number);
    instance.nics.iter_mut().for_each(|there| there.retain(is_own));
    instance
}

/// Another port, at once; a pause as well when every port after it has been tried (law 8: no try without end).
fn after_port_taken(world: &World, given: &Given, vm: &Vm, port: u16) -> Vec<VmEvent> {
    let next = vm.placement.as_ref().and_then(|placement| placement::next_ssh_port(world, placement.node, port));
    let moved = next.map(|ssh_port| VmEvent::VmSshPortMoved { ssh_port });
    if next.is_some_and(|next| next > port) {
        return moved.into_iter().collect();
    }
    let failed = FailedAttempt {
        step: "start".to_owned(),
        reason: format!("other programs hold the node's ports for SSH forwards, {port} the last of them"),
        fix: Some("end what listens there (ss -ltnp), or give edgestackd another --ssh-ports".to_owned()),
    };
    let failure = failed.after(vm.failure.as_ref(), given.time);
    moved.into_iter().chain([VmEvent::VmAttemptFailed { failure }]).collect()
}

fn after_stop(given: &Given, vm: &Vm, how: StoppedHow, detail: &str) -> AfterStop {
    match vm.target {
        Target::Stopped { .. } | Target::Deleted => return AfterStop::AsWished,
        Target::Running | Target::Paused if vm.is_outdated() => return AfterStop::AsWished,
        Target::Running | Target::Paused => {}
    }
    let starts_again = match (vm.spec.run_strategy, how) {
        (RunStrategy::Always, _) => true,
        (RunStrategy::RerunOnFailure, StoppedHow::Crashed | StoppedHow::HostRestarted) => true,
        (RunStrategy::RerunOnFailure, StoppedHow::GuestShutdown | StoppedHow::Graceful | StoppedHow::Forced) => false,
        (RunStrategy::Manual | RunStrategy::Halted, _) => false,
    };
    if !starts_again {
        return AfterStop::StaysStopped;
    }
    let ran = vm.power.instance().map_or(TimeDelta::zero(), |instance| given.time - instance.started_at);
    let reason = match how {
        StoppedHow::HostRestarted => return AfterStop::StartsAgain,
        StoppedHow::GuestShutdown | StoppedHow::Graceful | StoppedHow::Forced if ran >= GOOD_RUN => {
            return AfterStop::StartsAgain;
        }
        // A guest that powers off as soon as it runs would be started without end, two commits each time.
        StoppedHow::GuestShutdown | StoppedHow::Graceful | StoppedHow::Forced => {
            format!("it stopped soon after its start: {detail}")
        }
        StoppedHow::Crashed => format!("it crashed: {detail}"),
    };
    let crashes = if ran >= GOOD_RUN { 1 } else { vm.crashes.saturating_add(1) };
    let failed = FailedAttempt {
        step: "run".to_owned(),
        reason,
        fix: Some(format!("edgectl show-vm-logs {name}; edgectl stop-vm {name} to leave it down", name = vm.meta.name)),
    };
    let mut failure = failed.after(None, given.time);
    failure.attempt = crashes;
    failure.next_attempt_at = given.time + crate::backoff::after_attempt(crashes);
    AfterStop::StartsAgainAfter { failure, crashes }
}
