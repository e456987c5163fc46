//! A load balancer: a load-balancing entry for each protocol, on the switches of its network and of those that a router
//! joins with it, and on that router for what comes from outside; and who is found under its VIP.
//!
//! A switch rewrites where a packet goes to, but not whose MAC address it goes to. So the VIP is the address of a logical
//! router of its own, which does nothing but answer for it, and send what is for a member back on the network.
//! Sources of the columns: ovn-nb(5), Load_Balancer, Load_Balancer_Health_Check.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, SocketAddr},
};

use edgestack_model::{
    World,
    floating_ip::FloatingIp,
    load_balancer::{HealthCheck, LoadBalancer, Protocol, SessionAffinity, member_nic, vip_mac},
    network::Network,
    realization::RealizationState,
    router::{self, Router},
    vm::port_name,
};
use edgestack_ovn::ovsdb::{Row, Value};

use super::{network, router as router_rows};
use crate::rows::{Derived, Desired, Key, Owner, Table, Wanted};

/// The rows of a load balancer and of the floating IPs that lead to it, and what networks' and routers' rows have of them;
/// none when it is on its way out.
pub(super) fn rows(world: &World, balancer: &LoadBalancer, rows: &mut Desired) {
    let Some(on) = world.networks.get(&balancer.spec.network) else { return };
    if balancer.realization.state == RealizationState::Deleting {
        return;
    }
    let router = router::of_network(world, on.id);
    who_answers(balancer, on, rows);
    let own = Front {
        id: balancer.id.to_string(),
        owner: Owner::LoadBalancer(balancer.id),
        label: balancer.meta.name.as_str(),
        address: balancer.spec.vip,
        is_settled: balancer.realization.state == RealizationState::Active,
        of_another: false,
    };
    entries(world, balancer, (on, router), &own, rows);
    for ip in world.floating_ips.values().filter(|ip| ip.load_balancer == Some(balancer.id)) {
        entries(world, balancer, (on, router), &Front::of_floating_ip(ip), rows);
    }
}

/// An address that a load balancer answers under: its VIP, or a floating IP.
struct Front<'f> {
    id: String,
    owner: Owner,
    label: &'f str,
    address: IpAddr,
    is_settled: bool,
    /// Whether what it has follows from another object: a floating IP's from the load balancer.
    of_another: bool,
}

impl<'f> Front<'f> {
    fn of_floating_ip(ip: &'f FloatingIp) -> Self {
        Self {
            id: ip.id.to_string(),
            owner: Owner::FloatingIp(ip.id),
            label: ip.meta.name.as_str(),
            address: ip.spec.address,
            is_settled: ip.realization.state == RealizationState::Active,
            of_another: true,
        }
    }

    fn wanted(&self, columns: Row) -> Wanted {
        let derived = if self.of_another { Derived::Whole } else { Derived::Nothing };
        Wanted { derived, ..Wanted::new(self.owner, columns, self.label) }
    }

    /// As OVN spells it: with a port, or alone.
    fn spelled(&self, port: Option<u16>) -> String {
        spelled(self.address, port)
    }
}

fn spelled(address: IpAddr, port: Option<u16>) -> String {
    port.map_or_else(|| address.to_string(), |port| SocketAddr::new(address, port).to_string())
}

/// The entry of each protocol that is answered, and where it is.
fn entries(
    world: &World,
    balancer: &LoadBalancer,
    (on, router): (&Network, Option<&Router>),
    front: &Front<'_>,
    rows: &mut Desired,
) {
    for protocol in [Protocol::Tcp, Protocol::Udp, Protocol::Icmp] {
        let vips = vips(balancer, front, protocol);
        if vips.is_empty() {
            continue;
        }
        let key = Key::new(Table::LoadBalancer, format!("{}-{protocol}", front.id));
        let checks = checks(balancer, front, protocol, &vips, rows);
        let name = format!("edgestack-{}-{protocol}", front.label);
        let mut wanted = front.wanted(columns(world, balancer, front, protocol, name, vips));
        if !checks.is_empty() {
            wanted.references.insert("health_check", checks);
        }
        if !front.of_another {
            // Which NICs have the members' addresses is those VMs'.
            wanted.derived = Derived::Columns(&["ip_port_mappings"]);
        }
        rows.insert(key.clone(), wanted);
        let joined =
            router.into_iter().flat_map(|router| &router.spec.internal).filter_map(|id| world.networks.get(id));
        let joined: BTreeSet<Key> = joined.map(|network| network::switch(network)).collect();
        let places = joined.into_iter().chain([network::switch(on)]).chain(router.map(router_rows::key));
        let is_settled = front.is_settled
            && balancer.realization.state == RealizationState::Active
            && router.is_none_or(|router| router.realization.state == RealizationState::Active);
        for place in places {
            let Some(row) = rows.get_mut(&place) else { continue };
            row.references.entry("load_balancer").or_default().insert(key.clone());
            if !is_settled {
                row.unsettled.insert(key.clone());
            }
        }
    }
}

