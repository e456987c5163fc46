//! Routers: what is settled and refused, and when they and their networks can go.

use super::{CreateRouter, ExternalRequest, PeerRouter, Route, RouterCommand, UpdateRouter, external_mac};
use crate::{
    builders::*,
    network::{CreateNetwork, NetworkCommand, SubnetRequest},
    realization::{RealizationReport, RealizationState},
};

fn remove(router: &str) -> RouterCommand {
    RouterCommand::Delete { router: router.into(), cascade: false }
}

fn external(network: &str, fixed_ip: Option<&str>) -> Option<ExternalRequest> {
    Some(ExternalRequest { network: network.into(), fixed_ip: fixed_ip.map(|ip| ip.parse().unwrap()) })
}

/// A world with networks `blue`, `red` and `out`, which is one outside.
fn a_world_with_networks() -> Site {
    let mut site = a_world();
    site.has(a_network("blue", "10.0.0.0/24"));
    site.has(a_network("red", "10.1.0.0/24"));
    site.has(an_outside("out", "192.0.2.0/24"));
    site
}

/// The same with router `r`, which joins `blue` and leads to `out`.
fn a_world_with_router() -> Site {
    let mut site = a_world_with_networks();
    site.has(a_router_with("r", &["blue"], Some("out")));
    site
}

fn peer(ip: &str) -> Option<PeerRouter> {
    Some(PeerRouter { ip_address: ip.parse().unwrap(), mac_address: "02:00:00:00:00:01".parse().unwrap() })
}

fn route(destination: &str, next_hop: &str) -> Route {
    Route { destination: destination.parse().unwrap(), next_hop: next_hop.parse().unwrap() }
}

#[test]
fn a_router_takes_a_free_address_outside_which_others_see_as_held() {
    let mut site = a_world_with_router();
    let spec = site.router("r").spec.clone();
    assert_eq!(spec.external.unwrap().addresses, ["192.0.2.2".parse::<std::net::IpAddr>().unwrap()]);
    assert!(spec.enable_snat && spec.internal.contains(&site.network("blue").id));
    let wished = CreateRouter { external: external("out", Some("192.0.2.2")), ..a_router("r2") };
    check(&site, wished, Err("address-in-use external_ip"));
    let held = crate::address::holders(&site.world, site.network("out"));
    assert_eq!(held[&"192.0.2.2".parse().unwrap()], "router \"r\"");
    let held = crate::address::holders(&site.world, site.network("blue"));
    assert_eq!(held[&"10.0.0.1".parse().unwrap()], "router \"r\"", "it is found under the gateway's address");
    site.has(CreateRouter { external: external("out", Some("192.0.2.50")), ..a_router("r2") });
    assert_ne!(external_mac(site.router("r").id), external_mac(site.router("r2").id));
}

