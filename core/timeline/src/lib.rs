//! The site as it was: the world after any commit of the log.
//!
//! A world is a fold of all commits up to one, so any past world is a snapshot from before it and the commits between,
//! read from the log and checked by its chain as always. Snapshots lie every few thousand commits
//! ([`Timeline::keep`] writes them, off the write path, and fills what is missing); they are shortcuts, so one that is
//! damaged or not of this log is passed over and made anew.

mod keeper;
mod patience;
mod replay;
mod snapshot;
mod spacing;
mod store;

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use chrono::{DateTime, Utc};
use edgestack_archive::Archive;
use edgestack_engine::error_chain;
use edgestack_log::{ChainHead, Damage, Log, LogError, StoredCommit, chain};
use edgestack_model::{Commit, DecodeError, World, world::Impossible};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

pub use replay::{Finding, Replayed};
use snapshot::Placed;
use store::Store;

/// Commits between two snapshots, at least; the larger the world, the more.
const SNAPSHOT_EVERY: u64 = 4096;
/// Commits read at once.
const BATCH: u64 = 1024;
/// Worlds that are remembered: who pages through a list or compares two moments asks for them again.
const REMEMBERED: usize = 2;
/// Past worlds asked for at once; each is folded alone, as the machine has other work.
const WAITING_MAX: usize = 32;

