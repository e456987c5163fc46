//! Settling an append whose outcome is unknown.

use std::time::Duration;

use crate::chain::{Damage, Envelope};
use crate::{Log, LogError};

/// First wait before asking an unreachable log again; doubles up to [`LONGEST_WAIT`].
const FIRST_WAIT: Duration = Duration::from_millis(20);
const LONGEST_WAIT: Duration = Duration::from_millis(500);

/// What stands at the sequence that a commit wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resolution {
    /// Our commit: the append succeeded. Final.
    Ours,
    /// Another commit: ours was not stored and never will be, as its expectation is now wrong for ever. Final.
    Foreign,
    /// Nothing yet. **Not final**: the message may still be on its way, in a socket's buffer or the server's queue,
    /// and be stored after this answer. No look can rule that out; only a stored message at that sequence can.
    ///
    /// So don't tell the client that it failed. Append the *same bytes with the same id and expectation* again: both
    /// copies are fenced by the same expected last sequence, so at most one of them is stored, and it doesn't matter
    /// which, as they are equal. The repetition then answers in one of three ways: acknowledged (stored now);
    /// [`AppendError::WrongLastSequence`](crate::AppendError::WrongLastSequence) (something came first: resolve again,
    /// it is now `Ours` or `Foreign`); or unknown again (resolve again, later). To give a commit up for good, append
    /// something else at that sequence: once that is stored, the late copy is refused.
    Absent,
}

/// Reads what stands at `wanted_sequence` (`expected_last_sequence + 1` of the append in doubt) and compares its commit
/// id. While the log can't be reached it is asked again until `patience` is over.
///
/// # Errors
/// [`LogError::Unavailable`] when the log stayed out of reach, [`LogError::Damaged`] when what stands there is no
/// commit or a hole, [`LogError::Refused`] when it may not be read.
pub async fn resolve(
    log: &dyn Log,
    wanted_sequence: u64,
    commit_id: &str,
    patience: Duration,
) -> Result<Resolution, LogError> {
    let deadline = tokio::time::Instant::now() + patience;
    let mut wait = FIRST_WAIT;
    loop {
        match look(log, wanted_sequence, commit_id).await {
            Err(LogError::Unavailable(cause)) => {
                if tokio::time::Instant::now() + wait > deadline {
                    return Err(LogError::Unavailable(cause));
                }
                tokio::time::sleep(wait).await;
                wait = (wait * 2).min(LONGEST_WAIT);
            }
            settled => return settled,
        }
    }
}

async fn look(log: &dyn Log, wanted_sequence: u64, commit_id: &str) -> Result<Resolution, LogError> {
    let Some(found) = log.get(wanted_sequence).await? else {
        let head = log.head().await?;
        if head.last_sequence < wanted_sequence {
            return Ok(Resolution::Absent);
        }
        // Stored between the two questions, or a hole: the second look tells.
        let Some(found) = log.get(wanted_sequence).await? else {
            let last_sequence = head.last_sequence;
            return Err(Damage::Unreadable { sequence: wanted_sequence, last_sequence }.into());
        };
        return compare(&found, commit_id);
    };
    compare(&found, commit_id)
}

fn compare(found: &crate::StoredCommit, commit_id: &str) -> Result<Resolution, LogError> {
    let envelope = Envelope::read(found)?;
    Ok(if envelope.id == commit_id { Resolution::Ours } else { Resolution::Foreign })
}
