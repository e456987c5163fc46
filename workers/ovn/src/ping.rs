//! Echo requests (ICMP, RFC 792; ICMPv6, RFC 4443) from a port of the integration bridge, by a host of our own.
//!
//! The host is a small IP stack in this process behind the port's TAP device. So nothing of the kernel's own network is
//! touched: no address, no route, no namespace.

use std::collections::BTreeMap;
use std::io;
use std::net::IpAddr;
use std::os::fd::AsRawFd as _;
use std::time::{Duration, Instant};

use smoltcp::iface::{Config, Interface, SocketHandle, SocketSet};
use smoltcp::phy::{self, ChecksumCapabilities, Medium, TunTapInterface};
use smoltcp::socket::icmp;
use smoltcp::wire::{
    EthernetAddress, Icmpv4Packet, Icmpv4Repr, Icmpv6Packet, Icmpv6Repr, IpAddress, IpCidr, Ipv6Address,
};

use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// The identifier of our echo requests; the host has the port for itself, so any does.
const IDENT: u16 = 0x6573;
/// The most that one call sends.
pub const COUNT_MAX: u16 = 100;
/// For so long the way is tried at most before requests count: the stack asks again for a MAC address after a second, and the
/// first question may be lost while the switch and the kernel take up the port.
const FIRST_WITHIN: Duration = Duration::from_millis(1300);
/// `FD_SETSIZE`; select(2).
const SELECT_MAX: i32 = 1024;
/// How often a device is looked at that can't be waited for.
const LOOK: Duration = Duration::from_micros(500);
/// What the headers of an echo request take: IPv6's and ICMPv6's.
const HEADERS: usize = 48;
const PAYLOAD_MAX: usize = 65_535 - HEADERS;

/// The host that asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Host {
    /// Its TAP device, plugged into the integration bridge.
    pub device: String,
    /// Its MAC address.
    pub mac: [u8; 6],
    /// Its addresses, each with the length of its prefix: one of each family at most.
    pub addresses: Vec<(IpAddr, u8)>,
    /// Its way to all others, one of each family at most.
    pub gateways: Vec<IpAddr>,
}

/// What is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ping {
    /// Who.
    pub address: IpAddr,
    /// How often, at most [`COUNT_MAX`].
    pub count: u16,
    /// The pause between two.
    pub interval: Duration,
    /// How long to wait for each answer.
    pub patience: Duration,
    /// So many bytes each carries.
    pub size: u16,
}

/// What came of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pinged {
    /// So many were sent.
    pub sent: u32,
    /// Those that were answered in time, in their order.
    pub replies: Vec<Reply>,
}

/// An answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reply {
    /// To which, from 1.
    pub sequence: u32,
    /// How long it took.
    pub rtt: Duration,
}

/// A host whose device is open, so that the kernel begins to pass packets on to it: that takes it a moment, in which what
/// is sent is lost.
pub struct Port {
    go: oneshot::Sender<Ping>,
    work: JoinHandle<io::Result<Pinged>>,
}

impl Port {
    /// Opens the host's device.
    ///
    /// # Errors
    /// It can't be opened.
    pub async fn open(host: Host) -> io::Result<Self> {
        let (go, gone) = oneshot::channel();
        let (opened, is_open) = oneshot::channel();
        // The stack's device stays in one thread.
        let work = tokio::task::spawn_blocking(move || run(&host, opened, gone));
        match is_open.await {
            Ok(()) => Ok(Self { go, work }),
            Err(_) => Err(match ended(work).await {
                Err(error) => error,
                Ok(_) => io::ErrorKind::Interrupted.into(),
            }),
        }
    }

    /// Sends the requests and waits for the answers.
    ///
    /// # Errors
    /// The device goes away meanwhile.
    pub async fn ping(self, ping: Ping) -> io::Result<Pinged> {
        // Where nobody takes it, the work has ended, and says why.
        let _ = self.go.send(ping);
        ended(self.work).await
    }
}

async fn ended(work: JoinHandle<io::Result<Pinged>>) -> io::Result<Pinged> {
    // The stack panics on a device that goes away.
    match work.await {
        Ok(pinged) => pinged,
        Err(error) if error.is_panic() => Err(io::Error::other("the device went away")),
        Err(_) => Err(io::ErrorKind::Interrupted.into()),
    }
}

