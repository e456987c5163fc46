//! Law 5: a wish takes effect once or not at all, and the client was told the truth about it.

use std::collections::BTreeMap;

use uuid::Uuid;

use super::Evidence;
use crate::outside::Outside;

/// The commits of each wish against what its client was told.
///
/// # Errors
/// What is wrong, for people.
pub fn check(outside: &Outside, evidence: &Evidence) -> Result<(), String> {
    let mut found: BTreeMap<Uuid, Vec<u64>> = BTreeMap::new();
    for commit in evidence.commits.iter().filter(|commit| commit.actor.name.starts_with("client-")) {
        found.entry(commit.correlation_id).or_default().push(commit.sequence.0);
    }
    for (id, told) in outside.ledger.told() {
        let found = found.remove(&id).unwrap_or_default();
        let wrong = |what: &str| Err(format!("wish {id} {what}, and the log has it at {found:?}"));
        if found.len() > 1 {
            return wrong("took effect more than once");
        }
        if told.dry_run && !found.is_empty() {
            return wrong("was to be tried only");
        }
        if told.done && found.is_empty() {
            return wrong("was acknowledged");
        }
        if told.without_effect && !told.done && !told.open && !found.is_empty() {
            return wrong("was refused");
        }
    }
    match found.first_key_value() {
        // Some are still waiting for their first answer.
        Some((id, found)) if found.len() > 1 => Err(format!("wish {id} took effect more than once, at {found:?}")),
        Some(_) | None => Ok(()),
    }
}
