//! The read models: what the API answers from, kept in sled, and disposable.
//!
//! Two views, each a tree with its position in the same atomic batch as its rows:
//! * [`state`]: every living resource as the world has it, the index of names, the
//!   remembered idempotency keys. It is also what a world is restored from at start,
//!   so it carries a digest of its rows, and is not believed when that differs.
//! * [`history`]: every event of every resource, the deleted ones too, with who and why.
//!
//! Nothing here is a source of truth: delete the folder and it comes back the
//! same. Whatever sled does (errors, panics, a file cut short) means: set the
//! folder aside and rebuild from the log.

mod history;
mod open;
mod state;

pub use history::HistoryRow;
pub use open::{Opened, Restored, open};

use std::sync::Arc;

use edgestack_engine::{Applied, Projection};
use edgestack_log::ChainHead;
use edgestack_model::{Kind, Sequence, World, command::Reference, world::Resource};
use uuid::Uuid;

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
}

/// The views of one process. Clones share them.
#[derive(Clone)]
pub struct Views {
    state: State,
    history: History,
}

impl Views {
    /// A living resource by id.
    ///
    /// # Errors
    /// [`ViewError`].
    pub fn get(&self, kind: Kind, id: Uuid) -> Result<Option<Resource>, ViewError> {
        self.state.get(kind, id)
    }

    /// A living resource by name or id.
    ///
    /// # Errors
    /// [`ViewError`].
    pub fn find(&self, kind: Kind, reference: &Reference) -> Result<Option<Resource>, ViewError> {
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
        self.state.list(kind, after)
    }

    /// The id of a resource by name or id, living or, if none lives, the last that had the name.
    ///
    /// # Errors
    /// [`ViewError`].
    pub fn id_of_living_or_gone(&self, kind: Kind, reference: &Reference) -> Result<Option<Uuid>, ViewError> {
        if let Ok(id) = Uuid::parse_str(&reference.0) {
            return Ok(self.history.knows(id)?.then_some(id));
        }
        match self.state.id_of(kind, &reference.0)? {
            Some(id) => Ok(Some(id)),
            None => self.history.last_of_name(kind, &reference.0),
        }
    }

    /// A resource's events after a position (sequence, index in the commit), oldest first.
    pub fn history(
        &self,
        id: Uuid,
        after: (Sequence, u32),
    ) -> impl Iterator<Item = Result<HistoryRow, ViewError>> + use<> {
        self.history.events(id, after)
    }

    /// The log sequence that the state view shows.
    ///
    /// # Errors
    /// [`ViewError`].
    pub fn sequence(&self) -> Result<Sequence, ViewError> {
        Ok(Sequence(self.state.position()?.map_or(0, |head| head.sequence)))
    }

    /// Every row of both views, for comparing two of them byte for byte.
    ///
    /// # Errors
    /// [`ViewError`].
    pub fn rows(&self) -> Result<Vec<(Vec<u8>, Vec<u8>)>, ViewError> {
        let mut rows = self.state.rows()?;
        rows.extend(self.history.rows()?);
        Ok(rows)
    }

    /// Writes what is buffered to the disk; for an orderly end, since everything lost is rebuilt anyway.
    ///
    /// # Errors
    /// [`ViewError`].
    pub fn flush(&self) -> Result<(), ViewError> {
        self.state.flush()
    }

    /// The projection that keeps these views.
    pub fn projection(&self) -> Box<dyn Projection> {
        Box::new(Keeper { views: self.clone(), broken: false })
    }

    fn project(&self, batch: &[Arc<Applied>], world: &World, head: &ChainHead) -> Result<(), ViewError> {
        self.history.project(batch, head)?;
        self.state.project(batch, world, head)
    }
}

struct Keeper {
    views: Views,
    broken: bool,
}

impl Projection for Keeper {
    fn project(&mut self, batch: &[Arc<Applied>], world: &World, head: &ChainHead) {
        if self.broken {
            return;
        }
        let begun = std::time::Instant::now();
        if let Err(error) = self.views.project(batch, world, head) {
            // The log goes on; reads show their sequence, and a restart rebuilds the views.
            tracing::error!(
                seq = head.sequence,
                error = edgestack_engine::error_chain(&error),
                "the views cannot be written; they stay at an earlier sequence until edgestackd is restarted"
            );
            self.broken = true;
        }
        metrics::histogram!("edgestack_view_project_seconds").record(begun.elapsed().as_secs_f64());
        #[allow(clippy::cast_precision_loss)] // A gauge is a float; sequences stay far below 2^52.
        metrics::gauge!("edgestack_view_sequence").set(head.sequence as f64);
    }
}
