//! Security group rules as they travel. Source of the fields: OpenStack Networking, `security-group-rules`.

use std::collections::BTreeMap;

use edgestack_model::{
    Id, Name, Waiting as ModelWaiting,
    command::Reference,
    security_group::SecurityGroup,
    security_group_rule::{self as model, Ports, SecurityGroupRuleCommand},
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::meta::{Meta, Waiting};
pub use crate::rule_request::{CreateSecurityGroupRule, RuleRequest};

/// A security group rule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SecurityGroupRule {
    /// Identity and bookkeeping.
    #[serde(flatten)]
    pub meta: Meta,
    /// `creating`, `active`, `updating`, `deleting`.
    #[schema(example = "active")]
    pub state: String,
    /// What it waits for, while it is not where it should be.
    pub waiting: Option<Waiting>,
    /// Its group's name.
    pub security_group: String,
    /// Its group.
    pub security_group_id: Uuid,
    /// In which direction, as the VM sees it.
    pub direction: Direction,
    /// Of which family.
    pub ether_type: EtherType,
    /// `any`, `icmp`, `tcp`, `udp`, `sctp`, or another one's number.
    #[schema(example = "tcp")]
    pub protocol: String,
    /// The first port; none: all ports.
    pub port_range_min: Option<u16>,
    /// The last port.
    pub port_range_max: Option<u16>,
    /// Which ICMP messages; none: all.
    pub icmp_type: Option<u8>,
    /// Which of the type; none: all.
    pub icmp_code: Option<u8>,
    /// Whose addresses it is about; none, and no group: anybody's.
    pub remote_ip_prefix: Option<String>,
    /// The name of the group whose NICs it is about.
    pub remote_group: Option<String>,
    /// The group whose NICs it is about.
    pub remote_group_id: Option<Uuid>,
}

/// In which direction, as the VM sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// To the VM.
    Ingress,
    /// From the VM.
    Egress,
}

/// Of which family. Lower case is taken, too.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub enum EtherType {
    /// IPv4.
    #[serde(rename = "IPv4", alias = "ipv4")]
    Ipv4,
    /// IPv6.
    #[serde(rename = "IPv6", alias = "ipv6")]
    Ipv6,
}

/// Something to do with a security group rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "action", rename_all = "snake_case", deny_unknown_fields)]
#[schema(example = json!({"action": "reconcile"}))]
pub enum SecurityGroupRuleAction {
    /// Looks at it again now, whatever it waits for. Needs a reason.
    Reconcile {},
    /// Forgets it, whatever is left of it in the virtual network, where the usual removal can't end. Needs a reason.
    ForceRemove {},
}

impl SecurityGroupRuleAction {
    /// The command that this action on a rule is.
    pub fn into_command(self, rule: Reference) -> SecurityGroupRuleCommand {
        match self {
            Self::Reconcile {} => SecurityGroupRuleCommand::Reconcile { rule },
            Self::ForceRemove {} => SecurityGroupRuleCommand::ForceRemove { rule },
        }
    }
}

impl SecurityGroupRule {
    /// A rule, what it waits for, and the names of the groups that it is about.
    pub fn of(
        rule: &model::SecurityGroupRule,
        waiting: Option<ModelWaiting>,
        names: &BTreeMap<Id<SecurityGroup>, Name>,
    ) -> Self {
        let attempts = rule.realization.failure.as_ref().map_or(0, |failure| failure.attempt);
        let name_of = |id: Id<SecurityGroup>| names.get(&id).map_or_else(|| id.to_string(), ToString::to_string);
        let (ports, (icmp_type, icmp_code)) = match rule.spec.protocol {
            model::Protocol::Tcp { ports } | model::Protocol::Udp { ports } | model::Protocol::Sctp { ports } => {
                (ports, (None, None))
            }
            model::Protocol::Icmp { icmp_type, icmp_code } => (None, (icmp_type, icmp_code)),
            model::Protocol::Any | model::Protocol::Number { .. } => (None, (None, None)),
        };
        let (prefix, group) = match rule.spec.remote {
            model::Remote::Any => (None, None),
            model::Remote::Prefix { prefix } => (Some(prefix.to_string()), None),
            model::Remote::Group { group } => (None, Some(group)),
        };
        Self {
            meta: Meta::of(rule.id.uuid(), &rule.meta),
            state: rule.realization.state.as_str().to_owned(),
            waiting: waiting.map(|waiting| Waiting::of(waiting, attempts)),
            security_group: name_of(rule.spec.group),
            security_group_id: rule.spec.group.uuid(),
            direction: rule.spec.direction.into(),
            ether_type: rule.spec.ether_type.into(),
            protocol: rule.spec.protocol.word(),
            port_range_min: ports.map(Ports::min),
            port_range_max: ports.map(Ports::max),
            icmp_type,
            icmp_code,
            remote_ip_prefix: prefix,
            remote_group: group.map(name_of),
            remote_group_id: group.map(Id::uuid),
        }
    }
}

impl From<Direction> for model::Direction {
    fn from(of: Direction) -> Self {
        match of {
            Direction::Ingress => Self::Ingress,
            Direction::Egress => Self::Egress,
        }
    }
}

impl From<model::Direction> for Direction {
    fn from(of: model::Direction) -> Self {
        match of {
            model::Direction::Ingress => Self::Ingress,
            model::Direction::Egress => Self::Egress,
        }
    }
}

impl From<EtherType> for model::EtherType {
    fn from(of: EtherType) -> Self {
        match of {
            EtherType::Ipv4 => Self::Ipv4,
            EtherType::Ipv6 => Self::Ipv6,
        }
    }
}

impl From<model::EtherType> for EtherType {
    fn from(of: model::EtherType) -> Self {
        match of {
            model::EtherType::Ipv4 => Self::Ipv4,
            model::EtherType::Ipv6 => Self::Ipv6,
        }
    }
}
