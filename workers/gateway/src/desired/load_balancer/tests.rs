//! The rows of load balancers.

use std::collections::BTreeSet;

use edgestack_model::{
    Command,
    load_balancer::{CreateLoadBalancer, HealthTiming, LoadBalancerCommand, SessionAffinity, vip_mac},
    vm::port_name,
};

use edgestack_ovn::ovsdb::Atom;

use crate::{
    desired::desired,
    rows::{Derived, Desired, Key, Owner, Table},
    world::*,
};

/// A router between `blue`, `red` and `out`, VMs `a` and `b` on `blue`, and a load balancer `l` there.
fn a_site(create: impl FnOnce(CreateLoadBalancer) -> CreateLoadBalancer) -> Site {
    let mut site = Site::new();
    site.has(a_registered_node("edge-1"));
    site.has(self::create(a_network("blue", "10.0.0.0/24")));
    site.has(self::create(a_network("red", "10.1.0.0/24")));
    site.has(self::create(a_network("alone", "10.2.0.0/24")));
    site.has(self::create(a_provider_network("out", "192.0.2.0/24", None)));
    site.has(create_router(a_router("r", &["blue", "red"], Some("out"))));
    site.has(create_vm("a", &[a_nic("blue")]));
    site.has(create_vm("b", &[a_nic("blue")]));
    site.has(create_balancer(create(a_balancer("l", "blue", &["a", "b"]))));
    site
}

fn id(site: &Site) -> edgestack_model::Id<edgestack_model::load_balancer::LoadBalancer> {
    site.world.load_balancer(&"l".into()).unwrap().id
}

fn entry(site: &Site, protocol: &str) -> Key {
    Key::new(Table::LoadBalancer, format!("{}-{protocol}", id(site)))
}

fn pairs<'d>(rows: &'d Desired, key: &Key, column: &str) -> Vec<(&'d str, &'d str)> {
    let pairs = rows[key].columns.get(column).unwrap().pairs().iter();
    let text = |atom: &'d Atom| if let Atom::String(text) = atom { text.as_str() } else { panic!("{atom:?}") };
    pairs.map(|(name, value)| (text(name), text(value))).collect()
}

/// The tables and ids of the rows that refer to an entry.
fn places(rows: &Desired, entry: &Key) -> BTreeSet<Key> {
    let refers = |row: &crate::rows::Wanted| row.references.get("load_balancer").is_some_and(|to| to.contains(entry));
    rows.iter().filter(|(_, row)| refers(row)).map(|(key, _)| key.clone()).collect()
}

#[test]
fn it_is_on_its_network_on_those_that_a_router_joins_with_it_and_on_that_router() {
    let site = a_site(|create| create);
    let rows = desired(&site.world);
    let tcp = entry(&site, "tcp");
    assert_eq!(pairs(&rows, &tcp, "vips"), [("10.0.0.4:80", "10.0.0.2:80,10.0.0.3:80")]);
    assert_eq!(rows[&tcp].owner, Owner::LoadBalancer(id(&site)));
    let switch = |name: &str| Key::new(Table::LogicalSwitch, site.network(name).id.to_string());
    let router = Key::new(Table::LogicalRouter, site.router("r").id.to_string());
    assert_eq!(places(&rows, &tcp), [switch("blue"), switch("red"), router].into());
    let mut site = site;
    site.has(create_balancer(a_balancer("m", "alone", &[])));
    let rows = desired(&site.world);
    let m = site.world.load_balancer(&"m".into()).unwrap().id;
    let alone = Key::new(Table::LoadBalancer, format!("{m}-tcp"));
    let switch = Key::new(Table::LogicalSwitch, site.network("alone").id.to_string());
    assert_eq!(places(&rows, &alone), [switch].into());
    assert_eq!(pairs(&rows, &alone, "vips"), [("10.2.0.2:80", "")]);
}

