//! What a router must keep to, and what is chosen where a request leaves it open.

use std::{borrow::Cow, collections::BTreeSet, net::IpAddr};

use edgestack_planted::{self as planted, Bug};

use super::{External, ExternalRequest, NETWORKS_MAX, PeerRouter, Route, Router, RouterSpec, external_mac};
use crate::{
    Id, Kind, Refusal, World,
    address::{self, Cidr, Taken},
    command::Reference,
    floating_ip::FloatingIp,
    network::{self, Network},
    realization::RealizationState,
};

/// So many routes of its own a router may have.
const ROUTES_MAX: usize = 64;

fn invalid(field: impl Into<String>, reason: impl Into<String>) -> Refusal {
    Refusal::Invalid { field: field.into().into(), reason: reason.into() }
}

/// The router that joins a network, if one does.
pub fn of_network(world: &World, network: Id<Network>) -> Option<&Router> {
    let routers = world.routers.values().map(AsRef::as_ref);
    routers
        .filter(|router: &&Router| router.realization.state != RealizationState::Deleting)
        .find(|router| router.spec.internal.contains(&network))
}

/// The routers that are on a network, on either side, and stay.
pub(crate) fn on_network(world: &World, network: Id<Network>) -> impl Iterator<Item = &Router> {
    world.routers.values().map(AsRef::as_ref).filter(move |router: &&Router| {
        let external = router.spec.external.as_ref().map(|external| external.network);
        router.realization.state != RealizationState::Deleting
            && (router.spec.internal.contains(&network) || external == Some(network))
    })
}

/// What a router is once a network is gone that it was on.
pub(super) fn without_network(world: &World, spec: &RouterSpec, network: Id<Network>) -> RouterSpec {
    let mut spec = spec.clone();
    spec.internal.remove(&network);
    if spec.external.as_ref().is_some_and(|external| external.network == network) {
        (spec.external, spec.peer) = (None, None);
    }
    let left = spec.internal.iter().copied().chain(spec.external.as_ref().map(|external| external.network));
    let left: Vec<&Network> = left.filter_map(|id| world.networks.get(&id)).map(AsRef::as_ref).collect();
    spec.routes.retain(|route| left.iter().any(|network| is_on(network, route.next_hop)));
    spec
}

/// The networks of a request, each once.
pub(super) fn networks<'w>(world: &'w World, field: &str, named: &[Reference]) -> Result<Vec<&'w Network>, Refusal> {
    let mut found: Vec<&Network> = vec![];
    for (at, of) in named.iter().enumerate() {
        let network = find(world, &format!("{field}.{at}"), of)?;
        if !found.iter().any(|other| other.id == network.id) {
            found.push(network);
        }
    }
    Ok(found)
}

fn find<'w>(world: &'w World, field: &str, of: &Reference) -> Result<&'w Network, Refusal> {
    let network = world.network(of).map_err(|_| Refusal::ReferenceNotFound {
        field: field.to_owned().into(),
        kind: Kind::Network.as_str().into(),
        name: of.0.clone(),
    })?;
    network::check_stays(network, "put a router on")?;
    Ok(network)
}

/// A place outside: the address wished for, or a free one; the present one where it is on that network already.
pub(super) fn place_outside(
    world: &World,
    router: Id<Router>,
    present: Option<&External>,
    wish: &ExternalRequest,
) -> Result<External, Refusal> {
    let network = find(world, "external_network", &wish.network)?;
    if !network.spec.network_type.is_provider() {
        let reason = format!("network \"{}\" is not one outside; name one of type FLAT or VLAN", network.meta.name);
        return Err(invalid("external_network", reason));
    }
    let stays = present.filter(|present| {
        present.network == network.id && wish.fixed_ip.is_none_or(|wished| present.addresses.contains(&wished))
    });
    if let Some(present) = stays {
        return Ok(present.clone());
    }
    let at = (PLACE, "this router");
    let addresses = address::take(world, network, &mut Taken::default(), at, (external_mac(router), wish.fixed_ip));
    Ok(External { network: network.id, addresses: addresses.map_err(of_router)? })
}

/// What allocation calls the place that it finds an address for.
const PLACE: &str = "external.";

