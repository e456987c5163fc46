//! The second copy of the log (law 4), outside JetStream: append-only segments of hash-chained commits, from which a
//! damaged log is repaired and in which history goes on when the live stream has let it go.
//!
//! Two kinds of files, both readable without EdgeStack:
//! - **The open segment**, a local file of one commit a line, synced before [`Archive::append`] returns:
//!   `tail -f open/*.ndjson | jq`. A line is a commit's payload byte for byte, so the chain of hashes in the commits is
//!   the file's checksum too; after each write a line seals it with the last commit's hash.
//! - **Closed segments**, immutable objects in any store that the `object_store` crate knows (a local folder, S3):
//!   `zstd -dc segments/*.zst | jq`. A closed segment is a row of Zstandard frames (RFC 8878), each some hundred lines,
//!   and a skippable frame at its end with an index, so that one commit is read without unpacking the rest.
//!
//! A write without its seal is what a crash leaves, and is dropped: it was never confirmed. Anything else that does not
//! chain is damage; it is told, put aside, and comes again from the log ([`Archive::mend`], [`keep`]). The other way
//! round, a damaged log is known by [`compare()`] and filled again by [`refill()`]. What has left the live log is read through
//! [`WholeLog`].

mod compare;
mod elsewhere;
mod index;
mod keeper;
mod line;
mod look;
mod mend;
mod open_segment;
mod refill;
mod released;
mod repair;
mod s3;
mod segment;
mod whole;

pub use compare::{CompareError, Standing, compare};
pub use keeper::{KeepError, catch_up, keep, salvage};
pub use open_segment::archived_through;
pub use refill::{RefillError, copy, refill};
pub use repair::{LogStore, Repairer, Unfit};
pub use s3::{S3Address, S3Error, s3, settings_of};
pub use whole::{NoAppends, WholeLog};

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use bytes::Bytes;
use edgestack_log::{ChainHead, Damage, StoredCommit};
use futures::TryStreamExt as _;
use object_store::{ObjectStore, ObjectStoreExt as _, PutMode, PutOptions, PutPayload, local::LocalFileSystem};
use tokio::sync::{Mutex, watch};

use index::SegmentIndex;
use open_segment::OpenSegment;

/// The object with the last head that was signed; what it says is for who signs.
const SIGNED_HEAD: &str = "head.json";
/// How long a store that was away is left alone, with a segment that is to be closed.
const STORE_AGAIN: std::time::Duration = std::time::Duration::from_secs(60);
/// Where closed segments are in the store.
const SEGMENTS: &str = "segments";

