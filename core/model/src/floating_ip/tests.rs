//! Floating IPs: which address, where they lead, and what becomes of them.

use super::{AssociationRequest, CreateFloatingIp, FloatingIpCommand};
use crate::{
    builders::*,
    network::{CreateNetwork, Ipv6Mode, SubnetRequest},
    realization::{RealizationReport, RealizationState},
    router::{RouterCommand, UpdateRouter},
    vm::CreateVm,
};

fn to(vm: &str, fixed_ip: Option<&str>) -> AssociationRequest {
    AssociationRequest { vm: vm.into(), fixed_ip: fixed_ip.map(|ip| ip.parse().unwrap()) }
}

fn associate(ip: &str, vm: &str) -> FloatingIpCommand {
    FloatingIpCommand::Associate { floating_ip: ip.into(), to: to(vm, None) }
}

fn disassociate(ip: &str) -> FloatingIpCommand {
    FloatingIpCommand::Disassociate { floating_ip: ip.into() }
}

fn a_wished(address: &str) -> CreateFloatingIp {
    CreateFloatingIp { address: Some(address.parse().unwrap()), ..a_floating_ip() }
}

/// A world with router `r` between `blue` and `out`, and VMs `a` and `b` on `blue`.
fn a_world_with_router() -> Site {
    let mut site = a_world();
    site.has(a_network("blue", "10.0.0.0/24"));
    site.has(a_network("red", "10.1.0.0/24"));
    site.has(an_outside("out", "192.0.2.0/24"));
    site.has(a_router_with("r", &["blue"], Some("out")));
    site.has(a_vm_on("a", &["blue"]));
    site.has(a_vm_on("b", &["blue"]));
    site
}

fn leads_to(site: &Site, ip: &str) -> Option<String> {
    let to = site.floating_ip(ip).association.as_ref()?;
    Some(format!("{} {}", site.world.vms[&to.vm].meta.name, to.fixed_ip))
}

#[test]
fn an_address_of_ipv6_is_given_where_the_network_outside_has_them_to_give() {
    for (mode, refused) in [(Ipv6Mode::Dhcpv6Stateful, None), (Ipv6Mode::Slaac, Some("address_mode dhcpv6_stateful"))] {
        let mut site = a_world();
        let v6 = SubnetRequest { ipv6_mode: Some(mode), ..a_subnet("2001:db8::/64") };
        let out = an_outside("out", "192.0.2.0/24");
        site.has(CreateNetwork { subnets: vec![a_subnet("192.0.2.0/24"), v6], ..out });
        site.has(a_router_with("r", &[], Some("out")));
        let told = site.decide(&a_wished("2001:db8::50").into()).err().map(|refusal| refusal.to_string());
        assert_eq!(told.is_some(), refused.is_some(), "{told:?}");
        assert!(refused.is_none_or(|part| told.unwrap().contains(part)));
    }
}

#[test]
fn an_address_is_given_or_wished_for_and_is_its_name() {
    let mut site = a_world_with_router();
    site.has(a_floating_ip());
    site.has(a_wished("192.0.2.99"));
    let names: Vec<&str> = site.world.floating_ips.values().map(|ip| ip.meta.name.as_str()).collect();
    assert_eq!(names, ["192.0.2.3", "192.0.2.99"], "after the gateway's and the router's");
    check(&site, a_wished("192.0.2.99"), Err("address-in-use floating_ip"));
    check(&site, a_wished("192.0.2.2"), Err("address-in-use floating_ip"));
    check(&site, a_wished("10.0.0.9"), Err("invalid-value floating_ip"));
    check(
        &site,
        CreateFloatingIp { router: Some("nope".into()), ..a_floating_ip() },
        Err("reference-not-found router"),
    );
    site.has(a_router("inside"));
    check(&site, CreateFloatingIp { router: Some("inside".into()), ..a_floating_ip() }, Err("invalid-value router"));
    site.has(a_router_with("r2", &["red"], Some("out")));
    check(&site, a_floating_ip(), Err("invalid-value router"));
    check(&site, CreateFloatingIp { router: Some("r2".into()), ..a_floating_ip() }, Ok(&["FloatingIpCreated"]));
}

