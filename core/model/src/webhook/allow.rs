//! Where webhooks may deliver to: what the operator allows, and what is never reached by accident.
//!
//! The daemon speaks from inside the operator's network, to whatever address somebody writes into a request. So nothing
//! is allowed but what an entry of `--webhook-allow` names, and of that, addresses of the machine and of its cloud are
//! left out unless an entry is exactly that address. It is pure: names are resolved elsewhere, and each address that comes
//! out is checked here before it is connected to.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    str::FromStr,
};

use super::url::{Host, Scheme, TargetUrl};

/// What the operator allows; empty: nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AllowList(Vec<Allowed>);

/// One entry: `[http://]HOST[:PORT]`, where HOST is a name, `*.` and a name (all below it), an address, or a range of
/// addresses as `10.0.0.0/8`, IPv6 in brackets when a port follows. Without a scheme it is for https alone; without a port
/// for that of the scheme, `:*` is every port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Allowed {
    scheme: Scheme,
    hosts: Hosts,
    port: Option<u16>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Hosts {
    Name(String),
    Below(String),
    Address(IpAddr),
    Range { first: IpAddr, length: u8 },
}

/// Why a target is not allowed; a sentence with the fix.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotAllowed {
    /// The list is empty.
    #[error(
        "this site allows no webhook targets; the operator allows one with the option --webhook-allow {entry} of edgestackd"
    )]
    Nothing {
        /// The entry that would do.
        entry: String,
    },
    /// No entry names it.
    #[error(
        "{target} is not on this site's list of webhook targets; the operator allows it with the option --webhook-allow {entry} of edgestackd"
    )]
    NoEntry {
        /// The host, and the address that it leads to where that is the reason.
        target: String,
        /// The entry that would do.
        entry: String,
    },
    /// An address that is refused whatever ranges are allowed.
    #[error(
        "{target} is {what}, where webhooks never deliver to unless the operator allows exactly that address with the option --webhook-allow {entry} of edgestackd"
    )]
    Never {
        /// The host, and the address that it leads to.
        target: String,
        /// What the address is.
        what: &'static str,
        /// The entry that would do.
        entry: String,
    },
}

/// Why a text is no entry.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is none of HOST, *.HOST, ADDRESS, RANGE/LENGTH, with http:// before it for plain HTTP and :PORT or :* behind it; IPv6 with a port goes in brackets"
)]
pub struct BadEntry(String);

impl AllowList {
    /// These entries.
    pub fn new(entries: impl IntoIterator<Item = Allowed>) -> Self {
        Self(entries.into_iter().collect())
    }

    /// Whether a target may be registered: what its name leads to is known when it is delivered to, and checked then.
    ///
    /// # Errors
    /// [`NotAllowed`].
    pub fn check(&self, url: &TargetUrl, own: &[IpAddr]) -> Result<(), NotAllowed> {
        let name = match url.host() {
            Host::Address(address) => return self.check_address(url, *address, own),
            Host::Name(name) => name,
        };
        let could_do = |entry: &Allowed| match &entry.hosts {
            Hosts::Name(_) | Hosts::Below(_) => entry.names(name),
            // The name may lead there.
            Hosts::Address(_) | Hosts::Range { .. } => true,
        };
        if self.for_port(url).any(could_do) { Ok(()) } else { Err(self.no_entry(url, name.clone(), name)) }
    }

