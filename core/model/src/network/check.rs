//! What a network must keep to, and what is chosen where a request leaves it open.

use std::{collections::BTreeSet, net::IpAddr};

use edgestack_planted::{self as planted, Bug};

use super::{CreateNetwork, HostRoute, Ipv6Mode, Network, NetworkSpec, NetworkType, Subnet, SubnetRequest};
use crate::{Refusal, World, address::IpRange};

/// What the wire between nodes, and the networks outside, carry: Ethernet's, bytes.
pub const UNDERLAY_MTU: u32 = 1500;
/// What Geneve takes of it with OVN's option: outer IPv4, UDP, Geneve with 8 bytes of options, inner Ethernet.
/// Whatever type a tenant network has, this is what carries it (ADR 0038). Source: RFC 8926, section 3; ovn-architecture(7).
pub const ENCAPSULATION_BYTES: u32 = 58;
/// The smallest packet that every IPv4 host takes (RFC 791, section 3.2); IPv6 asks for more (RFC 8200, section 5).
const MTU_MIN: u32 = 576;
const MTU_MIN_IPV6: u32 = 1280;
/// The largest segment id: 24 bits, as in VXLAN (RFC 7348) and Geneve (RFC 8926).
pub const SEGMENT_ID_MAX: u32 = 16_777_215;
/// The largest VLAN; 4095 is reserved. Source: IEEE 802.1Q, table 9-2.
pub const VLAN_MAX: u32 = 4094;
/// So many name servers, routes and pools: what DHCP's answer has room for.
const LISTED_MAX: usize = 16;

fn invalid(field: &str, reason: impl Into<String>) -> Refusal {
    Refusal::Invalid { field: field.to_owned().into(), reason: reason.into() }
}

/// The request with all that it left open.
pub(super) fn settle(world: &World, create: &CreateNetwork) -> Result<NetworkSpec, Refusal> {
    check_carrier(create)?;
    check_reached(world, create)?;
    let subnets = settle_subnets(&create.subnets)?;
    let network_type = create.network_type;
    let segment_id = settle_segment(world, create)?;
    let spec = NetworkSpec {
        network_type,
        segment_id,
        physical_network: create.physical_network.clone(),
        mtu: create.mtu.unwrap_or_else(|| mtu_max(network_type)),
        subnets,
        dns_servers: create.dns_servers.clone(),
        host_routes: create.host_routes.clone(),
        port_security: create.port_security,
        dhcp: create.dhcp,
    };
    check_mtu(&spec, spec.mtu)?;
    check_dns_servers(&spec.dns_servers)?;
    check_host_routes(&spec, &spec.host_routes)?;
    Ok(spec)
}

/// A provider network names the network outside, a tenant network doesn't.
fn check_carrier(create: &CreateNetwork) -> Result<(), Refusal> {
    let name = create.network_type.as_str();
    match (create.network_type.is_provider(), &create.physical_network) {
        (true, None) => Err(invalid(
            "external.physical_network",
            format!(
                "a {name} network is one outside; name the physical network that it is (edgestackd --physical-network)"
            ),
        )),
        (false, Some(_)) => Err(invalid(
            "external.physical_network",
            format!("a {name} network has no physical network; take type FLAT or VLAN for one outside"),
        )),
        (true, Some(_)) | (false, None) => Ok(()),
    }
}

/// Somebody leads to it, as far as nodes tell: on a site where none does yet it is taken.
fn check_reached(world: &World, create: &CreateNetwork) -> Result<(), Refusal> {
    let Some(physical) = &create.physical_network else { return Ok(()) };
    let told = || world.nodes.values().filter_map(|node| node.facts.network.as_ref());
    let known: BTreeSet<&str> = told().flat_map(|network| &network.physical_networks).map(String::as_str).collect();
    if told().next().is_none() || known.contains(physical.as_str()) {
        return Ok(());
    }
    let known = match known.is_empty() {
        true => "none leads outside".to_owned(),
        false => format!("they lead to {}", known.into_iter().collect::<Vec<_>>().join(", ")),
    };
    let reason = format!(
        "no node leads to \"{physical}\", {known}; start edgestackd on one with --physical-network {physical}=BRIDGE (with --networks existing: add it to ovn-bridge-mappings there)"
    );
    Err(invalid("external.physical_network", reason))
}

