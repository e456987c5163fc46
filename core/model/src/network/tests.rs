//! Networks: what is settled and refused, their addresses, and when they can go.

use super::{CreateNetwork, HostRoute, Ipv6Mode, NetworkCommand, NetworkType, SubnetRequest, UpdateNetwork};
use crate::{
    address::IpRange,
    builders::*,
    meta::MetaChange,
    node::{NetworkFacts, NodeFacts},
    realization::{RealizationReport, RealizationState},
    vm::{CreateVm, NicRequest, VmReport},
};

fn range(start: &str, end: &str) -> IpRange {
    IpRange::new(start.parse().unwrap(), end.parse().unwrap()).unwrap()
}

fn remove(network: &str) -> NetworkCommand {
    NetworkCommand::Delete { network: network.into(), cascade: false }
}

/// A world with an active network `blue`, 10.0.0.0/24.
fn a_world_with_blue() -> Site {
    let mut site = a_world();
    site.has(a_network("blue", "10.0.0.0/24"));
    site.has(site.told_of_network("blue", RealizationReport::Realized));
    site
}

fn vlan(name: &str, segment_id: Option<u32>) -> CreateNetwork {
    CreateNetwork {
        network_type: NetworkType::Vlan,
        physical_network: Some("physnet1".parse().unwrap()),
        segment_id,
        ..a_network(name, "192.0.2.0/24")
    }
}

fn flat(name: &str) -> CreateNetwork {
    CreateNetwork { network_type: NetworkType::Flat, segment_id: None, ..vlan(name, None) }
}

#[test]
fn what_a_request_leaves_open_is_settled() {
    let mut site = a_world();
    site.has(a_network("blue", "10.0.0.0/24"));
    let spec = &site.network("blue").spec;
    let subnet = &spec.subnets[0];
    assert_eq!(subnet.gateway_ip, Some("10.0.0.1".parse().unwrap()));
    assert_eq!(subnet.pools, [range("10.0.0.1", "10.0.0.254")]);
    assert_eq!((spec.segment_id, spec.mtu), (Some(1), 1442));
    site.has(a_network("red", "10.0.0.0/24"));
    assert_eq!(site.network("red").spec.segment_id, Some(2), "overlapping prefixes are two networks'");
}

