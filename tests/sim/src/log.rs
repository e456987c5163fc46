//! The simulated log, with time: answers take a while, and it is away at times.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use async_trait::async_trait;
use edgestack_log::{Append, AppendError, Cause, Log, LogError, LogHead, PendingAck, StoredCommit, memory::MemoryLog};
use futures::{FutureExt as _, StreamExt as _, stream::BoxStream};

use crate::{crash::CrashSwitch, random::Random};

/// A [`MemoryLog`] behind a network.
#[derive(Clone)]
pub struct SimLog {
    pub inner: MemoryLog,
    pub away: Arc<AtomicBool>,
    pub crash: CrashSwitch,
    pub random: Random,
}

impl SimLog {
    fn check(&self) -> Result<(), Cause> {
        if self.away.load(Ordering::Relaxed) { Err(Cause::new("simulated: the log is away")) } else { Ok(()) }
    }
}

#[async_trait]
impl Log for SimLog {
    async fn append(&self, entry: Append) -> Result<PendingAck, AppendError> {
        self.crash.pass().await;
        self.check().map_err(AppendError::Unavailable)?;
        let ack = self.inner.append(entry).await?;
        self.crash.pass().await;
        let (latency, crash) = (self.random.millis(1, 6), self.crash.clone());
        Ok(async move {
            tokio::time::sleep(latency).await;
            crash.pass().await;
            ack.await
        }
        .boxed())
    }

    async fn read(&self, from_sequence: u64, max_messages: usize) -> Result<Vec<StoredCommit>, LogError> {
        self.check().map_err(LogError::Unavailable)?;
        self.inner.read(from_sequence, max_messages).await
    }

    async fn get(&self, sequence: u64) -> Result<Option<StoredCommit>, LogError> {
        self.check().map_err(LogError::Unavailable)?;
        self.inner.get(sequence).await
    }

    async fn head(&self) -> Result<LogHead, LogError> {
        self.check().map_err(LogError::Unavailable)?;
        self.inner.head().await
    }

    async fn follow(&self, from_sequence: u64) -> Result<BoxStream<'static, Result<StoredCommit, LogError>>, LogError> {
        // Looked for again and again: the log's own watch would wake several followers in an order that no seed decides.
        let (inner, random) = (self.inner.clone(), self.random.clone());
        let commits = futures::stream::unfold((inner, random, from_sequence), |(inner, random, next)| async move {
            loop {
                // What others appended is heard a little later, and now and then much later.
                let behind = if random.per_mille(5) { random.millis(100, 1500) } else { random.millis(5, 25) };
                match inner.read(next, 1).await.map(|mut batch| batch.pop()) {
                    Ok(Some(commit)) => return Some((Ok(commit), (inner, random, next + 1))),
                    Ok(None) | Err(LogError::Unavailable(_)) => tokio::time::sleep(behind).await,
                    Err(error) => return Some((Err(error), (inner, random, next))),
                }
            }
        });
        Ok(commits.boxed())
    }

    fn backend(&self) -> &'static str {
        "memory (simulated)"
    }
}
