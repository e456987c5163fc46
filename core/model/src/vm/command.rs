//! What can be asked of VMs, and what the scheduler and the vm pool report.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Instance, NicChoice, NicRequest, RunStrategy, Vm};
use crate::{
    Generation, Id, Labels, Name, command::Reference, meta::MetaChange, sealed::SealedText,
    security_group::membership::GroupsChange, waiting::FailedAttempt,
};

/// A command on a VM.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "kebab-case")]
pub enum VmCommand {
    /// Makes a new one. Always allowed; a VM that fits no node now waits for a place.
    Create(Box<CreateVm>),
    /// Changes what can be changed; an absent field leaves what is there.
    Update {
        /// Which.
        vm: Reference,
        /// Description and labels.
        change: MetaChange,
        /// What follows when it stops by itself.
        run_strategy: Option<RunStrategy>,
        /// Labels that its node must have; only while it has no place.
        node_selector: Option<Labels>,
    },
    /// Runs it. From stopped.
    Start {
        /// Which.
        vm: Reference,
    },
    /// Stops it: asks the guest, then cuts it off. From every state but stopped.
    Stop {
        /// Which.
        vm: Reference,
        /// How long the guest may take, seconds; 0 cuts it off at once.
        grace_seconds: u32,
    },
    /// Stops and starts it as one wish. From running and paused.
    Restart {
        /// Which.
        vm: Reference,
    },
    /// Holds its vCPUs. From running.
    Pause {
        /// Which.
        vm: Reference,
    },
    /// Lets them go on. From paused.
    Unpause {
        /// Which.
        vm: Reference,
    },
    /// Changes the security groups of its NICs.
    EditSecurityGroups {
        /// Which.
        vm: Reference,
        /// Of which NIC; of all if absent.
        nic: Option<u32>,
        /// How.
        change: GroupsChange,
    },
    /// Changes what its NICs are, their groups and addresses left out.
    EditNics {
        /// Which.
        vm: Reference,
        /// Which NIC; all if absent.
        nic: Option<u32>,
        /// Whether they are held to their own addresses.
        port_security: bool,
    },
    /// Gives it one more NIC. In every state but on its way out.
    AttachNic {
        /// Which.
        vm: Reference,
        /// On which network, as whom.
        nic: NicRequest,
    },
    /// Takes a NIC away. In every state but on its way out.
    DetachNic {
        /// Which.
        vm: Reference,
        /// Which of its NICs.
        nic: NicChoice,
    },
    /// Removes it with its root disk. Always allowed.
    Delete {
        /// Which.
        vm: Reference,
    },
    /// Forgets it, whatever is left of it on its node; see [`crate::repair`].
    ForceRemove {
        /// Which.
        vm: Reference,
    },
    /// Looks at it again now, whatever it waits for; see [`crate::repair`].
    Reconcile {
        /// Which.
        vm: Reference,
    },
    /// From the scheduler: look for a place again.
    Schedule {
        /// Which.
        vm: Id<Vm>,
    },
    /// From the vm pool.
    Report {
        /// Which.
        vm: Id<Vm>,
        /// The generation it acted on.
        generation: Generation,
        /// What it did or saw.
        report: VmReport,
    },
}

/// What a VM is to be. References are names or ids, as the user gave them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CreateVm {
    /// Its name: a DNS label, since it becomes the guest's host name.
    pub name: Name,
    /// Free text.
    pub description: String,
    /// Its labels.
    pub labels: Labels,
    /// The image that its root disk starts from.
    pub image: Reference,
    /// The flavor.
    pub flavor: Reference,
    /// Root disk in GiB, if not the flavor's.
    pub root_disk_gib: Option<u64>,
    /// The keypair to let in.
    pub keypair: Option<Reference>,
    /// cloud-init user data, sealed by the API.
    pub user_data: Option<SealedText>,
    /// The one node that it may run on.
    pub node: Option<Reference>,
    /// Labels that its node must have.
    pub node_selector: Labels,
    /// What follows when it stops by itself.
    pub run_strategy: RunStrategy,
    /// The networks to be on, a NIC each; none: a user-mode NAT NIC.
    #[serde(default)]
    pub networks: Vec<NicRequest>,
}

