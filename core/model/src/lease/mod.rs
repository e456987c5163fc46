//! A lease: which process does a piece of the site's work that only one may do.
//!
//! ```text
//! taken ──▶ held ──released──▶ free ──taken──▶ held …
//!            └── taken over, when its holder is silent
//! ```
//!
//! Each taking raises the **epoch**. A command of that work names the epoch under which it was sent
//! ([`Fence`]), and is refused under any other: a holder that was paused and wakes up can't write, whatever
//! it believes. That it lives, a holder says outside the log.

mod command;
mod decide;
mod event;
mod evolve;
#[cfg(test)]
mod tests;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

pub use command::LeaseCommand;
pub(crate) use decide::{check_fence, decide};
pub use event::LeaseEvent;
pub(crate) use evolve::evolve;

use crate::{Id, Meta, Name};

/// A lease. Its name is that of the work: `scheduler`, `overseer`, `webhook`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    /// Its id.
    pub id: Id<Lease>,
    /// Name, labels, generation …
    pub meta: Meta,
    /// How often it was taken.
    pub epoch: u64,
    /// Who has it; `None`: it was given back.
    pub holder: Option<Holder>,
}

/// A process that has a lease.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    /// The node that it runs on.
    pub node: Name,
    /// The process: an id made at its start.
    pub process: Uuid,
    /// Since when it has it.
    pub since: DateTime<Utc>,
}

/// What a command of singleton work carries: it counts only while the lease is at this epoch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fence {
    /// The lease.
    pub lease: Name,
    /// Under which taking.
    pub epoch: u64,
}

impl Lease {
    /// `held` or `free`.
    pub const fn state(&self) -> &'static str {
        match self.holder {
            Some(_) => "held",
            None => "free",
        }
    }
}
