//! From the log into the replica.

use std::{sync::Arc, time::Duration};

use edgestack_log::{ChainHead, Damage, Log, LogError};
use futures::StreamExt;

use crate::{Replica, error_chain, reconnect::Pause};

/// Commits asked for at once.
const BATCH: usize = 512;

/// Folds everything that is in the log now.
///
/// # Errors
/// [`LogError`] when the log cannot be read, or is damaged (the replica has failed then).
pub async fn catch_up(log: &dyn Log, replica: &Replica) -> Result<(), LogError> {
    loop {
        let from = replica.head().sequence + 1;
        let batch = match log.read(from, BATCH).await {
            Ok(batch) => batch,
            Err(LogError::Damaged(damage)) => {
                replica.fail(damage.clone().into());
                return Err(LogError::Damaged(damage));
            }
            Err(error) => return Err(error),
        };
        if batch.is_empty() {
            return check_extent(log, replica).await;
        }
        if replica.apply(batch.into_iter().map(|stored| (stored, None)).collect()).is_err() {
            // The alarm is raised; the caller sees it in the replica's failure.
            return Ok(());
        }
    }
}

/// Law 4: as many messages as sequences, and no acknowledged one missing at the end.
async fn check_extent(log: &dyn Log, replica: &Replica) -> Result<(), LogError> {
    let folded = replica.head().sequence;
    let head = log.head().await?;
    let expected = (head.last_sequence + 1).saturating_sub(head.first_sequence.max(1));
    let damage = if head.last_sequence < folded {
        Damage::CutTail { acknowledged: folded, last: head.last_sequence }
    } else if head.messages != expected {
        let (first_sequence, last_sequence, messages) = (head.first_sequence, head.last_sequence, head.messages);
        Damage::Missing { first_sequence, last_sequence, expected, messages }
    } else {
        return Ok(());
    };
    replica.fail(damage.clone().into());
    Err(LogError::Damaged(damage))
}

/// Follows the log for ever: what other writers append arrives this way, and
/// what our own writer appended is compared with what the log delivers.
pub async fn follow(log: Arc<dyn Log>, replica: Arc<Replica>) {
    let mut pause = Pause::new();
    loop {
        match log.follow(replica.head().sequence + 1).await {
            Ok(mut commits) => {
                pause = Pause::new();
                loop {
                    match commits.next().await {
                        Some(Ok(stored)) => {
                            if replica.apply(vec![(stored, None)]).is_err() {
                                return;
                            }
                        }
                        Some(Err(LogError::Damaged(damage))) => {
                            replica.fail(damage.into());
                            return;
                        }
                        Some(Err(error)) => {
                            tracing::warn!(error = error_chain(&error), "following the log was interrupted");
                            break;
                        }
                        None => break,
                    }
                }
            }
            Err(error) => tracing::warn!(error = error_chain(&error), "the log cannot be followed now"),
        }
        pause.wait().await;
    }
}

/// Follows the log in a process whose own writer feeds the replica: reads, a
/// moment behind, what has been stored, so that what the log delivers is compared
/// with what was acknowledged, and what another writer appended is folded.
pub async fn follow_behind(log: Arc<dyn Log>, replica: Arc<Replica>, every: Duration) {
    let mut checked = replica.head().sequence;
    loop {
        tokio::time::sleep(every).await;
        loop {
            match log.read(checked + 1, BATCH).await {
                Ok(batch) => {
                    let Some(last) = batch.last().map(|stored| stored.sequence) else { break };
                    if replica.apply(batch.into_iter().map(|stored| (stored, None)).collect()).is_err() {
                        return;
                    }
                    checked = last;
                }
                Err(LogError::Damaged(damage)) => {
                    replica.fail(damage.into());
                    return;
                }
                Err(error) => {
                    tracing::debug!(error = error_chain(&error), "the log cannot be read now");
                    break;
                }
            }
        }
    }
}

/// Law 4 on a timer: reads the whole log and checks chain and count, at once and then each `every`.
pub async fn verify_on_a_timer(log: Arc<dyn Log>, replica: Arc<Replica>, every: Duration) {
    let mut failed = replica.watch_failure();
    loop {
        let upto = replica.head();
        let begun = std::time::Instant::now();
        match verify_up_to(&*log, upto).await {
            Ok(()) => tracing::debug!(
                seq = upto.sequence,
                elapsed_ms = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX),
                "the log is whole"
            ),
            Err(LogError::Damaged(damage)) => replica.fail(damage.into()),
            Err(error) => tracing::warn!(error = error_chain(&error), "the log could not be verified now"),
        }
        tokio::select! {
            () = tokio::time::sleep(every) => {}
            // Once failed there is nothing more to find out.
            _ = failed.wait_for(Option::is_some) => return,
        }
    }
}

/// The whole chain up to a folded commit, and that this commit is the one that was folded.
async fn verify_up_to(log: &dyn Log, upto: ChainHead) -> Result<(), LogError> {
    let found = edgestack_log::verify(log, Some(upto.sequence)).await?;
    if found.hash == upto.hash {
        return Ok(());
    }
    let (says, is) = (hex::encode(upto.hash), hex::encode(found.hash));
    Err(LogError::Damaged(Damage::BrokenHash { sequence: upto.sequence, says, is }))
}
