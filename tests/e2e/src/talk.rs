//! What guests that are namespaces say to each other by TCP and UDP.

use std::{
    fs::File,
    io::{self, Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream, UdpSocket},
    os::fd::AsFd as _,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::{PATIENCE, Plugged, eventually};

/// How long one of many connections may take.
const EACH_WITHIN: Duration = Duration::from_millis(300);
/// The pause between them.
const PACE: Duration = Duration::from_millis(20);

impl Plugged {
    /// Makes a socket in it, which stays there.
    ///
    /// # Errors
    /// Those of `make`.
    pub fn socket<T: Send>(&self, make: impl FnOnce() -> io::Result<T> + Send) -> io::Result<T> {
        let within = || {
            // Of this thread alone, which ends with the making.
            enter(self.name());
            make()
        };
        std::thread::scope(|scope| scope.spawn(within).join().expect("it does not panic"))
    }

    /// Answers what comes to a TCP port of all its addresses: each byte comes back.
    pub fn answer_tcp(&self, port: u16) {
        let listener = self.socket(|| TcpListener::bind(("::", port))).expect("a free port");
        // Both end with the test's process.
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                std::thread::spawn(move || io::copy(&mut &stream, &mut &stream));
            }
        });
    }

    /// Tells its name to whoever comes to a TCP port of it.
    pub fn tell_name_by_tcp(&self, port: u16) {
        // It ends with the test's process.
        let _ = self.serve_name_by_tcp(port);
    }

    /// The same, by somebody who can end.
    pub fn serve_name_by_tcp(&self, port: u16) -> Serving {
        let listener = self.socket(|| TcpListener::bind(("::", port))).expect("a free port");
        let (accepts, name) = (listener.try_clone().expect("a second handle"), self.name().to_owned());
        let thread = std::thread::spawn(move || {
            loop {
                match accepts.accept() {
                    // Who is gone again needs no name.
                    Ok((mut stream, _)) => drop(stream.write_all(name.as_bytes())),
                    // It was ended: accept(2), EINVAL.
                    Err(error) if error.kind() == io::ErrorKind::InvalidInput => return,
                    Err(_) => {}
                }
            }
        });
        Serving { listener, thread }
    }

    /// The name that is told by whoever answers there within so long.
    ///
    /// # Errors
    /// Nobody does.
    pub fn ask_name(&self, ip: &str, port: u16, within: Duration) -> io::Result<String> {
        let mut name = String::new();
        self.connect(ip, port, within)?.read_to_string(&mut name)?;
        Ok(name)
    }

    /// Tells its name to whoever sends a datagram to a UDP port of this address of it.
    pub fn tell_name_by_udp(&self, ip: &str, port: u16) {
        // Of one address: the answer is to come from the one that was asked.
        let socket = self.socket(|| UdpSocket::bind(address(ip, port))).expect("a free port");
        let name = self.name().to_owned();
        // It ends with the test's process.
        std::thread::spawn(move || {
            let mut asked = [0; 64];
            while let Ok((_, from)) = socket.recv_from(&mut asked) {
                // Who is gone again needs no name.
                let _ = socket.send_to(name.as_bytes(), from);
            }
        });
    }

    /// The name that is told by whoever answers a datagram there within so long.
    ///
    /// # Errors
    /// Nobody does.
    pub fn ask_name_by_udp(&self, ip: &str, port: u16, within: Duration) -> io::Result<String> {
        let to = address(ip, port);
        let any = if to.is_ipv4() { "0.0.0.0" } else { "::" };
        let socket = self.socket(|| UdpSocket::bind(address(any, 0)))?;
        // So that nobody else's answer counts.
        self.socket(|| socket.connect(to))?;
        socket.set_read_timeout(Some(within))?;
        socket.send(b"who is there?")?;
        let mut name = [0; 64];
        let length = socket.recv(&mut name)?;
        Ok(String::from_utf8_lossy(&name[..length]).into_owned())
    }

    /// A TCP connection to there within so long.
    ///
    /// # Errors
    /// It could not be made.
    pub fn connect(&self, ip: &str, port: u16, within: Duration) -> io::Result<TcpStream> {
        let stream = self.socket(|| TcpStream::connect_timeout(&address(ip, port), within))?;
        stream.set_read_timeout(Some(within))?;
        Ok(stream)
    }

    /// Waits until there is a TCP connection to there.
    pub async fn await_connection(&self, ip: &str, port: u16) -> TcpStream {
        eventually(&format!("{ip} port {port} answers {}", self.name()), PATIENCE, async || {
            self.connect(ip, port, Duration::from_millis(500)).map_err(|error| error.to_string())
        })
        .await
    }

    /// Asks for a name there, one connection after the other, until it is told to stop.
    pub fn keep_asking(&self, ip: &str, port: u16) -> Asking {
        let goes_on = Arc::new(AtomicBool::new(true));
        let (name, to, asks) = (self.name().to_owned(), address(ip, port), goes_on.clone());
        let thread = std::thread::spawn(move || {
            enter(&name);
            let (mut told, mut answered_last) = (Asked::default(), Instant::now());
            while asks.load(Ordering::Relaxed) {
                told.asked += 1;
                let mut name = String::new();
                let answered = TcpStream::connect_timeout(&to, EACH_WITHIN).and_then(|mut stream| {
                    stream.set_read_timeout(Some(EACH_WITHIN))?;
                    stream.read_to_string(&mut name)
                });
                told.longest_silence = told.longest_silence.max(answered_last.elapsed());
                match answered {
                    Ok(_) => answered_last = Instant::now(),
                    Err(_) => told.failed += 1,
                }
                std::thread::sleep(PACE);
            }
            told
        });
        Asking { thread, goes_on }
    }
}

/// Moves this thread into a namespace.
fn enter(name: &str) {
    let namespace = File::open(format!("/run/netns/{name}")).expect("a namespace");
    move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network)).expect("entered");
}

fn address(ip: &str, port: u16) -> SocketAddr {
    SocketAddr::new(ip.parse().expect("an address"), port)
}

/// Whether a connection still carries bytes to its end and back.
pub fn is_alive(stream: &TcpStream) -> bool {
    let mut answer = [0; 4];
    let (mut writes, mut reads) = (stream, stream);
    // What is under way from an earlier try comes first; any answer tells that packets pass.
    writes.write_all(b"ping").is_ok() && reads.read_exact(&mut answer).is_ok()
}

/// Somebody who tells a name at a port.
pub struct Serving {
    listener: TcpListener,
    thread: JoinHandle<()>,
}

impl Serving {
    /// Ends it: the port is closed, and its host answers that nobody is there.
    ///
    /// # Panics
    /// When its thread does.
    pub fn end(self) {
        // Who waits for the next one to come is woken by that.
        rustix::net::shutdown(&self.listener, rustix::net::Shutdown::Both).expect("shut down");
        drop(self.listener);
        self.thread.join().expect("ended");
    }
}

/// Connections that are being made.
pub struct Asking {
    thread: JoinHandle<Asked>,
    goes_on: Arc<AtomicBool>,
}

impl Asking {
    /// What became of them.
    ///
    /// # Panics
    /// When its thread does.
    pub fn stop(self) -> Asked {
        self.goes_on.store(false, Ordering::Relaxed);
        self.thread.join().expect("ended")
    }
}

/// What became of many connections.
#[derive(Clone, Copy, Debug, Default)]
pub struct Asked {
    /// How many there were.
    pub asked: u32,
    /// How many of them got no answer.
    pub failed: u32,
    /// The longest time from an answer to the next one.
    pub longest_silence: Duration,
}
