//! What to do next with a VM's NICs: those that come and go while it lives.

use chrono::{DateTime, Utc};
use edgestack_model::{
    vm::{Instance, Nic, NicStage, Target, Vm, VmReport},
    waiting::FailedAttempt,
};

use super::Step;
use crate::driver::{Observed, Process};

/// What the log does not know yet of the NICs in a process.
pub(super) fn news(vm: &Vm, known: &Instance, process: &Process) -> Option<VmReport> {
    let (Some(known), Some(there)) = (&known.nics, &process.nics) else { return None };
    let mut staying = vm.nics_staying().map(|nic| nic.spec.number);
    let number = staying.find(|number| known.contains(number) != there.contains(number))?;
    if there.contains(&number) {
        return Some(VmReport::NicPlugged { number });
    }
    let failed = FailedAttempt {
        step: "keep".to_owned(),
        reason: "the running VM has lost it: its guest let go of it, or somebody took it out".to_owned(),
        fix: None,
    };
    Some(VmReport::NicAttemptFailed { number, failed })
}

/// The next step for a NIC, if there is one.
pub(super) fn step(vm: &Vm, observed: &Observed, now: DateTime<Utc>) -> Option<Step> {
    let is_due = |nic: &Nic| nic.failure.as_ref().is_none_or(|failure| failure.still_to_come(now).is_none());
    let mut leaving = vm.nics.iter().filter(|nic| nic.stage == NicStage::Leaving && is_due(nic));
    let (process, is_paused) = match observed {
        // Nobody has to let go of it, and nothing of it may be in the way of a start.
        Observed::Absent { .. } => return leaving.next().map(|nic| Step::UnplugNic(nic.spec.number)),
        Observed::Over { .. } => return None,
        Observed::Running(process) => (process, false),
        Observed::Paused(process) => (process, true),
    };
    // What is about to end is begun anew with the NICs that there shall be.
    let ends = matches!(vm.target, Target::Stopped { .. } | Target::Deleted) || vm.is_outdated();
    let there = process.nics.as_ref().filter(|_| !ends)?;
    let missing = vm.nics_staying().find(|nic| is_due(nic) && !there.contains(&nic.spec.number));
    if let Some(nic) = missing {
        return Some(Step::PlugNic(nic.spec.number));
    }
    // A guest that stands still can't let go of what it has.
    let can_go = |number: &u32| !is_paused || !there.contains(number);
    let unknown = |number: &&u32| !vm.nics.iter().any(|nic| nic.spec.number == **number);
    let mut leaving = leaving.map(|nic| &nic.spec.number).chain(there.iter().filter(unknown));
    leaving.find(|number| can_go(number)).map(|number| Step::UnplugNic(*number))
}

/// When a NIC is tried again.
pub fn next_attempt(vm: &Vm, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
    vm.nics.iter().filter_map(|nic| nic.failure.as_ref()?.still_to_come(now)).min()
}
