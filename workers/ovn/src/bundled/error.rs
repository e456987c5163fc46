//! Why the bundled OVN doesn't run, or doesn't end.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use super::part::Part;
use super::tool::ToolError;

/// Why the bundled OVN doesn't run, or doesn't end. Each says what to do.
#[derive(Debug, thiserror::Error)]
pub enum BundledError {
    /// A program or schema isn't there.
    #[error("can't find {what}: apt-get install openvswitch-switch ovn-central ovn-host iproute2")]
    Missing {
        /// The program's name or the schema's path.
        what: String,
    },
    /// Devices can't be made by others.
    #[error("an OVN can only be run by root; run the daemon as root, or name an OVN that runs already")]
    NotRoot,
    /// The folder can't be used.
    #[error("can't use {} for OVN", path.display())]
    Folder {
        /// The folder or the file in it.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// Unix sockets can't be made in the folder.
    #[error(
        "the path {} has {bytes} bytes; sockets of OVN need one of {limit} or fewer: choose a shorter data folder",
        path.display()
    )]
    PathTooLong {
        /// The folder.
        path: PathBuf,
        /// Its length.
        bytes: usize,
        /// How long it may be.
        limit: usize,
    },
    /// The path can't be written into the databases and command lines.
    #[error("can't use {} for OVN: choose a path without spaces, commas, \" and \\", path.display())]
    OddPath {
        /// The folder.
        path: PathBuf,
    },
    /// Another daemon uses the folder.
    #[error("another process uses {}: stop the other daemon, or choose another data folder", path.display())]
    InUse {
        /// The folder.
        path: PathBuf,
    },
    /// A name of the configuration can't be used.
    #[error("can't use {name:?} as the name of {of}: {why}")]
    BadName {
        /// Of what.
        of: &'static str,
        /// The name.
        name: String,
        /// Why not, and what can be used.
        why: &'static str,
    },
    /// The network namespace isn't there.
    #[error("there is no network namespace {name}: make it with `ip netns add {name}`")]
    NoNamespace {
        /// Its name.
        name: String,
    },
    /// Another Open vSwitch owns the datapath, of which there is one in a network namespace.
    #[error(
        "another ovs-vswitchd (pid {pid}) runs on this node: `systemctl disable --now openvswitch-switch`, or have EdgeStack \
         use that one's OVN"
    )]
    OtherSwitch {
        /// The other one's process.
        pid: u32,
    },
    /// The processes that were left running can't be found out about.
    #[error("can't look for the OVN that was left running")]
    Look(#[source] io::Error),
    /// The switch's settings can't be written.
    #[error("can't write the settings of the switch")]
    Settings(#[source] ToolError),
    /// A process can't be started.
    #[error("{part} doesn't start: {why}")]
    Failed {
        /// Which.
        part: Part,
        /// How it ended, with its last words.
        why: String,
    },
    /// A process was started and doesn't do its work.
    #[error("{part} doesn't answer after {waited:?}{}", words.as_ref().map(|words| format!(": {words}")).unwrap_or_default())]
    Slow {
        /// Which.
        part: Part,
        /// How long was waited.
        waited: Duration,
        /// Its last complaint.
        words: Option<String>,
    },
    /// A process was killed, yet isn't gone.
    #[error("{part} (pid {pid}) was killed but is not gone: see what the kernel holds it in, then stop again")]
    Stuck {
        /// Which.
        part: Part,
        /// Its process.
        pid: u32,
    },
    /// A process can't be killed or waited for.
    #[error("{part} (pid {pid}) can't be ended")]
    Process {
        /// Which.
        part: Part,
        /// Its process.
        pid: u32,
        /// What the system says.
        source: io::Error,
    },
    /// Network devices can't be removed.
    #[error("the OVN is ended, but its network devices are left: see `ip link`")]
    Devices(#[source] ToolError),
}
