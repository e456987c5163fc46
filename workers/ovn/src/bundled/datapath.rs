//! Who moves the packets: the kernel, or ovs-vswitchd itself.

use std::path::PathBuf;
use std::time::Duration;

use tokio::process::Command;

use super::programs;
use super::tool;

/// Who moves the packets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Datapath {
    /// The kernel's module openvswitch; `datapath_type=system` in ovs-vswitchd.conf.db(5).
    Kernel,
    /// ovs-vswitchd itself, which reads every packet through a socket: slower, but it needs nothing of the kernel;
    /// `datapath_type=netdev`.
    Userspace,
}

/// A datapath that works here, and why it is this one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Probed {
    /// The datapath.
    pub datapath: Datapath,
    /// A sentence for people.
    pub why: String,
}

impl Datapath {
    /// Loads the kernel's module if there is one, and asks the kernel for its datapaths, which only the module answers.
    pub async fn probe() -> Probed {
        let userspace = |why: String| Probed { datapath: Self::Userspace, why };
        let dpctl = match programs::find("ovs-dpctl") {
            Ok(dpctl) => dpctl,
            Err(error) => return userspace(format!("the kernel's datapath can't be asked for: {error}")),
        };
        let mut modprobe = Command::new(programs::find("modprobe").unwrap_or_else(|_| PathBuf::from("modprobe")));
        modprobe.args(["--quiet", "openvswitch"]);
        // It may be built in, and modprobe not be there: what counts is whether it answers.
        let loaded = tool::run(modprobe, Duration::from_secs(20)).await;
        let mut ask = Command::new(dpctl);
        ask.arg("dump-dps");
        match tool::attempt(ask, Duration::from_secs(10)).await {
            Ok(said) if said.success => {
                Probed { datapath: Self::Kernel, why: "the kernel's module openvswitch answers".to_owned() }
            }
            _ if loaded.is_err() => userspace("this kernel has no module openvswitch".to_owned()),
            Ok(said) => {
                let words = said.stderr.lines().next_back().unwrap_or("no reason given").to_owned();
                userspace(format!("the kernel's module openvswitch doesn't answer ({words})"))
            }
            Err(error) => userspace(format!("the kernel's module openvswitch doesn't answer ({error})")),
        }
    }

    /// Its name in the switch's database.
    pub fn type_name(self) -> &'static str {
        match self {
            Self::Kernel => "system",
            Self::Userspace => "netdev",
        }
    }

    /// Whether a guest's network card may leave checksums and segments to whom it hands packets (`IFF_VNET_HDR`;
    /// QEMU's `-netdev tap,vnet_hdr=`). The userspace datapath reads packets without the header that says what is left
    /// to do, and forwards them with wrong checksums.
    ///
    /// The flag given when a persistent TAP device is made is replaced by that of whoever opens it, so QEMU must be told.
    pub fn takes_vnet_header(self) -> bool {
        self == Self::Kernel
    }
}
