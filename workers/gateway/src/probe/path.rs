//! From "can A reach B" to a packet that A would send.

use std::net::IpAddr;

use edgestack_model::{
    Id, Refusal, World,
    address::Mac,
    command::Reference,
    floating_ip::FloatingIp,
    load_balancer::vip_mac,
    network::Network,
    router::{self, external_mac},
    vm::{Nic, Vm, port_name},
};

use super::place::{Place, Probe};
use crate::desired::gateway_mac;

/// The source port of a packet that is traced: any above the well-known ones. RFC 6335, section 6.
const SOURCE_PORT: u16 = 50_000;
/// Who is asked for on a network outside where nobody of ours has the address: a host that only the network itself knows.
const UNKNOWN_HOST: &str = "02:00:00:00:00:01";

/// Who asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum From {
    /// A VM.
    Vm(Reference),
    /// A host on a network.
    Network(Reference),
    /// A host behind a router.
    Router(Reference),
    /// A host on the network outside; needed by name only where the site has several.
    Outside(Option<Reference>),
}

/// Who is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum To {
    /// A VM.
    Vm(Reference),
    /// Whoever has the address.
    Address(IpAddr),
}

/// What is asked with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asked {
    /// An echo request.
    Icmp,
    /// A connection to a port.
    Tcp(u16),
    /// A datagram to a port.
    Udp(u16),
}

/// Where a packet begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// In a VM, which chooses the NIC by the target.
    Vm(Id<Vm>),
    /// At a probe.
    Probe(Place),
}

/// Why there is no such packet.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// Somebody isn't there.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// A VM is on no network.
    #[error("vm \"{0}\" has no NIC on a network; attach one: edgectl attach-nic {0} --network NETWORK")]
    NoNic(String),
    /// The VM has no address of that family.
    #[error("vm \"{vm}\" has no {family} address that can be asked for")]
    NoAddress {
        /// The VM's name.
        vm: String,
        /// `IPv4` or `IPv6`.
        family: &'static str,
    },
    /// From outside one comes to a VM by a floating IP only.
    #[error(
        "vm \"{0}\" has no floating IP of that network; give it one: edgectl create-fip --vm {0}, or name an address"
    )]
    NoFloatingIp(String),
    /// Who asks has no address of the target's family.
    #[error("{who} has no {family} address to ask from")]
    NoSource {
        /// Who.
        who: String,
        /// `IPv4` or `IPv6`.
        family: &'static str,
    },
    /// No host has such an address.
    #[error("{0} is no address of a host")]
    NoHost(IpAddr),
    /// The network is one of the site's own.
    #[error("network \"{0}\" is not outside; ask from it as network:{0}")]
    NotOutside(String),
    /// There are several networks outside, or none.
    #[error("the site has {0} networks outside; name the one that is meant: outside:NETWORK")]
    Outside(usize),
}

/// Where a packet is sent from, once it is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// The logical switch port.
    pub port: String,
    /// The sender's MAC address.
    pub mac: Mac,
    /// The sender's address, of the target's family.
    pub ip: IpAddr,
    /// As people know it: `vm "a"`, `network "blue"`.
    pub who: String,
    /// The network that it is on; on a link of its own, its router's MAC address.
    pub on: On,
}

/// What a sender is on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum On {
    /// A network.
    Network(Id<Network>),
    /// A link to a router that has this MAC address.
    Link(Mac),
}

/// To whom a packet is handed first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FirstHop {
    /// Who has this MAC address.
    Mac(String),
    /// Nobody, and why, with what to do.
    Nobody {
        /// Why.
        why: String,
        /// What a person can do.
        fix: Option<String>,
    },
}

/// Finds who asks.
///
/// # Errors
/// [`PathError`].
pub fn start(world: &World, from: &From) -> Result<Start, PathError> {
    Ok(match from {
        From::Vm(vm) => Start::Vm(world.vm(vm)?.id),
        From::Network(network) => Start::Probe(Place::Network(world.network(network)?.id)),
        From::Router(router) => Start::Probe(Place::Router(world.router(router)?.id)),
        From::Outside(Some(network)) => {
            let network = world.network(network)?;
            if !network.spec.network_type.is_provider() {
                return Err(PathError::NotOutside(network.meta.name.to_string()));
            }
            Start::Probe(Place::Network(network.id))
        }
        From::Outside(None) => {
            let outside = world.networks.values().filter(|network| network.spec.physical_network.is_some());
            let outside: Vec<_> = outside.map(|network| network.id).collect();
            let [only] = outside.as_slice() else { return Err(PathError::Outside(outside.len())) };
            Start::Probe(Place::Network(*only))
        }
    })
}

