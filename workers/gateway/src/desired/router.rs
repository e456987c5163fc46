//! A router: a logical router, a port of it on each network that it joins and one outside, its routes and its SNAT.
//! Sources of the columns: ovn-nb(5), Logical_Router, Logical_Router_Port, Logical_Router_Static_Route, NAT, Static_MAC_Binding,
//! Gateway_Chassis.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    sync::Arc,
};

use edgestack_model::{
    World,
    address::Mac,
    floating_ip::FloatingIp,
    network::{DOMAIN, Ipv6Mode, Network},
    node::Node,
    realization::RealizationState,
    router::{External, PeerRouter, Router, external_mac},
};
use edgestack_ovn::ovsdb::{Row, Value};

use super::{dhcp, network};
use crate::rows::{Derived, Desired, Key, Owner, Table, Wanted};

/// So many nodes may stand in for the one by which a router's traffic goes outside; the first that lives does it.
const STAND_INS_MAX: usize = 5;

/// The rows of a router, and what its networks' rows have of it; none when it is on its way out.
pub(super) fn rows(world: &World, router: &Router, rows: &mut Desired) {
    if router.realization.state == RealizationState::Deleting {
        return;
    }
    let mut made = Made { router, router_refers: BTreeMap::new(), rows };
    for network in router.spec.internal.iter().filter_map(|id| world.networks.get(id)) {
        made.internal_port(network);
    }
    let outside = router.spec.external.as_ref();
    let outside = outside.and_then(|external| Some((external, world.networks.get(&external.network)?)));
    if let Some((external, network)) = outside {
        made.external_port(world, external, network);
        made.ways_out(external, network);
        if router.spec.enable_snat {
            made.snat(world, external);
        }
    }
    made.routes();
    made.router();
}

/// The router's row.
pub(super) fn key(router: &Router) -> Key {
    Key::new(Table::LogicalRouter, router.id.to_string())
}

/// The row of a floating IP, and what its router's row has of it; none where it leads nowhere.
pub(super) fn floating_ip_rows(world: &World, ip: &FloatingIp, rows: &mut Desired) {
    let Some(to) = ip.association.as_ref().filter(|_| ip.realization.state != RealizationState::Deleting) else {
        return;
    };
    let Some(router) = world.routers.get(&ip.spec.router) else { return };
    let Some(router) = rows.get_mut(&key(router)) else { return };
    let nat = Key::new(Table::Nat, ip.id.to_string());
    router.references.entry("nat").or_default().insert(nat.clone());
    if ip.realization.state != RealizationState::Active {
        router.unsettled.insert(nat.clone());
    }
    let columns = nat_row("dnat_and_snat", ip.spec.address, &to.fixed_ip.to_string());
    rows.insert(nat, Wanted::new(Owner::FloatingIp(ip.id), columns, ip.meta.name.as_str()));
}

pub(super) fn nat_row(nat_type: &str, external_ip: IpAddr, logical_ip: &str) -> Row {
    Row::new()
        .with("type", Value::text(nat_type))
        .with("external_ip", Value::text(external_ip.to_string()))
        .with("logical_ip", Value::text(logical_ip))
        .with("logical_port", Value::empty())
        .with("external_mac", Value::empty())
}

/// A router's rows in the making.
struct Made<'m> {
    router: &'m Router,
    router_refers: BTreeMap<&'static str, BTreeSet<Key>>,
    rows: &'m mut Desired,
}

