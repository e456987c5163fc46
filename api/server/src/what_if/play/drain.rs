//! A node is drained: cordoned, and what is meant to run there stopped.

use edgestack_model::{Kind, vm::Target};
use edgestack_wire::Problem;
use serde_json::json;
use uuid::Uuid;

use super::{Player, in_words};

impl Player {
    /// Does what a person would do: root disks are their node's, so no other node can take its VMs over.
    pub(super) async fn drain(&mut self, node: &str) -> Result<(), Box<Problem>> {
        let id = self.id_of(Kind::Node, node).map_err(|failure| Box::new(failure.problem().clone()))?;
        self.request("POST", &format!("nodes/{id}/action"), Some(json!({"action": "cordon"}))).await?;
        let mut stopping = Vec::new();
        for (vm, name) in self.meant_to_run_on(id) {
            match self.request("POST", &format!("vms/{vm}/action"), Some(json!({"action": "stop"}))).await {
                Ok(_) => stopping.push(name),
                Err(problem) => self.note(&format!("vm \"{name}\" is not stopped: {}", problem.detail)),
            }
        }
        let disks = "root disks do not move, so no other node starts the VMs of this one";
        self.note(&match stopping.is_empty() {
            true => format!("nothing is meant to run on {node}; {disks}"),
            false => format!(
                "what runs on {node} stops and stays there until it is started again: {}; {disks}",
                in_words(stopping)
            ),
        });
        Ok(())
    }

    fn meant_to_run_on(&self, node: Uuid) -> Vec<(Uuid, String)> {
        let world = self.fork.replica.world();
        let meant = world.vms.values().filter(|vm| {
            let is_there = vm.placement.as_ref().is_some_and(|placement| placement.node.uuid() == node);
            is_there && matches!(vm.target, Target::Running | Target::Paused)
        });
        meant.map(|vm| (vm.id.uuid(), vm.meta.name.to_string())).collect()
    }
}
