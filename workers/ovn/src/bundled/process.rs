//! One process: started or found again, and held by what can't come to mean another one.

use std::fs::{self, OpenOptions};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::process::Child;

use super::Plan;
use super::folder::Folder;
use super::part::{Part, pid_file_argument};
use super::tool::in_namespace;

/// A process that is watched through its pidfd, our child or not.
pub(super) struct Watched {
    pub(super) pid: u32,
    pidfd: AsyncFd<OwnedFd>,
    /// Only when it is our own child; then its end must be collected.
    child: Option<Child>,
}

impl Watched {
    /// Takes hold of the process of a part that was left running.
    pub(super) fn find(part: Part, folder: &Folder) -> io::Result<Option<Self>> {
        for pid in pids()? {
            if !is_part(pid, part, folder) {
                continue;
            }
            let pidfd = match pidfd_open(pid_of(pid)?, PidfdFlags::empty()) {
                Ok(pidfd) => pidfd,
                Err(rustix::io::Errno::SRCH) => continue,
                Err(error) => return Err(error.into()),
            };
            // Looked at again after opening: the pidfd names a process, the number may have come to name another one.
            if is_part(pid, part, folder) {
                return Ok(Some(Self { pid, pidfd: watch_end(pidfd)?, child: None }));
            }
        }
        Ok(None)
    }

    pub(super) fn start(part: Part, plan: &Plan) -> io::Result<Self> {
        let folder = &plan.folder;
        let words = OpenOptions::new().create(true).write(true).truncate(true).open(folder.words(part))?;
        let programs = &plan.config.programs;
        let mut command = in_namespace(&programs.ip, plan.config.netns.as_deref(), part.program(programs));
        let child = command
            .args(part.arguments(folder))
            .envs(folder.environment())
            .current_dir(folder.path())
            .stdin(Stdio::null())
            .stdout(words.try_clone()?)
            .stderr(words)
            // Its own group: a Ctrl-C meant for the daemon isn't meant for the network.
            .process_group(0)
            .spawn()?;
        let pid = child.id().ok_or_else(|| io::Error::other("the child has no pid"))?;
        // It isn't collected yet, so the number is still its own.
        let pidfd = pidfd_open(pid_of(pid)?, PidfdFlags::empty())?;
        Ok(Self { pid, pidfd: watch_end(pidfd)?, child: Some(child) })
    }

    /// Waits for its end and tells how it ended.
    pub(super) async fn ended(&mut self) -> String {
        if let Some(child) = &mut self.child {
            return match child.wait().await {
                Ok(status) => format!("it ended ({status})"),
                Err(error) => format!("it is lost ({error})"),
            };
        }
        match self.pidfd.readable().await {
            Ok(_) => "it ended".to_owned(),
            Err(error) => format!("it can't be watched ({error})"),
        }
    }

    /// Whether it has ended within this time.
    pub(super) async fn ended_within(&mut self, patience: Duration) -> bool {
        tokio::time::timeout(patience, self.ended()).await.is_ok()
    }

    pub(super) fn signal(&self, signal: Signal) -> io::Result<()> {
        match pidfd_send_signal(self.pidfd.get_ref(), signal) {
            Ok(()) | Err(rustix::io::Errno::SRCH) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

#[allow(deprecated, reason = "the new constructor is unsafe for types that don't own their descriptor; OwnedFd does")]
fn watch_end(pidfd: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    AsyncFd::with_interest(pidfd, Interest::READABLE)
}

fn pid_of(pid: u32) -> io::Result<Pid> {
    i32::try_from(pid).ok().and_then(Pid::from_raw).ok_or_else(|| io::Error::other("a bad pid"))
}

fn pids() -> io::Result<Vec<u32>> {
    let mut pids = Vec::new();
    for entry in fs::read_dir("/proc")? {
        pids.extend(entry?.file_name().to_str().and_then(|name| name.parse::<u32>().ok()));
    }
    Ok(pids)
}

/// Whether this is, or is about to become, the process of a part in this folder, and runs as we do. It needs no file that
/// says so: a daemon that was killed as it started the process had no time to write one.
fn is_part(pid: u32, part: Part, folder: &Folder) -> bool {
    let process = Path::new("/proc").join(pid.to_string());
    // One that ends meanwhile has no such files; one that has ended has no command line.
    let Ok(owner) = fs::metadata(&process) else {
        return false;
    };
    let wanted = pid_file_argument(part, folder);
    owner.uid() == rustix::process::geteuid().as_raw()
        && command_line(&process).split(|byte| *byte == 0).any(|word| word == wanted.as_bytes())
        && program(&process).is_some_and(|program| is_one_of_ours(&program))
}

/// A process's arguments. In the middle of an exec it has its new program but no arguments yet, for some µs: one of ours
/// is looked at again until it has some.
fn command_line(process: &Path) -> Vec<u8> {
    for _ in 0..100 {
        let line = fs::read(process.join("cmdline")).unwrap_or_default();
        if !line.is_empty() || !program(process).is_some_and(|program| is_one_of_ours(&program)) {
            return line;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    Vec::new()
}

/// The file name of its program, also when the file was replaced by an upgrade.
fn program(process: &Path) -> Option<String> {
    let exe = fs::read_link(process.join("exe")).ok()?;
    let name = exe.file_name()?.to_str()?;
    Some(name.strip_suffix(" (deleted)").unwrap_or(name).to_owned())
}

/// The four programs, or `ip`, which becomes one of them; [`in_namespace`].
fn is_one_of_ours(program: &str) -> bool {
    ["ovsdb-server", "ovs-vswitchd", "ovn-northd", "ovn-controller"].iter().any(|ours| program.starts_with(ours))
        || program == "ip"
}

/// An ovs-vswitchd that isn't the folder's, in the same network namespace.
pub(super) fn other_switch(plan: &Plan) -> io::Result<Option<u32>> {
    let namespace = match &plan.config.netns {
        None => fs::metadata("/proc/self/ns/net")?,
        Some(name) => fs::metadata(Path::new("/run/netns").join(name))?,
    };
    let is_other = |pid: u32| {
        let process = Path::new("/proc").join(pid.to_string());
        program(&process).is_some_and(|program| program.starts_with("ovs-vswitchd"))
            && !is_part(pid, Part::Switch, &plan.folder)
            && fs::metadata(process.join("ns/net"))
                .is_ok_and(|its| (its.dev(), its.ino()) == (namespace.dev(), namespace.ino()))
    };
    Ok(pids()?.into_iter().find(|pid| is_other(*pid)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    #[tokio::test]
    async fn a_process_is_not_taken_for_a_part_by_its_arguments_or_its_pid_file_alone() {
        let temporary = tempfile::tempdir().expect("a folder");
        let folder = Folder::make(temporary.path()).expect("made");
        // Another program that has the very argument, and whose id is in the pid file.
        let argument = pid_file_argument(Part::Switch, &folder);
        let mut other =
            Command::new("sh").args(["-c", "read _", "sh", &argument]).stdin(Stdio::piped()).spawn().expect("sh");
        fs::write(folder.path().join("vswitchd.pid"), format!("{}\n", other.id())).expect("written");
        assert!(Watched::find(Part::Switch, &folder).expect("looked").is_none());
        drop(other.stdin.take());
        other.wait().expect("ended");
    }
}
