//! Where servers listen.

use std::{fmt, io, path::PathBuf, str::FromStr};

use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpStream, UnixStream},
};

use super::{
    error::Ended,
    tls::{self, Tls},
};

/// The port of a server whose endpoint names none (RFC 7047 section 7; ovsdb(7), "Active" connection methods).
const PORT: u16 = 6640;

/// Where one server listens, as ovsdb(7) writes it; `FromStr` and `Display` round-trip.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Endpoint {
    /// `unix:/path`, a socket in the file system. The path is absolute, and has no comma if it is to be parsed again.
    Unix(PathBuf),
    /// `tcp:host[:port]`, in the clear; an IPv6 address stands in brackets.
    Tcp(HostPort),
    /// `ssl:host[:port]`, by TLS; see [`Tls`].
    Ssl(HostPort),
}

/// A host and a port.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HostPort {
    /// A name or an address, an IPv6 address without its brackets.
    pub host: String,
    /// The port.
    pub port: u16,
}

/// Where the servers of one database listen: one, or the members of a cluster, which are tried in turn.
///
/// `FromStr` and `Display`, with commas between the endpoints, round-trip but for the TLS files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoints {
    // Never empty.
    list: Vec<Endpoint>,
    tls: Option<Tls>,
}

/// Why a text is no endpoint.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EndpointError {
    /// It begins otherwise.
    #[error("`{0}` is no endpoint of OVSDB: write unix:/path, tcp:host:port or ssl:host:port")]
    Scheme(String),
    /// A path is needed from the root on.
    #[error("`{0}` names no socket by an absolute path")]
    Path(String),
    /// A host is missing or has characters that hosts don't have.
    #[error("`{0}` names no host; an IPv6 address stands in brackets")]
    Host(String),
    /// A port is a number from 1 to 65535.
    #[error("`{0}` ends in no port")]
    Port(String),
}

impl Endpoints {
    /// The same servers, and the files for those that are reached by `ssl:`.
    #[must_use]
    pub fn with_tls(mut self, tls: Tls) -> Self {
        self.tls = Some(tls);
        self
    }

    /// The endpoints, in the order they are tried; there is at least one.
    #[must_use]
    pub fn list(&self) -> &[Endpoint] {
        &self.list
    }

    /// The files for `ssl:`.
    #[must_use]
    pub fn tls(&self) -> Option<&Tls> {
        self.tls.as_ref()
    }
}

impl From<Endpoint> for Endpoints {
    fn from(endpoint: Endpoint) -> Self {
        Self { list: vec![endpoint], tls: None }
    }
}

impl FromStr for Endpoints {
    type Err = EndpointError;

    fn from_str(text: &str) -> Result<Self, EndpointError> {
        let list = text.split(',').map(|endpoint| endpoint.trim().parse()).collect::<Result<_, _>>()?;
        Ok(Self { list, tls: None })
    }
}

impl fmt::Display for Endpoints {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, endpoint) in self.list.iter().enumerate() {
            let separator = if index == 0 { "" } else { "," };
            write!(f, "{separator}{endpoint}")?;
        }
        Ok(())
    }
}

impl FromStr for Endpoint {
    type Err = EndpointError;

    fn from_str(text: &str) -> Result<Self, EndpointError> {
        match text.split_once(':') {
            Some(("unix", path)) if path.starts_with('/') && !path.contains(',') => Ok(Self::Unix(path.into())),
            Some(("unix", _)) => Err(EndpointError::Path(text.to_owned())),
            Some(("tcp", rest)) => host_port(text, rest).map(Self::Tcp),
            Some(("ssl", rest)) => host_port(text, rest).map(Self::Ssl),
            _ => Err(EndpointError::Scheme(text.to_owned())),
        }
    }
}