impl Made<'_> {
    fn insert(&mut self, key: Key, columns: Row) -> &mut Wanted {
        let wanted = Wanted::new(Owner::Router(self.router.id), columns, self.router.meta.name.as_str());
        self.rows.entry(key).or_insert(wanted)
    }

    fn router(mut self) {
        let columns = Row::new()
            .with("name", Value::text(format!("edgestack-{}", self.router.meta.name)))
            .with("enabled", Value::empty())
            .with("options", Value::empty_map());
        let refers = std::mem::take(&mut self.router_refers);
        self.insert(key(self.router), columns).references = refers;
    }

    /// A port of the router on a network, and one of the network that leads to it.
    fn port(&mut self, on: &Network, mac: String, networks: Vec<String>, ra: Value) -> Key {
        let name = format!("{}-{}", self.router.id, on.id);
        let port = Key::new(Table::LogicalRouterPort, name.clone());
        let columns = Row::new()
            .with("name", Value::text(name.clone()))
            .with("mac", Value::text(mac))
            .with("networks", Value::set(networks))
            .with("ipv6_ra_configs", ra)
            .with("enabled", Value::empty())
            .with("options", Value::empty_map());
        // What it tells guests is the network's.
        self.insert(port.clone(), columns).derived = Derived::Columns(&["ipv6_ra_configs"]);
        self.router_refers.entry("ports").or_default().insert(port.clone());
        let of_switch = Key::new(Table::LogicalSwitchPort, format!("{name}-port"));
        if let Some(switch) = self.rows.get_mut(&network::switch(on)) {
            switch.references.entry("ports").or_default().insert(of_switch.clone());
            if self.router.realization.state != RealizationState::Active {
                switch.unsettled.insert(of_switch.clone());
            }
        }
        // Outside, others are told of its addresses as they come to be: ovn-nb(5), `nat-addresses`.
        let announced = on.spec.network_type.is_provider().then_some(("nat-addresses", "router"));
        let options = [("router-port", name.as_str())].into_iter().chain(announced);
        let columns = Row::new()
            .with("name", Value::text(of_switch.id.clone()))
            .with("type", Value::text("router"))
            .with("addresses", Value::text("router"))
            .with("port_security", Value::empty())
            .with("options", Value::map(options))
            .with("tag", Value::empty())
            .with("enabled", Value::empty());
        self.insert(of_switch, columns);
        port
    }

    fn internal_port(&mut self, on: &Network) {
        let subnets = &on.spec.subnets;
        let at_gateway = subnets.iter().filter_map(|subnet| Some((subnet.gateway_ip?, subnet.cidr.prefix_length())));
        let networks = at_gateway.map(|(gateway, length)| format!("{gateway}/{length}")).collect();
        // Guests that knew somebody else under the gateway's address before know it by the same MAC address.
        self.port(on, dhcp::server_mac(on).to_string(), networks, router_advertisements(on));
    }

    fn external_port(&mut self, world: &World, external: &External, on: &Network) {
        let of_prefix = |address: &IpAddr| {
            let subnet = on.spec.subnets.iter().find(|subnet| subnet.cidr.contains(*address))?;
            Some(format!("{address}/{}", subnet.cidr.prefix_length()))
        };
        let networks = external.addresses.iter().filter_map(of_prefix).collect();
        let mac = external_mac(self.router.id).to_string();
        let port = self.port(on, mac, networks, Value::empty_map());
        // A node that tells nothing of networks may lead there; where none does, each may yet.
        let physical_network = on.spec.physical_network.as_ref().map_or("", |name| name.as_str());
        let leads = |node: &&Arc<Node>| node.facts.leads_to(physical_network) != Some(false);
        let mut nodes: Vec<_> = world.nodes.values().filter(leads).collect();
        if nodes.is_empty() {
            nodes.extend(world.nodes.values());
        }
        // Those that are known to lead there before those that may.
        let known = |node: &Node| node.facts.leads_to(physical_network) == Some(true);
        nodes.sort_by(|a, b| known(b).cmp(&known(a)).then_with(|| a.meta.name.cmp(&b.meta.name)));
        let mut chassis = BTreeSet::new();
        for (priority, node) in (1..=20).rev().zip(nodes).take(STAND_INS_MAX) {
            let chassis_name = node.facts.network.as_ref().map_or(node.meta.name.as_str(), |facts| &facts.chassis);
            let key = Key::new(Table::GatewayChassis, format!("{}-{}", self.router.id, node.id));
            let columns = Row::new()
                .with("name", Value::text(format!("{}_{}", port.id, node.meta.name)))
                .with("chassis_name", Value::text(chassis_name))
                .with("priority", Value::integer(priority));
            // Nodes come and go by themselves.
            self.insert(key.clone(), columns).derived = Derived::Whole;
            chassis.insert(key);
        }
        if let Some(row) = self.rows.get_mut(&port) {
            row.unsettled.clone_from(&chassis);
            row.references.insert("gateway_chassis", chassis);
        }
    }

    /// What is for nobody here goes to the next hop outside.
    fn ways_out(&mut self, external: &External, on: &Network) {
        let port = format!("{}-{}", self.router.id, on.id);
        if let Some(PeerRouter { ip_address, mac_address }) = self.router.spec.peer {
            self.know(&port, ip_address, mac_address);
        }
        for (family, all, is_ipv4) in [("4", "0.0.0.0/0", true), ("6", "::/0", false)] {
            let peer = self.router.spec.peer.map(|peer| peer.ip_address).filter(|hop| hop.is_ipv4() == is_ipv4);
            let subnets = on.spec.subnets.iter().filter(|subnet| subnet.cidr.is_ipv4() == is_ipv4);
            let gateway = subnets.filter_map(|subnet| subnet.gateway_ip).find(|hop| !external.addresses.contains(hop));
            let is_own = self.router.spec.routes.iter().any(|route| route.destination.to_string() == all);
            if let Some(hop) = peer.or(gateway).filter(|_| !is_own) {
                self.route(&format!("default-{family}"), all, hop, Value::text(port.clone()));
            }
        }
    }

    /// Nobody is asked for the MAC address of that IP address.
    fn know(&mut self, port: &str, ip: IpAddr, mac: Mac) {
        let columns = Row::new()
            .with("logical_port", Value::text(port))
            .with("ip", Value::text(ip.to_string()))
            .with("mac", Value::text(mac.to_string()))
            .with("override_dynamic_mac", Value::boolean(true));
        // Such a row has no room for a name.
        self.insert(Key::new(Table::StaticMacBinding, port), columns).label.clear();
    }

    fn route(&mut self, id: &str, destination: &str, hop: IpAddr, port: Value) {
        let key = Key::new(Table::StaticRoute, format!("{}-{id}", self.router.id));
        self.router_refers.entry("static_routes").or_default().insert(key.clone());
        let columns = Row::new()
            .with("ip_prefix", Value::text(destination))
            .with("nexthop", Value::text(hop.to_string()))
            .with("output_port", port)
            .with("policy", Value::empty());
        self.insert(key, columns);
    }

    fn routes(&mut self) {
        let router = self.router;
        for route in &router.spec.routes {
            let destination = route.destination.to_string();
            self.route(&destination, &destination, route.next_hop, Value::empty());
        }
    }

    fn snat(&mut self, world: &World, external: &External) {
        let Some(address) = external.addresses.iter().copied().find(IpAddr::is_ipv4) else { return };
        let router = self.router;
        for network in router.spec.internal.iter().filter_map(|id| world.networks.get(id)) {
            for subnet in network.spec.subnets.iter().filter(|subnet| subnet.cidr.is_ipv4()) {
                let key = Key::new(Table::Nat, format!("{}-snat-{}", router.id, network.id));
                self.router_refers.entry("nat").or_default().insert(key.clone());
                self.insert(key, nat_row("snat", address, &subnet.cidr.to_string()));
            }
        }
    }
}

/// What the router tells guests of IPv6. Source of the options: ovn-nb(5), Logical_Router_Port, `ipv6_ra_configs`.
fn router_advertisements(on: &Network) -> Value {
    let spec = &on.spec;
    let mode = spec.subnets.iter().find_map(|subnet| subnet.ipv6_mode.filter(|_| subnet.gateway_ip.is_some()));
    let Some(mode) = mode else { return Value::empty_map() };
    let mode = match (mode, spec.dhcp) {
        (Ipv6Mode::Slaac, true) => "dhcpv6_stateless",
        (Ipv6Mode::Slaac, false) => "slaac",
        (Ipv6Mode::Dhcpv6Stateful, _) => "dhcpv6_stateful",
    };
    let servers: Vec<String> =
        spec.dns_servers.iter().filter(|server| server.is_ipv6()).map(ToString::to_string).collect();
    let mut options = vec![
        ("address_mode", mode.to_owned()),
        ("send_periodic", "true".to_owned()),
        ("mtu", spec.mtu.to_string()),
        ("dnssl", DOMAIN.to_owned()),
    ];
    if !servers.is_empty() {
        options.push(("rdnss", servers.join(",")));
    }
    Value::map(options)
}

#[cfg(test)]
mod tests;
