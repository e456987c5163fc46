//! The virtual network's objects as tables: the same rows for people and, by the columns' names, for programs.

use edgestack_wire::{lb_health::Health, network_test::Counters};
use serde_json::{Map, Value};

use super::site::Site;
use crate::{
    output::{self, Cell},
    security_group_rule as rules,
};

/// The columns that are numbers to programs, too.
const NUMBERS: [&str; 8] = [
    "NIC",
    "MEMBER PORT",
    "SENT PACKETS",
    "SENT BYTES",
    "SENT DROPPED",
    "RECEIVED PACKETS",
    "RECEIVED BYTES",
    "RECEIVED DROPPED",
];

/// Rows of one form.
#[derive(Clone, Debug)]
pub struct Table {
    /// What a row is, in the plural.
    pub of: &'static str,
    columns: &'static [&'static str],
    pub rows: Vec<Vec<String>>,
}

impl Table {
    /// The rows in which a name stands.
    pub fn about(&self, name: &str) -> Self {
        let has = |cell: &String| cell.split([' ', ',', '(', ')', ':']).any(|word| word == name);
        let rows = self.rows.iter().filter(|row| row.iter().any(has)).cloned().collect();
        Self { rows, ..self.clone() }
    }

    /// An object a row; what is empty is null.
    pub fn json(&self) -> Value {
        let object = |row: &Vec<String>| {
            let pairs = self.columns.iter().zip(row).map(|(column, cell)| {
                let number = NUMBERS.contains(column).then(|| cell.parse::<u64>().ok()).flatten();
                let value = match number {
                    Some(number) => number.into(),
                    None if cell.is_empty() => Value::Null,
                    None => cell.as_str().into(),
                };
                (column.to_lowercase().replace(' ', "_"), value)
            });
            Value::Object(pairs.collect::<Map<_, _>>())
        };
        Value::Array(self.rows.iter().map(object).collect())
    }

    /// For people.
    pub fn text(&self, colour: bool) -> String {
        let row = |row: &Vec<String>| row.iter().map(|cell| Cell::from(cell.as_str())).collect();
        output::table(self.columns, self.rows.iter().map(row).collect(), colour)
    }
}

fn row<const N: usize>(cells: [String; N]) -> Vec<String> {
    cells.into()
}

/// Who has a port on which network.
pub fn ports(site: &Site) -> Table {
    let mut rows = Vec::new();
    for vm in &site.vms {
        for nic in &vm.networks {
            let groups = nic.security_groups.as_ref().map_or("not guarded".to_owned(), |groups| groups.join(", "));
            let groups = if nic.port_security { groups } else { format!("{groups} (port security off)") };
            let state = if nic.ready { nic.state.clone() } else { format!("{}, not ready", nic.state) };
            let who = format!("vm {}", vm.meta.name);
            let addresses = nic.addresses.join(", ");
            rows.push(row([
                nic.network.clone(),
                who,
                nic.number.to_string(),
                addresses,
                nic.mac.clone(),
                groups,
                state,
            ]));
        }
    }
    for router in &site.routers {
        let who = format!("router {}", router.meta.name);
        for network in &router.internal_networks {
            let gateway = site.networks.iter().find(|one| one.meta.name == *network).map(gateways).unwrap_or_default();
            rows.push(row([
                network.clone(),
                who.clone(),
                String::new(),
                gateway,
                String::new(),
                String::new(),
                router.state.clone(),
            ]));
        }
        if let Some(outside) = &router.external_network {
            let addresses = router.external_ips.join(", ");
            rows.push(row([
                outside.clone(),
                who,
                String::new(),
                addresses,
                String::new(),
                String::new(),
                router.state.clone(),
            ]));
        }
    }
    for balancer in &site.load_balancers {
        let who = format!("load_balancer {}", balancer.meta.name);
        let (network, vip, state) = (balancer.network.clone(), balancer.vip.clone(), balancer.state.clone());
        rows.push(row([network, who, String::new(), vip, String::new(), String::new(), state]));
    }
    rows.sort();
    Table { of: "ports", columns: &["NETWORK", "WHO", "NIC", "ADDRESSES", "MAC", "SECURITY GROUPS", "STATE"], rows }
}

