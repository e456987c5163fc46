//! The archive put to work: kept up to date, checked, and what a damaged log is repaired from, without an operator.
//!
//! A log cannot take back what it has lost, nor put a commit where one is missing. So a repair is a new log: the store is
//! put aside, all archived commits are appended again in their old order, the whole is read back and checked, and only
//! then writes go on. Sequences, bytes and hashes are the same as before, so nobody who follows the log sees a
//! difference.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use edgestack_engine::{Replica, ReplicaError, catch_up, error_chain};
use edgestack_log::{Damage, Log};
use edgestack_planted::{self as planted, Bug};
use tokio::time::Instant;

use crate::{Archive, CompareError, Standing, compare, keep, look::Traces, refill, salvage};

/// The least rest between two readings of the whole archive.
const CHECK_EVERY: Duration = Duration::from_secs(300);
/// How often its files are looked at meanwhile; nobody is told what others do to them.
const LOOK_EVERY: Duration = Duration::from_secs(1);
const LOOK_AT_LEAST_EVERY: Duration = Duration::from_secs(10);
/// How long after a repair that failed the next one comes.
const TRY_AGAIN: Duration = Duration::from_secs(5);
/// How long what is folded may take until it is archived.
const ARCHIVED_WITHIN: Duration = Duration::from_secs(1);
/// Progress is told each so many commits.
const TELL_EACH: u64 = 50_000;

/// What a log's messages lie in, for who may put it aside.
#[async_trait]
pub trait LogStore: Send + Sync + 'static {
    /// Puts what is there aside and begins an empty log with the same settings in its place, whose first commit will be
    /// `first`. Returns where the old one is, for people.
    ///
    /// # Errors
    /// Why not, for people; it is tried again.
    async fn replace(&self, first: u64) -> Result<String, String>;

    /// Whether it is one of several copies, the others of which are to fill it: what it puts aside is then only this one.
    fn is_one_of_several(&self) -> bool {
        false
    }
}

/// Why nothing may be served until a person has looked.
#[derive(Debug, thiserror::Error)]
pub enum Unfit {
    /// It is not known whether the log lacks something.
    #[error(transparent)]
    Incomparable(#[from] CompareError),
    /// Log and archive are both whole, and two different logs from about this commit on.
    #[error("the log and its archive are two different logs from about commit {sequence} on, and both are whole")]
    ForeignLog {
        /// About where.
        sequence: u64,
    },
}

/// What repairs the log of a process. Clones share it.
#[derive(Clone)]
pub struct Repairer {
    /// The second copy.
    pub archive: Arc<Archive>,
    /// The log, with what has left it: [`crate::WholeLog`].
    pub log: Arc<dyn Log>,
    /// Who can put the log's store aside; none where another process runs it.
    pub store: Option<Arc<dyn LogStore>>,
}

impl Repairer {
    /// Before anything is folded: compares the log with the archive, and repairs it if it has lost something. Where that
    /// doesn't go well nothing may be written: a new commit would take the place of an archived one. What is wrong is
    /// returned then.
    ///
    /// # Errors
    /// [`Unfit`].
    pub async fn check_at_start(&self) -> Result<Option<Damage>, Unfit> {
        if planted::is(Bug::ArchiveNotConsulted) {
            return Ok(None);
        }
        let what = match compare(&self.archive, &*self.log).await? {
            Standing::Whole => return Ok(None),
            Standing::Foreign { sequence } => return Err(Unfit::ForeignLog { sequence }),
            Standing::Behind { last } => format!("it ends at {last}"),
            Standing::Damaged(damage) => damage.to_string(),
        };
        let archived = self.archive.head().await.sequence;
        tracing::error!(
            what,
            archived,
            "ALARM: the log has lost commits that are archived; it is repaired from the archive"
        );
        if let Err(why) = self.repair().await {
            tracing::error!(why, "the log could not be repaired; nothing is written until it is");
            let last = self.log.head().await.map_or(0, |head| head.last_sequence);
            return Ok(Some(Damage::CutTail { acknowledged: archived, last }));
        }
        Ok(None)
    }

    /// Keeps the archive at the log's heels, repairs the log whenever the replica finds it damaged, and checks the archive
    /// again and again: damage in it is mended from the log.
    pub fn start(&self, replica: &Arc<Replica>) {
        tokio::spawn(keep(self.archive.clone(), self.log.clone(), replica.clone()));
        tokio::spawn(self.clone().run(replica.clone()));
        tokio::spawn(check_for_ever(self.archive.clone(), self.log.clone(), replica.clone()));
    }

    async fn run(self, replica: Arc<Replica>) {
        let mut failed = replica.watch_failure();
        loop {
            if failed.wait_for(|why| why.as_ref().is_some_and(ReplicaError::is_damage)).await.is_err() {
                return;
            }
            if !self.try_to_mend(&replica).await {
                tokio::time::sleep(TRY_AGAIN).await;
            }
        }
    }

    /// Repairs the log and lets the replica fold what it has not yet; whether that went well.
    pub async fn try_to_mend(&self, replica: &Replica) -> bool {
        if let Err(why) = self.repair_behind(replica).await {
            tracing::error!(why, "the log is not repaired; reads go on, it is tried again in 5 s");
            return false;
        }
        replica.mend();
        match catch_up(&*self.log, replica).await {
            Ok(()) => true,
            Err(error) => {
                tracing::error!(error = error_chain(&error), "the repaired log cannot be folded");
                false
            }
        }
    }

