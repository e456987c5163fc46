//! The guest's own ping(8): what it is asked with, and what it says. It speaks as iputils' does, or as BusyBox's.
//!
//! All that is asked with is made here of addresses and numbers: no word of a user gets into a guest. What comes is the
//! guest's word and bounded by its reader; a line that isn't understood is left out.

use std::{collections::BTreeMap, net::IpAddr, time::Duration};

/// What is run in the guest, and nothing else.
pub(super) const PROGRAM: &str = "ping";
/// The most that one call sends. The guest's agent keeps no more than some MiB of what ping(8) says.
const COUNT_MAX: u16 = 100;
/// Both pings take root's word for shorter pauses and then flood.
const INTERVAL_MIN: Duration = Duration::from_millis(10);
/// The longest pause between two, and the longest that an answer is waited for.
const TIME_MAX: Duration = Duration::from_secs(60);
/// The pause that both pings make unasked.
const INTERVAL_UNASKED: Duration = Duration::from_secs(1);
/// ping(8) measures by a time stamp in the payload. With less room it tells of answers, but not how long they took.
const SIZE_MIN: u16 = 16;
/// What the beginning and the end of a process may take in a guest that is busy.
const SLACK: Duration = Duration::from_secs(10);
/// The most that is told of ping's own words, characters.
const WORDS_MAX: usize = 200;

/// Echo requests that a guest is to send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GuestPing {
    /// To whom.
    pub address: IpAddr,
    /// From which of its addresses; its own choice if absent.
    pub source: Option<IpAddr>,
    /// How many, from 1 to 100; others become the next of these.
    pub count: u16,
    /// The pause between two, from 10 ms to a minute. A guest whose ping can't tell parts of a second makes it a second.
    pub interval: Duration,
    /// How long each answer is waited for, at most a minute. iputils' ping waits for the last ones no longer than twice
    /// what the slowest took, once there is any.
    pub patience: Duration,
    /// Bytes that each carries, at least 16.
    pub size: u16,
}

/// What came of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GuestPinged {
    /// So many were sent.
    pub sent: u32,
    /// The answers, in order.
    pub replies: Vec<GuestReply>,
}

/// An answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GuestReply {
    /// To which request, from 1.
    pub sequence: u32,
    /// How long it took.
    pub rtt: Duration,
    /// The hops that it had left on arrival.
    pub ttl: Option<u8>,
}

impl GuestPing {
    /// What ping(8) is given. `plain`: only what every ping takes, also a BusyBox's that doesn't know parts of a second.
    pub(super) fn arguments(&self, plain: bool) -> Vec<String> {
        // Whole seconds, as all take them, and never 0, which is for ever to iputils' ping.
        let patience = self.patience().as_millis().div_ceil(1000).max(1);
        let mut words: Vec<String> = Vec::new();
        if !plain {
            // No names: a question to a name server would hold it up.
            words.push("-n".to_owned());
        }
        for (option, value) in [
            ("-c", self.count().to_string()),
            ("-W", patience.to_string()),
            ("-s", self.size.max(SIZE_MIN).to_string()),
        ] {
            words.extend([option.to_owned(), value]);
        }
        let interval = self.interval();
        if !plain && interval != INTERVAL_UNASKED {
            words.extend(["-i".to_owned(), format!("{}.{:03}", interval.as_secs(), interval.subsec_millis())]);
        }
        if let Some(source) = self.source {
            words.extend(["-I".to_owned(), source.to_string()]);
        }
        // Its family follows from it: -4 and -6 aren't known to all.
        words.push(self.address.to_string());
        words
    }

    /// The longest that ping(8) may take.
    pub(super) fn longest(&self) -> Duration {
        self.interval().max(INTERVAL_UNASKED) * u32::from(self.count()) + self.patience() + SLACK
    }

    /// What came of it by what ping(8) wrote to its standard output; `None` where that is no account of echo requests.
    pub(super) fn pinged(&self, output: &str) -> Option<GuestPinged> {
        let sent = output.lines().rev().find_map(|line| {
            let (count, rest) = line.split_once(" packets transmitted, ")?;
            rest.contains("received").then(|| count.trim().parse::<u32>().ok())?
        })?;
        let sent = sent.min(self.count().into());
        let lines: Vec<Line> = output.lines().filter_map(Line::read).collect();
        let mut replies = BTreeMap::new();
        for line in lines.iter().filter(|line| line.rtt <= self.patience()) {
            let sequence = if line.from_zero { line.sequence.saturating_add(1) } else { line.sequence };
            if (1..=sent).contains(&sequence) {
                replies.entry(sequence).or_insert(GuestReply { sequence, rtt: line.rtt, ttl: line.ttl });
            }
        }
        Some(GuestPinged { sent, replies: replies.into_values().collect() })
    }

