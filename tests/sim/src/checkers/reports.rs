//! Law 7 and 9: what a worker reports is so, and is taken only on the wish that it acted on.

use edgestack_engine::{Outcome, SubmitError};
use edgestack_model::{
    Command, Generation, World,
    image::ImageCommand,
    vm::{Power, StoppedHow, VmCommand, VmReport},
    volume::VolumeCommand,
};
use edgestack_worker_vm::driver::{Observed, VmDriver as _};
use futures::FutureExt as _;
use uuid::Uuid;

use super::northbound;
use crate::{
    objects,
    outside::{Node, Outside},
};

/// Before the engine hears of it: nobody tells of a VM that crashed while its process runs as the log has it.
pub fn check_before(outside: &Outside, node: &Node, world: &World, command: &Command) {
    let Command::Vm(VmCommand::Report { vm, report: VmReport::Stopped { how: StoppedHow::Crashed, .. }, .. }) = command
    else {
        return;
    };
    let Some(Power::Running(known)) = world.vms.get(vm).map(|vm| vm.power.clone()) else { return };
    let there = node.machines.observe(*vm).now_or_never();
    if let Some(Ok(Observed::Running(process))) = there
        && process.pid == known.pid
    {
        outside.violations.add(format!("VM {vm} is told as crashed, and runs on {}", node.name));
    }
}

/// What of a report is not so, when it is sent: whoever sends it may not be heard any more.
pub fn untrue(outside: &Outside, world: &World, command: &Command) -> Option<String> {
    edgestack_planted::without(|| northbound::untrue(outside, world, command))
}

/// What the engine made of it: events of the generation that was reported on, or none; and none of what was not so.
pub fn check_after(
    outside: &Outside,
    command: &Command,
    untrue: Option<String>,
    outcome: &Result<Outcome, SubmitError>,
) {
    let (Some((id, reported)), Ok(Outcome::Committed { commit })) = (reported_on(command), outcome) else { return };
    if let Some(what) = untrue {
        outside.violations.add(format!("commit {}: {what}", commit.sequence));
    }
    for event in commit.events.iter().filter(|event| event.resource_id == id) {
        if event.generation != reported {
            let (sequence, is) = (commit.sequence, event.generation);
            outside
                .violations
                .add(format!("commit {sequence}: a report on generation {reported} of {id} was taken at {is}"));
        }
    }
}

fn reported_on(command: &Command) -> Option<(Uuid, Generation)> {
    match command {
        Command::Vm(VmCommand::Report { vm, generation, .. }) => Some((vm.uuid(), *generation)),
        Command::Volume(VolumeCommand::Report { volume, generation, .. }) => Some((volume.uuid(), *generation)),
        Command::Image(ImageCommand::Report { image, generation, .. }) => Some((image.uuid(), *generation)),
        command => objects::told(command).map(|told| (told.id, told.generation)),
    }
}