fn settle_segment(world: &World, create: &CreateNetwork) -> Result<Option<u32>, Refusal> {
    let range = match create.network_type {
        NetworkType::Flat => {
            if create.segment_id.is_some() {
                return Err(invalid("segment_id", "a FLAT network has none; take type VLAN"));
            }
            // There is one untagged network on a wire.
            return match user_of(world, create, None) {
                Some(network) => Err(segment_in_use("untagged traffic", network)),
                None => Ok(None),
            };
        }
        NetworkType::Vlan => 1..=VLAN_MAX,
        NetworkType::Vxlan | NetworkType::Gre | NetworkType::Geneve => 1..=SEGMENT_ID_MAX,
    };
    let Some(wished) = create.segment_id else {
        if create.network_type == NetworkType::Vlan {
            return Err(invalid("segment_id", format!("a VLAN network needs its VLAN, 1 to {VLAN_MAX}")));
        }
        let tenants = world.networks.values().filter(|network| !network.spec.network_type.is_provider());
        let used: BTreeSet<u32> = tenants.filter_map(|network| network.spec.segment_id).collect();
        let free = range.clone().find(|segment| !used.contains(segment));
        let free = free.ok_or_else(|| invalid("segment_id", "all segment ids are taken; remove a network first"))?;
        return Ok(Some(free));
    };
    if !range.contains(&wished) {
        return Err(invalid("segment_id", format!("must be 1 to {}, got {wished}", range.end())));
    }
    match user_of(world, create, Some(wished)) {
        Some(_) if planted::is(Bug::SegmentGivenTwice) => Ok(Some(wished)),
        Some(network) => Err(segment_in_use(&format!("segment id {wished}"), network)),
        None => Ok(Some(wished)),
    }
}

/// Who has a segment already. Tenant networks share one space of keys, as one encapsulation carries them all; VLANs are
/// a physical network's own.
fn user_of<'w>(world: &'w World, create: &CreateNetwork, segment_id: Option<u32>) -> Option<&'w Network> {
    let same_wire = |network: &&Network| {
        network.spec.network_type.is_provider() == create.network_type.is_provider()
            && network.spec.physical_network == create.physical_network
    };
    let networks = world.networks.values().map(AsRef::as_ref);
    networks.filter(same_wire).find(|network| network.spec.segment_id == segment_id)
}

fn segment_in_use(what: &str, network: &Network) -> Refusal {
    Refusal::SegmentInUse { segment: what.to_owned(), by: format!("network \"{}\"", network.meta.name) }
}

fn settle_subnets(requests: &[SubnetRequest]) -> Result<Vec<Subnet>, Refusal> {
    let field = |at: usize, what: &str| if at == 0 { what.to_owned() } else { format!("ipv6.{what}") };
    match requests {
        [_] => {}
        [first, second] if first.cidr.is_ipv4() && !second.cidr.is_ipv4() => {}
        [_, _] => return Err(invalid("ipv6.cidr", "a second prefix is of IPv6, the first one of IPv4")),
        [] | [_, _, _, ..] => return Err(invalid("cidr", "a network has one prefix, or one of each family")),
    }
    let settled = requests.iter().enumerate();
    settled.map(|(at, request)| settle_subnet(request, &|what: &str| field(at, what))).collect()
}

fn settle_subnet(request: &SubnetRequest, field: &dyn Fn(&str) -> String) -> Result<Subnet, Refusal> {
    let cidr = request.cidr;
    let ipv6_mode = match (cidr.is_ipv4(), request.ipv6_mode) {
        (true, None) => None,
        (true, Some(_)) => return Err(invalid(&field("address_mode"), "is of IPv6 only")),
        (false, mode) => Some(mode.unwrap_or_default()),
    };
    let lengths = match ipv6_mode {
        None => 8..=30,
        Some(Ipv6Mode::Slaac) => 64..=64,
        Some(Ipv6Mode::Dhcpv6Stateful) => 64..=126,
    };
    if !lengths.contains(&cidr.prefix_length()) {
        let (shortest, longest) = lengths.into_inner();
        let reason = if shortest == longest {
            format!("hosts make their addresses in prefixes of {shortest} bits, got {cidr}; or take dhcpv6_stateful")
        } else {
            format!("must have a prefix of {shortest} to {longest} bits, got {cidr}")
        };
        return Err(invalid(&field("cidr"), reason));
    }
    if let Some(what) = unusable(cidr) {
        return Err(invalid(&field("cidr"), format!("{cidr} holds {what}, which no network of hosts has")));
    }
    if !request.pools.is_empty() {
        check_has_pools(ipv6_mode, &field("ip_pool"))?;
    }
    let gateway_ip = request.gateway_ip.unwrap_or_else(|| Some(cidr.first_host()));
    if let Some(gateway) = gateway_ip.filter(|gateway| !cidr.is_host(*gateway)) {
        return Err(invalid(&field("gateway_ip"), format!("{gateway} is no host's address in {cidr}")));
    }
    let pools = if request.pools.is_empty() { all_hosts(request) } else { request.pools.clone() };
    check_pools(&Subnet { cidr, gateway_ip, pools: pools.clone(), ipv6_mode }, &pools, &field("ip_pool"))?;
    Ok(Subnet { cidr, gateway_ip, pools, ipv6_mode })
}

