//! Snapshots while the site lives: the newest world whenever enough has happened, and what is missing further back.

use std::sync::Arc;
use std::time::{Duration, Instant};

use edgestack_engine::{Replica, error_chain};
use edgestack_log::{Damage, LogError};

use crate::{Timeline, TimelineError, decode, snapshot::Placed};

/// After a snapshot the keeper rests so many times as long as that took: at most some 10 % of a core, and that only
/// while there is something to make up for.
const REST: u32 = 9;
/// How long after a failure it tries again.
const TRY_AGAIN: Duration = Duration::from_secs(60);

/// What the keeper found to do.
enum Done {
    /// It wrote a snapshot; there may be more to do.
    Wrote,
    /// Nothing, until this commit is there.
    NothingUntil(u64),
}

impl Timeline {
    /// Keeps snapshots of a log that `replica` follows, for as long as the process lives.
    pub async fn keep(self, replica: Arc<Replica>) {
        let mut head = replica.watch_head();
        loop {
            replica.wait_until_whole().await;
            let begun = Instant::now();
            match self.one_snapshot(&replica).await {
                Ok(Done::Wrote) => tokio::time::sleep(begun.elapsed() * REST).await,
                Ok(Done::NothingUntil(sequence)) => {
                    if head.wait_for(|head| head.sequence >= sequence).await.is_err() {
                        return;
                    }
                }
                Err(error) => {
                    tracing::warn!(
                        error = error_chain(&error),
                        "no snapshot could be made; it is tried again in a minute, and what is past takes longer to be shown until then"
                    );
                    tokio::time::sleep(TRY_AGAIN).await;
                }
            }
        }
    }

    /// Makes the snapshot that is wanted most: the newest, or else one where many commits lie without any.
    async fn one_snapshot(&self, replica: &Replica) -> Result<Done, TimelineError> {
        let last = replica.head().sequence;
        // Of a log that was set back, or of another one.
        self.inner.store.remove_beyond(self.inner.log.head().await?.last_sequence)?;
        let newest = self.inner.store.nearest(last).unwrap_or(0);
        let every = self.every(&replica.world());
        if last >= newest + every {
            let (world, head) = replica.snapshot();
            let Some(stored) = self.inner.log.get(head.sequence).await? else {
                let damage = Damage::Unreadable { sequence: head.sequence, last_sequence: head.sequence };
                return Err(LogError::from(damage).into());
            };
            let time = Some(decode(&stored)?.time);
            self.write(Placed { world, head, time }).await?.1?;
            return Ok(Done::Wrote);
        }
        let Some(missing) = self.inner.store.first_missing(every, newest) else {
            return Ok(Done::NothingUntil(newest + every));
        };
        let _turn = self.turn().await?;
        let start = self.start(missing).await?;
        let placed = self.fold(start, missing, false).await?;
        self.write(placed).await?.1?;
        Ok(Done::Wrote)
    }
}
