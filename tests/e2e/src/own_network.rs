//! A network namespace for a test with virtual networks, and guests in it that are namespaces themselves.
//!
//! A switch in userspace has devices whose names are the namespace's, so two of them need two. All processes that a test
//! starts are in its namespace; the simulated VMs of such a site are plugged in by [`Plugged`], and send real packets.

use std::{
    fs::File,
    os::fd::AsFd as _,
    path::PathBuf,
    process::{Command, Output},
    time::Duration,
};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use serde_json::Value;

use crate::{PATIENCE, Site, SiteOptions, eventually, existing_ovn::ExistingOvn, machine};

/// What of OVN's and of others a test runs.
const PROGRAMS: [&str; 8] =
    ["ip", "ping", "ethtool", "ovs-vswitchd", "ovn-northd", "ovn-controller", "ovn-nbctl", "ovs-vsctl"];

/// Runs a test in a network namespace of its own; says what this machine lacks for it, if anything.
pub fn in_own_network(test: &str, body: impl AsyncFnOnce()) {
    if let Some(lack) = lack() {
        println!("skipped: {test}: {lack}");
        return;
    }
    let name = format!("es-{}", std::process::id());
    add_namespace(&name);
    let _removed = Namespace(name.clone());
    run(&["ip", "-n", &name, "link", "set", "lo", "up"]);
    let namespace = File::open(format!("/run/netns/{name}")).expect("a namespace");
    // Of this thread, and so of all that it starts from now on.
    move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network)).expect("entered");
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    runtime.block_on(body());
}

/// A process that was killed may have left one of this name.
fn add_namespace(name: &str) {
    let _ = Command::new("ip").args(["netns", "delete", name]).output();
    run(&["ip", "netns", "add", name]);
}

fn lack() -> Option<String> {
    if !rustix::process::geteuid().is_root() {
        return Some("it needs root".to_owned());
    }
    // Debian's root has them in PATH, others may not.
    let missing = PROGRAMS.into_iter().find(|program| {
        machine::in_path(program).is_none() && !std::path::Path::new("/usr/sbin").join(program).is_file()
    });
    missing.map(|program| format!("no {program}; deploy/test installs it"))
}

struct Namespace(String);

impl Drop for Namespace {
    fn drop(&mut self) {
        // What is left in it goes with it.
        let _ = Command::new("ip").args(["netns", "delete", &self.0]).output();
    }
}

