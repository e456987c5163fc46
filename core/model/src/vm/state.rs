//! The one word that people see, and what stands behind it.

use serde::{Deserialize, Serialize};

use super::{Nic, NicStage, NicState, Power, Target, Vm};
use crate::{Waiting, World, node::Node, volume::VolumeState, waiting::Failure};

/// A VM's state as people see it. It follows from the facts and is never stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// No node takes it now.
    Pending,
    /// Its disk is being made.
    Provisioning,
    /// Its process is being started.
    Starting,
    /// It shall run, the last attempt failed, and the next one is set.
    BackOff,
    /// Its vCPUs run.
    Running,
    /// Running, and shall be paused.
    Pausing,
    /// Its vCPUs stand still.
    Paused,
    /// Paused, and shall run.
    Unpausing,
    /// Running, and shall run anew.
    Restarting,
    /// Running, and shall stop.
    Stopping,
    /// No process, as wished.
    Stopped,
    /// Being removed.
    Deleting,
}

impl State {
    /// All, in the order of a VM's life.
    pub const ALL: [Self; 12] = [
        Self::Pending,
        Self::Provisioning,
        Self::Starting,
        Self::BackOff,
        Self::Running,
        Self::Pausing,
        Self::Paused,
        Self::Unpausing,
        Self::Restarting,
        Self::Stopping,
        Self::Stopped,
        Self::Deleting,
    ];

    /// As users see it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Provisioning => "provisioning",
            Self::Starting => "starting",
            Self::BackOff => "back_off",
            Self::Running => "running",
            Self::Pausing => "pausing",
            Self::Paused => "paused",
            Self::Unpausing => "unpausing",
            Self::Restarting => "restarting",
            Self::Stopping => "stopping",
            Self::Stopped => "stopped",
            Self::Deleting => "deleting",
        }
    }
}

impl Vm {
    /// Whether its process is of an older epoch than the one wished.
    pub fn is_outdated(&self) -> bool {
        self.power.instance().is_some_and(|instance| instance.boot_epoch < self.boot_epoch)
    }

    /// Its state, given whether its root disk can be used.
    pub fn state(&self, root_disk_available: bool) -> State {
        match (self.target, &self.power) {
            (Target::Deleted, _) => State::Deleting,
            (Target::Stopped { .. }, Power::Off) => State::Stopped,
            (Target::Stopped { .. }, Power::Running(_) | Power::Paused(_)) => State::Stopping,
            (Target::Running | Target::Paused, Power::Off) => {
                if self.placement.is_none() {
                    State::Pending
                } else if !root_disk_available {
                    State::Provisioning
                } else if self.failure.is_some() {
                    State::BackOff
                } else {
                    State::Starting
                }
            }
            (Target::Running, Power::Running(_) | Power::Paused(_)) if self.is_outdated() => State::Restarting,
            (Target::Running, Power::Running(_)) => State::Running,
            (Target::Running, Power::Paused(_)) => State::Unpausing,
            (Target::Paused, Power::Running(_)) => State::Pausing,
            (Target::Paused, Power::Paused(_)) => State::Paused,
        }
    }

    /// Its state in a world.
    pub fn state_in(&self, world: &World) -> State {
        let available = self
            .placement
            .as_ref()
            .and_then(|placement| world.volumes.get(&placement.root_volume))
            .is_some_and(|volume| volume.state == VolumeState::Available);
        self.state(available)
    }

    /// Law 8: what it waits for, while it is not where it should be.
    pub fn waiting(&self, world: &World) -> Option<Waiting> {
        let state = self.state_in(world);
        let node = self.placement.as_ref().and_then(|placement| world.nodes.get(&placement.node));
        let on_node = |pool: &str| match node {
            Some(node) => format!("worker.{pool}@{}", node.meta.name),
            None => format!("worker.{pool}"),
        };
        let root = self.placement.as_ref().and_then(|placement| world.volumes.get(&placement.root_volume));
        let (owner, doing) = match state {
            State::Running | State::Paused | State::Stopped => {
                return self.nic_waiting(self.nic_under_way()?, node.map(AsRef::as_ref));
            }
            State::Pending => ("scheduler".to_owned(), "no node takes it now"),
            State::Provisioning => (on_node("storage"), "its root disk is being made"),
            State::Starting | State::BackOff => (on_node("vm"), "its process is being started"),
            State::Pausing => (on_node("vm"), "its vCPUs are being paused"),
            State::Unpausing => (on_node("vm"), "its vCPUs are being resumed"),
            State::Restarting => (on_node("vm"), "it is being stopped, to be started anew"),
            State::Stopping => (on_node("vm"), "the guest is being asked to shut down"),
            State::Deleting if self.released => (on_node("storage"), "its root disk is being removed"),
            State::Deleting => (on_node("vm"), "its process is being ended"),
        };
        let failure = match state {
            State::Provisioning => root.and_then(|volume| volume.failure.as_ref()),
            State::Deleting if self.released => root.and_then(|volume| volume.failure.as_ref()),
            _ => self.failure.as_ref(),
        };
        let lost = node.filter(|node| !node.readiness.ready && state != State::Pending);
        let reason = match (lost, failure) {
            (Some(node), _) => format!(
                "node \"{}\" is not ready: {}",
                node.meta.name,
                node.readiness.reason.as_deref().unwrap_or("its workers are not heard")
            ),
            (None, Some(failure)) => failure.reason.clone(),
            (None, None) => doing.to_owned(),
        };
        Some(Waiting {
            owner,
            reason,
            fix: self.fix(state, lost.map(AsRef::as_ref), failure),
            next_attempt_at: failure.map(|failure| failure.next_attempt_at),
        })
    }

