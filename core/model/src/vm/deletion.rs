//! Law 8: deletion is legal in every state and always ends. The order: the vm
//! pool ends the process and reports `released`; then the storage pool removes
//! the disk; with the last volume the VM is gone.

use super::{
    Target, Vm, VmEvent,
    decide::{fact, wish},
};
use crate::{
    Event, World, floating_ip, load_balancer,
    volume::{self, Volume},
};

/// The events of a person's wish to remove a VM; none when it is wished already.
pub(super) fn requested(world: &World, vm: &Vm) -> Vec<Event> {
    if vm.target == Target::Deleted {
        return vec![];
    }
    let requested = wish(vm, VmEvent::VmDeleteRequested {});
    // It never had a place, so nothing was made for it.
    let gone =
        vm.placement.is_none().then(|| Event { generation: requested.generation, ..fact(vm, VmEvent::VmDeleted {}) });
    [requested].into_iter().chain(freed_with(world, vm)).chain(gone).collect()
}

/// What leads to a VM leads elsewhere or nowhere from the wish for its removal on.
pub(crate) fn freed_with(world: &World, vm: &Vm) -> impl Iterator<Item = Event> {
    floating_ip::freed_with(world, vm).into_iter().chain(load_balancer::freed_with(world, vm, None))
}

/// What leads to a NIC leads elsewhere or nowhere from the wish for its end on.
pub(super) fn freed_with_nic(world: &World, vm: &Vm, number: u32) -> impl Iterator<Item = Event> {
    let balancers = load_balancer::freed_with(world, vm, Some(number));
    floating_ip::freed_with_nic(world, vm, number).into_iter().chain(balancers)
}

/// The events of "nothing of it is left on the node".
pub(super) fn released(world: &World, vm: &Vm) -> Vec<Event> {
    if vm.target != Target::Deleted || vm.released {
        return vec![];
    }
    let released = fact(vm, VmEvent::VmReleased {});
    let root = vm.placement.as_ref().and_then(|placement| world.volumes.get(&placement.root_volume));
    match root {
        Some(root) => std::iter::once(released).chain(volume::delete_requested(root)).collect(),
        None => vec![released, fact(vm, VmEvent::VmDeleted {})],
    }
}

/// The VM's own end, when its last volume is gone.
pub(crate) fn deleted_with_its_last_volume(world: &World, volume: &Volume) -> Option<Event> {
    let vm = world.vms.get(&volume.spec.vm)?;
    (vm.target == Target::Deleted && vm.released).then(|| fact(vm, VmEvent::VmDeleted {}))
}
