//! Who asked.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Who caused a commit, by which credential, from where. Never holds a secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Actor {
    /// A user (`admin`) or a worker (`worker.vm@edge-1`).
    pub name: String,
    /// How it proved that: `token:3f9ac2d1` (the first digits of the token's SHA-256), `nats:reader`, `internal`.
    pub credential: String,
    /// Where from: the peer's address, or the process's host and pid.
    pub from: String,
}

impl Actor {
    /// True for EdgeStack's own workers; people's commands outrank theirs.
    pub fn is_worker(&self) -> bool {
        self.name.starts_with("worker.")
    }
}