fn gateways(network: &edgestack_wire::network::Network) -> String {
    let ipv6 = network.ipv6.as_ref().and_then(|ipv6| ipv6.gateway_ip.clone().flatten());
    network.gateway_ip.iter().cloned().chain(ipv6).collect::<Vec<_>>().join(", ")
}

/// Where packets go next.
pub fn routes(site: &Site) -> Table {
    let mut rows = Vec::new();
    for router in &site.routers {
        let who = format!("router {}", router.meta.name);
        let mut add = |destination: &str, hop: &str, why: &str| {
            rows.push(row([who.clone(), destination.to_owned(), hop.to_owned(), why.to_owned()]));
        };
        for network in router.internal_networks.iter().chain(&router.external_network) {
            let Some(network) = site.networks.iter().find(|one| one.meta.name == *network) else { continue };
            add(&network.cidr, "", &format!("on network {}", network.meta.name));
            if let Some(ipv6) = &network.ipv6 {
                add(&ipv6.cidr, "", &format!("on network {}", network.meta.name));
            }
        }
        for route in &router.routes {
            add(&route.destination, &route.next_hop, "its own");
        }
        let outside = router.external_network.as_ref();
        let outside = outside.and_then(|name| site.networks.iter().find(|one| one.meta.name == *name));
        if let Some(outside) = outside {
            let peer = router.peer_router.as_ref().map(|peer| (peer.ip_address.clone(), "its peer router"));
            let ipv6 = outside.ipv6.as_ref().and_then(|ipv6| ipv6.gateway_ip.clone().flatten());
            let gateways = outside.gateway_ip.iter().cloned().chain(ipv6);
            let gateways = gateways.filter(|gateway| !router.external_ips.contains(gateway));
            let hops: Vec<_> =
                peer.into_iter().chain(gateways.map(|one| (one, "the external network's gateway"))).collect();
            for (all, mark) in [("0.0.0.0/0", '.'), ("::/0", ':')] {
                let is_own = router.routes.iter().any(|route| route.destination == all);
                if let Some((hop, why)) = hops.iter().find(|(hop, _)| hop.contains(mark)).filter(|_| !is_own) {
                    add(all, hop, why);
                }
            }
        }
    }
    for network in &site.networks {
        for route in &network.host_routes {
            let who = format!("guests on network {}", network.meta.name);
            rows.push(row([who, route.destination.clone(), route.next_hop.clone(), "told by DHCP".to_owned()]));
        }
    }
    Table { of: "routes", columns: &["WHO", "DESTINATION", "NEXT HOP", "WHY"], rows }
}

/// Whose address becomes which.
pub fn nat(site: &Site) -> Table {
    let mut rows = Vec::new();
    for router in site.routers.iter().filter(|router| router.enable_snat) {
        let Some(outside) = router.external_ips.iter().find(|ip| ip.contains('.')) else { continue };
        for network in &router.internal_networks {
            let cidr = site.networks.iter().find(|one| one.meta.name == *network).map(|one| one.cidr.clone());
            let of = format!("network {network}");
            rows.push(row([
                "snat".into(),
                outside.clone(),
                cidr.unwrap_or_default(),
                of,
                router.meta.name.clone(),
                router.state.clone(),
            ]));
        }
    }
    for ip in &site.floating_ips {
        let of_vm = ip.vm.as_ref().map(|vm| format!("vm {vm}"));
        let to = of_vm.or_else(|| ip.load_balancer.as_ref().map(|balancer| format!("load_balancer {balancer}")));
        let vip =
            ip.load_balancer.as_ref().and_then(|name| site.load_balancers.iter().find(|one| one.meta.name == *name));
        let inside = ip.fixed_ip.clone().or_else(|| vip.map(|balancer| balancer.vip.clone())).unwrap_or_default();
        let to = to.unwrap_or_else(|| "nobody".to_owned());
        rows.push(row(["floating_ip".into(), ip.floating_ip.clone(), inside, to, ip.router.clone(), ip.state.clone()]));
    }
    Table { of: "NAT entries", columns: &["KIND", "OUTSIDE", "INSIDE", "OF", "ROUTER", "STATE"], rows }
}