fn run(host: &Host, opened: oneshot::Sender<()>, go: oneshot::Receiver<Ping>) -> io::Result<Pinged> {
    let mut device = TunTapInterface::new(&host.device, Medium::Ethernet)?;
    let mut interface = interface(host, &mut device)?;
    // Who opened it may have gone away, and then sends nothing.
    let _ = opened.send(());
    let Ok(ping) = go.blocking_recv() else { return Err(io::ErrorKind::Interrupted.into()) };
    let ping = &ping;
    let mut sockets = SocketSet::new(vec![]);
    let handle = socket(&mut sockets, ping)?;
    let mut course = Course::new(ping);
    while !course.is_over(Instant::now()) {
        let source = source(&interface, ping.address);
        course.send(sockets.get_mut(handle), source)?;
        interface.poll(smoltcp::time::Instant::now(), &mut device, &mut sockets);
        course.receive(sockets.get_mut(handle));
        let next = course.next(Instant::now());
        let stack = interface.poll_delay(smoltcp::time::Instant::now(), &sockets);
        let pause = stack.map_or(next, |stack| Duration::from_micros(stack.total_micros()).min(next));
        wait(&device, pause)?;
    }
    Ok(course.pinged())
}

/// Waits until there is something to be read, so long at most.
fn wait(device: &TunTapInterface, pause: Duration) -> io::Result<()> {
    // The stack waits by select(2), which knows no descriptor from here on, and ends the process over one.
    if device.as_raw_fd() >= SELECT_MAX {
        std::thread::sleep(pause.min(LOOK));
        return Ok(());
    }
    match phy::wait(device.as_raw_fd(), Some(pause.into())) {
        Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(()),
        waited => waited,
    }
}

fn interface(host: &Host, device: &mut TunTapInterface) -> io::Result<Interface> {
    let config = Config::new(EthernetAddress(host.mac).into());
    let mut interface = Interface::new(config, device, smoltcp::time::Instant::now());
    let mut room = true;
    interface.update_ip_addrs(|addresses| {
        for (address, length) in &host.addresses {
            room &= addresses.push(IpCidr::new((*address).into(), *length)).is_ok();
        }
    });
    for gateway in &host.gateways {
        room &= match gateway {
            IpAddr::V4(gateway) => interface.routes_mut().add_default_ipv4_route(*gateway).is_ok(),
            IpAddr::V6(gateway) => interface.routes_mut().add_default_ipv6_route(*gateway).is_ok(),
        };
    }
    if room { Ok(interface) } else { Err(io::Error::other("too many addresses for one host")) }
}

fn socket(sockets: &mut SocketSet<'_>, ping: &Ping) -> io::Result<SocketHandle> {
    // And the one that does not count.
    let count = usize::from(ping.count.min(COUNT_MAX)) + 1;
    let bytes = (usize::from(ping.size).min(PAYLOAD_MAX) + HEADERS) * count;
    let buffer = || icmp::PacketBuffer::new(vec![icmp::PacketMetadata::EMPTY; count], vec![0; bytes]);
    let mut socket = icmp::Socket::new(buffer(), buffer());
    socket.bind(icmp::Endpoint::Ident(IDENT)).map_err(|error| io::Error::other(error.to_string()))?;
    Ok(sockets.add(socket))
}

/// The address from which it is asked; of IPv6 only, where the checksum is about it, too.
fn source(interface: &Interface, target: IpAddr) -> Option<Ipv6Address> {
    match target {
        IpAddr::V4(_) => None,
        IpAddr::V6(target) => Some(interface.get_source_address_ipv6(&target)),
    }
}

/// The request before all others, number 0, which doesn't count: it finds the way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum First {
    Unsent,
    SentUntil(Instant),
    Done,
}

/// The requests on their way.
struct Course<'p> {
    ping: &'p Ping,
    payload: Vec<u8>,
    next_at: Instant,
    first: First,
    sent: u16,
    waiting: BTreeMap<u16, Instant>,
    replies: BTreeMap<u16, Duration>,
}

impl<'p> Course<'p> {
    fn new(ping: &'p Ping) -> Self {
        let payload = (0..usize::from(ping.size).min(PAYLOAD_MAX)).map(|at| at.to_le_bytes()[0]).collect();
        let (waiting, replies) = (BTreeMap::new(), BTreeMap::new());
        Self { ping, payload, next_at: Instant::now(), first: First::Unsent, sent: 0, waiting, replies }
    }