/// Why a past world can't be had.
#[derive(Debug, thiserror::Error)]
pub enum TimelineError {
    /// The commit is not in the log yet.
    #[error("the log ends at commit {last}")]
    Beyond {
        /// Its last commit.
        last: u64,
    },
    /// Too many ask for past worlds now.
    #[error("too many past worlds are asked for at once")]
    Busy,
    /// The log can't be read now, or is damaged there.
    #[error(transparent)]
    Log(#[from] LogError),
    /// A commit there is not to be read by this program.
    #[error("commit {sequence} can't be read")]
    Undecodable {
        /// Which.
        sequence: u64,
        /// Why.
        #[source]
        source: DecodeError,
    },
    /// A commit there doesn't fit the world before it.
    #[error(transparent)]
    Impossible(#[from] Impossible),
    /// The folder of snapshots failed.
    #[error("the folder of snapshots failed")]
    Folder(#[from] std::io::Error),
    /// A thread was lost.
    #[error("the fold broke off: {0}")]
    BrokeOff(String),
}

/// Where the commits of a log are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// The first commit in the live log; those before it are in the archive.
    pub live_first: u64,
    /// The last one.
    pub last: u64,
    /// How far the archive reaches; `None` in a process without one.
    pub archived_through: Option<u64>,
}

/// The world after a commit. Clones share it.
#[derive(Clone, Debug)]
pub struct Moment {
    placed: Arc<Placed>,
}

impl Moment {
    /// All that was.
    pub fn world(&self) -> &World {
        &self.placed.world
    }

    /// The last commit in it, and its hash.
    pub fn head(&self) -> ChainHead {
        self.placed.head
    }

    /// When that commit was decided; `None` before the first.
    pub fn time(&self) -> Option<DateTime<Utc>> {
        self.placed.time
    }
}

/// The past of one log. Clones share it.
#[derive(Clone)]
pub struct Timeline {
    inner: Arc<Inner>,
}

struct Inner {
    log: Arc<dyn Log>,
    /// The second copy of the log, where this process has it: reading it costs nats-server nothing.
    archive: Option<Arc<Archive>>,
    /// Whether the archive was found unreadable or not in one chain with the snapshots; it is mended by others.
    archive_distrusted: AtomicBool,
    store: Store,
    remembered: Mutex<Vec<Arc<Placed>>>,
    one_at_a_time: Arc<Semaphore>,
    waiting: Arc<Semaphore>,
    snapshot_every: u64,
}

impl Timeline {
    /// The timeline of a log, with its snapshots in `folder`. What is in the archive is read there.
    ///
    /// # Errors
    /// When the folder can't be made or read.
    pub fn open(folder: &Path, log: Arc<dyn Log>, archive: Option<Arc<Archive>>) -> Result<Self, std::io::Error> {
        Self::with_snapshots_every(folder, log, archive, SNAPSHOT_EVERY)
    }

    /// The same with another distance of snapshots, in commits; for tests.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn with_snapshots_every(
        folder: &Path,
        log: Arc<dyn Log>,
        archive: Option<Arc<Archive>>,
        commits: u64,
    ) -> Result<Self, std::io::Error> {
        let inner = Inner {
            log,
            archive,
            archive_distrusted: AtomicBool::new(false),
            store: Store::open(folder)?,
            remembered: Mutex::default(),
            one_at_a_time: Arc::new(Semaphore::new(1)),
            waiting: Arc::new(Semaphore::new(WAITING_MAX)),
            snapshot_every: commits.max(1),
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// The world after the commit `sequence`; 0 is before the first. Too many who ask at once are sent away.
    ///
    /// # Errors
    /// [`TimelineError`].
    pub async fn at(&self, sequence: u64) -> Result<Moment, TimelineError> {
        let place = self.place()?;
        self.in_turn(sequence, Some(place)).await
    }

    /// As [`Self::at`], for those whose number is bounded elsewhere: it waits for its turn, however many do.
    ///
    /// # Errors
    /// [`TimelineError`].
    pub async fn at_in_turn(&self, sequence: u64) -> Result<Moment, TimelineError> {
        self.in_turn(sequence, None).await
    }

    async fn in_turn(&self, sequence: u64, place: Option<OwnedSemaphorePermit>) -> Result<Moment, TimelineError> {
        let turn = self.turn().await?;
        let timeline = self.clone();
        // Who asked may go away; the thread that folds doesn't, so turn and place are its own until it ends.
        let folding = tokio::spawn(async move {
            let found = timeline.found_or_folded(sequence).await;
            drop((turn, place));
            found
        });
        folding.await.map_err(|error| TimelineError::BrokeOff(error.to_string()))?
    }

    async fn found_or_folded(&self, sequence: u64) -> Result<Moment, TimelineError> {
        if let Some(found) = self.remembered().iter().find(|placed| placed.head.sequence == sequence) {
            return Ok(Moment { placed: found.clone() });
        }
        let last = self.inner.log.head().await?.last_sequence;
        if sequence > last {
            return Err(TimelineError::Beyond { last });
        }
        let start = self.start(sequence).await?;
        let placed = match self.fold(start, sequence, true).await {
            // The archive may be what is damaged; then the log itself is asked.
            Err(TimelineError::Log(LogError::Damaged(damage))) if self.distrust_archive(&damage) => {
                let start = self.start(sequence).await?;
                self.fold(start, sequence, true).await?
            }
            other => other?,
        };
        let placed = Arc::new(placed);
        let mut remembered = self.remembered();
        if remembered.len() >= REMEMBERED {
            remembered.remove(0);
        }
        remembered.push(placed.clone());
        Ok(Moment { placed })
    }

    /// The last commit that was decided at or before `time`; 0 if there was none. Clocks can be set back, and then the
    /// commits of the doubled time count as one of its two passages.
    ///
    /// # Errors
    /// [`TimelineError`].
    pub async fn sequence_at(&self, time: DateTime<Utc>) -> Result<u64, TimelineError> {
        let _place = self.place()?;
        let (mut low, mut high) = (0, self.inner.log.head().await?.last_sequence);
        while low < high {
            let middle = high - (high - low) / 2;
            let read = self.read(middle, 1).await?;
            let Some(stored) = read.first() else {
                return Err(LogError::from(Damage::Unreadable { sequence: middle, last_sequence: high }).into());
            };
            if decode(stored)?.time <= time { low = middle } else { high = middle - 1 }
        }
        Ok(low)
    }

    /// Up to `max` commits from `from` on, in order and without a gap; none at the end of the log. They are not checked
    /// against the chain: whoever follows the log has done that.
    ///
    /// # Errors
    /// [`TimelineError`].
    pub async fn commits(&self, from: u64, max: usize) -> Result<Vec<Commit>, TimelineError> {
        let read = self.read(from, max).await?;
        blocking(move || read.iter().map(decode).collect()).await?
    }

    /// The same as they are stored.
    ///
    /// # Errors
    /// [`TimelineError`].
    pub async fn stored(&self, from: u64, max: usize) -> Result<Vec<StoredCommit>, TimelineError> {
        Ok(self.read(from, max).await?)
    }

    /// Where the log is.
    ///
    /// # Errors
    /// [`TimelineError::Log`].
    pub async fn extent(&self) -> Result<Extent, TimelineError> {
        let live = self.inner.log.live_head().await?;
        let archived_through = match &self.inner.archive {
            Some(archive) => Some(archive.head().await.sequence),
            None => None,
        };
        Ok(Extent { live_first: live.first_sequence.max(1), last: live.last_sequence, archived_through })
    }

    /// Makes sure that there is a snapshot of a world at or after a commit: then the world of now is made without what lies
    /// before that.
    ///
    /// # Errors
    /// [`TimelineError`].
    pub async fn keep_snapshot(&self, sequence: u64) -> Result<(), TimelineError> {
        if self.inner.store.nearest(u64::MAX).is_some_and(|newest| newest >= sequence) {
            return Ok(());
        }
        let _turn = self.turn().await?;
        let start = self.start(sequence).await?;
        let placed = self.fold(start, sequence, false).await?;
        Ok(self.write(placed).await?.1?)
    }

    /// A folder on the same disk for what is made anew to be compared; it goes with its value, after a kill at the next
    /// start.
    ///
    /// # Errors
    /// When it can't be made.
    pub fn folder_beside(&self) -> Result<tempfile::TempDir, std::io::Error> {
        tempfile::Builder::new().prefix(store::BESIDE).tempdir_in(self.inner.store.folder())
    }

    fn place(&self) -> Result<OwnedSemaphorePermit, TimelineError> {
        self.inner.waiting.clone().try_acquire_owned().map_err(|_| TimelineError::Busy)
    }

    async fn turn(&self) -> Result<OwnedSemaphorePermit, TimelineError> {
        let turn = self.inner.one_at_a_time.clone().acquire_owned().await;
        turn.map_err(|error| TimelineError::BrokeOff(error.to_string()))
    }

    /// The nearest world at or before a commit: a remembered one, a snapshot, or the empty one.
    async fn start(&self, sequence: u64) -> Result<Placed, TimelineError> {
        let remembered = {
            let remembered = self.remembered();
            let nearest = remembered.iter().filter(|placed| placed.head.sequence <= sequence);
            nearest.max_by_key(|placed| placed.head.sequence).cloned()
        };
        loop {
            let from = self.inner.store.nearest(sequence);
            let (from, remembered_at) = (from.unwrap_or(0), remembered.as_ref().map(|placed| placed.head.sequence));
            if let Some(placed) = remembered.as_ref().filter(|_| remembered_at >= Some(from)) {
                return Ok(Placed::clone(placed));
            }
            if from == 0 {
                return Ok(Placed::genesis());
            }
            let inner = self.inner.clone();
            let read = match blocking(move || inner.store.read(from)).await? {
                Ok(read) => read,
                // Thinned out since.
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                    self.inner.store.remove(from)?;
                    continue;
                }
                Err(error) => return Err(error.into()),
            };
            let why = match read {
                Ok(placed) if self.is_of_this_log(&placed).await? => return Ok(placed),
                Ok(_) => "it is of another log".to_owned(),
                Err(unreadable) => unreadable.to_string(),
            };
            tracing::warn!(seq = from, why, "a snapshot is passed over and removed; it is made anew");
            self.inner.store.remove(from)?;
        }
    }

    async fn is_of_this_log(&self, placed: &Placed) -> Result<bool, TimelineError> {
        let stored = self.read(placed.head.sequence, 1).await?;
        Ok(stored.first().is_some_and(|stored| chain::hash(&stored.payload) == placed.head.hash))
    }

    /// Folds on up to a commit, reading the next batch while one is folded. Where `snapshots` says so it leaves some on
    /// the way, so that the next who comes along has a shorter one.
    async fn fold(&self, mut placed: Placed, upto: u64, snapshots: bool) -> Result<Placed, TimelineError> {
        let mut snapshot_at = placed.head.sequence;
        let wanted = |from: u64| usize::try_from((upto + 1).saturating_sub(from).min(BATCH)).unwrap_or(usize::MAX);
        let mut batch = self.read(placed.head.sequence + 1, wanted(placed.head.sequence + 1)).await?;
        while placed.head.sequence < upto {
            let Some(last) = batch.last().map(|commit| commit.sequence) else {
                let sequence = placed.head.sequence + 1;
                return Err(LogError::from(Damage::Unreadable { sequence, last_sequence: upto }).into());
            };
            let folding = blocking(move || fold_batch(placed, &batch));
            let (next, folded) = tokio::join!(self.read(last + 1, wanted(last + 1)), folding);
            placed = folded??;
            batch = next?;
            let distance = self.inner.store.on_the_way(placed.head.sequence, self.every(&placed.world));
            if snapshots && placed.head.sequence >= snapshot_at + distance {
                snapshot_at = placed.head.sequence;
                let (folded, written) = self.write(placed).await?;
                placed = folded;
                if let Err(error) = written {
                    // Who asks gets the answer all the same; the next one waits as long.
                    tracing::warn!(%error, "a snapshot could not be written");
                }
            }
        }
        Ok(placed)
    }

    /// Commits from the archive, as far as it has them, else from the log.
    async fn read(&self, from: u64, max: usize) -> Result<Vec<StoredCommit>, LogError> {
        let trusted = !self.inner.archive_distrusted.load(Ordering::Relaxed);
        if let Some(archive) = self.inner.archive.as_ref().filter(|_| trusted)
            && archive.has(from).await
        {
            match archive.read(from, max).await {
                Ok(read) if !read.is_empty() => return Ok(read),
                Ok(_) => {}
                Err(error) => tracing::warn!(
                    from,
                    error = error_chain(&error),
                    "the archive can't be read there; the log is read instead"
                ),
            }
        }
        self.inner.log.read(from, max).await
    }

    /// Whether it was trusted until now.
    fn distrust_archive(&self, damage: &Damage) -> bool {
        let first = self.inner.archive.is_some() && !self.inner.archive_distrusted.swap(true, Ordering::Relaxed);
        if first {
            // What was folded from it may be no better.
            self.remembered().clear();
            tracing::warn!(%damage, "what is read for the past is not whole; it is read from the log alone until edgestackd is restarted");
        }
        first
    }

    /// Commits between two snapshots: a large world takes longer to be read than the commits between to be folded.
    fn every(&self, world: &World) -> u64 {
        let resources = world.vms.len() + world.volumes.len() + world.images.len() + world.keypairs.len();
        self.inner.snapshot_every.max(resources as u64 / 4)
    }

    /// Writes a snapshot, and gives the world back with how that went.
    async fn write(&self, placed: Placed) -> Result<(Placed, std::io::Result<()>), TimelineError> {
        let inner = self.inner.clone();
        blocking(move || {
            let written = inner.store.write(&placed);
            (placed, written)
        })
        .await
    }

    fn remembered(&self) -> MutexGuard<'_, Vec<Arc<Placed>>> {
        // Nothing panics while it holds the lock.
        self.inner.remembered.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn fold_batch(mut placed: Placed, batch: &[StoredCommit]) -> Result<Placed, TimelineError> {
    for stored in batch {
        placed.head.check_next(stored).map_err(LogError::from)?;
        let commit = decode(stored)?;
        placed.world.evolve(&commit)?;
        placed.time = Some(commit.time);
    }
    Ok(placed)
}

fn decode(stored: &StoredCommit) -> Result<Commit, TimelineError> {
    Commit::decode(&stored.payload).map_err(|source| TimelineError::Undecodable { sequence: stored.sequence, source })
}

/// Folding and packing take milliseconds, which is long for who waits on the same thread.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, TimelineError> {
    tokio::task::spawn_blocking(work).await.map_err(|error| TimelineError::BrokeOff(error.to_string()))
}
