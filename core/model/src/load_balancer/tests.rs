//! Load balancers: their addresses, members and rules, and what becomes of them.

use std::net::IpAddr;

use super::{
    CreateLoadBalancer, HealthTiming, LoadBalancerCommand, PortRange, Protocol, Rule, RuleError, SessionAffinity,
    UpdateLoadBalancer, limits,
};
use crate::{
    builders::*,
    floating_ip::{AssociationRequest, CreateFloatingIp, FloatingIpCommand},
    network::NetworkCommand,
    realization::{RealizationReport, RealizationState},
    router::UpdateRouter,
    vm::{CreateVm, NicRequest},
};

fn rule(text: &str) -> Rule {
    text.parse().unwrap()
}

fn add_rule(balancer: &str, text: &str) -> LoadBalancerCommand {
    LoadBalancerCommand::AddRule { load_balancer: balancer.into(), rule: rule(text) }
}

fn remove_rule(balancer: &str, text: &str) -> LoadBalancerCommand {
    LoadBalancerCommand::RemoveRule { load_balancer: balancer.into(), rule: rule(text) }
}

fn remove(balancer: &str) -> LoadBalancerCommand {
    LoadBalancerCommand::Delete { load_balancer: balancer.into() }
}

fn lead_to(ip: &str, balancer: &str) -> FloatingIpCommand {
    FloatingIpCommand::AssociateLoadBalancer { floating_ip: ip.into(), load_balancer: balancer.into() }
}

fn members(site: &Site, balancer: &str) -> Vec<String> {
    site.balancer(balancer).spec.members.iter().map(ToString::to_string).collect()
}

fn rules(site: &Site, balancer: &str) -> Vec<String> {
    site.balancer(balancer).spec.rules.iter().map(ToString::to_string).collect()
}

/// A world with router `r` between `blue` and `out`, and VMs `a` and `b` on `blue`, at 10.0.0.2 and 10.0.0.3.
fn a_world_with_members() -> Site {
    let mut site = a_world();
    site.has(a_network("blue", "10.0.0.0/24"));
    site.has(a_network("red", "10.1.0.0/24"));
    site.has(an_outside("out", "192.0.2.0/24"));
    site.has(a_router_with("r", &["blue"], Some("out")));
    site.has(a_vm_on("a", &["blue"]));
    site.has(a_vm_on("b", &["blue"]));
    site
}

#[test]
fn a_rule_is_a_protocol_and_ports_that_fit() {
    let tcp = |ports, member_port| Rule::new(Protocol::Tcp, ports, member_port);
    let one = Rule { protocol: Protocol::Tcp, ports: Some(PortRange { min: 80, max: 80 }), member_port: None };
    for ports in [(Some(80), None), (None, Some(80)), (Some(80), Some(80))] {
        assert_eq!(tcp(ports, Some(80)), Ok(one));
    }
    assert_eq!(tcp((Some(90), Some(80)), None), Err(RuleError::UpsideDown { min: 90, max: 80 }));
    assert_eq!(tcp((None, None), None), Err(RuleError::PortsMissing(Protocol::Tcp)));
    assert_eq!(tcp((Some(0), None), None), Err(RuleError::PortZero));
    assert_eq!(tcp((Some(1), None), Some(0)), Err(RuleError::PortZero));
    let past = RuleError::MemberPort { count: 3, member_port: 65_534 };
    assert_eq!(tcp((Some(1), Some(3)), Some(65_534)), Err(past));
    assert!(tcp((Some(1), Some(3)), Some(65_533)).is_ok());
    assert_eq!(Rule::new(Protocol::Icmp, (Some(1), None), None), Err(RuleError::NoPorts));
    assert_eq!(Rule::new(Protocol::Icmp, (None, None), Some(1)), Err(RuleError::NoPorts));
    for text in ["tcp-80", "udp-5000-5010", "icmp", "tcp-1-65535"] {
        assert_eq!(rule(text).to_string(), text);
    }
    for text in ["", "tcp", "tcp-", "sctp-1", "tcp-80-", "tcp-1-2-3", "icmp-1", "tcp-2-1", "tcp-70000", "TCP-80"] {
        assert!(text.parse::<Rule>().is_err(), "{text}");
    }
    let pairs: Vec<_> = tcp((Some(80), Some(82)), Some(8080)).unwrap().port_pairs().collect();
    assert_eq!(pairs, [(80, 8080), (81, 8081), (82, 8082)]);
    assert_eq!(rule("tcp-1-65535").port_pairs().last(), Some((65_535, 65_535)));
    assert_eq!(rule("icmp").port_pairs().count(), 0);
}

