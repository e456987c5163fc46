//! The nodes of a fork: what runs on each is what the log says, and each has a power switch.

use std::collections::BTreeMap;

use async_trait::async_trait;
use edgestack_engine::{CommandPort, Outcome, Submission, SubmitError};
use edgestack_model::{
    Id, Name, World,
    node::{Node, NodeFacts},
    orphan::VmRecord,
    vm::{Instance, Power, Vm},
};
use edgestack_pool::DriverError;
use edgestack_server::fork::Outside;
use edgestack_worker_monitoring::driver::NodeDriver;
use edgestack_worker_vm::driver::{Process, Runs, SimDriver};
use std::sync::Arc;
use tokio::sync::watch;

/// One node.
pub struct ForkNode {
    pub name: Name,
    pub facts: NodeFacts,
    /// Its VMs' processes.
    pub machines: SimDriver,
    /// Whether it is on. What is off says nothing.
    pub power: watch::Sender<bool>,
}

/// All nodes.
pub struct Nodes(BTreeMap<Id<Node>, ForkNode>);

impl Nodes {
    /// Those of a world. One that is not ready there is off: whatever silences it goes on until it comes back.
    pub fn of(world: &World) -> Self {
        let node = |node: &Arc<Node>| {
            let (machines, power) = (machines(world, node.id), watch::Sender::new(node.readiness.ready));
            (node.id, ForkNode { name: node.meta.name.clone(), facts: node.facts.clone(), machines, power })
        };
        Self(world.nodes.values().map(node).collect())
    }

    /// In order of id.
    pub fn all(&self) -> impl Iterator<Item = &ForkNode> {
        self.0.values()
    }
}

impl Outside for Nodes {
    fn lose_node(&self, node: Id<Node>) -> bool {
        let Some(node) = self.0.get(&node) else { return false };
        let was_on = node.power.send_replace(false);
        if was_on {
            node.machines.cut_power("simulated: after the power failure");
        }
        was_on
    }

    fn return_node(&self, node: Id<Node>) -> bool {
        self.0.get(&node).is_some_and(|node| !node.power.send_replace(true))
    }

    fn crash_vm(&self, vm: Id<Vm>) -> bool {
        self.0.values().filter(|node| *node.power.borrow()).any(|node| node.machines.crash(vm))
    }
}

/// What runs on a node by the log. A process of an earlier boot than the newest is gone for certain.
fn machines(world: &World, node: Id<Node>) -> SimDriver {
    let here = |vm: &&Arc<Vm>| vm.placement.as_ref().is_some_and(|placement| placement.node == node);
    let running: Vec<(&Arc<Vm>, &Instance)> =
        world.vms.values().filter(here).filter_map(|vm| vm.power.instance().map(|instance| (vm, instance))).collect();
    let newest = running.iter().max_by_key(|(_, instance)| instance.started_at);
    let boot = newest.map_or("simulated", |(_, instance)| instance.host_boot.as_str()).to_owned();
    let running = running.into_iter().filter(|(_, instance)| instance.host_boot == boot);
    let running = running.filter_map(|(vm, instance)| VmRecord::of(vm).map(|record| (vm, instance, record)));
    let running = running.map(|(vm, instance, record)| Runs {
        id: vm.id,
        record,
        process: Process {
            pid: instance.pid,
            start_time_ticks: instance.start_time_ticks,
            host_boot: instance.host_boot.clone(),
            accelerator: instance.accelerator.clone(),
            hypervisor: instance.hypervisor.clone(),
            nics: instance.nics.clone(),
        },
        paused: matches!(vm.power, Power::Paused(_)),
        // Whether a real guest that is silent so far will ever answer is not known here.
        agent: vm.guest_agent.is_some(),
    });
    SimDriver::running(&boot, running)
}

/// A node's way to the engine: what is off sends nothing until it is on again.
pub struct NodePort {
    pub power: watch::Receiver<bool>,
    pub engine: Arc<dyn CommandPort>,
}

#[async_trait]
impl CommandPort for NodePort {
    async fn submit(&self, submission: Submission) -> Result<Outcome, SubmitError> {
        // An error means that the fork ends, and then nobody waits for the answer.
        let _ = self.power.clone().wait_for(|on| *on).await;
        self.engine.submit(submission).await
    }
}

/// A node that has what the log says it has.
pub struct LoggedFacts(pub NodeFacts);

#[async_trait]
impl NodeDriver for LoggedFacts {
    async fn facts(&self) -> Result<NodeFacts, DriverError> {
        Ok(self.0.clone())
    }
}
