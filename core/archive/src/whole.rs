//! The log as one: what has left the live log is read from the archive, the rest from the live log.

use std::sync::Arc;

use async_trait::async_trait;
use edgestack_log::{Append, AppendError, Cause, ChainHead, Damage, Log, LogError, LogHead, PendingAck, StoredCommit};
use futures::{
    StreamExt as _,
    stream::{self, BoxStream},
};
use tokio::sync::{OwnedRwLockWriteGuard, RwLock};

use crate::{Archive, ArchiveError};

/// Commits read from the archive at once by a follower.
const BATCH: usize = 512;

/// A live log and the archive of what has left it. Clones share it.
///
/// Its head counts from the first commit of all. A live log that begins later than the archive's record allows
/// ([`Archive::released`]) has lost its beginning: then its head counts too few, which every check of a log finds.
#[derive(Clone)]
pub struct WholeLog {
    live: Arc<dyn Log>,
    archive: Arc<Archive>,
    /// Appends and their answers hold it shared.
    gate: Arc<RwLock<()>>,
}

/// While it lives nothing is appended, and nothing is on its way.
pub struct NoAppends {
    _held: OwnedRwLockWriteGuard<()>,
}

impl WholeLog {
    /// Both together.
    pub fn new(live: Arc<dyn Log>, archive: Arc<Archive>) -> Self {
        Self { live, archive, gate: Arc::default() }
    }

    /// Waits until all that was handed over is answered, and holds back what comes next.
    pub async fn hold_appends(&self) -> NoAppends {
        NoAppends { _held: self.gate.clone().write_owned().await }
    }

    async fn archived(&self, from: u64, max: usize) -> Result<Vec<StoredCommit>, LogError> {
        let released = self.archive.released().sequence;
        let left = usize::try_from((released + 1).saturating_sub(from)).unwrap_or(usize::MAX);
        match self.archive.read(from, max.min(left)).await {
            Ok(read) if read.is_empty() && max > 0 => {
                Err(Damage::Unreadable { sequence: from, last_sequence: released }.into())
            }
            Ok(mut read) => {
                read.truncate(left);
                Ok(read)
            }
            Err(error) => Err(told_by_archive(error, from, released)),
        }
    }
}

/// What is damaged in the only copy is damage of the log; what can't be reached comes back.
fn told_by_archive(error: ArchiveError, from: u64, released: u64) -> LogError {
    match error {
        ArchiveError::Damaged(damage) => damage.into(),
        error @ (ArchiveError::Segment { .. } | ArchiveError::OtherCommit { .. }) => {
            tracing::error!(
                from,
                error = edgestack_engine::error_chain(&error),
                "ALARM: what has left the live log can't be read from the archive; bring the segment back from a copy"
            );
            Damage::Unreadable { sequence: from, last_sequence: released }.into()
        }
        error @ (ArchiveError::File { .. }
        | ArchiveError::Store { .. }
        | ArchiveError::Keys(_)
        | ArchiveError::Held { .. }) => {
            LogError::Unavailable(Cause::with_source("what has left the live log is in the archive", error))
        }
    }
}

#[async_trait]
impl Log for WholeLog {
    async fn append(&self, entry: Append) -> Result<PendingAck, AppendError> {
        let held = self.gate.clone().read_owned().await;
        let answer = self.live.append(entry).await?;
        Ok(Box::pin(async move {
            let answer = answer.await;
            drop(held);
            answer
        }))
    }

    async fn read(&self, from_sequence: u64, max_messages: usize) -> Result<Vec<StoredCommit>, LogError> {
        let from = from_sequence.max(1);
        if from <= self.archive.released().sequence {
            return self.archived(from, max_messages).await;
        }
        self.live.read(from, max_messages).await
    }

    async fn get(&self, sequence: u64) -> Result<Option<StoredCommit>, LogError> {
        if (1..=self.archive.released().sequence).contains(&sequence) {
            return Ok(self.archived(sequence, 1).await?.pop());
        }
        self.live.get(sequence).await
    }

    async fn head(&self) -> Result<LogHead, LogError> {
        let head = self.live.head().await?;
        let before = head.first_sequence.saturating_sub(1);
        let allowed = before.min(self.archive.released().sequence);
        if before == 0 {
            return Ok(head);
        }
        Ok(LogHead { first_sequence: 1, messages: head.messages.saturating_add(allowed), ..head })
    }

    async fn follow(&self, from_sequence: u64) -> Result<BoxStream<'static, Result<StoredCommit, LogError>>, LogError> {
        let (from, released) = (from_sequence.max(1), self.archive.released().sequence);
        let live = self.live.follow(from.max(released + 1)).await?;
        if from > released {
            return Ok(live);
        }
        let whole = self.clone();
        let before = stream::try_unfold(from, move |next| {
            let whole = whole.clone();
            async move {
                if next > released {
                    return Ok(None);
                }
                let wanted = usize::try_from(released + 1 - next).unwrap_or(BATCH).min(BATCH);
                let batch = whole.archived(next, wanted).await?;
                let after = batch.last().map_or(next, |last| last.sequence + 1);
                Ok(Some((batch, after)))
            }
        });
        let before = before.flat_map(|batch| match batch {
            Ok(batch) => stream::iter(batch.into_iter().map(Ok).collect::<Vec<_>>()),
            Err(error) => stream::iter(vec![Err(error)]),
        });
        // After an error nothing follows: what comes next would leave a gap.
        let mut broken = false;
        Ok(Box::pin(before.chain(live).take_while(move |item| {
            let goes_on = !broken;
            broken |= item.is_err();
            futures::future::ready(goes_on)
        })))
    }

    async fn live_head(&self) -> Result<LogHead, LogError> {
        self.live.head().await
    }

    fn released(&self) -> ChainHead {
        self.archive.released()
    }

    fn backend(&self) -> &'static str {
        self.live.backend()
    }
}
