//! A probe: a port of a network's switch, or of a switch of its own behind a router.

use std::collections::{BTreeMap, BTreeSet};

use edgestack_model::{World, network::Network, router::Router};
use edgestack_ovn::ovsdb::{Row, Value};

use super::{network, router};
use crate::{
    probe::{Place, Probe},
    rows::{Derived, Desired, Key, Owner, Table, Wanted},
};

/// What people see in OVN's own tools.
const LABEL: &str = "test-ping";

/// The rows of a probe, and what the rows of the place have of it; none where the place is gone.
pub(crate) fn rows(world: &World, probe: &Probe, rows: &mut Desired) {
    match probe.place {
        Place::Network(network) => {
            if let Some(network) = world.networks.get(&network) {
                on_network(probe, network, rows);
            }
        }
        Place::Router(router) => {
            if let Some(router) = world.routers.get(&router) {
                behind(probe, router, rows);
            }
        }
    }
}

fn wanted(probe: &Probe, columns: Row) -> Wanted {
    Wanted { derived: Derived::Whole, ..Wanted::new(Owner::Probe(probe.id), columns, LABEL) }
}

fn on_network(probe: &Probe, on: &Network, rows: &mut Desired) {
    let key = port(probe);
    let Some(switch) = rows.get_mut(&network::switch(on)) else { return };
    switch.references.entry("ports").or_default().insert(key.clone());
    switch.unsettled.insert(key.clone());
    rows.insert(key, wanted(probe, port_row(probe)));
}

fn port(probe: &Probe) -> Key {
    Key::new(Table::LogicalSwitchPort, probe.id.to_string())
}

fn port_row(probe: &Probe) -> Row {
    let addresses: Vec<String> = probe.addresses.iter().map(|(ip, _)| ip.to_string()).collect();
    switch_port(&probe.id.to_string(), "", &format!("{} {}", probe.mac, addresses.join(" ")))
}

fn switch_port(name: &str, port_type: &str, addresses: &str) -> Row {
    Row::new()
        .with("name", Value::text(name))
        .with("type", Value::text(port_type))
        .with("addresses", Value::text(addresses))
        .with("port_security", Value::empty())
        .with("options", Value::empty_map())
        .with("tag", Value::empty())
        .with("enabled", Value::empty())
}

fn behind(probe: &Probe, of: &Router, rows: &mut Desired) {
    let (id, router_port) = (probe.id.to_string(), format!("{}-router", probe.id));
    let of_router = Key::new(Table::LogicalRouterPort, router_port.clone());
    let of_switch = Key::new(Table::LogicalSwitchPort, format!("{router_port}-port"));
    let Some(router_row) = rows.get_mut(&router::key(of)) else { return };
    router_row.references.entry("ports").or_default().insert(of_router.clone());
    router_row.unsettled.insert(of_router.clone());
    let lengths = probe.addresses.iter().map(|(_, length)| length);
    let networks = probe.gateways.iter().zip(lengths).map(|(gateway, length)| format!("{gateway}/{length}"));
    let columns = Row::new()
        .with("name", Value::text(router_port.clone()))
        .with("mac", Value::text(probe.router_mac.to_string()))
        .with("networks", Value::set(networks))
        .with("ipv6_ra_configs", Value::empty_map())
        .with("enabled", Value::empty())
        .with("options", Value::empty_map());
    // What the router does for all behind it when they go outside.
    let snat = of.spec.external.as_ref().filter(|_| of.spec.enable_snat);
    let snat = snat.and_then(|external| external.addresses.iter().copied().find(std::net::IpAddr::is_ipv4));
    if let (Some(outside), Some((own, _))) = (snat, probe.addresses.iter().find(|(ip, _)| ip.is_ipv4())) {
        let nat = Key::new(Table::Nat, format!("{id}-snat"));
        router_row.references.entry("nat").or_default().insert(nat.clone());
        router_row.unsettled.insert(nat.clone());
        rows.insert(nat, wanted(probe, router::nat_row("snat", outside, &own.to_string())));
    }
    rows.insert(of_router, wanted(probe, columns));
    let columns = switch_port(&of_switch.id, "router", "router")
        .with("options", Value::map([("router-port", router_port.as_str())]));
    rows.insert(of_switch.clone(), wanted(probe, columns));
    rows.insert(port(probe), wanted(probe, port_row(probe)));
    let columns =
        Row::new().with("name", Value::text(format!("edgestack-probe-{id}"))).with("other_config", Value::empty_map());
    let references = BTreeMap::from([("ports", BTreeSet::from([port(probe), of_switch]))]);
    rows.insert(Key::new(Table::LogicalSwitch, id), Wanted { references, ..wanted(probe, columns) });
}