/// The address that is asked for, of a family if one is wished: of a VM, the one by which the asker would come to it.
///
/// # Errors
/// [`PathError`].
pub fn target(world: &World, start: Start, to: &To, ipv4: Option<bool>) -> Result<IpAddr, PathError> {
    let vm = match to {
        To::Address(address) => {
            let is_host = !address.is_unspecified() && !address.is_multicast() && !address.is_loopback();
            return if is_host { Ok(*address) } else { Err(PathError::NoHost(*address)) };
        }
        To::Vm(vm) => world.vm(vm)?,
    };
    let near = near(world, start);
    let of_family = |address: &IpAddr| ipv4.is_none_or(|ipv4| address.is_ipv4() == ipv4);
    let on = |network: Id<Network>| vm.nics.iter().filter(move |nic| nic.spec.network == network);
    let address = |nics: &mut dyn Iterator<Item = &Nic>| {
        nics.flat_map(|nic| nic.spec.addresses.iter().copied()).find(|address| of_family(address))
    };
    let by_network = near.iter().find_map(|network| address(&mut on(*network)));
    let outside = match start {
        Start::Probe(Place::Network(network)) => {
            world.networks.get(&network).filter(|network| network.spec.network_type.is_provider())
        }
        Start::Vm(_) | Start::Probe(Place::Router(_)) => None,
    };
    let floating = || {
        let leads = |ip: &&std::sync::Arc<FloatingIp>| {
            let is_near = outside.is_none_or(|network| network.id == ip.spec.network);
            is_near && ip.association.as_ref().is_some_and(|to| to.vm == vm.id)
        };
        world.floating_ips.values().filter(leads).map(|ip| ip.spec.address).find(|address| of_family(address))
    };
    let found = by_network.or_else(floating);
    if outside.is_some() {
        return found.ok_or_else(|| PathError::NoFloatingIp(vm.meta.name.to_string()));
    }
    let any = || address(&mut vm.nics.iter());
    found
        .or_else(any)
        .ok_or_else(|| PathError::NoAddress { vm: vm.meta.name.to_string(), family: family(ipv4.unwrap_or(true)) })
}

/// The networks that the start is on, then those that its routers join.
fn near(world: &World, start: Start) -> Vec<Id<Network>> {
    let joined = |network: &Id<Network>| router::of_network(world, *network).into_iter().flat_map(|r| &r.spec.internal);
    let own: Vec<Id<Network>> = match start {
        Start::Vm(vm) => {
            let nics = world.vms.get(&vm).into_iter().flat_map(|vm| &vm.nics);
            nics.map(|nic| nic.spec.network).collect()
        }
        Start::Probe(Place::Network(network)) => vec![network],
        Start::Probe(Place::Router(router)) => {
            world.routers.get(&router).into_iter().flat_map(|router| router.spec.internal.iter().copied()).collect()
        }
    };
    let further: Vec<_> = own.iter().flat_map(joined).copied().collect();
    own.into_iter().chain(further).collect()
}

/// A probe as a sender.
///
/// # Errors
/// [`PathError::NoSource`].
pub fn of_probe(world: &World, probe: &Probe, target: IpAddr) -> Result<Source, PathError> {
    let (who, on) = match probe.place {
        Place::Network(id) => {
            let name = world.networks.get(&id).map(|network| network.meta.name.to_string()).unwrap_or_default();
            (format!("network \"{name}\""), On::Network(id))
        }
        Place::Router(id) => {
            let name = world.routers.get(&id).map(|router| router.meta.name.to_string()).unwrap_or_default();
            (format!("router \"{name}\""), On::Link(probe.router_mac))
        }
    };
    let ip = probe.addresses.iter().map(|(ip, _)| *ip).find(|ip| ip.is_ipv4() == target.is_ipv4());
    match ip {
        Some(ip) => Ok(Source { port: probe.id.to_string(), mac: probe.mac, ip, who, on }),
        None => Err(PathError::NoSource { who, family: family(target.is_ipv4()) }),
    }
}

/// A VM as a sender: by the NIC that is on the target's network, else by one that leads further.
///
/// # Errors
/// [`PathError::NoNic`], [`PathError::NoSource`].
pub fn of_vm(world: &World, vm: &Vm, target: IpAddr) -> Result<Source, PathError> {
    let who = format!("vm \"{}\"", vm.meta.name);
    if vm.nics.is_empty() {
        return Err(PathError::NoNic(vm.meta.name.to_string()));
    }
    let of_family = |nic: &&Nic| nic.spec.addresses.iter().any(|address| address.is_ipv4() == target.is_ipv4());
    let nics: Vec<&Nic> = vm.nics_staying().filter(of_family).collect();
    let is_on_link = |nic: &&&Nic| {
        let network = world.networks.get(&nic.spec.network);
        network.is_some_and(|network| network.spec.subnets.iter().any(|subnet| subnet.cidr.contains(target)))
    };
    let leads_further = |nic: &&&Nic| router::of_network(world, nic.spec.network).is_some();
    let nic = nics.iter().find(is_on_link).or_else(|| nics.iter().find(leads_further)).or(nics.first());
    let no_source = || PathError::NoSource { who: who.clone(), family: family(target.is_ipv4()) };
    let nic = nic.ok_or_else(no_source)?;
    let ip = nic.spec.addresses.iter().copied().find(|ip| ip.is_ipv4() == target.is_ipv4()).ok_or_else(no_source)?;
    let (port, on) = (port_name(vm.id, nic.spec.number), On::Network(nic.spec.network));
    Ok(Source { port, mac: nic.spec.mac, ip, who, on })
}