/// A refusal of an address by the field of a router's request: it has no place with fields of its own, as a NIC has.
fn of_router(refusal: Refusal) -> Refusal {
    let renamed = |field: Cow<'static, str>| -> Cow<'static, str> {
        match field.strip_prefix(PLACE) {
            Some("fixed_ip") => "external_ip".into(),
            Some(_) => "external_network".into(),
            None => field,
        }
    };
    match refusal {
        Refusal::Invalid { field, reason } => Refusal::Invalid { field: renamed(field), reason },
        Refusal::AddressInUse { field, address, by } => Refusal::AddressInUse { field: renamed(field), address, by },
        Refusal::AddressesExhausted { field, network, pool, by } => {
            Refusal::AddressesExhausted { field: renamed(field), network, pool, by }
        }
        other => other,
    }
}

/// Whether a router can be so.
pub(super) fn check(world: &World, router: Id<Router>, spec: &RouterSpec) -> Result<(), Refusal> {
    check_internal(world, router, spec)?;
    check_peer(world, spec)?;
    check_routes(world, spec)
}

fn check_internal(world: &World, router: Id<Router>, spec: &RouterSpec) -> Result<(), Refusal> {
    let field = "internal_networks";
    if spec.internal.len() > NETWORKS_MAX {
        return Err(invalid(
            field,
            format!("a router joins at most {NETWORKS_MAX} networks, got {}", spec.internal.len()),
        ));
    }
    let mut prefixes: Vec<(Cidr, String)> = vec![];
    let external = spec.external.as_ref().map(|external| external.network);
    let all = spec.internal.iter().map(|id| (*id, false)).chain(external.map(|id| (id, true)));
    for (id, is_external) in all {
        let Some(network) = world.networks.get(&id) else { continue };
        let name = &network.meta.name;
        if !is_external {
            if external == Some(id) {
                return Err(invalid(field, format!("network \"{name}\" is its way outside, too")));
            }
            if network.spec.subnets.iter().all(|subnet| subnet.gateway_ip.is_none()) {
                return Err(invalid(field, format!("network \"{name}\" has no gateway_ip, which a router has there")));
            }
            if let Some(other) = of_network(world, id).filter(|other| other.id != router)
                && !planted::is(Bug::GatewayGivenTwice)
            {
                return Err(Refusal::AddressInUse {
                    field: field.into(),
                    address: format!("the gateway of network \"{name}\""),
                    by: format!("router \"{}\"", other.meta.name),
                });
            }
        }
        for subnet in &network.spec.subnets {
            if let Some((_, other)) = prefixes.iter().find(|(prefix, _)| prefix.overlaps(subnet.cidr)) {
                let reason = format!("{} of network \"{name}\" overlaps with network \"{other}\"", subnet.cidr);
                return Err(invalid(if is_external { "external_network" } else { field }, reason));
            }
            prefixes.push((subnet.cidr, name.to_string()));
        }
    }
    Ok(())
}

fn check_peer(world: &World, spec: &RouterSpec) -> Result<(), Refusal> {
    let Some(PeerRouter { ip_address, .. }) = spec.peer else { return Ok(()) };
    let Some(external) = &spec.external else {
        return Err(invalid("peer_router", "it is outside; give the router an external network first"));
    };
    if external.addresses.contains(&ip_address) {
        return Err(invalid("peer_router.ip_address", format!("{ip_address} is the router's own")));
    }
    let network = world.networks.get(&external.network);
    if network.is_some_and(|network| is_on(network, ip_address)) {
        return Ok(());
    }
    Err(invalid("peer_router.ip_address", format!("{ip_address} is not on the external network")))
}