/// Why the archive could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// A local file failed.
    #[error("the archive's file {path} failed ({doing}); see whether its disk is full or read-only")]
    File {
        /// Which.
        path: PathBuf,
        /// What was being done.
        doing: &'static str,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The store of closed segments failed.
    #[error("the archive's store of segments failed ({doing})")]
    Store {
        /// What was being done.
        doing: String,
        /// Why.
        #[source]
        source: object_store::Error,
    },
    /// The store knows us not, or lets us not.
    #[error(
        "the archive's store refuses its keys; correct AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, in the environment or in the file of --archive-settings, and let them read, write and list there"
    )]
    Keys(#[source] object_store::Error),
    /// A commit does not chain on what the archive holds.
    #[error("the archive is damaged, or was given a commit that does not follow")]
    Damaged(#[from] Damage),
    /// A closed segment is not what it was when it was written.
    #[error("the archive's segment {name} is damaged: {why}")]
    Segment {
        /// The object.
        name: String,
        /// What is wrong.
        why: String,
    },
    /// The archive has another commit there than the log, or none.
    #[error("the archive has not the log's commit {sequence}")]
    OtherCommit {
        /// Which.
        sequence: u64,
    },
    /// Another process has this archive open.
    #[error("another process writes the archive in {path}; stop it first: deploy/down")]
    Held {
        /// The folder.
        path: PathBuf,
    },
}

/// How an archive works.
#[derive(Clone, Debug)]
pub struct Options {
    /// When the open segment is closed: at so many bytes of commits.
    pub segment_bytes: u64,
    /// Whether the store is reached over a network: then it may be away for hours, and must survive this machine.
    pub elsewhere: bool,
}

impl Default for Options {
    /// 16 MiB: some 20,000 commits, 2 MB packed; ten years at 10,000 commits a day are 1,800 segments.
    fn default() -> Self {
        Self { segment_bytes: 16 << 20, elsewhere: false }
    }
}

/// The archive of one site's log. One process has it open at a time.
pub struct Archive {
    store: Arc<dyn ObjectStore>,
    folder: PathBuf,
    options: Options,
    inner: Mutex<Inner>,
    released: std::sync::Mutex<ChainHead>,
    /// The last archived commit.
    heads: watch::Sender<u64>,
    /// Held as long as the archive is open.
    _lock: std::fs::File,
}

struct Inner {
    /// Closed segments in order, without gaps.
    closed: Vec<Closed>,
    open: OpenSegment,
    /// When the store, which was away, is tried again.
    store_again: Option<tokio::time::Instant>,
}

/// A closed segment; its index is read when it is needed first.
#[derive(Clone)]
struct Closed {
    first: u64,
    last: u64,
    index: Option<Arc<SegmentIndex>>,
}

impl Archive {
    /// Opens an archive whose closed segments lie in the same folder as the open one, making it if needed.
    ///
    /// # Errors
    /// [`ArchiveError`].
    pub async fn open_local(folder: &Path, options: Options) -> Result<Self, ArchiveError> {
        let make = |source| ArchiveError::File { path: folder.to_owned(), doing: "making the folder", source };
        std::fs::create_dir_all(folder).map_err(make)?;
        let store = LocalFileSystem::new_with_prefix(folder)
            .map_err(|source| ArchiveError::Store { doing: format!("opening {}", folder.display()), source })?
            .with_fsync(true);
        Self::open(folder, Arc::new(store), options).await
    }

    /// Opens an archive: `folder` holds the open segment, `store` the closed ones.
    ///
    /// What a crash left half done is brought to an end: a torn last line is dropped, and an open segment that was
    /// packed already goes.
    ///
    /// # Errors
    /// [`ArchiveError`].
    pub async fn open(folder: &Path, store: Arc<dyn ObjectStore>, options: Options) -> Result<Self, ArchiveError> {
        let lock = lock(folder)?;
        let found = match look(&*store).await {
            Err(error @ ArchiveError::Store { .. }) if options.elsewhere => {
                let Some(known) = elsewhere::recall(folder) else { return Err(told_of_store(error)) };
                tracing::error!(
                    error = edgestack_engine::error_chain(&error),
                    "ALARM: the archive's store can't be reached; what is archived stays on this machine until it can, and what has left the log can't be shown"
                );
                known
            }
            found => found?,
        };
        let mut open = OpenSegment::open(&folder.join(open_segment::OPEN), found.head)?;
        if options.elsewhere {
            elsewhere::remember(folder, &found)?;
            match elsewhere::take_copy(&*store, &mut open).await {
                Err(ArchiveError::Store { .. }) => {}
                taken => taken?,
            }
        }
        let (released, closed) = (std::sync::Mutex::new(found.released), found.closed);
        let (heads, _) = watch::channel(open.head().sequence);
        let inner = Mutex::new(Inner { closed, open, store_again: None });
        Ok(Self { store, folder: folder.to_owned(), options, inner, released, heads, _lock: lock })
    }

    /// The folder of the open segment.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The last archived commit.
    pub async fn head(&self) -> ChainHead {
        self.inner.lock().await.open.head()
    }

    /// The last head that was signed and put here, as it was put.
    ///
    /// # Errors
    /// [`ArchiveError::Store`].
    pub async fn signed_head(&self) -> Result<Option<Bytes>, ArchiveError> {
        let failed = |source| ArchiveError::Store { doing: format!("reading {SIGNED_HEAD}"), source };
        match self.store.get(&SIGNED_HEAD.into()).await {
            Ok(found) => found.bytes().await.map(Some).map_err(failed),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(failed(error)),
        }
    }

    /// Puts a signed head beside the segments, in the place of the one before.
    ///
    /// # Errors
    /// [`ArchiveError::Store`].
    pub async fn put_signed_head(&self, head: Vec<u8>) -> Result<(), ArchiveError> {
        let put = self.store.put(&SIGNED_HEAD.into(), PutPayload::from(head)).await;
        put.map(drop).map_err(|source| ArchiveError::Store { doing: format!("writing {SIGNED_HEAD}"), source })
    }

    /// Whether everything up to this sequence is archived.
    pub async fn has(&self, sequence: u64) -> bool {
        self.head().await.sequence >= sequence
    }

    /// Waits until everything up to this sequence is archived, which may be never.
    pub async fn reaches(&self, sequence: u64) {
        // The sender is our own, so there is always somebody to tell.
        let _ = self.heads.subscribe().wait_for(|head| *head >= sequence).await;
    }

    /// Adds commits, oldest first, and returns once they are synced. Those that are archived already
    /// are passed over.
    ///
    /// # Errors
    /// [`ArchiveError::Damaged`] when they don't chain on what is there; nothing is added then.
    pub async fn append(&self, commits: &[StoredCommit]) -> Result<(), ArchiveError> {
        let mut inner = self.inner.lock().await;
        let inner = &mut *inner;
        let last = inner.open.head().sequence;
        let new = commits.iter().position(|commit| commit.sequence > last).unwrap_or(commits.len());
        let fresh = commits.get(new..).unwrap_or_default();
        if fresh.is_empty() {
            return Ok(());
        }
        inner.open.append(fresh).await?;
        self.heads.send_replace(inner.open.head().sequence);
        if inner.open.bytes() < self.options.segment_bytes
            || inner.store_again.is_some_and(|again| tokio::time::Instant::now() < again)
        {
            return Ok(());
        }
        match self.close_segment(inner).await {
            // What is appended is synced here. It goes there when the store is back.
            Err(error @ ArchiveError::Store { .. }) if self.options.elsewhere => {
                inner.store_again = Some(tokio::time::Instant::now() + STORE_AGAIN);
                tracing::error!(
                    error = edgestack_engine::error_chain(&error),
                    "ALARM: the archive's store takes no segment; it grows on this machine, and the store is tried again each minute"
                );
                Ok(())
            }
            closed => {
                closed?;
                inner.store_again = None;
                Ok(())
            }
        }
    }

    /// Packs the open segment and begins another; for tests, and before the archive is carried elsewhere.
    ///
    /// # Errors
    /// [`ArchiveError`].
    pub async fn close_open_segment(&self) -> Result<(), ArchiveError> {
        self.close_segment(&mut *self.inner.lock().await).await
    }

    /// The closed object is durable and read back before the open file goes: at every line one of them is whole.
    async fn close_segment(&self, inner: &mut Inner) -> Result<(), ArchiveError> {
        if inner.open.is_empty() {
            return Ok(());
        }
        let lines = inner.open.read_all()?;
        let (first, head) = (inner.open.first_sequence(), inner.open.head());
        let index = self.store_segment(lines, inner.open.before(), head).await?;
        inner.closed.push(Closed { first, last: head.sequence, index: Some(index) });
        inner.open.begin_next().await?;
        self.remember(inner)?;
        if self.options.elsewhere {
            elsewhere::stored_elsewhere(head.sequence);
        }
        tracing::info!(first, last = head.sequence, "the archive closed a segment");
        Ok(())
    }

    /// Packs lines that lead from one head to another, stores them, and reads back what was stored.
    async fn store_segment(
        &self,
        lines: Bytes,
        before: ChainHead,
        head: ChainHead,
    ) -> Result<Arc<SegmentIndex>, ArchiveError> {
        let (first, last) = (before.sequence + 1, head.sequence);
        let packed = beside_the_runtime(move || segment::pack(&lines, before))
            .await
            .map_err(|error| segment_error(first, last, format!("packing it broke off: {error}")))??;
        let name = name(first, last);
        // Nobody's segment is overwritten. One that is there is ours, from a crash after the write and before the open file
        // went, or it reads back as something else.
        let options = PutOptions { mode: PutMode::Create, ..PutOptions::default() };
        match self.store.put_opts(&name, PutPayload::from(packed.bytes), options).await {
            Ok(_) | Err(object_store::Error::AlreadyExists { .. }) => {}
            Err(source) => return Err(ArchiveError::Store { doing: format!("writing {name}"), source }),
        }
        let index = segment::read_index(&*self.store, first, last).await?;
        let commits = segment::read(&*self.store, &index, first, usize::MAX).await?;
        if segment::check(&index, &commits)? != head {
            return Err(segment_error(
                first,
                last,
                "it reads back as something else: another process writes to this place, too, or the store is broken"
                    .to_owned(),
            ));
        }
        Ok(Arc::new(index))
    }

    /// Up to `max` commits from `from` on, ascending and dense; none at the end of the archive. It may return fewer
    /// than there are.
    ///
    /// # Errors
    /// [`ArchiveError`]; also [`Damage::Gap`] when the archive begins later.
    pub async fn read(&self, from: u64, max: usize) -> Result<Vec<StoredCommit>, ArchiveError> {
        let from = from.max(1);
        let index = {
            let mut inner = self.inner.lock().await;
            if from >= inner.open.first_sequence() {
                return inner.open.read(from, max);
            }
            let at = inner.closed.partition_point(|segment| segment.last < from);
            let Some(segment) = inner.closed.get_mut(at).filter(|segment| segment.first <= from) else {
                let found = inner.closed.first().map_or_else(|| inner.open.first_sequence(), |first| first.first);
                return Err(Damage::Gap { expected: from, found }.into());
            };
            match &segment.index {
                Some(index) => index.clone(),
                None => {
                    let index = Arc::new(segment::read_index(&*self.store, segment.first, segment.last).await?);
                    segment.index = Some(index.clone());
                    index
                }
            }
        };
        segment::read(&*self.store, &index, from, max).await
    }
}

/// Work that blocks, in a thread of its own; in a simulation in its turn, since there a seed decides the order of things.
pub(crate) async fn beside_the_runtime<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, tokio::task::JoinError> {
    if edgestack_planted::is_simulation() { Ok(work()) } else { tokio::task::spawn_blocking(work).await }
}

fn lock(folder: &Path) -> Result<std::fs::File, ArchiveError> {
    let path = folder.join("lock");
    let failed = |source| ArchiveError::File { path: path.clone(), doing: "locking", source };
    std::fs::create_dir_all(folder).map_err(failed)?;
    let file = std::fs::OpenOptions::new().create(true).truncate(false).write(true).open(&path).map_err(failed)?;
    match rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(file),
        Err(rustix::io::Errno::WOULDBLOCK) => Err(ArchiveError::Held { path: folder.to_owned() }),
        Err(errno) => Err(failed(errno.into())),
    }
}

