//! The archive beside the log: kept up to date, checked, and what a damaged log is repaired from, without an operator.
//!
//! nats-server cannot take back what its stream has lost, nor put a commit where one is missing. So a repair is a new
//! stream: the server's store is put aside, all archived commits are appended again in their old order, the whole is
//! read back and checked, and only then writes go on. Sequences, bytes and hashes are the same as before, so nobody
//! who follows the log sees a difference.

use std::{path::Path, sync::Arc, time::Duration};

use edgestack_archive::{Archive, Options as ArchiveOptions, Standing, compare, keep, refill, salvage};
use edgestack_engine::{Replica, ReplicaError, catch_up, error_chain};
use edgestack_log::{
    Damage, Log as _, LogError,
    jetstream::{JetStreamLog, StoreKeeper},
};

use crate::{failure::Failure, log_store::REPLICAS};

/// The least rest between two readings of the whole archive.
const CHECK_EVERY: Duration = Duration::from_secs(300);
/// How long after a repair that failed the next one comes.
const TRY_AGAIN: Duration = Duration::from_secs(5);
/// Progress is told each so many commits.
const TELL_EACH: u64 = 50_000;

/// What repairs the log of a process.
#[derive(Clone)]
pub struct Repairer {
    /// The second copy.
    pub archive: Arc<Archive>,
    /// The log.
    pub log: Arc<JetStreamLog>,
    /// Who can put the store of our own server aside; none where another process runs it.
    pub store: Option<StoreKeeper>,
}

/// Opens the archive in its folder.
///
/// # Errors
/// [`Failure::Archive`].
pub async fn open(folder: &Path) -> Result<Arc<Archive>, Failure> {
    Ok(Arc::new(Archive::open_local(folder, ArchiveOptions::default()).await?))
}

impl Repairer {
    /// Before anything is folded: compares the log with the archive, and repairs it if it has lost something. Where that
    /// doesn't go well nothing may be written: a new commit would take the place of an archived one. What is wrong is
    /// returned then.
    ///
    /// # Errors
    /// [`Failure::ForeignLog`], [`Failure::Incomparable`].
    pub async fn check_at_start(&self) -> Result<Option<Damage>, Failure> {
        let what = match compare(&self.archive, &*self.log).await? {
            Standing::Whole => return Ok(None),
            Standing::Foreign { sequence } => {
                let folder = self.archive.folder().to_owned();
                return Err(Failure::ForeignLog { sequence, folder });
            }
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

    /// Repairs the log whenever the replica finds it damaged.
    pub async fn run(self, replica: Arc<Replica>) {
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
        if !self.archive.has(folded.sequence).await {
            let archived = self.archive.head().await.sequence;
            return Err(format!("the archive ends at {archived}, and {} was acknowledged", folded.sequence));
        }
        self.repair().await?;
        let found =
            edgestack_log::verify(&*self.log, Some(folded.sequence)).await.map_err(|error| error_chain(&error))?;
        if found == folded { Ok(()) } else { Err("the archive holds another log than was folded".to_owned()) }
    }

    async fn repair(&self) -> Result<(), String> {
        let text = |error: &(dyn std::error::Error + 'static)| error_chain(error);
        let store = self.store.as_ref().ok_or("another process runs nats-server: see that process")?;
        let begun = std::time::Instant::now();
        self.archive.verify(|_| ()).await.map_err(|error| text(&error))?;
        // Whatever is in the log alone (the archive is some milliseconds behind, or was cut back itself) must be in the
        // archive before the log is replaced.
        salvage(&self.archive, &*self.log).await.map_err(|error| {
            format!(
                "what the log has beyond the archive cannot be read ({}); it is in neither copy: to go on without it, stop the daemon, move nats/jetstream away and start again",
                text(&error)
            )
        })?;
        let head = self.archive.head().await;
        let aside = store.replace().await.map_err(|error| text(&error))?;
        self.make_stream().await.map_err(|error| text(&error))?;
        let mut told = 0;
        let filled = refill(&self.archive, &*self.log, |sequence| {
            if sequence >= told + TELL_EACH {
                told = sequence;
                tracing::info!(sequence, of = head.sequence, "repairing the log");
            }
        });
        let filled = filled.await.map_err(|error| text(&error))?;
        metrics::counter!("edgestack_log_repairs_total").increment(1);
        tracing::warn!(
            commits = filled.sequence,
            elapsed_ms = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX),
            damaged = %aside.display(),
            "the log was repaired from the archive and verified; the damaged store is kept"
        );
        Ok(())
    }

    /// The connection comes back by itself once the server answers.
    async fn make_stream(&self) -> Result<(), LogError> {
        let deadline = tokio::time::Instant::now() + Duration::from_secs(30);
        loop {
            match self.log.ensure_stream(REPLICAS).await {
                Ok(()) => break,
                Err(LogError::Unavailable(_)) if tokio::time::Instant::now() < deadline => {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
                Err(error) => return Err(error),
            }
        }
        // It was in the store that is put aside; without it only refusals are forgotten over a restart.
        if let Err(error) = self.log.refused().ensure(REPLICAS).await {
            tracing::warn!(error = error_chain(&error), "the stream of refused commands can't be made anew");
        }
        self.log.head().await.map(|_| ())
    }
}

/// Keeps the archive at the log's heels, and checks it again and again: damage in it is mended from the log.
pub fn start(repairer: &Repairer, replica: &Arc<Replica>) {
    let (archive, log) = (repairer.archive.clone(), repairer.log.clone());
    tokio::spawn(keep(archive.clone(), log.clone(), replica.clone()));
    tokio::spawn(repairer.clone().run(replica.clone()));
    let replica = replica.clone();
    tokio::spawn(async move {
        loop {
            replica.wait_until_whole().await;
            let begun = std::time::Instant::now();
            match archive.mend(&*log).await {
                Ok(mended) if mended.is_empty() => {}
                Ok(mended) => tracing::warn!(?mended, "the archive is whole again"),
                Err(error) => {
                    tracing::error!(error = error_chain(&error), "ALARM: the archive is damaged, and not mended yet")
                }
            }
            tokio::time::sleep(CHECK_EVERY.max(begun.elapsed() * 100)).await;
        }
    });
}
