//! Where a probe is put, and as whom.

use std::{
    collections::BTreeSet,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use edgestack_model::{
    Id, World,
    address::{Cidr, IpRange, Mac, holders},
    network::{Ipv6Mode, Network, Subnet},
    realization::RealizationState,
    router::{self, Router},
};
use uuid::Uuid;

use super::ProbeError;

/// So many addresses of a pool are looked at, from its end.
const LOOKED_AT_MAX: u32 = 4096;
/// The largest packet on a link of a probe's own.
const LINK_MTU: u32 = 1400;
/// Prefixes of four addresses for links of their own, in a range that no site routes: RFC 2544, section C.2.2.
const LINKS_V4: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 0);
const LINKS_V4_MAX: u32 = 1 << 15;
/// The same of IPv6: unique local ones (RFC 4193), by the number of the link.
const LINKS_V6: Ipv6Addr = Ipv6Addr::new(0xfdee, 0xd9e5, 0x7ac0, 0, 0, 0, 0, 0);

/// What a probe is put at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// On a network, as one more host.
    Network(Id<Network>),
    /// Behind a router, on a network that has nobody else: what it sends is the router's to take further.
    Router(Id<Router>),
}

/// A host of our own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Probe {
    /// What its rows are found by.
    pub id: Uuid,
    /// What it is put at.
    pub place: Place,
    /// Its number among the probes there.
    pub slot: u32,
    /// Its MAC address.
    pub mac: Mac,
    /// Its addresses, each with the length of its prefix, one of each family at most.
    pub addresses: Vec<(IpAddr, u8)>,
    /// Its way to all others.
    pub gateways: Vec<IpAddr>,
    /// The router's MAC address on a link of its own.
    pub router_mac: Mac,
    /// The largest packet, bytes.
    pub mtu: u32,
}

impl Probe {
    /// # Errors
    /// [`ProbeError::NoAddress`], [`ProbeError::Gone`].
    pub(super) fn new(world: &World, id: Uuid, place: Place, others: &[&Self]) -> Result<Self, ProbeError> {
        let of_place = others.iter().filter(|other| other.place == place);
        let slot = (0..).find(|slot| !of_place.clone().any(|other| other.slot == *slot)).unwrap_or_default();
        let [mac, router_mac] = macs(place, slot);
        let taken: BTreeSet<IpAddr> = of_place.flat_map(|other| other.addresses.iter().map(|(ip, _)| *ip)).collect();
        let (addresses, gateways, mtu) = match place {
            Place::Network(network) => on_network(world, network, mac, &taken)?,
            Place::Router(router) => behind(world, router, &taken)?,
        };
        Ok(Self { id, place, slot, mac, addresses, gateways, router_mac, mtu })
    }
}

/// The same for every probe of this number there: it has the address that the one before had, too, and guests remember who
/// was found under that.
fn macs(place: Place, slot: u32) -> [Mac; 2] {
    let bytes = match place {
        Place::Network(network) => network.uuid().into_bytes(),
        Place::Router(router) => router.uuid().into_bytes(),
    };
    let number = u32::from_be_bytes([0, bytes[13], bytes[14], bytes[15]]);
    // The number itself is the network's or router's own.
    [1, 2].map(|part| Mac::of_infrastructure(number.wrapping_add(slot * 2 + part)))
}

type As = (Vec<(IpAddr, u8)>, Vec<IpAddr>, u32);

fn on_network(world: &World, id: Id<Network>, mac: Mac, taken: &BTreeSet<IpAddr>) -> Result<As, ProbeError> {
    let network = world.networks.get(&id).ok_or(ProbeError::Gone)?;
    if network.realization.state == RealizationState::Deleting {
        return Err(ProbeError::Gone);
    }
    let held = holders(world, network);
    let free = |range: &IpRange| {
        let mut candidates = (0..LOOKED_AT_MAX).map_while(|at| below(*range, at));
        candidates.find(|ip| !held.contains_key(ip) && !taken.contains(ip))
    };
    // From the end: what is given next to a VM comes from the beginning.
    let address = |subnet: &Subnet| match subnet.ipv6_mode {
        Some(Ipv6Mode::Slaac) => Some(mac.slaac(subnet.cidr)),
        Some(Ipv6Mode::Dhcpv6Stateful) | None => subnet.pools.iter().rev().find_map(free),
    };
    let subnets = &network.spec.subnets;
    let addresses: Vec<(IpAddr, u8)> =
        subnets.iter().filter_map(|subnet| Some((address(subnet)?, subnet.cidr.prefix_length()))).collect();
    if addresses.is_empty() {
        return Err(ProbeError::NoAddress { network: network.meta.name.to_string() });
    }
    let is_routed = network.spec.network_type.is_provider() || router::of_network(world, id).is_some();
    let gateways = subnets.iter().filter_map(|subnet| subnet.gateway_ip).filter(|_| is_routed);
    Ok((addresses, gateways.collect(), network.spec.mtu))
}

fn behind(world: &World, id: Id<Router>, taken: &BTreeSet<IpAddr>) -> Result<As, ProbeError> {
    let router = world.routers.get(&id).ok_or(ProbeError::Gone)?;
    if router.realization.state == RealizationState::Deleting {
        return Err(ProbeError::Gone);
    }
    let outside = router.spec.external.as_ref().map(|external| external.network);
    let networks = router.spec.internal.iter().copied().chain(outside).filter_map(|id| world.networks.get(&id));
    let prefixes: Vec<Cidr> =
        networks.flat_map(|network| network.spec.subnets.iter().map(|subnet| subnet.cidr)).collect();
    let is_free = |ip: &IpAddr| !taken.contains(ip) && !prefixes.iter().any(|prefix| prefix.contains(*ip));
    let link = |number: u32| {
        let v4 = u32::from(LINKS_V4) + number * 4;
        let v6 = u128::from(LINKS_V6) | u128::from(number) << 64;
        let hosts = [IpAddr::V4((v4 + 2).into()), IpAddr::V6((v6 + 2).into())];
        let router = [IpAddr::V4((v4 + 1).into()), IpAddr::V6((v6 + 1).into())];
        hosts.iter().chain(&router).all(is_free).then_some((hosts, router))
    };
    let (hosts, router) = (0..LINKS_V4_MAX).find_map(link).ok_or(ProbeError::Gone)?;
    Ok((hosts.into_iter().zip([30, 64]).collect(), router.to_vec(), LINK_MTU))
}

/// The address that is so many before a range's last, if it is of the range.
fn below(range: IpRange, at: u32) -> Option<IpAddr> {
    let ip = match range.end() {
        IpAddr::V4(end) => IpAddr::V4(u32::from(end).checked_sub(at)?.into()),
        IpAddr::V6(end) => IpAddr::V6(u128::from(end).checked_sub(at.into())?.into()),
    };
    range.contains(ip).then_some(ip)
}