#[test]
fn each_bad_value_is_refused_by_its_field() {
    let site = a_world_with_blue();
    let base = || a_network("red", "10.1.0.0/24");
    let with = |change: fn(&mut SubnetRequest)| {
        let mut create = base();
        change(&mut create.subnets[0]);
        create
    };
    let v6 = |cidr: &str, mode| CreateNetwork {
        subnets: vec![a_subnet("10.1.0.0/24"), SubnetRequest { ipv6_mode: mode, ..a_subnet(cidr) }],
        ..base()
    };
    let route = |destination: &str, next_hop: &str| HostRoute {
        destination: destination.parse().unwrap(),
        next_hop: next_hop.parse().unwrap(),
    };
    for (create, field) in [
        (a_network("red", "10.1.0.0/31"), "cidr"),
        (a_network("red", "127.0.0.0/8"), "cidr"),
        (a_network("red", "224.1.0.0/24"), "cidr"),
        (a_network("red", "fe80::/64"), "cidr"),
        (CreateNetwork { subnets: vec![], ..base() }, "cidr"),
        (with(|subnet| subnet.gateway_ip = Some(Some("10.2.0.1".parse().unwrap()))), "gateway_ip"),
        (with(|subnet| subnet.gateway_ip = Some(Some("10.1.0.255".parse().unwrap()))), "gateway_ip"),
        (with(|subnet| subnet.pools = vec![range("10.1.0.5", "10.2.0.5")]), "ip_pool"),
        (with(|subnet| subnet.pools = vec![range("10.1.0.5", "10.1.0.9"), range("10.1.0.9", "10.1.0.12")]), "ip_pool"),
        (with(|subnet| subnet.ipv6_mode = Some(Ipv6Mode::Slaac)), "address_mode"),
        (v6("fd00::/80", None), "ipv6.cidr"),
        (v6("10.2.0.0/24", None), "ipv6.cidr"),
        (CreateNetwork { mtu: Some(1443), ..base() }, "mtu"),
        (CreateNetwork { mtu: Some(575), ..base() }, "mtu"),
        (CreateNetwork { mtu: Some(1279), ..v6("fd00::/64", None) }, "mtu"),
        (CreateNetwork { mtu: Some(1501), ..flat("red") }, "mtu"),
        (CreateNetwork { dns_servers: vec!["0.0.0.0".parse().unwrap()], ..base() }, "dns_servers"),
        (CreateNetwork { host_routes: vec![route("10.9.0.0/16", "10.2.0.1")], ..base() }, "host_routes.0.next_hop"),
        (CreateNetwork { host_routes: vec![route("fd00::/64", "fd00::1")], ..base() }, "host_routes.0"),
        (CreateNetwork { segment_id: Some(0), ..base() }, "segment_id"),
        (CreateNetwork { segment_id: Some(16_777_216), ..base() }, "segment_id"),
        (vlan("red", None), "segment_id"),
        (vlan("red", Some(4095)), "segment_id"),
        (CreateNetwork { segment_id: Some(7), ..flat("red") }, "segment_id"),
        (CreateNetwork { physical_network: None, ..flat("red") }, "external.physical_network"),
        (CreateNetwork { physical_network: flat("red").physical_network, ..base() }, "external.physical_network"),
    ] {
        check(&site, create, Err(&format!("invalid-value {field}")));
    }
    check(&site, a_network("blue", "10.1.0.0/24"), Err("name-taken name"));
    check(&site, v6("fd00::/64", None), Ok(&["NetworkCreated"]));
    check(&site, v6("fd00::/96", Some(Ipv6Mode::Dhcpv6Stateful)), Ok(&["NetworkCreated"]));
}

#[test]
fn a_network_outside_is_one_that_a_node_leads_to_where_nodes_tell() {
    let leads_to = |networks: &[&str]| NodeFacts {
        network: Some(NetworkFacts {
            chassis: "chassis-1".to_owned(),
            physical_networks: networks.iter().map(|&name| name.to_owned()).collect(),
        }),
        ..a_node()
    };
    let mut site = a_world();
    check(&site, flat("out"), Ok(&["NetworkCreated"]));
    site.has(an_inventory("edge-1", leads_to(&[])));
    check(&site, flat("out"), Err("invalid-value external.physical_network"));
    site.has(an_inventory("edge-1", leads_to(&["external", "physnet1"])));
    check(&site, flat("out"), Ok(&["NetworkCreated"]));
    let elsewhere = CreateNetwork { physical_network: Some("physnet2".parse().unwrap()), ..flat("out") };
    check(&site, elsewhere, Err("invalid-value external.physical_network"));
}

#[test]
fn a_segment_is_one_networks_on_its_wire() {
    let mut site = a_world_with_blue();
    check(
        &site,
        CreateNetwork { segment_id: Some(1), ..a_network("red", "10.1.0.0/24") },
        Err("segment-in-use segment_id"),
    );
    // One encapsulation carries all types of tenant networks.
    let vxlan = CreateNetwork { network_type: NetworkType::Vxlan, ..a_network("red", "10.1.0.0/24") };
    check(&site, CreateNetwork { segment_id: Some(1), ..vxlan.clone() }, Err("segment-in-use segment_id"));
    site.has(vxlan);
    assert_eq!(site.network("red").spec.segment_id, Some(2));
    site.has(vlan("v1", Some(1)));
    check(&site, vlan("v2", Some(1)), Err("segment-in-use segment_id"));
    check(&site, vlan("v2", Some(2)), Ok(&["NetworkCreated"]));
    site.has(flat("f1"));
    check(&site, flat("f2"), Err("segment-in-use segment_id"));
    let elsewhere = CreateNetwork { physical_network: Some("physnet2".parse().unwrap()), ..flat("f2") };
    check(&site, elsewhere, Ok(&["NetworkCreated"]));
    site.has(remove("red"));
    site.has(site.told_of_network("red", RealizationReport::Removed));
    site.has(a_network("green", "10.1.0.0/24"));
    assert_eq!(site.network("green").spec.segment_id, Some(2), "it is free again once its network is gone");
}

