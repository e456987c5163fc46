//! A network's removal, and what goes with it.

use crate::{
    builders::*,
    floating_ip::{AssociationRequest, CreateFloatingIp},
    network::NetworkCommand,
    realization::{RealizationReport, RealizationState},
    router::{PeerRouter, Route, UpdateRouter},
    vm::{NicState, VmReport},
};

fn with_all(network: &str) -> NetworkCommand {
    NetworkCommand::Delete { network: network.into(), cascade: true }
}

/// Networks `blue`, `red` and `out`, router `r` between them; VM `web` runs on `blue` and `red`, a floating IP leads to it,
/// and it is a member of load balancer `l`, to which another floating IP leads. VM `db` is on `blue` and never had a place.
fn a_busy_site() -> Site {
    let mut site = a_world();
    for (network, cidr) in [("blue", "10.0.0.0/24"), ("red", "10.1.0.0/24")] {
        site.has(a_network(network, cidr));
    }
    site.has(an_outside("out", "192.0.2.0/24"));
    site.has(a_router_with("r", &["blue", "red"], Some("out")));
    let route = |destination: &str, hop: &str| Route {
        destination: destination.parse().unwrap(),
        next_hop: hop.parse().unwrap(),
    };
    let routes = vec![
        route("10.8.0.0/16", "10.0.0.200"),
        route("10.9.0.0/16", "10.1.0.200"),
        route("198.51.100.0/24", "192.0.2.200"),
    ];
    let peer =
        PeerRouter { ip_address: "192.0.2.254".parse().unwrap(), mac_address: "02:00:00:00:00:01".parse().unwrap() };
    site.has(UpdateRouter { routes: Some(routes), peer: Some(Some(peer)), ..an_update("r") });
    site.has(a_vm_on("web", &["blue", "red"]));
    site.runs("web");
    site.has(cordon("edge-1"));
    site.has(a_vm_on("db", &["blue"]));
    site.has(a_balancer("l", "blue", &["web", "db"]));
    let to = AssociationRequest { vm: "web".into(), fixed_ip: "10.0.0.2".parse().ok() };
    site.has(CreateFloatingIp { address: "192.0.2.50".parse().ok(), to: Some(to), ..a_floating_ip() });
    let balanced = Some("l".into());
    site.has(CreateFloatingIp { address: "192.0.2.60".parse().ok(), load_balancer: balanced, ..a_floating_ip() });
    site
}

#[test]
fn what_is_on_it_goes_first_and_it_is_there_until_the_last_is_gone() {
    let mut site = a_busy_site();
    check(&site, NetworkCommand::Delete { network: "blue".into(), cascade: false }, Err("in-use"));
    let all = [
        "FloatingIpDisassociatedFromLoadBalancer",
        "LoadBalancerDeleteRequested",
        "VmNicDetachRequested",
        "FloatingIpDisassociated",
        "VmNicDetachRequested",
        "VmNicDetached",
        "RouterUpdated",
        "NetworkDeleteRequested",
    ];
    let mut seen = types(&site.has(with_all("blue")));
    let mut expected = all.map(str::to_owned).to_vec();
    seen.sort();
    expected.sort();
    assert_eq!(seen, expected);
    check(&site, with_all("blue"), Ok(&[]));
    assert_eq!(site.world.unsound(), None);
    let (red, router) = (site.network("red").id, &site.router("r").spec);
    let destinations: Vec<String> = router.routes.iter().map(|route| route.destination.to_string()).collect();
    assert_eq!((router.internal.clone(), destinations.join(" ")), ([red].into(), "10.9.0.0/16 198.51.100.0/24".into()));
    assert!(router.peer.is_some());
    let web = site.vm("web");
    let states: Vec<NicState> = web.nics.iter().map(|nic| web.nic_state(nic)).collect();
    assert_eq!(states, [NicState::Detaching, NicState::Attached]);
    assert_eq!(site.vm("db").nics, []);
    for ip in ["192.0.2.50", "192.0.2.60"] {
        let ip = site.floating_ip(ip);
        assert_eq!((&ip.association, ip.load_balancer), (&None, None), "it is held, and leads nowhere");
    }

    // Of the NIC that is awaited, whatever another one waits for.
    let mut elsewhere = site.clone();
    elsewhere.has(elsewhere.told("web", VmReport::NicAttemptFailed { number: 1, failed: failed("keep") }));
    let waiting = elsewhere.network("blue").waiting(&elsewhere.world).unwrap();
    assert_eq!(
        (waiting.reason.contains("NIC 0 is being taken out"), waiting.next_attempt_at),
        (true, None),
        "{waiting:?}"
    );
    elsewhere.has(lost("edge-1"));
    let waiting = elsewhere.network("blue").waiting(&elsewhere.world).unwrap();
    assert!(waiting.fix.unwrap().ends_with("edgectl force-remove vm/web --reason …"));

    // The pool may say so at any time; it is gone with the last that is on it.
    let removed = || RealizationReport::Removed;
    check(&site, site.told_of_network("blue", removed()), Ok(&[]));
    let waiting = site.network("blue").waiting(&site.world).unwrap();
    assert_eq!(waiting.reason, "NIC 0 of vm \"web\" is still on it: NIC 0 is being taken out of the VM");
    assert_eq!(waiting.owner, "worker.vm@edge-1");
    site.has(site.told("web", VmReport::NicUnplugged { number: 0 }));
    assert!(site.network("blue").is_held(&site.world), "its load balancer is there");
    check(&site, site.told_of_network("blue", removed()), Ok(&[]));
    site.has(site.told_of_balancer("l", removed()));
    check(&site, site.told_of_network("blue", removed()), Ok(&["NetworkDeleted"]));
    site.has(site.told_of_network("blue", removed()));
    assert_eq!(site.world.unsound(), None);
}

#[test]
fn with_a_network_outside_go_floating_ips_and_routers_ways() {
    let mut site = a_busy_site();
    site.has(with_all("out"));
    assert_eq!(site.world.unsound(), None);
    let router = &site.router("r").spec;
    assert_eq!((&router.external, router.peer, router.routes.len()), (&None, None, 2));
    let states = ["192.0.2.50", "192.0.2.60"].map(|ip| site.floating_ip(ip).realization.state);
    assert_eq!(states, [RealizationState::Deleting; 2]);
    assert_eq!(site.balancer("l").realization.state, RealizationState::Creating, "what they led to stays");
    for ip in ["192.0.2.50", "192.0.2.60"] {
        check(&site, site.told_of_network("out", RealizationReport::Removed), Ok(&[]));
        site.has(site.told_of_floating_ip(ip, RealizationReport::Removed));
    }
    check(&site, site.told_of_network("out", RealizationReport::Removed), Ok(&["NetworkDeleted"]));
}

#[test]
fn a_vm_that_goes_takes_its_nic_with_it_and_no_force_is_faster() {
    let mut site = a_busy_site().because("it hangs");
    site.has(delete("web"));
    let events = site.has(with_all("blue"));
    assert!(!events.iter().any(|event| event.name == site.vm("web").meta.name), "{events:?}");
    let force = || NetworkCommand::ForceRemove { network: "blue".into() };
    site.has(site.told_of_network("blue", RealizationReport::AttemptFailed(failed("write"))));
    let words = site.decide(&force().into()).unwrap_err().to_string();
    assert!(words.contains("vm \"web\""), "{words}");
    site.workers_finish_removals();
    site.has(site.told_of_balancer("l", RealizationReport::Removed));
    check(&site, force(), Ok(&["NetworkForceRemoved"]));
}
