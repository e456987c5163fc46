//! A receiver of webhooks that remembers what came, and answers as it is told.

use std::{
    convert::Infallible,
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use bytes::Bytes;
use hmac::{Hmac, Mac as _};
use http_body_util::{BodyExt as _, Full};
use hyper::{HeaderMap, Request, Response, body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use sha2::Sha256;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpListener,
    task::JoinHandle,
};
use tokio_rustls::TlsAcceptor;

/// What to answer an event with.
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(&'static str, String)>,
    pub body: Bytes,
    pub after: Duration,
}

pub fn status(status: u16) -> Answer {
    Answer { status, headers: vec![], body: Bytes::new(), after: Duration::ZERO }
}

type Answers = Box<dyn FnMut(&Received) -> Answer + Send>;

/// One request.
#[derive(Clone, Debug)]
pub struct Received {
    pub path: String,
    pub headers: HeaderMap,
    pub body: Bytes,
    pub at: std::time::Instant,
}

impl Received {
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    pub fn event(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    /// The commit's sequence.
    pub fn sequence(&self) -> u64 {
        self.event()["sequence"].as_str().unwrap().parse().unwrap()
    }

    pub fn object(&self) -> String {
        self.event()["subject"].as_str().unwrap().to_owned()
    }

    /// Whether one of the signatures is by this secret.
    pub fn is_signed_with(&self, secret: &str) -> bool {
        let key = BASE64.decode(secret.strip_prefix("whsec_").unwrap()).unwrap();
        let mut mac = <Hmac<Sha256> as hmac::Mac>::new_from_slice(&key).unwrap();
        mac.update(format!("{}.{}.", self.header("webhook-id"), self.header("webhook-timestamp")).as_bytes());
        mac.update(&self.body);
        let wanted = format!("v1,{}", BASE64.encode(mac.finalize().into_bytes()));
        self.header("webhook-signature").split(' ').any(|signature| signature == wanted)
    }
}

/// Listens as long as it lives.
pub struct Receiver {
    pub address: SocketAddr,
    received: Arc<Mutex<Vec<Received>>>,
    answers: Arc<Mutex<Answers>>,
    task: JoinHandle<()>,
}

impl Receiver {
    /// One that takes everything.
    pub async fn start() -> Self {
        Self::at("127.0.0.1:0".parse().unwrap(), None).await
    }

    pub async fn at(address: SocketAddr, tls: Option<TlsAcceptor>) -> Self {
        let listener = tokio::net::TcpSocket::new_v4().unwrap();
        listener.set_reuseaddr(true).unwrap();
        listener.bind(address).unwrap();
        let listener = listener.listen(64).unwrap();
        let address = listener.local_addr().unwrap();
        let received: Arc<Mutex<Vec<Received>>> = Arc::default();
        let answers: Arc<Mutex<Answers>> = Arc::new(Mutex::new(Box::new(|_| status(204))));
        let task = tokio::spawn(listen(listener, tls, received.clone(), answers.clone()));
        Self { address, received, answers, task }
    }

    pub fn answers(&self, answers: impl FnMut(&Received) -> Answer + Send + 'static) {
        *self.answers.lock().unwrap() = Box::new(answers);
    }

    pub fn received(&self) -> Vec<Received> {
        self.received.lock().unwrap().clone()
    }

    /// What came, as `object@sequence`.
    pub fn told(&self) -> Vec<String> {
        self.received().iter().map(|one| format!("{}@{}", one.object(), one.sequence())).collect()
    }

    /// Waits until so many came.
    pub async fn await_count(&self, count: usize) -> Vec<Received> {
        crate::site::eventually(&format!("{count} requests came"), || {
            let received = self.received();
            (received.len() >= count).then_some(received)
        })
        .await
    }

    /// No more are taken; connections that are open are cut.
    pub async fn stop(self) -> (SocketAddr, Vec<Received>) {
        self.task.abort();
        let _ = self.task.await;
        let received = self.received.lock().unwrap().clone();
        (self.address, received)
    }
}

async fn listen(
    listener: TcpListener,
    tls: Option<TlsAcceptor>,
    received: Arc<Mutex<Vec<Received>>>,
    answers: Arc<Mutex<Answers>>,
) {
    let mut connections = tokio::task::JoinSet::new();
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        let (received, answers) = (received.clone(), answers.clone());
        let tls = tls.clone();
        connections.spawn(async move {
            match tls {
                None => serve(stream, received, answers).await,
                Some(tls) => {
                    if let Ok(stream) = tls.accept(stream).await {
                        serve(stream, received, answers).await;
                    }
                }
            }
        });
    }
}

async fn serve(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    received: Arc<Mutex<Vec<Received>>>,
    answers: Arc<Mutex<Answers>>,
) {
    let service = service_fn(move |request: Request<Incoming>| {
        let (received, answers) = (received.clone(), answers.clone());
        async move {
            let (head, body) = request.into_parts();
            let body = body.collect().await.unwrap().to_bytes();
            let path = head.uri.to_string();
            let one = Received { path, headers: head.headers, body, at: std::time::Instant::now() };
            let answer = (answers.lock().unwrap())(&one);
            received.lock().unwrap().push(one);
            tokio::time::sleep(answer.after).await;
            let mut response = Response::builder().status(answer.status);
            for (name, value) in answer.headers {
                response = response.header(name, value);
            }
            Ok::<_, Infallible>(response.body(Full::new(answer.body)).unwrap())
        }
    });
    // That the other side goes away is no error here.
    let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
}
