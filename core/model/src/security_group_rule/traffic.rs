//! Which packets a rule is about.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Id, address::Cidr, security_group::SecurityGroup};

/// In which direction, as the NIC's VM sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// To the VM.
    Ingress,
    /// From the VM.
    Egress,
}

impl Direction {
    /// As users see it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ingress => "ingress",
            Self::Egress => "egress",
        }
    }
}

/// Which family. Source of the words: OpenStack Networking, `ethertype`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub enum EtherType {
    /// IPv4.
    #[default]
    #[serde(rename = "IPv4")]
    Ipv4,
    /// IPv6.
    #[serde(rename = "IPv6")]
    Ipv6,
}

impl EtherType {
    /// As users see it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ipv4 => "IPv4",
            Self::Ipv6 => "IPv6",
        }
    }

    /// The family of a prefix.
    pub fn of(cidr: Cidr) -> Self {
        if cidr.is_ipv4() { Self::Ipv4 } else { Self::Ipv6 }
    }
}

/// Which protocol, and what of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "name", rename_all = "snake_case")]
pub enum Protocol {
    /// All of them.
    Any,
    /// ICMP; with IPv6 ICMPv6.
    Icmp {
        /// Which messages; all if absent. Source of the numbers: IANA, ICMP Parameters.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        icmp_type: Option<u8>,
        /// Which of the type; all if absent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        icmp_code: Option<u8>,
    },
    /// TCP.
    Tcp {
        /// To which ports; all if absent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        ports: Option<Ports>,
    },
    /// UDP.
    Udp {
        /// To which ports; all if absent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        ports: Option<Ports>,
    },
    /// SCTP.
    Sctp {
        /// To which ports; all if absent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        ports: Option<Ports>,
    },
    /// Another one. Source of the numbers: IANA, Assigned Internet Protocol Numbers.
    Number {
        /// Its number.
        number: u8,
    },
}

impl Protocol {
    /// The protocol of a number; those that have a name have it.
    pub const fn of_number(number: u8, ether_type: EtherType) -> Self {
        match (number, ether_type) {
            (1, EtherType::Ipv4) | (58, EtherType::Ipv6) => Self::Icmp { icmp_type: None, icmp_code: None },
            (6, _) => Self::Tcp { ports: None },
            (17, _) => Self::Udp { ports: None },
            (132, _) => Self::Sctp { ports: None },
            (number, _) => Self::Number { number },
        }
    }

    /// As users name it: `any`, `icmp`, `tcp`, `udp`, `sctp` or a number.
    pub fn word(self) -> String {
        match self {
            Self::Any => "any".to_owned(),
            Self::Icmp { .. } => "icmp".to_owned(),
            Self::Tcp { .. } => "tcp".to_owned(),
            Self::Udp { .. } => "udp".to_owned(),
            Self::Sctp { .. } => "sctp".to_owned(),
            Self::Number { number } => number.to_string(),
        }
    }

    /// What of it, if not all: `22`, `8000-8100`, `type 8`, `type 3 code 4`.
    pub fn part(self) -> Option<String> {
        match self {
            Self::Tcp { ports } | Self::Udp { ports } | Self::Sctp { ports } => ports.map(|ports| ports.to_string()),
            Self::Icmp { icmp_type: Some(icmp_type), icmp_code: None } => Some(format!("type {icmp_type}")),
            Self::Icmp { icmp_type: Some(icmp_type), icmp_code: Some(code) } => {
                Some(format!("type {icmp_type} code {code}"))
            }
            Self::Icmp { icmp_type: None, .. } | Self::Any | Self::Number { .. } => None,
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.word())?;
        self.part().map_or(Ok(()), |part| write!(f, " {part}"))
    }
}

/// The ports from one to another, both included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "Ends", into = "Ends")]
#[schemars(with = "Ends")]
pub struct Ports {
    min: u16,
    max: u16,
}

/// Ports as they stand in the log.
#[derive(Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "Ports")]
struct Ends {
    /// The first port.
    #[schemars(range(min = 1))]
    min: u16,
    /// The last port.
    #[schemars(range(min = 1))]
    max: u16,
}

/// Why two numbers are no range of ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PortsError {
    /// Port 0 is nobody's.
    #[error("ports are 1 to 65535, got 0")]
    Zero,
    /// The last before the first.
    #[error("{min} is above {max}; give the lower port first")]
    UpsideDown {
        /// The first.
        min: u16,
        /// The last.
        max: u16,
    },
}

impl Ports {
    /// From `min` to `max`.
    ///
    /// # Errors
    /// See [`PortsError`].
    pub const fn new(min: u16, max: u16) -> Result<Self, PortsError> {
        if min == 0 || max == 0 {
            return Err(PortsError::Zero);
        }
        if min > max {
            return Err(PortsError::UpsideDown { min, max });
        }
        Ok(Self { min, max })
    }

    /// The first port.
    pub const fn min(self) -> u16 {
        self.min
    }

    /// The last port.
    pub const fn max(self) -> u16 {
        self.max
    }
}

impl TryFrom<Ends> for Ports {
    type Error = PortsError;
    fn try_from(ends: Ends) -> Result<Self, PortsError> {
        Self::new(ends.min, ends.max)
    }
}

impl From<Ports> for Ends {
    fn from(ports: Ports) -> Self {
        Self { min: ports.min, max: ports.max }
    }
}

impl fmt::Display for Ports {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.min == self.max { write!(f, "{}", self.min) } else { write!(f, "{}-{}", self.min, self.max) }
    }
}

/// From where, or to where.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "is", rename_all = "snake_case")]
pub enum Remote {
    /// Anybody.
    Any,
    /// Who has an address of a prefix.
    Prefix {
        /// Which.
        prefix: Cidr,
    },
    /// The NICs of a group, whichever they are at a time.
    Group {
        /// Which.
        group: Id<SecurityGroup>,
    },
}
