//! What only one process does is done by the one that has the lease.

use edgestack_model::{Actor, World, realization::GATEWAY_LEASE};

use super::Evidence;

/// Folds the whole log, looking at who wrote.
///
/// # Errors
/// What is wrong, for people.
pub fn check(evidence: &Evidence) -> Result<(), String> {
    let mut world = World::default();
    for commit in &evidence.commits {
        if let Some((lease, node)) = singleton(&commit.actor) {
            let lease = lease.parse().ok().and_then(|name| world.lease(&name));
            let holder = lease.and_then(|lease| lease.holder.as_ref());
            if holder.is_none_or(|holder| holder.node.as_str() != node) {
                let (sequence, who) = (commit.sequence, &commit.actor.name);
                return Err(format!("commit {sequence}: {who} of {node} wrote, and the lease is {holder:?}'s"));
            }
        }
        world.evolve(commit).map_err(|error| format!("commit {}: {error}", commit.sequence))?;
    }
    Ok(())
}

/// The lease that somebody writes under, and the node of the process.
fn singleton(actor: &Actor) -> Option<(&str, &str)> {
    let of_gateway = actor.name.strip_prefix("worker.gateway@").map(|node| (GATEWAY_LEASE, node));
    let is_of_engine = ["scheduler", "overseer"].contains(&actor.name.as_str());
    let of_engine = actor.from.strip_prefix("edgestackd on ").filter(|_| is_of_engine);
    of_gateway.or_else(|| of_engine.map(|node| (actor.name.as_str(), node)))
}