    /// Whether an address that a target's host leads to may be connected to. `own` are the node's addresses.
    ///
    /// # Errors
    /// [`NotAllowed`].
    pub fn check_address(&self, url: &TargetUrl, address: IpAddr, own: &[IpAddr]) -> Result<(), NotAllowed> {
        let plain = unwrapped(address);
        if self.for_port(url).any(|entry| entry.hosts == Hosts::Address(plain)) {
            return Ok(());
        }
        let target = match url.host() {
            Host::Address(_) => address.to_string(),
            Host::Name(name) => format!("{name}, which leads to {address},"),
        };
        let own = own.iter().any(|own| unwrapped(*own) == plain);
        if let Some(what) = never(plain).or_else(|| own.then_some("an address of this node")) {
            return Err(NotAllowed::Never { target, what, entry: entry_for(url, &bracketed(plain)) });
        }
        if self.for_port(url).any(|entry| entry.holds(plain)) {
            return Ok(());
        }
        let by_name = match url.host() {
            Host::Name(name) => self.for_port(url).any(|entry| entry.names(name)),
            Host::Address(_) => false,
        };
        // A name that is allowed may lead anywhere in public, and nowhere inside.
        if by_name && !is_private(plain) { Ok(()) } else { Err(self.no_entry(url, target, &bracketed(plain))) }
    }

    fn for_port<'a>(&'a self, url: &'a TargetUrl) -> impl Iterator<Item = &'a Allowed> {
        self.0.iter().filter(|entry| entry.scheme == url.scheme() && entry.port.is_none_or(|port| port == url.port()))
    }

    fn no_entry(&self, url: &TargetUrl, target: String, host: &str) -> NotAllowed {
        let entry = entry_for(url, host);
        if self.0.is_empty() { NotAllowed::Nothing { entry } } else { NotAllowed::NoEntry { target, entry } }
    }
}

impl Allowed {
    fn names(&self, name: &str) -> bool {
        match &self.hosts {
            Hosts::Name(allowed) => name == allowed,
            Hosts::Below(allowed) => name.strip_suffix(allowed.as_str()).is_some_and(|rest| rest.ends_with('.')),
            Hosts::Address(_) | Hosts::Range { .. } => false,
        }
    }

    fn holds(&self, address: IpAddr) -> bool {
        match &self.hosts {
            Hosts::Address(allowed) => *allowed == address,
            Hosts::Range { first, length } => in_range(address, *first, *length),
            Hosts::Name(_) | Hosts::Below(_) => false,
        }
    }
}

/// The entry that allows a target's host at its port.
fn entry_for(url: &TargetUrl, host: &str) -> String {
    let scheme = match url.scheme() {
        Scheme::Http => "http://",
        Scheme::Https => "",
    };
    if url.port() == url.scheme().default_port() {
        format!("{scheme}{host}")
    } else {
        format!("{scheme}{host}:{}", url.port())
    }
}

fn bracketed(address: IpAddr) -> String {
    match address {
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => format!("[{address}]"),
    }
}

/// The IPv4 address in an IPv6 one that only wraps it (mapped, compatible, NAT64, 6to4).
fn unwrapped(address: IpAddr) -> IpAddr {
    let IpAddr::V6(v6) = address else { return address };
    let octets = v6.octets();
    let segments = v6.segments();
    let v4 = |at: usize| IpAddr::V4(Ipv4Addr::new(octets[at], octets[at + 1], octets[at + 2], octets[at + 3]));
    match segments {
        [0, 0, 0, 0, 0, 0xffff, _, _] | [0x64, 0xff9b, 0, 0, 0, 0, _, _] => v4(12),
        // ::1 and :: are addresses of their own.
        [0, 0, 0, 0, 0, 0, high, _] if high > 0 => v4(12),
        [0x2002, ..] => v4(2),
        _ => address,
    }
}

