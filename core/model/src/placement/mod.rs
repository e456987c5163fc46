//! Which node a VM gets: by selector, cordon, readiness and free capacity,
//! with a reason for each node passed over. Also what it is given there: its
//! root volume, MAC and loopback SSH port, chosen so that no two VMs share one.

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;

use edgestack_planted::{self as planted, Bug};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{
    Event, Generation, Given, Id, Name, World,
    event::Fact,
    flavor::Shape,
    node::{Capacity, Node, PortRange},
    vm::{Placement, VmEvent, VmSpec},
    volume::{VolumeEvent, VolumeSpec},
    waiting::{FailedAttempt, Failure},
};

/// A node that a VM was not placed on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PassedOver {
    /// The node's name.
    pub node: Name,
    /// Why not, in words.
    pub reason: String,
}

/// A VM that asks for a place.
pub(crate) struct Request<'a> {
    pub name: &'a Name,
    pub id: Uuid,
    pub spec: &'a VmSpec,
    pub generation: Generation,
    pub failure: Option<&'a Failure>,
}

/// The node for a VM, or why each does not take it.
///
/// Of those that fit, the one with most free memory after placing; then the
/// first by name, so that the choice can be repeated.
///
/// # Errors
/// One [`PassedOver`] for each node, in order of name.
pub fn choose<'w>(world: &'w World, spec: &VmSpec) -> Result<&'w Node, Vec<PassedOver>> {
    let mut passed_over = Vec::new();
    let mut best: Option<(u64, &Node)> = None;
    let mut nodes: Vec<&Node> = world.nodes.values().map(AsRef::as_ref).collect();
    nodes.sort_by(|a, b| a.meta.name.cmp(&b.meta.name));
    for node in nodes {
        match free_if_taken(world, node, spec) {
            Err(reason) => passed_over.push(PassedOver { node: node.meta.name.clone(), reason }),
            Ok(free_memory_mib) => {
                if best.is_none_or(|(most, _)| free_memory_mib > most) {
                    best = Some((free_memory_mib, node));
                }
            }
        }
    }
    best.map(|(_, node)| node).ok_or(passed_over)
}

/// What VMs placed on a node have taken, stopped ones included: a VM that was
/// given a place can start there.
pub fn used(world: &World, node: Id<Node>) -> Capacity {
    let mut used = Capacity::default();
    if planted::is(Bug::CapacityNotCounted) {
        return used;
    }
    let times = if planted::is(Bug::CapacityCountedTwice) { 2 } else { 1 };
    for vm in world.vms.values() {
        if vm.placement.as_ref().is_some_and(|placement| placement.node == node) {
            used.vcpus += times * u64::from(vm.spec.shape.vcpus);
            used.memory_mib += times * vm.spec.shape.memory_mib;
            used.disk_gib += times * vm.spec.shape.disk_gib;
        }
    }
    used
}

/// Whether a shape fits a node that has nothing on it.
pub fn fits_when_empty(allocatable: &Capacity, shape: &Shape) -> bool {
    u64::from(shape.vcpus) <= allocatable.vcpus
        && shape.memory_mib <= allocatable.memory_mib
        && shape.disk_gib <= allocatable.disk_gib
}

fn free_if_taken(world: &World, node: &Node, spec: &VmSpec) -> Result<u64, String> {
    if spec.node.is_some_and(|wanted| wanted != node.id) {
        return Err("the VM asks for another node".to_owned());
    }
    if let Some((key, value)) = spec.node_selector.iter().find(|(key, value)| node.meta.labels.get(key) != Some(value))
    {
        return Err(format!("it lacks the label {key}={value} of the VM's node selector"));
    }
    if node.cordoned && !planted::is(Bug::CordonIgnored) {
        return Err(format!("it is cordoned; edgectl uncordon-node {}", node.meta.name));
    }
    if !node.readiness.ready {
        let reason = node.readiness.reason.as_deref().unwrap_or("its workers are not heard");
        return Err(format!("it is not ready: {reason}"));
    }
    let shape = &spec.shape;
    if shape.dedicated_cpus {
        return Err("it has no CPUs to dedicate".to_owned());
    }
    if let Some(size) = shape.huge_pages {
        return Err(format!("it has no huge pages of {}", size.as_str()));
    }
    if shape.numa_nodes.is_some_and(|wanted| wanted > 1) {
        return Err("it offers one NUMA node".to_owned());
    }
    let has = &node.facts.allocatable;
    let used = used(world, node.id);
    let room = |what: &str, wanted: u64, has: u64, used: u64| {
        let free = has.saturating_sub(used);
        if wanted <= free { Ok(free - wanted) } else { Err(format!("{what}: {wanted} wanted, {free} of {has} free")) }
    };
    room("vCPUs", u64::from(shape.vcpus), has.vcpus, used.vcpus)?;
    let free_memory_mib = room("MiB of memory", shape.memory_mib, has.memory_mib, used.memory_mib)?;
    room("GiB of disk", shape.disk_gib, has.disk_gib, used.disk_gib)?;
    if free_ssh_port(world, node, None).is_none() {
        let PortRange { first, last } = node.facts.ssh_ports;
        return Err(format!("all its SSH ports {first}-{last} are taken"));
    }
    Ok(free_memory_mib)
}

