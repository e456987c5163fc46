//! Where a webhook delivers to. It is taken apart here once and for all: what is checked against the allow list is what
//! is connected to, as no other parser of URLs comes after this one.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    str::FromStr,
};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The longest URL, bytes.
const LENGTH_MAX: usize = 2048;

/// An absolute http or https URL without user, password and fragment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(extend("pattern" = "^[Hh][Tt][Tt][Pp][Ss]?://.+"))]
pub struct TargetUrl {
    scheme: Scheme,
    host: Host,
    port: u16,
    path_and_query: String,
}

/// How it is spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scheme {
    /// In clear.
    Http,
    /// Over TLS.
    Https,
}

/// Whom it names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Host {
    /// A DNS name in lower case, without a dot at its end.
    Name(String),
    /// An address.
    Address(IpAddr),
}

/// Why a text is no such URL; a sentence that tells the rule.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UrlError {
    /// Too long, or with characters that URLs don't have.
    #[error("must have at most {LENGTH_MAX} visible ASCII characters; write others percent-encoded")]
    Characters,
    /// Another scheme.
    #[error("must begin with https:// (or http://, where the operator allows it)")]
    Scheme,
    /// `user:password@`.
    #[error("must have no user or password; deliveries are signed instead")]
    User,
    /// `#…`
    #[error("must have no fragment (#…), as that is never sent")]
    Fragment,
    /// No host, or one that is neither a name nor an address.
    #[error("must have a host: a DNS name, an IPv4 address of four decimal numbers, or an IPv6 address in brackets")]
    Host,
    /// A port that is none.
    #[error("must have a port from 1 to 65535, or none")]
    Port,
}

impl Scheme {
    /// As in URLs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }

    /// The port where none is given.
    pub const fn default_port(self) -> u16 {
        match self {
            Self::Http => 80,
            Self::Https => 443,
        }
    }
}

impl TargetUrl {
    /// How it is spoken to.
    pub fn scheme(&self) -> Scheme {
        self.scheme
    }

    /// Whom it names.
    pub fn host(&self) -> &Host {
        &self.host
    }

    /// The port, also where it is the scheme's own.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// What stands in the request's first line; never empty.
    pub fn path_and_query(&self) -> &str {
        &self.path_and_query
    }

    /// What stands in the request's `Host`: the port is left out where it is the scheme's own.
    pub fn authority(&self) -> String {
        if self.port == self.scheme.default_port() {
            self.host.to_string()
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }
}

impl FromStr for TargetUrl {
    type Err = UrlError;
    fn from_str(text: &str) -> Result<Self, UrlError> {
        if text.len() > LENGTH_MAX || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(UrlError::Characters);
        }
        let (scheme, rest) = text.split_once("://").ok_or(UrlError::Scheme)?;
        let scheme = match scheme.to_ascii_lowercase().as_str() {
            "http" => Scheme::Http,
            "https" => Scheme::Https,
            _ => return Err(UrlError::Scheme),
        };
        if rest.contains('#') {
            return Err(UrlError::Fragment);
        }
        // What some programs read as a slash or leave out is refused, so that all read the same.
        if rest.contains(['\\', '"', '<', '>', '^', '`', '{', '|', '}']) {
            return Err(UrlError::Characters);
        }
        let (authority, path) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
        if authority.contains('@') {
            return Err(UrlError::User);
        }
        let (host, port) = match authority.strip_prefix('[') {
            Some(rest) => {
                let (address, port) = rest.split_once(']').ok_or(UrlError::Host)?;
                let address: Ipv6Addr = address.parse().map_err(|_| UrlError::Host)?;
                let port = match port {
                    "" => None,
                    port => Some(port.strip_prefix(':').ok_or(UrlError::Host)?),
                };
                (Host::Address(IpAddr::V6(address)), port)
            }
            None => match authority.split_once(':') {
                Some((host, port)) => (host.parse()?, Some(port)),
                None => (authority.parse()?, None),
            },
        };
        let port = match port {
            None => scheme.default_port(),
            Some(port) if port.bytes().all(|byte| byte.is_ascii_digit()) => {
                port.parse().ok().filter(|port| *port > 0).ok_or(UrlError::Port)?
            }
            Some(_) => return Err(UrlError::Port),
        };
        let path_and_query = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
        Ok(Self { scheme, host, port, path_and_query })
    }
}

