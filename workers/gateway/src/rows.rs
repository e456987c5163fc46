//! Rows of OVN's northbound database by names of our own, so that they can be compared before they exist.
//!
//! Sources of tables and columns: ovn-nb(5).

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use edgestack_model::{
    Id, floating_ip::FloatingIp, load_balancer::LoadBalancer, network::Network, router::Router,
    security_group::SecurityGroup, security_group_rule::SecurityGroupRule, vm::Vm,
};
use edgestack_ovn::ovsdb::Row;
use uuid::Uuid;

/// A table that we have rows in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Table {
    /// A network.
    LogicalSwitch,
    /// A NIC, a network's way to the outside, or who is found under its router's addresses. It lives only while a switch
    /// refers to it.
    LogicalSwitchPort,
    /// What DHCP tells on a prefix.
    DhcpOptions,
    /// Which names resolve on a network.
    Dns,
    /// A security group, or the NICs of a network through which only that passes which a group lets through.
    PortGroup,
    /// What is let through or dropped. It lives only while a port group refers to it.
    Acl,
    /// A router.
    LogicalRouter,
    /// A router's port on a network. It lives only while a router refers to it.
    LogicalRouterPort,
    /// Whose address is another one outside: a router's SNAT, or a floating IP. It lives only while a router refers to it.
    Nat,
    /// A router's route. It lives only while a router refers to it.
    StaticRoute,
    /// A neighbour of a router whom nobody need ask for his MAC address. Such a row has no room for marks.
    StaticMacBinding,
    /// By which node a router's traffic goes outside. It lives only while a router's port refers to it.
    GatewayChassis,
    /// What a load balancer answers of a protocol, and who answers.
    LoadBalancer,
    /// How often those are asked whether they live. It lives only while a load balancer refers to it.
    LoadBalancerHealthCheck,
}

impl Table {
    /// All of them.
    pub const ALL: [Self; 14] = [
        Self::LogicalSwitch,
        Self::LogicalSwitchPort,
        Self::DhcpOptions,
        Self::Dns,
        Self::PortGroup,
        Self::Acl,
        Self::LogicalRouter,
        Self::LogicalRouterPort,
        Self::Nat,
        Self::StaticRoute,
        Self::StaticMacBinding,
        Self::GatewayChassis,
        Self::LoadBalancer,
        Self::LoadBalancerHealthCheck,
    ];

