//! Log and archive beside each other: which of the two can be believed, and how far.

use edgestack_log::{ChainHead, Damage, Log, LogError, StoredCommit, verify};

use crate::{Archive, ArchiveError};

/// What the log is, seen from the archive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It has all that is archived, and perhaps more.
    Whole,
    /// It is whole, but ends before the archive: what comes after can be appended to it.
    Behind {
        /// Its last sequence.
        last: u64,
    },
    /// It has lost or changed something that is archived.
    Damaged(Damage),
    /// It is whole, and another log than the archived one from some sequence on. Nothing but a person can tell which
    /// of the two is wanted.
    Foreign {
        /// The first sequence at which they differ, or one after it.
        sequence: u64,
    },
}

/// Why the two could not be compared.
#[derive(Debug, thiserror::Error)]
pub enum CompareError {
    /// The archive cannot be read.
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    /// The log cannot be read now.
    #[error("the log cannot be read")]
    Log(#[source] LogError),
}

/// Compares the ends, which costs the same however long the log is; reads the whole log only when something is odd.
///
/// # Errors
/// [`CompareError`].
pub async fn compare(archive: &Archive, log: &dyn Log) -> Result<Standing, CompareError> {
    let archived = archive.head().await;
    if archived.sequence == 0 {
        return Ok(Standing::Whole);
    }
    let head = log.head().await.map_err(CompareError::Log)?;
    let odd = head.check_count().is_err() || head.last_sequence < archived.sequence;
    if !odd && same_at(log, archived).await? {
        return Ok(Standing::Whole);
    }
    let found = match verify(log, Some(archived.sequence.min(head.last_sequence))).await {
        Ok(found) => found,
        Err(LogError::Damaged(damage)) => return Ok(Standing::Damaged(damage)),
        Err(error) => return Err(CompareError::Log(error)),
    };
    let ours = archive.read(found.sequence, 1).await?;
    let same = found == ChainHead::GENESIS || ours.first().is_some_and(|ours| hash(ours) == found.hash);
    Ok(match same {
        false => Standing::Foreign { sequence: found.sequence },
        true if found.sequence < archived.sequence => Standing::Behind { last: found.sequence },
        // The count was odd, and what counts is there.
        true => Standing::Whole,
    })
}

async fn same_at(log: &dyn Log, archived: ChainHead) -> Result<bool, CompareError> {
    match log.get(archived.sequence).await {
        Ok(Some(stored)) => Ok(hash(&stored) == archived.hash),
        Ok(None) | Err(LogError::Damaged(_)) => Ok(false),
        Err(error) => Err(CompareError::Log(error)),
    }
}

fn hash(commit: &StoredCommit) -> [u8; 32] {
    edgestack_log::chain::hash(&commit.payload)
}
