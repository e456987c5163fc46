//! The folded world of this process. Commits come in from the writer (at once,
//! when acknowledged) and from the log (always), in any overlap; they are
//! checked, folded and projected exactly once, in order.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex, PoisonError, RwLock, RwLockReadGuard,
        atomic::{AtomicU64, Ordering},
    },
};

use bytes::Bytes;
use edgestack_log::{ChainHead, Damage, StoredCommit, chain};
use edgestack_model::{Commit, DecodeError, Kind, Sequence, World, world::Impossible, world::Resource};
use edgestack_planted::{self as planted, Bug};
use tokio::sync::{Notify, broadcast, watch};
use uuid::Uuid;

/// A commit folded into the world, with what it changed.
#[derive(Debug)]
pub struct Applied {
    /// The commit.
    pub commit: Arc<Commit>,
    /// Its bytes as the log has them.
    pub payload: Bytes,
    /// Each touched resource before and after.
    pub changes: Vec<Change>,
    /// Idempotency keys that are no longer remembered.
    pub forgotten: Vec<String>,
}

/// One resource before and after a commit.
#[derive(Clone, Debug)]
pub struct Change {
    /// Of which kind.
    pub kind: Kind,
    /// Which.
    pub id: Uuid,
    /// As it was; `None`: it is new.
    pub before: Option<Resource>,
    /// As it is; `None`: it is gone.
    pub after: Option<Resource>,
}

/// Something that keeps what the replica folded: the views.
pub trait Projection: Send + 'static {
    /// Takes over commits that have just been folded, oldest first; `world` and `head` are after the last.
    /// It must not fail: a projection that cannot store heals itself and says so.
    fn project(&mut self, batch: &[Arc<Applied>], world: &World, head: &ChainHead);
}

