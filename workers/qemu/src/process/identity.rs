//! Which process it is, in a world where process ids are used again, and waiting for one that isn't our child.

use std::fs;
use std::io;
use std::os::fd::OwnedFd;

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use serde::{Deserialize, Serialize};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// A process for as long as this boot lasts: ids come again, ids with the same start time don't.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Identity {
    /// Process id.
    pub(crate) pid: i32,
    /// Clock ticks between boot and the process's start; proc_pid_stat(5), field 22.
    pub(crate) start_time_ticks: u64,
}

impl Identity {
    /// The process that has this id now, unless it's a zombie; `None` if there is none.
    pub(crate) fn of(pid: i32) -> Option<Self> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let (state, start_time_ticks) = parse_stat(&stat)?;
        (!matches!(state, 'Z' | 'X')).then_some(Self { pid, start_time_ticks })
    }

    pub(crate) fn is_running(&self) -> bool {
        Self::of(self.pid) == Some(*self)
    }

    /// A handle that can't come to mean another process; `None` if it has ended.
    fn handle(&self) -> io::Result<Option<OwnedFd>> {
        let Some(pid) = Pid::from_raw(self.pid) else {
            return Ok(None);
        };
        match pidfd_open(pid, PidfdFlags::NONBLOCK) {
            // Looked at after opening: if it is the right one now, the handle is of the right one.
            Ok(handle) => Ok(self.is_running().then_some(handle)),
            Err(rustix::io::Errno::SRCH) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Resolves when the process has ended, reaped by its parent or not.
    pub(crate) async fn ended(&self) -> io::Result<()> {
        let Some(handle) = self.handle()? else {
            return Ok(());
        };
        // A pidfd is readable once its process has ended; pidfd_open(2).
        #[allow(
            deprecated,
            reason = "unsound only for types whose descriptor can change; an OwnedFd keeps its own, and we have no unsafe code"
        )]
        let handle = AsyncFd::with_interest(handle, Interest::READABLE)?;
        handle.readable().await.map(drop)
    }

    /// SIGKILL, to this process and no other.
    pub(crate) fn kill(&self) -> io::Result<()> {
        match self.handle()? {
            None => Ok(()),
            Some(handle) => match pidfd_send_signal(&handle, Signal::KILL) {
                Err(rustix::io::Errno::SRCH) | Ok(()) => Ok(()),
                Err(error) => Err(error.into()),
            },
        }
    }
}

/// State and start time. The name in parentheses may hold anything, so fields are counted from the last parenthesis.
fn parse_stat(stat: &str) -> Option<(char, u64)> {
    let mut fields = stat.get(stat.rfind(')')? + 1..)?.split_ascii_whitespace();
    let state = fields.next()?.chars().next()?;
    // Field 3 was the state; 22 is the start time.
    let start_time_ticks = fields.nth(18)?.parse().ok()?;
    Some((state, start_time_ticks))
}

/// This boot's id, a UUID the kernel makes at each start; random(4). Process ids and start times mean nothing across
/// boots.
pub fn boot_id() -> io::Result<String> {
    Ok(fs::read_to_string("/proc/sys/kernel/random/boot_id")?.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    #[test]
    fn a_name_with_parentheses_and_spaces_does_not_shift_the_fields() {
        let stat = "42 (a) R 1 (b) S 1 42 42 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 123456 0 0";
        assert_eq!(parse_stat(stat), Some(('S', 123_456)));
    }

    #[tokio::test]
    async fn an_end_is_seen_and_a_zombie_counts_as_ended() {
        let mut child = Command::new("sleep").arg("60").spawn().expect("sleep starts");
        let pid = i32::try_from(child.id()).expect("a pid");
        let identity = Identity::of(pid).expect("it runs");
        assert!(identity.is_running());
        identity.kill().expect("killed");
        identity.ended().await.expect("seen");
        // Not reaped yet, so the kernel still knows the id.
        assert!(!identity.is_running());
        child.wait().expect("reaped");
        identity.ended().await.expect("an ended one has ended");
        identity.kill().expect("nothing to do");
    }

    #[test]
    fn another_process_with_the_same_id_is_not_taken_for_it() {
        let own = i32::try_from(std::process::id()).expect("a pid");
        let mut identity = Identity::of(own).expect("we run");
        identity.start_time_ticks += 1;
        assert!(!identity.is_running());
        identity.kill().expect("we are not killed");
    }
}
