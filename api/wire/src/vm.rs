//! VMs as they travel.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use edgestack_model::{
    command::Reference,
    sealed::SealedText,
    vm::{self, VmCommand},
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::{
    Invalid, invalid,
    meta::{self, Meta, Waiting},
    node::Condition,
};
pub use crate::{
    vm_action::VmAction,
    vm_nic::{VmNetwork, VmNic},
};

/// The longest user data, in bytes: sealed and encoded it must fit in a commit of 256 KiB.
pub const USER_DATA_LENGTH_MAX: usize = 64 << 10;

/// A VM.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Vm {
    /// Identity and bookkeeping.
    #[serde(flatten)]
    pub meta: Meta,
    /// `pending`, `provisioning`, `starting`, `back_off`, `running`, `pausing`, `paused`, `unpausing`,
    /// `restarting`, `stopping`, `stopped`, `deleting`.
    #[schema(example = "running")]
    pub state: String,
    /// Where people want it: `running`, `paused`, `stopped`, `deleted`.
    #[schema(example = "running")]
    pub target: String,
    /// What it waits for, while it is not where it should be.
    pub waiting: Option<Waiting>,
    /// What follows when it stops by itself.
    pub run_strategy: RunStrategy,
    /// The image's name.
    pub image: String,
    /// The image.
    pub image_id: Uuid,
    /// The flavor's name.
    pub flavor: String,
    /// The flavor.
    pub flavor_id: Uuid,
    /// Virtual CPUs.
    pub vcpus: u32,
    /// Memory, MiB.
    pub memory_mib: u64,
    /// Its root disk.
    pub boot_disk: BootDisk,
    /// Further volumes.
    pub volumes: Vec<String>,
    /// Its NICs on networks; empty: a user-mode NAT NIC.
    pub networks: Vec<VmNic>,
    /// Addresses inside the guest's networks.
    pub addresses: Vec<Address>,
    /// The addresses outside that lead to it.
    #[serde(default)]
    pub floating_ips: Vec<String>,
    /// Where its SSH server can be reached from the node; absent while it has no place.
    pub ssh: Option<SshEndpoint>,
    /// The keypair's name.
    pub keypair: Option<String>,
    /// What is known of its user data, which itself is kept sealed.
    pub user_data: Option<UserData>,
    /// The node that it is on.
    pub node: Option<String>,
    /// Labels that its node must have.
    pub node_selector: BTreeMap<String, String>,
    /// The process that runs it.
    pub instance: Option<Instance>,
    /// The guest as its agent first told of it in this run.
    pub guest: Option<Guest>,
    /// How it last stopped.
    pub last_stop: Option<LastStop>,
    /// What is true of it, since when and why.
    pub conditions: Vec<Condition>,
    /// True when its node makes nothing real.
    pub simulated: bool,
}

/// A VM's root disk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct BootDisk {
    /// The volume, once the VM has a place.
    pub volume_id: Option<Uuid>,
    /// Its name.
    pub volume: Option<String>,
    /// Its size as the guest sees it, GiB.
    pub size_gib: u64,
    /// `creating`, `available`, `deleting`; absent while there is none.
    pub state: Option<String>,
}

/// An address of a VM.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Address {
    /// The network; `user-nat` for the user-mode NIC.
    pub network: String,
    /// The IP address.
    pub ip: String,
    /// The NIC's MAC.
    pub mac: String,
}

/// Where an SSH server can be reached.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SshEndpoint {
    /// Host, as seen from the node.
    #[schema(example = "127.0.0.1")]
    pub host: String,
    /// TCP port.
    #[schema(example = 22000)]
    pub port: u16,
}

/// What is known of sealed user data.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct UserData {
    /// Always true: the log holds it encrypted.
    pub sealed: bool,
    /// Its length in clear.
    pub length_bytes: u64,
}

/// One run of a VM.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Instance {
    /// Process id on the node.
    pub pid: u32,
    /// `QEMU 10.0.2`, `simulated`.
    pub hypervisor: String,
    /// `kvm`, `tcg`, `none`.
    pub accelerator: String,
    /// When its vCPUs began to run.
    pub started_at: DateTime<Utc>,
}