/// The events that give a VM its place, or say why it has none.
pub(crate) fn events(world: &World, given: &Given, request: &Request<'_>, root_volume: Uuid) -> Vec<Event> {
    let vm_event = |event: VmEvent| Event {
        resource_id: request.id,
        name: request.name.clone(),
        generation: request.generation,
        fact: Fact::Vm(event),
    };
    let chosen = choose(world, request.spec).and_then(|node| {
        let port = free_ssh_port(world, node, None);
        // `choose` passes over a node without a free port, so this is never empty-handed.
        port.map(|port| (node, port)).ok_or_else(Vec::new)
    });
    let (node, ssh_port) = match chosen {
        Ok(chosen) => chosen,
        Err(passed_over) => {
            let failure = unschedulable(&passed_over).after(request.failure, given.time);
            return vec![vm_event(VmEvent::VmUnschedulable { passed_over, failure })];
        }
    };
    let Some(volume_name) = root_volume_name(request.name, root_volume) else {
        return vec![];
    };
    let spec = VolumeSpec {
        vm: Id::new(request.id),
        image: request.spec.image,
        node: node.id,
        size_gib: request.spec.shape.disk_gib,
    };
    let placement =
        Placement { node: node.id, root_volume: Id::new(root_volume), mac: free_mac(world, request.id), ssh_port };
    vec![
        vm_event(VmEvent::VmScheduled { placement, node_name: node.meta.name.clone() }),
        Event {
            resource_id: root_volume,
            name: volume_name,
            generation: Generation::FIRST,
            fact: Fact::Volume(VolumeEvent::VolumeCreated { spec }),
        },
    ]
}

/// `<vm>-root`, or `root-<id>` where that would be too long.
pub(crate) fn root_volume_name(vm: &Name, root_volume: Uuid) -> Option<Name> {
    format!("{vm}-root").parse().or_else(|_| format!("root-{root_volume}").parse()).ok()
}

fn unschedulable(passed_over: &[PassedOver]) -> FailedAttempt {
    let reason = if passed_over.is_empty() {
        "no node is registered yet".to_owned()
    } else {
        let each: Vec<String> = passed_over.iter().map(|node| format!("{}: {}", node.node, node.reason)).collect();
        format!("no node takes it: {}", each.join("; "))
    };
    FailedAttempt {
        step: "schedule".to_owned(),
        reason,
        fix: Some("remove VMs, uncordon or add a node; it is placed as soon as one fits".to_owned()),
    }
}

/// The next loopback port for an SSH forward after one that turned out taken.
pub(crate) fn next_ssh_port(world: &World, node: Id<Node>, after: u16) -> Option<u16> {
    world.nodes.get(&node).and_then(|node| free_ssh_port(world, node, Some(after)))
}

fn free_ssh_port(world: &World, node: &Node, after: Option<u16>) -> Option<u16> {
    let taken: BTreeSet<u16> = world
        .vms
        .values()
        .filter_map(|vm| vm.placement.as_ref())
        .filter(|placement| placement.node == node.id)
        .map(|placement| placement.ssh_port)
        .collect();
    let PortRange { first, last } = node.facts.ssh_ports;
    let from = after.and_then(|port| port.checked_add(1)).filter(|port| *port <= last).unwrap_or(first);
    (from..=last).chain(first..from).find(|port| !taken.contains(port) || planted::is(Bug::PortGivenTwice))
}

/// A MAC in QEMU's own range (52:54:00), from the VM's id; the next free one if two ids agree.
fn free_mac(world: &World, vm: Uuid) -> String {
    let taken: BTreeSet<&str> =
        world.vms.values().filter_map(|vm| vm.placement.as_ref()).map(|placement| placement.mac.as_str()).collect();
    let bytes = vm.as_bytes();
    let start = u32::from_be_bytes([0, bytes[13], bytes[14], bytes[15]]);
    (0..1 << 24)
        .map(|offset| {
            let [_, a, b, c] = (start.wrapping_add(offset) & 0x00ff_ffff).to_be_bytes();
            format!("52:54:00:{a:02x}:{b:02x}:{c:02x}")
        })
        .find(|mac| !taken.contains(mac.as_str()))
        .unwrap_or_default()
}
