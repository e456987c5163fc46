//! Where floating IPs lead: a join of floating IPs, routers, VMs and their NICs.

use std::net::IpAddr;

use edgestack_planted::{self as planted, Bug};

use super::{Association, AssociationRequest, FloatingIp, FloatingIpEvent, FloatingIpSpec, decide::wish};
use crate::{
    Event, Id, Kind, Name, Refusal, World,
    command::Reference,
    load_balancer::{self, LoadBalancer},
    vm::{Nic, Target, Vm},
};

/// Where a floating IP is to lead, and the VM's name.
pub(super) fn settle(
    world: &World,
    ip: Option<Id<FloatingIp>>,
    spec: &FloatingIpSpec,
    wanted: &AssociationRequest,
) -> Result<(Association, Name), Refusal> {
    let vm = world.vm(&wanted.vm).map_err(|_| Refusal::ReferenceNotFound {
        field: "vm".into(),
        kind: Kind::Vm.as_str().into(),
        name: wanted.vm.0.clone(),
    })?;
    if vm.target == Target::Deleted {
        return Err(Refusal::WrongState {
            kind: Kind::Vm,
            name: vm.meta.name.clone(),
            state: "deleting".into(),
            action: "lead a floating IP to".into(),
            fix: "it is being removed and will be gone soon".into(),
        });
    }
    let (nic, fixed_ip) = choose(world, vm, spec, wanted.fixed_ip)?;
    let other =
        leading_to(world, vm.id, nic.spec.number).find(|(other, to)| Some(*other) != ip && to.fixed_ip == fixed_ip);
    if let Some((other, _)) = other {
        let by = world.floating_ips.get(&other).map_or_else(|| other.to_string(), |ip| ip.meta.name.to_string());
        return Err(Refusal::AddressInUse {
            field: "fixed_ip".into(),
            address: format!("{fixed_ip} of vm \"{}\"", vm.meta.name),
            by: format!("floating_ip \"{by}\""),
        });
    }
    Ok((Association { vm: vm.id, nic: nic.spec.number, fixed_ip }, vm.meta.name.clone()))
}

/// The load balancer that a floating IP is to lead to, and its name.
pub(super) fn settle_load_balancer(
    world: &World,
    spec: &FloatingIpSpec,
    wanted: &Reference,
) -> Result<(Id<LoadBalancer>, Name), Refusal> {
    let field = "load_balancer";
    let balancer = world.load_balancer(wanted).map_err(|_| Refusal::ReferenceNotFound {
        field: field.into(),
        kind: Kind::LoadBalancer.as_str().into(),
        name: wanted.0.clone(),
    })?;
    load_balancer::check_stays(balancer, "lead a floating IP to")?;
    let (name, invalid) = (&balancer.meta.name, |reason| Err(Refusal::Invalid { field: field.into(), reason }));
    let Some(router) = world.routers.get(&spec.router) else {
        return invalid("the floating IP's router is not there".to_owned());
    };
    if !router.spec.internal.contains(&balancer.spec.network) {
        let router = &router.meta.name;
        let fix = format!("edgectl update-router {router} --attach NETWORK");
        return invalid(format!("load balancer \"{name}\" is on no network that router \"{router}\" joins; {fix}"));
    }
    if balancer.spec.vip.is_ipv4() != spec.address.is_ipv4() {
        return invalid(format!("{} and the VIP {} are of two families", spec.address, balancer.spec.vip));
    }
    Ok((balancer.id, name.clone()))
}

/// What happens to a floating IP that is to lead nowhere; nothing where it does so.
pub(super) fn left(world: &World, ip: &FloatingIp) -> Option<FloatingIpEvent> {
    let vm = ip.association.as_ref().and_then(|to| world.vms.get(&to.vm));
    let vm = vm.map(|vm| FloatingIpEvent::FloatingIpDisassociated { vm_name: vm.meta.name.clone() });
    vm.or_else(|| world.load_balancers.get(&ip.load_balancer?).map(|balancer| left_balancer(balancer)))
}

