//! A VM: what is wished, what runs, and what it waits for.
//!
//! The wish is [`Target`]; what runs is [`Power`]; both are facts from the log.
//! [`State`], the one word that people see, follows from them and is never stored:
//!
//! ```text
//! pending ─▶ provisioning ─▶ starting ─▶ running ⇄ paused
//!    (no node)   (no disk)      ▲  │        │
//!                        back_off ◀┘     stopping ─▶ stopped ─▶ starting …
//! any of them ──delete──▶ deleting ──▶ (gone)
//! ```

mod command;
mod decide;
mod deletion;
mod event;
mod evolve;
mod nic;
mod report;
mod state;
#[cfg(test)]
mod tests;

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use command::{CreateVm, StoppedHow, VmCommand, VmReport};
pub(crate) use decide::{decide, fact, wish};
pub(crate) use deletion::{deleted_with_its_last_volume, freed_with};
pub use event::{AfterStop, VmEvent};
pub(crate) use evolve::evolve;
pub use nic::{NICS_MAX, Nic, NicChoice, NicRequest, NicSpec, NicStage, NicState, port_name};
pub(crate) use nic::{check_has_nic, detached_with_network, unsecured};
pub use state::State;

use crate::{
    Id, Labels, Meta, Name,
    flavor::{Flavor, Shape},
    image::Image,
    keypair::PublicKey,
    node::Node,
    placement::PassedOver,
    sealed::SealedText,
    volume::Volume,
    waiting::Failure,
};

/// A VM.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Vm {
    /// Its id; also QEMU's `-uuid`.
    pub id: Id<Vm>,
    /// Name (the guest's host name), labels, generation …
    pub meta: Meta,
    /// What it is made of.
    pub spec: VmSpec,
    /// Where people want it.
    pub target: Target,
    /// Since when they want it there; a guest's grace to shut down counts from here.
    pub target_since: DateTime<Utc>,
    /// Counts the restarts asked for: an instance of an older epoch is replaced.
    pub boot_epoch: u64,
    /// Where it lives, once it has a place.
    pub placement: Option<Placement>,
    /// Why no node takes it, while it has no place.
    pub passed_over: Vec<PassedOver>,
    /// What its worker last saw of it.
    pub power: Power,
    /// How it last stopped.
    pub last_stop: Option<LastStop>,
    /// Crashes in a row; a run of ten minutes starts the count anew.
    pub crashes: u32,
    /// The last failed attempt at what is wished, until a success or a new wish.
    pub failure: Option<Failure>,
    /// Nothing of it is left on its node (only while it is being deleted).
    pub released: bool,
    /// When and as whom the guest's agent first answered in this run.
    pub guest_agent: Option<GuestAgent>,
    /// Its NICs on networks, by number; without one it has a user-mode NAT NIC.
    pub nics: Vec<Nic>,
    /// The number of the next NIC: none is given twice.
    pub next_nic: u32,
}

/// What a VM is made of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct VmSpec {
    /// The image that its root disk starts from.
    pub image: Id<Image>,
    /// The flavor it was made with.
    pub flavor: Id<Flavor>,
    /// The flavor's size at that time, root disk size settled.
    pub shape: Shape,
    /// The keypair's name and key at that time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keypair: Option<VmKey>,
    /// The user's cloud-init user data.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_data: Option<SealedText>,
    /// The one node that it may run on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<Id<Node>>,
    /// Labels that its node must have.
    pub node_selector: Labels,
    /// What follows when it stops by itself.
    pub run_strategy: RunStrategy,
}

/// The key that a VM was made with: removing the keypair leaves it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct VmKey {
    /// The keypair's name.
    pub name: Name,
    /// Its public key.
    pub key: PublicKey,
}

/// What follows when a VM stops without having been asked to.
/// Source of the words: KubeVirt, `spec.runStrategy`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RunStrategy {
    /// It runs: started at creation, and again after each stop that nobody asked for.
    #[default]
    Always,
    /// Started at creation, and again after a crash; a guest that shuts itself down stays down.
    RerunOnFailure,
    /// Only people start it, the first time too.
    Manual,
    /// Made, not started; the first start makes it `always`.
    Halted,
}

impl RunStrategy {
    /// As in requests.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Always => "always",
            Self::RerunOnFailure => "rerun_on_failure",
            Self::Manual => "manual",
            Self::Halted => "halted",
        }
    }
}

/// Where people want a VM.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "to", rename_all = "snake_case")]
pub enum Target {
    /// Its vCPUs run.
    Running,
    /// Its vCPUs stand still, its memory stays.
    Paused,
    /// No process; the disk stays.
    Stopped {
        /// How long the guest may take to shut down before it is cut off, seconds.
        grace_seconds: u32,
    },
    /// Nothing left.
    Deleted,
}

/// Where a VM lives, and what it was given there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Placement {
    /// The node.
    pub node: Id<Node>,
    /// Its root disk.
    pub root_volume: Id<Volume>,
    /// Its user-mode NIC's address, `52:54:00:…`; kept for it also while it is on networks, and has no such NIC.
    pub mac: String,
    /// The loopback port on the node that leads to the guest's port 22 by that NIC.
    pub ssh_port: u16,
}

/// What runs of a VM.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "is", content = "instance", rename_all = "snake_case")]
pub enum Power {
    /// No process.
    Off,
    /// Its vCPUs run.
    Running(Instance),
    /// Its vCPUs stand still.
    Paused(Instance),
}

impl Power {
    /// The process, if there is one.
    pub fn instance(&self) -> Option<&Instance> {
        match self {
            Self::Off => None,
            Self::Running(instance) | Self::Paused(instance) => Some(instance),
        }
    }

    fn instance_mut(&mut self) -> Option<&mut Instance> {
        match self {
            Self::Off => None,
            Self::Running(instance) | Self::Paused(instance) => Some(instance),
        }
    }
}

/// One run of a VM: one hypervisor process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Instance {
    /// Its process id on the node.
    pub pid: u32,
    /// When the process began, as the node's kernel counts (clock ticks since boot);
    /// pid and this together are never used twice in one boot.
    pub start_time_ticks: u64,
    /// The node's boot in which it runs (Linux `boot_id`): in another boot it is gone for certain.
    pub host_boot: String,
    /// The VM's boot epoch that it was started for.
    pub boot_epoch: u64,
    /// `kvm`, `tcg`, `none` when simulated.
    pub accelerator: String,
    /// `QEMU 10.0.2`, `simulated`.
    pub hypervisor: String,
    /// When its vCPUs began to run.
    pub started_at: DateTime<Utc>,
    /// The NICs on networks that it has, by number. Absent of a process that was started before NICs could come and go
    /// while it runs: it has those of its start.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nics: Option<Vec<u32>>,
}

/// How a VM last stopped.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastStop {
    /// In which way.
    pub how: StoppedHow,
    /// In words.
    pub detail: String,
    /// When it was seen.
    pub at: DateTime<Utc>,
}

/// The guest's agent as it first answered in this run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct GuestAgent {
    /// The guest's host name.
    pub hostname: String,
    /// The guest's operating system.
    pub operating_system: String,
    /// When it first answered.
    pub since: DateTime<Utc>,
}
