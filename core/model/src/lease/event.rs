//! What happens to leases.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::Name;

/// An event of a lease.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, strum::IntoStaticStr, JsonSchema)]
#[serde(tag = "type", content = "data")]
pub enum LeaseEvent {
    /// A process has it from now on, and nobody else.
    LeaseTaken {
        /// Its node.
        node: Name,
        /// The process: an id made at its start.
        process: Uuid,
        /// How often it was taken, this time included.
        epoch: u64,
        /// The node of the process that it was taken from, where that had not given it back.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        taken_from: Option<Name>,
    },
    /// Its holder gave it back.
    LeaseReleased {
        /// Under which taking it was held.
        epoch: u64,
    },
}
