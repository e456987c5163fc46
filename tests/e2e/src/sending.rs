//! Packets that are sent all the while, and how many of them were answered.

use std::{
    io::{BufRead as _, BufReader, Read as _},
    process::{Child, ChildStderr, Command, Stdio},
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};

use crate::Plugged;

/// How long answers that are late are waited for at the end.
const LATE: Duration = Duration::from_secs(1);

impl Plugged {
    /// Sends a packet each 20 ms to an address until it is told to stop; tells how many were not answered, and how many
    /// there were.
    pub fn keep_sending(&self, ip: &str) -> Sending {
        let mut child = Command::new("ip")
            .args(["netns", "exec", self.name(), "ping", "-n", "-i", "0.02", "-q", ip])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("ping runs");
        let so_far = BufReader::new(child.stderr.take().expect("its words"));
        Sending { child, so_far }
    }
}

/// Packets that are being sent.
pub struct Sending {
    child: Child,
    so_far: BufReader<ChildStderr>,
}

impl Sending {
    /// How many packets got no answer, and how many were sent.
    ///
    /// # Panics
    /// When ping says something else.
    pub fn stop(mut self) -> (u32, u32) {
        self.await_late_answers();
        // So it tells its sums; ping(8).
        self.signal(Signal::INT);
        let mut text = String::new();
        self.child.stdout.as_mut().expect("its words").read_to_string(&mut text).expect("text");
        self.child.wait().expect("ended");
        let number = |end: &str| -> u32 {
            let before = text.split(end).next().expect("a text");
            before.rsplit([' ', '\n', ',']).find_map(|word| word.parse().ok()).unwrap_or_else(|| panic!("{text}"))
        };
        let (sent, answered) = (number(" packets transmitted"), number(" received"));
        (sent - answered, sent)
    }

    /// A packet that had to wait is not lost: its answer may have come, and ping not have been told of it yet.
    fn await_late_answers(&mut self) {
        let begun = Instant::now();
        while begun.elapsed() < LATE {
            // So it tells how many by now, as `41/43 packets, 4% loss, …`; ping(8).
            self.signal(Signal::QUIT);
            let mut line = String::new();
            if self.so_far.read_line(&mut line).expect("text") == 0 {
                return;
            }
            let numbers = line.trim().split_once(" packets,").and_then(|(numbers, _)| numbers.split_once('/'));
            let numbers =
                numbers.and_then(|(answered, sent)| Some((answered.parse::<u32>().ok()?, sent.parse().ok()?)));
            // The last one is on its way.
            if numbers.is_some_and(|(answered, sent): (u32, u32)| sent <= answered + 1) {
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).expect("signalled");
    }
}
