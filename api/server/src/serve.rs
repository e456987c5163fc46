//! Listening: sockets, TLS, the limits that keep one client from hindering
//! others, and an orderly end.
//!
//! HTTP/1.1 alone is spoken, by hyper directly: `axum::serve` knows neither a
//! time-out for headers nor a bound of connections.

use std::{
    convert::Infallible,
    io,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use axum::{Router, body::Body, extract::ConnectInfo};
use hyper::{Request, body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    sync::Semaphore,
};
use tokio_rustls::TlsAcceptor;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tower::ServiceExt;

/// Connections at once. When all are taken accepting pauses; idle ones go within 10 s.
pub const CONNECTIONS_MAX: usize = 2048;
/// How long a connection may take to send a request's headers, or stay idle between two requests.
const IDLE_TIME_MAX: Duration = Duration::from_secs(10);
/// How long a peer may leave what was sent to it unacknowledged before the connection is cut.
const UNACKNOWLEDGED_MAX: Duration = Duration::from_secs(60);
/// Bytes of headers, with the request line, and of the buffer for them.
const HEADER_BYTES_MAX: usize = 64 << 10;
/// Pause after an error of accept that is not one connection's own (no file descriptors left).
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// How long running requests get after the end was asked for.
const GRACE: Duration = Duration::from_secs(10);

/// Where certificate chain and private key are, both PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// The certificate, then those that lead to its root.
    pub certificates: PathBuf,
    /// The private key: PKCS #8, PKCS #1 or SEC 1.
    pub key: PathBuf,
}

/// Why the API cannot listen.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// Tokens would travel in clear.
    #[error(
        "the API refuses to listen on {0} without TLS, since its token would travel in clear; give a certificate and a key, or listen on 127.0.0.1"
    )]
    ClearTextBeyondLoopback(SocketAddr),
    /// The socket could not be bound.
    #[error("the API cannot listen on {address}; is another program on this port?")]
    Bind {
        /// Where.
        address: SocketAddr,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A PEM file cannot be read.
    #[error("{path} is not a readable PEM file of the right content")]
    Pem {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: rustls::pki_types::pem::Error,
    },
    /// Certificate and key do not go together, or rustls cannot use them.
    #[error("the TLS certificate and key cannot be used")]
    Tls(#[source] rustls::Error),
}

/// A socket that listens, before it serves.
pub struct Listener {
    socket: TcpListener,
    address: SocketAddr,
    tls: Option<TlsAcceptor>,
}

impl Listener {
    /// Listens on an address; port 0 takes a free one. Addresses other than loopback need TLS.
    ///
    /// # Errors
    /// [`ServeError`].
    pub async fn bind(address: SocketAddr, tls: Option<&TlsFiles>) -> Result<Self, ServeError> {
        if tls.is_none() && !address.ip().to_canonical().is_loopback() {
            return Err(ServeError::ClearTextBeyondLoopback(address));
        }
        let tls = tls.map(acceptor).transpose()?;
        let bind = |source| ServeError::Bind { address, source };
        let socket = TcpListener::bind(address).await.map_err(bind)?;
        let address = socket.local_addr().map_err(bind)?;
        Ok(Self { socket, address, tls })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves until the token is cancelled and the connections have ended, 10 s later at most.
    pub async fn serve(self, app: Router, shutdown: CancellationToken) {
        let room = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        let connections = TaskTracker::new();
        // Cancelled after the grace: what still runs then is dropped.
        let cut = CancellationToken::new();
        loop {
            let permit = tokio::select! {
                () = shutdown.cancelled() => break,
                permit = room.clone().acquire_owned() => permit,
            };
            // The semaphore is never closed.
            let Ok(permit) = permit else { break };
            let (stream, peer) = tokio::select! {
                () = shutdown.cancelled() => break,
                accepted = self.socket.accept() => match accepted {
                    Ok(accepted) => accepted,
                    Err(error) if is_of_one_connection(&error) => continue,
                    Err(error) => {
                        tracing::warn!(%error, "no connection can be accepted now; trying again in 100 ms (file descriptors: see `ulimit -n`)");
                        tokio::time::sleep(ACCEPT_PAUSE).await;
                        continue;
                    }
                },
            };
            let (app, tls) = (app.clone(), self.tls.clone());
            let (ending, cut) = (shutdown.clone(), cut.clone());
            connections.spawn(async move {
                tokio::select! {
                    () = cut.cancelled() => {}
                    () = connection(stream, peer, app, tls, ending) => {}
                }
                drop(permit);
            });
        }
        drop(self.socket);
        connections.close();
        if tokio::time::timeout(GRACE, connections.wait()).await.is_err() {
            tracing::warn!(connections = connections.len(), "cutting connections that did not end within 10 s");
            cut.cancel();
            connections.wait().await;
        }
    }
}

async fn connection(
    stream: TcpStream,
    peer: SocketAddr,
    app: Router,
    tls: Option<TlsAcceptor>,
    ending: CancellationToken,
) {
    // Answers are small and wanted at once.
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "TCP_NODELAY");
    }
    let unacknowledged_ms = u32::try_from(UNACKNOWLEDGED_MAX.as_millis()).unwrap_or(u32::MAX);
    if let Err(error) = rustix::net::sockopt::set_tcp_user_timeout(&stream, unacknowledged_ms) {
        tracing::debug!(%error, "TCP_USER_TIMEOUT");
    }
    match tls {
        None => http(stream, peer, app, ending).await,
        Some(tls) => match tokio::time::timeout(IDLE_TIME_MAX, tls.accept(stream)).await {
            Ok(Ok(stream)) => http(stream, peer, app, ending).await,
            Ok(Err(error)) => tracing::debug!(%peer, %error, "no TLS with this peer"),
            Err(_elapsed) => tracing::debug!(%peer, "a TLS handshake took longer than 10 s"),
        },
    }
}

async fn http<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
    stream: S,
    peer: SocketAddr,
    app: Router,
    ending: CancellationToken,
) {
    let service = service_fn(move |request: Request<Incoming>| {
        let mut request = request.map(Body::new);
        request.extensions_mut().insert(ConnectInfo(peer));
        let app = app.clone();
        async move { Ok::<_, Infallible>(app.oneshot(request).await.unwrap_or_else(|never| match never {})) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(IDLE_TIME_MAX)
        .max_buf_size(HEADER_BYTES_MAX)
        .serve_connection(TokioIo::new(stream), service);
    tokio::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = ending.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%peer, error = edgestack_engine::error_chain(&error), "a connection broke off");
    }
}

/// The peer was gone before we took the connection; the socket itself is well.
fn is_of_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionRefused | io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset
    )
}

fn acceptor(files: &TlsFiles) -> Result<TlsAcceptor, ServeError> {
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source| ServeError::Pem { path, source }
    };
    let certificates = CertificateDer::pem_file_iter(&files.certificates)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(failed(&files.certificates))?;
    let key = PrivateKeyDer::from_pem_file(&files.key).map_err(failed(&files.key))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(ServeError::Tls)?
        .with_no_client_auth()
        .with_single_cert(certificates, key)
        .map_err(ServeError::Tls)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}
