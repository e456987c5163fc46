//! What this node plugs into its integration bridge.
//!
//! ovn-controller binds a logical switch port to this chassis when an interface of the integration bridge has the port's
//! name as `external_ids:iface-id`; ovn-controller(8), "OVS Database Usage".

use std::fs;
use std::io;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

mod listed;

pub use listed::{Counters, Identity};

use crate::bundled::{Datapath, ToolError, attempt, device_name_problem, in_namespace, ip, links, quoted, remove, run};

/// The key of our own tag in `external_ids` of an interface: the VM's id.
pub const VM_KEY: &str = "edgestack-vm";
/// How long ovs-vsctl waits for the switch to have done what was written into its database.
const SWITCH_PATIENCE_SECONDS: u32 = 10;
/// How long ip(8) may take.
const IP_PATIENCE: Duration = Duration::from_secs(10);

/// This node's integration bridge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chassis {
    /// Where the switch's database listens, `unix:/…`.
    pub switch: String,
    /// The integration bridge.
    pub bridge: String,
    /// Who moves its packets.
    pub datapath: Datapath,
    /// The network namespace of its devices; ours without one.
    pub netns: Option<String>,
    /// ovs-vsctl(8).
    pub ovs_vsctl: PathBuf,
    /// ip(8).
    pub ip: PathBuf,
}

/// A VM's network card, as it is to be plugged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plug {
    /// The TAP device's name, 1 to 15 bytes.
    pub device: String,
    /// Who may open the device: a user's name in /etc/passwd, or a user id.
    pub owner: String,
    /// The logical switch port's name.
    pub port: String,
    /// The VM's id, by which [`Chassis::plugged`] finds the port again.
    pub vm: String,
    /// The largest packet in bytes, without the Ethernet header.
    pub mtu: u16,
}

/// A port on the integration bridge that we plugged.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Plugged {
    /// The device's name.
    pub device: String,
    /// The logical switch port's name.
    pub port: String,
    /// The VM's id.
    pub vm: String,
    /// Whether ovn-controller has made the port's flows (`ovn-installed`).
    pub is_installed: bool,
    /// Why the switch can't use the device, if it can't: its own words, or that the device is gone, which it doesn't
    /// notice. Plugging it again mends it.
    pub problem: Option<String>,
}