fn check_routes(world: &World, spec: &RouterSpec) -> Result<(), Refusal> {
    if spec.routes.len() > ROUTES_MAX {
        return Err(invalid("routes", format!("at most {ROUTES_MAX}, got {}", spec.routes.len())));
    }
    let networks: BTreeSet<Id<Network>> =
        spec.internal.iter().copied().chain(spec.external.as_ref().map(|external| external.network)).collect();
    let networks: Vec<&Network> = networks.iter().filter_map(|id| world.networks.get(id)).map(AsRef::as_ref).collect();
    for (at, Route { destination, next_hop }) in spec.routes.iter().enumerate() {
        if destination.is_ipv4() != next_hop.is_ipv4() {
            let reason = format!("{next_hop} is of another family than {destination}");
            return Err(invalid(format!("routes.{at}.next_hop"), reason));
        }
        if !networks.iter().any(|network| is_on(network, *next_hop)) {
            return Err(invalid(format!("routes.{at}.next_hop"), format!("{next_hop} is on none of its networks")));
        }
        if spec.routes.iter().skip(at + 1).any(|other| other.destination == *destination) {
            return Err(invalid(format!("routes.{at}.destination"), format!("{destination} is there twice")));
        }
        if networks.iter().any(|network| network.spec.subnets.iter().any(|subnet| subnet.cidr == *destination)) {
            let reason = format!("{destination} is a network that it is on");
            return Err(invalid(format!("routes.{at}.destination"), reason));
        }
    }
    Ok(())
}

fn is_on(network: &Network, address: IpAddr) -> bool {
    network.spec.subnets.iter().any(|subnet| subnet.cidr.is_host(address))
}

/// Floating IPs that would lead nowhere.
pub(super) fn check_floating_ips(world: &World, router: &Router, spec: &RouterSpec) -> Result<(), Refusal> {
    let external = spec.external.as_ref().map(|external| external.network);
    let strands = |ip: &&FloatingIp| {
        let leads_into = ip.leads_into(world);
        external != Some(ip.spec.network) || leads_into.is_some_and(|network| !spec.internal.contains(&network))
    };
    let by: Vec<String> =
        floating_ips(world, router.id).filter(strands).map(named).take(super::decide::NAMED_MAX).collect();
    if by.is_empty() {
        return Ok(());
    }
    Err(Refusal::InUse { kind: Kind::Router, name: router.meta.name.clone(), by })
}

/// The floating IPs of a router that stay.
pub(super) fn floating_ips(world: &World, router: Id<Router>) -> impl Iterator<Item = &FloatingIp> {
    let ips = world.floating_ips.values().map(AsRef::as_ref);
    ips.filter(move |ip| ip.spec.router == router && ip.realization.state != RealizationState::Deleting)
}

pub(super) fn named(ip: &FloatingIp) -> String {
    format!("floating_ip \"{}\"", ip.meta.name)
}

/// What of a router is other than before, for people.
pub(super) fn words(world: &World, before: Option<&RouterSpec>, spec: &RouterSpec) -> Vec<String> {
    let name =
        |id: &Id<Network>| world.networks.get(id).map_or_else(|| id.to_string(), |one| one.meta.name.to_string());
    let mut words = vec![];
    if before.is_none_or(|before| before.enable_snat != spec.enable_snat) {
        words.push(format!("SNAT {}", if spec.enable_snat { "on" } else { "off" }));
    }
    if before.is_none_or(|before| before.internal != spec.internal) {
        let names: Vec<String> = spec.internal.iter().map(name).collect();
        words.push(format!("joins {}", if names.is_empty() { "no network".to_owned() } else { names.join(", ") }));
    }
    if before.is_none_or(|before| before.external != spec.external) {
        words.push(match &spec.external {
            Some(External { network, addresses }) => {
                let addresses: Vec<String> = addresses.iter().map(ToString::to_string).collect();
                format!("outside as {} on {}", addresses.join(", "), name(network))
            }
            None => "no way outside".to_owned(),
        });
    }
    if before.is_some_and(|before| before.peer != spec.peer) || (before.is_none() && spec.peer.is_some()) {
        words.push(match spec.peer {
            Some(peer) => format!("next hop {} at {}", peer.ip_address, peer.mac_address),
            None => "next hop as the external network says".to_owned(),
        });
    }
    if before.map_or(!spec.routes.is_empty(), |before| before.routes != spec.routes) {
        let routes: Vec<String> =
            spec.routes.iter().map(|route| format!("{} by {}", route.destination, route.next_hop)).collect();
        words.push(format!("routes {}", if routes.is_empty() { "none".to_owned() } else { routes.join(", ") }));
    }
    words
}
