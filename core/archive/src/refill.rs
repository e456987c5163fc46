//! From the archive back into the log.

use edgestack_log::{AppendError, ChainHead, Log, LogError, PendingAck, StoredCommit, verify_from};
use futures::{StreamExt as _, stream::FuturesOrdered};

use crate::{Archive, ArchiveError, line};

/// Commits read from the archive at once.
const BATCH: usize = 1024;
/// Appends in flight.
const IN_FLIGHT_MAX: usize = 512;

/// Why the log could not be filled from the archive.
#[derive(Debug, thiserror::Error)]
pub enum RefillError {
    /// The archive is damaged too.
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    /// An append failed.
    #[error("commit {sequence} could not be appended again")]
    Append {
        /// Which.
        sequence: u64,
        /// Why.
        #[source]
        source: AppendError,
    },
    /// What was appended does not read back.
    #[error("the log does not read back as it was filled")]
    Verify(#[from] LogError),
    /// It reads back as something else.
    #[error("the log ends with another commit than the archive")]
    Differs,
}

/// Appends all that the archive has beyond the log's end, then reads the live log back and checks it.
/// `told` hears of the last appended sequence, in steps.
///
/// # Errors
/// [`RefillError`]; the log is not to be believed then.
pub async fn refill(archive: &Archive, log: &dyn Log, mut told: impl FnMut(u64)) -> Result<ChainHead, RefillError> {
    let archived = archive.head().await;
    let mut next = log.head().await?.last_sequence + 1;
    while next <= archived.sequence {
        let batch = archive.read(next, BATCH).await?;
        let Some(last) = batch.last().map(|commit| commit.sequence) else { break };
        append(log, batch).await?;
        next = last + 1;
        told(last);
    }
    let found = verify_from(log, log.released(), Some(archived.sequence)).await?;
    if found == archived { Ok(found) } else { Err(RefillError::Differs) }
}

/// Appends what another log has beyond `head`, the last commit of `log`, and reads that back.
///
/// # Errors
/// [`RefillError`]; the log is not to be believed then.
pub async fn copy(source: &dyn Log, log: &dyn Log, head: ChainHead) -> Result<ChainHead, RefillError> {
    let end = source.head().await?.last_sequence;
    let mut at = head;
    while at.sequence < end {
        let batch = source.read(at.sequence + 1, BATCH).await?;
        if batch.is_empty() {
            break;
        }
        for commit in &batch {
            at.check_next(commit).map_err(LogError::from)?;
        }
        append(log, batch).await?;
    }
    let found = verify_from(log, head, Some(end)).await?;
    if found == at { Ok(found) } else { Err(RefillError::Differs) }
}

async fn append(log: &dyn Log, batch: Vec<StoredCommit>) -> Result<(), RefillError> {
    let mut in_flight = FuturesOrdered::new();
    for commit in batch {
        let sequence = commit.sequence;
        let failed = |source| RefillError::Append { sequence, source };
        let entry = line::to_append(commit).map_err(ArchiveError::from)?;
        let ack = log.append(entry).await.map_err(failed)?;
        in_flight.push_back(acknowledged(sequence, ack));
        if in_flight.len() == IN_FLIGHT_MAX
            && let Some(done) = in_flight.next().await
        {
            done?;
        }
    }
    while let Some(done) = in_flight.next().await {
        done?;
    }
    Ok(())
}

async fn acknowledged(sequence: u64, ack: PendingAck) -> Result<(), RefillError> {
    ack.await.map(|_| ()).map_err(|source| RefillError::Append { sequence, source })
}
