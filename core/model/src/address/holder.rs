//! Who holds which address of a network: a join of all that can hold one.

use std::{collections::BTreeMap, net::IpAddr};

use crate::{Id, World, load_balancer, network::Network, router, vm::NicSpec};

/// Every address of a network that somebody holds, and who, as people know them: `vm "web"`, `the gateway`.
pub fn holders(world: &World, network: &Network) -> BTreeMap<IpAddr, String> {
    let router = router::of_network(world, network.id).map(|router| format!("router \"{}\"", router.meta.name));
    let gateway = router.unwrap_or_else(|| "the gateway".to_owned());
    let gateways = network.spec.subnets.iter().filter_map(|subnet| subnet.gateway_ip);
    let gateways = gateways.map(|address| (address, gateway.clone()));
    gateways
        .chain(nics(world, network.id))
        .chain(balancers(world, network.id))
        .chain(outside(world, network.id))
        .collect()
}

/// What load balancers have: their VIPs, and by which address they ask their members.
fn balancers(world: &World, network: Id<Network>) -> impl Iterator<Item = (IpAddr, String)> {
    load_balancer::on_network(world, network).flat_map(|balancer| {
        let asks = balancer.spec.health_check.map(|check| check.source);
        let name = &balancer.meta.name;
        [balancer.spec.vip].into_iter().chain(asks).map(move |address| (address, format!("load_balancer \"{name}\"")))
    })
}

/// What routers and floating IPs have of a network outside, until they are gone.
fn outside(world: &World, network: Id<Network>) -> impl Iterator<Item = (IpAddr, String)> {
    let routers = world.routers.values().filter_map(move |router| {
        let external = router.spec.external.as_ref().filter(|external| external.network == network)?;
        Some(external.addresses.iter().map(|address| (*address, format!("router \"{}\"", router.meta.name))))
    });
    let ips = world.floating_ips.values().filter(move |ip| ip.spec.network == network);
    let ips = ips.map(|ip| (ip.spec.address, format!("floating_ip \"{}\"", ip.meta.name)));
    routers.flatten().chain(ips)
}

/// Who has an address that a NIC is to have on a network, its MAC address included.
pub(crate) fn holder_of_nic(world: &World, network: &Network, nic: &NicSpec) -> Option<String> {
    let same_mac = world.vms.values().find(|vm| vm.nics.iter().any(|other| other.spec.mac == nic.mac));
    let same_mac = same_mac.map(|vm| format!("vm \"{}\"", vm.meta.name));
    same_mac.or_else(|| {
        let holders = holders(world, network);
        nic.addresses.iter().find_map(|address| holders.get(address).cloned())
    })
}

fn nics(world: &World, network: Id<Network>) -> impl Iterator<Item = (IpAddr, String)> {
    world.vms.values().flat_map(move |vm| {
        let here = vm.nics.iter().filter(move |nic| nic.spec.network == network);
        here.flat_map(|nic| nic.spec.addresses.iter().map(|address| (*address, format!("vm \"{}\"", vm.meta.name))))
    })
}
