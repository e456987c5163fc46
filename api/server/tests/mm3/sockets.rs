//! With real sockets: what only a listener can keep.

use std::time::{Duration, Instant};

use edgestack_server::{Listener, ServeError, TlsFiles};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    task::JoinHandle,
};

use crate::site::{BASE, DEADLINE, Site, TOKEN};

async fn listen(site: &Site, tls: Option<&TlsFiles>) -> (std::net::SocketAddr, JoinHandle<()>) {
    let listener = Listener::bind("127.0.0.1:0".parse().unwrap(), tls).await.unwrap();
    let address = listener.address();
    let serving = tokio::spawn(listener.serve(site.app.clone(), site.shutdown.clone()));
    (address, serving)
}

async fn raw(address: std::net::SocketAddr, text: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(text.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    tokio::time::timeout(DEADLINE, stream.read_to_end(&mut answer)).await.unwrap().unwrap();
    String::from_utf8_lossy(&answer).into_owned()
}

fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {TOKEN}\r\nconnection: close\r\n\r\n")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_connections_that_send_nothing_hinder_nobody_and_are_closed() {
    let site = Site::new().await;
    let (address, _serving) = listen(&site, None).await;
    let mut idle = Vec::new();
    for _ in 0..1000 {
        match TcpStream::connect(address).await {
            Ok(stream) => idle.push(stream),
            Err(error) => {
                println!(
                    "skipped: a_thousand_connections_that_send_nothing_hinder_nobody_and_are_closed: {error} after {}",
                    idle.len()
                );
                return;
            }
        }
    }
    let half = idle.len() / 2;
    for stream in &mut idle[half..] {
        stream.write_all(b"GET /healthz HTT").await.unwrap();
    }
    let begun = Instant::now();
    let answer = raw(address, &get(&format!("{BASE}/nodes/edge-1"))).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert!(begun.elapsed() < Duration::from_secs(1), "it took {:?}", begun.elapsed());
    let mut byte = [0_u8; 512];
    for stream in &mut idle {
        // Closed, or told that it was too slow and then closed.
        while tokio::time::timeout(DEADLINE, stream.read(&mut byte)).await.expect("idle ones are closed").unwrap_or(0)
            > 0
        {}
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_body_is_refused_without_being_read() {
    let site = Site::new().await;
    let (address, _serving) = listen(&site, None).await;
    let head = format!(
        "POST {BASE}/flavors HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {TOKEN}\r\ncontent-type: application/json\r\ncontent-length: 104857600\r\n\r\n"
    );
    let answer = raw(address, &head).await;
    assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_no_http_is_answered_and_closed() {
    let site = Site::new().await;
    let (address, _serving) = listen(&site, None).await;
    let long = format!("GET /{} HTTP/1.1\r\nhost: x\r\n\r\n", "a".repeat(70_000));
    let headers = format!("GET / HTTP/1.1\r\nhost: x\r\nx: {}\r\n\r\n", "a".repeat(70_000));
    for bad in ["nonsense\r\n\r\n", "GET / HTTP/9.9\r\n\r\n", long.as_str(), headers.as_str()] {
        let answer = raw(address, bad).await;
        assert!(answer.starts_with("HTTP/1.1 4"), "{answer:?}");
    }
    assert!(raw(address, &get("/healthz")).await.starts_with("HTTP/1.1 200"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_end_lets_streams_and_connections_end() {
    let site = Site::new().await;
    let (address, serving) = listen(&site, None).await;
    let mut watch = TcpStream::connect(address).await.unwrap();
    let head = format!("GET {BASE}/nodes?watch=true HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {TOKEN}\r\n\r\n");
    watch.write_all(head.as_bytes()).await.unwrap();
    let mut first = [0_u8; 64];
    watch.read_exact(&mut first).await.unwrap();
    site.shutdown.cancel();
    let mut rest = Vec::new();
    tokio::time::timeout(DEADLINE, watch.read_to_end(&mut rest)).await.expect("the stream ends").unwrap();
    assert!(rest.ends_with(b"0\r\n\r\n"), "it ends in order, not cut off");
    tokio::time::timeout(DEADLINE, serving).await.expect("serving ends").unwrap();
}

#[tokio::test]
async fn without_tls_only_loopback_is_listened_on() {
    for address in ["0.0.0.0:0", "[::]:0", "192.0.2.1:0"] {
        let refused = Listener::bind(address.parse().unwrap(), None).await;
        assert!(matches!(refused, Err(ServeError::ClearTextBeyondLoopback(_))), "{address}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tls_is_spoken_with_the_given_certificate() {
    let folder = tempfile::tempdir().unwrap();
    let files = TlsFiles { certificates: folder.path().join("cert.pem"), key: folder.path().join("key.pem") };
    let made = std::process::Command::new("openssl")
        .args([
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-nodes",
            "-days",
            "2",
            "-subj",
            "/CN=localhost",
            "-addext",
            "subjectAltName=IP:127.0.0.1",
            "-addext",
            "basicConstraints=critical,CA:FALSE",
            "-keyout",
        ])
        .arg(&files.key)
        .arg("-out")
        .arg(&files.certificates)
        .output();
    if !made.is_ok_and(|output| output.status.success()) {
        println!("skipped: tls_is_spoken_with_the_given_certificate: openssl made no certificate");
        return;
    }
    let site = Site::new().await;
    let (address, _serving) = listen(&site, Some(&files)).await;
    let pem = std::fs::read(&files.certificates).unwrap();
    let client =
        reqwest::Client::builder().add_root_certificate(reqwest::Certificate::from_pem(&pem).unwrap()).build().unwrap();
    let answer = client.get(format!("https://{address}/healthz")).send().await.unwrap();
    assert_eq!(answer.status(), 200);
    let swapped = TlsFiles { certificates: files.key.clone(), key: files.certificates.clone() };
    let refused = Listener::bind("127.0.0.1:0".parse().unwrap(), Some(&swapped)).await;
    assert!(refused.is_err());
}