#[test]
fn each_report_counts_where_it_can_be_true_and_is_nothing_elsewhere() {
    use RealizationState::{Active, Creating, Deleting, Updating};
    for (state, realized, drifted, failed_attempt, removed) in [
        (Creating, &["NetworkBecameReady"][..], &[][..], &["NetworkAttemptFailed"][..], &[][..]),
        (Active, &[], &["NetworkDrifted"], &[], &[]),
        (Updating, &["NetworkBecameReady"], &[], &["NetworkAttemptFailed"], &[]),
        (Deleting, &[], &[], &["NetworkAttemptFailed"], &["NetworkDeleted"]),
    ] {
        let mut site = a_world_with_blue();
        match state {
            Creating => drop(site.has(a_network("red", "10.1.0.0/24"))),
            Active => drop(site.has(MetaUpdate::described("blue"))),
            Updating => drop(site.has(UpdateNetwork { dhcp: Some(false), ..a_network_update("blue") })),
            Deleting => drop(site.has(remove("blue"))),
        }
        let network = if state == Creating { "red" } else { "blue" };
        assert_eq!(site.network(network).realization.state, state);
        let told = |report| site.told_of_network(network, report);
        check(&site, told(RealizationReport::Realized), Ok(realized));
        check(&site, told(RealizationReport::Drifted { what: vec!["a row".into()] }), Ok(drifted));
        check(&site, told(RealizationReport::AttemptFailed(failed("realize"))), Ok(failed_attempt));
        check(&site, told(RealizationReport::Removed), Ok(removed));
    }
}

/// An update of the description alone leaves what is made of it as it is.
struct MetaUpdate;

impl MetaUpdate {
    fn described(network: &str) -> UpdateNetwork {
        let change = MetaChange { description: Some("the blue one".into()), labels: None };
        UpdateNetwork { change, ..a_network_update(network) }
    }
}

#[test]
fn a_report_on_an_older_wish_is_refused() {
    let mut site = a_world_with_blue();
    let late = site.told_of_network("blue", RealizationReport::Realized);
    site.has(UpdateNetwork { mtu: Some(1400), ..a_network_update("blue") });
    check(&site, late, Err("stale-report"));
}

#[test]
fn an_update_that_changes_nothing_is_nothing() {
    let site = a_world_with_blue();
    check(&site, a_network_update("blue"), Ok(&[]));
    check(&site, UpdateNetwork { mtu: Some(1442), dhcp: Some(true), ..a_network_update("blue") }, Ok(&[]));
    check(&site, UpdateNetwork { mtu: Some(9000), ..a_network_update("blue") }, Err("invalid-value mtu"));
    check(&site, UpdateNetwork { pools: Some(vec![]), ..a_network_update("blue") }, Err("invalid-value ip_pool"));
}

#[test]
fn a_network_whose_hosts_make_their_addresses_takes_no_pool_later_either() {
    let mut site = a_world();
    site.has(a_network("hosts", "fd00::/64"));
    let with = |pools| UpdateNetwork { pools: Some(pools), ..a_network_update("hosts") };
    check(&site, with(vec![range("fd00::10", "fd00::20")]), Err("invalid-value ip_pool"));
    let same = site.network("hosts").spec.subnets[0].pools.clone();
    check(&site, with(same), Ok(&[]));
}