/// Addresses that no name and no range opens, by the special-purpose registries of IANA (RFC 6890) and the metadata
/// services of clouds.
fn never(address: IpAddr) -> Option<&'static str> {
    const METADATA: [IpAddr; 5] = [
        // AWS, Azure, Google, OpenStack and others.
        IpAddr::V4(Ipv4Addr::new(169, 254, 169, 254)),
        // Alibaba, Oracle.
        IpAddr::V4(Ipv4Addr::new(100, 100, 100, 200)),
        IpAddr::V4(Ipv4Addr::new(192, 0, 0, 192)),
        // AWS, Google.
        IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254)),
        IpAddr::V6(Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254)),
    ];
    if METADATA.contains(&address) {
        return Some("the metadata service of a cloud");
    }
    match address {
        IpAddr::V4(v4) => match v4.octets() {
            [0, ..] => Some("an unspecified address"),
            [127, ..] => Some("a loopback address"),
            [169, 254, ..] => Some("a link-local address"),
            [224..=239, ..] => Some("a multicast address"),
            [240..=255, ..] => Some("a reserved or broadcast address"),
            _ => None,
        },
        IpAddr::V6(v6) => match v6.segments() {
            [0, 0, 0, 0, 0, 0, 0, 0] => Some("an unspecified address"),
            [0, 0, 0, 0, 0, 0, 0, 1] => Some("a loopback address"),
            [0xfe80..=0xfebf, ..] => Some("a link-local address"),
            [0xff00..=0xffff, ..] => Some("a multicast address"),
            _ => None,
        },
    }
}

/// Addresses of networks that are not the public one.
fn is_private(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => {
            let shared = matches!(v4.octets(), [100, 64..=127, ..]);
            let benchmark = matches!(v4.octets(), [198, 18..=19, ..]);
            let protocol = matches!(v4.octets(), [192, 0, 0, _]);
            v4.is_private() || shared || benchmark || protocol || v4.is_documentation()
        }
        // Unique local, and site-local of old.
        IpAddr::V6(v6) => matches!(v6.segments(), [0xfc00..=0xfdff, ..] | [0xfec0..=0xfeff, ..]),
    }
}

