//! Law 4: no gap, and each commit carries the hash of the one before it.

use edgestack_log::ChainHead;

use super::Evidence;

/// The head of the whole chain.
///
/// # Errors
/// What is wrong, for people.
pub fn check(evidence: &Evidence) -> Result<ChainHead, String> {
    let mut head = ChainHead::GENESIS;
    for stored in &evidence.stored {
        head.check_next(stored).map_err(|damage| damage.to_string())?;
    }
    Ok(head)
}