    fn count(&self) -> u16 {
        self.count.clamp(1, COUNT_MAX)
    }

    fn interval(&self) -> Duration {
        self.interval.clamp(INTERVAL_MIN, TIME_MAX)
    }

    fn patience(&self) -> Duration {
        self.patience.min(TIME_MAX)
    }
}

/// A line about an answer: `64 bytes from 10.0.0.3: icmp_seq=1 ttl=64 time=0.456 ms`.
struct Line {
    sequence: u32,
    /// BusyBox counts from 0, and says `seq` only.
    from_zero: bool,
    rtt: Duration,
    ttl: Option<u8>,
}

impl Line {
    fn read(line: &str) -> Option<Self> {
        let (size, rest) = line.trim().split_once(" bytes from ")?;
        size.parse::<u32>().ok()?;
        // What follows are doubts: `(DUP!)`, `(BAD CHECKSUM!)`, `(DIFFERENT ADDRESS!)`.
        let rest = rest.strip_suffix(" ms")?;
        let word = |key: &str| rest.split(' ').find_map(|word| word.strip_prefix(key));
        let (from_zero, sequence) = match (word("icmp_seq="), word("seq=")) {
            (Some(sequence), _) => (false, sequence),
            (None, Some(sequence)) => (true, sequence),
            (None, None) => return None,
        };
        let millis: f64 = word("time=")?.parse().ok()?;
        Some(Self {
            sequence: sequence.parse().ok()?,
            from_zero,
            rtt: Duration::try_from_secs_f64(millis / 1e3).ok()?,
            ttl: word("ttl=").and_then(|ttl| ttl.parse().ok()),
        })
    }
}

