//! What only one process does is done by the one that has the lease.

use edgestack_model::World;

use super::Evidence;

/// Folds the whole log, looking at who wrote.
///
/// # Errors
/// What is wrong, for people.
pub fn check(evidence: &Evidence) -> Result<(), String> {
    let mut world = World::default();
    for commit in &evidence.commits {
        let (who, from) = (&commit.actor.name, &commit.actor.from);
        if ["scheduler", "overseer"].contains(&who.as_str()) {
            let lease = who.parse().ok().and_then(|name| world.lease(&name));
            let holder = lease.and_then(|lease| lease.holder.as_ref());
            if holder.is_none_or(|holder| *from != format!("edgestackd on {}", holder.node)) {
                let sequence = commit.sequence;
                return Err(format!("commit {sequence}: {who}, {from}, wrote, and the lease is {holder:?}'s"));
            }
        }
        world.evolve(commit).map_err(|error| format!("commit {}: {error}", commit.sequence))?;
    }
    Ok(())
}