fn told_of_store(error: ArchiveError) -> ArchiveError {
    use object_store::Error::{PermissionDenied, Unauthenticated};
    match error {
        ArchiveError::Store { source: source @ (PermissionDenied { .. } | Unauthenticated { .. }), .. } => {
            ArchiveError::Keys(source)
        }
        other => other,
    }
}

/// What is in a store. A last segment that is damaged, and comes again from the log, is put aside.
async fn look(store: &dyn ObjectStore) -> Result<elsewhere::Found, ArchiveError> {
    let released = released::read(store).await?;
    let mut closed = list(store).await?;
    let head = loop {
        let Some(last) = closed.last_mut() else { break ChainHead::GENESIS };
        match last_head(store, last).await {
            Ok((head, index)) => {
                last.index = Some(Arc::new(index));
                break head;
            }
            Err(ArchiveError::Segment { name, why }) if last.first <= released.sequence => {
                let why = format!("{why}; its commits have left the log: bring the object back from a copy");
                return Err(ArchiveError::Segment { name, why });
            }
            Err(ArchiveError::Segment { name, why }) => {
                tracing::error!(%name, why, "ALARM: the archive's last segment is damaged; it is put aside and comes again from the log");
                put_aside(store, last.first, last.last).await?;
                closed.pop();
            }
            Err(error) => return Err(error),
        }
    };
    Ok(elsewhere::Found { released, closed, head })
}

