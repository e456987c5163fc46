//! A network's guard: the NICs on it through which only that passes which a security group lets through. All else is
//! dropped, each NIC's questions for its addresses left out.
//!
//! Source of the numbers and of what stays allowed (neighbour discovery, OVN's own answers): ovn-nb(5), ACL; ovn-northd(8),
//! "Ingress Table 9: from-lport ACLs".

use std::collections::BTreeMap;

use edgestack_model::{Id, network::Network};
use edgestack_ovn::ovsdb::{Row, Value};

use crate::rows::{Desired, Key, Owner, Table, Wanted};

/// The larger number wins: what is let through, before what is dropped.
pub(super) const PRIORITY_ALLOW: i64 = 1002;
const PRIORITY_DROP: i64 = 1001;
/// Its answers pass, too.
pub(super) const ALLOW: &str = "allow-related";

/// The rows of a network's guard, without its NICs.
pub(super) fn rows(network: &Network, rows: &mut Desired) {
    let id = network.id;
    let name = group_name(id);
    let acl = |part: &str, columns: Row| (Key::new(Table::Acl, format!("{id}-{part}")), columns);
    let acls = [
        acl("drop-to", acl_row("to-lport", PRIORITY_DROP, &format!("outport == @{name} && ip"), "drop")),
        acl("drop-from", acl_row("from-lport", PRIORITY_DROP, &format!("inport == @{name} && ip"), "drop")),
        // RFC 2131, section 4.1; RFC 8415, section 7.2.
        acl(
            "dhcp",
            acl_row(
                "from-lport",
                PRIORITY_ALLOW,
                &format!(
                    "inport == @{name} && ((ip4 && udp.src == 68 && udp.dst == 67) || (ip6 && udp.src == 546 && udp.dst == 547))"
                ),
                ALLOW,
            ),
        ),
    ];
    let owner = Owner::Network(id);
    let wanted = |columns| Wanted::new(owner, columns, network.meta.name.as_str());
    let of_group = BTreeMap::from([("acls", acls.iter().map(|(key, _)| key.clone()).collect())]);
    let group = wanted(Row::new().with("name", Value::text(name)));
    rows.insert(key(network), Wanted { references: of_group, ..group });
    rows.extend(acls.into_iter().map(|(key, columns)| (key, wanted(columns))));
}

/// The port group of a network's guarded NICs.
pub(super) fn key(network: &Network) -> Key {
    Key::new(Table::PortGroup, network.id.to_string())
}

/// The name of the port group that is made for an object, fit for a match: ovn-sb(5), Logical_Flow, `match`.
pub(crate) fn group_name<K>(of: Id<K>) -> String {
    format!("edgestack_{}", of.uuid().simple())
}

/// What is done with what matches.
pub(super) fn acl_row(direction: &str, priority: i64, matches: &str, action: &str) -> Row {
    Row::new()
        .with("direction", Value::text(direction))
        .with("priority", Value::integer(priority))
        .with("match", Value::text(matches))
        .with("action", Value::text(action))
}
