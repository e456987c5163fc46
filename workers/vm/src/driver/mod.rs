//! What the vm pool touches the outside world with.

pub mod conformance;
mod ping;
mod qemu;
mod sim;
mod wire;

use std::{net::IpAddr, sync::Arc, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
use chrono::{DateTime, Utc};
use edgestack_model::{
    Id,
    image::DiskFormat,
    image::Image,
    orphan::{Artifact, VmRecord},
    vm::Vm,
    volume::Volume,
};
use edgestack_pool::DriverError;
use futures::stream::BoxStream;

pub use ping::{GuestPing, GuestPinged, GuestReply};
pub use qemu::{QemuDriver, QemuDriverConfig};
pub use sim::{Runs, SimDriver};
pub use wire::NodeNetwork;

/// The process that runs a VM, as the driver sees it now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Process {
    /// Its process id.
    pub pid: u32,
    /// When it began, clock ticks since the node's boot.
    pub start_time_ticks: u64,
    /// The node's boot in which it runs.
    pub host_boot: String,
    /// `kvm`, `tcg`, `none`.
    pub accelerator: String,
    /// `QEMU 10.0.2`, `simulated`.
    pub hypervisor: String,
    /// The NICs on networks that it has, by number; `None` of one whose NICs can't come and go while it runs.
    pub nics: Option<Vec<u32>>,
}

/// A VM as the driver sees it now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Observed {
    /// No process.
    Absent {
        /// The node's boot now.
        host_boot: String,
        /// The last words of the process that was there, if there are any.
        last_words: Option<String>,
    },
    /// Its vCPUs run.
    Running(Process),
    /// Its vCPUs stand still, because they were told to.
    Paused(Process),
    /// The guest is over (it powered itself off, or panicked), the process waits to be ended.
    Over {
        /// The process.
        process: Process,
        /// In which way, in words.
        detail: String,
        /// Whether the guest meant to: a power-off, not a panic.
        clean: bool,
    },
}

/// Everything that a VM's process is made from.
#[derive(Clone, Debug)]
pub struct StartSpec {
    /// The VM.
    pub id: Id<Vm>,
    /// Its name, also the guest's host name.
    pub name: String,
    /// Virtual CPUs.
    pub vcpus: u32,
    /// Memory, MiB.
    pub memory_mib: u64,
    /// Its root disk, a qcow2 overlay.
    pub root_volume: Id<Volume>,
    /// The image below.
    pub image: Id<Image>,
    /// The image's format.
    pub image_format: DiskFormat,
    /// Its user-mode NIC's address, where it is on no network.
    pub mac: String,
    /// The loopback port that leads to the guest's port 22, where it is on no network.
    pub ssh_port: u16,
    /// Its NICs on networks.
    pub nics: Vec<StartNic>,
    /// SSH public keys to let in.
    pub public_keys: Vec<String>,
    /// cloud-init user data, in clear.
    pub user_data: Option<String>,
    /// What is written down of it beside its folder.
    pub record: VmRecord,
}

/// A NIC on a network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StartNic {
    /// Which of the VM's.
    pub number: u32,
    /// Its port in the virtual network.
    pub port: String,
    /// Its MAC address.
    pub mac: String,
    /// The largest packet, bytes.
    pub mtu: u16,
    /// Whether the guest gets its addresses by DHCP.
    pub dhcp: bool,
    /// Its addresses, each with the length of its prefix and the router there.
    pub addresses: Vec<StartAddress>,
    /// Name servers, where DHCP doesn't tell them.
    pub name_servers: Vec<IpAddr>,
}

/// An address of a NIC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StartAddress {
    /// The address.
    pub ip: IpAddr,
    /// Bits of its prefix.
    pub prefix_length: u8,
    /// The router.
    pub gateway: Option<IpAddr>,
}

/// What the guest's agent tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GuestFacts {
    /// The guest's host name.
    pub hostname: String,
    /// Operating system's name and version.
    pub operating_system: String,
    /// Kernel release.
    pub kernel: String,
    /// CPU architecture.
    pub architecture: String,
    /// The agent's version.
    pub agent_version: String,
    /// Interfaces: name, MAC, addresses with prefix length.
    pub interfaces: Vec<(String, Option<String>, Vec<String>)>,
}

