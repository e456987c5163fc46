//! One connection to one address, HTTP/1.1 on TCP or TLS.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use edgestack_model::webhook::{
    TargetUrl,
    url::{Host, Scheme},
};
use http_body_util::{BodyExt as _, Full};
use hyper::{Request, body::Incoming, client::conn::http1, header};
use hyper_util::rt::TokioIo;
use rustls::{ClientConfig, pki_types::ServerName};
use tokio::{io::AsyncRead, io::AsyncWrite, net::TcpStream};
use tokio_rustls::TlsConnector;

use super::{Answer, Headers, answer::retry_after};

/// What is read of an answer's body, bytes: as much as makes the connection usable again.
const BODY_MAX: usize = 16 << 10;
/// How long the body may take.
const BODY_WITHIN: Duration = Duration::from_secs(1);
/// The longest head of an answer, bytes.
const HEAD_MAX: usize = 16 << 10;

const USER_AGENT: &str = concat!("EdgeStack/", env!("CARGO_PKG_VERSION"));

pub(crate) struct Connection {
    sender: http1::SendRequest<Full<Bytes>>,
}

/// An answer, and the connection where it can be used again.
pub(crate) struct Posted {
    pub answer: Answer,
    pub connection: Option<Connection>,
}

/// The request of a delivery.
pub(super) fn request(
    url: &TargetUrl,
    headers: &Headers,
    body: Bytes,
) -> Result<Request<Full<Bytes>>, hyper::http::Error> {
    let mut request = Request::post(url.path_and_query())
        .header(header::HOST, url.authority())
        .header(header::USER_AGENT, USER_AGENT)
        .header(header::ACCEPT, "*/*");
    for (name, value) in headers {
        request = request.header(*name, value);
    }
    request.body(Full::new(body))
}

impl Connection {
    /// Connects to exactly this address, whatever the URL's name leads to by now; the certificate must be for that name.
    pub async fn open(address: SocketAddr, url: &TargetUrl, tls: &Arc<ClientConfig>) -> io::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        match url.scheme() {
            Scheme::Http => Self::on(stream).await,
            Scheme::Https => {
                let name = match url.host() {
                    Host::Address(address) => ServerName::IpAddress((*address).into()),
                    Host::Name(name) => ServerName::try_from(name.clone()).map_err(io::Error::other)?,
                };
                Self::on(TlsConnector::from(tls.clone()).connect(name, stream).await?).await
            }
        }
    }

    async fn on(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) -> io::Result<Self> {
        let (sender, connection) = http1::Builder::new()
            .max_buf_size(HEAD_MAX)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(io::Error::other)?;
        // It ends with its sender, or when the target closes it; who sends learns why.
        tokio::spawn(connection);
        Ok(Self { sender })
    }

    /// Whether another request may be sent.
    pub fn is_open(&self) -> bool {
        !self.sender.is_closed()
    }

    /// Sends a request, and waits for the answer.
    pub async fn post(mut self, request: Request<Full<Bytes>>) -> hyper::Result<Posted> {
        self.sender.ready().await?;
        let (head, body) = self.sender.send_request(request).await?.into_parts();
        let header = head.headers.get(header::RETRY_AFTER).and_then(|value| value.to_str().ok());
        let answer = Answer { status: head.status, retry_after: header.and_then(retry_after) };
        // The status counts: a body that breaks off or has no end only costs the connection.
        let is_short = tokio::time::timeout(BODY_WITHIN, is_short(body)).await.unwrap_or(false);
        let connection = is_short.then_some(self);
        Ok(Posted { answer, connection })
    }
}

async fn is_short(mut body: Incoming) -> bool {
    let mut length = 0;
    while let Some(frame) = body.frame().await {
        let Ok(frame) = frame else { return false };
        length += frame.data_ref().map_or(0, Bytes::len);
        if length > BODY_MAX {
            return false;
        }
    }
    true
}
