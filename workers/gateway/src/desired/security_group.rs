//! A security group: a port group of its NICs, with an ACL for each rule. OVN itself makes two sets of such a group's
//! addresses, `$NAME_ip4` and `$NAME_ip6`, which follow its NICs: ovn-nb(5), Port_Group.

use edgestack_model::{
    Id,
    realization::RealizationState,
    security_group::SecurityGroup,
    security_group_rule::{Direction, EtherType, Ports, Protocol, Remote, RuleSpec, SecurityGroupRule},
};
use edgestack_ovn::ovsdb::{Row, Value};
use edgestack_planted::{self as planted, Bug};

pub(crate) use super::guard::group_name;
use super::guard::{ALLOW, PRIORITY_ALLOW, acl_row};
use crate::rows::{Desired, Key, Owner, Table, Wanted};

/// The rows of a group, without its rules and NICs; none when it is on its way out.
pub(super) fn rows(group: &SecurityGroup, rows: &mut Desired) {
    if group.realization.state == RealizationState::Deleting {
        return;
    }
    let columns = Row::new().with("name", Value::text(group_name(group.id)));
    rows.insert(key(group.id), Wanted::new(Owner::SecurityGroup(group.id), columns, group.meta.name.as_str()));
}

/// The row of a rule, and what its group's row has of it.
pub(super) fn rule_rows(rule: &SecurityGroupRule, rows: &mut Desired) {
    if rule.realization.state == RealizationState::Deleting && !planted::is(Bug::RemovedRuleStays) {
        return;
    }
    let Some(group) = rows.get_mut(&key(rule.spec.group)) else { return };
    let key = Key::new(Table::Acl, rule.id.to_string());
    group.references.entry("acls").or_default().insert(key.clone());
    let direction = match rule.spec.direction {
        Direction::Ingress => "to-lport",
        Direction::Egress => "from-lport",
    };
    let columns = acl_row(direction, PRIORITY_ALLOW, &matches(&rule.spec), ALLOW);
    rows.insert(key, Wanted::new(Owner::SecurityGroupRule(rule.id), columns, rule.meta.name.as_str()));
}

/// A group's row.
pub(super) fn key(group: Id<SecurityGroup>) -> Key {
    Key::new(Table::PortGroup, group.to_string())
}

/// The packets that a rule is about. Source of the words: ovn-sb(5), Logical_Flow, `match`.
pub(crate) fn matches(rule: &RuleSpec) -> String {
    let (port, side) = match rule.direction {
        Direction::Ingress => ("outport", "src"),
        Direction::Egress => ("inport", "dst"),
    };
    let (family, number) = match rule.ether_type {
        EtherType::Ipv4 => ("ip4", "4"),
        EtherType::Ipv6 => ("ip6", "6"),
    };
    let mut parts = vec![format!("{port} == @{}", group_name(rule.group)), family.to_owned()];
    match rule.remote {
        Remote::Any => {}
        Remote::Prefix { .. } if planted::is(Bug::RemotePrefixLeftOut) => {}
        Remote::Prefix { prefix } => parts.push(format!("{family}.{side} == {prefix}")),
        Remote::Group { group } => parts.push(format!("{family}.{side} == ${}_ip{number}", group_name(group))),
    }
    let to_ports = |protocol: &str, ports: Option<Ports>| match ports {
        None => vec![protocol.to_owned()],
        Some(ports) if ports.min() == ports.max() => vec![format!("{protocol}.dst == {}", ports.min())],
        Some(ports) => {
            vec![format!("{protocol}.dst >= {}", ports.min()), format!("{protocol}.dst <= {}", ports.max())]
        }
    };
    parts.extend(match rule.protocol {
        Protocol::Any => vec![],
        Protocol::Tcp { ports } => to_ports("tcp", ports),
        Protocol::Udp { ports } => to_ports("udp", ports),
        Protocol::Sctp { ports } => to_ports("sctp", ports),
        Protocol::Icmp { icmp_type, icmp_code } => {
            let icmp = format!("icmp{number}");
            let of_type = icmp_type.map(|icmp_type| format!("{icmp}.type == {icmp_type}"));
            let of_code = icmp_code.map(|code| format!("{icmp}.code == {code}"));
            [icmp].into_iter().chain(of_type).chain(of_code).collect()
        }
        Protocol::Number { number } => vec![format!("ip.proto == {number}")],
    });
    parts.join(" && ")
}
