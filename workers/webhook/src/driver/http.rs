//! Targets over HTTP: resolve, check, connect to what was checked, and ask.
//!
//! Nothing is connected to but an address that the allow list takes for this target at this moment; a name that leads
//! elsewhere by the next connection is checked anew. No redirect is followed, no proxy is asked, and nothing of an answer
//! goes on but its status and `Retry-After`: what stands in the body of an internal service is nobody's business.

use std::{
    collections::BTreeMap,
    io,
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use async_trait::async_trait;
use bytes::Bytes;
use edgestack_model::webhook::{AllowList, NotAllowed, TargetUrl, url::Host};
use rustls::{ClientConfig, RootCertStore};

use super::{
    Answer, Headers, PostError, WebhookDriver,
    connection::{self, Connection, Posted},
};

/// How long a connection may be kept for the next delivery.
const KEPT: Duration = Duration::from_secs(30);
/// Connections that are kept for a target.
const KEPT_MAX: usize = 4;
/// Addresses of a name that are tried.
const ADDRESSES_MAX: usize = 4;

/// Turns names into addresses; a trait, so that tests can have names that change their mind.
#[async_trait]
pub trait Resolver: Send + Sync {
    /// The addresses of a name.
    ///
    /// # Errors
    /// It has none, or nobody knows.
    async fn addresses(&self, name: &str) -> io::Result<Vec<IpAddr>>;
}

/// The machine's own resolver.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemResolver;

#[async_trait]
impl Resolver for SystemResolver {
    async fn addresses(&self, name: &str) -> io::Result<Vec<IpAddr>> {
        Ok(tokio::net::lookup_host((name, 0)).await?.map(|address| address.ip()).collect())
    }
}

/// Targets over HTTP/1.1, in clear or over TLS.
pub struct HttpDriver {
    allowed: AllowList,
    resolver: Arc<dyn Resolver>,
    tls: Arc<ClientConfig>,
    /// Connections that can be used again, by scheme, host and port.
    kept: Mutex<BTreeMap<String, Vec<(Connection, Instant)>>>,
}

impl HttpDriver {
    /// Targets as the operator allows them; `roots` are trusted besides the public certificate authorities.
    ///
    /// # Errors
    /// When rustls refuses its own defaults.
    pub fn new(
        allowed: AllowList,
        resolver: Arc<dyn Resolver>,
        roots: Vec<rustls::pki_types::CertificateDer<'static>>,
    ) -> Result<Self, rustls::Error> {
        let mut trusted = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
        for root in roots {
            trusted.add(root)?;
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut tls = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(trusted)
            .with_no_client_auth();
        tls.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self { allowed, resolver, tls: Arc::new(tls), kept: Mutex::default() })
    }

    /// Whether a target may be registered.
    ///
    /// # Errors
    /// [`NotAllowed`].
    pub fn check(&self, url: &TargetUrl) -> Result<(), NotAllowed> {
        self.allowed.check(url, &own_addresses())
    }

    /// The addresses that a target may be connected to now.
    async fn addresses(&self, url: &TargetUrl) -> Result<Vec<SocketAddr>, PostError> {
        let found = match url.host() {
            Host::Address(address) => vec![*address],
            Host::Name(name) => {
                // Looked at first, so that a name that could never do is not even asked for.
                self.check(url)?;
                self.resolver.addresses(name).await.map_err(PostError::Unresolved)?
            }
        };
        let own = own_addresses();
        let mut refused = None;
        let mut allowed = Vec::new();
        for address in found {
            match self.allowed.check_address(url, address, &own) {
                Ok(()) => allowed.push(SocketAddr::new(address, url.port())),
                Err(error) => refused = refused.or(Some(error)),
            }
        }
        allowed.truncate(ADDRESSES_MAX);
        match (allowed.is_empty(), refused) {
            (false, _) => Ok(allowed),
            (true, Some(refused)) => Err(refused.into()),
            (true, None) => Err(PostError::Unresolved(io::Error::new(io::ErrorKind::NotFound, "it has no addresses"))),
        }
    }

    async fn connect(&self, url: &TargetUrl) -> Result<Connection, PostError> {
        let mut last = None;
        for address in self.addresses(url).await? {
            match Connection::open(address, url, &self.tls).await {
                Ok(connection) => return Ok(connection),
                Err(source) => last = Some(PostError::NoConnection { address, source }),
            }
        }
        Err(last.unwrap_or_else(|| PostError::Unresolved(io::Error::from(io::ErrorKind::NotFound))))
    }

    /// A connection that is open still; those that are too old go.
    fn take_kept(&self, target: &str) -> Option<Connection> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.retain(|_, connections| {
            connections.retain(|(connection, since)| connection.is_open() && since.elapsed() < KEPT);
            !connections.is_empty()
        });
        kept.get_mut(target)?.pop().map(|(connection, _)| connection)
    }

    fn landed(&self, target: String, posted: Posted) -> Answer {
        if let Some(connection) = posted.connection {
            let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
            let connections = kept.entry(target).or_default();
            if connections.len() < KEPT_MAX {
                connections.push((connection, Instant::now()));
            }
        }
        posted.answer
    }
}

#[async_trait]
impl WebhookDriver for HttpDriver {
    async fn post(&self, url: &TargetUrl, headers: &Headers, body: &Bytes) -> Result<Answer, PostError> {
        let request = || connection::request(url, headers, body.clone()).map_err(PostError::Unsendable);
        let target = format!("{}://{}", url.scheme().as_str(), url.authority());
        if let Some(kept) = self.take_kept(&target)
            && let Ok(posted) = kept.post(request()?).await
        {
            return Ok(self.landed(target, posted));
        }
        let connection = self.connect(url).await?;
        let posted = connection.post(request()?).await.map_err(PostError::Broken)?;
        Ok(self.landed(target, posted))
    }
}

/// The node's own addresses: a webhook must not speak to what listens beside us.
fn own_addresses() -> Vec<IpAddr> {
    // Where they can't be told, loopback and link-local are refused all the same.
    if_addrs::get_if_addrs().map(|all| all.iter().map(if_addrs::Interface::ip).collect()).unwrap_or_default()
}