#[test]
fn it_leads_to_one_vm_at_a_time_and_is_moved_in_one_commit() {
    let mut site = a_world_with_router();
    site.has(CreateFloatingIp { to: Some(to("a", None)), ..a_wished("192.0.2.10") });
    assert_eq!(leads_to(&site, "192.0.2.10").unwrap(), "a 10.0.0.2");
    site.has(site.told_of_floating_ip("192.0.2.10", RealizationReport::Realized));
    check(&site, associate("192.0.2.10", "a"), Ok(&[]));
    check(&site, associate("192.0.2.10", "b"), Ok(&["FloatingIpAssociated"]));
    site.has(associate("192.0.2.10", "b"));
    assert_eq!(leads_to(&site, "192.0.2.10").unwrap(), "b 10.0.0.3");
    assert_eq!(site.floating_ip("192.0.2.10").realization.state, RealizationState::Updating);
    site.has(a_wished("192.0.2.11"));
    check(&site, associate("192.0.2.11", "b"), Err("address-in-use fixed_ip"));
    check(&site, disassociate("192.0.2.11"), Ok(&[]));
    site.has(disassociate("192.0.2.10"));
    check(&site, associate("192.0.2.11", "b"), Ok(&["FloatingIpAssociated"]));
}

#[test]
fn it_leads_only_where_its_router_does() {
    let mut site = a_world_with_router();
    site.has(a_wished("192.0.2.10"));
    site.has(a_vm_on("on-red", &["red"]));
    site.has(a_vm("on-none"));
    for vm in ["on-red", "on-none"] {
        check(&site, associate("192.0.2.10", vm), Err("invalid-value vm"));
    }
    check(&site, associate("192.0.2.10", "nope"), Err("reference-not-found vm"));
    site.has(a_vm_on("two", &["blue", "blue"]));
    check(&site, associate("192.0.2.10", "two"), Err("invalid-value fixed_ip"));
    let second = site.vm("two").nics[1].spec.addresses[0].to_string();
    let to_second = FloatingIpCommand::Associate { floating_ip: "192.0.2.10".into(), to: to("two", Some(&second)) };
    site.has(to_second);
    assert_eq!(site.floating_ip("192.0.2.10").association.as_ref().unwrap().nic, 1);
    let elsewhere = FloatingIpCommand::Associate { floating_ip: "192.0.2.10".into(), to: to("a", Some("10.0.0.77")) };
    check(&site, elsewhere, Err("invalid-value fixed_ip"));
}

#[test]
fn a_vms_removal_leaves_it_held_and_leading_nowhere() {
    let mut site = a_world_with_router();
    site.has(CreateFloatingIp { to: Some(to("a", None)), ..a_wished("192.0.2.10") });
    let events = types(&site.has(delete("a")));
    assert_eq!(events, ["VmDeleteRequested", "FloatingIpDisassociated"]);
    assert_eq!(leads_to(&site, "192.0.2.10"), None);
    check(&site, associate("192.0.2.10", "a"), Err("wrong-state"));
    // A VM that never had a place is gone at once.
    site.has(cordon("edge-1"));
    site.has(CreateVm { node: None, ..a_vm_on("waits", &["blue"]) });
    site.has(associate("192.0.2.10", "waits"));
    site.has(delete("waits"));
    assert_eq!((leads_to(&site, "192.0.2.10"), site.world.unsound()), (None, None));
}

#[test]
fn a_router_and_its_networks_stay_while_floating_ips_need_them() {
    let mut site = a_world_with_router();
    site.has(CreateFloatingIp { to: Some(to("a", None)), ..a_wished("192.0.2.10") });
    let router = |cascade| RouterCommand::Delete { router: "r".into(), cascade };
    check(&site, router(false), Err("in-use"));
    check(&site, router(true), Ok(&["FloatingIpDeleteRequested", "RouterDeleteRequested"]));
    check(&site, UpdateRouter { external: Some(None), ..an_update("r") }, Err("in-use"));
    check(&site, UpdateRouter { detach: vec!["blue".into()], ..an_update("r") }, Err("in-use"));
    site.has(disassociate("192.0.2.10"));
    check(&site, UpdateRouter { detach: vec!["blue".into()], ..an_update("r") }, Ok(&["RouterUpdated"]));
    site.has(FloatingIpCommand::Delete { floating_ip: "192.0.2.10".into() });
    check(&site, router(false), Ok(&["RouterDeleteRequested"]));
    site.has(site.told_of_floating_ip("192.0.2.10", RealizationReport::Removed));
    site.has(a_wished("192.0.2.10"));
}