/// What of a prefix is of another use. Source: RFC 6890, section 2.2.
fn unusable(cidr: crate::address::Cidr) -> Option<&'static str> {
    const OTHER_USE: [(&str, &str); 9] = [
        ("0.0.0.0/8", "\"this network\""),
        ("127.0.0.0/8", "the loopback"),
        ("169.254.0.0/16", "link-local addresses"),
        ("224.0.0.0/4", "multicast addresses"),
        ("240.0.0.0/4", "reserved addresses"),
        ("::/128", "the unspecified address"),
        ("::1/128", "the loopback"),
        ("fe80::/10", "link-local addresses"),
        ("ff00::/8", "multicast addresses"),
    ];
    let of_other_use = OTHER_USE.into_iter().filter_map(|(prefix, what)| Some((prefix.parse().ok()?, what)));
    of_other_use.filter(|(prefix, _)| cidr.overlaps(*prefix)).map(|(_, what)| what).next()
}

fn all_hosts(request: &SubnetRequest) -> Vec<IpRange> {
    IpRange::new(request.cidr.first_host(), request.cidr.last_host()).into_iter().collect()
}

/// Where hosts make their addresses by themselves, nobody gives them any from a pool.
pub(super) fn check_has_pools(ipv6_mode: Option<Ipv6Mode>, field: &str) -> Result<(), Refusal> {
    match ipv6_mode {
        Some(Ipv6Mode::Slaac) => {
            Err(invalid(field, "hosts make their addresses by themselves (slaac); or take dhcpv6_stateful"))
        }
        Some(Ipv6Mode::Dhcpv6Stateful) | None => Ok(()),
    }
}

/// Pools lie in the prefix and have nothing in common.
pub(super) fn check_pools(subnet: &Subnet, pools: &[IpRange], field: &str) -> Result<(), Refusal> {
    if pools.is_empty() || pools.len() > LISTED_MAX {
        return Err(invalid(field, format!("must be 1 to {LISTED_MAX} ranges, got {}", pools.len())));
    }
    for (at, pool) in pools.iter().enumerate() {
        for end in [pool.start(), pool.end()] {
            if !subnet.cidr.is_host(end) {
                return Err(invalid(field, format!("{end} is no host's address in {}", subnet.cidr)));
            }
        }
        if let Some(other) = pools.iter().skip(at + 1).find(|other| other.overlaps(*pool)) {
            return Err(invalid(field, format!("{pool} and {other} overlap")));
        }
    }
    Ok(())
}

/// The largest packet that fits.
pub(super) const fn mtu_max(network_type: NetworkType) -> u32 {
    if network_type.is_provider() { UNDERLAY_MTU } else { UNDERLAY_MTU - ENCAPSULATION_BYTES }
}

pub(super) fn check_mtu(spec: &NetworkSpec, mtu: u32) -> Result<(), Refusal> {
    let ipv6 = spec.subnets.iter().any(|subnet| !subnet.cidr.is_ipv4());
    let smallest = if ipv6 { MTU_MIN_IPV6 } else { MTU_MIN };
    let largest = mtu_max(spec.network_type);
    if (smallest..=largest).contains(&mtu) {
        return Ok(());
    }
    let why = if mtu > largest && !spec.network_type.is_provider() {
        format!(": the wire carries {UNDERLAY_MTU}, of which the encapsulation takes {ENCAPSULATION_BYTES}")
    } else {
        String::new()
    };
    Err(invalid("mtu", format!("must be {smallest} to {largest}, got {mtu}{why}")))
}

pub(super) fn check_dns_servers(servers: &[IpAddr]) -> Result<(), Refusal> {
    if servers.len() > LISTED_MAX {
        return Err(invalid("dns_servers", format!("at most {LISTED_MAX}, got {}", servers.len())));
    }
    match servers.iter().find(|server| server.is_unspecified() || server.is_multicast()) {
        Some(server) => Err(invalid("dns_servers", format!("{server} is no host's address"))),
        None => Ok(()),
    }
}

/// DHCP tells routes of IPv4 only (RFC 3442), each by an address on the network.
pub(super) fn check_host_routes(spec: &NetworkSpec, routes: &[HostRoute]) -> Result<(), Refusal> {
    if routes.len() > LISTED_MAX {
        return Err(invalid("host_routes", format!("at most {LISTED_MAX}, got {}", routes.len())));
    }
    for (at, route) in routes.iter().enumerate() {
        let HostRoute { destination, next_hop } = route;
        if !destination.is_ipv4() || !next_hop.is_ipv4() {
            return Err(invalid(
                &format!("host_routes.{at}"),
                "DHCP tells routes of IPv4 only; routes of IPv6 are told by the network's router",
            ));
        }
        if !spec.subnets.iter().any(|subnet| subnet.cidr.is_host(*next_hop)) {
            return Err(invalid(&format!("host_routes.{at}.next_hop"), format!("{next_hop} is not on the network")));
        }
        if routes.iter().skip(at + 1).any(|other| other.destination == *destination) {
            return Err(invalid(&format!("host_routes.{at}.destination"), format!("{destination} is there twice")));
        }
    }
    Ok(())
}