/// The closed segments of a store, in order.
async fn list(store: &dyn ObjectStore) -> Result<Vec<Closed>, ArchiveError> {
    let prefix = object_store::path::Path::from(SEGMENTS);
    let objects: Vec<_> = store
        .list(Some(&prefix))
        .try_collect()
        .await
        .map_err(|source| ArchiveError::Store { doing: "listing the segments".to_owned(), source })?;
    let mut closed: Vec<Closed> = objects
        .iter()
        .filter_map(|object| range_of(object.location.filename()?))
        .map(|(first, last)| Closed { first, last, index: None })
        .collect();
    closed.sort_unstable_by_key(|segment| segment.first);
    // A segment that is missing is listed all the same: reading it is an error, and it can be mended.
    let mut missing = Vec::new();
    if let Some(first) = closed.first().map(|segment| segment.first).filter(|first| *first > 1) {
        missing.push(Closed { first: 1, last: first - 1, index: None });
    }
    for (one, next) in closed.iter().zip(closed.iter().skip(1)) {
        if next.first <= one.last {
            return Err(segment_error(next.first, next.last, "another segment holds the same commits".to_owned()));
        }
        if next.first > one.last + 1 {
            missing.push(Closed { first: one.last + 1, last: next.first - 1, index: None });
        }
    }
    closed.extend(missing);
    closed.sort_unstable_by_key(|segment| segment.first);
    Ok(closed)
}

