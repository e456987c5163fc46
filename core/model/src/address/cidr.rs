//! IP prefixes.

use std::{borrow::Cow, fmt, net::IpAddr, str::FromStr};

use ipnet::IpNet;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

/// An IP prefix without host bits, `10.1.0.0/24` or `fd00:1::/64`.
/// Source: RFC 4632, section 3.1; RFC 4291, section 2.3.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Cidr(IpNet);

/// Why a text is no prefix; a sentence that tells the rule.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CidrError {
    /// Another form.
    #[error("must be an IP prefix such as 10.1.0.0/24 or fd00:1::/64, got {0:?}")]
    Form(String),
    /// An address in the prefix rather than the prefix.
    #[error("{given} has host bits; the prefix is {prefix}")]
    HostBits {
        /// What was given.
        given: String,
        /// The prefix that it is in.
        prefix: String,
    },
}

impl Cidr {
    /// The first address.
    pub fn first(self) -> IpAddr {
        self.0.network()
    }

    /// The last address.
    pub fn last(self) -> IpAddr {
        self.0.broadcast()
    }

    /// How many bits are fixed.
    pub fn prefix_length(self) -> u8 {
        self.0.prefix_len()
    }

    /// Whether it is of IPv4.
    pub fn is_ipv4(self) -> bool {
        matches!(self.0, IpNet::V4(_))
    }

    /// Whether an address is in it.
    pub fn contains(self, address: IpAddr) -> bool {
        self.0.contains(&address)
    }

    /// Whether two have addresses in common.
    pub fn overlaps(self, other: Self) -> bool {
        self.contains(other.first()) || other.contains(self.first())
    }

    /// The first address that a host can have: the second, IPv4's first being the network's own and IPv6's the
    /// routers' anycast (RFC 4291, section 2.6.1).
    pub fn first_host(self) -> IpAddr {
        number_to(self.is_ipv4(), number(self.first()).saturating_add(1))
    }

    /// The last address that a host can have: IPv4's last is the broadcast address (RFC 919).
    pub fn last_host(self) -> IpAddr {
        let last = number(self.last());
        number_to(self.is_ipv4(), if self.is_ipv4() { last.saturating_sub(1) } else { last })
    }

    /// Whether a host can have an address of it.
    pub fn is_host(self, address: IpAddr) -> bool {
        self.contains(address) && (self.first_host()..=self.last_host()).contains(&address)
    }
}

/// An address as a number; those of one family are in the same order.
pub(super) fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => u128::from(u32::from(address)),
        IpAddr::V6(address) => u128::from(address),
    }
}

/// The address of a number; what is too large for IPv4 is its last.
pub(super) fn number_to(ipv4: bool, number: u128) -> IpAddr {
    if ipv4 { IpAddr::V4(u32::try_from(number).unwrap_or(u32::MAX).into()) } else { IpAddr::V6(number.into()) }
}

impl FromStr for Cidr {
    type Err = CidrError;
    fn from_str(text: &str) -> Result<Self, CidrError> {
        let net: IpNet = text.parse().map_err(|_| CidrError::Form(text.to_owned()))?;
        let prefix = net.trunc();
        if prefix != net {
            return Err(CidrError::HostBits { given: text.to_owned(), prefix: prefix.to_string() });
        }
        Ok(Self(net))
    }
}

impl TryFrom<String> for Cidr {
    type Error = CidrError;
    fn try_from(text: String) -> Result<Self, CidrError> {
        text.parse()
    }
}

impl From<Cidr> for String {
    fn from(cidr: Cidr) -> Self {
        cidr.to_string()
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl JsonSchema for Cidr {
    fn schema_name() -> Cow<'static, str> {
        "Cidr".into()
    }
    fn json_schema(_generator: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "string", "description": "An IP prefix without host bits.", "pattern": "^[0-9a-f.:]+/[0-9]{1,3}$"})
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_prefix_is_refused_with_the_prefix_that_was_meant() {
        for bad in ["", "10.0.0.0", "10.0.0.0/33", "a/8", "fd00::/129", "10.0.0/8"] {
            assert_eq!(bad.parse::<Cidr>(), Err(CidrError::Form(bad.to_owned())));
        }
        let error = "10.1.2.3/16".parse::<Cidr>().unwrap_err();
        assert_eq!(error.to_string(), "10.1.2.3/16 has host bits; the prefix is 10.1.0.0/16");
    }

    #[test]
    fn hosts_leave_out_what_no_host_can_have() {
        for (cidr, first, last) in
            [("10.0.0.0/29", "10.0.0.1", "10.0.0.6"), ("fd00::/64", "fd00::1", "fd00::ffff:ffff:ffff:ffff")]
        {
            let cidr: Cidr = cidr.parse().unwrap();
            assert_eq!((cidr.first_host().to_string(), cidr.last_host().to_string()), (first.into(), last.into()));
            assert!(!cidr.is_host(cidr.first()));
        }
    }

    proptest::proptest! {
        #[test]
        fn parse_and_print_agree(bits: u32, length in 0_u8..=32) {
            let net = ipnet::Ipv4Net::new(bits.into(), length).unwrap().trunc();
            assert_eq!(net.to_string().parse::<Cidr>().unwrap().to_string(), net.to_string());
        }
    }
}