#[test]
fn a_network_with_nics_stays_and_tells_whose() {
    let mut site = a_world_with_blue();
    site.has(a_vm_on("web", &["blue"]));
    check(&site, remove("blue"), Err("in-use"));
    let refusal = site.try_do(remove("blue")).unwrap_err().to_string();
    assert!(refusal.contains("vm \"web\""), "{refusal}");
    site.has(delete("web"));
    check(&site, remove("blue"), Err("in-use"));
    site.workers_finish_removals();
    site.has(remove("blue"));
    check(&site, remove("blue"), Ok(&[]));
    check(&site, a_vm_on("web", &["blue"]), Err("wrong-state"));
    site.has(site.told_of_network("blue", RealizationReport::Removed));
    check(&site, a_vm_on("web", &["blue"]), Err("reference-not-found networks.0.network"));
}

fn addresses(site: &Site, vm: &str) -> Vec<String> {
    let nics = site.vm(vm).nics.iter();
    nics.flat_map(|nic| nic.spec.addresses.iter().map(ToString::to_string)).collect()
}

fn wishing(vm: &str, fixed_ip: &str) -> CreateVm {
    let nic = NicRequest { fixed_ip: Some(fixed_ip.parse().unwrap()), ..a_nic("blue") };
    CreateVm { networks: vec![nic], ..a_vm(vm) }
}

#[test]
fn addresses_are_given_once_and_again_only_after_their_release() {
    let mut site = a_world_with_blue();
    site.has(a_vm_on("a", &["blue", "blue"]));
    site.has(wishing("b", "10.0.0.4"));
    site.has(a_vm_on("c", &["blue", "blue"]));
    assert_eq!(addresses(&site, "a"), ["10.0.0.2", "10.0.0.3"]);
    assert_eq!(addresses(&site, "c"), ["10.0.0.5", "10.0.0.6"]);
    check(&site, wishing("d", "10.0.0.4"), Err("address-in-use networks.0.fixed_ip"));
    check(&site, wishing("d", "10.0.0.1"), Err("address-in-use networks.0.fixed_ip"));
    for nobodys in ["10.0.0.0", "10.0.0.255", "10.0.1.7"] {
        check(&site, wishing("d", nobodys), Err("invalid-value networks.0.fixed_ip"));
    }
    let twice = CreateVm {
        networks: vec![
            NicRequest { fixed_ip: Some("10.0.0.9".parse().unwrap()), ..a_nic("blue") },
            NicRequest { fixed_ip: Some("10.0.0.9".parse().unwrap()), ..a_nic("blue") },
        ],
        ..a_vm("d")
    };
    check(&site, twice, Err("address-in-use networks.1.fixed_ip"));
    site.has(delete("a"));
    site.has(a_vm_on("d", &["blue"]));
    assert_eq!(addresses(&site, "d"), ["10.0.0.7"], "a's are a's until it is gone");
    site.workers_finish_removals();
    site.has(a_vm_on("e", &["blue"]));
    assert_eq!(addresses(&site, "e"), ["10.0.0.2"]);
}

#[test]
fn a_full_network_tells_who_holds_its_addresses() {
    let mut site = a_world();
    let pools = vec![range("10.0.0.10", "10.0.0.11")];
    site.has(CreateNetwork {
        subnets: vec![SubnetRequest { pools, ..a_subnet("10.0.0.0/24") }],
        ..a_network("blue", "10.0.0.0/24")
    });
    site.has(a_vm_on("a", &["blue"]));
    site.has(a_vm_on("b", &["blue"]));
    check(&site, a_vm_on("c", &["blue"]), Err("addresses-exhausted networks.0.network"));
    let refusal = site.try_do(a_vm_on("c", &["blue"])).unwrap_err().to_string();
    assert!(refusal.contains("10.0.0.10 by vm \"a\", 10.0.0.11 by vm \"b\""), "{refusal}");
    // Outside the pool an address can be wished for.
    check(
        &site,
        wishing("c", "10.0.0.99"),
        Ok(&["VmCreated", "VmNicAttached", "VmNicSecurityGroupsChanged", "VmScheduled", "VolumeCreated"]),
    );
    site.has(UpdateNetwork { pools: Some(vec![range("10.0.0.10", "10.0.0.12")]), ..a_network_update("blue") });
    site.has(a_vm_on("c", &["blue"]));
    assert_eq!(addresses(&site, "c"), ["10.0.0.12"]);
}

