//! What a load balancer answers: a protocol, and the ports of one that has ports.

use std::{fmt, str::FromStr};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What a rule is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
    /// Echo requests and the like.
    Icmp,
}

impl Protocol {
    /// As users see it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Icmp => "icmp",
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.as_str())
    }
}

/// Ports, both ends included; the first is not after the last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub struct PortRange {
    /// The first.
    pub min: u16,
    /// The last.
    pub max: u16,
}

impl PortRange {
    /// How many they are.
    pub const fn count(self) -> usize {
        self.max.saturating_sub(self.min) as usize + 1
    }

    const fn overlaps(self, other: Self) -> bool {
        self.min <= other.max && other.min <= self.max
    }
}

/// What a load balancer answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub struct Rule {
    /// The protocol.
    pub protocol: Protocol,
    /// The ports; absent with one that has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ports: Option<PortRange>,
    /// The members' port that the first of these leads to, the next to the next one, and so on; the same port if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub member_port: Option<u16>,
}

/// Why there can be no such rule.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RuleError {
    /// TCP and UDP have ports.
    #[error("{0} has ports; give port_range_min and port_range_max, or one of them for a single port")]
    PortsMissing(Protocol),
    /// ICMP has none.
    #[error("icmp has no ports; leave them out")]
    NoPorts,
    /// No packet goes to port 0.
    #[error("a port is 1 to 65535, got 0")]
    PortZero,
    /// The range is empty.
    #[error("the range is upside down: {min} is after {max}; exchange them")]
    UpsideDown {
        /// Its first port.
        min: u16,
        /// Its last port.
        max: u16,
    },
    /// There are not so many ports.
    #[error("{count} ports from {member_port} on end after 65535; take a lower member_port")]
    MemberPort {
        /// How many it needs.
        count: usize,
        /// From which on.
        member_port: u16,
    },
    /// A name that no rule has.
    #[error("must be icmp, or a protocol and its ports such as tcp-80 or udp-5000-5010, got {0:?}")]
    Name(String),
}

impl Rule {
    /// A rule.
    ///
    /// # Errors
    /// The ports don't fit the protocol, or each other.
    pub fn new(
        protocol: Protocol,
        (min, max): (Option<u16>, Option<u16>),
        member_port: Option<u16>,
    ) -> Result<Self, RuleError> {
        let (min, max) = (min.or(max), max.or(min));
        let ports = match (protocol, min.zip(max)) {
            (Protocol::Icmp, None) if member_port.is_none() => None,
            (Protocol::Icmp, _) => return Err(RuleError::NoPorts),
            (Protocol::Tcp | Protocol::Udp, None) => return Err(RuleError::PortsMissing(protocol)),
            (Protocol::Tcp | Protocol::Udp, Some((min, max))) => Some(PortRange { min, max }),
        };
        if let Some(range) = ports {
            let PortRange { min, max } = range;
            if min == 0 || max == 0 || member_port == Some(0) {
                return Err(RuleError::PortZero);
            }
            if min > max {
                return Err(RuleError::UpsideDown { min, max });
            }
            let count = range.count();
            if let Some(member_port) = member_port.filter(|first| usize::from(*first) + count > 65_536) {
                return Err(RuleError::MemberPort { count, member_port });
            }
        }
        let is_same = ports.is_some_and(|ports| member_port == Some(ports.min));
        Ok(Self { protocol, ports, member_port: member_port.filter(|_| !is_same) })
    }

    /// Whether something would be answered by both.
    pub fn overlaps(&self, other: &Self) -> bool {
        self.protocol == other.protocol
            && match (self.ports, other.ports) {
                (Some(ports), Some(others)) => ports.overlaps(others),
                (None, _) | (_, None) => true,
            }
    }

    /// Each port, and the members' port that it leads to.
    pub fn port_pairs(&self) -> impl Iterator<Item = (u16, u16)> {
        let first = self.member_port.or(self.ports.map(|ports| ports.min)).unwrap_or_default();
        let ports = self.ports.map(|ports| ports.min..=ports.max).into_iter().flatten();
        ports.zip(first..=u16::MAX)
    }
}

/// A rule's name, `tcp-80`, `udp-5000-5010` or `icmp`: a load balancer has one of a name at most.
impl fmt::Display for Rule {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.ports {
            None => write!(out, "{}", self.protocol),
            Some(PortRange { min, max }) if min == max => write!(out, "{}-{min}", self.protocol),
            Some(PortRange { min, max }) => write!(out, "{}-{min}-{max}", self.protocol),
        }
    }
}

/// A rule by its name; its member port is not part of that.
impl FromStr for Rule {
    type Err = RuleError;
    fn from_str(text: &str) -> Result<Self, RuleError> {
        let wrong = || RuleError::Name(text.to_owned());
        let mut parts = text.split('-');
        let protocol = match parts.next() {
            Some("tcp") => Protocol::Tcp,
            Some("udp") => Protocol::Udp,
            Some("icmp") => Protocol::Icmp,
            Some(_) | None => return Err(wrong()),
        };
        let ports: Vec<u16> = parts.map(str::parse).collect::<Result<_, _>>().map_err(|_| wrong())?;
        match ports.as_slice() {
            [] => Self::new(protocol, (None, None), None),
            [port] => Self::new(protocol, (Some(*port), None), None),
            [min, max] => Self::new(protocol, (Some(*min), Some(*max)), None),
            [_, _, _, ..] => Err(wrong()),
        }
    }
}