    /// As the database calls it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::LogicalSwitch => "Logical_Switch",
            Self::LogicalSwitchPort => "Logical_Switch_Port",
            Self::DhcpOptions => "DHCP_Options",
            Self::Dns => "DNS",
            Self::PortGroup => "Port_Group",
            Self::Acl => "ACL",
            Self::LogicalRouter => "Logical_Router",
            Self::LogicalRouterPort => "Logical_Router_Port",
            Self::Nat => "NAT",
            Self::StaticRoute => "Logical_Router_Static_Route",
            Self::StaticMacBinding => "Static_MAC_Binding",
            Self::GatewayChassis => "Gateway_Chassis",
            Self::LoadBalancer => "Load_Balancer",
            Self::LoadBalancerHealthCheck => "Load_Balancer_Health_Check",
        }
    }

    /// The columns that refer to rows of other tables, each with that table.
    pub const fn references(self) -> &'static [(&'static str, Self)] {
        match self {
            Self::LogicalSwitch => {
                &[("ports", Self::LogicalSwitchPort), ("dns_records", Self::Dns), ("load_balancer", Self::LoadBalancer)]
            }
            Self::LogicalSwitchPort => &[("dhcpv4_options", Self::DhcpOptions), ("dhcpv6_options", Self::DhcpOptions)],
            Self::PortGroup => &[("ports", Self::LogicalSwitchPort), ("acls", Self::Acl)],
            Self::LogicalRouter => &[
                ("ports", Self::LogicalRouterPort),
                ("nat", Self::Nat),
                ("static_routes", Self::StaticRoute),
                ("load_balancer", Self::LoadBalancer),
            ],
            Self::LoadBalancer => &[("health_check", Self::LoadBalancerHealthCheck)],
            Self::LogicalRouterPort => &[("gateway_chassis", Self::GatewayChassis)],
            Self::DhcpOptions
            | Self::Dns
            | Self::Acl
            | Self::Nat
            | Self::StaticRoute
            | Self::StaticMacBinding
            | Self::GatewayChassis
            | Self::LoadBalancerHealthCheck => &[],
        }
    }

    /// What keeps a row of it alive: it is gone when nothing refers to it, and can't be removed before.
    pub const fn kept_by(self) -> &'static [(Self, &'static str)] {
        match self {
            Self::LogicalSwitchPort => &[(Self::LogicalSwitch, "ports")],
            Self::Acl => &[(Self::PortGroup, "acls"), (Self::LogicalSwitch, "acls")],
            Self::LogicalRouterPort => &[(Self::LogicalRouter, "ports")],
            Self::Nat => &[(Self::LogicalRouter, "nat")],
            Self::StaticRoute => &[(Self::LogicalRouter, "static_routes")],
            Self::GatewayChassis => &[(Self::LogicalRouterPort, "gateway_chassis")],
            Self::LoadBalancerHealthCheck => &[(Self::LoadBalancer, "health_check")],
            Self::LogicalSwitch
            | Self::DhcpOptions
            | Self::Dns
            | Self::PortGroup
            | Self::LogicalRouter
            | Self::StaticMacBinding
            | Self::LoadBalancer => &[],
        }
    }

    /// Whether a column that refers to rows has room for one only; what others put there stands in the way of ours.
    pub fn has_room_for_one(self, column: &str) -> bool {
        self == Self::LogicalSwitchPort && ["dhcpv4_options", "dhcpv6_options"].contains(&column)
    }

    /// All columns that we read.
    pub const fn all_columns(self) -> &'static [&'static str] {
        match self {
            Self::LogicalSwitch => &["name", "other_config", "external_ids", "ports", "dns_records", "load_balancer"],
            Self::LogicalSwitchPort => &[
                "name",
                "type",
                "addresses",
                "port_security",
                "options",
                "tag",
                "enabled",
                "external_ids",
                "dhcpv4_options",
                "dhcpv6_options",
            ],
            Self::DhcpOptions => &["cidr", "options", "external_ids"],
            Self::Dns => &["records", "external_ids"],
            Self::PortGroup => &["name", "external_ids", "ports", "acls"],
            Self::Acl => &["direction", "priority", "match", "action", "external_ids"],
            Self::LogicalRouter => {
                &["name", "enabled", "options", "external_ids", "ports", "nat", "static_routes", "load_balancer"]
            }
            Self::LogicalRouterPort => {
                &["name", "mac", "networks", "ipv6_ra_configs", "enabled", "options", "external_ids", "gateway_chassis"]
            }
            Self::Nat => &["type", "external_ip", "logical_ip", "logical_port", "external_mac", "external_ids"],
            Self::StaticRoute => &["ip_prefix", "nexthop", "output_port", "policy", "external_ids"],
            Self::StaticMacBinding => &["logical_port", "ip", "mac", "override_dynamic_mac"],
            Self::GatewayChassis => &["name", "chassis_name", "priority", "external_ids"],
            Self::LoadBalancer => &[
                "name",
                "protocol",
                "vips",
                "selection_fields",
                "options",
                "ip_port_mappings",
                "external_ids",
                "health_check",
            ],
            Self::LoadBalancerHealthCheck => &["vip", "options", "external_ids"],
        }
    }

    /// What a row of it is to people.
    pub const fn word(self) -> &'static str {
        match self {
            Self::LogicalSwitch => "logical switch",
            Self::LogicalSwitchPort => "port",
            Self::DhcpOptions => "DHCP entry",
            Self::Dns => "DNS entry",
            Self::PortGroup => "port group",
            Self::Acl => "ACL",
            Self::LogicalRouter => "logical router",
            Self::LogicalRouterPort => "router port",
            Self::Nat => "NAT entry",
            Self::StaticRoute => "route",
            Self::StaticMacBinding => "MAC binding",
            Self::GatewayChassis => "gateway chassis",
            Self::LoadBalancer => "load balancer entry",
            Self::LoadBalancerHealthCheck => "health check",
        }
    }

    /// Whether its rows have `external_ids`. Where they have none, a row is ours by the port of ours that it is about.
    pub const fn has_marks(self) -> bool {
        match self {
            Self::StaticMacBinding => false,
            Self::LogicalSwitch
            | Self::LogicalSwitchPort
            | Self::DhcpOptions
            | Self::Dns
            | Self::PortGroup
            | Self::Acl
            | Self::LogicalRouter
            | Self::LogicalRouterPort
            | Self::Nat
            | Self::StaticRoute
            | Self::GatewayChassis
            | Self::LoadBalancer
            | Self::LoadBalancerHealthCheck => true,
        }
    }
}