fn left_balancer(balancer: &LoadBalancer) -> FloatingIpEvent {
    FloatingIpEvent::FloatingIpDisassociatedFromLoadBalancer { load_balancer_name: balancer.meta.name.clone() }
}

/// The address wished for, or the only one that the router leads to.
fn choose<'v>(
    world: &World,
    vm: &'v Vm,
    spec: &FloatingIpSpec,
    wished: Option<IpAddr>,
) -> Result<(&'v Nic, IpAddr), Refusal> {
    let invalid = |field: &'static str, reason| Err(Refusal::Invalid { field: field.into(), reason });
    let vm_name = &vm.meta.name;
    let Some(router) = world.routers.get(&spec.router) else {
        return invalid("floating_ip", "its router is not there".to_owned());
    };
    let router_name = &router.meta.name;
    let all = vm.nics_staying().flat_map(|nic| nic.spec.addresses.iter().map(move |address| (nic, *address)));
    let reached: Vec<(&Nic, IpAddr)> = all
        .filter(|(nic, address)| {
            router.spec.internal.contains(&nic.spec.network) && address.is_ipv4() == spec.address.is_ipv4()
        })
        .collect();
    match (wished, reached.as_slice()) {
        (None, [one]) => Ok(*one),
        (None, []) => {
            let fix = format!("edgectl update-router {router_name} --attach NETWORK");
            let reason = format!("vm \"{vm_name}\" is on no network that router \"{router_name}\" joins; {fix}");
            invalid("vm", reason)
        }
        (None, several) => {
            let addresses: Vec<String> = several.iter().map(|(_, address)| address.to_string()).collect();
            invalid("fixed_ip", format!("vm \"{vm_name}\" has several addresses, {}; name one", addresses.join(", ")))
        }
        (Some(wished), reached) => match reached.iter().find(|(_, address)| *address == wished) {
            Some(one) => Ok(*one),
            None => {
                let reason =
                    format!("{wished} is no address of vm \"{vm_name}\" that router \"{router_name}\" leads to");
                invalid("fixed_ip", reason)
            }
        },
    }
}

/// The floating IPs that lead to a NIC.
fn leading_to(world: &World, vm: Id<Vm>, nic: u32) -> impl Iterator<Item = (Id<FloatingIp>, &Association)> {
    let all = world.floating_ips.values().filter_map(|ip| Some((ip.id, ip.association.as_ref()?)));
    all.filter(move |(_, to)| to.vm == vm && to.nic == nic)
}

/// What a VM's removal does to floating IPs that lead to it: from now on they lead nowhere.
pub(crate) fn freed_with(world: &World, vm: &Vm) -> Vec<Event> {
    freed(world, vm, |_| true)
}

/// What a NIC's end does to floating IPs that lead to it: the same.
pub(crate) fn freed_with_nic(world: &World, vm: &Vm, nic: u32) -> Vec<Event> {
    freed(world, vm, |to| to.nic == nic)
}

fn freed(world: &World, vm: &Vm, which: impl Fn(&Association) -> bool) -> Vec<Event> {
    if planted::is(Bug::FloatingIpLeftBehind) {
        return vec![];
    }
    let leads_here = |ip: &&FloatingIp| ip.association.as_ref().is_some_and(|to| to.vm == vm.id && which(to));
    let ips = world.floating_ips.values().map(AsRef::as_ref).filter(leads_here);
    // Its generation grows, as where it leads is otherwise wished now.
    ips.map(|ip| wish(ip, FloatingIpEvent::FloatingIpDisassociated { vm_name: vm.meta.name.clone() })).collect()
}

/// What a load balancer's removal does to floating IPs that lead to it: from now on they lead nowhere.
pub(crate) fn freed_with_load_balancer(world: &World, balancer: &LoadBalancer) -> Vec<Event> {
    let ips = world.floating_ips.values().filter(|ip| ip.load_balancer == Some(balancer.id));
    ips.map(|ip| wish(ip, left_balancer(balancer))).collect()
}