fn host_port(text: &str, rest: &str) -> Result<HostPort, EndpointError> {
    let (host, port) = match rest.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((host, "")) => (host, None),
        Some((host, port)) => match port.strip_prefix(':') {
            Some(port) => (host, Some(port)),
            None => return Err(EndpointError::Host(text.to_owned())),
        },
        None => match rest.split_once(':') {
            Some((_, port)) if port.contains(':') => return Err(EndpointError::Host(text.to_owned())),
            Some((host, port)) => (host, Some(port)),
            None => (rest, None),
        },
    };
    let fits = |c: char| c.is_ascii_alphanumeric() || "-._:%".contains(c);
    if host.is_empty() || !host.chars().all(fits) {
        return Err(EndpointError::Host(text.to_owned()));
    }
    let port = match port {
        None => PORT,
        Some(port) => match port.parse() {
            Ok(port) if port != 0 => port,
            _ => return Err(EndpointError::Port(text.to_owned())),
        },
    };
    Ok(HostPort { host: host.to_owned(), port })
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
            Self::Tcp(at) => write!(f, "tcp:{at}"),
            Self::Ssl(at) => write!(f, "ssl:{at}"),
        }
    }
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, port } = self;
        if host.contains(':') { write!(f, "[{host}]:{port}") } else { write!(f, "{host}:{port}") }
    }
}

/// An open connection, whatever it runs over.
pub(super) struct Stream {
    pub reader: Box<dyn AsyncRead + Send + Unpin>,
    pub writer: Box<dyn AsyncWrite + Send + Unpin>,
}

impl Stream {
    pub fn of(stream: impl AsyncRead + AsyncWrite + Send + 'static) -> Self {
        let (reader, writer) = tokio::io::split(stream);
        Self { reader: Box::new(reader), writer: Box::new(writer) }
    }
}

impl Endpoint {
    /// Connects, for as long as it takes.
    pub(super) async fn open(&self, tls: Option<&Tls>) -> Result<Stream, Ended> {
        match self {
            Self::Unix(path) => UnixStream::connect(path).await.map(Stream::of).map_err(Ended::connect),
            Self::Tcp(at) => at.open().await.map(Stream::of).map_err(Ended::connect),
            Self::Ssl(at) => {
                let connector = tls::connector(tls)?;
                let name = tls::server_name(&at.host).map_err(Ended::connect)?;
                let stream = at.open().await.map_err(Ended::connect)?;
                connector.connect(name, stream).await.map(Stream::of).map_err(Ended::connect)
            }
        }
    }
}

impl HostPort {
    async fn open(&self) -> io::Result<TcpStream> {
        let stream = TcpStream::connect((self.host.as_str(), self.port)).await?;
        stream.set_nodelay(true)?;
        Ok(stream)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_print_as_they_are_parsed() {
        for (text, printed) in [
            ("unix:/run/ovn/ovnnb_db.sock", "unix:/run/ovn/ovnnb_db.sock"),
            ("tcp:127.0.0.1:6641", "tcp:127.0.0.1:6641"),
            ("tcp:[::1]:6641", "tcp:[::1]:6641"),
            ("tcp:[fe80::1%eth0]", "tcp:[fe80::1%eth0]:6640"),
            ("ssl:ovn.example", "ssl:ovn.example:6640"),
            ("ssl:a:1, ssl:b:2,unix:/c", "ssl:a:1,ssl:b:2,unix:/c"),
        ] {
            let endpoints: Endpoints = text.parse().unwrap();
            assert_eq!(endpoints.to_string(), printed);
            assert_eq!(printed.parse(), Ok(endpoints));
        }
    }

    #[test]
    fn what_is_no_endpoint_is_refused_with_what_is_wrong() {
        let of = |error: fn(String) -> EndpointError, text: &str| error(text.to_owned());
        for (error, text) in [
            (EndpointError::Scheme as fn(String) -> _, ""),
            (EndpointError::Scheme, "/run/db.sock"),
            (EndpointError::Scheme, "ptcp:6641"),
            (EndpointError::Path, "unix:db.sock"),
            (EndpointError::Path, "unix:"),
            (EndpointError::Host, "tcp:"),
            (EndpointError::Host, "tcp::6641"),
            (EndpointError::Host, "tcp:::1"),
            (EndpointError::Host, "tcp:[::1]6641"),
            (EndpointError::Host, "ssl:a b:6641"),
            (EndpointError::Port, "tcp:a:"),
            (EndpointError::Port, "tcp:a:0"),
            (EndpointError::Port, "tcp:a:65536"),
        ] {
            assert_eq!(text.parse::<Endpoint>(), Err(of(error, text)));
        }
        assert_eq!("tcp:a,".parse::<Endpoints>(), Err(of(EndpointError::Scheme, "")));
    }
}
