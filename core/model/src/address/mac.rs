//! MAC addresses.

use std::{
    borrow::Cow,
    fmt,
    net::{IpAddr, Ipv6Addr},
    str::FromStr,
};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

use super::Cidr;

/// The MAC address of a NIC, `fa:16:3e:00:00:01`: unicast, six octets, written in lower case.
/// Source: IEEE 802, section 8.2.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Mac([u8; 6]);

/// Why a text is no MAC address of a NIC.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MacError {
    /// Another form.
    #[error("must be six octets such as fa:16:3e:00:00:01, got {0:?}")]
    Form(String),
    /// No NIC can send from it.
    #[error("{0} is a group address or all zeros; a NIC's is unicast (its first octet even)")]
    NotUnicast(String),
}

impl Mac {
    /// In the range that OpenStack gives to virtual NICs, `fa:16:3e`, by 24 bits.
    pub fn in_range(number: u32) -> Self {
        let [_, a, b, c] = number.to_be_bytes();
        Self([0xfa, 0x16, 0x3e, a, b, c])
    }

    /// Beside the addresses of VMs: what is of the network itself, by 24 bits.
    pub fn of_infrastructure(number: u32) -> Self {
        let [_, a, b, c] = number.to_be_bytes();
        Self([0xfe, 0x16, 0x3e, a, b, c])
    }

    /// Beside both: of an IP address that is no NIC's, by that address alone. Those who remember the one know the other.
    pub fn of_address(address: IpAddr) -> Self {
        let (family, [a, b, c, d]) = match address {
            IpAddr::V4(address) => (0x17, address.octets()),
            // Of one prefix hardly two have the same.
            IpAddr::V6(address) => {
                let bits = address.to_bits();
                let [.., a, b, c, d] = (bits ^ (bits >> 32) ^ (bits >> 64) ^ (bits >> 96)).to_be_bytes();
                (0x18, [a, b, c, d])
            }
        };
        Self([0xfe, family, a, b, c, d])
    }

    /// Its six octets.
    pub const fn octets(self) -> [u8; 6] {
        self.0
    }

    /// The address that a host makes of it in an IPv6 prefix of 64 bits. Source: RFC 4291, appendix A (modified EUI-64).
    pub fn slaac(self, prefix: Cidr) -> IpAddr {
        let [a, b, c, d, e, f] = self.0;
        let host = u64::from_be_bytes([a ^ 0x02, b, c, 0xff, 0xfe, d, e, f]);
        let network = super::cidr::number(prefix.first());
        IpAddr::V6(Ipv6Addr::from(network | u128::from(host)))
    }
}

impl FromStr for Mac {
    type Err = MacError;
    fn from_str(text: &str) -> Result<Self, MacError> {
        let form = || MacError::Form(text.to_owned());
        let mut octets = [0; 6];
        let mut parts = text.split(':');
        for octet in &mut octets {
            let part = parts.next().filter(|part| part.len() == 2).ok_or_else(form)?;
            // A sign would be taken by the parser.
            if !part.bytes().all(|digit| digit.is_ascii_hexdigit()) {
                return Err(form());
            }
            *octet = u8::from_str_radix(part, 16).map_err(|_| form())?;
        }
        if parts.next().is_some() {
            return Err(form());
        }
        if octets[0] & 1 == 1 || octets == [0; 6] {
            return Err(MacError::NotUnicast(text.to_owned()));
        }
        Ok(Self(octets))
    }
}

impl TryFrom<String> for Mac {
    type Error = MacError;
    fn try_from(text: String) -> Result<Self, MacError> {
        text.parse()
    }
}

impl From<Mac> for String {
    fn from(mac: Mac) -> Self {
        mac.to_string()
    }
}

impl fmt::Display for Mac {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, f] = self.0;
        write!(out, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{f:02x}")
    }
}

impl JsonSchema for Mac {
    fn schema_name() -> Cow<'static, str> {
        "Mac".into()
    }
    fn json_schema(_generator: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "string", "description": "A unicast MAC address.", "pattern": "^[0-9a-f]{2}(:[0-9a-f]{2}){5}$"})
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_no_nic_can_have_is_refused() {
        for bad in ["", "fa:16:3e:00:00", "fa:16:3e:00:00:01:02", "fa-16-3e-00-00-01", "fa:16:3e:00:00:+1"] {
            assert_eq!(bad.parse::<Mac>(), Err(MacError::Form(bad.to_owned())));
        }
        for bad in ["01:00:5e:00:00:01", "ff:ff:ff:ff:ff:ff", "00:00:00:00:00:00"] {
            assert_eq!(bad.parse::<Mac>(), Err(MacError::NotUnicast(bad.to_owned())));
        }
        assert_eq!("FA:16:3E:00:00:0A".parse::<Mac>().unwrap().to_string(), "fa:16:3e:00:00:0a");
    }

    #[test]
    fn the_address_that_a_host_makes_is_as_the_rfc_says() {
        let mac: Mac = "34:56:78:9a:bc:de".parse().unwrap();
        assert_eq!(mac.slaac("fd00:1::/64".parse().unwrap()).to_string(), "fd00:1::3656:78ff:fe9a:bcde");
    }

    #[test]
    fn an_address_that_is_no_nics_has_a_mac_address_that_follows_from_it() {
        let of = |ip: &str| Mac::of_address(ip.parse().unwrap()).to_string();
        assert_eq!(
            (of("10.0.0.50"), of("fd00:5::50")),
            ("fe:17:0a:00:00:32".to_owned(), "fe:18:fd:00:00:55".to_owned())
        );
        assert_ne!(of("fd00:5::1:0:0:50"), of("fd00:5::50"));
    }

    proptest::proptest! {
        #[test]
        fn parse_and_print_agree(number in 0_u32..1 << 24) {
            let mac = Mac::in_range(number);
            assert_eq!(mac.to_string().parse(), Ok(mac));
        }
    }
}
