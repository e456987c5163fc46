//! What leaves the live log for the archive.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// How far commits are to leave the live log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"before": "30 days ago"}))]
pub struct ArchiveLog {
    /// Those before this: a sequence, a time (RFC 3339), or how long ago (`30 days ago`).
    pub before: String,
}

/// Where the commits of the log are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LogArchive {
    /// The first commit in the live log. Those before it are read from the archive, and everything reaches them as before.
    pub live_first: u64,
    /// The last commit.
    pub last: u64,
    /// How far the archive reaches; absent where the answering process has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub archived_through: Option<u64>,
    /// How far commits are to leave the live log: the last one that is.
    pub release_through: u64,
    /// How many are still to leave.
    pub leaving: u64,
}
