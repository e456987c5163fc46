//! What must hold, one law a file. Some are asked while the site lives, the others of what it left.

pub mod acknowledged;
pub mod archive;
pub mod chain;
pub mod drift;
pub mod effects;
pub mod generation;
pub mod guarded;
pub mod heard;
pub mod leases;
pub mod northbound;
pub mod noticed;
pub mod orphans;
pub mod placed;
pub mod prompt;
pub mod quiet;
pub mod reports;
pub mod settled;
pub mod sound;
pub mod traffic;
pub mod views;

use edgestack_log::StoredCommit;
use edgestack_model::Commit;

/// The laws whose checkers say so when one is broken, each by the name of its file; what is seen on the way by clients, drivers and
/// the northbound database has none.
pub const LAWS: [&str; 18] = [
    "acknowledged",
    "archive",
    "chain",
    "drift",
    "effects",
    "generation",
    "guarded",
    "heard",
    "leases",
    "noticed",
    "orphans",
    "placed",
    "prompt",
    "quiet",
    "settled",
    "sound",
    "traffic",
    "views",
];

/// What a run left.
pub struct Evidence {
    /// The log, as stored.
    pub stored: Vec<StoredCommit>,
    /// The log, decoded.
    pub commits: Vec<Commit>,
}