/// Runs it to its end, which must be a good one.
///
/// # Panics
/// When it fails, with its words.
pub(crate) fn run(words: &[&str]) -> String {
    let output = Command::new(words[0]).args(&words[1..]).output().expect("it runs");
    assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

impl Site {
    /// A site with virtual networks and simulated VMs, running; in the test's own network. Its way to the physical network
    /// `external` is the bridge `br-ex`.
    pub async fn start_networked(test: &str) -> Option<Self> {
        let arguments = ["--networks", "bundled", "--physical-network", "external=br-ex"].map(str::to_owned).to_vec();
        let mut site = Self::prepare(test, SiteOptions { simulated: true, arguments })?;
        site.up().await;
        site.await_node().await;
        Some(site)
    }

    /// The same on an OVN that others run.
    pub async fn start_on(test: &str, ovn: &ExistingOvn) -> Option<Self> {
        let mut site = Self::prepare(test, SiteOptions { simulated: true, arguments: ovn.arguments() })?;
        site.ovn = Some(ovn.folder().to_owned());
        site.up().await;
        site.await_node().await;
        Some(site)
    }

    /// Where its OVN is.
    fn ovn(&self) -> PathBuf {
        self.ovn.clone().unwrap_or_else(|| self.state().join("ovn"))
    }

    /// ovn-nbctl on the site's northbound database.
    pub fn nbctl(&self, words: &[&str]) -> String {
        let database = format!("--db=unix:{}", self.ovn().join("nb.sock").display());
        run(&[&["ovn-nbctl", &database, "--timeout=20"][..], words].concat())
    }

    /// ovn-sbctl on the site's southbound database.
    pub fn sbctl(&self, words: &[&str]) -> String {
        let database = format!("--db=unix:{}", self.ovn().join("sb.sock").display());
        run(&[&["ovn-sbctl", &database, "--timeout=20"][..], words].concat())
    }

    /// ovs-vsctl on the site's switch.
    pub fn vsctl(&self, words: &[&str]) -> String {
        let database = format!("--db=unix:{}", self.ovn().join("switch.sock").display());
        run(&[&["ovs-vsctl", &database, "--timeout=20"][..], words].concat())
    }

    /// Waits until a network is in a state.
    pub async fn await_network(&self, name: &str, state: &str) -> Value {
        eventually(&format!("network {name} is {state}"), PATIENCE, async || {
            let reply = self.api().look(&format!("networks/{name}")).await.map_err(|error| error.to_string())?;
            if reply.json()["state"] == state { Ok(reply.json()) } else { Err(reply.text) }
        })
        .await
    }

    /// Waits until all NICs of a VM are ready.
    pub async fn await_nics(&self, name: &str) -> Value {
        self.await_vm_that(&format!("the NICs of {name} are ready"), name, PATIENCE, |vm| {
            let nics = vm["networks"].as_array().cloned().unwrap_or_default();
            !nics.is_empty() && nics.iter().all(|nic| nic["ready"] == true)
        })
        .await
    }
}

/// A namespace that is plugged in as a NIC.
pub struct Plugged {
    name: String,
    device: String,
    /// The MAC address.
    pub mac: String,
    /// The first IP address.
    pub ip: String,
}

impl Plugged {
    /// In the place of a simulated VM's NIC.
    pub fn as_nic(site: &Site, vm: &Value, number: usize) -> Self {
        let nic = &vm["networks"][number];
        let text = |field: &str| nic[field].as_str().expect("a text").to_owned();
        let port = format!("{}-{number}", vm["id"].as_str().expect("an id"));
        let name = format!("{}-{number}", vm["name"].as_str().expect("a name"));
        Self::plug(site, &name, &port, &text("mac"), &text("fixed_ip"))
    }

    /// At a port of the switch of a network that is of nobody's wish but the test's.
    pub fn at_a_port_of_our_own(site: &Site, network: &str, name: &str, ip: &str) -> Self {
        let (switch, mac) = (format!("edgestack-{network}"), "02:00:00:00:00:fe");
        let port = format!("probe-{name}");
        let addresses = format!("{mac} {ip}");
        site.nbctl(&["lsp-add", &switch, &port, "--", "lsp-set-addresses", &port, &addresses]);
        Self::plug(site, name, &port, mac, ip)
    }

    /// A host outside, on the physical network `external`.
    pub fn outside(site: &Site, name: &str, mac: &str, ip: &str) -> Self {
        let plugged = Self::make(name, mac, ip);
        site.vsctl(&["--may-exist", "add-port", "br-ex", &plugged.device]);
        plugged
    }

    /// The same on a VLAN there.
    pub fn outside_on_vlan(site: &Site, name: &str, mac: &str, ip: &str, vlan: u16) -> Self {
        let plugged = Self::make(name, mac, ip);
        site.vsctl(&["--may-exist", "add-port", "br-ex", &plugged.device, &format!("tag={vlan}")]);
        plugged
    }

    fn plug(site: &Site, name: &str, port: &str, mac: &str, ip: &str) -> Self {
        let plugged = Self::make(name, mac, ip);
        let (device, id) = (&plugged.device, format!("external_ids:iface-id={port}"));
        site.vsctl(&["--may-exist", "add-port", "br-int", device, "--", "set", "Interface", device, &id]);
        plugged
    }

    fn make(name: &str, mac: &str, ip: &str) -> Self {
        let name = format!("esg{}-{name}", std::process::id());
        // Names of devices are short, and this one is in the test's own namespace.
        let device = format!("v{:x}", name.bytes().fold(0_u32, |hash, byte| hash.wrapping_mul(31) + u32::from(byte)));
        add_namespace(&name);
        let plugged = Self { name, device, mac: mac.to_owned(), ip: ip.to_owned() };
        let Self { name, device, .. } = &plugged;
        run(&["ip", "link", "add", device, "type", "veth", "peer", "name", "eth0", "netns", name]);
        run(&["ip", "link", "set", device, "up"]);
        run(&["ip", "-n", name, "link", "set", "eth0", "address", mac, "mtu", "1400", "up"]);
        run(&["ip", "-n", name, "address", "add", &format!("{ip}/24"), "dev", "eth0"]);
        // A switch in userspace completes no checksum that a kernel has left to its NIC.
        run(&["ip", "netns", "exec", name, "ethtool", "--offload", "eth0", "tx", "off"]);
        plugged
    }

    /// Runs a command in it.
    pub fn run(&self, words: &[&str]) -> Output {
        Command::new("ip").args(["netns", "exec", &self.name]).args(words).output().expect("it runs")
    }

    /// Whether one packet to an address is answered within so long.
    pub fn is_answered(&self, ip: &str, within: Duration) -> bool {
        let wait = format!("{:.1}", within.as_secs_f64());
        self.run(&["ping", "-n", "-c", "1", "-W", &wait, ip]).status.success()
    }

    /// Waits until an address answers.
    pub async fn await_answer(&self, ip: &str) {
        eventually(&format!("{ip} answers {}", self.name), PATIENCE, async || {
            if self.is_answered(ip, Duration::from_millis(300)) { Ok(()) } else { Err("no answer".to_owned()) }
        })
        .await;
    }

    /// The name that it tells.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Cuts its wire, or mends it.
    pub fn wire(&self, whole: bool) {
        run(&["ip", "link", "set", &self.device, if whole { "up" } else { "down" }]);
    }

    /// Sends to a prefix by this next hop.
    pub fn add_route(&self, prefix: &str, hop: &str) {
        run(&["ip", "-n", &self.name, "route", "replace", prefix, "via", hop]);
    }

    /// Answers nobody who asks for its MAC address, and asks nobody.
    pub fn without_arp(&self) {
        run(&["ip", "-n", &self.name, "link", "set", "eth0", "arp", "off"]);
    }

    /// Has an address more.
    pub fn add_ip(&self, ip: &str, prefix_length: u8) {
        let address = format!("{ip}/{prefix_length}");
        run(&["ip", "-n", &self.name, "address", "add", &address, "dev", "eth0", "nodad"]);
    }

    /// Has another MAC address from now on.
    pub fn set_mac(&self, mac: &str) {
        run(&["ip", "-n", &self.name, "link", "set", "eth0", "address", mac]);
        run(&["ip", "-n", &self.name, "neigh", "flush", "all"]);
    }

    /// Has another IP address in place of the one that it has.
    pub fn set_ip(&self, ip: &str) {
        run(&["ip", "-n", &self.name, "address", "flush", "dev", "eth0"]);
        run(&["ip", "-n", &self.name, "address", "add", &format!("{ip}/24"), "dev", "eth0"]);
    }
}

impl Drop for Plugged {
    fn drop(&mut self) {
        let _ = Command::new("ip").args(["link", "delete", &self.device]).output();
        let _ = Command::new("ip").args(["netns", "delete", &self.name]).output();
    }
}
