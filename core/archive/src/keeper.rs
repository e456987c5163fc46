//! Keeps the archive at the heels of the log.
//!
//! What the replica folds is archived at once, or at most [`WRITE_EVERY`] after the write before it, so that many commits
//! that come together share a synced write; the archive is behind by some milliseconds. What it missed (while it could not be written, or before this start) it
//! reads from the log.

use std::{sync::Arc, time::Duration};

use edgestack_engine::{Applied, Replica, error_chain};
use edgestack_log::{Damage, Log, LogError, StoredCommit};
use edgestack_planted::{self as planted, Bug};
use tokio::{
    sync::broadcast::{
        Receiver,
        error::{RecvError, TryRecvError},
    },
    time::Instant,
};

use crate::{Archive, ArchiveError};

/// The least time between the beginnings of two writes.
const WRITE_EVERY: Duration = Duration::from_millis(5);
/// Commits in one write.
const BATCH: usize = 512;
/// How long after a failure the next try comes; a full disk gives no event when there is room again.
const TRY_AGAIN: Duration = Duration::from_secs(1);

/// Why the archive does not follow.
#[derive(Debug, thiserror::Error)]
pub enum KeepError {
    /// The archive itself.
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    /// What is to be archived cannot be read.
    #[error("the log cannot be read for the archive")]
    Log(#[from] LogError),
}

impl From<Damage> for KeepError {
    fn from(damage: Damage) -> Self {
        Self::Log(damage.into())
    }
}

/// Archives what the replica folds, for ever.
pub async fn keep(archive: Arc<Archive>, log: Arc<dyn Log>, replica: Arc<Replica>) {
    let mut trouble = false;
    loop {
        // Listening comes before reading, so that nothing falls in between.
        let mut feed = replica.subscribe();
        let ended = match catch_up(&archive, &*log, &replica).await {
            Ok(()) if planted::is(Bug::ArchiveLeftBehind) => return,
            Ok(()) => {
                if std::mem::take(&mut trouble) {
                    tracing::info!("the archive follows the log again");
                }
                follow(&archive, &mut feed).await
            }
            Err(error) => Err(error),
        };
        match ended {
            Ok(Feed::Lagged) => {}
            Ok(Feed::Closed) => return,
            Err(error) => {
                if !std::mem::replace(&mut trouble, true) {
                    tracing::error!(
                        error = error_chain(&error),
                        "the archive does not follow the log: there is one copy of what is written now; it is tried each second"
                    );
                }
                tokio::time::sleep(TRY_AGAIN).await;
            }
        }
    }
}

/// Archives what the log has and the archive lacks, up to what the replica has folded.
///
/// # Errors
/// [`KeepError`].
pub async fn catch_up(archive: &Archive, log: &dyn Log, replica: &Replica) -> Result<(), KeepError> {
    loop {
        let archived = archive.head().await.sequence;
        let missing = replica.head().sequence.saturating_sub(archived);
        if missing == 0 {
            return Ok(());
        }
        let batch = log.read(archived + 1, usize::try_from(missing).unwrap_or(BATCH).min(BATCH)).await?;
        if batch.is_empty() {
            return Ok(());
        }
        archive.append(&batch).await?;
        tell(archive.head().await.sequence);
    }
}

/// Archives all that can be read of a log beyond the archive's end, whatever is folded: before a damaged log is replaced.
///
/// # Errors
/// [`KeepError`]; above all when the log says that it holds more than can be read: that is in neither copy then.
pub async fn salvage(archive: &Archive, log: &dyn Log) -> Result<(), KeepError> {
    let end = log.head().await?.last_sequence;
    loop {
        let archived = archive.head().await.sequence;
        if archived >= end {
            return Ok(());
        }
        let batch = log.read(archived + 1, BATCH).await?;
        if batch.is_empty() {
            return Err(Damage::Unreadable { sequence: archived + 1, last_sequence: end }.into());
        }
        archive.append(&batch).await?;
        tell(archive.head().await.sequence);
    }
}

enum Feed {
    Lagged,
    Closed,
}

async fn follow(archive: &Archive, feed: &mut Receiver<Arc<Applied>>) -> Result<Feed, KeepError> {
    let mut next_write = Instant::now();
    loop {
        let mut batch = match feed.recv().await {
            Ok(applied) => vec![stored(&applied)],
            Err(RecvError::Lagged(_)) => return Ok(Feed::Lagged),
            Err(RecvError::Closed) => return Ok(Feed::Closed),
        };
        tokio::time::sleep_until(next_write).await;
        next_write = Instant::now() + WRITE_EVERY;
        let ended = loop {
            match feed.try_recv() {
                Ok(applied) => batch.push(stored(&applied)),
                Err(TryRecvError::Empty) => break None,
                Err(TryRecvError::Lagged(_)) => break Some(Feed::Lagged),
                Err(TryRecvError::Closed) => break Some(Feed::Closed),
            }
            if batch.len() == BATCH {
                break None;
            }
        };
        archive.append(&batch).await?;
        tell(archive.head().await.sequence);
        if let Some(ended) = ended {
            return Ok(ended);
        }
    }
}

fn stored(applied: &Applied) -> StoredCommit {
    StoredCommit { sequence: applied.commit.sequence.0, payload: applied.payload.clone() }
}

#[allow(clippy::cast_precision_loss)] // A gauge is a float; sequences stay far below 2^52.
fn tell(sequence: u64) {
    metrics::gauge!("edgestack_archive_sequence").set(sequence as f64);
}
