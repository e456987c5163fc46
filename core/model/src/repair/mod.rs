//! What a person does when the usual way doesn't end: commands that are audited, each with its reason.
//!
//! * **Reconcile**: look at it again now, whatever it waits for. The failure is forgotten, so the next attempt is at once
//!   and counts as the first; nothing else changes.
//! * **Force-remove**: forget it, whatever is left of it outside (law 8: deletion always ends). What is left becomes an
//!   orphan of its node (law 9), which is told and can be adopted. It is refused while the usual removal is on its way:
//!   force leaves something behind, and is for what can't be reached.
//! * **Adopt** (`adopt.rs`): take over an orphan.

mod adopt;
#[cfg(test)]
mod tests;

use chrono::TimeDelta;

pub(crate) use adopt::{Adoption, adopt};

use crate::{
    Decision, Event, Given, Kind, Meta, Refusal, World,
    command::Reference,
    decide::check_precondition,
    image::{self, ImageEvent, ImageState},
    node::{self, Node, NodeEvent},
    realization::{Realization, RealizationState},
    vm::{self, Target, Vm, VmEvent},
    volume::{self, Volume, VolumeEvent, VolumeState},
    waiting::Failure,
};

/// How long the usual removal may take before force is legal, whatever its worker says or doesn't.
pub const FORCE_AFTER: TimeDelta = TimeDelta::seconds(60);

/// How many users a refusal names.
const NAMED_MAX: usize = 5;

pub(crate) fn check_reason(given: &Given, kind: Kind, of: &Reference, action: &'static str) -> Result<(), Refusal> {
    match &given.reason {
        Some(reason) if !reason.trim().is_empty() => Ok(()),
        Some(_) | None => Err(Refusal::ReasonRequired { kind, name: of.0.clone(), action: action.into() }),
    }
}

pub(crate) fn reconcile_vm(world: &World, given: &Given, of: &Reference) -> Result<Decision, Refusal> {
    let vm = world.vm(of)?;
    check_reason(given, Kind::Vm, of, "reconcile")?;
    check_precondition(given, Kind::Vm, &vm.meta)?;
    let mut events = vec![vm::fact(vm, VmEvent::VmReconcileRequested {})];
    // Its disk may be what it waits for.
    let root = root_of(world, vm).filter(|root| root.state != VolumeState::Available);
    events.extend(root.map(|root| volume::fact(root, VolumeEvent::VolumeReconcileRequested {})));
    Ok(Decision::of(Kind::Vm, vm.id.uuid(), events))
}

pub(crate) fn reconcile_volume(world: &World, given: &Given, of: &Reference) -> Result<Decision, Refusal> {
    let volume = world.volume(of)?;
    check_reason(given, Kind::Volume, of, "reconcile")?;
    check_precondition(given, Kind::Volume, &volume.meta)?;
    let event = volume::fact(volume, VolumeEvent::VolumeReconcileRequested {});
    Ok(Decision::of(Kind::Volume, volume.id.uuid(), vec![event]))
}

pub(crate) fn reconcile_image(world: &World, given: &Given, of: &Reference) -> Result<Decision, Refusal> {
    let image = world.image(of)?;
    check_reason(given, Kind::Image, of, "reconcile")?;
    check_precondition(given, Kind::Image, &image.meta)?;
    let fact = image::wish(image, ImageEvent::ImageReconcileRequested {});
    let event = Event { generation: image.meta.generation, ..fact };
    Ok(Decision::of(Kind::Image, image.id.uuid(), vec![event]))
}

pub(crate) fn reconcile_node(world: &World, given: &Given, of: &Reference) -> Result<Decision, Refusal> {
    let node = world.node(of)?;
    check_reason(given, Kind::Node, of, "reconcile")?;
    check_precondition(given, Kind::Node, &node.meta)?;
    let event = node::report(node, NodeEvent::NodeReconcileRequested {});
    Ok(Decision::of(Kind::Node, node.id.uuid(), vec![event]))
}

pub(crate) fn force_remove_vm(world: &World, given: &Given, of: &Reference) -> Result<Decision, Refusal> {
    let vm = world.vm(of)?;
    check_reason(given, Kind::Vm, of, "force the removal of")?;
    check_precondition(given, Kind::Vm, &vm.meta)?;
    let node = vm.placement.as_ref().and_then(|placement| world.nodes.get(&placement.node));
    let root = root_of(world, vm);
    if let Some(node) = node.filter(|node| node.readiness.ready) {
        let name = &vm.meta.name;
        if vm.target != Target::Deleted {
            let why = format!("its node {} answers, and can remove it with all that is left of it", node.meta.name);
            return Err(not_needed(Kind::Vm, &vm.meta, why, format!("edgectl remove-vm {name}")));
        }
        let failures = [vm.failure.as_ref(), root.and_then(|root| root.failure.as_ref())];
        check_stuck(given, Kind::Vm, &vm.meta, vm.target_since, failures.into_iter().flatten())?;
    }
    let left_on = node.map(|node| node.meta.name.clone());
    let generation = vm.meta.generation.next();
    let requested = (vm.target != Target::Deleted).then_some(VmEvent::VmDeleteRequested {});
    // The disk goes first: what is the disk of no VM is unsound.
    let disk = root.map(|root| volume::fact(root, VolumeEvent::VolumeForceRemoved {}));
    let events = requested
        .map(|requested| Event { generation, ..vm::fact(vm, requested) })
        .into_iter()
        .chain(vm::freed_with(world, vm))
        .chain(disk)
        .chain([Event { generation, ..vm::fact(vm, VmEvent::VmForceRemoved { left_on }) }]);
    Ok(Decision::of(Kind::Vm, vm.id.uuid(), events.collect()))
}

