//! What processes of the site ask of leases; people don't.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::Name;

/// A command on a lease.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "kebab-case")]
pub enum LeaseCommand {
    /// Takes it: a new one, one that is free, or one whose holder is silent.
    Take {
        /// Which.
        lease: Name,
        /// The node of the process that wants it.
        node: Name,
        /// The process.
        process: Uuid,
        /// The epoch that it has seen, 0 for none: of two that want it at once one is refused.
        replaces: u64,
    },
    /// Gives it back.
    Release {
        /// Which.
        lease: Name,
        /// Under which taking it was held.
        epoch: u64,
    },
}

impl LeaseCommand {
    /// The command's name in the envelope.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Take { .. } => "take-lease",
            Self::Release { .. } => "release-lease",
        }
    }
}
