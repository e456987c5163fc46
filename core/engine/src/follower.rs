//! From the log into the replica.

use std::{sync::Arc, time::Duration};

use edgestack_log::{ChainHead, Damage, Log, LogError, StoredCommit};
use edgestack_model::Commit;
use edgestack_planted::{self as planted, Bug};
use futures::{FutureExt as _, StreamExt, stream::BoxStream};
use tokio::time::Instant;

use crate::{Replica, ReplicaError, error_chain, reconnect::Pause};

/// Commits asked for at once.
const BATCH: usize = 512;
/// The same while all of a log is folded: messages hold some hundred commits at most, and the one at the end is read twice.
const CATCH_UP_BATCH: usize = 2048;
/// Commits verified at once on the timer.
const PIECE: u64 = 1024;
/// How long after the log could not be read its verification goes on, at most.
const TRY_AGAIN: Duration = Duration::from_secs(5);
/// Rests between two pieces, as multiples of what a piece took: in the first round after a start, and later.
const FIRST_ROUND: u32 = 9;
const LATER_ROUNDS: u32 = 99;
/// With more commits than these between two beats they are read back later.
const BUSY: u64 = 64;

/// Folds everything that is in the log now.
///
/// # Errors
/// [`LogError`] when the log cannot be read, or is damaged (the replica has failed then).
pub async fn catch_up(log: &dyn Log, replica: &Replica) -> Result<(), LogError> {
    let mut read = log.read(replica.head().sequence + 1, CATCH_UP_BATCH).await;
    loop {
        let batch = match read {
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
        // The log looks for the next batch while this one is folded.
        let next = batch.last().map_or(0, |last| last.sequence) + 1;
        let (ahead, folded) = tokio::join!(log.read(next, CATCH_UP_BATCH), async {
            replica.apply(batch.into_iter().map(|stored| (stored, None)).collect())
        });
        if folded.is_err() {
            // The alarm is raised; the caller sees it in the replica's failure.
            return Ok(());
        }
        read = ahead;
    }
}

/// Folds the next commits that are in the log, as many as one reading gives. Whether there were any.
///
/// # Errors
/// As [`catch_up`].
pub async fn fold_next(log: &dyn Log, replica: &Replica) -> Result<bool, LogError> {
    match log.read(replica.head().sequence + 1, CATCH_UP_BATCH).await {
        Ok(batch) => {
            let any = !batch.is_empty();
            // The alarm is raised; the caller sees it in the replica's failure.
            let folded = replica.apply(batch.into_iter().map(|stored| (stored, None)).collect());
            Ok(any && folded.is_ok())
        }
        Err(LogError::Damaged(damage)) => {
            replica.fail(damage.clone().into());
            Err(LogError::Damaged(damage))
        }
        Err(error) => Err(error),
    }
}

/// Law 4: as many messages as sequences, and no acknowledged one missing at the end.
async fn check_extent(log: &dyn Log, replica: &Replica) -> Result<(), LogError> {
    // Taken first: what is folded meanwhile may be beyond what the log says.
    let folded = replica.head().sequence;
    let head = log.head().await?;
    let expected = (head.last_sequence + 1).saturating_sub(head.first_sequence.max(1));
    let damage = if head.last_sequence < folded && !planted::is(Bug::RollbackNotNoticed) {
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
/// what our own writer appended is compared with what the log delivers. While the
/// log is damaged it waits for the repair.
pub async fn follow(log: Arc<dyn Log>, replica: Arc<Replica>) {
    let mut pause = Pause::new();
    loop {
        replica.wait_until_whole().await;
        match log.follow(replica.head().sequence + 1).await {
            Ok(mut commits) => {
                pause = Pause::new();
                loop {
                    match commits.next().await {
                        Some(Ok(stored)) => {
                            let (batch, error) = with_those_behind(stored, &mut commits);
                            let folded = replica.apply(batch);
                            if let Some(error) = error {
                                interrupted(&replica, error);
                                break;
                            }
                            if folded.is_err() {
                                break;
                            }
                        }
                        Some(Err(error)) => {
                            interrupted(&replica, error);
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

/// A commit as [`Replica::apply`] takes it: stored, and decoded if it came so.
type Unfolded = (StoredCommit, Option<Arc<Commit>>);

/// A commit with all that can be had behind it without waiting: each vouches for the one before it.
fn with_those_behind(
    first: StoredCommit,
    commits: &mut BoxStream<'static, Result<StoredCommit, LogError>>,
) -> (Vec<Unfolded>, Option<LogError>) {
    let mut batch = vec![(first, None)];
    while batch.len() < BATCH {
        match commits.next().now_or_never().flatten() {
            Some(Ok(stored)) => batch.push((stored, None)),
            Some(Err(error)) => return (batch, Some(error)),
            None => break,
        }
    }
    (batch, None)
}

fn interrupted(replica: &Replica, error: LogError) {
    match error {
        LogError::Damaged(damage) => replica.fail(damage.into()),
        error @ (LogError::Unavailable(_) | LogError::Refused(_)) => {
            tracing::warn!(error = error_chain(&error), "following the log was interrupted");
        }
    }
}

/// Folds everything that is in the log now, however long it takes until that is possible. Who acts on the world waits for it
/// at the start: on a damaged log the world stands still somewhere in the past, and what was wished then is not what is
/// wished now.
pub async fn catch_up_for_sure(log: &dyn Log, replica: &Replica) {
    let mut pause = Pause::new();
    loop {
        if catch_up(log, replica).await.is_ok() && replica.failure().is_none() {
            return;
        }
        if planted::is(Bug::PastActedUpon) && replica.failure().is_some() {
            return;
        }
        replica.wait_until_whole().await;
        pause.wait().await;
    }
}

/// Follows the log in a process whose own writer feeds the replica: reads, a
/// moment behind, what has been stored, so that what the log delivers is compared
/// with what was acknowledged, and what another writer appended is folded. On each
/// beat the log's own word on its extent is compared too, so that writes stop soon
/// after it has lost something.
///
/// While many commits come in only the extent is compared, and they are read back
/// once fewer do (or by [`verify_on_a_timer`]): JetStream writes and reads under one
/// lock, so reading back each commit at once costs a tenth of the appends. A writer
/// at work learns of others' commits by itself.
pub async fn follow_behind(log: Arc<dyn Log>, replica: Arc<Replica>, every: Duration) {
    let mut checked = replica.head().sequence;
    let mut last = checked;
    loop {
        tokio::time::sleep(every).await;
        if replica.failure().is_some() {
            replica.wait_until_whole().await;
            checked = replica.head().sequence;
        }
        let folded = replica.head().sequence;
        let busy = folded.saturating_sub(std::mem::replace(&mut last, folded)) > BUSY;
        let read =
            if busy { check_extent(&*log, &replica).await } else { read_behind(&*log, &replica, &mut checked).await };
        match read {
            // Damage has raised the alarm already.
            Ok(()) | Err(LogError::Damaged(_)) => {}
            Err(error) => {
                tracing::debug!(error = error_chain(&error), "the log cannot be read now");
                // It may be that nothing is left to be read: that is asked of the server apart.
                if let Err(error) = check_extent(&*log, &replica).await {
                    tracing::debug!(error = error_chain(&error), "nor does it tell its extent");
                }
            }
        }
    }
}

async fn read_behind(log: &dyn Log, replica: &Replica, checked: &mut u64) -> Result<(), LogError> {
    loop {
        let batch = match log.read(*checked + 1, BATCH).await {
            Ok(batch) => batch,
            Err(LogError::Damaged(damage)) => {
                replica.fail(damage.clone().into());
                return Err(LogError::Damaged(damage));
            }
            Err(error) => return Err(error),
        };
        let Some(last) = batch.last().map(|stored| stored.sequence) else {
            return check_extent(log, replica).await;
        };
        if replica.apply(batch.into_iter().map(|stored| (stored, None)).collect()).is_err() {
            return Ok(());
        }
        *checked = last;
    }
}

/// Law 4 on a timer: reads the whole log and checks chain and count, at once and then again and again, with `rest`
/// between two rounds. The first round takes a tenth of a core at most, the later ones a hundredth; what is read slowly
/// also stays out of nats-server's memory, which keeps what it has read for seconds.
pub async fn verify_on_a_timer(log: Arc<dyn Log>, replica: Arc<Replica>, rest: Duration) {
    if planted::is(Bug::VerifyTimerOff) {
        return;
    }
    let mut pace = FIRST_ROUND;
    let mut round: Option<Round> = None;
    loop {
        replica.wait_until_whole().await;
        let repairs = replica.repairs();
        // What was checked before a repair says nothing of what lies there now.
        let mut going = round.take().filter(|round| round.repairs == repairs).unwrap_or_else(|| Round {
            upto: replica.head(),
            // What has left the live log is the archive's to check.
            checked: log.released(),
            repairs,
            begun: Instant::now(),
        });
        match verify_slowly(&*log, &mut going, pace).await {
            Ok(()) => tracing::debug!(
                seq = going.upto.sequence,
                elapsed_ms = u64::try_from(going.begun.elapsed().as_millis()).unwrap_or(u64::MAX),
                "the log is whole"
            ),
            // It was read while it was being repaired: that says nothing.
            Err(LogError::Damaged(_)) if replica.repairs() != repairs => continue,
            Err(LogError::Damaged(damage)) => replica.fail(damage.into()),
            Err(error) => {
                let (error, seq) = (error_chain(&error), going.checked.sequence);
                tracing::warn!(error, seq, "the log could not be verified now; it goes on there");
                // A long log takes long, and a short pause of nats-server must not send it back to its beginning.
                round = Some(going);
                tokio::time::sleep(rest.min(TRY_AGAIN)).await;
                continue;
            }
        }
        pace = LATER_ROUNDS;
        tokio::time::sleep(rest).await;
    }
}

/// One reading of the whole log, as far as it has come.
struct Round {
    upto: ChainHead,
    checked: ChainHead,
    /// The repairs of the log that had been made when it began.
    repairs: u64,
    begun: Instant,
}

/// As [`edgestack_log::verify`], resting `pace` times as long as each piece took.
async fn verify_slowly(log: &dyn Log, round: &mut Round, pace: u32) -> Result<(), LogError> {
    while round.checked.sequence < round.upto.sequence {
        let begun = Instant::now();
        let piece = (round.checked.sequence + PIECE).min(round.upto.sequence);
        round.checked = edgestack_log::verify_from(log, round.checked, Some(piece)).await?;
        let rest = begun.elapsed() * pace;
        if !rest.is_zero() {
            tokio::time::sleep(rest).await;
        }
    }
    same(round.checked, round.upto)
}

/// In a process that cannot repair the log: looks whether another has, and lets folding go on then.
pub async fn mend_when_repaired(log: Arc<dyn Log>, replica: Arc<Replica>, every: Duration) {
    let mut failed = replica.watch_failure();
    loop {
        if failed.wait_for(|why| why.as_ref().is_some_and(ReplicaError::is_damage)).await.is_err() {
            return;
        }
        tokio::time::sleep(every).await;
        match verify_around(&*log, replica.head()).await {
            Ok(()) => replica.mend(),
            Err(error) => tracing::debug!(error = error_chain(&error), "the log is not repaired yet"),
        }
    }
}

/// The whole chain up to a folded commit, that this commit is the one that was folded, and what is behind it: the commit
/// that was found damaged may be there.
async fn verify_around(log: &dyn Log, folded: ChainHead) -> Result<(), LogError> {
    same(edgestack_log::verify(log, Some(folded.sequence)).await?, folded)?;
    edgestack_log::verify_from(log, folded, None).await.map(drop)
}

fn same(found: ChainHead, upto: ChainHead) -> Result<(), LogError> {
    if found.hash == upto.hash {
        return Ok(());
    }
    let (says, is) = (hex::encode(upto.hash), hex::encode(found.hash));
    Err(LogError::Damaged(Damage::BrokenHash { sequence: upto.sequence, says, is }))
}