impl FromStr for Host {
    type Err = UrlError;
    /// A name, or an IPv4 address. Forms of the latter that only some programs read (`127.1`, `0x7f000001`) are refused.
    fn from_str(text: &str) -> Result<Self, UrlError> {
        if let Ok(address) = text.parse::<Ipv4Addr>() {
            return Ok(Self::Address(IpAddr::V4(address)));
        }
        let name = text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase();
        let label = |label: &str| {
            (1..=63).contains(&label.len())
                && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
                && !label.starts_with('-')
                && !label.ends_with('-')
        };
        let last_is_a_number = name.rsplit('.').next().is_some_and(|last| {
            last.bytes().all(|byte| byte.is_ascii_digit())
                || last.strip_prefix("0x").is_some_and(|rest| rest.bytes().all(|byte| byte.is_ascii_hexdigit()))
        });
        if name.len() > 253 || !name.split('.').all(label) || last_is_a_number {
            return Err(UrlError::Host);
        }
        Ok(Self::Name(name))
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name),
            Self::Address(IpAddr::V4(address)) => address.fmt(f),
            Self::Address(IpAddr::V6(address)) => write!(f, "[{address}]"),
        }
    }
}

impl fmt::Display for TargetUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}{}", self.scheme.as_str(), self.authority(), self.path_and_query)
    }
}

impl From<TargetUrl> for String {
    fn from(url: TargetUrl) -> Self {
        url.to_string()
    }
}

impl TryFrom<String> for TargetUrl {
    type Error = UrlError;
    fn try_from(text: String) -> Result<Self, UrlError> {
        text.parse()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(text: &str) -> TargetUrl {
        text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    #[test]
    fn it_is_taken_apart_and_written_the_same() {
        for (text, written) in [
            ("https://hooks.example.com/a?b=c", "https://hooks.example.com/a?b=c"),
            ("HTTPS://Hooks.Example.COM.:443", "https://hooks.example.com/"),
            ("http://10.0.0.1:8080/x", "http://10.0.0.1:8080/x"),
            ("http://[FD00::1]?q", "http://[fd00::1]/?q"),
            ("https://[::ffff:10.0.0.1]:8443/", "https://[::ffff:10.0.0.1]:8443/"),
        ] {
            assert_eq!(url(text).to_string(), written);
            assert_eq!(url(written), url(text));
        }
        let parts = url("http://a.b:8080/p?q");
        assert_eq!((parts.port(), parts.path_and_query(), parts.authority().as_str()), (8080, "/p?q", "a.b:8080"));
        assert_eq!(url("https://a.b").port(), 443);
    }

    #[test]
    fn what_programs_read_differently_is_refused() {
        for (text, error) in [
            ("ftp://a.b/", UrlError::Scheme),
            ("hooks.example.com", UrlError::Scheme),
            ("https://user:pw@a.b/", UrlError::User),
            ("https://a.b@127.0.0.1/", UrlError::User),
            ("https://a.b/#x", UrlError::Fragment),
            ("https:///x", UrlError::Host),
            ("https://127.1/", UrlError::Host),
            ("https://2130706433/", UrlError::Host),
            ("https://0x7f000001/", UrlError::Host),
            ("https://0x7f.0.0.1/", UrlError::Host),
            ("https://0177.0.0.1/", UrlError::Host),
            ("https://127.0.0.1./", UrlError::Host),
            ("https://[::1%25eth0]/", UrlError::Host),
            ("https://[::1/", UrlError::Host),
            ("https://::1/", UrlError::Host),
            ("https://a.b:0/", UrlError::Port),
            ("https://a.b:+80/", UrlError::Port),
            ("https://a.b:/", UrlError::Port),
            ("https://a.b:65536/", UrlError::Port),
            ("https://a b/", UrlError::Characters),
            ("https://a.b\\@127.0.0.1/", UrlError::Characters),
            ("https://ä.b/", UrlError::Characters),
        ] {
            assert_eq!(text.parse::<TargetUrl>(), Err(error), "{text}");
        }
        assert!(format!("https://a.b/{}", "x".repeat(LENGTH_MAX)).parse::<TargetUrl>().is_err());
    }
}