/// The head after the last segment, and its index. What comes next is chained on this head, so the commit itself is asked
/// for its hash, not the index alone.
async fn last_head(store: &dyn ObjectStore, last: &Closed) -> Result<(ChainHead, SegmentIndex), ArchiveError> {
    let index = segment::read_index(store, last.first, last.last).await?;
    let head = index.head()?;
    let commit = segment::read(store, &index, last.last, 1).await?;
    match commit.first().map(|commit| edgestack_log::chain::hash(&commit.payload)) {
        Some(hash) if hash == head.hash => Ok((head, index)),
        Some(_) | None => {
            Err(segment_error(last.first, last.last, "its last commit has another hash than its index says".to_owned()))
        }
    }
}

/// Keeps a damaged segment for whoever wants to look, under a name that is no segment's.
async fn put_aside(store: &dyn ObjectStore, first: u64, last: u64) -> Result<(), ArchiveError> {
    let (from, doing) = (name(first, last), || format!("putting {first}-{last} aside"));
    let to = object_store::path::Path::from(format!("{from}.damaged"));
    match store.rename(&from, &to).await {
        Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
        Err(source) => Err(ArchiveError::Store { doing: doing(), source }),
    }
}

fn name(first: u64, last: u64) -> object_store::path::Path {
    object_store::path::Path::from(format!("{SEGMENTS}/{first:020}-{last:020}.zst"))
}

fn range_of(file_name: &str) -> Option<(u64, u64)> {
    let (first, last) = file_name.strip_suffix(".zst")?.split_once('-')?;
    let (first, last) = (first.parse().ok()?, last.parse().ok()?);
    (1 <= first && first <= last).then_some((first, last))
}

fn segment_error(first: u64, last: u64, why: String) -> ArchiveError {
    ArchiveError::Segment { name: name(first, last).to_string(), why }
}

#[cfg(test)]
mod tests;
#[cfg(test)]
mod whole_tests;
