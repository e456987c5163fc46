//! The way to a target: resolve, check, connect to what was checked, and ask once.
//!
//! **Guarantees.** Nothing is connected to but an address that the allow list takes for this target at this moment; a name
//! that leads elsewhere by the next attempt is checked anew. No redirect is followed, no proxy is asked, and nothing of an
//! answer goes on but its status and `Retry-After`: what stands in the body of an internal service is nobody's business.

mod answer;
mod connection;

use std::{
    io,
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use async_trait::async_trait;
use edgestack_model::webhook::{AllowList, NotAllowed, TargetUrl, url::Host};
use rustls::{ClientConfig, RootCertStore};

pub(crate) use answer::{Answer, Meaning, retry_after};
pub(crate) use connection::{Connection, Posted};

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

/// Why there was no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SendError {
    /// The operator doesn't allow it.
    #[error(transparent)]
    NotAllowed(#[from] NotAllowed),
    /// The name leads nowhere.
    #[error("the name of the target cannot be resolved")]
    Unresolved(#[source] io::Error),
    /// Nobody listens there, or the way is blocked.
    #[error("no connection to {address}")]
    NoConnection {
        address: SocketAddr,
        #[source]
        source: io::Error,
    },
    /// The connection was lost, or what came over it is no HTTP.
    #[error("the connection broke before there was an answer")]
    Broken(#[source] hyper::Error),
    /// The request can't be made.
    #[error("the request cannot be made")]
    Unsendable(#[source] hyper::http::Error),
}

/// What all targets of a site share.
#[derive(Clone)]
pub struct Targets {
    allowed: Arc<AllowList>,
    resolver: Arc<dyn Resolver>,
    tls: Arc<ClientConfig>,
}

impl Targets {
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
        Ok(Self { allowed: Arc::new(allowed), resolver, tls: Arc::new(tls) })
    }

    /// Whether a target may be registered.
    ///
    /// # Errors
    /// [`NotAllowed`].
    pub fn check(&self, url: &TargetUrl) -> Result<(), NotAllowed> {
        self.allowed.check(url, &own_addresses())
    }

    /// The addresses that a target may be connected to now.
    async fn addresses(&self, url: &TargetUrl) -> Result<Vec<SocketAddr>, SendError> {
        let found = match url.host() {
            Host::Address(address) => vec![*address],
            Host::Name(name) => {
                // Looked at first, so that a name that could never do is not even asked for.
                self.check(url)?;
                self.resolver.addresses(name).await.map_err(SendError::Unresolved)?
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
            (true, None) => Err(SendError::Unresolved(io::Error::new(io::ErrorKind::NotFound, "it has no addresses"))),
        }
    }
}

/// The node's own addresses: a webhook must not speak to what listens beside us.
fn own_addresses() -> Vec<IpAddr> {
    // Where they can't be told, loopback and link-local are refused all the same.
    if_addrs::get_if_addrs().map(|all| all.iter().map(if_addrs::Interface::ip).collect()).unwrap_or_default()
}

/// One webhook's target, with the connections that are kept to it.
pub(crate) struct Target {
    targets: Targets,
    url: TargetUrl,
    kept: Mutex<Vec<(Connection, Instant)>>,
}

impl Target {
    pub fn new(targets: Targets, url: TargetUrl) -> Self {
        Self { targets, url, kept: Mutex::default() }
    }

    /// Posts once. A kept connection that turns out to be closed is replaced by a new one, which may mean that the target
    /// sees the request twice.
    pub async fn post(&self, headers: &[(&'static str, String)], body: &bytes::Bytes) -> Result<Answer, SendError> {
        let request = || connection::request(&self.url, headers, body.clone()).map_err(SendError::Unsendable);
        if let Some(kept) = self.take_kept()
            && let Ok(posted) = kept.post(request()?).await
        {
            return Ok(self.landed(posted));
        }
        let connection = self.connect().await?;
        let posted = connection.post(request()?).await.map_err(SendError::Broken)?;
        Ok(self.landed(posted))
    }

    async fn connect(&self) -> Result<Connection, SendError> {
        let mut last = None;
        for address in self.targets.addresses(&self.url).await? {
            match Connection::open(address, &self.url, &self.targets.tls).await {
                Ok(connection) => return Ok(connection),
                Err(source) => last = Some(SendError::NoConnection { address, source }),
            }
        }
        Err(last.unwrap_or_else(|| SendError::Unresolved(io::Error::from(io::ErrorKind::NotFound))))
    }

    fn take_kept(&self) -> Option<Connection> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.retain(|(connection, since)| connection.is_open() && since.elapsed() < KEPT);
        kept.pop().map(|(connection, _)| connection)
    }

    fn landed(&self, posted: Posted) -> Answer {
        if let Some(connection) = posted.connection {
            let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
            if kept.len() < KEPT_MAX {
                kept.push((connection, Instant::now()));
            }
        }
        posted.answer
    }
}