#[test]
fn ipv6_addresses_follow_the_mac_or_come_from_the_pool() {
    let mut site = a_world();
    for (network, mode) in [("slaac", Ipv6Mode::Slaac), ("stateful", Ipv6Mode::Dhcpv6Stateful)] {
        let v6 = SubnetRequest { ipv6_mode: Some(mode), ..a_subnet("fd00::/64") };
        site.has(CreateNetwork { subnets: vec![a_subnet("10.0.0.0/24"), v6], ..a_network(network, "10.0.0.0/24") });
    }
    let mac = "fa:16:3e:00:00:07".parse().unwrap();
    let nic = |network: &str| NicRequest { mac: Some(mac), ..a_nic(network) };
    site.has(CreateVm { networks: vec![nic("slaac")], ..a_vm("a") });
    assert_eq!(addresses(&site, "a"), ["10.0.0.2", "fd00::f816:3eff:fe00:7"]);
    check(&site, CreateVm { networks: vec![nic("stateful")], ..a_vm("b") }, Err("address-in-use networks.0.mac"));
    site.has(a_vm_on("b", &["stateful"]));
    assert_eq!(addresses(&site, "b"), ["10.0.0.2", "fd00::2"]);
}

#[test]
fn a_nic_is_ready_when_the_gateway_pool_says_so_and_drifts_by_an_event() {
    let mut site = a_world_with_blue();
    site.has(a_vm_on("web", &["blue", "blue"]));
    let ready = || VmReport::NicsReady { numbers: vec![0, 1, 9] };
    check(&site, site.told("web", ready()), Ok(&["VmNicBecameReady", "VmNicBecameReady"]));
    let drifted = |number| VmReport::NicDrifted { number, what: vec!["its port was removed".into()] };
    check(&site, site.told("web", drifted(0)), Ok(&[]));
    site.has(site.told("web", ready()));
    check(&site, site.told("web", ready()), Ok(&[]));
    site.has(site.told("web", drifted(1)));
    assert_eq!(site.vm("web").nics.iter().map(|nic| nic.ready).collect::<Vec<_>>(), [true, false]);
    check(&site, site.told("web", ready()), Ok(&["VmNicBecameReady"]));
}

#[test]
fn force_is_for_a_removal_that_does_not_end() {
    let mut site = a_world_with_blue();
    let force = || NetworkCommand::ForceRemove { network: "blue".into() };
    check(&site, force(), Err("reason-required EdgeStack-Reason"));
    check(&site.clone().because("gone for good"), force(), Err("force-not-needed"));
    site.has(remove("blue"));
    check(&site.clone().because("gone for good"), force(), Err("force-not-needed"));
    let late = site.clone().later(crate::repair::FORCE_AFTER).because("gone for good");
    check(&late, force(), Ok(&["NetworkForceRemoved"]));
    site.has(site.told_of_network("blue", RealizationReport::AttemptFailed(failed("remove"))));
    check(&site.because("gone for good"), force(), Ok(&["NetworkForceRemoved"]));
}

#[test]
fn an_address_that_follows_from_a_mac_is_given_once_too() {
    let mut site = a_world();
    let gateway = Some(Some("fd00::f816:3eff:fe00:7".parse().unwrap()));
    let subnet = SubnetRequest { gateway_ip: gateway, ..a_subnet("fd00::/64") };
    site.has(CreateNetwork { subnets: vec![subnet], ..a_network("six", "fd00::/64") });
    let nic = NicRequest { mac: Some("fa:16:3e:00:00:07".parse().unwrap()), ..a_nic("six") };
    check(&site, CreateVm { networks: vec![nic], ..a_vm("a") }, Err("address-in-use networks.0.mac"));
}