/// The first thing that ping(8) said, to be shown: what it is about stands there, below is how to use it.
pub(super) fn words(output: &str, error_output: &str) -> Option<String> {
    let said = error_output.lines().chain(output.lines());
    let line = said.map(str::trim).find(|line| !line.is_empty())?;
    let line = line.strip_prefix("ping: ").unwrap_or(line);
    Some(line.chars().filter(|letter| !letter.is_control()).take(WORDS_MAX).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn a_ping() -> GuestPing {
        GuestPing {
            address: "10.0.0.3".parse().unwrap(),
            source: Some("10.0.0.2".parse().unwrap()),
            count: 4,
            interval: Duration::from_millis(200),
            patience: Duration::from_millis(1500),
            size: 56,
        }
    }

    fn replies(said: &[(u32, u64)]) -> Vec<GuestReply> {
        let reply = |(sequence, micros): &(u32, u64)| GuestReply {
            sequence: *sequence,
            rtt: Duration::from_micros(*micros),
            ttl: Some(64),
        };
        said.iter().map(reply).collect()
    }

    #[test]
    fn it_is_asked_as_finely_as_it_can_be() {
        let fine = ["-n", "-c", "4", "-W", "2", "-s", "56", "-i", "0.200", "-I", "10.0.0.2", "10.0.0.3"];
        assert_eq!(a_ping().arguments(false), fine);
        let plain = ["-c", "4", "-W", "2", "-s", "56", "-I", "10.0.0.2", "10.0.0.3"];
        assert_eq!(a_ping().arguments(true), plain);
        let ipv6 = GuestPing {
            address: "fd00::3".parse().unwrap(),
            source: None,
            interval: INTERVAL_UNASKED,
            patience: Duration::from_secs(1),
            ..a_ping()
        };
        assert_eq!(ipv6.arguments(false), ["-n", "-c", "4", "-W", "1", "-s", "56", "fd00::3"]);
    }

    #[test]
    fn nothing_is_asked_without_bounds() {
        let (least, most) = (Duration::ZERO, Duration::MAX);
        let small = GuestPing { count: 0, interval: least, patience: least, size: 0, source: None, ..a_ping() };
        assert_eq!(small.arguments(false), ["-n", "-c", "1", "-W", "1", "-s", "16", "-i", "0.010", "10.0.0.3"]);
        let great = GuestPing { count: u16::MAX, interval: most, patience: most, source: None, ..a_ping() };
        assert_eq!(great.arguments(false), ["-n", "-c", "100", "-W", "60", "-s", "56", "-i", "60.000", "10.0.0.3"]);
        assert_eq!(great.longest(), Duration::from_secs(100 * 60 + 60 + 10));
        assert_eq!(a_ping().longest(), Duration::from_millis(4_000 + 1_500 + 10_000));
    }

    #[test]
    fn what_iputils_says_is_read() {
        let said = "PING 10.0.0.3 (10.0.0.3) from 10.0.0.2 : 56(84) bytes of data.\n\
            64 bytes from 10.0.0.3: icmp_seq=1 ttl=64 time=0.456 ms\n\
            64 bytes from 10.0.0.3: icmp_seq=1 ttl=64 time=0.512 ms (DUP!)\n\
            From 10.0.0.2 icmp_seq=2 Destination Host Unreachable\n\
            64 bytes from 10.0.0.3: icmp_seq=3 ttl=64 time=12.0 ms\n\
            64 bytes from 10.0.0.3: icmp_seq=4 ttl=64 time=1501 ms\n\n\
            --- 10.0.0.3 ping statistics ---\n\
            4 packets transmitted, 3 received, +1 duplicates, +1 errors, 25% packet loss, time 3ms\n\
            rtt min/avg/max/mdev = 0.456/6.2/12.0/0.0 ms\n";
        let expected = GuestPinged { sent: 4, replies: replies(&[(1, 456), (3, 12_000)]) };
        assert_eq!(a_ping().pinged(said), Some(expected), "the fourth came too late");
        let ipv6 = "64 bytes from fe80::1%eth0: icmp_seq=1 ttl=64 time=0.020 ms\n1 packets transmitted, 1 received\n";
        assert_eq!(a_ping().pinged(ipv6), Some(GuestPinged { sent: 1, replies: replies(&[(1, 20)]) }));
        let named = "64 bytes from db (10.0.0.3): icmp_seq=1 ttl=64 time=0.020 ms\n1 packets transmitted, 1 received\n";
        assert_eq!(a_ping().pinged(named), Some(GuestPinged { sent: 1, replies: replies(&[(1, 20)]) }));
    }

    #[test]
    fn what_busybox_says_is_read() {
        let said = "PING 10.0.0.3 (10.0.0.3): 56 data bytes\n\
            64 bytes from 10.0.0.3: seq=0 ttl=64 time=0.456 ms\n\
            64 bytes from 10.0.0.3: seq=0 ttl=64 time=0.512 ms (DUP!)\n\
            64 bytes from 10.0.0.3: seq=2 ttl=64 time=1.000 ms\n\n\
            --- 10.0.0.3 ping statistics ---\n\
            4 packets transmitted, 2 packets received, 1 duplicates, 50% packet loss\n\
            round-trip min/avg/max = 0.456/0.7/1.000 ms\n";
        let expected = GuestPinged { sent: 4, replies: replies(&[(1, 456), (3, 1000)]) };
        assert_eq!(a_ping().pinged(said), Some(expected));
    }

    #[test]
    fn silence_is_a_result_and_nonsense_is_none() {
        let silent = "PING x\n\n--- x ping statistics ---\n4 packets transmitted, 0 received, 100% packet loss\n";
        assert_eq!(a_ping().pinged(silent), Some(GuestPinged { sent: 4, replies: vec![] }));
        for nonsense in ["", "PING x", "-1 packets transmitted, 3 received", "4 packets transmitted, none"] {
            assert_eq!(a_ping().pinged(nonsense), None, "{nonsense}");
        }
    }

    #[test]
    fn a_guest_that_lies_gets_no_further_than_what_was_asked() {
        let mut said = "64 bytes from x: icmp_seq=1 ttl=999 time=1 ms\n".to_owned();
        for line in [
            "icmp_seq=0 time=1",
            "icmp_seq=9 time=1",
            "icmp_seq=4294967295 time=1",
            "seq=4294967295 time=1",
            "icmp_seq=-1 time=1",
            "icmp_seq=2 time=-1",
            "icmp_seq=2 time=nan",
            "icmp_seq=2 time=inf",
            "icmp_seq=2 time=1e300",
            "icmp_seq=2",
            "seq= time=",
            "time=1",
        ] {
            said += &format!("64 bytes from x: {line} ms\n");
        }
        said +=
            " bytes from x: icmp_seq=2 time=1 ms\nicmp_seq=2 time=1 ms\n4294967295 packets transmitted, 9 received\n";
        let one = GuestReply { sequence: 1, rtt: Duration::from_millis(1), ttl: None };
        assert_eq!(a_ping().pinged(&said), Some(GuestPinged { sent: 4, replies: vec![one] }));
    }

    #[test]
    fn what_is_shown_of_its_words_is_one_short_line() {
        let unreachable = words("", "\nping: connect: Network is unreachable\n");
        assert_eq!(unreachable.as_deref(), Some("connect: Network is unreachable"));
        assert_eq!(words("out", "").as_deref(), Some("out"));
        assert_eq!(words(" \n", "\n"), None);
        let coloured = words("", &format!("\u{1b}[31m{}", "x".repeat(5000)));
        assert_eq!(coloured, Some(format!("[31m{}", "x".repeat(196))));
    }
}
