//! What to do next with a VM: pure, one step at a time.
//!
//! First the log is brought up to what is (reports), then what is to what is
//! wished (actions). So every difference becomes an event before it is mended
//! (law 9), and a crash between an action and its report is healed by the
//! report that the next look leads to.

use chrono::{DateTime, TimeDelta, Utc};
use edgestack_model::vm::{Instance, Power, StoppedHow, Target, Vm, VmReport};

use edgestack_planted::{self as planted, Bug};

use crate::driver::{Observed, Process};

mod nics;

pub use nics::next_attempt;

/// How long a guest may take to shut down for a restart.
const RESTART_GRACE: TimeDelta = TimeDelta::seconds(60);
/// How long after pressing a guest's power button to press it again: early in its boot it does not listen.
const PRESS_AGAIN: TimeDelta = TimeDelta::seconds(5);

/// The one next step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// All is as wished.
    Rest,
    /// Nothing can be done before this time.
    WaitUntil(DateTime<Utc>),
    /// Its root disk is not there yet; the event that it is wakes us.
    AwaitDisk,
    /// Tell the log what is.
    Report(VmReport),
    /// Make a process run.
    Start,
    /// Put this NIC into its process.
    PlugNic(u32),
    /// Take this NIC out of its process, if one runs, and away from its node.
    UnplugNic(u32),
    /// Hold its vCPUs.
    Pause,
    /// Let them go on.
    Resume,
    /// Ask the guest to shut down, and look again at the given time.
    PressPowerButton(DateTime<Utc>),
    /// End the process, the guest having had its time, and report it so.
    EndForced,
    /// End the process of a guest that is over already.
    EndOver,
    /// End what runs and remove what there is but its disks.
    Release,
}

/// What a plan follows from besides the VM and what is seen.
#[derive(Clone, Copy, Debug)]
pub struct Circumstances {
    /// Now.
    pub now: DateTime<Utc>,
    /// When this worker began: a guest's grace does not run while nobody could ask it to shut down.
    pub worker_since: DateTime<Utc>,
    /// Whether the root disk can be used.
    pub disk_available: bool,
}

/// The next step for a VM on this node.
pub fn plan(vm: &Vm, observed: &Observed, around: Circumstances) -> Step {
    if vm.target == Target::Deleted {
        return if vm.released { Step::Rest } else { unless_backing_off(vm, around, Step::Release) };
    }
    if let Some(report) = news(vm, observed, around.now) {
        return Step::Report(report);
    }
    if let Some(step) = nics::step(vm, observed, around.now) {
        return step;
    }
    if let Some(step) = still_to_come(vm, around) {
        return step;
    }
    match (vm.target, observed) {
        (_, Observed::Over { .. }) => Step::EndOver,
        (Target::Stopped { .. } | Target::Deleted, Observed::Absent { .. }) => Step::Rest,
        (Target::Stopped { grace_seconds }, Observed::Running(_)) => {
            shut_down(vm, around, TimeDelta::seconds(i64::from(grace_seconds)))
        }
        // A paused guest cannot hear the power button.
        (Target::Stopped { grace_seconds: 0 }, Observed::Paused(_)) => Step::EndForced,
        (Target::Stopped { .. }, Observed::Paused(_)) => Step::Resume,
        (Target::Running | Target::Paused, Observed::Absent { .. })
            if !around.disk_available && !planted::is(Bug::StartedWithoutDisk) =>
        {
            Step::AwaitDisk
        }
        (Target::Running | Target::Paused, Observed::Absent { .. }) => Step::Start,
        (Target::Running | Target::Paused, Observed::Running(_)) if vm.is_outdated() => {
            shut_down(vm, around, RESTART_GRACE)
        }
        (Target::Running | Target::Paused, Observed::Paused(_)) if vm.is_outdated() => Step::EndForced,
        (Target::Running, Observed::Running(_)) | (Target::Paused, Observed::Paused(_)) => Step::Rest,
        (Target::Running, Observed::Paused(_)) => Step::Resume,
        (Target::Paused, Observed::Running(_)) => Step::Pause,
        // Answered at the top.
        (Target::Deleted, Observed::Running(_) | Observed::Paused(_)) => Step::Release,
    }
}

