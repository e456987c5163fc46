//! Ranges of addresses.

use std::{fmt, net::IpAddr};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    cidr::{number, number_to},
    schema::Ip,
};

/// The addresses from one to another, both included, of one family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "Ends", into = "Ends")]
#[schemars(with = "Ends")]
pub struct IpRange {
    start: IpAddr,
    end: IpAddr,
}

/// A range as it stands in the log.
#[derive(Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "IpRange")]
struct Ends {
    /// The first address.
    #[schemars(with = "Ip")]
    start: IpAddr,
    /// The last address.
    #[schemars(with = "Ip")]
    end: IpAddr,
}

/// Why two addresses are no range.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IpRangeError {
    /// The last before the first.
    #[error("{start} is behind {end}; give the lower address first")]
    UpsideDown {
        /// The first.
        start: IpAddr,
        /// The last.
        end: IpAddr,
    },
    /// One of IPv4, one of IPv6.
    #[error("{start} and {end} are of two families")]
    TwoFamilies {
        /// The first.
        start: IpAddr,
        /// The last.
        end: IpAddr,
    },
}

impl IpRange {
    /// From `start` to `end`.
    ///
    /// # Errors
    /// See [`IpRangeError`].
    pub fn new(start: IpAddr, end: IpAddr) -> Result<Self, IpRangeError> {
        if start.is_ipv4() != end.is_ipv4() {
            return Err(IpRangeError::TwoFamilies { start, end });
        }
        if start > end {
            return Err(IpRangeError::UpsideDown { start, end });
        }
        Ok(Self { start, end })
    }

    /// The first address.
    pub fn start(self) -> IpAddr {
        self.start
    }

    /// The last address.
    pub fn end(self) -> IpAddr {
        self.end
    }

    /// Whether an address is in it.
    pub fn contains(self, address: IpAddr) -> bool {
        address.is_ipv4() == self.start.is_ipv4() && (self.start..=self.end).contains(&address)
    }

    /// Whether two have addresses in common.
    pub fn overlaps(self, other: Self) -> bool {
        self.contains(other.start) || other.contains(self.start)
    }

    /// How many addresses it has; the most that a number holds for what is larger.
    pub fn size(self) -> u128 {
        (number(self.end) - number(self.start)).saturating_add(1)
    }

    /// The first address that `taken` doesn't hold.
    pub(super) fn first_free(self, taken: impl Fn(&IpAddr) -> bool) -> Option<IpAddr> {
        let ipv4 = self.start.is_ipv4();
        (number(self.start)..=number(self.end)).map(|at| number_to(ipv4, at)).find(|address| !taken(address))
    }
}

impl TryFrom<Ends> for IpRange {
    type Error = IpRangeError;
    fn try_from(ends: Ends) -> Result<Self, IpRangeError> {
        Self::new(ends.start, ends.end)
    }
}

impl From<IpRange> for Ends {
    fn from(range: IpRange) -> Self {
        Self { start: range.start, end: range.end }
    }
}

impl fmt::Display for IpRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.start, self.end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(start: &str, end: &str) -> IpRange {
        IpRange::new(start.parse().unwrap(), end.parse().unwrap()).unwrap()
    }

    #[test]
    fn a_range_upside_down_or_across_families_is_none() {
        let new = |start: &str, end: &str| IpRange::new(start.parse().unwrap(), end.parse().unwrap());
        assert!(matches!(new("10.0.0.2", "10.0.0.1"), Err(IpRangeError::UpsideDown { .. })));
        assert!(matches!(new("10.0.0.1", "fd00::1"), Err(IpRangeError::TwoFamilies { .. })));
        assert!(serde_json::from_str::<IpRange>(r#"{"start": "10.0.0.2", "end": "10.0.0.1"}"#).is_err());
    }

    #[test]
    fn ranges_overlap_where_they_share_an_address() {
        let one = range("10.0.0.10", "10.0.0.20");
        for (other, expect) in [
            (range("10.0.0.1", "10.0.0.9"), false),
            (range("10.0.0.1", "10.0.0.10"), true),
            (range("10.0.0.12", "10.0.0.13"), true),
            (range("10.0.0.1", "10.0.0.99"), true),
            (range("10.0.0.20", "10.0.0.20"), true),
            (range("10.0.0.21", "10.0.0.22"), false),
        ] {
            assert_eq!((one.overlaps(other), other.overlaps(one)), (expect, expect), "{other}");
        }
    }

    #[test]
    fn the_first_free_one_is_found_and_a_full_range_has_none() {
        let one = range("10.0.0.1", "10.0.0.3");
        assert_eq!(one.first_free(|at| at.to_string() == "10.0.0.1").unwrap().to_string(), "10.0.0.2");
        assert_eq!(one.first_free(|_| true), None);
        assert_eq!(one.size(), 3);
    }
}