#[test]
fn a_vip_is_given_or_wished_for_and_held_until_it_is_gone() {
    let mut site = a_world_with_members();
    site.has(a_balancer("l", "blue", &["a", "10.0.0.3"]));
    let vip: IpAddr = "10.0.0.4".parse().unwrap();
    assert_eq!(site.balancer("l").spec.vip, vip);
    assert_eq!(members(&site, "l"), ["10.0.0.2", "10.0.0.3"]);
    let with_vip = |ip: &str| CreateLoadBalancer { vip: Some(ip.parse().unwrap()), ..a_balancer("m", "blue", &[]) };
    check(&site, with_vip("10.0.0.4"), Err("address-in-use vip"));
    check(&site, with_vip("10.0.0.2"), Err("address-in-use vip"));
    check(&site, with_vip("10.0.0.1"), Err("address-in-use vip"));
    check(&site, with_vip("10.1.0.9"), Err("invalid-value vip"));
    check(&site, a_balancer("m", "nope", &[]), Err("reference-not-found network"));
    check(&site, a_balancer("m", "out", &[]), Err("invalid-value network"));
    check(&site, NetworkCommand::Delete { network: "blue".into(), cascade: false }, Err("in-use"));
    site.has(a_vm_on("c", &["blue"]));
    assert_eq!(site.vm("c").nics[0].spec.addresses, ["10.0.0.5".parse::<IpAddr>().unwrap()]);
    site.has(remove("l"));
    check(&site, with_vip("10.0.0.4"), Err("address-in-use vip"));
    check(&site, remove("l"), Ok(&[]));
    check(&site, add_rule("l", "udp-53"), Err("wrong-state"));
    site.has(site.told_of_balancer("l", RealizationReport::Removed));
    site.has(with_vip("10.0.0.4"));
}