/// What load balancers answer, and by whom.
pub fn load_balancers(site: &Site) -> Table {
    let mut rows = Vec::new();
    for balancer in &site.load_balancers {
        let health = site.health.get(&balancer.meta.name);
        let member = |address: &String| {
            let vm = balancer.member_vms.iter().find(|member| member.address == *address);
            let vm = vm.map(|member| member.vm.clone());
            // Of several ports the one that is worst off.
            let found = health.into_iter().flat_map(|health| &health.items).filter(|one| one.address == *address);
            let found =
                found.map(|one| one.health).min_by_key(|health| matches!(health, Health::Online | Health::Unknown));
            let what: Vec<String> = vm.into_iter().chain(found.map(|health| health.as_str().to_owned())).collect();
            if what.is_empty() { address.clone() } else { format!("{address} ({})", what.join(" ")) }
        };
        let members = balancer.members.iter().map(member).collect::<Vec<_>>().join(", ");
        let check = balancer.health_check.as_ref().map(|check| format!("each {} s", check.timing.interval_seconds));
        for rule in &balancer.rules {
            let to = rule.member_port.map(|port| port.to_string()).unwrap_or_default();
            rows.push(row([
                balancer.meta.name.clone(),
                balancer.network.clone(),
                balancer.vip.clone(),
                rule.id.clone(),
                to,
                members.clone(),
                check.clone().unwrap_or_default(),
                balancer.state.clone(),
            ]));
        }
    }
    let columns = &["NAME", "NETWORK", "VIP", "RULE", "MEMBER PORT", "MEMBERS", "CHECKED", "STATE"];
    Table { of: "load balancers", columns, rows }
}

/// What may pass.
pub fn rules(site: &Site) -> Table {
    let mut rows = Vec::new();
    for group in &site.groups {
        let members: Vec<String> =
            group.members.iter().map(|member| format!("{} ({})", member.vm, member.nic)).collect();
        for rule in &group.rules {
            rows.push(row([
                group.meta.name.clone(),
                rules::direction_word(rule).to_owned(),
                rules::family_word(rule).to_owned(),
                format!("{} {}", rule.protocol, rules::part(rule)).trim_end().to_owned(),
                rules::remote(rule),
                rule.meta.name.clone(),
                members.join(", "),
                rule.state.clone(),
            ]));
        }
    }
    let columns = &["SECURITY GROUP", "DIRECTION", "FAMILY", "PACKETS", "REMOTE", "RULE", "OF NICS", "STATE"];
    Table { of: "rules", columns, rows }
}

/// Who holds which address.
pub fn addresses(site: &Site) -> Table {
    let held = site.networks.iter().flat_map(|network| {
        network
            .addresses
            .iter()
            .map(|held| row([network.meta.name.clone(), held.ip.clone(), held.holder.replace('"', "")]))
    });
    Table { of: "addresses", columns: &["NETWORK", "ADDRESS", "HOLDER"], rows: held.collect() }
}

/// What went over NICs.
pub fn counters(counters: &Counters) -> Table {
    let rows = counters.items.iter().map(|nic| {
        row([
            nic.vm.clone(),
            nic.nic.to_string(),
            nic.network.clone(),
            nic.sent_packets.to_string(),
            nic.sent_bytes.to_string(),
            nic.sent_dropped.to_string(),
            nic.received_packets.to_string(),
            nic.received_bytes.to_string(),
            nic.received_dropped.to_string(),
            counters.node.clone(),
        ])
    });
    let columns = &[
        "VM",
        "NIC",
        "NETWORK",
        "SENT PACKETS",
        "SENT BYTES",
        "SENT DROPPED",
        "RECEIVED PACKETS",
        "RECEIVED BYTES",
        "RECEIVED DROPPED",
        "NODE",
    ];
    Table { of: "NICs with counters", columns, rows: rows.collect() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_found_by_any_name_in_them_and_told_to_programs_by_column() {
        let rows = vec![row(["blue".into(), "vm web".into()]), row(["red".into(), String::new()])];
        let table = Table { of: "x", columns: &["NETWORK", "WHO HAS IT"], rows };
        assert_eq!(table.about("web").rows.len(), 1);
        assert_eq!(table.about("we").rows.len(), 0);
        assert_eq!(
            table.json(),
            serde_json::json!([{"network": "blue", "who_has_it": "vm web"}, {"network": "red", "who_has_it": null}])
        );
    }
}
