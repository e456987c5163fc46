//! QEMU processes: start one, find one again, watch it, end it.

mod bounds;
mod end;
mod find;
mod identity;
mod launch;
mod list;
mod owner;
mod watch;

pub use bounds::Containment;
pub use end::{EndError, Ended, clear_away, end};
pub use find::{FindError, Record, arguments_hash, find};
pub use identity::boot_id;
pub use launch::{LaunchError, launch};
pub use list::{Running, list};
pub use owner::grant_read;
pub use watch::{Change, watch};

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::qmp::{QmpClient, QmpError};
use identity::Identity;

/// How long QEMU may take to answer a command. It answers within a millisecond; under heavy load its main loop can be
/// late.
const QMP_DEADLINE: Duration = Duration::from_secs(10);

/// What lies in a machine's folder. The folder itself belongs to the caller; `run/` belongs to the user QEMU runs as,
/// and what lies in there is not trusted: a guest that broke out of QEMU could have put it there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    directory: PathBuf,
}

impl Layout {
    /// The layout of the machine's folder `directory`.
    pub fn new(directory: &Path) -> Self {
        Self { directory: directory.to_owned() }
    }

    /// QEMU's own folder.
    pub fn run(&self) -> PathBuf {
        self.directory.join("run")
    }

    /// The monitor for connections that are closed soon.
    pub fn control_socket(&self) -> PathBuf {
        self.run().join("control.sock")
    }

    /// The monitor of [`watch`].
    pub fn watch_socket(&self) -> PathBuf {
        self.run().join("watch.sock")
    }

    /// The guest agent's port.
    pub fn agent_socket(&self) -> PathBuf {
        self.run().join("agent.sock")
    }

    /// The serial console, both ways.
    pub fn console_socket(&self) -> PathBuf {
        self.run().join("console.sock")
    }

    /// What the serial console said; see [`crate::console`].
    pub fn console_log(&self) -> PathBuf {
        self.run().join("console.log")
    }

    /// QEMU's pid file, which it keeps locked.
    pub fn pid_file(&self) -> PathBuf {
        self.run().join("qemu.pid")
    }

    /// QEMU's standard error of the last launch.
    pub fn stderr_log(&self) -> PathBuf {
        self.directory.join("qemu.log")
    }

    /// The record of the running instance.
    pub fn record(&self) -> PathBuf {
        self.directory.join("instance.json")
    }

    /// The lock that orders launchers.
    pub fn launch_lock(&self) -> PathBuf {
        self.directory.join("launch.lock")
    }

    pub(crate) fn sockets(&self) -> [PathBuf; 4] {
        [self.control_socket(), self.watch_socket(), self.agent_socket(), self.console_socket()]
    }
}

/// A QEMU that was running when it was launched or found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Instance {
    /// The machine's id.
    pub id: String,
    /// Where its sockets and files are.
    pub layout: Layout,
    /// What its launcher wrote down; `None` when the launcher was killed before it could.
    pub record: Option<Record>,
    identity: Identity,
}

impl Instance {
    /// The process id.
    pub fn pid(&self) -> i32 {
        self.identity.pid
    }

    /// When the process began, in clock ticks since the host's boot; proc_pid_stat(5), field 22.
    pub fn start_time_ticks(&self) -> u64 {
        self.identity.start_time_ticks
    }

    /// Whether that process still runs. A zombie doesn't.
    pub fn is_running(&self) -> bool {
        self.identity.is_running()
    }

    /// A short-lived connection to the machine's monitor. Close it (drop it) soon: the next one waits for that.
    pub async fn control(&self) -> Result<QmpClient, QmpError> {
        QmpClient::connect(&self.layout.control_socket(), Some(self.pid()), QMP_DEADLINE).await
    }

    /// Resolves once the process has ended.
    pub async fn ended(&self) -> io::Result<()> {
        self.identity.ended().await
    }

    /// The last line QEMU wrote to its standard error that tells something, without the program's name.
    pub fn last_words(&self) -> Option<String> {
        last_words(&self.layout.stderr_log())
    }
}

/// The last telling line of a QEMU's standard error: the last with QEMU's name before it, as its hints ("Is another
/// process using the image?") come after the error and without the name; else the last of all.
fn last_words(log: &Path) -> Option<String> {
    let tail = crate::console::tail(log, 16 << 10).ok()?;
    let text = String::from_utf8_lossy(&tail);
    let mut lines = text.lines().rev().map(str::trim).filter(|line| !line.is_empty() && !line.contains("warning: "));
    let said = |line: &str| Some(line.strip_prefix("qemu-system-")?.split_once(": ")?.1.to_owned());
    lines.clone().find_map(said).or_else(|| lines.next().map(str::to_owned))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_words_are_the_error_and_neither_a_warning_nor_a_hint() {
        let folder = tempfile::tempdir().expect("a folder");
        let check = |text: &str, expect: Option<&str>| {
            let log = folder.path().join("qemu.log");
            std::fs::write(&log, text).expect("written");
            assert_eq!(last_words(&log).as_deref(), expect);
        };
        check("", None);
        check("sh: 1: setsid: not found\n", Some("sh: 1: setsid: not found"));
        check(
            "qemu-system-x86_64: warning: old\nqemu-system-x86_64: -blockdev {}: no lock\nIs another process using it?\n\n",
            Some("-blockdev {}: no lock"),
        );
    }
}