#[test]
fn a_member_is_on_the_network_and_of_the_vips_family() {
    let mut site = a_world_with_members();
    site.has(a_vm_on("far", &["red"]));
    let with = |member: &str| a_balancer("l", "blue", &[member]);
    check(&site, with("far"), Err("invalid-value members.0"));
    check(&site, with("nope"), Err("reference-not-found members.0"));
    check(&site, with("10.1.0.5"), Err("invalid-value members"));
    check(&site, with("10.0.0.1"), Err("invalid-value members"));
    check(&site, with("10.0.0.4"), Err("invalid-value members"));
    check(&site, with("10.0.0.255"), Err("invalid-value members"));
    check(&site, with("fd00::2"), Err("invalid-value members"));
    let many: Vec<String> = (10..75).map(|number| format!("10.0.0.{number}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    check(&site, a_balancer("l", "blue", &many), Err("invalid-value members"));
    site.has(a_balancer("l", "blue", &many[1..]));
    let update = || a_balancer_update("l");
    check(&site, UpdateLoadBalancer { add: vec![a_member("a")], ..update() }, Err("invalid-value members"));
    site.has(UpdateLoadBalancer { members: Some(vec![a_member("a")]), add: vec![a_member("b")], ..update() });
    assert_eq!(members(&site, "l"), ["10.0.0.2", "10.0.0.3"]);
    check(&site, UpdateLoadBalancer { add: vec![a_member("a")], ..update() }, Ok(&[]));
    check(&site, UpdateLoadBalancer { remove: vec![a_member("10.0.0.9")], ..update() }, Err("invalid-value remove.0"));
    site.has(UpdateLoadBalancer { remove: vec![a_member("a")], ..update() });
    assert_eq!(members(&site, "l"), ["10.0.0.3"]);
}

#[test]
fn a_vm_that_is_removed_is_a_member_no_more() {
    let mut site = a_world_with_members();
    site.has(a_balancer("l", "blue", &["a", "10.0.0.3"]));
    let events = types(&site.has(delete("b")));
    assert_eq!(events, ["VmDeleteRequested", "LoadBalancerUpdated"]);
    assert_eq!(members(&site, "l"), ["10.0.0.2"]);
    assert_eq!(site.balancer("l").realization.state, RealizationState::Creating);
    let again = UpdateLoadBalancer { add: vec![a_member("10.0.0.3")], ..a_balancer_update("l") };
    check(&site, again, Err("wrong-state"));
    let by_name = UpdateLoadBalancer { add: vec![a_member("b")], ..a_balancer_update("l") };
    check(&site, by_name, Err("wrong-state"));
}

#[test]
fn rules_come_and_go_and_dont_overlap() {
    let mut site = a_world_with_members();
    site.has(a_balancer("l", "blue", &["a"]));
    check(&site, add_rule("l", "tcp-80"), Ok(&[]));
    check(&site, add_rule("l", "tcp-70-90"), Err("invalid-value port_range_min"));
    check(&site, add_rule("l", "tcp-1000-1255"), Err("invalid-value port_range_max"));
    for text in ["tcp-1000-1254", "icmp"] {
        site.has(add_rule("l", text));
    }
    assert_eq!(rules(&site, "l"), ["tcp-80", "tcp-1000-1254", "icmp"]);
    check(&site, add_rule("l", "icmp"), Ok(&[]));
    check(&site, remove_rule("l", "tcp-81"), Err("reference-not-found rule"));
    site.has(remove_rule("l", "tcp-1000-1254"));
    assert_eq!(rules(&site, "l"), ["tcp-80", "icmp"]);
    let both = vec![rule("tcp-1-5"), rule("tcp-5")];
    let all = UpdateLoadBalancer { rules: Some(both), ..a_balancer_update("l") };
    check(&site, all, Err("invalid-value rules.1"));
    site.has(UpdateLoadBalancer { rules: Some(vec![rule("udp-53")]), ..a_balancer_update("l") });
    assert_eq!(rules(&site, "l"), ["udp-53"]);
    check(&site, a_balancer_update("l"), Ok(&[]));
}

#[test]
fn who_asks_members_has_an_address_of_his_own_and_keeps_it() {
    let mut site = a_world_with_members();
    let with = |health_check| CreateLoadBalancer { health_check, ..a_balancer("l", "blue", &["a"]) };
    let timing = HealthTiming::default();
    let bad = [
        (HealthTiming { interval_seconds: 0, ..timing }, "invalid-value health_check.interval_seconds"),
        (HealthTiming { failures: 0, ..timing }, "invalid-value health_check.failures"),
        (HealthTiming { successes: 3601, ..timing }, "invalid-value health_check.successes"),
        (HealthTiming { timeout_seconds: 6, ..timing }, "invalid-value health_check.timeout_seconds"),
    ];
    for (timing, refusal) in bad {
        check(&site, with(Some(timing)), Err(refusal));
    }
    let icmp = CreateLoadBalancer { rules: vec![rule("icmp")], ..with(Some(timing)) };
    check(&site, icmp, Err("invalid-value health_check"));
    site.has(with(Some(timing)));
    let source = |site: &Site| site.balancer("l").spec.health_check.map(|check| check.source.to_string());
    assert_eq!(source(&site).as_deref(), Some("10.0.0.5"));
    let slower = HealthTiming { interval_seconds: 60, ..timing };
    site.has(UpdateLoadBalancer { health_check: Some(Some(slower)), ..a_balancer_update("l") });
    assert_eq!(source(&site).as_deref(), Some("10.0.0.5"));
    check(
        &site,
        CreateVm { networks: vec![NicRequest { fixed_ip: "10.0.0.5".parse().ok(), ..a_nic("blue") }], ..a_vm("c") },
        Err("address-in-use networks.0.fixed_ip"),
    );
    site.has(UpdateLoadBalancer { health_check: Some(None), ..a_balancer_update("l") });
    assert_eq!(source(&site), None);
}

#[test]
fn what_the_backend_does_otherwise_is_told() {
    let mut site = a_world_with_members();
    let health_check = Some(HealthTiming::default());
    site.has(CreateLoadBalancer { health_check, ..a_balancer("l", "blue", &["a", "10.0.0.77"]) });
    let told = |site: &Site| limits(&site.world, &site.balancer("l").spec);
    assert_eq!(told(&site), ["no VM has 10.0.0.77: not checked, and taken to be alive"]);
    site.has(add_rule("l", "icmp"));
    assert_eq!(told(&site).len(), 3);
    assert!(told(&site)[0].starts_with("icmp is spread together"));
}

#[test]
fn a_floating_ip_leads_to_a_load_balancer_or_to_a_vm() {
    let mut site = a_world_with_members();
    site.has(a_balancer("l", "blue", &["a"]));
    site.has(a_balancer("far", "red", &[]));
    site.has(CreateFloatingIp { name: Some(name("ip")), ..a_floating_ip() });
    check(&site, lead_to("ip", "nope"), Err("reference-not-found load_balancer"));
    check(&site, lead_to("ip", "far"), Err("invalid-value load_balancer"));
    site.has(lead_to("ip", "l"));
    check(&site, lead_to("ip", "l"), Ok(&[]));
    assert_eq!(site.floating_ip("ip").load_balancer, Some(site.balancer("l").id));
    check(&site, UpdateRouter { detach: vec!["blue".into()], ..an_update("r") }, Err("in-use"));
    let to = AssociationRequest { vm: "a".into(), fixed_ip: None };
    site.has(FloatingIpCommand::Associate { floating_ip: "ip".into(), to });
    assert_eq!(site.floating_ip("ip").load_balancer, None);
    site.has(lead_to("ip", "l"));
    assert_eq!(site.floating_ip("ip").association, None);
    let nowhere = FloatingIpCommand::Disassociate { floating_ip: "ip".into() };
    check(&site, nowhere.clone(), Ok(&["FloatingIpDisassociatedFromLoadBalancer"]));
    check(&site, remove("l"), Ok(&["FloatingIpDisassociatedFromLoadBalancer", "LoadBalancerDeleteRequested"]));
    site.has(remove("l"));
    assert_eq!(site.floating_ip("ip").load_balancer, None);
    check(&site, nowhere, Ok(&[]));
    check(&site, lead_to("ip", "l"), Err("wrong-state"));
    site.has(a_balancer("m", "blue", &["a"]));
    site.has(CreateFloatingIp { load_balancer: Some("m".into()), ..a_floating_ip() });
    assert_eq!(site.world.floating_ips.values().filter(|ip| ip.load_balancer.is_some()).count(), 1);
}

#[test]
fn affinity_is_changed_and_words_tell() {
    let mut site = a_world_with_members();
    site.has(a_balancer("l", "blue", &["a"]));
    let session_affinity = Some(SessionAffinity::ClientIp);
    let update = UpdateLoadBalancer { session_affinity, ..a_balancer_update("l") };
    let events = site.has(update);
    let told: Vec<String> = events.iter().map(|event| event.describe()).collect();
    assert_eq!(told, ["changed: a client's connections to one member"]);
    assert_eq!(site.balancer("l").spec.session_affinity, SessionAffinity::ClientIp);
}