/// Why a port isn't plugged or unplugged.
#[derive(Debug, thiserror::Error)]
pub enum ChassisError {
    /// A device can't have this name.
    #[error("can't name a device {name:?}: {why}")]
    BadName {
        /// The name.
        name: String,
        /// Why not, and what can be used.
        why: &'static str,
    },
    /// The owner isn't known.
    #[error("there is no user {name:?} in /etc/passwd who could own the device")]
    NoOwner {
        /// The name.
        name: String,
    },
    /// Another device has the name: none of a program, or one without an owner, as the switch's own are.
    #[error("{device} is a network device that was not made for a VM: rename it, or choose another name")]
    NotOurs {
        /// The name.
        device: String,
    },
    /// The device's settings can't be written.
    #[error("can't shield the host from what comes in on {device}")]
    Shield {
        /// The device.
        device: String,
        /// What the system says.
        source: io::Error,
    },
    /// The device can't be made, changed or removed.
    #[error("can't change the network devices")]
    Device(#[source] ToolError),
    /// The switch's database doesn't take it, or the switch doesn't do it in time.
    #[error("can't change the integration bridge")]
    Switch(#[source] ToolError),
}

impl Chassis {
    /// Makes a persistent TAP device for the owner and puts it on the integration bridge, for ovn-controller to bind.
    ///
    /// Idempotent, also after a crash between its steps. A device of another owner is made anew; a port that is there gets
    /// this name and tag. The device has no carrier until somebody opens it; it may be plugged before.
    ///
    /// On [`Datapath::Userspace`] whoever opens the device must do so without `IFF_VNET_HDR`;
    /// [`Datapath::takes_vnet_header`].
    ///
    /// # Errors
    /// [`ChassisError`]; a second call goes on where it failed.
    pub async fn plug(&self, plug: &Plug) -> Result<(), ChassisError> {
        let device = plug.device.as_str();
        check_name(device)?;
        let owner = user_id(&plug.owner).ok_or_else(|| ChassisError::NoOwner { name: plug.owner.clone() })?;
        self.ensure_tap(device, owner).await?;
        self.shield(device).await.map_err(|source| ChassisError::Shield { device: device.to_owned(), source })?;
        self.ip(&["link", "set", "dev", device, "mtu", &plug.mtu.to_string(), "up"]).await?;
        let port = format!("external_ids:iface-id={}", quoted(&plug.port));
        let tag = format!("external_ids:{VM_KEY}={}", quoted(&plug.vm));
        let words =
            ["--may-exist", "add-port", &self.bridge, device, "--", "set", "Interface", device, port.as_str(), &tag];
        self.vsctl(&words).await.map(drop)
    }

    /// Takes a device off the integration bridge and removes it. Idempotent.
    ///
    /// # Errors
    /// [`ChassisError`]; a second call goes on where it failed.
    pub async fn unplug(&self, device: &str) -> Result<(), ChassisError> {
        check_name(device)?;
        let owner = self.tap_owner(device).await?;
        self.detach(device).await?;
        match owner {
            None => Ok(()),
            Some(_) => remove(&self.ip, self.netns.as_deref(), device).await.map_err(ChassisError::Device),
        }
    }

    /// Waits until ovn-controller has made the flows of a device's port; ovn-controller(8), `ovn-installed`.
    ///
    /// # Errors
    /// [`ChassisError::Switch`], also when it takes longer than ten seconds.
    pub async fn until_installed(&self, device: &str) -> Result<(), ChassisError> {
        check_name(device)?;
        self.vsctl(&["wait-until", "Interface", device, "external_ids:ovn-installed=true"]).await.map(drop)
    }

    /// Every port on the integration bridge that carries our tag, in order.
    ///
    /// # Errors
    /// [`ChassisError::Switch`], [`ChassisError::Device`].
    pub async fn plugged(&self) -> Result<Vec<Plugged>, ChassisError> {
        let columns = "--columns=name,external_ids,error";
        let said = self.vsctl(&["list-ports", &self.bridge, "--", columns, "list", "Interface"]).await?;
        let no_list = || ChassisError::Switch(ToolError::refused(&self.ovs_vsctl, "it said no list of interfaces"));
        let mut plugged = listed::plugged(&said).ok_or_else(no_list)?;
        let links = links(&self.ip, self.netns.as_deref()).await.map_err(ChassisError::Device)?;
        for plugged in &mut plugged {
            if !links.iter().any(|link| link.name == plugged.device) {
                plugged.problem.get_or_insert_with(|| "the device is gone".to_owned());
            }
        }
        Ok(plugged)
    }

    /// What went over each port of the integration bridge that carries our tag, in order.
    ///
    /// # Errors
    /// [`ChassisError::Switch`].
    pub async fn counters(&self) -> Result<Vec<Counters>, ChassisError> {
        let columns = "--columns=name,external_ids,statistics";
        let said = self.vsctl(&["list-ports", &self.bridge, "--", columns, "list", "Interface"]).await?;
        let no_list = || ChassisError::Switch(ToolError::refused(&self.ovs_vsctl, "it said no list of interfaces"));
        listed::counters(&said).ok_or_else(no_list)
    }

    /// As whom it is known in the virtual network, and what it leads to outside.
    ///
    /// # Errors
    /// [`ChassisError::Switch`], also when it has no name yet.
    pub async fn identity(&self) -> Result<Identity, ChassisError> {
        let said = self.vsctl(&["--columns=external_ids", "list", "Open_vSwitch"]).await?;
        let no_name =
            || ChassisError::Switch(ToolError::refused(&self.ovs_vsctl, "it said no system-id of this chassis"));
        listed::identity(&said).ok_or_else(no_name)
    }

    /// Makes the device if it isn't there; persistent, so it stays when nobody has it open.
    async fn ensure_tap(&self, device: &str, owner: u32) -> Result<(), ChassisError> {
        match self.tap_owner(device).await? {
            Some(user) if user_id(&user) == Some(owner) => return Ok(()),
            Some(_) => {
                self.detach(device).await?;
                remove(&self.ip, self.netns.as_deref(), device).await.map_err(ChassisError::Device)?;
            }
            // The switch holds on to a device that is gone, and wouldn't notice a new one of the same name.
            None => self.detach(device).await?,
        }
        let owner = owner.to_string();
        let mut words = vec!["tuntap", "add", "dev", device, "mode", "tap", "user", &owner];
        if self.datapath.takes_vnet_header() {
            words.push("vnet_hdr");
        }
        self.ip(&words).await
    }

    async fn detach(&self, device: &str) -> Result<(), ChassisError> {
        self.vsctl(&["--if-exists", "del-port", &self.bridge, device]).await.map(drop)
    }

    /// The owner of the TAP device of this name, if there is one.
    async fn tap_owner(&self, device: &str) -> Result<Option<String>, ChassisError> {
        let links = links(&self.ip, self.netns.as_deref()).await.map_err(ChassisError::Device)?;
        let Some(link) = links.iter().find(|link| link.name == device) else {
            return Ok(None);
        };
        let owner = link.user().filter(|_| link.is_tap());
        owner.map(Some).ok_or_else(|| ChassisError::NotOurs { device: device.to_owned() })
    }

    /// Keeps the host's own network out of the VM's: what comes in on a device of the userspace datapath is seen by the
    /// host's stack too, which would answer its ARP requests with the host's addresses and take its router
    /// advertisements; on any device the host would send its own. Open vSwitch, Documentation/intro/install/userspace.rst,
    /// "Firewall Rules"; Linux, Documentation/networking/ip-sysctl.rst. Where `net.ipv4.conf.all.rp_filter` is 2, that one
    /// counts and IPv4 packets of a guest who guesses the device's MAC address may reach the host; 0 and 1 are fine.
    async fn shield(&self, device: &str) -> io::Result<()> {
        for (family, key, value) in [
            ("ipv6", "disable_ipv6", "1"),
            ("ipv4", "arp_ignore", "8"),
            ("ipv4", "rp_filter", "1"),
            ("ipv4", "forwarding", "0"),
        ] {
            let path = format!("/proc/sys/net/{family}/conf/{device}/{key}");
            let done = match &self.netns {
                None => fs::write(&path, value),
                Some(netns) => self.write_in(netns, &path, value).await,
            };
            match done {
                // A kernel without IPv6 needs no shield from it.
                Err(error) if error.kind() == io::ErrorKind::NotFound && family == "ipv6" => {}
                done => done?,
            }
        }
        Ok(())
    }

    /// The kernel shows each process the settings of its own network namespace.
    async fn write_in(&self, netns: &str, path: &str, value: &str) -> io::Result<()> {
        let mut command = in_namespace(&self.ip, Some(netns), "tee".as_ref());
        command.arg(path).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn()?;
        if let Some(mut input) = child.stdin.take() {
            input.write_all(value.as_bytes()).await?;
        }
        let output = child.wait_with_output().await?;
        match String::from_utf8_lossy(&output.stderr) {
            _ if output.status.success() => Ok(()),
            why if why.contains("No such file") => Err(io::ErrorKind::NotFound.into()),
            why => Err(io::Error::other(why.trim().to_owned())),
        }
    }

    async fn ip(&self, words: &[&str]) -> Result<(), ChassisError> {
        let mut command = ip(&self.ip, self.netns.as_deref());
        command.args(words);
        run(command, IP_PATIENCE).await.map(drop).map_err(ChassisError::Device)
    }

    /// One transaction, and waits until the switch has done it.
    async fn vsctl(&self, words: &[&str]) -> Result<String, ChassisError> {
        let mut command = Command::new(&self.ovs_vsctl);
        command
            .arg(format!("--db={}", self.switch))
            .arg(format!("--timeout={SWITCH_PATIENCE_SECONDS}"))
            .arg("--format=json")
            .arg("--")
            .args(words);
        let patience = Duration::from_secs(u64::from(SWITCH_PATIENCE_SECONDS) + 5);
        let said = attempt(command, patience).await.map_err(ChassisError::Switch)?;
        // It calls it a success when the switch says that it can't use a device.
        let complaint = said.stderr.lines().find(|line| line.contains("Error detected") || !said.success);
        match complaint {
            Some(why) => Err(ChassisError::Switch(ToolError::refused(&self.ovs_vsctl, why))),
            None if !said.success => {
                let why = format!("the switch had not done it within {SWITCH_PATIENCE_SECONDS} s");
                Err(ChassisError::Switch(ToolError::refused(&self.ovs_vsctl, why)))
            }
            None => Ok(said.stdout),
        }
    }
}

fn check_name(device: &str) -> Result<(), ChassisError> {
    match device_name_problem(device) {
        None => Ok(()),
        Some(why) => Err(ChassisError::BadName { name: device.to_owned(), why }),
    }
}

/// A user's id: by /etc/passwd (passwd(5)), or the number itself.
fn user_id(user: &str) -> Option<u32> {
    if let Ok(id) = user.parse() {
        return Some(id);
    }
    let passwd = fs::read_to_string("/etc/passwd").ok()?;
    passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        (fields.next() == Some(user)).then(|| fields.nth(1)?.parse().ok())?
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_tagged_ports_of_the_bridge_are_plugged() {
        let said = concat!(
            "tap1\ntap2\neth0\n\n",
            r#"{"data":[["tap2",["map",[["edgestack-vm","b"],["iface-id","p2"]]],"could not open"],"#,
            r#"["tap1",["map",[["edgestack-vm","a"],["iface-id","p1"],["ovn-installed","true"]]],["set",[]]],"#,
            r#"["tap3",["map",[["edgestack-vm","c"],["iface-id","p3"]]],["set",[]]],"#,
            r#"["eth0",["map",[]],["set",[]]]],"headings":["name","external_ids","error"]}"#,
            "\n"
        );
        let plugged = |device: &str, port: &str, vm: &str, is_installed, problem: Option<&str>| Plugged {
            device: device.into(),
            port: port.into(),
            vm: vm.into(),
            is_installed,
            problem: problem.map(str::to_owned),
        };
        let expected =
            vec![plugged("tap1", "p1", "a", true, None), plugged("tap2", "p2", "b", false, Some("could not open"))];
        assert_eq!(listed::plugged(said), Some(expected));
        assert_eq!(listed::plugged("nonsense"), None);
    }

    #[test]
    fn an_owner_is_a_name_or_a_number() {
        assert_eq!(user_id("root"), Some(0));
        assert_eq!(user_id("4711"), Some(4711));
        assert_eq!(user_id("roo"), None);
    }
}