pub(crate) fn force_remove_image(world: &World, given: &Given, of: &Reference) -> Result<Decision, Refusal> {
    let image = world.image(of)?;
    check_reason(given, Kind::Image, of, "force the removal of")?;
    check_precondition(given, Kind::Image, &image.meta)?;
    image::check_unused(world, image)?;
    if image.state != ImageState::Deleting {
        let why = "nobody has asked for its usual removal".to_owned();
        let fix = format!("edgectl remove-image {}, and force it if that doesn't end", image.meta.name);
        return Err(not_needed(Kind::Image, &image.meta, why, fix));
    }
    // Without a failure, nothing touches an image that is being removed but the wish that it goes, or a look again.
    check_stuck(given, Kind::Image, &image.meta, image.meta.updated_at, image.failure.iter())?;
    let event = image::wish(image, ImageEvent::ImageForceRemoved {});
    Ok(Decision::of(Kind::Image, image.id.uuid(), vec![event]))
}

pub(crate) fn force_remove_node(world: &World, given: &Given, of: &Reference) -> Result<Decision, Refusal> {
    let node = world.node(of)?;
    check_reason(given, Kind::Node, of, "force the removal of")?;
    check_precondition(given, Kind::Node, &node.meta)?;
    if node.readiness.ready {
        let why = "it answers, and would be registered anew at once".to_owned();
        let fix = format!("edgectl cordon-node {}, and end its workers first", node.meta.name);
        return Err(not_needed(Kind::Node, &node.meta, why, fix));
    }
    check_empty(world, node)?;
    let event = node::wish(node, NodeEvent::NodeForceRemoved {});
    Ok(Decision::of(Kind::Node, node.id.uuid(), vec![event]))
}

/// A node's VMs are removed one by one, each with its own word in the history.
fn check_empty(world: &World, node: &Node) -> Result<(), Refusal> {
    let on_it = |vm: &&std::sync::Arc<Vm>| vm.placement.as_ref().is_some_and(|placement| placement.node == node.id);
    let vms = world.vms.values().filter(on_it).map(|vm| format!("vm \"{}\"", vm.meta.name));
    let by: Vec<String> = vms.take(NAMED_MAX).collect();
    if by.is_empty() { Ok(()) } else { Err(Refusal::InUse { kind: Kind::Node, name: node.meta.name.clone(), by }) }
}

fn root_of<'w>(world: &'w World, vm: &Vm) -> Option<&'w Volume> {
    let placement = vm.placement.as_ref()?;
    world.volumes.get(&placement.root_volume).map(AsRef::as_ref)
}

/// What an object of the virtual network must be like, and the person must say, for its removal to be forced. `remove` is
/// the command of the usual removal.
pub(crate) fn check_force(
    given: &Given,
    (kind, remove): (Kind, &str),
    of: &Reference,
    meta: &Meta,
    realization: &Realization,
) -> Result<(), Refusal> {
    check_reason(given, kind, of, "force the removal of")?;
    check_precondition(given, kind, meta)?;
    if realization.state != RealizationState::Deleting {
        let why = "nobody has asked for its usual removal".to_owned();
        let fix = format!("edgectl {remove} {}, and force it if that doesn't end", meta.name);
        return Err(not_needed(kind, meta, why, fix));
    }
    check_stuck(given, kind, meta, meta.updated_at, realization.failure.iter())
}

/// The usual removal must have failed once, or have had its time.
pub(crate) fn check_stuck<'a>(
    given: &Given,
    kind: Kind,
    meta: &Meta,
    since: chrono::DateTime<chrono::Utc>,
    failures: impl Iterator<Item = &'a Failure>,
) -> Result<(), Refusal> {
    let legal_at = since + FORCE_AFTER;
    if failures.count() > 0 || given.time >= legal_at {
        return Ok(());
    }
    let at = legal_at.to_rfc3339_opts(chrono::SecondsFormat::Secs, true);
    let why = "it is being removed, and nothing has failed so far".to_owned();
    Err(not_needed(kind, meta, why, format!("wait for it; force is legal once an attempt failed, or from {at} on")))
}

pub(crate) fn not_needed(kind: Kind, meta: &Meta, why: String, fix: String) -> Refusal {
    Refusal::ForceNotNeeded { kind, name: meta.name.clone(), why, fix }
}
