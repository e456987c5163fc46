//! A receiver of webhooks: plain sockets and threads, sharing nothing with the sender.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU16, Ordering},
    },
    time::Duration,
};

use serde_json::Value;

/// A delivery.
#[derive(Clone, Debug)]
pub struct Delivered {
    /// The request's line.
    pub line: String,
    headers: Vec<(String, String)>,
    /// Its body, byte for byte.
    pub body: Vec<u8>,
}

impl Delivered {
    /// A header; empty if absent.
    pub fn header(&self, name: &str) -> &str {
        let found = self.headers.iter().find(|(of, _)| of.eq_ignore_ascii_case(name));
        found.map_or("", |(_, value)| value.as_str())
    }

    /// The CloudEvent.
    ///
    /// # Panics
    /// When the body is none.
    pub fn event(&self) -> Value {
        serde_json::from_slice(&self.body).expect("JSON")
    }

    /// The commit's sequence.
    ///
    /// # Panics
    /// When the body has none.
    pub fn sequence(&self) -> u64 {
        self.event()["sequence"].as_str().expect("a sequence").parse().expect("a number")
    }

    /// The object, as `flavor/a`.
    pub fn object(&self) -> String {
        self.event()["subject"].as_str().unwrap_or_default().to_owned()
    }
}

/// Listens while it lives.
pub struct Receiver {
    /// Where.
    pub address: SocketAddr,
    delivered: Arc<Mutex<Vec<Delivered>>>,
    status: Arc<AtomicU16>,
    pause: Arc<Mutex<Duration>>,
    ended: Arc<AtomicBool>,
}

impl Receiver {
    /// One that takes everything, at a free port of loopback.
    pub fn start() -> Self {
        Self::at("127.0.0.1:0".parse().expect("an address"))
    }

    /// The same at a certain port.
    pub fn at(address: SocketAddr) -> Self {
        let listener = TcpListener::bind(address).expect("the port is free");
        let receiver = Self {
            address: listener.local_addr().expect("an address"),
            delivered: Arc::default(),
            status: Arc::new(AtomicU16::new(204)),
            pause: Arc::default(),
            ended: Arc::default(),
        };
        let (delivered, status) = (receiver.delivered.clone(), receiver.status.clone());
        let (pause, ended) = (receiver.pause.clone(), receiver.ended.clone());
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                if ended.load(Ordering::SeqCst) {
                    return;
                }
                let Ok(stream) = stream else { continue };
                let (delivered, status) = (delivered.clone(), status.clone());
                let (pause, ended) = (pause.clone(), ended.clone());
                std::thread::spawn(move || {
                    let mut reader = BufReader::new(stream);
                    while let Some(one) = request(&mut reader) {
                        if ended.load(Ordering::SeqCst) {
                            return;
                        }
                        delivered.lock().expect("no panic").push(one);
                        let pause = *pause.lock().expect("no panic");
                        std::thread::sleep(pause);
                        let answer = status.load(Ordering::SeqCst);
                        let answer = format!("HTTP/1.1 {answer} Said So\r\ncontent-length: 0\r\n\r\n");
                        if reader.get_mut().write_all(answer.as_bytes()).is_err() {
                            return;
                        }
                    }
                });
            }
        });
        receiver
    }

    /// What it answers from now on.
    pub fn answer(&self, status: u16) {
        self.status.store(status, Ordering::SeqCst);
    }

    /// How long it takes for each from now on.
    ///
    /// # Panics
    /// Never.
    pub fn take(&self, pause: Duration) {
        *self.pause.lock().expect("no panic") = pause;
    }

    /// What came so far.
    ///
    /// # Panics
    /// Never.
    pub fn delivered(&self) -> Vec<Delivered> {
        self.delivered.lock().expect("no panic").clone()
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::SeqCst);
        // Wakes the thread that waits for connections, so that the port is free.
        let _ = TcpStream::connect(self.address);
    }
}

/// The next request of a connection; `None` at its end.
fn request(reader: &mut BufReader<TcpStream>) -> Option<Delivered> {
    let mut line = String::new();
    reader.read_line(&mut line).ok().filter(|read| *read > 0)?;
    let mut headers = Vec::new();
    loop {
        let mut header = String::new();
        reader.read_line(&mut header).ok().filter(|read| *read > 0)?;
        let Some((name, value)) = header.trim_end().split_once(':') else { break };
        headers.push((name.to_owned(), value.trim().to_owned()));
    }
    let length = headers.iter().find(|(name, _)| name.eq_ignore_ascii_case("content-length"));
    let mut body = vec![0; length.and_then(|(_, value)| value.parse().ok()).unwrap_or(0)];
    reader.read_exact(&mut body).ok()?;
    Some(Delivered { line: line.trim_end().to_owned(), headers, body })
}