/// What is answered of a protocol, each with who answers. ICMP has no ports, and OVN takes an address alone for all that no
/// other entry names.
fn vips(balancer: &LoadBalancer, front: &Front<'_>, protocol: Protocol) -> BTreeMap<String, String> {
    let members = |port: Option<u16>| {
        let members: Vec<String> = balancer.spec.members.iter().map(|member| spelled(*member, port)).collect();
        members.join(",")
    };
    let rules = balancer.spec.rules.iter().filter(|rule| rule.protocol == protocol);
    if protocol == Protocol::Icmp {
        return rules.map(|_| (front.spelled(None), members(None))).collect();
    }
    rules.flat_map(|rule| rule.port_pairs().map(|(port, to)| (front.spelled(Some(port)), members(Some(to))))).collect()
}

fn columns(
    world: &World,
    balancer: &LoadBalancer,
    front: &Front<'_>,
    protocol: Protocol,
    name: String,
    vips: BTreeMap<String, String>,
) -> Row {
    let spec = &balancer.spec;
    let by_client = if spec.vip.is_ipv4() { "ip_src" } else { "ipv6_src" };
    let selection = match spec.session_affinity {
        SessionAffinity::None => Value::empty(),
        SessionAffinity::ClientIp => Value::set([by_client.to_owned()]),
    };
    // Who has no member left is told so at once. Its own router answers for the VIP, and no other need.
    let mut options = vec![("reject", "true")];
    if !front.of_another {
        options.push(("neighbor_responder", "none"));
    }
    let port = |member: &IpAddr, check: HealthCheck| {
        let (vm, nic) = member_nic(world, spec.network, *member)?;
        Some((member.to_string(), format!("{}:{}", port_name(vm.id, nic.spec.number), check.source)))
    };
    let check = spec.health_check.filter(|_| protocol != Protocol::Icmp);
    let ports: BTreeMap<String, String> =
        check.map(|check| spec.members.iter().filter_map(|member| port(member, check)).collect()).unwrap_or_default();
    Row::new()
        .with("name", Value::text(name))
        .with("protocol", if protocol == Protocol::Icmp { Value::empty() } else { Value::text(protocol.as_str()) })
        .with("vips", Value::map(vips))
        .with("selection_fields", selection)
        .with("options", Value::map(options))
        .with("ip_port_mappings", Value::map(ports))
}

/// How members are asked, an entry for each of the ports.
fn checks(
    balancer: &LoadBalancer,
    front: &Front<'_>,
    protocol: Protocol,
    vips: &BTreeMap<String, String>,
    rows: &mut Desired,
) -> BTreeSet<Key> {
    let Some(HealthCheck { timing, .. }) = balancer.spec.health_check.filter(|_| protocol != Protocol::Icmp) else {
        return BTreeSet::new();
    };
    let options = Value::map([
        ("interval", timing.interval_seconds.to_string()),
        ("timeout", timing.timeout_seconds.to_string()),
        ("failure_count", timing.failures.to_string()),
        ("success_count", timing.successes.to_string()),
    ]);
    let entry = |vip: &String| {
        let key = Key::new(Table::LoadBalancerHealthCheck, format!("{}-{protocol}-{vip}", front.id));
        let columns = Row::new().with("vip", Value::text(vip.as_str())).with("options", options.clone());
        rows.insert(key.clone(), front.wanted(columns));
        key
    };
    vips.keys().map(entry).collect()
}

/// Who is found under the VIP.
fn who_answers(balancer: &LoadBalancer, on: &Network, rows: &mut Desired) {
    let spec = &balancer.spec;
    let Some(subnet) = on.spec.subnets.iter().find(|subnet| subnet.cidr.contains(spec.vip)) else { return };
    let label = balancer.meta.name.as_str();
    let wanted = |columns| Wanted::new(Owner::LoadBalancer(balancer.id), columns, label);
    let name = format!("{}-vip", balancer.id);
    let port = Key::new(Table::LogicalRouterPort, name.clone());
    let columns = Row::new()
        .with("name", Value::text(name.clone()))
        .with("mac", Value::text(vip_mac(spec.vip).to_string()))
        .with("networks", Value::set([format!("{}/{}", spec.vip, subnet.cidr.prefix_length())]))
        .with("ipv6_ra_configs", Value::empty_map())
        .with("enabled", Value::empty())
        .with("options", Value::empty_map());
    rows.insert(port.clone(), wanted(columns));
    let columns = Row::new()
        .with("name", Value::text(format!("edgestack-{label}-vip")))
        .with("enabled", Value::empty())
        .with("options", Value::empty_map());
    let references = BTreeMap::from([("ports", BTreeSet::from([port]))]);
    let router = Key::new(Table::LogicalRouter, balancer.id.to_string());
    rows.insert(router, Wanted { references, ..wanted(columns) });
    let of_switch = Key::new(Table::LogicalSwitchPort, format!("{name}-port"));
    let columns = Row::new()
        .with("name", Value::text(of_switch.id.clone()))
        .with("type", Value::text("router"))
        .with("addresses", Value::text("router"))
        .with("port_security", Value::empty())
        .with("options", Value::map([("router-port", name.as_str())]))
        .with("tag", Value::empty())
        .with("enabled", Value::empty());
    rows.insert(of_switch.clone(), wanted(columns));
    if let Some(switch) = rows.get_mut(&network::switch(on)) {
        switch.references.entry("ports").or_default().insert(of_switch.clone());
        if balancer.realization.state != RealizationState::Active {
            switch.unsettled.insert(of_switch);
        }
    }
}

#[cfg(test)]
mod tests;
