//! The virtual network as a tree: routers with the networks that they join, and what is on each.

use edgestack_wire::{network::Network, router::Router};
use serde_json::{Value, json};

use super::{What, site::Site};
use crate::{
    failure::Failure,
    network::type_word,
    output::{self, Format},
};

/// A line, and those below it.
struct Node {
    text: String,
    below: Vec<Self>,
}

/// `topology`
pub fn print(site: &Site, what: &What) -> Result<(), Failure> {
    let format = what.output.output;
    let roots = roots(site, what.name.as_deref());
    if roots.is_empty() && matches!(format, Format::Table | Format::Wide) {
        output::note("there is no network; make one: edgectl create-network blue --cidr 10.0.0.0/24");
        return Ok(());
    }
    let raw = Value::Array(roots.iter().map(document).collect()).to_string();
    output::print_document(format, &raw, "", |_| {
        let mut text = String::new();
        for root in &roots {
            text.push_str(&format!("{}\n", root.text));
            lines(&root.below, "", &mut text);
        }
        Ok(text)
    })
}

fn roots(site: &Site, name: Option<&str>) -> Vec<Node> {
    let joined = |network: &Network| {
        site.routers.iter().any(|router| {
            router.internal_networks.contains(&network.meta.name)
                || router.external_network.as_ref() == Some(&network.meta.name)
        })
    };
    let is_wished = |own: &str| name.is_none_or(|name| name == own);
    let routers = site.routers.iter().filter(|router| is_wished(&router.meta.name)).map(|one| of_router(site, one));
    let apart = |network: &&Network| match name {
        Some(name) => network.meta.name == name,
        None => !joined(network),
    };
    routers.chain(site.networks.iter().filter(apart).map(|network| of_network(site, network, ""))).collect()
}

fn state(state: &str) -> String {
    if state == "active" { String::new() } else { format!(" [{state}]") }
}

fn of_router(site: &Site, router: &Router) -> Node {
    let snat = if router.enable_snat { "SNAT" } else { "no SNAT" };
    let mut below = Vec::new();
    for (name, role) in router
        .external_network
        .iter()
        .map(|name| (name, "outside"))
        .chain(router.internal_networks.iter().map(|name| (name, "")))
    {
        match site.networks.iter().find(|one| one.meta.name == *name) {
            Some(network) => {
                let mut node = of_network(site, network, role);
                if role == "outside" {
                    node.text.push_str(&format!(", the router is {}", router.external_ips.join(", ")));
                    let ips = site.floating_ips.iter().filter(|ip| ip.router == router.meta.name);
                    node.below.extend(ips.map(|ip| {
                        let to = ip.vm.as_ref().map(|vm| format!("vm {vm}"));
                        let to = to.or_else(|| ip.load_balancer.as_ref().map(|one| format!("load balancer {one}")));
                        let to = to.unwrap_or_else(|| "nobody".to_owned());
                        Node {
                            text: format!("floating IP {} → {to}{}", ip.floating_ip, state(&ip.state)),
                            below: vec![],
                        }
                    }));
                }
                below.push(node);
            }
            None => below.push(Node { text: format!("network {name}"), below: vec![] }),
        }
    }
    Node { text: format!("router {} ({snat}){}", router.meta.name, state(&router.state)), below }
}

fn of_network(site: &Site, network: &Network, role: &str) -> Node {
    let name = &network.meta.name;
    let kind = if role.is_empty() {
        type_word(network.network_type).to_owned()
    } else {
        format!("{role}, {}", type_word(network.network_type))
    };
    let cidrs: Vec<&str> =
        std::iter::once(network.cidr.as_str()).chain(network.ipv6.iter().map(|ipv6| ipv6.cidr.as_str())).collect();
    let vms = site.vms.iter().flat_map(|vm| vm.networks.iter().map(move |nic| (vm, nic)));
    let vms = vms.filter(|(_, nic)| nic.network == *name).map(|(vm, nic)| {
        let groups = nic.security_groups.as_ref().map_or("not guarded".to_owned(), |groups| groups.join(", "));
        let ready = if nic.ready { "" } else { " [not ready]" };
        Node {
            text: format!("vm {} NIC {} {} ({groups}){ready}", vm.meta.name, nic.number, nic.addresses.join(", ")),
            below: vec![],
        }
    });
    let balancers = site.load_balancers.iter().filter(|one| one.network == *name).map(|balancer| {
        let rules: Vec<&str> = balancer.rules.iter().map(|rule| rule.id.as_str()).collect();
        let text = format!(
            "load balancer {} {} {}{}",
            balancer.meta.name,
            balancer.vip,
            rules.join(", "),
            state(&balancer.state)
        );
        let members = balancer.members.iter().map(|member| Node { text: format!("member {member}"), below: vec![] });
        Node { text, below: members.collect() }
    });
    Node {
        text: format!("network {name} ({kind}) {}{}", cidrs.join(", "), state(&network.state)),
        below: vms.chain(balancers).collect(),
    }
}

fn lines(nodes: &[Node], before: &str, text: &mut String) {
    for (at, node) in nodes.iter().enumerate() {
        let is_last = at + 1 == nodes.len();
        let (branch, rest) = if is_last { ("└─ ", "   ") } else { ("├─ ", "│  ") };
        text.push_str(&format!("{before}{branch}{}\n", node.text));
        lines(&node.below, &format!("{before}{rest}"), text);
    }
}

fn document(node: &Node) -> Value {
    json!({"what": node.text, "below": node.below.iter().map(document).collect::<Vec<_>>()})
}
