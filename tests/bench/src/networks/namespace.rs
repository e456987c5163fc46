//! A network namespace for the sites, and programs that are run to their end.

use std::{
    fs::File,
    os::fd::AsFd as _,
    path::Path,
    process::{Command, Stdio},
};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::{Failure, bare::which};

/// What of others is run.
const PROGRAMS: [&str; 8] =
    ["ip", "ping", "iperf3", "ethtool", "ovs-vswitchd", "ovn-controller", "ovn-nbctl", "ovs-vsctl"];

/// What this machine lacks, if anything.
pub fn lack() -> Option<Failure> {
    if !rustix::process::geteuid().is_root() {
        return Some("it needs root".into());
    }
    // Debian's root has them in PATH, others may not.
    let is_there =
        |program: &str| which(Path::new(program)).is_absolute() || Path::new("/usr/sbin").join(program).is_file();
    let missing = PROGRAMS.into_iter().find(|program| !is_there(program))?;
    Some(
        format!("no {missing}; it needs openvswitch-switch, ovn-central, ovn-host, iperf3, ethtool, iputils-ping")
            .into(),
    )
}

/// A network namespace (ip-netns(8)); gone when dropped.
pub struct Namespace {
    /// Its name.
    pub name: String,
}

impl Namespace {
    /// Makes one, whose name says whose it is.
    pub fn make(prefix: &str) -> Result<Self, Failure> {
        let name = format!("{prefix}-{}", std::process::id());
        run(&["ip", "netns", "add", &name])?;
        let made = Self { name };
        run(&["ip", "-n", &made.name, "link", "set", "lo", "up"])?;
        Ok(made)
    }

    /// Moves this thread into it, and so all that it starts from now on.
    pub fn enter(&self) -> Result<(), Failure> {
        let namespace = File::open(Path::new("/run/netns").join(&self.name))?;
        move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))?;
        Ok(())
    }

    /// A command that is run in it.
    pub fn command(&self, words: &[&str]) -> tokio::process::Command {
        let mut command = tokio::process::Command::new("ip");
        command.args(["netns", "exec", &self.name]).args(words).stdin(Stdio::null()).kill_on_drop(true);
        command
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        if let Err(error) = run(&["ip", "netns", "delete", &self.name]) {
            eprintln!("edgestack-bench: a namespace is left over: {error}");
        }
    }
}

/// Runs it to its end, which must be a good one; what it printed.
pub fn run(words: &[&str]) -> Result<String, Failure> {
    let (program, arguments) = words.split_first().ok_or("no program")?;
    let output = Command::new(program).args(arguments).stdin(Stdio::null()).output()?;
    if !output.status.success() {
        // Of some there are thousands of words.
        let first = words[..words.len().min(8)].join(" ");
        return Err(format!("{first} …: {}", String::from_utf8_lossy(&output.stderr).trim()).into());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