/// What the vm pool reports, and the gateway pool of a VM's NICs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "report", rename_all = "kebab-case")]
pub enum VmReport {
    /// A process runs for it.
    Started(Instance),
    /// Its vCPUs stand still.
    Paused,
    /// Its vCPUs run again.
    Unpaused,
    /// No process runs for it any more.
    Stopped {
        /// In which way.
        how: StoppedHow,
        /// In words; QEMU's own last line after a crash.
        detail: String,
    },
    /// Tried in vain; it is tried again.
    AttemptFailed(FailedAttempt),
    /// The loopback port of its SSH forward is taken by another program.
    SshPortTaken {
        /// Which.
        port: u16,
    },
    /// The guest's agent answered for the first time in this run.
    GuestAgentConnected {
        /// The guest's host name.
        hostname: String,
        /// The guest's operating system.
        operating_system: String,
    },
    /// No process, socket or seed of it is left on the node.
    Released,
    /// Its process has this NIC.
    NicPlugged {
        /// Which.
        number: u32,
    },
    /// Nothing of this NIC is left on its node.
    NicUnplugged {
        /// Which.
        number: u32,
    },
    /// A NIC is not in its process, or still is, against the wish; it is tried again.
    NicAttemptFailed {
        /// Which.
        number: u32,
        /// What was tried, and why in vain.
        failed: FailedAttempt,
    },
    /// From the gateway pool: the nodes work by these NICs.
    NicsReady {
        /// Which.
        numbers: Vec<u32>,
    },
    /// From the gateway pool: others changed or removed something of a NIC in the virtual network; it is mended next.
    NicDrifted {
        /// Which.
        number: u32,
        /// What, one a row.
        what: Vec<String>,
    },
}

/// In which way a VM stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum StoppedHow {
    /// Asked to, and the guest shut down by itself in time.
    Graceful,
    /// Asked to, and cut off.
    Forced,
    /// The guest shut itself down, nobody asked.
    GuestShutdown,
    /// The process ended without being asked to.
    Crashed,
    /// The host was restarted under it.
    HostRestarted,
}

impl StoppedHow {
    /// As users see it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Graceful => "graceful",
            Self::Forced => "forced",
            Self::GuestShutdown => "guest_shutdown",
            Self::Crashed => "crashed",
            Self::HostRestarted => "host_restarted",
        }
    }
}

impl VmCommand {
    /// The command's name in the envelope.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Create(_) => "create-vm",
            Self::Update { .. } => "update-vm",
            Self::Start { .. } => "start-vm",
            Self::Stop { .. } => "stop-vm",
            Self::Restart { .. } => "restart-vm",
            Self::Pause { .. } => "pause-vm",
            Self::Unpause { .. } => "unpause-vm",
            Self::EditSecurityGroups { .. } => "edit-vm-sg",
            Self::EditNics { .. } => "edit-vm-nic",
            Self::AttachNic { .. } => "attach-nic",
            Self::DetachNic { .. } => "detach-nic",
            Self::Delete { .. } => "remove-vm",
            Self::ForceRemove { .. } => "force-remove-vm",
            Self::Reconcile { .. } => "reconcile-vm",
            Self::Schedule { .. } => "schedule-vm",
            Self::Report { report, .. } => match report {
                VmReport::Started(_) => "report-vm-started",
                VmReport::Paused => "report-vm-paused",
                VmReport::Unpaused => "report-vm-unpaused",
                VmReport::Stopped { .. } => "report-vm-stopped",
                VmReport::AttemptFailed(_) => "report-vm-attempt-failed",
                VmReport::SshPortTaken { .. } => "report-vm-ssh-port-taken",
                VmReport::GuestAgentConnected { .. } => "report-vm-guest-agent",
                VmReport::Released => "report-vm-released",
                VmReport::NicPlugged { .. } => "report-vm-nic-plugged",
                VmReport::NicUnplugged { .. } => "report-vm-nic-unplugged",
                VmReport::NicAttemptFailed { .. } => "report-vm-nic-attempt-failed",
                VmReport::NicsReady { .. } => "report-vm-nics-ready",
                VmReport::NicDrifted { .. } => "report-vm-nic-drifted",
            },
        }
    }
}
