//! What must hold, one law a file. Some are asked while the site lives, the others of what it left.

pub mod acknowledged;
pub mod chain;
pub mod generation;
pub mod orphans;
pub mod settled;
pub mod sound;
pub mod views;

use edgestack_log::StoredCommit;
use edgestack_model::Commit;

/// What a run left.
pub struct Evidence {
    /// The log, as stored.
    pub stored: Vec<StoredCommit>,
    /// The log, decoded.
    pub commits: Vec<Commit>,
}