fn in_range(address: IpAddr, first: IpAddr, length: u8) -> bool {
    let (address, first, bits) = match (address, first) {
        (IpAddr::V4(address), IpAddr::V4(first)) => (u128::from(address.to_bits()), u128::from(first.to_bits()), 32_u8),
        (IpAddr::V6(address), IpAddr::V6(first)) => (address.to_bits(), first.to_bits(), 128),
        (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => return false,
    };
    let shift = u32::from(bits.saturating_sub(length));
    let top = |bits: u128| bits.checked_shr(shift).unwrap_or(0);
    top(address) == top(first)
}

impl FromStr for Allowed {
    type Err = BadEntry;
    fn from_str(text: &str) -> Result<Self, BadEntry> {
        let bad = || BadEntry(text.to_owned());
        let (scheme, rest) = match text.split_once("://") {
            None => (Scheme::Https, text),
            Some(("http", rest)) => (Scheme::Http, rest),
            Some(("https", rest)) => (Scheme::Https, rest),
            Some(_) => return Err(bad()),
        };
        let (hosts, port) = match rest.strip_prefix('[') {
            Some(rest) => {
                let (hosts, port) = rest.split_once(']').ok_or_else(bad)?;
                let port = if port.is_empty() { None } else { Some(port.strip_prefix(':').ok_or_else(bad)?) };
                (hosts, port)
            }
            None if rest.matches(':').count() > 1 => (rest, None),
            None => rest.split_once(':').map_or((rest, None), |(hosts, port)| (hosts, Some(port))),
        };
        let port = match port {
            None => Some(scheme.default_port()),
            Some("*") => None,
            Some(port) => Some(port.parse().ok().filter(|port| *port > 0).ok_or_else(bad)?),
        };
        Ok(Self { scheme, hosts: hosts.parse().map_err(|()| bad())?, port })
    }
}

impl FromStr for Hosts {
    type Err = ();
    fn from_str(text: &str) -> Result<Self, ()> {
        if let Some((first, length)) = text.split_once('/') {
            let first = unwrapped(first.parse().map_err(|_| ())?);
            let bits = if first.is_ipv4() { 32 } else { 128 };
            let length: u8 = length.parse().map_err(|_| ())?;
            return match length {
                length if length > bits => Err(()),
                // The whole of a range of one is that address, as people who write it mean.
                length if length == bits => Ok(Self::Address(first)),
                length => Ok(Self::Range { first, length }),
            };
        }
        if let Ok(address) = text.parse::<IpAddr>() {
            return Ok(Self::Address(unwrapped(address)));
        }
        let (below, name) = match text.strip_prefix("*.") {
            Some(name) => (true, name),
            None => (false, text),
        };
        match name.parse() {
            Ok(Host::Name(name)) if below => Ok(Self::Below(name)),
            Ok(Host::Name(name)) => Ok(Self::Name(name)),
            Ok(Host::Address(_)) | Err(_) => Err(()),
        }
    }
}

impl fmt::Display for Allowed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.scheme == Scheme::Http {
            f.write_str("http://")?;
        }
        match &self.hosts {
            Hosts::Name(name) => f.write_str(name)?,
            Hosts::Below(name) => write!(f, "*.{name}")?,
            Hosts::Address(IpAddr::V4(address)) => address.fmt(f)?,
            Hosts::Address(IpAddr::V6(address)) => write!(f, "[{address}]")?,
            Hosts::Range { first: IpAddr::V4(first), length } => write!(f, "{first}/{length}")?,
            Hosts::Range { first: IpAddr::V6(first), length } => write!(f, "[{first}/{length}]")?,
        }
        match self.port {
            None => f.write_str(":*"),
            Some(port) if port == self.scheme.default_port() => Ok(()),
            Some(port) => write!(f, ":{port}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWN: [IpAddr; 1] = [IpAddr::V4(Ipv4Addr::new(192, 0, 2, 7))];

    fn list(entries: &[&str]) -> AllowList {
        AllowList::new(entries.iter().map(|entry| entry.parse::<Allowed>().unwrap()))
    }

    fn may(entries: &[&str], url: &str) -> bool {
        list(entries).check(&url.parse().unwrap(), &OWN).is_ok()
    }

    fn leads(entries: &[&str], url: &str, address: &str) -> Result<(), NotAllowed> {
        list(entries).check_address(&url.parse().unwrap(), address.parse().unwrap(), &OWN)
    }

    #[test]
    fn nothing_is_allowed_by_default_and_the_option_is_named() {
        let error = list(&[]).check(&"http://a.b:8080/".parse().unwrap(), &OWN).unwrap_err().to_string();
        assert!(error.contains("--webhook-allow http://a.b:8080"), "{error}");
        let error = list(&["x.y"]).check(&"https://a.b/".parse().unwrap(), &OWN).unwrap_err().to_string();
        assert!(error.contains("a.b is not on") && error.contains("--webhook-allow a.b of"), "{error}");
    }

    #[test]
    fn an_entry_is_for_its_scheme_and_port_alone() {
        assert!(may(&["a.b"], "https://a.b/x"));
        assert!(may(&["*.b"], "https://a.b/") && may(&["*.b"], "https://c.a.b/"));
        for url in ["http://a.b/", "https://a.b:8443/", "https://c.a.b/", "https://b/", "https://xa.b/"] {
            assert!(!may(&["a.b"], url), "{url}");
        }
        assert!(!may(&["*.b"], "https://b/") && !may(&["*.a.b"], "https://xa.b/"));
        assert!(may(&["a.b:8443"], "https://a.b:8443/") && !may(&["a.b:8443"], "https://a.b/"));
        assert!(may(&["http://a.b:*"], "http://a.b:8080/") && !may(&["http://a.b:*"], "https://a.b:8080/"));
        assert!(may(&["10.0.0.0/8"], "https://10.1.2.3/") && !may(&["10.0.0.0/8"], "https://11.1.2.3/"));
        assert!(may(&["[fd00:1::/32]:8443"], "https://[fd00:1::5]:8443/"));
        assert!(!may(&["fd00:1::/32"], "https://[fd00:2::5]/"));
    }

    #[test]
    fn a_name_leads_to_public_addresses_and_inside_only_where_a_range_says_so() {
        assert!(leads(&["a.b"], "https://a.b/", "93.184.216.34").is_ok());
        for inside in ["10.0.0.1", "172.16.0.1", "192.168.1.1", "100.64.0.1", "fd00::1", "::ffff:10.0.0.1"] {
            let error = leads(&["a.b"], "https://a.b/", inside).unwrap_err();
            assert!(matches!(error, NotAllowed::NoEntry { .. }), "{inside}: {error}");
        }
        assert!(leads(&["a.b", "10.0.0.0/8"], "https://a.b/", "10.0.0.1").is_ok());
        assert!(leads(&["10.0.0.0/8"], "https://a.b/", "10.0.0.1").is_ok());
        assert!(leads(&["10.0.0.0/8"], "https://a.b/", "93.184.216.34").is_err());
    }

    #[test]
    fn addresses_of_machine_and_cloud_are_never_reached_by_name_or_range() {
        let open = ["a.b", "0.0.0.0/0", "::/0"];
        for address in [
            "127.0.0.1",
            "127.8.9.1",
            "0.0.0.0",
            "0.1.2.3",
            "169.254.169.254",
            "169.254.1.1",
            "224.0.0.1",
            "239.255.255.255",
            "255.255.255.255",
            "100.100.100.200",
            "192.0.2.7",
            "::",
            "::1",
            "fe80::1",
            "febf::1",
            "ff02::1",
            "fd00:ec2::254",
            "::ffff:127.0.0.1",
            "::127.0.0.1",
            "64:ff9b::7f00:1",
            "64:ff9b::a9fe:a9fe",
            "2002:7f00:1::",
            "::ffff:169.254.169.254",
            "::ffff:192.0.2.7",
        ] {
            let error = leads(&open, "https://a.b/", address).unwrap_err();
            assert!(matches!(error, NotAllowed::Never { .. }), "{address}: {error}");
            assert!(error.to_string().contains("--webhook-allow"), "{error}");
        }
        let direct = |text: &str| list(&open).check(&text.parse().unwrap(), &OWN);
        for url in
            ["https://127.0.0.1/", "https://[::1]/", "https://[::ffff:7f00:1]/", "https://169.254.169.254/latest"]
        {
            assert!(matches!(direct(url), Err(NotAllowed::Never { .. })), "{url}");
        }
        assert!(leads(&open, "https://a.b/", "8.8.8.8").is_ok() && leads(&open, "https://a.b/", "2600::1").is_ok());
    }

    #[test]
    fn exactly_that_address_opens_it_at_its_port() {
        let entries = ["http://127.0.0.1:8080"];
        assert!(leads(&entries, "http://127.0.0.1:8080/", "127.0.0.1").is_ok());
        assert!(leads(&entries, "http://receiver.test:8080/", "127.0.0.1").is_ok());
        assert!(leads(&entries, "http://127.0.0.1:8081/", "127.0.0.1").is_err());
        assert!(leads(&entries, "http://127.0.0.1:8080/", "127.0.0.2").is_err());
        assert!(leads(&["http://127.0.0.1/32:8080"], "http://[::ffff:127.0.0.1]:8080/", "::ffff:127.0.0.1").is_ok());
        assert!(leads(&["http://127.0.0.0/8:8080"], "http://127.0.0.1:8080/", "127.0.0.1").is_err());
    }

    #[test]
    fn entries_are_written_as_they_are_read() {
        for text in ["a.b", "*.a.b:8443", "http://10.0.0.0/8:*", "[fd00::/8]:8443", "[::1]", "http://127.0.0.1:8080"] {
            let entry: Allowed = text.parse().unwrap();
            assert_eq!(entry.to_string(), text);
        }
        assert_eq!("fd00::1".parse::<Allowed>().unwrap().to_string(), "[fd00::1]");
        for bad in ["", "*", "*.", "a..b", "10.0.0.0/33", "ftp://a.b", "a.b:0", "a.b:x", "127.1", "[a.b]x", "a/8"] {
            assert!(bad.parse::<Allowed>().is_err(), "{bad:?} was taken");
        }
    }
}