#[test]
fn each_bad_value_is_refused_by_its_field() {
    let mut site = a_world_with_router();
    site.has(a_network("twin", "10.0.0.128/25"));
    let none = SubnetRequest { gateway_ip: Some(None), ..a_subnet("10.5.0.0/24") };
    site.has(CreateNetwork { subnets: vec![none], ..a_network("nobody", "10.5.0.0/24") });
    let joins = |networks: &[&str]| a_router_with("r2", networks, None);
    let outside = |create: CreateRouter| CreateRouter { external: external("out", None), ..create };
    for (create, expect) in [
        (joins(&["nope"]), "reference-not-found internal_networks.0"),
        (joins(&["blue"]), "address-in-use internal_networks"),
        (joins(&["red", "nobody"]), "invalid-value internal_networks"),
        (CreateRouter { external: external("nope", None), ..joins(&[]) }, "reference-not-found external_network"),
        (CreateRouter { external: external("red", None), ..joins(&[]) }, "invalid-value external_network"),
        (CreateRouter { external: external("out", Some("10.0.0.9")), ..joins(&[]) }, "invalid-value external_ip"),
        (outside(joins(&["out"])), "invalid-value internal_networks"),
        (CreateRouter { peer: peer("192.0.2.254"), ..joins(&["red"]) }, "invalid-value peer_router"),
        (outside(CreateRouter { peer: peer("10.1.0.9"), ..joins(&["red"]) }), "invalid-value peer_router.ip_address"),
        (outside(CreateRouter { peer: peer("192.0.2.3"), ..joins(&[]) }), "invalid-value peer_router.ip_address"),
        (
            CreateRouter { routes: vec![route("10.9.0.0/16", "10.7.0.1")], ..joins(&["red"]) },
            "invalid-value routes.0.next_hop",
        ),
        (
            CreateRouter { routes: vec![route("fd00::/64", "10.1.0.9")], ..joins(&["red"]) },
            "invalid-value routes.0.next_hop",
        ),
        (
            CreateRouter { routes: vec![route("10.1.0.0/24", "10.1.0.9")], ..joins(&["red"]) },
            "invalid-value routes.0.destination",
        ),
        (
            CreateRouter { routes: vec![route("10.9.0.0/16", "10.1.0.9"); 2], ..joins(&["red"]) },
            "invalid-value routes.0.destination",
        ),
        (CreateRouter { description: too_long(), ..joins(&[]) }, "invalid-value description"),
        (CreateRouter { name: name("r"), ..joins(&[]) }, "name-taken name"),
    ] {
        check(&site, create, Err(expect));
    }
    site.has(RouterCommand::Delete { router: "r".into(), cascade: false });
    check(&site, joins(&["blue", "twin"]), Err("invalid-value internal_networks"));
    check(&site, joins(&["blue"]), Ok(&["RouterCreated"]));
}

#[test]
fn an_update_says_all_or_what_comes_and_goes() {
    let mut site = a_world_with_router();
    let update = || an_update("r");
    let updated = "RouterUpdated";
    check(&site, update(), Ok(&[]));
    check(&site, UpdateRouter { enable_snat: Some(true), ..update() }, Ok(&[]));
    check(&site, UpdateRouter { attach: vec!["blue".into()], ..update() }, Ok(&[]));
    check(&site, UpdateRouter { external: Some(external("out", None)), ..update() }, Ok(&[]));
    check(&site, UpdateRouter { detach: vec!["red".into()], ..update() }, Err("invalid-value detach.0"));
    check(&site, UpdateRouter { internal: Some(vec![]), ..update() }, Ok(&[updated]));
    site.has(site.told_of_router("r", RealizationReport::Realized));
    site.has(UpdateRouter { attach: vec!["red".into()], detach: vec!["blue".into()], ..update() });
    let router = site.router("r");
    assert_eq!(router.spec.internal, [site.network("red").id].into());
    assert_eq!(router.realization.state, RealizationState::Updating);
    site.has(UpdateRouter { external: Some(external("out", Some("192.0.2.77"))), ..update() });
    site.has(UpdateRouter { peer: Some(peer("192.0.2.254")), ..update() });
    check(&site, UpdateRouter { external: Some(None), ..update() }, Err("invalid-value peer_router"));
    site.has(UpdateRouter { external: Some(None), peer: Some(None), ..update() });
    assert_eq!(site.router("r").spec.external, None);
}

#[test]
fn a_network_stays_while_a_router_is_on_it() {
    let mut site = a_world_with_router();
    let remove_network = |network: &str| NetworkCommand::Delete { network: network.into(), cascade: false };
    for network in ["blue", "out"] {
        check(&site, remove_network(network), Err("in-use"));
    }
    let words = site.decide(&remove_network("out").into()).unwrap_err().to_string();
    assert!(words.contains("router \"r\""), "{words}");
    check(&site, remove_network("red"), Ok(&["NetworkDeleteRequested"]));
    site.has(remove("r"));
    check(&site, remove_network("blue"), Ok(&["NetworkDeleteRequested"]));
    check(&site, an_update("r"), Err("wrong-state"));
    check(&site, remove("r"), Ok(&[]));
    site.has(site.told_of_router("r", RealizationReport::Removed));
    site.has(a_router("r"));
}