/// Somebody logged in in the guest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GuestLogin {
    /// The user's name.
    pub user: String,
    /// The Windows domain, if any.
    pub domain: Option<String>,
    /// Since when.
    pub since: DateTime<Utc>,
}

/// Runs VMs on one node.
///
/// **Guarantees.** Each call is safe to repeat, and after a crash at any line of
/// an earlier one. One VM has one process at most. What is made carries the VM's
/// id; what does not carry an id of ours is never touched.
///
/// **Assumptions.** One caller a VM at a time; one driver a node.
///
/// **Errors.** [`DriverError::Retry`] for what may work later, `PortTaken` when
/// only the SSH port is in the way, `Gone` when the process ended meanwhile.
#[async_trait]
pub trait VmDriver: Send + Sync + 'static {
    /// Whether nothing real is made (law 12).
    fn is_simulated(&self) -> bool;

    /// What is there of a VM.
    async fn observe(&self, id: Id<Vm>) -> Result<Observed, DriverError>;

    /// Makes its process run; the one that runs already is fine.
    async fn start(&self, spec: &StartSpec) -> Result<Process, DriverError>;

    /// Holds its vCPUs.
    async fn pause(&self, id: Id<Vm>) -> Result<(), DriverError>;

    /// Lets its vCPUs go on.
    async fn resume(&self, id: Id<Vm>) -> Result<(), DriverError>;

    /// Asks the guest to shut down, and returns at once: what becomes of it is observed.
    async fn press_power_button(&self, id: Id<Vm>) -> Result<(), DriverError>;

    /// Puts a NIC into its process, and writes the record down; one that is there is fine.
    async fn plug_nic(&self, id: Id<Vm>, nic: &StartNic, record: &VmRecord) -> Result<(), DriverError>;

    /// Takes a NIC out of its process, if one runs, and away from the node, and writes the record down; one that is not
    /// there is fine. `Retry` while the guest holds on to it: what was asked of it stays asked.
    async fn unplug_nic(&self, id: Id<Vm>, number: u32, record: &VmRecord) -> Result<(), DriverError>;

    /// Ends its process now.
    async fn end(&self, id: Id<Vm>) -> Result<(), DriverError>;

    /// Ends its process and removes everything of it but its disks.
    async fn release(&self, id: Id<Vm>) -> Result<(), DriverError>;

    /// Calls `wake` whenever something happens to this VM's process, until it ends. Repeating it is free.
    fn watch(&self, id: Id<Vm>, wake: Arc<dyn Fn(Id<Vm>) + Send + Sync>);

    /// Everything on this node that carries a VM's id, known or not: folders, and processes, also those without a folder
    /// or a record. What is not of this node's state folder is not among it.
    async fn artifacts(&self) -> Result<Vec<Artifact>, DriverError>;

    /// What was written down of a VM at its last start; `None` if nothing was, or if it can't be understood.
    async fn record(&self, id: Id<Vm>) -> Result<Option<VmRecord>, DriverError>;

    /// What the guest's agent tells, if it answers within the deadline.
    async fn guest_facts(&self, id: Id<Vm>, deadline: Duration) -> Result<GuestFacts, DriverError>;

    /// Who is logged in in the guest.
    async fn guest_logins(&self, id: Id<Vm>) -> Result<Vec<GuestLogin>, DriverError>;

    /// Sends echo requests (ICMP) from the guest with its own ping(8), and waits for that to end. No answer is a result;
    /// an error is that none could be sent. Who stops waiting leaves ping to its own end in the guest.
    async fn guest_ping(&self, id: Id<Vm>, ping: &GuestPing) -> Result<GuestPinged, DriverError>;

    /// The serial console's log: the last `tail_bytes`, and with `follow` what comes.
    async fn console(
        &self,
        id: Id<Vm>,
        tail_bytes: u64,
        follow: bool,
    ) -> Result<BoxStream<'static, std::io::Result<Bytes>>, DriverError>;

    /// Small upkeep on the beat: keeps the console's log bounded.
    async fn upkeep(&self, id: Id<Vm>) -> Result<(), DriverError>;
}
