//! Law 3 and law 5: what was acknowledged is in the log, once, where it was said to be.

use std::collections::BTreeMap;

use super::Evidence;
use crate::outside::Outside;

/// Each acknowledged commit once, at its place; each key at most once.
///
/// # Errors
/// What is wrong, for people.
pub fn check(outside: &Outside, evidence: &Evidence) -> Result<(), String> {
    for (id, sequence) in outside.ledger.acknowledged() {
        let found: Vec<u64> =
            evidence.commits.iter().filter(|commit| commit.id == id).map(|commit| commit.sequence.0).collect();
        if found != [sequence] {
            return Err(format!("commit {id} was acknowledged at {sequence} and is in the log at {found:?}"));
        }
    }
    let mut by_key: BTreeMap<&str, u64> = BTreeMap::new();
    for commit in &evidence.commits {
        if let Some(claim) = &commit.idempotency
            && let Some(before) = by_key.insert(&claim.key, commit.sequence.0)
        {
            return Err(format!("key {} took effect at {before} and at {}", claim.key, commit.sequence));
        }
    }
    for (key, told) in outside.ledger.by_key() {
        if by_key.get(key.as_str()) != Some(&told) {
            let found = by_key.get(key.as_str());
            return Err(format!("key {key} was told commit {told}, and the log has {found:?}"));
        }
    }
    Ok(())
}