    fn count(&self) -> u16 {
        self.ping.count.min(COUNT_MAX)
    }

    /// All were sent, and none is waited for any more.
    fn is_over(&mut self, now: Instant) -> bool {
        self.waiting.retain(|_, sent| now.duration_since(*sent) < self.ping.patience);
        if matches!(self.first, First::SentUntil(until) if until <= now) {
            self.begin(now);
        }
        self.sent == self.count() && self.waiting.is_empty()
    }

    /// From now on requests count.
    fn begin(&mut self, now: Instant) {
        (self.first, self.next_at) = (First::Done, now);
    }

    /// When there is something to do without an answer.
    fn next(&self, now: Instant) -> Duration {
        let times_out = self.waiting.values().map(|sent| *sent + self.ping.patience);
        let sends = match self.first {
            First::SentUntil(until) => Some(until),
            First::Unsent | First::Done => (self.sent < self.count()).then_some(self.next_at),
        };
        times_out.chain(sends).min().map_or(Duration::ZERO, |at| at.saturating_duration_since(now))
    }

    fn send(&mut self, socket: &mut icmp::Socket<'_>, source: Option<Ipv6Address>) -> io::Result<()> {
        let now = Instant::now();
        let seq_no = match self.first {
            First::Unsent => 0,
            First::SentUntil(_) => return Ok(()),
            First::Done if self.sent == self.count() || now < self.next_at => return Ok(()),
            First::Done => self.sent + 1,
        };
        let (ident, data) = (IDENT, self.payload.as_slice());
        let full = |error: icmp::SendError| io::Error::other(error.to_string());
        let checksums = ChecksumCapabilities::default();
        match self.ping.address {
            IpAddr::V4(address) => {
                let request = Icmpv4Repr::EchoRequest { ident, seq_no, data };
                let bytes = socket.send(request.buffer_len(), address.into()).map_err(full)?;
                request.emit(&mut Icmpv4Packet::new_unchecked(bytes), &checksums);
            }
            IpAddr::V6(address) => {
                let request = Icmpv6Repr::EchoRequest { ident, seq_no, data };
                let bytes = socket.send(request.buffer_len(), address.into()).map_err(full)?;
                let source = source.unwrap_or(Ipv6Address::UNSPECIFIED);
                request.emit(&source, &address, &mut Icmpv6Packet::new_unchecked(bytes), &checksums);
            }
        }
        if seq_no == 0 {
            self.first = First::SentUntil(now + FIRST_WITHIN);
            return Ok(());
        }
        self.sent = seq_no;
        self.waiting.insert(seq_no, now);
        self.next_at = now + self.ping.interval;
        Ok(())
    }

    fn receive(&mut self, socket: &mut icmp::Socket<'_>) {
        let now = Instant::now();
        // The stack has checked the checksums, and that it is for us. What can't be read is nobody's answer.
        while let Ok((bytes, from)) = socket.recv() {
            let Some(seq_no) = answered(bytes, from).filter(|_| IpAddress::from(self.ping.address) == from) else {
                continue;
            };
            if seq_no == 0 && self.first != First::Done {
                self.begin(now);
            }
            if let Some(sent) = self.waiting.remove(&seq_no) {
                self.replies.insert(seq_no, now.duration_since(sent));
            }
        }
    }

    fn pinged(self) -> Pinged {
        let reply = |(sequence, rtt): (u16, Duration)| Reply { sequence: u32::from(sequence), rtt };
        Pinged { sent: u32::from(self.sent), replies: self.replies.into_iter().map(reply).collect() }
    }
}

/// Which request this answers.
fn answered(bytes: &[u8], from: IpAddress) -> Option<u16> {
    match from {
        IpAddress::Ipv4(_) => {
            let packet = Icmpv4Packet::new_checked(bytes).ok()?;
            (packet.msg_type() == smoltcp::wire::Icmpv4Message::EchoReply).then(|| packet.echo_seq_no())
        }
        IpAddress::Ipv6(_) => {
            let packet = Icmpv6Packet::new_checked(bytes).ok()?;
            (packet.msg_type() == smoltcp::wire::Icmpv6Message::EchoReply).then(|| packet.echo_seq_no())
        }
    }
}