/// To whom the sender hands a packet for an address.
pub fn first_hop(world: &World, source: &Source, target: IpAddr) -> FirstHop {
    let network = match source.on {
        On::Link(router) => return FirstHop::Mac(router.to_string()),
        On::Network(id) => world.networks.get(&id),
    };
    let nobody = |why: String, fix: Option<String>| FirstHop::Nobody { why, fix };
    let Some(network) = network else { return nobody("its network is gone".to_owned(), None) };
    let name = &network.meta.name;
    let spec = &network.spec;
    let is_on_link = spec.subnets.iter().any(|subnet| subnet.cidr.contains(target));
    if is_on_link {
        return match holder_mac(world, network, target) {
            Some(mac) => FirstHop::Mac(mac.to_string()),
            None if spec.network_type.is_provider() => FirstHop::Mac(UNKNOWN_HOST.to_owned()),
            None => nobody(format!("nobody on network \"{name}\" has the address {target}"), None),
        };
    }
    let told = spec.host_routes.iter().filter(|route| route.destination.contains(target));
    let told = told.max_by_key(|route| route.destination.prefix_length()).map(|route| route.next_hop);
    let of_family = |subnet: &&edgestack_model::network::Subnet| subnet.cidr.is_ipv4() == target.is_ipv4();
    let gateway = || spec.subnets.iter().find(of_family).and_then(|subnet| subnet.gateway_ip);
    let Some(hop) = told.or_else(gateway) else {
        return nobody(format!("network \"{name}\" has no gateway, and {target} is not on it"), None);
    };
    if let Some(mac) = holder_mac(world, network, hop) {
        let is_gateway = spec.subnets.iter().any(|subnet| subnet.gateway_ip == Some(hop));
        let no_router = is_gateway && router::of_network(world, network.id).is_none();
        return if no_router && !spec.network_type.is_provider() {
            let fix = format!(
                "edgectl create-router NAME --network {name} (or edgectl update-router ROUTER --attach {name})"
            );
            nobody(format!("no router is on network \"{name}\" who would take a packet to {target}"), Some(fix))
        } else {
            FirstHop::Mac(mac.to_string())
        };
    }
    if spec.network_type.is_provider() {
        return FirstHop::Mac(UNKNOWN_HOST.to_owned());
    }
    nobody(format!("the next hop to {target} is {hop}, which nobody on network \"{name}\" has"), None)
}

/// Who of ours has an address on a network.
fn holder_mac(world: &World, network: &Network, address: IpAddr) -> Option<Mac> {
    let nics = world.vms.values().flat_map(|vm| &vm.nics);
    let mut nics = nics.filter(|nic| nic.spec.network == network.id);
    if let Some(nic) = nics.find(|nic| nic.spec.addresses.contains(&address)) {
        return Some(nic.spec.mac);
    }
    let mut balancers = world.load_balancers.values().filter(|balancer| balancer.spec.network == network.id);
    if balancers.any(|balancer| balancer.spec.vip == address) {
        return Some(vip_mac(address));
    }
    let is_gateway = network.spec.subnets.iter().any(|subnet| subnet.gateway_ip == Some(address));
    if is_gateway && !network.spec.network_type.is_provider() {
        return Some(gateway_mac(network));
    }
    if let Some(ip) = world.floating_ips.values().find(|ip| ip.spec.network == network.id && ip.spec.address == address)
    {
        return Some(external_mac(ip.spec.router));
    }
    world.routers.values().find_map(|router| {
        let external = router.spec.external.as_ref().filter(|external| external.network == network.id)?;
        let peer = router.spec.peer.filter(|peer| peer.ip_address == address).map(|peer| peer.mac_address);
        let own = external.addresses.contains(&address).then(|| external_mac(router.id));
        own.or(peer)
    })
}

/// The packet, as ovn-trace(8) has it.
pub fn microflow(source: &Source, first_hop: &str, target: IpAddr, asked: Asked) -> String {
    let Source { port, mac, ip, .. } = source;
    let (family, icmp) = if target.is_ipv4() { ("ip4", "icmp4.type == 8") } else { ("ip6", "icmp6.type == 128") };
    let what = match asked {
        Asked::Icmp => format!("{icmp} && {}.code == 0", icmp.split('.').next().unwrap_or_default()),
        Asked::Tcp(port) => format!("tcp.src == {SOURCE_PORT} && tcp.dst == {port} && tcp.flags == 2"),
        Asked::Udp(port) => format!("udp.src == {SOURCE_PORT} && udp.dst == {port}"),
    };
    format!(
        "inport == \"{port}\" && eth.src == {mac} && eth.dst == {first_hop} && {family}.src == {ip} && {family}.dst == {target} && ip.ttl == 64 && {what}"
    )
}

pub(super) fn family(ipv4: bool) -> &'static str {
    if ipv4 { "IPv4" } else { "IPv6" }
}
