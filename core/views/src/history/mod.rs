//! The history view: every event of every resource, also of those that are gone, found by whom, what, when and why.
//!
//! Keys begin with a letter for the table: `c` the commits, packed ([`commits`]); `x` the index, terms by block of
//! commits ([`layout`], [`dictionary`]); `b` who had a name ([`bearers`]); `p` → the sequence up to which it is written.
//! An event is stored once, unparsed, and an old one is upcast when it is read.

mod bearers;
mod commits;
mod dictionary;
mod layout;
mod places;
mod search;
mod terms;
mod write;

use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

use chrono::{DateTime, Utc};
use edgestack_engine::{Applied, crash_point};
use edgestack_model::{Actor, Commit, Kind, Sequence, event::EventRecord};
use edgestack_planted::{self as planted, Bug};
use serde::Serialize;
use sled::Tree;
use uuid::Uuid;

use crate::{ViewError, compare::Digester};
use write::POSITION;

pub(crate) use search::Found;
pub use search::{Groups, Order};
pub use terms::Term;
pub(crate) use terms::words;

/// One event with its commit's envelope.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct HistoryRow {
    /// The commit.
    pub sequence: Sequence,
    /// Which of its events, from 0.
    pub index: u32,
    /// When it was decided.
    pub time: DateTime<Utc>,
    /// Who.
    pub actor: Actor,
    /// The command's name.
    pub command: String,
    /// The commit's id.
    pub commit_id: Uuid,
    /// What the commit belongs to.
    pub correlation_id: Uuid,
    /// What caused it.
    pub causation_id: Option<Uuid>,
    /// The caller's reason.
    pub reason: Option<String>,
    /// What happened, in words.
    pub message: String,
    /// The event.
    pub event: EventRecord,
}

/// The history view. Clones share it.
#[derive(Clone)]
pub(crate) struct History {
    tree: Tree,
    /// The sequence up to which it is written; locked while rows change, as blocks of the index become others then.
    position: Arc<RwLock<u64>>,
}

impl History {
    pub(crate) fn open(tree: Tree) -> Result<Self, ViewError> {
        let position = tree.get(POSITION)?.map(|row| serde_json::from_slice(&row)).transpose()?.unwrap_or(0);
        Ok(Self { tree, position: Arc::new(RwLock::new(position)) })
    }

    pub(crate) fn position(&self) -> u64 {
        *self.position_now()
    }

    fn position_now(&self) -> RwLockReadGuard<'_, u64> {
        // A panic while writing changed no row: they are changed in one step.
        self.position.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn clear(&self) -> Result<(), ViewError> {
        let mut position = self.position.write().unwrap_or_else(PoisonError::into_inner);
        self.tree.clear()?;
        *position = 0;
        Ok(())
    }

    pub(crate) fn add_to(&self, digester: &mut Digester) -> Result<(), ViewError> {
        for row in self.tree.iter() {
            let (key, value) = row?;
            digester.add(&key, &value);
        }
        Ok(())
    }

    pub(crate) fn rows(&self) -> Result<crate::Rows, ViewError> {
        self.tree.iter().map(|row| row.map(|(key, value)| (key.to_vec(), value.to_vec())).map_err(Into::into)).collect()
    }

    /// The last object that was given a name up to a commit.
    pub(crate) fn bearer(&self, kind: Kind, name: &str, upto: Sequence) -> Result<Option<Uuid>, ViewError> {
        bearers::last(&self.tree, kind, name, upto)
    }

    /// Events of which in each group one term holds, behind a place or before it.
    pub(crate) fn search(&self, groups: Groups, order: Order, cursor: (Sequence, u32)) -> Found {
        Found::new(self.clone(), groups, order, (cursor.0.0, cursor.1))
    }

    /// A commit by sequence; `None`: it isn't written here.
    pub(crate) fn commit(&self, sequence: Sequence) -> Result<Option<Commit>, ViewError> {
        if sequence.0 == 0 || sequence.0 > self.position() {
            return Ok(None);
        }
        commits::Row::read(&self.tree, sequence.0)?.commit(sequence.0).map(Some)
    }

    /// The last commit that was decided at or before a time, 0 if there is none.
    pub(crate) fn sequence_at(&self, time: DateTime<Utc>) -> Result<Sequence, ViewError> {
        let (mut low, mut high) = (0, self.position());
        while low < high {
            let middle = high - (high - low) / 2;
            let commit = self.commit(Sequence(middle))?.ok_or(ViewError::Incomplete)?;
            if commit.time <= time { low = middle } else { high = middle - 1 }
        }
        Ok(Sequence(low))
    }

    /// Writes commits, of which `upto` is the last.
    pub(crate) fn project(&self, applied: &[Arc<Applied>], upto: u64) -> Result<(), ViewError> {
        let batch = write::batch(&self.tree, self.position(), applied, upto)?;
        let mut position = self.position.write().unwrap_or_else(PoisonError::into_inner);
        if planted::is(Bug::ViewBatchSplit) {
            self.tree.insert(POSITION, serde_json::to_vec(&upto)?)?;
            crash_point::pass("views.between");
        }
        self.tree.apply_batch(batch)?;
        *position = upto.max(*position);
        Ok(())
    }
}

impl HistoryRow {
    /// An event of a commit.
    ///
    /// # Errors
    /// [`ViewError::Incomplete`] when the commit has no such event.
    pub fn of(commit: &Commit, index: u32) -> Result<Self, ViewError> {
        let event =
            usize::try_from(index).ok().and_then(|index| commit.events.get(index)).ok_or(ViewError::Incomplete)?;
        Ok(Self {
            sequence: commit.sequence,
            index,
            time: commit.time,
            actor: commit.actor.clone(),
            command: commit.command.clone(),
            commit_id: commit.id,
            correlation_id: commit.correlation_id,
            causation_id: commit.causation_id,
            reason: commit.reason.clone(),
            message: event.describe(),
            event: event.to_record()?,
        })
    }
}