/// A row's name: the table, and an id of ours that the row carries in `external_ids`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key {
    /// The table.
    pub table: Table,
    /// The id, chosen by the log before there is a row.
    pub id: String,
}

impl Key {
    /// A row's name.
    pub fn new(table: Table, id: impl Into<String>) -> Self {
        Self { table, id: id.into() }
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.table.word(), self.id)
    }
}

/// Whose row it is: who is told when others change it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Owner {
    /// A network's.
    Network(Id<Network>),
    /// A security group's.
    SecurityGroup(Id<SecurityGroup>),
    /// A security group rule's.
    SecurityGroupRule(Id<SecurityGroupRule>),
    /// A router's.
    Router(Id<Router>),
    /// A floating IP's.
    FloatingIp(Id<FloatingIp>),
    /// A load balancer's.
    LoadBalancer(Id<LoadBalancer>),
    /// A NIC's, by VM and number.
    Nic(Id<Vm>, u32),
    /// A probe's, which nobody is told of.
    Probe(Uuid),
}

/// A row that there shall be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Whose it is.
    pub owner: Owner,
    /// Its columns, `external_ids` and references left out.
    pub columns: Row,
    /// What it refers to, by column.
    pub references: BTreeMap<&'static str, BTreeSet<Key>>,
    /// What people see in `external_ids` besides our ids: the object's name.
    pub label: String,
    /// What of it follows from another object than its owner.
    pub derived: Derived,
    /// Of what it refers to, that which may have been wished only now.
    pub unsettled: BTreeSet<Key>,
}

/// What of a row follows from another object than its owner, which may have been wished otherwise since the row was
/// written: who doesn't know what was written last can't tell it from others' doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Derived {
    /// Nothing.
    Nothing,
    /// These columns, such as the names on a network.
    Columns(&'static [&'static str]),
    /// That it is there at all.
    Whole,
}

impl Wanted {
    /// A row that refers to nothing, and follows from its owner alone.
    pub fn new(owner: Owner, columns: Row, label: impl Into<String>) -> Self {
        Self {
            owner,
            columns,
            references: BTreeMap::new(),
            label: label.into(),
            derived: Derived::Nothing,
            unsettled: BTreeSet::new(),
        }
    }
}

/// All rows that there shall be.
pub type Desired = BTreeMap<Key, Wanted>;

/// A row of ours that there is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeenRow {
    /// The row.
    pub uuid: Uuid,
    /// The form that it was written in ([`crate::desired::FORM`] of that time).
    pub form: String,
    /// The name that it carries for people.
    pub label: String,
    /// Its columns, `external_ids` and references left out.
    pub columns: Row,
    /// Rows of ours that it refers to, by column; what is not ours is left out and left alone.
    pub references: BTreeMap<&'static str, BTreeMap<Key, Uuid>>,
}

/// All rows of ours that there are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// By name.
    pub rows: BTreeMap<Key, SeenRow>,
    /// Rows that carry a name which another row has, too: copies that others made.
    pub doubles: BTreeSet<(Table, Uuid)>,
}