/// What the log does not know yet.
fn news(vm: &Vm, observed: &Observed, now: DateTime<Utc>) -> Option<VmReport> {
    let stopped = |how, detail: &str| Some(VmReport::Stopped { how, detail: detail.to_owned() });
    match (&vm.power, observed) {
        (Power::Off, Observed::Absent { .. } | Observed::Over { .. }) => None,
        (Power::Off, Observed::Running(process) | Observed::Paused(process)) => {
            Some(VmReport::Started(instance(vm, process, now)))
        }
        (Power::Running(known) | Power::Paused(known), Observed::Absent { host_boot, .. })
            if known.host_boot != *host_boot =>
        {
            stopped(StoppedHow::HostRestarted, "the host was restarted")
        }
        (Power::Running(_) | Power::Paused(_), Observed::Absent { last_words, .. }) => {
            match (vm.target, vm.is_outdated()) {
                (Target::Stopped { .. } | Target::Deleted, _) | (_, true) => {
                    stopped(StoppedHow::Forced, "its process had ended when the worker looked")
                }
                (Target::Running | Target::Paused, false) => stopped(
                    StoppedHow::Crashed,
                    last_words.as_deref().unwrap_or("its process was killed and left no word"),
                ),
            }
        }
        (Power::Running(known) | Power::Paused(known), Observed::Running(process) | Observed::Paused(process))
            if !is_same(known, process) =>
        {
            // Started anew by a worker that was killed before it could report.
            Some(VmReport::Started(instance(vm, process, now)))
        }
        (Power::Running(_), Observed::Paused(_)) => Some(VmReport::Paused),
        (Power::Paused(_), Observed::Running(_)) => Some(VmReport::Unpaused),
        (Power::Running(_) | Power::Paused(_), Observed::Over { detail, clean, .. }) => {
            let asked = matches!(vm.target, Target::Stopped { .. } | Target::Deleted) || vm.is_outdated();
            match (clean, asked) {
                (true, true) => stopped(StoppedHow::Graceful, detail),
                (true, false) => stopped(StoppedHow::GuestShutdown, detail),
                (false, true) => stopped(StoppedHow::Forced, detail),
                (false, false) => stopped(StoppedHow::Crashed, detail),
            }
        }
        (Power::Running(known), Observed::Running(process)) | (Power::Paused(known), Observed::Paused(process)) => {
            nics::news(vm, known, process)
        }
    }
}

/// A failed step is not repeated before its time.
fn still_to_come(vm: &Vm, around: Circumstances) -> Option<Step> {
    vm.failure.as_ref()?.still_to_come(around.now).map(Step::WaitUntil)
}

fn unless_backing_off(vm: &Vm, around: Circumstances, step: Step) -> Step {
    still_to_come(vm, around).unwrap_or(step)
}

fn shut_down(vm: &Vm, around: Circumstances, grace: TimeDelta) -> Step {
    let deadline = vm.target_since.max(around.worker_since) + grace;
    if around.now >= deadline {
        return Step::EndForced;
    }
    Step::PressPowerButton((around.now + PRESS_AGAIN).min(deadline))
}

fn is_same(known: &Instance, process: &Process) -> bool {
    (known.pid, known.start_time_ticks) == (process.pid, process.start_time_ticks)
}

/// The instance of a process found or started at `now`.
pub fn instance(vm: &Vm, process: &Process, now: DateTime<Utc>) -> Instance {
    Instance {
        pid: process.pid,
        start_time_ticks: process.start_time_ticks,
        host_boot: process.host_boot.clone(),
        boot_epoch: vm.boot_epoch,
        accelerator: process.accelerator.clone(),
        hypervisor: process.hypervisor.clone(),
        started_at: now,
        nics: process.nics.clone(),
    }
}

#[cfg(test)]
mod tests;