/// A guest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Guest {
    /// Its host name.
    pub hostname: String,
    /// Its operating system.
    pub operating_system: String,
    /// When its agent first answered.
    pub since: DateTime<Utc>,
}

/// How a VM last stopped.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LastStop {
    /// `graceful`, `forced`, `guest_shutdown`, `crashed`, `host_restarted`.
    pub how: String,
    /// In words.
    pub detail: String,
    /// When it was seen.
    pub at: DateTime<Utc>,
}

/// What follows when a VM stops without having been asked to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum RunStrategy {
    /// It runs: started at creation, and again after each stop that nobody asked for.
    #[default]
    Always,
    /// Started at creation, and again after a crash.
    RerunOnFailure,
    /// Only people start it, the first time too.
    Manual,
    /// Made, not started; the first start makes it `always`.
    Halted,
}

/// A VM to be made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"name": "hello", "image": "debian-12", "flavor": "small"}))]
pub struct CreateVm {
    /// Its name: a DNS label, since it becomes the guest's host name.
    #[schema(pattern = "^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$")]
    pub name: String,
    /// Free text of at most 1,024 characters.
    #[serde(default)]
    #[schema(max_length = 1024)]
    pub description: String,
    /// Its labels.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// The image, by name or id.
    #[schema(min_length = 1, max_length = 255)]
    pub image: String,
    /// The flavor, by name or id.
    #[schema(min_length = 1, max_length = 255)]
    pub flavor: String,
    /// Its root disk, if it is not to be as the flavor says.
    #[serde(default, deserialize_with = "meta::optional_object")]
    pub boot_disk: Option<BootDiskRequest>,
    /// Further volumes, by name or id; none can be made yet.
    #[serde(default)]
    #[schema(max_items = 0)]
    pub volumes: Vec<String>,
    /// Networks to be on, a NIC each; none: a user-mode NAT NIC with SSH forwarded on the node's loopback.
    #[serde(default)]
    #[schema(max_items = 8)]
    pub networks: Vec<VmNetwork>,
    /// The keypair to let in, by name or id.
    #[serde(default)]
    #[schema(min_length = 1, max_length = 255)]
    pub keypair: Option<String>,
    /// cloud-init user data, at most 64 KiB; kept sealed.
    #[serde(default)]
    #[schema(max_length = 65536)]
    pub user_data: Option<String>,
    /// The one node that it may run on, by name or id.
    #[serde(default)]
    #[schema(min_length = 1, max_length = 255)]
    pub node: Option<String>,
    /// Labels that its node must have.
    #[serde(default)]
    pub node_selector: BTreeMap<String, String>,
    /// What follows when it stops by itself.
    #[serde(default)]
    pub run_strategy: RunStrategy,
}

/// A root disk that is not as the flavor says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct BootDiskRequest {
    /// Its size, GiB.
    #[schema(minimum = 1, maximum = 65536)]
    pub size_gib: u64,
}

/// A change of a VM.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"labels": {"app": "db"}, "run_strategy": "rerun_on_failure"}))]
pub struct UpdateVm {
    /// Free text of at most 1,024 characters; `null` clears it.
    #[serde(default, deserialize_with = "meta::present", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, max_length = 1024)]
    pub description: Option<Option<String>>,
    /// All labels, in place of the present ones; `null` clears them.
    #[serde(default, deserialize_with = "meta::present", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<BTreeMap<String, String>>)]
    pub labels: Option<Option<BTreeMap<String, String>>>,
    /// What follows when it stops by itself; `null` makes it `always`.
    #[serde(default, deserialize_with = "meta::present", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<RunStrategy>)]
    pub run_strategy: Option<Option<RunStrategy>>,
    /// Labels that its node must have, while it has no node; `null` clears them.
    #[serde(default, deserialize_with = "meta::present", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<BTreeMap<String, String>>)]
    pub node_selector: Option<Option<BTreeMap<String, String>>>,
}