/// Why a replica stopped folding.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ReplicaError {
    /// The log is not what was acknowledged.
    #[error("the log is damaged")]
    Damaged(#[from] Damage),
    /// A commit that this program cannot read.
    #[error("the log holds what this program cannot read")]
    Undecodable(#[source] Arc<DecodeError>),
    /// An event that does not fit the world before it.
    #[error("the log does not fit together")]
    Impossible(#[from] Impossible),
    /// What is stored at a sequence is not what was acknowledged there.
    #[error("commit {0} in the log differs from the one that was acknowledged")]
    Differs(u64),
}

impl ReplicaError {
    /// Whether the log lost or changed something, so that a repaired one would do; no repair helps against commits
    /// that this program cannot read or fold.
    pub fn is_damage(&self) -> bool {
        match self {
            Self::Damaged(_) | Self::Differs(_) => true,
            Self::Undecodable(_) | Self::Impossible(_) => false,
        }
    }
}

/// How many of the last commits are remembered by hash, to compare what the log delivers with what was acknowledged,
/// and by id, to know a commit again whose outcome was unknown.
const RECENT_MAX: usize = 8192;

/// How many of the last commits are at hand whole, for those whose command another process has carried out.
const LATEST_MAX: usize = 512;
/// Their bytes in the log, at most.
const LATEST_BYTES_MAX: usize = 4 * 1024 * 1024;

/// The folded world.
pub struct Replica {
    world: RwLock<World>,
    inner: Mutex<Inner>,
    head: watch::Sender<ChainHead>,
    feed: broadcast::Sender<Arc<Applied>>,
    failed: watch::Sender<Option<ReplicaError>>,
    /// For those who wait for the repair: woken in the order in which they came, which `failed` would not do, and a seed
    /// of the simulation could not decide.
    mended: Notify,
    /// Counts repairs of the log: what was read of it before one says nothing of it after.
    repairs: AtomicU64,
}

struct Inner {
    head: ChainHead,
    recent: VecDeque<(ChainHead, Uuid)>,
    /// The last ones, whole, each with its bytes in the log; and the sum of these.
    latest: VecDeque<(Arc<Commit>, usize)>,
    latest_bytes: usize,
    projection: Option<Box<dyn Projection>>,
}

/// A commit that chains on those before it, decoded if this program can, and the head after it.
type Vouched = (StoredCommit, Result<Arc<Commit>, DecodeError>, ChainHead);

impl Replica {
    /// A replica that goes on from a known place: a world and the chain's head there.
    pub fn new(world: World, head: ChainHead, projection: Option<Box<dyn Projection>>) -> Arc<Self> {
        let (feed, _) = broadcast::channel(1024);
        Arc::new(Self {
            world: RwLock::new(world),
            inner: Mutex::new(Inner {
                head,
                recent: VecDeque::new(),
                latest: VecDeque::new(),
                latest_bytes: 0,
                projection,
            }),
            head: watch::Sender::new(head),
            feed,
            failed: watch::Sender::new(None),
            mended: Notify::new(),
            repairs: AtomicU64::new(0),
        })
    }

    /// The world as it is now. Hold the guard briefly: writers wait for it.
    pub fn world(&self) -> RwLockReadGuard<'_, World> {
        // A poisoned lock means a panic while folding; the fold is then stopped by `failed`, reads go on.
        self.world.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// A copy of the world with the chain's head of exactly that world.
    pub fn snapshot(&self) -> (World, ChainHead) {
        // While this lock is held nothing is folded, so the two belong together.
        let inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        (self.world().clone(), inner.head)
    }

    /// The last folded commit.
    pub fn head(&self) -> ChainHead {
        *self.head.borrow()
    }

    /// Follows the head.
    pub fn watch_head(&self) -> watch::Receiver<ChainHead> {
        self.head.subscribe()
    }

    /// Each commit from now on, with what it changed. A receiver that lags is told so and reads the world anew.
    pub fn subscribe(&self) -> broadcast::Receiver<Arc<Applied>> {
        self.feed.subscribe()
    }

    /// Why folding has stopped, if it has. Law 4: writes stop then, reads go on.
    pub fn failure(&self) -> Option<ReplicaError> {
        self.failed.borrow().clone()
    }

    /// Follows [`Self::failure`].
    pub fn watch_failure(&self) -> watch::Receiver<Option<ReplicaError>> {
        self.failed.subscribe()
    }

    /// Stops folding until [`Self::mend`]: something outside found the log damaged.
    pub fn fail(&self, error: ReplicaError) {
        self.failed.send_if_modified(|failed| {
            if failed.is_some() {
                return false;
            }
            tracing::error!(
                error = crate::error_chain(&error),
                "ALARM: the log is damaged; writes have stopped, reads go on"
            );
            *failed = Some(error);
            true
        });
    }

    /// Folding goes on: the log was repaired, and verified up to what is folded here.
    pub fn mend(&self) {
        self.repairs.fetch_add(1, Ordering::SeqCst);
        if self.failed.send_replace(None).is_some() {
            tracing::warn!(seq = self.head().sequence, "the log is whole again; writes go on");
            self.mended.notify_waiters();
        }
    }

    /// How often the log was repaired since this replica follows it.
    pub fn repairs(&self) -> u64 {
        self.repairs.load(Ordering::SeqCst)
    }

    /// Waits until folding may go on.
    pub async fn wait_until_whole(&self) {
        loop {
            let mended = self.mended.notified();
            tokio::pin!(mended);
            // From here on a mending is not missed.
            mended.as_mut().enable();
            if self.failure().is_none() {
                return;
            }
            mended.await;
        }
    }

    /// Where one of these commits is, if it was folded lately.
    pub fn find_recent(&self, ids: &[Uuid]) -> Option<Sequence> {
        let inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        inner.recent.iter().rev().find(|(_, id)| ids.contains(id)).map(|(head, _)| Sequence(head.sequence))
    }

    /// The commit at `sequence`, if it is among the last that were folded.
    pub fn latest(&self, sequence: Sequence) -> Option<Arc<Commit>> {
        let inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        inner.latest.iter().rev().find(|(commit, _)| commit.sequence == sequence).map(|(commit, _)| commit.clone())
    }

    /// Waits until the commit at `sequence` is folded.
    pub async fn wait_for(&self, sequence: Sequence) {
        let mut head = self.head.subscribe();
        // The sender lives in `self`, so this ends only with the condition.
        let _ = head.wait_for(|head| head.sequence >= sequence.0).await;
    }

    /// Folds stored commits, oldest first. Those folded already are only compared with what was folded.
    ///
    /// # Errors
    /// [`ReplicaError`]; nothing is folded any more after it, until [`Self::mend`].
    pub fn apply(&self, batch: Vec<(StoredCommit, Option<Arc<Commit>>)>) -> Result<(), ReplicaError> {
        if let Some(error) = self.failure() {
            return Err(error);
        }
        self.apply_checked(batch).inspect_err(|error| self.fail(error.clone()))
    }

    fn apply_checked(&self, batch: Vec<(StoredCommit, Option<Arc<Commit>>)>) -> Result<(), ReplicaError> {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let (vouched, mut outcome) = self.vouched(&inner, batch);
        let mut applied = Vec::with_capacity(vouched.len());
        for (stored, decoded, head) in vouched {
            match self.fold_next(&mut inner, &stored, decoded, head) {
                Ok(commit) => applied.push(Arc::new(commit)),
                Err(error) => {
                    outcome = Err(error);
                    break;
                }
            }
        }
        if !applied.is_empty() {
            let head = inner.head;
            if let Some(projection) = &mut inner.projection {
                projection.project(&applied, &self.world(), &head);
            }
            self.head.send_replace(head);
            for commit in applied {
                // No receiver is no error: nobody watches just now.
                let _ = self.feed.send(commit);
            }
        }
        outcome
    }

    /// The commits of a batch that are to be folded, each with the head after it, and what is wrong behind them. All of
    /// them are checked before the first is folded: a changed commit is known by the hash that the next one carries, and
    /// what is folded can't be taken back.
    fn vouched(
        &self,
        inner: &Inner,
        batch: Vec<(StoredCommit, Option<Arc<Commit>>)>,
    ) -> (Vec<Vouched>, Result<(), ReplicaError>) {
        let (mut head, mut vouched) = (inner.head, Vec::<Vouched>::with_capacity(batch.len()));
        for (stored, decoded) in batch {
            if stored.sequence <= inner.head.sequence {
                if let Err(error) = compare(inner, &stored) {
                    return (vouched, Err(error));
                }
                continue;
            }
            let decoded = decoded.map_or_else(|| Commit::decode(&stored.payload).map(Arc::new), Ok);
            let checked = match &decoded {
                Ok(commit) => head.check_next_read(&stored, commit.sequence.0, &commit.previous_hash),
                // What this program can't read is in its place or not all the same.
                Err(_) => head.check_next(&stored),
            };
            if let Err(damage) = checked {
                if damage.first_wrong() < stored.sequence && !planted::is(Bug::FoldedBeforeVouched) {
                    vouched.pop();
                }
                return (vouched, Err(damage.into()));
            }
            vouched.push((stored, decoded, head));
        }
        // Nothing vouches for the last one. If it can't be read that may be what somebody changed, not a later version's
        // writing: it is the repair's until another one comes behind it.
        let unread =
            vouched.pop_if(|(_, decoded, _)| decoded.as_ref().is_err_and(|error| !error.is_of_later_version()));
        let outcome = match unread {
            Some((stored, Err(error), _)) => {
                let why = crate::error_chain(&error);
                Err(Damage::Undecodable { sequence: stored.sequence, why }.into())
            }
            Some((_, Ok(_), _)) | None => Ok(()),
        };
        (vouched, outcome)
    }

    fn fold_next(
        &self,
        inner: &mut Inner,
        stored: &StoredCommit,
        decoded: Result<Arc<Commit>, DecodeError>,
        head: ChainHead,
    ) -> Result<Applied, ReplicaError> {
        let commit = decoded.map_err(|error| ReplicaError::Undecodable(Arc::new(error)))?;
        let mut world = self.world.write().unwrap_or_else(PoisonError::into_inner);
        let mut changes: Vec<Change> = Vec::with_capacity(commit.events.len());
        for event in &commit.events {
            note_before(&mut changes, &world, event.fact.kind(), event.resource_id);
        }
        let touched = world.evolve(&commit)?;
        for &(kind, id) in &touched.resources {
            let after = world.resource(kind, id);
            match changes.iter_mut().find(|change| (change.kind, change.id) == (kind, id)) {
                Some(change) => change.after = after,
                None => changes.push(Change { kind, id, before: after.clone(), after }),
            }
        }
        drop(world);
        inner.head = head;
        if inner.recent.len() == RECENT_MAX {
            inner.recent.pop_front();
        }
        inner.recent.push_back((head, commit.id));
        inner.latest.push_back((commit.clone(), stored.payload.len()));
        inner.latest_bytes += stored.payload.len();
        while inner.latest.len() > LATEST_MAX || inner.latest_bytes > LATEST_BYTES_MAX {
            let Some((_, bytes)) = inner.latest.pop_front() else { break };
            inner.latest_bytes -= bytes;
        }
        Ok(Applied { commit, payload: stored.payload.clone(), changes, forgotten: touched.forgotten })
    }
}

/// What comes again must be what was folded.
fn compare(inner: &Inner, stored: &StoredCommit) -> Result<(), ReplicaError> {
    match inner.recent.iter().rev().find(|(known, _)| known.sequence == stored.sequence) {
        Some((known, _)) if known.hash != chain::hash(&stored.payload) => Err(ReplicaError::Differs(stored.sequence)),
        Some(_) | None => Ok(()),
    }
}

fn note_before(changes: &mut Vec<Change>, world: &World, kind: Kind, id: Uuid) {
    if !changes.iter().any(|change| (change.kind, change.id) == (kind, id)) {
        changes.push(Change { kind, id, before: world.resource(kind, id), after: None });
    }
}
