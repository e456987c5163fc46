//! The read models: what the API answers from, kept in sled, and disposable.
//!
//! Two views, each a tree with its position in the same atomic batch as its rows:
//! * `state`: every living resource as the world has it, the index of names, the
//!   remembered idempotency keys. It is also what a world is restored from at start,
//!   so it carries a digest of its rows, and is not believed when that differs.
//! * `history`: every event of every resource, the deleted ones too, with who and why, found by each of these.
//!
//! Folded commits queue and are written by the first who reads (ADR 0016).
//!
//! Nothing here is a source of truth: delete the folder and it comes back the
//! same. Whatever sled does (errors, panics, a file cut short) means: set the
//! folder aside and rebuild from the log.

mod anew;
mod compare;
mod history;
mod open;
mod state;

pub use compare::{Digest, digest_of_world};
pub use history::{Groups, HistoryRow, Order, Term};
pub use open::{Opened, Restored, open};

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use chrono::{DateTime, Utc};
use edgestack_engine::{Applied, Projection, crash_point};
use edgestack_log::ChainHead;
use edgestack_model::{Kind, Sequence, World, command::Reference, world::Resource};
use edgestack_planted::{self as planted, Bug};
use uuid::Uuid;

use anew::Anew;
use history::History;
use state::State;

/// Why a view could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum ViewError {
    /// sled itself failed.
    #[error(
        "the view store failed; stop edgestackd, delete the views folder, start it again: it is rebuilt from the log"
    )]
    Store(#[from] sled::Error),
    /// A row does not decode.
    #[error(
        "a row of the view is not readable; stop edgestackd, delete the views folder, start it again: it is rebuilt from the log"
    )]
    Row(#[from] serde_json::Error),
    /// A commit in the history does not decode.
    #[error(
        "a commit in the history view is not readable; stop edgestackd, delete the views folder, start it again: it is rebuilt from the log"
    )]
    Commit(#[from] edgestack_model::DecodeError),
    /// The thread that makes the views anew panicked.
    #[error("making the views anew broke off; restart edgestackd")]
    WriterLost,
    /// zstd failed.
    #[error("commits can't be packed")]
    Packing(#[source] std::io::Error),
    /// A row leads to another that is not there.
    #[error(
        "the history view is incomplete; stop edgestackd, delete the views folder, start it again: it is rebuilt from the log"
    )]
    Incomplete,
}

/// Rows as they are stored: key and value of each.
pub type Rows = Vec<(Vec<u8>, Vec<u8>)>;

/// The views of one process. Clones share them.
#[derive(Clone)]
pub struct Views {
    state: State,
    history: History,
    pending: Arc<Pending>,
}

/// Commits that are folded and not yet written. Writing many at once costs
/// little more than writing one, so a commit only queues here; it is written by
/// whoever comes first: a reader, [`Views::settle`] on its beat, or the commit
/// that finds the queue full. So a reader sees all that was folded before it came.
#[derive(Default)]
struct Pending {
    queue: Mutex<Vec<Arc<Applied>>>,
    /// The head after the last in the queue.
    head: Mutex<Option<ChainHead>>,
    /// Held while writing; says whether writing failed, after which the views stay where they are.
    writing: Mutex<bool>,
    /// Set while they are made anew.
    anew: Mutex<Option<Anew>>,
}

/// Commits that wait at most before the next one writes them all.
const PENDING_MAX: usize = 1024;

impl Views {
    /// A living resource by id.
    ///
    /// # Errors
    /// [`ViewError`].
    pub fn get(&self, kind: Kind, id: Uuid) -> Result<Option<Resource>, ViewError> {
        self.settle();
        self.state.get(kind, id)
    }

    /// A living resource by name or id.
    ///
    /// # Errors
    /// [`ViewError`].
    pub fn find(&self, kind: Kind, reference: &Reference) -> Result<Option<Resource>, ViewError> {
        self.settle();
        match Uuid::parse_str(&reference.0) {
            Ok(id) => self.state.get(kind, id),
            Err(_) => match self.state.id_of(kind, &reference.0)? {
                Some(id) => self.state.get(kind, id),
                None => Ok(None),
            },
        }
    }

    /// Living resources of a kind in order of name, beginning after `after`.
    pub fn list(&self, kind: Kind, after: Option<&str>) -> impl Iterator<Item = Result<Resource, ViewError>> + use<> {
        self.settle();
        self.state.list(kind, after)
    }

    /// The id of an object by name or id, living or gone: the last that had been given the name up to a commit. An id must
    /// be of an object that there was by then.
    ///
    /// # Errors
    /// [`ViewError`].
    pub fn id_up_to(&self, kind: Kind, reference: &Reference, upto: Sequence) -> Result<Option<Uuid>, ViewError> {
        self.settle();
        if let Ok(id) = Uuid::parse_str(&reference.0) {
            let groups = vec![vec![Term::Story(id)], vec![Term::Kind(kind)]];
            let first = self.history.search(groups, Order::OldestFirst, (Sequence(0), u32::MAX)).next().transpose()?;
            return Ok(first.filter(|row| row.event.resource_id == id && row.sequence <= upto).map(|_| id));
        }
        self.history.bearer(kind, &reference.0, upto)
    }

    /// An object's story after a position (sequence, index in the commit), oldest first: its own events, and of a VM those
    /// of its disks.
    pub fn history(
        &self,
        id: Uuid,
        after: (Sequence, u32),
    ) -> impl Iterator<Item = Result<HistoryRow, ViewError>> + use<> {
        self.search(vec![vec![Term::Story(id)]], Order::OldestFirst, after)
    }