impl CreateVm {
    /// The command that this request is; `sealed` is its user data, sealed.
    ///
    /// # Errors
    /// [`Invalid`] names the field.
    pub fn into_command(self, sealed: Option<SealedText>) -> Result<VmCommand, Invalid> {
        if let Some(volume) = self.volumes.first() {
            return Err(Invalid::new("volumes.0", format_args!("volume {volume:?} does not exist")));
        }
        self.check_user_data()?;
        Ok(VmCommand::Create(Box::new(vm::CreateVm {
            name: invalid::name(&self.name)?,
            description: self.description,
            labels: invalid::labels("labels", self.labels)?,
            image: invalid::reference("image", self.image)?,
            flavor: invalid::reference("flavor", self.flavor)?,
            root_disk_gib: self.boot_disk.map(|disk| disk.size_gib),
            keypair: self.keypair.map(|name| invalid::reference("keypair", name)).transpose()?,
            user_data: sealed,
            node: self.node.map(|name| invalid::reference("node", name)).transpose()?,
            node_selector: invalid::labels("node_selector", self.node_selector)?,
            run_strategy: self.run_strategy.into(),
            networks: self
                .networks
                .into_iter()
                .enumerate()
                .map(|(at, network)| network.into_request(&format!("networks.{at}.")))
                .collect::<Result<_, _>>()?,
        })))
    }

    /// Whether the user data is short enough; asked before it is sealed.
    ///
    /// # Errors
    /// [`Invalid`] on `user_data`.
    pub fn check_user_data(&self) -> Result<(), Invalid> {
        match &self.user_data {
            Some(text) if text.len() > USER_DATA_LENGTH_MAX => Err(Invalid::new(
                "user_data",
                format_args!("must have at most {USER_DATA_LENGTH_MAX} bytes, got {}", text.len()),
            )),
            Some(_) | None => Ok(()),
        }
    }
}

impl UpdateVm {
    /// The command that this update of a VM is.
    ///
    /// # Errors
    /// [`Invalid`] names the field.
    pub fn into_command(self, vm: Reference) -> Result<VmCommand, Invalid> {
        Ok(VmCommand::Update {
            vm,
            change: meta::change(self.description, self.labels)?,
            run_strategy: self.run_strategy.map(|strategy| strategy.unwrap_or_default().into()),
            node_selector: self
                .node_selector
                .map(Option::unwrap_or_default)
                .map(|map| invalid::labels("node_selector", map))
                .transpose()?,
        })
    }
}

impl From<RunStrategy> for vm::RunStrategy {
    fn from(strategy: RunStrategy) -> Self {
        match strategy {
            RunStrategy::Always => Self::Always,
            RunStrategy::RerunOnFailure => Self::RerunOnFailure,
            RunStrategy::Manual => Self::Manual,
            RunStrategy::Halted => Self::Halted,
        }
    }
}

impl From<vm::RunStrategy> for RunStrategy {
    fn from(strategy: vm::RunStrategy) -> Self {
        match strategy {
            vm::RunStrategy::Always => Self::Always,
            vm::RunStrategy::RerunOnFailure => Self::RerunOnFailure,
            vm::RunStrategy::Manual => Self::Manual,
            vm::RunStrategy::Halted => Self::Halted,
        }
    }
}

/// What the guest's agent says now: `GET vms/{name}/guest_info`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct GuestInfo {
    /// The guest's host name.
    pub hostname: String,
    /// The operating system's name and version.
    pub operating_system: String,
    /// Kernel release.
    pub kernel: String,
    /// CPU architecture.
    pub architecture: String,
    /// The agent's version.
    pub agent_version: String,
    /// Its network interfaces.
    pub interfaces: Vec<GuestInterface>,
}

/// A network interface as the guest sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct GuestInterface {
    /// Its name in the guest.
    pub name: String,
    /// Its MAC.
    pub mac: Option<String>,
    /// Its addresses with prefix length.
    pub addresses: Vec<String>,
}

/// Who is logged in in the guest: an item of `GET vms/{name}/login_users`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LoginUser {
    /// The user's name.
    pub user: String,
    /// The Windows domain, if there is one.
    pub domain: Option<String>,
    /// Since when.
    pub login_time: DateTime<Utc>,
}

/// Who is logged in in the guest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LoginUsers {
    /// One for each session.
    pub items: Vec<LoginUser>,
}