#[test]
fn who_answers_for_the_vip_is_a_router_of_its_own() {
    let site = a_site(|create| create);
    let rows = desired(&site.world);
    let port = &rows[&Key::new(Table::LogicalRouterPort, format!("{}-vip", id(&site)))];
    assert_eq!(port.columns.text("networks"), Some("10.0.0.4/24"));
    assert_eq!(port.columns.text("mac"), Some(vip_mac("10.0.0.4".parse().unwrap()).to_string().as_str()));
    let of_switch = Key::new(Table::LogicalSwitchPort, format!("{}-vip-port", id(&site)));
    let switch = &rows[&Key::new(Table::LogicalSwitch, site.network("blue").id.to_string())];
    assert!(switch.references["ports"].contains(&of_switch) && switch.unsettled.contains(&of_switch));
}

#[test]
fn each_port_of_a_range_is_an_entry_and_icmp_is_the_address_alone() {
    let rules = ["tcp-80-82", "udp-53", "icmp"].map(|rule| rule.parse().unwrap());
    let site = a_site(|create| CreateLoadBalancer { rules: rules.into(), ..create });
    let rows = desired(&site.world);
    assert_eq!(pairs(&rows, &entry(&site, "tcp"), "vips").len(), 3);
    let udp = entry(&site, "udp");
    assert_eq!((pairs(&rows, &udp, "vips").len(), rows[&udp].columns.text("protocol")), (1, Some("udp")));
    let icmp = entry(&site, "icmp");
    assert_eq!(pairs(&rows, &icmp, "vips"), [("10.0.0.4", "10.0.0.2,10.0.0.3")]);
    assert_eq!(rows[&icmp].columns.text("protocol"), None);
}

#[test]
fn members_are_asked_by_their_ports_and_by_an_address_of_the_load_balancers() {
    let site = a_site(|create| CreateLoadBalancer {
        health_check: Some(HealthTiming::default()),
        session_affinity: SessionAffinity::ClientIp,
        ..create
    });
    let rows = desired(&site.world);
    let tcp = entry(&site, "tcp");
    let port = |vm: &str| format!("{}:10.0.0.5", port_name(site.vm(vm).id, 0));
    assert_eq!(pairs(&rows, &tcp, "ip_port_mappings"), [("10.0.0.2", port("a").as_str()), ("10.0.0.3", &port("b"))]);
    assert_eq!(rows[&tcp].derived, Derived::Columns(&["ip_port_mappings"]));
    assert_eq!(rows[&tcp].columns.text("selection_fields"), Some("ip_src"));
    let check = rows[&tcp].references["health_check"].first().unwrap();
    assert_eq!(rows[check].columns.text("vip"), Some("10.0.0.4:80"));
    assert_eq!(rows[check].columns.text_at("options", "failure_count"), Some("3"));
}

#[test]
fn a_floating_ip_has_entries_of_its_own() {
    let mut site = a_site(|create| CreateLoadBalancer { health_check: Some(HealthTiming::default()), ..create });
    site.has(create_floating_ip(a_floating_ip("192.0.2.10")));
    site.has(lead_to_balancer("192.0.2.10", "l"));
    let rows = desired(&site.world);
    let ip = site.world.floating_ip(&"192.0.2.10".into()).unwrap().id;
    let entry = Key::new(Table::LoadBalancer, format!("{ip}-tcp"));
    assert_eq!(pairs(&rows, &entry, "vips"), [("192.0.2.10:80", "10.0.0.2:80,10.0.0.3:80")]);
    assert_eq!((rows[&entry].owner, rows[&entry].derived), (Owner::FloatingIp(ip), Derived::Whole));
    assert_eq!(places(&rows, &entry).len(), 3);
    assert!(rows.keys().all(|key| key.table != Table::Nat || !key.id.starts_with(&ip.to_string())));
    assert_eq!(rows.keys().filter(|key| key.table == Table::LoadBalancerHealthCheck).count(), 2);
}

#[test]
fn one_that_is_being_removed_has_no_rows() {
    let mut site = a_site(|create| create);
    site.has(Command::LoadBalancer(LoadBalancerCommand::Delete { load_balancer: "l".into() }));
    let rows = desired(&site.world);
    assert!(rows.values().all(|row| !matches!(row.owner, Owner::LoadBalancer(_))));
    assert!(rows.values().all(|row| row.references.get("load_balancer").is_none_or(BTreeSet::is_empty)));
}
