//! Every world on the way is sound, and no VM was placed where none may be.

use edgestack_model::{World, event::Fact, vm::VmEvent};

use super::{
    Evidence,
    sound::{free, wanted},
};

/// Folds the whole log, looking at each world.
///
/// # Errors
/// What is wrong, for people.
pub fn check(evidence: &Evidence) -> Result<(), String> {
    let mut world = World::default();
    for commit in &evidence.commits {
        let sequence = commit.sequence;
        for event in &commit.events {
            let Fact::Vm(VmEvent::VmScheduled { placement, node_name }) = &event.fact else { continue };
            match world.nodes.get(&placement.node) {
                None => return Err(format!("commit {sequence}: placed on {node_name}, which is not there")),
                Some(node) if node.cordoned => return Err(format!("commit {sequence}: {node_name} is cordoned")),
                Some(node) if !node.readiness.ready => {
                    return Err(format!("commit {sequence}: {node_name} is not ready"));
                }
                Some(_) => {}
            }
        }
        world.evolve(commit).map_err(|error| format!("commit {sequence}: {error}"))?;
        if let Some(what) = world.unsound() {
            return Err(format!("commit {sequence}: {what}"));
        }
        if let Some(node) = world.nodes.values().find(|node| free(&world, node).iter().any(|free| *free < 0)) {
            return Err(format!("commit {sequence}: {} is overbooked", node.meta.name));
        }
        // A wish that no node could ever fulfil is refused; `wanted` is what the checks above count.
        debug_assert!(world.vms.values().all(|vm| wanted(&vm.spec.shape).iter().all(|wanted| *wanted > 0)));
    }
    Ok(())
}
