//! What happens to VMs.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{GuestAgent, Instance, NicSpec, Placement, RunStrategy, StoppedHow, Target, VmSpec};
use crate::{
    Id, Labels, Name, meta::MetaChange, placement::PassedOver, security_group::SecurityGroup, waiting::Failure,
};

/// An event of a VM.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, strum::IntoStaticStr, JsonSchema)]
#[serde(tag = "type", content = "data")]
pub enum VmEvent {
    /// It is asked for.
    VmCreated {
        /// Free text.
        description: String,
        /// Its labels.
        labels: Labels,
        /// What it is made of.
        spec: VmSpec,
        /// Where it is wanted from the first.
        target: Target,
    },
    /// Something about it changed.
    VmUpdated {
        /// Description and labels.
        change: MetaChange,
        /// What follows when it stops by itself.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        run_strategy: Option<RunStrategy>,
        /// Labels that its node must have.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        node_selector: Option<Labels>,
    },
    /// It has a place.
    VmScheduled {
        /// Where, and what it was given there.
        placement: Placement,
        /// The node's name, for people.
        node_name: Name,
    },
    /// No node takes it now.
    VmUnschedulable {
        /// Why each does not.
        passed_over: Vec<PassedOver>,
        /// The attempt, and when the next comes.
        failure: Failure,
    },
    /// It shall run.
    VmStartRequested {
        /// The strategy that this start brings, if it changes.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        run_strategy: Option<RunStrategy>,
    },
    /// It shall stop.
    VmStopRequested {
        /// How long the guest may take, seconds.
        grace_seconds: u32,
    },
    /// It shall run anew.
    VmRestartRequested {
        /// The epoch that replaces the present one.
        boot_epoch: u64,
    },
    /// Its vCPUs shall stand still.
    VmPauseRequested {},
    /// Its vCPUs shall go on.
    VmUnpauseRequested {},
    /// It shall go.
    VmDeleteRequested {},
    /// A process runs for it.
    VmStarted {
        /// Which.
        instance: Instance,
    },
    /// Its vCPUs stand still.
    VmPaused {},
    /// Its vCPUs run again.
    VmUnpaused {},
    /// No process runs for it any more.
    VmStopped {
        /// In which way.
        how: StoppedHow,
        /// In words.
        detail: String,
        /// What follows.
        then: AfterStop,
    },
    /// An attempt at what is wished failed and will be repeated.
    VmAttemptFailed {
        /// What, why, when again.
        failure: Failure,
    },
    /// Its SSH forward got another port, the old one being taken by another program.
    VmSshPortMoved {
        /// The new one.
        ssh_port: u16,
    },
    /// The guest's agent answered for the first time in this run.
    VmGuestAgentConnected {
        /// As whom.
        guest_agent: GuestAgent,
    },
    /// No process, socket or seed of it is left on its node.
    VmReleased {},
    /// It is on a network.
    VmNicAttached {
        /// As whom.
        nic: NicSpec,
        /// The network's name, for people.
        network_name: Name,
    },
    /// A NIC of it is in these security groups from now on.
    VmNicSecurityGroupsChanged {
        /// Which.
        number: u32,
        /// All of its groups; none: nothing passes.
        security_groups: Vec<Id<SecurityGroup>>,
        /// Their names, for people.
        group_names: Vec<Name>,
    },
    /// A NIC of it is held to its own addresses from now on, or isn't any more. New ones are.
    VmNicPortSecurityChanged {
        /// Which.
        number: u32,
        /// Whether it is.
        port_security: bool,
    },
    /// A NIC of it is to go.
    VmNicDetachRequested {
        /// Which.
        number: u32,
    },
    /// A NIC of it is gone, and its addresses are free.
    VmNicDetached {
        /// Which.
        number: u32,
    },
    /// Its running process has this NIC.
    VmNicPlugged {
        /// Which.
        number: u32,
    },
    /// A NIC is not in its running process, or still is, against the wish; it is tried again.
    VmNicAttemptFailed {
        /// Which.
        number: u32,
        /// What, why, when again.
        failure: Failure,
    },
    /// The nodes work by a NIC of it.
    VmNicBecameReady {
        /// Which.
        number: u32,
    },
    /// Others changed or removed something of a NIC in the virtual network; it is mended.
    VmNicDrifted {
        /// Which.
        number: u32,
        /// What, one a row.
        what: Vec<String>,
    },
    /// It is gone.
    VmDeleted {},
    /// It is to be looked at now, whatever it waited for.
    VmReconcileRequested {},
    /// It is forgotten, whatever is left of it on its node.
    VmForceRemoved {
        /// Where something of it may be left.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        left_on: Option<Name>,
    },
}

/// What follows a stop.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "next", rename_all = "snake_case")]
pub enum AfterStop {
    /// As was wished: nothing.
    AsWished,
    /// The run strategy leaves it down: the wish becomes `stopped`.
    StaysStopped,
    /// The run strategy starts it again at once.
    StartsAgain,
    /// The run strategy starts it again, after a pause.
    StartsAgainAfter {
        /// What went wrong, how often, and when it starts.
        failure: Failure,
        /// Crashes, and stops soon after a start, in a row; this one counted.
        crashes: u32,
    },
}
