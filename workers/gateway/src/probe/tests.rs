//! Where probes are put, what is asked of OVN, and what its answers mean.

use std::{net::IpAddr, sync::Arc};

use edgestack_model::{
    Id,
    address::holders,
    network::Ipv6Mode,
    router::external_mac,
    vm::{Vm, port_name},
};
use edgestack_ovn::trace::Trace;
use uuid::Uuid;

use super::{
    explain::{Course, Verdict, explain},
    path::{Asked, FirstHop, From, PathError, Source, Start, To, first_hop, microflow, of_probe, of_vm, start, target},
    place::{Place, Probe},
    *,
};
use crate::{
    desired::{desired, gateway_mac, group_name, rule_matches},
    rows::{Desired, Key, Table},
    world::*,
};

/// A router `r` between `blue`, `red` and `out`; `web` on `blue` with a floating IP, `db` on `red`, `alone` on a network
/// that no router is on.
fn a_site() -> Site {
    let mut site = Site::new();
    site.has(a_registered_node("edge-1"));
    site.has(edgestack_model::Command::SecurityGroup(
        edgestack_model::security_group::SecurityGroupCommand::EnsureDefault {},
    ));
    site.has(create(a_dual_network("blue", "fd00::/64", Ipv6Mode::Slaac)));
    site.has(create(a_network("red", "10.1.0.0/24")));
    site.has(create(a_network("island", "10.2.0.0/24")));
    site.has(create(a_provider_network("out", "192.0.2.0/24", None)));
    site.has(create_router(a_router("r", &["blue", "red"], Some("out"))));
    site.has(create_vm("web", &[a_nic("blue")]));
    site.has(create_vm("db", &[a_nic("red")]));
    site.has(create_vm("alone", &[a_nic("island")]));
    site.has(create_floating_ip(a_floating_ip("192.0.2.50")));
    site.has(associate("192.0.2.50", "web"));
    site
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn id(number: u128) -> Uuid {
    Uuid::from_u128(0x0190_0000_0000_7000_8000_0000_ff00_0000 + number)
}

fn a_probe(site: &Site, place: Place) -> Probe {
    Probe::new(&site.world, id(1), place, &[]).unwrap()
}

/// Probes of a pool that is woken for nothing.
fn served() -> (Probes, Served) {
    let probes = Probes::default();
    let served = probes.served_by(Arc::new(|| {}));
    (probes, served)
}

fn begin(site: &Site, from: From) -> Start {
    start(&site.world, &from).unwrap()
}

#[test]
fn a_probe_has_addresses_that_nobody_holds_and_no_other_probe_has() {
    let site = a_site();
    for name in ["blue", "red", "island", "out"] {
        let network = site.network(name);
        let place = Place::Network(network.id);
        let one = a_probe(&site, place);
        let other = Probe::new(&site.world, id(2), place, &[&one]).unwrap();
        let held = holders(&site.world, network);
        for (address, _) in one.addresses.iter().chain(&other.addresses) {
            assert!(!held.contains_key(address), "{name}: {address}");
            assert!(network.spec.subnets.iter().any(|subnet| subnet.cidr.contains(*address)), "{name}: {address}");
        }
        assert!(one.addresses.iter().all(|address| !other.addresses.contains(address)), "{name}");
        assert_eq!(one.gateways.is_empty(), name == "island", "{name}");
        // Guests remember by which MAC address an address was found.
        let again = Probe::new(&site.world, id(3), place, &[&other]).unwrap();
        assert_eq!((again.mac, &again.addresses), (one.mac, &one.addresses), "{name}");
        assert_ne!(one.mac, other.mac, "{name}");
        assert_ne!(one.mac, gateway_mac(network), "{name}");
    }
    let behind = Place::Router(site.router("r").id);
    let one = a_probe(&site, behind);
    let other = Probe::new(&site.world, id(2), behind, &[&one]).unwrap();
    assert!(one.addresses.iter().all(|address| !other.addresses.contains(address)));
}

#[test]
fn a_full_network_has_no_place_for_a_probe() {
    let mut site = Site::new();
    site.has(create(a_network("tiny", "10.3.0.0/30")));
    site.has(create_vm("only", &[a_nic("tiny")]));
    let refused = Probe::new(&site.world, id(1), Place::Network(site.network("tiny").id), &[]);
    assert_eq!(refused, Err(ProbeError::NoAddress { network: "tiny".into() }));
}

#[test]
fn a_probes_rows_come_and_go_with_it_and_refer_to_what_there_is() {
    let site = a_site();
    let without = desired(&site.world);
    for place in [Place::Network(site.network("blue").id), Place::Router(site.router("r").id)] {
        let (probes, _served) = served();
        let rows = |probes: &Probes| {
            let mut rows = desired(&site.world);
            let unconfirmed = probes.rows(&site.world, &mut rows);
            (rows, unconfirmed)
        };
        let standing = probes.put(&site.world, id(1), place).unwrap();
        let (with, unconfirmed): (Desired, _) = rows(&probes);
        assert_eq!(unconfirmed, [id(1)]);
        assert!(with.contains_key(&Key::new(Table::LogicalSwitchPort, id(1).to_string())));
        for wanted in with.values() {
            assert!(wanted.references.values().flatten().all(|to| with.contains_key(to)));
        }
        probes.tell_realized(&unconfirmed);
        assert!(rows(&probes).1.is_empty());
        drop(standing);
        assert_eq!(rows(&probes).0, without);
    }
}

#[test]
fn probes_are_put_only_while_a_pool_writes_their_rows_and_few_at_a_time() {
    let site = a_site();
    let place = Place::Network(site.network("blue").id);
    let put = |probes: &Probes, number| probes.put(&site.world, id(number), place);
    assert_eq!(put(&Probes::default(), 1).err(), Some(ProbeError::NotHere));
    let (probes, first) = served();
    let next = probes.served_by(Arc::new(|| {}));
    drop(first);
    let standing: Vec<_> = (0..8).map(|number| put(&probes, number).unwrap()).collect();
    assert_eq!(put(&probes, 8).err(), Some(ProbeError::TooMany));
    drop(standing);
    assert!(put(&probes, 8).is_ok());
    drop(next);
    assert_eq!(put(&probes, 8).err(), Some(ProbeError::NotHere));
}

#[test]
fn a_vm_is_asked_for_under_the_address_by_which_one_comes_to_it() {
    let site = a_site();
    let asked = |from: From, vm: &str| target(&site.world, begin(&site, from), &To::Vm(vm.into()), None);
    let web = site.vm("web").nics[0].spec.addresses[0];
    let db = site.vm("db").nics[0].spec.addresses[0];
    assert_eq!(asked(From::Network("blue".into()), "web"), Ok(web));
    assert_eq!(asked(From::Vm("db".into()), "web"), Ok(web), "by the router that joins them");
    assert_eq!(asked(From::Router("r".into()), "db"), Ok(db));
    assert_eq!(asked(From::Outside(None), "web"), Ok(ip("192.0.2.50")), "by its floating IP");
    assert_eq!(asked(From::Outside(None), "db"), Err(PathError::NoFloatingIp("db".into())));
    let by_ipv6 = target(&site.world, begin(&site, From::Network("blue".into())), &To::Vm("web".into()), Some(false));
    assert!(by_ipv6.unwrap().is_ipv6());
    let no_such = target(&site.world, begin(&site, From::Network("red".into())), &To::Vm("db".into()), Some(false));
    assert_eq!(no_such, Err(PathError::NoAddress { vm: "db".into(), family: "IPv6" }));
    assert!(matches!(start(&site.world, &From::Vm("nobody".into())), Err(PathError::Refused(_))));
    assert_eq!(start(&site.world, &From::Outside(Some("blue".into()))), Err(PathError::NotOutside("blue".into())));
    for nobody in ["0.0.0.0", "::", "224.0.0.1", "127.0.0.1"] {
        let asked = target(&site.world, begin(&site, From::Outside(None)), &To::Address(ip(nobody)), None);
        assert_eq!(asked, Err(PathError::NoHost(ip(nobody))));
    }
    let mut two = site.clone();
    two.has(create(a_provider_network("out2", "198.51.100.0/24", Some(7))));
    assert_eq!(start(&two.world, &From::Outside(None)), Err(PathError::Outside(2)));
}

fn from_vm(site: &Site, vm: &str, to: IpAddr) -> Source {
    of_vm(&site.world, site.vm(vm), to).unwrap()
}

#[test]
fn a_packet_is_handed_to_who_has_the_address_or_to_the_gateway() {
    let site = a_site();
    let hop = |source: &Source, to: &str| first_hop(&site.world, source, ip(to));
    let mac = |mac: edgestack_model::address::Mac| FirstHop::Mac(mac.to_string());
    let blue = a_probe(&site, Place::Network(site.network("blue").id));
    let (web, gateway) = (&site.vm("web").nics[0].spec, gateway_mac(site.network("blue")));
    let near = of_probe(&site.world, &blue, web.addresses[0]).unwrap();
    assert_eq!(hop(&near, &web.addresses[0].to_string()), mac(web.mac));
    assert_eq!(hop(&near, "10.0.0.1"), mac(gateway));
    assert_eq!(hop(&near, "203.0.113.9"), mac(gateway));
    let nobody = hop(&near, "10.0.0.77");
    assert!(matches!(&nobody, FirstHop::Nobody { why, .. } if why.contains("10.0.0.77")), "{nobody:?}");
    let stuck = hop(&from_vm(&site, "alone", ip("10.0.0.2")), "10.0.0.2");
    assert!(
        matches!(&stuck, FirstHop::Nobody { why, fix: Some(fix) } if why.contains("island") && fix.contains("create-router")),
        "{stuck:?}"
    );
    let out = a_probe(&site, Place::Network(site.network("out").id));
    let outside = of_probe(&site.world, &out, ip("192.0.2.50")).unwrap();
    assert_eq!(hop(&outside, "192.0.2.50"), mac(external_mac(site.router("r").id)));
    assert!(matches!(hop(&outside, "192.0.2.99"), FirstHop::Mac(_)), "hosts outside are not ours to know");
    let behind = a_probe(&site, Place::Router(site.router("r").id));
    let source = of_probe(&site.world, &behind, ip("10.0.0.2")).unwrap();
    assert_eq!(hop(&source, "10.0.0.2"), mac(behind.router_mac));
}

#[test]
fn a_packet_is_described_as_ovn_trace_has_it() {
    let site = a_site();
    let source = from_vm(&site, "db", ip("10.0.0.2"));
    let port = port_name(site.vm("db").id, 0);
    let flow = microflow(&source, "fe:16:3e:00:00:01", ip("10.0.0.2"), Asked::Tcp(22));
    let begins = format!("inport == \"{port}\" && eth.src == {} && eth.dst == fe:16:3e:00:00:01", source.mac);
    assert!(flow.starts_with(&begins), "{flow}");
    assert!(
        flow.ends_with("ip4.dst == 10.0.0.2 && ip.ttl == 64 && tcp.src == 50000 && tcp.dst == 22 && tcp.flags == 2"),
        "{flow}"
    );
    let flow = microflow(&Source { ip: ip("fd00::5"), ..source }, "fe:16:3e:00:00:01", ip("fd00::2"), Asked::Icmp);
    assert!(flow.contains("ip6.dst == fd00::2 && ip.ttl == 64 && icmp6.type == 128 && icmp6.code == 0"), "{flow}");
}

fn explained(site: &Site, from: &str, to: &str, asked: Asked, text: String) -> Course {
    let source = from_vm(site, from, ip(to));
    explain(&site.world, &source, ip(to), asked, &Trace::read(text).unwrap())
}

fn heading(text: &str) -> String {
    format!("{text}\n{}\n", "-".repeat(text.len()))
}

fn nic(vm: Id<Vm>) -> String {
    port_name(vm, 0)
}

#[test]
fn a_packet_that_no_rule_lets_in_is_told_with_the_rule_that_is_missing() {
    let site = a_site();
    let (web, db) = (nic(site.vm("web").id), nic(site.vm("db").id));
    let guard = group_name(site.network("red").id);
    let egress = site
        .world
        .security_group_rules
        .values()
        .find(|rule| rule.spec.direction == edgestack_model::security_group_rule::Direction::Egress);
    let egress = egress.unwrap();
    let text = [
        heading(&format!("ingress(dp=\"edgestack-blue\", inport=\"{web}\")")),
        format!(
            " 8. ls_in_acl (northd.c:1): reg0[7] == 1 && ({}), priority 2002, uuid 1a\n    reg0[1] = 1;\n    next;\n",
            rule_matches(&egress.spec)
        ),
        heading(&format!("egress(dp=\"edgestack-red\", inport=\"p\", outport=\"{db}\")")),
        format!(
            " 4. ls_out_acl (northd.c:2): reg0[9] == 1 && (outport == @{guard} && ip), priority 2001, uuid 2a\n    /* drop */\n"
        ),
    ];
    let course = explained(&site, "web", "10.1.0.2", Asked::Tcp(5432), text.concat());
    assert_eq!(course.verdict, Verdict::Dropped);
    assert!(course.steps[0].what.contains(egress.meta.name.as_str()), "{course:?}");
    assert!(
        course.why.contains("vm \"db\" (\"default\") has a rule that lets TCP port 5432 in from 10.0.0.2"),
        "{course:?}"
    );
    let fix =
        "edgectl create-sgr default --direction ingress --protocol tcp --port 5432 --remote-ip-prefix 10.0.0.2/32";
    assert_eq!(course.fix.as_deref(), Some(fix));
}

#[test]
fn newer_ovns_say_what_a_rule_decided_in_a_table_of_its_own() {
    let site = a_site();
    let (web, db) = (nic(site.vm("web").id), nic(site.vm("db").id));
    let guard = group_name(site.network("red").id);
    let text = [
        heading(&format!("egress(dp=\"edgestack-red\", inport=\"{web}\", outport=\"{db}\")")),
        format!(
            " 4. ls_out_acl_eval (northd.c:2): reg0[9] == 1 && (outport == @{guard} && ip), priority 2001, uuid 2a\n    reg8[17] = 1;\n    next;\n"
        ),
        " 6. ls_out_acl_action (northd.c:3): reg8[17] == 1, priority 1000, uuid 3a\n    reg8[16] = 0;\n    drop;\n"
            .into(),
    ];
    let course = explained(&site, "web", "10.1.0.2", Asked::Icmp, text.concat());
    assert_eq!(course.verdict, Verdict::Dropped);
    assert!(course.why.contains("lets ICMP in from 10.0.0.2"), "{course:?}");
}

#[test]
fn routes_addresses_that_become_others_and_the_end_are_told_in_the_sites_words() {
    let site = a_site();
    let web = nic(site.vm("web").id);
    let text = [
        heading("ingress(dp=\"edgestack-r\", inport=\"x\")"),
        " 7. lr_in_dnat (northd.c:1): ip && ip4.dst == 192.0.2.50, priority 100, uuid 1a\n    ct_dnat(10.0.0.2);\n".into(),
        "13. lr_in_ip_routing (northd.c:2): ip4.dst == 10.0.0.0/24, priority 74, uuid 2a\n    ip.ttl--;\n    reg0 = ip4.dst;\n".into(),
        heading(&format!("egress(dp=\"edgestack-blue\", inport=\"p\", outport=\"{web}\")")),
        format!(" 9. ls_out_apply_port_sec (northd.c:3): 1, priority 0, uuid 3a\n    output;\n    /* output to \"{web}\", type \"\" */\n"),
    ];
    let course = explained(&site, "db", "192.0.2.50", Asked::Icmp, text.concat());
    let told: Vec<String> = course.steps.iter().map(|step| format!("{}: {}", step.at, step.what)).collect();
    assert_eq!(
        told,
        [
            "router \"r\": floating IP 192.0.2.50: its destination becomes 10.0.0.2",
            "router \"r\": takes the route to 10.0.0.0/24",
            "network \"blue\": it is handed to NIC 0 of vm \"web\"",
        ]
    );
    assert_eq!(course.verdict, Verdict::Delivered);
}

#[test]
fn a_missing_route_and_a_silent_next_hop_are_told() {
    let site = a_site();
    let no_route =
        heading("ingress(dp=\"edgestack-r\", inport=\"x\")") + "13. lr_in_ip_routing: no match (implicit drop)\n";
    let course = explained(&site, "db", "203.0.113.9", Asked::Icmp, no_route);
    assert_eq!(
        (course.verdict, course.why.as_str()),
        (Verdict::Dropped, "router \"r\": no route leads to 203.0.113.9")
    );
    let waits = [
        heading("ingress(dp=\"edgestack-r\", inport=\"x\")"),
        "21. lr_in_arp_request (northd.c:2): eth.dst == 00:00:00:00:00:00 && ip4, priority 100, uuid 3a\n    arp { output; };\n".into(),
        heading("arp"),
        "    output;\n".into(),
        heading("egress(dp=\"edgestack-out\", inport=\"p\", outport=\"l\")"),
        " 9. ls_out_apply_port_sec (northd.c:3): 1, priority 0, uuid 4a\n    /* output to \"l\", type \"localnet\" */\n".into(),
    ];
    let course = explained(&site, "db", "203.0.113.9", Asked::Icmp, waits.concat());
    assert_eq!(course.verdict, Verdict::AwaitsNeighbour, "{course:?}");
}

#[test]
fn a_rule_that_is_missing_is_for_what_comes_there_after_nat_and_load_balancers() {
    let site = a_site();
    let db = nic(site.vm("db").id);
    let guard = group_name(site.network("red").id);
    let text = [
        heading("ingress(dp=\"edgestack-r\", inport=\"x\")"),
        " 7. lr_in_dnat (northd.c:1): ct.new, priority 120, uuid 1a\n    ct_lb_mark(backends=10.1.0.2:8080);\n".into(),
        heading("egress(dp=\"edgestack-r\", inport=\"x\", outport=\"y\")"),
        " 3. lr_out_snat (northd.c:1): ip4.src == 10.0.0.0/24, priority 25, uuid 2a\n    ct_snat(192.0.2.2);\n".into(),
        heading(&format!("egress(dp=\"edgestack-red\", inport=\"p\", outport=\"{db}\")")),
        format!(
            " 4. ls_out_acl (northd.c:2): reg0[9] == 1 && (outport == @{guard} && ip), priority 2001, uuid 3a\n    /* drop */\n"
        ),
    ];
    let course = explained(&site, "web", "10.1.0.9", Asked::Tcp(80), text.concat());
    let fix =
        "edgectl create-sgr default --direction ingress --protocol tcp --port 8080 --remote-ip-prefix 192.0.2.2/32";
    assert_eq!(course.fix.as_deref(), Some(fix), "{course:?}");
}

#[test]
fn a_refusal_is_no_delivery() {
    let site = a_site();
    let db = nic(site.vm("db").id);
    let text = [
        heading("ingress(dp=\"edgestack-r\", inport=\"x\")"),
        " 3. lr_in_ip_input (northd.c:1): tcp, priority 80, uuid 1a\n    tcp_reset { output; };\n".into(),
        heading("tcp_reset"),
        "    output;\n".into(),
        heading(&format!("egress(dp=\"edgestack-red\", inport=\"p\", outport=\"{db}\")")),
        format!(
            " 9. ls_out_apply_port_sec (northd.c:3): 1, priority 0, uuid 4a\n    /* output to \"{db}\", type \"\" */\n"
        ),
    ];
    let course = explained(&site, "db", "10.0.0.1", Asked::Tcp(80), text.concat());
    assert_eq!(course.verdict, Verdict::Dropped, "{course:?}");
    assert!(course.why.contains("refused"), "{course:?}");
}