    /// An object's story up to a commit, newest first.
    pub fn history_back(
        &self,
        id: Uuid,
        from: Sequence,
    ) -> impl Iterator<Item = Result<HistoryRow, ViewError>> + use<> {
        self.search(vec![vec![Term::Story(id)]], Order::NewestFirst, (Sequence(from.0.saturating_add(1)), 0))
    }

    /// Events of all objects of which in each group one term holds: those behind a position, oldest first, or before it,
    /// newest first.
    pub fn search(
        &self,
        groups: Groups,
        order: Order,
        cursor: (Sequence, u32),
    ) -> impl Iterator<Item = Result<HistoryRow, ViewError>> + use<> {
        self.settle();
        self.history.search(groups, order, cursor)
    }

    /// The last commit that was decided at or before a time, 0 if there is none. Clocks can be set back, and then the
    /// commits of the doubled time count as one of its two passages.
    ///
    /// # Errors
    /// [`ViewError`].
    pub fn sequence_at(&self, time: DateTime<Utc>) -> Result<Sequence, ViewError> {
        self.settle();
        self.history.sequence_at(time)
    }

    /// When a commit was decided; `None`: there is none.
    ///
    /// # Errors
    /// [`ViewError`].
    pub fn time_of(&self, sequence: Sequence) -> Result<Option<DateTime<Utc>>, ViewError> {
        self.settle();
        Ok(self.history.commit(sequence)?.map(|commit| commit.time))
    }

    /// The log sequence that the state view shows.
    ///
    /// # Errors
    /// [`ViewError`].
    pub fn sequence(&self) -> Result<Sequence, ViewError> {
        self.settle();
        Ok(Sequence(self.state.position()?.map_or(0, |head| head.sequence)))
    }

    /// The log sequence up to which the views are written, without writing what waits; how far they lag.
    ///
    /// # Errors
    /// [`ViewError`].
    pub fn written(&self) -> Result<Sequence, ViewError> {
        Ok(Sequence(self.state.position()?.map_or(0, |head| head.sequence)))
    }

    /// Every row of both views, for comparing two of them byte for byte.
    ///
    /// # Errors
    /// [`ViewError`].
    pub fn rows(&self) -> Result<Rows, ViewError> {
        self.settle();
        let mut rows = self.state.rows()?;
        rows.extend(self.history.rows()?);
        Ok(rows)
    }

    /// Writes what is buffered to the disk; for an orderly end, since everything lost is rebuilt anyway.
    ///
    /// # Errors
    /// [`ViewError`].
    pub fn flush(&self) -> Result<(), ViewError> {
        self.settle();
        self.state.flush()
    }

    /// The projection that keeps these views.
    pub fn projection(&self) -> Box<dyn Projection> {
        Box::new(Keeper(self.clone()))
    }

    /// Begins to make them anew from a log that is folded from its first commit: the state is left out until
    /// [`Self::complete`], and they show nothing of the present before that.
    ///
    /// # Errors
    /// When there is no thread to be had.
    pub fn begin_anew(&self) -> std::io::Result<()> {
        *lock(&self.pending.anew) = Some(Anew::begin(self.history.clone())?);
        Ok(())
    }

    /// Ends what [`Self::begin_anew`] began: writes the state from the world, whose last commit is the head, and from then on
    /// what each commit changes. A row for each thing that is there, instead of one for each change that ever was.
    /// Without that beginning nothing happens.
    ///
    /// # Errors
    /// [`ViewError`].
    pub fn complete(&self, world: &World, head: &ChainHead) -> Result<(), ViewError> {
        let Some(anew) = lock(&self.pending.anew).take() else { return Ok(()) };
        let mut broken = lock(&self.pending.writing);
        let written = anew.end().and_then(|()| self.state.write_whole(world, head));
        *broken = written.is_err();
        written
    }

    /// Writes what is folded and not yet written.
    pub fn settle(&self) {
        let mut broken = lock(&self.pending.writing);
        let (applied, head) = {
            let mut queue = lock(&self.pending.queue);
            (std::mem::take(&mut *queue), lock(&self.pending.head).take())
        };
        let Some(head) = head.filter(|_| !*broken) else { return };
        let begun = std::time::Instant::now();
        crash_point::pass("views.before");
        let written = self.history.project(&applied, head.sequence).and_then(|()| {
            crash_point::pass("views.between");
            self.state.project(&applied, &head)
        });
        if let Err(error) = written {
            // The log goes on; reads show their sequence, and a restart rebuilds the views.
            tracing::error!(
                seq = head.sequence,
                error = edgestack_engine::error_chain(&error),
                "the views cannot be written; they stay at an earlier sequence until edgestackd is restarted"
            );
            *broken = true;
            return;
        }
        metrics::histogram!("edgestack_view_project_seconds").record(begun.elapsed().as_secs_f64());
        #[allow(clippy::cast_precision_loss)] // A gauge is a float; sequences stay far below 2^52.
        metrics::gauge!("edgestack_view_sequence").set(head.sequence as f64);
    }
}

struct Keeper(Views);

impl Projection for Keeper {
    fn project(&mut self, batch: &[Arc<Applied>], _world: &World, head: &ChainHead) {
        if let Some(anew) = &mut *lock(&self.0.pending.anew) {
            return anew.add(batch);
        }
        let waiting = {
            let mut queue = lock(&self.0.pending.queue);
            queue.extend_from_slice(batch);
            if planted::is(Bug::CommitProjectedTwice) {
                queue.extend_from_slice(batch);
            }
            *lock(&self.0.pending.head) = Some(*head);
            queue.len()
        };
        if waiting >= PENDING_MAX {
            self.0.settle();
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A panic while writing leaves the store behind the log at worst, and that is healed by reading on.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The words of a text as [`Term::Word`] has them.
pub fn words_of(text: &str) -> Vec<String> {
    let mut all = Vec::new();
    history::words(text, |word| all.push(word.to_owned()));
    all
}