    /// What it waits for with a NIC that is to go.
    pub(crate) fn waiting_to_let_go(&self, world: &World, nic: &Nic) -> Option<Waiting> {
        let settled = matches!(self.state_in(world), State::Running | State::Paused | State::Stopped);
        if !settled || nic.stage != NicStage::Leaving {
            return self.waiting(world);
        }
        let node = self.placement.as_ref().and_then(|placement| world.nodes.get(&placement.node));
        self.nic_waiting(nic, node.map(AsRef::as_ref))
    }

    /// What a NIC of a VM waits for that is else where it should be.
    fn nic_waiting(&self, nic: &Nic, node: Option<&Node>) -> Option<Waiting> {
        let (number, name) = (nic.spec.number, &self.meta.name);
        let runs_on_without_change = self.power.instance().is_some_and(|instance| instance.nics.is_none());
        let leaves = match self.nic_state(nic) {
            NicState::Detaching => true,
            NicState::Attached | NicState::Attaching | NicState::AwaitsStart => false,
        };
        let restart = || Some(format!("edgectl restart-vm {name}"));
        if runs_on_without_change {
            let follows = if leaves { "goes when it stops" } else { "comes with its next start" };
            let reason = format!("it was started before NICs could come and go while it runs: NIC {number} {follows}");
            return Some(Waiting { owner: "user".to_owned(), reason, fix: restart(), next_attempt_at: None });
        }
        if leaves && matches!(self.power, Power::Paused(_)) {
            let reason = format!("NIC {number} goes when its guest, which has to let go of it, is not paused any more");
            let fix = Some(format!("edgectl unpause-vm {name}"));
            return Some(Waiting { owner: "user".to_owned(), reason, fix, next_attempt_at: None });
        }
        let owner = node.map_or_else(|| "worker.vm".to_owned(), |node| format!("worker.vm@{}", node.meta.name));
        let doing = if leaves { "taken out of" } else { "put into" };
        let lost = node.filter(|node| !node.readiness.ready);
        let Nic { failure, .. } = nic;
        let reason = match (lost, failure) {
            (Some(node), _) => format!(
                "node \"{}\" is not ready: {}",
                node.meta.name,
                node.readiness.reason.as_deref().unwrap_or("its workers are not heard")
            ),
            (None, Some(failure)) => format!("NIC {number}: {}", failure.reason),
            (None, None) => format!("NIC {number} is being {doing} the VM"),
        };
        let fix = match lost {
            Some(node) => Some(self.fix_of_lost(node)),
            None => failure.as_ref().and_then(|failure| failure.fix.clone()),
        };
        let next_attempt_at = failure.as_ref().map(|failure| failure.next_attempt_at);
        Some(Waiting { owner, reason, fix, next_attempt_at })
    }

    fn fix_of_lost(&self, node: &Node) -> String {
        let (node, vm) = (&node.meta.name, &self.meta.name);
        format!("start the workers of node {node}; if it is lost for good: edgectl force-remove vm/{vm} --reason …")
    }

    /// What a person can do: also what no worker will ever do.
    fn fix(&self, state: State, lost: Option<&Node>, failure: Option<&Failure>) -> Option<String> {
        let force = || format!("edgectl force-remove vm/{} --reason …", self.meta.name);
        if let Some(node) = lost {
            return Some(self.fix_of_lost(node));
        }
        let fix = failure?.fix.clone();
        match (state, fix) {
            (State::Deleting, Some(fix)) => Some(format!("{fix}; if that can't be: {}", force())),
            (State::Deleting, None) => Some(format!("if it can't be removed: {}", force())),
            (_, fix) => fix,
        }
    }
}