    /// What is folded was acknowledged, so the archive must have it before the damaged copy goes.
    async fn repair_behind(&self, replica: &Replica) -> Result<(), String> {
        let folded = replica.head();
        // The archive is some milliseconds behind.
        let archived = tokio::time::timeout(ARCHIVED_WITHIN, self.archive.reaches(folded.sequence)).await;
        if archived.is_err() {
            // Whoever keeps the archive may stand before what can't be read.
            self.take_what_the_log_has().await?;
        }
        if !self.archive.has(folded.sequence).await {
            let archived = self.archive.head().await.sequence;
            return Err(format!("the archive ends at {archived}, and {} was acknowledged", folded.sequence));
        }
        self.repair().await?;
        let found =
            edgestack_log::verify(&*self.log, Some(folded.sequence)).await.map_err(|error| error_chain(&error))?;
        if found == folded { Ok(()) } else { Err("the archive holds another log than was folded".to_owned()) }
    }

    /// Whatever is in the log alone (the archive is some milliseconds behind, or was cut back itself) must be in the archive before
    /// the log is replaced. Of several copies the others have it.
    async fn take_what_the_log_has(&self) -> Result<(), String> {
        if self.store.as_ref().is_none_or(|store| store.is_one_of_several()) || planted::is(Bug::SalvageSkipped) {
            return Ok(());
        }
        salvage(&self.archive, &*self.log).await.map_err(|error| {
            format!(
                "what the log has beyond the archive cannot be read ({}); it is in neither copy: to go on without it, stop the daemon, move nats/jetstream away and start again",
                error_chain(&error)
            )
        })
    }

    async fn repair(&self) -> Result<(), String> {
        let store = self.store.as_ref().ok_or("another process runs nats-server: see that process")?;
        let begun = Instant::now();
        self.archive.verify(|_| ()).await.map_err(|error| error_chain(&error))?;
        self.take_what_the_log_has().await?;
        let head = self.archive.head().await;
        let aside = store.replace(self.archive.released().sequence + 1).await?;
        let mut told = 0;
        let filled = refill(&self.archive, &*self.log, |sequence| {
            if sequence >= told + TELL_EACH {
                told = sequence;
                tracing::info!(sequence, of = head.sequence, "repairing the log");
            }
        });
        let filled = filled.await.map_err(|error| error_chain(&error))?;
        metrics::counter!("edgestack_log_repairs_total").increment(1);
        tracing::warn!(
            commits = filled.sequence,
            elapsed_ms = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX),
            damaged = aside,
            "the log was repaired and verified; the damaged store is kept"
        );
        Ok(())
    }
}

async fn check_for_ever(archive: Arc<Archive>, log: Arc<dyn Log>, replica: Arc<Replica>) {
    loop {
        replica.wait_until_whole().await;
        let begun = Instant::now();
        let before = traces(&archive);
        let (before, rest) = match archive.mend(&*log).await {
            Ok(mended) if mended.is_empty() => (before, Duration::ZERO),
            Ok(mended) => {
                // What an open segment has lost is new to it, and nobody may write for long.
                match crate::keeper::catch_up(&archive, &*log, &replica).await {
                    Ok(()) => tracing::warn!(?mended, "the archive is whole again"),
                    Err(error) => {
                        tracing::error!(
                            error = error_chain(&error),
                            ?mended,
                            "the mended archive does not follow the log yet"
                        );
                    }
                }
                (traces(&archive), Duration::ZERO)
            }
            Err(error) => {
                tracing::error!(error = error_chain(&error), "ALARM: the archive is damaged, and not mended yet");
                // Its files may stay as they are for long.
                (before, TRY_AGAIN.max(begun.elapsed() * 10))
            }
        };
        let next = Instant::now() + CHECK_EVERY.max(begun.elapsed() * 100);
        // What a file system tells of times is not decided by a seed.
        if planted::is_simulation() {
            tokio::time::sleep_until(next).await;
            continue;
        }
        tokio::time::sleep(rest).await;
        until_touched(&archive, before.as_ref(), next).await;
    }
}

/// Waits for the time of the next check, or until somebody else has changed a file of the archive.
async fn until_touched(archive: &Archive, before: Option<&Traces>, next: Instant) {
    let mut rest = LOOK_EVERY;
    while Instant::now() < next {
        tokio::time::sleep(rest).await;
        let begun = Instant::now();
        match archive.touched(before).await {
            Ok(None) => {}
            Ok(Some(path)) => {
                tracing::error!(path, "ALARM: somebody changed a file of the archive; all of it is checked now");
                return;
            }
            Err(error) => tracing::warn!(%error, "the archive's files can't be looked at"),
        }
        // Waiting for a write of ours counts, too, and must not put the next look off for long.
        rest = LOOK_EVERY.max(begun.elapsed() * 20).min(LOOK_AT_LEAST_EVERY);
    }
}

fn traces(archive: &Archive) -> Option<Traces> {
    archive.traces().unwrap_or_else(|error| {
        tracing::warn!(%error, "the archive's segments can't be looked at");
        None
    })
}
