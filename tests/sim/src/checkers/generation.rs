//! A generation never goes back and never jumps: each wish is one step.

use std::collections::BTreeMap;

use edgestack_model::Generation;
use uuid::Uuid;

use super::Evidence;

/// Over the whole log, resource by resource.
///
/// # Errors
/// What is wrong, for people.
pub fn check(evidence: &Evidence) -> Result<(), String> {
    let mut last: BTreeMap<Uuid, Generation> = BTreeMap::new();
    for commit in &evidence.commits {
        for event in &commit.events {
            let (id, now) = (event.resource_id, event.generation);
            let before = last.insert(id, now).unwrap_or_default();
            if now < before || now > before.next() {
                return Err(format!("commit {}: {id} went from generation {before} to {now}", commit.sequence));
            }
        }
    }
    Ok(())
}
