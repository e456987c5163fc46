//! A network: a logical switch, its way to the outside, what DHCP tells on it, and the names on it.

use std::collections::{BTreeMap, BTreeSet};

use edgestack_model::{network::Network, realization::RealizationState};
use edgestack_ovn::ovsdb::{Row, Value};

use super::{dhcp, guard};
use crate::rows::{Derived, Desired, Key, Owner, Table, Wanted};

/// The rows of a network, without its NICs; none when it is on its way out, and nothing on it any more. `names` are those
/// that resolve on it.
pub(super) fn rows(
    network: &Network,
    is_held: bool,
    has_router: bool,
    names: BTreeMap<String, String>,
    rows: &mut Desired,
) {
    if network.realization.state == RealizationState::Deleting && !is_held {
        return;
    }
    let (spec, id) = (&network.spec, network.id);
    let owner = Owner::Network(id);
    let label = network.meta.name.to_string();
    let wanted = |columns| Wanted::new(owner, columns, label.clone());
    let mut switch_refers = BTreeMap::from([("dns_records", BTreeSet::from([dns(network)]))]);
    let names = Row::new().with("records", Value::map(names));
    rows.insert(dns(network), Wanted { derived: Derived::Columns(&["records"]), ..wanted(names) });
    if let Some(physical_network) = &spec.physical_network {
        let tag = spec.segment_id.map_or_else(Value::empty, |vlan| Value::integer(i64::from(vlan)));
        let columns = Row::new()
            .with("name", Value::text(format!("{id}-localnet")))
            .with("type", Value::text("localnet"))
            .with("addresses", Value::text("unknown"))
            .with("port_security", Value::empty())
            .with("options", Value::map([("network_name", physical_network.as_str())]))
            .with("tag", tag)
            .with("enabled", Value::empty());
        rows.insert(localnet(network), wanted(columns));
        switch_refers.entry("ports").or_default().insert(localnet(network));
    }
    if let Some(columns) = gateway_columns(network).filter(|_| !has_router) {
        // It comes and goes as routers do.
        rows.insert(gateway(network), Wanted { derived: Derived::Whole, ..wanted(columns) });
        switch_refers.entry("ports").or_default().insert(gateway(network));
    }
    // OVN chooses the key on the wire (ADR 0038): one that we ask for may have to be taken from somebody who lives.
    let columns =
        Row::new().with("name", Value::text(format!("edgestack-{label}"))).with("other_config", Value::empty_map());
    rows.insert(switch(network), Wanted { references: switch_refers, ..wanted(columns) });
    guard::rows(network, rows);
    if spec.dhcp {
        for (subnet, key) in spec.subnets.iter().zip(dhcp_keys(network)) {
            rows.insert(key, wanted(dhcp::options(network, subnet)));
        }
    }
}

/// The network's switch.
pub(super) fn switch(network: &Network) -> Key {
    Key::new(Table::LogicalSwitch, network.id.to_string())
}

/// The names on it.
pub(super) fn dns(network: &Network) -> Key {
    Key::new(Table::Dns, network.id.to_string())
}

/// The router's addresses, where there is no router: somebody must be found under them, so that guests send what is
/// answered on the way, questions for names and for another day of their lease. A network outside has its own router.
fn gateway_columns(network: &Network) -> Option<Row> {
    if network.spec.network_type.is_provider() {
        return None;
    }
    let gateways: Vec<String> =
        network.spec.subnets.iter().filter_map(|subnet| subnet.gateway_ip).map(|ip| ip.to_string()).collect();
    (!gateways.is_empty()).then(|| {
        Row::new()
            .with("name", Value::text(format!("{}-gateway", network.id)))
            // One that each node has for itself: nothing is sent to it between them. ovn-nb(5), Logical_Switch_Port, `type`.
            .with("type", Value::text("localport"))
            .with("addresses", Value::text(format!("{} {}", dhcp::server_mac(network), gateways.join(" "))))
            .with("port_security", Value::empty())
            .with("options", Value::empty_map())
            .with("tag", Value::empty())
            .with("enabled", Value::empty())
    })
}

fn gateway(network: &Network) -> Key {
    Key::new(Table::LogicalSwitchPort, format!("{}-gateway", network.id))
}

fn localnet(network: &Network) -> Key {
    Key::new(Table::LogicalSwitchPort, format!("{}-localnet", network.id))
}

/// What DHCP tells, a row a prefix.
pub(super) fn dhcp_keys(network: &Network) -> impl Iterator<Item = Key> + '_ {
    (0..network.spec.subnets.len()).map(|at| Key::new(Table::DhcpOptions, format!("{}-{at}", network.id)))
}
